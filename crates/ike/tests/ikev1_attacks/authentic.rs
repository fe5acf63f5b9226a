//! After phase 1: with the true keys, and without.

use std::time::Duration;

use adit_db::{Connection, ProposalSpec};
use adit_ike::{Command, Event, PacketEvent};
use adit_wire::doi::{Identity, Lifetimes, Phase2Transform};
use adit_wire::iana::doi::{Doi, EncapsulationMode, ProtocolId};
use adit_wire::iana::isakmp::{ExchangeType, NotifyType, PayloadType};
use adit_wire::isakmp::{ChainBuilder, Delete, Notify, Proposal, Sa, Spis};

use super::super::common::{Pair, Peer};
use super::super::{
    INFORMATIONAL, QUICK_MODE, exchange, reversed, up, up_with, v1_connections, v1_pair,
};
use super::{forger, given, up_with_keys};

fn informational(pair: &Pair, id: u32, chain: ChainBuilder) -> Vec<u8> {
    forger(pair).first(ExchangeType::INFORMATIONAL, id, chain)
}

fn delete(protocol: ProtocolId, size: u8, spis: &[u8]) -> ChainBuilder {
    let mut chain = ChainBuilder::new();
    put_delete(protocol, size, spis, &mut chain);
    chain
}

fn put_delete(protocol: ProtocolId, size: u8, spis: &[u8], chain: &mut ChainBuilder) {
    let spis = Spis::new(size, spis).unwrap();
    chain.push(PayloadType::DELETE, |w| Delete { doi: Doi::IPSEC, protocol, spis }.write(w));
}

fn notify(kind: NotifyType, spi: &[u8], data: &[u8]) -> ChainBuilder {
    let (doi, protocol) = (Doi::IPSEC, ProtocolId::ISAKMP);
    let notify = Notify { doi, protocol, spi, kind, data };
    ChainBuilder::new().payload(PayloadType::NOTIFICATION, |w| notify.write(w))
}

/// What the left one sends on: what the right one calls its inbound SPI.
fn spi_of_left(pair: &Pair) -> [u8; 4] {
    pair.left.children.values().next().unwrap().spi_in.to_octets()
}

fn is_whole(pair: &Pair) -> bool {
    (pair.right.established().len(), pair.right.children.len()) == (1, 1)
}

/// CHECKLIST U09, V33: deletes for SPIs that nobody has, for another ISAKMP SA, of protocols without SAs, and
/// for one SPI again and again end nothing else.
#[test]
fn deletes_of_what_is_not_there_change_nothing() {
    let mut pair = up_with_keys();
    let unknown = [9, 9, 9, 9].repeat(300);
    for (id, (protocol, size, spis)) in [
        (ProtocolId::ESP, 4, vec![1, 2, 3, 4]),
        (ProtocolId::ESP, 4, unknown),
        (ProtocolId::AH, 4, spi_of_left(&pair).to_vec()),
        (ProtocolId::IPCOMP, 2, vec![0, 1]),
        (ProtocolId::ISAKMP, 16, vec![7; 16]),
        (ProtocolId(77), 4, spi_of_left(&pair).to_vec()),
    ]
    .into_iter()
    .enumerate()
    {
        let id = 100 + u32::try_from(id).unwrap();
        let octets = informational(&pair, id, delete(protocol, size, &spis));
        assert_eq!(given(&mut pair, &octets), Vec::<Vec<u8>>::new());
        // An AH SA has another number space, but no two SAs of ours have one SPI.
        let is_ours = protocol == ProtocolId::AH;
        assert!(is_whole(&pair) || is_ours, "{protocol:?}");
        if !is_whole(&pair) {
            return;
        }
    }
}

/// CHECKLIST U09: an IPsec SA and its ISAKMP SA in one message go both, in either order, once.
#[test]
fn one_message_deletes_both() {
    for isakmp_first in [true, false] {
        let mut pair = up_with_keys();
        let (cookies, spi) = (forger(&pair).cookies(), spi_of_left(&pair));
        let mut chain = ChainBuilder::new();
        let mut parts = [(ProtocolId::ISAKMP, 16, &cookies[..]), (ProtocolId::ESP, 4, &spi[..])];
        if !isakmp_first {
            parts.reverse();
        }
        for (protocol, size, spis) in parts {
            put_delete(protocol, size, spis, &mut chain);
        }
        let octets = informational(&pair, 9, chain);
        given(&mut pair, &octets);
        assert!(pair.right.children.is_empty() && pair.right.established().is_empty());
        assert_eq!(pair.right.endpoint.ike_sas().count(), 0);
        assert_eq!(given_to_nobody(&mut pair, &octets), 0);
    }
}

fn given_to_nobody(pair: &mut Pair, octets: &[u8]) -> usize {
    let path =
        adit_ike::Path::udp("192.0.2.1:500".parse().unwrap(), "192.0.2.2:500".parse().unwrap());
    pair.right.datagram(reversed(path), octets, pair.now);
    pair.right.sent.len()
}

/// CHECKLIST U11: the peer deletes phase 1 alone. The child stays and its packets pass; when its keys are to
/// be renewed there is a new phase 1 first.
#[test]
fn a_child_outlives_its_phase_1() {
    let mut pair = up_with_keys();
    let chain = delete(ProtocolId::ISAKMP, 16, &forger(&pair).cookies());
    let octets = informational(&pair, 5, chain);
    given(&mut pair, &octets);
    assert!(pair.right.established().is_empty());
    assert_eq!(pair.right.children.len(), 1);
    // The left one knows nothing of it, and hears no answer: it begins anew.
    let id = pair.left.established()[0].id;
    pair.left.command(Command::RekeyIke(id), pair.now);
    pair.run_for(Duration::from_secs(5));
    let child = *pair.right.children.keys().next().unwrap();
    pair.right.command(Command::RekeyChild(child), pair.now);
    pair.run_for(Duration::from_secs(200));
    pair.assert_one_tunnel();
    assert!(pair.right.events.iter().all(|event| !matches!(event, Event::ChildDown { .. })));
}

/// CHECKLIST U10: deletes, notifies and quick modes that nobody has authenticated are ignored: in clear, without a
/// HASH payload, with a wrong one, with one behind what it should cover.
#[test]
fn without_a_hash_nothing_counts() {
    let mut pair = up_with_keys();
    let (cookies, spi) = (forger(&pair).cookies(), spi_of_left(&pair));
    let mut chain = ChainBuilder::new();
    put_delete(ProtocolId::ESP, 4, &spi, &mut chain);
    put_delete(ProtocolId::ISAKMP, 16, &cookies, &mut chain);
    let mut forged = Vec::new();
    for exchange in [ExchangeType::INFORMATIONAL, ExchangeType::QUICK_MODE] {
        let forger = forger(&pair);
        forged.push(forger.sealed(exchange, 11, None, chain.clone()));
        forged.push(forger.sealed(exchange, 12, Some(&[0; 32]), chain.clone()));
        forged.push(forger.sealed(exchange, 13, Some(&[]), chain.clone()));
        let behind = chain.clone().payload(PayloadType::HASH, |w| w.bytes(&[0; 32]));
        forged.push(forger.sealed(exchange, 14, None, behind));
        // A hash of another exchange.
        let mut other = forger.first(exchange, 15, chain.clone());
        other[20..24].copy_from_slice(&16_u32.to_be_bytes());
        forged.push(other);
        let mut clear = chain.clone().finish().unwrap().1;
        let header = [&cookies[..], &[12, 0x10, exchange.0, 0, 0, 0, 0, 17]].concat();
        let length = u32::try_from(28 + clear.len()).unwrap().to_be_bytes();
        clear.splice(..0, [&header[..], &length].concat());
        forged.push(clear);
    }
    for octets in forged {
        assert_eq!(given(&mut pair, &octets), Vec::<Vec<u8>>::new());
        assert!(is_whole(&pair));
    }
    assert!(pair.right.failures().is_empty());
}

/// CHECKLIST U14, V33: notifies that fit no state, with the true keys: about SAs that do not exist, of types that
/// mean nothing here, with data of any length. CVE-2023-38711 and CVE-2023-30570 were such.
#[test]
fn notifies_without_a_state_change_nothing() {
    let mut pair = up_with_keys();
    let cookies = forger(&pair).cookies();
    let mut id = 1_000;
    for kind in [
        NotifyType::CONNECTED,
        NotifyType::INITIAL_CONTACT,
        NotifyType::REPLAY_STATUS,
        NotifyType::RESPONDER_LIFETIME,
        NotifyType::INVALID_SPI,
        NotifyType::NO_PROPOSAL_CHOSEN,
        NotifyType::R_U_THERE_ACK,
        // A vendor's RESTART.
        NotifyType(0x9101),
        NotifyType(0),
        NotifyType(65_535),
    ] {
        for (spi, data) in [
            (&[][..], &[][..]),
            (&cookies[..], &[][..]),
            (&cookies[..], &[0, 0, 0, 9][..]),
            (&[1, 2, 3, 4][..], &[0x80, 1, 0, 1, 0, 2][..]),
            (&[9; 16][..], &[0xff; 60][..]),
        ] {
            id += 1;
            let octets = informational(&pair, id, notify(kind, spi, data));
            assert_eq!(given(&mut pair, &octets), Vec::<Vec<u8>>::new(), "{kind:?}");
            assert!(is_whole(&pair), "{kind:?} {spi:?}");
        }
    }
    assert!(pair.right.failures().is_empty());
    pair.run_for(Duration::from_secs(60));
    pair.assert_one_tunnel();
}

/// CHECKLIST U12: a question is answered once, with its number and about its ISAKMP SA; a replay, another's
/// cookies or a number of a wrong length are not.
#[test]
fn questions_are_answered_once() {
    let mut pair = up_with_keys();
    let cookies = forger(&pair).cookies();
    let question = notify(NotifyType::R_U_THERE, &cookies, &[0, 0, 0, 7]);
    let octets = informational(&pair, 21, question);
    let answers = given(&mut pair, &octets);
    let told = forger(&pair).notifies(&answers[0]);
    assert_eq!(told, [(NotifyType::R_U_THERE_ACK.0, vec![0, 0, 0, 7])]);
    assert_eq!(answers.len(), 1);
    assert!(given(&mut pair, &octets).is_empty());
    for (spi, data) in [(&[9; 16][..], &[0, 0, 0, 8][..]), (&cookies[..], &[8][..])] {
        let octets = informational(&pair, 22, notify(NotifyType::R_U_THERE, spi, data));
        assert!(given(&mut pair, &octets).is_empty());
    }
}

/// CHECKLIST U12: both ends have one key, so what comes back to who has sent it is authentic: it is answered by
/// nothing, and no sign of life of a peer that is gone.
#[test]
fn what_comes_back_is_no_sign_of_life() {
    let interval = Duration::from_secs(20);
    let connections = v1_connections().map(|one| Connection { dpd_delay: interval, ..one });
    let mut pair = up_with(connections);
    let end = pair.now + Duration::from_secs(150);
    let mut count = 0;
    while pair.now < end && !pair.left.established().is_empty() {
        for (path, octets) in std::mem::take(&mut pair.left.sent) {
            assert_eq!(exchange(&octets), INFORMATIONAL);
            pair.left.datagram(path, &octets, pair.now);
            assert!(pair.left.sent.is_empty());
            count += 1;
        }
        pair.now += Duration::from_millis(500);
        pair.left.timeout(pair.now);
    }
    assert!(pair.left.established().is_empty() && count > 5, "{count}");
}

/// The first message of a quick mode for this pair's child, with these identities.
fn quick(pair: &Pair, id: u32, networks: &[&str], spi: u8) -> Vec<u8> {
    let transform = Phase2Transform {
        key_bits: Some(256),
        mode: Some(EncapsulationMode::TUNNEL),
        lifetimes: Lifetimes::of_seconds(3_600),
        ..Phase2Transform::new(20)
    };
    let proposal = Proposal {
        number: 1,
        protocol: ProtocolId::ESP,
        spi: vec![0xc0, 0, 0, spi].into(),
        transforms: vec![transform.to_transform(1)],
    };
    let sa = Sa { proposals: vec![proposal] };
    let mut chain = ChainBuilder::new();
    chain.push(PayloadType::SA, |w| sa.write(w));
    chain.push(PayloadType::NONCE, |w| w.bytes(&[spi; 32]));
    for network in networks {
        let address = network.parse().unwrap();
        chain.push(PayloadType::ID, |w| Identity::Subnet(address, 24).write(0, 0, w));
    }
    forger(pair).first(ExchangeType::QUICK_MODE, id, chain)
}

/// CHECKLIST U02: without identities a quick mode is for the two hosts, which no child is for; with one
/// alone it is refused, with three dropped; with the right two it makes a child.
#[test]
fn identities_are_two_or_none() {
    let both = ["10.1.0.0", "10.2.0.0"];
    let three = ["10.1.0.0", "10.2.0.0", "10.2.0.0"];
    for (networks, children, answers) in
        [(&[][..], 1, 1), (&both[..1], 1, 1), (&three[..], 1, 0), (&both[..], 2, 1)]
    {
        let mut pair = up_with_keys();
        let octets = quick(&pair, 31, networks, 1);
        let sent = given(&mut pair, &octets);
        assert_eq!(sent.len(), answers, "{networks:?}");
        assert_eq!(pair.right.children.len(), children, "{networks:?}");
        let is_refused = sent.iter().any(|octets| exchange(octets) != QUICK_MODE);
        assert_eq!(is_refused, children == 1 && answers == 1, "{networks:?}");
        if is_refused {
            let told = forger(&pair).notifies(&sent[0]);
            assert_eq!(told[0].0, NotifyType::INVALID_ID_INFORMATION.0);
        }
    }
}

/// CHECKLIST U06: several quick modes at once, each with an IV of its own: all are answered, and what is not
/// confirmed goes by itself.
#[test]
fn quick_modes_run_beside_each_other() {
    let mut pair = up_with_keys();
    let all: Vec<_> = (1..=8).map(|n| quick(&pair, 40 + u32::from(n), &BOTH, n)).collect();
    for octets in &all {
        assert_eq!(given(&mut pair, octets).len(), 1);
    }
    // CHECKLIST U03: the same first message gets the same answer, and makes nothing.
    let again: Vec<_> = all.iter().flat_map(|octets| given(&mut pair, octets)).collect();
    assert_eq!((again.len(), pair.right.children.len()), (8, 9));
    let end = pair.now + Duration::from_secs(300);
    while let Some(next) = pair.right.endpoint.poll_timeout().filter(|next| *next < end) {
        pair.now = next;
        pair.right.timeout(next);
        pair.right.sent.clear();
    }
    assert_eq!(pair.right.children.len(), 1);
}

const BOTH: [&str; 2] = ["10.1.0.0", "10.2.0.0"];

/// CHECKLIST U04: who began is restarted with the second message of Quick Mode on its way, and begins anew.
#[test]
fn an_initiator_that_restarts_half_way_has_one_tunnel() {
    for messages in 1..9 {
        let mut pair = v1_pair();
        pair.left.initiate(pair.now);
        let count = std::cell::Cell::new(0);
        let passes = |_: &[u8]| count.replace(count.get() + 1) < messages;
        while count.get() <= messages && pair.deliver(passes) {}
        pair.left.restart(adit_ike::EndpointConfig::default());
        pair.left.children.clear();
        pair.left.outbound.clear();
        pair.left.sent.clear();
        let [left, _] = v1_connections();
        pair.left.command(Command::Load(std::sync::Arc::new(left)), pair.now);
        let request = pair.left.initiate(pair.now);
        pair.run_for(Duration::from_secs(300));
        assert_eq!(pair.left.done.get(&request), Some(&Ok(())), "after {messages}");
        pair.assert_one_tunnel();
    }
}

/// CHECKLIST U07: IKEv1 has no narrowing: who asks for all networks gets none, and both hear why; who asks for
/// a part of what is configured gets that.
#[test]
fn who_asks_for_any_network_is_refused() {
    for (asked, code) in [("0.0.0.0/0", Some(301)), ("10.2.0.128/25", None)] {
        let mut connections = v1_connections();
        connections[0].children[0].remote_ts = vec![asked.parse().unwrap()];
        let mut pair = Pair::new(Default::default(), connections);
        let request = pair.left.initiate(pair.now);
        pair.run_for(Duration::from_secs(5));
        let failed = pair.left.done[&request].as_ref().err();
        assert_eq!(failed.and_then(|failure| failure.reason.code()), code, "{asked}");
        assert_eq!(pair.left.children.is_empty(), code.is_some());
    }
}

/// CHECKLIST U15: AES without a key length, or with one that it has not, is refused and 3DES with one, too; the
/// phase 1 stays.
#[test]
fn key_lengths_are_checked() {
    for (id, key_bits) in [(20, None), (20, Some(100)), (3, Some(192)), (12, None)] {
        let mut pair = up_with_keys();
        let transform = Phase2Transform { key_bits, ..Phase2Transform::new(id) };
        let proposal = Proposal {
            number: 1,
            protocol: ProtocolId::ESP,
            spi: vec![0xc0, 0, 0, 1].into(),
            transforms: vec![transform.to_transform(1)],
        };
        let sa = Sa { proposals: vec![proposal] };
        let chain = ChainBuilder::new()
            .payload(PayloadType::SA, |w| sa.write(w))
            .payload(PayloadType::NONCE, |w| w.bytes(&[3; 32]));
        let octets = forger(&pair).first(ExchangeType::QUICK_MODE, 51, chain);
        given(&mut pair, &octets);
        assert!(is_whole(&pair), "{id} {key_bits:?}");
    }
}

/// CHECKLIST T09, U03: everything that was ever said is said again, to both: nothing new comes of it.
#[test]
fn replays_of_a_whole_life_change_nothing() {
    let mut pair = v1_pair();
    pair.left.initiate(pair.now);
    let mut said = Vec::new();
    for round in 0..40 {
        for (path, octets) in pair.left.sent.drain(..).collect::<Vec<_>>() {
            pair.right.datagram(reversed(path), &octets, pair.now);
            said.push((true, path, octets));
        }
        for (path, octets) in pair.right.sent.drain(..).collect::<Vec<_>>() {
            pair.left.datagram(reversed(path), &octets, pair.now);
            said.push((false, path, octets));
        }
        if round == 20 {
            let child = *pair.left.children.keys().next().unwrap();
            pair.left.command(Command::RekeyChild(child), pair.now);
        }
    }
    pair.run_for(Duration::from_secs(120));
    pair.assert_one_tunnel();
    let before = pair.right.children.values().next().unwrap().spi_in;
    for (to_right, path, octets) in &said {
        let peer = if *to_right { &mut pair.right } else { &mut pair.left };
        peer.datagram(reversed(*path), octets, pair.now);
        peer.sent.clear();
    }
    pair.run_for(Duration::from_secs(120));
    pair.assert_one_tunnel();
    assert_eq!(pair.right.children.values().next().unwrap().spi_in, before);
}

/// CHECKLIST T13: both begin at once, with every offset in which one is ahead of the other: one tunnel.
#[test]
fn main_modes_that_cross_leave_one_tunnel() {
    for ahead in 0..9 {
        let mut pair = v1_pair();
        let deliver = |pair: &mut Pair| {
            pair.now += Duration::from_millis(10);
            pair.deliver(|_| true)
        };
        pair.left.initiate(pair.now);
        for _ in 0..ahead {
            deliver(&mut pair);
        }
        pair.right.initiate(pair.now);
        while deliver(&mut pair) {}
        pair.run_for(Duration::from_secs(300));
        let (left, right) = (pair.left.established(), pair.right.established());
        assert_eq!((left.len(), right.len()), (1, 1), "ahead {ahead}");
        assert_eq!((left[0].spi_i, left[0].spi_r), (right[0].spi_i, right[0].spi_r));
        let spis = |pair: &Peer| {
            let children = pair.children.values();
            children.map(|child| (child.spi_in, child.spi_out)).collect::<Vec<_>>()
        };
        let mirrored: Vec<_> = spis(&pair.right).iter().map(|spis| (spis.1, spis.0)).collect();
        assert_eq!((spis(&pair.left).len(), spis(&pair.left)), (1, mirrored), "ahead {ahead}");
    }
}

/// CHECKLIST U01: a quick mode of its own key exchange, where the peer sends no key or one that nobody asked
/// for: no child, and the phase 1 stays.
#[test]
fn a_key_exchange_comes_with_its_group_or_not_at_all() {
    let mut connections = v1_connections();
    for connection in &mut connections {
        connection.children[0].proposals = ProposalSpec::esp_list("aes256gcm16").unwrap();
    }
    let mut pair = up();
    let event = PacketEvent::SoftExpire { child: *pair.left.children.keys().next().unwrap() };
    pair.left.give(adit_ike::Input::Packet(event), pair.now);
    pair.run_for(Duration::from_secs(120));
    pair.assert_one_tunnel();

    let mut pair = up_with_keys();
    let mut chain = ChainBuilder::new();
    let transform = Phase2Transform { key_bits: Some(256), ..Phase2Transform::new(20) };
    let proposal = Proposal {
        number: 1,
        protocol: ProtocolId::ESP,
        spi: vec![0xc0, 0, 0, 1].into(),
        transforms: vec![transform.to_transform(1)],
    };
    chain.push(PayloadType::SA, |w| Sa { proposals: vec![proposal] }.write(w));
    chain.push(PayloadType::NONCE, |w| w.bytes(&[5; 32]));
    chain.push(PayloadType::KE, |w| w.bytes(&[2; 256]));
    for network in BOTH {
        let address = network.parse().unwrap();
        chain.push(PayloadType::ID, |w| Identity::Subnet(address, 24).write(0, 0, w));
    }
    let octets = forger(&pair).first(ExchangeType::QUICK_MODE, 61, chain);
    given(&mut pair, &octets);
    assert!(is_whole(&pair));
}
