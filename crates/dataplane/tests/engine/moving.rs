//! Where packets come from, and that they come at all.

use std::net::SocketAddr;
use std::time::Duration;

use adit_dataplane::{Event, InboundCommand, OpenVerdict, OutboundCommand, Verdict};
use adit_db::Encapsulation;

use crate::fixtures::{CHILD, Options, Tunnel, buffer, copy, left, right, udp_packet};

fn elsewhere() -> SocketAddr {
    "203.0.113.9:61000".parse().unwrap()
}

fn moves(tunnel: &mut Tunnel) -> Vec<SocketAddr> {
    let remote = |event| {
        if let Event::PeerMoved { remote, .. } = event { Some(remote) } else { None }
    };
    std::iter::from_fn(|| tunnel.right.poll_event()).filter_map(remote).collect()
}

/// RFC 7296 §2.23: only an authentic packet, and only the newest, shows where the peer is.
#[test]
fn the_newest_authentic_packet_shows_where_the_peer_is() {
    let mut tunnel = Options::default().tunnel();
    let mut sealed: Vec<_> = (0..4).map(|_| tunnel.sealed(&udp_packet(false, 0, 60))).collect();
    assert_eq!(tunnel.open(&mut copy(&sealed[1])), OpenVerdict::Deliver);
    assert!(moves(&mut tunnel).is_empty());

    // Older, replayed and forged packets prove nothing.
    for packet in &mut sealed {
        packet.meta.remote = elsewhere();
    }
    let mut forged = copy(&sealed[2]);
    forged.data_mut()[20] ^= 1;
    for mut packet in [copy(&sealed[0]), copy(&sealed[1]), forged] {
        tunnel.open(&mut packet);
        assert!(moves(&mut tunnel).is_empty());
    }

    tunnel.open(&mut sealed[2]);
    tunnel.open(&mut sealed[3]);
    assert_eq!(moves(&mut tunnel), [elsewhere()]);
    let mut back = tunnel.sealed(&udp_packet(false, 0, 60));
    tunnel.open(&mut back);
    assert_eq!(moves(&mut tunnel), [left()]);
}

/// The first report may be lost: it is repeated, once a second, until the engine is told.
#[test]
fn a_move_is_told_until_it_is_known() {
    let mut tunnel = Options::default().tunnel();
    let start = tunnel.now;
    let moves_at = |tunnel: &mut Tunnel, millis| {
        tunnel.now = start + Duration::from_millis(millis);
        let mut packet = tunnel.sealed(&udp_packet(false, 0, 60));
        packet.meta.remote = elsewhere();
        assert_eq!(tunnel.open(&mut packet), OpenVerdict::Deliver);
        moves(tunnel).len()
    };
    assert_eq!(moves_at(&mut tunnel, 0), 1);
    assert_eq!(moves_at(&mut tunnel, 999), 0);
    assert_eq!(moves_at(&mut tunnel, 1000), 1);
    assert_eq!(moves_at(&mut tunnel, 1500), 0);
    let encap = Encapsulation { udp: true, tcp: false, local: right(), remote: elsewhere() };
    tunnel.right.handle_command(InboundCommand::UpdatePeer { child: CHILD, encap });
    assert_eq!(moves_at(&mut tunnel, 2000), 0);
    assert_eq!(moves_at(&mut tunnel, 3000), 0);
}

/// CHECKLIST S18; RFC 4301 §4.1: an SPI alone says which SA a packet of ESP is for. The outer source
/// proves nothing, and nothing follows it.
#[test]
fn without_udp_nobody_moves() {
    let mut tunnel = Options { udp: false, ..Options::default() }.tunnel();
    let mut packet = tunnel.sealed(&udp_packet(false, 0, 60));
    packet.meta.remote = elsewhere();
    assert_eq!(tunnel.open(&mut packet), OpenVerdict::Deliver);
    assert!(moves(&mut tunnel).is_empty());
}

#[test]
fn packets_follow_the_peer_when_told_so() {
    let mut tunnel = Options::default().tunnel();
    let encap = Encapsulation { udp: true, tcp: false, local: left(), remote: elsewhere() };
    tunnel.left.handle_command(OutboundCommand::UpdatePeer { child: CHILD, encap }, tunnel.now);
    let mut packet = buffer(&udp_packet(false, 0, 60));
    assert_eq!(tunnel.seal(&mut packet), Verdict::Send);
    assert_eq!(packet.meta.remote, elsewhere());

    let encap = Encapsulation { udp: true, tcp: false, local: right(), remote: elsewhere() };
    tunnel.right.handle_command(InboundCommand::UpdatePeer { child: CHILD, encap });
    packet.meta.remote = elsewhere();
    assert_eq!(tunnel.open(&mut packet), OpenVerdict::Deliver);
    assert!(moves(&mut tunnel).is_empty());
}

/// RFC 9329: what is sealed goes into the connection, and IKE alone says which that is.
#[test]
fn a_tcp_connection_is_followed_only_when_told_so() {
    let mut tunnel = Options::default().tunnel();
    let encap = Encapsulation { udp: true, tcp: true, local: left(), remote: right() };
    tunnel.left.handle_command(OutboundCommand::UpdatePeer { child: CHILD, encap }, tunnel.now);
    let mut packet = buffer(&udp_packet(false, 0, 60));
    assert_eq!(tunnel.seal(&mut packet), Verdict::Send);
    assert!(packet.meta.tcp && packet.meta.udp && !packet.meta.whole);
    packet.meta.remote = elsewhere();
    assert_eq!(tunnel.open(&mut packet), OpenVerdict::Deliver);
    assert!(moves(&mut tunnel).is_empty());
}

/// CHECKLIST M02: the control loop hears of traffic, once a second.
#[test]
fn traffic_is_told_once_a_second() {
    let mut tunnel = Options::default().tunnel();
    let start = tunnel.now;
    for millis in [0, 1, 500, 999, 1000, 1500, 2500] {
        tunnel.now = start + Duration::from_millis(millis);
        tunnel.send(&udp_packet(false, 0, 60));
    }
    let told = std::iter::from_fn(|| tunnel.right.poll_event())
        .filter(|event| *event == Event::Traffic { child: CHILD });
    assert_eq!(told.count(), 3);
}
