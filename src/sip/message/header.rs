//! Header names (RFC 3261 §7.3.1, §20), compact forms included.

macro_rules! headers {
    ($($(#[$doc:meta])* $variant:ident = $name:literal $(/ $compact:literal)?;)*) => {
        /// A header this server looks at; every other one is `Other` and passes through untouched.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum HeaderName {
            $(#[doc = $name] $variant,)*
            /// A header of no interest here.
            Other,
        }

        impl HeaderName {
            /// The full name as the standards write it; empty for `Other`.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(HeaderName::$variant => $name,)*
                    HeaderName::Other => "",
                }
            }

            /// The header that `name` names, in any case, full or compact (RFC 3261 §7.3.3).
            pub fn from_bytes(name: &[u8]) -> HeaderName {
                // The folding takes a CR for a hyphen.
                if name.contains(&b'\r') {
                    return HeaderName::Other;
                }
                if name.len() > Words::LENGTH_MAX {
                    return HeaderName::from_long(name);
                }
                let word = |part: &[u8]| {
                    let mut word = [0; 8];
                    word[..part.len()].copy_from_slice(part);
                    u64::from_le_bytes(word)
                };
                // With all eight bytes kept there is no bit behind them.
                let end = |part: &[u8]| 1_u64.checked_shl(8 * part.len() as u32).unwrap_or(0);
                let words = match name.split_at_checked(8) {
                    None => Words::of_one(word(name), end(name)),
                    Some((first, second)) => Words {
                        first: word(first) | Words::LOWER,
                        second: (word(second) | Words::LOWER) & end(second).wrapping_sub(1),
                    },
                };
                HeaderName::from_words(words)
            }

            /// The header whose name, of up to 16 bytes without CR, has been read into `words`.
            #[inline]
            pub(super) fn from_words(words: Words) -> HeaderName {
                match words.first {
                    $($(compact::$variant if $compact != 0 => HeaderName::$variant,)?)*
                    $(first::$variant if words.second == second::$variant => HeaderName::$variant,)*
                    _ => HeaderName::Other,
                }
            }

            /// The header that a `name` of more than 16 bytes names.
            #[cold]
            fn from_long(name: &[u8]) -> HeaderName {
                $(if $name.len() > Words::LENGTH_MAX && $name.as_bytes().eq_ignore_ascii_case(name) {
                    return HeaderName::$variant;
                })*
                HeaderName::Other
            }
        }

        #[cfg(test)]
        const ALL: &[HeaderName] = &[$(HeaderName::$variant),*];

        #[cfg(test)]
        const COMPACT: &[(HeaderName, u8)] = &[$($((HeaderName::$variant, $compact),)?)*];

        /// The first eight letters of each name.
        #[expect(non_upper_case_globals, reason = "they are named as the headers are")]
        mod first {
            $(pub(super) const $variant: u64 = super::Words::of_name($name.as_bytes()).first;)*
        }

        /// The next eight.
        #[expect(non_upper_case_globals, reason = "they are named as the headers are")]
        mod second {
            $(pub(super) const $variant: u64 = super::Words::of_name($name.as_bytes()).second;)*
        }

        /// The compact forms.
        #[expect(non_upper_case_globals, reason = "they are named as the headers are")]
        mod compact {
            $($(pub(super) const $variant: u64 = $compact as u64;)?)*
        }
    };
}

headers! {
    Via = "Via" / b'v';
    From = "From" / b'f';
    To = "To" / b't';
    CallId = "Call-ID" / b'i';
    CSeq = "CSeq";
    Contact = "Contact" / b'm';
    MaxForwards = "Max-Forwards";
    ContentLength = "Content-Length" / b'l';
    ContentType = "Content-Type" / b'c';
    Route = "Route";
    RecordRoute = "Record-Route";
    Authorization = "Authorization";
    ProxyAuthorization = "Proxy-Authorization";
    WwwAuthenticate = "WWW-Authenticate";
    ProxyAuthenticate = "Proxy-Authenticate";
    Expires = "Expires";
    MinExpires = "Min-Expires";
    Require = "Require";
    ProxyRequire = "Proxy-Require";
    Supported = "Supported" / b'k';
    Unsupported = "Unsupported";
    MaxBreadth = "Max-Breadth";
    Path = "Path";
    ServiceRoute = "Service-Route";
    RetryAfter = "Retry-After";
    Event = "Event" / b'o';
    Date = "Date";
    Warning = "Warning";
    Timestamp = "Timestamp";
    ContentEncoding = "Content-Encoding" / b'e';
    ReferTo = "Refer-To" / b'r';
}

/// A name of up to 16 bytes in lower case, as two numbers: so that it is compared at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Words {
    first: u64,
    second: u64,
}

impl Words {
    const LENGTH_MAX: usize = 16;

    /// What sets each letter of a word to lower case. It leaves the hyphen as it is, and takes a CR for one.
    const LOWER: u64 = u64::from_le_bytes([0x20; 8]);

    /// The name whose bytes are those of `first` below the bit `end`.
    #[inline]
    pub(super) fn of_one(first: u64, end: u64) -> Words {
        Words {
            first: (first | Words::LOWER) & (end - 1),
            second: 0,
        }
    }

    /// The name whose bytes are `first` and those of `second` below the bit `end`.
    #[inline]
    pub(super) fn of_two(first: u64, second: u64, end: u64) -> Words {
        Words {
            first: first | Words::LOWER,
            second: (second | Words::LOWER) & (end - 1),
        }
    }

    /// A name of a header; those that are too long equal nothing.
    const fn of_name(name: &[u8]) -> Words {
        let mut words = [[0; 8]; 2];
        let mut index = 0;
        while index < name.len() {
            assert!(name[index].is_ascii_alphabetic() || name[index] == b'-');
            if name.len() > Words::LENGTH_MAX {
                return Words {
                    first: u64::MAX,
                    second: u64::MAX,
                };
            }
            words[index / 8][index % 8] = name[index] | 0x20;
            index += 1;
        }
        Words {
            first: u64::from_le_bytes(words[0]),
            second: u64::from_le_bytes(words[1]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_compared_without_case_and_compact_forms_mean_the_same() {
        assert_eq!(HeaderName::from_bytes(b"CALL-id"), HeaderName::CallId);
        assert_eq!(HeaderName::from_bytes(b"i"), HeaderName::CallId);
        assert_eq!(HeaderName::from_bytes(b"K"), HeaderName::Supported);
        assert_eq!(HeaderName::from_bytes(b"V"), HeaderName::Via);
        assert_eq!(HeaderName::from_bytes(b"X-Unknown"), HeaderName::Other);
        assert_eq!(HeaderName::from_bytes(b"z"), HeaderName::Other);
        assert_eq!(HeaderName::from_bytes(b""), HeaderName::Other);
        assert_eq!(HeaderName::from_bytes(b"Call\rID"), HeaderName::Other);
        assert_eq!(HeaderName::from_bytes(b"Proxy-Authorizat"), HeaderName::Other);
    }

    #[test]
    fn every_name_is_known_in_any_case_and_no_other_is() {
        for name in ALL {
            let text = name.as_str().as_bytes();
            assert_eq!(HeaderName::from_bytes(text), *name);
            assert_eq!(HeaderName::from_bytes(&text.to_ascii_uppercase()), *name);
            assert_eq!(HeaderName::from_bytes(&text.to_ascii_lowercase()), *name);
            for index in 0..text.len() {
                for byte in 0..=u8::MAX {
                    let mut other = text.to_vec();
                    other[index] = byte;
                    let is_same = other.eq_ignore_ascii_case(text);
                    assert_eq!(HeaderName::from_bytes(&other) == *name, is_same, "{other:?}");
                }
                let compact = ALL.iter().find(|other| COMPACT.contains(&(**other, text[0] | 0x20)));
                let expected = if index == 1 { compact.copied() } else { None };
                assert_eq!(
                    HeaderName::from_bytes(&text[..index]),
                    expected.unwrap_or(HeaderName::Other)
                );
            }
        }
    }
}
