//! Pings through the tunnel, with the system's own `ping`.

use std::fs;
use std::path::Path;
use std::process::Child;
use std::time::Duration;

use anyhow::Context as _;

use super::lab::{Side, output};

/// Pings between the inner addresses.
const COUNT: u32 = 5;

/// Milliseconds between two pings under rekeying.
const INTERVAL_MS: u32 = 10;

/// Seconds to wait for a late answer.
const WAIT_S: u32 = 3;

/// A few pings one way; all must be answered.
pub(crate) fn once(from: &Side, to: &Side, v6: bool) -> anyhow::Result<()> {
    let mut command = from.command(Path::new("ping"));
    command.args(["-n", "-q", "-i", "0.1", "-W", &WAIT_S.to_string(), "-c", &COUNT.to_string()]);
    command.args(["-I", &from.inside(v6).to_string(), &to.inside(v6).to_string()]);
    let text = output(&mut command).with_context(|| format!("ping from the {}", from.name))?;
    lossless(&text)
}

/// Both ways.
pub(crate) fn both_ways(left: &Side, right: &Side, v6: bool) -> anyhow::Result<()> {
    once(left, right, v6)?;
    once(right, left, v6)
}

/// Pings that keep running while something else happens.
pub(crate) struct Stream {
    process: Child,
    log: std::path::PathBuf,
    count: u64,
}

impl Stream {
    /// Starts a ping every 10 ms for `time`.
    pub(crate) fn start(from: &Side, to: &Side, v6: bool, time: Duration) -> anyhow::Result<Self> {
        let count = time.as_secs() * 1_000 / u64::from(INTERVAL_MS);
        let interval = format!("{:.3}", f64::from(INTERVAL_MS) / 1e3);
        let mut command = from.command(Path::new("ping"));
        command.args(["-n", "-q", "-i", &interval, "-c", &count.to_string()]);
        command.args(["-W", &WAIT_S.to_string(), "-I", &from.inside(v6).to_string()]);
        command.arg(to.inside(v6).to_string());
        let log = from.folder.join("ping.log");
        let _ = fs::remove_file(&log);
        let process = from.spawn(command, "ping.log")?;
        Ok(Self { process, log, count })
    }

    /// Is it still sending?
    pub(crate) fn is_running(&mut self) -> bool {
        matches!(self.process.try_wait(), Ok(None))
    }

    /// Waits for the last answer; one lost ping is an error. Returns how many there were.
    pub(crate) fn finish(mut self) -> anyhow::Result<u64> {
        self.process.wait().context("ping vanished")?;
        let text = fs::read_to_string(&self.log).context("ping left no output")?;
        lossless(&text)?;
        Ok(self.count)
    }
}

impl Stream {
    /// Waits for the last answer; how many there were not.
    pub(crate) fn lost(mut self) -> anyhow::Result<u64> {
        self.process.wait().context("ping vanished")?;
        let text = fs::read_to_string(&self.log).context("ping left no output")?;
        let (sent, received) = counts(&text)?;
        Ok(sent.saturating_sub(received))
    }
}

/// Reads ping's summary: as many received as sent, none twice.
pub(crate) fn lossless(text: &str) -> anyhow::Result<()> {
    let (sent, received) = counts(text)?;
    let is_good = sent > 0 && sent == received && !text.contains("duplicates");
    anyhow::ensure!(is_good, "pings were lost: {}", text.trim());
    Ok(())
}

/// Reads ping's summary: how many were sent, and received.
pub(crate) fn counts(text: &str) -> anyhow::Result<(u64, u64)> {
    let summary = text.lines().find(|line| line.contains("packets transmitted"));
    let summary = summary.with_context(|| format!("ping printed no summary: {}", text.trim()))?;
    let mut numbers = summary.split(' ').filter_map(|word| word.parse::<u64>().ok());
    Ok((numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_or_doubled_ping_is_an_error() {
        let summary = |rest: &str| lossless(&format!("x\n5 packets transmitted, {rest}, time 9ms"));
        assert!(summary("5 received, 0% packet loss").is_ok());
        assert!(summary("4 received, 20% packet loss").is_err());
        assert!(summary("5 received, +1 duplicates, 0% packet loss").is_err());
        assert!(lossless("connect: Network is unreachable").is_err());
    }
}
