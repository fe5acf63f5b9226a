//! An endpoint with the roles of a daemon around it, which watch that it keeps its promises.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use adit_crypto::{Protection, Rng, Secret, SeededRng};
use adit_db::{ChildSa, ChildSaId, Connection, IkeVersion, PolicyId, ProposalSpec};
use adit_ike::{
    AuthJob, AuthResult, Command, DebugKeys, Endpoint, EndpointConfig, Event, IkeSaState,
    IsakmpDebugKeys, Output, PacketEvent, Path, Query, RequestId,
};
use adit_wire::esp::Spi;
use adit_wire::ikev2::{Header, TrafficSelector};
use adit_wire::{Reader, WireError};

use super::seal::Keyring;
use super::setup::HALF_OPEN_MAX;
use crate::Choices;

/// One host.
pub struct Host {
    endpoint: Endpoint,
    /// As it was in the beginning.
    configured: Arc<Connection>,
    /// As it is now.
    connection: Arc<Connection>,
    address: IpAddr,
    secret: Secret,
    rng: SeededRng,
    now: Instant,
    /// What it has sent.
    pub outbox: VecDeque<(Path, Vec<u8>)>,
    /// Jobs that wait for an answer.
    pub jobs: VecDeque<AuthJob>,
    /// Whether jobs wait for [`Host::answer`].
    pub holds_jobs: bool,
    /// Keys of every IKE SA it ever had.
    pub keys: Keyring,
    /// Keys of ISAKMP SAs that have come up and that nobody has taken.
    pub isakmp_keys: Vec<IsakmpDebugKeys>,
    installed: BTreeMap<ChildSaId, Installed>,
    /// Keys under which packets were ever sent: none comes twice.
    spent_keys: BTreeSet<Vec<u8>>,
    requests: u64,
    done: BTreeSet<RequestId>,
    /// IKE SAs that came up.
    pub ups: usize,
}

/// A child SA in the packet engine.
#[derive(Clone, Debug)]
pub struct Installed {
    /// SPI of packets to us.
    pub spi_in: Spi,
    /// SPI of packets to the peer: what the peer calls it.
    pub spi_out: Spi,
}

impl Host {
    /// A host with a connection loaded and nothing sent.
    pub fn new(
        config: &EndpointConfig,
        connection: &Arc<Connection>,
        address: IpAddr,
        seed: u64,
        now: Instant,
    ) -> Self {
        let mut host = Self {
            endpoint: Endpoint::new(config.clone()),
            configured: Arc::clone(connection),
            connection: Arc::clone(connection),
            address,
            secret: Secret::from_slice(b"correct horse battery staple"),
            rng: SeededRng::new(seed),
            now,
            outbox: VecDeque::new(),
            jobs: VecDeque::new(),
            holds_jobs: false,
            keys: Keyring::default(),
            isakmp_keys: Vec::new(),
            installed: BTreeMap::new(),
            spent_keys: BTreeSet::new(),
            requests: 0,
            done: BTreeSet::new(),
            ups: 0,
        };
        host.command(Command::Load(Arc::clone(connection)));
        host
    }

    /// The endpoint.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The connection.
    pub fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    /// Child SAs in the packet engine.
    pub fn installed(&self) -> &BTreeMap<ChildSaId, Installed> {
        &self.installed
    }

    /// Number of IKE SAs that are up.
    pub fn established(&self) -> usize {
        self.endpoint.ike_sas().filter(|info| info.state == IkeSaState::Established).count()
    }

    // ---- Inputs ----

    /// A datagram arrives. Returns the octets of each one sent in answer.
    pub fn datagram(&mut self, path: Path, octets: &[u8]) -> Vec<usize> {
        let before = self.outbox.len();
        self.input(|endpoint, now, rng| endpoint.handle_datagram(path, octets, now, rng));
        self.outbox.iter().skip(before).map(|(_, octets)| octets.len()).collect()
    }

    /// An order is given.
    pub fn command(&mut self, command: Command) {
        self.input(|endpoint, now, rng| endpoint.handle_command(command, now, rng));
    }

    /// A number for an order.
    pub fn request(&mut self) -> RequestId {
        self.requests += 1;
        RequestId(self.requests)
    }

    /// The packet engine has seen something.
    pub fn packet_event(&mut self, event: PacketEvent) {
        self.input(|endpoint, now, rng| endpoint.handle_packet_event(event, now, rng));
    }

    /// The network says that a path is broken.
    pub fn unreachable(&mut self, path: Path) {
        self.input(|endpoint, now, rng| endpoint.handle_unreachable(path, None, now, rng));
    }

    /// The oldest waiting job is answered: as it should be, or with this.
    pub fn answer(&mut self, instead: Option<AuthResult>) {
        if let Some(job) = self.jobs.pop_front() {
            let result = instead.unwrap_or_else(|| self.authenticate(&job));
            self.input(|endpoint, now, rng| endpoint.handle_auth(job.job, result, now, rng));
        }
    }

    /// All waiting jobs are answered, and from now on each one at once.
    pub fn release_jobs(&mut self) {
        // One by one, so that what a single answer leads to stays countable.
        self.holds_jobs = true;
        let mut answers = 0;
        while !self.jobs.is_empty() {
            answers += 1;
            assert!(answers <= JOBS_MAX * ANSWERS_MAX, "no end of jobs");
            self.answer(None);
        }
        self.holds_jobs = false;
    }

    /// Time passes, and timers run as they are due.
    pub fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        let mut at_once = 0;
        while let Some(due) = self.endpoint.poll_timeout().filter(|due| *due <= end) {
            at_once = if due > self.now { 0 } else { at_once + 1 };
            assert!(at_once <= TIMEOUTS_AT_ONCE_MAX, "a timer is due again and again");
            self.now = self.now.max(due);
            self.input(Endpoint::handle_timeout);
        }
        self.now = end;
    }

    /// When it wants to be woken.
    pub fn next_timeout(&self) -> Option<Duration> {
        self.endpoint.poll_timeout().map(|due| due.saturating_duration_since(self.now))
    }

    fn input(&mut self, input: impl FnOnce(&mut Endpoint, Instant, &mut dyn Rng)) {
        input(&mut self.endpoint, self.now, &mut self.rng);
        let mut outputs = 0;
        let mut answers = 0;
        loop {
            while let Some(output) = self.endpoint.poll_output() {
                outputs += 1;
                assert!(outputs <= OUTPUTS_MAX, "one input, no end of outputs");
                self.take(output);
            }
            if self.holds_jobs || self.jobs.is_empty() {
                break;
            }
            answers += 1;
            assert!(answers <= ANSWERS_MAX, "one input, no end of jobs");
            let job = self.jobs.pop_front().expect("not empty");
            let result = self.authenticate(&job);
            self.endpoint.handle_auth(job.job, result, self.now, &mut self.rng);
        }
        self.check();
    }

    /// The configuration changes: times, keeping or children come and go.
    pub fn reload(&mut self, choices: &mut Choices<'_>) {
        let mut connection = (*self.configured).clone();
        let how = choices.u8();
        if how & 1 != 0 {
            connection.dpd_delay = Duration::from_secs(20);
        }
        if how & 2 != 0 {
            connection.children.pop();
        }
        if how & 4 != 0 && connection.ike == IkeVersion::V2 {
            connection.proposals = ProposalSpec::ike_default();
        }
        if how & 8 != 0 {
            connection.children.reverse();
        }
        self.connection = Arc::new(connection);
        self.command(match how & 48 {
            48 => Command::Unload(self.connection.name.clone()),
            _ => Command::Load(Arc::clone(&self.connection)),
        });
    }

    /// The configuration is that of the beginning again.
    pub fn restore(&mut self) {
        self.connection = Arc::clone(&self.configured);
        self.command(Command::Load(Arc::clone(&self.configured)));
    }

    // ---- Outputs ----

    fn take(&mut self, output: Output) {
        match output {
            Output::Transmit { path, octets } => {
                let header = match Header::read(&mut Reader(&octets)) {
                    // RFC 7296 §2.5: who speaks a later version is answered with its own SPIs and
                    // exchange, which need not make sense here.
                    Err(WireError::BadValue("Header.spi_r", 0)) => return,
                    read => read.expect("a message we sent"),
                };
                assert_eq!(usize::try_from(header.length), Ok(octets.len()));
                assert_eq!(path.local.ip(), self.address);
                self.outbox.push_back((path, octets));
            }
            Output::Keepalive(_)
            | Output::HangUp(_)
            | Output::UpdatePeer { .. }
            | Output::SkipSequence { .. }
            | Output::Notice { .. }
            | Output::ActivateOutbound(_)
            | Output::Ppk(_)
            | Output::Tidings(_) => {}
            Output::InstallChild { sa, .. } => self.install(&sa),
            Output::RemoveChild { id, .. } => {
                self.installed.remove(&id);
            }
            Output::Auth(job) => self.jobs.push_back(job),
            Output::Resolve { job, query } => {
                let addresses = match query {
                    Query::SourceFor(_) => vec![self.address],
                    Query::Name(_) => Vec::new(),
                };
                self.endpoint.handle_resolved(job, addresses, self.now, &mut self.rng);
            }
            Output::Event(Event::IkeUp(_)) => self.ups += 1,
            Output::Event(event) => drop(format!("{event:?}")),
            Output::Done { request, .. } => {
                assert!(request.0 <= self.requests, "nobody asked for {request:?}");
                assert!(self.done.insert(request), "{request:?} is done twice");
            }
            Output::Keys(DebugKeys::Ike(keys)) => self.keys.add(keys),
            Output::Keys(DebugKeys::Isakmp(keys)) => self.isakmp_keys.push(keys),
            Output::Keys(DebugKeys::Esp(_)) => {}
        }
    }

    /// What a peer can make us install lies within what was configured.
    fn install(&mut self, sa: &ChildSa) {
        let config = self.connection.child(&sa.child).expect("a configured child");
        let within = |agreed: &[TrafficSelector], configured: &[adit_db::TsSpec]| {
            let of = |ts: &TrafficSelector| {
                configured
                    .iter()
                    .filter_map(adit_db::TsSpec::selector)
                    .any(|configured| ts.is_subset_of(&configured))
            };
            !agreed.is_empty() && agreed.iter().all(of)
        };
        assert!(within(&sa.local_ts, &config.local_ts), "{:?}", sa.local_ts);
        assert!(within(&sa.remote_ts, &config.remote_ts), "{:?}", sa.remote_ts);
        let encryption = |t: &adit_wire::ikev2::Transform| {
            let Protection::Esp(cipher) = sa.protection else { return false };
            t.kind == adit_wire::iana::TransformType::ENCR
                && t.id == cipher.encryption_id().0
                && t.key_bits == cipher.key_bits()
        };
        let offered = config.proposals.iter();
        assert!(offered.into_iter().any(|p| p.transforms().iter().any(encryption)));
        assert!(adit_dataplane::split(sa, PolicyId(0), self.now).is_ok(), "keys of the cipher");
        assert!(self.installed.values().all(|other| other.spi_in != sa.spi_in), "SPI twice");
        let key = sa.keys_out.encryption.as_bytes().to_vec();
        assert!(self.spent_keys.insert(key), "one key for two child SAs");
        let installed = Installed { spi_in: sa.spi_in, spi_out: sa.spi_out };
        assert!(self.installed.insert(sa.id, installed).is_none(), "{:?} twice", sa.id);
    }

    fn authenticate(&self, job: &AuthJob) -> AuthResult {
        job.answer(&self.secret)
    }

    // ---- Promises ----

    fn check(&self) {
        let mut connecting = 0;
        let mut children = BTreeSet::new();
        for info in self.endpoint.ike_sas() {
            connecting += usize::from(info.state == IkeSaState::Connecting && !info.initiator);
            assert!(info.children.len() <= CHILDREN_MAX);
            children.extend(info.children.iter().map(|child| child.id));
        }
        assert!(connecting <= HALF_OPEN_MAX, "{connecting} half-open IKE SAs");
        // What the engine holds belongs to an IKE SA, or nobody would ever take it out again.
        for id in self.installed.keys() {
            assert!(children.contains(id), "{id:?} was left behind in the packet engine");
        }
        assert!(self.jobs.len() <= JOBS_MAX, "{} jobs", self.jobs.len());
    }
}

/// One message may have two hundred fragments; commands concern few SAs here.
const OUTPUTS_MAX: usize = 700;
/// Sign, verify, and once more for another IKE SA.
const ANSWERS_MAX: usize = 8;
/// One per half-open IKE SA and one per attempt.
const JOBS_MAX: usize = HALF_OPEN_MAX + 2;
const CHILDREN_MAX: usize = 1_024;
const TIMEOUTS_AT_ONCE_MAX: usize = 64;
