//! The Record-Route token: whose it is, where it leads, and that nobody makes one (RFC 3261 §16.6 step 4, §26).

use ringbinder::sip::domain::UriCalling;
use ringbinder::sip::hop::Transport;

use super::{answered, behind_nat};
use crate::support::Sim;

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

/// The user part of a Route.
fn token(route: &str) -> &str {
    route.split(':').nth(1).unwrap().split('@').next().unwrap()
}
