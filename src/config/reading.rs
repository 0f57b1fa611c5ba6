//! From text to [`File`]: all errors of syntax, or else all unknown keys and values of a wrong type, each with the
//! key that was probably meant.

use std::ops::Range;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use toml::de::{DeTable, DeValue, Deserializer, Error};

use super::environment::{self, Override};
use super::file::{self, File};
use super::report::Report;

/// The most errors looked for: each one costs another reading.
const ERRORS_MAX: usize = 100;

/// Reads the report's text with the overrides upon it. What is wrong goes to the report, and what can be read is
/// returned all the same, so that it is checked too; nothing after an error of syntax.
pub fn read(overrides: &[Override], report: &mut Report) -> Option<File> {
    let text = report.text().to_owned();
    let (mut tree, errors) = DeTable::parse_recoverable(&text);
    if !errors.is_empty() {
        for error in errors {
            let span = error.span().unwrap_or_default();
            report.error(span, error.message());
        }
        return None;
    }
    environment::apply(overrides, tree.get_mut(), report);
    for _ in 0..ERRORS_MAX {
        let error = match File::deserialize(Deserializer::from(tree.clone())) {
            Ok(file) => return Some(file),
            Err(error) => error,
        };
        let span = error.span().unwrap_or_default();
        // Without the key at fault the rest can be read on.
        let name = unknown(error.message(), "unknown field ").map(|(name, _)| name);
        let removed = remove(tree.get_mut(), &span, name.as_deref());
        explain(&error, removed.as_deref(), &span, report);
        report.set_partial();
        removed?;
    }
    None
}

/// Removes the innermost key whose name or value lies around the start of `span`, and whose name is `name` if given.
fn remove(table: &mut DeTable<'_>, span: &Range<usize>, name: Option<&str>) -> Option<String> {
    let mut found = None;
    for (key, value) in table.iter_mut() {
        let is_here = key.span().contains(&span.start) || value.span().contains(&span.start);
        let below = match value.get_mut() {
            DeValue::Table(table) => remove(table, span, name),
            DeValue::Array(items) => items.iter_mut().find_map(|item| match item.get_mut() {
                DeValue::Table(table) => remove(table, span, name),
                _ => None,
            }),
            _ => None,
        };
        if below.is_some() {
            return below;
        }
        if is_here && name.is_none_or(|name| key.get_ref() == name) {
            found = Some(key.clone());
        }
    }
    let key = found?;
    table.remove(&key);
    Some(key.into_inner().into_owned())
}

/// Adds what serde says to the report, in our words.
fn explain(error: &Error, key: Option<&str>, span: &Range<usize>, report: &mut Report) {
    let message = error.message();
    let key = key.unwrap_or("?");
    if let Some((unknown, expected)) = unknown(message, "unknown field ") {
        let help = help(&unknown, &expected);
        report.error(span.clone(), format!("unknown key `{unknown}`")).help = Some(help);
    } else if let Some((unknown, expected)) = unknown(message, "unknown variant ") {
        let help = meant(&unknown, &expected).unwrap_or_else(|| one_of(&expected));
        report
            .error(span.clone(), format!("`{key}` cannot be `{unknown}`"))
            .help = Some(help);
    } else if report.is_secret(span) {
        report.error(span.clone(), format!("`{key}` cannot be this: a string is expected"));
    } else {
        report.error(span.clone(), format!("`{key}` cannot be this: {message}"));
    }
}

/// What is unknown and what was expected, of a message of serde's: "unknown field `a`, expected `b` or `c`".
fn unknown(message: &str, start: &str) -> Option<(String, Vec<String>)> {
    let rest = message.strip_prefix(start)?.strip_prefix('`')?;
    // The name may hold anything; what is expected never holds a backtick.
    let (unknown, expected) = rest.rsplit_once("`, expected ").or_else(|| {
        let name = rest.split_once("`, there are no ")?.0;
        Some((name, ""))
    })?;
    let expected = expected.split('`').skip(1).step_by(2).map(str::to_owned);
    Some((unknown.to_owned(), expected.collect()))
}

fn help(unknown: &str, expected: &[String]) -> String {
    if let Some(meant) = meant(unknown, expected) {
        return meant;
    }
    let home = tables()
        .into_iter()
        .find(|(_, keys)| keys.iter().any(|key| key == unknown));
    match home {
        Some(("", _)) => "belongs at the top level".to_owned(),
        Some((table, _)) => format!("belongs in {table}"),
        None => one_of(expected),
    }
}

fn one_of(expected: &[String]) -> String {
    format!("expected: {}", expected.join(", "))
}

fn meant(unknown: &str, expected: &[String]) -> Option<String> {
    nearest(unknown, expected.iter().map(String::as_str)).map(|nearest| format!("did you mean `{nearest}`?"))
}

/// The candidate that `name` is probably a misspelling of.
pub fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let plain = |name: &str| name.to_lowercase().replace(['-', ' '], "_");
    let name = plain(name);
    let distances = candidates.map(|candidate| (strsim::damerau_levenshtein(&name, &plain(candidate)), candidate));
    let (distance, nearest) = distances.min_by_key(|(distance, _)| *distance)?;
    // A third of the letters wrong is a misspelling; more is another word.
    let allowed = name.chars().count().max(nearest.len()).div_ceil(3);
    let is_part = name.len() >= 4 && (nearest.contains(&name) || name.contains(nearest));
    (distance <= allowed || is_part).then_some(nearest)
}

/// The tables of the file and their keys.
fn tables() -> [(&'static str, Vec<String>); 13] {
    [
        ("", keys::<File>()),
        ("[server]", keys::<file::Server>()),
        ("[[listen]]", keys::<file::Listen>()),
        ("[registrar]", keys::<file::Registrar>()),
        ("[auth]", keys::<file::Auth>()),
        ("[proxy]", keys::<file::Proxy>()),
        ("[limits]", keys::<file::Limits>()),
        ("[http]", keys::<file::Http>()),
        ("[log]", keys::<file::Log>()),
        ("[[domain]]", keys::<file::Domain>()),
        ("[[edge]]", keys::<file::Edge>()),
        ("[[credential_list]]", keys::<file::CredentialList>()),
        ("[[credential_list.user]]", keys::<file::User>()),
    ]
}

/// The keys of a table, by the complaint about one that it cannot have.
fn keys<T: DeserializeOwned>() -> Vec<String> {
    let complaint = toml::from_str::<T>("'' = 0").err();
    let found = complaint.and_then(|error| unknown(error.message(), "unknown field "));
    found.map(|(_, expected)| expected).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::path::Path;

    use super::super::report::Diagnostic;
    use super::*;

    fn errors(text: &str, variables: &[(&str, &str)]) -> Vec<Diagnostic> {
        let mut report = Report::new(Path::new("a.toml"), text.to_owned());
        let variables = variables
            .iter()
            .map(|(name, value)| (OsString::from(name), OsString::from(value)));
        let overrides = environment::overrides(variables, &mut report);
        read(&overrides, &mut report);
        report.diagnostics().to_vec()
    }

    #[test]
    fn a_bad_key_in_any_table_is_found_and_the_right_one_named() {
        for (table, keys) in tables() {
            assert!(!keys.is_empty(), "{table}");
            for key in keys {
                let mistyped = format!("{key}x");
                let header = if table == "[[credential_list.user]]" {
                    "[[credential_list]]\n"
                } else {
                    ""
                };
                let found = errors(&format!("{header}{table}\n{mistyped} = 1"), &[]);

                assert_eq!(found.len(), 1, "{table} {key}: {found:?}");
                assert_eq!(found[0].message, format!("unknown key `{mistyped}`"));
                assert_eq!(found[0].help, Some(format!("did you mean `{key}`?")));
            }
        }
    }

    #[test]
    fn every_error_is_reported_at_its_place() {
        let text = "[[listen]]\nbindd = \"x\"\ntransport = \"upd\"\n[[listen]]\nbind = 5060\n[registrar]\n\
            min_expires = -1\nmax_expires = \"1h\"\nmax_contact = 3\n[foo]\nbar = 1\n[server]\nmax_contacts = 10\n";

        let found = errors(text, &[]);

        let mut shown: Vec<String> = found
            .iter()
            .map(|error| {
                let super::super::report::Place::Span(span) = &error.place else {
                    panic!("{error:?}")
                };
                let help = error.help.clone().unwrap_or_default();
                format!("{} @{} {help}", error.message, &text[span.clone()])
            })
            .collect();
        shown.sort();
        assert_eq!(
            shown,
            [
                "`bind` cannot be this: invalid type: integer `5060`, expected a string @5060 ",
                "`max_expires` cannot be this: invalid type: string \"1h\", expected a whole number from 0 to \
                 4294967295 @\"1h\" ",
                "`min_expires` cannot be this: invalid value: integer `-1`, expected a whole number from 0 to \
                 4294967295 @-1 ",
                "`transport` cannot be `upd` @\"upd\" did you mean `udp`?",
                "unknown key `bindd` @bindd did you mean `bind`?",
                "unknown key `foo` @foo expected: server, listen, registrar, auth, proxy, dns, keep_alive, limits, \
                 tls, http, log, domain, edge, credential_list",
                "unknown key `max_contact` @max_contact did you mean `max_contacts`?",
                "unknown key `max_contacts` @max_contacts belongs in [registrar]",
            ]
        );
    }

    #[test]
    fn errors_of_syntax_come_alone() {
        let found = errors("[server]\nworkers = \n[[listen]\nbindd = 1\n", &[]);

        assert!(found.len() >= 2, "{found:?}");
        assert!(
            found.iter().all(|error| !error.message.contains("unknown key")),
            "{found:?}"
        );
    }

    #[test]
    fn a_secret_of_a_wrong_type_is_not_repeated() {
        let found = errors("[[credential_list]]\n[[credential_list.user]]\npassword = 12345\n", &[]);

        assert_eq!(found.len(), 1);
        assert!(!found[0].message.contains("12345"), "{found:?}");
    }

    #[test]
    fn variables_override_keys_and_errors_name_them() {
        use super::super::report::Place::Variable;
        let mut report = Report::new(Path::new("a.toml"), "[limits]\nconnections = 5\n".to_owned());
        let variables = [
            ("RINGBINDER__LIMITS__CONNECTIONS", "7"),
            ("RINGBINDER__AUTH__ALGORITHMS", "SHA-256, MD5"),
            ("RINGBINDER__PROXY__EMERGENCY_NUMBERS", "0112"),
            ("RINGBINDER__LOG__LEVEL", "debug"),
            ("RINGBINDER__LOG__FORMAT", ""),
            ("RINGBINDER_CONFIG", "x"),
            ("PATH", "x"),
        ];
        let variables = variables.map(|(name, value)| (OsString::from(name), OsString::from(value)));
        let overrides = environment::overrides(variables, &mut report);
        let file = read(&overrides, &mut report).expect("no errors");

        assert!(report.diagnostics().is_empty(), "{report:?}");
        assert_eq!(file.limits.connections.map(|value| value.into_inner().0), Some(7));
        assert_eq!(file.log.level.map(|value| value.into_inner()), Some("debug".to_owned()));
        let list = |key: file::Key<Vec<toml::Spanned<String>>>| -> Vec<String> {
            key.into_iter()
                .flat_map(|list| list.into_inner())
                .map(|item| item.into_inner())
                .collect()
        };
        assert_eq!(list(file.auth.algorithms), ["SHA-256", "MD5"]);
        assert_eq!(list(file.proxy.emergency_numbers), ["0112"]);

        for (name, value, message) in [
            ("RINGBINDER__LIMITS__CONECTIONS", "7", "unknown key `conections`"),
            ("RINGBINDER__LIMIT__CONNECTIONS", "7", "unknown key `limit`"),
            (
                "RINGBINDER__LIMITS__CONNECTIONS",
                "many",
                "`connections` cannot be this",
            ),
            ("RINGBINDER__LOG__FORMAT", "jsn", "`format` cannot be `jsn`"),
            ("RINGBINDER__DOMAIN__NAME", "a", "[[domain]] can occur several times"),
            ("RINGBINDER__LOG", "a", "a name is RINGBINDER__SECTION__KEY"),
            ("RINGBINDER__LOG__LEVEL__X", "a", "a name is RINGBINDER__SECTION__KEY"),
        ] {
            let found = errors("", &[(name, value)]);

            assert_eq!(found.len(), 1, "{name}: {found:?}");
            assert_eq!(found[0].place, Variable(name.to_owned()));
            assert!(found[0].message.starts_with(message), "{found:?}");
        }
    }

    #[test]
    fn only_near_names_are_suggested() {
        let nearest = |name| nearest(name, ["min_expires", "max_expires", "bind", "udp"].into_iter());

        assert_eq!(nearest("minexpires"), Some("min_expires"));
        assert_eq!(nearest("MAX-EXPIRES"), Some("max_expires"));
        assert_eq!(nearest("expires"), Some("min_expires"));
        assert_eq!(nearest("bnid"), Some("bind"));
        assert_eq!(nearest("tcp"), None);
        assert_eq!(nearest("colour"), None);
    }
}
