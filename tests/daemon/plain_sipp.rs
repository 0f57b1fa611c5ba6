//! SIPp's own scenarios, as they are: no credentials, no Route, the server's address in the Request-URI.

use std::net::SocketAddr;
use std::time::Duration;

use crate::support::sipp::Sipp;
use crate::support::{Configuration, Daemon};

#[test]
fn a_plain_uac_calls_a_plain_uas_where_everybody_may_call() {
    let server = Daemon::start(Configuration::new().domain_key("uri_calling = \"unrestricted\""));
    let (caller, callee) = (SocketAddr::new(server.ip(), 6001), SocketAddr::new(server.ip(), 6002));
    Sipp::new("register", callee, server.address())
        .user("bob", &["3600"])
        .run(server.folder());
    let answering = Sipp::builtin("uas", callee, server.address())
        .calls(10)
        .start(server.folder());
    let calling = Sipp::builtin("uac", caller, server.address()).option("-s", "bob");
    calling
        .calls(10)
        .rate(20)
        .hold(Duration::from_millis(50))
        .run(server.folder());
    answering.finish();
    server.stop();
}
