//! IKE fragmentation on a path that drops large datagrams (RFC 7383).

#![cfg(test)]

use std::time::Duration;

use adit_ike::FragmentOctets;
use adit_sim::{Faults, Seed, Setup};

fn small(setup: &mut Setup) {
    for config in [&mut setup.left_config, &mut setup.right_config] {
        config.fragment_octets = FragmentOctets { v4: 576, v6: 1_280 };
    }
}

/// The ML-KEM key of IKE_INTERMEDIATE needs three datagrams of 576 octets.
/// CHECKLIST P01, PM-36.
#[test]
fn large_messages_pass_a_small_path_in_fragments() {
    let mut setup = Setup::new(Seed(7));
    small(&mut setup);
    let pair = setup.pair().up();
    assert!(pair.left.established()[0].fragmentation);
    assert!(pair.ladder().to_string().contains("fragment 3/3"), "{}", pair.ladder());
}

/// CHECKLIST P02.
#[test]
fn without_fragmentation_nothing_is_cut() {
    let mut setup = Setup::new(Seed(7));
    small(&mut setup);
    setup.right.fragmentation = false;
    let pair = setup.pair().up();
    assert!(!pair.ladder().to_string().contains("fragment"), "{}", pair.ladder());
}

/// RFC 7383 §2.6: fragments come in any order and are lost one by one.
/// CHECKLIST P03.
#[test]
fn fragments_survive_loss_and_reordering() {
    for seed in 0..10 {
        let mut setup = Setup::new(Seed(seed));
        small(&mut setup);
        setup.faults = Faults {
            loss_percent: 15,
            duplicate_percent: 15,
            delay_min: Duration::from_millis(5),
            delay_max: Duration::from_millis(200),
        };
        let mut pair = setup.pair();
        pair.left.initiate(pair.child);
        let up = pair.run_until(Duration::from_secs(120), |pair| {
            pair.left.child_sas().len() == 1
                && pair.left.child_sas() == pair.right.child_sas().mirrored()
        });
        assert!(up, "seed {seed}\n{}", pair.ladder());
    }
}
