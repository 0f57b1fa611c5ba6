//! Who may authenticate in a domain: names, HA1s and identities, packed for a million users.
//!
//! A user takes its name, its HA1s and some 14 bytes; finding one touches one bucket and one record.

use std::fmt;
use std::hash::Hasher as _;
use std::hint::black_box;

use hashbrown::{HashMap, HashTable};
use siphasher::sip::SipHasher13;

use super::hash::{Algorithm, Digest};

/// Bytes before the name: what is there, and the length of the name.
const HEAD: usize = 3;

const HAS_MD5: u8 = 1;
const HAS_SHA256: u8 = 2;
const HAS_IDENTITIES: u8 = 4;

/// The users of a domain. Made by [`super::UsersBuilder`]; does not change afterwards.
#[derive(Default)]
pub struct Users {
    key: [u8; 16],
    /// Of all records; ids of these users carry it.
    stamp: u64,
    /// Per user: flags, length of the name, name, HA1s.
    records: Vec<u8>,
    /// Where the records start, by the keyed hash of the name, which comes from the wire.
    table: HashTable<u32>,
    identities: HashMap<u32, Box<[Box<str>]>>,
}

impl Users {
    /// No users yet, with room for `users` of them whose records take `record_bytes`.
    pub(super) fn with_capacity(key: [u8; 16], users: usize, record_bytes: usize) -> Users {
        Users {
            key,
            stamp: 0,
            records: Vec::with_capacity(record_bytes),
            table: HashTable::with_capacity(users),
            identities: HashMap::new(),
        }
    }

    /// Adds one whose name is not there yet, within the capacity.
    pub(super) fn push(&mut self, record: Record<'_>, identities: Box<[Box<str>]>) {
        let at = self.records.len() as u32;
        record.write(&mut self.records);
        if record.has_identities {
            self.identities.insert(at, identities);
        }
        let (key, records) = (self.key, &self.records);
        let hash = |at: &u32| Record::read(records, *at).map_or(0, |record| name_hash(&key, record.name));
        self.table.insert_unique(name_hash(&key, record.name), at, hash);
    }

    /// To be called when all are added.
    pub(super) fn finish(&mut self) {
        self.stamp = name_hash(&self.key, &self.records);
    }

    /// The user with exactly this name.
    pub fn find(&self, name: &[u8]) -> Option<User<'_>> {
        let hash = name_hash(&self.key, name);
        let is_named = |at: &u32| Record::read(&self.records, *at).is_some_and(|record| record.name == name);
        let at = *self.table.find(hash, is_named)?;
        self.user_at(at)
    }

    /// Touches what [`Users::find`] will read. At many users that is what a digest waits for, and done for several one
    /// after another the waits overlap.
    pub fn warm(&self, name: &[u8]) {
        black_box(self.find(name).is_some());
    }

    /// The user that was found before under this id, if these are the same users still.
    pub fn user(&self, id: UserId) -> Option<User<'_>> {
        (id.stamp == self.stamp).then(|| self.user_at(id.at)).flatten()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// All of them, in the order they were added.
    pub fn iter(&self) -> impl Iterator<Item = User<'_>> {
        let mut at = 0;
        std::iter::from_fn(move || {
            let user = self.user_at(at)?;
            at += user.record.length() as u32;
            Some(user)
        })
    }

    /// How many cannot authenticate with `algorithm`, since only their HA1 of another one is known.
    pub fn without(&self, algorithm: Algorithm) -> usize {
        self.iter().filter(|user| user.ha1(algorithm).is_none()).count()
    }

    fn user_at(&self, at: u32) -> Option<User<'_>> {
        let record = Record::read(&self.records, at)?;
        let identities = match record.has_identities {
            true => self.identities.get(&at).map_or(&[][..], |identities| identities),
            false => &[],
        };
        Some(User {
            id: UserId { at, stamp: self.stamp },
            record,
            identities,
        })
    }
}

/// Says how many there are; never who.
impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Users")
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

/// One of [`Users`], to be found again without its name. In other users (after a reload) it names nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserId {
    at: u32,
    stamp: u64,
}

/// One user.
#[derive(Clone, Copy)]
pub struct User<'a> {
    id: UserId,
    record: Record<'a>,
    identities: &'a [Box<str>],
}

impl<'a> User<'a> {
    /// Its id.
    pub fn id(&self) -> UserId {
        self.id
    }

    /// Its name in credentials, and the user part of its own AOR.
    pub fn name(&self) -> &'a [u8] {
        self.record.name
    }

    /// Further AORs it may use in From; mostly none.
    pub fn identities(&self) -> &'a [Box<str>] {
        self.identities
    }

    /// Its HA1 of `algorithm`, if known.
    pub fn ha1(&self, algorithm: Algorithm) -> Option<Digest> {
        match algorithm {
            Algorithm::Md5 => self.record.md5.copied().map(Digest::Md5),
            Algorithm::Sha256 => self.record.sha256.copied().map(Digest::Sha256),
        }
    }
}

/// Without HA1s.
impl fmt::Debug for User<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = String::from_utf8_lossy(self.name());
        f.debug_struct("User").field("name", &name).finish_non_exhaustive()
    }
}

/// A user as it lies in the records.
#[derive(Clone, Copy)]
pub(super) struct Record<'a> {
    pub(super) name: &'a [u8],
    pub(super) md5: Option<&'a [u8; 16]>,
    pub(super) sha256: Option<&'a [u8; 32]>,
    pub(super) has_identities: bool,
}

impl<'a> Record<'a> {
    /// Bytes of a record without the name, at most.
    pub(super) const MAX_BESIDES_NAME: usize = HEAD + 16 + 32;

    fn read(records: &'a [u8], at: u32) -> Option<Record<'a>> {
        let (&[flags, low, high], rest) = records.get(at as usize..)?.split_first_chunk::<HEAD>()?;
        let (name, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes([low, high])))?;
        let (md5, rest) = optional(flags & HAS_MD5 != 0, rest)?;
        let (sha256, _) = optional(flags & HAS_SHA256 != 0, rest)?;
        Some(Record {
            name,
            md5,
            sha256,
            has_identities: flags & HAS_IDENTITIES != 0,
        })
    }

    pub(super) fn length(&self) -> usize {
        HEAD + self.name.len() + self.md5.map_or(0, |ha1| ha1.len()) + self.sha256.map_or(0, |ha1| ha1.len())
    }

    fn write(&self, records: &mut Vec<u8>) {
        let [low, high] = (self.name.len() as u16).to_le_bytes();
        let mut flags = 0;
        if self.md5.is_some() {
            flags |= HAS_MD5;
        }
        if self.sha256.is_some() {
            flags |= HAS_SHA256;
        }
        if self.has_identities {
            flags |= HAS_IDENTITIES;
        }
        records.extend_from_slice(&[flags, low, high]);
        records.extend_from_slice(self.name);
        records.extend_from_slice(self.md5.map_or(&[], |ha1| ha1));
        records.extend_from_slice(self.sha256.map_or(&[], |ha1| ha1));
    }
}

fn optional<const N: usize>(is_there: bool, bytes: &[u8]) -> Option<(Option<&[u8; N]>, &[u8])> {
    if !is_there {
        return Some((None, bytes));
    }
    let (found, rest) = bytes.split_first_chunk()?;
    Some((Some(found), rest))
}

pub(super) fn name_hash(key: &[u8; 16], name: &[u8]) -> u64 {
    let mut hasher = SipHasher13::new_with_key(key);
    hasher.write(name);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::super::users_builder::UsersBuilder;
    use super::*;

    fn users(names: usize, key: [u8; 16]) -> Users {
        let mut builder = UsersBuilder::new();
        for number in 0..names {
            let name = number.to_string();
            builder.add_ha1(name.as_bytes(), &Digest::Md5([1; 16])).expect("new");
            if number % 2 == 0 {
                builder.add_ha1(name.as_bytes(), &Digest::Sha256([2; 32])).expect("new");
            }
        }
        builder.build(key)
    }

    #[test]
    fn users_are_found_by_exact_name() {
        let users = users(1000, [1; 16]);

        assert_eq!(users.len(), 1000);
        for number in 0..1000 {
            let name = number.to_string();
            let user = users.find(name.as_bytes()).expect("was added");
            assert_eq!(user.name(), name.as_bytes());
            assert!(user.ha1(Algorithm::Md5).is_some());
            assert_eq!(user.ha1(Algorithm::Sha256).is_some(), number % 2 == 0);
            assert!(user.identities().is_empty());
        }
        assert!(users.find(b"1000").is_none());
        assert!(users.find(b"").is_none());
        assert_eq!(users.without(Algorithm::Md5), 0);
        assert_eq!(users.without(Algorithm::Sha256), 500);
        assert!(Users::default().find(b"1").is_none());
    }

    #[test]
    fn an_id_names_its_user_and_nobody_else_after_a_reload() {
        let before = users(10, [1; 16]);
        let id = before.find(b"7").expect("was added").id();

        assert_eq!(before.user(id).map(|user| user.name()), Some(&b"7"[..]));
        assert!(users(10, [2; 16]).user(id).is_none());
        assert!(users(5, [1; 16]).user(id).is_none());
        assert!(Users::default().user(id).is_none());
    }

    #[test]
    fn a_user_with_both_ha1s_takes_at_most_100_bytes() {
        const USERS: usize = 20_000;
        let mut builder = UsersBuilder::new();
        for number in 0..USERS {
            let name = format!("user-{number:09}");
            builder.add_ha1(name.as_bytes(), &Digest::Md5([1; 16])).expect("new");
            builder.add_ha1(name.as_bytes(), &Digest::Sha256([2; 32])).expect("new");
        }
        let users = builder.build([1; 16]);

        let bytes = users.records.capacity() + users.table.allocation_size();
        assert!(bytes <= 100 * USERS, "{bytes}");
    }

    #[test]
    fn debug_output_holds_no_secret() {
        let users = users(1, [1; 16]);

        assert_eq!(format!("{users:?}"), "Users { len: 1, .. }");
        assert_eq!(
            format!("{:?}", users.find(b"0").expect("was added")),
            "User { name: \"0\", .. }"
        );
    }
}
