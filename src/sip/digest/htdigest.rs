//! htdigest files, as the tool of that name writes them: a line `user:realm:HA1` per user.

use thiserror::Error;

use super::hash::Digest;
use super::users_builder::{UserError, UsersBuilder};

/// What an htdigest file held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// HA1s that were added.
    pub added: usize,
    /// Lines of other realms, which were not looked at further.
    pub other_realms: usize,
    /// Lines ignored because the user was defined before.
    pub duplicates: usize,
    /// The number of the first such line.
    pub first_duplicate: Option<usize>,
}

/// Where and why an htdigest file cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("line {line}, column {column}: {what}")]
pub struct LineError {
    /// The line, from 1.
    pub line: usize,
    /// The byte of the line, from 1.
    pub column: usize,
    /// What is wrong there.
    pub what: LineFault,
}

/// What is wrong in a line of an htdigest file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum LineFault {
    /// Fewer than three fields.
    #[error("`user:realm:HA1` expected")]
    Fields,
    /// An HA1 of another length.
    #[error("an HA1 has 32 hexadecimal digits (MD5) or 64 (SHA-256)")]
    Length,
    /// Something else than a digit in an HA1.
    #[error("an HA1 has hexadecimal digits only")]
    Digit,
    /// The user cannot be added.
    #[error(transparent)]
    User(UserError),
}

impl UsersBuilder {
    /// Adds the users of an htdigest file that are of `realm`: lines `user:realm:HA1`, 32 hexadecimal digits meaning
    /// MD5 and 64 SHA-256; `#` begins a comment line. After an error the builder holds the lines before it.
    pub fn read_htdigest(&mut self, text: &[u8], realm: &str) -> Result<Counts, LineError> {
        let mut counts = Counts::default();
        for (index, line) in text.split(|byte| *byte == b'\n').enumerate() {
            let number = index + 1;
            let line = line.trim_ascii_end();
            if line.is_empty() || line.starts_with(b"#") {
                continue;
            }
            let fault = |column: usize, what: LineFault| LineError {
                line: number,
                column: column + 1,
                what,
            };
            let Some((name, line_realm, ha1)) = fields(line) else {
                return Err(fault(line.len(), LineFault::Fields));
            };
            if line_realm != realm.as_bytes() {
                counts.other_realms += 1;
                continue;
            }
            let Some(value) = Digest::from_hex(ha1) else {
                let wrong = ha1.iter().position(|digit| !digit.is_ascii_hexdigit());
                let column = line.len() - ha1.len() + wrong.unwrap_or(0);
                return Err(fault(column, wrong.map_or(LineFault::Length, |_| LineFault::Digit)));
            };
            match self.add_ha1(name, &value) {
                Ok(()) => counts.added += 1,
                Err(UserError::Duplicate) => {
                    counts.duplicates += 1;
                    counts.first_duplicate.get_or_insert(number);
                }
                Err(error) => return Err(fault(0, LineFault::User(error))),
            }
        }
        Ok(counts)
    }
}

/// A realm may contain colons; a user name and an HA1 may not.
fn fields(line: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let first = line.iter().position(|byte| *byte == b':')?;
    let last = line.iter().rposition(|byte| *byte == b':')?;
    (first < last).then(|| (&line[..first], &line[first + 1..last], &line[last + 1..]))
}

#[cfg(test)]
mod tests {
    use super::super::hash::Algorithm;
    use super::super::users_builder::MAX_NAME;
    use super::*;

    const MD5: &str = "939e7578ed9e3c518a452acee763bce9";
    const SHA256: &str = "7987c64c30e25f1b74be53f966b49b90f2808aa92faf9a00262392d7b4794232";

    #[test]
    fn an_htdigest_file_gives_the_users_of_its_realm() {
        let text = format!(
            "# staff\r\n\r\nalice:example.com:{MD5}\r\nalice:example.com:{SHA256}\n\
             bob:example.com:{SHA256}\nbob:other:rest\nbob:example.com:{MD5}  \ncarol:a:b:{MD5}\n\n\
             alice:example.com:{MD5}\nbob:example.com:{MD5}"
        );
        let mut builder = UsersBuilder::new();
        let counts = builder.read_htdigest(text.as_bytes(), "example.com");
        let colons = builder.read_htdigest(text.as_bytes(), "a:b");
        let users = builder.build([3; 16]);

        let expected = Counts {
            added: 4,
            other_realms: 2,
            duplicates: 2,
            first_duplicate: Some(10),
        };
        assert_eq!(counts, Ok(expected));
        assert_eq!(colons.map(|counts| counts.added), Ok(1));
        let names: Vec<_> = users.iter().map(|user| user.name()).collect();
        assert_eq!(names, [&b"alice"[..], b"bob", b"carol"]);
        for name in [&b"alice"[..], b"bob"] {
            let user = users.find(name).expect("was read");
            for (algorithm, digits) in [(Algorithm::Md5, MD5), (Algorithm::Sha256, SHA256)] {
                assert!(user.ha1(algorithm).is_some_and(|ha1| ha1.is_hex(digits.as_bytes())));
            }
        }
    }

    #[test]
    fn an_error_names_line_and_column() {
        let bad_digit = format!("\n#\nalice:r:{}x", &MD5[1..]);
        for (text, line, column, what) in [
            ("alice", 1, 6, LineFault::Fields),
            ("\nalice:r\n", 2, 8, LineFault::Fields),
            ("alice:r:", 1, 9, LineFault::Length),
            ("alice:r:abc", 1, 9, LineFault::Length),
            (&bad_digit, 3, 40, LineFault::Digit),
            (&format!(":r:{MD5}"), 1, 1, LineFault::User(UserError::NoName)),
            (
                &format!("{}:r:{MD5}", "a".repeat(MAX_NAME + 1)),
                1,
                1,
                LineFault::User(UserError::NameTooLong),
            ),
        ] {
            let error = UsersBuilder::new().read_htdigest(text.as_bytes(), "r");
            assert_eq!(error, Err(LineError { line, column, what }), "{text}");
        }
        let error = UsersBuilder::new().read_htdigest(b"a:r:1", "r").expect_err("too short");
        assert_eq!(
            error.to_string(),
            "line 1, column 5: an HA1 has 32 hexadecimal digits (MD5) or 64 (SHA-256)"
        );
    }
}
