//! Transactions as their peers see them: RFC 3261 §17, §18.2; RFC 6026; RFC 4320.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use ringbinder::sip::hop::Transport;

use crate::support::{Phone, Sim};

const BOB: &str = "sip:bob@example.com";
/// Timers have the grain of the wheel.
const GRAIN: Duration = Duration::from_millis(10);

#[test]
fn an_invite_is_answered_100_at_once() {
    let mut sim = Sim::new();
    let (alice, bob) = (sim.registered("alice"), sim.registered("bob"));
    let draft = sim.draft(&alice, "INVITE", BOB).add("Timestamp", "54");
    sim.send_authorized(&alice, &draft);
    let trying = sim.expect(&alice, "100");
    assert_eq!(trying.to_tag(), None);
    assert_eq!(trying.header("Timestamp"), "54");
    sim.expect(&bob, "INVITE");
}

#[test]
fn other_requests_get_no_100() {
    let mut sim = Sim::new();
    let (alice, bob) = (sim.registered("alice"), sim.registered("bob"));
    let draft = sim.draft(&alice, "MESSAGE", BOB);
    sim.send_authorized(&alice, &draft);
    sim.expect(&bob, "MESSAGE");
    sim.nothing_else();
}

#[test]
fn a_retransmitted_invite_gets_the_last_provisional_and_goes_nowhere() {
    let mut sim = Sim::new();
    let (alice, bob) = (sim.registered("alice"), sim.registered("bob"));
    let sent = sim.invite(&alice, BOB);
    sim.send(&alice, &sent);
    sim.expect(&alice, "100");
    let invite = sim.expect(&bob, "INVITE");
    sim.ring(&alice, &bob, &invite);
    sim.send(&alice, &sent);
    sim.expect(&alice, "180");
    sim.nothing_else();
}

#[test]
fn a_retransmitted_request_gets_its_final_response_again() {
    let mut sim = Sim::new();
    let (alice, bob) = (sim.registered("alice"), sim.registered("bob"));
    let draft = sim.draft(&alice, "MESSAGE", BOB);
    let sent = sim.send_authorized(&alice, &draft);
    sim.send(&alice, &sent);
    let got = sim.expect(&bob, "MESSAGE");
    sim.nothing_else();
    sim.respond(&bob, &got, "200 OK");
    let first = sim.expect(&alice, "200");
    sim.advance(Duration::from_secs(30));
    sim.send(&alice, &sent);
    let second = sim.expect(&alice, "200");
    assert_eq!(first.message.bytes(), second.message.bytes());
    sim.nothing_else();
}

/// Figure 5: timer A doubles, timer B is 64*T1.
#[test]
fn an_invite_is_sent_again_until_something_comes() {
    let mut sim = Sim::new();
    let (alice, bob) = (sim.registered("alice"), sim.registered("bob"));
    let start = sim.now;
    sim.invite(&alice, BOB);
    sim.advance(Duration::from_secs(40));
    let expected = [0, 500, 1_500, 3_500, 7_500, 15_500, 31_500];
    assert_eq!(times(&mut sim, &bob, "INVITE", start), expected);
}

#[test]
fn a_provisional_ends_the_retransmissions() {
    let mut sim = Sim::new();
    let (alice, bob) = (sim.registered("alice"), sim.registered("bob"));
    sim.invite(&alice, BOB);
    let invite = sim.expect(&bob, "INVITE");
    sim.advance(Duration::from_millis(400));
    sim.respond(&bob, &invite, "100 Trying");
    sim.advance(Duration::from_secs(100));
    sim.nothing_else();
}

/// Figure 6: timer E doubles up to T2, timer F is 64*T1.
#[test]
fn another_request_is_sent_again_at_most_every_t2() {
    let mut sim = Sim::new();
    let (alice, bob) = (sim.registered("alice"), sim.registered("bob"));
    let start = sim.now;
    let draft = sim.draft(&alice, "MESSAGE", BOB);
    sim.send_authorized(&alice, &draft);
    sim.advance(Duration::from_secs(40));
    let expected = [
        0, 500, 1_500, 3_500, 7_500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500,
    ];
    assert_eq!(times(&mut sim, &bob, "MESSAGE", start), expected);
}

#[test]
fn after_a_provisional_another_request_is_still_sent_every_t2() {
    let mut sim = Sim::new();
    let (alice, bob) = (sim.registered("alice"), sim.registered("bob"));
    let start = sim.now;
    let draft = sim.draft(&alice, "MESSAGE", BOB);
    sim.send_authorized(&alice, &draft);
    let got = sim.expect(&bob, "MESSAGE");
    sim.respond(&bob, &got, "100 Trying");
    sim.advance(Duration::from_secs(10));
    let times = times(&mut sim, &bob, "MESSAGE", start);
    // The timer E that was running fires once at T1, those after it at T2.
    assert_eq!(times, [500, 4_500, 8_500]);
}

#[test]
fn over_a_stream_nothing_is_sent_twice() {
    let mut sim = Sim::new();
    let alice = sim.registered_over("alice", Transport::Tcp);
    let bob = sim.registered_over("bob", Transport::Tls);
    sim.invite(&alice, BOB);
    let draft = sim.draft(&alice, "MESSAGE", BOB);
    sim.send_authorized(&alice, &draft);
    sim.advance(Duration::from_secs(60));
    assert_eq!(sim.kinds(&bob), ["INVITE", "MESSAGE"]);
    assert_eq!(sim.kinds(&alice), ["408"]);
    sim.advance(Duration::from_secs(60));
    assert!(sim.is_idle());
}

/// Figure 7: timer G doubles up to T2, timer H is 64*T1.
#[test]
fn a_final_response_is_sent_again_until_the_ack() {
    let mut sim = Sim::new();
    let (alice, bob) = (sim.registered("alice"), sim.registered("bob"));
    let sent = sim.invite(&alice, BOB);
    let invite = sim.expect(&bob, "INVITE");
    let start = sim.now;
    sim.respond(&bob, &invite, "486 Busy Here");
    sim.expect(&bob, "ACK");
    sim.advance(Duration::from_secs(4));
    let got = sim.delivered.iter().find(|got| got.kind() == "486").unwrap().clone();
    assert_eq!(times(&mut sim, &alice, "486", start), [0, 500, 1_500, 3_500]);
    sim.send(&alice, &sent.ack(&got));
    sim.advance(Duration::from_secs(60));
    sim.nothing_else();
    assert!(sim.is_idle());
}

#[test]
fn without_an_ack_it_ends_with_timer_h() {
    let mut sim = Sim::new();
    let (alice, bob) = (sim.registered("alice"), sim.registered("bob"));
    sim.invite(&alice, BOB);
    let invite = sim.expect(&bob, "INVITE");
    let start = sim.now;
    sim.respond(&bob, &invite, "486 Busy Here");
    sim.expect(&bob, "ACK");
    sim.advance(Duration::from_secs(60));
    let expected = [
        0, 500, 1_500, 3_500, 7_500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500,
    ];
    assert_eq!(times(&mut sim, &alice, "486", start), expected);
    assert!(sim.is_idle());
}

#[test]
fn the_ack_to_a_final_response_ends_here_even_if_it_comes_twice() {
    let mut sim = Sim::new();
    let (alice, bob) = (sim.registered("alice"), sim.registered("bob"));
    let sent = sim.invite(&alice, BOB);
    let invite = sim.expect(&bob, "INVITE");
    sim.respond(&bob, &invite, "486 Busy Here");
    sim.expect(&bob, "ACK");
    let busy = sim.expect(&alice, "486");
    sim.send(&alice, &sent.ack(&busy));
    sim.send(&alice, &sent.ack(&busy));
    sim.advance(Duration::from_secs(4));
    sim.send(&alice, &sent.ack(&busy));
    sim.nothing_else();
}

#[test]
fn over_a_stream_a_final_response_is_sent_once() {
    let mut sim = Sim::new();
    let (alice, bob) = (sim.registered_over("alice", Transport::Tcp), sim.registered("bob"));
    sim.invite(&alice, BOB);
    let invite = sim.expect(&bob, "INVITE");
    sim.respond(&bob, &invite, "486 Busy Here");
    sim.expect(&bob, "ACK");
    sim.expect(&alice, "486");
    sim.advance(Duration::from_secs(60));
    sim.nothing_else();
    assert!(sim.is_idle());
}

#[test]
fn our_ack_is_that_of_the_branch() {
    let mut sim = Sim::new();
    let (alice, bob) = (sim.registered("alice"), sim.registered("bob"));
    sim.invite(&alice, BOB);
    let invite = sim.expect(&bob, "INVITE");
    let answer = sim.respond(&bob, &invite, "486 Busy Here");
    let ack = sim.expect(&bob, "ACK");
    assert_eq!(ack.uri(), invite.uri());
    assert_eq!(ack.values("Via"), [invite.values("Via")[0]]);
    assert_eq!(ack.header("To"), answer.header("To"));
    for header in ["From", "Call-ID"] {
        assert_eq!(ack.header(header), invite.header(header));
    }
    let number = invite.header("CSeq").split(' ').next().unwrap();
    assert_eq!(ack.header("CSeq"), format!("{number} ACK"));
}

#[test]
fn a_repeated_final_response_is_acknowledged_and_not_passed_on() {
    let mut sim = Sim::new();
    let (alice, bob) = (sim.registered("alice"), sim.registered("bob"));
    let sent = sim.invite(&alice, BOB);
    let invite = sim.expect(&bob, "INVITE");
    sim.respond(&bob, &invite, "486 Busy Here");
    let first = sim.expect(&bob, "ACK");
    let busy = sim.expect(&alice, "486");
    sim.send(&alice, &sent.ack(&busy));
    sim.advance(Duration::from_millis(500));
    sim.respond(&bob, &invite, "486 Busy Here");
    let second = sim.expect(&bob, "ACK");
    assert_eq!(first.message.bytes(), second.message.bytes());
    sim.nothing_else();
}

#[test]
fn a_repeated_answer_to_another_request_is_absorbed() {
    let mut sim = Sim::new();
    let (alice, bob) = (sim.registered("alice"), sim.registered("bob"));
    let draft = sim.draft(&alice, "MESSAGE", BOB);
    sim.send_authorized(&alice, &draft);
    let got = sim.expect(&bob, "MESSAGE");
    sim.respond(&bob, &got, "200 OK");
    sim.expect(&alice, "200");
    sim.respond(&bob, &got, "200 OK");
    sim.nothing_else();
}

#[test]
fn an_accepted_invite_sent_again_is_absorbed() {
    let mut sim = Sim::new();
    let (alice, bob) = (sim.registered("alice"), sim.registered("bob"));
    let sent = sim.invite(&alice, BOB);
    let invite = sim.expect(&bob, "INVITE");
    sim.respond(&bob, &invite, "200 OK");
    sim.expect(&alice, "200");
    sim.send(&alice, &sent);
    sim.nothing_else();
    sim.advance(Duration::from_secs(40));
    sim.nothing_else();
    assert!(sim.is_idle());
}

#[test]
fn a_response_that_belongs_to_nothing_is_dropped() {
    let mut sim = Sim::new();
    let (alice, bob) = (sim.registered("alice"), sim.registered("bob"));
    sim.invite(&alice, BOB);
    let invite = sim.expect(&bob, "INVITE");
    let via = invite.lines("Via")[0].to_owned();
    for branch in ["z9hG4bKnobody", "z9hG4bK", "1"] {
        let forged = via.replace(invite.branch(), branch);
        let mut answer = sim.answer(&bob, &invite, "200 OK").without("Via").add("Via", &forged);
        for line in &invite.lines("Via")[1..] {
            answer = answer.add("Via", line);
        }
        sim.deliver(&invite.flow, answer.bytes());
    }
    let wrong_method = sim.answer(&bob, &invite, "200 OK").set("CSeq", "2 BYE");
    sim.deliver(&invite.flow, wrong_method.bytes());
    sim.nothing_else();
}

#[test]
fn requests_of_one_branch_are_told_apart_by_method_and_sent_by() {
    let mut sim = Sim::new();
    let (alice, bob) = (sim.registered("alice"), sim.registered("bob"));
    let sent = sim.invite(&alice, BOB);
    let branch = sent
        .header("Via")
        .split("branch=")
        .nth(1)
        .unwrap()
        .split(';')
        .next()
        .unwrap()
        .to_owned();
    sim.expect(&bob, "INVITE");
    let options = sim.draft(&alice, "OPTIONS", "sip:example.com").branch(&branch);
    sim.send(&alice, &options);
    sim.expect(&alice, "200");
    let other = sent
        .clone()
        .set("Via", &format!("SIP/2.0/UDP 10.9.9.9;rport;branch={branch}"));
    sim.send(&alice, &other);
    let got = sim.receive(&alice).expect("an answer to what is another transaction");
    assert_ne!(got.kind(), "100");
}

#[test]
fn a_sender_of_rfc_2543_is_understood() {
    let mut sim = Sim::new();
    let (alice, bob) = (sim.registered("alice"), sim.registered("bob"));
    let via = format!("SIP/2.0/UDP {};rport", alice.flow.remote);
    let draft = sim.draft(&alice, "INVITE", BOB).set("Via", &via);
    sim.send(&alice, &draft);
    let challenge = sim.expect(&alice, "407");
    sim.send(&alice, &draft.ack(&challenge));
    let value = sim.authorized(
        &alice,
        &draft.clone().set("Via", &format!("{via};branch=1")),
        &challenge,
    );
    let draft = value.set("Via", &via);
    sim.send(&alice, &draft);
    sim.expect(&alice, "100");
    sim.send(&alice, &draft);
    sim.expect(&alice, "100");
    let invite = sim.expect(&bob, "INVITE");
    sim.ring(&alice, &bob, &invite);
    sim.send(&alice, &draft.cancel());
    sim.expect(&alice, "200");
    sim.expect(&bob, "CANCEL");
    sim.respond(&bob, &invite, "487 Request Terminated");
    let terminated = sim.expect(&alice, "487");
    sim.send(&alice, &draft.ack(&terminated));
    sim.expect(&bob, "ACK");
    sim.advance(Duration::from_secs(60));
    assert!(sim.kinds(&alice).is_empty());
}

#[test]
fn a_response_whose_connection_is_gone_goes_to_the_address_of_the_via() {
    let mut sim = Sim::new();
    let (mut alice, bob) = (sim.phone_over("alice", Transport::Tcp), sim.registered("bob"));
    alice.contact = format!("sip:alice@{}:5070", alice.flow.remote.ip());
    sim.invite(&alice, BOB);
    let invite = sim.expect(&bob, "INVITE");
    sim.close(&alice);
    sim.respond(&bob, &invite, "486 Busy Here");
    let listening = sim.peer(Transport::Tcp, &format!("{}:5070", alice.flow.remote.ip()));
    sim.expect(&listening, "486");
}

#[test]
fn where_that_address_is_gone_too_the_response_is_lost_and_nothing_kept() {
    for transport in [Transport::Tcp, Transport::Tls] {
        let mut sim = Sim::new();
        let (mut alice, bob) = (sim.phone_over("alice", transport), sim.registered("bob"));
        alice.contact = format!("sip:alice@{}:5070", alice.flow.remote.ip());
        sim.invite(&alice, BOB);
        let invite = sim.expect(&bob, "INVITE");
        let draft = sim.draft(&alice, "MESSAGE", BOB);
        sim.send_authorized(&alice, &draft);
        let message = sim.expect(&bob, "MESSAGE");
        sim.close(&alice);
        let listening = sim.peer(transport, &format!("{}:5070", alice.flow.remote.ip()));
        sim.unreachable.insert((transport, listening.flow.remote));
        sim.respond(&bob, &invite, "180 Ringing");
        sim.respond(&bob, &invite, "486 Busy Here");
        sim.respond(&bob, &message, "200 OK");
        sim.expect(&bob, "ACK");
        sim.advance(Duration::from_secs(120));
        sim.nothing_else();
        assert!(sim.is_idle());
    }
}

#[test]
fn a_response_that_cannot_be_sent_in_a_datagram_is_tried_again_in_its_time() {
    let mut sim = Sim::new();
    let (alice, bob) = (sim.registered("alice"), sim.registered("bob"));
    let sent = sim.invite(&alice, BOB);
    let invite = sim.expect(&bob, "INVITE");
    sim.unreachable.insert((Transport::Udp, alice.flow.remote));
    sim.respond(&bob, &invite, "486 Busy Here");
    sim.expect(&bob, "ACK");
    sim.nothing_else();
    sim.unreachable.clear();
    sim.advance(Duration::from_millis(600));
    let busy = sim.expect(&alice, "486");
    sim.send(&alice, &sent.ack(&busy));
    sim.advance(Duration::from_secs(60));
    sim.nothing_else();
    assert!(sim.is_idle());
}

#[test]
fn over_a_stream_the_ack_ends_everything_at_once() {
    let mut sim = Sim::new();
    let (alice, bob) = (
        sim.phone_over("alice", Transport::Tls),
        sim.registered_over("bob", Transport::Tcp),
    );
    let sent = sim.invite(&alice, BOB);
    let invite = sim.expect(&bob, "INVITE");
    sim.respond(&bob, &invite, "486 Busy Here");
    let busy = sim.expect(&alice, "486");
    sim.send(&alice, &sent.ack(&busy));
    assert!(sim.is_idle());
}

#[test]
fn the_maximum_of_transactions_is_answered_503_and_keeps_nothing_more() {
    let mut sim = Sim::with_settings(|settings| settings.transaction.max = 2);
    let (alice, bob) = (sim.registered("alice"), sim.registered("bob"));
    sim.advance(Duration::from_secs(60));
    let (mut kinds, mut pauses) = (Vec::new(), BTreeSet::new());
    for _ in 0..30 {
        let draft = sim.draft(&alice, "MESSAGE", BOB);
        sim.send_authorized(&alice, &draft);
        if let Some(got) = sim.receive(&alice) {
            pauses.insert(got.header("Retry-After").to_owned());
            kinds.push(got.kind());
        }
    }
    // Not everybody comes back at the same time.
    assert!(pauses.len() > 3, "{pauses:?}");
    // Two for each of the shards.
    let forwarded = sim.kinds(&bob).len();
    assert!((2..=6).contains(&forwarded), "{forwarded}");
    assert_eq!(kinds.len() + forwarded, 30);
    assert!(kinds.iter().all(|kind| kind == "503"), "{kinds:?}");
    sim.advance(Duration::from_secs(120));
    assert!(sim.is_idle());
}

/// The milliseconds after `start` at which each message of `kind` came to `phone`, rounded down to the wheel's grain.
fn times(sim: &mut Sim, phone: &Phone, kind: &str, start: Instant) -> Vec<u128> {
    let mut times = Vec::new();
    while let Some(got) = sim.receive(phone) {
        if got.kind() == kind {
            let late = (got.at - start).as_millis();
            times.push(late - late % 100 * u128::from(late % 100 <= GRAIN.as_millis() * 2));
        }
    }
    times
}
