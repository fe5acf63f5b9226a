//! Five million exchanges of simulated hosts, and no invariant broken.

use super::{Effort, Finding};
use crate::outcome::Status;
use crate::sim;

/// Exchanges that are claimed.
const EXCHANGES: u64 = 5_000_000;
/// Those of a short look.
const FEW_EXCHANGES: u64 = 100_000;

/// Plays worlds of all profiles.
pub(crate) fn measure(effort: &Effort) -> anyhow::Result<Finding> {
    let exchanges = if effort.quick { FEW_EXCHANGES } else { EXCHANGES };
    let outcome = sim::worlds(exchanges)?;
    if outcome.status == Status::Pass {
        return Ok(Finding::pass(outcome.note));
    }
    let figure = format!("{exchanges} exchanges wanted");
    Ok(Finding { status: outcome.status, figure, reason: outcome.note })
}
