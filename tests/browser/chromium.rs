//! Chromium with a phone (JsSIP) in each page, as tests/browser/drive.mjs runs it.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::place::free_port;
use crate::support::{DOMAIN, Daemon, password};

/// How long a step may take: more than the driver's own limit, which tells more when it is reached.
const STEP: Duration = Duration::from_secs(60);

/// How long the browser may take to end.
const END: Duration = Duration::from_secs(10);

/// The browser.
pub struct Chromium {
    driver: Child,
    /// The browser ends with it.
    input: Option<ChildStdin>,
    answers: Receiver<String>,
    /// What the pages and the driver have logged.
    log: PathBuf,
    server: String,
    port: u16,
}

/// A page, and the user of the phone in it.
#[derive(Clone, Copy)]
pub struct Page<'a> {
    chromium: &'a Chromium,
    user: &'a str,
}

/// Whether a phone sends what is outside of calls with a Route to its server.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Preloaded {
    Route,
    Nothing,
}

/// A port for pages, chosen before the server starts, which must know their origin.
pub fn page_port() -> u16 {
    free_port(IpAddr::V4(Ipv4Addr::LOCALHOST))
}

/// The origin of the pages at this port.
pub fn origin(page_port: u16) -> String {
    format!("http://localhost:{page_port}")
}

impl Chromium {
    /// Starts it, with its pages at `page_port`, for a server that listens for WebSocket over TLS at `wss_port`.
    pub fn start(server: &Daemon, wss_port: u16, page_port: u16) -> Chromium {
        let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser");
        assert!(
            scripts.join("node_modules").is_dir(),
            "the pages need their packages: cd tests/browser && npm ci"
        );
        let log = server.folder().join("chromium.out");
        let mut driver = Command::new("node")
            .arg(scripts.join("drive.mjs"))
            .args([&page_port.to_string(), DOMAIN, &server.ip().to_string()])
            .arg(server.folder().join("cert.pem"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap_or_else(|error| panic!("node: {error}"));
        let (sender, answers) = channel();
        let lines = BufReader::new(driver.stdout.take().unwrap()).lines();
        // It ends with the driver.
        std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Chromium {
            input: driver.stdin.take(),
            driver,
            answers,
            log,
            server: format!("wss://{DOMAIN}:{wss_port}"),
            port: page_port,
        }
    }

    /// Opens a page.
    pub fn open<'a>(&'a self, user: &'a str) -> Page<'a> {
        self.open_at(user, &origin(self.port))
    }

    /// Opens a page of another origin.
    pub fn open_elsewhere<'a>(&'a self, user: &'a str) -> Page<'a> {
        self.open_at(user, &format!("http://127.0.0.1:{}", self.port))
    }

    fn open_at<'a>(&'a self, user: &'a str, origin: &str) -> Page<'a> {
        self.ask(&json!({ "page": user, "origin": origin }));
        Page { chromium: self, user }
    }

    fn ask(&self, request: &Value) -> Value {
        let mut input = self.input.as_ref().unwrap();
        let sent = writeln!(input, "{request}");
        let answer = self.answers.recv_timeout(STEP);
        let answer = answer.unwrap_or_else(|error| panic!("{request}: {sent:?}, {error}"));
        let mut answer: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(answer["error"], Value::Null, "{request}");
        answer["value"].take()
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        drop(self.input.take());
        let started = Instant::now();
        while matches!(self.driver.try_wait(), Ok(None)) && started.elapsed() < END {
            std::thread::sleep(Duration::from_millis(20));
        }
        // It has mostly ended; if not, the browser ends with the pipe that the driver holds.
        let _ = self.driver.kill();
        let _ = self.driver.wait();
        if std::thread::panicking() {
            let log = std::fs::read_to_string(&self.log).unwrap_or_default();
            eprintln!("---- consoles of the pages\n{log}");
        }
    }
}

impl Page<'_> {
    /// Registers.
    pub fn register(self, preloaded: Preloaded) {
        self.start(preloaded);
        self.told("registered");
    }

    /// Connects, and sends a REGISTER when that is done.
    pub fn start(self, preloaded: Preloaded) {
        let argument = json!({
            "user": self.user,
            "password": password(self.user),
            "domain": DOMAIN,
            "server": self.chromium.server,
            "route": preloaded == Preloaded::Route,
        });
        self.does("start", argument);
    }

    /// Does what page.js calls by this name.
    pub fn does(self, call: &str, argument: impl Into<Value>) -> Value {
        let argument = argument.into();
        self.chromium
            .ask(&json!({ "page": self.user, "call": call, "argument": argument }))
    }

    /// Waits until its phone tells this.
    pub fn told(self, name: &str) -> Value {
        self.does("told", name)
    }
}
