//! Which server transaction a request belongs to: RFC 3261 §17.2.3. Only a keyed 128-bit hash of the parts that
//! decide is kept, so that nobody can choose requests that collide.

use std::hash::Hasher;

use siphasher::sip128::{Hash128, Hasher128, SipHasher13};
use smallvec::SmallVec;

use crate::sip::message::Message;
use crate::sip::message::header::HeaderName;
use crate::sip::message::via::Via;
use crate::sip::transaction::id::MAGIC_COOKIE;

/// Makes [`ServerKey`]s. All shards share one, so that keys can be made before the shard is locked.
#[derive(Clone)]
pub struct KeyHasher {
    hasher: SipHasher13,
}

/// What identifies the server transaction of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerKey {
    /// The request's own transaction; of an ACK, the INVITE's.
    pub(super) own: Hash128,
    /// The INVITE transaction that a CANCEL cancels (RFC 3261 §9.2): all parts but the method are equal.
    pub(super) cancelled: Option<Hash128>,
}

impl KeyHasher {
    /// A hasher under a secret key.
    pub fn new(key: &[u8; 16]) -> KeyHasher {
        KeyHasher {
            hasher: SipHasher13::new_with_key(key),
        }
    }

    /// The key of a request.
    pub fn server_key(&self, request: &Message) -> ServerKey {
        match request.top_via() {
            Some(via) if is_unique(&via) => {
                let shared = self.hash_branch(&via);
                ServerKey::new(request, |method| with_part(shared, method).finish128())
            }
            Some(_) | None => {
                let shared = self.hash_rfc2543(request);
                let to_tag = request.to().and_then(|to| to.tag()).unwrap_or_default();
                ServerKey::new(request, |method| match method {
                    // The To tag of an ACK is that of the response, which no INVITE or CANCEL has. Within one
                    // Call-ID, From tag and CSeq number it would tell nothing more.
                    b"INVITE" | b"CANCEL" => with_part(shared, method).finish128(),
                    _ => with_part(with_part(shared, method), to_tag).finish128(),
                })
            }
        }
    }

    /// RFC 3261: branch and sent-by of the top Via.
    fn hash_branch(&self, via: &Via<'_>) -> SipHasher13 {
        let mut hasher = self.hasher;
        hasher.write_u8(0);
        put(&mut hasher, via.branch().unwrap_or_default());
        let host: SmallVec<[u8; 64]> = via.host_bytes.iter().map(u8::to_ascii_lowercase).collect();
        put(&mut hasher, &host);
        hasher.write_u16(via.port.unwrap_or(0));
        hasher
    }

    /// RFC 2543: Request-URI, From tag, Call-ID, CSeq number and top Via.
    fn hash_rfc2543(&self, request: &Message) -> SipHasher13 {
        let mut hasher = self.hasher;
        hasher.write_u8(1);
        put(&mut hasher, request.request_uri());
        put(
            &mut hasher,
            request.from().and_then(|from| from.tag()).unwrap_or_default(),
        );
        put(&mut hasher, request.call_id());
        hasher.write_u32(request.cseq().map_or(0, |cseq| cseq.number));
        put(&mut hasher, request.values(HeaderName::Via).next().unwrap_or_default());
        hasher
    }
}

impl ServerKey {
    /// "The method of the request matches the one that created the transaction, except for ACK, where the method of
    /// the request that created the transaction is INVITE."
    fn new(request: &Message, hash: impl Fn(&[u8]) -> Hash128) -> ServerKey {
        let own = match request.method_bytes() {
            b"ACK" => b"INVITE",
            method => method,
        };
        ServerKey {
            own: hash(own),
            cancelled: (own == b"CANCEL").then(|| hash(b"INVITE")),
        }
    }
}

/// Whether the branch identifies the transaction. The bare cookie does not (RFC 4475 §3.2.1).
fn is_unique(via: &Via<'_>) -> bool {
    via.branch()
        .and_then(|branch| branch.strip_prefix(MAGIC_COOKIE))
        .is_some_and(|rest| !rest.is_empty())
}

fn with_part(mut hasher: SipHasher13, part: &[u8]) -> SipHasher13 {
    put(&mut hasher, part);
    hasher
}

/// With its length, so that what stands in one part cannot pass for the next.
fn put(hasher: &mut SipHasher13, part: &[u8]) {
    hasher.write_u32(part.len() as u32);
    hasher.write(part);
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
