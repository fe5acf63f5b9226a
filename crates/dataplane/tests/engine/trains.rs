//! Packets of one flow come in trains, and the engine reads only the first of them. Whatever comes
//! together, each packet fares as it would alone.

use adit_dataplane::{OpenVerdict, Verdict};
use adit_db::{Amounts, Lifetime};
use adit_wire::PacketBuf;
use proptest::prelude::*;

use crate::fixtures::{Options, buffer, copy, udp_packet};

/// What is often the same in neighbours, and what sets them apart.
#[derive(Clone, Debug)]
struct Shape {
    ipv6: bool,
    class: u8,
    len: usize,
    /// UDP, TCP, ICMP: the last is no part of trains.
    protocol: u8,
    dont_fragment: bool,
    port: u8,
    /// The right side takes only what comes from the left one's networks.
    is_foreign: bool,
    /// Octets behind the packet.
    excess: usize,
}

fn shapes() -> impl Strategy<Value = Vec<Shape>> {
    let classes = prop::sample::select(vec![0_u8, 1, 2, 3, 0xb8]);
    let protocols = prop::sample::select(vec![17_u8, 17, 17, 6, 1]);
    let lens = prop::sample::select(vec![60_usize, 61, 1_000]);
    let rare = || prop::bool::weighted(0.2);
    let shape = (rare(), classes, lens, protocols, rare(), 0_u8..2, rare(), 0_usize..3).prop_map(
        |(ipv6, class, len, protocol, dont_fragment, port, is_foreign, excess)| Shape {
            ipv6,
            class,
            len,
            protocol,
            dont_fragment,
            port,
            is_foreign,
            excess,
        },
    );
    prop::collection::vec((shape, 1_usize..4), 1..12).prop_map(|runs| {
        runs.into_iter().flat_map(|(shape, len)| std::iter::repeat_n(shape, len)).collect()
    })
}

impl Shape {
    fn packet(&self) -> PacketBuf {
        let mut octets = udp_packet(self.ipv6, self.class, self.len);
        if self.ipv6 {
            octets[6] = self.protocol;
            octets[9] = if self.is_foreign { 9 } else { octets[9] };
            octets[40] = self.port;
        } else {
            octets[6] = if self.dont_fragment { 0x40 } else { 0 };
            octets[9] = self.protocol;
            octets[13] = if self.is_foreign { 9 } else { octets[13] };
            octets[20] = self.port;
        }
        octets.extend(vec![0xee; self.excess]);
        buffer(&octets)
    }
}

/// All octets and how it travels.
fn seen(packets: &[PacketBuf]) -> Vec<(Vec<u8>, adit_wire::PacketMeta)> {
    packets.iter().map(|packet| (packet.data().to_vec(), packet.meta)).collect()
}

/// What comes of packets that are changed, repeated or cut on their way.
fn by_a_bad_path(sent: Vec<PacketBuf>, faults: &[u8]) -> Vec<PacketBuf> {
    let mut arrived = Vec::new();
    for (mut packet, fault) in sent.into_iter().zip(faults) {
        let last = packet.len() - 1;
        match fault {
            0 => arrived.push(copy(&packet)),
            1 => packet.data_mut()[last] ^= 1,
            2 => packet.data_mut()[3] ^= 1,
            3 => packet.data_mut()[7] ^= 0x80,
            4 => packet.truncate(30),
            5 => packet.truncate(6),
            6 => packet.meta.remote.set_port(4_501),
            _ => {}
        }
        arrived.push(packet);
    }
    arrived
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_comes_together_fares_as_if_alone(
        shapes in shapes(),
        limit in prop::option::of(1_u64..20),
        marks in prop::collection::vec(0_u8..4, 40),
        faults in prop::collection::vec(0_u8..12, 40),
    ) {
        let hard = Amounts { packets: limit, ..Amounts::NONE };
        let lifetime = Lifetime { hard, ..Lifetime::NONE };
        let options = Options { lifetime, ..Options::default() };
        let (mut together, mut alone) = (options.tunnel(), options.tunnel());
        alone.now = together.now;

        let mut batch: Vec<PacketBuf> = shapes.iter().map(Shape::packet).collect();
        let mut singles: Vec<PacketBuf> = shapes.iter().map(Shape::packet).collect();
        let mut verdicts = Vec::new();
        together.left.seal_batch(&mut batch, &mut verdicts, together.now);
        let each: Vec<Verdict> = singles.iter_mut().map(|packet| alone.seal(packet)).collect();
        prop_assert_eq!(&verdicts, &each);
        prop_assert_eq!(seen(&batch), seen(&singles));

        // The path marks congestion in the outer headers.
        let sent = batch.into_iter().zip(verdicts).filter(|(_, verdict)| *verdict == Verdict::Send);
        let mut batch: Vec<PacketBuf> = sent.map(|(packet, _)| packet).collect();
        for (packet, mark) in batch.iter_mut().zip(marks) {
            packet.meta.tos = packet.meta.tos & !3 | mark;
        }
        let mut batch = by_a_bad_path(batch, &faults);
        let mut singles: Vec<PacketBuf> = batch.iter().map(copy).collect();
        let mut verdicts = Vec::new();
        together.right.open_batch(&mut batch, &mut verdicts, together.now);
        let each: Vec<OpenVerdict> = singles.iter_mut().map(|packet| alone.open(packet)).collect();
        prop_assert_eq!(verdicts, each);
        prop_assert_eq!(seen(&batch), seen(&singles));
        prop_assert_eq!(together.right.report(), alone.right.report());
        let [told, each] = [&mut together, &mut alone].map(|tunnel| {
            std::iter::from_fn(|| tunnel.right.poll_event()).collect::<Vec<_>>()
        });
        prop_assert_eq!(told, each);
    }
}
