//! The quick start: a folder with a configuration, a certificate and three accounts, so that the server runs and
//! phones can register without anything having been written by hand.

use std::fmt::Write as _;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use zeroize::Zeroizing;

use crate::random;
use crate::transport::interfaces;

/// What to start with.
#[derive(Clone, Debug)]
pub struct Options {
    /// The folder.
    pub dir: PathBuf,
    /// Where to listen, when the folder is made; without any on loopback and the private addresses.
    pub binds: Vec<Bind>,
}

/// An address to listen on, and the port of UDP and TCP there; TLS has the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bind {
    /// The address.
    pub address: IpAddr,
    /// The port of UDP and TCP.
    pub port: u16,
}

impl std::str::FromStr for Bind {
    type Err = String;

    /// Reads `ADDRESS` or `ADDRESS:PORT`.
    fn from_str(text: &str) -> Result<Bind, String> {
        let bare = text
            .strip_prefix('[')
            .and_then(|text| text.strip_suffix(']'))
            .unwrap_or(text);
        let bind = match (bare.parse(), text.parse::<SocketAddr>()) {
            (Ok(address), _) => Bind { address, port: PORT },
            (Err(_), Ok(address)) => Bind {
                address: address.ip(),
                port: address.port(),
            },
            (Err(_), Err(_)) => return Err("write an IP address, or one with a port: 192.0.2.1:5060".into()),
        };
        if bind.port == 0 || bind.port == u16::MAX {
            return Err("the port must leave room for that of TLS, which is one higher: 1 to 65534".into());
        }
        Ok(bind)
    }
}

/// A folder that is ready to be served from.
#[derive(Clone, Debug)]
pub struct Quickstart {
    /// Its configuration file.
    pub config: PathBuf,
    /// Its accounts file.
    pub accounts_file: PathBuf,
    /// Whether the folder was made just now.
    pub is_new: bool,
    /// The accounts.
    accounts: Vec<Account>,
    /// Where the server listens, as the configuration says.
    listeners: Vec<(String, SocketAddr)>,
}

/// One account, as a line of `accounts.txt` has it.
#[derive(Clone)]
struct Account {
    username: String,
    password: Zeroizing<String>,
    domain: String,
}

/// Without the password.
impl std::fmt::Debug for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@{}", self.username, self.domain)
    }
}

/// Makes the folder, or reads the one that is there.
pub fn prepare(options: &Options) -> anyhow::Result<Quickstart> {
    let config = options.dir.join(CONFIG);
    let accounts_file = options.dir.join(ACCOUNTS);
    let is_new = !config.exists();
    if is_new {
        make(options)?;
    } else if !options.binds.is_empty() {
        bail!(
            "{}: the folder is there already, and --bind only counts when it is made; change the [[listen]] entries in \
             {CONFIG}, or give another folder by --dir",
            options.dir.display()
        );
    }
    Ok(Quickstart {
        accounts: read_accounts(&accounts_file)?,
        listeners: read_listeners(&config)?,
        config,
        accounts_file,
        is_new,
    })
}

impl Quickstart {
    /// What a person needs to know. Passwords are written only where `shows_passwords` says that a person reads it.
    pub fn describe(&self, shows_passwords: bool) -> String {
        let mut text = String::new();
        let folder = self.config.parent().unwrap_or(Path::new("."));
        let made = if self.is_new { "made" } else { "found, and used again" };
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "Folder {} {made}; the configuration is {}.",
            folder.display(),
            self.config.display()
        );
        if !shows_passwords {
            let _ = writeln!(
                text,
                "The accounts are in {}, one a line: username password domain.",
                self.accounts_file.display()
            );
            return text;
        }
        let _ = writeln!(text, "\nPut one of these accounts into a phone:\n");
        let width = self
            .accounts
            .iter()
            .map(|account| account.domain.len())
            .max()
            .unwrap_or(0)
            .max(6);
        let _ = writeln!(text, "  {:<10} {:<22} {:<width$}", "user", "password", "domain");
        for account in &self.accounts {
            let _ = writeln!(
                text,
                "  {:<10} {:<22} {:<width$}",
                account.username, &**account.password, account.domain
            );
        }
        let _ = writeln!(text, "\nand one of these as its proxy (server, registrar):\n");
        let _ = writeln!(text, "  {:<40} {:<6} transport", "proxy", "port");
        for (transport, address) in &self.listeners {
            let _ = writeln!(
                text,
                "  {:<40} {:<6} {}",
                address.ip(),
                address.port(),
                transport.to_ascii_uppercase()
            );
        }
        let _ = writeln!(
            text,
            "\nTLS has a self-signed certificate: the phone must be told to accept it."
        );
        if let [first, second, ..] = &self.accounts[..]
            && let Some(line) = self.try_it(first, second)
        {
            let _ = writeln!(
                text,
                "\nTo try it here, with a phone of {} registered:\n\n  {line}\n",
                second.username
            );
        }
        text
    }

    /// A command that registers as `caller` and calls `callee`.
    fn try_it(&self, caller: &Account, callee: &Account) -> Option<String> {
        let (_, address) = self.listeners.iter().find(|(transport, _)| transport == "udp")?;
        Some(format!(
            "baresip -f \"$(mktemp -d)\" -e '/uanew <sip:{}@{}>;auth_pass={};outbound=\"sip:{address};transport=udp\"' -e '/dial sip:{}@{}'",
            caller.username,
            host(&caller.domain),
            &**caller.password,
            callee.username,
            host(&callee.domain)
        ))
    }
}

/// A folder under another name until it is whole, so that a start that fails half-way leaves nothing to trip over.
fn make(options: &Options) -> anyhow::Result<()> {
    let dir = &options.dir;
    let shown = dir.display();
    if dir.exists()
        && fs::read_dir(dir)
            .with_context(|| format!("{shown}: cannot be read"))?
            .next()
            .is_some()
    {
        bail!("{shown}: there is something else in it; give another folder by --dir");
    }
    let binds = match options.binds.is_empty() {
        true => default_binds(),
        false => options.binds.clone(),
    };
    let names = names(&binds);
    let [domain, aliases @ ..] = &names[..] else {
        bail!("there is no address to listen on; give one by --bind")
    };
    let mut accounts = Vec::new();
    for username in USERNAMES {
        accounts.push(Account {
            username: username.into(),
            password: password()?,
            domain: host(domain),
        });
    }
    let certificate = rcgen::generate_simple_self_signed(names.clone()).context("cannot make a certificate")?;

    let parent = dir
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    fs::create_dir_all(parent).with_context(|| format!("{}: cannot be made", parent.display()))?;
    let draft = dir.with_extension("new");
    let _ = fs::remove_dir_all(&draft);
    DirBuilder::new()
        .mode(0o700)
        .create(&draft)
        .with_context(|| format!("{}: cannot be made", draft.display()))?;
    let key = Zeroizing::new(certificate.signing_key.serialize_pem());
    let lines = Zeroizing::new(accounts.iter().fold(String::new(), |mut text, account| {
        let _ = writeln!(text, "{} {} {}", account.username, &**account.password, account.domain);
        text
    }));
    for (name, text) in [
        (ACCOUNTS, &**lines),
        (CERTIFICATE, &certificate.cert.pem()),
        (KEY, &**key),
        (CONFIG, &*configuration(&binds, domain, aliases, &accounts)),
    ] {
        write_private(&draft.join(name), text)
            .with_context(|| format!("{}: cannot be written", dir.join(name).display()))?;
    }
    // An empty folder of that name gives way.
    let _ = fs::remove_dir(dir);
    fs::rename(&draft, dir).with_context(|| format!("{shown}: cannot be made"))
}

/// Loopback, and the addresses of private networks (RFC 1918, RFC 4193): never one that the world can reach.
fn default_binds() -> Vec<Bind> {
    let is_private = |address: &IpAddr| match address {
        IpAddr::V4(address) => *address == std::net::Ipv4Addr::LOCALHOST || address.is_private(),
        IpAddr::V6(address) => address.is_loopback() || address.is_unique_local(),
    };
    interfaces::addresses()
        .into_iter()
        .filter(is_private)
        .map(|address| Bind { address, port: PORT })
        .collect()
}

/// The names of the domain: first the one that phones are told, of IPv4 because many phones speak nothing else, and one
/// that other machines can reach where there is one; then the others and the host's name.
fn names(binds: &[Bind]) -> Vec<String> {
    let mut addresses: Vec<IpAddr> = binds.iter().map(|bind| bind.address).collect();
    if addresses.iter().any(IpAddr::is_unspecified) {
        addresses.extend(interfaces::addresses());
        addresses.retain(|address| !address.is_unspecified());
    }
    addresses.sort_by_key(|address| (address.is_ipv6(), address.is_loopback()));
    let mut names: Vec<String> = addresses.iter().map(IpAddr::to_string).collect();
    let host = fs::read_to_string("/proc/sys/kernel/hostname")
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    let is_name = |name: &str| {
        !name.is_empty()
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'))
    };
    names.extend([host, "localhost".into()].into_iter().filter(|name| is_name(name)));
    let mut seen = std::collections::BTreeSet::new();
    names.retain(|name| seen.insert(name.clone()));
    names
}

fn configuration(binds: &[Bind], domain: &str, aliases: &[String], accounts: &[Account]) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::from(
        "# Made by `ringbinder quickstart`; yours to change. conf/ringbinder.toml shows every key.\n\
         # `ringbinder check` says whether it can be used.\n\n[server]\nstate_dir = \"state\"\n",
    ));
    for bind in binds {
        let tls = SocketAddr::new(bind.address, bind.port + 1);
        let address = SocketAddr::new(bind.address, bind.port);
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "\n[[listen]]\ntransport = \"udp\"\nbind = \"{address}\"\n\n[[listen]]\ntransport = \"tcp\"\nbind = \"{address}\"\n\n\
             [[listen]]\ntransport = \"tls\"\nbind = \"{tls}\"\ncert = \"{CERTIFICATE}\"\nkey = \"{KEY}\"\n"
        );
    }
    let aliases: Vec<String> = aliases.iter().map(|alias| format!("\"{}\"", host(alias))).collect();
    let _ = write!(
        text,
        "\n# Users are called at user@domain; the aliases mean the same domain.\n[[domain]]\nname = \"{}\"\n\
         aliases = [{}]\ncredential_lists = [\"{LIST}\"]\n\n[[credential_list]]\nname = \"{LIST}\"\n",
        host(domain),
        aliases.join(", ")
    );
    for account in accounts {
        let _ = write!(
            text,
            "\n[[credential_list.user]]\nusername = \"{}\"\npassword = \"{}\"\n",
            account.username, &**account.password
        );
    }
    text
}

/// A host as a URI writes it: an IPv6 address stands in brackets.
fn host(name: &str) -> String {
    match name.parse() {
        Ok(IpAddr::V6(address)) => format!("[{address}]"),
        Ok(IpAddr::V4(_)) | Err(_) => name.to_owned(),
    }
}

/// 20 characters of 31: 99 bits. No two of them look alike.
fn password() -> anyhow::Result<Zeroizing<String>> {
    let mut password = Zeroizing::new(String::with_capacity(PASSWORD_LENGTH));
    while password.len() < PASSWORD_LENGTH {
        let drawn = Zeroizing::new(random::bytes::<32>()?);
        // A number beyond the alphabet is drawn again, so that every character is as likely as the others.
        let characters = drawn.iter().filter_map(|byte| ALPHABET.get(usize::from(byte & 31)));
        for character in characters.take(PASSWORD_LENGTH - password.len()) {
            password.push(char::from(*character));
        }
    }
    Ok(password)
}

fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn read_accounts(path: &Path) -> anyhow::Result<Vec<Account>> {
    let shown = path.display();
    let mode = fs::metadata(path)
        .with_context(|| format!("{shown}: cannot be read"))?
        .permissions()
        .mode();
    if mode & 0o077 != 0 {
        bail!("{shown}: others can read it; do chmod 600 {shown}");
    }
    let text = Zeroizing::new(fs::read_to_string(path).with_context(|| format!("{shown}: cannot be read"))?);
    let account = |line: &str| {
        let mut words = line.split_whitespace().map(str::to_owned);
        Some(Account {
            username: words.next()?,
            password: Zeroizing::new(words.next()?),
            domain: words.next()?,
        })
    };
    Ok(text.lines().filter_map(account).collect())
}

/// The listeners of the configuration, only to be shown; what is wrong with it is said when it is read in earnest.
fn read_listeners(path: &Path) -> anyhow::Result<Vec<(String, SocketAddr)>> {
    let text = Zeroizing::new(fs::read_to_string(path).with_context(|| format!("{}: cannot be read", path.display()))?);
    let Ok(table) = text.parse::<toml::Table>() else {
        return Ok(Vec::new());
    };
    let listeners = table
        .get("listen")
        .and_then(toml::Value::as_array)
        .into_iter()
        .flatten();
    Ok(listeners
        .filter_map(|listener| {
            let transport = listener.get("transport")?.as_str()?;
            Some((transport.to_owned(), listener.get("bind")?.as_str()?.parse().ok()?))
        })
        .collect())
}

/// The port of UDP and TCP (RFC 3261 §19.1.2); that of TLS is the next one.
const PORT: u16 = 5060;
const CONFIG: &str = "ringbinder.toml";
const ACCOUNTS: &str = "accounts.txt";
const CERTIFICATE: &str = "cert.pem";
const KEY: &str = "key.pem";
const LIST: &str = "accounts";
const USERNAMES: [&str; 3] = ["alice", "bob", "carol"];
const PASSWORD_LENGTH: usize = 20;
const ALPHABET: &[u8; 31] = b"abcdefghijkmnpqrstuvwxyz2345678";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_may_have_a_port() {
        let bind = |address: &str, port| Bind {
            address: address.parse().unwrap(),
            port,
        };
        assert_eq!("192.0.2.1".parse(), Ok(bind("192.0.2.1", 5060)));
        assert_eq!("192.0.2.1:7000".parse(), Ok(bind("192.0.2.1", 7000)));
        assert_eq!("::1".parse(), Ok(bind("::1", 5060)));
        assert_eq!("[::1]".parse(), Ok(bind("::1", 5060)));
        assert_eq!("[::1]:7000".parse(), Ok(bind("::1", 7000)));
        for wrong in ["localhost", "192.0.2.1:0", "192.0.2.1:65535", ""] {
            assert!(wrong.parse::<Bind>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn passwords_are_long_and_differ() {
        let (one, other) = (password().unwrap(), password().unwrap());
        assert_eq!(one.len(), PASSWORD_LENGTH);
        assert_ne!(*one, *other);
        assert!((ALPHABET.len() as f64).log2() * PASSWORD_LENGTH as f64 >= 96.0);
    }

    #[test]
    fn the_domain_is_an_ipv4_address_that_others_can_reach_where_there_is_one() {
        let bind = |address: &str| Bind {
            address: address.parse().unwrap(),
            port: PORT,
        };
        let names = names(&[bind("127.0.0.1"), bind("fd00::1"), bind("10.0.0.7")]);
        assert_eq!(names[..3], ["10.0.0.7", "127.0.0.1", "fd00::1"]);
        assert!(names.contains(&"localhost".to_owned()));
    }

    #[test]
    fn without_a_terminal_no_password_is_shown() {
        let quickstart = Quickstart {
            config: "x/ringbinder.toml".into(),
            accounts_file: "x/accounts.txt".into(),
            is_new: true,
            accounts: vec![Account {
                username: "alice".into(),
                password: Zeroizing::new("hidden".into()),
                domain: "d".into(),
            }],
            listeners: Vec::new(),
        };
        assert!(!quickstart.describe(false).contains("hidden"));
        assert!(quickstart.describe(true).contains("hidden"));
        assert!(!format!("{quickstart:?}").contains("hidden"));
    }
}
