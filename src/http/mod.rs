//! HTTP for those who run the server: `GET /metrics`, one file per resource. Not for phones, and off unless configured.
//!
//! It is served on the control runtime, so that no worker waits for it. Connections, their heads and the time they take
//! are bounded.

pub mod metrics;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use thiserror::Error;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tracing::{debug, error};

use metrics::Snapshot;

/// The most connections at a time; further ones wait until there is room.
const CONNECTIONS_MAX: usize = 16;

/// How long a connection may take in all: one request and its response.
const EXCHANGE_MAX: Duration = Duration::from_secs(10);

/// The most bytes of a request's head; a longer one is answered 431. Bodies are not read.
const HEAD_MAX: usize = 8192;

/// The most header lines of a request.
const HEADERS_MAX: usize = 64;

/// The pause after an error of accepting.
const ERROR_PAUSE: Duration = Duration::from_millis(100);

/// `[http]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Where to listen; `None`: HTTP is not served.
    pub bind: Option<SocketAddr>,
}

/// What is asked for numbers. It may take some milliseconds, and runs on a thread where that disturbs nobody.
pub trait Source: Send + Sync + 'static {
    /// The numbers as they are now.
    fn snapshot(&self) -> Snapshot;
}

/// Why HTTP cannot be served.
#[derive(Debug, Error)]
#[error("[http] {bind}: {}", explain(.error))]
pub struct OpenError {
    bind: SocketAddr,
    error: io::Error,
}

fn explain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => "address already in use: another server is listening there; stop it or change bind",
        io::ErrorKind::AddrNotAvailable => "this machine has no such address; change bind",
        io::ErrorKind::PermissionDenied => {
            "permission denied: a port below 1024 needs CAP_NET_BIND_SERVICE; grant it or change bind"
        }
        _ => return format!("cannot listen: {error}"),
    }
    .to_owned()
}

/// Listens on `bind`. To be called within the runtime that is to serve it.
pub fn open(bind: SocketAddr) -> Result<TcpListener, OpenError> {
    let listen = || {
        let listener = std::net::TcpListener::bind(bind)?;
        listener.set_nonblocking(true)?;
        TcpListener::from_std(listener)
    };
    listen().map_err(|error| OpenError { bind, error })
}

/// Serves for ever.
pub async fn serve(listener: TcpListener, source: Arc<dyn Source>) -> Infallible {
    serve_within(EXCHANGE_MAX, listener, source).await
}

async fn serve_within(exchange_max: Duration, listener: TcpListener, source: Arc<dyn Source>) -> Infallible {
    let router = router(source);
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            // The semaphore is never closed.
            std::future::pending::<()>().await;
            continue;
        };
        match listener.accept().await {
            Ok((stream, remote)) => {
                let router = router.clone();
                tokio::spawn(async move {
                    if timeout(exchange_max, exchange(stream, router)).await.is_err() {
                        debug!(%remote, "HTTP took too long");
                    }
                    drop(place);
                });
            }
            Err(error) => {
                debug!(%error, "cannot accept HTTP");
                tokio::time::sleep(ERROR_PAUSE).await;
            }
        }
    }
}

/// One request and its response.
async fn exchange(stream: TcpStream, router: Router) {
    let connection = http1::Builder::new()
        // The whole exchange has its limit.
        .header_read_timeout(None)
        .max_buf_size(HEAD_MAX)
        .max_headers(HEADERS_MAX)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    if let Err(error) = connection.await {
        debug!(%error, "HTTP failed");
    }
}

fn router(source: Arc<dyn Source>) -> Router {
    Router::new().route("/metrics", get(move || scrape(Arc::clone(&source))))
}

async fn scrape(source: Arc<dyn Source>) -> Response {
    let scraped = tokio::task::spawn_blocking(move || metrics::encode(&source.snapshot())).await;
    match scraped {
        Ok(Ok(text)) => ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Ok(Err(error)) => {
            error!(%error, "cannot write the metrics");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
        Err(error) => {
            error!(%error, "cannot take the metrics");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    struct Nothing;

    impl Source for Nothing {
        fn snapshot(&self) -> Snapshot {
            Snapshot::default()
        }
    }

    /// What is answered to these bytes until the connection is closed.
    async fn ask(address: SocketAddr, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request).await.unwrap();
        let mut answer = Vec::new();
        // A server that has not read all may reset the connection.
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8(answer).unwrap()
    }

    fn start() -> SocketAddr {
        start_within(EXCHANGE_MAX)
    }

    fn start_within(exchange_max: Duration) -> SocketAddr {
        let listener = open("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(serve_within(exchange_max, listener, Arc::new(Nothing)));
        address
    }

    #[tokio::test]
    async fn get_metrics_is_answered_and_nothing_else() {
        let address = start();
        for (request, status) in [
            ("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n", "200 OK"),
            ("HEAD /metrics HTTP/1.1\r\nHost: a\r\n\r\n", "200 OK"),
            ("GET /metrics?name=x HTTP/1.0\r\n\r\n", "200 OK"),
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", "404 Not Found"),
            ("GET /metrics/x HTTP/1.1\r\nHost: a\r\n\r\n", "404 Not Found"),
            (
                "POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
                "405 Method Not Allowed",
            ),
            ("DELETE /metrics HTTP/1.1\r\nHost: a\r\n\r\n", "405 Method Not Allowed"),
            (
                "REGISTER sip:example.com SIP/2.0\r\nVia: SIP/2.0/TCP a\r\n\r\n",
                "400 Bad Request",
            ),
        ] {
            let answer = ask(address, request.as_bytes()).await;

            let first = answer.lines().next().unwrap_or_default();
            assert!(first.ends_with(status), "{request}: {answer}");
        }
    }

    #[tokio::test]
    async fn what_is_scraped_says_its_form_and_its_end() {
        let answer = ask(start(), b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n").await;

        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(
            head.to_lowercase()
                .contains(&format!("content-type: {}", metrics::CONTENT_TYPE)),
            "{head}"
        );
        assert!(body.ends_with("# EOF\n"), "{body}");
    }

    #[tokio::test]
    async fn a_head_that_is_too_long_is_refused() {
        let address = start();
        let long = format!("GET /metrics HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(2 * HEAD_MAX));
        let many = format!("GET /metrics HTTP/1.1\r\n{}\r\n", "X: x\r\n".repeat(HEADERS_MAX + 1));

        for request in [long, many] {
            let answer = ask(address, request.as_bytes()).await;

            assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431 "), "{answer}");
        }
    }

    #[tokio::test]
    async fn silent_connections_make_room_after_a_while() {
        let address = start_within(Duration::from_millis(300));
        let mut silent = Vec::new();
        for _ in 0..CONNECTIONS_MAX {
            silent.push(TcpStream::connect(address).await.unwrap());
        }

        let answer = ask(address, b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n").await;

        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    }

    #[tokio::test]
    async fn an_address_in_use_says_what_to_do() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let bind = taken.local_addr().unwrap();

        let error = open(bind).unwrap_err().to_string();

        assert!(
            error.starts_with(&format!("[http] {bind}: address already in use")),
            "{error}"
        );
    }
}
