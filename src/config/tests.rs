//! The configuration as a whole: files in, settings and diagnostics out.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::sip::digest::Algorithm;
use crate::sip::domain::{ForkOrder, UriCalling};
use crate::sip::hop::Transport;
use crate::sip::location::Overflow;

/// A folder for one test, removed with it.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("ringbinder-config-{}-{count}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    fn load(&self, text: &str) -> (Option<Config>, Report) {
        load(&self.write("a.toml", text), &[], [0; 16])
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const LISTEN: &str = "[[listen]]\ntransport = \"udp\"\nbind = \"127.0.0.1:5060\"\n";

/// What is said about `text`, each at the text it is about.
fn said(text: &str) -> Vec<String> {
    let folder = Folder::new();
    let (config, report) = folder.load(text);
    assert_eq!(config.is_some(), !report.has_errors(), "{report}");
    let shown = report.diagnostics().iter().map(|diagnostic| {
        let at = match &diagnostic.place {
            Place::Span(span) => text[span.clone()].to_owned(),
            Place::File => "file".to_owned(),
            Place::Variable(name) => name.clone(),
            Place::Other(path, place) => format!("{} {place:?}", path.file_name().unwrap().to_string_lossy()),
        };
        format!("{at} | {}", diagnostic.message)
    });
    shown.collect()
}

/// Asserts what is said about [`LISTEN`] followed by `text`.
#[track_caller]
fn says(text: &str, expected: &[&str]) {
    assert_eq!(said(&format!("{LISTEN}{text}")), expected, "{text}");
}

#[test]
fn what_is_not_said_has_its_default() {
    let (config, report) = Folder::new().load(LISTEN);
    let config = config.expect("no errors");

    let warning = report.warnings().next().expect("one");
    assert!(warning.contains("there is no [[domain]], so nobody can register or call"));
    assert_eq!(config.workers, 0);
    assert_eq!(config.state_dir.file_name().unwrap(), "state");
    assert_eq!(config.transport.limits, transport::settings::Limits::default());
    assert_eq!(config.transport.message, Limits::default());
    assert_eq!(config.sip.transaction.max, 400_000);
    assert!(!config.sip.recurse);
    assert_eq!(
        (config.log.format, config.log.level.as_str()),
        (LogFormat::Text, "info")
    );
}

#[test]
fn every_key_arrives() {
    let folder = Folder::new();
    folder.write("staff.htdigest", "bob:office:0123456789abcdef0123456789abcdef\n");
    let (config, report) = folder.load(
        r#"
        server = { state_dir = "/x", workers = 3 }
        proxy = { recurse = true, emergency_numbers = ["112", "+1*#"], hop_timeout = 9 }
        log = { format = "json", level = "warn,ringbinder::sip=trace" }
        [registrar]
        min_expires = 60
        max_contacts = 3
        [auth]
        strict_uri = true
        [http]
        bind = "[::1]:9090"
        [dns]
        servers = ["192.0.2.53", "[2001:db8::53]:5353"]
        [limits]
        message_size = 4000
        connections = 10
        connections_per_source = 9
        handshake_secs = 8
        first_message_secs = 5
        idle_secs = 7
        transactions = 6
        [[listen]]
        transport = "tcp"
        bind = "[::1]:5070"
        advertise = "SIP.example.com:5080"
        [[domain]]
        name = "Example.COM"
        aliases = ["2001:DB8::1", "sip.example.com"]
        realm = "office"
        registration = false
        uri_calling = "unrestricted"
        fork = "q"
        ring_timeout = 30
        credential_lists = ["staff"]
        [domain.registrar]
        max_expires = 120
        overflow = "replace-oldest"
        strict_path = true
        allow_to_tag = true
        flow_timer = 5
        service_route = ["sip:proxy.example.com;lr"]
        [domain.auth]
        algorithms = ["sha-256", "MD5"]
        nonce_lifetime = 20
        [[credential_list]]
        name = "staff"
        file = "staff.htdigest"
        [[credential_list.user]]
        username = "alice"
        password = "secret"
        identities = ["sales@example.com", "tel:+15551234"]
        "#,
    );
    let config = config.unwrap_or_else(|| panic!("{report}"));

    assert_eq!((config.state_dir.to_str(), config.workers), (Some("/x"), 3));
    assert_eq!(config.log.format, LogFormat::Json);
    assert_eq!(config.log.level, "warn,ringbinder::sip=trace");
    let limits = &config.transport.limits;
    assert_eq!((limits.connections, limits.connections_per_source), (10, 9));
    let secs = [limits.handshake, limits.first_message, limits.idle].map(|limit| limit.as_secs());
    assert_eq!(secs, [8, 5, 7]);
    assert_eq!(
        (config.transport.message.message_size, config.sip.message.message_size),
        (4000, 4000)
    );
    assert_eq!(config.sip.transaction.max, 6);
    assert_eq!(
        config.http.bind.map(|bind| bind.to_string()).as_deref(),
        Some("[::1]:9090")
    );
    assert_eq!(config.sip.transaction.hop_timeout.as_secs(), 9);
    let servers = ["192.0.2.53:53", "[2001:db8::53]:5353"].map(|server| server.parse().unwrap());
    assert_eq!(config.transport.dns.servers, servers);
    assert!(config.sip.recurse);
    assert_eq!(config.sip.listeners[0].transport, Transport::Tcp);
    assert_eq!(config.sip.listeners[0].bind, config.transport.listeners[0].bind);
    assert_eq!(
        config.sip.listeners[0].advertise.as_deref(),
        Some("sip.example.com:5080")
    );
    let domain = config.sip.domains.find(b"[2001:db8::1]").unwrap();
    assert_eq!((&*domain.name, &*domain.realm), ("example.com", "office"));
    assert!(!domain.registration);
    assert_eq!(
        (domain.uri_calling, domain.fork),
        (UriCalling::Unrestricted, ForkOrder::Priority)
    );
    assert_eq!(domain.ring_timeout, Some(Duration::from_secs(30)));
    let registrar = &domain.registrar;
    assert_eq!(
        (registrar.min_expires.as_secs(), registrar.max_expires.as_secs()),
        (60, 120)
    );
    assert_eq!((registrar.default_expires.as_secs(), registrar.max_contacts), (120, 3));
    assert_eq!(registrar.overflow, Overflow::ReplaceOldest);
    assert!(registrar.strict_path && registrar.allow_to_tag);
    assert_eq!(registrar.flow_timer, Some(Duration::from_secs(5)));
    assert_eq!(registrar.service_route, ["<sip:proxy.example.com;lr>".into()]);
    assert_eq!(domain.auth.algorithms, [Algorithm::Sha256, Algorithm::Md5]);
    assert!(domain.auth.strict_uri);
    assert_eq!(domain.auth.nonce_lifetime.as_secs(), 20);
    let alice = domain.users.find(b"alice").unwrap();
    assert_eq!(alice.identities().len(), 2);
    assert!(alice.ha1(Algorithm::Sha256).is_some());
    assert!(domain.users.find(b"bob").is_some());
}

#[test]
fn listeners_are_checked() {
    for (text, expected) in [
        ("", "file | there is no [[listen]], so nothing can be received"),
        (
            "[[listen]]\nbind = \"127.0.0.1:5060\"",
            "[[listen]] | this [[listen]] has no `transport`",
        ),
        (
            "[[listen]]\ntransport = \"udp\"",
            "[[listen]] | this [[listen]] has no `bind`",
        ),
        (
            "[[listen]]\ntransport = \"udp\"\nbind = \"127.0.0.1\"",
            "\"127.0.0.1\" | `bind` is no address and port: \"127.0.0.1\"",
        ),
        (
            "[[listen]]\ntransport = \"udp\"\nbind = \"127.0.0.1:0\"",
            "\"127.0.0.1:0\" | `bind` needs a port that phones can be told; 0 is any",
        ),
        (
            "[[listen]]\ntransport = \"udp\"\nbind = \"127.0.0.1:1\"\nadvertise = \"a b\"",
            "\"a b\" | `advertise` is neither host nor host:port: \"a b\"",
        ),
        (
            "[[listen]]\ntransport = \"ws\"\nbind = \"127.0.0.1:1\"\norigins = [\"phone.example\"]",
            "\"phone.example\" | \"phone.example\" is no origin of a page",
        ),
        (
            "[[listen]]\ntransport = \"tcp\"\nbind = \"127.0.0.1:1\"\norigins = []",
            "[] | `origins` has no meaning with transport = \"tcp\"",
        ),
        (
            "[[listen]]\ntransport = \"tcp\"\nbind = \"127.0.0.1:1\"\npath = \"/sip\"",
            "\"/sip\" | `path` has no meaning with transport = \"tcp\"",
        ),
        (
            "[[listen]]\ntransport = \"ws\"\nbind = \"127.0.0.1:1\"\npath = \"sip?\"",
            "\"sip?\" | \"sip?\" is no path",
        ),
        (
            "[[listen]]\ntransport = \"udp\"\nbind = \"127.0.0.1:1\"\nclient_certificates = \"required\"",
            "\"required\" | `client_certificates` has no meaning with transport = \"udp\"",
        ),
        (
            "[[listen]]\ntransport = \"udp\"\nbind = \"127.0.0.1:1\"\ncert = \"x\"",
            "\"x\" | `cert` has no meaning with transport = \"udp\"",
        ),
        (
            "[[listen]]\ntransport = \"tls\"\nbind = \"127.0.0.1:1\"\ncert = \"x\"",
            "[[listen]] | this [[listen]] has no `key`, which tls needs",
        ),
    ] {
        let said = said(text);
        let errors: Vec<_> = said.iter().filter(|said| !said.contains("[[domain]]")).collect();
        assert_eq!(errors, [expected], "{text}");
    }
}

#[test]
fn what_an_error_hides_is_not_called_missing() {
    let found = said("[[lissten]]\nbind = \"x\"\n[[domain]]\nnme = \"a\"\ncredential_lists = [\"b\"]\n");
    assert_eq!(found, ["nme | unknown key `nme`", "lissten | unknown key `lissten`"]);
}

#[test]
fn two_listeners_cannot_have_one_port() {
    let second = |transport, bind| {
        let text = format!("{LISTEN}[[listen]]\ntransport = \"{transport}\"\nbind = \"{bind}\"\n");
        said(&text).into_iter().find(|said| !said.contains("[[domain]]"))
    };

    assert!(
        second("udp", "127.0.0.1:5060")
            .unwrap()
            .ends_with("127.0.0.1:5060 is listened on twice")
    );
    assert!(second("udp", "0.0.0.0:5060").unwrap().ends_with("cannot both be bound"));
    assert_eq!(second("tcp", "127.0.0.1:5060"), None);
    assert_eq!(second("udp", "127.0.0.2:5060"), None);
    assert_eq!(second("udp", "127.0.0.1:5061"), None);
    assert_eq!(second("udp", "[::]:5060"), None);
}

#[test]
fn http_is_off_unless_it_has_an_address_of_its_own() {
    let bound = |text: &str| {
        let (config, report) = Folder::new().load(&format!("{LISTEN}{text}"));
        config.unwrap_or_else(|| panic!("{report}")).http.bind
    };
    assert_eq!(bound(""), None);
    assert_eq!(bound("[http]\n"), None);
    assert_eq!(
        bound("[http]\nbind = \"127.0.0.1:5060\""),
        "127.0.0.1:5060".parse().ok()
    );

    for (bind, expected) in [
        ("127.0.0.1", "`bind` is no address and port: \"127.0.0.1\""),
        ("localhost:9090", "`bind` is no address and port: \"localhost:9090\""),
        ("127.0.0.1:0", "`bind` needs a port that can be asked; 0 is any"),
        ("127.0.0.1:5070", "127.0.0.1:5070 is listened on for tcp already"),
        ("0.0.0.0:5070", "127.0.0.1:5070 is listened on for tcp already"),
    ] {
        let text = "[[listen]]\ntransport = \"tcp\"\nbind = \"127.0.0.1:5070\"\n[http]\nbind = ";
        let said = said(&format!("{text}{bind:?}"));
        assert!(said.contains(&format!("{bind:?} | {expected}")), "{said:?}");
    }
}

#[test]
fn domains_are_checked() {
    says("[[domain]]\n", &["[[domain]] | this [[domain]] has no `name`"]);
    says(
        "[[domain]]\nname = \"a.example\"\n",
        &["\"a.example\" | the domain has no users, so nobody can register"],
    );
    says("[[domain]]\nname = \"a.example\"\nregistration = false\n", &[]);
    let disabled = "registration = false\n";
    says(
        &format!("[[domain]]\nname = \"sip:a\"\n{disabled}"),
        &["\"sip:a\" | \"sip:a\" is neither a host name nor an address"],
    );
    says(
        &format!("[[domain]]\nname = \"a\"\naliases = [\"b\"]\n{disabled}[[domain]]\nname = \"B\"\n{disabled}"),
        &["\"B\" | `b` is a name of the domain `a` already"],
    );
    says(
        &format!(
            "[[domain]]\nname = \"a\"\nrealm = \"x\"\n{disabled}[[domain]]\nname = \"b\"\nrealm = \"x\"\n{disabled}"
        ),
        &["\"x\" | the domain `a` has the realm `x` already"],
    );
    says(
        &format!("[[domain]]\nname = \"a\"\nrealm = \"\"\n{disabled}"),
        &["\"\" | a `realm` is not empty and has no quotes, backslashes or control characters"],
    );
    says(
        &format!("[[domain]]\nname = \"a\"\nring_timeout = 181\n{disabled}"),
        &["181 | `ring_timeout` must be from 1 to 180, not 181"],
    );
    says(
        &format!("[[domain]]\nname = \"a\"\nfork = \"serial\"\n{disabled}"),
        &["\"serial\" | `fork` cannot be `serial`"],
    );
}

#[test]
fn bounds_of_registrations_are_checked() {
    let domain = "[[domain]]\nname = \"a\"\nregistration = false\n";
    says(
        &format!("{domain}[registrar]\nmin_expires = 700\nmax_expires = 650\n"),
        &["700 | `min_expires` (700) is above `max_expires` (650)"],
    );
    says(
        &format!("{domain}[registrar]\nmax_expires = 300\n"),
        &["300 | `min_expires` (600) is above `max_expires` (300)"],
    );
    says(
        &format!("{domain}[registrar]\ndefault_expires = 4000\n"),
        &["4000 | `default_expires` (4000) lies outside `min_expires` (600) and `max_expires` (3600)"],
    );
    says(&format!("{domain}[registrar]\nmax_expires = 900\n"), &[]);
    says(
        &format!("{domain}[registrar]\nmax_contacts = 0\n"),
        &["0 | `max_contacts` must be from 1 to 1000, not 0"],
    );
    says(
        &format!("{domain}[domain.registrar]\nmax_expires = 60\n"),
        &["60 | `min_expires` (600) is above `max_expires` (60)"],
    );
}

#[test]
fn authentication_is_checked() {
    let domain = "[[domain]]\nname = \"a\"\nregistration = false\n";
    says(
        &format!("{domain}[auth]\nalgorithms = [\"MD5\", \"SHA256\", \"md5\"]\nnonce_lifetime = 0\n"),
        &[
            "0 | `nonce_lifetime` must be from 1 to 86400, not 0",
            "\"SHA256\" | `algorithms` cannot be \"SHA256\"",
            "\"md5\" | MD5 is named twice",
        ],
    );
    says(
        &format!("{domain}[domain.auth]\nalgorithms = []\n"),
        &["[] | without `algorithms` nobody can authenticate"],
    );
}

#[test]
fn credential_lists_are_checked() {
    let domain = "[[domain]]\nname = \"a\"\ncredential_lists = [\"staff\"]\n";
    let user = "user = [{ username = \"x\", password = \"y\" }]\n";
    says(
        &format!("{domain}[[credential_list]]\nname = \"stuff\"\nuser = [{{ username = \"x\", ha1 = \"y\" }}]\n"),
        &[
            "\"staff\" | there is no credential list `staff`",
            "\"stuff\" | no domain names the credential list `stuff`",
        ],
    );
    says(
        &format!("{domain}[[credential_list]]\n{user}"),
        &[
            "[[credential_list]] | this [[credential_list]] has no `name`",
            "\"staff\" | there is no credential list `staff`",
        ],
    );
    let list = format!("{domain}[[credential_list]]\nname = \"staff\"\n");
    says(
        &format!("{list}{user}[[credential_list]]\nname = \"staff\"\n{user}"),
        &["\"staff\" | there are two credential lists `staff`"],
    );
    says(
        &list,
        &[
            "\"staff\" | the credential list `staff` has neither `file` nor users",
            "\"a\" | the domain has no users, so nobody can register",
        ],
    );
    for (user, expected) in [
        (
            "ha1 = \"y\"",
            "[[credential_list.user]] | this [[credential_list.user]] has no `username`",
        ),
        ("username = \"x\"", "\"x\" | the user `x` has no `password`"),
        ("username = \"x\"\npassword = \"\"", "\"\" | the password is empty"),
        (
            "username = \"x\"\nha1 = \"12\"",
            "\"12\" | an `ha1` has 32 hexadecimal digits (MD5) or 64 (SHA-256)",
        ),
        (
            "username = \"x\"\npassword = \"y\"\nha1 = \"z\"",
            "\"z\" | a user has either `password` or `ha1`",
        ),
        (
            "username = \"a:b\"\npassword = \"y\"",
            "\"a:b\" | a user name may not contain ':'",
        ),
        (
            "username = \"x\"\npassword = \"y\"\nidentities = [\"x y\"]",
            "\"x y\" | `identities` cannot hold \"x y\"",
        ),
    ] {
        let said = said(&format!("{LISTEN}{list}[[credential_list.user]]\n{user}\n"));
        assert!(said.iter().any(|said| said == expected), "{expected}: {said:?}");
    }
}

#[test]
fn credential_files_are_checked() {
    let said = |realm: &str, file: &str| -> Vec<String> {
        let folder = Folder::new();
        folder.write("staff", file);
        let (_, report) = folder.load(&format!(
            "{LISTEN}[[domain]]\nname = \"a\"\nrealm = \"{realm}\"\ncredential_lists = [\"staff\"]\n\
             [[credential_list]]\nname = \"staff\"\nfile = \"staff\"\n[auth]\nalgorithms = [\"SHA-256\"]\n"
        ));
        let shown = report.diagnostics().iter().map(|found| match &found.place {
            Place::Other(_, Some((line, column))) => format!("{line}:{column} {}", found.message),
            _ => found.message.clone(),
        });
        shown.collect()
    };
    let md5 = "x:a:0123456789abcdef0123456789abcdef";

    assert_eq!(
        said("a", md5),
        ["1 of 1 users have no HA1 of SHA-256 and cannot use it"]
    );
    assert_eq!(
        said("a", "# x\nx:a:0123456789abcdef0123456789abcdeg")[0],
        "2:36 an HA1 has hexadecimal digits only"
    );
    assert_eq!(
        said("b", md5)[0].rsplit('/').next(),
        Some("staff holds no user of the realm `b`")
    );
    assert_eq!(
        said("a", &format!("{md5}\n{md5}"))[0],
        "2:1 1 users are defined twice; the first definition holds"
    );
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let folder = Folder::new();
    let (_, report) = folder.load(&format!(
        "{LISTEN}[[domain]]\nname = \"a\"\ncredential_lists = [\"staff\"]\n\
         [[credential_list]]\nname = \"staff\"\nfile = \"nowhere\"\n"
    ));
    let expected = format!(
        "cannot read {}/nowhere: No such file or directory (os error 2)",
        folder.0.display()
    );
    assert_eq!(report.diagnostics()[0].message, expected);

    let (config, report) = load(&folder.0.join("none.toml"), &[], [0; 16]);
    assert!(config.is_none() && report.has_errors());
    assert!(
        report.to_string().contains("none.toml: No such file or directory"),
        "{report}"
    );
}

#[test]
fn a_certificate_must_match_its_key_and_should_name_a_domain() {
    let folder = Folder::new();
    let one = rcgen::generate_simple_self_signed(["sip.example.com".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    let other = rcgen::generate_simple_self_signed(["example.net".to_owned()]).unwrap();
    folder.write("cert.pem", &one.cert.pem());
    folder.write("key.pem", &one.signing_key.serialize_pem());
    folder.write("other.pem", &other.signing_key.serialize_pem());
    let said = |cert: &str, key: &str, name: &str| -> Vec<String> {
        let (_, report) = folder.load(&format!(
            "[[listen]]\ntransport = \"tls\"\nbind = \"127.0.0.1:5061\"\ncert = \"{cert}\"\nkey = \"{key}\"\n\
             [[domain]]\nname = \"{name}\"\naliases = [\"x.example\"]\nregistration = false\n"
        ));
        let messages = report.diagnostics().iter().map(|found| found.message.clone());
        let folder = format!("{}/", folder.0.display());
        messages.map(|message| message.replace(&folder, "")).collect()
    };

    assert_eq!(said("cert.pem", "key.pem", "sip.example.com"), Vec::<String>::new());
    assert_eq!(said("cert.pem", "key.pem", "127.0.0.1"), Vec::<String>::new());
    assert_eq!(
        said("cert.pem", "key.pem", "example.org"),
        ["the certificate cert.pem names no served domain"]
    );
    assert_eq!(
        said("cert.pem", "other.pem", "sip.example.com"),
        ["the key other.pem is not that of the certificate cert.pem"]
    );
    assert_eq!(
        said("key.pem", "cert.pem", "sip.example.com"),
        [
            "key.pem holds no certificate in PEM form",
            "cert.pem holds no private key in PEM form"
        ]
    );
}

#[test]
fn secrets_that_everybody_can_read_are_warned_of() {
    let folder = Folder::new();
    let path = folder.write(
        "a.toml",
        &format!("{LISTEN}[[credential_list]]\nname = \"x\"\nuser = [{{ username = \"x\", password = \"y\" }}]\n"),
    );
    let warnings = || load(&path, &[], [0; 16]).1.warnings().collect::<Vec<_>>().join("\n");

    assert!(!warnings().contains("everybody"));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(warnings().contains("a.toml holds secrets and everybody on this machine can read it: chmod o-r"));
}

#[test]
fn log_levels_are_checked() {
    let domain = "[[domain]]\nname = \"a\"\nregistration = false\n";
    for level in ["info", "WARN", "off", "info,ringbinder::sip=debug", "ringbinder=trace"] {
        says(&format!("{domain}[log]\nlevel = \"{level}\"\n"), &[]);
    }
    says(
        &format!("{domain}[log]\nlevel = \"inof\"\n"),
        &["\"inof\" | `level` cannot be \"inof\""],
    );
}

#[test]
fn flows_and_routes_are_checked() {
    let domain = "[[domain]]\nname = \"a\"\nregistration = false\n";
    says(
        &format!("{domain}[registrar]\nflow_timer = 60\n[limits]\nidle_secs = 60\n"),
        &["60 | `flow_timer` (60) is not below `idle_secs` (60)"],
    );
    says(
        &format!("{domain}[domain.registrar]\nservice_route = [\"sip:b\", \"sip:b;lr\"]\n"),
        &["\"sip:b\" | `service_route` cannot have \"sip:b\""],
    );
    // Not written, it follows.
    let (config, _) = Folder::new().load(&format!("{LISTEN}{domain}[limits]\nidle_secs = 60\n"));
    let timer = config.unwrap().sip.domains.iter().next().unwrap().registrar.flow_timer;
    assert_eq!(timer, Some(Duration::from_secs(30)));
}

#[test]
fn edges_are_checked() {
    let text = "[[edge]]\ndomain = \"Example.net\"\naliases = [\"sip.example.net\"]\n\
                registrar = \"sip:10.0.0.5;transport=tcp\"\n";
    let (config, report) = Folder::new().load(&format!("{LISTEN}{text}"));
    assert!(report.warnings().next().is_none(), "{report}");
    let edges = config.unwrap().sip.domains.edges;
    let edge = edges.find(b"SIP.example.net").unwrap();
    assert_eq!(&*edge.registrar, "<sip:10.0.0.5;transport=tcp;lr>");

    says(
        "[[edge]]\n",
        &[
            "[[edge]] | this [[edge]] has no `domain`",
            "[[edge]] | this [[edge]] has no `registrar`",
        ],
    );
    says(
        "[[domain]]\nname = \"a\"\nregistration = false\n[[edge]]\ndomain = \"A\"\nregistrar = \"sip:b\"\n",
        &["\"A\" | `a` is a name of the domain `a` already"],
    );
    for bad in [
        "b",
        "tel:1",
        "sip:x@b",
        "sip:b?c=d",
        "sip:b;maddr=192.0.2.1",
        "sip:b;transport=xyz",
    ] {
        says(
            &format!("[[edge]]\ndomain = \"a\"\nregistrar = \"{bad}\"\n"),
            &[&format!("\"{bad}\" | `registrar` cannot be \"{bad}\"")],
        );
    }
}

#[test]
fn limits_are_checked() {
    let domain = "[[domain]]\nname = \"a\"\nregistration = false\n";
    says(
        &format!("{domain}[limits]\nmessage_size = 70000\nconnections = 0\n[server]\nworkers = 0\n"),
        &[
            "70000 | `message_size` must be from 1300 to 65535, not 70000",
            "0 | `workers` must be from 1 to 1024, not 0",
            "0 | `connections` must be from 1 to 4294967295, not 0",
        ],
    );
    says(
        &format!("{domain}[limits]\nconnections = 5\nconnections_per_source = 6\n"),
        &["6 | `connections_per_source` (6) is above `connections` (5)"],
    );
    says(
        &format!("{domain}[proxy]\nemergency_numbers = [\"112\", \"help\"]\n"),
        &["\"help\" | \"help\" is no number to dial"],
    );
}

#[test]
fn name_servers_are_addresses() {
    for (servers, expected) in [
        (
            "[\"ns.example.com\"]",
            "\"ns.example.com\" is no address of a name server",
        ),
        ("[\"192.0.2.53:0\"]", "\"192.0.2.53:0\" is no address of a name server"),
        ("[]", "`servers` names nobody"),
        (
            "[\"::1\", \"::2\", \"::3\", \"::4\", \"::5\", \"::6\", \"::7\", \"::8\", \"::9\"]",
            "`servers` are at most 8",
        ),
    ] {
        let said = said(&format!("{LISTEN}[dns]\nservers = {servers}\n"));
        assert!(said.iter().any(|line| line.contains(expected)), "{servers}: {said:?}");
    }
}

#[test]
fn the_state_folder_is_found() {
    let folder = Folder::new();
    let path = folder.write("a.toml", LISTEN);
    let state = |variables: &[(OsString, OsString)]| load(&path, variables, [0; 16]).0.unwrap().state_dir;

    assert_eq!(state(&[]), folder.0.join("state"));
    assert_eq!(
        state(&[("STATE_DIRECTORY".into(), "/var/lib/a:/b".into())]),
        Path::new("/var/lib/a")
    );
    assert_eq!(
        state(&[("RINGBINDER__SERVER__STATE_DIR".into(), "x".into())]),
        folder.0.join("x")
    );
}

#[test]
fn the_file_is_found_by_its_variable_first() {
    assert_eq!(
        find(&[("RINGBINDER_CONFIG".into(), "/a/b.toml".into())]),
        Some("/a/b.toml".into())
    );
}

/// Every file of conf/ with its commented keys, so that the defaults shown are ones that can be set.
fn shown_files() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files.map(|path| fs::read_to_string(path).unwrap()).collect()
}

fn uncommented(text: &str) -> String {
    let lines = text.lines().map(|line| match line.strip_prefix("# ") {
        // Either one or the other.
        Some(key) if !key.starts_with("ha1 ") => key,
        Some(_) | None => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn every_file_shown_can_be_used() {
    for text in shown_files() {
        let folder = Folder::new();
        let (config, report) = folder.load(&text);
        assert!(config.is_some(), "{report}");
        let is_quiet = |report: &Report| report.warnings().next().is_none();
        assert!(is_quiet(&report), "{report}");

        let pair = rcgen::generate_simple_self_signed(["example.com".to_owned()]).unwrap();
        folder.write("cert.pem", &pair.cert.pem());
        folder.write("key.pem", &pair.signing_key.serialize_pem());
        folder.write("example.com.pem", &pair.cert.pem());
        folder.write("example.com-key.pem", &pair.signing_key.serialize_pem());
        folder.write("roots.pem", &pair.cert.pem());
        folder.write("clients.pem", &pair.cert.pem());
        folder.write("staff.htdigest", "bob:example.com:0123456789abcdef0123456789abcdef\n");
        let (config, report) = folder.load(&uncommented(&text));
        assert!(config.is_some() && is_quiet(&report), "{report}");
    }
}

#[test]
fn the_defaults_shown_are_the_defaults() {
    for text in shown_files() {
        let without: String = text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .collect::<Vec<_>>()
            .join("\n");
        // What has no default and stands there as an example.
        let examples = [
            "workers",
            "advertise",
            "cert",
            "key",
            "client_ca",
            "ca_file",
            "aliases",
            "file",
            "identities",
            "ring_timeout",
            "origins",
            "path",
            "servers",
        ];
        let tls = text.find("# [[listen]]").unwrap()..text.find("## What holds in every domain").unwrap();
        let edge = text.find("# [[edge]]").unwrap()..text.find("## Those who may authenticate").unwrap();
        let shown = [&text[..tls.start], &text[tls.end..edge.start], &text[edge.end..]].concat();
        // [http] has no default either; its key is called as one that is required elsewhere.
        let shown = uncommented(&shown).replace("bind = \"127.0.0.1:9090\"", "");
        let is_example = |line: &&str| examples.iter().any(|key| line.starts_with(&format!("{key} = ")));
        let with = shown
            .lines()
            .filter(|line| !is_example(line))
            .collect::<Vec<_>>()
            .join("\n");
        let folder = Folder::new();

        let (without, with) = (folder.load(&without).0.unwrap(), folder.load(&with).0.unwrap());

        assert_eq!(format!("{without:#?}"), format!("{with:#?}"));
    }
}

#[test]
fn a_bad_key_in_any_table_shown_is_found() {
    for text in shown_files() {
        let text = uncommented(&text);
        let headers = text.lines().enumerate().filter(|(_, line)| line.starts_with('['));
        for (number, header) in headers {
            let mut lines: Vec<&str> = text.lines().collect();
            lines.insert(number + 1, "no_such_key = 1");
            let folder = Folder::new();

            let (config, report) = folder.load(&lines.join("\n"));

            assert!(config.is_none(), "{header}");
            let expected = format!("a.toml:{}:1", number + 2);
            let shown = report.to_string();
            assert!(
                shown.contains("unknown key `no_such_key`") && shown.contains(&expected),
                "{header}: {shown}"
            );
        }
    }
}
