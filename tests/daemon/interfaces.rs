//! A server with two interfaces between which nothing is routed, and a phone behind each.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::support::namespace::{Own, inside, run_in};
use crate::support::phone::{Phone, uri_of};
use crate::support::{Configuration, Daemon};

/// The server has 10.1.0.1 towards the network `left`, whose phone has 10.1.0.2, and 10.2.0.1 towards `right`.
const SETUP: &str = "
mount -t tmpfs none /run
mkdir /run/netns
ip link set lo up
number=0
for side in left right; do
    number=$((number + 1))
    ip netns add $side
    ip link add to-$side type veth peer name eth0 netns $side
    ip address add 10.$number.0.1/24 dev to-$side
    ip link set to-$side up
    ip -n $side address add 10.$number.0.2/24 dev eth0
    ip -n $side link set eth0 up
done";

#[test]
fn phones_behind_two_interfaces_call_each_other() {
    let name = "interfaces::phones_behind_two_interfaces_call_each_other";
    run_in(Own::Networks, name, SETUP, || {
        let [left, right] = ["10.1.0.1:5060", "10.2.0.1:5060"].map(|at| at.parse::<SocketAddr>().unwrap());
        let configuration = Configuration::on(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 5060).probe(left);
        let server = Daemon::start(configuration.alias("10.1.0.1").alias("10.2.0.1"));
        let alice = inside("left", || Phone::new("alice", [10, 1, 0, 2].into(), left));
        let bob = inside("right", || Phone::new("bob", [10, 2, 0, 2].into(), right));
        alice.register();
        bob.register();
        let dialog = alice.call(&bob);
        assert_eq!(dialog.invite.source, right);
        let via = dialog.invite.header("Via");
        assert!(via.starts_with("SIP/2.0/UDP 10.2.0.1:5060;"), "{via}");
        let [nearest_callee, nearest_caller] = &dialog.routes[..] else {
            panic!("{:?}", dialog.routes);
        };
        assert!(nearest_callee.contains("@10.2.0.1:5060;lr"), "{nearest_callee}");
        assert!(nearest_caller.contains("@10.1.0.1:5060;lr"), "{nearest_caller}");
        bob.request("INFO", uri_of(&alice.contact()), &dialog.callee_headers(1, "INFO"));
        let info = alice.await_request("INFO");
        assert_eq!(info.source, left);
        alice.reply(&info, "200 OK", "");
        assert_eq!(bob.answer("INFO").status(), Some(200));
        alice.request("BYE", uri_of(&bob.contact()), &dialog.headers(90, "BYE"));
        let bye = bob.await_request("BYE");
        bob.reply(&bye, "200 OK", "");
        assert_eq!(alice.answer("BYE").status(), Some(200));
        server.stop();
    });
}
