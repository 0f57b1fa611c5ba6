//! Requests within a dialog go over the flow of the other side, in both directions (RFC 3261 §12.2, §16.11; RFC 5626
//! §5.3).

use std::time::Duration;

use ringbinder::sip::hop::Transport;

use super::{BOB, answered, behind_nat};
use crate::support::{Dialog, Phone, Sim};

/// Every pair of transports, and Contacts that nobody can reach.
const PAIRS: [(Transport, Transport); 9] = [
    (Transport::Tls, Transport::Tls),
    (Transport::Udp, Transport::Udp),
    (Transport::Tcp, Transport::Tcp),
    (Transport::Udp, Transport::Tls),
    (Transport::Tls, Transport::Udp),
    (Transport::Tcp, Transport::Udp),
    (Transport::Udp, Transport::Tcp),
    (Transport::Tcp, Transport::Tls),
    (Transport::Tls, Transport::Tcp),
];

#[test]
fn ack_reinvite_and_bye_arrive_in_each_direction() {
    for (first, second) in PAIRS {
        let mut sim = Sim::new();
        let (alice, bob) = behind_nat(&mut sim, first, second);
        let mut call = answered(&mut sim, &alice, &bob);

        let ack = call.caller.ack(&mut sim, &alice);
        sim.send(&alice, &ack);
        let got = sim.expect(&bob, "ACK");
        assert_eq!((got.uri(), got.flow), (&*bob.contact, bob.flow));
        assert!(!got.has("Route"), "{}", got.text());

        for (dialog, from, to) in [(&mut call.callee, &bob, &alice), (&mut call.caller, &alice, &bob)] {
            let reinvite = dialog.request(&mut sim, from, "INVITE");
            sim.send(from, &reinvite);
            sim.expect(from, "100");
            let got = sim.expect(to, "INVITE");
            assert_eq!((got.uri(), got.flow), (&*to.contact, to.flow));
            assert!(!got.has("Route"), "{}", got.text());
            sim.respond(to, &got, "200 OK");
            sim.expect(from, "200");
            let ack = dialog.ack(&mut sim, from);
            sim.send(from, &ack);
            sim.expect(to, "ACK");
        }
        let bye = call.callee.request(&mut sim, &bob, "BYE");
        sim.send(&bob, &bye);
        let got = sim.expect(&alice, "BYE");
        assert_eq!((got.uri(), got.flow), (&*alice.contact, alice.flow));
        sim.respond(&alice, &got, "200 OK");
        sim.expect(&bob, "200");
        sim.nothing_else();
        sim.advance(Duration::from_secs(120));
        sim.nothing_else();
        assert!(sim.is_idle());
    }
}

#[test]
fn a_stopping_server_takes_no_new_calls_and_lets_those_there_are_end() {
    let mut sim = Sim::new();
    let (alice, bob) = behind_nat(&mut sim, Transport::Udp, Transport::Tcp);
    let mut call = answered(&mut sim, &alice, &bob);
    let ack = call.caller.ack(&mut sim, &alice);
    sim.send(&alice, &ack);
    sim.expect(&bob, "ACK");
    sim.stop();

    let invite = sim.draft(&alice, "INVITE", BOB);
    sim.send(&alice, &invite);
    let refused = sim.expect(&alice, "503");
    assert!(refused.header("Retry-After").parse::<u32>().unwrap() >= 5);
    let bye = call.callee.request(&mut sim, &bob, "BYE");
    sim.send(&bob, &bye);
    let got = sim.expect(&alice, "BYE");
    sim.respond(&alice, &got, "200 OK");
    sim.expect(&bob, "200");
    sim.nothing_else();
}

#[test]
fn a_dialog_outlives_everything_that_is_kept_of_it() {
    let mut sim = Sim::new();
    let (alice, bob) = behind_nat(&mut sim, Transport::Tls, Transport::Udp);
    let mut call = answered(&mut sim, &alice, &bob);
    sim.advance(Duration::from_secs(7200));
    assert!(sim.is_idle());
    let bye = call.callee.request(&mut sim, &bob, "BYE");
    sim.send(&bob, &bye);
    sim.expect(&alice, "BYE");
    let info = call.caller.request(&mut sim, &alice, "INFO");
    sim.send(&alice, &info);
    sim.expect(&bob, "INFO");
}

#[test]
fn the_way_of_an_ack_is_that_of_its_request_only() {
    let mut sim = Sim::new();
    let (alice, bob) = behind_nat(&mut sim, Transport::Udp, Transport::Udp);
    let call = answered(&mut sim, &alice, &bob);
    let ack = call.caller.ack(&mut sim, &alice).body("application/sdp", b"v=0\r\n");
    sim.send(&alice, &ack);
    let got = sim.expect(&bob, "ACK");
    assert_eq!(got.message.body(), b"v=0\r\n");
    assert_eq!(got.header("Max-Forwards"), "69");
    assert_eq!(got.values("Via").len(), 2);
    sim.nothing_else();
    // The phone repeats its 200, the caller its ACK.
    sim.respond(&bob, &call.invite, "200 OK");
    sim.expect(&alice, "200");
    sim.send(&alice, &ack);
    let again = sim.expect(&bob, "ACK");
    assert_eq!(again.message.bytes(), got.message.bytes());
}

#[test]
fn when_the_flow_is_gone_tcp_is_tried_where_it_was() {
    let mut sim = Sim::new();
    let (alice, bob) = behind_nat(&mut sim, Transport::Tcp, Transport::Udp);
    let mut call = answered(&mut sim, &alice, &bob);
    sim.close(&alice);
    let bye = call.callee.request(&mut sim, &bob, "BYE");
    sim.send(&bob, &bye);
    // A new connection to the address that the old one had.
    let got = sim.expect(&alice, "BYE");
    assert_ne!(got.flow.connection, alice.flow.connection);
}

#[test]
fn two_phones_on_one_flow_talk_to_each_other() {
    let mut sim = Sim::new();
    let alice = sim.registered("alice");
    let bob = Phone {
        user: "bob".to_owned(),
        contact: alice.contact.replace("alice", "bob"),
        tag: "tag-bob".to_owned(),
        ..alice.clone()
    };
    sim.register(&bob);
    let sent = sim.invite(&alice, BOB);
    let invite = sim.expect(&bob, "INVITE");
    let answer = sim.respond(&bob, &invite, "200 OK");
    let ok = sim.expect(&alice, "200");
    let (mut caller, mut callee) = (Dialog::of_caller(&sent, &ok), Dialog::of_callee(&invite, &answer));
    let ack = caller.ack(&mut sim, &alice);
    sim.send(&alice, &ack);
    sim.expect(&bob, "ACK");
    let info = caller.request(&mut sim, &alice, "INFO");
    sim.send(&alice, &info);
    assert_eq!(sim.expect(&bob, "INFO").uri(), bob.contact);
    let bye = callee.request(&mut sim, &bob, "BYE");
    sim.send(&bob, &bye);
    assert_eq!(sim.expect(&alice, "BYE").uri(), alice.contact);
}

#[test]
fn an_early_dialog_has_its_way_too() {
    let mut sim = Sim::new();
    let (alice, bob) = behind_nat(&mut sim, Transport::Tls, Transport::Udp);
    let sent = sim.invite(&alice, BOB);
    let invite = sim.expect(&bob, "INVITE");
    let answer = sim.answer(&bob, &invite, "183 Session Progress");
    let answer = answer.add("Require", "100rel").add("RSeq", "1");
    sim.deliver(&invite.flow, answer.bytes());
    let progress = sim.expect(&alice, "183");
    let mut caller = Dialog::of_caller(&sent, &progress);
    let prack = caller.request(&mut sim, &alice, "PRACK").add("RAck", "1 1 INVITE");
    sim.send(&alice, &prack);
    let got = sim.expect(&bob, "PRACK");
    sim.respond(&bob, &got, "200 OK");
    sim.expect(&alice, "200");
}

#[test]
fn notifications_come_back_by_the_way_of_their_subscription() {
    let mut sim = Sim::new();
    let (alice, bob) = behind_nat(&mut sim, Transport::Tls, Transport::Udp);
    for method in ["SUBSCRIBE", "REFER"] {
        let draft = sim
            .draft(&alice, method, BOB)
            .set("Contact", &format!("<{}>", alice.contact));
        sim.send_authorized(&alice, &draft);
        let request = sim.expect(&bob, method);
        let answer = sim.respond(&bob, &request, "202 Accepted");
        sim.expect(&alice, "202");
        let mut notifier = Dialog::of_callee(&request, &answer);
        let notify = notifier.request(&mut sim, &bob, "NOTIFY").add("Event", "presence");
        sim.send(&bob, &notify);
        let got = sim.expect(&alice, "NOTIFY");
        assert_eq!((got.uri(), got.flow), (&*alice.contact, alice.flow));
        sim.respond(&alice, &got, "200 OK");
        sim.expect(&bob, "200");
    }
    sim.nothing_else();
}

#[test]
fn a_dialog_between_ipv4_and_ipv6_goes_both_ways() {
    let mut sim = Sim::new();
    let alice = sim.registered("alice");
    let mut bob = sim.phone("bob");
    bob.flow.local = sim.local(Transport::Udp, true);
    bob.flow.remote = "[2001:db8::77]:5062".parse().unwrap();
    bob.contact = "sip:bob@[2001:db8::77]:5062".to_owned();
    sim.register(&bob);
    let mut call = answered(&mut sim, &alice, &bob);
    assert_eq!(call.caller.routes.len(), 2);
    let ack = call.caller.ack(&mut sim, &alice);
    sim.send(&alice, &ack);
    let got = sim.expect(&bob, "ACK");
    assert!(!got.has("Route"), "{}", got.text());
    let bye = call.callee.request(&mut sim, &bob, "BYE");
    sim.send(&bob, &bye);
    let got = sim.expect(&alice, "BYE");
    assert!(!got.has("Route"), "{}", got.text());
    sim.respond(&alice, &got, "200 OK");
    sim.expect(&bob, "200");
}

#[test]
fn a_reinvite_is_cancelled_like_any_other() {
    let mut sim = Sim::new();
    let (alice, bob) = behind_nat(&mut sim, Transport::Udp, Transport::Tls);
    let mut call = answered(&mut sim, &alice, &bob);
    let reinvite = call.callee.request(&mut sim, &bob, "INVITE");
    sim.send(&bob, &reinvite);
    sim.expect(&bob, "100");
    let got = sim.expect(&alice, "INVITE");
    sim.ring(&bob, &alice, &got);
    sim.send(&bob, &reinvite.cancel());
    sim.expect(&bob, "200");
    let cancel = sim.expect(&alice, "CANCEL");
    assert_eq!(cancel.branch(), got.branch());
    sim.respond(&alice, &got, "487 Request Terminated");
    sim.expect(&alice, "ACK");
    sim.expect(&bob, "487");
}
