//! NAT detection and the move to port 4500 (RFC 7296 §2.23).

#![cfg(test)]

use std::time::Duration;

use adit_db::Encap;
use adit_ike::{Event, Step};
use adit_sim::{Pair, Seed, Setup};

fn udp(pair: &Pair) -> bool {
    let sas = pair.left.child_sas();
    sas.len() == 1 && sas.iter().all(|sa| sa.udp)
}

/// CHECKLIST N01.
#[test]
fn behind_a_nat_both_move_to_port_4500() {
    let pair = Setup::new(Seed(7)).behind_nat().pair().up();
    let (left, right) = (&pair.left.established()[0], &pair.right.established()[0]);
    assert!(left.nat_local && !left.nat_remote);
    assert!(!right.nat_local && right.nat_remote);
    assert_eq!((left.local.port(), left.remote.port()), (4500, 4500));
    assert_eq!(right.local.port(), 4500);
    assert_ne!(right.remote.ip(), left.local.ip());
    let answered = pair.left.events().iter().find_map(|event| {
        let Event::Progress { step: Step::Reached { path, .. }, .. } = event else { return None };
        Some(path.remote.port())
    });
    assert_eq!(answered, Some(500), "the port that has answered, not the next one");
    assert!(udp(&pair));
}

#[test]
fn without_a_nat_esp_is_not_encapsulated() {
    let pair = Pair::established(Seed(7));
    assert!(!udp(&pair));
    assert!(!pair.left.established()[0].nat_local);
}

/// CHECKLIST N02.
#[test]
fn encapsulation_can_be_forced_from_either_side() {
    for left_forces in [false, true] {
        let mut setup = Setup::new(Seed(7));
        let forcing = if left_forces { &mut setup.left } else { &mut setup.right };
        forcing.encap = Encap::Udp;
        let pair = setup.pair().up();
        assert!(udp(&pair));
        assert_eq!(pair.left.child_sas(), pair.right.child_sas().mirrored());
    }
}

/// Rekeying works through the NAT, from both sides.
#[test]
fn rekeying_works_through_a_nat() {
    let mut pair = Setup::new(Seed(7)).behind_nat().pair().up();
    pair.right.rekey_child(pair.child);
    pair.run_until_idle();
    pair.right.rekey_ike();
    pair.run_until_idle();
    pair.left.rekey_ike();
    pair.run_until_idle();
    assert_eq!((pair.left.ike_sas().len(), pair.right.ike_sas().len()), (1, 1));
    assert_eq!(pair.left.child_sas(), pair.right.child_sas().mirrored());
    assert!(udp(&pair));
}

/// The NAT forgets its mapping: the next authentic message moves the peer's address.
#[test]
fn a_new_mapping_is_followed() {
    let mut setup = Setup::new(Seed(7)).behind_nat();
    setup.left.dpd_delay = Duration::from_secs(10);
    let mut pair = setup.pair().up();
    let before = pair.right.established()[0].remote;
    pair.network.nat.as_mut().unwrap().forget();
    pair.run_for(Duration::from_secs(60));
    let after = pair.right.established()[0].remote;
    assert_ne!(before, after);
    assert_eq!(pair.left.established().len(), 1);
    pair.right.rekey_child(pair.child);
    pair.run_for(Duration::from_secs(10));
    assert_eq!(pair.left.child_sas(), pair.right.child_sas().mirrored());
}
