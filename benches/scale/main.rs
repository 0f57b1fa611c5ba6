//! Registers many phones at a running server and measures it: rate, CPU time, memory, latency. `benches/scale/run` starts
//! the server, calls this for each size, and makes a table and a plot of it.
//!
//! `cargo bench --bench scale -- --server 127.0.0.1:5060 --pid PID --aors 1000 --contacts 1`

#![expect(clippy::unwrap_used, reason = "what fails ends the measurement")]

mod crowd;
mod paced;
mod phone;
mod process;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use clap::Parser;

use crowd::{Crowd, Done, Task};
use process::Process;

/// Sockets that phones share, a thread each: enough that the kernel deals them evenly to the server's workers.
const CROWDS: usize = 16;

/// What is measured, and where.
#[derive(Parser)]
struct Arguments {
    /// The server's UDP listener, on this machine. It serves `example.com` with the users and passwords of `phone.rs`.
    #[arg(long)]
    server: SocketAddr,
    /// The server's process.
    #[arg(long)]
    pid: u32,
    /// Addresses-of-record.
    #[arg(long)]
    aors: usize,
    /// Contacts of each.
    #[arg(long, default_value_t = 1)]
    contacts: usize,
    /// Refreshes, in no order.
    #[arg(long, default_value_t = 200_000)]
    refreshes: usize,
    /// Requests under way.
    #[arg(long, default_value_t = 128)]
    window: usize,
    /// Seconds from the last registration until the memory is read: transactions end within 32.
    #[arg(long, default_value_t = 40)]
    settle: u64,
    /// Refreshes a second while the latency is measured.
    #[arg(long, default_value_t = 2000)]
    pace: u32,
    /// Seconds that the latency is measured.
    #[arg(long, default_value_t = 5)]
    pace_secs: u32,
    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() {
    let arguments = Arguments::parse();
    let process = Process(arguments.pid);
    let (bindings, window) = (arguments.aors * arguments.contacts, (arguments.window / CROWDS).max(1));
    let crowds = (0..CROWDS).map(|index| {
        let aors = (index..arguments.aors).step_by(CROWDS);
        Crowd::new(arguments.server, aors, arguments.contacts, window)
    });
    let mut crowds: Vec<Crowd> = crowds.collect();

    let resident = process.resident_bytes();
    let registered = measure("new", &mut crowds, Task::Register, &process);
    std::thread::sleep(Duration::from_secs(arguments.settle));
    let grown = process.resident_bytes().saturating_sub(resident);
    println!("bindings {bindings}");
    println!("bytes_per_binding {:.1}", grown as f64 / bindings as f64);

    let each = arguments.refreshes.div_ceil(CROWDS);
    let refreshed = measure("refresh", &mut crowds, Task::Refresh(each), &process);
    let phones = crowds.into_iter().flat_map(Crowd::into_phones).collect();
    let paced = paced::run(
        arguments.server,
        phones,
        arguments.pace,
        arguments.pace * arguments.pace_secs,
    );
    for percent in [50, 99] {
        println!(
            "latency_p{percent}_us {:.0}",
            paced.percentile(percent).as_secs_f64() * 1e6
        );
    }
    println!("sent_again {}", registered.sent_again + refreshed.sent_again);
    println!("failed {}", registered.failed + refreshed.failed);
    println!("missing {}", paced.missing);
}

/// Lets all crowds do `task` and prints how fast that was.
fn measure(name: &str, crowds: &mut [Crowd], task: Task, process: &Process) -> Done {
    let (start, cpu) = (Instant::now(), process.cpu());
    let done = std::thread::scope(|scope| {
        let running: Vec<_> = crowds
            .iter_mut()
            .map(|crowd| scope.spawn(move || crowd.run(task)))
            .collect();
        let ended = running.into_iter().map(|running| running.join().unwrap());
        ended.fold(Done::default(), Done::and)
    });
    let (elapsed, cpu) = (start.elapsed(), process.cpu() - cpu);
    let operations = done.operations as f64;
    println!("{name}_operations {}", done.operations);
    println!("{name}_per_second {:.0}", operations / elapsed.as_secs_f64());
    println!("{name}_cpu_us {:.2}", cpu.as_secs_f64() * 1e6 / operations);
    done
}
