//! What a peer that has authenticated may send all the same: messages under the right keys that no
//! honest peer would make.

mod followup;
mod key_exchange;
mod mobike;

use adit_db::{Aggfrag, ChildConfig, Connection, IpComp, Tfc};
use adit_ike::{Command, DebugKeys, EndpointConfig, IkeDebugKeys};
use adit_wire::Writer;
use adit_wire::iana::{
    EncryptionId, ExchangeType, KeyExchangeId, NotifyType, PayloadType, ProtocolId, TransformType,
};
use adit_wire::ikev2::{
    ChainBuilder, Delete, Flags, Header, Ke, Notify, Payload, Payloads, Proposal, RawPayload, Sa,
    Spis, Transform, Ts,
};

use super::{header, ids, is_response};
use crate::common::{LEFT, Pair, RIGHT, opened, path, reversed, sealed, with_ike};

/// The message id of the left side's first request after IKE_AUTH.
pub(crate) const FIRST: u32 = 2;

/// An established pair of which the right side tells its keys.
pub(crate) fn established() -> Pair {
    established_with(|_| ())
}

/// The same, the right side's child configured so.
fn established_with(configure: impl FnOnce(&mut ChildConfig)) -> Pair {
    let offer = "aes256gcm16-prfsha384-x25519";
    let mut connections = with_ike(offer, offer);
    configure(&mut connections[1].children[0]);
    established_between(connections)
}

/// The same with all of both sides' configuration.
pub(crate) fn established_between(connections: [Connection; 2]) -> Pair {
    let exporting = EndpointConfig { export_keys: true, ..EndpointConfig::default() };
    let mut pair = Pair::new([EndpointConfig::default(), exporting], connections);
    pair.left.initiate(pair.now);
    pair.run();
    pair
}

/// The newest keys of IKE.
pub(crate) fn keys(pair: &Pair) -> &IkeDebugKeys {
    keys_among(&pair.right.keys)
}

fn keys_among(all: &[DebugKeys]) -> &IkeDebugKeys {
    let mut newest_first = all.iter().rev();
    newest_first
        .find_map(|keys| if let DebugKeys::Ike(keys) = keys { Some(keys) } else { None })
        .unwrap()
}

/// What the right side answers to a request of the left one.
pub(crate) fn answer(
    pair: &mut Pair,
    exchange: ExchangeType,
    message_id: u32,
    chain: ChainBuilder,
) -> (PayloadType, Vec<u8>) {
    let keys = keys(pair);
    let header = Header::new(keys.spi_i, keys.spi_r, exchange, Flags::new(true, false), message_id);
    let request = sealed(keys, header, chain);
    // The request may bring others.
    let known = pair.right.keys.len();
    pair.right.datagram(path(RIGHT, LEFT), &request, pair.now);
    let (_, response) = pair.right.sent.pop_front().unwrap();
    assert!(is_response(&response) && pair.right.sent.is_empty());
    opened(keys_among(&pair.right.keys[..known]), &response)
}

fn payloads(chain: &(PayloadType, Vec<u8>)) -> Vec<Payload<'_>> {
    Payloads::new(chain.0, &chain.1).map(|raw| Payload::read(raw.unwrap()).unwrap()).collect()
}

pub(crate) fn notifies(chain: &(PayloadType, Vec<u8>)) -> Vec<NotifyType> {
    let notify =
        |payload| if let Payload::Notify(notify) = payload { Some(notify.kind) } else { None };
    payloads(chain).into_iter().filter_map(notify).collect()
}

/// RFC 7296 §2.21.3: who answers INVALID_SYNTAX on an established IKE SA ends it without another
/// word, since the peer does so too.
/// CHECKLIST E17.
#[test]
fn an_invalid_public_value_ends_an_established_ike_sa() {
    let mut pair = established();
    let transforms = pair.left.established()[0].suite.clone();
    let proposal = Proposal { number: 1, protocol: ProtocolId::IKE, spi: vec![7; 8], transforms };
    let mut chain = ChainBuilder::new();
    chain.put(&Payload::Sa(Sa { proposals: vec![proposal] }));
    chain.push(PayloadType::NONCE, |w| w.bytes(&[9; 32]));
    chain.put(&Payload::Ke(Ke { method: KeyExchangeId::CURVE25519, data: &[0; 32] }));
    let answer = answer(&mut pair, ExchangeType::CREATE_CHILD_SA, FIRST, chain);

    assert_eq!(notifies(&answer), [NotifyType::INVALID_SYNTAX]);
    assert!(pair.right.established().is_empty());
    assert!(pair.right.children.is_empty());
}

/// RFC 7296 §2.21.3, the other side of it.
#[test]
fn invalid_syntax_in_a_response_ends_the_ike_sa() {
    let mut pair = established();
    let (_, child) = ids(&pair);
    pair.left.command(Command::RekeyChild(child), pair.now);
    let (_, request) = pair.left.sent.pop_front().unwrap();
    let header = Header { flags: Flags::new(false, true), ..header(&request) };
    let mut chain = ChainBuilder::new();
    chain.put(&Payload::Notify(Notify::new(NotifyType::INVALID_SYNTAX, &[])));
    let response = sealed(keys(&pair), header, chain);
    pair.left.datagram(path(LEFT, RIGHT), &response, pair.now);

    assert!(pair.left.established().is_empty());
    assert!(pair.left.children.is_empty());
    assert!(pair.left.sent.is_empty(), "the peer has ended it already");
}

/// RFC 7296 §1.3.1: who says ESP_TFC_PADDING_NOT_SUPPORTED gets no padding, others do.
/// CHECKLIST R07.
#[test]
fn a_peer_without_tfc_padding_gets_none() {
    let tfc = Tfc { padding: 1_200, dummies: 5 };
    let mut pair = established_with(|child| child.tfc = tfc);
    let first = pair.right.children.values().next().unwrap();
    assert_eq!(first.tfc, tfc);
    let known = first.id;
    let none = NotifyType::ESP_TFC_PADDING_NOT_SUPPORTED;
    let chain = child_request(&pair, &[(none, &[])]);
    let answer = answer(&mut pair, ExchangeType::CREATE_CHILD_SA, FIRST, chain);
    assert_eq!(notifies(&answer), []);
    let second = pair.right.children.values().find(|sa| sa.id != known).unwrap();
    assert_eq!(second.tfc, Tfc::OFF);
}

/// Asks the right side for one more child like the first, with these notifies.
pub(crate) fn child_request(pair: &Pair, notifies: &[(NotifyType, &[u8])]) -> ChainBuilder {
    let first = pair.right.children.values().next().unwrap();
    let transforms = vec![
        Transform::encryption(EncryptionId::AES_GCM_16, Some(256)),
        Transform::new(TransformType::ESN, 1),
    ];
    let spi = vec![9, 8, 7, 6];
    let proposal = Proposal { number: 1, protocol: ProtocolId::ESP, spi, transforms };
    let mut chain = ChainBuilder::new();
    for (kind, data) in notifies {
        chain.put(&Payload::Notify(Notify::new(*kind, data)));
    }
    chain.put(&Payload::Sa(Sa { proposals: vec![proposal] }));
    chain.push(PayloadType::NONCE, |w| w.bytes(&[9; 32]));
    chain.put(&Payload::TsI(Ts::new(first.remote_ts.clone())));
    chain.put(&Payload::TsR(Ts::new(first.local_ts.clone())));
    chain
}

/// RFC 7296 §2.22: of several offers one is taken, and only DEFLATE with a CPI that two peers may
/// agree on; without one there is a child, and no compression.
#[test]
fn of_compression_only_what_we_do_is_taken() {
    const LZS: &[u8] = &[0x12, 0x34, 3];
    const DEFLATE: &[u8] = &[0x12, 0x34, 2];
    for (offers, wanted, agreed) in [
        (&[DEFLATE][..], true, Some(0x1234)),
        (&[LZS, &[0x43, 0x21, 2], DEFLATE], true, Some(0x4321)),
        (&[&[0x12, 0x34, 2, 9, 9]], true, Some(0x1234)),
        (&[DEFLATE], false, None),
        (&[LZS], true, None),
        (&[&[0x12, 0x34, 4], &[0x12, 0x34, 1], &[0x12, 0x34, 0]], true, None),
        (&[&[0, 2, 2], &[0, 255, 2], &[0xf0, 0, 2]], true, None),
        (&[&[0x12, 0x34], &[]], true, None),
        (&[], true, None),
    ] {
        let mut pair = established_with(|child| child.compress = wanted);
        let known = pair.right.children.values().next().unwrap().id;
        let offers: Vec<_> =
            offers.iter().map(|data| (NotifyType::IPCOMP_SUPPORTED, *data)).collect();
        let chain = child_request(&pair, &offers);
        let answer = answer(&mut pair, ExchangeType::CREATE_CHILD_SA, FIRST, chain);

        let second = pair.right.children.values().find(|sa| sa.id != known).unwrap();
        let Some(IpComp { cpi_in, cpi_out }) = second.ipcomp else {
            assert_eq!((notifies(&answer), agreed), (vec![], None), "{offers:?}");
            continue;
        };
        assert_eq!(Some(cpi_out.0), agreed, "{offers:?}");
        let [Payload::Notify(notify), ..] = payloads(&answer)[..] else { panic!("{answer:?}") };
        let [high, low] = cpi_in.0.to_be_bytes();
        assert_eq!((notify.kind, notify.data), (NotifyType::IPCOMP_SUPPORTED, &[high, low, 2][..]));
    }
}

//= https://www.rfc-editor.org/rfc/rfc9347#section-5.1
//= type=test
//# If any requirement flags are not understood or cannot be supported by the receiver, then the
//# receiver SHOULD NOT enable use of AGGFRAG_PAYLOAD
#[test]
fn of_shared_packets_only_what_we_do_is_taken() {
    const USE: NotifyType = NotifyType::USE_AGGFRAG;
    const PLAIN: Aggfrag = Aggfrag { super_packets: false };
    let whole = (NotifyType::ADIT_SUPER_PACKETS, &[][..]);
    let transport = (NotifyType::USE_TRANSPORT_MODE, &[][..]);
    for (asked, wanted, agreed) in [
        (&[(USE, &[0][..])][..], true, Some(PLAIN)),
        (&[(USE, &[0]), whole], true, Some(Aggfrag { super_packets: true })),
        (&[(USE, &[0]), whole], false, None),
        (&[whole], true, None),
        (&[(USE, &[0b01])], true, None),
        (&[(USE, &[0b10])], true, None),
        (&[(USE, &[0b1000_0000])], true, None),
        (&[(USE, &[])], true, None),
        (&[(USE, &[0, 0])], true, None),
        (&[(USE, &[0]), transport], true, None),
        (&[(USE, &[0])], false, None),
        (&[], true, None),
    ] {
        let mut pair = established_with(|child| child.turbo = wanted);
        let known = pair.right.children.values().next().unwrap().id;
        let chain = child_request(&pair, asked);
        let answer = answer(&mut pair, ExchangeType::CREATE_CHILD_SA, FIRST, chain);

        let second = pair.right.children.values().find(|sa| sa.id != known).unwrap();
        assert_eq!(second.aggfrag, agreed, "{asked:?}");
        let expected = match agreed {
            Some(Aggfrag { super_packets: true }) => vec![USE, whole.0],
            Some(PLAIN) => vec![USE],
            None => vec![],
        };
        assert_eq!(notifies(&answer), expected, "{asked:?}");
        if agreed.is_some() {
            let [Payload::Notify(notify), ..] = payloads(&answer)[..] else { panic!("{answer:?}") };
            assert_eq!(notify.data, [0]);
        }
    }
}

/// Probes of the path MTU are agreed on by those who offer them and hide no lengths, and by nobody else.
#[test]
fn of_path_probes_what_was_offered_is_taken() {
    const PROBE: NotifyType = NotifyType::ADIT_PATH_PROBE;
    for (asked, padding, agreed) in [
        (&[(PROBE, &[][..])][..], 0, true),
        (&[(PROBE, &[1, 2, 3])], 0, true),
        (&[(PROBE, &[])], 600, false),
        (&[], 0, false),
    ] {
        let mut pair = established_with(|child| child.tfc.padding = padding);
        let first = pair.right.children.values().next().unwrap();
        assert_eq!(first.path_probe, padding == 0);
        let known = first.id;
        let chain = child_request(&pair, asked);
        let answer = answer(&mut pair, ExchangeType::CREATE_CHILD_SA, FIRST, chain);
        let second = pair.right.children.values().find(|sa| sa.id != known).unwrap();
        assert_eq!(second.path_probe, agreed, "{asked:?}");
        assert_eq!(notifies(&answer).contains(&PROBE), agreed, "{asked:?}");
    }
}

/// CHECKLIST D07: a critical payload nobody knows, inside the encrypted one, is named; an
/// established IKE SA stays.
#[test]
fn an_unknown_critical_payload_is_refused_and_nothing_else_happens() {
    for exchange in [ExchangeType::CREATE_CHILD_SA, ExchangeType::INFORMATIONAL] {
        let mut pair = established();
        let mut chain = ChainBuilder::new();
        let (kind, next) = (PayloadType(200), PayloadType::NONE);
        chain.put_raw(&RawPayload { kind, critical: true, next, body: &[1, 2] });
        let answer = answer(&mut pair, exchange, FIRST, chain);

        let [Payload::Notify(notify)] = payloads(&answer)[..] else { panic!("{answer:?}") };
        let critical = (NotifyType::UNSUPPORTED_CRITICAL_PAYLOAD, &[200][..]);
        assert_eq!((notify.kind, notify.data), critical);
        pair.assert_one_tunnel();
    }
}

/// CHECKLIST M11: what an INFORMATIONAL request says that we do not know is answered and ignored.
/// CHECKLIST A04.
#[test]
fn unknown_informational_requests_are_answered() {
    let mut pair = established();
    let kinds = [NotifyType(40_000), NotifyType(8_000), NotifyType::INVALID_SPI];
    for (message_id, kind) in (FIRST..).zip(kinds) {
        let mut chain = ChainBuilder::new();
        chain.put(&Payload::Notify(Notify::new(kind, &[1, 2, 3])));
        chain.push(PayloadType(200), |w| w.bytes(&[4]));
        let answer = answer(&mut pair, ExchangeType::INFORMATIONAL, message_id, chain);
        assert_eq!(answer, (PayloadType::NONE, Vec::new()), "{kind}");
    }
    pair.assert_one_tunnel();
}

/// CHECKLIST I05, I10, I11: several SPIs, AH between them, most of them nobody's; the answer names
/// our SPI of the one child that there is, once.
#[test]
fn a_delete_of_many_spis_deletes_what_there_is() {
    let mut pair = established();
    let sa = pair.right.children.values().next().unwrap();
    let (ours, theirs) = (sa.spi_in, sa.spi_out.to_octets());
    let spis = [[9, 9, 9, 9], theirs, [0; 4], theirs, ours.to_octets()];
    let ah = [theirs, [8; 4]];
    let mut chain = ChainBuilder::new();
    let mut delete = |delete: Delete<'_>| chain.push(PayloadType::DELETE, |w| delete.write(w));
    delete(Delete::Ah(Spis::new(&ah).unwrap()));
    delete(Delete::Esp(Spis::EMPTY));
    delete(Delete::Esp(Spis::new(&spis).unwrap()));
    let answer = answer(&mut pair, ExchangeType::INFORMATIONAL, FIRST, chain);

    let [Payload::Delete(Delete::Esp(named))] = payloads(&answer)[..] else {
        panic!("{answer:?}");
    };
    assert!(named.iter().eq([ours]));
    assert!(pair.right.children.is_empty());
    assert_eq!(pair.right.established().len(), 1);
}

/// CHECKLIST I11: a delete whose SPIs have no legal size is malformed, and so fatal.
#[test]
fn a_delete_with_spis_of_a_wrong_size_is_refused() {
    let mut pair = established();
    let mut chain = ChainBuilder::new();
    chain.push(PayloadType::DELETE, |w: &mut Writer<'_>| {
        w.bytes(&[ProtocolId::ESP.0, 8, 0, 1]);
        w.bytes(&[1; 8]);
    });
    let answer = answer(&mut pair, ExchangeType::INFORMATIONAL, FIRST, chain);
    assert_eq!(notifies(&answer), [NotifyType::INVALID_SYNTAX]);
    assert!(pair.right.established().is_empty());
}

/// CHECKLIST A04, F25: a request out of its place on an authenticated IKE SA gets no answer and
/// changes nothing.
#[test]
fn exchanges_out_of_place_are_dropped() {
    for exchange in (34..=50).chain([240]).map(ExchangeType) {
        let known = matches!(
            exchange,
            ExchangeType::CREATE_CHILD_SA
                | ExchangeType::INFORMATIONAL
                | ExchangeType::IKE_FOLLOWUP_KE
        );
        if known {
            continue;
        }
        let mut pair = established();
        let keys = keys(&pair);
        let header = Header::new(keys.spi_i, keys.spi_r, exchange, Flags::new(true, false), FIRST);
        let request = sealed(keys, header, ChainBuilder::new());
        pair.right.datagram(path(RIGHT, LEFT), &request, pair.now);
        assert!(pair.right.sent.is_empty(), "{exchange}");
        pair.assert_one_tunnel();
    }
}
