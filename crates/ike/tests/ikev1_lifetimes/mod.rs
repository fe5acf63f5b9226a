//! RESPONDER-LIFETIME between two endpoints of IKEv1: what `docs/lifetimes.md` says, on the wire.

use std::time::Duration;

use adit_db::{Connection, ProposalSpec};
use adit_ike::{ChildSaState, Command, Event};

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

/// CHECKLIST U13, docs/lifetimes.md, rules 4, 6 and 8: the responder lives by its own limits and says so, the initiator
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

fn with_ike_kilobytes(left: u64, right: u64) -> [Connection; 2] {
    let mut connections = v1_connections();
    connections[0].lifetime_rule.ike_own_kilobytes = left;
    connections[1].lifetime_rule.ike_own_kilobytes = right;
    connections
}

/// docs/lifetimes.md, rules 1, 4, 6 and 8 to 10: kilobytes of phase 1 are offered, the less of both ends is
/// what both have, and what only the responder knows it says.
#[test]
fn kilobytes_of_phase_1_are_negotiated() {
    for (left, right, both, messages) in [
        (100_000, 0, Some(100_000), 9),
        (0, 50_000, Some(50_000), 10),
        (100_000, 50_000, Some(50_000), 10),
        (50_000, 100_000, Some(50_000), 9),
        (0, 0, None, 9),
    ] {
        let pair = up_with(with_ike_kilobytes(left, right));
        let volumes = [&pair.left, &pair.right].map(|peer| peer.established()[0].volume);
        let limits = volumes.map(|volume| volume.map(|volume| (volume.soft, volume.hard)));
        // The left end has the lower address.
        let of = |percent: u64| {
            both.map(|kilobytes: u64| {
                (Some(kilobytes * 1_000 / 100 * percent), Some(kilobytes * 1_024))
            })
        };
        assert_eq!(limits, [of(85), of(95)], "{left} {right}");
        assert_eq!(pair.delivered, messages, "{left} {right}");
        if let [Some(ours), Some(theirs)] = volumes {
            assert_eq!(ours.octets, theirs.octets, "both have seen the same messages");
            assert!((100..5_000).contains(&ours.octets), "{ours:?}");
        }
    }
}

/// docs/lifetimes.md, rule 9: a phase 1 is renewed by what it has protected, before it ends, and nothing else
/// notices.
#[test]
fn a_phase_1_is_renewed_by_volume() {
    let mut connections = with_ike_kilobytes(1_024, 0);
    for connection in &mut connections {
        connection.rekey_time = Duration::from_hours(24 * 30);
        // Each quick mode offers as much as fits.
        let suites = "aes256-aes192-aes128-camellia256-camellia128-sha512-sha384-sha256-esn-noesn";
        connection.children[0].proposals = ProposalSpec::esp_list(suites).unwrap();
    }
    let mut pair = up_with(connections);
    let first = pair.left.established()[0].spi_i;
    let mut last = 0;
    let mut rounds = 0;
    while pair.left.established()[0].spi_i == first {
        assert!(rounds < 1_500, "{last} octets");
        rounds += 1;
        last = pair.left.established()[0].volume.unwrap().octets;
        let children = &pair.left.established()[0].children;
        let id = children.iter().find(|one| one.state == ChildSaState::Installed).unwrap().id;
        pair.left.command(Command::RekeyChild(id), pair.now);
        pair.run_for(Duration::from_secs(10));
        if pair.left.established().len() > 1 {
            break;
        }
    }
    let soft = 1_024 * 850;
    assert!((soft - 10_000..soft + 10_000).contains(&last), "{last} octets in {rounds} rounds");
    pair.run_for(Duration::from_mins(10));
    pair.assert_one_tunnel();
    let renewed = &pair.left.established()[0];
    assert_ne!(renewed.spi_i, first);
    assert!(renewed.volume.unwrap().octets < 50_000);
    let is_down = |event: &&Event| {
        matches!(event, Event::ChildDown { .. } | Event::IkeDown { .. } | Event::Failed(_))
    };
    let bad: Vec<_> = pair.left.events.iter().chain(&pair.right.events).filter(is_down).collect();
    assert!(bad.is_empty(), "{bad:?}");
}
