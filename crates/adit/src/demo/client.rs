//! The command's side of the demo: starts the holder, gives orders, shows the news.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use adit_mgmt::Diagnosis;
use adit_mgmt::api::SCHEMA;
use adit_sys::process::PidFd;
use adit_sys::unix::peer_credentials;
use adit_sys::wake::{Interest, wait_for};
use serde::Serialize;

use crate::demo::find;
use crate::demo::news::{Line, News, Order, Report};
use crate::demo::place::{Place, Site};
use crate::demo::render::View;
use crate::error::{Error, Exit};
use crate::screen::Screen;

/// A connection to the holder.
pub(crate) struct Client {
    line: Line,
    /// The holder, if this process has started it.
    child: Option<Child>,
}

/// What an order came to, for `--json`; a show has its own [`Report`].
#[derive(Debug, Default, Serialize)]
struct Outcome {
    schema: u32,
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    oslo: Option<Box<Diagnosis>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    berlin: Option<Box<Diagnosis>>,
}

impl Client {
    /// Connects to the running demo.
    pub(crate) fn connect(place: &Place) -> Result<Self, Error> {
        let stream = UnixStream::connect(place.orders()).map_err(|_| not_running())?;
        Ok(Self { line: Line::new(stream)?, child: None })
    }

    /// Process number of the holder, if a demo runs.
    pub(crate) fn holder(place: &Place) -> Option<u32> {
        let stream = UnixStream::connect(place.orders()).ok()?;
        u32::try_from(peer_credentials(&stream).ok()?.pid).ok()
    }

    /// Starts a holder.
    pub(crate) fn start(place: &Place) -> Result<Self, Error> {
        if Self::holder(place).is_some() {
            return Err(Error::Refused(
                "a demo is running already: `adit demo status` shows it, `adit demo stop` ends it"
                    .into(),
            ));
        }
        let aditd = find::aditd()?;
        let own = std::env::current_exe().map_err(Error::io("own program"))?;
        let (ours, theirs) = UnixStream::pair().map_err(Error::io("orders"))?;
        let mut command = Command::new(own);
        command.args(["demo", "hold"]).arg(aditd).arg("--directory").arg(place.path());
        command.stdin(Stdio::from(OwnedFd::from(theirs)));
        command.stdout(Stdio::null()).stderr(Stdio::null()).current_dir("/");
        let child = command.spawn().map_err(Error::io("holder"))?;
        Ok(Self { line: Line::new(ours)?, child: Some(child) })
    }

    /// Gives an order and shows the news until it is carried out.
    pub(crate) fn order(
        &mut self,
        order: &Order,
        json: bool,
        screen: &mut Screen,
    ) -> Result<Exit, Error> {
        self.line.send(order).map_err(|_| gone())?;
        let mut outcome = Outcome { schema: SCHEMA, ..Outcome::default() };
        let mut report: Option<Box<Report>> = None;
        let mut view = (!json).then(|| View::new(screen));
        loop {
            let news = self.line.receive::<News>()?.ok_or_else(gone)?;
            if let Some(view) = &mut view {
                view.show(&news)?;
            }
            match news {
                News::Diagnosis { site: Site::Oslo, diagnosis } => outcome.oslo = Some(diagnosis),
                News::Diagnosis { site: Site::Berlin, diagnosis } => {
                    outcome.berlin = Some(diagnosis);
                }
                News::Report(found) => report = Some(found),
                News::Done { ok } => {
                    outcome.ok = ok;
                    break;
                }
                // The report names the problem already.
                News::Failed { .. } if json && report.is_some() => break,
                News::Failed { diagnosis: Some(diagnosis), .. } => {
                    return Err(Error::Diagnosed(diagnosis));
                }
                News::Failed { text, .. } => return Err(Error::Refused(text)),
                News::Fact { .. }
                | News::Step(_)
                | News::Octets { .. }
                | News::Amount { .. }
                | News::Patience { .. } => {}
            }
        }
        drop(view);
        match report {
            Some(report) if json => screen.json(&*report)?,
            None if json => screen.json(&outcome)?,
            Some(_) | None => {}
        }
        Ok(if outcome.ok { Exit::Good } else { Exit::Problem })
    }

    /// Takes the demo down and waits until the holder has ended.
    pub(crate) fn finish(mut self) -> Result<(), Error> {
        self.line.send(&Order::Stop).map_err(|_| gone())?;
        let answer = self.line.receive::<News>()?;
        self.wait();
        match answer {
            Some(News::Failed { text, .. }) => Err(Error::Refused(text)),
            Some(_) | None => Ok(()),
        }
    }

    /// Waits until a holder that this process has started has ended, after removing everything.
    pub(crate) fn wait(self) {
        let Self { line, child } = self;
        // A holder that still shows something notices that nobody listens.
        drop(line);
        if let Some(mut child) = child {
            // How it ended does not matter any more.
            let _ = child.wait();
        }
    }

    /// Takes a demo down that another process has started. A holder that is busy with an order is
    /// not waited for: with it, the kernel ends its daemons and its namespaces.
    pub(crate) fn stop(place: &Place) -> Result<(), Error> {
        let stream = UnixStream::connect(place.orders()).map_err(|_| not_running())?;
        let credentials = peer_credentials(&stream).map_err(Error::io("demo"))?;
        let holder = PidFd::open(u32::try_from(credentials.pid).unwrap_or_default())?;
        let mut line = Line::new(stream)?;
        line.send(&Order::Stop).map_err(|_| gone())?;
        if wait_for(&holder, Interest::Readable, Some(BUSY_PATIENCE)).map_err(Error::io("demo"))? {
            return match line.receive::<News>() {
                Ok(Some(News::Failed { text, .. })) => Err(Error::Refused(text)),
                _ => Ok(()),
            };
        }
        holder.kill()?;
        wait_for(&holder, Interest::Readable, None).map_err(Error::io("demo"))?;
        place.remove()
    }
}

/// No holder takes orders.
pub(crate) fn not_running() -> Error {
    Error::Refused("no demo is running; `adit demo` starts one".into())
}

fn gone() -> Error {
    Error::Refused("the demo's holder has gone away".into())
}

/// Longer than a holder without another order takes to stop both daemons.
const BUSY_PATIENCE: Duration = Duration::from_secs(5);
