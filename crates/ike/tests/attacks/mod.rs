//! What has broken other IKE daemons, sent to ours: CHECKLIST, group V. What a test sends gets silence
//! or an answer that is not longer, and an honest peer comes through afterwards.

use adit_db::{Childless, Identity};
use adit_ike::{AuthResult, Command, DebugKeys, EndpointConfig, Input, JobId, Proof};
use adit_wire::Reader;
use adit_wire::iana::{
    EncryptionId, ExchangeType, IdType, KeyExchangeId, NotifyType, PayloadType, ProtocolId,
    TransformType,
};
use adit_wire::ikev2::{
    ChainBuilder, Delete, Flags, Header, Ke, Notify, Payload, Proposal, Sa, Transform,
};

use crate::common::{LEFT, Pair, RIGHT, path, reversed, sealed, with_ike};
use crate::forged::{FIRST, answer, child_request, established, keys, notifies};

/// The cheapest offer: what comes is one message of IKE_SA_INIT and one of IKE_AUTH.
const OFFER: &str = "aes128gcm16-prfsha256-x25519";

/// Payloads of a message: their types and bodies.
type Parts = Vec<(PayloadType, Vec<u8>)>;

fn pair() -> Pair {
    let exporting = EndpointConfig { export_keys: true, ..EndpointConfig::default() };
    let mut connections = with_ike(OFFER, OFFER);
    // RFC 6023 §3: who supports it MUST say so, which is more than the smallest request has room for.
    connections[1].childless = Childless::Never;
    Pair::new([EndpointConfig::default(), exporting], connections)
}

fn parts(message: &[u8]) -> Parts {
    let (mut kind, mut at) = (PayloadType(message[16]), Header::LEN);
    let mut found = Vec::new();
    while kind.0 != 0 {
        let length = usize::from(u16::from_be_bytes([message[at + 2], message[at + 3]]));
        found.push((kind, message[at + 4..at + length].to_vec()));
        (kind, at) = (PayloadType(message[at]), at + length);
    }
    found
}

/// The message with these payloads instead of its own.
fn with_parts(message: &[u8], parts: &Parts) -> Vec<u8> {
    let mut octets = message[..Header::LEN].to_vec();
    let kinds: Vec<u8> = parts.iter().map(|(kind, _)| kind.0).chain([0]).collect();
    octets[16] = kinds[0];
    for ((_, body), next) in parts.iter().zip(&kinds[1..]) {
        octets.extend([*next, 0]);
        octets.extend(u16::try_from(body.len() + 4).unwrap().to_be_bytes());
        octets.extend(body);
    }
    let length = u32::try_from(octets.len()).unwrap();
    octets[24..28].copy_from_slice(&length.to_be_bytes());
    octets
}

/// Sends what `forge` makes of an honest IKE_SA_INIT, and lets the honest one follow. What was
/// answered before it.
fn survives(forge: impl Fn(&[u8]) -> Vec<u8>) -> Vec<Vec<u8>> {
    let mut pair = pair();
    pair.left.initiate(pair.now);
    let (to_right, honest) = pair.left.sent.pop_front().unwrap();
    let forged = forge(&honest);
    pair.right.datagram(reversed(to_right), &forged, pair.now);
    let answers: Vec<Vec<u8>> = pair.right.sent.drain(..).map(|(_, octets)| octets).collect();
    let answered: usize = answers.iter().map(Vec::len).sum();
    assert!(
        answered <= forged.len().max(honest.len()),
        "{answered} for {} and {}",
        forged.len(),
        honest.len()
    );
    assert!(pair.right.established().is_empty());
    pair.left.sent.push_back((to_right, honest));
    pair.run();
    pair.assert_one_tunnel();
    answers
}

/// The same with other payloads.
fn survives_with(edit: impl Fn(&mut Parts)) -> Vec<Vec<u8>> {
    survives(|honest| {
        let mut parts = parts(honest);
        edit(&mut parts);
        with_parts(honest, &parts)
    })
}

fn replace(parts: &mut Parts, kind: PayloadType, body: &[u8]) {
    let part = parts.iter_mut().find(|(one, _)| *one == kind).unwrap();
    part.1 = body.to_vec();
}

/// The body of a payload as an honest peer writes it.
fn body(payload: &Payload<'_>) -> Vec<u8> {
    let mut chain = ChainBuilder::new();
    chain.put(payload);
    chain.finish().unwrap().octets[4..].to_vec()
}

fn kinds_of(answers: &[Vec<u8>]) -> Vec<NotifyType> {
    let kind = |(kind, body): (PayloadType, Vec<u8>)| {
        (kind == PayloadType::NOTIFY).then(|| NotifyType(u16::from_be_bytes([body[2], body[3]])))
    };
    answers.iter().flat_map(|answer| parts(answer)).filter_map(kind).collect()
}

fn with_public_value(method: KeyExchangeId, data: &[u8]) -> impl Fn(&mut Parts) {
    let ke = body(&Payload::Ke(Ke { method, data }));
    move |parts| replace(parts, PayloadType::KE, &ke)
}

/// CHECKLIST V01, A14, E17: a public value of zeros, an empty one, and none (CVE-2015-3240,
/// CVE-2008-4551).
#[test]
fn cve_2015_3240_public_values_of_zeros() {
    let zeros = with_public_value(KeyExchangeId::CURVE25519, &[0; 32]);
    assert!(kinds_of(&survives_with(zeros)).iter().all(|kind| kind.is_error()));
    assert!(
        kinds_of(&survives_with(with_public_value(KeyExchangeId::CURVE25519, &[])))
            .iter()
            .all(|kind| kind.is_error())
    );
    survives_with(|parts| replace(parts, PayloadType::KE, &[]));
    survives_with(|parts| parts.retain(|(kind, _)| *kind != PayloadType::KE));
}

/// The first proposal with its transforms changed.
fn with_transforms(edit: impl Fn(&mut Vec<Transform>)) -> impl Fn(&mut Parts) {
    move |parts| {
        let part = parts.iter_mut().find(|(kind, _)| *kind == PayloadType::SA).unwrap();
        let mut sa = Sa::read(&mut Reader(&part.1)).unwrap();
        edit(&mut sa.proposals[0].transforms);
        part.1 = body(&Payload::Sa(sa));
    }
}

/// CHECKLIST V02, A15: no key exchange, or NONE (CVE-2016-5391).
#[test]
fn cve_2016_5391_no_key_exchange() {
    let none = Transform::new(TransformType::KE, 0);
    for with_none in [false, true] {
        let answers = survives_with(with_transforms(|transforms| {
            transforms.retain(|transform| transform.kind != TransformType::KE);
            transforms.extend(with_none.then_some(none));
        }));
        assert_eq!(kinds_of(&answers), [NotifyType::NO_PROPOSAL_CHOSEN]);
    }
}

/// CHECKLIST V03: a method of private use, in the proposal and in the payload (CVE-2014-9221).
#[test]
fn cve_2014_9221_methods_of_private_use() {
    for method in [1_024, 1_025, 65_535].map(KeyExchangeId) {
        let answers = survives_with(with_public_value(method, &[2; 128]));
        assert_eq!(kinds_of(&answers), [NotifyType::INVALID_KE_PAYLOAD]);
        survives_with(with_transforms(|transforms| {
            transforms.push(Transform::new(TransformType::KE, method.0));
        }));
    }
}

/// CHECKLIST V04: public values that are too long or too short (CVE-2023-41913).
#[test]
fn cve_2023_41913_public_values_of_other_lengths() {
    for length in [1, 31, 33, 64, 1_024, 4_096, 60_000] {
        let long = vec![9; length];
        let answers = survives_with(with_public_value(KeyExchangeId::CURVE25519, &long));
        assert!(kinds_of(&answers).iter().all(|kind| kind.is_error()), "{length}");
    }
}

/// CHECKLIST V05, D14: payloads of IKEv1, of IKEv2 where they have no place, and unknown ones
/// (CVE-2015-3991).
#[test]
fn cve_2015_3991_payloads_of_ikev1_and_unknown_ones() {
    for kind in (1..=60).chain([127, 128, 132, 240, 255]).map(PayloadType) {
        for length in [0, 4, 20] {
            survives_with(|parts| parts.push((kind, vec![0; length])));
            survives_with(|parts| parts.insert(0, (kind, vec![1; length])));
        }
    }
}

/// A responder that has answered IKE_SA_INIT, and waits for IKE_AUTH.
fn half_open() -> Pair {
    let mut pair = pair();
    pair.left.initiate(pair.now);
    pair.deliver(|_| true);
    assert_eq!(pair.right.sent.len(), 1);
    pair.right.sent.clear();
    assert!(matches!(pair.right.keys.as_slice(), [DebugKeys::Ike(_)]));
    pair
}

/// Sends the left side's request number 1.
fn send(pair: &mut Pair, exchange: ExchangeType, chain: ChainBuilder) {
    let keys = keys(pair);
    let header = Header::new(keys.spi_i, keys.spi_r, exchange, Flags::new(true, false), 1);
    let request = sealed(keys, header, chain);
    pair.right.datagram(path(RIGHT, LEFT), &request, pair.now);
}

/// CHECKLIST V06, F25: CREATE_CHILD_SA on an IKE SA that nobody has authenticated (CVE-2014-2338).
#[test]
fn cve_2014_2338_a_rekeying_is_no_authentication() {
    let mut pair = half_open();
    let mut chain = ChainBuilder::new();
    let rekey =
        Notify { protocol: ProtocolId::IKE, spi: &[7; 8], kind: NotifyType::REKEY_SA, data: &[] };
    chain.put(&Payload::Notify(rekey));
    chain.push(PayloadType::NONCE, |w| w.bytes(&[9; 32]));
    send(&mut pair, ExchangeType::CREATE_CHILD_SA, chain);
    assert!(pair.right.sent.is_empty() && pair.right.established().is_empty());
    assert!(pair.right.children.is_empty());
}

/// CHECKLIST V11: an INFORMATIONAL that deletes what is not authenticated yet (CVE-2019-12312).
#[test]
fn cve_2019_12312_a_delete_before_ike_auth() {
    let mut pair = half_open();
    let mut chain = ChainBuilder::new();
    chain.put(&Payload::Delete(Delete::IkeSa));
    send(&mut pair, ExchangeType::INFORMATIONAL, chain);
    assert!(pair.right.sent.is_empty());
    assert_eq!(pair.right.endpoint.ike_sas().count(), 1, "it waits for IKE_AUTH still");
}

/// Sends an IKE_AUTH request that nobody honest sends: refused, and nothing is left of it.
fn refuses_auth(parts: &[(PayloadType, Vec<u8>)]) {
    let mut pair = half_open();
    let mut chain = ChainBuilder::new();
    for (kind, body) in parts {
        chain.push(*kind, |w| w.bytes(body));
    }
    send(&mut pair, ExchangeType::IKE_AUTH, chain);
    assert!(pair.right.sent.len() <= 1);
    assert!(pair.right.established().is_empty() && pair.right.children.is_empty());
}

fn id(kind: IdType, data: &[u8]) -> (PayloadType, Vec<u8>) {
    (PayloadType::ID_I, [&[kind.0, 0, 0, 0], data].concat())
}

fn auth() -> (PayloadType, Vec<u8>) {
    (PayloadType::AUTH, [&[2, 0, 0, 0][..], &[7; 32]].concat())
}

/// CHECKLIST V10, A12: IKE_AUTH without selectors, without SA, with nothing at all (CVE-2009-1958).
#[test]
fn cve_2009_1958_ike_auth_without_selectors() {
    let id = || id(IdType::FQDN, b"left.example");
    let transforms = vec![
        Transform::encryption(EncryptionId::AES_GCM_16, Some(128)),
        Transform::new(TransformType::ESN, 0),
    ];
    let proposal = Proposal { number: 1, protocol: ProtocolId::ESP, spi: vec![9; 4], transforms };
    let sa = (PayloadType::SA, body(&Payload::Sa(Sa { proposals: vec![proposal] })));
    refuses_auth(&[]);
    refuses_auth(&[id()]);
    refuses_auth(&[id(), auth()]);
    refuses_auth(&[id(), auth(), sa]);
}

/// CHECKLIST V13: identities as long as a message goes (CVE-2025-9242).
#[test]
fn cve_2025_9242_identities_longer_than_any_buffer() {
    for kind in [1, 2, 3, 5, 9, 10, 11, 12, 200].map(IdType) {
        for length in [0, 1, 520, 4_096, 50_000] {
            refuses_auth(&[id(kind, &vec![b'a'; length]), auth()]);
        }
    }
}

/// CHECKLIST V14: identities that would begin a line of the log, or never end (CVE-2010-2628).
#[test]
fn cve_2010_2628_identities_in_logs() {
    let texts: [&[u8]; 5] =
        [b"a\nsshd: accepted", b"\x1b[2J", b"a\0b", b"%s%n", "a\u{202e}b".as_bytes()];
    for kind in [IdType::FQDN, IdType::RFC822_ADDR, IdType::KEY_ID, IdType::DER_ASN1_DN] {
        for text in texts {
            refuses_auth(&[id(kind, text), auth()]);
            let Ok(identity) = Identity::from_wire(kind, text) else { continue };
            let shown = identity.to_string();
            assert!(!shown.chars().any(char::is_control), "{shown:?}");
        }
    }
}

/// CHECKLIST V16, F21: names that are empty, or longer than they say (CVE-2014-2891,
/// CVE-2013-6075).
#[test]
fn cve_2014_2891_names_that_lie_about_their_length() {
    let names: [&[u8]; 6] = [
        &[],
        &[0x30],
        &[0x30, 0],
        &[0x30, 0x80],
        &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff],
        &[0x30, 0x0a, 0x31, 0x40, 0x30, 0x40, 0x06, 0x03, 0x55, 0x04, 0x03, 0x0c],
    ];
    for name in names {
        refuses_auth(&[id(IdType::DER_ASN1_DN, name), auth()]);
    }
}

/// CHECKLIST V15: text for a shell, in notifies that daemons write to their logs (CVE-2023-28771).
#[test]
fn cve_2023_28771_text_for_a_shell_in_notifies() {
    for kind in [1, 7, 14, 17, 24, 8_192, 16_384, 40_960, 65_535].map(NotifyType) {
        let notify = Notify::new(kind, b"\"; bash -c 'reboot'; echo -n \"");
        let notify = body(&Payload::Notify(notify));
        survives_with(|parts| parts.push((PayloadType::NOTIFY, notify.clone())));
    }
}

/// CHECKLIST V18: a PRF, and other algorithms, that the library does not have (CVE-2018-10811).
#[test]
fn cve_2018_10811_algorithms_that_are_not_there() {
    for kind in [TransformType::PRF, TransformType::ENCR, TransformType::KE] {
        for algorithm in [0, 1, 999, 65_535] {
            let answers = survives_with(with_transforms(|transforms| {
                transforms.retain(|transform| transform.kind != kind);
                transforms.push(Transform::new(kind, algorithm));
            }));
            assert_eq!(kinds_of(&answers), [NotifyType::NO_PROPOSAL_CHOSEN], "{kind} {algorithm}");
        }
    }
}

/// CHECKLIST V09, D13: every length of the message says something else (CVE-2009-1957).
#[test]
fn cve_2009_1957_lengths_that_contradict_each_other() {
    let mut pair = pair();
    pair.left.initiate(pair.now);
    let (to_right, honest) = pair.left.sent.pop_front().unwrap();
    for at in 16..honest.len() - 1 {
        for value in [[0, 0], [0, 3], [0xff, 0xff]] {
            let mut forged = honest.clone();
            forged[at..at + 2].copy_from_slice(&value);
            pair.right.datagram(reversed(to_right), &forged, pair.now);
            let answered: usize = pair.right.sent.drain(..).map(|(_, octets)| octets.len()).sum();
            assert!(answered <= forged.len(), "{at}: {answered} for {}", forged.len());
        }
        forged_and_cut(&mut pair, to_right, &honest[..at]);
    }
}

fn forged_and_cut(pair: &mut Pair, to_right: adit_ike::Path, octets: &[u8]) {
    pair.right.datagram(reversed(to_right), octets, pair.now);
    assert!(pair.right.sent.is_empty());
}

/// CHECKLIST V21, D16: as many payloads as fit, known and unknown (CVE-2026-12413).
#[test]
fn cve_2026_12413_as_many_payloads_as_fit() {
    for kind in
        [PayloadType::NOTIFY, PayloadType::VENDOR_ID, PayloadType::CERTREQ, PayloadType(200)]
    {
        let length = if kind == PayloadType::NOTIFY { 4 } else { 0 };
        let many = 60_000 / (length + 4);
        survives_with(|parts| {
            parts.extend(std::iter::repeat_n((kind, vec![0; length]), many));
        });
        refuses_auth(&vec![(kind, vec![0; length]); many]);
    }
}

/// CHECKLIST V07, J29: a rekeying of a protocol that is none, and of SAs that are none
/// (CVE-2023-38710).
#[test]
fn cve_2023_38710_rekeyings_of_a_protocol_that_is_none() {
    for protocol in [0, 1, 2, 4, 99, 255].map(ProtocolId) {
        for spi in [&[][..], &[1, 2, 3, 4], &[7; 8], &[7; 200]] {
            let mut pair = established();
            let mut chain = ChainBuilder::new();
            let kind = NotifyType::REKEY_SA;
            chain.put(&Payload::Notify(Notify { protocol, spi, kind, data: &[] }));
            let rest = child_request(&pair, &[]).finish().unwrap();
            for (kind, body) in parts_of_chain(rest.first, &rest.octets) {
                chain.push(kind, |w| w.bytes(&body));
            }
            let answer = answer(&mut pair, ExchangeType::CREATE_CHILD_SA, FIRST, chain);
            assert!(notifies(&answer).iter().any(|kind| kind.is_error()), "{protocol} {spi:?}");
            assert!(pair.right.children.len() <= 1);
        }
    }
}

fn parts_of_chain(first: PayloadType, octets: &[u8]) -> Parts {
    let mut message = vec![0; Header::LEN];
    message[16] = first.0;
    message.extend(octets);
    parts(&message)
}

/// CHECKLIST V08: selectors of impossible lengths and numbers (CVE-2023-23009).
#[test]
fn cve_2023_23009_selectors_of_impossible_lengths() {
    let selector = |length: u16| {
        let mut octets = vec![7, 0];
        octets.extend(length.to_be_bytes());
        octets.extend([0, 0, 0xff, 0xff, 10, 0, 0, 1, 10, 0, 0, 9]);
        octets
    };
    for length in [0, 1, 7, 8, 15, 17, 40, 65_535] {
        for count in [0, 1, 2, 255] {
            let mut pair = established();
            let rest = child_request(&pair, &[]).finish().unwrap();
            let mut chain = ChainBuilder::new();
            for (kind, body) in parts_of_chain(rest.first, &rest.octets) {
                let is_selectors = kind == PayloadType::TS_I;
                let bad = [&[count, 0, 0, 0], selector(length).as_slice()].concat();
                chain.push(kind, |w| w.bytes(if is_selectors { &bad } else { &body }));
            }
            let answer = answer(&mut pair, ExchangeType::CREATE_CHILD_SA, FIRST, chain);
            assert!(notifies(&answer).iter().any(|kind| kind.is_error()), "{length} {count}");
        }
    }
}

/// CHECKLIST V34: results of work for an IKE SA that is gone meanwhile (CVE-2011-4073).
#[test]
fn cve_2011_4073_work_for_what_is_gone() {
    let mut pair = pair();
    pair.right.answers_jobs = false;
    pair.left.initiate(pair.now);
    pair.run();
    let id = pair.left.endpoint.ike_sas().next().unwrap().id;
    let request = pair.left.request();
    pair.left.command(Command::TerminateIke { id, request }, pair.now);
    pair.run_for(std::time::Duration::from_secs(120));
    for job in 0..16 {
        let signed = AuthResult::Signed(Proof::shared_key(vec![1; 32]));
        for result in [AuthResult::Verified, signed, AuthResult::NoSecret] {
            pair.right.give(Input::Auth(JobId(job), result), pair.now);
        }
    }
    assert!(pair.right.established().is_empty() && pair.right.children.is_empty());
    pair.right.answers_jobs = true;
    pair.left.initiate(pair.now);
    pair.run();
    pair.assert_one_tunnel();
}
