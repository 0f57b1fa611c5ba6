//! Digest authentication (RFC 7616, RFC 8760).

/// Placeholder.
#[derive(Debug, Default)]
pub struct Users;

/// `[auth]`.
#[derive(Debug, Clone, Default)]
pub struct Settings {}
