//! Every message of RFC 4475 and RFC 5118, and what is made of it. The messages are never deleted, only marked.

#![expect(clippy::unwrap_used, reason = "a test says what it expects")]

mod answers;
mod bench;
mod parts;
mod rfc4475;
mod rfc5118;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use bytes::{Bytes, BytesMut};
use ringbinder::sip::message::framing::{Frame, Framer, FramingError};
use ringbinder::sip::message::limits::Limits;
use ringbinder::sip::message::method::Method;
use ringbinder::sip::message::splice::Splice;
use ringbinder::sip::message::{Message, ParseError};

/// A message, the section that describes it, and how it is read.
struct Case {
    section: &'static str,
    name: &'static str,
    expected: Expected,
}

enum Expected {
    /// It is read, and its parts are these.
    Read(fn(&Message)),
    /// It is refused; what is left is enough for a reply.
    Refused(ParseError),
    /// It is dropped: a response, or a request without what a reply copies.
    Dropped(ParseError),
}

const fn case(section: &'static str, name: &'static str, expected: Expected) -> Case {
    Case {
        section,
        name,
        expected,
    }
}

/// The folder of each set of messages, and what is expected of them.
const SETS: [(&str, &[Case]); 2] = [("rfc4475", rfc4475::CASES), ("rfc5118", rfc5118::CASES)];

#[test]
fn every_message_is_read_as_its_section_says() {
    for (set, case) in all() {
        let title = format!("{set} §{} {}", case.section, case.name);
        println!("{title}");
        let result = Message::parse(bytes(set, case.name), &Limits::default());
        match (&case.expected, result) {
            (Expected::Read(check), Ok(message)) => check(&message),
            (Expected::Refused(expected), Err(malformed)) => {
                assert_eq!(malformed.error, *expected, "{title}");
                assert!(malformed.request.is_some(), "{title} can be answered");
            }
            (Expected::Dropped(expected), Err(malformed)) => {
                assert_eq!(malformed.error, *expected, "{title}");
                assert!(malformed.request.is_none(), "{title} cannot be answered");
            }
            (Expected::Read(_), Err(malformed)) => panic!("{title}: {malformed}"),
            (Expected::Refused(_) | Expected::Dropped(_), Ok(_)) => panic!("{title} is taken"),
        }
    }
}

#[test]
fn there_is_a_case_for_every_message() {
    for (set, cases) in SETS {
        let files: BTreeSet<String> = std::fs::read_dir(folder(set))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        let cases: BTreeSet<String> = cases.iter().map(|case| format!("{}.dat", case.name)).collect();
        assert_eq!(files, cases);
    }
}

#[test]
fn rfc3261_16_6_an_unchanged_copy_has_the_same_bytes() {
    for (set, case) in all() {
        let Ok(message) = Message::parse(bytes(set, case.name), &Limits::default()) else {
            continue;
        };
        let (mut text, mut copy) = (BytesMut::new(), BytesMut::new());
        Splice::new(&message, &mut text).write(&mut copy);
        assert_eq!(copy, message.bytes(), "{}", case.name);
    }
}

#[test]
fn rfc3261_18_3_on_a_stream_content_length_decides() {
    for (set, case) in all() {
        let datagram = bytes(set, case.name);
        let first = Framer::new(&Limits::default()).next_frame(&mut BytesMut::from(&datagram[..]));
        match case.name {
            "ncl" | "mcl01" => assert!(matches!(first, Err(FramingError::BadContentLength { .. }))),
            "inv2543" => assert!(matches!(first, Err(FramingError::NoContentLength { .. }))),
            "clerr" | "baddn" => assert_eq!(first, Ok(None), "the rest may still come"),
            name => {
                let Ok(Some(Frame::Message(frame))) = first else {
                    panic!("{name}: {first:?}");
                };
                if let Ok(message) = Message::parse(datagram, &Limits::default()) {
                    assert_eq!(frame, message.bytes(), "{name}");
                }
            }
        }
    }
}

#[test]
fn rfc4475_3_1_1_8_on_a_stream_the_second_request_is_one() {
    let mut stream = BytesMut::from(&bytes("rfc4475", "dblreq")[..]);
    let mut framer = Framer::new(&Limits::default());
    let mut methods = Vec::new();
    while methods.len() < 2 {
        if let Some(Frame::Message(bytes)) = framer.next_frame(&mut stream).unwrap() {
            methods.push(Message::parse(bytes, &Limits::default()).unwrap().method());
        }
    }
    assert_eq!(methods, [Method::Register, Method::Invite]);
}

/// Every case and its set.
fn all() -> impl Iterator<Item = (&'static str, &'static Case)> {
    SETS.into_iter()
        .flat_map(|(set, cases)| cases.iter().map(move |case| (set, case)))
}

fn bytes(set: &str, name: &str) -> Bytes {
    let path = folder(set).join(format!("{name}.dat"));
    let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    Bytes::from(bytes)
}

fn folder(set: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/torture").join(set)
}
