//! Two daemons: one is a remote client of IKEv1 with a user (XAUTH) and gets its address from the other
//! (Mode-Config). Needs root.

mod common;

use adit_mgmt::api::TunnelState;
use common::{Pair, SECRET, wait_until};

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
