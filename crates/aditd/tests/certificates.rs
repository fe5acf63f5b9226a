//! Two daemons that prove themselves by certificates and raw keys (RFC 7427, RFC 7670). Needs root.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod common;

use adit_mgmt::Code;
use adit_mgmt::api::TunnelState;
use common::{Pair, wait_until};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};

struct Authority(Issuer<'static, KeyPair>, String);

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(vec![format!("{name}.example")]).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

fn key() -> KeyPair {
    KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap()
}

impl Authority {
    fn new() -> Self {
        let mut params = params("corp");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = key();
        let pem = params.self_signed(&key).unwrap().pem();
        Self(Issuer::new(params, key), pem)
    }

    fn signs(&self, name: &str, key: &KeyPair) -> String {
        params(name).signed_by(key, &self.0).unwrap().pem()
    }
}

fn tunnel(here: u8, there: u8, extra: &str) -> String {
    format!(
        "peer = \"192.0.2.{there}\"\nlocal = \"10.{here}.0.0/24\"\nremote = \"10.{there}.0.0/24\"\n{extra}\n"
    )
}

/// Files of both sides: their keys, certificates of an authority, that authority, and the other's
/// public key. `berlin_trusts` signs whom Berlin believes.
fn write_files(pair: &Pair, oslo_signs: &Authority, berlin_trusts: &Authority) {
    let (oslo, berlin) = (key(), key());
    for (site, name, own, peer, trusted) in [
        (&pair.oslo, "oslo", &oslo, &berlin, oslo_signs),
        (&pair.berlin, "berlin", &berlin, &oslo, berlin_trusts),
    ] {
        site.write("own.key", &own.serialize_pem(), 0o600);
        site.write("own.pem", &oslo_signs.signs(name, own), 0o644);
        site.write("ca.pem", &trusted.1, 0o644);
        site.write("peer.pub", &peer.public_key_pem(), 0o644);
    }
}

const BY_CERTIFICATE: &str = "cert = \"file:own.pem\"\nkey = \"file:own.key\"\nca = \"file:ca.pem\"\npeer_id = \"*.example\"";
const BY_RAW_KEY: &str = "key = \"file:own.key\"\npeer_key = \"file:peer.pub\"";

/// CHECKLIST G02: each side is who its certificate says.
#[test]
fn certificates_and_raw_keys_bring_tunnels_up() {
    for (name, lines) in [("certs", BY_CERTIFICATE), ("rawkeys", BY_RAW_KEY)] {
        let Some(mut pair) = Pair::new(name) else { return };
        let authority = Authority::new();
        write_files(&pair, &authority, &authority);
        let passive = format!("{lines}\nkeep = \"passive\"");
        pair.start(&tunnel(1, 2, lines), &tunnel(2, 1, &passive));
        pair.oslo.wait_for("tunnel", TunnelState::Up);
        pair.assert_carries("10.1.0.1", "10.2.0.1");
    }
}

/// CHECKLIST T01, T15: in IKEv1, too, and in aggressive mode.
#[test]
fn certificates_and_raw_keys_bring_tunnels_of_ikev1_up() {
    for (name, lines, aggressive) in [
        ("v1certs", BY_CERTIFICATE, ["refuse", "refuse"]),
        ("v1rawkeys", BY_RAW_KEY, ["refuse", "refuse"]),
        ("v1aggr", BY_CERTIFICATE, ["initiate", "allow"]),
    ] {
        let Some(mut pair) = Pair::new(name) else { return };
        let authority = Authority::new();
        write_files(&pair, &authority, &authority);
        let [left, right] = aggressive.map(|word| {
            format!("{lines}\nike = [1, \"aes256-sha256-modp2048\"]\naggressive = \"{word}\"")
        });
        pair.start(&tunnel(1, 2, &left), &tunnel(2, 1, &format!("{right}\nkeep = \"passive\"")));
        pair.oslo.wait_for("tunnel", TunnelState::Up);
        pair.assert_carries("10.1.0.1", "10.2.0.1");
    }
}

/// CHECKLIST T01, T15: DSS signatures, by keys and certificates of OpenSSL with 1024 and 2048 bits.
#[test]
fn dsa_certificates_bring_a_tunnel_of_ikev1_up() {
    let Some(mut pair) = Pair::new("v1dsa") else { return };
    for (site, own, certificate) in [
        (
            &pair.oslo,
            include_str!("../../pki/tests/vectors/dsa-1024.pem"),
            include_str!("../../pki/tests/vectors/dsa-1024.crt"),
        ),
        (
            &pair.berlin,
            include_str!("../../pki/tests/vectors/dsa-2048.pem"),
            include_str!("../../pki/tests/vectors/dsa-2048.crt"),
        ),
    ] {
        site.write("own.key", own, 0o600);
        site.write("own.pem", certificate, 0o644);
        site.write("ca.pem", include_str!("../../pki/tests/vectors/dsa-ca.crt"), 0o644);
    }
    let lines = format!("{BY_CERTIFICATE}\nike = [1, \"aes256-sha256-modp2048\"]");
    pair.start(&tunnel(1, 2, &lines), &tunnel(2, 1, &format!("{lines}\nkeep = \"passive\"")));
    pair.oslo.wait_for("tunnel", TunnelState::Up);
    pair.assert_carries("10.1.0.1", "10.2.0.1");
}

/// CHECKLIST G05: the daemon that does not trust says which authority is missing, the other that it was
/// refused.
#[test]
fn a_wrong_authority_is_diagnosed_on_both_sides() {
    let Some(mut pair) = Pair::new("wrongca") else { return };
    write_files(&pair, &Authority::new(), &Authority::new());
    let passive = format!("{BY_CERTIFICATE}\nkeep = \"passive\"");
    pair.start(&tunnel(1, 2, BY_CERTIFICATE), &tunnel(2, 1, &passive));
    let problem = |site: &common::Site| site.tunnel("tunnel").and_then(|one| one.problem);
    wait_until("both know", || problem(&pair.oslo).is_some() && problem(&pair.berlin).is_some());
    let (oslo, berlin) = (problem(&pair.oslo).unwrap(), problem(&pair.berlin).unwrap());
    assert_eq!((oslo.code, berlin.code), (Code::E208, Code::E207));
    // Both authorities have the same name.
    assert!(
        berlin.to_string().contains("CN=oslo is not signed with the key of CN=corp"),
        "{berlin}"
    );
}
