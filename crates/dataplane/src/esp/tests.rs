use adit_crypto::{Cipher, Encryption, IcvSize, ImplicitIv, Integrity, KeySize, Secret};
use serde_json::Value;

use super::*;

/// CHECKLIST S02, PM-13: whole blocks, and never more padding than needed.
#[test]
fn padding_fills_the_block_and_no_more() {
    for cipher in Cipher::ALL {
        for inner_len in 0..200 {
            let overhead = Overhead::of(Shape::of(cipher), inner_len);
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
    /// High half of the sequence number.
    esn: Option<u32>,
    inner: Vec<u8>,
    next_header: IpProtocol,
    /// From the SPI on.
    esp: Vec<u8>,
}

impl Case {
    fn label(&self) -> Label {
        let header = EspHeader {
            spi: Spi::from_octets(self.esp[..4].try_into().unwrap()),
            sequence: u32::from_be_bytes(self.esp[4..8].try_into().unwrap()),
        };
        let high = u64::from(self.esn.unwrap_or_default());
        let sequence = high << 32 | u64::from(header.sequence);
        Label { spi: header.spi, sequence, esn: self.esn.is_some() }
    }

    /// The IV as the counter that makes it; `None` if it was drawn at random.
    fn iv_counter(&self) -> Option<u64> {
        if self.cipher.is_iv_implicit() {
            return Some(self.label().sequence);
        }
        match self.cipher.iv_len() {
            0 => Some(0),
            8 if self.cipher.text_multiple() == 1 => {
                Some(u64::from_be_bytes(self.esp[8..16].try_into().unwrap()))
            }
            _ => None,
        }
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
        "8" | "16" => KeySize::Bits128,
        "24" => KeySize::Bits192,
        "32" => KeySize::Bits256,
        _ => return None,
    };
    let icv_len: usize = list("digest_length").first()?.parse().unwrap();
    let encryption = match algorithms.first()?.as_str() {
        "AEAD_AES_GCM" => {
            let icv = IcvSize::ALL.into_iter().find(|icv| icv.octets() == icv_len)?;
            return Some(Cipher::AesGcm(size, icv));
        }
        "AEAD_CHACHA20_POLY1305" => return Some(Cipher::ChaCha20Poly1305),
        "CIPHER_AES_CBC" => Encryption::AesCbc(size),
        "CIPHER_AES_CTR" => Encryption::AesCtr(size),
        "CIPHER_3DES_CBC" => Encryption::TripleDes,
        "CIPHER_DES_CBC" => Encryption::Des,
        "CIPHER_NULL" => Encryption::Null,
        _ => return None,
    };
    let integrity = match algorithms.get(1)?.as_str() {
        "AUTH_MD5_HMAC" => Integrity::HmacMd5_96,
        "AUTH_SHA1_HMAC" => Integrity::HmacSha1_96,
        "AUTH_SHA256_HMAC" => Integrity::HmacSha2_256_128,
        "AUTH_SHA384_HMAC" => Integrity::HmacSha2_384_192,
        "AUTH_SHA512_HMAC" => Integrity::HmacSha2_512_256,
        "AUTH_AES_XCBC_MAC" => Integrity::AesXcbc96,
        "AUTH_AES_CMAC" => Integrity::AesCmac96,
        _ => return None,
    };
    (icv_len == integrity.icv_len()).then_some(Cipher::Paired(encryption, integrity))
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
        let salt = hex(text("salt"));
        encryption.truncate(cipher.encryption_key_len() - salt.len());
        encryption.extend(salt);
        let mut integrity = hex(text("auth_key"));
        integrity.truncate(cipher.integrity_key_len());
        cases.push(Case {
            name: text("name").to_owned(),
            cipher,
            encryption: Secret::new(encryption),
            integrity: Secret::new(integrity),
            esn: None,
            next_header: version_of(&inner),
            inner,
            esp: outer[outer_header_len..].to_vec(),
        });
    }
    cases
}

fn version_of(inner: &[u8]) -> IpProtocol {
    if inner[0] >> 4 == 4 { IpProtocol::IPV4 } else { IpProtocol::IPV6 }
}

/// The cases of a file in the words of swanctl.
fn worded_cases(file: &str) -> Vec<Case> {
    let all: Vec<Value> = serde_json::from_str(file).unwrap();
    let case = |case: &Value| {
        let octets = |name: &str| hex(case[name].as_str().unwrap());
        let number = |name: &str| case[name].as_u64().map(|value| u32::try_from(value).unwrap());
        let words = case["cipher"].as_str().unwrap();
        let inner = octets("inner");
        let next_header = number("next_header").map(|value| u8::try_from(value).unwrap());
        Case {
            name: format!("{words} {}", case["esn"]),
            cipher: Cipher::ALL.into_iter().find(|one| one.to_string() == words).unwrap(),
            encryption: Secret::new(octets("encryption")),
            integrity: Secret::new(octets("integrity")),
            esn: number("high").filter(|_| case["esn"].as_bool().unwrap()),
            next_header: next_header.map_or_else(|| version_of(&inner), IpProtocol),
            inner,
            esp: octets("esp"),
        }
    };
    all.iter().map(case).collect()
}

fn known_packets() -> Vec<Case> {
    let dpdk = cases(include_str!("../../tests/vectors/dpdk-ipsec-packets.json"));
    let rfc = cases(include_str!("../../tests/vectors/rfc7634-appendix-a.json"));
    let draft = worded_cases(include_str!("../../tests/vectors/mcgrew-gcm-test-01.json"));
    let scapy = worded_cases(include_str!("../../tests/vectors/scapy-esp-packets.json"));
    let linux = worded_cases(include_str!("../../tests/vectors/linux-esp-packets.json"));
    let counts = [&dpdk, &rfc, &draft, &scapy, &linux].map(Vec::len);
    assert_eq!(counts, [11, 1, 4, 96, LINUX]);
    [dpdk, rfc, draft, scapy, linux].into_iter().flatten().collect()
}

const LINUX: usize = 223;

/// Camellia in counter mode and implicit IVs are in nobody's packets; what they compute is tested in
/// `adit-crypto`.
#[test]
fn known_packets_have_nearly_every_algorithm() {
    let packets = known_packets();
    let known = |like: &dyn Fn(Cipher) -> bool| packets.iter().any(|case| like(case.cipher));
    for cipher in Cipher::ALL.into_iter().filter(|cipher| !cipher.is_iv_implicit()) {
        let Cipher::Paired(encryption, integrity) = cipher else {
            assert!(known(&|other| other == cipher), "{cipher}");
            continue;
        };
        let has_it = |other| matches!(other, Cipher::Paired(one, _) if one == encryption);
        let is_unknown = matches!(encryption, Encryption::CamelliaCtr(_));
        assert!(known(&has_it) != is_unknown, "{encryption}");
        let has_it = |other| matches!(other, Cipher::Paired(_, one) if one == integrity);
        assert!(known(&has_it), "{integrity}");
    }
}

/// RFC 8750 §3: the packet of the same AEAD without its IV, if that was the sequence number.
#[test]
fn an_implicit_iv_leaves_eight_octets_out_of_the_packet() {
    let inner = [0x45; 100];
    for one in ImplicitIv::ALL {
        let (implicit, explicit) = (Cipher::ImplicitIv(one), one.explicit());
        let encryption = Secret::new(vec![7; explicit.encryption_key_len()]);
        for (esn, sequence) in [(false, 0xffff_fffe), (true, 0x2_0000_0007)] {
            let label = Label { spi: Spi(0x1234_5678), sequence, esn };
            let sealed = |cipher| {
                let key = SealKey::new(cipher, &encryption, &Secret::new(vec![])).unwrap();
                let mut packet = buffer(&inner);
                seal(&mut packet, &key, label, sequence, IpProtocol::IPV4).unwrap();
                packet.data().to_vec()
            };
            let (short, mut long) = (sealed(implicit), sealed(explicit));
            long.drain(EspHeader::LEN..EspHeader::LEN + 8);
            assert_eq!(short, long, "{implicit}");
        }
    }
}

/// The kernel sealed for both modes, both versions of IP, with and without UDP and ESN, and past
/// the end of the lower half of the sequence number.
#[test]
fn packets_of_linux_are_of_every_shape() {
    let text = include_str!("../../tests/vectors/linux-esp-packets.json");
    let all: Vec<Value> = serde_json::from_str(text).unwrap();
    for mode in ["tunnel", "transport"] {
        for outer in ["ipv4", "ipv6"] {
            for (udp, esn) in [(false, false), (false, true), (true, false), (true, true)] {
                let is_of_it = |one: &&Value| {
                    (&one["mode"], &one["outer"], &one["udp"], &one["esn"])
                        == (&mode.into(), &outer.into(), &udp.into(), &esn.into())
                };
                assert!(all.iter().filter(is_of_it).count() >= 9, "{mode} {outer} {udp} {esn}");
            }
        }
    }
    let wrapped =
        |one: &&Value| one["high"] != 0 && one["esp"].as_str().unwrap()[8..16] == *"00000000";
    assert!(all.iter().filter(wrapped).count() >= 20);
}

fn buffer(octets: &[u8]) -> PacketBuf {
    let mut packet = PacketBuf::with_capacity(HEADROOM_MAX, octets.len() + TAILROOM_MAX);
    assert!(packet.fill(octets));
    packet
}

/// CHECKLIST S01: our octets are those of others.
#[test]
fn known_packets_are_sealed_octet_for_octet() {
    for case in known_packets() {
        let sealed = match case.iv_counter() {
            Some(counter) => {
                let key = SealKey::new(case.cipher, &case.encryption, &case.integrity).unwrap();
                let mut packet = buffer(&case.inner);
                seal(&mut packet, &key, case.label(), counter, case.next_header).unwrap();
                packet.data().to_vec()
            }
            None => sealed_in_cbc(&case),
        };
        assert_eq!(sealed, case.esp, "{}", case.name);
    }
}

/// Seals with the IV of the known packet. IVs of CBC are not ours to choose, so the first block is
/// changed by the difference between that IV and ours, which gives the same ciphertext; and the
/// ICV, which is over the IV as well, is that of a packet that is not encrypted.
fn sealed_in_cbc(case: &Case) -> Vec<u8> {
    let Cipher::Paired(_, integrity) = case.cipher else { panic!("no CBC in {}", case.cipher) };
    let (iv_len, icv_len) = (case.cipher.iv_len(), case.cipher.icv_len());
    let (header, rest) = case.esp.split_at(EspHeader::LEN);
    let iv = &rest[..iv_len];
    let padding = Overhead::of(Shape::of(case.cipher), case.inner.len()).padding;
    let mut trailer = vec![0; usize::from(padding) + TRAILER_LEN];
    write_trailer(&mut trailer, padding, case.next_header);
    let clear = [case.inner.as_slice(), &trailer].concat();
    let authenticated = Authenticated::new(case.label(), false);
    let (aad, high) = (authenticated.aad(), authenticated.trailer());
    assert_eq!(aad, header, "{}", case.name);

    let key = SealKey::new(case.cipher, &case.encryption, &case.integrity).unwrap();
    let mut our_iv = vec![0; iv_len];
    let mut icv = vec![0; icv_len];
    key.seal(1, aad, &mut our_iv, &mut clear.clone(), &mut icv, high).unwrap();
    let mut text = clear;
    for (octet, (ours, theirs)) in text.iter_mut().zip(our_iv.iter().zip(iv)) {
        *octet ^= ours ^ theirs;
    }
    key.seal(1, aad, &mut our_iv, &mut text, &mut icv, high).unwrap();

    let plain = Cipher::Paired(Encryption::Null, integrity);
    let key = SealKey::new(plain, &Secret::new(vec![]), &case.integrity).unwrap();
    let mut text = [iv, &text].concat();
    key.seal(1, aad, &mut [], &mut text, &mut icv, high).unwrap();
    [header, &text, &icv].concat()
}

/// CHECKLIST S01.
#[test]
fn known_packets_are_opened() {
    for case in known_packets() {
        let key = OpenKey::new(case.cipher, &case.encryption, &case.integrity).unwrap();
        let mut packet = buffer(&case.esp);
        let opened = open(&mut packet, &key, case.label());
        assert_eq!(opened, Ok(()), "{}", case.name);
        assert_eq!(strip_trailer(&mut packet), Ok(case.next_header), "{}", case.name);
        assert_eq!(packet.data(), case.inner, "{}", case.name);
    }
}
