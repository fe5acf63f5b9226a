//! Ends and new beginnings: deletes, restarts, and swanctl at our own socket.

use std::thread::sleep;
use std::time::Duration;

use super::super::gateway::{Gateway, Level};
use super::super::raw::IkeSa;
use super::super::{Bench, Figures};
use super::basic::{bring_up, is_up};
use super::{LATER, SOON, rekey};
use crate::clock;

/// How long they stay away.
const AWAY: Duration = Duration::from_secs(1);

/// We delete.
pub(crate) fn delete_ours(bench: &Bench) -> anyhow::Result<Figures> {
    delete(bench, &bench.left)
}

/// They delete.
pub(crate) fn delete_theirs(bench: &Bench) -> anyhow::Result<Figures> {
    delete(bench, &bench.right)
}

fn delete(bench: &Bench, who: &Gateway) -> anyhow::Result<Figures> {
    bring_up(bench, &bench.left)?;
    who.terminate(Level::Ike)?;
    bench.left.wait_for_none(SOON)?;
    bench.right.wait_for_none(SOON)?;
    bring_up(bench, who)
}

/// They delete the child SA and ask for a new one.
pub(crate) fn delete_child_theirs(bench: &Bench) -> anyhow::Result<Figures> {
    bring_up(bench, &bench.left)?;
    let before = bench.left.only_sa()?;
    bench.right.terminate(Level::Child)?;
    let is_childless = || {
        let sas = bench.left.ike_sas().unwrap_or_default();
        matches!(sas.as_slice(), [sa] if sa.live_children().count() == 0)
    };
    let childless = clock::poll(SOON, Duration::from_millis(100), is_childless);
    anyhow::ensure!(childless, "our child SA outlived their delete");
    let figures = bring_up(bench, &bench.right)?;
    let after = bench.left.only_sa()?;
    anyhow::ensure!(after.spis == before.spis, "the IKE SA did not survive its child");
    Ok(figures)
}

/// We are killed, start again, and bring the tunnel up by ourselves.
pub(crate) fn restart_ours(bench: &Bench) -> anyhow::Result<Figures> {
    is_up(bench)?;
    let before = bench.left.only_sa()?;
    bench.left.kill()?;
    bench.left.start_again()?;
    back(bench, &before)
}

/// They are killed, start again and initiate; we drop what we had.
pub(crate) fn restart_theirs(bench: &Bench) -> anyhow::Result<Figures> {
    bring_up(bench, &bench.left)?;
    let before = bench.left.only_sa()?;
    bench.right.kill()?;
    bench.right.start_again()?;
    bench.right.initiate()?;
    back(bench, &before)
}

/// They stop and start; nobody asks for the tunnel, but we want it.
pub(crate) fn comeback(bench: &Bench) -> anyhow::Result<Figures> {
    is_up(bench)?;
    let before = bench.left.only_sa()?;
    bench.right.stop()?;
    sleep(AWAY);
    bench.right.start_again()?;
    back(bench, &before)
}

/// Waits for a tunnel other than `before`.
fn back(bench: &Bench, before: &IkeSa) -> anyhow::Result<Figures> {
    let start = clock::now();
    bench.left.wait_for(LATER, "the tunnel coming back", |sa| sa.spis != before.spis)?;
    let time = start.elapsed();
    is_up(bench)?;
    Ok(Figures::from([("back_ms", time.as_secs_f64() * 1e3)]))
}

/// Every verb of swanctl that an operator uses with strongSwan.
pub(crate) fn swanctl(bench: &Bench) -> anyhow::Result<Figures> {
    let ours = &bench.left;
    contains(&ours.swanctl(&["--version", "--daemon"]), "version", "Adit", "strongSwan")?;
    contains(&ours.swanctl(&["--list-conns"]), "list-conns", "10.2.0.0/24", "10.2.0.0/24")?;
    contains(&ours.swanctl(&["--stats"]), "stats", "uptime", "uptime")?;
    let figures = bring_up(bench, ours)?;
    contains(&ours.swanctl(&["--list-sas"]), "list-sas", "INSTALLED", "INSTALLED")?;
    rekey::quietly(bench, ours, Level::Child)?;
    rekey::quietly(bench, ours, Level::Ike)?;
    ours.terminate(Level::Child)?;
    ours.terminate(Level::Ike)?;
    ours.wait_for_none(SOON)?;
    bench.right.wait_for_none(SOON)?;
    bring_up(bench, &bench.right)?;
    // Loading the same again disturbs nothing.
    let before = ours.only_sa()?;
    ours.swanctl(&["--load-all", "--noprompt"])?;
    anyhow::ensure!(ours.only_sa()?.spis == before.spis, "--load-all disturbed the tunnel");
    is_up(bench)?;
    Ok(figures)
}

/// One of `words` has to stand in what a verb printed (the second is strongSwan's own).
fn contains(
    printed: &anyhow::Result<String>,
    verb: &str,
    ours: &str,
    theirs: &str,
) -> anyhow::Result<()> {
    let text = printed.as_ref().map_err(|error| anyhow::anyhow!("swanctl --{verb}: {error:#}"))?;
    let found = text.to_lowercase().contains(&ours.to_lowercase()) || text.contains(theirs);
    anyhow::ensure!(found, "swanctl --{verb} prints no `{ours}`: {}", text.trim());
    Ok(())
}
