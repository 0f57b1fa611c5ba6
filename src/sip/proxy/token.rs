//! The token in the user part of our Record-Route: where each side of a dialog is reached, under a MAC.
//!
//! A request inside the dialog that carries it goes to the other side and nowhere else; nobody can make one without
//! the key, and one that was really given cannot be used in another dialog, for the MAC covers Call-ID and the
//! caller's From tag.

use std::hash::Hasher;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::{BufMut, BytesMut};
use siphasher::sip128::SipHasher24;
use smallvec::SmallVec;

use crate::sip::hop::{ConnectionId, Flow, Hop, Target, Transport};
use crate::sip::location::AddressOfRecord;

/// The two sides of a dialog, as a token holds them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sides {
    /// The caller.
    pub caller: Side,
    /// The callee.
    pub callee: Side,
}

/// One side of a dialog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Side {
    /// Where it is reached.
    pub target: Target,
    /// The [`owner_hash`] of its AOR, by which another flow of its phone is found when the target is a flow that has ended.
    pub owner: Option<u64>,
}

/// Which side of the dialog sent a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// The caller: the request's From tag is that of the dialog's INVITE.
    Caller,
    /// The callee: the request's To tag is.
    Callee,
}

impl Sides {
    /// The side that did not send.
    pub fn other(&self, sender: Sender) -> &Side {
        match sender {
            Sender::Caller => &self.callee,
            Sender::Callee => &self.caller,
        }
    }
}

/// Appends the token of a dialog, as text that needs no escaping in a URI's user part. `domain` is the
/// [`name_hash`] of the domain on whose account the dialog is.
pub fn write(key: &[u8; 16], sides: &Sides, call_id: &[u8], from_tag: &[u8], domain: u64, out: &mut BytesMut) {
    let mut raw: SmallVec<[u8; 96]> = SmallVec::new();
    raw.push(VERSION);
    raw.extend_from_slice(&domain.to_be_bytes());
    put_side(&mut raw, &sides.caller);
    put_side(&mut raw, &sides.callee);
    let mac = mac(key, &raw, call_id, from_tag);
    put_text(raw, mac, out);
}

/// Appends the token of a flow (RFC 5626 §5.2): whoever has it may send requests to who is there. It is given to the
/// registrar behind us only, and to the flow's own phone.
pub fn write_flow(key: &[u8; 16], flow: &Flow, out: &mut BytesMut) {
    let mut raw: SmallVec<[u8; 96]> = SmallVec::new();
    raw.push(FLOW_VERSION);
    let side = Side {
        target: Target::Flow(*flow),
        owner: None,
    };
    put_side(&mut raw, &side);
    let mac = mac(key, &raw, b"", b"");
    put_text(raw, mac, out);
}

/// The flow that `token` names, when it is ours.
pub fn read_flow(key: &[u8; 16], token: &[u8]) -> Option<Flow> {
    let raw = decode(token)?;
    let (payload, stated) = raw.split_at_checked(raw.len().checked_sub(MAC_LENGTH)?)?;
    if !bool::from(subtle::ConstantTimeEq::ct_eq(&mac(key, payload, b"", b"")[..], stated)) {
        return None;
    }
    let mut reader = Reader(payload);
    match (reader.byte()?, reader.side()?.target) {
        (FLOW_VERSION, Target::Flow(flow)) => Some(flow),
        (_, Target::Flow(_) | Target::Hop(_)) => None,
    }
}

fn put_text(mut raw: SmallVec<[u8; 96]>, mac: [u8; MAC_LENGTH], out: &mut BytesMut) {
    raw.extend_from_slice(&mac);
    let mut text: SmallVec<[u8; 160]> = SmallVec::from_elem(0, raw.len().div_ceil(3) * 4);
    if let Ok(length) = URL_SAFE_NO_PAD.encode_slice(&raw, &mut text) {
        out.put_slice(&text[..length]);
    }
}

fn decode(token: &[u8]) -> Option<SmallVec<[u8; 160]>> {
    if token.len() > MAX_TEXT {
        return None;
    }
    let mut raw: SmallVec<[u8; 160]> = SmallVec::from_elem(0, token.len());
    let length = URL_SAFE_NO_PAD.decode_slice(token, &mut raw).ok()?;
    raw.truncate(length);
    Some(raw)
}

/// The sides held by `token` and which of them sends, when the token is ours and belongs to the dialog that the
/// request's Call-ID and tags name.
pub fn read(
    key: &[u8; 16],
    token: &[u8],
    call_id: &[u8],
    from_tag: Option<&[u8]>,
    to_tag: Option<&[u8]>,
) -> Option<(Sides, Sender)> {
    let raw = decode(token)?;
    let split = raw.len().checked_sub(MAC_LENGTH)?;
    let (payload, stated) = raw.split_at(split);
    let is_of = |tag: Option<&[u8]>| {
        tag.is_some_and(|tag| {
            bool::from(subtle::ConstantTimeEq::ct_eq(
                &mac(key, payload, call_id, tag)[..],
                stated,
            ))
        })
    };
    let sender = if is_of(from_tag) {
        Sender::Caller
    } else if is_of(to_tag) {
        Sender::Callee
    } else {
        return None;
    };
    let mut reader = Reader(payload);
    if reader.byte()? != VERSION {
        return None;
    }
    reader.take(8)?;
    let caller = reader.side()?;
    let callee = reader.side()?;
    Some((Sides { caller, callee }, sender))
}

fn put_side(raw: &mut SmallVec<[u8; 96]>, Side { target, owner }: &Side) {
    let (transport, local, remote) = (target.transport(), target.local(), target.remote());
    let (connection, name) = match target {
        Target::Flow(flow) => (flow.connection, None),
        Target::Hop(hop) => (None, hop.server_name.as_deref()),
    };
    let is_hop = matches!(target, Target::Hop(_));
    let name = name.filter(|name| name.len() <= 255);
    let flags = u8::from(is_hop)
        | (u8::from(connection.is_some()) << 1)
        | (u8::from(name.is_some()) << 2)
        | (u8::from(remote.is_ipv6()) << 3)
        | ((transport as u8) << 4)
        | (u8::from(owner.is_some()) << 7);
    raw.push(flags);
    for address in [local, remote] {
        match address.ip() {
            IpAddr::V4(ip) => raw.extend_from_slice(&ip.octets()),
            IpAddr::V6(ip) => raw.extend_from_slice(&ip.octets()),
        }
        raw.extend_from_slice(&address.port().to_be_bytes());
    }
    if let Some(ConnectionId(id)) = connection {
        raw.extend_from_slice(&id.to_be_bytes());
    }
    if let Some(name) = name {
        raw.push(name.len() as u8);
        raw.extend_from_slice(name.as_bytes());
    }
    if let Some(owner) = owner {
        raw.extend_from_slice(&owner.to_be_bytes());
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(head)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    fn address(&mut self, is_v6: bool) -> Option<SocketAddr> {
        let ip = if is_v6 {
            IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(self.take(16)?).ok()?))
        } else {
            IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(self.take(4)?).ok()?))
        };
        let port = u16::from_be_bytes(self.take(2)?.try_into().ok()?);
        Some(SocketAddr::new(ip, port))
    }

    fn side(&mut self) -> Option<Side> {
        let flags = self.byte()?;
        let target = self.target(flags)?;
        let owner = match flags & 0x80 {
            0 => None,
            _ => Some(u64::from_be_bytes(self.take(8)?.try_into().ok()?)),
        };
        Some(Side { target, owner })
    }

    fn target(&mut self, flags: u8) -> Option<Target> {
        let transport = match (flags >> 4) & 7 {
            0 => Transport::Udp,
            1 => Transport::Tcp,
            2 => Transport::Tls,
            3 => Transport::Ws,
            4 => Transport::Wss,
            _ => return None,
        };
        let is_v6 = flags & 8 != 0;
        let local = self.address(is_v6)?;
        let remote = self.address(is_v6)?;
        let connection = match flags & 2 {
            0 => None,
            _ => Some(ConnectionId(u64::from_be_bytes(self.take(8)?.try_into().ok()?))),
        };
        let server_name = match flags & 4 {
            0 => None,
            _ => {
                let length = usize::from(self.byte()?);
                Some(Arc::from(std::str::from_utf8(self.take(length)?).ok()?))
            }
        };
        Some(match flags & 1 {
            0 => Target::Flow(Flow {
                transport,
                local,
                remote,
                connection,
            }),
            _ => Target::Hop(Hop {
                transport,
                remote,
                local,
                server_name,
            }),
        })
    }
}

/// What a token says of a domain.
pub fn name_hash(key: &[u8; 16], name: &[u8]) -> u64 {
    let mut hasher = siphasher::sip::SipHasher24::new_with_key(key);
    hasher.write(name);
    hasher.finish()
}

/// What a token says of who is at one side of the dialog of `call_id`: it is another one in each, so that nobody sees by
/// it that two were with the same, one of them perhaps by a temporary GRUU.
pub fn owner_hash(key: &[u8; 16], aor: &AddressOfRecord, call_id: &[u8]) -> u64 {
    let mut text: SmallVec<[u8; 160]> = SmallVec::from_slice(aor.as_bytes());
    // An AOR has no zero byte after its domain.
    text.push(0);
    text.extend_from_slice(call_id);
    name_hash(key, &text)
}

fn mac(key: &[u8; 16], payload: &[u8], call_id: &[u8], from_tag: &[u8]) -> [u8; MAC_LENGTH] {
    // Hashing one text is much cheaper than hashing its parts one by one.
    let mut text: SmallVec<[u8; 320]> = SmallVec::new();
    for part in [payload, call_id, from_tag] {
        text.extend_from_slice(&(part.len() as u64).to_be_bytes());
        text.extend_from_slice(part);
    }
    SipHasher24::new_with_key(key).hash(&text).as_bytes()
}

const VERSION: u8 = 1;
/// Tells the token of a flow from that of a dialog: neither is taken for the other.
const FLOW_VERSION: u8 = 2;
const MAC_LENGTH: usize = 16;
/// Two IPv6 sides with connections and the longest names fit.
const MAX_TEXT: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 16] = [7; 16];

    fn flow() -> Flow {
        Flow {
            transport: Transport::Tls,
            local: "192.0.2.1:5061".parse().unwrap(),
            remote: "198.51.100.9:40123".parse().unwrap(),
            connection: Some(ConnectionId(99)),
        }
    }

    fn sides() -> Sides {
        Sides {
            caller: Side {
                target: Target::Flow(flow()),
                owner: Some(u64::MAX - 3),
            },
            callee: Side {
                target: Target::Hop(Hop {
                    transport: Transport::Tcp,
                    local: "[2001:db8::1]:5060".parse().unwrap(),
                    remote: "[2001:db8::2]:5060".parse().unwrap(),
                    server_name: Some("pbx.example.com".into()),
                }),
                owner: None,
            },
        }
    }

    fn token() -> BytesMut {
        let mut out = BytesMut::new();
        write(
            &KEY,
            &sides(),
            b"call",
            b"tag-a",
            name_hash(&KEY, b"example.com"),
            &mut out,
        );
        out
    }

    #[test]
    fn what_was_written_is_read_from_either_side() {
        let token = token();
        let read_with = |from: &[u8], to: &[u8]| read(&KEY, &token, b"call", Some(from), Some(to));
        assert_eq!(read_with(b"tag-a", b"tag-b"), Some((sides(), Sender::Caller)));
        assert_eq!(read_with(b"tag-b", b"tag-a"), Some((sides(), Sender::Callee)));
    }

    #[test]
    fn another_dialog_key_or_content_is_refused() {
        let token = token();
        assert_eq!(read(&KEY, &token, b"other", Some(b"tag-a"), None), None);
        assert_eq!(read(&KEY, &token, b"call", Some(b"x"), Some(b"y")), None);
        assert_eq!(read(&[8; 16], &token, b"call", Some(b"tag-a"), None), None);
        for position in 0..token.len() {
            let mut changed = token.to_vec();
            changed[position] = if changed[position] == b'A' { b'B' } else { b'A' };
            assert_eq!(
                read(&KEY, &changed, b"call", Some(b"tag-a"), Some(b"tag-a")),
                None,
                "byte {position}"
            );
        }
        for length in 0..token.len() {
            assert_eq!(read(&KEY, &token[..length], b"call", Some(b"tag-a"), None), None);
        }
    }

    #[test]
    fn the_text_fits_a_user_part() {
        assert!(
            token()
                .iter()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        );
    }

    #[test]
    fn the_token_of_a_flow_cannot_be_made_or_changed() {
        let mut token = BytesMut::new();
        write_flow(&KEY, &flow(), &mut token);
        assert_eq!(read_flow(&KEY, &token), Some(flow()));
        assert_eq!(read_flow(&[8; 16], &token), None);
        for position in 0..token.len() {
            let mut changed = token.to_vec();
            changed[position] = if changed[position] == b'A' { b'B' } else { b'A' };
            assert_eq!(read_flow(&KEY, &changed), None, "byte {position}");
            assert_eq!(read_flow(&KEY, &token[..position]), None);
        }
    }

    #[test]
    fn neither_token_is_taken_for_the_other() {
        let mut of_flow = BytesMut::new();
        write_flow(&KEY, &flow(), &mut of_flow);
        assert_eq!(read(&KEY, &of_flow, b"", Some(b""), Some(b"")), None);
        let mut of_dialog = BytesMut::new();
        write(&KEY, &sides(), b"", b"", 0, &mut of_dialog);
        assert_eq!(read_flow(&KEY, &of_dialog), None);
    }
}
