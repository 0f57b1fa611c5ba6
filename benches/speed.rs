//! The operations by the clock, with criterion, and the location service with a million AORs:
//! `cargo bench --bench speed`. On a machine that does other work too, `benches/budget` tells more.

mod support;

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion};
use support::location::{Bindings, LIFETIME};
use support::{ALL, Make};

// The allocator of the program.
#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const MILLION: usize = 1_000_000;

/// Users that are made ready at a time, so that making them is not measured and they stay in the cache.
const BATCH: u64 = 64;

/// AORs that one step of the sweep looks at, as in the daemon.
const SWEPT: usize = 256;

fn main() {
    let mut criterion = Criterion::default()
        .without_plots()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(100))
        .measurement_time(Duration::from_millis(500))
        .configure_from_args();
    operations(&mut criterion);
    million(&mut criterion);
    criterion.final_summary();
}

fn operations(criterion: &mut Criterion) {
    for (name, make) in ALL {
        criterion.bench_function(name, |bencher| bencher.iter_custom(|count| run(*make, count)));
    }
}

/// How long `count` operations take.
fn run(make: Make, mut count: u64) -> Duration {
    let mut total = Duration::ZERO;
    while count > 0 {
        let mut work = make();
        let start = Instant::now();
        while count > 0 && work.step() {
            count -= 1;
        }
        total += start.elapsed();
    }
    total
}

/// The location service with a million AORs, which are met in an order of no order: cold memory is the real cost.
fn million(criterion: &mut Criterion) {
    // Made once something asks for it, so that a filter or `--test` is quick.
    let mut bindings = None;
    let mut users = Users(1);
    let mut group = criterion.benchmark_group("million");
    let mut cseq = 1;
    group.bench_function("refresh", |bencher| {
        let bindings = bindings.get_or_insert_with(|| Bindings::new(MILLION, 1));
        bencher.iter_custom(|count| {
            users.timed(count, bindings, |bindings, user| {
                cseq += 1;
                bindings.apply_to(&user.1, &user.2, user.0, cseq, bindings.start);
            })
        });
    });
    group.bench_function("lookup", |bencher| {
        let bindings = bindings.get_or_insert_with(|| Bindings::new(MILLION, 1));
        bencher.iter_custom(|count| {
            users.timed(count, bindings, |bindings, user| {
                black_box(bindings.lookup(&user.1, bindings.start));
            })
        });
    });
    let mut expiring = Expiring(None);
    group.bench_function(BenchmarkId::new("expire", SWEPT), |bencher| {
        bencher.iter_custom(|count| expiring.run(count));
    });
    group.finish();
}

/// Numbers of users, in an order of no order: a linear congruential generator.
struct Users(u64);

impl Users {
    /// How long `count` times `operation` takes, each for another user.
    fn timed(
        &mut self,
        mut count: u64,
        bindings: &Bindings,
        mut operation: impl FnMut(&Bindings, &support::location::User),
    ) -> Duration {
        let mut total = Duration::ZERO;
        while count > 0 {
            let batch = count.min(BATCH);
            count -= batch;
            let users: Vec<_> = (0..batch).map(|_| bindings.user(self.next())).collect();
            let start = Instant::now();
            users.iter().for_each(|user| operation(bindings, user));
            total += start.elapsed();
        }
        total
    }

    fn next(&mut self) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % MILLION
    }
}

/// A million bindings whose time is over together; made anew once all are gone.
struct Expiring(Option<Bindings>);

impl Expiring {
    /// How long `count` steps of the sweep take.
    fn run(&mut self, count: u64) -> Duration {
        let (mut total, mut changes) = (Duration::ZERO, Vec::with_capacity(SWEPT));
        for _ in 0..count {
            let bindings = self.0.get_or_insert_with(|| {
                let bindings = Bindings::new(MILLION, 1);
                bindings.watch();
                bindings
            });
            let now = bindings.start + LIFETIME + Duration::from_secs(1);
            changes.clear();
            let start = Instant::now();
            let is_more_due = bindings.location.expire(now, (0, 1), SWEPT, &mut changes);
            total += start.elapsed();
            if !is_more_due {
                self.0 = None;
            }
        }
        total
    }
}
