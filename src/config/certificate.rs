//! A certificate: whether its files can be read, belong together, name what is served, and are not too old.

use std::ops::Range;
use std::path::Path;
use std::time::SystemTime;

use rustls::client::verify_server_name;
use rustls::crypto::aws_lc_rs;
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem};

use super::files;
use super::report::Report;
use crate::transport::tls::expiry_of;

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
        let what = match names {
            [name] => format!("does not name {name}"),
            _ => "names no served domain".to_owned(),
        };
        report
            .warning(cert_span.clone(), format!("the certificate {cert_path} {what}"))
            .help = Some("phones that verify it will not connect".to_owned());
    }
    warn_of_expiry(&certified, &cert_span, &cert_path.to_string(), report);
}

/// Warns of a certificate that has expired or is about to.
fn warn_of_expiry(certified: &CertifiedKey, span: &Range<usize>, path: &str, report: &mut Report) {
    let expires = certified.cert.first().and_then(expiry_of);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let (Some(expires), Ok(now)) = (expires, now) else {
        return;
    };
    let seconds = expires.saturating_sub(now.as_secs() as i64);
    let days = seconds.div_euclid(DAY);
    if seconds <= 0 {
        let message = format!("the certificate {path} has expired");
        report.warning(span.clone(), message).help = Some("phones that verify it will not connect".to_owned());
    } else if days < WARN_DAYS {
        report.warning(span.clone(), format!("the certificate {path} expires in {days} days"));
    }
}

const DAY: i64 = 86_400;

/// How many days before its end a certificate is warned of.
const WARN_DAYS: i64 = 30;

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
