//! Two daemons: one is a remote client of IKEv1 with a user (XAUTH) and gets its address from the other
//! (Mode-Config). Needs root.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod common;

use adit_mgmt::api::TunnelState;
use adit_sys::ping::{PingConfig, ping};
use common::{Pair, SECRET, wait_until};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};

/// The client's file.
fn client(mode: &str) -> String {
    format!(
        "peer = \"192.0.2.2\"\nlocal = \"dynamic\"\nremote = \"10.2.0.0/24\"\n\
         secret = \"file:tunnel.psk\"\nike = [1, \"aes256-sha256-modp2048\"]\nkeep = \"up\"\n\
         [xauth]\nuser = \"alice\"\npassword = \"file:alice.password\"\n\
         [mode_config]\naddress = \"{mode}\"\n"
    )
}

/// The gateway's.
fn gateway(push: &str) -> String {
    format!(
        "local = \"10.2.0.0/24\"\nremote = \"dynamic\"\nkeep = \"passive\"\n\
         secret = \"file:tunnel.psk\"\nike = [1, \"aes256-sha256-modp2048\"]\n\
         [xauth]\nusers = \"file:users\"\n\
         [mode_config]\npool = \"10.9.0.0/24\"\npush = \"{push}\"\ndns = \"10.2.0.53\"\n\
         domain = \"berlin.example\"\nbanner = \"Welcome\"\n"
    )
}

fn files(pair: &Pair, mode: &str, push: &str, password: &str) {
    pair.oslo.write("tunnel.toml", &client(mode), 0o644);
    pair.oslo.write("alice.password", password, 0o600);
    pair.berlin.write("tunnel.toml", &gateway(push), 0o644);
    pair.berlin.write("users", "bob battery staple\nalice correct horse\n", 0o600);
    for site in [&pair.oslo, &pair.berlin] {
        site.write("tunnel.psk", SECRET, 0o600);
    }
}

/// CHECKLIST W01, W03, W05: the client has its address on the TUN, speaks from it, and loses it with the
/// tunnel; asked for or given.
#[test]
fn a_client_gets_an_address_and_speaks_from_it() {
    for (name, mode, push) in [("xauth-pull", "ask", "no"), ("xauth-push", "wait", "yes")] {
        let Some(mut pair) = Pair::new(name) else { return };
        files(&pair, mode, push, "correct horse\n");
        pair.berlin.start();
        pair.oslo.start();
        let status = pair.oslo.wait_for("tunnel", TunnelState::Up);
        let access = status.access.unwrap();
        assert_eq!(access.addresses, ["10.9.0.1"]);
        assert_eq!(
            (access.dns, access.banner.as_deref()),
            (vec!["10.2.0.53".into()], Some("Welcome"))
        );
        let clients = pair.berlin.wait_for("tunnel", TunnelState::Up).access.unwrap().clients;
        assert_eq!(clients, ["alice 10.9.0.1"]);
        let report = pair.oslo.ping("10.9.0.1", "10.2.0.1", 5);
        assert_eq!(report.lost(), 0, "{}\n{}", pair.oslo.log(), pair.berlin.log());
        let report = pair.berlin.ping("10.2.0.1", "10.9.0.1", 5);
        assert_eq!(report.lost(), 0, "{}\n{}", pair.oslo.log(), pair.berlin.log());
        // Programs that name no source speak from it, too.
        let config = PingConfig { count: 3, ..PingConfig::new("10.2.0.1".parse().unwrap()) };
        let report = pair.oslo.namespace.run(|| ping(&config)).unwrap().unwrap();
        assert_eq!(report.lost(), 0, "{}", pair.oslo.log());
        pair.berlin.terminate();
        wait_until("the address is gone", || {
            let mut netlink = pair.oslo.namespace.netlink().unwrap();
            let all = netlink.addresses().unwrap();
            !all.iter().any(|found| found.address().to_string() == "10.9.0.1")
        });
    }
}

/// CHECKLIST W01: a wrong password is E223 on both sides.
#[test]
fn a_wrong_password_is_told() {
    let Some(mut pair) = Pair::new("xauth-wrong") else { return };
    files(&pair, "ask", "no", "wrong horse\n");
    pair.berlin.start();
    pair.oslo.start();
    for site in [&pair.oslo, &pair.berlin] {
        wait_until("the failure is told", || site.log().contains("E223"));
        assert!(!site.log().contains("horse"), "{}", site.log());
    }
    assert_ne!(pair.oslo.tunnel("tunnel").unwrap().state, TunnelState::Up);
}

/// Berlin's key and certificate, and whom Oslo believes.
fn write_certificate(pair: &Pair) {
    let params = |name: &str| {
        let mut params = CertificateParams::new(vec![format!("{name}.example")]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params
    };
    let mut authority = params("corp");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let its_key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    pair.oslo.write("ca.pem", &authority.self_signed(&its_key).unwrap().pem(), 0o644);
    let key = KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
    let issuer = Issuer::new(authority, its_key);
    let certificate = params("berlin").signed_by(&key, &issuer).unwrap();
    pair.berlin.write("own.pem", &certificate.pem(), 0o644);
    pair.berlin.write("own.key", &key.serialize_pem(), 0o600);
}

/// CHECKLIST W01: the gateway has a certificate, and the client nothing but its user's password.
#[test]
fn a_password_may_be_all_that_a_client_has() {
    let Some(mut pair) = Pair::new("xauth-hybrid") else { return };
    files(&pair, "ask", "no", "correct horse\n");
    write_certificate(&pair);
    let secret = "secret = \"file:tunnel.psk\"\n";
    let left = "ca = \"file:ca.pem\"\npeer_id = \"berlin.example\"\nid = \"laptop.example\"\n";
    let right = "cert = \"file:own.pem\"\nkey = \"file:own.key\"\nid = \"berlin.example\"\n";
    for (site, text, lines) in
        [(&pair.oslo, client("ask"), left), (&pair.berlin, gateway("no"), right)]
    {
        let text = text.replace(secret, lines);
        site.write("tunnel.toml", &text.replace("[xauth]", "[xauth]\nhybrid = \"yes\""), 0o644);
    }
    pair.berlin.start();
    pair.oslo.start();
    pair.oslo.wait_for("tunnel", TunnelState::Up);
    let report = pair.oslo.ping("10.9.0.1", "10.2.0.1", 5);
    assert_eq!(report.lost(), 0, "{}\n{}", pair.oslo.log(), pair.berlin.log());
}
