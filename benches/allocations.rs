//! Heap allocations of single operations, by an allocator that counts: `cargo bench --bench allocations`.
//!
//! What nine of ten operations may allocate at most stands in `benches/budgets.toml`; now and then one finds a table
//! full, which then grows for many. The messages come in an arena that is made before, as the transport has one for a
//! whole batch, and what is sent is dropped: buffers that the server fills anew for each message are counted, those
//! that it gets back and fills again are not.

#![expect(unsafe_code, reason = "an allocator cannot be written without")]

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};

use support::{ALL, OPERATIONS};

fn main() -> ExitCode {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/budgets.toml");
    let text = std::fs::read_to_string(path).expect("the budgets can be read");
    let budgets: toml::Table = text.parse().expect("the budgets are TOML");
    let budgets = budgets["allocations"].as_table().expect("a table");
    let (mut passed, mut failed) = (0, 0);
    println!(
        "{:<22} {:>5} {:>7} {:>8} {:>6}",
        "operation", "least", "9 of 10", "most", "budget"
    );
    for (name, make) in ALL {
        let mut counts = count(*make);
        counts.sort_unstable();
        let (least, usual, most) = (counts[0], counts[OPERATIONS * 9 / 10], counts[OPERATIONS - 1]);
        let budget = budgets.get(*name).and_then(toml::Value::as_integer);
        let shown = budget.map_or("-".to_owned(), |budget| budget.to_string());
        print!("{name:<22} {least:>5} {usual:>7} {most:>8} {shown:>6}");
        match budget {
            Some(budget) if usual > budget as usize => {
                failed += 1;
                println!("  over budget");
            }
            Some(_) => {
                passed += 1;
                println!();
            }
            None => println!(),
        }
    }
    if failed > 0 {
        println!(
            "Find what allocates with a breakpoint on `Counting::alloc`. A budget is raised in benches/budgets.toml,"
        );
        println!("in the commit that needs it, which says why.");
    }
    println!("test result: {passed} passed; {failed} failed");
    ExitCode::from(u8::from(failed > 0))
}

/// The allocations of each of the operations that `make` makes ready.
fn count(make: support::Make) -> Vec<usize> {
    let mut work = make();
    let mut counts = Vec::with_capacity(OPERATIONS);
    loop {
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        if !work.step() {
            return counts;
        }
        counts.push(ALLOCATIONS.load(Ordering::Relaxed) - before);
    }
}

struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: it only counts what it passes on to the system's allocator. Growing a block counts as an allocation.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        unsafe { System.realloc(pointer, layout, size) }
    }
}
