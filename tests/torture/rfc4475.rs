//! What the messages of RFC 4475 §3 say.

use ringbinder::sip::hop::Transport;
use ringbinder::sip::message::address::{AddressError, NameAddr};
use ringbinder::sip::message::credentials::{Credentials, CredentialsError};
use ringbinder::sip::message::grammar::unquote;
use ringbinder::sip::message::header::HeaderName;
use ringbinder::sip::message::method::Method;
use ringbinder::sip::message::uri::{Host, Scheme, Uri};
use ringbinder::sip::message::{Message, ParseError};

use crate::Expected::{Dropped, Read, Refused};
use crate::parts::{contacts, only_contact, only_line, request_uri, vias};
use crate::{Case, case};

pub const CASES: &[Case] = &[
    // Valid messages.
    case("3.1.1.1", "wsinv", Read(a_short_tortuous_invite)),
    case("3.1.1.2", "intmeth", Read(a_wide_range_of_valid_characters)),
    case("3.1.1.3", "esc01", Read(valid_use_of_the_percent_escape)),
    case("3.1.1.4", "escnull", Read(escaped_nulls_in_uris)),
    case("3.1.1.5", "esc02", Read(percent_when_it_is_not_an_escape)),
    case("3.1.1.6", "lwsdisp", Read(no_white_space_before_the_bracket)),
    case("3.1.1.7", "longreq", Read(long_values)),
    case("3.1.1.8", "dblreq", Read(extra_trailing_octets_in_a_datagram)),
    case("3.1.1.9", "semiuri", Read(semicolon_parameters_in_the_user)),
    case("3.1.1.10", "transports", Read(varied_transports_in_via)),
    case("3.1.1.11", "mpart01", Read(a_multipart_body_with_binary)),
    case("3.1.1.12", "unreason", Read(an_unusual_reason_phrase)),
    case("3.1.1.13", "noreason", Read(an_empty_reason_phrase)),
    // Invalid messages.
    case("3.1.2.1", "badinv01", Refused(ParseError::Value(HeaderName::Via))),
    case("3.1.2.2", "clerr", Refused(ParseError::ContentLength)),
    case("3.1.2.3", "ncl", Refused(ParseError::ContentLength)),
    case("3.1.2.4", "scalar02", Refused(ParseError::Value(HeaderName::CSeq))),
    case("3.1.2.5", "scalarlg", Dropped(ParseError::Value(HeaderName::CSeq))),
    case("3.1.2.6", "quotbal", Refused(ParseError::Value(HeaderName::To))),
    case("3.1.2.7", "ltgtruri", Refused(ParseError::StartLine)),
    case("3.1.2.8", "lwsruri", Refused(ParseError::StartLine)),
    case("3.1.2.9", "lwsstart", Refused(ParseError::StartLine)),
    case("3.1.2.10", "trws", Refused(ParseError::StartLine)),
    case("3.1.2.11", "escruri", Read(escaped_headers_in_the_request_uri)),
    case("3.1.2.12", "baddate", Read(an_invalid_time_zone_in_date)),
    case("3.1.2.13", "regbadct", Read(a_contact_that_needs_brackets)),
    case("3.1.2.14", "badaspec", Refused(ParseError::Value(HeaderName::To))),
    // The archive's message also lacks the empty line.
    case("3.1.2.15", "baddn", Refused(ParseError::Truncated)),
    case("3.1.2.16", "badvers", Refused(ParseError::Version)),
    case("3.1.2.17", "mismatch01", Refused(ParseError::Value(HeaderName::CSeq))),
    case("3.1.2.18", "mismatch02", Refused(ParseError::Value(HeaderName::CSeq))),
    case("3.1.2.19", "bigcode", Dropped(ParseError::StartLine)),
    // Transaction layer.
    case("3.2.1", "badbranch", Read(a_branch_of_nothing_but_the_cookie)),
    // Application layer.
    case("3.3.1", "insuf", Dropped(ParseError::Missing(HeaderName::From))),
    case("3.3.2", "unkscm", Read(an_unknown_scheme_in_the_request_uri)),
    case("3.3.3", "novelsc", Read(a_known_but_atypical_scheme)),
    case("3.3.4", "unksm2", Read(unknown_schemes_in_headers)),
    case("3.3.5", "bext01", Read(unknown_extensions_in_require)),
    case("3.3.6", "invut", Read(an_unknown_content_type)),
    case("3.3.7", "regaut01", Read(an_unknown_authorization_scheme)),
    case("3.3.8", "multi01", Refused(ParseError::Repeated(HeaderName::From))),
    case(
        "3.3.9",
        "mcl01",
        Refused(ParseError::Repeated(HeaderName::ContentLength)),
    ),
    case("3.3.10", "bcast", Read(a_200_with_a_broadcast_via)),
    case("3.3.11", "zeromf", Read(max_forwards_of_zero)),
    case("3.3.12", "cparam01", Read(a_contact_header_parameter)),
    case("3.3.13", "cparam02", Read(a_contact_uri_parameter)),
    case("3.3.14", "regescrt", Read(a_contact_uri_with_a_header)),
    case("3.3.15", "sdp01", Read(an_unacceptable_accept)),
    // Backward compatibility.
    case("3.4.1", "inv2543", Read(an_invite_of_rfc_2543)),
    // In the archive only: no version, no Via.
    case("A.1", "test", Dropped(ParseError::StartLine)),
];

fn a_short_tortuous_invite(message: &Message) {
    assert_eq!(message.method(), Method::Invite);
    let uri = request_uri(message);
    assert_eq!(uri.user, Some(&b"vivekg"[..]));
    assert_eq!(uri.parameter("unknownparam"), Some(None));

    let to = message.to().unwrap();
    assert_eq!(to.uri, b"sip:vivekg@chair-dnrc.example.com");
    assert_eq!(to.tag(), Some(&b"1918181833n"[..]));
    let from = message.from().unwrap();
    assert_eq!(unquote(from.display.unwrap()), &br#"J Rosenberg \""#[..]);
    assert_eq!(from.uri, b"sip:jdrosen@example.com");
    assert_eq!(from.tag(), Some(&b"98asjd8"[..]));

    assert_eq!(message.max_forwards(), Some(Ok(68)));
    assert_eq!(message.call_id(), b"wsinv.ndaksdj@192.0.2.1");
    let cseq = message.cseq().unwrap();
    assert_eq!((cseq.number, cseq.method), (9, &b"INVITE"[..]));

    let vias = vias(message);
    let hosts: Vec<_> = vias.iter().map(|via| via.host_bytes).collect();
    assert_eq!(hosts, [&b"192.0.2.2"[..], b"spindle.example.com", b"192.168.255.111"]);
    let transports: Vec<_> = vias.iter().map(|via| via.transport).collect();
    assert_eq!(
        transports,
        [Some(Transport::Udp), Some(Transport::Tcp), Some(Transport::Udp)]
    );
    let branches: Vec<_> = vias.iter().map(|via| via.branch().unwrap()).collect();
    assert_eq!(branches, [&b"390skdjuw"[..], b"z9hG4bK9ikj8", b"z9hG4bK30239"]);

    assert_eq!(only_line(message, "s"), b"");
    assert_eq!(
        only_line(message, "newfangledheader"),
        b"newfangled value\r\n continued newfangled value"
    );
    assert_eq!(only_line(message, "UnknownHeaderWithUnusualValue"), b";;,,;;,;");
    let route = NameAddr::parse(message.header(HeaderName::Route).unwrap()).unwrap();
    let route = route.parsed_uri().unwrap();
    assert!(route.is_loose_router());
    assert_eq!(route.parameter("unknownwith"), Some(Some(&b"value"[..])));
    assert_eq!(route.parameter("unknown-no-value"), Some(None));

    let contact = only_contact(message);
    assert_eq!(unquote(contact.display.unwrap()), &br#"Quoted string """#[..]);
    assert_eq!(contact.parameter("newparam"), Some(Some(&b"newvalue"[..])));
    assert_eq!(contact.parameter("secondparam"), Some(None));
    assert_eq!(contact.parameter("q"), Some(Some(&b"0.33"[..])));
    assert_eq!(message.body().len(), 150);
}

fn a_wide_range_of_valid_characters(message: &Message) {
    assert_eq!(message.method(), Method::Other);
    assert_eq!(message.method_bytes(), b"!interesting-Method0123456789_*+`.%indeed'~");
    assert_eq!(message.cseq().unwrap().method, message.method_bytes());
    let uri = request_uri(message);
    assert_eq!(uri.user, Some(&b"1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*"[..]));
    assert_eq!(uri.password, Some(&b"&it+has=1,weird!*pas$wo~d_too.(doesn't-it)"[..]));
    assert_eq!(uri.host, Some(Host::Name(b"example.com")));

    let to = message.to().unwrap();
    assert_eq!(unquote(to.display.unwrap()), &b"BEL:\x07 NUL:\0 DEL:\x7f"[..]);
    let from = message.from().unwrap();
    assert_eq!(from.display, Some(&b"token1~` token2'+_ token3*%!.-"[..]));
    assert_eq!(from.tag(), Some(&b"_token~1'+`*%!-."[..]));
    let parameter = from.parameter("fromParam''~+*_!.-%").flatten().unwrap();
    assert_eq!(
        unquote(parameter),
        "\u{440}\u{430}\u{431}\u{43e}\u{442}\u{430}\u{44e}\u{449}\u{438}\u{439}".as_bytes()
    );
    assert_eq!(message.top_via().unwrap().branch(), Some(&b"z9hG4bK-.!%66*_+`'~"[..]));
    assert_eq!(message.call_id(), br#"intmeth.word%ZK-!.*_+'@word`~)(><:\/"][?}{"#);
    assert_eq!(message.max_forwards(), Some(Ok(255)));
    let extension = "\u{feff}\u{5927}\u{505c}\u{96fb}".as_bytes();
    assert_eq!(only_line(message, "extensionHeader-!.%*+_`'~"), extension);
}

fn valid_use_of_the_percent_escape(message: &Message) {
    let user = |uri: Uri<'_>| uri.user_unescaped().unwrap().into_owned();
    assert_eq!(user(request_uri(message)), b"sips:user@example.com");
    let to = message.to().unwrap().parsed_uri().unwrap();
    assert_eq!(user(to), b"user");
    assert!(to.equivalent(&Uri::parse(b"sip:user@example.com").unwrap()));
    assert_eq!(user(message.from().unwrap().parsed_uri().unwrap()), b"I have spaces");
    let contact = only_contact(message).parsed_uri().unwrap();
    assert_eq!(user(contact), b"caller");
    assert!(contact.is_loose_router());
    assert_eq!(contact.parameter("name"), Some(Some(&b"v%61lue%25%34%31"[..])));
    assert_eq!(message.header(HeaderName::ContentType), Some(&b"application/sdp"[..]));
}

fn escaped_nulls_in_uris(message: &Message) {
    let to = message.to().unwrap().parsed_uri().unwrap();
    assert_eq!(to.user_unescaped().unwrap(), &b"null-\0-null"[..]);
    let contacts: Vec<_> = contacts(message).map(|contact| contact.parsed_uri().unwrap()).collect();
    let users: Vec<_> = contacts.iter().map(|uri| uri.user_unescaped().unwrap()).collect();
    assert_eq!(users, [&b"\0"[..], b"\0\0"]);
    assert!(!contacts[0].equivalent(&contacts[1]));
}

fn percent_when_it_is_not_an_escape(message: &Message) {
    assert_eq!(message.method(), Method::Other, "it is not REGISTER");
    assert_eq!(message.method_bytes(), b"RE%47IST%45R");
    assert_eq!(unquote(message.to().unwrap().display.unwrap()), &b"%Z%45"[..]);
    assert_eq!(message.top_via().unwrap().branch(), Some(&b"z9hG4bK209%fzsnel234"[..]));
    let contacts: Vec<_> = contacts(message).map(|contact| contact.uri).collect();
    assert_eq!(
        contacts,
        [&b"sip:alias1@host1.example.com"[..], b"sip:alias3@host3.example.com"]
    );
    assert_eq!(only_line(message, "C%6Fntact"), b"<sip:alias2@host2.example.com>");
}

fn no_white_space_before_the_bracket(message: &Message) {
    assert_eq!(message.from().unwrap().display, Some(&b"caller"[..]));
    assert_eq!(message.from().unwrap().uri, b"sip:caller@example.com");
}

fn long_values(message: &Message) {
    let vias = vias(message);
    assert_eq!(vias.len(), 34);
    assert_eq!(vias[0].host_bytes, b"sip33.example.com");
    assert_eq!(vias[0].branch(), None);
    assert_eq!(vias[33].received_address(), "192.0.2.5".parse().ok());
    assert!(vias[33].branch().unwrap().ends_with(b"longbranchvalue"));
    let to = message.to().unwrap();
    assert_eq!(to.parsed_uri().unwrap().port, Some(6000));
    assert_eq!(to.parsed_uri().unwrap().parameters.iter().count(), 3);
    assert!(to.display.unwrap().ends_with(b" proportion\""));
    assert!(message.from().unwrap().tag().unwrap().starts_with(b"12982982982982"));
    assert!(only_contact(message).uri.starts_with(b"sip:amazinglylongcallername"));
    assert_eq!(message.body().len(), 150);
}

fn extra_trailing_octets_in_a_datagram(message: &Message) {
    assert_eq!(message.method(), Method::Register);
    assert_eq!(message.call_id(), b"dblreq.0ha0isndaksdj99sdfafnl3lk233412");
    assert_eq!(message.body(), b"");
    assert!(message.bytes().ends_with(b"Content-Length: 0\r\n\r\n"));
}

fn semicolon_parameters_in_the_user(message: &Message) {
    let uri = request_uri(message);
    assert_eq!(uri.user_unescaped().unwrap(), &b"user;par=u@example.net"[..]);
    assert_eq!(uri.host_bytes, b"example.com");
    assert!(uri.parameters.is_empty());
    assert_eq!(only_line(message, "Accept").split(|byte| *byte == b',').count(), 6);
}

fn varied_transports_in_via(message: &Message) {
    let vias = vias(message);
    let transports: Vec<_> = vias.iter().map(|via| via.transport).collect();
    let expected = [
        Some(Transport::Udp),
        None,
        Some(Transport::Tls),
        None,
        Some(Transport::Tcp),
    ];
    assert_eq!(transports, expected);
    assert_eq!(vias[1].transport_bytes, b"SCTP");
    assert_eq!(vias[3].transport_bytes, b"UNKNOWN");
}

fn a_multipart_body_with_binary(message: &Message) {
    assert_eq!(message.method(), Method::Message);
    assert_eq!(message.body().len(), 553);
    assert!(message.body().contains(&0));
    assert!(std::str::from_utf8(message.body()).is_err());
    assert!(message.body().ends_with(b"\r\n--7a9cbec02ceef655--\r\n"));
}

fn an_unusual_reason_phrase(message: &Message) {
    assert_eq!((message.status(), message.method()), (Some(200), Method::Invite));
    assert!(message.reason_phrase().starts_with(b"= 2**3 * 5**2 \xd0\xbd\xd0\xbe "));
    assert_eq!(message.body().len(), 154);
}

fn an_empty_reason_phrase(message: &Message) {
    assert_eq!((message.status(), message.reason_phrase()), (Some(100), &b""[..]));
    assert_eq!(only_contact(message).uri, b"sip:user@host105.example.com");
}

fn escaped_headers_in_the_request_uri(message: &Message) {
    // The headers must not be acted upon; whoever routes the request refuses it.
    assert_eq!(request_uri(message).headers, Some(&b"Route=%3Csip:example.com%3E"[..]));
    assert_eq!(message.header(HeaderName::Route), None);
}

fn an_invalid_time_zone_in_date(message: &Message) {
    assert_eq!(
        message.header(HeaderName::Date),
        Some(&b"Fri, 01 Jan 2010 16:00:00 EST"[..])
    );
}

fn a_contact_that_needs_brackets(message: &Message) {
    let contact = message.header(HeaderName::Contact).unwrap();
    assert_eq!(NameAddr::parse(contact), Err(AddressError::Brackets));
}

fn a_branch_of_nothing_but_the_cookie(message: &Message) {
    assert_eq!(message.top_via().unwrap().branch(), Some(&b"z9hG4bK"[..]));
}

fn an_unknown_scheme_in_the_request_uri(message: &Message) {
    assert_eq!(request_uri(message).scheme, Scheme::Other);
    assert_eq!(message.request_uri(), b"nobodyKnowsThisScheme:totallyopaquecontent");
}

fn a_known_but_atypical_scheme(message: &Message) {
    assert_eq!(request_uri(message).scheme, Scheme::Other);
    assert_eq!(message.request_uri(), b"soap.beep://192.0.2.103:3002");
}

fn unknown_schemes_in_headers(message: &Message) {
    assert_eq!(message.to().unwrap().uri, b"isbn:2983792873");
    assert_eq!(message.to().unwrap().parsed_uri().unwrap().scheme, Scheme::Other);
    assert_eq!(message.from().unwrap().uri, b"http://www.example.com");
    assert_eq!(message.from().unwrap().tag(), Some(&b"3234233"[..]));
    assert_eq!(only_contact(message).parsed_uri().unwrap().scheme, Scheme::Other);
}

fn unknown_extensions_in_require(message: &Message) {
    let values = |name| message.values(name).collect::<Vec<_>>();
    assert_eq!(
        values(HeaderName::Require),
        [&b"nothingSupportsThis"[..], b"nothingSupportsThisEither"]
    );
    assert_eq!(
        values(HeaderName::ProxyRequire),
        [&b"noProxiesSupportThis"[..], b"norDoAnyProxiesSupportThis"]
    );
}

fn an_unknown_content_type(message: &Message) {
    assert_eq!(
        message.header(HeaderName::ContentType),
        Some(&b"application/unknownformat"[..])
    );
    assert_eq!(message.body().len(), 40);
}

fn an_unknown_authorization_scheme(message: &Message) {
    let value = message.header(HeaderName::Authorization).unwrap();
    assert_eq!(Credentials::parse(value), Err(CredentialsError::NotDigest));
}

fn a_200_with_a_broadcast_via(message: &Message) {
    assert_eq!(message.status(), Some(200));
    let hosts: Vec<_> = vias(message).iter().map(|via| via.host_bytes).collect();
    assert_eq!(hosts, [&b"192.0.2.198"[..], b"255.255.255.255"]);
}

fn max_forwards_of_zero(message: &Message) {
    assert_eq!(message.max_forwards(), Some(Ok(0)));
}

fn a_contact_header_parameter(message: &Message) {
    let contact = only_contact(message);
    assert_eq!(contact.parameter("unknownparam"), Some(None));
    assert_eq!(contact.uri, b"sip:+19725552222@gw1.example.net");
}

fn a_contact_uri_parameter(message: &Message) {
    let contact = only_contact(message);
    assert!(contact.parameters.is_empty());
    assert_eq!(contact.parsed_uri().unwrap().parameter("unknownparam"), Some(None));
}

fn a_contact_uri_with_a_header(message: &Message) {
    let uri = only_contact(message).parsed_uri().unwrap();
    assert_eq!(uri.headers, Some(&b"Route=%3Csip:sip.example.com%3E"[..]));
}

fn an_unacceptable_accept(message: &Message) {
    assert_eq!(only_line(message, "accept"), b"text/nobodyKnowsThis");
}

fn an_invite_of_rfc_2543(message: &Message) {
    assert_eq!(message.top_via().unwrap().branch(), None);
    assert_eq!(message.from().unwrap().tag(), None);
    assert_eq!(message.max_forwards(), None);
    assert_eq!(message.to().unwrap().parameter("user"), Some(Some(&b"phone"[..])));
    let record_route = NameAddr::parse(message.header(HeaderName::RecordRoute).unwrap()).unwrap();
    assert_eq!(
        record_route.parsed_uri().unwrap().maddr(),
        Some(&b"ss1.example.com"[..])
    );
    assert!(
        message.body().starts_with(b"v=0\r\n"),
        "without Content-Length the datagram ends it"
    );
}
