//! recvmmsg(2) and sendmmsg(2) with packet info (RFC 3542 §6), behind safe types: batches of datagrams whose buffers
//! are made once and used again.
#![expect(
    unsafe_code,
    reason = "neither the standard library nor socket2 offers recvmmsg, sendmmsg and packet info"
)]

use std::io;
use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::ptr;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// The most datagrams of one system call.
pub const BATCH: usize = 64;

/// Room for one datagram of any size.
const SLOT: usize = 65_536;

/// The distance of two slots. The odd cache lines keep the starts of the slots, where nearly every message ends, out
/// of one another's cache sets.
const STRIDE: usize = SLOT + 11 * 64;

/// Room for one control message with an `in_pktinfo` or `in6_pktinfo`.
const CONTROL: usize = 64;

/// Lets `socket` tell with each datagram which address it was sent to (RFC 3542 §6.1, ip(7)).
pub fn tell_destinations(socket: BorrowedFd<'_>, is_ipv4: bool) -> io::Result<()> {
    let (level, option) = match is_ipv4 {
        true => (libc::IPPROTO_IP, libc::IP_PKTINFO),
        false => (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO),
    };
    let on: libc::c_int = 1;
    // SAFETY: the option is an integer, and `on` is one of the stated size.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            ptr::from_ref(&on).cast(),
            mem::size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// How many datagrams the kernel has dropped because the receive buffer of `socket` was full; it starts again at zero
/// after 2^32.
pub fn kernel_drops(socket: BorrowedFd<'_>) -> io::Result<u32> {
    // linux/sock_diag.h: the place in the array, and its size; older kernels fill less of it.
    const DROPS: usize = 8;
    const VARIABLES: usize = 9;
    let mut variables = [0u32; VARIABLES];
    let mut length = mem::size_of_val(&variables) as libc::socklen_t;
    // SAFETY: the option fills an array of integers as far as `length`, which is the size of `variables`, allows.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            variables.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    match result {
        0 => Ok(variables[DROPS]),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Registers `socket` with the runtime of the calling thread, for reading only: a socket that is written to is writable
/// anew after each datagram, and to be told so would wake the thread for nothing.
pub fn register(socket: impl Into<OwnedFd>) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` keeps its descriptor open, the same, until it is dropped by the `AsyncFd`.
    let registered = unsafe { AsyncFd::register_with_interest(socket.into(), Interest::READABLE) };
    registered.map_err(io::Error::from)
}

/// One received datagram.
#[derive(Clone, Copy, Debug)]
pub struct Received<'a> {
    /// What it carries, up to 64 KiB.
    pub payload: &'a [u8],
    /// Where it came from.
    pub remote: SocketAddr,
    /// The address it was sent to (port 0), where the socket tells.
    pub local: Option<SocketAddr>,
}

/// One datagram to send.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    /// What it carries.
    pub payload: &'a [u8],
    /// Where it goes.
    pub remote: SocketAddr,
    /// The address it leaves from (its port is not looked at); `None` leaves that to the socket.
    pub local: Option<SocketAddr>,
}

#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control([u8; CONTROL]);

/// Addresses of either family; the larger of the two has room for both.
type Name = libc::sockaddr_in6;

/// The buffers of a recvmmsg call. The vectors and headers point into the others, of which none grows or is replaced.
pub struct ReceiveBatch {
    payloads: Vec<u8>,
    names: Vec<Name>,
    controls: Vec<Control>,
    vectors: Vec<libc::iovec>,
    headers: Vec<libc::mmsghdr>,
    filled: usize,
}

/// Whether a call took all that was there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// It did.
    Yes,
    /// There may be more.
    Perhaps,
}

impl ReceiveBatch {
    /// Buffers for [`BATCH`] datagrams. What no datagram has touched yet costs address space only.
    pub fn new() -> ReceiveBatch {
        let mut batch = ReceiveBatch {
            payloads: vec![0; STRIDE * BATCH],
            names: vec![empty_name(); BATCH],
            controls: vec![Control([0; CONTROL]); BATCH],
            vectors: vec![empty_vector(); BATCH],
            headers: vec![empty_header(); BATCH],
            filled: 0,
        };
        let slots = batch.payloads.chunks_exact_mut(STRIDE);
        for (vector, slot) in batch.vectors.iter_mut().zip(slots) {
            vector.iov_base = slot.as_mut_ptr().cast();
            vector.iov_len = SLOT;
        }
        join(&mut batch.headers, &mut batch.names, &mut batch.vectors);
        for (header, control) in batch.headers.iter_mut().zip(&mut batch.controls) {
            header.msg_hdr.msg_control = ptr::from_mut(control).cast();
        }
        batch.offer(BATCH);
        batch
    }

    /// Says again how much room the first `count` names and control buffers have, where the kernel has written how much
    /// of it is used.
    fn offer(&mut self, count: usize) {
        for header in self.headers.iter_mut().take(count) {
            header.msg_hdr.msg_namelen = mem::size_of::<Name>() as libc::socklen_t;
            header.msg_hdr.msg_controllen = CONTROL as _;
            header.msg_hdr.msg_flags = 0;
        }
    }

    /// Receives what is there without waiting, at most [`BATCH`] datagrams, and says how many they are; they are read
    /// with [`ReceiveBatch::iter`].
    pub fn receive(&mut self, socket: BorrowedFd<'_>) -> io::Result<(usize, Drained)> {
        // One more, in case that the kernel began with it and gave it up.
        self.offer(self.filled + 1);
        self.filled = 0;
        // SAFETY: each header points to a name, a vector and a control buffer of `self` whose lengths it states, the
        // vectors to disjoint slots of `self.payloads`; the heap that they are in stays where it is when `self` is
        // moved, and nothing else has access to it during the call.
        let count = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                self.headers.as_mut_ptr(),
                BATCH as libc::c_uint,
                libc::MSG_DONTWAIT as _,
                ptr::null_mut(),
            )
        };
        self.filled = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
        let drained = if self.filled < BATCH {
            Drained::Yes
        } else {
            Drained::Perhaps
        };
        Ok((self.filled, drained))
    }

    /// The datagrams of the last call, in order of arrival. Ones whose sender is neither IPv4 nor IPv6 are left out.
    pub fn iter(&self) -> impl Iterator<Item = Received<'_>> {
        (0..self.filled.min(BATCH)).filter_map(|index| self.datagram(index))
    }

    fn datagram(&self, index: usize) -> Option<Received<'_>> {
        let header = &self.headers[index];
        let length = (header.msg_len as usize).min(SLOT);
        Some(Received {
            payload: &self.payloads[index * STRIDE..][..length],
            remote: read_name(&self.names[index])?,
            local: read_control(&header.msg_hdr),
        })
    }
}

impl Default for ReceiveBatch {
    fn default() -> ReceiveBatch {
        ReceiveBatch::new()
    }
}

/// The buffers of a sendmmsg call. The headers point into the others, of which none grows or is replaced.
pub struct SendBatch {
    names: Vec<Name>,
    controls: Vec<Control>,
    vectors: Vec<libc::iovec>,
    headers: Vec<libc::mmsghdr>,
}

impl SendBatch {
    /// Buffers for [`BATCH`] datagrams.
    pub fn new() -> SendBatch {
        let mut batch = SendBatch {
            names: vec![empty_name(); BATCH],
            controls: vec![Control([0; CONTROL]); BATCH],
            vectors: vec![empty_vector(); BATCH],
            headers: vec![empty_header(); BATCH],
        };
        join(&mut batch.headers, &mut batch.names, &mut batch.vectors);
        batch
    }

    /// Sends the first of `datagrams`, at most [`BATCH`], without waiting, and says how many went. An error speaks of
    /// the first datagram only.
    pub fn send<'a>(
        &mut self,
        socket: BorrowedFd<'_>,
        datagrams: impl Iterator<Item = Outgoing<'a>>,
    ) -> io::Result<usize> {
        let headers = self.headers.iter_mut().map(|header| &mut header.msg_hdr);
        let slots = headers
            .zip(&mut self.names)
            .zip(&mut self.vectors)
            .zip(&mut self.controls);
        let mut count = 0;
        for ((((header, name), vector), control), datagram) in slots.zip(datagrams) {
            // The kernel only reads from it.
            vector.iov_base = datagram.payload.as_ptr().cast_mut().cast();
            vector.iov_len = datagram.payload.len();
            header.msg_namelen = write_name(name, datagram.remote);
            write_control(header, control, datagram.local);
            count += 1;
        }
        if count == 0 {
            return Ok(0);
        }
        // SAFETY: the first `count` headers point to names, vectors and control buffers of `self` whose lengths they
        // state, in heap that stays where it is when `self` is moved, and the vectors to payloads that outlive the call
        // by `'a`.
        let sent = unsafe {
            libc::sendmmsg(
                socket.as_raw_fd(),
                self.headers.as_mut_ptr(),
                count as libc::c_uint,
                libc::MSG_DONTWAIT as _,
            )
        };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    }
}

impl Default for SendBatch {
    fn default() -> SendBatch {
        SendBatch::new()
    }
}

/// Lets each header point to its name and its vector.
fn join(headers: &mut [libc::mmsghdr], names: &mut [Name], vectors: &mut [libc::iovec]) {
    for ((header, name), vector) in headers.iter_mut().zip(names).zip(vectors) {
        header.msg_hdr.msg_name = ptr::from_mut(name).cast();
        header.msg_hdr.msg_iov = ptr::from_mut(vector);
        header.msg_hdr.msg_iovlen = 1;
    }
}

fn empty_name() -> Name {
    // SAFETY: a `sockaddr_in6` consists of integers, for which zero is a value.
    unsafe { mem::zeroed() }
}

fn empty_vector() -> libc::iovec {
    libc::iovec {
        iov_base: ptr::null_mut(),
        iov_len: 0,
    }
}

fn empty_header() -> libc::mmsghdr {
    // SAFETY: an `mmsghdr` consists of integers and raw pointers, for which zero is a value.
    unsafe { mem::zeroed() }
}

fn read_name(name: &Name) -> Option<SocketAddr> {
    match libc::c_int::from(name.sin6_family) {
        libc::AF_INET => {
            // SAFETY: a `sockaddr_in` is smaller than a `sockaddr_in6`, needs no stricter alignment, and consists of
            // integers.
            let name = unsafe { ptr::from_ref(name).cast::<libc::sockaddr_in>().read() };
            let address = Ipv4Addr::from(u32::from_be(name.sin_addr.s_addr));
            Some(SocketAddrV4::new(address, u16::from_be(name.sin_port)).into())
        }
        libc::AF_INET6 => Some(
            SocketAddrV6::new(
                Ipv6Addr::from(name.sin6_addr.s6_addr),
                u16::from_be(name.sin6_port),
                0,
                name.sin6_scope_id,
            )
            .into(),
        ),
        _ => None,
    }
}

fn write_name(name: &mut Name, address: SocketAddr) -> libc::socklen_t {
    match address {
        SocketAddr::V4(address) => {
            let v4 = libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: address.port().to_be(),
                sin_addr: libc::in_addr {
                    s_addr: u32::from(*address.ip()).to_be(),
                },
                sin_zero: [0; 8],
            };
            // SAFETY: a `sockaddr_in` is smaller than a `sockaddr_in6` and needs no stricter alignment.
            unsafe { ptr::from_mut(name).cast::<libc::sockaddr_in>().write(v4) };
            mem::size_of::<libc::sockaddr_in>() as libc::socklen_t
        }
        SocketAddr::V6(address) => {
            *name = libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as libc::sa_family_t,
                sin6_port: address.port().to_be(),
                sin6_flowinfo: 0,
                sin6_addr: libc::in6_addr {
                    s6_addr: address.ip().octets(),
                },
                sin6_scope_id: address.scope_id(),
            };
            mem::size_of::<Name>() as libc::socklen_t
        }
    }
}

/// The address in an `IP_PKTINFO` or `IPV6_PKTINFO` control message.
fn read_control(header: &libc::msghdr) -> Option<SocketAddr> {
    // SAFETY: the kernel wrote `msg_controllen` bytes of control messages to `msg_control`, which points into the
    // batch that `header` belongs to; the macros stay within that length and the data are read without alignment.
    unsafe {
        let mut message = libc::CMSG_FIRSTHDR(header);
        while let Some(control) = message.as_ref() {
            match (control.cmsg_level, control.cmsg_type) {
                (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                    let info = libc::CMSG_DATA(message).cast::<libc::in_pktinfo>().read_unaligned();
                    // `ipi_spec_dst` is the address itself or, for a broadcast, the one to answer from.
                    let address = Ipv4Addr::from(u32::from_be(info.ipi_spec_dst.s_addr));
                    return Some(SocketAddrV4::new(address, 0).into());
                }
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                    let info = libc::CMSG_DATA(message).cast::<libc::in6_pktinfo>().read_unaligned();
                    let address = Ipv6Addr::from(info.ipi6_addr.s6_addr);
                    let scope = match address.is_unicast_link_local() {
                        true => info.ipi6_ifindex as u32,
                        false => 0,
                    };
                    return Some(SocketAddrV6::new(address, 0, 0, scope).into());
                }
                _ => message = libc::CMSG_NXTHDR(header, message),
            }
        }
    }
    None
}

/// Makes the control message that lets a datagram leave from `local`.
fn write_control(header: &mut libc::msghdr, control: &mut Control, local: Option<SocketAddr>) {
    header.msg_control = ptr::null_mut();
    header.msg_controllen = 0;
    let Some(local) = local.filter(|local| !local.ip().is_unspecified()) else {
        return;
    };
    match local.ip() {
        IpAddr::V4(address) => {
            let info = libc::in_pktinfo {
                ipi_ifindex: 0,
                ipi_spec_dst: libc::in_addr {
                    s_addr: u32::from(address).to_be(),
                },
                ipi_addr: libc::in_addr { s_addr: 0 },
            };
            put_control(header, control, libc::IPPROTO_IP, libc::IP_PKTINFO, info);
        }
        IpAddr::V6(address) => {
            let scope = match local {
                SocketAddr::V6(local) => local.scope_id(),
                SocketAddr::V4(_) => 0,
            };
            let info = libc::in6_pktinfo {
                ipi6_addr: libc::in6_addr {
                    s6_addr: address.octets(),
                },
                ipi6_ifindex: scope as _,
            };
            put_control(header, control, libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, info);
        }
    }
}

fn put_control<T: Copy>(
    header: &mut libc::msghdr,
    control: &mut Control,
    level: libc::c_int,
    kind: libc::c_int,
    info: T,
) {
    const { assert!(mem::size_of::<libc::cmsghdr>() + mem::size_of::<T>() + 16 <= CONTROL) }
    header.msg_control = ptr::from_mut(control).cast();
    // SAFETY: `control` is aligned for a `cmsghdr` and, as asserted above, has room for one, its padding and `info`;
    // `CMSG_SPACE` and `CMSG_LEN` only compute.
    unsafe {
        header.msg_controllen = libc::CMSG_SPACE(mem::size_of::<T>() as libc::c_uint) as _;
        let message = ptr::from_mut(control).cast::<libc::cmsghdr>();
        (*message).cmsg_level = level;
        (*message).cmsg_type = kind;
        (*message).cmsg_len = libc::CMSG_LEN(mem::size_of::<T>() as libc::c_uint) as _;
        libc::CMSG_DATA(message).cast::<T>().write_unaligned(info);
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn a_batch_is_sent_and_received() {
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        let payloads: Vec<Vec<u8>> = (0..70).map(|number: usize| vec![number as u8; number * 37]).collect();
        let remote = receiver.local_addr().unwrap();
        let mut outgoing = payloads.iter().map(|payload| Outgoing {
            payload,
            remote,
            local: None,
        });
        let mut send = SendBatch::new();

        assert_eq!(send.send(sender.as_fd(), outgoing.by_ref()).unwrap(), BATCH);
        let mut receive = ReceiveBatch::new();
        assert_eq!(receive.receive(receiver.as_fd()).unwrap(), (BATCH, Drained::Perhaps));
        for (datagram, payload) in receive.iter().zip(&payloads) {
            assert_eq!(datagram.payload, payload);
            assert_eq!(datagram.remote, sender.local_addr().unwrap());
            assert_eq!(datagram.local, None);
        }
        assert_eq!(send.send(sender.as_fd(), outgoing.by_ref()).unwrap(), 6);
        assert_eq!(send.send(sender.as_fd(), outgoing).unwrap(), 0);
        assert_eq!(receive.receive(receiver.as_fd()).unwrap(), (6, Drained::Yes));
        assert_eq!(receive.iter().count(), 6);
        let error = receive.receive(receiver.as_fd()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        assert_eq!(receive.iter().count(), 0);
    }

    #[test]
    fn what_finds_no_room_is_counted_by_the_kernel() {
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket2::SockRef::from(&receiver).set_recv_buffer_size(4096).unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        assert_eq!(kernel_drops(receiver.as_fd()).unwrap(), 0);
        for _ in 0..100 {
            sender.send_to(&[7; 1000], receiver.local_addr().unwrap()).unwrap();
        }
        let mut received = 0;
        let mut receive = ReceiveBatch::new();
        while let Ok((count, _)) = receive.receive(receiver.as_fd()) {
            received += count;
        }
        assert_eq!(kernel_drops(receiver.as_fd()).unwrap() as usize, 100 - received);
    }

    #[test]
    fn the_largest_datagram_is_received_whole() {
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        let payload = vec![7; 65_507];
        sender.send_to(&payload, receiver.local_addr().unwrap()).unwrap();
        let mut receive = ReceiveBatch::new();
        assert_eq!(receive.receive(receiver.as_fd()).unwrap(), (1, Drained::Yes));
        assert_eq!(receive.iter().next().unwrap().payload, payload);
    }

    #[test]
    fn an_error_speaks_of_the_first_datagram() {
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        let payload = vec![7; 65_508];
        let outgoing = Outgoing {
            payload: &payload,
            remote: sender.local_addr().unwrap(),
            local: None,
        };
        let error = SendBatch::new()
            .send(sender.as_fd(), [outgoing].into_iter())
            .unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EMSGSIZE));
    }
}
