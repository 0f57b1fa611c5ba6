//! Instructions of single operations, counted by callgrind, and their budgets: `benches/budget`.
//!
//! A count says nothing of memory that is far away, but it is the same on a busy machine as on an idle one.

#![expect(missing_docs, reason = "the macros of gungraun make public items without")]

mod support;

use std::hint::black_box;

use gungraun::prelude::*;
use gungraun::{Callgrind, EventKind};
use support::{OPERATIONS, Work, make};

// The allocator of the program.
#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The limit of `name`: its budget and the tolerances. A bench without a budget has none.
fn limit(name: &str) -> LibraryBenchmarkConfig {
    let mut config = LibraryBenchmarkConfig::default();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/budgets.toml");
    let text = std::fs::read_to_string(path).expect("the budgets can be read");
    let budgets: toml::Table = text.parse().expect("the budgets are TOML");
    let number = |name| budgets[name].as_integer().expect("a number") as u64;
    let (percent, tolerance) = (number("tolerance_percent"), number("tolerance"));
    let budget = budgets["instructions"].get(name).and_then(toml::Value::as_integer);
    if let Some(budget) = budget {
        let most = (budget as u64 * (100 + percent) / 100 + tolerance) * OPERATIONS as u64;
        config.tool(Callgrind::default().hard_limits([(EventKind::Ir, most)]));
    }
    config
}

#[library_benchmark(setup = make)]
#[bench::parse_register(args = ("parse_register"), config = limit("parse_register"))]
#[bench::parse_invite(args = ("parse_invite"), config = limit("parse_invite"))]
#[bench::forward_invite(args = ("forward_invite"), config = limit("forward_invite"))]
#[bench::reply_100(args = ("reply_100"), config = limit("reply_100"))]
#[bench::reply_200(args = ("reply_200"), config = limit("reply_200"))]
#[bench::reply_401(args = ("reply_401"), config = limit("reply_401"))]
#[bench::challenge(args = ("challenge"), config = limit("challenge"))]
#[bench::verify_md5(args = ("verify_md5"), config = limit("verify_md5"))]
#[bench::verify_sha256(args = ("verify_sha256"), config = limit("verify_sha256"))]
#[bench::location_new(args = ("location_new"), config = limit("location_new"))]
#[bench::location_refresh(args = ("location_refresh"), config = limit("location_refresh"))]
#[bench::location_lookup(args = ("location_lookup"), config = limit("location_lookup"))]
#[bench::location_expire(args = ("location_expire"), config = limit("location_expire"))]
#[bench::server_invite(args = ("server_invite"), config = limit("server_invite"))]
#[bench::server_non_invite(args = ("server_non_invite"), config = limit("server_non_invite"))]
#[bench::server_timers(args = ("server_timers"), config = limit("server_timers"))]
#[bench::client_invite(args = ("client_invite"), config = limit("client_invite"))]
#[bench::client_non_invite(args = ("client_non_invite"), config = limit("client_non_invite"))]
#[bench::options(args = ("options"), config = limit("options"))]
#[bench::register_challenged(args = ("register_challenged"), config = limit("register_challenged"))]
#[bench::register_new(args = ("register_new"), config = limit("register_new"))]
#[bench::register_refresh(args = ("register_refresh"), config = limit("register_refresh"))]
#[bench::call_challenged(args = ("call_challenged"), config = limit("call_challenged"))]
#[bench::call_challenge_ack(args = ("call_challenge_ack"), config = limit("call_challenge_ack"))]
#[bench::call_invite(args = ("call_invite"), config = limit("call_invite"))]
#[bench::call_ringing(args = ("call_ringing"), config = limit("call_ringing"))]
#[bench::call_answer(args = ("call_answer"), config = limit("call_answer"))]
#[bench::call_ack(args = ("call_ack"), config = limit("call_ack"))]
#[bench::call_bye(args = ("call_bye"), config = limit("call_bye"))]
#[bench::call_bye_answer(args = ("call_bye_answer"), config = limit("call_bye_answer"))]
#[bench::call_over(args = ("call_over"), config = limit("call_over"))]
#[bench::fork_invite(args = ("fork_invite"), config = limit("fork_invite"))]
#[bench::fork_ringing(args = ("fork_ringing"), config = limit("fork_ringing"))]
#[bench::fork_answer(args = ("fork_answer"), config = limit("fork_answer"))]
fn operations(work: Work) -> Work {
    let mut work = work;
    work.run();
    black_box(work)
}

library_benchmark_group!(name = all, benchmarks = operations);

gungraun::main!(library_benchmark_groups = all);
