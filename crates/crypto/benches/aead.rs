//! Octets per second one core seals and opens, by packet size.
//!
//! Question: what does our [`SealKey`] and [`OpenKey`] cost above the bare AEAD of aws-lc-rs? For
//! every suite and size compare `bare` with `ours`; the difference at 64 octets is the price of
//! nonce, dispatch and checks per packet. The CBC suites have no bare counterpart: they show what
//! a peer without an AEAD costs.

use std::hint::black_box;

use adit_crypto::{Cipher, OpenKey, SealKey, Secret, SeededRng};
use aws_lc_rs::aead::{
    AES_128_GCM, AES_256_GCM, Aad, Algorithm, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey,
};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

/// Octets of packet: smallest usual, half an MTU, an MTU less the headers, a jumbo frame.
const SIZES: [usize; 4] = [64, 576, 1_400, 8_900];

/// ESP header: SPI and sequence number.
const AAD: [u8; 8] = [0, 0, 0x12, 0x34, 0, 0, 0, 1];

fn bare_algorithm(cipher: Cipher) -> Option<&'static Algorithm> {
    match (cipher.is_aead(), cipher.key_bits()) {
        (true, Some(128)) => Some(&AES_128_GCM),
        (true, Some(_)) => Some(&AES_256_GCM),
        (true, None) => Some(&CHACHA20_POLY1305),
        (false, _) => None,
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
    for cipher in Cipher::ALL {
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
    for cipher in Cipher::ALL {
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
