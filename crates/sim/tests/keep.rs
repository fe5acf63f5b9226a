//! Desired state: what should be up comes back, what waits for traffic waits.

#![cfg(test)]

use std::time::Duration;

use adit_db::{Keep, WindowSize};
use adit_ike::{EndpointConfig, Event};
use adit_sim::{Child, Pair, Seed, Setup};

fn kept(keep: Keep) -> Setup {
    let mut setup = Setup::new(Seed(7));
    setup.left.dpd_delay = Duration::from_secs(10);
    setup.left.children[0] = setup.left.children[0].clone().kept(keep);
    setup
}

fn is_up(pair: &Pair) -> bool {
    pair.left.established().len() == 1
        && pair.left.child_sas().len() == 1
        && pair.left.child_sas() == pair.right.child_sas().mirrored()
}

#[test]
fn what_is_kept_up_comes_up_by_itself() {
    let mut pair = kept(Keep::Up).pair();
    assert!(pair.run_until(Duration::from_secs(5), is_up), "{}", pair.ladder());
}

/// CHECKLIST L11, M12: the peer is away for ten minutes.
#[test]
fn what_is_kept_up_comes_back_after_an_outage() {
    let mut pair = kept(Keep::Up).pair();
    pair.network.cut = true;
    pair.run_for(Duration::from_secs(600));
    assert!(!is_up(&pair));
    pair.network.cut = false;
    assert!(pair.run_until(Duration::from_secs(100), is_up), "{}", pair.ladder());

    pair.network.cut = true;
    pair.run_for(Duration::from_secs(600));
    assert!(!is_up(&pair));
    pair.network.cut = false;
    assert!(pair.run_until(Duration::from_secs(100), is_up), "{}", pair.ladder());
}

#[test]
fn what_is_kept_up_comes_back_after_the_peer_deleted_it() {
    let mut pair = kept(Keep::Up).pair();
    assert!(pair.run_until(Duration::from_secs(5), is_up));
    pair.right.terminate_ike();
    pair.run_for(Duration::from_secs(2));
    assert!(pair.run_until(Duration::from_secs(20), is_up), "{}", pair.ladder());
    pair.right.terminate_child(pair.child);
    pair.run_for(Duration::from_secs(2));
    assert!(pair.run_until(Duration::from_secs(20), is_up), "{}", pair.ladder());
}

#[test]
fn what_is_kept_up_comes_back_after_either_daemon_restarts() {
    let mut pair = kept(Keep::Up).pair();
    assert!(pair.run_until(Duration::from_secs(5), is_up));
    pair.right.crash(EndpointConfig::default());
    pair.run_for(Duration::from_secs(2));
    assert!(pair.run_until(Duration::from_secs(200), is_up), "{}", pair.ladder());
    pair.left.crash(EndpointConfig::default());
    pair.run_for(Duration::from_secs(2));
    assert!(pair.run_until(Duration::from_secs(20), is_up), "{}", pair.ladder());
}

/// `adit down` holds until somebody asks again.
#[test]
fn what_was_taken_down_stays_down() {
    let mut pair = kept(Keep::Up).pair();
    assert!(pair.run_until(Duration::from_secs(5), is_up));
    let request = pair.left.down();
    pair.run_for(Duration::from_secs(300));
    assert!(matches!(pair.left.result(request), Some(Ok(()))));
    assert!(pair.left.ike_sas().is_empty() && pair.right.ike_sas().is_empty());
    pair.left.initiate(pair.child);
    assert!(pair.run_until(Duration::from_secs(5), is_up), "{}", pair.ladder());
}

/// CHECKLIST H10: nothing until the first packet; repeated packets make one SA.
/// CHECKLIST L12.
#[test]
fn on_demand_waits_for_the_first_packet() {
    let mut pair = kept(Keep::OnDemand).pair();
    pair.run_for(Duration::from_secs(100));
    assert_eq!(pair.messages_sent(), 0);
    for _ in 0..5 {
        pair.left.send_packet(pair.child);
    }
    assert!(pair.run_until(Duration::from_secs(5), is_up), "{}", pair.ladder());
    pair.run_for(Duration::from_secs(30));
    assert!(is_up(&pair));
    assert_eq!(pair.right.ike_sas().len(), 1);
}

#[test]
fn passive_never_begins() {
    let mut pair = kept(Keep::Passive).pair();
    pair.run_for(Duration::from_secs(300));
    assert_eq!(pair.messages_sent(), 0);
}

/// Found by fuzzing: the answer to a request for a child that a reload has taken away meanwhile
/// does not bring the child up.
#[test]
fn a_child_removed_while_it_is_negotiated_does_not_come() {
    let mut pair = Setup::new(Seed(7)).with_child(2).pair().up();
    let mut connection = Setup::new(Seed(7)).left;
    pair.left.initiate(Child(1));
    pair.left.load(connection.clone());
    pair.run_until_idle();
    assert_eq!(pair.left.child_sas().len(), 1, "{}", pair.ladder());
    assert_eq!(pair.left.child_sas(), pair.right.child_sas().mirrored());

    // The same for one that is wanted otherwise now: it comes as it is wanted.
    connection = Setup::new(Seed(7)).with_child(2).left;
    pair.left.load(connection.clone());
    pair.left.initiate(Child(1));
    connection.children[1].replay_window = WindowSize::OFF;
    pair.left.load(connection);
    let request = pair.left.initiate(Child(1));
    pair.run_until_idle();
    assert!(matches!(pair.left.result(request), Some(Ok(()))), "{}", pair.ladder());
    assert_eq!(pair.left.child_sas().len(), 2, "{}", pair.ladder());
    assert_eq!(pair.left.child_sas(), pair.right.child_sas().mirrored());
}

/// Found by fuzzing: nor does the answer bring up a child of an IKE SA that is to be closed.
#[test]
fn a_child_negotiated_while_it_is_taken_down_does_not_come() {
    let mut pair = Setup::new(Seed(7)).with_child(2).pair().up();
    pair.left.initiate(Child(1));
    let request = pair.left.down();
    pair.run_until_idle();
    let ups = pair.left.events().iter().filter(|event| matches!(event, Event::ChildUp { .. }));
    assert_eq!(ups.count(), 1, "{}", pair.ladder());
    assert!(matches!(pair.left.result(request), Some(Ok(()))), "{}", pair.ladder());
    assert!(pair.left.child_sas().is_empty() && pair.right.child_sas().is_empty());
}
