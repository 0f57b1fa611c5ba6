//! Imports only run down: reads every file under `src` and fails on a path that leads up the layers of
//! ARCHITECTURE.md, out of `sip`, or from `sip` to a crate that reaches the outside.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The layers, lowest first. Modules of one layer may use each other.
const LAYERS: &[&[&str]] = &[
    &["random"],
    &["sip::hop"],
    &["sip::message"],
    &["sip::reason"],
    &[
        "sip::transaction",
        "sip::digest",
        "sip::location",
        "sip::resolution",
        "sip::domain",
        "sip::edge",
        "sip::failures",
        "sip::gruu",
        "sip::health",
        "sip::counts",
    ],
    &["transport"],
    &["sip::shared"],
    &["sip::registrar", "sip::proxy"],
    &["sip::keep_alive"],
    &["sip::server"],
    &["sip"],
    &["http"],
    &["config", "explain", "quickstart"],
    &["daemon"],
    &["main"],
];

/// What `transport` may know beside itself.
const TRANSPORT_KNOWS: &[&str] = &["sip::message", "sip::hop", "sip::resolution", "transport"];

/// Paths up that are meant, with their reason.
const EXCEPTIONS: &[(&str, &str)] = &[
    // A domain holds the Settings of what acts in it, and each module owns its Settings.
    ("sip::domain", "sip::registrar"),
];

/// Crates that reach clocks, sockets, tasks, files or randomness, or belong to the edge.
const OUTSIDE: &[&str] = &[
    "axum",
    "clap",
    "config",
    "getrandom",
    "hickory_resolver",
    "hyper",
    "hyper_util",
    "libc",
    "prometheus_client",
    "rcgen",
    "rustix",
    "rustls",
    "rustls_native_certs",
    "sd_notify",
    "serde",
    "socket2",
    "tokio",
    "tokio_rustls",
    "toml",
    "tracing_subscriber",
];

#[test]
fn imports_only_run_down() {
    let mut sources = Vec::new();
    read_sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &[], &mut sources);
    assert!(sources.len() > 10, "src was not found");

    let found = violations(&sources);

    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn an_import_that_runs_up_is_found() {
    for (module, source, expected) in [
        ("sip::message::via", "use crate::sip::server::Server;", "sip::server"),
        (
            "sip::message",
            "use crate::sip::{hop::Hop,\n  proxy::{self, Settings}};",
            "sip::proxy",
        ),
        (
            "sip::digest::nonce",
            "use super::super::registrar::Settings;",
            "sip::registrar",
        ),
        ("sip::hop", "fn f(x: &crate::sip::domain::Domain) {}", "sip::domain"),
        ("sip::server", "use crate::transport::udp;", "transport"),
        ("sip::server", "use crate::config::Config;", "config"),
        ("transport::udp", "use crate::sip::location::Location;", "sip::location"),
        ("quickstart", "use crate::daemon;", "daemon"),
        ("http::metrics", "use crate::config::Config;", "config"),
        ("sip::proxy", "use tokio::net::UdpSocket;", "tokio"),
        ("sip::proxy", "let value = getrandom::u64();", "getrandom"),
        ("sip::unheard_of", "", "no layer"),
    ] {
        let found = violations(&[(path(module), source.to_owned())]);

        assert_eq!(found.len(), 1, "{module}: {source}: {found:?}");
        assert!(found[0].contains(expected), "{found:?}");
    }
}

#[test]
fn an_import_that_runs_down_or_stands_in_a_test_is_not() {
    for (module, source) in [
        ("sip::server", "use crate::sip::{hop::Hop, proxy, registrar::Settings};"),
        ("sip::registrar", "use crate::sip::proxy::authorization;"),
        (
            "sip::message::via",
            "use super::grammar; use super::super::hop::Transport;",
        ),
        (
            "transport::udp",
            "use crate::sip::hop::Flow; use tokio::net::UdpSocket;",
        ),
        ("sip::hop", "// see crate::sip::server\n/// [`crate::sip::server`]"),
        (
            "sip::hop",
            "#[cfg(test)]\nmod tests {\n    use crate::sip::server::Server;\n}",
        ),
        (
            "daemon",
            "use crate::config::Config; use crate::{quickstart, transport};",
        ),
        ("main", "use ringbinder::daemon;"),
        ("sip::domain", "use crate::sip::registrar;"),
    ] {
        let found = violations(&[(path(module), source.to_owned())]);

        assert!(found.is_empty(), "{module}: {source}: {found:?}");
    }
}

/// What is wrong in these files, each given as its module and its text.
fn violations(sources: &[(Vec<String>, String)]) -> Vec<String> {
    let mut found = BTreeSet::new();
    for (module, text) in sources {
        let name = module.join("::");
        if name.is_empty() {
            continue; // lib.rs is the map itself
        }
        let Some(rank) = rank(&name) else {
            found.insert(format!("{name} stands in no layer of tests/layers.rs"));
            continue;
        };
        let code = code(text);
        for used in paths(module, &code) {
            if !may_use(&name, rank, &used) {
                found.insert(format!("{name} may not use {used}"));
            }
        }
        if is_within(&name, "sip") {
            let outside = OUTSIDE.iter().filter(|outside| names_crate(&code, outside));
            found.extend(outside.map(|outside| format!("{name} may not use the crate {outside}")));
        }
    }
    found.into_iter().collect()
}

fn may_use(module: &str, own_rank: usize, used: &str) -> bool {
    let Some(used_rank) = rank(used) else { return false };
    if EXCEPTIONS
        .iter()
        .any(|(from, to)| is_within(module, from) && is_within(used, to))
    {
        return true;
    }
    if is_within(module, "sip") && !is_within(used, "sip") {
        return false;
    }
    if is_within(module, "transport") && !TRANSPORT_KNOWS.iter().any(|known| is_within(used, known)) {
        return false;
    }
    used_rank <= own_rank
}

/// The layer of the longest entry that `path` lies in.
fn rank(path: &str) -> Option<usize> {
    let entries = LAYERS
        .iter()
        .enumerate()
        .flat_map(|(rank, names)| names.iter().map(move |name| (rank, *name)));
    let (rank, name) = entries
        .filter(|(_, name)| is_within(path, name))
        .max_by_key(|(_, name)| name.len())?;
    // `sip` itself is sip/mod.rs; a module of it must have a layer of its own.
    (name != "sip" || path == "sip").then_some(rank)
}

fn is_within(path: &str, ancestor: &str) -> bool {
    path.strip_prefix(ancestor)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// The text without comments and without what follows `#[cfg(test)]` on a module: tests stand last.
fn code(text: &str) -> String {
    let end = text.find("#[cfg(test)]\nmod tests").unwrap_or(text.len());
    let lines = text[..end]
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default());
    lines.collect::<Vec<_>>().join("\n")
}

/// Every module path that begins with `crate` or `super`, from the root.
fn paths(module: &[String], code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for start in ["crate::", "super::"] {
        for (at, _) in code.match_indices(start) {
            let before = code[..at].chars().next_back();
            if before.is_some_and(|before| before.is_alphanumeric() || "_$:".contains(before)) {
                continue;
            }
            let mut base = module.to_vec();
            let mut rest = &code[at..];
            while let Some(after) = rest.strip_prefix("super::") {
                base.pop();
                rest = after;
            }
            if let Some(after) = rest.strip_prefix("crate::") {
                base.clear();
                rest = after;
            }
            expand(&base.join("::"), rest, &mut found);
        }
    }
    found.retain(|path| !path.is_empty());
    found
}

/// Appends the paths of a use tree (`a::{b, c::d}`), cut where no module can follow.
fn expand<'a>(base: &str, tree: &'a str, found: &mut Vec<String>) -> &'a str {
    let tree = tree.trim_start();
    if let Some(mut rest) = tree.strip_prefix('{') {
        loop {
            rest = expand(base, rest, found).trim_start();
            match rest.strip_prefix(',') {
                Some(after) => rest = after,
                None => return rest.strip_prefix('}').unwrap_or(rest),
            }
        }
    }
    let end = tree
        .find(|c: char| !c.is_alphanumeric() && c != '_')
        .unwrap_or(tree.len());
    let (name, rest) = tree.split_at(end);
    let is_module = name.starts_with(|c: char| c.is_ascii_lowercase()) && name != "self";
    let path = match (is_module, base) {
        (false, _) => base.to_owned(),
        (true, "") => name.to_owned(),
        (true, _) => format!("{base}::{name}"),
    };
    match rest.strip_prefix("::") {
        Some(after) if is_module => expand(&path, after, found),
        Some(_) | None => {
            found.push(path);
            rest
        }
    }
}

/// Whether `code` names something of the crate.
fn names_crate(code: &str, name: &str) -> bool {
    code.match_indices(name).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        let is_start = !before.is_some_and(|before| before.is_alphanumeric() || "_:.".contains(before));
        is_start && code[at + name.len()..].starts_with("::")
    })
}

fn path(module: &str) -> Vec<String> {
    module.split("::").map(str::to_owned).collect()
}

fn read_sources(folder: &Path, module: &[String], sources: &mut Vec<(Vec<String>, String)>) {
    for entry in fs::read_dir(folder).expect("a folder of src") {
        let path = entry.expect("an entry of src").path();
        let stem = path.file_stem().expect("has a name").to_string_lossy().into_owned();
        let mut module = module.to_vec();
        if path.is_dir() {
            module.push(stem);
            read_sources(&path, &module, sources);
            continue;
        }
        if path.extension().is_none_or(|extension| extension != "rs") || stem == "tests" {
            continue;
        }
        if stem != "mod" && stem != "lib" {
            module.push(stem);
        }
        sources.push((module, fs::read_to_string(&path).expect("a source file")));
    }
}
