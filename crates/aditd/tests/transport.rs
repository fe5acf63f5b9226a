//! Hosts that protect what they say to each other, in transport mode. Needs root.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use adit_mgmt::api::TunnelState;
use adit_mgmt::vici::Request;
use adit_sys::capture::{Capture, CaptureThread};
use common::{Pair, SECRET};

fn host(peer: &str, extra: &str) -> String {
    format!("peer = \"{peer}\"\nsecret = \"file:tunnel.psk\"\nmode = \"transport\"\n{extra}\n")
}

/// Runs both hosts, pings between their own addresses and looks at what is on the wire meanwhile.
fn carries(name: &str, ipv6: bool, extra: &str) -> Option<Pair> {
    let (oslo, berlin) =
        if ipv6 { ("2001:db8::1", "2001:db8::2") } else { ("192.0.2.1", "192.0.2.2") };
    let mut pair = Pair::new(name)?;
    let passive = format!("{extra}\nkeep = \"passive\"");
    pair.start(&host(berlin, extra), &host(oslo, &passive));
    pair.oslo.wait_for("tunnel", TunnelState::Up);
    let status = pair.oslo.tunnel("tunnel").unwrap();
    assert_eq!(status.children.first().unwrap().mode, "transport");
    let in_clear = echoes_in_clear(&pair, ipv6, || pair.assert_carries(oslo, berlin));
    assert_eq!(in_clear, 0);
    pair.assert_carries_large(oslo, berlin);
    let status = pair.oslo.tunnel("tunnel").unwrap();
    assert!(status.packets_in >= 10 && status.packets_out >= 10, "{status:?}");
    Some(pair)
}

/// Counts pings that can be read on the wire while `f` runs.
fn echoes_in_clear(pair: &Pair, ipv6: bool, f: impl FnOnce()) -> usize {
    let capture = pair.berlin.namespace.run(|| Capture::open("wan", 256)).unwrap().unwrap();
    let count = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&count);
    let thread = CaptureThread::start(capture, move |frame| {
        // Behind 14 octets of Ethernet: ICMP, or an ICMPv6 echo.
        let octet = |at: usize| frame.octets.get(14 + at).copied();
        let readable = if ipv6 {
            octet(0).is_some_and(|first| first >> 4 == 6)
                && octet(6) == Some(58)
                && matches!(octet(40), Some(128 | 129))
        } else {
            octet(0).is_some_and(|first| first >> 4 == 4) && octet(9) == Some(1)
        };
        if readable {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        true
    })
    .unwrap();
    f();
    std::thread::sleep(Duration::from_millis(200));
    let _ = thread.stop();
    count.load(Ordering::Relaxed)
}

#[test]
fn two_hosts_speak_as_protocol_50() {
    let Some(pair) = carries("t-esp", false, "encap = \"esp\"") else { return };
    assert!(!pair.oslo.tunnel("tunnel").unwrap().children[0].udp);
    if let Some(list) = pair.oslo.swanctl(&["--list-sas"]) {
        assert!(list.contains("TRANSPORT"), "{list}");
    }
}

#[test]
fn two_hosts_speak_inside_udp() {
    let Some(pair) = carries("t-udp", false, "encap = \"udp\"") else { return };
    assert!(pair.oslo.tunnel("tunnel").unwrap().children[0].udp);
}

#[test]
fn two_hosts_speak_over_ipv6() {
    carries("t-v6", true, "encap = \"esp\"");
}

#[test]
fn two_hosts_speak_over_ipv6_inside_udp() {
    carries("t-v6udp", true, "encap = \"udp\"\nesp = \"aes256-sha256-noesn\"");
}

/// A peer that wants a tunnel gets one, and packets pass all the same (RFC 7296 §1.3.1).
#[test]
fn a_declined_request_makes_a_tunnel() {
    let Some(mut pair) = Pair::new("t-declined") else { return };
    let tunnel = "peer = \"192.0.2.1\"\nsecret = \"file:tunnel.psk\"\nkeep = \"passive\"\n\
                  local = \"dynamic\"\nremote = \"dynamic\"\n";
    pair.start(&host("192.0.2.2", ""), tunnel);
    let status = pair.oslo.wait_for("tunnel", TunnelState::Up);
    assert_eq!(status.children[0].mode, "tunnel");
    pair.assert_carries("192.0.2.1", "192.0.2.2");
}

/// Several peers, each in transport mode with its own keys.
#[test]
fn one_host_speaks_with_two() {
    let Some(pair) = carries("t-three", false, "") else { return };
    let Some(mut paris) = pair.paris("t-three") else { return };
    paris.write("tunnel.toml", &host("198.51.100.1", "keep = \"passive\""), 0o644);
    paris.write("tunnel.psk", SECRET, 0o600);
    paris.start();
    pair.oslo.write("paris.toml", &host("198.51.100.3", ""), 0o644);
    pair.oslo.call(&Request::AditReload { dry_run: false });
    pair.oslo.wait_for("paris", TunnelState::Up);

    assert_eq!(pair.oslo.ping("198.51.100.1", "198.51.100.3", 5).lost(), 0, "{}", pair.oslo.log());
    assert_eq!(paris.ping("198.51.100.3", "198.51.100.1", 5).lost(), 0, "{}", paris.log());
    pair.assert_carries("192.0.2.1", "192.0.2.2");
    let spi = |name: &str| pair.oslo.tunnel(name).unwrap().children[0].spi_out.clone();
    assert_ne!(spi("tunnel"), spi("paris"));
    assert!(pair.oslo.tunnel("paris").unwrap().packets_in >= 10);
}
