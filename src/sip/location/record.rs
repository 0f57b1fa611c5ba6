//! The bindings of one AOR, packed into one allocation: a header, the AOR, and the bindings one after another.
//!
//! ```text
//! record   armed u32 | bindings u16 | AOR length u16 | AOR | binding...
//! binding  see `encode`
//! ```
//!
//! All numbers are little-endian and unaligned. A record is only ever written by this file.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::time::{Duration, Instant};

use crate::sip::hop::{ConnectionId, Flow, Transport};
use crate::sip::location::aor::AddressOfRecord;
use crate::sip::location::standing::Standing;
use crate::sip::message::address::Parameters;
use crate::sip::message::grammar;

/// A point in time: milliseconds since the location service began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment(pub(super) u64);

impl Moment {
    pub(super) fn new(epoch: Instant, now: Instant) -> Moment {
        Moment(now.saturating_duration_since(epoch).as_millis() as u64)
    }

    /// The whole second that has begun.
    pub(super) fn second(self) -> u32 {
        (self.0 / 1000).min(u64::from(u32::MAX)) as u32
    }

    /// The first whole second that is not before it.
    pub(super) fn second_after(self) -> u32 {
        self.0.div_ceil(1000).min(u64::from(u32::MAX)) as u32
    }

    fn after_secs(self, secs: u32) -> Moment {
        Moment(self.0 + u64::from(secs) * 1000)
    }
}

/// What is written of a binding.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields<'a> {
    pub(super) uri: &'a [u8],
    pub(super) parameters: &'a [u8],
    pub(super) path: &'a [u8],
    pub(super) q: u16,
    pub(super) call_id: u64,
    pub(super) cseq: u32,
    pub(super) nonce_count: u32,
    pub(super) granted_secs: u32,
    pub(super) registered_at: u32,
    pub(super) now: Moment,
    pub(super) flow: &'a Flow,
    /// Whether instance and reg-id name it (RFC 5626 §6).
    pub(super) is_outbound: bool,
}

impl Fields<'_> {
    /// The length of the packed binding; `None` when it is more than can be kept.
    pub(super) fn encoded_length(&self) -> Option<usize> {
        let variable = self.uri.len() + self.parameters.len() + self.path.len();
        let length = FIXED_LENGTH + flow_length(self.flow) + variable;
        (length <= usize::from(u16::MAX)).then_some(length)
    }

    /// Writes the binding over `out`, which is as long as [`Fields::encoded_length`] says; that also bounds each part
    /// to what its length field holds.
    pub(super) fn encode(&self, out: &mut [u8]) {
        let length = out.len() as u16;
        let Some((fixed, rest)) = out.split_first_chunk_mut::<FIXED_LENGTH>() else {
            return;
        };
        put(fixed, LENGTH, length.to_le_bytes());
        for (number, part) in [self.uri, self.parameters, self.path].into_iter().enumerate() {
            put(fixed, PART_LENGTHS + 2 * number, (part.len() as u16).to_le_bytes());
        }
        put(fixed, ANSWERED_AT, [0; 4]);
        put(fixed, ROUND_TRIP, [0; 2]);
        self.encode_refreshed(fixed);
        let flow = PackedFlow::new(self.flow);
        let mut rest = rest;
        for part in [flow.bytes(), self.uri, self.parameters, self.path] {
            let (place, after) = rest.split_at_mut(part.len());
            place.copy_from_slice(part);
            rest = after;
        }
    }

    /// Writes the fields of one size that a refresh may change.
    fn encode_refreshed(&self, fixed: &mut [u8; FIXED_LENGTH]) {
        put(fixed, Q, self.q.to_le_bytes());
        put(fixed, FLAGS, [self.flags()]);
        put(fixed, CSEQ, self.cseq.to_le_bytes());
        put(fixed, NONCE_COUNT, self.nonce_count.to_le_bytes());
        put(fixed, GRANTED, self.granted_secs.to_le_bytes());
        put(fixed, REGISTERED_AT, self.registered_at.to_le_bytes());
        put(fixed, EXPIRES_AT, self.expiry_moment().0.to_le_bytes());
        put(fixed, CALL_ID, self.call_id.to_le_bytes());
        put(fixed, STANDING, [Standing::Reachable.to_byte()]);
        put(fixed, MISSED, [0]);
    }

    pub(super) fn expiry_moment(&self) -> Moment {
        self.now.after_secs(self.granted_secs)
    }

    fn flags(&self) -> u8 {
        let mut flags = match self.flow.transport {
            Transport::Udp => 0,
            Transport::Tcp => 1,
            Transport::Tls => 2,
            Transport::Ws => 3,
            Transport::Wss => 4,
        };
        for (bit, is_set) in [
            (LOCAL_V6, self.flow.local.is_ipv6()),
            (REMOTE_V6, self.flow.remote.is_ipv6()),
            (HAS_CONNECTION, self.flow.connection.is_some()),
            (OUTBOUND, self.is_outbound),
        ] {
            if is_set {
                flags |= bit;
            }
        }
        flags
    }
}

/// One binding of an AOR (RFC 3261 §10), read where it lies.
#[derive(Clone, Copy)]
pub struct Binding<'a> {
    packed: &'a [u8],
    epoch: Instant,
}

impl<'a> Binding<'a> {
    /// The Contact's URI, as registered.
    pub fn contact_uri(&self) -> &'a [u8] {
        self.part(0)
    }

    /// The Contact's header parameters as registered, without `expires`: what stands after the first semicolon.
    pub fn parameters(&self) -> &'a [u8] {
        self.part(1)
    }

    /// The Path values, in their order, joined by commas (RFC 3327); empty without one.
    pub fn path(&self) -> &'a [u8] {
        self.part(2)
    }

    /// The value of `+sip.instance`, without quotes (RFC 5626 §4.1).
    pub fn instance(&self) -> Option<&'a [u8]> {
        instance(&self.read_parameters())
    }

    /// The value of `reg-id` (RFC 5626 §4.2).
    pub fn reg_id(&self) -> Option<u32> {
        reg_id(&self.read_parameters())
    }

    /// The q value in thousandths.
    pub fn q(&self) -> u16 {
        self.u16_at(Q)
    }

    /// The CSeq of the REGISTER that made or last refreshed it.
    pub fn cseq(&self) -> u32 {
        self.u32_at(CSEQ)
    }

    /// The nonce count of that REGISTER; 0 without one.
    pub fn nonce_count(&self) -> u32 {
        self.u32_at(NONCE_COUNT)
    }

    /// The lifetime that was granted then.
    pub fn granted(&self) -> Duration {
        Duration::from_secs(u64::from(self.u32_at(GRANTED)))
    }

    /// Since when it is registered without a break and under one Call-ID, in whole seconds.
    pub fn registered_at(&self) -> Instant {
        self.epoch + Duration::from_secs(u64::from(self.u32_at(REGISTERED_AT)))
    }

    /// When it was made or last refreshed.
    pub fn refreshed_at(&self) -> Instant {
        self.epoch + Duration::from_millis(self.refreshed_moment().0)
    }

    /// From then on it is no more.
    pub fn expires_at(&self) -> Instant {
        self.epoch + Duration::from_millis(self.expiry_moment().0)
    }

    /// The way its last REGISTER came by.
    pub fn flow(&self) -> Flow {
        let flags = self.flags();
        let (local, at) = self.address_at(FIXED_LENGTH, flags & LOCAL_V6 != 0);
        let (remote, at) = self.address_at(at, flags & REMOTE_V6 != 0);
        let transport = match flags & TRANSPORT {
            0 => Transport::Udp,
            1 => Transport::Tcp,
            2 => Transport::Tls,
            3 => Transport::Ws,
            _ => Transport::Wss,
        };
        let connection = (flags & HAS_CONNECTION != 0).then(|| ConnectionId(u64::from_le_bytes(read(self.packed, at))));
        Flow {
            transport,
            local,
            remote,
            connection,
        }
    }

    /// Whether it is named by instance and reg-id (RFC 5626 §6).
    pub fn is_outbound(&self) -> bool {
        self.flags() & OUTBOUND != 0
    }

    /// What is known of its flow since its last REGISTER.
    pub fn standing(&self) -> Standing {
        Standing::from_byte(self.packed[STANDING])
    }

    /// Whether it is kept without being rung.
    pub fn is_suspended(&self) -> bool {
        match self.standing() {
            Standing::Suspended(_) => true,
            Standing::Reachable | Standing::Doubtful(_) => false,
        }
    }

    /// Since when it is not [`Standing::Reachable`], in whole seconds; `None` while it is.
    pub fn unreachable_since(&self) -> Option<Instant> {
        let since = Duration::from_secs(u64::from(self.standing_second()));
        (self.standing() != Standing::Reachable).then(|| self.epoch + since)
    }

    /// When its phone was last heard of: when it registered, or answered whether it is there.
    pub fn last_seen(&self) -> Instant {
        let answered = Moment(u64::from(self.u32_at(ANSWERED_AT)) * 1000);
        self.epoch + Duration::from_millis(answered.max(self.refreshed_moment()).0)
    }

    /// How long its phone took to answer the last time it was asked whether it is there; `None` when it never has.
    pub fn round_trip(&self) -> Option<Duration> {
        let millis = self.u16_at(ROUND_TRIP);
        (millis > 0).then(|| Duration::from_millis(u64::from(millis)))
    }

    /// How often it has been asked since it was last heard of.
    pub fn missed(&self) -> u8 {
        self.packed[MISSED]
    }

    /// The second at which its standing changed; of a reachable one it says nothing.
    pub(super) fn standing_second(&self) -> u32 {
        self.u32_at(STANDING_SINCE)
    }

    /// The connection whose end would make it unreachable.
    pub(super) fn held_connection(&self) -> Option<ConnectionId> {
        if self.flags() & HAS_CONNECTION == 0 || self.packed[STANDING] != 0 || self.u16_at(PATH_LENGTH) != 0 {
            return None;
        }
        self.flow().connection
    }

    /// The keyed hash of the Call-ID of its last REGISTER; starts that share a key have the same one.
    pub fn call_id_hash(&self) -> u64 {
        self.call_id()
    }

    /// The same.
    pub(super) fn call_id(&self) -> u64 {
        u64::from_le_bytes(read(self.packed, CALL_ID))
    }

    pub(super) fn is_live(&self, now: Moment) -> bool {
        self.expiry_moment() > now
    }

    pub(super) fn expiry_moment(&self) -> Moment {
        Moment(u64::from_le_bytes(read(self.packed, EXPIRES_AT)))
    }

    pub(super) fn refreshed_moment(&self) -> Moment {
        Moment(self.expiry_moment().0 - u64::from(self.u32_at(GRANTED)) * 1000)
    }

    pub(super) fn registered_second(&self) -> u32 {
        self.u32_at(REGISTERED_AT)
    }

    pub(super) fn packed(&self) -> &'a [u8] {
        self.packed
    }

    /// What is left of its lifetime, in seconds that have begun.
    pub fn seconds_left(&self, now: Instant) -> u32 {
        let left = self.expiry_moment().0.saturating_sub(Moment::new(self.epoch, now).0);
        u32::try_from(left.div_ceil(1000)).unwrap_or(u32::MAX)
    }

    fn read_parameters(&self) -> Parameters<'a> {
        Parameters::parse(self.parameters()).unwrap_or_default()
    }

    fn flags(&self) -> u8 {
        self.packed[FLAGS]
    }

    fn u16_at(&self, at: usize) -> u16 {
        u16::from_le_bytes(read(self.packed, at))
    }

    fn u32_at(&self, at: usize) -> u32 {
        u32::from_le_bytes(read(self.packed, at))
    }

    /// The parts of variable length stand at the end; their lengths stand together in the same order.
    fn part(&self, number: usize) -> &'a [u8] {
        let length = |number: usize| usize::from(self.u16_at(PART_LENGTHS + 2 * number));
        let following: usize = (number..PARTS).map(length).sum();
        let start = self.packed.len() - following;
        &self.packed[start..start + length(number)]
    }

    fn address_at(&self, at: usize, is_v6: bool) -> (SocketAddr, usize) {
        let port = u16::from_le_bytes(read(self.packed, at));
        if !is_v6 {
            let ip = Ipv4Addr::from(read::<4>(self.packed, at + 2));
            return (SocketAddr::new(IpAddr::V4(ip), port), at + V4_LENGTH);
        }
        let ip = Ipv6Addr::from(read::<16>(self.packed, at + 2));
        let scope = u32::from_le_bytes(read(self.packed, at + 18));
        (SocketAddr::V6(SocketAddrV6::new(ip, port, 0, scope)), at + V6_LENGTH)
    }
}

impl std::fmt::Debug for Binding<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Binding")
            .field("contact_uri", &String::from_utf8_lossy(self.contact_uri()))
            .field("parameters", &String::from_utf8_lossy(self.parameters()))
            .field("granted", &self.granted())
            .field("flow", &self.flow())
            .finish_non_exhaustive()
    }
}

/// The bindings of one AOR. The default is the place of one, and nothing is read of it.
#[derive(Debug, Default)]
pub(super) struct Record(Box<[u8]>);

impl Record {
    /// The second of the wheel's slot that it is in.
    pub(super) fn armed(&self) -> u32 {
        u32::from_le_bytes(read(&self.0, ARMED))
    }

    pub(super) fn set_armed(&mut self, armed: u32) {
        self.0[ARMED..ARMED + 4].copy_from_slice(&armed.to_le_bytes());
    }

    pub(super) fn aor(&self) -> &[u8] {
        &self.0[RECORD_HEADER..self.first_binding()]
    }

    /// All bindings, expired ones too, in the order in which they came.
    pub(super) fn bindings(&self, epoch: Instant) -> impl Iterator<Item = Binding<'_>> {
        let mut rest = &self.0[self.first_binding()..];
        std::iter::from_fn(move || {
            let length = usize::from(u16::from_le_bytes(*rest.first_chunk()?));
            let (packed, after) = rest.split_at_checked(length)?;
            rest = after;
            Some(Binding { packed, epoch })
        })
    }

    /// Whether one of its bindings was made over a stream.
    pub(super) fn is_over_streams(&self) -> bool {
        let mut rest = &self.0[self.first_binding()..];
        while let Some(flags) = rest.get(FLAGS) {
            if flags & HAS_CONNECTION != 0 {
                return true;
            }
            rest = &rest[usize::from(u16::from_le_bytes(read(rest, LENGTH)))..];
        }
        false
    }

    /// Reads some of each line of the cache that it takes.
    pub(super) fn touch(&self) {
        std::hint::black_box(self.0.iter().step_by(CACHE_LINE).fold(0, |sum, byte| sum ^ byte));
    }

    /// Whether it is the place of a record and none.
    pub(super) fn is_free(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn count(&self) -> usize {
        usize::from(u16::from_le_bytes(read(&self.0, COUNT)))
    }

    /// Takes all bindings out of it; only the memory stays.
    pub(super) fn clear(&mut self) {
        self.0[COUNT..COUNT + 2].fill(0);
    }

    /// Writes `fields` over a binding of the same length that starts `start` bytes after the first one's start.
    pub(super) fn overwrite(&mut self, start: usize, fields: &Fields<'_>) {
        let start = self.first_binding() + start;
        let length = usize::from(u16::from_le_bytes(read(&self.0, start)));
        fields.encode(&mut self.0[start..start + length]);
    }

    /// Writes the numbers and the flow of `fields` over a binding of the same length, URI, parameters and Path, which
    /// starts `start` bytes after the first one's start.
    pub(super) fn refresh(&mut self, start: usize, fields: &Fields<'_>) {
        let start = self.first_binding() + start;
        let Some((fixed, rest)) = self.0[start..].split_first_chunk_mut::<FIXED_LENGTH>() else {
            return;
        };
        fields.encode_refreshed(fixed);
        let flow = PackedFlow::new(fields.flow);
        rest[..flow.length].copy_from_slice(flow.bytes());
    }

    /// Gives each binding the standing that `decide` says, at `second`; `None` leaves it as it is.
    pub(super) fn set_standing(
        &mut self,
        epoch: Instant,
        second: u32,
        mut decide: impl FnMut(&Binding<'_>) -> Option<Standing>,
    ) {
        let mut start = self.first_binding();
        while start < self.0.len() {
            let length = usize::from(u16::from_le_bytes(read(&self.0, start)));
            let packed = &mut self.0[start..start + length];
            let binding = Binding { packed, epoch };
            if let Some(standing) = decide(&binding).filter(|standing| *standing != binding.standing()) {
                packed[STANDING] = standing.to_byte();
                packed[STANDING_SINCE..STANDING_SINCE + 4].copy_from_slice(&second.to_le_bytes());
            }
            start += length;
        }
    }

    /// Shows each binding to `decide`, and counts one more question to its phone where that says so.
    pub(super) fn ask(&mut self, epoch: Instant, mut decide: impl FnMut(&Binding<'_>) -> bool) {
        let mut start = self.first_binding();
        for _ in 0..self.count() {
            let length = usize::from(u16::from_le_bytes(read(&self.0, start)));
            let packed = &mut self.0[start..start + length];
            if decide(&Binding { packed, epoch }) {
                packed[MISSED] = packed[MISSED].saturating_add(1);
            }
            start += length;
        }
    }

    /// Notes of each binding that `is_it` that its phone has answered at `second`, after `millis`.
    pub(super) fn note_answer(
        &mut self,
        epoch: Instant,
        second: u32,
        millis: u16,
        mut is_it: impl FnMut(&Binding<'_>) -> bool,
    ) {
        let mut start = self.first_binding();
        for _ in 0..self.count() {
            let length = usize::from(u16::from_le_bytes(read(&self.0, start)));
            let packed = &mut self.0[start..start + length];
            if is_it(&Binding { packed, epoch }) {
                packed[ANSWERED_AT..ANSWERED_AT + 4].copy_from_slice(&second.to_le_bytes());
                packed[ROUND_TRIP..ROUND_TRIP + 2].copy_from_slice(&millis.max(1).to_le_bytes());
                packed[MISSED] = 0;
            }
            start += length;
        }
    }

    fn first_binding(&self) -> usize {
        RECORD_HEADER + usize::from(u16::from_le_bytes(read(&self.0, AOR_LENGTH)))
    }
}

/// Makes a [`Record`] beside the present one.
pub(super) struct RecordBuilder {
    bytes: Vec<u8>,
    count: u16,
}

impl RecordBuilder {
    /// `bindings_length` is the length of all bindings that will be added.
    pub(super) fn new(aor: &[u8], bindings_length: usize) -> RecordBuilder {
        debug_assert!(aor.len() <= AddressOfRecord::MAX_LENGTH);
        let mut bytes = Vec::with_capacity(RECORD_HEADER + aor.len() + bindings_length);
        bytes.extend_from_slice(&[0; RECORD_HEADER]);
        bytes[AOR_LENGTH..AOR_LENGTH + 2].copy_from_slice(&(aor.len() as u16).to_le_bytes());
        bytes.extend_from_slice(aor);
        RecordBuilder { bytes, count: 0 }
    }

    /// Adds a binding as it is.
    pub(super) fn keep(&mut self, binding: &Binding<'_>) {
        self.bytes.extend_from_slice(binding.packed);
        self.count += 1;
    }

    /// Adds a binding whose length is `length`.
    pub(super) fn add(&mut self, length: usize, fields: &Fields<'_>) {
        let start = self.bytes.len();
        self.bytes.resize(start + length, 0);
        fields.encode(&mut self.bytes[start..]);
        self.count += 1;
    }

    /// The record, in the wheel's slot of `armed`.
    pub(super) fn finish(mut self, armed: u32) -> Record {
        self.bytes[COUNT..COUNT + 2].copy_from_slice(&self.count.to_le_bytes());
        let mut record = Record(self.bytes.into_boxed_slice());
        record.set_armed(armed);
        record
    }
}

/// A flow without its transport, as it stands in a binding.
struct PackedFlow {
    bytes: [u8; MAX_FLOW_LENGTH],
    length: usize,
}

impl PackedFlow {
    fn new(flow: &Flow) -> PackedFlow {
        let mut packed = PackedFlow {
            bytes: [0; MAX_FLOW_LENGTH],
            length: 0,
        };
        packed.put_address(&flow.local);
        packed.put_address(&flow.remote);
        if let Some(connection) = flow.connection {
            packed.put(connection.0.to_le_bytes());
        }
        packed
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    fn put_address(&mut self, address: &SocketAddr) {
        self.put(address.port().to_le_bytes());
        match address {
            SocketAddr::V4(address) => self.put(address.ip().octets()),
            SocketAddr::V6(address) => {
                self.put(address.ip().octets());
                self.put(address.scope_id().to_le_bytes());
            }
        }
    }

    fn put<const N: usize>(&mut self, bytes: [u8; N]) {
        self.bytes[self.length..self.length + N].copy_from_slice(&bytes);
        self.length += N;
    }
}

/// The value of `+sip.instance`, without quotes.
pub(super) fn instance<'a>(parameters: &Parameters<'a>) -> Option<&'a [u8]> {
    let value = parameters.get("+sip.instance").flatten()?;
    let text = value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
    Some(text.unwrap_or(value))
}

/// The value of `reg-id`.
pub(super) fn reg_id(parameters: &Parameters<'_>) -> Option<u32> {
    grammar::decimal(parameters.get("reg-id").flatten()?)
}

fn flow_length(flow: &Flow) -> usize {
    let address = |address: &SocketAddr| if address.is_ipv6() { V6_LENGTH } else { V4_LENGTH };
    address(&flow.local) + address(&flow.remote) + flow.connection.map_or(0, |_| 8)
}

/// Writes a field at its place, which is within a binding's fixed part.
fn put<const N: usize>(fixed: &mut [u8; FIXED_LENGTH], at: usize, bytes: [u8; N]) {
    fixed[at..at + N].copy_from_slice(&bytes);
}

fn read<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

const CACHE_LINE: usize = 64;

// Of a record.
const ARMED: usize = 0;
const COUNT: usize = 4;
const AOR_LENGTH: usize = 6;
const RECORD_HEADER: usize = 8;

// Of a binding, whose own length comes first.
const LENGTH: usize = 0;
const PART_LENGTHS: usize = 2;
const PARTS: usize = 3;
const PATH_LENGTH: usize = PART_LENGTHS + 4;
const Q: usize = 8;
const FLAGS: usize = 10;
const CSEQ: usize = 11;
const NONCE_COUNT: usize = 15;
const GRANTED: usize = 19;
const REGISTERED_AT: usize = 23;
const EXPIRES_AT: usize = 27;
const CALL_ID: usize = 35;
const STANDING: usize = 43;
const STANDING_SINCE: usize = 44;
const ANSWERED_AT: usize = 48;
const ROUND_TRIP: usize = 52;
const MISSED: usize = 54;
const FIXED_LENGTH: usize = 55;

// An address is port, IP and, for IPv6, scope.
const V4_LENGTH: usize = 6;
const V6_LENGTH: usize = 22;
const MAX_FLOW_LENGTH: usize = 2 * V6_LENGTH + 8;

const TRANSPORT: u8 = 0b0000_0111;
const LOCAL_V6: u8 = 0b0000_1000;
const REMOTE_V6: u8 = 0b0001_0000;
const HAS_CONNECTION: u8 = 0b0010_0000;
const OUTBOUND: u8 = 0b0100_0000;

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(flow: &Flow) -> Fields<'_> {
        Fields {
            uri: b"sip:alice@192.0.2.7:5062;transport=tcp",
            parameters: b"q=0.7;+sip.instance=\"<urn:uuid:1>\";reg-id=1",
            path: b"<sip:edge.example.com;lr>",
            q: 700,
            call_id: u64::MAX - 5,
            cseq: 0x7fff_fffe,
            nonce_count: 0x0102_0304,
            granted_secs: 3600,
            registered_at: 12,
            now: Moment(12_345),
            flow,
            is_outbound: true,
        }
    }

    fn record(fields: &[Fields<'_>]) -> Record {
        let lengths: Vec<usize> = fields.iter().map(|fields| fields.encoded_length().unwrap()).collect();
        let mut builder = RecordBuilder::new(b"alice@example.com", lengths.iter().sum());
        for (fields, length) in fields.iter().zip(lengths) {
            builder.add(length, fields);
        }
        builder.finish(99)
    }

    #[test]
    fn what_is_written_is_read_back() {
        let epoch = Instant::now();
        let flows = [
            Flow {
                transport: Transport::Udp,
                local: "192.0.2.1:5060".parse().unwrap(),
                remote: "198.51.100.4:40000".parse().unwrap(),
                connection: None,
            },
            Flow {
                transport: Transport::Wss,
                local: "[2001:db8::1]:443".parse().unwrap(),
                remote: "[fe80::2%3]:50123".parse().unwrap(),
                connection: Some(ConnectionId(u64::MAX)),
            },
        ];
        let written: Vec<Fields<'_>> = flows.iter().map(fields).collect();
        let record = record(&written);
        assert_eq!(record.armed(), 99);
        assert_eq!(record.aor(), b"alice@example.com");
        assert_eq!(record.count(), 2);
        let bindings: Vec<Binding<'_>> = record.bindings(epoch).collect();
        assert_eq!(bindings.len(), 2);
        for (binding, fields) in bindings.iter().zip(&written) {
            assert_eq!(binding.contact_uri(), fields.uri);
            assert_eq!(binding.parameters(), fields.parameters);
            assert_eq!(binding.path(), fields.path);
            assert_eq!(binding.instance(), Some(&b"<urn:uuid:1>"[..]));
            assert_eq!(binding.reg_id(), Some(1));
            assert_eq!(binding.q(), 700);
            assert_eq!(binding.call_id(), fields.call_id);
            assert_eq!(binding.cseq(), fields.cseq);
            assert_eq!(binding.nonce_count(), fields.nonce_count);
            assert_eq!(binding.granted(), Duration::from_secs(3600));
            assert_eq!(binding.registered_at(), epoch + Duration::from_secs(12));
            assert_eq!(binding.refreshed_at(), epoch + Duration::from_millis(12_345));
            assert_eq!(binding.expires_at(), epoch + Duration::from_millis(3_612_345));
            assert_eq!(binding.flow(), *fields.flow);
            assert!(binding.is_outbound());
            assert_eq!(binding.standing(), Standing::Reachable);
            assert_eq!(binding.unreachable_since(), None);
        }
    }

    #[test]
    fn a_usual_binding_takes_few_bytes() {
        let flow = Flow {
            transport: Transport::Udp,
            local: "192.0.2.1:5060".parse().unwrap(),
            remote: "198.51.100.4:40000".parse().unwrap(),
            connection: None,
        };
        let fields = Fields {
            uri: b"sip:user000001@198.51.100.4:40000",
            parameters: b"",
            path: b"",
            ..fields(&flow)
        };
        assert!(record(&[fields]).0.len() <= 160);
    }

    #[test]
    fn what_cannot_be_kept_is_refused() {
        let flow = Flow {
            transport: Transport::Udp,
            local: "192.0.2.1:5060".parse().unwrap(),
            remote: "198.51.100.4:40000".parse().unwrap(),
            connection: None,
        };
        let path = vec![b'x'; 65_500];
        let fields = Fields {
            path: &path,
            ..fields(&flow)
        };
        assert_eq!(fields.encoded_length(), None);
    }
}
