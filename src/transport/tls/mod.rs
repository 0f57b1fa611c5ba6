//! TLS (RFC 3261 §26.3.1, RFC 5922): certificates, and the settings of both sides.

mod certificates;
mod files;
mod names;
mod verifier;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::ResolvesClientCert;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::version::{TLS12, TLS13};
use rustls::{CipherSuite, ClientConfig, Error, RootCertStore, ServerConfig, SupportedProtocolVersion};
use rustls_pki_types::ServerName;
use thiserror::Error;
use tracing::{debug, warn};

pub use certificates::{Certificate, Certificates};
pub use files::{CertificateError, load};
pub use names::{Identities, expiry_of};
use verifier::SipVerifier;

use super::settings::{CertificateFiles, ClientCertificates, Tls, TlsVersion};

/// The settings of a listener. Its certificate is that of the domain that a client names, else its own.
pub fn server_config(
    certificates: &Certificates,
    files: &CertificateFiles,
    clients: &ClientCertificates,
    tls: &Tls,
) -> Result<Arc<ServerConfig>, TlsError> {
    let chooser = certificates
        .of_listener(files)
        .ok_or_else(|| TlsError::Unknown(files.cert.clone()))?;
    let builder = ServerConfig::builder_with_provider(provider()).with_protocol_versions(versions(tls.min_version))?;
    let builder = match clients {
        ClientCertificates::Unasked => builder.with_no_client_auth(),
        ClientCertificates::Optional(roots) => builder.with_client_cert_verifier(
            WebPkiClientVerifier::builder_with_provider(client_roots(roots)?, provider())
                .allow_unauthenticated()
                .build()?,
        ),
        ClientCertificates::Required(roots) => builder.with_client_cert_verifier(
            WebPkiClientVerifier::builder_with_provider(client_roots(roots)?, provider()).build()?,
        ),
    };
    let mut config = builder.with_cert_resolver(chooser);
    // Our order of cipher suites, which most clients leave to us anyway: theirs often begins with the costly ones.
    config.ignore_client_order = true;
    // A phone that comes back resumes its session, which nothing has to be kept for here.
    config.ticketer = certificates.tickets();
    config.send_tls13_tickets = 1;
    Ok(Arc::new(config))
}

/// The settings of outgoing connections: the peer's certificate must lead to a root (RFC 5922 §7.1) of the configured
/// file, else of the system, and carry the name of the hop. `own` is what a peer is shown that asks for ours.
pub fn client_config(tls: &Tls, own: Option<Arc<dyn ResolvesClientCert>>) -> Result<Arc<ClientConfig>, TlsError> {
    let roots = match &tls.roots {
        Some(path) => root_store(path)?,
        None => system_roots(),
    };
    let provider = provider();
    let verifier = Arc::new(SipVerifier::new(Arc::new(roots), &provider));
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions(tls.min_version))?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    Ok(Arc::new(match own {
        Some(own) => builder.with_client_cert_resolver(own),
        None => builder.with_no_client_auth(),
    }))
}

/// Why TLS cannot be set up.
#[derive(Debug, Error)]
pub enum TlsError {
    /// The roots cannot be used.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// A file of roots holds none that can be used.
    #[error("{}: holds no root certificate that can be used", .0.display())]
    NoRoots(PathBuf),
    /// The verifier of client certificates cannot be made.
    #[error("client certificates cannot be verified: {0}")]
    Clients(#[from] VerifierBuilderError),
    /// A certificate was not loaded.
    #[error("{}: the certificate is not loaded", .0.display())]
    Unknown(PathBuf),
    /// The library refuses.
    #[error(transparent)]
    Tls(#[from] Error),
}

fn client_roots(path: &Path) -> Result<Arc<RootCertStore>, TlsError> {
    root_store(path).map(Arc::new)
}

/// The roots in a PEM file, at least one.
pub fn root_store(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(files::read_certificates(path)?);
    match roots.is_empty() {
        true => Err(TlsError::NoRoots(path.to_owned())),
        false => Ok(roots),
    }
}

fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        debug!(%error, "cannot read a root certificate");
    }
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        warn!("no root certificates: outgoing TLS connections will fail; install ca-certificates");
    }
    roots
}

fn versions(least: TlsVersion) -> &'static [&'static SupportedProtocolVersion] {
    const BOTH: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];
    match least {
        TlsVersion::Tls12 => &BOTH,
        TlsVersion::Tls13 => &BOTH[..1],
    }
}

/// The name that the certificate of a hop must carry (RFC 5922 §4): that of the host that led there, or its address.
pub fn server_name(name: Option<&str>, remote: SocketAddr) -> Option<ServerName<'static>> {
    match name {
        Some(name) => ServerName::try_from(name.trim_end_matches('.').to_owned()).ok(),
        None => Some(ServerName::from(remote.ip())),
    }
}

/// The default cipher suites, those with AES-128 and SHA-256 first: SHA-384 took a third of the instructions of a
/// handshake. Everybody has the first of them (RFC 8446 §9.1).
fn provider() -> Arc<CryptoProvider> {
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites.sort_by_key(|suite| !is_light(suite.suite()));
    Arc::new(provider)
}

fn is_light(suite: CipherSuite) -> bool {
    matches!(
        suite,
        CipherSuite::TLS13_AES_128_GCM_SHA256
            | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
            | CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256
    )
}

#[cfg(test)]
pub(super) mod tests {
    use std::fs;

    use rustls_pki_types::CertificateDer;

    use super::*;
    use crate::sip::hop::Transport;
    use crate::transport::settings::{Listener, Settings};

    /// A certificate for `name` and its key, in PEM form.
    pub fn certificate_for(name: &str) -> (String, String) {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    /// The settings of a listener with that certificate.
    pub fn server(files: &CertificateFiles) -> Arc<ServerConfig> {
        let settings = Settings {
            listeners: vec![Listener {
                certificate: Some(files.clone()),
                ..Listener::new(Transport::Tls, "127.0.0.1:0".parse().unwrap())
            }],
            ..Settings::default()
        };
        let certificates = Certificates::load(&settings).unwrap();
        server_config(&certificates, files, &ClientCertificates::Unasked, &Tls::default()).unwrap()
    }

    /// The settings of a client that trusts that certificate.
    pub fn client(files: &CertificateFiles) -> Arc<ClientConfig> {
        let tls = Tls {
            roots: Some(files.cert.clone()),
            ..Tls::default()
        };
        client_config(&tls, None).unwrap()
    }

    /// A self-signed certificate for `name`, in files named after `test`.
    pub fn certificate(test: &str, name: &str) -> (CertificateFiles, CertificateDer<'static>) {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        let file = |kind: &str| std::env::temp_dir().join(format!("ringbinder-{test}-{kind}-{}", std::process::id()));
        let files = CertificateFiles {
            cert: file("cert"),
            key: file("key"),
        };
        fs::write(&files.cert, made.cert.pem()).unwrap();
        fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
        (files, made.cert.der().clone())
    }

    #[test]
    fn of_each_protocol_version_the_light_suites_come_first() {
        let suites = provider()
            .cipher_suites
            .iter()
            .map(|suite| suite.suite())
            .collect::<Vec<_>>();
        assert_eq!(suites.len(), aws_lc_rs::default_provider().cipher_suites.len());
        assert_eq!(
            suites[..3],
            [
                CipherSuite::TLS13_AES_128_GCM_SHA256,
                CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
                CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
            ]
        );
    }

    #[test]
    fn the_name_to_be_checked_is_the_hosts_or_the_address() {
        let remote = "192.0.2.1:5061".parse().unwrap();
        assert_eq!(
            server_name(Some("sip.example.com."), remote).unwrap().to_str(),
            "sip.example.com"
        );
        assert_eq!(server_name(None, remote).unwrap().to_str(), "192.0.2.1");
        assert_eq!(server_name(Some("a b"), remote), None);
    }
}
