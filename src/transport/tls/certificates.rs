//! The certificates that are served: chosen by the name that a client asks for (RFC 6066 §3), and replaced while
//! connections are open.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rustls::client::ResolvesClientCert;
use rustls::crypto::aws_lc_rs;
use rustls::server::{ClientHello, ProducesTickets, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{Error, SignatureScheme};
use tracing::{info, warn};

use super::files::{self, CertificateError};
use super::names::expiry_of;
use crate::transport::counters::Counter;
use crate::transport::settings::{CertificateFiles, Settings};

/// All certificates, each loaded once however many listeners and domains name it.
#[derive(Debug)]
pub struct Certificates {
    all: Vec<Arc<Certificate>>,
    by_name: Arc<HashMap<Box<str>, Arc<Certificate>>>,
    tickets: Arc<Tickets>,
    /// Certificates replaced since the start.
    pub replaced: Counter,
    /// Times that changed files could not be used and the old certificate stayed.
    pub failed: Counter,
}

/// A certificate that can be replaced while it is served.
#[derive(Debug)]
pub struct Certificate {
    files: CertificateFiles,
    current: ArcSwap<Loaded>,
    seen: Mutex<Seen>,
}

#[derive(Debug)]
struct Loaded {
    key: Arc<CertifiedKey>,
    expires: Option<i64>,
}

/// What is known of the files.
#[derive(Debug)]
struct Seen {
    /// What the certificate in use was read from, or what could not be used.
    stamps: Option<[Stamp; 2]>,
    /// Whether the files as they are cannot be used; then they are read again until they can.
    is_broken: bool,
}

/// By what a file that was written is told from what it was before.
type Stamp = (u64, i64, i64, u64);

impl Certificates {
    /// Loads all that the settings name.
    pub fn load(settings: &Settings) -> Result<Certificates, CertificateError> {
        let mut all: Vec<Arc<Certificate>> = Vec::new();
        let mut once = |files: &CertificateFiles| match all.iter().find(|known| known.files == *files) {
            Some(known) => Ok(Arc::clone(known)),
            None => {
                let certificate = Arc::new(Certificate::load(files)?);
                all.push(Arc::clone(&certificate));
                Ok(certificate)
            }
        };
        for files in settings
            .listeners
            .iter()
            .filter_map(|listener| listener.certificate.as_ref())
        {
            once(files)?;
        }
        let mut by_name = HashMap::new();
        for domain in &settings.tls.domains {
            let certificate = once(&domain.certificate)?;
            for name in &domain.names {
                by_name.insert(name.clone(), Arc::clone(&certificate));
            }
        }
        Ok(Certificates {
            all,
            by_name: Arc::new(by_name),
            tickets: Arc::new(Tickets::new()?),
            replaced: Counter::default(),
            failed: Counter::default(),
        })
    }

    /// Those of a listener: its own, and those of the domains by their names.
    pub fn of_listener(&self, files: &CertificateFiles) -> Option<Arc<Chooser>> {
        let own = self.all.iter().find(|known| known.files == *files)?;
        Some(Arc::new(Chooser {
            own: Arc::clone(own),
            by_name: Arc::clone(&self.by_name),
        }))
    }

    /// What outgoing connections show when they are asked: the certificate of the first listener.
    pub fn of_client(&self) -> Option<Arc<dyn ResolvesClientCert>> {
        let own = self.all.first()?;
        Some(Arc::new(Shown(Arc::clone(own))))
    }

    /// The tickets of all listeners.
    pub fn tickets(&self) -> Arc<Tickets> {
        Arc::clone(&self.tickets)
    }

    /// Looks at the files, and serves what has changed and can be used to connections that begin from now on. Blocks
    /// on the file system.
    pub fn refresh(&self) {
        let mut has_replaced = false;
        for certificate in &self.all {
            let (cert, key) = (certificate.files.cert.display(), certificate.files.key.display());
            match certificate.refresh() {
                Refreshed::Unchanged => {}
                Refreshed::Replaced => {
                    info!(%cert, "a new certificate is served");
                    has_replaced = true;
                    self.replaced.add(1);
                }
                Refreshed::Failed(error) => {
                    warn!(%cert, %key, %error, "the changed certificate cannot be used; the old one stays");
                    self.failed.add(1);
                }
            }
        }
        // A session that is resumed shows no certificate: who comes back is to see the new one.
        if has_replaced && let Err(error) = self.tickets.renew() {
            warn!(%error, "sessions begun before can still be resumed");
        }
    }

    /// The files of the certificates, and when each expires, in seconds since 1970-01-01 UTC.
    pub fn expiries(&self) -> Vec<(PathBuf, i64)> {
        let expiries = self.all.iter().filter_map(|certificate| {
            let expires = certificate.current.load().expires?;
            Some((certificate.files.cert.clone(), expires))
        });
        expiries.collect()
    }
}

enum Refreshed {
    Unchanged,
    Replaced,
    Failed(CertificateError),
}

impl Certificate {
    /// Loads it.
    pub fn load(files: &CertificateFiles) -> Result<Certificate, CertificateError> {
        // Before they are read, so that what is written meanwhile is seen later.
        let stamps = stamps(files).ok();
        Ok(Certificate {
            files: files.clone(),
            current: ArcSwap::from_pointee(Loaded::read(files)?),
            seen: Mutex::new(Seen {
                stamps,
                is_broken: false,
            }),
        })
    }

    fn refresh(&self) -> Refreshed {
        let mut seen = self.seen.lock();
        let stamps = stamps(&self.files).ok();
        let has_changed = stamps != seen.stamps;
        if !has_changed && !seen.is_broken {
            return Refreshed::Unchanged;
        }
        seen.stamps = stamps;
        match Loaded::read(&self.files) {
            Ok(loaded) => {
                seen.is_broken = false;
                let is_same = self.current.load().key.cert == loaded.key.cert;
                self.current.store(Arc::new(loaded));
                if is_same {
                    Refreshed::Unchanged
                } else {
                    Refreshed::Replaced
                }
            }
            Err(error) => {
                seen.is_broken = true;
                // It is told once for what was written once.
                if has_changed {
                    Refreshed::Failed(error)
                } else {
                    Refreshed::Unchanged
                }
            }
        }
    }

    fn key(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.current.load().key)
    }
}

impl Loaded {
    fn read(files: &CertificateFiles) -> Result<Loaded, CertificateError> {
        let key = files::load(files)?;
        let expires = key.cert.first().and_then(expiry_of);
        Ok(Loaded {
            key: Arc::new(key),
            expires,
        })
    }
}

fn stamps(files: &CertificateFiles) -> io::Result<[Stamp; 2]> {
    Ok([stamp(&files.cert)?, stamp(&files.key)?])
}

fn stamp(path: &Path) -> io::Result<Stamp> {
    let metadata = fs::metadata(path)?;
    Ok((metadata.ino(), metadata.mtime(), metadata.mtime_nsec(), metadata.size()))
}

/// Chooses the certificate of a connection.
#[derive(Debug)]
pub struct Chooser {
    own: Arc<Certificate>,
    by_name: Arc<HashMap<Box<str>, Arc<Certificate>>>,
}

impl ResolvesServerCert for Chooser {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let named = hello.server_name().and_then(|name| match self.by_name.get(name) {
            None if name.bytes().any(|byte| byte.is_ascii_uppercase()) => {
                self.by_name.get(name.to_ascii_lowercase().as_str())
            }
            named => named,
        });
        Some(named.unwrap_or(&self.own).key())
    }
}

/// Shows a certificate to whoever asks a client for one.
#[derive(Debug)]
struct Shown(Arc<Certificate>);

impl ResolvesClientCert for Shown {
    fn resolve(&self, _root_hint_subjects: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let key = self.0.key();
        key.key.choose_scheme(schemes).is_some().then_some(key)
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// The keys of session tickets (RFC 8446 §4.6.1), which can be forgotten.
#[derive(Debug)]
pub struct Tickets(ArcSwap<Arc<dyn ProducesTickets>>);

impl Tickets {
    fn new() -> Result<Tickets, CertificateError> {
        let ticketer = aws_lc_rs::Ticketer::new().map_err(CertificateError::Tickets)?;
        Ok(Tickets(ArcSwap::from_pointee(ticketer)))
    }

    /// Tickets given before are worth nothing from now on.
    fn renew(&self) -> Result<(), Error> {
        self.0.store(Arc::new(aws_lc_rs::Ticketer::new()?));
        Ok(())
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        self.0.load().enabled()
    }

    fn lifetime(&self) -> u32 {
        self.0.load().lifetime()
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.0.load().encrypt(plain)
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        self.0.load().decrypt(cipher)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{certificate, certificate_for};
    use super::*;

    fn names(certificate: &Certificate) -> Vec<String> {
        super::super::names::dns_names(certificate.key().cert.first().unwrap())
    }

    #[test]
    fn a_changed_certificate_is_served_and_a_broken_one_is_not() {
        let (files, _) = certificate("reload", "old.example");
        let served = Certificate::load(&files).unwrap();
        assert!(matches!(served.refresh(), Refreshed::Unchanged));

        let (cert, key) = certificate_for("new.example");
        fs::write(&files.cert, &cert).unwrap();
        // The key is still the old one's.
        assert!(matches!(
            served.refresh(),
            Refreshed::Failed(CertificateError::Mismatch { .. })
        ));
        assert!(matches!(served.refresh(), Refreshed::Unchanged));
        assert_eq!(names(&served), ["old.example"]);

        fs::write(&files.key, &key).unwrap();
        assert!(matches!(served.refresh(), Refreshed::Replaced));
        assert_eq!(names(&served), ["new.example"]);

        fs::write(&files.cert, "garbage").unwrap();
        assert!(matches!(served.refresh(), Refreshed::Failed(_)));
        fs::remove_file(&files.cert).unwrap();
        assert!(matches!(served.refresh(), Refreshed::Failed(_)));
        assert_eq!(names(&served), ["new.example"]);

        fs::write(&files.cert, &cert).unwrap();
        assert!(matches!(served.refresh(), Refreshed::Unchanged));
        assert_eq!(names(&served), ["new.example"]);
    }

    #[test]
    fn tickets_are_worth_nothing_after_they_are_renewed() {
        let tickets = Tickets::new().unwrap();
        let ticket = tickets.encrypt(b"session").unwrap();
        assert_eq!(tickets.decrypt(&ticket).as_deref(), Some(&b"session"[..]));
        tickets.renew().unwrap();
        assert_eq!(tickets.decrypt(&ticket), None);
    }
}
