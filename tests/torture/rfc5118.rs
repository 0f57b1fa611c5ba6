//! What the messages of RFC 5118 §4 say.

use ringbinder::sip::message::Message;
use ringbinder::sip::message::uri::{Uri, UriError};

use crate::Expected::Read;
use crate::parts::{host, only_contact, request_uri, vias};
use crate::{Case, case};

pub const CASES: &[Case] = &[
    // IPv6.
    case("4.1", "ipv6-good", Read(an_ipv6_reference)),
    case("4.2", "ipv6-bad", Read(an_ipv6_address_without_brackets)),
    case("4.3", "port-ambiguous", Read(a_port_within_the_brackets)),
    case("4.4", "port-unambiguous", Read(a_port_after_the_brackets)),
    case("4.5", "via-received-param-with-delim", Read(received_in_either_form)),
    case("4.5", "via-received-param-no-delim", Read(received_in_either_form)),
    case("4.6", "ipv6-in-sdp", Read(ipv6_in_sdp)),
    case("4.7", "mult-ip-in-header", Read(several_address_families_in_via)),
    case("4.8", "mult-ip-in-sdp", Read(several_address_families_in_sdp)),
    case("4.9", "ipv4-mapped-ipv6", Read(ipv4_mapped_addresses)),
    case("4.10", "ipv6-bug-abnf-3-colons", Read(two_or_three_colons)),
    case("4.10", "ipv6-correct-abnf-2-colons", Read(two_or_three_colons)),
];

fn an_ipv6_reference(message: &Message) {
    assert_eq!(host(&request_uri(message)), "[2001:db8::10]");
    assert_eq!(message.top_via().unwrap().host_bytes, b"[2001:db8::9:1]");
    assert_eq!(host(&only_contact(message).parsed_uri().unwrap()), "[2001:db8::1]");
}

fn an_ipv6_address_without_brackets(message: &Message) {
    // The line has its three parts; whoever routes the request refuses it.
    assert_eq!(Uri::parse(message.request_uri()).unwrap_err(), UriError::Host);
}

fn a_port_within_the_brackets(message: &Message) {
    let uri = request_uri(message);
    assert_eq!((host(&uri).as_str(), uri.port), ("[2001:db8::10:5070]", None));
}

fn a_port_after_the_brackets(message: &Message) {
    let uri = request_uri(message);
    assert_eq!((host(&uri).as_str(), uri.port), ("[2001:db8::10]", Some(5070)));
}

fn received_in_either_form(message: &Message) {
    let via = message.top_via().unwrap();
    assert_eq!(via.received_address(), "2001:db8::9:255".parse().ok());
    assert!(via.branch().unwrap().starts_with(b"z9hG4bKas3"));
}

fn ipv6_in_sdp(message: &Message) {
    assert_eq!(host(&request_uri(message)), "[2001:db8::10]");
    assert_eq!(message.body().len(), 251);
}

fn several_address_families_in_via(message: &Message) {
    let vias = vias(message);
    let hosts: Vec<_> = vias.iter().map(|via| via.host.to_string()).collect();
    assert_eq!(hosts, ["[2001:db8::9:1]", "192.0.2.1", "[2001:db8::9:255]"]);
    assert_eq!(vias[0].port, Some(6050));
    assert_eq!(vias[2].received_address(), "192.0.2.200".parse().ok());
}

fn several_address_families_in_sdp(message: &Message) {
    assert_eq!(message.body().len(), 189);
}

fn ipv4_mapped_addresses(message: &Message) {
    let hosts: Vec<_> = vias(message).iter().map(|via| via.host.to_string()).collect();
    assert_eq!(hosts, ["[::ffff:192.0.2.10]", "[::ffff:192.0.2.2]"]);
    assert_eq!(host(&only_contact(message).parsed_uri().unwrap()), "[::ffff:192.0.2.2]");
}

fn two_or_three_colons(message: &Message) {
    assert_eq!(host(&request_uri(message)), "[2001:db8::c000:201]");
    assert_eq!(
        host(&message.to().unwrap().parsed_uri().unwrap()),
        "[2001:db8::c000:201]"
    );
}
