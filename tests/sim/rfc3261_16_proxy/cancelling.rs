//! CANCEL (RFC 3261 §9, §16.10).

use std::time::Duration;

use ringbinder::sip::domain::ForkOrder;
use ringbinder::sip::hop::Transport;

use super::{caller_and_phones, expect_each, obey_cancel};
use crate::support::Sim;

const BOB: &str = "sip:bob@example.com";

#[test]
fn cancel_is_answered_at_once_and_passed_to_all_that_ring() {
    let mut sim = Sim::new();
    let (alice, phones) = caller_and_phones(&mut sim, 2);
    let sent = sim.invite(&alice, BOB);
    let invites = expect_each(&mut sim, &phones, "INVITE");
    for (phone, invite) in phones.iter().zip(&invites) {
        sim.ring(&alice, phone, invite);
    }
    sim.send(&alice, &sent.cancel());
    let ok = sim.expect(&alice, "200");
    assert_eq!(ok.header("CSeq"), sent.cancel().header("CSeq"));
    obey_cancel(&mut sim, &phones[0], &invites[0]);
    sim.nothing_to(&alice);
    obey_cancel(&mut sim, &phones[1], &invites[1]);
    let terminated = sim.expect(&alice, "487");
    assert_eq!(terminated.header("CSeq"), sent.header("CSeq"));
    sim.send(&alice, &sent.ack(&terminated));
    sim.nothing_else();
    sim.advance(Duration::from_secs(60));
    sim.nothing_else();
    assert!(sim.is_idle());
}

#[test]
fn our_cancel_is_that_of_the_branch() {
    let mut sim = Sim::new();
    let (alice, phones) = caller_and_phones(&mut sim, 1);
    let sent = sim.invite(&alice, BOB);
    let invite = sim.expect(&phones[0], "INVITE");
    sim.ring(&alice, &phones[0], &invite);
    sim.send(&alice, &sent.cancel());
    let cancel = sim.expect(&phones[0], "CANCEL");
    assert_eq!(cancel.uri(), invite.uri());
    assert_eq!(cancel.values("Via"), [invite.values("Via")[0]]);
    for header in ["From", "To", "Call-ID"] {
        assert_eq!(cancel.header(header), invite.header(header));
    }
    let number = invite.header("CSeq").split(' ').next().unwrap();
    assert_eq!(cancel.header("CSeq"), format!("{number} CANCEL"));
    assert!(!cancel.has("Proxy-Authorization"));
}

#[test]
fn a_leg_without_a_provisional_is_cancelled_when_one_comes() {
    let mut sim = Sim::new();
    let (alice, phones) = caller_and_phones(&mut sim, 1);
    let sent = sim.invite(&alice, BOB);
    let invite = sim.expect(&phones[0], "INVITE");
    sim.send(&alice, &sent.cancel());
    sim.expect(&alice, "200");
    sim.nothing_else();
    sim.respond(&phones[0], &invite, "100 Trying");
    obey_cancel(&mut sim, &phones[0], &invite);
    sim.expect(&alice, "487");
    sim.nothing_else();
}

#[test]
fn a_2xx_that_crosses_the_cancel_wins() {
    let mut sim = Sim::new();
    let (alice, phones) = caller_and_phones(&mut sim, 1);
    let sent = sim.invite(&alice, BOB);
    let invite = sim.expect(&phones[0], "INVITE");
    sim.ring(&alice, &phones[0], &invite);
    sim.send(&alice, &sent.cancel());
    sim.expect(&alice, "200");
    sim.respond(&phones[0], &invite, "200 OK");
    let cancel = sim.expect(&phones[0], "CANCEL");
    sim.respond(&phones[0], &cancel, "200 OK");
    let ok = sim.expect(&alice, "200");
    assert!(ok.header("CSeq").ends_with("INVITE"));
    sim.nothing_else();
}

#[test]
fn another_final_response_after_the_cancel_is_passed_on() {
    let mut sim = Sim::new();
    let (alice, phones) = caller_and_phones(&mut sim, 1);
    let sent = sim.invite(&alice, BOB);
    let invite = sim.expect(&phones[0], "INVITE");
    sim.ring(&alice, &phones[0], &invite);
    sim.send(&alice, &sent.cancel());
    sim.expect(&alice, "200");
    sim.respond(&phones[0], &invite, "486 Busy Here");
    sim.expect(&alice, "486");
}

#[test]
fn silence_after_the_cancel_counts_as_487() {
    let mut sim = Sim::new();
    let (alice, phones) = caller_and_phones(&mut sim, 1);
    let sent = sim.invite(&alice, BOB);
    let invite = sim.expect(&phones[0], "INVITE");
    sim.ring(&alice, &phones[0], &invite);
    sim.send(&alice, &sent.cancel());
    sim.expect(&alice, "200");
    sim.advance(Duration::from_millis(31_900));
    sim.nothing_to(&alice);
    sim.advance(Duration::from_millis(200));
    let terminated = sim.expect(&alice, "487");
    assert!(terminated.to_tag().is_some());
    sim.send(&alice, &sent.ack(&terminated));
    sim.advance(Duration::from_secs(120));
    sim.nothing_to(&alice);
    assert!(sim.is_idle());
}

#[test]
fn a_leg_that_answers_the_cancel_but_not_the_invite_counts_as_487() {
    let mut sim = Sim::new();
    let (alice, phones) = caller_and_phones(&mut sim, 1);
    let sent = sim.invite(&alice, BOB);
    let invite = sim.expect(&phones[0], "INVITE");
    sim.ring(&alice, &phones[0], &invite);
    sim.send(&alice, &sent.cancel());
    sim.expect(&alice, "200");
    let cancel = sim.expect(&phones[0], "CANCEL");
    sim.respond(&phones[0], &cancel, "200 OK");
    sim.advance(Duration::from_millis(32_100));
    sim.expect(&alice, "487");
}

#[test]
fn a_leg_silent_from_the_beginning_counts_as_487() {
    let mut sim = Sim::new();
    let (alice, phones) = caller_and_phones(&mut sim, 1);
    let sent = sim.invite(&alice, BOB);
    sim.expect(&phones[0], "INVITE");
    sim.advance(Duration::from_secs(10));
    sim.send(&alice, &sent.cancel());
    sim.expect(&alice, "200");
    sim.advance(Duration::from_secs(33));
    let terminated = sim.expect(&alice, "487");
    sim.send(&alice, &sent.ack(&terminated));
    assert!(sim.kinds(&phones[0]).iter().all(|kind| kind == "INVITE"));
    sim.advance(Duration::from_secs(60));
    assert!(sim.is_idle());
}

#[test]
fn no_branch_is_started_after_a_cancel() {
    let mut sim = Sim::with(|domain| domain.fork = ForkOrder::Priority);
    let alice = sim.registered("alice");
    let first = sim.registered("bob");
    let second = sim.phone("bob");
    let draft = sim.draft(&second, "REGISTER", "sip:example.com");
    let draft = draft.set("Contact", &format!("<{}>;q=0.1", second.contact));
    sim.send_authorized(&second, &draft);
    sim.expect(&second, "200");

    let sent = sim.invite(&alice, BOB);
    let invite = sim.expect(&first, "INVITE");
    sim.ring(&alice, &first, &invite);
    sim.send(&alice, &sent.cancel());
    sim.expect(&alice, "200");
    obey_cancel(&mut sim, &first, &invite);
    sim.expect(&alice, "487");
    sim.nothing_else();
}

#[test]
fn a_cancel_while_the_next_hop_is_looked_up_ends_the_search() {
    let mut sim = Sim::new();
    let alice = sim.registered("alice");
    let peer = sim.peer(Transport::Udp, "203.0.113.5:5060");
    sim.host("example.net", &["203.0.113.5"]);
    sim.holds_questions = true;
    let sent = sim.invite(&alice, "sip:carl@example.net");
    sim.send(&alice, &sent.cancel());
    assert_eq!(sim.kinds(&alice), ["200", "487"]);
    sim.answer_questions();
    assert!(sim.receive(&peer).is_none());
}

#[test]
fn a_cancel_without_its_invite_is_refused() {
    let mut sim = Sim::new();
    let (alice, _) = caller_and_phones(&mut sim, 1);
    sim.advance(Duration::from_secs(60));
    let invite = sim.draft(&alice, "INVITE", BOB);
    sim.send(&alice, &invite.cancel());
    sim.expect(&alice, "481");
    sim.nothing_else();
    assert!(sim.is_idle());
}

#[test]
fn a_cancel_of_another_branch_cancels_nothing() {
    let mut sim = Sim::new();
    let (alice, phones) = caller_and_phones(&mut sim, 1);
    let sent = sim.invite(&alice, BOB);
    let invite = sim.expect(&phones[0], "INVITE");
    sim.ring(&alice, &phones[0], &invite);
    sim.send(&alice, &sent.cancel().branch("z9hG4bK-another"));
    sim.expect(&alice, "481");
    sim.nothing_else();
}

#[test]
fn a_cancel_after_the_answer_is_answered_and_has_no_effect() {
    let mut sim = Sim::new();
    let (alice, phones) = caller_and_phones(&mut sim, 1);
    let sent = sim.invite(&alice, BOB);
    let invite = sim.expect(&phones[0], "INVITE");
    sim.respond(&phones[0], &invite, "200 OK");
    sim.expect(&alice, "200");
    sim.send(&alice, &sent.cancel());
    let ok = sim.expect(&alice, "200");
    assert!(ok.header("CSeq").ends_with("CANCEL"));
    sim.nothing_else();
}

#[test]
fn a_retransmitted_cancel_gets_the_same_answer_and_no_more() {
    let mut sim = Sim::new();
    let (alice, phones) = caller_and_phones(&mut sim, 1);
    let sent = sim.invite(&alice, BOB);
    let invite = sim.expect(&phones[0], "INVITE");
    sim.ring(&alice, &phones[0], &invite);
    sim.send(&alice, &sent.cancel());
    let first = sim.expect(&alice, "200");
    sim.expect(&phones[0], "CANCEL");
    sim.send(&alice, &sent.cancel());
    let second = sim.expect(&alice, "200");
    assert_eq!(first.message.bytes(), second.message.bytes());
    sim.nothing_else();
}

#[test]
fn our_cancel_is_repeated_until_it_is_answered() {
    let mut sim = Sim::new();
    let (alice, phones) = caller_and_phones(&mut sim, 1);
    let sent = sim.invite(&alice, BOB);
    let invite = sim.expect(&phones[0], "INVITE");
    sim.ring(&alice, &phones[0], &invite);
    sim.send(&alice, &sent.cancel());
    let cancel = sim.expect(&phones[0], "CANCEL");
    sim.advance(Duration::from_millis(1600));
    assert_eq!(sim.kinds(&phones[0]), ["CANCEL", "CANCEL"]);
    sim.respond(&phones[0], &cancel, "200 OK");
    sim.advance(Duration::from_secs(10));
    sim.nothing_to(&phones[0]);
}
