//! Challenges, and the check of what is answered to them (RFC 7616 §3.3-3.4, RFC 8760 §2; RFC 3261 §22).

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::BytesMut;
use siphasher::sip128::SipHasher24;

use super::Settings;
use super::challenge::Challenge;
use super::hash::{Algorithm, Counted, Digest, Protected};
use super::nonce::{Keys, Nonce};
use super::users::UserId;
use super::windows::{Replayed, Windows};
use crate::sip::domain::Domain;
use crate::sip::message::credentials::Credentials;

/// Makes challenges and checks what is answered to them; one for all shards and domains.
pub struct Authenticator {
    keys: Keys,
    decoys: Decoys,
    start: u64,
    next_sequence: AtomicU64,
    windows: Windows,
}

/// What credentials are worth. All but `Verified` are answered by a challenge, and by the same one whether the user
/// is known or not; only `Stale` makes it say so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verification {
    /// The password is right and the nonce fresh; its count is still to be consumed.
    Verified(Verified),
    /// The password is right, the nonce too old or not of this start.
    Stale,
    /// The password is wrong.
    WrongPassword,
    /// There is no such user. Found with the work that a wrong password takes.
    UnknownUser,
    /// They are for another realm.
    WrongRealm,
    /// They cannot be checked here.
    Unsupported(Unsupported),
}

/// The user and the nonce count of right credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Who it is, in [`Domain::users`].
    pub user: UserId,
    /// The `nc` of the credentials.
    pub nonce_count: u32,
    sequence: u64,
}

/// Why credentials cannot be checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsupported {
    /// Their algorithm is not offered, or no HA1 of it is known for the user.
    Algorithm,
    /// They have another qop than `auth`, or none, or not what belongs to it.
    Qop,
}

impl Authenticator {
    /// The usual number of nonce-count windows: nonces in use at the same time, 16 bytes each once used.
    pub const WINDOWS: usize = 1 << 20;

    /// `start` names this start of this node and no other; `windows` is rounded up to a power of two.
    pub fn new(keys: Keys, start: u64, windows: usize) -> Authenticator {
        Authenticator {
            decoys: Decoys::new(&keys.derived(b"decoy")),
            keys,
            start,
            next_sequence: AtomicU64::new(0),
            windows: Windows::new(windows),
        }
    }

    /// Checks `credentials` for a request of `method` to `domain`. Consumes nothing, so that it can be done before
    /// it is known whether the request is a retransmission.
    pub fn verify(
        &self,
        domain: &Domain,
        method: &[u8],
        credentials: &Credentials<'_>,
        unix_now: Duration,
    ) -> Verification {
        if *credentials.realm != *domain.realm.as_bytes() {
            return Verification::WrongRealm;
        }
        let Some(algorithm) = offered_algorithm(&domain.auth, credentials) else {
            return Verification::Unsupported(Unsupported::Algorithm);
        };
        let Some((counted, nonce_count)) = counted(credentials) else {
            return Verification::Unsupported(Unsupported::Qop);
        };
        let protected = Protected {
            method,
            uri: credentials.uri,
            nonce: credentials.nonce,
            counted: Some(counted),
        };
        // An unknown user takes the same hashes as a known one, so that the time does not tell them apart.
        let user = domain.users.find(&credentials.username);
        let ha1 = user.and_then(|user| user.ha1(algorithm));
        let is_right = protected
            .response(ha1.as_ref().unwrap_or(self.decoys.ha1(algorithm)))
            .is_hex(credentials.response);
        let Some(user) = user else {
            return Verification::UnknownUser;
        };
        if ha1.is_none() {
            return Verification::Unsupported(Unsupported::Algorithm);
        }
        if !is_right {
            return Verification::WrongPassword;
        }
        // RFC 7616 §3.3: stale says that the nonce is the only thing wrong, hence after the response.
        let nonce = Nonce::read(credentials.nonce, &self.keys, domain.realm.as_bytes());
        match nonce.filter(|nonce| nonce.start == self.start && nonce.is_fresh(domain.auth.nonce_lifetime, unix_now)) {
            Some(nonce) => Verification::Verified(Verified {
                user: user.id(),
                nonce_count,
                sequence: nonce.sequence,
            }),
            None => Verification::Stale,
        }
    }

    /// Uses up the nonce count. Of several requests with the same one, a single one gets past (RFC 7616 §5.5); the
    /// others are challenged with `stale`.
    pub fn consume(&self, verified: &Verified) -> Result<(), Replayed> {
        self.windows.consume(verified.sequence, verified.nonce_count)
    }

    /// Appends the lines of a fresh challenge, one per algorithm in the order of preference (RFC 8760 §2.3).
    pub fn challenge(&self, domain: &Domain, header: Challenge, stale: bool, unix_now: Duration, out: &mut BytesMut) {
        let realm = domain.realm.as_bytes();
        let nonce = Nonce {
            issued_secs: unix_now.as_secs(),
            start: self.start,
            sequence: self.next_sequence.fetch_add(1, Ordering::Relaxed),
        }
        .text(&self.keys, realm);
        header.write(&domain.auth.algorithms, realm, &nonce, stale, out);
    }
}

/// HA1s that nobody has. What they give is thrown away; it is only to take as long as that of a user.
struct Decoys {
    md5: Digest,
    sha256: Digest,
}

impl Decoys {
    fn new(key: &[u8; 16]) -> Decoys {
        let hasher = SipHasher24::new_with_key(key);
        let halves = [hasher.hash(b"1").as_bytes(), hasher.hash(b"2").as_bytes()];
        let mut both = [0; 32];
        both.copy_from_slice(halves.as_flattened());
        Decoys {
            md5: Digest::Md5(halves[0]),
            sha256: Digest::Sha256(both),
        }
    }

    fn ha1(&self, algorithm: Algorithm) -> &Digest {
        match algorithm {
            Algorithm::Md5 => &self.md5,
            Algorithm::Sha256 => &self.sha256,
        }
    }
}

/// Without keys.
impl fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authenticator").finish_non_exhaustive()
    }
}

/// The algorithm of credentials, if their realm offers it; without one it is MD5 (RFC 7616 §3.4).
fn offered_algorithm(settings: &Settings, credentials: &Credentials<'_>) -> Option<Algorithm> {
    let algorithm = match credentials.algorithm {
        Some(name) => Algorithm::from_name(name)?,
        None => Algorithm::Md5,
    };
    settings.algorithms.contains(&algorithm).then_some(algorithm)
}

/// What `qop=auth` asks for besides itself; `None` for another qop or an incomplete one.
fn counted<'a>(credentials: &Credentials<'a>) -> Option<(Counted<'a>, u32)> {
    let counted = Counted {
        qop: credentials.qop.filter(|qop| qop.eq_ignore_ascii_case(b"auth"))?,
        nonce_count: credentials.nonce_count_bytes?,
        cnonce: credentials.cnonce?,
    };
    Some((counted, credentials.nonce_count?))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use zeroize::Zeroizing;

    use super::super::{Challenged, Users, UsersBuilder, response};
    use super::*;
    use crate::sip::domain::{ForkOrder, UriCalling};
    use crate::sip::registrar;

    const NOW: Duration = Duration::from_secs(1_800_000_000);
    const LIFETIME: Duration = Duration::from_secs(300);
    const REALM: &str = "example \"com\" \\";
    const REGISTER: Challenged<'static> = Challenged {
        method: b"REGISTER",
        uri: b"sip:example.com",
        user: b"alice",
        password: b"secret",
        cnonce: "0a4f113b",
        nonce_count: 1,
    };

    #[test]
    fn a_challenge_is_stale_only_when_told_and_each_has_its_nonce() {
        let (authenticator, domain) = (authenticator(1), domain(&[Algorithm::Md5]));
        let first = challenged(&authenticator, &domain);

        assert!(first[0].starts_with("Digest realm="), "{first:?}");
        assert!(!first[0].contains("stale"), "{first:?}");
        assert_ne!(first, challenged(&authenticator, &domain));
    }

    #[test]
    fn an_answered_challenge_is_verified_with_every_algorithm() {
        let (authenticator, domain) = (authenticator(1), domain(&Algorithm::ALL));
        for challenge in challenged(&authenticator, &domain) {
            let answer = answer(&challenge, &REGISTER);
            let verified = verified(&authenticator, &domain, &answer);

            let user = domain.users.user(verified.user).expect("these are the users");
            assert_eq!((user.name(), verified.nonce_count), (&b"alice"[..], 1));
        }
    }

    #[test]
    fn the_answer_of_the_algorithm_left_out_is_md5() {
        let (authenticator, domain) = (authenticator(1), domain(&[Algorithm::Md5]));
        let answer = answer(&challenged(&authenticator, &domain)[0], &REGISTER);

        verified(&authenticator, &domain, &answer.replace(", algorithm=MD5", ""));
    }

    #[test]
    fn a_nonce_count_is_consumed_once() {
        let (authenticator, domain) = (authenticator(1), domain(&[Algorithm::Md5]));
        let challenge = &challenged(&authenticator, &domain)[0];
        let first = verified(&authenticator, &domain, &answer(challenge, &REGISTER));
        let mut request = REGISTER;
        request.nonce_count = 2;
        let second = verified(&authenticator, &domain, &answer(challenge, &request));

        assert_eq!(authenticator.consume(&first), Ok(()));
        assert_eq!(authenticator.consume(&first), Err(Replayed::Count));
        assert_eq!(authenticator.consume(&second), Ok(()));
        assert_eq!(authenticator.consume(&first), Err(Replayed::Count));
    }

    #[test]
    fn challenges_nobody_answers_push_no_window_out() {
        let (authenticator, domain) = (authenticator(1), domain(&[Algorithm::Md5]));
        let challenge = &challenged(&authenticator, &domain)[0];
        let first = verified(&authenticator, &domain, &answer(challenge, &REGISTER));
        authenticator.consume(&first).expect("fresh");
        for _ in 0..1000 {
            challenged(&authenticator, &domain);
        }

        assert_eq!(authenticator.consume(&first), Err(Replayed::Count));
    }

    #[test]
    fn a_wrong_password_is_never_told_that_the_nonce_is_stale() {
        let (authenticator, domain) = (authenticator(1), domain(&[Algorithm::Md5]));
        let challenge = &challenged(&authenticator, &domain)[0];
        let wrong = Challenged {
            password: b"guess",
            ..REGISTER
        };
        let late = NOW + LIFETIME + Duration::from_secs(1);

        let (right, wrong) = (answer(challenge, &REGISTER), answer(challenge, &wrong));
        assert_eq!(verify(&authenticator, &domain, &right, late), Verification::Stale);
        assert_eq!(
            verify(&authenticator, &domain, &wrong, late),
            Verification::WrongPassword
        );
        assert_eq!(
            verify(&authenticator, &domain, &wrong, NOW),
            Verification::WrongPassword
        );
    }

    #[test]
    fn a_nonce_of_another_start_or_nobody_is_stale() {
        let domain = domain(&[Algorithm::Md5]);
        let before = challenged(&authenticator(1), &domain).remove(0);
        let foreign = "Digest realm=\"example \\\"com\\\" \\\\\", nonce=\"dcd98b71\", qop=\"auth\"";
        for challenge in [&before, foreign] {
            let result = verify(&authenticator(2), &domain, &answer(challenge, &REGISTER), NOW);
            assert_eq!(result, Verification::Stale);
        }
    }

    #[test]
    fn a_nonce_of_the_previous_key_is_good() {
        let domain = domain(&[Algorithm::Md5]);
        let keys = Keys {
            current: [8; 16],
            previous: Some([7; 16]),
        };
        let challenge = &challenged(&authenticator(1), &domain)[0];

        verified(&Authenticator::new(keys, 1, 16), &domain, &answer(challenge, &REGISTER));
    }

    #[test]
    fn whatever_else_changes_makes_the_response_wrong() {
        let (authenticator, domain) = (authenticator(1), domain(&[Algorithm::Md5]));
        let answer = answer(&challenged(&authenticator, &domain)[0], &REGISTER);
        for (from, to) in [
            ("sip:example.com", "sip:example.org"),
            ("nc=00000001", "nc=00000002"),
            ("0a4f113b", "0a4f113c"),
            ("username=\"alice\"", "username=\"bob\""),
            ("response=\"", "response=\"0"),
        ] {
            let changed = answer.replace(from, to);
            assert_ne!(changed, answer);
            let result = verify(&authenticator, &domain, &changed, NOW);
            assert_eq!(result, Verification::WrongPassword, "{changed}");
        }
        let credentials = Credentials::parse(answer.as_bytes()).expect("well-formed");
        let result = authenticator.verify(&domain, b"INVITE", &credentials, NOW);
        assert_eq!(result, Verification::WrongPassword);
    }

    #[test]
    fn an_unknown_user_and_another_realm_are_told_apart_here_only() {
        let (authenticator, domain) = (authenticator(1), domain(&[Algorithm::Md5]));
        let answer = answer(&challenged(&authenticator, &domain)[0], &REGISTER);
        let unknown = answer.replace("\"alice\"", "\"nobody\"");
        let elsewhere = answer.replace("example ", "sample ");

        assert_eq!(
            verify(&authenticator, &domain, &unknown, NOW),
            Verification::UnknownUser
        );
        assert_eq!(
            verify(&authenticator, &domain, &elsewhere, NOW),
            Verification::WrongRealm
        );
    }

    #[test]
    fn what_is_not_offered_is_unsupported() {
        let authenticator = authenticator(1);
        let (both, sha256) = (domain(&Algorithm::ALL), domain(&[Algorithm::Sha256]));
        let challenges = challenged(&authenticator, &both);
        let md5 = answer(&challenges[0], &REGISTER);
        let algorithm = Verification::Unsupported(Unsupported::Algorithm);
        let qop = Verification::Unsupported(Unsupported::Qop);

        assert_eq!(verify(&authenticator, &sha256, &md5, NOW), algorithm);
        let absent = md5.replace(", algorithm=MD5", "");
        assert_eq!(verify(&authenticator, &sha256, &absent, NOW), algorithm);
        for (from, to, expected) in [
            ("algorithm=MD5", "algorithm=MD5-sess", algorithm),
            ("algorithm=MD5", "algorithm=SHA-512-256", algorithm),
            ("qop=auth", "qop=auth-int", qop),
            (", qop=auth, nc=00000001, cnonce=\"0a4f113b\"", "", qop),
        ] {
            let changed = md5.replace(from, to);
            assert_eq!(verify(&authenticator, &both, &changed, NOW), expected, "{changed}");
        }
        // Bob is known by an HA1 of MD5 only.
        let bob = Challenged {
            user: b"bob",
            ..REGISTER
        };
        verified(&authenticator, &both, &answer(&challenges[0], &bob));
        assert_eq!(
            verify(&authenticator, &both, &answer(&challenges[1], &bob), NOW),
            algorithm
        );
    }

    #[test]
    fn a_decoy_is_of_the_algorithm_and_secret() {
        let (one, other) = (Decoys::new(&[1; 16]), Decoys::new(&[2; 16]));
        for algorithm in Algorithm::ALL {
            assert_eq!(one.ha1(algorithm).algorithm(), algorithm);
            assert!(!one.ha1(algorithm).is_hex(other.ha1(algorithm).hex().as_bytes()));
        }
    }

    fn authenticator(start: u64) -> Authenticator {
        let keys = Keys {
            current: [7; 16],
            previous: None,
        };
        Authenticator::new(keys, start, 16)
    }

    fn domain(algorithms: &[Algorithm]) -> Domain {
        Domain {
            name: "example.com".into(),
            aliases: Vec::new(),
            realm: REALM.into(),
            registration: true,
            uri_calling: UriCalling::Internal,
            fork: ForkOrder::Parallel,
            ring_timeout: None,
            registrar: registrar::Settings::default(),
            auth: Settings {
                algorithms: algorithms.to_vec(),
                nonce_lifetime: LIFETIME,
                strict_uri: false,
            },
            users: Arc::new(users()),
        }
    }

    /// Alice by password, Bob by an HA1 of the same password.
    fn users() -> Users {
        let mut builder = UsersBuilder::new();
        let password = Zeroizing::new("secret".to_owned());
        builder.add_password(b"alice", REALM, password).expect("new");
        let ha1 = Digest::ha1(Algorithm::Md5, b"bob", REALM.as_bytes(), b"secret");
        builder.add_ha1(b"bob", &ha1).expect("new");
        builder.build([5; 16])
    }

    /// The values of the headers of a fresh challenge.
    fn challenged(authenticator: &Authenticator, domain: &Domain) -> Vec<String> {
        let mut out = BytesMut::new();
        authenticator.challenge(domain, Challenge::Www, false, NOW, &mut out);
        let text = String::from_utf8(out.to_vec()).expect("ASCII");
        let values = text.lines().filter_map(|line| line.strip_prefix("WWW-Authenticate: "));
        values.map(str::to_owned).collect()
    }

    fn answer(challenge: &str, request: &Challenged<'_>) -> String {
        let value = response(challenge.as_bytes(), request).expect("it can be answered");
        String::from_utf8(value).expect("ASCII")
    }

    fn verify(authenticator: &Authenticator, domain: &Domain, answer: &str, unix_now: Duration) -> Verification {
        let credentials = Credentials::parse(answer.as_bytes()).expect("well-formed");
        authenticator.verify(domain, REGISTER.method, &credentials, unix_now)
    }

    fn verified(authenticator: &Authenticator, domain: &Domain, answer: &str) -> Verified {
        match verify(authenticator, domain, answer, NOW) {
            Verification::Verified(verified) => verified,
            other => panic!("{other:?}: {answer}"),
        }
    }
}
