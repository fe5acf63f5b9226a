//! Several SAs with the same selectors, one for each class of traffic: RFC 4301 §4.1.

#![cfg(test)]

use std::time::Duration;

use adit_db::{ChildConfig, Connection, Dscp, DscpClass, DscpSet, Keep};
use adit_ike::Event;
use adit_sim::{Child, Pair, Peer, Seed, Setup, Side};

/// Gives a connection's one child so many classes.
fn divide(connection: &mut Connection, classes: u8) {
    let rest = connection.children[0].clone();
    for number in 1..=classes {
        let mut code_points = DscpSet::default();
        assert!(code_points.insert(Dscp::new(number).unwrap()));
        let class = Some(DscpClass { of: rest.name.clone(), code_points });
        let name = format!("{}.{number}", rest.name).parse().unwrap();
        connection.children.push(ChildConfig { name, class, ..rest.clone() });
    }
}

fn setup(seed: u64, classes: u8) -> Setup {
    let mut setup = Setup::new(Seed(seed));
    divide(&mut setup.left, classes);
    divide(&mut setup.right, classes);
    setup
}

fn keep_up(connection: &mut Connection) {
    for child in &mut connection.children {
        *child = child.clone().kept(Keep::Up);
    }
}

/// The children that are up, by name.
fn names(peer: &Peer) -> Vec<String> {
    let ike = peer.established();
    let mut names: Vec<String> = ike
        .iter()
        .flat_map(|ike| &ike.children)
        .map(|child: &adit_ike::ChildSaInfo| child.name.to_string())
        .collect();
    names.sort();
    names
}

fn assert_complete(pair: &Pair, expected: &[&str]) {
    for peer in [&pair.left, &pair.right] {
        assert_eq!(peer.established().len(), 1, "{}", pair.ladder());
        assert_eq!(names(peer), expected, "{}", pair.ladder());
    }
    assert_eq!(pair.left.child_sas(), pair.right.child_sas().mirrored(), "{}", pair.ladder());
}

fn events(peer: &Peer, wanted: fn(&Event) -> bool) -> usize {
    peer.events().iter().filter(|event| wanted(event)).count()
}

const ALL: [&str; 3] = ["net", "net.1", "net.2"];

/// CHECKLIST S17: one side keeps all classes up; the other gives each request to a class it has no
/// SA for.
#[test]
fn all_classes_come_up_and_stay() {
    for seed in 0..8 {
        let mut setup = setup(seed, 2);
        keep_up(&mut setup.left);
        let mut pair = setup.pair();
        pair.run_for(Duration::from_secs(30));
        assert_complete(&pair, &ALL);
        for peer in [&pair.left, &pair.right] {
            assert_eq!(events(peer, |event| matches!(event, Event::ChildUp { .. })), 3);
            assert_eq!(events(peer, |event| matches!(event, Event::ChildDown { .. })), 0);
        }
    }
}

/// Both sides want all classes at once: requests cross, overtake each other and come late, and each
/// class still has one SA in the end.
#[test]
fn classes_that_cross_come_up_once() {
    for seed in 0..30 {
        for classes in [1, 2] {
            let mut setup = setup(seed, classes);
            keep_up(&mut setup.left);
            keep_up(&mut setup.right);
            if seed % 3 > 0 {
                setup.faults.loss_percent = 10;
                setup.faults.duplicate_percent = 10;
                setup.faults.delay_max = Duration::from_millis(seed % 2 * 150 + 10);
            }
            let mut pair = setup.pair();
            pair.run_for(Duration::from_secs(300));
            assert_complete(&pair, &ALL[..usize::from(classes) + 1]);
        }
    }
}

/// A rekey stays with the class it replaces, whoever asks for it and when both do.
#[test]
fn a_class_is_rekeyed_as_itself() {
    for seed in 0..8 {
        for sides in [&[Side::Left][..], &[Side::Right], &[Side::Left, Side::Right]] {
            for class in 0..3 {
                let mut setup = setup(seed, 2);
                keep_up(&mut setup.left);
                let mut pair = setup.pair();
                pair.run_for(Duration::from_secs(30));
                let before = pair.left.child_sas();
                for side in sides {
                    pair.peer(*side).rekey_child(Child(class));
                }
                pair.run_for(Duration::from_secs(30));
                assert_ne!(pair.left.child_sas(), before);
                assert_complete(&pair, &ALL);
                for peer in [&pair.left, &pair.right] {
                    let same = |event: &Event| matches!(event, Event::ChildRekeyed { old, new, .. } if old.name == new.name);
                    assert_eq!(events(peer, same), 1, "{}", pair.ladder());
                }
            }
        }
    }
}

/// The IKE SA is rekeyed, and all classes move to the new one.
#[test]
fn classes_outlive_their_ike_sa() {
    let mut setup = setup(5, 2);
    keep_up(&mut setup.left);
    let mut pair = setup.pair();
    pair.run_for(Duration::from_secs(30));
    let before = pair.left.child_sas();
    pair.left.rekey_ike();
    pair.run_for(Duration::from_secs(30));
    assert_complete(&pair, &ALL);
    assert_eq!(pair.left.child_sas(), before);
}

/// A packet of a class asks first: the peer cannot know which class that is, and takes it for the
/// rest. Each side has its SAs for all that it sends in the end.
#[test]
fn whichever_class_asks_first() {
    let mut pair = setup(3, 2).pair();
    for (class, expected) in
        [(1, [&["net.1"][..], &["net"]]), (2, [&["net.1", "net.2"], &["net", "net.1"]])]
    {
        pair.left.send_packet(Child(class));
        pair.run_for(Duration::from_secs(5));
        assert_eq!([names(&pair.left), names(&pair.right)], expected, "{}", pair.ladder());
    }
    // What the other side lacks it asks for, and so fills what is missing here.
    pair.right.send_packet(Child(2));
    pair.run_for(Duration::from_secs(5));
    assert_complete(&pair, &ALL);
}

/// One class goes, by the peer's wish, and comes back as itself; the others are not touched.
#[test]
fn a_class_that_goes_comes_back() {
    let mut setup = setup(9, 2);
    keep_up(&mut setup.left);
    let mut pair = setup.pair();
    pair.run_for(Duration::from_secs(30));
    let before = pair.left.child_sas();
    pair.right.terminate_child(Child(1));
    pair.run_for(Duration::from_secs(60));
    assert_complete(&pair, &ALL);
    assert_ne!(pair.left.child_sas(), before);
    assert_eq!(events(&pair.left, |event| matches!(event, Event::ChildDown { .. })), 1);
}

/// A reload that changes classes touches those alone.
#[test]
fn a_reload_changes_classes_alone() {
    let mut before = setup(11, 2);
    keep_up(&mut before.left);
    let mut pair = before.clone().pair();
    pair.run_for(Duration::from_secs(30));
    let rest = |pair: &Pair| {
        let sas = pair.left.established();
        let mut children = sas.iter().flat_map(|ike| ike.children.clone());
        children.find(|child| child.name.as_str() == "net").map(|child| child.spi_in)
    };
    let spi = rest(&pair);
    before.left.children.truncate(2);
    before.right.children.truncate(2);
    pair.right.load(before.right);
    pair.left.load(before.left);
    pair.run_for(Duration::from_secs(30));
    assert_complete(&pair, &ALL[..2]);
    assert_eq!(rest(&pair), spi);
}

/// The peer has fewer classes: what is more goes to its first child, and nobody tears down anything.
#[test]
fn a_peer_without_classes_takes_all_the_same() {
    let mut setup = Setup::new(Seed(13));
    divide(&mut setup.left, 2);
    keep_up(&mut setup.left);
    let mut pair = setup.pair();
    pair.run_for(Duration::from_secs(60));
    assert_eq!(names(&pair.left), ALL, "{}", pair.ladder());
    assert_eq!(names(&pair.right), ["net"; 3], "{}", pair.ladder());
    assert_eq!(events(&pair.left, |event| matches!(event, Event::ChildDown { .. })), 0);
}
