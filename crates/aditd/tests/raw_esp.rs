//! ESP past raw sockets, between whole daemons. Needs root.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests fail the test")]

mod common;

use std::time::Duration;

use adit_mgmt::api::{EnginePath, EngineReport, TunnelState};
use adit_mgmt::vici::answer::Outcome;
use adit_mgmt::vici::{Rekey, Request, Selection};
use adit_sys::BatchIo;
use adit_sys::netlink::Family;
use adit_sys::raw::RawEspSocket;
use adit_sys::udp::SocketOptions;
use adit_wire::PacketBuf;
use common::{Pair, wait_until};

fn tunnel(here: u8, there: u8, extra: &str) -> String {
    tunnel_to(&format!("192.0.2.{there}"), here, there, extra)
}

fn tunnel_to(peer: &str, here: u8, there: u8, extra: &str) -> String {
    format!(
        "peer = \"{peer}\"\nlocal = [\"10.{here}.0.0/24\", \"fd0{here}::/64\"]\n\
         remote = [\"10.{there}.0.0/24\", \"fd0{there}::/64\"]\nsecret = \"file:tunnel.psk\"\n\
         encap = \"esp\"\n{extra}\n"
    )
}

/// Berlin is as it always is: both ways fit each other, in both directions.
fn fast(name: &str) -> Option<Pair> {
    let mut pair = Pair::new(name)?;
    pair.oslo.options = vec!["--raw-esp", "fast"];
    pair.start(&tunnel(1, 2, ""), &tunnel(2, 1, "keep = \"passive\""));
    pair.oslo.wait_for("tunnel", TunnelState::Up);
    Some(pair)
}

/// Packets of both families, small and large, twice, as the first of them come another way.
fn assert_carries_all(pair: &Pair) {
    for _ in 0..2 {
        for ends in [("10.1.0.1", "10.2.0.1"), ("fd01::1", "fd02::1")] {
            pair.assert_carries(ends.0, ends.1);
            pair.assert_carries_large(ends.0, ends.1);
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    let status = pair.oslo.tunnel("tunnel").unwrap();
    assert!(!status.children[0].udp);
    // Nothing came twice.
    assert!(status.children[0].drops.is_empty(), "{status:?}");
}

fn paths_in(pair: &Pair) -> Vec<EnginePath> {
    let report: EngineReport =
        adit_mgmt::api::from_message(&pair.oslo.call(&Request::AditEngine)).unwrap();
    // 8 MiB of the ring.
    assert!(report.inbound.memory_octets > 8 << 20, "{report:?}");
    report.inbound.paths
}

#[test]
fn a_tunnel_is_carried_past_raw_sockets() {
    let Some(pair) = fast("raw-fast") else { return };
    assert_carries_all(&pair);
    let log = pair.oslo.log();
    for line in [
        "ESP leaves in frames (AF_XDP)",
        "ESP comes by AF_XDP where a device has it",
        "other ESP over IPv4 comes by a ring",
        "ESP comes by AF_XDP, past the packet filter",
    ] {
        assert_eq!(log.matches(line).count(), 1, "{line}: {log}");
    }
    let paths = paths_in(&pair);
    let xdp = paths.iter().find(|path| path.name == "ESP AF_XDP").unwrap();
    let reason = xdp.reason.as_deref().unwrap_or_default();
    assert!(xdp.on && (reason.ends_with(": native") || reason.ends_with(": generic")), "{xdp:?}");
    assert!(paths.iter().any(|path| path.name == "ESP ring" && path.on), "{paths:?}");
}

/// Devices are asked for the sake of packets that belong to an SA, and of no others.
#[test]
fn strangers_packets_touch_no_device() {
    let Some(pair) = fast("raw-stranger") else { return };
    let open = || RawEspSocket::open(Family::V4, &SocketOptions::default()).unwrap();
    let socket = pair.berlin.namespace.run(open).unwrap();
    let mut packet = PacketBuf::with_capacity(0, 200);
    assert!(packet.fill(&[0x0b; 100]));
    packet.meta.remote = "192.0.2.1:0".parse().unwrap();
    assert_eq!(socket.send_batch(&mut BatchIo::new(0), [&packet]).sent, 1);
    std::thread::sleep(Duration::from_millis(200));
    let xdp = paths_in(&pair).into_iter().find(|path| path.name == "ESP AF_XDP").unwrap();
    assert!(!xdp.on, "{xdp:?}");
    assert_eq!(xdp.reason.as_deref(), Some("no device has brought ESP of an SA yet"));
    pair.assert_carries("10.1.0.1", "10.2.0.1");
    wait_until("the device is asked", || pair.oslo.log().contains("ESP comes by AF_XDP, past"));
}

/// Outer addresses of IPv6.
#[test]
fn a_tunnel_over_ipv6_is_carried_past_raw_sockets() {
    let Some(mut pair) = Pair::new("raw-fast6") else { return };
    pair.oslo.options = vec!["--raw-esp", "fast"];
    let passive = "keep = \"passive\"";
    pair.start(&tunnel_to("2001:db8::2", 1, 2, ""), &tunnel_to("2001:db8::1", 2, 1, passive));
    pair.oslo.wait_for("tunnel", TunnelState::Up);
    assert_carries_all(&pair);
    assert!(paths_in(&pair).iter().any(|path| path.name == "ESP AF_XDP" && path.on));
}

/// Several threads share what comes, by SPI.
#[test]
fn several_threads_are_past_raw_sockets_too() {
    let Some(mut pair) = Pair::new("raw-threads") else { return };
    pair.oslo.options = vec!["--raw-esp", "fast", "--packet-threads", "1/2"];
    pair.start(&tunnel(1, 2, ""), &tunnel(2, 1, "keep = \"passive\""));
    pair.oslo.wait_for("tunnel", TunnelState::Up);
    // Each new SPI may be another thread's.
    for _ in 0..4 {
        assert_carries_all(&pair);
        rekey(&pair);
    }
    assert!(paths_in(&pair).iter().any(|path| path.name == "ESP AF_XDP" && path.on));
}

fn rekey(pair: &Pair) {
    let spi = || pair.oslo.tunnel("tunnel")?.children.first()?.spi_in.clone();
    let before = spi();
    let selection = Selection { child: Some("tunnel".to_owned()), ..Selection::default() };
    let rekey = Request::Rekey(Rekey { selection, reauthenticate: false });
    assert_eq!(Outcome::parse(&pair.oslo.call(&rekey)).error, None);
    wait_until("the keys are new", || spi().is_some() && spi() != before);
}

/// New keys and a way that has rested for a while lose nothing.
#[test]
fn nothing_is_lost_while_keys_and_ways_change() {
    let Some(pair) = fast("raw-rekey") else { return };
    std::thread::scope(|scope| {
        let pings = scope.spawn(|| pair.oslo.ping("10.1.0.1", "10.2.0.1", 150));
        for _ in 0..3 {
            rekey(&pair);
        }
        let report = pings.join().unwrap();
        assert_eq!(report.lost(), 0, "{report:?}\n{}\n{}", pair.oslo.log(), pair.berlin.log());
    });
    std::thread::sleep(Duration::from_millis(1_200));
    pair.assert_carries("10.1.0.1", "10.2.0.1");
}

/// A NAT that may not carry protocol 50 is told of, whoever listens: a forced `udp` looks like one.
#[test]
fn a_nat_in_the_way_of_protocol_50_is_logged() {
    let Some(mut pair) = Pair::new("raw-nat") else { return };
    let oslo = tunnel(1, 2, "").replace("\"esp\"", "\"udp\"");
    pair.start(&oslo, &tunnel(2, 1, "keep = \"passive\""));
    pair.oslo.wait_for("tunnel", TunnelState::Up);
    pair.berlin.wait_for("tunnel", TunnelState::Up);
    let log = pair.berlin.log();
    assert!(log.contains("there is a NAT, and encap = \"esp\""), "{log}");
    assert!(!pair.oslo.log().contains("there is a NAT"));
}
