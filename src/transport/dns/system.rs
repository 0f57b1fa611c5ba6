//! The name servers and the hosts file, as they were when they were read: hickory-resolver asks and reads.

use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::Query;
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use hickory_resolver::{Hosts, ResolverBuilder};
use tracing::{debug, warn};

use super::Settings;
use crate::sip::resolution::{Answer, Lookup, Naptr, RecordKind, Srv};

/// How long one name server may take for one answer, unless the system says less.
const ATTEMPT_MAX: Duration = Duration::from_millis(1100);

/// How often a name server is asked.
const ATTEMPTS: usize = 2;

/// The most records of an answer that are read. Of SRV records those of the lowest priority are.
const RECORDS_MAX: usize = 64;

/// The most queries that one connection to a name server carries at a time.
const QUERIES_MAX: usize = 512;

/// What the system says of name servers, and of hosts.
const FILES: [&str; 2] = ["/etc/resolv.conf", "/etc/hosts"];

/// Name servers and hosts.
pub(super) struct System {
    resolver: Option<TokioResolver>,
    hosts: Arc<Hosts>,
    /// Which files they were read from.
    read: [Option<Version>; FILES.len()],
}

/// Tells one content of a file from another.
type Version = (u64, u64, i64, i64);

/// What a look-up has found.
pub(super) struct Found {
    pub(super) answer: Answer,
    /// How long it holds, if anybody said.
    pub(super) ttl: Option<Duration>,
}

impl Found {
    /// Nobody could say.
    pub(super) fn failed() -> Found {
        Found {
            answer: Answer::Failed,
            ttl: None,
        }
    }
}

impl System {
    /// Reads the files, and takes the name servers of `settings` if there are any.
    pub(super) fn read(settings: &Settings) -> System {
        let read = versions();
        let hosts = Hosts::from_system().inspect_err(|error| debug!(%error, "no hosts file"));
        let hosts = Arc::new(hosts.unwrap_or_default());
        let resolver = make_resolver(settings, Arc::clone(&hosts));
        System {
            resolver: resolver
                .inspect_err(|error| warn!(%error, "host names cannot be looked up"))
                .ok(),
            hosts,
            read,
        }
    }

    /// Whether the files are those that were read.
    pub(super) fn is_current(&self) -> bool {
        self.read == versions()
    }

    /// Looks something up.
    pub(super) async fn look_up(&self, lookup: &Lookup) -> Found {
        let Some(name) = absolute(&lookup.name) else {
            return Found {
                answer: Answer::Nothing,
                ttl: None,
            };
        };
        // What the hosts file names has the addresses that stand there, and nobody is asked for more.
        if self.names(&lookup.name, lookup.kind)
            && self
                .hosts
                .lookup_static_host(&Query::query(name.clone(), record_type(lookup.kind)))
                .is_none()
        {
            return Found {
                answer: Answer::Nothing,
                ttl: None,
            };
        }
        let Some(resolver) = &self.resolver else {
            return Found::failed();
        };
        match resolver.lookup(name, record_type(lookup.kind)).await {
            Ok(found) => read_records(lookup.kind, found.answers()),
            Err(NetError::Dns(DnsError::NoRecordsFound(none))) => Found {
                answer: Answer::Nothing,
                ttl: none.negative_ttl.map(|secs| Duration::from_secs(u64::from(secs))),
            },
            Err(error) => {
                debug!(name = &*lookup.name, kind = %lookup.kind, %error, "look-up failed");
                Found::failed()
            }
        }
    }

    /// Whether the hosts file has an address of the host that the records would be about.
    fn names(&self, name: &str, kind: RecordKind) -> bool {
        let host = match kind {
            // The service and the transport stand before it.
            RecordKind::Srv => name.splitn(3, '.').nth(2).unwrap_or_default(),
            RecordKind::Naptr | RecordKind::A | RecordKind::Aaaa => name,
        };
        let Ok(host) = Name::from_ascii(host) else {
            return false;
        };
        let has = |kind| {
            let query = Query::query(host.clone(), kind);
            self.hosts.lookup_static_host(&query).is_some()
        };
        has(RecordType::A) || has(RecordType::AAAA)
    }
}

fn versions() -> [Option<Version>; FILES.len()] {
    FILES.map(|file| {
        let metadata = fs::metadata(file).ok()?;
        Some((metadata.ino(), metadata.len(), metadata.mtime(), metadata.mtime_nsec()))
    })
}

/// A name of one label is looked up as the system does it, with the domains that it searches; every other one as it is.
fn absolute(name: &str) -> Option<Name> {
    let mut parsed = Name::from_ascii(name).ok()?;
    if name.contains('.') {
        parsed.set_fqdn(true);
    }
    Some(parsed)
}

fn record_type(kind: RecordKind) -> RecordType {
    match kind {
        RecordKind::Naptr => RecordType::NAPTR,
        RecordKind::Srv => RecordType::SRV,
        RecordKind::A => RecordType::A,
        RecordKind::Aaaa => RecordType::AAAA,
    }
}

fn read_records(kind: RecordKind, records: &[Record]) -> Found {
    let ttl = records.iter().map(|record| record.ttl).min();
    let data = || records.iter().map(|record| &record.data);
    let answer = match kind {
        RecordKind::Naptr => {
            let found = data().filter_map(|data| match data {
                RData::NAPTR(naptr) => Some(Naptr {
                    order: naptr.order,
                    preference: naptr.preference,
                    flags: naptr.flags.clone(),
                    service: naptr.services.clone(),
                    has_regexp: !naptr.regexp.is_empty(),
                    replacement: text(&naptr.replacement),
                }),
                _ => None,
            });
            Answer::Naptr(found.take(RECORDS_MAX).collect())
        }
        RecordKind::Srv => {
            let found = data().filter_map(|data| match data {
                RData::SRV(srv) => Some(Srv {
                    priority: srv.priority,
                    weight: srv.weight,
                    port: srv.port,
                    target: text(&srv.target),
                }),
                _ => None,
            });
            let mut found: Vec<Srv> = found.collect();
            found.sort_by_key(|record| record.priority);
            found.truncate(RECORDS_MAX);
            Answer::Srv(found)
        }
        RecordKind::A | RecordKind::Aaaa => {
            let found = data().filter_map(|data| match data {
                RData::A(address) => Some(IpAddr::V4(address.0)),
                RData::AAAA(address) => Some(IpAddr::V6(address.0)),
                _ => None,
            });
            Answer::Addresses(found.take(RECORDS_MAX).collect())
        }
    };
    let is_empty = match &answer {
        Answer::Naptr(records) => records.is_empty(),
        Answer::Srv(records) => records.is_empty(),
        Answer::Addresses(addresses) => addresses.is_empty(),
        Answer::Nothing | Answer::Failed => true,
    };
    Found {
        answer: if is_empty { Answer::Nothing } else { answer },
        ttl: ttl.map(|secs| Duration::from_secs(u64::from(secs))),
    }
}

/// A name without the dot at its end; the root is empty.
fn text(name: &Name) -> Box<str> {
    let text = name.to_ascii();
    text.strip_suffix('.').unwrap_or(&text).into()
}

fn make_resolver(settings: &Settings, hosts: Arc<Hosts>) -> Result<TokioResolver, NetError> {
    let mut builder = make_builder(settings);
    let options = builder.options_mut();
    options.timeout = options.timeout.min(ATTEMPT_MAX);
    options.attempts = options.attempts.min(ATTEMPTS);
    options.max_active_requests = QUERIES_MAX;
    // What is known is kept beside this, with bounds on its size.
    options.cache_size = 0;
    let mut resolver = builder.build()?;
    resolver.set_hosts(hosts);
    Ok(resolver)
}

fn make_builder(settings: &Settings) -> ResolverBuilder<TokioRuntimeProvider> {
    let own = |servers| {
        let config = ResolverConfig::from_name_servers(servers);
        TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
    };
    if settings.servers.is_empty() {
        return TokioResolver::builder_tokio().unwrap_or_else(|error| {
            warn!(%error, "no name servers: only the hosts file is read");
            own(Vec::new())
        });
    }
    let servers = settings.servers.iter().map(|server| {
        let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
            connection.port = server.port();
            connection
        });
        NameServerConfig::new(server.ip(), true, connections.into())
    });
    own(servers.collect())
}
