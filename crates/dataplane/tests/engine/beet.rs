//! BEET mode: two hosts behind the tunnel's ends, whose addresses do not travel.

use std::net::IpAddr;

use adit_crypto::{Cipher, Encryption, Integrity, Secret};
use adit_dataplane::{DropReason, InboundCommand, OpenVerdict, OutboundCommand, Verdict, split};
use adit_db::{ChildKeys, ChildSa, ChildSaId, Mode};
use adit_wire::PacketBuf;
use adit_wire::esp::Spi;
use adit_wire::iana::IpProtocol;
use adit_wire::ikev2::TrafficSelector;
use adit_wire::ip::{IpPacket, checksum};
use proptest::prelude::*;

use crate::fixtures::{Options, POLICY, Tunnel, buffer, packet_between, ts};
use crate::transport::{engines, host_packet, received, seal, transport};

const V4: (&str, &str) = ("10.1.0.5", "10.2.0.7");
const V6: (&str, &str) = ("fd01::5", "fd02::7");

/// Hosts inside, and ends outside of either family.
fn beet(ipv6_inside: bool, ipv6_outside: bool, udp: bool) -> Options {
    let (left, right) = if ipv6_inside { V6 } else { V4 };
    Options {
        mode: Mode::Beet,
        left_ts: ts(&[left]),
        right_ts: ts(&[right]),
        ..transport(ipv6_outside, udp)
    }
}

/// An IPv4 packet between the hosts with so many octets of options.
fn with_options(options: usize, body: &[u8]) -> Vec<u8> {
    let ends = |host: &str| format!("{host}:0").parse().unwrap();
    let inside = Options { ends: (ends(V4.0), ends(V4.1)), ..transport(false, false) };
    let mut packet = host_packet(&inside, IpProtocol::UDP, &vec![1; options], body);
    packet[0] = 0x40 | u8::try_from(5 + options / 4).unwrap();
    packet[10..12].fill(0);
    let sum = checksum(&packet[..20 + options]).to_be_bytes();
    packet[10..12].copy_from_slice(&sum);
    packet
}

fn arrives(tunnel: &mut Tunnel, options: &Options, inner: &[u8]) -> PacketBuf {
    let sealed = seal(tunnel, inner).unwrap();
    assert!(!sealed.meta.whole);
    let mut packet = received(options, &sealed);
    assert_eq!(tunnel.open(&mut packet), OpenVerdict::Deliver);
    let read = IpPacket::read(packet.data()).unwrap();
    assert!(read.has_good_checksum());
    assert_eq!(read.total_len(), packet.len());
    packet
}

proptest! {
    /// CHECKLIST S01: every cipher, both families inside and outside, ESN or not, above IP and in
    /// UDP; 20 or 40 octets do not travel.
    #[test]
    fn what_a_bound_host_sends_arrives(
        cipher in prop::sample::select(Cipher::ALL.to_vec()),
        (inside, outside, udp, esn) in any::<(bool, bool, bool, bool)>(),
        len in 60_usize..1300,
    ) {
        let options = Options { cipher, esn, ..beet(inside, outside, udp) };
        let (src, dst) = if inside { V6 } else { V4 };
        let inner = packet_between(src, dst, 0xb8, len);
        let mut tunnel = engines(&options);
        let as_tunnel = Options { mode: Mode::Tunnel, ..options.clone() };
        let longer = seal(&mut engines(&as_tunnel), &inner).unwrap();
        let shorter = seal(&mut engines(&options), &inner).unwrap();
        let header_len = if inside { 40 } else { 20 };
        let saved = longer.len() - shorter.len();
        prop_assert!(saved.abs_diff(header_len) < 16, "{}", saved);

        let opened = arrives(&mut tunnel, &options, &inner);
        let (before, after) = (IpPacket::read(&inner).unwrap(), IpPacket::read(opened.data()).unwrap());
        prop_assert_eq!((after.src(), after.dst()), (before.src(), before.dst()));
        prop_assert_eq!(after.protocol(), before.protocol());
        prop_assert_eq!(after.payload(), before.payload());
        prop_assert_eq!(after.traffic_class(), 0xb8);
    }

    /// The draft's section 4.2: options of IPv4 travel behind a pseudo header.
    #[test]
    fn options_travel(words in 0_usize..=10, body in prop::collection::vec(any::<u8>(), 0..100)) {
        let options = beet(false, false, true);
        let mut tunnel = engines(&options);
        let inner = with_options(words * 4, &body);
        let opened = arrives(&mut tunnel, &options, &inner);
        prop_assert_eq!(opened.data()[20..].to_vec(), inner[20..].to_vec());
        prop_assert_eq!(opened.data()[0], inner[0]);
    }

    /// Whatever a peer seals, what comes out is a whole packet from its host to ours.
    #[test]
    fn whatever_comes_out_is_between_the_two_hosts(
        protocol in prop::sample::select(vec![94_u8, 94, 94, 6, 17, 4, 41, 44, 50, 59, 0]),
        inside in any::<bool>(),
        text in prop::collection::vec(any::<u8>(), 0..80),
    ) {
        let options = beet(inside, false, true);
        // A host in transport mode seals as its payload what it likes.
        let sender = transport(false, true);
        let inner = host_packet(&sender, IpProtocol(protocol), &[], &text);
        if let Ok(sealed) = seal(&mut engines(&sender), &inner) {
            let mut packet = received(&options, &sealed);
            if engines(&options).open(&mut packet) == OpenVerdict::Deliver {
                let read = IpPacket::read(packet.data()).unwrap();
                let (src, dst) = if inside { V6 } else { V4 };
                let hosts = (src.parse().unwrap(), dst.parse().unwrap());
                prop_assert_eq!((read.src(), read.dst()), hosts);
                prop_assert_eq!(read.total_len(), packet.len());
            }
        }
    }
}

/// CHECKLIST S14: what pretends to be a pseudo header.
#[test]
fn malformed_pseudo_headers_are_dropped() {
    for text in [
        &[][..],
        &[17, 0, 0],
        // More padding than there is, more options than IPv4 has, options that are no words, itself.
        &[17, 0, 8, 0, 1, 1, 1, 1],
        &[17, 6, 4, 0].repeat(14),
        &[17, 0, 2, 0, 1, 1, 1, 1],
        &[94, 0, 0, 0, 1, 1, 1, 1],
        // Longer than the packet.
        &[17, 3, 0, 0, 1, 1, 1, 1],
    ] {
        let sender = transport(false, true);
        let inner = host_packet(&sender, IpProtocol::BEET, &[], text);
        let options = beet(false, false, true);
        let sealed = seal(&mut engines(&sender), &inner).unwrap();
        let mut packet = received(&options, &sealed);
        let verdict = engines(&options).open(&mut packet);
        assert_eq!(verdict, OpenVerdict::Drop(DropReason::BadInner), "{text:?}");
    }
}

/// What the receiver would take for something of the SA's own does not travel.
#[test]
fn protocols_with_a_meaning_between_the_ends_are_refused() {
    let options = beet(false, false, true);
    let ends = |host: &str| format!("{host}:0").parse().unwrap();
    let inside = Options { ends: (ends(V4.0), ends(V4.1)), ..transport(false, false) };
    for protocol in [IpProtocol::NO_NEXT, IpProtocol::BEET, IpProtocol::IPCOMP] {
        let inner = host_packet(&inside, protocol, &[], &[7; 20]);
        let refused = seal(&mut engines(&options), &inner).unwrap_err();
        assert_eq!(refused, Verdict::Drop(DropReason::Options));
    }
}

/// CHECKLIST S11: others have no place in it.
#[test]
fn only_the_two_hosts_speak() {
    let mut tunnel = engines(&beet(false, false, true));
    for (src, dst) in [("10.1.0.6", V4.1), (V4.0, "10.2.0.8"), V6] {
        let refused = seal(&mut tunnel, &packet_between(src, dst, 0, 40));
        assert!(matches!(refused, Err(Verdict::Held | Verdict::Drop(_))), "{src}");
    }
}

/// No packet costs an allocation.
#[test]
fn bound_hosts_speak_without_allocation() {
    let options = beet(false, false, false);
    let mut tunnel = engines(&options);
    let now = tunnel.now;
    let inner = with_options(8, &[7; 1_000]);
    let mut batch: Vec<PacketBuf> = (0..32).map(|_| buffer(&inner)).collect();
    let mut verdicts = Vec::with_capacity(batch.len());
    let sealing = allocation_counter::measure(|| {
        tunnel.left.seal_batch(&mut batch, &mut verdicts, now);
    });
    let mut batch: Vec<PacketBuf> = batch.iter().map(|one| received(&options, one)).collect();
    let mut opened = Vec::with_capacity(batch.len());
    let opening = allocation_counter::measure(|| {
        tunnel.right.open_batch(&mut batch, &mut opened, now);
    });
    assert_eq!((sealing.count_total, opening.count_total), (0, 0));
    assert!(opened.iter().all(|verdict| *verdict == OpenVerdict::Deliver));
}

/// What a Linux kernel sealed, without encryption so that every octet shows: our octets are the same,
/// and what it sealed comes out as it went in.
#[test]
fn packets_of_linux_are_ours() {
    let text = include_str!("../vectors/linux-beet-packets.json");
    let all: Vec<serde_json::Value> = serde_json::from_str(text).unwrap();
    assert_eq!(all.len(), 24);
    let octets = |value: &serde_json::Value| -> Vec<u8> {
        let text = value.as_str().unwrap().as_bytes();
        let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16);
        text.chunks(2).map(|one| pair(one).unwrap()).collect()
    };
    for one in &all {
        let (clear, esp) = (octets(&one["clear"]), octets(&one["esp"]));
        let read = IpPacket::read(&clear).unwrap();
        let host = |address: IpAddr| vec![TrafficSelector::from_address(address)];
        let options = Options {
            cipher: Cipher::Paired(Encryption::Null, Integrity::HmacSha2_256_128),
            esn: false,
            left_ts: host(read.src()),
            right_ts: host(read.dst()),
            ..beet(!read.is_ipv4(), one["outer"] == "ipv6", false)
        };
        let keys = || ChildKeys {
            encryption: Secret::default(),
            integrity: Secret::new(octets(&one["integrity"])),
        };
        let spi = Spi(u32::try_from(one["spi"].as_u64().unwrap()).unwrap());
        let sa = |at_left| ChildSa {
            keys_in: keys(),
            keys_out: keys(),
            spi_in: spi,
            spi_out: spi,
            ..options.child_sa(at_left)
        };
        let mut tunnel = engines(&Options { child: ChildSaId(9), ..options.clone() });
        let (_, outbound) = split(&sa(true), POLICY, tunnel.now).unwrap();
        let install = OutboundCommand::Install { sa: Box::new(outbound), active: true };
        tunnel.left.handle_command(install, tunnel.now);
        let (inbound, _) = split(&sa(false), POLICY, tunnel.now).unwrap();
        tunnel.right.handle_command(InboundCommand::Install(Box::new(inbound)));

        let sealed = seal(&mut tunnel, &clear).unwrap();
        if read.header_len() > 20 && read.is_ipv4() {
            // Linux leaves what it finds in the reserved octet of the pseudo header, where zero should
            // be, and so its ICV is another one.
            let mut ours = sealed.data()[..esp.len() - 16].to_vec();
            ours[11] = esp[11];
            assert_eq!(ours, esp[..esp.len() - 16], "{}", one["spi"]);
        } else {
            assert_eq!(sealed.data(), esp, "{}", one["spi"]);
        }
        let mut theirs = buffer(&esp);
        theirs.meta = received(&options, &sealed).meta;
        assert_eq!(tunnel.open(&mut theirs), OpenVerdict::Deliver);
        let header_len = if read.is_ipv4() { 20 } else { 40 };
        assert_eq!(theirs.data()[header_len..], clear[header_len..]);
        let opened = IpPacket::read(theirs.data()).unwrap();
        assert_eq!((opened.src(), opened.dst()), (read.src(), read.dst()));
    }
}
