//! Sending sealed packets each on its way.

use std::sync::Arc;

use adit_dataplane::Verdict;
use adit_sys::netlink::Family;
use adit_sys::udp::UdpSocket;
use adit_sys::{BatchIo, SendReport};
use adit_wire::PacketBuf;
use adit_wire::encap::tcp::{LENGTH_LEN, esp_header};

use super::Role;
use super::peers::{Peer, Peers};
use crate::role::tcp::{Packets, ToTcp};

/// How a packet leaves.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Way {
    /// ESP in UDP.
    Udp(Family),
    /// ESP in TCP.
    Tcp,
    /// ESP above IP.
    Esp,
    /// With its own IP header.
    Whole,
    /// Not, or not from this buffer.
    No,
}

impl Way {
    fn of(packet: &PacketBuf, verdict: Verdict) -> Self {
        let family = Family::of(packet.meta.remote.ip());
        match verdict {
            Verdict::Bypass => Self::Whole,
            Verdict::Send if packet.meta.whole => Self::Whole,
            Verdict::Send if packet.meta.tcp => Self::Tcp,
            Verdict::Send if packet.meta.udp => Self::Udp(family),
            Verdict::Send => Self::Esp,
            Verdict::Held | Verdict::Drop(_) => Self::No,
        }
    }
}

/// Sends each packet the way its verdict and its `meta` say, in order; those that go the same way one
/// behind the other go together. What a full socket does not take is dropped, as any full queue on
/// the way would.
pub(super) fn transmit(
    role: &Role,
    peers: &mut Peers,
    io: &mut BatchIo,
    packets: &[PacketBuf],
    verdicts: &[Verdict],
) -> SendReport {
    let mut report = SendReport::default();
    let mut rest = packets;
    let mut ways = packets.iter().zip(verdicts).map(|(packet, verdict)| Way::of(packet, *verdict));
    let mut next = ways.next();
    while let Some(way) = next {
        let mut count = 1;
        next = loop {
            match ways.next() {
                Some(other) if other == way => count += 1,
                other => break other,
            }
        };
        let Some((together, behind)) = rest.split_at_checked(count) else { break };
        rest = behind;
        report.add(send(role, peers, io, way, together));
    }
    report
}

fn send(
    role: &Role,
    peers: &mut Peers,
    io: &mut BatchIo,
    way: Way,
    packets: &[PacketBuf],
) -> SendReport {
    match way {
        Way::Udp(Family::V4) => send_in_udp(role.udp.v4(), peers, io, packets),
        Way::Udp(Family::V6) => match role.udp.v6() {
            Some(socket) => send_in_udp(socket, peers, io, packets),
            None => refused(packets),
        },
        Way::Tcp => send_in_tcp(role, packets),
        Way::Esp => role.raw.send_batch(io, packets),
        Way::Whole => role.bypass.send_batch(io, packets),
        Way::No => SendReport::default(),
    }
}

/// Sends each packet by its peer's own socket, or by that of all. What goes by the latter stays
/// together until one of the former comes between.
fn send_in_udp(
    all: &UdpSocket,
    peers: &mut Peers,
    io: &mut BatchIo,
    packets: &[PacketBuf],
) -> SendReport {
    let mut report = SendReport::default();
    let mut rest = packets;
    let mut by_all = 0;
    while let Some(first) = rest.get(by_all).filter(|_| peers.is_possible()) {
        let peer = Peer::of(&first.meta);
        let others = rest.iter().skip(by_all);
        let count = others.take_while(|packet| Peer::of(&packet.meta) == peer).count();
        let Some(own) = peers.socket_for(peer, count) else {
            by_all += count;
            continue;
        };
        let Some((before, run)) = rest.split_at_checked(by_all) else { break };
        let Some((run, behind)) = run.split_at_checked(count) else { break };
        report.add(all.send_batch(io, before));
        report.add(own.send_batch(io, run));
        (rest, by_all) = (behind, 0);
    }
    report.add(all.send_batch(io, rest));
    report
}

/// Hands packets to who has the TCP connections, those of one connection together. It does not wait:
/// what that thread has no room for is lost.
fn send_in_tcp(role: &Role, packets: &[PacketBuf]) -> SendReport {
    let mut report = SendReport::default();
    let ends = |packet: &PacketBuf| (packet.meta.local, packet.meta.remote);
    for run in packets.chunk_by(|one, other| ends(one) == ends(other)) {
        for some in run.chunks(TCP_PACKETS_MAX) {
            report.add(hand_over(role, some));
        }
    }
    report
}

fn hand_over(role: &Role, packets: &[PacketBuf]) -> SendReport {
    let mut report = SendReport::default();
    let Some(first) = packets.first() else { return report };
    let mut frames =
        Vec::with_capacity(packets.iter().map(|packet| packet.len() + LENGTH_LEN).sum());
    let mut sent = 0;
    for packet in packets {
        let Some(header) = esp_header(packet.len()) else {
            report.too_big += 1;
            continue;
        };
        frames.extend_from_slice(&header);
        frames.extend_from_slice(packet.data());
        sent += 1;
    }
    let _place = Arc::clone(&role.tcp_places);
    let has_room = Arc::strong_count(&_place) <= TCP_BUNDLES_MAX;
    let (ends, count) = ((first.meta.local, first.meta.remote), u64::try_from(sent).unwrap_or(0));
    let packets = ToTcp::Packets(Packets { ends, frames, count, _place });
    if has_room && role.tcp.tell(packets) {
        report.sent += sent;
        report.calls += 1;
    } else {
        report.unsent += sent;
    }
    report
}

/// Packets that go to the tcp role together.
const TCP_PACKETS_MAX: usize = 64;
/// Such bundles on their way there from one thread.
const TCP_BUNDLES_MAX: usize = 32;

/// The host does not have the family.
fn refused(packets: &[PacketBuf]) -> SendReport {
    SendReport { failed: packets.len(), ..SendReport::default() }
}
