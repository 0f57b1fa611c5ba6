//! Requests within a call: only who was given the Record-Route token gets through, and only to the other side.

use std::time::Duration;

use crate::support::phone::{Dialog, Phone, Received, uri_of};
use crate::support::{Configuration, Daemon};

const SILENCE: Duration = Duration::from_millis(700);

/// A server with alice and bob in a call, and mallory, who has no account.
struct Scene {
    server: Daemon,
    alice: Phone,
    bob: Phone,
    mallory: Phone,
    dialog: Dialog,
}

impl Scene {
    fn new() -> Scene {
        let server = Daemon::start(Configuration::new());
        let phone = |user: &str| Phone::new(user, server.ip(), server.address());
        let (alice, bob, mallory) = (phone("alice"), phone("bob"), phone("mallory"));
        bob.register();
        let dialog = alice.call(&bob);
        Scene {
            server,
            alice,
            bob,
            mallory,
            dialog,
        }
    }
}

#[test]
fn a_request_with_a_wrong_token_is_not_relayed() {
    let Scene {
        server,
        bob,
        mallory,
        dialog,
        ..
    } = Scene::new();
    let forged: Vec<String> = dialog.routes.iter().map(|route| with_another_token(route)).collect();
    let dialog = Dialog {
        routes: forged,
        ..dialog
    };
    mallory.request("BYE", uri_of(&bob.contact()), &dialog.headers(100, "BYE"));
    let status = mallory.answer("BYE").status();
    assert!(matches!(status, Some(403 | 407)), "{status:?}");
    bob.hears_nothing(SILENCE);
    server.stop();
}

#[test]
fn a_request_without_a_token_is_not_relayed() {
    let Scene {
        server,
        bob,
        mallory,
        dialog,
        ..
    } = Scene::new();
    let routes = vec![format!("<sip:{};lr>", server.address())];
    let dialog = Dialog { routes, ..dialog };
    mallory.request("BYE", uri_of(&bob.contact()), &dialog.headers(100, "BYE"));
    let status = mallory.answer("BYE").status();
    assert!(matches!(status, Some(403 | 407)), "{status:?}");
    bob.hears_nothing(SILENCE);
    server.stop();
}

#[test]
fn an_ack_with_a_wrong_token_is_dropped() {
    let Scene {
        server,
        bob,
        mallory,
        dialog,
        ..
    } = Scene::new();
    let forged: Vec<String> = dialog.routes.iter().map(|route| with_another_token(route)).collect();
    let dialog = Dialog {
        routes: forged,
        ..dialog
    };
    mallory.request("ACK", uri_of(&bob.contact()), &dialog.headers(100, "ACK"));
    mallory.hears_nothing(SILENCE);
    bob.hears_nothing(SILENCE);
    server.stop();
}

#[test]
fn a_token_does_not_serve_another_dialog() {
    let Scene {
        server,
        bob,
        mallory,
        dialog,
        ..
    } = Scene::new();
    for other in [
        Dialog {
            call_id: "another".to_owned(),
            routes: dialog.routes.clone(),
            ..copy(&dialog)
        },
        Dialog {
            caller: "<sip:alice@example.test>;tag=another".to_owned(),
            ..copy(&dialog)
        },
    ] {
        mallory.request("BYE", uri_of(&bob.contact()), &other.headers(100, "BYE"));
        let status = mallory.answer("BYE").status();
        assert!(matches!(status, Some(403 | 407)), "{status:?}");
        bob.hears_nothing(SILENCE);
    }
    server.stop();
}

#[test]
fn a_real_token_leads_to_the_other_side_whatever_the_request_uri() {
    let Scene {
        server,
        alice,
        bob,
        mallory,
        dialog,
    } = Scene::new();
    let elsewhere = uri_of(&mallory.contact()).to_owned();
    alice.request("INFO", &elsewhere, &dialog.headers(100, "INFO"));
    let request = bob.await_request("INFO");
    assert_eq!(request.uri(), elsewhere);
    bob.reply(&request, "200 OK", "");
    assert_eq!(alice.answer("INFO").status(), Some(200));
    bob.request("BYE", &elsewhere, &dialog.callee_headers(1, "BYE"));
    let request = alice.await_request("BYE");
    alice.reply(&request, "200 OK", "");
    assert_eq!(bob.answer("BYE").status(), Some(200));
    mallory.hears_nothing(SILENCE);
    server.stop();
}

#[test]
fn a_call_outlives_a_restart_of_the_server() {
    let Scene {
        mut server,
        alice,
        bob,
        dialog,
        ..
    } = Scene::new();
    server.restart();
    bob.request("BYE", uri_of(&alice.contact()), &dialog.callee_headers(1, "BYE"));
    let bye = alice.await_request("BYE");
    alice.reply(&bye, "200 OK", "");
    assert_eq!(bob.answer("BYE").status(), Some(200));
    server.stop();
}

fn copy(dialog: &Dialog) -> Dialog {
    Dialog {
        call_id: dialog.call_id.clone(),
        caller: dialog.caller.clone(),
        callee: dialog.callee.clone(),
        routes: dialog.routes.clone(),
        invite: Received {
            text: dialog.invite.text.clone(),
            source: dialog.invite.source,
        },
    }
}

/// The route with one character in the middle of its user part changed.
fn with_another_token(route: &str) -> String {
    let (start, end) = (
        route.find("sip:").unwrap() + 4,
        route.find('@').expect("a token before the @"),
    );
    let middle = (start + end) / 2;
    let other = if &route[middle..=middle] == "A" { "B" } else { "A" };
    format!("{}{other}{}", &route[..middle], &route[middle + 1..])
}
