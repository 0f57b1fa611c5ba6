//! In front of another registrar (RFC 5626 §5, RFC 3327 §5, RFC 3608 §5): the flows of phones are kept here, and tokens in
//! Path lead back to them.

use ringbinder::sip::edge::{Edge, Edges};
use ringbinder::sip::hop::{ConnectionId, Transport};

use crate::support::{Dialog, Draft, Got, Phone, Sim};

const URI: &str = "sip:example.net";
const FLOW: &str = ";+sip.instance=\"<urn:uuid:1>\";reg-id=1";

/// The edge of example.net, whose registrar is a TCP server at 203.0.113.50.
fn world() -> (Sim, Phone) {
    let mut sim = Sim::with_settings(|settings| {
        let domains = std::mem::take(&mut settings.domains);
        settings.domains = domains.with_edges(Edges::new(vec![Edge {
            names: vec!["example.net".into()],
            registrar: "<sip:203.0.113.50;transport=tcp;lr>".into(),
        }]));
    });
    let mut registrar = sim.peer(Transport::Tcp, "203.0.113.50:5060");
    registrar.contact = "sip:core@203.0.113.50;transport=tcp".to_owned();
    (sim, registrar)
}

fn phone(sim: &mut Sim, transport: Transport) -> Phone {
    let mut phone = sim.phone_over("nina", transport);
    phone.domain = "example.net".to_owned();
    phone
}

/// Registers `phone` at the registrar behind us; returns the REGISTER there.
fn register(sim: &mut Sim, registrar: &Phone, phone: &Phone, parameters: &str) -> Got {
    let contact = format!("<{}>{parameters}", phone.contact);
    let draft = sim
        .draft(phone, "REGISTER", URI)
        .set("Contact", &contact)
        .add("Supported", "path, outbound");
    sim.send(phone, &draft);
    let got = sim.expect(registrar, "REGISTER");
    let answer = sim
        .answer(registrar, &got, "200 OK")
        .add("Path", got.header("Path"))
        .add("Service-Route", "<sip:orig@203.0.113.50;transport=tcp;lr>")
        .add("Contact", &contact);
    sim.deliver(&got.flow, answer.bytes());
    let ok = sim.expect(phone, "200");
    assert_eq!(ok.header("Path"), got.header("Path"));
    assert_eq!(ok.header("Service-Route"), "<sip:orig@203.0.113.50;transport=tcp;lr>");
    got
}

/// A request of the registrar with the Path that it was given.
fn inwards(sim: &mut Sim, registrar: &Phone, phone: &Phone, method: &str, path: &str) -> Draft {
    sim.draft(registrar, method, &phone.contact).add("Route", path)
}

#[test]
fn a_register_passes_with_a_path_and_its_answers_come_back_untouched() {
    for (transport, parameters, is_outbound) in [
        (Transport::Tls, FLOW, true),
        (Transport::Udp, FLOW, true),
        (Transport::Tcp, "", false),
    ] {
        let (mut sim, registrar) = world();
        let nina = phone(&mut sim, transport);
        let got = register(&mut sim, &registrar, &nina, parameters);
        assert_eq!(got.uri(), URI);
        let path = got.header("Path");
        assert!(path.contains("@192.0.2.1:5060;transport=tcp;lr"), "{path}");
        assert_eq!(path.ends_with(";ob>"), is_outbound, "{path}");
        assert_eq!(got.values("Via").len(), 2);
        sim.nothing_else();
    }
}

#[test]
fn a_challenge_and_credentials_are_between_phone_and_registrar() {
    let (mut sim, registrar) = world();
    let nina = phone(&mut sim, Transport::Tls);
    let credentials =
        "Digest username=\"nina\", realm=\"example.net\", nonce=\"1\", uri=\"sip:example.net\", response=\"2\"";
    let draft = sim.draft(&nina, "REGISTER", URI).add("Authorization", credentials);
    sim.send(&nina, &draft);
    let got = sim.expect(&registrar, "REGISTER");
    assert_eq!(got.header("Authorization"), credentials);
    let challenge = "Digest realm=\"example.net\", nonce=\"3\"";
    let answer = sim.answer(&registrar, &got, "401 Unauthorized");
    sim.deliver(&got.flow, answer.add("WWW-Authenticate", challenge).bytes());
    assert_eq!(sim.expect(&nina, "401").header("WWW-Authenticate"), challenge);
    sim.nothing_else();
}

#[test]
fn who_is_not_the_first_hop_keeps_no_flow() {
    let (mut sim, registrar) = world();
    let nina = phone(&mut sim, Transport::Tls);
    let draft = sim
        .draft(&nina, "REGISTER", URI)
        .set("Contact", &format!("<{}>{FLOW}", nina.contact))
        .add("Via", "SIP/2.0/UDP 10.1.2.3;branch=z9hG4bK-inner")
        .add("Path", "<sip:inner.example.net;lr;ob>");
    sim.send(&nina, &draft);
    let got = sim.expect(&registrar, "REGISTER");
    let path = got.values("Path");
    assert!(path[0].ends_with(";lr>"), "{path:?}");
    assert_eq!(path[1], "<sip:inner.example.net;lr;ob>");
}

#[test]
fn a_call_comes_in_over_the_flow_and_stays_there() {
    for transport in [Transport::Tls, Transport::Tcp, Transport::Udp] {
        let (mut sim, registrar) = world();
        let nina = phone(&mut sim, transport);
        let path = register(&mut sim, &registrar, &nina, FLOW).header("Path").to_owned();
        let sent = inwards(&mut sim, &registrar, &nina, "INVITE", &path);
        sim.send(&registrar, &sent);
        sim.expect(&registrar, "100");
        let invite = sim.expect(&nina, "INVITE");
        assert_eq!((invite.uri(), invite.flow), (&*nina.contact, nina.flow));
        assert!(!invite.has("Route"), "{}", invite.text());
        let answer = sim.respond(&nina, &invite, "200 OK");
        let ok = sim.expect(&registrar, "200");
        let (mut caller, mut callee) = (Dialog::of_caller(&sent, &ok), Dialog::of_callee(&invite, &answer));
        let ack = caller.ack(&mut sim, &registrar);
        sim.send(&registrar, &ack);
        assert_eq!(sim.expect(&nina, "ACK").flow, nina.flow);
        let info = caller.request(&mut sim, &registrar, "INFO");
        sim.send(&registrar, &info);
        sim.expect(&nina, "INFO");
        let bye = callee.request(&mut sim, &nina, "BYE");
        sim.send(&nina, &bye);
        sim.expect(&registrar, "BYE");
        sim.nothing_else();
    }
}

#[test]
fn when_the_flow_is_gone_it_is_430() {
    for transport in [Transport::Tls, Transport::Tcp] {
        let (mut sim, registrar) = world();
        let nina = phone(&mut sim, transport);
        let path = register(&mut sim, &registrar, &nina, FLOW).header("Path").to_owned();
        sim.close(&nina);
        for method in ["INVITE", "MESSAGE"] {
            let sent = inwards(&mut sim, &registrar, &nina, method, &path);
            sim.send(&registrar, &sent);
            if method == "INVITE" {
                sim.expect(&registrar, "100");
            }
            sim.expect(&registrar, "430");
        }
        sim.nothing_else();
    }
}

#[test]
fn a_token_that_is_not_ours_leads_nowhere() {
    let (mut sim, registrar) = world();
    let nina = phone(&mut sim, Transport::Tls);
    let path = register(&mut sim, &registrar, &nina, FLOW).header("Path").to_owned();
    let changed = path.replacen("sip:A", "sip:B", 1);
    assert_ne!(changed, path);
    for route in [&*changed, "<sip:192.0.2.1;lr>"] {
        let sent = inwards(&mut sim, &registrar, &nina, "MESSAGE", route);
        sim.send(&registrar, &sent);
        let got = sim.receive(&registrar).unwrap();
        assert!(got.status() >= 400, "{}", got.text());
    }
    sim.nothing_else();
}

#[test]
fn the_token_is_good_without_any_other_credentials_and_for_that_flow_only() {
    let (mut sim, registrar) = world();
    let (nina, other) = (phone(&mut sim, Transport::Tls), phone(&mut sim, Transport::Tls));
    let path = register(&mut sim, &registrar, &nina, FLOW).header("Path").to_owned();
    // From another address than the registrar's, to another phone's Contact: it comes to the flow of the token.
    let stranger = sim.peer(Transport::Udp, "203.0.113.99:5060");
    let sent = inwards(&mut sim, &stranger, &other, "MESSAGE", &path);
    sim.send(&stranger, &sent);
    assert_eq!(sim.expect(&nina, "MESSAGE").flow, nina.flow);
    sim.nothing_else();
}

#[test]
fn calls_go_out_by_service_route_and_to_the_registrar_without_one() {
    let (mut sim, registrar) = world();
    let nina = phone(&mut sim, Transport::Tls);
    let path = register(&mut sim, &registrar, &nina, FLOW).header("Path").to_owned();
    let service_route = "<sip:orig@203.0.113.50;transport=tcp;lr>";
    for (uri, routes, expected) in [
        (
            "sip:bob@elsewhere.example",
            vec!["<sip:192.0.2.1:5061;transport=tls;lr>", service_route],
            service_route,
        ),
        ("sip:otto@example.net", vec![], "<sip:203.0.113.50;transport=tcp;lr>"),
        (
            "sip:bob@elsewhere.example",
            vec![],
            "<sip:203.0.113.50;transport=tcp;lr>",
        ),
        // Its own Path, from its own flow, is on the way out.
        (
            "sip:otto@example.net",
            vec![&*path],
            "<sip:203.0.113.50;transport=tcp;lr>",
        ),
        (
            "sip:otto@example.net",
            vec!["<sip:example.net;lr>"],
            "<sip:203.0.113.50;transport=tcp;lr>",
        ),
    ] {
        let mut sent = sim.draft(&nina, "INVITE", uri);
        for route in routes {
            sent = sent.add("Route", route);
        }
        sim.send(&nina, &sent);
        sim.expect(&nina, "100");
        let invite = sim.expect(&registrar, "INVITE");
        assert_eq!((invite.uri(), &*invite.values("Route").join(",")), (uri, expected));
        let answer = sim.answer(&registrar, &invite, "407 Proxy Authentication Required");
        let answer = answer.add("Proxy-Authenticate", "Digest realm=\"example.net\", nonce=\"3\"");
        sim.deliver(&invite.flow, answer.bytes());
        sim.expect(&registrar, "ACK");
        sim.expect(&nina, "407");
    }
    sim.nothing_else();
}

#[test]
fn nothing_goes_anywhere_else() {
    let (mut sim, registrar) = world();
    let nina = phone(&mut sim, Transport::Tls);
    for (uri, route) in [
        ("sip:otto@example.net", "<sip:203.0.113.99;lr>"),
        (
            "sip:otto@example.net",
            "<sip:203.0.113.50;transport=tcp;maddr=203.0.113.99;lr>",
        ),
        ("sip:otto@example.net", "<sip:203.0.113.50:5070;transport=tcp;lr>"),
    ] {
        let sent = sim.draft(&nina, "MESSAGE", uri).add("Route", route);
        sim.send(&nina, &sent);
        assert!(sim.receive(&nina).unwrap().status() >= 400);
    }
    // A domain served here decides about its own calls.
    let sent = sim.draft(&nina, "MESSAGE", "sip:bob@example.com");
    sim.send(&nina, &sent);
    sim.expect(&nina, "407");
    // Somebody who has nothing to do with the domain is relayed nowhere.
    let stranger = sim.peer(Transport::Udp, "203.0.113.98:5060");
    let mut sent = sim.draft(&stranger, "MESSAGE", "sip:bob@elsewhere.example");
    sent = sent.set("From", "<sip:x@third.example>;tag=1");
    sim.send(&stranger, &sent);
    sim.expect(&stranger, "403");
    sim.nothing_to(&registrar);
    sim.nothing_else();
}

#[test]
fn a_registrar_that_cannot_be_reached_is_504() {
    let (mut sim, registrar) = world();
    let nina = phone(&mut sim, Transport::Tls);
    sim.unreachable.insert((Transport::Tcp, registrar.flow.remote));
    let draft = sim.draft(&nina, "REGISTER", URI);
    sim.send(&nina, &draft);
    sim.expect(&nina, "504");
}

#[test]
fn a_flow_that_was_lost_is_replaced_by_the_next_register() {
    let (mut sim, registrar) = world();
    let nina = phone(&mut sim, Transport::Tls);
    let before = register(&mut sim, &registrar, &nina, FLOW).header("Path").to_owned();
    let mut again = nina.clone();
    again.flow.connection = Some(ConnectionId(9_999));
    sim.close(&nina);
    let path = register(&mut sim, &registrar, &again, FLOW).header("Path").to_owned();
    assert_ne!(before, path);
    let sent = inwards(&mut sim, &registrar, &nina, "MESSAGE", &path);
    sim.send(&registrar, &sent);
    assert_eq!(sim.expect(&again, "MESSAGE").flow, again.flow);
}
