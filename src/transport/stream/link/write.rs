//! The writing half of a connection: straight from the queue where the peer takes it, and from a buffer of its own only
//! while the peer does not.

use std::io::{self, Write};

use bytes::{Buf, BytesMut};

use super::{End, Link, PONG, Phase, Rules, Scratch};
use crate::transport::table::{PING, Taken};

/// The most bytes kept for writing between two turns.
const KEPT_BYTES: usize = 128 * 1024;

impl<O: Copy> Link<O> {
    /// Writes what is queued, as far as the peer takes it.
    pub fn write(&mut self, scratch: &mut Scratch<O>, rules: &Rules<'_>) -> Result<(), End> {
        if std::mem::take(&mut self.wants_hello) {
            self.say_hello(scratch, rules)?;
        }
        loop {
            if !self.write_out(rules)? {
                return match self.connection.is_congested() {
                    true => Err(End::Congested),
                    false => Ok(()),
                };
            }
            if matches!(self.phase, Phase::Handshaking | Phase::Lingering) {
                return Ok(());
            }
            self.put_web(scratch, rules)?;
            if !self.out.is_empty() {
                continue;
            }
            let taken = self.connection.take(&mut scratch.messages);
            match taken {
                Taken::All | Taken::More => {}
                Taken::Close => return Err(End::Ours),
                Taken::Congested => return Err(End::Congested),
            }
            if self.connection.is_doubted() {
                self.doubted_since.get_or_insert(rules.now);
            }
            self.write_messages(scratch, rules)?;
            if taken == Taken::All && self.out.is_empty() {
                return Ok(());
            }
        }
    }

    fn write_messages(&mut self, scratch: &mut Scratch<O>, rules: &Rules<'_>) -> Result<(), End> {
        let mut messages = std::mem::take(&mut scratch.messages);
        if let Some(web) = &mut self.web {
            for queued in &messages {
                match &queued.payload[..] == PING {
                    true => web.ask(rules.now),
                    false => web.send(&queued.payload),
                }
            }
            self.in_flight
                .extend(messages.iter().filter_map(|queued| queued.origin));
            messages.clear();
            scratch.messages = messages;
            let written = self.put_web(scratch, rules);
            if self.out.is_empty() && written.is_ok() {
                self.in_flight.clear();
            }
            return written;
        }
        self.in_flight
            .extend(messages.iter().filter_map(|queued| queued.origin));
        let written = match (&messages[..], self.pongs) {
            ([], 0) => Ok(()),
            ([queued], 0) => self.put(&queued.payload, &mut scratch.sealed, rules),
            (queued, pongs) => {
                scratch.joined.clear();
                (0..pongs).for_each(|_| scratch.joined.extend_from_slice(PONG));
                queued
                    .iter()
                    .for_each(|queued| scratch.joined.extend_from_slice(&queued.payload));
                let written = self.put(&scratch.joined, &mut scratch.sealed, rules);
                if scratch.joined.capacity() > KEPT_BYTES {
                    scratch.joined = Vec::new();
                }
                written
            }
        };
        self.pongs = 0;
        if self.out.is_empty() && written.is_ok() {
            self.in_flight.clear();
        }
        messages.clear();
        scratch.messages = messages;
        written
    }

    /// Writes what WebSocket has to say; nothing is in `out`.
    pub(super) fn put_web(&mut self, scratch: &mut Scratch<O>, rules: &Rules<'_>) -> Result<(), End> {
        let Some(web) = self.web.as_mut().filter(|web| !web.out.is_empty()) else {
            return Ok(());
        };
        let payload = std::mem::take(&mut web.out);
        if !self.out.is_empty() {
            // The peer does not read what came before; it is about to be given up.
            return Ok(());
        }
        self.put(&payload, &mut scratch.sealed, rules)
    }

    /// Writes `payload` after what is in `out`, which is nothing.
    fn put(&mut self, payload: &[u8], sealed: &mut Vec<u8>, rules: &Rules<'_>) -> Result<(), End> {
        let Some(secure) = &mut self.secure else {
            return self.write_now(payload, rules);
        };
        let result = secure.send(payload, sealed);
        result.map_err(|error| self.note_tls_error(&error))?;
        let written = self.write_now(sealed, rules);
        sealed.clear();
        if sealed.capacity() > KEPT_BYTES {
            *sealed = Vec::new();
        }
        written
    }

    /// Writes what TLS itself has to say.
    pub(super) fn put_sealed(&mut self, scratch: &mut Scratch<O>, rules: &Rules<'_>) -> Result<(), End> {
        if scratch.sealed.is_empty() {
            return Ok(());
        }
        let written = match self.out.is_empty() {
            true => self.write_now(&scratch.sealed, rules),
            false => {
                self.out.extend_from_slice(&scratch.sealed);
                Ok(())
            }
        };
        scratch.sealed.clear();
        written
    }

    /// Writes `bytes` as they are, and keeps what the peer does not take.
    fn write_now(&mut self, bytes: &[u8], rules: &Rules<'_>) -> Result<(), End> {
        let written = match self.socket.write(bytes) {
            Ok(written) => written,
            Err(error) if is_for_later(&error) => 0,
            Err(_) => return Err(End::Failed),
        };
        self.note_written(written, rules);
        if written < bytes.len() {
            self.stalled_since.get_or_insert(rules.now);
            self.out.extend_from_slice(&bytes[written..]);
        }
        Ok(())
    }

    /// Whether nothing is left in `out`.
    fn write_out(&mut self, rules: &Rules<'_>) -> Result<bool, End> {
        let had_out = !self.out.is_empty();
        while !self.out.is_empty() {
            match self.socket.write(&self.out) {
                Ok(0) => return Err(End::Failed),
                Ok(written) => {
                    self.note_written(written, rules);
                    self.out.advance(written);
                }
                Err(error) if is_for_later(&error) => {
                    self.stalled_since.get_or_insert(rules.now);
                    return Ok(false);
                }
                Err(_) => return Err(End::Failed),
            }
        }
        if had_out {
            self.stalled_since = None;
            self.out = BytesMut::new();
            self.in_flight = Vec::new();
        }
        Ok(true)
    }

    fn note_written(&mut self, written: usize, rules: &Rules<'_>) {
        if written > 0 {
            rules.counters.stream_bytes_sent.add(written as u64);
            self.stalled_since = None;
            self.active = rules.now;
        }
    }
}

/// Whether the socket is not ready now, or was interrupted.
pub(super) fn is_for_later(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
