//! Questions, and their ways through a zone that is a table.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use super::*;

fn from_uri(uri: &str) -> Result<Question, NotResolvable> {
    Question::from_uri(&Uri::parse(uri.as_bytes()).unwrap())
}

#[test]
fn a_uri_names_host_port_and_transport() {
    let question = from_uri("sip:alice@EXAMPLE.com.:5070;transport=TCP").unwrap();
    assert_eq!(question.host, QuestionHost::Name("example.com".into()));
    assert_eq!((question.port, question.transport), (Some(5070), Some(Transport::Tcp)));
    let question = from_uri("sip:example.com").unwrap();
    assert_eq!(
        (question.port, question.transport, question.secure),
        (None, None, false)
    );
    let question = from_uri("sip:alice@[2001:db8::1]").unwrap();
    assert_eq!(question.host, QuestionHost::Address("2001:db8::1".parse().unwrap()));
}

#[test]
fn maddr_decides_over_the_host() {
    let question = from_uri("sip:alice@example.com;maddr=192.0.2.1").unwrap();
    assert_eq!(question.host, QuestionHost::Address("192.0.2.1".parse().unwrap()));
    let question = from_uri("sip:alice@192.0.2.1;maddr=gw.example.com").unwrap();
    assert_eq!(question.host, QuestionHost::Name("gw.example.com".into()));
}

#[test]
fn what_leads_nowhere_is_refused() {
    assert_eq!(from_uri("tel:+15550100"), Err(NotResolvable::Scheme));
    assert_eq!(
        from_uri("sip:example.com;transport=sctp"),
        Err(NotResolvable::Transport)
    );
    assert_eq!(
        from_uri("sips:example.com;transport=udp"),
        Err(NotResolvable::Transport)
    );
    let long = format!("sip:{}.example.com", "a".repeat(64));
    assert_eq!(from_uri(&long), Err(NotResolvable::Host));
}

#[test]
fn the_means_are_the_listeners() {
    let listeners = [
        (Transport::Udp, "0.0.0.0:5060".parse().unwrap()),
        (Transport::Tls, "[::]:5061".parse().unwrap()),
    ];
    let means = Means::of(listeners);
    assert!(means.reach(Transport::Udp, [192, 0, 2, 1].into()));
    assert!(!means.reach(Transport::Udp, "2001:db8::1".parse().unwrap()));
    assert!(means.have(Transport::Tls) && !means.have(Transport::Tcp));
    let kinds = |transport| means.kinds(transport).collect::<Vec<_>>();
    assert_eq!(kinds(Transport::Udp), [RecordKind::A]);
    assert_eq!(kinds(Transport::Tls), [RecordKind::Aaaa]);
}

/// Records by kind and name.
struct Zone(BTreeMap<(RecordKind, &'static str), Answer>);

impl Zone {
    fn new() -> Zone {
        Zone(BTreeMap::new())
    }

    fn naptr(mut self, name: &'static str, records: &[(u16, u16, &str, &str, &str)]) -> Zone {
        let records = records
            .iter()
            .map(|(order, preference, flags, service, replacement)| Naptr {
                order: *order,
                preference: *preference,
                flags: flags.as_bytes().into(),
                service: service.as_bytes().into(),
                has_regexp: false,
                replacement: (*replacement).into(),
            });
        self.0
            .insert((RecordKind::Naptr, name), Answer::Naptr(records.collect()));
        self
    }

    fn srv(mut self, name: &'static str, records: &[(u16, u16, u16, &str)]) -> Zone {
        let records = records.iter().map(|(priority, weight, port, target)| Srv {
            priority: *priority,
            weight: *weight,
            port: *port,
            target: (*target).into(),
        });
        self.0.insert((RecordKind::Srv, name), Answer::Srv(records.collect()));
        self
    }

    fn host(mut self, name: &'static str, addresses: &[&str]) -> Zone {
        for (kind, is_v4) in [(RecordKind::A, true), (RecordKind::Aaaa, false)] {
            let addresses = addresses.iter().map(|address| address.parse::<IpAddr>().unwrap());
            let addresses: Vec<_> = addresses.filter(|address| address.is_ipv4() == is_v4).collect();
            if !addresses.is_empty() {
                self.0.insert((kind, name), Answer::Addresses(addresses));
            }
        }
        self
    }

    /// What is asked, and where it leads.
    fn resolve(&self, question: Question, means: Means) -> (Vec<String>, Vec<String>) {
        let mut resolution = Resolution::new(question, means);
        let mut asked = Vec::new();
        while !resolution.lookups().is_empty() {
            let answers: Vec<_> = resolution
                .lookups()
                .iter()
                .map(|lookup| {
                    asked.push(format!("{} {}", lookup.kind, lookup.name));
                    let found = self
                        .0
                        .iter()
                        .find(|((kind, name), _)| (*kind, *name) == (lookup.kind, &*lookup.name));
                    Arc::new(found.map_or(Answer::Nothing, |(_, answer)| answer.clone()))
                })
                .collect();
            assert!(asked.len() <= 1 + 5 + 2 * MAX_TARGETS, "{asked:?}");
            resolution.answer(&answers);
        }
        let local = |_, remote: SocketAddr| match remote {
            SocketAddr::V4(_) => "192.0.2.99:5060".parse().ok(),
            SocketAddr::V6(_) => "[2001:db8::99]:5060".parse().ok(),
        };
        let hops = resolution.hops(local);
        let hops = hops.iter().map(|hop| format!("{} {}", hop.transport, hop.remote));
        (asked, hops.collect())
    }

    fn hops(&self, uri: &str, means: Means) -> Vec<String> {
        self.resolve(from_uri(uri).unwrap(), means).1
    }

    fn asked(&self, uri: &str, means: Means) -> Vec<String> {
        self.resolve(from_uri(uri).unwrap(), means).0
    }
}

fn means(transports: &[Transport]) -> Means {
    let bound = ["192.0.2.99:5060", "[2001:db8::99]:5060"].map(|bound| bound.parse().unwrap());
    Means::of(
        transports
            .iter()
            .flat_map(|transport| bound.map(|bound| (*transport, bound))),
    )
}

fn all() -> Means {
    means(&[Transport::Udp, Transport::Tcp, Transport::Tls])
}

fn v4(transport: Transport) -> Means {
    Means::of([(transport, "192.0.2.99:5060".parse().unwrap())])
}

/// A domain with everything.
fn example() -> Zone {
    Zone::new()
        .naptr(
            "example.com",
            &[
                (20, 10, "s", "SIP+D2U", "_sip._udp.example.com"),
                (10, 20, "S", "sip+d2t", "_sip._tcp.example.com"),
                (10, 10, "s", "SIPS+D2T", "_sips._tcp.example.com"),
                (5, 5, "u", "E2U+sip", ""),
            ],
        )
        .srv(
            "_sip._udp.example.com",
            &[(20, 0, 5070, "b.example.com"), (10, 0, 5060, "a.example.com")],
        )
        .srv("_sip._tcp.example.com", &[(10, 0, 5080, "a.example.com")])
        .srv("_sips._tcp.example.com", &[(10, 0, 5061, "a.example.com")])
        .host("a.example.com", &["192.0.2.1"])
        .host("b.example.com", &["192.0.2.2", "2001:db8::2"])
        .host("example.com", &["192.0.2.80"])
}

#[test]
fn naptr_decides_over_the_transports_that_are_ours() {
    let zone = example();
    let (tls, tcp) = ("tls 192.0.2.1:5061", "tcp 192.0.2.1:5080");
    let udp = ["udp 192.0.2.1:5060", "udp [2001:db8::2]:5070", "udp 192.0.2.2:5070"];
    assert_eq!(zone.hops("sip:example.com", all()), [tls, tcp, udp[0], udp[1], udp[2]]);
    let without_tls = means(&[Transport::Udp, Transport::Tcp]);
    assert_eq!(zone.hops("sip:example.com", without_tls), [tcp, udp[0], udp[1], udp[2]]);
    assert_eq!(zone.hops("sip:example.com", v4(Transport::Udp)), [udp[0], udp[2]]);
    assert_eq!(
        zone.asked("sip:example.com", v4(Transport::Udp))[0],
        "NAPTR example.com"
    );
}

#[test]
fn where_a_domain_offers_only_what_is_not_ours_nothing_is_guessed() {
    let zone = example().naptr("example.com", &[(1, 1, "s", "SIPS+D2T", "_sips._tcp.example.com")]);
    assert_eq!(zone.hops("sip:example.com", means(&[Transport::Udp])), [""; 0]);
    assert_eq!(
        zone.asked("sip:example.com", means(&[Transport::Udp])),
        ["NAPTR example.com"]
    );
}

#[test]
fn records_of_other_services_are_as_none() {
    let zone = example().naptr("example.com", &[(1, 1, "u", "E2U+sip", "")]);
    assert_eq!(
        zone.hops("sip:example.com", v4(Transport::Udp))[0],
        "udp 192.0.2.1:5060"
    );
    assert_eq!(
        zone.asked("sip:example.com", v4(Transport::Udp))[..2],
        ["NAPTR example.com", "SRV _sip._udp.example.com"]
    );
}

#[test]
fn without_naptr_the_services_of_our_transports_are_asked_for() {
    let mut zone = example();
    zone.0.remove(&(RecordKind::Naptr, "example.com"));
    let hops = zone.hops("sip:example.com", all());
    assert_eq!(hops[0], "udp 192.0.2.1:5060");
    assert_eq!(hops[3], "tcp 192.0.2.1:5080");
    assert_eq!(hops.len(), 4, "sips records are for sips URIs: {hops:?}");
}

#[test]
fn a_transport_in_the_uri_asks_for_its_service_only() {
    let zone = example();
    assert_eq!(
        zone.hops("sip:example.com;transport=tcp", all()),
        ["tcp 192.0.2.1:5080"]
    );
    assert_eq!(
        zone.asked("sip:example.com;transport=tcp", v4(Transport::Tcp)),
        ["SRV _sip._tcp.example.com", "A a.example.com"]
    );
    assert_eq!(
        zone.hops("sip:example.com;transport=tls", all()),
        ["tls 192.0.2.1:5061"]
    );
    assert_eq!(zone.hops("sip:example.com;transport=tcp", v4(Transport::Udp)), [""; 0]);
}

#[test]
fn sips_leads_to_tls_only() {
    let zone = example();
    for uri in ["sips:example.com", "sips:example.com;transport=tcp"] {
        assert_eq!(zone.hops(uri, all()), ["tls 192.0.2.1:5061"], "{uri}");
    }
    let asked = zone.asked("sips:example.com", all());
    assert_eq!(asked[..2], ["NAPTR example.com", "SRV _sips._tcp.example.com"]);
    assert_eq!(zone.hops("sips:example.com", v4(Transport::Udp)), [""; 0]);
    assert_eq!(zone.hops("sips:192.0.2.7", all()), ["tls 192.0.2.7:5061"]);
}

#[test]
fn a_port_leads_to_the_host_itself() {
    let zone = example();
    assert_eq!(
        zone.asked("sip:example.com:5090", v4(Transport::Udp)),
        ["A example.com"]
    );
    assert_eq!(zone.hops("sip:example.com:5090", all()), ["udp 192.0.2.80:5090"]);
    assert_eq!(
        zone.hops("sip:example.com:5090;transport=tcp", all()),
        ["tcp 192.0.2.80:5090"]
    );
    assert_eq!(
        zone.hops("sip:example.com:5090", v4(Transport::Tcp)),
        ["tcp 192.0.2.80:5090"]
    );
    assert_eq!(zone.hops("sip:example.com:0", all()), [""; 0]);
}

#[test]
fn an_address_needs_no_look_up() {
    let zone = Zone::new();
    assert_eq!(zone.asked("sip:192.0.2.7", all()), [""; 0]);
    assert_eq!(zone.hops("sip:192.0.2.7", all()), ["udp 192.0.2.7:5060"]);
    assert_eq!(
        zone.hops("sip:example.com;maddr=192.0.2.7", all()),
        ["udp 192.0.2.7:5060"]
    );
    assert_eq!(
        zone.hops("sip:[2001:db8::7]:5070;transport=tcp", all()),
        ["tcp [2001:db8::7]:5070"]
    );
    assert_eq!(zone.hops("sip:[2001:db8::7]", v4(Transport::Udp)), [""; 0]);
    assert_eq!(zone.hops("sip:0.0.0.0", all()), [""; 0]);
}

#[test]
fn without_srv_the_host_itself_is_tried() {
    let zone = Zone::new().host("example.com", &["192.0.2.80", "2001:db8::80"]);
    assert_eq!(
        zone.hops("sip:example.com", all()),
        ["udp [2001:db8::80]:5060", "udp 192.0.2.80:5060"]
    );
    assert_eq!(
        zone.hops("sip:example.com;transport=tls", v4(Transport::Tls)),
        ["tls 192.0.2.80:5061"]
    );
    // what a NAPTR record says of the transport holds even when its SRV records are missing
    let zone = zone.naptr("example.com", &[(1, 1, "s", "SIP+D2T", "_sip._tcp.example.com")]);
    assert_eq!(
        zone.hops("sip:example.com", v4(Transport::Tcp)),
        ["tcp 192.0.2.80:5060"]
    );
    assert_eq!(Zone::new().hops("sip:example.com", all()), [""; 0]);
}

#[test]
fn a_service_that_is_not_offered_is_not_tried() {
    let zone = Zone::new()
        .srv("_sip._udp.example.com", &[(0, 0, 0, "")])
        .host("example.com", &["192.0.2.80"]);
    assert_eq!(zone.hops("sip:example.com;transport=udp", all()), [""; 0]);
    assert_eq!(zone.hops("sip:example.com", all()), [""; 0]);
    let zone = zone.srv("_sip._tcp.example.com", &[(0, 0, 5060, "example.com")]);
    assert_eq!(zone.hops("sip:example.com", all()), ["tcp 192.0.2.80:5060"]);
}

#[test]
fn a_large_message_goes_over_tcp_where_the_target_allows_it() {
    let zone = example();
    let large = |uri: &str| {
        let question = from_uri(uri).unwrap();
        let question = Question {
            too_large_for_udp: true,
            ..question
        };
        zone.resolve(question, means(&[Transport::Udp, Transport::Tcp])).1
    };
    assert_eq!(large("sip:192.0.2.7"), ["tcp 192.0.2.7:5060", "udp 192.0.2.7:5060"]);
    assert_eq!(large("sip:192.0.2.7;transport=udp"), ["udp 192.0.2.7:5060"]);
    assert_eq!(large("sip:example.com")[0], "tcp 192.0.2.1:5080");
    assert_eq!(large("sip:b.example.com:5070")[0], "tcp [2001:db8::2]:5070");
}

#[test]
fn neither_records_nor_hops_are_without_bound() {
    let targets: Vec<String> = (0..100).map(|number| format!("t{number}.example.com")).collect();
    let records: Vec<_> = targets.iter().map(|target| (1, 1, 5060, &**target)).collect();
    let mut zone = Zone::new().srv("_sip._udp.example.com", &records);
    let addresses: Vec<String> = (1..=50).map(|last| format!("192.0.2.{last}")).collect();
    let addresses: Vec<&str> = addresses.iter().map(|address| &**address).collect();
    for target in targets {
        zone = zone.host(target.leak(), &addresses);
    }
    let uri = "sip:example.com;transport=udp";
    assert_eq!(zone.hops(uri, all()).len(), MAX_HOPS);
    assert_eq!(zone.asked(uri, v4(Transport::Udp)).len(), 1 + MAX_TARGETS);
}

#[test]
fn the_order_of_equals_is_drawn_anew_for_each_request() {
    let zone = Zone::new()
        .srv(
            "_sip._udp.example.com",
            &[(1, 1, 5061, "a.example.com"), (1, 1, 5062, "a.example.com")],
        )
        .host("a.example.com", &["192.0.2.1"]);
    let first = |seed| {
        let question = Question {
            seed,
            ..from_uri("sip:example.com").unwrap()
        };
        zone.resolve(question, all()).1[0].clone()
    };
    assert!((0..50).any(|seed| first(seed) == "udp 192.0.2.1:5061"));
    assert!((0..50).any(|seed| first(seed) == "udp 192.0.2.1:5062"));
}
