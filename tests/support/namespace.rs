//! A test in namespaces of its own: the test program runs itself again in them, so that server, phones and name servers
//! all see a network, or files, that nobody else sees.

use std::fs::File;
use std::os::fd::AsFd as _;
use std::process::Command;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

const VARIABLE: &str = "RINGBINDER_TEST_NAMESPACE";

/// What is separated from everybody else.
#[derive(Clone, Copy)]
pub enum Own {
    /// Interfaces, addresses, routes and filters: only a loopback interface that is down.
    Network,
    /// The same and mounts, so that `ip netns add` can make further networks.
    Networks,
    /// Mounts.
    Mounts,
}

/// Runs `test` in a namespace of its own after the shell has run `setup` in it. `name` is that of the test with its
/// modules. It needs root, as containers and `sudo tests/run` have it.
pub fn run_in(own: Own, name: &str, setup: &str, test: impl FnOnce()) {
    if std::env::var_os(VARIABLE).is_some_and(|inside| inside == name) {
        return test();
    }
    let flags = match own {
        Own::Network => "--net",
        Own::Networks => "--net --mount",
        Own::Mounts => "--mount",
    };
    let mut command = Command::new("unshare");
    command.args(flags.split(' '));
    command.args([
        "sh",
        "-ec",
        &format!("PATH=\"$PATH:/usr/sbin:/sbin\"\n{setup}\nexec \"$0\" \"$@\""),
    ]);
    command.arg(std::env::current_exe().unwrap());
    command.args(["--exact", name, "--nocapture"]).env(VARIABLE, name);
    let output = command.output().unwrap();
    let (out, error) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{out}\n{error}");
    assert!(out.contains("1 passed"), "there is no test {name}: {out}");
}

/// What `make` opens belongs to the network that `ip netns add` has made with this name.
pub fn inside<T: Send>(network: &str, make: impl FnOnce() -> T + Send) -> T {
    let entered = || {
        let network = File::open(format!("/run/netns/{network}")).unwrap();
        move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
        make()
    };
    // Only this thread moves.
    std::thread::scope(|scope| scope.spawn(entered).join().unwrap())
}
