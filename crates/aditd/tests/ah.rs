//! Tunnels and hosts that protect their traffic with AH: it arrives, and everyone on the way can read
//! it, which is what AH is. Needs root.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use adit_mgmt::api::TunnelState;
use adit_mgmt::vici::answer::Outcome;
use adit_mgmt::vici::{Rekey, Request, Selection};
use adit_sys::capture::{Capture, CaptureThread};
use common::{Pair, wait_until};

/// What a packet on the wire is: AH in an IP packet of either family, and an echo behind it.
fn is_ah_with_readable_echo(frame: &[u8]) -> bool {
    let Some(packet) = frame.get(14..) else { return false };
    let octet = |at: usize| packet.get(at).copied().unwrap_or(0);
    let (protocol, at) = match octet(0) >> 4 {
        4 => (octet(9), usize::from(octet(0) & 0x0f) * 4),
        6 => (octet(6), 40),
        _ => return false,
    };
    if protocol != 51 {
        return false;
    }
    let inner = at + (usize::from(octet(at + 1)) + 2) * 4;
    let (protocol, at) = match octet(at) {
        4 => (octet(inner + 9), inner + 20),
        41 => (octet(inner + 6), inner + 40),
        protocol => (protocol, inner),
    };
    match protocol {
        1 => matches!(octet(at), 0 | 8),
        58 => matches!(octet(at), 128 | 129),
        _ => false,
    }
}

/// Counts on Berlin's outside interface while `f` runs.
fn seen(pair: &Pair, f: impl FnOnce()) -> usize {
    let capture = pair.berlin.namespace.run(|| Capture::open("wan", 256)).unwrap().unwrap();
    let count = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&count);
    let thread = CaptureThread::start(capture, move |frame| {
        if is_ah_with_readable_echo(frame.octets) {
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

/// Runs both sides with AH, pings, and looks at the wire meanwhile.
fn carries(name: &str, [oslo, berlin]: [&str; 2], files: [String; 2]) -> Option<Pair> {
    let mut pair = Pair::new(name)?;
    pair.start(&files[0], &files[1]);
    let status = pair.oslo.wait_for("tunnel", TunnelState::Up);
    assert_eq!(status.children.first().unwrap().protocol, "AH");
    let packets = seen(&pair, || pair.assert_carries(oslo, berlin));
    assert!(packets >= 10, "{packets} packets of AH on the wire\n{}", pair.oslo.log());
    let status = pair.oslo.tunnel("tunnel").unwrap();
    assert!(status.packets_in >= 5 && status.packets_out >= 5, "{status:?}");
    assert_eq!(status.children.first().unwrap().drops, []);
    Some(pair)
}

fn hosts(ipv6: bool, ah: &str) -> [String; 2] {
    let ends = if ipv6 { ["2001:db8::1", "2001:db8::2"] } else { ["192.0.2.1", "192.0.2.2"] };
    let file = |peer: &str, keep: &str| {
        format!(
            "peer = \"{peer}\"\nsecret = \"file:tunnel.psk\"\nmode = \"transport\"\n\
             protocol = \"ah\"\nah = \"{ah}\"\nkeep = \"{keep}\"\n"
        )
    };
    [file(ends[1], "up"), file(ends[0], "passive")]
}

#[test]
fn two_hosts_speak() {
    let pair = carries("ah-host", ["192.0.2.1", "192.0.2.2"], hosts(false, "sha256-esn"));
    let Some(pair) = pair else { return };
    if let Some(list) = pair.oslo.swanctl(&["--list-sas"]) {
        assert!(list.contains("AH:HMAC_SHA2_256_128"), "{list}");
    }
    if let Some(list) = pair.oslo.swanctl(&["--list-sas", "--raw"]) {
        assert!(list.contains("protocol=AH"), "{list}");
        assert!(list.contains("integ-alg=HMAC_SHA2_256_128"), "{list}");
    }
}

#[test]
fn two_hosts_speak_over_ipv6() {
    carries("ah-host6", ["2001:db8::1", "2001:db8::2"], hosts(true, "aes256gmac-esn"));
}

/// A tunnel of both families inside, over one of them outside.
fn tunnel(ipv6: bool, ah: &str) -> [String; 2] {
    let file = |here: u8, there: u8, keep: &str| {
        let peer = if ipv6 { format!("2001:db8::{there}") } else { format!("192.0.2.{there}") };
        format!(
            "peer = \"{peer}\"\nlocal = [\"10.{here}.0.0/24\", \"fd0{here}::/64\"]\n\
             remote = [\"10.{there}.0.0/24\", \"fd0{there}::/64\"]\nsecret = \"file:tunnel.psk\"\n\
             protocol = \"ah\"\nah = \"{ah}\"\nkeep = \"{keep}\"\n"
        )
    };
    [file(1, 2, "up"), file(2, 1, "passive")]
}

#[test]
fn a_tunnel_carries_both_families() {
    let pair = carries("ah-tunnel", ["10.1.0.1", "10.2.0.1"], tunnel(false, "sha512-noesn"));
    let Some(pair) = pair else { return };
    pair.assert_carries("fd01::1", "fd02::1");
    // New keys, and AH again.
    let rekey = Rekey {
        selection: Selection { child: Some("tunnel".into()), ..Selection::default() },
        reauthenticate: false,
    };
    let before = pair.oslo.tunnel("tunnel").unwrap().children[0].spi_in.clone();
    let answer = pair.berlin.call(&Request::Rekey(rekey));
    assert_eq!(Outcome::parse(&answer).error, None);
    wait_until("the keys are new", || {
        let status = pair.oslo.tunnel("tunnel").unwrap();
        status.children.len() == 1 && status.children[0].spi_in != before
    });
    assert_eq!(pair.oslo.tunnel("tunnel").unwrap().children[0].protocol, "AH");
    pair.assert_carries("10.1.0.1", "10.2.0.1");
}

#[test]
fn a_tunnel_runs_over_ipv6() {
    let pair = carries("ah-tunnel6", ["fd01::1", "fd02::1"], tunnel(true, "aesxcbc-esn"));
    if let Some(pair) = pair {
        pair.assert_carries("10.1.0.1", "10.2.0.1");
    }
}

/// Every algorithm between real sockets; the engine's own tests have the other combinations.
#[test]
fn every_algorithm_carries_packets() {
    for ah in ["sha384-esn", "sha1-noesn", "aescmac-esn", "aes128gmac-esn", "aes192gmac-noesn"] {
        let name = format!("ah-{ah}");
        if carries(&name, ["10.1.0.1", "10.2.0.1"], tunnel(false, ah)).is_none() {
            return;
        }
    }
}
