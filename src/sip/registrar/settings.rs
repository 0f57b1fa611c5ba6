//! What the operator decides for the registrar of a domain.

use std::time::Duration;

use crate::sip::location::Overflow;

/// `[registrar]`, as it holds in one domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The shortest lifetime accepted; a shorter one gets 423.
    pub min_expires: Duration,
    /// The longest lifetime granted.
    pub max_expires: Duration,
    /// The lifetime of a contact that asks for none.
    pub default_expires: Duration,
    /// The most contacts of one AOR.
    pub max_contacts: usize,
    /// What happens at `max_contacts`.
    pub overflow: Overflow,
    /// Whether Path needs `Supported: path` (RFC 3327 §5.3); otherwise 420.
    pub strict_path: bool,
    /// Whether a To tag is accepted; otherwise 400.
    pub allow_to_tag: bool,
    /// The longest silence of a phone that keeps a connection as a flow, as Flow-Timer tells it (RFC 5626 §4.4, §6); `None`
    /// leaves that to the phone.
    pub flow_timer: Option<Duration>,
    /// Route values that a phone is told to send its requests by (RFC 3608), each in angle brackets.
    pub service_route: Vec<Box<str>>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            min_expires: Duration::from_secs(600),
            max_expires: Duration::from_secs(3600),
            default_expires: Duration::from_secs(3600),
            max_contacts: 10,
            overflow: Overflow::Reject,
            strict_path: false,
            allow_to_tag: false,
            flow_timer: Some(Duration::from_secs(120)),
            service_route: Vec::new(),
        }
    }
}
