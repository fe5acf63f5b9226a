//! Addresses that change while pings run (RFC 4555).

use std::thread::sleep;
use std::time::Duration;

use super::super::gateway::Gateway;
use super::super::{Bench, Figures, ping};
use super::SOON;
use super::basic::{bring_up, is_up};
use crate::clock;

/// How long pings run, the change in the middle.
const PINGS: Duration = Duration::from_secs(4);

/// Pings that a change may cost: there is one every 10 ms.
const LOST_MAX: u64 = 100;

/// strongSwan waits a second for more changes before it looks at one, and has not moved before.
const THEIR_PAUSE: u64 = 150;

/// We initiate and move.
pub(crate) fn ours(bench: &Bench) -> anyhow::Result<Figures> {
    roam(bench, &bench.left, &bench.right, LOST_MAX)
}

/// They do.
pub(crate) fn theirs(bench: &Bench) -> anyhow::Result<Figures> {
    roam(bench, &bench.right, &bench.left, LOST_MAX + THEIR_PAUSE)
}

fn roam(bench: &Bench, who: &Gateway, other: &Gateway, lost_max: u64) -> anyhow::Result<Figures> {
    let mut figures = bring_up(bench, who)?;
    let before = bench.left.only_sa()?;
    let first = who.side.outside(false);
    let places = [format!("{first}/24"), "192.0.2.70/24".to_owned(), "192.0.2.80/24".to_owned()];
    let mut most = 0;
    for change in places.windows(2) {
        let [old, new] = change else { continue };
        let pings = ping::Stream::start(&who.side, &other.side, bench.plan.inside_v6, PINGS)?;
        sleep(PINGS / 4);
        who.side.readdress(old, new)?;
        let lost = pings.lost()?;
        anyhow::ensure!(lost <= lost_max, "{lost} pings lost from {old} to {new}");
        most = most.max(lost);
        stays(bench, &before.spis)?;
    }
    figures.insert("lost_pings", most as f64);
    Ok(figures)
}

/// Both still have the IKE SA with these SPIs, and pings pass both ways.
fn stays(bench: &Bench, spis: &str) -> anyhow::Result<()> {
    let same = || {
        let of = |gateway: &Gateway| gateway.only_sa().is_ok_and(|sa| sa.spis == spis);
        of(&bench.left) && of(&bench.right)
    };
    anyhow::ensure!(clock::poll(SOON, Duration::from_millis(100), same), "the IKE SA is another");
    is_up(bench)
}
