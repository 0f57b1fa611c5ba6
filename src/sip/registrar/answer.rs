//! The header lines of the 200 to a REGISTER (RFC 3261 §10.3 step 8, RFC 3327 §5.3).

use std::time::{Duration, Instant};

use bytes::{BufMut, BytesMut};

use crate::sip::location::Binding;
use crate::sip::message::date::put_date;
use crate::sip::message::reply::{put_decimal, put_header};

/// Appends the Contact line of a live binding, with what is left of its lifetime.
pub(super) fn put_contact(binding: &Binding<'_>, now: Instant, out: &mut BytesMut) {
    out.put_slice(b"Contact: <");
    out.put_slice(binding.contact_uri());
    out.put_u8(b'>');
    if !binding.parameters().is_empty() {
        out.put_u8(b';');
        out.put_slice(binding.parameters());
    }
    out.put_slice(b";expires=");
    put_decimal(out, binding.seconds_left(now));
    out.put_slice(b"\r\n");
}

/// Appends the lines after the Contacts. `path` is what the request said.
pub(super) fn finish(path: &[u8], unix_now: Duration, out: &mut BytesMut) {
    if !path.is_empty() {
        put_header(out, "Path", path);
    }
    out.put_slice(b"Date: ");
    put_date(out, unix_now);
    out.put_slice(b"\r\n");
    put_header(out, "Supported", b"path");
}
