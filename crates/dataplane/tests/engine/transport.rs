//! Transport mode: the packet of a host keeps its header, and what follows it is protected.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use adit_crypto::Cipher;
use adit_dataplane::{
    DropReason, Inbound, OpenVerdict, Outbound, OutboundCommand, Verdict, packet_buffer,
};
use adit_db::{Action, Hosts, Mode, Spd, SpdEntry};
use adit_wire::PacketBuf;
use adit_wire::iana::IpProtocol;
use adit_wire::ip::{IpPacket, Ipv4Header, Ipv6Header, checksum};
use proptest::prelude::*;

use crate::fixtures::{Options, POLICY, Tunnel, buffer, start, ts};

const V4: (&str, &str) = ("192.0.2.1:0", "198.51.100.1:0");
const V6: (&str, &str) = ("[2001:db8::1]:0", "[2001:db8:1::1]:0");

pub(crate) fn transport(ipv6: bool, udp: bool) -> Options {
    let (left, right) = if ipv6 { V6 } else { V4 };
    let end = |text: &str| text.parse::<SocketAddr>().unwrap();
    Options {
        mode: Mode::Transport,
        udp,
        ends: (end(left), end(right)),
        left_ts: ts(&["0.0.0.0/0", "::/0"]),
        right_ts: ts(&["0.0.0.0/0", "::/0"]),
        ..Options::default()
    }
}

/// Both engines; everything is to be protected.
pub(crate) fn engines(options: &Options) -> Tunnel {
    let now = start();
    let all = || ts(&["0.0.0.0/0", "::/0"]);
    let entry = SpdEntry { local: all(), remote: all(), action: Action::Protect(POLICY) };
    let mut left = Outbound::new();
    left.handle_command(
        OutboundCommand::SetPolicies(Arc::new(Spd::new(vec![entry]).unwrap())),
        now,
    );
    left.handle_command(options.left_half(now, true), now);
    let mut right = Inbound::new();
    right.handle_command(options.right_half(now));
    Tunnel { left, right, now }
}

/// An IP packet between the two ends with these octets behind its header.
pub(crate) fn host_packet(
    options: &Options,
    protocol: IpProtocol,
    extensions: &[u8],
    body: &[u8],
) -> Vec<u8> {
    let after = [extensions, body].concat();
    let len = u16::try_from(after.len()).unwrap();
    let header = match (options.ends.0.ip(), options.ends.1.ip()) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => Ipv4Header {
            traffic_class: 0xb9,
            total_len: 20 + len,
            identification: 0x1234,
            dont_fragment: false,
            ttl: 17,
            protocol,
            src,
            dst,
        }
        .to_octets()
        .to_vec(),
        (IpAddr::V6(src), IpAddr::V6(dst)) => Ipv6Header {
            traffic_class: 0xb9,
            flow_label: 0xabcde,
            payload_len: len,
            next: protocol,
            hop_limit: 17,
            src,
            dst,
        }
        .to_octets()
        .to_vec(),
        _ => panic!("two families"),
    };
    [header, after].concat()
}

/// What the network does on the way: it takes the IP header off, where raw IPv4 sockets leave it
/// before the packet.
pub(crate) fn received(options: &Options, sealed: &PacketBuf) -> PacketBuf {
    let view = sealed.data();
    let mut packet = packet_buffer();
    assert!(packet.fill(view));
    packet.meta = sealed.meta;
    packet.meta.whole = false;
    if sealed.meta.whole {
        let read = IpPacket::read(view).unwrap();
        assert!(read.has_good_checksum());
        assert_eq!(read.protocol(), IpProtocol::ESP);
        assert_eq!(read.total_len(), view.len());
        let header_len = read.header_len();
        packet.meta.tos = read.traffic_class();
        packet.meta.header_len = if read.is_ipv4() { u8::try_from(header_len).unwrap() } else { 0 };
        assert!(packet.pull_front(header_len));
    }
    (packet.meta.local, packet.meta.remote) = (options.ends.1, options.ends.0);
    packet
}

pub(crate) fn seal(tunnel: &mut Tunnel, inner: &[u8]) -> Result<PacketBuf, Verdict> {
    let mut packet = buffer(inner);
    match tunnel.seal(&mut packet) {
        Verdict::Send => Ok(packet),
        other @ (Verdict::Bypass | Verdict::Held | Verdict::Drop(_)) => {
            assert_eq!(packet.data(), inner, "a refused packet is unchanged");
            Err(other)
        }
    }
}

/// Everything above IP, IPv4 or IPv6.
fn payload(octets: &[u8]) -> (IpProtocol, Vec<u8>) {
    let packet = IpPacket::read(octets).unwrap();
    (packet.protocol(), packet.payload().to_vec())
}

proptest! {
    /// CHECKLIST S01: every cipher, both families, ESN or not, above IP and in UDP: what a host
    /// sends is what the other gets, and above IPv4 to the last octet.
    #[test]
    fn what_a_host_sends_arrives(
        cipher in prop::sample::select(Cipher::ALL.to_vec()),
        (ipv6, udp, esn) in any::<(bool, bool, bool)>(),
        body in prop::collection::vec(any::<u8>(), 8..1300),
    ) {
        let options = Options { cipher, esn, ..transport(ipv6, udp) };
        let mut tunnel = engines(&options);
        let inner = host_packet(&options, IpProtocol::TCP, &[], &body);
        let sealed = seal(&mut tunnel, &inner).unwrap();
        prop_assert_eq!((sealed.meta.whole, sealed.meta.udp), (!udp, udp));
        prop_assert_eq!(sealed.meta.tos, 0xb9);
        if !udp {
            let header = IpPacket::read(sealed.data()).unwrap();
            prop_assert_eq!(header.ttl(), 17);
            prop_assert_eq!(header.traffic_class(), 0xb9);
        }

        let mut packet = received(&options, &sealed);
        prop_assert_eq!(tunnel.open(&mut packet), OpenVerdict::Deliver);
        let opened = IpPacket::read(packet.data()).unwrap();
        prop_assert!(opened.has_good_checksum());
        prop_assert_eq!(opened.total_len(), packet.len());
        prop_assert_eq!((opened.src(), opened.dst()), (options.ends.0.ip(), options.ends.1.ip()));
        prop_assert_eq!(payload(packet.data()), payload(&inner));
        prop_assert_eq!(opened.traffic_class(), 0xb9);
        if !udp && !ipv6 {
            prop_assert_eq!(packet.data(), &inner[..]);
        }
    }

    /// Whatever a peer seals as the payload of a packet, what is delivered is a whole packet from
    /// it to us.
    #[test]
    fn whatever_comes_out_is_a_packet_of_the_peer(
        protocol in any::<u8>(),
        (ipv6, udp) in any::<(bool, bool)>(),
        body in prop::collection::vec(any::<u8>(), 0..80),
    ) {
        let options = transport(ipv6, udp);
        let mut tunnel = engines(&options);
        let inner = host_packet(&options, IpProtocol(protocol), &[], &body);
        if let Ok(sealed) = seal(&mut tunnel, &inner) {
            let mut packet = received(&options, &sealed);
            if tunnel.open(&mut packet) == OpenVerdict::Deliver {
                let read = IpPacket::read(packet.data()).unwrap();
                prop_assert_eq!((read.src(), read.dst()), (options.ends.0.ip(), options.ends.1.ip()));
                prop_assert_eq!(read.total_len(), packet.len());
                prop_assert!(read.fragment().is_none());
            }
        }
    }
}

/// No packet costs an allocation, above IP or in UDP.
#[test]
fn hosts_speak_without_allocation() {
    for (ipv6, udp) in [(false, false), (true, false), (false, true), (true, true)] {
        let options = transport(ipv6, udp);
        let mut tunnel = engines(&options);
        let now = tunnel.now;
        let inner = host_packet(&options, IpProtocol::UDP, &[], &[7; 1_300]);
        let mut batch: Vec<PacketBuf> = (0..64).map(|_| buffer(&inner)).collect();
        let mut verdicts = Vec::with_capacity(batch.len());
        let sealing = allocation_counter::measure(|| {
            tunnel.left.seal_batch(&mut batch, &mut verdicts, now);
        });
        let mut batch: Vec<PacketBuf> =
            batch.iter().map(|packet| received(&options, packet)).collect();
        let mut opened = Vec::with_capacity(batch.len());
        let opening = allocation_counter::measure(|| {
            tunnel.right.open_batch(&mut batch, &mut opened, now);
        });
        assert_eq!((sealing.count_total, opening.count_total), (0, 0));
        assert!(verdicts.iter().all(|verdict| *verdict == Verdict::Send));
        assert!(opened.iter().all(|verdict| *verdict == OpenVerdict::Deliver));
    }
}

/// RFC 4303 §3.1.1: options of IPv4 stay in front, and come out as they went in.
#[test]
fn ipv4_options_stay_in_front() {
    let options = transport(false, false);
    let mut inner = host_packet(&options, IpProtocol::UDP, &[1, 1, 1, 0], &[7; 20]);
    inner[0] = 0x46;
    inner[10..12].fill(0);
    let sum = checksum(&inner[..24]).to_be_bytes();
    inner[10..12].copy_from_slice(&sum);
    let mut tunnel = engines(&options);
    let sealed = seal(&mut tunnel, &inner).unwrap();
    assert_eq!(sealed.data()[20..24], [1, 1, 1, 0]);
    assert_eq!(sealed.data()[24..28], crate::fixtures::SPI.to_octets());

    let mut packet = received(&options, &sealed);
    assert_eq!(tunnel.open(&mut packet), OpenVerdict::Deliver);
    assert_eq!(packet.data(), &inner[..]);

    // In UDP there is no place for them.
    let mut tunnel = engines(&transport(false, true));
    let refused = seal(&mut tunnel, &inner).unwrap_err();
    assert_eq!(refused, Verdict::Drop(DropReason::Options));
}

/// RFC 4303 §3.1.1: hop-by-hop options stay in front, destination options are protected.
#[test]
fn ipv6_extension_headers_find_their_place() {
    let options = transport(true, false);
    let hop_by_hop = [IpProtocol::DESTINATION.0, 0, 1, 4, 0, 0, 0, 0];
    let destination = [IpProtocol::UDP.0, 0, 1, 4, 0, 0, 0, 0];
    let extensions = [hop_by_hop, destination].concat();
    let inner = host_packet(&options, IpProtocol::HOP_BY_HOP, &extensions, &[7; 20]);
    let mut tunnel = engines(&options);
    let sealed = seal(&mut tunnel, &inner).unwrap();
    assert_eq!(sealed.data()[6], IpProtocol::HOP_BY_HOP.0);
    assert_eq!(sealed.data()[40], IpProtocol::ESP.0);
    assert_eq!(sealed.data()[48..52], crate::fixtures::SPI.to_octets());

    let mut packet = received(&options, &sealed);
    assert_eq!(tunnel.open(&mut packet), OpenVerdict::Deliver);
    // The receiving kernel has done with the hop-by-hop options.
    assert_eq!(packet.data()[6], IpProtocol::DESTINATION.0);
    assert_eq!(packet.data()[40..48], destination);
    assert_eq!(packet.data()[48..], [7; 20]);
}

/// CHECKLIST S11, S18: another host's packet has no place in the SA, whichever way it goes.
#[test]
fn only_the_two_ends_speak() {
    let options = transport(false, false);
    let stranger = Options {
        ends: (V4.0.parse().unwrap(), "198.51.100.9:0".parse().unwrap()),
        ..options.clone()
    };
    let mut tunnel = engines(&options);
    let inner = host_packet(&stranger, IpProtocol::UDP, &[], &[7; 20]);
    assert_eq!(seal(&mut tunnel, &inner).unwrap_err(), Verdict::Held);

    let inner = host_packet(&options, IpProtocol::UDP, &[], &[7; 20]);
    let mut packet = received(&options, &seal(&mut tunnel, &inner).unwrap());
    // Somebody on the way changes the source, which ESP does not protect.
    assert!(packet.push_front(20).is_some());
    packet.data_mut()[12] ^= 1;
    assert!(packet.pull_front(20));
    assert_eq!(tunnel.open(&mut packet), OpenVerdict::Drop(DropReason::SelectorMismatch));
}

/// RFC 3948 §3.1.2: behind a NAT the checksum was made for addresses that are not these.
#[test]
fn a_checksum_is_mended_behind_a_nat() {
    let behind: IpAddr = "10.9.8.7".parse().unwrap();
    let options = transport(false, true);
    let seen = Hosts { local: options.ends.1.ip(), remote: behind };
    let options = Options { peer_view: Some(seen), ..options };
    // The host behind the NAT sends from its own address.
    let sender =
        Options { ends: ("10.9.8.7:0".parse().unwrap(), options.ends.1), ..options.clone() };
    let now = start();
    let mut tunnel = engines(&sender);
    tunnel.right = Inbound::new();
    tunnel.right.handle_command(options.right_half(now));

    let mut inner =
        host_packet(&sender, IpProtocol::UDP, &[], &[0, 9, 0, 9, 0, 12, 0, 0, 1, 2, 3, 4]);
    let sum = upper_checksum(&inner).to_be_bytes();
    inner[26..28].copy_from_slice(&sum);
    assert_eq!(upper_checksum(&inner), 0);
    let sealed = seal(&mut tunnel, &inner).unwrap();
    let mut packet = received(&options, &sealed);
    packet.meta.remote = "203.0.113.77:61000".parse().unwrap();
    assert_eq!(tunnel.open(&mut packet), OpenVerdict::Deliver);
    assert_eq!(IpPacket::read(packet.data()).unwrap().src(), options.ends.0.ip());
    assert_eq!(upper_checksum(packet.data()), 0);
}

/// The checksum over pseudo header and payload of an IPv4 packet; zero if the field is right.
fn upper_checksum(packet: &[u8]) -> u16 {
    let len = u16::try_from(packet.len() - 20).unwrap().to_be_bytes();
    let pseudo = [&packet[12..20], &[0, packet[9]], &len, &packet[20..]].concat();
    checksum(&pseudo)
}
