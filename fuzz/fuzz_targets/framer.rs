//! Any bytes as a stream: the frames are the same whether the bytes come at once, in two pieces or one by one.

#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use ringbinder::sip::message::framing::{Frame, Framer, FramingError};
use ringbinder::sip::message::limits::Limits;

fuzz_target!(|data: &[u8]| {
    let Some((cut, stream)) = data.split_first() else {
        return;
    };
    let expected = frames([stream]);
    assert_eq!(frames(stream.chunks(1)), expected);
    let (head, tail) = stream.split_at(stream.len() * usize::from(*cut) / 256);
    assert_eq!(frames([head, tail]), expected);
});

/// The frames of a stream that comes in `pieces`, up to the first error.
fn frames<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<Result<Frame, FramingError>> {
    let limits = Limits {
        message_size: 500,
        ..Limits::default()
    };
    let (mut framer, mut buffer, mut frames) = (Framer::new(&limits), BytesMut::new(), Vec::new());
    for piece in pieces {
        buffer.extend_from_slice(piece);
        while let Some(frame) = framer.next_frame(&mut buffer).transpose() {
            frames.push(frame);
        }
    }
    frames
}
