//! The TOML file: what stands in it, the environment over it, what is wrong with it, and the settings it makes.
//!
//! [`load`] reads everything that the file names (credentials, certificates), so that what it finds no fault with can
//! start. Paths in the file are relative to its folder.

mod certificate;
mod credentials;
mod dns;
mod domains;
mod environment;
pub mod file;
mod files;
mod hosts;
mod http;
mod listeners;
pub mod password;
mod reading;
pub mod report;
#[cfg(test)]
mod tests;
mod tls;
pub mod users_file;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use toml::Spanned;
use tracing_subscriber::EnvFilter;

pub use file::LogFormat;
use file::{File, Key, Number};
use report::{Place, Report, Severity};

use crate::sip::location::{Asking, KeepAlive, Means};
use crate::sip::message::limits::Limits;
use crate::sip::{shared, transaction};
use crate::transport;

/// Where the file is looked for when nobody names it.
pub const PLACES: [&str; 2] = ["ringbinder.toml", "/etc/ringbinder/ringbinder.toml"];

/// The variable that names the file.
pub const VARIABLE: &str = "RINGBINDER_CONFIG";

/// The variable by which systemd tells the folder it has made for the service.
const STATE_VARIABLE: &str = "STATE_DIRECTORY";

/// The folder of what outlives a restart, when nobody names it.
const STATE_DIR: &str = "state";

/// What is logged when nobody says.
const LOG_LEVEL: &str = "info";

/// What can be logged.
const LOG_LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// The most worker threads.
const WORKERS_MAX: u32 = 1024;

/// The longest that a hop is waited for when there is another one: timers B and F.
const HOP_TIMEOUT_MAX: u32 = 32;

/// The least size of messages: what RFC 3261 §18.1.1 sends in one datagram anyway.
const MESSAGE_SIZE_MIN: u32 = 1300;

/// The seconds between two questions to a phone behind NAT: shorter is a flood, longer than NATs remember.
const KEEP_ALIVE_RANGE: std::ops::RangeInclusive<u32> = 5..=600;

/// Transactions in all, when nobody says; some 2 KB each.
const TRANSACTIONS: u32 = 400_000;

/// The settings that a configuration makes.
#[derive(Debug)]
pub struct Config {
    /// The folder of what outlives a restart.
    pub state_dir: PathBuf,
    /// Worker threads; 0 means one for each core but one, at least one.
    pub workers: usize,
    /// The sockets.
    pub transport: transport::settings::Settings,
    /// The SIP server. The bound on its transactions is that of all shards together.
    pub sip: shared::Settings,
    /// What is told over HTTP.
    pub http: crate::http::Settings,
    /// The log.
    pub log: Log,
}

/// `[log]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// The form of the lines.
    pub format: LogFormat,
    /// What is logged: `info`, or `info,ringbinder::sip=debug`.
    pub level: String,
}

/// The file to read when no argument names one.
pub fn find(variables: &[(OsString, OsString)]) -> Option<PathBuf> {
    let named = variables
        .iter()
        .find(|(name, value)| name == VARIABLE && !value.is_empty());
    if let Some((_, path)) = named {
        return Some(path.into());
    }
    PLACES.iter().map(PathBuf::from).find(|path| path.exists())
}

/// Reads the configuration at `path` with the overrides of `variables`. The report says what is wrong; there are
/// settings only where it has no errors. `key` is random and hashes the names of users.
pub fn load(path: &Path, variables: &[(OsString, OsString)], key: [u8; 16]) -> (Option<Config>, Report) {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => {
            let mut report = Report::new(path, String::new());
            report.add(
                Severity::Error,
                Place::File,
                format!("cannot read {}: {error}", path.display()),
            );
            return (None, report);
        }
    };
    let mut report = Report::new(path, text);
    let overrides = environment::overrides(variables.iter().cloned(), &mut report);
    let Some(file) = reading::read(&overrides, &mut report) else {
        return (None, report);
    };
    warn_if_public(path, &file, &mut report);
    let config = settings(&file, variables, key, &mut report);
    ((!report.has_errors()).then_some(config), report)
}

fn settings(file: &File, variables: &[(OsString, OsString)], key: [u8; 16], report: &mut Report) -> Config {
    let domains = domains::domains(file, key, report);
    let names = domains.iter().flat_map(|domain| {
        let aliases = domain.aliases.iter().map(|alias| &**alias);
        std::iter::once(&*domain.name).chain(aliases)
    });
    let listeners = listeners::listeners(&file.listen, &names.collect::<Vec<_>>(), report);
    let message = Limits {
        message_size: message_size(&file.limits, report),
        ..Limits::default()
    };
    check_emergency_numbers(&file.proxy, report);
    Config {
        state_dir: state_dir(&file.server, variables, report),
        workers: domains::ranged(&file.server.workers, "workers", 1..=WORKERS_MAX, report).unwrap_or(0) as usize,
        http: http::settings(&file.http, &listeners, report),
        log: log(&file.log, report),
        transport: transport::settings::Settings {
            message,
            limits: connection_limits(&file.limits, report),
            dns: dns::settings(&file.dns, report),
            listeners: listeners
                .iter()
                .map(|listener| transport::settings::Listener {
                    transport: listener.transport,
                    bind: listener.bind,
                    certificate: listener.certificate.clone(),
                    clients: listener.clients.clone(),
                    web: Arc::clone(&listener.web),
                })
                .collect(),
            tls: tls::settings(file, report),
        },
        sip: shared::Settings {
            domains,
            message,
            listeners: listeners
                .into_iter()
                .map(|listener| shared::Listener {
                    transport: listener.transport,
                    bind: listener.bind,
                    advertise: listener.advertise,
                })
                .collect(),
            local_addresses: Vec::new(),
            recurse: value(&file.proxy.recurse, false),
            keep_alive: keep_alive(&file.keep_alive, report),
            transaction: transaction::Settings {
                hop_timeout: hop_timeout(&file.proxy, report),
                max: limit(&file.limits.transactions, "transactions", TRANSACTIONS as usize, report),
                ..transaction::Settings::default()
            },
        },
    }
}

/// The value of a key, or its default.
fn value<T: Copy>(key: &Key<T>, default: T) -> T {
    key.as_ref().map_or(default, |value| *value.get_ref())
}

fn state_dir(server: &file::Server, variables: &[(OsString, OsString)], report: &Report) -> PathBuf {
    if let Some(written) = &server.state_dir {
        return files::path(written.get_ref(), report);
    }
    let given = variables.iter().find(|(name, _)| name == STATE_VARIABLE);
    // systemd separates several folders by colons; ours is the first.
    let given = given.and_then(|(_, value)| value.to_str()?.split(':').next().map(PathBuf::from));
    given.unwrap_or_else(|| files::path(STATE_DIR, report))
}

fn hop_timeout(proxy: &file::Proxy, report: &mut Report) -> Duration {
    let secs = domains::ranged(&proxy.hop_timeout, "hop_timeout", 1..=HOP_TIMEOUT_MAX, report);
    secs.map_or(transaction::Settings::default().hop_timeout, |secs| {
        Duration::from_secs(u64::from(secs))
    })
}

fn message_size(limits: &file::Limits, report: &mut Report) -> usize {
    let range = MESSAGE_SIZE_MIN..=Limits::MESSAGE_SIZE_MAX as u32;
    let size = domains::ranged(&limits.message_size, "message_size", range, report);
    size.map_or(Limits::MESSAGE_SIZE_MAX, |size| size as usize)
}

fn connection_limits(limits: &file::Limits, report: &mut Report) -> transport::settings::Limits {
    let default = transport::settings::Limits::default();
    let mut secs =
        |key, name, default: Duration| Duration::from_secs(limit(key, name, default.as_secs() as usize, report) as u64);
    let handshake = secs(&limits.handshake_secs, "handshake_secs", default.handshake);
    let first_message = secs(&limits.first_message_secs, "first_message_secs", default.first_message);
    let idle = secs(&limits.idle_secs, "idle_secs", default.idle);
    let ping = secs(&limits.ping_secs, "ping_secs", default.ping);
    let connections = limit(&limits.connections, "connections", default.connections, report);
    let per_source = limit(
        &limits.connections_per_source,
        "connections_per_source",
        default.connections_per_source,
        report,
    );
    if let Some(written) = &limits.connections_per_source
        && per_source > connections
    {
        let message = format!("`connections_per_source` ({per_source}) is above `connections` ({connections})");
        report.warning(written.span(), message);
    }
    transport::settings::Limits {
        connections,
        connections_per_source: per_source,
        handshake,
        first_message,
        idle,
        ping,
    }
}

fn keep_alive(written: &file::KeepAlive, report: &mut Report) -> KeepAlive {
    let default = KeepAlive::default();
    let interval = domains::ranged(&written.interval, "interval", KEEP_ALIVE_RANGE, report);
    let missed = domains::ranged(&written.missed, "missed", 1..=100, report);
    KeepAlive {
        means: match value(&written.method, file::KeepAliveMethod::default()) {
            file::KeepAliveMethod::Off => Means::Off,
            file::KeepAliveMethod::Options => Means::Options,
            file::KeepAliveMethod::Crlf => Means::LineEnds,
        },
        asking: Asking {
            interval: interval.map_or(default.asking.interval, |secs| Duration::from_secs(secs.into())),
            missed_max: missed.map_or(default.asking.missed_max, |number| number as u8),
        },
    }
}

/// A number of at least one.
fn limit(key: &Key<Number>, name: &str, default: usize, report: &mut Report) -> usize {
    domains::ranged(key, name, 1..=u32::MAX, report).map_or(default, |number| number as usize)
}

fn log(log: &file::Log, report: &mut Report) -> Log {
    if let Some(written) = &log.level {
        check_level(written, report);
    }
    Log {
        format: value(&log.format, LogFormat::default()),
        level: log.level.as_ref().map_or(LOG_LEVEL, |level| level.get_ref()).to_owned(),
    }
}

/// Whether the level can be used. A misspelled level would pass for the name of a module, of which all is logged.
fn check_level(written: &Spanned<String>, report: &mut Report) {
    const HELP: &str = "off, error, warn, info, debug or trace; for a part as in \"info,ringbinder::sip=debug\"";
    let level = written.get_ref();
    let is_level = |part: &str| LOG_LEVELS.iter().any(|level| part.eq_ignore_ascii_case(level));
    let is_directive = |part: &str| is_level(part) || part.contains(['=', '[']) || part.contains("::");
    if let Some(part) = level.split(',').map(str::trim).find(|part| !is_directive(part)) {
        let near = reading::nearest(part, LOG_LEVELS.into_iter());
        report.error(written.span(), format!("`level` cannot be {part:?}")).help =
            Some(near.map_or(HELP.to_owned(), |near| format!("did you mean `{near}`?")));
    } else if let Err(error) = EnvFilter::try_new(level) {
        report
            .error(written.span(), format!("`level` cannot be {level:?}: {error}"))
            .help = Some(HELP.to_owned());
    }
}

fn check_emergency_numbers(proxy: &file::Proxy, report: &mut Report) {
    for written in proxy.emergency_numbers.iter().flat_map(|numbers| numbers.get_ref()) {
        let number = written.get_ref();
        let is_number = |c: char| c.is_ascii_digit() || "+*#".contains(c);
        if number.is_empty() || !number.chars().all(is_number) {
            report
                .error(written.span(), format!("{number:?} is no number to dial"))
                .help = Some("digits, as in \"112\"".to_owned());
        }
    }
}

/// Warns when the file holds secrets and everybody can read it.
fn warn_if_public(path: &Path, file: &File, report: &mut Report) {
    let secret = file
        .credential_list
        .iter()
        .flat_map(|list| &list.get_ref().user)
        .find_map(|user| {
            let user = user.get_ref();
            user.password.as_ref().or(user.ha1.as_ref()).map(Spanned::span)
        });
    if let Some(span) = secret {
        files::warn_if_public(path, &span, report);
    }
}
