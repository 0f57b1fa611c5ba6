//! The state directory: a lock that keeps a second instance out, and the keys that outlive a restart.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use zeroize::Zeroizing;

use crate::random;

/// The file that is locked while the process runs.
const LOCK: &str = "lock";

/// The file of the keys.
const KEYS: &str = "keys";

/// The longest file of keys that is read.
const KEYS_LENGTH_MAX: u64 = 4096;

/// The state directory, held by this process until it is dropped.
#[derive(Debug)]
pub struct StateDirectory {
    path: PathBuf,
    _lock: File,
}

/// The keys of this installation.
#[derive(Debug)]
pub struct StoredKeys {
    /// Signs nonces.
    pub nonce: Zeroizing<[u8; 16]>,
    /// Signed nonces before; they are accepted still.
    pub previous_nonce: Option<Zeroizing<[u8; 16]>>,
    /// Signs Record-Route tokens.
    pub token: Zeroizing<[u8; 16]>,
    /// Encrypts temporary GRUUs.
    pub gruu: Zeroizing<[u8; 16]>,
    /// Encrypted temporary GRUUs before; they are accepted still.
    pub previous_gruu: Option<Zeroizing<[u8; 16]>>,
}

impl StateDirectory {
    /// Opens `path`, makes it where it is missing, and locks it.
    pub fn open(path: &Path) -> anyhow::Result<StateDirectory> {
        let shown = path.display();
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .with_context(|| format!("state_dir {shown}: cannot make the directory"))?;
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path.join(LOCK))
            .with_context(|| format!("state_dir {shown}: cannot open its lock"))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                bail!(
                    "state_dir {shown}: in use by {}; stop it or change state_dir",
                    holder(&mut lock)
                )
            }
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("state_dir {shown}: cannot be locked"));
            }
        }
        // Only for the message above: the lock is what counts.
        let _ = lock.set_len(0).and_then(|()| write!(lock, "{}", std::process::id()));
        Ok(StateDirectory {
            path: path.to_owned(),
            _lock: lock,
        })
    }

    /// Reads the keys, or draws them where there are none.
    pub fn keys(&self) -> anyhow::Result<StoredKeys> {
        let path = self.path.join(KEYS);
        let shown = path.display();
        match File::open(&path) {
            Ok(file) => {
                let mut text = Zeroizing::new(String::new());
                file.take(KEYS_LENGTH_MAX)
                    .read_to_string(&mut text)
                    .with_context(|| format!("{shown}: cannot read the keys"))?;
                let drawn = Zeroizing::new(random::bytes()?);
                let keys =
                    read_keys(&text, &drawn).with_context(|| format!("{shown}: delete it to have new keys drawn"))?;
                // It was there without one.
                if keys.gruu == drawn {
                    write_keys(&path, &keys).with_context(|| format!("{shown}: cannot write the keys"))?;
                }
                Ok(keys)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let keys = StoredKeys {
                    nonce: Zeroizing::new(random::bytes()?),
                    previous_nonce: None,
                    token: Zeroizing::new(random::bytes()?),
                    gruu: Zeroizing::new(random::bytes()?),
                    previous_gruu: None,
                };
                write_keys(&path, &keys).with_context(|| format!("{shown}: cannot write the keys"))?;
                Ok(keys)
            }
            Err(error) => Err(error).with_context(|| format!("{shown}: cannot read the keys")),
        }
    }
}

fn holder(lock: &mut File) -> String {
    let mut text = String::new();
    let read = lock.rewind().and_then(|()| lock.take(20).read_to_string(&mut text));
    match (read, text.trim().parse::<u32>()) {
        (Ok(_), Ok(process)) => format!("another instance (process {process})"),
        _ => "another instance".to_owned(),
    }
}

/// Reads the file; one that has no key of GRUUs, as before there were any, has `gruu` as such.
fn read_keys(text: &str, gruu: &Zeroizing<[u8; 16]>) -> anyhow::Result<StoredKeys> {
    let (mut nonce, mut previous_nonce, mut token) = (None, None, None);
    let (mut gruu, mut previous_gruu) = (gruu.clone(), None);
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let number = index + 1;
        let (name, value) = line.split_once('=').with_context(|| format!("line {number}: no '='"))?;
        let key = read_key(value.trim()).with_context(|| format!("line {number}: not a key of 32 hex digits"))?;
        match name.trim() {
            "nonce" => nonce = Some(key),
            "previous_nonce" => previous_nonce = Some(key),
            "token" => token = Some(key),
            "gruu" => gruu = key,
            "previous_gruu" => previous_gruu = Some(key),
            name => bail!("line {number}: unknown key {name:?}"),
        }
    }
    Ok(StoredKeys {
        nonce: nonce.context("the key \"nonce\" is missing")?,
        previous_nonce,
        token: token.context("the key \"token\" is missing")?,
        gruu,
        previous_gruu,
    })
}

fn read_key(text: &str) -> Option<Zeroizing<[u8; 16]>> {
    let mut key = Zeroizing::new([0; 16]);
    if text.len() != 2 * key.len() || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, digits) in key.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(key)
}

fn write_keys(path: &Path, keys: &StoredKeys) -> io::Result<()> {
    let mut text =
        Zeroizing::new("# Keep this file secret. Deleting it ends the calls that are under way.\n".to_owned());
    let previous_nonce = keys.previous_nonce.as_ref().map(|key| ("previous_nonce", key));
    let previous_gruu = keys.previous_gruu.as_ref().map(|key| ("previous_gruu", key));
    for (name, key) in [("nonce", &keys.nonce), ("token", &keys.token), ("gruu", &keys.gruu)]
        .into_iter()
        .chain(previous_nonce)
        .chain(previous_gruu)
    {
        text.push_str(name);
        text.push_str(" = ");
        for byte in key.iter() {
            text.push_str(&format!("{byte:02x}"));
        }
        text.push('\n');
    }
    let new = path.with_extension("new");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn folder(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("ringbinder-state-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        path
    }

    #[test]
    fn the_keys_outlive_a_restart() {
        let path = folder("keys");
        let first = StateDirectory::open(&path).unwrap().keys().unwrap();
        let second = StateDirectory::open(&path).unwrap().keys().unwrap();
        assert_eq!(
            (first.nonce, first.token, first.gruu),
            (second.nonce, second.token, second.gruu)
        );
        assert_ne!(second.previous_nonce, Some(Zeroizing::new([0; 16])));
        let mode = |name: &str| fs::metadata(path.join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(""), mode(KEYS)), (0o700, 0o600));
        fs::remove_dir_all(path).unwrap();
    }

    #[test]
    fn keys_of_an_earlier_version_get_one_for_gruus_and_keep_it() {
        let path = folder("earlier");
        let state = StateDirectory::open(&path).unwrap();
        let hex = "00112233445566778899aabbccddeeff";
        fs::write(
            path.join(KEYS),
            format!("nonce = {hex}\ntoken = {hex}\nprevious_gruu = {hex}\n"),
        )
        .unwrap();
        let first = state.keys().unwrap();
        let second = state.keys().unwrap();
        assert_eq!(first.gruu, second.gruu);
        assert_eq!(second.previous_gruu, Some(first.token));
        fs::remove_dir_all(path).unwrap();
    }

    #[test]
    fn a_second_instance_is_kept_out() {
        let path = folder("lock");
        let held = StateDirectory::open(&path).unwrap();
        let error = StateDirectory::open(&path).unwrap_err().to_string();
        let process = std::process::id();
        assert!(
            error.contains(&format!("in use by another instance (process {process})")),
            "{error}"
        );
        drop(held);
        StateDirectory::open(&path).unwrap();
        fs::remove_dir_all(path).unwrap();
    }

    #[test]
    fn bad_keys_are_refused_with_their_line() {
        let none = Zeroizing::new([0; 16]);
        let error = read_keys("nonce = 00112233445566778899aabbccddeeff\ntoken = 1\n", &none).unwrap_err();
        assert_eq!(error.to_string(), "line 2: not a key of 32 hex digits");
        let error = read_keys("nonce = 00112233445566778899aabbccddeeff\n", &none).unwrap_err();
        assert_eq!(error.to_string(), "the key \"token\" is missing");
    }
}
