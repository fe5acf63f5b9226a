//! Several SAs with the same selectors, one for each resource of the sender: RFC 9611.

#![cfg(test)]

use std::time::Duration;

use adit_db::{ChildConfig, Connection, DscpClass, DscpSet, Keep};
use adit_ike::ChildSaInfo;
use adit_sim::{Child, Pair, Peer, Seed, Setup, Side};

/// Gives a connection's one child so many beside it.
fn divide(connection: &mut Connection, cpus: u16) {
    connection.children[0].cpus = cpus;
    let all = connection.children[0].clone();
    for resource in 0..cpus {
        let class = Some(DscpClass { of: all.name.clone(), code_points: DscpSet::default() });
        let name = format!("{}.cpu{}", all.name, resource + 1).parse().unwrap();
        let resource = Some(resource);
        connection.children.push(ChildConfig { name, class, resource, ..all.clone() });
    }
}

fn setup(seed: u64, left: u16, right: u16) -> Setup {
    let mut setup = Setup::new(Seed(seed));
    divide(&mut setup.left, left);
    divide(&mut setup.right, right);
    setup
}

fn keep_up(connection: &mut Connection) {
    for child in &mut connection.children {
        *child = child.clone().kept(Keep::Up);
    }
}

fn children(peer: &Peer) -> Vec<ChildSaInfo> {
    peer.established().iter().flat_map(|ike| ike.children.clone()).collect()
}

/// The children that are up, by name.
fn names(peer: &Peer) -> Vec<String> {
    let mut names: Vec<_> = children(peer).iter().map(|child| child.name.to_string()).collect();
    names.sort();
    names
}

fn assert_up(pair: &Pair, expected: &[&str]) {
    for peer in [&pair.left, &pair.right] {
        assert_eq!(names(peer), expected, "{}", pair.ladder());
    }
    assert_eq!(pair.left.child_sas(), pair.right.child_sas().mirrored(), "{}", pair.ladder());
}

const ALL: [&str; 3] = ["net", "net.cpu1", "net.cpu2"];

//= https://www.rfc-editor.org/rfc/rfc9611#section-3
//= type=test
//# Additional resource-specific Child SAs are negotiated as regular Child
//# SAs using the CREATE_CHILD_SA exchange and are similarly identified by
//# an accompanying SA_RESOURCE_INFO notification.
/// CHECKLIST I14.
#[test]
fn each_resource_gets_its_child() {
    for seed in 0..8 {
        let mut setup = setup(seed, 2, 2);
        keep_up(&mut setup.left);
        let mut pair = setup.pair();
        pair.run_for(Duration::from_secs(30));
        assert_up(&pair, &ALL);
        let children = children(&pair.left);
        let same = |child: &ChildSaInfo| (child.local_ts.clone(), child.remote_ts.clone());
        assert!(children.iter().all(|child| same(child) == same(&children[0])));
    }
}

/// Both want them at once, and the network loses, repeats and delays.
#[test]
fn requests_that_cross_leave_a_child_for_each() {
    for seed in 0..20 {
        let mut setup = setup(seed, 2, 2);
        keep_up(&mut setup.left);
        keep_up(&mut setup.right);
        if seed % 2 > 0 {
            setup.faults.loss_percent = 10;
            setup.faults.duplicate_percent = 10;
            setup.faults.delay_max = Duration::from_millis(100);
        }
        let mut pair = setup.pair();
        pair.run_for(Duration::from_secs(300));
        assert_eq!(pair.left.child_sas(), pair.right.child_sas().mirrored(), "{}", pair.ladder());
        for peer in [&pair.left, &pair.right] {
            let count = children(peer).len();
            assert!((3..=5).contains(&count), "{}", pair.ladder());
            assert!(ALL.iter().all(|name| names(peer).iter().any(|known| known == name)));
        }
    }
}

/// Who knows nothing of it, or is not to have any, is not asked for more than the first.
#[test]
fn a_peer_without_them_has_one_child() {
    let mut setup = setup(1, 2, 0);
    keep_up(&mut setup.left);
    let mut pair = setup.pair();
    pair.run_for(Duration::from_secs(120));
    assert_up(&pair, &["net"]);
    assert_eq!((pair.left.failures().count(), pair.right.failures().count()), (0, 0));
}

//= https://www.rfc-editor.org/rfc/rfc9611#section-6
//= type=test
//# An implementation that does not accept any further resource-specific
//# Child SAs MUST NOT return the NO_ADDITIONAL_SAS error because it could
//# be misinterpreted by the peer to mean that no other Child SA with a
//# different TSi and/or TSr is allowed either.  Instead, it MUST return
//# TS_MAX_QUEUE.
/// The one that asked leaves it at that, and nobody takes it for a failure.
#[test]
fn a_peer_with_fewer_says_so() {
    let mut setup = setup(2, 3, 1);
    keep_up(&mut setup.left);
    let mut pair = setup.pair();
    pair.run_for(Duration::from_secs(300));
    assert_eq!(names(&pair.left), ["net", "net.cpu1", "net.cpu2"], "{}", pair.ladder());
    assert_eq!(names(&pair.right), ["net", "net.cpu1", "net.cpu1"]);
    assert_eq!(pair.left.child_sas(), pair.right.child_sas().mirrored());
    assert_eq!(
        (pair.left.failures().count(), pair.right.failures().count()),
        (0, 0),
        "{}",
        pair.ladder()
    );
}

/// Such a child is rekeyed as itself, and one that the peer has deleted stays away.
#[test]
fn a_resource_keeps_its_child() {
    for side in [Side::Left, Side::Right] {
        let mut setup = setup(3, 2, 2);
        keep_up(&mut setup.left);
        let mut pair = setup.pair();
        pair.run_for(Duration::from_secs(30));
        let before = pair.left.child_sas();
        pair.peer(side).rekey_child(Child(1));
        pair.run_for(Duration::from_secs(30));
        assert_ne!(pair.left.child_sas(), before);
        assert_up(&pair, &ALL);

        // RFC 9611 §6: or both would go on for ever.
        for _ in 0..3 {
            assert_eq!(children(&pair.left).len(), 3, "{}", pair.ladder());
            let last = children(&pair.right).len() - 1;
            pair.right.terminate_child(Child(last));
            pair.run_for(Duration::from_secs(120));
        }
        assert_eq!(children(&pair.left).len(), 2, "{}", pair.ladder());
        assert_eq!(names(&pair.left), names(&pair.right));
    }
}
