//! Host names to addresses: A and AAAA records through the system's name servers, and its hosts file (RFC 3263 §4.2).

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{LookupIpStrategy, ResolverConfig};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tracing::{debug, warn};

use super::routes::Routes;
use crate::sip::hop::Hop;
use crate::sip::resolution::{Question, QuestionHost};

/// The most names that are looked up at a time; further ones have no address.
const QUERIES_MAX: usize = 1024;

/// How long a look-up may take, all its retransmissions included.
const QUERY_MAX: Duration = Duration::from_secs(5);

/// How long one name server may take for one answer, unless the system says less.
const ATTEMPT_MAX: Duration = Duration::from_secs(2);

/// Looks names up. Its queries run on the runtime that it was made on.
pub struct Names {
    resolver: Option<TokioResolver>,
    routes: Routes,
    queries: Arc<Semaphore>,
}

impl Names {
    /// As the system is configured. Without its configuration only the hosts file is left.
    pub fn new(routes: Routes) -> Names {
        let resolver = make_resolver(&routes).inspect_err(|error| warn!(%error, "host names cannot be looked up"));
        Names {
            resolver: resolver.ok(),
            routes,
            queries: Arc::new(Semaphore::new(QUERIES_MAX)),
        }
    }

    /// The hops of a question that needs no look-up.
    pub fn answer(&self, question: &Question) -> Option<Vec<Hop>> {
        match &question.host {
            QuestionHost::Address(address) => Some(self.routes.hops(question, &[*address])),
            QuestionHost::Name(_) => None,
        }
    }

    /// The right to look one name up, unless too many are being looked up.
    pub fn permit(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.queries).try_acquire_owned().ok()
    }

    /// The hops of any question; none when its host has no address.
    pub async fn resolve(&self, question: &Question) -> Vec<Hop> {
        match &question.host {
            QuestionHost::Address(address) => self.routes.hops(question, &[*address]),
            QuestionHost::Name(name) => self.routes.hops(question, &self.look_up(name).await),
        }
    }

    async fn look_up(&self, name: &str) -> Vec<IpAddr> {
        let Some(resolver) = &self.resolver else {
            return Vec::new();
        };
        match timeout(QUERY_MAX, resolver.lookup_ip(name)).await {
            Ok(Ok(found)) => found.iter().collect(),
            Ok(Err(error)) => {
                debug!(name, %error, "name not found");
                Vec::new()
            }
            Err(_) => {
                debug!(name, "name servers do not answer");
                Vec::new()
            }
        }
    }
}

fn make_resolver(routes: &Routes) -> Result<TokioResolver, NetError> {
    let mut builder = TokioResolver::builder_tokio().unwrap_or_else(|error| {
        warn!(%error, "no name servers: only the hosts file is read");
        let nobody = ResolverConfig::from_name_servers(Vec::new());
        TokioResolver::builder_with_config(nobody, TokioRuntimeProvider::default())
    });
    let options = builder.options_mut();
    options.timeout = options.timeout.min(ATTEMPT_MAX);
    // Only what can be sent to is asked for.
    options.ip_strategy = match (routes.has_family(true), routes.has_family(false)) {
        (true, false) => LookupIpStrategy::Ipv4Only,
        (false, true) => LookupIpStrategy::Ipv6Only,
        (true, true) | (false, false) => LookupIpStrategy::Ipv4AndIpv6,
    };
    builder.build()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::hop::Transport;

    fn question(host: QuestionHost) -> Question {
        Question {
            host,
            port: Some(5080),
            transport: None,
            secure: false,
            too_large_for_udp: false,
        }
    }

    fn names(bound: &[&str]) -> Names {
        let listeners = bound.iter().map(|bound| (Transport::Udp, bound.parse().unwrap()));
        Names::new(Routes::new(listeners.collect()))
    }

    #[tokio::test]
    async fn the_hosts_file_is_read() {
        let hops = names(&["127.0.0.1:5060", "[::1]:5060"])
            .resolve(&question(QuestionHost::Name("localhost".into())))
            .await;
        let expected = Hop {
            transport: Transport::Udp,
            remote: "127.0.0.1:5080".parse().unwrap(),
            local: "127.0.0.1:5060".parse().unwrap(),
            server_name: Some("localhost".into()),
        };
        assert!(hops.contains(&expected), "{hops:?}");
    }

    #[tokio::test]
    async fn an_address_needs_no_look_up() {
        let address = QuestionHost::Address([127, 0, 0, 7].into());
        let hops = names(&["127.0.0.1:5060"]).answer(&question(address)).unwrap();
        assert_eq!(hops[0].remote, "127.0.0.7:5080".parse().unwrap());
        assert_eq!(hops[0].server_name, None);
        let name = question(QuestionHost::Name("localhost".into()));
        assert_eq!(names(&["127.0.0.1:5060"]).answer(&name), None);
    }

    #[tokio::test]
    async fn look_ups_are_limited() {
        let names = names(&["127.0.0.1:5060"]);
        let permits: Vec<_> = (0..QUERIES_MAX).map(|_| names.permit()).collect();
        assert!(permits.iter().all(Option::is_some));
        assert!(names.permit().is_none());
        drop(permits);
        assert!(names.permit().is_some());
    }
}
