//! Requests within a dialog (RFC 3261 §12.2, §16.4, §16.11; RFC 5626 §5.3).

mod flows;
mod renewed;
mod tokens;
mod without_route;

use ringbinder::sip::hop::Transport;

use crate::support::{Dialog, Draft, Got, Phone, Sim};

const BOB: &str = "sip:bob@example.com";

/// A call that was answered.
struct Call {
    sent: Draft,
    invite: Got,
    caller: Dialog,
    callee: Dialog,
}

/// Registered phones whose Contacts name private addresses.
fn behind_nat(sim: &mut Sim, first: Transport, second: Transport) -> (Phone, Phone) {
    let mut phone = |user: &str, transport, contact: &str| {
        let mut phone = sim.phone_over(user, transport);
        phone.contact = contact.to_owned();
        sim.register(&phone);
        phone
    };
    (
        phone("alice", first, "sip:alice@192.168.1.5:5060"),
        phone("bob", second, "sip:bob@192.168.1.5:5060"),
    )
}

/// A call from `alice` to `bob` that was answered.
fn answered(sim: &mut Sim, alice: &Phone, bob: &Phone) -> Call {
    let sent = sim.invite(alice, BOB);
    let invite = sim.expect(bob, "INVITE");
    let answer = sim.respond(bob, &invite, "200 OK");
    let ok = sim.expect(alice, "200");
    Call {
        caller: Dialog::of_caller(&sent, &ok),
        callee: Dialog::of_callee(&invite, &answer),
        sent,
        invite,
    }
}
