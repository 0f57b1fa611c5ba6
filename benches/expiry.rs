//! Whom the end of a million bindings within one minute holds up: the longest turn of the sweep, and the longest look-up
//! of somebody else meanwhile, beside the longest without a sweep. `cargo bench --bench expiry`

mod support;

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use support::location::{Bindings, LIFETIME};

// The allocator of the program.
#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const AORS: usize = 1_000_000;

/// As many AORs as the server looks at before other tasks have their turn.
const EXPIRIES_PER_TURN: usize = 256;

/// Bindings that do not end meanwhile, and are looked up.
const OTHERS: usize = 1000;

fn main() {
    let bindings = Bindings::new(0, 0);
    for number in 0..AORS {
        // Spread over a minute, as they were made.
        let made = bindings.start + Duration::from_micros(number as u64 * 60);
        bindings.apply(number, 0, 1, made);
    }
    let end = bindings.start + LIFETIME;
    for number in AORS..AORS + OTHERS {
        bindings.apply(number, 0, 1, end);
    }
    let (without, lookups) = longest_lookup(&bindings, end, || std::thread::sleep(Duration::from_secs(2)));
    println!("{lookups} look-ups without a sweep: the longest took {without:?}");
    let mut sweep = (Duration::ZERO, 0_usize, 0_usize);
    let started = Instant::now();
    let (with, lookups) = longest_lookup(&bindings, end, || sweep = expire_all(&bindings, end));
    let (turn, turns, expired) = sweep;
    println!(
        "{expired} bindings ended in {turns} turns, {:?} in all: the longest turn took {turn:?}",
        started.elapsed()
    );
    println!("{lookups} look-ups meanwhile: the longest took {with:?}");
    assert_eq!(expired, AORS, "all have ended");
}

/// Sweeps once a second of the minute, without the pauses between. Returns the longest turn, how many there were, and how
/// many bindings they ended.
fn expire_all(bindings: &Bindings, end: Instant) -> (Duration, usize, usize) {
    let (mut longest, mut turns, mut expired) = (Duration::ZERO, 0, 0);
    let mut changes = Vec::new();
    for second in 0..=61 {
        let now = end + Duration::from_secs(second);
        loop {
            let started = Instant::now();
            let is_more_due = bindings.location.expire(now, (0, 1), EXPIRIES_PER_TURN, &mut changes);
            longest = longest.max(started.elapsed());
            turns += 1;
            expired += changes.len();
            changes.clear();
            if !is_more_due {
                break;
            }
        }
    }
    (longest, turns, expired)
}

/// The longest of the look-ups that another thread makes while `work` is done, and how many it makes.
fn longest_lookup(bindings: &Bindings, now: Instant, work: impl FnOnce()) -> (Duration, usize) {
    let is_over = AtomicBool::new(false);
    let users: Vec<_> = (AORS..AORS + OTHERS).map(|number| bindings.user(number)).collect();
    std::thread::scope(|scope| {
        let looking = scope.spawn(|| {
            let (mut longest, mut count) = (Duration::ZERO, 0);
            for (_, aor, _) in users.iter().cycle() {
                if is_over.load(Ordering::Relaxed) {
                    break;
                }
                let started = Instant::now();
                black_box(bindings.lookup(aor, now));
                longest = longest.max(started.elapsed());
                count += 1;
            }
            (longest, count)
        });
        work();
        is_over.store(true, Ordering::Relaxed);
        looking.join().expect("it does not panic")
    })
}
