//! DSA as IKEv1 signs with it, beside OpenSSL's.

use adit_crypto::{KeyError, KeyKind, SignatureHash, SignatureScheme, SigningKey, VerifyingKey};
use serde::Deserialize;

use crate::vectors::{Hex, load};

#[derive(Deserialize)]
struct Group {
    bits: u32,
    order: u32,
    parameters: Hex,
    public: Hex,
    private: Hex,
    tests: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    hash: Hex,
    sig: Hex,
}

fn groups() -> Vec<Group> {
    load::<Group>("dsa").groups
}

impl Group {
    fn verifying(&self) -> VerifyingKey {
        VerifyingKey::dsa(&[self.parameters.0.as_slice(), &self.public.0].concat()).unwrap()
    }

    fn signing(&self) -> SigningKey {
        SigningKey::dsa(&self.parameters.0, &self.private.0).unwrap()
    }

    /// p, q and g without leading zeros.
    fn parts(&self) -> [Vec<u8>; 3] {
        let mut rest = contents(&self.parameters.0).0;
        [(); 3].map(|()| {
            let (part, behind) = contents(rest);
            rest = behind;
            part.iter().copied().skip_while(|octet| *octet == 0).collect()
        })
    }

    fn order(&self) -> Vec<u8> {
        let [_, q, _] = self.parts();
        q
    }
}

/// What an element of DER holds, and what is behind it.
fn contents(der: &[u8]) -> (&[u8], &[u8]) {
    let (start, len) = match der[1] {
        0x81 => (3, usize::from(der[2])),
        0x82 => (4, usize::from(der[2]) << 8 | usize::from(der[3])),
        len => (2, usize::from(len)),
    };
    der[start..].split_at(len)
}

fn element(tag: u8, value: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(value.len()).unwrap().to_be_bytes();
    match value.len() {
        0..128 => [&[tag, low], value].concat(),
        128..256 => [&[tag, 0x81, low], value].concat(),
        _ => [&[tag, 0x82, high, low], value].concat(),
    }
}

fn integer(magnitude: &[u8]) -> Vec<u8> {
    let is_high = magnitude.first().is_none_or(|first| first & 0x80 != 0);
    element(2, &[&[0][..usize::from(is_high)], magnitude].concat())
}

/// Dss-Parms of these numbers.
fn parameters(parts: &[Vec<u8>; 3]) -> Vec<u8> {
    element(0x30, &parts.iter().flat_map(|part| integer(part)).collect::<Vec<_>>())
}

/// Hashes of every length that IKEv1 has: those that are longer than q lose what is behind its length.
#[test]
fn dsa_signatures_are_those_of_openssl() {
    for group in groups() {
        let (public, private) = (group.verifying(), group.signing());
        assert_eq!(public.kind(), KeyKind::Dsa(group.bits));
        assert!(public.is_sound());
        assert_eq!(private.public(), &public, "the public value comes of the private one");
        for case in &group.tests {
            assert!(
                public.verifies_bare(&case.hash.0, &case.sig.0),
                "{} {}",
                group.bits,
                group.order
            );
            let ours = private.sign_bare(&case.hash.0).unwrap();
            assert_eq!(ours.len(), case.sig.0.len());
            assert!(public.verifies_bare(&case.hash.0, &ours));
            let mut other = case.hash.0.clone();
            other[0] ^= 1;
            assert!(
                !public.verifies_bare(&other, &case.sig.0) && !public.verifies_bare(&other, &ours)
            );
        }
        assert_ne!(
            private.sign_bare(&group.tests[1].hash.0).unwrap()[..20],
            private.sign_bare(&group.tests[2].hash.0).unwrap()[..20],
            "each hash has a number of its own"
        );
    }
}

/// Zero, q and more instead of r or s, another length, DER: none of it is a signature.
#[test]
fn what_is_no_dsa_signature_is_refused() {
    for place in [0, 2] {
        let group = groups().remove(place);
        let (public, q) = (group.verifying(), group.order());
        let Case { hash, sig } = &group.tests[1];
        let (r, s) = sig.0.split_at(q.len());
        let zero = vec![0; q.len()];
        let most = vec![0xff; q.len()];
        let wrong: [&[&[u8]]; 13] = [
            &[&zero, s],
            &[r, &zero],
            &[&zero, &zero],
            &[&q, s],
            &[r, &q],
            &[&most, s],
            &[r, &most],
            &[&most, &most],
            &[s, r],
            &[r],
            &[],
            &[r, s, &[0]],
            &[&[0], r, &[0], s],
        ];
        for parts in wrong {
            assert!(!public.verifies_bare(&hash.0, &parts.concat()), "{parts:?}");
        }
        let der = element(0x30, &[integer(r), integer(s)].concat());
        assert!(!public.verifies_bare(&hash.0, &der));
        for place in [0, q.len() - 1, q.len(), 2 * q.len() - 1] {
            let mut changed = sig.0.clone();
            changed[place] ^= 1;
            assert!(!public.verifies_bare(&hash.0, &changed));
        }
        assert!(!public.verifies_bare(&[], &sig.0));
    }
}

/// DSA is for IKEv1 alone: nothing that names a scheme goes with such a key.
#[test]
fn no_scheme_is_of_dsa() {
    let group = groups().remove(0);
    let (public, private) = (group.verifying(), group.signing());
    for scheme in SignatureScheme::ALL {
        assert!(private.sign(scheme, b"message").is_none());
        assert!(!public.verifies(scheme, b"message", &group.tests[1].sig.0));
    }
    assert!(private.sign_concatenated(b"message").is_none() && private.decrypting().is_none());
    assert!(!public.verifies_concatenated(b"message", &group.tests[1].sig.0));
    assert_eq!(public.kind().own_hash(), SignatureHash::Sha1);
    assert!(!format!("{private:?}").contains("private"));
}

/// A key of two groups: p, q and g must go together, and the public value must be one of theirs.
#[test]
fn dsa_keys_that_are_none_are_refused() {
    let [small, large] = [0, 2].map(|place| groups().remove(place));
    let [p, q, g] = small.parts();
    let refused = |parts: [&Vec<u8>; 3]| {
        let parameters = parameters(&parts.map(Clone::clone));
        let public = VerifyingKey::dsa(&[parameters.as_slice(), &small.public.0].concat());
        let private = SigningKey::dsa(&parameters, &small.private.0).map(|_| ());
        // What it takes exponentiations to find out is found out before the key is used.
        let sound = public.and_then(|key| {
            let verifies = key.verifies_bare(&small.tests[1].hash.0, &small.tests[1].sig.0);
            assert_eq!(key.is_sound(), verifies);
            if key.is_sound() { Ok(()) } else { Err(KeyError::Malformed) }
        });
        assert_eq!(sound, private);
        private.unwrap_err()
    };
    let changed = |number: &Vec<u8>| {
        let mut number = number.clone();
        *number.last_mut().unwrap() ^= 2;
        number
    };
    let even = |number: &Vec<u8>| {
        let mut number = number.clone();
        *number.last_mut().unwrap() &= 0xfe;
        number
    };
    let (one, none) = (vec![1], Vec::new());
    let minus_one = even(&p);
    let [large_p, large_q, _] = large.parts();
    for parts in [
        [&p, &q, &one],
        [&p, &q, &none],
        [&p, &q, &p],
        [&p, &q, &minus_one],
        [&p, &q, &changed(&g)],
        [&p, &changed(&q), &g],
        [&p, &even(&q), &g],
        [&changed(&p), &q, &g],
        [&even(&p), &q, &g],
        [&p, &large_q, &g],
    ] {
        assert_eq!(refused(parts), KeyError::Malformed);
    }
    for (parts, bits, order) in [
        ([&p[..127].to_vec(), &q, &g], 1016, 160),
        ([&q, &q, &g], 160, 160),
        ([&[p.as_slice(), &[1; 8]].concat(), &q[..19].to_vec(), &g], 1088, 152),
        ([&[large_p.as_slice(), &[1; 136]].concat(), &q, &g], 3136, 160),
        ([&[large_p.as_slice(), &[1; 6_000]].concat(), &q, &g], 50_048, 160),
        ([&none, &q, &g], 0, 160),
    ] {
        assert_eq!(refused(parts), KeyError::DsaSize(bits, order));
    }
    let of = |value: &[u8]| {
        let key = VerifyingKey::dsa(&[small.parameters.0.as_slice(), &integer(value)].concat());
        key.is_ok_and(|key| key.is_sound())
    };
    let values: [&[u8]; 6] = [&[], &[1], &[2], &p, &minus_one, &large_p];
    assert!(!values.iter().any(|value| of(value)));
    for value in [&[][..], &q, &p] {
        assert!(SigningKey::dsa(&small.parameters.0, &integer(value)).is_err());
    }
}

/// Cut at every octet, and with something behind.
#[test]
fn dsa_keys_are_read_to_the_octet() {
    let group = groups().remove(0);
    let whole = [group.parameters.0.as_slice(), &group.public.0].concat();
    let parameters = group.parameters.0.len();
    // Behind the parameters each costs some exponentiations.
    let behind = [0, 1, 2, 3, 4, 100].map(|some| parameters + some);
    for len in (0..parameters).chain(behind).chain([whole.len() - 1]) {
        assert!(VerifyingKey::dsa(&whole[..len]).is_err());
    }
    assert_eq!(VerifyingKey::dsa(&[&whole, &[0][..]].concat()), Err(KeyError::Malformed));
    // A fourth number of a group.
    let [p, q, g] = group.parts();
    let four = element(0x30, &[p, q, g, vec![1]].map(|part| integer(&part)).concat());
    let four = [four.as_slice(), &group.public.0].concat();
    assert_eq!(VerifyingKey::dsa(&four), Err(KeyError::Malformed));
    for len in 0..group.private.0.len() {
        assert!(SigningKey::dsa(&group.parameters.0, &group.private.0[..len]).is_err());
    }
}
