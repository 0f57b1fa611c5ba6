//! UDP: each worker has a socket of its own for each listener, received from and sent to in batches (RFC 3261 §18).

use std::cell::RefCell;
use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use socket2::Type;
use tokio::io::unix::AsyncFd;
use tracing::{debug, warn};

use super::counters::Counters;
use super::mmsg::{self, BATCH, Drained, Outgoing, ReceiveBatch, Received, SendBatch};
use super::open::{self, OpenError};
use super::{Arrival, Handler, stun};
use crate::sip::hop::{Flow, Transport};
use crate::sip::message::Message;
use crate::sip::message::limits::Limits;

/// What a socket's receive buffer should hold, so that a pause of the process loses nothing.
const RECEIVE_BUFFER: usize = 4 << 20;

/// What a socket's send buffer should hold.
const SEND_BUFFER: usize = 1 << 20;

/// The most batches received before other tasks have their turn.
const BATCHES_PER_TURN: usize = 4;

/// The buffer that messages are copied to out of the slots; it is used again when none of them is held any more.
const ARENA: usize = 128 * 1024;

/// The pause after an error that is none of the expected ones.
const ERROR_PAUSE: Duration = Duration::from_millis(10);

/// The sockets of one listener, not yet served.
#[derive(Debug)]
pub struct Group {
    /// The bound address.
    pub local: SocketAddr,
    /// A socket for each worker; they share the address (SO_REUSEPORT).
    pub sockets: Vec<UdpSocket>,
}

/// Opens `bind` for `workers` workers.
pub fn open(bind: SocketAddr, workers: usize) -> Result<Group, OpenError> {
    open_group(bind, workers).map_err(|error| OpenError::new(Transport::Udp, bind, error))
}

fn open_group(bind: SocketAddr, workers: usize) -> io::Result<Group> {
    // Bound once without SO_REUSEPORT, so that a port in use is an error instead of a share of its traffic.
    let probe = open::socket(bind, Type::DGRAM)?;
    probe.bind(&bind.into())?;
    let local = UdpSocket::from(probe).local_addr()?;
    let sockets: Vec<UdpSocket> = (0..workers.max(1))
        .map(|_| open_socket(local, workers > 1))
        .collect::<io::Result<_>>()?;
    if let Some(socket) = sockets.first() {
        // Linux tells twice of what it grants, because it counts its own bookkeeping (socket(7)).
        let granted = socket2::SockRef::from(socket).recv_buffer_size()? / 2;
        if granted < RECEIVE_BUFFER {
            warn!(
                listener = %local, granted, wanted = RECEIVE_BUFFER,
                "small receive buffer: bursts may be lost; raise net.core.rmem_max"
            );
        }
    }
    Ok(Group { local, sockets })
}

fn open_socket(local: SocketAddr, is_shared: bool) -> io::Result<UdpSocket> {
    let socket = open::socket(local, Type::DGRAM)?;
    socket.set_reuse_port(is_shared)?;
    socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
    socket.set_send_buffer_size(SEND_BUFFER)?;
    if local.ip().is_unspecified() {
        mmsg::tell_destinations(socket.as_fd(), local.is_ipv4())?;
    }
    socket.bind(&local.into())?;
    Ok(socket.into())
}

/// What the kernel counts of a socket that some thread serves.
#[derive(Debug)]
pub struct Watch {
    socket: UdpSocket,
    local: SocketAddr,
}

impl Watch {
    /// Of `socket`.
    pub fn new(socket: &UdpSocket) -> io::Result<Watch> {
        Ok(Watch {
            local: socket.local_addr()?,
            socket: socket.try_clone()?,
        })
    }

    /// The bound address.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// Datagrams that found the receive buffer full.
    pub fn kernel_drops(&self) -> u32 {
        mmsg::kernel_drops(self.socket.as_fd()).unwrap_or(0)
    }
}

/// A datagram on its way out.
#[derive(Debug)]
pub struct Datagram<O> {
    /// What it carries.
    pub payload: Bytes,
    /// The address it leaves from.
    pub local: SocketAddr,
    /// Where it goes.
    pub remote: SocketAddr,
    /// Who is told when it cannot be sent.
    pub origin: Option<O>,
}

/// What receiving needs; the listeners of one worker share it.
pub struct Buffers {
    batch: ReceiveBatch,
    arena: BytesMut,
}

impl Buffers {
    /// Empty ones.
    pub fn new() -> Buffers {
        Buffers {
            batch: ReceiveBatch::new(),
            arena: BytesMut::new(),
        }
    }
}

impl Default for Buffers {
    fn default() -> Buffers {
        Buffers::new()
    }
}

/// One worker's socket of one listener.
pub struct UdpListener {
    socket: AsyncFd<OwnedFd>,
    local: SocketAddr,
    batch: RefCell<SendBatch>,
    counters: Arc<Counters>,
}

impl UdpListener {
    /// Serves `socket` on the runtime of the calling thread.
    pub fn new(socket: UdpSocket, counters: Arc<Counters>) -> io::Result<UdpListener> {
        let local = socket.local_addr()?;
        Ok(UdpListener {
            socket: mmsg::register(socket)?,
            local,
            batch: RefCell::new(SendBatch::new()),
            counters,
        })
    }

    /// The bound address, perhaps a wildcard.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// Receives for ever and hands up what came.
    pub async fn receive<H: Handler>(
        &self,
        buffers: &RefCell<Buffers>,
        handler: &H,
        limits: &Limits,
    ) -> io::Result<Infallible> {
        let mut arrivals = Vec::with_capacity(BATCH);
        'waiting: loop {
            let mut ready = self.socket.readable().await?;
            let mut pause = None;
            for _ in 0..BATCHES_PER_TURN {
                let received = self.receive_batch(&mut buffers.borrow_mut(), &mut arrivals, limits);
                match received {
                    Ok(drained) => {
                        handler.handle_arrivals(&mut arrivals, Instant::now());
                        if drained == Drained::Yes {
                            ready.clear_ready();
                            continue 'waiting;
                        }
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        ready.clear_ready();
                        continue 'waiting;
                    }
                    Err(error) => {
                        self.counters.receive_errors.add(1);
                        debug!(listener = %self.local, %error, "cannot receive");
                        pause = Some(ERROR_PAUSE);
                        break;
                    }
                }
            }
            drop(ready);
            // There is more, but other tasks have their turn first.
            match pause {
                Some(pause) => tokio::time::sleep(pause).await,
                None => tokio::task::yield_now().await,
            }
        }
    }

    fn receive_batch(
        &self,
        buffers: &mut Buffers,
        arrivals: &mut Vec<Arrival>,
        limits: &Limits,
    ) -> io::Result<Drained> {
        let Buffers { batch, arena } = buffers;
        let (count, drained) = batch.receive(self.socket.get_ref().as_fd())?;
        self.counters.datagrams_received.add(count as u64);
        self.counters.receive_batches.add(1);
        for datagram in batch.iter() {
            match datagram.payload.first() {
                // Four zeros keep a NAT open, too.
                Some(0) if datagram.payload == [0; 4] => {
                    self.counters.keep_alives.add(1);
                    continue;
                }
                Some(first) if stun::is_stun(*first) => {
                    self.receive_stun(&datagram);
                    continue;
                }
                None | Some(b'\r' | b'\n') if datagram.payload.iter().all(|byte| matches!(byte, b'\r' | b'\n')) => {
                    self.receive_keep_alive(&datagram);
                    continue;
                }
                None | Some(_) => {}
            }
            if arena.capacity() < datagram.payload.len() {
                arena.reserve(ARENA);
            }
            arena.extend_from_slice(datagram.payload);
            arrivals.push(Arrival {
                content: Message::parse(arena.split().freeze(), limits),
                flow: self.flow(&datagram),
            });
        }
        Ok(drained)
    }

    /// RFC 5626 §3.5.1 has CRLFCRLF on streams only; phones send it over UDP all the same.
    fn receive_keep_alive(&self, datagram: &Received<'_>) {
        self.counters.keep_alives.add(1);
        if datagram.payload != b"\r\n\r\n" {
            return;
        }
        self.reply(datagram, b"\r\n");
    }

    /// RFC 5626 §4.4.2: phones that keep a flow over UDP ask by STUN whether it lives.
    fn receive_stun(&self, datagram: &Received<'_>) {
        match stun::answer(datagram.payload, datagram.remote) {
            Ok(answer) => {
                self.counters.stun_requests.add(1);
                if let Some(answer) = answer {
                    self.reply(datagram, &answer);
                }
            }
            Err(error) => {
                self.counters.stun_malformed.add(1);
                debug!(remote = %datagram.remote, %error, "STUN");
            }
        }
    }

    /// Answers at once. The next request comes soon enough when this answer is lost.
    fn reply(&self, datagram: &Received<'_>, payload: &[u8]) {
        let reply = Outgoing {
            payload,
            remote: datagram.remote,
            local: self.leaves_from(self.flow(datagram).local),
        };
        let _ = self
            .batch
            .borrow_mut()
            .send(self.socket.get_ref().as_fd(), std::iter::once(reply));
    }

    fn flow(&self, datagram: &Received<'_>) -> Flow {
        let mut local = self.local;
        if let Some(destination) = datagram.local {
            local = destination;
            local.set_port(self.local.port());
        }
        Flow {
            transport: Transport::Udp,
            local,
            remote: datagram.remote,
            connection: None,
        }
    }

    /// Only a wildcard socket has to be told the address that a datagram leaves from.
    fn leaves_from(&self, local: SocketAddr) -> Option<SocketAddr> {
        self.local.ip().is_unspecified().then_some(local)
    }

    /// Sends all of `datagrams`; the origins of those that cannot be sent are added to `unreachable`.
    pub fn send<O: Copy>(&self, datagrams: &mut Vec<Datagram<O>>, unreachable: &mut Vec<O>) {
        let mut batch = self.batch.borrow_mut();
        let mut is_retry = false;
        let mut next = 0;
        while next < datagrams.len() {
            let outgoing = datagrams[next..].iter().map(|datagram| Outgoing {
                payload: &datagram.payload,
                remote: datagram.remote,
                local: self.leaves_from(datagram.local),
            });
            match batch.send(self.socket.get_ref().as_fd(), outgoing) {
                Ok(count) => {
                    self.counters.datagrams_sent.add(count as u64);
                    self.counters.send_batches.add(1);
                    next += count;
                    is_retry = false;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_congestion(&error) && !is_retry => is_retry = true,
                // What waits here would arrive late; its sender retransmits it.
                Err(error) if is_congestion(&error) => {
                    self.counters.datagrams_dropped.add((datagrams.len() - next) as u64);
                    break;
                }
                Err(error) => {
                    let datagram = &datagrams[next];
                    self.counters.datagrams_failed.add(1);
                    debug!(remote = %datagram.remote, local = %datagram.local, %error, "cannot send");
                    unreachable.extend(datagram.origin);
                    next += 1;
                }
            }
        }
        datagrams.clear();
    }
}

fn is_congestion(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock || error.raw_os_error() == Some(libc::ENOBUFS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::hop::ConnectionId;
    use crate::sip::message::ParseError;

    #[derive(Default)]
    struct Recorder(RefCell<Vec<Arrival>>);

    impl Handler for Recorder {
        type Origin = u32;

        fn handle_arrivals(&self, arrivals: &mut Vec<Arrival>, _now: Instant) {
            self.0.borrow_mut().append(arrivals);
        }

        fn handle_unreachable(&self, _origins: &mut Vec<u32>, _now: Instant) {}

        fn handle_closed(&self, _connection: ConnectionId, _now: Instant) {}
    }

    const OPTIONS: &[u8] = b"OPTIONS sip:example.com SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1;branch=z9hG4bK1\r\n\
        From: <sip:a@example.com>;tag=1\r\nTo: <sip:example.com>\r\nCall-ID: 1\r\nCSeq: 1 OPTIONS\r\n\
        Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n";

    /// Sends `datagrams` to `to` at the listener's port and hands back what arrived once `expected` did.
    async fn exchange(
        listener: &UdpListener,
        to: &str,
        datagrams: &[&[u8]],
        limits: Limits,
        expected: usize,
    ) -> (std::net::UdpSocket, Vec<Arrival>) {
        let to: std::net::IpAddr = to.parse().unwrap();
        let peer = std::net::UdpSocket::bind(SocketAddr::new(to, 0)).unwrap();
        for datagram in datagrams {
            peer.send_to(datagram, (to, listener.local().port())).unwrap();
        }
        let recorder = Recorder::default();
        let buffers = RefCell::new(Buffers::new());
        let enough = async {
            while recorder.0.borrow().len() < expected {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::select! {
            result = listener.receive(&buffers, &recorder, &limits) => { result.unwrap(); }
            () = enough => {}
            () = tokio::time::sleep(Duration::from_secs(5)) => {}
        }
        peer.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        (peer, recorder.0.take())
    }

    fn listener(bind: &str) -> UdpListener {
        let mut group = open(bind.parse().unwrap(), 1).unwrap();
        UdpListener::new(group.sockets.remove(0), Arc::default()).unwrap()
    }

    #[tokio::test]
    async fn a_wildcard_listener_answers_from_the_address_addressed() {
        let listener = listener("0.0.0.0:0");
        let (peer, arrivals) = exchange(&listener, "127.0.0.2", &[OPTIONS], Limits::default(), 1).await;

        let flow = arrivals[0].flow;
        assert_eq!(flow.local, SocketAddr::from(([127, 0, 0, 2], listener.local().port())));
        assert_eq!(flow.remote, peer.local_addr().unwrap());
        assert_eq!(arrivals[0].content.as_ref().unwrap().call_id(), b"1");
        let reply = Datagram {
            payload: Bytes::from_static(b"reply"),
            local: flow.local,
            remote: flow.remote,
            origin: Some(1),
        };
        listener.send(&mut vec![reply], &mut Vec::new());
        let mut buffer = [0; 100];
        let (length, from) = peer.recv_from(&mut buffer).unwrap();
        assert_eq!((&buffer[..length], from), (&b"reply"[..], flow.local));
    }

    #[tokio::test]
    async fn a_wildcard_listener_of_ipv6_answers_from_the_address_addressed() {
        if std::net::UdpSocket::bind("[::1]:0").is_err() {
            return;
        }
        let listener = listener("[::]:0");
        let (peer, arrivals) = exchange(&listener, "::1", &[OPTIONS, b"\r\n\r\n"], Limits::default(), 1).await;
        let flow = arrivals[0].flow;
        assert_eq!(flow.local.to_string(), format!("[::1]:{}", listener.local().port()));
        let mut buffer = [0; 100];
        assert_eq!(peer.recv_from(&mut buffer).unwrap(), (2, flow.local));
    }

    #[tokio::test]
    async fn a_keep_alive_is_answered_and_nothing_else_is_made_of_it() {
        let listener = listener("127.0.0.1:0");
        let datagrams: &[&[u8]] = &[b"", b"\r\n", b"\r\n\r\n", OPTIONS];
        let (peer, arrivals) = exchange(&listener, "127.0.0.1", datagrams, Limits::default(), 1).await;
        assert_eq!(arrivals.len(), 1);
        let mut buffer = [0; 100];
        assert_eq!(peer.recv_from(&mut buffer).unwrap(), (2, listener.local()));
        assert_eq!(listener.counters.keep_alives.count(), 3);
    }

    #[tokio::test]
    async fn an_oversized_datagram_can_be_answered() {
        let listener = listener("127.0.0.1:0");
        let limits = Limits {
            message_size: 300,
            ..Limits::default()
        };
        let large = [OPTIONS, &[b'x'; 500]].concat();
        let (_peer, arrivals) = exchange(&listener, "127.0.0.1", &[&large], limits, 1).await;
        let malformed = arrivals[0].content.as_ref().unwrap_err();
        assert_eq!(malformed.error, ParseError::TooLarge);
        assert_eq!(malformed.request.as_ref().unwrap().call_id(), b"1");
    }

    #[tokio::test]
    async fn what_cannot_be_sent_is_told_and_the_rest_goes() {
        let listener = listener("127.0.0.1:0");
        let peer = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        peer.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let datagram = |length: usize, origin: u32| Datagram {
            payload: vec![b'x'; length].into(),
            local: listener.local(),
            remote: peer.local_addr().unwrap(),
            origin: Some(origin),
        };
        let mut datagrams = vec![datagram(10, 1), datagram(65_535, 2), datagram(20, 3)];
        let mut unreachable = Vec::new();
        listener.send(&mut datagrams, &mut unreachable);
        assert_eq!(unreachable, [2]);
        assert!(datagrams.is_empty());
        let mut buffer = [0; 100];
        assert_eq!(peer.recv(&mut buffer).unwrap(), 10);
        assert_eq!(peer.recv(&mut buffer).unwrap(), 20);
    }

    #[test]
    fn a_port_in_use_is_an_error_and_workers_share_one() {
        let first = open("127.0.0.1:0".parse().unwrap(), 3).unwrap();
        assert_eq!(first.sockets.len(), 3);
        for socket in &first.sockets {
            assert_eq!(socket.local_addr().unwrap(), first.local);
        }
        let error = open(first.local, 3).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "udp {}: address already in use: another server is listening there; stop it or change bind",
                first.local
            )
        );
    }
}
