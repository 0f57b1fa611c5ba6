//! How long a binding lasts, and how it ends (RFC 3261 §10.2.1.1, §10.2.2, §10.3 steps 6 and 7).

use std::time::Duration;

use super::{URI, bound, contacts, refusal};
use crate::support::Sim;

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
