//! `[dns]`: who is asked for names.

use std::net::{IpAddr, SocketAddr};

use super::file::Dns;
use super::report::Report;
use crate::transport::dns::Settings;

/// The port of name servers.
const PORT: u16 = 53;

/// The most name servers.
const SERVERS_MAX: usize = 8;

/// The settings of look-ups; what is wrong goes to the report.
pub fn settings(dns: &Dns, report: &mut Report) -> Settings {
    let Some(written) = &dns.servers else {
        return Settings::default();
    };
    if written.get_ref().is_empty() {
        report.error(written.span(), "`servers` names nobody").help =
            Some("leave it away for those of /etc/resolv.conf".to_owned());
    }
    if written.get_ref().len() > SERVERS_MAX {
        report.error(written.span(), format!("`servers` are at most {SERVERS_MAX}"));
    }
    let mut servers = Vec::new();
    for server in written.get_ref() {
        let text = server.get_ref();
        let with_port = |ip: IpAddr| SocketAddr::new(ip, PORT);
        match text.parse().or_else(|_| text.parse().map(with_port)) {
            Ok(address) if address.port() != 0 => servers.push(address),
            Ok(_) | Err(_) => {
                report
                    .error(server.span(), format!("{text:?} is no address of a name server"))
                    .help = Some("as in \"192.0.2.53\", \"192.0.2.53:5353\" or \"[2001:db8::53]:53\"".to_owned());
            }
        }
    }
    Settings { servers }
}
