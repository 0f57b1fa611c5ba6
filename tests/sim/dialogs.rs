//! Requests within a dialog: the Record-Route token, the flows of both sides, and senders without a Route
//! (RFC 3261 §12.2, §16.4, §16.11; RFC 5626 §5.3).

use std::time::Duration;

use ringbinder::sip::domain::UriCalling;
use ringbinder::sip::hop::Transport;

use crate::support::{Dialog, Draft, Got, Phone, Sim};

const BOB: &str = "sip:bob@example.com";

/// A call that was answered and acknowledged.
struct Call {
    sent: Draft,
    invite: Got,
    caller: Dialog,
    callee: Dialog,
}

/// Every pair of transports, and Contacts that nobody can reach.
const PAIRS: [(Transport, Transport); 6] = [
    (Transport::Tls, Transport::Tls),
    (Transport::Udp, Transport::Udp),
    (Transport::Tcp, Transport::Tcp),
    (Transport::Udp, Transport::Tls),
    (Transport::Tls, Transport::Udp),
    (Transport::Tcp, Transport::Udp),
];

#[test]
fn ack_reinvite_and_bye_arrive_in_each_direction() {
    for (first, second) in PAIRS {
        let mut sim = Sim::new();
        let (alice, bob) = behind_nat(&mut sim, first, second);
        let mut call = answered(&mut sim, &alice, &bob);

        let ack = call.caller.ack(&mut sim, &alice);
        sim.send(&alice, &ack);
        let got = sim.expect(&bob, "ACK");
        assert_eq!((got.uri(), got.flow), (&*bob.contact, bob.flow));
        assert!(!got.has("Route"), "{}", got.text());

        for (dialog, from, to) in [(&mut call.callee, &bob, &alice), (&mut call.caller, &alice, &bob)] {
            let reinvite = dialog.request(&mut sim, from, "INVITE");
            sim.send(from, &reinvite);
            sim.expect(from, "100");
            let got = sim.expect(to, "INVITE");
            assert_eq!((got.uri(), got.flow), (&*to.contact, to.flow));
            assert!(!got.has("Route"), "{}", got.text());
            sim.respond(to, &got, "200 OK");
            sim.expect(from, "200");
            let ack = dialog.ack(&mut sim, from);
            sim.send(from, &ack);
            sim.expect(to, "ACK");
        }
        let bye = call.callee.request(&mut sim, &bob, "BYE");
        sim.send(&bob, &bye);
        let got = sim.expect(&alice, "BYE");
        assert_eq!((got.uri(), got.flow), (&*alice.contact, alice.flow));
        sim.respond(&alice, &got, "200 OK");
        sim.expect(&bob, "200");
        sim.nothing_else();
        sim.advance(Duration::from_secs(120));
        sim.nothing_else();
        assert!(sim.is_idle());
    }
}

#[test]
fn a_stopping_server_takes_no_new_calls_and_lets_those_there_are_end() {
    let mut sim = Sim::new();
    let (alice, bob) = behind_nat(&mut sim, Transport::Udp, Transport::Tcp);
    let mut call = answered(&mut sim, &alice, &bob);
    let ack = call.caller.ack(&mut sim, &alice);
    sim.send(&alice, &ack);
    sim.expect(&bob, "ACK");
    sim.stop();

    let invite = sim.draft(&alice, "INVITE", BOB);
    sim.send(&alice, &invite);
    let refused = sim.expect(&alice, "503");
    assert!(refused.header("Retry-After").parse::<u32>().unwrap() >= 5);
    let bye = call.callee.request(&mut sim, &bob, "BYE");
    sim.send(&bob, &bye);
    let got = sim.expect(&alice, "BYE");
    sim.respond(&alice, &got, "200 OK");
    sim.expect(&bob, "200");
    sim.nothing_else();
}

#[test]
fn a_dialog_outlives_everything_that_is_kept_of_it() {
    let mut sim = Sim::new();
    let (alice, bob) = behind_nat(&mut sim, Transport::Tls, Transport::Udp);
    let mut call = answered(&mut sim, &alice, &bob);
    sim.advance(Duration::from_secs(7200));
    assert!(sim.is_idle());
    let bye = call.callee.request(&mut sim, &bob, "BYE");
    sim.send(&bob, &bye);
    sim.expect(&alice, "BYE");
    let info = call.caller.request(&mut sim, &alice, "INFO");
    sim.send(&alice, &info);
    sim.expect(&bob, "INFO");
}

#[test]
fn the_token_needs_no_escaping() {
    let mut sim = Sim::new();
    let (alice, bob) = behind_nat(&mut sim, Transport::Tls, Transport::Udp);
    let call = answered(&mut sim, &alice, &bob);
    for route in &call.caller.routes {
        let user = token(route);
        assert!(user.len() > 40, "{route}");
        assert!(
            user.bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)),
            "{route}"
        );
    }
}

#[test]
fn a_token_of_another_call_is_refused() {
    let mut sim = Sim::new();
    let (alice, bob) = behind_nat(&mut sim, Transport::Udp, Transport::Udp);
    let mut call = answered(&mut sim, &alice, &bob);
    let mallory = sim.phone("mallory");
    let bye = call.caller.request(&mut sim, &mallory, "BYE");

    let other_call = bye
        .clone()
        .set("Call-ID", "another")
        .set("From", "<sip:m@elsewhere.net>;tag=m");
    sim.send(&mallory, &other_call);
    sim.expect(&mallory, "403");
    let local = bye.clone().set("Call-ID", "another");
    sim.send(&mallory, &local);
    sim.expect(&mallory, "407");
    let branch = sim.branch();
    let tags = bye
        .clone()
        .branch(&branch)
        .set("From", "<sip:alice@example.com>;tag=x")
        .set("To", "<sip:bob@example.com>;tag=y");
    sim.send(&mallory, &tags);
    sim.expect(&mallory, "407");
    sim.nothing_else();

    let ack = call.caller.ack(&mut sim, &mallory).set("Call-ID", "another");
    sim.send(&mallory, &ack);
    sim.nothing_else();
}

#[test]
fn a_user_with_a_wrong_token_is_challenged_where_everybody_may_call() {
    let mut sim = Sim::with(|domain| domain.uri_calling = UriCalling::Unrestricted);
    let bob = sim.registered("bob");
    let mallory = sim.phone("mallory");
    for (from, kind) in [("sip:alice@example.com", "407"), ("sip:m@elsewhere.net", "403")] {
        let bye = sim.draft(&mallory, "BYE", "sip:bob@example.com");
        let bye = bye
            .set("From", &format!("<{from}>;tag=a"))
            .set("To", "<sip:bob@example.com>;tag=b")
            .add("Route", "<sip:wrong@example.com;lr>");
        sim.send(&mallory, &bye);
        sim.expect(&mallory, kind);
    }
    sim.nothing_to(&bob);
}

#[test]
fn a_token_with_any_byte_changed_is_refused() {
    let mut sim = Sim::new();
    sim.is_traced = false;
    let (alice, bob) = behind_nat(&mut sim, Transport::Udp, Transport::Udp);
    let mut call = answered(&mut sim, &alice, &bob);
    let route = call.caller.routes[0].clone();
    let token = token(&route).to_owned();
    let mut forged = Vec::new();
    for index in 0..token.len() {
        let mut bytes = token.clone().into_bytes();
        bytes[index] = if bytes[index] == b'A' { b'B' } else { b'A' };
        forged.push(String::from_utf8(bytes).unwrap());
    }
    forged.extend([
        token[1..].to_owned(),
        format!("{token}A"),
        format!("A{token}"),
        "x".to_owned(),
    ]);
    for token_now in forged {
        let bye = call
            .caller
            .request(&mut sim, &alice, "BYE")
            .set("Route", &route.replace(&token, &token_now));
        sim.send(&alice, &bye);
        sim.expect(&alice, "407");
        let ack = call
            .caller
            .ack(&mut sim, &alice)
            .set("Route", &route.replace(&token, &token_now));
        sim.send(&alice, &ack);
        sim.nothing_else();
    }
}

#[test]
fn with_a_wrong_token_and_right_credentials_it_is_a_new_request() {
    let mut sim = Sim::new();
    let (alice, bob) = behind_nat(&mut sim, Transport::Udp, Transport::Udp);
    let mut call = answered(&mut sim, &alice, &bob);
    // The remote target is a private address: whoever is authenticated may send there, as to any foreign host.
    let bye = call
        .caller
        .request(&mut sim, &alice, "BYE")
        .set("Route", "<sip:forged@192.0.2.1:5060;lr>");
    sim.send_authorized(&alice, &bye);
    sim.nothing_to(&bob);
}

#[test]
fn a_real_token_leads_to_the_other_side_whatever_the_request_uri_says() {
    let mut sim = Sim::new();
    let (alice, bob) = behind_nat(&mut sim, Transport::Tls, Transport::Tls);
    let carol = sim.registered("carol");
    let mut call = answered(&mut sim, &alice, &bob);
    for uri in [
        "sip:carol@example.com",
        "sip:victim@203.0.113.66",
        "sip:alice@example.com",
        "sip:192.0.2.1:5060",
    ] {
        let info = call.caller.request(&mut sim, &alice, "INFO").with_uri(uri);
        sim.send(&alice, &info);
        let got = sim.expect(&bob, "INFO");
        assert_eq!(got.uri(), uri);
        sim.nothing_else();
        sim.nothing_to(&carol);
    }
    // Further Routes go along and do not choose the hop either.
    let info = call
        .caller
        .request(&mut sim, &alice, "INFO")
        .add("Route", "<sip:203.0.113.66;lr>");
    sim.send(&alice, &info);
    let got = sim.expect(&bob, "INFO");
    assert_eq!(got.values("Route"), ["<sip:203.0.113.66;lr>"]);
    sim.nothing_else();
}

#[test]
fn a_stranger_with_a_real_token_reaches_the_other_side_only() {
    let mut sim = Sim::new();
    let (alice, bob) = behind_nat(&mut sim, Transport::Udp, Transport::Udp);
    let mut call = answered(&mut sim, &alice, &bob);
    let thief = sim.phone("thief");
    let info = call
        .caller
        .request(&mut sim, &thief, "INFO")
        .with_uri("sip:victim@203.0.113.66");
    sim.send(&thief, &info);
    let got = sim.expect(&bob, "INFO");
    assert_eq!(got.uri(), "sip:victim@203.0.113.66");
    sim.nothing_else();
}

#[test]
fn a_token_without_a_to_tag_leads_nowhere() {
    let mut sim = Sim::new();
    let (alice, bob) = behind_nat(&mut sim, Transport::Udp, Transport::Udp);
    let mut call = answered(&mut sim, &alice, &bob);
    let carol = sim.registered("carol");
    let invite = call
        .caller
        .request(&mut sim, &alice, "INVITE")
        .with_uri("sip:carol@example.com");
    let invite = invite.set("To", "<sip:carol@example.com>");
    sim.send(&alice, &invite);
    let challenge = sim.expect(&alice, "407");
    sim.send(&alice, &invite.ack(&challenge));
    let invite = sim.authorized(&alice, &invite, &challenge);
    sim.send(&alice, &invite);
    sim.expect(&alice, "100");
    sim.expect(&carol, "INVITE");
    sim.nothing_else();
}

#[test]
fn in_dialog_requests_need_no_credentials_and_lose_those_they_have() {
    let mut sim = Sim::new();
    let (alice, bob) = behind_nat(&mut sim, Transport::Udp, Transport::Udp);
    let mut call = answered(&mut sim, &alice, &bob);
    let credentials = call.sent.header("Proxy-Authorization").to_owned();
    let bye = call
        .caller
        .request(&mut sim, &alice, "BYE")
        .add("Proxy-Authorization", &credentials);
    sim.send(&alice, &bye);
    let got = sim.expect(&bob, "BYE");
    assert!(!got.has("Proxy-Authorization"));
}

#[test]
fn the_way_of_an_ack_is_that_of_its_request_only() {
    let mut sim = Sim::new();
    let (alice, bob) = behind_nat(&mut sim, Transport::Udp, Transport::Udp);
    let call = answered(&mut sim, &alice, &bob);
    let ack = call.caller.ack(&mut sim, &alice).body("application/sdp", b"v=0\r\n");
    sim.send(&alice, &ack);
    let got = sim.expect(&bob, "ACK");
    assert_eq!(got.message.body(), b"v=0\r\n");
    assert_eq!(got.header("Max-Forwards"), "69");
    assert_eq!(got.values("Via").len(), 2);
    sim.nothing_else();
    // The phone repeats its 200, the caller its ACK.
    sim.respond(&bob, &call.invite, "200 OK");
    sim.expect(&alice, "200");
    sim.send(&alice, &ack);
    let again = sim.expect(&bob, "ACK");
    assert_eq!(again.message.bytes(), got.message.bytes());
}

#[test]
fn when_the_flow_is_gone_tcp_is_tried_where_it_was() {
    let mut sim = Sim::new();
    let (alice, bob) = behind_nat(&mut sim, Transport::Tcp, Transport::Udp);
    let mut call = answered(&mut sim, &alice, &bob);
    sim.close(&alice);
    let bye = call.callee.request(&mut sim, &bob, "BYE");
    sim.send(&bob, &bye);
    // A new connection to the address that the old one had.
    let got = sim.expect(&alice, "BYE");
    assert_ne!(got.flow.connection, alice.flow.connection);
}

#[test]
fn when_a_tls_flow_is_gone_the_other_side_is_gone() {
    let mut sim = Sim::new();
    let (alice, bob) = behind_nat(&mut sim, Transport::Tls, Transport::Udp);
    let mut call = answered(&mut sim, &alice, &bob);
    sim.close(&alice);
    let bye = call.callee.request(&mut sim, &bob, "BYE");
    sim.send(&bob, &bye);
    sim.expect(&bob, "480");
    sim.nothing_else();
}

#[test]
fn two_phones_on_one_flow_talk_to_each_other() {
    let mut sim = Sim::new();
    let alice = sim.registered("alice");
    let bob = Phone {
        user: "bob".to_owned(),
        contact: alice.contact.replace("alice", "bob"),
        tag: "tag-bob".to_owned(),
        ..alice.clone()
    };
    sim.register(&bob);
    let sent = sim.invite(&alice, BOB);
    let invite = sim.expect(&bob, "INVITE");
    let answer = sim.respond(&bob, &invite, "200 OK");
    let ok = sim.expect(&alice, "200");
    let (mut caller, mut callee) = (Dialog::of_caller(&sent, &ok), Dialog::of_callee(&invite, &answer));
    let ack = caller.ack(&mut sim, &alice);
    sim.send(&alice, &ack);
    sim.expect(&bob, "ACK");
    let info = caller.request(&mut sim, &alice, "INFO");
    sim.send(&alice, &info);
    assert_eq!(sim.expect(&bob, "INFO").uri(), bob.contact);
    let bye = callee.request(&mut sim, &bob, "BYE");
    sim.send(&bob, &bye);
    assert_eq!(sim.expect(&alice, "BYE").uri(), alice.contact);
}

#[test]
fn an_early_dialog_has_its_way_too() {
    let mut sim = Sim::new();
    let (alice, bob) = behind_nat(&mut sim, Transport::Tls, Transport::Udp);
    let sent = sim.invite(&alice, BOB);
    let invite = sim.expect(&bob, "INVITE");
    let answer = sim.answer(&bob, &invite, "183 Session Progress");
    let answer = answer.add("Require", "100rel").add("RSeq", "1");
    sim.deliver(&invite.flow, answer.bytes());
    let progress = sim.expect(&alice, "183");
    let mut caller = Dialog::of_caller(&sent, &progress);
    let prack = caller.request(&mut sim, &alice, "PRACK").add("RAck", "1 1 INVITE");
    sim.send(&alice, &prack);
    let got = sim.expect(&bob, "PRACK");
    sim.respond(&bob, &got, "200 OK");
    sim.expect(&alice, "200");
}

#[test]
fn notifications_come_back_by_the_way_of_their_subscription() {
    let mut sim = Sim::new();
    let (alice, bob) = behind_nat(&mut sim, Transport::Tls, Transport::Udp);
    for method in ["SUBSCRIBE", "REFER"] {
        let draft = sim
            .draft(&alice, method, BOB)
            .set("Contact", &format!("<{}>", alice.contact));
        sim.send_authorized(&alice, &draft);
        let request = sim.expect(&bob, method);
        let answer = sim.respond(&bob, &request, "202 Accepted");
        sim.expect(&alice, "202");
        let mut notifier = Dialog::of_callee(&request, &answer);
        let notify = notifier.request(&mut sim, &bob, "NOTIFY").add("Event", "presence");
        sim.send(&bob, &notify);
        let got = sim.expect(&alice, "NOTIFY");
        assert_eq!((got.uri(), got.flow), (&*alice.contact, alice.flow));
        sim.respond(&alice, &got, "200 OK");
        sim.expect(&bob, "200");
    }
    sim.nothing_else();
}

#[test]
fn a_dialog_between_ipv4_and_ipv6_goes_both_ways() {
    let mut sim = Sim::new();
    let alice = sim.registered("alice");
    let mut bob = sim.phone("bob");
    bob.flow.local = sim.local(Transport::Udp, true);
    bob.flow.remote = "[2001:db8::77]:5062".parse().unwrap();
    bob.contact = "sip:bob@[2001:db8::77]:5062".to_owned();
    sim.register(&bob);
    let mut call = answered(&mut sim, &alice, &bob);
    assert_eq!(call.caller.routes.len(), 2);
    let ack = call.caller.ack(&mut sim, &alice);
    sim.send(&alice, &ack);
    let got = sim.expect(&bob, "ACK");
    assert!(!got.has("Route"), "{}", got.text());
    let bye = call.callee.request(&mut sim, &bob, "BYE");
    sim.send(&bob, &bye);
    let got = sim.expect(&alice, "BYE");
    assert!(!got.has("Route"), "{}", got.text());
    sim.respond(&alice, &got, "200 OK");
    sim.expect(&bob, "200");
}

#[test]
fn a_reinvite_is_cancelled_like_any_other() {
    let mut sim = Sim::new();
    let (alice, bob) = behind_nat(&mut sim, Transport::Udp, Transport::Tls);
    let mut call = answered(&mut sim, &alice, &bob);
    let reinvite = call.callee.request(&mut sim, &bob, "INVITE");
    sim.send(&bob, &reinvite);
    sim.expect(&bob, "100");
    let got = sim.expect(&alice, "INVITE");
    sim.ring(&bob, &alice, &got);
    sim.send(&bob, &reinvite.cancel());
    sim.expect(&bob, "200");
    let cancel = sim.expect(&alice, "CANCEL");
    assert_eq!(cancel.branch(), got.branch());
    sim.respond(&alice, &got, "487 Request Terminated");
    sim.expect(&alice, "ACK");
    sim.expect(&bob, "487");
}

#[test]
fn a_key_of_another_installation_makes_no_token_of_ours() {
    let mut other = Sim::with_settings(|_| {});
    let mut sim = Sim::with_token_key([7; 16]);
    let (alice, bob) = behind_nat(&mut other, Transport::Udp, Transport::Udp);
    let mut call = answered(&mut other, &alice, &bob);
    let bye = call.caller.request(&mut other, &alice, "BYE");
    sim.send(&alice, &bye);
    sim.expect(&alice, "407");
    // With the key kept, the dialog outlives a restart.
    let mut sim = Sim::with_token_key([42; 16]);
    sim.send(&alice, &bye);
    sim.expect(&bob, "BYE");
}

// What `sipp -sn uac` sends: a To tag, no Route, and the AOR as Request-URI.

#[test]
fn an_ack_without_a_route_goes_to_the_branch_whose_2xx_won() {
    let mut sim = Sim::new();
    let alice = sim.registered("alice");
    let phones: Vec<Phone> = (0..3).map(|_| sim.registered("bob")).collect();
    let sent = sim.invite(&alice, BOB);
    let invites: Vec<Got> = phones.iter().map(|phone| sim.expect(phone, "INVITE")).collect();
    sim.respond(&phones[1], &invites[1], "200 OK");
    let ok = sim.expect(&alice, "200");
    let ack = without_route(&mut sim, &alice, &sent, &ok, "ACK");
    sim.send(&alice, &ack);
    let got = sim.expect(&phones[1], "ACK");
    assert_eq!(got.uri(), phones[1].contact);
    assert!(!got.has("Route"));
    sim.nothing_else();

    sim.advance(Duration::from_secs(40));
    sim.delivered.clear();
    sim.send(&alice, &ack);
    sim.nothing_else();
}

#[test]
fn a_bye_without_a_route_is_authorized_and_goes_to_the_branch_that_answered() {
    let mut sim = Sim::new();
    let alice = sim.registered("alice");
    let phones: Vec<Phone> = (0..3).map(|_| sim.registered("bob")).collect();
    let sent = sim.invite(&alice, BOB);
    let invites: Vec<Got> = phones.iter().map(|phone| sim.expect(phone, "INVITE")).collect();
    sim.respond(&phones[1], &invites[1], "200 OK");
    let ok = sim.expect(&alice, "200");
    let bye = without_route(&mut sim, &alice, &sent, &ok, "BYE");
    sim.send_authorized(&alice, &bye);
    let got = sim.expect(&phones[1], "BYE");
    assert_eq!(got.uri(), phones[1].contact);
    sim.respond(&phones[1], &got, "200 OK");
    sim.expect(&alice, "200");
    sim.nothing_else();
}

#[test]
fn a_bye_without_a_route_goes_to_the_bindings_when_nothing_else_is_known() {
    let mut sim = Sim::new();
    let alice = sim.registered("alice");
    let bob = sim.registered("bob");
    let sent = sim.invite(&alice, BOB);
    let invite = sim.expect(&bob, "INVITE");
    sim.respond(&bob, &invite, "200 OK");
    let ok = sim.expect(&alice, "200");
    sim.advance(Duration::from_secs(100));
    assert!(sim.is_idle());
    let bye = without_route(&mut sim, &alice, &sent, &ok, "BYE");
    sim.send_authorized(&alice, &bye);
    sim.expect(&bob, "BYE");
}

#[test]
fn sipp_calls_sipp_where_everybody_may_call() {
    let mut sim = Sim::with(|domain| domain.uri_calling = UriCalling::Unrestricted);
    let bob = sim.registered("bob");
    let sipp = sim.phone("sipp");
    let draft = sim
        .draft(&sipp, "INVITE", BOB)
        .set("From", "sipp <sip:sipp@198.51.100.77:5060>;tag=1");
    sim.send(&sipp, &draft);
    sim.expect(&sipp, "100");
    let invite = sim.expect(&bob, "INVITE");
    sim.ring(&sipp, &bob, &invite);
    sim.respond(&bob, &invite, "200 OK");
    let ok = sim.expect(&sipp, "200");
    for method in ["ACK", "BYE"] {
        let draft = without_route(&mut sim, &sipp, &draft, &ok, method);
        sim.send(&sipp, &draft);
        let got = sim.expect(&bob, method);
        if method == "BYE" {
            sim.respond(&bob, &got, "200 OK");
            sim.expect(&sipp, "200");
        }
    }
    sim.nothing_else();
    sim.advance(Duration::from_secs(60));
    assert!(sim.is_idle());
}

/// Registered phones whose Contacts name private addresses.
fn behind_nat(sim: &mut Sim, first: Transport, second: Transport) -> (Phone, Phone) {
    let mut phone = |user: &str, transport, contact: &str| {
        let mut phone = sim.phone_over(user, transport);
        phone.contact = contact.to_owned();
        sim.register(&phone);
        phone
    };
    (
        phone("alice", first, "sip:alice@192.168.1.5:5060"),
        phone("bob", second, "sip:bob@192.168.1.5:5060"),
    )
}

/// A call from `alice` to `bob` that was answered.
fn answered(sim: &mut Sim, alice: &Phone, bob: &Phone) -> Call {
    let sent = sim.invite(alice, BOB);
    let invite = sim.expect(bob, "INVITE");
    let answer = sim.respond(bob, &invite, "200 OK");
    let ok = sim.expect(alice, "200");
    Call {
        caller: Dialog::of_caller(&sent, &ok),
        callee: Dialog::of_callee(&invite, &answer),
        sent,
        invite,
    }
}

/// A request within the dialog of `sent` and `ok`, as SIPp's built-in caller writes it.
fn without_route(sim: &mut Sim, phone: &Phone, sent: &Draft, ok: &Got, method: &str) -> Draft {
    let via = sim.via(phone);
    let cseq = if method == "ACK" { sent.cseq() } else { sent.cseq() + 1 };
    Draft::request(method, sent.uri())
        .add("Via", &via)
        .add("From", sent.header("From"))
        .add("To", ok.header("To"))
        .add("Call-ID", sent.header("Call-ID"))
        .add("CSeq", &format!("{cseq} {method}"))
        .add("Max-Forwards", "70")
}

/// The user part of a Route.
fn token(route: &str) -> &str {
    route.split(':').nth(1).unwrap().split('@').next().unwrap()
}
