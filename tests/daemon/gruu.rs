//! GRUUs of the running server (RFC 5627): one phone of two rings, and a temporary GRUU outlives a restart.

use std::time::Duration;

use crate::support::phone::{Phone, Received};
use crate::support::{Configuration, DOMAIN, Daemon};

const SILENCE: Duration = Duration::from_millis(300);

/// Registers `phone` as `instance`, always with the same Call-ID, and returns its GRUUs, the public one first.
fn register(phone: &Phone, instance: &str) -> [String; 2] {
    let uri = format!("sip:{DOMAIN}");
    let (aor, contact) = (phone.aor(), phone.contact());
    let headers = |credentials: &str| {
        let cseq = phone.fresh();
        format!(
            "From: <{aor}>;tag=r\r\nTo: <{aor}>\r\nCall-ID: gruu-{instance}\r\nCSeq: {cseq} REGISTER\r\n\
             Contact: {contact};+sip.instance=\"<{instance}>\";expires=3600\r\nSupported: gruu\r\n{credentials}"
        )
    };
    phone.request("REGISTER", &uri, &headers(""));
    let challenge = phone.answer("REGISTER");
    let credentials = phone.credentials(&challenge, "REGISTER", &uri);
    phone.request("REGISTER", &uri, &headers(&credentials));
    let ok = phone.answer("REGISTER");
    assert_eq!(ok.status(), Some(200), "{}", ok.text);
    let own = ok.headers("Contact").find(|value| value.contains(instance)).unwrap();
    ["pub-gruu", "temp-gruu"].map(|name| {
        let (_, rest) = own.split_once(&format!(";{name}=\"")).unwrap();
        rest.split('"').next().unwrap().to_owned()
    })
}

/// Calls `uri`, where `phone` declines. Returns the INVITE.
fn rings(caller: &Phone, phone: &Phone, uri: &str) -> Received {
    let call = caller.start_call(uri);
    let invite = phone.await_request("INVITE");
    assert_eq!(invite.header("Call-ID"), call.call_id);
    phone.reply(&invite, "486 Busy Here", "");
    assert_eq!(caller.answer("INVITE").status(), Some(486));
    phone.await_request("ACK");
    invite
}

#[test]
fn a_gruu_leads_to_one_phone_and_outlives_a_restart() {
    let mut server = Daemon::start(Configuration::new());
    let phone = |user: &str| Phone::new(user, server.ip(), server.address());
    let (bob, desk, pocket) = (phone("bob"), phone("alice"), phone("alice"));
    let [public, temporary] = register(&desk, "urn:uuid:1");
    let others = register(&pocket, "urn:uuid:2");
    assert_eq!(public, format!("sip:alice@{DOMAIN};gr=urn:uuid:1"));
    for uri in [&public, &temporary] {
        rings(&bob, &desk, uri);
    }
    rings(&bob, &pocket, &others[1]);
    desk.hears_nothing(SILENCE);
    pocket.hears_nothing(SILENCE);

    server.restart();
    // Whoever called last is no phone that is registered now.
    let bob = Phone::new("bob", server.ip(), server.address());
    assert_eq!(bob.try_call(&public), Some(480));
    assert_eq!(bob.try_call(&temporary), Some(404));
    register(&pocket, "urn:uuid:2");
    let [_, renewed] = register(&desk, "urn:uuid:1");
    assert_ne!(temporary, renewed);
    for uri in [&public, &temporary, &renewed] {
        rings(&bob, &desk, uri);
    }
    pocket.hears_nothing(SILENCE);
    server.stop();
}
