//! Phones behind two routers that translate addresses (nftables masquerade), on UDP, TCP and TLS: they call each other, lose
//! what their router knows of them or its address, in the middle of a registration too, and are reached again.

use std::net::SocketAddr;

use crate::support::namespace::{Own, inside, run_in};
use crate::support::phone::{Phone, Received, credentials, uri_of};
use crate::support::stream_phone::StreamPhone;
use crate::support::{Configuration, DOMAIN, Daemon};

/// The server has 203.0.113.1 on a segment with the routers `left` and `right`, 203.0.113.11 and .12. Behind each are two
/// networks of one phone, 192.168.1.10 and .11. A router gives each connection a port at random.
const SETUP: &str = "
mount -t tmpfs none /run
mkdir /run/netns
ip link set lo up
ip link add segment type bridge
ip address add 203.0.113.1/24 dev segment
ip link set segment up
number=10
for side in left right; do
    number=$((number + 1))
    ip netns add $side
    ip link add to-$side type veth peer name outside netns $side
    ip link set to-$side master segment up
    ip -n $side address add 203.0.113.$number/24 dev outside
    ip -n $side link set outside up
    ip -n $side link add inside type bridge
    ip -n $side address add 192.168.1.1/24 dev inside
    ip -n $side link set inside up
    ip netns exec $side sh -c 'echo 1 > /proc/sys/net/ipv4/ip_forward'
    ip netns exec $side nft -f - <<END
table ip nat {
    chain outwards {
        type nat hook postrouting priority srcnat
        oifname outside masquerade random
    }
}
END
    for phone in 10 11; do
        ip netns add $side-$phone
        ip -n $side link add to-$phone type veth peer name eth0 netns $side-$phone
        ip -n $side link set to-$phone master inside up
        ip -n $side-$phone address add 192.168.1.$phone/24 dev eth0
        ip -n $side-$phone link set lo up
        ip -n $side-$phone link set eth0 up
        ip -n $side-$phone route add default via 192.168.1.1
    done
done";

const SERVER: &str = "203.0.113.1:5060";

#[derive(Clone, Copy, PartialEq)]
enum Over {
    Udp,
    Tcp,
    Tls,
}

/// A phone on any transport, in one of the networks.
struct Line {
    user: &'static str,
    network: &'static str,
    over: Over,
    socket: Socket,
    cseq: u32,
}

enum Socket {
    Datagrams(Phone),
    Stream(StreamPhone),
}

impl Line {
    fn new(user: &'static str, network: &'static str, over: Over, server: &Daemon) -> Line {
        Line {
            user,
            network,
            over,
            socket: open(user, network, over, server),
            cseq: 0,
        }
    }

    /// Leaves its connection as it is, makes another one, and says the same of itself as before. A phone on UDP keeps its
    /// socket.
    fn reconnect(&mut self, server: &Daemon) -> Option<StreamPhone> {
        let Socket::Stream(old) = &self.socket else {
            return None;
        };
        let Socket::Stream(new) = open(self.user, self.network, self.over, server) else {
            return None;
        };
        let new = new.at_the_place_of(old);
        match std::mem::replace(&mut self.socket, Socket::Stream(new)) {
            Socket::Stream(old) => Some(old),
            Socket::Datagrams(_) => None,
        }
    }

    fn aor(&self) -> String {
        format!("sip:{}@{DOMAIN}", self.user)
    }

    fn contact(&self) -> String {
        match &self.socket {
            Socket::Datagrams(phone) => phone.contact(),
            Socket::Stream(phone) => phone.contact(),
        }
    }

    fn request(&mut self, method: &str, uri: &str, headers: &str) {
        match &mut self.socket {
            Socket::Datagrams(phone) => _ = phone.request(method, uri, headers),
            Socket::Stream(phone) => phone.request(method, uri, headers),
        }
    }

    fn reply(&mut self, request: &Received, status: &str) {
        let contact = format!("Contact: {}\r\n", self.contact());
        match &mut self.socket {
            Socket::Datagrams(phone) => phone.reply(request, status, &contact),
            Socket::Stream(phone) => phone.reply(request, status),
        }
    }

    /// The next request of this method, or final answer to it when `status` is given, of the call; what else comes is older.
    fn hear(&mut self, call_id: &str, method: &str, status: Option<u16>) -> Received {
        for _ in 0..MESSAGES_MAX {
            let received = match &mut self.socket {
                Socket::Datagrams(phone) => phone.receive(),
                Socket::Stream(phone) => phone.receive(),
            };
            let is_of_call = received.header("Call-ID") == call_id && received.header("CSeq").ends_with(method);
            let is_final = received.status().is_none_or(|status| status >= 200);
            if is_of_call
                && is_final
                && received.status().is_some() == status.is_some()
                && !is_ack_of(&received, method)
            {
                assert_eq!(received.status(), status, "{}", received.text);
                return received;
            }
        }
        panic!("{} did not hear {method} {status:?}", self.user);
    }

    fn register_headers(&mut self, credentials: &str) -> String {
        self.cseq += 1;
        let (aor, contact, cseq) = (self.aor(), self.contact(), self.cseq);
        format!(
            "From: <{aor}>;tag=r\r\nTo: <{aor}>\r\nCall-ID: {}\r\nCSeq: {cseq} REGISTER\r\n\
             Contact: {contact};+sip.instance=\"<urn:uuid:{0}>\";reg-id=1;expires=3600\r\n\
             Supported: path, outbound\r\n{credentials}",
            self.user
        )
    }

    /// Asks to be registered, and returns the header line that will do it.
    fn begin_registration(&mut self) -> String {
        let uri = format!("sip:{DOMAIN}");
        let headers = self.register_headers("");
        self.request("REGISTER", &uri, &headers);
        let challenge = self.hear(self.user, "REGISTER", Some(401));
        credentials(self.user, &challenge, "REGISTER", &uri)
    }

    /// Returns where the server sees the phone: the address of its router, and a port there.
    fn end_registration(&mut self, credentials: &str) -> String {
        let headers = self.register_headers(credentials);
        self.request("REGISTER", &format!("sip:{DOMAIN}"), &headers);
        let ok = self.hear(self.user, "REGISTER", Some(200));
        assert_eq!(ok.headers("Contact").count(), 1, "{}", ok.text);
        let via = ok.header("Via");
        let [address, port] = ["received", "rport"].map(|name| {
            let (_, rest) = via.split_once(&format!(";{name}=")).unwrap();
            rest.split(';').next().unwrap()
        });
        format!("{address}:{port}")
    }

    fn register(&mut self) -> String {
        let credentials = self.begin_registration();
        self.end_registration(&credentials)
    }
}

/// An ACK has the CSeq number of its INVITE and a method of its own.
fn is_ack_of(received: &Received, method: &str) -> bool {
    received.method().is_some_and(|other| other != method)
}

fn open(user: &str, network: &str, over: Over, server: &Daemon) -> Socket {
    let address: SocketAddr = SERVER.parse().unwrap();
    inside(network, || match over {
        Over::Udp => Socket::Datagrams(Phone::new(user, private_address(network), address)),
        Over::Tcp => Socket::Stream(StreamPhone::tcp(user, server)),
        Over::Tls => Socket::Stream(StreamPhone::tls(user, server)),
    })
}

fn private_address(network: &str) -> std::net::IpAddr {
    let (_, host) = network.split_once('-').unwrap();
    format!("192.168.1.{host}").parse().unwrap()
}

/// A call: what both sides need for further requests.
struct Call {
    id: String,
    caller: String,
    callee: String,
    routes: Vec<String>,
}

impl Call {
    fn headers(&self, sender: Side, cseq: u32, method: &str) -> String {
        let (from, to) = match sender {
            Side::Caller => (&self.caller, &self.callee),
            Side::Callee => (&self.callee, &self.caller),
        };
        let routes: String = match sender {
            Side::Caller => self
                .routes
                .iter()
                .rev()
                .map(|route| format!("Route: {route}\r\n"))
                .collect(),
            Side::Callee => self.routes.iter().map(|route| format!("Route: {route}\r\n")).collect(),
        };
        let id = &self.id;
        format!("{routes}From: {from}\r\nTo: {to}\r\nCall-ID: {id}\r\nCSeq: {cseq} {method}\r\n")
    }
}

#[derive(Clone, Copy)]
enum Side {
    Caller,
    Callee,
}

/// Sends an INVITE with credentials. What is returned is no dialog yet.
fn invite(caller: &mut Line, callee: &Line) -> Call {
    caller.cseq += 2;
    let call = Call {
        id: format!("{}-{}", caller.user, caller.cseq),
        caller: format!("<{}>;tag=caller", caller.aor()),
        callee: format!("<{}>", callee.aor()),
        routes: Vec::new(),
    };
    let uri = callee.aor();
    let contact = format!("Contact: {}\r\n", caller.contact());
    let headers = |cseq| call.headers(Side::Caller, cseq, "INVITE") + &contact;
    caller.request("INVITE", &uri, &headers(1));
    // It is kept nowhere, and needs no ACK.
    let challenge = caller.hear(&call.id, "INVITE", Some(407));
    let credentials = credentials(caller.user, &challenge, "INVITE", &uri);
    caller.request("INVITE", &uri, &(headers(2) + &credentials));
    call
}

/// A call that is answered, and ended by `ends`.
fn call(caller: &mut Line, callee: &mut Line, ends: Side) {
    let mut call = invite(caller, callee);
    let invite = callee.hear(&call.id, "INVITE", None);
    assert_eq!(invite.uri(), uri_of(&callee.contact()));
    callee.reply(&invite, "200 OK");
    let ok = caller.hear(&call.id, "INVITE", Some(200));
    call.callee = ok.header("To").to_owned();
    call.routes = ok.headers("Record-Route").map(str::to_owned).collect();
    let (to_caller, to_callee) = (caller.contact(), callee.contact());
    caller.request("ACK", uri_of(&to_callee), &call.headers(Side::Caller, 2, "ACK"));
    callee.hear(&call.id, "ACK", None);
    let (from, to, target) = match ends {
        Side::Caller => (caller, callee, to_callee),
        Side::Callee => (callee, caller, to_caller),
    };
    from.request("BYE", uri_of(&target), &call.headers(ends, 3, "BYE"));
    let bye = to.hear(&call.id, "BYE", None);
    to.reply(&bye, "200 OK");
    from.hear(&call.id, "BYE", Some(200));
}

/// Each calls the other, and each ends a call of its own and one of the other's.
fn call_each_other(one: &mut Line, other: &mut Line) {
    for ends in [Side::Caller, Side::Callee] {
        call(one, other, ends);
        call(other, one, ends);
    }
}

fn shell(script: &str) {
    let script = format!("PATH=\"$PATH:/usr/sbin:/sbin\"\n{script}");
    let status = std::process::Command::new("sh")
        .args(["-ec", &script])
        .status()
        .unwrap();
    assert!(status.success(), "{script}");
}

/// The router `right` forgets all that it has translated: what comes for it is nobody's, and a TCP segment is answered
/// with a reset.
fn forget() {
    shell("ip -n right link set outside down\nip -n right link set outside up");
}

/// The router `right` gets another address.
fn move_to(address: &str) {
    shell(&format!(
        "ip -n right address flush dev outside\nip -n right address add {address}/24 dev outside"
    ));
}

fn scene(name: &str, over: Over) {
    run_in(Own::Networks, &format!("two_nats::{name}"), SETUP, || {
        let address: SocketAddr = SERVER.parse().unwrap();
        let server = Daemon::start(Configuration::on(address.ip(), address.port()));
        let mut alice = Line::new("alice", "left-10", over, &server);
        let mut bob = Line::new("bob", "right-10", over, &server);
        // Behind the same router as alice; bob has alice's private address.
        let mut carol = Line::new("carol", "left-11", over, &server);
        for phone in [&mut alice, &mut carol] {
            assert!(phone.register().starts_with("203.0.113.11:"));
        }
        let first = bob.register();
        assert!(first.starts_with("203.0.113.12:"), "{first}");
        call_each_other(&mut alice, &mut bob);
        call_each_other(&mut alice, &mut carol);

        // The router forgets: who is on a connection is known to be gone as soon as somebody calls.
        forget();
        if over != Over::Udp {
            let lost = invite(&mut alice, &bob);
            alice.hear(&lost.id, "INVITE", Some(480));
            let lost = invite(&mut carol, &bob);
            carol.hear(&lost.id, "INVITE", Some(480));
        }
        // Others do not notice, and bob is back with his next REGISTER, from another port.
        call(&mut alice, &mut carol, Side::Callee);
        let old = bob.reconnect(&server);
        let second = bob.register();
        assert!(
            second.starts_with("203.0.113.12:") && second != first,
            "{first} {second}"
        );
        call_each_other(&mut alice, &mut bob);
        drop(old);

        // It forgets, and gets another address, between the two halves of a registration.
        let old = bob.reconnect(&server);
        let credentials = bob.begin_registration();
        forget();
        move_to("203.0.113.99");
        let older = bob.reconnect(&server);
        let third = bob.end_registration(&credentials);
        assert!(third.starts_with("203.0.113.99:"), "{third}");
        call_each_other(&mut carol, &mut bob);
        call_each_other(&mut alice, &mut bob);
        drop((old, older));
        server.stop();
    });
}

#[test]
fn phones_behind_two_routers_on_udp() {
    scene("phones_behind_two_routers_on_udp", Over::Udp);
}

#[test]
fn phones_behind_two_routers_on_tcp() {
    scene("phones_behind_two_routers_on_tcp", Over::Tcp);
}

#[test]
fn phones_behind_two_routers_on_tls() {
    scene("phones_behind_two_routers_on_tls", Over::Tls);
}

/// The most messages that are heard before the one that is waited for.
const MESSAGES_MAX: usize = 20;
