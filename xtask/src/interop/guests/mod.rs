//! `cargo xtask interop libreswan` and `openiked`: our daemon on the left, on the right one that gives
//! its keys to a Linux kernel, in a guest and from a package that is only unpacked.
//!
//! One guest does all cases of a peer. What counts: our daemon's SAs are those of the guest's kernel, and
//! every ping went through them.

mod libreswan;
mod openiked;

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;

use super::gateway::{Gateway, Level, Make};
use super::in_guest::{State, states};
use super::lab::{Lab, OUTSIDE, Side, output};
use super::plan::{Beside, Plan};
use super::raw::IkeSa;
use super::{Figures, Peer, Row, adit, ping};
use crate::linux::guest::Guest;
use crate::outcome::Status;
use crate::{clock, linux, needs};

/// One case.
pub(super) struct Case {
    name: &'static str,
    claim: &'static str,
    /// The version of IKE.
    version: u8,
    /// ESP in UDP.
    udp: bool,
    /// What we authenticate with beside a secret.
    beside: Beside,
    /// More lines of our tunnel's file.
    ours: &'static str,
    /// More lines of the peer's configuration.
    theirs: &'static str,
    run: fn(&Bench<'_>) -> anyhow::Result<Figures>,
}

/// A daemon in a guest.
trait Daemon {
    /// Gives it a connection to `other`; `begins` if it is to initiate.
    fn load(&self, other: &Side, case: &Case, begins: bool) -> anyhow::Result<()>;

    /// Brings the tunnel up from there.
    fn initiate(&self) -> anyhow::Result<()>;

    /// New keys from there.
    fn rekey(&self, level: Level) -> anyhow::Result<()>;

    /// Deletes the tunnel from there.
    fn terminate(&self) -> anyhow::Result<()>;

    /// The guest that it runs in.
    fn guest(&self) -> &Guest;

    /// The end of its log.
    fn last_words(&self) -> String;
}

/// The suites of all cases, in our words: what both peers have.
const IKE: &str = "aes256-sha256-modp2048";

/// Both sides of a case.
struct Bench<'a> {
    left: Gateway,
    right: &'a dyn Daemon,
    lab: &'a Lab,
    case: &'a Case,
}

/// The names of all cases of a peer and what they show.
pub(super) fn list(peer: Peer) -> impl Iterator<Item = (&'static str, &'static str)> {
    cases(peer).iter().map(|case| (case.name, case.claim))
}

fn cases(peer: Peer) -> &'static [Case] {
    if peer == Peer::Openiked { &openiked::CASES } else { &libreswan::CASES }
}

fn package(peer: Peer) -> &'static str {
    if peer == Peer::Openiked { "openiked" } else { "libreswan" }
}

/// Runs the cases that are named, or all of the peer.
pub(super) fn rows(
    peer: Peer,
    names: &[String],
    keep: bool,
    report: impl Fn(&Row),
) -> anyhow::Result<Vec<Row>> {
    let all = cases(peer);
    if let Some(name) = names.iter().find(|name| !all.iter().any(|case| case.name == **name)) {
        anyhow::bail!("no case `{name}`; --list shows them");
    }
    let is_wanted = |case: &&Case| names.is_empty() || names.iter().any(|name| name == case.name);
    let programs = [&super::PROGRAMS[..], &linux::PROGRAMS, &["apt-get", "dpkg-deb"]].concat();
    let missing = needs::missing(&programs);
    let layer = match missing.as_slice() {
        [] => linux::layer::Layer::unpack(package(peer)).map_err(|error| format!("{error:#}")),
        missing => Err(format!("missing: {}", missing.join("; "))),
    };
    let layer = match layer {
        Ok(layer) => layer,
        Err(reason) => {
            let row = row(package(peer), Status::missing(), reason);
            report(&row);
            return Ok(vec![row]);
        }
    };
    adit::build()?;
    let lab = Lab::new(keep)?;
    lab.left.cut_super_packets(OUTSIDE)?;
    let right: Box<dyn Daemon> = if peer == Peer::Openiked {
        Box::new(openiked::OpenIked::start(&lab.right, &layer)?)
    } else {
        Box::new(libreswan::Libreswan::start(&lab.right, &layer)?)
    };
    let mut rows = Vec::new();
    for case in all.iter().filter(is_wanted) {
        let row = run(case, &lab, right.as_ref());
        report(&row);
        rows.push(row);
    }
    Ok(rows)
}

fn run(case: &Case, lab: &Lab, right: &dyn Daemon) -> Row {
    let start = clock::now();
    let result = Bench::start(case, lab, right).and_then(|bench| {
        let result = (case.run)(&bench);
        // The next case begins with nothing.
        if result.is_err() {
            eprint!("{}{}", bench.left.last_words(), right.last_words());
            let _ = right.terminate();
        }
        bench.left.stop().and(result)
    });
    let mut row = match result {
        Ok(figures) => Row { figures, ..row(case.name, Status::Pass, case.claim.to_owned()) },
        Err(error) => row(case.name, Status::Fail, format!("{error:#}")),
    };
    row.seconds = start.elapsed().as_secs_f64();
    row
}

fn row(scenario: &str, status: Status, reason: String) -> Row {
    let scenario = scenario.to_owned();
    Row { scenario, status, reason, seconds: 0.0, figures: Figures::new() }
}

impl<'a> Bench<'a> {
    fn start(case: &'a Case, lab: &'a Lab, right: &'a dyn Daemon) -> anyhow::Result<Self> {
        let plan = Plan {
            udp: case.udp,
            version: case.version,
            ike: IKE,
            // IKEv1 has ESN by its own word alone.
            esp: if case.version == 1 { "aes128-sha1" } else { "aes128-sha1-noesn" }.into(),
            beside: case.beside,
            left_more: case.ours,
            ..Plan::default()
        };
        let left = Gateway::start(&lab.left, &lab.right, &plan, Make::Adit)?;
        let bench = Self { left, right, lab, case };
        bench.is_down().context("before the case")?;
        Ok(bench)
    }

    /// The peer gets its connection; whoever begins brings the tunnel up.
    fn bring_up(&self, we_begin: bool) -> anyhow::Result<Figures> {
        self.right.load(&self.lab.left, self.case, !we_begin)?;
        let start = clock::now();
        if we_begin {
            self.left.initiate()?
        } else {
            self.right.initiate()?
        }
        self.left.wait_for(SOON, "the tunnel", |_| true)?;
        let time = start.elapsed();
        self.is_up()?;
        Ok(Figures::from([("established_ms", time.as_secs_f64() * 1e3)]))
    }

    /// The guest's kernel has the SAs that our daemon has, and every ping goes through them.
    fn is_up(&self) -> anyhow::Result<()> {
        let ours = self.left.only_sa()?;
        let (left, right) = (&self.lab.left, &self.lab.right);
        // The peer installs its SAs in its own time.
        let same =
            || self.have_same_sas(&ours).unwrap_or(false) && self.has_policy().unwrap_or(false);
        anyhow::ensure!(clock::poll(SOON, PAUSE, same), "not the same SAs: {:?}", self.states());
        let words = ping_words(left, right);
        ping::lossless(&output(left.command(Path::new("ping")).args(words))?)?;
        let words = ping_words(right, left).join(" ");
        ping::lossless(&self.right.guest().run(&format!("ping {words}"))?)?;
        self.judge()
    }

    fn states(&self) -> anyhow::Result<Vec<State>> {
        Ok(states(&self.right.guest().run("ip -s xfrm state")?))
    }

    fn have_same_sas(&self, ours: &IkeSa) -> anyhow::Result<bool> {
        let spis: Vec<&str> =
            ours.live_children().flat_map(|child| child.spis.split(' ')).collect();
        let states = self.states()?;
        Ok(spis.len() == 2 && spis.iter().all(|spi| states.iter().any(|one| one.has_spi(spi))))
    }

    /// Whether its kernel protects what it sends. Of IKEv1 a responder has the SAs before that.
    fn has_policy(&self) -> anyhow::Result<bool> {
        let (ours, theirs) = (self.lab.left.network(false), self.lab.right.network(false));
        let out = format!("src {theirs} dst {ours}");
        let there = || self.right.guest().run("ip xfrm policy").map(|text| text.contains(&out));
        if self.case.version == 1 { there() } else { Ok(true) }
    }

    fn judge(&self) -> anyhow::Result<()> {
        let states = self.states()?;
        let esp: Vec<&State> =
            states.iter().filter(|state| state.text.contains("proto esp")).collect();
        let in_udp = |state: &State| state.text.contains("encap type espinudp");
        let is_meant = esp.iter().all(|state| in_udp(state) == self.case.udp);
        anyhow::ensure!(is_meant, "not as meant: {esp:?}");
        let passed: u64 = esp.iter().map(|state| state.packets).sum();
        anyhow::ensure!(passed >= 4 * u64::from(PINGS), "pings went elsewhere: {esp:?}");
        Ok(())
    }

    /// Keys of that level are replaced, by us or by the peer, and packets pass afterwards.
    fn rekey(&self, level: Level, by_us: bool) -> anyhow::Result<()> {
        let before = self.left.only_sa()?;
        if by_us {
            self.left.rekey(level)?
        } else {
            self.right.rekey(level)?
        }
        let spis = |sa: &IkeSa| -> Vec<String> {
            sa.live_children().map(|child| child.spis.clone()).collect()
        };
        let is_new = |sa: &IkeSa| match level {
            Level::Ike => sa.spis != before.spis,
            Level::Child => spis(sa) != spis(&before),
        };
        self.left.wait_for(SOON, "the rekeying", is_new)?;
        self.is_up()
    }

    /// Neither has an SA.
    fn is_down(&self) -> anyhow::Result<()> {
        self.left.wait_for_none(SOON)?;
        let is_empty = || self.states().is_ok_and(|states| states.is_empty());
        anyhow::ensure!(clock::poll(SOON, PAUSE, is_empty), "its kernel has {:?}", self.states());
        Ok(())
    }
}

/// We begin; we end it.
fn ours(bench: &Bench<'_>) -> anyhow::Result<Figures> {
    let figures = bench.bring_up(true)?;
    bench.left.terminate(Level::Ike)?;
    bench.is_down()?;
    Ok(figures)
}

/// The peer begins; the peer ends it.
fn theirs(bench: &Bench<'_>) -> anyhow::Result<Figures> {
    let figures = bench.bring_up(false)?;
    bench.right.terminate()?;
    bench.is_down()?;
    Ok(figures)
}

/// New keys of both levels from us.
fn we_rekey(bench: &Bench<'_>) -> anyhow::Result<Figures> {
    let figures = bench.bring_up(true)?;
    bench.rekey(Level::Child, true).context("we rekey the child SA")?;
    bench.rekey(Level::Ike, true).context("we rekey the IKE SA")?;
    ours_ends(bench, figures)
}

fn ours_ends(bench: &Bench<'_>, figures: Figures) -> anyhow::Result<Figures> {
    bench.left.terminate(Level::Ike)?;
    bench.is_down()?;
    Ok(figures)
}

/// ping fails unless every echo comes back.
fn ping_words(from: &Side, to: &Side) -> Vec<String> {
    let text = format!(
        "-n -q -i 0.05 -W 3 -c {PINGS} -s {PING_OCTETS} -I {} {}",
        from.inside(false),
        to.inside(false)
    );
    text.split(' ').map(str::to_owned).collect()
}

/// Echoes from each side.
const PINGS: u32 = 5;

/// Octets of an echo: no multiple of a block.
const PING_OCTETS: u16 = 333;

/// What both have agreed on shows within this time.
const SOON: Duration = Duration::from_secs(15);

const PAUSE: Duration = Duration::from_millis(100);
