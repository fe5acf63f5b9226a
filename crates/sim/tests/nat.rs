//! NAT detection and the move to port 4500 (RFC 7296 §2.23).

#![cfg(test)]

use std::time::Duration;

use adit_db::{
    Connection, ConnectionName, Encap, Engine, HostSpec, Keep, Mobike, Mode, Ports, ProposalSpec,
};
use adit_ike::{Event, FailureReason, Step};
use adit_sim::{Pair, Seed, Setup, Side};

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

/// Two packet engines of ours prefer UDP, and nobody pretends a NAT for it.
#[test]
fn without_a_nat_two_adits_agree_on_udp() {
    let pair = Pair::established(Seed(7));
    assert!(udp(&pair));
    let (left, right) = (&pair.left.established()[0], &pair.right.established()[0]);
    assert_eq!((left.local.port(), left.remote.port()), (4500, 4500));
    assert_eq!((right.local.port(), right.remote.port()), (4500, 4500));
    for side in [left, right] {
        assert!(!side.nat_local && !side.nat_remote);
    }
    assert_eq!(pair.left.child_sas(), pair.right.child_sas().mirrored());
}

/// Either side can decline: by `encap = "esp"`, by an engine that gains nothing, by AH among its
/// proposals, by a tunnel around it, and by transport mode, which UDP serves worse.
#[test]
fn who_gains_nothing_by_udp_declines_it() {
    let decline: [fn(&mut Connection); 5] = [
        |connection| connection.encap = Encap::Esp,
        |connection| connection.engine = Engine::Kernel,
        |connection| {
            let ah = ProposalSpec::ah_list("sha256").unwrap();
            connection.children[0].proposals.extend(ah);
        },
        |connection| connection.over = Some(ConnectionName::new("outer").unwrap()),
        |connection| {
            let mut other = connection.children[0].clone();
            other.name = "transport".parse().unwrap();
            other.mode = Mode::Transport;
            connection.children.push(other);
        },
    ];
    for (case, decline) in decline.into_iter().enumerate() {
        for left_declines in [false, true] {
            let mut setup = Setup::new(Seed(7));
            // With MOBIKE it is port 4500 all the same.
            setup.left.mobike = Mobike::No;
            decline(if left_declines { &mut setup.left } else { &mut setup.right });
            let pair = setup.pair().up();
            assert!(!udp(&pair), "case {case}, left: {left_declines}");
            assert_eq!(pair.left.established()[0].remote.port(), 500);
            assert_eq!(pair.left.child_sas(), pair.right.child_sas().mirrored());
        }
    }
}

/// What was agreed on holds for all keys that follow.
#[test]
fn the_agreement_outlives_rekeying() {
    let mut pair = Pair::established(Seed(7));
    pair.right.rekey_ike();
    pair.run_until_idle();
    pair.left.rekey_child(pair.child);
    pair.run_until_idle();
    assert!(udp(&pair));
    assert_eq!(pair.left.child_sas(), pair.right.child_sas().mirrored());
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
/// CHECKLIST N04.
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

/// In IKE_SA_INIT nobody knows which connection it will be, so it takes all that may be meant.
#[test]
fn udp_is_agreed_on_for_all_connections_that_may_be_meant() {
    let other = |decline: fn(&mut Connection)| {
        let setup = Setup::new(Seed(7));
        // The first by name, and the one for another peer at the same address.
        let own = setup.right.clone();
        let mut other = own.clone();
        other.name = ConnectionName::new("another").unwrap();
        other.pad.remote_id = "another.example".parse().unwrap();
        decline(&mut other);
        let mut pair = setup.pair();
        pair.right.load(other);
        pair.right.load(own);
        let pair = pair.up();
        assert_eq!(pair.left.child_sas(), pair.right.child_sas().mirrored());
        udp(&pair)
    };
    assert!(other(|_| {}));
    assert!(!other(|other| other.engine = Engine::Kernel));
    assert!(!other(|other| other.encap = Encap::Esp));
    // These are not meant: other proposals, another address.
    assert!(other(|other| {
        other.engine = Engine::Kernel;
        other.proposals = ProposalSpec::ike_list("camellia256-sha256-modp3072").unwrap();
    }));
    assert!(other(|other| {
        other.engine = Engine::Kernel;
        other.remote_addresses = vec!["198.51.100.77".parse().unwrap()];
    }));
}

/// Where UDP does not pass to port 4500, the attempt after the one that failed does not prefer it.
#[test]
fn a_blocked_port_is_avoided_by_the_next_attempt() {
    let mut setup = Setup::new(Seed(7));
    setup.left.children[0].keep = Keep::Up;
    let mut pair = setup.pair();
    pair.network.blocked_port = Some(4500);
    let is_up = pair.run_until(Duration::from_secs(600), |pair| !pair.left.child_sas().is_empty());
    assert!(is_up, "{}", pair.ladder());
    let blocked = |reason: &FailureReason| matches!(reason, FailureReason::NatPortBlocked { .. });
    assert_eq!(pair.left.failures().filter(|reason| blocked(reason)).count(), 1);
    assert!(!udp(&pair));
    assert_eq!(pair.left.established()[0].remote.port(), 500);
}

/// A configuration without the preference does not keep what was agreed on with it.
#[test]
fn udp_ends_with_the_preference_for_it() {
    for left_changes in [false, true] {
        let mut setup = Setup::new(Seed(7));
        setup.left.children[0].keep = Keep::Up;
        let mut changed = if left_changes { setup.left.clone() } else { setup.right.clone() };
        let mut pair = setup.pair().up();
        assert!(udp(&pair));
        let mut with_ah = changed.children[0].clone();
        with_ah.name = "with-ah".parse().unwrap();
        with_ah.proposals.extend(ProposalSpec::ah_list("sha256").unwrap());
        with_ah.keep = Keep::Passive;
        changed.children.push(with_ah);
        let side = if left_changes { &mut pair.left } else { &mut pair.right };
        side.load(changed);
        pair.run_for(Duration::from_secs(60));
        assert_eq!(pair.left.established().len(), 1, "{}", pair.ladder());
        assert!(!udp(&pair), "{}", pair.ladder());
    }
}

/// CHECKLIST N09: port 4500 from the first packet, behind a NAT and without one.
#[test]
fn the_first_packet_may_go_to_port_4500() {
    for setup in [Setup::new(Seed(7)), Setup::new(Seed(7)).behind_nat()] {
        let mut setup = setup;
        setup.left.ports = Ports { local: 4_500, remote: 4_500 };
        let mut pair = setup.pair();
        pair.network.blocked_port = Some(500);
        let request = pair.left.initiate(pair.child);
        pair.run_until_idle();
        assert!(matches!(pair.left.result(request), Some(Ok(()))), "{}", pair.ladder());
        assert_eq!(pair.left.established()[0].remote.port(), 4_500);
    }
}

/// CHECKLIST N09: ends that listen at other ports than everybody does. Nothing goes to any other port, whoever
/// sets the tunnel up, rekeys, authenticates anew or moves.
#[test]
fn other_ports_serve_as_well() {
    const LEFT: u16 = 5_501;
    const RIGHT: u16 = 6_501;
    for caller in [Side::Left, Side::Right] {
        let mut setup = Setup::new(Seed(8));
        (setup.left_config.ike_port, setup.left_config.nat_port) = (5_500, LEFT);
        (setup.right_config.ike_port, setup.right_config.nat_port) = (6_500, RIGHT);
        setup.left.ports = Ports { local: LEFT, remote: RIGHT };
        setup.right.ports = Ports { local: RIGHT, remote: LEFT };
        setup.left.local_addresses.clear();
        setup.right.remote_addresses.push(HostSpec::Any);
        let mut pair = setup.pair();
        let child = pair.child;
        pair.network.record();
        let request = pair.peer(caller).initiate(child);
        pair.run_until_idle();
        assert!(matches!(pair.peer(caller).result(request), Some(Ok(()))), "{}", pair.ladder());
        for side in [Side::Left, Side::Right] {
            pair.peer(side).rekey_child(child);
            pair.run_until_idle();
            pair.peer(side).rekey_ike();
            pair.run_for(Duration::from_secs(15));
            pair.peer(side).reauthenticate();
            pair.run_for(Duration::from_secs(15));
        }
        pair.move_to(Side::Left, &["192.0.2.77"]);
        pair.run_for(Duration::from_secs(15));
        let info = &pair.left.established()[0];
        assert_eq!((info.local.port(), info.remote.port()), (LEFT, RIGHT));
        assert!(udp(&pair), "{}", pair.ladder());
        assert_eq!(pair.left.child_sas(), pair.right.child_sas().mirrored());
        for message in pair.network.recorded() {
            let ports = (message.path.local.port(), message.path.remote.port());
            let own = if message.to == Side::Left { (LEFT, RIGHT) } else { (RIGHT, LEFT) };
            assert_eq!(ports, own, "{}", pair.ladder());
        }
    }
}

/// CHECKLIST N09: a NAT hands what comes to a port of its own on to the left side. Who is told that port calls
/// there from port 4500, and all that follows goes there, too.
#[test]
fn a_port_that_a_nat_hands_on_is_called() {
    let setup = Setup::new(Seed(9)).behind_nat();
    let calling = setup.right.clone();
    let mut pair = setup.pair().up();
    let mapped = pair.right.established()[0].remote;
    assert!(mapped.port() != 4_500 && pair.left.established()[0].local.port() == 4_500);
    pair.left.terminate_ike();
    pair.run_until_idle();

    pair.right.load(Connection {
        remote_addresses: vec![HostSpec::Address(mapped.ip())],
        ports: Ports { local: 4_500, remote: mapped.port() },
        ..calling
    });
    pair.network.record();
    let request = pair.right.initiate(pair.child);
    pair.run_until_idle();
    assert!(matches!(pair.right.result(request), Some(Ok(()))), "{}", pair.ladder());
    let before = pair.right.established()[0].spi_i;
    pair.run_for(Duration::from_secs(15));
    pair.right.reauthenticate();
    pair.run_for(Duration::from_secs(15));
    assert_ne!(pair.right.established()[0].spi_i, before, "{}", pair.ladder());
    pair.left.rekey_ike();
    pair.run_for(Duration::from_secs(15));
    pair.left.rekey_child(pair.child);
    pair.run_until_idle();
    let (left, right) = (&pair.left.established()[0], &pair.right.established()[0]);
    assert!(left.nat_local && right.nat_remote && !right.nat_local);
    assert_eq!((right.local.port(), right.remote), (4_500, mapped), "{}", pair.ladder());
    assert!(udp(&pair));
    assert_eq!(pair.left.child_sas(), pair.right.child_sas().mirrored());
    let mut called = pair.network.recorded().iter().filter(|message| message.to == Side::Left);
    assert!(called.all(|message| message.path.local.port() == 4_500), "{}", pair.ladder());
}
