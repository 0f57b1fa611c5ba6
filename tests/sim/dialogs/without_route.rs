//! What `sipp -sn uac` sends: a To tag, no Route, and the AOR as Request-URI.

use std::time::Duration;

use ringbinder::sip::domain::UriCalling;

use super::BOB;
use crate::support::{Draft, Got, Phone, Sim};

#[test]
fn an_ack_without_a_route_goes_to_the_branch_whose_2xx_won() {
    let mut sim = Sim::new();
    let alice = sim.registered("alice");
    let phones: Vec<Phone> = (0..3).map(|_| sim.registered("bob")).collect();
    let sent = sim.invite(&alice, BOB);
    let invites: Vec<Got> = phones.iter().map(|phone| sim.expect(phone, "INVITE")).collect();
    sim.respond(&phones[1], &invites[1], "200 OK");
    let ok = sim.expect(&alice, "200");
    let ack = without_route(&mut sim, &alice, &sent, &ok, "ACK");
    sim.send(&alice, &ack);
    let got = sim.expect(&phones[1], "ACK");
    assert_eq!(got.uri(), phones[1].contact);
    assert!(!got.has("Route"));
    sim.nothing_else();

    sim.advance(Duration::from_secs(40));
    sim.delivered.clear();
    sim.send(&alice, &ack);
    sim.nothing_else();
}

#[test]
fn a_bye_without_a_route_is_authorized_and_goes_to_the_branch_that_answered() {
    let mut sim = Sim::new();
    let alice = sim.registered("alice");
    let phones: Vec<Phone> = (0..3).map(|_| sim.registered("bob")).collect();
    let sent = sim.invite(&alice, BOB);
    let invites: Vec<Got> = phones.iter().map(|phone| sim.expect(phone, "INVITE")).collect();
    sim.respond(&phones[1], &invites[1], "200 OK");
    let ok = sim.expect(&alice, "200");
    let bye = without_route(&mut sim, &alice, &sent, &ok, "BYE");
    sim.send_authorized(&alice, &bye);
    let got = sim.expect(&phones[1], "BYE");
    assert_eq!(got.uri(), phones[1].contact);
    sim.respond(&phones[1], &got, "200 OK");
    sim.expect(&alice, "200");
    sim.nothing_else();
}

#[test]
fn a_bye_without_a_route_goes_to_the_bindings_when_nothing_else_is_known() {
    let mut sim = Sim::new();
    let alice = sim.registered("alice");
    let bob = sim.registered("bob");
    let sent = sim.invite(&alice, BOB);
    let invite = sim.expect(&bob, "INVITE");
    sim.respond(&bob, &invite, "200 OK");
    let ok = sim.expect(&alice, "200");
    sim.advance(Duration::from_secs(100));
    assert!(sim.is_idle());
    let bye = without_route(&mut sim, &alice, &sent, &ok, "BYE");
    sim.send_authorized(&alice, &bye);
    sim.expect(&bob, "BYE");
}

#[test]
fn sipp_calls_sipp_where_everybody_may_call() {
    let mut sim = Sim::with(|domain| domain.uri_calling = UriCalling::Unrestricted);
    let bob = sim.registered("bob");
    let sipp = sim.phone("sipp");
    let draft = sim
        .draft(&sipp, "INVITE", BOB)
        .set("From", "sipp <sip:sipp@198.51.100.77:5060>;tag=1");
    sim.send(&sipp, &draft);
    sim.expect(&sipp, "100");
    let invite = sim.expect(&bob, "INVITE");
    sim.ring(&sipp, &bob, &invite);
    sim.respond(&bob, &invite, "200 OK");
    let ok = sim.expect(&sipp, "200");
    for method in ["ACK", "BYE"] {
        let draft = without_route(&mut sim, &sipp, &draft, &ok, method);
        sim.send(&sipp, &draft);
        let got = sim.expect(&bob, method);
        if method == "BYE" {
            sim.respond(&bob, &got, "200 OK");
            sim.expect(&sipp, "200");
        }
    }
    sim.nothing_else();
    sim.advance(Duration::from_secs(60));
    assert!(sim.is_idle());
}

/// A request within the dialog of `sent` and `ok`, as SIPp's built-in caller writes it.
fn without_route(sim: &mut Sim, phone: &Phone, sent: &Draft, ok: &Got, method: &str) -> Draft {
    let via = sim.via(phone);
    let cseq = if method == "ACK" { sent.cseq() } else { sent.cseq() + 1 };
    Draft::request(method, sent.uri())
        .add("Via", &via)
        .add("From", sent.header("From"))
        .add("To", ok.header("To"))
        .add("Call-ID", sent.header("Call-ID"))
        .add("CSeq", &format!("{cseq} {method}"))
        .add("Max-Forwards", "70")
}
