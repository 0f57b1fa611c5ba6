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
                match name.len() {
                    1 => {
                        let letter = name[0].to_ascii_lowercase();
                        $($(if letter == $compact { return HeaderName::$variant; })?)*
                        HeaderName::Other
                    }
                    $(length if length == $name.len() && $name.as_bytes().eq_ignore_ascii_case(name) => HeaderName::$variant,)*
                    _ => HeaderName::Other,
                }
            }
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
    }
}
