//! Time of each step of a key exchange.
//!
//! Question: what does the first message of a stranger cost a responder (`respond`), and which
//! method is the cheapest to offer first? `generate` and `agree` are the initiator's half.

use adit_crypto::{KeyExchange, SystemRng};
use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};

fn exchange(c: &mut Criterion) {
    for method in KeyExchange::ALL {
        let mut group = c.benchmark_group(format!("kx/{method}"));
        group.sample_size(20);
        group.bench_function(BenchmarkId::from_parameter("generate"), |b| {
            b.iter(|| method.generate(&mut SystemRng));
        });
        let share = method.generate(&mut SystemRng);
        group.bench_function(BenchmarkId::from_parameter("respond"), |b| {
            b.iter(|| method.respond(share.public(), &mut SystemRng));
        });
        group.bench_function(BenchmarkId::from_parameter("agree"), |b| {
            let setup = || {
                let share = method.generate(&mut SystemRng);
                let (public, _) =
                    method.respond(share.public(), &mut SystemRng).expect("our own value is valid");
                (share, public)
            };
            let agree = |(share, public): (adit_crypto::KeyShare, Vec<u8>)| share.agree(&public);
            b.iter_batched(setup, agree, BatchSize::SmallInput);
        });
        group.finish();
    }
}

criterion_group!(benches, exchange);
criterion_main!(benches);
