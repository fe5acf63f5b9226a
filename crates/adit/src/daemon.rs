//! A connection to the daemon's control socket: blocking, one operation after the other.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Instant;

use adit_mgmt::api::{self, EngineReport, SadReport, Status};
use adit_mgmt::vici::answer::Outcome;
use adit_mgmt::vici::{Client, ClientEvent, EventKind, Message, Request};
use adit_mgmt::{Diagnosis, vici};
use adit_sys::clock;
use adit_sys::unix::peer_credentials;

use crate::error::Error;

/// A connection.
#[derive(Debug)]
pub(crate) struct Daemon {
    stream: UnixStream,
    client: Client,
    path: PathBuf,
    buffer: Box<[u8]>,
    /// Came while something else was waited for.
    early: VecDeque<Event>,
}

/// An event the daemon raised.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Event {
    /// A step of a handshake.
    Progress(api::Progress),
    /// A tunnel changed.
    Tunnel(api::TunnelEvent),
    /// A line of the log.
    Log(vici::LogLine),
}

impl Daemon {
    /// Connects to the control socket.
    ///
    /// # Errors
    ///
    /// [`Error::Diagnosed`] with E520 if nobody answers.
    pub(crate) fn connect(path: &Path) -> Result<Self, Error> {
        let stream = UnixStream::connect(path)
            .map_err(|error| Diagnosis::daemon_unreachable(path, error))?;
        let buffer = vec![0; READ_OCTETS].into_boxed_slice();
        Ok(Self {
            stream,
            client: Client::new(),
            path: path.to_owned(),
            buffer,
            early: VecDeque::new(),
        })
    }

    /// Sends a command and waits for its answer; `take` gets the events that come before it.
    ///
    /// # Errors
    ///
    /// [`Error::Diagnosed`] with E520 if the daemon goes away, [`Error::Refused`] if it does not
    /// know the command, and what `take` answers.
    pub(crate) fn call(
        &mut self,
        request: &Request,
        mut take: impl FnMut(Event) -> Result<(), Error>,
    ) -> Result<Message, Error> {
        self.client.request(request)?;
        loop {
            match self.next_client_event(None)? {
                Some(ClientEvent::Response(message)) => return Ok(message),
                Some(ClientEvent::UnknownCommand) => {
                    let name = request.name();
                    return Err(Error::Refused(format!(
                        "the daemon does not know the command {name}; is it Adit's?"
                    )));
                }
                Some(ClientEvent::Event { name, message }) => {
                    if let Some(event) = Event::read(&name, &message)? {
                        take(event)?;
                    }
                }
                Some(_) | None => {}
            }
        }
    }

    /// A command that either succeeds or not.
    pub(crate) fn act(
        &mut self,
        request: &Request,
        take: impl FnMut(Event) -> Result<(), Error>,
    ) -> Result<Outcome, Error> {
        Ok(Outcome::parse(&self.call(request, take)?))
    }

    /// How things stand with all tunnels.
    pub(crate) fn status(&mut self) -> Result<Status, Error> {
        let request = Request::AditStatus { tunnel: None };
        Ok(api::from_message(&self.call(&request, |_| Ok(()))?)?)
    }

    /// How packets are moved.
    pub(crate) fn engine(&mut self) -> Result<EngineReport, Error> {
        Ok(api::from_message(&self.call(&Request::AditEngine, |_| Ok(()))?)?)
    }

    /// The SAs, with their counters.
    pub(crate) fn sad(&mut self) -> Result<SadReport, Error> {
        Ok(api::from_message(&self.call(&Request::AditSad, |_| Ok(()))?)?)
    }

    /// The daemon's process, as this one sees it.
    pub(crate) fn process(&self) -> Result<u32, Error> {
        let peer = peer_credentials(&self.stream).map_err(Error::io("control socket"))?;
        u32::try_from(peer.pid).map_err(|_| Error::Refused("the daemon has no process".into()))
    }

    /// Registers for an event from now on.
    pub(crate) fn subscribe(&mut self, kind: EventKind) -> Result<(), Error> {
        self.client.subscribe(kind)?;
        loop {
            match self.next_client_event(None)? {
                Some(ClientEvent::Subscribed(confirmed)) if confirmed == kind => return Ok(()),
                Some(ClientEvent::UnknownEvent(unknown)) if unknown == kind => {
                    let name = kind.name();
                    return Err(Error::Refused(format!(
                        "the daemon does not know the event {name}; is it Adit's?"
                    )));
                }
                Some(ClientEvent::Event { name, message }) => {
                    self.early.extend(Event::read(&name, &message)?);
                }
                Some(_) | None => {}
            }
        }
    }

    /// The next event; `None` if none came until `deadline`.
    ///
    /// # Errors
    ///
    /// [`Error::Diagnosed`] with E520 if the daemon goes away.
    pub(crate) fn next_event(&mut self, deadline: Option<Instant>) -> Result<Option<Event>, Error> {
        if let Some(event) = self.early.pop_front() {
            return Ok(Some(event));
        }
        loop {
            match self.next_client_event(deadline)? {
                None => return Ok(None),
                Some(ClientEvent::Event { name, message }) => {
                    if let Some(event) = Event::read(&name, &message)? {
                        return Ok(Some(event));
                    }
                }
                Some(_) => {}
            }
        }
    }

    /// `None` only if `deadline` has passed.
    fn next_client_event(
        &mut self,
        deadline: Option<Instant>,
    ) -> Result<Option<ClientEvent>, Error> {
        loop {
            while let Some(octets) = self.client.poll_transmit() {
                self.stream.write_all(&octets).map_err(|error| self.gone(error))?;
            }
            if let Some(event) = self.client.poll_event() {
                return Ok(Some(event));
            }
            if !self.read(deadline)? {
                return Ok(None);
            }
        }
    }

    /// Reads what comes; `false` if nothing came until `deadline`.
    fn read(&mut self, deadline: Option<Instant>) -> Result<bool, Error> {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(clock::now()));
        if left.is_some_and(|left| left.is_zero()) {
            return Ok(false);
        }
        self.stream.set_read_timeout(left).map_err(|error| self.gone(error))?;
        match self.stream.read(&mut self.buffer) {
            Ok(0) => Err(self.gone("it closed the connection")),
            Ok(length) => {
                self.client.handle_input(self.buffer.get(..length).unwrap_or_default())?;
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(true),
            Err(error) => Err(self.gone(error)),
        }
    }

    fn gone(&self, why: impl std::fmt::Display) -> Error {
        Diagnosis::daemon_unreachable(&self.path, why).into()
    }
}

impl Event {
    /// `None` for an event that nobody here asked for.
    fn read(name: &str, message: &Message) -> Result<Option<Self>, Error> {
        Ok(match name.parse() {
            Ok(EventKind::AditProgress) => Some(Self::Progress(api::from_message(message)?)),
            Ok(EventKind::AditEvent) => Some(Self::Tunnel(api::from_message(message)?)),
            Ok(EventKind::Log) => Some(Self::Log(vici::LogLine::parse(message))),
            Ok(_) | Err(_) => None,
        })
    }
}

const READ_OCTETS: usize = 65_536;
