//! Phones on real connections that die and come back (RFC 5626), at this server and through it at another registrar.

use std::time::Duration;

use crate::support::phone::{Phone, uri_of};
use crate::support::place::wait_for;
use crate::support::stream_phone::StreamPhone;
use crate::support::{Configuration, Daemon};

const FLOW: &str = ";+sip.instance=\"<urn:uuid:00000000-0000-1000-8000-000a95a0e128>\";reg-id=1";
const ALICE: &str = "sip:alice@example.test";
const LIMIT: Duration = Duration::from_secs(10);
const SILENCE: Duration = Duration::from_millis(500);

/// Calls alice until that is answered `status`: the end of a connection takes a moment to be seen.
fn until_answered(caller: &Phone, status: u16) {
    wait_for("the end of a connection", LIMIT, || {
        (caller.try_call(ALICE) == Some(status)).then_some(())
    });
}

/// Alice, on `phone`, is called and declines.
fn rings(caller: &Phone, phone: &mut StreamPhone) {
    std::thread::scope(|scope| {
        let ringing = scope.spawn(|| {
            let invite = phone.await_request("INVITE");
            phone.reply(&invite, "486 Busy Here");
        });
        assert_eq!(caller.try_call(ALICE), Some(486));
        ringing.join().unwrap();
    });
    phone.await_request("ACK");
}

#[test]
fn a_phone_whose_connection_dies_is_suspended_and_rings_when_it_is_back() {
    type Connect = fn(&str, &Daemon) -> StreamPhone;
    for (connect, parameters) in [
        (StreamPhone::tls as Connect, FLOW),
        (StreamPhone::tls as Connect, ""),
        (StreamPhone::tcp as Connect, FLOW),
    ] {
        let server = Daemon::start(Configuration::new());
        let bob = Phone::new("bob", server.ip(), server.address());
        let mut alice = connect("alice", &server);
        let ok = alice.register(parameters);
        assert_eq!(ok.find("Require").is_some(), !parameters.is_empty(), "{}", ok.text);
        let contact = alice.contact();
        rings(&bob, &mut alice);

        alice.kill();
        until_answered(&bob, 480);
        let mut alice = connect("alice", &server);
        let bound = alice.bound();
        assert_eq!(bound.len(), 1);
        assert!(bound[0].starts_with(&contact), "{bound:?}");

        alice.register(parameters);
        rings(&bob, &mut alice);
        server.stop();
    }
}

#[test]
fn a_phone_that_reboots_replaces_its_flow() {
    let server = Daemon::start(Configuration::new());
    let bob = Phone::new("bob", server.ip(), server.address());
    let mut before = StreamPhone::tls("alice", &server);
    before.register(FLOW);
    // The old connection stays as it is, as after a loss of power.
    let mut after = StreamPhone::tls("alice", &server);
    let ok = after.register(FLOW);
    assert_eq!(ok.headers("Contact").count(), 1);
    assert!(ok.header("Contact").starts_with(&after.contact()));
    rings(&bob, &mut after);
    before.hears_nothing(SILENCE);
    // Its end, at last, changes nothing.
    before.kill();
    rings(&bob, &mut after);
    server.stop();
}

#[test]
fn many_that_registered_over_one_connection_go_with_it() {
    let mut configuration = Configuration::new();
    let users: Vec<String> = (0..40).map(|number| format!("line{number}")).collect();
    for user in &users {
        configuration = configuration.user(user);
    }
    let server = Daemon::start(configuration);
    let bob = Phone::new("bob", server.ip(), server.address());
    let mut trunk = StreamPhone::tls("alice", &server);
    trunk.register("");
    for user in &users {
        trunk.become_user(user);
        trunk.register("");
    }
    trunk.kill();
    until_answered(&bob, 480);
    for user in &users {
        assert_eq!(bob.try_call(&format!("sip:{user}@example.test")), Some(480), "{user}");
    }
    server.stop();
}

#[test]
fn through_an_edge_the_registrar_reaches_the_flow_and_hears_when_it_is_gone() {
    let registrar = Daemon::start(Configuration::new());
    let edge = format!(
        "[[edge]]\ndomain = \"example.test\"\nregistrar = \"sip:{};transport=tcp\"",
        registrar.address()
    );
    let edge = Daemon::start(Configuration::new().name("edge.test").table(&edge));
    let bob = Phone::new("bob", registrar.ip(), registrar.address());

    let mut alice = StreamPhone::tls("alice", &edge);
    let ok = alice.register(FLOW);
    assert_eq!(ok.header("Require"), "outbound");
    assert!(ok.header("Path").ends_with(";lr;ob>"), "{}", ok.text);
    rings(&bob, &mut alice);

    alice.kill();
    until_answered(&bob, 480);
    let mut alice = StreamPhone::tls("alice", &edge);
    assert_eq!(alice.bound().len(), 1);
    alice.register(FLOW);
    rings(&bob, &mut alice);
    edge.stop();
    registrar.stop();
}

#[test]
fn within_a_call_a_phone_is_reached_over_its_new_connection() {
    let server = Daemon::start(Configuration::new());
    let bob = Phone::new("bob", server.ip(), server.address());
    let mut alice = StreamPhone::tls("alice", &server);
    alice.register(FLOW);
    let (answer, dialog) = std::thread::scope(|scope| {
        scope.spawn(|| {
            let invite = alice.await_request("INVITE");
            alice.reply(&invite, "200 OK");
        });
        bob.invite(ALICE)
    });
    assert_eq!(answer.status(), Some(200));
    let contact = alice.contact();
    bob.request("ACK", uri_of(&contact), &dialog.headers(2, "ACK"));
    alice.await_request("ACK");

    let mut again = StreamPhone::tls("alice", &server).at_the_place_of(&alice);
    alice.kill();
    until_answered(&bob, 480);
    bob.request("INFO", uri_of(&contact), &dialog.headers(3, "INFO"));
    assert_eq!(bob.answer("INFO").status(), Some(430));
    again.register(FLOW);
    bob.request("BYE", uri_of(&contact), &dialog.headers(4, "BYE"));
    let bye = again.await_request("BYE");
    assert_eq!(bye.uri(), uri_of(&contact));
    again.reply(&bye, "200 OK");
    assert_eq!(bob.answer("BYE").status(), Some(200));
    server.stop();
}
