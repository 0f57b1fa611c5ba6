//! A phone that has lost its connection and registered again is reached within its dialogs (RFC 5626 §5.3).

use ringbinder::sip::hop::{ConnectionId, Transport};

use super::{BOB, answered, behind_nat};
use crate::support::{Phone, Sim};

/// `phone` on another connection, registered again.
fn back(sim: &mut Sim, phone: &Phone) -> Phone {
    let mut again = phone.clone();
    again.flow.connection = Some(ConnectionId(7_000 + sim.unique()));
    again.flow.remote.set_port(31_000);
    sim.close(phone);
    sim.register(&again);
    again
}

#[test]
fn each_side_is_reached_over_its_new_flow() {
    for transport in [Transport::Tls, Transport::Tcp] {
        let mut sim = Sim::new();
        let (alice, bob) = behind_nat(&mut sim, transport, transport);
        let mut call = answered(&mut sim, &alice, &bob);
        let bob = back(&mut sim, &bob);
        // Nobody hears of an ACK that cannot be sent.
        let ack = call.caller.ack(&mut sim, &alice);
        sim.send(&alice, &ack);
        assert_eq!(sim.expect(&bob, "ACK").flow, bob.flow);
        let info = call.caller.request(&mut sim, &alice, "INFO");
        sim.send(&alice, &info);
        let got = sim.expect(&bob, "INFO");
        assert_eq!((got.uri(), got.flow), (&*bob.contact, bob.flow));
        sim.respond(&bob, &got, "200 OK");
        sim.expect(&alice, "200");

        let alice = back(&mut sim, &alice);
        let bye = call.callee.request(&mut sim, &bob, "BYE");
        sim.send(&bob, &bye);
        let got = sim.expect(&alice, "BYE");
        assert_eq!((got.uri(), got.flow), (&*alice.contact, alice.flow));
        sim.nothing_else();
    }
}

#[test]
fn who_is_not_back_is_430() {
    let mut sim = Sim::new();
    let (alice, bob) = behind_nat(&mut sim, Transport::Tls, Transport::Udp);
    let mut call = answered(&mut sim, &alice, &bob);
    sim.close(&alice);
    let bye = call.callee.request(&mut sim, &bob, "BYE");
    sim.send(&bob, &bye);
    sim.expect(&bob, "430");
    sim.nothing_else();
}

#[test]
fn nobody_else_is_reached_by_naming_them() {
    let mut sim = Sim::new();
    let (alice, bob) = behind_nat(&mut sim, Transport::Udp, Transport::Tls);
    let carol = sim.registered_over("carol", Transport::Tls);
    let mut call = answered(&mut sim, &alice, &bob);
    sim.close(&bob);
    // The token is valid, the flow in it is dead, and carol's Contact is known: she was not in this dialog.
    let info = call.caller.request(&mut sim, &alice, "INFO");
    let to = info.header("To").replace(BOB, "sip:carol@example.com");
    let info = info.with_uri(&carol.contact).set("To", &to);
    sim.send(&alice, &info);
    sim.expect(&alice, "430");
    sim.nothing_else();
}

#[test]
fn a_caller_who_has_not_proved_who_they_are_has_no_other_flow() {
    let mut sim = Sim::with(|domain| domain.uri_calling = ringbinder::sip::domain::UriCalling::Unrestricted);
    let bob = sim.registered("bob");
    // Somebody says they are carol, and names her Contact as theirs.
    let carol = sim.registered_over("carol", Transport::Tls);
    let mut stranger = sim.phone_over("carol", Transport::Tls);
    stranger.contact = carol.contact.clone();
    let sent = sim.draft(&stranger, "INVITE", BOB);
    sim.send(&stranger, &sent);
    sim.expect(&stranger, "100");
    let invite = sim.expect(&bob, "INVITE");
    let answer = sim.respond(&bob, &invite, "200 OK");
    sim.expect(&stranger, "200");
    sim.close(&stranger);
    let mut callee = crate::support::Dialog::of_callee(&invite, &answer);
    let bye = callee.request(&mut sim, &bob, "BYE");
    sim.send(&bob, &bye);
    sim.expect(&bob, "430");
    sim.nothing_else();
}
