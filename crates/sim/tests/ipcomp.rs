//! Child SAs that compress what they protect (RFC 7296 §2.22, RFC 3173).

#![cfg(test)]

use std::collections::BTreeSet;

use adit_db::{IpComp, Mode, Tfc, TsSpec};
use adit_sim::{Pair, Seed, Setup, Side};
use adit_wire::ipcomp::Cpi;

/// The sides that compress.
fn setup(left: bool, right: bool) -> Setup {
    let mut setup = Setup::new(Seed(7));
    setup.left.children[0].compress = left;
    setup.right.children[0].compress = right;
    setup
}

/// What both ends agreed on, as the left one sees it.
fn agreed(pair: &Pair) -> Option<IpComp> {
    let sas = pair.left.child_sas();
    assert_eq!(sas, pair.right.child_sas().mirrored(), "{}", pair.ladder());
    assert_eq!(sas.len(), 1, "{}", pair.ladder());
    let ipcomp = sas.iter().next().unwrap().ipcomp;
    let info = pair.left.established()[0].children[0].clone();
    assert_eq!(info.ipcomp, ipcomp);
    ipcomp
}

/// CHECKLIST R08: both; new CPIs each time either side replaces the child, also when both do so at
/// once, and the same when the IKE SA is replaced.
#[test]
fn compression_is_negotiated_and_rekeyed() {
    let mut pair = setup(true, true).pair().up();
    let mut seen = BTreeSet::new();
    let mut all_new = |pair: &Pair| {
        let IpComp { cpi_in, cpi_out } = agreed(pair).unwrap();
        for cpi in [cpi_in, cpi_out] {
            assert!(cpi.is_negotiable(), "{cpi:?}");
            assert!(seen.insert(cpi), "{cpi:?} again");
        }
    };
    all_new(&pair);
    for side in [Side::Left, Side::Right] {
        let child = pair.child;
        pair.peer(side).rekey_child(child);
        pair.run_until_idle();
        all_new(&pair);
    }
    pair.left.rekey_child(pair.child);
    pair.right.rekey_child(pair.child);
    pair.run_until_idle();
    all_new(&pair);

    let before = agreed(&pair);
    pair.right.rekey_ike();
    pair.run_until_idle();
    assert_eq!(agreed(&pair), before);
}

/// CHECKLIST R08, D17: a peer that does not compress says nothing, and the child comes up without.
#[test]
fn one_side_alone_does_not_compress() {
    for (left, right) in [(true, false), (false, true), (false, false)] {
        let mut pair = setup(left, right).pair().up();
        assert_eq!(agreed(&pair), None);
        for side in [Side::Left, Side::Right] {
            let child = pair.child;
            pair.peer(side).rekey_child(child);
            pair.run_until_idle();
            assert_eq!(agreed(&pair), None);
        }
    }
}

/// CHECKLIST R08: transport mode, and a NAT.
#[test]
fn transport_mode_and_nat_compress_alike() {
    let pair = setup(true, true).behind_nat().pair().up();
    assert!(agreed(&pair).is_some());

    let mut transport = setup(true, true);
    for side in [&mut transport.left, &mut transport.right] {
        side.children[0].mode = Mode::Transport;
        side.children[0].local_ts = vec![TsSpec::DYNAMIC];
        side.children[0].remote_ts = vec![TsSpec::DYNAMIC];
    }
    let pair = transport.pair().up();
    assert!(agreed(&pair).is_some());
    assert!(pair.left.child_sas().iter().all(|sa| sa.transport));
}

/// Where lengths are hidden, nobody saves on them.
#[test]
fn padding_is_not_compressed() {
    let mut padded = setup(true, true);
    padded.right.children[0].tfc = Tfc { padding: 600, dummies: 0 };
    assert_eq!(agreed(&padded.pair().up()), None);
}

/// Whatever is drawn: what IANA has given away is not used.
#[test]
fn cpis_differ_between_seeds() {
    let mut seen: BTreeSet<Cpi> = BTreeSet::new();
    for seed in 0..16 {
        let mut setup = setup(true, true);
        setup.seed = Seed(seed);
        let IpComp { cpi_in, cpi_out } = agreed(&setup.pair().up()).unwrap();
        seen.extend([cpi_in, cpi_out]);
    }
    assert!(seen.len() > 28 && seen.iter().all(|cpi| cpi.is_negotiable()), "{seen:?}");
}
