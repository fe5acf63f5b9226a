//! BEET mode between one host on each side, for which Adits have a notify of their own.

#![cfg(test)]

use adit_db::Mode;
use adit_sim::{Pair, Seed, Setup};

fn setup(left: Mode, right: Mode, networks: [&str; 2]) -> Setup {
    let mut setup = Setup::new(Seed(7));
    let [ours, theirs] = networks.map(|network| vec![network.parse().unwrap()]);
    let sides = [(left, &ours, &theirs), (right, &theirs, &ours)];
    for (side, (mode, local, remote)) in [&mut setup.left, &mut setup.right].into_iter().zip(sides)
    {
        let child = &mut side.children[0];
        child.mode = mode;
        (child.local_ts, child.remote_ts) = (local.clone(), remote.clone());
    }
    setup
}

const HOSTS: [&str; 2] = ["10.1.0.5[udp]", "10.2.0.7[udp]"];

fn modes(pair: &Pair) -> [Mode; 2] {
    [&pair.left, &pair.right].map(|peer| {
        let children = peer.established().into_iter().flat_map(|ike| ike.children);
        let modes: Vec<Mode> = children.map(|child| child.mode).collect();
        assert_eq!(modes.len(), 1, "{}", pair.ladder());
        modes[0]
    })
}

#[test]
fn two_hosts_agree_on_beet_mode() {
    let mut pair = setup(Mode::Beet, Mode::Beet, HOSTS).pair().up();
    assert_eq!(modes(&pair), [Mode::Beet; 2]);
    for left in [true, false] {
        let peer = if left { &mut pair.left } else { &mut pair.right };
        peer.rekey_child(pair.child);
        pair.run_until_idle();
        assert_eq!(modes(&pair), [Mode::Beet; 2]);
    }
}

/// It is a tunnel where one side does not want it, or more than two hosts are meant.
#[test]
fn what_is_not_agreed_on_is_a_tunnel() {
    for (left, right, networks) in [
        (Mode::Beet, Mode::Tunnel, HOSTS),
        (Mode::Tunnel, Mode::Beet, HOSTS),
        (Mode::Beet, Mode::Transport, HOSTS),
        (Mode::Beet, Mode::Beet, ["10.1.0.0/24", "10.2.0.7"]),
        (Mode::Beet, Mode::Beet, ["10.1.0.5", "10.2.0.0-10.2.0.1"]),
    ] {
        let pair = setup(left, right, networks).pair().up();
        assert_eq!(modes(&pair), [Mode::Tunnel; 2], "{left} {right} {networks:?}");
    }
}
