//! Connections over loopback sockets, with a handler that records and echoes.

use std::cell::Cell;
use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio::net::TcpStream as Peer;
use tokio::task::LocalSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::*;
use crate::sip::hop::{ConnectionId, Transport};
use crate::transport::Arrival;
use crate::transport::settings::CertificateFiles;
use crate::transport::settings::Limits as ConnectionLimits;
use crate::transport::table::{SILENCES_MAX, ToHop};
use crate::transport::tls::tests::{certificate, client, server};

/// Answers each message with its Call-ID and each malformed one with its error.
pub(super) struct Echo {
    connections: Arc<Connections<u32>>,
    unreachable: RefCell<Vec<u32>>,
    closed: RefCell<Vec<ConnectionId>>,
    answered: Cell<usize>,
}

impl Handler for Echo {
    type Origin = u32;

    fn handle_arrivals(&self, arrivals: &mut Vec<Arrival>, _now: Instant) {
        for Arrival { content, flow } in arrivals.drain(..) {
            let reply = match content {
                Ok(message) if message.call_id() == b"panic" => panic!("as asked"),
                Ok(message) => format!("[{}]", String::from_utf8_lossy(message.call_id())),
                Err(malformed) => format!("[{} {}]", malformed.error, malformed.request.is_some()),
            };
            let pushed = self.connections.push(flow.connection.unwrap(), reply.into(), None);
            self.answered.update(|answered| answered + 1);
            if let Ok(Some(waker)) = pushed {
                waker.wake();
            }
        }
    }

    fn handle_unreachable(&self, origins: &mut Vec<u32>, _now: Instant) {
        self.unreachable.borrow_mut().append(origins);
    }

    fn handle_closed(&self, connection: ConnectionId, _now: Instant) {
        self.closed.borrow_mut().push(connection);
    }
}

/// A worker's connections, served on the test's thread.
pub(super) struct Served {
    streams: Rc<Streams<Echo>>,
    pub(super) address: SocketAddr,
}

impl Served {
    /// Notes that the first connection has left so many requests without an answer that its peer is asked.
    pub(super) fn note_silences(&self) {
        for _ in 0..SILENCES_MAX {
            let waker = self.streams.connections.note_silence(ConnectionId(9 >> 1));
            waker.into_iter().for_each(|waker| waker.wake());
        }
    }
}

/// Serves a listener of TCP, or of TLS, on loopback for as long as `test` runs.
async fn served<F: Future<Output = ()>>(
    settings: Settings,
    server: Option<Arc<ServerConfig>>,
    trusted: Option<&CertificateFiles>,
    test: impl FnOnce(Served) -> F,
) {
    let transport = if server.is_some() {
        Transport::Tls
    } else {
        Transport::Tcp
    };
    served_over(transport, settings, server, trusted, test).await;
}

/// Serves a listener on loopback for as long as `test` runs.
pub(super) async fn served_over<F: Future<Output = ()>>(
    transport: Transport,
    settings: Settings,
    server: Option<Arc<ServerConfig>>,
    trusted: Option<&CertificateFiles>,
    test: impl FnOnce(Served) -> F,
) {
    let connections = Arc::new(Connections::new(9, settings.limits.clone()));
    let echo = Rc::new(Echo {
        connections: Arc::clone(&connections),
        unreachable: RefCell::default(),
        closed: RefCell::default(),
        answered: Cell::default(),
    });
    let client = trusted.map(client);
    let counters: Arc<Counters> = Arc::default();
    let streams = Streams::new(
        echo,
        Arc::clone(&connections),
        Arc::new(settings),
        client,
        Arc::clone(&counters),
    );
    let streams = Rc::new(streams.unwrap());
    let listening = tcp::open(transport, "127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listening.local;
    let serving = LocalSet::new();
    let running = Rc::clone(&streams);
    serving.spawn_local(async move { running.run().await.unwrap() });
    let deal = |accepted| {
        counters.connections.rise();
        streams.serve_accepted(accepted, server.clone());
    };
    let accepting = tcp::accept(listening, &connections, &counters, deal);
    let test = test(Served {
        streams: Rc::clone(&streams),
        address,
    });
    let all = serving.run_until(async {
        tokio::select! {
            result = accepting => result.unwrap(),
            () = test => {}
        }
    });
    timeout(Duration::from_secs(20), all).await.unwrap();
}

pub(super) fn options(call_id: &str) -> String {
    format!(
        "OPTIONS sip:example.com SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.1;branch=z9hG4bK1\r\nFrom: <sip:a@example.com>;tag=1\r\n\
        To: <sip:example.com>\r\nCall-ID: {call_id}\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\nContent-Length: 4\r\n\r\nbody"
    )
}

pub(super) async fn read(peer: &mut (impl AsyncRead + Unpin), expected: &str) {
    let mut buffer = vec![0; expected.len()];
    peer.read_exact(&mut buffer).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&buffer), expected);
}

pub(super) async fn is_closed(peer: &mut (impl AsyncRead + Unpin)) -> bool {
    matches!(
        timeout(Duration::from_secs(10), peer.read(&mut [0; 10])).await,
        Ok(Ok(0) | Err(_))
    )
}

pub(super) fn settings(change: impl FnOnce(&mut ConnectionLimits)) -> Settings {
    let mut settings = Settings::default();
    change(&mut settings.limits);
    settings
}

#[tokio::test]
async fn messages_are_cut_whatever_the_segments() {
    served(Settings::default(), None, None, async |served| {
        let mut peer = Peer::connect(served.address).await.unwrap();
        let both = options("one") + &options("two");
        for part in both.as_bytes().chunks(97) {
            peer.write_all(part).await.unwrap();
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        read(&mut peer, "[one][two]").await;
        let many: String = (0..200).map(|number| options(&number.to_string())).collect();
        peer.write_all(many.as_bytes()).await.unwrap();
        let replies: String = (0..200).map(|number| format!("[{number}]")).collect();
        read(&mut peer, &replies).await;
        drop(peer);
        while served.streams.connections.count() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(served.streams.handler.closed.borrow().len(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_stream_that_cannot_be_cut_is_answered_and_closed() {
    served(Settings::default(), None, None, async |served| {
        let mut peer = Peer::connect(served.address).await.unwrap();
        let without_length = options("one").replace("Content-Length: 4\r\n", "");
        peer.write_all((without_length + &options("two")).as_bytes())
            .await
            .unwrap();
        read(&mut peer, "[missing Content-Length true]").await;
        assert!(is_closed(&mut peer).await);

        let mut peer = Peer::connect(served.address).await.unwrap();
        let large = options("one").replace("Content-Length: 4", "Content-Length: 70000");
        peer.write_all(large.as_bytes()).await.unwrap();
        read(&mut peer, "[message too large true]").await;
        assert!(is_closed(&mut peer).await);
    })
    .await;
}

#[tokio::test]
async fn a_request_and_the_end_of_the_stream_together_are_answered() {
    served(Settings::default(), None, None, async |served| {
        let mut peer = Peer::connect(served.address).await.unwrap();
        peer.write_all(options("one").as_bytes()).await.unwrap();
        peer.shutdown().await.unwrap();
        read(&mut peer, "[one]").await;
        assert!(is_closed(&mut peer).await);
    })
    .await;
}

#[tokio::test]
async fn who_brings_no_message_in_time_is_closed() {
    let settings = settings(|limits| limits.first_message = Duration::from_millis(300));
    served(settings, None, None, async |served| {
        let mut silent = Peer::connect(served.address).await.unwrap();
        let mut pinging = Peer::connect(served.address).await.unwrap();
        let mut slow = Peer::connect(served.address).await.unwrap();
        let mut good = Peer::connect(served.address).await.unwrap();
        pinging.write_all(b"\r\n\r\n").await.unwrap();
        read(&mut pinging, "\r\n").await;
        slow.write_all((options("slow") + "OPTIONS").as_bytes()).await.unwrap();
        read(&mut slow, "[slow]").await;
        good.write_all(options("good").as_bytes()).await.unwrap();
        read(&mut good, "[good]").await;

        assert!(is_closed(&mut silent).await);
        assert!(is_closed(&mut pinging).await);
        assert!(is_closed(&mut slow).await);
        good.write_all(options("again").as_bytes()).await.unwrap();
        read(&mut good, "[again]").await;
        assert_eq!(served.streams.counters.connections_timed_out.count(), 3);
    })
    .await;
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    let settings = settings(|limits| limits.idle = Duration::from_millis(300));
    served(settings, None, None, async |served| {
        let mut peer = Peer::connect(served.address).await.unwrap();
        for number in 0..4 {
            tokio::time::sleep(Duration::from_millis(150)).await;
            peer.write_all(options(&number.to_string()).as_bytes()).await.unwrap();
            read(&mut peer, &format!("[{number}]")).await;
        }
        assert!(is_closed(&mut peer).await);
    })
    .await;
}

#[tokio::test]
async fn connections_above_a_limit_are_closed_at_once() {
    let settings = settings(|limits| limits.connections_per_source = 1);
    served(settings, None, None, async |served| {
        let mut first = Peer::connect(served.address).await.unwrap();
        first.write_all(options("one").as_bytes()).await.unwrap();
        read(&mut first, "[one]").await;
        let mut second = Peer::connect(served.address).await.unwrap();
        assert!(is_closed(&mut second).await);
        first.write_all(options("two").as_bytes()).await.unwrap();
        read(&mut first, "[two]").await;
    })
    .await;
}

#[tokio::test]
async fn who_answers_no_requests_is_asked_and_closed_when_silent() {
    served(Settings::default(), None, None, async |served| {
        let mut peer = Peer::connect(served.address).await.unwrap();
        peer.write_all(options("one").as_bytes()).await.unwrap();
        read(&mut peer, "[one]").await;
        let connection = ConnectionId(9 >> 1);
        let silence = || {
            let waker = served.streams.connections.note_silence(connection);
            waker.into_iter().for_each(|waker| waker.wake());
        };
        (0..SILENCES_MAX).for_each(|_| silence());
        read(&mut peer, "\r\n\r\n").await;
        peer.write_all(b"\r\n").await.unwrap();
        peer.write_all(options("two").as_bytes()).await.unwrap();
        read(&mut peer, "[two]").await;

        // It has been heard of: the count begins anew.
        (1..SILENCES_MAX).for_each(|_| silence());
        peer.write_all(options("three").as_bytes()).await.unwrap();
        read(&mut peer, "[three]").await;
        (0..SILENCES_MAX).for_each(|_| silence());
        read(&mut peer, "\r\n\r\n").await;
        let end = timeout(Duration::from_secs(30), peer.read(&mut [0; 10])).await;
        assert!(matches!(end, Ok(Ok(0) | Err(_))), "{end:?}");
        assert_eq!(served.streams.counters.connections_silent.count(), 1);
    })
    .await;
}

#[tokio::test]
async fn who_does_not_read_is_closed_and_the_senders_are_told() {
    served(Settings::default(), None, None, async |served| {
        let mut peer = Peer::connect(served.address).await.unwrap();
        peer.write_all(options("one").as_bytes()).await.unwrap();
        read(&mut peer, "[one]").await;
        let connection = ConnectionId(9 >> 1);
        let payload = Bytes::from(vec![b'x'; 32 * 1024]);
        let mut sent = 0;
        while let Ok(waker) = served.streams.connections.push(connection, payload.clone(), Some(sent)) {
            sent += 1;
            waker.into_iter().for_each(|waker| waker.wake());
            tokio::task::yield_now().await;
        }
        while served.streams.connections.count() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(served.streams.counters.connections_congested.count(), 1);
        let unreachable = served.streams.handler.unreachable.borrow();
        assert!(unreachable.len() >= 7, "{unreachable:?}");
        assert_eq!(unreachable.last(), Some(&(sent - 1)));
    })
    .await;
}

fn hop(transport: Transport, remote: SocketAddr, server_name: Option<&str>) -> Hop {
    Hop {
        transport,
        remote,
        local: SocketAddr::new(IpAddr::from([127, 0, 0, 2]), 5060),
        server_name: server_name.map(Arc::from),
    }
}

/// Sends a message to `hop` over a new connection, served by a task of its own.
fn send(served: &Served, hop: &Hop, origin: u32) {
    let ToHop::New(connection) = served.streams.connections.to_hop(hop).unwrap() else {
        panic!("there is a connection already");
    };
    connection.push(options("out").into(), Some(origin)).unwrap();
    served.streams.counters.connections.rise();
    let (streams, hop) = (Rc::clone(&served.streams), hop.clone());
    tokio::task::spawn_local(async move { streams.serve_outgoing(connection, hop).await });
}

#[tokio::test]
async fn a_hop_is_connected_to_from_its_local_address() {
    served(Settings::default(), None, None, async |served| {
        let there = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        send(&served, &hop(Transport::Tcp, there.local_addr().unwrap(), None), 1);
        let (mut peer, from) = there.accept().await.unwrap();
        assert_eq!(from.ip(), IpAddr::from([127, 0, 0, 2]));
        read(&mut peer, &options("out")).await;
        // What comes back by it comes by a flow with the listener's port.
        peer.write_all(options("back").as_bytes()).await.unwrap();
        read(&mut peer, "[back]").await;
    })
    .await;
}

#[tokio::test]
async fn a_hop_that_does_not_answer_is_unreachable() {
    served(Settings::default(), None, None, async |served| {
        let nobody = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        send(&served, &hop(Transport::Tcp, nobody, None), 7);
        while served.streams.handler.unreachable.borrow().is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(*served.streams.handler.unreachable.borrow(), [7]);
        assert_eq!(served.streams.counters.connects_failed.count(), 1);
        assert_eq!(served.streams.connections.count(), 0);
    })
    .await;
}

#[tokio::test]
async fn tls_is_served_and_its_certificate_checked_against_the_name() {
    let (files, _) = certificate("stream", "localhost");
    let server = server(&files);
    let settings = settings(|limits| limits.handshake = Duration::from_secs(2));
    served(settings, Some(server), Some(&files), async |served| {
        // Both ends are ours: the request goes out by the one, and the other's echo is what the one cannot read.
        send(&served, &hop(Transport::Tls, served.address, Some("localhost")), 1);
        while served.streams.handler.answered.get() == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }

        send(&served, &hop(Transport::Tls, served.address, Some("other.example")), 2);
        while served.streams.handler.unreachable.borrow().is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(*served.streams.handler.unreachable.borrow(), [2]);
    })
    .await;
}

/// Passes on what `from` brings in small pieces, each by itself.
async fn pass_on_in_pieces(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, size: usize) {
    let mut piece = vec![0; size];
    while let Ok(length) = from.read(&mut piece).await {
        if length == 0 || to.write_all(&piece[..length]).await.is_err() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// A TLS peer of `served` whose bytes are sent in pieces of `size`.
async fn tls_peer(served: &Served, files: &CertificateFiles, size: usize) -> TlsStream<DuplexStream> {
    let (ours, theirs) = tokio::io::duplex(256 * 1024);
    let socket = Peer::connect(served.address).await.unwrap();
    socket.set_nodelay(true).unwrap();
    let (from_server, to_server) = socket.into_split();
    let (from_peer, to_peer) = tokio::io::split(theirs);
    tokio::task::spawn_local(pass_on_in_pieces(from_peer, to_server, size));
    tokio::task::spawn_local(pass_on_in_pieces(from_server, to_peer, 16 * 1024));
    let config = client(files);
    let name = tls::server_name(Some("localhost"), served.address).unwrap();
    TlsConnector::from(config).connect(name, ours).await.unwrap()
}

#[tokio::test]
async fn tls_records_are_read_whatever_the_segments() {
    let (files, _) = certificate("segments", "localhost");
    let server = server(&files);
    served(Settings::default(), Some(server), None, async |served| {
        for size in [40, 333, 70_000] {
            let mut peer = tls_peer(&served, &files, size).await;
            // A keep-alive, two messages in one record, one in two records, and many.
            peer.write_all(b"\r\n\r\n").await.unwrap();
            read(&mut peer, "\r\n").await;
            peer.write_all((options("one") + &options("two")).as_bytes())
                .await
                .unwrap();
            read(&mut peer, "[one][two]").await;
            let three = options("three");
            let (head, tail) = three.as_bytes().split_at(100);
            peer.write_all(head).await.unwrap();
            peer.flush().await.unwrap();
            tokio::time::sleep(Duration::from_millis(5)).await;
            peer.write_all(tail).await.unwrap();
            read(&mut peer, "[three]").await;
            let count = if size < 100 { 10 } else { 300 };
            let many: String = (0..count).map(|number| options(&number.to_string())).collect();
            peer.write_all(many.as_bytes()).await.unwrap();
            let replies: String = (0..count).map(|number| format!("[{number}]")).collect();
            read(&mut peer, &replies).await;
            peer.shutdown().await.unwrap();
            assert!(is_closed(&mut peer).await);
        }
        assert_eq!(served.streams.counters.handshakes_failed.count(), 0);
    })
    .await;
}

#[tokio::test]
async fn what_is_no_tls_ends_with_an_alert() {
    let (files, _) = certificate("no-tls", "localhost");
    let server = server(&files);
    let settings = settings(|limits| limits.handshake = Duration::from_millis(300));
    served(settings, Some(server), None, async |served| {
        let mut plain = Peer::connect(served.address).await.unwrap();
        plain.write_all(options("one").as_bytes()).await.unwrap();
        let mut alert = [0; 7];
        plain.read_exact(&mut alert).await.unwrap();
        assert_eq!(alert[..2], [21, 3], "an alert of TLS");
        assert!(is_closed(&mut plain).await);
        let mut silent = Peer::connect(served.address).await.unwrap();
        assert!(is_closed(&mut silent).await);
        let mut gone = Peer::connect(served.address).await.unwrap();
        gone.write_all(&[22, 3, 1]).await.unwrap();
        drop(gone);
        while served.streams.counters.handshakes_failed.count() < 3 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(served.streams.connections.count(), 0);
    })
    .await;
}

#[tokio::test]
async fn a_panic_costs_the_connections_of_its_turn_only() {
    served(Settings::default(), None, None, async |served| {
        let mut other = Peer::connect(served.address).await.unwrap();
        other.write_all(options("one").as_bytes()).await.unwrap();
        read(&mut other, "[one]").await;
        let mut peer = Peer::connect(served.address).await.unwrap();
        peer.write_all(options("panic").as_bytes()).await.unwrap();
        assert!(is_closed(&mut peer).await);
        other.write_all(options("two").as_bytes()).await.unwrap();
        read(&mut other, "[two]").await;
        assert_eq!(served.streams.connections.count(), 1);
        assert_eq!(served.streams.counters.connections.level(), 1);
    })
    .await;
}
