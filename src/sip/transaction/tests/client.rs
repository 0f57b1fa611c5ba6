//! Client transactions in the table: RFC 3261 §17.1.

use super::*;

#[test]
fn an_unanswered_invite_goes_out_at_doubled_intervals_and_times_out_at_32_s() {
    let mut bench = Bench::new(Transport::Udp);
    let client = bench.start_client("INVITE");

    assert_eq!(
        bench.run(secs(60)),
        [
            sent(0.0, "INVITE"),
            sent(0.5, "INVITE"),
            sent(1.5, "INVITE"),
            sent(3.5, "INVITE"),
            sent(7.5, "INVITE"),
            sent(15.5, "INVITE"),
            sent(31.5, "INVITE"),
            told(32.0, Event::TimedOut { client, user: 7 }),
            told(32.0, Event::ClientTerminated { client, user: 7 }),
        ]
    );
    assert!(bench.table.is_idle());
}

#[test]
fn an_unanswered_request_goes_out_at_intervals_up_to_t2_and_times_out_at_32_s() {
    let mut bench = Bench::new(Transport::Udp);
    let client = bench.start_client("OPTIONS");

    let log = bench.run(secs(60));

    let times: Vec<f64> = log.iter().map(|(at, _)| *at).collect();
    assert_eq!(
        times,
        [0.0, 0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5, 32.0, 32.0]
    );
    assert_eq!(log[11], told(32.0, Event::TimedOut { client, user: 7 }));
    assert!(bench.table.is_idle());
}

#[test]
fn a_provisional_response_slows_the_retransmissions_of_a_request_to_t2() {
    let mut bench = Bench::new(Transport::Udp);
    let client = bench.start_client("OPTIONS");
    bench.run(secs(1));

    assert_eq!(bench.answer(100, "OPTIONS"), delivered(client));

    let times: Vec<f64> = bench.run(secs(40)).iter().map(|(at, _)| *at).collect();
    assert_eq!(times, [1.5, 5.5, 9.5, 13.5, 17.5, 21.5, 25.5, 29.5, 32.0, 32.0]);
}

#[test]
fn over_tcp_nothing_is_sent_again() {
    for method in ["INVITE", "OPTIONS"] {
        let mut bench = Bench::new(Transport::Tcp);
        let client = bench.start_client(method);
        assert_eq!(
            bench.run(secs(60)),
            [
                sent(0.0, method),
                told(32.0, Event::TimedOut { client, user: 7 }),
                told(32.0, Event::ClientTerminated { client, user: 7 }),
            ]
        );
    }
}

#[test]
fn a_response_is_delivered_once_and_its_copies_are_absorbed_until_timer_k() {
    let mut bench = Bench::new(Transport::Udp);
    let client = bench.start_client("OPTIONS");

    assert_eq!(bench.answer(200, "OPTIONS"), delivered(client));
    assert_eq!(bench.answer(200, "OPTIONS"), Matched::Absorbed);
    assert_eq!(
        bench.run(secs(6)),
        [
            sent(0.0, "OPTIONS"),
            told(0.0, Event::ClientTerminated { client, user: 7 })
        ]
    );
    assert_eq!(bench.answer(200, "OPTIONS"), Matched::Unmatched);
}

#[test]
fn a_busy_is_acknowledged_each_time_it_comes_and_delivered_once() {
    let mut bench = Bench::new(Transport::Udp);
    let client = bench.start_client("INVITE");

    assert_eq!(bench.answer(100, "INVITE"), delivered(client));
    assert_eq!(bench.answer(486, "INVITE"), delivered(client));
    assert_eq!(bench.answer(486, "INVITE"), Matched::Absorbed);
    assert_eq!(bench.answer(180, "INVITE"), Matched::Absorbed);
    assert_eq!(
        bench.run(secs(60)),
        [
            sent(0.0, "INVITE"),
            sent(0.0, "ACK"),
            sent(0.0, "ACK"),
            told(0.0, Event::ClientTerminated { client, user: 7 }),
        ]
    );
}

#[test]
fn copies_of_a_busy_are_acknowledged_until_timer_d() {
    let mut bench = Bench::new(Transport::Udp);
    bench.start_client("INVITE");
    bench.answer(486, "INVITE");
    bench.run(Duration::from_millis(31_999));

    assert_eq!(bench.answer(200, "INVITE"), Matched::Absorbed);
    assert_eq!(bench.answer(486, "OPTIONS"), Matched::Unmatched);
    assert_eq!(bench.answer(486, "ACK"), Matched::Unmatched);
    assert_eq!(bench.answer(486, "INVITE"), Matched::Absorbed);
    assert_eq!(bench.run(Duration::from_millis(1)), [sent(31.999, "ACK")]);
    assert_eq!(bench.answer(486, "INVITE"), Matched::Unmatched);
    assert!(bench.table.is_idle());
}

#[test]
fn an_ack_that_cannot_be_sent_is_not_sent_again() {
    let mut bench = Bench::new(Transport::Udp);
    bench.start_client("INVITE");
    bench.answer(486, "INVITE");
    let origin = std::iter::from_fn(|| bench.table.poll_transmit())
        .last()
        .unwrap()
        .origin;

    bench.table.fail(origin.unwrap(), bench.now);

    assert_eq!(bench.answer(486, "INVITE"), Matched::Unmatched);
}

#[test]
fn over_tcp_the_acknowledged_transaction_is_over_at_once() {
    let mut bench = Bench::new(Transport::Tcp);
    let client = bench.start_client("INVITE");

    assert_eq!(bench.answer(486, "INVITE"), delivered(client));
    assert_eq!(
        bench.run(secs(0)),
        [
            sent(0.0, "INVITE"),
            sent(0.0, "ACK"),
            told(0.0, Event::ClientTerminated { client, user: 7 }),
        ]
    );
    assert!(bench.table.is_idle());
}

#[test]
fn every_2xx_is_delivered_until_timer_m() {
    let mut bench = Bench::new(Transport::Tcp);
    let client = bench.start_client("INVITE");

    assert_eq!(bench.answer(200, "INVITE"), delivered(client));
    bench.run(secs(31));
    assert_eq!(bench.answer(200, "INVITE"), delivered(client));
    assert_eq!(
        bench.run(secs(2)),
        [told(32.0, Event::ClientTerminated { client, user: 7 })]
    );
    assert_eq!(bench.answer(200, "INVITE"), Matched::Unmatched);
}

#[test]
fn a_response_is_matched_by_branch_and_method() {
    let mut bench = Bench::new(Transport::Udp);
    let client = bench.start_client("INVITE");
    let branch = bench.branch.clone();

    for (branch, method) in [
        (branch.clone(), "OPTIONS"),
        (branch.clone(), "CANCEL"),
        (branch.clone(), "ACK"),
        (branch.replace("z9hG4bK", "z9hG4bk"), "INVITE"),
        (format!("{branch}0"), "INVITE"),
        (branch[..branch.len() - 1].to_owned(), "INVITE"),
        ("z9hG4bK000000000000000000000000".to_owned(), "INVITE"),
    ] {
        bench.branch = branch;
        assert_eq!(
            bench.answer(180, method),
            Matched::Unmatched,
            "{} {method}",
            bench.branch
        );
    }
    bench.branch = format!("{branch}-1a2b");
    assert_eq!(bench.answer(180, "INVITE"), delivered(client));
}

#[test]
fn a_request_that_cannot_be_sent_is_unreachable() {
    let mut bench = Bench::new(Transport::Tcp);
    let client = bench.start_client("INVITE");
    let origin = bench.table.poll_transmit().unwrap().origin.unwrap();

    bench.table.fail(origin, bench.now);
    bench.table.fail(origin, bench.now);

    assert_eq!(
        bench.run(secs(60)),
        [
            told(0.0, Event::Unreachable { client, user: 7 }),
            told(0.0, Event::ClientTerminated { client, user: 7 }),
        ]
    );
}

#[test]
fn a_reserved_client_can_be_given_back() {
    let mut bench = Bench::new(Transport::Udp);
    let (client, _) = bench.table.create_client(Kind::Invite, 1).unwrap();
    bench.table.release_client(client);
    assert!(bench.table.is_idle());
    let target = bench.target();
    assert!(!bench.table.send_request(client, Bytes::new(), target, bench.now));
}

#[test]
fn a_lost_connection_fails_what_was_not_answered_and_leaves_what_rings() {
    let mut bench = Bench::new(Transport::Tcp);
    let ringing = bench.start_client("INVITE");
    bench.answer(180, "INVITE");
    let silent = bench.start_client("INVITE");

    bench.table.connection_lost(ringing, bench.now);
    bench.table.connection_lost(silent, bench.now);

    assert_eq!(
        bench.run(secs(0))[2..],
        [
            told(
                0.0,
                Event::Unreachable {
                    client: silent,
                    user: 7
                }
            ),
            told(
                0.0,
                Event::ClientTerminated {
                    client: silent,
                    user: 7
                }
            ),
        ]
    );
    assert!(bench.table.has_provisional(ringing));
}
