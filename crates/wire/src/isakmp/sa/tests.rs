use alloc::vec;

use proptest::prelude::*;

use super::*;
use crate::isakmp::{
    AttributeList, Payload,
    testing::{fixed, notify, prefixes_fail, round_trip},
};

/// Two transforms of PROTO_ISAKMP, the second with a long lifetime.
const PHASE_1: [u8; 68] = [
    0, 0, 0, 1, 0, 0, 0, 1, // DOI, situation
    0, 0, 0, 60, 1, 1, 0, 2, // proposal
    3, 0, 0, 24, 1, 1, 0, 0, // transform 1
    0x80, 1, 0, 5, 0x80, 2, 0, 2, 0x80, 3, 0, 1, 0x80, 4, 0, 2, // attributes
    0, 0, 0, 28, 2, 1, 0, 0, // transform 2
    0x80, 1, 0, 1, 0x80, 2, 0, 1, 0x80, 11, 0, 1, 0, 12, 0, 4, 0, 1, 0x51, 0x80,
];

fn changed(at: usize, value: u8) -> NotifyType {
    let mut body = PHASE_1;
    body[at] = value;
    notify(PayloadType::SA, &body)
}

/// CHECKLIST T02: several transforms, and attributes in both forms.
#[test]
fn a_known_body_is_read_and_written() {
    let Payload::Sa(sa) = fixed(PayloadType::SA, &PHASE_1) else { panic!("an SA") };

    assert_eq!(sa.proposals.len(), 1);
    let proposal = &sa.proposals[0];
    assert_eq!((proposal.number, proposal.protocol), (1, ProtocolId::ISAKMP));
    assert!(proposal.spi.is_empty());
    let numbers = proposal.transforms.iter().map(|one| (one.number, one.id));
    assert_eq!(numbers.collect::<Vec<_>>(), [(1, 1), (2, 1)]);
    assert_eq!(proposal.transforms[1].attributes.iter().count(), 4);
    prefixes_fail(PayloadType::SA, &PHASE_1, PHASE_1.len());
    assert_eq!(sa.clone().into_owned(), sa);
}

/// CHECKLIST T11, D15: numbers out of order or repeated, wrong counts and marks, reserved fields.
#[test]
fn each_wrong_field_has_its_notify() {
    assert_eq!(changed(3, 2), NotifyType::DOI_NOT_SUPPORTED);
    assert_eq!(changed(3, 0), NotifyType::DOI_NOT_SUPPORTED);
    assert_eq!(changed(7, 3), NotifyType::SITUATION_NOT_SUPPORTED);
    assert_eq!(changed(14, 17), NotifyType::INVALID_SPI);
    let syntax = [
        (8, 2),  // another proposal follows
        (9, 1),  // reserved
        (11, 7), // length
        (15, 0), // transforms
        (15, 1),
        (15, 3),
        (16, 0), // no transform follows
        (17, 1), // reserved
        (19, 7), // length
        (20, 2), // number
        (20, 3),
        (22, 1), // reserved
        (40, 3), // another transform follows
    ];
    for (at, value) in syntax {
        assert_eq!(changed(at, value), NotifyType::BAD_PROPOSAL_SYNTAX, "{at}");
    }
}

fn transform() -> Transform<'static> {
    let attributes = AttributeList::new().basic(4, 1).basic(5, 2).finish();
    Transform { number: 1, id: 3, attributes }
}

fn proposal(number: u8, protocol: ProtocolId, spi: &[u8]) -> Proposal<'_> {
    Proposal { number, protocol, spi: Cow::Borrowed(spi), transforms: vec![transform()] }
}

/// CHECKLIST U16: proposals of one number are one bundle.
#[test]
fn proposals_of_one_number_belong_together() {
    let sa = Sa {
        proposals: vec![
            proposal(1, ProtocolId::AH, &[1; 4]),
            proposal(1, ProtocolId::ESP, &[2; 4]),
            proposal(2, ProtocolId::ESP, &[2; 4]),
            proposal(2, ProtocolId::IPCOMP, &[0, 2]),
            proposal(7, ProtocolId::ESP, &[2; 4]),
        ],
    };
    let body = round_trip(&Payload::Sa(sa.clone()));
    assert!(!body.is_empty());
    let sizes = sa.alternatives().map(<[_]>::len);
    assert_eq!(sizes.collect::<Vec<_>>(), [2, 2, 1]);
}

#[test]
fn proposals_descend_never_and_spis_have_the_size_of_their_protocol() {
    let refused = |proposals: Vec<Proposal<'_>>| {
        let mut body = Vec::new();
        Sa { proposals }.write(&mut Writer(&mut body));
        notify(PayloadType::SA, &body)
    };
    let esp = |number| proposal(number, ProtocolId::ESP, &[1; 4]);
    assert_eq!(refused(vec![esp(2), esp(1)]), NotifyType::BAD_PROPOSAL_SYNTAX);
    assert_eq!(refused(vec![]), NotifyType::BAD_PROPOSAL_SYNTAX);
    for (protocol, spi) in [(3, [1; 8].as_slice()), (2, &[1; 2]), (4, &[1]), (1, &[1; 17])] {
        let wrong = proposal(1, ProtocolId(protocol), spi);
        assert_eq!(refused(vec![wrong]), NotifyType::INVALID_SPI, "{protocol}");
    }
}

/// CHECKLIST D16: the numbers of proposals and transforms are bounded.
#[test]
fn too_many_of_anything_is_refused() {
    let sa = |proposals: usize, transforms: u8| {
        let transforms = (1..=transforms).map(|number| Transform { number, ..transform() });
        let one =
            Proposal { transforms: transforms.collect(), ..proposal(1, ProtocolId::ESP, &[1; 4]) };
        let mut body = Vec::new();
        Sa { proposals: vec![one; proposals] }.write(&mut Writer(&mut body));
        Sa::read(&mut Reader(&body)).map(drop).map_err(|error| error.cause)
    };
    assert_eq!(sa(PROPOSALS_MAX, 1), Ok(()));
    assert_eq!(sa(PROPOSALS_MAX + 1, 1), Err(WireError::TooMany("proposals")));
    assert_eq!(sa(2, 255), Ok(()));
    assert_eq!(sa(3, 255), Err(WireError::TooMany("transforms")));
}

proptest! {
    #[test]
    fn sa_round_trips(
        numbers in prop::collection::vec(any::<u8>(), 1..8),
        values in prop::collection::vec((0_u16..0x8000, prop::collection::vec(any::<u8>(), 0..12)), 0..6),
    ) {
        let list = values.iter();
        let list = list.fold(AttributeList::new(), |list, (class, value)| list.variable(*class, value));
        let attributes = list.finish();
        let mut numbers = numbers;
        numbers.sort_unstable();
        let proposals = numbers.iter().map(|&number| Proposal {
            transforms: vec![Transform { number, id: 12, attributes: attributes.clone() }],
            ..proposal(number, ProtocolId::ESP, &[9; 4])
        });
        round_trip(&Payload::Sa(Sa { proposals: proposals.collect() }));
    }
}
