//! STUN on the SIP port (RFC 8489, RFC 5626 §3.5.2, §4.4.2): Binding requests are answered, so that phones keep their NAT
//! open and see when its address changes. Nothing is kept of a request, and nothing else of STUN is served.

use std::net::{IpAddr, SocketAddr};

use bytes::{BufMut, BytesMut};
use thiserror::Error;

/// The largest request that is looked at; phones send 20 to 100 bytes.
pub const REQUEST_MAX: usize = 548;

const HEADER: usize = 20;
const COOKIE: [u8; 4] = 0x2112_A442_u32.to_be_bytes();

const BINDING_REQUEST: u16 = 0x0001;
const BINDING_INDICATION: u16 = 0x0011;
const BINDING_SUCCESS: u16 = 0x0101;
const BINDING_ERROR: u16 = 0x0111;

const ERROR_CODE: u16 = 0x0009;
const UNKNOWN_ATTRIBUTES: u16 = 0x000A;
const XOR_MAPPED_ADDRESS: u16 = 0x0020;
const FINGERPRINT: u16 = 0x8028;

/// The attributes of RFC 8489 §14 that must be understood and mean nothing here.
const UNDERSTOOD: [u16; 10] = [
    0x0001,
    0x0006,
    0x0008,
    ERROR_CODE,
    UNKNOWN_ATTRIBUTES,
    0x0014,
    0x0015,
    0x001C,
    0x001E,
    XOR_MAPPED_ADDRESS,
];

/// The most attributes that a refusal names.
const UNKNOWN_MAX: usize = 8;

/// §14.7.
const FINGERPRINT_XOR: u32 = 0x5354_554E;

/// Why a datagram that looks like STUN is no request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum StunError {
    /// Its length, its cookie or its attributes are wrong, or it is too large.
    #[error("malformed")]
    Malformed,
    /// The fingerprint is of other bytes.
    #[error("the fingerprint is wrong")]
    Fingerprint,
    /// It is an answer, or of a method that is not served.
    #[error("no Binding request")]
    Other,
}

/// Whether a datagram with this first byte is STUN: its two highest bits are zero (RFC 8489 §5), and no SIP message begins
/// with a control character.
#[inline]
pub fn is_stun(first: u8) -> bool {
    first < 4
}

/// What `request` from `remote` is answered; `None`: an indication, which is not.
pub fn answer(request: &[u8], remote: SocketAddr) -> Result<Option<BytesMut>, StunError> {
    let Some((header, attributes)) = request.split_first_chunk::<HEADER>() else {
        return Err(StunError::Malformed);
    };
    let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
    if request.len() > REQUEST_MAX || length != attributes.len() || length % 4 != 0 || header[4..8] != COOKIE {
        return Err(StunError::Malformed);
    }
    let read = Attributes::read(request)?;
    match u16::from_be_bytes([header[0], header[1]]) {
        BINDING_REQUEST => {}
        BINDING_INDICATION => return Ok(None),
        _ => return Err(StunError::Other),
    }
    let transaction = &header[4..HEADER];
    let mut out = BytesMut::with_capacity(HEADER + 44 + 2 * UNKNOWN_MAX);
    match read.unknown() {
        [] => {
            put_header(&mut out, BINDING_SUCCESS, transaction);
            put_address(&mut out, remote, transaction);
        }
        unknown => {
            put_header(&mut out, BINDING_ERROR, transaction);
            put_unknown(&mut out, unknown);
        }
    }
    if read.has_fingerprint {
        // The length covers the fingerprint, which covers the length.
        put_length(&mut out, 8);
        let fingerprint = crc32fast::hash(&out) ^ FINGERPRINT_XOR;
        put_attribute(&mut out, FINGERPRINT, &fingerprint.to_be_bytes());
    }
    put_length(&mut out, 0);
    Ok(Some(out))
}

/// What matters of the attributes of a request.
#[derive(Default)]
struct Attributes {
    unknown: [u16; UNKNOWN_MAX],
    unknown_count: usize,
    has_fingerprint: bool,
}

impl Attributes {
    fn read(request: &[u8]) -> Result<Attributes, StunError> {
        let mut read = Attributes::default();
        let mut rest = &request[HEADER..];
        while let Some((&[high, low, length_high, length_low], after)) = rest.split_first_chunk::<4>() {
            // §14.7: "the FINGERPRINT attribute MUST be the last attribute".
            if read.has_fingerprint {
                return Err(StunError::Malformed);
            }
            let kind = u16::from_be_bytes([high, low]);
            let length = usize::from(u16::from_be_bytes([length_high, length_low]));
            let value = after.get(..length).ok_or(StunError::Malformed)?;
            if kind == FINGERPRINT {
                let before = &request[..request.len() - rest.len()];
                if value != (crc32fast::hash(before) ^ FINGERPRINT_XOR).to_be_bytes() {
                    return Err(StunError::Fingerprint);
                }
                read.has_fingerprint = true;
            } else if kind < 0x8000 && !UNDERSTOOD.contains(&kind) && read.unknown_count < UNKNOWN_MAX {
                read.unknown[read.unknown_count] = kind;
                read.unknown_count += 1;
            }
            rest = after.get(length.next_multiple_of(4)..).ok_or(StunError::Malformed)?;
        }
        Ok(read)
    }

    fn unknown(&self) -> &[u16] {
        &self.unknown[..self.unknown_count]
    }
}

fn put_header(out: &mut BytesMut, kind: u16, transaction: &[u8]) {
    out.put_u16(kind);
    out.put_u16(0);
    out.put_slice(transaction);
}

/// Writes the length of what follows the header and of `further` bytes to come.
fn put_length(out: &mut BytesMut, further: usize) {
    let length = (out.len() - HEADER + further) as u16;
    out[2..4].copy_from_slice(&length.to_be_bytes());
}

fn put_attribute(out: &mut BytesMut, kind: u16, value: &[u8]) {
    out.put_u16(kind);
    out.put_u16(value.len() as u16);
    out.put_slice(value);
    out.put_bytes(0, value.len().next_multiple_of(4) - value.len());
}

/// §14.2. `transaction` is the cookie and the transaction id, which the address is hidden by, because some NATs change
/// every address of theirs that they see.
fn put_address(out: &mut BytesMut, remote: SocketAddr, transaction: &[u8]) {
    let mut value = BytesMut::with_capacity(20);
    value.put_u8(0);
    let mask = |value: &mut BytesMut, octets: &[u8]| {
        value.extend(octets.iter().zip(transaction).map(|(octet, mask)| octet ^ mask));
    };
    let port = remote.port().to_be_bytes();
    match remote.ip().to_canonical() {
        IpAddr::V4(ip) => {
            value.put_u8(1);
            mask(&mut value, &port);
            mask(&mut value, &ip.octets());
        }
        IpAddr::V6(ip) => {
            value.put_u8(2);
            mask(&mut value, &port);
            mask(&mut value, &ip.octets());
        }
    }
    put_attribute(out, XOR_MAPPED_ADDRESS, &value);
}

/// §6.3.1: 420, and which attributes are not known.
fn put_unknown(out: &mut BytesMut, unknown: &[u16]) {
    put_attribute(out, ERROR_CODE, b"\0\0\x04\x14Unknown Attribute");
    let kinds: BytesMut = unknown.iter().flat_map(|kind| kind.to_be_bytes()).collect();
    put_attribute(out, UNKNOWN_ATTRIBUTES, &kinds);
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRANSACTION: [u8; 12] = [0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae];

    fn message(kind: u16, attributes: &[(u16, &[u8])]) -> BytesMut {
        let mut out = BytesMut::new();
        put_header(&mut out, kind, &[&COOKIE[..], &TRANSACTION].concat());
        for (kind, value) in attributes {
            put_attribute(&mut out, *kind, value);
        }
        put_length(&mut out, 0);
        out
    }

    fn attributes(message: &[u8]) -> Vec<(u16, Vec<u8>)> {
        let mut rest = &message[HEADER..];
        let mut found = Vec::new();
        while !rest.is_empty() {
            let length = usize::from(u16::from_be_bytes([rest[2], rest[3]]));
            found.push((u16::from_be_bytes([rest[0], rest[1]]), rest[4..4 + length].to_vec()));
            rest = &rest[4 + length.next_multiple_of(4)..];
        }
        found
    }

    fn answered(request: &[u8], remote: &str) -> BytesMut {
        answer(request, remote.parse().unwrap()).unwrap().unwrap()
    }

    #[test]
    fn the_addresses_are_those_of_the_test_vectors() {
        // RFC 5769 §2.2 and §2.3.
        let request = message(BINDING_REQUEST, &[]);
        let v4 = answered(&request, "192.0.2.1:32853");
        assert_eq!(v4[..2], [1, 1]);
        assert_eq!(v4[4..HEADER], request[4..HEADER]);
        let expected = vec![0x00, 0x01, 0xa1, 0x47, 0xe1, 0x12, 0xa6, 0x43];
        assert_eq!(attributes(&v4), [(XOR_MAPPED_ADDRESS, expected)]);
        let v6 = answered(&request, "[2001:db8:1234:5678:11:2233:4455:6677]:32853");
        let expected = vec![
            0x00, 0x02, 0xa1, 0x47, 0x01, 0x13, 0xa9, 0xfa, 0xa5, 0xd3, 0xf1, 0x79, 0xbc, 0x25, 0xf4, 0xb5, 0xbe, 0xd2,
            0xb9, 0xd9,
        ];
        assert_eq!(attributes(&v6), [(XOR_MAPPED_ADDRESS, expected)]);
        // A v4 client of a socket for both families.
        let mapped = answered(&request, "[::ffff:192.0.2.1]:32853");
        assert_eq!(attributes(&mapped), attributes(&v4));
    }

    #[test]
    fn a_fingerprint_is_checked_and_answered_with_one() {
        let mut request = message(BINDING_REQUEST, &[(0x8022, b"phone")]);
        put_length(&mut request, 8);
        let fingerprint = crc32fast::hash(&request) ^ FINGERPRINT_XOR;
        put_attribute(&mut request, FINGERPRINT, &fingerprint.to_be_bytes());
        let reply = answered(&request, "192.0.2.1:1");
        let found = attributes(&reply);
        assert_eq!(found.last().unwrap().0, FINGERPRINT);
        let covered = crc32fast::hash(&reply[..reply.len() - 8]) ^ FINGERPRINT_XOR;
        assert_eq!(found.last().unwrap().1, covered.to_be_bytes());

        request[25] ^= 1;
        assert_eq!(
            answer(&request, "192.0.2.1:1".parse().unwrap()),
            Err(StunError::Fingerprint)
        );
    }

    #[test]
    fn what_must_be_understood_and_is_not_is_named() {
        // CHANGE-REQUEST, which RFC 8489 has dropped.
        let request = message(
            BINDING_REQUEST,
            &[(0x0003, &[0; 4]), (0x0006, b"user"), (0x8055, b"optional")],
        );
        let reply = answered(&request, "192.0.2.1:1");
        assert_eq!(reply[..2], [0x01, 0x11]);
        let found = attributes(&reply);
        assert_eq!(found[0].1[..4], [0, 0, 4, 20]);
        assert_eq!(found[1], (UNKNOWN_ATTRIBUTES, vec![0, 3]));

        let many: Vec<(u16, &[u8])> = (0x0100..0x0120).map(|kind| (kind, &b""[..])).collect();
        let reply = answered(&message(BINDING_REQUEST, &many), "192.0.2.1:1");
        assert!(reply.len() < 100, "{}", reply.len());
    }

    #[test]
    fn everything_else_is_not_answered() {
        let remote = "192.0.2.1:1".parse().unwrap();
        assert_eq!(answer(&message(BINDING_INDICATION, &[]), remote), Ok(None));
        for kind in [BINDING_SUCCESS, BINDING_ERROR, 0x0003] {
            assert_eq!(answer(&message(kind, &[]), remote), Err(StunError::Other));
        }
        let whole = message(BINDING_REQUEST, &[(0x8022, b"phone")]);
        for length in 0..whole.len() {
            assert_eq!(answer(&whole[..length], remote), Err(StunError::Malformed), "{length}");
        }
        let mut no_cookie = whole.clone();
        no_cookie[4] = 0;
        assert_eq!(answer(&no_cookie, remote), Err(StunError::Malformed));
        let mut too_long = whole.clone();
        too_long[23] = 0xff;
        assert_eq!(answer(&too_long, remote), Err(StunError::Malformed));
        let large = message(BINDING_REQUEST, &[(0x8022, &[0; REQUEST_MAX])]);
        assert_eq!(answer(&large, remote), Err(StunError::Malformed));
    }
}
