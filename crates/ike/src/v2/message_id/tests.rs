//! Windows of one, from both sides.

use adit_crypto::SeededRng;

use super::*;

const SCHEDULE: Retransmission = Retransmission {
    first: Duration::from_millis(500),
    longest: Duration::from_secs(4),
    transmissions: 4,
};

#[expect(clippy::disallowed_methods, reason = "any instant will do as the origin of the test")]
fn start() -> Instant {
    Instant::now()
}

fn datagrams(octet: u8) -> Datagrams {
    vec![vec![octet; 40]]
}

/// CHECKLIST B01, B11: the same octets at growing distances, then no more.
#[test]
fn a_request_is_repeated_with_back_off_and_then_given_up() {
    let (mut rng, begin) = (SeededRng::new(7), start());
    let mut requests = Requests::new(0);
    requests.sent(datagrams(1), SCHEDULE, begin, &mut rng);

    let mut waits = Vec::new();
    let mut now = begin;
    let gave_up = loop {
        let due = requests.poll_timeout().unwrap();
        waits.push(due - now);
        assert_eq!(requests.handle_timeout(due - Duration::from_millis(1), &mut rng), Due::Nothing);
        now = due;
        match requests.handle_timeout(now, &mut rng) {
            Due::Repeat(again) => assert_eq!(again, datagrams(1)),
            Due::GaveUp { transmissions, .. } => break transmissions == 4,
            Due::Nothing => panic!("it was due"),
        }
    };

    assert!(gave_up && requests.is_idle() && requests.poll_timeout().is_none());
    assert_eq!(waits.len(), 4);
    for (wait, sent) in waits.iter().zip(1..) {
        let plain = SCHEDULE.wait_after(sent);
        assert!(*wait >= plain && *wait <= plain * 9 / 8, "{wait:?} after {sent}");
    }
}

/// CHECKLIST B02, B09, B13, B16.
#[test]
fn only_the_awaited_response_ends_a_request() {
    let (mut rng, now) = (SeededRng::new(7), start());
    let mut requests = Requests::new(5);
    assert!(!requests.expects(5));
    requests.sent(datagrams(1), SCHEDULE, now, &mut rng);
    assert!(!requests.is_idle());
    assert!(requests.expects(5) && !requests.expects(4) && !requests.expects(6));
    requests.answered();
    assert!(requests.is_idle() && !requests.expects(5));
    assert_eq!((requests.next_id(), requests.poll_timeout()), (Some(6), None));
}

/// RFC 7296 §2.6: IKE_SA_INIT with a cookie keeps message id 0.
#[test]
fn a_replaced_request_keeps_its_number() {
    let (mut rng, now) = (SeededRng::new(7), start());
    let mut requests = Requests::new(0);
    requests.sent(datagrams(1), SCHEDULE, now, &mut rng);
    requests.sent(datagrams(2), SCHEDULE, now, &mut rng);
    assert_eq!((requests.in_flight(), requests.next_id()), (Some(0), Some(1)));
    let due = requests.poll_timeout().unwrap();
    assert_eq!(requests.handle_timeout(due, &mut rng), Due::Repeat(&datagrams(2)));
}

/// RFC 7296 §2.2: the IKE SA is closed before message ids wrap.
#[test]
fn message_ids_do_not_wrap() {
    assert_eq!(Requests::new(u32::MAX - 1).next_id(), Some(u32::MAX - 1));
    assert_eq!(Requests::new(u32::MAX).next_id(), None);
}

/// RFC 7296 §2.2: the last message id protects from replays like any other.
#[test]
fn the_last_message_id_is_taken_once() {
    let mut responses = Responses::new(u32::MAX);
    assert_eq!(responses.classify(u32::MAX, &[0xa0], None), Incoming::New);
    responses.begin(&[0xa0]);
    assert_eq!(responses.classify(u32::MAX, &[0xa0], None), Incoming::Drop);
    responses.answered(vec![vec![1]]);
    assert_eq!(responses.classify(u32::MAX, &[0xa0], None), Incoming::Repeated(&[vec![1]]));
    assert_eq!(responses.classify(u32::MAX, &[0xff], None), Incoming::RepeatedIfAuthentic);
}

fn answered(response: u8) -> Responses {
    let mut responses = Responses::new(0);
    responses.begin(&[0xa0]);
    responses.answered(vec![vec![response], vec![response + 1]]);
    responses
}

/// CHECKLIST B05, B06, B17.
#[test]
fn the_last_request_is_answered_from_the_cache_and_older_ones_not_at_all() {
    let mut responses = answered(1);
    assert_eq!(responses.expected(), 1);
    let again = [vec![1], vec![2]];
    assert_eq!(responses.classify(0, &[0xa0], None), Incoming::Repeated(&again));
    responses.begin(&[0xa1]);
    responses.answered(vec![vec![3]]);
    assert_eq!(responses.classify(0, &[0xa0], None), Incoming::Drop);
    assert_eq!(responses.classify(1, &[0xa1], None), Incoming::Repeated(&[vec![3]]));
}

#[test]
fn requests_outside_the_window_are_dropped() {
    let responses = answered(1);
    assert_eq!(responses.classify(1, &[1], None), Incoming::New);
    assert_eq!(responses.classify(2, &[1], None), Incoming::Drop);
    assert_eq!(responses.classify(u32::MAX, &[1], None), Incoming::Drop);
}

#[test]
fn a_request_being_worked_on_is_not_taken_twice() {
    let mut responses = Responses::new(0);
    responses.begin(&[0xa0]);
    assert_eq!(responses.under_way(), Some(0));
    assert_eq!(responses.classify(0, &[0xa0], None), Incoming::Drop);
}

//= https://www.rfc-editor.org/rfc/rfc7383#section-2.6.1
//= type=test
//# that event MUST only trigger a retransmission of the response message
//# (fragmented or not) if the Fragment Number field in the received
//# fragment is set to 1; otherwise, it MUST be ignored.
/// CHECKLIST P03, P05: fragments, and the whole message beside them.
#[test]
fn only_the_first_fragment_repeats_a_response() {
    let responses = answered(1);
    let again = [vec![1], vec![2]];
    assert_eq!(responses.classify(0, &[0xa0], Some(1)), Incoming::Repeated(&again));
    assert_eq!(responses.classify(0, &[0xa0], Some(2)), Incoming::Piece);
    assert_eq!(responses.classify(0, &[0xff], Some(1)), Incoming::RepeatedIfAuthentic);
}

/// CHECKLIST N07: the peer may say that it is elsewhere as often as it likes: a long request is begun anew for
/// that once, a short one each time.
#[test]
fn a_long_request_follows_the_peers_word_once() {
    let (mut rng, now) = (SeededRng::new(7), start());
    let mut requests = Requests::new(0);
    assert!(!requests.may_follow());
    for (octets, follows) in [(40, [true; 3]), (600, [true, false, false])] {
        requests.sent(vec![vec![0; octets]; 2], SCHEDULE, now, &mut rng);
        assert_eq!([(); 3].map(|()| requests.may_follow()), follows);
        requests.answered();
    }
}
