//! Why a request was refused: one name for each refusal that is made here, from which come the status, the Warning
//! header (RFC 3261 §20.43), the log field and docs/reasons.md.

macro_rules! reasons {
    ($($variant:ident = $name:literal, $status:literal $phrase:literal, $text:literal, $remedy:literal;)*) => {
        /// A refusal's reason.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Reason {
            $(#[doc = $text] $variant,)*
        }

        impl Reason {
            /// Every reason, in the order of docs/reasons.md.
            pub const ALL: &'static [Reason] = &[$(Reason::$variant,)*];

            /// The stable name, in kebab-case.
            pub fn name(self) -> &'static str {
                match self { $(Reason::$variant => $name,)* }
            }

            /// The status code of the reply.
            pub fn status(self) -> u16 {
                match self { $(Reason::$variant => $status,)* }
            }

            /// The reason phrase of the reply.
            pub fn phrase(self) -> &'static str {
                match self { $(Reason::$variant => $phrase,)* }
            }

            /// One sentence for the Warning header and the log: the cause.
            pub fn text(self) -> &'static str {
                match self { $(Reason::$variant => $text,)* }
            }

            /// What to do about it.
            pub fn remedy(self) -> &'static str {
                match self { $(Reason::$variant => $remedy,)* }
            }
        }
    };
}

reasons! {
    DomainNotServed = "domain-not-served", 403 "Forbidden", "the domain is not served here",
        "Set the phone's domain to one of the [[domain]] names, or add the name to that domain's aliases.";
    AorOutsideDomain = "aor-outside-domain", 404 "Not Found", "the address in To is not in the domain of the Request-URI",
        "Use the same domain for the registrar and the account.";
    RegistrationDisabled = "registration-disabled", 403 "Forbidden", "registration is switched off for this domain",
        "Set registration = true in the [[domain]].";
    ExtensionRequired = "extension-not-supported", 420 "Bad Extension", "the request requires an extension that is not supported",
        "The Unsupported header names it; switch it off at the peer.";
    NoCredentials = "no-credentials", 401 "Unauthorized", "credentials are needed",
        "Normal at the first request: the phone repeats it with credentials. If it does not, set user and password there.";
    StaleNonce = "stale-nonce", 401 "Unauthorized", "the nonce has expired; the password was right",
        "Normal: the phone repeats the request with the new nonce.";
    BadPassword = "bad-password", 401 "Unauthorized", "user or password is wrong",
        "Check user, password and realm at the phone; the realm is the domain's name unless realm is set.";
    NonceReplayed = "nonce-replayed", 401 "Unauthorized", "the nonce count did not rise",
        "The phone must raise nc with each request; if it cannot, it repeats with the new nonce.";
    BadCredentials = "malformed-credentials", 400 "Bad Request", "the Authorization header cannot be read",
        "The peer's digest implementation is at fault; the log at DEBUG says what was read.";
    DigestUriMismatch = "digest-uri-mismatch", 400 "Bad Request", "the digest uri is not the Request-URI",
        "Something on the way rewrites the Request-URI, or the credentials belong to another request.";
    NotYourAor = "not-your-aor", 403 "Forbidden", "the user may not act for this address",
        "Set the authentication user to the user of the address, or list the address in the user's identities.";
    ToTagPresent = "to-tag-present", 400 "Bad Request", "a REGISTER carries no To tag",
        "Set allow_to_tag in [registrar] if the peer cannot be changed.";
    IntervalTooBrief = "interval-too-brief", 423 "Interval Too Brief", "the registration interval is below the minimum",
        "The Min-Expires header says the least; raise the interval at the phone, or lower min_expires.";
    TooManyContacts = "too-many-contacts", 403 "Forbidden", "the address has as many contacts as it may have",
        "Remove a phone, raise max_contacts, or set overflow to another policy.";
    BadContact = "malformed-contact", 400 "Bad Request", "a Contact or its expiry cannot be used",
        "The Contact must be a SIP URI of at most 2,048 bytes; \"*\" stands alone and with Expires: 0.";
    ContactIsGruu = "contact-is-gruu", 403 "Forbidden", "a Contact is a GRUU of the address itself",
        "Register the address where the phone is; its GRUU is for the Contact of calls (RFC 5627).";
    UnprotectedContact = "unprotected-contact", 400 "Bad Request", "a sips Contact came over an unprotected connection",
        "Register a sips: Contact over TLS, or a sip: one (RFC 5630).";
    OutOfOrder = "out-of-order", 400 "Bad Request", "the CSeq is not higher than that of the stored binding",
        "Normal when requests overtake each other; otherwise the phone reuses its Call-ID without counting on.";
    PathNotSupported = "path-not-supported", 420 "Bad Extension", "a Path came without Supported: path",
        "Let the phone announce path, or unset strict_path.";
    FirstHopLacksOutbound = "first-hop-lacks-outbound", 439 "First Hop Lacks Outbound Support",
        "the phone wants flows, and the proxy before it does not keep them",
        "Switch outbound (RFC 5626) off at the phone, or use an edge proxy that adds a Path with ;ob.";
    Malformed = "malformed-request", 400 "Bad Request", "the request is malformed",
        "The log at DEBUG says which line.";
    TooLarge = "too-large", 513 "Message Too Large", "the message is longer than message_size",
        "Raise message_size in [limits] or make the peer send less.";
    BadVersion = "version-not-supported", 505 "Version Not Supported", "the SIP version is not 2.0",
        "The peer speaks another protocol.";
    UnsupportedScheme = "unsupported-scheme", 416 "Unsupported URI Scheme", "the scheme of the Request-URI is not supported",
        "Call a sip: or sips: address.";
    TooManyHops = "too-many-hops", 483 "Too Many Hops", "Max-Forwards has reached 0",
        "Two servers forward to each other; look for the loop in their routing.";
    Loop = "loop", 482 "Loop Detected", "the request has been here before, unchanged",
        "A binding or route leads back to this server.";
    MaxBreadthExceeded = "max-breadth-exceeded", 440 "Max-Breadth Exceeded", "Max-Breadth has reached 0",
        "The request forked too often on its way (RFC 5393).";
    ProxyCredentials = "proxy-credentials-needed", 407 "Proxy Authentication Required", "credentials are needed",
        "Normal at the first request: the phone repeats it with credentials.";
    CallerIdInvalid = "caller-id-invalid", 403 "Forbidden", "the From address is not one of the caller's",
        "Set From to the account's own address, or list it in the user's identities.";
    UriCallingDisabled = "uri-calling-disabled", 403 "Forbidden", "the domain takes no calls from elsewhere",
        "Set uri_calling of the domain to unrestricted if strangers may call.";
    RelayDenied = "relay-denied", 403 "Forbidden", "nothing is relayed for strangers",
        "Authenticate as a user of a served domain.";
    BadToken = "bad-route-token", 403 "Forbidden", "the Route does not belong to this dialog",
        "In-dialog requests must carry the Record-Route of the dialog unchanged.";
    UnknownUser = "unknown-user", 404 "Not Found", "there is no such user",
        "Check the address that is called.";
    UnknownGruu = "unknown-gruu", 404 "Not Found", "the GRUU leads to no phone, or does so no more",
        "Call the address; a temporary GRUU ends with the registration that it was given in (RFC 5627).";
    NoBinding = "no-binding", 480 "Temporarily Unavailable", "no phone can be reached for this address now",
        "Look whether the phone is registered and its connection alive.";
    NoSecureBinding = "no-secure-binding", 480 "Temporarily Unavailable",
        "no phone with a sips Contact on a protected connection can be reached for this address now",
        "Call the sip: address, or let the phone register a sips: Contact over TLS (RFC 5630).";
    FlowFailed = "flow-failed", 430 "Flow Failed", "the connection to the other side is gone",
        "Normal when a phone has lost its connection: it is reached again when it has registered again.";
    MethodNotServed = "method-not-served", 405 "Method Not Allowed", "no event package is served here",
        "Switch message-waiting or presence subscription to one's own address off at the phone.";
    NoTransaction = "no-transaction", 481 "Call/Transaction Does Not Exist", "there is no such transaction",
        "The transaction had ended before the CANCEL came.";
    NotHere = "not-found", 404 "Not Found", "the Request-URI names this server without a user",
        "Call user@domain.";
    Unresolvable = "unresolvable", 480 "Temporarily Unavailable", "the next hop's name leads nowhere",
        "Check the host name and the name servers of this machine; ringbinder dns shows what they say.";
    RegistrarUnreachable = "registrar-unreachable", 504 "Server Time-out", "the domain's registrar cannot be reached",
        "Look whether the `registrar` of the [[edge]] is right and up.";
    Timeout = "ring-timeout", 408 "Request Timeout", "no phone answered in time",
        "Nobody answered; ring_timeout of the domain says how long it rings.";
    Overloaded = "overloaded", 503 "Service Unavailable", "the server has as many transactions as it may have",
        "Raise transactions in [limits] or look for a flood.";
    Stopping = "stopping", 503 "Service Unavailable", "the server is stopping",
        "Normal while it is restarted; the Retry-After header says when to come again.";
    ServerError = "server-error", 500 "Server Internal Error", "a next hop is out of service",
        "The next hop answered 503; look there.";
}

/// A refusal: its reason, and what the reply says beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The reason.
    pub reason: Reason,
    /// The header that belongs to it.
    pub extra: Extra,
}

/// What the reply to a refused request carries beside its status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Extra {
    /// Nothing.
    None,
    /// `Min-Expires`, in seconds (RFC 3261 §20.23).
    MinExpires(u32),
    /// `Unsupported`, with these option tags (RFC 3261 §20.40).
    Unsupported(Vec<u8>),
    /// A fresh challenge (RFC 3261 §22).
    Challenge {
        /// Whether the credentials were right but for the nonce.
        stale: bool,
    },
    /// `Allow` (RFC 3261 §20.5).
    Allow,
    /// `Retry-After`, in seconds (RFC 3261 §20.33).
    RetryAfter(u32),
}

impl From<Reason> for Refusal {
    fn from(reason: Reason) -> Refusal {
        Refusal {
            reason,
            extra: Extra::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_unique_and_in_kebab_case() {
        let names: BTreeSet<_> = Reason::ALL.iter().map(|reason| reason.name()).collect();
        assert_eq!(names.len(), Reason::ALL.len());
        assert!(
            names
                .iter()
                .all(|name| name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'))
        );
    }
}
