//! RESPONDER-LIFETIME between two endpoints of IKEv1: what `docs/lifetimes.md` says, on the wire.

use std::time::Duration;

use adit_db::Connection;
use adit_ike::Event;

use super::common::Pair;
use super::{INFORMATIONAL, exchange, up_with, v1_connections};

/// A responder that lives shorter than it is asked to.
fn short_responder() -> [Connection; 2] {
    let mut connections = v1_connections();
    connections[1].rekey_time = Duration::from_mins(10);
    connections[1].over_time = Duration::from_mins(1);
    connections[1].children[0].lifetime.seconds.hard = 1_000;
    connections
}

/// docs/lifetimes.md, rules 4, 6 and 8: the responder lives by its own limits and says so, the initiator
/// adopts them. Where it has nothing to say it says nothing.
#[test]
fn the_initiator_hears_what_the_responder_lives_by() {
    let pair = up_with(short_responder());
    pair.assert_one_tunnel();
    let (left, right) = (&pair.left.established()[0], &pair.right.established()[0]);
    let end = pair.now + Duration::from_mins(11);
    assert_eq!((left.over_at, right.over_at), (Some(end), Some(end)));
    assert!(left.rekey_at < left.over_at);
    let end = pair.now + Duration::from_secs(1_000);
    assert_eq!((left.children[0].over_at, right.children[0].over_at), (Some(end), Some(end)));
    assert!(left.children[0].rekey_at < Some(end));
    assert_eq!(pair.delivered, 10);

    let [left, right] = short_responder();
    let mut pair = Pair::new(Default::default(), [left, right]);
    pair.right.initiate(pair.now);
    pair.run();
    assert_eq!(pair.delivered, 9);
}

/// docs/lifetimes.md, rule 9: if the notify about phase 1 is lost, the end that lives shorter still renews
/// before; the tunnel is never down.
#[test]
fn a_lost_notify_takes_nothing_down() {
    let mut pair = Pair::new(Default::default(), short_responder());
    let request = pair.left.initiate(pair.now);
    while pair.deliver(|octets| exchange(octets) != INFORMATIONAL) {}
    assert_eq!(pair.left.done.get(&request), Some(&Ok(())));
    let own = pair.left.established()[0].over_at;
    assert!(own > Some(pair.now + Duration::from_hours(1)));

    pair.run_for(Duration::from_hours(2));
    if pair.left.children.len() > 1 {
        // A renewed child has just been replaced, and still takes what is under way.
        pair.run_for(Duration::from_mins(2));
    }
    pair.assert_one_tunnel();
    let is_down = |event: &&Event| {
        matches!(event, Event::ChildDown { .. } | Event::IkeDown { .. } | Event::Failed(_))
    };
    let bad: Vec<_> = pair.left.events.iter().chain(&pair.right.events).filter(is_down).collect();
    assert!(bad.is_empty(), "{bad:?}");
}
