//! IKEv1 (RFC 2409) between us and a peer that has it, too. Their ESP in user space goes in UDP alone, so
//! that all of it goes by the rules for NATs (RFC 3947).

use std::thread::sleep;
use std::time::Duration;

use super::super::gateway::{Gateway, Level};
use super::super::plan::{POOL_BEGINS, USER};
use super::super::transfer::transfer;
use super::super::{Bench, Figures};
use super::basic::bring_up;
use super::{SOON, login};

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

/// Silence is asked about (RFC 3706), and ends the tunnel if nobody answers.
pub(crate) fn dead_peer(bench: &Bench) -> anyhow::Result<Figures> {
    let figures = silent(bench, [("parsed", "N(DPD)"), ("generating", "N(DPD_ACK)")])?;
    bench.right.kill()?;
    bench.left.wait_for_none(GIVEN_UP)?;
    Ok(figures)
}

/// They ask, and we answer.
pub(crate) fn asked_for_life(bench: &Bench) -> anyhow::Result<Figures> {
    silent(bench, [("generating", "N(DPD)"), ("parsed", "N(DPD_ACK)")])
}

/// A tunnel without traffic stays. What they have to log of it.
fn silent(bench: &Bench, logged: [(&str, &str); 2]) -> anyhow::Result<Figures> {
    let figures = bring_up(bench, &bench.left)?;
    let before = bench.left.only_sa()?;
    sleep(SILENCE);
    anyhow::ensure!(bench.left.only_sa()?.spis == before.spis, "the tunnel is another one");
    let log = bench.right.log();
    for (way, word) in logged {
        let said = |line: &str| line.contains(way) && line.contains(word);
        anyhow::ensure!(log.lines().any(said), "they have not {way} {word}");
    }
    Ok(figures)
}

/// Aggressive mode, by us and by them.
pub(crate) fn aggressive(bench: &Bench) -> anyhow::Result<Figures> {
    let figures = up_and_down(bench, &bench.left)?;
    up_and_down(bench, &bench.right)?;
    let log = bench.right.log();
    anyhow::ensure!(!log.contains("ID_PROT"), "there was a main mode");
    anyhow::ensure!(log.contains("AGGRESSIVE"), "they know nothing of an aggressive mode");
    Ok(figures)
}

/// Signatures by RSA keys, by us and by them (RFC 2409 §5.1).
pub(crate) fn rsa(bench: &Bench) -> anyhow::Result<Figures> {
    login::both_ways(bench, "RSA")
}

/// Signatures by ECDSA keys, by us and by them (RFC 4754).
pub(crate) fn ecdsa(bench: &Bench) -> anyhow::Result<Figures> {
    login::both_ways(bench, "ECDSA")
}

/// Our user is asked for, and right.
pub(crate) fn user_ours(bench: &Bench) -> anyhow::Result<Figures> {
    let figures = up_and_down(bench, &bench.left)?;
    let right = format!("XAuth authentication of '{}' successful", USER.0);
    anyhow::ensure!(bench.right.log().contains(&right), "they know nothing of our user");
    Ok(figures)
}

/// Their user is asked for, and right.
pub(crate) fn user_theirs(bench: &Bench) -> anyhow::Result<Figures> {
    let figures = up_and_down(bench, &bench.right)?;
    let right = format!("XAuth authentication of '{}' (myself) successful", USER.0);
    anyhow::ensure!(bench.right.log().contains(&right), "we know nothing of their user");
    Ok(figures)
}

/// We get an address.
pub(crate) fn address_ours(bench: &Bench) -> anyhow::Result<Figures> {
    has_address(bench, &bench.left, "assigning virtual IP")
}

/// They get an address.
pub(crate) fn address_theirs(bench: &Bench) -> anyhow::Result<Figures> {
    has_address(bench, &bench.right, "installing new virtual IP")
}

/// Up, and what their log says of the address is one of the pool.
fn has_address(bench: &Bench, client: &Gateway, said: &str) -> anyhow::Result<Figures> {
    client.initiate()?;
    bench.left.wait_for(SOON, "the tunnel", |_| true)?;
    bench.right.wait_for(SOON, "the tunnel", |_| true)?;
    let log = bench.right.log();
    let is_told = |line: &str| line.contains(said) && line.contains(POOL_BEGINS);
    anyhow::ensure!(log.lines().any(is_told), "there is no address: {said}");
    client.terminate(Level::Ike)?;
    bench.left.wait_for_none(SOON)?;
    bench.right.wait_for_none(SOON)?;
    Ok(Figures::new())
}

fn up_and_down(bench: &Bench, who: &Gateway) -> anyhow::Result<Figures> {
    let figures = bring_up(bench, who)?;
    who.terminate(Level::Ike)?;
    bench.left.wait_for_none(SOON)?;
    bench.right.wait_for_none(SOON)?;
    Ok(figures)
}

/// We begin another phase 1 under traffic: the child is the same, and goes on.
pub(crate) fn new_phase_1_ours(bench: &Bench) -> anyhow::Result<Figures> {
    let figures = bring_up(bench, &bench.left)?;
    super::rekey::quietly(bench, &bench.left, Level::Ike)?;
    super::basic::is_up(bench)?;
    bench.left.terminate(Level::Ike)?;
    bench.left.wait_for_none(SOON)?;
    bench.right.wait_for_none(SOON)?;
    Ok(figures)
}
