//! Post-quantum keys, second rounds, no proof at all, and authentication that is repeated, between two
//! daemons. Needs root.

mod common;

use std::thread::sleep;
use std::time::Duration;

use adit_crypto::KemSet;
use adit_mgmt::api::TunnelState;
use adit_mgmt::secret::kem_key_texts;
use adit_mgmt::vici::Request;
use common::{Pair, SECRET, wait_until};

/// Another secret for what enters beside the first.
const MORE: &str = "z8Rk2Vw5Qn1Xc7Bt4Ym0Lp9Jd6Hs3GfA";

fn tunnel(here: u8, there: u8, extra: &str) -> String {
    format!(
        "peer = \"192.0.2.{there}\"\nlocal = \"10.{here}.0.0/24\"\nremote = \"10.{there}.0.0/24\"\n\
         {extra}\n"
    )
}

fn start(pair: &mut Pair, extra: [&str; 2]) {
    for site in [&pair.oslo, &pair.berlin] {
        site.write("more.psk", MORE, 0o600);
    }
    pair.start(&tunnel(1, 2, extra[0]), &tunnel(2, 1, extra[1]));
    pair.oslo.wait_for("tunnel", TunnelState::Up);
}

/// RFC 8784 and RFC 4739 with secrets of files: the role that holds them has each for its round.
#[test]
fn a_ppk_and_a_second_secret_bring_a_tunnel_up() {
    let Some(mut pair) = Pair::new("authentication") else { return };
    let extra = |own: &str, peer: &str| {
        format!(
            "secret = \"file:tunnel.psk\"\nppk = \"file:more.psk\"\nppk_id = \"lab\"\n\
             [second]\nid = \"{own}@lab\"\npeer_id = \"{peer}@lab\"\nsecret = \"file:more.psk\"\n"
        )
    };
    start(&mut pair, [&extra("alice", "bob"), &extra("bob", "alice")]);
    assert_eq!(pair.oslo.ping("10.1.0.1", "10.2.0.1", 3).lost(), 0, "{}", pair.oslo.log());
    if let Some(listed) = pair.oslo.swanctl(&["--list-sas", "--raw"]) {
        assert!(listed.contains("ppk=yes"), "{listed}");
    }
    assert!(!pair.oslo.log().contains(MORE) && !pair.oslo.log().contains(SECRET));
}

/// RFC 8784 §5.2.3: no secret but the post-quantum key.
#[test]
fn a_ppk_alone_brings_a_tunnel_up() {
    let Some(mut pair) = Pair::new("ppk-alone") else { return };
    let extra =
        "auth = \"null\"\npeer_auth = \"null\"\nppk = \"file:more.psk\"\nppk_id = \"lab\"\n";
    start(&mut pair, [extra, extra]);
    assert_eq!(pair.oslo.ping("10.1.0.1", "10.2.0.1", 3).lost(), 0, "{}", pair.oslo.log());
}

/// Static ML-KEM keys (docs/dhless.md): the role that holds keys opens both ciphertexts, traffic passes, a
/// rekey has an ephemeral exchange, and a key that the other side does not know is diagnosed there.
#[test]
fn static_kem_keys_bring_a_tunnel_up() {
    let Some(mut pair) = Pair::new("static-kem") else { return };
    let texts = |octet| kem_key_texts(KemSet::MlKem768, &[octet; 64]);
    let [oslo, berlin, other] = [texts(1), texts(2), texts(3)];
    for (site, own, peer) in [(&pair.oslo, &oslo, &berlin), (&pair.berlin, &berlin, &oslo)] {
        site.write("own.kem", std::str::from_utf8(own.0.as_bytes()).unwrap(), 0o600);
        site.write("peer.kem.pub", &peer.1, 0o644);
    }
    let extra = "secret = \"file:tunnel.psk\"\nforward_secrecy = false\n\
        ike = \"aes256gcm16-prfsha384-static_mlkem768\"\n\
        kem_key = \"file:own.kem\"\npeer_kem_key = \"file:peer.kem.pub\"\nike_rekey = \"3s\"\n";
    start(&mut pair, [extra, &format!("{extra}keep = \"passive\"\n")]);
    assert_eq!(pair.oslo.ping("10.1.0.1", "10.2.0.1", 3).lost(), 0, "{}", pair.oslo.log());
    sleep(Duration::from_secs(4));
    assert_eq!(pair.oslo.ping("10.1.0.1", "10.2.0.1", 3).lost(), 0, "{}", pair.oslo.log());
    if let Some(listed) = pair.oslo.swanctl(&["--list-sas", "--raw"]) {
        assert!(listed.contains("dh-group=ML_KEM_768"), "{listed}");
    }
    assert!(pair.oslo.log().contains("E534"), "{}", pair.oslo.log());
    assert!(!pair.oslo.log().contains("PRIVATE KEY"));

    pair.berlin.write("peer.kem.pub", &other.1, 0o644);
    pair.berlin.call(&Request::AditReload { dry_run: false });
    wait_until("Berlin says what it does not know", || pair.berlin.log().contains("E225"));
}

/// CHECKLIST K15, K16: the side that called authenticates again because the other says so, and no
/// packet is lost.
#[test]
fn authentication_is_repeated_without_a_loss() {
    let Some(mut pair) = Pair::new("reauth") else { return };
    let secret = "secret = \"file:tunnel.psk\"";
    let passive = format!("{secret}\nkeep = \"passive\"\nreauth = \"14s\"");
    start(&mut pair, [secret, &passive]);
    let first = pair.oslo.sad().sas[0].spi_in.clone();
    let mut is_new = false;
    // A few times as long as it takes.
    for _ in 0..400 {
        let report = pair.oslo.ping("10.1.0.1", "10.2.0.1", 3);
        assert_eq!(report.lost(), 0, "{report:?}\n{}", pair.oslo.log());
        let sas = pair.oslo.sad().sas;
        is_new = sas.len() == 1 && sas[0].spi_in != first;
        if is_new {
            break;
        }
        sleep(Duration::from_millis(100));
    }
    assert!(is_new, "{}", pair.oslo.log());
    assert_eq!(pair.berlin.ping("10.2.0.1", "10.1.0.1", 3).lost(), 0, "{}", pair.berlin.log());
}
