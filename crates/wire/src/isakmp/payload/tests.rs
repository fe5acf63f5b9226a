use alloc::{vec, vec::Vec};

use proptest::prelude::*;

use super::*;
use crate::isakmp::ChainBuilder;

fn kinds(payloads: Payloads<'_>) -> Result<Vec<PayloadType>, NotifyType> {
    payloads.map(|raw| raw.map(|raw| raw.kind).map_err(|error| error.notify)).collect()
}

const TWO: [u8; 14] = [13, 0, 0, 6, 1, 2, 0, 0, 0, 8, 3, 4, 5, 6];

/// CHECKLIST D13: lengths below the header and beyond the message, in the format of version 1.
#[test]
fn a_chain_is_read_to_its_end_or_refused() {
    let chain = |octets: &'static [u8]| kinds(Payloads::new(PayloadType::HASH, octets));
    assert_eq!(chain(&TWO), Ok(vec![PayloadType::HASH, PayloadType::VENDOR_ID]));
    let malformed = Err(NotifyType::PAYLOAD_MALFORMED);
    assert_eq!(chain(&TWO[..13]), malformed);
    assert_eq!(chain(&TWO[..6]), malformed);
    assert_eq!(chain(&[0, 0, 0, 3]), malformed);
    assert_eq!(chain(&[0, 0, 0, 5]), malformed);
    assert_eq!(chain(&[]), malformed);
    assert_eq!(kinds(Payloads::new(PayloadType::NONE, &[])), Ok(vec![]));
}

//= https://www.rfc-editor.org/rfc/rfc2408#section-5.3
//= type=test
//# Verify the RESERVED field contains the value zero.
/// CHECKLIST T11: reserved bits of a payload header are refused.
#[test]
fn reserved_is_zero() {
    let mut octets = TWO;
    octets[7] = 1;
    let refused = kinds(Payloads::new(PayloadType::HASH, &octets));
    assert_eq!(refused, Err(NotifyType::PAYLOAD_MALFORMED));
}

#[test]
fn padding_depends_on_encryption() {
    let padded = |padding: &[u8]| {
        let mut octets = TWO.to_vec();
        octets.extend_from_slice(padding);
        octets
    };
    let clear = |padding| kinds(Payloads::new(PayloadType::HASH, &padded(padding))).is_ok();
    assert!(clear(&[0, 0, 0]));
    assert!(!clear(&[0; 4]) && !clear(&[0, 1]));
    let decrypted =
        |padding| kinds(Payloads::decrypted(PayloadType::HASH, &padded(padding))).is_ok();
    assert!(decrypted(&[7; PADDING_MAX]));
    assert!(!decrypted(&[0; PADDING_MAX + 1]));
}

/// What HASH(1) covers ends where the payloads do (RFC 2409 §5.5).
#[test]
fn a_hash_covers_payloads_and_no_padding() {
    let mut octets = TWO.to_vec();
    octets.extend([0, 0, 1]);
    assert_eq!(without_padding(PayloadType::HASH, &octets), Ok(TWO.as_slice()));
    let mut payloads = Payloads::decrypted(PayloadType::HASH, &octets);
    let hash = payloads.next().unwrap().unwrap();
    assert_eq!((hash.body, hash.octets), (&TWO[4..6], &TWO[..6]));
    assert_eq!(payloads.rest().len(), 8 + 3);
    let first = PayloadType::NONE;
    assert_eq!(without_padding(first, &[0; 8]), Ok([].as_slice()));
}

/// CHECKLIST D16: the same bound as in version 2.
#[test]
fn very_many_payloads_are_too_many() {
    let chain = |count| {
        let mut chain = ChainBuilder::new();
        (0..count).for_each(|_| chain.push(PayloadType::VENDOR_ID, |_| ()));
        let (first, octets) = chain.finish().unwrap();
        kinds(Payloads::new(first, &octets)).is_ok()
    };
    assert!(chain(PAYLOADS_MAX));
    assert!(!chain(PAYLOADS_MAX + 1));
}

/// CHECKLIST T11, D14: a type without a meaning is refused, among them those of version 2; a private
/// one is skipped.
#[test]
fn unknown_types_have_their_notify() {
    let read = |kind| {
        let raw = RawPayload { kind: PayloadType(kind), body: &[1, 2], octets: &[] };
        Payload::read(raw).map_err(|error| error.notify)
    };
    for kind in [0, 2, 3, 17, 19, 22, 33, 46, 53, 127] {
        assert_eq!(read(kind), Err(NotifyType::INVALID_PAYLOAD_TYPE), "{kind}");
    }
    for kind in [15, 16, 128, 133, 255] {
        assert!(matches!(read(kind), Ok(Payload::Private(raw)) if raw.body == [1, 2]), "{kind}");
    }
}

proptest! {
    #[test]
    fn chains_round_trip(
        bodies in prop::collection::vec((1_u8..=255, prop::collection::vec(any::<u8>(), 0..20)), 1..20),
    ) {
        let mut chain = ChainBuilder::new();
        for (kind, body) in &bodies {
            chain.push(PayloadType(*kind), |w| w.bytes(body));
        }
        let (first, octets) = chain.finish().unwrap();
        let read = Payloads::new(first, &octets)
            .map(|raw| raw.map(|raw| (raw.kind.0, raw.body.to_vec())).unwrap());
        prop_assert_eq!(read.collect::<Vec<_>>(), bodies);
    }

    #[test]
    fn no_octets_make_a_reader_panic(
        first in any::<u8>(),
        octets in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        for raw in Payloads::decrypted(PayloadType(first), &octets).flatten() {
            let _ = Payload::read(raw);
        }
        for kind in 0..=255 {
            let raw = RawPayload { kind: PayloadType(kind), body: &octets, octets: &octets };
            if let Ok(payload) = Payload::read(raw) {
                let mut again = Vec::new();
                payload.write(&mut Writer(&mut again));
                let reread = Payload::read(RawPayload { body: &again, octets: &again, ..raw });
                prop_assert!(matches!(payload, Payload::Private(_)) || reread == Ok(payload));
            }
        }
    }
}
