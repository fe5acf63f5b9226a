//! Tunnels that come up and carry traffic.

use super::super::gateway::{Gateway, Level};
use super::super::transfer::transfer;
use super::super::{Bench, Figures, ping};
use super::{SOON, rekey};
use crate::clock;

/// Octets of the long transfer, each way.
const LONG: u64 = 100_000_000;

/// How strongSwan's log names the transform of ML-KEM-768 before and since version 6.
const ML_KEM_768: [&str; 2] = ["UNKNOWN_6_36", "ML_KEM_768"];

/// Octets of a transfer that only shows that long packets pass.
const SHORT: u64 = 4_000_000;

/// We initiate.
pub(crate) fn initiator(bench: &Bench) -> anyhow::Result<Figures> {
    bring_up(bench, &bench.left)
}

/// They initiate.
pub(crate) fn responder(bench: &Bench) -> anyhow::Result<Figures> {
    bring_up(bench, &bench.right)
}

/// A long transfer each way through a tunnel that we initiated.
pub(crate) fn tcp(bench: &Bench) -> anyhow::Result<Figures> {
    let mut figures = bring_up(bench, &bench.left)?;
    figures.extend(transfers(bench, LONG)?);
    Ok(figures)
}

/// A long transfer each way through a tunnel that they initiated.
pub(crate) fn tcp_responder(bench: &Bench) -> anyhow::Result<Figures> {
    let mut figures = bring_up(bench, &bench.right)?;
    figures.extend(transfers(bench, LONG)?);
    Ok(figures)
}

/// What we propose when nothing is configured: they know neither ML-KEM nor ESN and call for UDP.
pub(crate) fn defaults(bench: &Bench) -> anyhow::Result<Figures> {
    let figures = everything(bench)?;
    let log = bench.right.log();
    let offered = log.lines().find(|line| line.contains("received proposals: IKE:"));
    let offered = offered.unwrap_or("received no proposal");
    let has_ml_kem = ML_KEM_768.iter().any(|name| offered.contains(name));
    anyhow::ensure!(has_ml_kem, "we offered no ML-KEM-768: {offered}");
    let offered = log.lines().find(|line| line.contains("received proposals: ESP:"));
    let offered = offered.unwrap_or("received no proposal");
    anyhow::ensure!(offered.contains("/EXT_SEQ"), "we offered no ESN: {offered}");
    Ok(figures)
}

/// Up from either side, pings, a transfer each way, a rekey of either level.
pub(crate) fn everything(bench: &Bench) -> anyhow::Result<Figures> {
    let mut figures = bring_up(bench, &bench.left)?;
    figures.extend(transfers(bench, SHORT)?);
    rekey::quietly(bench, &bench.left, Level::Child)?;
    rekey::quietly(bench, &bench.right, Level::Ike)?;
    bench.left.terminate(Level::Ike)?;
    bench.right.wait_for_none(SOON)?;
    bench.left.wait_for_none(SOON)?;
    bring_up(bench, &bench.right)?;
    Ok(figures)
}

/// So many networks that IKE_AUTH takes more than one datagram.
pub(crate) fn fragmentation(bench: &Bench) -> anyhow::Result<Figures> {
    let figures = bring_up(bench, &bench.left)?;
    let log = bench.right.log();
    anyhow::ensure!(log.contains("received fragment #"), "we sent IKE_AUTH in one datagram");
    anyhow::ensure!(log.contains("splitting IKE message"), "they sent IKE_AUTH in one datagram");
    Ok(figures)
}

/// `who` initiates; afterwards both have the same SAs and pings pass both ways.
pub(crate) fn bring_up(bench: &Bench, who: &Gateway) -> anyhow::Result<Figures> {
    let start = clock::now();
    who.initiate()?;
    let time = start.elapsed();
    is_up(bench)?;
    Ok(Figures::from([("established_ms", time.as_secs_f64() * 1e3)]))
}

/// Both have one IKE SA with one child, the same ones, and pings pass both ways.
pub(crate) fn is_up(bench: &Bench) -> anyhow::Result<()> {
    let left = bench.left.wait_for(SOON, "the tunnel", |_| true)?;
    let same = |sa: &super::super::raw::IkeSa| sa.spis == left.spis;
    bench.right.wait_for(SOON, "the same tunnel", same)?;
    ping::both_ways(&bench.left.side, &bench.right.side, bench.plan.inside_v6)
}

fn transfers(bench: &Bench, octets: u64) -> anyhow::Result<Figures> {
    let (left, right, v6) = (&bench.left.side, &bench.right.side, bench.plan.inside_v6);
    let out = transfer(left, right, v6, octets)?;
    let back = transfer(right, left, v6, octets)?;
    Ok(Figures::from([("out_mbit_s", out.mbit_s), ("in_mbit_s", back.mbit_s)]))
}
