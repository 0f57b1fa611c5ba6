//! Runs baresip without a sound card and drives it by its control port.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::{IpAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

use super::place::{Bound, Folder, is_bound, wait_for};
use super::program::Program;
use super::{DOMAIN, password};

const CONTROL_PORT: u16 = 4444;
const SIP_PORT: u16 = 5070;
const LIMIT: Duration = Duration::from_secs(20);
/// baresip ends by itself after this many seconds, whatever happens to the test.
const LONGEST_RUN: &str = "120";

/// One line of baresip's accounts.
pub struct Account {
    user: String,
    secret: String,
    domain: String,
    /// The outbound proxy: where everything is sent.
    proxy: String,
}

impl Account {
    /// A user of the tests' domain who sends everything to `proxy`, a SIP URI.
    pub fn new(user: &str, proxy: &str) -> Account {
        Account::of(user, &password(user), DOMAIN, proxy)
    }

    /// Any account.
    pub fn of(user: &str, secret: &str, domain: &str, proxy: &str) -> Account {
        Account {
            user: user.to_owned(),
            secret: secret.to_owned(),
            domain: domain.to_owned(),
            proxy: proxy.to_owned(),
        }
    }
}

/// A running baresip that answers every call.
pub struct Baresip {
    program: Program,
    control: TcpStream,
    domain: String,
}

impl Baresip {
    /// Starts it on `ip` with these accounts.
    pub fn start(name: &str, ip: IpAddr, accounts: &[Account], folder: &Folder) -> Baresip {
        let home = folder.join(name);
        std::fs::create_dir_all(&home).unwrap();
        let mut lines = String::new();
        for Account {
            user,
            secret,
            domain,
            proxy,
        } in accounts
        {
            writeln!(
                lines,
                "<sip:{user}@{domain}>;auth_user={user};auth_pass={secret};outbound=\"{proxy}\";answermode=auto;regint=3600"
            )
            .unwrap();
        }
        std::fs::write(home.join("accounts"), lines).unwrap();
        std::fs::write(home.join("contacts"), "").unwrap();
        std::fs::write(home.join("config"), configuration(ip)).unwrap();
        let mut command = Command::new("baresip");
        command.args(["-4", "-v", "-s", "-t", LONGEST_RUN, "-f"]).arg(&home);
        let mut program = Program::start(name, command, folder);
        wait_for("baresip's control port", LIMIT, || {
            assert!(program.ended().is_none(), "baresip ended");
            is_bound(Bound::TcpListener, ip, CONTROL_PORT).then_some(())
        });
        Baresip {
            program,
            control: TcpStream::connect((ip, CONTROL_PORT)).unwrap(),
            domain: accounts[0].domain.clone(),
        }
    }

    /// Waits until the registration of `user` over `transport` (UDP, TCP or TLS) was answered with 200.
    pub fn await_registered(&self, user: &str, transport: &str) {
        self.await_line(&format!("{user}@{}: {{0/{transport}/v4}} 200 OK", self.domain));
    }

    /// Calls `user` from the first account.
    pub fn dial(&mut self, user: &str) {
        let parameters = format!("sip:{user}@{}", self.domain);
        self.command("dial", &parameters);
    }

    /// Waits until `user` is in a call with `peer`.
    pub fn await_call(&self, user: &str, peer: &str) {
        let domain = &self.domain;
        self.await_line(&format!("{user}@{domain}: Call established: sip:{peer}@{domain}"));
    }

    /// Ends the current call.
    pub fn hang_up(&mut self) {
        self.command("hangup", "");
    }

    /// Waits until `peer` has ended its call with one of the accounts here.
    pub fn await_end_by(&self, peer: &str) {
        self.await_line(&format!("sip:{peer}@{}: session closed", self.domain));
    }

    /// Unregisters and ends.
    pub fn quit(mut self) {
        self.command("quit", "");
        let status = self.program.wait(LIMIT);
        assert!(status.success(), "baresip ended with {status}");
    }

    fn await_line(&self, wanted: &str) {
        wait_for(wanted, LIMIT, || self.program.output().contains(wanted).then_some(()));
    }

    /// The control port takes JSON in netstrings.
    fn command(&mut self, name: &str, parameters: &str) {
        let json = format!(r#"{{"command":"{name}","params":"{parameters}"}}"#);
        write!(self.control, "{}:{json},", json.len()).unwrap();
    }
}

fn configuration(ip: IpAddr) -> String {
    format!(
        "poll_method epoll
sip_listen {ip}:{SIP_PORT}
net_interface {ip}
call_local_timeout 30
call_max_calls 4
audio_player aufile,heard.wav
audio_source ausine,440
audio_alert aufile,alert.wav
ausrc_srate 48000
ausrc_channels 2
ausrc_format s16
auplay_format s16
auenc_format s16
audec_format s16
module_path /usr/lib/baresip/modules
module g711.so
module ausine.so
module aufile.so
module_tmp account.so
module_app menu.so
module_app ctrl_tcp.so
ctrl_tcp_listen {ip}:{CONTROL_PORT}
"
    )
}
