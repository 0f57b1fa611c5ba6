//! The request that asks for the upgrade, and its answer (RFC 6455 §4.2, RFC 7118 §4).

use tungstenite::error::{Error as ProtocolFailure, ProtocolError};
use tungstenite::handshake::server::{Request, Response, create_response};
use tungstenite::http::{self, HeaderMap, HeaderValue, StatusCode};

use crate::transport::counters::{Counter, UpgradesRefused};
use crate::transport::settings::Web;

/// The subprotocol (RFC 7118 §4).
const SUBPROTOCOL: &str = "sip";

/// Why an upgrade is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Malformed, or without the subprotocol.
    Malformed,
    /// The page has another origin.
    Origin,
    /// Another path.
    Path,
    /// Another method than GET.
    Method,
    /// No upgrade to WebSocket, or to another version.
    Version,
    /// The head is too large.
    Size,
}

/// The answer to a request for the upgrade.
pub(super) fn answer(request: &Request, web: &Web) -> Result<Response, Refusal> {
    let headers = request.headers();
    if web.path.as_deref().is_some_and(|path| request.uri().path() != path) {
        return Err(Refusal::Path);
    }
    let mut response = create_response(request).map_err(|error| match error {
        ProtocolFailure::Protocol(
            ProtocolError::MissingSecWebSocketVersionHeader
            | ProtocolError::MissingUpgradeWebSocketHeader
            | ProtocolError::MissingConnectionUpgradeHeader,
        ) => Refusal::Version,
        _ => Refusal::Malformed,
    })?;
    // RFC 6455 §4.2.1 item 2, RFC 9112 §3.2: one Host.
    if headers.get_all("Host").iter().count() != 1 {
        return Err(Refusal::Malformed);
    }
    // RFC 7118 §4: "the client MUST include the value "sip""; without it the client speaks something else.
    let offered = headers.get_all("Sec-WebSocket-Protocol").into_iter();
    let mut offered = offered
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    if !offered.any(|name| name.trim().eq_ignore_ascii_case(SUBPROTOCOL)) {
        return Err(Refusal::Malformed);
    }
    if !is_welcome(headers, &web.origins) {
        return Err(Refusal::Origin);
    }
    let subprotocol = HeaderValue::from_static(SUBPROTOCOL);
    response.headers_mut().insert("Sec-WebSocket-Protocol", subprotocol);
    Ok(response)
}

/// RFC 6455 §10.2: only pages have an Origin; whoever has none is no browser, and might write any.
fn is_welcome(headers: &HeaderMap, origins: &[Box<str>]) -> bool {
    let Some(origin) = headers.get("Origin") else {
        return true;
    };
    origins.is_empty()
        || origin
            .to_str()
            .is_ok_and(|origin| origins.iter().any(|known| known.eq_ignore_ascii_case(origin)))
}

impl Refusal {
    /// The answer.
    pub(super) fn response(self) -> http::Response<()> {
        let mut response = http::Response::new(());
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert("Connection", HeaderValue::from_static("close"));
        headers.insert("Content-Length", HeaderValue::from_static("0"));
        match self {
            // RFC 6455 §4.4, RFC 9110 §15.5.22: the answer says what is spoken here.
            Refusal::Version => {
                headers.insert("Upgrade", HeaderValue::from_static("websocket"));
                headers.insert("Sec-WebSocket-Version", HeaderValue::from_static("13"));
            }
            Refusal::Method => {
                headers.insert("Allow", HeaderValue::from_static("GET"));
            }
            Refusal::Malformed | Refusal::Origin | Refusal::Path | Refusal::Size => {}
        }
        response
    }

    fn status(self) -> StatusCode {
        match self {
            Refusal::Malformed => StatusCode::BAD_REQUEST,
            Refusal::Origin => StatusCode::FORBIDDEN,
            Refusal::Path => StatusCode::NOT_FOUND,
            Refusal::Method => StatusCode::METHOD_NOT_ALLOWED,
            Refusal::Version => StatusCode::UPGRADE_REQUIRED,
            Refusal::Size => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        }
    }

    /// Where it is counted.
    pub fn counter(self, counters: &UpgradesRefused) -> &Counter {
        match self {
            Refusal::Malformed => &counters.malformed,
            Refusal::Origin => &counters.origin,
            Refusal::Path => &counters.path,
            Refusal::Method => &counters.method,
            Refusal::Version => &counters.version,
            Refusal::Size => &counters.size,
        }
    }
}
