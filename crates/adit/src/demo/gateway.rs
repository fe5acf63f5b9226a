//! A gateway's daemon: started in its namespace, killed, started again.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use adit_sys::clock;
use adit_sys::netns::Namespace;
use adit_sys::process::PidFd;
use adit_sys::wake::{Interest, wait_for};

use crate::daemon::Daemon;
use crate::demo::place::{Place, Site};
use crate::error::Error;

/// A site's daemon. It is killed when the thread that started it ends.
#[derive(Debug)]
pub(crate) struct Gateway {
    place: Place,
    site: Site,
    aditd: PathBuf,
    keys: Option<PathBuf>,
    child: Option<Child>,
}

impl Gateway {
    /// A gateway whose daemon does not run yet.
    pub(crate) fn new(place: &Place, site: Site, aditd: &Path, keys: Option<&Path>) -> Self {
        Self {
            place: place.clone(),
            site,
            aditd: aditd.to_owned(),
            keys: keys.map(Path::to_owned),
            child: None,
        }
    }

    /// Starts the daemon, if it does not run, and waits until it is ready.
    pub(crate) fn start(&mut self, host: &Namespace) -> Result<(), Error> {
        if !self.runs() {
            let mut command = Command::new(&self.aditd);
            command.arg("--config").arg(self.place.config(self.site));
            command.arg("--vici").arg(self.place.vici(self.site));
            command.arg("--log").arg(self.place.log(self.site));
            if let Some(keys) = &self.keys {
                command.arg("--export-keys").arg(keys);
            }
            // What it says before its log is open belongs there too.
            let log = self.place.log(self.site);
            let log = File::options().create(true).append(true).open(&log);
            let log = log.map_err(Error::io("log of aditd"))?;
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
            let child = host.spawn(&mut command);
            self.child = Some(child.map_err(Error::io(self.aditd.display().to_string()))?);
        }
        // The socket is there before the configuration is read; the answer comes after it.
        let answer = self.connect()?.status();
        answer.map(drop).map_err(|error| self.why_it_ended().unwrap_or(error))
    }

    /// Whether the daemon has been started and has not ended by itself.
    fn runs(&mut self) -> bool {
        let ended = |child: &mut Child| matches!(child.try_wait(), Ok(Some(_)));
        self.child.take_if(ended);
        self.child.is_some()
    }

    /// What a daemon said that went away instead of answering.
    fn why_it_ended(&mut self) -> Option<Error> {
        let process = PidFd::open(self.child.as_ref()?.id()).ok()?;
        wait_for(&process, Interest::Readable, Some(STOP_PATIENCE)).ok()?;
        let status = self.child.as_mut()?.try_wait().ok()??;
        self.child = None;
        Some(self.ended(&status.to_string()))
    }

    /// A connection to the daemon.
    pub(crate) fn connect(&mut self) -> Result<Daemon, Error> {
        let deadline = clock::now() + START_PATIENCE;
        loop {
            let error = match Daemon::connect(&self.place.vici(self.site)) {
                Ok(daemon) => return Ok(daemon),
                Err(error) => error,
            };
            if let Some(child) = &mut self.child
                && let Ok(Some(status)) = child.try_wait()
            {
                self.child = None;
                return Err(self.ended(&status.to_string()));
            }
            if clock::now() >= deadline {
                return Err(error);
            }
            std::thread::sleep(START_POLL);
        }
    }

    fn ended(&self, status: &str) -> Error {
        let log = self.place.log(self.site);
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        let error = text.lines().rfind(|line| line.contains("ERROR"));
        let last = error.or_else(|| text.lines().next_back()).unwrap_or("it said nothing");
        let name = self.site.name();
        Error::Refused(format!("{name}'s aditd ended ({status}): {last}"))
    }

    /// Kills the daemon as a power cut would.
    pub(crate) fn kill(&mut self) -> Result<(), Error> {
        if let Some(mut child) = self.child.take() {
            PidFd::open(child.id())?.kill()?;
            child.wait().map_err(Error::io("aditd"))?;
        }
        Ok(())
    }

    /// Asks the daemon to end, and kills it if it does not.
    pub(crate) fn stop(&mut self) -> Result<(), Error> {
        let Some(child) = &self.child else { return Ok(()) };
        let process = PidFd::open(child.id())?;
        process.terminate()?;
        let ended = wait_for(&process, Interest::Readable, Some(STOP_PATIENCE));
        if !ended.map_err(Error::io("aditd"))? {
            return self.kill();
        }
        if let Some(mut child) = self.child.take() {
            child.wait().map_err(Error::io("aditd"))?;
        }
        Ok(())
    }
}

const START_PATIENCE: Duration = Duration::from_secs(10);
const START_POLL: Duration = Duration::from_millis(5);
/// A daemon tells its peers first, who answer at once if they live.
const STOP_PATIENCE: Duration = Duration::from_secs(2);
