//! A Linux kernel opens what we seal, and we what it seals.

use std::collections::BTreeSet;

use super::{Effort, Finding, lacks};
use crate::interop::{Extent, Row, kernel_programs, kernel_rows};
use crate::outcome::Status;

/// Suites below which the claim is not shown.
const SUITES_MIN: usize = 12;

/// Runs the cases, a few of them for a short look.
pub(super) fn measure(effort: &Effort) -> anyhow::Result<Finding> {
    if let Some(finding) = lacks(&kernel_programs()) {
        return Ok(finding);
    }
    Ok(judge(&kernel_rows(if effort.quick { Extent::Few } else { Extent::All })?))
}

fn judge(rows: &[Row]) -> Finding {
    let passed = || rows.iter().filter(|row| row.status == Status::Pass);
    let suites = |mode: &str| {
        let names = passed().filter_map(|row| row.scenario.split_once('/'));
        let of_mode = names.filter(|(shape, _)| shape.starts_with(mode));
        of_mode.map(|(_, suite)| suite.trim_end_matches("-esn")).collect::<BTreeSet<_>>().len()
    };
    let (tunnel, transport) = (suites("tunnel"), suites("transport"));
    let figure = format!(
        "{} of {} connections, {tunnel} suites in tunnel mode, {transport} in transport mode",
        passed().count(),
        rows.len()
    );
    let others = rows.iter().filter(|row| row.status != Status::Pass);
    let mut faults: Vec<String> = others.map(super::peer::brief).collect();
    if tunnel.min(transport) < SUITES_MIN {
        faults.push(format!("fewer than {SUITES_MIN} suites"));
    }
    if faults.is_empty() { Finding::pass(figure) } else { Finding::fail(figure, faults.join("; ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(count: usize) -> Vec<Row> {
        let names = (0..count).flat_map(|n| [format!("tunnel/{n}-esn"), format!("transport/{n}")]);
        names
            .map(|scenario| Row {
                scenario,
                status: Status::Pass,
                reason: String::new(),
                seconds: 0.0,
                figures: Default::default(),
            })
            .collect()
    }

    #[test]
    fn both_modes_need_twelve_suites() {
        assert_eq!(judge(&rows(12)).status, Status::Pass);
        assert_eq!(judge(&rows(11)).status, Status::Fail);
        let mut with_failure = rows(13);
        with_failure[3].status = Status::Fail;
        assert_eq!(judge(&with_failure).status, Status::Fail);
        assert_eq!(judge(&[]).status, Status::Fail);
    }
}
