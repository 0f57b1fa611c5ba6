//! Flows own bindings (RFC 5626): what becomes of a binding when its flow ends and when its phone comes back.

mod instances;
mod registering;
mod suspended;

use ringbinder::sip::hop::ConnectionId;

use crate::support::{Draft, Got, Phone, Sim, address};

const URI: &str = "sip:example.com";
const ALICE: &str = "sip:alice@example.com";

/// `phone` after it has lost its connection and made another one, from another port.
fn reconnected(sim: &mut Sim, phone: &Phone) -> Phone {
    let number = sim.unique();
    let mut again = phone.clone();
    again.flow.connection = Some(ConnectionId(5_000 + number));
    again.flow.remote.set_port(20_000 + number as u16);
    again
}

/// A REGISTER with a Contact of `parameters`, which begin with a semicolon.
fn register_with(sim: &mut Sim, phone: &Phone, parameters: &str) -> Got {
    let draft = outbound(sim, phone, parameters);
    sim.send_authorized(phone, &draft);
    sim.receive(phone).expect("an answer")
}

fn outbound(sim: &mut Sim, phone: &Phone, parameters: &str) -> Draft {
    let contact = format!("<{}>{parameters}", phone.contact);
    sim.draft(phone, "REGISTER", URI)
        .set("Contact", &contact)
        .add("Supported", "path, outbound")
}

/// The URIs that the 200 to a REGISTER without Contact lists.
fn bound(sim: &mut Sim, phone: &Phone) -> Vec<String> {
    let draft = sim.draft(phone, "REGISTER", URI).without("Contact");
    sim.send_authorized(phone, &draft);
    let ok = sim.expect(phone, "200");
    ok.values("Contact").into_iter().map(address).collect()
}

/// A call to alice, whom nobody can reach.
fn call_in_vain(sim: &mut Sim, caller: &Phone) {
    let invite = sim.draft(caller, "INVITE", ALICE);
    sim.send_authorized(caller, &invite);
    sim.expect(caller, "480");
}
