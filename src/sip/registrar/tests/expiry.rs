//! Lifetimes.

use super::*;

fn granted(lines: &'static str, contacts: &'static str) -> Vec<String> {
    super::contacts(&Bench::new().ok(Register {
        lines,
        contacts,
        ..REGISTER
    }))
}

#[test]
fn it_is_taken_from_the_parameter_then_the_header_then_the_default() {
    let contact = "Contact: <sip:a@192.0.2.9>\r\n";
    let own = "Contact: <sip:a@192.0.2.9>;expires=1200\r\n";
    assert_eq!(granted("Expires: 1800\r\n", own), ["<sip:a@192.0.2.9>;expires=1200"]);
    assert_eq!(
        granted("Expires: 1800\r\n", contact),
        ["<sip:a@192.0.2.9>;expires=1800"]
    );
    assert_eq!(granted("", contact), ["<sip:a@192.0.2.9>;expires=3600"]);
}

#[test]
fn what_cannot_be_read_counts_as_absent() {
    let contact = "Contact: <sip:a@192.0.2.9>;expires=\"soon\"\r\n";
    assert_eq!(
        granted("Expires: 1800\r\n", contact),
        ["<sip:a@192.0.2.9>;expires=1800"]
    );
    assert_eq!(granted("Expires: -5\r\n", contact), ["<sip:a@192.0.2.9>;expires=3600"]);
}

#[test]
fn too_brief_is_423_and_changes_nothing() {
    let bench = Bench::new();
    let contacts = "Contact: <sip:a@192.0.2.9>, <sip:b@192.0.2.9>;expires=599\r\n";
    let refusal = bench.refusal(Register { contacts, ..REGISTER });
    assert_eq!(
        (refusal.reason.status(), refusal.reason.phrase()),
        (423, "Interval Too Brief")
    );
    assert_eq!(refusal.extra, Extra::MinExpires(600));
    assert_eq!(bench.location.bindings(), 0);
    bench.ok(Register {
        contacts: "Contact: <sip:a@192.0.2.9>;expires=600\r\n",
        ..REGISTER
    });
}

#[test]
fn too_long_is_granted_the_longest() {
    let contact = "Contact: <sip:a@192.0.2.9>;expires=7200\r\n";
    assert_eq!(granted("", contact), ["<sip:a@192.0.2.9>;expires=3600"]);
    let contact = "Contact: <sip:a@192.0.2.9>;expires=99999999999\r\n";
    assert_eq!(granted("", contact), ["<sip:a@192.0.2.9>;expires=3600"]);
}

#[test]
fn zero_removes_that_binding() {
    let bench = Bench::new();
    bench.ok(Register {
        contacts: "Contact: <sip:a@192.0.2.9>, <sip:b@192.0.2.9>\r\n",
        ..REGISTER
    });
    let contacts = "Contact: <sip:%61@192.0.2.9>;expires=0\r\n";
    let listed = bench.ok(Register {
        contacts,
        cseq: 2,
        ..REGISTER
    });
    assert_eq!(super::contacts(&listed), ["<sip:b@192.0.2.9>;expires=3600"]);
}

#[test]
fn what_is_left_is_said_in_each_200() {
    let bench = Bench::new();
    bench.ok(REGISTER);
    let later = Bench {
        elapsed: Duration::from_millis(1_600_500),
        ..bench
    };
    let listed = later.ok(Register {
        contacts: "",
        cseq: 2,
        ..REGISTER
    });
    assert_eq!(super::contacts(&listed), ["<sip:alice@192.0.2.9>;expires=2000"]);
    let end = Bench {
        elapsed: Duration::from_secs(3600),
        ..later
    };
    assert_eq!(
        super::contacts(&end.ok(Register {
            contacts: "",
            cseq: 3,
            ..REGISTER
        })),
        [""; 0]
    );
}
