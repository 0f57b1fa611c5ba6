//! Certificates and keys as files.

use std::path::{Path, PathBuf};

use rustls::crypto::aws_lc_rs;
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use thiserror::Error;

use crate::transport::settings::CertificateFiles;

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
    /// There is no randomness for the keys of session tickets.
    #[error("session tickets cannot be made: {0}")]
    Tickets(Error),
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

/// Reads the certificates of a PEM file, at least one.
pub fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
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

#[cfg(test)]
mod tests {
    use super::super::tests::certificate;
    use super::*;

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
}
