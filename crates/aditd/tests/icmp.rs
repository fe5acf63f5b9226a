//! ICMP errors through a tunnel that is for UDP alone (RFC 4301 §6.2). Needs root.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod common;

use std::io::ErrorKind;
use std::net::UdpSocket;
use std::time::Duration;

use adit_mgmt::api::TunnelState;
use common::{Pair, Site};

fn tunnel(here: u8, there: u8, extra: &str) -> String {
    format!(
        "peer = \"192.0.2.{there}\"\nlocal = [\"10.{here}.0.0/24[udp]\", \"fd0{here}::/64[udp]\"]\n\
         remote = [\"10.{there}.0.0/24[udp]\", \"fd0{there}::/64[udp]\"]\n\
         secret = \"file:tunnel.psk\"\n{extra}\n"
    )
}

/// What a program is told that sends a datagram to a port where nobody listens.
fn answer_of_closed_port(site: &Site, from: &str, to: &str) -> ErrorKind {
    let ask = || {
        let socket = UdpSocket::bind((from, 0)).unwrap();
        socket.connect((to, 9)).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
        socket.send(b"anybody?").unwrap();
        socket.recv(&mut [0; 8]).unwrap_err().kind()
    };
    site.namespace.run(ask).unwrap()
}

/// CHECKLIST PM-27, PM-28: the peer's kernel says that the port is closed. No selector contains that
/// message; it goes, and comes, by the SA of the datagram that it is about.
#[test]
fn a_closed_port_is_told_through_a_tunnel_for_udp() {
    let Some(mut pair) = Pair::new("icmp") else { return };
    pair.start(&tunnel(1, 2, ""), &tunnel(2, 1, "keep = \"passive\""));
    pair.oslo.wait_for("tunnel", TunnelState::Up);
    for (from, to) in [("10.1.0.1", "10.2.0.1"), ("fd01::1", "fd02::1")] {
        let answer = answer_of_closed_port(&pair.oslo, from, to);
        assert_eq!(answer, ErrorKind::ConnectionRefused, "{}", pair.oslo.log());
    }
}

/// By setting: where errors have to be selected themselves, nobody hears of it.
#[test]
fn explicit_errors_need_an_sa_of_their_own() {
    let Some(mut pair) = Pair::new("icmp-explicit") else { return };
    let passive = "keep = \"passive\"\nicmp_errors = \"explicit\"";
    pair.start(&tunnel(1, 2, ""), &tunnel(2, 1, passive));
    pair.oslo.wait_for("tunnel", TunnelState::Up);
    let answer = answer_of_closed_port(&pair.oslo, "10.1.0.1", "10.2.0.1");
    assert!(matches!(answer, ErrorKind::WouldBlock | ErrorKind::TimedOut), "{answer}");
}
