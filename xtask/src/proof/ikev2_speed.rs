//! What IKE costs: handshakes by key exchange beside their bare primitives, memory of IKE SAs, and a
//! storm of rekeys. All in one process without a network, figures of `crates/ike/examples/speed.rs`.

use anyhow::Context as _;

use super::{Effort, Finding, printed};
use crate::root;

/// IKE SAs in one process.
const SAS: u32 = 100_000;
const SAS_QUICK: u32 = 5_000;

/// Tunnels that are rekeyed at once.
const TUNNELS: u32 = 10_000;
const TUNNELS_QUICK: u32 = 1_000;

/// Processor time for each key exchange.
const TIME_MS: u32 = 2_000;
const TIME_MS_QUICK: u32 = 200;

/// Octets of an IKE SA with its child that `crates/ike/tests/scale.rs` holds with a few hundred; tables
/// that have just doubled come on top.
const OCTETS_MAX: f64 = 1_900.0;

/// A handshake of both ends.
#[derive(Debug, PartialEq)]
struct Handshake {
    exchange: String,
    whole_us: f64,
    bare_us: f64,
}

/// All tunnels rekeyed at once.
#[derive(Debug, PartialEq)]
struct Storm {
    what: String,
    each_us: f64,
    lost: u32,
    tunnels: u32,
}

/// Measures all of it.
///
/// # Errors
///
/// The program does not build, or stops.
pub(crate) fn measure(effort: &Effort) -> anyhow::Result<Finding> {
    let (sas, tunnels, time_ms) = match effort.quick {
        true => (SAS_QUICK, TUNNELS_QUICK, TIME_MS_QUICK),
        false => (SAS, TUNNELS, TIME_MS),
    };
    let handshakes = handshakes(&speed("handshakes", time_ms)?)?;
    let storms = storms(&speed("storm", tunnels)?)?;
    let octets = words::<f64>(&speed("memory", sas)?, 0)?;
    Ok(judge(&handshakes, octets, sas, &storms))
}

fn judge(handshakes: &[Handshake], octets: f64, sas: u32, storms: &[Storm]) -> Finding {
    let rates: Vec<String> = handshakes.iter().map(Handshake::shown).collect();
    let storms_shown: Vec<String> = storms.iter().map(Storm::shown).collect();
    let figure = format!(
        "handshakes per second and core, both ends on it: {}; {octets:.0} octets for an IKE SA with a \
         child, {sas} in a process; {}",
        rates.join(", "),
        storms_shown.join(", ")
    );
    let lost: u32 = storms.iter().map(|storm| storm.lost).sum();
    if lost > 0 {
        return Finding::fail(figure, format!("{lost} tunnels were lost or not rekeyed"));
    }
    if octets > OCTETS_MAX {
        return Finding::fail(figure, format!("more than {OCTETS_MAX:.0} octets for an IKE SA"));
    }
    Finding::pass(figure)
}

impl Handshake {
    /// `x25519 4100 (243 us, 2.1 times its key exchanges)`.
    fn shown(&self) -> String {
        let Self { exchange, whole_us, bare_us } = self;
        let rate = 1e6 / whole_us;
        let ratio = whole_us / bare_us;
        format!("{exchange} {rate:.0} ({whole_us:.0} us, {ratio:.2} times its key exchanges)")
    }
}

impl Storm {
    fn shown(&self) -> String {
        let Self { what, each_us, lost, tunnels } = self;
        let all_s = each_us * f64::from(*tunnels) / 1e6;
        format!(
            "storm of {tunnels} {what} rekeys: {all_s:.1} s of one core for both ends, {each_us:.0} us \
             each, {lost} lost"
        )
    }
}

fn speed(what: &str, number: u32) -> anyhow::Result<String> {
    let mut cargo = root::cargo();
    cargo.args(["run", "--quiet", "--release", "-p", "adit-ike", "--example", "speed", "--"]);
    printed(cargo.args([what, &number.to_string()]))
}

fn handshakes(text: &str) -> anyhow::Result<Vec<Handshake>> {
    let read = |line| {
        Ok(Handshake {
            exchange: words(line, 0)?,
            whole_us: words(line, 1)?,
            bare_us: words(line, 2)?,
        })
    };
    text.lines().map(read).collect()
}

fn storms(text: &str) -> anyhow::Result<Vec<Storm>> {
    let read = |line| {
        Ok(Storm {
            what: words(line, 0)?,
            each_us: words(line, 1)?,
            lost: words(line, 2)?,
            tunnels: words(line, 3)?,
        })
    };
    text.lines().map(read).collect()
}

/// One word of a line.
fn words<T: std::str::FromStr>(line: &str, index: usize) -> anyhow::Result<T> {
    let word = line.split_whitespace().nth(index);
    word.and_then(|word| word.parse().ok()).with_context(|| format!("cannot read {line:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_and_judged() {
        let read = handshakes("x25519 250.0 125.0\nmlkem1024 400.5 200.0\n").unwrap();
        assert_eq!(read.len(), 2);
        assert_eq!(read[0].shown(), "x25519 4000 (250 us, 2.00 times its key exchanges)");
        let calm = storms("child 100.0 0 10000\nike 200.0 0 10000\n").unwrap();
        let good = judge(&read, 1_700.0, 100_000, &calm);
        assert_eq!(good.reason, "");
        assert!(good.figure.contains("2.0 s of one core for both ends, 200 us each, 0 lost"));
        assert_eq!(judge(&read, 2_000.0, 5, &calm).reason, "more than 1900 octets for an IKE SA");
        let wild = storms("child 100.0 3 10000\n").unwrap();
        assert_eq!(judge(&read, 1.0, 5, &wild).reason, "3 tunnels were lost or not rekeyed");
        assert!(handshakes("x25519 250.0").is_err());
    }
}
