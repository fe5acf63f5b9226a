use adit_crypto::{AesKeySize, Integrity, Secret};
use serde_json::Value;

use super::*;

/// CHECKLIST S02, PM-13: whole blocks, and never more padding than needed.
#[test]
fn padding_fills_the_block_and_no_more() {
    for cipher in Cipher::ALL {
        for inner_len in 0..200 {
            let overhead = Overhead::of(cipher, inner_len);
            let text_len = inner_len + overhead.back - cipher.icv_len();
            assert!(text_len.is_multiple_of(cipher.block_len()));
            assert!(usize::from(overhead.padding) < cipher.block_len());
            assert!(overhead.front <= HEADROOM_MAX && overhead.back <= TAILROOM_MAX);
        }
    }
}

fn stripped(octets: &[u8]) -> Result<(Vec<u8>, IpProtocol), DropReason> {
    let mut packet = PacketBuf::with_capacity(0, octets.len());
    assert!(packet.fill(octets));
    let next_header = strip_trailer(&mut packet)?;
    Ok((packet.data().to_vec(), next_header))
}

//= https://www.rfc-editor.org/rfc/rfc4303#section-2.4
//= type=test
//# When this padding scheme is employed, the receiver SHOULD inspect the Padding field.
/// CHECKLIST S02, S14: wrong padding is seen, and a pad length over the payload.
#[test]
fn padding_is_inspected() {
    assert_eq!(stripped(&[9, 1, 2, 2, 4]), Ok((vec![9], IpProtocol::IPV4)));
    assert_eq!(stripped(&[9, 0, 41]), Ok((vec![9], IpProtocol::IPV6)));
    assert_eq!(stripped(&[9, 1, 3, 2, 4]), Err(DropReason::BadPadding));
    assert_eq!(stripped(&[9, 1, 2, 4, 4]), Err(DropReason::BadPadding));
    assert_eq!(stripped(&[4]), Err(DropReason::BadPadding));
    assert_eq!(stripped(&[]), Err(DropReason::BadPadding));
    let longest: Vec<u8> = (1..=255).chain([255, 4]).collect();
    assert_eq!(stripped(&longest), Ok((vec![], IpProtocol::IPV4)));
}

/// One whole packet, in the clear and protected.
struct Case {
    name: String,
    cipher: Cipher,
    encryption: Secret,
    integrity: Secret,
    inner: Vec<u8>,
    /// From the SPI on.
    esp: Vec<u8>,
}

impl Case {
    fn next_header(&self) -> IpProtocol {
        if self.inner[0] >> 4 == 4 { IpProtocol::IPV4 } else { IpProtocol::IPV6 }
    }

    fn label(&self) -> Label {
        let header = EspHeader {
            spi: Spi::from_octets(self.esp[..4].try_into().unwrap()),
            sequence: u32::from_be_bytes(self.esp[4..8].try_into().unwrap()),
        };
        Label { spi: header.spi, sequence: header.sequence.into(), esn: false }
    }

    /// The IV as the counter that makes it.
    fn iv_counter(&self) -> u64 {
        u64::from_be_bytes(self.esp[8..16].try_into().unwrap())
    }
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> =
        text.chars().map(|digit| digit.to_digit(16).unwrap().try_into().unwrap()).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn cipher_of(case: &Value) -> Option<Cipher> {
    let list = |name: &str| -> Vec<String> {
        let values = case[name].as_array().unwrap();
        values.iter().map(|value| value.as_str().unwrap().to_owned()).collect()
    };
    let algorithms = list("algos");
    let size = match list("key_length").first()?.as_str() {
        "16" => AesKeySize::Bits128,
        "32" => AesKeySize::Bits256,
        _ => return None,
    };
    let icv_len: usize = list("digest_length").first()?.parse().unwrap();
    let mac = |name: &str, mac: Integrity| -> Option<Integrity> {
        let matches = algorithms.iter().any(|algorithm| algorithm == name);
        (matches && icv_len == mac.icv_len()).then_some(mac)
    };
    match algorithms.first()?.as_str() {
        "AEAD_AES_GCM" => Some(Cipher::AesGcm16(size)),
        "AEAD_CHACHA20_POLY1305" => Some(Cipher::ChaCha20Poly1305),
        "CIPHER_AES_CBC" => mac("AUTH_SHA256_HMAC", Integrity::HmacSha2_256_128)
            .or_else(|| mac("AUTH_SHA384_HMAC", Integrity::HmacSha2_384_192))
            .or_else(|| mac("AUTH_SHA512_HMAC", Integrity::HmacSha2_512_256))
            .map(|mac| Cipher::AesCbc(size, mac)),
        _ => None,
    }
}

/// The cases of a file whose ciphers we have; the others are named.
fn cases(file: &str) -> Vec<Case> {
    let all: Vec<Value> = serde_json::from_str(file).unwrap();
    let mut cases = Vec::new();
    for case in all {
        let text = |name: &str| case[name].as_str().unwrap_or_default();
        let Some(cipher) = cipher_of(&case).filter(|_| text("proto") == "ESP") else {
            println!("skipped, no such cipher here: {}", text("name"));
            continue;
        };
        let (inner, outer) = match text("direction") {
            "EGRESS" => (hex(text("input_text")), hex(text("output_text"))),
            _ => (hex(text("output_text")), hex(text("input_text"))),
        };
        let outer_header_len = if text("tunnel") == "IPV4" { 20 } else { 40 };
        let mut encryption = hex(text("key"));
        encryption.truncate(cipher.key_bits().unwrap_or(256) as usize / 8);
        encryption.extend(hex(text("salt")));
        let mut integrity = hex(text("auth_key"));
        integrity.truncate(cipher.integrity_key_len());
        cases.push(Case {
            name: text("name").to_owned(),
            cipher,
            encryption: Secret::new(encryption),
            integrity: Secret::new(integrity),
            inner,
            esp: outer[outer_header_len..].to_vec(),
        });
    }
    cases
}

fn known_packets() -> Vec<Case> {
    let dpdk = cases(include_str!("../../tests/vectors/dpdk-ipsec-packets.json"));
    let rfc = cases(include_str!("../../tests/vectors/rfc7634-appendix-a.json"));
    assert_eq!((dpdk.len(), rfc.len()), (4, 1), "cases with our ciphers");
    dpdk.into_iter().chain(rfc).collect()
}

fn buffer(octets: &[u8]) -> PacketBuf {
    let mut packet = PacketBuf::with_capacity(HEADROOM_MAX, octets.len() + TAILROOM_MAX);
    assert!(packet.fill(octets));
    packet
}

/// CHECKLIST S01: our octets are those of others. CBC is left to opening, because its IVs are not
/// ours to choose.
#[test]
fn known_packets_are_sealed_octet_for_octet() {
    for case in known_packets().iter().filter(|case| case.cipher.is_aead()) {
        let key = SealKey::new(case.cipher, &case.encryption, &case.integrity).unwrap();
        let mut packet = buffer(&case.inner);
        seal(&mut packet, &key, case.label(), case.iv_counter(), case.next_header()).unwrap();
        assert_eq!(packet.data(), case.esp, "{}", case.name);
    }
}

/// CHECKLIST S01.
#[test]
fn known_packets_are_opened() {
    for case in known_packets() {
        let key = OpenKey::new(case.cipher, &case.encryption, &case.integrity).unwrap();
        let mut packet = buffer(&case.esp);
        open(&mut packet, &key, case.label()).unwrap();
        assert_eq!(strip_trailer(&mut packet), Ok(case.next_header()), "{}", case.name);
        assert_eq!(packet.data(), case.inner, "{}", case.name);
    }
}
