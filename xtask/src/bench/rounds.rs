//! Rounds: every subject in every cell, one after the other, again and again.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use super::cell::Cell;
use super::counters::Moved;
use super::load::{Mix, Seen};
use super::subject::Subject;
use super::tunnel::{IPERF_PORT, Tunnel};
use super::usage::Cpu;
use crate::interop::lab::output;
use crate::interop::own_copy;

/// Pings of one cell, and milliseconds between two.
const PINGS: &str = "300";
const PING_INTERVAL_S: &str = "0.002";

/// One value.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Sample {
    /// Counted from 1.
    pub(crate) round: u32,
    /// What was measured.
    pub(crate) subject: Subject,
    /// Which figure of it.
    pub(crate) cell: Cell,
    /// In the unit of the cell.
    pub(crate) value: f64,
    /// What came out of the tunnel meanwhile, in gigabits; of UDP with headers.
    pub(crate) gigabits: f64,
    /// Processor seconds of both daemons in their own code.
    pub(crate) user_s: f64,
    /// And in the kernel.
    pub(crate) system_s: f64,
    /// What both engines counted meanwhile, if they are ours.
    pub(crate) moved: Option<Moved>,
}

impl Sample {
    /// CPU-seconds of both daemons per gigabit, where something was carried by daemons.
    pub(crate) fn cpu_s_per_gbit(&self) -> Option<f64> {
        let seconds = self.user_s + self.system_s;
        (self.gigabits > 0.0 && seconds > 0.0).then(|| seconds / self.gigabits)
    }
}

/// How much to measure.
#[derive(Clone, Debug)]
pub(crate) struct Extent {
    /// How often.
    pub(crate) rounds: u32,
    /// How long each cell.
    pub(crate) time: Duration,
    /// Which cells.
    pub(crate) cells: Vec<Cell>,
    /// Whether to look where our daemon's time goes, after the rounds.
    pub(crate) profile: bool,
}

/// Runs all rounds and tells of each value on stderr as it comes. A cell that fails is told and has no
/// value.
pub(crate) fn run(tunnels: &[Tunnel], extent: &Extent) -> Vec<Sample> {
    let mut samples = Vec::new();
    for round in 1..=extent.rounds {
        eprintln!("round {round} of {}", extent.rounds);
        // Each round begins with another subject, so that none has the same neighbours in time always.
        let first = round as usize % tunnels.len().max(1);
        let (before, after) = tunnels.split_at_checked(first).unwrap_or((tunnels, &[]));
        for tunnel in after.iter().chain(before) {
            let mut line = format!("  {:<13}", tunnel.subject.name());
            for cell in &extent.cells {
                match measure(tunnel, *cell, extent.time, round) {
                    Ok(sample) => {
                        let digits = cell.digits();
                        line.push_str(&format!("  {} {:.digits$}", cell.name(), sample.value));
                        samples.push(sample);
                    }
                    Err(error) => line.push_str(&format!("  {} FAILED ({error:#})", cell.name())),
                }
            }
            eprintln!("{line}");
        }
    }
    samples
}

/// One cell of one subject.
///
/// # Errors
///
/// The measuring programs fail, or a daemon is gone.
pub(crate) fn measure(
    tunnel: &Tunnel,
    cell: Cell,
    time: Duration,
    round: u32,
) -> anyhow::Result<Sample> {
    let moved_before = tunnel.moved();
    let before = Cpu::of(&tunnel.processes)?;
    let (value, gigabits) = match cell {
        Cell::Tcp1 => tcp(tunnel, &[], time)?,
        Cell::Tcp1Back => tcp(tunnel, &["-R"], time)?,
        Cell::Tcp4 => tcp(tunnel, &["-P", "4"], time)?,
        Cell::Tcp4Back => tcp(tunnel, &["-P", "4", "-R"], time)?,
        Cell::Udp(mix) => udp(tunnel, mix, time)?,
        Cell::Ping => (ping(tunnel)?, 0.0),
    };
    let used = Cpu::of(&tunnel.processes)?.since(before);
    let Cpu { user_s, system_s } = used;
    let moved = tunnel.moved().zip(moved_before).map(|(after, before)| after.since(before));
    Ok(Sample { round, subject: tunnel.subject, cell, value, gigabits, user_s, system_s, moved })
}

#[derive(Deserialize)]
struct Iperf {
    error: Option<String>,
    #[serde(default)]
    end: IperfEnd,
}

#[derive(Default, Deserialize)]
struct IperfEnd {
    sum_received: Option<IperfSum>,
}

#[derive(Deserialize)]
struct IperfSum {
    bytes: f64,
    bits_per_second: f64,
}

/// Gigabits per second, and gigabits, that arrived.
fn tcp(tunnel: &Tunnel, options: &[&str], time: Duration) -> anyhow::Result<(f64, f64)> {
    let (left, right) = (&tunnel.lab.left, &tunnel.lab.right);
    let mut client = left.command(Path::new("iperf3"));
    client.args(["-J", "-p", IPERF_PORT, "-t", &time.as_secs().max(1).to_string()]);
    client.args(["-B", &left.inside(false).to_string(), "-c", &right.inside(false).to_string()]);
    received(&output(client.args(options))?)
}

/// Reads what iperf3 prints.
fn received(json: &str) -> anyhow::Result<(f64, f64)> {
    let report: Iperf = serde_json::from_str(json).context("iperf3 printed something else")?;
    if let Some(error) = report.error {
        anyhow::bail!("iperf3: {error}");
    }
    let sum = report.end.sum_received.context("iperf3 has no sum")?;
    Ok((sum.bits_per_second / 1e9, sum.bytes * 8.0 / 1e9))
}

/// Thousands of datagrams per second, and gigabits, that arrived.
fn udp(tunnel: &Tunnel, mix: Mix, time: Duration) -> anyhow::Result<(f64, f64)> {
    let (left, right) = (&tunnel.lab.left, &tunnel.lab.right);
    let mut receive = right.command(&own_copy(right)?);
    receive.arg("udp-count").arg(right.inside(false).to_string()).stdout(Stdio::piped());
    let mut receiver = receive.spawn().context("cannot start the receiver")?;
    let mut lines = BufReader::new(receiver.stdout.take().context("the receiver has no output")?);
    let mut address = String::new();
    lines.read_line(&mut address).context("the receiver does not listen")?;
    let mut send = left.command(&own_copy(left)?);
    send.args(["udp-send", &left.inside(false).to_string(), address.trim(), mix.word()]);
    let sent = output(send.arg(time.as_millis().to_string()));
    let mut counted = String::new();
    let read = lines.read_line(&mut counted);
    receiver.wait().context("the receiver vanished")?;
    let sent: Seen = serde_json::from_str(&sent?).context("the sender says nothing")?;
    read.context("the receiver says nothing")?;
    let seen: Seen = serde_json::from_str(&counted).context("the receiver counted nothing")?;
    Ok(delivered(&sent, &seen))
}

/// What a queue still holds when the sender stops counts for the time that it takes to come.
fn delivered(sent: &Seen, seen: &Seen) -> (f64, f64) {
    let seconds = sent.seconds.max(seen.seconds);
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    let (packets, octets) = (seen.packets as f64, seen.octets as f64);
    (packets / seconds / 1e3, octets * 8.0 / 1e9)
}

/// Microseconds there and back, on average.
fn ping(tunnel: &Tunnel) -> anyhow::Result<f64> {
    let (left, right) = (&tunnel.lab.left, &tunnel.lab.right);
    let mut ping = left.command(Path::new("ping"));
    ping.args(["-n", "-q", "-c", PINGS, "-i", PING_INTERVAL_S]);
    ping.args(["-I", &left.inside(false).to_string(), &right.inside(false).to_string()]);
    average(&output(&mut ping)?).context("ping printed no times")
}

/// Reads `rtt min/avg/max/mdev = 0.02/0.05/0.40/0.02 ms`; iputils rounds to a microsecond.
fn average(text: &str) -> Option<f64> {
    let line = text.lines().find(|line| line.starts_with("rtt "))?;
    let (_, times) = line.split_once(" = ")?;
    Some(times.split('/').nth(1)?.parse::<f64>().ok()? * 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_output_is_read() {
        let text =
            r#"{"start":{},"end":{"sum_received":{"bytes":1e9,"bits_per_second":4e9,"x":1}}}"#;
        assert_eq!(received(text).unwrap(), (4.0, 8.0));
        let error = received(r#"{"error":"unable to connect"}"#).unwrap_err();
        assert_eq!(error.to_string(), "iperf3: unable to connect");
        let text = "x\nrtt min/avg/max/mdev = 0.021/0.053/0.400/0.020 ms, pipe 2\n";
        assert_eq!(average(text), Some(53.0));
        assert_eq!(average("no answer"), None);
    }

    #[test]
    fn what_comes_late_makes_no_rate_higher() {
        let sent = Seen { packets: 9, octets: 9, seconds: 1.0 };
        let seen = Seen { packets: 4_000, octets: 1_000_000_000, seconds: 2.0 };
        assert_eq!(delivered(&sent, &seen), (2.0, 8.0));
        let seen = Seen { seconds: 0.5, ..seen };
        assert_eq!(delivered(&sent, &seen), (4.0, 8.0));
    }
}
