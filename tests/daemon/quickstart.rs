//! `ringbinder quickstart` as a newcomer runs it: the accounts it makes register and call.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::support::baresip::{Account, Baresip};
use crate::support::daemon::{await_options, binary};
use crate::support::place::{Bound, Folder, is_bound, loopback, wait_for};
use crate::support::program::Program;
use crate::support::sipp::Sipp;

const SERVER: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const PORTS: [u16; 2] = [5060, 5061];
/// Another checkout's tests may be at it on this machine.
const PORTS_FREE_LIMIT: Duration = Duration::from_secs(60);
const STOP_LIMIT: Duration = Duration::from_secs(15);

/// One line of accounts.txt.
struct Line {
    user: String,
    secret: String,
    domain: String,
}

#[test]
fn its_accounts_register_and_call_and_a_second_start_keeps_them() {
    let folder = Folder::new();
    let state = folder.join("quickstart");
    let server = SocketAddr::new(SERVER, PORTS[0]);
    let mut running = start(&folder, &state);
    let accounts = accounts(&state);
    sipp_calls_sipp(&accounts, server, &folder);
    baresip_calls_baresip(&accounts, &folder);
    stop(&mut running);

    let mut again = start(&folder, &state);
    let register = Sipp::new("register", SocketAddr::new(loopback(), 6003), server).domain(&accounts[2].domain);
    register
        .account(&accounts[2].user, &accounts[2].secret, &["3600"])
        .run(&folder);
    stop(&mut again);
}

#[test]
fn a_port_in_use_is_one_clear_message() {
    let folder = Folder::new();
    let ip = loopback();
    let _taken = std::net::UdpSocket::bind(SocketAddr::new(ip, PORTS[0])).unwrap();
    let mut command = Command::new(binary());
    command
        .args(["quickstart", "--dir"])
        .arg(folder.join("quickstart"))
        .arg("--bind")
        .arg(ip.to_string());
    let mut program = Program::start("quickstart", command, &folder);
    let status = program.wait(STOP_LIMIT);
    assert!(!status.success());
    let output = program.output();
    assert!(output.contains("5060") && output.contains("in use"), "{output}");
    assert!(!output.contains("panicked"), "{output}");
}

fn start(folder: &Folder, state: &Path) -> Program {
    wait_for(
        "ports 5060 and 5061 of 127.0.0.1, which quickstart needs, to be free",
        PORTS_FREE_LIMIT,
        || {
            let taken = |port: u16| is_bound(Bound::Udp, SERVER, port) || is_bound(Bound::TcpListener, SERVER, port);
            (!PORTS.into_iter().any(taken)).then_some(())
        },
    );
    let mut command = Command::new(binary());
    command.args(["quickstart", "--dir"]).arg(state);
    let mut program = Program::start("quickstart", command, folder);
    await_options(&mut program, SocketAddr::new(SERVER, PORTS[0]));
    program
}

fn stop(program: &mut Program) {
    program.terminate();
    assert_eq!(program.wait(STOP_LIMIT).code(), Some(0), "after SIGTERM");
}

/// Three accounts with passwords that nobody guesses, where only their owner may read them.
fn accounts(state: &Path) -> Vec<Line> {
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let file = state.join("accounts.txt");
    assert_eq!((mode(state), mode(&file)), (0o700, 0o600));
    let text = std::fs::read_to_string(&file).unwrap();
    let accounts: Vec<Line> = text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| match line.split_ascii_whitespace().collect::<Vec<_>>()[..] {
            [user, secret, domain] => Line {
                user: user.to_owned(),
                secret: secret.to_owned(),
                domain: domain.to_owned(),
            },
            _ => panic!("not an account: {line}"),
        })
        .collect();
    assert_eq!(accounts.len(), 3);
    assert!(accounts.iter().all(|account| account.secret.len() >= 16));
    accounts
}

fn sipp_calls_sipp(accounts: &[Line], server: SocketAddr, folder: &Folder) {
    let (alice, bob) = (&accounts[0], &accounts[1]);
    let ip = loopback();
    let (caller, callee) = (SocketAddr::new(ip, 6001), SocketAddr::new(ip, 6002));
    let register = Sipp::new("register", callee, server).domain(&bob.domain);
    register.account(&bob.user, &bob.secret, &["3600"]).run(folder);
    let answering = Sipp::new("uas_dialog", callee, server).start(folder);
    let calling = Sipp::new("uac_dialog", caller, server).domain(&alice.domain);
    calling.account(&alice.user, &alice.secret, &[&bob.user]).run(folder);
    answering.finish();
    let remove = Sipp::new("register_removed", callee, server).domain(&bob.domain);
    remove.account(&bob.user, &bob.secret, &[]).run(folder);
}

fn baresip_calls_baresip(accounts: &[Line], folder: &Folder) {
    let account = |line: &Line, proxy: &str| Account::of(&line.user, &line.secret, &line.domain, proxy);
    let udp = [account(&accounts[0], "sip:127.0.0.1:5060")];
    let tls = [account(&accounts[1], "sip:127.0.0.1:5061;transport=tls")];
    let mut alice = Baresip::start("alice", loopback(), &udp, folder);
    let bob = Baresip::start("bob", loopback(), &tls, folder);
    alice.await_registered(&accounts[0].user, "UDP");
    bob.await_registered(&accounts[1].user, "TLS");
    alice.dial(&accounts[1].user);
    alice.await_call(&accounts[0].user, &accounts[1].user);
    bob.await_call(&accounts[1].user, &accounts[0].user);
    alice.hang_up();
    bob.await_end_by(&accounts[0].user);
    alice.quit();
    bob.quit();
}
