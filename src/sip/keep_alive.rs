//! Questions to phones behind NAT whether they are still there (RFC 5626 §4.4; RFC 3261 §11): an OPTIONS that any answer
//! to is good for, or two line ends, which only keep the NAT open. Nothing is kept of a question: the branch of its Via
//! says when it was sent, under a MAC.

use std::hash::Hasher;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use siphasher::sip::SipHasher24;

use crate::sip::hop::{Flow, Target, Transport};
use crate::sip::location::{AddressOfRecord, Change, KeepAlive, Means, Question, Turn};
use crate::sip::message::Message;
use crate::sip::message::header::HeaderName;
use crate::sip::message::method::Method;
use crate::sip::message::reply::put_decimal;
use crate::sip::message::uri::Uri;
use crate::sip::proxy::own_address::OwnAddresses;
use crate::sip::shared::Shared;

/// Asks phones; one for each thread that does.
pub struct Asker {
    shared: Arc<Shared>,
    addresses: OwnAddresses,
    questions: Vec<Question>,
    changes: Vec<Change>,
    out: BytesMut,
    number: u64,
    /// Where the next round through the parts begins.
    from: usize,
}

/// What [`Asker::ask`] has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// Phones that were asked.
    pub questions: usize,
    /// Bindings that were suspended because their phones have not answered.
    pub suspended: usize,
    /// Whether the limit left others that are due.
    pub are_more_due: bool,
}

impl Asker {
    /// One that has asked nobody yet.
    pub fn new(shared: Arc<Shared>) -> Asker {
        Asker {
            shared,
            addresses: OwnAddresses::default(),
            questions: Vec::new(),
            changes: Vec::new(),
            out: BytesMut::new(),
            number: 0,
            from: 0,
        }
    }

    /// Hands to `send` the questions that are due at `now` in part `part.0` of `part.1` parts of all AORs, those of `limit`
    /// AORs at most.
    pub fn ask(
        &mut self,
        now: Instant,
        part: (usize, usize),
        limit: usize,
        mut send: impl FnMut(Bytes, Target),
    ) -> Asked {
        let shared = Arc::clone(&self.shared);
        let KeepAlive { means, mut asking } = shared.settings.keep_alive;
        match means {
            Means::Off => return Asked::default(),
            Means::Options => {}
            // Nobody can be told from nobody there.
            Means::LineEnds => asking.missed_max = u8::MAX,
        }
        let mut questions = std::mem::take(&mut self.questions);
        let changes = &mut self.changes;
        let turn = Turn {
            part,
            limit,
            from: &mut self.from,
        };
        let are_more_due = shared.location.ask(now, &asking, turn, &mut questions, changes);
        let suspended: usize = changes
            .drain(..)
            .map(|change| usize::from(change.counts.suspended))
            .sum();
        let asked = Asked {
            questions: questions.len(),
            suspended,
            are_more_due,
        };
        for question in questions.drain(..) {
            let payload = match means {
                Means::LineEnds => Bytes::from_static(b"\r\n\r\n"),
                Means::Off | Means::Options => self.compose(&question, now),
            };
            send(payload, Target::Flow(question.flow));
        }
        self.questions = questions;
        asked
    }

    fn compose(&mut self, question: &Question, now: Instant) -> Bytes {
        self.number += 1;
        let shared = &self.shared;
        let Question { aor, contact, flow } = question;
        let millis = millis(shared, now);
        let out = &mut self.out;
        if out.capacity() < ROOM {
            out.reserve(ARENA);
        }
        out.put_slice(b"OPTIONS ");
        out.put_slice(contact);
        out.put_slice(b" SIP/2.0\r\n");
        out.put_slice(&self.addresses.find(&shared.settings, Transport::Udp, flow.local).via);
        out.put_slice(BRANCH);
        put_hex(out, millis);
        put_hex(out, seal(shared, b"branch", millis, aor.as_bytes(), flow));
        out.put_slice(b";rport\r\nMax-Forwards: 70\r\nFrom: <sip:");
        out.put_slice(aor.domain());
        out.put_slice(b">;tag=");
        put_hex(out, self.number);
        // The AOR comes back with the answer.
        let to = aor.to_string();
        out.put_slice(b"\r\nTo: <");
        out.put_slice(to.as_bytes());
        out.put_slice(b">\r\nCall-ID: ka");
        put_hex(out, seal(shared, b"call", self.number, aor.as_bytes(), flow));
        out.put_slice(b"\r\nCSeq: ");
        put_decimal(out, (self.number % 0x7fff_ffff) as u32 + 1);
        out.put_slice(b" OPTIONS\r\nAccept: application/sdp\r\nContent-Length: 0\r\n\r\n");
        out.split().freeze()
    }
}

/// Takes in a response that came over `flow`. Returns whether it was the answer to a question, and what has changed by it.
pub fn receive_answer(shared: &Shared, response: &Message, flow: &Flow, now: Instant) -> Option<Option<Change>> {
    if response.method() != Method::Options || response.status()? < 200 {
        return None;
    }
    let sealed = response.top_via()?.branch()?.strip_prefix(BRANCH)?;
    let (sent, mac) = sealed.split_at_checked(HEX)?;
    let (sent, mac) = (hex(sent)?, hex(mac)?);
    if response.values(HeaderName::Via).nth(1).is_some() {
        return None;
    }
    let to = Uri::parse(response.to()?.uri).ok()?;
    let (aor, _) = AddressOfRecord::new(&to, &shared.settings.domains)?;
    if mac != seal(shared, b"branch", sent, aor.as_bytes(), flow) {
        return None;
    }
    let round_trip = Duration::from_millis(millis(shared, now).saturating_sub(sent));
    if round_trip > ANSWER_MAX {
        return Some(None);
    }
    Some(shared.location.note_answer(&aor, flow, round_trip, now))
}

/// What makes the branch of a question ours (RFC 3261 §8.1.1.7 wants the beginning).
const BRANCH: &[u8] = b"z9hG4bKka";

/// How late an answer may be: as late as any (RFC 3261 §17.1.2.2, timer F).
const ANSWER_MAX: Duration = Duration::from_secs(32);

/// Digits of a number.
const HEX: usize = 16;

/// What a question takes at most, but for the Contact and the AOR.
const ROOM: usize = 4096;

/// Questions are written one behind the other into pieces of this size.
const ARENA: usize = 16 * 1024;

/// Milliseconds since the server began.
fn millis(shared: &Shared, now: Instant) -> u64 {
    now.saturating_duration_since(shared.epoch.instant).as_millis() as u64
}

/// Under a key that nobody else has: an answer counts only for the question that was sent to its sender.
fn seal(shared: &Shared, what: &[u8], number: u64, aor: &[u8], flow: &Flow) -> u64 {
    let mut hasher = SipHasher24::new_with_key(&shared.keys.hash);
    hasher.write(what);
    hasher.write_u64(number);
    hasher.write_u16(flow.remote.port());
    match flow.remote.ip().to_canonical() {
        std::net::IpAddr::V4(ip) => hasher.write(&ip.octets()),
        std::net::IpAddr::V6(ip) => hasher.write(&ip.octets()),
    }
    hasher.write(aor);
    hasher.finish()
}

fn put_hex(out: &mut BytesMut, number: u64) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for place in (0..HEX).rev() {
        out.put_u8(DIGITS[(number >> (4 * place)) as usize & 15]);
    }
}

fn hex(digits: &[u8]) -> Option<u64> {
    if digits.len() != HEX {
        return None;
    }
    digits.iter().try_fold(0, |number, digit| {
        let value = char::from(*digit).to_digit(16)?;
        Some(number << 4 | u64::from(value))
    })
}
