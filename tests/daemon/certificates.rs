//! Certificates (RFC 6066 §3, RFC 5922): chosen by name, replaced while connections are open, asked for and checked.
//! OpenSSL's client and server are the other side.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::{Command, Stdio};
use std::time::Duration;

use rcgen::string::Ia5String;
use rcgen::{CertificateParams, DnType, KeyPair, SanType};

use crate::support::phone::Phone;
use crate::support::place::{Bound, free_port, is_bound, wait_for};
use crate::support::program::Program;
use crate::support::stream_phone::StreamPhone;
use crate::support::{Configuration, Daemon};

const LIMIT: Duration = Duration::from_secs(20);

/// A certificate of its own with this common name and these alternative names, and its key.
fn certificate(common_name: &str, names: Vec<SanType>) -> (String, String) {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.subject_alt_names = names;
    let key = KeyPair::generate().unwrap();
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

fn dns(name: &str) -> SanType {
    SanType::DnsName(Ia5String::try_from(name).unwrap())
}

/// What OpenSSL's client says of a handshake with `server`, with these further arguments.
fn handshake(server: &Daemon, arguments: &[&str]) -> String {
    let mut command = Command::new("openssl");
    command.args(["s_client", "-connect", &server.tls_address().to_string()]);
    command.args(arguments).current_dir(server.folder().path());
    let output = command.stdin(Stdio::null()).output().unwrap();
    [output.stdout, output.stderr]
        .map(|text| String::from_utf8_lossy(&text).into_owned())
        .concat()
}

/// The common name of the certificate that is shown to who asks for `name`.
fn shown(server: &Daemon, name: Option<&str>) -> String {
    let arguments = name.map_or(vec!["-noservername"], |name| vec!["-servername", name]);
    let said = handshake(server, &arguments);
    let subject = said.lines().find_map(|line| line.strip_prefix("subject=CN = "));
    subject.unwrap_or_else(|| panic!("{said}")).to_owned()
}

#[test]
fn a_client_is_shown_the_certificate_of_the_domain_that_it_asks_for() {
    let (cert, key) = certificate("of the domain", vec![dns("example.test")]);
    let server = Daemon::start(
        Configuration::new()
            .alias("sip.example.test")
            .domain_key("cert = \"domain.pem\"\nkey = \"domain-key.pem\"")
            .file("domain.pem", &cert)
            .file("domain-key.pem", &key),
    );

    for name in ["example.test", "sip.example.test", "SIP.Example.test"] {
        assert_eq!(shown(&server, Some(name)), "of the domain", "{name}");
    }
    let own = shown(&server, None);
    assert_ne!(own, "of the domain");
    assert_eq!(shown(&server, Some("elsewhere.test")), own);
    server.stop();
}

#[test]
fn certificates_are_replaced_while_a_call_is_up_unless_they_are_broken() {
    let server = Daemon::start(Configuration::new());
    let bob = Phone::new("bob", server.ip(), server.address());
    let mut alice = StreamPhone::tls("alice", &server);
    alice.register("");
    let session = server.folder().join("session.pem");
    let session = session.to_str().unwrap();
    handshake(&server, &["-tls1_2", "-sess_out", session]);
    assert!(handshake(&server, &["-tls1_2", "-sess_in", session]).contains("Reused, TLSv1.2"));
    // Bob's call is at alice, who has not answered.
    let call = std::thread::scope(|scope| {
        let ringing = scope.spawn(|| {
            let invite = alice.await_request("INVITE");
            alice.reply(&invite, "180 Ringing");
            invite
        });
        bob.start_call("sip:alice@example.test");
        assert_eq!(bob.answer("INVITE").status(), Some(180));
        ringing.join().unwrap()
    });

    let (cert, key) = certificate("the second", vec![dns("example.test")]);
    server.folder().write("cert.pem", &cert);
    server.folder().write("key.pem", &key);
    server.signal("HUP");
    wait_for("the second certificate", LIMIT, || {
        (shown(&server, None) == "the second").then_some(())
    });
    let resumed = handshake(&server, &["-tls1_2", "-sess_in", session]);
    assert!(resumed.contains("New, TLSv1.2"), "{resumed}");

    server
        .folder()
        .write("cert.pem", "-----BEGIN CERTIFICATE-----\nbroken\n");
    server.signal("HUP");
    wait_for("a word about the broken file", LIMIT, || {
        server
            .log()
            .contains("the changed certificate cannot be used")
            .then_some(())
    });
    assert_eq!(shown(&server, None), "the second");

    // The connection is still the first one, and so is the call.
    alice.reply(&call, "200 OK");
    assert_eq!(bob.answer("INVITE").status(), Some(200));
    server.stop();
}

#[test]
fn clients_without_a_certificate_are_served_where_none_is_required() {
    let (theirs, their_key) = certificate("a trunk", vec![dns("trunk.example")]);
    let (others, others_key) = certificate("somebody", vec![dns("trunk.example")]);
    let start = |wanted: &str| {
        Daemon::start(
            Configuration::new()
                .tls_key(&format!("client_certificates = {wanted:?}\nclient_ca = \"theirs.pem\""))
                .file("theirs.pem", &theirs)
                .file("their-key.pem", &their_key)
                .file("others.pem", &others)
                .file("others-key.pem", &others_key),
        )
    };
    // A server that refuses a certificate of TLS 1.3 says so after the client believes to be done: 1.2 tells sooner.
    let is_served = |server: &Daemon, certificate: &[&str]| {
        let said = handshake(server, &[&["-tls1_2"], certificate].concat());
        !said.contains("alert") && said.contains("Cipher is ECDHE")
    };
    let (right, wrong) = (
        ["-cert", "theirs.pem", "-key", "their-key.pem"],
        ["-cert", "others.pem", "-key", "others-key.pem"],
    );
    for (wanted, without, with_wrong) in [("optional", true, false), ("required", false, false)] {
        let server = start(wanted);
        assert_eq!(is_served(&server, &[]), without, "{wanted}, none");
        assert!(is_served(&server, &right), "{wanted}, the right one");
        assert_eq!(is_served(&server, &wrong), with_wrong, "{wanted}, a wrong one");
        server.stop();
    }
}

#[test]
fn servers_are_checked_by_the_names_that_sip_goes_by() {
    let uri = |text: &str| SanType::URI(Ia5String::try_from(text).unwrap());
    for (names, is_trusted) in [
        (vec![dns("localhost")], true),
        (vec![uri("sip:localhost"), dns("other.example")], true),
        (vec![uri("sip:other.example"), dns("localhost")], false),
        (vec![uri("sip:alice@localhost"), dns("localhost")], true),
        (vec![dns("*.localhost")], false),
        (vec![dns("other.example")], false),
    ] {
        let shown = format!("{names:?}");
        let (cert, key) = certificate("a server", names);
        let server = Daemon::start(
            Configuration::new()
                .table("[tls]\nca_file = \"peer.pem\"")
                .file("peer.pem", &cert)
                .file("peer-key.pem", &key),
        );
        let localhost = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let peer = SocketAddr::new(localhost, free_port(localhost));
        let mut command = Command::new("openssl");
        command.args([
            "s_server",
            "-accept",
            &peer.to_string(),
            "-cert",
            "peer.pem",
            "-key",
            "peer-key.pem",
        ]);
        let program = Program::start("s_server", command, server.folder());
        wait_for("s_server to listen", LIMIT, || {
            is_bound(Bound::TcpListener, peer.ip(), peer.port()).then_some(())
        });
        let alice = Phone::new("alice", server.ip(), server.address());
        let target = format!("sip:service@localhost:{};transport=tls", peer.port());

        let has_come = || program.output().contains(&format!("INVITE {target}"));
        if is_trusted {
            alice.start_call(&target);
            wait_for(&format!("the INVITE, {shown}"), LIMIT, || has_come().then_some(()));
        } else {
            assert!(alice.try_call(&target).is_some_and(|status| status >= 400), "{shown}");
            assert!(!has_come(), "{shown}");
        }
        drop(program);
        // The call that nobody has answered would hold the end up.
        drop(server);
    }
}
