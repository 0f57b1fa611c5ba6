//! Storms: many calls at once over a network that loses, repeats, delays and reorders, with phones that are silent,
//! slow, gone or of another mind. Whatever happens, each caller gets one answer, nobody is left ringing, and in the end
//! nothing is kept (RFC 3261 §16, §17, as a whole).

mod callee;
mod caller;
mod network;
mod texter;

use std::time::Duration;

use network::{End, Event, Faults, Storm};
use ringbinder::sip::domain::{Domains, ForkOrder};

use crate::support::{Random, Sim, domain};

/// How many storms each test goes through, one per seed.
const SEEDS: u64 = 50;

/// Who is called.
const CALLEES: [&str; 3] = ["bob", "carol", "dave"];

#[test]
fn on_a_good_network() {
    each_seed(Faults::none);
}

#[test]
fn on_a_network_that_loses_repeats_and_reorders() {
    each_seed(|seed| Faults {
        loss_percent: 12,
        repeat_percent: 10,
        jitter: Duration::from_millis(400),
        lag: Duration::from_millis(300),
        ..Faults::none(seed)
    });
}

#[test]
fn while_connections_end_and_phones_go_away() {
    each_seed(|seed| Faults {
        loss_percent: 5,
        repeat_percent: 5,
        jitter: Duration::from_millis(100),
        accidents: 8,
        ..Faults::none(seed)
    });
}

#[test]
fn garbage_among_good_messages_does_no_harm() {
    for seed in seeds() {
        let mut storm = storm(Faults {
            garbage_percent: 20,
            jitter: Duration::from_millis(50),
            ..Faults::none(seed)
        });
        storm.sim.sends_garbage = true;
        storm.run();
        // What a changed message means nobody knows; but it must not stay.
        storm.sim.advance(Duration::from_secs(600));
        assert!(storm.sim.is_idle(), "seed {seed}: something is kept");
    }
}

fn each_seed(faults: impl Fn(u64) -> Faults) {
    for seed in seeds() {
        let mut storm = storm(faults(seed));
        storm.run();
        check(&mut storm, seed);
    }
}

/// All seeds, or the one that `SEED` names.
fn seeds() -> std::ops::Range<u64> {
    match std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()) {
        Some(seed) => seed..seed + 1,
        None => 0..SEEDS,
    }
}

/// A server with settings drawn by lot, three callees with up to six phones each, and callers with what they will do.
fn storm(faults: Faults) -> Storm {
    let mut random = Random::new(faults.seed);
    let mut domain = domain("example.com", &["alice", "bob", "carol", "dave"]);
    domain.ring_timeout = random.chance(70).then(|| Duration::from_secs(20 + random.below(40)));
    if random.chance(30) {
        domain.fork = ForkOrder::Priority;
    }
    let mut sim = Sim::with_settings(|settings| {
        settings.domains = Domains::new(vec![domain]);
        settings.recurse = random.chance(30);
    });
    sim.is_traced = std::env::var("SEED").is_ok();
    let mut ends = Vec::new();
    for user in CALLEES {
        for _ in 0..1 + random.below(6) {
            let phone = sim.phone_over(user, network::transport(&mut random));
            let contact = format!("<{}>;q=0.{}", phone.contact, random.below(4));
            let draft = sim
                .draft(&phone, "REGISTER", "sip:example.com")
                .set("Contact", &contact);
            sim.send_authorized(&phone, &draft);
            sim.expect(&phone, "200");
            ends.push(End::new(phone));
        }
    }
    let callees = ends.len();
    for _ in 0..4 {
        let transport = network::transport(&mut random);
        ends.push(End::new(sim.phone_over("alice", transport)));
    }
    let (start, accidents) = (sim.now, faults.accidents);
    let mut storm = Storm::new(sim, random, faults, ends);
    for _ in 0..16 {
        let end = callees + storm.random.below(4) as usize;
        let callee = CALLEES[storm.random.below(3) as usize];
        let at = start + storm.time(20_000);
        let uri = format!("sip:{callee}@example.com");
        let event = match storm.random.chance(75) {
            true => Event::Call { end, uri },
            false => Event::Text { end, uri },
        };
        storm.at(at, event);
    }
    for _ in 0..accidents {
        let end = storm.random.below(storm.ends.len() as u64) as usize;
        let at = start + storm.time(40_000);
        storm.at(at, Event::Accident { end });
    }
    storm
}

fn check(storm: &mut Storm, seed: u64) {
    for end in &storm.ends {
        if end.is_doubtful {
            continue;
        }
        for (call_id, call) in &end.calls {
            let finals: Vec<u16> = call.finals.iter().map(|(status, _)| *status).collect();
            let accepted = finals.iter().filter(|status| **status < 300).count();
            // A 2xx that was lost is sent again by the phone, unless that has gone.
            let is_lost = storm.has_accidents() && storm.accepted.contains(call_id);
            assert!(
                !finals.is_empty() || is_lost,
                "seed {seed}: {call_id} got no final answer"
            );
            let is_one_answer = finals.len() <= 1 || accepted == finals.len();
            assert!(is_one_answer, "seed {seed}: {call_id} got {finals:?}");
            // A phone that has gone does not answer the BYE.
            let is_over = storm.has_accidents() || call.dialogs.values().all(|talk| talk.is_over);
            assert!(is_over, "seed {seed}: {call_id} is not over");
        }
        for (call_id, text) in &end.texts {
            assert!(text.finals.len() <= 1, "seed {seed}: {call_id} got {:?}", text.finals);
        }
        for (branch, leg) in &end.legs {
            let was_heard = storm
                .rung
                .get(branch)
                .is_some_and(|at| *at - leg.came_at < Duration::from_secs(30));
            if was_heard {
                assert!(leg.final_status.is_some(), "seed {seed}: {branch} still rings");
            }
            let is_refusal = leg.final_status.is_some_and(|status| status >= 300);
            assert!(!is_refusal || leg.is_acknowledged, "seed {seed}: {branch} got no ACK");
        }
    }
    storm.sim.advance(Duration::from_secs(120));
    assert!(storm.sim.is_idle(), "seed {seed}: something is kept");
}
