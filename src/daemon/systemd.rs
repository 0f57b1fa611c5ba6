//! What the service manager is told (sd_notify(3)). Without one nothing happens.

use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::sync::oneshot;
use tracing::{debug, error};

use super::node::{Job, Node};

/// Says that requests are served.
pub fn ready() {
    notify(NotifyState::Ready);
}

/// Says that the process is about to end.
pub fn stopping() {
    notify(NotifyState::Stopping);
}

/// Shows the service manager's watchdog, where it has one, that all workers are alive. Never ends.
pub async fn feed_watchdog(node: Arc<Node>) {
    let Some(limit) = sd_notify::watchdog_enabled() else {
        return std::future::pending().await;
    };
    let interval = (limit / 2).max(Duration::from_millis(1));
    loop {
        match tokio::time::timeout(interval, are_alive(&node)).await {
            Ok(true) => notify(NotifyState::Watchdog),
            Ok(false) | Err(_) => error!("a worker does not answer"),
        }
        tokio::time::sleep(interval).await;
    }
}

async fn are_alive(node: &Node) -> bool {
    for worker in &node.workers {
        let (alive, answer) = oneshot::channel();
        if worker.jobs.send(Job::Ping(alive)).is_err() || answer.await.is_err() {
            return false;
        }
    }
    true
}

fn notify(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        debug!(%error, "cannot notify the service manager");
    }
}
