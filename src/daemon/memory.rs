//! Lets the allocator give back to the system what is free.

use std::convert::Infallible;
use std::hint::black_box;
use std::time::Duration;

/// How often it gets the occasion.
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
