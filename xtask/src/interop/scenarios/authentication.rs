//! Post-quantum keys (RFC 8784), second rounds (RFC 4739), repeated authentication (RFC 4478).

use std::thread::sleep;
use std::time::Duration;

use super::super::gateway::{Gateway, Level};
use super::super::plan::REAUTH_S;
use super::super::raw::IkeSa;
use super::super::{Bench, Figures, ping};
use super::SOON;
use super::basic::{bring_up, is_up};

/// An IKE SA is nearly old enough then.
const BEFORE: Duration = Duration::from_secs(REAUTH_S - 5);

/// Pings run for so long while authentication is repeated by itself.
const TRAFFIC: Duration = Duration::from_secs(12);

/// It has been repeated by then.
const REPEATED: Duration = Duration::from_secs(2 * REAUTH_S);

/// Up from either side.
fn both_ways(bench: &Bench) -> anyhow::Result<Figures> {
    let figures = bring_up(bench, &bench.left)?;
    bench.left.terminate(Level::Ike)?;
    bench.right.wait_for_none(SOON)?;
    bench.left.wait_for_none(SOON)?;
    bring_up(bench, &bench.right)?;
    Ok(figures)
}

/// A post-quantum key that both insist on, in the keys of either initiator.
pub(crate) fn ppk(bench: &Bench) -> anyhow::Result<Figures> {
    let figures = both_ways(bench)?;
    says(&bench.right, "using PPK for PPK_ID", 2)?;
    Ok(figures)
}

/// Keys of different names, on which nobody insists: it goes without.
pub(crate) fn other_ppk(bench: &Bench) -> anyhow::Result<Figures> {
    let figures = both_ways(bench)?;
    let log = bench.right.log();
    anyhow::ensure!(log.contains("NO_PPK"), "we sent no NO_PPK_AUTH");
    Ok(figures)
}

/// Two rounds of each side, whoever initiates.
pub(crate) fn second(bench: &Bench) -> anyhow::Result<Figures> {
    let figures = both_ways(bench)?;
    says(&bench.right, SECOND, 2)?;
    Ok(figures)
}

/// Two secrets of each side, when we initiate. As an initiator strongSwan 5.9.8 finds its own
/// configuration "unacceptable: insufficient authentication rounds" after our first of two secrets.
pub(crate) fn second_secret(bench: &Bench) -> anyhow::Result<Figures> {
    let figures = bring_up(bench, &bench.left)?;
    says(&bench.right, SECOND, 1)?;
    Ok(figures)
}

/// What they say about our second round.
const SECOND: &str = "authentication of 'user@left.example' with pre-shared key successful";

/// The log has this so often at least.
fn says(who: &Gateway, words: &str, times: usize) -> anyhow::Result<()> {
    let found = who.log().lines().filter(|line| line.contains(words)).count();
    anyhow::ensure!(found >= times, "their log says `{words}` {found} times, not {times}");
    Ok(())
}

/// We initiate, and a new IKE SA takes the place of the old one by itself. strongSwan sends on the new child
/// before we can have it, and still no ping is lost. That they say in AUTH_LIFETIME when is not seen here:
/// strongSwan 5.9.8 does so before its IKE SA counts as established, and therefore never.
pub(crate) fn repeated(bench: &Bench) -> anyhow::Result<Figures> {
    bring_up(bench, &bench.left)?;
    let before = bench.left.only_sa()?;
    let v6 = bench.plan.inside_v6;
    sleep(BEFORE);
    let mut there = ping::Stream::start(&bench.left.side, &bench.right.side, v6, TRAFFIC)?;
    let mut back = ping::Stream::start(&bench.right.side, &bench.left.side, v6, TRAFFIC)?;
    let is_new = |sa: &IkeSa| sa.spis != before.spis;
    bench.left.wait_for(REPEATED, "authentication repeated", is_new)?;
    anyhow::ensure!(there.is_running() && back.is_running(), "the pings ended before");
    let pings = there.finish()? + back.finish()?;
    is_up(bench)?;
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    Ok(Figures::from([("pings", pings as f64)]))
}

/// They initiate and repeat it in their way: break before make.
pub(crate) fn repeated_by_them(bench: &Bench) -> anyhow::Result<Figures> {
    let figures = both_ways(bench)?;
    let before = bench.left.only_sa()?;
    let is_new = |sa: &IkeSa| sa.spis != before.spis;
    bench.left.wait_for(REPEATED, "authentication repeated", is_new)?;
    is_up(bench)?;
    Ok(figures)
}
