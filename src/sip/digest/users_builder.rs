//! Gathers the users of a domain from its credential lists, by password or HA1.

use std::fmt;

use hashbrown::{HashMap, HashTable};
use thiserror::Error;
use zeroize::Zeroizing;

use super::hash::{Algorithm, Digest};
use super::users::{Record, Users, name_hash};

/// The longest user name in bytes.
pub const MAX_NAME: usize = 1024;

/// The most bytes of all records: what a `u32` can point into.
const MAX_RECORDS: usize = u32::MAX as usize;

/// Gathers the users of one domain from its credential lists, in their order.
#[derive(Default)]
pub struct UsersBuilder {
    names: Vec<u8>,
    entries: Vec<Entry>,
    /// Indices of `entries`. What is gathered here comes from the operator, not from the wire.
    table: HashTable<u32>,
    identities: HashMap<u32, Box<[Box<str>]>>,
    list: u32,
}

struct Entry {
    name: u32,
    length: u16,
    list: u32,
    md5: Option<[u8; 16]>,
    sha256: Option<[u8; 32]>,
}

impl UsersBuilder {
    /// Without users, in the first list.
    pub fn new() -> UsersBuilder {
        UsersBuilder::default()
    }

    /// What is added from now on belongs to another credential list: a user of an earlier one is a duplicate in it
    /// as a whole, while within a list a user may have an HA1 of each algorithm.
    pub fn begin_list(&mut self) {
        self.list += 1;
    }

    /// Adds a user by password, which is hashed with every algorithm and wiped.
    pub fn add_password(&mut self, name: &[u8], realm: &str, password: Zeroizing<String>) -> Result<(), UserError> {
        if self.index_of(name).is_some() {
            return Err(UserError::Duplicate);
        }
        for algorithm in Algorithm::ALL {
            let ha1 = Digest::ha1(algorithm, name, realm.as_bytes(), password.as_bytes());
            self.add_ha1(name, &ha1)?;
        }
        Ok(())
    }

    /// Adds a user by HA1, or another HA1 to a user of the same list.
    pub fn add_ha1(&mut self, name: &[u8], ha1: &Digest) -> Result<(), UserError> {
        let index = match self.index_of(name) {
            Some(index) => index,
            None => self.add_name(name)?,
        };
        let entry = &mut self.entries[index as usize];
        if entry.list != self.list {
            return Err(UserError::Duplicate);
        }
        match *ha1 {
            Digest::Md5(ha1) if entry.md5.is_none() => entry.md5 = Some(ha1),
            Digest::Sha256(ha1) if entry.sha256.is_none() => entry.sha256 = Some(ha1),
            Digest::Md5(_) | Digest::Sha256(_) => return Err(UserError::Duplicate),
        }
        Ok(())
    }

    /// Sets the further AORs that a user of the present list may use in From; false if it has no such user.
    pub fn set_identities(&mut self, name: &[u8], identities: Vec<Box<str>>) -> bool {
        let Some(index) = self.index_of(name) else {
            return false;
        };
        if self.entries[index as usize].list != self.list {
            return false;
        }
        self.identities.insert(index, identities.into());
        true
    }

    /// The users. `key` is secret and new at each start: names from the wire are hashed with it.
    pub fn build(mut self, key: [u8; 16]) -> Users {
        let record_bytes = self
            .entries
            .iter()
            .map(|entry| self.record(entry, false).length())
            .sum();
        let mut users = Users::with_capacity(key, self.entries.len(), record_bytes);
        for (index, entry) in self.entries.iter().enumerate() {
            let identities = self.identities.remove(&(index as u32));
            users.push(self.record(entry, identities.is_some()), identities.unwrap_or_default());
        }
        users.finish();
        users
    }

    fn index_of(&self, name: &[u8]) -> Option<u32> {
        let is_named = |index: &u32| self.name(&self.entries[*index as usize]) == name;
        self.table.find(name_hash(&[0; 16], name), is_named).copied()
    }

    fn add_name(&mut self, name: &[u8]) -> Result<u32, UserError> {
        if name.is_empty() {
            return Err(UserError::NoName);
        }
        if name.contains(&b':') {
            return Err(UserError::Colon);
        }
        if name.len() > MAX_NAME {
            return Err(UserError::NameTooLong);
        }
        let records = self.names.len() + name.len() + (self.entries.len() + 1) * Record::MAX_BESIDES_NAME;
        if records > MAX_RECORDS {
            return Err(UserError::TooMany);
        }
        let index = self.entries.len() as u32;
        self.entries.push(Entry {
            name: self.names.len() as u32,
            length: name.len() as u16,
            list: self.list,
            md5: None,
            sha256: None,
        });
        self.names.extend_from_slice(name);
        let (names, entries) = (&self.names, &self.entries);
        let hash = |index: &u32| name_hash(&[0; 16], entries[*index as usize].name(names));
        self.table.insert_unique(name_hash(&[0; 16], name), index, hash);
        Ok(index)
    }

    fn name(&self, entry: &Entry) -> &[u8] {
        entry.name(&self.names)
    }

    fn record<'a>(&'a self, entry: &'a Entry, has_identities: bool) -> Record<'a> {
        Record {
            name: self.name(entry),
            md5: entry.md5.as_ref(),
            sha256: entry.sha256.as_ref(),
            has_identities,
        }
    }
}

impl Entry {
    fn name<'a>(&self, names: &'a [u8]) -> &'a [u8] {
        &names[self.name as usize..][..usize::from(self.length)]
    }
}

/// Says how many there are; never who.
impl fmt::Debug for UsersBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let length = self.entries.len();
        f.debug_struct("UsersBuilder")
            .field("len", &length)
            .finish_non_exhaustive()
    }
}

/// Why a user cannot be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum UserError {
    /// The user is in this list with this algorithm, or in an earlier list; what was first holds.
    #[error("the user is defined already; the first definition holds")]
    Duplicate,
    /// A name of no bytes.
    #[error("the user has no name")]
    NoName,
    /// A colon separates the fields of what is hashed (RFC 7616 §3.4.2) and of htdigest files.
    #[error("a user name may not contain ':'")]
    Colon,
    /// A name longer than [`MAX_NAME`].
    #[error("the user name is longer than {MAX_NAME} bytes")]
    NameTooLong,
    /// All records together would pass 4 GiB.
    #[error("too many users")]
    TooMany,
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 16] = [3; 16];
    const MD5: &str = "939e7578ed9e3c518a452acee763bce9";

    fn password(text: &str) -> Zeroizing<String> {
        Zeroizing::new(text.to_owned())
    }

    #[test]
    fn a_password_gives_an_ha1_of_every_algorithm() {
        let mut builder = UsersBuilder::new();
        let realm = "testrealm@host.com";
        let result = builder.add_password(b"Mufasa", realm, password("Circle Of Life"));
        let users = builder.build(KEY);

        assert_eq!(result, Ok(()));
        let user = users.find(b"Mufasa").expect("was added");
        assert!(user.ha1(Algorithm::Md5).is_some_and(|ha1| ha1.is_hex(MD5.as_bytes())));
        let sha256 = Digest::ha1(Algorithm::Sha256, b"Mufasa", realm.as_bytes(), b"Circle Of Life");
        assert!(
            user.ha1(Algorithm::Sha256)
                .is_some_and(|ha1| ha1.is_hex(sha256.hex().as_bytes()))
        );
    }

    #[test]
    fn the_first_list_that_has_a_user_wins() {
        let first = Digest::ha1(Algorithm::Md5, b"alice", b"r", b"first");
        let second = Digest::ha1(Algorithm::Sha256, b"alice", b"r", b"second");
        let mut builder = UsersBuilder::new();
        builder.begin_list();
        assert_eq!(builder.add_ha1(b"alice", &first), Ok(()));
        assert!(builder.set_identities(b"alice", vec!["sip:info@example.com".into()]));
        assert_eq!(builder.add_ha1(b"alice", &first), Err(UserError::Duplicate));
        assert_eq!(
            builder.add_password(b"alice", "r", password("x")),
            Err(UserError::Duplicate)
        );
        builder.begin_list();

        assert_eq!(builder.add_ha1(b"alice", &second), Err(UserError::Duplicate));
        assert_eq!(
            builder.add_password(b"alice", "r", password("x")),
            Err(UserError::Duplicate)
        );
        assert!(!builder.set_identities(b"alice", vec![]));
        assert!(!builder.set_identities(b"bob", vec![]));
        let users = builder.build(KEY);
        let alice = users.find(b"alice").expect("was added");
        assert!(
            alice
                .ha1(Algorithm::Md5)
                .is_some_and(|ha1| ha1.is_hex(first.hex().as_bytes()))
        );
        assert!(alice.ha1(Algorithm::Sha256).is_none());
        assert_eq!(alice.identities(), &["sip:info@example.com".into()]);
    }

    #[test]
    fn names_that_cannot_be_are_refused() {
        let mut builder = UsersBuilder::new();

        assert_eq!(builder.add_password(b"", "r", password("x")), Err(UserError::NoName));
        assert_eq!(builder.add_password(b"a:b", "r", password("x")), Err(UserError::Colon));
        assert!(builder.build(KEY).is_empty());
    }
}
