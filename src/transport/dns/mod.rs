//! Looks names up, for [`Resolution`] to decide what and to put in order (RFC 3263). What has been looked up is kept as
//! long as its TTL says; nobody waits for a name but who asks for it; and no message can have more looked up than the
//! limits here and in `flights` allow.

mod answers;
mod flights;
mod system;

use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tracing::{debug, info};

use super::counters::Counters;
use super::routes::Routes;
use crate::sip::hop::Hop;
use crate::sip::resolution::{Answer, Lookup, Means, Question, Resolution};
pub use flights::FLIGHTS_MAX;

use answers::{Answers, Known};
use flights::{Flight, Flights, Start, Waiting};
use system::System;

/// The most questions that wait for look-ups at a time; further ones lead nowhere.
pub const QUESTIONS_MAX: usize = 4096;

/// How long a question may take with all its look-ups.
pub const QUESTION_MAX: Duration = Duration::from_secs(5);

/// How long a look-up may take, all its retransmissions included.
pub const LOOKUP_MAX: Duration = Duration::from_millis(2400);

/// How long is waited for new records where old ones could do (RFC 8767 §5), so that a question with three such look-ups
/// has its answer in time.
pub const STALE_AFTER: Duration = Duration::from_millis(800);

/// How often it is looked whether the system's name servers or hosts file have changed.
pub const RELOAD_INTERVAL: Duration = Duration::from_secs(5);

/// `[dns]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// The name servers; none: those of the system.
    pub servers: Vec<SocketAddr>,
}

/// Looks names up.
pub struct Names {
    inner: Arc<Inner>,
    routes: Routes,
    means: Means,
    questions: Arc<Semaphore>,
}

/// What look-ups under way share.
struct Inner {
    settings: Settings,
    system: ArcSwap<System>,
    state: Mutex<State>,
    counters: Arc<Counters>,
}

/// What is known, and what is being looked up.
struct State {
    answers: Answers,
    flights: Flights,
}

impl Names {
    /// Asks the servers of `settings`, else those of the system, and reads the hosts file. `routes` say what can be sent
    /// to.
    pub fn new(routes: Routes, settings: Settings, counters: Arc<Counters>) -> Names {
        let system = System::read(&settings);
        Names {
            means: routes.means(),
            routes,
            questions: Arc::new(Semaphore::new(QUESTIONS_MAX)),
            inner: Arc::new(Inner {
                settings,
                system: ArcSwap::from_pointee(system),
                state: Mutex::new(State {
                    answers: Answers::default(),
                    flights: Flights::new(Instant::now()),
                }),
                counters,
            }),
        }
    }

    /// What can be sent with.
    pub fn means(&self) -> Means {
        self.means
    }

    /// The hops of a question that needs no look-up, because its host is an address or all that is needed is known.
    pub fn answer(&self, question: &Question) -> Option<Vec<Hop>> {
        let mut resolution = Resolution::new(question.clone(), self.means);
        let mut known = Vec::new();
        while !resolution.lookups().is_empty() {
            let now = Instant::now();
            let mut state = self.inner.state.lock();
            known.clear();
            for lookup in resolution.lookups() {
                known.push(state.answers.find(lookup, now)?.answer);
            }
            drop(state);
            resolution.answer(&known);
        }
        Some(self.hops(&resolution))
    }

    /// The right to ask one question that needs look-ups, unless too many are being asked.
    pub fn permit(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.questions).try_acquire_owned().ok()
    }

    /// The hops of any question; none when it leads nowhere, or nobody says where in time. To be called on a runtime,
    /// which then makes the look-ups.
    pub async fn resolve(&self, question: &Question) -> Vec<Hop> {
        let search = async {
            let mut resolution = Resolution::new(question.clone(), self.means);
            while !resolution.lookups().is_empty() {
                let waiting: Vec<_> = resolution
                    .lookups()
                    .iter()
                    .map(|lookup| Inner::begin(&self.inner, lookup, question.source))
                    .collect();
                let mut answers = Vec::with_capacity(waiting.len());
                for waiting in waiting {
                    answers.push(waiting.known().await.answer);
                }
                resolution.answer(&answers);
            }
            self.hops(&resolution)
        };
        timeout(QUESTION_MAX, search).await.unwrap_or_else(|_| {
            debug!(host = ?question.host, "name servers take too long");
            Vec::new()
        })
    }

    /// What one look-up brings, and how long that holds.
    pub async fn look_up(&self, lookup: &Lookup) -> (Arc<Answer>, Duration) {
        let known = Inner::begin(&self.inner, lookup, None).known().await;
        (known.answer, known.until.saturating_duration_since(Instant::now()))
    }

    /// The hops that a resolution has led to.
    pub fn hops(&self, resolution: &Resolution) -> Vec<Hop> {
        resolution.hops(|transport, remote| self.routes.local(transport, remote))
    }

    /// Reads the system's name servers and hosts file again when they have changed, and forgets what was known.
    pub fn reload(&self) {
        if self.inner.system.load().is_current() {
            return;
        }
        info!("name servers or hosts file have changed");
        self.inner.system.store(Arc::new(System::read(&self.inner.settings)));
        self.inner.state.lock().answers = Answers::default();
    }
}

impl Inner {
    /// Answers a look-up from what is known, joins one that is under way, or begins one for `source`.
    fn begin(this: &Arc<Inner>, lookup: &Lookup, source: Option<IpAddr>) -> Waiting {
        let now = Instant::now();
        let mut state = this.state.lock();
        if let Some(known) = state.answers.find(lookup, now) {
            return Waiting::Not(known);
        }
        match state.flights.start(lookup, source, now) {
            Start::Joined(waiting) => waiting,
            Start::Refused(limit) => {
                let counters = &this.counters;
                match limit {
                    flights::Limit::All => counters.queries_refused.add(1),
                    flights::Limit::Source => counters.queries_refused_of_source.add(1),
                }
                debug!(name = &*lookup.name, ?limit, "not looked up");
                Waiting::Not(state.answers.failed(lookup, now))
            }
            Start::New(flight, waiting) => {
                let stale = state.answers.stale(lookup, now);
                drop(state);
                tokio::spawn(Inner::fly(Arc::clone(this), lookup.clone(), stale, flight));
                waiting
            }
        }
    }

    /// Makes a look-up, and tells those who wait; where old records could do, soon.
    async fn fly(self: Arc<Inner>, lookup: Lookup, stale: Option<Known>, flight: Flight) {
        let system = self.system.load_full();
        let mut looking = pin!(timeout(LOOKUP_MAX, system.look_up(&lookup)));
        let found = match stale {
            None => looking.await,
            Some(stale) => match timeout(STALE_AFTER, &mut looking).await {
                Ok(found) => found,
                Err(_) => {
                    flight.land(stale);
                    looking.await
                }
            },
        };
        flight.land(self.receive(&lookup, found.ok()));
    }

    /// Keeps what a look-up has brought; `None`: nobody answered in time.
    fn receive(&self, lookup: &Lookup, found: Option<system::Found>) -> Known {
        let now = Instant::now();
        let found = found.unwrap_or_else(|| {
            debug!(name = &*lookup.name, kind = %lookup.kind, "name servers do not answer");
            system::Found::failed()
        });
        match &found.answer {
            Answer::Naptr(_) | Answer::Srv(_) | Answer::Addresses(_) => self.counters.lookups_found.add(1),
            Answer::Nothing => self.counters.lookups_empty.add(1),
            Answer::Failed => self.counters.lookups_failed.add(1),
        }
        let mut state = self.state.lock();
        state.flights.end(lookup);
        state.answers.keep(lookup, found, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::hop::Transport;
    use crate::sip::message::uri::Uri;
    use crate::sip::resolution::{RecordKind, Srv};

    fn question(uri: &str) -> Question {
        Question::from_uri(&Uri::parse(uri.as_bytes()).unwrap()).unwrap()
    }

    fn names(bound: &[&str]) -> Names {
        let listeners = bound.iter().map(|bound| (Transport::Udp, bound.parse().unwrap()));
        Names::new(Routes::new(listeners.collect()), Settings::default(), Arc::default())
    }

    #[tokio::test]
    async fn the_hosts_file_is_read() {
        let hops = names(&["127.0.0.1:5060", "[::1]:5060"])
            .resolve(&question("sip:localhost:5080"))
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
        let names = names(&["127.0.0.1:5060"]);
        let hops = names.answer(&question("sip:127.0.0.7:5080")).unwrap();
        assert_eq!(hops[0].remote, "127.0.0.7:5080".parse().unwrap());
        assert_eq!(hops[0].server_name, None);
        assert_eq!(names.answer(&question("sip:localhost")), None);
    }

    #[tokio::test]
    async fn what_is_known_needs_no_look_up() {
        let names = names(&["127.0.0.1:5060"]);
        let question = question("sip:localhost");
        let hops = names.resolve(&question).await;
        assert_eq!(names.answer(&question), Some(hops));
    }

    #[tokio::test]
    async fn records_that_have_ended_do_when_nobody_answers() {
        let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let settings = Settings {
            servers: vec![silent.local_addr().unwrap()],
        };
        let routes = Routes::new(vec![(Transport::Udp, "127.0.0.1:5060".parse().unwrap())]);
        let names = Names::new(routes, settings, Arc::default());
        let lookup = |kind, name: &str| Lookup {
            kind,
            name: name.into(),
        };
        let found = |answer| system::Found {
            answer,
            ttl: Some(Duration::ZERO),
        };
        let srv = Srv {
            priority: 1,
            weight: 1,
            port: 5070,
            target: "a.sip.test".into(),
        };
        let now = Instant::now().checked_sub(Duration::from_secs(10)).unwrap();
        {
            let answers = &mut names.inner.state.lock().answers;
            answers.keep(&lookup(RecordKind::Naptr, "sip.test"), found(Answer::Nothing), now);
            answers.keep(
                &lookup(RecordKind::Srv, "_sip._udp.sip.test"),
                found(Answer::Srv(vec![srv])),
                now,
            );
            let addresses = Answer::Addresses(vec![[127, 0, 0, 7].into()]);
            answers.keep(&lookup(RecordKind::A, "a.sip.test"), found(addresses), now);
        }
        let hops = names.resolve(&question("sip:sip.test")).await;
        assert_eq!(hops.len(), 1, "{hops:?}");
        assert_eq!(hops[0].remote, "127.0.0.7:5070".parse().unwrap());
    }

    #[tokio::test]
    async fn questions_are_limited() {
        let names = names(&["127.0.0.1:5060"]);
        let permits: Vec<_> = (0..QUESTIONS_MAX).map(|_| names.permit()).collect();
        assert!(permits.iter().all(Option::is_some));
        assert!(names.permit().is_none());
        drop(permits);
        assert!(names.permit().is_some());
    }
}
