//! A name server for a test: dnsmasq on a loopback address of its own, with the records that the test names.

use std::net::{SocketAddr, UdpSocket};
use std::process::Command;
use std::time::Duration;

use super::place::{Bound, Folder, is_bound, loopback, wait_for};
use super::program::Program;

/// Every name below it has the records named, or none.
pub const ZONE: &str = "sip.test";

const PORT: u16 = 5353;

/// A running dnsmasq.
pub struct NameServer {
    program: Option<Program>,
    address: SocketAddr,
    folder: Folder,
}

impl NameServer {
    /// Serves these lines of dnsmasq.conf(5).
    pub fn start(records: &[String]) -> NameServer {
        NameServer::start_on(PORT, records)
    }

    /// The same on another port.
    pub fn start_on(port: u16, records: &[String]) -> NameServer {
        let mut server = NameServer {
            program: None,
            address: SocketAddr::new(loopback(), port),
            folder: Folder::new(),
        };
        server.serve(records);
        server
    }

    /// Serves other records.
    pub fn serve(&mut self, records: &[String]) {
        self.stop();
        let (ip, port) = (self.address.ip(), self.address.port());
        let mut text = format!(
            "port={port}\nlisten-address={ip}\nbind-interfaces\nno-resolv\nno-hosts\nlocal=/{ZONE}/\npid-file=\n"
        );
        for record in records {
            text.push_str(record);
            text.push('\n');
        }
        let configuration = self.folder.write("dnsmasq.conf", &text);
        let mut command = Command::new(binary());
        command.arg("--no-daemon").arg("--user=").arg("--group=");
        command.arg(format!("--conf-file={}", configuration.display()));
        let mut program = Program::start("dnsmasq", command, &self.folder);
        wait_for("dnsmasq to listen", Duration::from_secs(10), || {
            if let Some(status) = program.ended() {
                panic!("dnsmasq ended with {status}");
            }
            is_bound(Bound::Udp, ip, port).then_some(())
        });
        self.program = Some(program);
    }

    /// Ends it; nobody listens any more.
    pub fn stop(&mut self) {
        drop(self.program.take());
    }

    /// Where it is asked.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Services stand in a folder that not everybody's PATH names.
fn binary() -> &'static str {
    let usual = "/usr/sbin/dnsmasq";
    if std::path::Path::new(usual).exists() {
        usual
    } else {
        "dnsmasq"
    }
}

/// A name server that is asked and never answers.
pub struct SilentNameServer(UdpSocket);

impl SilentNameServer {
    pub fn start() -> SilentNameServer {
        let socket = UdpSocket::bind(SocketAddr::new(loopback(), PORT)).unwrap();
        socket.set_nonblocking(true).unwrap();
        SilentNameServer(socket)
    }

    /// Where it is asked.
    pub fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }

    /// How many queries have come that were not counted before.
    pub fn queries(&self) -> usize {
        let mut buffer = [0; 512];
        std::iter::from_fn(|| self.0.recv(&mut buffer).ok()).count()
    }
}
