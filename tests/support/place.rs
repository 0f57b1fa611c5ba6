//! A folder and loopback addresses that no other test uses.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

static NEXT: AtomicU32 = AtomicU32::new(1);

/// A loopback address of this test's own: the process id and a counter are in it.
pub fn loopback() -> IpAddr {
    let unique = ((std::process::id() % (1 << 15)) << 7) | (NEXT.fetch_add(1, Ordering::Relaxed) % (1 << 7));
    // 127.64.0.0 and above: the low addresses are left to other programs; .0 and .255 at the end are avoided
    let [_, high, middle, low] = ((unique << 1) | 1).to_be_bytes();
    IpAddr::V4(Ipv4Addr::new(
        127,
        64 | high,
        middle,
        if low == u8::MAX { 2 } else { low },
    ))
}

/// A port that is free, as is its successor, for UDP and TCP: for addresses that are shared with other programs.
/// It lies below those that the kernel gives to whoever asks for any, so that nobody takes it in the meantime.
pub fn free_port(ip: IpAddr) -> u16 {
    (0..1000)
        .find_map(|_| {
            let unique = std::process::id()
                .wrapping_mul(7919)
                .wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed).wrapping_mul(4801));
            let port = 10_000 + (unique % 11_000) as u16 * 2;
            let is_free = |port: u16| {
                let address = SocketAddr::new(ip, port);
                UdpSocket::bind(address).is_ok() && TcpListener::bind(address).is_ok()
            };
            (is_free(port) && is_free(port + 1)).then_some(port)
        })
        .expect("a free port")
}

/// A temporary folder, removed at the end unless the test failed.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Folder {
        let name = format!(
            "ringbinder-test-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file that only its owner may read.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("left behind: {}", self.0.display());
            return;
        }
        // a folder that stays behind does no harm
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Asks `condition` again and again until it gives something; fails the test after `limit`.
pub fn wait_for<T>(what: &str, limit: Duration, mut condition: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(started.elapsed() < limit, "{what}: not within {limit:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A transport whose bound ports the kernel can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    Udp,
    TcpListener,
}

/// Whether some process has bound this address (or the wildcard, on this port).
pub fn is_bound(transport: Bound, ip: IpAddr, port: u16) -> bool {
    let (table, listening) = match (transport, ip) {
        (Bound::Udp, IpAddr::V4(_)) => ("udp", None),
        (Bound::Udp, IpAddr::V6(_)) => ("udp6", None),
        (Bound::TcpListener, IpAddr::V4(_)) => ("tcp", Some("0A")),
        (Bound::TcpListener, IpAddr::V6(_)) => ("tcp6", Some("0A")),
    };
    let address = match ip {
        IpAddr::V4(ip) => format!("{:08X}", u32::from_ne_bytes(ip.octets())),
        IpAddr::V6(ip) => ip
            .octets()
            .chunks_exact(4)
            .map(|word| format!("{:08X}", u32::from_ne_bytes(word.try_into().unwrap())))
            .collect(),
    };
    let wildcard = "0".repeat(address.len());
    let wanted = [format!("{address}:{port:04X}"), format!("{wildcard}:{port:04X}")];
    std::fs::read_to_string(format!("/proc/net/{table}"))
        .unwrap_or_default()
        .lines()
        .map(|line| line.split_ascii_whitespace().collect::<Vec<_>>())
        .any(|columns| {
            let bound = columns
                .get(1)
                .is_some_and(|local| wanted.iter().any(|wanted| wanted == local));
            bound && listening.is_none_or(|state| columns.get(3) == Some(&state))
        })
}
