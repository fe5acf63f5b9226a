//! The packet engine in process as a share of the library's bare AEAD, and what a packet costs with
//! many SAs and policies beside it.
//!
//! Question one: how much of the time is the cipher (goal: 0.85 at 1,400 octets)? Batches of 64
//! packets of one flow, the bare AEAD on as many octets in the same round, of both the time that one
//! batch in ten is below. Everything around the AEAD is inside: policy, SA, sequence number, padding,
//! replay window, selectors.
//!
//! Question two: what does a packet of 1,400 octets cost with 100,000 SAs and as many policies,
//! against 10 of both (goal: 1.3)? `trains` has runs of 16 packets of one flow, as segmentation
//! offload makes them, the runs spread at random over all SAs; `scattered` has another random SA for
//! each packet, so that nothing of one is in any of the processor's caches; `busy` has packets
//! scattered over 1,000 flows, which all have SAs of their own among the 100,000. Each flow has been
//! there before, with few SAs as with many.
//!
//! `cargo bench -p adit-dataplane --bench share`; a word behind `--` picks the lines that have it.

#![expect(clippy::print_stdout, reason = "a bench speaks on stdout")]

mod fixtures;

use std::env;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use adit_crypto::{Cipher, IcvSize, KeySize};
use adit_dataplane::{Inbound, InboundCommand, OpenVerdict, Outbound, OutboundCommand, Verdict};
use adit_db::{ChildSa, ChildSaId, Mode, PolicyId, WindowSize};
use adit_sys::{PREFETCH, huge_pages};
use adit_wire::PacketBuf;
use adit_wire::esp::Spi;

use fixtures::{Alone, Packet, buffer, child_sa, inner_packet, many_policies, one_policy, site};

const CIPHERS: [Cipher; 3] = [
    Cipher::AesGcm(KeySize::Bits128, IcvSize::Octets16),
    Cipher::AesGcm(KeySize::Bits256, IcvSize::Octets16),
    Cipher::ChaCha20Poly1305,
];
const SIZES: [usize; 3] = [64, 576, 1_400];
const BATCH: usize = 64;
const ROUNDS: usize = 4_000;

const FEW: u32 = 10;
const MANY: u32 = 100_000;
/// Packets that follow each other, as one super-packet's segments do.
const TRAIN: usize = 16;
/// Flows of a busy hour.
const BUSY: u32 = 1_000;
const SCALE_ROUNDS: usize = 1_500;
const SCALE_OCTETS: usize = 1_400;

fn main() {
    let words: Vec<String> = env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let wanted = |name: &str| words.is_empty() || words.iter().any(|word| name.contains(word));
    println!("{:<36} {:>9} {:>9} {:>7}", "share of the bare AEAD", "bare ns", "ours ns", "share");
    for cipher in CIPHERS {
        for len in SIZES {
            let name = format!("seal/{cipher}/{len}");
            if wanted(&name) {
                share(&name, Shares::seal(cipher, len));
            }
            let name = format!("open/{cipher}/{len}");
            if wanted(&name) {
                share(&name, Shares::open(cipher, len));
            }
        }
    }
    let scale_names = ["scale/seal", "scale/open"].map(wanted);
    if scale_names.contains(&true) {
        scale(scale_names);
    }
}

/// Nanoseconds of a packet.
struct Shares {
    bare: f64,
    ours: f64,
}

fn share(name: &str, Shares { bare, ours }: Shares) {
    println!("{name:<36} {bare:>9.1} {ours:>9.1} {:>7.3}", bare / ours);
}

impl Shares {
    fn seal(cipher: Cipher, len: usize) -> Self {
        let start = now();
        let mut engine = Outbound::new();
        let sa = child_sa(cipher, Mode::Tunnel);
        engine.handle_command(OutboundCommand::SetPolicies(Arc::new(one_policy())), start);
        install_outbound(&mut engine, &sa, PolicyId(0), start);
        let inner = inner_packet(len);
        let alone = Alone::new(cipher);
        let mut packets: Vec<PacketBuf> = (0..BATCH).map(|_| buffer(&inner)).collect();
        let mut bare: Vec<Packet> = vec![alone.clear(len); BATCH];
        let mut verdicts = Vec::with_capacity(BATCH);
        let mut times = Times::default();
        for _ in 0..ROUNDS {
            packets.iter_mut().for_each(|packet| fixtures::refill(packet, &inner));
            let started = now();
            engine.seal_batch(&mut packets, &mut verdicts, start);
            times.ours.push(started.elapsed());
            assert!(verdicts.iter().all(|verdict| *verdict == Verdict::Send), "{verdicts:?}");
            let started = now();
            bare.iter_mut().for_each(|packet| alone.seal(packet));
            times.bare.push(started.elapsed());
            black_box(&bare);
        }
        times.shares()
    }

    fn open(cipher: Cipher, len: usize) -> Self {
        let start = now();
        let mut engine = Inbound::new();
        let mut peer = Outbound::new();
        let sa = ChildSa { replay_window: WindowSize::DEFAULT, ..child_sa(cipher, Mode::Tunnel) };
        engine.handle_command(install_inbound(&sa, PolicyId(0), start));
        peer.handle_command(OutboundCommand::SetPolicies(Arc::new(one_policy())), start);
        install_outbound(&mut peer, &sa, PolicyId(0), start);
        let inner = inner_packet(len);
        let alone = Alone::new(cipher);
        let mut clear = alone.clear(len);
        alone.seal(&mut clear);
        let mut packets: Vec<PacketBuf> = (0..BATCH).map(|_| buffer(&inner)).collect();
        let (mut sealed, mut verdicts) = (Vec::new(), Vec::with_capacity(BATCH));
        let mut times = Times::default();
        for _ in 0..ROUNDS {
            packets.iter_mut().for_each(|packet| fixtures::refill(packet, &inner));
            peer.seal_batch(&mut packets, &mut sealed, start);
            let started = now();
            engine.open_batch(&mut packets, &mut verdicts, start);
            times.ours.push(started.elapsed());
            assert!(verdicts.iter().all(|verdict| *verdict == OpenVerdict::Deliver));
            let mut bare: Vec<Packet> = vec![clear.clone(); BATCH];
            let started = now();
            bare.iter_mut().for_each(|packet| alone.open(packet));
            times.bare.push(started.elapsed());
            black_box(&bare);
        }
        times.shares()
    }
}

/// What the batches of all rounds took.
#[derive(Default)]
struct Times {
    bare: Vec<Duration>,
    ours: Vec<Duration>,
}

impl Times {
    fn shares(mut self) -> Shares {
        Shares { bare: per_packet(&mut self.bare), ours: per_packet(&mut self.ours) }
    }
}

/// Nanoseconds of a packet in a quick batch: one in ten is quicker. Others share the machine, and
/// half of the time its other half is theirs.
fn per_packet(batches: &mut [Duration]) -> f64 {
    batches.sort_unstable();
    let quick = batches.get(batches.len() / 10).copied().unwrap_or_default();
    quick.as_secs_f64() * 1e9 / BATCH as f64
}

/// Which SAs the packets of a batch take.
#[derive(Clone, Copy)]
enum Mix {
    Trains,
    Scattered,
    Busy,
}

impl Mix {
    const ALL: [(Self, &'static str); 3] =
        [(Self::Trains, "trains"), (Self::Busy, "busy"), (Self::Scattered, "scattered")];

    fn batch(self, of: u32, random: &mut Random) -> Vec<u32> {
        match self {
            Self::Trains => {
                let trains = (0..BATCH / TRAIN).map(|_| random.below(of));
                trains.flat_map(|number| [number; TRAIN]).collect()
            }
            Self::Scattered => (0..BATCH).map(|_| random.below(of)).collect(),
            // An odd stride spreads them over the whole table.
            Self::Busy => {
                let busy = BUSY.min(of);
                (0..BATCH).map(|_| random.below(busy) * (of / busy)).collect()
            }
        }
    }
}

/// Two ends with as many SAs and policies each, and what their batches took in the present mix.
struct Gateway {
    of: u32,
    outbound: Outbound,
    inbound: Inbound,
    seals: Vec<Duration>,
    opens: Vec<Duration>,
}

impl Gateway {
    fn new(of: u32, start: Instant) -> Self {
        let mut outbound = Outbound::new().with_prefetch(PREFETCH);
        let mut inbound = Inbound::new().with_prefetch(PREFETCH);
        outbound.handle_command(OutboundCommand::SetPolicies(Arc::new(many_policies(of))), start);
        for number in 0..of {
            // The multiplication keeps numbers apart, so that no SPI is taken.
            let spi = Spi((number + 256).wrapping_mul(0x9e37_79b1));
            let (local_ts, remote_ts) = fixtures::selectors(number);
            let sa = ChildSa {
                id: ChildSaId(number),
                spi_in: spi,
                spi_out: spi,
                local_ts,
                remote_ts,
                replay_window: WindowSize::DEFAULT,
                ..child_sa(CIPHERS[0], Mode::Tunnel)
            };
            install_outbound(&mut outbound, &sa, PolicyId(number), start);
            let sa = ChildSa { local_ts: sa.remote_ts, remote_ts: sa.local_ts, ..sa };
            inbound.handle_command(install_inbound(&sa, PolicyId(number), start));
        }
        Self { of, outbound, inbound, seals: Vec::new(), opens: Vec::new() }
    }

    /// One packet of each flow, whose time does not count.
    fn greet(&mut self, packets: &mut [PacketBuf], start: Instant) {
        let numbers: Vec<u32> = (0..self.of).collect();
        for numbers in numbers.chunks(packets.len()) {
            self.carry(numbers.to_vec(), packets, start);
        }
        self.per_packet();
    }

    /// Seals a batch of packets of these flows as one end, and opens it as the other.
    fn carry(&mut self, numbers: Vec<u32>, packets: &mut [PacketBuf], start: Instant) {
        let packets = packets.get_mut(..numbers.len()).unwrap_or_default();
        for (packet, number) in packets.iter_mut().zip(numbers) {
            fixtures::refill(packet, &site(number, SCALE_OCTETS));
        }
        let (mut sealed, mut opened) = (Vec::with_capacity(BATCH), Vec::with_capacity(BATCH));
        let started = now();
        self.outbound.seal_batch(packets, &mut sealed, start);
        self.seals.push(started.elapsed());
        assert!(sealed.iter().all(|verdict| *verdict == Verdict::Send), "{sealed:?}");
        let started = now();
        self.inbound.open_batch(packets, &mut opened, start);
        self.opens.push(started.elapsed());
        assert!(opened.iter().all(|verdict| *verdict == OpenVerdict::Deliver), "{opened:?}");
    }

    /// What a packet took to seal and to open since the last time.
    fn per_packet(&mut self) -> [f64; 2] {
        let times = [per_packet(&mut self.seals), per_packet(&mut self.opens)];
        self.seals.clear();
        self.opens.clear();
        times
    }
}

/// Seals what one end sends and opens it at the other, with few and with many SAs in turn.
fn scale(wanted: [bool; 2]) {
    let start = now();
    let (mut few, mut many) = (Gateway::new(FEW, start), Gateway::new(MANY, start));
    // As the daemon does when it has so many.
    huge_pages::ask(|_| ()).expect("there is a /proc");
    let mut random = Random(1);
    let mut packets: Vec<PacketBuf> =
        (0..BATCH).map(|_| buffer(&inner_packet(SCALE_OCTETS))).collect();
    let (few_ns, many_ns) = (format!("{FEW}: ns"), format!("{MANY}: ns"));
    println!("\n{:<36} {few_ns:>9} {many_ns:>9} {:>7}", "SAs and policies", "ratio");
    for gateway in [&mut few, &mut many] {
        gateway.greet(&mut packets, start);
    }
    for (mix, name) in Mix::ALL {
        for _ in 0..SCALE_ROUNDS {
            for gateway in [&mut few, &mut many] {
                let numbers = mix.batch(gateway.of, &mut random);
                gateway.carry(numbers, &mut packets, start);
            }
        }
        let times = few.per_packet().into_iter().zip(many.per_packet());
        for ((direction, (few, many)), wanted) in ["seal", "open"].iter().zip(times).zip(wanted) {
            if wanted {
                let name = format!("scale/{direction}/{name}");
                println!("{name:<36} {few:>9.1} {many:>9.1} {:>7.3}", many / few);
            }
        }
    }
}

fn install_outbound(engine: &mut Outbound, sa: &ChildSa, policy: PolicyId, now: Instant) {
    let (_, sa) = adit_dataplane::split(sa, policy, now).expect("keys of the cipher's lengths");
    engine.handle_command(OutboundCommand::Install { sa: Box::new(sa), active: true }, now);
}

fn install_inbound(sa: &ChildSa, policy: PolicyId, now: Instant) -> InboundCommand {
    let (sa, _) = adit_dataplane::split(sa, policy, now).expect("keys of the cipher's lengths");
    InboundCommand::Install(Box::new(sa))
}

/// Numerical Recipes' generator; its upper bits are good enough here.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u32) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        u32::try_from(((self.0 >> 32) * u64::from(bound)) >> 32).unwrap_or(0)
    }
}

#[expect(clippy::disallowed_methods, reason = "a bench needs a clock")]
fn now() -> Instant {
    Instant::now()
}
