//! What is refused before any Contact is looked at, in its order (RFC 3261 §10.3 steps 1 to 5, RFC 3327 §5.3).

use super::{URI, refusal};
use crate::support::Sim;

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
