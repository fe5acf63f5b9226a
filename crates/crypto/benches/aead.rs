//! Octets per second one core seals and opens, by packet size.
//!
//! Question: what does our [`SealKey`] and [`OpenKey`] cost above the bare AEAD of aws-lc-rs? For
//! every suite and size compare `bare` with `ours`; the difference at 64 octets is the price of
//! nonce, dispatch and checks per packet. The others have no bare counterpart in that library: they
//! show what a peer without such an AEAD costs.

use std::hint::black_box;

use adit_crypto::{
    Cipher, Encryption, IcvSize, Integrity, KeySize, OpenKey, SealKey, Secret, SeededRng,
};
use aws_lc_rs::aead::{
    AES_128_GCM, AES_256_GCM, Aad, Algorithm, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey,
};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

/// Octets of packet: smallest usual, half an MTU, an MTU less the headers, a jumbo frame.
const SIZES: [usize; 4] = [64, 576, 1_400, 8_900];

/// ESP header: SPI and sequence number.
const AAD: [u8; 8] = [0, 0, 0x12, 0x34, 0, 0, 0, 1];

/// One suite of each kind: key and ICV lengths make no other code.
fn suites() -> impl Iterator<Item = Cipher> {
    let aead = [
        Cipher::AesGcm(KeySize::Bits256, IcvSize::Octets16),
        Cipher::AesGcm(KeySize::Bits128, IcvSize::Octets16),
        Cipher::AesGcm(KeySize::Bits128, IcvSize::Octets8),
        Cipher::ChaCha20Poly1305,
        Cipher::AesCcm(KeySize::Bits128, IcvSize::Octets16),
        Cipher::AesGmac(KeySize::Bits128),
    ];
    let is_longest = |one: &Encryption| one.key_bits().is_none_or(|bits| bits != 192);
    let pairs = Encryption::ALL.into_iter().filter(is_longest);
    let pairs = pairs.map(|one| Cipher::Paired(one, Integrity::HmacSha2_256_128));
    let null = Integrity::ALL.into_iter().map(|mac| Cipher::Paired(Encryption::Null, mac));
    aead.into_iter().chain(pairs).chain(null.skip(1))
}

fn bare_algorithm(cipher: Cipher) -> Option<&'static Algorithm> {
    match cipher {
        Cipher::AesGcm(KeySize::Bits128, _) | Cipher::AesGmac(KeySize::Bits128) => {
            Some(&AES_128_GCM)
        }
        Cipher::AesGcm(..) | Cipher::AesGmac(_) => Some(&AES_256_GCM),
        Cipher::ChaCha20Poly1305 => Some(&CHACHA20_POLY1305),
        Cipher::AesCcm(..) | Cipher::ImplicitIv(_) | Cipher::Paired(..) => None,
    }
}

fn bare_key(algorithm: &'static Algorithm) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(algorithm, &vec![7; algorithm.key_len()]).expect("a key"))
}

fn nonce(counter: u64) -> Nonce {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&counter.to_be_bytes());
    Nonce::assume_unique_for_key(nonce)
}

fn keys(cipher: Cipher) -> (SealKey, OpenKey) {
    let mut rng = SeededRng::new(1);
    let encryption = Secret::random(cipher.encryption_key_len(), &mut rng);
    let integrity = Secret::random(cipher.integrity_key_len(), &mut rng);
    (
        SealKey::new(cipher, &encryption, &integrity).expect("keys of the right length"),
        OpenKey::new(cipher, &encryption, &integrity).expect("keys of the right length"),
    )
}

fn text_len(cipher: Cipher, size: usize) -> usize {
    size.next_multiple_of(cipher.block_len())
}

fn seal(c: &mut Criterion) {
    for cipher in suites() {
        let mut group = c.benchmark_group(format!("seal/{cipher}"));
        for size in SIZES {
            let mut text = vec![0x55; text_len(cipher, size)];
            group.throughput(Throughput::Bytes(size as u64));
            if let Some(algorithm) = bare_algorithm(cipher) {
                let key = bare_key(algorithm);
                let mut counter = 0;
                group.bench_function(BenchmarkId::new("bare", size), |b| {
                    b.iter(|| {
                        counter += 1;
                        key.seal_in_place_separate_tag(nonce(counter), Aad::from(AAD), &mut text)
                    });
                });
            }
            let (key, _) = keys(cipher);
            let (mut iv, mut icv) = (vec![0; cipher.iv_len()], vec![0; cipher.icv_len()]);
            let mut counter = 0;
            group.bench_function(BenchmarkId::new("ours", size), |b| {
                b.iter(|| {
                    counter += 1;
                    key.seal(counter, &AAD, &mut iv, &mut text, &mut icv, &[])
                });
            });
        }
        group.finish();
    }
}

/// Opening destroys the packet, so each turn copies it in first; `bare` and `ours` alike.
fn open(c: &mut Criterion) {
    for cipher in suites() {
        let mut group = c.benchmark_group(format!("open/{cipher}"));
        for size in SIZES {
            group.throughput(Throughput::Bytes(size as u64));
            if let Some(algorithm) = bare_algorithm(cipher) {
                let key = bare_key(algorithm);
                let mut sealed = vec![0x55; text_len(cipher, size)];
                let tag = key
                    .seal_in_place_separate_tag(nonce(1), Aad::from(AAD), &mut sealed)
                    .expect("sealing works");
                let mut text = sealed.clone();
                group.bench_function(BenchmarkId::new("bare", size), |b| {
                    b.iter(|| {
                        text.copy_from_slice(&sealed);
                        let aad = Aad::from(AAD);
                        let opened =
                            key.open_in_place_separate_tag(nonce(1), aad, tag.as_ref(), &mut text);
                        black_box(opened.is_ok())
                    });
                });
            }
            let (seal_key, key) = keys(cipher);
            let mut sealed = vec![0x55; text_len(cipher, size)];
            let (mut iv, mut icv) = (vec![0; cipher.iv_len()], vec![0; cipher.icv_len()]);
            seal_key.seal(1, &AAD, &mut iv, &mut sealed, &mut icv, &[]).expect("sealing works");
            let mut text = sealed.clone();
            group.bench_function(BenchmarkId::new("ours", size), |b| {
                b.iter(|| {
                    text.copy_from_slice(&sealed);
                    key.open(&AAD, &iv, &mut text, &icv, &[])
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, seal, open);
criterion_main!(benches);
