//! Environment variables that override keys of the file: `RINGBINDER__SECTION__KEY`.

use std::ffi::OsString;

use config::{Environment, Map, Source, ValueKind};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::report::{Place, Report, Severity};

/// Before each section, and between section and key.
const SEPARATOR: &str = "__";

/// The first part of the names.
const PREFIX: &str = "RINGBINDER";

/// Keys that hold a list: in a variable its items stand between commas.
const LIST_KEYS: [&str; 2] = ["auth.algorithms", "proxy.emergency_numbers"];

/// Sections that can occur several times; no variable can say which one it means.
const REPEATED: [&str; 3] = ["listen", "domain", "credential_list"];

/// One variable.
pub struct Override {
    name: String,
    section: String,
    key: String,
    /// The value as TOML writes it.
    literal: String,
}

/// The variables among `variables` that override keys; what is wrong with them goes to the report.
pub fn overrides(variables: impl IntoIterator<Item = (OsString, OsString)>, report: &mut Report) -> Vec<Override> {
    let names = variables.into_iter().filter_map(|(name, value)| {
        let name = name.into_string().ok()?;
        is_override(&name).then(|| (name, value.to_string_lossy().into_owned()))
    });
    let variables: Map<String, String> = names.collect();
    let collected = Environment::with_prefix(PREFIX)
        .separator(SEPARATOR)
        .ignore_empty(true)
        .try_parsing(true)
        .source(Some(variables.clone()))
        .collect();
    let collected = match collected {
        Ok(collected) => collected,
        Err(error) => {
            report.add(Severity::Error, Place::File, error.to_string());
            return Vec::new();
        }
    };
    let mut found: Vec<Override> = collected
        .into_iter()
        .filter_map(|(path, value)| {
            let name = variables.keys().find(|name| path_of(name) == path).unwrap_or(&path);
            match split(&path) {
                Ok((section, key)) => Some(Override {
                    name: name.clone(),
                    section: section.to_owned(),
                    key: key.to_owned(),
                    literal: literal(&path, &value.kind, variables.get(name)?)?,
                }),
                Err(message) => {
                    report.add(Severity::Error, Place::Variable(name.clone()), message);
                    None
                }
            }
        })
        .collect();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

/// Puts the overrides into the tree of the file.
pub fn apply<'a>(overrides: &'a [Override], tree: &mut DeTable<'a>, report: &mut Report) {
    for variable in overrides {
        let span = report.add_variable(variable.name.clone());
        let Ok(value) = DeValue::parse(&variable.literal) else {
            report.error(span, "the value cannot be read");
            continue;
        };
        let section = tree
            .entry(Spanned::new(span.clone(), variable.section.as_str().into()))
            .or_insert_with(|| Spanned::new(span.clone(), DeValue::Table(DeTable::new())));
        let DeValue::Table(section) = section.get_mut() else {
            continue; // wrong in the file, which is reported for the file
        };
        let key = Spanned::new(span.clone(), variable.key.as_str().into());
        section.remove(&key);
        section.insert(key, at(span, value.into_inner()));
    }
}

/// The value with each of its parts at `span`.
fn at(span: std::ops::Range<usize>, value: DeValue<'_>) -> Spanned<DeValue<'_>> {
    let value = match value {
        DeValue::Array(items) => {
            let items = items.into_iter();
            DeValue::Array(items.map(|item| at(span.clone(), item.into_inner())).collect())
        }
        DeValue::Table(_)
        | DeValue::String(_)
        | DeValue::Integer(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_) => value,
    };
    Spanned::new(span, value)
}

fn split(path: &str) -> Result<(&str, &str), String> {
    let Some((section, key)) = path.split_once('.') else {
        return Err(format!("a name is {PREFIX}{SEPARATOR}SECTION{SEPARATOR}KEY"));
    };
    if REPEATED.contains(&section) {
        return Err(format!(
            "[[{section}]] can occur several times: set its keys in the file"
        ));
    }
    if key.is_empty() || key.contains('.') {
        return Err(format!("a name is {PREFIX}{SEPARATOR}SECTION{SEPARATOR}KEY"));
    }
    Ok((section, key))
}

/// The value as TOML writes it, if a variable can hold it. `text` is what the variable says.
fn literal(path: &str, value: &ValueKind, text: &str) -> Option<String> {
    if LIST_KEYS.contains(&path) {
        let items = text.split(',').map(|item| toml::Value::from(item.trim()));
        return Some(toml::Value::Array(items.collect()).to_string());
    }
    match value {
        ValueKind::Boolean(value) => Some(value.to_string()),
        ValueKind::I64(value) => Some(value.to_string()),
        // No key has a number with a fraction.
        ValueKind::Float(_) | ValueKind::String(_) => Some(toml::Value::from(text).to_string()),
        ValueKind::Nil
        | ValueKind::I128(_)
        | ValueKind::U64(_)
        | ValueKind::U128(_)
        | ValueKind::Table(_)
        | ValueKind::Array(_) => None,
    }
}

fn is_override(name: &str) -> bool {
    let prefix = name.get(..PREFIX.len() + SEPARATOR.len());
    prefix.is_some_and(|prefix| prefix.eq_ignore_ascii_case(&format!("{PREFIX}{SEPARATOR}")))
}

/// The path that the variable of this name has as a key: `limits.connections`.
fn path_of(name: &str) -> String {
    let rest = name.get(PREFIX.len() + SEPARATOR.len()..).unwrap_or_default();
    rest.to_lowercase().replace(SEPARATOR, ".")
}
