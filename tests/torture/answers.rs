//! What the server answers to each message (RFC 4475 §3, RFC 5118 §4), in virtual time.
//!
//! It serves example.com, under that and two other names, for strangers too; `user` and whoever else is called has a
//! phone.

use crate::bench::{Bench, message, status};
use crate::{all, bytes};
use bytes::Bytes;
use ringbinder::sip::message::Message;
use ringbinder::sip::message::header::HeaderName;

/// What becomes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A final response with this status.
    Status(u16),
    /// It goes on to the phone.
    Forwarded,
    /// Nothing is sent.
    Silence,
}

use Answer::{Forwarded, Silence, Status};

const ANSWERS: &[(&str, Answer)] = &[
    // Not for us: the caller of a served domain has to say who it is.
    ("wsinv", Status(407)),
    ("intmeth", Forwarded),
    ("esc01", Forwarded),
    ("escnull", Status(401)),
    // No REGISTER, whatever it looks like, and not for us.
    ("esc02", Status(407)),
    ("lwsdisp", Forwarded),
    ("longreq", Forwarded),
    ("dblreq", Status(401)),
    // Not to be taken for the user before the semicolon.
    ("semiuri", Status(480)),
    ("transports", Forwarded),
    ("mpart01", Status(407)),
    ("unreason", Silence),
    ("noreason", Silence),
    ("badinv01", Status(400)),
    ("clerr", Status(400)),
    ("ncl", Status(400)),
    ("scalar02", Status(400)),
    ("scalarlg", Silence),
    ("quotbal", Status(400)),
    ("ltgtruri", Status(400)),
    ("lwsruri", Status(400)),
    ("lwsstart", Status(400)),
    ("trws", Status(400)),
    ("escruri", Status(400)),
    ("baddate", Forwarded),
    ("regbadct", Status(401)),
    ("badaspec", Status(400)),
    ("baddn", Status(400)),
    ("badvers", Status(505)),
    ("mismatch01", Status(400)),
    ("mismatch02", Status(400)),
    ("bigcode", Silence),
    ("badbranch", Forwarded),
    // Without Call-ID, From and To there is nothing to build a 400 from.
    ("insuf", Silence),
    ("unkscm", Status(416)),
    ("novelsc", Status(416)),
    ("unksm2", Status(404)),
    ("bext01", Status(420)),
    // A type of body is no matter of a proxy.
    ("invut", Forwarded),
    ("regaut01", Status(401)),
    ("multi01", Status(400)),
    ("mcl01", Status(400)),
    // Not to be sent to 255.255.255.255, nor anywhere.
    ("bcast", Silence),
    ("zeromf", Status(200)),
    ("cparam01", Status(401)),
    ("cparam02", Status(401)),
    ("regescrt", Status(401)),
    ("sdp01", Forwarded),
    ("inv2543", Forwarded),
    ("test", Silence),
    ("ipv6-good", Status(401)),
    ("ipv6-bad", Status(400)),
    // Another address than ours.
    ("port-ambiguous", Status(403)),
    ("port-unambiguous", Status(401)),
    ("via-received-param-no-delim", Status(200)),
    ("via-received-param-with-delim", Status(404)),
    ("ipv6-in-sdp", Forwarded),
    ("mult-ip-in-header", Status(407)),
    ("mult-ip-in-sdp", Forwarded),
    ("ipv4-mapped-ipv6", Forwarded),
    ("ipv6-bug-abnf-3-colons", Status(407)),
    ("ipv6-correct-abnf-2-colons", Status(407)),
];

/// A registrar's answers to those who prove who they are.
const REGISTERED: &[(&str, u16, &[&str])] = &[
    (
        "escnull",
        200,
        &["<sip:%00@host5.example.com>", "<sip:%00%00@host5.example.com>"],
    ),
    ("dblreq", 200, &["<sip:j.user@host.example.com>"]),
    ("regbadct", 400, &[]),
    ("regaut01", 200, &[]),
    ("cparam01", 200, &["<sip:+19725552222@gw1.example.net>;unknownparam"]),
    ("cparam02", 200, &["<sip:+19725552222@gw1.example.net;unknownparam>"]),
    (
        "regescrt",
        200,
        &["<sip:user@example.com?Route=%3Csip:sip.example.com%3E>"],
    ),
    ("ipv6-good", 200, &["<sip:caller@[2001:db8::1]>"]),
    ("port-unambiguous", 200, &["<sip:caller@[2001:db8::1]>"]),
];

#[test]
fn every_message_is_answered_as_its_section_says() {
    let mut wrong = Vec::new();
    for (set, case) in all() {
        let expected = ANSWERS.iter().find(|(name, _)| *name == case.name).unwrap().1;
        let got = answer(&Bench::new().receive(&bytes(set, case.name)));
        if got != expected {
            wrong.push(format!("{}: {got:?}, not {expected:?}", case.name));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(ANSWERS.len(), all().count());
}

#[test]
fn rfc3261_16_6_what_goes_on_keeps_its_lines_and_its_body() {
    for (set, case) in all() {
        let sent = Bench::new().receive(&bytes(set, case.name));
        let Some(forwarded) = sent.iter().find(|bytes| status(bytes).is_none()) else {
            continue;
        };
        let (forwarded, original) = (&message(forwarded), message(&bytes(set, case.name)));
        assert_eq!(forwarded.body(), original.body(), "{}", case.name);
        assert_eq!(forwarded.call_id(), original.call_id());
        for name in [
            HeaderName::From,
            HeaderName::To,
            HeaderName::CSeq,
            HeaderName::Contact,
            HeaderName::Date,
        ] {
            let lines = |message: &Message| message.lines(name).map(<[u8]>::to_vec).collect::<Vec<_>>();
            assert_eq!(lines(forwarded), lines(&original), "{}", case.name);
        }
        let vias = |message: &Message| message.values(HeaderName::Via).count();
        assert_eq!(vias(forwarded), vias(&original) + 1, "{}", case.name);
        let hops = original.max_forwards().map_or(70, |hops| hops.unwrap() - 1);
        assert_eq!(forwarded.max_forwards(), Some(Ok(hops)), "{}", case.name);
    }
}

#[test]
fn rfc4475_3_3_5_the_420_names_what_is_not_supported() {
    let sent = Bench::new().receive(&bytes("rfc4475", "bext01"));
    let reply = message(&sent[0]);
    let unsupported: Vec<_> = reply.values(HeaderName::Unsupported).collect();
    assert_eq!(
        unsupported,
        [&b"noProxiesSupportThis"[..], b"norDoAnyProxiesSupportThis"]
    );
}

#[test]
fn every_registration_is_answered_as_its_section_says() {
    for (name, status, contacts) in REGISTERED {
        let set = if name.contains("ip") || name.contains("port") {
            "rfc5118"
        } else {
            "rfc4475"
        };
        let reply = Bench::without_phones().register(&bytes(set, name));
        assert_eq!(reply.status(), Some(*status), "{name}: {:?}", reply.bytes());
        let bound: Vec<_> = reply
            .values(HeaderName::Contact)
            .map(|contact| {
                String::from_utf8(contact.to_vec())
                    .unwrap()
                    .replace(";expires=3600", "")
            })
            .collect();
        assert_eq!(bound, *contacts, "{name}");
    }
}

/// What the messages sent come to.
fn answer(sent: &[Bytes]) -> Answer {
    let finals: Vec<_> = sent.iter().filter_map(status).filter(|status| *status >= 200).collect();
    let requests = sent.iter().filter(|bytes| status(bytes).is_none()).count();
    match (&finals[..], requests) {
        ([], 0) => Silence,
        ([], 1) => Forwarded,
        ([status], 0) => Status(*status),
        _ => panic!("{finals:?} and {requests} requests"),
    }
}
