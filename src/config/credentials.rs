//! `[[credential_list]]`: the users of a domain, from files and from the configuration itself.

use std::collections::{BTreeMap, BTreeSet};

use toml::Spanned;
use zeroize::Zeroizing;

use super::file::{CredentialList, User};
use super::report::{Place, Report, Severity};
use super::{files, reading};
use crate::sip::digest::{Algorithm, Digest, UserError, Users, UsersBuilder};
use crate::sip::message::uri::Uri;

/// The lists of the file, by name.
pub struct CredentialLists<'a> {
    lists: BTreeMap<&'a str, &'a Spanned<CredentialList>>,
    used: BTreeSet<&'a str>,
}

impl<'a> CredentialLists<'a> {
    /// What is wrong with the lists as such goes to the report; their users come with the domain that names them.
    pub fn new(entries: &'a [Spanned<CredentialList>], report: &mut Report) -> CredentialLists<'a> {
        let mut lists = BTreeMap::new();
        for entry in entries {
            let list = entry.get_ref();
            let Some(name) = &list.name else {
                let (place, help) = (Place::Span(entry.span()), "by which domains refer to it");
                report.missing(Severity::Error, place, "this [[credential_list]] has no `name`", help);
                continue;
            };
            if list.file.is_none() && list.user.is_empty() {
                let message = format!("the credential list `{}` has neither `file` nor users", name.get_ref());
                report.missing(Severity::Warning, Place::Span(name.span()), message, "add one of them");
            }
            if lists.insert(name.get_ref().as_str(), entry).is_some() {
                report.error(
                    name.span(),
                    format!("there are two credential lists `{}`", name.get_ref()),
                );
            }
        }
        CredentialLists {
            lists,
            used: BTreeSet::new(),
        }
    }

    /// The users of a domain that names these lists.
    pub fn users(
        &mut self,
        names: &[Spanned<String>],
        realm: &str,
        algorithms: &[Algorithm],
        key: [u8; 16],
        report: &mut Report,
    ) -> Users {
        let mut builder = UsersBuilder::new();
        for name in names {
            let Some((known, entry)) = self.lists.get_key_value(name.get_ref().as_str()) else {
                let message = format!("there is no credential list `{}`", name.get_ref());
                let near = reading::nearest(name.get_ref(), self.lists.keys().copied());
                let help = match near {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => "define it by [[credential_list]]".to_owned(),
                };
                report.missing(Severity::Error, Place::Span(name.span()), message, &help);
                continue;
            };
            self.used.insert(known);
            builder.begin_list();
            add_file(&mut builder, entry.get_ref(), realm, report);
            for user in &entry.get_ref().user {
                add_user(&mut builder, user, realm, report);
            }
        }
        let users = builder.build(key);
        if let Some(first) = names.first() {
            warn_of_algorithms(&users, algorithms, first, report);
        }
        users
    }

    /// Warns of lists that no domain names.
    pub fn warn_of_unused(&self, report: &mut Report) {
        for (name, entry) in &self.lists {
            if !self.used.contains(name) {
                let span = entry.get_ref().name.as_ref().map_or(entry.span(), Spanned::span);
                report.warning(span, format!("no domain names the credential list `{name}`"));
            }
        }
    }
}

fn add_file(builder: &mut UsersBuilder, list: &CredentialList, realm: &str, report: &mut Report) {
    let Some(written) = &list.file else { return };
    let path = files::path(written.get_ref(), report);
    let Some(text) = files::read(&path, &written.span(), report) else {
        return;
    };
    files::warn_if_public(&path, &written.span(), report);
    match builder.read_htdigest(&text, realm) {
        Ok(counts) => {
            if counts.added == 0 && counts.other_realms > 0 {
                let message = format!("{} holds no user of the realm `{realm}`", path.display());
                report.warning(written.span(), message).help =
                    Some(format!("its {} users are of other realms", counts.other_realms));
            }
            if let Some(line) = counts.first_duplicate {
                let message = format!(
                    "{} users are defined twice; the first definition holds",
                    counts.duplicates
                );
                report.add(Severity::Warning, Place::Other(path, Some((line, 1))), message);
            }
        }
        Err(error) => {
            let place = Place::Other(path, Some((error.line, error.column)));
            report.add(Severity::Error, place, error.what.to_string());
        }
    }
}

fn add_user(builder: &mut UsersBuilder, entry: &Spanned<User>, realm: &str, report: &mut Report) {
    let user = entry.get_ref();
    let Some(username) = &user.username else {
        let (place, help) = (Place::Span(entry.span()), "as in username = \"alice\"");
        report.missing(
            Severity::Error,
            place,
            "this [[credential_list.user]] has no `username`",
            help,
        );
        return;
    };
    let name = username.get_ref().as_bytes();
    let added = match (&user.password, &user.ha1) {
        (Some(password), None) => {
            if password.get_ref().is_empty() {
                report.error(password.span(), "the password is empty");
            }
            builder.add_password(name, realm, Zeroizing::new(password.get_ref().clone()))
        }
        (None, Some(ha1)) => {
            let Some(digest) = Digest::from_hex(ha1.get_ref().as_bytes()) else {
                report.error(ha1.span(), "an `ha1` has 32 hexadecimal digits (MD5) or 64 (SHA-256)");
                return;
            };
            builder.add_ha1(name, &digest)
        }
        (Some(_), Some(ha1)) => {
            report.error(ha1.span(), "a user has either `password` or `ha1`");
            return;
        }
        (None, None) => {
            let message = format!("the user `{}` has no `password`", username.get_ref());
            report.missing(Severity::Error, Place::Span(username.span()), message, "or `ha1`");
            return;
        }
    };
    match added {
        Ok(()) => {}
        Err(UserError::Duplicate) => {
            report.error(
                username.span(),
                format!("the user `{}` is defined twice", username.get_ref()),
            );
            return;
        }
        Err(error) => {
            report.error(username.span(), error.to_string());
            return;
        }
    }
    let identities = user.identities.iter().flat_map(|identities| identities.get_ref());
    let identities: Vec<Box<str>> = identities.filter_map(|identity| address(identity, report)).collect();
    if !identities.is_empty() {
        builder.set_identities(name, identities);
    }
}

/// An address that a user may call as: `user@host`, or a sip, sips or tel URI.
fn address(written: &Spanned<String>, report: &mut Report) -> Option<Box<str>> {
    let text = written.get_ref();
    let is_address = |text: &str| Uri::parse(text.as_bytes()).is_ok_and(|uri| uri.user.is_some());
    if is_address(text) || is_address(&format!("sip:{text}")) {
        return Some(text.as_str().into());
    }
    report
        .error(written.span(), format!("`identities` cannot hold {text:?}"))
        .help = Some("as in \"sales@example.com\" or \"tel:+15551234\"".to_owned());
    None
}

fn warn_of_algorithms(users: &Users, algorithms: &[Algorithm], at: &Spanned<String>, report: &mut Report) {
    for algorithm in algorithms {
        let without = users.without(*algorithm);
        if without > 0 {
            let name = algorithm.name();
            let message = format!(
                "{without} of {} users have no HA1 of {name} and cannot use it",
                users.len()
            );
            report.warning(at.span(), message).help = Some("set their passwords again".to_owned());
        }
    }
}
