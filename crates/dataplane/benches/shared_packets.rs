//! What a packet costs that shares ESP packets with others (RFC 9347), against one that has an ESP
//! packet for itself: seal with flush, and open, batches of 64 packets of one flow, the two in turn
//! in each round, medians of all rounds. The network costs more than this per ESP packet: the last
//! column says how many of those 64 packets need.
//!
//! `cargo bench -p adit-dataplane --bench shared_packets`

#![expect(clippy::print_stdout, reason = "a bench speaks on stdout")]

mod fixtures;

use std::sync::Arc;
use std::time::{Duration, Instant};

use adit_crypto::{Cipher, IcvSize, KeySize};
use adit_dataplane::{Inbound, InboundCommand, Outbound, OutboundCommand, Verdict, packet_buffer};
use adit_db::{Aggfrag, ChildSa, Mode, PolicyId, WindowSize};
use adit_wire::PacketBuf;

use fixtures::{buffer, child_sa, inner_packet, one_policy, refill};

const SIZES: [usize; 4] = [92, 604, 1_280, 1_390];
const BATCH: usize = 64;
const ROUNDS: usize = 4_000;

fn main() {
    let titles = ["seal ns", "shared", "open ns", "shared", "ESP packets"];
    let [seal, seal_shared, open, open_shared, count] = titles;
    println!("octets {seal:>9} {seal_shared:>9} {open:>9} {open_shared:>9} {count:>12}");
    for len in SIZES {
        let [mut alone, mut shared] = [None, Some(Aggfrag { super_packets: true })].map(Way::new);
        let inner = inner_packet(len);
        for _ in 0..ROUNDS {
            alone.round(&inner);
            shared.round(&inner);
        }
        let [[seal, open], [seal_shared, open_shared]] =
            [&mut alone, &mut shared].map(Way::medians);
        let count = shared.count;
        println!(
            "{len:>6} {seal:>9.1} {seal_shared:>9.1} {open:>9.1} {open_shared:>9.1} {count:>12}"
        );
    }
}

/// A sender and a receiver, and how long they took.
struct Way {
    start: Instant,
    sender: Outbound,
    receiver: Inbound,
    seals: Vec<Duration>,
    opens: Vec<Duration>,
    /// ESP packets of the last batch.
    count: usize,
    arrived: Vec<PacketBuf>,
}

impl Way {
    fn new(aggfrag: Option<Aggfrag>) -> Self {
        let start = now();
        let cipher = Cipher::AesGcm(KeySize::Bits128, IcvSize::Octets16);
        let plain = child_sa(cipher, Mode::Tunnel);
        let sa = ChildSa { replay_window: WindowSize::DEFAULT, aggfrag, ..plain };
        let halves = adit_dataplane::split(&sa, PolicyId(0), start);
        let (inbound, outbound) = halves.expect("keys of the cipher's lengths");
        let (mut sender, mut receiver) = (Outbound::new(), Inbound::new());
        sender.handle_command(OutboundCommand::SetPolicies(Arc::new(one_policy())), start);
        let install = OutboundCommand::Install { sa: Box::new(outbound), active: true };
        sender.handle_command(install, start);
        receiver.handle_command(InboundCommand::Install(Box::new(inbound)));
        let arrived = (0..BATCH).map(|_| packet_buffer()).collect();
        let (seals, opens) = (Vec::with_capacity(ROUNDS), Vec::with_capacity(ROUNDS));
        Self { start, sender, receiver, seals, opens, count: 0, arrived }
    }

    fn round(&mut self, inner: &[u8]) {
        let mut batch: Vec<PacketBuf> = (0..BATCH).map(|_| buffer(inner)).collect();
        batch.iter_mut().for_each(|packet| refill(packet, inner));
        let mut verdicts = Vec::with_capacity(BATCH);
        let started = now();
        self.sender.seal_batch(&mut batch, &mut verdicts, self.start);
        let shared = self.sender.flush();
        self.seals.push(started.elapsed());
        let alone = batch.iter().zip(&verdicts).filter(|(_, verdict)| **verdict == Verdict::Send);
        let sent: Vec<&PacketBuf> = alone.map(|(packet, _)| packet).chain(shared).collect();
        self.count = sent.len();
        for (arrived, sent) in self.arrived.iter_mut().zip(sent) {
            refill(arrived, sent.data());
            arrived.meta = sent.meta;
        }
        let Some(arrived) = self.arrived.get_mut(..self.count) else { return };
        let mut opened = Vec::with_capacity(BATCH);
        let started = now();
        self.receiver.open_batch(arrived, &mut opened, self.start);
        self.opens.push(started.elapsed());
        assert_eq!(self.receiver.report().drops.total(), 0, "everything arrives");
    }

    /// Nanoseconds of an inner packet, sealed and opened.
    fn medians(&mut self) -> [f64; 2] {
        [&mut self.seals, &mut self.opens].map(|times| {
            times.sort_unstable();
            let median = times.get(times.len() / 2).copied().unwrap_or_default();
            median.as_secs_f64() * 1e9 / 64.0
        })
    }
}

#[expect(clippy::disallowed_methods, reason = "a bench needs a clock")]
fn now() -> Instant {
    Instant::now()
}
