//! Two hosts behind their gateways in BEET mode. Needs root.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod common;

use adit_mgmt::api::TunnelState;
use common::Pair;

fn gateway(peer: &str, local: &str, remote: &str, extra: &str) -> String {
    format!(
        "peer = \"{peer}\"\nsecret = \"file:tunnel.psk\"\nmode = \"beet\"\n\
         local = \"{local}\"\nremote = \"{remote}\"\n{extra}\n"
    )
}

fn carries(name: &str, encap: &str, [oslo, berlin]: [&str; 2]) {
    let Some(mut pair) = Pair::new(name) else { return };
    let encap = format!("encap = \"{encap}\"");
    let passive = format!("{encap}\nkeep = \"passive\"");
    pair.start(
        &gateway("192.0.2.2", oslo, berlin, &encap),
        &gateway("192.0.2.1", berlin, oslo, &passive),
    );
    let status = pair.oslo.wait_for("tunnel", TunnelState::Up);
    assert_eq!(status.children.first().unwrap().mode, "beet");
    pair.assert_carries(oslo, berlin);
    pair.assert_carries_large(oslo, berlin);
    let status = pair.berlin.tunnel("tunnel").unwrap();
    assert!(status.packets_in >= 10 && status.packets_out >= 10, "{status:?}");
    if let Some(list) = pair.oslo.swanctl(&["--list-sas"]) {
        assert!(list.contains("BEET"), "{list}");
    }
}

#[test]
fn two_hosts_speak_as_protocol_50() {
    carries("t-beet-esp", "esp", ["10.1.0.1", "10.2.0.1"]);
}

#[test]
fn two_hosts_speak_inside_udp() {
    carries("t-beet-udp", "udp", ["10.1.0.1", "10.2.0.1"]);
}

#[test]
fn two_hosts_speak_over_another_family() {
    carries("t-beet-six", "udp", ["fd01::1", "fd02::1"]);
}
