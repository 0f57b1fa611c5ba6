//! The way from a question to hops (RFC 3263 §4): NAPTR records, then SRV records, then addresses, each step only where
//! the one before leaves it open.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::order::{Draws, by_preference, by_priority_and_weight};
use super::records::{Answer, LeftOut, Lookup, RecordKind, Srv};
use super::{Means, Question, QuestionHost, Transports, is_usable};
use crate::sip::hop::{Hop, Transport};

/// The most places that one question leads to.
pub const MAX_HOPS: usize = 16;

/// The most hosts whose addresses are looked up for one question. Which they are of more, priority and weight decide anew
/// for each request.
pub const MAX_TARGETS: usize = 8;

/// The most services of a domain that are asked for: one for each transport.
const MAX_SERVICES: usize = 5;

/// A question on its way to hops. As long as there are [`Resolution::lookups`], their answers lead on.
#[derive(Clone, Debug)]
pub struct Resolution {
    question: Question,
    means: Means,
    draws: Draws,
    stage: Stage,
    lookups: Vec<Lookup>,
}

#[derive(Clone, Debug)]
enum Stage {
    /// Which transports the domain prefers is asked.
    Naptr,
    /// The hosts of these services are asked for; where there are none, the host itself is tried with `fallback`.
    Srv {
        services: Vec<Service>,
        fallback: Transports,
    },
    /// The addresses of these hosts are asked for.
    Addresses(Vec<Place>),
    /// Nothing is left to be asked.
    Done(Vec<(Place, Vec<IpAddr>)>),
}

#[derive(Clone, Debug)]
struct Service {
    transport: Transport,
    name: Box<str>,
}

#[derive(Clone, Debug)]
struct Place {
    transport: Transport,
    host: Box<str>,
    port: u16,
}

impl Resolution {
    /// Begins to look for the places that `question` leads to and that can be reached by our `means`.
    pub fn new(question: Question, means: Means) -> Resolution {
        let mut resolution = Resolution {
            draws: Draws::new(question.seed),
            question,
            means,
            stage: Stage::Done(Vec::new()),
            lookups: Vec::new(),
        };
        let question = &resolution.question;
        match (&question.host, question.port, question.transport) {
            (QuestionHost::Address(address), _, _) => {
                let address = *address;
                let places = resolution.places_of_host(&question.transports(means));
                let places = places.into_iter().map(|place| (place, vec![address]));
                resolution.stage = Stage::Done(places.collect());
            }
            // §4.2: "If the TARGET was not a numeric IP address, but a port is present in the URI, the client performs an A
            // or AAAA record lookup of the domain name."
            (QuestionHost::Name(_), Some(_), _) => resolution.ask_host_itself(),
            // §4.1: "If the URI specifies a transport protocol in the transport parameter, that transport protocol SHOULD
            // be used."
            (QuestionHost::Name(_), None, Some(_)) => resolution.ask_services(),
            (QuestionHost::Name(host), None, None) => {
                resolution.lookups = vec![Lookup {
                    kind: RecordKind::Naptr,
                    name: host.clone(),
                }];
                resolution.stage = Stage::Naptr;
            }
        }
        resolution
    }

    /// What has to be looked up now. Nothing: the resolution has ended.
    pub fn lookups(&self) -> &[Lookup] {
        &self.lookups
    }

    /// Goes on with the answers to [`Resolution::lookups`], in the same order.
    pub fn answer(&mut self, answers: &[Arc<Answer>]) {
        let lookups = std::mem::take(&mut self.lookups);
        match std::mem::replace(&mut self.stage, Stage::Done(Vec::new())) {
            Stage::Naptr => self.receive_naptr(answers.first().map(|answer| &**answer)),
            Stage::Srv { services, fallback } => self.receive_srv(&services, &fallback, answers),
            Stage::Addresses(places) => {
                let addresses = |host: &str| {
                    let of_host = lookups.iter().zip(answers).filter(|(lookup, _)| &*lookup.name == host);
                    let found = of_host.flat_map(|(_, answer)| match &**answer {
                        Answer::Addresses(addresses) => addresses.as_slice(),
                        Answer::Naptr(_) | Answer::Srv(_) | Answer::Nothing | Answer::Failed => &[],
                    });
                    found.copied().collect::<Vec<_>>()
                };
                let found = places.into_iter().map(|place| {
                    let addresses = addresses(&place.host);
                    (place, addresses)
                });
                self.stage = Stage::Done(found.collect());
            }
            done @ Stage::Done(_) => self.stage = done,
        }
    }

    /// The hops found, in the order to be tried. `local` says which of our addresses a message leaves from, if any.
    pub fn hops(&self, local: impl Fn(Transport, SocketAddr) -> Option<SocketAddr>) -> Vec<Hop> {
        let Stage::Done(found) = &self.stage else {
            return Vec::new();
        };
        let server_name: Option<Arc<str>> = match &self.question.host {
            // RFC 5922 §4: what the URI says, not what the records lead to.
            QuestionHost::Name(name) => Some(Arc::from(&**name)),
            QuestionHost::Address(_) => None,
        };
        let mut hops = Vec::new();
        for (place, addresses) in found {
            let usable = addresses
                .iter()
                .filter(|address| is_usable(**address) && self.means.reach(place.transport, **address));
            let mut of_place: Vec<Hop> = usable
                .filter_map(|address| {
                    let remote = SocketAddr::new(*address, place.port);
                    Some(Hop {
                        transport: place.transport,
                        remote,
                        local: local(place.transport, remote)?,
                        server_name: server_name.clone(),
                    })
                })
                .collect();
            by_preference(&mut of_place, |hop| (hop.remote.ip(), hop.local.ip()));
            for hop in of_place {
                if hops.len() < MAX_HOPS && !hops.contains(&hop) {
                    hops.push(hop);
                }
            }
        }
        hops
    }

    fn receive_naptr(&mut self, answer: Option<&Answer>) {
        let mut records = match answer {
            Some(Answer::Naptr(records)) => records.clone(),
            Some(Answer::Srv(_) | Answer::Addresses(_) | Answer::Nothing | Answer::Failed) | None => Vec::new(),
        };
        records.sort_by_key(|record| (record.order, record.preference));
        let (mut services, mut is_known) = (Vec::new(), false);
        for record in &records {
            match record.service(&self.question, self.means) {
                Ok((transport, name)) => services.push(Service { transport, name }),
                Err(LeftOut::Service) => continue,
                Err(
                    LeftOut::NotTerminal
                    | LeftOut::NotSecure
                    | LeftOut::NoListener(_)
                    | LeftOut::NotOffered
                    | LeftOut::Unusable,
                ) => {}
            }
            is_known = true;
        }
        if !is_known {
            return self.ask_services();
        }
        if self.question.too_large_for_udp {
            services.sort_by_key(|service| service.transport == Transport::Udp);
        }
        services.truncate(MAX_SERVICES);
        // Where the domain offers SIP only in ways that are not ours, nothing else is guessed.
        let fallback = services.iter().map(|service| service.transport).collect();
        self.ask_srv(services, fallback);
    }

    /// §4.1: "the client constructs SRV queries for those transport protocols it supports, and does a query for each."
    fn ask_services(&mut self) {
        let QuestionHost::Name(host) = &self.question.host else {
            return;
        };
        let mut services = Vec::new();
        for transport in self.question.srv_transports(self.means) {
            let prefix = match transport {
                Transport::Udp => "_sip._udp",
                Transport::Tcp => "_sip._tcp",
                Transport::Tls => "_sips._tcp",
                // RFC 7118 names none; its URIs are looked up like those of HTTP.
                Transport::Ws | Transport::Wss => continue,
            };
            // One that is too long has no record.
            if let Some(name) = super::checked_name(format!("{prefix}.{host}").as_bytes()) {
                services.push(Service { transport, name });
            }
        }
        if services.is_empty() {
            return self.ask_host_itself();
        }
        let fallback = self.question.transports(self.means);
        self.ask_srv(services, fallback);
    }

    fn ask_srv(&mut self, services: Vec<Service>, fallback: Transports) {
        self.lookups = services
            .iter()
            .map(|service| Lookup {
                kind: RecordKind::Srv,
                name: service.name.clone(),
            })
            .collect();
        self.stage = match services.is_empty() {
            true => Stage::Done(Vec::new()),
            false => Stage::Srv { services, fallback },
        };
    }

    fn receive_srv(&mut self, services: &[Service], fallback: &[Transport], answers: &[Arc<Answer>]) {
        let (mut places, mut is_known) = (Vec::new(), false);
        for (service, answer) in services.iter().zip(answers) {
            let Answer::Srv(records) = &**answer else { continue };
            is_known |= !records.is_empty();
            let mut records: Vec<Srv> = records.clone();
            by_priority_and_weight(&mut records, &mut self.draws);
            // RFC 2782: a target of "." means that the service is decidedly not available.
            places.extend(records.iter().filter_map(|record| {
                Some(Place {
                    transport: service.transport,
                    host: record.host().ok()?,
                    port: record.port,
                })
            }));
        }
        if !is_known {
            places = self.places_of_host(fallback);
        }
        self.ask_addresses(places);
    }

    /// §4.2: "If no SRV records were found, the client performs an A or AAAA record lookup of the domain name."
    fn ask_host_itself(&mut self) {
        let places = self.places_of_host(&self.question.transports(self.means));
        self.ask_addresses(places);
    }

    fn places_of_host(&self, transports: &[Transport]) -> Vec<Place> {
        let host = match &self.question.host {
            QuestionHost::Name(name) => name.clone(),
            QuestionHost::Address(_) => Box::default(),
        };
        let places = transports.iter().map(|transport| Place {
            transport: *transport,
            host: host.clone(),
            port: self.question.port.unwrap_or(transport.default_port()),
        });
        places.filter(|place| place.port != 0).collect()
    }

    fn ask_addresses(&mut self, mut places: Vec<Place>) {
        places.truncate(MAX_TARGETS);
        let mut lookups: Vec<Lookup> = Vec::new();
        for place in &places {
            for kind in self.means.kinds(place.transport) {
                let name = place.host.clone();
                let lookup = Lookup { kind, name };
                if !lookups.contains(&lookup) {
                    lookups.push(lookup);
                }
            }
        }
        self.lookups = lookups;
        self.stage = match self.lookups.is_empty() {
            true => Stage::Done(Vec::new()),
            false => Stage::Addresses(places),
        };
    }
}
