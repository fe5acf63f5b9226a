//! Row 1: TCP of real kernels through tunnels whose path has room for 1,280 octets, whether it
//! says so or not, from the beginning or suddenly.

use std::time::Duration;

use anyhow::Context as _;

use super::cells::{Cells, MIB};
use super::ends::{Ends, Shape};
use super::net::{ETHERNET, Net, SMALL};
use super::{PROGRAMS, list};
use crate::interop::gateway::Make;
use crate::interop::{adit, transfer};
use crate::proof::checklist::measure_path_mtu;
use crate::proof::{Effort, Finding, lacks};

/// What the path does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Path {
    /// It is small, and routers say so.
    Small,
    /// It is small, and nobody says so.
    Hole,
    /// It shrinks and grows, and routers say so.
    Moving,
    /// It shrinks and grows, and nobody says so.
    MovingHole,
}

impl Path {
    pub(super) const ALL: [Self; 4] = [Self::Small, Self::Hole, Self::Moving, Self::MovingHole];

    /// In a few words.
    pub(super) fn name(self) -> &'static str {
        match self {
            // CHECKLIST PM-01, PM-09: the middle cable is small.
            Self::Small => "ICMP allowed",
            // CHECKLIST PM-25.
            Self::Hole => "ICMP filtered",
            // CHECKLIST PM-02.
            Self::Moving => "shrinks, ICMP allowed",
            // CHECKLIST PM-25.
            Self::MovingHole => "shrinks, ICMP filtered",
        }
    }

    /// Whether routers are kept quiet.
    pub(super) fn is_hole(self) -> bool {
        matches!(self, Self::Hole | Self::MovingHole)
    }

    /// Whether it changes under way.
    pub(super) fn moves(self) -> bool {
        matches!(self, Self::Moving | Self::MovingHole)
    }
}

/// The checklist, and every cell.
pub(super) fn measure(effort: &Effort) -> anyhow::Result<Finding> {
    let listed = measure_path_mtu(effort)?;
    if let Some(finding) = lacks(&PROGRAMS) {
        return Ok(finding);
    }
    adit::build()?;
    let net = Net::new(false)?;
    net.prove()?;
    let mut cells = Cells::default();
    let mut recovery = None;
    for (shape, path) in combinations(effort.quick) {
        let name = format!("{}, {}", shape.name(), path.name());
        cells.run(&name, || {
            let found = cell(&net, shape, path)?;
            recovery = recovery.max(path.is_hole().then_some(found.pause));
            Ok(found)
        });
    }
    let recovered = Finding::pass(recovery.map(recovered).unwrap_or_default());
    Ok(list([listed, cells.finding(), recovered, Finding::pass(left_out(effort.quick))]))
}

/// How long nothing came out of a black hole, at most.
fn recovered(longest: Duration) -> String {
    format!(
        "out of every black hole in at most {} ms (aim: under {} s)",
        longest.as_millis(),
        RECOVERY_MAX.as_secs()
    )
}

/// One of each kind for a short look: both families on either side, both ways, both modes.
const FEW: [&str; 5] = [
    "tunnel 4-in-4 udp",
    "tunnel 6-in-6 raw",
    // CHECKLIST PM-05, and the others beside it.
    "tunnel 4-in-6 udp",
    "tunnel 6-in-4 raw",
    "transport 6-in-6 udp",
];

/// The one of a short look that routers tell.
const TOLD: &str = "tunnel 4-in-4 udp";

/// What is run: everything, or for a short look what is the hardest, and once what is told.
fn combinations(quick: bool) -> Vec<(Shape, Path)> {
    let is_wanted = |(shape, path): &(Shape, Path)| {
        let name = shape.name();
        let is_few = path.is_hole() && FEW.contains(&name.as_str());
        !quick || is_few || (*path == Path::Small && name == TOLD)
    };
    let all = Shape::all().into_iter().flat_map(|shape| Path::ALL.map(|path| (shape, path)));
    all.filter(is_wanted).collect()
}

/// What a short look did not look at; nothing if it was a whole one.
fn left_out(quick: bool) -> String {
    let (run, shapes) = (combinations(quick), Shape::all().len());
    let missing = |path: Path| shapes - run.iter().filter(|(_, of)| *of == path).count();
    let told: Vec<String> = Path::ALL
        .into_iter()
        .filter(|path| missing(*path) > 0)
        .map(|path| format!("`{}` for {} of {shapes} shapes", path.name(), missing(path)))
        .collect();
    if told.is_empty() { String::new() } else { format!("left out: {}", told.join(", ")) }
}

/// One cell, with daemons of its own.
fn cell(net: &Net, shape: Shape, path: Path) -> anyhow::Result<transfer::Transfer> {
    net.forget()?;
    net.filter_icmp(path.is_hole())?;
    net.set_mtu(ETHERNET)?;
    let ends = Ends::up(net, shape, &shape.plan(), Make::Adit)?;
    let found = through(net, path, |octets, pace| ends.there(octets, pace));
    let found = match found {
        Ok(there) if !path.moves() => ends.back(MIB, Duration::ZERO).map(|back| worse(there, back)),
        found => found,
    };
    if found.is_err() {
        let status = ends.status().map(|status| status.to_string()).unwrap_or_default();
        eprintln!("    {status}");
    }
    net.set_mtu(ETHERNET)?;
    net.filter_icmp(false)?;
    found
}

/// A transfer over a path that is as it is to be.
pub(super) fn through(
    net: &Net,
    path: Path,
    send: impl Fn(u64, Duration) -> anyhow::Result<transfer::Transfer>,
) -> anyhow::Result<transfer::Transfer> {
    if !path.moves() {
        net.set_mtu(SMALL)?;
        return send(MIB, Duration::ZERO).and_then(|found| soon_enough(path, found));
    }
    let chunk = u64::try_from(transfer::CHUNK)?;
    let pace = UNDER_WAY / u32::try_from(MIB / chunk)?;
    let mut found = std::thread::scope(|scope| {
        let moving = scope.spawn(|| {
            std::thread::sleep(UNDER_WAY / 6);
            net.set_mtu(SMALL)?;
            std::thread::sleep(UNDER_WAY * 2 / 3);
            net.set_mtu(ETHERNET)
        });
        let found = send(MIB, pace);
        moving.join().map_err(|_| anyhow::anyhow!("the path's changes panicked"))??;
        found
    })
    .context("the path shrank under way")?;
    // What the sender waits anyway is no black hole's.
    found.pause = found.pause.saturating_sub(pace);
    soon_enough(path, found)
}

/// Who falls into a black hole is out of it in time.
fn soon_enough(path: Path, found: transfer::Transfer) -> anyhow::Result<transfer::Transfer> {
    anyhow::ensure!(
        !path.is_hole() || found.pause < RECOVERY_MAX,
        "from the black hole in {:.1} s, and {} s is the aim",
        found.pause.as_secs_f64(),
        RECOVERY_MAX.as_secs()
    );
    Ok(found)
}

/// The slower of two, with the longer pause.
pub(super) fn worse(one: transfer::Transfer, other: transfer::Transfer) -> transfer::Transfer {
    transfer::Transfer {
        mbit_s: one.mbit_s.min(other.mbit_s),
        time: one.time.max(other.time),
        pause: one.pause.max(other.pause),
    }
}

/// Time of a transfer during which the path shrinks, after a second, and grows, after five: who only
/// waits until it has grown again is too late.
const UNDER_WAY: Duration = Duration::from_secs(6);

/// So soon packets flow again.
const RECOVERY_MAX: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_look_sees_what_is_told_and_says_what_it_left_out() {
        let few = combinations(true);
        let told: Vec<String> = few
            .iter()
            .filter(|(_, path)| !path.is_hole())
            .map(|(shape, path)| format!("{}, {}", shape.name(), path.name()))
            .collect();
        assert_eq!(told, ["tunnel 4-in-4 udp, ICMP allowed"]);
        assert_eq!(few.len(), 1 + 2 * FEW.len());
        assert_eq!(
            left_out(true),
            "left out: `ICMP allowed` for 11 of 12 shapes, `ICMP filtered` for 7 of 12 shapes, \
             `shrinks, ICMP allowed` for 12 of 12 shapes, \
             `shrinks, ICMP filtered` for 7 of 12 shapes"
        );
    }

    #[test]
    fn the_time_to_recover_is_told_with_its_aim() {
        let told = "out of every black hole in at most 1234 ms (aim: under 3 s)";
        assert_eq!(recovered(Duration::from_millis(1_234)), told);
    }

    #[test]
    fn a_whole_look_leaves_nothing_out() {
        assert_eq!(combinations(false).len(), 4 * Shape::all().len());
        assert_eq!(left_out(false), "");
    }
}
