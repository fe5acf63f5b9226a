//! Two endpoints talk directly: every exchange of RFC 7296 once, and what may go wrong in it.

#![cfg(test)]

mod attacks;
mod childless;
mod common;
mod conformance;
mod elsewhere;
mod forged;
mod gateway_notice;
mod message_id_sync;
mod notification_data;
mod oddities;
mod recording;
mod redirect;
mod resumption;
mod static_kem;

use std::sync::Arc;
use std::time::Duration;

use adit_db::{ChildSaId, HostSpec, IkeSaId, Unique};
use adit_ike::{
    By, Command, DebugKeys, EndpointConfig, Event, FailureReason, FragmentOctets, IkeSaState,
    PeerSoftware,
};
use adit_wire::Reader;
use adit_wire::iana::{ExchangeType, KeyExchangeId, NotifyType, PayloadType, TransformType};
use adit_wire::ikev2::{Header, Transform};

use common::{LEFT, Pair, RIGHT, connections, path, reversed, selector, with_ike};

fn header(octets: &[u8]) -> Header {
    Header::read(&mut Reader(octets)).unwrap()
}

fn has_additional_key(suite: &[Transform]) -> bool {
    let ml_kem = KeyExchangeId::ML_KEM_768.0;
    suite.contains(&Transform::new(TransformType::ADDKE1, ml_kem))
}

fn ids(pair: &Pair) -> (IkeSaId, ChildSaId) {
    let info = &pair.left.established()[0];
    (info.id, info.children[0].id)
}

/// CHECKLIST A01, A03, Q01: the default handshake has ML-KEM-768 by IKE_INTERMEDIATE.
#[test]
fn default_handshake_uses_ml_kem() {
    let pair = Pair::established();

    pair.assert_one_tunnel();
    let left = &pair.left.established()[0];
    assert!(has_additional_key(&left.suite));
    assert_eq!(left.suite, pair.right.established()[0].suite);
    assert_eq!((left.initiator, left.peer), (true, PeerSoftware::Adit));
    // IKE_SA_INIT, IKE_INTERMEDIATE, IKE_AUTH.
    assert_eq!(pair.delivered, 6);
}

/// CHECKLIST A03, Q01: over IPv4 a key of ML-KEM-768 leaves in one datagram, also with the cipher that
/// adds most; what is longer comes in fragments.
#[test]
fn a_key_of_ml_kem_768_is_not_cut() {
    for cipher in ["aes128gcm16-prfsha256", "aes256-sha512"] {
        for (method, messages) in [("mlkem768", 6), ("mlkem1024", 8)] {
            let offer = format!("{cipher}-x25519-ke1_{method}");
            let mut pair = Pair::new(Default::default(), with_ike(&offer, &offer));
            pair.left.initiate(pair.now);
            pair.run();
            pair.assert_one_tunnel();
            assert_eq!(pair.delivered, messages, "{offer}");
        }
    }
}

/// CHECKLIST Q04: a peer without additional key exchanges gets none.
#[test]
fn ml_kem_is_declined_gracefully() {
    let plain = "aes256gcm16-prfsha384-x25519";
    let mut pair = Pair::new(Default::default(), with_ike("default", plain));
    pair.left.initiate(pair.now);
    pair.run();

    pair.assert_one_tunnel();
    assert!(!has_additional_key(&pair.left.established()[0].suite));
    assert_eq!(pair.delivered, 4);
}

/// CHECKLIST C01, C02, A14: above the threshold a cookie comes first and leaves no state.
#[test]
fn a_cookie_is_asked_for_and_returned() {
    let loaded = EndpointConfig { cookie_threshold: 0, ..EndpointConfig::default() };
    let mut pair = Pair::new([EndpointConfig::default(), loaded], connections());
    pair.left.initiate(pair.now);
    let first = pair.left.sent[0].1.clone();
    pair.deliver(|_| true);
    assert_eq!(pair.right.endpoint.ike_sas().count(), 0);
    let answer = pair.right.sent[0].1.clone();
    // ARCHITECTURE invariant 5.
    assert!(answer.len() < first.len());
    pair.run();

    pair.assert_one_tunnel();
}

/// CHECKLIST C05, E04: another group and a cookie, and the cookie stays in the third request.
#[test]
fn cookie_and_invalid_ke_come_in_both_orders() {
    for threshold in [0, 30] {
        let loaded = EndpointConfig { cookie_threshold: threshold, ..EndpointConfig::default() };
        let offers =
            with_ike("aes256gcm16-prfsha384-x25519-ecp384", "aes256gcm16-prfsha384-ecp384");
        let mut pair = Pair::new([EndpointConfig::default(), loaded], offers);
        pair.left.initiate(pair.now);
        pair.run();

        pair.assert_one_tunnel();
    }
}

//= https://www.rfc-editor.org/rfc/rfc7296#section-2.21.1
//= type=test
//# errors that occur before a cryptographically protected IKE SA is established need to be
//# handled very carefully.
/// CHECKLIST A05: an error that nobody has authenticated does not end the attempt.
#[test]
fn a_forged_refusal_does_not_end_the_attempt() {
    let mut pair = Pair::default_pair();
    let request = pair.left.initiate(pair.now);
    let (to_right, init) = pair.left.sent.pop_front().unwrap();
    // INVALID_SYNTAX from somebody who saw the request.
    let mut forged = init[..8].to_vec();
    forged.extend([0; 8]);
    forged.extend([41, 0x20, 34, 0x20, 0, 0, 0, 0, 0, 0, 0, 36, 0, 0, 0, 8, 0, 0, 0, 7]);
    pair.left.datagram(reversed(to_right), &forged, pair.now);
    assert!(pair.left.done.is_empty());
    pair.left.sent.push_back((to_right, init));
    pair.run();

    assert_eq!(pair.left.done.get(&request), Some(&Ok(())));
    pair.assert_one_tunnel();
}

/// CHECKLIST A06, D10: E101 with both sides' values, on both sides.
#[test]
fn no_common_ike_suite_is_reported_on_both_sides() {
    let offers = with_ike("aes256gcm16-prfsha384-x25519", "aes128-sha256-modp2048");
    let mut pair = Pair::new(Default::default(), offers.clone());
    let request = pair.left.initiate(pair.now);
    pair.run();
    assert_eq!(pair.right.endpoint.ike_sas().count(), 0);
    assert!(pair.left.done.is_empty(), "an unauthenticated error is not believed at once");
    pair.run_for(Duration::from_secs(3));

    let failure = pair.left.done[&request].clone().unwrap_err();
    let ours = offers[0].proposals.clone();
    let expected = FailureReason::NoCommonIkeSuite { by: By::Peer, ours, theirs: Vec::new() };
    assert!(failure.elapsed < Duration::from_secs(1), "when it came, not when it was believed");
    assert_eq!((failure.reason.code(), failure.reason), (Some(101), expected));
    let seen = &pair.right.failures()[0].reason;
    assert!(matches!(seen, FailureReason::NoCommonIkeSuite { by: By::Us, theirs, .. }
        if theirs[0].transforms == offers[0].proposals[0].transforms()));
}

/// CHECKLIST F02: E203 on both sides, and nothing is left.
#[test]
fn a_wrong_secret_is_named() {
    let mut pair = Pair::default_pair();
    pair.right.secret = b"another secret altogether";
    let request = pair.left.initiate(pair.now);
    pair.run();

    let failure = pair.left.done[&request].clone().unwrap_err();
    assert_eq!(failure.reason.code(), Some(203));
    assert!(matches!(failure.reason, FailureReason::WrongSecret { certain: true, .. }));
    assert!(matches!(
        pair.right.failures()[0].reason,
        FailureReason::WrongSecret { by: By::Us, certain: true, .. }
    ));
    assert!(pair.left.endpoint.is_idle() && pair.right.endpoint.is_idle());
}

/// CHECKLIST F22: E204, told apart from E203 between Adit peers.
#[test]
fn an_unknown_identity_is_named() {
    let mut connections = connections();
    connections[1].pad.remote_id = "somebody.example".parse().unwrap();
    let mut pair = Pair::new(Default::default(), connections);
    let request = pair.left.initiate(pair.now);
    pair.run();

    let failure = pair.left.done[&request].clone().unwrap_err();
    assert!(matches!(failure.reason, FailureReason::UnknownToPeer { .. }));
    assert!(matches!(&pair.right.failures()[0].reason, FailureReason::UnknownPeer { expected, .. }
        if expected.len() == 1));
}

/// CHECKLIST A07, H03: the IKE SA stays, and the refusing side's selectors are told.
#[test]
fn a_selector_mismatch_leaves_the_ike_sa_and_shows_both_sides() {
    let mut connections = connections();
    connections[1].children[0].local_ts = vec![selector("10.3.0.0/24")];
    let mut pair = Pair::new(Default::default(), connections);
    let request = pair.left.initiate(pair.now);
    pair.run();

    assert_eq!((pair.left.established().len(), pair.right.established().len()), (1, 1));
    assert!(pair.left.children.is_empty() && pair.right.children.is_empty());
    let failure = pair.left.done[&request].clone().unwrap_err();
    let FailureReason::SelectorMismatch { our_remote, their_view_of_remote, .. } = failure.reason
    else {
        panic!("{:?}", failure.reason);
    };
    assert_eq!(our_remote[0].to_string(), "10.2.0.0/24");
    assert_eq!(their_view_of_remote[0].to_string(), "10.3.0.0/24");
    assert_eq!(pair.right.failures()[0].reason.code(), Some(301));
}

/// E102 with the refusing side's proposals.
#[test]
fn an_esp_mismatch_shows_both_sides() {
    let mut connections = connections();
    let esp = |text| adit_db::ProposalSpec::esp_list(text).unwrap();
    connections[0].children[0].proposals = esp("aes256gcm16");
    connections[1].children[0].proposals = esp("aes128-sha256");
    let mut pair = Pair::new(Default::default(), connections);
    let request = pair.left.initiate(pair.now);
    pair.run();

    let failure = pair.left.done[&request].clone().unwrap_err();
    let FailureReason::NoCommonEspSuite { theirs, .. } = &failure.reason else {
        panic!("{:?}", failure.reason);
    };
    assert!(theirs[0].transforms.iter().any(|transform| transform.key_bits == Some(128)));
}

/// CHECKLIST J01: from either side.
#[test]
fn a_child_is_rekeyed() {
    let mut pair = Pair::established();
    let before: Vec<ChildSaId> = pair.left.children.keys().copied().collect();
    for left in [true, false] {
        let peer = if left { &mut pair.left } else { &mut pair.right };
        let id = *peer.children.keys().next().unwrap();
        peer.command(Command::RekeyChild(id), pair.now);
        pair.run();
        pair.assert_one_tunnel();
    }
    assert!(before.iter().all(|id| !pair.left.children.contains_key(id)));
}

/// CHECKLIST K01, K02, K17: from either side, with ML-KEM by IKE_FOLLOWUP_KE; the children move.
#[test]
fn the_ike_sa_is_rekeyed() {
    let mut pair = Pair::established();
    for left in [true, false] {
        let before = pair.left.established()[0].spi_i;
        let children: Vec<ChildSaId> = pair.left.children.keys().copied().collect();
        let peer = if left { &mut pair.left } else { &mut pair.right };
        let id = peer.established()[0].id;
        peer.command(Command::RekeyIke(id), pair.now);
        pair.run();

        pair.assert_one_tunnel();
        let info = &pair.left.established()[0];
        assert_ne!(info.spi_i, before);
        assert_eq!(info.initiator, left);
        assert!(has_additional_key(&info.suite));
        assert_eq!(children, pair.left.children.keys().copied().collect::<Vec<_>>());
    }
}

/// CHECKLIST I05: the child goes, the IKE SA stays.
#[test]
fn a_child_is_deleted() {
    let mut pair = Pair::established();
    let (_, id) = ids(&pair);
    let request = pair.left.request();
    pair.left.command(Command::TerminateChild { id, request }, pair.now);
    pair.run();

    assert!(pair.left.children.is_empty() && pair.right.children.is_empty());
    assert_eq!((pair.left.established().len(), pair.right.established().len()), (1, 1));
    assert_eq!(pair.left.done.get(&request), Some(&Ok(())));
}

/// CHECKLIST M08, K13: both delete the IKE SA at once.
#[test]
fn both_delete_the_ike_sa_at_once() {
    let mut pair = Pair::established();
    for peer in [&mut pair.left, &mut pair.right] {
        let id = peer.established()[0].id;
        let request = peer.request();
        peer.command(Command::TerminateIke { id, request }, pair.now);
    }
    pair.run();

    assert!(pair.left.endpoint.is_idle() && pair.right.endpoint.is_idle());
    assert!(pair.left.children.is_empty() && pair.right.children.is_empty());
    assert!(pair.left.done.values().all(Result::is_ok));
}

/// CHECKLIST B01, B03, B06: each message lost once, in turn.
#[test]
fn any_one_message_may_be_lost() {
    for lost in 0..6 {
        let mut pair = Pair::default_pair();
        let request = pair.left.initiate(pair.now);
        let mut count = 0;
        for _ in 0..60 {
            let next = std::cell::Cell::new(count);
            pair.deliver(|_| {
                next.set(next.get() + 1);
                next.get() != lost + 1
            });
            count = next.get();
            if pair.left.done.contains_key(&request) {
                break;
            }
            pair.now += Duration::from_millis(300);
            pair.left.timeout(pair.now);
            pair.right.timeout(pair.now);
        }
        assert_eq!(pair.left.done.get(&request), Some(&Ok(())), "message {lost}");
        pair.run();
        pair.assert_one_tunnel();
    }
}

/// CHECKLIST B07: every message three times makes nothing twice.
#[test]
fn duplicates_make_no_state() {
    let mut pair = Pair::default_pair();
    pair.left.initiate(pair.now);
    while !pair.left.sent.is_empty() || !pair.right.sent.is_empty() {
        for sent in [&mut pair.left.sent, &mut pair.right.sent] {
            let once: Vec<_> = sent.drain(..).collect();
            // Repetitions are answered from the cache, so only the first round is tripled.
            sent.extend(once.iter().cloned());
            sent.extend(once.iter().filter(|(_, octets)| !is_response(octets)).cloned());
        }
        pair.deliver(|_| true);
        if pair.delivered > 400 {
            panic!("no end of it");
        }
    }
    pair.assert_one_tunnel();
    assert_eq!(pair.right.endpoint.ike_sas().count(), 1);
}

fn is_response(octets: &[u8]) -> bool {
    header(octets).flags.is_response()
}

/// CHECKLIST C09: a handshake that is not finished does not stay.
/// CHECKLIST V20.
#[test]
fn a_half_open_ike_sa_expires() {
    let mut pair = Pair::default_pair();
    pair.left.initiate(pair.now);
    pair.deliver(|_| true);
    assert_eq!(pair.right.endpoint.ike_sas().count(), 1);
    pair.right.sent.clear();
    pair.now += Duration::from_secs(31);
    pair.right.timeout(pair.now);

    assert_eq!(pair.right.endpoint.ike_sas().count(), 0);
    assert!(pair.right.sent.is_empty(), "nothing is sent to somebody who did not authenticate");
}

/// Half-open IKE SAs of one address and of all are limited, cookie or not.
#[test]
fn half_open_ike_sas_are_limited() {
    let config = EndpointConfig {
        half_open_per_address_max: 3,
        cookie_threshold: usize::MAX,
        ..EndpointConfig::default()
    };
    let mut pair = Pair::new([EndpointConfig::default(), config], connections());
    pair.left.initiate(pair.now);
    let (to_right, init) = pair.left.sent.pop_front().unwrap();
    for number in 0..10 {
        let mut init = init.clone();
        init[0] = number;
        pair.right.datagram(reversed(to_right), &init, pair.now);
    }
    assert_eq!(pair.right.endpoint.ike_sas().count(), 3);
    assert_eq!(pair.right.sent.len(), 3);

    // Of IPv6 a whole /64 counts as one address.
    pair.right.sent.clear();
    let [_, mut right] = connections();
    right.local_addresses = vec![HostSpec::Any];
    right.remote_addresses = vec![HostSpec::Any];
    pair.right.command(Command::Load(Arc::new(right)), pair.now);
    for number in 1..=10_u16 {
        let stranger = format!("2001:db8::{number}:0:0:{number}").parse().unwrap();
        let from = path("2001:db8:1::1".parse().unwrap(), stranger);
        pair.right.datagram(from, &init, pair.now);
    }
    assert_eq!(pair.right.sent.len(), 3);
    let other = path("2001:db8:1::1".parse().unwrap(), "2001:db8:0:1::1".parse().unwrap());
    pair.right.datagram(other, &init, pair.now);
    assert_eq!(pair.right.sent.len(), 4);
}

/// Every half-open IKE SA is given back to the address it was counted for, also when the handshake
/// goes on from another one: a NAT with a pool of addresses must not lock its users out.
#[test]
fn a_handshake_that_moves_leaves_no_count_behind() {
    let config = EndpointConfig { half_open_per_address_max: 1, ..EndpointConfig::default() };
    let mut connections = connections();
    connections[1].remote_addresses = vec![HostSpec::Any];
    let mut pair = Pair::new([EndpointConfig::default(), config], connections);
    let mut first_path = reversed(path(LEFT, RIGHT));
    first_path.remote.set_ip("198.51.100.1".parse().unwrap());
    for round in 0..3_u8 {
        pair.left.initiate(pair.now);
        let (_, mut init) = pair.left.sent.pop_front().unwrap();
        pair.right.datagram(first_path, &init, pair.now);
        let (to_left, answer) = pair.right.sent.pop_front().unwrap();
        pair.left.datagram(reversed(to_left), &answer, pair.now);
        // The rest comes from the left side's own address.
        pair.run();
        assert_eq!(pair.right.established().len(), 1, "round {round}");

        // A stranger at the first address is let in: nothing is counted there any more.
        init[0] ^= 0xff;
        pair.right.datagram(first_path, &init, pair.now);
        assert_eq!(pair.right.sent.drain(..).count(), 1, "round {round}");
        let ike = pair.left.established()[0].id;
        let request = pair.left.request();
        pair.left.command(Command::TerminateIke { id: ike, request }, pair.now);
        // Nor does the stranger stay counted when its time is over.
        pair.run_for(Duration::from_secs(40));
    }
}

/// CHECKLIST C01, E17: a public value that is not valid costs as much work as a good one, so it
/// counts as much: a flood of them is asked for cookies, and repetitions are answered for nothing.
#[test]
fn invalid_public_values_are_counted() {
    let offer = "aes256gcm16-prfsha384-x25519";
    let mut pair = Pair::new(Default::default(), with_ike(offer, offer));
    pair.left.initiate(pair.now);
    let (to_right, init) = pair.left.sent.pop_front().unwrap();
    let ke = init.windows(4).position(|octets| octets == [0, 31, 0, 0]).unwrap();
    let mut zeros = init.clone();
    zeros[ke + 4..ke + 36].fill(0);
    for number in 0..40 {
        zeros[0] = number;
        pair.right.datagram(reversed(to_right), &zeros, pair.now);
        pair.right.datagram(reversed(to_right), &zeros, pair.now);
    }
    let answers: Vec<u16> = pair.right.sent.drain(..).map(|(_, octets)| notify(&octets)).collect();
    let (refusals, cookies) = answers.split_at(60);
    assert!(refusals.iter().all(|kind| *kind == NotifyType::INVALID_SYNTAX.0), "{answers:?}");
    assert!(cookies.iter().all(|kind| *kind == NotifyType::COOKIE.0), "{answers:?}");
    assert_eq!(pair.right.endpoint.ike_sas().count(), 0);

    pair.run_for(Duration::from_secs(31));
    pair.right.datagram(reversed(to_right), &init, pair.now);
    assert!(pair.right.sent[0].1.len() > 200, "without a cookie again");
}

/// The type of the notify that an unprotected message begins with.
fn notify(octets: &[u8]) -> u16 {
    assert_eq!(octets[16], PayloadType::NOTIFY.0);
    u16::from_be_bytes([octets[34], octets[35]])
}

/// What a stranger makes us keep is bounded: a first request that fits no path is dropped.
#[test]
fn a_huge_first_request_is_dropped() {
    for (padding, answered) in [(1_000_u16, true), (8_000, false), (60_000, false)] {
        let mut pair = Pair::default_pair();
        pair.left.initiate(pair.now);
        let (to_right, mut init) = pair.left.sent.pop_front().unwrap();
        let first = std::mem::replace(&mut init[16], PayloadType::VENDOR_ID.0);
        let mut vendor_id = vec![first, 0];
        vendor_id.extend((padding + 4).to_be_bytes());
        vendor_id.resize(usize::from(padding) + 4, 7);
        init.splice(28..28, vendor_id);
        let length = u32::try_from(init.len()).unwrap();
        init[24..28].copy_from_slice(&length.to_be_bytes());
        pair.right.datagram(reversed(to_right), &init, pair.now);
        assert_eq!(pair.right.sent.len() == 1, answered, "{padding}");
        assert_eq!(pair.right.endpoint.ike_sas().count(), usize::from(answered));
    }
}

/// Fragments that wait for others in vain are dropped in whatever state: their timer must not be
/// due again and again.
#[test]
fn a_lost_fragment_leaves_no_timer_behind() {
    let small = FragmentOctets { v4: 96, v6: 116 };
    let config = EndpointConfig { fragment_octets: small, ..EndpointConfig::default() };
    let offer = "aes256gcm16-prfsha384-x25519";
    let mut pair = Pair::new([config, EndpointConfig::default()], with_ike(offer, offer));
    pair.left.initiate(pair.now);
    pair.run();
    pair.left.command(Command::RekeyIke(ids(&pair).0), pair.now);
    // The delete of the replaced IKE SA comes in fragments, of which one arrives.
    let is_first_fragment = |octets: &[u8]| octets[32..34] == [0, 1];
    let passes = |octets: &[u8]| {
        let exchange = header(octets).exchange;
        exchange != ExchangeType::INFORMATIONAL || is_first_fragment(octets)
    };
    while pair.deliver(passes) {}
    let replaced = |info: &adit_ike::IkeSaInfo| info.state == IkeSaState::Rekeyed;
    assert!(pair.right.endpoint.ike_sas().any(|info| replaced(&info)));

    let due = pair.right.endpoint.poll_timeout().unwrap();
    assert!(due < pair.now + Duration::from_secs(31), "that of the fragments");
    pair.right.timeout(due);
    assert!(pair.right.endpoint.poll_timeout().is_none_or(|next| next > due));
    assert!(pair.right.endpoint.ike_sas().any(|info| replaced(&info)));
}

/// CHECKLIST D02, M09: strangers get little, and not often.
#[test]
fn strangers_are_answered_rarely() {
    let mut pair = Pair::established();
    let from = path(RIGHT, LEFT);
    let message = |version: u8, exchange: u8| {
        let mut octets = vec![7; 16];
        octets.extend([46, version, exchange, 0x08, 0, 0, 0, 9, 0, 0, 0, 32, 0, 0, 0, 4]);
        octets
    };
    for _ in 0..100 {
        pair.right.datagram(from, &message(0x20, 37), pair.now);
        pair.right.datagram(from, &message(0x30, 34), pair.now);
    }
    assert!(pair.right.sent.len() <= 20);
    assert!(pair.right.sent.iter().all(|(_, octets)| octets.len() <= 36 && is_response(octets)));
    pair.right.sent.clear();
    pair.assert_one_tunnel();
}

/// CHECKLIST D11, M03: forged and changed messages leave an established IKE SA alone.
#[test]
fn octets_without_keys_change_nothing() {
    let mut pair = Pair::established();
    let (ike, _) = ids(&pair);
    pair.left.command(Command::RekeyIke(ike), pair.now);
    let (to_right, request) = pair.left.sent[0].clone();
    // The version is answered before keys count.
    for index in (16..request.len()).filter(|index| *index != 17) {
        let mut changed = request.clone();
        changed[index] ^= 0x40;
        pair.right.datagram(reversed(to_right), &changed, pair.now);
        pair.right.datagram(reversed(to_right), &request[..index], pair.now);
    }
    // An unprotected INVALID_IKE_SPI is a hint at most.
    let info = &pair.right.established()[0];
    let mut notify = [info.spi_i.0, info.spi_r.0].concat();
    notify.extend([41, 0x20, 37, 0x28, 0, 0, 0, 0, 0, 0, 0, 36, 0, 0, 0, 8, 0, 0, 0, 4]);
    pair.right.datagram(reversed(to_right), &notify, pair.now);

    assert!(pair.right.sent.is_empty());
    assert_eq!(pair.right.established()[0].state, IkeSaState::Established);
    pair.run();
    pair.assert_one_tunnel();
}

/// CHECKLIST D07: an unknown critical payload in IKE_SA_INIT is named, and leaves no state.
#[test]
fn an_unknown_critical_payload_is_refused() {
    let mut pair = Pair::default_pair();
    pair.left.initiate(pair.now);
    let (to_right, mut init) = pair.left.sent.pop_front().unwrap();
    // A payload of type 49 in front, critical, empty.
    let first = std::mem::replace(&mut init[16], 200);
    let length = u32::try_from(init.len() + 4).unwrap();
    init[24..28].copy_from_slice(&length.to_be_bytes());
    init.splice(28..28, [first, 0x80, 0, 4]);
    pair.right.datagram(reversed(to_right), &init, pair.now);

    let (_, answer) = pair.right.sent.pop_front().unwrap();
    assert_eq!(answer[28..], [0, 0, 0, 9, 0, 0, 0, 1, 200]);
    assert_eq!(pair.right.endpoint.ike_sas().count(), 0);
}

/// CHECKLIST F24, K15: of a second IKE SA between the same identities `keep` keeps the old one,
/// `replace` the new one, `never` both. From the address of the old one it may be a repetition of
/// authentication, which `keep` does not stand in the way of.
#[test]
fn uniqueness_is_by_policy() {
    for (unique, address, old_stays, count) in [
        (Unique::Keep, "192.0.2.9", true, 1),
        (Unique::Keep, "192.0.2.1", false, 1),
        (Unique::Replace, "192.0.2.9", false, 1),
        (Unique::Replace, "192.0.2.1", false, 1),
        (Unique::Never, "192.0.2.9", true, 2),
    ] {
        let mut connections = connections();
        connections.iter_mut().for_each(|connection| connection.unique = unique);
        connections[1].remote_addresses.clear();
        let mut pair = Pair::new(Default::default(), connections.clone());
        pair.left.initiate(pair.now);
        pair.run();
        let old = pair.right.established()[0].spi_i;
        let [mut second, _] = connections;
        second.name = "second".parse().unwrap();
        second.local_addresses = vec![address.parse().unwrap()];
        pair.left.command(Command::Load(Arc::new(second.clone())), pair.now);
        let (connection, request) = (second.name, pair.left.request());
        pair.left.command(Command::Initiate { connection, child: None, request }, pair.now);
        pair.run();

        let remaining = pair.right.established();
        assert_eq!(remaining.len(), count, "{unique:?}");
        assert_eq!(remaining.iter().any(|info| info.spi_i == old), old_stays, "{unique:?}");
        let is_refused = unique == Unique::Keep && old_stays;
        assert_eq!(pair.left.done[&request].is_ok(), !is_refused);
        assert_eq!(pair.left.established().len(), count);
    }
}

/// CHECKLIST M07: who lost everything says so, and its old IKE SA goes without a word.
#[test]
fn initial_contact_clears_the_old_ike_sa() {
    let mut pair = Pair::established();
    let [left, _] = connections();
    pair.left = common::Peer::new(EndpointConfig::default(), 3);
    pair.left.command(Command::Load(Arc::new(left)), pair.now);
    pair.left.initiate(pair.now);
    pair.run();

    pair.assert_one_tunnel();
}

/// Debug keys come only when asked for, and twice with IKE_INTERMEDIATE.
#[test]
fn keys_are_exported_only_on_request() {
    let pair = Pair::established();
    assert!(pair.left.keys.is_empty() && pair.right.keys.is_empty());

    let exporting = EndpointConfig { export_keys: true, ..EndpointConfig::default() };
    let mut pair = Pair::new([exporting.clone(), exporting], connections());
    pair.left.initiate(pair.now);
    pair.run();
    let ike = pair.left.keys.iter().filter(|keys| matches!(keys, DebugKeys::Ike(_))).count();
    let esp = pair.left.keys.iter().filter(|keys| matches!(keys, DebugKeys::Esp(_))).count();
    assert_eq!((ike, esp), (2, 2));
    for (left, right) in pair.left.keys.iter().zip(&pair.right.keys) {
        if let (DebugKeys::Ike(left), DebugKeys::Ike(right)) = (left, right) {
            assert_eq!((&left.sk_ei, &left.sk_er), (&right.sk_ei, &right.sk_er));
        }
    }
}

/// Reloading the same configuration touches nothing; a changed child loses only itself; a changed
/// identity takes the IKE SA.
#[test]
fn reloading_touches_only_what_changed() {
    let mut pair = Pair::established();
    let [left, _] = connections();
    pair.left.command(Command::Load(Arc::new(left.clone())), pair.now);
    assert!(pair.left.sent.is_empty());

    let mut other_timer = left.clone();
    other_timer.rekey_time = Duration::from_secs(1_000);
    pair.left.command(Command::Load(Arc::new(other_timer)), pair.now);
    assert!(pair.left.sent.is_empty());

    let mut other_child = left.clone();
    other_child.children[0].local_ts = vec![selector("10.1.0.0/25")];
    pair.left.command(Command::Load(Arc::new(other_child)), pair.now);
    pair.run();
    assert!(pair.left.children.is_empty());
    assert_eq!(pair.left.established().len(), 1);

    let mut other_id = left;
    other_id.pad.local_id = Some("other.example".parse().unwrap());
    pair.left.command(Command::Load(Arc::new(other_id)), pair.now);
    pair.run();
    assert!(pair.left.endpoint.is_idle());
}

/// CHECKLIST B11, B15: a peer that never answers is given up with numbers.
#[test]
fn a_silent_peer_is_given_up() {
    let mut pair = Pair::default_pair();
    let request = pair.left.initiate(pair.now);
    for _ in 0..200 {
        pair.left.sent.clear();
        let Some(next) = pair.left.endpoint.poll_timeout() else { break };
        pair.now = next;
        pair.left.timeout(next);
    }
    let failure = pair.left.done[&request].clone().unwrap_err();
    assert!(matches!(
        failure.reason,
        FailureReason::PeerSilent {
            exchange: ExchangeType::IKE_SA_INIT,
            transmissions: 6,
            unreachable: false,
            ..
        }
    ));
    assert!(failure.elapsed >= Duration::from_secs(25));
    assert!(pair.left.endpoint.is_idle());
}

/// E121: IKE_SA_INIT answered on 500, nothing back on 4500.
#[test]
fn a_blocked_nat_port_is_named() {
    let mut connections = connections();
    connections[0].encap = adit_db::Encap::Udp;
    let mut pair = Pair::new(Default::default(), connections);
    let request = pair.left.initiate(pair.now);
    for _ in 0..200 {
        let (blocked, open): (Vec<_>, Vec<_>) =
            pair.left.sent.drain(..).partition(|(path, _)| path.remote.port() == 4500);
        assert!(blocked.iter().all(|(path, _)| path.local.port() == 4500));
        pair.left.sent.extend(open);
        pair.deliver(|_| true);
        if pair.left.done.contains_key(&request) {
            break;
        }
        if let Some(next) = pair.left.endpoint.poll_timeout() {
            pair.now = pair.now.max(next);
            pair.left.timeout(pair.now);
        }
    }
    let failure = pair.left.done[&request].clone().unwrap_err();
    assert_eq!(failure.reason.code(), Some(121), "{:?}", failure.reason);
}

/// RFC 7296 §2.11: an answer goes back to where its request came from, also after the change of ports.
#[test]
fn answers_follow_the_change_of_ports() {
    let mut connections = connections();
    connections.iter_mut().for_each(|connection| connection.encap = adit_db::Encap::Udp);
    let mut pair = Pair::new(Default::default(), connections);
    pair.left.initiate(pair.now);
    pair.run();
    for peer in [&pair.left, &pair.right] {
        let established = peer.established();
        let ports = (established[0].local.port(), established[0].remote.port());
        assert_eq!(ports, (4500, 4500));
    }
}

/// A job that is never answered does not keep the attempt for ever.
#[test]
fn a_lost_job_ends_the_attempt() {
    let mut pair = Pair::default_pair();
    pair.left.answers_jobs = false;
    let request = pair.left.initiate(pair.now);
    pair.run_for(Duration::from_secs(60));

    assert!(pair.left.done[&request].is_err());
    assert!(pair.left.endpoint.is_idle() && pair.right.endpoint.is_idle());
}

/// Everything is deleted on shutdown, and nobody gets in any more.
#[test]
fn shutdown_leaves_nothing() {
    let mut pair = Pair::established();
    pair.right.command(Command::Shutdown, pair.now);
    pair.run();
    assert!(pair.right.endpoint.is_idle() && pair.right.children.is_empty());
    assert!(pair.left.endpoint.is_idle() && pair.left.children.is_empty());
    assert!(
        pair.left.events.iter().any(|event| matches!(
            event,
            Event::IkeDown { reason: FailureReason::ClosedByPeer, .. }
        ))
    );
    pair.left.initiate(pair.now);
    pair.deliver(|_| true);
    assert!(pair.right.sent.is_empty());
}
