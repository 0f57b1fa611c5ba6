//! How a binding leads requests to its phone (RFC 3261 §16.5, §18.1.1; RFC 3327 §5.4; RFC 5626 §5.3).

use ringbinder::sip::hop::Transport;

use super::{URI, bound};
use crate::support::Sim;

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
