//! Nothing protected leaves in clear: in the simulator for many sequences, in the policies that
//! `aditd` makes for many more, and on a real link with a sniffer.

use super::{Effort, Finding, lacks, printed};
use crate::outcome::Status;
use crate::{root, sim};

/// A test of `aditd`, and how it is found.
struct Test {
    target: &'static [&'static str],
    name: &'static str,
}

/// The policies of `aditd`, after any changes.
const BOOK: Test =
    Test { target: &["--bin", "aditd"], name: "held_traffic_has_its_policy_whatever_happens" };

/// A link between two hosts, a clear way besides, and a sniffer on it.
const SNIFFER: Test = Test {
    target: &["--test", "tunnel"],
    name: "no_packet_leaves_in_clear_while_the_tunnel_is_down",
};

/// Runs all of them.
pub(super) fn measure(effort: &Effort) -> anyhow::Result<Finding> {
    let played = sim::leaks(effort.sequences)?;
    if played.status != Status::Pass {
        let figure = format!("{} sequences wanted", effort.sequences);
        return Ok(Finding { status: played.status, figure, reason: played.note });
    }
    passes(&BOOK)?;
    let figure = format!("{}; policies of aditd: held after any changes", played.note);
    if let Some(finding) = lacks(&["ip", "ping"]) {
        return Ok(Finding { figure, ..finding });
    }
    passes(&SNIFFER)?;
    Ok(Finding::pass(format!("{figure}; sniffer on a link: nothing seen")))
}

/// Runs a test; that there is none of its name is a failure too.
fn passes(test: &Test) -> anyhow::Result<()> {
    let mut cargo = root::cargo();
    cargo.args(["test", "--quiet", "-p", "aditd"]).args(test.target).args(["--", test.name]);
    let text = printed(&mut cargo)?;
    anyhow::ensure!(text.contains("ok. 1 passed"), "aditd has no test {}", test.name);
    Ok(())
}
