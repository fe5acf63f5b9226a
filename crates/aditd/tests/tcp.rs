//! IKE and ESP in TCP (RFC 9329) between two daemons: where UDP is dropped the tunnel comes up over
//! TCP and carries everything, and it goes back when UDP passes again. Needs root.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod common;

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

use adit_mgmt::Code;
use adit_mgmt::api::TunnelState;
use common::{Pair, Site, engine, stream, wait_until};

/// One side's file. `extra` goes to the end.
fn tunnel(here: u8, there: u8, extra: &str) -> String {
    format!(
        "peer = \"192.0.2.{there}\"\nlocal = [\"10.{here}.0.0/24\", \"fd0{here}::/64\"]\n\
         remote = [\"10.{there}.0.0/24\", \"fd0{there}::/64\"]\nsecret = \"file:tunnel.psk\"\n{extra}\n"
    )
}

/// Berlin listens on these ports and only answers; Oslo has `extra` in its file.
fn pair(name: &str, ports: &'static str, extra: &str) -> Option<Pair> {
    let mut pair = Pair::new(name)?;
    pair.berlin.options = vec!["--listen-tcp", ports];
    pair.oslo.options = vec!["--udp-probe", "4"];
    prepare(&pair);
    pair.start(&tunnel(1, 2, extra), &tunnel(2, 1, "keep = \"passive\""));
    Some(pair)
}

/// Nothing of IKE and ESP gets through but by TCP.
fn prepare(pair: &Pair) {
    nft(
        &pair.oslo,
        "add table inet wall; add chain inet wall out { type filter hook output priority 0; }; \
         add rule inet wall out meta l4proto { udp, esp } drop",
    );
}

fn nft(site: &Site, commands: &str) {
    let mut command = Command::new("nft");
    command.arg(commands);
    let status = site.namespace.spawn(&mut command).unwrap().wait().unwrap();
    assert!(status.success(), "nft {commands}");
}

fn is_by_tcp(site: &Site) -> bool {
    let status = site.tunnel("tunnel").unwrap();
    status.state == TunnelState::Up && status.children.first().is_some_and(|child| child.tcp)
}

fn assert_carries_all(pair: &Pair) {
    pair.assert_carries("10.1.0.1", "10.2.0.1");
    pair.assert_carries("fd01::1", "fd02::1");
    pair.assert_carries_large("10.1.0.1", "10.2.0.1");
    stream(&pair.oslo, &pair.berlin, "10.2.0.1:5201", 3_000_000);
    stream(&pair.berlin, &pair.oslo, "10.1.0.1:5201", 3_000_000);
}

/// CHECKLIST N10: to TCP where UDP is dropped, and back without losing the tunnel.
#[test]
fn a_tunnel_falls_back_to_tcp_and_returns_to_udp() {
    let Some(pair) = pair("tcp-back", "4500", "tcp = true") else { return };
    pair.oslo.wait_for("tunnel", TunnelState::Up);
    assert!(is_by_tcp(&pair.oslo), "{}", pair.oslo.log());
    assert!(is_by_tcp(&pair.berlin));
    assert_carries_all(&pair);
    let tcp = engine(&pair.berlin).ike.tcp;
    assert_eq!((tcp.connections, tcp.accepted, tcp.refused, tcp.garbled), (1, 1, 0, 0));
    assert!(pair.oslo.log().contains("trying TCP"), "{}", pair.oslo.log());

    nft(&pair.oslo, "delete table inet wall");
    let mut lost = 0;
    wait_until("the tunnel is back on UDP", || {
        lost += pair.oslo.ping("10.1.0.1", "10.2.0.1", 10).lost();
        !is_by_tcp(&pair.oslo)
    });
    lost += pair.oslo.ping("10.1.0.1", "10.2.0.1", 20).lost();
    assert_eq!(lost, 0, "{}", pair.oslo.log());
    let status = pair.oslo.wait_for("tunnel", TunnelState::Up);
    assert!(status.children[0].udp && !status.children[0].tcp);
    assert_carries_all(&pair);
    wait_until("the connection is closed", || engine(&pair.berlin).ike.tcp.connections == 0);
}

/// CHECKLIST N10: from the first message on, to another port, whatever UDP does.
#[test]
fn tcp_from_the_first_message_on() {
    let Some(pair) = pair("tcp-443", "4500,443", "encap = \"tcp\"\ntcp = 443") else { return };
    nft(&pair.oslo, "delete table inet wall");
    pair.oslo.wait_for("tunnel", TunnelState::Up);
    assert!(is_by_tcp(&pair.oslo), "{}", pair.oslo.log());
    assert_carries_all(&pair);
}

/// CHECKLIST N13: a packet brings it up, outside and inside are IPv6, and several threads share IKE and
/// ESP.
#[test]
fn six_in_six_on_demand_with_many_threads() {
    let Some(mut pair) = Pair::new("tcp-six") else { return };
    let threads = ["--packet-threads", "2", "--ike-threads", "2"];
    pair.oslo.options = threads.to_vec();
    pair.berlin.options = [&threads[..], &["--listen-tcp", "443"]].concat();
    let file = |here: u8, there: u8, extra: &str| {
        tunnel(here, there, extra)
            .replace(&format!("192.0.2.{there}"), &format!("2001:db8::{there}"))
    };
    let oslo = file(1, 2, "encap = \"tcp\"\ntcp = 443\nkeep = \"on-demand\"");
    pair.start(&oslo, &file(2, 1, "keep = \"passive\""));
    wait_until("a packet has brought it up", || {
        pair.oslo.ping("fd01::1", "fd02::1", 1).lost() == 0
    });
    assert!(is_by_tcp(&pair.oslo), "{}", pair.oslo.log());
    assert_carries_all(&pair);
}

/// Where the peer itself is among its networks, its packets of TCP do not go into the tunnel that they
/// carry, and those that come back are not taken for packets in clear.
#[test]
fn the_peer_itself_is_behind_tcp() {
    let Some(mut pair) = Pair::new("tcp-all") else { return };
    pair.berlin.options = vec!["--listen-tcp", "4500"];
    let file = |here: u8, there: u8, extra: &str| {
        format!(
            "peer = \"192.0.2.{there}\"\nlocal = [\"192.0.2.{here}\", \"10.{here}.0.0/24\"]\n\
             remote = [\"192.0.2.{there}\", \"10.{there}.0.0/24\"]\n\
             secret = \"file:tunnel.psk\"\n{extra}\n"
        )
    };
    pair.start(&file(1, 2, "encap = \"tcp\""), &file(2, 1, "keep = \"passive\""));
    pair.oslo.wait_for("tunnel", TunnelState::Up);
    pair.assert_carries("192.0.2.1", "192.0.2.2");
    pair.assert_carries("10.1.0.1", "10.2.0.1");
    stream(&pair.oslo, &pair.berlin, "192.0.2.2:5201", 300_000);
    assert!(is_by_tcp(&pair.oslo), "{}", pair.oslo.log());
    assert!(pair.oslo.tunnel("tunnel").unwrap().packets_in >= 20);
    assert_eq!(engine(&pair.oslo).ike.tcp.opened, 1);
}

/// CHECKLIST N12: the connection is cut; the same SAs go on over another one, which the side opens that
/// opened the first.
#[test]
fn a_cut_connection_is_replaced() {
    let Some(pair) = pair("tcp-cut", "4500", "encap = \"tcp\"") else { return };
    let before = pair.oslo.wait_for("tunnel", TunnelState::Up);
    pair.assert_carries("10.1.0.1", "10.2.0.1");
    // Whatever comes over it is answered by a reset; the other end does not hear of it.
    nft(
        &pair.berlin,
        "add table inet wall; add chain inet wall in { type filter hook input priority 0; }; \
         add rule inet wall in tcp dport 4500 reject with tcp reset",
    );
    pair.oslo.ping("10.1.0.1", "10.2.0.1", 2);
    wait_until("the connection is missed", || pair.oslo.log().contains("connecting again"));
    nft(&pair.berlin, "delete table inet wall");
    wait_until("packets pass again", || pair.oslo.ping("10.1.0.1", "10.2.0.1", 1).lost() == 0);
    let after = pair.oslo.wait_for("tunnel", TunnelState::Up);
    assert_eq!(after.children[0].spi_in, before.children[0].spi_in, "{}", pair.oslo.log());
    pair.assert_carries("10.1.0.1", "10.2.0.1");
    assert!(engine(&pair.oslo).ike.tcp.opened >= 2);
}

/// E122 where nobody listens, and E123 where somebody else does.
#[test]
fn what_is_wrong_with_a_port_is_told() {
    let Some(mut pair) = Pair::new("tcp-wrong") else { return };
    pair.start(&tunnel(1, 2, "encap = \"tcp\""), &tunnel(2, 1, "keep = \"passive\""));
    let code = |site: &Site| {
        let problem = site.tunnel("tunnel").unwrap().problem;
        problem.map(|problem| problem.code)
    };
    wait_until("nobody listens", || code(&pair.oslo) == Some(Code::E122));
    let web = || TcpListener::bind("192.0.2.2:4500").unwrap();
    let web = pair.berlin.namespace.run(web).unwrap();
    web.set_nonblocking(true).unwrap();
    wait_until("a web server listens", || {
        if let Ok((mut client, _)) = web.accept() {
            let _ = client.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
        }
        code(&pair.oslo) == Some(Code::E123)
    });
}

/// Who is no peer is cut off, and takes nothing from anybody: a stream of something else, a message that
/// is never whole, and more connections than strangers may have. CHECKLIST N12.
#[test]
fn strangers_are_bounded() {
    let Some(pair) = pair("tcp-strangers", "4500", "encap = \"tcp\"") else { return };
    pair.oslo.wait_for("tunnel", TunnelState::Up);
    let connect = || TcpStream::connect("192.0.2.2:4500").unwrap();
    let open = || pair.oslo.namespace.run(connect).unwrap();
    let is_cut = |stream: &mut TcpStream| {
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        matches!(stream.read(&mut [0; 16]), Ok(0)) || stream.take_error().unwrap().is_some()
    };
    let mut web = open();
    web.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let ended = web.read(&mut [0; 16]);
    assert!(ended.as_ref().map_or(true, |octets| *octets == 0), "{ended:?}");
    let mut torn = open();
    torn.write_all(b"IKETCP\x01\x00\0\0\0\0 never whole").unwrap();
    drop(torn);
    let mut crowd: Vec<TcpStream> = (0..30).map(|_| open()).collect();
    assert!(is_cut(crowd.last_mut().unwrap()));
    let tcp = engine(&pair.berlin).ike.tcp;
    assert!(tcp.refused > 0 && tcp.connections < 30, "{tcp:?}");
    assert_eq!(tcp.garbled, 1);
    pair.assert_carries("10.1.0.1", "10.2.0.1");
}
