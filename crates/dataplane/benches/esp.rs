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

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use adit_crypto::{Cipher, Encryption, IcvSize, Integrity, KeySize, OpenKey, SealKey, Secret};
use adit_dataplane::{
    HEADROOM_MAX, Inbound, InboundCommand, Outbound, OutboundCommand, TAILROOM_MAX, split,
};
use adit_db::{
    Action, ChildKeys, ChildSa, ChildSaId, DfPolicy, DscpPolicy, EcnPolicy, Encapsulation, IkeSaId,
    Lifetime, Mode, PolicyId, Spd, SpdEntry, Tfc, WindowSize,
};
use adit_wire::PacketBuf;
use adit_wire::esp::Spi;
use adit_wire::iana::IpProtocol;
use adit_wire::ikev2::TrafficSelector;
use adit_wire::ip::Ipv4Header;
use aws_lc_rs::aead::{
    AES_128_GCM, AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey,
};
use criterion::measurement::WallTime;
use criterion::{
    BatchSize, BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main,
};

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

/// What a cipher works on.
#[derive(Clone)]
struct Packet {
    iv: Vec<u8>,
    text: Vec<u8>,
    icv: Vec<u8>,
}

/// A cipher without ESP.
enum Alone {
    Library(Cipher, Box<LessSafeKey>),
    Ours(Cipher, Box<(SealKey, OpenKey)>),
}

impl Alone {
    fn new(cipher: Cipher) -> Self {
        let library = match cipher {
            Cipher::ImplicitIv(one) => return Self::new(one.explicit()),
            Cipher::AesGcm(KeySize::Bits128, _) => &AES_128_GCM,
            Cipher::AesGcm(KeySize::Bits256, _) => &AES_256_GCM,
            Cipher::ChaCha20Poly1305 => &CHACHA20_POLY1305,
            Cipher::AesGcm(..) | Cipher::AesCcm(..) | Cipher::AesGmac(_) | Cipher::Paired(..) => {
                let (encryption, integrity) =
                    (vec![7; cipher.encryption_key_len()], vec![9; cipher.integrity_key_len()]);
                let (encryption, integrity) = (Secret::new(encryption), Secret::new(integrity));
                let seal = SealKey::new(cipher, &encryption, &integrity).expect("its lengths");
                let open = OpenKey::new(cipher, &encryption, &integrity).expect("its lengths");
                return Self::Ours(cipher, Box::new((seal, open)));
            }
        };
        let key = UnboundKey::new(library, &vec![7; library.key_len()]).expect("its length");
        Self::Library(cipher, Box::new(LessSafeKey::new(key)))
    }

    fn clear(&self, len: usize) -> Packet {
        let (Self::Library(cipher, _) | Self::Ours(cipher, _)) = *self;
        Packet {
            iv: vec![0; cipher.iv_len()],
            text: vec![0x5a; len.next_multiple_of(cipher.block_len())],
            icv: vec![0; cipher.icv_len()],
        }
    }

    fn seal(&self, packet: &mut Packet) {
        let Packet { iv, text, icv } = packet;
        match self {
            Self::Library(_, key) => {
                let aad = Aad::from(ESP_HEADER);
                let tag = key.seal_in_place_separate_tag(nonce(), aad, text).expect("it seals");
                icv.copy_from_slice(tag.as_ref());
            }
            Self::Ours(_, keys) => {
                keys.0.seal(1, &ESP_HEADER, iv, text, icv, &[]).expect("it seals");
            }
        }
    }

    fn open(&self, packet: &mut Packet) {
        let Packet { iv, text, icv } = packet;
        match self {
            Self::Library(_, key) => {
                let opened =
                    key.open_in_place_separate_tag(nonce(), Aad::from(ESP_HEADER), icv, text);
                black_box(opened.expect("it opens"));
            }
            Self::Ours(_, keys) => {
                keys.1.open(&ESP_HEADER, iv, text, icv, &[]).expect("it opens");
            }
        }
    }
}

/// SPI and sequence number.
const ESP_HEADER: [u8; 8] = [0; 8];

fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([1; 12])
}

fn throughput(group: &mut BenchmarkGroup<'_, WallTime>, len: usize) {
    let octets = len.saturating_mul(BATCH);
    group.throughput(Throughput::Bytes(octets.try_into().unwrap_or(u64::MAX)));
}

fn outbound(cipher: Cipher, mode: Mode, now: Instant) -> Outbound {
    let entry = SpdEntry {
        local: vec![TrafficSelector::ANY_V4],
        remote: vec![TrafficSelector::ANY_V4],
        action: Action::Protect(POLICY),
    };
    let spd = Spd::new(vec![entry]).expect("one entry");
    let (_, sa) =
        split(&child_sa(cipher, mode), POLICY, now).expect("keys of the cipher's lengths");
    let mut engine = Outbound::new();
    engine.handle_command(OutboundCommand::SetPolicies(Arc::new(spd)), now);
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

fn child_sa(cipher: Cipher, mode: Mode) -> ChildSa {
    let keys = || ChildKeys {
        encryption: Secret::new(vec![7; cipher.encryption_key_len()]),
        integrity: Secret::new(vec![9; cipher.integrity_key_len()]),
    };
    // The addresses of the inner packets, for transport mode.
    let local = "10.1.0.5:4500".parse().expect("an address");
    let remote = "10.2.0.7:4500".parse().expect("an address");
    ChildSa {
        id: ChildSaId(1),
        ike: IkeSaId(1),
        connection: "bench".parse().expect("a name"),
        child: "net".parse().expect("a name"),
        spi_in: Spi(0xc000_0001),
        spi_out: Spi(0xc000_0001),
        protection: cipher.into(),
        mode,
        peer_view: None,
        esn: true,
        keys_in: keys(),
        keys_out: keys(),
        local_ts: vec![TrafficSelector::ANY_V4],
        remote_ts: vec![TrafficSelector::ANY_V4],
        encap: Encapsulation { udp: true, local, remote },
        lifetime: Lifetime::NONE,
        replay_window: WindowSize::OFF,
        dscp: DscpPolicy::Copy,
        ecn: EcnPolicy::Normal,
        df: DfPolicy::Clear,
        tfc: Tfc::OFF,
        ipcomp: None,
        rekeys: None,
    }
}

fn inner_packet(len: usize) -> Vec<u8> {
    let header = Ipv4Header {
        traffic_class: 0,
        total_len: len.try_into().expect("sizes are below 64 KiB"),
        identification: 0,
        dont_fragment: true,
        ttl: 64,
        protocol: IpProtocol::UDP,
        src: [10, 1, 0, 5].into(),
        dst: [10, 2, 0, 7].into(),
    };
    let mut octets = header.to_octets().to_vec();
    octets.resize(len, 0x5a);
    octets
}

fn vec_of(octets: &[u8]) -> Vec<PacketBuf> {
    (0..BATCH).map(|_| buffer(octets)).collect()
}

fn buffer(octets: &[u8]) -> PacketBuf {
    let room = octets.len().saturating_add(TAILROOM_MAX);
    let mut packet = PacketBuf::with_capacity(HEADROOM_MAX, room);
    assert!(packet.fill(octets), "the buffer was made for these octets");
    packet
}

/// What the command line may override.
fn times() -> Criterion {
    let times = Criterion::default().warm_up_time(Duration::from_millis(500));
    times.measurement_time(Duration::from_secs(2))
}

criterion_group! { name = benches; config = times(); targets = seal, open }
criterion_main!(benches);
