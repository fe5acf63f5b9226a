//! Quick modes of IKEv1 between two endpoints: several networks, what is in a proposal, how long it holds,
//! long messages in pieces.

use std::time::Duration;

use adit_db::{Connection, LifetimeBounds, LimitSpec, ProposalSpec};
use adit_ike::{Command, EndpointConfig, Event, FragmentOctets};

use super::common::{Pair, Peer, selector};
use super::{QUICK_MODE, exchange, up_with, v1_connections};

/// Networks on each side, as the left end and the right end have them.
fn with_networks(left: [&[&str]; 2], right: [&[&str]; 2]) -> [Connection; 2] {
    let mut connections = v1_connections();
    for (connection, [local, remote]) in connections.iter_mut().zip([left, right]) {
        let child = &mut connection.children[0];
        child.local_ts = local.iter().map(|text| selector(text)).collect();
        child.remote_ts = remote.iter().map(|text| selector(text)).collect();
    }
    connections
}

const OURS: &[&str] = &["10.1.0.0/24", "10.3.0.0/24", "2001:db8:1::/48"];
const THEIRS: &[&str] = &["10.2.0.0/24", "10.4.0.0/24", "10.6.0.0/24", "2001:db8:2::/48"];

/// Our network and the peer's of each child that carries traffic.
fn carried(peer: &Peer) -> Vec<(String, String)> {
    let established = peer.established();
    let children = established.iter().flat_map(|info| &info.children);
    let current = children.filter(|child| child.state == adit_ike::ChildSaState::Installed);
    let mut all: Vec<_> = current
        .map(|child| (child.local_ts[0].to_string(), child.remote_ts[0].to_string()))
        .collect();
    all.sort();
    all
}

fn assert_no_bad_events(pair: &Pair) {
    let is_bad = |event: &&Event| {
        matches!(event, Event::ChildDown { .. } | Event::IkeDown { .. } | Event::Failed(_))
    };
    let bad: Vec<_> = pair.left.events.iter().chain(&pair.right.events).filter(is_bad).collect();
    assert!(bad.is_empty(), "{bad:?}");
}

/// CHECKLIST U06: each pair of networks has a quick mode, several of them at once, each with IVs of its
/// own; the command is done when all are there, and all are renewed.
#[test]
fn each_pair_of_networks_has_a_quick_mode() {
    let mut pair = Pair::new(Default::default(), with_networks([OURS, THEIRS], [THEIRS, OURS]));
    let request = pair.left.initiate(pair.now);
    // Six of IPv4 and one of IPv6: all begin before any of them is answered.
    let asked = std::cell::Cell::new(0);
    while pair.left.children.is_empty() {
        assert!(pair.deliver(|octets| {
            asked.set(asked.get() + usize::from(exchange(octets) == QUICK_MODE));
            true
        }));
    }
    assert_eq!(asked.get(), 2 * 7);
    pair.run();
    assert_eq!(pair.left.done.get(&request), Some(&Ok(())), "{:?}", pair.left.failures());
    assert_eq!((pair.left.children.len(), pair.right.children.len()), (7, 7));
    let before = carried(&pair.left);
    assert_eq!(before.len(), 7);
    assert!(before.contains(&("10.3.0.0/24".to_owned(), "10.6.0.0/24".to_owned())));

    pair.run_for(Duration::from_hours(5));
    pair.run_for(Duration::from_mins(2));
    assert_eq!(carried(&pair.left), before);
    assert_eq!(carried(&pair.right).len(), 7);
    assert_no_bad_events(&pair);
    let rekeys =
        pair.left.events.iter().filter(|event| matches!(event, Event::ChildRekeyed { .. }));
    assert!(rekeys.count() >= 7 * 4);
}

/// Where the peer has not all of the pairs those that it has are up, and the operator hears of the rest.
#[test]
fn the_pairs_that_both_have_are_up() {
    let connections = with_networks([&OURS[..1], &THEIRS[..2]], [&THEIRS[..1], &OURS[..1]]);
    let mut pair = Pair::new(Default::default(), connections);
    let request = pair.left.initiate(pair.now);
    pair.run_for(Duration::from_secs(2));
    let failure = pair.left.done[&request].clone().unwrap_err();
    assert_eq!(failure.reason.code(), Some(301));
    assert_eq!((pair.left.children.len(), pair.right.children.len()), (1, 1));

    // The peer learns of the other network.
    let [_, right] = with_networks([&OURS[..1], &THEIRS[..2]], [&THEIRS[..2], &OURS[..1]]);
    pair.right.command(Command::Load(std::sync::Arc::new(right)), pair.now);
    pair.run_for(Duration::from_secs(5));
    let request = pair.left.initiate(pair.now);
    pair.run_for(Duration::from_secs(5));
    assert_eq!(pair.left.done.get(&request), Some(&Ok(())));
    assert_eq!((pair.left.children.len(), pair.right.children.len()), (2, 2));
}

/// A pair that the peer deletes alone comes back where it is kept up, and the others stay.
#[test]
fn a_pair_comes_back_alone() {
    let mut connections = with_networks([OURS, THEIRS], [THEIRS, OURS]);
    connections[0].children[0] = connections[0].children[0].clone().kept(adit_db::Keep::Up);
    let mut pair = Pair::new(Default::default(), connections);
    pair.run_for(Duration::from_secs(5));
    assert_eq!(pair.left.children.len(), 7);
    let before: Vec<_> = pair.left.children.keys().copied().collect();
    let gone = *pair.right.children.keys().nth(3).unwrap();
    let request = pair.right.request();
    pair.right.command(Command::TerminateChild { id: gone, request }, pair.now);
    pair.run_for(Duration::from_mins(2));
    assert_eq!((pair.left.children.len(), pair.right.children.len()), (7, 7));
    let kept = pair.left.children.keys().filter(|id| before.contains(id)).count();
    assert_eq!(kept, 6);
}

/// CHECKLIST U16: AH alone, and sequence numbers of 64 bits where both want them.
#[test]
fn ah_and_long_sequence_numbers_are_negotiated() {
    let mut connections = v1_connections();
    for connection in &mut connections {
        connection.children[0].proposals = ProposalSpec::ah_list("sha256-modp2048").unwrap();
    }
    up_with(connections).assert_one_tunnel();
    for (left, right, esn) in [
        ("aes256gcm16-esn", "aes256gcm16-esn-noesn", Some(true)),
        ("aes128-sha256-noesn-esn", "aes128-sha256-esn", Some(true)),
        ("aes256gcm16-esn-noesn", "aes256gcm16-noesn", Some(false)),
        ("aes256gcm16-esn", "aes256gcm16", None),
    ] {
        let mut connections = v1_connections();
        connections[0].children[0].proposals = ProposalSpec::esp_list(left).unwrap();
        connections[1].children[0].proposals = ProposalSpec::esp_list(right).unwrap();
        let mut pair = Pair::new(Default::default(), connections);
        pair.left.initiate(pair.now);
        pair.run();
        let [left_sa, right_sa] =
            [&pair.left, &pair.right].map(|peer| peer.children.values().next().map(|sa| sa.esn));
        assert_eq!((left_sa, right_sa), (esn, esn), "{left} {right}");
    }
}

/// CHECKLIST U16: compression is agreed on in a bundle, with CPIs of both ends, if both want it; else there
/// is none.
#[test]
fn compression_is_negotiated() {
    for (left, right) in [(true, true), (true, false), (false, true), (false, false)] {
        let mut connections = v1_connections();
        connections[0].children[0].compress = left;
        connections[1].children[0].compress = right;
        let mut pair = up_with(connections);
        pair.assert_one_tunnel();
        let [ours, theirs] =
            [&pair.left, &pair.right].map(|peer| peer.children.values().next().unwrap().ipcomp);
        assert_eq!(ours.is_some(), left && right);
        assert_eq!(
            ours.map(|ours| (ours.cpi_in, ours.cpi_out)),
            theirs.map(|theirs| (theirs.cpi_out, theirs.cpi_in))
        );
        let id = *pair.left.children.keys().next().unwrap();
        pair.left.command(Command::RekeyChild(id), pair.now);
        pair.run_for(Duration::from_mins(2));
        pair.assert_one_tunnel();
    }
}

fn kilobytes(amount: u64) -> LimitSpec {
    LimitSpec { hard: amount * 1_024, ..LimitSpec::NONE }
}

/// docs/lifetimes.md, rules 1, 4, 8 and 10: kilobytes are offered, the less of both ends is what both have,
/// and the SA is renewed before both ways to count them.
#[test]
fn kilobytes_are_negotiated() {
    for (left, right, both) in [
        (100_000, 0, Some(100_000)),
        (0, 50_000, Some(50_000)),
        (100_000, 50_000, Some(50_000)),
        (50_000, 100_000, Some(50_000)),
        (0, 0, None),
    ] {
        let mut connections = v1_connections();
        connections[0].children[0].lifetime.octets = kilobytes(left);
        connections[1].children[0].lifetime.octets = kilobytes(right);
        let pair = up_with(connections);
        let [left_sa, right_sa] =
            [&pair.left, &pair.right].map(|peer| peer.children.values().next().unwrap().lifetime);
        let octets = both.map(|kilobytes: u64| kilobytes * 1_024);
        assert_eq!((left_sa.hard.octets, right_sa.hard.octets), (octets, octets), "{left} {right}");
        // The left end has the lower address.
        let soft = |percent: u64| both.map(|kilobytes| kilobytes * 1_000 / 100 * percent);
        assert_eq!((left_sa.soft.octets, right_sa.soft.octets), (soft(85), soft(95)));
    }
}

/// docs/lifetimes.md, rule 9: the end with the lower address renews first, so that the other need not.
#[test]
fn the_lower_address_renews_first() {
    for lower_begins in [true, false] {
        let mut pair = Pair::new(Default::default(), v1_connections());
        if lower_begins {
            pair.left.initiate(pair.now);
        } else {
            pair.right.initiate(pair.now);
        }
        pair.run();
        let [left, right] = [&pair.left, &pair.right].map(|peer| peer.established()[0].clone());
        assert!(left.rekey_at < right.rekey_at, "phase 1");
        assert!(left.children[0].rekey_at < right.children[0].rekey_at, "child");
        pair.run_for(Duration::from_hours(12));
        let by_left = pair.left.established()[0].initiator;
        assert!(by_left, "the left end has renewed phase 1");
        assert_no_bad_events(&pair);
    }
}

/// docs/lifetimes.md, rules 4 and 5: with `strict` what is outside of the bounds is refused; without, it is
/// taken and lives by the most.
#[test]
fn bounds_are_for_the_strict() {
    let with_bounds = |strict, child_seconds| {
        let mut connections = v1_connections();
        connections[0].children[0].lifetime.seconds = LimitSpec::from_soft(7_200);
        connections[1].lifetime_rule.strict = strict;
        connections[1].lifetime_rule.child_seconds = child_seconds;
        let mut pair = Pair::new(Default::default(), connections);
        pair.left.initiate(pair.now);
        pair.run();
        let child = pair.right.children.values().next();
        child.map(|sa| sa.lifetime.hard.time.unwrap().as_secs())
    };
    let bounds = |least, most| LifetimeBounds { least, most };
    assert_eq!(with_bounds(false, bounds(0, 1_800)), Some(1_800));
    assert_eq!(with_bounds(true, bounds(0, 1_800)), None);
    assert_eq!(with_bounds(false, bounds(10_000, 0)), Some(3_960));
    assert_eq!(with_bounds(true, bounds(10_000, 20_000)), None);
    assert_eq!(with_bounds(true, bounds(600, 20_000)), Some(7_920));
}

/// CHECKLIST U04: an initiator that loses everything in the middle of a quick mode begins anew, and has one
/// tunnel.
#[test]
fn an_initiator_restarts_half_way() {
    for messages in 6..9 {
        let mut pair = Pair::new(Default::default(), v1_connections());
        pair.left.initiate(pair.now);
        let count = std::cell::Cell::new(0);
        while pair.deliver(|_| count.replace(count.get() + 1) < messages) {}
        pair.left.restart(EndpointConfig::default());
        pair.left.children.clear();
        pair.left.outbound.clear();
        let [left, _] = v1_connections();
        pair.left.command(Command::Load(std::sync::Arc::new(left)), pair.now);
        let request = pair.left.initiate(pair.now);
        pair.run_for(Duration::from_secs(90));
        assert_eq!(pair.left.done.get(&request), Some(&Ok(())), "after {messages} messages");
        pair.assert_one_tunnel();
    }
}

/// CHECKLIST T17: what is longer than a datagram goes in pieces if both ends take them, and in one if not;
/// a piece may be lost.
#[test]
fn long_messages_go_in_pieces() {
    let many = "aes256-aes192-aes128-camellia256-camellia128-sha512-sha384-sha256-sha1-modp2048";
    let small = || EndpointConfig {
        fragment_octets: FragmentOctets { v4: 700, v6: 700 },
        ..EndpointConfig::default()
    };
    for (left, right, lost) in [(true, true, 99), (true, true, 0), (true, false, 99)] {
        let mut connections = v1_connections();
        for (connection, takes) in connections.iter_mut().zip([left, right]) {
            connection.fragmentation = takes;
            connection.children[0].proposals = ProposalSpec::esp_list(many).unwrap();
        }
        let mut pair = Pair::new([small(), small()], connections);
        let request = pair.left.initiate(pair.now);
        let (pieces, longest) = (std::cell::Cell::new(0), std::cell::Cell::new(0));
        let passes = |octets: &[u8]| {
            if exchange(octets) == QUICK_MODE {
                longest.set(longest.get().max(octets.len()));
            }
            // The payload of a fragment.
            octets[16] != 132 || pieces.replace(pieces.get() + 1) != lost
        };
        while pair.deliver(passes) {}
        pair.run_for(Duration::from_secs(30));
        assert_eq!(pair.left.done.get(&request), Some(&Ok(())), "{:?}", pair.left.failures());
        pair.assert_one_tunnel();
        assert_eq!(pieces.get() > 1, left && right);
        assert_eq!(longest.get() <= 700, left && right, "{}", longest.get());
    }
}

/// CHECKLIST U09: a delete that is lost is said once more.
#[test]
fn a_lost_delete_is_said_again() {
    let mut pair = up_with(v1_connections());
    let id = *pair.left.children.keys().next().unwrap();
    let request = pair.left.request();
    pair.left.command(Command::TerminateChild { id, request }, pair.now);
    while pair.deliver(|_| false) {}
    assert_eq!((pair.left.children.len(), pair.right.children.len()), (0, 1));
    pair.run_for(Duration::from_secs(4));
    assert_eq!((pair.left.children.len(), pair.right.children.len()), (0, 0));
}

/// A phase 1 that the peer has deleted, which nobody has heard, does not hold up for ever what comes after it:
/// who has no answer on it begins another one, and children that are there go on.
#[test]
fn a_phase_1_without_answers_is_left() {
    let without_dpd =
        || v1_connections().map(|one| Connection { dpd_delay: Duration::ZERO, ..one });
    for keeps_child in [true, false] {
        let mut pair = up_with(without_dpd());
        let id = pair.right.established()[0].id;
        let request = pair.right.request();
        pair.right.command(Command::TerminateIke { id, request }, pair.now);
        for _ in 0..8 {
            while pair.deliver(|_| false) {}
            pair.right.timeout(pair.now);
            pair.now += Duration::from_secs(4);
        }
        assert!(pair.right.established().is_empty());
        let child = *pair.left.children.keys().next().unwrap();
        let request = pair.left.request();
        pair.left.command(
            match keeps_child {
                true => Command::RekeyChild(child),
                false => Command::TerminateChild { id: child, request },
            },
            pair.now,
        );
        let request = (!keeps_child).then(|| pair.left.initiate(pair.now));
        pair.run_for(Duration::from_mins(10));
        if let Some(request) = request {
            assert!(pair.left.done.contains_key(&request));
        }
        pair.left.initiate(pair.now);
        pair.run_for(Duration::from_mins(4));
        pair.assert_one_tunnel();
    }
}

/// A child that the configuration has no more does not come about, though it was asked for before.
#[test]
fn what_is_not_configured_any_more_is_not_made() {
    let mut pair = Pair::new(Default::default(), v1_connections());
    pair.left.initiate(pair.now);
    let count = std::cell::Cell::new(0);
    while pair.deliver(|_| count.replace(count.get() + 1) < 7) {}
    let answer = |pair: &Pair| pair.right.children.len();
    assert_eq!((pair.left.children.len(), answer(&pair)), (0, 1));
    let [mut left, _] = v1_connections();
    left.children.clear();
    pair.left.command(Command::Load(std::sync::Arc::new(left)), pair.now);
    pair.run_for(Duration::from_secs(60));
    assert_eq!((pair.left.children.len(), answer(&pair)), (0, 0));
}
