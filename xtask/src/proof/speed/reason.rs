//! Why a figure was missed: where the time goes, as far as the rounds and the profile tell.

use crate::bench::{Cell, Measure, Report, Subject};

/// Functions of the profile that a reason names.
const NAMED: usize = 5;

/// What `ours` spends in `cell`, and on what; how far it would be from `theirs` if it did not protect anything.
pub(super) fn of(
    report: &Report,
    ours: Subject,
    theirs: Subject,
    cell: Cell,
    measure: Measure,
) -> String {
    let mut parts = Vec::new();
    if theirs != Subject::Plain
        && let Some(roof) = report.ratio(Subject::Plain, theirs, cell, measure)
    {
        parts.push(format!("without crypto it would be {:.2} times", roof.median));
    }
    if let Some(cpu) = report.spread(ours, cell, Measure::CpuPerGbit) {
        parts.push(format!("both daemons need {:.3} CPU-s per Gbit", cpu.median));
    }
    if let Some(plain) = report.spread(Subject::Plain, cell, Measure::CpuPerGbit) {
        parts.push(format!("the plane without crypto {:.3}", plain.median));
    }
    if let Some(share) = report.kernel_share(ours, cell) {
        parts.push(format!("{:.0} % of our processor time is the kernel's", 100.0 * share));
    }
    if cell == Cell::Ping
        && let Some(cable) = report.spread(Subject::Veth, cell, Measure::Value)
    {
        parts.push(format!("the cable alone takes {:.0} us", cable.median));
    }
    let profile = report.profiles.iter().find(|profile| profile.cell == cell);
    if let Some(profile) = profile {
        let hot = profile.hottest.iter().take(NAMED);
        let named: Vec<String> =
            hot.map(|hot| format!("{} {:.0} %", hot.function, hot.percent)).collect();
        parts.push(format!("of that of {}: {}", profile.subject.name(), named.join(", ")));
    }
    let load = format!("{} programs wanted a processor as the run began", report.machine.load);
    parts.push(load);
    parts.join("; ")
}
