//! Proposals as peers send them, good and bad.

use alloc::{string::ToString, vec};

use proptest::prelude::*;

use super::*;
use crate::{
    iana::PayloadType,
    ikev2::{
        Payload,
        testing::{fixed, no_prefix_reads, read, round_trip},
    },
};

/// ENCR_AES_GCM_16 with 256 bits.
const GCM: &[u8] = &[3, 0, 0, 12, 1, 0, 0, 20, 0x80, 14, 1, 0];
const PRF: &[u8] = &[3, 0, 0, 8, 2, 0, 0, 5];
const KE: &[u8] = &[0, 0, 0, 8, 4, 0, 0, 31];

/// One proposal with a length of its own making; the first transforms must say that more follow.
fn proposal(more: u8, number: u8, protocol: u8, spi: &[u8], transforms: &[&[u8]]) -> Vec<u8> {
    let transforms_octets = transforms.concat();
    let length = u16::try_from(8 + spi.len() + transforms_octets.len()).unwrap();
    let [length_0, length_1] = length.to_be_bytes();
    let spi_size = u8::try_from(spi.len()).unwrap();
    let count = u8::try_from(transforms.len()).unwrap();
    let header = [more, 0, length_0, length_1, number, protocol, spi_size, count];
    [header.as_slice(), spi, &transforms_octets].concat()
}

fn read_sa(body: &[u8]) -> Result<Sa, WireError> {
    read(PayloadType::SA, body).map(|payload| {
        let Payload::Sa(sa) = payload else { panic!("{payload:?}") };
        sa
    })
}

/// The transforms of a body with one IKE proposal of these.
fn read_transforms_of(transforms: &[&[u8]]) -> Result<Option<Vec<Transform>>, WireError> {
    let mut sa = read_sa(&proposal(0, 1, 1, &[], transforms))?;
    Ok(sa.proposals.pop().map(|proposal| proposal.transforms))
}

#[test]
fn a_known_body_is_read_and_written() {
    let ike = proposal(2, 1, 1, &[], &[GCM, PRF, KE]);
    let esp = proposal(0, 2, 3, &[0xc0, 0xff, 0xee, 1], &[&[0, 0, 0, 8, 5, 0, 0, 1]]);
    let body = [ike, esp].concat();
    let Payload::Sa(sa) = fixed(PayloadType::SA, &body) else { panic!("not an SA payload") };

    assert_eq!(
        sa.proposals,
        [
            Proposal {
                number: 1,
                protocol: ProtocolId::IKE,
                spi: vec![],
                transforms: vec![
                    Transform::encryption(EncryptionId::AES_GCM_16, Some(256)),
                    Transform::prf(PrfId::HMAC_SHA2_256),
                    Transform::key_exchange(KeyExchangeId::CURVE25519),
                ],
            },
            Proposal {
                number: 2,
                protocol: ProtocolId::ESP,
                spi: vec![0xc0, 0xff, 0xee, 1],
                transforms: vec![Transform::esn(EsnId::ESN)],
            },
        ]
    );
    assert_eq!(sa.proposals[0].transforms[0].to_string(), "ENCR_AES_GCM_16 (256 bits)");
    no_prefix_reads(PayloadType::SA, &body);
}

/// CHECKLIST D05.
#[test]
fn reserved_bits_are_ignored() {
    let clean = proposal(0, 1, 1, &[], &[GCM, KE]);
    let mut marked = clean.clone();
    for at in [1, 9, 13, 21, 25] {
        marked[at] = 0xff;
    }
    assert_eq!(read_sa(&marked), read_sa(&clean));
}

/// CHECKLIST D15: proposals count up from 1; a lone one may be an answer to any of them.
#[test]
fn proposal_numbers_are_consecutive() {
    let with = |numbers: &[u8]| {
        let last = numbers.len() - 1;
        let body = numbers.iter().enumerate().flat_map(|(index, number)| {
            proposal(if index == last { 0 } else { 2 }, *number, 1, &[], &[KE])
        });
        read_sa(&body.collect::<Vec<_>>()).map(|_| ())
    };
    assert_eq!(with(&[1]), Ok(()));
    assert_eq!(with(&[7]), Ok(()));
    assert_eq!(with(&[1, 2, 3]), Ok(()));
    for (numbers, wrong) in [
        ([0].as_slice(), 0),
        (&[2, 3], 2),
        (&[1, 1], 1),
        (&[1, 3], 3),
        (&[1, 2, 1], 1),
        (&[1, 0], 0),
    ] {
        assert_eq!(with(numbers), Err(WireError::BadValue("Proposal.number", wrong)));
    }
}

/// CHECKLIST D15.
#[test]
fn a_wrong_transform_count_is_refused() {
    let body = proposal(0, 1, 1, &[], &[GCM, PRF, KE]);
    for (count, error) in [
        (0, WireError::Trailing("Proposal")),
        (2, WireError::BadValue("Transform.last_substruc", 3)),
        (4, WireError::BadValue("Transform.last_substruc", 0)),
    ] {
        let mut body = body.clone();
        body[7] = count;
        assert_eq!(read_sa(&body), Err(error));
    }
    let mut body = proposal(0, 1, 1, &[], &[GCM, PRF, &[3, 0, 0, 8, 4, 0, 0, 31]]);
    body[7] = 4;
    assert_eq!(read_sa(&body), Err(WireError::Truncated("SA")));
}

#[test]
fn marks_for_the_last_substructure_must_tell_the_truth() {
    let one = |more| proposal(more, 1, 1, &[], &[KE]);
    for mark in [1, 2, 3, 255] {
        assert_eq!(
            read_sa(&one(mark)),
            Err(WireError::BadValue("Proposal.last_substruc", mark.into()))
        );
    }
    let two = [one(0), proposal(0, 2, 1, &[], &[KE])].concat();
    assert_eq!(read_sa(&two), Err(WireError::BadValue("Proposal.last_substruc", 0)));
}

#[test]
fn spi_sizes_belong_to_their_protocol() {
    let with = |protocol, len: usize| {
        read_sa(&proposal(0, 1, protocol, &[1; 16][..len], &[KE])).map(|_| ())
    };
    for (protocol, len) in [(1, 0), (1, 8), (2, 4), (3, 4), (9, 0), (9, 5), (9, 16)] {
        assert_eq!(with(protocol, len), Ok(()), "{protocol} {len}");
    }
    for (protocol, len) in [(1, 4), (1, 16), (2, 0), (3, 0), (3, 8), (3, 2)] {
        let error = WireError::BadValue("Proposal.spi_size", u64::try_from(len).unwrap());
        assert_eq!(with(protocol, len), Err(error));
    }
}

#[test]
fn substructures_shorter_than_their_header_or_longer_than_the_payload_are_refused() {
    let changed = |at: usize, value: u8| {
        let mut body = proposal(0, 1, 1, &[], &[GCM, KE]);
        body[at] = value;
        read_sa(&body).unwrap_err()
    };
    assert_eq!(changed(3, 0), WireError::BadValue("Proposal.length", 0));
    assert_eq!(changed(3, 7), WireError::BadValue("Proposal.length", 7));
    assert_eq!(changed(3, 29), WireError::Truncated("SA"));
    assert_eq!(changed(2, 0xff), WireError::Truncated("SA"));
    assert_eq!(changed(11, 0), WireError::BadValue("Transform.length", 0));
    assert_eq!(changed(11, 7), WireError::BadValue("Transform.length", 7));
    assert_eq!(changed(11, 13), WireError::Truncated("SA"));
    assert_eq!(changed(11, 10), WireError::Truncated("SA"));
    assert_eq!(read_sa(&[]), Err(WireError::Truncated("SA")));
}

/// CHECKLIST D15: two key lengths are one too many.
#[test]
fn a_second_key_length_is_refused() {
    let twice = [0, 0, 0, 16, 1, 0, 0, 20, 0x80, 14, 1, 0, 0x80, 14, 0, 128];
    assert_eq!(
        read_transforms_of(&[&twice]),
        Err(WireError::BadValue("Transform.key_length", 128))
    );
    let long_form = [0, 0, 0, 14, 1, 0, 0, 20, 0, 14, 0, 2, 1, 0];
    assert_eq!(read_transforms_of(&[&long_form]), Err(WireError::BadValue("Attribute.type", 14)));
}

/// CHECKLIST D15: a key length where none belongs, or none where one does, makes the transform
/// unacceptable and leaves the others alone.
#[test]
fn a_transform_with_a_wrong_key_length_is_left_out() {
    let gcm_without = [3, 0, 0, 8, 1, 0, 0, 20].as_slice();
    let chacha_with = [3, 0, 0, 12, 1, 0, 0, 28, 0x80, 14, 1, 0].as_slice();
    let prf_with = [3, 0, 0, 12, 2, 0, 0, 5, 0x80, 14, 1, 0].as_slice();
    let encr = Transform::encryption(EncryptionId::AES_GCM_16, Some(256));
    let ke = Transform::key_exchange(KeyExchangeId::CURVE25519);

    for odd in [gcm_without, chacha_with] {
        assert_eq!(read_transforms_of(&[odd, GCM, KE]), Ok(Some(vec![encr, ke])));
        // Nothing of its kind would be left: then nobody can accept the proposal.
        assert_eq!(read_transforms_of(&[odd, KE]), Ok(None));
    }
    assert_eq!(read_transforms_of(&[GCM, prf_with, KE]), Ok(None));

    let unknown_cipher = [3, 0, 0, 12, 1, 0, 3, 231, 0x80, 14, 1, 0].as_slice();
    assert_eq!(
        read_transforms_of(&[unknown_cipher, KE]),
        Ok(Some(vec![Transform::encryption(EncryptionId(999), Some(256)), ke]))
    );
}

//= https://www.rfc-editor.org/rfc/rfc7296#section-3.3.6
//= type=test
//# Similarly, if the responder receives a transform that it does not
//# understand, or one that contains a Transform Attribute it does not
//# understand, it MUST consider this transform unacceptable; other
//# transforms with the same Transform Type are processed as usual.
#[test]
fn a_transform_with_an_unknown_attribute_is_left_out() {
    let short = [3, 0, 0, 16, 1, 0, 0, 20, 0x80, 14, 0, 128, 0x80, 99, 1, 0].as_slice();
    let long = [3, 0, 0, 15, 1, 0, 0, 28, 0, 99, 0, 3, 1, 2, 3].as_slice();
    let empty = [3, 0, 0, 12, 1, 0, 0, 28, 0, 99, 0, 0].as_slice();
    for odd in [short, long, empty] {
        let transforms = read_transforms_of(&[odd, GCM, KE]).unwrap().unwrap();
        assert_eq!(transforms.len(), 2);
        assert_eq!(read_transforms_of(&[odd, KE]), Ok(None));
    }
    // The proposals after a lost one keep their numbers.
    let body = [proposal(2, 1, 1, &[], &[long, KE]), proposal(0, 2, 1, &[], &[GCM, KE])].concat();
    let sa = read_sa(&body).unwrap();
    assert_eq!(sa.proposals.iter().map(|proposal| proposal.number).collect::<Vec<_>>(), [2]);
}

#[test]
fn unknown_transform_types_and_protocols_stay_values() {
    let body = proposal(0, 1, 77, &[], &[&[0, 0, 0, 8, 200, 0, 1, 2]]);
    let sa = read_sa(&body).unwrap();
    assert_eq!(sa.proposals[0].protocol, ProtocolId(77));
    assert_eq!(sa.proposals[0].transforms, [Transform::new(TransformType(200), 0x0102)]);
    assert_eq!(sa.proposals[0].transforms_of(TransformType::ENCR).count(), 0);
}

#[test]
fn proposals_and_transforms_are_bounded() {
    let proposals = |count: u8| {
        let body = (1..=count).flat_map(|number| {
            proposal(if number == count { 0 } else { 2 }, number, 1, &[], &[KE])
        });
        read_sa(&body.collect::<Vec<_>>()).map(|sa| sa.proposals.len())
    };
    assert_eq!(proposals(64), Ok(PROPOSALS_MAX));
    assert_eq!(proposals(65), Err(WireError::TooMany("proposals")));

    let mut transforms = vec![PRF; 255];
    transforms.push(KE);
    let full = &transforms[1..];
    let body = [
        proposal(2, 1, 1, &[], full),
        proposal(2, 2, 1, &[], full),
        proposal(2, 3, 1, &[], &[PRF, KE]),
        proposal(0, 4, 1, &[], &[KE]),
    ]
    .concat();
    assert_eq!(read_sa(&body), Err(WireError::TooMany("transforms")));
}

fn any_transform() -> impl Strategy<Value = Transform> {
    let encryption = prop::sample::select(EncryptionId::ALL).prop_flat_map(|id| {
        let bits = match id.key_length() {
            KeyLength::Forbidden => Just(None).boxed(),
            KeyLength::Required => any::<u16>().prop_map(Some).boxed(),
            KeyLength::Optional | KeyLength::Unknown => any::<Option<u16>>().boxed(),
        };
        bits.prop_map(move |bits| Transform::encryption(id, bits))
    });
    let fixed =
        (2..=12_u8, any::<u16>()).prop_map(|(kind, id)| Transform::new(TransformType(kind), id));
    let unknown = (13..=255_u8, any::<u16>(), any::<Option<u16>>())
        .prop_map(|(kind, id, key_bits)| Transform { kind: TransformType(kind), id, key_bits });
    prop_oneof![encryption, fixed, unknown]
}

fn any_proposal() -> impl Strategy<Value = Proposal> {
    let protocol = prop_oneof![
        Just((ProtocolId::IKE, 0)),
        Just((ProtocolId::IKE, 8)),
        Just((ProtocolId::AH, 4)),
        Just((ProtocolId::ESP, 4)),
        Just((ProtocolId(200), 4)),
    ];
    (protocol, any::<[u8; 8]>(), prop::collection::vec(any_transform(), 0..24)).prop_map(
        |((protocol, spi_len), spi, transforms)| Proposal {
            number: 0,
            protocol,
            spi: spi[..spi_len].to_vec(),
            transforms,
        },
    )
}

proptest! {
    /// Whatever `write` emits, `read` returns, and no prefix can be read.
    #[test]
    fn sa_round_trips(mut proposals in prop::collection::vec(any_proposal(), 1..12)) {
        for (number, proposal) in (1..).zip(&mut proposals) {
            proposal.number = number;
        }
        let body = round_trip(&Payload::Sa(Sa { proposals }));
        no_prefix_reads(PayloadType::SA, &body);
    }
}
