//! A gateway between two tunnels: what comes out of one goes into the other. Needs root.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod common;

use adit_mgmt::api::TunnelState;
use adit_mgmt::vici::Request;
use adit_sys::netns::write_sysctl;
use common::{Pair, SECRET, Site};

fn file(peer: &str, local: &str, remote: &str, extra: &str) -> String {
    format!(
        "peer = \"{peer}\"\nlocal = {local}\nremote = {remote}\nsecret = \"file:tunnel.psk\"\n\
         {extra}\n"
    )
}

/// Paris, behind 10.3.0.0/24, with its daemon.
fn paris(pair: &Pair) -> Option<Site> {
    let mut paris = pair.paris("hub")?;
    let mut netlink = paris.namespace.netlink().unwrap();
    let lo = netlink.link_by_name("lo").unwrap().index;
    netlink.add_address(lo, "10.3.0.1/32".parse().unwrap()).unwrap();
    let remote = "[\"10.1.0.0/24\", \"10.2.0.0/24\"]";
    let text = file("198.51.100.1", "\"10.3.0.0/24\"", remote, "keep = \"passive\"");
    paris.write("tunnel.toml", &text, 0o644);
    paris.write("tunnel.psk", SECRET, 0o600);
    paris.start();
    Some(paris)
}

/// CHECKLIST S19: hub and spoke. Each spoke knows the hub alone, and reaches the other.
#[test]
fn a_hub_passes_packets_from_spoke_to_spoke() {
    let Some(mut pair) = Pair::new("hub") else { return };
    let behind_hub = |other: &str| format!("[\"10.1.0.0/24\", \"{other}\"]");
    pair.start(
        &file("192.0.2.2", &behind_hub("10.3.0.0/24"), "\"10.2.0.0/24\"", ""),
        &file("192.0.2.1", "\"10.2.0.0/24\"", &behind_hub("10.3.0.0/24"), "keep = \"passive\""),
    );
    let Some(paris) = paris(&pair) else { return };
    let hub = &pair.oslo;
    hub.namespace.run(|| write_sysctl("net.ipv4.ip_forward", "1")).unwrap().unwrap();
    let to_paris = file("198.51.100.3", &behind_hub("10.2.0.0/24"), "\"10.3.0.0/24\"", "");
    hub.write("paris.toml", &to_paris, 0o644);
    hub.call(&Request::AditReload { dry_run: false });
    hub.wait_for("tunnel", TunnelState::Up);
    hub.wait_for("paris", TunnelState::Up);

    pair.assert_carries("10.1.0.1", "10.2.0.1");
    let counted = |name: &str| {
        let status = hub.tunnel(name).unwrap();
        (status.packets_in, status.packets_out)
    };
    let before = (counted("tunnel"), counted("paris"));
    let there = pair.berlin.ping("10.2.0.1", "10.3.0.1", 5);
    assert_eq!(there.lost(), 0, "{}", hub.log());
    let back = paris.ping("10.3.0.1", "10.2.0.1", 5);
    assert_eq!(back.lost(), 0, "{}", hub.log());
    // Requests and answers of both went through both tunnels.
    let more = |(packets_in, packets_out): (u64, u64)| (packets_in + 10, packets_out + 10);
    let after = (counted("tunnel"), counted("paris"));
    assert_eq!(after, (more(before.0), more(before.1)));
}
