//! Forks and the choice of the answer (RFC 3261 §16.7, §16.9; RFC 6026).

use std::collections::BTreeSet;
use std::time::Duration;

use ringbinder::sip::domain::ForkOrder;
use ringbinder::sip::hop::Transport;

use super::{caller_and_phones, expect_each, obey_cancel};
use crate::support::{Phone, Sim};

const BOB: &str = "sip:bob@example.com";

#[test]
fn all_phones_ring_at_once() {
    let mut sim = Sim::new();
    let (alice, phones) = caller_and_phones(&mut sim, 10);
    let start = sim.now;
    sim.invite(&alice, BOB);
    let invites = expect_each(&mut sim, &phones, "INVITE");
    let branches: BTreeSet<&str> = invites.iter().map(|invite| invite.branch()).collect();
    assert_eq!(branches.len(), 10);
    for (invite, phone) in invites.iter().zip(&phones) {
        assert_eq!(invite.uri(), phone.contact);
        assert_eq!(invite.at, start);
    }
    sim.nothing_else();
}

#[test]
fn provisional_responses_pass_but_for_100() {
    let mut sim = Sim::new();
    let (alice, phones) = caller_and_phones(&mut sim, 2);
    sim.invite(&alice, BOB);
    let invites = expect_each(&mut sim, &phones, "INVITE");
    sim.respond(&phones[0], &invites[0], "100 Trying");
    sim.nothing_else();
    sim.respond(&phones[0], &invites[0], "180 Ringing");
    sim.respond(&phones[1], &invites[1], "183 Session Progress");
    sim.respond(&phones[0], &invites[0], "180 Ringing");
    assert_eq!(sim.kinds(&alice), ["180", "183", "180"]);
}

#[test]
fn a_2xx_is_forwarded_at_once_and_the_others_are_cancelled() {
    let mut sim = Sim::new();
    let (alice, phones) = caller_and_phones(&mut sim, 3);
    sim.invite(&alice, BOB);
    let invites = expect_each(&mut sim, &phones, "INVITE");
    for (phone, invite) in phones.iter().zip(&invites) {
        sim.ring(&alice, phone, invite);
    }
    sim.respond(&phones[1], &invites[1], "200 OK");
    let ok = sim.expect(&alice, "200");
    assert_eq!(ok.to_tag(), Some(&*phones[1].tag));
    obey_cancel(&mut sim, &phones[0], &invites[0]);
    obey_cancel(&mut sim, &phones[2], &invites[2]);
    sim.nothing_else();
    sim.advance(Duration::from_secs(120));
    sim.nothing_else();
    assert!(sim.is_idle());
}

#[test]
fn a_leg_is_cancelled_when_its_first_provisional_comes_after_the_decision() {
    let mut sim = Sim::new();
    let (alice, phones) = caller_and_phones(&mut sim, 2);
    sim.invite(&alice, BOB);
    let invites = expect_each(&mut sim, &phones, "INVITE");
    sim.respond(&phones[0], &invites[0], "200 OK");
    sim.expect(&alice, "200");
    sim.nothing_else();
    sim.advance(Duration::from_millis(100));
    sim.respond(&phones[1], &invites[1], "180 Ringing");
    obey_cancel(&mut sim, &phones[1], &invites[1]);
    sim.nothing_else();
    sim.advance(Duration::from_secs(120));
    assert!(sim.is_idle());
}

#[test]
fn a_100_after_the_decision_brings_the_cancel_too() {
    let mut sim = Sim::new();
    let (alice, phones) = caller_and_phones(&mut sim, 2);
    sim.invite(&alice, BOB);
    let invites = expect_each(&mut sim, &phones, "INVITE");
    sim.respond(&phones[0], &invites[0], "200 OK");
    sim.expect(&alice, "200");
    sim.respond(&phones[1], &invites[1], "100 Trying");
    obey_cancel(&mut sim, &phones[1], &invites[1]);
    sim.nothing_else();
}

#[test]
fn a_leg_that_never_says_anything_gets_no_cancel() {
    let mut sim = Sim::new();
    let (alice, phones) = caller_and_phones(&mut sim, 2);
    sim.invite(&alice, BOB);
    let invites = expect_each(&mut sim, &phones, "INVITE");
    sim.respond(&phones[0], &invites[0], "200 OK");
    sim.expect(&alice, "200");
    sim.advance(Duration::from_secs(120));
    assert!(sim.kinds(&phones[1]).iter().all(|kind| kind == "INVITE"));
    sim.nothing_else();
    assert!(sim.is_idle());
}

#[test]
fn the_last_180_and_the_200_at_the_same_moment_leave_nobody_ringing() {
    let mut sim = Sim::new();
    let (alice, phones) = caller_and_phones(&mut sim, 10);
    sim.invite(&alice, BOB);
    let invites = expect_each(&mut sim, &phones, "INVITE");
    for (phone, invite) in phones.iter().zip(&invites).take(9) {
        sim.ring(&alice, phone, invite);
    }
    sim.respond(&phones[0], &invites[0], "200 OK");
    sim.respond(&phones[9], &invites[9], "180 Ringing");
    sim.expect(&alice, "200");
    for (phone, invite) in phones.iter().zip(&invites).skip(1) {
        obey_cancel(&mut sim, phone, invite);
    }
    sim.nothing_else();
}

#[test]
fn every_2xx_is_forwarded() {
    let mut sim = Sim::new();
    let (alice, phones) = caller_and_phones(&mut sim, 2);
    sim.invite(&alice, BOB);
    let invites = expect_each(&mut sim, &phones, "INVITE");
    sim.ring(&alice, &phones[1], &invites[1]);
    sim.respond(&phones[0], &invites[0], "200 OK");
    sim.respond(&phones[1], &invites[1], "200 OK");
    let tags = [sim.expect(&alice, "200"), sim.expect(&alice, "200")];
    assert_eq!(tags[0].to_tag(), Some(&*phones[0].tag));
    assert_eq!(tags[1].to_tag(), Some(&*phones[1].tag));

    // The phone repeats its 2xx until it gets an ACK, and each is passed on (RFC 6026 §7.1, §7.2).
    sim.advance(Duration::from_millis(500));
    sim.respond(&phones[1], &invites[1], "200 OK");
    sim.expect(&alice, "200");
}

#[test]
fn a_late_2xx_is_forwarded_while_the_invite_is_accepted() {
    let mut sim = Sim::new();
    let (alice, phones) = caller_and_phones(&mut sim, 2);
    sim.invite(&alice, BOB);
    let invites = expect_each(&mut sim, &phones, "INVITE");
    sim.respond(&phones[0], &invites[0], "200 OK");
    sim.expect(&alice, "200");
    sim.advance(Duration::from_secs(20));
    sim.delivered.clear();
    sim.respond(&phones[1], &invites[1], "200 OK");
    let late = sim.expect(&alice, "200");
    assert_eq!(late.to_tag(), Some(&*phones[1].tag));
}

#[test]
fn a_2xx_with_another_call_id_leaves_nothing_behind() {
    let mut sim = Sim::new();
    let (alice, phones) = caller_and_phones(&mut sim, 1);
    sim.invite(&alice, BOB);
    let invite = sim.expect(&phones[0], "INVITE");
    // One of these is the business of the INVITE's shard.
    for number in 0..20 {
        let answer = sim.answer(&phones[0], &invite, "200 OK");
        let answer = answer.set("Call-ID", &format!("another-{number}"));
        sim.deliver(&invite.flow, answer.bytes());
    }
    sim.respond(&phones[0], &invite, "200 OK");
    assert!(!sim.kinds(&alice).is_empty());
    sim.advance(Duration::from_secs(120));
    assert!(sim.is_idle());
}

#[test]
fn other_final_responses_after_a_2xx_are_acknowledged_and_end_there() {
    let mut sim = Sim::new();
    let (alice, phones) = caller_and_phones(&mut sim, 2);
    sim.invite(&alice, BOB);
    let invites = expect_each(&mut sim, &phones, "INVITE");
    sim.respond(&phones[0], &invites[0], "200 OK");
    sim.expect(&alice, "200");
    sim.respond(&phones[1], &invites[1], "600 Busy Everywhere");
    sim.expect(&phones[1], "ACK");
    sim.nothing_else();
}

#[test]
fn a_6xx_cancels_the_others_and_wins() {
    let mut sim = Sim::new();
    let (alice, phones) = caller_and_phones(&mut sim, 3);
    sim.invite(&alice, BOB);
    let invites = expect_each(&mut sim, &phones, "INVITE");
    sim.ring(&alice, &phones[0], &invites[0]);
    sim.respond(&phones[2], &invites[2], "486 Busy Here");
    sim.expect(&phones[2], "ACK");
    sim.respond(&phones[1], &invites[1], "603 Decline");
    sim.expect(&phones[1], "ACK");
    obey_cancel(&mut sim, &phones[0], &invites[0]);
    assert_eq!(sim.expect(&alice, "603").start_line(), "SIP/2.0 603 Decline");
    sim.nothing_else();
}

#[test]
fn a_2xx_that_crosses_the_cancel_after_a_6xx_wins() {
    let mut sim = Sim::new();
    let (alice, phones) = caller_and_phones(&mut sim, 2);
    sim.invite(&alice, BOB);
    let invites = expect_each(&mut sim, &phones, "INVITE");
    sim.ring(&alice, &phones[0], &invites[0]);
    sim.respond(&phones[1], &invites[1], "603 Decline");
    sim.expect(&phones[1], "ACK");
    sim.expect(&phones[0], "CANCEL");
    sim.respond(&phones[0], &invites[0], "200 OK");
    sim.expect(&alice, "200");
    sim.nothing_else();
}

#[test]
fn the_best_response_is_chosen() {
    for (finals, best) in [
        (&["486 Busy Here", "404 Not Found"][..], &["486", "404"][..]),
        (&["486 Busy Here", "302 Moved Temporarily"], &["302"]),
        (&["500 Server Internal Error", "486 Busy Here"], &["486"]),
        (&["486 Busy Here", "600 Busy Everywhere", "302 Moved"], &["600"]),
        (&["404 Not Found", "401 Unauthorized"], &["401"]),
        (&["404 Not Found", "407 Proxy Authentication Required"], &["407"]),
        (&["486 Busy Here", "415 Unsupported Media Type"], &["415"]),
        (&["480 Temporarily Unavailable", "484 Address Incomplete"], &["484"]),
        (&["503 Service Unavailable", "486 Busy Here"], &["486"]),
        (&["503 Service Unavailable", "502 Bad Gateway"], &["502"]),
        (&["503 Service Unavailable", "503 Service Unavailable"], &["500"]),
        (&["503 Service Unavailable"], &["500"]),
        (&["487 Request Terminated", "486 Busy Here"], &["486"]),
    ] {
        let mut orders = vec![finals.to_vec()];
        orders.push(finals.iter().rev().copied().collect());
        for order in orders {
            let kind = final_response(&order);
            assert!(best.contains(&&*kind), "{order:?} gave {kind}");
        }
    }
}

#[test]
fn a_503_becomes_a_500_that_says_nothing_of_a_retry() {
    let mut sim = Sim::new();
    let (alice, phones) = caller_and_phones(&mut sim, 1);
    sim.invite(&alice, BOB);
    let invite = sim.expect(&phones[0], "INVITE");
    let answer = sim
        .answer(&phones[0], &invite, "503 Service Unavailable")
        .add("Retry-After", "60");
    sim.deliver(&invite.flow, answer.bytes());
    sim.expect(&phones[0], "ACK");
    let got = sim.expect(&alice, "500");
    assert!(!got.has("Retry-After"), "{}", got.text());
}

#[test]
fn the_challenges_of_all_branches_are_merged() {
    let mut sim = Sim::new();
    let (alice, phones) = caller_and_phones(&mut sim, 4);
    sim.invite(&alice, BOB);
    let invites = expect_each(&mut sim, &phones, "INVITE");
    let challenges = [
        (
            "401 Unauthorized",
            "WWW-Authenticate",
            "Digest realm=\"one\", nonce=\"1\"",
        ),
        (
            "407 Proxy Authentication Required",
            "Proxy-Authenticate",
            "Digest realm=\"two\", nonce=\"2\"",
        ),
        (
            "401 Unauthorized",
            "WWW-Authenticate",
            "Digest realm=\"three\", nonce=\"3\"",
        ),
    ];
    for ((phone, invite), (status, header, challenge)) in phones.iter().zip(&invites).zip(challenges) {
        let answer = sim.answer(phone, invite, status).add(header, challenge);
        sim.deliver(&invite.flow, answer.bytes());
        sim.expect(phone, "ACK");
    }
    sim.nothing_else();
    sim.respond(&phones[3], &invites[3], "486 Busy Here");
    sim.expect(&phones[3], "ACK");
    let got = sim.receive(&alice).unwrap();
    assert!(matches!(got.status(), 401 | 407), "{}", got.text());
    assert_eq!(got.lines("WWW-Authenticate"), [challenges[0].2, challenges[2].2]);
    assert_eq!(got.lines("Proxy-Authenticate"), [challenges[1].2]);
    sim.nothing_else();
}

#[test]
fn a_3xx_is_forwarded_and_not_followed() {
    let mut sim = Sim::new();
    let (alice, phones) = caller_and_phones(&mut sim, 2);
    sim.invite(&alice, BOB);
    let invites = expect_each(&mut sim, &phones, "INVITE");
    let answer = sim.answer(&phones[0], &invites[0], "302 Moved Temporarily");
    let answer = answer.add("Contact", "<sip:bob@203.0.113.99>");
    sim.deliver(&invites[0].flow, answer.bytes());
    sim.expect(&phones[0], "ACK");
    sim.nothing_else();
    sim.respond(&phones[1], &invites[1], "486 Busy Here");
    sim.expect(&phones[1], "ACK");
    let got = sim.expect(&alice, "302");
    assert_eq!(got.values("Contact"), ["<sip:bob@203.0.113.99>"]);
    sim.nothing_else();
}

#[test]
fn a_branch_that_cannot_be_reached_fails_alone() {
    let mut sim = Sim::new();
    let (alice, phones) = caller_and_phones(&mut sim, 2);
    sim.unreachable.insert((Transport::Udp, phones[0].flow.remote));
    sim.invite(&alice, BOB);
    let invite = sim.expect(&phones[1], "INVITE");
    sim.respond(&phones[1], &invite, "486 Busy Here");
    sim.expect(&phones[1], "ACK");
    sim.expect(&alice, "486");
    sim.nothing_else();
}

#[test]
fn when_no_branch_can_be_reached_nobody_is_there() {
    let mut sim = Sim::new();
    let (alice, phones) = caller_and_phones(&mut sim, 2);
    let dead = sim.registered_over("bob", Transport::Tls);
    sim.close(&dead);
    for phone in &phones {
        sim.unreachable.insert((Transport::Udp, phone.flow.remote));
    }
    let sent = sim.invite(&alice, BOB);
    let got = sim.expect(&alice, "480");
    assert_eq!(got.reason().as_deref(), Some("no-binding"));
    sim.send(&alice, &sent.ack(&got));
    sim.nothing_else();
    sim.advance(Duration::from_secs(60));
    assert!(sim.is_idle());
}

#[test]
fn a_connection_that_ends_while_its_phone_is_silent_fails_that_branch() {
    let mut sim = Sim::new();
    let alice = sim.registered("alice");
    let bob = sim.registered_over("bob", Transport::Tls);
    sim.invite(&alice, BOB);
    sim.expect(&bob, "INVITE");
    sim.close(&bob);
    sim.expect(&alice, "480");
    sim.nothing_else();
}

#[test]
fn any_real_response_beats_silence() {
    let mut sim = Sim::new();
    let (alice, phones) = caller_and_phones(&mut sim, 2);
    sim.invite(&alice, BOB);
    let invites = expect_each(&mut sim, &phones, "INVITE");
    sim.respond(&phones[0], &invites[0], "500 Server Internal Error");
    sim.expect(&phones[0], "ACK");
    sim.advance(Duration::from_secs(40));
    let kinds = sim.kinds(&alice);
    // The caller does not acknowledge, so that it is repeated.
    assert!(!kinds.is_empty() && kinds.iter().all(|kind| kind == "500"), "{kinds:?}");
}

#[test]
fn phones_of_higher_q_ring_first_where_the_domain_says_so() {
    let mut sim = Sim::with(|domain| domain.fork = ForkOrder::Priority);
    let alice = sim.registered("alice");
    let phones = with_q(&mut sim, &["0.2", "1.0", "0.5", "0.5"]);
    sim.invite(&alice, BOB);
    let first = sim.expect(&phones[1], "INVITE");
    sim.nothing_else();
    sim.respond(&phones[1], &first, "486 Busy Here");
    sim.expect(&phones[1], "ACK");
    let second = expect_each(&mut sim, &phones[2..], "INVITE");
    sim.nothing_else();
    sim.respond(&phones[2], &second[0], "486 Busy Here");
    sim.expect(&phones[2], "ACK");
    sim.nothing_else();
    sim.respond(&phones[3], &second[1], "404 Not Found");
    sim.expect(&phones[3], "ACK");
    let last = sim.expect(&phones[0], "INVITE");
    sim.respond(&phones[0], &last, "200 OK");
    sim.expect(&alice, "200");
    sim.nothing_else();
}

#[test]
fn a_6xx_ends_the_search_in_sequence_too() {
    let mut sim = Sim::with(|domain| domain.fork = ForkOrder::Priority);
    let alice = sim.registered("alice");
    let phones = with_q(&mut sim, &["1.0", "0.5"]);
    sim.invite(&alice, BOB);
    let first = sim.expect(&phones[0], "INVITE");
    sim.respond(&phones[0], &first, "603 Decline");
    sim.expect(&phones[0], "ACK");
    sim.expect(&alice, "603");
    sim.nothing_else();
}

#[test]
fn a_request_other_than_invite_is_forked_too_and_the_first_2xx_is_its_answer() {
    let mut sim = Sim::new();
    let (alice, phones) = caller_and_phones(&mut sim, 3);
    let draft = sim.draft(&alice, "MESSAGE", BOB);
    sim.send_authorized(&alice, &draft);
    let requests = expect_each(&mut sim, &phones, "MESSAGE");
    sim.respond(&phones[0], &requests[0], "486 Busy Here");
    sim.nothing_else();
    sim.respond(&phones[1], &requests[1], "200 OK");
    sim.expect(&alice, "200");
    sim.respond(&phones[2], &requests[2], "202 Accepted");
    sim.nothing_else();
    sim.advance(Duration::from_secs(60));
    assert!(sim.is_idle());
}

/// What the caller gets when one phone each answers with these.
fn final_response(finals: &[&str]) -> String {
    let mut sim = Sim::new();
    let (alice, phones) = caller_and_phones(&mut sim, finals.len());
    sim.invite(&alice, BOB);
    let invites = expect_each(&mut sim, &phones, "INVITE");
    for (phone, invite) in phones.iter().zip(&invites) {
        sim.ring(&alice, phone, invite);
    }
    for ((phone, invite), status) in phones.iter().zip(&invites).zip(finals) {
        sim.delivered.retain(|got| got.kind() != "CANCEL");
        sim.respond(phone, invite, status);
        sim.delivered.retain(|got| got.kind() != "CANCEL");
        sim.expect(phone, "ACK");
    }
    let got = sim.receive(&alice).expect("a final response");
    sim.nothing_else();
    got.kind()
}

#[test]
fn a_6xx_to_another_request_ends_its_search_in_sequence() {
    let mut sim = Sim::with(|domain| domain.fork = ForkOrder::Priority);
    let alice = sim.registered("alice");
    let phones = with_q(&mut sim, &["1.0", "0.5"]);
    let draft = sim.draft(&alice, "MESSAGE", BOB);
    sim.send_authorized(&alice, &draft);
    let first = sim.expect(&phones[0], "MESSAGE");
    sim.respond(&phones[0], &first, "603 Decline");
    sim.expect(&alice, "603");
    sim.nothing_else();
    sim.advance(Duration::from_secs(60));
    assert!(sim.is_idle());
}

/// Phones of bob, registered with these q values.
fn with_q(sim: &mut Sim, values: &[&str]) -> Vec<Phone> {
    let register = |q: &&str| {
        let phone = sim.phone("bob");
        let draft = sim.draft(&phone, "REGISTER", "sip:example.com");
        let draft = draft.set("Contact", &format!("<{}>;q={q}", phone.contact));
        sim.send_authorized(&phone, &draft);
        sim.expect(&phone, "200");
        phone
    };
    values.iter().map(register).collect()
}
