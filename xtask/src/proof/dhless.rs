//! Row 4 of IKEv1: phase 1 without a key exchange (draft-ietf-ipsec-dhless-enc-mode-00).
//!
//! Its values are those of a program in Python that shares nothing with ours, what is no ciphertext gives
//! what OpenSSL gives, two daemons carry the demo's traffic in main and in aggressive mode, and
//! strongSwan declines.

use std::process::Command;

use anyhow::Context as _;
use serde_json::Value;

use super::{Effort, Finding, lacks, printed, vectors};
use crate::interop::{PROGRAMS, Peer, named_rows};
use crate::outcome::Status;
use crate::root;

/// How `adit demo --ike` calls them.
const HOWS: [&str; 2] = ["dhless", "dhless-aggressive"];

/// Octets of each transfer.
const TRANSFER: u64 = 10_000_000;

/// What strongSwan is asked in.
const SCENARIO: &str = "ikev1-dhless-declined";

/// Runs all of it.
pub(super) fn measure(_: &Effort) -> anyhow::Result<Finding> {
    if let Some(finding) = lacks(&PROGRAMS) {
        return Ok(finding);
    }
    let answers = vectors::measure_dhless()?;
    if answers.status != Status::Pass {
        return Ok(answers);
    }
    let mut cargo = root::cargo();
    cargo.args(["build", "--release", "-p", "aditd", "-p", "adit"]);
    printed(&mut cargo).context("adit does not build")?;
    let mut figure = answers.figure;
    for how in HOWS {
        let took_ms = demo(how)?;
        figure.push_str(&format!(", {how} up in {took_ms:.0} ms"));
    }
    let rows = named_rows(Peer::Strongswan, &[SCENARIO])?;
    let faults: Vec<String> =
        rows.iter().filter(|row| row.status != Status::Pass).map(super::peer::brief).collect();
    if rows.is_empty() || !faults.is_empty() {
        return Ok(Finding::fail(figure, faults.join("; ")));
    }
    figure.push_str(", strongSwan declines");
    Ok(Finding::pass(figure))
}

/// `adit demo --json --ike HOW`; how long the tunnel took to come up.
fn demo(how: &str) -> anyhow::Result<f64> {
    let mut command = Command::new(root::target().join("release/adit"));
    command.args(["demo", "--json", "--ike", how, "--bytes", &TRANSFER.to_string()]);
    let text = printed(&mut command).with_context(|| format!("adit demo --ike {how}"))?;
    eprintln!("{}", text.trim());
    let report: Value = serde_json::from_str(&text).context("the demo's report")?;
    anyhow::ensure!(report.get("ok") == Some(&Value::Bool(true)), "the demo with {how}: {text}");
    report.get("established_ms").and_then(Value::as_f64).context("no established_ms")
}
