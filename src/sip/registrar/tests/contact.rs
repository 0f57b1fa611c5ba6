//! Contacts, bindings and the 200.

use super::*;
use crate::sip::location::{Cause, Which};

#[test]
fn star_stands_alone_and_with_expires_0() {
    let bench = Bench::new();
    bench.ok(REGISTER);
    for (contacts, lines) in [
        ("Contact: *\r\n", ""),
        ("Contact: *\r\n", "Expires: 3600\r\n"),
        ("Contact: *;expires=0\r\n", ""),
        ("Contact: *, <sip:a@192.0.2.9>\r\n", "Expires: 0\r\n"),
        ("Contact: <sip:a@192.0.2.9>\r\nContact: *\r\n", "Expires: 0\r\n"),
    ] {
        let refusal = bench.refusal(Register {
            contacts,
            lines,
            cseq: 2,
            ..REGISTER
        });
        assert_eq!(
            (refusal.reason, refusal.reason.status()),
            (Reason::BadContact, 400),
            "{contacts}"
        );
    }
    assert_eq!(bench.location.bindings(), 1);
    let star = Register {
        contacts: "Contact: *\r\n",
        lines: "Expires: 0\r\n",
        cseq: 2,
        ..REGISTER
    };
    assert_eq!(contacts(&bench.ok(star)), [""; 0]);
    assert_eq!(bench.location.bindings(), 0);
}

#[test]
fn star_needs_a_higher_cseq_for_each_binding_of_its_call_id() {
    let bench = Bench::new();
    bench.ok(Register {
        call_id: "other",
        ..REGISTER
    });
    bench.ok(Register {
        contacts: "Contact: <sip:b@192.0.2.9>\r\n",
        cseq: 5,
        ..REGISTER
    });
    let star = Register {
        contacts: "Contact: *\r\n",
        lines: "Expires: 0\r\n",
        cseq: 5,
        ..REGISTER
    };
    let refusal = bench.refusal(star);
    assert_eq!((refusal.reason, refusal.reason.status()), (Reason::OutOfOrder, 400));
    assert_eq!(bench.location.bindings(), 2);
    bench.ok(Register { cseq: 6, ..star });
    assert_eq!(bench.location.bindings(), 0);
}

#[test]
fn no_contact_lists_all_bindings() {
    let bench = Bench::new();
    let listed = |bench: &Bench| {
        contacts(&bench.ok(Register {
            contacts: "",
            ..REGISTER
        }))
    };
    assert_eq!(listed(&bench), [""; 0]);
    bench.ok(Register {
        contacts: "Contact: <sip:a@192.0.2.9>\r\nm: <sip:b@192.0.2.9>\r\n",
        ..REGISTER
    });
    assert_eq!(
        listed(&bench),
        ["<sip:a@192.0.2.9>;expires=3600", "<sip:b@192.0.2.9>;expires=3600"]
    );
}

#[test]
fn the_200_has_parameters_as_registered_and_date() {
    let bench = Bench::new();
    let contacts = "Contact: \"Alice\" <sip:a@192.0.2.9;x=1>;Expires=1800 ; q = 0.7;\r\n \
        +sip.instance=\"<urn:uuid:1;2>\";reg-id=1;methods=\"INVITE,\r\n BYE\"\r\n";
    let lines = bench.ok(Register { contacts, ..REGISTER });
    assert_eq!(
        lines,
        "Contact: <sip:a@192.0.2.9;x=1>;q=0.7;+sip.instance=\"<urn:uuid:1;2>\";reg-id=1;\
         methods=\"INVITE,   BYE\";expires=1800\r\nDate: Fri, 15 Jan 2027 08:00:00 GMT\r\nSupported: path, outbound, gruu\r\n"
    );
    let mut seen = None;
    bench.location.lookup(&bench.aor(), bench.start, &mut |binding| {
        seen = Some((binding.q(), binding.reg_id(), binding.instance().map(<[u8]>::to_vec)));
    });
    assert_eq!(seen, Some((700, Some(1), Some(b"<urn:uuid:1;2>".to_vec()))));
}

#[test]
fn the_same_binding_is_found_by_uri_comparison() {
    let bench = Bench::new();
    bench.ok(Register {
        contacts: "Contact: <sip:alice@Host.Example.com;x=1>\r\n",
        ..REGISTER
    });
    let contacts = "Contact: sip:%61lice@host.example.com\r\n";
    let listed = bench.ok(Register {
        contacts,
        cseq: 2,
        ..REGISTER
    });
    assert_eq!(
        super::contacts(&listed),
        ["<sip:%61lice@host.example.com>;expires=3600"]
    );
    // RFC 3261 §19.1.4: a default port that is written differs from one that is not.
    let contacts = "Contact: <sip:alice@host.example.com:5060>\r\n";
    assert_eq!(
        super::contacts(&bench.ok(Register {
            contacts,
            cseq: 3,
            ..REGISTER
        }))
        .len(),
        2
    );
}

#[test]
fn the_same_binding_is_found_by_instance_and_reg_id() {
    let bench = Bench::new();
    let first = "Contact: <sip:a@192.0.2.9:1>;+sip.instance=\"<urn:uuid:A>\";reg-id=1\r\n";
    bench.ok(Register {
        contacts: first,
        ..REGISTER
    });
    let moved = "Contact: <sip:a@192.0.2.9:2>;reg-id=1;+sip.instance=\"<urn:uuid:a>\"\r\n";
    let listed = bench.ok(Register {
        contacts: moved,
        call_id: "other",
        ..REGISTER
    });
    assert_eq!(
        super::contacts(&listed),
        ["<sip:a@192.0.2.9:2>;reg-id=1;+sip.instance=\"<urn:uuid:a>\";expires=3600"]
    );
    let second = "Contact: <sip:a@192.0.2.9:2>;reg-id=2;+sip.instance=\"<urn:uuid:a>\"\r\n";
    assert_eq!(
        super::contacts(&bench.ok(Register {
            contacts: second,
            ..REGISTER
        }))
        .len(),
        2
    );
}

#[test]
fn the_same_call_id_needs_a_higher_cseq() {
    let bench = Bench::new();
    bench.ok(Register { cseq: 7, ..REGISTER });
    for cseq in [6, 7] {
        let contacts = "Contact: <sip:alice@192.0.2.9>;expires=1200\r\n";
        let refusal = bench.refusal(Register {
            contacts,
            cseq,
            ..REGISTER
        });
        assert_eq!((refusal.reason, refusal.reason.status()), (Reason::OutOfOrder, 400));
    }
    bench.ok(Register {
        cseq: 1,
        call_id: "after a reboot",
        ..REGISTER
    });
}

#[test]
fn the_11th_is_403_and_a_refresh_is_accepted() {
    let bench = Bench::new();
    let ten: String = (0..10)
        .map(|n| format!("Contact: <sip:phone{n}@192.0.2.9>\r\n"))
        .collect();
    bench.ok(Register {
        contacts: &ten,
        ..REGISTER
    });
    let eleventh = "Contact: <sip:phone10@192.0.2.9>\r\n";
    let refusal = bench.refusal(Register {
        contacts: eleventh,
        cseq: 2,
        ..REGISTER
    });
    assert_eq!(
        (refusal.reason.name(), refusal.reason.status()),
        ("too-many-contacts", 403)
    );
    let refreshed = bench.ok(Register {
        contacts: "Contact: <sip:phone3@192.0.2.9>\r\n",
        cseq: 3,
        ..REGISTER
    });
    assert_eq!(contacts(&refreshed).len(), 10);
    let swapped = "Contact: <sip:phone10@192.0.2.9>, <sip:phone3@192.0.2.9>;expires=0\r\n";
    assert_eq!(
        contacts(&bench.ok(Register {
            contacts: swapped,
            cseq: 4,
            ..REGISTER
        }))
        .len(),
        10
    );
}

#[test]
fn the_oldest_can_give_way() {
    let mut bench = Bench::new();
    bench.set(Settings {
        max_contacts: 2,
        overflow: Overflow::ReplaceOldest,
        ..Settings::default()
    });
    for (cseq, contacts) in [
        (1, "Contact: <sip:a@192.0.2.9>\r\n"),
        (2, "Contact: <sip:b@192.0.2.9>\r\n"),
        (3, "Contact: <sip:a@192.0.2.9>\r\n"),
        (4, "Contact: <sip:c@192.0.2.9>\r\n"),
    ] {
        bench.elapsed = Duration::from_secs(u64::from(cseq));
        bench.ok(Register {
            contacts,
            cseq,
            ..REGISTER
        });
    }
    let listed = contacts(&bench.ok(Register {
        contacts: "",
        cseq: 5,
        ..REGISTER
    }));
    assert_eq!(
        listed,
        ["<sip:a@192.0.2.9>;expires=3599", "<sip:c@192.0.2.9>;expires=3600"]
    );
}

#[test]
fn only_one_whose_flow_failed_can_give_way() {
    let mut bench = Bench::new();
    bench.set(Settings {
        max_contacts: 1,
        overflow: Overflow::ReplaceUnreachable,
        ..Settings::default()
    });
    bench.ok(REGISTER);
    let next = Register {
        contacts: "Contact: <sip:b@192.0.2.9>\r\n",
        ..REGISTER
    };
    assert_eq!(bench.refusal(next).reason, Reason::TooManyContacts);
    let change = bench
        .location
        .suspend(&bench.aor(), Which::Flow(&flow()), Cause::SendFailed, bench.start);
    assert_eq!(change, None);
    assert_eq!(contacts(&bench.ok(next)), ["<sip:b@192.0.2.9>;expires=3600"]);
}

#[test]
fn several_in_one_request_are_done_all_or_none() {
    let bench = Bench::new();
    bench.ok(Register { cseq: 5, ..REGISTER });
    let contacts = "Contact: <sip:new@192.0.2.9>\r\nContact: <sip:alice@192.0.2.9>;expires=0\r\n";
    assert_eq!(
        bench
            .refusal(Register {
                contacts,
                cseq: 4,
                ..REGISTER
            })
            .reason,
        Reason::OutOfOrder
    );
    let listed = bench.ok(Register {
        contacts: "",
        cseq: 6,
        ..REGISTER
    });
    assert_eq!(super::contacts(&listed), ["<sip:alice@192.0.2.9>;expires=3600"]);
    let listed = bench.ok(Register {
        contacts,
        cseq: 7,
        ..REGISTER
    });
    assert_eq!(super::contacts(&listed), ["<sip:new@192.0.2.9>;expires=3600"]);
}

#[test]
fn malformed_or_too_long_is_400_and_changes_nothing() {
    let bench = Bench::new();
    let long = format!("Contact: <sip:a@192.0.2.9>;push=\"{}\"\r\n", "x".repeat(2048));
    let many: String = (0..65).map(|n| format!("m:<sip:{n}@a>;expires=0\r\n")).collect();
    for (contacts, reason) in [
        ("Contact: alice\r\n", Reason::BadContact),
        ("Contact: <sip:alice@192.0.2.9>, <sip:>\r\n", Reason::BadContact),
        ("Contact: <sip:alice@192.0.2.9>;;\r\n", Reason::BadContact),
        ("Contact: <sip:alice@192.0.2.9>,\r\n", Reason::BadContact),
        ("Contact: <sip:alice@[::1>\r\n", Reason::BadContact),
        ("Contact: <tel:+123>\r\n", Reason::BadContact),
        ("Contact: <mailto:alice@example.com>\r\n", Reason::BadContact),
        ("Contact: <sip:alice@192.0.2.9>;q=2\r\n", Reason::BadContact),
        ("Contact: <sip:alice@192.0.2.9>;q=1.001\r\n", Reason::BadContact),
        ("Contact: <sip:alice@192.0.2.9>;q\r\n", Reason::BadContact),
        (&long, Reason::BadContact),
        (&many, Reason::TooManyContacts),
    ] {
        let refusal = bench.refusal(Register { contacts, ..REGISTER });
        assert_eq!(refusal.reason, reason, "{contacts}");
    }
    assert_eq!(bench.location.bindings(), 0);
    let long_enough = format!("Contact: <sip:a@192.0.2.9>;push=\"{}\"\r\n", "x".repeat(1900));
    bench.ok(Register {
        contacts: &long_enough,
        ..REGISTER
    });
}

#[test]
fn a_path_is_kept_and_copied() {
    let mut bench = Bench::new();
    let lines = "Path: <sip:edge1.example.com;lr>,<sip:edge2.example.com;lr>\r\nPath: <sip:edge3.example.com;lr>\r\n";
    let path = "<sip:edge1.example.com;lr>, <sip:edge2.example.com;lr>, <sip:edge3.example.com;lr>";
    let with_path = Register { lines, ..REGISTER };
    let told = bench.ok(Register {
        lines: &format!("{lines}Supported: path\r\n"),
        ..REGISTER
    });
    assert!(told.contains(&format!("\r\nPath: {path}\r\n")));
    bench.location.lookup(&bench.aor(), bench.start, &mut |binding| {
        assert_eq!(binding.path(), path.as_bytes());
    });
    assert_eq!(
        bench
            .refusal(Register {
                lines: "Path: <sip:>\r\n",
                ..REGISTER
            })
            .reason,
        Reason::Malformed
    );

    bench.set(Settings {
        strict_path: true,
        ..Settings::default()
    });
    let refusal = bench.refusal(with_path);
    assert_eq!(
        (refusal.reason, refusal.reason.status()),
        (Reason::PathNotSupported, 420)
    );
    let lines = "k: outbound, path\r\nPath: <sip:edge1.example.com;lr>\r\n";
    bench.ok(Register {
        lines,
        cseq: 2,
        ..REGISTER
    });
}
