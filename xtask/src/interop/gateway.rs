//! A daemon under test: started, told what to do, asked what it has.

use std::cell::RefCell;
use std::fs;
use std::path::PathBuf;
use std::process::Child;
use std::time::Duration;

use anyhow::Context as _;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::lab::{Side, output};
use super::plan::{CONNECTION, Plan};
use super::raw::{self, ChildSa, IkeSa};
use super::{adit, strongswan};
use crate::clock;

/// Who plays the gateway, and through what it is told what to do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Make {
    /// `aditd` with a tunnel's file, told by `adit`.
    Adit,
    /// `aditd` without configuration, told by `swanctl`.
    AditBySwanctl,
    /// strongSwan, told by `swanctl`.
    StrongSwan,
}

/// What a rekey or a delete is about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Level {
    /// The IKE SA.
    Ike,
    /// The child SA.
    Child,
}

/// One gateway.
pub(crate) struct Gateway {
    /// Where it runs.
    pub(crate) side: Side,
    make: Make,
    log_level: &'static str,
    daemon: RefCell<Option<Child>>,
}

/// A daemon opens its control socket within this time, and ends within it.
const START: Duration = Duration::from_secs(10);

/// A tunnel comes up within this time.
const UP: Duration = Duration::from_secs(20);

/// Between two looks at a gateway that changes.
const PAUSE: Duration = Duration::from_millis(100);

/// Lines of a log that a failure shows.
const LOG_LINES: usize = 60;

impl Gateway {
    /// Writes the configuration and starts the daemon.
    pub(crate) fn start(side: &Side, peer: &Side, plan: &Plan, make: Make) -> anyhow::Result<Self> {
        match make {
            Make::Adit => adit::write(side, peer, plan)?,
            Make::AditBySwanctl => adit::write_nothing(side)?,
            Make::StrongSwan => {}
        }
        // swanctl asks every daemon what it has, and wants its own configuration for that.
        strongswan::write(side, peer, plan)?;
        let gateway = Self {
            side: side.clone(),
            make,
            log_level: plan.log_level,
            daemon: RefCell::new(None),
        };
        gateway.start_again()?;
        Ok(gateway)
    }

    /// Starts the daemon with the configuration that lies there.
    pub(crate) fn start_as_is(side: &Side, make: Make) -> anyhow::Result<Self> {
        let daemon = RefCell::new(None);
        let gateway = Self { side: side.clone(), make, log_level: "info", daemon };
        gateway.start_again()?;
        Ok(gateway)
    }

    /// Is it ours, with a tunnel's file?
    pub(crate) fn is_adit(&self) -> bool {
        self.make == Make::Adit
    }

    /// Starts the daemon with the configuration it had.
    pub(crate) fn start_again(&self) -> anyhow::Result<()> {
        let command = match self.make {
            Make::Adit | Make::AditBySwanctl => adit::daemon(&self.side, self.log_level),
            Make::StrongSwan => strongswan::daemon(&self.side),
        };
        // A daemon that was killed leaves its socket behind.
        let _ = fs::remove_file(self.vici());
        self.daemon.replace(Some(self.side.spawn(command, "output.log")?));
        let vici = self.vici();
        anyhow::ensure!(
            clock::poll(START, PAUSE, || vici.exists() || self.has_ended()),
            "{} opened no control socket within {} s",
            self.name(),
            START.as_secs()
        );
        anyhow::ensure!(!self.has_ended(), "{} ended at once", self.name());
        if self.make != Make::Adit {
            self.swanctl(&["--load-all", "--noprompt"])?;
            return Ok(());
        }
        // It serves its socket while it reads its files, and knows no peer before.
        let is_loaded = || self.adit(&["status", CONNECTION]).is_ok();
        let loaded = clock::poll(START, PAUSE, is_loaded);
        anyhow::ensure!(loaded, "{} does not load its tunnel", self.name());
        Ok(())
    }

    /// Process id of the daemon, if it was started.
    pub(crate) fn process(&self) -> Option<u32> {
        self.daemon.borrow().as_ref().map(Child::id)
    }

    /// Runs `adit ARGUMENTS` against this daemon and returns what it prints.
    ///
    /// # Errors
    ///
    /// What it complains of.
    pub(crate) fn ask(&self, arguments: &[&str]) -> anyhow::Result<String> {
        output(&mut adit::adit(&self.side, arguments))
    }

    /// Asks the daemon to end and waits for it.
    pub(crate) fn stop(&self) -> anyhow::Result<()> {
        self.signal(Signal::SIGTERM)?;
        anyhow::ensure!(
            clock::poll(START, PAUSE, || self.has_ended()),
            "{} does not end on SIGTERM",
            self.name()
        );
        Ok(())
    }

    /// Ends the daemon as a power cut would.
    pub(crate) fn kill(&self) -> anyhow::Result<()> {
        self.signal(Signal::SIGKILL)?;
        clock::poll(START, PAUSE, || self.has_ended());
        Ok(())
    }

    /// Gives our daemon another configuration while it runs.
    pub(crate) fn reconfigure(&self, peer: &Side, plan: &Plan) -> anyhow::Result<()> {
        anyhow::ensure!(self.make == Make::Adit, "{} has no tunnel's file", self.name());
        adit::write(&self.side, peer, plan)?;
        self.adit(&["reload"])
    }

    /// Brings the tunnel up and waits until it is.
    pub(crate) fn initiate(&self) -> anyhow::Result<()> {
        self.initiate_within(UP)
    }

    /// The same with another time.
    pub(crate) fn initiate_within(&self, time: Duration) -> anyhow::Result<()> {
        let seconds = time.as_secs().to_string();
        if self.make == Make::Adit {
            return self.adit(&["up", CONNECTION, "--timeout", &seconds]);
        }
        let words = ["--initiate", "--timeout", &seconds, "--child", strongswan::CHILD];
        self.swanctl(&words).map(drop)
    }

    /// Replaces keys.
    pub(crate) fn rekey(&self, level: Level) -> anyhow::Result<()> {
        if self.make == Make::Adit {
            let flag: &[&str] = if level == Level::Ike { &["--ike"] } else { &[] };
            return self.adit(&[&["rekey", CONNECTION], flag].concat());
        }
        self.swanctl(&[&["--rekey"], target(level).as_slice()].concat()).map(drop)
    }

    /// Takes the tunnel down, or its child SA alone.
    pub(crate) fn terminate(&self, level: Level) -> anyhow::Result<()> {
        if self.make == Make::Adit {
            return self.adit(&["down", CONNECTION]);
        }
        self.swanctl(&[&["--terminate", "--timeout", "20"], target(level).as_slice()].concat())
            .map(drop)
    }

    /// The IKE SAs it has now.
    pub(crate) fn ike_sas(&self) -> anyhow::Result<Vec<IkeSa>> {
        raw::ike_sas(&self.swanctl(&["--list-sas", "--raw"])?)
    }

    /// The one IKE SA it has, with its one child; anything else is an error that says what it is.
    pub(crate) fn only_sa(&self) -> anyhow::Result<IkeSa> {
        let sas = self.ike_sas()?;
        let live: Vec<&IkeSa> = sas.iter().filter(|sa| sa.is_live()).collect();
        match live.as_slice() {
            [sa] if is_settled(sa) => Ok((*sa).clone()),
            _ => anyhow::bail!("{} has {}", self.name(), describe(&sas)),
        }
    }

    /// Waits until it has one IKE SA with one child and `accept` likes them.
    pub(crate) fn wait_for(
        &self,
        limit: Duration,
        what: &str,
        accept: impl Fn(&IkeSa) -> bool,
    ) -> anyhow::Result<IkeSa> {
        let mut last = self.only_sa();
        let is_good = |sa: &anyhow::Result<IkeSa>| sa.as_ref().is_ok_and(&accept);
        clock::poll(limit, PAUSE, || {
            last = self.only_sa();
            is_good(&last)
        });
        let name = self.name();
        let sa = last.with_context(|| format!("{name}: {what} did not happen in {limit:?}"))?;
        anyhow::ensure!(accept(&sa), "{name}: {what} did not happen in {limit:?}");
        Ok(sa)
    }

    /// Waits until it has no SA.
    pub(crate) fn wait_for_none(&self, limit: Duration) -> anyhow::Result<()> {
        let mut last = Vec::new();
        let is_empty = clock::poll(limit, PAUSE, || {
            last = self.ike_sas().unwrap_or_default();
            last.is_empty()
        });
        anyhow::ensure!(is_empty, "{} still has {}", self.name(), describe(&last));
        Ok(())
    }

    /// Runs swanctl against this daemon, whichever it is.
    pub(crate) fn swanctl(&self, arguments: &[&str]) -> anyhow::Result<String> {
        output(&mut strongswan::swanctl(&self.side, &self.vici(), arguments))
    }

    /// What the daemon has logged.
    pub(crate) fn log(&self) -> String {
        let file = match self.make {
            Make::Adit | Make::AditBySwanctl => adit::log(&self.side),
            Make::StrongSwan => strongswan::log(&self.side),
        };
        fs::read_to_string(file).unwrap_or_default()
    }

    /// The end of its log and of what it printed, for a failure.
    pub(crate) fn last_words(&self) -> String {
        let printed = fs::read_to_string(self.side.folder.join("output.log")).unwrap_or_default();
        let log = self.log();
        let lines: Vec<&str> = printed.lines().chain(log.lines()).collect();
        let last = lines.get(lines.len().saturating_sub(LOG_LINES)..).unwrap_or_default();
        format!("--- {}\n{}\n", self.name(), last.join("\n"))
    }

    fn adit(&self, arguments: &[&str]) -> anyhow::Result<()> {
        self.ask(arguments).map(drop)
    }

    fn vici(&self) -> PathBuf {
        match self.make {
            Make::Adit | Make::AditBySwanctl => adit::vici(&self.side),
            Make::StrongSwan => strongswan::vici(&self.side),
        }
    }

    fn name(&self) -> String {
        let make = if self.make == Make::StrongSwan { "strongSwan" } else { "aditd" };
        format!("{make} on the {}", self.side.name)
    }

    fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        anyhow::ensure!(!self.has_ended(), "{} has ended by itself", self.name());
        let id = self.daemon.borrow().as_ref().map(Child::id).unwrap_or_default();
        let id = i32::try_from(id).context("a process id fits")?;
        kill(Pid::from_raw(id), signal).with_context(|| format!("cannot signal {}", self.name()))
    }

    fn has_ended(&self) -> bool {
        let mut daemon = self.daemon.borrow_mut();
        // A process that we waited for is no longer ours to signal.
        daemon.as_mut().is_none_or(|process| !matches!(process.try_wait(), Ok(None)))
    }
}

/// swanctl's words for what is meant.
fn target(level: Level) -> [&'static str; 2] {
    match level {
        Level::Ike => ["--ike", CONNECTION],
        Level::Child => ["--child", strongswan::CHILD],
    }
}

/// SAs in these states are on their way out: their traffic has moved already.
const GOING: [&str; 4] = ["REKEYED", "DELETING", "DELETED", "DESTROYING"];

/// Is it established, with exactly one live child, which is installed?
fn is_settled(sa: &IkeSa) -> bool {
    let live: Vec<&str> = sa.live_children().map(|child| child.state.as_str()).collect();
    sa.state == "ESTABLISHED" && live == ["INSTALLED"]
}

impl IkeSa {
    /// Is it on its way out?
    fn is_live(&self) -> bool {
        !GOING.contains(&self.state.as_str())
    }

    /// Its children that are not on their way out.
    pub(crate) fn live_children(&self) -> impl Iterator<Item = &ChildSa> {
        self.children.iter().filter(|child| !GOING.contains(&child.state.as_str()))
    }
}

/// `2 IKE SAs (ESTABLISHED: INSTALLED, REKEYED; CONNECTING: -)`.
fn describe(sas: &[IkeSa]) -> String {
    let children = |sa: &IkeSa| match sa.children.as_slice() {
        [] => "-".to_owned(),
        all => all.iter().map(|child| child.state.as_str()).collect::<Vec<_>>().join(", "),
    };
    let each: Vec<String> =
        sas.iter().map(|sa| format!("{}: {}", sa.state, children(sa))).collect();
    match sas.len() {
        0 => "no IKE SA".to_owned(),
        1 => format!("1 IKE SA ({})", each.join("; ")),
        count => format!("{count} IKE SAs ({})", each.join("; ")),
    }
}
