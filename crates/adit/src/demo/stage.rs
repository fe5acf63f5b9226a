//! The demo as it stands in the holder: hosts, daemons, and what is broken.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use adit_mgmt::api::{self, Change, ReloadReport, TunnelState};
use adit_mgmt::vici::{EventKind, Initiate, Request, Selection, Terminate, Timeout};
use adit_mgmt::{Code, Diagnosis};
use adit_sys::clock;
use adit_sys::ping::{PingConfig, PingReport, ping};
use adit_sys::route::UdpBlackhole;

use crate::args::Fault;
use crate::daemon::{Daemon, Event};
use crate::demo::files::{self, Settings};
use crate::demo::gateway::Gateway;
use crate::demo::lab::{BERLIN_HOST, Lab};
use crate::demo::news::{Line, News, Show};
use crate::demo::place::{Place, Site};
use crate::demo::traffic;
use crate::error::Error;

/// Everything that lives while the demo lives.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) place: Place,
    pub(crate) lab: Lab,
    pub(crate) oslo: Gateway,
    pub(crate) berlin: Gateway,
    pub(crate) settings: Settings,
    /// What is broken now.
    pub(crate) fault: Option<Fault>,
    /// What blocks a port on the way.
    pub(crate) hole: Option<UdpBlackhole>,
}

/// How an attempt to bring the tunnel up ended.
#[derive(Debug)]
pub(crate) enum Attempt {
    /// It is up, so long after the attempt began.
    Up(Duration),
    /// It failed.
    Failed(Box<Diagnosis>),
}

impl Stage {
    /// Builds the hosts and writes the configuration; no daemon runs yet.
    pub(crate) fn build(place: &Place, aditd: &Path, order: &Show) -> Result<Self, Error> {
        let keys = order.keys.as_ref();
        let lab = Lab::build()?;
        let file = serde_json::to_vec(&lab.file())
            .map_err(|error| Error::Refused(format!("cannot write JSON: {error}")))?;
        std::fs::write(place.lab(), file).map_err(Error::io(place.lab().display().to_string()))?;
        traffic::serve(&lab.berlin_host)?;
        for site in Site::ALL {
            files::make_directory(place, site)?;
        }
        Ok(Self {
            place: place.clone(),
            lab,
            // One of the two knows all keys, both directions.
            oslo: Gateway::new(place, Site::Oslo, aditd, keys.map(PathBuf::as_path)),
            berlin: Gateway::new(place, Site::Berlin, aditd, None),
            settings: Settings::new(keys.is_some(), order.ike)?,
            fault: None,
            hole: None,
        })
    }

    /// Starts both daemons and waits for the tunnel: first Berlin with its tunnel, which waits for
    /// Oslo; then Oslo without any, so that nothing is missed when its tunnel is added.
    pub(crate) fn establish(&mut self, line: &mut Line) -> Result<Attempt, Error> {
        self.settings.write(&self.place, Site::Berlin, None)?;
        self.start_daemons()?;
        let mut daemon = self.oslo.connect()?;
        daemon.subscribe(EventKind::AditEvent)?;
        daemon.subscribe(EventKind::AditProgress)?;
        self.settings.write(&self.place, Site::Oslo, None)?;
        let mut watch = Watch::new();
        reload(&mut daemon, |event| watch.take(event, line))?;
        watch.wait(&mut daemon, line, ESTABLISH_PATIENCE)
    }

    /// Starts the daemons that do not run.
    pub(crate) fn start_daemons(&mut self) -> Result<(), Error> {
        self.berlin.start(&self.lab.berlin_gw)?;
        self.oslo.start(&self.lab.oslo_gw)
    }

    /// Whether both daemons run and carry the tunnel.
    pub(crate) fn is_up(&mut self) -> Result<bool, Error> {
        self.start_daemons()?;
        for gateway in [&mut self.oslo, &mut self.berlin] {
            let status = gateway.connect()?.status()?;
            if !status.tunnels.iter().any(|tunnel| tunnel.state == TunnelState::Up) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether Oslo's operator has taken the tunnel down, so that its daemon does not try.
    pub(crate) fn is_held_down(&mut self) -> Result<bool, Error> {
        let status = self.oslo.connect()?.status()?;
        Ok(status.tunnels.iter().any(|tunnel| tunnel.state == TunnelState::Idle))
    }

    /// Writes both sides' files for a fault, or for none, and lets the daemons read them; then
    /// Oslo begins anew, as `adit restart berlin` does. Berlin's opinion is collected too.
    pub(crate) fn negotiate(
        &mut self,
        fault: Option<Fault>,
        line: &mut Line,
    ) -> Result<(Attempt, Option<Box<Diagnosis>>), Error> {
        let mut oslo = self.oslo.connect()?;
        let mut berlin = self.berlin.connect()?;
        oslo.subscribe(EventKind::AditEvent)?;
        oslo.subscribe(EventKind::AditProgress)?;
        berlin.subscribe(EventKind::AditEvent)?;
        terminate(&mut oslo, Site::Berlin)?;
        for site in Site::ALL {
            self.settings.write(&self.place, site, fault)?;
        }
        reload(&mut berlin, |_| Ok(()))?;
        // A reload is answered before it has reached every part of the daemon, a status after it.
        berlin.status()?;
        let mut watch = Watch::new();
        let report = reload(&mut oslo, |event| watch.take(event, line))?;
        // A tunnel that changed begins by itself; one that did not stays down as it was told.
        let begins = report.changed.iter().any(|name| name == Site::Berlin.name());
        let attempt = if begins {
            watch.wait(&mut oslo, line, INITIATE_PATIENCE)?
        } else {
            initiate(&mut oslo, &mut watch, line)?
        };
        Ok((attempt, opinion(&mut berlin)?))
    }

    /// Oslo begins anew with the files as they are.
    pub(crate) fn restart(&mut self, line: &mut Line) -> Result<Attempt, Error> {
        let mut oslo = self.oslo.connect()?;
        terminate(&mut oslo, Site::Berlin)?;
        initiate(&mut oslo, &mut Watch::new(), line)
    }

    /// Pings from the machine in Oslo to the one in Berlin.
    pub(crate) fn ping(&self, count: u16, timeout: Duration) -> Result<PingReport, Error> {
        let interval = Duration::from_millis(50);
        let config = PingConfig { count, interval, timeout, ..PingConfig::new(BERLIN_HOST) };
        Ok(self.lab.oslo_host.run(|| ping(&config))??)
    }

    /// Ends the daemons and removes the files.
    pub(crate) fn take_down(mut self) -> Result<(), Error> {
        self.oslo.stop()?;
        self.berlin.stop()?;
        self.place.remove()
    }
}

/// Follows an attempt by the daemon's events.
#[derive(Debug)]
pub(crate) struct Watch {
    began: Instant,
    ended: Option<Attempt>,
    only_up: bool,
}

impl Watch {
    /// Of an attempt that begins now.
    pub(crate) fn new() -> Self {
        Self { began: clock::now(), ended: None, only_up: false }
    }

    /// Failures do not end it: they are expected for a while.
    pub(crate) fn only_up() -> Self {
        Self { only_up: true, ..Self::new() }
    }

    fn took(&self) -> Duration {
        clock::now().saturating_duration_since(self.began)
    }

    /// Takes one event and passes steps on.
    pub(crate) fn take(&mut self, event: Event, line: &mut Line) -> Result<(), Error> {
        match event {
            Event::Progress(step) => line.send(&News::Step(step))?,
            Event::Tunnel(event) => {
                if let Change::Up { .. } = event.change {
                    self.ended = Some(Attempt::Up(self.took()));
                } else if let Change::Failed { diagnosis } = event.change
                    && !self.only_up
                {
                    self.ended = Some(Attempt::Failed(diagnosis));
                }
            }
            Event::Log(_) => {}
        }
        Ok(())
    }

    /// Waits for the end of the attempt.
    pub(crate) fn wait(
        mut self,
        daemon: &mut Daemon,
        line: &mut Line,
        patience: Duration,
    ) -> Result<Attempt, Error> {
        let deadline = clock::now() + patience;
        loop {
            if let Some(ended) = self.ended {
                return Ok(ended);
            }
            match daemon.next_event(Some(deadline))? {
                Some(event) => self.take(event, line)?,
                None => {
                    let waited = crate::words::duration(patience);
                    return Err(Error::Refused(format!("the tunnel is not up after {waited}")));
                }
            }
        }
    }
}

/// Lets a daemon read its files.
pub(crate) fn reload(
    daemon: &mut Daemon,
    take: impl FnMut(Event) -> Result<(), Error>,
) -> Result<ReloadReport, Error> {
    let answer = daemon.call(&Request::AditReload { dry_run: false }, take)?;
    let report: ReloadReport = api::from_message(&answer)?;
    match report.problems.first() {
        Some(problem) if report.has_errors() => Err(Error::Refused(problem.rendered.clone())),
        _ => Ok(report),
    }
}

/// Takes the tunnel to a site down, if it is up.
fn terminate(daemon: &mut Daemon, peer: Site) -> Result<(), Error> {
    let request = Request::Terminate(Terminate {
        selection: Selection::connection(peer.name()),
        force: true,
        timeout: Timeout::After(TERMINATE_PATIENCE),
        log_level: -1,
    });
    // Whether there was something to take down does not matter.
    daemon.act(&request, |_| Ok(())).map(drop)
}

fn initiate(daemon: &mut Daemon, watch: &mut Watch, line: &mut Line) -> Result<Attempt, Error> {
    let request = Request::Initiate(Initiate {
        child: Some(Site::Berlin.name().to_owned()),
        connection: Some(Site::Berlin.name().to_owned()),
        timeout: Timeout::After(INITIATE_PATIENCE),
        log_level: -1,
    });
    let outcome = daemon.act(&request, |event| watch.take(event, line))?;
    let Some(reason) = outcome.error else {
        return Ok(Attempt::Up(watch.took()));
    };
    let unknown = || Diagnosis::new(Code::E601, reason).tunnel(Site::Berlin.name());
    Ok(Attempt::Failed(Box::new(outcome.diagnosis.unwrap_or_else(unknown))))
}

/// The last failure that a daemon has told, if there was any.
fn opinion(daemon: &mut Daemon) -> Result<Option<Box<Diagnosis>>, Error> {
    let mut last = None;
    let deadline = clock::now() + OPINION_PATIENCE;
    while let Some(event) = daemon.next_event(Some(deadline))? {
        if let Event::Tunnel(event) = event
            && let Change::Failed { diagnosis } = event.change
        {
            last = Some(diagnosis);
        }
    }
    Ok(last)
}

const ESTABLISH_PATIENCE: Duration = Duration::from_secs(20);
const TERMINATE_PATIENCE: Duration = Duration::from_secs(3);
/// Longer than the daemon tries.
const INITIATE_PATIENCE: Duration = Duration::from_secs(60);
const OPINION_PATIENCE: Duration = Duration::from_millis(200);
