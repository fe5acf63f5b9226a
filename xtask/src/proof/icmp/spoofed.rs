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
    /// Octets of each round's transfer.
    octets: u64,
}

const FULL: Extent = Extent { messages: 100_000, rounds: 15, octets: 256 << 20 };
const QUICK: Extent = Extent { messages: 30_000, rounds: 5, octets: 96 << 20 };

/// Throughput may be less by this share.
const LOSS_MAX: f64 = 0.01;

/// Messages in a second: each costs the path's kernels something, with us or without.
const RATE: u32 = 10_000;

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
    ends.there(extent.octets, Duration::ZERO).context("before")?;
    let before = state(&ends.status()?);
    let (gateway, peer) = (net.left.outside(shape.outside_v6), net.right.outside(shape.outside_v6));
    let bystander: IpAddr =
        if shape.outside_v6 { "2001:db8:1::2".parse()? } else { "198.51.100.2".parse()? };
    let (mut with, mut without, mut sent) = (Vec::new(), Vec::new(), 0);
    for _ in 0..extent.rounds {
        for (speeds, target) in [(&mut without, bystander), (&mut with, gateway)] {
            let (speed, messages) =
                round(net, &ends, extent, [target, gateway, peer]).context("under fire")?;
            speeds.push(speed);
            sent += if target == gateway { messages } else { 0 };
        }
    }
    let after = state(&ends.status()?);
    let (with, without) = (median(&mut with), median(&mut without));
    let loss = 1.0 - with / without;
    let mut faults = Vec::new();
    if before != after {
        faults.push(format!("the SA was {before} and is {after}"));
    }
    if sent < extent.messages * 9 / 10 {
        faults.push(format!("only {sent} messages could be sent"));
    }
    if loss > LOSS_MAX {
        faults.push(format!("{:.1} % of throughput are lost", loss * 100.0));
    }
    let figure = format!(
        "{}: {sent} messages, {with:.0} Mbit/s under them, {without:.0} without ({:+.1} %)",
        shape.name(),
        -loss * 100.0
    );
    match faults.is_empty() {
        true => Ok(Finding::pass(figure)),
        false => Ok(Finding::fail(figure, format!("{}: {}", shape.name(), faults.join("; ")))),
    }
}

/// A transfer while messages are sent; its speed and how many messages there were.
fn round(
    net: &Net,
    ends: &Ends<'_>,
    extent: &Extent,
    [target, source, destination]: [IpAddr; 3],
) -> anyhow::Result<(f64, u32)> {
    let count = extent.messages / extent.rounds;
    let milliseconds = u64::from(count) * 1_000 / u64::from(RATE);
    let mut stranger = net.r1.command(&own_copy(&net.r1)?);
    stranger.arg("spoof-icmp").args([target, source, destination].map(|end| end.to_string()));
    stranger.args([count.to_string(), milliseconds.to_string()]).stdout(Stdio::piped());
    let stranger = stranger.spawn().context("cannot start the stranger")?;
    let transfer = ends.there(extent.octets, Duration::ZERO);
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

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
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
        assert_eq!(median(&mut [3.0, 1.0, 2.0]), 2.0);
    }
}
