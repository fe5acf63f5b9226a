//! Additional key exchanges (RFC 9370) of a peer that does not go by the rules, or by few of them.

use adit_crypto::{KeyExchange, KeyShare, SeededRng};
use adit_db::{Connection, ProposalSpec};
use adit_ike::Command;
use adit_wire::iana::{
    EncryptionId, ExchangeType, KeyExchangeId, NotifyType, PayloadType, PrfId, ProtocolId,
    TransformType,
};
use adit_wire::ikev2::{
    ChainBuilder, Delete, Flags, Header, Ke, Notify, Payload, Proposal, Sa, Spis, Transform, Ts,
};

use super::{FIRST, answer, established_between, keys, notifies, payloads};
use crate::common::{LEFT, Pair, RIGHT, path, sealed, with_ike};
use crate::{header, ids};

const CREATE: ExchangeType = ExchangeType::CREATE_CHILD_SA;
const FOLLOWUP: ExchangeType = ExchangeType::IKE_FOLLOWUP_KE;

const PLAIN: &str = "aes256gcm16-prfsha384-x25519";

/// The child wants ML-KEM-512 and then P-384 beside X25519 when it is rekeyed.
fn hybrid() -> Pair {
    let words = "aes256gcm16-x25519-ke1_mlkem512-ke2_ecp384-esn-noesn";
    let hybrid = |mut connection: Connection| {
        connection.children[0].proposals = ProposalSpec::esp_list(words).unwrap();
        connection
    };
    established_between(with_ike(PLAIN, PLAIN).map(hybrid))
}

fn share(method: KeyExchange) -> KeyShare {
    method.generate(&mut SeededRng::new(5))
}

fn put_ke(share: &KeyShare, chain: &mut ChainBuilder) {
    chain.put(&Payload::Ke(Ke { method: share.method().id(), data: share.public() }));
}

/// Asks for new keys of the child, with both additional exchanges.
fn rekey(pair: &Pair, number: u8) -> ChainBuilder {
    let old = pair.right.children.values().next().unwrap();
    let transforms = vec![
        Transform::encryption(EncryptionId::AES_GCM_16, Some(256)),
        Transform::key_exchange(KeyExchangeId::CURVE25519),
        Transform::new(TransformType::ESN, 1),
        Transform::new(TransformType::ADDKE1, KeyExchangeId::ML_KEM_512.0),
        Transform::new(TransformType::ADDKE2, KeyExchangeId::ECP_384.0),
    ];
    let spi = vec![9, 8, 7, number];
    let proposal = Proposal { number: 1, protocol: ProtocolId::ESP, spi, transforms };
    let mut chain = ChainBuilder::new();
    chain.put(&Payload::Notify(Notify {
        protocol: ProtocolId::ESP,
        spi: &old.spi_out.to_octets(),
        kind: NotifyType::REKEY_SA,
        data: &[],
    }));
    chain.put(&Payload::Sa(Sa { proposals: vec![proposal] }));
    chain.push(PayloadType::NONCE, |w| w.bytes(&[number; 32]));
    put_ke(&share(KeyExchange::X25519), &mut chain);
    chain.put(&Payload::TsI(Ts::new(old.remote_ts.clone())));
    chain.put(&Payload::TsR(Ts::new(old.local_ts.clone())));
    chain
}

fn followup(method: KeyExchange, link: Option<&[u8]>) -> ChainBuilder {
    let mut chain = ChainBuilder::new();
    put_ke(&share(method), &mut chain);
    if let Some(link) = link {
        chain.put(&Payload::Notify(Notify::new(NotifyType::ADDITIONAL_KEY_EXCHANGE, link)));
    }
    chain
}

/// What the next request has to repeat.
fn link(answer: &(PayloadType, Vec<u8>)) -> Vec<u8> {
    let link = payloads(answer).into_iter().find_map(|payload| {
        let Payload::Notify(notify) = payload else { return None };
        (notify.kind == NotifyType::ADDITIONAL_KEY_EXCHANGE).then(|| notify.data.to_vec())
    });
    link.unwrap_or_else(|| panic!("no link in {answer:?}"))
}

/// CHECKLIST Q10: a request that belongs to nothing is told so, and what waits goes on waiting.
//= https://www.rfc-editor.org/rfc/rfc9370#section-2.2.4
//= type=test
//# If the responder receives an IKE_FOLLOWUP_KE message for which it does not have a key
//# exchange state, it MUST send back a new error type notification called "STATE_NOT_FOUND".
#[test]
fn a_request_without_state_is_told_so() {
    let mut pair = hybrid();
    let request = followup(KeyExchange::MlKem512, Some(&[0; 16]));
    let unknown = answer(&mut pair, FOLLOWUP, FIRST, request);
    assert_eq!(notifies(&unknown), [NotifyType::STATE_NOT_FOUND]);

    let request = rekey(&pair, 1);
    let created = answer(&mut pair, CREATE, FIRST + 1, request);
    let first = link(&created);
    for (message_id, wrong) in
        (FIRST + 2..).zip([None, Some(&[][..]), Some(&[7; 16]), Some(&first[1..])])
    {
        let request = followup(KeyExchange::MlKem512, wrong);
        let refused = answer(&mut pair, FOLLOWUP, message_id, request);
        assert_eq!(notifies(&refused), [NotifyType::STATE_NOT_FOUND]);
    }
    let next = FIRST + 6;
    let request = followup(KeyExchange::MlKem512, Some(&first));
    let second = link(&answer(&mut pair, FOLLOWUP, next, request));
    assert_ne!(first, second);
    // Each value is good once.
    let request = followup(KeyExchange::EcpP384, Some(&first));
    let refused = answer(&mut pair, FOLLOWUP, next + 1, request);
    assert_eq!(notifies(&refused), [NotifyType::STATE_NOT_FOUND]);
    assert_eq!(pair.right.children.len(), 1);
    let request = followup(KeyExchange::EcpP384, Some(&second));
    let complete = answer(&mut pair, FOLLOWUP, next + 2, request);
    assert_eq!(notifies(&complete), []);
    assert_eq!(pair.right.children.len(), 2);
}

/// A method out of its turn, or a value that is none of it, is fatal as in CREATE_CHILD_SA.
//= https://www.rfc-editor.org/rfc/rfc9370#section-2.2.4
//= type=test
//# field in the KEi(n) and KEr(n) payloads MUST match the n-th negotiated additional key
//# exchange.
#[test]
fn a_method_out_of_its_turn_is_malformed() {
    let swapped = |link: &[u8]| followup(KeyExchange::EcpP384, Some(link));
    let short = |link: &[u8]| {
        let mut chain = ChainBuilder::new();
        chain.put(&Payload::Ke(Ke { method: KeyExchangeId::ML_KEM_512, data: &[1; 32] }));
        chain.put(&Payload::Notify(Notify::new(NotifyType::ADDITIONAL_KEY_EXCHANGE, link)));
        chain
    };
    for request in [swapped as fn(&[u8]) -> ChainBuilder, short] {
        let mut pair = hybrid();
        let create = rekey(&pair, 1);
        let link = link(&answer(&mut pair, CREATE, FIRST, create));
        let refused = answer(&mut pair, FOLLOWUP, FIRST + 1, request(&link));
        assert_eq!(notifies(&refused), [NotifyType::INVALID_SYNTAX]);
        assert!(pair.right.established().is_empty() && pair.right.children.is_empty());
    }
}

/// Who asks again for the same has given up what it began; who begins many things has a few.
#[test]
fn what_waits_for_key_exchanges_is_bounded() {
    let mut pair = hybrid();
    let create = rekey(&pair, 1);
    let first = link(&answer(&mut pair, CREATE, FIRST, create));
    let create = rekey(&pair, 2);
    let second = link(&answer(&mut pair, CREATE, FIRST + 1, create));
    let request = followup(KeyExchange::MlKem512, Some(&first));
    let refused = answer(&mut pair, FOLLOWUP, FIRST + 2, request);
    assert_eq!(notifies(&refused), [NotifyType::STATE_NOT_FOUND]);
    let request = followup(KeyExchange::MlKem512, Some(&second));
    link(&answer(&mut pair, FOLLOWUP, FIRST + 3, request));
}

/// A child that is deleted while its successor waits for key exchanges has none.
#[test]
fn a_successor_of_nothing_is_not_made() {
    let mut pair = hybrid();
    let create = rekey(&pair, 1);
    let link = link(&answer(&mut pair, CREATE, FIRST, create));
    let old = pair.right.children.values().next().unwrap().spi_out.to_octets();
    let mut chain = ChainBuilder::new();
    let spis = [old];
    let delete = Delete::Esp(Spis::new(&spis).unwrap());
    chain.push(PayloadType::DELETE, |w| delete.write(w));
    answer(&mut pair, ExchangeType::INFORMATIONAL, FIRST + 1, chain);
    let request = followup(KeyExchange::MlKem512, Some(&link));
    let refused = answer(&mut pair, FOLLOWUP, FIRST + 2, request);
    assert_eq!(notifies(&refused), [NotifyType::STATE_NOT_FOUND]);
    assert!(pair.right.children.is_empty());
    assert_eq!(pair.right.established().len(), 1);
}

/// CHECKLIST K18: the request to rekey an IKE SA leaves out the additional key exchange that it was
/// made with, which is the peer's to decide where ours is not insisted on.
#[test]
fn a_rekey_may_leave_out_the_additional_key_exchange() {
    let words = "aes256gcm16-prfsha384-x25519-ke1_mlkem768";
    for (ours, taken) in [(format!("{words}-ke1_none"), true), (words.to_owned(), false)] {
        let mut pair = established_between(with_ike(words, &ours));
        let suite = &pair.right.established()[0].suite;
        assert!(suite.iter().any(|transform| transform.kind == TransformType::ADDKE1));
        let transforms = vec![
            Transform::encryption(EncryptionId::AES_GCM_16, Some(256)),
            Transform::prf(PrfId::HMAC_SHA2_384),
            Transform::key_exchange(KeyExchangeId::CURVE25519),
        ];
        let spi = vec![7; 8];
        let proposal = Proposal { number: 1, protocol: ProtocolId::IKE, spi, transforms };
        let mut chain = ChainBuilder::new();
        chain.put(&Payload::Sa(Sa { proposals: vec![proposal] }));
        chain.push(PayloadType::NONCE, |w| w.bytes(&[9; 32]));
        put_ke(&share(KeyExchange::X25519), &mut chain);
        // One IKE_INTERMEDIATE came before IKE_AUTH.
        let answer = answer(&mut pair, CREATE, FIRST + 1, chain);
        let refused = notifies(&answer) == [NotifyType::NO_PROPOSAL_CHOSEN];
        assert_eq!(refused, !taken);
        let has_ke = payloads(&answer).iter().any(|payload| matches!(payload, Payload::Ke(_)));
        assert_eq!(has_ke, taken);
    }
}

/// The initiator's side: an answer that promises key exchanges and links to none, or in too many
/// octets, comes to nothing; the child stays as it was.
#[test]
fn an_answer_without_a_sensible_link_comes_to_nothing() {
    for link in [None, Some(vec![1; 1_025])] {
        let mut pair = hybrid();
        let (_, child) = ids(&pair);
        pair.left.command(Command::RekeyChild(child), pair.now);
        let (_, request) = pair.left.sent.pop_front().unwrap();
        let header = Header { flags: Flags::new(false, true), ..header(&request) };
        let old = pair.left.children.values().next().unwrap();
        let transforms = vec![
            Transform::encryption(EncryptionId::AES_GCM_16, Some(256)),
            Transform::key_exchange(KeyExchangeId::CURVE25519),
            Transform::new(TransformType::ESN, 1),
            Transform::new(TransformType::ADDKE1, KeyExchangeId::ML_KEM_512.0),
            Transform::new(TransformType::ADDKE2, KeyExchangeId::ECP_384.0),
        ];
        let proposal =
            Proposal { number: 1, protocol: ProtocolId::ESP, spi: vec![9, 8, 7, 6], transforms };
        let mut chain = ChainBuilder::new();
        chain.put(&Payload::Sa(Sa { proposals: vec![proposal] }));
        chain.push(PayloadType::NONCE, |w| w.bytes(&[9; 32]));
        put_ke(&share(KeyExchange::X25519), &mut chain);
        chain.put(&Payload::TsI(Ts::new(old.local_ts.clone())));
        chain.put(&Payload::TsR(Ts::new(old.remote_ts.clone())));
        if let Some(link) = &link {
            chain.put(&Payload::Notify(Notify::new(NotifyType::ADDITIONAL_KEY_EXCHANGE, link)));
        }
        let response = sealed(keys(&pair), header, chain);
        pair.left.datagram(path(LEFT, RIGHT), &response, pair.now);
        assert_eq!(pair.left.children.len(), 1);
        assert_eq!(pair.left.established().len(), 1);
        assert_eq!(pair.left.failures().len(), 1);
    }
}
