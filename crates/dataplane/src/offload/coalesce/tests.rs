//! Bursts of several flows, with all that may come between their packets, are merged, and what comes
//! of it is cut by rules that are written here once more.

#![expect(
    clippy::cast_possible_truncation,
    clippy::wildcard_enum_match_arm,
    reason = "lengths of packets are short, and most oddities are no matter to a field"
)]

use adit_wire::ip::checksum;
use proptest::prelude::*;

use super::*;

const BOTH: Mergeable = Mergeable { tcp: true, udp: true };

/// What the packets of a flow have in common.
#[derive(Clone, Copy, Debug)]
struct Flow {
    is_ipv4: bool,
    is_tcp: bool,
    port: u8,
    /// By how much the IPv4 identification goes on.
    id_step: u16,
    option_words: u8,
}

/// What is odd about a packet.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Oddity {
    None,
    Push,
    Fin,
    BadChecksum,
    BadIpChecksum,
    Ttl,
    Class,
    Window,
    Gap,
    Fragment,
    Empty,
    Identification,
    NoChecksum,
}

#[derive(Clone, Copy, Debug)]
struct Wanted {
    flow: usize,
    /// Of the flow's usual octets of payload, or that much less.
    less: usize,
    oddity: Oddity,
}

/// Makes packets of a flow one after the other.
struct Source {
    flow: Flow,
    sequence: u32,
    id: u16,
    usual: usize,
}

impl Source {
    fn new(flow: Flow, usual: usize) -> Self {
        Self { flow, sequence: u32::MAX - 2_000, id: u16::MAX - 3, usual }
    }

    fn next(&mut self, less: usize, oddity: Oddity) -> Vec<u8> {
        let payload_len = match oddity {
            Oddity::Empty => 0,
            _ => self.usual.saturating_sub(less).max(1),
        };
        if oddity == Oddity::Gap {
            self.sequence = self.sequence.wrapping_add(1);
        }
        if oddity == Oddity::Identification {
            self.id = self.id.wrapping_add(77);
        }
        let payload: Vec<u8> = (0..payload_len).map(|at| (at * 7 + payload_len) as u8).collect();
        let mut packet = self.headers(payload_len, oddity);
        packet.extend(&payload);
        put_checksums(&mut packet);
        match oddity {
            Oddity::BadChecksum => *packet.last_mut().unwrap() ^= 1,
            Oddity::BadIpChecksum if self.flow.is_ipv4 => packet[10] ^= 1,
            Oddity::NoChecksum if !self.flow.is_tcp => {
                let at = ip_len(&packet) + 6;
                packet[at..at + 2].fill(0);
            }
            _ => {}
        }
        self.sequence = self.sequence.wrapping_add(payload_len as u32);
        self.id = self.id.wrapping_add(self.flow.id_step);
        packet
    }

    fn headers(&self, payload_len: usize, oddity: Oddity) -> Vec<u8> {
        let Flow { is_ipv4, is_tcp, port, option_words, .. } = self.flow;
        let transport_len = if is_tcp { 20 + 4 * usize::from(option_words) } else { 8 };
        let class = if oddity == Oddity::Class { 2 } else { 0 };
        let ttl = if oddity == Oddity::Ttl { 63 } else { 64 };
        let protocol = if is_tcp { 6 } else { 17 };
        let len = transport_len + payload_len;
        let mut packet = if is_ipv4 {
            let [l0, l1] = (len as u16 + 20).to_be_bytes();
            let [i0, i1] = self.id.to_be_bytes();
            // What counts on may be cut by routers; what stays may not.
            let flags = match (oddity, self.flow.id_step) {
                (Oddity::Fragment, _) => 0x20,
                (_, 0) => 0x40,
                _ => 0,
            };
            let mut ip = vec![0x45, class, l0, l1, i0, i1, flags, 0, ttl, protocol, 0, 0];
            ip.extend([10, 1, 0, 5, 10, 2, 0, 7]);
            ip
        } else {
            let [l0, l1] = (len as u16).to_be_bytes();
            let mut ip = vec![0x60 | class >> 4, class << 4, 2, 3, l0, l1, protocol, ttl];
            ip.extend([0xfd; 16]);
            ip.extend([0xfc; 16]);
            ip
        };
        packet.extend([0x9c, port, 0x01, 0xbb]);
        if is_tcp {
            let flags = match oddity {
                Oddity::Push => 0x18,
                Oddity::Fin => 0x11,
                _ => 0x10,
            };
            let window = if oddity == Oddity::Window { 2 } else { 1 };
            packet.extend(self.sequence.to_be_bytes());
            packet.extend([1, 2, 3, 4, (5 + option_words) << 4, flags, window, 0, 0, 0, 0, 0]);
            packet.extend(std::iter::repeat_n(1, usize::from(option_words) * 4));
        } else {
            packet.extend((len as u16).to_be_bytes());
            packet.extend([0, 0]);
        }
        packet
    }
}

fn ip_len(packet: &[u8]) -> usize {
    if packet[0] >> 4 == 4 { 20 } else { 40 }
}

fn is_tcp(packet: &[u8]) -> bool {
    packet[if packet[0] >> 4 == 4 { 9 } else { 6 }] == 6
}

fn put_checksums(packet: &mut [u8]) {
    let at = ip_len(packet);
    if at == 20 {
        packet[10..12].fill(0);
        let sum = checksum(&packet[..20]);
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
    }
    let field = at + if is_tcp(packet) { 16 } else { 6 };
    packet[field..field + 2].fill(0);
    let sum = checksum(&[&pseudo_header(packet)[..], &packet[at..]].concat());
    let sum = if sum == 0 && !is_tcp(packet) { 0xffff } else { sum };
    packet[field..field + 2].copy_from_slice(&sum.to_be_bytes());
}

fn pseudo_header(packet: &[u8]) -> Vec<u8> {
    let at = ip_len(packet);
    let addresses = if at == 20 { &packet[12..20] } else { &packet[8..40] };
    let len = (packet.len() - at) as u32;
    let protocol = if is_tcp(packet) { 6 } else { 17 };
    [addresses, &len.to_be_bytes(), &[0, 0, 0, protocol]].concat()
}

/// Cuts what was written, as a kernel would.
fn cut(header: VnetHeader, whole: &[u8]) -> Vec<Vec<u8>> {
    if header.gso == Gso::None {
        assert_eq!(header, VnetHeader::default());
        return vec![whole.to_vec()];
    }
    let at = ip_len(whole);
    let (head, payload) = whole.split_at(header.header_len.into());
    let expected_gso = match (is_tcp(whole), at) {
        (true, 20) => Gso::TcpV4,
        (true, _) => Gso::TcpV6,
        (false, _) => Gso::UdpL4,
    };
    assert!(header.needs_checksum && header.gso == expected_gso);
    assert_eq!(usize::from(header.checksum_start), at);
    assert_eq!(header.checksum_offset, if is_tcp(whole) { 16 } else { 6 });
    // The kernel looks at these before it cuts.
    let field = at + usize::from(header.checksum_offset);
    let partial = !checksum(&pseudo_header(whole));
    assert_eq!(whole[field..field + 2], partial.to_be_bytes());
    assert!(at == 40 || checksum(&whole[..20]) == 0);
    let len = if at == 20 { whole.len() } else { whole.len() - 40 };
    let len_at = if at == 20 { 2 } else { 4 };
    assert_eq!(whole[len_at..len_at + 2], u16::try_from(len).unwrap().to_be_bytes());

    let pieces: Vec<&[u8]> = payload.chunks(header.segment_len.into()).collect();
    assert!(pieces.len() > 1 && pieces.len() <= MERGED_MAX);
    let mut sequence = u32::from_be_bytes(head[at + 4..at + 8].try_into().unwrap());
    let mut packets = Vec::new();
    for (number, piece) in pieces.iter().enumerate() {
        let mut packet = [head, piece].concat();
        let len = packet.len() - if at == 20 { 0 } else { 40 };
        packet[len_at..len_at + 2].copy_from_slice(&(len as u16).to_be_bytes());
        if at == 20 {
            let id = u16::from_be_bytes([head[4], head[5]]).wrapping_add(number as u16);
            packet[4..6].copy_from_slice(&id.to_be_bytes());
        }
        if is_tcp(whole) {
            packet[at + 4..at + 8].copy_from_slice(&sequence.to_be_bytes());
            sequence = sequence.wrapping_add(piece.len() as u32);
            if number + 1 < pieces.len() {
                packet[at + 13] &= !0x09;
            }
        } else {
            let len = (packet.len() - at) as u16;
            packet[at + 4..at + 6].copy_from_slice(&len.to_be_bytes());
        }
        put_checksums(&mut packet);
        packets.push(packet);
    }
    packets
}

fn buffers(packets: &[Vec<u8>]) -> Vec<PacketBuf> {
    let buffer = |octets: &Vec<u8>| {
        let mut packet = PacketBuf::with_capacity(16, octets.len());
        assert!(packet.fill(octets));
        packet
    };
    packets.iter().map(buffer).collect()
}

/// Merges a burst and cuts what comes of it; how many writes that takes, and the packets.
fn there_and_back(packets: &[Vec<u8>], mergeable: Mergeable) -> (usize, Vec<Vec<u8>>) {
    let mut buffers = buffers(packets);
    let mut coalescer = Coalescer::new(buffers.len());
    (0..buffers.len()).for_each(|number| coalescer.add(&buffers, number, mergeable));
    let mut back = Vec::new();
    for number in 0..coalescer.len() {
        let header = coalescer.finish(number, &mut buffers);
        let whole = coalescer.parts(number, &buffers).collect::<Vec<_>>().concat();
        let cut = cut(header, &whole);
        assert_eq!(coalescer.bundle(number).unwrap().0, cut.len());
        back.extend(cut);
    }
    (coalescer.len(), back)
}

fn flow(is_ipv4: bool, is_tcp: bool) -> Flow {
    Flow { is_ipv4, is_tcp, port: 1, id_step: 1, option_words: 3 }
}

fn train(flow: Flow, usual: usize, count: usize) -> Vec<Vec<u8>> {
    let mut source = Source::new(flow, usual);
    (0..count).map(|_| source.next(0, Oddity::None)).collect()
}

#[test]
fn a_train_of_a_flow_is_written_at_once() {
    for (is_ipv4, is_tcp) in [(true, true), (true, false), (false, true), (false, false)] {
        let packets = train(flow(is_ipv4, is_tcp), 1_300, 44);
        assert_eq!(there_and_back(&packets, BOTH), (1, packets));
    }
}

#[test]
fn a_whole_has_at_most_64_packets_and_65535_octets() {
    let small = train(flow(true, false), 18, 65);
    assert_eq!(there_and_back(&small, BOTH), (2, small));
    let large = train(flow(true, true), 1_348, 49);
    assert_eq!(there_and_back(&large, BOTH), (2, large));
}

#[test]
fn flows_that_alternate_are_merged_each_for_itself() {
    let ports = (1..=4).map(|port| Flow { port, ..flow(true, true) });
    let mut sources: Vec<Source> = ports.map(|flow| Source::new(flow, 1_300)).collect();
    let packets: Vec<Vec<u8>> =
        (0..40).map(|number: usize| sources[number % 4].next(0, Oddity::None)).collect();
    let (writes, back) = there_and_back(&packets, BOTH);
    assert_eq!((writes, back.len()), (4, 40));
    assert_eq!(there_and_back(&packets, Mergeable::default()), (40, packets));
}

#[test]
fn more_flows_than_are_remembered_are_merged_where_that_can_be() {
    let ports = (0..40).map(|port| Flow { port, ..flow(false, false) });
    let mut sources: Vec<Source> = ports.map(|flow| Source::new(flow, 100)).collect();
    let packets: Vec<Vec<u8>> =
        (0..120).map(|number: usize| sources[number % 40].next(0, Oddity::None)).collect();
    let (writes, back) = there_and_back(&packets, BOTH);
    assert_eq!((writes, back), (120, packets));
}

#[test]
fn what_an_interface_does_not_take_in_one_piece_stands_alone() {
    let tcp_alone = Mergeable { tcp: true, udp: false };
    let datagrams = train(flow(true, false), 500, 5);
    assert_eq!(there_and_back(&datagrams, tcp_alone), (5, datagrams));
    let segments = train(flow(true, true), 500, 5);
    assert_eq!(there_and_back(&segments, tcp_alone), (1, segments));
}

#[test]
fn packets_for_different_interfaces_are_not_merged() {
    let mut buffers = buffers(&train(flow(true, true), 500, 4));
    buffers[2].meta.table = 1;
    let mut coalescer = Coalescer::new(4);
    (0..4).for_each(|number| coalescer.add(&buffers, number, BOTH));
    let bundles: Vec<_> = (0..coalescer.len()).map(|n| coalescer.bundle(n).unwrap()).collect();
    // The fourth does not continue the second: the third is missing there.
    assert_eq!(bundles, [(2, 0), (1, 2), (1, 3)]);
    coalescer.clear();
    assert!(coalescer.is_empty());
}

#[test]
fn each_oddity_keeps_a_packet_apart() {
    use Oddity::{BadChecksum, Class, Fin, Fragment, Gap, Ttl, Window};
    for oddity in [BadChecksum, Class, Fin, Fragment, Gap, Ttl, Window, Oddity::BadIpChecksum] {
        let mut source = Source::new(flow(true, true), 700);
        let mut packets: Vec<_> = (0..2).map(|_| source.next(0, Oddity::None)).collect();
        packets.push(source.next(0, oddity));
        packets.extend((0..2).map(|_| source.next(0, Oddity::None)));
        let (writes, back) = there_and_back(&packets, BOTH);
        assert_eq!(back, packets, "{oddity:?}");
        // Behind a gap the sequence goes on, and what is odd in no other way is merged with it.
        assert_eq!(writes, if oddity == Gap { 2 } else { 3 }, "{oddity:?}");
    }
}

#[test]
fn what_is_pushed_or_shorter_ends_its_whole() {
    for (less, oddity) in [(0, Oddity::Push), (10, Oddity::None)] {
        let mut source = Source::new(flow(false, true), 700);
        let mut packets = vec![source.next(0, Oddity::None), source.next(less, oddity)];
        packets.extend((0..2).map(|_| source.next(0, Oddity::None)));
        assert_eq!(there_and_back(&packets, BOTH), (2, packets));
    }
}

#[test]
fn an_identification_may_stay_where_nobody_may_fragment() {
    let stays = Flow { id_step: 0, ..flow(true, true) };
    let (writes, _) = there_and_back(&train(stays, 700, 9), BOTH);
    assert_eq!(writes, 1);
    let leaps = Flow { id_step: 2, ..stays };
    let packets = train(leaps, 700, 3);
    assert_eq!(there_and_back(&packets, BOTH), (3, packets));
}

/// Whose a packet is.
fn owner(packet: &[u8]) -> (bool, bool, u8) {
    (packet[0] >> 4 == 4, is_tcp(packet), packet[ip_len(packet) + 1])
}

/// The packet, without what does not matter where nobody may fragment.
fn that_matters(mut packet: Vec<u8>) -> Vec<u8> {
    if packet[0] == 0x45 && packet[6] & 0x40 != 0 && checksum(&packet[..20]) == 0 {
        packet[4..6].fill(0);
        packet[10..12].fill(0);
        let sum = checksum(&packet[..20]);
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
    }
    packet
}

fn any_flow() -> impl Strategy<Value = Flow> {
    let step = prop_oneof![Just(0_u16), Just(1)];
    (any::<bool>(), any::<bool>(), 0..3_u8, step, 0..4_u8).prop_map(
        |(is_ipv4, is_tcp, port, id_step, option_words)| Flow {
            is_ipv4,
            is_tcp,
            port,
            id_step,
            option_words,
        },
    )
}

fn any_packet() -> impl Strategy<Value = Wanted> {
    use Oddity::{
        BadChecksum, BadIpChecksum, Class, Empty, Fin, Fragment, Gap, Identification, NoChecksum,
        Push, Ttl, Window,
    };
    let odd = prop::sample::select(vec![
        Push,
        Fin,
        BadChecksum,
        BadIpChecksum,
        Ttl,
        Class,
        Window,
        Gap,
        Fragment,
        Empty,
        Identification,
        NoChecksum,
    ]);
    let oddity = prop_oneof![8 => Just(Oddity::None), 2 => odd];
    let less = prop_oneof![8 => Just(0_usize), 1 => 0..100_usize];
    (0..4_usize, less, oddity).prop_map(|(flow, less, oddity)| Wanted { flow, less, oddity })
}

proptest! {
    /// What is merged and cut again is what it was, octet for octet, and each flow is in order.
    #[test]
    fn what_is_cut_again_is_what_it_was(
        flows in prop::collection::vec((any_flow(), 1..1_300_usize), 4),
        wanted in prop::collection::vec(any_packet(), 1..120),
        tcp: bool,
        udp: bool,
    ) {
        let mut sources: Vec<Source> =
            flows.iter().map(|(flow, usual)| Source::new(*flow, *usual)).collect();
        let packets: Vec<Vec<u8>> =
            wanted.iter().map(|one| sources[one.flow].next(one.less, one.oddity)).collect();

        let (writes, back) = there_and_back(&packets, Mergeable { tcp, udp });

        prop_assert!(writes <= packets.len());
        let by_owner = |packets: Vec<Vec<u8>>| {
            let mut all = std::collections::BTreeMap::<_, Vec<Vec<u8>>>::new();
            for packet in packets {
                all.entry(owner(&packet)).or_default().push(that_matters(packet));
            }
            all
        };
        prop_assert_eq!(by_owner(back), by_owner(packets));
    }

    /// Any octets at all come out as they were, or merged as above.
    #[test]
    fn garbage_stands_alone(
        packets in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..80), 1..20),
    ) {
        let (writes, back) = there_and_back(&packets, BOTH);
        prop_assert_eq!((writes, back), (packets.len(), packets));
    }
}
