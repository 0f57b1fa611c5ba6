//! The header lines of the 200 to a REGISTER (RFC 3261 §10.3 step 8, RFC 3327 §5.3, RFC 3608 §6, RFC 5626 §6).

use std::time::{Duration, Instant};

use bytes::{BufMut, BytesMut};

use crate::sip::location::Binding;
use crate::sip::message::date::put_date;
use crate::sip::message::reply::{put_decimal, put_header};
use crate::sip::registrar::Settings;
use crate::sip::registrar::outbound::{OUTBOUND, Outbound};

/// Appends the Contact line of a live binding but for its end.
pub(super) fn put_contact(binding: &Binding<'_>, out: &mut BytesMut) {
    out.put_slice(b"Contact: <");
    out.put_slice(binding.contact_uri());
    out.put_u8(b'>');
    if !binding.parameters().is_empty() {
        out.put_u8(b';');
        out.put_slice(binding.parameters());
    }
}

/// Appends the end of the Contact line: what is left of the binding's lifetime.
pub(super) fn put_expiry(binding: &Binding<'_>, now: Instant, out: &mut BytesMut) {
    out.put_slice(b";expires=");
    put_decimal(out, binding.seconds_left(now));
    out.put_slice(b"\r\n");
}

/// Appends the lines after the Contacts. `path` is what the request said, where its sender wants to hear it.
pub(super) fn finish(path: &[u8], outbound: Outbound, settings: &Settings, unix_now: Duration, out: &mut BytesMut) {
    if !path.is_empty() {
        put_header(out, "Path", path);
    }
    for route in &settings.service_route {
        put_header(out, "Service-Route", route.as_bytes());
    }
    match outbound {
        Outbound::Unused => {}
        Outbound::Used => put_header(out, "Require", OUTBOUND),
        Outbound::UsedOnConnection => {
            put_header(out, "Require", OUTBOUND);
            if let Some(timer) = settings.flow_timer {
                out.put_slice(b"Flow-Timer: ");
                put_decimal(out, u32::try_from(timer.as_secs()).unwrap_or(u32::MAX));
                out.put_slice(b"\r\n");
            }
        }
    }
    out.put_slice(b"Date: ");
    put_date(out, unix_now);
    out.put_slice(b"\r\n");
    put_header(out, "Supported", b"path, outbound, gruu");
}
