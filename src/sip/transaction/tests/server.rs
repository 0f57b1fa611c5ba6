//! Server transactions in the table: RFC 3261 §17.2.

use super::*;

#[test]
fn a_retransmitted_request_gets_the_last_response_again_until_timer_j() {
    let mut bench = Bench::new(Transport::Udp);
    let server = bench.start_server("REGISTER");

    assert_eq!(bench.receive("REGISTER"), Received::Absorbed);
    assert!(bench.respond(server, 200));
    assert_eq!(bench.receive("REGISTER"), Received::Absorbed);
    assert!(!bench.respond(server, 500));
    assert_eq!(
        bench.run(secs(60)),
        [
            sent(0.0, "200"),
            sent(0.0, "200"),
            told(0.0, Event::ServerTerminated { server }),
        ]
    );
    assert!(bench.table.is_idle());
    assert_eq!(bench.receive("REGISTER"), Received::New);
}

#[test]
fn what_is_answered_at_once_is_answered_again_until_timer_j() {
    let mut bench = Bench::new(Transport::Udp);
    let (key, target) = (bench.keys.server_key(&bench.request("REGISTER")), bench.target());
    let payload = bench.response(200, "REGISTER").bytes().clone();
    assert!(bench.table.answer(&key, target, payload, bench.now));
    bench.run(Duration::from_millis(31_999));
    assert_eq!(bench.receive("REGISTER"), Received::Absorbed);
    assert_eq!((bench.table.servers(), bench.table.poll_event()), (1, None));
    assert_eq!(bench.run(Duration::from_millis(1)), [sent(31.999, "200")]);
    assert_eq!(bench.receive("REGISTER"), Received::New);
    assert!(bench.table.is_idle());
}

#[test]
fn over_tcp_what_is_answered_at_once_is_not_kept() {
    let mut bench = Bench::new(Transport::Tcp);
    let (key, target) = (bench.keys.server_key(&bench.request("REGISTER")), bench.target());
    let payload = bench.response(200, "REGISTER").bytes().clone();
    assert!(bench.table.answer(&key, target, payload, bench.now));
    assert_eq!(bench.run(secs(0)), [sent(0.0, "200")]);
    assert!(bench.table.is_idle());
}

#[test]
fn what_waits_for_copies_counts_against_the_limit_and_is_answered_without_room() {
    let mut bench = Bench::new(Transport::Udp);
    bench.table.set_settings(Settings {
        max: 1,
        ..Settings::default()
    });
    let server = bench.start_server("REGISTER");
    bench.respond(server, 200);
    let (key, target) = (bench.keys.server_key(&bench.request("OPTIONS")), bench.target());
    let payload = bench.response(200, "OPTIONS").bytes().clone();

    assert!(!bench.table.answer(&key, target.clone(), payload.clone(), bench.now));
    assert_eq!(bench.receive("OPTIONS"), Received::New);
    bench.now += secs(32);
    assert!(bench.table.answer(&key, target, payload, bench.now));
    assert_eq!(bench.receive("OPTIONS"), Received::Absorbed);
}

#[test]
fn over_tcp_an_answered_request_is_forgotten_at_once() {
    let mut bench = Bench::new(Transport::Tcp);
    let server = bench.start_server("REGISTER");
    assert!(bench.respond(server, 200));
    assert_eq!(
        bench.run(secs(0)),
        [sent(0.0, "200"), told(0.0, Event::ServerTerminated { server })]
    );
    assert!(bench.table.is_idle());
}

#[test]
fn a_408_to_a_request_other_than_invite_is_silence() {
    let mut bench = Bench::new(Transport::Udp);
    let server = bench.start_server("OPTIONS");

    assert!(!bench.respond(server, 408));
    assert_eq!(bench.receive("OPTIONS"), Received::Absorbed);
    assert!(!bench.respond(server, 200));
    assert_eq!(bench.run(secs(60)), [told(0.0, Event::ServerTerminated { server })]);
}

#[test]
fn no_answer_ends_a_request_in_silence() {
    let mut bench = Bench::new(Transport::Tcp);
    let server = bench.start_server("OPTIONS");
    bench.table.respond_never(server, bench.now);
    assert_eq!(bench.run(secs(0)), [told(0.0, Event::ServerTerminated { server })]);
}

#[test]
fn a_busy_goes_out_at_intervals_up_to_t2_until_its_ack_and_the_ack_is_absorbed() {
    let mut bench = Bench::new(Transport::Udp);
    let server = bench.start_server("INVITE");
    bench.respond(server, 486);
    assert_eq!(
        bench.run(secs(10)),
        [
            sent(0.0, "486"),
            sent(0.5, "486"),
            sent(1.5, "486"),
            sent(3.5, "486"),
            sent(7.5, "486"),
        ]
    );

    assert_eq!(bench.receive("INVITE"), Received::Absorbed);
    assert_eq!(bench.receive("ACK"), Received::Ack);
    assert_eq!(bench.receive("ACK"), Received::Ack);
    assert_eq!(bench.receive("INVITE"), Received::Absorbed);
    assert_eq!(
        bench.run(secs(60)),
        [sent(10.0, "486"), told(10.0, Event::ServerTerminated { server })]
    );
}

#[test]
fn a_busy_without_ack_goes_out_until_timer_h() {
    let mut bench = Bench::new(Transport::Udp);
    let server = bench.start_server("INVITE");
    bench.respond(server, 486);

    let log = bench.run(secs(60));

    let times: Vec<f64> = log.iter().map(|(at, _)| *at).collect();
    assert_eq!(
        times,
        [0.0, 0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5, 32.0]
    );
    assert_eq!(log.last(), Some(&told(32.0, Event::ServerTerminated { server })));
}

#[test]
fn an_accepted_invite_absorbs_its_copies_and_passes_every_2xx_and_ack() {
    let mut bench = Bench::new(Transport::Udp);
    let server = bench.start_server("INVITE");

    assert!(bench.respond(server, 180));
    assert_eq!(bench.receive("INVITE"), Received::Absorbed);
    assert!(bench.respond(server, 200));
    assert_eq!(bench.receive("INVITE"), Received::Absorbed);
    assert!(bench.respond(server, 200));
    assert!(!bench.respond(server, 486));
    assert_eq!(bench.receive("ACK"), Received::AckFor2xx(Some(server)));
    assert_eq!(
        bench.run(secs(60)),
        [
            sent(0.0, "180"),
            sent(0.0, "180"),
            sent(0.0, "200"),
            sent(0.0, "200"),
            told(32.0, Event::ServerTerminated { server }),
        ]
    );
    assert!(!bench.respond(server, 200));
}

#[test]
fn an_ack_without_transaction_is_that_of_a_2xx() {
    let mut bench = Bench::new(Transport::Udp);
    assert_eq!(bench.receive("ACK"), Received::AckFor2xx(None));
}

#[test]
fn a_cancel_is_new_and_finds_its_invite() {
    let mut bench = Bench::new(Transport::Udp);
    let request = bench.request("CANCEL");
    let key = bench.keys.server_key(&request);
    assert_eq!(bench.table.find_cancelled(&key, bench.now), Cancelled::Nothing);

    let server = bench.start_server("INVITE");

    assert_eq!(bench.receive("CANCEL"), Received::New);
    assert_eq!(bench.table.find_cancelled(&key, bench.now), Cancelled::Invite(server));
    let invite = bench.keys.server_key(&bench.request("INVITE"));
    assert_eq!(bench.table.find_cancelled(&invite, bench.now), Cancelled::Nothing);

    bench.respond(server, 486);
    bench.receive("ACK");
    assert_eq!(bench.table.find_cancelled(&key, bench.now), Cancelled::Over);
    bench.run(secs(5));
    assert_eq!(bench.table.find_cancelled(&key, bench.now), Cancelled::Nothing);
}

#[test]
fn a_response_that_cannot_be_sent_is_told_and_can_be_redirected() {
    let mut bench = Bench::new(Transport::Tcp);
    let server = bench.start_server("INVITE");
    bench.respond(server, 486);
    let origin = bench.table.poll_transmit().unwrap().origin.unwrap();

    bench.table.fail(origin, bench.now);
    bench.transport = Transport::Udp;
    let elsewhere = bench.target();
    assert!(bench.table.redirect(server, elsewhere.clone()));

    assert_eq!(bench.table.poll_event(), Some(Event::ReplyUnreachable { server }));
    let again = bench.table.poll_transmit().unwrap();
    assert_eq!(again.target, elsewhere);
    assert!(again.payload.starts_with(b"SIP/2.0 486 "));
    assert!(!bench.table.redirect(server, elsewhere), "it goes there already");
    assert_eq!(bench.table.poll_transmit(), None);
}

#[test]
fn the_limit_refuses_and_ended_transactions_make_room() {
    let mut bench = Bench::new(Transport::Tcp);
    bench.table.set_settings(Settings {
        max: 1,
        ..Settings::default()
    });
    let server = bench.start_server("REGISTER");
    let target = bench.target();
    let key = bench.keys.server_key(&bench.request("OPTIONS"));

    assert_eq!(
        bench
            .table
            .create_server(&key, Kind::NonInvite, target.clone(), bench.now),
        None
    );
    bench.respond(server, 200);
    assert!(
        bench
            .table
            .create_server(&key, Kind::NonInvite, target, bench.now)
            .is_some()
    );
    for user in 0..16 {
        assert!(bench.table.create_client(Kind::Invite, user).is_some());
    }
    assert!(bench.table.create_client(Kind::Invite, 16).is_none());
}
