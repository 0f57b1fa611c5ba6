//! When two URIs mean the same (RFC 3261 §19.1.4, RFC 3966 §4). The relation is symmetric and reflexive; for sip URIs
//! it is not transitive, because parameters found in only one of them are ignored.

use super::{Scheme, Uri, is_visual_separator};
use crate::sip::message::grammar::{equal_escaped, equal_escaped_ignore_case};

/// The parameters that must be in both URIs or in none; any other may be in only one.
const NEVER_IGNORED: [&str; 5] = ["user", "ttl", "method", "maddr", "transport"];

impl Uri<'_> {
    /// Whether both URIs are equivalent: sip and sips by RFC 3261 §19.1.4, tel by RFC 3966 §4, others byte by byte.
    pub fn equivalent(&self, other: &Uri<'_>) -> bool {
        if self.bytes == other.bytes {
            return true;
        }
        if self.scheme != other.scheme {
            return false;
        }
        match self.scheme {
            Scheme::Sip | Scheme::Sips => self.equivalent_sip(other),
            Scheme::Tel => self.equivalent_tel(other),
            Scheme::Other => false,
        }
    }

    fn equivalent_sip(&self, other: &Uri<'_>) -> bool {
        self.host == other.host
            && self.port == other.port
            && equal_optional(self.user, other.user)
            && equal_optional(self.password, other.password)
            && NEVER_IGNORED
                .iter()
                .all(|name| self.parameter(name).is_some() == other.parameter(name).is_some())
            && self.parameters_match(other)
            && other.parameters_match(self)
            && self.headers_match(other)
            && other.headers_match(self)
    }

    /// "Any uri-parameter appearing in both URIs must match."
    fn parameters_match(&self, other: &Uri<'_>) -> bool {
        self.parameters.iter().all(|(name, value)| {
            let mut named = other
                .parameters
                .iter()
                .filter(|(other_name, _)| equal_escaped_ignore_case(name, other_name))
                .map(|(_, other_value)| other_value)
                .peekable();
            named.peek().is_none() || named.any(|other_value| values_match(name, value, other_value))
        })
    }

    /// "URI header components are never ignored." Their order does not matter.
    fn headers_match(&self, other: &Uri<'_>) -> bool {
        self.header_pairs().all(|(name, value)| {
            other.header_pairs().any(|(other_name, other_value)| {
                equal_escaped_ignore_case(name, other_name) && equal_escaped_ignore_case(value, other_value)
            })
        })
    }

    fn equivalent_tel(&self, other: &Uri<'_>) -> bool {
        equal_numbers(self.user.unwrap_or_default(), other.user.unwrap_or_default())
            && self.tel_parameters_match(other)
            && other.tel_parameters_match(self)
    }

    /// RFC 3966 §4: "If one URI has a parameter name not found in the other, the two URIs are not equal."
    fn tel_parameters_match(&self, other: &Uri<'_>) -> bool {
        self.parameters.iter().all(|(name, value)| {
            other.parameters.iter().any(|(other_name, other_value)| {
                equal_escaped_ignore_case(name, other_name) && equal_tel_values(name, value, other_value)
            })
        })
    }
}

fn values_match(name: &[u8], left: Option<&[u8]>, right: Option<&[u8]>) -> bool {
    match (left, right) {
        (None, None) => true,
        // Method names are case-sensitive (RFC 3261 §7.1).
        (Some(left), Some(right)) if equal_escaped_ignore_case(name, b"method") => equal_escaped(left, right),
        (Some(left), Some(right)) => equal_escaped_ignore_case(left, right),
        (Some(_), None) | (None, Some(_)) => false,
    }
}

fn equal_optional(left: Option<&[u8]>, right: Option<&[u8]>) -> bool {
    match (left, right) {
        (None, None) => true,
        (Some(left), Some(right)) => equal_escaped(left, right),
        (Some(_), None) | (None, Some(_)) => false,
    }
}

/// A `phone-context` is a host name or a global number; `ext` is a number with visual separators.
fn equal_tel_values(name: &[u8], left: Option<&[u8]>, right: Option<&[u8]>) -> bool {
    let (Some(left), Some(right)) = (left, right) else {
        return left == right;
    };
    let is_global = left.starts_with(b"+") && right.starts_with(b"+");
    if name.eq_ignore_ascii_case(b"ext") || (is_global && name.eq_ignore_ascii_case(b"phone-context")) {
        return equal_numbers(left, right);
    }
    equal_escaped_ignore_case(left, right)
}

/// Equal but for visual separators and case; both global (`+`) or both local.
fn equal_numbers(left: &[u8], right: &[u8]) -> bool {
    digits(left).eq(digits(right))
}

fn digits(number: &[u8]) -> impl Iterator<Item = u8> {
    number
        .iter()
        .filter(|byte| !is_visual_separator(**byte))
        .map(u8::to_ascii_lowercase)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn compare(left: &str, right: &str, expected: bool) {
        let (one, two) = (
            Uri::parse(left.as_bytes()).unwrap(),
            Uri::parse(right.as_bytes()).unwrap(),
        );
        assert_eq!(one.equivalent(&two), expected, "{left} and {right}");
        assert_eq!(two.equivalent(&one), expected, "{right} and {left}");
        assert!(one.equivalent(&one) && two.equivalent(&two));
    }

    #[test]
    fn rfc3261_19_1_4_equivalent_examples() {
        compare(
            "sip:%61lice@atlanta.com;transport=TCP",
            "sip:alice@AtLanTa.CoM;Transport=tcp",
            true,
        );
        compare("sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5", true);
        compare("sip:carol@chicago.com", "sip:carol@chicago.com;security=on", true);
        compare(
            "sip:carol@chicago.com;newparam=5",
            "sip:carol@chicago.com;security=on",
            true,
        );
        compare(
            "sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com",
            "sip:biloxi.com;method=REGISTER;transport=tcp?to=sip:bob%40biloxi.com",
            true,
        );
        compare(
            "sip:alice@atlanta.com?subject=project%20x&priority=urgent",
            "sip:alice@atlanta.com?priority=urgent&subject=project%20x",
            true,
        );
    }

    #[test]
    fn rfc3261_19_1_4_different_examples() {
        compare(
            "SIP:ALICE@AtLanTa.CoM;Transport=udp",
            "sip:alice@AtLanTa.CoM;Transport=UDP",
            false,
        );
        compare("sip:bob@biloxi.com", "sip:bob@biloxi.com:5060", false);
        compare("sip:bob@biloxi.com", "sip:bob@biloxi.com;transport=udp", false);
        compare("sip:bob@biloxi.com", "sip:bob@biloxi.com:6000;transport=tcp", false);
        compare(
            "sip:carol@chicago.com",
            "sip:carol@chicago.com?Subject=next%20meeting",
            false,
        );
        compare("sip:bob@phone21.boxesbybob.com", "sip:bob@192.0.2.4", false);
        // "Note that equality is not transitive."
        compare(
            "sip:carol@chicago.com;security=on",
            "sip:carol@chicago.com;security=off",
            false,
        );
    }

    #[test]
    fn rfc3261_19_1_4_each_rule() {
        compare("sip:a@b.c", "sips:a@b.c", false);
        compare("sip:a@b.c", "sip:b.c", false);
        compare("sip:a:x@b.c", "sip:a@b.c", false);
        compare("sip:a:x@b.c", "sip:a:X@b.c", false);
        compare("sip:a:%78@b.c", "sip:a:x@b.c", true);
        compare("sip:a%3Bb@b.c", "sip:a;b@b.c", false);
        compare("sip:a%3bb@b.c", "sip:a%3Bb@b.c", true);
        compare("sip:a@[2001:db8::1]", "sip:a@[2001:DB8:0::1]", true);
        for parameter in [
            "user=phone",
            "ttl=1",
            "method=INVITE",
            "maddr=192.0.2.1",
            "transport=udp",
            "%75ser=ip",
        ] {
            compare("sip:a@b.c", &format!("sip:a@b.c;{parameter}"), false);
            compare(
                &format!("sip:a@b.c;x;{parameter}"),
                &format!("sip:a@b.c;{parameter};y"),
                true,
            );
        }
        compare("sip:a@b.c;method=INVITE", "sip:a@b.c;method=invite", false);
        compare("sip:a@b.c;user=phone", "sip:a@b.c;user=ip", false);
        compare("sip:a@b.c;lr", "sip:a@b.c;LR", true);
        compare("sip:a@b.c;lr", "sip:a@b.c;lr=on", false);
        compare("sip:a@b.c;lr", "sip:a@b.c", true);
        compare("sip:a@b.c;%6cr=1", "sip:a@b.c;lr=%31", true);
        compare("sip:a@b.c?x=1&y=2", "sip:a@b.c?x=1", false);
        compare("sip:a@b.c?x=1", "sip:a@b.c?x=2", false);
        compare("sip:a@b.c;x=1;x=2", "sip:a@b.c;x=2;x=1", true);
        compare("sip:a@b.c;x=1;x=2", "sip:a@b.c;x=2", false);
    }

    #[test]
    fn rfc3966_4_numbers() {
        compare("tel:+1-201-555-0123", "tel:+1(201)5550123", true);
        compare("tel:+12015550123", "tel:12015550123", false);
        compare(
            "tel:7042;phone-context=Example.com",
            "TEL:70-42;phone-context=example.COM",
            true,
        );
        compare(
            "tel:7042;phone-context=example.com",
            "tel:7042;phone-context=example.net",
            false,
        );
        compare("tel:863;phone-context=+1-914", "tel:863;phone-context=+1914", true);
        compare("tel:+1;ext=1-2", "tel:+1;EXT=12", true);
        compare("tel:+1;ext=12", "tel:+1", false);
        compare("tel:+1;a=1;b=2", "tel:+1;b=2;a=1", true);
        compare("tel:a", "tel:A", true);
        compare("tel:123", "sip:123@b.c", false);
    }

    #[test]
    fn other_schemes_are_compared_as_bytes() {
        compare("urn:service:sos", "urn:service:sos", true);
        compare("urn:service:sos", "urn:service:SOS", false);
    }
}
