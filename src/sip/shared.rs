//! What all shards share: the settings, the location service, the authenticator and the keys.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use crate::sip::digest::Authenticator;
use crate::sip::domain::Domains;
use crate::sip::failures::Failures;
use crate::sip::gruu::token::Tokens;
use crate::sip::gruu::{self, Called, Device};
use crate::sip::health::Health;
use crate::sip::hop::Transport;
use crate::sip::location::{AddressOfRecord, KeepAlive, Location};
use crate::sip::message::limits::Limits;
use crate::sip::message::uri::{Host, Uri};
use crate::sip::transaction::{self, KeyHasher};

/// What the shards of one process have in common.
pub struct Shared {
    /// What the operator configured.
    pub settings: Settings,
    /// The bindings.
    pub location: Arc<Location>,
    /// Nonces and their counts.
    pub authenticator: Authenticator,
    /// Failed authentications.
    pub failures: Failures,
    /// The hops that have failed of late.
    pub health: Health,
    /// Makes the keys by which requests find their server transactions.
    pub server_keys: KeyHasher,
    /// The wall clock at one instant.
    pub epoch: Epoch,
    /// Random keys.
    pub keys: Keys,
    /// What makes and reads temporary GRUUs.
    pub gruus: Tokens,
    /// Whether the process is about to end: new work is refused, what is under way goes on.
    pub is_stopping: AtomicBool,
}

impl Shared {
    /// Whom `uri` means, when it is an address of a served domain or a GRUU (RFC 5627) of one.
    pub fn called(&self, uri: &Uri<'_>) -> Option<Called<'_>> {
        Called::read(uri, &self.settings.domains, &self.gruus)
    }

    /// Whether the GRUU of `device` still means a phone of `aor`.
    pub fn is_valid(&self, device: &Device, aor: &AddressOfRecord, now: Instant) -> bool {
        let unix = |at| self.epoch.unix_secs(at);
        device.is_valid(&self.location, aor, unix(self.epoch.instant), unix, now)
    }
}

/// What the core needs to know of the configuration.
#[derive(Debug)]
pub struct Settings {
    /// The served domains.
    pub domains: Domains,
    /// Where requests are received.
    pub listeners: Vec<Listener>,
    /// The addresses that a wildcard listener stands for: those of the machine's interfaces.
    pub local_addresses: Vec<IpAddr>,
    /// Limits of messages.
    pub message: Limits,
    /// Whether the proxy follows a redirection (3xx) itself instead of passing it on (RFC 3261 §16.7 step 4).
    pub recurse: bool,
    /// Timers and limits of the transactions of one shard.
    pub transaction: transaction::Settings,
    /// What phones behind NAT are asked.
    pub keep_alive: KeepAlive,
}

/// One listening address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Its transport.
    pub transport: Transport,
    /// The bound address, perhaps a wildcard.
    pub bind: SocketAddr,
    /// What Via and Record-Route say instead of the local address: `host` or `host:port`.
    pub advertise: Option<Box<str>>,
}

/// Keys of this installation; all nodes and starts that must understand each other's tokens have the same.
#[derive(Clone)]
pub struct Keys {
    /// Of Record-Route tokens.
    pub token: [u8; 16],
    /// Of hashes that never leave the process, drawn at each start.
    pub hash: [u8; 16],
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keys(..)")
    }
}

/// The wall clock at one instant, from which every later time is reckoned.
#[derive(Clone, Copy, Debug)]
pub struct Epoch {
    /// The instant.
    pub instant: Instant,
    /// The time since 1970-01-01 UTC at that instant.
    pub unix: Duration,
}

impl Epoch {
    /// The time since 1970-01-01 UTC at `now`.
    pub fn unix(&self, now: Instant) -> Duration {
        self.unix + now.saturating_duration_since(self.instant)
    }

    /// The same in whole seconds.
    pub fn unix_secs(&self, now: Instant) -> u32 {
        gruu::seconds(self.unix(now))
    }
}

impl Settings {
    /// The listener that owns `local`, an address that a flow or hop names as ours.
    pub fn listener(&self, transport: Transport, local: SocketAddr) -> Option<&Listener> {
        let matching = || {
            self.listeners
                .iter()
                .filter(move |listener| listener.transport == transport)
        };
        matching().find(|listener| listener.bind == local).or_else(|| {
            matching().find(|listener| {
                listener.bind.ip().is_unspecified()
                    && listener.bind.is_ipv4() == local.is_ipv4()
                    && listener.bind.port() == local.port()
            })
        })
    }

    /// Whether `uri` names this server itself or a domain served here: its host is a served domain or alias, or it is
    /// one of our own addresses with the port of a listener (RFC 3261 §16.4, §16.5).
    pub fn names_us(&self, uri: &Uri<'_>) -> bool {
        self.domains.find(uri.host_bytes).is_some() || self.is_our_address(uri)
    }

    /// Whether `uri` is one of our own addresses, as bound or as advertised.
    pub fn is_our_address(&self, uri: &Uri<'_>) -> bool {
        let Some(host) = uri.host else { return false };
        let address = match host {
            Host::V4(address) => Some(IpAddr::V4(address)),
            Host::V6(address) => Some(IpAddr::V6(address)),
            Host::Name(_) => None,
        };
        self.listeners.iter().any(|listener| {
            if let Some(advertise) = &listener.advertise
                && advertises(advertise, uri.host_bytes, uri.port, listener)
            {
                return true;
            }
            let Some(address) = address else { return false };
            let is_host = match listener.bind.ip() {
                ip if ip.is_unspecified() => {
                    ip.is_ipv4() == address.is_ipv4()
                        && (address.is_loopback() || self.local_addresses.contains(&address))
                }
                ip => ip == address,
            };
            is_host && uri.port.unwrap_or(listener.transport.default_port()) == listener.bind.port()
        })
    }
}

fn advertises(advertise: &str, host: &[u8], port: Option<u16>, listener: &Listener) -> bool {
    let (name, own_port) = split_port(advertise);
    name.as_bytes().eq_ignore_ascii_case(host)
        && port.unwrap_or(listener.transport.default_port()) == own_port.unwrap_or(listener.bind.port())
}

/// Splits `host` or `host:port`; an IPv6 host stands in brackets.
pub fn split_port(text: &str) -> (&str, Option<u16>) {
    match text.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => match port.parse() {
            Ok(port) => (host, Some(port)),
            Err(_) => (text, None),
        },
        _ => (text, None),
    }
}
