//! Super-packets are made of the fields of their packets, cut, and compared with packets made of
//! the same fields one by one.

use adit_wire::ip::{IpPacket, checksum};
use proptest::prelude::*;

use super::*;

/// The fields that the packets of a flow have in common.
#[derive(Clone, Debug)]
struct Flow {
    is_ipv4: bool,
    is_tcp: bool,
    /// IPv4 options, or a header of destination options (RFC 8200 §4.6).
    has_extension: bool,
    id: u16,
    sequence: u32,
    flags: u8,
    /// Words of TCP options.
    option_words: u8,
}

impl Flow {
    fn gso(&self) -> Gso {
        match (self.is_tcp, self.is_ipv4) {
            (true, true) => Gso::TcpV4,
            (true, false) => Gso::TcpV6,
            (false, _) => Gso::UdpL4,
        }
    }

    fn ip_len(&self) -> usize {
        let len = if self.is_ipv4 { 20 } else { 40 };
        if self.has_extension { len + 8 } else { len }
    }

    fn transport_len(&self) -> usize {
        if self.is_tcp { 20 + 4 * usize::from(self.option_words) } else { 8 }
    }

    fn checksum_offset(&self) -> usize {
        if self.is_tcp { 16 } else { 6 }
    }

    /// Packet number `number`, whose payload begins `before` octets into that of the flow.
    fn packet(&self, number: u16, before: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
        let (total, protocol) =
            (self.ip_len() + self.transport_len() + payload.len(), self.protocol());
        let mut packet = if self.is_ipv4 {
            let words = u8::try_from(self.ip_len() / 4).unwrap();
            let [t0, t1] = u16::try_from(total).unwrap_or(0).to_be_bytes();
            let [i0, i1] = self.id.wrapping_add(number).to_be_bytes();
            let mut ip = vec![0x40 | words, 0, t0, t1, i0, i1, 0x40, 0, 64, protocol, 0, 0];
            ip.extend([10, 1, 0, 5, 10, 2, 0, 7]);
            ip.resize(self.ip_len(), 1);
            let sum = checksum(&ip).to_be_bytes();
            ip[10..12].copy_from_slice(&sum);
            ip
        } else {
            let [t0, t1] = u16::try_from(total - 40).unwrap_or(0).to_be_bytes();
            let next = if self.has_extension { 60 } else { protocol };
            let mut ip = vec![0x60, 1, 2, 3, t0, t1, next, 64];
            ip.extend([0xfd; 16]);
            ip.extend([0xfc; 16]);
            if self.has_extension {
                ip.extend([protocol, 0, 1, 4, 0, 0, 0, 0]);
            }
            ip
        };
        if self.is_tcp {
            packet.extend([0x9c, 0x40, 0x01, 0xbb]);
            packet.extend(self.sequence.wrapping_add(before).to_be_bytes());
            packet.extend([1, 2, 3, 4, (5 + self.option_words) << 4, flags, 1, 0, 0, 0, 0, 0]);
            packet.resize(self.ip_len() + self.transport_len(), 1);
        } else {
            let [l0, l1] = u16::try_from(8 + payload.len()).unwrap_or(0).to_be_bytes();
            packet.extend([0x9c, 0x40, 0x01, 0xbb, l0, l1, 0, 0]);
        }
        packet.extend(payload);
        packet
    }

    fn protocol(&self) -> u8 {
        if self.is_tcp { 6 } else { 17 }
    }

    /// RFC 768, RFC 9293 §3.1, RFC 8200 §8.1.
    fn pseudo_header(&self, packet: &[u8]) -> Vec<u8> {
        let addresses = if self.is_ipv4 { 12..20 } else { 8..40 };
        let len = u32::try_from(packet.len() - self.ip_len()).unwrap();
        [&packet[addresses], &len.to_be_bytes(), &[0, 0, 0, self.protocol()]].concat()
    }

    /// What the one checksum would be that covers pseudo header and packet.
    fn checksum(&self, packet: &[u8]) -> u16 {
        checksum(&[&self.pseudo_header(packet), &packet[self.ip_len()..]].concat())
    }

    fn put_checksum(&self, packet: &mut [u8], checksum: u16) {
        let at = self.ip_len() + self.checksum_offset();
        packet[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
    }

    /// The super-packet as the kernel hands it over.
    fn super_packet(&self, payload: &[u8]) -> Vec<u8> {
        let mut whole = self.packet(0, 0, self.flags, payload);
        let partial = !checksum(&self.pseudo_header(&whole));
        self.put_checksum(&mut whole, partial);
        whole
    }

    fn header(&self, segment_len: u16) -> VnetHeader {
        VnetHeader {
            needs_checksum: true,
            gso: self.gso(),
            header_len: u16::try_from(self.ip_len() + self.transport_len()).unwrap(),
            segment_len,
            checksum_start: u16::try_from(self.ip_len()).unwrap(),
            checksum_offset: u16::try_from(self.checksum_offset()).unwrap(),
            ..VnetHeader::default()
        }
    }

    /// What must come out.
    fn packets(&self, payload: &[u8], segment_len: u16) -> Vec<Vec<u8>> {
        let pieces: Vec<&[u8]> = if payload.is_empty() {
            vec![payload]
        } else {
            payload.chunks(segment_len.into()).collect()
        };
        let last = pieces.len() - 1;
        let each = |(number, piece): (usize, &&[u8])| {
            let mut flags = self.flags;
            flags &= if number == last { 0xff } else { !0x09 };
            flags &= if number == 0 { 0xff } else { !0x80 };
            let before = u32::try_from(number).unwrap() * u32::from(segment_len);
            let mut packet = self.packet(u16::try_from(number).unwrap(), before, flags, piece);
            let checksum = match self.checksum(&packet) {
                0 if !self.is_tcp => 0xffff,
                checksum => checksum,
            };
            self.put_checksum(&mut packet, checksum);
            packet
        };
        pieces.iter().enumerate().map(each).collect()
    }
}

fn flows() -> impl Strategy<Value = Flow> {
    (any::<[bool; 3]>(), any::<u16>(), any::<u32>(), any::<u8>(), 0..=10_u8).prop_map(
        |([is_ipv4, is_tcp, has_extension], id, sequence, flags, option_words)| Flow {
            is_ipv4,
            is_tcp,
            has_extension,
            id,
            sequence,
            flags,
            option_words,
        },
    )
}

fn cut(header: &VnetHeader, packet: &[u8]) -> Result<Vec<Vec<u8>>, DropReason> {
    let mut segments = Segments::read(header, packet)?;
    let mut packets = Vec::new();
    let mut buffer = PacketBuf::with_capacity(8, 66_000);
    while let Some(len) = segments.next_len() {
        buffer.reset(8);
        assert!(segments.write_next(&mut buffer));
        assert_eq!((buffer.headroom(), buffer.len()), (8, len));
        packets.push(buffer.data().to_vec());
    }
    assert!(!segments.write_next(&mut buffer));
    Ok(packets)
}

const TCP: Flow = Flow {
    is_ipv4: true,
    is_tcp: true,
    has_extension: false,
    id: 0xffff,
    sequence: 0xffff_fff0,
    flags: 0x99,
    option_words: 3,
};

proptest! {
    /// Packets come out as if they had been sent one by one.
    #[test]
    fn a_super_packet_is_its_packets(
        flow in flows(),
        payload in proptest::collection::vec(any::<u8>(), 0..6_000),
        segment_len in 1..2_000_u16,
    ) {
        let super_packet = flow.super_packet(&payload);
        let packets = cut(&flow.header(segment_len), &super_packet).unwrap();
        prop_assert_eq!(&packets, &flow.packets(&payload, segment_len));
        for packet in &packets {
            prop_assert_eq!(flow.checksum(packet), 0);
            prop_assert!(IpPacket::read(packet).unwrap().has_good_checksum());
        }
    }

    /// A packet whose checksum the kernel has begun gets it, and is the same otherwise.
    #[test]
    fn a_begun_checksum_is_finished(
        flow in flows(),
        payload in proptest::collection::vec(any::<u8>(), 0..1_500),
    ) {
        let begun = flow.super_packet(&payload);
        let header = VnetHeader { gso: Gso::None, segment_len: 0, ..flow.header(0) };
        let packets = cut(&header, &begun).unwrap();
        prop_assert_eq!(packets.len(), 1);
        prop_assert_eq!(flow.checksum(&packets[0]), 0);
        let mut same = packets[0].clone();
        let at = flow.ip_len() + flow.checksum_offset();
        same[at..at + 2].copy_from_slice(&begun[at..at + 2]);
        prop_assert_eq!(same, begun);
    }

    /// Nothing that is said of octets does harm.
    #[test]
    fn any_header_of_any_octets_is_refused_or_cut(
        gso in prop::sample::select(vec![Gso::None, Gso::TcpV4, Gso::TcpV6, Gso::UdpL4]),
        needs_checksum: bool,
        [header_len, segment_len, checksum_start, checksum_offset] in any::<[u16; 4]>(),
        octets in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let header = VnetHeader {
            needs_checksum, gso, header_len, segment_len, checksum_start, checksum_offset,
            ..VnetHeader::default()
        };
        let _ = cut(&header, &octets);
        // Closer to what may be.
        let near = VnetHeader {
            segment_len: segment_len % 64,
            checksum_start: checksum_start % 64,
            checksum_offset: if gso == Gso::UdpL4 { 6 } else { 16 },
            ..header
        };
        let mut octets = octets;
        if let [first, ..] = &mut octets[..] {
            *first = if *first < 128 { 0x45 } else { 0x60 };
        }
        let _ = cut(&near, &octets);
    }
}

#[test]
fn a_packet_is_one() {
    let packet = [7; 100];
    assert_eq!(cut(&VnetHeader::default(), &packet).unwrap(), [packet]);
}

#[test]
fn what_has_no_room_waits_for_a_longer_buffer() {
    let super_packet = TCP.super_packet(&[1; 300]);
    let mut segments = Segments::read(&TCP.header(200), &super_packet).unwrap();
    let mut short = PacketBuf::with_capacity(0, 251);
    assert_eq!(segments.next_len(), Some(252));
    assert!(!segments.write_next(&mut short));
    assert!(segments.write_next(&mut PacketBuf::with_capacity(0, 252)));
    assert!(segments.write_next(&mut short));
    assert_eq!(short.data(), TCP.packets(&[1; 300], 200)[1]);
    assert_eq!(segments.next_len(), None);
}

#[test]
fn headers_that_contradict_their_packet_are_refused() {
    let whole = TCP.super_packet(&[1; 300]);
    let good = TCP.header(200);
    assert!(cut(&good, &whole).is_ok());
    let bad = [
        ("nothing to cut into", VnetHeader { segment_len: 0, ..good }),
        ("more than a packet", VnetHeader { segment_len: u16::MAX, ..good }),
        ("another family", VnetHeader { gso: Gso::TcpV6, ..good }),
        ("another protocol", VnetHeader { gso: Gso::UdpL4, ..good }),
        ("no checksum", VnetHeader { needs_checksum: false, ..good }),
        ("within the IP header", VnetHeader { checksum_start: 16, ..good }),
        ("behind the end", VnetHeader { checksum_start: 400, ..good }),
        ("far behind the end", VnetHeader { checksum_start: u16::MAX, ..good }),
        ("another checksum", VnetHeader { checksum_offset: 6, ..good }),
        ("no checksum there", VnetHeader { checksum_offset: u16::MAX, ..good }),
    ];
    for (what, header) in bad {
        assert_eq!(cut(&header, &whole), Err(DropReason::BadOffload), "{what}");
    }
    for len in 0..52 {
        assert_eq!(cut(&good, &whole[..len]), Err(DropReason::BadOffload), "{len}");
    }
    let mut short_tcp = whole.clone();
    short_tcp[32] = 0x40;
    assert_eq!(cut(&good, &short_tcp), Err(DropReason::BadOffload));
    let begun = VnetHeader { gso: Gso::None, ..good };
    assert_eq!(cut(&begun, &whole[..37]), Err(DropReason::BadOffload));
}
