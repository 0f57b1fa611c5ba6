//! What is asked of every message before anything else is done with it (RFC 3261 §8.1.1, §18.3).

use super::address::NameAddr;
use super::essentials::{AddressPlaces, CSeqPlaces, Essentials, Place, ViaPlaces};
use super::header::HeaderName;
use super::limits::Limits;
use super::method::Method;
use super::via::{CSeq, Via};
use super::{Message, ParseError, decimal};

/// Which headers a message has.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Present {
    once: u64,
    again: u64,
}

impl Present {
    #[inline]
    pub(super) fn add(&mut self, name: HeaderName) {
        let bit = bit(name);
        self.again |= self.once & bit;
        self.once |= bit;
    }

    #[inline]
    pub(super) fn has(&self, name: HeaderName) -> bool {
        self.once & bit(name) != 0
    }

    /// The first of [`REQUIRED`] that is missing.
    fn missing(&self) -> Option<HeaderName> {
        if self.once & bits(&REQUIRED) == bits(&REQUIRED) {
            return None;
        }
        REQUIRED.into_iter().find(|name| !self.has(*name))
    }

    /// The first of [`SINGLE`] that is there more than once.
    fn repeated(&self) -> Option<HeaderName> {
        if self.again & bits(&SINGLE) == 0 {
            return None;
        }
        SINGLE.into_iter().find(|name| self.again & bit(*name) != 0)
    }
}

const fn bit(name: HeaderName) -> u64 {
    1 << name as u8
}

const fn bits(names: &[HeaderName]) -> u64 {
    let mut bits = 0;
    let mut index = 0;
    while index < names.len() {
        bits |= bit(names[index]);
        index += 1;
    }
    bits
}

impl Message {
    /// Reads the headers that every message must have.
    #[inline]
    pub(super) fn read_essentials(&mut self) {
        let message = &self.bytes[..];
        let address = |name| {
            let address = NameAddr::parse(self.header(name)?).ok()?;
            Some(AddressPlaces::new(message, &address))
        };
        let via = || Some(Via::read_first(self.header(HeaderName::Via)?).ok()?.0);
        let cseq = || CSeq::parse(self.header(HeaderName::CSeq)?).ok();
        let call_id = self.header(HeaderName::CallId);
        self.essentials = Essentials {
            via: via().map(|via| ViaPlaces::new(message, &via)),
            from: address(HeaderName::From),
            to: address(HeaderName::To),
            cseq: cseq().map(|cseq| CSeqPlaces::new(message, &cseq)),
            call_id: call_id.map_or(Place::default(), |value| Place::of(message, value)),
            request_uri: self.essentials.request_uri,
        };
    }

    /// What every message must have (RFC 3261 §8.1.1), once each, and of readable form.
    pub(super) fn check(&self, limits: &Limits) -> Result<(), ParseError> {
        if let Some(name) = self.present.missing() {
            return Err(ParseError::Missing(name));
        }
        if let Some(name) = self.present.repeated() {
            return Err(ParseError::Repeated(name));
        }
        // A response to what we forwarded has our own Via beside those that were let in.
        if self.has_more_vias(limits.vias.saturating_add(usize::from(!self.is_request()))) {
            return Err(ParseError::TooManyVias);
        }
        let cseq = self.cseq().ok_or(ParseError::Value(HeaderName::CSeq))?;
        if self.is_request() && cseq.method != self.method_bytes() {
            return Err(ParseError::Value(HeaderName::CSeq));
        }
        // All are looked at, which the compiler makes few comparisons of.
        let may_have_space = self.call_id().iter().fold(false, |any, byte| any | (*byte <= b' '));
        let has_space = may_have_space && self.call_id().iter().any(u8::is_ascii_whitespace);
        if self.call_id().is_empty() || has_space {
            return Err(ParseError::Value(HeaderName::CallId));
        }
        if self.essentials.via.is_none() {
            return Err(ParseError::Value(HeaderName::Via));
        }
        // RFC 3261 §25.1 `tag-param`: a tag has a value.
        let is_sound = |address: Option<AddressPlaces>| address.is_some_and(|address| !address.has_bare_tag);
        if !is_sound(self.essentials.from) {
            return Err(ParseError::Value(HeaderName::From));
        }
        if !is_sound(self.essentials.to) {
            return Err(ParseError::Value(HeaderName::To));
        }
        Ok(())
    }

    /// Whether there are more than `most` values of Via.
    fn has_more_vias(&self, most: usize) -> bool {
        // Without quotes and brackets looked at, there are at most so many as commas say; and no more commas than bytes.
        let bytes: usize = self.lines(HeaderName::Via).map(|line| line.len() + 1).sum();
        if bytes <= most {
            return false;
        }
        let commas = |line: &[u8]| memchr::memchr_iter(b',', line).count();
        let parts: usize = self.lines(HeaderName::Via).map(|line| commas(line) + 1).sum();
        parts > most && self.values(HeaderName::Via).nth(most).is_some()
    }

    /// Whether a reply can be built: the headers that it copies are there, whatever they say (RFC 4475 §3.1.2.1).
    pub(super) fn is_answerable(&self) -> bool {
        self.is_request() && self.method() != Method::Ack && self.present.missing().is_none()
    }

    pub(super) fn trim_body(&mut self) -> Result<(), ParseError> {
        let Some(value) = self.header(HeaderName::ContentLength) else {
            return Ok(());
        };
        let length: usize = decimal(value).ok_or(ParseError::ContentLength)?;
        let end = usize::from(self.body_start)
            .checked_add(length)
            .ok_or(ParseError::ContentLength)?;
        if end > self.bytes.len() {
            return Err(ParseError::ContentLength);
        }
        self.bytes.truncate(end);
        Ok(())
    }
}

const REQUIRED: [HeaderName; 5] = [
    HeaderName::Via,
    HeaderName::From,
    HeaderName::To,
    HeaderName::CallId,
    HeaderName::CSeq,
];

const SINGLE: [HeaderName; 7] = [
    HeaderName::From,
    HeaderName::To,
    HeaderName::CallId,
    HeaderName::CSeq,
    HeaderName::MaxForwards,
    HeaderName::ContentLength,
    HeaderName::Expires,
];
