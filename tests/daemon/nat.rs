//! A server behind 1:1 NAT: it has a private address, and the world another one, which it advertises.

use std::net::{IpAddr, SocketAddr};

use crate::support::namespace::{Own, run_in};
use crate::support::phone::{Phone, uri_of};
use crate::support::{Configuration, DOMAIN, Daemon};

/// What the server is bound to, and what the world knows it by.
const PRIVATE: &str = "10.0.0.5";
const PUBLIC: &str = "203.0.113.7";
/// Where the phones are.
const PHONES: &str = "198.51.100.10";

/// Everything that goes to the public address comes to the private one, and what the server sends leaves from the public
/// one.
const SETUP: &str = "
ip link set lo up
ip address add 10.0.0.5/32 dev lo
ip address add 198.51.100.10/32 dev lo
ip route add 203.0.113.7/32 dev lo
nft 'table ip nat {
  chain there { type nat hook output priority -100; ip daddr 203.0.113.7 dnat to 10.0.0.5; }
  chain back { type nat hook postrouting priority 100; ip saddr 10.0.0.5 ip daddr 198.51.100.0/24 snat to 203.0.113.7; }
}'";

#[test]
fn a_server_behind_one_to_one_nat_is_reached_by_what_it_advertises() {
    let name = "nat::a_server_behind_one_to_one_nat_is_reached_by_what_it_advertises";
    run_in(Own::Network, name, SETUP, || {
        let public = SocketAddr::new(PUBLIC.parse().unwrap(), 5060);
        let phones: IpAddr = PHONES.parse().unwrap();
        let configuration = Configuration::on(PRIVATE.parse().unwrap(), 5060).advertise(PUBLIC);
        let server = Daemon::start(configuration);
        let (alice, bob) = (Phone::new("alice", phones, public), Phone::new("bob", phones, public));
        bob.register();
        let dialog = alice.call(&bob);
        let via = dialog.invite.header("Via");
        assert!(via.starts_with("SIP/2.0/UDP 203.0.113.7:5060;"), "{via}");
        assert_eq!(dialog.invite.source, public);
        assert_eq!(dialog.routes.len(), 1);
        assert!(dialog.routes[0].contains("@203.0.113.7:5060;lr"), "{:?}", dialog.routes);
        assert!(!dialog.invite.text.contains(PRIVATE), "{}", dialog.invite.text);

        // both sides reach each other by the Record-Route
        bob.request("INFO", uri_of(&alice.contact()), &dialog.callee_headers(1, "INFO"));
        let info = alice.await_request("INFO");
        alice.reply(&info, "200 OK", "");
        assert_eq!(bob.answer("INFO").status(), Some(200));
        alice.request("BYE", uri_of(&bob.contact()), &dialog.headers(90, "BYE"));
        let bye = bob.await_request("BYE");
        bob.reply(&bye, "200 OK", "");
        assert_eq!(alice.answer("BYE").status(), Some(200));

        // the public address means the server itself
        let headers = |uri: &str| {
            format!("From: <sip:nobody@{DOMAIN}>;tag=1\r\nTo: <{uri}>\r\nCall-ID: options\r\nCSeq: 1 OPTIONS\r\n")
        };
        let uri = format!("sip:{public}");
        alice.request("OPTIONS", &uri, &headers(&uri));
        assert_eq!(alice.answer("OPTIONS").status(), Some(200));
        server.stop();
    });
}

#[test]
fn a_contact_with_a_private_address_is_reached_at_its_source() {
    let server = Daemon::start(Configuration::new());
    let (alice, bob) = (
        Phone::new("alice", server.ip(), server.address()),
        Phone::new("bob", server.ip(), server.address()),
    );
    let (aor, uri) = (bob.aor(), format!("sip:{DOMAIN}"));
    let headers = |cseq: u32, credentials: &str| {
        format!(
            "From: <{aor}>;tag=r\r\nTo: <{aor}>\r\nCall-ID: private\r\nCSeq: {cseq} REGISTER\r\n\
             Contact: <sip:bob@192.168.178.20:5060>;expires=3600\r\n{credentials}"
        )
    };
    bob.request("REGISTER", &uri, &headers(1, ""));
    let challenge = bob.answer("REGISTER");
    let credentials = bob.credentials(&challenge, "REGISTER", &uri);
    bob.request("REGISTER", &uri, &headers(2, &credentials));
    assert_eq!(bob.answer("REGISTER").status(), Some(200));
    let dialog = alice.call(&bob);
    assert_eq!(dialog.invite.uri(), "sip:bob@192.168.178.20:5060");
    server.stop();
}
