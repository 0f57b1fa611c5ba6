//! Runs SIPp with one of our scenarios (tests/sipp) or one of its own, and judges the outcome.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::daemon::host;
use super::place::{Bound, Folder, is_bound, wait_for};
use super::program::Program;
use super::{DOMAIN, password};

/// How long SIPp may take in addition to what its calls need.
const SPARE: Duration = Duration::from_secs(30);
const READY_LIMIT: Duration = Duration::from_secs(15);

/// A transport as SIPp's -t names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// One UDP socket.
    Udp,
    /// One TCP connection.
    Tcp,
    /// One TCP connection per call.
    TcpPerCall,
    /// One TCP connection to a tunnel that speaks TLS with the server.
    Tls,
}

impl Mode {
    fn option(self) -> &'static str {
        match self {
            Mode::Udp => "u1",
            Mode::Tcp | Mode::Tls => "t1",
            Mode::TcpPerCall => "tn",
        }
    }

    fn via(self) -> &'static str {
        match self {
            Mode::Udp => "UDP",
            Mode::Tcp | Mode::TcpPerCall => "TCP",
            Mode::Tls => "TLS",
        }
    }

    fn contact_parameter(self) -> &'static str {
        match self {
            Mode::Udp => "",
            Mode::Tcp | Mode::TcpPerCall => ";transport=tcp",
            Mode::Tls => ";transport=tls",
        }
    }
}

/// One run of SIPp, to be.
pub struct Sipp {
    name: String,
    remote: SocketAddr,
    local: SocketAddr,
    mode: Mode,
    scenario: Scenario,
    lines: Vec<String>,
    domain: String,
    advertised: Option<String>,
    calls: u32,
    rate: Option<u32>,
    hold: Duration,
    call_ids: Option<String>,
    extra: Vec<String>,
    limit: Duration,
}

enum Scenario {
    /// Files of tests/sipp, one played after the other within each call.
    Ours(Vec<&'static str>),
    /// One that SIPp brings.
    Builtin(&'static str),
}

impl Sipp {
    /// A run of `scenario` (a file of tests/sipp, without its ending) from `local` against `remote`.
    pub fn new(scenario: &'static str, local: SocketAddr, remote: SocketAddr) -> Sipp {
        Sipp {
            name: format!("{scenario}-{}", local.port()),
            remote,
            local,
            mode: Mode::Udp,
            scenario: Scenario::Ours(vec![scenario]),
            lines: Vec::new(),
            domain: DOMAIN.to_owned(),
            advertised: None,
            calls: 1,
            rate: None,
            hold: Duration::ZERO,
            call_ids: None,
            extra: Vec::new(),
            limit: SPARE,
        }
    }

    /// A run of one of the scenarios that SIPp brings, as it is.
    pub fn builtin(scenario: &'static str, local: SocketAddr, remote: SocketAddr) -> Sipp {
        let mut sipp = Sipp::new(scenario, local, remote);
        sipp.scenario = Scenario::Builtin(scenario);
        sipp
    }

    /// Plays `scenario` before the one given: within one call, so on one connection.
    pub fn after(mut self, scenario: &'static str) -> Sipp {
        if let Scenario::Ours(parts) = &mut self.scenario {
            parts.insert(0, scenario);
        }
        self
    }

    pub fn mode(mut self, mode: Mode) -> Sipp {
        self.mode = mode;
        self
    }

    /// One call's fields: the user, its answer to challenges, and what else the scenario asks for.
    pub fn user(mut self, user: &str, further: &[&str]) -> Sipp {
        let secret = password(user);
        self.lines.push(line(user, &secret, further));
        self
    }

    /// The same with a password that is not made by the rule.
    pub fn account(mut self, user: &str, secret: &str, further: &[&str]) -> Sipp {
        self.lines.push(line(user, secret, further));
        self
    }

    /// The domain of every user, if it is not the tests' own.
    pub fn domain(mut self, name: &str) -> Sipp {
        self.domain = name.to_owned();
        self
    }

    /// What Via and Contact say instead of the true address, as behind a NAT.
    pub fn advertised(mut self, address: &str) -> Sipp {
        self.advertised = Some(address.to_owned());
        self
    }

    pub fn calls(mut self, calls: u32) -> Sipp {
        self.calls = calls;
        self
    }

    /// Calls per second.
    pub fn rate(mut self, rate: u32) -> Sipp {
        self.rate = Some(rate);
        self
    }

    /// The length of the scenario's pauses.
    pub fn hold(mut self, hold: Duration) -> Sipp {
        self.hold = hold;
        self
    }

    /// What Call-IDs end with: the same at caller and callee when the callee registers within the call.
    pub fn call_ids(mut self, pattern: &str) -> Sipp {
        self.call_ids = Some(pattern.to_owned());
        self
    }

    /// A further option.
    pub fn option(mut self, option: &str, value: &str) -> Sipp {
        self.extra.extend([option.to_owned(), value.to_owned()]);
        self
    }

    /// How long it may take in all.
    pub fn limit(mut self, limit: Duration) -> Sipp {
        self.limit = limit;
        self
    }

    /// Runs it to its end and expects every call to succeed.
    pub fn run(self, folder: &Folder) -> Outcome {
        self.start(folder).finish()
    }

    /// Starts it; a callee is ready when this returns.
    pub fn start(self, folder: &Folder) -> Running {
        let file = |ending: &str| folder.join(&format!("{}.{ending}", self.name));
        let mut command = Command::new("sipp");
        command.arg(self.remote.to_string());
        match &self.scenario {
            Scenario::Ours(parts) => {
                std::fs::write(file("xml"), joined(parts)).unwrap();
                command.arg("-sf").arg(file("xml"));
            }
            Scenario::Builtin(name) => {
                command.args(["-sn", name]);
            }
        }
        if !self.lines.is_empty() {
            std::fs::write(file("csv"), format!("SEQUENTIAL\n{}\n", self.lines.join("\n"))).unwrap();
            command.arg("-inf").arg(file("csv"));
        }
        let port = self.local.port();
        let sent_by = self.advertised.clone().unwrap_or_else(|| self.local.to_string());
        let contact = format!("{sent_by}{}", self.mode.contact_parameter());
        command
            .args(["-t", self.mode.option(), "-bind_local", "-i"])
            .arg(local_ip(self.local.ip()));
        command.args(["-p", &port.to_string(), "-m", &self.calls.to_string()]);
        if let Some(rate) = self.rate {
            command.args(["-r", &rate.to_string(), "-l", &(rate * 20).to_string()]);
        }
        command.args(["-d", &self.hold.as_millis().to_string()]);
        if self.remote.is_ipv6() {
            // left alone, SIPp forgets the brackets in the digest's uri
            command.args(["-auth_uri", &self.remote.to_string()]);
        }
        if let Some(pattern) = &self.call_ids {
            command.args(["-cid_str", pattern]);
        }
        for (key, value) in [
            ("domain", &*self.domain),
            ("contact", &contact),
            ("sent_by", &sent_by),
            ("via", self.mode.via()),
        ] {
            command.args(["-key", key, value]);
        }
        // SIPp's own limit comes first: then its logs are whole
        let seconds = self.limit.as_secs().to_string();
        command.args([
            "-timeout",
            &seconds,
            "-timeout_error",
            "-nostdin",
            "-max_socket",
            "2000",
            "-fd",
            "1",
        ]);
        command.args(["-trace_err", "-error_file"]).arg(file("errors"));
        command.args(["-trace_logs", "-log_file"]).arg(file("log"));
        command.args(["-trace_stat", "-stf"]).arg(file("stat"));
        if self.calls <= 100 {
            command.args(["-trace_msg", "-message_file"]).arg(file("messages"));
        }
        command.args(&self.extra);
        let running = Running {
            program: Program::start(&self.name, command, folder),
            errors: file("errors"),
            log: file("log"),
            statistics: file("stat"),
            messages: file("messages"),
            calls: self.calls,
            limit: self.limit + SPARE,
        };
        self.await_ready(running)
    }

    /// A callee has bound its port, or registered when that is part of its call; a caller needs nothing.
    fn await_ready(&self, mut running: Running) -> Running {
        let (registers, answers) = match &self.scenario {
            Scenario::Ours(parts) => (parts[0] == "register" && parts.len() > 1, parts[0].starts_with("uas")),
            Scenario::Builtin(name) => (false, name.starts_with("uas")),
        };
        let bound = match self.mode {
            Mode::Udp => Bound::Udp,
            Mode::Tcp | Mode::TcpPerCall | Mode::Tls => Bound::TcpListener,
        };
        if !registers && !answers {
            return running;
        }
        let what = format!("{} to be ready", self.name);
        wait_for(&what, READY_LIMIT, || {
            if running.program.ended().is_some() {
                return Some(());
            }
            let ready = if registers {
                running.log_text().contains("granted")
            } else {
                is_bound(bound, self.local.ip(), self.local.port())
            };
            ready.then_some(())
        });
        running
    }
}

/// A started run.
pub struct Running {
    program: Program,
    errors: PathBuf,
    log: PathBuf,
    statistics: PathBuf,
    messages: PathBuf,
    calls: u32,
    limit: Duration,
}

impl Running {
    /// Waits for its end and expects every call to succeed, without one unexpected message.
    pub fn finish(mut self) -> Outcome {
        let status = self.program.wait(self.limit);
        let outcome = Outcome {
            log: self.log_text(),
            statistics: Statistics::read(&self.statistics),
        };
        let errors = std::fs::read_to_string(&self.errors).unwrap_or_default();
        let statistics = &outcome.statistics;
        let clean = status.success()
            && statistics.value("SuccessfulCall") == u64::from(self.calls)
            && ["FailedCall", "FailedUnexpectedMessage", "OutOfCallMsgs", "FatalErrors"].map(|n| statistics.value(n)) == [0; 4]
            // a message after the end of a call is a fault unless something was sent twice
            && (statistics.value("DeadCallMsgs") == 0 || statistics.value("Retransmissions") > 0);
        if !clean {
            let messages = std::fs::read_to_string(&self.messages).unwrap_or_default();
            panic!(
                "{status}\n{statistics:?}\n---- errors\n{}\n---- messages\n{}",
                first(&errors),
                first(&messages)
            );
        }
        outcome
    }

    fn log_text(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

/// What came of a run.
pub struct Outcome {
    /// What the scenario's `<log>` actions wrote.
    pub log: String,
    /// SIPp's counters.
    pub statistics: Statistics,
}

/// The last line of SIPp's statistics file.
#[derive(Debug)]
pub struct Statistics(Vec<(String, String)>);

impl Statistics {
    fn read(path: &Path) -> Statistics {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let mut lines = text.lines();
        let names = lines.next().unwrap_or_default().split(';');
        let values = lines.last().unwrap_or_default().split(';');
        let cumulative = names.zip(values).filter_map(|(name, value)| {
            let name = name.strip_suffix("(C)")?;
            Some((name.to_owned(), value.to_owned()))
        });
        Statistics(cumulative.collect())
    }

    /// A cumulative counter.
    pub fn value(&self, name: &str) -> u64 {
        let found = self.0.iter().find(|(candidate, _)| candidate == name);
        found.and_then(|(_, value)| value.parse().ok()).unwrap_or(u64::MAX)
    }
}

/// One line of SIPp's injection file.
fn line(user: &str, secret: &str, further: &[&str]) -> String {
    let mut line = format!("{user};[authentication username={user} password={secret}]");
    for field in further {
        line.push(';');
        line.push_str(field);
    }
    line
}

/// The parts as one scenario.
fn joined(parts: &[&str]) -> String {
    let mut whole = String::new();
    for part in parts {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/sipp/{part}.xml"));
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let end = text.rfind("</scenario>").unwrap();
        let start = match whole.is_empty() {
            true => 0,
            false => text
                .find("<scenario")
                .and_then(|open| Some(open + text[open..].find('>')? + 1))
                .unwrap(),
        };
        whole.push_str(&text[start..end]);
    }
    whole.push_str("</scenario>\n");
    whole
}

/// IPv6 in brackets.
fn local_ip(ip: IpAddr) -> String {
    host(ip)
}

fn first(text: &str) -> &str {
    let end = text.char_indices().nth(20_000).map_or(text.len(), |(index, _)| index);
    &text[..end]
}
