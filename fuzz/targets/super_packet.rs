//! What comes from an interface with offloads: whatever the header says of whatever octets, the packet
//! is refused, or gives packets with all of its payload and right checksums.

#![no_main]

use adit_dataplane::offload::Segments;
use adit_wire::ip::checksum;
use adit_wire::vnet::{Gso, VnetHeader};
use adit_wire::{PacketBuf, Reader};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| {
    let mut reader = Reader(octets);
    let Ok(header) = VnetHeader::read(&mut reader) else { return };
    let whole = reader.0;
    let Ok(mut segments) = Segments::read(&header, whole) else { return };
    let head = if header.gso == Gso::None { 0 } else { head_len(&header, whole) };
    let mut buffer = PacketBuf::with_capacity(HEADROOM, usize::from(u16::MAX));
    let mut payload = Vec::new();
    while let Some(len) = segments.next_len() {
        buffer.reset(HEADROOM);
        assert!(segments.write_next(&mut buffer));
        let packet = buffer.data();
        assert_eq!(packet.len(), len);
        payload.extend_from_slice(&packet[head..]);
        if header.gso != Gso::None {
            check(&header, whole, packet);
            // All but the last have as much payload as the header says.
            let is_full = len == head + usize::from(header.segment_len);
            assert!(is_full || segments.next_len().is_none());
        }
    }
    assert!(!segments.write_next(&mut buffer));
    if header.gso == Gso::None && header.needs_checksum {
        // But for the checksum it is the same.
        let at = usize::from(header.checksum_start) + usize::from(header.checksum_offset);
        payload[at..at + 2].copy_from_slice(&whole[at..at + 2]);
    }
    assert_eq!(payload, &whole[head..]);
});

/// IPv4 has its checksum, and so has what is above, if the sum of the pseudo header that came in its
/// field was right.
fn check(header: &VnetHeader, whole: &[u8], packet: &[u8]) {
    let start = usize::from(header.checksum_start);
    if packet[0] >> 4 == 4 {
        assert_eq!(checksum(&packet[..start]), 0);
        assert_eq!(usize::from(u16::from_be_bytes([packet[2], packet[3]])), packet.len());
    }
    let at = start + usize::from(header.checksum_offset);
    let partial = i64::from(u16::from_be_bytes([whole[at], whole[at + 1]]));
    let [less, more] = [whole, packet].map(|it| i64::try_from(it.len() - start).expect("short"));
    let pseudo = partial - less + more;
    let sum = pseudo + i64::from(!checksum(&packet[start..]));
    assert_eq!(sum.rem_euclid(0xffff), 0);
}

/// Octets of headers.
fn head_len(header: &VnetHeader, packet: &[u8]) -> usize {
    let start = usize::from(header.checksum_start);
    let transport =
        if header.gso == Gso::UdpL4 { 8 } else { usize::from(packet[start + 12] >> 4) * 4 };
    start + transport
}

const HEADROOM: usize = 16;
