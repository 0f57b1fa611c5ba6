//! What registrations cost in memory, by an allocator that counts.

#![expect(unsafe_code, reason = "an allocator cannot be written without")]
#![expect(clippy::unwrap_used, reason = "a test may")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use ringbinder::sip::digest::{self, Authenticator, Challenge, Challenged, Keys, UsersBuilder, Verification};
use ringbinder::sip::domain::{Domain, Domains, ForkOrder, UriCalling};
use ringbinder::sip::hop::{Flow, Transport};
use ringbinder::sip::location::{AddressOfRecord, Change, ContactUpdate, Contacts, Location, Overflow, Update};
use ringbinder::sip::message::Message;
use ringbinder::sip::message::address::Parameters;
use ringbinder::sip::message::credentials::Credentials;
use ringbinder::sip::message::header::HeaderName;
use ringbinder::sip::message::limits::Limits;
use ringbinder::sip::message::uri::Uri;
use ringbinder::sip::registrar::{self, Presented, Registrar};
use zeroize::Zeroizing;

/// 300 MB for 1,000,000 AORs with one binding each.
const MOST_BYTES_PER_AOR: usize = 300;

/// All in one test: the counts are of the whole process.
#[test]
fn a_binding_is_small_and_a_refresh_allocates_nothing() {
    bindings_are_small();
    a_refresh_by_register_allocates_nothing();
}

fn bindings_are_small() {
    const AORS: usize = 50_000;
    let domains = domains();
    let start = Instant::now();
    let location = Location::new([3; 16], start);
    let empty = IN_USE.load(Ordering::Relaxed);
    for number in 0..AORS {
        register(&location, &domains, number, 1, start);
    }
    let per_aor = (IN_USE.load(Ordering::Relaxed) - empty) / AORS;
    assert!(per_aor <= MOST_BYTES_PER_AOR, "{per_aor} bytes per AOR");

    let before = ALLOCATIONS.load(Ordering::Relaxed);
    for number in 0..1_000 {
        let change = register(&location, &domains, number, 2, start + Duration::from_secs(600));
        assert_eq!(change.counts.refreshed, 1);
    }
    assert_eq!(ALLOCATIONS.load(Ordering::Relaxed) - before, 0);
}

fn a_refresh_by_register_allocates_nothing() {
    let start = Instant::now();
    let unix_now = Duration::from_secs(1_800_000_000);
    let (domains, location) = (domains(), Location::new([3; 16], start));
    let keys = Keys {
        current: [7; 16],
        previous: None,
    };
    let authenticator = Authenticator::new(keys, 1, 16);
    let registrar = Registrar {
        domains: &domains,
        location: &location,
        authenticator: &authenticator,
        unix_now,
        now: start,
    };
    let domain = domains.find(b"example.com").unwrap();
    let mut challenge = BytesMut::new();
    authenticator.challenge(domain, Challenge::Www, false, unix_now, &mut challenge);
    let requests: Vec<Message> = (1..=10).map(|count| request(&challenge, count)).collect();
    let verifications: Vec<Verification> = requests
        .iter()
        .map(|request| {
            let credentials = Credentials::parse(request.header(HeaderName::Authorization).unwrap()).unwrap();
            authenticator.verify(domain, b"REGISTER", &credentials, unix_now)
        })
        .collect();
    let flow = flow();
    let mut out = BytesMut::with_capacity(4096);
    let mut allocations = Vec::with_capacity(requests.len());
    for (request, verification) in requests.iter().zip(&verifications) {
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        let presented = Presented::Checked {
            verification,
            uri_matches: true,
        };
        let registrant = registrar.authenticate(request, presented).unwrap();
        out.clear();
        registrar
            .register(&registrant, request, &flow, &mut out)
            .unwrap()
            .unwrap();
        allocations.push(ALLOCATIONS.load(Ordering::Relaxed) - before);
    }
    assert!(out.starts_with(b"Contact: <sip:alice@192.0.2.9:5062;transport=udp>;q=0.5;+sip.instance="));
    assert!(allocations[0] > 0, "the first one makes the binding");
    assert_eq!(allocations[1..], [0; 9]);
}

fn request(challenge: &[u8], count: u32) -> Message {
    let challenge = challenge.trim_ascii().strip_prefix(b"WWW-Authenticate: ").unwrap();
    let challenged = Challenged {
        method: b"REGISTER",
        uri: b"sip:example.com",
        user: b"alice",
        password: b"secret",
        cnonce: "0a4f113b",
        nonce_count: count,
    };
    let authorization = String::from_utf8(digest::response(challenge, &challenged).unwrap()).unwrap();
    let text = format!(
        "REGISTER sip:example.com SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.9:5062;branch=z9hG4bK{count};rport\r\n\
         From: <sip:alice@example.com>;tag=f\r\nTo: <sip:alice@example.com>\r\nCall-ID: c1\r\n\
         CSeq: {count} REGISTER\r\nSupported: path, outbound\r\nContact: <sip:alice@192.0.2.9:5062;transport=udp>;q=0.5;\
         +sip.instance=\"<urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6>\";expires=3600\r\n\
         Authorization: {authorization}\r\nContent-Length: 0\r\n\r\n"
    );
    Message::parse(Bytes::from(text), &Limits::default()).unwrap()
}

fn register(location: &Location, domains: &Domains, number: usize, cseq: u32, now: Instant) -> Change {
    let (mut aor, mut contact, mut call_id) = (Text::new(), Text::new(), Text::new());
    aor.write(format_args!("sip:user{number:07}@example.com"));
    contact.write(format_args!(
        "sip:user{number:07}@198.51.100.7:{}",
        1024 + number % 60_000
    ));
    call_id.write(format_args!("{number}-2913@198.51.100.7"));
    let uri = Uri::parse(aor.bytes()).unwrap();
    let (aor, _) = AddressOfRecord::new(&uri, domains).unwrap();
    let contacts = [ContactUpdate {
        uri: Uri::parse(contact.bytes()).unwrap(),
        parameters: Parameters::default(),
        q: 1000,
        expires: Duration::from_secs(3600),
    }];
    let update = Update {
        contacts: Contacts::Each(&contacts),
        call_id: call_id.bytes(),
        cseq,
        nonce_count: cseq,
        flow: &flow(),
        path: b"",
        max_contacts: 10,
        overflow: Overflow::Reject,
    };
    location.apply(&aor, &update, now, &mut |_| {}).unwrap().unwrap()
}

fn flow() -> Flow {
    Flow {
        transport: Transport::Udp,
        local: "192.0.2.1:5060".parse().unwrap(),
        remote: "198.51.100.7:1024".parse().unwrap(),
        connection: None,
    }
}

fn domains() -> Domains {
    let mut users = UsersBuilder::new();
    let password = Zeroizing::new("secret".to_owned());
    users.add_password(b"alice", "example.com", password).unwrap();
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
        users: users.build([5; 16]).into(),
    }])
}

/// Text on the stack.
struct Text {
    bytes: [u8; 64],
    length: usize,
}

impl Text {
    fn new() -> Text {
        Text {
            bytes: [0; 64],
            length: 0,
        }
    }

    fn write(&mut self, text: std::fmt::Arguments<'_>) {
        std::fmt::Write::write_fmt(self, text).unwrap();
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl std::fmt::Write for Text {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let end = self.length + text.len();
        self.bytes[self.length..end].copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
}

struct Counting;

static IN_USE: AtomicUsize = AtomicUsize::new(0);
static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: it only counts what it passes on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        IN_USE.fetch_add(layout.size(), Ordering::Relaxed);
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        IN_USE.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { System.dealloc(pointer, layout) }
    }
}
