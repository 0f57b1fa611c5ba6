//! The table without sockets.

use std::task::{Context, Poll};

use super::*;

fn connections(connections: usize, connections_per_source: usize) -> Connections<u32> {
    let limits = Limits {
        connections,
        connections_per_source,
        ..Limits::default()
    };
    Connections::new(7, limits)
}

fn accept(table: &Connections<u32>, remote: &str) -> Result<Arc<Connection<u32>>, Refused> {
    let local = "127.0.0.1:5060".parse().unwrap();
    table.accept(Transport::Tls, local, remote.parse().unwrap())
}

fn hop(transport: Transport, server_name: Option<&str>) -> Hop {
    Hop {
        transport,
        remote: "192.0.2.1:5061".parse().unwrap(),
        local: "127.0.0.1:5060".parse().unwrap(),
        server_name: server_name.map(Arc::from),
    }
}

fn id(found: Result<ToHop<u32>, Refused>) -> (bool, ConnectionId) {
    match found.unwrap() {
        ToHop::New(connection) => (true, connection.id()),
        ToHop::Existing(connection) => (false, connection.id()),
    }
}

fn take(connection: &Connection<u32>) -> (Taken, Vec<u8>, Vec<u32>) {
    let mut messages = Messages::new();
    let taken = connection.take(&mut messages);
    let bytes = messages.iter().flat_map(|queued| queued.payload.to_vec());
    (
        taken,
        bytes.collect(),
        messages.iter().filter_map(|queued| queued.origin).collect(),
    )
}

#[test]
fn connections_are_limited_in_all_and_by_source() {
    let table = connections(4, 2);
    let first = accept(&table, "[2001:db8::1]:1").unwrap();
    accept(&table, "[2001:db8::ffff]:2").unwrap();
    assert_eq!(accept(&table, "[2001:db8::3]:3").unwrap_err(), Refused::TooManyOfSource);
    accept(&table, "[2001:db8:0:1::3]:3").unwrap();
    accept(&table, "192.0.2.1:3").unwrap();
    assert_eq!(accept(&table, "192.0.2.2:3").unwrap_err(), Refused::TooMany);
    assert_eq!(table.to_hop(&hop(Transport::Tcp, None)).unwrap_err(), Refused::TooMany);

    table.remove(&first, &mut Vec::new());
    table.remove(&first, &mut Vec::new());
    assert_eq!(table.count(), 3);
    accept(&table, "[2001:db8::3]:3").unwrap();
}

#[test]
fn a_hop_uses_the_connection_of_its_name() {
    let table = connections(10, 10);
    let (is_new, first) = id(table.to_hop(&hop(Transport::Tls, Some("a.example"))));
    assert!(is_new);
    assert_eq!(
        id(table.to_hop(&hop(Transport::Tls, Some("a.example")))),
        (false, first)
    );
    let (is_new, other) = id(table.to_hop(&hop(Transport::Tls, Some("b.example"))));
    assert!(is_new && other != first);
    let (_, tcp) = id(table.to_hop(&hop(Transport::Tcp, Some("a.example"))));
    assert_eq!(id(table.to_hop(&hop(Transport::Tcp, Some("b.example")))), (false, tcp));
}

#[test]
fn an_accepted_connection_is_used_for_its_very_address() {
    let table = connections(10, 10);
    let local = "192.0.2.100:5060".parse().unwrap();
    let remote = hop(Transport::Tcp, None).remote;
    let accepted = table.accept(Transport::Tcp, local, remote).unwrap();
    assert_eq!(id(table.to_hop(&hop(Transport::Tcp, None))), (false, accepted.id()));
    accepted.close();
    let (is_new, outgoing) = id(table.to_hop(&hop(Transport::Tcp, None)));
    assert!(is_new);
    table.remove(&accepted, &mut Vec::new());
    assert_eq!(id(table.to_hop(&hop(Transport::Tcp, None))), (false, outgoing));
}

#[test]
fn one_accepted_with_tls_is_used_for_no_hop() {
    let table = connections(10, 10);
    let remote = hop(Transport::Tls, None).remote;
    let accepted = accept(&table, &remote.to_string()).unwrap();
    for name in [None, Some("a.example")] {
        let (is_new, outgoing) = id(table.to_hop(&hop(Transport::Tls, name)));
        assert!(is_new && outgoing != accepted.id());
    }
    // Its own flow leads to it.
    table.push(accepted.id(), Bytes::from_static(b"x"), None).unwrap();
}

#[test]
fn a_connection_is_listed_once_until_it_is_looked_at() {
    let table = connections(10, 10);
    let outbox: Arc<Outbox> = Arc::default();
    let listed = || {
        let mut tokens = Vec::new();
        outbox.take(&mut tokens);
        tokens
    };
    let sleep = || outbox.poll_listed(&mut Context::from_waker(Waker::noop()));
    let connection = accept(&table, "192.0.2.1:5061").unwrap();
    let push = |payload: &'static [u8], origin| {
        let pushed = table.push(connection.id(), Bytes::from_static(payload), origin);
        pushed.unwrap().is_some()
    };
    assert!(!push(b"zero", None), "nobody serves it yet");
    connection.serve(&outbox, 5);
    assert_eq!((sleep(), listed()), (Poll::Ready(()), vec![5]));
    assert_eq!(take(&connection).0, Taken::All);

    assert_eq!(sleep(), Poll::Pending);
    assert!(push(b"one", Some(1)), "the task sleeps and has to be woken");
    assert!(!push(b"two", None));
    assert_eq!(listed(), [5]);
    assert_eq!(take(&connection), (Taken::All, b"onetwo".to_vec(), vec![1]));
    assert_eq!(connection.queue.lock().bytes, 0);
    assert!(!push(b"three", None), "the task is awake and looks again");
    assert_eq!(listed(), [5]);
    connection.close();
    assert_eq!(take(&connection).0, Taken::More);
    assert_eq!(take(&connection).0, Taken::Close);
}

#[test]
fn a_full_queue_ends_the_connection() {
    let table = connections(10, 10);
    let connection = accept(&table, "192.0.2.1:5061").unwrap();
    let payload = Bytes::from(vec![b'x'; QUEUE_BYTES / 2 - MESSAGE_OVERHEAD]);
    connection.push(payload.clone(), Some(1)).unwrap();
    connection.push(payload, Some(2)).unwrap();
    assert_eq!(connection.push(Bytes::new(), Some(3)).unwrap_err(), Unwritable);
    assert_eq!(take(&connection).0, Taken::Congested);
    let mut unwritten = Vec::new();
    table.remove(&connection, &mut unwritten);
    assert_eq!(unwritten, [1, 2]);
    let gone = table.push(connection.id(), Bytes::new(), Some(4));
    assert_eq!(gone.unwrap_err(), Unwritable);
}
