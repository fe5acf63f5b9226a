//! Authentic packets that no well-meaning peer sends: the sender has the keys and lies.

use adit_crypto::SealKey;
use adit_dataplane::{DropReason, OpenVerdict};
use adit_wire::PacketBuf;
use adit_wire::iana::IpProtocol;

use crate::fixtures::{Options, SPI, Tunnel, buffer, keys, packet_between, ts, udp_packet};

/// A packet whose encrypted octets are these, trailer and all, under AES-GCM without ESN.
pub(crate) fn forge(options: &Options, sequence: u32, text: &[u8]) -> PacketBuf {
    let keys = keys(options.cipher);
    let key = SealKey::new(options.cipher, &keys.encryption, &keys.integrity).unwrap();
    let mut header = SPI.to_octets().to_vec();
    header.extend(sequence.to_be_bytes());
    let mut iv = vec![0; options.cipher.iv_len()];
    let mut icv = vec![0; options.cipher.icv_len()];
    let mut text = text.to_vec();
    key.seal(sequence.into(), &header, &mut iv, &mut text, &mut icv, &[]).unwrap();
    buffer(&[header, iv, text, icv].concat())
}

fn opened(text: &[u8]) -> (OpenVerdict, Vec<u8>) {
    let options = Options { esn: false, ..Options::default() };
    let mut tunnel = options.tunnel();
    let mut packet = forge(&options, 1, text);
    let verdict = tunnel.open(&mut packet);
    (verdict, packet.data().to_vec())
}

fn refused(text: &[u8]) -> DropReason {
    match opened(text).0 {
        OpenVerdict::Drop(reason) => reason,
        other @ (OpenVerdict::Deliver | OpenVerdict::Held) => panic!("{other:?}"),
    }
}

pub(crate) fn with_trailer(inner: &[u8], padding: &[u8], next_header: IpProtocol) -> Vec<u8> {
    let pad_len = u8::try_from(padding.len()).unwrap();
    [inner, padding, &[pad_len, next_header.0]].concat()
}

/// CHECKLIST S13.
#[test]
fn dummy_packets_vanish() {
    let text = with_trailer(&[0xaa; 40], &[1, 2], IpProtocol::NO_NEXT);
    assert_eq!(refused(&text), DropReason::Dummy);
}

/// CHECKLIST S02: longer than needed is right, other than 1, 2, 3 … is not.
#[test]
fn padding_must_count_up() {
    let inner = udp_packet(false, 0, 60);
    let long: Vec<u8> = (1..=254).collect();
    let text = with_trailer(&inner, &long, IpProtocol::IPV4);
    assert_eq!(opened(&text), (OpenVerdict::Deliver, inner.clone()));
    let text = with_trailer(&inner, &[0, 0], IpProtocol::IPV4);
    assert_eq!(refused(&text), DropReason::BadPadding);
    assert_eq!(refused(&[9, 4]), DropReason::BadPadding);
}

/// RFC 4303 §2.7: padding for traffic flow confidentiality follows the inner packet.
#[test]
fn the_inner_length_cuts_off_flow_padding() {
    for ipv6 in [false, true] {
        let inner = udp_packet(ipv6, 0, 60);
        let next_header = if ipv6 { IpProtocol::IPV6 } else { IpProtocol::IPV4 };
        let text = with_trailer(&[&inner[..], &[0x55; 500]].concat(), &[1, 2], next_header);
        assert_eq!(opened(&text), (OpenVerdict::Deliver, inner));
    }
}

#[test]
fn the_inner_packet_must_be_what_the_trailer_says() {
    let inner = udp_packet(false, 0, 60);
    let verdict = |inner: &[u8], next_header| refused(&with_trailer(inner, &[1, 2], next_header));
    assert_eq!(verdict(&inner, IpProtocol::IPV6), DropReason::BadInner);
    assert_eq!(verdict(&inner, IpProtocol::UDP), DropReason::BadInner);
    assert_eq!(verdict(&inner[..59], IpProtocol::IPV4), DropReason::BadInner);
    assert_eq!(verdict(&inner[..19], IpProtocol::IPV4), DropReason::BadInner);
    assert_eq!(verdict(&[], IpProtocol::IPV4), DropReason::BadInner);
}

//= https://www.rfc-editor.org/rfc/rfc4301#section-5.2
//= type=test
//# If an IPsec system receives an inbound packet on an SA and the packet's header fields
//# are not consistent with the selectors for the SA, it MUST discard the packet.
/// CHECKLIST S11: addresses, protocol and ports of the inner packet, after decryption.
#[test]
fn packets_outside_the_selectors_are_dropped() {
    let options = Options {
        left_ts: ts(&["10.1.0.0/24", "10.1.9.0/24[udp/40000]"]),
        right_ts: ts(&["10.2.0.0/24[udp/53]"]),
        ..Options::default()
    };
    let mut tunnel = options.tunnel();
    let mut verdict = |src: &str, dst: &str| -> OpenVerdict {
        let mut packet = tunnel.sealed(&packet_between(src, dst, 0, 60));
        tunnel.open(&mut packet)
    };
    let mismatch = OpenVerdict::Drop(DropReason::SelectorMismatch);
    assert_eq!(verdict("10.1.0.5", "10.2.0.7"), OpenVerdict::Deliver);
    assert_eq!(verdict("10.1.9.5", "10.2.0.7"), OpenVerdict::Deliver);
    assert_eq!(verdict("10.1.1.5", "10.2.0.7"), mismatch);
    assert_eq!(verdict("10.2.0.7", "10.2.0.7"), mismatch);
    let report = tunnel.right.report();
    assert_eq!(report.sas[0].drops.get(DropReason::SelectorMismatch), 2);
    // They were authentic: the window has moved.
    assert_eq!(report.sas[0].sequence, 4);
}

/// Ports that a later fragment does not show are not in a selector with ports: it waits for the
/// fragment that shows them (CHECKLIST PM-32).
#[test]
fn later_fragments_wait_where_selectors_have_ports() {
    let mut fragment = udp_packet(false, 0, 60);
    // Offset 8 octets, DF off.
    fragment[6..8].copy_from_slice(&[0, 1]);
    let outcome = |right_ts: &[&str]| {
        let options = Options { esn: false, right_ts: ts(right_ts), ..Options::default() };
        let mut tunnel: Tunnel = options.tunnel();
        let text = with_trailer(&fragment, &[1, 2], IpProtocol::IPV4);
        tunnel.open(&mut forge(&options, 1, &text))
    };
    assert_eq!(outcome(&["10.2.0.0/16"]), OpenVerdict::Deliver);
    assert_eq!(outcome(&["10.2.0.0/16[udp/53]"]), OpenVerdict::Held);
}
