//! Messages and digests: reading, forwarding, replying, challenging, verifying.

use std::hint::black_box;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use ringbinder::sip::digest::{Algorithm, Challenge};
use ringbinder::sip::hop::Target;
use ringbinder::sip::message::Message;
use ringbinder::sip::message::credentials::Credentials;
use ringbinder::sip::message::header::HeaderName;
use ringbinder::sip::message::limits::Limits;
use ringbinder::sip::message::reply;
use ringbinder::sip::proxy::forwarding::{Copier, Draft, Recorded, Template};
use ringbinder::sip::proxy::validation::validate;
use ringbinder::sip::reason::Reason;

use super::messages::{Request, contact, invite, register};
use super::world::{Sent, World, find, flow};
use super::{OPERATIONS, Work};

const NOW: Duration = Duration::from_secs(1_800_000_000);

/// `Message::parse` of a REGISTER of about 550 bytes.
pub fn parse_register() -> Work {
    parse(register)
}

/// `Message::parse` of an INVITE of about 900 bytes.
pub fn parse_invite() -> Work {
    parse(|number, cseq| invite(number, OPERATIONS, cseq))
}

fn parse(draft: impl Fn(usize, u32) -> Request) -> Work {
    let messages: Vec<Bytes> = (0..OPERATIONS).map(|number| draft(number, 1).bytes().into()).collect();
    let (mut messages, limits) = (messages.into_iter(), Limits::default());
    Work::new(move || {
        let message = Message::parse(super::next(&mut messages), &limits);
        assert!(black_box(message).is_ok());
    })
}

/// The checks of an INVITE with credentials and its copy for one contact: Via, Record-Route with its token,
/// Max-Forwards, Max-Breadth, without our credentials.
pub fn forward_invite() -> Work {
    let mut world = World::new();
    let challenge = challenge_407(&mut world);
    let request = message(invite(0, OPERATIONS, 2).authorized(&challenge, 1));
    let (uri, from) = (contact(OPERATIONS), flow(0));
    let target = Target::Flow(flow(OPERATIONS));
    let domains = &world.shared.settings.domains;
    let domain = domains.iter().next().and_then(|domain| domains.id(domain));
    let (mut copier, mut out) = (Copier::default(), BytesMut::with_capacity(4096));
    Work::new(move || {
        let template = Template {
            reach: validate(&world.shared, &request).expect("the INVITE is sound"),
            own_routes: 0,
            drop_last_route: false,
            record: domain.map(Recorded::Domain),
            path: None,
            unreachable: Reason::NoBinding,
            has_checked_credentials: true,
        };
        out.clear();
        let draft = Draft {
            request: &request,
            // Without one nothing of the last copy is used again.
            number: None,
            flow: &from,
            template: &template,
            uri: uri.as_bytes(),
            path: b"",
            target: &target,
            branch: b"z9hG4bK0000002adeadbeef00000007",
            breadth: 60,
        };
        copier.write(&world.shared, &draft, &mut out);
        black_box(&out);
    })
}

/// 200 to a REGISTER with one contact.
pub fn reply_200() -> Work {
    let lines = format!("Contact: <{}>;expires=3600\r\n", contact(0));
    reply_to(register(0, 1), 200, "OK", Some(b"5a1b2c3d4e5f6071"), lines)
}

/// 100 to an INVITE.
pub fn reply_100() -> Work {
    reply_to(invite(0, 1, 1), 100, "Trying", None, String::new())
}

/// 401 to a REGISTER, without making the nonce.
pub fn reply_401() -> Work {
    let mut world = World::new();
    let sent = world.exchange(register(0, 1).bytes(), flow(0));
    let lines = find(&sent, "401").lines("WWW-Authenticate");
    reply_to(register(0, 1), 401, "Unauthorized", Some(b"5a1b2c3d4e5f6071"), lines)
}

fn reply_to(request: Request, status: u16, phrase: &'static str, tag: Option<&'static [u8]>, lines: String) -> Work {
    let (request, remote, mut out) = (message(request), flow(0).remote, BytesMut::with_capacity(4096));
    Work::new(move || {
        out.clear();
        reply::begin(&mut out, &request, remote, status, phrase, tag);
        out.extend_from_slice(lines.as_bytes());
        reply::finish(&mut out);
        black_box(&out);
    })
}

/// The check of credentials by MD5, read from their header, with the look-up of their user.
pub fn verify_md5() -> Work {
    verify(Algorithm::Md5)
}

/// The same by SHA-256.
pub fn verify_sha256() -> Work {
    verify(Algorithm::Sha256)
}

fn verify(algorithm: Algorithm) -> Work {
    let mut world = World::with(vec![algorithm]);
    let requests = (0..OPERATIONS).map(|number| {
        let sent = world.exchange(register(number, 1).bytes(), flow(number));
        message(register(number, 2).authorized(find(&sent, "401"), 1))
    });
    let mut requests = requests.collect::<Vec<_>>().into_iter();
    let mut done = Vec::with_capacity(OPERATIONS);
    Work::new(move || {
        let request = super::next(&mut requests);
        let shared = &world.shared;
        let domain = shared.settings.domains.find(b"example.com").expect("it is served");
        let value = request.header(HeaderName::Authorization).expect("it has credentials");
        let credentials = Credentials::parse(value).expect("they are sound");
        let verification = shared.authenticator.verify(domain, b"REGISTER", &credentials, NOW);
        assert!(matches!(
            black_box(verification),
            ringbinder::sip::digest::Verification::Verified(_)
        ));
        done.push(request);
    })
}

/// The lines of a fresh challenge.
pub fn challenge() -> Work {
    let (world, mut out) = (World::new(), BytesMut::with_capacity(1024));
    Work::new(move || {
        let shared = &world.shared;
        let domain = shared.settings.domains.find(b"example.com").expect("it is served");
        out.clear();
        shared
            .authenticator
            .challenge(domain, Challenge::Www, false, NOW, &mut out);
        black_box(&out);
    })
}

fn challenge_407(world: &mut World) -> Sent {
    let mut sent = world.exchange(invite(0, OPERATIONS, 1).bytes(), flow(0));
    find(&sent, "407");
    sent.remove(0)
}

fn message(request: Request) -> Message {
    Message::parse(request.bytes().into(), &Limits::default()).expect("the benches send sound messages")
}
