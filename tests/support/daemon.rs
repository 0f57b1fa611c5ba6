//! The server under test: a configuration, and the process that runs with it.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use super::place::{Folder, loopback};
use super::program::Program;
use super::{DOMAIN, password};

/// The port of UDP and TCP; TLS has the next one.
pub const PORT: u16 = 5060;
pub const TLS_PORT: u16 = 5061;
const CONFIG: &str = "ringbinder.toml";
const START_LIMIT: Duration = Duration::from_secs(20);
const STOP_LIMIT: Duration = Duration::from_secs(15);

/// What the server is to run with.
pub struct Configuration {
    listeners: Vec<(&'static str, SocketAddr)>,
    users: Vec<String>,
    name: String,
    domain: String,
    aliases: Vec<String>,
    extra: String,
    tls: String,
    web: String,
    files: Vec<(String, String)>,
    advertise: Option<String>,
    probe: SocketAddr,
}

impl Configuration {
    /// UDP, TCP and TLS on a loopback address of its own, which is an alias of the domain.
    pub fn new() -> Configuration {
        Configuration::on(loopback(), PORT)
    }

    /// UDP and TCP on this address and port, TLS on the next port.
    pub fn on(ip: IpAddr, port: u16) -> Configuration {
        let address = SocketAddr::new(ip, port);
        let tls = SocketAddr::new(ip, port + 1);
        Configuration {
            listeners: vec![("udp", address), ("tcp", address), ("tls", tls)],
            users: ["alice", "bob", "carol"].map(str::to_owned).to_vec(),
            name: DOMAIN.to_owned(),
            domain: String::new(),
            aliases: vec![host(ip)],
            extra: String::new(),
            tls: String::new(),
            web: String::new(),
            files: Vec::new(),
            advertise: None,
            probe: address,
        }
    }

    /// One more listener.
    pub fn listen(mut self, transport: &'static str, address: SocketAddr) -> Configuration {
        self.listeners.push((transport, address));
        self
    }

    /// What all listeners say that their address is.
    pub fn advertise(mut self, host: &str) -> Configuration {
        self.advertise = Some(host.to_owned());
        self
    }

    /// Another name of the domain.
    pub fn alias(mut self, name: &str) -> Configuration {
        self.aliases.push(name.to_owned());
        self
    }

    /// One more user, with the password that [`password`] says.
    pub fn user(mut self, name: &str) -> Configuration {
        self.users.push(name.to_owned());
        self
    }

    /// Another domain than [`DOMAIN`].
    pub fn name(mut self, name: &str) -> Configuration {
        self.name = name.to_owned();
        self
    }

    /// A line for the `[[domain]]` table.
    pub fn domain_key(mut self, line: &str) -> Configuration {
        writeln!(self.domain, "{line}").unwrap();
        self
    }

    /// A line for the `[[listen]]` tables of TLS.
    pub fn tls_key(mut self, line: &str) -> Configuration {
        writeln!(self.tls, "{line}").unwrap();
        self
    }

    /// A line for the `[[listen]]` tables of WebSocket, with and without TLS.
    pub fn web_key(mut self, line: &str) -> Configuration {
        writeln!(self.web, "{line}").unwrap();
        self
    }

    /// A file beside the configuration.
    pub fn file(mut self, name: &str, text: &str) -> Configuration {
        self.files.push((name.to_owned(), text.to_owned()));
        self
    }

    /// Further tables.
    pub fn table(mut self, text: &str) -> Configuration {
        writeln!(self.extra, "{text}").unwrap();
        self
    }

    /// The address whose OPTIONS answer shows that the server is up.
    pub fn probe(mut self, address: SocketAddr) -> Configuration {
        self.probe = address;
        self
    }

    /// The address that shows that the server is up.
    pub fn ip(&self) -> IpAddr {
        self.probe.ip()
    }

    fn text(&self, folder: &Folder) -> String {
        let mut text = format!("[server]\nstate_dir = {:?}\n", folder.join("state"));
        for (transport, address) in &self.listeners {
            write!(text, "\n[[listen]]\ntransport = {transport:?}\nbind = \"{address}\"\n").unwrap();
            if let Some(advertise) = &self.advertise {
                writeln!(text, "advertise = {advertise:?}").unwrap();
            }
            if matches!(*transport, "tls" | "wss") {
                let (cert, key) = (folder.join("cert.pem"), folder.join("key.pem"));
                writeln!(text, "cert = {cert:?}\nkey = {key:?}\n{}", self.tls).unwrap();
            }
            if matches!(*transport, "ws" | "wss") {
                text.push_str(&self.web);
            }
        }
        let (name, aliases) = (&self.name, &self.aliases);
        write!(text, "\n[[domain]]\nname = {name:?}\naliases = {aliases:?}\n").unwrap();
        write!(text, "credential_lists = [\"phones\"]\n{}", self.domain).unwrap();
        text.push_str("\n[[credential_list]]\nname = \"phones\"\n");
        for user in &self.users {
            let password = password(user);
            write!(
                text,
                "\n[[credential_list.user]]\nusername = {user:?}\npassword = {password:?}\n"
            )
            .unwrap();
        }
        text.push('\n');
        text.push_str(&self.extra);
        text
    }
}

/// A running server.
pub struct Daemon {
    program: Program,
    ip: IpAddr,
    port: u16,
    folder: Folder,
}

impl Daemon {
    /// Starts the server and waits until it answers.
    pub fn start(configuration: Configuration) -> Daemon {
        let folder = Folder::new();
        self_signed(&folder);
        for (name, text) in &configuration.files {
            folder.write(name, text);
        }
        folder.write(CONFIG, &configuration.text(&folder));
        Daemon {
            program: run(&folder, configuration.probe),
            ip: configuration.probe.ip(),
            port: configuration.probe.port(),
            folder,
        }
    }

    /// Ends it and starts it again with the same files.
    pub fn restart(&mut self) {
        self.end();
        self.program = run(&self.folder, self.address());
    }

    /// Its first address.
    pub fn ip(&self) -> IpAddr {
        self.ip
    }

    /// Where it listens for UDP and TCP.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::new(self.ip, self.port)
    }

    /// Where it listens for TLS.
    pub fn tls_address(&self) -> SocketAddr {
        SocketAddr::new(self.ip, self.port + 1)
    }

    /// Sends it this signal.
    pub fn signal(&self, name: &str) {
        self.program.signal(name);
    }

    /// The bytes of memory that the process has in use.
    pub fn resident_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.program.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() * 1024
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        self.program.output()
    }

    /// The folder of its files.
    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    /// Ends it as a service manager would, and expects a clean end.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.program.terminate();
        let status = self.program.wait(STOP_LIMIT);
        assert_eq!(status.code(), Some(0), "after SIGTERM");
        assert!(!self.log().contains("panicked at"), "it panicked on the way");
    }
}

fn run(folder: &Folder, probe: SocketAddr) -> Program {
    let mut command = Command::new(binary());
    command.args(["run", "--config"]).arg(folder.join(CONFIG));
    let mut program = Program::start("ringbinder", command, folder);
    await_options(&mut program, probe);
    program
}

/// The program to test: `RINGBINDER_BIN`, or the one that was built with the tests.
pub fn binary() -> PathBuf {
    std::env::var_os("RINGBINDER_BIN").map_or_else(|| env!("CARGO_BIN_EXE_ringbinder").into(), PathBuf::from)
}

/// An address as a host of a URI.
pub fn host(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    }
}

/// A self-signed certificate, as `cert.pem` and `key.pem` of `folder`.
fn self_signed(folder: &Folder) {
    let pair = rcgen::generate_simple_self_signed([DOMAIN.to_owned()]).unwrap();
    folder.write("cert.pem", &pair.cert.pem());
    folder.write("key.pem", &pair.signing_key.serialize_pem());
}

/// Sends OPTIONS to `address` until it is answered with 200.
pub fn await_options(program: &mut Program, address: SocketAddr) {
    let socket = UdpSocket::bind(SocketAddr::new(address.ip(), 0)).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let local = socket.local_addr().unwrap();
    let mut attempt = 0;
    super::place::wait_for("an answer to OPTIONS", START_LIMIT, || {
        if let Some(status) = program.ended() {
            panic!("the server ended with {status}");
        }
        attempt += 1;
        let request = format!(
            "OPTIONS sip:{address} SIP/2.0\r\nVia: SIP/2.0/UDP {local};rport;branch=z9hG4bKprobe{attempt}\r\n\
             Max-Forwards: 70\r\nFrom: <sip:probe@{DOMAIN}>;tag=p\r\nTo: <sip:{address}>\r\n\
             Call-ID: probe{attempt}\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
        );
        // a refused port is reported by either call until the server has bound it
        let _ = socket.send_to(request.as_bytes(), address);
        let mut answer = [0; 2048];
        let length = socket.recv(&mut answer).ok()?;
        answer[..length].starts_with(b"SIP/2.0 200 ").then_some(())
    });
}
