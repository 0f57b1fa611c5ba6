//! Several addresses, the wildcard, and IPv6: a reply leaves from the address that got the request.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use crate::support::phone::{Phone, uri_of};
use crate::support::place::{Folder, free_port, loopback};
use crate::support::sipp::Sipp;
use crate::support::{Configuration, DOMAIN, Daemon};

#[test]
fn with_two_addresses_the_reply_comes_from_the_one_addressed() {
    let (first, second) = (SocketAddr::new(loopback(), 5060), SocketAddr::new(loopback(), 5060));
    let configuration = Configuration::on(first.ip(), first.port())
        .listen("udp", second)
        .listen("tcp", second);
    let server = Daemon::start(configuration);
    for address in [first, second] {
        expect_reply_from(address);
    }
    call_across(&server, first, second);
    server.stop();
}

#[test]
fn with_the_wildcard_the_reply_comes_from_the_address_addressed() {
    let port = free_port(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    let (first, second) = (SocketAddr::new(loopback(), port), SocketAddr::new(loopback(), port));
    let configuration = Configuration::on(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port).probe(first);
    let server = Daemon::start(
        configuration
            .alias(&first.ip().to_string())
            .alias(&second.ip().to_string()),
    );
    for address in [first, second] {
        expect_reply_from(address);
    }
    call_across(&server, first, second);
    server.stop();
}

#[test]
fn with_the_ipv6_wildcard_the_reply_comes_from_the_address_addressed() {
    let port = free_port(IpAddr::V6(Ipv6Addr::UNSPECIFIED));
    let address = SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), port);
    let configuration = Configuration::on(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port).probe(address);
    let server = Daemon::start(configuration.alias("[::1]"));
    expect_reply_from(address);
    server.stop();
}

#[test]
fn calls_over_ipv6() {
    let ip = IpAddr::V6(Ipv6Addr::LOCALHOST);
    let server = Daemon::start(Configuration::on(ip, free_port(ip)));
    call_between(&server, server.address(), server.address());
    server.stop();
}

#[test]
fn calls_from_ipv6_to_ipv4_and_back() {
    let ip = IpAddr::V6(Ipv6Addr::LOCALHOST);
    let other = SocketAddr::new(loopback(), 5060);
    let server = Daemon::start(Configuration::on(ip, free_port(ip)).listen("udp", other));
    call_between(&server, server.address(), other);
    call_between(&server, other, server.address());
    server.stop();
}

#[test]
fn across_families_each_side_is_given_an_address_of_its_own() {
    let ip = IpAddr::V6(Ipv6Addr::LOCALHOST);
    let other = SocketAddr::new(loopback(), 5060);
    let server = Daemon::start(Configuration::on(ip, free_port(ip)).listen("udp", other));
    let (alice, bob) = (
        Phone::new("alice", ip, server.address()),
        Phone::new("bob", other.ip(), other),
    );
    bob.register();
    let dialog = alice.call(&bob);
    // RFC 5658: two Record-Routes, of which each side finds its own first
    let [nearest_callee, nearest_caller] = &dialog.routes[..] else {
        panic!("{:?}", dialog.routes);
    };
    assert!(nearest_callee.contains(&format!("@{other};lr")), "{nearest_callee}");
    assert!(
        nearest_caller.contains(&format!("@{};lr", server.address())),
        "{nearest_caller}"
    );
    bob.request("BYE", uri_of(&alice.contact()), &dialog.callee_headers(1, "BYE"));
    let bye = alice.await_request("BYE");
    assert_eq!(bye.source, server.address());
    alice.reply(&bye, "200 OK", "");
    assert_eq!(bob.answer("BYE").status(), Some(200));
    server.stop();
}

#[test]
fn a_host_name_elsewhere_is_looked_up() {
    let server = Daemon::start(Configuration::new());
    let alice = Phone::new("alice", server.ip(), server.address());
    let localhost = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let service = Phone::new("service", localhost, server.address());
    let uri = format!("sip:service@localhost:{}", service.address().port());
    let headers = |cseq: u32, credentials: &str| {
        let (from, contact) = (alice.aor(), alice.contact());
        format!(
            "From: <{from}>;tag=1\r\nTo: <{uri}>\r\nCall-ID: elsewhere\r\nCSeq: {cseq} MESSAGE\r\nContact: {contact}\r\n{credentials}"
        )
    };
    alice.request("MESSAGE", &uri, &headers(1, ""));
    let challenge = alice.answer("MESSAGE");
    assert_eq!(challenge.status(), Some(407), "{}", challenge.text);
    alice.request(
        "MESSAGE",
        &uri,
        &headers(2, &alice.credentials(&challenge, "MESSAGE", &uri)),
    );
    let request = service.await_request("MESSAGE");
    assert_eq!(
        request.find("Proxy-Authorization"),
        None,
        "credentials for this server stay here"
    );
    service.reply(&request, "200 OK", "");
    assert_eq!(alice.answer("MESSAGE").status(), Some(200));
    server.stop();
}

/// SIPp at one address of the server calls SIPp at the other, with re-INVITEs from both sides.
fn call_between(server: &Daemon, caller_side: SocketAddr, callee_side: SocketAddr) {
    let folder = Folder::new();
    let local = |side: SocketAddr| SocketAddr::new(side.ip(), free_port(side.ip()));
    let (caller, callee) = (local(caller_side), local(callee_side));
    Sipp::new("register", callee, callee_side)
        .user("bob", &["3600"])
        .run(&folder);
    let answering = Sipp::new("uas_dialog", callee, callee_side).start(&folder);
    Sipp::new("uac_dialog", caller, caller_side)
        .user("alice", &["bob"])
        .run(&folder);
    answering.finish();
    // the binding goes, so that the next call does not ring an empty port
    Sipp::new("register_removed", callee, callee_side)
        .user("bob", &[])
        .run(&folder);
    assert!(!server.log().contains("panicked"));
}

/// A phone at each address; the call goes in by one and out by the other.
fn call_across(server: &Daemon, first: SocketAddr, second: SocketAddr) {
    let bob = Phone::new("bob", second.ip(), second);
    let alice = Phone::new("alice", first.ip(), first);
    bob.register();
    let dialog = alice.call(&bob);
    assert_eq!(
        dialog.invite.source, second,
        "the callee's flow has the address it registered at"
    );
    bob.request("BYE", uri_of(&alice.contact()), &dialog.callee_headers(1, "BYE"));
    let bye = alice.await_request("BYE");
    assert_eq!(bye.source, first, "the caller's flow has the address it called");
    alice.reply(&bye, "200 OK", "");
    assert_eq!(bob.answer("BYE").status(), Some(200));
    assert!(!server.log().contains("panicked"));
}

fn expect_reply_from(address: SocketAddr) {
    let phone = Phone::new("nobody", address.ip(), address);
    let headers =
        format!("From: <sip:nobody@{DOMAIN}>;tag=1\r\nTo: <sip:{DOMAIN}>\r\nCall-ID: {address}\r\nCSeq: 1 OPTIONS\r\n");
    phone.request("OPTIONS", &format!("sip:{DOMAIN}"), &headers);
    let answer = phone.poll(Duration::from_secs(5)).expect("an answer");
    assert_eq!(answer.status(), Some(200));
    assert_eq!(answer.source, address);
}
