//! Handshakes per second in one process: both sides, all four to seven messages, no network.
//!
//! Question: what does a gateway pay per peer, and what does ML-KEM-768 cost beside X25519? One
//! iteration is an IKE SA with its first child on both sides, so one core of one gateway does
//! about twice as many.

mod pair;

use adit_crypto::SystemRng;
use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};

use pair::{connect, endpoints};

fn handshake(c: &mut Criterion) {
    let mut group = c.benchmark_group("ike/handshake");
    for (name, proposal) in [
        ("x25519", "aes256gcm16-prfsha384-x25519"),
        ("x25519+mlkem768", "aes256gcm16-prfsha384-x25519-ke1_mlkem768"),
        ("ecp384", "aes256gcm16-prfsha384-ecp384"),
    ] {
        group.bench_function(BenchmarkId::from_parameter(name), |b| {
            let fresh = || endpoints(proposal, &mut SystemRng);
            let work = |pair: &mut _| assert!(connect(pair, &mut SystemRng));
            b.iter_batched_ref(fresh, work, BatchSize::SmallInput);
        });
    }
    group.finish();
}

criterion_group!(benches, handshake);
criterion_main!(benches);
