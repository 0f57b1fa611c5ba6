//! Service-Route (RFC 3608): phones are told a route for their requests; where it names this server it is taken out.

use ringbinder::sip::hop::Transport;

use crate::support::Sim;

#[test]
fn none_is_told_unless_configured() {
    let mut sim = Sim::new();
    let alice = sim.phone("alice");
    assert!(!sim.register(&alice).has("Service-Route"));
}

#[test]
fn it_is_told_in_its_order_and_followed() {
    let mut sim = Sim::with(|domain| {
        domain.registrar.service_route = vec!["<sip:192.0.2.1;lr>".into(), "<sip:203.0.113.40;lr>".into()];
    });
    let alice = sim.phone("alice");
    let ok = sim.register(&alice);
    assert_eq!(
        ok.values("Service-Route"),
        ["<sip:192.0.2.1;lr>", "<sip:203.0.113.40;lr>"]
    );

    let draft = sim
        .draft(&alice, "INVITE", "sip:bob@example.com")
        .add("Route", "<sip:192.0.2.1;lr>, <sip:203.0.113.40;lr>");
    sim.invite_with(&alice, &draft);
    let next = sim.peer(Transport::Udp, "203.0.113.40:5060");
    let invite = sim.expect(&next, "INVITE");
    assert_eq!(invite.values("Route"), ["<sip:203.0.113.40;lr>"]);
    sim.nothing_else();
}
