//! A path that swallows what is too long and says nothing: it is found out by probes (RFC 8899). Needs
//! root.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod common;

use std::time::Duration;

use adit_mgmt::api::TunnelState;
use adit_sys::clock;
use common::{Pair, Site, stream};

fn tunnel(here: u8, there: u8, extra: &str) -> String {
    format!(
        "peer = \"192.0.2.{there}\"\nlocal = \"10.{here}.0.0/24\"\nremote = \"10.{there}.0.0/24\"\n\
         secret = \"file:tunnel.psk\"\n{extra}\n"
    )
}

/// Two sites whose tunnel is up.
fn pair(name: &str, extra: &str) -> Option<Pair> {
    let mut pair = Pair::new(name)?;
    for site in [&mut pair.oslo, &mut pair.berlin] {
        site.options = vec!["--log-level", "info,aditd=debug"];
    }
    pair.start(&tunnel(1, 2, extra), &tunnel(2, 1, &format!("{extra}\nkeep = \"passive\"")));
    pair.oslo.wait_for("tunnel", TunnelState::Up);
    Some(pair)
}

fn set_mtu(site: &Site, mtu: u32) {
    let mut netlink = site.namespace.netlink().unwrap();
    let wan = netlink.link_by_name("wan").unwrap().index;
    netlink.set_mtu(wan, mtu).unwrap();
}

/// One end of the link takes 1,280 octets from now on, and still a whole stream passes, whatever its segments
/// are at first.
fn stream_into_black_hole(pair: &Pair) {
    set_mtu(&pair.berlin, 1_280);
    let started = clock::now();
    stream(&pair.oslo, &pair.berlin, "10.2.0.1:5201", 1 << 20);
    let took = started.elapsed();
    eprintln!("1 MiB by TCP into a black hole over 1,280 octets takes {} ms", took.as_millis());
    assert!(took < Duration::from_secs(20), "{took:?}\n{}", pair.oslo.log());
}

/// CHECKLIST PM-25: the same with a peer that answers no probes, since it pads its packets: a host behind it
/// answers echo requests. The status says so.
#[test]
fn a_black_hole_is_found_by_echo_requests() {
    let Some(mut pair) = Pair::new("path-echo") else { return };
    for site in [&mut pair.oslo, &mut pair.berlin] {
        site.options = vec!["--log-level", "info,aditd=debug"];
    }
    let asking = "encap = \"esp\"\npath_probe = \"10.2.0.1\"";
    let padding = "encap = \"esp\"\nkeep = \"passive\"\ntfc_padding = 100";
    pair.start(&tunnel(1, 2, asking), &tunnel(2, 1, padding));
    pair.oslo.wait_for("tunnel", TunnelState::Up);
    pair.assert_carries("10.1.0.1", "10.2.0.1");
    stream_into_black_hole(&pair);
    let status = pair.oslo.tunnel("tunnel").unwrap();
    let known = (status.path_mtu, status.path_mtu_source.as_deref());
    assert_eq!(known, (Some(1_280), Some("echo")), "{}", pair.oslo.log());
}

/// CHECKLIST PM-25: one end of the link takes 1,280 octets from now on and drops what is longer, without a
/// word; neither ICMP nor the sender's own interface tells.
#[test]
fn a_black_hole_is_found_without_icmp() {
    let Some(pair) = pair("path-probe", "encap = \"esp\"") else { return };
    pair.assert_carries("10.1.0.1", "10.2.0.1");
    stream_into_black_hole(&pair);
    let log = pair.oslo.log();
    let is_found = |line: &str| {
        line.contains("path MTU") && line.contains("mtu=1280") && line.contains("probe")
    };
    assert!(log.lines().any(is_found), "{log}");
}
