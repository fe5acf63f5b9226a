//! Aggressive mode (RFC 2409 §5.4): three messages in place of six.

use std::cell::Cell;
use std::time::Duration;

use adit_db::{Aggressive, BaseMode, Connection};
use adit_ike::{By, Command, Event, FailureReason};

use super::common::{Pair, reversed};
use super::ikev1_nat::{payloads, rebuilt};
use super::{assert_any_is_lost_or_repeated, exchange, v1_connections, with_suites};

const AGGRESSIVE: u8 = 4;
const BASE: u8 = 1;
const KE: u8 = 4;
const HASH: u8 = 8;
const VENDOR_ID: u8 = 13;

/// Who calls begins in aggressive mode, and who is called takes it.
pub(super) fn aggressive() -> [Connection; 2] {
    aggressively(v1_connections())
}

pub(super) fn aggressively(mut connections: [Connection; 2]) -> [Connection; 2] {
    connections[0].aggressive = Aggressive::Initiate;
    connections[1].aggressive = Aggressive::Allow;
    connections
}

fn pair() -> Pair {
    Pair::new(Default::default(), aggressive())
}

/// The left one's first message and its path.
fn first_message(pair: &mut Pair) -> (adit_ike::Path, Vec<u8>) {
    pair.left.initiate(pair.now);
    pair.left.sent.pop_front().unwrap()
}

/// CHECKLIST T06: three messages of aggressive mode and three of quick mode, with each kind of key
/// exchange; both sides know who the other is.
#[test]
fn three_messages_make_a_phase_1() {
    for ike in ["aes256-sha256-modp2048", "aes128-sha1-ecp256", "3des-md5-modp1024"] {
        let connections = aggressively(with_suites([ike; 2], ["aes256gcm16"; 2]));
        let mut pair = Pair::new(Default::default(), connections);
        let request = pair.left.initiate(pair.now);
        let (_, octets) = pair.left.sent.front().unwrap();
        assert_eq!(exchange(octets), AGGRESSIVE);
        pair.run();
        assert_eq!(pair.left.done.get(&request), Some(&Ok(())), "{:?}", pair.left.failures());
        assert_eq!(pair.delivered, 6);
        pair.assert_one_tunnel();
        let right = &pair.right.established()[0];
        assert_eq!(right.remote_id.as_ref().unwrap().to_string(), "left.example");
    }
}

/// Who may take aggressive mode begins in main mode all the same.
#[test]
fn to_allow_it_is_not_to_begin_so() {
    let mut pair = pair();
    pair.right.initiate(pair.now);
    assert_eq!(exchange(&pair.right.sent.front().unwrap().1), super::MAIN_MODE);
    pair.run();
    pair.assert_one_tunnel();
}

/// CHECKLIST T05: where it is not allowed the operator hears E105, and the peer that it is refused; no
/// suite in common is E101 as in main mode.
#[test]
fn where_it_is_not_allowed_it_is_refused_by_a_code() {
    let mut connections = aggressive();
    connections[1].aggressive = Aggressive::Refuse;
    let mut pair = Pair::new(Default::default(), connections);
    let request = pair.left.initiate(pair.now);
    pair.run_for(Duration::from_secs(60));
    let failure = pair.left.done[&request].clone().unwrap_err();
    assert!(matches!(failure.reason, FailureReason::PeerRefused { .. }), "{:?}", failure.reason);
    let right = pair.right.failures();
    assert_eq!(right[0].reason.code(), Some(105), "{right:?}");
    assert_eq!(pair.right.endpoint.ike_sas().count(), 0);

    let offers =
        with_suites(["aes256-sha256-modp2048", "aes128-sha1-modp1024"], ["aes128-sha1"; 2]);
    let mut pair = Pair::new(Default::default(), aggressively(offers));
    let request = pair.left.initiate(pair.now);
    pair.run_for(Duration::from_secs(60));
    assert_eq!(pair.left.done[&request].clone().unwrap_err().reason.code(), Some(101));
    assert_eq!(pair.right.failures()[0].reason.code(), Some(101));
}

/// CHECKLIST T16: by its name in the first message a peer finds its own tunnel, and its own secret with
/// it, among those that are for anybody's address.
#[test]
fn the_name_in_the_first_message_says_which_tunnel_is_meant() {
    let mut connections = aggressive();
    connections[0].pad.local_id = Some("zebra.example".parse().unwrap());
    let mut pair = Pair::new(Default::default(), connections.clone());
    pair.right.command(Command::Unload("tunnel".parse().unwrap()), pair.now);
    for number in 0..40 {
        let mut other = connections[1].clone();
        other.name = format!("tunnel{number:02}").parse().unwrap();
        other.remote_addresses = Vec::new();
        other.pad.remote_id = match number {
            39 => "zebra.example".parse().unwrap(),
            number => format!("peer{number}.example").parse().unwrap(),
        };
        pair.right.command(Command::Load(std::sync::Arc::new(other)), pair.now);
    }
    let request = pair.left.initiate(pair.now);
    pair.run();
    assert_eq!(pair.left.done.get(&request), Some(&Ok(())), "{:?}", pair.left.failures());
    let right = &pair.right.established()[0];
    assert_eq!(right.connection.as_ref().unwrap().as_str(), "tunnel39");

    let mut connections = aggressive();
    connections[0].pad.local_id = Some("nobody.example".parse().unwrap());
    let mut pair = Pair::new(Default::default(), connections);
    pair.left.initiate(pair.now);
    pair.run_for(Duration::from_secs(60));
    assert_eq!(pair.right.failures()[0].reason.code(), Some(204));
    assert!(pair.left.established().is_empty() && pair.right.established().is_empty());
}

/// CHECKLIST T07, T09: each message lost once, each message twice, and a first message that comes again
/// with the responder's cookie in it.
#[test]
fn lost_and_repeated_messages_change_nothing() {
    assert_any_is_lost_or_repeated(6, pair);
    let mut pair = pair();
    let (path, first) = first_message(&mut pair);
    pair.right.datagram(reversed(path), &first, pair.now);
    let (_, answer) = pair.right.sent.pop_front().unwrap();
    let mut again = first;
    again[8..16].copy_from_slice(&answer[8..16]);
    pair.right.datagram(reversed(path), &again, pair.now);
    assert_eq!(pair.right.sent.pop_front().unwrap().1, answer);
    assert_eq!(pair.right.endpoint.ike_sas().count(), 1);
}

/// CHECKLIST T08, invariant 5: to our own first message the answer is not longer. To a short one it may
/// be, once: repetitions get as many octets as they bring, nothing is sent without a message, and what is
/// half-open expires.
#[test]
fn a_responder_amplifies_nothing() {
    let mut pair = pair();
    let (path, first) = first_message(&mut pair);
    pair.right.datagram(reversed(path), &first, pair.now);
    let (_, answer) = pair.right.sent.pop_front().unwrap();
    assert!(answer.len() <= first.len(), "{} for {}", answer.len(), first.len());

    let mut parts = payloads(&first);
    parts.retain(|(kind, _)| *kind != VENDOR_ID);
    let mut short = rebuilt(&first, &parts);
    short[0] ^= 1;
    let (mut came, mut went, mut answers) = (0, 0, 0);
    for number in 0..20 {
        pair.right.datagram(reversed(path), &short, pair.now);
        came += short.len();
        for (_, octets) in pair.right.sent.drain(..) {
            went += octets.len();
            answers += 1;
            assert!(number == 0 || went <= came, "{went} for {came}");
        }
    }
    assert!(answers > 1);
    let end = pair.now + Duration::from_secs(60);
    while let Some(next) = pair.right.endpoint.poll_timeout().filter(|next| *next < end) {
        pair.now = next;
        pair.right.timeout(next);
        assert!(pair.right.sent.is_empty());
    }
    assert_eq!(pair.right.endpoint.ike_sas().count(), 0);
}

/// Short first messages from nowhere are answered so often in a second, whatever their cookies say.
#[test]
fn short_first_messages_are_answered_so_often() {
    let mut pair = pair();
    let (path, first) = first_message(&mut pair);
    let mut parts = payloads(&first);
    parts.retain(|(kind, _)| *kind != VENDOR_ID);
    let short = rebuilt(&first, &parts);
    for number in 0..200_u8 {
        let mut other = short.clone();
        other[0] = number;
        let mut from = reversed(path);
        from.remote.set_port(1_000 + u16::from(number));
        pair.right.datagram(from, &other, pair.now);
    }
    assert!(pair.right.sent.len() <= 20, "{}", pair.right.sent.len());
}

/// CHECKLIST F03: different secrets are E203 on both sides.
#[test]
fn different_secrets_are_told_to_both_operators() {
    let mut pair = pair();
    pair.right.secret = b"another secret";
    let request = pair.left.initiate(pair.now);
    pair.run_for(Duration::from_secs(60));
    let failure = pair.left.done[&request].clone().unwrap_err();
    assert!(matches!(failure.reason, FailureReason::WrongSecret { by: By::Us, .. }));
    let right = pair.right.failures();
    assert!(
        matches!(right[0].reason, FailureReason::WrongSecret { by: By::Peer, .. }),
        "{right:?}"
    );
    assert!(pair.left.children.is_empty() && pair.right.children.is_empty());
}

/// CHECKLIST T10: a public value that is none, empty or missing leaves nothing behind.
#[test]
fn without_a_public_value_there_is_no_answer() {
    let mut pair = pair();
    let (path, first) = first_message(&mut pair);
    for change in 0..3 {
        let mut parts = payloads(&first);
        let place = parts.iter().position(|(kind, _)| *kind == KE).unwrap();
        match change {
            0 => parts[place].1.fill(0),
            1 => parts[place].1.clear(),
            _ => drop(parts.remove(place)),
        }
        pair.right.datagram(reversed(path), &rebuilt(&first, &parts), pair.now);
        assert!(pair.right.sent.is_empty(), "change {change}");
        assert_eq!(pair.right.endpoint.ike_sas().count(), 0);
    }
}

/// CHECKLIST T13: both begin at once, and one tunnel is left.
#[test]
fn both_may_begin_at_once() {
    let mut connections = aggressive();
    connections[1].aggressive = Aggressive::Initiate;
    let mut pair = Pair::new(Default::default(), connections);
    pair.left.initiate(pair.now);
    pair.right.initiate(pair.now);
    pair.run_for(Duration::from_secs(200));
    pair.assert_one_tunnel();
}

/// CHECKLIST T11: octets that somebody on the way changes, in each message behind its header. Of the first
/// two nothing is authentic: a forger may hinder this attempt, and is found out; after them nobody gets in
/// between.
#[test]
fn forged_octets_change_nothing() {
    for message in 0..6_usize {
        let mut pair = pair();
        let request = pair.left.initiate(pair.now);
        let mut number = 0;
        while number < 60 {
            let from_left = pair.left.sent.pop_front();
            let from_right = if from_left.is_none() { pair.right.sent.pop_front() } else { None };
            let Some((path, octets)) = from_left.clone().or(from_right) else { break };
            let now = pair.now;
            let peer = if from_left.is_some() { &mut pair.right } else { &mut pair.left };
            if number == message {
                // What stands behind HASH_I is covered by nothing.
                let end = if number == 2 { 28 + 36 } else { octets.len() };
                for place in (28..end).step_by(7) {
                    let mut forged = octets.clone();
                    forged[place] ^= 0x55;
                    peer.datagram(reversed(path), &forged, now);
                    peer.datagram(reversed(path), &octets[..place], now);
                }
            }
            peer.datagram(reversed(path), &octets, now);
            number += 1;
        }
        pair.run_for(Duration::from_secs(60));
        let result = pair.left.done.get(&request);
        assert!(result.is_some(), "message {message}");
        if message >= 2 {
            assert_eq!(result, Some(&Ok(())), "message {message}");
            pair.assert_one_tunnel();
        }
    }
}

/// It is renewed as it was made, and takes the children over.
#[test]
fn it_is_renewed_as_it_was_made() {
    let mut connections = aggressive();
    for connection in &mut connections {
        connection.rekey_time = Duration::from_secs(600);
        connection.over_time = Duration::from_secs(60);
        connection.rand_time = Duration::ZERO;
    }
    let mut pair = Pair::new(Default::default(), connections);
    pair.left.initiate(pair.now);
    pair.run_for(Duration::from_secs(2_000));
    pair.assert_one_tunnel();
    let renewals =
        pair.left.events.iter().filter(|event| matches!(event, Event::IkeRekeyed { .. })).count();
    assert!(renewals >= 2, "{renewals}");
}

/// Who calls begins in base mode, and who is called takes it.
pub(super) fn in_base_mode(mut connections: [Connection; 2]) -> [Connection; 2] {
    connections[0].base_mode = BaseMode::Initiate;
    connections[1].base_mode = BaseMode::Allow;
    connections
}

/// draft-ietf-ipsec-ike-base-mode-02 §3.4: four messages in clear, the responder's group among several;
/// each lost once, and repeated.
#[test]
fn base_mode_makes_a_phase_1_of_four_messages() {
    let suites = ["aes256-sha256-modp2048-ecp256", "aes256-sha256-ecp256"];
    for lost in 0..8 {
        let connections = in_base_mode(with_suites(suites, ["aes256gcm16"; 2]));
        let mut pair = Pair::new(Default::default(), connections);
        let request = pair.left.initiate(pair.now);
        assert_eq!(exchange(&pair.left.sent.front().unwrap().1), BASE);
        let count = Cell::new(0);
        let passes = |_: &[u8]| count.replace(count.get() + 1) != lost;
        while pair.deliver(passes) {}
        pair.run_for(Duration::from_secs(60));
        let failures = (pair.left.failures(), pair.right.failures());
        assert_eq!(pair.left.done.get(&request), Some(&Ok(())), "{lost}: {failures:?}");
        assert!(lost < 7 || pair.delivered == 7);
        pair.assert_one_tunnel();
    }
}

/// Where base mode is not allowed it is E105, too; different secrets are E203 for who is called, which says
/// nothing that somebody could try guesses on.
#[test]
fn base_mode_shows_a_stranger_nothing() {
    let mut connections = in_base_mode(v1_connections());
    connections[1].base_mode = BaseMode::Refuse;
    let mut pair = Pair::new(Default::default(), connections);
    pair.left.initiate(pair.now);
    pair.run_for(Duration::from_secs(60));
    assert_eq!(pair.right.failures()[0].reason.code(), Some(105));

    let mut pair = Pair::new(Default::default(), in_base_mode(v1_connections()));
    pair.left.secret = b"another secret";
    let (path, first) = first_message(&mut pair);
    pair.right.datagram(reversed(path), &first, pair.now);
    let (back, second) = pair.right.sent.pop_front().unwrap();
    assert!(second.len() <= first.len(), "{} for {}", second.len(), first.len());
    assert!(payloads(&second).iter().all(|(kind, _)| ![KE, HASH].contains(kind)));
    pair.left.datagram(reversed(back), &second, pair.now);
    pair.run_for(Duration::from_secs(60));
    assert_eq!(pair.right.failures()[0].reason.code(), Some(203));
    assert_eq!(pair.left.failures()[0].reason.code(), Some(203));
    assert!(pair.left.children.is_empty() && pair.right.children.is_empty());
}
