//! Phones that share a socket, some of which register at a time: as soon as one is answered, the next one asks.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use ringbinder::transport::mmsg::{Outgoing, ReceiveBatch, SendBatch};

use crate::phone::{Phone, challenge_of, status_of, tag_of};

/// What stays unanswered so long is sent again (RFC 3261 §17.1.2.1, T1).
const T1: Duration = Duration::from_millis(500);

/// How often it is, before it has failed.
const ATTEMPTS_MAX: u32 = 10;

/// The phones of one socket.
pub struct Crowd {
    socket: UdpSocket,
    server: SocketAddr,
    phones: Vec<Phone>,
    window: Vec<Request>,
}

/// What a crowd is to do.
#[derive(Clone, Copy)]
pub enum Task {
    /// Each phone registers, with a challenge.
    Register,
    /// So many refreshes, by phones in no order, with the nonce that each has.
    Refresh(usize),
}

/// What came of it.
#[derive(Default)]
pub struct Done {
    /// Registrations that were accepted.
    pub operations: usize,
    /// Requests sent again.
    pub sent_again: usize,
    /// Registrations that were refused or never answered.
    pub failed: usize,
}

/// A request under way.
#[derive(Default)]
struct Request {
    /// The phone that sent it; `None`: the place is free.
    phone: Option<usize>,
    /// Of all requests of this place.
    number: u32,
    attempts: u32,
    sent: Option<Instant>,
    bytes: Vec<u8>,
}

impl Crowd {
    /// Phones for the `contacts` contacts of each of `aors`, of which `window` register at a time.
    pub fn new(server: SocketAddr, aors: impl Iterator<Item = usize>, contacts: usize, window: usize) -> Crowd {
        let socket = UdpSocket::bind(SocketAddr::new(server.ip(), 0)).unwrap();
        socket.set_read_timeout(Some(T1)).unwrap();
        Crowd {
            socket,
            server,
            phones: aors
                .flat_map(|aor| (0..contacts).map(move |contact| Phone::new(aor, contact)))
                .collect(),
            window: (0..window).map(|_| Request::default()).collect(),
        }
    }

    /// Its phones, which need it no longer.
    pub fn into_phones(self) -> Vec<Phone> {
        self.phones
    }

    /// Does `task`.
    pub fn run(&mut self, task: Task) -> Done {
        let total = match task {
            Task::Register => self.phones.len(),
            Task::Refresh(_) if self.phones.is_empty() => 0,
            Task::Refresh(count) => count,
        };
        let phone = |number: usize, phones: usize| match task {
            Task::Register => number,
            // A large prime visits all phones, and neighbours in time are none in memory.
            Task::Refresh(_) => (number as u64 * 2_654_435_761 % phones as u64) as usize,
        };
        let (mut received, mut sending) = (ReceiveBatch::new(), SendBatch::new());
        let (mut done, mut next) = (Done::default(), 0);
        while done.operations + done.failed < total {
            let mut waiting = Vec::new();
            for place in 0..self.window.len() {
                if self.window[place].phone.is_none() && next < total {
                    self.begin(place, phone(next, self.phones.len()));
                    next += 1;
                    waiting.push(place);
                }
            }
            waiting.extend(self.answer(&mut received, &mut done));
            waiting.extend(self.overdue(&mut done));
            self.send(&mut sending, &waiting);
        }
        done
    }

    fn begin(&mut self, place: usize, phone: usize) {
        let request = &mut self.window[place];
        request.phone = Some(phone);
        request.number += 1;
        request.attempts = 0;
        let tag = format!("{place}-{}", request.number);
        let local = self.socket.local_addr().unwrap();
        self.phones[phone].register(local, &tag, &mut request.bytes);
    }

    /// Takes the responses that are there. Returns the places whose requests are to be sent with credentials.
    fn answer(&mut self, received: &mut ReceiveBatch, done: &mut Done) -> Vec<usize> {
        let mut challenged = Vec::new();
        if received.receive(self.socket.as_fd()).is_err() {
            return challenged;
        }
        for response in received.iter().map(|datagram| datagram.payload) {
            let Some((place, phone)) = self.asked(response) else {
                continue;
            };
            match (status_of(response), challenge_of(response)) {
                (Some(200), _) => {
                    done.operations += 1;
                    self.window[place].phone = None;
                }
                (Some(401), Some(challenge)) => {
                    self.phones[phone].take_challenge(challenge);
                    self.begin(place, phone);
                    challenged.push(place);
                }
                (_, _) => {
                    done.failed += 1;
                    self.window[place].phone = None;
                }
            }
        }
        challenged
    }

    /// The place of the request that is answered, and its phone.
    fn asked(&self, response: &[u8]) -> Option<(usize, usize)> {
        let (place, number) = tag_of(response)?.split_once('-')?;
        let (place, number): (usize, u32) = (place.parse().ok()?, number.parse().ok()?);
        let request = self.window.get(place).filter(|request| request.number == number)?;
        Some((place, request.phone?))
    }

    /// The places whose requests are to be sent again.
    fn overdue(&mut self, done: &mut Done) -> Vec<usize> {
        let now = Instant::now();
        let mut overdue = Vec::new();
        for (place, request) in self.window.iter_mut().enumerate() {
            let is_late = request.sent.is_some_and(|sent| now - sent >= T1);
            if request.phone.is_none() || request.attempts == 0 || !is_late {
                continue;
            }
            if request.attempts < ATTEMPTS_MAX {
                done.sent_again += 1;
                overdue.push(place);
            } else {
                done.failed += 1;
                request.phone = None;
            }
        }
        overdue
    }

    /// Sends the requests of these places; with nothing to send it waits for a response.
    fn send(&mut self, sending: &mut SendBatch, places: &[usize]) {
        if places.is_empty() && self.window.iter().any(|request| request.phone.is_some()) {
            // What is there is received later; an error means that time is over.
            let _ = self.socket.peek(&mut [0]);
        }
        let now = Instant::now();
        for place in places {
            self.window[*place].sent = Some(now);
            self.window[*place].attempts += 1;
        }
        let mut rest = places;
        while !rest.is_empty() {
            let outgoing = rest.iter().map(|place| Outgoing {
                payload: &self.window[*place].bytes,
                remote: self.server,
                local: None,
            });
            match sending.send(self.socket.as_fd(), outgoing) {
                Ok(count) => rest = &rest[count..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // They are sent again when they are late.
                Err(_) => return,
            }
        }
    }
}

impl Done {
    /// Both together.
    pub fn and(self, other: Done) -> Done {
        Done {
            operations: self.operations + other.operations,
            sent_again: self.sent_again + other.sent_again,
            failed: self.failed + other.failed,
        }
    }
}
