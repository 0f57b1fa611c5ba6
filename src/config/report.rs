//! What is wrong with a configuration: every error and warning at its place, shown with its line and a caret.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Keys whose values are secret: what follows them in a line is not shown.
const SECRET_KEYS: [&str; 2] = ["password", "ha1"];

/// The most errors shown; who has more begins at the top anyway.
const SHOWN_MAX: usize = 50;

/// Whether a server can start in spite of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// No.
    Error,
    /// Yes, but it will hardly do what was meant.
    Warning,
}

/// Where something is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// At these bytes of the configuration file.
    Span(Range<usize>),
    /// In the configuration file as a whole.
    File,
    /// In this environment variable.
    Variable(String),
    /// In a file that the configuration names, at a line and column from 1 if known. Its text is not shown: it is
    /// secret.
    Other(PathBuf, Option<(usize, usize)>),
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// Where it is.
    pub place: Place,
    /// What it is.
    pub message: String,
    /// What to do about it, if known.
    pub help: Option<String>,
}

/// All that is wrong with a configuration file.
#[derive(Clone, Default)]
pub struct Report {
    path: PathBuf,
    text: String,
    /// The environment variables that override keys; the n-th has the span of the n-th byte after the text's end.
    variables: Vec<String>,
    diagnostics: Vec<Diagnostic>,
    /// Whether keys were left out because of errors in them, so that what is missing need not be.
    is_partial: bool,
}

impl Report {
    /// Nothing wrong so far with `text`, read from `path`.
    pub fn new(path: &Path, text: String) -> Report {
        Report {
            path: path.to_owned(),
            text,
            ..Report::default()
        }
    }

    /// The text of the file.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The folder of the file, to which the paths in it are relative.
    pub fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new(""))
    }

    /// Gives the value of an environment variable a span by which errors in it are known.
    pub fn add_variable(&mut self, name: String) -> Range<usize> {
        self.variables.push(name);
        let start = self.text.len() + self.variables.len();
        start..start + 1
    }

    /// Whether anything prevents a start.
    pub fn has_errors(&self) -> bool {
        self.of(Severity::Error).next().is_some()
    }

    /// What is wrong, in the order it was found.
    pub fn diagnostics(&self) -> &[Diagnostic] {
        &self.diagnostics
    }

    /// The warnings, each in one line.
    pub fn warnings(&self) -> impl Iterator<Item = String> {
        self.of(Severity::Warning).map(|warning| match &warning.help {
            Some(help) => format!("{}: {}: {help}", self.locate(&warning.place), warning.message),
            None => format!("{}: {}", self.locate(&warning.place), warning.message),
        })
    }

    /// Adds an error at `span`.
    pub fn error(&mut self, span: Range<usize>, message: impl Into<String>) -> &mut Diagnostic {
        let place = self.place(span);
        self.add(Severity::Error, place, message)
    }

    /// Adds a warning at `span`.
    pub fn warning(&mut self, span: Range<usize>, message: impl Into<String>) -> &mut Diagnostic {
        let place = self.place(span);
        self.add(Severity::Warning, place, message)
    }

    /// Adds an error or warning anywhere. What is known already is not added again: two domains may use one file.
    pub fn add(&mut self, severity: Severity, place: Place, message: impl Into<String>) -> &mut Diagnostic {
        let message = message.into();
        let is_known = |known: &Diagnostic| known.place == place && known.message == message;
        let index = self.diagnostics.iter().position(is_known).unwrap_or_else(|| {
            self.diagnostics.push(Diagnostic {
                severity,
                place: place.clone(),
                message: message.clone(),
                help: None,
            });
            self.diagnostics.len() - 1
        });
        &mut self.diagnostics[index]
    }

    /// From now on [`Report::missing`] says nothing: keys with errors were left out.
    pub fn set_partial(&mut self) {
        self.is_partial = true;
    }

    /// Adds that something is missing, unless that may be due to another error.
    pub fn missing(&mut self, severity: Severity, place: Place, message: impl Into<String>, help: &str) {
        if !self.is_partial {
            self.add(severity, place, message).help = Some(help.to_owned());
        }
    }

    /// Whether the line at `span` holds a secret.
    pub fn is_secret(&self, span: &Range<usize>) -> bool {
        let line = Line::at(&self.text, span.start);
        secret_start(line.text).is_some()
    }

    fn of(&self, severity: Severity) -> impl Iterator<Item = &Diagnostic> {
        self.diagnostics
            .iter()
            .filter(move |diagnostic| diagnostic.severity == severity)
    }

    fn place(&self, span: Range<usize>) -> Place {
        let variable = span.start.checked_sub(self.text.len() + 1);
        match variable.and_then(|index| self.variables.get(index)) {
            Some(name) => Place::Variable(name.clone()),
            None => Place::Span(span),
        }
    }

    /// `file:line:column`, or what comes nearest to it.
    fn locate(&self, place: &Place) -> String {
        match place {
            Place::Span(span) => {
                let line = Line::at(&self.text, span.start);
                format!("{}:{}:{}", self.path.display(), line.number, line.column)
            }
            Place::File => self.path.display().to_string(),
            Place::Variable(name) => format!("environment variable {name}"),
            Place::Other(path, None) => path.display().to_string(),
            Place::Other(path, Some((line, column))) => format!("{}:{line}:{column}", path.display()),
        }
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, diagnostic: &Diagnostic) -> fmt::Result {
        let severity = match diagnostic.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        writeln!(f, "{severity}: {}", diagnostic.message)?;
        let help = diagnostic.help.as_deref();
        let (Place::Span(span), place) = (&diagnostic.place, self.locate(&diagnostic.place)) else {
            writeln!(f, "  --> {}", self.locate(&diagnostic.place))?;
            return help.map_or(Ok(()), |help| writeln!(f, "   = {help}"));
        };
        let line = Line::at(&self.text, span.start);
        let number = line.number.to_string();
        let indent = " ".repeat(number.len());
        writeln!(f, "{indent}--> {place}")?;
        writeln!(f, "{indent} |")?;
        writeln!(f, "{number} | {}", line.shown())?;
        let carets = "^".repeat(line.width(span.end));
        match help {
            Some(help) => writeln!(f, "{indent} | {}{carets} {help}", line.margin()),
            None => writeln!(f, "{indent} | {}{carets}", line.margin()),
        }
    }
}

/// In the order of the file: first what is in it, then the rest.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut sorted: Vec<&Diagnostic> = self.diagnostics.iter().collect();
        sorted.sort_by_key(|diagnostic| match &diagnostic.place {
            Place::Span(span) => span.start,
            Place::File | Place::Variable(_) | Place::Other(..) => usize::MAX,
        });
        for diagnostic in sorted.iter().take(SHOWN_MAX) {
            self.write(f, diagnostic)?;
        }
        let errors = self.of(Severity::Error).count();
        let warnings = self.of(Severity::Warning).count();
        let (file, plural) = (self.path.display(), |count| if count == 1 { "" } else { "s" });
        write!(
            f,
            "{file}: {errors} error{}, {warnings} warning{}",
            plural(errors),
            plural(warnings)
        )
    }
}

/// Without the text, which holds secrets.
impl fmt::Debug for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Report")
            .field("path", &self.path)
            .field("diagnostics", &self.diagnostics)
            .finish_non_exhaustive()
    }
}

/// A line of the file and a byte in it.
struct Line<'a> {
    text: &'a str,
    start: usize,
    at: usize,
    /// From 1.
    number: usize,
    /// In characters, from 1.
    column: usize,
}

impl<'a> Line<'a> {
    fn at(text: &'a str, at: usize) -> Line<'a> {
        let mut at = at.min(text.len());
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        let start = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
        let rest = &text[start..];
        let line = rest.split('\n').next().unwrap_or(rest).trim_end_matches('\r');
        let at = at.min(start + line.len());
        Line {
            text: line,
            start,
            at,
            number: text[..start].matches('\n').count() + 1,
            column: text[start..at].chars().count() + 1,
        }
    }

    /// The line with its secret starred out.
    fn shown(&self) -> String {
        let (plain, secret) = self.text.split_at(secret_start(self.text).unwrap_or(self.text.len()));
        let stars = secret.chars().map(|c| if c.is_whitespace() { c } else { '*' });
        plain.chars().chain(stars).collect()
    }

    /// What stands under the line before the caret; tabs stay tabs so that the caret stands right.
    fn margin(&self) -> String {
        let before = &self.text[..self.at - self.start];
        before.chars().map(|c| if c == '\t' { '\t' } else { ' ' }).collect()
    }

    /// How many characters of the line lie between the byte and `end`; at least one.
    fn width(&self, end: usize) -> usize {
        let from = self.at - self.start;
        let to = end.saturating_sub(self.start).min(self.text.len());
        self.text.get(from..to).map_or(1, |part| part.chars().count()).max(1)
    }
}

/// Where the value of a secret key begins in a line.
fn secret_start(line: &str) -> Option<usize> {
    let starts = SECRET_KEYS.iter().filter_map(|key| {
        let value = |(at, _): (usize, &str)| {
            let rest = line[at + key.len()..].trim_start_matches(['"', '\'']).trim_start();
            let value = rest.strip_prefix('=')?.trim_start();
            Some(line.len() - value.len())
        };
        line.match_indices(key).find_map(value)
    });
    starts.min()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(text: &str) -> Report {
        Report::new(Path::new("/etc/a.toml"), text.to_owned())
    }

    #[test]
    fn an_error_shows_its_line_with_a_caret() {
        let mut report = report("[server]\n\tworkes = 1\r\n");
        report.error(10..16, "unknown key `workes`").help = Some("did you mean `workers`?".into());

        assert_eq!(
            report.to_string(),
            "error: unknown key `workes`\n --> /etc/a.toml:2:2\n  |\n2 | \tworkes = 1\n  | \t^^^^^^ did you mean \
             `workers`?\n/etc/a.toml: 1 error, 0 warnings"
        );
    }

    #[test]
    fn columns_count_characters_and_ends_are_in_range() {
        for (text, at, expected) in [
            ("é = \"ü\" x", 9, "1:8"),
            ("a\n", 99, "2:1"),
            ("", 0, "1:1"),
            ("é", 1, "1:1"),
        ] {
            let mut report = report(text);
            report.error(at..at + 9, "x");

            let shown = report.to_string();
            assert!(shown.contains(&format!("/etc/a.toml:{expected}\n")), "{shown}");
        }
    }

    #[test]
    fn the_nearest_places_are_named_when_there_is_no_line() {
        let mut report = report("a = 1\n");
        let span = report.add_variable("RINGBINDER__LOG__LEVEL".into());
        report.error(span, "no such level");
        report.add(Severity::Warning, Place::File, "empty");
        report.add(Severity::Error, Place::Other("users".into(), Some((3, 7))), "bad line");

        let shown = report.to_string();
        assert!(shown.contains("error: no such level\n  --> environment variable RINGBINDER__LOG__LEVEL\n"));
        assert!(shown.contains("warning: empty\n  --> /etc/a.toml\n"));
        assert!(shown.contains("error: bad line\n  --> users:3:7\n"));
        assert!(shown.ends_with("/etc/a.toml: 2 errors, 1 warning"));
        assert_eq!(report.warnings().collect::<Vec<_>>(), ["/etc/a.toml: empty"]);
    }

    #[test]
    fn a_secret_is_not_shown() {
        for text in [
            "password = \"hunter2 hunter2\"",
            "user = [{ username = \"a\", password= \"hunter2\", ha1=\"hunter2\" }]",
            "\"ha1\" = 'hunter2'",
        ] {
            let mut report = report(text);
            report.error(0..4, "x");

            let shown = format!("{report} {report:?}");
            assert!(!shown.contains("hunter2"), "{shown}");
            assert!(report.is_secret(&(0..1)));
        }
        assert!(!report("password_file = 1\n").is_secret(&(0..1)));
    }
}
