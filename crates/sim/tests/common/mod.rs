//! What several tests look at after children were replaced.

use adit_ike::Event;
use adit_sim::{Pair, Peer};

/// Both sides have one and the same IKE SA with one and the same child.
pub(crate) fn assert_one_tunnel(pair: &Pair) {
    for peer in [&pair.left, &pair.right] {
        assert_eq!(peer.ike_sas().len(), 1, "{}", pair.ladder());
        assert_eq!(peer.established()[0].children.len(), 1, "{}", pair.ladder());
    }
    assert_eq!(pair.left.child_sas().len(), 1, "{}", pair.ladder());
    assert_eq!(pair.left.child_sas(), pair.right.child_sas().mirrored(), "{}", pair.ladder());
}

/// How many such events a side has told.
pub(crate) fn count(peer: &Peer, wanted: fn(&Event) -> bool) -> usize {
    peer.events().iter().filter(|event| wanted(event)).count()
}

/// How many SAs have gone, as listeners were told.
pub(crate) fn downs(peer: &Peer) -> usize {
    count(peer, |event| matches!(event, Event::ChildDown { .. } | Event::IkeDown { .. }))
}

/// A packet passes each way.
pub(crate) fn assert_traffic(pair: &mut Pair) {
    let before = (pair.left.packets_opened, pair.right.packets_opened);
    pair.left.send_packet(pair.child);
    pair.right.send_packet(pair.child);
    pair.run_until_idle();
    let after = (pair.left.packets_opened, pair.right.packets_opened);
    assert_eq!(after, (before.0 + 1, before.1 + 1), "{}", pair.ladder());
}
