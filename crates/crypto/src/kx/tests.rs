use super::*;
use crate::{SeededRng, SystemRng};

/// What the initiator and the responder of one exchange end up with.
fn exchange(
    method: KeyExchange,
    initiator: &mut dyn Rng,
    responder: &mut dyn Rng,
) -> (Vec<u8>, Vec<u8>, Secret) {
    let share = method.generate(initiator);
    let initiator_public = share.public().to_vec();
    assert_eq!(share.method(), method);
    let (responder_public, responder_secret) =
        method.respond(&initiator_public, responder).unwrap();
    let initiator_secret = share.agree(&responder_public).unwrap();

    assert_eq!(initiator_public.len(), method.initiator_public_len(), "{method}");
    assert_eq!(responder_public.len(), method.responder_public_len(), "{method}");
    assert_eq!(initiator_secret.len(), method.shared_len(), "{method}");
    assert_eq!(initiator_secret, responder_secret, "{method}");
    (initiator_public, responder_public, initiator_secret)
}

/// Among others ML-KEM of aws-lc-rs against that of the ml-kem crate, both ways.
#[test]
fn both_ends_agree_whatever_randomness_each_has() {
    for method in KeyExchange::ALL {
        exchange(method, &mut SystemRng, &mut SystemRng);
        exchange(method, &mut SeededRng::new(1), &mut SystemRng);
        exchange(method, &mut SystemRng, &mut SeededRng::new(2));
    }
}

#[test]
fn seeded_exchange_reproduces_octet_for_octet() {
    for method in KeyExchange::ALL {
        let run = |seed| {
            let mut rng = SeededRng::new(seed);
            let share = method.generate(&mut rng);
            let (public, secret) = method.respond(share.public(), &mut rng).unwrap();
            (share.public().to_vec(), public, secret)
        };
        assert_eq!(run(7), run(7), "{method}");
        assert_ne!(run(7), run(8), "{method}");
    }
}

#[test]
fn every_exchange_has_its_own_secret() {
    for method in KeyExchange::ALL {
        let (a, b, secret) = exchange(method, &mut SystemRng, &mut SystemRng);
        let (c, d, other) = exchange(method, &mut SystemRng, &mut SystemRng);
        assert!(a != c && b != d && secret != other, "{method}");
    }
}

/// CHECKLIST A14 (empty value), Q07 (ML-KEM).
#[test]
fn public_values_of_wrong_length_are_refused() {
    for method in KeyExchange::ALL {
        let lengths = [0, 1, method.initiator_public_len() - 1, method.initiator_public_len() + 1];
        for len in lengths {
            let error = method.respond(&vec![1; len], &mut SystemRng).unwrap_err();
            let expected_octets = method.initiator_public_len();
            assert_eq!(
                error,
                KeyExchangeError::WrongLength { method, expected_octets, actual_octets: len }
            );
        }
        let lengths = [0, 1, method.responder_public_len() - 1, method.responder_public_len() + 1];
        for len in lengths {
            let error = method.generate(&mut SystemRng).agree(&vec![1; len]).unwrap_err();
            assert!(matches!(error, KeyExchangeError::WrongLength { .. }), "{method}");
        }
    }
}

fn refused(method: KeyExchange, public: &[u8]) {
    let invalid = KeyExchangeError::InvalidPublic { method };
    for rng in [&mut SystemRng as &mut dyn Rng, &mut SeededRng::new(3)] {
        assert_eq!(method.respond(public, rng).unwrap_err(), invalid);
    }
    if !method.is_kem() {
        assert_eq!(method.generate(&mut SystemRng).agree(public).unwrap_err(), invalid);
    }
}

//= https://www.rfc-editor.org/rfc/rfc6989#section-2.1
//= type=test
//# Each recipient MUST verify that the peer's public value r is in the
//# legal range (1 < r < p-1).
/// CHECKLIST E17.
#[test]
fn modp_values_outside_the_range_are_refused() {
    use modp::numbers;
    for (method, prime) in [
        (KeyExchange::Modp768, numbers::PRIME_1),
        (KeyExchange::Modp1024, numbers::PRIME_2),
        (KeyExchange::Modp1536, numbers::PRIME_5),
        (KeyExchange::Modp2048, numbers::PRIME_14),
        (KeyExchange::Modp3072, numbers::PRIME_15),
        (KeyExchange::Modp4096, numbers::PRIME_16),
        (KeyExchange::Modp6144, numbers::PRIME_17),
        (KeyExchange::Modp8192, numbers::PRIME_18),
        (KeyExchange::Modp1024S160, numbers::PRIME_22),
        (KeyExchange::Modp2048S224, numbers::PRIME_23),
        (KeyExchange::Modp2048S256, numbers::PRIME_24),
    ] {
        let mut prime: Vec<u8> = (0..prime.len() / 2)
            .map(|i| u8::from_str_radix(&prime[2 * i..2 * i + 2], 16).unwrap())
            .collect();
        assert_eq!(prime.len(), method.initiator_public_len(), "{method}");
        refused(method, &small_number(method, 0));
        refused(method, &small_number(method, 1));
        refused(method, &prime);
        refused(method, &vec![0xff; method.initiator_public_len()]);
        // All primes end in more than two, so nothing is borrowed.
        *prime.last_mut().unwrap() -= 1;
        refused(method, &prime);
        *prime.last_mut().unwrap() -= 1;
        if !is_small_subgroup(method) {
            method.respond(&prime, &mut SystemRng).unwrap();
            method.respond(&small_number(method, 2), &mut SystemRng).unwrap();
        }
    }
}

//= https://www.rfc-editor.org/rfc/rfc6989#section-2.2
//= type=test
//# Each recipient MUST verify that the peer's public value r is in the
//# legal range (1 < r < p-1) and that r^q = 1 mod p
/// CHECKLIST E17.
#[test]
fn modp_values_outside_the_subgroup_are_refused() {
    for method in KeyExchange::ALL.into_iter().filter(|method| is_small_subgroup(*method)) {
        for number in [2, 3, 5] {
            refused(method, &small_number(method, number));
        }
    }
}

fn is_small_subgroup(method: KeyExchange) -> bool {
    use KeyExchange::{Modp1024S160, Modp2048S224, Modp2048S256};
    matches!(method, Modp1024S160 | Modp2048S224 | Modp2048S256)
}

/// A public value of few bits, in the length that the method has.
fn small_number(method: KeyExchange, number: u8) -> Vec<u8> {
    let mut octets = vec![0; method.initiator_public_len()];
    *octets.last_mut().unwrap() = number;
    octets
}

//= https://www.rfc-editor.org/rfc/rfc6989#section-2.3
//= type=test
//# A receiving peer MUST check that its peer's public value is valid;
//# that is, the x and y parameters from the peer's public value satisfy the
//# curve equation
/// CHECKLIST E17.
#[test]
fn points_off_the_curve_are_refused() {
    for method in [
        KeyExchange::EcpP192,
        KeyExchange::EcpP224,
        KeyExchange::EcpP256,
        KeyExchange::EcpP384,
        KeyExchange::EcpP521,
        KeyExchange::BrainpoolP256,
        KeyExchange::BrainpoolP384,
    ] {
        let mut point = method.generate(&mut SystemRng).public().to_vec();
        *point.last_mut().unwrap() ^= 1;
        refused(method, &point);
        refused(method, &vec![0; point.len()]);
        refused(method, &vec![0xff; point.len()]);
    }
}

/// CHECKLIST E17, RFC 7748 §6.1: points of small order give zeros, whatever the private key.
#[test]
fn x25519_points_of_small_order_are_refused() {
    let mut one = [0; 32];
    one[0] = 1;
    let order_8 = [
        0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4,
        0x6a, 0xda, 0x09, 0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49,
        0xb8, 0x00,
    ];
    for point in [[0; 32], one, order_8] {
        refused(KeyExchange::X25519, &point);
    }
}

/// CHECKLIST E17, RFC 7748 §6.2: 0, 1 and -1 have small order.
#[test]
fn x448_points_of_small_order_are_refused() {
    let zero = [0; 56];
    let mut one = zero;
    one[0] = 1;
    // p - 1 for p = 2^448 - 2^224 - 1, least significant octet first.
    let mut minus_one = [0xff; 56];
    (minus_one[0], minus_one[28]) = (0xfe, 0xfe);
    for point in [zero, one, minus_one] {
        refused(KeyExchange::X448, &point);
    }
}

const KEMS: [KeyExchange; 3] =
    [KeyExchange::MlKem512, KeyExchange::MlKem768, KeyExchange::MlKem1024];

/// FIPS 203 §7.2, modulus check.
#[test]
fn mlkem_keys_with_an_unreduced_coefficient_are_refused() {
    for method in KEMS {
        let mut key = method.generate(&mut SystemRng).public().to_vec();
        // The first coefficient becomes 4095 and is at least q = 3329.
        key[0] = 0xff;
        key[1] |= 0x0f;
        refused(method, &key);
    }
}

/// CHECKLIST Q07, FIPS 203 §6.3, implicit rejection.
#[test]
fn changed_mlkem_ciphertext_gives_another_secret() {
    for method in KEMS {
        for rng in [&mut SystemRng as &mut dyn Rng, &mut SeededRng::new(3)] {
            let share = method.generate(rng);
            let (mut ciphertext, secret) = method.respond(share.public(), rng).unwrap();
            ciphertext[100] ^= 1;
            assert_ne!(share.agree(&ciphertext).unwrap(), secret);
        }
    }
}

#[test]
fn ids_name_the_methods_back() {
    for method in KeyExchange::ALL {
        assert_eq!(KeyExchange::from_id(method.id()), Some(method));
    }
    assert_eq!(KeyExchange::from_id(KeyExchangeId::NONE), None);
    assert_eq!(KeyExchange::from_id(KeyExchangeId::BRAINPOOL_P512R1), None);
}

#[test]
fn shares_print_no_secret_and_may_move_between_threads() {
    fn sends<T: Send>() {}
    sends::<KeyShare>();
    let share = KeyExchange::X25519.generate(&mut SystemRng);
    assert_eq!(format!("{share:?}"), "KeyShare { method: X25519, .. }");
}
