//! One side: an endpoint with the roles that a daemon would put around it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use adit_crypto::{Rng, Secret, SeededRng, SystemRng};
use adit_db::{ChildName, ChildSaId, Connection, Gateway, IkeSaId, PpkId};
use adit_ike::{
    AuthJob, AuthResult, Command, Endpoint, EndpointConfig, Event, Failure, FailureReason,
    IkeSaInfo, IkeSaState, JobId, Keys, Output, PacketEvent, Path, Query, RequestId, TcpProblem,
};
use adit_pki::{Credentials, Moment};
use adit_wire::esp::Spi;
use adit_wire::iana::IpProtocol;
use adit_wire::ip::FlowKey;

use crate::engine::{ChildSas, Engine, Expiry};
use crate::network::{Arrival, Letter};
use crate::pair::Side;
use crate::setup::Setup;

/// The n-th configured child of both connections, from 0.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Child(pub usize);

/// One of the two peers.
#[derive(Debug)]
pub struct Peer {
    /// Which one.
    pub side: Side,
    endpoint: Endpoint,
    connection: Connection,
    keys: KeyStore,
    /// What `dynamic` selectors stand for in packets.
    address: IpAddr,
    /// All of this host, that which routes prefer first.
    addresses: Vec<IpAddr>,
    engine: Engine,
    rng: Randomness,
    pub(crate) now: Instant,
    pub(crate) outbox: VecDeque<(Path, Letter)>,
    answers: BTreeMap<(Instant, u64), Answer>,
    /// How long a job with a secret or a lookup takes.
    pub job_time: Duration,
    counter: u64,
    events: Vec<Event>,
    done: BTreeMap<RequestId, Result<(), Box<Failure>>>,
    /// Child SAs whose traffic has been reported in this second.
    reported: BTreeSet<(ChildSaId, u64)>,
    started: Instant,
    /// ESP packets that went out.
    sealed: u64,
    /// ESP packets that came in and nobody could open.
    pub packets_lost: u64,
    /// ESP packets that came in and were opened.
    pub packets_opened: u64,
    /// NAT keepalives that came in (RFC 3948 §4).
    pub keepalives_received: u64,
}

/// What a peer proves itself and checks others with.
#[derive(Debug)]
pub(crate) struct KeyStore {
    secret: Option<Secret>,
    /// The secret of rounds after the first.
    later: Option<Secret>,
    ppk: Option<Secret>,
    /// PPKs of single names.
    ppks_of: Vec<(PpkId, Secret)>,
    credentials: Arc<Credentials>,
    now: Moment,
}

impl KeyStore {
    pub(crate) fn new(
        (secret, later): (Option<String>, Option<String>),
        (ppk, ppks_of): (Option<String>, &[(PpkId, String)]),
        credentials: Arc<Credentials>,
        now: Moment,
    ) -> Self {
        let new = |text: String| Secret::new(text.into_bytes());
        let ppks_of = ppks_of.iter().map(|(id, text)| (id.clone(), new(text.clone()))).collect();
        let (secret, later, ppk) = (secret.map(new), later.map(new), ppk.map(new));
        Self { secret, later, ppk, ppks_of, credentials, now }
    }

    fn ppk_of(&self, id: &PpkId) -> Option<&Secret> {
        let single = self.ppks_of.iter().find(|(name, _)| name == id).map(|(_, ppk)| ppk);
        single.or(self.ppk.as_ref())
    }

    fn secret_of(&self, job: &AuthJob) -> Option<&Secret> {
        if job.round == 0 { self.secret.as_ref() } else { self.later.as_ref() }
    }
}

/// Where a peer's randomness comes from.
#[derive(Debug)]
pub(crate) enum Randomness {
    Seeded(Box<SeededRng>),
    System(SystemRng),
}

impl Rng for Randomness {
    fn fill(&mut self, out: &mut [u8]) {
        match self {
            Self::Seeded(rng) => rng.fill(out),
            Self::System(rng) => rng.fill(out),
        }
    }

    fn is_deterministic(&self) -> bool {
        matches!(self, Self::Seeded(_))
    }
}

/// What a job comes to.
#[derive(Debug)]
enum Answer {
    Auth(JobId, AuthResult),
    Addresses(JobId, Vec<IpAddr>),
}

impl Peer {
    pub(crate) fn new(
        side: Side,
        config: EndpointConfig,
        connection: Connection,
        keys: KeyStore,
        address: IpAddr,
        rng: Randomness,
        now: Instant,
    ) -> Self {
        let mut peer = Self {
            side,
            endpoint: Endpoint::new(config),
            connection: connection.clone(),
            keys,
            address,
            addresses: vec![address],
            engine: Engine::default(),
            rng,
            now,
            outbox: VecDeque::new(),
            answers: BTreeMap::new(),
            job_time: Duration::from_millis(1),
            counter: 0,
            events: Vec::new(),
            done: BTreeMap::new(),
            reported: BTreeSet::new(),
            started: now,
            sealed: 0,
            packets_lost: 0,
            packets_opened: 0,
            keepalives_received: 0,
        };
        peer.endpoint.handle_network(&peer.addresses, now, &mut peer.rng);
        peer.load(connection);
        peer
    }

    /// This host has these addresses from now on, that which routes prefer first.
    pub(crate) fn set_addresses(&mut self, addresses: &[IpAddr]) {
        self.addresses = addresses.to_vec();
        self.endpoint.handle_network(addresses, self.now, &mut self.rng);
        self.drain();
    }

    /// Loads a connection, replacing the one before.
    pub fn load(&mut self, connection: Connection) {
        self.connection = connection;
        self.command(Command::Load(Setup::shared(&self.connection)));
    }

    /// Sets up a child, with its IKE SA if there is none.
    pub fn initiate(&mut self, child: Child) -> RequestId {
        let child = Some(self.child_name(child));
        let (connection, request) = (self.connection.name.clone(), self.request());
        self.command(Command::Initiate { connection, child, request });
        request
    }

    /// Takes the connection down until it is initiated again.
    pub fn down(&mut self) -> RequestId {
        let (connection, request) = (self.connection.name.clone(), self.request());
        self.command(Command::Down { connection, request });
        request
    }

    /// Replaces the newest child SA of a configuration; nothing happens if there is none.
    pub fn rekey_child(&mut self, child: Child) {
        if let Some(id) = self.child_id(child) {
            self.command(Command::RekeyChild(id));
        }
    }

    /// Replaces the IKE SA; nothing happens if there is none.
    pub fn rekey_ike(&mut self) {
        if let Some(id) = self.ike_id() {
            self.command(Command::RekeyIke(id));
        }
    }

    /// Replaces the IKE SA by one that is authenticated anew.
    pub fn reauthenticate(&mut self) {
        if let Some(id) = self.ike_id() {
            self.command(Command::Reauthenticate(id));
        }
    }

    /// Sends the peer to another gateway (RFC 5685); nothing happens if there is no IKE SA.
    pub fn redirect(&mut self, to: Gateway) {
        if let Some(id) = self.ike_id() {
            self.command(Command::RedirectIke { id, to });
        }
    }

    /// Deletes the newest child SA of a configuration.
    pub fn terminate_child(&mut self, child: Child) {
        if let Some(id) = self.child_id(child) {
            self.terminate_child_sa(id);
        }
    }

    /// Deletes this child SA.
    pub fn terminate_child_sa(&mut self, id: ChildSaId) {
        let request = self.request();
        self.command(Command::TerminateChild { id, request });
    }

    /// Deletes the IKE SA.
    pub fn terminate_ike(&mut self) {
        if let Some(id) = self.ike_id() {
            let request = self.request();
            self.command(Command::TerminateIke { id, request });
        }
    }

    /// Deletes everything and accepts nothing new.
    pub fn shut_down(&mut self) {
        self.command(Command::Shutdown);
    }

    /// Sends one packet of a configured child: over its SA, or as a wish for one.
    pub fn send_packet(&mut self, child: Child) {
        let name = self.child_name(child);
        match self.engine.outbound(&name) {
            Some((id, sa)) => {
                let (spi, keys) = (sa.spi_out, sa.keys_out);
                self.send_on(id, spi, keys);
            }
            None => {
                let flow = self.flow(child);
                self.acquire(name, flow);
            }
        }
    }

    /// Sends this packet of a configured child: over an SA with selectors that hold it, or as a wish
    /// for one. Whether it was sent.
    pub fn send_flow(&mut self, child: Child, flow: FlowKey) -> bool {
        let name = self.child_name(child);
        match self.engine.carrier(&name, &flow) {
            Some((id, sa)) => {
                let (spi, keys) = (sa.spi_out, sa.keys_out);
                self.send_on(id, spi, keys);
                true
            }
            None => {
                self.acquire(name, flow);
                false
            }
        }
    }

    /// Lets the newest child SA of a configuration reach its soft lifetime.
    pub fn expire_softly(&mut self, child: Child) {
        if let Some(child) = self.child_id(child) {
            self.packet_event(PacketEvent::SoftExpire { child });
        }
    }

    /// Lets the newest child SA of a configuration reach its hard lifetime.
    pub fn expire(&mut self, child: Child) {
        if let Some(child) = self.child_id(child) {
            self.packet_event(PacketEvent::HardExpire { child });
        }
    }

    /// Gets an IKE message that the other side did not send.
    pub fn receive(&mut self, path: Path, octets: &[u8]) {
        self.endpoint.handle_datagram(path, octets, self.now, &mut self.rng);
        self.drain();
    }

    /// What would be sent next, taken off the network: answers to [`Peer::receive`].
    pub fn take_outbox(&mut self) -> Vec<Vec<u8>> {
        let letters = self.outbox.drain(..);
        let messages = letters.filter_map(|(_, letter)| match letter {
            Letter::Ike(octets) => Some(octets),
            Letter::Esp { .. } | Letter::Keepalive | Letter::TcpLost(_) => None,
        });
        messages.collect()
    }

    /// Loses all state, as after a crash; the configuration is loaded again.
    pub fn crash(&mut self, config: EndpointConfig) {
        self.endpoint = Endpoint::new(config);
        self.endpoint.handle_network(&self.addresses, self.now, &mut self.rng);
        self.engine = Engine::default();
        self.answers.clear();
        self.outbox.clear();
        self.load(self.connection.clone());
    }

    /// The installed child SAs; those removed and only kept for packets under way are left out.
    pub fn child_sas(&self) -> ChildSas {
        self.engine.child_sas()
    }

    /// All IKE SAs, half-open and closing ones included.
    pub fn ike_sas(&self) -> Vec<IkeSaInfo> {
        self.endpoint.ike_sas().collect()
    }

    /// The IKE SAs that are up.
    pub fn established(&self) -> Vec<IkeSaInfo> {
        let up = |info: &IkeSaInfo| info.state == IkeSaState::Established;
        self.endpoint.ike_sas().filter(up).collect()
    }

    /// Everything that happened, oldest first.
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// Why things failed, oldest first.
    pub fn failures(&self) -> impl Iterator<Item = &FailureReason> {
        self.events.iter().filter_map(|event| match event {
            Event::Failed(failure) => Some(&failure.reason),
            Event::IkeUp(_)
            | Event::IkeDown { .. }
            | Event::IkeRekeyed { .. }
            | Event::ChildUp { .. }
            | Event::ChildDown { .. }
            | Event::ChildRekeyed { .. }
            | Event::Moved { .. }
            | Event::PeerMoved { .. }
            | Event::Progress { .. }
            | Event::Retry { .. } => None,
        })
    }

    /// What a request came to; `None` while it runs.
    pub fn result(&self, request: RequestId) -> Option<&Result<(), Box<Failure>>> {
        self.done.get(&request)
    }

    /// The endpoint itself.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Installed child SAs, those about to go included.
    pub(crate) fn installed(&self) -> usize {
        self.engine.len()
    }

    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        let answer = self.answers.keys().next().map(|(at, _)| *at);
        [self.endpoint.poll_timeout(), self.engine.next_timeout(), answer]
            .into_iter()
            .flatten()
            .min()
    }

    pub(crate) fn has_jobs(&self) -> bool {
        !self.answers.is_empty()
    }

    pub(crate) fn arrived(&mut self, arrival: Arrival) {
        let Arrival { path, letter, .. } = arrival;
        match letter {
            Letter::Ike(octets) => {
                self.endpoint.handle_datagram(path, &octets, self.now, &mut self.rng);
                self.drain();
            }
            Letter::Esp { spi, keys, number } => match self.engine.opener(spi, keys) {
                Some(child) => {
                    self.packets_opened += 1;
                    let moved = self.engine.note_source(child, number, path.remote);
                    if let Some(remote) = moved {
                        self.packet_event(PacketEvent::PeerMoved { child, remote });
                    }
                    self.report_traffic(child);
                }
                None => self.packets_lost += 1,
            },
            Letter::Keepalive => self.keepalives_received += 1,
            Letter::TcpLost(problem) => {
                self.endpoint.handle_tcp_lost(path, problem, self.now, &mut self.rng);
                self.drain();
            }
        }
    }

    /// Does what is due by now.
    pub(crate) fn timeout(&mut self) {
        let now = self.now;
        while let Some(entry) = self.answers.first_entry() {
            if entry.key().0 > now {
                break;
            }
            match entry.remove() {
                Answer::Auth(job, result) => {
                    self.endpoint.handle_auth(job, result, now, &mut self.rng);
                }
                Answer::Addresses(job, addresses) => {
                    self.endpoint.handle_resolved(job, addresses, now, &mut self.rng);
                }
            }
            self.drain();
        }
        self.engine.sweep(now);
        while let Some(expiry) = self.engine.expired(now) {
            self.packet_event(match expiry {
                Expiry::Soft(child) => PacketEvent::SoftExpire { child },
                Expiry::Hard(child) => PacketEvent::HardExpire { child },
            });
        }
        if self.endpoint.poll_timeout().is_some_and(|due| due <= now) {
            self.endpoint.handle_timeout(now, &mut self.rng);
            self.drain();
        }
    }

    fn send_on(&mut self, child: ChildSaId, spi: Spi, keys: [u8; 20]) {
        if let Some(encap) = self.engine.encap(child) {
            self.sealed += 1;
            let path = Path::udp(encap.local, encap.remote);
            // Who has opened the connection only the IKE SA knows.
            let mut ikes = self.endpoint.ike_sas().filter(|_| encap.tcp);
            let info = ikes.find(|ike| (ike.local, ike.remote) == (path.local, path.remote));
            drop(ikes);
            let path = info.map_or(path, |ike| Path { transport: ike.transport, ..path });
            self.outbox.push_back((path, Letter::Esp { spi, keys, number: self.sealed }));
            self.report_use(child);
        }
    }

    fn acquire(&mut self, child: ChildName, flow: FlowKey) {
        let connection = self.connection.name.clone();
        self.packet_event(PacketEvent::Acquire { connection, child, flow });
    }

    fn report_use(&mut self, child: ChildSaId) {
        if self.engine.is_use_news(child, self.now) {
            self.packet_event(PacketEvent::Used { child });
        }
    }

    fn report_traffic(&mut self, child: ChildSaId) {
        let second = self.now.saturating_duration_since(self.started).as_secs();
        self.reported.retain(|(_, reported)| *reported == second);
        if self.reported.insert((child, second)) {
            self.packet_event(PacketEvent::Traffic { child });
        }
        self.report_use(child);
    }

    fn packet_event(&mut self, event: PacketEvent) {
        self.endpoint.handle_packet_event(event, self.now, &mut self.rng);
        self.drain();
    }

    fn command(&mut self, command: Command) {
        self.endpoint.handle_command(command, self.now, &mut self.rng);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(output) = self.endpoint.poll_output() {
            match output {
                Output::Transmit { path, octets } => {
                    self.outbox.push_back((path, Letter::Ike(octets)));
                }
                Output::Keepalive(path) => self.outbox.push_back((path, Letter::Keepalive)),
                Output::HangUp(path) => {
                    self.outbox.push_back((path, Letter::TcpLost(TcpProblem::Closed)));
                }
                Output::InstallChild { sa, outbound } => {
                    self.engine.install(*sa, outbound, self.now);
                }
                Output::ActivateOutbound(id) => self.engine.activate(id),
                Output::RemoveChild { id, delay } => self.engine.remove(id, delay, self.now),
                Output::UpdatePeer { child, encap } => self.engine.update(child, encap),
                Output::SkipSequence { .. }
                | Output::Notice { .. }
                | Output::Keys(_)
                | Output::Tidings(_) => {}
                Output::Auth(job) => {
                    let answer = Answer::Auth(job.job, self.authenticate(&job));
                    self.answer_later(answer);
                }
                Output::Ppk(job) => {
                    let ppk = self.keys.ppk_of(&job.id);
                    let result = ppk.map_or(AuthResult::NoSecret, |ppk| job.mix(ppk));
                    self.answer_later(Answer::Auth(job.job, result));
                }
                Output::Resolve { job, query } => {
                    let addresses = self.look_up(&query);
                    self.answer_later(Answer::Addresses(job, addresses));
                }
                Output::Event(event) => self.events.push(event),
                Output::Done { request, result } => {
                    let before = self.done.insert(request, result);
                    assert!(before.is_none(), "{request:?} is done twice");
                }
            }
        }
    }

    fn answer_later(&mut self, answer: Answer) {
        self.counter += 1;
        self.answers.insert((self.now + self.job_time, self.counter), answer);
    }

    fn authenticate(&self, job: &AuthJob) -> AuthResult {
        let KeyStore { credentials, now, .. } = &self.keys;
        let passed = self.now.saturating_duration_since(self.started).as_secs();
        let now = Moment(now.0.saturating_add(passed));
        job.answer_with(Keys { secret: self.keys.secret_of(job), credentials, now })
    }

    fn look_up(&self, query: &Query) -> Vec<IpAddr> {
        match query {
            Query::SourceFor(remote) => {
                let fits = |own: &&IpAddr| own.is_ipv4() == remote.is_ipv4();
                self.addresses.iter().find(fits).copied().into_iter().collect()
            }
            Query::Name(_) => Vec::new(),
        }
    }

    fn flow(&mut self, child: Child) -> FlowKey {
        let Child(index) = child;
        let child = self.connection.children.get(index).expect("a configured child");
        let first =
            |specs: &[adit_db::TsSpec]| specs.first().expect("a selector").resolve(self.address);
        let (local, remote) = (first(&child.local_ts), first(&child.remote_ts));
        let port = u16::try_from(self.rng.next_u32() % 10_000).unwrap_or(0) + 50_000;
        FlowKey::new(local.start, remote.start, IpProtocol::TCP.0, port, 443)
    }

    fn request(&mut self) -> RequestId {
        self.counter += 1;
        RequestId(self.counter)
    }

    fn child_name(&self, child: Child) -> ChildName {
        Setup::child_name(&self.connection, child)
    }

    fn child_id(&self, child: Child) -> Option<ChildSaId> {
        self.engine.newest(&self.child_name(child))
    }

    fn ike_id(&self) -> Option<IkeSaId> {
        self.established().last().map(|info| info.id)
    }
}
