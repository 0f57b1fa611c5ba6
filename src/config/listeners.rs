//! `[[listen]]`: the addresses, what is said instead of them, and the certificates.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::sync::Arc;

use toml::Spanned;

use super::file::{self, Listen};
use super::hosts;
use super::report::{Place, Report, Severity};
use crate::sip::hop::Transport;
use crate::transport::settings::{CertificateFiles, ClientCertificates, Web};

/// One listener, as the layers below it want to know it.
pub struct Listener {
    /// Its transport.
    pub transport: Transport,
    /// The address to bind.
    pub bind: SocketAddr,
    /// What is said instead.
    pub advertise: Option<Box<str>>,
    /// The files of its certificate.
    pub certificate: Option<CertificateFiles>,
    /// Whether its clients are asked for theirs.
    pub clients: ClientCertificates,
    /// Whom WebSocket lets in.
    pub web: Arc<Web>,
}

/// The listeners of the file; what is wrong goes to the report. `names` are the served domains and their aliases.
pub fn listeners(list: &[Spanned<Listen>], names: &[&str], report: &mut Report) -> Vec<Listener> {
    if list.is_empty() {
        let help = "add [[listen]] with transport = \"udp\" and bind = \"0.0.0.0:5060\"";
        let message = "there is no [[listen]], so nothing can be received";
        report.missing(Severity::Error, Place::File, message, help);
    }
    let mut found: Vec<(Listener, Range<usize>)> = Vec::new();
    for entry in list {
        let Some((listener, span)) = listener(entry, names, report) else {
            continue;
        };
        let clash = found.iter().find(|(other, _)| clashes(&listener, other));
        if let Some((other, _)) = clash {
            let message = match other.bind == listener.bind {
                true => format!("{} is listened on twice", listener.bind),
                false => format!("{} and {} cannot both be bound", listener.bind, other.bind),
            };
            report.error(span.clone(), message).help = Some("each address and port once".to_owned());
        }
        found.push((listener, span));
    }
    found.into_iter().map(|(listener, _)| listener).collect()
}

fn listener(entry: &Spanned<Listen>, names: &[&str], report: &mut Report) -> Option<(Listener, Range<usize>)> {
    let listen = entry.get_ref();
    let transport = transport(entry, report);
    let bind = bind(entry, report);
    let advertise = listen.advertise.as_ref().and_then(|text| advertise(text, report));
    let certificate = transport.and_then(|transport| certificate(entry, transport, names, report));
    let (bind, span) = bind?;
    let listener = Listener {
        transport: transport?,
        bind,
        advertise,
        certificate,
        clients: super::tls::clients(entry, transport?, report),
        web: Arc::new(web(listen, transport?, report)),
    };
    Some((listener, span))
}

fn transport(entry: &Spanned<Listen>, report: &mut Report) -> Option<Transport> {
    let Some(written) = &entry.get_ref().transport else {
        let message = "this [[listen]] has no `transport`";
        report.missing(
            Severity::Error,
            Place::Span(entry.span()),
            message,
            "udp, tcp, tls, ws or wss",
        );
        return None;
    };
    match written.get_ref() {
        file::Transport::Udp => Some(Transport::Udp),
        file::Transport::Tcp => Some(Transport::Tcp),
        file::Transport::Tls => Some(Transport::Tls),
        file::Transport::Ws => Some(Transport::Ws),
        file::Transport::Wss => Some(Transport::Wss),
    }
}

fn bind(entry: &Spanned<Listen>, report: &mut Report) -> Option<(SocketAddr, Range<usize>)> {
    let Some(written) = &entry.get_ref().bind else {
        let help = "an address and port, as in bind = \"0.0.0.0:5060\"";
        let message = "this [[listen]] has no `bind`";
        report.missing(Severity::Error, Place::Span(entry.span()), message, help);
        return None;
    };
    let bind = address(written, ["0.0.0.0:5060", "[::]:5060"], report)?;
    if bind.port() == 0 {
        report.error(written.span(), "`bind` needs a port that phones can be told; 0 is any");
        return None;
    }
    Some((bind, written.span()))
}

/// The address and port that `bind` says; the examples show how, with the port that is usual.
pub fn address(written: &Spanned<String>, examples: [&str; 2], report: &mut Report) -> Option<SocketAddr> {
    let text = written.get_ref();
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    let port = examples[0].rsplit(':').next().unwrap_or_default();
    let help = match bare.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => format!("with the port: \"{address}:{port}\""),
        Ok(IpAddr::V6(address)) => format!("with the port: \"[{address}]:{port}\""),
        Err(_) => format!("as in {:?} or {:?}", examples[0], examples[1]),
    };
    report
        .error(written.span(), format!("`bind` is no address and port: {text:?}"))
        .help = Some(help);
    None
}

fn advertise(written: &Spanned<String>, report: &mut Report) -> Option<Box<str>> {
    let text = written.get_ref();
    let Some(advertise) = hosts::host_and_port(text) else {
        report
            .error(
                written.span(),
                format!("`advertise` is neither host nor host:port: {text:?}"),
            )
            .help = Some("as in \"203.0.113.7\", \"sip.example.com:5060\" or \"[2001:db8::7]\"".to_owned());
        return None;
    };
    Some(advertise.into())
}

fn web(listen: &Listen, transport: Transport, report: &mut Report) -> Web {
    if !matches!(transport, Transport::Ws | Transport::Wss) {
        let origins = listen.origins.as_ref().map(|written| ("origins", written.span()));
        let path = listen.path.as_ref().map(|written| ("path", written.span()));
        for (key, span) in [origins, path].into_iter().flatten() {
            report.error(span, format!("`{key}` has no meaning with transport = \"{transport}\""));
        }
    }
    Web {
        origins: origins(listen, report),
        path: listen.path.as_ref().and_then(|written| path(written, report)),
    }
}

/// The origins that pages may have (RFC 6454 §6.1), as browsers write them.
fn origins(listen: &Listen, report: &mut Report) -> Box<[Box<str>]> {
    let written = listen.origins.as_ref().map(Spanned::get_ref);
    for origin in written.into_iter().flatten() {
        let host = origin.get_ref().split_once("://").map(|(_, host)| host);
        if !host.is_some_and(|host| !host.is_empty() && !host.contains(['/', ' ', '*'])) {
            report
                .error(origin.span(), format!("{:?} is no origin of a page", origin.get_ref()))
                .help = Some("as in \"https://phone.example.com\", without a path".to_owned());
        }
    }
    let origins = written.into_iter().flatten();
    origins.map(|origin| origin.get_ref().as_str().into()).collect()
}

/// A path as it stands in the request for the upgrade, without what follows a question mark.
fn path(written: &Spanned<String>, report: &mut Report) -> Option<Box<str>> {
    let path = written.get_ref();
    let is_path = path.starts_with('/')
        && path
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !b"?#".contains(&byte));
    if !is_path {
        report.error(written.span(), format!("{path:?} is no path")).help = Some("as in \"/sip\"".to_owned());
    }
    is_path.then(|| path.as_str().into())
}

fn certificate(
    entry: &Spanned<Listen>,
    transport: Transport,
    names: &[&str],
    report: &mut Report,
) -> Option<CertificateFiles> {
    let listen = entry.get_ref();
    if !transport.is_secure() {
        for (key, written) in [
            ("cert", &listen.cert),
            ("key", &listen.key),
            ("client_ca", &listen.client_ca),
        ] {
            if let Some(written) = written {
                report.error(
                    written.span(),
                    format!("`{key}` has no meaning with transport = \"{transport}\""),
                );
            }
        }
        return None;
    }
    let (Some(cert), Some(key)) = (&listen.cert, &listen.key) else {
        let missing = if listen.cert.is_none() { "cert" } else { "key" };
        let message = format!("this [[listen]] has no `{missing}`, which {transport} needs");
        report.missing(
            Severity::Error,
            Place::Span(entry.span()),
            message,
            "the name of a PEM file",
        );
        return None;
    };
    Some(super::tls::certificate(cert, key, names, report))
}

/// Whether two listeners want the same port of the same address. A wildcard has every address of its family.
fn clashes(one: &Listener, other: &Listener) -> bool {
    let is_datagram = |listener: &Listener| listener.transport == Transport::Udp;
    is_datagram(one) == is_datagram(other) && overlap(one.bind, other.bind)
}

/// Whether two sockets of one kind cannot both be bound.
pub fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    let is_wildcard = || a.is_ipv4() == b.is_ipv4() && (a.ip().is_unspecified() || b.ip().is_unspecified());
    a.port() == b.port() && (a.ip() == b.ip() || is_wildcard())
}
