//! Tunnels and hosts that compress what they protect. Needs root.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use adit_mgmt::api::{CompressionStatus, TunnelState};
use adit_mgmt::vici::{Rekey, Request, Selection};
use adit_sys::capture::{Capture, CaptureThread};
use common::{Pair, wait_until};

/// Octets of a ping, which repeat from the 257th on.
const PING_OCTETS: usize = 1_300;

fn tunnel(here: u8, there: u8, extra: &str) -> String {
    format!(
        "peer = \"192.0.2.{there}\"\nlocal = [\"10.{here}.0.0/24\", \"fd0{here}::/64\"]\n\
         remote = [\"10.{there}.0.0/24\", \"fd0{there}::/64\"]\nsecret = \"file:tunnel.psk\"\n{extra}\n"
    )
}

fn host(there: u8, extra: &str) -> String {
    format!(
        "peer = \"192.0.2.{there}\"\nsecret = \"file:tunnel.psk\"\nmode = \"transport\"\n{extra}\n"
    )
}

/// Pings both ways with packets of [`PING_OCTETS`]; how long the longest frame on the wire was.
fn longest_frame(pair: &Pair, oslo: &str, berlin: &str) -> usize {
    let capture = pair.berlin.namespace.run(|| Capture::open("wan", 2_048)).unwrap().unwrap();
    let longest = Arc::new(AtomicUsize::new(0));
    let most = Arc::clone(&longest);
    let thread = CaptureThread::start(capture, move |frame| {
        most.fetch_max(frame.octets.len(), Ordering::Relaxed);
        true
    })
    .unwrap();
    let there = pair.oslo.ping_with(oslo, berlin, 5, PING_OCTETS);
    assert_eq!(there.lost(), 0, "{there:?}\n{}", pair.oslo.log());
    let back = pair.berlin.ping_with(berlin, oslo, 5, PING_OCTETS);
    assert_eq!(back.lost(), 0, "{back:?}\n{}", pair.berlin.log());
    std::thread::sleep(Duration::from_millis(200));
    let _ = thread.stop();
    longest.load(Ordering::Relaxed)
}

fn compression(pair: &Pair) -> Option<CompressionStatus> {
    let newest = pair.oslo.sad().sas.into_iter().max_by_key(|sa| sa.id);
    newest.and_then(|sa| sa.compression)
}

/// ESP is smaller than what was sent, and says how much at both ends.
fn assert_compresses(pair: &Pair, oslo: &str, berlin: &str) {
    let before = compression(pair).unwrap();
    let longest = longest_frame(pair, oslo, berlin);
    assert!((100..700).contains(&longest), "{longest}");
    let status = compression(pair).unwrap();
    let sent = status.packets_out - before.packets_out;
    assert!(sent >= 10 && status.packets_in - before.packets_in >= 10, "{status:?}");
    assert!(status.compressed_octets_out * 2 < status.plain_octets_out, "{status:?}");
}

/// CHECKLIST S10.
#[test]
fn a_tunnel_compresses_both_families() {
    let Some(mut pair) = Pair::new("comp") else { return };
    // Probes of the path would be longer than what is compressed.
    let extra = "compress = true\npath_mtu = 1500";
    let passive = format!("{extra}\nkeep = \"passive\"");
    pair.start(&tunnel(1, 2, extra), &tunnel(2, 1, &passive));
    pair.oslo.wait_for("tunnel", TunnelState::Up);
    assert_compresses(&pair, "10.1.0.1", "10.2.0.1");
    assert_compresses(&pair, "fd01::1", "fd02::1");
    // What does not shrink goes its way as well.
    pair.assert_carries("10.1.0.1", "10.2.0.1");
    pair.assert_carries_large("10.1.0.1", "10.2.0.1");

    let before = compression(&pair).unwrap();
    if let Some(list) = pair.oslo.swanctl(&["--list-sas"]) {
        assert!(list.contains(&format!("/{}", before.cpi_in)), "{list}");
    }
    let selection = Selection { child: Some("tunnel".into()), ..Selection::default() };
    pair.oslo.call(&Request::Rekey(Rekey { selection, reauthenticate: false }));
    wait_until("the keys are new", || {
        compression(&pair).is_some_and(|now| now.cpi_in != before.cpi_in)
    });
    assert_compresses(&pair, "10.1.0.1", "10.2.0.1");
}

#[test]
fn hosts_compress_in_transport_mode() {
    for (name, encap) in [("comp-t", "esp"), ("comp-udp", "udp")] {
        let Some(mut pair) = Pair::new(name) else { return };
        let extra = format!("compress = true\npath_mtu = 1500\nencap = \"{encap}\"");
        pair.start(&host(2, &extra), &host(1, &format!("{extra}\nkeep = \"passive\"")));
        pair.oslo.wait_for("tunnel", TunnelState::Up);
        assert_compresses(&pair, "192.0.2.1", "192.0.2.2");
        pair.assert_carries("192.0.2.1", "192.0.2.2");
    }
}

/// CHECKLIST R08: with one side alone everything passes, and nothing is smaller.
#[test]
fn one_side_alone_does_not_compress() {
    let Some(mut pair) = Pair::new("comp-one") else { return };
    pair.start(&tunnel(1, 2, "compress = true"), &tunnel(2, 1, "keep = \"passive\""));
    pair.oslo.wait_for("tunnel", TunnelState::Up);
    assert!(longest_frame(&pair, "10.1.0.1", "10.2.0.1") > PING_OCTETS);
    assert_eq!(compression(&pair), None);
}
