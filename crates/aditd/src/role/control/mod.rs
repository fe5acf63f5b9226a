//! The control role: VICI clients on one side, the other roles on the other, and the
//! configuration files. It keeps no secret: it hands them to the keys role and forgets them.
//!
//! It never waits for another role (a full queue is the client's error), so that the others may
//! wait for it.

mod answers;
mod applied;
mod client;
mod credentials;
mod engine;
mod events;
mod gathered;
mod lifetimes;
mod load;
mod manual;
mod news;
mod path_mtu;
mod pools;
mod redirect;
mod requests;
mod snapshots;
mod status;
mod store;
mod why;

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use adit_dataplane::{InboundReport, OutboundReport};
use adit_db::{ChildSaId, ConnectionName};
use adit_ike::{ConnectionInfo, IkeSaInfo, RequestId};
use adit_mgmt::Diagnosis;
use adit_mgmt::vici::{Event, Request};
use adit_sys::clock;
use adit_sys::unix::ControlListener;
use adit_sys::wake::{CommandReceiver, Events, Interest, Next, Poller, Token};
use tracing::{debug, error};

use self::applied::Applied;
use self::client::Client;
use self::engine::EngineQueries;
use self::gathered::Gathered;
use self::news::{Item, News, Threads};
use self::store::{Marker, Store};
use crate::log::Line;
use crate::message::{KernelReport, Links, PolicyView, QueryId, ToControl};

/// Clients at once.
const CLIENTS_MAX: usize = 64;
/// Lines of log kept for `adit log`.
const LINES_MAX: usize = 2_000;
/// Problems of the host kept for `adit status`.
const PROBLEMS_MAX: usize = 16;

/// What the role needs from its parent.
pub(crate) struct ControlRole {
    /// The control socket.
    pub(crate) listener: ControlListener,
    /// The configuration directory.
    pub(crate) config: PathBuf,
    /// Name of the TUN interface.
    pub(crate) tun: String,
    /// The other roles.
    pub(crate) links: Links,
}

impl ControlRole {
    /// Loads the configuration, then serves clients until it is told to stop.
    pub(crate) fn run(self, messages: &CommandReceiver<ToControl>) {
        let mut running = match Running::new(self, messages) {
            Ok(running) => running,
            Err(error) => {
                error!(%error, "the control role cannot start");
                return;
            }
        };
        running.reload(false);
        running.run(messages);
    }
}

/// Names a client.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct ClientId(u64);

const LISTENER: Token = Token(0);
const MESSAGES: Token = Token(1);
/// Clients' tokens are their numbers; the smaller ones are taken above.
const FIRST_CLIENT: u64 = 16;

struct Running {
    role: ControlRole,
    poller: Poller,
    clients: BTreeMap<ClientId, Client>,
    next_client: u64,
    store: Store,
    marker: Marker,
    /// Clients that wait for numbers of the other roles.
    queries: BTreeMap<QueryId, Query>,
    engine_queries: EngineQueries,
    /// Answers that wait for what was loaded to be in force.
    applied: BTreeMap<QueryId, Applied>,
    /// Clients that wait for the end of a request.
    waiting: BTreeMap<RequestId, Waiting>,
    next_number: u64,
    /// Counts the SAs that are keyed by hand.
    next_manual: u32,
    news: News,
    lines: VecDeque<Line>,
    problems: Vec<Diagnosis>,
    /// Age of each running attempt at its last step, by tunnel.
    elapsed: BTreeMap<ConnectionName, Duration>,
    started: Instant,
    stopping: bool,
}

/// A client's question and the parts of its answer so far.
struct Query {
    client: ClientId,
    request: Request,
    sas: Option<(Vec<IkeSaInfo>, Vec<ConnectionInfo>)>,
    outbound: Gathered<(Box<OutboundReport>, Vec<ChildSaId>)>,
    inbound: Gathered<Box<InboundReport>>,
    kernel: Option<Box<KernelReport>>,
    /// Only some questions need it.
    policies: Option<Box<PolicyView>>,
}

/// A client that waits for the end of a request, of several for `terminate`.
struct Waiting {
    client: ClientId,
    connection: String,
    /// Give up waiting then.
    deadline: Option<Instant>,
    /// SAs asked to go, of which this request is one; with `terminate` only.
    matches: Option<usize>,
}

impl Running {
    fn new(role: ControlRole, messages: &CommandReceiver<ToControl>) -> std::io::Result<Self> {
        let poller = Poller::new()?;
        poller.add(&role.listener, LISTENER, Interest::Readable)?;
        poller.add(messages, MESSAGES, Interest::Readable)?;
        let store = Store::new(role.config.clone());
        let links = &role.links;
        let threads = Threads { outbound: links.outbound.count(), inbound: links.inbound.count() };
        Ok(Self {
            role,
            poller,
            clients: BTreeMap::new(),
            next_client: FIRST_CLIENT,
            store,
            marker: Marker::new(),
            queries: BTreeMap::new(),
            engine_queries: EngineQueries::new(),
            applied: BTreeMap::new(),
            waiting: BTreeMap::new(),
            next_number: 1,
            next_manual: 0,
            news: News::new(threads),
            lines: VecDeque::new(),
            problems: Vec::new(),
            elapsed: BTreeMap::new(),
            started: clock::now(),
            stopping: false,
        })
    }

    fn run(&mut self, messages: &CommandReceiver<ToControl>) {
        let mut ready = Events::new();
        while !self.stopping {
            let timeout = self.next_deadline();
            if let Err(error) = self.poller.wait(&mut ready, timeout) {
                error!(%error, "the control role cannot wait");
                return;
            }
            for event in ready.iter() {
                match event.token {
                    LISTENER => self.accept(),
                    MESSAGES => {}
                    Token(number) => self.serve(ClientId(number), event.readable),
                }
            }
            self.role.links.ike.ring();
            while let Next::Command(message) = messages.next() {
                self.handle(message);
                self.tell_news(clock::now());
            }
            self.tell_news(clock::now());
            self.expire();
            self.take_delayed();
            self.tidy();
            self.role.links.ike.ring();
        }
    }

    fn next_deadline(&self) -> Option<Duration> {
        let now = clock::now();
        let deadlines = self.waiting.values().filter_map(|waiting| waiting.deadline);
        deadlines.chain(self.news.poll_timeout()).min().map(|at| at.saturating_duration_since(now))
    }

    fn accept(&mut self) {
        while let Ok(Some((stream, peer))) = self.role.listener.accept() {
            if self.clients.len() >= CLIENTS_MAX {
                debug!("too many clients of the control socket");
                continue;
            }
            let id = ClientId(self.next_client);
            self.next_client += 1;
            let Ok(client) = Client::new(stream) else {
                continue;
            };
            if self.poller.add(&client, Token(id.0), Interest::Readable).is_ok() {
                debug!(pid = peer.pid, uid = peer.uid, "client of the control socket");
                self.clients.insert(id, client);
            }
        }
    }

    fn serve(&mut self, id: ClientId, readable: bool) {
        let Some(client) = self.clients.get_mut(&id) else {
            return;
        };
        client.flush();
        if readable {
            client.read();
        }
        self.take_commands(id);
    }

    fn take_commands(&mut self, id: ClientId) {
        while let Some((name, message)) = self.clients.get_mut(&id).and_then(Client::next_command) {
            if let Some(client) = self.clients.get_mut(&id) {
                client.busy = true;
            }
            self.command(id, &name, &message);
        }
    }

    /// Takes what clients have sent while a long answer ran. Its end may have been written with an event
    /// that everybody is told, and the socket has nothing more to read then.
    fn take_delayed(&mut self) {
        let freed = |clients: &mut BTreeMap<ClientId, Client>| {
            let mut clients = clients.iter_mut();
            clients.find_map(|(id, client)| std::mem::take(&mut client.freed).then_some(*id))
        };
        while let Some(id) = freed(&mut self.clients) {
            self.take_commands(id);
        }
    }

    fn handle(&mut self, message: ToControl) {
        match message {
            ToControl::Event(event) => self.news.push(Item::Event(event), clock::now()),
            ToControl::Done { request, result } => {
                self.news.push(Item::Done(request, result), clock::now());
            }
            ToControl::FlowedOut(child, counters) => self.news.flowed_out(child, counters),
            ToControl::FlowedIn(child, counters) => self.news.flowed_in(child, counters),
            ToControl::FlowedInKernel(child, counters) => {
                self.news.flowed_in_kernel(child, *counters);
            }
            ToControl::Snapshot { query, sas, connections } => {
                if let Some(waiting) = self.queries.get_mut(&query) {
                    waiting.sas = Some((sas, connections));
                }
                self.conclude(query);
            }
            ToControl::Counts(query, counts) => self.tell_stats(query, counts),
            ToControl::Policies(query, view) => {
                if let Some(waiting) = self.queries.get_mut(&query) {
                    waiting.policies = Some(view);
                }
                self.conclude(query);
            }
            ToControl::Outbound(query, report, carriers) => {
                self.note_applied(query);
                if let Some(waiting) = self.queries.get_mut(&query) {
                    // All of them would have the packet carried by the same SAs.
                    waiting.outbound.take_in((report, carriers), |sum, part| sum.0.add(*part.0));
                }
                self.conclude(query);
            }
            ToControl::Inbound(query, report) => {
                if let Some(waiting) = self.queries.get_mut(&query) {
                    waiting.inbound.take_in(report, |sum, part| sum.add(*part));
                }
                self.conclude(query);
            }
            ToControl::Kernel(query, report) => {
                if let Some(waiting) = self.queries.get_mut(&query) {
                    waiting.kernel = Some(report);
                }
                self.conclude(query);
            }
            ToControl::ShownIke(query, ike) => self.engine_ike(query, ike),
            ToControl::ShownOut(query, half) => self.engine_outbound(query, half),
            ToControl::ShownIn(query, half) => self.engine_inbound(query, half),
            ToControl::Problem(problem) => self.problem(*problem),
            ToControl::RouteMended(name) => self.store.clear_problem(name.as_str()),
            ToControl::Many(messages) => messages.into_iter().for_each(|one| self.handle(one)),
            ToControl::Log(line) => self.log(line),
            ToControl::Reload => {
                self.reload(false);
            }
            ToControl::Stop => {
                // Nobody answers any more.
                self.tell_news(clock::now() + news::WAIT_MAX);
                self.stopping = true;
            }
        }
    }

    /// Tells what the ike role has told, as far as everything is known about it.
    fn tell_news(&mut self, now: Instant) {
        while let Some((item, flows)) = self.news.poll(now) {
            match item {
                Item::Event(event) => self.report(&event, &flows),
                Item::Done(request, result) => self.done(request, result),
            }
        }
    }

    /// Sends an event to every client that registered for it.
    fn tell_all(&mut self, event: &Event) {
        for client in self.clients.values_mut() {
            client.tell(event);
        }
    }

    /// Ends what has waited too long.
    fn expire(&mut self) {
        let now = clock::now();
        let late: Vec<_> = self
            .waiting
            .iter()
            .filter(|(_, waiting)| waiting.deadline.is_some_and(|at| at <= now))
            .map(|(request, _)| *request)
            .collect();
        for request in late {
            self.give_up(request);
        }
    }

    /// Closes broken connections and watches for room where octets wait.
    fn tidy(&mut self) {
        self.clients.retain(|_, client| !client.is_broken());
        for (id, client) in &mut self.clients {
            let wants = client.wants_to_write();
            if wants != client.watched {
                client.watched = wants;
                let interest = if wants { Interest::Both } else { Interest::Readable };
                // The descriptor is registered as long as the client lives.
                let _ = self.poller.modify(&*client, Token(id.0), interest);
            }
        }
        let clients = &self.clients;
        self.queries.retain(|_, query| clients.contains_key(&query.client));
        self.engine_queries.retain(|_, query| clients.contains_key(&query.client));
        self.waiting.retain(|_, waiting| clients.contains_key(&waiting.client));
    }

    fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }
}
