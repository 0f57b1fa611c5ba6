//! Path (RFC 3327): kept with the binding, told to who knows it, and the way of requests.

use ringbinder::sip::hop::Transport;

use crate::support::{Got, Sim};

const PATH: &str = "<sip:outer.example.net;lr>, <sip:inner.example.net;lr>";

fn register(sim: &mut Sim, supported: &str) -> Got {
    let alice = sim.phone("alice");
    let mut draft = sim.draft(&alice, "REGISTER", "sip:example.com").add("Path", PATH);
    if !supported.is_empty() {
        draft = draft.add("Supported", supported);
    }
    sim.send(&alice, &draft);
    let challenge = sim.receive(&alice).unwrap();
    if challenge.status() != 401 {
        return challenge;
    }
    let draft = sim.authorized(&alice, &draft, &challenge);
    sim.send(&alice, &draft);
    sim.receive(&alice).unwrap()
}

#[test]
fn it_is_told_in_its_order_to_who_knows_it() {
    let mut sim = Sim::new();
    let ok = register(&mut sim, "gruu, PATH");
    assert_eq!(
        ok.values("Path"),
        ["<sip:outer.example.net;lr>", "<sip:inner.example.net;lr>"]
    );
    let ok = register(&mut sim, "");
    assert_eq!(ok.status(), 200);
    assert!(!ok.has("Path"), "{}", ok.text());
}

#[test]
fn it_leads_requests_whether_the_phone_knows_it_or_not() {
    let mut sim = Sim::new();
    sim.host("outer.example.net", &["203.0.113.30"]);
    let bob = sim.registered("bob");
    register(&mut sim, "");
    sim.invite(&bob, "sip:alice@example.com");
    let outer = sim.peer(Transport::Udp, "203.0.113.30:5060");
    let invite = sim.expect(&outer, "INVITE");
    assert_eq!(
        invite.values("Route"),
        ["<sip:outer.example.net;lr>", "<sip:inner.example.net;lr>"]
    );
    sim.nothing_else();
}

#[test]
fn strictly_it_needs_to_be_known() {
    let mut sim = Sim::with(|domain| domain.registrar.strict_path = true);
    let refused = register(&mut sim, "");
    assert_eq!(refused.status(), 420);
    assert_eq!(refused.header("Unsupported"), "path");
    assert_eq!(register(&mut sim, "path").status(), 200);
}
