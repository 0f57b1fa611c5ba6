//! Host names of next hops: dnsmasq serves the records, peers on UDP and TCP are what they lead to (RFC 3263).

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener};
use std::process::Command;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::metrics::scrape;
use crate::support::daemon::binary;
use crate::support::nameserver::{NameServer, SilentNameServer};
use crate::support::namespace::{Own, run_in};
use crate::support::phone::{Phone, Received};
use crate::support::place::{Folder, free_port, loopback, wait_for};
use crate::support::{Configuration, Daemon};

/// Long enough for a message on loopback, on a busy machine.
const SOON: Duration = Duration::from_secs(10);

#[test]
fn weights_share_the_requests() {
    let (alice, server, names) = server_with(|server| {
        let (one, two) = (peer("one", server), peer("two", server));
        let records = [
            host("one", &one),
            host("two", &two),
            srv("_sip._udp", "one", &one, 10, 50),
            srv("_sip._udp", "two", &two, 10, 50),
        ];
        (records.to_vec(), [one, two])
    });
    let mut counts = [0; 2];
    for _ in 0..40 {
        message(&alice, "sip:carl@sip.test", "");
        counts[answer_by_either(&names.1)] += 1;
        assert_eq!(alice.answer("MESSAGE").status(), Some(200));
    }
    // A fair coin that is thrown 40 times shows one side less than four times once in a hundred million series.
    assert!(counts.iter().all(|count| *count >= 4), "{counts:?}");
    server.stop();
}

#[test]
fn the_next_priority_takes_over_from_a_dead_hop_and_stays_first_for_a_while() {
    for transport in ["_sip._udp", "_sip._tcp"] {
        let (alice, server, (_names, (silent, backup))) = server_with(|server| {
            let (silent, backup) = (peer("silent", server), peer("backup", server));
            let mut records = vec![
                host("silent", &silent),
                host("backup", &backup),
                // nobody listens for TCP there, and nobody answers on UDP
                srv(transport, "silent", &silent, 10, 0),
            ];
            match transport {
                "_sip._udp" => records.push(srv("_sip._udp", "backup", &backup, 20, 0)),
                _ => records.extend([
                    "naptr-record=sip.test,10,1,s,SIP+D2T,,_sip._tcp.sip.test".to_owned(),
                    "naptr-record=sip.test,20,1,s,SIP+D2U,,_sip._udp.sip.test".to_owned(),
                    srv("_sip._udp", "backup", &backup, 10, 0),
                ]),
            }
            (records, (silent, backup))
        });
        message(&alice, "sip:carl@sip.test", "");
        let got = backup.await_request("MESSAGE");
        backup.reply(&got, "200 OK", "");
        assert_eq!(alice.answer("MESSAGE").status(), Some(200));
        while silent.poll(Duration::from_millis(10)).is_some() {}

        message(&alice, "sip:carl@sip.test", "");
        let got = backup.await_request("MESSAGE");
        backup.reply(&got, "200 OK", "");
        assert_eq!(alice.answer("MESSAGE").status(), Some(200));
        silent.hears_nothing(Duration::from_millis(10));
        server.stop();
    }
}

#[test]
fn naptr_chooses_tcp_over_udp() {
    let listener = TcpListener::bind((loopback(), 0)).unwrap();
    let tcp = listener.local_addr().unwrap();
    let (alice, server, (_names, udp)) = server_with(|server| {
        let udp = peer("carl", server);
        let records = [
            format!("host-record=tcp.sip.test,{}", tcp.ip()),
            host("udp", &udp),
            format!("srv-host=_sip._tcp.sip.test,tcp.sip.test,{},10,0", tcp.port()),
            srv("_sip._udp", "udp", &udp, 10, 0),
            "naptr-record=sip.test,10,1,s,SIP+D2T,,_sip._tcp.sip.test".to_owned(),
            "naptr-record=sip.test,20,1,s,SIP+D2U,,_sip._udp.sip.test".to_owned(),
        ];
        (records.to_vec(), udp)
    });
    let arrived = answer_on(listener);
    message(&alice, "sip:carl@sip.test", "");
    let got = arrived.recv_timeout(SOON).unwrap();
    assert!(got.header("Via").starts_with("SIP/2.0/TCP "), "{}", got.text);
    assert_eq!(alice.answer("MESSAGE").status(), Some(200));
    udp.hears_nothing(Duration::from_millis(10));
    server.stop();
}

#[test]
fn a_large_request_goes_over_tcp_and_over_udp_when_nobody_listens_there() {
    let (alice, server, (names, udp)) = server_with(|server| {
        let udp = peer("carl", server);
        (vec![host("both", &udp), host("only", &udp)], udp)
    });
    let (padding, address) = (format!("X-Padding: {}\r\n", "x".repeat(1300)), udp.address());
    let uri = |name: &str| format!("sip:carl@{name}.sip.test:{}", address.port());
    // nothing listens for TCP, so that UDP has to do
    message(&alice, &uri("only"), &padding);
    let got = udp.await_request("MESSAGE");
    assert!(got.header("Via").starts_with("SIP/2.0/UDP "), "{}", got.text);
    assert!(got.text.len() > 1300);
    udp.reply(&got, "200 OK", "");
    assert_eq!(alice.answer("MESSAGE").status(), Some(200));

    let arrived = answer_on(TcpListener::bind(address).unwrap());
    // the failure is remembered, and another server has none
    drop(server);
    let again = Daemon::start(with_names(names.address()));
    let alice = Phone::new("alice", again.ip(), again.address());
    message(&alice, &uri("both"), &padding);
    let got = arrived.recv_timeout(SOON).unwrap();
    assert!(got.header("Via").starts_with("SIP/2.0/TCP "), "{}", got.text);
    assert_eq!(alice.answer("MESSAGE").status(), Some(200));
    udp.hears_nothing(Duration::from_millis(10));
    // a small one goes over UDP as ever
    let udp = udp.towards(again.address());
    message(&alice, &uri("both"), "");
    let got = udp.await_request("MESSAGE");
    udp.reply(&got, "200 OK", "");
    assert_eq!(alice.answer("MESSAGE").status(), Some(200));
    again.stop();
}

#[test]
fn a_host_of_both_families_is_tried_at_both() {
    let names = NameServer::start(&[]);
    let v6 = IpAddr::V6(Ipv6Addr::LOCALHOST);
    let listener = SocketAddr::new(v6, free_port(v6));
    let server = Daemon::start(with_names(names.address()).listen("udp", listener));
    let mut names = names;
    let alice = Phone::new("alice", server.ip(), server.address());
    let (on_v6, on_v4) = (Phone::new("six", v6, listener), peer("four", &server));
    let service = |phone: &Phone| {
        let port = phone.address().port();
        format!("srv-host=_sip._udp.sip.test,dual.sip.test,{port},1,1")
    };
    let host = format!("host-record=dual.sip.test,{},::1", on_v4.address().ip());
    // IPv6 is preferred where somebody is there
    names.serve(&[host.clone(), service(&on_v6), "local-ttl=1".to_owned()]);
    message(&alice, "sip:carl@sip.test", "");
    let got = on_v6.await_request("MESSAGE");
    assert_eq!(got.source, listener);
    let via = got.header("Via");
    assert!(via.starts_with(&format!("SIP/2.0/UDP {listener};")), "{via}");
    on_v6.reply(&got, "200 OK", "");
    assert_eq!(alice.answer("MESSAGE").status(), Some(200));
    // where nobody is, IPv4 has its turn
    names.serve(&[host, service(&on_v4), "local-ttl=1".to_owned()]);
    let got = wait_for("a request over IPv4", SOON, || {
        message(&alice, "sip:carl@sip.test", "");
        let got = on_v4.poll(Duration::from_millis(2500));
        // until then the old record holds
        while let Some(got) = on_v6.poll(Duration::from_millis(1)) {
            on_v6.reply(&got, "200 OK", "");
        }
        got
    });
    assert_eq!(got.source, server.address());
    on_v4.reply(&got, "200 OK", "");
    server.stop();
}

#[test]
fn names_without_a_place_are_a_480() {
    let records = [
        // RFC 2782: decidedly not available
        "srv-host=_sip._udp.sip.test",
        "host-record=sip.test,127.0.0.1",
        "host-record=v6.sip.test,2001:db8::1",
    ];
    let names = NameServer::start(&records.map(str::to_owned));
    let configuration = with_names(names.address());
    let http = SocketAddr::new(configuration.ip(), free_port(configuration.ip()));
    let server = Daemon::start(configuration.table(&format!("[http]\nbind = \"{http}\"\n")));
    let alice = Phone::new("alice", server.ip(), server.address());
    let too_long = format!("{}.sip.test", "a".repeat(64));
    for name in ["sip.test", "nowhere.sip.test", "v6.sip.test", &too_long] {
        message(&alice, &format!("sip:carl@{name}"), "");
        let answer = alice.answer("MESSAGE");
        assert_eq!(answer.status(), Some(480), "{name}: {}", answer.text);
        let warning = answer.header("Warning");
        assert!(warning.contains("unresolvable"), "{name}: {warning}");
    }
    let counted = scrape(http);
    let lookups = |result: &str| counted[&format!("ringbinder_lookups_total{{result=\"{result}\"}}")];
    assert_eq!((lookups("found"), lookups("failed")), (1.0, 0.0));
    assert!(lookups("none") >= 8.0, "{}", lookups("none"));
    server.stop();
}

#[test]
fn a_change_is_seen_when_its_ttl_has_passed_and_old_records_outlive_their_name_server() {
    let (alice, server, (mut names, (old, new))) = server_with(|server| {
        let (old, new) = (peer("old", server), peer("new", server));
        let records = vec![
            host("a", &old),
            srv("_sip._udp", "a", &old, 1, 1),
            "local-ttl=1".to_owned(),
        ];
        (records, (old, new))
    });
    let is_at = |phone: &Phone| {
        message(&alice, "sip:carl@sip.test", "");
        let index = answer_by_either(&[phone, if std::ptr::eq(phone, &old) { &new } else { &old }]);
        assert_eq!(alice.answer("MESSAGE").status(), Some(200));
        index == 0
    };
    assert!(is_at(&old));
    names.serve(&[
        host("b", &new),
        srv("_sip._udp", "b", &new, 1, 1),
        "local-ttl=1".to_owned(),
    ]);
    wait_for("the new record to be used", SOON, || is_at(&new).then_some(()));
    names.stop();
    let until = Instant::now() + Duration::from_millis(1500);
    while Instant::now() < until {
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(is_at(&new));
    server.stop();
}

#[test]
fn other_name_servers_of_the_system_are_asked_when_it_names_them() {
    let name = "names::other_name_servers_of_the_system_are_asked_when_it_names_them";
    let setup = "touch /tmp/ringbinder-resolv.$$\nmount --bind /tmp/ringbinder-resolv.$$ /etc/resolv.conf\n\
                 rm /tmp/ringbinder-resolv.$$";
    run_in(Own::Mounts, name, setup, || {
        // What is mounted there is this test's own.
        let ask =
            |names: &NameServer| std::fs::write("/etc/resolv.conf", format!("nameserver {}\n", names.address().ip()));
        let names = [NameServer::start_on(53, &[]), NameServer::start_on(53, &[])];
        ask(&names[0]).unwrap();
        let server = Daemon::start(Configuration::new());
        let peers = [peer("one", &server), peer("two", &server)];
        let mut names = names.into_iter().zip(&peers).map(|(mut names, peer)| {
            names.serve(&[
                host("a", peer),
                srv("_sip._udp", "a", peer, 1, 1),
                "local-ttl=3600".to_owned(),
            ]);
            names
        });
        let (_first, second) = (names.next(), names.next().unwrap());
        let alice = Phone::new("alice", server.ip(), server.address());
        let goes_to = || {
            message(&alice, "sip:carl@sip.test", "");
            let index = answer_by_either(&peers);
            assert_eq!(alice.answer("MESSAGE").status(), Some(200));
            index
        };
        assert_eq!(goes_to(), 0);
        ask(&second).unwrap();
        wait_for("the other name server to be asked", SOON * 2, || {
            (goes_to() == 1).then_some(())
        });
        server.stop();
    });
}

#[test]
fn a_name_server_that_hangs_fails_its_own_calls_only() {
    let silent = SilentNameServer::start();
    let server = Daemon::start(with_names(silent.address()));
    let alice = Phone::new("alice", server.ip(), server.address());
    let bob = Phone::new("bob", server.ip(), server.address());
    message(&alice, "sip:carl@hanging.sip.test", "");
    let asked = Instant::now();
    bob.register();
    let carol = Phone::new("carol", server.ip(), server.address());
    carol.call(&bob);
    let direct = peer("direct", &server);
    message(&carol, &format!("sip:direct@{}", direct.address()), "");
    let got = direct.await_request("MESSAGE");
    direct.reply(&got, "200 OK", "");
    assert_eq!(carol.answer("MESSAGE").status(), Some(200));
    let answer = alice.answer("MESSAGE");
    assert_eq!(answer.status(), Some(480), "{}", answer.text);
    assert!(asked.elapsed() < Duration::from_secs(9));
    server.stop();
}

#[test]
fn a_flood_of_names_is_bounded_counted_and_leaves_room_for_others() {
    let silent = SilentNameServer::start();
    let configuration = with_names(silent.address());
    let http = SocketAddr::new(configuration.ip(), free_port(configuration.ip()));
    let server = Daemon::start(configuration.table(&format!("[http]\nbind = \"{http}\"\n")));
    let alice = Phone::new("alice", server.ip(), server.address());
    let refused = || scrape(http)["ringbinder_lookups_refused_total{limit=\"source\"}"];
    assert_eq!(refused(), 0.0);
    for number in 0..100 {
        message(&alice, &format!("sip:carl@{number}.sip.test:5060"), "");
    }
    assert!(refused() > 0.0);
    // 64 at a time, each sent at most twice
    let queries = silent.queries();
    assert!((32..=300).contains(&queries), "{queries}");
    let bob = Phone::new("bob", server.ip(), server.address());
    bob.register();
    Phone::new("carol", server.ip(), server.address()).call(&bob);
    assert_eq!(scrape(http)["ringbinder_lookups_refused_total{limit=\"all\"}"], 0.0);
    server.stop();
}

#[test]
fn one_look_up_serves_many_calls() {
    let silent = SilentNameServer::start();
    let server = Daemon::start(with_names(silent.address()));
    let alice = Phone::new("alice", server.ip(), server.address());
    for _ in 0..20 {
        message(&alice, "sip:carl@hanging.sip.test:5060", "");
    }
    for _ in 0..20 {
        assert_eq!(alice.answer("MESSAGE").status(), Some(480));
    }
    // one name, sent twice; a call that came late may have begun another
    let queries = silent.queries();
    assert!((1..=8).contains(&queries), "{queries}");
    server.stop();
}

#[test]
fn the_command_says_where_a_uri_leads() {
    let names = NameServer::start(
        &[
            "local-ttl=60",
            "host-record=a.sip.test,127.0.0.21",
            "host-record=b.sip.test,127.0.0.22",
            "srv-host=_sip._udp.sip.test,a.sip.test,5060,10,60",
            "srv-host=_sip._udp.sip.test,b.sip.test,5070,20,40",
            "srv-host=_sip._udp.none.sip.test",
            "naptr-record=sip.test,10,10,s,SIPS+D2T,,_sips._tcp.sip.test",
            "naptr-record=sip.test,20,10,s,SIP+D2U,,_sip._udp.sip.test",
        ]
        .map(str::to_owned),
    );
    let folder = Folder::new();
    let text = format!(
        "[[listen]]\ntransport = \"udp\"\nbind = \"127.0.0.1:5060\"\n[dns]\nservers = [\"{}\"]\n[[domain]]\nname = \"example.test\"\n",
        names.address()
    );
    folder.write("a.toml", &text);
    let run = |uri: &str| {
        let mut command = Command::new(binary());
        command
            .current_dir(folder.path())
            .args(["dns", uri, "--config", "a.toml"]);
        let output = command.output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let expected = "\
can be sent with: udp (IPv4)
NAPTR sip.test: TTL 60
  order 10 preference 10 flags \"s\" service \"SIPS+D2T\" to _sips._tcp.sip.test - left out: no listener for tls
  order 20 preference 10 flags \"s\" service \"SIP+D2U\" to _sip._udp.sip.test
SRV _sip._udp.sip.test: TTL 60
  priority 10 weight 60 port 5060 to a.sip.test
  priority 20 weight 40 port 5070 to b.sip.test
A a.sip.test: TTL 60
  127.0.0.21
A b.sip.test: TTL 60
  127.0.0.22
order (drawn anew by weight for each request):
  1. udp 127.0.0.21:5060 from 127.0.0.1
  2. udp 127.0.0.22:5070 from 127.0.0.1
";
    assert_eq!(run("sip:bob@sip.test"), (Some(0), expected.to_owned(), String::new()));
    let expected = "\
can be sent with: udp (IPv4)
SRV _sip._udp.none.sip.test: TTL 60
  priority 0 weight 0 port 1 to . - left out: the service is not offered
leads nowhere
";
    let nowhere = run("sip:none.sip.test;transport=udp");
    assert_eq!(nowhere, (Some(1), expected.to_owned(), String::new()));
    let (status, output, error) = run("tel:+15550100");
    assert_eq!((status, &*output), (Some(2), ""));
    assert_eq!(error, "error: tel:+15550100: only sip and sips URIs name a host\n");
}

/// A server that asks a name server for names, and waits a second for a hop when there is another.
fn with_names(names: SocketAddr) -> Configuration {
    Configuration::new().table(&format!("[dns]\nservers = [\"{names}\"]\n[proxy]\nhop_timeout = 1\n"))
}

/// Such a server, its name server with the records that `make` says, what else it makes, and a phone of alice.
fn server_with<T>(make: impl FnOnce(&Daemon) -> (Vec<String>, T)) -> (Phone, Daemon, (NameServer, T)) {
    let mut names = NameServer::start(&[]);
    let server = Daemon::start(with_names(names.address()));
    let (records, made) = make(&server);
    names.serve(&records);
    let alice = Phone::new("alice", server.ip(), server.address());
    (alice, server, (names, made))
}

/// Somebody elsewhere, on an address of their own.
fn peer(name: &str, server: &Daemon) -> Phone {
    Phone::new(name, loopback(), server.address())
}

fn host(name: &str, phone: &Phone) -> String {
    format!("host-record={name}.sip.test,{}", phone.address().ip())
}

fn srv(service: &str, name: &str, phone: &Phone, priority: u16, weight: u16) -> String {
    let port = phone.address().port();
    format!("srv-host={service}.sip.test,{name}.sip.test,{port},{priority},{weight}")
}

/// Sends a MESSAGE with credentials; `headers` are further lines. The answer is left to the caller.
fn message(from: &Phone, uri: &str, headers: &str) {
    let call_id = format!("names-{}-{}", from.address(), from.fresh());
    let lines = |cseq: u32, credentials: &str| {
        let aor = from.aor();
        format!(
            "From: <{aor}>;tag=1\r\nTo: <{uri}>\r\nCall-ID: {call_id}\r\nCSeq: {cseq} MESSAGE\r\n{credentials}{headers}"
        )
    };
    from.request("MESSAGE", uri, &lines(1, ""));
    let challenge = loop {
        let answer = from.receive();
        if answer.header("Call-ID") == call_id {
            break answer;
        }
    };
    assert_eq!(challenge.status(), Some(407), "{}", challenge.text);
    let credentials = from.credentials(&challenge, "MESSAGE", uri);
    from.request("MESSAGE", uri, &lines(2, &credentials));
}

/// Lets the one of two that has got a request answer it, and says which it is.
fn answer_by_either<P: std::borrow::Borrow<Phone>>(phones: &[P; 2]) -> usize {
    wait_for("a request", SOON, || {
        phones.iter().position(|phone| {
            let phone = phone.borrow();
            let got = phone.poll(Duration::from_millis(5));
            got.inspect(|got| phone.reply(got, "200 OK", "")).is_some()
        })
    })
}

/// Answers one request on one connection with 200, and tells what it was.
fn answer_on(listener: TcpListener) -> mpsc::Receiver<Received> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let (mut stream, source) = listener.accept().unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        let mut bytes = Vec::new();
        while !bytes.windows(4).any(|window| window == b"\r\n\r\n") {
            let mut buffer = [0; 4096];
            let count = stream.read(&mut buffer).unwrap();
            bytes.extend_from_slice(&buffer[..count]);
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let got = Received { text, source };
        let mut answer = "SIP/2.0 200 OK\r\n".to_owned();
        for name in ["Via", "From", "Call-ID", "CSeq"] {
            for value in got.headers(name) {
                answer.push_str(&format!("{name}: {value}\r\n"));
            }
        }
        answer.push_str(&format!(
            "To: {};tag=tcp\r\nContent-Length: 0\r\n\r\n",
            got.header("To")
        ));
        stream.write_all(answer.as_bytes()).unwrap();
        sender.send(got).unwrap();
        // until the server closes
        let _ = stream.read(&mut [0; 16]);
    });
    receiver
}
