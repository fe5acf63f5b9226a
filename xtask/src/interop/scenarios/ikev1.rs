//! IKEv1 (RFC 2409) between us and a peer that has it, too. Their ESP in user space goes in UDP alone, so
//! that all of it goes by the rules for NATs (RFC 3947).

use std::thread::sleep;
use std::time::Duration;

use super::super::gateway::{Gateway, Level};
use super::super::transfer::transfer;
use super::super::{Bench, Figures};
use super::SOON;
use super::basic::bring_up;

/// Octets of a transfer, each way.
const OCTETS: u64 = 1_000_000;

/// How long nothing passes but signs of life.
const SILENCE: Duration = Duration::from_secs(8);

/// A peer that does not answer any more is given up within this time: all repetitions of a question are
/// waited for.
const GIVEN_UP: Duration = Duration::from_secs(120);

/// We initiate.
pub(crate) fn ours(bench: &Bench) -> anyhow::Result<Figures> {
    carries(bench, &bench.left)
}

/// They initiate.
pub(crate) fn theirs(bench: &Bench) -> anyhow::Result<Figures> {
    carries(bench, &bench.right)
}

/// Up, pings, a transfer each way, down.
fn carries(bench: &Bench, who: &Gateway) -> anyhow::Result<Figures> {
    let mut figures = bring_up(bench, who)?;
    let log = bench.right.log();
    anyhow::ensure!(log.contains("ID_PROT"), "they know nothing of a main mode");
    let (left, right, v6) = (&bench.left.side, &bench.right.side, bench.plan.inside_v6);
    figures.insert("out_mbit_s", transfer(left, right, v6, OCTETS)?.mbit_s);
    figures.insert("in_mbit_s", transfer(right, left, v6, OCTETS)?.mbit_s);
    who.terminate(Level::Ike)?;
    bench.left.wait_for_none(SOON)?;
    bench.right.wait_for_none(SOON)?;
    Ok(figures)
}

/// Phase 1 without a key exchange is Adit's alone: they say that they have no such proposal, keep nothing,
/// and go on; our operator reads why.
pub(crate) fn dhless_declined(bench: &Bench) -> anyhow::Result<Figures> {
    anyhow::ensure!(bench.left.initiate().is_err(), "they have taken it");
    let log = bench.left.log();
    anyhow::ensure!(log.contains("E109"), "our log has no E109");
    anyhow::ensure!(bench.right.log().contains("NO_PROP"), "they have not said NO_PROPOSAL_CHOSEN");
    bench.left.wait_for_none(SOON)?;
    bench.right.wait_for_none(SOON)?;
    Ok(Figures::default())
}

/// Silence is asked about by both (RFC 3706), and ends the tunnel if nobody answers.
pub(crate) fn dead_peer(bench: &Bench) -> anyhow::Result<Figures> {
    let figures = bring_up(bench, &bench.left)?;
    let before = bench.left.only_sa()?;
    sleep(SILENCE);
    anyhow::ensure!(bench.left.only_sa()?.spis == before.spis, "the tunnel is another one");
    let log = bench.right.log();
    for word in ["N(DPD)", "N(DPD_ACK)"] {
        for way in ["parsed", "generating"] {
            let said = |line: &str| line.contains(way) && line.contains(word);
            anyhow::ensure!(log.lines().any(said), "they have not {way} {word}");
        }
    }
    bench.right.kill()?;
    bench.left.wait_for_none(GIVEN_UP)?;
    Ok(figures)
}
