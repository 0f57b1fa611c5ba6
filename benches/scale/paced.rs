//! Refreshes at a steady rate, each timed from the moment at which it was due: a server that stalls is not asked less.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::phone::{Phone, status_of, tag_of};

/// How long the last answers may take.
const PATIENCE: Duration = Duration::from_secs(2);

const RECEIVE_BUFFER: usize = 4 << 20;

/// What came of it.
pub struct Paced {
    /// The times of all that was answered, in order.
    times: Vec<Duration>,
    /// What was not answered with 200.
    pub missing: usize,
}

/// Sends `count` refreshes, `rate` a second.
pub fn run(server: SocketAddr, mut phones: Vec<Phone>, rate: u32, count: u32) -> Paced {
    let socket = UdpSocket::bind(SocketAddr::new(server.ip(), 0)).unwrap();
    socket.connect(server).unwrap();
    // What comes while other programs have the processor is not to be lost.
    socket2::SockRef::from(&socket)
        .set_recv_buffer_size(RECEIVE_BUFFER)
        .unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let local = socket.local_addr().unwrap();
    let start = Instant::now();
    // Nanoseconds after the start.
    let due: Arc<[AtomicU64]> = (0..count).map(|_| AtomicU64::new(0)).collect();
    let is_over = Arc::new(AtomicBool::new(false));
    let receiving = {
        let (socket, due, is_over) = (socket.try_clone().unwrap(), Arc::clone(&due), Arc::clone(&is_over));
        thread::spawn(move || receive(&socket, &due, start, &is_over))
    };
    let mut request = Vec::new();
    for number in 0..count {
        let phone = (u64::from(number) * 2_654_435_761 % phones.len() as u64) as usize;
        phones[phone].register(local, &number.to_string(), &mut request);
        let at = start + Duration::from_secs(1) * number / rate;
        thread::sleep(at.saturating_duration_since(Instant::now()));
        due[number as usize].store((at - start).as_nanos() as u64, Ordering::Release);
        // What cannot be sent is missing in the end.
        let _ = socket.send(&request);
    }
    thread::sleep(PATIENCE);
    is_over.store(true, Ordering::Relaxed);
    let mut times = receiving.join().unwrap();
    times.sort_unstable();
    Paced {
        missing: count as usize - times.len(),
        times,
    }
}

fn receive(socket: &UdpSocket, due: &[AtomicU64], start: Instant, is_over: &AtomicBool) -> Vec<Duration> {
    let mut times = Vec::with_capacity(due.len());
    let mut buffer = [0; 4096];
    while !is_over.load(Ordering::Relaxed) {
        let Ok(length) = socket.recv(&mut buffer) else { continue };
        let (now, response) = (start.elapsed(), &buffer[..length]);
        let number = tag_of(response).and_then(|tag| tag.parse::<usize>().ok());
        if let (Some(200), Some(due)) = (status_of(response), number.and_then(|number| due.get(number))) {
            times.push(now.saturating_sub(Duration::from_nanos(due.load(Ordering::Acquire))));
        }
    }
    times
}

impl Paced {
    /// The time within which `percent` of all were answered.
    pub fn percentile(&self, percent: usize) -> Duration {
        let place = self.times.len() * percent / 100;
        self.times
            .get(place.min(self.times.len().saturating_sub(1)))
            .copied()
            .unwrap_or_default()
    }
}
