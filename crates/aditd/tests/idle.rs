//! An SA that nothing uses ends, and is back with the next packet. Needs root.

mod common;

use std::thread::sleep;
use std::time::Duration;

use adit_mgmt::api::TunnelState;
use common::{Pair, wait_until};

fn tunnel(here: u8, there: u8, extra: &str) -> String {
    format!(
        "peer = \"192.0.2.{there}\"\nlocal = \"10.{here}.0.0/24\"\nremote = \"10.{there}.0.0/24\"\n\
         secret = \"file:tunnel.psk\"\n{extra}\n"
    )
}

/// CHECKLIST S06: packets of either direction keep it; without any it ends on both sides, and the
/// next packet loses nothing.
#[test]
fn an_idle_tunnel_ends_and_comes_back_without_a_loss() {
    let Some(mut pair) = Pair::new("idle") else { return };
    let idle = "keep = \"on-demand\"\nidle = \"2s\"";
    pair.start(&tunnel(1, 2, idle), &tunnel(2, 1, "keep = \"on-demand\""));
    pair.oslo.wait_for("tunnel", TunnelState::Idle);
    assert_eq!(pair.oslo.ping("10.1.0.1", "10.2.0.1", 1).lost(), 0, "{}", pair.oslo.log());
    let first = pair.oslo.sad().sas[0].spi_in.clone();
    for _ in 0..5 {
        sleep(Duration::from_secs(1));
        assert_eq!(pair.berlin.ping("10.2.0.1", "10.1.0.1", 1).lost(), 0);
    }
    let sas = pair.oslo.sad().sas;
    assert_eq!(sas[0].spi_in, first, "it is in use: {sas:?}");
    assert!(sas[0].idle_in_s.is_some());

    for (site, from, to) in
        [(&pair.oslo, "10.1.0.1", "10.2.0.1"), (&pair.berlin, "10.2.0.1", "10.1.0.1")]
    {
        wait_until("it has ended", || {
            pair.oslo.sad().sas.is_empty() && pair.berlin.sad().sas.is_empty()
        });
        assert!(pair.oslo.tunnel("tunnel").unwrap().problem.is_none(), "{}", pair.oslo.log());
        let report = site.ping(from, to, 3);
        assert_eq!(report.lost(), 0, "{report:?}\n{}", site.log());
        assert_eq!(pair.oslo.sad().sas.len(), 1);
    }
}
