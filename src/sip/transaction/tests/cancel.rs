//! CANCEL in the table: RFC 3261 §9.1.

use super::*;

#[test]
fn a_cancel_waits_for_a_provisional_and_shares_branch_and_target() {
    let mut bench = Bench::new(Transport::Udp);
    let client = bench.start_client("INVITE");

    assert!(!bench.table.has_provisional(client));
    assert!(!bench.table.cancel(client, None, bench.now));
    bench.answer(180, "INVITE");
    assert!(bench.table.has_provisional(client));
    assert!(bench.table.cancel(client, None, bench.now));
    assert!(!bench.table.cancel(client, None, bench.now));

    let invite = bench.table.poll_transmit().unwrap();
    let cancel = bench.table.poll_transmit().unwrap();
    let message = Message::parse(cancel.payload, &Limits::default()).unwrap();
    assert_eq!(message.top_via().unwrap().branch(), Some(bench.branch.as_bytes()));
    assert_eq!(cancel.target, invite.target);
}

#[test]
fn an_answered_cancel_is_not_sent_again_and_the_487_is_delivered() {
    let mut bench = Bench::new(Transport::Udp);
    let client = bench.start_client("INVITE");
    bench.answer(180, "INVITE");
    bench.table.cancel(client, None, bench.now);

    assert_eq!(bench.answer(200, "CANCEL"), Matched::Absorbed);
    assert_eq!(bench.answer(200, "CANCEL"), Matched::Absorbed);
    assert_eq!(bench.answer(487, "INVITE"), delivered(client));
    assert_eq!(
        bench.run(secs(60)),
        [
            sent(0.0, "INVITE"),
            sent(0.0, "CANCEL"),
            sent(0.0, "ACK"),
            told(0.0, Event::ClientTerminated { client, user: 7 }),
        ]
    );
    assert!(bench.table.is_idle());
}

#[test]
fn an_unanswered_cancel_is_sent_again_and_the_invite_counts_as_cancelled_after_64_t1() {
    let mut bench = Bench::new(Transport::Udp);
    let client = bench.start_client("INVITE");
    bench.answer(180, "INVITE");
    bench.run(secs(10));
    bench.table.cancel(client, None, bench.now);

    let log = bench.run(secs(60));

    let times: Vec<f64> = log.iter().map(|(at, _)| *at).collect();
    assert_eq!(
        times,
        [
            10.0, 10.5, 11.5, 13.5, 17.5, 21.5, 25.5, 29.5, 33.5, 37.5, 41.5, 42.0, 42.0
        ]
    );
    assert_eq!(log[10], sent(41.5, "CANCEL"));
    assert_eq!(log[11], told(42.0, Event::CancelTimedOut { client, user: 7 }));
    assert_eq!(log[12], told(42.0, Event::ClientTerminated { client, user: 7 }));
    assert!(bench.table.is_idle());
}

#[test]
fn an_invite_still_silent_64_t1_after_its_answered_cancel_counts_as_cancelled() {
    let mut bench = Bench::new(Transport::Tcp);
    let client = bench.start_client("INVITE");
    bench.answer(180, "INVITE");
    bench.table.cancel(client, None, bench.now);
    bench.answer(200, "CANCEL");

    assert_eq!(
        bench.run(secs(60)),
        [
            sent(0.0, "INVITE"),
            sent(0.0, "CANCEL"),
            told(32.0, Event::CancelTimedOut { client, user: 7 }),
            told(32.0, Event::ClientTerminated { client, user: 7 }),
        ]
    );
}

#[test]
fn a_2xx_that_crosses_the_cancel_is_delivered() {
    let mut bench = Bench::new(Transport::Udp);
    let client = bench.start_client("INVITE");
    bench.answer(180, "INVITE");
    bench.table.cancel(client, None, bench.now);

    assert_eq!(bench.answer(200, "INVITE"), delivered(client));
    assert_eq!(bench.answer(481, "CANCEL"), Matched::Absorbed);
    let log = bench.run(secs(60));
    assert_eq!(
        log.last(),
        Some(&told(32.0, Event::ClientTerminated { client, user: 7 }))
    );
}

#[test]
fn the_answer_to_a_cancel_is_absorbed_after_the_invite_is_over() {
    let mut bench = Bench::new(Transport::Tcp);
    let client = bench.start_client("INVITE");
    bench.answer(180, "INVITE");
    bench.table.cancel(client, None, bench.now);

    assert_eq!(bench.answer(487, "INVITE"), delivered(client));
    assert_eq!(bench.answer(200, "CANCEL"), Matched::Absorbed);
    assert_eq!(bench.table.len(), 0);
}

#[test]
fn a_cancel_that_cannot_be_sent_counts_as_expired() {
    let mut bench = Bench::new(Transport::Tcp);
    let client = bench.start_client("INVITE");
    bench.answer(180, "INVITE");
    bench.run(secs(1));
    bench.table.cancel(client, None, bench.now);
    let origin = bench.table.poll_transmit().unwrap().origin.unwrap();

    bench.table.fail(origin, bench.now);

    assert_eq!(
        bench.run(secs(60)),
        [
            told(1.0, Event::CancelTimedOut { client, user: 7 }),
            told(1.0, Event::ClientTerminated { client, user: 7 }),
        ]
    );
}
