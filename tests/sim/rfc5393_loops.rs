//! Loops and the breadth of forks: RFC 3261 §16.3 step 4, RFC 5393.

use std::time::Duration;

use ringbinder::sip::hop::Transport;

use crate::support::{Draft, Got, Phone, Sim};

const BOB: &str = "sip:bob@example.com";

#[test]
fn a_request_that_comes_back_unchanged_is_a_loop() {
    let mut sim = Sim::new();
    let alice = sim.registered("alice");
    let peer = sim.peer(Transport::Udp, "203.0.113.5:5060");
    sim.invite(&alice, "sip:carl@203.0.113.5");
    let invite = sim.expect(&peer, "INVITE");
    let back = returned(&mut sim, &peer, &invite, "sip:carl@203.0.113.5");
    sim.send(&peer, &back);
    let refused = sim.expect(&peer, "482");
    assert_eq!(refused.start_line(), "SIP/2.0 482 Loop Detected");
    sim.nothing_else();
}

#[test]
fn a_binding_that_leads_back_ends_in_482() {
    let mut sim = Sim::new();
    let alice = sim.registered("alice");
    // Bob's phone sends everything back to us with the AOR as Request-URI: a forwarding that does not end.
    let bob = sim.registered("bob");
    sim.invite(&alice, BOB);
    let first = sim.expect(&bob, "INVITE");
    let mut turns = Vec::new();
    let mut invite = first.clone();
    loop {
        let back = returned(&mut sim, &bob, &invite, BOB);
        let back = authorize(&mut sim, &bob, &back);
        sim.send(&bob, &back);
        turns.push(invite);
        assert!(turns.len() < 4, "it goes on for ever");
        match sim.receive(&bob).expect("an answer") {
            got if got.kind() == "100" => invite = sim.expect(&bob, "INVITE"),
            got => {
                assert_eq!(got.kind(), "482");
                sim.send(&bob, &back.ack(&got));
                break;
            }
        }
    }
    sim.nothing_to(&alice);
}

#[test]
fn a_spiral_is_no_loop() {
    let mut sim = Sim::new();
    let (alice, carol) = (sim.registered("alice"), sim.registered("carol"));
    let bob = sim.registered("bob");
    sim.invite(&alice, BOB);
    let invite = sim.expect(&bob, "INVITE");
    // Bob's phone sends the call on to carol, through us again.
    let back = returned(&mut sim, &bob, &invite, "sip:carol@example.com");
    let back = authorize(&mut sim, &bob, &back);
    sim.send(&bob, &back);
    sim.expect(&bob, "100");
    let spiral = sim.expect(&carol, "INVITE");
    assert_eq!(spiral.values("Via").len(), 4);
    sim.respond(&carol, &spiral, "200 OK");
    let ok = sim.expect(&bob, "200");
    let forwarded = Draft::response(&invite, "200 OK", ok.to_tag());
    sim.deliver(&invite.flow, forwarded.add("Contact", "<sip:carol@192.0.2.77>").bytes());
    sim.expect(&alice, "200");
    sim.nothing_else();
}

#[test]
fn a_branch_that_only_looks_like_ours_is_no_loop() {
    let mut sim = Sim::new();
    let (alice, bob) = (sim.registered("alice"), sim.registered("bob"));
    let draft = sim
        .draft(&alice, "MESSAGE", BOB)
        .add("Via", "SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK0000-0123456789abcdef");
    sim.send_authorized(&alice, &draft);
    sim.expect(&bob, "MESSAGE");
}

#[test]
fn an_authorized_repetition_is_no_loop() {
    let mut sim = Sim::new();
    let (alice, bob) = (sim.registered("alice"), sim.registered("bob"));
    for _ in 0..3 {
        sim.invite(&alice, BOB);
        sim.expect(&bob, "INVITE");
    }
}

#[test]
fn the_breadth_is_sixty_unless_said_and_is_divided() {
    let mut sim = Sim::new();
    let alice = sim.registered("alice");
    let phones: Vec<Phone> = (0..4).map(|_| sim.registered("bob")).collect();
    for (sent, expected) in [
        (None, [15, 15, 15, 15]),
        (Some("60"), [15, 15, 15, 15]),
        (Some("7"), [2, 2, 2, 1]),
        (Some("4"), [1, 1, 1, 1]),
    ] {
        let mut draft = sim.draft(&alice, "INVITE", BOB);
        if let Some(sent) = sent {
            draft = draft.add("Max-Breadth", sent);
        }
        let sent = sim.invite_with(&alice, &draft);
        let mut shares: Vec<u32> = Vec::new();
        for phone in &phones {
            let invite = sim.expect(phone, "INVITE");
            assert_eq!(invite.lines("Max-Breadth").len(), 1);
            shares.push(invite.header("Max-Breadth").parse().unwrap());
            sim.respond(phone, &invite, "486 Busy Here");
            sim.expect(phone, "ACK");
        }
        shares.sort_by(|a, b| b.cmp(a));
        assert_eq!(shares, expected);
        let busy = sim.expect(&alice, "486");
        sim.send(&alice, &sent.ack(&busy));
        sim.nothing_else();
    }
}

#[test]
fn a_single_branch_passes_the_breadth_on() {
    let mut sim = Sim::new();
    let (alice, bob) = (sim.registered("alice"), sim.registered("bob"));
    for breadth in ["1", "9", "60"] {
        let draft = sim.draft(&alice, "MESSAGE", BOB).add("Max-Breadth", breadth);
        sim.send_authorized(&alice, &draft);
        assert_eq!(sim.expect(&bob, "MESSAGE").header("Max-Breadth"), breadth);
    }
}

#[test]
fn branches_beyond_the_breadth_go_in_sequence() {
    let mut sim = Sim::new();
    let alice = sim.registered("alice");
    let phones: Vec<Phone> = (0..3).map(|_| sim.registered("bob")).collect();
    let draft = sim.draft(&alice, "INVITE", BOB).add("Max-Breadth", "2");
    sim.invite_with(&alice, &draft);
    let first = sim.expect(&phones[0], "INVITE");
    let second = sim.expect(&phones[1], "INVITE");
    sim.nothing_else();
    assert_eq!([first.header("Max-Breadth"), second.header("Max-Breadth")], ["1", "1"]);
    sim.respond(&phones[0], &first, "486 Busy Here");
    sim.expect(&phones[0], "ACK");
    let third = sim.expect(&phones[2], "INVITE");
    assert_eq!(third.header("Max-Breadth"), "1");
    sim.respond(&phones[1], &second, "180 Ringing");
    sim.expect(&alice, "180");
    sim.respond(&phones[2], &third, "200 OK");
    sim.expect(&alice, "200");
    sim.expect(&phones[1], "CANCEL");
    sim.nothing_else();
}

#[test]
fn all_but_one_in_sequence_still_reach_everybody() {
    let mut sim = Sim::new();
    let alice = sim.registered("alice");
    let phones: Vec<Phone> = (0..10).map(|_| sim.registered("bob")).collect();
    let draft = sim.draft(&alice, "INVITE", BOB).add("Max-Breadth", "1");
    sim.invite_with(&alice, &draft);
    for phone in &phones {
        let invite = sim.expect(phone, "INVITE");
        sim.nothing_else();
        sim.respond(phone, &invite, "486 Busy Here");
        sim.expect(phone, "ACK");
    }
    sim.expect(&alice, "486");
    sim.nothing_else();
}

#[test]
fn no_breadth_left_is_refused() {
    let mut sim = Sim::new();
    let (alice, _) = (sim.registered("alice"), sim.registered("bob"));
    sim.advance(Duration::from_secs(60));
    let draft = sim.draft(&alice, "INVITE", BOB).add("Max-Breadth", "0");
    sim.send(&alice, &draft);
    assert_eq!(
        sim.expect(&alice, "440").start_line(),
        "SIP/2.0 440 Max-Breadth Exceeded"
    );
    sim.nothing_else();
    assert!(sim.is_idle());
    let draft = sim.draft(&alice, "INVITE", BOB).add("Max-Breadth", "wide");
    sim.send(&alice, &draft);
    sim.expect(&alice, "400");
}

/// `got` as its receiver sends it back to us, to `uri`.
fn returned(sim: &mut Sim, phone: &Phone, got: &Got, uri: &str) -> Draft {
    let mut draft = Draft::request(got.method(), uri);
    let via = sim.via(phone);
    draft = draft.add("Via", &via);
    for name in ["Via", "Max-Breadth", "From", "To", "Call-ID", "CSeq", "Contact"] {
        for value in got.lines(name) {
            draft = draft.add(name, value);
        }
    }
    let hops: u32 = got.header("Max-Forwards").parse().unwrap();
    draft.add("Max-Forwards", &(hops - 1).to_string())
}

/// The credentials that the caller gave are gone by now; whoever sends the request on has to give the caller's own.
fn authorize(sim: &mut Sim, phone: &Phone, draft: &Draft) -> Draft {
    let probe = sim.draft(phone, "MESSAGE", "sip:alice@example.com");
    sim.send(phone, &probe);
    let challenge = sim.expect(phone, "407");
    let cseq = draft.header("CSeq").to_owned();
    let branch = sim.branch();
    let signed = sim.authorized_as("alice", crate::support::PASSWORD, draft, &challenge, 1);
    // A proxy does not count the CSeq on.
    signed.set("CSeq", &cseq).branch(&branch)
}
