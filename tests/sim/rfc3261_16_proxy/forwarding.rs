//! What a forwarded message looks like (RFC 3261 §16.3, §16.6, §16.7 step 9).

use std::time::Duration;

use ringbinder::sip::hop::Transport;

use super::caller_and_phones;
use crate::support::Sim;

const BOB: &str = "sip:bob@example.com";

/// The headers that a proxy touches.
const TOUCHED: [&str; 5] = [
    "Via",
    "Record-Route",
    "Max-Forwards",
    "Max-Breadth",
    "Proxy-Authorization",
];

#[test]
fn nothing_is_touched_but_what_must_be() {
    let mut sim = Sim::new();
    let (alice, phones) = caller_and_phones(&mut sim, 1);
    let body: Vec<u8> = (0..=255).collect();
    let draft = sim
        .draft(&alice, "INVITE", BOB)
        .add("X-Odd", "  spaces \t kept")
        .add("x-odd", "folded\r\n\tonce\r\n  twice")
        .add("s", "compact")
        .add("Allow-Events", "a,b ,  c")
        .add(
            "Proxy-Authorization",
            "Digest username=\"alice\", realm=\"elsewhere.net\", nonce=\"n\", uri=\"u\", response=\"r\"",
        )
        .add("X-Empty", "")
        .body("application/octet-stream", &body);
    let sent = sim.invite_with(&alice, &draft.add("X-Last", "\u{e9}\u{ff}"));
    let got = sim.expect(&phones[0], "INVITE");

    let is_untouched = |line: &&str| !TOUCHED.iter().any(|name| line.starts_with(&format!("{name}:")));
    let head = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes).into_owned();
        text.split("\r\n\r\n").next().unwrap().to_owned()
    };
    let (sent_head, got_head) = (head(&sent.bytes()), head(got.message.bytes()));
    let expected: Vec<&str> = sent_head.split("\r\n").skip(1).filter(is_untouched).collect();
    let forwarded: Vec<&str> = got_head.split("\r\n").skip(1).filter(is_untouched).collect();
    assert_eq!(forwarded, expected);
    assert_eq!(got.message.body(), body);
    assert_eq!(got.uri(), phones[0].contact);
}

#[test]
fn our_credentials_are_taken_out_and_others_left() {
    let mut sim = Sim::new();
    let (alice, phones) = caller_and_phones(&mut sim, 1);
    let other = "Digest username=\"alice\", realm=\"elsewhere.net\", nonce=\"n\", uri=\"u\", response=\"r\"";
    let draft = sim.draft(&alice, "MESSAGE", BOB);
    sim.send(&alice, &draft);
    let challenge = sim.expect(&alice, "407");
    let draft = sim
        .authorized(&alice, &draft, &challenge)
        .add("Proxy-Authorization", other);
    sim.send(&alice, &draft);
    let got = sim.expect(&phones[0], "MESSAGE");
    assert_eq!(got.lines("Proxy-Authorization"), [other]);
}

#[test]
fn our_via_is_on_top_and_the_senders_says_where_it_came_from() {
    let mut sim = Sim::new();
    let (alice, phones) = caller_and_phones(&mut sim, 1);
    for (via, expected) in [
        (
            "SIP/2.0/UDP 10.0.0.1:5062;branch=z9hG4bKa;rport",
            "SIP/2.0/UDP 10.0.0.1:5062;branch=z9hG4bKa;rport=PORT;received=HOST",
        ),
        (
            "SIP/2.0/UDP 10.0.0.1:5062;branch=z9hG4bKa",
            "SIP/2.0/UDP 10.0.0.1:5062;branch=z9hG4bKa;received=HOST",
        ),
        (
            "SIP/2.0/UDP phone.invalid;rport;branch=z9hG4bKa",
            "SIP/2.0/UDP phone.invalid;rport=PORT;branch=z9hG4bKa;received=HOST",
        ),
        (
            "SIP/2.0/UDP HOST:PORT;branch=z9hG4bKa",
            "SIP/2.0/UDP HOST:PORT;branch=z9hG4bKa",
        ),
    ] {
        let here = |text: &str| {
            let text = text.replace("HOST", &alice.flow.remote.ip().to_string());
            text.replace("PORT", &alice.flow.remote.port().to_string())
        };
        let mut draft = sim.draft(&alice, "MESSAGE", BOB).set("Via", &here(via));
        draft = draft.add("Via", "SIP/2.0/TCP earlier.invalid;branch=z9hG4bKearlier");
        sim.send(&alice, &draft);
        // The answers to what has no rport go to the port of the Via.
        let challenge = sim.delivered.pop_front().expect("a challenge");
        let draft = sim.authorized(&alice, &draft, &challenge).branch("z9hG4bKa");
        sim.send(&alice, &draft);
        let got = sim.expect(&phones[0], "MESSAGE");
        let vias = got.values("Via");
        assert!(
            vias[0].starts_with("SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK"),
            "{vias:?}"
        );
        assert_eq!(vias[1], here(expected));
        assert_eq!(vias[2], "SIP/2.0/TCP earlier.invalid;branch=z9hG4bKearlier");
        sim.respond(&phones[0], &got, "200 OK");
        sim.delivered.clear();
        sim.advance(std::time::Duration::from_secs(60));
    }
}

#[test]
fn each_transport_names_itself_in_our_via() {
    let mut sim = Sim::new();
    let alice = sim.registered("alice");
    let expected = [
        (Transport::Udp, "SIP/2.0/UDP 192.0.2.1:5060;"),
        (Transport::Tcp, "SIP/2.0/TCP 192.0.2.1:5060;"),
        (Transport::Tls, "SIP/2.0/TLS 192.0.2.1:5061;"),
    ];
    let phones = expected.map(|(transport, _)| sim.registered_over("bob", transport));
    sim.invite(&alice, BOB);
    for (phone, (_, via)) in phones.iter().zip(expected) {
        let got = sim.expect(phone, "INVITE");
        assert!(got.values("Via")[0].starts_with(via), "{}", got.text());
    }
}

#[test]
fn a_stream_gets_content_length_even_if_the_datagram_had_none() {
    let mut sim = Sim::new();
    let alice = sim.registered("alice");
    let bob = sim.registered_over("bob", Transport::Tcp);
    for body in [&b""[..], b"hello"] {
        let draft = sim
            .draft(&alice, "MESSAGE", BOB)
            .body("text/plain", body)
            .add("Content-Length", "");
        sim.send_authorized(&alice, &draft);
        let got = sim.expect(&bob, "MESSAGE");
        assert_eq!(got.header("Content-Length"), body.len().to_string());
        assert_eq!(got.message.body(), body);
    }
}

#[test]
fn bytes_after_the_body_of_a_datagram_are_dropped() {
    let mut sim = Sim::new();
    let (alice, phones) = caller_and_phones(&mut sim, 1);
    let draft = sim.draft(&alice, "MESSAGE", BOB).body("text/plain", b"hello, world");
    sim.send_authorized(&alice, &draft.add("Content-Length", "5"));
    let got = sim.expect(&phones[0], "MESSAGE");
    assert_eq!(got.message.body(), b"hello");
    assert_eq!(got.header("Content-Length"), "5");
}

#[test]
fn max_forwards_counts_down_and_is_added_when_absent() {
    let mut sim = Sim::new();
    let (alice, phones) = caller_and_phones(&mut sim, 1);
    for (sent, forwarded) in [(Some("70"), "69"), (Some("1"), "0"), (Some("255"), "254"), (None, "70")] {
        let mut draft = sim.draft(&alice, "MESSAGE", BOB).without("Max-Forwards");
        if let Some(sent) = sent {
            draft = draft.add("Max-Forwards", sent);
        }
        sim.send_authorized(&alice, &draft);
        let got = sim.expect(&phones[0], "MESSAGE");
        assert_eq!(got.header("Max-Forwards"), forwarded);
    }
}

#[test]
fn no_hops_left_is_refused_and_options_answered() {
    let mut sim = Sim::new();
    let (alice, _) = caller_and_phones(&mut sim, 1);
    sim.advance(std::time::Duration::from_secs(60));
    for (method, kind) in [("INVITE", "483"), ("MESSAGE", "483"), ("OPTIONS", "200")] {
        let draft = sim.draft(&alice, method, BOB).set("Max-Forwards", "0");
        sim.send(&alice, &draft);
        sim.expect(&alice, kind);
        sim.nothing_else();
        assert!(sim.is_idle());
    }
}

#[test]
fn an_unreadable_max_forwards_is_a_bad_request() {
    let mut sim = Sim::new();
    let alice = sim.phone("alice");
    for value in ["many", "256", "-1"] {
        let draft = sim.draft(&alice, "MESSAGE", BOB).set("Max-Forwards", value);
        sim.send(&alice, &draft);
        sim.expect(&alice, "400");
    }
}

#[test]
fn an_unsupported_scheme_is_refused() {
    let mut sim = Sim::new();
    let alice = sim.registered("alice");
    for uri in [
        "mailto:bob@example.com",
        "nobodyKnowsThisScheme:totallyopaquecontent",
        "urn:service:sosa",
    ] {
        let draft = sim.draft(&alice, "INVITE", uri).set("To", "<sip:bob@example.com>");
        sim.send(&alice, &draft);
        assert_eq!(
            sim.expect(&alice, "416").start_line(),
            "SIP/2.0 416 Unsupported URI Scheme"
        );
    }
    for uri in ["urn:service:sos", "urn:service:sos.fire"] {
        let draft = sim.draft(&alice, "INVITE", uri).set("To", "<sip:bob@example.com>");
        sim.send(&alice, &draft);
        sim.expect(&alice, "407");
    }
}

#[test]
fn an_unknown_proxy_require_is_refused_with_its_name() {
    let mut sim = Sim::new();
    let (alice, _) = caller_and_phones(&mut sim, 1);
    let draft = sim
        .draft(&alice, "INVITE", BOB)
        .add("Proxy-Require", "foo, bar")
        .add("Require", "100rel");
    sim.send(&alice, &draft);
    let refused = sim.expect(&alice, "420");
    assert_eq!(refused.values("Unsupported"), ["foo", "bar"]);
    sim.nothing_else();
}

#[test]
fn require_is_for_the_callee() {
    let mut sim = Sim::new();
    let (alice, phones) = caller_and_phones(&mut sim, 1);
    let draft = sim.draft(&alice, "INVITE", BOB).add("Require", "100rel, foo");
    sim.invite_with(&alice, &draft);
    let got = sim.expect(&phones[0], "INVITE");
    assert_eq!(got.values("Require"), ["100rel", "foo"]);
}

#[test]
fn a_response_loses_our_via_and_nothing_else() {
    let mut sim = Sim::new();
    let (alice, phones) = caller_and_phones(&mut sim, 1);
    let body: Vec<u8> = (0..=255).rev().collect();
    sim.invite(&alice, BOB);
    let invite = sim.expect(&phones[0], "INVITE");
    let answer = sim.answer(&phones[0], &invite, "200 All right \u{fc}");
    let answer = answer
        .add("x-odd", "folded\r\n\tonce")
        .add("Server", "phone/1.0")
        .body("application/octet-stream", &body);
    sim.deliver(&invite.flow, answer.bytes());
    let got = sim.expect(&alice, "200");

    let via = format!("Via: {}\r\n", invite.lines("Via")[0]);
    let sent = answer.bytes();
    let at = sent
        .windows(via.len())
        .position(|window| window == via.as_bytes())
        .unwrap();
    let expected = [&sent[..at], &sent[at + via.len()..]].concat();
    assert_eq!(got.message.bytes(), &expected);
}

#[test]
fn two_vias_on_one_line_are_taken_apart() {
    let mut sim = Sim::new();
    let (alice, phones) = caller_and_phones(&mut sim, 1);
    sim.invite(&alice, BOB);
    let invite = sim.expect(&phones[0], "INVITE");
    let vias = invite.values("Via").join(" ,\r\n ");
    let answer = sim.answer(&phones[0], &invite, "200 OK").without("Via").add("v", &vias);
    sim.deliver(&invite.flow, answer.bytes());
    let got = sim.expect(&alice, "200");
    assert_eq!(got.values("v"), [invite.values("Via")[1]]);
}

#[test]
fn a_response_without_a_second_via_goes_nowhere() {
    let mut sim = Sim::new();
    let (alice, phones) = caller_and_phones(&mut sim, 1);
    sim.invite(&alice, BOB);
    let invite = sim.expect(&phones[0], "INVITE");
    let own = invite.lines("Via")[0].to_owned();
    for status in ["180 Ringing", "486 Busy Here"] {
        let answer = sim.answer(&phones[0], &invite, status).set("Via", &own);
        sim.deliver(&invite.flow, answer.bytes());
        sim.nothing_else();
    }
    // The phone has not answered, then.
    sim.advance(std::time::Duration::from_millis(32_100));
    sim.expect(&alice, "408");
}

#[test]
fn a_final_response_without_a_second_via_ends_nothing() {
    for (method, status) in [
        ("INVITE", "200 OK"),
        ("INVITE", "486 Busy Here"),
        ("MESSAGE", "200 OK"),
        ("MESSAGE", "486 Busy Here"),
    ] {
        let mut sim = Sim::new();
        let (alice, phones) = caller_and_phones(&mut sim, 1);
        let draft = sim.draft(&alice, method, BOB);
        sim.send_authorized(&alice, &draft);
        let request = sim.expect(&phones[0], method);
        sim.delivered.clear();
        let own = request.lines("Via")[0].to_owned();
        for via in [own.clone(), format!("{own},")] {
            let answer = sim.answer(&phones[0], &request, status).set("Via", &via);
            sim.deliver(&request.flow, answer.bytes());
        }
        sim.nothing_else();
        sim.respond(&phones[0], &request, status);
        sim.expect(&alice, &status[..3]);
        sim.advance(Duration::from_secs(120));
        assert!(sim.is_idle(), "{method} {status}");
    }
}

#[test]
fn responses_go_back_where_the_request_came_from() {
    let mut sim = Sim::new();
    let (alice, phones) = caller_and_phones(&mut sim, 1);
    // Without rport to the port of the Via, at the address that the request came from (§18.2.2).
    let draft = sim
        .draft(&alice, "OPTIONS", BOB)
        .set("Via", "SIP/2.0/UDP 10.1.1.1:5999;branch=z9hG4bKx");
    sim.send(&alice, &draft);
    let got = sim.delivered.pop_front().unwrap();
    assert_eq!(got.flow.remote.to_string(), format!("{}:5999", alice.flow.remote.ip()));
    // Without a port to 5060.
    let draft = sim
        .draft(&alice, "OPTIONS", BOB)
        .set("Via", "SIP/2.0/UDP 10.1.1.1;branch=z9hG4bKy");
    sim.send(&alice, &draft);
    let got = sim.delivered.pop_front().unwrap();
    assert_eq!(got.flow.remote.to_string(), format!("{}:5060", alice.flow.remote.ip()));
    // On a stream over the connection.
    let carol = sim.phone_over("carol", Transport::Tls);
    let draft = sim.draft(&carol, "OPTIONS", BOB);
    sim.send(&carol, &draft);
    let got = sim.expect(&carol, "407");
    assert_eq!(got.flow, carol.flow);
    assert!(sim.receive(&phones[0]).is_none());
}

#[test]
fn our_name_without_a_user_is_answered_here() {
    let mut sim = Sim::new();
    let alice = sim.phone("alice");
    for uri in [
        "sip:example.com",
        "sip:SIP.example.com",
        "sip:192.0.2.1",
        "sip:192.0.2.1:5060;transport=tcp",
    ] {
        let draft = sim.draft(&alice, "OPTIONS", uri);
        sim.send(&alice, &draft);
        let ok = sim.expect(&alice, "200");
        for header in ["Allow", "Accept", "Supported"] {
            assert!(ok.has(header), "{}", ok.text());
        }
        let draft = sim.draft(&alice, "NOTIFY", uri).add("Event", "keep-alive");
        sim.send(&alice, &draft);
        sim.expect(&alice, "200");
        for method in ["MESSAGE", "INVITE", "SUBSCRIBE", "BYE"] {
            let draft = sim.draft(&alice, method, uri);
            sim.send(&alice, &draft);
            sim.expect(&alice, "404");
        }
    }
    sim.nothing_else();
    assert!(sim.is_idle());
}

#[test]
fn an_ack_or_cancel_to_our_name_is_no_business_of_ours() {
    let mut sim = Sim::new();
    let alice = sim.phone("alice");
    let ack = sim.draft(&alice, "ACK", "sip:example.com");
    sim.send(&alice, &ack);
    let cancel = sim.draft(&alice, "CANCEL", "sip:example.com");
    sim.send(&alice, &cancel);
    assert_eq!(sim.kinds(&alice), ["481"]);
}

#[test]
fn a_malformed_request_is_answered_if_it_can_be() {
    let mut sim = Sim::new();
    let alice = sim.phone("alice");
    let no_call_id = sim.draft(&alice, "MESSAGE", BOB).without("Call-ID");
    let wrong_method = sim.draft(&alice, "MESSAGE", BOB).set("CSeq", "1 INVITE");
    let two_from = sim.draft(&alice, "MESSAGE", BOB).add("From", "<sip:x@y>;tag=2");
    let short = sim.draft(&alice, "MESSAGE", BOB).add("Content-Length", "10");
    let uri = sim.draft(&alice, "MESSAGE", "sip:bob@example.com:70000");
    for (draft, kinds) in [
        (no_call_id, &[][..]),
        (wrong_method, &["400"]),
        (two_from, &["400"]),
        (short, &["400"]),
        (uri, &["400"]),
    ] {
        sim.send(&alice, &draft);
        assert_eq!(sim.kinds(&alice), kinds, "{draft:?}");
    }
    let version = sim.draft(&alice, "MESSAGE", BOB).bytes();
    let version = String::from_utf8(version.to_vec())
        .unwrap()
        .replacen("SIP/2.0\r\n", "SIP/7.0\r\n", 1);
    sim.deliver(&alice.flow, version.into());
    assert_eq!(sim.kinds(&alice), ["505"]);
    sim.nothing_else();
    assert!(sim.is_idle());
}

#[test]
fn a_malformed_ack_or_response_is_dropped() {
    let mut sim = Sim::new();
    let (alice, phones) = caller_and_phones(&mut sim, 1);
    let ack = sim.draft(&alice, "ACK", BOB).add("Content-Length", "10");
    sim.send(&alice, &ack);
    sim.invite(&alice, BOB);
    let invite = sim.expect(&phones[0], "INVITE");
    let answer = sim.answer(&phones[0], &invite, "200 OK").without("CSeq");
    sim.deliver(&invite.flow, answer.bytes());
    for junk in [&b""[..], b"\r\n", b"\0\0\0\0", b"hello", b"SIP/2.0 200 OK\r\n\r\n"] {
        sim.deliver(&alice.flow, junk.into());
    }
    sim.nothing_else();
}

#[test]
fn a_message_too_large_is_refused() {
    let mut sim = Sim::new();
    let alice = sim.phone("alice");
    let draft = sim.draft(&alice, "MESSAGE", BOB).body("text/plain", &[b'x'; 65_536]);
    sim.send(&alice, &draft);
    sim.expect(&alice, "513");
    assert!(sim.is_idle());
}

#[test]
fn a_large_request_goes_over_tcp_where_nothing_speaks_against_it() {
    let mut sim = Sim::new();
    let alice = sim.registered("alice");
    let (over_udp, over_tcp) = (
        sim.peer(Transport::Udp, "203.0.113.5:5060"),
        sim.peer(Transport::Tcp, "203.0.113.5:5060"),
    );
    let large = |sim: &mut Sim, uri| sim.draft(&alice, "MESSAGE", uri).body("text/plain", &[b'x'; 1400]);

    let small = sim.draft(&alice, "MESSAGE", "sip:carl@203.0.113.5");
    sim.send_authorized(&alice, &small);
    sim.expect(&over_udp, "MESSAGE");
    let draft = large(&mut sim, "sip:carl@203.0.113.5");
    sim.send_authorized(&alice, &draft);
    let got = sim.expect(&over_tcp, "MESSAGE");
    assert!(got.values("Via")[0].starts_with("SIP/2.0/TCP"), "{}", got.text());
    let draft = large(&mut sim, "sip:carl@203.0.113.5;transport=udp");
    sim.send_authorized(&alice, &draft);
    sim.expect(&over_udp, "MESSAGE");

    sim.unreachable.insert((Transport::Tcp, over_tcp.flow.remote));
    let draft = large(&mut sim, "sip:carl@203.0.113.5");
    sim.send_authorized(&alice, &draft);
    let got = sim.expect(&over_udp, "MESSAGE");
    assert!(got.values("Via")[0].starts_with("SIP/2.0/UDP"), "{}", got.text());
}

#[test]
fn any_method_is_forwarded() {
    let mut sim = Sim::new();
    let (alice, phones) = caller_and_phones(&mut sim, 1);
    for method in [
        "MESSAGE",
        "OPTIONS",
        "SUBSCRIBE",
        "NOTIFY",
        "REFER",
        "INFO",
        "PUBLISH",
        "NEWMETHOD!",
    ] {
        let draft = sim.draft(&alice, method, BOB);
        sim.send_authorized(&alice, &draft);
        let got = sim.expect(&phones[0], method);
        sim.respond(&phones[0], &got, "202 Accepted");
        sim.expect(&alice, "202");
    }
    sim.advance(std::time::Duration::from_secs(60));
    sim.nothing_else();
    assert!(sim.is_idle());
}
