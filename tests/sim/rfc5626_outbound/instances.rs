//! One ring for each instance, over its next flow when one fails (RFC 5626 §5.3, §7).

use std::time::Duration;

use ringbinder::sip::hop::Transport;

use super::{ALICE, URI, reconnected, register_with};
use crate::support::{Phone, Sim};

const FIRST: &str = ";+sip.instance=\"<urn:uuid:1>\";reg-id=1";
const SECOND: &str = ";+sip.instance=\"<urn:uuid:1>\";reg-id=2";

/// A phone with two flows; the second was registered last.
fn two_flows(sim: &mut Sim, transport: Transport) -> (Phone, Phone) {
    let first = sim.phone_over("alice", transport);
    let second = sim.phone_over("alice", transport);
    assert_eq!(register_with(sim, &first, FIRST).status(), 200);
    sim.advance(Duration::from_secs(1));
    let ok = register_with(sim, &second, SECOND);
    assert_eq!(ok.values("Contact").len(), 2);
    (first, second)
}

#[test]
fn an_instance_rings_once_over_its_latest_flow() {
    let mut sim = Sim::new();
    let bob = sim.registered("bob");
    let (_, second) = two_flows(&mut sim, Transport::Tls);
    let other = sim.phone_over("alice", Transport::Tls);
    register_with(&mut sim, &other, ";+sip.instance=\"<urn:uuid:2>\";reg-id=1");

    sim.invite(&bob, ALICE);
    sim.expect(&second, "INVITE");
    sim.expect(&other, "INVITE");
    sim.nothing_else();
}

#[test]
fn a_higher_q_goes_before_a_later_registration() {
    let mut sim = Sim::new();
    let bob = sim.registered("bob");
    let (first, second) = (
        sim.phone_over("alice", Transport::Tls),
        sim.phone_over("alice", Transport::Tls),
    );
    register_with(&mut sim, &first, &format!(";q=0.9{FIRST}"));
    register_with(&mut sim, &second, &format!(";q=0.5{SECOND}"));
    sim.invite(&bob, ALICE);
    sim.expect(&first, "INVITE");
    sim.nothing_else();
}

#[test]
fn when_the_flow_fails_the_next_one_is_tried() {
    let mut sim = Sim::new();
    let bob = sim.registered("bob");
    let (first, second) = two_flows(&mut sim, Transport::Tls);
    sim.unreachable.insert((Transport::Tls, second.flow.remote));
    sim.invite(&bob, ALICE);
    let invite = sim.expect(&first, "INVITE");
    sim.respond(&first, &invite, "200 OK");
    sim.expect(&bob, "200");
    sim.nothing_else();
}

#[test]
fn when_the_connection_ends_before_an_answer_the_next_one_is_tried() {
    let mut sim = Sim::new();
    let bob = sim.registered("bob");
    let (first, second) = two_flows(&mut sim, Transport::Tls);
    sim.invite(&bob, ALICE);
    sim.expect(&second, "INVITE");
    sim.close(&second);
    sim.expect(&first, "INVITE");
    sim.nothing_else();
}

#[test]
fn who_does_not_answer_on_one_flow_is_tried_on_the_next() {
    let mut sim = Sim::new();
    let bob = sim.registered("bob");
    let (first, second) = two_flows(&mut sim, Transport::Udp);
    sim.invite(&bob, ALICE);
    sim.expect(&second, "INVITE");
    sim.advance(Duration::from_secs(33));
    sim.kinds(&second);
    let invite = sim.expect(&first, "INVITE");
    sim.respond(&first, &invite, "486 Busy Here");
    sim.kinds(&first);
    sim.expect(&bob, "486");
}

#[test]
fn an_answer_of_the_phone_is_that_of_all_its_flows() {
    let mut sim = Sim::new();
    let bob = sim.registered("bob");
    let (_, second) = two_flows(&mut sim, Transport::Tls);
    sim.invite(&bob, ALICE);
    let invite = sim.expect(&second, "INVITE");
    sim.respond(&second, &invite, "486 Busy Here");
    sim.expect(&second, "ACK");
    sim.expect(&bob, "486");
    sim.nothing_else();
}

#[test]
fn a_suspended_flow_is_none_to_be_tried() {
    let mut sim = Sim::new();
    let bob = sim.registered("bob");
    let (first, second) = two_flows(&mut sim, Transport::Tls);
    sim.close(&second);
    sim.invite(&bob, ALICE);
    sim.expect(&first, "INVITE");
    sim.nothing_else();
}

#[test]
fn a_caller_is_not_rung_on_their_own_other_flow() {
    let mut sim = Sim::new();
    let (first, _) = two_flows(&mut sim, Transport::Tls);
    let desk = sim.registered("alice");
    sim.invite(&first, ALICE);
    sim.expect(&desk, "INVITE");
    sim.nothing_else();
}

#[test]
fn an_edge_that_answers_430_has_its_binding_suspended() {
    let mut sim = Sim::new();
    let bob = sim.registered("bob");
    let (one, other) = (
        sim.peer(Transport::Udp, "203.0.113.20:5070"),
        sim.peer(Transport::Udp, "203.0.113.21:5070"),
    );
    for (edge, parameters) in [(&one, FIRST), (&other, SECOND)] {
        let alice = sim.phone_over("alice", Transport::Tls);
        let draft = sim
            .draft(&alice, "REGISTER", URI)
            .set("Contact", &format!("<{}>{parameters}", alice.contact))
            .add("Path", &format!("<sip:token@{};lr;ob>", edge.flow.remote));
        sim.send_authorized(&alice, &draft);
        sim.expect(&alice, "200");
        sim.advance(Duration::from_secs(1));
    }
    sim.invite(&bob, ALICE);
    let invite = sim.expect(&other, "INVITE");
    sim.respond(&other, &invite, "430 Flow Failed");
    sim.expect(&other, "ACK");
    assert_eq!(sim.changes.last().unwrap().counts.suspended, 1);
    let invite = sim.expect(&one, "INVITE");
    sim.respond(&one, &invite, "430 Flow Failed");
    sim.expect(&one, "ACK");
    sim.expect(&bob, "480");
    super::call_in_vain(&mut sim, &bob);
    sim.nothing_else();
}

#[test]
fn a_phone_that_reboots_replaces_its_flow() {
    let mut sim = Sim::new();
    let bob = sim.registered("bob");
    let phone = sim.phone_over("alice", Transport::Tls);
    register_with(&mut sim, &phone, FIRST);
    let mut again = reconnected(&mut sim, &phone);
    again.contact = "sip:alice@192.168.7.7:50123;transport=tls".to_owned();
    let ok = register_with(&mut sim, &again, FIRST);
    assert_eq!(ok.values("Contact").len(), 1);
    sim.invite(&bob, ALICE);
    let invite = sim.expect(&again, "INVITE");
    assert_eq!(invite.uri(), again.contact);
    sim.nothing_else();
}

#[test]
fn a_ringing_phone_may_come_back_on_another_connection() {
    let mut sim = Sim::new();
    let bob = sim.registered("bob");
    let alice = sim.phone_over("alice", Transport::Tls);
    register_with(&mut sim, &alice, FIRST);
    sim.invite(&bob, ALICE);
    let invite = sim.expect(&alice, "INVITE");
    sim.ring(&bob, &alice, &invite);
    sim.close(&alice);
    sim.advance(Duration::from_secs(20));
    let again = reconnected(&mut sim, &alice);
    let answer = sim.answer(&alice, &invite, "200 OK");
    sim.deliver(&again.flow, answer.bytes());
    sim.expect(&bob, "200");
    sim.nothing_else();
    sim.advance(Duration::from_secs(120));
    sim.nothing_else();
    assert!(sim.is_idle());
}

#[test]
fn a_ringing_phone_that_stays_away_is_given_up() {
    let mut sim = Sim::new();
    let bob = sim.registered("bob");
    let gone = sim.registered_over("alice", Transport::Tls);
    sim.invite(&bob, ALICE);
    let invite = sim.expect(&gone, "INVITE");
    sim.ring(&bob, &gone, &invite);
    sim.close(&gone);
    sim.advance(Duration::from_secs(31));
    sim.nothing_else();
    sim.advance(Duration::from_secs(1));
    sim.expect(&bob, "480");
    sim.nothing_else();
    sim.advance(Duration::from_secs(120));
    assert!(sim.kinds(&bob).iter().all(|kind| kind == "480"));
    assert!(sim.is_idle());
}

#[test]
fn others_ring_on_when_one_is_given_up() {
    let mut sim = Sim::new();
    let bob = sim.registered("bob");
    let (gone, other) = (
        sim.registered_over("alice", Transport::Tls),
        sim.registered_over("alice", Transport::Tls),
    );
    sim.invite(&bob, ALICE);
    for phone in [&gone, &other] {
        let invite = sim.expect(phone, "INVITE");
        sim.ring(&bob, phone, &invite);
    }
    sim.close(&gone);
    sim.advance(Duration::from_secs(60));
    sim.nothing_else();
    // Who rings no longer than that is heard again before: nobody waits for them.
    sim.advance(Duration::from_secs(130));
    assert_eq!(sim.kinds(&other), ["CANCEL"]);
}
