//! The certificate of a listener: whether its files can be read, belong together, and name what is served.

use std::ops::Range;
use std::path::Path;

use rustls::client::verify_server_name;
use rustls::crypto::aws_lc_rs;
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem};

use super::files;
use super::report::Report;

/// The files of one listener, and where the configuration names them.
pub struct Files<'a> {
    /// The certificate and its chain.
    pub cert: (&'a Path, Range<usize>),
    /// The private key.
    pub key: (&'a Path, Range<usize>),
}

/// Checks the files; what is wrong goes to the report. `names` are the served domains and their aliases.
pub fn check(files: &Files<'_>, names: &[&str], report: &mut Report) {
    let chain = read_chain(files, report);
    let key = read_key(files, report);
    let (Some(chain), Some(key)) = (chain, key) else { return };
    let certified = CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider());
    let (cert_path, cert_span) = (files.cert.0.display(), files.cert.1.clone());
    let certified = match certified {
        Ok(certified) => certified,
        Err(rustls::Error::InconsistentKeys(_)) => {
            let message = format!(
                "the key {} is not that of the certificate {cert_path}",
                files.key.0.display()
            );
            report.error(files.key.1.clone(), message);
            return;
        }
        Err(error) => {
            report.error(
                cert_span,
                format!("the certificate {cert_path} and its key cannot be used: {error}"),
            );
            return;
        }
    };
    let leaf = certified
        .end_entity_cert()
        .ok()
        .and_then(|leaf| ParsedCertificate::try_from(leaf).ok());
    let Some(leaf) = leaf else {
        report.error(
            cert_span,
            format!("{cert_path} does not begin with a server certificate"),
        );
        return;
    };
    let is_named = |name: &&str| {
        let bare = name.trim_start_matches('[').trim_end_matches(']');
        ServerName::try_from(bare).is_ok_and(|name| verify_server_name(&leaf, &name).is_ok())
    };
    if !names.is_empty() && !names.iter().any(is_named) {
        report
            .warning(cert_span, format!("the certificate {cert_path} names no served domain"))
            .help = Some("phones that verify it will not connect".to_owned());
    }
}

fn read_chain(files: &Files<'_>, report: &mut Report) -> Option<Vec<CertificateDer<'static>>> {
    let (path, span) = &files.cert;
    let bytes = files::read(path, span, report)?;
    let chain: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(&bytes).collect();
    match chain {
        Ok(chain) if !chain.is_empty() => Some(chain),
        Ok(_) => {
            report.error(
                span.clone(),
                format!("{} holds no certificate in PEM form", path.display()),
            );
            None
        }
        Err(error) => {
            report.error(span.clone(), format!("{} is not PEM: {error}", path.display()));
            None
        }
    }
}

fn read_key(files: &Files<'_>, report: &mut Report) -> Option<PrivateKeyDer<'static>> {
    let (path, span) = &files.key;
    let bytes = zeroize::Zeroizing::new(files::read(path, span, report)?);
    files::warn_if_public(path, span, report);
    match PrivateKeyDer::from_pem_slice(&bytes) {
        Ok(key) => Some(key),
        Err(pem::Error::NoItemsFound) => {
            let message = format!("{} holds no private key in PEM form", path.display());
            report.error(span.clone(), message).help = Some("an encrypted key must be decrypted first".to_owned());
            None
        }
        Err(error) => {
            report.error(span.clone(), format!("{} is not PEM: {error}", path.display()));
            None
        }
    }
}
