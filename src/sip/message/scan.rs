//! The search for the ends of lines and of quoted strings, many bytes at a time.

/// Where in `bytes`, at `from` or after it, the first CR or LF stands.
#[inline]
pub(super) fn find_line_end(bytes: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    loop {
        at = find_control(bytes, at)?;
        if matches!(bytes[at], b'\r' | b'\n') {
            return Some(at);
        }
        at += 1;
    }
}

/// The first byte that is no larger than CR: hardly anything but the end of a line is.
#[inline]
fn find_control(bytes: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    while let Some(block) = bytes.get(at..)?.first_chunk::<16>() {
        // All are looked at, which the compiler makes one comparison of.
        if block.iter().fold(false, |any, byte| any | (*byte <= b'\r')) {
            break;
        }
        at += 16;
    }
    while let Some(word) = bytes[at..].first_chunk::<8>() {
        let controls = up_to_cr(u64::from_le_bytes(*word));
        if controls != 0 {
            return Some(at + first(controls));
        }
        at += 8;
    }
    let rest = bytes[at..].iter().position(|byte| *byte <= b'\r')?;
    Some(at + rest)
}

/// Where in `bytes`, at `from` or after it, the first byte stands that does not simply belong to the text of a quoted
/// string: a quote, a backslash, a control character.
#[inline]
pub(super) fn find_quoted_end(bytes: &[u8], from: usize) -> Option<usize> {
    let is_end = |byte: u8| byte < b' ' || matches!(byte, b'"' | b'\\' | DELETE);
    let mut at = from;
    while let Some(word) = bytes.get(at..)?.first_chunk::<8>() {
        let word = u64::from_le_bytes(*word);
        let ends = below(word, b' ') | equal(word, b'"') | equal(word, b'\\') | equal(word, DELETE);
        if ends != 0 {
            return Some(at + first(ends));
        }
        at += 8;
    }
    let rest = bytes[at..].iter().position(|byte| is_end(*byte))?;
    Some(at + rest)
}

const DELETE: u8 = 0x7f;

/// A number whose lowest bit that is set belongs to the first byte of `word` that is less than `byte`, which is at most
/// 128; 0 without one.
#[inline]
fn below(word: u64, byte: u8) -> u64 {
    word.wrapping_sub(repeat(byte)) & !word & repeat(0x80)
}

/// A number whose lowest bit that is set belongs to the first byte of `word` that is no larger than CR; 0 without one.
#[inline]
pub(super) fn up_to_cr(word: u64) -> u64 {
    below(word, b'\r' + 1)
}

/// A number whose lowest bit that is set belongs to the first byte of `word` that is `byte`; 0 without one.
#[inline]
pub(super) fn equal(word: u64, byte: u8) -> u64 {
    let differences = word ^ repeat(byte);
    differences.wrapping_sub(repeat(1)) & !differences & repeat(0x80)
}

/// The index of the byte, in the order of memory, that the lowest bit set belongs to.
#[inline]
pub(super) fn first(marks: u64) -> usize {
    (marks.trailing_zeros() / 8) as usize
}

/// The bit that begins the byte of the lowest bit set in `marks`, which are not 0.
#[inline]
pub(super) fn first_bit(marks: u64) -> u64 {
    (marks & marks.wrapping_neg()) >> 7
}

const fn repeat(byte: u8) -> u64 {
    u64::from_le_bytes([byte; 8])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_either_is_found_wherever_it_stands() {
        for length in 0..70 {
            for place in 0..=length {
                for (mark, other) in [(b'\r', b'\t'), (b'\n', 0), (b'\r', 0x8d), (b'\n', 0xff), (b'\r', 0x0e)] {
                    let mut bytes = vec![other; length];
                    if let Some(byte) = bytes.get_mut(place) {
                        *byte = mark;
                    }
                    for from in 0..=length {
                        let expected = (place < length && from <= place).then_some(place);
                        assert_eq!(find_line_end(&bytes, from), expected);
                    }
                }
            }
        }
    }

    #[test]
    fn the_text_of_a_quoted_string_ends_at_quotes_backslashes_and_controls() {
        for byte in 0..=u8::MAX {
            let is_end = byte < b' ' || matches!(byte, b'"' | b'\\' | 0x7f);
            for other in [b' ', b'!', b'#', b'[', b']', b'~', 0x80, 0xa2, 0xdc, 0xff] {
                for (length, place) in (0..20).flat_map(|length| (0..length).map(move |place| (length, place))) {
                    let mut bytes = vec![other; length];
                    bytes[place] = byte;
                    for from in 0..=length {
                        let expected = (is_end && from <= place).then_some(place);
                        assert_eq!(find_quoted_end(&bytes, from), expected, "{byte} among {other}");
                    }
                }
            }
        }
    }

    #[test]
    fn the_first_of_a_byte_in_a_word_is_found() {
        for byte in 0..=u8::MAX {
            for other in [0, b':', b'\r', 0x7f, 0x80, 0xff, byte ^ 1, byte ^ 0x80] {
                for place in 0..8 {
                    let mut bytes = [other; 8];
                    bytes[place] = byte;
                    let found = equal(u64::from_le_bytes(bytes), byte);
                    let expected = bytes.iter().position(|each| *each == byte).unwrap();
                    assert_eq!(first(found), expected);
                }
            }
        }
    }
}
