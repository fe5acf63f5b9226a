//! Several phase 1s between the same identities: what `unique` says of them, and INITIAL-CONTACT (RFC 2407 §4.6.3.3).

use std::sync::Arc;
use std::time::Duration;

use adit_db::{Connection, ProposalSpec, Unique};
use adit_ike::{Command, EndpointConfig, Event, FailureReason, IkeSaInfo, RequestId};

use super::common::{Pair, Peer};
use super::v1_connections;

/// Where the second host is.
const ELSEWHERE: &str = "192.0.2.9";
const HERE: &str = "192.0.2.1";

/// Callers that have this to say of their own identity, and who answers anybody.
fn of(callers: Unique, answers: Unique) -> [Connection; 2] {
    let [mut left, mut right] = v1_connections();
    for connection in [&mut left, &mut right] {
        connection.proposals = ProposalSpec::ike_list("aes256-sha256-ecp256").unwrap();
    }
    (left.unique, right.unique) = (callers, answers);
    right.remote_addresses.clear();
    [left, right]
}

/// Another host with the left one's identity, which is the left one's second connection.
fn add(pair: &mut Pair, left: &Connection, name: &str, address: &str, port: u16) -> RequestId {
    let mut second = left.clone();
    second.name = name.parse().unwrap();
    second.local_addresses = vec![address.parse().unwrap()];
    second.ports.local = port;
    pair.left.command(Command::Load(Arc::new(second)), pair.now);
    let request = pair.left.initiate_named(name, pair.now);
    pair.run();
    request
}

/// One host is there, and the other one comes a minute later.
fn two(callers: Unique, answers: Unique, address: &str, port: u16) -> (Pair, RequestId) {
    let connections = of(callers, answers);
    let left = connections[0].clone();
    let mut pair = Pair::new(Default::default(), connections);
    pair.left.initiate(pair.now);
    pair.run_for(Duration::from_mins(1));
    let request = add(&mut pair, &left, "second", address, port);
    (pair, request)
}

/// What the right one has, but for what waits to be deleted as another has its place.
fn current(pair: &Pair) -> Vec<IkeSaInfo> {
    let is_past = |info: &IkeSaInfo| {
        pair.right
            .events
            .iter()
            .any(|event| matches!(event, Event::IkeRekeyed { old, .. } if old.spi_i == info.spi_i))
    };
    pair.right.established().into_iter().filter(|info| !is_past(info)).collect()
}

/// CHECKLIST F24, K15, for IKEv1: `keep` keeps the old one, `replace` the new one, `no` both, unless the peer says that
/// it has no other; `never` both, whatever it says. From the address of the old one it is the same host, which
/// renews its phase 1; with `never` another port is another host.
#[test]
fn uniqueness_is_by_policy() {
    const SILENT: Unique = Unique::Replicated;
    const SAYS_FIRST: Unique = Unique::Replace;
    for (callers, answers, address, port, old_stays, count) in [
        (SILENT, Unique::Keep, ELSEWHERE, 0, true, 1),
        (SILENT, Unique::Keep, HERE, 0, false, 1),
        (SILENT, Unique::Replace, ELSEWHERE, 0, false, 1),
        (SILENT, Unique::Replace, HERE, 0, false, 1),
        (SILENT, Unique::Never, ELSEWHERE, 0, true, 2),
        (SILENT, Unique::Never, HERE, 0, false, 1),
        (SILENT, Unique::Never, HERE, 1500, false, 1),
        (SILENT, Unique::Replicated, ELSEWHERE, 0, true, 2),
        (SILENT, Unique::Replicated, HERE, 0, false, 1),
        (SILENT, Unique::Replicated, HERE, 1500, true, 2),
        (SAYS_FIRST, Unique::Keep, ELSEWHERE, 0, false, 1),
        (SAYS_FIRST, Unique::Replace, ELSEWHERE, 0, false, 1),
        (SAYS_FIRST, Unique::Never, ELSEWHERE, 0, false, 1),
        (SAYS_FIRST, Unique::Replicated, ELSEWHERE, 0, true, 2),
    ] {
        let case = format!("{callers:?}, {answers:?}, {address} {port}");
        let (mut pair, request) = two(callers, answers, address, port);
        let old = pair.left.established()[0].spi_i;

        let remaining = current(&pair);
        assert_eq!(remaining.len(), count, "{case}");
        assert_eq!(remaining.iter().any(|info| info.spi_i == old), old_stays, "{case}");
        if count == 2 {
            assert_eq!(pair.right.children.len(), 2, "{case}");
        }
        if answers == Unique::Keep && old_stays {
            let reason = &pair.right.failures()[0].reason;
            assert_eq!(*reason, FailureReason::NotUnique, "{case}");
            assert_eq!(pair.left.established().len(), 1, "{case}");
            assert_ne!(pair.left.done.get(&request), Some(&Ok(())), "{case}");
            let up = |event: &&Event| matches!(event, Event::IkeUp(_) | Event::IkeDown { .. });
            assert_eq!(pair.right.events.iter().filter(up).count(), 1, "{case}");
            // However often it tries, the old one goes on.
            pair.run_for(Duration::from_mins(10));
            assert_eq!(pair.right.established().len(), 1, "{case}");
            assert_eq!(pair.right.established()[0].spi_i, old, "{case}");
            assert_eq!(pair.right.children.len(), 1, "{case}");
        } else {
            assert_eq!(pair.left.done[&request], Ok(()), "{case}");
        }
    }
}

/// Each of several hosts renews its own phase 1, and has its own children, for as long as they like.
#[test]
fn hosts_with_one_identity_leave_each_other_alone() {
    for (answers, address, port) in
        [(Unique::Never, ELSEWHERE, 0), (Unique::Replicated, HERE, 1500)]
    {
        let (mut pair, _) = two(Unique::Replicated, answers, address, port);
        for hour in 0..12 {
            pair.run_for(Duration::from_hours(1));
            let mut places: Vec<_> =
                pair.right.established().iter().map(|info| info.remote).collect();
            places.sort_unstable();
            places.dedup();
            assert_eq!(places.len(), 2, "{answers:?}: {hour} {places:?}");
            assert_eq!(pair.left.established().len(), 2, "{answers:?}: {hour}");
            assert!(pair.right.children.len() >= 2, "{answers:?}: {hour}");
        }
        // Of one that is closed nothing passes to the other.
        let request = pair.left.request();
        let is_second = |one: &&IkeSaInfo| {
            one.connection.as_ref().is_some_and(|name| name.to_string() == "second")
        };
        let id = pair.left.established().iter().find(is_second).unwrap().id;
        pair.left.command(Command::TerminateIke { id, request }, pair.now);
        pair.run_for(Duration::from_mins(3));
        assert_eq!((pair.left.established().len(), pair.right.established().len()), (1, 1));
        assert_eq!((pair.left.children.len(), pair.right.children.len()), (1, 1));
    }
}

/// Who says with `never` that several hosts have its identity does not say that it is the first, at either end, nor
/// does it believe it.
#[test]
fn an_identity_of_several_hosts_is_nobodys_initial_contact() {
    // The caller has lost everything.
    for (callers, is_said) in
        [(Unique::Replace, true), (Unique::Never, true), (Unique::Replicated, false)]
    {
        let connections = of(callers, Unique::Replace);
        let left = connections[0].clone();
        let mut pair = Pair::new(Default::default(), connections);
        pair.left.initiate(pair.now);
        pair.run_for(Duration::from_mins(1));
        pair.left = Peer::new(EndpointConfig::default(), 3);
        pair.left.command(Command::Load(Arc::new(left)), pair.now);
        pair.left.initiate(pair.now);
        pair.run();
        let is_down = |event: &Event| matches!(event, Event::IkeDown { .. });
        assert_eq!(pair.right.events.iter().any(is_down), is_said, "{callers:?}");
        assert_eq!(current(&pair).len(), 1, "{callers:?}");
    }
    // Who is called has, and says so to a caller that renews what it takes for alive.
    for (callers, answers, is_gone) in [
        (Unique::Replace, Unique::Replace, true),
        (Unique::Replace, Unique::Replicated, false),
        (Unique::Replicated, Unique::Replace, false),
    ] {
        let connections = of(callers, answers);
        let right = connections[1].clone();
        let mut pair = Pair::new(Default::default(), connections);
        pair.left.initiate(pair.now);
        pair.run_for(Duration::from_mins(1));
        let old = *pair.left.children.keys().next().unwrap();
        pair.right = Peer::new(EndpointConfig::default(), 4);
        pair.right.command(Command::Load(Arc::new(right)), pair.now);
        let ike = pair.left.established()[0].id;
        pair.left.command(Command::RekeyIke(ike), pair.now);
        pair.run();
        assert_eq!(pair.left.established().len(), 1);
        assert_eq!(!pair.left.children.contains_key(&old), is_gone, "{callers:?} {answers:?}");
    }
}

/// However many hosts have the identity, one peer has no more than so many phase 1s.
#[test]
fn a_peer_has_so_many_phase_1s_at_most() {
    let connections = of(Unique::Replicated, Unique::Replicated);
    let left = connections[0].clone();
    let mut pair = Pair::new(Default::default(), connections);
    for host in 1..=34 {
        add(&mut pair, &left, &format!("host-{host}"), &format!("198.51.100.{host}"), 0);
    }
    assert_eq!(pair.right.established().len(), 32);
    assert_eq!(pair.right.failures()[0].reason, FailureReason::NotUnique);
}
