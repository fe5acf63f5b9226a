//! Choosing and checking choices.

use adit_crypto::{Cipher, Encryption, IcvSize, Integrity, KeySize, Prf};
use adit_wire::iana::{EncryptionId, IntegrityId, PrfId};
use proptest::prelude::*;

use super::*;

const INIT: Purpose = Purpose::Ike { additional: true };

fn ike(text: &str) -> Vec<ProposalSpec> {
    ProposalSpec::ike_list(text).unwrap()
}

fn esp(text: &str) -> Vec<ProposalSpec> {
    ProposalSpec::esp_list(text).unwrap()
}

fn offer(text: &str) -> Offer {
    Offer::new(INIT, &ike(text), &[])
}

fn chosen(theirs: &str, ours: &str) -> Option<IkeSuite> {
    choose_ike(INIT, &ike(ours), &offer(theirs).sa()).ok().map(|choice| choice.suite)
}

/// CHECKLIST E01: our order decides, in proposals and in transforms.
#[test]
fn the_responders_order_decides() {
    let theirs = "aes128gcm16-aes256gcm16-prfsha256-prfsha384-ecp256-x25519";
    let ours = "aes256gcm16-aes128gcm16-prfsha384-prfsha256-x25519-ecp256";
    let suite = chosen(theirs, ours).unwrap();
    assert_eq!(suite.cipher, Cipher::AesGcm(KeySize::Bits256, IcvSize::Octets16));
    assert_eq!((suite.prf, suite.ke), (Prf::HmacSha2_384, KeyExchange::X25519));

    let theirs = "aes128-sha256-x25519,aes256gcm16-prfsha256-x25519";
    let ours = "aes256gcm16-prfsha256-x25519,aes128-sha256-x25519";
    let suite = chosen(theirs, ours).unwrap();
    assert_eq!(suite.cipher, Cipher::AesGcm(KeySize::Bits256, IcvSize::Octets16));
}

/// CHECKLIST E02: exactly one proposal comes back, under its number.
#[test]
fn the_answer_is_one_proposal_with_its_number() {
    let theirs = offer("aes128gcm16-prfsha256-x25519,aes256gcm16-prfsha256-x25519");
    let choice = choose_ike(INIT, &ike("aes256gcm16-prfsha256-x25519"), &theirs.sa()).unwrap();
    let answer = choice.answer(&[]);
    assert_eq!(answer.proposals.len(), 1);
    assert_eq!(answer.proposals[0].number, 2);
    assert_eq!(theirs.accept_ike(&answer).unwrap().suite, choice.suite);
}

/// CHECKLIST A06.
#[test]
fn nothing_in_common_is_no_proposal_chosen() {
    assert_eq!(chosen("aes128gcm16-prfsha256-x25519", "aes256gcm16-prfsha256-x25519"), None);
    assert_eq!(chosen("aes128gcm16-prfsha256-x25519", "aes128gcm16-prfsha384-x25519"), None);
    assert_eq!(chosen("aes128gcm16-prfsha256-x25519", "aes128gcm16-prfsha256-ecp256"), None);
}

fn raw(transforms: &[Transform]) -> Sa {
    let proposal = Proposal {
        number: 1,
        protocol: ProtocolId::IKE,
        spi: Vec::new(),
        transforms: transforms.to_vec(),
    };
    Sa { proposals: vec![proposal] }
}

const CBC: Transform = Transform::encryption(EncryptionId::AES_CBC, Some(128));
const GCM: Transform = Transform::encryption(EncryptionId::AES_GCM_16, Some(256));
const PRF: Transform = Transform::prf(PrfId::HMAC_SHA2_256);
const SHA: Transform = Transform::integrity(IntegrityId::HMAC_SHA2_256_128);
const NO_INTEG: Transform = Transform::integrity(IntegrityId::NONE);
const X25519: Transform = Transform::key_exchange(KeyExchangeId::CURVE25519);
const NO_KE: Transform = Transform::key_exchange(KeyExchangeId::NONE);
const ML_KEM: u16 = KeyExchangeId::ML_KEM_768.0;

fn choose_raw(transforms: &[Transform]) -> Result<Choice<IkeSuite>, NoProposalChosen> {
    choose_ike(INIT, &ProposalSpec::ike_default(), &raw(transforms))
}

/// CHECKLIST A15: no key exchange, or NONE, is no IKE proposal.
#[test]
fn an_ike_proposal_without_key_exchange_is_refused() {
    assert!(choose_raw(&[GCM, PRF, X25519]).is_ok());
    assert!(choose_raw(&[GCM, PRF]).is_err());
    assert!(choose_raw(&[GCM, PRF, NO_KE]).is_err());
    assert!(choose_raw(&[GCM, X25519]).is_err());
}

/// CHECKLIST A16: integrity NONE goes with an AEAD only, and an AEAD with nothing else.
#[test]
fn a_cipher_without_integrity_is_refused() {
    assert!(choose_raw(&[CBC, PRF, SHA, X25519]).is_ok());
    assert!(choose_raw(&[CBC, PRF, NO_INTEG, X25519]).is_err());
    assert!(choose_raw(&[CBC, PRF, X25519]).is_err());
    assert!(choose_raw(&[GCM, PRF, SHA, X25519]).is_err());
    let choice = choose_raw(&[GCM, PRF, NO_INTEG, X25519]).unwrap();
    assert!(choice.transforms.contains(&NO_INTEG));
    assert!(!choice.visible_transforms().contains(&NO_INTEG));
}

/// RFC 8750 §3: messages of IKE have no sequence number to be an IV; packets have.
#[test]
fn implicit_ivs_are_for_packets_only() {
    let implicit = Transform::encryption(EncryptionId::AES_GCM_16_IIV, Some(256));
    assert!(choose_raw(&[implicit, PRF, X25519]).is_err());
    assert!(choose_raw(&[implicit, GCM, PRF, X25519]).is_ok());
    assert!(ProposalSpec::ike("aes256gcm16iiv-prfsha256-x25519").is_err());

    let specs = esp("aes256gcm16iiv-esn,aes256gcm16-esn");
    let offer = Offer::new(Purpose::FirstChild, &specs, &[1; 4]);
    let choice = choose_child(Purpose::FirstChild, &specs, &offer.sa()).unwrap();
    assert_eq!(choice.suite.protection.to_string(), "aes256gcm16iiv");
}

/// RFC 7296 §3.3.6: a proposal with a transform type nobody knows is not acceptable; unknown
/// algorithms of a known type are passed over.
#[test]
fn unknown_transform_types_spoil_a_proposal_and_unknown_algorithms_do_not() {
    let unknown_type = Transform::new(TransformType(200), 1);
    let unknown_cipher = Transform::encryption(EncryptionId(999), None);
    assert!(choose_raw(&[GCM, PRF, X25519, unknown_type]).is_err());
    assert!(choose_raw(&[unknown_cipher, GCM, PRF, X25519]).is_ok());
    assert!(choose_raw(&[unknown_cipher, PRF, X25519]).is_err());
}

fn answered(offer: &Offer, transforms: &[Transform]) -> Result<Choice<IkeSuite>, AnswerError> {
    offer.accept_ike(&raw(transforms))
}

/// CHECKLIST E03.
#[test]
fn an_answer_that_is_no_choice_of_ours_is_refused() {
    let offer = offer("aes256gcm16-aes128gcm16-prfsha256-x25519");
    let aes128 = Transform::encryption(EncryptionId::AES_GCM_16, Some(128));
    let p256 = Transform::key_exchange(KeyExchangeId::ECP_256);
    assert!(answered(&offer, &[GCM, PRF, X25519]).is_ok());
    let refused = |transforms: &[Transform]| answered(&offer, transforms).unwrap_err();
    assert_eq!(refused(&[GCM, PRF, p256]), AnswerError::NotOffered(p256));
    assert_eq!(refused(&[CBC, PRF, X25519]), AnswerError::NotOffered(CBC));
    let twice = AnswerError::Ambiguous(TransformType::ENCR);
    assert_eq!(refused(&[GCM, aes128, PRF, X25519]), twice);
    assert_eq!(refused(&[GCM, PRF]), AnswerError::Missing(TransformType::KE));
    assert_eq!(refused(&[]), AnswerError::Missing(TransformType::ENCR));

    let mut two = raw(&[GCM, PRF, X25519]);
    two.proposals.push(two.proposals[0].clone());
    assert_eq!(offer.accept_ike(&two), Err(AnswerError::NotOurs));
    let mut renumbered = raw(&[GCM, PRF, X25519]);
    renumbered.proposals[0].number = 9;
    assert_eq!(offer.accept_ike(&renumbered), Err(AnswerError::NotOurs));
    let mut with_spi = raw(&[GCM, PRF, X25519]);
    with_spi.proposals[0].spi = vec![1; 8];
    assert_eq!(offer.accept_ike(&with_spi), Err(AnswerError::NotOurs));
    assert_eq!(offer.accept_ike(&Sa::default()), Err(AnswerError::NotOurs));
}

/// RFC 9370 §2.2.1: the default offers ML-KEM, and a peer may decline it.
#[test]
fn additional_key_exchange_is_agreed_or_declined() {
    let with = "aes256gcm16-prfsha384-x25519-ke1_mlkem768-ke1_none";
    let without = "aes256gcm16-prfsha384-x25519";
    assert_eq!(chosen(with, with).unwrap().additional, [KeyExchange::MlKem768]);
    assert_eq!(chosen(with, without).unwrap().additional, []);
    assert_eq!(chosen(without, with).unwrap().additional, []);
    let must = "aes256gcm16-prfsha384-x25519-ke1_mlkem768";
    assert_eq!(chosen(must, without), None);
    assert_eq!(chosen(without, must), None);
    assert_eq!(chosen(must, must).unwrap().additional, [KeyExchange::MlKem768]);
}

//= https://www.rfc-editor.org/rfc/rfc9370#section-2.2.1
//= type=test
//# If the IKE_INTERMEDIATE exchange is not negotiated, then the peers MUST treat any
//# ADDKE Transform Types in the IKE_SA_INIT exchange messages as unknown transform types and
//# skip the proposals they appear in.
#[test]
fn without_ike_intermediate_the_plain_proposal_is_taken() {
    let offered = offer("aes256gcm16-prfsha384-x25519-ke1_mlkem768-ke1_none").sa();
    assert_eq!(offered.proposals.len(), 2);
    let ours = ProposalSpec::ike_default();
    let choice = choose_ike(Purpose::Ike { additional: false }, &ours, &offered).unwrap();
    assert_eq!(choice.answer(&[]).proposals[0].number, 2);
    assert!(choice.suite.additional.is_empty());
}

/// CHECKLIST Q04: whom we insist on an additional key exchange with is refused at once if it does not
/// know IKE_INTERMEDIATE, and has a choice without one where we do not.
#[test]
fn a_peer_without_ike_intermediate_is_taken_by_policy() {
    let without = Purpose::Ike { additional: false };
    let offered = offer("aes256gcm16-prfsha384-x25519").sa();
    let insisting = ike("aes256gcm16-prfsha384-x25519-ke1_mlkem768");
    assert_eq!(choose_ike(without, &insisting, &offered), Err(NoProposalChosen));
    let willing = ike("aes256gcm16-prfsha384-x25519-ke1_mlkem768-ke1_none");
    assert!(choose_ike(without, &willing, &offered).is_ok());
}

/// RFC 9370 §2.2.4: additional key exchanges of a child follow a first one, or there are none; in
/// IKE_AUTH there is neither.
#[test]
fn additional_key_exchanges_of_a_child_follow_a_first_one() {
    let purpose = Purpose::Child { additional: true };
    let both = esp("aes256gcm16-x25519-none-ke1_mlkem768-ke1_none");
    let choose = |purpose, kinds: &[Transform]| {
        let base = [GCM, Transform::new(TransformType::ESN, 0)];
        let proposal = Proposal {
            number: 1,
            protocol: ProtocolId::ESP,
            spi: vec![1; 4],
            transforms: [&base, kinds].concat(),
        };
        let chosen = choose_child(purpose, &both, &Sa { proposals: vec![proposal] });
        chosen.ok().map(|choice| (choice.suite.ke, choice.suite.additional))
    };
    let more = Transform::new(TransformType::ADDKE1, ML_KEM);
    let no_more = Transform::new(TransformType::ADDKE1, 0);
    let (x25519, ml_kem) = (Some(KeyExchange::X25519), vec![KeyExchange::MlKem768]);
    assert_eq!(choose(purpose, &[X25519, more, no_more]), Some((x25519, ml_kem)));
    assert_eq!(choose(purpose, &[X25519, no_more]), Some((x25519, vec![])));
    assert_eq!(choose(purpose, &[NO_KE, more, no_more]), Some((None, vec![])));
    assert_eq!(choose(purpose, &[NO_KE, more]), None);
    assert_eq!(choose(purpose, &[more]), None);
    assert_eq!(choose(Purpose::FirstChild, &[]), Some((None, vec![])));

    let must = esp("aes256gcm16-x25519-ke1_mlkem768");
    let first = Offer::new(Purpose::FirstChild, &must, &[1; 4]).sa();
    let kinds: Vec<_> = first.proposals[0].transforms.iter().map(|t| t.kind).collect();
    assert_eq!(kinds, [TransformType::ENCR, TransformType::ESN]);
    assert!(choose_child(Purpose::FirstChild, &must, &first).is_ok());
}

//= https://www.rfc-editor.org/rfc/rfc9370#section-2.2.1
//= type=test
//# the responder's choice MUST NOT contain duplicated algorithms (those with an
//# identical Transform ID and attributes), except for the Transform ID of NONE.
/// CHECKLIST Q02.
#[test]
fn no_method_is_chosen_twice_as_additional_exchange() {
    let slot = |kind, id| Transform::new(kind, id);
    let (one, two) = (TransformType::ADDKE1, TransformType::ADDKE2);
    let p384 = KeyExchangeId::ECP_384.0;
    let ours = ike("aes256gcm16-prfsha256-x25519-ke1_mlkem768-ke1_ecp384-ke2_mlkem768-ke2_ecp384");
    let base = [GCM, PRF, X25519];
    let choose = |more: &[Transform]| choose_ike(INIT, &ours, &raw(&[&base, more].concat()));

    let all = [slot(one, ML_KEM), slot(one, p384), slot(two, ML_KEM)];
    let suite = choose(&all).unwrap().suite;
    assert_eq!(suite.additional, [KeyExchange::EcpP384, KeyExchange::MlKem768]);
    assert!(choose(&[slot(one, ML_KEM), slot(two, ML_KEM)]).is_err());

    let offer = Offer::new(INIT, &ours, &[]);
    let repeated = [&base[..], &[slot(one, ML_KEM), slot(two, ML_KEM)]].concat();
    let error = AnswerError::Repeated(KeyExchangeId::ML_KEM_768);
    assert_eq!(offer.accept_ike(&raw(&repeated)), Err(error));
}

/// CHECKLIST E04, E05: the asked method is found among the offered ones, or not.
#[test]
fn the_wanted_key_exchange_must_have_been_offered() {
    let offer = offer("aes256gcm16-prfsha384-x25519-ecp384");
    assert_eq!(offer.first_key_exchange(), Some(KeyExchange::X25519));
    assert_eq!(offer.key_exchange(KeyExchangeId::ECP_384), Some(KeyExchange::EcpP384));
    assert_eq!(offer.key_exchange(KeyExchangeId::ECP_256), None);
    assert_eq!(offer.key_exchange(KeyExchangeId::NONE), None);
}

/// RFC 7296 §1.2: no key exchange in the child of IKE_AUTH; ESN is agreed (E15).
#[test]
fn the_first_child_has_no_key_exchange() {
    let specs = esp("aes256gcm16-x25519-esn-noesn");
    let offer = Offer::new(Purpose::FirstChild, &specs, &[1, 2, 3, 4]);
    let sa = offer.sa();
    assert!(sa.proposals[0].transforms_of(TransformType::KE).next().is_none());
    let choice = choose_child(Purpose::FirstChild, &specs, &sa).unwrap();
    assert_eq!(choice.peer_spi, [1, 2, 3, 4]);
    assert_eq!((choice.suite.ke, choice.suite.esn), (None, true));
    let accepted = offer.accept_child(&choice.answer(&[5, 6, 7, 8])).unwrap();
    assert_eq!((accepted.suite, accepted.peer_spi), (choice.suite, vec![5, 6, 7, 8]));
}

/// CHECKLIST E10: forward secrecy against none, down-grade allowed or not; E15: ESN either way.
#[test]
fn a_child_needs_a_key_exchange_only_if_one_side_insists() {
    let purpose = Purpose::Child { additional: false };
    let suite = |theirs: &str, ours: &str| {
        let offer = Offer::new(purpose, &esp(theirs), &[1; 4]);
        choose_child(purpose, &esp(ours), &offer.sa()).ok().map(|choice| choice.suite)
    };
    let (must, may, no) = ("aes256gcm16-x25519", "aes256gcm16-x25519-none", "aes256gcm16");
    assert_eq!(suite(must, may).unwrap().ke, Some(KeyExchange::X25519));
    assert_eq!(suite(may, no).unwrap().ke, None);
    assert_eq!(suite(no, may).unwrap().ke, None);
    assert_eq!(suite(must, no), None);
    assert_eq!(suite(no, must), None);
    assert!(!suite("aes256gcm16-noesn", "aes256gcm16-esn-noesn").unwrap().esn);
    assert_eq!(suite("aes256gcm16-esn", "aes256gcm16-noesn"), None);
}

/// RFC 7296 §3.3.1: rekeying an IKE SA carries SPIs of 8 octets, an ESP proposal 4.
#[test]
fn proposals_with_a_wrong_spi_or_protocol_are_passed_over() {
    let ours = ProposalSpec::ike_default();
    let rekey = Purpose::RekeyIke { additional: false };
    let with_spi = Offer::new(rekey, &ours, &[1; 8]).sa();
    let without = Offer::new(INIT, &ours, &[]).sa();
    assert!(choose_ike(rekey, &ours, &with_spi).is_ok());
    assert!(choose_ike(rekey, &ours, &without).is_err());
    assert!(choose_ike(INIT, &ours, &with_spi).is_err());
    assert!(choose_child(Purpose::FirstChild, &ours, &without).is_err());
}

#[test]
fn defaults_agree_with_themselves_on_the_first_words() {
    let choice = choose_ike(INIT, &ProposalSpec::ike_default(), &offer("default").sa()).unwrap();
    assert_eq!(choice.suite.cipher, Cipher::AesGcm(KeySize::Bits256, IcvSize::Octets16));
    assert_eq!(choice.suite.additional, [KeyExchange::MlKem768]);
}

fn any_transform() -> impl Strategy<Value = Transform> {
    let ids = prop::sample::select(vec![0_u16, 1, 5, 6, 12, 13, 14, 15, 19, 20, 28, 31, 36]);
    let bits = prop::sample::select(vec![None, Some(128), Some(256)]);
    (1_u8..14, ids, bits).prop_map(|(kind, id, key_bits)| Transform {
        kind: TransformType(kind),
        id,
        key_bits,
    })
}

fn any_spec() -> impl Strategy<Value = ProposalSpec> {
    let ciphers = prop::sample::subsequence(vec!["aes256gcm16", "aes128gcm16"], 1..=2);
    let prfs = prop::sample::subsequence(vec!["prfsha256", "prfsha384", "prfsha512"], 1..=3);
    let kes = prop::sample::subsequence(vec!["x25519", "ecp256", "modp2048"], 1..=3);
    let more = prop::sample::subsequence(
        vec!["ke1_mlkem768", "ke1_none", "ke2_ecp384", "ke2_mlkem768", "ke2_none"],
        0..=5,
    );
    (ciphers, prfs, kes, more).prop_map(|(ciphers, prfs, kes, more)| {
        ProposalSpec::ike(&[ciphers, prfs, kes, more].concat().join("-")).unwrap()
    })
}

proptest! {
    /// A choice takes transforms that both have, and the offerer agrees that it is one.
    #[test]
    fn a_choice_is_in_both_and_accepted(
        theirs in prop::collection::vec(any_spec(), 1..4),
        ours in prop::collection::vec(any_spec(), 1..4),
    ) {
        let offer = Offer::new(INIT, &theirs, &[]);
        if let Ok(choice) = choose_ike(INIT, &ours, &offer.sa()) {
            for transform in choice.visible_transforms() {
                prop_assert!(ours.iter().any(|spec| spec.transforms().contains(&transform)));
                prop_assert!(theirs.iter().any(|spec| spec.transforms().contains(&transform)));
            }
            let accepted = offer.accept_ike(&choice.answer(&[])).unwrap();
            prop_assert_eq!(accepted.suite, choice.suite);
        }
    }

    /// Whatever a peer offers or answers, choosing and checking come to an end without a panic.
    #[test]
    fn hostile_proposals_are_harmless(transforms in prop::collection::vec(any_transform(), 0..80)) {
        let sa = raw(&transforms);
        let ours = ProposalSpec::ike_default();
        if let Ok(choice) = choose_ike(INIT, &ours, &sa) {
            let theirs: Vec<_> = choice.transforms.iter().map(|t| transforms.contains(t)).collect();
            prop_assert!(theirs.into_iter().all(|offered| offered));
        }
        let _ = Offer::new(INIT, &ours, &[]).accept_ike(&sa);
        let _ = Offer::new(Purpose::FirstChild, &ours, &[]).accept_child(&sa);
    }
}

#[test]
fn an_integrity_algorithm_is_part_of_the_cipher() {
    let suite = chosen("aes128-sha256-x25519", "aes128-sha256-x25519").unwrap();
    let encryption = Encryption::AesCbc(KeySize::Bits128);
    let expected = Cipher::Paired(encryption, Integrity::HmacSha2_256_128);
    assert_eq!(suite.cipher, expected);
}
