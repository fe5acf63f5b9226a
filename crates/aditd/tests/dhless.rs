//! Two daemons of IKEv1 encrypt nonces to each other's RSA key, with a key exchange and without
//! (draft-ietf-ipsec-dhless-enc-mode-00). Needs root.

mod common;

use adit_crypto::new_rsa_key;
use adit_mgmt::api::TunnelState;
use common::{Pair, Site, wait_until};

fn tunnel(here: u8, there: u8, extra: &str) -> String {
    format!(
        "peer = \"192.0.2.{there}\"\nlocal = \"10.{here}.0.0/24\"\nremote = \"10.{there}.0.0/24\"\n\
         ike = [1, \"aes256-sha256-modp2048\"]\nkey = \"file:own.key\"\npeer_key = \"file:peer.pub\"\n{extra}\n"
    )
}

/// Writes both sides' keys and tunnels.
#[expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]
fn write(pair: &Pair, left: &str, right: &str) {
    let [(ours, our_public), (theirs, their_public)] = [(); 2].map(|()| new_rsa_key().unwrap());
    let sites = [
        (&pair.oslo, ours, their_public, tunnel(1, 2, left)),
        (&pair.berlin, theirs, our_public, tunnel(2, 1, right)),
    ];
    for (site, own, peer, text) in sites {
        site.write_octets("own.key", own.as_bytes(), 0o600);
        site.write_octets("peer.pub", &peer, 0o644);
        site.write("tunnel.toml", &text, 0o644);
    }
}

fn start(pair: &mut Pair) {
    pair.berlin.start();
    pair.oslo.start();
}

fn up(site: &Site) {
    site.wait_for("tunnel", TunnelState::Up);
}

/// CHECKLIST T19: each method, main mode and aggressive mode, and packets pass.
#[test]
fn encrypted_nonces_bring_up_tunnels() {
    for (name, auth) in [
        ("enc-plain", "auth = \"rsa-encryption\""),
        ("enc-revised", "auth = \"revised-rsa-encryption\""),
        ("enc-dhless", "auth = \"dhless\"\nforward_secrecy = false"),
    ] {
        for (ours, theirs) in [("", ""), ("aggressive = \"initiate\"", "aggressive = \"allow\"")] {
            let Some(mut pair) = Pair::new(&format!("{name}{}", ours.len())) else { return };
            let lines = |keep: &str, more: &str| format!("{auth}\nkeep = \"{keep}\"\n{more}");
            write(&pair, &lines("up", ours), &lines("passive", theirs));
            start(&mut pair);
            up(&pair.oslo);
            up(&pair.berlin);
            let report = pair.oslo.ping("10.1.0.1", "10.2.0.1", 5);
            assert_eq!(report.lost(), 0, "{}\n{}", pair.oslo.log(), pair.berlin.log());
            let warned = pair.oslo.log().contains("E534");
            assert_eq!(warned, auth.contains("dhless"), "{}", pair.oslo.log());
        }
    }
}

/// A peer with another method declines, and both operators are told.
#[test]
fn a_peer_with_another_method_declines() {
    let Some(mut pair) = Pair::new("enc-other") else { return };
    write(
        &pair,
        "auth = \"dhless\"\nforward_secrecy = false\nkeep = \"up\"",
        "auth = \"rsa-encryption\"\nkeep = \"passive\"",
    );
    start(&mut pair);
    wait_until("the failure is told", || pair.oslo.log().contains("E109"));
    wait_until("the failure is told", || pair.berlin.log().contains("E101"));
}
