//! Registrations: RFC 3261 §10.3, RFC 3327, and what the table of decisions says about them.

mod admission;
mod authentication;
mod bindings;
mod expiry;
mod reaching;

use crate::support::{Draft, Got, Phone, Sim, address};

const URI: &str = "sip:example.com";

/// The Contact values of a response, in their order.
fn contacts(got: &Got) -> Vec<String> {
    got.values("Contact").into_iter().map(str::to_owned).collect()
}

/// The 200 to a REGISTER without Contact.
fn query(sim: &mut Sim, phone: &Phone) -> Got {
    let draft = sim.draft(phone, "REGISTER", URI).without("Contact");
    sim.send_authorized(phone, &draft);
    sim.expect(phone, "200")
}

/// The URIs bound to the address of `phone`.
fn bound(sim: &mut Sim, phone: &Phone) -> Vec<String> {
    let ok = query(sim, phone);
    contacts(&ok).iter().map(|contact| address(contact)).collect()
}

/// The status that refuses `draft`, sent with right credentials if they are asked for.
fn refusal(sim: &mut Sim, phone: &Phone, draft: &Draft) -> u16 {
    sim.send(phone, draft);
    let mut got = sim.receive(phone).expect("an answer");
    if got.status() == 401 {
        let draft = sim.authorized(phone, draft, &got);
        sim.send(phone, &draft);
        got = sim.receive(phone).expect("an answer");
    }
    assert!(got.status() >= 300, "{}", got.text());
    got.status()
}
