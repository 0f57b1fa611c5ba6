//! The configuration file as it is written: one struct per table, every key optional, each value with its place.
//!
//! What a key means when it is missing is said where the value is used; conf/ringbinder.toml shows it.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, Unexpected, Visitor};
use toml::Spanned;

/// A key that may be missing, with the place of its value.
pub type Key<T> = Option<Spanned<T>>;

/// The whole file.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct File {
    /// `[server]`.
    pub server: Server,
    /// `[[listen]]`.
    pub listen: Vec<Spanned<Listen>>,
    /// `[registrar]`: of every domain that does not say otherwise.
    pub registrar: Registrar,
    /// `[auth]`: of every domain that does not say otherwise.
    pub auth: Auth,
    /// `[proxy]`.
    pub proxy: Proxy,
    /// `[dns]`.
    pub dns: Dns,
    /// `[keep_alive]`.
    pub keep_alive: KeepAlive,
    /// `[limits]`.
    pub limits: Limits,
    /// `[tls]`.
    pub tls: Tls,
    /// `[http]`.
    pub http: Http,
    /// `[log]`.
    pub log: Log,
    /// `[[domain]]`.
    pub domain: Vec<Spanned<Domain>>,
    /// `[[edge]]`.
    pub edge: Vec<Spanned<Edge>>,
    /// `[[credential_list]]`.
    pub credential_list: Vec<Spanned<CredentialList>>,
}

/// `[server]`.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Server {
    /// The folder of what outlives a restart.
    pub state_dir: Key<String>,
    /// Worker threads.
    pub workers: Key<Number>,
}

/// `[[listen]]`.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Listen {
    /// The transport.
    pub transport: Key<Transport>,
    /// Address and port.
    pub bind: Key<String>,
    /// What Via and Record-Route say instead: `host` or `host:port`.
    pub advertise: Key<String>,
    /// The certificate and its chain, PEM.
    pub cert: Key<String>,
    /// Its private key, PEM.
    pub key: Key<String>,
    /// Whether clients are asked for a certificate.
    pub client_certificates: Key<ClientCertificates>,
    /// The roots of theirs, PEM.
    pub client_ca: Key<String>,
    /// The origins that pages may have.
    pub origins: Key<Vec<Spanned<String>>>,
    /// The path that pages ask for.
    pub path: Key<String>,
}

/// Whether clients are asked for a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientCertificates {
    /// They are not asked.
    #[default]
    Off,
    /// Who shows one must show a right one.
    Optional,
    /// Nobody is served without.
    Required,
}

/// `[tls]`.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// The roots of the certificates of peers, PEM.
    pub ca_file: Key<String>,
    /// The oldest version.
    pub min_version: Key<TlsVersion>,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
pub enum TlsVersion {
    /// 1.2.
    #[default]
    #[serde(rename = "1.2")]
    Tls12,
    /// 1.3.
    #[serde(rename = "1.3")]
    Tls13,
}

/// The transport of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// UDP.
    Udp,
    /// TCP.
    Tcp,
    /// TLS.
    Tls,
    /// WebSocket.
    Ws,
    /// WebSocket over TLS.
    Wss,
}

/// `[registrar]` and `[domain.registrar]`.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Registrar {
    /// The shortest lifetime.
    pub min_expires: Key<Number>,
    /// The longest lifetime.
    pub max_expires: Key<Number>,
    /// The lifetime of a contact that asks for none.
    pub default_expires: Key<Number>,
    /// The most contacts of one address.
    pub max_contacts: Key<Number>,
    /// What happens to one more.
    pub overflow: Key<Overflow>,
    /// Whether Path needs `Supported: path`.
    pub strict_path: Key<bool>,
    /// Whether a To tag is accepted.
    pub allow_to_tag: Key<bool>,
    /// The longest silence of a phone that keeps a connection as a flow; 0 says nothing of it.
    pub flow_timer: Key<Number>,
    /// Routes that phones are told to send their requests by.
    pub service_route: Key<Vec<Spanned<String>>>,
}

/// What happens to a contact more than `max_contacts`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Overflow {
    /// It is refused.
    Reject,
    /// The oldest gives way.
    ReplaceOldest,
    /// One whose flow is dead gives way.
    ReplaceUnreachable,
}

/// `[auth]` and `[domain.auth]`.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Auth {
    /// The algorithms, in the order they are offered.
    pub algorithms: Key<Vec<Spanned<String>>>,
    /// How long a nonce can be used.
    pub nonce_lifetime: Key<Number>,
    /// Whether the digest `uri` must be the Request-URI.
    pub strict_uri: Key<bool>,
}

/// `[proxy]`.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Proxy {
    /// Numbers whose calls are never shed.
    pub emergency_numbers: Key<Vec<Spanned<String>>>,
    /// Whether the proxy follows redirections itself.
    pub recurse: Key<bool>,
    /// How long a hop may be silent when there is another one.
    pub hop_timeout: Key<Number>,
}

/// `[dns]`.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Dns {
    /// The name servers.
    pub servers: Key<Vec<Spanned<String>>>,
}

/// `[limits]`.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Bytes of a message.
    pub message_size: Key<Number>,
    /// Connections in all.
    pub connections: Key<Number>,
    /// Connections from one source.
    pub connections_per_source: Key<Number>,
    /// How long a TLS handshake may take.
    pub handshake_secs: Key<Number>,
    /// How long the first message, or the rest of one that has begun, may take.
    pub first_message_secs: Key<Number>,
    /// How long a connection may be silent.
    pub idle_secs: Key<Number>,
    /// The silence after which a WebSocket client is asked.
    pub ping_secs: Key<Number>,
    /// Transactions in all.
    pub transactions: Key<Number>,
}

/// `[keep_alive]`.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KeepAlive {
    /// What phones behind NAT are asked.
    pub method: Key<KeepAliveMethod>,
    /// Seconds between two questions to a phone.
    pub interval: Key<Number>,
    /// Questions without an answer after which a contact is suspended.
    pub missed: Key<Number>,
}

/// What phones behind NAT are asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeepAliveMethod {
    /// Nothing.
    #[default]
    Off,
    /// OPTIONS.
    Options,
    /// Line ends.
    Crlf,
}

/// `[http]`.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Http {
    /// Address and port.
    pub bind: Key<String>,
}

/// `[log]`.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// The form of the lines.
    pub format: Key<LogFormat>,
    /// What is logged.
    pub level: Key<String>,
}

/// The form of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// `[[domain]]`.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Domain {
    /// Its name.
    pub name: Key<String>,
    /// Other names of it.
    pub aliases: Key<Vec<Spanned<String>>>,
    /// The digest realm.
    pub realm: Key<String>,
    /// Whether REGISTER is served.
    pub registration: Key<bool>,
    /// Who may call without credentials.
    pub uri_calling: Key<UriCalling>,
    /// The order of ringing.
    pub fork: Key<Fork>,
    /// How long it rings.
    pub ring_timeout: Key<Number>,
    /// The names of the lists of those who may authenticate.
    pub credential_lists: Key<Vec<Spanned<String>>>,
    /// The certificate for clients that ask for the domain, and its chain, PEM.
    pub cert: Key<String>,
    /// Its private key, PEM.
    pub key: Key<String>,
    /// `[domain.registrar]`.
    pub registrar: Registrar,
    /// `[domain.auth]`.
    pub auth: Auth,
}

/// Who may call the users of a domain without credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UriCalling {
    /// Nobody.
    Disabled,
    /// Nobody, but callers from elsewhere are asked for credentials.
    Internal,
    /// Everybody.
    Unrestricted,
}

/// The order of ringing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fork {
    /// All at once.
    Parallel,
    /// Highest q first.
    Q,
}

/// `[[edge]]`.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Edge {
    /// The domain.
    pub domain: Key<String>,
    /// Other names of it.
    pub aliases: Key<Vec<Spanned<String>>>,
    /// The URI of its registrar.
    pub registrar: Key<String>,
}

/// `[[credential_list]]`.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CredentialList {
    /// The name by which domains refer to it.
    pub name: Key<String>,
    /// An htdigest file.
    pub file: Key<String>,
    /// `[[credential_list.user]]`.
    pub user: Vec<Spanned<User>>,
}

/// `[[credential_list.user]]`.
#[derive(Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct User {
    /// The name.
    pub username: Key<String>,
    /// The password.
    pub password: Key<String>,
    /// Instead of the password: the hash of user, realm and password.
    pub ha1: Key<String>,
    /// Further addresses the user may call as.
    pub identities: Key<Vec<Spanned<String>>>,
}

/// Without the secrets.
impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("User")
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

/// A count or a number of seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Number(pub u32);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Number, D::Error> {
        deserializer.deserialize_i64(NumberVisitor)
    }
}

struct NumberVisitor;

impl Visitor<'_> for NumberVisitor {
    type Value = Number;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a whole number from 0 to {}", u32::MAX)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Number, E> {
        let number = u32::try_from(value).map(Number);
        number.map_err(|_| E::invalid_value(Unexpected::Signed(value), &self))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Number, E> {
        let number = u32::try_from(value).map(Number);
        number.map_err(|_| E::invalid_value(Unexpected::Unsigned(value), &self))
    }
}
