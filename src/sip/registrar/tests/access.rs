//! Served domain, Require, digest, ownership of the AOR.

use super::*;

#[test]
fn domain_not_served_is_refused() {
    let bench = Bench::new();
    let refusal = bench.refusal(Register {
        uri: "sip:elsewhere.net",
        ..REGISTER
    });
    assert_eq!(
        (refusal.reason, refusal.reason.status()),
        (Reason::DomainNotServed, 403)
    );
}

#[test]
fn to_outside_the_domain_of_the_request_uri_is_404() {
    let bench = Bench::new();
    for to in [
        "<sip:alice@elsewhere.net>",
        "<sip:alice@other.org>",
        "<sip:example.com>",
        "<tel:+1>",
    ] {
        let refusal = bench.refusal(Register { to, ..REGISTER });
        assert_eq!(
            (refusal.reason, refusal.reason.status()),
            (Reason::AorOutsideDomain, 404)
        );
    }
}

#[test]
fn registration_can_be_disabled_for_a_domain() {
    let bench = Bench::new();
    let refusal = bench.refusal(Register {
        uri: "sip:closed.org",
        to: "<sip:alice@closed.org>",
        ..REGISTER
    });
    assert_eq!(
        (refusal.reason, refusal.reason.status()),
        (Reason::RegistrationDisabled, 403)
    );
}

#[test]
fn an_alias_and_any_spelling_name_the_same_aor() {
    let bench = Bench::new();
    bench.ok(REGISTER);
    let listed = bench.ok(Register {
        uri: "sip:SIP.Example.com",
        to: "<sip:%61lice@Example.COM;x=y>",
        contacts: "",
        ..REGISTER
    });
    assert_eq!(contacts(&listed), ["<sip:alice@192.0.2.9>;expires=3600"]);
    let other = bench.refusal(Register {
        to: "<sip:ALICE@example.com>",
        ..REGISTER
    });
    assert_eq!(other.reason, Reason::NotYourAor);
}

#[test]
fn unknown_require_is_420_before_any_credentials() {
    let bench = Bench::new();
    let lines = "Require: path, 100rel\r\nRequire: outbound, gin\r\n";
    let request = bench.request(&Register { lines, ..REGISTER }, None);
    let refusal = bench.handle(&request, Presented::Nothing).unwrap_err();
    assert_eq!(
        (refusal.reason, refusal.reason.status()),
        (Reason::ExtensionRequired, 420)
    );
    assert_eq!(refusal.extra, Extra::Unsupported(b"100rel, gin".to_vec()));
}

#[test]
fn no_credentials_are_challenged() {
    let bench = Bench::new();
    let request = bench.request(&REGISTER, None);
    let refusal = bench.handle(&request, Presented::Nothing).unwrap_err();
    assert_eq!(refusal, challenged(Reason::NoCredentials, false));
    let malformed = bench.handle(&request, Presented::Malformed).unwrap_err();
    assert_eq!(
        (malformed.reason, malformed.reason.status()),
        (Reason::BadCredentials, 400)
    );
}

#[test]
fn a_wrong_password_and_an_unknown_user_get_the_same_and_touch_nothing() {
    let bench = Bench::new();
    bench.ok(REGISTER);
    let removal = Register {
        contacts: "Contact: *\r\n",
        lines: "Expires: 0\r\n",
        cseq: 9,
        ..REGISTER
    };
    let wrong = bench.refusal(Register {
        password: "guess",
        ..removal
    });
    let unknown = bench.refusal(Register {
        user: "mallory",
        ..removal
    });
    assert_eq!(wrong, challenged(Reason::BadPassword, false));
    assert_eq!(wrong, unknown);
    assert_eq!(bench.location.bindings(), 1);
}

#[test]
fn an_old_nonce_with_the_right_password_is_stale() {
    let bench = Bench::new();
    let answer = bench.answer(&REGISTER, 1);
    let later = Bench {
        elapsed: Duration::from_secs(301),
        ..bench
    };
    let request = later.request(&REGISTER, Some(&answer));
    assert_eq!(
        later.verify_and_handle(&request).unwrap_err(),
        challenged(Reason::StaleNonce, true)
    );
}

#[test]
fn a_replayed_nonce_is_stale_and_changes_nothing() {
    let bench = Bench::new();
    let answer = bench.answer(&REGISTER, 1);
    let request = bench.request(&REGISTER, Some(&answer));
    bench.verify_and_handle(&request).unwrap();
    let other = Register {
        contacts: "Contact: <sip:mallory@203.0.113.6>\r\n",
        cseq: 2,
        ..REGISTER
    };
    let replay = bench.request(&other, Some(&answer));
    assert_eq!(
        bench.verify_and_handle(&replay).unwrap_err(),
        challenged(Reason::NonceReplayed, true)
    );
    assert_eq!(bench.location.bindings(), 1);
}

#[test]
fn a_replay_of_what_made_the_binding_is_a_retransmission() {
    let bench = Bench::new();
    let answer = bench.answer(&REGISTER, 1);
    let request = bench.request(&REGISTER, Some(&answer));
    let (change, first) = bench.verify_and_handle(&request).unwrap();
    assert!(change.is_some());
    let (change, again) = bench.verify_and_handle(&request).unwrap();
    assert_eq!((change, again), (None, first));
}

#[test]
fn a_digest_uri_that_does_not_match_is_400() {
    let bench = Bench::new();
    let answer = bench.answer(&REGISTER, 1);
    let request = bench.request(&REGISTER, Some(&answer));
    let verification = bench.verify(&request);
    let presented = Presented::Checked {
        verification: &verification,
        uri_matches: false,
    };
    let refusal = bench.handle(&request, presented).unwrap_err();
    assert_eq!(
        (refusal.reason, refusal.reason.status()),
        (Reason::DigestUriMismatch, 400)
    );
}

#[test]
fn a_user_registers_its_own_aor_and_its_identities_only() {
    let bench = Bench::new();
    let refusal = bench.refusal(Register {
        to: "<sip:bob@example.com>",
        ..REGISTER
    });
    assert_eq!((refusal.reason, refusal.reason.status()), (Reason::NotYourAor, 403));
    bench.ok(Register {
        to: "<sip:sales@example.com>",
        user: "bob",
        ..REGISTER
    });
    bench.ok(Register {
        to: "<sip:support@example.com>",
        user: "bob",
        ..REGISTER
    });
}

#[test]
fn a_to_tag_is_400_unless_allowed() {
    let mut bench = Bench::new();
    let tagged = Register {
        to: "<sip:alice@example.com>;tag=1",
        ..REGISTER
    };
    let refusal = bench.refusal(tagged);
    assert_eq!((refusal.reason, refusal.reason.status()), (Reason::ToTagPresent, 400));
    bench.set(Settings {
        allow_to_tag: true,
        ..Settings::default()
    });
    bench.ok(tagged);
}
