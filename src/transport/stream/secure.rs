//! TLS of one connection, on buffers that are not its own: records are read where the worker received them, and
//! written where the worker sends from. Between messages a session keeps its keys and nothing else.

use std::sync::Arc;

use bytes::BytesMut;
use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus, WriteTraffic};
use rustls::{ClientConfig, Error, ServerConfig};
use rustls_pki_types::ServerName;

/// The most bytes kept of records that have not all come: the largest handshake message and the largest record.
const REST_MAX: usize = 0xffff + 5 + 16_384 + 2048;

/// What TLS adds to the bytes of one record at most, with its header.
const RECORD_OVERHEAD: usize = 5 + 256;

/// The most bytes of one record.
const RECORD_BYTES: usize = 16_384;

/// The session of a connection.
pub struct Secure {
    side: Side,
    /// The beginning of what has not all come.
    rest: Vec<u8>,
}

enum Side {
    Server(UnbufferedServerConnection),
    Client(UnbufferedClientConnection),
}

/// How far a session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The handshake goes on.
    Handshaking,
    /// Both sides may send messages.
    Open,
    /// The peer sends nothing more.
    Closed,
}

impl Secure {
    /// The session of a connection that was accepted.
    pub fn server(config: Arc<ServerConfig>) -> Result<Secure, Error> {
        Ok(Secure {
            side: Side::Server(UnbufferedServerConnection::new(config)?),
            rest: Vec::new(),
        })
    }

    /// The session of a connection to a peer of this name.
    pub fn client(config: Arc<ClientConfig>, name: ServerName<'static>) -> Result<Secure, Error> {
        Ok(Secure {
            side: Side::Client(UnbufferedClientConnection::new(config, name)?),
            rest: Vec::new(),
        })
    }

    /// Whether the beginning of a record is kept.
    pub fn has_begun(&self) -> bool {
        !self.rest.is_empty()
    }

    /// Takes in what was received. Messages are added to `plain`, what the handshake says to `out`, also when it
    /// fails.
    pub fn receive(&mut self, received: &mut [u8], plain: &mut BytesMut, out: &mut Vec<u8>) -> Result<Progress, Error> {
        if self.rest.is_empty() {
            let (used, progress) = self.side.process(received, plain, out)?;
            self.rest.extend_from_slice(&received[used..]);
            return Ok(progress);
        }
        self.rest.extend_from_slice(received);
        let (used, progress) = self.side.process(&mut self.rest, plain, out)?;
        self.rest.drain(..used);
        if self.rest.is_empty() {
            self.rest = Vec::new();
        } else if self.rest.len() > REST_MAX {
            return Err(Error::PeerSentOversizedRecord);
        }
        Ok(progress)
    }

    /// Adds `payload` to `out`, encrypted.
    pub fn send(&mut self, payload: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        self.write(Content::Payload(payload), out)
    }

    /// Adds the goodbye to `out`.
    pub fn close(&mut self, out: &mut Vec<u8>) -> Result<(), Error> {
        self.write(Content::Goodbye, out)
    }

    fn write(&mut self, content: Content<'_>, out: &mut Vec<u8>) -> Result<(), Error> {
        // What is kept is shown again, because the session counts on its being there.
        let used = match &mut self.side {
            Side::Server(session) => write(session, &mut self.rest, content, out)?,
            Side::Client(session) => write(session, &mut self.rest, content, out)?,
        };
        self.rest.drain(..used);
        Ok(())
    }
}

impl Side {
    /// Says how many bytes of `received` are done with.
    fn process(
        &mut self,
        received: &mut [u8],
        plain: &mut BytesMut,
        out: &mut Vec<u8>,
    ) -> Result<(usize, Progress), Error> {
        match self {
            Side::Server(session) => process(session, received, plain, out),
            Side::Client(session) => process(session, received, plain, out),
        }
    }
}

/// What both sides have in common.
trait Session {
    type Data;

    fn records<'c, 'i>(&'c mut self, received: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data>;
}

impl Session for UnbufferedServerConnection {
    type Data = ServerConnectionData;

    fn records<'c, 'i>(&'c mut self, received: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, ServerConnectionData> {
        self.process_tls_records(received)
    }
}

impl Session for UnbufferedClientConnection {
    type Data = ClientConnectionData;

    fn records<'c, 'i>(&'c mut self, received: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, ClientConnectionData> {
        self.process_tls_records(received)
    }
}

fn process<S: Session>(
    session: &mut S,
    received: &mut [u8],
    plain: &mut BytesMut,
    out: &mut Vec<u8>,
) -> Result<(usize, Progress), Error> {
    let mut used = 0;
    loop {
        let UnbufferedStatus { mut discard, state } = session.records(&mut received[used..]);
        let mut progress = None;
        match state {
            Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                while let Some(record) = traffic.next_record() {
                    let record = record?;
                    discard += record.discard;
                    plain.extend_from_slice(record.payload);
                }
            }
            Ok(ConnectionState::EncodeTlsData(mut data)) => put_handshake(out, |room| data.encode(room))?,
            Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
            Ok(ConnectionState::BlockedHandshake) => progress = Some(Progress::Handshaking),
            Ok(ConnectionState::WriteTraffic(_)) => progress = Some(Progress::Open),
            Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => progress = Some(Progress::Closed),
            // Early data are not enabled, and there is nothing else.
            Ok(_) => return Err(Error::HandshakeNotComplete),
            Err(error) => {
                put_alert(session, &mut received[used + discard..], out);
                return Err(error);
            }
        }
        used += discard;
        if let Some(progress) = progress {
            return Ok((used, progress));
        }
    }
}

/// Adds what the peer is told about an error.
fn put_alert<S: Session>(session: &mut S, received: &mut [u8], out: &mut Vec<u8>) {
    if let Ok(ConnectionState::EncodeTlsData(mut data)) = session.records(received).state {
        // It fails for another reason already.
        let _ = put_handshake(out, |room| data.encode(room));
    }
}

/// What is sent once the handshake is over.
#[derive(Clone, Copy)]
enum Content<'a> {
    Payload(&'a [u8]),
    Goodbye,
}

fn write<S: Session>(
    session: &mut S,
    rest: &mut [u8],
    content: Content<'_>,
    out: &mut Vec<u8>,
) -> Result<usize, Error> {
    let mut used = 0;
    loop {
        let UnbufferedStatus { discard, state } = session.records(&mut rest[used..]);
        used += discard;
        match state? {
            // Answers to what the peer asks of the session, such as new keys.
            ConnectionState::EncodeTlsData(mut data) => put_handshake(out, |room| data.encode(room))?,
            ConnectionState::TransmitTlsData(data) => data.done(),
            ConnectionState::PeerClosed => {}
            ConnectionState::WriteTraffic(traffic) => return put_content(traffic, content, out).map(|()| used),
            _ => return Err(Error::HandshakeNotComplete),
        }
    }
}

fn put_content<D>(mut traffic: WriteTraffic<'_, D>, content: Content<'_>, out: &mut Vec<u8>) -> Result<(), Error> {
    let mut size = match content {
        Content::Payload(payload) => payload.len() + (1 + payload.len() / RECORD_BYTES) * RECORD_OVERHEAD,
        Content::Goodbye => RECORD_OVERHEAD,
    };
    loop {
        let start = out.len();
        out.resize(start + size, 0);
        let put = match content {
            Content::Payload(payload) => traffic.encrypt(payload, &mut out[start..]),
            Content::Goodbye => traffic.queue_close_notify(&mut out[start..]),
        };
        out.truncate(start + put.as_ref().map_or(0, |length| *length));
        match put {
            Ok(_) => return Ok(()),
            Err(EncryptError::InsufficientSize(error)) if error.required_size > size => size = error.required_size,
            Err(EncryptError::InsufficientSize(_) | EncryptError::EncryptExhausted) => {
                return Err(Error::EncryptError);
            }
        }
    }
}

fn put_handshake(
    out: &mut Vec<u8>,
    mut encode: impl FnMut(&mut [u8]) -> Result<usize, EncodeError>,
) -> Result<(), Error> {
    let mut size = RECORD_OVERHEAD;
    loop {
        let start = out.len();
        out.resize(start + size, 0);
        let put = encode(&mut out[start..]);
        out.truncate(start + put.as_ref().map_or(0, |length| *length));
        match put {
            Ok(_) => return Ok(()),
            Err(EncodeError::InsufficientSize(error)) if error.required_size > size => size = error.required_size,
            Err(EncodeError::InsufficientSize(_) | EncodeError::AlreadyEncoded) => return Err(Error::EncryptError),
        }
    }
}
