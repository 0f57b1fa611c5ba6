//! A phone on a connection, TCP or TLS, that keeps a flow (RFC 5626): it can lose the connection and come back.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::phone::{Received, credentials};
use super::place::Folder;
use super::{DOMAIN, Daemon};

const LIMIT: Duration = Duration::from_secs(10);

/// One connection, and a user's name.
pub struct StreamPhone {
    stream: Box<dyn Stream>,
    socket: TcpStream,
    user: String,
    transport: &'static str,
    counter: u32,
    /// What its Contact says of where it is, which nobody can connect to.
    place: String,
    /// What has been read beyond the last message.
    rest: Vec<u8>,
}

trait Stream: Read + Write + Send {}

impl<T: Read + Write + Send> Stream for T {}

impl StreamPhone {
    /// A phone of `user` with a TLS connection to `server`, whose certificate it checks.
    pub fn tls(user: &str, server: &Daemon) -> StreamPhone {
        let socket = connect(server.tls_address());
        let config = Arc::new(client_config(server.folder()));
        let name = ServerName::try_from(DOMAIN).unwrap();
        let connection = ClientConnection::new(config, name).unwrap();
        let stream = StreamOwned::new(connection, socket.try_clone().unwrap());
        StreamPhone::new(user, "tls", Box::new(stream), socket)
    }

    /// The same over TCP.
    pub fn tcp(user: &str, server: &Daemon) -> StreamPhone {
        let socket = connect(server.address());
        StreamPhone::new(user, "tcp", Box::new(socket.try_clone().unwrap()), socket)
    }

    fn new(user: &str, transport: &'static str, stream: Box<dyn Stream>, socket: TcpStream) -> StreamPhone {
        let place = format!("192.0.2.77:{}", socket.local_addr().unwrap().port());
        StreamPhone {
            stream,
            place,
            socket,
            user: user.to_owned(),
            transport,
            counter: 0,
            rest: Vec::new(),
        }
    }

    /// Its address-of-record as a URI.
    pub fn aor(&self) -> String {
        format!("sip:{}@{DOMAIN}", self.user)
    }

    /// Its Contact: an address that nobody can connect to.
    pub fn contact(&self) -> String {
        format!("<sip:{}@{};transport={}>", self.user, self.place, self.transport)
    }

    /// Has the Contact that `other` has, as a phone that connects anew and says the same of itself.
    pub fn at_the_place_of(mut self, other: &StreamPhone) -> StreamPhone {
        self.place.clone_from(&other.place);
        self
    }

    /// Speaks for another user from now on, over the same connection.
    pub fn become_user(&mut self, user: &str) {
        self.user = user.to_owned();
    }

    /// Registers with these parameters of the Contact and returns the 200.
    pub fn register(&mut self, parameters: &str) -> Received {
        let contact = format!("Contact: {}{parameters};expires=3600\r\n", self.contact());
        self.register_with(&contact)
    }

    /// What is bound to its address.
    pub fn bound(&mut self) -> Vec<String> {
        let ok = self.register_with("");
        ok.headers("Contact").map(str::to_owned).collect()
    }

    fn register_with(&mut self, contact: &str) -> Received {
        let uri = format!("sip:{DOMAIN}");
        let id = format!("{}-{}", self.socket.local_addr().unwrap(), self.fresh());
        let aor = self.aor();
        let headers = |cseq: u32, credentials: &str| {
            format!(
                "From: <{aor}>;tag=r\r\nTo: <{aor}>\r\nCall-ID: {id}\r\nCSeq: {cseq} REGISTER\r\n\
                 Supported: path, outbound\r\n{contact}{credentials}"
            )
        };
        self.request("REGISTER", &uri, &headers(1, ""));
        let challenge = self.receive();
        assert_eq!(challenge.status(), Some(401), "{}", challenge.text);
        let credentials = credentials(&self.user, &challenge, "REGISTER", &uri);
        self.request("REGISTER", &uri, &headers(2, &credentials));
        let answer = self.receive();
        assert_eq!(answer.status(), Some(200), "{}", answer.text);
        answer
    }

    /// Sends a request with these header lines; Via, Max-Forwards and Content-Length are added.
    pub fn request(&mut self, method: &str, uri: &str, headers: &str) {
        let local = self.socket.local_addr().unwrap();
        let branch = format!("z9hG4bK-{}-{}", local.port(), self.fresh());
        let transport = self.transport.to_uppercase();
        self.send(&format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/{transport} {local};rport;branch={branch}\r\nMax-Forwards: 70\r\n\
             {headers}Content-Length: 0\r\n\r\n"
        ));
    }

    /// Sends a keep-alive and says whether it is answered (RFC 5626 §3.5.1).
    pub fn pings(&mut self) -> bool {
        self.send("\r\n\r\n");
        self.socket.set_read_timeout(Some(LIMIT)).unwrap();
        let mut pong = [0; 2];
        self.stream.read_exact(&mut pong).is_ok() && &pong == b"\r\n"
    }

    /// Answers `request`.
    pub fn reply(&mut self, request: &Received, status: &str) {
        let mut text = format!("SIP/2.0 {status}\r\n");
        for name in ["Via", "Record-Route", "From", "Call-ID", "CSeq"] {
            for value in request.headers(name) {
                text.push_str(&format!("{name}: {value}\r\n"));
            }
        }
        let (to, contact) = (request.header("To"), self.contact());
        let tag = if to.contains(";tag=") { "" } else { ";tag=stream" };
        self.send(&format!(
            "{text}To: {to}{tag}\r\nContact: {contact}\r\nContent-Length: 0\r\n\r\n"
        ));
    }

    fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).unwrap();
        self.stream.flush().unwrap();
    }

    /// The next message, within the limit.
    pub fn receive(&mut self) -> Received {
        self.poll(LIMIT)
            .unwrap_or_else(|| panic!("{} heard nothing", self.user))
    }

    /// The next request with this method.
    pub fn await_request(&mut self, method: &str) -> Received {
        let started = Instant::now();
        while started.elapsed() < LIMIT {
            let received = self.receive();
            if received.method() == Some(method) {
                return received;
            }
        }
        panic!("no {method}");
    }

    /// Expects that nothing comes for a while.
    pub fn hears_nothing(&mut self, time: Duration) {
        if let Some(received) = self.poll(time) {
            panic!("{} heard {}", self.user, received.text);
        }
    }

    fn poll(&mut self, time: Duration) -> Option<Received> {
        self.socket.set_read_timeout(Some(time)).unwrap();
        let mut buffer = [0; 65536];
        loop {
            if let Some(received) = self.cut() {
                return Some(received);
            }
            let length = self.stream.read(&mut buffer).ok().filter(|length| *length > 0)?;
            self.rest.extend_from_slice(&buffer[..length]);
        }
    }

    /// Cuts a message off what has been read. None of those that a test sends has a body.
    fn cut(&mut self) -> Option<Received> {
        let end = self.rest.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
        let message: Vec<u8> = self.rest.drain(..end).collect();
        Some(Received {
            text: String::from_utf8_lossy(&message).into_owned(),
            source: self.socket.peer_addr().unwrap(),
        })
    }

    /// Ends the connection as a phone does that loses its power: without a word of TLS or SIP.
    pub fn kill(self) {
        let socket = socket2::SockRef::from(&self.socket);
        socket.set_linger(Some(Duration::ZERO)).unwrap();
        let _ = self.socket.shutdown(std::net::Shutdown::Both);
    }

    fn fresh(&mut self) -> u32 {
        self.counter += 1;
        self.counter
    }
}

fn connect(address: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(address).unwrap();
    socket.set_nodelay(true).unwrap();
    socket
}

/// Trusts the certificate of the server in `folder` and no other.
fn client_config(folder: &Folder) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    let certificate = CertificateDer::from_pem_file(folder.join("cert.pem")).unwrap();
    roots.add(certificate).unwrap();
    ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth()
}
