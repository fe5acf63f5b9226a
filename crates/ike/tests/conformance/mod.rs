//! Rules of RFC 7296 that docs/rfc7296.md names and nothing else here comes to: what is said in clear,
//! errors after IKE_AUTH, a peer that takes no more children, an identity of several hosts.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use adit_db::{HostSpec, Mobike, Unique};
use adit_ike::{Command, EndpointConfig, Input, PacketEvent};
use adit_wire::iana::{ExchangeType, NotifyType, PayloadType, ProtocolId};
use adit_wire::ikev2::{ChainBuilder, Flags, Header, Notify, Payload, Payloads, RawPayload};

use super::{header, ids, is_response};
use crate::common::{
    LEFT, Pair, Peer, RIGHT, connections, opened, path, reversed, sealed, with_ike,
};
use crate::forged::{FIRST, answer, child_request, established, keys, notifies};

/// A message in clear whose SPIs are nobody's, with one notify.
fn in_clear(exchange: ExchangeType, kind: NotifyType) -> Vec<u8> {
    let mut octets = vec![7; 16];
    octets.extend([41, 0x20, exchange.0, 0x08, 0, 0, 0, 0, 0, 0, 0, 40]);
    let [high, low] = kind.0.to_be_bytes();
    octets.extend([0, 0, 0, 12, 0, 0, high, low, 1, 2, 3, 4]);
    octets
}

//= https://www.rfc-editor.org/rfc/rfc7296#section-1.5
//= type=test
//# This message is not part of an INFORMATIONAL exchange, and the receiving node MUST NOT respond to
//# it because doing so could cause a message loop.
/// RFC 7296 §2.21.4: it is a hint, for the IKE SA with who sent it, and not too often. CHECKLIST M03, M09.
#[test]
fn a_word_in_clear_about_an_unknown_spi_is_a_hint() {
    let mut pair = Pair::established();
    let peer = pair.right.established()[0].remote;
    let mut from_there = path(RIGHT, LEFT);
    from_there.remote = peer;
    let mut from_elsewhere = from_there;
    from_elsewhere.remote.set_port(peer.port() + 1);
    let told = in_clear(ExchangeType::INFORMATIONAL, NotifyType::INVALID_SPI);

    pair.right.datagram(from_there, &told, pair.now);
    assert!(pair.right.sent.is_empty(), "the peer has just been heard");
    pair.now += Duration::from_secs(60);
    pair.right.datagram(from_elsewhere, &told, pair.now);
    for (exchange, kind) in [
        (ExchangeType::INFORMATIONAL, NotifyType::INVALID_IKE_SPI),
        (ExchangeType::CREATE_CHILD_SA, NotifyType::INVALID_SPI),
    ] {
        pair.right.datagram(from_there, &in_clear(exchange, kind), pair.now);
    }
    assert!(pair.right.sent.is_empty(), "neither an answer nor a question");

    for _ in 0..100 {
        pair.right.datagram(from_there, &told, pair.now);
    }
    let [(_, asked)] = &pair.right.sent.make_contiguous()[..] else {
        panic!("{} messages", pair.right.sent.len());
    };
    assert_eq!(header(asked).exchange, ExchangeType::INFORMATIONAL);
    assert!(!is_response(asked), "it asks whether the peer is there");
    pair.run();
    pair.assert_one_tunnel();
}

/// RFC 7296 §1.5, §2.21.4: only what is encrypted under keys that are gone is told so.
#[test]
fn only_what_is_encrypted_is_answered_with_invalid_ike_spi() {
    let mut pair = Pair::established();
    let spis = [7; 16];
    let encrypted = |first: u8, rest: &[u8]| {
        let length = u8::try_from(28 + rest.len()).unwrap();
        let fixed = [first, 0x20, 37, 0x08, 0, 0, 0, 9, 0, 0, 0, length];
        [&spis[..], &fixed, rest].concat()
    };
    let sk = [0, 0, 0, 12, 1, 2, 3, 4, 5, 6, 7, 8];
    let behind_another = [&[46, 0, 0, 5, 9], &sk[..]].concat();
    for message in [encrypted(46, &sk), encrypted(53, &sk), encrypted(43, &behind_another)] {
        pair.right.datagram(path(RIGHT, LEFT), &message, pair.now);
        let (_, response) = pair.right.sent.pop_front().unwrap();
        assert!(is_response(&response));
        assert_eq!((&response[..16], &response[20..24]), (&spis[..], &message[20..24]));
        assert_eq!(response[28..], [0, 0, 0, 8, 0, 0, 0, 4], "INVALID_IKE_SPI");
    }
    pair.right.datagram(path(RIGHT, LEFT), &encrypted(43, &[0, 0, 0, 5, 9]), pair.now);
    assert!(pair.right.sent.is_empty());
}

//= https://www.rfc-editor.org/rfc/rfc7296#section-2.21.2
//= type=test
//# the UNSUPPORTED_CRITICAL_PAYLOAD, INVALID_SYNTAX, and AUTHENTICATION_FAILED notifications are the only
//# ones to cause the IKE SA to be deleted or not created, without a Delete payload.
#[test]
fn three_errors_end_an_ike_sa_without_a_delete() {
    for (kind, ends) in [
        (NotifyType::UNSUPPORTED_CRITICAL_PAYLOAD, true),
        (NotifyType::INVALID_SYNTAX, true),
        (NotifyType::AUTHENTICATION_FAILED, true),
        (NotifyType::INVALID_SPI, false),
        (NotifyType::NO_PROPOSAL_CHOSEN, false),
        (NotifyType::TEMPORARY_FAILURE, false),
        (NotifyType(8_000), false),
    ] {
        let mut pair = established();
        let mut chain = ChainBuilder::new();
        for kind in [NotifyType(8_191), kind] {
            chain.put(&Payload::Notify(Notify::new(kind, &[])));
        }
        let answer = answer(&mut pair, ExchangeType::INFORMATIONAL, FIRST, chain);
        assert_eq!(answer, (PayloadType::NONE, Vec::new()), "{kind}");
        assert_eq!(pair.right.established().is_empty(), ends, "{kind}");
        assert_eq!(pair.right.children.is_empty(), ends, "{kind}");
    }
}

/// A pair whose left side has sent its IKE_AUTH request, and whose right side tells its keys.
fn at_ike_auth(unique: Unique) -> Pair {
    let offer = "aes256gcm16-prfsha384-x25519";
    let exporting = EndpointConfig { export_keys: true, ..EndpointConfig::default() };
    let mut connections = with_ike(offer, offer);
    connections[0].unique = unique;
    let mut pair = Pair::new([EndpointConfig::default(), exporting], connections);
    pair.left.initiate(pair.now);
    pair.deliver(|_| true);
    pair.deliver(|_| true);
    assert_eq!(header(&pair.left.sent[0].1).exchange, ExchangeType::IKE_AUTH);
    pair
}

/// RFC 7296 §2.16: who leaves AUTH out asks for EAP, which nobody here speaks.
#[test]
fn who_asks_for_eap_is_refused() {
    let mut pair = at_ike_auth(Unique::default());
    let (to_right, request) = pair.left.sent.pop_front().unwrap();
    let (first, octets) = opened(keys(&pair), &request);
    let mut chain = ChainBuilder::new();
    let others = Payloads::new(first, &octets).map(Result::unwrap);
    others.filter(|raw| raw.kind != PayloadType::AUTH).for_each(|raw| chain.put_raw(&raw));
    let forged = sealed(keys(&pair), header(&request), chain);
    pair.right.datagram(reversed(to_right), &forged, pair.now);
    let (_, response) = pair.right.sent.pop_front().unwrap();
    let answer = opened(keys(&pair), &response);
    assert_eq!(notifies(&answer), [NotifyType::AUTHENTICATION_FAILED]);
    assert!(pair.right.established().is_empty() && pair.right.children.is_empty());
}

/// RFC 7296 §2.21.2: an initiator that cannot read the IKE_AUTH response tells the responder, which takes the
/// IKE SA for established and forgets it then.
#[test]
fn a_responder_is_told_that_its_ike_auth_was_not_understood() {
    let unknown =
        RawPayload { kind: PayloadType(200), critical: true, next: PayloadType::NONE, body: &[1] };
    let short_nonce = RawPayload { kind: PayloadType::NONCE, critical: false, ..unknown };
    for (odd, kind, data) in [
        (unknown, NotifyType::UNSUPPORTED_CRITICAL_PAYLOAD, &[200][..]),
        (short_nonce, NotifyType::INVALID_SYNTAX, &[]),
    ] {
        let mut pair = at_ike_auth(Unique::default());
        let auth = header(&pair.left.sent[0].1);
        pair.deliver(|_| true);
        pair.right.sent.clear();
        assert_eq!(pair.right.established().len(), 1);

        let mut chain = ChainBuilder::new();
        chain.put_raw(&odd);
        let flags = Flags::new(false, true);
        let response = sealed(keys(&pair), Header { flags, ..auth }, chain);
        pair.left.datagram(path(LEFT, RIGHT), &response, pair.now);
        assert!(pair.left.done.values().all(Result::is_err) && !pair.left.done.is_empty());
        let told = opened(keys(&pair), &pair.left.sent[0].1);
        let payloads: Vec<_> = Payloads::new(told.0, &told.1).map(Result::unwrap).collect();
        let [raw] = payloads[..] else { panic!("{payloads:?}") };
        assert_eq!(Payload::read(raw), Ok(Payload::Notify(Notify::new(kind, data))));
        pair.run();
        assert!(pair.right.established().is_empty() && pair.right.children.is_empty());
        assert_eq!(pair.left.endpoint.ike_sas().count(), 0);
    }
}

//= https://www.rfc-editor.org/rfc/rfc7296#section-4
//= type=test
//# If the responder rejects the CREATE_CHILD_SA request with a NO_ADDITIONAL_SAS notification, the
//# implementation MUST be capable of instead deleting the old SA and creating a new one.
#[test]
fn a_peer_that_takes_no_more_children_gets_another_ike_sa() {
    let mut pair = established();
    let old = pair.left.established()[0].spi_i;
    let (_, child) = ids(&pair);
    pair.left.command(Command::RekeyChild(child), pair.now);
    let (_, request) = pair.left.sent.pop_front().unwrap();
    let mut chain = ChainBuilder::new();
    chain.put(&Payload::Notify(Notify::new(NotifyType::NO_ADDITIONAL_SAS, &[])));
    let flags = Flags::new(false, true);
    let response = sealed(keys(&pair), Header { flags, ..header(&request) }, chain);
    pair.left.datagram(path(LEFT, RIGHT), &response, pair.now);

    let (_, opening) = &pair.left.sent[0];
    assert_eq!(header(opening).exchange, ExchangeType::IKE_SA_INIT);
    assert!(pair.left.children.contains_key(&child), "the old one carries on meanwhile");
    pair.run_for(Duration::from_secs(60));
    pair.assert_one_tunnel();
    assert_ne!(pair.left.established()[0].spi_i, old);
    assert!(!pair.left.children.contains_key(&child));
}

/// RFC 7296 §1.3, §4: an IKE SA with as many children as it may have refuses one more and rekeys those.
#[test]
fn an_ike_sa_full_of_children_rekeys_them() {
    let mut pair = established();
    let mut ids = FIRST..;
    let mut ask = |pair: &mut Pair, chain| {
        let id = ids.next().unwrap();
        notifies(&answer(pair, ExchangeType::CREATE_CHILD_SA, id, chain))
    };
    while pair.right.children.len() < 1_024 {
        let chain = child_request(&pair, &[]);
        assert_eq!(ask(&mut pair, chain), []);
    }
    let chain = child_request(&pair, &[]);
    assert_eq!(ask(&mut pair, chain), [NotifyType::NO_ADDITIONAL_SAS]);

    let old = pair.right.children.values().next().unwrap().spi_out.to_octets();
    let mut chain = child_request(&pair, &[]);
    let kind = NotifyType::REKEY_SA;
    chain.put(&Payload::Notify(Notify { protocol: ProtocolId::ESP, spi: &old, kind, data: &[] }));
    assert_eq!(ask(&mut pair, chain), []);
    assert_eq!(pair.right.children.len(), 1_025, "until the peer deletes the old one");
}

/// RFC 7296 §2.25, §3.10: CHILD_SA_NOT_FOUND says again which child was meant, and names no protocol where
/// no SPI did.
#[test]
fn a_child_that_is_not_there_is_named_as_it_was() {
    let gone = [9; 4];
    for (spi, protocol) in [(&gone[..], ProtocolId::ESP), (&[], ProtocolId::NONE)] {
        let mut pair = established();
        let mut chain = child_request(&pair, &[]);
        let kind = NotifyType::REKEY_SA;
        chain.put(&Payload::Notify(Notify { protocol: ProtocolId::ESP, spi, kind, data: &[] }));
        let answer = answer(&mut pair, ExchangeType::CREATE_CHILD_SA, FIRST, chain);
        assert_eq!(notifies(&answer), [NotifyType::CHILD_SA_NOT_FOUND]);
        let raw = Payloads::new(answer.0, &answer.1).next().unwrap().unwrap();
        let kind = NotifyType::CHILD_SA_NOT_FOUND;
        let expected = Notify { protocol, spi, kind, data: &[] };
        assert_eq!(Payload::read(raw), Ok(Payload::Notify(expected)));
        pair.assert_one_tunnel();
    }
}

//= https://www.rfc-editor.org/rfc/rfc7296#section-2.4
//= type=test
//# This notification MUST NOT be sent by an entity that may be replicated
/// Nor is it believed of a peer that may be. CHECKLIST M07.
#[test]
fn an_identity_of_several_hosts_is_nobodys_initial_contact() {
    for (unique, is_said) in [
        (Unique::Replace, true),
        (Unique::Keep, true),
        (Unique::Never, true),
        (Unique::Replicated, false),
    ] {
        let pair = at_ike_auth(unique);
        let auth = opened(keys(&pair), &pair.left.sent[0].1);
        assert_eq!(notifies(&auth).contains(&NotifyType::INITIAL_CONTACT), is_said, "{unique:?}");
    }
    for (unique, count) in [(Unique::Never, 1), (Unique::Replicated, 2)] {
        let mut both = connections();
        both[1].unique = unique;
        let [left, _] = both.clone();
        let mut pair = Pair::new(Default::default(), both);
        pair.left.initiate(pair.now);
        pair.run();
        pair.left = Peer::new(EndpointConfig::default(), 3);
        pair.left.command(Command::Load(left.into()), pair.now);
        pair.left.initiate(pair.now);
        pair.run();
        assert_eq!(pair.right.established().len(), count, "{unique:?}");
    }
}

//= https://www.rfc-editor.org/rfc/rfc7296#section-2.23
//= type=test
//# A host behind a NAT SHOULD NOT do this type of dynamic address update if a validated packet has
//# different port and/or address values because it opens a possible DoS attack
/// CHECKLIST N04: who is behind the NAT is followed, and nobody else.
#[test]
fn from_behind_a_nat_nobody_is_followed() {
    let mut both = connections();
    both.iter_mut().for_each(|connection| connection.mobike = Mobike::No);
    both[1].remote_addresses = vec![HostSpec::Any];
    let mut pair = Pair::new(Default::default(), both);
    pair.left.initiate(pair.now);
    let mapped: IpAddr = "198.51.100.9".parse().unwrap();
    while !(pair.left.sent.is_empty() && pair.right.sent.is_empty()) {
        for (to_right, octets) in std::mem::take(&mut pair.left.sent) {
            let mut seen = reversed(to_right);
            seen.remote.set_ip(mapped);
            pair.right.datagram(seen, &octets, pair.now);
        }
        for (to_left, octets) in std::mem::take(&mut pair.right.sent) {
            let mut seen = reversed(to_left);
            seen.local.set_ip(LEFT);
            pair.left.datagram(seen, &octets, pair.now);
        }
    }
    let remote: SocketAddr = "203.0.113.5:4500".parse().unwrap();
    for (peer, before, follows) in [(&mut pair.left, RIGHT, false), (&mut pair.right, mapped, true)]
    {
        let child = peer.established()[0].children[0].id;
        assert_eq!(peer.established()[0].remote.ip(), before);
        peer.give(Input::Packet(PacketEvent::PeerMoved { child, remote }), pair.now);
        peer.drain(pair.now);
        let after = peer.established()[0].remote;
        assert_eq!(after == remote, follows);
        assert_eq!(after.ip() == before, !follows);
    }
}
