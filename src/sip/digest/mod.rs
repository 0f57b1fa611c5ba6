//! Digest authentication (RFC 7616, RFC 8760, RFC 3261 §22): challenges, their verification, nonce counts and users.
//!
//! Only `qop=auth` is spoken: `auth-int`, `userhash` and the form of RFC 2069 get a fresh challenge.

mod answer;
mod authenticator;
mod challenge;
mod hash;
mod htdigest;
mod nonce;
mod users;
mod users_builder;
mod windows;

use std::time::Duration;

pub use self::answer::{ChallengeError, Challenged, response};
pub use self::authenticator::{Authenticator, Unsupported, Verification, Verified};
pub use self::challenge::Challenge;
pub use self::hash::{Algorithm, Digest};
pub use self::htdigest::{Counts, LineError, LineFault};
pub use self::nonce::Keys;
pub use self::users::{User, UserId, Users};
pub use self::users_builder::{MAX_NAME, UserError, UsersBuilder};
pub use self::windows::Replayed;

/// `[auth]`, as it holds in one domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// What is offered and accepted, in this order (RFC 8760 §2.3). Without any nobody can authenticate.
    pub algorithms: Vec<Algorithm>,
    /// How long a nonce can be used.
    pub nonce_lifetime: Duration,
    /// Whether the digest `uri` must be the Request-URI itself. Checked by whoever knows the Request-URI.
    pub strict_uri: bool,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            algorithms: vec![Algorithm::Md5],
            nonce_lifetime: Duration::from_secs(300),
            strict_uri: false,
        }
    }
}
