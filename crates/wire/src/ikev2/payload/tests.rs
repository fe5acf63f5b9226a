//! Chains of payloads, good and bad.

use alloc::{vec, vec::Vec};

use proptest::prelude::*;

use super::*;
use crate::ikev2::{ChainBuilder, testing::raw};

fn read_all(first: PayloadType, octets: &[u8]) -> Result<Vec<RawPayload<'_>>, WireError> {
    Payloads::new(first, octets).collect()
}

#[test]
fn a_chain_is_followed_to_its_end() {
    let octets = [43, 0, 0, 5, 1, 0, 0x80, 0, 6, 2, 3];
    let payloads = read_all(PayloadType::NOTIFY, &octets).unwrap();

    assert_eq!(
        payloads,
        [
            RawPayload { next: PayloadType::VENDOR_ID, ..raw(PayloadType::NOTIFY, &[1]) },
            RawPayload { critical: true, ..raw(PayloadType::VENDOR_ID, &[2, 3]) },
        ]
    );
    assert_eq!(read_all(PayloadType::NONE, &[]), Ok(vec![]));
}

/// CHECKLIST D13.
#[test]
fn a_payload_shorter_than_its_header_or_longer_than_the_message_is_refused() {
    for length in 0..4 {
        assert_eq!(
            read_all(PayloadType::NOTIFY, &[0, 0, 0, length, 0, 0, 0, 0]),
            Err(WireError::BadValue("Payload.length", length.into()))
        );
    }
    assert_eq!(
        read_all(PayloadType::NOTIFY, &[0, 0, 0, 9, 0, 0, 0, 0]),
        Err(WireError::Truncated("payload"))
    );
    assert_eq!(
        read_all(PayloadType::NOTIFY, &[0, 0, 0xff, 0xff]),
        Err(WireError::Truncated("payload"))
    );
    assert_eq!(read_all(PayloadType::NOTIFY, &[0, 0, 0]), Err(WireError::Truncated("payload")));
    assert_eq!(read_all(PayloadType::NOTIFY, &[]), Err(WireError::Truncated("payload")));
}

/// CHECKLIST D12: nothing follows the last payload, and SK is the last.
#[test]
fn octets_after_the_last_payload_are_refused() {
    let trailing = Err(WireError::Trailing("payloads"));
    assert_eq!(read_all(PayloadType::NONE, &[0]), trailing);
    assert_eq!(read_all(PayloadType::NOTIFY, &[0, 0, 0, 4, 9]), trailing);
    for kind in [PayloadType::SK, PayloadType::SKF] {
        let ends = read_all(kind, &[33, 0, 0, 5, 1]).unwrap();
        assert_eq!(ends, [RawPayload { next: PayloadType::SA, ..raw(kind, &[1]) }]);
        assert_eq!(read_all(kind, &[43, 0, 0, 5, 1, 0, 0, 0, 4]), trailing);
    }
}

#[test]
fn padding_to_a_multiple_of_four_is_no_payload() {
    let padded = |zeros: usize, kind| {
        let octets = [&[0, 0, 0, 5, 7], [0; 9].get(..zeros).unwrap()].concat();
        read_all(kind, &octets).map(|all| all.len())
    };
    let trailing = Err(WireError::Trailing("payloads"));
    for zeros in 0..4 {
        assert_eq!(padded(zeros, PayloadType::NOTIFY), Ok(1));
    }
    assert_eq!(padded(4, PayloadType::NOTIFY), trailing);
    assert_eq!(padded(1, PayloadType::SK), trailing);
    assert_eq!(read_all(PayloadType::NOTIFY, &[0, 0, 0, 4, 0, 1]).map(|all| all.len()), trailing);
    assert_eq!(read_all(PayloadType::NONE, &[0]).map(|all| all.len()), trailing);
}

#[test]
fn an_error_ends_the_chain() {
    let mut payloads = Payloads::new(PayloadType::NOTIFY, &[41, 0, 0, 4, 41, 0, 0, 3, 0, 0, 0, 4]);
    assert!(payloads.next().unwrap().is_ok());
    assert!(payloads.next().unwrap().is_err());
    assert_eq!(payloads.next(), None);
    assert_eq!(payloads.next(), None);
}

/// CHECKLIST D16.
#[test]
fn payloads_are_bounded() {
    let chain = |count: usize| {
        let mut octets = [43, 0, 0, 4].repeat(count);
        octets[(count - 1) * 4] = 0;
        octets
    };
    assert_eq!(read_all(PayloadType::VENDOR_ID, &chain(64)).map(|all| all.len()), Ok(PAYLOADS_MAX));
    assert_eq!(read_all(PayloadType::VENDOR_ID, &chain(65)), Err(WireError::TooMany("payloads")));
}

/// CHECKLIST D06, D07, D08, D14: an unknown type is a value, critical or not; the critical bit
/// says nothing about a known one. IKEv1's payload types are unknown here.
#[test]
fn unknown_types_are_kept_and_the_critical_bit_counts_for_them_alone() {
    for kind in [1, 13, 32, 49, 54, 128, 255].map(PayloadType) {
        let unknown = RawPayload { critical: true, ..raw(kind, &[1, 2, 3]) };
        assert_eq!(Payload::read(unknown), Ok(Payload::Unknown(unknown)));
        assert!(unknown.is_unsupported_critical(), "{kind}");
        assert!(!raw(kind, &[]).is_unsupported_critical());
    }
    for kind in (33..=48).chain([53]).map(PayloadType) {
        let known = RawPayload { critical: true, ..raw(kind, &[]) };
        assert!(!known.is_unsupported_critical(), "{kind}");
        assert!(!matches!(Payload::read(known), Ok(Payload::Unknown(_))), "{kind}");
    }
}

/// CHECKLIST D05: the seven bits beside the critical one are ignored.
#[test]
fn reserved_bits_of_a_payload_header_are_ignored() {
    let payloads = read_all(PayloadType::NONCE, &[0, 0x7f, 0, 4]).unwrap();
    assert!(!payloads[0].critical);
}

#[test]
fn a_body_is_read_to_its_end() {
    assert_eq!(
        Payload::read(raw(PayloadType::DELETE, &[1, 0, 0, 0, 9])),
        Err(WireError::Trailing("D"))
    );
    assert_eq!(Payload::read(raw(PayloadType::DELETE, &[1, 0, 0])), Err(WireError::Truncated("D")));
}

proptest! {
    /// Whatever the builder chains, the iterator returns, and no prefix can be read.
    #[test]
    fn a_chain_round_trips(
        sent in prop::collection::vec(
            (
                (1_u8..).prop_filter("ends the chain", |kind| ![46, 53].contains(kind)),
                any::<bool>(),
                prop::collection::vec(any::<u8>(), 0..40),
            ),
            0..PAYLOADS_MAX,
        ),
    ) {
        let mut builder = ChainBuilder::new();
        for (kind, critical, body) in &sent {
            builder.put_raw(&RawPayload { critical: *critical, ..raw(PayloadType(*kind), body) });
        }
        let chain = builder.finish().unwrap();

        let read = chain.payloads().map(|payload| {
            payload.map(|raw| (raw.kind.0, raw.critical, raw.body.to_vec()))
        });
        prop_assert_eq!(read.collect::<Result<Vec<_>, _>>(), Ok(sent));
        for cut in 0..chain.octets.len() {
            prop_assert!(read_all(chain.first, &chain.octets[..cut]).is_err());
        }
    }

    /// Any octets under any type give a payload or an error; a payload gives itself again.
    #[test]
    fn any_body_is_a_payload_or_an_error(
        kind in prop_oneof![33..=48_u8, Just(53), any::<u8>()],
        next: u8,
        body in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let raw = RawPayload { next: PayloadType(next), ..raw(PayloadType(kind), &body) };
        if let Ok(payload) = Payload::read(raw) {
            prop_assert_eq!(payload.kind().0, kind);
            let mut written = Vec::new();
            payload.write(&mut Writer(&mut written));
            // Selectors of unknown types and unusable transforms are not written.
            if !matches!(payload, Payload::TsI(_) | Payload::TsR(_) | Payload::Sa(_)) {
                let again = Payload::read(RawPayload { body: &written, ..raw });
                prop_assert_eq!(again, Ok(payload));
            }
        }
    }
}
