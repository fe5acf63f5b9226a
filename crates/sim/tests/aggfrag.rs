//! Child SAs whose packets share ESP packets (RFC 9347 §5).

#![cfg(test)]

use adit_db::{Aggfrag, Engine, Mode, TsSpec, WindowSize};
use adit_sim::{Pair, Seed, Setup, Side};

/// The sides that want it.
fn setup(left: bool, right: bool) -> Setup {
    let mut setup = Setup::new(Seed(7));
    setup.left.children[0].turbo = left;
    setup.right.children[0].turbo = right;
    setup
}

/// What both ends agreed on.
fn agreed(pair: &Pair) -> Option<Aggfrag> {
    let sas = pair.left.child_sas();
    assert_eq!(sas, pair.right.child_sas().mirrored(), "{}", pair.ladder());
    assert_eq!(sas.len(), 1, "{}", pair.ladder());
    let aggfrag = sas.iter().next().unwrap().aggfrag;
    for peer in [&pair.left, &pair.right] {
        assert_eq!(peer.established()[0].children[0].aggfrag, aggfrag);
    }
    aggfrag
}

/// Both sides at their defaults; whoever replaces the child, or both at once, or the IKE SA.
/// CHECKLIST R06.
#[test]
fn two_of_us_share_packets_before_and_after_rekeys() {
    let mut pair = Setup::new(Seed(7)).pair().up();
    let expected = Some(Aggfrag { super_packets: true });
    assert_eq!(agreed(&pair), expected);
    for side in [Side::Left, Side::Right] {
        let child = pair.child;
        pair.peer(side).rekey_child(child);
        pair.run_until_idle();
        assert_eq!(agreed(&pair), expected);
    }
    pair.left.rekey_child(pair.child);
    pair.right.rekey_child(pair.child);
    pair.run_until_idle();
    assert_eq!(agreed(&pair), expected);
    pair.right.rekey_ike();
    pair.run_until_idle();
    assert_eq!(agreed(&pair), expected);
}

//= https://www.rfc-editor.org/rfc/rfc9347#section-5.1
//= type=test
//# If the responder declines the request, the Child SA will be established without
//# AGGFRAG_PAYLOAD payload use enabled.
/// CHECKLIST R06, D17.
#[test]
fn one_side_alone_shares_nothing() {
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

#[test]
fn a_nat_does_not_matter() {
    assert!(agreed(&setup(true, true).behind_nat().pair().up()).is_some());
}

/// Where packets must be alone, for one side at least, they are.
#[test]
fn what_cannot_share_does_not() {
    let with = |change: fn(&mut Setup)| {
        let mut setup = setup(true, true);
        change(&mut setup);
        agreed(&setup.pair().up())
    };
    assert_eq!(with(|setup| setup.left.children[0].compress = true), None);
    assert_eq!(with(|setup| setup.right.children[0].compress = true), None);
    assert_eq!(with(|setup| setup.left.children[0].tfc.padding = 600), None);
    assert_eq!(with(|setup| setup.left.children[0].replay_window = WindowSize::OFF), None);
    assert_eq!(with(|setup| setup.left.over = Some("paris".parse().unwrap())), None);
    assert_eq!(with(|setup| setup.right.engine = Engine::Kernel), None);
    let transport = |setup: &mut Setup| {
        for side in [&mut setup.left, &mut setup.right] {
            side.children[0].mode = Mode::Transport;
            side.children[0].local_ts = vec![TsSpec::DYNAMIC];
            side.children[0].remote_ts = vec![TsSpec::DYNAMIC];
        }
    };
    assert_eq!(with(transport), None);
}
