//! The next hop when one fails (RFC 3263 §4.3), and what calls tell each other about hops.

use std::time::Duration;

use ringbinder::sip::hop::Transport;

use crate::support::{Dialog, Draft, Got, Phone, Sim};

const CARL: &str = "sip:carl@example.net";

/// Two servers of example.net, the first one preferred, and alice who may call them.
fn two_hops() -> (Sim, Phone, [Phone; 2]) {
    let mut sim = Sim::new();
    let alice = sim.registered("alice");
    sim.service(
        "_sip._udp.example.net",
        &[(10, 0, 5060, "one.example.net"), (20, 0, 5070, "two.example.net")],
    );
    sim.host("one.example.net", &["203.0.113.5"]);
    sim.host("two.example.net", &["203.0.113.6"]);
    let hops = ["203.0.113.5:5060", "203.0.113.6:5070"].map(|address| sim.peer(Transport::Udp, address));
    (sim, alice, hops)
}

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// Answers an INVITE and lets the call be over.
fn accept(sim: &mut Sim, alice: &Phone, peer: &Phone, invite: &Got) {
    sim.respond(peer, invite, "200 OK");
    sim.expect(alice, "200");
}

#[test]
fn a_silent_hop_is_left_after_a_few_seconds_when_there_is_another() {
    let (mut sim, alice, [one, two]) = two_hops();
    sim.invite(&alice, CARL);
    sim.advance(Duration::from_millis(3_900));
    assert_eq!(sim.kinds(&one), ["INVITE"; 4]);
    sim.nothing_to(&two);
    sim.advance(Duration::from_millis(200));
    let invite = sim.expect(&two, "INVITE");
    sim.nothing_to(&one);
    accept(&mut sim, &alice, &two, &invite);
}

#[test]
fn the_last_hop_has_all_the_time_of_timer_b() {
    let (mut sim, alice, [one, two]) = two_hops();
    let sent = sim.invite(&alice, CARL);
    sim.advance(Duration::from_millis(35_800));
    assert_eq!(sim.kinds(&one), ["INVITE"; 4]);
    assert_eq!(sim.kinds(&two), ["INVITE"; 7]);
    sim.nothing_to(&alice);
    sim.advance(Duration::from_millis(300));
    let timeout = sim.expect(&alice, "408");
    sim.send(&alice, &sent.ack(&timeout));
    sim.advance(secs(60));
    assert!(sim.is_idle());
}

#[test]
fn a_hop_that_rings_or_says_100_is_not_left() {
    for method in ["INVITE", "OPTIONS"] {
        let (mut sim, alice, [one, two]) = two_hops();
        let draft = sim.draft(&alice, method, CARL);
        sim.send_authorized(&alice, &draft);
        let got = loop {
            match sim.receive(&one) {
                Some(got) if got.kind() == method => break got,
                Some(_) => {}
                None => panic!("no {method}"),
            }
        };
        sim.respond(&one, &got, "100 Trying");
        sim.advance(secs(20));
        sim.nothing_to(&two);
        sim.respond(&one, &got, "200 OK");
        while sim.receive(&alice).is_some_and(|got| got.kind() != "200") {}
    }
}

#[test]
fn the_time_for_a_hop_can_be_set() {
    let mut sim = Sim::with_settings(|settings| settings.transaction.hop_timeout = secs(1));
    let alice = sim.registered("alice");
    sim.host("example.net", &["203.0.113.5", "203.0.113.6"]);
    let two = sim.peer(Transport::Udp, "203.0.113.6:5060");
    sim.invite(&alice, CARL);
    sim.advance(Duration::from_millis(1_100));
    sim.expect(&two, "INVITE");
}

#[test]
fn a_request_other_than_invite_moves_on_too() {
    let (mut sim, alice, [one, two]) = two_hops();
    let draft = sim.draft(&alice, "MESSAGE", CARL);
    sim.send_authorized(&alice, &draft);
    sim.advance(Duration::from_millis(4_100));
    assert_eq!(sim.kinds(&one), ["MESSAGE"; 4]);
    let got = sim.expect(&two, "MESSAGE");
    sim.respond(&two, &got, "200 OK");
    sim.expect(&alice, "200");
}

#[test]
fn the_next_call_tries_a_failed_hop_last_and_later_first_again() {
    let (mut sim, alice, [one, two]) = two_hops();
    sim.unreachable.insert((Transport::Udp, one.flow.remote));
    sim.invite(&alice, CARL);
    let invite = sim.expect(&two, "INVITE");
    accept(&mut sim, &alice, &two, &invite);
    sim.unreachable.clear();

    sim.invite(&alice, CARL);
    let invite = sim.expect(&two, "INVITE");
    sim.nothing_to(&one);
    accept(&mut sim, &alice, &two, &invite);

    sim.advance(secs(61));
    sim.invite(&alice, CARL);
    sim.expect(&one, "INVITE");
}

#[test]
fn a_hop_that_answers_again_is_preferred_again() {
    let (mut sim, alice, [one, two]) = two_hops();
    sim.unreachable.insert((Transport::Udp, one.flow.remote));
    sim.invite(&alice, CARL);
    let invite = sim.expect(&two, "INVITE");
    accept(&mut sim, &alice, &two, &invite);
    sim.unreachable.clear();
    // somebody calls it by its address, and it answers
    sim.invite(&alice, "sip:carl@203.0.113.5");
    let invite = sim.expect(&one, "INVITE");
    accept(&mut sim, &alice, &one, &invite);
    sim.invite(&alice, CARL);
    sim.expect(&one, "INVITE");
}

#[test]
fn when_all_have_failed_all_are_tried_in_their_order() {
    let (mut sim, alice, [one, two]) = two_hops();
    for peer in [&one, &two] {
        sim.unreachable.insert((Transport::Udp, peer.flow.remote));
    }
    let sent = sim.invite(&alice, CARL);
    let refused = sim.expect(&alice, "480");
    sim.send(&alice, &sent.ack(&refused));
    sim.unreachable.clear();
    sim.invite(&alice, CARL);
    let invite = sim.expect(&one, "INVITE");
    accept(&mut sim, &alice, &one, &invite);
}

#[test]
fn a_503_says_how_long_the_hop_is_to_be_spared() {
    let (mut sim, alice, [one, two]) = two_hops();
    sim.invite(&alice, CARL);
    let invite = sim.expect(&one, "INVITE");
    let refusal = Draft::response(&invite, "503 Service Unavailable", Some("t"));
    sim.send(&one, &refusal.add("Retry-After", "10 (maintenance)"));
    sim.expect(&one, "ACK");
    let invite = sim.expect(&two, "INVITE");
    accept(&mut sim, &alice, &two, &invite);
    sim.advance(secs(9));
    sim.invite(&alice, CARL);
    let invite = sim.expect(&two, "INVITE");
    accept(&mut sim, &alice, &two, &invite);
    sim.advance(secs(2));
    sim.invite(&alice, CARL);
    sim.expect(&one, "INVITE");
}

#[test]
fn one_call_s_trouble_with_a_hop_does_not_fail_another_there() {
    let mut sim = Sim::new();
    let alice = sim.registered("alice");
    sim.host("example.net", &["203.0.113.5"]);
    let only = sim.peer(Transport::Udp, "203.0.113.5:5060");
    let sent = sim.invite(&alice, CARL);
    sim.advance(Duration::from_millis(32_100));
    let timeout = sim.expect(&alice, "408");
    sim.send(&alice, &sent.ack(&timeout));
    sim.kinds(&only);
    sim.invite(&alice, CARL);
    let invite = sim.expect(&only, "INVITE");
    accept(&mut sim, &alice, &only, &invite);
}

#[test]
fn a_name_that_leads_nowhere_is_a_480_with_its_reason() {
    let mut sim = Sim::new();
    let alice = sim.registered("alice");
    let sent = sim.invite(&alice, "sip:carl@nowhere.example.net");
    let refused = sim.expect(&alice, "480");
    let warning = refused.header("Warning");
    assert!(warning.contains("unresolvable"), "{warning}");
    sim.send(&alice, &sent.ack(&refused));
    sim.advance(secs(60));
    assert!(sim.is_idle());
}

#[test]
fn a_large_request_goes_over_tcp_and_over_udp_when_nobody_listens_there() {
    let mut sim = Sim::new();
    let alice = sim.registered("alice");
    sim.host("example.net", &["203.0.113.5"]);
    let over = |sim: &mut Sim, transport| sim.peer(transport, "203.0.113.5:5060");
    let (tcp, udp) = (over(&mut sim, Transport::Tcp), over(&mut sim, Transport::Udp));
    let draft = sim.draft(&alice, "MESSAGE", CARL).body("text/plain", &[b'x'; 1300]);
    sim.send_authorized(&alice, &draft);
    let got = sim.expect(&tcp, "MESSAGE");
    assert!(got.header("Via").starts_with("SIP/2.0/TCP "), "{}", got.header("Via"));
    sim.respond(&tcp, &got, "200 OK");
    sim.expect(&alice, "200");

    sim.unreachable.insert((Transport::Tcp, tcp.flow.remote));
    let draft = sim.draft(&alice, "MESSAGE", CARL).body("text/plain", &[b'x'; 1300]);
    sim.send_authorized(&alice, &draft);
    let got = sim.expect(&udp, "MESSAGE");
    assert!(got.header("Via").starts_with("SIP/2.0/UDP "), "{}", got.header("Via"));
    sim.respond(&udp, &got, "200 OK");
    sim.expect(&alice, "200");

    // the target may say that it is to be UDP, and small ones go there anyway
    for (uri, size) in [("sip:carl@example.net;transport=udp", 1300), (CARL, 300)] {
        let draft = sim.draft(&alice, "MESSAGE", uri).body("text/plain", &vec![b'x'; size]);
        sim.send_authorized(&alice, &draft);
        let got = sim.expect(&udp, "MESSAGE");
        sim.respond(&udp, &got, "200 OK");
        sim.expect(&alice, "200");
    }
}

#[test]
fn a_large_request_to_a_phone_on_udp_stays_on_its_flow() {
    let mut sim = Sim::new();
    let (alice, bob) = (sim.registered("alice"), sim.registered("bob"));
    let draft = sim
        .draft(&alice, "MESSAGE", "sip:bob@example.com")
        .body("text/plain", &[b'x'; 3000]);
    sim.send_authorized(&alice, &draft);
    let got = sim.expect(&bob, "MESSAGE");
    assert_eq!(got.flow.transport, Transport::Udp);
    sim.respond(&bob, &got, "200 OK");
    sim.expect(&alice, "200");
}

#[test]
fn a_response_that_cannot_reach_the_address_goes_where_the_name_in_the_via_leads() {
    for (transport, service, address) in [
        (Transport::Tcp, "_sip._tcp.edge.example.net", "203.0.113.9:5088"),
        (Transport::Tls, "_sips._tcp.edge.example.net", "203.0.113.9:5089"),
    ] {
        let mut sim = Sim::new();
        let port = address.rsplit(':').next().unwrap().parse().unwrap();
        sim.service(service, &[(1, 1, port, "gw.example.net")]);
        sim.host("gw.example.net", &["203.0.113.9"]);
        let (mut alice, bob) = (sim.phone_over("alice", transport), sim.registered("bob"));
        alice.contact = "sip:alice@edge.example.net".to_owned();
        sim.invite(&alice, "sip:bob@example.com");
        let invite = sim.expect(&bob, "INVITE");
        sim.close(&alice);
        let default = alice.flow.transport.default_port();
        sim.unreachable
            .insert((transport, std::net::SocketAddr::new(alice.flow.remote.ip(), default)));
        sim.respond(&bob, &invite, "486 Busy Here");
        let named = sim.peer(transport, address);
        let got = sim.expect(&named, "486");
        assert!(got.header("Via").contains("edge.example.net"), "{}", got.header("Via"));
        sim.expect(&bob, "ACK");
        // the ACK never comes, since nobody is there in truth
        sim.advance(secs(120));
        assert!(sim.is_idle());
    }
}

#[test]
fn a_response_that_reaches_nobody_is_given_up() {
    let mut sim = Sim::new();
    sim.host("edge.example.net", &["203.0.113.9"]);
    let (mut alice, bob) = (sim.phone_over("alice", Transport::Tcp), sim.registered("bob"));
    alice.contact = "sip:alice@edge.example.net".to_owned();
    sim.invite(&alice, "sip:bob@example.com");
    let invite = sim.expect(&bob, "INVITE");
    sim.close(&alice);
    for ip in [alice.flow.remote.ip(), [203, 0, 113, 9].into()] {
        sim.unreachable.insert((Transport::Tcp, (ip, 5060).into()));
    }
    sim.respond(&bob, &invite, "180 Ringing");
    sim.respond(&bob, &invite, "486 Busy Here");
    sim.expect(&bob, "ACK");
    sim.advance(secs(120));
    assert!(sim.is_idle());
}

#[test]
fn within_a_dialog_another_place_of_the_same_name_takes_over() {
    let mut sim = Sim::new();
    let alice = sim.registered("alice");
    sim.host("example.net", &["203.0.113.5", "203.0.113.6"]);
    let [one, two] = ["203.0.113.5:5060", "203.0.113.6:5060"].map(|address| sim.peer(Transport::Udp, address));
    let sent = sim.invite(&alice, CARL);
    let invite = sim.expect(&one, "INVITE");
    sim.respond(&one, &invite, "200 OK");
    let answer = sim.expect(&alice, "200");
    let mut dialog = Dialog::of_caller(&sent, &answer);
    let ack = dialog.ack(&mut sim, &alice);
    sim.send(&alice, &ack);
    sim.expect(&one, "ACK");

    sim.unreachable.insert((Transport::Udp, one.flow.remote));
    let info = dialog.request(&mut sim, &alice, "INFO");
    sim.send(&alice, &info);
    let got = sim.expect(&two, "INFO");
    sim.respond(&two, &got, "200 OK");
    sim.expect(&alice, "200");

    // it is known by now, and tried last
    sim.unreachable.clear();
    let info = dialog.request(&mut sim, &alice, "INFO");
    sim.send(&alice, &info);
    let got = sim.expect(&two, "INFO");
    sim.respond(&two, &got, "200 OK");
    sim.expect(&alice, "200");

    // where the name has no place any more, the dialog's own is left
    sim.host("example.net", &[]);
    let bye = dialog.request(&mut sim, &alice, "BYE");
    sim.send(&alice, &bye);
    let got = sim.expect(&one, "BYE");
    sim.respond(&one, &got, "200 OK");
    sim.expect(&alice, "200");
    sim.nothing_else();
}

#[test]
fn within_a_dialog_a_hop_that_is_gone_with_its_name_is_a_480() {
    let mut sim = Sim::new();
    let alice = sim.registered("alice");
    sim.host("example.net", &["203.0.113.5"]);
    let one = sim.peer(Transport::Udp, "203.0.113.5:5060");
    let sent = sim.invite(&alice, CARL);
    let invite = sim.expect(&one, "INVITE");
    sim.respond(&one, &invite, "200 OK");
    let answer = sim.expect(&alice, "200");
    let mut dialog = Dialog::of_caller(&sent, &answer);
    sim.unreachable.insert((Transport::Udp, one.flow.remote));
    let bye = dialog.request(&mut sim, &alice, "BYE");
    sim.send(&alice, &bye);
    sim.expect(&alice, "480");
    sim.advance(secs(120));
    assert!(sim.is_idle());
}
