//! The Contact headers of a REGISTER and their lifetimes (RFC 3261 §10.3 steps 6 and 7, §20.10), checked whole before
//! any binding is looked at.

use std::ops::Range;
use std::time::Duration;

use smallvec::SmallVec;

use crate::sip::domain::Domains;
use crate::sip::gruu;
use crate::sip::location::{AddressOfRecord, ContactUpdate, Contacts};
use crate::sip::message::address::{NameAddr, Parameters};
use crate::sip::message::header::HeaderName;
use crate::sip::message::uri::{Scheme, Uri};
use crate::sip::message::{Message, decimal, delta_seconds};
use crate::sip::reason::{Extra, Reason, Refusal};
use crate::sip::registrar::Settings;

/// The Contacts of one request.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "a box for a value of a moment would be an allocation"
)]
pub(super) enum ContactList<'a> {
    /// None: the bindings are only asked for.
    Nothing,
    /// `*`.
    Everything,
    /// These.
    Each {
        contacts: SmallVec<[Contact<'a>; 2]>,
        /// Their parameters, as they are to be kept.
        text: SmallVec<[u8; 256]>,
    },
}

/// One Contact.
#[derive(Debug)]
pub(super) struct Contact<'a> {
    uri: Uri<'a>,
    /// Its part of the text.
    parameters: Range<usize>,
    q: u16,
    granted_secs: u32,
    /// Whether instance and reg-id name it (RFC 5626 §6).
    has_reg_id: bool,
}

impl<'a> ContactList<'a> {
    pub(super) fn read(request: &'a Message, settings: &Settings) -> Result<ContactList<'a>, Refusal> {
        let mut contacts = SmallVec::new();
        let mut text = SmallVec::new();
        let expires = request.expires();
        for value in request.values(HeaderName::Contact) {
            if value == b"*" {
                return match request.values(HeaderName::Contact).count() {
                    1 if expires == Some(0) => Ok(ContactList::Everything),
                    _ => Err(Reason::BadContact.into()),
                };
            }
            if contacts.len() == MAX_CONTACTS.max(settings.max_contacts) {
                return Err(Reason::TooManyContacts.into());
            }
            contacts.push(Contact::read(value, expires, settings, &mut text)?);
        }
        if contacts.is_empty() {
            return Ok(ContactList::Nothing);
        }
        // RFC 5626 §6: a phone registers one flow at a time.
        let flows = contacts.iter().filter(|contact: &&Contact<'_>| contact.makes_flow());
        if flows.count() > 1 {
            return Err(Reason::BadContact.into());
        }
        Ok(ContactList::Each { contacts, text })
    }

    /// What the location service is asked to do; `None` when only to list.
    pub(super) fn contacts<'u>(&self, updates: &'u [ContactUpdate<'u>]) -> Option<Contacts<'u>> {
        match self {
            ContactList::Nothing => None,
            ContactList::Everything => Some(Contacts::RemoveAll),
            ContactList::Each { .. } => Some(Contacts::Each(updates)),
        }
    }

    /// Whether one of them, not to be removed, has a `sips` URI.
    pub(super) fn has_sips(&self) -> bool {
        match self {
            ContactList::Nothing | ContactList::Everything => false,
            ContactList::Each { contacts, .. } => contacts
                .iter()
                .any(|contact| contact.uri.scheme == Scheme::Sips && contact.granted_secs > 0),
        }
    }

    /// Whether the URI of one of them is a GRUU of `aor` itself, which would lead nowhere (RFC 5627 §5.1).
    pub(super) fn has_gruu_of(&self, aor: &AddressOfRecord, domains: &Domains) -> bool {
        match self {
            ContactList::Nothing | ContactList::Everything => false,
            ContactList::Each { contacts, .. } => contacts.iter().any(|contact| {
                gruu::is_gruu(&contact.uri)
                    && AddressOfRecord::new(&contact.uri, domains).is_some_and(|(of_contact, _)| of_contact == *aor)
            }),
        }
    }

    /// Whether one of them makes or refreshes a binding by instance and reg-id.
    pub(super) fn has_reg_id(&self) -> bool {
        match self {
            ContactList::Nothing | ContactList::Everything => false,
            ContactList::Each { contacts, .. } => contacts.iter().any(Contact::makes_flow),
        }
    }

    pub(super) fn updates(&self) -> SmallVec<[ContactUpdate<'_>; 2]> {
        let ContactList::Each { contacts, text } = self else {
            return SmallVec::new();
        };
        let updates = contacts.iter().map(|contact| ContactUpdate {
            uri: contact.uri,
            // None when there are no parameters; the others were well-formed.
            parameters: Parameters::parse(&text[contact.parameters.clone()]).unwrap_or_default(),
            q: contact.q,
            is_outbound: contact.has_reg_id,
            expires: Duration::from_secs(u64::from(contact.granted_secs)),
        });
        updates.collect()
    }
}

impl<'a> Contact<'a> {
    fn makes_flow(&self) -> bool {
        self.has_reg_id && self.granted_secs > 0
    }

    /// `expires` is the value of the Expires header.
    fn read(
        value: &'a [u8],
        expires: Option<u32>,
        settings: &Settings,
        text: &mut SmallVec<[u8; 256]>,
    ) -> Result<Contact<'a>, Refusal> {
        if value.len() > MAX_CONTACT {
            return Err(Reason::BadContact.into());
        }
        let address = NameAddr::parse(value).map_err(|_| Reason::BadContact)?;
        let uri = address.parsed_uri().map_err(|_| Reason::BadContact)?;
        if !matches!(uri.scheme, Scheme::Sip | Scheme::Sips) {
            return Err(Reason::BadContact.into());
        }
        let asked = address.parameter("expires").flatten().and_then(delta_seconds);
        let (parameters, noticed) = put_parameters(&address.parameters, text);
        Ok(Contact {
            uri,
            q: read_q(&address)?,
            granted_secs: grant(asked.or(expires), settings)?,
            has_reg_id: has_reg_id(&address, noticed)?,
            parameters,
        })
    }
}

/// Whether instance and reg-id name the binding (RFC 5626 §6). Without an instance a reg-id is ignored; with one it is a
/// number from 1 to 2^31 - 1 (§4.2).
fn has_reg_id(address: &NameAddr<'_>, noticed: Noticed) -> Result<bool, Refusal> {
    if !(noticed.reg_id && noticed.instance) {
        return Ok(false);
    }
    let number = address.parameter("reg-id").flatten().and_then(decimal::<u32>);
    match number {
        Some(1..=REG_ID_MAX) => Ok(true),
        Some(_) | None => Err(Reason::BadContact.into()),
    }
}

/// Which parameters a Contact has: reading them is dear.
#[derive(Clone, Copy, Debug, Default)]
struct Noticed {
    reg_id: bool,
    instance: bool,
}

/// The lifetime granted when `asked` was asked for, in seconds.
fn grant(asked: Option<u32>, settings: &Settings) -> Result<u32, Refusal> {
    let seconds = |duration: Duration| u32::try_from(duration.as_secs()).unwrap_or(u32::MAX);
    let asked = asked.unwrap_or(seconds(settings.default_expires));
    // RFC 3261 §10.3 step 7: a removal is never too brief.
    if asked > 0 && asked < seconds(settings.min_expires) {
        return Err(Refusal {
            reason: Reason::IntervalTooBrief,
            extra: Extra::MinExpires(seconds(settings.min_expires)),
        });
    }
    Ok(asked.min(seconds(settings.max_expires)))
}

/// RFC 3261 §25.1 `qvalue`, in thousandths; 1 when absent.
fn read_q(address: &NameAddr<'_>) -> Result<u16, Refusal> {
    let Some(value) = address.parameter("q") else {
        return Ok(1000);
    };
    let text = value.ok_or(Reason::BadContact)?;
    let (whole, decimals) = match text {
        [whole] => (whole, &[][..]),
        [whole, b'.', decimals @ ..] => (whole, decimals),
        _ => return Err(Reason::BadContact.into()),
    };
    if !matches!(whole, b'0' | b'1') || decimals.len() > 3 || !decimals.iter().all(u8::is_ascii_digit) {
        return Err(Reason::BadContact.into());
    }
    let digits = decimals.iter().chain(b"000").take(3);
    let thousandths = digits.fold(u16::from(whole - b'0'), |sum, digit| sum * 10 + u16::from(digit - b'0'));
    match thousandths {
        0..=1000 => Ok(thousandths),
        _ => Err(Reason::BadContact.into()),
    }
}

/// Appends all parameters but `expires` and what only we say, on one line; returns where they stand, and what is among them.
fn put_parameters(parameters: &Parameters<'_>, text: &mut SmallVec<[u8; 256]>) -> (Range<usize>, Noticed) {
    let start = text.len();
    let mut noticed = Noticed::default();
    for (name, value) in parameters.iter() {
        if OURS.iter().any(|ours| name.eq_ignore_ascii_case(ours)) {
            continue;
        }
        noticed.reg_id |= name.eq_ignore_ascii_case(b"reg-id");
        noticed.instance |= name.eq_ignore_ascii_case(b"+sip.instance") && value.is_some();
        if text.len() > start {
            text.push(b';');
        }
        text.extend_from_slice(name);
        if let Some(value) = value {
            text.push(b'=');
            put_unfolded(value, text);
        }
    }
    (start..text.len(), noticed)
}

/// Appends `value` on one line: a line end can only be part of a fold, which means white space (RFC 3261 §7.3.1).
pub(super) fn put_unfolded<const N: usize>(value: &[u8], text: &mut SmallVec<[u8; N]>) {
    let start = text.len();
    text.extend_from_slice(value);
    if memchr::memchr2(b'\r', b'\n', value).is_some() {
        for byte in &mut text[start..] {
            if matches!(byte, b'\r' | b'\n') {
                *byte = b' ';
            }
        }
    }
}

/// What is not kept of a Contact's parameters: the lifetime, and GRUUs, which we make ourselves (RFC 5627 §5.1).
const OURS: [&[u8]; 3] = [b"expires", b"pub-gruu", b"temp-gruu"];

const REG_ID_MAX: u32 = i32::MAX as u32;

/// The longest Contact that is kept, in bytes; parameters for push notification are long.
const MAX_CONTACT: usize = 2048;

/// The most Contacts of one request, if the AOR may not have more.
const MAX_CONTACTS: usize = 64;
