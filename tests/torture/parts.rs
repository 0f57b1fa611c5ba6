//! Parts of a message that must be readable.

use ringbinder::sip::message::Message;
use ringbinder::sip::message::address::NameAddr;
use ringbinder::sip::message::header::HeaderName;
use ringbinder::sip::message::uri::Uri;
use ringbinder::sip::message::via::Via;

pub fn request_uri(message: &Message) -> Uri<'_> {
    Uri::parse(message.request_uri()).unwrap()
}

pub fn host(uri: &Uri<'_>) -> String {
    uri.host.unwrap().to_string()
}

pub fn vias(message: &Message) -> Vec<Via<'_>> {
    message
        .values(HeaderName::Via)
        .map(|value| Via::parse(value).unwrap())
        .collect()
}

pub fn contacts(message: &Message) -> impl Iterator<Item = NameAddr<'_>> {
    message
        .values(HeaderName::Contact)
        .map(|value| NameAddr::parse(value).unwrap())
}

pub fn only_contact(message: &Message) -> NameAddr<'_> {
    let contacts: Vec<_> = contacts(message).collect();
    let [contact] = contacts[..] else {
        panic!("{} contacts", contacts.len());
    };
    contact
}

pub fn only_line<'a>(message: &'a Message, name: &'a str) -> &'a [u8] {
    let lines: Vec<_> = message.lines_named(name).collect();
    let [line] = lines[..] else {
        panic!("{} lines {name}", lines.len());
    };
    line
}
