//! The proxy: RFC 3261 §16, with RFC 3581, RFC 4320 and RFC 6026.

mod cancelling;
mod forking;
mod forwarding;
mod routing;
mod timing;

use crate::support::{Got, Phone, Sim};

/// A caller and `count` phones of bob, all on UDP and registered.
fn caller_and_phones(sim: &mut Sim, count: usize) -> (Phone, Vec<Phone>) {
    let caller = sim.registered("alice");
    let phones = (0..count).map(|_| sim.registered("bob")).collect();
    (caller, phones)
}

/// What each phone got, which must be of `kind`.
fn expect_each(sim: &mut Sim, phones: &[Phone], kind: &str) -> Vec<Got> {
    phones.iter().map(|phone| sim.expect(phone, kind)).collect()
}

/// A phone that got a CANCEL says so, and that its INVITE is over. Its ACK is received.
fn obey_cancel(sim: &mut Sim, phone: &Phone, invite: &Got) {
    let cancel = sim.expect(phone, "CANCEL");
    assert_eq!(cancel.branch(), invite.branch());
    sim.respond(phone, &cancel, "200 OK");
    sim.respond(phone, invite, "487 Request Terminated");
    sim.expect(phone, "ACK");
}
