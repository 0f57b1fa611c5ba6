//! The documents say what the code does: docs/reasons.md and docs/metrics.md are made from the code, docs/configuration.md
//! has every key of conf/ringbinder.toml, the example of README.md can be run, and links lead somewhere.

#![expect(clippy::unwrap_used, reason = "a test may")]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use ringbinder::config;
use ringbinder::http::metrics::Kind;
use ringbinder::http::metrics::families::FAMILIES;
use ringbinder::sip::reason::Reason;

/// Set to write what can be generated instead of comparing it.
const UPDATE: &str = "UPDATE_DOCS";

/// The generated documents.
const REASONS: &str = "docs/reasons.md";
const METRICS: &str = "docs/metrics.md";

/// What an example that is about something else lacks.
const LISTEN: &str = "[[listen]]\ntransport = \"udp\"\nbind = \"127.0.0.1:5060\"\n";

#[test]
fn every_reason_has_its_section() {
    is_made(REASONS, &reasons());
}

#[test]
fn every_metric_has_its_row() {
    is_made(METRICS, &metrics());
}

fn is_made(document: &str, expected: &str) {
    if std::env::var_os(UPDATE).is_some() {
        fs::write(path(document), expected).unwrap();
    }

    let found = fs::read_to_string(path(document)).unwrap_or_default();

    assert!(
        found == expected,
        "{document} is out of date: run `{UPDATE}=1 cargo test --test docs` and commit it"
    );
}

#[test]
fn every_key_has_its_row() {
    let documented = documented_keys(&read("docs/configuration.md"));
    let shown = shown_keys(&read("conf/ringbinder.toml"));
    assert!(shown.len() > 30, "conf/ringbinder.toml was not understood: {shown:?}");

    let missing: Vec<_> = shown.difference(&documented).collect();
    let unknown: Vec<_> = documented.difference(&shown).collect();

    assert!(missing.is_empty(), "docs/configuration.md lacks {missing:?}");
    assert!(
        unknown.is_empty(),
        "docs/configuration.md has what conf/ringbinder.toml lacks: {unknown:?}"
    );
}

#[test]
fn examples_of_the_configuration_have_no_fault() {
    let folder = std::env::temp_dir().join(format!("ringbinder-docs-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let pair = rcgen::generate_simple_self_signed(["example.com".to_owned()]).unwrap();
    fs::write(folder.join("cert.pem"), pair.cert.pem()).unwrap();
    fs::write(folder.join("key.pem"), pair.signing_key.serialize_pem()).unwrap();
    let examples = blocks(&read("README.md"), "toml");
    assert!(!examples.is_empty(), "README.md has no example");
    for (number, example) in examples.iter().enumerate() {
        let file = folder.join(format!("example-{number}.toml"));
        let listen = if example.contains("[[listen]]") { "" } else { LISTEN };
        fs::write(&file, format!("{example}{listen}")).unwrap();

        let (config, report) = config::load(&file, &[], [1; 16]);

        assert!(config.is_some(), "{report}");
    }
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn links_lead_somewhere() {
    for document in documents() {
        let folder = document.parent().unwrap();
        let text = fs::read_to_string(&document).unwrap();
        for link in links(&text) {
            let target = link.split('#').next().unwrap();
            assert!(
                target.is_empty() || target.contains("://") || folder.join(target).exists(),
                "{}: nothing at {link}",
                document.display()
            );
        }
    }
}

/// docs/reasons.md.
fn reasons() -> String {
    let mut text = String::from(
        "# Reasons\n\n\
         Every refusal that Ringbinder itself makes has one of these names. It stands in the reply to those who have\n\
         authenticated, as `Warning: 399 example.com \"<name>: <cause>\"`, and in the log (field `reason`, at DEBUG) when a\n\
         request is refused as it comes in. To strangers a reply says no more than its status does. Responses of phones and of\n\
         other servers are passed on as they are and have no reason here.\n\n\
         A 401 is a 407 when the request is not a REGISTER.\n\n\
         This page is made from `src/sip/reason.rs`; `UPDATE_DOCS=1 cargo test --test docs` writes it.\n",
    );
    for reason in Reason::ALL {
        let (name, status, phrase) = (reason.name(), reason.status(), reason.phrase());
        writeln!(text, "\n## {name}\n\nStatus: {status} {phrase}\n").unwrap();
        writeln!(text, "Cause: {}.\n", reason.text()).unwrap();
        writeln!(text, "Remedy: {}", reason.remedy()).unwrap();
    }
    text
}

/// docs/metrics.md.
fn metrics() -> String {
    let mut text = String::from(
        "# Metrics\n\n\
         With `[http] bind` set, `GET /metrics` tells these numbers in the text form of OpenMetrics, which Prometheus reads;\n\
         [running.md](running.md#metrics) says how to scrape them. Counters begin at 0 when the server starts. No number names\n\
         a user, a phone or a secret.\n\n\
         This page is made from `src/http/metrics/families.rs`; `UPDATE_DOCS=1 cargo test --test docs` writes it.\n\n\
         | metric | kind | labels | meaning |\n|---|---|---|---|\n",
    );
    for family in FAMILIES {
        let kind = match family.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        let labels: Vec<String> = family.labels.iter().map(|label| format!("`{label}`")).collect();
        writeln!(
            text,
            "| `{}` | {kind} | {} | {} |",
            family.name,
            labels.join(", "),
            family.help
        )
        .unwrap();
    }
    text
}

/// The keys that a configuration file shows, in use or behind `#`, each with its table.
fn shown_keys(text: &str) -> BTreeSet<(String, String)> {
    let mut keys = BTreeSet::new();
    let mut table = String::new();
    for line in text.lines() {
        let line = line.strip_prefix('#').map_or(line, str::trim_start);
        if line.starts_with('#') {
            continue;
        }
        if let Some(name) = table_name(line) {
            table = name;
        } else if let Some((key, _)) = line.split_once(" = ") {
            keys.insert((table.clone(), key.to_owned()));
        }
    }
    // [domain.registrar] and [domain.auth] have the keys of the tables they override.
    keys.retain(|(table, _)| !table.starts_with("domain."));
    keys
}

/// The keys with a row in docs/configuration.md, each with the table that its section is about.
fn documented_keys(text: &str) -> BTreeSet<(String, String)> {
    let mut keys = BTreeSet::new();
    let mut table = String::new();
    for line in text.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            table = table_name(heading.trim_matches('`')).unwrap_or_default();
        } else if let Some((key, _)) = line.strip_prefix("| `").and_then(|row| row.split_once('`')) {
            keys.insert((table.clone(), key.to_owned()));
        }
    }
    keys
}

/// `limits` of `[limits]`, `domain` of `[[domain]]`.
fn table_name(line: &str) -> Option<String> {
    let inner = line.trim().strip_prefix('[')?.strip_suffix(']')?;
    let inner = inner
        .strip_prefix('[')
        .and_then(|inner| inner.strip_suffix(']'))
        .unwrap_or(inner);
    Some(inner.to_owned())
}

/// The fenced blocks of a language.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.strip_prefix("```") != Some(language) {
            continue;
        }
        let block = lines.by_ref().take_while(|line| *line != "```");
        blocks.push(block.map(|line| format!("{line}\n")).collect());
    }
    blocks
}

fn links(text: &str) -> impl Iterator<Item = &str> {
    let ends = text.match_indices("](").map(|(at, _)| &text[at + 2..]);
    ends.filter_map(|rest| rest.split_once(')').map(|(link, _)| link))
}

fn documents() -> Vec<PathBuf> {
    let folders = [path(""), path("docs")];
    let entries = folders.iter().flat_map(|folder| fs::read_dir(folder).unwrap());
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .collect()
}

fn read(name: &str) -> String {
    fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}
