//! Editing an htdigest file: a line `user:realm:HA1` per user and algorithm. Lines of others stay as they are.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::sip::digest::{Algorithm, Digest, MAX_NAME};

/// The permissions of a new file: its hashes are as good as passwords within their realm.
const MODE: u32 = 0o600;

/// An htdigest file in memory.
pub struct UsersFile {
    path: PathBuf,
    lines: Vec<Vec<u8>>,
}

/// A user of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The name.
    pub name: String,
    /// The realm that the hashes hold for.
    pub realm: String,
    /// The algorithms of the hashes.
    pub algorithms: Vec<Algorithm>,
}

/// Why a file cannot be edited so.
#[derive(Debug, Error)]
pub enum EditError {
    /// The file cannot be read or written.
    #[error("{0}: {1}")]
    File(PathBuf, io::Error),
    /// The name cannot stand in such a file.
    #[error("a user name has from 1 to {MAX_NAME} bytes, no colon and no control characters")]
    Name,
    /// The realm cannot stand in such a file, or in a challenge.
    #[error("a realm is not empty and has no quotes, backslashes or control characters")]
    Realm,
    /// The user is there.
    #[error("the user {0} is in the file already; --replace sets its password anew")]
    Present(String),
    /// The user is not there.
    #[error("the file has no user {0} of this realm")]
    Absent(String),
}

impl UsersFile {
    /// Reads the file at `path`; one that does not exist is empty.
    pub fn read_or_new(path: &Path) -> Result<UsersFile, EditError> {
        match UsersFile::read(path) {
            Err(EditError::File(path, error)) if error.kind() == io::ErrorKind::NotFound => Ok(UsersFile {
                path,
                lines: Vec::new(),
            }),
            read => read,
        }
    }

    /// Reads the file at `path`.
    pub fn read(path: &Path) -> Result<UsersFile, EditError> {
        let text = fs::read(path).map_err(|error| EditError::File(path.to_owned(), error))?;
        let mut lines: Vec<Vec<u8>> = text.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
        if lines.last().is_some_and(Vec::is_empty) {
            lines.pop();
        }
        Ok(UsersFile {
            path: path.to_owned(),
            lines,
        })
    }

    /// Adds a user with an HA1 of every algorithm, so that a domain can change its algorithms later.
    pub fn add(&mut self, name: &str, realm: &str, password: &str) -> Result<(), EditError> {
        if name.is_empty() || name.len() > MAX_NAME || name.contains(':') || name.chars().any(char::is_control) {
            return Err(EditError::Name);
        }
        // A line that begins so is a comment.
        if name.starts_with('#') {
            return Err(EditError::Name);
        }
        if realm.is_empty() || realm.contains(['"', '\\']) || realm.chars().any(char::is_control) {
            return Err(EditError::Realm);
        }
        if self.lines.iter().any(|line| is_of(line, name, realm)) {
            return Err(EditError::Present(name.to_owned()));
        }
        for algorithm in Algorithm::ALL {
            let ha1 = Digest::ha1(algorithm, name.as_bytes(), realm.as_bytes(), password.as_bytes());
            self.lines.push(format!("{name}:{realm}:{}", hex(&ha1)).into_bytes());
        }
        Ok(())
    }

    /// Removes a user.
    pub fn remove(&mut self, name: &str, realm: &str) -> Result<(), EditError> {
        let before = self.lines.len();
        self.lines.retain(|line| !is_of(line, name, realm));
        match self.lines.len() < before {
            true => Ok(()),
            false => Err(EditError::Absent(name.to_owned())),
        }
    }

    /// The users, in the order of the file.
    pub fn list(&self) -> Vec<Listed> {
        let mut found: Vec<Listed> = Vec::new();
        for line in &self.lines {
            let Some((name, realm, ha1)) = fields(line) else {
                continue;
            };
            let Some(digest) = Digest::from_hex(ha1) else { continue };
            let (name, realm) = (String::from_utf8_lossy(name), String::from_utf8_lossy(realm));
            match found.iter_mut().find(|user| user.name == name && user.realm == realm) {
                Some(user) => user.algorithms.push(digest.algorithm()),
                None => found.push(Listed {
                    name: name.into_owned(),
                    realm: realm.into_owned(),
                    algorithms: vec![digest.algorithm()],
                }),
            }
        }
        found
    }

    /// Puts the file in the place of the old one, whole or not at all, with its owner and permissions.
    pub fn write(&self) -> Result<(), EditError> {
        // A link stays one.
        let target = fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
        let mut name = OsString::from(target.file_name().unwrap_or_default());
        name.push(".new");
        let new = target.with_file_name(name);
        self.write_to(&new, &target).map_err(|error| {
            let _ = fs::remove_file(&new);
            EditError::File(self.path.clone(), error)
        })
    }

    fn write_to(&self, new: &Path, target: &Path) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(new)?;
        for line in &self.lines {
            file.write_all(line)?;
            file.write_all(b"\n")?;
        }
        if let Ok(old) = fs::metadata(target) {
            take_over(&file, &old)?;
        }
        file.sync_all()?;
        fs::rename(new, target)
    }
}

/// Gives the file the owner and permissions of the one it replaces.
fn take_over(file: &File, old: &fs::Metadata) -> io::Result<()> {
    let now = file.metadata()?;
    if (now.uid(), now.gid()) != (old.uid(), old.gid()) {
        fchown(file, Some(old.uid()), Some(old.gid()))?;
    }
    file.set_permissions(old.permissions())
}

/// Whether the line is one of this user and realm.
fn is_of(line: &[u8], name: &str, realm: &str) -> bool {
    fields(line).is_some_and(|(a, b, _)| a == name.as_bytes() && b == realm.as_bytes())
}

/// Name, realm and HA1 of a line. A realm may contain colons, the others may not.
fn fields(line: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let line = line.trim_ascii_end();
    if line.starts_with(b"#") {
        return None;
    }
    let first = line.iter().position(|byte| *byte == b':')?;
    let last = line
        .iter()
        .rposition(|byte| *byte == b':')
        .filter(|last| *last > first)?;
    Some((&line[..first], &line[first + 1..last], &line[last + 1..]))
}

fn hex(digest: &Digest) -> String {
    let bytes: &[u8] = match digest {
        Digest::Md5(bytes) => bytes,
        Digest::Sha256(bytes) => bytes,
    };
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::sip::digest::UsersBuilder;

    struct Removed(PathBuf);

    impl Drop for Removed {
        fn drop(&mut self) {
            let _ = fs::remove_file(&self.0);
        }
    }

    fn path(name: &str) -> Removed {
        Removed(std::env::temp_dir().join(format!("ringbinder-users-{}-{name}", std::process::id())))
    }

    #[test]
    fn users_are_added_listed_and_removed() {
        let path = path("edit");
        let mut file = UsersFile::read_or_new(&path.0).unwrap();
        file.add("Mufasa", "http-auth@example.org", "Circle of Life").unwrap();
        file.add("bob", "a:b", "x").unwrap();
        file.write().unwrap();

        let text = fs::read_to_string(&path.0).unwrap();
        // RFC 7616 §3.9.1 has the same user, realm and password.
        assert!(
            text.starts_with("Mufasa:http-auth@example.org:3d78807defe7de2157e2b0b6573a855f\n"),
            "{text}"
        );
        assert_eq!(fs::metadata(&path.0).unwrap().permissions().mode() & 0o777, MODE);
        let mut builder = UsersBuilder::new();
        assert_eq!(builder.read_htdigest(text.as_bytes(), "a:b").unwrap().added, 2);

        let mut file = UsersFile::read(&path.0).unwrap();
        assert_eq!(file.list().len(), 2);
        assert_eq!(file.list()[1].algorithms, Algorithm::ALL);
        assert!(matches!(file.add("bob", "a:b", "y"), Err(EditError::Present(_))));
        assert!(matches!(file.remove("bob", "a"), Err(EditError::Absent(_))));
        file.remove("bob", "a:b").unwrap();
        file.write().unwrap();
        assert_eq!(UsersFile::read(&path.0).unwrap().list().len(), 1);
    }

    #[test]
    fn what_is_not_edited_stays() {
        let path = path("stays");
        let text = b"# staff\nx:y:z\n\n\xff:r:00000000000000000000000000000000";
        fs::write(&path.0, text).unwrap();
        fs::set_permissions(&path.0, fs::Permissions::from_mode(0o640)).unwrap();
        let mut file = UsersFile::read(&path.0).unwrap();
        file.add("a", "r", "p").unwrap();
        file.remove("a", "r").unwrap();
        file.write().unwrap();

        assert_eq!(fs::read(&path.0).unwrap(), [&text[..], b"\n"].concat());
        assert_eq!(fs::metadata(&path.0).unwrap().permissions().mode() & 0o777, 0o640);
    }

    #[test]
    fn names_that_would_break_the_file_are_refused() {
        let mut file = UsersFile::read_or_new(&path("none").0).unwrap();
        for name in ["", "a:b", "a\nb", "#a"] {
            assert!(matches!(file.add(name, "r", "p"), Err(EditError::Name)), "{name:?}");
        }
        for realm in ["", "a\"b", "a\nb"] {
            assert!(matches!(file.add("a", realm, "p"), Err(EditError::Realm)), "{realm:?}");
        }
    }
}
