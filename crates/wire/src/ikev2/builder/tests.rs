//! Messages as they are built, sealed, found again and opened.

use alloc::{format, vec, vec::Vec};

use proptest::prelude::*;

use super::*;
use crate::{
    Reader,
    iana::{ExchangeType, NotifyType},
    ikev2::{Flags, IkeSpi, Nonce, Notify, Protected, strip_padding},
};

const GCM: SealSpace = SealSpace { iv_len: 8, icv_len: 16, block_len: 4 };
const CBC: SealSpace = SealSpace { iv_len: 16, icv_len: 16, block_len: 16 };

fn header() -> Header {
    let spi = |octet| IkeSpi([octet; 8]);
    Header::new(spi(1), spi(2), ExchangeType::IKE_AUTH, Flags::new(true, false), 1)
}

fn chain_of(len: usize) -> Chain {
    ChainBuilder::new().payload(PayloadType::VENDOR_ID, |w| w.zeros(len)).finish().unwrap()
}

/// A cipher for tests: it turns every bit of the text, and its ICV is a sum of everything.
fn seal(parts: Parts<'_>) -> Result<(), WireError> {
    parts.iv.fill(0x1f);
    parts.text.iter_mut().for_each(|octet| *octet = !*octet);
    parts.icv.fill(sum(parts.aad, parts.iv, parts.text));
    Ok(())
}

fn open(parts: &mut Parts<'_>) -> Result<(), WireError> {
    let expected = sum(parts.aad, parts.iv, parts.text);
    if parts.icv.iter().any(|octet| *octet != expected) {
        return Err(WireError::BadValue("ICV", 0));
    }
    parts.text.iter_mut().for_each(|octet| *octet = !*octet);
    Ok(())
}

fn sum(aad: &[u8], iv: &[u8], text: &[u8]) -> u8 {
    [aad, iv, text].concat().iter().fold(7, |sum: u8, octet| sum.rotate_left(1) ^ octet)
}

#[test]
fn a_clear_message_is_built_octet_for_octet() {
    let message = MessageBuilder::new(header())
        .payload(PayloadType::NONCE, |w| Nonce::new(&[9; 16]).unwrap().write(w))
        .payload(PayloadType::NOTIFY, |w| Notify::new(NotifyType::COOKIE, &[5]).write(w))
        .finish()
        .unwrap();

    let mut expected = vec![1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2];
    expected.extend([40, 0x20, 35, 0x08, 0, 0, 0, 1, 0, 0, 0, 57]);
    expected.extend([41, 0, 0, 20]);
    expected.extend([9; 16]);
    expected.extend([0, 0, 0, 9, 0, 0, 0x40, 6, 5]);
    assert_eq!(message, expected);
}

#[test]
fn an_empty_message_is_its_header() {
    let message = MessageBuilder::new(header()).finish().unwrap();
    let read = Header::read(&mut Reader(&message)).unwrap();
    assert_eq!((read.next_payload, read.length), (PayloadType::NONE, 28));
    assert_eq!(ChainBuilder::new().finish(), Ok(Chain::default()));
}

#[test]
fn a_payload_too_long_for_its_length_field_is_refused() {
    let payload = |len| ChainBuilder::new().payload(PayloadType::CERT, |w| w.zeros(len)).finish();
    assert!(payload(65_531).is_ok());
    assert_eq!(payload(65_532), Err(WireError::TooLong("payload")));

    let inner = Chain { first: PayloadType::CERT, octets: vec![0; 65_535] };
    let outer = MessageBuilder::new(header()).protect(&inner, GCM).map(|_| ());
    assert_eq!(outer, Err(WireError::TooLong("payload")));
}

#[test]
fn the_parts_of_an_sk_payload_lie_as_rfc_7296_draws_them() {
    let chain = chain_of(2);
    let draft = MessageBuilder::new(header()).protect(&chain, CBC).unwrap();
    assert_eq!(format!("{draft:?}"), "SealDraft { octets: 80, .. }");

    let message = draft
        .seal(|parts| {
            assert_eq!(parts.aad.len(), 32);
            assert_eq!(parts.aad[16], PayloadType::SK.0);
            assert_eq!(parts.aad[24..], [0, 0, 0, 80, PayloadType::VENDOR_ID.0, 0, 0, 52]);
            assert_eq!(parts.iv, [0; 16]);
            // Payload, padding, pad length.
            assert_eq!(parts.text, [0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9]);
            assert_eq!(parts.icv, [0; 16]);
            parts.icv.fill(0xcc);
            Ok::<_, WireError>(())
        })
        .unwrap();
    assert_eq!(message.len(), 80);
    assert_eq!(message[64..], [0xcc; 16]);
}

/// RFC 7383 §2.5: fragment number and total are authenticated with the header.
#[test]
fn the_parts_of_an_skf_payload_include_its_numbers() {
    let chain = chain_of(20);
    let fragments = chain.fragments(16).unwrap();
    assert_eq!(fragments.len(), 2);
    assert_eq!(fragments[0].first, PayloadType::VENDOR_ID);
    assert_eq!(fragments[1].first, PayloadType::NONE);

    let draft = MessageBuilder::new(header()).protect_fragment(&fragments[1], GCM).unwrap();
    draft
        .seal(|parts| {
            assert_eq!(parts.aad[16], PayloadType::SKF.0);
            assert_eq!(parts.aad[28..], [0, 0, 0, 44, 0, 2, 0, 2]);
            assert_eq!(parts.text, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3]);
            Ok::<_, WireError>(())
        })
        .unwrap();
}

#[test]
fn a_failed_seal_gives_no_octets_away() {
    let draft = MessageBuilder::new(header()).protect(&chain_of(2), GCM).unwrap();
    assert_eq!(draft.seal(|_| Err("no key")), Err("no key"));
}

#[test]
fn an_empty_chain_is_sealed_and_opened() {
    let draft = MessageBuilder::new(header()).protect(&Chain::default(), GCM).unwrap();
    let mut message = draft.seal(seal).unwrap();
    let protected = Protected::read(&mut message, GCM).unwrap();
    assert_eq!((protected.first, protected.fragment), (PayloadType::NONE, None));
    assert_eq!(protected.open(open), Ok([].as_slice()));
}

/// CHECKLIST D11, D12.
#[test]
fn a_message_that_does_not_open_is_refused() {
    let read = |message: &[u8]| {
        let mut message = message.to_vec();
        Protected::read(&mut message, GCM).map(|_| ())
    };
    let clear = MessageBuilder::new(header()).payload(PayloadType::VENDOR_ID, |_| ());
    assert_eq!(
        read(&clear.clone().finish().unwrap()),
        Err(WireError::BadValue("last payload", 43))
    );
    assert_eq!(
        read(&MessageBuilder::new(header()).finish().unwrap()),
        Err(WireError::BadValue("last payload", 0))
    );
    for len in 0..25 {
        let short = MessageBuilder::new(header()).payload(PayloadType::SK, |w| w.zeros(len));
        assert_eq!(read(&short.finish().unwrap()), Err(WireError::Truncated("SK")));
    }
    // In an SKF payload the fragment's number comes first.
    for body in [[0, 0, 0, 1], [0, 2, 0, 1], [0, 0, 0, 0]] {
        let odd = MessageBuilder::new(header()).payload(PayloadType::SKF, |w| {
            w.bytes(&body);
            w.zeros(25);
        });
        let number = u64::from(body[1]);
        assert_eq!(read(&odd.finish().unwrap()), Err(WireError::BadValue("SKF.number", number)));
    }

    let draft = MessageBuilder::new(header()).protect(&chain_of(2), GCM).unwrap();
    let sealed = draft.seal(seal).unwrap();
    for at in 0..sealed.len() {
        let mut message = sealed.clone();
        message[at] ^= 0x10;
        let opened = Protected::read(&mut message, GCM).and_then(|protected| protected.open(open));
        assert!(opened.is_err(), "octet {at} changed");
    }
}

/// CHECKLIST D12.
#[test]
fn a_pad_length_beyond_the_text_is_refused() {
    assert_eq!(strip_padding(&[1, 2, 0]), Ok([1, 2].as_slice()));
    assert_eq!(strip_padding(&[1, 2, 1]), Ok([1].as_slice()));
    assert_eq!(strip_padding(&[1, 2, 2]), Ok([].as_slice()));
    assert_eq!(strip_padding(&[1, 2, 3]), Err(WireError::BadValue("SK.pad_length", 3)));
    assert_eq!(strip_padding(&[]), Err(WireError::Truncated("SK")));
}

/// RFC 9242 §3.3.2: lengths are those of a message without IV, padding and ICV.
#[test]
fn intermediate_auth_is_the_message_around_the_bare_payloads() {
    let chain = chain_of(2);
    let octets = MessageBuilder::new(header()).intermediate_auth(&chain).unwrap();

    assert_eq!(octets[16], PayloadType::SK.0);
    assert_eq!(octets[24..28], [0, 0, 0, 38]);
    assert_eq!(octets[28..32], [PayloadType::VENDOR_ID.0, 0, 0, 10]);
    assert_eq!(octets[32..], chain.octets);
}

#[test]
fn there_are_at_most_65535_fragments() {
    let chain = Chain { first: PayloadType::VENDOR_ID, octets: vec![0; 65_536] };
    let too_long = Err(WireError::TooLong("fragmented message"));
    assert_eq!(chain.fragments(0), too_long);
    assert_eq!(chain.fragments(1), too_long);
    assert_eq!(chain.fragments(2).map(|all| all.len()), Ok(32_768));
    assert_eq!(Chain::default().fragments(9).map(|all| all.len()), Ok(1));
}

proptest! {
    /// What is sealed opens again, under any cipher's sizes.
    #[test]
    fn a_sealed_message_opens(
        text_len in 0..600_usize, clear in 0..3_usize,
        iv_len in 0..=16_usize, icv_len in 0..=32_usize, block_len in 0..=256_usize,
    ) {
        let space = SealSpace { iv_len, icv_len, block_len };
        let chain = chain_of(text_len);
        let mut builder = MessageBuilder::new(header());
        for _ in 0..clear {
            builder.put(&Payload::Notify(Notify::new(NotifyType::COOKIE, &[1, 2])));
        }
        let draft = builder.protect(&chain, space).unwrap();
        let mut message = draft.seal(|parts| {
            assert!(block_len == 0 || parts.text.len().is_multiple_of(block_len));
            seal(parts)
        }).unwrap();

        let protected = Protected::read(&mut message, space).unwrap();
        prop_assert_eq!((protected.first, protected.fragment), (chain.first, None));
        prop_assert_eq!(protected.open(open), Ok(chain.octets.as_slice()));
    }

    /// Fragments fit into what they may take and, opened and joined, are the chain.
    #[test]
    fn fragments_join_to_the_chain(
        text_len in 0..3000_usize, message_max in 120..1400_usize, cbc: bool,
    ) {
        let space = if cbc { CBC } else { GCM };
        let chain = chain_of(text_len);
        let fragments = chain.fragments(space.fragment_text_max(message_max)).unwrap();

        let mut joined = Vec::new();
        for (number, fragment) in (1..).zip(&fragments) {
            let draft = MessageBuilder::new(header()).protect_fragment(fragment, space).unwrap();
            let mut message = draft.seal(seal).unwrap();
            prop_assert!(message.len() <= message_max);

            let protected = Protected::read(&mut message, space).unwrap();
            let place = protected.fragment.unwrap();
            prop_assert_eq!(place.number(), number);
            prop_assert_eq!(usize::from(place.total()), fragments.len());
            prop_assert_eq!(protected.first == chain.first, number == 1);
            joined.extend_from_slice(protected.open(open).unwrap());
        }
        prop_assert_eq!(joined, chain.octets);
    }
}
