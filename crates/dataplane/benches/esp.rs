//! Nanoseconds and octets per second for one ESP packet on one core, by inner packet size, beside
//! the cipher alone on as many octets, measured right after it.
//!
//! Question: what does everything around the cipher cost (policy, SA, sequence number, padding,
//! replay window, selectors)? Subtract `alone` at the same size; the difference should not grow
//! with the size. A 64-octet packet shows it best, an 8,900-octet one should hide it. Alone is the
//! library's bare AEAD where there is one; where we compose, it is our composition without ESP.
//!
//! Batches have 32 packets of one flow, as a device and a socket give them. Buffers are refilled
//! outside the measured time.

mod fixtures;

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use adit_crypto::{Cipher, Encryption, IcvSize, Integrity, KeySize};
use adit_dataplane::{Inbound, InboundCommand, Outbound, OutboundCommand, split};
use adit_db::{Mode, PolicyId};
use adit_wire::PacketBuf;
use criterion::measurement::WallTime;
use criterion::{
    BatchSize, BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main,
};

use fixtures::{Alone, Packet, buffer, child_sa, inner_packet, one_policy};

const SIZES: [usize; 4] = [64, 576, 1_400, 8_900];
const BATCH: usize = 32;
/// Every algorithm; its longest key or its usual one.
const CIPHERS: [Cipher; 20] = [
    Cipher::AesGcm(KeySize::Bits256, IcvSize::Octets16),
    Cipher::AesGcm(KeySize::Bits128, IcvSize::Octets16),
    Cipher::ChaCha20Poly1305,
    Cipher::AesCcm(KeySize::Bits128, IcvSize::Octets16),
    Cipher::AesGmac(KeySize::Bits128),
    Cipher::Paired(Encryption::AesCbc(KeySize::Bits256), Integrity::HmacSha2_256_128),
    Cipher::Paired(Encryption::AesCtr(KeySize::Bits128), Integrity::HmacSha2_256_128),
    Cipher::Paired(Encryption::CamelliaCbc(KeySize::Bits128), Integrity::HmacSha2_256_128),
    Cipher::Paired(Encryption::CamelliaCtr(KeySize::Bits128), Integrity::HmacSha2_256_128),
    Cipher::Paired(Encryption::TripleDes, Integrity::HmacSha2_256_128),
    Cipher::Paired(Encryption::Des, Integrity::HmacSha2_256_128),
    Cipher::Paired(Encryption::Blowfish(KeySize::Bits128), Integrity::HmacSha2_256_128),
    Cipher::Paired(Encryption::Cast128, Integrity::HmacSha2_256_128),
    Cipher::Paired(Encryption::Null, Integrity::HmacSha2_256_128),
    Cipher::Paired(Encryption::Null, Integrity::HmacSha2_384_192),
    Cipher::Paired(Encryption::Null, Integrity::HmacSha2_512_256),
    Cipher::Paired(Encryption::Null, Integrity::HmacSha1_96),
    Cipher::Paired(Encryption::Null, Integrity::AesXcbc96),
    Cipher::Paired(Encryption::Null, Integrity::AesCmac96),
    Cipher::Paired(Encryption::Null, Integrity::HmacMd5_96),
];
const POLICY: PolicyId = PolicyId(0);

/// Every cipher in tunnel mode, one in transport mode, and the names of their groups.
fn suites() -> impl Iterator<Item = (Cipher, Mode, String)> {
    let tunnels = CIPHERS.map(|cipher| (cipher, Mode::Tunnel, cipher.to_string()));
    let cipher = CIPHERS[0];
    let transport = (cipher, Mode::Transport, format!("transport/{cipher}"));
    tunnels.into_iter().chain([transport])
}

#[expect(clippy::disallowed_methods, reason = "a bench needs some instant to start from")]
fn start() -> Instant {
    Instant::now()
}

fn seal(c: &mut Criterion) {
    let now = start();
    for (cipher, mode, name) in suites() {
        let mut group = c.benchmark_group(format!("esp/seal/{name}"));
        let mut engine = outbound(cipher, mode, now);
        let mut verdicts = Vec::with_capacity(BATCH);
        for len in SIZES {
            let batch = || vec_of(&inner_packet(len));
            throughput(&mut group, len);
            group.bench_function(BenchmarkId::from_parameter(len), |b| {
                let work = |packets: &mut Vec<PacketBuf>| {
                    engine.seal_batch(packets, &mut verdicts, now);
                    black_box(&verdicts);
                };
                b.iter_batched_ref(batch, work, BatchSize::SmallInput);
            });
            let alone = Alone::new(cipher);
            let batch = || vec![alone.clear(len); BATCH];
            group.bench_function(BenchmarkId::new("alone", len), |b| {
                let work = |packets: &mut Vec<Packet>| {
                    packets.iter_mut().for_each(|packet| alone.seal(packet));
                    black_box(packets);
                };
                b.iter_batched_ref(batch, work, BatchSize::SmallInput);
            });
        }
        group.finish();
    }
}

/// Opens the same batch again and again, so the replay window is off; what it costs to look into
/// it shows in `db`'s own numbers.
fn open(c: &mut Criterion) {
    let now = start();
    for (cipher, mode, name) in suites() {
        let mut group = c.benchmark_group(format!("esp/open/{name}"));
        let mut verdicts = Vec::with_capacity(BATCH);
        for len in SIZES {
            let mut engine = inbound(cipher, mode, now);
            let sealed: Vec<Vec<u8>> = {
                let mut packets = vec_of(&inner_packet(len));
                outbound(cipher, mode, now).seal_batch(&mut packets, &mut Vec::new(), now);
                packets.iter().map(|packet| packet.data().to_vec()).collect()
            };
            let batch = || sealed.iter().map(|octets| buffer(octets)).collect::<Vec<_>>();
            throughput(&mut group, len);
            group.bench_function(BenchmarkId::from_parameter(len), |b| {
                let work = |packets: &mut Vec<PacketBuf>| {
                    engine.open_batch(packets, &mut verdicts, now);
                    black_box(&verdicts);
                };
                b.iter_batched_ref(batch, work, BatchSize::SmallInput);
            });
            let alone = Alone::new(cipher);
            let mut sealed = alone.clear(len);
            alone.seal(&mut sealed);
            let batch = || vec![sealed.clone(); BATCH];
            group.bench_function(BenchmarkId::new("alone", len), |b| {
                let work = |packets: &mut Vec<Packet>| {
                    packets.iter_mut().for_each(|packet| alone.open(packet));
                    black_box(packets);
                };
                b.iter_batched_ref(batch, work, BatchSize::SmallInput);
            });
        }
        group.finish();
    }
}

fn throughput(group: &mut BenchmarkGroup<'_, WallTime>, len: usize) {
    let octets = len.saturating_mul(BATCH);
    group.throughput(Throughput::Bytes(octets.try_into().unwrap_or(u64::MAX)));
}

fn outbound(cipher: Cipher, mode: Mode, now: Instant) -> Outbound {
    let (_, sa) =
        split(&child_sa(cipher, mode), POLICY, now).expect("keys of the cipher's lengths");
    let mut engine = Outbound::new();
    engine.handle_command(OutboundCommand::SetPolicies(Arc::new(one_policy())), now);
    engine.handle_command(OutboundCommand::Install { sa: Box::new(sa), active: true }, now);
    engine
}

fn inbound(cipher: Cipher, mode: Mode, now: Instant) -> Inbound {
    let (sa, _) =
        split(&child_sa(cipher, mode), POLICY, now).expect("keys of the cipher's lengths");
    let mut engine = Inbound::new();
    engine.handle_command(InboundCommand::Install(Box::new(sa)));
    engine
}

fn vec_of(octets: &[u8]) -> Vec<PacketBuf> {
    (0..BATCH).map(|_| buffer(octets)).collect()
}

/// What the command line may override.
fn times() -> Criterion {
    let times = Criterion::default().warm_up_time(Duration::from_millis(500));
    times.measurement_time(Duration::from_secs(2))
}

criterion_group! { name = benches; config = times(); targets = seal, open }
criterion_main!(benches);
