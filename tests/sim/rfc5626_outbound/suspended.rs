//! A binding whose flow is dead is kept and not rung, until its phone comes back (RFC 5626 §4.2.1; RFC 3261 §18.1.1).

use std::time::Duration;

use ringbinder::sip::hop::Transport;

use super::{ALICE, bound, call_in_vain, reconnected, register_with};
use crate::support::Sim;

#[test]
fn a_tls_phone_is_suspended_at_once_and_listed_and_rung_again_when_it_is_back() {
    let mut sim = Sim::new();
    let bob = sim.registered("bob");
    let alice = sim.registered_over("alice", Transport::Tls);
    sim.close(&alice);
    assert_eq!(sim.changes.last().unwrap().counts.suspended, 1);

    call_in_vain(&mut sim, &bob);
    let again = reconnected(&mut sim, &alice);
    assert_eq!(bound(&mut sim, &again), [&*alice.contact]);

    sim.register(&again);
    assert_eq!(sim.changes.last().unwrap().counts.resumed, 1);
    assert_eq!(bound(&mut sim, &again), [&*alice.contact]);
    sim.invite(&bob, ALICE);
    assert_eq!(sim.expect(&again, "INVITE").flow, again.flow);
    sim.nothing_else();
}

#[test]
fn a_suspended_binding_ends_with_its_time() {
    let mut sim = Sim::new();
    let alice = sim.registered_over("alice", Transport::Tls);
    sim.close(&alice);
    sim.advance(Duration::from_secs(3601));
    let again = reconnected(&mut sim, &alice);
    assert!(bound(&mut sim, &again).is_empty());
}

#[test]
fn what_can_be_reached_otherwise_is_not_suspended() {
    // A PBX whose Contact is where it comes from.
    let mut sim = Sim::new();
    let bob = sim.registered("bob");
    let mut pbx = sim.phone_over("alice", Transport::Tcp);
    pbx.contact = format!("sip:alice@{}:5060;transport=tcp", pbx.flow.remote.ip());
    sim.register(&pbx);
    let changes = sim.changes.len();
    sim.close(&pbx);
    assert_eq!(sim.changes.len(), changes);
    sim.invite(&bob, ALICE);
    let listening = sim.peer(Transport::Tcp, &format!("{}:5060", pbx.flow.remote.ip()));
    sim.expect(&listening, "INVITE");

    // The same with a reg-id: its instance keeps flows.
    let mut sim = Sim::new();
    let bob = sim.registered("bob");
    let mut phone = sim.phone_over("alice", Transport::Tcp);
    phone.contact = format!("sip:alice@{}:5060;transport=tcp", phone.flow.remote.ip());
    register_with(&mut sim, &phone, ";+sip.instance=\"<urn:uuid:1>\";reg-id=1");
    sim.close(&phone);
    call_in_vain(&mut sim, &bob);
    sim.nothing_else();
}

#[test]
fn a_stored_path_does_not_depend_on_the_connection_it_came_by() {
    let mut sim = Sim::new();
    let bob = sim.registered("bob");
    let alice = sim.phone_over("alice", Transport::Tls);
    let edge = sim.peer(Transport::Udp, "203.0.113.20:5070");
    let draft = sim
        .draft(&alice, "REGISTER", super::URI)
        .add("Supported", "path")
        .add("Path", "<sip:203.0.113.20:5070;lr>");
    sim.send_authorized(&alice, &draft);
    sim.expect(&alice, "200");
    sim.close(&alice);
    sim.invite(&bob, ALICE);
    sim.expect(&edge, "INVITE");
}

#[test]
fn the_eleventh_contact_takes_the_place_of_the_one_suspended_longest() {
    let mut sim = Sim::new();
    let phones: Vec<_> = (0..10).map(|_| sim.registered_over("alice", Transport::Tls)).collect();
    let new = sim.phone_over("alice", Transport::Tls);
    let draft = sim.draft(&new, "REGISTER", super::URI);
    sim.send_authorized(&new, &draft);
    sim.expect(&new, "403");

    sim.close(&phones[7]);
    sim.advance(Duration::from_secs(5));
    sim.close(&phones[2]);
    sim.register(&new);
    let listed = bound(&mut sim, &new);
    assert_eq!(listed.len(), 10);
    assert!(!listed.contains(&phones[7].contact) && listed.contains(&phones[2].contact));

    let newer = sim.phone_over("alice", Transport::Tls);
    sim.register(&newer);
    assert!(!bound(&mut sim, &newer).contains(&phones[2].contact));
    let last = sim.phone_over("alice", Transport::Tls);
    let draft = sim.draft(&last, "REGISTER", super::URI);
    sim.send_authorized(&last, &draft);
    sim.expect(&last, "403");
}

#[test]
fn all_that_registered_over_one_connection_is_suspended_in_turns() {
    let mut sim = Sim::new();
    let trunk = sim.phone_over("alice", Transport::Tls);
    for user in ["alice", "bob", "carol"] {
        let mut phone = trunk.clone();
        phone.user = user.to_owned();
        phone.contact = trunk.contact.replace("alice", user);
        sim.register(&phone);
    }
    let location = sim.shared.location.clone();
    assert_eq!(location.connected(), 3);
    let connection = trunk.flow.connection.unwrap();
    let mut changes = Vec::new();
    assert!(location.close_connection(connection, sim.now, 2, &mut changes));
    assert_eq!((changes.len(), location.connected()), (2, 1));
    assert!(!location.close_connection(connection, sim.now, 2, &mut changes));
    assert_eq!((changes.len(), location.connected()), (3, 0));
}

#[test]
fn the_end_of_an_earlier_connection_does_not_touch_who_is_back_already() {
    for parameters in ["", ";+sip.instance=\"<urn:uuid:1>\";reg-id=1"] {
        let mut sim = Sim::new();
        let bob = sim.registered("bob");
        let alice = sim.phone_over("alice", Transport::Tls);
        register_with(&mut sim, &alice, parameters);
        let mut again = reconnected(&mut sim, &alice);
        if !parameters.is_empty() {
            again.contact = "sip:alice@192.168.0.99:4711;transport=tls".to_owned();
        }
        register_with(&mut sim, &again, parameters);
        assert_eq!(sim.shared.location.connected(), 1);
        sim.close(&alice);
        sim.invite(&bob, ALICE);
        assert_eq!(sim.expect(&again, "INVITE").flow, again.flow);
        sim.nothing_else();
    }
}

#[test]
fn a_request_that_cannot_be_sent_suspends_too() {
    let mut sim = Sim::new();
    let bob = sim.registered("bob");
    let alice = sim.registered_over("alice", Transport::Tls);
    sim.unreachable.insert((Transport::Tls, alice.flow.remote));
    sim.invite(&bob, ALICE);
    sim.expect(&bob, "480");
    assert_eq!(sim.changes.last().unwrap().counts.suspended, 1);
}
