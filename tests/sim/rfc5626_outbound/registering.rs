//! What a registrar asks and says of flows (RFC 5626 §6).

use std::time::Duration;

use ringbinder::sip::hop::Transport;

use super::{URI, outbound, register_with};
use crate::support::{Got, Phone, Sim};

const FLOW: &str = ";+sip.instance=\"<urn:uuid:1>\";reg-id=1";

#[test]
fn on_a_connection_the_phone_hears_how_often_to_keep_it_alive() {
    for transport in [Transport::Tcp, Transport::Tls] {
        let mut sim = Sim::new();
        let alice = sim.phone_over("alice", transport);
        let ok = register_with(&mut sim, &alice, FLOW);
        assert_eq!(ok.header("Require"), "outbound");
        assert_eq!(ok.header("Flow-Timer"), "120");
        assert_eq!(ok.values("Supported"), ["path", "outbound", "gruu"]);
        let contact = ok.header("Contact");
        assert!(
            contact.contains("reg-id=1") && contact.contains("+sip.instance=\"<urn:uuid:1>\""),
            "{contact}"
        );
    }
    let mut sim = Sim::with(|domain| domain.registrar.flow_timer = None);
    let alice = sim.phone_over("alice", Transport::Tls);
    let ok = register_with(&mut sim, &alice, FLOW);
    assert_eq!(ok.header("Require"), "outbound");
    assert!(!ok.has("Flow-Timer"));
}

#[test]
fn over_udp_it_knows_by_itself() {
    let mut sim = Sim::new();
    let alice = sim.phone("alice");
    let ok = register_with(&mut sim, &alice, FLOW);
    assert_eq!(ok.header("Require"), "outbound");
    assert!(!ok.has("Flow-Timer"));
}

#[test]
fn who_does_not_ask_for_flows_gets_none() {
    let mut sim = Sim::new();
    let alice = sim.phone_over("alice", Transport::Tls);
    for parameters in [";+sip.instance=\"<urn:uuid:1>\"", ";reg-id=1", ""] {
        let ok = register_with(&mut sim, &alice, parameters);
        assert!(!ok.has("Require") && !ok.has("Flow-Timer"), "{}", ok.text());
    }
    // With instance and reg-id, but without Supported: outbound.
    let draft = outbound(&mut sim, &alice, FLOW).without("Supported");
    sim.send_authorized(&alice, &draft);
    assert!(!sim.expect(&alice, "200").has("Require"));
    // Removed, there is no flow.
    let ok = register_with(&mut sim, &alice, &format!("{FLOW};expires=0"));
    assert!(!ok.has("Require"));
}

#[test]
fn a_first_hop_that_does_not_know_flows_is_439() {
    let mut sim = Sim::new();
    let through = |sim: &mut Sim, path: Option<&str>| -> Got {
        let alice = sim.phone_over("alice", Transport::Tls);
        // The Via of the phone below that of the edge.
        let mut draft = outbound(sim, &alice, FLOW).add("Via", "SIP/2.0/UDP 10.1.2.3;branch=z9hG4bK-inner");
        if let Some(path) = path {
            draft = draft.add("Path", path);
        }
        sim.send_authorized(&alice, &draft);
        sim.receive(&alice).unwrap()
    };
    for path in [
        None,
        Some("<sip:edge.example.net;lr>"),
        Some("<sip:inner.example.net;lr;ob>, <sip:edge.example.net;lr>"),
    ] {
        let got = through(&mut sim, path);
        assert_eq!(got.status(), 439, "{path:?}");
        assert!(got.header("Warning").contains("first-hop-lacks-outbound"));
    }
    let phone = sim.phone("alice");
    assert!(super::bound(&mut sim, &phone).is_empty());
    // The Path of the first hop is the last one.
    let ok = through(
        &mut sim,
        Some("<sip:inner.example.net;lr>, <sip:edge.example.net;lr;ob>"),
    );
    assert_eq!(ok.status(), 200);
    assert_eq!(ok.header("Require"), "outbound");
    assert!(!ok.has("Flow-Timer"), "that flow is the edge's");
}

#[test]
fn a_reg_id_that_is_none_is_refused_and_without_an_instance_ignored() {
    let mut sim = Sim::new();
    let alice = sim.phone_over("alice", Transport::Tls);
    for reg_id in ["0", "-1", "x", "2147483648", "99999999999999999999"] {
        let got = register_with(
            &mut sim,
            &alice,
            &format!(";+sip.instance=\"<urn:uuid:1>\";reg-id={reg_id}"),
        );
        assert_eq!(got.status(), 400, "{reg_id}");
    }
    assert_eq!(
        register_with(&mut sim, &alice, ";+sip.instance=\"<urn:uuid:1>\";reg-id").status(),
        400
    );
    let status = register_with(&mut sim, &alice, ";+sip.instance=\"<urn:uuid:1>\";reg-id=2147483647").status();
    assert_eq!(status, 200);

    let mut sim = Sim::new();
    let (one, other) = (sim.phone("alice"), sim.phone("alice"));
    register_with(&mut sim, &one, ";reg-id=1");
    let ok = register_with(&mut sim, &other, ";reg-id=1");
    assert_eq!(ok.values("Contact").len(), 2);
}

#[test]
fn a_request_makes_one_flow_at_most() {
    let mut sim = Sim::new();
    let alice = sim.phone_over("alice", Transport::Tls);
    let two = |sim: &mut Sim, alice: &Phone, second: &str| {
        let draft = outbound(sim, alice, FLOW).add("Contact", second);
        sim.send_authorized(alice, &draft);
        sim.receive(alice).unwrap()
    };
    let second = "<sip:alice@192.168.9.9>;+sip.instance=\"<urn:uuid:1>\";reg-id=2";
    assert_eq!(two(&mut sim, &alice, second).status(), 400);
    assert!(super::bound(&mut sim, &alice).is_empty());
    // One of them is removed, or is none.
    assert_eq!(two(&mut sim, &alice, &format!("{second};expires=0")).status(), 200);
    assert_eq!(two(&mut sim, &alice, "<sip:alice@192.168.9.9>").status(), 200);
}

#[test]
fn options_says_what_is_supported() {
    let mut sim = Sim::new();
    let alice = sim.phone("alice");
    let draft = sim.draft(&alice, "OPTIONS", URI);
    sim.send(&alice, &draft);
    assert_eq!(
        sim.expect(&alice, "200").values("Supported"),
        ["path", "outbound", "gruu"]
    );
}

#[test]
fn a_flow_is_refreshed_by_instance_and_reg_id_whatever_its_uri() {
    let mut sim = Sim::new();
    let bob = sim.registered("bob");
    let mut alice = sim.phone("alice");
    register_with(&mut sim, &alice, FLOW);
    sim.advance(Duration::from_secs(10));
    alice.contact = "sip:alice@10.9.8.7:5070".to_owned();
    alice.flow.remote.set_port(41_000);
    let ok = register_with(&mut sim, &alice, FLOW);
    assert_eq!(ok.values("Contact").len(), 1);
    sim.invite(&bob, super::ALICE);
    let invite = sim.expect(&alice, "INVITE");
    assert_eq!((invite.uri(), invite.flow), (&*alice.contact, alice.flow));
}
