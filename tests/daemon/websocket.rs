//! WebSocket (RFC 7118) from outside: registrations and calls over ws and wss, and clients that break the rules.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use tungstenite::client::IntoClientRequest as _;
use tungstenite::{Message, WebSocket};

use crate::support::phone::{Phone, Received, credentials};
use crate::support::{Configuration, DOMAIN, Daemon};

const LIMIT: Duration = Duration::from_secs(10);
const WS: u16 = 8080;
const WSS: u16 = 8443;

trait Stream: Read + Write {}

impl<T: Read + Write> Stream for T {}

/// A page's connection, with the browser left out.
struct Page {
    socket: WebSocket<Box<dyn Stream>>,
    user: String,
    transport: &'static str,
    host: String,
    counter: u32,
}

fn server() -> Daemon {
    let configuration = Configuration::new();
    let ip = configuration.ip();
    Daemon::start(
        configuration
            .listen("ws", SocketAddr::new(ip, WS))
            .listen("wss", SocketAddr::new(ip, WSS))
            .web_key("origins = [\"https://phone.example\"]"),
    )
}

impl Page {
    fn open(user: &str, server: &Daemon, transport: &'static str) -> Page {
        let port = if transport == "ws" { WS } else { WSS };
        let tcp = TcpStream::connect(SocketAddr::new(server.ip(), port)).unwrap();
        tcp.set_read_timeout(Some(LIMIT)).unwrap();
        let stream: Box<dyn Stream> = match transport {
            "ws" => Box::new(tcp),
            _ => {
                let mut roots = RootCertStore::empty();
                let root = CertificateDer::from_pem_file(server.folder().join("cert.pem")).unwrap();
                roots.add(root).unwrap();
                let config = ClientConfig::builder()
                    .with_root_certificates(roots)
                    .with_no_client_auth();
                let name = ServerName::try_from(DOMAIN).unwrap();
                let connection = ClientConnection::new(Arc::new(config), name).unwrap();
                Box::new(StreamOwned::new(connection, tcp))
            }
        };
        let mut request = format!("ws://{DOMAIN}:{port}/").into_client_request().unwrap();
        let headers = request.headers_mut();
        headers.insert("Sec-WebSocket-Protocol", "sip".parse().unwrap());
        headers.insert("Origin", "https://phone.example".parse().unwrap());
        let (socket, answer) = tungstenite::client(request, stream).unwrap();
        assert_eq!(answer.headers()["Sec-WebSocket-Protocol"], "sip");
        Page {
            socket,
            user: user.to_owned(),
            transport,
            host: format!("{user}page.invalid"),
            counter: 0,
        }
    }

    fn contact(&self) -> String {
        format!("<sip:{}@{};transport=ws>", self.user, self.host)
    }

    fn send(&mut self, text: &str) {
        self.socket.send(Message::text(text)).unwrap();
    }

    fn receive(&mut self) -> Received {
        loop {
            let text = match self.socket.read().unwrap() {
                Message::Text(text) => text.to_string(),
                Message::Binary(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
                _ => continue,
            };
            return Received {
                text,
                source: SocketAddr::from(([0, 0, 0, 0], 0)),
            };
        }
    }

    fn request(&mut self, method: &str, uri: &str, headers: &str) {
        self.counter += 1;
        let (via, host, counter) = (self.transport.to_uppercase(), &self.host, self.counter);
        // Content-Length is not needed (RFC 7118 §5).
        let text = format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/{via} {host};branch=z9hG4bK{}{counter}\r\nMax-Forwards: 70\r\n{headers}\r\n",
            self.user
        );
        self.send(&text);
    }

    fn register(&mut self) {
        let (uri, aor, contact) = (
            format!("sip:{DOMAIN}"),
            format!("sip:{}@{DOMAIN}", self.user),
            self.contact(),
        );
        let headers = |cseq: u32, further: &str| {
            format!(
                "From: <{aor}>;tag=p\r\nTo: <{aor}>\r\nCall-ID: {aor}\r\nCSeq: {cseq} REGISTER\r\nContact: \
                 {contact};+sip.instance=\"<urn:uuid:{cseq}>\";reg-id=1;expires=600\r\nSupported: path, gruu, outbound\r\n{further}"
            )
        };
        self.request("REGISTER", &uri, &headers(1, ""));
        let challenge = self.receive();
        assert_eq!(challenge.status(), Some(401), "{}", challenge.text);
        let credentials = credentials(&self.user, &challenge, "REGISTER", &uri);
        self.request("REGISTER", &uri, &headers(2, &credentials));
        let answer = self.receive();
        assert_eq!(answer.status(), Some(200), "{}", answer.text);
    }

    fn reply(&mut self, request: &Received, status: &str) {
        let mut text = format!("SIP/2.0 {status}\r\n");
        for name in ["Via", "Record-Route", "From", "Call-ID", "CSeq"] {
            for value in request.headers(name) {
                text.push_str(&format!("{name}: {value}\r\n"));
            }
        }
        let to = request.header("To");
        let tag = if to.contains(";tag=") { "" } else { ";tag=page" };
        self.send(&format!(
            "{text}To: {to}{tag}\r\nContact: {}\r\nContent-Length: 0\r\n\r\n",
            self.contact()
        ));
    }
}

#[test]
fn a_page_registers_and_is_called_from_udp_and_hung_up_on() {
    for transport in ["ws", "wss"] {
        let server = server();
        let mut alice = Page::open("alice", &server, transport);
        alice.register();
        let bob = Phone::new("bob", server.ip(), server.address());

        bob.start_call(&format!("sip:alice@{DOMAIN}"));
        let invite = alice.receive();
        assert!(
            invite
                .text
                .starts_with("INVITE sip:alice@alicepage.invalid;transport=ws "),
            "{}",
            invite.text
        );
        let (top, own) = (invite.header("Via"), transport.to_uppercase());
        assert!(top.starts_with(&format!("SIP/2.0/{own} ")), "{top}");
        // One entry for each side (RFC 5658).
        let routes: Vec<_> = invite.headers("Record-Route").collect();
        assert_eq!(routes.len(), 2, "{routes:?}");
        assert!(routes[0].contains(&format!("transport={transport}")), "{routes:?}");
        alice.reply(&invite, "180 Ringing");
        assert_eq!(bob.answer("INVITE").status(), Some(180));
        alice.reply(&invite, "200 OK");
        assert_eq!(bob.answer("INVITE").status(), Some(200));

        // Alice hangs up, along the route.
        let route: Vec<_> = invite
            .headers("Record-Route")
            .map(|route| format!("Route: {route}\r\n"))
            .collect();
        let headers = format!(
            "{}From: {};tag=page\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: 1 BYE\r\n",
            route.concat(),
            invite.header("To"),
            invite.header("From"),
            invite.header("Call-ID")
        );
        let target = invite.header("Contact").trim_matches(['<', '>']).to_owned();
        alice.request("BYE", &target, &headers);
        let bye = bob.await_request("BYE");
        bob.reply(&bye, "200 OK", "");
        let done = alice.receive();
        assert_eq!(
            (done.status(), done.header("CSeq")),
            (Some(200), "1 BYE"),
            "{}",
            done.text
        );
        server.stop();
    }
}

#[test]
fn a_page_that_is_gone_is_not_called_any_more() {
    let server = server();
    let mut alice = Page::open("alice", &server, "wss");
    alice.register();
    drop(alice);
    let bob = Phone::new("bob", server.ip(), server.address());
    let started = Instant::now();
    while bob.try_call(&format!("sip:alice@{DOMAIN}")) != Some(480) {
        assert!(started.elapsed() < LIMIT);
    }
    server.stop();
}

#[test]
fn pings_and_large_binary_messages_pass() {
    let server = server();
    let mut alice = Page::open("alice", &server, "ws");
    alice.socket.send(Message::Ping(vec![1, 2, 3].into())).unwrap();
    assert_eq!(alice.socket.read().unwrap(), Message::Pong(vec![1, 2, 3].into()));
    let head = format!(
        "OPTIONS sip:{DOMAIN} SIP/2.0\r\nVia: SIP/2.0/WS x.invalid;branch=z9hG4bKlarge\r\nFrom: <sip:a@b>;tag=1\r\nTo: \
         <sip:{DOMAIN}>\r\nCall-ID: l\r\nCSeq: 1 OPTIONS\r\n\r\n"
    );
    let mut message = head.into_bytes();
    message.extend(std::iter::repeat_n(0xff_u8, 60_000));
    alice.socket.send(Message::binary(message)).unwrap();
    let answer = alice.receive();
    assert_eq!(answer.status(), Some(200), "{}", answer.text);
    server.stop();
}

/// What the server says to these bytes, until it closes.
fn said(server: &Daemon, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(SocketAddr::new(server.ip(), WS)).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.write_all(bytes).unwrap();
    let mut said = Vec::new();
    // The end may be a reset, when something was left unread.
    let _ = stream.read_to_end(&mut said);
    said
}

#[test]
fn who_breaks_the_rules_is_told_and_closed() {
    let server = server();
    let upgrade = |further: &str| {
        format!(
            "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{further}\r\n"
        )
    };
    for (request, status) in [
        (upgrade(""), "400"),
        (
            upgrade("Sec-WebSocket-Protocol: sip\r\nOrigin: https://evil.example\r\n"),
            "403",
        ),
        ("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), "426"),
        (format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(10_000)), "431"),
    ] {
        let answer = said(&server, request.as_bytes());
        let answer = String::from_utf8_lossy(&answer);
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{request}: {answer}"
        );
    }
    // The frame follows the answer, as the upgrade demands.
    let mut stream = TcpStream::connect(SocketAddr::new(server.ip(), WS)).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream
        .write_all(upgrade("Sec-WebSocket-Protocol: sip\r\n").as_bytes())
        .unwrap();
    let mut head = [0; 12];
    stream.read_exact(&mut head).unwrap();
    assert_eq!(&head, b"HTTP/1.1 101");
    stream.write_all(b"\x81\x02hi").unwrap();
    let mut said = Vec::new();
    let _ = stream.read_to_end(&mut said);
    assert!(said.ends_with(b"\x88\x02\x03\xea"), "{said:?}");
    server.stop();
}
