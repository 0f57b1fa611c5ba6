//! Arguments, logging, exit code: 0 done, 1 not started or failed, 2 wrong arguments or configuration.

use std::ffi::OsString;
use std::io::{IsTerminal, Write, stderr, stdout};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use clap::{Parser, Subcommand};
use tracing::warn;
use tracing_subscriber::EnvFilter;

use ringbinder::config::report::Report;
use ringbinder::config::users_file::UsersFile;
use ringbinder::config::{self, Config, Log, LogFormat, password};
use ringbinder::explain::{self, Verdict};
use ringbinder::quickstart::{self, Bind};
use ringbinder::sip::hop::Transport;
use ringbinder::transport::dns::Names;
use ringbinder::transport::routes::Routes;
use ringbinder::transport::settings;
use ringbinder::{daemon, random};

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A SIP registrar and forking proxy.
#[derive(Parser)]
#[command(version, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve until SIGTERM or SIGINT.
    Run {
        /// The configuration; otherwise $RINGBINDER_CONFIG, ringbinder.toml, /etc/ringbinder/ringbinder.toml.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Serve from a folder that is made when it is missing, with a configuration, a certificate and three accounts.
    Quickstart {
        /// The folder.
        #[arg(long, value_name = "FOLDER", default_value = "ringbinder-quickstart")]
        dir: PathBuf,
        /// Listen here, on this port (5060) for UDP and TCP and the next one for TLS, instead of on loopback and the
        /// private addresses. May be given several times.
        #[arg(long, value_name = "ADDRESS[:PORT]")]
        bind: Vec<Bind>,
    },
    /// Say what is wrong with a configuration: exit status 0 when it can be used, 2 when not.
    Check {
        /// The configuration; otherwise as for `run`.
        #[arg(value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Say step by step where a SIP URI leads: NAPTR, SRV, addresses, and the places to be tried in their order. Exit
    /// status 0 when it leads somewhere, 1 when not, 2 when it is no SIP URI.
    Dns {
        /// The URI, as in sip:alice@example.com.
        uri: String,
        /// The configuration, which says what can be sent with and who is asked; otherwise as for `run`, and without
        /// one UDP, TCP and TLS.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Edit an htdigest file of users.
    #[command(subcommand)]
    User(User),
}

#[derive(Subcommand)]
enum User {
    /// Add a user. The password is asked for, or is the first line of standard input.
    Add {
        /// The user's name.
        name: String,
        /// The htdigest file; it is made where it is missing.
        #[arg(long)]
        file: PathBuf,
        /// The realm of the domain: its name, unless its `realm` says otherwise.
        #[arg(long)]
        realm: String,
        /// Set the password of a user that is there.
        #[arg(long)]
        replace: bool,
    },
    /// Remove a user.
    Remove {
        /// The user's name.
        name: String,
        /// The htdigest file.
        #[arg(long)]
        file: PathBuf,
        /// The realm of the domain.
        #[arg(long)]
        realm: String,
    },
    /// List users, realms and the algorithms they can use.
    List {
        /// The htdigest file.
        #[arg(long)]
        file: PathBuf,
        /// Only users of this realm.
        #[arg(long)]
        realm: Option<String>,
    },
}

/// Why the process ends without having done its work.
enum Failure {
    /// The configuration cannot be used.
    Configuration(String),
    /// The server cannot start, or has failed.
    Start(anyhow::Error),
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Failure {
        Failure::Start(error)
    }
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Run { config } => run(config),
        Command::Quickstart { dir, bind } => start_quickly(quickstart::Options { dir, binds: bind }),
        Command::Check { config } => check(config),
        Command::Dns { uri, config } => match explain_uri(&uri, config) {
            Ok(Verdict::Leads) => Ok(()),
            Ok(Verdict::LeadsNowhere) => return ExitCode::from(1),
            Err(failure) => Err(failure),
        },
        Command::User(user) => edit_users(user).map_err(Failure::Start),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Configuration(message)) => {
            eprintln!("{message}");
            ExitCode::from(2)
        }
        Err(Failure::Start(error)) => {
            eprintln!("error: {error:#}");
            ExitCode::from(1)
        }
    }
}

fn run(file: Option<PathBuf>) -> Result<(), Failure> {
    let (config, report) = load(file)?;
    let Some(config) = config else {
        return Err(Failure::Configuration(report.to_string()));
    };
    serve(config, &report)
}

fn start_quickly(options: quickstart::Options) -> Result<(), Failure> {
    let quickstart = quickstart::prepare(&options)?;
    let variables: Vec<(OsString, OsString)> = std::env::vars_os().collect();
    let (config, report) = load_from(&quickstart.config, &variables)?;
    let Some(config) = config else {
        return Err(Failure::Configuration(report.to_string()));
    };
    println!("{}", quickstart.describe(stdout().is_terminal()));
    serve(config, &report)
}

fn check(file: Option<PathBuf>) -> Result<(), Failure> {
    let (config, report) = load(file)?;
    if config.is_none() {
        return Err(Failure::Configuration(report.to_string()));
    }
    eprintln!("{report}");
    Ok(())
}

fn explain_uri(uri: &str, file: Option<PathBuf>) -> Result<Verdict, Failure> {
    let question = explain::question(uri).map_err(|error| Failure::Configuration(format!("error: {uri}: {error}")))?;
    let variables: Vec<(OsString, OsString)> = std::env::vars_os().collect();
    let settings = match file.or_else(|| config::find(&variables)) {
        Some(path) => match load_from(&path, &variables)? {
            (Some(config), _) => config.transport,
            (None, report) => return Err(Failure::Configuration(report.to_string())),
        },
        None => settings::Settings {
            listeners: any_listeners(),
            ..settings::Settings::default()
        },
    };
    let listeners = settings.listeners.iter();
    let routes = Routes::new(listeners.map(|listener| (listener.transport, listener.bind)).collect());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot make a runtime")?;
    let explained = runtime.block_on(async {
        let names = Names::new(routes, settings.dns, Arc::default());
        explain::explain(question, &names, &mut stdout().lock()).await
    });
    Ok(explained.context("cannot write")?)
}

/// What is listened on by a server that nobody has configured.
fn any_listeners() -> Vec<settings::Listener> {
    let transports = [Transport::Udp, Transport::Tcp, Transport::Tls];
    let listener = |transport: Transport, ip: IpAddr| {
        settings::Listener::new(transport, SocketAddr::new(ip, transport.default_port()))
    };
    let listeners = transports.into_iter().flat_map(|transport| {
        let families = [IpAddr::from(Ipv4Addr::UNSPECIFIED), IpAddr::from(Ipv6Addr::UNSPECIFIED)];
        families.map(|ip| listener(transport, ip))
    });
    listeners.collect()
}

fn edit_users(user: User) -> anyhow::Result<()> {
    match user {
        User::Add {
            name,
            file,
            realm,
            replace,
        } => {
            let mut users = UsersFile::read_or_new(&file)?;
            if replace {
                users.remove(&name, &realm)?;
            }
            let password = password::read().context("no password")?;
            users.add(&name, &realm, &password)?;
            users.write()?;
        }
        User::Remove { name, file, realm } => {
            let mut users = UsersFile::read(&file)?;
            users.remove(&name, &realm)?;
            users.write()?;
        }
        User::List { file, realm } => list_users(&file, realm.as_deref())?,
    }
    Ok(())
}

fn list_users(file: &Path, realm: Option<&str>) -> anyhow::Result<()> {
    let users = UsersFile::read(file)?.list();
    let mut output = stdout().lock();
    for user in users
        .iter()
        .filter(|user| realm.is_none_or(|realm| realm == user.realm))
    {
        let algorithms: Vec<&str> = user.algorithms.iter().map(|algorithm| algorithm.name()).collect();
        // Who reads the list may stop reading.
        let line = writeln!(output, "{} {} {}", user.name, user.realm, algorithms.join(","));
        if line.is_err() {
            break;
        }
    }
    Ok(())
}

fn load(file: Option<PathBuf>) -> Result<(Option<Config>, Report), Failure> {
    let variables: Vec<(OsString, OsString)> = std::env::vars_os().collect();
    let Some(path) = file.or_else(|| config::find(&variables)) else {
        let places = config::PLACES.join(" and ");
        return Err(Failure::Configuration(format!(
            "error: no configuration: there is no {places}, and neither --config nor ${} names one\n\
             `ringbinder quickstart` makes one and starts",
            config::VARIABLE
        )));
    };
    Ok(load_from(&path, &variables)?)
}

fn load_from(path: &Path, variables: &[(OsString, OsString)]) -> anyhow::Result<(Option<Config>, Report)> {
    Ok(config::load(path, variables, random::bytes()?))
}

fn serve(config: Config, report: &Report) -> Result<(), Failure> {
    start_log(&config.log)?;
    for warning in report.warnings() {
        warn!("{warning}");
    }
    daemon::run(daemon::Settings {
        state_dir: config.state_dir,
        workers: config.workers,
        transport: config.transport,
        sip: config.sip,
        http: config.http,
    })?;
    Ok(())
}

fn start_log(log: &Log) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&log.level).context("[log] level")?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(stderr)
        .with_ansi(stderr().is_terminal());
    let started = match log.format {
        LogFormat::Text => lines.try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
    started
        .map_err(|error| anyhow::anyhow!(error))
        .context("cannot start the log")
}
