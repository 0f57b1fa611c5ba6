//! Phones behind NAT are asked whether they are still there (RFC 5626 §4.4), each in its turn.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ringbinder::sip::hop::{Target, Transport};
use ringbinder::sip::keep_alive::{Asked, Asker};
use ringbinder::sip::location::{AddressOfRecord, Asking, KeepAlive, Means};
use ringbinder::sip::message::Message;
use ringbinder::sip::message::uri::Uri;

use crate::support::{Got, Phone, Sim};

const INTERVAL: Duration = Duration::from_secs(30);
const TICK: Duration = Duration::from_millis(100);
const ALL: (usize, usize) = (0, 1);
const NO_LIMIT: usize = 1_000_000;

fn asking(means: Means) -> Sim {
    Sim::with_settings(|settings| {
        settings.keep_alive = KeepAlive {
            means,
            asking: Asking {
                interval: INTERVAL,
                missed_max: 3,
            },
        };
    })
}

/// A phone whose Contact is an address of its own network.
fn behind_nat(sim: &mut Sim, user: &str) -> Phone {
    let mut phone = sim.phone(user);
    phone.contact = format!("sip:{user}@192.168.1.20:5060");
    sim.register(&phone);
    phone
}

struct Questions {
    asker: Asker,
    got: Vec<(Target, Bytes)>,
    asked: Asked,
}

impl Questions {
    fn new(sim: &Sim) -> Questions {
        Questions {
            asker: Asker::new(Arc::clone(&sim.shared)),
            got: Vec::new(),
            asked: Asked::default(),
        }
    }

    /// Lets time pass as the daemon does.
    fn run(&mut self, sim: &mut Sim, duration: Duration) -> usize {
        let before = self.got.len();
        for _ in 0..duration.as_millis() / TICK.as_millis() {
            sim.advance(TICK);
            let got = &mut self.got;
            let asked = self
                .asker
                .ask(sim.now, ALL, NO_LIMIT, |payload, target| got.push((target, payload)));
            self.asked.suspended += asked.suspended;
        }
        self.got.len() - before
    }

    fn last(&self, sim: &Sim, phone: &Phone) -> Got {
        let (target, payload) = self.got.last().expect("a question");
        assert_eq!(*target, Target::Flow(phone.flow));
        Got {
            message: Message::parse(payload.clone(), &sim.shared.settings.message).unwrap(),
            flow: phone.flow,
            at: sim.now,
        }
    }
}

fn binding<T>(sim: &Sim, user: &str, read: impl Fn(&ringbinder::sip::location::Binding<'_>) -> T) -> T {
    let uri = format!("sip:{user}@example.com");
    let (aor, _) = AddressOfRecord::new(&Uri::parse(uri.as_bytes()).unwrap(), &sim.shared.settings.domains).unwrap();
    let mut found = None;
    sim.shared
        .location
        .lookup(&aor, sim.now, &mut |binding| found = Some(read(binding)));
    found.expect("a binding")
}

#[test]
fn a_phone_behind_nat_is_asked_once_in_an_interval_and_no_other() {
    let mut sim = asking(Means::Options);
    let alice = behind_nat(&mut sim, "alice");
    sim.registered("bob");
    let mut questions = Questions::new(&sim);
    // Who has just registered has been heard of.
    assert_eq!(questions.run(&mut sim, INTERVAL), 0);
    assert!((9..=10).contains(&questions.run(&mut sim, 10 * INTERVAL)));
    let options = questions.last(&sim, &alice);
    assert_eq!(options.start_line(), format!("OPTIONS {} SIP/2.0", alice.contact));
    assert!(options.header("To").contains("alice@example.com"));
}

#[test]
fn an_answer_tells_the_round_trip_and_that_the_phone_is_there() {
    let mut sim = asking(Means::Options);
    let alice = behind_nat(&mut sim, "alice");
    let mut questions = Questions::new(&sim);
    while questions.got.is_empty() {
        questions.run(&mut sim, TICK);
    }
    let options = questions.last(&sim, &alice);
    sim.advance(Duration::from_millis(70));
    assert_eq!(
        binding(&sim, "alice", |binding| (binding.missed(), binding.round_trip())),
        (1, None)
    );
    // Any answer will do.
    sim.respond(&alice, &options, "486 Busy Here");
    let (missed, round_trip, seen) = binding(&sim, "alice", |binding| {
        (binding.missed(), binding.round_trip(), binding.last_seen())
    });
    assert_eq!((missed, round_trip), (0, Some(Duration::from_millis(70))));
    assert!(sim.now - seen < Duration::from_secs(1));
    sim.nothing_else();
}

#[test]
fn who_is_silent_is_suspended_asked_on_and_rung_again_when_it_answers() {
    let mut sim = asking(Means::Options);
    let alice = behind_nat(&mut sim, "alice");
    let bob = sim.registered("bob");
    let mut questions = Questions::new(&sim);
    questions.run(&mut sim, 6 * INTERVAL);
    assert_eq!(questions.asked.suspended, 1);
    let call = sim.draft(&bob, "INVITE", "sip:alice@example.com");
    let sent = sim.send_authorized(&bob, &call);
    let refused = sim.expect(&bob, "480");
    sim.send(&bob, &sent.ack(&refused));

    assert!(questions.run(&mut sim, 2 * INTERVAL) > 0, "it is asked on");
    let options = questions.last(&sim, &alice);
    sim.respond(&alice, &options, "200 OK");
    assert_eq!(sim.changes.last().unwrap().counts.resumed, 1);
    sim.invite(&bob, "sip:alice@example.com");
    sim.expect(&alice, "INVITE");
    assert_eq!(questions.asked.suspended, 1);
}

#[test]
fn an_answer_that_is_not_to_our_question_is_none() {
    let mut sim = asking(Means::Options);
    let alice = behind_nat(&mut sim, "alice");
    let mallory = sim.phone("mallory");
    let mut questions = Questions::new(&sim);
    questions.run(&mut sim, 3 * INTERVAL);
    let missed = |sim: &Sim| binding(sim, "alice", |binding| binding.missed());
    let before = missed(&sim);
    assert!(before > 0);
    let mut options = questions.last(&sim, &alice);
    // From elsewhere, provisional, with another AOR, with a changed branch.
    let answer = sim.answer(&alice, &options, "200 OK");
    sim.deliver(&mallory.flow, answer.bytes());
    sim.respond(&alice, &options, "100 Trying");
    sim.deliver(
        &alice.flow,
        answer.clone().set("To", "<sip:bob@example.com>;tag=1").bytes(),
    );
    let via = options.header("Via").to_owned();
    for forged in [
        via.replace("z9hG4bKka", "z9hG4bKkb"),
        via.replacen("z9hG4bKka0", "z9hG4bKka1", 1),
    ] {
        sim.deliver(&alice.flow, answer.clone().set("Via", &forged).bytes());
    }
    assert_eq!(missed(&sim), before);
    options.at = sim.now;
    sim.respond(&alice, &options, "200 OK");
    assert_eq!(missed(&sim), 0);
}

#[test]
fn line_ends_keep_the_nat_open_and_suspend_nobody() {
    let mut sim = asking(Means::LineEnds);
    behind_nat(&mut sim, "alice");
    let mut questions = Questions::new(&sim);
    assert!(questions.run(&mut sim, 20 * INTERVAL) >= 18);
    assert!(questions.got.iter().all(|(_, payload)| &payload[..] == b"\r\n\r\n"));
    assert_eq!(questions.asked.suspended, 0);
}

#[test]
fn nobody_is_asked_by_default() {
    let mut sim = Sim::new();
    behind_nat(&mut sim, "alice");
    let mut questions = Questions::new(&sim);
    assert_eq!(questions.run(&mut sim, 10 * INTERVAL), 0);
}

#[test]
fn a_refresh_counts_as_an_answer() {
    let mut sim = asking(Means::Options);
    let alice = behind_nat(&mut sim, "alice");
    let mut questions = Questions::new(&sim);
    questions.run(&mut sim, 3 * INTERVAL);
    sim.register(&alice);
    assert_eq!(binding(&sim, "alice", |binding| binding.missed()), 0);
}

#[test]
fn a_connection_over_which_nobody_answers_is_named_for_each_request() {
    let mut sim = Sim::new();
    let alice = sim.registered_over("alice", Transport::Tls);
    let bob = sim.registered("bob");
    for calls in 1..=2 {
        sim.invite(&bob, "sip:alice@example.com");
        sim.expect(&alice, "INVITE");
        sim.advance(Duration::from_secs(33));
        assert_eq!(sim.silent, vec![alice.flow.connection.unwrap(); calls]);
        sim.delivered.clear();
    }
    // Who rings does not pick up; that is no silence.
    sim.invite(&bob, "sip:alice@example.com");
    let invite = sim.expect(&alice, "INVITE");
    sim.respond(&alice, &invite, "180 Ringing");
    sim.advance(Duration::from_secs(300));
    assert_eq!(sim.silent.len(), 2);
}
