//! Certificates and raw keys (RFC 7427, RFC 7670).

use super::super::gateway::Level;
use super::super::{Bench, Figures};
use super::SOON;
use super::basic::bring_up;

/// Up from either side, and the peer's log has this word about our proof.
pub(super) fn both_ways(bench: &Bench, word: &str) -> anyhow::Result<Figures> {
    let figures = bring_up(bench, &bench.left)?;
    bench.left.terminate(Level::Ike)?;
    bench.right.wait_for_none(SOON)?;
    bench.left.wait_for_none(SOON)?;
    bring_up(bench, &bench.right)?;
    let log = bench.right.log();
    let ours: Vec<&str> = log.lines().filter(|line| line.contains("'left.example' with")).collect();
    anyhow::ensure!(ours.len() >= 2, "they did not authenticate us twice: {ours:?}");
    let fits = ours.iter().all(|line| line.contains(word) && line.contains("successful"));
    anyhow::ensure!(fits, "not by {word}: {ours:?}");
    Ok(figures)
}

/// By RSA, where PSS is what we prefer.
pub(crate) fn rsa(bench: &Bench) -> anyhow::Result<Figures> {
    both_ways(bench, "RSA_EMSA_PSS")
}

/// By ECDSA.
pub(crate) fn ecdsa(bench: &Bench) -> anyhow::Result<Figures> {
    both_ways(bench, "ECDSA")
}

/// By Ed25519.
pub(crate) fn ed25519(bench: &Bench) -> anyhow::Result<Figures> {
    both_ways(bench, "ED25519")
}

/// swanctl brings our daemon certificates and keys, and lists them.
pub(crate) fn swanctl(bench: &Bench) -> anyhow::Result<Figures> {
    let listed = bench.left.swanctl(&["--list-certs"])?;
    for word in ["CN=left.example", "lab authority", "has private key"] {
        anyhow::ensure!(listed.contains(word), "list-certs without `{word}`: {listed}");
    }
    // Loading the same again disturbs nothing.
    bench.left.swanctl(&["--load-all", "--noprompt"])?;
    ecdsa(bench)
}
