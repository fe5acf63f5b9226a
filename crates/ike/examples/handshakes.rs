//! Handshakes to be counted: `handshakes COUNT`, both sides, with random numbers that are the same
//! every time.
//!
//! `cargo xtask instructions` runs it twice with different counts, so that what comes before the
//! first handshake does not count.

#[path = "../benches/pair/mod.rs"]
mod pair;

use std::env;
use std::process::ExitCode;

use adit_crypto::SeededRng;

use pair::{connect, endpoints};

const PROPOSAL: &str = "aes256gcm16-prfsha384-x25519";

fn main() -> ExitCode {
    let Some(count) = env::args().nth(1).and_then(|count| count.parse().ok()) else {
        eprintln!("handshakes COUNT");
        return ExitCode::FAILURE;
    };
    let mut rng = SeededRng::new(1);
    for _ in 0_u64..count {
        assert!(connect(&mut endpoints(PROPOSAL, &mut rng), &mut rng), "no child SA");
    }
    ExitCode::SUCCESS
}
