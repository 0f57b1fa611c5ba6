//! Serves new certificates when their files change, and warns before they expire.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::signal::unix::Signal;
use tokio::task::spawn_blocking;
use tracing::{error, warn};

use crate::transport::tls::Certificates;

/// How often the files are looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// How often certificates that expire soon are warned of.
const WARN_INTERVAL: Duration = Duration::from_secs(DAY);

/// How many days before its end a certificate is warned of.
const WARN_DAYS: i64 = 30;

const DAY: u64 = 86_400;

/// Looks at the files every few seconds, and at once when the process is told to (SIGHUP).
pub(super) async fn watch(certificates: Arc<Certificates>, mut hangup: Signal) -> Infallible {
    let mut next_warning = tokio::time::Instant::now();
    loop {
        if next_warning <= tokio::time::Instant::now() {
            warn_of_expiry(&certificates);
            next_warning += WARN_INTERVAL;
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_INTERVAL) => {}
            _ = hangup.recv() => {}
        }
        let replaced = certificates.replaced.count();
        let looked_at = Arc::clone(&certificates);
        // Where files lie on a network, looking at them may take long.
        if let Err(error) = spawn_blocking(move || looked_at.refresh()).await {
            error!(%error, "certificates are not looked at any more");
            std::future::pending::<()>().await;
        }
        if certificates.replaced.count() != replaced {
            warn_of_expiry(&certificates);
        }
    }
}

fn warn_of_expiry(certificates: &Certificates) {
    let Ok(now) = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH) else {
        return;
    };
    for (file, expires) in certificates.expiries() {
        let seconds = expires.saturating_sub(now.as_secs() as i64);
        let days = seconds.div_euclid(DAY as i64);
        let cert = file.display();
        if seconds <= 0 {
            error!(%cert, "the certificate has expired: nobody who verifies it connects");
        } else if days < WARN_DAYS {
            warn!(%cert, days, "the certificate expires soon");
        }
    }
}
