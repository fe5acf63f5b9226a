//! Raw ESP: figures of the example `raw_speed` of `adit-sys`.

use anyhow::Context as _;

use super::Compared;
use crate::bench::profile;
use crate::proof::{Effort, printed};
use crate::root;

/// Packets per second past raw sockets as a multiple of those through them, the lesser one of all
/// sizes.
///
/// # Errors
///
/// The example does not build or run.
pub(super) fn speed(effort: &Effort) -> anyhow::Result<Compared> {
    let [seconds, rounds] = if effort.quick { ["1", "3"] } else { ["3", "5"] };
    let mut cargo = root::cargo();
    cargo.args(["run", "--quiet", "--release", "-p", "adit-sys", "--example", "raw_speed", "--"]);
    let text = printed(cargo.args([seconds, rounds]))?;
    eprintln!("{text}");
    let medians: Vec<(&str, f64)> = text.lines().filter_map(read).collect();
    let least = medians.iter().map(|(_, ratio)| *ratio).min_by(f64::total_cmp);
    let ratio = least.context("the example printed no ratio")?;
    let values: Vec<&str> = medians.iter().map(|(line, _)| *line).collect();
    let costs = text.lines().filter(|line| line.contains("AF_XDP both ways"));
    let last = last_of_sizes(costs).join("; ");
    let hottest = hottest().unwrap_or_else(|error| format!("no profile: {error:#}"));
    let reason = format!("of the last round of each size: {last}; with AF_XDP {hottest}");
    Ok(Compared { values: values.join("; "), ratio, reason })
}

/// Where both ends' time goes with AF_XDP.
fn hottest() -> anyhow::Result<String> {
    let program = root::target().join("release/examples/raw_speed");
    let file = root::target().join("raw_speed.perf");
    let seen = profile::of_program(&program, &["2", "1", "xdp"], &file)?;
    let hottest = seen.iter().take(NAMED);
    let named: Vec<String> =
        hottest.map(|hot| format!("{} {:.0} %", hot.function, hot.percent)).collect();
    Ok(named.join(", "))
}

/// Functions that a reason names.
const NAMED: usize = 6;

/// `   64 octets  packets delivered per second 2.19x, CPU per packet 1/2.10`.
fn read(line: &str) -> Option<(&str, f64)> {
    let (_, rest) = line.split_once("packets delivered per second ")?;
    let (ratio, _) = rest.split_once('x')?;
    Some((line.trim(), ratio.parse().ok()?))
}

/// The last line for each size, which is its first word.
fn last_of_sizes<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut last: Vec<&str> = Vec::new();
    for line in lines.map(str::trim) {
        let size = |line: &str| line.split_ascii_whitespace().next().map(str::to_owned);
        last.retain(|other| size(other) != size(line));
        last.push(line);
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_and_the_last_round_are_found() {
        let line = "   64 octets  packets delivered per second 2.19x, CPU per packet 1/2.10";
        assert_eq!(read(line), Some((line.trim(), 2.19)));
        assert_eq!(read("   64 octets  round 1  raw sockets"), None);
        let lines = ["64 octets round 1", "64 octets round 2", "1400 octets round 1"];
        assert_eq!(last_of_sizes(lines.into_iter()), ["64 octets round 2", "1400 octets round 1"]);
    }
}
