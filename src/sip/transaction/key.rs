//! Which server transaction a request belongs to: RFC 3261 §17.2.3. Only a keyed 128-bit hash of the parts that
//! decide is kept, so that nobody can choose requests that collide.

use siphasher::sip::SipHasher13 as TagHasher;
use siphasher::sip128::{Hash128, SipHasher13};
use smallvec::SmallVec;

use crate::sip::message::Message;
use crate::sip::message::header::HeaderName;
use crate::sip::message::via::Via;
use crate::sip::transaction::id::{MAGIC_COOKIE, put_hex};

/// Makes [`ServerKey`]s. All shards share one, so that keys can be made before the shard is locked.
#[derive(Clone)]
pub struct KeyHasher {
    hasher: SipHasher13,
    tag_hasher: TagHasher,
}

/// What identifies the server transaction of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerKey {
    /// The request's own transaction; of an ACK, the INVITE's.
    pub(super) own: Hash128,
    /// The INVITE transaction that a CANCEL cancels (RFC 3261 §9.2): all parts but the method are equal.
    pub(super) cancelled: Option<Hash128>,
}

/// The parts that decide, one behind the other: one piece is hashed faster than many.
type Parts = SmallVec<[u8; 256]>;

impl KeyHasher {
    /// A hasher under a secret key.
    pub fn new(key: &[u8; 16]) -> KeyHasher {
        KeyHasher {
            hasher: SipHasher13::new_with_key(key),
            tag_hasher: TagHasher::new_with_key(key),
        }
    }

    /// The key of a request.
    pub fn server_key(&self, request: &Message) -> ServerKey {
        // "The method of the request matches the one that created the transaction, except for ACK, where the method of
        // the request that created the transaction is INVITE."
        let own = match request.method_bytes() {
            b"ACK" => b"INVITE",
            method => method,
        };
        let (mut parts, to_tag) = match request.top_via() {
            Some(via) if is_unique(&via) => (branch_parts(&via), None),
            // The To tag of an ACK is that of the response, which no INVITE or CANCEL has. Within one Call-ID, From tag
            // and CSeq number it would tell nothing more.
            Some(_) | None if matches!(own, b"INVITE" | b"CANCEL") => (rfc2543_parts(request), None),
            Some(_) | None => {
                let to_tag = request.to_tag();
                (rfc2543_parts(request), Some(to_tag.unwrap_or_default()))
            }
        };
        if let Some(to_tag) = to_tag {
            put(&mut parts, to_tag);
        }
        let shared = parts.len();
        parts.extend_from_slice(own);
        let key = self.hasher.hash(&parts);
        let cancelled = (own == b"CANCEL").then(|| {
            parts.truncate(shared);
            parts.extend_from_slice(b"INVITE");
            self.hasher.hash(&parts)
        });
        ServerKey { own: key, cancelled }
    }

    /// The To tag of our own replies to a request: of its key, so that a repeated request gets the same without
    /// anything being kept, and the ACK to it is known again (RFC 3261 §8.2.7).
    pub fn to_tag(&self, key: &ServerKey) -> [u8; 16] {
        let hash = self.tag_hasher.hash(&u128::from(key.own).to_le_bytes());
        let mut text = [0; 16];
        put_hex(&mut text[..8], (hash >> 32) as u32);
        put_hex(&mut text[8..], hash as u32);
        text
    }
}

/// RFC 3261: branch and sent-by of the top Via.
fn branch_parts(via: &Via<'_>) -> Parts {
    let branch = via.branch().unwrap_or_default();
    let mut head = [0; 11];
    head[1..3].copy_from_slice(&via.port.unwrap_or(0).to_le_bytes());
    head[3..7].copy_from_slice(&(via.host_bytes.len() as u32).to_le_bytes());
    head[7..].copy_from_slice(&(branch.len() as u32).to_le_bytes());
    let mut parts = Parts::new();
    parts.extend_from_slice(&head);
    parts.extend_from_slice(via.host_bytes);
    parts[head.len()..].make_ascii_lowercase();
    parts.extend_from_slice(branch);
    parts
}

/// RFC 2543: Request-URI, From tag, Call-ID, CSeq number and top Via.
fn rfc2543_parts(request: &Message) -> Parts {
    let mut parts = Parts::new();
    parts.push(1);
    put(&mut parts, request.request_uri());
    let from_tag = request.from_tag();
    put(&mut parts, from_tag.unwrap_or_default());
    put(&mut parts, request.call_id());
    let number = request.cseq().map_or(0, |cseq| cseq.number);
    parts.extend_from_slice(&number.to_le_bytes());
    put(&mut parts, request.values(HeaderName::Via).next().unwrap_or_default());
    parts
}

/// Whether the branch identifies the transaction. The bare cookie does not (RFC 4475 §3.2.1).
fn is_unique(via: &Via<'_>) -> bool {
    via.branch()
        .and_then(|branch| branch.strip_prefix(MAGIC_COOKIE))
        .is_some_and(|rest| !rest.is_empty())
}

/// With its length, so that what stands in one part cannot pass for the next. The method, which is the last, needs none.
fn put(parts: &mut Parts, part: &[u8]) {
    parts.extend_from_slice(&(part.len() as u32).to_le_bytes());
    parts.extend_from_slice(part);
}

#[cfg(test)]
mod tests {
    use super::*;

    use bytes::Bytes;

    use crate::sip::message::limits::Limits;

    const UNIQUE: &str = "SIP/2.0/UDP pc33.example.com;branch=z9hG4bK776";
    const RFC2543: &str = "SIP/2.0/UDP pc33.example.com;branch=1";

    #[test]
    fn a_retransmission_has_the_key_of_its_request() {
        assert_eq!(key("INVITE", UNIQUE, ""), key("INVITE", UNIQUE, ""));
        assert_eq!(
            key("INVITE", "SIP/2.0/UDP PC33.example.com ;rport; branch=z9hG4bK776", "").own,
            key("INVITE", UNIQUE, "").own
        );
    }

    #[test]
    fn branch_sent_by_and_method_tell_transactions_apart() {
        let own = key("INVITE", UNIQUE, "").own;
        assert_ne!(
            own,
            key("INVITE", "SIP/2.0/UDP pc33.example.com;branch=z9hG4bK777", "").own
        );
        assert_ne!(
            own,
            key("INVITE", "SIP/2.0/UDP pc34.example.com;branch=z9hG4bK776", "").own
        );
        assert_ne!(
            own,
            key("INVITE", "SIP/2.0/UDP pc33.example.com:5062;branch=z9hG4bK776", "").own
        );
        assert_ne!(own, key("OPTIONS", UNIQUE, "").own);
        assert_ne!(key("FOO", UNIQUE, "").own, key("BAR", UNIQUE, "").own);
    }

    #[test]
    fn an_ack_has_the_key_of_its_invite_and_a_cancel_names_it() {
        for via in [UNIQUE, RFC2543] {
            let invite = key("INVITE", via, "");
            assert_eq!(key("ACK", via, ";tag=b").own, invite.own);
            let cancel = key("CANCEL", via, "");
            assert_ne!(cancel.own, invite.own);
            assert_eq!(cancel.cancelled, Some(invite.own));
            assert_eq!(invite.cancelled, None);
        }
    }

    #[test]
    fn without_a_unique_branch_the_headers_of_rfc_2543_decide() {
        for via in [
            RFC2543,
            "SIP/2.0/UDP pc33.example.com",
            "SIP/2.0/UDP pc33.example.com;branch=z9hG4bK",
        ] {
            assert_eq!(key("BYE", via, ";tag=b"), key("BYE", via, ";tag=b"));
            assert_ne!(key("BYE", via, ";tag=b"), key("BYE", via, ";tag=c"));
            let others = [
                ("bob@", "rob@"),
                ("tag=a", "tag=z"),
                ("call-1", "call-2"),
                ("CSeq: 1 ", "CSeq: 2 "),
                ("SIP/2.0/UDP", "SIP/2.0/TCP"),
            ];
            for (old, new) in others {
                let other = text("BYE", via, ";tag=b").replace(old, new);
                assert_ne!(hash(&other), key("BYE", via, ";tag=b"), "{new}");
            }
        }
    }

    #[test]
    fn an_ack_has_the_tag_of_the_reply_to_its_invite_and_others_have_other_tags() {
        let hasher = KeyHasher::new(&[1; 16]);
        let tag = |method, via, to_tag| hasher.to_tag(&key(method, via, to_tag));
        for via in [UNIQUE, RFC2543] {
            assert_eq!(tag("INVITE", via, ""), tag("ACK", via, ";tag=b"));
            assert_ne!(tag("INVITE", via, ""), tag("OPTIONS", via, ""));
        }
        assert_ne!(tag("INVITE", UNIQUE, ""), tag("INVITE", RFC2543, ""));
        assert!(tag("INVITE", UNIQUE, "").iter().all(u8::is_ascii_hexdigit));
    }

    #[test]
    fn keys_differ_under_another_secret() {
        let request = Message::parse(Bytes::from(text("BYE", UNIQUE, "")), &Limits::default()).unwrap();
        assert_ne!(
            KeyHasher::new(&[1; 16]).server_key(&request),
            KeyHasher::new(&[2; 16]).server_key(&request)
        );
    }

    fn key(method: &str, via: &str, to_tag: &str) -> ServerKey {
        hash(&text(method, via, to_tag))
    }

    fn hash(text: &str) -> ServerKey {
        let request = Message::parse(Bytes::from(text.to_owned()), &Limits::default()).unwrap();
        KeyHasher::new(&[1; 16]).server_key(&request)
    }

    fn text(method: &str, via: &str, to_tag: &str) -> String {
        format!(
            "{method} sip:bob@example.com SIP/2.0\r\nVia: {via}\r\nVia: SIP/2.0/UDP other;branch=z9hG4bKother\r\n\
             From: <sip:alice@example.com>;tag=a\r\nTo: <sip:bob@example.org>{to_tag}\r\nCall-ID: call-1\r\n\
             CSeq: 1 {method}\r\n\r\n"
        )
    }
}
