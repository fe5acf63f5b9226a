//! AlgorithmIdentifiers against those written out in RFC 7427 Appendix A.

use proptest::prelude::*;

use super::*;

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|octet| !octet.is_ascii_whitespace()).collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

/// RFC 7427 A.1.2, A.3.2 to A.3.4, A.4.3; RFC 8420 A.1.
#[test]
fn they_are_those_of_the_rfcs() {
    for (scheme, octets) in [
        (SignatureScheme::RsaPkcs1(SignatureHash::Sha1), "300d06092a864886f70d0101050500"),
        (SignatureScheme::RsaPkcs1(SignatureHash::Sha2_256), "300d06092a864886f70d01010b0500"),
        (SignatureScheme::RsaPkcs1(SignatureHash::Sha2_384), "300d06092a864886f70d01010c0500"),
        (SignatureScheme::RsaPkcs1(SignatureHash::Sha2_512), "300d06092a864886f70d01010d0500"),
        (SignatureScheme::Ecdsa(SignatureHash::Sha2_256), "300a06082a8648ce3d040302"),
        (SignatureScheme::Ecdsa(SignatureHash::Sha2_384), "300a06082a8648ce3d040303"),
        (SignatureScheme::Ecdsa(SignatureHash::Sha2_512), "300a06082a8648ce3d040304"),
        (SignatureScheme::Ed25519, "300506032b6570"),
        (
            SignatureScheme::RsaPss(SignatureHash::Sha2_256),
            "304106092a864886f70d01010a3034a00f300d06096086480165030402010500
             a11c301a06092a864886f70d010108300d06096086480165030402010500a203020120",
        ),
    ] {
        assert_eq!(algorithm_identifier(scheme), hex(octets), "{scheme}");
    }
}

#[test]
fn all_are_read_as_they_are_written() {
    for scheme in SignatureScheme::ALL {
        let octets = algorithm_identifier(scheme);
        assert_eq!(read_algorithm(&octets), Ok(scheme));
        for cut in 0..octets.len() {
            assert!(read_algorithm(&octets[..cut]).is_err(), "{scheme} cut to {cut}");
        }
        assert!(read_algorithm(&[&octets[..], &[0]].concat()).is_err(), "{scheme} and more");
    }
}

/// CHECKLIST F20: parameters that are not the usual ones, a huge PSS salt.
#[test]
fn odd_parameters_are_refused() {
    let pss = algorithm_identifier(SignatureScheme::RsaPss(SignatureHash::Sha2_256));
    let with = |from: &[u8], to: &[u8]| {
        let at = pss.windows(from.len()).rposition(|window| window == from).unwrap();
        [&pss[..at], to, &pss[at + from.len()..]].concat()
    };
    assert!(read_algorithm(&with(&[2, 1, 32], &[2, 1, 0])).is_err());
    assert!(read_algorithm(&with(&[2, 1, 32], &[2, 1, 127])).is_err());
    // MGF1 of another hash.
    assert!(read_algorithm(&with(oid::SHA256, oid::SHA384)).is_err());
    // Without parameters it would be SHA-1 with a salt of 20 octets.
    assert!(read_algorithm(&hex("300d06092a864886f70d01010a3000")).is_err());
    // NULL with contents; ECDSA with NULL; a hash that nobody takes.
    assert!(read_algorithm(&hex("300e06092a864886f70d01010b050100")).is_err());
    assert!(read_algorithm(&hex("300c06082a8648ce3d0403020500")).is_err());
    assert!(read_algorithm(&hex("300d06092a864886f70d0101040500")).is_err());
    // CHECKLIST G17: indefinite length.
    assert!(read_algorithm(&hex("308006032b65700000")).is_err());
}

proptest! {
    #[test]
    fn octets_never_panic(octets in prop::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(scheme) = read_algorithm(&octets) {
            prop_assert_eq!(read_algorithm(&algorithm_identifier(scheme)), Ok(scheme));
        }
    }
}
