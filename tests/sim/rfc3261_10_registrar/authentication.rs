//! Who registers: challenges, nonces, retransmissions and replays (RFC 3261 §10.3 step 3, §22; RFC 7616).

use std::time::Duration;

use super::{URI, bound, contacts};
use crate::support::{PASSWORD, Phone, Sim, domain};

#[test]
fn a_request_without_credentials_is_challenged() {
    let mut sim = Sim::new();
    let alice = sim.phone("alice");
    let draft = sim.draft(&alice, "REGISTER", URI);
    sim.send(&alice, &draft);

    let challenge = sim.expect(&alice, "401");
    let values = challenge.lines("WWW-Authenticate");
    assert_eq!(values.len(), 1);
    assert!(values[0].starts_with("Digest realm=\"example.com\""), "{values:?}");
    assert!(values[0].contains("qop=\"auth\""), "{values:?}");
    assert!(values[0].contains("algorithm=MD5"), "{values:?}");
    assert!(!values[0].contains("stale"), "{values:?}");
    assert!(challenge.to_tag().is_some());
    assert_eq!(challenge.reason(), None);
    assert!(sim.is_idle());
    sim.nothing_else();
}

#[test]
fn an_unknown_user_is_answered_like_a_known_one() {
    let mut sim = Sim::new();
    let mut text_of = |user: &str, with_password: bool| {
        let phone = Phone {
            user: user.to_owned(),
            tag: "t".to_owned(),
            ..sim.phone("alice")
        };
        let draft = sim.draft(&phone, "REGISTER", URI);
        sim.send(&phone, &draft);
        let mut got = sim.expect(&phone, "401");
        if with_password {
            let again = sim.authorized_as(user, "a guess", &draft, &got, 1);
            sim.send(&phone, &again);
            got = sim.expect(&phone, "401");
        }
        let shape = |line: &str| line.split(':').next().unwrap_or_default().to_owned();
        let lines: Vec<String> = got.text().lines().map(shape).collect();
        let challenge = got.header("WWW-Authenticate").to_owned();
        let nonce = challenge.split("nonce=\"").nth(1).unwrap().split('"').next().unwrap();
        (lines, challenge.replace(nonce, "N"))
    };
    assert_eq!(text_of("alice", false), text_of("mallory", false));
    assert_eq!(text_of("alice", true), text_of("mallory", true));
}

#[test]
fn the_algorithms_are_offered_in_their_order_and_each_is_accepted() {
    use ringbinder::sip::digest::Algorithm;
    let mut sim = Sim::with(|domain| domain.auth.algorithms = vec![Algorithm::Sha256, Algorithm::Md5]);
    let alice = sim.phone("alice");
    let draft = sim.draft(&alice, "REGISTER", URI);
    sim.send(&alice, &draft);
    let challenge = sim.expect(&alice, "401");
    let values = challenge.lines("WWW-Authenticate");
    assert!(values[0].contains("algorithm=SHA-256"), "{values:?}");
    assert!(values[1].contains("algorithm=MD5"), "{values:?}");

    let draft = sim.authorized(&alice, &draft, &challenge);
    sim.send(&alice, &draft);
    sim.expect(&alice, "200");
}

#[test]
fn a_wrong_password_is_challenged_afresh_and_changes_nothing() {
    let mut sim = Sim::new();
    let alice = sim.registered("alice");
    let other = sim.phone("alice");
    let draft = sim.draft(&other, "REGISTER", URI);
    sim.send(&other, &draft);
    let challenge = sim.expect(&other, "401");
    let guess = sim.authorized_as("alice", "guess", &draft, &challenge, 1);
    sim.send(&other, &guess);

    let again = sim.expect(&other, "401");
    assert!(!again.header("WWW-Authenticate").contains("stale"), "{}", again.text());
    assert_ne!(again.header("WWW-Authenticate"), challenge.header("WWW-Authenticate"));
    assert_eq!(again.reason(), None);
    assert_eq!(bound(&mut sim, &alice), [&*alice.contact]);
}

#[test]
fn wrong_passwords_count_against_source_and_address_and_being_challenged_does_not() {
    let mut sim = Sim::new();
    let alice = sim.registered("alice");
    let other = sim.phone("alice");
    for nonce_count in 1..4 {
        let draft = sim.draft(&other, "REGISTER", URI);
        sim.send(&other, &draft);
        let challenge = sim.expect(&other, "401");
        let guess = sim.authorized_as("alice", "guess", &draft, &challenge, nonce_count);
        sim.send(&other, &guess);
        sim.expect(&other, "401");
    }
    let failures = &sim.shared.failures;
    let count = failures.count(other.flow.remote.ip(), b"alice@example.com");
    assert_eq!((count.source, count.address), (4, 4));
    let count = failures.count(alice.flow.remote.ip(), b"bob@example.com");
    assert_eq!((count.source, count.address), (1, 1));
}

#[test]
fn credentials_of_another_scheme_or_realm_are_challenged() {
    let mut sim = Sim::new();
    let alice = sim.phone("alice");
    let other = "Digest username=\"alice\", realm=\"elsewhere\", nonce=\"n\", uri=\"sip:example.com\", response=\"0\"";
    for credentials in ["Basic YWxpY2U6c2VjcmV0", other] {
        let draft = sim.draft(&alice, "REGISTER", URI).add("Authorization", credentials);
        sim.send(&alice, &draft);
        let challenge = sim.expect(&alice, "401");
        assert!(!challenge.header("WWW-Authenticate").contains("stale"));
    }
}

#[test]
fn malformed_credentials_are_a_bad_request() {
    let mut sim = Sim::new();
    let alice = sim.phone("alice");
    let draft = sim
        .draft(&alice, "REGISTER", URI)
        .add("Authorization", "Digest username=\"alice");
    sim.send(&alice, &draft);
    sim.expect(&alice, "400");
}

#[test]
fn an_expired_nonce_is_stale() {
    let mut sim = Sim::new();
    let alice = sim.phone("alice");
    let draft = sim.draft(&alice, "REGISTER", URI);
    sim.send(&alice, &draft);
    let challenge = sim.expect(&alice, "401");
    sim.advance(Duration::from_secs(301));
    let draft = sim.authorized(&alice, &draft, &challenge);
    sim.send(&alice, &draft);
    let stale = sim.expect(&alice, "401");
    assert!(
        stale.header("WWW-Authenticate").contains("stale=true"),
        "{}",
        stale.text()
    );

    let draft = sim.authorized(&alice, &draft, &stale);
    sim.send(&alice, &draft);
    sim.expect(&alice, "200");
}

#[test]
fn a_nonce_of_an_earlier_start_is_stale() {
    let mut before = Sim::new();
    let alice = before.phone("alice");
    let draft = before.draft(&alice, "REGISTER", URI);
    before.send(&alice, &draft);
    let challenge = before.expect(&alice, "401");

    let mut sim = Sim::serving(vec![domain("example.com", &["alice"])], 2);
    let draft = sim.authorized(&alice, &draft, &challenge);
    sim.send(&alice, &draft);
    let stale = sim.expect(&alice, "401");
    assert!(
        stale.header("WWW-Authenticate").contains("stale=true"),
        "{}",
        stale.text()
    );
}

#[test]
fn a_replayed_nonce_count_is_stale_and_changes_nothing() {
    let mut sim = Sim::new();
    let alice = sim.phone("alice");
    let first = sim.draft(&alice, "REGISTER", URI);
    sim.send(&alice, &first);
    let challenge = sim.expect(&alice, "401");
    let first = sim.authorized(&alice, &first, &challenge);
    sim.send(&alice, &first);
    sim.expect(&alice, "200");

    let other = sim.phone("alice");
    let replayed = sim.draft(&other, "REGISTER", URI);
    let replayed = sim.authorized(&other, &replayed, &challenge);
    sim.send(&other, &replayed);
    let stale = sim.expect(&other, "401");
    assert!(
        stale.header("WWW-Authenticate").contains("stale=true"),
        "{}",
        stale.text()
    );
    assert_eq!(bound(&mut sim, &alice), [&*alice.contact]);
}

#[test]
fn a_nonce_is_used_again_with_a_higher_count() {
    let mut sim = Sim::new();
    let alice = sim.phone("alice");
    let mut draft = sim.draft(&alice, "REGISTER", URI);
    sim.send(&alice, &draft);
    let challenge = sim.expect(&alice, "401");
    for nonce_count in 1..4 {
        draft = sim.authorized_as("alice", PASSWORD, &draft, &challenge, nonce_count);
        sim.send(&alice, &draft);
        sim.expect(&alice, "200");
    }
}

#[test]
fn a_retransmission_gets_the_identical_200() {
    let mut sim = Sim::new();
    let alice = sim.phone("alice");
    let draft = sim.draft(&alice, "REGISTER", URI);
    let draft = sim.send_authorized(&alice, &draft);
    let first = sim.expect(&alice, "200");
    sim.advance(Duration::from_millis(500));
    sim.send(&alice, &draft);
    let second = sim.expect(&alice, "200");
    assert_eq!(first.message.bytes(), second.message.bytes());
    assert_eq!(sim.changes.len(), 1);
}

#[test]
fn a_retransmission_after_its_transaction_is_no_replay() {
    let mut sim = Sim::new();
    let alice = sim.phone("alice");
    let draft = sim.draft(&alice, "REGISTER", URI);
    let draft = sim.send_authorized(&alice, &draft);
    sim.expect(&alice, "200");
    sim.advance(Duration::from_secs(40));
    assert!(sim.is_idle());
    sim.send(&alice, &draft);
    let second = sim.expect(&alice, "200");
    assert_eq!(contacts(&second), [format!("<{}>;expires=3560", alice.contact)]);
    assert_eq!(sim.changes.len(), 1);
}

#[test]
fn the_digest_uri_may_be_another_name_for_us() {
    let mut sim = Sim::new();
    let alice = sim.phone("alice");
    for (uri, status) in [
        ("sip:sip.example.com", 200),
        ("sip:192.0.2.1:5060", 200),
        ("sip:elsewhere.net", 400),
        ("sip:192.0.2.9:5060", 400),
    ] {
        assert_eq!(register_with_digest_uri(&mut sim, &alice, uri), status, "{uri}");
    }
}

#[test]
fn a_strict_domain_wants_the_request_uri_as_digest_uri() {
    let mut sim = Sim::with(|domain| domain.auth.strict_uri = true);
    let alice = sim.phone("alice");
    assert_eq!(register_with_digest_uri(&mut sim, &alice, "sip:192.0.2.1:5060"), 400);
    assert_eq!(register_with_digest_uri(&mut sim, &alice, URI), 200);
}

#[test]
fn a_user_registers_no_other_address() {
    let mut sim = Sim::new();
    let alice = sim.phone("alice");
    let draft = sim.draft(&alice, "REGISTER", URI).set("To", "<sip:bob@example.com>");
    let draft = draft.set("From", "<sip:bob@example.com>;tag=x");
    sim.send_authorized(&alice, &draft);
    let refused = sim.expect(&alice, "403");
    assert_eq!(refused.reason().as_deref(), Some("not-your-aor"));
    assert_eq!(sim.changes.len(), 0);
}

fn register_with_digest_uri(sim: &mut Sim, phone: &Phone, digest_uri: &str) -> u16 {
    let draft = sim.draft(phone, "REGISTER", URI);
    sim.send(phone, &draft);
    let challenge = sim.expect(phone, "401");
    let signed = sim
        .authorized(phone, &draft.with_uri(digest_uri), &challenge)
        .with_uri(URI);
    sim.send(phone, &signed);
    sim.receive(phone).expect("an answer").status()
}
