//! Where requests go (RFC 3261 §16.4, §16.5, §16.6 steps 6 and 7, §16.12; RFC 3263).

use ringbinder::sip::hop::Transport;

use super::caller_and_phones;
use crate::support::{Dialog, Sim};

const BOB: &str = "sip:bob@example.com";

#[test]
fn a_foreign_domain_is_looked_up() {
    let mut sim = Sim::new();
    let alice = sim.registered("alice");
    sim.host("example.net", &["203.0.113.5"]);
    for (uri, transport, address) in [
        ("sip:carl@example.net", Transport::Udp, "203.0.113.5:5060"),
        ("sip:carl@Example.NET:5080", Transport::Udp, "203.0.113.5:5080"),
        ("sip:carl@example.net;transport=tcp", Transport::Tcp, "203.0.113.5:5060"),
        ("sips:carl@example.net", Transport::Tls, "203.0.113.5:5061"),
        ("sip:carl@203.0.113.6:5090", Transport::Udp, "203.0.113.6:5090"),
        ("sip:carl@[2001:db8::9]:5090", Transport::Udp, "[2001:db8::9]:5090"),
        (
            "sip:carl@other.invalid;maddr=203.0.113.7",
            Transport::Udp,
            "203.0.113.7:5060",
        ),
    ] {
        let peer = sim.peer(transport, address);
        let draft = sim.draft(&alice, "MESSAGE", uri);
        sim.send_authorized(&alice, &draft);
        let got = sim.expect(&peer, "MESSAGE");
        assert_eq!(got.uri(), uri);
        sim.respond(&peer, &got, "200 OK");
        sim.expect(&alice, "200");
    }
    sim.nothing_else();
}

#[test]
fn the_next_address_is_tried_when_one_fails() {
    let mut sim = Sim::new();
    let alice = sim.registered("alice");
    sim.host("example.net", &["203.0.113.5", "203.0.113.6"]);
    let (first, second) = (
        sim.peer(Transport::Udp, "203.0.113.5:5060"),
        sim.peer(Transport::Udp, "203.0.113.6:5060"),
    );
    sim.unreachable.insert((Transport::Udp, first.flow.remote));
    sim.invite(&alice, "sip:carl@example.net");
    let got = sim.expect(&second, "INVITE");
    sim.respond(&second, &got, "200 OK");
    sim.expect(&alice, "200");
    sim.nothing_else();
}

#[test]
fn the_next_address_is_tried_after_a_503() {
    let mut sim = Sim::new();
    let alice = sim.registered("alice");
    sim.host("example.net", &["203.0.113.5", "203.0.113.6"]);
    let (first, second) = (
        sim.peer(Transport::Udp, "203.0.113.5:5060"),
        sim.peer(Transport::Udp, "203.0.113.6:5060"),
    );
    sim.invite(&alice, "sip:carl@example.net");
    let got = sim.expect(&first, "INVITE");
    sim.respond(&first, &got, "503 Service Unavailable");
    sim.expect(&first, "ACK");
    let again = sim.expect(&second, "INVITE");
    assert_ne!(again.branch(), got.branch());
    sim.respond(&second, &again, "200 OK");
    sim.expect(&alice, "200");
    sim.nothing_else();
}

#[test]
fn a_name_without_an_address_is_unreachable() {
    let mut sim = Sim::new();
    let alice = sim.registered("alice");
    for uri in [
        "sip:carl@nowhere.invalid",
        "sips:carl@nowhere.invalid",
        "sip:carl@example.net;transport=sctp",
    ] {
        sim.invite(&alice, uri);
        sim.expect(&alice, "480");
    }
}

#[test]
fn a_route_that_names_us_is_taken_out() {
    let mut sim = Sim::new();
    let (alice, phones) = caller_and_phones(&mut sim, 1);
    for route in [
        "<sip:example.com;lr>",
        "<sip:192.0.2.1:5060;lr>",
        "<sip:192.0.2.1;lr;transport=udp>",
        "<sip:SIP.example.com;lr>",
        "<sip:192.0.2.1:5060;transport=tcp;lr>, <sip:192.0.2.1:5060;lr>",
    ] {
        let draft = sim.draft(&alice, "INVITE", BOB).add("Route", route);
        sim.invite_with(&alice, &draft);
        let got = sim.expect(&phones[0], "INVITE");
        assert!(!got.has("Route"), "{}", got.text());
        assert_eq!(got.uri(), phones[0].contact);
    }
}

#[test]
fn a_further_route_is_followed_for_an_authenticated_user() {
    let mut sim = Sim::new();
    let (alice, phones) = caller_and_phones(&mut sim, 1);
    let peer = sim.peer(Transport::Udp, "203.0.113.5:5070");
    let draft = sim
        .draft(&alice, "INVITE", BOB)
        .add("Route", "<sip:example.com;lr>,<sip:203.0.113.5:5070;lr>")
        .add("Route", "<sip:later.invalid;lr>");
    sim.invite_with(&alice, &draft);
    let got = sim.expect(&peer, "INVITE");
    assert_eq!(got.uri(), BOB);
    assert_eq!(
        got.values("Route"),
        ["<sip:203.0.113.5:5070;lr>", "<sip:later.invalid;lr>"]
    );
    assert!(sim.receive(&phones[0]).is_none());
}

#[test]
fn the_headers_of_a_contact_are_none_of_the_request_uri() {
    let mut sim = Sim::new();
    let alice = sim.registered("alice");
    let bob = sim.phone("bob");
    let contact = bob.contact.replace("sip:bob", "sip:b?b");
    let draft = sim.draft(&bob, "REGISTER", "sip:example.com");
    let draft = draft.set("Contact", &format!("<{contact}?subject=project>"));
    sim.send_authorized(&bob, &draft);
    sim.expect(&bob, "200");
    sim.invite(&alice, "sip:bob@example.com");
    assert_eq!(sim.expect(&bob, "INVITE").uri(), contact);
}

#[test]
fn a_strict_router_gets_its_own_name_as_request_uri() {
    let mut sim = Sim::new();
    let (alice, _) = caller_and_phones(&mut sim, 1);
    let peer = sim.peer(Transport::Udp, "203.0.113.5:5070");
    let draft = sim
        .draft(&alice, "INVITE", "sip:carl@example.net")
        .add("Route", "<sip:203.0.113.5:5070>, <sip:later.invalid;lr>");
    sim.invite_with(&alice, &draft);
    let got = sim.expect(&peer, "INVITE");
    assert_eq!(got.uri(), "sip:203.0.113.5:5070");
    assert_eq!(
        got.values("Route"),
        ["<sip:later.invalid;lr>", "<sip:carl@example.net>"]
    );
}

/// RFC 3261 §16.12.1.1: U1, P1 (this server), P2, U2.
#[test]
fn rfc3261_16_12_1_1_a_call_between_two_domains() {
    let mut sim = Sim::new();
    let u1 = sim.registered("alice");
    let p2 = sim.peer(Transport::Udp, "203.0.113.2:5060");
    sim.host("domain.invalid", &["203.0.113.2"]);
    let sent = sim.invite(&u1, "sip:callee@domain.invalid");
    let invite = sim.expect(&p2, "INVITE");
    assert_eq!(invite.uri(), "sip:callee@domain.invalid");
    let [ours] = invite.values("Record-Route")[..] else {
        panic!("{}", invite.text());
    };
    let ours = ours.to_owned();

    // P2 records itself and U2 answers with both.
    let p2_route = "<sip:203.0.113.2;lr>";
    let answer = sim.answer(&p2, &invite, "200 OK");
    let answer = answer.set("Contact", "<sip:callee@u2.domain.invalid>");
    let answer = answer.set("Record-Route", &format!("{p2_route}, {ours}"));
    sim.deliver(&invite.flow, answer.bytes());
    let ok = sim.expect(&u1, "200");
    assert_eq!(ok.values("Record-Route"), [p2_route, &ours]);

    let caller = Dialog::of_caller(&sent, &ok);
    let ack = caller.ack(&mut sim, &u1);
    assert_eq!(ack.uri(), "sip:callee@u2.domain.invalid");
    sim.send(&u1, &ack);
    let got = sim.expect(&p2, "ACK");
    assert_eq!(got.uri(), "sip:callee@u2.domain.invalid");
    assert_eq!(got.values("Route"), [p2_route]);

    // U2 hangs up: P2 has taken its own Route out.
    let mut callee = Dialog::of_callee(&invite, &answer);
    callee.routes = vec![ours];
    let bye = callee.request(&mut sim, &p2, "BYE");
    sim.send(&p2, &bye);
    let got = sim.expect(&u1, "BYE");
    assert_eq!(got.uri(), u1.contact);
    assert!(!got.has("Route"), "{}", got.text());
    sim.respond(&u1, &got, "200 OK");
    sim.expect(&p2, "200");
    sim.nothing_else();
}

/// RFC 3261 §16.12.1.2: the neighbour is a strict router.
#[test]
fn rfc3261_16_12_1_2_a_strict_router_on_the_way() {
    let mut sim = Sim::new();
    let u1 = sim.registered("alice");
    let p3 = sim.peer(Transport::Udp, "203.0.113.3:5060");
    let sent = sim.invite(&u1, "sip:callee@203.0.113.3");
    let invite = sim.expect(&p3, "INVITE");
    let ours = invite.values("Record-Route")[0].to_owned();
    let answer = sim
        .answer(&p3, &invite, "200 OK")
        .set("Contact", "<sip:callee@u2.domain.invalid>");
    let answer = answer.set(
        "Record-Route",
        &format!("<sip:p4.domain.invalid;lr>, <sip:203.0.113.3>, {ours}"),
    );
    sim.deliver(&invite.flow, answer.bytes());
    let ok = sim.expect(&u1, "200");

    // To a strict router the Request-URI goes to the end of the Routes, and its own name becomes the Request-URI.
    let mut caller = Dialog::of_caller(&sent, &ok);
    let bye = caller.request(&mut sim, &u1, "INFO");
    sim.send(&u1, &bye);
    let got = sim.expect(&p3, "INFO");
    assert_eq!(got.uri(), "sip:203.0.113.3");
    assert_eq!(
        got.values("Route"),
        ["<sip:p4.domain.invalid;lr>", "<sip:callee@u2.domain.invalid>"]
    );
    sim.respond(&p3, &got, "200 OK");
    sim.expect(&u1, "200");

    // From a strict router our own name comes as Request-URI, and the real one as the last Route.
    let uri = crate::support::address(&ours);
    let mut callee = Dialog::of_callee(&invite, &answer);
    callee.routes = vec![format!("<{}>", u1.contact)];
    let bye = callee.request(&mut sim, &p3, "BYE").with_uri(&uri);
    sim.send(&p3, &bye);
    let got = sim.expect(&u1, "BYE");
    assert_eq!(got.uri(), u1.contact);
    assert!(!got.has("Route"), "{}", got.text());
    sim.respond(&u1, &got, "200 OK");
    sim.expect(&p3, "200");
    sim.nothing_else();
}

/// RFC 3261 §16.12.1.3, as it is done since RFC 5658: each side of the server has its own Record-Route.
#[test]
fn rfc3261_16_12_1_3_each_side_gets_a_route_it_can_reach() {
    let mut sim = Sim::new();
    let u1 = sim.registered_over("alice", Transport::Tls);
    let u2 = sim.registered("bob");
    sim.invite(&u1, BOB);
    let invite = sim.expect(&u2, "INVITE");
    let [to_callee, to_caller] = invite.values("Record-Route")[..] else {
        panic!("{}", invite.text());
    };
    assert!(to_callee.ends_with("@192.0.2.1:5060;lr>"), "{to_callee}");
    assert!(to_caller.ends_with("@192.0.2.1:5061;transport=tls;lr>"), "{to_caller}");
}

#[test]
fn two_address_families_have_two_record_routes() {
    let mut sim = Sim::new();
    let alice = sim.registered("alice");
    let peer = sim.peer(Transport::Udp, "[2001:db8::5]:5060");
    sim.invite(&alice, "sip:carl@[2001:db8::5]");
    let invite = sim.expect(&peer, "INVITE");
    let [to_peer, to_alice] = invite.values("Record-Route")[..] else {
        panic!("{}", invite.text());
    };
    assert!(to_peer.ends_with("@[2001:db8::1]:5060;lr>"), "{to_peer}");
    assert!(to_alice.ends_with("@192.0.2.1:5060;lr>"), "{to_alice}");
}

#[test]
fn one_transport_has_one_record_route() {
    let mut sim = Sim::new();
    let (alice, phones) = caller_and_phones(&mut sim, 1);
    let draft = sim
        .draft(&alice, "INVITE", BOB)
        .add("Record-Route", "<sip:earlier.invalid;lr>");
    sim.invite_with(&alice, &draft);
    let invite = sim.expect(&phones[0], "INVITE");
    let [ours, earlier] = invite.values("Record-Route")[..] else {
        panic!("{}", invite.text());
    };
    assert!(ours.ends_with("@192.0.2.1:5060;lr>"), "{ours}");
    assert_eq!(earlier, "<sip:earlier.invalid;lr>");
}

#[test]
fn requests_that_make_no_dialog_are_not_recorded() {
    let mut sim = Sim::new();
    let (alice, phones) = caller_and_phones(&mut sim, 1);
    for method in ["MESSAGE", "OPTIONS", "PUBLISH"] {
        let draft = sim.draft(&alice, method, BOB);
        sim.send_authorized(&alice, &draft);
        assert!(!sim.expect(&phones[0], method).has("Record-Route"));
    }
    for method in ["INVITE", "SUBSCRIBE", "REFER"] {
        let draft = sim.draft(&alice, method, BOB);
        sim.send_authorized(&alice, &draft);
        assert!(sim.expect(&phones[0], method).has("Record-Route"));
        sim.delivered.clear();
    }
}

#[test]
fn sips_is_recorded_as_sips() {
    let mut sim = Sim::new();
    let alice = sim.registered_over("alice", Transport::Tls);
    let mut bob = sim.phone_over("bob", Transport::Tls);
    bob.contact = bob.contact.replacen("sip:", "sips:", 1);
    sim.register(&bob);
    sim.invite(&alice, "sips:bob@example.com");
    let invite = sim.expect(&bob, "INVITE");
    let [ours] = invite.values("Record-Route")[..] else {
        panic!("{}", invite.text());
    };
    assert!(ours.starts_with("<sips:"), "{ours}");
}

#[test]
fn what_a_listener_advertises_is_our_name() {
    let mut sim = Sim::with_settings(|settings| {
        for listener in &mut settings.listeners {
            listener.advertise = match listener.transport {
                Transport::Tcp => Some("nat.example.net:7060".into()),
                _ => Some("203.0.113.200".into()),
            };
        }
    });
    let (alice, bob) = (sim.registered_over("alice", Transport::Tcp), sim.registered("bob"));
    let draft = sim
        .draft(&alice, "INVITE", BOB)
        .add("Route", "<sip:nat.example.net:7060;transport=tcp;lr>");
    let sent = sim.invite_with(&alice, &draft);
    let invite = sim.expect(&bob, "INVITE");
    let via = invite.values("Via")[0];
    assert!(via.starts_with("SIP/2.0/UDP 203.0.113.200:5060;"), "{via}");
    let [to_bob, to_alice] = invite.values("Record-Route")[..] else {
        panic!("{}", invite.text());
    };
    assert!(to_bob.ends_with("@203.0.113.200:5060;lr>"), "{to_bob}");
    assert!(
        to_alice.ends_with("@nat.example.net:7060;transport=tcp;lr>"),
        "{to_alice}"
    );

    sim.respond(&bob, &invite, "200 OK");
    let ok = sim.expect(&alice, "200");
    let ack = Dialog::of_caller(&sent, &ok).ack(&mut sim, &alice);
    sim.send(&alice, &ack);
    assert!(!sim.expect(&bob, "ACK").has("Route"));
}

#[test]
fn a_wildcard_listener_goes_by_the_addresses_of_the_machine() {
    let mut sim = Sim::with_settings(|settings| {
        settings.local_addresses = vec!["192.0.2.1".parse().unwrap()];
        for listener in &mut settings.listeners {
            if listener.bind.is_ipv4() {
                listener.bind.set_ip([0, 0, 0, 0].into());
            }
        }
    });
    let mut phone = |user: &str| {
        let mut phone = sim.phone(user);
        phone.flow.local = "192.0.2.1:5060".parse().unwrap();
        sim.register(&phone);
        phone
    };
    let (alice, bob) = (phone("alice"), phone("bob"));
    let draft = sim.draft(&alice, "INVITE", BOB).add("Route", "<sip:192.0.2.1;lr>");
    sim.invite_with(&alice, &draft);
    let invite = sim.expect(&bob, "INVITE");
    assert!(!invite.has("Route"), "{}", invite.text());
    assert!(
        invite.values("Via")[0].starts_with("SIP/2.0/UDP 192.0.2.1:5060;"),
        "{}",
        invite.text()
    );
    assert!(
        invite.header("Record-Route").contains("@192.0.2.1:5060;lr>"),
        "{}",
        invite.text()
    );
}

#[test]
fn a_request_to_our_address_with_a_user_is_nobodys() {
    let mut sim = Sim::new();
    let (alice, _) = caller_and_phones(&mut sim, 1);
    let draft = sim.draft(&alice, "INVITE", "sip:bob@192.0.2.1:5060");
    sim.send_authorized(&alice, &draft);
    sim.expect(&alice, "404");
}

#[test]
fn redirections_are_followed_where_that_is_switched_on() {
    let mut sim = Sim::with_settings(|settings| settings.recurse = true);
    let (alice, phones) = caller_and_phones(&mut sim, 2);
    let (carol, peer) = (sim.registered("carol"), sim.peer(Transport::Udp, "203.0.113.5:5060"));
    sim.invite(&alice, BOB);
    let invites: Vec<_> = phones.iter().map(|phone| sim.expect(phone, "INVITE")).collect();
    let answer = sim.answer(&phones[0], &invites[0], "302 Moved Temporarily");
    let contacts = format!(
        "<sip:carol@example.com>, <sip:carl@203.0.113.5>, <{}>",
        phones[1].contact
    );
    sim.deliver(&invites[0].flow, answer.add("Contact", &contacts).bytes());
    sim.expect(&phones[0], "ACK");
    assert_eq!(sim.expect(&carol, "INVITE").uri(), carol.contact);
    let invite = sim.expect(&peer, "INVITE");
    assert_eq!(invite.uri(), "sip:carl@203.0.113.5");
    // Who was tried is not tried again.
    sim.nothing_else();
    sim.respond(&peer, &invite, "200 OK");
    sim.expect(&alice, "200");
    sim.nothing_else();
}

#[test]
fn redirections_in_a_circle_come_to_an_end() {
    let mut sim = Sim::with_settings(|settings| settings.recurse = true);
    let (alice, phones) = caller_and_phones(&mut sim, 1);
    sim.invite(&alice, BOB);
    let invite = sim.expect(&phones[0], "INVITE");
    let answer = sim.answer(&phones[0], &invite, "302 Moved Temporarily");
    sim.deliver(&invite.flow, answer.add("Contact", "<sip:bob@example.com>").bytes());
    sim.expect(&phones[0], "ACK");
    sim.expect(&alice, "302");
    sim.nothing_else();
}
