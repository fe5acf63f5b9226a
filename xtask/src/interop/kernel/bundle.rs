//! AH around ESP (RFC 2401 §4.3) by IKEv1: two templates of one policy in the guest, against our user space.

use std::path::Path;

use anyhow::Context as _;

use super::{Bench, Shape, everything};
use crate::interop::Figures;
use crate::interop::in_guest::State;
use crate::interop::lab::output;

/// Lines of a tunnel's file instead of those of IKEv2.
pub(super) const LINES: &str = "ike = [1, \"aes256-sha256-modp2048\"]\nesp = \"aes128-sha256\"\n\
                                ah = \"sha256\"\nencap = \"esp\"\n";

/// The same as with one SA, and no packet on the wire has ESP outside.
pub(super) fn run(bench: &Bench<'_>) -> anyhow::Result<Figures> {
    count(bench)?;
    let figures = everything(bench)?;
    let printed = nft(bench, "list ruleset")?;
    nft(bench, "flush ruleset")?;
    let [ah, esp] = seen(&printed).with_context(|| format!("nft prints {printed}"))?;
    anyhow::ensure!(ah > 0 && esp == 0, "{ah} packets had AH outside, {esp} had ESP");
    #[expect(clippy::cast_precision_loss, reason = "some hundreds of packets")]
    let wire = [("ah", ah as f64), ("esp", esp as f64)];
    Ok(figures.into_iter().chain(wire).collect())
}

/// Whether an SA of the guest is as meant: ESP has the mode that was agreed on, AH is in transport mode.
pub(super) fn is_meant(shape: Shape, state: &State) -> bool {
    let mode = if shape.transport { "mode transport" } else { "mode tunnel" };
    let wanted = if state.text.contains("proto ah") { "mode transport" } else { mode };
    state.text.contains(wanted) && !state.text.contains("encap type")
}

/// Counts what comes and goes on the left, as the wire has it.
fn count(bench: &Bench<'_>) -> anyhow::Result<()> {
    let chain = |hook: &str, priority: i32| {
        format!(
            "chain {hook} {{ type filter hook {hook} priority {priority};
ip protocol 51 counter comment \"ah\"; ip6 nexthdr 51 counter comment \"ah\";
ip protocol 50 counter comment \"esp\"; ip6 nexthdr 50 counter comment \"esp\"; }}\n"
        )
    };
    let (come, go) = (chain("prerouting", -400), chain("output", 400));
    nft(bench, &format!("flush ruleset; table inet wire {{\n{come}{go}}}")).map(drop)
}

fn nft(bench: &Bench<'_>, rules: &str) -> anyhow::Result<String> {
    output(bench.sides.0.command(Path::new("nft")).arg(rules)).context("nft")
}

/// Packets with AH outside, and with ESP.
fn seen(printed: &str) -> Option<[u64; 2]> {
    let of = |name: &str| -> Option<u64> {
        let comment = format!("comment \"{name}\"");
        let lines = printed.lines().filter(|line| line.contains(&comment));
        let counts = lines.map(|line| {
            let behind = line.split("counter packets ").nth(1)?;
            behind.split(' ').next()?.parse::<u64>().ok()
        });
        counts.sum()
    };
    Some([of("ah")?, of("esp")?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_read_as_nft_prints_them() {
        let printed = "\t\tip protocol 51 counter packets 12 bytes 1 comment \"ah\"
\t\tip6 nexthdr 51 counter packets 3 bytes 1 comment \"ah\"
\t\tip protocol 50 counter packets 0 bytes 0 comment \"esp\"\n";
        assert_eq!(seen(printed), Some([15, 0]));
        assert_eq!(seen("counter comment \"ah\""), None);
    }
}
