//! One host: an IKE endpoint, a packet engine with policies, and the roles that a daemon would put
//! around them.

mod packets;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use adit_crypto::{Secret, SeededRng};
use adit_db::{ChildName, Connection, ConnectionName, IkeSaId};
use adit_ike::{
    AuthResult, Command, DebugKeys, Endpoint, EndpointConfig, Event, FailureReason, IkeSaInfo,
    IkeSaState, JobId, Output, Path, Query, RequestId,
};
use adit_wire::ikev2::IkeSpi;

use super::clock::Clock;
use super::net::{EspLetter, Letter};
use super::schedule::Place;
#[cfg(test)]
pub(super) use packets::Around;
pub(super) use packets::{Came, Installed, Left, PacketEngine};

/// Whether a host does anything.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Power {
    On,
    /// It returns with its state.
    Asleep,
    /// It returns without.
    Off,
}

/// Something that an invariant wants to know.
#[derive(Debug)]
pub(super) enum Sight {
    /// A child SA was installed.
    Child(Installed),
    /// An SA with this inbound SPI is gone from the engine.
    ChildGone(adit_wire::esp::Spi),
    /// An IKE SA is established, with the digest of its keys.
    IkeSa { spis: (IkeSpi, IkeSpi), keys: Digest },
    /// Something failed.
    Failed(FailureReason),
}

/// Stands for keys.
pub(super) type Digest = [u8; 20];

/// One of a world's hosts.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) clock: Clock,
    pub(super) power: Power,
    /// What it takes for its address.
    pub(super) address: IpAddr,
    /// What its clock shows.
    pub(super) now: Instant,
    pub(super) engine: PacketEngine,
    pub(super) outbox: Vec<(Path, Letter)>,
    pub(super) sights: Vec<Sight>,
    /// What happened, for the story; empty unless somebody reads it.
    pub(super) notes: Vec<String>,
    pub(super) is_told: bool,
    endpoint: Endpoint,
    config: EndpointConfig,
    connections: Vec<(usize, Arc<Connection>)>,
    secret: Secret,
    rng: SeededRng,
    jobs: BTreeMap<(Instant, u64), Answer>,
    counter: u64,
    /// Digests of the keys of IKE SAs, until they are established.
    ike_keys: BTreeMap<(IkeSpi, IkeSpi), Digest>,
}

/// What a job comes to.
#[derive(Debug)]
enum Answer {
    Auth(JobId, AuthResult),
    Addresses(JobId, Vec<IpAddr>),
}

/// How long a job takes.
const JOB_TIME: std::time::Duration = std::time::Duration::from_millis(1);

impl Host {
    pub(super) fn new(
        config: EndpointConfig,
        connections: Vec<(usize, Connection)>,
        address: IpAddr,
        rng: SeededRng,
        now: Instant,
    ) -> Self {
        let connections: Vec<_> =
            connections.into_iter().map(|(tunnel, one)| (tunnel, Arc::new(one))).collect();
        let mut host = Self {
            clock: Clock::default(),
            power: Power::On,
            address,
            now,
            engine: PacketEngine::new(&connections, now),
            outbox: Vec::new(),
            sights: Vec::new(),
            notes: Vec::new(),
            is_told: false,
            endpoint: Endpoint::new(config.clone()),
            config,
            connections,
            secret: Secret::new(SECRET.as_bytes().to_vec()),
            rng,
            jobs: BTreeMap::new(),
            counter: 0,
            ike_keys: BTreeMap::new(),
        };
        host.load();
        host
    }

    /// Starts without state.
    pub(super) fn restart(&mut self) {
        let gone = self.engine.all().flat_map(Installed::spis_in).map(Sight::ChildGone);
        self.sights.extend(gone);
        self.endpoint = Endpoint::new(self.config.clone());
        self.engine = PacketEngine::new(&self.connections, self.now);
        self.jobs.clear();
        self.ike_keys.clear();
        self.outbox.clear();
        self.load();
    }

    /// It has another address; who is asleep sees that when awake.
    pub(super) fn set_address(&mut self, address: IpAddr) {
        self.address = address;
        if self.power == Power::On {
            self.look_at_network();
        }
    }

    /// The endpoint hears which address there is.
    pub(super) fn look_at_network(&mut self) {
        self.endpoint.handle_network(&[self.address], self.now, &mut self.rng);
        self.drain();
    }

    fn load(&mut self) {
        self.look_at_network();
        for (_, connection) in self.connections.clone() {
            self.command(Command::Load(connection));
        }
    }

    /// Sets up a child, with its IKE SA if there is none; whether it is configured.
    pub(super) fn initiate(&mut self, place: Place) -> bool {
        let Some((connection, child)) = self.names(place) else { return false };
        let (child, request) = (Some(child), self.request());
        self.command(Command::Initiate { connection, child, request });
        true
    }

    /// Replaces the newest child SA there; whether there is one.
    pub(super) fn rekey_child(&mut self, place: Place) -> bool {
        let id = self.engine.newest(place.tunnel, place.child);
        id.inspect(|id| self.command(Command::RekeyChild(*id))).is_some()
    }

    /// Replaces the newest IKE SA; whether there is one.
    pub(super) fn rekey_ike(&mut self, place: Place) -> bool {
        let id = self.newest_ike(place.tunnel);
        id.inspect(|id| self.command(Command::RekeyIke(*id))).is_some()
    }

    /// Ends the newest child SA there; whether there is one.
    pub(super) fn terminate_child(&mut self, place: Place) -> bool {
        let Some(id) = self.engine.newest(place.tunnel, place.child) else { return false };
        self.engine.note_wanted_end(place.tunnel, place.child);
        let request = self.request();
        self.command(Command::TerminateChild { id, request });
        true
    }

    /// Ends the newest IKE SA; whether there is one.
    pub(super) fn terminate_ike(&mut self, place: Place) -> bool {
        let Some(id) = self.newest_ike(place.tunnel) else { return false };
        let its = self.endpoint.ike_sas().filter(|info| info.id == id);
        let spis: Vec<_> = its.flat_map(|info| info.children).map(|child| child.spi_in).collect();
        self.engine.note_unwanted(&spis);
        let request = self.request();
        self.command(Command::TerminateIke { id, request });
        true
    }

    /// A datagram that a host sends to where it has no way: the system says so at once.
    pub(super) fn unreachable(&mut self, path: Path) {
        self.endpoint.handle_unreachable(path, None, self.now, &mut self.rng);
        self.drain();
    }

    /// Takes an IKE message.
    pub(super) fn handle_ike(&mut self, path: Path, octets: &[u8]) {
        self.endpoint.handle_datagram(path, octets, self.now, &mut self.rng);
        self.drain();
    }

    /// Takes an ESP packet and says what came in by it.
    pub(super) fn handle_esp(&mut self, path: Path, letter: &EspLetter) -> Came {
        let came = self.engine.open(path, letter, self.now);
        self.drain();
        came
    }

    /// Somebody behind the host sends a packet; says what became of it.
    pub(super) fn send_packet(&mut self, octets: &[u8]) -> adit_dataplane::Verdict {
        let verdict = self.engine.seal(octets, self.now);
        self.drain();
        verdict
    }

    /// Does what is due.
    pub(super) fn handle_timeout(&mut self) {
        while let Some(entry) = self.jobs.first_entry() {
            if entry.key().0 > self.now {
                break;
            }
            match entry.remove() {
                Answer::Auth(job, result) => {
                    self.endpoint.handle_auth(job, result, self.now, &mut self.rng);
                }
                Answer::Addresses(job, addresses) => {
                    self.endpoint.handle_resolved(job, addresses, self.now, &mut self.rng);
                }
            }
            self.drain();
        }
        for spi in self.engine.handle_timeout(self.now) {
            self.sights.push(Sight::ChildGone(spi));
        }
        self.drain();
        if self.endpoint.poll_timeout().is_some_and(|due| due <= self.now) {
            self.endpoint.handle_timeout(self.now, &mut self.rng);
            self.drain();
        }
    }

    /// When its clock shows something that it waits for.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        let job = self.jobs.keys().next().map(|(at, _)| *at);
        [self.endpoint.poll_timeout(), self.engine.next_timeout(), job].into_iter().flatten().min()
    }

    /// All IKE SAs.
    pub(super) fn ike_sas(&self) -> Vec<IkeSaInfo> {
        self.endpoint.ike_sas().collect()
    }

    /// How many IKE SAs there are, and how many of them have not been authenticated.
    pub(super) fn ike_counts(&self) -> adit_ike::IkeSaCounts {
        self.endpoint.ike_sa_counts()
    }

    /// How many half-open IKE SAs its settings allow.
    pub(super) fn half_open_max(&self) -> usize {
        self.config.half_open_max
    }

    pub(super) fn newest_ike(&self, tunnel: usize) -> Option<IkeSaId> {
        let name = &self.connection(tunnel)?.name;
        let is_up = |info: &IkeSaInfo| {
            info.state == IkeSaState::Established && info.connection.as_ref() == Some(name)
        };
        self.endpoint.ike_sas().filter(is_up).map(|info| info.id).last()
    }

    fn connection(&self, tunnel: usize) -> Option<&Arc<Connection>> {
        self.connections.iter().find(|(number, _)| *number == tunnel).map(|(_, one)| one)
    }

    fn names(&self, place: Place) -> Option<(ConnectionName, ChildName)> {
        let connection = self.connection(place.tunnel)?;
        let child = connection.children.get(place.child)?;
        Some((connection.name.clone(), child.name.clone()))
    }

    fn request(&mut self) -> RequestId {
        self.counter += 1;
        RequestId(self.counter)
    }

    fn command(&mut self, command: Command) {
        self.endpoint.handle_command(command, self.now, &mut self.rng);
        self.drain();
    }

    /// Lets endpoint and engine talk to each other until neither has anything to say.
    fn drain(&mut self) {
        loop {
            while let Some(output) = self.endpoint.poll_output() {
                self.carry_out(output);
            }
            let Some(event) = self.engine.poll_event(&self.connections, self.now) else { break };
            self.endpoint.handle_packet_event(event, self.now, &mut self.rng);
        }
        for Left { path, letter } in self.engine.take_left() {
            self.outbox.push((path, letter));
        }
    }

    fn carry_out(&mut self, output: Output) {
        match output {
            Output::Transmit { path, octets } => self.outbox.push((path, Letter::Ike(octets))),
            Output::Keepalive(path) => self.outbox.push((path, Letter::Keepalive)),
            Output::InstallChild { sa, outbound } => {
                let installed = self.engine.install(*sa, outbound, &self.connections, self.now);
                self.sights.extend(installed.map(Sight::Child));
            }
            Output::ActivateOutbound(id) => self.engine.activate(id, self.now),
            Output::RemoveChild { id, delay } => self.engine.remove(id, delay, self.now),
            Output::UpdatePeer { child, encap } => self.engine.update(child, encap, self.now),
            Output::SkipSequence { child, by } => self.engine.skip(child, by, self.now),
            Output::Notice { child, notice } => self.engine.hear_notice(child, notice, self.now),
            Output::Auth(job) => {
                let answer = Answer::Auth(job.job, job.answer(&self.secret));
                self.answer_later(answer);
            }
            Output::Resolve { job, query } => {
                let addresses = match query {
                    Query::SourceFor(_) => vec![self.address],
                    Query::Name(_) => Vec::new(),
                };
                self.answer_later(Answer::Addresses(job, addresses));
            }
            Output::Keys(DebugKeys::Ike(keys)) => {
                let parts = [&keys.sk_ei, &keys.sk_er, &keys.sk_ai, &keys.sk_ar];
                let digest = adit_crypto::sha1(&parts.map(Secret::as_bytes));
                self.ike_keys.insert((keys.spi_i, keys.spi_r), digest);
            }
            Output::Keys(DebugKeys::Isakmp(keys)) => {
                let parts = [keys.key.as_bytes(), keys.skeyid_a.as_bytes(), &keys.last_block];
                self.ike_keys.insert((keys.cookie_i, keys.cookie_r), adit_crypto::sha1(&parts));
            }
            Output::Event(event) => self.note_event(event),
            Output::Ppk(job) => {
                let answer = Answer::Auth(job.job, job.mix(&self.secret));
                self.answer_later(answer);
            }
            // No tunnel here has leave to use TCP.
            Output::HangUp(_)
            | Output::Keys(DebugKeys::Esp(_))
            | Output::Done { .. }
            | Output::Tidings(_) => {}
        }
    }

    fn note_event(&mut self, event: Event) {
        if self.is_told {
            self.notes.extend(told(&event));
        }
        match event {
            Event::IkeUp(info) | Event::IkeRekeyed { new: info, .. } => {
                let spis = (info.spi_i, info.spi_r);
                let keys = self.ike_keys.remove(&spis);
                self.sights.extend(keys.map(|keys| Sight::IkeSa { spis, keys }));
            }
            Event::ChildDown { child, reason, .. } => self.engine.note_end(child.spi_in, reason),
            Event::Failed(failure) => self.sights.push(Sight::Failed(failure.reason)),
            Event::IkeDown { .. }
            | Event::ChildUp { .. }
            | Event::ChildRekeyed { .. }
            | Event::Moved { .. }
            | Event::PeerMoved { .. }
            | Event::Progress { .. }
            | Event::Retry { .. } => {}
        }
    }

    fn answer_later(&mut self, answer: Answer) {
        self.counter += 1;
        self.jobs.insert((self.now + JOB_TIME, self.counter), answer);
    }
}

/// An event in one line of a story.
fn told(event: &Event) -> Option<String> {
    let line = match event {
        Event::IkeUp(info) => format!("IKE SA {} {}/{} up", info.id, info.spi_i, info.spi_r),
        Event::IkeDown { info, reason } => format!("IKE SA {} down: {reason}", info.id),
        Event::IkeRekeyed { old, new } => format!("IKE SA {} replaced by {}", old.id, new.id),
        Event::ChildUp { child, .. } => {
            format!("child SA {} {} up, in {}", child.id, child.name, child.spi_in)
        }
        Event::ChildDown { child, reason, .. } => {
            format!("child SA {} {} down: {reason}", child.id, child.name)
        }
        Event::ChildRekeyed { old, new, .. } => {
            format!("child SA {} replaced by {}, in {}", old.id, new.id, new.spi_in)
        }
        Event::Moved { ike, old } => {
            format!("IKE SA {}: moved from {old} to {}", ike.id, ike.local)
        }
        Event::PeerMoved { ike, old } => {
            let from: &SocketAddr = old;
            format!("IKE SA {}: peer moved from {from} to {}", ike.id, ike.remote)
        }
        Event::Failed(failure) => format!("failed: {}", failure.reason),
        Event::Retry { after, .. } => format!("tries again in {after:?}"),
        Event::Progress { .. } => return None,
    };
    Some(line)
}

const SECRET: &str = "correct horse battery staple";
