//! What the process asks of the system's memory: small pages where it grows, and that what is free goes back.

use std::convert::Infallible;
use std::hint::black_box;
use std::time::Duration;

use tracing::debug;

/// From now on memory comes in small pages. The allocator asks for transparent huge pages; the kernel clears one of
/// those while the message that needs the first byte of it waits, which takes 4 ms where a host has to find the memory
/// first. What has been loaded before, as the users, keeps its huge pages.
pub(super) fn grow_in_small_pages() {
    if let Err(error) = rustix::thread::disable_transparent_huge_pages(true) {
        debug!(%error, "transparent huge pages stay in use");
    }
}

/// How often the allocator gets the occasion to give back.
const INTERVAL: Duration = Duration::from_secs(1);

/// More than the allocator keeps in the caches of a thread. It is never written to.
const BLOCK: usize = 4 << 20;

/// mimalloc gives back what has been free for a second, but looks for it only when a large block comes or goes: after a
/// burst, which nothing of that size follows, the memory of its transactions would stay.
pub(super) async fn give_back() -> Infallible {
    loop {
        tokio::time::sleep(INTERVAL).await;
        drop(black_box(Vec::<u8>::with_capacity(BLOCK)));
    }
}
