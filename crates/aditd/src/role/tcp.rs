//! The tcp role: the connections of IKE and ESP in TCP (RFC 9329). It has all of them, those that we
//! open and those that peers open, cuts what comes in into messages and hands them on as if they had
//! come by UDP 4500: IKE to the ike role, ESP to the inbound threads.
//!
//! Nobody waits for it and it waits for nobody: what a connection does not take in time is dropped and
//! counted, as a full link would drop it. Who has not authenticated has few connections and little
//! time.

mod connection;
mod sorter;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use adit_ike::{Path, Shards, TcpProblem, Transport};
use adit_mgmt::api::EngineTcp;
use adit_sys::clock;
use adit_sys::netlink::Family;
use adit_sys::route::MARK;
use adit_sys::tcp::{TcpListener, TcpStream};
use adit_sys::wake::{
    CommandReceiver, CommandSender, Events, Interest, Next, Poller, Ready, Token,
};
use tracing::{debug, error, info};

use self::connection::Connection;
use self::sorter::Sorter;
use crate::message::{Fleet, ToInbound, ToParent};
use crate::role::kernel::exempt_all;
use crate::shards::ShardLinks;

/// To the tcp role.
#[derive(Debug)]
pub(crate) enum ToTcp {
    /// Send an IKE message. If it is for us to open the connection and there is none, open it.
    Message {
        /// The connection.
        path: Path,
        /// The message.
        octets: Vec<u8>,
    },
    /// Send ESP packets, if the connection stands.
    Packets(Packets),
    /// The peer at the other end of a connection has authenticated.
    Proven(Path),
    /// Close a connection when everything has been sent.
    HangUp(Path),
    /// End.
    Stop,
}

/// ESP packets of one connection. There is a bound to how many of these are under way.
#[derive(Debug)]
pub(crate) struct Packets {
    /// Both its ends, ours first.
    pub(crate) ends: (SocketAddr, SocketAddr),
    /// The packets, each behind its length (RFC 9329 §3).
    pub(crate) frames: Vec<u8>,
    /// How many there are.
    pub(crate) count: u64,
    /// Held until they have been taken in.
    pub(crate) _place: Arc<()>,
}

/// What has happened, for people.
#[derive(Debug, Default)]
pub(crate) struct TcpCounters {
    connections: AtomicU64,
    opened: AtomicU64,
    accepted: AtomicU64,
    refused: AtomicU64,
    garbled: AtomicU64,
    dropped: AtomicU64,
}

impl TcpCounters {
    /// They as they are.
    pub(crate) fn shown(&self) -> EngineTcp {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        EngineTcp {
            connections: get(&self.connections),
            opened: get(&self.opened),
            accepted: get(&self.accepted),
            refused: get(&self.refused),
            garbled: get(&self.garbled),
            dropped: get(&self.dropped),
        }
    }

    fn drop_packets(&self, count: u64) {
        self.dropped.fetch_add(count, Ordering::Relaxed);
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// The way to the role, with what it counts.
#[derive(Clone)]
pub(crate) struct TcpLink {
    /// Its queue.
    pub(crate) queue: CommandSender<ToTcp>,
    /// Its counters.
    pub(crate) counters: Arc<TcpCounters>,
}

impl TcpLink {
    /// Tells the role something, without waiting; false if it has no room.
    pub(crate) fn tell(&self, command: ToTcp) -> bool {
        self.queue.try_send(command).is_ok()
    }
}

/// What the role needs from its parent.
pub(crate) struct TcpRole {
    /// Where peers connect to.
    pub(crate) listeners: Vec<TcpListener>,
    /// For IKE messages.
    pub(crate) shards: ShardLinks,
    /// For ESP packets.
    pub(crate) inbound: Fleet<ToInbound>,
    /// The parent.
    pub(crate) parent: CommandSender<ToParent>,
    /// What it counts.
    pub(crate) counters: Arc<TcpCounters>,
}

/// Connections in all: half of the descriptors that a process may have unless somebody allows more.
const CONNECTIONS_MAX: usize = 512;
/// Those of them that peers have opened: others' are not to keep us from opening our own.
const PEERS_MAX: usize = 448;
/// Connections that peers have opened who have not authenticated.
const UNPROVEN_MAX: usize = 128;
/// Those of one address, of IPv6 one /64.
const UNPROVEN_PER_SITE_MAX: usize = 16;
/// How long a peer has until it has authenticated: as long as IKE gives it.
const UNPROVEN_FOR: Duration = Duration::from_secs(30);
/// How long we wait for a connection of ours.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// A connection that a peer has opened is closed after so long without a message in either direction:
/// liveness checks are more frequent, and who still needs it opens another.
const IDLE_MAX: Duration = Duration::from_mins(10);
/// How long the last messages may take.
const FAREWELL: Duration = Duration::from_secs(5);
/// After so long messages that there was no room for are tried again.
const STALL: Duration = Duration::from_millis(5);
/// Between two looks at all these times.
const TICK: Duration = Duration::from_secs(1);
/// Connections accepted before others have their turn.
const ACCEPTS_IN_A_ROW: usize = 16;
/// Commands taken before the connections have their turn.
const COMMANDS_IN_A_ROW: usize = 256;

const COMMANDS: Token = Token(0);
/// That of a listener is this and its number, that of a connection [`FIRST`] and more.
const LISTENERS: u64 = 1;
const FIRST: u64 = 1 << 16;

impl TcpRole {
    /// Runs until it is told to stop.
    pub(crate) fn run(self, commands: &CommandReceiver<ToTcp>) {
        let parent = self.parent.clone();
        if let Err(error) = Running::new(self).and_then(|mut running| running.run(commands)) {
            error!(%error, "the tcp role cannot go on");
            let _ = parent.send(ToParent::Failed("tcp"));
        }
    }
}

struct Running {
    role: TcpRole,
    poller: Poller,
    sorter: Sorter,
    connections: BTreeMap<u64, Connection>,
    /// Their numbers by their ends, ours first.
    by_ends: BTreeMap<(SocketAddr, SocketAddr), u64>,
    /// Those with a message that the ike role has had no room for.
    stalled: BTreeSet<u64>,
    next: u64,
    /// Nobody is accepted before: there are no descriptors left.
    listens_again: Option<Instant>,
    ticks: Instant,
}

impl Running {
    fn new(role: TcpRole) -> std::io::Result<Self> {
        let poller = Poller::new()?;
        for (token, listener) in (LISTENERS..).zip(&role.listeners) {
            poller.add(listener, Token(token), Interest::Readable)?;
        }
        let sorter = Sorter::new(role.shards.clone(), &role.inbound, Arc::clone(&role.counters));
        Ok(Self {
            role,
            poller,
            sorter,
            connections: BTreeMap::new(),
            by_ends: BTreeMap::new(),
            stalled: BTreeSet::new(),
            next: FIRST,
            listens_again: None,
            ticks: clock::now(),
        })
    }

    fn run(&mut self, commands: &CommandReceiver<ToTcp>) -> std::io::Result<()> {
        self.poller.add(commands, COMMANDS, Interest::Readable)?;
        let mut events = Events::new();
        loop {
            let has_times = !self.connections.is_empty() || self.listens_again.is_some();
            let wait = if self.stalled.is_empty() { TICK } else { STALL };
            self.poller.wait(&mut events, has_times.then_some(wait))?;
            for ready in events.iter() {
                match ready.token {
                    COMMANDS => {
                        if !self.take_commands(commands) {
                            return Ok(());
                        }
                    }
                    Token(number @ FIRST..) => self.serve(number, ready),
                    Token(number) => self.accept(number),
                }
            }
            std::mem::take(&mut self.stalled).into_iter().for_each(|number| self.read(number));
            self.sorter.flush();
            self.keep_time(clock::now());
        }
    }

    /// False when the thread is to end.
    fn take_commands(&mut self, commands: &CommandReceiver<ToTcp>) -> bool {
        for _ in 0..COMMANDS_IN_A_ROW {
            match commands.next() {
                Next::Command(ToTcp::Message { path, octets }) => self.send(path, &octets),
                Next::Command(ToTcp::Packets(packets)) => self.send_packets(&packets),
                Next::Command(ToTcp::Proven(path)) => {
                    if let Some((_, connection)) = self.at(path) {
                        connection.prove();
                    }
                }
                Next::Command(ToTcp::HangUp(path)) => self.hang_up(path),
                Next::Command(ToTcp::Stop) | Next::Closed => {
                    self.say_farewell();
                    return false;
                }
                Next::Empty => break,
            }
        }
        true
    }

    fn at(&mut self, path: Path) -> Option<(u64, &mut Connection)> {
        let number = *self.by_ends.get(&(path.local, path.remote))?;
        Some((number, self.connections.get_mut(&number)?))
    }

    // ---- Out ----

    fn send(&mut self, path: Path, octets: &[u8]) {
        if self.at(path).is_none() && path.transport == Transport::TcpOriginator {
            self.open(path);
        }
        let Some((number, connection)) = self.at(path) else {
            debug!(remote = %path.remote, "a message has no TCP connection any more");
            return;
        };
        if !connection.queue_message(octets, clock::now()) {
            self.role.counters.drop_packets(1);
        }
        self.write(number);
    }

    fn send_packets(&mut self, packets: &Packets) {
        let Packets { ends, frames, count, .. } = packets;
        let number = self.by_ends.get(ends).copied();
        let connection = number.and_then(|number| self.connections.get_mut(&number));
        if connection.is_none_or(|connection| !connection.queue_packets(frames, clock::now())) {
            self.role.counters.drop_packets(*count);
        }
        number.into_iter().for_each(|number| self.write(number));
    }

    /// Writes what waits, and waits for room if that was not all.
    fn write(&mut self, number: u64) {
        let Some(connection) = self.connections.get_mut(&number) else { return };
        if let Err(problem) = connection.write() {
            return self.lose(number, problem);
        }
        if connection.has_said_farewell() {
            return self.forget(number);
        }
        let Some(interest) = connection.new_interest() else { return };
        if let Err(error) = self.poller.modify(connection.stream(), Token(number), interest) {
            debug!(%error, "a TCP connection cannot be waited for");
            self.lose(number, TcpProblem::Closed);
        }
    }

    fn open(&mut self, path: Path) {
        if self.connections.len() >= CONNECTIONS_MAX {
            return self.tell_lost(path, TcpProblem::Unreachable);
        }
        match TcpStream::connect(path.local, path.remote, Some(MARK)) {
            Ok(stream) => {
                count(&self.role.counters.opened);
                self.add(Connection::opened(stream, path, clock::now()));
            }
            Err(error) => {
                debug!(%error, remote = %path.remote, "no TCP connection");
                self.tell_lost(path, connection::problem(&error));
            }
        }
    }

    fn hang_up(&mut self, path: Path) {
        if let Some((number, connection)) = self.at(path) {
            connection.say_farewell(clock::now());
            self.write(number);
        }
    }

    // ---- In ----

    fn accept(&mut self, token: u64) {
        for _ in 0..ACCEPTS_IN_A_ROW {
            let at = token.checked_sub(LISTENERS).and_then(|at| usize::try_from(at).ok());
            let listener = at.and_then(|at| self.role.listeners.get(at));
            match listener.map(TcpListener::accept) {
                Some(Ok(Some(stream))) => self.admit(stream),
                Some(Ok(None)) | None => return,
                Some(Err(error)) => {
                    info!(%error, "no TCP connection is accepted for a while");
                    return self.pause(clock::now());
                }
            }
        }
    }

    fn admit(&mut self, stream: TcpStream) {
        let site = Shards::site(stream.remote().ip());
        let is_peers =
            |connection: &&Connection| connection.path().transport == Transport::TcpResponder;
        let peers = self.connections.values().filter(is_peers).count();
        let unproven = self.connections.iter().filter(|(_, connection)| connection.is_unproven());
        let unproven: Vec<(u64, IpAddr)> = unproven
            .map(|(number, connection)| (*number, Shards::site(connection.path().remote.ip())))
            .collect();
        let of_site = unproven.iter().filter(|(_, other)| *other == site).count();
        let is_full = self.connections.len() >= CONNECTIONS_MAX
            || peers >= PEERS_MAX
            || unproven.len() >= UNPROVEN_MAX;
        let evicted = is_full.then(|| evicted(&unproven));
        if of_site >= UNPROVEN_PER_SITE_MAX || evicted == Some(None) {
            count(&self.role.counters.refused);
            return;
        }
        if let Some(number) = evicted.flatten() {
            count(&self.role.counters.refused);
            self.lose(number, TcpProblem::Closed);
        }
        count(&self.role.counters.accepted);
        let path = Path::udp(stream.local(), stream.remote());
        let path = Path { transport: Transport::TcpResponder, ..path };
        self.add(Connection::accepted(stream, path, clock::now()));
    }

    fn add(&mut self, connection: Connection) {
        let stream = connection.stream();
        let family = Family::of(connection.path().remote.ip());
        exempt_all([(family, std::os::fd::AsFd::as_fd(stream))].into_iter());
        let path = connection.path();
        let (number, interest) = (self.next, connection.interest());
        if let Err(error) = self.poller.add(stream, Token(number), interest) {
            debug!(%error, "a TCP connection cannot be waited for");
            return self.tell_lost(path, TcpProblem::Closed);
        }
        self.next = self.next.saturating_add(1);
        self.by_ends.insert((path.local, path.remote), number);
        self.connections.insert(number, connection);
        self.note_connections();
    }

    fn serve(&mut self, number: u64, ready: Ready) {
        let Some(connection) = self.connections.get_mut(&number) else { return };
        match connection.settle(ready.writable) {
            Ok(()) if ready.readable => self.read(number),
            Ok(()) => self.write(number),
            Err(problem) => self.lose(number, problem),
        }
    }

    fn read(&mut self, number: u64) {
        let Some(connection) = self.connections.get_mut(&number) else { return };
        let sorter = &mut self.sorter;
        let result = connection.read(clock::now(), |path, message| sorter.take(path, message));
        if connection.is_stalled() {
            self.stalled.insert(number);
        }
        match result {
            Ok(()) => self.write(number),
            Err(problem) => self.lose(number, problem),
        }
    }

    // ---- The end ----

    fn lose(&mut self, number: u64, problem: TcpProblem) {
        let Some(connection) = self.connections.get(&number) else { return };
        let path = connection.path();
        debug!(remote = %path.remote, %problem, "a TCP connection has ended");
        if problem == TcpProblem::Garbled {
            count(&self.role.counters.garbled);
        }
        let tells = !connection.is_leaving();
        self.forget(number);
        if tells {
            self.tell_lost(path, problem);
        }
    }

    fn forget(&mut self, number: u64) {
        if let Some(connection) = self.connections.remove(&number) {
            let path = connection.path();
            // Another one may have the same ends by then.
            let ends = (path.local, path.remote);
            if self.by_ends.get(&ends) == Some(&number) {
                self.by_ends.remove(&ends);
            }
            self.note_connections();
        }
    }

    fn note_connections(&self) {
        let connections = u64::try_from(self.connections.len()).unwrap_or(u64::MAX);
        self.role.counters.connections.store(connections, Ordering::Relaxed);
    }

    /// Who opens a connection has to know that it is gone; of others' the SAs stay (RFC 9329 §6.1).
    fn tell_lost(&self, path: Path, problem: TcpProblem) {
        if path.transport == Transport::TcpOriginator {
            self.role.shards.try_push_tcp_lost(path, problem);
            self.role.shards.ring();
        }
    }

    fn say_farewell(&mut self) {
        let numbers: Vec<u64> = self.connections.keys().copied().collect();
        numbers.into_iter().for_each(|number| self.write(number));
    }

    fn pause(&mut self, now: Instant) {
        for listener in &self.role.listeners {
            let _ = self.poller.remove(listener);
        }
        self.listens_again = Some(now + TICK);
    }

    fn keep_time(&mut self, now: Instant) {
        if self.listens_again.take_if(|at| now >= *at).is_some() {
            for (token, listener) in (LISTENERS..).zip(&self.role.listeners) {
                if let Err(error) = self.poller.add(listener, Token(token), Interest::Readable) {
                    error!(%error, "nobody is accepted any more");
                }
            }
        }
        if now.saturating_duration_since(self.ticks) < TICK {
            return;
        }
        self.ticks = now;
        let over = self
            .connections
            .iter()
            .filter_map(|(number, connection)| Some((*number, connection.overdue(now)?)));
        let over: Vec<(u64, TcpProblem)> = over.collect();
        over.into_iter().for_each(|(number, problem)| self.lose(number, problem));
    }
}

/// Who has to go when there is no place for another stranger: the oldest of those of the site that has
/// most, the numbers growing with time.
fn evicted(unproven: &[(u64, IpAddr)]) -> Option<u64> {
    let mut counts: BTreeMap<IpAddr, usize> = BTreeMap::new();
    for (_, site) in unproven {
        *counts.entry(*site).or_default() += 1;
    }
    let most = counts.values().max()?;
    let of_fullest = unproven.iter().filter(|(_, site)| counts.get(site) == Some(most));
    of_fullest.map(|(number, _)| *number).min()
}

#[cfg(test)]
mod tests;
