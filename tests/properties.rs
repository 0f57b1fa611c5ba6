//! What holds for all messages, not only for those somebody thought of.

#![expect(clippy::unwrap_used, reason = "a test says what it expects")]

#[path = "support/accessors.rs"]
mod accessors;

use std::path::Path;
use std::sync::OnceLock;

use bytes::{BufMut, Bytes, BytesMut};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use ringbinder::sip::message::Message;
use ringbinder::sip::message::address::{NameAddr, split_values};
use ringbinder::sip::message::credentials::Credentials;
use ringbinder::sip::message::framing::{Frame, Framer, FramingError};
use ringbinder::sip::message::header::HeaderName;
use ringbinder::sip::message::limits::Limits;
use ringbinder::sip::message::reply::put_address;
use ringbinder::sip::message::splice::Splice;
use ringbinder::sip::message::uri::{Host, Uri};
use ringbinder::sip::message::via::{CSeq, Via};

proptest! {
    // A failure becomes a test by name, with its bytes, rather than a line in a file of seeds.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_panic(bytes in vec(any::<u8>(), 0..600)) {
        read(bytes);
    }

    #[test]
    fn no_damaged_message_panics(message in select(torture_messages()), damages in vec(damage(), 1..8)) {
        let mut bytes = message.to_vec();
        for (place, length, text) in damages {
            let start = place.index(bytes.len() + 1);
            let end = bytes.len().min(start + length);
            bytes.splice(start..end, text);
        }
        read(bytes);
    }

    #[test]
    fn no_value_panics(value in vec(select(SCRAPS), 0..24).prop_map(|scraps| scraps.concat())) {
        for part in split_values(&value) {
            let _ = Via::parse(part).map(|via| (via.rport(), via.received_address()));
            let _ = NameAddr::parse(part).map(|address| address.parameters.iter().count());
        }
        let _ = (CSeq::parse(&value), Credentials::parse(&value), Host::parse(&value), Host::parse_address(&value));
        if let Ok(uri) = Uri::parse(&value) {
            prop_assert!(uri.equivalent(&uri));
        }
    }

    #[test]
    fn an_ipv4_address_is_what_the_standard_library_takes(
        text in prop_oneof!["[0-9]{1,4}(\\.[0-9]{0,4}){2,4}", "((25[0-6]|[0-9]{1,2})\\.){3}(25[0-6]|[0-9]{1,3})"],
        rest in "[.a-z:-]{0,2}",
    ) {
        let text = text + &rest;
        let expected: Option<std::net::Ipv4Addr> = text.parse().ok();
        prop_assert_eq!(Host::parse_address(text.as_bytes()).filter(|address| address.is_ipv4()), expected.map(Into::into));
        match Host::parse(text.as_bytes()) {
            Some(Host::V4(address)) => prop_assert_eq!(Some(address), expected),
            _ => prop_assert_eq!(expected, None),
        }
    }

    #[test]
    fn an_address_is_written_as_the_standard_library_writes_it(address in any::<std::net::IpAddr>()) {
        let mut out = BytesMut::new();
        put_address(&mut out, address);
        let expected = address.to_string();
        prop_assert_eq!(&out[..], expected.as_bytes());
    }

    #[test]
    fn rfc3261_16_6_what_is_not_changed_keeps_its_bytes(parts in parts(), uri in "sip:[a-z]{1,20}@[a-z]{1,9}", hops in 0u8..) {
        let message = Message::parse(parts.bytes().into(), &Limits::default()).unwrap();
        let (mut text, mut copy) = (BytesMut::new(), BytesMut::new());
        let mut splice = Splice::new(&message, &mut text);
        splice.replace(8..8 + message.request_uri().len(), uri.as_bytes());
        splice.set(HeaderName::MaxForwards, |out| out.put_slice(hops.to_string().as_bytes()));
        splice.prepend(|out| out.put_slice(b"Via: SIP/2.0/TCP us\r\n"));
        splice.write(&mut copy);
        let mut expected = Parts { uri, hops: hops.to_string(), ..parts };
        expected.lines.insert(0, b"Via: SIP/2.0/TCP us".to_vec());
        prop_assert_eq!(&copy[..], expected.bytes());
    }

    #[test]
    fn rfc3261_19_1_4_equivalence_is_symmetric_and_reflexive(one in uri(), two in uri()) {
        let (one, two) = (Uri::parse(one.as_bytes()).unwrap(), Uri::parse(two.as_bytes()).unwrap());
        prop_assert!(one.equivalent(&one));
        prop_assert_eq!(one.equivalent(&two), two.equivalent(&one));
    }

    #[test]
    fn rfc3261_19_1_4_an_escaped_copy_is_equivalent(uri in uri(), escaped in vec(any::<bool>(), 40)) {
        let copy = escape_letters(&uri, &escaped);
        let (one, two) = (Uri::parse(uri.as_bytes()).unwrap(), Uri::parse(copy.as_bytes()).unwrap());
        prop_assert!(one.equivalent(&two), "{} and {}", uri, copy);
    }

    #[test]
    fn rfc3261_18_3_frames_do_not_depend_on_segmentation(
        stream in vec(prop_oneof![4 => framed_message(), 1 => select(STREAM_SCRAPS).prop_map(<[u8]>::to_vec)], 0..8),
        cuts in vec(any::<Index>(), 0..12),
    ) {
        let stream = stream.concat();
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
        cuts.sort_unstable();
        let mut pieces = Vec::new();
        let mut start = 0;
        for cut in cuts {
            pieces.push(&stream[start..cut]);
            start = cut;
        }
        pieces.push(&stream[start..]);
        prop_assert_eq!(frames(&pieces), frames(&[&stream[..]]));
    }
}

fn read(bytes: Vec<u8>) {
    match Message::parse(bytes.into(), &Limits::default()) {
        Ok(message) => accessors::read_everything(&message),
        Err(malformed) => {
            let _ = malformed.to_string();
        }
    }
}

/// Where to cut how much out, and what to put in.
fn damage() -> impl Strategy<Value = (Index, usize, Vec<u8>)> {
    let scraps = vec(select(SCRAPS), 0..3).prop_map(|scraps| scraps.concat());
    (any::<Index>(), 0usize..6, scraps)
}

const SCRAPS: &[&[u8]] = &[
    b"\r\n",
    b"\r\n ",
    b"\r",
    b"\n",
    b"\0",
    b"\x7f",
    b"\xff",
    b" ",
    b"\t",
    b";",
    b",",
    b"=",
    b"\"",
    b"\\",
    b"<",
    b">",
    b":",
    b"/",
    b"@",
    b"?",
    b"&",
    b"%",
    b"%41",
    b"[",
    b"]",
    b"[::1]",
    b":::1.2.3.4",
    b"sip:",
    b"tel:+",
    b"SIP/2.0/UDP ",
    b"a",
    b"0",
    b"1",
    b"65536",
    b"4294967296",
    b"INVITE",
    b"Digest ",
    b"nc=1,",
    b"username=\"",
    b";tag=",
    b";rport",
    b";received=",
    b"Via:",
    b"l: 1\r\n",
    b"*",
    b"-",
    b".",
    b"+",
];

fn torture_messages() -> &'static [Bytes] {
    static MESSAGES: OnceLock<Vec<Bytes>> = OnceLock::new();
    MESSAGES.get_or_init(|| {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/torture");
        let mut paths: Vec<_> = ["rfc4475", "rfc5118"]
            .iter()
            .flat_map(|set| std::fs::read_dir(folder.join(set)).unwrap())
            .map(|entry| entry.unwrap().path())
            .collect();
        paths.sort();
        paths.iter().map(|path| std::fs::read(path).unwrap().into()).collect()
    })
}

/// A request in parts.
#[derive(Clone, Debug)]
struct Parts {
    uri: String,
    lines: Vec<Vec<u8>>,
    hops: String,
    body: Vec<u8>,
}

impl Parts {
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = format!("MESSAGE {} SIP/2.0\r\n", self.uri).into_bytes();
        for line in &self.lines {
            bytes.extend_from_slice(line);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(format!("max-forwards \t: {}\r\n\r\n", self.hops).as_bytes());
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

fn parts() -> impl Strategy<Value = Parts> {
    let byte = any::<u8>().prop_filter("ends a line", |byte| !b"\r\n".contains(byte));
    let other = vec(byte, 0..40).prop_map(|value| [b"X-Other:", &value[..]].concat());
    let lines = vec(prop_oneof![other, Just(b"x-folded: a\r\n\t b".to_vec())], 0..6);
    (lines, "[0-9]{1,2}", vec(any::<u8>(), 0..80)).prop_map(|(mut lines, hops, body)| {
        let needed: [&[u8]; 5] = [
            b"v: SIP/2.0/UDP a;branch=z9hG4bK1 ,SIP/2.0/TCP b",
            b"F : sip:a@b;tag=1",
            b"t: \"\xff\" <sip:c@d>",
            b"Call-ID:e",
            b"CSEQ: 1\r\n MESSAGE",
        ];
        for (index, line) in needed.into_iter().enumerate() {
            lines.insert((index * 3).min(lines.len()), line.to_vec());
        }
        Parts {
            uri: "sip:bob@example.com".to_owned(),
            lines,
            hops,
            body,
        }
    })
}

/// URIs of so few different parts that two of them are often equivalent.
fn uri() -> impl Strategy<Value = String> {
    let sip = "(sip|SIP|sips):((a|A|;|%3[bB]|%61){1,2}(:(b|B|%62)?)?@)?(h|H|1\\.2\\.3\\.4|\\[::1\\])(:506[01])?\
        (;(user|ttl|method|maddr|transport|lr|x|%78|X)(=(c|C|%63|d)?)?){0,3}(\\?(e|f)=(g|G|h)?(&(e|f)=(g|%67))?)?";
    let tel = "(tel|TEL):(\\+1-?2|1\\(2\\)|12|a2|A2)(;(ext=1-?2|phone-context=(\\+1-?2|h|H)|x(=(c|C|%63))?)){0,2}";
    prop_oneof![4 => sip, 1 => tel]
}

/// Escapes some of the letters behind the scheme of a sip URI that are not part of an escape or of the host.
fn escape_letters(uri: &str, escaped: &[bool]) -> String {
    let (scheme, rest) = uri.split_once(':').unwrap();
    if scheme.eq_ignore_ascii_case("tel") {
        return uri.to_owned();
    }
    let host = rest.find('@').map_or(0, |at| at + 1);
    let host_end = rest[host..].find([';', '?']).map_or(rest.len(), |end| host + end);
    let mut out = format!("{scheme}:");
    for (index, character) in rest.char_indices() {
        let in_escape = rest[index.saturating_sub(2)..index].contains('%');
        let is_free = character.is_ascii_alphabetic() && !in_escape && !(host..host_end).contains(&index);
        if is_free && escaped[index % escaped.len()] {
            out.push_str(&format!("%{:02x}", character as u32));
        } else {
            out.push(character);
        }
    }
    out
}

const STREAM_SCRAPS: &[&[u8]] = &[
    b"\r\n",
    b"\r\n\r\n",
    b"\r",
    b"x",
    b"OPTIONS sip:a SIP/2.0\r\n\r\n",
    b"OPTIONS sip:a SIP/2.0\r\nl: x\r\n\r\n",
    b"OPTIONS sip:a SIP/2.0\r\nl: 999\r\n\r\n",
    &[b'a'; 250],
];

fn framed_message() -> impl Strategy<Value = Vec<u8>> {
    let length = select(
        &[
            "l: ",
            "Content-Length: ",
            "CONTENT-LENGTH  :\r\n\t",
            "X: y\r\nl :",
            "X: y\r\n l: 1\r\nL:",
        ][..],
    );
    (length, vec(select(&b"\r\nab\0\xff"[..]), 0..60)).prop_map(|(length, body)| {
        let head = format!("OPTIONS sip:a SIP/2.0\r\n{length}{}\r\n\r\n", body.len());
        [head.as_bytes(), &body[..]].concat()
    })
}

/// The frames of a stream that comes in `pieces`, up to the first error.
fn frames(pieces: &[&[u8]]) -> Vec<Result<Frame, FramingError>> {
    let limits = Limits {
        message_size: 200,
        ..Limits::default()
    };
    let (mut framer, mut buffer, mut frames) = (Framer::new(&limits), BytesMut::new(), Vec::new());
    for piece in pieces {
        buffer.extend_from_slice(piece);
        while let Some(frame) = framer.next_frame(&mut buffer).transpose() {
            frames.push(frame);
        }
    }
    frames
}
