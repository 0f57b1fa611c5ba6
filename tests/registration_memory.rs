//! What the location service costs in memory, by an allocator that counts.

#![expect(unsafe_code, reason = "an allocator cannot be written without")]
#![expect(clippy::unwrap_used, reason = "a test may")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ringbinder::sip::digest;
use ringbinder::sip::domain::{Domain, Domains, ForkOrder, UriCalling};
use ringbinder::sip::hop::{Flow, Transport};
use ringbinder::sip::location::{AddressOfRecord, Change, ContactUpdate, Contacts, Location, Overflow, Update};
use ringbinder::sip::message::address::Parameters;
use ringbinder::sip::message::uri::Uri;
use ringbinder::sip::registrar;

/// 300 MB for 1,000,000 AORs with one binding each.
const MOST_BYTES_PER_AOR: usize = 300;

/// Both in one test: the counts are of the whole process.
#[test]
fn a_binding_is_small_and_a_refresh_allocates_nothing() {
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
        flow: &Flow {
            transport: Transport::Udp,
            local: "192.0.2.1:5060".parse().unwrap(),
            remote: "198.51.100.7:1024".parse().unwrap(),
            connection: None,
        },
        path: b"",
        max_contacts: 10,
        overflow: Overflow::Reject,
    };
    location.apply(&aor, &update, now, &mut |_| {}).unwrap().unwrap()
}

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
