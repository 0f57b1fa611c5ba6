//! `[tls]`, and what listeners and domains say of certificates.

use std::path::PathBuf;

use toml::Spanned;

use super::certificate::{self, Files};
use super::file::{self, File, Listen};
use super::report::{Place, Report, Severity};
use super::{files, hosts, value};
use crate::sip::hop::Transport;
use crate::transport::settings::{CertificateFiles, ClientCertificates, DomainCertificate, Tls, TlsVersion};
use crate::transport::tls;

/// What all of TLS has in common; what is wrong goes to the report.
pub fn settings(file: &File, report: &mut Report) -> Tls {
    let has_tls = file.listen.iter().any(|listen| {
        let transport = listen.get_ref().transport.as_ref();
        transport.is_some_and(|transport| matches!(transport.get_ref(), file::Transport::Tls | file::Transport::Wss))
    });
    let domains = file.domain.iter().filter_map(|entry| {
        let domain = domain(entry, report)?;
        if !has_tls {
            let span = entry.get_ref().cert.as_ref().map_or(entry.span(), Spanned::span);
            report.warning(span, "no [[listen]] has TLS, so that nobody is shown this certificate");
        }
        Some(domain)
    });
    Tls {
        domains: domains.collect(),
        roots: file.tls.ca_file.as_ref().map(|written| roots(written, report)),
        min_version: match value(&file.tls.min_version, file::TlsVersion::default()) {
            file::TlsVersion::Tls12 => TlsVersion::Tls12,
            file::TlsVersion::Tls13 => TlsVersion::Tls13,
        },
    }
}

/// The certificate of a domain. It is to name every name that it is chosen by.
fn domain(entry: &Spanned<file::Domain>, report: &mut Report) -> Option<DomainCertificate> {
    let domain = entry.get_ref();
    let (cert, key) = match (&domain.cert, &domain.key) {
        (Some(cert), Some(key)) => (cert, key),
        (None, None) => return None,
        (Some(cert), None) => {
            report.error(cert.span(), "this [[domain]] has a `cert` and no `key`");
            return None;
        }
        (None, Some(key)) => {
            report.error(key.span(), "this [[domain]] has a `key` and no `cert`");
            return None;
        }
    };
    let aliases = domain.aliases.iter().flat_map(|aliases| aliases.get_ref());
    let names = domain.name.iter().chain(aliases);
    let names: Vec<Box<str>> = names
        .filter_map(|name| hosts::host(name.get_ref()).map(Into::into))
        .collect();
    let first: Vec<&str> = names.iter().take(1).map(|name| &**name).collect();
    Some(DomainCertificate {
        certificate: certificate(cert, key, &first, report),
        names,
    })
}

/// The files of a certificate, looked into. One of `names` is to stand in it.
pub fn certificate(
    cert: &Spanned<String>,
    key: &Spanned<String>,
    names: &[&str],
    report: &mut Report,
) -> CertificateFiles {
    let paths = CertificateFiles {
        cert: files::path(cert.get_ref(), report),
        key: files::path(key.get_ref(), report),
    };
    let files = Files {
        cert: (&paths.cert, cert.span()),
        key: (&paths.key, key.span()),
    };
    certificate::check(&files, names, report);
    paths
}

/// Whether the clients of a listener are asked for a certificate.
pub fn clients(entry: &Spanned<Listen>, transport: Transport, report: &mut Report) -> ClientCertificates {
    let listen = entry.get_ref();
    if !transport.is_secure() {
        if let Some(written) = &listen.client_certificates {
            let message = format!("`client_certificates` has no meaning with transport = \"{transport}\"");
            report.error(written.span(), message);
        }
        return ClientCertificates::Unasked;
    }
    let wanted = value(&listen.client_certificates, file::ClientCertificates::default());
    if wanted == file::ClientCertificates::Off {
        if let (Some(written), None) = (&listen.client_ca, &listen.client_certificates) {
            let help = "client_certificates = \"optional\" or \"required\"";
            report
                .error(written.span(), "`client_ca` needs `client_certificates`")
                .help = Some(help.to_owned());
        }
        return ClientCertificates::Unasked;
    }
    let Some(written) = &listen.client_ca else {
        let message = "`client_certificates` needs `client_ca`";
        let place = Place::Span(entry.span());
        report.missing(Severity::Error, place, message, "the name of a PEM file with roots");
        return ClientCertificates::Unasked;
    };
    let roots = roots(written, report);
    match wanted {
        file::ClientCertificates::Off => ClientCertificates::Unasked,
        file::ClientCertificates::Optional => ClientCertificates::Optional(roots),
        file::ClientCertificates::Required => ClientCertificates::Required(roots),
    }
}

fn roots(written: &Spanned<String>, report: &mut Report) -> PathBuf {
    let path = files::path(written.get_ref(), report);
    if let Err(error) = tls::root_store(&path) {
        report.error(written.span(), error.to_string());
    }
    path
}
