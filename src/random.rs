//! Random bytes of the operating system's, by way of the library that TLS uses.

use anyhow::Context;
use rustls::crypto::aws_lc_rs;

/// `N` random bytes.
pub fn bytes<const N: usize>() -> anyhow::Result<[u8; N]> {
    let mut bytes = [0; N];
    let random = aws_lc_rs::default_provider().secure_random;
    random
        .fill(&mut bytes)
        .ok()
        .context("the system gives no random bytes")?;
    Ok(bytes)
}
