//! Bringing packets of one length together before they are numbered, so that they leave in runs.

use std::net::IpAddr;

use adit_wire::PacketBuf;
use adit_wire::ip::IpPacket;

/// Puts the packets of a burst in order. A packet goes before others only if none of those is of its
/// flow, so no flow's packets change places; between flows the network promises no order.
pub(super) struct Order {
    runs: Vec<Run>,
    /// The run of each packet, and then its place.
    places: Vec<usize>,
    /// By a hash of the flow, the run that has its last packet. Flows that share a place keep the order
    /// among each other, too.
    last: [usize; FLOWS],
}

/// Packets that go together.
struct Run {
    kind: Kind,
    packets: usize,
}

/// What packets of a run have in common: those to one host go by one SA.
#[derive(Clone, Copy, Eq, PartialEq)]
struct Kind {
    len: usize,
    to: usize,
}

/// Places for flows.
const FLOWS: usize = 256;
/// Runs that a packet may join: those before have waited long enough.
const OPEN_MAX: usize = 16;

impl Order {
    pub(super) fn new(packets_max: usize) -> Self {
        let runs = Vec::with_capacity(packets_max);
        Self { runs, places: Vec::with_capacity(packets_max), last: [0; FLOWS] }
    }

    /// Sorts the packets. Nothing is allocated for as many as there were to be at most.
    pub(super) fn sort(&mut self, packets: &mut [PacketBuf]) {
        self.runs.clear();
        self.places.clear();
        self.last.fill(0);
        for packet in packets.iter() {
            let run = self.choose(packet);
            self.places.push(run);
        }
        self.number_places();
        // Each exchange brings one packet to its place.
        for at in 0..packets.len() {
            while let Some(&place) = self.places.get(at).filter(|place| **place != at) {
                packets.swap(at, place);
                self.places.swap(at, place);
            }
        }
    }

    /// The run that a packet goes into.
    fn choose(&mut self, packet: &PacketBuf) -> usize {
        let (flow, to) = hashes(packet.data());
        let kind = Kind { len: packet.len(), to };
        let last = self.last.get_mut(flow % FLOWS);
        let open = self.runs.len().saturating_sub(OPEN_MAX);
        let from = last.as_deref().copied().unwrap_or(0).max(open);
        let joined = self.runs.iter().skip(from).position(|run| run.kind == kind);
        let run = match joined {
            Some(at) => from + at,
            None => {
                self.runs.push(Run { kind, packets: 0 });
                self.runs.len() - 1
            }
        };
        if let Some(chosen) = self.runs.get_mut(run) {
            chosen.packets += 1;
        }
        if let Some(last) = last {
            *last = run;
        }
        run
    }

    /// Makes places of the numbers of runs: one run behind the other.
    fn number_places(&mut self) {
        let mut next = 0;
        for run in &mut self.runs {
            // From here on the place of its next packet.
            let first = next;
            next += std::mem::replace(&mut run.packets, first);
        }
        for place in &mut self.places {
            if let Some(run) = self.runs.get_mut(*place) {
                *place = run.packets;
                run.packets += 1;
            }
        }
    }
}

/// Hashes of a packet's flow and of its destination; what is no IP packet is of one flow.
fn hashes(octets: &[u8]) -> (usize, usize) {
    let Ok(packet) = IpPacket::read(octets) else { return (0, 0) };
    // RFC 791 §2.3: fragments have no ports but the first, which is of one flow with the others.
    let ports = packet.ports().filter(|_| packet.fragment().is_none());
    let (src_port, dst_port) = ports.unwrap_or_default();
    let ports = u64::from(src_port) << 16 | u64::from(dst_port);
    let to = hash(0, packet.dst());
    let flow = hash(mixed(to ^ ports ^ u64::from(packet.protocol().0) << 32), packet.src());
    (upper(flow), upper(to))
}

fn hash(before: u64, address: IpAddr) -> u64 {
    let bits = match address {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    };
    let octets = bits.to_ne_bytes();
    let (words, _) = octets.as_chunks();
    words.iter().fold(before, |sum, word| mixed(sum ^ u64::from_ne_bytes(*word)))
}

/// A multiplication spreads every bit over those above it.
const fn mixed(value: u64) -> u64 {
    let product = value.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    product ^ product >> 32
}

fn upper(hash: u64) -> usize {
    usize::try_from(hash >> 40).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use adit_wire::iana::IpProtocol;

    use super::*;

    /// A UDP packet of a flow, of a length, with a number in its last octets.
    fn packet(flow: u8, len: usize, number: u16) -> PacketBuf {
        let [l0, l1] = u16::try_from(len).unwrap().to_be_bytes();
        let mut octets = vec![0x45, 0, l0, l1, 0, 0, 0, 0, 64, IpProtocol::UDP.0, 0, 0];
        octets.extend([10, 1, 0, 5, 10, 2, 0, 7, 100, flow, 0, 53, 0, 0, 0, 0]);
        octets.resize(len - 2, 0);
        octets.extend(number.to_be_bytes());
        let mut packet = PacketBuf::with_capacity(0, 1_500);
        assert!(packet.fill(&octets));
        packet
    }

    fn sorted(kinds: &[(u8, usize)]) -> Vec<(u8, usize, u16)> {
        let numbered = kinds.iter().zip(0..);
        let mut packets: Vec<_> =
            numbered.map(|((flow, len), number)| packet(*flow, *len, number)).collect();
        Order::new(packets.len()).sort(&mut packets);
        let read = |packet: &PacketBuf| {
            let octets = packet.data();
            let (flow, last) = (octets[21], octets.last_chunk().unwrap());
            (flow, packet.len(), u16::from_be_bytes(*last))
        };
        packets.iter().map(read).collect()
    }

    /// As often as the length changes.
    fn changes(packets: &[(u8, usize, u16)]) -> usize {
        packets.windows(2).filter(|pair| pair[0].1 != pair[1].1).count()
    }

    #[test]
    fn flows_of_different_lengths_are_taken_apart() {
        let kinds: Vec<_> = (0..60).map(|n| [(1, 92), (2, 604), (3, 1_390)][n % 3]).collect();
        let packets = sorted(&kinds);
        assert_eq!(changes(&packets), 2);
        assert!((0..).zip(&packets).all(|(n, packet)| packet.2 == n % 20 * 3 + n / 20));
    }

    #[test]
    fn a_flow_of_many_lengths_stays_as_it_is() {
        let kinds: Vec<_> = (0..60).map(|n| (1, [92, 604, 1_390][n % 3])).collect();
        let packets = sorted(&kinds);
        assert!((0..).zip(&packets).all(|(n, packet)| packet.2 == n));
    }

    /// Whatever there is, all packets are there, and those of a flow in order.
    #[test]
    fn no_packet_overtakes_another_of_its_flow() {
        let mut state = 1_u64;
        let mut below = |bound: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) % bound
        };
        for count in (0..200).step_by(7) {
            let kinds: Vec<_> = (0..count)
                .map(|_| {
                    let flow = u8::try_from(below(9)).unwrap();
                    (flow, usize::try_from(40 + below(5) * 100).unwrap())
                })
                .collect();
            let packets = sorted(&kinds);
            let mut numbers: Vec<_> = packets.iter().map(|packet| packet.2).collect();
            for flow in 0..9 {
                let of_flow = packets.iter().filter(|packet| packet.0 == flow);
                assert!(of_flow.map(|packet| packet.2).is_sorted());
            }
            numbers.sort_unstable();
            assert!(numbers.iter().copied().eq(0..count));
            let given = kinds.iter().map(|(flow, len)| (*flow, *len, 0)).collect::<Vec<_>>();
            assert!(changes(&packets) <= changes(&given));
        }
    }

    /// A later fragment is as long as another packet's, and has no ports.
    #[test]
    fn no_fragment_overtakes_the_first_of_its_packet() {
        let fragment = |offset: u8, len: usize, number: u16| {
            let mut fragment = packet(1, len, number);
            let more = if offset == 0 { 0x20 } else { 0 };
            fragment.data_mut()[6..8].copy_from_slice(&[more, offset]);
            fragment
        };
        let mut packets = vec![packet(2, 60, 0), fragment(0, 100, 1), fragment(10, 60, 2)];
        packets.push(packet(2, 60, 3));
        Order::new(packets.len()).sort(&mut packets);
        let number = |packet: &PacketBuf| packet.data().last().copied().unwrap();
        let numbers: Vec<_> = packets.iter().map(number).collect();
        let place = |number| numbers.iter().position(|it| *it == number).unwrap();
        assert!(place(1) < place(2), "{numbers:?}");
    }

    #[test]
    fn octets_that_are_no_packet_stay_in_order() {
        let mut packets: Vec<_> = (1..9_u8)
            .map(|len| {
                let mut packet = PacketBuf::with_capacity(0, 10);
                assert!(packet.fill(&vec![len; usize::from(len)]));
                packet
            })
            .collect();
        Order::new(0).sort(&mut packets);
        assert!((1..).zip(&packets).all(|(len, packet)| packet.len() == len));
    }
}
