//! What one end of IKEv1 has and the other has not: deletes are not answered, the last message of phase 1 may
//! be lost for good, and several phase 1s with one peer are none of its business to agree on.

use std::cell::Cell;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use adit_db::{ChildSaId, Connection, Encap};
use adit_ike::{ChildSaState, Command, EndpointConfig, Event, Input, PacketEvent};
use adit_wire::esp::Spi;

use super::common::{LEFT, Pair, Peer, RIGHT, reversed};
use super::{INFORMATIONAL, MAIN_MODE, QUICK_MODE, exchange, up, up_with, v1_connections};

/// The left one hears nothing of a child that the right one deletes. What that sent on is gone there.
fn half_gone() -> (Pair, Spi) {
    let mut pair = up();
    let (id, child) = pair.right.children.iter().next().unwrap();
    let (id, spi) = (*id, child.spi_in);
    let request = pair.right.request();
    pair.right.command(Command::TerminateChild { id, request }, pair.now);
    for _ in 0..2 {
        // It says so twice.
        assert_eq!(pair.right.sent.len(), 1);
        pair.right.sent.clear();
        pair.now += Duration::from_secs(3);
        pair.right.timeout(pair.now);
    }
    assert_eq!((pair.left.children.len(), pair.right.children.len()), (1, 0));
    (pair, spi)
}

fn packet_under(spi: Spi, port: u16) -> Input {
    Input::Packet(PacketEvent::UnknownSpi { spi, remote: SocketAddr::new(LEFT, port) })
}

/// CHECKLIST M10, U09: who sends into nothing hears that there is nothing, inside the phase 1 that is there;
/// about what is there nobody says anything, and of a flood of packets little comes.
#[test]
fn who_sends_into_nothing_hears_of_it() {
    // Plain ESP has no port.
    for port in [0, 500] {
        let (mut pair, spi) = half_gone();
        pair.right.give(packet_under(spi, port), pair.now);
        pair.right.timeout(pair.now);
        assert_eq!(pair.right.sent.len(), 1);
        pair.run();
        assert!(pair.left.children.is_empty());
        assert_eq!((pair.left.established().len(), pair.right.established().len()), (1, 1));
    }

    let mut pair = up();
    let spi = pair.right.children.values().next().unwrap().spi_in;
    pair.right.give(packet_under(spi, 0), pair.now);
    for stranger in 1_000..2_000 {
        pair.right.give(packet_under(Spi(stranger), 0), pair.now);
    }
    let elsewhere = PacketEvent::UnknownSpi { spi: Spi(9), remote: SocketAddr::new(RIGHT, 0) };
    pair.right.give(Input::Packet(elsewhere), pair.now);
    pair.right.timeout(pair.now);
    assert_eq!(pair.right.sent.len(), 8);
    pair.run();
    pair.assert_one_tunnel();
}

/// CHECKLIST U09: a delete is said again however long either end is away, until the peer shows that it is there.
#[test]
fn a_delete_outlasts_sleep() {
    let awake = Duration::from_secs(20);
    let connections = v1_connections().map(|one| Connection { dpd_delay: awake, ..one });
    let mut pair = up_with(connections);
    let id = *pair.left.children.keys().next().unwrap();
    let request = pair.left.request();
    pair.left.command(Command::TerminateChild { id, request }, pair.now);
    for pause in [3, 6, 12, 24, 300, 300, 300] {
        pair.left.sent.clear();
        pair.now += Duration::from_secs(pause);
        pair.left.timeout(pair.now);
    }
    pair.left.sent.clear();
    assert_eq!(pair.right.children.len(), 1);
    pair.run_for(Duration::from_secs(150));
    assert!(pair.right.children.is_empty());
    assert_eq!((pair.left.established().len(), pair.right.established().len()), (1, 1));
}

/// CHECKLIST U09, U11: a delete counts on each phase 1 with the peer, whichever has the child here.
#[test]
fn a_delete_counts_on_any_phase_1() {
    let mut pair = up();
    let (id, now) = (*pair.right.children.keys().next().unwrap(), pair.now);
    let request = pair.right.request();
    pair.right.command(Command::TerminateChild { id, request }, now);
    let delete = pair.right.sent.pop_front().unwrap();
    // It is late, and meets another phase 1 that has taken the child over.
    let ike = pair.right.established()[0].id;
    pair.right.command(Command::RekeyIke(ike), now);
    while pair.deliver(|octets| exchange(octets) == MAIN_MODE) {}
    assert_eq!((pair.left.established().len(), pair.left.children.len()), (2, 1));
    pair.left.datagram(reversed(delete.0), &delete.1, now);
    assert!(pair.left.children.is_empty());
    // The one that nobody has deleted goes, as the peer has the other.
    pair.left.initiate(now);
    pair.run_for(Duration::from_secs(200));
    pair.assert_one_tunnel();
}

/// CHECKLIST T09, U11: the last message of a phase 1 never comes. Who has sent it goes on with the one before,
/// with the children, when the other turns out to be nobody's.
#[test]
fn a_phase_1_that_the_peer_does_not_have_gives_back_what_it_had() {
    let mut connections = v1_connections();
    connections[0].dpd_delay = Duration::from_secs(20);
    connections[1].dpd_delay = Duration::from_secs(20);
    let mut pair = up_with(connections);
    let spis = pair.left.established()[0].spi_i;
    let ike = pair.left.established()[0].id;
    pair.left.command(Command::RekeyIke(ike), pair.now);
    // Nothing of the right one that is sealed reaches the left one while that asks.
    let end = pair.now + Duration::from_secs(40);
    while pair.now < end {
        let is_last = |octets: &[u8]| exchange(octets) == MAIN_MODE && octets[19] & 1 == 1;
        let from_left: Vec<_> = pair.left.sent.drain(..).collect();
        for (path, octets) in from_left {
            pair.right.datagram(reversed(path), &octets, pair.now);
        }
        let from_right: Vec<_> = pair.right.sent.drain(..).collect();
        for (path, octets) in from_right.into_iter().filter(|(_, octets)| !is_last(octets)) {
            pair.left.datagram(reversed(path), &octets, pair.now);
        }
        pair.now += Duration::from_millis(100);
        pair.left.timeout(pair.now);
        pair.right.timeout(pair.now);
    }
    assert_eq!(pair.right.established().len(), 2);
    pair.run_for(Duration::from_secs(180));
    pair.assert_one_tunnel();
    assert_eq!(pair.left.established()[0].spi_i, spis);
    assert_eq!(pair.right.established()[0].children.len(), 1);
}

/// The right one has lost everything, the left one renews its phase 1 with it, and what that says of its loss
/// is lost. What the right one calls itself in clear is `name`.
fn half_forgotten(name: &[u8; 10]) -> Pair {
    let mut pair = up();
    pair.run_for(Duration::from_secs(10));
    pair.right.restart(EndpointConfig::default());
    pair.right.children.clear();
    pair.right.outbound.clear();
    let [_, right] = v1_connections();
    pair.right.command(Command::Load(Arc::new(right)), pair.now);
    let ike = pair.left.established()[0].id;
    pair.left.command(Command::RekeyIke(ike), pair.now);
    loop {
        let renamed = |(path, mut octets): (_, Vec<u8>)| {
            if let Some(at) = octets.windows(10).position(|some| some == b"Adit IKEv1") {
                octets[at..at + 10].copy_from_slice(name);
            }
            (path, octets)
        };
        pair.left.sent = pair.left.sent.drain(..).map(renamed).collect();
        if !pair.deliver(|octets| exchange(octets) == MAIN_MODE) {
            break;
        }
    }
    assert_eq!((pair.left.established().len(), pair.right.established().len()), (1, 1));
    assert_eq!((pair.left.children.len(), pair.right.children.len()), (1, 0));
    pair
}

/// CHECKLIST T18, RFC 2407 §4.6.3.3: a responder that has lost everything says so until it is heard. Nobody
/// looks whether a child is still there as long as its peer gives signs of life.
#[test]
fn that_all_is_forgotten_is_said_again() {
    let mut pair = half_forgotten(b"Adit IKEv1");
    let forgotten = pair.left.children.values().next().unwrap().spi_in;
    pair.run_for(Duration::from_secs(4));
    assert!(pair.left.children.values().all(|child| child.spi_in != forgotten));
    pair.left.initiate(pair.now);
    pair.run_for(Duration::from_secs(60));
    // What has come up since is none of what was forgotten.
    pair.assert_one_tunnel();
}

/// The same to somebody else, who may take it for the end of all children: once there is one it is not said.
#[test]
fn that_all_is_forgotten_is_not_said_beside_a_child() {
    let informational = |pair: &Pair| {
        pair.right.sent.iter().filter(|(_, octets)| exchange(octets) == INFORMATIONAL).count()
    };
    for has_child in [false, true] {
        let mut pair = half_forgotten(b"Somebody..");
        if has_child {
            let id = *pair.left.children.keys().next().unwrap();
            pair.left.command(Command::RekeyChild(id), pair.now);
            while pair.deliver(|octets| exchange(octets) == QUICK_MODE) {}
            assert_eq!(pair.right.children.len(), 1);
        }
        pair.now += Duration::from_secs(3);
        pair.right.timeout(pair.now);
        assert_eq!(informational(&pair), usize::from(!has_child));
    }
}

/// CHECKLIST U06, U11: our last message of a renewal is lost, and with it the phase 1 that would say it again.
/// The peer ends the new child, which it was never sure of, before we end the old one: both stay on that.
#[test]
fn the_peer_may_never_have_had_the_new_child() {
    let mut pair = up();
    let spi = pair.left.children.values().next().unwrap().spi_in;
    let (child, now) = (*pair.left.children.keys().next().unwrap(), pair.now);
    pair.left.command(Command::RekeyChild(child), now);
    for _ in 0..2 {
        assert!(pair.deliver(|octets| exchange(octets) == QUICK_MODE));
    }
    assert_eq!(pair.left.sent.len(), 1);
    pair.left.sent.clear();
    let ike = pair.left.established()[0].id;
    pair.left.command(Command::RekeyIke(ike), now);
    pair.run();
    assert_eq!((pair.left.children.len(), pair.right.children.len()), (2, 2));

    pair.now += Duration::from_secs(30);
    pair.right.timeout(pair.now);
    while let Some((path, octets)) = pair.right.sent.pop_front() {
        pair.left.datagram(reversed(path), &octets, pair.now);
    }
    let children = pair.left.established()[0].children.clone();
    assert_eq!(children.iter().map(|child| child.spi_in).collect::<Vec<_>>(), [spi]);
    let is_down = |event: &Event| matches!(event, Event::ChildDown { .. });
    assert!(!pair.left.events.iter().any(is_down));
    pair.run_for(Duration::from_secs(200));
    pair.assert_one_tunnel();
}

/// CHECKLIST U06, U11: the last message of a renewal is lost, and the next phase 1 stays with one end alone. That one
/// ends the new child; the peer, which hears nothing of that, is not told in the phase 1 before that it has come about.
#[test]
fn a_child_that_is_gone_is_not_confirmed() {
    let mut pair = up();
    let child = *pair.left.children.keys().next().unwrap();
    pair.left.command(Command::RekeyChild(child), pair.now);
    for _ in 0..2 {
        assert!(pair.deliver(|octets| exchange(octets) == QUICK_MODE));
    }
    pair.left.sent.clear();
    let ike = pair.right.established()[0].id;
    pair.right.command(Command::RekeyIke(ike), pair.now);
    for _ in 0..5 {
        assert!(pair.deliver(|octets| exchange(octets) == MAIN_MODE));
    }
    let (id, request) = (*pair.left.children.keys().next_back().unwrap(), pair.left.request());
    assert_ne!(id, child);
    pair.left.command(Command::TerminateChild { id, request }, pair.now);
    pair.left.sent.clear();

    pair.now += Duration::from_secs(2);
    pair.right.timeout(pair.now);
    let repeated: Vec<_> = pair.right.sent.drain(..).collect();
    assert!(repeated.iter().any(|(_, octets)| exchange(octets) == QUICK_MODE));
    for (path, octets) in repeated {
        pair.left.datagram(reversed(path), &octets, pair.now);
    }
    assert!(!pair.left.sent.iter().any(|(_, octets)| exchange(octets) == QUICK_MODE));
}

/// The children that carry traffic at one end, with the SPIs of what comes in.
fn carried(peer: &Peer) -> Vec<(ChildSaId, Spi)> {
    let children = peer.established().into_iter().flat_map(|ike| ike.children);
    let current = children.filter(|child| child.state == ChildSaState::Installed);
    current.map(|child| (child.id, child.spi_in)).collect()
}

/// CHECKLIST U06, U11: of two children that may carry on for one that the peer deletes it is the one that the peer
/// has confirmed, and not the one whose quick mode ended with its phase 1.
#[test]
fn the_peer_goes_on_with_what_it_has_confirmed() {
    let mut pair = up();
    for _ in 0..16 {
        pair.left.command(Command::RekeyChild(carried(&pair.left)[0].0), pair.now);
        pair.run_for(Duration::from_secs(8));
        let (at_left, at_right) = (carried(&pair.left), carried(&pair.right));
        pair.right.command(Command::RekeyChild(at_right[0].0), pair.now);
        let (path, octets) = pair.right.sent.pop_front().unwrap();
        pair.left.datagram(reversed(path), &octets, pair.now);
        pair.left.sent.clear();
        let ike = pair.right.established()[0].id;
        pair.right.command(Command::RekeyIke(ike), pair.now);
        // That the phase 1 before is gone comes last.
        let mut late = Vec::new();
        loop {
            let sent = pair.right.sent.drain(..);
            let (held, sent) = sent.partition(|(_, octets)| exchange(octets) == INFORMATIONAL);
            pair.right.sent = sent;
            late.extend::<VecDeque<_>>(held);
            if !pair.deliver(|_| true) {
                break;
            }
        }
        pair.right.sent.extend(late);
        pair.run();
        if carried(&pair.left) != at_left {
            pair.run_for(Duration::from_secs(200));
            continue;
        }
        let request = pair.right.request();
        pair.right.command(Command::TerminateChild { id: at_right[0].0, request }, pair.now);
        pair.run();
        let theirs = pair.right.children[&carried(&pair.right)[0].0].spi_out;
        let ours: Vec<Spi> = carried(&pair.left).into_iter().map(|(_, spi)| spi).collect();
        assert_eq!(ours, [theirs]);
        return;
    }
    panic!("no renewal was put aside");
}

/// CHECKLIST U09: who ends a child soon after its keys were replaced ends what it had the place of, too.
#[test]
fn nobody_goes_back_to_what_a_child_that_is_ended_had_replaced() {
    for by_left in [true, false] {
        let mut pair = up();
        let child = *pair.left.children.keys().next().unwrap();
        pair.left.command(Command::RekeyChild(child), pair.now);
        pair.run_for(Duration::from_secs(10));
        assert_eq!((pair.left.children.len(), pair.right.children.len()), (2, 2));
        let peer = if by_left { &mut pair.left } else { &mut pair.right };
        let (id, request) = (*peer.children.keys().next_back().unwrap(), peer.request());
        peer.command(Command::TerminateChild { id, request }, pair.now);
        pair.run();
        assert!(pair.left.children.is_empty() && pair.right.children.is_empty());
    }
}

/// CHECKLIST U11: where the peer deletes a phase 1 and what it says of the children is lost, the next phase 1
/// shows that they are gone.
#[test]
fn children_without_a_phase_1_get_one() {
    let mut pair = up();
    let id = pair.right.established()[0].id;
    let request = pair.right.request();
    pair.right.command(Command::TerminateIke { id, request }, pair.now);
    let count = Cell::new(0);
    // The first is about the child, the second about the phase 1.
    let passes = |octets: &[u8]| exchange(octets) == INFORMATIONAL && count.replace(1) == 1;
    while pair.deliver(passes) {}
    assert_eq!((pair.left.children.len(), pair.right.children.len()), (1, 0));
    assert!(pair.left.established().is_empty());
    pair.run_for(Duration::from_secs(20));
    assert!(pair.left.children.is_empty());
    pair.left.initiate(pair.now);
    pair.run_for(Duration::from_secs(1));
    pair.assert_one_tunnel();
}

/// CHECKLIST W08: nobody authenticates what phase 1 says about NATs. Where it is spoilt on its way, either way,
/// both ends come to one belief before the first quick mode.
#[test]
fn a_nat_that_only_one_end_sees_is_agreed_on() {
    for place in [3, 4] {
        let mut pair = Pair::new(Default::default(), v1_connections());
        let request = pair.left.initiate(pair.now);
        let mut number = 0;
        loop {
            let from_left = pair.left.sent.pop_front();
            let (by_left, message) = match from_left {
                Some(message) => (true, message),
                None => match pair.right.sent.pop_front() {
                    Some(message) => (false, message),
                    None => break,
                },
            };
            number += 1;
            let (path, mut octets) = message;
            if number == place {
                // The last octet is one of the hash of the sender's address.
                *octets.last_mut().unwrap() ^= 1;
            }
            let peer = if by_left { &mut pair.right } else { &mut pair.left };
            peer.datagram(reversed(path), &octets, pair.now);
        }
        assert_eq!(pair.left.done.get(&request), Some(&Ok(())), "{place}");
        pair.assert_one_tunnel();
        let udp = place == 4;
        for peer in [&mut pair.left, &mut pair.right] {
            assert!(peer.children.values().all(|child| child.encap.udp == udp));
            let id = *peer.children.keys().next().unwrap();
            peer.command(Command::RekeyChild(id), pair.now);
        }
        pair.run_for(Duration::from_secs(200));
        pair.assert_one_tunnel();
    }
    // Who insists on either is asked for nothing else.
    let mut connections = v1_connections();
    connections[1].encap = Encap::Esp;
    up_with(connections).assert_one_tunnel();
}
