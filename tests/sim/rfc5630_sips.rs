//! The sips scheme (RFC 5630): one AOR with sip and sips, and who is reached by which.

use ringbinder::sip::hop::Transport;

use crate::support::{Phone, Sim, address};

const SIP: &str = "sip:bob@example.com";
const SIPS: &str = "sips:bob@example.com";

/// A phone of bob's over TLS with a sips Contact.
fn protected(sim: &mut Sim) -> Phone {
    let mut phone = sim.phone_over("bob", Transport::Tls);
    phone.contact = phone.contact.replacen("sip:", "sips:", 1);
    sim.register(&phone);
    phone
}

#[test]
fn a_sips_call_reaches_sips_contacts_on_protected_flows_only() {
    let mut sim = Sim::new();
    let alice = sim.registered_over("alice", Transport::Tls);
    let udp = sim.registered("bob");
    let tls = sim.registered_over("bob", Transport::Tls);
    let protected = protected(&mut sim);

    sim.invite(&alice, SIPS);
    let invite = sim.expect(&protected, "INVITE");
    assert!(
        invite.text().starts_with(&format!("INVITE {} ", protected.contact)),
        "{}",
        invite.text()
    );
    sim.nothing_to(&udp);
    sim.nothing_to(&tls);
}

#[test]
fn without_such_a_contact_a_sips_call_is_told_so() {
    let mut sim = Sim::new();
    let alice = sim.registered_over("alice", Transport::Tls);
    sim.registered("bob");
    sim.registered_over("bob", Transport::Tls);

    let draft = sim.draft(&alice, "INVITE", SIPS);
    sim.send_authorized(&alice, &draft);
    let refused = sim.expect(&alice, "480");
    assert!(refused.text().contains("no-secure-binding"), "{}", refused.text());

    let draft = sim.draft(&alice, "INVITE", "sips:nobody@example.com");
    sim.send_authorized(&alice, &draft);
    sim.expect(&alice, "404");
}

#[test]
fn a_sip_call_reaches_a_sips_contact_by_its_sip_uri() {
    let mut sim = Sim::new();
    let alice = sim.registered("alice");
    let protected = protected(&mut sim);

    sim.invite(&alice, SIP);
    let invite = sim.expect(&protected, "INVITE");
    let uri = protected.contact.replacen("sips:", "sip:", 1);
    assert!(
        invite.text().starts_with(&format!("INVITE {uri} ")),
        "{}",
        invite.text()
    );
}

#[test]
fn sip_and_sips_are_one_address_of_record() {
    let mut sim = Sim::new();
    let udp = sim.registered("bob");
    let protected = protected(&mut sim);

    let draft = sim.draft(&udp, "REGISTER", "sip:example.com").without("Contact");
    sim.send_authorized(&udp, &draft);
    let ok = sim.expect(&udp, "200");
    let bound: Vec<String> = ok.values("Contact").into_iter().map(address).collect();
    assert_eq!(bound, [udp.contact.clone(), protected.contact.clone()]);
}

#[test]
fn a_sips_contact_is_not_bound_over_an_unprotected_flow() {
    for transport in [Transport::Udp, Transport::Tcp] {
        let mut sim = Sim::new();
        let bob = sim.phone_over("bob", transport);
        let contact = bob.contact.replacen("sip:", "sips:", 1);
        let draft = sim.draft(&bob, "REGISTER", "sip:example.com");
        sim.send_authorized(&bob, &draft.clone().set("Contact", &format!("<{contact}>")));
        let refused = sim.expect(&bob, "400");
        assert!(refused.text().contains("unprotected-contact"), "{}", refused.text());

        // To remove it is always allowed, and an edge before us answers for the way behind it.
        sim.send_authorized(&bob, &draft.clone().set("Contact", &format!("<{contact}>;expires=0")));
        sim.expect(&bob, "200");
        let behind = draft
            .set("Contact", &format!("<{contact}>"))
            .add("Path", "<sip:edge.example;lr>");
        sim.send_authorized(&bob, &behind);
        sim.expect(&bob, "200");
    }
}
