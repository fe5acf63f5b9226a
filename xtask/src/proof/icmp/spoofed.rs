//! Row 2: made-up ICMP errors from outside while TCP flows.
//!
//! Rounds with and without alternate. In those without, the same messages go to the other router,
//! so that both have the cost of making and routing them, and only what the gateway does differs.

use std::net::IpAddr;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::Value;

use super::ends::{Ends, Shape};
use super::net::Net;
use super::{PROGRAMS, list};
use crate::interop::gateway::Make;
use crate::interop::{adit, own_copy};
use crate::proof::{Effort, Finding, lacks};

/// How much is sent.
struct Extent {
    /// Messages in all rounds with them.
    messages: u32,
    /// Rounds of either kind.
    rounds: u32,
    /// How long each transfer takes, about, and the messages with it.
    time: Duration,
    /// Whether one look at a median is enough.
    strict: bool,
}

const FULL: Extent =
    Extent { messages: 100_000, rounds: 15, time: Duration::from_secs(4), strict: true };
const QUICK: Extent =
    Extent { messages: 30_000, rounds: 5, time: Duration::from_millis(1_500), strict: false };

/// Throughput may be less by this share.
const LOSS_MAX: f64 = 0.01;

/// Octets by which the length of a round is found.
const TRIAL: u64 = 8 << 20;

/// Both ways of ESP, over both families.
pub(super) fn measure(effort: &Effort) -> anyhow::Result<Finding> {
    if let Some(finding) = lacks(&PROGRAMS) {
        return Ok(finding);
    }
    adit::build()?;
    let net = Net::new(false)?;
    let extent = if effort.quick { &QUICK } else { &FULL };
    let (v6, udp) = (true, true);
    let ways: &[(bool, bool)] = match effort.quick {
        true => &[(!v6, udp)],
        false => &[(!v6, udp), (!v6, !udp), (v6, udp), (v6, !udp)],
    };
    let mut findings = Vec::new();
    for (outside_v6, udp) in ways {
        let shape =
            Shape { inside_v6: false, outside_v6: *outside_v6, udp: *udp, transport: false };
        let finding = under_fire(&net, shape, extent)
            .unwrap_or_else(|error| Finding::fail(shape.name(), format!("{error:#}")));
        eprintln!("{}: {} {}", finding.status.word(), finding.figure, finding.reason);
        findings.push(finding);
    }
    Ok(list(findings))
}

fn under_fire(net: &Net, shape: Shape, extent: &Extent) -> anyhow::Result<Finding> {
    net.forget()?;
    let ends = Ends::up(net, shape, &shape.plan(), Make::Adit)?;
    // What the engine learns at first is not what strangers tell.
    let trial = ends.there(TRIAL, Duration::ZERO).context("before")?;
    let octets = octets_in(extent.time, trial.mbit_s);
    let before = state(&ends.status()?);
    let (gateway, peer) = (net.left.outside(shape.outside_v6), net.right.outside(shape.outside_v6));
    let bystander: IpAddr =
        if shape.outside_v6 { "2001:db8:1::2".parse()? } else { "198.51.100.2".parse()? };
    let (mut with, mut without, mut sent) = (Vec::new(), Vec::new(), 0);
    for _ in 0..extent.rounds {
        for (speeds, target) in [(&mut without, bystander), (&mut with, gateway)] {
            let (speed, messages) =
                round(net, &ends, extent, octets, [target, gateway, peer]).context("under fire")?;
            speeds.push(speed);
            sent += if target == gateway { messages } else { 0 };
        }
    }
    let after = state(&ends.status()?);
    let mut faults = Vec::new();
    if before != after {
        faults.push(format!("the SA was {before} and is {after}"));
    }
    if sent < extent.messages * 9 / 10 {
        faults.push(format!("only {sent} messages could be sent"));
    }
    let loss = Loss::of(&with, &without);
    if loss.is_too_much(extent.strict) {
        faults.push(format!("{:.1} % of throughput are lost", loss.median * 100.0));
    }
    let figure = format!(
        "{}: {sent} messages, {:.0} Mbit/s under them, {:.0} without ({:+.1} %)",
        shape.name(),
        quantile(&with, 0.5),
        quantile(&without, 0.5),
        -loss.median * 100.0
    );
    match faults.is_empty() {
        true => Ok(Finding::pass(figure)),
        false => Ok(Finding::fail(figure, format!("{}: {}", shape.name(), faults.join("; ")))),
    }
}

/// Shares of throughput that rounds with messages lack.
#[derive(Clone, Copy, Debug)]
struct Loss {
    /// Of the medians.
    median: f64,
    /// Of each pair of neighbours; three quarters of them lack more than this.
    quartile: f64,
}

impl Loss {
    fn of(with: &[f64], without: &[f64]) -> Self {
        let pairs: Vec<f64> =
            with.iter().zip(without).map(|(with, without)| 1.0 - with / without).collect();
        let median = 1.0 - quantile(with, 0.5) / quantile(without, 0.5);
        Self { median, quartile: quantile(&pairs, 0.25) }
    }

    /// Few short rounds on a busy machine differ by more than the limit whatever is sent: there, a
    /// loss is one that three of four pairs show.
    fn is_too_much(self, strict: bool) -> bool {
        self.median > LOSS_MAX && (strict || self.quartile > LOSS_MAX)
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "some megabytes")]
fn octets_in(time: Duration, mbit_s: f64) -> u64 {
    (mbit_s * 1e6 / 8.0 * time.as_secs_f64()) as u64
}

/// A transfer while messages are sent; its speed and how many messages there were.
fn round(
    net: &Net,
    ends: &Ends<'_>,
    extent: &Extent,
    octets: u64,
    [target, source, destination]: [IpAddr; 3],
) -> anyhow::Result<(f64, u32)> {
    let count = extent.messages / extent.rounds;
    let milliseconds = extent.time.as_millis();
    let mut stranger = net.r1.command(&own_copy(&net.r1)?);
    stranger.arg("spoof-icmp").args([target, source, destination].map(|end| end.to_string()));
    stranger.args([count.to_string(), milliseconds.to_string()]).stdout(Stdio::piped());
    let stranger = stranger.spawn().context("cannot start the stranger")?;
    let transfer = ends.there(octets, Duration::ZERO);
    let output = stranger.wait_with_output().context("the stranger vanished")?;
    anyhow::ensure!(output.status.success(), "the stranger failed");
    let sent = String::from_utf8_lossy(&output.stdout).trim().parse().context("its count")?;
    Ok((transfer?.mbit_s, sent))
}

/// What no stranger may change of a tunnel: where it stands, its SPIs, its MTU.
fn state(tunnel: &Value) -> String {
    let keys = ["/state", "/mtu", "/path_mtu", "/children/0/spi_in", "/children/0/spi_out"];
    let value = |key: &str| tunnel.pointer(key).map(Value::to_string).unwrap_or_default();
    keys.map(value).join(" ")
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a place among a few values"
)]
fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let place = (sorted.len() as f64 * share) as usize;
    sorted.get(place).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_what_matters() {
        let of = |mtu: u16, octets: u64| {
            let child = serde_json::json!({"spi_in": "a", "spi_out": "b"});
            state(&serde_json::json!({
                "state": "up", "mtu": mtu, "octets_in": octets, "children": [child]
            }))
        };
        assert_eq!(of(1_400, 1), of(1_400, 2));
        assert_ne!(of(1_400, 1), of(1_399, 1));
    }

    #[test]
    fn a_loss_is_told_from_the_machine() {
        let quiet = [100.0, 101.0, 99.0, 100.0, 100.0];
        assert!(Loss::of(&[90.0, 91.0, 92.0, 90.0, 91.0], &quiet).is_too_much(false));
        assert!(!Loss::of(&[99.5, 100.0, 101.0, 99.8, 100.0], &quiet).is_too_much(true));
        let shaken = Loss::of(&[80.0, 97.0, 120.0, 97.0, 130.0], &quiet);
        assert!(!shaken.is_too_much(false));
        assert_eq!(octets_in(Duration::from_secs(2), 8.0), 2_000_000);
    }
}
