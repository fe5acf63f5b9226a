use proptest::prelude::*;

use super::*;

fn ike(text: &str) -> ProposalSpec {
    ProposalSpec::ike(text).unwrap()
}

fn esp(text: &str) -> ProposalSpec {
    ProposalSpec::esp(text).unwrap()
}

#[test]
fn words_become_transforms_and_words_again() {
    let text = "aes256gcm16-prfsha384-x25519-ke1_mlkem768-ke1_none";
    let spec = ike(text);
    assert_eq!(spec.to_string(), text);
    let kinds: Vec<u8> = spec.transforms().iter().map(|t| t.kind.0).collect();
    assert_eq!(kinds, [1, 2, 4, 6, 6]);
    assert_eq!(spec.of_kind(TransformType::ENCR).next().unwrap().key_bits, Some(256));
}

#[test]
fn aliases_print_as_the_usual_word() {
    assert_eq!(
        ike("aes128gcm128-prfsha256-curve25519").to_string(),
        "aes128gcm16-prfsha256-x25519"
    );
    assert_eq!(esp("aes-sha2_256").to_string(), "aes128-sha256-noesn");
    assert_eq!(esp("aes192gcm64").to_string(), "aes192gcm8-noesn");
    assert_eq!(esp("aes256ccm96").to_string(), "aes256ccm12-noesn");
    assert_eq!(esp("camellia-sha").to_string(), "camellia128-sha1-noesn");
}

/// Every suite that the ciphers have can be written, and is read as what it is.
#[test]
fn every_suite_has_words() {
    for cipher in Cipher::ALL {
        let spec = esp(&cipher.to_string());
        let encryption = spec.of_kind(TransformType::ENCR).next().unwrap();
        assert_eq!(EncryptionId(encryption.id), cipher.encryption_id(), "{cipher}");
        assert_eq!(encryption.key_bits, cipher.key_bits(), "{cipher}");
        let integrity = spec.of_kind(TransformType::INTEG).next().map(|t| t.id);
        assert_eq!(integrity, cipher.integrity_id().map(|id| id.0), "{cipher}");
        assert_eq!(spec.to_string(), format!("{cipher}-noesn"));
    }
    for prf in adit_crypto::Prf::ALL {
        let spec = ike(&format!("aes128gcm16-{prf}-x25519"));
        assert_eq!(spec.of_kind(TransformType::PRF).next().unwrap().id, prf.id().0);
    }
}

/// Every algorithm of AH can be written, and is read as what it is; AH has no others.
#[test]
fn ah_has_integrity_algorithms_alone() {
    for algorithm in adit_crypto::Authentication::ALL {
        let spec = ProposalSpec::ah(&algorithm.to_string()).unwrap();
        assert_eq!(spec.protocol(), ProtocolId::AH);
        assert_eq!(spec.of_kind(TransformType::INTEG).next().unwrap().id, algorithm.id().0);
        assert_eq!(spec.of_kind(TransformType::ENCR).count(), 0);
        assert_eq!(spec.to_string(), format!("{algorithm}-noesn"));
    }
    let full = "sha256-sha512-x25519-none-esn-noesn";
    assert_eq!(ProposalSpec::ah(full).unwrap().to_string(), full);
    for (text, word) in [("aes256-sha256", "aes256"), ("null-sha256", "null")] {
        let error = ProposalSpec::ah(text).unwrap_err();
        let protocol = ProtocolId::AH;
        assert_eq!(error, ProposalError::WrongProtocol { word: word.to_owned(), protocol });
        assert_eq!(error.to_string(), format!("{word:?} has no place in a proposal for AH"));
    }
    assert!(matches!(ProposalSpec::ah("x25519-esn"), Err(ProposalError::NoIntegrity(_))));
    assert!(ProposalSpec::ah("sha256-prfsha256").is_err());
    // The same word is a cipher in ESP.
    assert_eq!(esp("aes128gmac").of_kind(TransformType::INTEG).count(), 0);
    assert_eq!(ProposalSpec::ah_list("default, md5").unwrap().len(), 2);
    let cautions = ProposalSpec::ah("md5").unwrap().cautions();
    assert_eq!(cautions.iter().map(|one| one.algorithm).collect::<Vec<_>>(), ["ah", "md5"]);
}

/// Groups of curves over 2^n (RFC 2409 §6.3, §6.4) are no mistyped words.
#[test]
fn ec2n_groups_are_refused_by_name() {
    for word in ["ec2n155", "EC2N185", "ec2n163"] {
        let error = ProposalSpec::ike(&format!("aes128-sha1-{word}")).unwrap_err();
        assert_eq!(error, ProposalError::Ec2n(word.to_owned()));
        assert!(error.to_string().contains("use modp2048 or ecp256"), "{error}");
    }
}

/// As swanctl: the integrity algorithm gives the PRF, and goes if the cipher is an AEAD.
#[test]
fn prf_is_implied_by_integrity() {
    assert_eq!(ike("aes256-sha256-modp2048").to_string(), "aes256-prfsha256-sha256-modp2048");
    assert_eq!(ike("aes256gcm16-sha384-ecp384").to_string(), "aes256gcm16-prfsha384-ecp384");
    assert_eq!(ike("aes256-sha256-prfsha512-ecp256").to_string(), "aes256-prfsha512-sha256-ecp256");
    assert_eq!(ike("3des-md5-modp2048").to_string(), "3des-prfmd5-md5-modp2048");
    assert_eq!(ike("aes128ctr-aesxcbc-ecp256").to_string(), "aes128ctr-prfaesxcbc-aesxcbc-ecp256");
}

/// CHECKLIST A15, A16: no key exchange and no integrity are refused when configured.
#[test]
fn incomplete_proposals_are_refused() {
    let ike = |text: &str| ProposalSpec::ike(text).unwrap_err();
    let esp = |text: &str| ProposalSpec::esp(text).unwrap_err();
    assert!(matches!(ike("aes256gcm16-x25519"), ProposalError::NoPrf(_)));
    assert!(matches!(ike("aes256gcm16-prfsha256"), ProposalError::NoKeyExchange(_)));
    assert!(matches!(ike("aes256gcm16-prfsha256-none"), ProposalError::NoKeyExchange(_)));
    assert!(matches!(ike("aes256-prfsha256-x25519"), ProposalError::NoIntegrity(_)));
    assert!(matches!(ike("prfsha256-x25519"), ProposalError::NoEncryption(_)));
    assert!(matches!(ike("aes256-aes256gcm16-sha256-x25519"), ProposalError::MixedCiphers(_)));
    assert!(matches!(ike("aes256gcm16-prfsha256-x25519-esn"), ProposalError::WrongProtocol { .. }));
    assert!(matches!(esp("aes256gcm16-prfsha256"), ProposalError::WrongProtocol { .. }));
    assert!(matches!(esp("aes256gcm16-ke1_mlkem768"), ProposalError::NoKeyExchange(_)));
    assert!(matches!(esp("aes256gcm16-none-ke1_mlkem768"), ProposalError::NoKeyExchange(_)));
    assert!(matches!(esp("aes256"), ProposalError::NoIntegrity(_)));
    // RFC 8221 §6: NULL with NONE cannot be selected.
    assert!(matches!(esp("null"), ProposalError::NoIntegrity(_)));
    assert!(matches!(esp("null-none"), ProposalError::NoIntegrity(_)));
    for not_for_ike in ["null", "aes128gmac", "camellia256ctr"] {
        let text = format!("{not_for_ike}-sha256-x25519");
        assert!(matches!(ike(&text), ProposalError::WrongProtocol { .. }), "{text}");
    }
    assert!(matches!(esp(""), ProposalError::Empty));
    assert!(matches!(ProposalSpec::esp_list("aes256gcm16,"), Err(ProposalError::Empty)));
}

#[test]
fn unknown_words_name_the_nearest_known_one() {
    let error = ProposalSpec::ike("aes256gcm16-prfsha385-x25519").unwrap_err();
    assert_eq!(error.to_string(), "unknown algorithm \"prfsha385\"; did you mean \"prfsha384\"?");
    let error = ProposalSpec::ike("aes256gcm16-prfsha384-ke1_mlkem786").unwrap_err();
    assert_eq!(
        error.to_string(),
        "unknown algorithm \"ke1_mlkem786\"; did you mean \"ke1_mlkem768\"?"
    );
    let error = ProposalSpec::esp("serpent").unwrap_err();
    assert_eq!(error.to_string(), "unknown algorithm \"serpent\"");
    for word in ["ke8_mlkem768", "ke0_none", "ke1_aes256", "ke1_", "ke_none"] {
        assert!(ProposalSpec::ike(&format!("aes256gcm16-prfsha256-x25519-{word}")).is_err());
    }
}

#[test]
fn lists_hold_several_proposals_and_default() {
    let list = ProposalSpec::esp_list("chacha20poly1305-esn, default").unwrap();
    assert_eq!(list.len(), 3);
    assert_eq!(list[0].to_string(), "chacha20poly1305-esn");
    assert_eq!(list[1..], ProposalSpec::esp_default());
    let many = ["aes256gcm16"; PROPOSALS_MAX + 1].join(",");
    assert_eq!(ProposalSpec::esp_list(&many), Err(ProposalError::TooMany));
    let long = ["aes256gcm16"; TRANSFORMS_MAX + 1].join("-");
    assert_eq!(ProposalSpec::esp(&long), Err(ProposalError::TooMany));
}

#[test]
fn defaults_are_legal_and_hybrid() {
    let [aead, cbc] = &ProposalSpec::ike_default()[..] else { panic!("two proposals") };
    assert_eq!(
        aead.to_string(),
        "aes256gcm16-aes128gcm16-chacha20poly1305-prfsha384-prfsha256-prfsha512\
         -x25519-ecp384-ecp256-modp3072-modp2048-ke1_mlkem768-ke1_none"
    );
    assert_eq!(cbc.of_kind(TransformType::INTEG).count(), 3);
    let [aead, cbc] = &ProposalSpec::esp_default()[..] else { panic!("two proposals") };
    assert_eq!(aead.of_kind(TransformType::ESN).map(|t| t.id).collect::<Vec<_>>(), [1, 0]);
    assert_eq!(cbc.of_kind(TransformType::KE).last().unwrap().id, 0);
}

/// CHECKLIST E16.
#[test]
fn esn_and_key_exchange_can_be_taken_out() {
    let spec = esp("aes256gcm16-x25519-esn-noesn");
    assert_eq!(spec.without_esn().to_string(), "aes256gcm16-x25519-noesn");
    assert_eq!(spec.without_key_exchange().to_string(), "aes256gcm16-esn-noesn");
    let spec = esp("aes256gcm16-x25519-ke1_mlkem768-esn");
    assert_eq!(spec.without_key_exchange().to_string(), "aes256gcm16-esn");
}

/// Static keys stand alone, and make the first keys of an IKE SA and no others.
#[test]
fn static_kem_stands_alone() {
    let spec = ike("aes256gcm16-aes128gcm16-prfsha384-static_mlkem768");
    assert_eq!(spec.static_kem(), Some(KemSet::MlKem768));
    assert_eq!(spec.to_string(), "aes256gcm16-aes128gcm16-prfsha384-static_mlkem768");
    assert_eq!(ike("aes256gcm16-prfsha384-mlkem768").static_kem(), None);
    for beside in ["x25519", "mlkem768", "static_mlkem512", "ke1_mlkem768"] {
        let text = format!("aes256gcm16-prfsha384-static_mlkem768-{beside}");
        assert!(matches!(ProposalSpec::ike(&text), Err(ProposalError::MixedKeyExchanges(_))));
    }
    let wrong = |text| matches!(text, Err(ProposalError::WrongProtocol { .. }));
    assert!(wrong(ProposalSpec::esp("aes256gcm16-static_mlkem768")));
    assert!(wrong(ProposalSpec::ah("sha256-static_mlkem768")));
    assert!(wrong(ProposalSpec::ike("aes256gcm16-prfsha384-x25519-ke1_static_mlkem768")));
}

#[test]
fn every_word_is_readable_and_repetitions_vanish() {
    for word in all_words().filter(|word| Profile::named(word).is_none()) {
        assert!(words::transform_of(word, ProtocolId::ESP).is_some(), "{word}");
    }
    assert_eq!(esp("aes256gcm16-aes256gcm16-esn-esn").to_string(), "aes256gcm16-esn");
}

proptest! {
    /// Whatever a list of words means, its Display means the same.
    #[test]
    fn proposals_print_what_they_mean(
        picked in prop::collection::vec(prop::sample::select(all_words().collect::<Vec<_>>()), 1..9)
    ) {
        let text = picked.join("-");
        if let Ok(spec) = ProposalSpec::ike(&text) {
            prop_assert_eq!(ProposalSpec::ike(&spec.to_string()), Ok(spec));
        }
        if let Ok(spec) = ProposalSpec::esp(&text) {
            prop_assert_eq!(ProposalSpec::esp(&spec.to_string()), Ok(spec));
        }
        if let Ok(spec) = ProposalSpec::ah(&text) {
            prop_assert_eq!(ProposalSpec::ah(&spec.to_string()), Ok(spec));
        }
    }

    #[test]
    fn any_text_is_read_without_panic(text in ".*") {
        let _ = ProposalSpec::ike_list(&text);
        let _ = ProposalSpec::esp_list(&text);
        let _ = ProposalSpec::ah_list(&text);
    }
}
