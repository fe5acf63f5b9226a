//! Children of IKEv1 are renewed: by either end, by both at once, and soon after the other
//! (draft-jenkins-ipsec-rekeying-06 §2).

use std::time::Duration;

use adit_ike::{ChildSaState, Command, Event, Input, PacketEvent};

use super::common::Peer;
use super::up;

/// CHECKLIST U06: keys of children are renewed by either side, the old child goes when the new one
/// carries traffic, and packets find one all the time.
#[test]
fn children_are_renewed() {
    for by_left in [true, false] {
        let mut pair = up();
        let old = pair.left.children.values().next().unwrap().spi_in;
        let peer = if by_left { &mut pair.left } else { &mut pair.right };
        let id = *peer.children.keys().next().unwrap();
        peer.command(Command::RekeyChild(id), pair.now);
        pair.run();
        assert_eq!((pair.left.children.len(), pair.right.children.len()), (2, 2));
        pair.run_for(Duration::from_secs(120));
        pair.assert_one_tunnel();
        assert_ne!(pair.left.children.values().next().unwrap().spi_in, old);
        let is_rekey = |event: &Event| matches!(event, Event::ChildRekeyed { .. });
        assert_eq!(pair.left.events.iter().filter(|event| is_rekey(event)).count(), 1);
        assert_eq!(pair.right.events.iter().filter(|event| is_rekey(event)).count(), 1);
    }
}

/// Both sides renew at once: both keep the same child.
#[test]
fn renewals_that_cross_leave_one_child() {
    let mut pair = up();
    let left = *pair.left.children.keys().next().unwrap();
    let right = *pair.right.children.keys().next().unwrap();
    pair.left.command(Command::RekeyChild(left), pair.now);
    pair.right.command(Command::RekeyChild(right), pair.now);
    pair.run_for(Duration::from_secs(200));
    pair.assert_one_tunnel();
}

/// A renewal soon after the peer's may look as if the two had crossed. If the peer thinks otherwise it deletes
/// the child that we keep, and traffic goes on by the other.
#[test]
fn what_was_put_aside_carries_on_where_the_peer_deletes_the_other() {
    let mut pair = up();
    let carries = |peer: &Peer| {
        let established = peer.established();
        let children = established[0].children.iter();
        let current = children.filter(|child| child.state == ChildSaState::Installed);
        current.map(|child| (child.id, child.spi_in)).collect::<Vec<_>>()
    };
    for _ in 0..16 {
        let ours = carries(&pair.left)[0].0;
        pair.left.command(Command::RekeyChild(ours), pair.now);
        pair.run_for(Duration::from_secs(8));
        let (before, at_left) = (carries(&pair.right), carries(&pair.left));
        pair.right.command(Command::RekeyChild(before[0].0), pair.now);
        pair.run_for(Duration::from_secs(8));
        if carries(&pair.left) != at_left {
            pair.run_for(Duration::from_secs(200));
            continue;
        }
        let request = pair.right.request();
        pair.right.command(Command::TerminateChild { id: before[0].0, request }, pair.now);
        pair.run();
        let after = carries(&pair.left);
        assert_eq!(after.len(), 1);
        assert_ne!(after, at_left);
        let is_down = |event: &Event| matches!(event, Event::ChildDown { .. });
        assert!(!pair.left.events.iter().any(is_down));
        return;
    }
    panic!("no renewal was put aside");
}

/// Who asks for new keys has them, however young the peer's child is: what takes the place of that child has
/// not crossed it. Of two ranks each is the greater one some time.
#[test]
fn new_keys_soon_after_the_peers_are_new_keys() {
    let mut pair = up();
    for _ in 0..8 {
        pair.run_for(Duration::from_mins(4));
        let theirs = *pair.left.children.keys().next_back().unwrap();
        pair.left.command(Command::RekeyChild(theirs), pair.now);
        pair.run_for(Duration::from_secs(1));
        let ours = *pair.right.children.keys().next_back().unwrap();
        pair.right.events.clear();
        pair.right.command(Command::RekeyChild(ours), pair.now);
        pair.run_for(Duration::from_secs(1));
        let is_rekey =
            |event: &Event| matches!(event, Event::ChildRekeyed { old, .. } if old.id == ours);
        assert!(pair.right.events.iter().any(is_rekey), "{:?}", pair.right.events);
    }
    pair.run_for(Duration::from_mins(4));
    pair.assert_one_tunnel();
}

/// So has the other end, once packets have shown that the peer had the child whose place is taken.
#[test]
fn both_ends_have_new_keys_soon_after_the_others() {
    let mut pair = up();
    for _ in 0..8 {
        pair.run_for(Duration::from_mins(4));
        let child = *pair.left.children.keys().next_back().unwrap();
        pair.left.command(Command::RekeyChild(child), pair.now);
        pair.run_for(Duration::from_secs(1));
        let [ours, theirs] =
            [&pair.left, &pair.right].map(|peer| *peer.children.keys().next_back().unwrap());
        let event = PacketEvent::Traffic { child: ours };
        pair.left.give(Input::Packet(event), pair.now);
        pair.left.events.clear();
        pair.right.command(Command::RekeyChild(theirs), pair.now);
        pair.run_for(Duration::from_secs(1));
        let is_rekey =
            |event: &Event| matches!(event, Event::ChildRekeyed { old, .. } if old.id == ours);
        assert!(pair.left.events.iter().any(is_rekey), "{:?}", pair.left.events);
    }
    pair.run_for(Duration::from_mins(4));
    pair.assert_one_tunnel();
}
