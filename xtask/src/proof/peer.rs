//! Real peers: strongSwan alone, or all that bring an IKE of their own.

use super::{Effort, Finding, lacks};
use crate::interop::{PROGRAMS, Peer, Row, all_rows, rows_that_begin};
use crate::outcome::Status;

/// Runs every scenario with strongSwan.
pub(super) fn measure(_: &Effort) -> anyhow::Result<Finding> {
    with(&[Peer::Strongswan])
}

/// Runs every scenario with every daemon of others.
pub(super) fn measure_all(_: &Effort) -> anyhow::Result<Finding> {
    with(&[Peer::Strongswan, Peer::Libreswan, Peer::Openiked])
}

/// Runs every scenario of IKEv1 with those that have it: strongSwan, ike-scan and vpnc in its place, and
/// libreswan.
pub(super) fn measure_ikev1(_: &Effort) -> anyhow::Result<Finding> {
    run(&[Peer::Strongswan, Peer::Libreswan], |peer| rows_that_begin(peer, "ikev1-"))
}

fn with(peers: &[Peer]) -> anyhow::Result<Finding> {
    run(peers, all_rows)
}

fn run(
    peers: &[Peer],
    rows_of: impl Fn(Peer) -> anyhow::Result<Vec<Row>>,
) -> anyhow::Result<Finding> {
    if let Some(finding) = lacks(&PROGRAMS) {
        return Ok(finding);
    }
    let mut rows = Vec::new();
    for peer in peers {
        rows.extend(rows_of(*peer)?);
    }
    let passed = rows.iter().filter(|row| row.status == Status::Pass).count();
    let mut figure = format!("{passed} of {} scenarios", rows.len());
    for (name, value) in rows.iter().filter(|row| row.scenario == "tcp").flat_map(|r| &r.figures) {
        figure.push_str(&format!(", {name} {value:.0}"));
    }
    if passed == rows.len() {
        return Ok(Finding::pass(figure));
    }
    let others: Vec<String> = rows.iter().filter(|r| r.status != Status::Pass).map(brief).collect();
    Ok(Finding::fail(figure, others.join("; ")))
}

/// A row that did not pass, in a few words.
pub(super) fn brief(row: &Row) -> String {
    format!("{} {}: {}", row.status.word(), row.scenario, row.reason)
}
