//! TLS (RFC 3261 §26.3.1, RFC 5922): certificates, and the settings of both sides.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{CipherSuite, ClientConfig, Error, InconsistentKeys, RootCertStore, ServerConfig};
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use thiserror::Error;
use tracing::{debug, warn};

use super::settings::CertificateFiles;

/// Why a certificate cannot be used.
#[derive(Debug, Error)]
pub enum CertificateError {
    /// A file cannot be read, or is no PEM.
    #[error("{}: cannot be read: {error}", .path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        error: pem::Error,
    },
    /// A file holds no certificate.
    #[error("{}: holds no certificate in PEM form", .path.display())]
    NoCertificate {
        /// Which file.
        path: PathBuf,
    },
    /// A file holds no key.
    #[error("{}: holds no private key in PEM form", .path.display())]
    NoKey {
        /// Which file.
        path: PathBuf,
    },
    /// The key is of another certificate.
    #[error("{}: is not the key of the certificate {}", .key.display(), .cert.display())]
    Mismatch {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// One of the two is of a kind that cannot be used.
    #[error("{} and {}: cannot be used for TLS: {error}", .cert.display(), .key.display())]
    Unusable {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What is wrong.
        error: Error,
    },
}

/// Reads a certificate with its key, and checks that they belong together.
pub fn load(files: &CertificateFiles) -> Result<CertifiedKey, CertificateError> {
    let cert = read_certificates(&files.cert)?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| match error {
        pem::Error::NoItemsFound => CertificateError::NoKey {
            path: files.key.clone(),
        },
        error => CertificateError::Unreadable {
            path: files.key.clone(),
            error,
        },
    })?;
    CertifiedKey::from_der(cert, key, &aws_lc_rs::default_provider()).map_err(|error| match error {
        Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => CertificateError::Mismatch {
            cert: files.cert.clone(),
            key: files.key.clone(),
        },
        error => CertificateError::Unusable {
            cert: files.cert.clone(),
            key: files.key.clone(),
            error,
        },
    })
}

fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let unreadable = |error| CertificateError::Unreadable {
        path: path.to_owned(),
        error,
    };
    let certificates = CertificateDer::pem_file_iter(path).map_err(unreadable)?;
    let certificates: Vec<_> = certificates.collect::<Result<_, _>>().map_err(unreadable)?;
    if certificates.is_empty() {
        return Err(CertificateError::NoCertificate { path: path.to_owned() });
    }
    Ok(certificates)
}

/// The certificate of a listener, which can be replaced while it is served.
#[derive(Debug)]
pub struct Certificate(ArcSwap<CertifiedKey>);

impl Certificate {
    /// Serves `key` until another replaces it.
    pub fn new(key: CertifiedKey) -> Certificate {
        Certificate(ArcSwap::from_pointee(key))
    }

    /// Serves `key` to connections that begin from now on.
    pub fn replace(&self, key: CertifiedKey) {
        self.0.store(Arc::new(key));
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

/// The settings of a listener with this certificate. Clients are not asked for theirs.
pub fn server_config(certificate: Arc<Certificate>) -> Result<Arc<ServerConfig>, Error> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(certificate);
    // Our order of cipher suites, which most clients leave to us anyway: theirs often begins with the costly ones.
    config.ignore_client_order = true;
    // A phone that comes back resumes its session, which nothing has to be kept for here.
    config.ticketer = aws_lc_rs::Ticketer::new()?;
    config.send_tls13_tickets = 1;
    Ok(Arc::new(config))
}

/// The settings of outgoing connections: the peer's certificate must lead to a root of the system's or of
/// `further_roots` (RFC 5922 §7.1).
pub fn client_config(further_roots: &[CertificateDer<'static>]) -> Result<Arc<ClientConfig>, Error> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        debug!(%error, "cannot read a root certificate");
    }
    roots.add_parsable_certificates(found.certs);
    roots.add_parsable_certificates(further_roots.iter().cloned());
    if roots.is_empty() {
        warn!("no root certificates: outgoing TLS connections will fail; install ca-certificates");
    }
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
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

    use super::*;

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
    fn each_mistake_has_its_message() {
        let (files, _) = certificate("mistakes", "localhost");
        let (others, _) = certificate("mistakes-others", "localhost");
        let message = |cert: &Path, key: &Path| {
            let files = CertificateFiles {
                cert: cert.to_owned(),
                key: key.to_owned(),
            };
            load(&files).unwrap_err().to_string()
        };
        let (cert, key) = (files.cert.display(), files.key.display());

        load(&files).unwrap();
        let mismatch = message(&files.cert, &others.key);
        assert_eq!(
            mismatch,
            format!("{}: is not the key of the certificate {cert}", others.key.display())
        );
        assert_eq!(
            message(&files.key, &files.key),
            format!("{key}: holds no certificate in PEM form")
        );
        assert_eq!(
            message(&files.cert, &files.cert),
            format!("{cert}: holds no private key in PEM form")
        );
        let missing = message(Path::new("/nonexistent/cert.pem"), &files.key);
        assert!(
            missing.starts_with("/nonexistent/cert.pem: cannot be read: "),
            "{missing}"
        );
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
