//! Row 2: made-up ICMP errors from outside while TCP flows.
//!
//! Rounds come in pairs, one with and one without, and each pair begins with what the one before it
//! ended with, so that a machine that gets slower or faster takes from both alike. In those
//! without, the same messages go to the other router, so that both have the cost of making and
//! routing them, and only what the gateway does differs. That it got them its kernel has counted.

use std::net::IpAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::Value;

use super::ends::{Ends, Shape};
use super::net::Net;
use super::{PROGRAMS, list};
use crate::interop::gateway::Make;
use crate::interop::lab::{Side, output};
use crate::interop::{adit, own_copy};
use crate::proof::{Effort, Finding, lacks};

/// How much is sent.
struct Extent {
    /// Messages in all rounds with them.
    messages: u32,
    /// Rounds of either kind; an even number, so that either comes first as often.
    rounds: u32,
    /// How long each transfer takes, about, and the messages with it.
    time: Duration,
    /// Throughput may be less by this share.
    loss_max: f64,
}

const FULL: Extent =
    Extent { messages: 100_000, rounds: 16, time: Duration::from_secs(4), loss_max: LOSS_MAX };

/// Its few short rounds differ by some percent whatever is sent: it looks for what is broken.
const QUICK: Extent =
    Extent { messages: 30_000, rounds: 6, time: Duration::from_millis(1_500), loss_max: 0.1 };

/// What is claimed.
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
    let counted = icmp_received(&net.left, shape.outside_v6)?;
    let fire = fire(net, &ends, shape, extent, octets)?;
    let got = icmp_received(&net.left, shape.outside_v6)?.saturating_sub(counted);
    let after = state(&ends.status()?);
    let mut faults = Vec::new();
    if before != after {
        faults.push(format!("the SA was {before} and is {after}"));
    }
    faults.extend(fire.too_few(extent, got));
    let loss = fire.loss();
    if loss > extent.loss_max {
        faults.push(format!("{:.1} % of throughput are lost", loss * 100.0));
    }
    let figure = format!(
        "{}: {} messages, {got} ICMP received, {:.0} Mbit/s under them, {:.0} without ({:+.1} %{})",
        shape.name(),
        fire.sent,
        median(&fire.with),
        median(&fire.without),
        -loss * 100.0,
        extent.reservation()
    );
    match faults.is_empty() {
        true => Ok(Finding::pass(figure)),
        false => Ok(Finding::fail(figure, format!("{}: {}", shape.name(), faults.join("; ")))),
    }
}

impl Extent {
    /// What is said beside a figure that is not judged by the claim.
    fn reservation(&self) -> String {
        if self.loss_max <= LOSS_MAX {
            return String::new();
        }
        let [here, whole] = [self.loss_max, LOSS_MAX].map(|share| share * 100.0);
        format!("; quick: judged by {here:.0} %, the whole run judges {whole:.0} %")
    }
}

/// Speeds of the rounds with and without, Mbit/s, and how many messages there were in those with.
#[derive(Debug, Default)]
struct Fire {
    with: Vec<f64>,
    without: Vec<f64>,
    sent: u32,
}

impl Fire {
    /// The share of throughput that rounds with messages lack.
    fn loss(&self) -> f64 {
        1.0 - median(&self.with) / median(&self.without)
    }

    /// What is wrong if messages were not sent, or `got` ICMP messages at the gateway are less.
    fn too_few(&self, extent: &Extent, got: u64) -> Option<String> {
        if self.sent < most_of(extent.messages) {
            return Some(format!("only {} messages could be sent", self.sent));
        }
        let is_enough = got >= u64::from(most_of(self.sent));
        (!is_enough).then(|| format!("only {got} of {} messages came to the gateway", self.sent))
    }
}

/// A burst may be too much for a queue now and then.
fn most_of(messages: u32) -> u32 {
    messages / 10 * 9
}

/// All the rounds.
fn fire(
    net: &Net,
    ends: &Ends<'_>,
    shape: Shape,
    extent: &Extent,
    octets: u64,
) -> anyhow::Result<Fire> {
    let (gateway, peer) = (net.left.outside(shape.outside_v6), net.right.outside(shape.outside_v6));
    let bystander: IpAddr =
        if shape.outside_v6 { "2001:db8:1::2".parse()? } else { "198.51.100.2".parse()? };
    let mut fire = Fire::default();
    for is_hit in order(extent.rounds) {
        let target = if is_hit { gateway } else { bystander };
        let (speed, messages) =
            round(net, ends, extent, octets, [target, gateway, peer]).context("under fire")?;
        if is_hit {
            fire.with.push(speed);
            fire.sent += messages;
        } else {
            fire.without.push(speed);
        }
    }
    Ok(fire)
}

/// Whether the gateway is hit, round by round: no, yes; yes, no; and again.
fn order(pairs: u32) -> impl Iterator<Item = bool> {
    (0..pairs).flat_map(|pair| if pair.is_multiple_of(2) { [false, true] } else { [true, false] })
}

/// How many ICMP messages have come to a namespace.
fn icmp_received(side: &Side, v6: bool) -> anyhow::Result<u64> {
    let file = if v6 { "/proc/net/snmp6" } else { "/proc/net/snmp" };
    let text = output(side.command(Path::new("cat")).arg(file))?;
    let count = if v6 { icmp_in_snmp6(&text) } else { icmp_in_snmp(&text) };
    count.with_context(|| format!("{file} does not count ICMP messages"))
}

/// `InMsgs` of `/proc/net/snmp`: a line of names, then one of numbers.
fn icmp_in_snmp(text: &str) -> Option<u64> {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Icmp: "));
    let (names, numbers) = (lines.next()?, lines.next()?);
    let mut both = names.split_whitespace().zip(numbers.split_whitespace());
    both.find_map(|(name, number)| (name == "InMsgs").then(|| number.parse().ok())?)
}

/// `Icmp6InMsgs` of `/proc/net/snmp6`: a name and a number in each line.
fn icmp_in_snmp6(text: &str) -> Option<u64> {
    let number = text.lines().find_map(|line| line.strip_prefix("Icmp6InMsgs"))?;
    number.trim().parse().ok()
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

/// The middle one, or the mean of the two in the middle.
fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |place: usize| sorted.get(place).copied().unwrap_or_default();
    f64::midpoint(at(sorted.len().saturating_sub(1) / 2), at(sorted.len() / 2))
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

    fn fire_of(with: &[f64], without: &[f64]) -> Fire {
        Fire { with: with.to_vec(), without: without.to_vec(), sent: 30_000 }
    }

    #[test]
    fn a_loss_is_told_from_the_machine() {
        let quiet = [100.0, 101.0, 99.0, 100.0, 100.0, 100.0];
        let lossy = fire_of(&[85.0, 86.0, 84.0, 85.0, 88.0, 86.0], &quiet).loss();
        assert!(lossy > QUICK.loss_max, "{lossy}");
        let shaken = fire_of(&[80.0, 97.0, 120.0, 97.0, 70.0, 96.0], &quiet).loss();
        assert!(shaken < QUICK.loss_max && shaken > FULL.loss_max, "{shaken}");
        assert!(fire_of(&[99.5, 100.0, 101.0, 99.8, 100.0, 100.0], &quiet).loss() < FULL.loss_max);
        assert_eq!(octets_in(Duration::from_secs(2), 8.0), 2_000_000);
    }

    #[test]
    fn a_median_is_in_the_middle() {
        assert_eq!([median(&[3.0, 1.0, 2.0]), median(&[4.0, 1.0, 2.0, 3.0])], [2.0, 2.5]);
        assert_eq!(median(&[]), 0.0);
    }

    #[test]
    fn a_short_look_says_what_it_judges() {
        let said = "; quick: judged by 10 %, the whole run judges 1 %";
        assert_eq!(QUICK.reservation(), said);
        assert_eq!(FULL.reservation(), "");
    }

    /// A machine that gets slower by the same from round to round loses nothing under fire.
    #[test]
    fn drift_is_no_loss() {
        for extent in [&FULL, &QUICK] {
            let mut fire = Fire::default();
            let mut speed = 1_000.0;
            for is_hit in order(extent.rounds) {
                if is_hit { &mut fire.with } else { &mut fire.without }.push(speed);
                speed -= 20.0;
            }
            assert_eq!(fire.with.len(), fire.without.len());
            assert!(fire.loss().abs() < 1e-9, "{}", fire.loss());
        }
    }

    #[test]
    fn messages_have_to_come_to_the_gateway() {
        let fire = fire_of(&[], &[]);
        assert_eq!(fire.too_few(&QUICK, 30_000), None);
        let said = "only 17 of 30000 messages came to the gateway";
        assert_eq!(fire.too_few(&QUICK, 17).as_deref(), Some(said));
        assert_eq!(
            fire.too_few(&FULL, 30_000).as_deref(),
            Some("only 30000 messages could be sent")
        );
    }

    #[test]
    fn icmp_is_counted() {
        let snmp = "Ip: Forwarding DefaultTTL\nIp: 1 64\nIcmp: OutMsgs InMsgs InErrors\n\
                    Icmp: 5 1234 3\nIcmpMsg: InType3\nIcmpMsg: 9\n";
        assert_eq!(icmp_in_snmp(snmp), Some(1_234));
        assert_eq!(icmp_in_snmp("Icmp: InMsgs\n"), None);
        let snmp6 = "Ip6InReceives \t 7\nIcmp6InMsgs                     \t99\nIcmp6InErrors \t1\n";
        assert_eq!(icmp_in_snmp6(snmp6), Some(99));
        assert_eq!(icmp_in_snmp6(""), None);
    }
}
