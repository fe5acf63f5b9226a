//! The claims about IKEv1.

use std::process::Command;

use anyhow::Context as _;

use super::{
    Claim, Effort, Finding, checklist, fuzzing, ikev1_speed, lacks, peer, printed, vectors,
};
use crate::root;

pub(super) const CLAIMS: &[Claim] = &[
    Claim {
        number: 1,
        claim: "keys, hashes, IVs and messages of IKEv1 are the published ones, and captures decrypt",
        measure: measure_vectors,
    },
    Claim {
        number: 2,
        claim: "strongSwan, libreswan, vpnc and ike-scan agree with us in every scenario",
        measure: peer::measure_ikev1,
    },
    Claim {
        number: 3,
        claim: "each behaviour that is to be proven about IKEv1 has a test that passes",
        measure: checklist::measure_ikev1,
    },
    Claim {
        number: 4,
        claim: "phase 1 without a key exchange brings up a tunnel, and others decline it cleanly",
        measure: super::dhless::measure,
    },
    Claim {
        number: 5,
        claim: "phase 1 per second and core by method and group, beside the bare primitives",
        measure: ikev1_speed::measure,
    },
    Claim {
        number: 6,
        claim: "no input crashes ISAKMP payloads, phase 1 or Quick Mode, with valid keys or without",
        measure: fuzzing::measure_ikev1,
    },
];

/// Vectors whose values others computed, and those of a program that shares nothing with ours.
fn measure_vectors(_: &Effort) -> anyhow::Result<Finding> {
    if let Some(finding) = lacks(&["python3", "gzip"]) {
        return Ok(finding);
    }
    let folder = root::path("crates/ike/tests/vectors");
    let computed = printed(Command::new("python3").arg(folder.join("ikev1_reference.py")))?;
    let path = folder.join("ikev1-reference.txt");
    let kept = std::fs::read_to_string(&path).with_context(|| format!("no {}", path.display()))?;
    if computed != kept {
        let reason = "ikev1_reference.py no longer computes ikev1-reference.txt: run it again";
        return Ok(Finding::fail("", reason));
    }
    let mut finding = vectors::measure_ikev1()?;
    if !root::path("../shared/vectors").exists() && std::env::var_os("ADIT_VECTORS").is_none() {
        // Some are not ours to carry.
        finding.reason.push_str("; skipped: captures under the GPL and the whole sets of NIST");
        finding.reason = finding.reason.trim_start_matches("; ").to_owned();
    }
    Ok(finding)
}
