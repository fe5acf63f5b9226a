//! Super-packets as kernels make them, and as a peer could.

use adit_wire::PacketBuf;
use adit_wire::ip::IpPacket;
use proptest::prelude::*;

use super::super::checksum::{add, sum};
use super::*;

/// A super-packet, as the kernel hands it over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Made {
    pub(crate) is_ipv4: bool,
    pub(crate) port: u16,
    pub(crate) sequence: u32,
    pub(crate) flags: u8,
    pub(crate) option_words: u8,
    pub(crate) segment_len: u16,
    pub(crate) payload_len: usize,
}

impl Default for Made {
    fn default() -> Self {
        Self {
            is_ipv4: true,
            port: 443,
            sequence: 7,
            flags: 0x10,
            option_words: 3,
            segment_len: 1_318,
            payload_len: 20_000,
        }
    }
}

impl Made {
    pub(crate) fn octets(self) -> Vec<u8> {
        let tcp_len = 20 + 4 * usize::from(self.option_words);
        let covered_len = u16::try_from(tcp_len + self.payload_len).unwrap();
        let (mut packet, addresses) = if self.is_ipv4 {
            let [t0, t1] = (covered_len + 20).to_be_bytes();
            let mut ip =
                vec![0x45, 0, t0, t1, 0, 9, 0x40, 0, 64, 6, 0, 0, 10, 1, 0, 5, 10, 2, 0, 7];
            let checksum = (!sum(&ip)).to_be_bytes();
            ip[10..12].copy_from_slice(&checksum);
            (ip, 12..20)
        } else {
            let [t0, t1] = covered_len.to_be_bytes();
            let ends = [[0xfd, 1], [0xfd, 2]].map(|net| [&net[..], &[0; 13], &[1]].concat());
            ([&[0x60, 0, 0, 0, t0, t1, 6, 64], &ends[0][..], &ends[1]].concat(), 8..40)
        };
        let partial = add(add(sum(&packet[addresses]), 6), covered_len).to_be_bytes();
        packet.extend([0x9c, 0x40]);
        packet.extend(self.port.to_be_bytes());
        packet.extend(self.sequence.to_be_bytes());
        packet.extend([1, 2, 3, 4, (5 + self.option_words) << 4, self.flags, 1, 0]);
        packet.extend(partial);
        packet.resize(packet.len() + 2 + tcp_len - 20, 0);
        packet.extend((0..=250).cycle().take(self.payload_len));
        packet
    }

    pub(crate) fn read(self, octets: &[u8]) -> Option<SuperPacket<'_>> {
        SuperPacket::read(octets, self.segment_len)
    }
}

/// The packets that one stands for.
fn cut(packet: &SuperPacket<'_>) -> Vec<Vec<u8>> {
    let mut segments = packet.segments().unwrap();
    let mut out = Vec::new();
    let mut buffer = PacketBuf::with_capacity(0, 1_500);
    while segments.write_next(&mut buffer) {
        out.push(buffer.data().to_vec());
    }
    out
}

#[test]
fn what_an_interface_gives_is_what_it_takes() {
    for is_ipv4 in [true, false] {
        let made = Made { is_ipv4, ..Made::default() };
        let octets = made.octets();
        let read = made.read(&octets).unwrap();
        let header = read.vnet_header();
        assert_eq!(SuperPacket::of(&header, &octets), Some(read));
        // The length of the headers is a hint, and everything else counts.
        assert!(SuperPacket::of(&VnetHeader { header_len: 9, ..header }, &octets).is_some());
        for other in [
            VnetHeader { needs_checksum: false, ..header },
            VnetHeader { ecn: true, ..header },
            VnetHeader { gso: Gso::UdpL4, ..header },
            VnetHeader { gso: Gso::None, ..header },
            VnetHeader { checksum_start: header.checksum_start + 1, ..header },
            VnetHeader { checksum_offset: 6, ..header },
            VnetHeader { segment_len: 0, ..header },
        ] {
            assert_eq!(SuperPacket::of(&other, &octets), None, "{other:?}");
        }
        assert_eq!((read.count(), read.sequence()), (16, 7));
        assert_eq!(read.flow().len(), if is_ipv4 { 12 } else { 36 });
        assert!(read.flow().ends_with(&[0x9c, 0x40, 1, 187]));
        let packets = cut(&read);
        assert_eq!(packets.len(), 16);
        for packet in packets {
            let read = IpPacket::read(&packet).unwrap();
            let covered = u16::try_from(read.total_len() - usize::from(header.checksum_start));
            let addresses = if is_ipv4 { &packet[12..20] } else { &packet[8..40] };
            let pseudo = add(add(sum(addresses), 6), covered.unwrap());
            let transport = &packet[usize::from(header.checksum_start)..];
            assert_eq!(add(pseudo, sum(transport)), 0xffff);
        }
    }
}

/// One octet that is not as it was, at its place: it is not a plain one any more.
#[test]
fn what_is_odd_does_not_travel_whole() {
    let v4 = [(0, 0x46), (0, 0x65), (2, 0), (6, 0x20), (7, 1), (9, 17)];
    let v6 = [(0, 0x45), (0, 0x50), (4, 0), (6, 17), (6, 0), (6, 43), (6, 44)];
    // Beyond the IP header.
    let tcp = [(12, 0x40), (12, 0x81), (12, 0xf0), (13, 0x90), (13, 0x12), (13, 0x14), (13, 0x30)];
    for (is_ipv4, ip_len, odd) in [(true, 20, &v4[..]), (false, 40, &v6)] {
        let made = Made { is_ipv4, payload_len: 2_000, ..Made::default() };
        let octets = made.octets();
        let behind = tcp.iter().map(|(at, octet)| (ip_len + at, *octet));
        for (at, octet) in odd.iter().copied().chain(behind.filter(|(_, octet)| *octet != 0xf0)) {
            let mut octets = octets.clone();
            octets[at] = octet;
            assert_eq!(made.read(&octets), None, "{at} {octet:#x}");
        }
        for flags in [0x10, 0x18, 0x11, 0x50, 0x59] {
            let made = Made { flags, ..made };
            assert!(made.read(&made.octets()).is_some(), "{flags:#x}");
        }
        assert_eq!(made.read(&octets[..octets.len() - 1]), None);
        assert_eq!(made.read(&[&octets[..], &[0]].concat()), None);
    }
}

/// Lengths of segments that a peer may say.
#[test]
fn lengths_are_bounded() {
    let made = Made { payload_len: 3_000, option_words: 0, ..Made::default() };
    let fits = |segment_len, payload_len| {
        let made = Made { segment_len, payload_len, ..made };
        made.read(&made.octets()).is_some()
    };
    assert!(!fits(0, 3_000));
    assert!(!fits(1, 3_000));
    assert!(fits(1, 128) && !fits(1, 129) && !fits(1, 1));
    assert!(fits(1_000, 3_000));
    assert!(!fits(1_000, 1_000) && fits(1_000, 1_001));
    assert!(fits(INNER_MTU - 40, 3_000) && !fits(INNER_MTU - 39, 3_000));
    assert!(fits(1_350, SUPER_OCTETS_MAX - 40) && !fits(1_350, SUPER_OCTETS_MAX - 39));
}

proptest! {
    /// Whatever a peer sends is sound, and can be cut into as many as it says, or is refused.
    #[test]
    fn any_octets_are_judged(
        is_ipv4: bool,
        flags: u8,
        option_words in 0_u8..=10,
        segment_len: u16,
        payload_len in 0_usize..5_000,
        changes in proptest::collection::vec((0_usize..80, any::<u8>()), 0..4),
        len in 0_usize..6_000,
    ) {
        let made =
            Made { is_ipv4, flags, option_words, segment_len, payload_len, ..Made::default() };
        let mut octets = made.octets();
        for (at, octet) in changes {
            if let Some(place) = octets.get_mut(at) {
                *place = octet;
            }
        }
        let short = made.read(&octets[..len.min(octets.len())]);
        for read in short.into_iter().chain(made.read(&octets)) {
            let packets = cut(&read);
            prop_assert_eq!(packets.len(), read.count());
            prop_assert!((2..=SUPER_SEGMENTS_MAX).contains(&packets.len()));
            prop_assert!(packets.iter().all(|packet| packet.len() <= usize::from(INNER_MTU)));
            prop_assert_eq!(SuperPacket::of(&read.vnet_header(), read.octets()), Some(read));
        }
    }
}
