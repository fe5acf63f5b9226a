//! Rekeyings per second, both sides on one core.
//!
//! Question: what does it cost to keep a tunnel fresh? `child` is CREATE_CHILD_SA with a key
//! exchange and the delete of the old child; `ike` the same for the IKE SA, `ike+mlkem768` with
//! IKE_FOLLOWUP_KE. Compare with the key exchanges alone (`cargo bench -p adit-crypto --bench kx`).
//! The network is simulated; keys come from the operating system's randomness.

use adit_db::ProposalSpec;
use adit_sim::{Pair, Seed, Setup};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

fn pair(suite: &str) -> Pair {
    let mut setup = Setup::new(Seed(7));
    setup.system_randomness = true;
    for connection in [&mut setup.left, &mut setup.right] {
        connection.proposals = ProposalSpec::ike_list(suite).expect("a legal proposal");
    }
    setup.pair()
}

fn rekey(c: &mut Criterion) {
    let mut group = c.benchmark_group("rekey");
    group.throughput(Throughput::Elements(1));
    let mut child = pair(PLAIN).up();
    group.bench_function("child", |b| {
        b.iter(|| {
            child.left.rekey_child(child.child);
            child.run_until_idle();
        });
    });
    for (name, suite) in [("ike", PLAIN), ("ike+mlkem768", HYBRID)] {
        let mut ike = pair(suite).up();
        group.bench_function(name, |b| {
            b.iter(|| {
                ike.left.rekey_ike();
                ike.run_until_idle();
            });
        });
    }
    group.finish();
}

const PLAIN: &str = "aes256gcm16-prfsha384-x25519";
const HYBRID: &str = "aes256gcm16-prfsha384-x25519-ke1_mlkem768";

criterion_group!(benches, rekey);
criterion_main!(benches);
