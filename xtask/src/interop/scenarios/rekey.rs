//! New keys under traffic.

use std::thread::sleep;
use std::time::Duration;

use super::super::gateway::{Gateway, Level};
use super::super::raw::IkeSa;
use super::super::{Bench, Figures, ping};
use super::SOON;
use super::basic::bring_up;

/// How long pings run around the rekeying; the old SAs are deleted within it.
const TRAFFIC: Duration = Duration::from_secs(10);

/// Pings before the first rekey.
const BEFORE: Duration = Duration::from_millis(500);

/// Rekeyings in one stream of pings.
const TIMES: u32 = 2;

/// We rekey the child SA.
pub(crate) fn child_ours(bench: &Bench) -> anyhow::Result<Figures> {
    under_traffic(bench, &bench.left, Level::Child)
}

/// They rekey the child SA.
pub(crate) fn child_theirs(bench: &Bench) -> anyhow::Result<Figures> {
    under_traffic(bench, &bench.right, Level::Child)
}

/// We rekey the IKE SA.
pub(crate) fn ike_ours(bench: &Bench) -> anyhow::Result<Figures> {
    under_traffic(bench, &bench.left, Level::Ike)
}

/// They rekey the IKE SA.
pub(crate) fn ike_theirs(bench: &Bench) -> anyhow::Result<Figures> {
    under_traffic(bench, &bench.right, Level::Ike)
}

/// `who` rekeys a tunnel that we initiated, then one that they initiated.
fn under_traffic(bench: &Bench, who: &Gateway, level: Level) -> anyhow::Result<Figures> {
    let mut pings = 0;
    for initiator in [&bench.left, &bench.right] {
        bring_up(bench, initiator)?;
        pings += rekey_and_ping(bench, who, level)?;
        initiator.terminate(Level::Ike)?;
        bench.left.wait_for_none(SOON)?;
        bench.right.wait_for_none(SOON)?;
    }
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    Ok(Figures::from([("pings", pings as f64)]))
}

/// Rekeys while pings run both ways. Returns how many there were; one lost is an error.
fn rekey_and_ping(bench: &Bench, who: &Gateway, level: Level) -> anyhow::Result<u64> {
    let v6 = bench.plan.inside_v6;
    let mut there = ping::Stream::start(&bench.left.side, &bench.right.side, v6, TRAFFIC)?;
    let mut back = ping::Stream::start(&bench.right.side, &bench.left.side, v6, TRAFFIC)?;
    for _ in 0..TIMES {
        sleep(BEFORE);
        quietly(bench, who, level)?;
    }
    let both_run = there.is_running() && back.is_running();
    anyhow::ensure!(both_run, "the pings ended before the rekeying did");
    Ok(there.finish()? + back.finish()?)
}

/// `who` rekeys; afterwards both have the same new SA, and the other level's SA is the old one.
pub(crate) fn quietly(bench: &Bench, who: &Gateway, level: Level) -> anyhow::Result<()> {
    let before = bench.left.only_sa()?;
    who.rekey(level)?;
    let is_new = |sa: &IkeSa| match level {
        Level::Ike => sa.spis != before.spis && children(sa) == children(&before),
        Level::Child => sa.spis == before.spis && children(sa) != children(&before),
    };
    let after = bench.left.wait_for(SOON, "the rekeying", is_new)?;
    let is_same = |sa: &IkeSa| sa.spis == after.spis && mirrored(sa) == children(&after);
    bench.right.wait_for(SOON, "the same rekeying", is_same)?;
    Ok(())
}

/// Inbound and outbound SPIs of the live children.
fn children(sa: &IkeSa) -> Vec<String> {
    sa.live_children().map(|child| child.spis.to_lowercase()).collect()
}

/// The same, as the other side sees them.
fn mirrored(sa: &IkeSa) -> Vec<String> {
    let swap = |spis: &String| spis.split_once(' ').map(|(i, o)| format!("{o} {i}"));
    children(sa).iter().filter_map(swap).collect()
}
