//! TLS sessions that are resumed (RFC 8446 §2.2, RFC 5077), with OpenSSL's client.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::support::place::{Folder, wait_for};
use crate::support::program::Program;
use crate::support::{Configuration, Daemon};

#[test]
fn a_session_of_tls_1_3_is_resumed() {
    is_resumed("-tls1_3");
}

#[test]
fn a_session_of_tls_1_2_is_resumed() {
    is_resumed("-tls1_2");
}

fn is_resumed(version: &str) {
    let server = Daemon::start(Configuration::new());
    let session = server.folder().path().join("session.pem");
    let first = connect(
        server.tls_address(),
        version,
        ["-sess_out".as_ref(), &session],
        server.folder(),
    );
    let said = |client: &Program, word: &str| {
        wait_for(word, Duration::from_secs(20), || {
            client.output().contains(word).then_some(())
        })
    };
    said(&first, "New, TLSv1.");
    wait_for("the ticket", Duration::from_secs(20), || {
        std::fs::read(&session)
            .is_ok_and(|session| session.ends_with(b"-----\n"))
            .then_some(())
    });
    drop(first);
    let second = connect(
        server.tls_address(),
        version,
        ["-sess_in".as_ref(), &session],
        server.folder(),
    );
    said(&second, "Reused, TLSv1.");
    drop(second);
    server.stop();
}

fn connect(server: SocketAddr, version: &str, session: [&Path; 2], folder: &Folder) -> Program {
    let mut command = Command::new("openssl");
    command.args(["s_client", version, "-connect", &server.to_string()]);
    command.args(session);
    Program::start("s_client", command, folder)
}
