//! The domains served here and what holds in each of them.

use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;

use crate::sip::digest::{self, Users};
use crate::sip::edge::Edges;
use crate::sip::registrar;

/// Who may call the users of a domain without credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum UriCalling {
    /// Nobody; callers from elsewhere are refused.
    Disabled,
    /// Authenticated users only.
    #[default]
    Internal,
    /// Everybody, whatever the From says.
    Unrestricted,
}

/// The order in which the bindings of a user are rung.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ForkOrder {
    /// All at once.
    #[default]
    Parallel,
    /// Highest q first; equal ones at once (RFC 3261 §16.6).
    Priority,
}

/// One served domain.
#[derive(Debug)]
pub struct Domain {
    /// Its name, in lower case: the host of its AORs.
    pub name: Arc<str>,
    /// Other host names and addresses that mean the same domain, in lower case.
    pub aliases: Vec<Box<str>>,
    /// The digest realm.
    pub realm: Box<str>,
    /// Whether REGISTER is served; otherwise it is refused with 403.
    pub registration: bool,
    /// Who may call its users without credentials.
    pub uri_calling: UriCalling,
    /// The order of ringing.
    pub fork: ForkOrder,
    /// How long an INVITE may ring; at most and by default timer C.
    pub ring_timeout: Option<Duration>,
    /// Expiry and contact limits.
    pub registrar: registrar::Settings,
    /// Algorithms and strictness of authentication.
    pub auth: digest::Settings,
    /// Who may authenticate.
    pub users: Arc<Users>,
}

/// The place of a domain among the [`Domains`]: a name for it that owns nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DomainId(usize);

/// All served domains, found by name or alias.
#[derive(Debug, Default)]
pub struct Domains {
    list: Vec<Domain>,
    by_host: HashMap<Box<[u8]>, usize>,
    by_realm: HashMap<Box<[u8]>, usize>,
    /// The domains whose registrar is elsewhere.
    pub edges: Edges,
}

impl Domains {
    /// Indexes `list`. Where two domains claim one name the first keeps it (configuration refuses that earlier).
    pub fn new(list: Vec<Domain>) -> Domains {
        let mut domains = Domains {
            list: Vec::new(),
            by_host: HashMap::new(),
            by_realm: HashMap::new(),
            edges: Edges::default(),
        };
        for (index, domain) in list.iter().enumerate() {
            for name in std::iter::once(&*domain.name).chain(domain.aliases.iter().map(|alias| &**alias)) {
                domains
                    .by_host
                    .entry(name.to_ascii_lowercase().into_bytes().into())
                    .or_insert(index);
            }
            domains.by_realm.entry(domain.realm.as_bytes().into()).or_insert(index);
        }
        domains.list = list;
        domains
    }

    /// The same, and `edges` beside them.
    pub fn with_edges(self, edges: Edges) -> Domains {
        Domains { edges, ..self }
    }

    /// The domain that `host` (any case; IPv6 in brackets) names.
    pub fn find(&self, host: &[u8]) -> Option<&Domain> {
        self.host_id(host).and_then(|id| self.get(id))
    }

    /// The id of the domain that `host` names.
    pub fn host_id(&self, host: &[u8]) -> Option<DomainId> {
        let index = match host.iter().any(u8::is_ascii_uppercase) {
            false => self.by_host.get(host),
            true => self.by_host.get(&*host.to_ascii_lowercase()),
        };
        index.copied().map(DomainId)
    }

    /// The domain whose digest realm is exactly `realm`.
    pub fn find_realm(&self, realm: &[u8]) -> Option<&Domain> {
        self.realm_id(realm).and_then(|id| self.get(id))
    }

    /// The id of the domain whose digest realm is exactly `realm`.
    pub fn realm_id(&self, realm: &[u8]) -> Option<DomainId> {
        self.by_realm.get(realm).copied().map(DomainId)
    }

    /// The domain with this id.
    pub fn get(&self, id: DomainId) -> Option<&Domain> {
        self.list.get(id.0)
    }

    /// The id of `domain`; `None` when it is not one of these.
    pub fn id(&self, domain: &Domain) -> Option<DomainId> {
        let offset = (std::ptr::from_ref(domain) as usize).wrapping_sub(self.list.as_ptr() as usize);
        let index = offset / size_of::<Domain>();
        let found = self.list.get(index)?;
        std::ptr::eq(found, domain).then_some(DomainId(index))
    }

    /// All of them, in the order of the configuration.
    pub fn iter(&self) -> impl Iterator<Item = &Domain> {
        self.list.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::sip::digest::UsersBuilder;

    fn domain(name: &str) -> Domain {
        Domain {
            name: name.into(),
            aliases: Vec::new(),
            realm: name.into(),
            registration: true,
            uri_calling: UriCalling::default(),
            fork: ForkOrder::default(),
            ring_timeout: None,
            registrar: registrar::Settings::default(),
            auth: digest::Settings::default(),
            users: Arc::new(UsersBuilder::new().build([1; 16])),
        }
    }

    #[test]
    fn an_id_names_its_domain() {
        let domains = Domains::new(vec![domain("a.example"), domain("b.example"), domain("c.example")]);
        for domain in domains.iter() {
            let id = domains.id(domain).unwrap();
            assert_eq!(domains.get(id).unwrap().name, domain.name);
        }
        assert_eq!(domains.id(&domain("a.example")), None);
    }
}
