//! A TLS connection for programs that speak only TCP: socat between them and the server.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use super::place::{Bound, Folder, is_bound, wait_for};
use super::program::Program;

/// A local port from which each connection goes on to the server by TLS.
pub struct Tunnel {
    _program: Program,
    address: SocketAddr,
}

impl Tunnel {
    /// Listens on `local` and connects to `server`, whose certificate is not checked.
    pub fn start(local: SocketAddr, server: SocketAddr, folder: &Folder) -> Tunnel {
        let mut command = Command::new("socat");
        command.arg(format!("TCP-LISTEN:{},bind={},reuseaddr", local.port(), local.ip()));
        command.arg(format!("OPENSSL:{server},verify=0"));
        let program = Program::start(&format!("socat-{}", local.port()), command, folder);
        wait_for("socat to listen", Duration::from_secs(10), || {
            is_bound(Bound::TcpListener, local.ip(), local.port()).then_some(())
        });
        Tunnel {
            _program: program,
            address: local,
        }
    }

    /// Where to connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}
