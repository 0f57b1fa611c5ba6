//! Any bytes as a datagram: nothing panics, and what is taken as a message can be copied and replied to. The torture
//! messages are good seeds: `cargo +nightly fuzz run message tests/torture/rfc4475 tests/torture/rfc5118`.

#![no_main]

#[path = "../../tests/support/accessors.rs"]
mod accessors;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use ringbinder::sip::message::Message;
use ringbinder::sip::message::limits::Limits;

fuzz_target!(|data: &[u8]| {
    if let Ok(message) = Message::parse(Bytes::copy_from_slice(data), &Limits::default()) {
        accessors::read_everything(&message);
    }
});
