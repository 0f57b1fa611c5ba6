//! Instructions of single operations, counted by callgrind, and their budgets: `benches/budget`.
//!
//! A count says nothing of memory that is far away, but it is the same on a busy machine as on an idle one.

#![expect(missing_docs, reason = "the macros of gungraun make public items without")]

mod support;

use std::hint::black_box;

use gungraun::prelude::*;
use gungraun::{Callgrind, EventKind};
use support::calls::Stage;
use support::location::FEW;
use support::{OPERATIONS, Work, calls, location, parts, registrations, transactions};

// The allocator of the program.
#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The limit of `name`: its budget and the tolerance. A bench without a budget has none.
fn limit(name: &str) -> LibraryBenchmarkConfig {
    let mut config = LibraryBenchmarkConfig::default();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/budgets.toml");
    let text = std::fs::read_to_string(path).expect("the budgets can be read");
    let budgets: toml::Table = text.parse().expect("the budgets are TOML");
    let tolerance = budgets["tolerance_percent"].as_integer().expect("a number") as u64;
    let budget = budgets["instructions"].get(name).and_then(toml::Value::as_integer);
    if let Some(budget) = budget {
        let most = budget as u64 * OPERATIONS as u64 * (100 + tolerance) / 100;
        config.tool(Callgrind::default().hard_limits([(EventKind::Ir, most)]));
    }
    config
}

#[library_benchmark]
#[bench::parse_register(args = (parts::parse_register()), config = limit("parse_register"))]
#[bench::parse_invite(args = (parts::parse_invite()), config = limit("parse_invite"))]
#[bench::forward_invite(args = (parts::forward_invite()), config = limit("forward_invite"))]
#[bench::reply_100(args = (parts::reply_100()), config = limit("reply_100"))]
#[bench::reply_200(args = (parts::reply_200()), config = limit("reply_200"))]
#[bench::reply_401(args = (parts::reply_401()), config = limit("reply_401"))]
#[bench::challenge(args = (parts::challenge()), config = limit("challenge"))]
#[bench::verify_md5(args = (parts::verify_md5()), config = limit("verify_md5"))]
#[bench::verify_sha256(args = (parts::verify_sha256()), config = limit("verify_sha256"))]
#[bench::location_new(args = (location::new_binding(FEW)), config = limit("location_new"))]
#[bench::location_refresh(args = (location::refresh(FEW)), config = limit("location_refresh"))]
#[bench::location_lookup(args = (location::lookup(FEW)), config = limit("location_lookup"))]
#[bench::location_expire(args = (location::expire(FEW)), config = limit("location_expire"))]
#[bench::server_invite(args = (transactions::server_invite()), config = limit("server_invite"))]
#[bench::server_non_invite(args = (transactions::server_non_invite()), config = limit("server_non_invite"))]
#[bench::server_timers(args = (transactions::server_timers()), config = limit("server_timers"))]
#[bench::client_invite(args = (transactions::client_invite()), config = limit("client_invite"))]
#[bench::client_non_invite(args = (transactions::client_non_invite()), config = limit("client_non_invite"))]
#[bench::options(args = (registrations::options_answered()), config = limit("options"))]
#[bench::register_challenged(args = (registrations::register_challenged()), config = limit("register_challenged"))]
#[bench::register_new(args = (registrations::register_new()), config = limit("register_new"))]
#[bench::register_refresh(args = (registrations::register_refresh()), config = limit("register_refresh"))]
#[bench::call_challenged(args = (calls::call(Stage::Challenged)), config = limit("call_challenged"))]
#[bench::call_challenge_ack(args = (calls::call(Stage::ChallengeAck)), config = limit("call_challenge_ack"))]
#[bench::call_invite(args = (calls::call(Stage::Invite)), config = limit("call_invite"))]
#[bench::call_ringing(args = (calls::call(Stage::Ringing)), config = limit("call_ringing"))]
#[bench::call_answer(args = (calls::call(Stage::Answer)), config = limit("call_answer"))]
#[bench::call_ack(args = (calls::call(Stage::Ack)), config = limit("call_ack"))]
#[bench::call_bye(args = (calls::call(Stage::Bye)), config = limit("call_bye"))]
#[bench::call_bye_answer(args = (calls::call(Stage::ByeAnswer)), config = limit("call_bye_answer"))]
#[bench::call_over(args = (calls::call_over()), config = limit("call_over"))]
#[bench::fork_invite(args = (calls::fork(Stage::Invite)), config = limit("fork_invite"))]
#[bench::fork_ringing(args = (calls::fork(Stage::Ringing)), config = limit("fork_ringing"))]
#[bench::fork_answer(args = (calls::fork(Stage::Answer)), config = limit("fork_answer"))]
fn operations(work: Work) -> Work {
    let mut work = work;
    work.run();
    black_box(work)
}

library_benchmark_group!(name = all, benchmarks = operations);

gungraun::main!(library_benchmark_groups = all);
