//! The request that asks for the upgrade, and its answer (RFC 6455 §4.2, RFC 7118 §4).

use tungstenite::error::{Error as ProtocolFailure, ProtocolError};
use tungstenite::handshake::server::{Request, Response, create_response};
use tungstenite::http::{HeaderMap, HeaderValue, StatusCode};

/// The subprotocol (RFC 7118 §4).
const SUBPROTOCOL: &str = "sip";

/// The answer to a request for the upgrade.
pub(super) fn answer(request: &Request, origins: &[Box<str>]) -> Result<Response, StatusCode> {
    let headers = request.headers();
    let mut response = create_response(request).map_err(|error| match error {
        // RFC 6455 §4.4, RFC 9110 §15.5.22: the answer says what is spoken here.
        ProtocolFailure::Protocol(
            ProtocolError::MissingSecWebSocketVersionHeader
            | ProtocolError::MissingUpgradeWebSocketHeader
            | ProtocolError::MissingConnectionUpgradeHeader,
        ) => StatusCode::UPGRADE_REQUIRED,
        _ => StatusCode::BAD_REQUEST,
    })?;
    // RFC 7118 §4: "the client MUST include the value "sip""; without it the client speaks something else.
    let offered = headers.get_all("Sec-WebSocket-Protocol").into_iter();
    let mut offered = offered
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    if !offered.any(|name| name.trim().eq_ignore_ascii_case(SUBPROTOCOL)) {
        return Err(StatusCode::BAD_REQUEST);
    }
    if !is_welcome(headers, origins) {
        return Err(StatusCode::FORBIDDEN);
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

/// The answer that refuses it.
pub(super) fn refusal(status: StatusCode) -> tungstenite::http::Response<()> {
    let mut response = tungstenite::http::Response::new(());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert("Connection", HeaderValue::from_static("close"));
    headers.insert("Content-Length", HeaderValue::from_static("0"));
    if status == StatusCode::UPGRADE_REQUIRED {
        headers.insert("Upgrade", HeaderValue::from_static("websocket"));
        headers.insert("Sec-WebSocket-Version", HeaderValue::from_static("13"));
    }
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert("Allow", HeaderValue::from_static("GET"));
    }
    response
}
