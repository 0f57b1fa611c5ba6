//! Who may send what (RFC 3261 §22.3, §26; the `uri_calling` of a domain).

use std::time::Duration;

use ringbinder::sip::domain::UriCalling;
use ringbinder::sip::hop::Transport;

use crate::support::{Draft, PASSWORD, Phone, Sim};

const BOB: &str = "sip:bob@example.com";
const STRANGER: &str = "<sip:stranger@elsewhere.net>;tag=s";

#[test]
fn a_local_user_is_challenged() {
    let mut sim = Sim::new();
    let alice = sim.phone("alice");
    for method in ["INVITE", "MESSAGE", "OPTIONS", "REFER", "BYE", "UPDATE"] {
        let draft = sim.draft(&alice, method, BOB);
        sim.send(&alice, &draft);
        let challenge = sim.expect(&alice, "407");
        assert_eq!(challenge.start_line(), "SIP/2.0 407 Proxy Authentication Required");
        let value = challenge.header("Proxy-Authenticate");
        assert!(value.starts_with("Digest realm=\"example.com\""), "{value}");
        assert!(value.contains("qop=\"auth\"") && !value.contains("stale"), "{value}");
        assert!(!challenge.has("Warning"), "{}", challenge.text());
    }
    sim.nothing_else();
    assert!(sim.is_idle());
}

#[test]
fn the_realm_is_that_of_from_else_that_of_the_request_uri() {
    let mut sim = Sim::new();
    let alice = sim.phone("alice");
    for (from, uri, realm) in [
        ("<sip:olga@example.org>;tag=1", BOB, "example.org"),
        (
            "<sip:alice@sip.example.com>;tag=1",
            "sip:olga@example.org",
            "example.com",
        ),
        ("<sip:alice@example.com>;tag=1", "sip:carl@elsewhere.net", "example.com"),
        (STRANGER, "sip:olga@example.org", "example.org"),
    ] {
        let draft = sim.draft(&alice, "INVITE", uri).set("From", from);
        sim.send(&alice, &draft);
        let challenge = sim.expect(&alice, "407");
        let value = challenge.header("Proxy-Authenticate");
        assert!(value.starts_with(&format!("Digest realm=\"{realm}\"")), "{value}");
    }
}

#[test]
fn a_refusal_of_a_stranger_keeps_nothing_and_its_ack_is_absorbed() {
    let mut sim = Sim::new();
    let (alice, bob) = (sim.phone("alice"), sim.registered("bob"));
    sim.advance(Duration::from_secs(60));
    let draft = sim.draft(&alice, "INVITE", BOB);
    sim.send(&alice, &draft);
    let first = sim.expect(&alice, "407");
    assert!(sim.is_idle());
    sim.send(&alice, &draft);
    let second = sim.expect(&alice, "407");
    assert_eq!(first.to_tag(), second.to_tag());
    assert!(sim.is_idle());
    sim.send(&alice, &draft.ack(&first));
    assert!(sim.is_idle());
    sim.nothing_else();
    sim.nothing_to(&bob);
}

#[test]
fn nothing_is_repeated_to_who_does_not_acknowledge_a_challenge() {
    let mut sim = Sim::new();
    let (alice, _) = (sim.phone("alice"), sim.registered("bob"));
    let draft = sim.draft(&alice, "INVITE", BOB);
    sim.send(&alice, &draft);
    sim.expect(&alice, "407");
    sim.advance(Duration::from_secs(60));
    sim.nothing_else();
}

#[test]
fn a_wrong_password_is_challenged_afresh() {
    let mut sim = Sim::new();
    let (alice, _) = (sim.phone("alice"), sim.registered("bob"));
    for user in ["alice", "nobody"] {
        let draft = sim.draft(&alice, "INVITE", BOB);
        sim.send(&alice, &draft);
        let challenge = sim.expect(&alice, "407");
        let draft = sim.authorized_as(user, "guess", &draft, &challenge, 1);
        sim.send(&alice, &draft);
        let again = sim.expect(&alice, "407");
        assert!(!again.header("Proxy-Authenticate").contains("stale"));
        assert_ne!(
            again.header("Proxy-Authenticate"),
            challenge.header("Proxy-Authenticate")
        );
    }
    sim.nothing_else();
}

#[test]
fn an_old_nonce_and_a_replayed_one_are_stale() {
    let mut sim = Sim::new();
    let (alice, bob) = (sim.phone("alice"), sim.registered("bob"));
    let draft = sim.draft(&alice, "MESSAGE", BOB);
    sim.send(&alice, &draft);
    let challenge = sim.expect(&alice, "407");
    let first = sim.authorized(&alice, &draft, &challenge);
    sim.send(&alice, &first);
    sim.expect(&bob, "MESSAGE");

    let replay = sim.draft(&alice, "MESSAGE", BOB);
    let replay = sim.authorized(&alice, &replay, &challenge);
    sim.send(&alice, &replay);
    let stale = sim.expect(&alice, "407");
    assert!(stale.header("Proxy-Authenticate").contains("stale=true"));

    let draft = sim.draft(&alice, "MESSAGE", BOB);
    let counted = sim.authorized_as("alice", PASSWORD, &draft, &challenge, 2);
    sim.send(&alice, &counted);
    sim.expect(&bob, "MESSAGE");

    sim.advance(Duration::from_secs(301));
    sim.delivered.clear();
    let draft = sim.draft(&alice, "MESSAGE", BOB);
    let late = sim.authorized_as("alice", PASSWORD, &draft, &challenge, 3);
    sim.send(&alice, &late);
    let stale = sim.expect(&alice, "407");
    assert!(stale.header("Proxy-Authenticate").contains("stale=true"));
}

#[test]
fn a_retransmission_of_what_was_authorized_is_no_replay() {
    let mut sim = Sim::new();
    let (alice, bob) = (sim.phone("alice"), sim.registered("bob"));
    let sent = sim.invite(&alice, BOB);
    sim.send(&alice, &sent);
    sim.expect(&alice, "100");
    sim.expect(&bob, "INVITE");
    sim.nothing_else();
}

#[test]
fn malformed_credentials_are_a_bad_request() {
    let mut sim = Sim::new();
    let alice = sim.phone("alice");
    let draft = sim
        .draft(&alice, "INVITE", BOB)
        .add("Proxy-Authorization", "Digest realm=\"example.com");
    sim.send(&alice, &draft);
    sim.expect(&alice, "400");
}

#[test]
fn credentials_for_another_request_uri_are_refused() {
    let mut sim = Sim::new();
    let alice = sim.phone("alice");
    let draft = sim.draft(&alice, "MESSAGE", BOB);
    sim.send(&alice, &draft);
    let challenge = sim.expect(&alice, "407");
    let signed = sim
        .authorized(&alice, &draft.with_uri("sip:carl@elsewhere.net"), &challenge)
        .with_uri(BOB);
    sim.send(&alice, &signed);
    sim.expect(&alice, "400");
}

#[test]
fn credentials_for_a_call_to_one_user_are_none_for_another() {
    let mut sim = Sim::new();
    let alice = sim.registered("alice");
    sim.registered("bob");
    sim.registered("carol");
    sim.host("elsewhere.net", &["203.0.113.5"]);
    for (called, signed, expected) in [
        ("sip:carol@example.com", BOB, "400"),
        ("sip:bob@elsewhere.net", BOB, "400"),
        ("sip:carl@elsewhere.net", BOB, "400"),
        (BOB, "sip:example.com", "100"),
        (BOB, "sip:192.0.2.1:5060", "100"),
        (BOB, "sip:bob@sip.example.com:5060;transport=udp", "100"),
    ] {
        let draft = sim.draft(&alice, "INVITE", called);
        sim.send(&alice, &draft);
        let challenge = sim.expect(&alice, "407");
        let draft = sim
            .authorized(&alice, &draft.with_uri(signed), &challenge)
            .with_uri(called);
        sim.send(&alice, &draft);
        sim.expect(&alice, expected);
    }
}

#[test]
fn from_must_be_the_users_own_or_an_identity_or_anonymous() {
    let mut sim = Sim::new();
    let (carol, bob) = (sim.phone("carol"), sim.registered("bob"));
    for (from, kind) in [
        ("<sip:carol@example.com>;tag=1", "200"),
        ("<sip:c%61rol@SIP.example.com>;tag=1", "200"),
        ("\"Desk\" <sip:reception@example.com>;tag=1", "200"),
        ("<sips:carol@example.com>;tag=1", "200"),
        ("\"Anonymous\" <sip:anonymous@anonymous.invalid>;tag=1", "200"),
        ("<sip:bob@example.com>;tag=1", "403"),
        ("<sip:Carol@example.com>;tag=1", "403"),
        ("<sip:carol@example.org>;tag=1", "403"),
        ("<sip:president@elsewhere.net>;tag=1", "403"),
        ("<sip:example.com>;tag=1", "403"),
        ("<tel:+4930123456>;tag=1", "403"),
    ] {
        let draft = sim.draft(&carol, "MESSAGE", BOB).set("From", from);
        let got = send_signed(&mut sim, &carol, &draft);
        match kind {
            "200" => {
                assert_eq!(got, None, "{from}");
                let request = sim.expect(&bob, "MESSAGE");
                sim.respond(&bob, &request, "200 OK");
                sim.expect(&carol, "200");
            }
            _ => assert_eq!(got.as_deref(), Some("403 caller-id-invalid"), "{from}"),
        }
    }
    sim.nothing_else();
}

#[test]
fn ack_and_cancel_are_never_challenged() {
    let mut sim = Sim::new();
    let alice = sim.phone("alice");
    sim.registered("bob");
    let ack = sim.draft(&alice, "ACK", BOB);
    sim.send(&alice, &ack);
    sim.nothing_else();
    let cancel = sim.draft(&alice, "CANCEL", BOB);
    sim.send(&alice, &cancel);
    sim.expect(&alice, "481");
}

#[test]
fn strangers_are_met_as_the_domain_says() {
    for (calling, from, kind) in [
        (UriCalling::Internal, STRANGER, "407"),
        (UriCalling::Disabled, STRANGER, "403"),
        (UriCalling::Unrestricted, STRANGER, "INVITE"),
        (UriCalling::Internal, "<sip:alice@example.com>;tag=1", "407"),
        (UriCalling::Disabled, "<sip:alice@example.com>;tag=1", "407"),
        (UriCalling::Unrestricted, "<sip:alice@example.com>;tag=1", "INVITE"),
        (UriCalling::Internal, "<sip:olga@example.org>;tag=1", "407"),
        (UriCalling::Disabled, "<sip:olga@example.org>;tag=1", "407"),
        (UriCalling::Unrestricted, "<sip:olga@example.org>;tag=1", "INVITE"),
        (UriCalling::Internal, "<tel:+49301234>;tag=1", "407"),
        (UriCalling::Disabled, "<tel:+49301234>;tag=1", "403"),
    ] {
        let mut sim = Sim::with(|domain| domain.uri_calling = calling);
        let (stranger, bob) = (sim.phone("stranger"), sim.registered("bob"));
        // Whether the user is known makes no difference before that.
        for uri in [BOB, "sip:unknown@example.com"] {
            let draft = sim.draft(&stranger, "INVITE", uri).set("From", from);
            sim.send(&stranger, &draft);
            match (kind, uri) {
                ("INVITE", BOB) => {
                    sim.expect(&stranger, "100");
                    sim.expect(&bob, "INVITE");
                }
                ("INVITE", _) => drop(sim.expect(&stranger, "480")),
                _ => {
                    let got = sim.expect(&stranger, kind);
                    assert!(!got.has("Warning"), "{}", got.text());
                }
            }
            sim.nothing_else();
        }
    }
}

#[test]
fn to_strangers_unknown_and_offline_look_the_same() {
    let mut sim = Sim::with(|domain| domain.uri_calling = UriCalling::Unrestricted);
    let stranger = sim.phone("stranger");
    let mut answer_to = |uri: &str| {
        let draft = sim.draft(&stranger, "INVITE", "sip:x@example.com").with_uri(uri);
        let draft = draft.set("From", STRANGER).set("Call-ID", "same").branch("z9hG4bKsame");
        sim.send(&stranger, &draft);
        let got = sim.expect(&stranger, "480");
        assert!(sim.is_idle());
        got.text()
    };
    assert_eq!(answer_to(BOB), answer_to("sip:unknown@example.com"));
}

#[test]
fn an_authenticated_caller_is_told_who_is_unknown() {
    let mut sim = Sim::new();
    let alice = sim.phone("alice");
    for (uri, expected) in [("sip:unknown@example.com", "404 unknown-user"), (BOB, "480 no-binding")] {
        let draft = sim.draft(&alice, "INVITE", uri);
        assert_eq!(send_signed(&mut sim, &alice, &draft).as_deref(), Some(expected));
    }
}

#[test]
fn a_refusal_of_an_authenticated_caller_is_repeated_until_its_ack() {
    let mut sim = Sim::new();
    let alice = sim.phone("alice");
    let draft = sim.draft(&alice, "INVITE", "sip:unknown@example.com");
    let sent = sim.send_authorized(&alice, &draft);
    let refused = sim.expect(&alice, "404");
    sim.send(&alice, &sent);
    sim.expect(&alice, "404");
    sim.advance(Duration::from_millis(600));
    sim.expect(&alice, "404");
    sim.send(&alice, &sent.ack(&refused));
    sim.advance(Duration::from_secs(60));
    sim.nothing_else();
    assert!(sim.is_idle());
}

#[test]
fn users_of_one_domain_call_those_of_another() {
    let mut sim = Sim::new();
    let bob = sim.registered("bob");
    let mut olga = sim.phone("olga");
    olga.domain = "example.org".to_owned();
    sim.register(&olga);
    sim.invite(&olga, BOB);
    sim.expect(&bob, "INVITE");
    sim.invite(&bob, "sip:olga@example.org");
    sim.expect(&olga, "INVITE");
    // The right password of one domain is no leave to speak for another.
    let draft = sim.draft(&olga, "MESSAGE", "sip:olga@example.org");
    sim.send(&olga, &draft);
    let challenge = sim.expect(&olga, "407");
    let signed = sim.authorized(&olga, &draft.set("From", "<sip:alice@example.com>;tag=1"), &challenge);
    sim.send(&olga, &signed);
    assert_eq!(sim.expect(&olga, "403").reason().as_deref(), Some("caller-id-invalid"));
}

#[test]
fn the_credentials_for_us_are_found_among_others() {
    let mut sim = Sim::new();
    let (alice, bob) = (sim.phone("alice"), sim.registered("bob"));
    let draft = sim.draft(&alice, "MESSAGE", BOB);
    sim.send(&alice, &draft);
    let challenge = sim.expect(&alice, "407");
    let other = "Digest username=\"alice\", realm=\"elsewhere.net\", nonce=\"n\", uri=\"u\", response=\"r\"";
    let signed = sim.authorized(&alice, &draft, &challenge);
    let ours = signed.header("Proxy-Authorization").to_owned();
    let draft = signed
        .without("Proxy-Authorization")
        .add("Proxy-Authorization", "Basic YWxpY2U=")
        .add("Proxy-Authorization", other)
        .add("Proxy-Authorization", &ours);
    sim.send(&alice, &draft);
    let got = sim.expect(&bob, "MESSAGE");
    assert_eq!(got.lines("Proxy-Authorization"), ["Basic YWxpY2U=", other]);
}

#[test]
fn nothing_is_relayed_for_strangers() {
    for calling in [UriCalling::Internal, UriCalling::Disabled, UriCalling::Unrestricted] {
        let mut sim = Sim::with(|domain| domain.uri_calling = calling);
        let (stranger, bob) = (sim.phone("stranger"), sim.registered("bob"));
        let peer = sim.peer(Transport::Udp, "203.0.113.5:5060");
        sim.advance(Duration::from_secs(60));
        for uri in ["sip:carl@203.0.113.5", "sip:203.0.113.5", "sip:carl@elsewhere.net"] {
            let draft = sim.draft(&stranger, "INVITE", uri).set("From", STRANGER);
            sim.send(&stranger, &draft);
            sim.expect(&stranger, "403");
        }
        // Nor by a Route, nor by a To tag.
        let draft = sim.draft(&stranger, "INVITE", BOB).set("From", STRANGER);
        for draft in [
            draft.clone().add("Route", "<sip:203.0.113.5;lr>"),
            draft.clone().add("Route", "<sip:example.com;lr>, <sip:203.0.113.5;lr>"),
            draft.clone().add("Route", "<sip:203.0.113.5>"),
            draft
                .clone()
                .with_uri("sip:carl@203.0.113.5")
                .set("To", "<sip:carl@203.0.113.5>;tag=1"),
        ] {
            let branch = sim.branch();
            sim.send(&stranger, &draft.branch(&branch));
            let got = sim.receive(&stranger).expect("a refusal");
            assert!(matches!(got.status(), 403 | 407), "{}", got.text());
        }
        let ack = sim.draft(&stranger, "ACK", "sip:carl@203.0.113.5");
        sim.send(&stranger, &ack);
        let ack = sim.draft(&stranger, "ACK", BOB).add("Route", "<sip:203.0.113.5;lr>");
        sim.send(&stranger, &ack);
        sim.nothing_to(&peer);
        sim.nothing_to(&bob);
        sim.nothing_else();
        assert!(sim.is_idle());
    }
}

#[test]
fn a_local_user_reaches_foreign_domains_with_credentials_only() {
    let mut sim = Sim::with(|domain| domain.uri_calling = UriCalling::Unrestricted);
    let alice = sim.phone("alice");
    let peer = sim.peer(Transport::Udp, "203.0.113.5:5060");
    let draft = sim.draft(&alice, "INVITE", "sip:carl@203.0.113.5");
    sim.invite_with(&alice, &draft);
    sim.expect(&peer, "INVITE");
}

#[test]
fn an_unrestricted_domain_still_checks_credentials_that_are_given() {
    let mut sim = Sim::with(|domain| domain.uri_calling = UriCalling::Unrestricted);
    let (alice, bob) = (sim.phone("alice"), sim.registered("bob"));
    let probe = sim.draft(&alice, "MESSAGE", "sip:carl@elsewhere.net");
    sim.send(&alice, &probe);
    let challenge = sim.expect(&alice, "407");
    let draft = sim.draft(&alice, "MESSAGE", BOB);
    let guess = sim.authorized_as("alice", "guess", &draft, &challenge, 1);
    sim.send(&alice, &guess);
    sim.expect(&alice, "407");
    let right = sim.authorized(&alice, &draft, &challenge);
    sim.send(&alice, &right);
    sim.expect(&bob, "MESSAGE");
}

#[test]
fn a_subscription_to_ones_own_address_is_not_served() {
    let mut sim = Sim::new();
    let (alice, other) = (sim.registered("alice"), sim.registered("alice"));
    for method in ["SUBSCRIBE", "PUBLISH"] {
        let draft = sim
            .draft(&alice, method, "sip:alice@example.com")
            .add("Event", "message-summary");
        sim.send(&alice, &draft);
        let mut got = sim.receive(&alice).expect("an answer");
        if got.status() == 407 {
            let draft = sim.authorized(&alice, &draft, &got);
            sim.send(&alice, &draft);
            got = sim.receive(&alice).expect("an answer");
        }
        assert_eq!(got.kind(), "405");
        assert!(got.header("Allow").contains("INVITE"), "{}", got.text());
    }
    sim.nothing_to(&other);
}

#[test]
fn a_call_to_ones_own_address_rings_the_other_phones() {
    let mut sim = Sim::new();
    let (here, there) = (sim.registered("alice"), sim.registered("alice"));
    sim.invite(&here, "sip:alice@example.com");
    sim.expect(&there, "INVITE");
    sim.nothing_else();
}

#[test]
fn a_call_to_ones_own_address_does_not_come_back() {
    let mut sim = Sim::new();
    let alice = sim.registered_over("alice", Transport::Tls);
    let draft = sim.draft(&alice, "INVITE", "sip:alice@example.com");
    assert_eq!(send_signed(&mut sim, &alice, &draft).as_deref(), Some("480 no-binding"));
    sim.nothing_else();
}

#[test]
fn a_call_to_ones_own_address_by_another_flow_reaches_the_phone() {
    let mut sim = Sim::new();
    let phone = sim.registered("alice");
    let elsewhere = sim.phone("alice");
    sim.invite(&elsewhere, "sip:alice@example.com");
    sim.expect(&phone, "INVITE");
}

/// Sends `draft` with the credentials of `phone` for its own domain, whomever From names. Returns status and reason of a
/// refusal, or nothing when it went on.
fn send_signed(sim: &mut Sim, phone: &Phone, draft: &Draft) -> Option<String> {
    let probe = sim.draft(phone, "MESSAGE", BOB);
    sim.send(phone, &probe);
    let challenge = sim.expect(phone, "407");
    let signed = sim.authorized(phone, draft, &challenge);
    sim.send(phone, &signed);
    let got = sim.receive(phone)?;
    if got.status() < 300 {
        return None;
    }
    Some(format!("{} {}", got.status(), got.reason().unwrap_or_default()))
}
