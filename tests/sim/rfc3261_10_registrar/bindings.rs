//! Which binding a Contact means, how many there may be, and how they are listed (RFC 3261 §10.2.4, §10.3 steps 7 and 8).

use std::time::Duration;

use ringbinder::sip::hop::Transport;
use ringbinder::sip::registrar::Overflow;

use super::{URI, bound, contacts, query, refusal};
use crate::support::{Phone, Sim};

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
fn a_folded_contact_is_understood_and_listed_on_one_line() {
    let mut sim = Sim::new();
    let alice = sim.phone("alice");
    let contact = format!(
        "\"Alice, at home\"\r\n <{}>\r\n\t;q=0.5\r\n ; expires\r\n = 900",
        alice.contact
    );
    let draft = sim.draft(&alice, "REGISTER", URI).set("Contact", &contact);
    sim.send_authorized(&alice, &draft);
    let ok = sim.expect(&alice, "200");
    let [listed] = &contacts(&ok)[..] else {
        panic!("{}", ok.text());
    };
    assert!(listed.contains(&alice.contact) && listed.contains("q=0.5"), "{listed}");
    assert!(listed.ends_with(";expires=900") && !listed.contains('\n'), "{listed}");
    let bob = sim.registered("bob");
    sim.invite(&bob, "sip:alice@example.com");
    assert_eq!(sim.expect(&alice, "INVITE").uri(), alice.contact);
}

#[test]
fn equivalent_uris_are_the_same_binding() {
    let mut sim = Sim::new();
    let alice = sim.phone_over("alice", Transport::Tls);
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

fn clear(sim: &mut Sim, phone: &Phone) {
    let draft = sim
        .draft(phone, "REGISTER", URI)
        .set("Contact", "*")
        .add("Expires", "0");
    sim.send_authorized(phone, &draft);
    sim.expect(phone, "200");
}
