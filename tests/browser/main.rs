//! Phones in browsers (RFC 7118): JsSIP in Chromium over wss. They call each other with sound, and SIPp over UDP.

#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

mod chromium;
#[path = "../support/mod.rs"]
#[expect(dead_code, reason = "shared with the tests of the process")]
mod support;

use std::net::SocketAddr;
use std::time::Duration;

use chromium::{Chromium, Preloaded, origin, page_port};
use support::sipp::{Running, Sipp};
use support::{Configuration, Daemon};

const WSS: u16 = 8443;

/// Packets, mostly of 20 ms, after which a page has heard the other.
const PACKETS: u32 = 50;

/// A server that lets the pages of one origin in, and a browser with such pages.
fn start() -> (Daemon, Chromium) {
    let page_port = page_port();
    let configuration = Configuration::new();
    let wss = SocketAddr::new(configuration.ip(), WSS);
    let origins = format!("origins = [{:?}]", origin(page_port));
    let server = Daemon::start(configuration.listen("wss", wss).web_key(&origins));
    let chromium = Chromium::start(&server, WSS, page_port);
    (server, chromium)
}

/// Bob's phone on UDP.
fn sipp(scenario: &'static str, server: &Daemon) -> Running {
    let local = SocketAddr::new(server.ip(), 6100);
    let further = if scenario == "register" { "3600" } else { "alice" };
    Sipp::new(scenario, local, server.address())
        .user("bob", &[further])
        .hold(Duration::from_millis(300))
        .start(server.folder())
}

#[test]
fn two_pages_call_each_other_and_hear_each_other() {
    let (server, chromium) = start();
    let (alice, bob) = (chromium.open("alice"), chromium.open("bob"));
    alice.register(Preloaded::Nothing);
    bob.register(Preloaded::Route);

    for (caller, callee, user) in [(alice, bob, "bob"), (bob, alice, "alice")] {
        caller.does("call", user);
        assert_eq!(callee.told("session")["originator"], "incoming");
        assert_eq!(caller.told("progress")["status"], 180);
        callee.does("answer", ());
        for page in [caller, callee] {
            page.told("confirmed");
        }
        for page in [caller, callee] {
            let heard = page.does("heard", PACKETS);
            assert!(heard["bytes"].as_u64() > Some(0), "{heard}");
        }
        alice.does("hangUp", ());
        assert_eq!(alice.told("ended")["originator"], "local");
        assert_eq!(bob.told("ended")["originator"], "remote");
    }

    for page in [alice, bob] {
        page.does("stop", ());
        page.told("unregistered");
    }
    drop(chromium);
    server.stop();
}

#[test]
fn a_page_calls_a_phone_on_udp() {
    let (server, chromium) = start();
    let alice = chromium.open("alice");
    alice.register(Preloaded::Route);
    sipp("register", &server).finish();

    // It answers; the page hangs up.
    let bob = sipp("uas_browser", &server);
    alice.does("call", "bob");
    assert_eq!(alice.told("progress")["status"], 180);
    alice.told("confirmed");
    alice.does("hangUp", ());
    alice.told("ended");
    bob.finish();

    // It is busy.
    let bob = sipp("uas_busy", &server);
    alice.does("call", "bob");
    assert_eq!(alice.told("progress")["status"], 180);
    assert_eq!(alice.told("failed")["status"], 486);
    bob.finish();

    // The page gives up.
    let bob = sipp("uas_cancelled", &server);
    alice.does("call", "bob");
    assert_eq!(alice.told("progress")["status"], 180);
    alice.does("hangUp", ());
    assert_eq!(alice.told("failed")["cause"], "Canceled");
    bob.finish();
    drop(chromium);
    server.stop();
}

#[test]
fn a_phone_on_udp_calls_a_page() {
    let (server, chromium) = start();
    let alice = chromium.open("alice");
    alice.register(Preloaded::Nothing);

    // The page answers; the phone hangs up.
    let bob = sipp("uac_browser", &server);
    alice.told("session");
    alice.does("answer", ());
    alice.told("confirmed");
    assert_eq!(alice.told("ended")["originator"], "remote");
    bob.finish();

    // The page rejects.
    let bob = sipp("uac_rejected", &server);
    alice.told("session");
    alice.does("reject", 486);
    assert_eq!(alice.told("failed")["originator"], "local");
    bob.finish();

    // The phone gives up.
    let bob = sipp("uac_cancel", &server);
    alice.told("session");
    assert_eq!(alice.told("failed")["cause"], "Canceled");
    bob.finish();
    drop(chromium);
    server.stop();
}

#[test]
fn a_page_of_another_origin_is_not_let_in() {
    let (server, chromium) = start();
    let page = chromium.open_elsewhere("alice");
    page.start(Preloaded::Nothing);
    // RFC 6455 §7.1.5: the browser tells the page no more than that.
    let disconnected = page.told("disconnected");
    assert_eq!(disconnected["code"], 1006, "{disconnected}");
    drop(chromium);
    server.stop();
}
