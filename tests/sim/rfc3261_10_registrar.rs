//! Registrations: RFC 3261 §10.3, RFC 3327, and what the table of decisions says about them.

use std::time::Duration;

use ringbinder::sip::hop::Transport;
use ringbinder::sip::registrar::Overflow;

use crate::support::{Draft, Got, Phone, Sim};

const URI: &str = "sip:example.com";

#[test]
fn a_request_without_credentials_is_challenged() {
    let mut sim = Sim::new();
    let alice = sim.phone("alice");
    let draft = sim.draft(&alice, "REGISTER", URI);
    sim.send(&alice, &draft);

    let challenge = sim.expect(&alice, "401");
    let values = challenge.lines("WWW-Authenticate");
    assert_eq!(values.len(), 1);
    assert!(values[0].starts_with("Digest realm=\"example.com\""), "{values:?}");
    assert!(values[0].contains("qop=\"auth\""), "{values:?}");
    assert!(values[0].contains("algorithm=MD5"), "{values:?}");
    assert!(!values[0].contains("stale"), "{values:?}");
    assert!(challenge.to_tag().is_some());
    assert_eq!(challenge.reason(), None);
    assert!(sim.is_idle());
    sim.nothing_else();
}

#[test]
fn an_unknown_user_is_answered_like_a_known_one() {
    let mut sim = Sim::new();
    let mut text_of = |user: &str, with_password: bool| {
        let phone = Phone {
            user: user.to_owned(),
            tag: "t".to_owned(),
            ..sim.phone("alice")
        };
        let draft = sim.draft(&phone, "REGISTER", URI);
        sim.send(&phone, &draft);
        let mut got = sim.expect(&phone, "401");
        if with_password {
            let again = sim.authorized_as(user, "a guess", &draft, &got, 1);
            sim.send(&phone, &again);
            got = sim.expect(&phone, "401");
        }
        let shape = |line: &str| line.split(':').next().unwrap_or_default().to_owned();
        let lines: Vec<String> = got.text().lines().map(shape).collect();
        let challenge = got.header("WWW-Authenticate").to_owned();
        let nonce = challenge.split("nonce=\"").nth(1).unwrap().split('"').next().unwrap();
        (lines, challenge.replace(nonce, "N"))
    };
    assert_eq!(text_of("alice", false), text_of("mallory", false));
    assert_eq!(text_of("alice", true), text_of("mallory", true));
}

#[test]
fn the_algorithms_are_offered_in_their_order_and_each_is_accepted() {
    use ringbinder::sip::digest::Algorithm;
    let mut sim = Sim::with(|domain| domain.auth.algorithms = vec![Algorithm::Sha256, Algorithm::Md5]);
    let alice = sim.phone("alice");
    let draft = sim.draft(&alice, "REGISTER", URI);
    sim.send(&alice, &draft);
    let challenge = sim.expect(&alice, "401");
    let values = challenge.lines("WWW-Authenticate");
    assert!(values[0].contains("algorithm=SHA-256"), "{values:?}");
    assert!(values[1].contains("algorithm=MD5"), "{values:?}");

    let draft = sim.authorized(&alice, &draft, &challenge);
    sim.send(&alice, &draft);
    sim.expect(&alice, "200");
}

#[test]
fn right_credentials_bind_the_contact() {
    let mut sim = Sim::new();
    let alice = sim.phone("alice");
    let ok = sim.register(&alice);

    assert_eq!(contacts(&ok), [format!("<{}>;expires=3600", alice.contact)]);
    assert!(ok.header("Date").ends_with(" GMT"), "{}", ok.text());
    assert!(ok.to_tag().is_some());
    assert_eq!(sim.changes.len(), 1);
    assert_eq!(sim.changes[0].aor.as_bytes(), b"alice@example.com");
    sim.nothing_else();
    sim.advance(Duration::from_secs(60));
    assert!(sim.is_idle());
}

#[test]
fn a_host_that_is_not_served_is_refused() {
    let mut sim = Sim::new();
    let alice = sim.phone("alice");
    let draft = sim.draft(&alice, "REGISTER", "sip:example.net");
    sim.send(&alice, &draft);
    sim.expect(&alice, "403");
    sim.nothing_else();
    assert!(sim.is_idle());
}

#[test]
fn a_domain_without_registration_refuses() {
    let mut sim = Sim::with(|domain| domain.registration = false);
    let alice = sim.phone("alice");
    let draft = sim.draft(&alice, "REGISTER", URI);
    sim.send(&alice, &draft);
    sim.expect(&alice, "403");
}

#[test]
fn an_address_outside_the_domain_is_not_found() {
    let mut sim = Sim::new();
    let alice = sim.phone("alice");
    for to in ["<sip:alice@example.org>", "<sip:alice@elsewhere.net>"] {
        let draft = sim.draft(&alice, "REGISTER", URI).set("To", to);
        assert_eq!(refusal(&mut sim, &alice, &draft), 404, "{to}");
    }
}

#[test]
fn the_checks_come_in_their_order() {
    let mut sim = Sim::new();
    let alice = sim.phone("alice");
    let draft = sim.draft(&alice, "REGISTER", "sip:example.net").add("Require", "foo");
    sim.send(&alice, &draft);
    sim.expect(&alice, "403");

    let draft = sim.draft(&alice, "REGISTER", URI).add("Require", "foo");
    sim.send(&alice, &draft);
    sim.expect(&alice, "420");

    let draft = sim.draft(&alice, "REGISTER", URI).set("To", "<sip:bob@example.com>");
    let draft = draft.set("Contact", "not a contact");
    sim.send(&alice, &draft);
    let challenge = sim.expect(&alice, "401");
    let draft = sim.authorized(&alice, &draft, &challenge);
    sim.send(&alice, &draft);
    sim.expect(&alice, "403");
}

#[test]
fn an_unknown_option_is_refused_with_its_name() {
    let mut sim = Sim::new();
    let alice = sim.phone("alice");
    let draft = sim
        .draft(&alice, "REGISTER", URI)
        .add("Require", "foo, path")
        .add("Require", "bar");
    sim.send(&alice, &draft);
    let refused = sim.expect(&alice, "420");
    assert_eq!(refused.values("Unsupported"), ["foo", "bar"]);
}

#[test]
fn a_wrong_password_is_challenged_afresh_and_changes_nothing() {
    let mut sim = Sim::new();
    let alice = sim.registered("alice");
    let other = sim.phone("alice");
    let draft = sim.draft(&other, "REGISTER", URI);
    sim.send(&other, &draft);
    let challenge = sim.expect(&other, "401");
    let guess = sim.authorized_as("alice", "guess", &draft, &challenge, 1);
    sim.send(&other, &guess);

    let again = sim.expect(&other, "401");
    assert!(!again.header("WWW-Authenticate").contains("stale"), "{}", again.text());
    assert_ne!(again.header("WWW-Authenticate"), challenge.header("WWW-Authenticate"));
    assert_eq!(again.reason(), None);
    assert_eq!(bound(&mut sim, &alice), [&*alice.contact]);
}

#[test]
fn credentials_of_another_scheme_or_realm_are_challenged() {
    let mut sim = Sim::new();
    let alice = sim.phone("alice");
    let other = "Digest username=\"alice\", realm=\"elsewhere\", nonce=\"n\", uri=\"sip:example.com\", response=\"0\"";
    for credentials in ["Basic YWxpY2U6c2VjcmV0", other] {
        let draft = sim.draft(&alice, "REGISTER", URI).add("Authorization", credentials);
        sim.send(&alice, &draft);
        let challenge = sim.expect(&alice, "401");
        assert!(!challenge.header("WWW-Authenticate").contains("stale"));
    }
}

#[test]
fn malformed_credentials_are_a_bad_request() {
    let mut sim = Sim::new();
    let alice = sim.phone("alice");
    let draft = sim
        .draft(&alice, "REGISTER", URI)
        .add("Authorization", "Digest username=\"alice");
    sim.send(&alice, &draft);
    sim.expect(&alice, "400");
}

#[test]
fn an_expired_nonce_is_stale() {
    let mut sim = Sim::new();
    let alice = sim.phone("alice");
    let draft = sim.draft(&alice, "REGISTER", URI);
    sim.send(&alice, &draft);
    let challenge = sim.expect(&alice, "401");
    sim.advance(Duration::from_secs(301));
    let draft = sim.authorized(&alice, &draft, &challenge);
    sim.send(&alice, &draft);
    let stale = sim.expect(&alice, "401");
    assert!(
        stale.header("WWW-Authenticate").contains("stale=true"),
        "{}",
        stale.text()
    );

    let draft = sim.authorized(&alice, &draft, &stale);
    sim.send(&alice, &draft);
    sim.expect(&alice, "200");
}

#[test]
fn a_nonce_of_an_earlier_start_is_stale() {
    let mut before = Sim::new();
    let alice = before.phone("alice");
    let draft = before.draft(&alice, "REGISTER", URI);
    before.send(&alice, &draft);
    let challenge = before.expect(&alice, "401");

    let mut sim = Sim::serving(vec![crate::support::domain("example.com", &["alice"])], 2);
    let draft = sim.authorized(&alice, &draft, &challenge);
    sim.send(&alice, &draft);
    let stale = sim.expect(&alice, "401");
    assert!(
        stale.header("WWW-Authenticate").contains("stale=true"),
        "{}",
        stale.text()
    );
}

#[test]
fn a_replayed_nonce_count_is_stale_and_changes_nothing() {
    let mut sim = Sim::new();
    let alice = sim.phone("alice");
    let first = sim.draft(&alice, "REGISTER", URI);
    sim.send(&alice, &first);
    let challenge = sim.expect(&alice, "401");
    let first = sim.authorized(&alice, &first, &challenge);
    sim.send(&alice, &first);
    sim.expect(&alice, "200");

    let other = sim.phone("alice");
    let replayed = sim.draft(&other, "REGISTER", URI);
    let replayed = sim.authorized(&other, &replayed, &challenge);
    sim.send(&other, &replayed);
    let stale = sim.expect(&other, "401");
    assert!(
        stale.header("WWW-Authenticate").contains("stale=true"),
        "{}",
        stale.text()
    );
    assert_eq!(bound(&mut sim, &alice), [&*alice.contact]);
}

#[test]
fn a_nonce_is_used_again_with_a_higher_count() {
    let mut sim = Sim::new();
    let alice = sim.phone("alice");
    let mut draft = sim.draft(&alice, "REGISTER", URI);
    sim.send(&alice, &draft);
    let challenge = sim.expect(&alice, "401");
    for nonce_count in 1..4 {
        draft = sim.authorized_as("alice", crate::support::PASSWORD, &draft, &challenge, nonce_count);
        sim.send(&alice, &draft);
        sim.expect(&alice, "200");
    }
}

#[test]
fn a_retransmission_gets_the_identical_200() {
    let mut sim = Sim::new();
    let alice = sim.phone("alice");
    let draft = sim.draft(&alice, "REGISTER", URI);
    let draft = sim.send_authorized(&alice, &draft);
    let first = sim.expect(&alice, "200");
    sim.advance(Duration::from_millis(500));
    sim.send(&alice, &draft);
    let second = sim.expect(&alice, "200");
    assert_eq!(first.message.bytes(), second.message.bytes());
    assert_eq!(sim.changes.len(), 1);
}

#[test]
fn a_retransmission_after_its_transaction_is_no_replay() {
    let mut sim = Sim::new();
    let alice = sim.phone("alice");
    let draft = sim.draft(&alice, "REGISTER", URI);
    let draft = sim.send_authorized(&alice, &draft);
    sim.expect(&alice, "200");
    sim.advance(Duration::from_secs(40));
    assert!(sim.is_idle());
    sim.send(&alice, &draft);
    let second = sim.expect(&alice, "200");
    assert_eq!(contacts(&second), [format!("<{}>;expires=3560", alice.contact)]);
    assert_eq!(sim.changes.len(), 1);
}

#[test]
fn the_digest_uri_may_be_another_name_for_us() {
    let mut sim = Sim::new();
    let alice = sim.phone("alice");
    for (uri, status) in [
        ("sip:sip.example.com", 200),
        ("sip:192.0.2.1:5060", 200),
        ("sip:elsewhere.net", 400),
        ("sip:192.0.2.9:5060", 400),
    ] {
        assert_eq!(register_with_digest_uri(&mut sim, &alice, uri), status, "{uri}");
    }
}

#[test]
fn a_strict_domain_wants_the_request_uri_as_digest_uri() {
    let mut sim = Sim::with(|domain| domain.auth.strict_uri = true);
    let alice = sim.phone("alice");
    assert_eq!(register_with_digest_uri(&mut sim, &alice, "sip:192.0.2.1:5060"), 400);
    assert_eq!(register_with_digest_uri(&mut sim, &alice, URI), 200);
}

#[test]
fn a_user_registers_no_other_address() {
    let mut sim = Sim::new();
    let alice = sim.phone("alice");
    let draft = sim.draft(&alice, "REGISTER", URI).set("To", "<sip:bob@example.com>");
    let draft = draft.set("From", "<sip:bob@example.com>;tag=x");
    sim.send_authorized(&alice, &draft);
    let refused = sim.expect(&alice, "403");
    assert_eq!(refused.reason().as_deref(), Some("not-your-aor"));
    assert_eq!(sim.changes.len(), 0);
}

#[test]
fn a_to_tag_is_refused_unless_allowed() {
    let mut sim = Sim::new();
    let alice = sim.phone("alice");
    let draft = sim
        .draft(&alice, "REGISTER", URI)
        .set("To", "<sip:alice@example.com>;tag=x");
    assert_eq!(refusal(&mut sim, &alice, &draft), 400);

    let mut sim = Sim::with(|domain| domain.registrar.allow_to_tag = true);
    sim.send_authorized(&alice, &draft);
    sim.expect(&alice, "200");
}

#[test]
fn the_expiry_is_that_of_the_contact_then_of_the_header_then_the_default() {
    let mut sim = Sim::new();
    let alice = sim.phone("alice");
    for (parameter, header, granted) in [
        (";expires=900", Some("1200"), 900),
        ("", Some("1200"), 1200),
        ("", None, 3600),
        (";expires=soon", Some("1200"), 1200),
        ("", Some("later"), 3600),
        (";expires=7200", None, 3600),
        ("", Some("4294967296"), 3600),
        (";expires=600", None, 600),
    ] {
        let contact = format!("<{}>{parameter}", alice.contact);
        let mut draft = sim.draft(&alice, "REGISTER", URI).set("Contact", &contact);
        if let Some(header) = header {
            draft = draft.add("Expires", header);
        }
        sim.send_authorized(&alice, &draft);
        let ok = sim.expect(&alice, "200");
        let expected = format!("<{}>;expires={granted}", alice.contact);
        assert_eq!(contacts(&ok), [expected], "{parameter} {header:?}");
    }
}

#[test]
fn an_interval_too_brief_is_refused_with_the_least() {
    let mut sim = Sim::new();
    let alice = sim.phone("alice");
    for expires in ["1", "599"] {
        let draft = sim.draft(&alice, "REGISTER", URI).add("Expires", expires);
        sim.send_authorized(&alice, &draft);
        let refused = sim.expect(&alice, "423");
        assert_eq!(refused.start_line(), "SIP/2.0 423 Interval Too Brief");
        assert_eq!(refused.header("Min-Expires"), "600");
        assert_eq!(refused.reason().as_deref(), Some("interval-too-brief"));
    }
    assert_eq!(bound(&mut sim, &alice), [""; 0]);
}

#[test]
fn one_interval_too_brief_refuses_all_contacts() {
    let mut sim = Sim::new();
    let alice = sim.phone("alice");
    let draft = sim.draft(&alice, "REGISTER", URI).set(
        "Contact",
        "<sip:alice@192.0.2.7>;expires=3600, <sip:alice@192.0.2.8>;expires=60",
    );
    assert_eq!(refusal(&mut sim, &alice, &draft), 423);
    assert_eq!(bound(&mut sim, &alice), [""; 0]);
}

#[test]
fn an_expiry_of_zero_removes_that_binding_only() {
    let mut sim = Sim::new();
    let (first, second) = (sim.registered("alice"), sim.registered("alice"));
    let contact = format!("<{}>;expires=0", first.contact);
    let draft = sim.draft(&first, "REGISTER", URI).set("Contact", &contact);
    sim.send_authorized(&first, &draft);
    let ok = sim.expect(&first, "200");
    assert_eq!(contacts(&ok), [format!("<{}>;expires=3600", second.contact)]);
}

#[test]
fn removing_what_is_not_bound_is_no_error() {
    let mut sim = Sim::new();
    let alice = sim.phone("alice");
    let draft = sim.draft(&alice, "REGISTER", URI).add("Expires", "0");
    sim.send_authorized(&alice, &draft);
    let ok = sim.expect(&alice, "200");
    assert_eq!(contacts(&ok), [""; 0]);
}

#[test]
fn a_star_with_expiry_zero_removes_all() {
    let mut sim = Sim::new();
    let (alice, _) = (sim.registered("alice"), sim.registered("alice"));
    let draft = sim
        .draft(&alice, "REGISTER", URI)
        .set("Contact", "*")
        .add("Expires", "0");
    sim.send_authorized(&alice, &draft);
    let ok = sim.expect(&alice, "200");
    assert!(!ok.has("Contact"));
    assert_eq!(bound(&mut sim, &alice), [""; 0]);
}

#[test]
fn a_star_with_anything_else_is_refused() {
    let mut sim = Sim::new();
    let alice = sim.registered("alice");
    let star = |sim: &mut Sim| sim.draft(&alice, "REGISTER", URI).set("Contact", "*");
    let drafts = [
        star(&mut sim),
        star(&mut sim).add("Expires", "3600"),
        star(&mut sim).add("Expires", "1"),
        star(&mut sim)
            .add("Expires", "0")
            .add("Contact", "<sip:alice@192.0.2.7>"),
        star(&mut sim)
            .set("Contact", "<sip:alice@192.0.2.7>, *")
            .add("Expires", "0"),
        star(&mut sim).add("Contact", "*").add("Expires", "0"),
    ];
    for draft in drafts {
        assert_eq!(refusal(&mut sim, &alice, &draft), 400, "{draft:?}");
        assert_eq!(bound(&mut sim, &alice), [&*alice.contact]);
    }
}

#[test]
fn a_star_needs_a_higher_cseq_than_each_binding_of_its_call_id() {
    let mut sim = Sim::new();
    let (alice, other) = (sim.phone("alice"), sim.registered("alice"));
    let draft = sim.draft(&alice, "REGISTER", URI).set("CSeq", "20 REGISTER");
    let call_id = draft.header("Call-ID").to_owned();
    sim.send_authorized(&alice, &draft);
    sim.expect(&alice, "200");

    let star = sim
        .draft(&alice, "REGISTER", URI)
        .set("Contact", "*")
        .add("Expires", "0");
    let star = star.set("Call-ID", &call_id);
    assert_eq!(refusal(&mut sim, &alice, &star.clone().set("CSeq", "20 REGISTER")), 400);
    assert_eq!(bound(&mut sim, &alice), [other.contact.clone(), alice.contact.clone()]);
    let star = star.set("CSeq", "30 REGISTER");
    sim.send_authorized(&alice, &star);
    sim.expect(&alice, "200");
    assert_eq!(bound(&mut sim, &alice), [""; 0]);
}

#[test]
fn without_contact_all_bindings_are_listed_with_what_is_left() {
    let mut sim = Sim::new();
    let first = sim.registered("alice");
    sim.advance(Duration::from_millis(100_400));
    let second = sim.registered("alice");
    sim.advance(Duration::from_secs(10));
    let ok = query(&mut sim, &first);
    let [one, two] = &contacts(&ok)[..] else {
        panic!("{}", ok.text());
    };
    assert_eq!(*two, format!("<{}>;expires=3590", second.contact));
    // What is left is 3489.6 s: which way it is rounded nobody says.
    let left = [3489, 3490].map(|left| format!("<{}>;expires={left}", first.contact));
    assert!(left.contains(one), "{one}");
}

#[test]
fn q_and_instance_are_listed_as_registered() {
    let mut sim = Sim::new();
    let alice = sim.phone("alice");
    let instance = "+sip.instance=\"<urn:uuid:00000000-0000-1000-8000-000A95A0E128>\"";
    let contact = format!("<{}>;q=0.7;{instance};expires=900", alice.contact);
    let draft = sim.draft(&alice, "REGISTER", URI).set("Contact", &contact);
    sim.send_authorized(&alice, &draft);
    let ok = sim.expect(&alice, "200");
    let [listed] = &contacts(&ok)[..] else {
        panic!("{}", ok.text());
    };
    for part in [&*alice.contact, ";q=0.7", instance, ";expires=900"] {
        assert!(listed.contains(part), "{listed}");
    }
}

#[test]
fn equivalent_uris_are_the_same_binding() {
    let mut sim = Sim::new();
    let alice = sim.phone("alice");
    for (first, second, count) in [
        ("sip:alice@PC33.example.net", "sip:%61lice@pc33.EXAMPLE.net", 1),
        (
            "sip:alice@pc33.example.net;Transport=TCP",
            "sip:alice@pc33.example.net;transport=tcp",
            1,
        ),
        ("sip:alice@pc33.example.net;a=1", "sip:alice@pc33.example.net;b=2", 1),
        ("sip:alice@pc33.example.net", "sip:alice@pc33.example.net:5060", 2),
        ("sip:alice@pc33.example.net", "sip:Alice@pc33.example.net", 2),
        ("sip:alice@pc33.example.net", "sips:alice@pc33.example.net", 2),
        (
            "sip:alice@pc33.example.net",
            "sip:alice@pc33.example.net;transport=udp",
            2,
        ),
    ] {
        clear(&mut sim, &alice);
        for uri in [first, second] {
            let draft = sim.draft(&alice, "REGISTER", URI).set("Contact", &format!("<{uri}>"));
            sim.send_authorized(&alice, &draft);
            sim.expect(&alice, "200");
        }
        assert_eq!(bound(&mut sim, &alice).len(), count, "{first} {second}");
    }
}

#[test]
fn the_same_call_id_needs_a_higher_cseq() {
    let mut sim = Sim::new();
    let alice = sim.phone("alice");
    let draft = sim.draft(&alice, "REGISTER", URI).set("CSeq", "10 REGISTER");
    sim.send_authorized(&alice, &draft);
    sim.expect(&alice, "200");
    for cseq in ["9", "10", "2"] {
        let branch = sim.branch();
        let late = draft.clone().branch(&branch).set("CSeq", &format!("{cseq} REGISTER"));
        let late = late.set("Contact", &format!("<{}>;expires=0", alice.contact));
        assert_eq!(refusal(&mut sim, &alice, &late), 400, "{cseq}");
        assert_eq!(bound(&mut sim, &alice), [&*alice.contact]);
    }
    let branch = sim.branch();
    let next = draft.branch(&branch).set("CSeq", "12 REGISTER").set("Expires", "900");
    sim.send_authorized(&alice, &next);
    let ok = sim.expect(&alice, "200");
    assert_eq!(contacts(&ok), [format!("<{}>;expires=900", alice.contact)]);
}

#[test]
fn another_call_id_replaces_the_binding() {
    let mut sim = Sim::new();
    let alice = sim.phone("alice");
    let draft = sim.draft(&alice, "REGISTER", URI).set("CSeq", "1000 REGISTER");
    sim.send_authorized(&alice, &draft);
    sim.expect(&alice, "200");
    let draft = sim
        .draft(&alice, "REGISTER", URI)
        .set("CSeq", "1 REGISTER")
        .add("Expires", "700");
    sim.send_authorized(&alice, &draft);
    let ok = sim.expect(&alice, "200");
    assert_eq!(contacts(&ok), [format!("<{}>;expires=700", alice.contact)]);
}

#[test]
fn the_eleventh_contact_is_refused_and_the_ten_stay() {
    let mut sim = Sim::new();
    let phones: Vec<Phone> = (0..10).map(|_| sim.registered("alice")).collect();
    let eleventh = sim.phone("alice");
    let draft = sim.draft(&eleventh, "REGISTER", URI);
    sim.send_authorized(&eleventh, &draft);
    let refused = sim.expect(&eleventh, "403");
    assert_eq!(refused.reason().as_deref(), Some("too-many-contacts"));
    let all: Vec<String> = phones.iter().map(|phone| phone.contact.clone()).collect();
    assert_eq!(bound(&mut sim, &eleventh), all);

    for phone in &phones {
        sim.register(phone);
    }
    assert_eq!(bound(&mut sim, &eleventh).len(), 10);

    let bob = sim.registered("bob");
    sim.invite(&bob, "sip:alice@example.com");
    for phone in &phones {
        sim.expect(phone, "INVITE");
    }
}

#[test]
fn an_eleventh_that_replaces_one_is_accepted() {
    let mut sim = Sim::new();
    let phones: Vec<Phone> = (0..10).map(|_| sim.registered("alice")).collect();
    let eleventh = sim.phone("alice");
    let both = format!("<{}>, <{}>;expires=0", eleventh.contact, phones[3].contact);
    let draft = sim.draft(&eleventh, "REGISTER", URI).set("Contact", &both);
    sim.send_authorized(&eleventh, &draft);
    let ok = sim.expect(&eleventh, "200");
    assert_eq!(contacts(&ok).len(), 10);
}

#[test]
fn expired_bindings_do_not_count() {
    let mut sim = Sim::new();
    for _ in 0..10 {
        sim.registered("alice");
    }
    sim.advance(Duration::from_secs(3600));
    let eleventh = sim.registered("alice");
    assert_eq!(bound(&mut sim, &eleventh), [&*eleventh.contact]);
}

#[test]
fn the_oldest_gives_way_where_that_is_the_policy() {
    let mut sim = Sim::with(|domain| domain.registrar.overflow = Overflow::ReplaceOldest);
    let mut phones = Vec::new();
    for _ in 0..11 {
        phones.push(sim.registered("alice"));
        sim.advance(Duration::from_secs(1));
    }
    let left: Vec<String> = phones[1..].iter().map(|phone| phone.contact.clone()).collect();
    let mut listed = bound(&mut sim, &phones[10]);
    listed.sort();
    let mut expected = left;
    expected.sort();
    assert_eq!(listed, expected);
}

#[test]
fn who_cannot_be_reached_gives_way_where_that_is_the_policy() {
    let mut sim = Sim::with(|domain| domain.registrar.overflow = Overflow::ReplaceUnreachable);
    let bob = sim.registered("bob");
    let phones: Vec<Phone> = (0..10).map(|_| sim.registered_over("alice", Transport::Tls)).collect();
    let eleventh = sim.phone("alice");
    let draft = sim.draft(&eleventh, "REGISTER", URI);
    assert_eq!(refusal(&mut sim, &eleventh, &draft), 403);

    // Nobody knows that the connection is dead until something is sent over it.
    sim.close(&phones[4]);
    sim.invite(&bob, "sip:alice@example.com");
    let ok = sim.register(&eleventh);
    let listed = contacts(&ok);
    assert_eq!(listed.len(), 10);
    assert!(
        !listed.iter().any(|contact| contact.contains(&phones[4].contact)),
        "{listed:?}"
    );
    let twelfth = sim.phone("alice");
    let draft = sim.draft(&twelfth, "REGISTER", URI);
    assert_eq!(refusal(&mut sim, &twelfth, &draft), 403);
}

#[test]
fn several_contacts_are_bound_at_once_or_not_at_all() {
    let mut sim = Sim::new();
    let alice = sim.phone("alice");
    let many: Vec<String> = (0..11)
        .map(|number| format!("<sip:alice@192.0.2.{}>", 10 + number))
        .collect();
    let draft = sim.draft(&alice, "REGISTER", URI).set("Contact", &many.join(", "));
    assert_eq!(refusal(&mut sim, &alice, &draft), 403);
    assert_eq!(bound(&mut sim, &alice), [""; 0]);

    let draft = sim.draft(&alice, "REGISTER", URI).set("Contact", &many[..9].join(", "));
    let draft = draft.add("Contact", &many[9]);
    sim.send_authorized(&alice, &draft);
    let ok = sim.expect(&alice, "200");
    assert_eq!(contacts(&ok).len(), 10);
}

#[test]
fn a_contact_that_cannot_be_used_changes_nothing() {
    let mut sim = Sim::new();
    let alice = sim.registered("alice");
    let long = format!("<sip:alice@192.0.2.7;push={}>", "x".repeat(2048));
    for contact in [
        "not a contact",
        "<sip:alice@192.0.2.7",
        "<sip:alice@192.0.2.7>;q=7",
        "<mailto:alice@example.com>",
        "<sip:alice@192.0.2.7:99999>",
        &long,
    ] {
        let both = format!("<sip:alice@192.0.2.8>, {contact}");
        for value in [contact, &both] {
            let draft = sim.draft(&alice, "REGISTER", URI).set("Contact", value);
            assert_eq!(refusal(&mut sim, &alice, &draft), 400, "{value}");
            assert_eq!(bound(&mut sim, &alice), [&*alice.contact]);
        }
    }
}

#[test]
fn a_long_contact_within_the_limit_is_bound() {
    let mut sim = Sim::new();
    let alice = sim.phone("alice");
    let uri = format!("sip:alice@192.0.2.7;push={}", "x".repeat(1900));
    let draft = sim.draft(&alice, "REGISTER", URI).set("Contact", &format!("<{uri}>"));
    sim.send_authorized(&alice, &draft);
    sim.expect(&alice, "200");
    assert_eq!(bound(&mut sim, &alice), [uri]);
}

#[test]
fn a_path_is_kept_and_leads_requests() {
    let mut sim = Sim::new();
    let (alice, bob) = (sim.phone("alice"), sim.registered("bob"));
    let edge = sim.peer(Transport::Udp, "203.0.113.20:5070");
    let draft = sim
        .draft(&alice, "REGISTER", URI)
        .add("Supported", "path")
        .add("Path", "<sip:203.0.113.20:5070;lr>, <sip:inner.example.net;lr>");
    sim.send_authorized(&alice, &draft);
    let ok = sim.expect(&alice, "200");
    assert_eq!(
        ok.values("Path"),
        ["<sip:203.0.113.20:5070;lr>", "<sip:inner.example.net;lr>"]
    );
    assert!(ok.values("Supported").contains(&"path"), "{}", ok.text());

    sim.invite(&bob, "sip:alice@example.com");
    let invite = sim.expect(&edge, "INVITE");
    assert_eq!(invite.uri(), alice.contact);
    assert_eq!(
        invite.values("Route"),
        ["<sip:203.0.113.20:5070;lr>", "<sip:inner.example.net;lr>"]
    );
    sim.nothing_else();
}

#[test]
fn a_path_without_support_is_accepted_unless_strict() {
    let path = "<sip:203.0.113.20:5070;lr>";
    let mut sim = Sim::new();
    let alice = sim.phone("alice");
    let draft = sim.draft(&alice, "REGISTER", URI).add("Path", path);
    sim.send_authorized(&alice, &draft);
    sim.expect(&alice, "200");

    let mut sim = Sim::with(|domain| domain.registrar.strict_path = true);
    assert_eq!(refusal(&mut sim, &alice, &draft), 420);
    let draft = draft.add("Supported", "path");
    sim.send_authorized(&alice, &draft);
    sim.expect(&alice, "200");
}

#[test]
fn an_address_is_the_same_escaped_and_under_an_alias() {
    let mut sim = Sim::new();
    let (alice, bob) = (sim.phone("alice"), sim.registered("bob"));
    let draft = sim
        .draft(&alice, "REGISTER", "sip:SIP.Example.COM")
        .set("To", "<sip:%61lice@SIP.example.com>");
    sim.send_authorized(&alice, &draft);
    sim.expect(&alice, "200");
    assert_eq!(bound(&mut sim, &alice), [&*alice.contact]);

    for uri in [
        "sip:alice@example.com",
        "sip:al%69ce@EXAMPLE.COM",
        "sip:alice@sip.example.com:5060",
    ] {
        sim.invite(&bob, uri);
        sim.expect(&alice, "INVITE");
    }
    let other = sim.draft(&bob, "INVITE", "sip:Alice@example.com");
    sim.send_authorized(&bob, &other);
    sim.expect(&bob, "404");
}

#[test]
fn a_request_goes_over_the_flow_whatever_the_contact_names() {
    for transport in [Transport::Udp, Transport::Tcp, Transport::Tls] {
        let mut sim = Sim::new();
        let (mut alice, bob) = (sim.phone_over("alice", transport), sim.registered("bob"));
        alice.contact = "sip:alice@10.0.0.7:5099;ob".to_owned();
        sim.register(&alice);
        sim.invite(&bob, "sip:alice@example.com");
        let invite = sim.expect(&alice, "INVITE");
        assert_eq!(invite.uri(), "sip:alice@10.0.0.7:5099;ob");
        assert_eq!(invite.flow, alice.flow);
        sim.nothing_else();
    }
}

#[test]
fn a_binding_over_tcp_whose_connection_ended_is_tried_at_its_contact() {
    let mut sim = Sim::new();
    let bob = sim.registered("bob");
    let mut pbx = sim.phone_over("alice", Transport::Tcp);
    pbx.contact = format!("sip:alice@{}:5060;transport=tcp", pbx.flow.remote.ip());
    sim.register(&pbx);
    sim.close(&pbx);

    sim.invite(&bob, "sip:alice@example.com");
    let listening = sim.peer(Transport::Tcp, &format!("{}:5060", pbx.flow.remote.ip()));
    let invite = sim.expect(&listening, "INVITE");
    assert_eq!(invite.uri(), pbx.contact);
    sim.respond(&pbx, &invite, "200 OK");
    sim.expect(&bob, "200");
}

#[test]
fn a_binding_whose_flow_is_dead_fails_alone() {
    let mut sim = Sim::new();
    let bob = sim.registered("bob");
    let (dead, alive) = (sim.registered_over("alice", Transport::Tls), sim.registered("alice"));
    sim.close(&dead);
    sim.invite(&bob, "sip:alice@example.com");
    let invite = sim.expect(&alive, "INVITE");
    sim.respond(&alive, &invite, "200 OK");
    sim.expect(&bob, "200");
    sim.nothing_else();
}

#[test]
fn a_binding_ends_at_its_moment() {
    let mut sim = Sim::new();
    let bob = sim.registered("bob");
    let alice = sim.phone("alice");
    let draft = sim.draft(&alice, "REGISTER", URI).add("Expires", "600");
    sim.send_authorized(&alice, &draft);
    sim.expect(&alice, "200");

    sim.advance(Duration::from_millis(599_990));
    sim.invite(&bob, "sip:alice@example.com");
    sim.expect(&alice, "INVITE");
    sim.advance(Duration::from_millis(10));
    sim.delivered.clear();
    let late = sim.draft(&bob, "INVITE", "sip:alice@example.com");
    sim.send_authorized(&bob, &late);
    sim.expect(&bob, "480");
    assert_eq!(bound(&mut sim, &alice), [""; 0]);
}

/// The Contact values of a response, sorted by nothing: in their order.
fn contacts(got: &Got) -> Vec<String> {
    got.values("Contact").into_iter().map(str::to_owned).collect()
}

/// The 200 to a REGISTER without Contact.
fn query(sim: &mut Sim, phone: &Phone) -> Got {
    let draft = sim.draft(phone, "REGISTER", URI).without("Contact");
    sim.send_authorized(phone, &draft);
    sim.expect(phone, "200")
}

/// The URIs bound to the address of `phone`.
fn bound(sim: &mut Sim, phone: &Phone) -> Vec<String> {
    let ok = query(sim, phone);
    contacts(&ok)
        .iter()
        .map(|contact| crate::support::address(contact))
        .collect()
}

fn clear(sim: &mut Sim, phone: &Phone) {
    let draft = sim
        .draft(phone, "REGISTER", URI)
        .set("Contact", "*")
        .add("Expires", "0");
    sim.send_authorized(phone, &draft);
    sim.expect(phone, "200");
}

/// The status that refuses `draft`, sent with right credentials if they are asked for.
fn refusal(sim: &mut Sim, phone: &Phone, draft: &Draft) -> u16 {
    sim.send(phone, draft);
    let mut got = sim.receive(phone).expect("an answer");
    if got.status() == 401 {
        let draft = sim.authorized(phone, draft, &got);
        sim.send(phone, &draft);
        got = sim.receive(phone).expect("an answer");
    }
    assert!(got.status() >= 300, "{}", got.text());
    got.status()
}

fn register_with_digest_uri(sim: &mut Sim, phone: &Phone, digest_uri: &str) -> u16 {
    let draft = sim.draft(phone, "REGISTER", URI);
    sim.send(phone, &draft);
    let challenge = sim.expect(phone, "401");
    let signed = sim
        .authorized(phone, &draft.with_uri(digest_uri), &challenge)
        .with_uri(URI);
    sim.send(phone, &signed);
    sim.receive(phone).expect("an answer").status()
}
