//! Timer C, the ring timeout, and silence (RFC 3261 §16.6 step 11, §16.7 step 2, §16.8; RFC 4320).

use std::time::Duration;

use ringbinder::sip::domain::ForkOrder;

use super::{caller_and_phones, expect_each, obey_cancel};
use crate::support::Sim;

const BOB: &str = "sip:bob@example.com";

#[test]
fn who_rings_longer_than_timer_c_is_cancelled() {
    let mut sim = Sim::new();
    let (alice, phones) = caller_and_phones(&mut sim, 1);
    let sent = sim.invite(&alice, BOB);
    let invite = sim.expect(&phones[0], "INVITE");
    sim.ring(&alice, &phones[0], &invite);
    sim.advance(Duration::from_millis(180_900));
    sim.nothing_else();
    sim.advance(Duration::from_millis(200));
    obey_cancel(&mut sim, &phones[0], &invite);
    let timeout = sim.expect(&alice, "408");
    sim.send(&alice, &sent.ack(&timeout));
    sim.nothing_else();
    sim.advance(Duration::from_secs(60));
    assert!(sim.is_idle());
}

#[test]
fn each_provisional_but_100_starts_timer_c_anew() {
    let mut sim = Sim::new();
    let (alice, phones) = caller_and_phones(&mut sim, 1);
    sim.invite(&alice, BOB);
    let invite = sim.expect(&phones[0], "INVITE");
    for status in [
        "180 Ringing",
        "183 Session Progress",
        "182 Queued",
        "199 Early Dialog Terminated",
    ] {
        sim.respond(&phones[0], &invite, status);
        sim.receive(&alice).unwrap();
        sim.advance(Duration::from_secs(170));
        sim.nothing_else();
    }
    sim.respond(&phones[0], &invite, "100 Trying");
    sim.advance(Duration::from_millis(11_100));
    sim.expect(&phones[0], "CANCEL");
}

#[test]
fn who_is_tried_later_has_a_timer_c_of_their_own() {
    let mut sim = Sim::with(|domain| domain.fork = ForkOrder::Priority);
    let alice = sim.registered("alice");
    let first = sim.registered("bob");
    let second = sim.phone("bob");
    let draft = sim.draft(&second, "REGISTER", "sip:example.com");
    let draft = draft.set("Contact", &format!("<{}>;q=0.1", second.contact));
    sim.send_authorized(&second, &draft);
    sim.expect(&second, "200");

    sim.invite(&alice, BOB);
    let invite = sim.expect(&first, "INVITE");
    sim.ring(&alice, &first, &invite);
    sim.advance(Duration::from_secs(170));
    sim.respond(&first, &invite, "486 Busy Here");
    sim.expect(&first, "ACK");
    let invite = sim.expect(&second, "INVITE");
    sim.respond(&second, &invite, "100 Trying");
    sim.advance(Duration::from_secs(170));
    sim.nothing_else();
    sim.advance(Duration::from_millis(11_100));
    obey_cancel(&mut sim, &second, &invite);
    sim.expect(&alice, "486");
}

#[test]
fn the_ring_timeout_is_not_put_off() {
    let mut sim = Sim::with(|domain| domain.ring_timeout = Some(Duration::from_secs(30)));
    let (alice, phones) = caller_and_phones(&mut sim, 1);
    sim.invite(&alice, BOB);
    let invite = sim.expect(&phones[0], "INVITE");
    sim.ring(&alice, &phones[0], &invite);
    sim.advance(Duration::from_secs(20));
    sim.ring(&alice, &phones[0], &invite);
    sim.advance(Duration::from_millis(9_900));
    sim.nothing_else();
    sim.advance(Duration::from_millis(200));
    obey_cancel(&mut sim, &phones[0], &invite);
    let got = sim.expect(&alice, "408");
    assert_eq!(got.reason().as_deref(), Some("ring-timeout"));
}

#[test]
fn who_has_said_nothing_by_the_ring_timeout_counts_as_408() {
    let mut sim = Sim::with(|domain| domain.ring_timeout = Some(Duration::from_secs(5)));
    let (alice, phones) = caller_and_phones(&mut sim, 1);
    let sent = sim.invite(&alice, BOB);
    let invite = sim.expect(&phones[0], "INVITE");
    sim.advance(Duration::from_millis(5_100));
    let timeout = sim.expect(&alice, "408");
    sim.send(&alice, &sent.ack(&timeout));
    // Had the phone been slow, it would ring for nobody.
    sim.delivered.clear();
    sim.respond(&phones[0], &invite, "180 Ringing");
    obey_cancel(&mut sim, &phones[0], &invite);
    sim.nothing_else();
    sim.advance(Duration::from_secs(120));
    assert!(sim.is_idle());
}

#[test]
fn another_final_response_beats_the_ring_timeout() {
    let mut sim = Sim::with(|domain| domain.ring_timeout = Some(Duration::from_secs(30)));
    let (alice, phones) = caller_and_phones(&mut sim, 2);
    sim.invite(&alice, BOB);
    let invites = expect_each(&mut sim, &phones, "INVITE");
    sim.respond(&phones[0], &invites[0], "486 Busy Here");
    sim.expect(&phones[0], "ACK");
    sim.ring(&alice, &phones[1], &invites[1]);
    sim.advance(Duration::from_millis(30_100));
    obey_cancel(&mut sim, &phones[1], &invites[1]);
    sim.expect(&alice, "486");
}

#[test]
fn a_2xx_that_crosses_the_ring_timeout_wins() {
    let mut sim = Sim::with(|domain| domain.ring_timeout = Some(Duration::from_secs(30)));
    let (alice, phones) = caller_and_phones(&mut sim, 1);
    sim.invite(&alice, BOB);
    let invite = sim.expect(&phones[0], "INVITE");
    sim.ring(&alice, &phones[0], &invite);
    sim.advance(Duration::from_millis(30_100));
    sim.expect(&phones[0], "CANCEL");
    sim.respond(&phones[0], &invite, "200 OK");
    sim.expect(&alice, "200");
    sim.nothing_else();
}

#[test]
fn silence_after_the_cancel_of_the_ring_timeout_is_a_408() {
    let mut sim = Sim::with(|domain| domain.ring_timeout = Some(Duration::from_secs(30)));
    let (alice, phones) = caller_and_phones(&mut sim, 1);
    let sent = sim.invite(&alice, BOB);
    let invite = sim.expect(&phones[0], "INVITE");
    sim.ring(&alice, &phones[0], &invite);
    sim.advance(Duration::from_millis(30_000 + 31_900));
    sim.nothing_to(&alice);
    sim.advance(Duration::from_millis(200));
    let timeout = sim.expect(&alice, "408");
    sim.send(&alice, &sent.ack(&timeout));
    sim.advance(Duration::from_secs(120));
    assert!(sim.is_idle());
}

#[test]
fn the_caller_may_cancel_before_the_ring_timeout() {
    let mut sim = Sim::with(|domain| domain.ring_timeout = Some(Duration::from_secs(30)));
    let (alice, phones) = caller_and_phones(&mut sim, 1);
    let sent = sim.invite(&alice, BOB);
    let invite = sim.expect(&phones[0], "INVITE");
    sim.ring(&alice, &phones[0], &invite);
    sim.advance(Duration::from_secs(29));
    sim.send(&alice, &sent.cancel());
    sim.expect(&alice, "200");
    sim.advance(Duration::from_millis(1_100));
    assert_eq!(sim.expect(&phones[0], "CANCEL").branch(), invite.branch());
    sim.respond(&phones[0], &invite, "487 Request Terminated");
    sim.expect(&alice, "487");
}

#[test]
fn the_ring_timeout_does_not_wait_for_a_name_to_be_looked_up() {
    let mut sim = Sim::with(|domain| domain.ring_timeout = Some(Duration::from_secs(5)));
    let alice = sim.registered("alice");
    let bob = sim.phone("bob");
    let draft = sim
        .draft(&bob, "REGISTER", "sip:example.com")
        .add("Path", "<sip:edge.example.net;lr>");
    sim.send_authorized(&bob, &draft);
    sim.expect(&bob, "200");
    sim.host("edge.example.net", &["203.0.113.20"]);
    sim.holds_questions = true;
    let sent = sim.invite(&alice, BOB);
    sim.advance(Duration::from_millis(5_100));
    let timeout = sim.expect(&alice, "408");
    sim.send(&alice, &sent.ack(&timeout));
    sim.answer_questions();
    sim.nothing_else();
    sim.advance(Duration::from_secs(60));
    assert!(sim.is_idle());
}

#[test]
fn an_invite_that_nobody_answers_is_a_408() {
    let mut sim = Sim::new();
    let (alice, phones) = caller_and_phones(&mut sim, 2);
    let sent = sim.invite(&alice, BOB);
    sim.advance(Duration::from_millis(31_900));
    sim.nothing_to(&alice);
    sim.advance(Duration::from_millis(200));
    let timeout = sim.expect(&alice, "408");
    sim.send(&alice, &sent.ack(&timeout));
    for phone in &phones {
        assert_eq!(sim.kinds(phone), ["INVITE"; 7]);
    }
    sim.advance(Duration::from_secs(60));
    sim.nothing_else();
    assert!(sim.is_idle());
}

#[test]
fn a_request_other_than_invite_that_nobody_answers_is_met_with_silence() {
    let mut sim = Sim::new();
    let (alice, phones) = caller_and_phones(&mut sim, 1);
    let draft = sim.draft(&alice, "MESSAGE", BOB);
    let sent = sim.send_authorized(&alice, &draft);
    sim.expect(&phones[0], "MESSAGE");
    sim.advance(Duration::from_secs(33));
    sim.send(&alice, &sent);
    sim.advance(Duration::from_secs(60));
    sim.nothing_to(&alice);
    sim.delivered.clear();
    sim.advance(Duration::from_secs(60));
    assert!(sim.is_idle());
}

#[test]
fn a_provisional_response_to_another_request_is_not_passed_on() {
    let mut sim = Sim::new();
    let (alice, phones) = caller_and_phones(&mut sim, 1);
    let draft = sim.draft(&alice, "MESSAGE", BOB);
    sim.send_authorized(&alice, &draft);
    let got = sim.expect(&phones[0], "MESSAGE");
    sim.respond(&phones[0], &got, "183 Session Progress");
    sim.nothing_else();
    sim.respond(&phones[0], &got, "200 OK");
    sim.expect(&alice, "200");
}

#[test]
fn a_408_of_a_phone_to_another_request_is_not_passed_on() {
    let mut sim = Sim::new();
    let (alice, phones) = caller_and_phones(&mut sim, 1);
    let draft = sim.draft(&alice, "MESSAGE", BOB);
    sim.send_authorized(&alice, &draft);
    let got = sim.expect(&phones[0], "MESSAGE");
    sim.respond(&phones[0], &got, "408 Request Timeout");
    sim.nothing_else();
    sim.advance(Duration::from_secs(60));
    assert!(sim.is_idle());
}

#[test]
fn a_failed_branch_of_another_request_still_counts() {
    let mut sim = Sim::new();
    let (alice, phones) = caller_and_phones(&mut sim, 2);
    let draft = sim.draft(&alice, "MESSAGE", BOB);
    sim.send_authorized(&alice, &draft);
    let requests = expect_each(&mut sim, &phones, "MESSAGE");
    sim.respond(&phones[0], &requests[0], "486 Busy Here");
    sim.nothing_to(&alice);
    // The other is silent: what the first said is better than nothing, though late.
    sim.advance(Duration::from_millis(32_100));
    assert!(sim.kinds(&alice).iter().all(|kind| kind == "486"));
    sim.delivered.clear();
    sim.advance(Duration::from_secs(60));
    assert!(sim.is_idle());
}
