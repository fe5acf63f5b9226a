//! Paths from a peer's certificate to an authority, with certificates of rcgen.

#![cfg(test)]

use std::net::IpAddr;
use std::sync::Arc;

use adit_pki::{
    Certificate, Distrust, Moment, PrivateKey, PublicKey, Purpose, check_path, first_to_end, name,
};
use adit_wire::iana::IdType;
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType, SignatureAlgorithm, date_time_ymd,
};

/// Between 2020 and 2040.
const NOW: Moment = Moment(1_800_000_000);

/// What most paths are for here.
const SIGNS: Purpose = Purpose::Ikev2Signature;

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: Arc<Certificate>,
}

fn read(der: &[u8]) -> Arc<Certificate> {
    Arc::new(Certificate::from_der(der).unwrap())
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(vec![format!("{name}.example")]).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2040, 1, 1);
    params
}

fn authority_params(name: &str) -> CertificateParams {
    let mut params = params(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

fn key() -> KeyPair {
    KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap()
}

impl Authority {
    fn new(params: CertificateParams) -> Self {
        let key = key();
        let certificate = read(params.self_signed(&key).unwrap().der());
        Self { issuer: Issuer::new(params, key), certificate }
    }

    fn root(name: &str) -> Self {
        Self::new(authority_params(name))
    }

    fn below(&self, params: CertificateParams) -> Self {
        let key = key();
        let certificate = read(params.signed_by(&key, &self.issuer).unwrap().der());
        Self { issuer: Issuer::new(params, key), certificate }
    }

    fn signs(&self, params: CertificateParams) -> Arc<Certificate> {
        read(params.signed_by(&key(), &self.issuer).unwrap().der())
    }
}

fn is_unfit(result: Result<(), Distrust>, words: &str) -> bool {
    matches!(result, Err(Distrust::Unfit { reason, .. }) if reason.contains(words))
}

/// CHECKLIST G05: no CA, wrong CA, missing intermediate, self-signed, forged twin certificate.
#[test]
fn only_a_whole_path_is_believed() {
    let root = Authority::root("root");
    let middle = root.below(authority_params("middle"));
    let leaf = middle.signs(params("gw"));
    let anchors = [Arc::clone(&root.certificate)];
    let others = [Arc::clone(&middle.certificate)];
    assert_eq!(check_path(SIGNS, &leaf, &others, &anchors, NOW), Ok(()));

    let unknown = |result| matches!(result, Err(Distrust::UnknownIssuer { .. }));
    assert!(unknown(check_path(SIGNS, &leaf, &others, &[], NOW)));
    assert!(unknown(check_path(SIGNS, &leaf, &[], &anchors, NOW)));
    let other = [Authority::root("other").certificate];
    assert!(unknown(check_path(SIGNS, &leaf, &others, &other, NOW)));
    let alone = Authority::new(params("alone")).certificate;
    assert!(unknown(check_path(SIGNS, &alone, &[], &anchors, NOW)));
    assert_eq!(check_path(SIGNS, &alone, &[], &[Arc::clone(&alone)], NOW), Ok(()), "pinned");

    let twin = [Authority::root("root").certificate];
    let result = check_path(SIGNS, &leaf, &others, &twin, NOW);
    assert!(matches!(result, Err(Distrust::OtherIssuer { .. })), "{result:?}");
}

/// CHECKLIST G07: expired and not-yet-valid, on either side of the path; dates after 2038.
#[test]
fn clocks_decide_and_are_both_named() {
    let root = Authority::root("root");
    let anchors = [Arc::clone(&root.certificate)];
    let leaf = root.signs(params("gw"));
    let late = Moment(2_300_000_000);
    match check_path(SIGNS, &leaf, &[], &anchors, late) {
        Err(error @ Distrust::Expired { .. }) => {
            let text = error.to_string();
            assert!(text.contains("2040-01-01") && text.contains("2042-11"), "{text}");
        }
        other => panic!("{other:?}"),
    }
    let early = check_path(SIGNS, &leaf, &[], &anchors, Moment(1_000_000_000));
    assert!(matches!(early, Err(Distrust::NotYetValid { .. })), "{early:?}");

    let mut short = authority_params("short");
    short.not_after = date_time_ymd(2021, 1, 1);
    let short = Authority::new(short);
    let leaf = short.signs(params("gw"));
    let over = check_path(SIGNS, &leaf, &[], &[Arc::clone(&short.certificate)], NOW);
    assert!(matches!(over, Err(Distrust::Expired { .. })), "{over:?}");

    let mut long = params("gw");
    long.not_after = date_time_ymd(2070, 1, 1);
    let leaf = root.signs(long);
    assert_eq!(check_path(SIGNS, &leaf, &[], &anchors, Moment(2_200_000_000)), Ok(()));
}

/// RFC 4301 §4.4.3.4: what a path is good for ends with the first of its certificates, at either end or
/// between.
#[test]
fn the_first_to_end_is_named() {
    let until = |mut params: CertificateParams, year| {
        params.not_after = date_time_ymd(year, 1, 1);
        params
    };
    for (years, first) in [
        ([2031, 2032, 2033], "CN=gw"),
        ([2032, 2031, 2033], "CN=middle"),
        ([2033, 2032, 2031], "CN=root"),
        ([2031, 2031, 2031], "CN=gw"),
    ] {
        let root = Authority::new(until(authority_params("root"), years[2]));
        let middle = root.below(until(authority_params("middle"), years[1]));
        let leaf = middle.signs(until(params("gw"), years[0]));
        let (others, anchors) = ([middle.certificate], [root.certificate]);
        let named = first_to_end(SIGNS, &leaf, &others, &anchors, NOW).unwrap();
        assert_eq!(named.subject_text(), first);
        assert!(named.validity().1.to_string().starts_with("2031-01-01"));
        let pinned = [Arc::clone(&leaf)];
        assert_eq!(first_to_end(SIGNS, &leaf, &others, &pinned, NOW).unwrap(), &*leaf);
    }
}

/// CHECKLIST G10: key usage, extended key usage, basic constraints on CA and end entity.
#[test]
fn usages_and_constraints_are_obeyed() {
    let root = Authority::root("root");
    let anchors = [Arc::clone(&root.certificate)];
    let check = |leaf: &Arc<Certificate>| check_path(SIGNS, leaf, &[], &anchors, NOW);

    let mut agrees = params("gw");
    agrees.key_usages = vec![KeyUsagePurpose::KeyAgreement];
    assert!(is_unfit(check(&root.signs(agrees)), "without digital signatures"));
    let mut signs = params("gw");
    signs.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    signs.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    assert_eq!(check(&root.signs(signs)), Ok(()));
    let mut code = params("gw");
    code.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
    assert!(is_unfit(check(&root.signs(code)), "not for IKE"));

    let no_authority = root.below(params("gw2"));
    let others = [Arc::clone(&no_authority.certificate)];
    let leaf = no_authority.signs(params("gw"));
    assert!(is_unfit(check_path(SIGNS, &leaf, &others, &anchors, NOW), "no authority"));
    let mut crl_only = authority_params("crl");
    crl_only.key_usages = vec![KeyUsagePurpose::CrlSign];
    let crl_only = root.below(crl_only);
    let others = [Arc::clone(&crl_only.certificate)];
    let leaf = crl_only.signs(params("gw"));
    assert!(is_unfit(check_path(SIGNS, &leaf, &others, &anchors, NOW), "certificate signing"));
}

/// CHECKLIST G10, T19: a key may be used for what its certificate names (RFC 5280 §4.2.1.3): keyEncipherment for
/// nonces that are encrypted to it, digitalSignature or nonRepudiation for signatures, both for both, and without the
/// extension for all.
#[test]
fn keys_are_used_for_what_their_certificates_name() {
    use KeyUsagePurpose::{
        ContentCommitment, CrlSign, DataEncipherment, DigitalSignature, KeyAgreement, KeyCertSign,
        KeyEncipherment,
    };
    let root = Authority::root("root");
    let anchors = [Arc::clone(&root.certificate)];
    for (usages, signs, encrypts) in [
        (&[][..], true, true),
        (&[KeyEncipherment], false, true),
        (&[DigitalSignature], true, false),
        (&[ContentCommitment], true, false),
        (&[DigitalSignature, KeyEncipherment], true, true),
        (&[ContentCommitment, KeyEncipherment, DataEncipherment], true, true),
        // What is near is not it.
        (&[DataEncipherment], false, false),
        (&[KeyAgreement], false, false),
        (&[KeyCertSign, CrlSign], false, false),
    ] {
        let mut leaf = params("gw");
        leaf.key_usages = usages.to_vec();
        let leaf = root.signs(leaf);
        let pinned = [Arc::clone(&leaf)];
        for (purpose, is_right, words) in [
            (Purpose::Ikev2Signature, signs, "without digital signatures"),
            (Purpose::Ikev1Signature, signs, "without digital signatures"),
            (Purpose::Ikev1Encryption, encrypts, "without key encipherment"),
        ] {
            for anchors in [&anchors, &pinned] {
                let result = check_path(purpose, &leaf, &[], anchors, NOW);
                let is_expected = if is_right { result.is_ok() } else { is_unfit(result, words) };
                assert!(is_expected, "{usages:?} {purpose:?}");
            }
        }
    }
    // What is said of end entities is not said of authorities: theirs is to sign certificates.
    let middle = root.below(authority_params("middle"));
    let mut leaf = params("gw");
    leaf.key_usages = vec![KeyEncipherment];
    let (leaf, others) = (middle.signs(leaf), [Arc::clone(&middle.certificate)]);
    assert_eq!(check_path(Purpose::Ikev1Encryption, &leaf, &others, &anchors, NOW), Ok(()));
    let mut crypts = authority_params("crypts");
    crypts.key_usages = vec![KeyEncipherment];
    let crypts = root.below(crypts);
    let (leaf, others) = (crypts.signs(params("gw")), [Arc::clone(&crypts.certificate)]);
    let result = check_path(Purpose::Ikev1Encryption, &leaf, &others, &anchors, NOW);
    assert!(is_unfit(result, "certificate signing"));
}

/// A path is as long as its authorities allow, and never longer than the bound.
#[test]
fn path_lengths_and_the_bound_are_obeyed() {
    let mut narrow = authority_params("narrow");
    narrow.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let narrow = Authority::new(narrow);
    let anchors = [Arc::clone(&narrow.certificate)];
    assert_eq!(check_path(SIGNS, &narrow.signs(params("gw")), &[], &anchors, NOW), Ok(()));
    let middle = narrow.below(authority_params("middle"));
    let others = [Arc::clone(&middle.certificate)];
    let result = check_path(SIGNS, &middle.signs(params("gw")), &others, &anchors, NOW);
    assert!(is_unfit(result, "fewer intermediates"));

    let root = Authority::root("root");
    let anchors = [Arc::clone(&root.certificate)];
    for (count, is_right) in [(adit_pki::CHAIN_MAX, true), (adit_pki::CHAIN_MAX + 1, false)] {
        let mut last = root.below(authority_params("m0"));
        let mut others = vec![Arc::clone(&last.certificate)];
        for number in 1..count {
            last = last.below(authority_params(&format!("m{number}")));
            others.push(Arc::clone(&last.certificate));
        }
        let result = check_path(SIGNS, &last.signs(params("gw")), &others, &anchors, NOW);
        assert_eq!(result.is_ok(), is_right, "{count} intermediates: {result:?}");
    }
}

/// A stranger's certificates that all have signed each other end.
#[test]
fn a_thicket_of_certificates_ends() {
    let thicket: Vec<_> = (0..9).map(|_| Authority::root("same")).collect();
    let others: Vec<_> = thicket.iter().map(|one| Arc::clone(&one.certificate)).collect();
    let leaf = thicket[8].signs(params("gw"));
    assert!(
        check_path(SIGNS, &leaf, &others, &[Authority::root("root").certificate], NOW).is_err()
    );
}

/// CHECKLIST G11: a critical extension that nobody knows refuses the certificate.
#[test]
fn unknown_critical_extensions_refuse() {
    let root = Authority::root("root");
    let anchors = [Arc::clone(&root.certificate)];
    for critical in [false, true] {
        let mut odd = params("gw");
        let mut extension =
            CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99_999], vec![5, 0]);
        extension.set_criticality(critical);
        odd.custom_extensions = vec![extension];
        let result = check_path(SIGNS, &root.signs(odd), &[], &anchors, NOW);
        assert_eq!(is_unfit(result.clone(), "critical extension"), critical, "{result:?}");
    }
}

/// CHECKLIST G01: SAN match by DNS, e-mail, IPv4, IPv6, DN; mismatch for each; first of several SANs.
/// CHECKLIST G03: the common name does not stand in for subjectAltName.
#[test]
fn identities_must_stand_in_the_certificate() {
    let mut params = params("gw");
    let ip = |text: &str| SanType::IpAddress(text.parse::<IpAddr>().unwrap());
    params.subject_alt_names = vec![
        SanType::DnsName("a.example".try_into().unwrap()),
        SanType::DnsName("b.example".try_into().unwrap()),
        SanType::Rfc822Name("alice@example".try_into().unwrap()),
        ip("192.0.2.1"),
        ip("2001:db8::1"),
    ];
    let certificate = Authority::root("root").signs(params);
    let v6: [u8; 16] = "2001:db8::1".parse::<std::net::Ipv6Addr>().unwrap().octets();
    for (kind, data) in [
        (IdType::FQDN, &b"a.example"[..]),
        (IdType::FQDN, b"B.Example"),
        (IdType::RFC822_ADDR, b"alice@example"),
        (IdType::IPV4_ADDR, &[192, 0, 2, 1]),
        (IdType::IPV6_ADDR, &v6),
        (IdType::DER_ASN1_DN, &name::from_text("CN=GW").unwrap()),
    ] {
        assert!(certificate.is_of(kind, data), "{kind}");
    }
    for (kind, data) in [
        (IdType::FQDN, &b"c.example"[..]),
        (IdType::FQDN, b"gw"),
        (IdType::FQDN, b"alice@example"),
        (IdType::FQDN, b"192.0.2.1"),
        (IdType::RFC822_ADDR, b"bob@example"),
        (IdType::IPV4_ADDR, &[192, 0, 2, 2]),
        (IdType::IPV6_ADDR, &[0; 16]),
        (IdType::DER_ASN1_DN, &name::from_text("CN=gw, O=x").unwrap()),
        (IdType::KEY_ID, b"gw"),
        (IdType::NULL, b""),
    ] {
        assert!(!certificate.is_of(kind, data), "{kind}");
    }
}

/// Keys in all the forms that files have them in, and each signs what its public half verifies.
#[test]
fn keys_come_in_several_forms() {
    let algorithms: [&'static SignatureAlgorithm; 5] = [
        &rcgen::PKCS_ED25519,
        &rcgen::PKCS_ECDSA_P256_SHA256,
        &rcgen::PKCS_ECDSA_P384_SHA384,
        &rcgen::PKCS_ECDSA_P521_SHA512,
        &rcgen::PKCS_RSA_SHA256,
    ];
    for algorithm in algorithms {
        let pair = KeyPair::generate_for(algorithm).unwrap();
        let pem = PrivateKey::from_file(pair.serialize_pem().as_bytes()).unwrap();
        let der = PrivateKey::from_file(&pair.serialize_der()).unwrap();
        assert_eq!(pem.public(), der.public());
        let public = PublicKey::from_file(pair.public_key_pem().as_bytes()).unwrap();
        assert_eq!(&public, pem.public().as_ref());
        let scheme = adit_crypto::SignatureScheme::ALL
            .into_iter()
            .find(|scheme| public.kind().signs(*scheme))
            .unwrap();
        let signature = pem.key().sign(scheme, b"octets").unwrap();
        assert!(public.key().verifies(scheme, b"octets", &signature));
        assert!(!format!("{pem:?}").contains("PRIVATE"));
    }
}
