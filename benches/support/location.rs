//! The location service by itself, with any number of AORs.

use std::hint::black_box;
use std::time::{Duration, Instant};

use ringbinder::sip::domain::{Domain, Domains, ForkOrder, UriCalling};
use ringbinder::sip::hop::{ConnectionId, Flow, Transport};
use ringbinder::sip::location::{AddressOfRecord, Change, ContactUpdate, Contacts, Location, Overflow, Update};
use ringbinder::sip::message::address::Parameters;
use ringbinder::sip::message::uri::Uri;
use ringbinder::sip::{digest, registrar};

use super::messages::aor;
use super::world::flow;
use super::{OPERATIONS, Work};

/// AORs there are when instructions are counted; the clock measures a million.
pub const FEW: usize = 1_000;

/// How long each binding lasts.
pub const LIFETIME: Duration = Duration::from_secs(3600);

/// A user: number, AOR and Contact URI.
pub type User = (usize, AddressOfRecord, String);

/// A location service with bindings.
pub struct Bindings {
    /// The location service.
    pub location: Location,
    /// When it began.
    pub start: Instant,
    domains: Domains,
    /// What they are made over; on a stream each AOR has a connection of its own.
    transport: Transport,
}

impl Bindings {
    /// `aors` AORs with `contacts` contacts each.
    pub fn new(aors: usize, contacts: usize) -> Bindings {
        Bindings::over(Transport::Udp, aors, contacts)
    }

    /// The same, over `transport`.
    pub fn over(transport: Transport, aors: usize, contacts: usize) -> Bindings {
        let start = Instant::now();
        let bindings = Bindings {
            location: Location::new([3; 16], start),
            start,
            domains: domains(),
            transport,
        };
        for number in 0..aors {
            for contact in 0..contacts {
                bindings.apply(number, contact, 1, start);
            }
        }
        bindings
    }

    /// What a REGISTER of contact `contact` of user `number` does.
    pub fn apply(&self, number: usize, contact: usize, cseq: u32, now: Instant) -> Change {
        let aor = aor(number);
        let (aor, contact) = (
            self.aor(&aor),
            format!("sip:user{number:05}@198.51.100.7:{}", 1024 + contact),
        );
        self.apply_to(&aor, &contact, number, cseq, now)
    }

    /// What a REGISTER of `contact` by user `number`, whose AOR is `aor`, does.
    pub fn apply_to(&self, aor: &AddressOfRecord, contact: &str, number: usize, cseq: u32, now: Instant) -> Change {
        let contacts = [ContactUpdate {
            uri: Uri::parse(contact.as_bytes()).expect("it is sound"),
            parameters: Parameters::default(),
            q: 1000,
            is_outbound: false,
            expires: LIFETIME,
        }];
        let update = Update {
            contacts: Contacts::Each(&contacts),
            call_id: &number.to_ne_bytes(),
            cseq,
            nonce_count: cseq,
            flow: &Flow {
                transport: self.transport,
                connection: self.transport.is_reliable().then_some(ConnectionId(number as u64)),
                ..flow(number % 1_000)
            },
            path: b"",
            max_contacts: 10,
            overflow: Overflow::Reject,
        };
        let change = self.location.apply(aor, &update, now, &mut |binding| {
            black_box(binding.contact_uri());
        });
        change.expect("it is not refused").expect("it changes something")
    }

    /// The contacts of `aor` that are found.
    pub fn lookup(&self, aor: &AddressOfRecord, now: Instant) -> usize {
        let mut found = 0;
        self.location.lookup(aor, now, &mut |binding| {
            black_box(binding.contact_uri());
            found += 1;
        });
        found
    }

    /// User `number`.
    pub fn user(&self, number: usize) -> User {
        let contact = format!("sip:user{number:05}@198.51.100.7:1024");
        (number, self.aor(&aor(number)), contact)
    }

    /// Does what the server does each second until the first bindings end.
    pub fn watch(&self) {
        let mut changes = Vec::new();
        for second in 0..LIFETIME.as_secs() {
            let now = self.start + Duration::from_secs(second);
            while self.location.expire(now, (0, 1), usize::MAX, &mut changes) {}
        }
        assert!(changes.is_empty());
    }

    fn aor(&self, text: &str) -> AddressOfRecord {
        let uri = Uri::parse(text.as_bytes()).expect("it is sound");
        let (aor, _) = AddressOfRecord::new(&uri, &self.domains).expect("its domain is served");
        aor
    }

    /// [`OPERATIONS`] users from `first` on, `step` apart.
    fn users(&self, first: usize, step: usize) -> std::vec::IntoIter<User> {
        let users = (0..OPERATIONS).map(|index| self.user(first + index * step));
        users.collect::<Vec<_>>().into_iter()
    }
}

/// A binding of an AOR that has none, among `aors`.
pub fn new_binding(aors: usize) -> Work {
    let bindings = Bindings::new(aors, 1);
    let mut users = bindings.users(aors, 1);
    Work::new(move || {
        let (number, aor, contact) = super::next(&mut users);
        let change = bindings.apply_to(&aor, &contact, number, 1, bindings.start);
        assert_eq!(change.counts.added, 1);
    })
}

/// A refresh, among `aors`.
pub fn refresh(aors: usize) -> Work {
    let bindings = Bindings::new(aors, 1);
    let mut users = bindings.users(0, aors / OPERATIONS);
    let now = bindings.start + LIFETIME / 2;
    Work::new(move || {
        let (number, aor, contact) = super::next(&mut users);
        let change = bindings.apply_to(&aor, &contact, number, 2, now);
        assert_eq!(change.counts.refreshed, 1);
    })
}

/// The contact of an AOR, among `aors`.
pub fn lookup(aors: usize) -> Work {
    let bindings = Bindings::new(aors, 1);
    let mut users = bindings.users(0, aors / OPERATIONS);
    let now = bindings.start + LIFETIME / 2;
    Work::new(move || {
        let (_, aor, _) = super::next(&mut users);
        assert_eq!(bindings.lookup(&aor, now), 1);
    })
}

/// The removal of a hundredth of all bindings, whose time is over.
pub fn expire(aors: usize) -> Work {
    let bindings = Bindings::new(aors, 1);
    let mut changes = Vec::with_capacity(aors / OPERATIONS);
    bindings.watch();
    let now = bindings.start + LIFETIME + Duration::from_secs(1);
    Work::new(move || {
        changes.clear();
        bindings.location.expire(now, (0, 1), aors / OPERATIONS, &mut changes);
        black_box(&changes);
    })
}

/// `example.com`, without users.
fn domains() -> Domains {
    Domains::new(vec![Domain {
        name: "example.com".into(),
        aliases: Vec::new(),
        realm: "example.com".into(),
        registration: true,
        uri_calling: UriCalling::default(),
        fork: ForkOrder::default(),
        ring_timeout: None,
        registrar: registrar::Settings::default(),
        auth: digest::Settings::default(),
        users: Default::default(),
    }])
}
