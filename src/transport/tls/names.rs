//! Who a certificate says its owner is (RFC 5922 §7): SIP domains, host names, addresses.

use std::net::IpAddr;

use rustls_pki_types::{CertificateDer, ServerName};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

/// The domains and addresses that a certificate speaks for, domains in lower case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identities {
    /// SIP domains (RFC 5922 §7.1): of SIP URIs without a user, or, where there are none, DNS names; where there are no
    /// alternative names at all, the common name.
    pub domains: Vec<String>,
    /// IP addresses.
    pub addresses: Vec<IpAddr>,
}

impl Identities {
    /// Those of `certificate`; none when it cannot be read.
    pub fn of(certificate: &CertificateDer<'_>) -> Identities {
        let Ok((_, certificate)) = X509Certificate::from_der(certificate) else {
            return Identities::default();
        };
        let Ok(Some(alternatives)) = certificate.subject_alternative_name() else {
            return Identities {
                domains: common_name(&certificate).into_iter().collect(),
                addresses: Vec::new(),
            };
        };
        let (mut sip, mut dns, mut addresses) = (Vec::new(), Vec::new(), Vec::new());
        for name in &alternatives.value.general_names {
            match name {
                GeneralName::URI(uri) => sip.extend(sip_domain(uri)),
                GeneralName::DNSName(name) => dns.push(name.to_ascii_lowercase()),
                GeneralName::IPAddress(bytes) => addresses.extend(address(bytes)),
                _ => {}
            }
        }
        Identities {
            domains: if sip.is_empty() { dns } else { sip },
            addresses,
        }
    }

    /// Whether the owner is `name`. RFC 5922 §7.2: "Implementations MUST NOT match any form of wildcard"; names are
    /// compared without regard to case, whole.
    pub fn include(&self, name: &ServerName<'_>) -> bool {
        match name {
            ServerName::DnsName(name) => self
                .domains
                .iter()
                .any(|domain| domain.eq_ignore_ascii_case(name.as_ref())),
            ServerName::IpAddress(address) => self.addresses.contains(&IpAddr::from(*address)),
            _ => false,
        }
    }
}

/// RFC 5922 §7.1: the host of a `sip` URI that has no user part. A `sips` URI does not count.
fn sip_domain(uri: &str) -> Option<String> {
    let (scheme, rest) = uri.split_once(':')?;
    if !scheme.eq_ignore_ascii_case("sip") || rest.contains('@') {
        return None;
    }
    let host = rest.split([';', '?', ':']).next()?;
    (!host.is_empty()).then(|| host.to_ascii_lowercase())
}

fn common_name(certificate: &X509Certificate<'_>) -> Option<String> {
    let name = certificate.subject().iter_common_name().last()?;
    Some(name.as_str().ok()?.to_ascii_lowercase())
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

/// When `certificate` expires, in seconds since 1970-01-01 UTC; `None` when it cannot be read.
pub fn expiry_of(certificate: &CertificateDer<'_>) -> Option<i64> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    Some(certificate.validity().not_after.timestamp())
}

#[cfg(test)]
pub(super) fn dns_names(certificate: &CertificateDer<'_>) -> Vec<String> {
    Identities::of(certificate).domains
}

#[cfg(test)]
mod tests {
    use rcgen::string::Ia5String;
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    use super::*;

    fn identities(common_name: Option<&str>, names: Vec<SanType>) -> Identities {
        let mut params = CertificateParams::default();
        params.subject_alt_names = names;
        if let Some(name) = common_name {
            params.distinguished_name.push(DnType::CommonName, name);
        }
        let made = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        Identities::of(made.der())
    }

    fn uri(text: &str) -> SanType {
        SanType::URI(Ia5String::try_from(text).unwrap())
    }

    fn dns(text: &str) -> SanType {
        SanType::DnsName(Ia5String::try_from(text).unwrap())
    }

    fn include(identities: &Identities, name: &str) -> bool {
        identities.include(&ServerName::try_from(name).unwrap())
    }

    #[test]
    fn sip_uris_come_before_host_names() {
        let both = identities(None, vec![dns("host.example"), uri("sip:Example.com")]);
        assert!(include(&both, "example.com") && include(&both, "EXAMPLE.com"));
        assert!(!include(&both, "host.example"));
        let host = identities(Some("other.example"), vec![dns("host.example")]);
        assert!(include(&host, "host.example"));
        assert!(!include(&host, "other.example"));
    }

    #[test]
    fn uris_of_users_and_of_other_schemes_are_nobodys() {
        for text in [
            "sip:alice@example.com",
            "sips:example.com",
            "https://example.com",
            "sip:",
        ] {
            let identities = identities(None, vec![uri(text), dns("host.example")]);
            assert_eq!(identities.domains, ["host.example"], "{text}");
        }
        let with_port = identities(None, vec![uri("sip:example.com:5061;transport=tls")]);
        assert_eq!(with_port.domains, ["example.com"]);
    }

    #[test]
    fn wildcards_match_nothing() {
        let wildcard = identities(None, vec![dns("*.example.com")]);
        assert!(!include(&wildcard, "sip.example.com"));
    }

    #[test]
    fn the_common_name_counts_only_without_alternatives() {
        assert!(include(&identities(Some("Example.com"), Vec::new()), "example.com"));
        let address = SanType::IpAddress("192.0.2.1".parse().unwrap());
        let identities = identities(Some("example.com"), vec![address]);
        assert!(!include(&identities, "example.com"));
        assert!(include(&identities, "192.0.2.1"));
        assert!(!include(&identities, "192.0.2.2"));
    }

    #[test]
    fn what_is_no_certificate_has_no_identities() {
        let garbage = CertificateDer::from(vec![0x30, 0x82, 0xff]);
        assert_eq!(Identities::of(&garbage), Identities::default());
        assert_eq!(expiry_of(&garbage), None);
    }
}
