//! How sessions begin and where they go: without a child (RFC 6023), to another gateway (RFC 5685).

use super::super::gateway::Gateway;
use super::super::plan::CONNECTION;
use super::super::{Bench, Figures};
use super::LATER;
use super::basic::{bring_up, is_up};

/// We begin without a child.
pub(crate) fn childless_ours(bench: &Bench) -> anyhow::Result<Figures> {
    childless(bench, &bench.left, "parsed CREATE_CHILD_SA request")
}

/// They begin without a child.
pub(crate) fn childless_theirs(bench: &Bench) -> anyhow::Result<Figures> {
    childless(bench, &bench.right, "generating CREATE_CHILD_SA request")
}

fn childless(bench: &Bench, who: &Gateway, exchange: &str) -> anyhow::Result<Figures> {
    let figures = bring_up(bench, who)?;
    let log = bench.right.log();
    anyhow::ensure!(log.contains("N(CHDLESS_SUP)"), "childless was not announced");
    anyhow::ensure!(log.contains(exchange), "the child came with IKE_AUTH");
    Ok(figures)
}

/// They send us to their other address while the tunnel is up.
pub(crate) fn redirect_theirs(bench: &Bench) -> anyhow::Result<Figures> {
    let figures = bring_up(bench, &bench.left)?;
    let before = bench.left.only_sa()?;
    let elsewhere = bench.right.side.outside(true).to_string();
    bench.right.swanctl(&["--redirect", "--ike", CONNECTION, "--gateway", &elsewhere])?;
    bench.left.wait_for(LATER, "the other gateway", |sa| sa.spis != before.spis)?;
    is_up(bench)?;
    let status = bench.left.ask(&["status", "--json"])?;
    anyhow::ensure!(status.contains(&elsewhere), "we are not at {elsewhere}: {status}");
    Ok(figures)
}

/// We send them to our other address when they call, and by command while the tunnel is up.
pub(crate) fn redirect_ours(bench: &Bench) -> anyhow::Result<Figures> {
    let figures = bring_up(bench, &bench.right)?;
    let log = bench.right.log();
    anyhow::ensure!(log.contains("N(REDIR)"), "we did not redirect them: {log}");
    let elsewhere = bench.left.side.outside(true).to_string();
    let status = bench.left.ask(&["status", "--json"])?;
    let peer = bench.right.side.outside(true).to_string();
    anyhow::ensure!(status.contains(&peer), "they are not at {elsewhere}: {status}");
    let before = bench.left.only_sa()?;
    let who = bench.right.side.identity();
    bench.left.swanctl(&["--redirect", "--peer-id", &who, "--gateway", &elsewhere])?;
    bench.left.wait_for(LATER, "their return", |sa| sa.spis != before.spis)?;
    is_up(bench)?;
    Ok(figures)
}
