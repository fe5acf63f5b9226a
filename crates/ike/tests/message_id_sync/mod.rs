//! Synchronisation of message ids with a cluster (RFC 6311): the left side is the cluster, of which
//! another member speaks with the session's keys; the right side is its peer.

use std::time::Duration;

use adit_db::Engine;
use adit_ike::{Command, DebugKeys, EndpointConfig, IkeDebugKeys};
use adit_wire::iana::{ExchangeType, NotifyType, PayloadType};
use adit_wire::ikev2::{ChainBuilder, Flags, Header, Notify, Payload, Payloads};

use super::header;
use crate::common::{LEFT, Pair, RIGHT, opened, path, sealed, with_ike};

const NONCE: [u8; 4] = [9, 8, 7, 6];

/// An established pair of which the right side tells its keys, and may lack what it announces.
fn established(engine: Engine) -> Pair {
    let exporting = EndpointConfig { export_keys: true, ..EndpointConfig::default() };
    let offer = "aes256gcm16-prfsha384-x25519";
    let mut connections = with_ike(offer, offer);
    connections[1].engine = engine;
    let mut pair = Pair::new([EndpointConfig::default(), exporting], connections);
    pair.left.initiate(pair.now);
    pair.run();
    pair.assert_one_tunnel();
    pair
}

fn keys(pair: &Pair) -> &IkeDebugKeys {
    let [DebugKeys::Ike(keys), ..] = pair.right.keys.as_slice() else { panic!("no keys") };
    keys
}

fn request(pair: &Pair, message_id: u32, notifies: &[(NotifyType, &[u8])]) -> Vec<u8> {
    let keys = keys(pair);
    let flags = Flags::new(true, false);
    let exchange = ExchangeType::INFORMATIONAL;
    let header = Header::new(keys.spi_i, keys.spi_r, exchange, flags, message_id);
    let mut chain = ChainBuilder::new();
    for (kind, data) in notifies {
        chain.put(&Payload::Notify(Notify::new(*kind, data)));
    }
    sealed(keys, header, chain)
}

fn ids(send: u32, receive: u32) -> Vec<u8> {
    [NONCE, send.to_be_bytes(), receive.to_be_bytes()].concat()
}

fn sync(pair: &Pair, send: u32, receive: u32) -> Vec<u8> {
    request(pair, 0, &[(NotifyType::IKEV2_MESSAGE_ID_SYNC, &ids(send, receive))])
}

fn give(pair: &mut Pair, octets: &[u8]) {
    pair.right.datagram(path(RIGHT, LEFT), octets, pair.now);
}

/// What the right side says about message ids in its one answer.
fn answer(pair: &mut Pair) -> Option<Vec<u8>> {
    let at = pair.right.sent.iter().position(|(_, octets)| {
        let header = header(octets);
        header.flags.is_response() && header.message_id == 0
    })?;
    let (_, response) = pair.right.sent.remove(at).unwrap();
    let (first, chain) = opened(keys(pair), &response);
    assert_eq!(first, PayloadType::NOTIFY);
    let payloads: Vec<_> = Payloads::new(first, &chain).map(Result::unwrap).collect();
    let [payload] = payloads.as_slice() else { panic!("{payloads:?}") };
    let Payload::Notify(notify) = Payload::read(*payload).unwrap() else { panic!("{payload:?}") };
    assert_eq!(notify.kind, NotifyType::IKEV2_MESSAGE_ID_SYNC);
    Some(notify.data.to_vec())
}

/// Whether the right side answers an empty request of this message id.
fn serves(pair: &mut Pair, message_id: u32) -> bool {
    let octets = request(pair, message_id, &[]);
    give(pair, &octets);
    let answered = pair.right.sent.iter().any(|(_, octets)| {
        let header = header(octets);
        header.flags.is_response() && header.message_id == message_id
    });
    pair.right.sent.clear();
    answered
}

/// CHECKLIST B18: the cluster's values are taken, both counters move, and the session goes on.
#[test]
fn both_go_on_with_the_higher_message_ids() {
    let mut pair = established(Engine::Userspace);
    let octets = sync(&pair, 40, 30);
    give(&mut pair, &octets);
    assert_eq!(answer(&mut pair), Some(ids(30, 40)));
    assert!(!serves(&mut pair, 2) && !serves(&mut pair, 39));
    assert!(serves(&mut pair, 40));
    // Our next request has the id that was agreed on.
    let id = pair.right.established()[0].id;
    pair.right.command(Command::RekeyIke(id), pair.now);
    assert_eq!(header(&pair.right.sent[0].1).message_id, 30);
}

/// CHECKLIST B19: a request that comes again is answered again, octet for octet, and not applied.
#[test]
fn a_repeated_request_is_answered_and_not_applied() {
    let mut pair = established(Engine::Userspace);
    let notifies: [(NotifyType, &[u8]); 2] = [
        (NotifyType::IKEV2_MESSAGE_ID_SYNC, &ids(40, 30)),
        (NotifyType::IPSEC_REPLAY_COUNTER_SYNC, &1_000_u32.to_be_bytes()),
    ];
    let octets = request(&pair, 0, &notifies);
    give(&mut pair, &octets);
    let (_, first) = pair.right.sent[0].clone();
    pair.right.sent.clear();
    give(&mut pair, &octets);
    let (_, second) = pair.right.sent[0].clone();
    assert_eq!(first, second);
    assert_eq!(pair.right.skipped.len(), 1);
    pair.right.sent.clear();
    assert!(serves(&mut pair, 40));
    // The cluster has gone on: it has had the answer.
    give(&mut pair, &octets);
    assert!(pair.right.sent.is_empty());
}

//= https://www.rfc-editor.org/rfc/rfc6311#section-5.1
//= type=test
//# The peer MUST silently drop any received synchronization message if
//# M1 is lower than or equal to the highest value it has seen from the
//# cluster.  This includes any previous received synchronization
//# messages.
/// CHECKLIST B20, B22: replayed, delayed, or with an id that the cluster has used.
#[test]
fn an_old_request_is_dropped() {
    let mut pair = established(Engine::Userspace);
    // IKE_SA_INIT and IKE_AUTH had 0 and 1.
    for used in [0, 1] {
        let octets = sync(&pair, used, 50);
        give(&mut pair, &octets);
        assert_eq!(answer(&mut pair), None);
    }
    assert!(serves(&mut pair, 2));
    let (late, newer, newest) = (sync(&pair, 20, 5), sync(&pair, 30, 5), sync(&pair, 31, 6));
    give(&mut pair, &newer);
    assert_eq!(answer(&mut pair), Some(ids(5, 30)));
    give(&mut pair, &late);
    assert_eq!(answer(&mut pair), None);
    let same = sync(&pair, 30, 6);
    give(&mut pair, &same);
    assert_eq!(answer(&mut pair), None);
    give(&mut pair, &newest);
    assert_eq!(answer(&mut pair), Some(ids(6, 31)));
    give(&mut pair, &newer);
    assert_eq!(answer(&mut pair), None);
    assert!(serves(&mut pair, 31));
}

/// Nobody without the keys can move anything.
#[test]
fn a_forged_request_changes_nothing() {
    let mut pair = established(Engine::Userspace);
    let mut octets = sync(&pair, 40, 30);
    let last = octets.len() - 1;
    octets[last] ^= 1;
    give(&mut pair, &octets);
    assert_eq!(answer(&mut pair), None);
    assert!(serves(&mut pair, 2));
}

//= https://www.rfc-editor.org/rfc/rfc6311#section-5.1
//= type=test
//# Both the request and the response MUST NOT contain any additional
//# payloads, other than an optional IPSEC_REPLAY_COUNTER_SYNC
//# notification in the request.
#[test]
fn a_request_with_something_else_is_dropped() {
    let mut pair = established(Engine::Userspace);
    let ids = ids(40, 30);
    let with = |kind| [(NotifyType::IKEV2_MESSAGE_ID_SYNC, ids.as_slice()), (kind, &[][..])];
    let octets = request(&pair, 0, &with(NotifyType::INITIAL_CONTACT));
    give(&mut pair, &octets);
    assert_eq!(answer(&mut pair), None);
    let short = request(&pair, 0, &[(NotifyType::IKEV2_MESSAGE_ID_SYNC, &ids[..11])]);
    give(&mut pair, &short);
    assert_eq!(answer(&mut pair), None);
    assert!(serves(&mut pair, 2));
}

/// CHECKLIST B21: not without an agreement. The other end of the session has said nothing of it: a
/// responder announces only what it was asked for.
#[test]
fn without_an_agreement_it_is_ignored() {
    let mut pair = established(Engine::Userspace);
    // To the left side in the name of the right one, which the left side has agreed with; a rekeyed IKE
    // SA keeps the agreement, so what is left out here is the message of IKE_AUTH.
    pair.left.sent.clear();
    let mut silent = {
        let exporting = EndpointConfig { export_keys: true, ..EndpointConfig::default() };
        let offer = "aes256gcm16-prfsha384-x25519";
        let mut pair = Pair::new([EndpointConfig::default(), exporting], with_ike(offer, offer));
        pair.left.initiate(pair.now);
        pair
    };
    silent.deliver(|_| true);
    silent.deliver(|_| true);
    let (to_right, auth) = silent.left.sent.pop_front().unwrap();
    let keys = keys(&silent);
    let (first, chain) = opened(keys, &auth);
    let mut without = ChainBuilder::new();
    for raw in Payloads::new(first, &chain).map(Result::unwrap) {
        let payload = Payload::read(raw).unwrap();
        let announces = matches!(&payload, Payload::Notify(notify)
            if notify.kind == NotifyType::IKEV2_MESSAGE_ID_SYNC_SUPPORTED
                || notify.kind == NotifyType::IPSEC_REPLAY_COUNTER_SYNC_SUPPORTED);
        if !announces {
            without.push(raw.kind, |w| w.bytes(raw.body));
        }
    }
    let header = Header { next_payload: PayloadType::NONE, ..header(&auth) };
    let request = sealed(keys, header, without);
    silent.right.datagram(crate::common::reversed(to_right), &request, silent.now);
    let (_, response) = silent.right.sent.pop_front().unwrap();
    let (first, chain) = opened(self::keys(&silent), &response);
    let announced = Payloads::new(first, &chain).map(Result::unwrap).any(|raw| {
        matches!(Payload::read(raw), Ok(Payload::Notify(notify))
            if notify.kind == NotifyType::IKEV2_MESSAGE_ID_SYNC_SUPPORTED)
    });
    assert!(!announced);
    let octets = sync(&silent, 40, 30);
    give(&mut silent, &octets);
    assert_eq!(answer(&mut silent), None);
    assert!(serves(&mut silent, 2));
}

/// CHECKLIST B23: what we expect to be asked with next is not what we would use: the answer says so.
#[test]
fn a_too_low_receive_id_is_corrected_in_the_answer() {
    let mut pair = established(Engine::Userspace);
    let id = pair.right.established()[0].id;
    pair.right.command(Command::RekeyIke(id), pair.now);
    pair.run();
    // On the new IKE SA the right side has sent nothing yet; the deletion was on the old one.
    let [.., DebugKeys::Ike(_)] = pair.right.keys.as_slice() else { panic!("no keys") };
    let mut fresh = established(Engine::Userspace);
    let child = fresh.right.established()[0].children[0].id;
    fresh.right.command(Command::RekeyChild(child), fresh.now);
    fresh.run();
    let octets = sync(&fresh, 40, 0);
    give(&mut fresh, &octets);
    let corrected = answer(&mut fresh).unwrap();
    let next = u32::from_be_bytes(corrected[4..8].try_into().unwrap());
    assert!(next >= 2, "{next}");
    assert_eq!(corrected[8..], 40_u32.to_be_bytes());
}

/// CHECKLIST B24: our own request is in flight: nobody waits for its answer, and it is made again
/// with the id that was agreed on.
#[test]
fn a_request_in_flight_is_made_again() {
    let mut pair = established(Engine::Userspace);
    let child = pair.right.established()[0].children[0].id;
    pair.right.command(Command::RekeyChild(child), pair.now);
    let (_, lost) = pair.right.sent.pop_front().unwrap();
    assert_eq!(header(&lost).message_id, 0);
    let octets = sync(&pair, 40, 0);
    give(&mut pair, &octets);
    assert_eq!(answer(&mut pair), Some(ids(1, 40)));
    let again: Vec<_> = pair.right.sent.iter().map(|(_, octets)| header(octets)).collect();
    assert_eq!(again.len(), 1);
    assert_eq!(again[0].exchange, ExchangeType::CREATE_CHILD_SA);
    assert_eq!((again[0].message_id, again[0].flags.is_response()), (1, false));
    // The old one is not sent again.
    pair.right.sent.clear();
    pair.now += Duration::from_secs(2);
    pair.right.timeout(pair.now);
    assert!(pair.right.sent.iter().all(|(_, octets)| header(octets).message_id == 1));
}

/// RFC 6311 §5.2: the sequence numbers of all child SAs leave out what the cluster asks for, with the
/// message ids or alone; the kernel's do not, and so nobody is told that they would.
#[test]
fn replay_counters_are_moved_on_for_all_children() {
    let mut pair = established(Engine::Userspace);
    let child = pair.right.established()[0].children[0].id;
    let alone =
        request(&pair, 2, &[(NotifyType::IPSEC_REPLAY_COUNTER_SYNC, &500_u64.to_be_bytes())]);
    give(&mut pair, &alone);
    assert_eq!(pair.right.skipped, [(child, 500)]);
    let odd = request(&pair, 3, &[(NotifyType::IPSEC_REPLAY_COUNTER_SYNC, &[1, 2, 3])]);
    give(&mut pair, &odd);
    assert_eq!(pair.right.skipped.len(), 1);
    // So much that the numbers may run out: the SA is replaced.
    pair.right.sent.clear();
    let large =
        request(&pair, 4, &[(NotifyType::IPSEC_REPLAY_COUNTER_SYNC, &(1_u32 << 30).to_be_bytes())]);
    give(&mut pair, &large);
    let exchanges: Vec<_> =
        pair.right.sent.iter().map(|(_, octets)| header(octets).exchange).collect();
    assert!(exchanges.contains(&ExchangeType::CREATE_CHILD_SA), "{exchanges:?}");

    let mut kernel = established(Engine::Kernel);
    let octets =
        request(&kernel, 2, &[(NotifyType::IPSEC_REPLAY_COUNTER_SYNC, &500_u32.to_be_bytes())]);
    give(&mut kernel, &octets);
    assert!(kernel.right.skipped.is_empty());
}
