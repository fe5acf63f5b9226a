//! IKE SAs that begin with ciphertexts to static ML-KEM keys (docs/dhless.md).

use std::sync::Arc;
use std::time::Duration;

use adit_crypto::{KemKey, KemSet, SeededRng};
use adit_db::{Connection, ProposalSpec, StaticKemSpec};
use adit_ike::{By, Command, EndpointConfig, Event, FailureReason, PeerSoftware, StaticKemGap};
use adit_pki::KemKeyId;
use adit_wire::iana::{ExchangeType, KeyExchangeId, NotifyType, PayloadType, TransformType};
use adit_wire::ikev2::Header;

use super::header;
use crate::common::{Pair, Peer, connections};

fn key(set: KemSet, seed: u64) -> Arc<KemKey> {
    Arc::new(KemKey::generate(set, &mut SeededRng::new(seed)))
}

fn keys_of(ours: &KemKey, theirs: &KemKey) -> StaticKemSpec {
    StaticKemSpec::new(KemKeyId::of(ours.public()), Arc::new(theirs.public().clone()))
}

fn proposals(set: KemSet) -> Vec<ProposalSpec> {
    ProposalSpec::ike_list(&format!("aes256gcm16-prfsha384-static_{set}")).unwrap()
}

/// Both sides' configurations, and a pair that has the keys.
fn configured(set: KemSet) -> ([Connection; 2], [Arc<KemKey>; 2]) {
    let [left, right] = [key(set, 11), key(set, 12)];
    let mut connections = connections();
    for (connection, (ours, theirs)) in
        connections.iter_mut().zip([(&left, &right), (&right, &left)])
    {
        connection.proposals = proposals(set);
        connection.pad.static_kem = Some(keys_of(ours, theirs));
    }
    (connections, [left, right])
}

fn pair_of(connections: [Connection; 2], keys: [Arc<KemKey>; 2]) -> Pair {
    let mut pair = Pair::new(Default::default(), connections);
    let [left, right] = keys;
    pair.left.credentials.add_kem_key(left);
    pair.right.credentials.add_kem_key(right);
    pair
}

fn pair(set: KemSet) -> Pair {
    let (connections, keys) = configured(set);
    pair_of(connections, keys)
}

fn ke_of(peer: &Peer) -> KeyExchangeId {
    let suite = &peer.established()[0].suite;
    let ke = suite.iter().find(|transform| transform.kind == TransformType::KE);
    KeyExchangeId(ke.unwrap().id)
}

fn has_notify(octets: &[u8], kind: NotifyType) -> bool {
    let [high, low] = kind.0.to_be_bytes();
    octets.windows(4).any(|four| four == [0, 0, high, low])
}

/// Why the last attempt of a side failed.
fn last_failure(peer: &Peer) -> FailureReason {
    peer.failures().pop().unwrap().reason
}

/// Each size brings a tunnel up in two exchanges, with equal keys, and the answer is no longer than
/// the request.
#[test]
fn static_keys_bring_a_tunnel_up() {
    for set in KemSet::ALL {
        let mut pair = pair(set);
        let request = pair.left.initiate(pair.now);
        let sent = pair.left.sent[0].1.clone();
        assert!(has_notify(&sent, NotifyType::ADIT_STATIC_KEM));
        pair.deliver(|_| true);
        let answer = pair.right.sent[0].1.clone();
        assert!(answer.len() <= sent.len(), "{set}: {} for {}", answer.len(), sent.len());
        assert!(!has_notify(&answer, NotifyType::ADIT_STATIC_KEM));
        pair.run();

        assert_eq!(pair.left.done.get(&request), Some(&Ok(())), "{set}");
        pair.assert_one_tunnel();
        assert_eq!(ke_of(&pair.left), set.static_id());
        assert_eq!(pair.left.established()[0].peer, PeerSoftware::Adit);
        assert_eq!(pair.delivered, 4);
    }
}

/// What replaces the IKE SA has an ephemeral exchange of the same KEM, whoever begins, and children
/// have the key exchange of their own proposals.
#[test]
fn a_rekey_has_an_ephemeral_exchange() {
    for left_begins in [true, false] {
        let mut pair = pair(KemSet::MlKem768);
        pair.left.initiate(pair.now);
        pair.run();
        let side = if left_begins { &mut pair.left } else { &mut pair.right };
        let id = side.established()[0].id;
        side.command(Command::RekeyIke(id), pair.now);
        pair.run_for(Duration::from_secs(1));

        pair.assert_one_tunnel();
        assert_eq!(ke_of(&pair.left), KeyExchangeId::ML_KEM_768);
        assert_eq!(ke_of(&pair.right), KeyExchangeId::ML_KEM_768);
        // And what replaces that, too.
        let id = pair.left.established()[0].id;
        pair.left.command(Command::RekeyIke(id), pair.now);
        pair.run_for(Duration::from_secs(1));
        assert_eq!(ke_of(&pair.right), KeyExchangeId::ML_KEM_768);
        let child = pair.left.established()[0].children[0].id;
        pair.left.command(Command::RekeyChild(child), pair.now);
        pair.run_for(Duration::from_secs(1));
        let child = &pair.left.established()[0].children[0];
        assert!(child.suite.iter().any(|transform| transform.kind == TransformType::KE));
    }
}

/// A peer that has nobody with these keys declines like one that does not know the method, and says
/// to its operator what is missing.
#[test]
fn keys_that_nobody_knows_are_declined() {
    let (mut connections, keys) = configured(KemSet::MlKem768);
    let other = key(KemSet::MlKem768, 13);
    connections[1].pad.static_kem = Some(keys_of(&keys[1], &other));
    let mut pair = pair_of(connections, keys);
    pair.left.initiate(pair.now);
    pair.run_for(Duration::from_secs(5));

    assert!(matches!(
        last_failure(&pair.left),
        FailureReason::NoCommonIkeSuite { by: By::Peer, .. }
    ));
    assert_eq!(last_failure(&pair.right), FailureReason::NoStaticKem(StaticKemGap::Unknown));
    assert_eq!(pair.right.failures()[0].reason.code(), Some(225));
}

/// Static keys are never agreed on by accident: a peer without `static_mlkem` declines them, whatever
/// it offers itself, and the other way round.
#[test]
fn others_decline_it_cleanly() {
    let (connections, keys) = configured(KemSet::MlKem768);
    for at in 0..2 {
        let mut mixed = connections.clone();
        mixed[at].pad.static_kem = None;
        mixed[at].proposals = ProposalSpec::ike_default();
        let mut pair = pair_of(mixed, keys.clone());
        pair.left.initiate(pair.now);
        pair.run_for(Duration::from_secs(5));

        let reason = last_failure(&pair.left);
        assert!(
            matches!(reason, FailureReason::NoCommonIkeSuite { by: By::Peer, .. }),
            "{reason:?}"
        );
        assert!(pair.left.established().is_empty() && pair.right.established().is_empty());
    }
}

/// Without our vendor ID the number means something else (RFC 7296 §3.3.2), whoever leaves it out.
#[test]
fn nothing_is_agreed_on_without_the_vendor_id() {
    let spoil = |octets: &[u8]| {
        let mut octets = octets.to_vec();
        let id = adit_wire::ikev2::VendorId::ADIT.0;
        let at = octets.windows(id.len()).position(|part| part == id).unwrap();
        octets[at] ^= 1;
        octets
    };
    let mut pair = pair(KemSet::MlKem768);
    pair.left.initiate(pair.now);
    let (path, octets) = pair.left.sent.pop_front().unwrap();
    pair.right.datagram(path.reversed(), &spoil(&octets), pair.now);
    let (_, answer) = pair.right.sent.pop_front().unwrap();
    assert!(has_notify(&answer, NotifyType::NO_PROPOSAL_CHOSEN));

    pair.right.datagram(path.reversed(), &octets, pair.now);
    let (back, answer) = pair.right.sent.pop_front().unwrap();
    pair.left.datagram(back.reversed(), &spoil(&answer), pair.now);
    assert!(pair.left.sent.is_empty());
    pair.left.datagram(back.reversed(), &answer, pair.now);
    pair.run();
    pair.assert_one_tunnel();
}

/// Implicit rejection (FIPS 203 §6.3): a ciphertext that was changed on the way opens to something else,
/// nothing is said about it, and the IKE_AUTH that follows does not open.
#[test]
fn a_changed_ciphertext_comes_to_nothing() {
    for from_left in [true, false] {
        let mut pair = pair(KemSet::MlKem512);
        pair.left.initiate(pair.now);
        if !from_left {
            pair.deliver(|_| true);
        }
        let side = if from_left { &mut pair.left } else { &mut pair.right };
        let octets = &mut side.sent[0].1;
        let at = ke_at(octets) + 100;
        octets[at] ^= 1;
        for _ in 0..6 {
            pair.deliver(|_| true);
        }
        assert!(pair.left.established().is_empty() && pair.right.established().is_empty());
        pair.run_for(Duration::from_secs(600));
        assert!(pair.left.children.is_empty() && pair.right.children.is_empty());
        assert_eq!(pair.right.endpoint.ike_sas().count(), 0);
    }
}

/// CHECKLIST C09: who lacks its own private key is told at once and says nothing on the wire about why.
#[test]
fn a_private_key_that_is_not_here() {
    for side in 0..2 {
        let (connections, keys) = configured(KemSet::MlKem768);
        let mut pair = Pair::new(Default::default(), connections);
        let [left, right] = keys;
        match side {
            0 => pair.right.credentials.add_kem_key(right),
            _ => pair.left.credentials.add_kem_key(left),
        }
        pair.left.initiate(pair.now);
        pair.run_for(Duration::from_secs(5));

        let missing = FailureReason::NoStaticKem(StaticKemGap::Missing);
        match side {
            0 => assert_eq!(last_failure(&pair.left), missing),
            _ => {
                assert_eq!(last_failure(&pair.right), missing);
                let reason = last_failure(&pair.left);
                assert!(matches!(reason, FailureReason::NoCommonIkeSuite { by: By::Peer, .. }));
            }
        }
        assert!(pair.left.established().is_empty());
    }
}

/// The keys of IKE_SA_INIT bind: a peer with a key of its own that claims another's name in IKE_AUTH
/// finds no connection, even with the other's secret.
#[test]
fn a_name_does_not_go_with_another_key() {
    let (mut connections, keys) = configured(KemSet::MlKem768);
    connections[0].pad.local_id = Some("other.example".parse().unwrap());
    let other = key(KemSet::MlKem768, 13);
    let mut beside = connections[1].clone();
    beside.name = "beside".parse().unwrap();
    beside.pad.remote_id = "other.example".parse().unwrap();
    beside.pad.static_kem = Some(keys_of(&keys[1], &other));
    let mut pair = pair_of(connections, keys);
    pair.right.command(Command::Load(Arc::new(beside)), pair.now);
    pair.left.initiate(pair.now);
    pair.run_for(Duration::from_secs(5));

    assert!(pair.left.established().is_empty());
    let reason = last_failure(&pair.right);
    assert!(matches!(reason, FailureReason::UnknownPeer { .. }), "{reason:?}");
}

/// Of thousands of peers from anywhere each is found by its key, and the tunnel is its own.
#[test]
fn each_of_many_is_found_by_its_key() {
    let (connections, keys) = configured(KemSet::MlKem512);
    let template = connections[1].clone();
    let mut pair = pair_of(connections, keys.clone());
    for number in 0..50_u64 {
        let mut one = template.clone();
        one.name = format!("many{number}").parse().unwrap();
        one.remote_addresses = vec![adit_db::HostSpec::Any];
        one.pad.remote_id = format!("many{number}.example").parse().unwrap();
        one.pad.static_kem = Some(keys_of(&keys[1], &key(KemSet::MlKem512, 100 + number)));
        pair.right.command(Command::Load(Arc::new(one)), pair.now);
    }
    pair.left.initiate(pair.now);
    pair.run();
    pair.assert_one_tunnel();
    assert_eq!(pair.right.established()[0].connection.as_ref().unwrap().as_str(), "tunnel");
}

/// CHECKLIST C01: above the threshold nothing is computed for who has not returned a cookie; the
/// ciphertext is the same in the request that does.
#[test]
fn cookies_come_first() {
    let (connections, keys) = configured(KemSet::MlKem768);
    let loaded = EndpointConfig { cookie_threshold: 0, ..EndpointConfig::default() };
    let mut pair = Pair::new([EndpointConfig::default(), loaded], connections);
    let [left, right] = keys;
    pair.left.credentials.add_kem_key(left);
    pair.right.credentials.add_kem_key(right);
    pair.left.initiate(pair.now);
    pair.deliver(|_| true);
    assert!(has_notify(&pair.right.sent[0].1, NotifyType::COOKIE));
    assert_eq!(pair.right.endpoint.ike_sas().count(), 0);
    pair.run();
    pair.assert_one_tunnel();
}

/// While our own program opens the ciphertext nothing is lost: repeated requests are not answered
/// twice, and who never gets an answer from its program gives up (CHECKLIST C09).
#[test]
fn the_answer_waits_for_the_key() {
    let mut pair = pair(KemSet::MlKem768);
    pair.right.answers_jobs = false;
    pair.left.initiate(pair.now);
    let (path, request) = pair.left.sent.pop_front().unwrap();
    for _ in 0..3 {
        pair.right.datagram(path.reversed(), &request, pair.now);
    }
    assert!(pair.right.sent.is_empty());
    assert_eq!(pair.right.endpoint.ike_sas().count(), 1);
    pair.run_for(Duration::from_secs(600));
    assert_eq!(pair.right.endpoint.ike_sas().count(), 0);

    let mut pair = self::pair(KemSet::MlKem768);
    pair.left.answers_jobs = false;
    pair.left.initiate(pair.now);
    pair.run_for(Duration::from_secs(60));
    let given_up = |event: &Event| matches!(event, Event::Failed(_));
    assert!(pair.left.events.iter().any(given_up));
}

/// A ciphertext of another length is refused before anybody opens it.
#[test]
fn a_ciphertext_has_one_length() {
    let mut pair = pair(KemSet::MlKem768);
    pair.left.initiate(pair.now);
    let (path, octets) = pair.left.sent.pop_front().unwrap();
    for cut in [1, 1_087] {
        let octets = with_shorter_ke(&octets, cut);
        pair.right.datagram(path.reversed(), &octets, pair.now);
        let (_, answer) = pair.right.sent.pop_front().unwrap();
        assert!(has_notify(&answer, NotifyType::INVALID_SYNTAX), "{cut}");
    }
    assert!(pair.right.established().is_empty());
}

/// Where the KE payload begins.
fn ke_at(octets: &[u8]) -> usize {
    let (mut at, mut next) = (Header::LEN, PayloadType(octets[16]));
    while next != PayloadType::KE {
        next = PayloadType(octets[at]);
        at += usize::from(u16::from_be_bytes([octets[at + 2], octets[at + 3]]));
    }
    at
}

/// The same message with fewer octets of Key Exchange Data.
fn with_shorter_ke(octets: &[u8], cut: usize) -> Vec<u8> {
    let at = ke_at(octets);
    let len = usize::from(u16::from_be_bytes([octets[at + 2], octets[at + 3]]));
    let mut short = octets.to_vec();
    short.drain(at + len - cut..at + len);
    short[at + 2..at + 4].copy_from_slice(&u16::try_from(len - cut).unwrap().to_be_bytes());
    let whole = u32::try_from(short.len()).unwrap().to_be_bytes();
    short[24..28].copy_from_slice(&whole);
    assert_eq!(header(&short).exchange, ExchangeType::IKE_SA_INIT);
    short
}

/// Datagrams are lost and repeated, and time heals it.
#[test]
fn losses_are_made_up_for() {
    for lost in 0..4 {
        let mut pair = pair(KemSet::MlKem768);
        pair.left.initiate(pair.now);
        for round in 0..4 {
            pair.deliver(|_| round != lost);
        }
        pair.run_for(Duration::from_secs(60));
        pair.assert_one_tunnel();
    }
}
