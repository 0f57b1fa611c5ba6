//! What a million bindings cost in memory: growth of the resident set with the allocator of the program.
//! `cargo bench --bench memory`

mod support;

use std::process::{Command, ExitCode};

use ringbinder::sip::hop::Transport;
use support::location::Bindings;

// The allocator of the program.
#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A number of AORs, how many contacts each has, and how many bytes a contact may take at most.
struct Load {
    aors: usize,
    contacts: usize,
    most: usize,
    over: Transport,
}

const LOADS: [Load; 3] = [
    Load {
        aors: 1_000_000,
        contacts: 1,
        most: 300,
        over: Transport::Udp,
    },
    // Each over a connection of its own, which leads back to it.
    Load {
        aors: 1_000_000,
        contacts: 1,
        most: 300,
        over: Transport::Tls,
    },
    Load {
        aors: 100_000,
        contacts: 10,
        most: 200,
        over: Transport::Udp,
    },
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(index) = arguments.iter().position(|argument| argument == LOAD) {
        let number = arguments.get(index + 1).and_then(|number| number.parse::<usize>().ok());
        return measure(&LOADS[number.expect("the number of a load")]);
    }
    // Each in a process of its own, so that none uses memory that another gave back.
    let program = std::env::current_exe().expect("the bench knows its path");
    let mut failed = 0;
    for number in 0..LOADS.len() {
        let mut child = Command::new(&program);
        child.args([LOAD, &number.to_string()]);
        failed += usize::from(!child.status().expect("it can be started").success());
    }
    println!("test result: {} passed; {failed} failed", LOADS.len() - failed);
    ExitCode::from(u8::from(failed > 0))
}

/// The argument before the number of the load that a process measures.
const LOAD: &str = "--load";

fn measure(load: &Load) -> ExitCode {
    // What is made once is not the bindings'.
    let first = Bindings::new(1, 1);
    let before = resident();
    let bindings = Bindings::over(load.over, load.aors, load.contacts);
    let grown = resident().saturating_sub(before);
    drop(first);
    drop(bindings);
    let each = grown / (load.aors * load.contacts);
    let is_over = each > load.most;
    println!(
        "{} AORs with {} contacts each over {}: resident set grew by {:.1} MB, {each} bytes a binding, at most {}{}",
        load.aors,
        load.contacts,
        load.over,
        grown as f64 / 1e6,
        load.most,
        if is_over { ": too much" } else { "" }
    );
    ExitCode::from(u8::from(is_over))
}

/// The bytes of this process that are in memory.
fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/smaps_rollup").expect("Linux has it");
    let line = text.lines().find(|line| line.starts_with("Rss:"));
    let kib = line
        .and_then(|line| line.split_whitespace().nth(1))
        .and_then(|kib| kib.parse::<usize>().ok());
    kib.expect("the file says it") * 1024
}
