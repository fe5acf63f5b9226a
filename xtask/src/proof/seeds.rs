//! Row 5: the simulation.

use super::{Effort, Finding};
use crate::outcome::Status;
use crate::sim;

/// Runs the seeds.
pub(super) fn measure(effort: &Effort) -> anyhow::Result<Finding> {
    let outcome = sim::run(effort.seeds, sim::Profile::Release)?;
    if outcome.status == Status::Pass {
        return Ok(Finding::pass(outcome.note));
    }
    let figure = format!("{} seeds wanted", effort.seeds);
    Ok(Finding { status: outcome.status, figure, reason: outcome.note })
}
