//! The program as a person uses it: arguments, exit status, and what is said on the terminal.

use std::fs;
use std::io::Write;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// The longest that a test waits for the server.
const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn a_mistyped_key_is_named_with_its_place_and_the_right_key() {
    let folder = Folder::new();
    let file = folder.write(
        "a.toml",
        "[[listen]]\ntransport = \"udp\"\nbind = \"127.0.0.1:5060\"\n[registrar]\n  max_contact = 3\n",
    );

    for arguments in [vec!["check", "a.toml"], vec!["run", "--config", "a.toml"]] {
        let output = folder.run(&arguments);

        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let expected = "error: unknown key `max_contact`\n --> a.toml:5:3\n  |\n5 |   max_contact = 3\n  |   \
                        ^^^^^^^^^^^ did you mean `max_contacts`?\na.toml: 1 error, 0 warnings\n";
        assert_eq!(text(&output.stderr), expected);
        assert!(output.stdout.is_empty());
    }
    fs::remove_file(file).expect("was written");
}

#[test]
fn all_errors_are_shown_at_once() {
    let folder = Folder::new();
    folder.write(
        "a.toml",
        "[[listen]]\ntransport = \"upd\"\nbind = \"localhost\"\n[registrar]\nmin_expires = 7200\n[limits]\nidle = 1\n",
    );

    let output = folder.run(&["check", "a.toml"]);

    let shown = text(&output.stderr);
    for expected in [
        "did you mean `udp`?",
        "a.toml:3:8",
        "`min_expires` (7200) is above `max_expires` (3600)",
        "idle_secs",
    ] {
        assert!(shown.contains(expected), "{expected}: {shown}");
    }
    assert!(shown.ends_with("a.toml: 4 errors, 0 warnings\n"), "{shown}");
}

#[test]
fn a_clean_file_passes_and_warnings_do_not_fail() {
    let folder = Folder::new();
    folder.write("a.toml", &configuration(5060));
    let output = folder.run(&["check", "a.toml"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(text(&output.stderr), "a.toml: 0 errors, 0 warnings\n");

    folder.write("b.toml", "[[listen]]\ntransport = \"udp\"\nbind = \"127.0.0.1:5060\"\n");
    let output = folder.run(&["check", "b.toml"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stderr).contains("warning: there is no [[domain]]"));
}

#[test]
fn a_variable_overrides_the_file_and_an_error_names_it() {
    let folder = Folder::new();
    folder.write("a.toml", &configuration(5060));

    let output = folder
        .command(&["check", "a.toml"])
        .env("RINGBINDER__LIMITS__CONECTIONS", "7")
        .output();
    let output = output.expect("runs");

    assert_eq!(output.status.code(), Some(2));
    let shown = text(&output.stderr);
    assert!(
        shown.contains("environment variable RINGBINDER__LIMITS__CONECTIONS"),
        "{shown}"
    );
    assert!(shown.contains("did you mean `connections`?"), "{shown}");
}

#[test]
fn without_a_configuration_run_names_quickstart() {
    if Path::new("/etc/ringbinder/ringbinder.toml").exists() {
        return; // then there is one
    }
    let output = Folder::new().run(&["run"]);

    assert_eq!(output.status.code(), Some(2));
    assert!(
        text(&output.stderr).contains("ringbinder quickstart"),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn a_configuration_that_is_not_there_is_named() {
    let output = Folder::new().run(&["run", "--config", "nowhere.toml"]);

    assert_eq!(output.status.code(), Some(2));
    assert!(
        text(&output.stderr).contains("cannot read nowhere.toml"),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn a_port_in_use_is_one_clear_message() {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let port = socket.local_addr().expect("is bound").port();
    let folder = Folder::new();
    folder.write("a.toml", &configuration(port));

    let output = folder.run(&["run", "--config", "a.toml"]);

    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    let shown = text(&output.stderr);
    let error: Vec<&str> = shown.lines().filter(|line| line.starts_with("error: ")).collect();
    assert_eq!(error.len(), 1, "{shown}");
    assert!(
        error[0].contains(&format!("127.0.0.1:{port}")) && error[0].contains("in use"),
        "{shown}"
    );
}

#[test]
fn a_port_of_http_in_use_is_one_clear_message() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let bind = taken.local_addr().expect("is bound");
    let folder = Folder::new();
    folder.write(
        "a.toml",
        &format!("{}[http]\nbind = \"{bind}\"\n", configuration(free_port())),
    );

    let output = folder.run(&["run", "--config", "a.toml"]);

    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    let shown = text(&output.stderr);
    let error: Vec<&str> = shown.lines().filter(|line| line.starts_with("error: ")).collect();
    let expected = format!("error: [http] {bind}: address already in use: ");
    assert!(error.len() == 1 && error[0].starts_with(&expected), "{shown}");
}

#[test]
fn a_bad_address_of_http_is_named_with_its_place() {
    let folder = Folder::new();
    folder.write(
        "a.toml",
        &format!("[http]\nbind = \"127.0.0.1\"\n{}", configuration(5060)),
    );

    let output = folder.run(&["check", "a.toml"]);

    assert_eq!(output.status.code(), Some(2));
    let shown = text(&output.stderr);
    assert!(
        shown.contains("--> a.toml:2:8") && shown.contains("\"127.0.0.1:9090\""),
        "{shown}"
    );
}

#[test]
fn http_is_off_unless_it_is_set() {
    let folder = Folder::new();
    let port = free_port();
    folder.write("a.toml", &configuration(port));
    let command = folder
        .command(&["run", "--config", "a.toml"])
        .stderr(Stdio::piped())
        .spawn();
    let mut server = Running(command.expect("runs"));
    ask(port);

    // It listens for datagrams only, and its process has no other listening socket.
    assert_eq!(listening(server.0.id()), 0);
    assert_eq!(server.terminate(), Some(0));
}

#[test]
fn run_answers_and_ends_on_sigterm() {
    let folder = Folder::new();
    let port = free_port();
    folder.write("a.toml", &configuration(port));
    let command = folder
        .command(&["run", "--config", "a.toml"])
        .stderr(Stdio::piped())
        .spawn();
    let mut server = Running(command.expect("runs"));

    let reply = ask(port);
    assert!(reply.starts_with("SIP/2.0 200 "), "{reply}");
    assert_eq!(mode(&folder.0.join("state")), 0o700);
    let ended = server.terminate();

    assert_eq!(ended, Some(0));
}

#[test]
fn users_are_edited_without_a_password_among_the_arguments() {
    let folder = Folder::new();
    let user = |arguments: &[&str], input: &str| {
        let mut command = folder.command(&[&["user"], arguments, &["--file", "users"]].concat());
        let child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = child.expect("runs");
        // One that refuses before it asks may have closed its end.
        let _ = child.stdin.take().expect("is piped").write_all(input.as_bytes());
        child.wait_with_output().expect("ends")
    };

    let added = user(&["add", "alice", "--realm", "example.com"], "open sesame\n");
    assert!(added.status.success(), "{}", text(&added.stderr));
    assert_eq!(mode(&folder.0.join("users")), 0o600);
    let written = fs::read_to_string(folder.0.join("users")).expect("was made");
    assert!(!written.contains("sesame"));
    assert_eq!(written.lines().count(), 2, "{written}");

    let again = user(&["add", "alice", "--realm", "example.com"], "other\n");
    assert_eq!(again.status.code(), Some(1));
    assert!(text(&again.stderr).contains("--replace"));
    assert!(
        user(&["add", "alice", "--realm", "example.com", "--replace"], "other\n")
            .status
            .success()
    );
    assert_ne!(fs::read_to_string(folder.0.join("users")).expect("is there"), written);

    let empty = user(&["add", "bob", "--realm", "example.com"], "\n");
    assert_eq!(empty.status.code(), Some(1));
    assert!(text(&empty.stderr).contains("the password is empty"));

    assert_eq!(text(&user(&["list"], "").stdout), "alice example.com MD5,SHA-256\n");
    assert!(
        user(&["remove", "alice", "--realm", "example.com"], "")
            .status
            .success()
    );
    assert_eq!(text(&user(&["list"], "").stdout), "");
    assert_eq!(
        user(&["remove", "alice", "--realm", "example.com"], "").status.code(),
        Some(1)
    );
}

#[test]
fn what_user_writes_check_accepts() {
    let folder = Folder::new();
    let mut command = folder.command(&["user", "add", "alice", "--realm", "example.com", "--file", "users"]);
    let mut child = command.stdin(Stdio::piped()).spawn().expect("runs");
    child
        .stdin
        .take()
        .expect("is piped")
        .write_all(b"secret\n")
        .expect("reads");
    assert!(child.wait().expect("ends").success());
    folder.write(
        "a.toml",
        "[[listen]]\ntransport = \"udp\"\nbind = \"127.0.0.1:5060\"\n[auth]\nalgorithms = [\"SHA-256\", \"MD5\"]\n\
         [[domain]]\nname = \"example.com\"\ncredential_lists = [\"staff\"]\n\
         [[credential_list]]\nname = \"staff\"\nfile = \"users\"\n",
    );

    let output = folder.run(&["check", "a.toml"]);

    assert_eq!(text(&output.stderr), "a.toml: 0 errors, 0 warnings\n");
}

#[test]
fn quickstart_makes_a_private_folder_and_uses_it_again() {
    let folder = Folder::new();
    let port = free_port();
    let bind = format!("127.0.0.1:{port}");
    let quickstart = |arguments: &[&str]| {
        let mut command = folder.command(&[&["quickstart"], arguments].concat());
        let output = fs::File::create(folder.0.join("output")).expect("can be made");
        let child = command
            .stdout(output.try_clone().expect("is open"))
            .stderr(output)
            .spawn();
        let mut server = Running(child.expect("runs"));
        let reply = ask(port);
        assert!(reply.starts_with("SIP/2.0 200 "), "{reply}");
        assert_eq!(server.terminate(), Some(0));
        fs::read_to_string(folder.0.join("output")).expect("was written")
    };
    let path = |name: &str| folder.0.join("ringbinder-quickstart").join(name);

    let said = quickstart(&["--bind", &bind]);

    let accounts = fs::read_to_string(path("accounts.txt")).expect("was made");
    assert_eq!(accounts.lines().count(), 3);
    for line in accounts.lines() {
        let [user, password, domain] = line.split(' ').collect::<Vec<_>>()[..] else {
            panic!("not `username password domain`")
        };
        assert!(!user.is_empty() && password.len() >= 20);
        assert_eq!(domain, "127.0.0.1");
        assert!(!said.contains(password), "a password was printed without a terminal");
    }
    assert!(said.contains("accounts.txt"), "{said}");
    assert_eq!(mode(&path("")), 0o700);
    for name in ["accounts.txt", "key.pem", "ringbinder.toml"] {
        assert_eq!(mode(&path(name)), 0o600, "{name}");
    }
    let checked = folder.run(&["check", "ringbinder-quickstart/ringbinder.toml"]);
    assert!(
        text(&checked.stderr).ends_with(": 0 errors, 0 warnings\n"),
        "{}",
        text(&checked.stderr)
    );

    let said = quickstart(&[]);

    assert!(said.contains("used again"), "{said}");
    assert_eq!(fs::read_to_string(path("accounts.txt")).expect("is there"), accounts);
}

/// A configuration without anything to warn of.
fn configuration(port: u16) -> String {
    format!(
        "[[listen]]\ntransport = \"udp\"\nbind = \"127.0.0.1:{port}\"\n[limits]\nconnections = 100\n\
         connections_per_source = 100\n[[domain]]\nname = \"example.com\"\nregistration = false\n"
    )
}

/// The reply to an OPTIONS, which is sent until the server is there.
fn ask(port: u16) -> String {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    socket
        .set_read_timeout(Some(Duration::from_millis(200)))
        .expect("is not zero");
    let own = socket.local_addr().expect("is bound");
    let request = format!(
        "OPTIONS sip:127.0.0.1:{port} SIP/2.0\r\nVia: SIP/2.0/UDP {own};branch=z9hG4bKcli;rport\r\nMax-Forwards: 70\r\n\
         From: <sip:a@example.com>;tag=1\r\nTo: <sip:127.0.0.1:{port}>\r\nCall-ID: cli\r\nCSeq: 1 OPTIONS\r\n\
         Content-Length: 0\r\n\r\n"
    );
    let start = Instant::now();
    let mut buffer = [0; 2048];
    while start.elapsed() < PATIENCE {
        // Until the port is open the answer is an error of ICMP's.
        let _ = socket.send_to(request.as_bytes(), ("127.0.0.1", port));
        if let Ok((length, _)) = socket.recv_from(&mut buffer) {
            return String::from_utf8_lossy(&buffer[..length]).into_owned();
        }
    }
    panic!("no answer");
}

/// How many sockets of a process take TCP connections.
fn listening(process: u32) -> usize {
    let files = fs::read_dir(format!("/proc/{process}/fd")).expect("is running");
    let files = files.filter_map(|file| fs::read_link(file.ok()?.path()).ok());
    let own: Vec<String> = files.map(|file| file.to_string_lossy().into_owned()).collect();
    let tables = ["tcp", "tcp6"].map(|table| fs::read_to_string(format!("/proc/{process}/net/{table}")));
    let tables = tables.into_iter().flatten().collect::<String>();
    let sockets = tables
        .lines()
        .map(|line| line.split_ascii_whitespace().collect::<Vec<_>>());
    // State 0A is LISTEN; the tenth column is the inode.
    let listening = sockets.filter(|columns| columns.len() > 9 && columns[3] == "0A");
    listening
        .filter(|columns| own.contains(&format!("socket:[{}]", columns[9])))
        .count()
}

fn free_port() -> u16 {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    socket.local_addr().expect("is bound").port()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("exists").permissions().mode() & 0o777
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A server, ended with the test.
struct Running(Child);

impl Running {
    fn terminate(&mut self) -> Option<i32> {
        let id = self.0.id().to_string();
        let sent = Command::new("kill")
            .args(["-TERM", &id])
            .status()
            .expect("there is kill");
        assert!(sent.success());
        self.0.wait().expect("ends").code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A folder for one test, removed with it.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("ringbinder-cli-{}-{count}", std::process::id()));
        fs::create_dir_all(&path).expect("can be made");
        Folder(path)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).expect("can be written");
        path
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringbinder"));
        command.args(arguments).current_dir(&self.0);
        for variable in ["RINGBINDER_CONFIG", "STATE_DIRECTORY", "NOTIFY_SOCKET"] {
            command.env_remove(variable);
        }
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("runs")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
