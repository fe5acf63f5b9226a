//! Sealing, opening, cutting and joining.

use std::time::{Duration, Instant};

use adit_crypto::{Encryption, Integrity, KeySize, Prf, Secret};
use adit_wire::iana::ExchangeType;
use adit_wire::ikev2::{Flags, IkeSpi};
use proptest::prelude::*;

use super::reassembly::{REASSEMBLY_TIMEOUT, Reassembled};
use super::*;
use crate::auth::IntAuth;
use crate::keymat::Nonces;

#[expect(clippy::disallowed_methods, reason = "any instant will do as the origin of the test")]
fn start() -> Instant {
    Instant::now()
}

fn ends(cipher: Cipher) -> (Protection, Protection) {
    let nonces = Nonces { initiator: &[1; 32], responder: &[2; 32] };
    let seed = Secret::from_slice(&[3; 32]);
    let keys =
        SkKeys::derive(Prf::HmacSha2_256, cipher, &seed, nonces, IkeSpi([4; 8]), IkeSpi([5; 8]))
            .unwrap();
    let end = |role| Protection::new(cipher, &keys, role).unwrap();
    (end(Role::Initiator), end(Role::Responder))
}

fn header(message_id: u32) -> Header {
    Header::new(
        IkeSpi([4; 8]),
        IkeSpi([5; 8]),
        ExchangeType::IKE_AUTH,
        Flags::INITIATOR,
        message_id,
    )
}

fn opened(protection: &Protection, octets: &[u8]) -> Result<Opened, OpenFailure> {
    protection.open(&Envelope::read(octets).unwrap())
}

fn message(protection: &Protection, octets: &[u8]) -> Message {
    match opened(protection, octets).unwrap() {
        Opened::Message(message) => message,
        Opened::Fragment(_) => panic!("a fragment"),
    }
}

fn fragment(protection: &Protection, octets: &[u8]) -> Fragment {
    match opened(protection, octets).unwrap() {
        Opened::Fragment(fragment) => fragment,
        Opened::Message(_) => panic!("a whole message"),
    }
}

fn joined(protection: &Protection, datagrams: &[Vec<u8>]) -> Option<Reassembled> {
    let mut reassembly = Reassembly::new();
    let now = start();
    let mut found = None;
    for octets in datagrams {
        let done = reassembly.add(fragment(protection, octets), now);
        found = found.or(done);
    }
    found
}

/// A cipher with padding, in Wireshark's words AES-CBC-256 with HMAC_SHA2_256_128.
const CBC: Cipher =
    Cipher::Paired(Encryption::AesCbc(KeySize::Bits256), Integrity::HmacSha2_256_128);

/// The ciphers that IKE SAs may have.
fn ciphers() -> impl Iterator<Item = Cipher> {
    Cipher::ALL.into_iter().filter(|cipher| !cipher.is_iv_implicit())
}

const NONCE: PayloadType = PayloadType::NONCE;

#[test]
fn what_one_end_seals_the_other_opens() {
    for cipher in ciphers() {
        let (mut left, right) = ends(cipher);
        for length in [0, 1, 14, 15, 16, 17, 1_000] {
            let inner = vec![0xab; length];
            let sealed = left.seal(header(1), NONCE, &inner, None).unwrap();
            let [octets] = sealed.datagrams.as_slice() else { panic!("one datagram") };
            let message = message(&right, octets);
            assert_eq!((message.inner, message.first), (inner, NONCE));
            assert_eq!(message.associated, sealed.associated);
            assert_eq!(usize::try_from(message.header.length).unwrap(), octets.len());
        }
    }
}

/// CHECKLIST D11: no octet can be changed, and a message does not open with the sender's own key.
#[test]
fn a_changed_message_is_not_opened() {
    for cipher in ciphers() {
        let (mut left, right) = ends(cipher);
        let sealed = left.seal(header(1), NONCE, &[7; 20], None).unwrap();
        let octets = &sealed.datagrams[0];
        for at in 0..octets.len() {
            let mut changed = octets.clone();
            changed[at] ^= 0x40;
            if let Ok(envelope) = Envelope::read(&changed) {
                assert!(right.open(&envelope).is_err(), "octet {at} of {cipher}");
            }
        }
        assert!(opened(&left, octets).is_err());
    }
}

/// CHECKLIST D12, D13: too short for IV and ICV, trailing octets, no SK payload.
#[test]
fn broken_envelopes_are_refused() {
    let (mut left, right) = ends(Cipher::ChaCha20Poly1305);
    let octets = left.seal(header(1), NONCE, &[7; 20], None).unwrap().datagrams.remove(0);
    for length in 0..octets.len() {
        let mut short = octets[..length].to_vec();
        if length >= Header::LEN + GENERIC_HEADER_OCTETS {
            let body = length - Header::LEN - GENERIC_HEADER_OCTETS;
            patch_lengths_at(&mut short, Header::LEN, body);
            assert!(opened(&right, &short).is_err());
        } else {
            assert!(Envelope::read(&short).is_err());
        }
    }
    let mut trailing = octets.clone();
    trailing.push(0);
    assert!(Envelope::read(&trailing).is_err());
    trailing[HEADER_LENGTH_AT + 3] += 1;
    assert!(Envelope::read(&trailing).is_err());
}

/// CHECKLIST D07: an unknown critical payload in front of SK is reported once it is authentic;
/// IntAuth covers it.
#[test]
fn a_critical_payload_in_front_of_the_encrypted_one_is_reported() {
    let (left, right) = ends(Cipher::ChaCha20Poly1305);
    let inner = [9; 12];
    let mut octets = Vec::new();
    let mut w = Writer(&mut octets);
    Header { next_payload: PayloadType(200), ..header(1) }.write(&mut w);
    w.bytes(&[PayloadType::SK.0, 0x80, 0, 8, 1, 2, 3, 4]);
    w.bytes(&[NONCE.0, 0, 0, 0]);
    let sk_at = Header::LEN + 8;
    patch_lengths_at(&mut octets, sk_at, left.sealed_len(inner.len()));
    let aad = octets.clone();
    let (mut iv, mut text, mut icv) = (vec![0; 8], inner.to_vec(), vec![0; 16]);
    text.push(0);
    left.seal_key().unwrap().seal(77, &aad, &mut iv, &mut text, &mut icv, &[]).unwrap();
    octets.extend([iv, text, icv].concat());

    let message = message(&right, &octets);
    assert_eq!(message.unsupported_critical, Some(PayloadType(200)));
    assert_eq!(message.inner, inner);
    assert_eq!(message.associated.len(), aad.len());
    assert_eq!(message.associated[sk_at + 3], 4 + 12);
}

/// RFC 7296 §3.14 lets the sender pad as much as it likes.
#[test]
fn any_padding_is_accepted_if_it_fits() {
    let (left, right) = ends(Cipher::ChaCha20Poly1305);
    for (padding, expected) in [(0, Ok(5)), (3, Ok(2)), (5, Ok(0)), (6, Err(OpenFailure::Padding))]
    {
        let mut text = vec![1, 2, 3, 4, 5, padding];
        let mut octets = in_front(header(1), NONCE, None, 8 + text.len() + 16);
        let (mut iv, mut icv) = (vec![0; 8], vec![0; 16]);
        left.seal_key().unwrap().seal(9, &octets, &mut iv, &mut text, &mut icv, &[]).unwrap();
        octets.extend([iv, text, icv].concat());
        let result = opened(&right, &octets).map(|opened| match opened {
            Opened::Message(message) => message.inner.len(),
            Opened::Fragment(_) => panic!("a fragment"),
        });
        assert_eq!(result, expected);
    }
}

/// RFC 5282 §3.1: no IV is used twice, neither across messages nor across fragments.
#[test]
fn every_datagram_has_an_iv_of_its_own() {
    let (mut left, _) = ends(Cipher::ChaCha20Poly1305);
    let mut ivs = Vec::new();
    for _ in 0..3 {
        let sealed = left.seal(header(1), NONCE, &[7; 3_000], Some(500)).unwrap();
        for octets in &sealed.datagrams {
            ivs.push(Envelope::read(octets).unwrap().sealed[..8].to_vec());
        }
    }
    let count = ivs.len();
    ivs.sort();
    ivs.dedup();
    assert_eq!(ivs.len(), count);
}

//= https://www.rfc-editor.org/rfc/rfc7383#section-2.5
//= type=test
//# in the very first fragment (with Fragment Number equal to 1), this
//# field MUST be set to the payload type of the first inner payload
/// CHECKLIST P07: whatever the cipher.
#[test]
fn fragments_fit_the_limit_and_only_the_first_names_the_payload() {
    for cipher in ciphers() {
        let (mut left, right) = ends(cipher);
        let sealed = left.seal(header(1), NONCE, &[7; 3_000], Some(548)).unwrap();
        assert!(sealed.datagrams.len() >= 6);
        let sizes: Vec<usize> = sealed.datagrams.iter().map(Vec::len).collect();
        assert!(sizes.iter().all(|size| *size <= 548), "{sizes:?}");
        for (octets, number) in sealed.datagrams.iter().zip(1..) {
            let envelope = Envelope::read(octets).unwrap();
            let first = if number == 1 { NONCE } else { PayloadType::NONE };
            assert_eq!((envelope.first, envelope.fragment.unwrap().number), (first, number));
        }
        let found = joined(&right, &sealed.datagrams).unwrap();
        assert_eq!(found.message.inner, [7; 3_000]);
        assert_eq!(found.message.associated, sealed.associated);
        assert_eq!(found.first_datagram, sealed.datagrams[0]);
    }
}

/// RFC 9242 §3.3.2: IntAuth is the same whether or not the message was fragmented.
#[test]
fn fragmentation_does_not_change_int_auth() {
    let (mut left, right) = ends(Cipher::ALL[0]);
    let whole = left.seal(header(1), NONCE, &[7; 1_200], None).unwrap();
    let cut = left.seal(header(1), NONCE, &[7; 1_200], Some(600)).unwrap();
    let found = joined(&right, &cut.datagrams).unwrap();
    assert_eq!(whole.associated, found.message.associated);
    let mut int_auth = IntAuth::new();
    let key = Secret::from_slice(b"key");
    let prf = Prf::HmacSha2_256;
    int_auth.add(Role::Initiator, prf, &key, &found.message.associated, &found.message.inner);
    int_auth.add(Role::Responder, prf, &key, &whole.associated, &[7; 1_200]);
    let finished = int_auth.finish(2);
    assert_eq!(finished[..32], finished[32..64]);
}

#[test]
fn limits_that_cannot_be_kept_are_errors() {
    let (mut left, _) = ends(Cipher::ALL[0]);
    let inner = vec![7; 3_000];
    let seal = |left: &mut Protection, inner: &[u8], limit| {
        left.seal(header(1), NONCE, inner, limit).map(|sealed| sealed.datagrams.len())
    };
    assert_eq!(seal(&mut left, &inner, Some(10)), Err(SealFailure::TooManyFragments));
    assert_eq!(seal(&mut left, &inner, Some(62)), Err(SealFailure::TooManyFragments));
    assert_eq!(seal(&mut left, &vec![7; 70_000], None), Err(SealFailure::TooLong));
}

/// RFC 7383 §2.6: numbers that make no sense are refused before anything is decrypted.
/// CHECKLIST P04, V12.
#[test]
fn fragment_numbers_are_checked() {
    let (mut left, _) = ends(Cipher::ALL[0]);
    let octets = left.seal(header(1), NONCE, &[7; 900], Some(500)).unwrap().datagrams.remove(0);
    let at = Header::LEN + GENERIC_HEADER_OCTETS;
    for numbers in [[0, 0, 0, 2], [0, 1, 0, 0], [0, 3, 0, 2], [255, 255, 0, 2]] {
        let mut changed = octets.clone();
        changed[at..at + 4].copy_from_slice(&numbers);
        assert!(Envelope::read(&changed).is_err());
    }
    let beyond = FragmentNumber { number: 1, total: FRAGMENTS_MAX + 1 };
    assert!(!Reassembly::new().wants(1, beyond));
}

//= https://www.rfc-editor.org/rfc/rfc7383#section-2.6
//= type=test
//# the receiver MUST discard all received fragments and start
//# the reassembly process over with just the received IKE Fragment message.
/// CHECKLIST P04.
#[test]
fn a_set_with_more_fragments_replaces_the_one_before() {
    let (mut left, right) = ends(Cipher::ALL[0]);
    let now = start();
    let large = left.seal(header(1), NONCE, &[7; 3_000], Some(1_200)).unwrap().datagrams;
    let small = left.seal(header(1), NONCE, &[7; 3_000], Some(500)).unwrap().datagrams;
    let mut reassembly = Reassembly::new();
    for octets in &large[1..] {
        assert!(reassembly.add(fragment(&right, octets), now).is_none());
    }
    for octets in &small[1..] {
        assert!(reassembly.add(fragment(&right, octets), now).is_none());
    }
    // Late fragments of the larger cut are nothing any more.
    assert!(reassembly.add(fragment(&right, &large[0]), now).is_none());
    let found = reassembly.add(fragment(&right, &small[0]), now).unwrap();
    assert_eq!(found.message.inner, [7; 3_000]);
}

#[test]
fn fragments_expire_and_make_room_for_the_next_message() {
    let (mut left, right) = ends(Cipher::ALL[0]);
    let now = start();
    let one = left.seal(header(1), NONCE, &[7; 900], Some(500)).unwrap().datagrams;
    let two = left.seal(header(2), NONCE, &[8; 900], Some(500)).unwrap().datagrams;
    let mut reassembly = Reassembly::new();
    reassembly.add(fragment(&right, &one[0]), now);
    assert!(reassembly.octets() > 0);
    assert_eq!(reassembly.poll_timeout(), Some(now + REASSEMBLY_TIMEOUT));
    reassembly.expire(now + REASSEMBLY_TIMEOUT - Duration::from_millis(1));
    assert!(reassembly.octets() > 0);
    reassembly.expire(now + REASSEMBLY_TIMEOUT);
    assert_eq!((reassembly.octets(), reassembly.poll_timeout()), (0, None));

    reassembly.add(fragment(&right, &one[0]), now);
    reassembly.add(fragment(&right, &two[0]), now);
    assert!(reassembly.add(fragment(&right, &one[1]), now).is_none());
}

proptest! {
    /// Fragments come in any order, each any number of times.
    /// CHECKLIST P04.
    #[test]
    fn shuffled_and_repeated_fragments_are_joined(
        inner in prop::collection::vec(any::<u8>(), 1..6_000),
        limit in 200_usize..1_500,
        order in prop::collection::vec(any::<prop::sample::Index>(), 0..80),
    ) {
        let (mut left, right) = ends(CBC);
        let sealed = left.seal(header(1), NONCE, &inner, Some(limit)).unwrap();
        if sealed.datagrams.len() > 1 {
            let shuffled = order.iter().map(|index| index.get(&sealed.datagrams).clone());
            let datagrams: Vec<_> = shuffled.chain(sealed.datagrams.iter().rev().cloned()).collect();
            prop_assert_eq!(joined(&right, &datagrams).unwrap().message.inner, inner);
        } else {
            prop_assert_eq!(message(&right, &sealed.datagrams[0]).inner, inner);
        }
    }

    /// Octets that nobody sealed are read without a panic and never opened.
    #[test]
    fn noise_is_not_opened(octets in prop::collection::vec(any::<u8>(), 0..200)) {
        let (_, right) = ends(CBC);
        let mut framed = in_front(header(1), NONCE, None, octets.len());
        framed.extend(&octets);
        prop_assert!(right.open(&Envelope::read(&framed).unwrap()).is_err());
        let _ = Envelope::read(&octets).map(|envelope| right.open(&envelope).is_err());
    }
}

/// Opens the IKE_AUTH messages of a capture that Wireshark's own tests decrypt, where somebody has
/// it: `ADIT_WIRESHARK_VECTORS` names the folder with `ikev2-decrypt-aes256cbc.pcapng`, the
/// `ikev2_decryption_table` and the expected values. They are under the GPL, so not in this tree.
#[test]
fn a_capture_of_other_implementations_is_opened_if_present() {
    let Ok(folder) = std::env::var("ADIT_WIRESHARK_VECTORS") else {
        eprintln!("SKIPPED: ADIT_WIRESHARK_VECTORS names no folder");
        return;
    };
    let read = |name: &str| std::fs::read(format!("{folder}/{name}")).unwrap();
    let capture = read("ikev2-decrypt-aes256cbc.pcapng");
    let table = String::from_utf8(read("ikev2_decryption_table.csv")).unwrap();
    let expected = String::from_utf8(read("keys-and-expected.json")).unwrap();
    let row = table.lines().find(|row| row.contains("AES-CBC-256")).unwrap();
    let field = |index: usize| unhex(row.split(',').nth(index).unwrap());
    let (spis, key) = ([field(0), field(1)].concat(), |index| Secret::new(field(index)));
    let keys = SkKeys {
        d: Secret::default(),
        ai: key(5),
        ar: key(6),
        ei: key(2),
        er: key(3),
        pi: Secret::default(),
        pr: Secret::default(),
    };
    let cipher = CBC;
    let mut opened = 0;
    for (at, _) in capture.windows(16).enumerate().filter(|(_, window)| *window == spis) {
        let length = capture[at + 24..at + 28].try_into().map(u32::from_be_bytes).unwrap();
        let octets = &capture[at..at + usize::try_from(length).unwrap()];
        let Ok(envelope) = Envelope::read(octets) else { continue };
        let sender_is_initiator = envelope.header.flags.is_initiator();
        let role = if sender_is_initiator { Role::Responder } else { Role::Initiator };
        let protection = Protection::new(cipher, &keys, role).unwrap();
        let message = message(&protection, octets);
        let inner = message.inner.iter().map(|octet| format!("{octet:02x}")).collect::<String>();
        let auth = expected.split('"').filter(|text| text.len() == 64);
        opened += usize::from(auth.into_iter().any(|auth| inner.contains(auth)));
    }
    assert!(opened > 0, "no message with the expected AUTH data");
}

fn unhex(text: &str) -> Vec<u8> {
    let digits = |at: usize| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap();
    (0..text.len() / 2).map(digits).collect()
}
