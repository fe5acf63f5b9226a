//! Handshakes and rekeyings per second, both sides on one core.
//!
//! Question: what does a tunnel cost, and how much of it is the key exchange? `handshake` goes
//! from the first message to one child on both sides; compare the suites with the key exchanges
//! alone (`cargo bench -p adit-crypto --bench kx`). The network is simulated, so the rest is
//! parsing, protection and the state machines. Keys come from the operating system's randomness.

use adit_db::ProposalSpec;
use adit_sim::{Pair, Seed, Setup};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};

/// The default, and each key exchange without ML-KEM.
const SUITES: [(&str, &str); 5] = [
    ("x25519+mlkem768", "aes256gcm16-prfsha384-x25519-ke1_mlkem768"),
    ("x25519", "aes256gcm16-prfsha384-x25519"),
    ("ecp256", "aes256gcm16-prfsha384-ecp256"),
    ("ecp384", "aes256gcm16-prfsha384-ecp384"),
    ("modp3072", "aes256gcm16-prfsha384-modp3072"),
];

fn pair(suite: &str) -> Pair {
    let mut setup = Setup::new(Seed(7));
    setup.system_randomness = true;
    for connection in [&mut setup.left, &mut setup.right] {
        connection.proposals = ProposalSpec::ike_list(suite).expect("a legal proposal");
    }
    setup.pair()
}

fn handshake(c: &mut Criterion) {
    let mut group = c.benchmark_group("handshake");
    group.throughput(Throughput::Elements(1));
    for (name, suite) in SUITES {
        group.bench_function(name, |b| {
            b.iter_batched(|| pair(suite), Pair::up, BatchSize::SmallInput);
        });
    }
    group.finish();
}

fn rekey(c: &mut Criterion) {
    let mut group = c.benchmark_group("rekey");
    group.throughput(Throughput::Elements(1));
    let (_, suite) = SUITES[1];
    let mut child = pair(suite).up();
    group.bench_function("child", |b| {
        b.iter(|| {
            child.left.rekey_child(child.child);
            child.run_until_idle();
        });
    });
    let mut ike = pair(suite).up();
    group.bench_function("ike", |b| {
        b.iter(|| {
            ike.left.rekey_ike();
            ike.run_until_idle();
        });
    });
    group.finish();
}

criterion_group!(benches, handshake, rekey);
criterion_main!(benches);
