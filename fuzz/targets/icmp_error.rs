//! ICMP errors: any packet is one, whose quote lies within it, or none; and an error about any packet
//! is short, right and read again.

#![no_main]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use adit_wire::ip::{IcmpError, IcmpReport, IpPacket, may_be_answered};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| {
    let Ok(packet) = IpPacket::read(octets) else {
        return;
    };
    if let Ok(error) = IcmpError::read(&packet) {
        check(&packet, &error);
    }
    answer(&packet);
});

fn check(packet: &IpPacket<'_>, error: &IcmpError<'_>) {
    assert!(error.quoted.len() + 8 <= packet.payload().len());
    assert!(packet.payload()[8..].starts_with(error.quoted));
    assert!(!may_be_answered(packet), "it is an error");
    let _ = (error.too_big(), error.pointer(), error.security_failure());
    let about = error.about();
    assert_eq!(about.is_ok(), error.flow().is_some());
    if let Some(spi) = error.spi() {
        assert_ne!(spi.spi, 0);
    }
    if let Ok(about) = about {
        assert!(error.quoted.starts_with(about.octets()));
        answer(&about);
    }
}

/// Answers a packet with an error.
fn answer(about: &IpPacket<'_>) {
    let is_ipv4 = about.is_ipv4();
    let source: IpAddr = match is_ipv4 {
        true => Ipv4Addr::new(192, 0, 2, 9).into(),
        false => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 9).into(),
    };
    let mut out = [0; 1_500];
    let Some(len) = IcmpReport::too_big(is_ipv4, 1_300).write(about, source, &mut out) else {
        // It quotes no more than fits, and there is room for that.
        assert!(!may_be_answered(about));
        return;
    };
    assert!(len <= if is_ipv4 { IcmpReport::V4_MAX } else { IcmpReport::V6_MAX });
    let answer = IpPacket::read(&out[..len]).expect("a packet");
    assert!(answer.has_good_checksum());
    assert_eq!((answer.src(), answer.dst()), (source, about.src()));
    assert_eq!(answer.total_len(), len);
    let error = IcmpError::read(&answer).expect("an error");
    assert_eq!(error.too_big(), Some(1_300));
    assert!(about.octets().starts_with(error.quoted));
}
