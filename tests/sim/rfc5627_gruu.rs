//! GRUUs: who is told of them, which phone they lead to and how long (RFC 5627 §5, §6).

use std::time::Duration;

use ringbinder::sip::domain::UriCalling;
use ringbinder::sip::hop::{ConnectionId, Transport};

use crate::support::{Dialog, Draft, Got, Phone, Sim};

const URI: &str = "sip:example.com";
const ALICE: &str = "sip:alice@example.com";
const DESK: &str = "urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6";
const POCKET: &str = "urn:uuid:00000000-0000-1000-8000-000a95a0e128";

fn public(gruus: &Gruus) -> &String {
    &gruus.public
}

fn temporary(gruus: &Gruus) -> &String {
    &gruus.temporary
}

/// What a phone was told.
#[derive(Debug)]
struct Gruus {
    public: String,
    temporary: String,
}

fn contact(phone: &Phone, instance: &str, further: &str) -> String {
    format!("<{}>;+sip.instance=\"<{instance}>\"{further}", phone.contact)
}

/// A REGISTER of the instance, which asks for GRUUs.
fn asking(sim: &mut Sim, phone: &Phone, instance: &str, further: &str) -> Draft {
    let contact = contact(phone, instance, further);
    let draft = sim.draft(phone, "REGISTER", URI).set("Contact", &contact);
    draft.add("Supported", "path, outbound, gruu")
}

fn answer(sim: &mut Sim, phone: &Phone, draft: &Draft) -> Got {
    sim.send_authorized(phone, draft);
    sim.receive(phone).expect("an answer")
}

fn register(sim: &mut Sim, phone: &Phone, instance: &str, further: &str) -> Gruus {
    let draft = asking(sim, phone, instance, further);
    let ok = answer(sim, phone, &draft);
    read(&ok, instance)
}

/// What the 200 says of an instance.
fn read(ok: &Got, instance: &str) -> Gruus {
    assert_eq!(ok.status(), 200, "{}", ok.text());
    let contacts = ok.values("Contact");
    let of_instance = contacts.iter().find(|value| value.contains(&format!("<{instance}>")));
    let value = of_instance.expect("the instance is listed");
    let parameter = |name: &str| {
        let (_, rest) = value.split_once(&format!(";{name}=\"")).expect("a GRUU");
        rest.split_once('"').unwrap().0.to_owned()
    };
    Gruus {
        public: parameter("pub-gruu"),
        temporary: parameter("temp-gruu"),
    }
}

/// What is answered to a call that goes to nobody.
fn refusal(sim: &mut Sim, caller: &Phone, uri: &str) -> (u16, Option<String>) {
    let draft = sim.draft(caller, "INVITE", uri);
    let sent = sim.send_authorized(caller, &draft);
    let got = sim.receive(caller).expect("an answer");
    let got = match got.status() {
        100 => sim.receive(caller).expect("a final answer"),
        _ => got,
    };
    sim.send(caller, &sent.ack(&got));
    (got.status(), got.reason())
}

/// A call to `uri` rings `phone`, with its Contact as Request-URI, and nobody else.
fn rings(sim: &mut Sim, caller: &Phone, uri: &str, phone: &Phone) {
    let sent = sim.invite(caller, uri);
    let invite = sim.expect(phone, "INVITE");
    assert_eq!(invite.uri(), phone.contact);
    sim.nothing_else();
    sim.respond(phone, &invite, "486 Busy Here");
    sim.expect(phone, "ACK");
    let busy = sim.expect(caller, "486");
    sim.send(caller, &sent.ack(&busy));
}

fn deregister(sim: &mut Sim, phone: &Phone, instance: &str) {
    let draft = asking(sim, phone, instance, ";expires=0");
    assert_eq!(answer(sim, phone, &draft).status(), 200);
}

fn pass(sim: &mut Sim, seconds: u64) {
    sim.advance(Duration::from_secs(seconds));
}

#[test]
fn who_asks_is_told_of_each_instance() {
    let mut sim = Sim::new();
    let (desk, other) = (sim.phone("alice"), sim.registered("alice"));
    let draft = asking(&mut sim, &desk, DESK, "");
    let ok = answer(&mut sim, &desk, &draft);
    let gruus = read(&ok, DESK);
    assert_eq!(gruus.public, format!("{ALICE};gr={DESK}"));
    assert!(gruus.temporary.starts_with("sip:"), "{gruus:?}");
    assert!(gruus.temporary.ends_with("@example.com;gr"), "{gruus:?}");
    assert!(!gruus.temporary.contains("alice"), "{gruus:?}");
    assert!(ok.header("Supported").contains("gruu"));
    // the contact without an instance has none
    let without = ok
        .values("Contact")
        .into_iter()
        .find(|value| value.contains(&other.contact));
    assert!(!without.unwrap().contains("gruu"));
}

#[test]
fn who_does_not_ask_is_told_nothing() {
    let mut sim = Sim::new();
    let desk = sim.phone("alice");
    register(&mut sim, &desk, DESK, "");
    let draft = asking(&mut sim, &desk, DESK, "").set("Supported", "path");
    let ok = answer(&mut sim, &desk, &draft);
    assert!(!ok.header("Contact").contains("gruu"), "{}", ok.text());
}

#[test]
fn who_requires_it_is_served() {
    let mut sim = Sim::new();
    let desk = sim.phone("alice");
    let draft = asking(&mut sim, &desk, DESK, "").add("Require", "gruu");
    read(&answer(&mut sim, &desk, &draft), DESK);
}

#[test]
fn an_instance_that_is_no_urn_has_no_gruu() {
    let mut sim = Sim::new();
    let desk = sim.phone("alice");
    for instance in ["sip:x", "urn:", "urn:a b", "urn:\u{fc}"] {
        let draft = asking(&mut sim, &desk, instance, "");
        let ok = answer(&mut sim, &desk, &draft);
        assert_eq!(ok.status(), 200);
        assert!(!ok.header("Contact").contains("-gruu"), "{}", ok.text());
    }
}

#[test]
fn what_a_uri_cannot_hold_of_an_instance_is_escaped() {
    let mut sim = Sim::new();
    let (bob, desk) = (sim.registered("bob"), sim.phone("alice"));
    let gruus = register(&mut sim, &desk, "urn:x:a;b=c?d%41", "");
    assert_eq!(gruus.public, format!("{ALICE};gr=urn:x:a%3Bb%3Dc%3Fd%2541"));
    rings(&mut sim, &bob, &gruus.public, &desk);
    rings(&mut sim, &bob, &gruus.temporary, &desk);
}

#[test]
fn what_a_phone_says_of_gruus_is_not_kept() {
    let mut sim = Sim::new();
    let desk = sim.phone("alice");
    let further = ";pub-gruu=\"sip:bob@example.com;gr=x\";temp-gruu=\"sip:y@example.com;gr\"";
    let draft = asking(&mut sim, &desk, DESK, further).set("Supported", "path");
    let ok = answer(&mut sim, &desk, &draft);
    assert!(!ok.text().contains("gruu=\""), "{}", ok.text());
}

#[test]
fn a_gruu_of_the_address_itself_is_no_contact() {
    let mut sim = Sim::new();
    let desk = sim.phone("alice");
    let gruus = register(&mut sim, &desk, DESK, "");
    let draft = sim.draft(&desk, "REGISTER", URI);
    let draft = draft.set("Contact", &format!("<{}>", gruus.public));
    let got = answer(&mut sim, &desk, &draft);
    assert_eq!((got.status(), got.reason().as_deref()), (403, Some("contact-is-gruu")));
}

#[test]
fn a_call_to_a_gruu_rings_that_phone_alone() {
    let mut sim = Sim::new();
    let bob = sim.registered("bob");
    let (desk, pocket) = (sim.phone("alice"), sim.phone_over("alice", Transport::Tls));
    let of_desk = register(&mut sim, &desk, DESK, "");
    let of_pocket = register(&mut sim, &pocket, POCKET, "");
    for uri in [&of_desk.public, &of_desk.temporary] {
        rings(&mut sim, &bob, uri, &desk);
    }
    for uri in [&of_pocket.public, &of_pocket.temporary] {
        rings(&mut sim, &bob, uri, &pocket);
    }
    // by another name of the domain, and in another case of the instance
    rings(
        &mut sim,
        &bob,
        &format!("sip:alice@sip.example.com;gr={}", DESK.to_uppercase()),
        &desk,
    );
    // from one phone of alice's to another
    rings(&mut sim, &desk, &of_pocket.public, &pocket);
}

#[test]
fn a_phone_rings_once_over_its_latest_contact_then_over_the_next() {
    let mut sim = Sim::new();
    let bob = sim.registered("bob");
    // without reg-id, too
    for (first, second) in [(";reg-id=1", ";reg-id=2"), ("", "")] {
        let (before, after) = (
            sim.phone_over("alice", Transport::Tls),
            sim.phone_over("alice", Transport::Tls),
        );
        register(&mut sim, &before, DESK, first);
        pass(&mut sim, 1);
        let gruus = register(&mut sim, &after, DESK, second);
        rings(&mut sim, &bob, &gruus.temporary, &after);
        rings(&mut sim, &bob, &gruus.public, &after);
        sim.unreachable.insert((Transport::Tls, after.flow.remote));
        rings(&mut sim, &bob, &gruus.public, &before);
        for phone in [&before, &after] {
            sim.close(phone);
        }
    }
}

#[test]
fn a_phone_that_is_away_is_480_and_nobody_else_rings() {
    let mut sim = Sim::new();
    let (bob, _other) = (sim.registered("bob"), sim.registered("alice"));
    let desk = sim.phone_over("alice", Transport::Tls);
    let gruus = register(&mut sim, &desk, DESK, "");
    sim.close(&desk);
    let no_binding = (480, Some("no-binding".to_owned()));
    for uri in [&gruus.public, &gruus.temporary] {
        assert_eq!(refusal(&mut sim, &bob, uri), no_binding);
    }
    // a public one is for ever, a temporary one ends with the registration
    let again = desk_again(&mut sim, &desk);
    deregister(&mut sim, &again, DESK);
    pass(&mut sim, 2);
    assert_eq!(refusal(&mut sim, &bob, &gruus.public), no_binding);
    assert_eq!(
        refusal(&mut sim, &bob, &gruus.temporary),
        (404, Some("unknown-gruu".to_owned()))
    );
    sim.nothing_else();
}

#[test]
fn what_we_never_gave_is_404() {
    let mut sim = Sim::new();
    let (bob, desk) = (sim.registered("bob"), sim.phone("alice"));
    let gruus = register(&mut sim, &desk, DESK, "");
    let forged = gruus.temporary.replacen("sip:", "sip:A", 1);
    let elsewhere = gruus.temporary.replace("example.com", "example.org");
    let unknown = (404, Some("unknown-gruu".to_owned()));
    for uri in [
        &*forged,
        &elsewhere,
        "sip:alice@example.com;gr",
        "sip:alice@example.com;gr=",
        "sip:alice@example.com;gr=nothing",
    ] {
        assert_eq!(refusal(&mut sim, &bob, uri), unknown, "{uri}");
    }
    let nobody = refusal(&mut sim, &bob, "sip:nobody@example.com;gr=urn:x:1");
    assert_eq!(nobody, (404, Some("unknown-user".to_owned())));
    sim.nothing_else();
}

#[test]
fn to_strangers_all_that_leads_nowhere_looks_the_same() {
    let mut sim = Sim::with(|domain| domain.uri_calling = UriCalling::Unrestricted);
    let desk = sim.phone("alice");
    let gruus = register(&mut sim, &desk, DESK, "");
    deregister(&mut sim, &desk, DESK);
    let forged = gruus.temporary.replacen("sip:", "sip:A", 1);
    let stranger = sim.peer(Transport::Udp, "203.0.113.9:5060");
    for uri in [
        &*forged,
        &gruus.temporary,
        &gruus.public,
        "sip:alice@example.com;gr",
        "sip:nobody@example.com;gr=urn:x:1",
    ] {
        let draft = sim.draft(&stranger, "INVITE", uri);
        sim.send(&stranger, &draft);
        let got = sim.expect(&stranger, "480");
        assert!(!got.has("Warning"));
    }
    sim.nothing_else();
}

#[test]
fn strangers_call_a_gruu_only_where_they_may_call() {
    let mut sim = Sim::new();
    let desk = sim.phone("alice");
    let gruus = register(&mut sim, &desk, DESK, "");
    let stranger = sim.peer(Transport::Udp, "203.0.113.9:5060");
    let draft = sim.draft(&stranger, "INVITE", &gruus.temporary);
    sim.send(&stranger, &draft);
    sim.expect(&stranger, "407");
    sim.nothing_else();
}

#[test]
fn a_refresh_gives_another_one_and_the_earlier_ones_stay() {
    let mut sim = Sim::new();
    let (bob, desk) = (sim.registered("bob"), sim.phone("alice"));
    let draft = asking(&mut sim, &desk, DESK, "");
    let first = read(&answer(&mut sim, &desk, &draft), DESK);
    pass(&mut sim, 600);
    let draft = draft.set("CSeq", "10 REGISTER").branch(&sim.branch());
    let second = read(&answer(&mut sim, &desk, &draft), DESK);
    assert_eq!(first.public, second.public);
    assert_ne!(first.temporary, second.temporary);
    assert_eq!(first.temporary.len(), second.temporary.len());
    rings(&mut sim, &bob, &first.temporary, &desk);
    rings(&mut sim, &bob, &second.temporary, &desk);
}

#[test]
fn another_call_id_ends_the_temporary_ones() {
    let mut sim = Sim::new();
    let (bob, desk) = (sim.registered("bob"), sim.phone("alice"));
    // what was given in the second of the start might be of an earlier one
    pass(&mut sim, 5);
    let first = asking(&mut sim, &desk, DESK, "");
    let before = read(&answer(&mut sim, &desk, &first), DESK);
    pass(&mut sim, 10);
    let after = register(&mut sim, &desk, DESK, "");
    assert_eq!(refusal(&mut sim, &bob, &before.temporary).0, 404);
    rings(&mut sim, &bob, &before.public, &desk);
    rings(&mut sim, &bob, &after.temporary, &desk);
    // nor do they come back with the first Call-ID
    pass(&mut sim, 10);
    let again = first.set("CSeq", "20 REGISTER").branch(&sim.branch());
    read(&answer(&mut sim, &desk, &again), DESK);
    for uri in [&before.temporary, &after.temporary] {
        assert_eq!(refusal(&mut sim, &bob, uri).0, 404);
    }
}

#[test]
fn temporary_ones_do_not_come_back_after_the_registration_ended() {
    let mut sim = Sim::new();
    let (bob, desk) = (sim.registered("bob"), sim.phone("alice"));
    let draft = asking(&mut sim, &desk, DESK, "");
    pass(&mut sim, 5);
    let before = read(&answer(&mut sim, &desk, &draft), DESK);
    pass(&mut sim, 3601);
    assert_eq!(refusal(&mut sim, &bob, &before.temporary).0, 404);
    let draft = draft.set("CSeq", "10 REGISTER").branch(&sim.branch());
    let after = read(&answer(&mut sim, &desk, &draft), DESK);
    let bob = sim.registered("bob");
    assert_eq!(refusal(&mut sim, &bob, &before.temporary).0, 404);
    rings(&mut sim, &bob, &after.temporary, &desk);
}

#[test]
fn a_caller_of_a_temporary_one_does_not_learn_the_address() {
    let mut sim = Sim::new();
    let bob = sim.registered("bob");
    let mut desk = sim.phone_over("alice", Transport::Tls);
    desk.contact = "sip:line@192.168.0.7;transport=tls".to_owned();
    desk.tag = "tag-desk".to_owned();
    let gruus = register(&mut sim, &desk, DESK, "");
    let mut routes = Vec::new();
    for uri in [&*gruus.temporary, ALICE] {
        let sent = sim.invite(&bob, uri);
        let invite = sim.expect(&desk, "INVITE");
        sim.ring(&bob, &desk, &invite);
        sim.respond(&desk, &invite, "200 OK");
        let ok = sim.expect(&bob, "200");
        assert_eq!(ok.text().contains("alice"), uri == ALICE, "{}", ok.text());
        routes.push((sent, ok.header("Record-Route").to_owned()));
    }
    // nor is the hash of who is there the same in both dialogs; the last 16 bytes of the token are its MAC
    let owner = |route: &str| {
        use base64::Engine as _;
        let token = route.split(['@', ':']).nth(1).unwrap().to_owned();
        let raw = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(token).unwrap();
        raw[raw.len() - 24..raw.len() - 16].to_vec()
    };
    assert_ne!(owner(&routes[0].1), owner(&routes[1].1));
}

/// A call in which each side says its GRUU in Contact.
struct Call {
    alice: Phone,
    bob: Phone,
    caller: Dialog,
    callee: Dialog,
}

/// Bob calls alice's GRUU. In Contact each says the GRUU that `choose` takes.
fn call_between_gruus(sim: &mut Sim, transport: Transport, choose: fn(&Gruus) -> &String) -> Call {
    let alice = sim.phone_over("alice", transport);
    let bob = sim.phone_over("bob", transport);
    let of_alice = register(sim, &alice, DESK, ";reg-id=1");
    let of_bob = register(sim, &bob, POCKET, ";reg-id=1");
    let draft = sim.draft(&bob, "INVITE", choose(&of_alice));
    let draft = draft.set("Contact", &format!("<{}>", choose(&of_bob)));
    let sent = sim.invite_with(&bob, &draft);
    let invite = sim.expect(&alice, "INVITE");
    let answer = sim.answer(&alice, &invite, "200 OK");
    let answer = answer.set("Contact", &format!("<{}>", choose(&of_alice)));
    sim.deliver(&invite.flow, answer.bytes());
    let ok = sim.expect(&bob, "200");
    let caller = Dialog::of_caller(&sent, &ok);
    let callee = Dialog::of_callee(&invite, &answer);
    assert_eq!((&caller.target, &callee.target), (choose(&of_alice), choose(&of_bob)));
    let ack = caller.ack(sim, &bob);
    sim.send(&bob, &ack);
    assert_eq!(sim.expect(&alice, "ACK").uri(), alice.contact);
    Call {
        alice,
        bob,
        caller,
        callee,
    }
}

/// A request of each side within the dialog reaches the other at its Contact.
fn both_are_reached(sim: &mut Sim, call: &mut Call) {
    for method in ["INVITE", "BYE"] {
        let request = call.callee.request(sim, &call.alice, method);
        sim.send(&call.alice, &request);
        if method == "INVITE" {
            sim.expect(&call.alice, "100");
        }
        let got = sim.expect(&call.bob, method);
        assert_eq!((got.uri(), got.flow), (&*call.bob.contact, call.bob.flow));
        sim.respond(&call.bob, &got, "200 OK");
        sim.expect(&call.alice, "200");
        let request = call.caller.request(sim, &call.bob, "INFO");
        sim.send(&call.bob, &request);
        let got = sim.expect(&call.alice, "INFO");
        assert_eq!((got.uri(), got.flow), (&*call.alice.contact, call.alice.flow));
        sim.respond(&call.alice, &got, "200 OK");
        sim.expect(&call.bob, "200");
    }
    sim.nothing_else();
}

#[test]
fn within_a_dialog_a_gruu_in_contact_leads_to_the_phone() {
    for transport in [Transport::Udp, Transport::Tls] {
        for choose in [public, temporary] {
            let mut sim = Sim::new();
            let mut call = call_between_gruus(&mut sim, transport, choose);
            both_are_reached(&mut sim, &mut call);
        }
    }
}

/// `phone` on another connection, and at another Contact.
fn desk_again(sim: &mut Sim, phone: &Phone) -> Phone {
    let mut again = phone.clone();
    again.flow.connection = Some(ConnectionId(9_000 + sim.unique()));
    again.flow.remote.set_port(32_000 + sim.unique() as u16);
    again
}

#[test]
fn within_a_dialog_a_phone_is_reached_at_the_contact_that_it_has_now() {
    let mut sim = Sim::new();
    let mut call = call_between_gruus(&mut sim, Transport::Tls, public);
    for (phone, instance) in [(&mut call.alice, DESK), (&mut call.bob, POCKET)] {
        sim.close(phone);
        *phone = desk_again(&mut sim, phone);
        phone.contact = format!("sip:new-{}@192.168.77.1;transport=tls", phone.user);
        register(&mut sim, phone, instance, ";reg-id=1");
    }
    both_are_reached(&mut sim, &mut call);
}

#[test]
fn within_a_dialog_the_gruu_of_somebody_else_leads_to_nobody_else() {
    let mut sim = Sim::new();
    let carol = sim.phone_over("carol", Transport::Tls);
    let of_carol = register(&mut sim, &carol, DESK, "");
    let mut call = call_between_gruus(&mut sim, Transport::Tls, public);
    let info = call
        .caller
        .request(&mut sim, &call.bob, "INFO")
        .with_uri(&of_carol.public);
    sim.send(&call.bob, &info);
    // Nor is bob, whose phone or partner's that may be, told where she is.
    let got = sim.expect(&call.alice, "INFO");
    assert_eq!(got.uri(), of_carol.public);
    sim.respond(&call.alice, &got, "404 Not Found");
    sim.expect(&call.bob, "404");
    sim.close(&call.alice);
    let info = call
        .caller
        .request(&mut sim, &call.bob, "INFO")
        .with_uri(&of_carol.public);
    sim.send(&call.bob, &info);
    sim.expect(&call.bob, "430");
    sim.nothing_else();
}
