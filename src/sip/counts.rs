//! What one shard has counted since the start: requests, responses, refusals. Plain numbers, kept and read under the
//! shard's lock, so that counting is an addition and nothing more.

use crate::sip::message::method::Method;
use crate::sip::reason::Reason;

/// Numbers that only rise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counts {
    requests: [u64; METHODS.len()],
    responses_received: [u64; CLASSES],
    answers: Statuses,
    relayed: Statuses,
    refusals: [u64; Reason::ALL.len()],
    /// Requests that came again and were absorbed by their transaction (RFC 3261 §17.2).
    pub retransmissions: u64,
    /// What came and was no message that could be used (RFC 3261 §16.3 step 1).
    pub malformed: u64,
    /// Requests with a wrong password or a nonce count that did not rise.
    pub authentication_failures: u64,
    /// Requests that a hop did not answer in time, could not be sent to, or answered 503 to (RFC 3263 §4.3).
    pub hop_failures: u64,
    /// Questions to phones behind NAT that were answered.
    pub keep_alives_answered: u64,
    /// Transactions, of servers or clients, for which there was no room.
    pub transactions_refused: u64,
}

/// By status code, 100 to 699.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Statuses(Box<[u64; STATUSES]>);

impl Counts {
    /// Counts a request that came.
    pub fn receive_request(&mut self, method: Method) {
        self.requests[method as usize] += 1;
    }

    /// Counts a response that came.
    pub fn receive_response(&mut self, status: u16) {
        if let Some(count) = self
            .responses_received
            .get_mut(usize::from(status / 100).wrapping_sub(1))
        {
            *count += 1;
        }
    }

    /// Counts an answer of our own.
    pub fn answer(&mut self, status: u16) {
        self.answers.count(status);
    }

    /// Counts a response that was passed on.
    pub fn relay(&mut self, status: u16) {
        self.relayed.count(status);
    }

    /// Counts a refusal.
    pub fn refuse(&mut self, reason: Reason) {
        self.refusals[reason as usize] += 1;
    }

    /// Adds what another shard has counted.
    pub fn add(&mut self, other: &Counts) {
        add(&mut self.requests, &other.requests);
        add(&mut self.responses_received, &other.responses_received);
        add(&mut *self.answers.0, &*other.answers.0);
        add(&mut *self.relayed.0, &*other.relayed.0);
        add(&mut self.refusals, &other.refusals);
        self.retransmissions += other.retransmissions;
        self.malformed += other.malformed;
        self.authentication_failures += other.authentication_failures;
        self.hop_failures += other.hop_failures;
        self.keep_alives_answered += other.keep_alives_answered;
        self.transactions_refused += other.transactions_refused;
    }

    /// Requests that came, those that came again included, by the name of their method; `other` are all that have no
    /// name here.
    pub fn requests(&self) -> impl Iterator<Item = (&'static str, u64)> {
        METHODS
            .iter()
            .zip(self.requests)
            .map(|((_, name), count)| (*name, count))
    }

    /// Responses that came, by class from 1xx to 6xx.
    pub fn responses_received(&self) -> impl Iterator<Item = (u16, u64)> {
        (1..).zip(self.responses_received)
    }

    /// Our own answers by status code, without those that never were; each counts once, however often it was sent.
    pub fn answers(&self) -> impl Iterator<Item = (u16, u64)> {
        self.answers.iter()
    }

    /// The responses passed on by status code, without those that never were.
    pub fn relayed(&self) -> impl Iterator<Item = (u16, u64)> {
        self.relayed.iter()
    }

    /// The refusals by reason.
    pub fn refusals(&self) -> impl Iterator<Item = (Reason, u64)> {
        Reason::ALL.iter().copied().zip(self.refusals)
    }
}

impl Default for Counts {
    fn default() -> Counts {
        Counts {
            requests: [0; METHODS.len()],
            responses_received: [0; CLASSES],
            answers: Statuses::default(),
            relayed: Statuses::default(),
            refusals: [0; Reason::ALL.len()],
            retransmissions: 0,
            malformed: 0,
            authentication_failures: 0,
            hop_failures: 0,
            keep_alives_answered: 0,
            transactions_refused: 0,
        }
    }
}

impl Default for Statuses {
    fn default() -> Statuses {
        Statuses(Box::new([0; STATUSES]))
    }
}

impl Statuses {
    fn count(&mut self, status: u16) {
        if let Some(count) = self.0.get_mut(usize::from(status).wrapping_sub(LOWEST_STATUS)) {
            *count += 1;
        }
    }

    fn iter(&self) -> impl Iterator<Item = (u16, u64)> {
        let counts = (LOWEST_STATUS as u16..).zip(self.0.iter().copied());
        counts.filter(|(_, count)| *count > 0)
    }
}

fn add(sums: &mut [u64], others: &[u64]) {
    for (sum, other) in sums.iter_mut().zip(others) {
        *sum += other;
    }
}

/// The classes of status codes, 1xx to 6xx.
const CLASSES: usize = 6;
const LOWEST_STATUS: usize = 100;
const STATUSES: usize = CLASSES * 100;

/// The methods in the order of their declaration.
const METHODS: [(Method, &str); 15] = [
    (Method::Invite, "INVITE"),
    (Method::Ack, "ACK"),
    (Method::Cancel, "CANCEL"),
    (Method::Bye, "BYE"),
    (Method::Register, "REGISTER"),
    (Method::Options, "OPTIONS"),
    (Method::Subscribe, "SUBSCRIBE"),
    (Method::Notify, "NOTIFY"),
    (Method::Publish, "PUBLISH"),
    (Method::Message, "MESSAGE"),
    (Method::Info, "INFO"),
    (Method::Update, "UPDATE"),
    (Method::Refer, "REFER"),
    (Method::Prack, "PRACK"),
    (Method::Other, "other"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_stands_at_the_place_of_its_method() {
        for (place, (method, name)) in METHODS.into_iter().enumerate() {
            assert_eq!(method as usize, place);
            assert_eq!(Method::from_bytes(name.as_bytes()), method);
        }
        for (place, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, place);
        }
    }

    #[test]
    fn counts_of_shards_add_up() {
        let mut one = Counts::default();
        one.receive_request(Method::Register);
        one.answer(200);
        one.refuse(Reason::BadPassword);
        let mut sum = one.clone();
        one.relay(699);
        one.receive_response(180);
        sum.add(&one);
        assert_eq!(
            sum.requests().find(|(name, _)| *name == "REGISTER"),
            Some(("REGISTER", 2))
        );
        assert_eq!(sum.answers().collect::<Vec<_>>(), [(200, 2)]);
        assert_eq!(sum.relayed().collect::<Vec<_>>(), [(699, 1)]);
        assert_eq!(sum.responses_received().next(), Some((1, 1)));
        assert_eq!(sum.refusals().map(|(_, count)| count).sum::<u64>(), 2);
    }

    #[test]
    fn a_status_that_is_none_is_not_counted() {
        let mut counts = Counts::default();
        for status in [0, 99, 700, u16::MAX] {
            counts.answer(status);
            counts.relay(status);
            counts.receive_response(status);
        }
        assert_eq!(counts, Counts::default());
    }
}
