//! The listeners, opened before anything is served, so that a mistake in one of them ends the start.

use std::net::UdpSocket;
use std::sync::Arc;

use anyhow::Context;
use rustls::{ClientConfig, ServerConfig};
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tracing::{error, info};

use super::node::{Job, Node};
use crate::sip::hop::Transport;
use crate::transport::routes::Routes;
use crate::transport::settings::{Listener, Settings};
use crate::transport::tcp::{self, Listening};
use crate::transport::tls::{self, Certificates};
use crate::transport::udp::{self, Group};

/// All listeners, not yet served.
pub struct Listeners {
    udp: Vec<Group>,
    streams: Vec<Stream>,
    /// The certificates that are served.
    pub certificates: Arc<Certificates>,
}

struct Stream {
    listening: Listening,
    server: Option<Arc<ServerConfig>>,
}

impl Listeners {
    /// Opens all that `settings` name.
    pub fn open(settings: &Settings, workers: usize) -> anyhow::Result<Listeners> {
        let certificates = Certificates::load(settings).context("cannot load the certificates")?;
        let mut listeners = Listeners {
            udp: Vec::new(),
            streams: Vec::new(),
            certificates: Arc::new(certificates),
        };
        for listener in &settings.listeners {
            match listener.transport {
                Transport::Udp => listeners.udp.push(udp::open(listener.bind, workers)?),
                Transport::Tcp | Transport::Ws => listeners.streams.push(Stream {
                    listening: tcp::open(listener.transport, listener.bind)?,
                    server: None,
                }),
                Transport::Tls | Transport::Wss => listeners.streams.push(Stream {
                    server: Some(server_config(listener, settings, &listeners.certificates)?),
                    listening: tcp::open(listener.transport, listener.bind)?,
                }),
            }
        }
        for group in &listeners.udp {
            info!(transport = %Transport::Udp, address = %group.local, "listening");
        }
        for stream in &listeners.streams {
            info!(transport = %stream.listening.transport, address = %stream.listening.local, "listening");
        }
        Ok(listeners)
    }

    /// The transports and bound addresses.
    pub fn routes(&self) -> Routes {
        let udp = self.udp.iter().map(|group| (Transport::Udp, group.local));
        let streams = self.streams.iter().map(|stream| &stream.listening);
        let streams = streams.map(|listening| (listening.transport, listening.local));
        Routes::new(udp.chain(streams).collect())
    }

    /// One socket of each UDP listener, for one worker.
    pub fn take_udp(&mut self) -> Vec<UdpSocket> {
        self.udp.iter_mut().filter_map(|group| group.sockets.pop()).collect()
    }

    /// What outgoing TLS connections need, where there is a TLS listener to send from.
    pub fn client_config(&self, settings: &Settings) -> anyhow::Result<Option<Arc<ClientConfig>>> {
        let has_tls = self.streams.iter().any(|stream| stream.server.is_some());
        let config = has_tls
            .then(|| tls::client_config(&settings.tls, self.certificates.of_client()))
            .transpose();
        config.context("cannot set up outgoing TLS")
    }

    /// Accepts connections, and deals them to the workers, until the tasks are aborted.
    pub fn accept(self, node: &Arc<Node>, control: &Handle) -> JoinSet<()> {
        let mut accepting = JoinSet::new();
        for Stream { listening, server } in self.streams {
            let node = Arc::clone(node);
            let (transport, local) = (listening.transport, listening.local);
            let accept = async move {
                let deal = |accepted| node.deal(Job::Accepted(accepted, server.clone()));
                if let Err(error) = tcp::accept(listening, &node.connections, &node.counters, deal).await {
                    error!(%transport, %local, %error, "cannot accept connections any more");
                }
            };
            accepting.spawn_on(accept, control);
        }
        accepting
    }
}

fn server_config(
    listener: &Listener,
    settings: &Settings,
    certificates: &Certificates,
) -> anyhow::Result<Arc<ServerConfig>> {
    let Listener { transport, bind, .. } = listener;
    let files = listener.certificate.as_ref();
    let files = files.with_context(|| format!("{transport} {bind}: cert and key are missing"))?;
    let config = tls::server_config(certificates, files, &listener.clients, &settings.tls);
    config.with_context(|| format!("{transport} {bind}: cannot set up TLS"))
}
