//! IP packets: any octets give a packet whose parts lie within it, or an error.

#![no_main]

use adit_wire::{
    Reader,
    ah::AhHeader,
    esp::EspHeader,
    iana::IpProtocol,
    ip::{Ecn, FrontHeaders, IpPacket, covered_headers, set_ecn, set_traffic_class},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| {
    check(octets, 0);
    let _ = EspHeader::read(&mut Reader(octets));
    let _ = AhHeader::read(&mut Reader(octets));
    check_covered(octets);
    check_traffic_class(&mut octets.to_vec());
    check_front(octets);
});

fn check(octets: &[u8], depth: u8) {
    let Ok(packet) = IpPacket::read(octets) else {
        return;
    };
    assert!(packet.total_len() <= octets.len());
    assert_eq!(packet.header_len() + packet.payload().len(), packet.total_len());
    assert_eq!(packet.src().is_ipv4(), packet.dst().is_ipv4());

    let flow = packet.flow_key();
    assert!(flow.opaque || !packet.is_later_fragment());
    assert!(!flow.opaque || (packet.ports().is_none() && packet.icmp().is_none()));
    assert_eq!(flow.reversed().reversed(), flow);
    assert_eq!(flow.source().address, packet.src());
    assert_eq!(flow.destination().address, packet.dst());

    // The packet alone, without what follows it, is the same packet.
    let alone = IpPacket::read(packet.octets()).expect("the same octets");
    assert_eq!(alone.flow_key(), flow);
    assert_eq!(alone.fragment(), packet.fragment());

    // An ICMP error carries the beginning of another packet.
    if packet.icmp().is_some_and(|icmp| icmp.is_error(packet.protocol())) && depth < 4 {
        check(packet.payload().get(8..).unwrap_or_default(), depth + 1);
    }
}

/// A packet that is cut for transport mode, with something else behind the cut, is still a packet.
fn check_front(octets: &[u8]) {
    let Ok(packet) = IpPacket::read(octets) else {
        return;
    };
    let front = FrontHeaders::of(&packet);
    assert!(front.next_at < front.len && front.len <= packet.total_len());
    assert_eq!(packet.octets().get(front.next_at), Some(&front.next.0));
    let mut cut = packet.octets().get(..front.len).expect("within the packet").to_vec();
    cut.extend_from_slice(&[0x5a; 24]);
    assert!(front.announce(&mut cut, IpProtocol::ESP));
    let again = IpPacket::read(&cut).expect("its lengths are right");
    assert_eq!((again.src(), again.dst()), (packet.src(), packet.dst()));
    assert_eq!((again.protocol(), again.total_len()), (IpProtocol::ESP, cut.len()));
    assert!(again.has_good_checksum());
    assert_eq!(FrontHeaders::of(&again).len, front.len);
}

/// What AH covers of any headers has their length, and names what follows them.
fn check_covered(octets: &[u8]) {
    let (len, octets) = octets.split_first().map_or((0, octets), |(len, rest)| (*len, rest));
    let front = octets.get(..usize::from(len)).unwrap_or(octets);
    let mut covered = 0;
    let sink = &mut |piece: &[u8]| covered += piece.len();
    if let Ok(next_at) = covered_headers(front, IpProtocol::AH, sink) {
        assert_eq!(covered, front.len());
        assert_eq!(front[next_at], IpProtocol::AH.0);
    }
}

fn check_traffic_class(octets: &mut [u8]) {
    let Ok(before) = IpPacket::read(octets)
        .map(|packet| (packet.flow_key(), packet.has_good_checksum(), packet.traffic_class()))
    else {
        assert!(!set_ecn(octets, Ecn::Ce));
        return;
    };
    for ecn in [Ecn::Ce, Ecn::NotEct, Ecn::Ect1, Ecn::Ect0] {
        assert!(set_ecn(octets, ecn));
        let packet = IpPacket::read(octets).expect("still a packet");
        assert_eq!(packet.ecn(), ecn);
        assert_eq!(packet.traffic_class() >> 2, before.2 >> 2);
        assert!(packet.has_good_checksum() || !before.1);
        assert_eq!(packet.flow_key(), before.0);
    }
    assert!(set_traffic_class(octets, before.2));
}
