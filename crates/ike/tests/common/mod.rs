//! Two endpoints that talk directly: no network, no packet engine, one clock.
//!
//! What the tests need and no more; the simulator with loss, delay and NATs is `adit-sim`.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use adit_crypto::{OpenKey, SealKey, Secret, SeededRng};
use adit_db::{
    ChildConfig, ChildSa, ChildSaId, Connection, GatewayNotice, HostSpec, ProposalSpec, TsSpec,
};
use adit_ike::record::{Begin, Recorded, Replay};
use adit_ike::{
    AuthJob, AuthJobKind, Command, DebugKeys, EndpointConfig, Event, Failure, IkeDebugKeys,
    IkeSaInfo, IkeSaState, Input, Keys, Output, PacketEvent, Path, RequestId,
};
use adit_pki::{Credentials, Moment};
use adit_wire::Writer;
use adit_wire::iana::PayloadType;
use adit_wire::ikev2::{ChainBuilder, Header};
use adit_wire::ip::FlowKey;

/// Addresses of the two.
pub(crate) const LEFT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
pub(crate) const RIGHT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

/// When certificates of tests are valid, whoever made them without saying more.
const CERTIFIED: Moment = Moment(1_700_000_000);

/// One endpoint with the roles around it. Whatever a test does to it is recorded, and has to come to the
/// same when it is replayed.
pub(crate) struct Peer {
    pub(crate) endpoint: Recorded,
    pub(crate) secret: &'static [u8],
    /// Our user's password.
    pub(crate) password: &'static [u8],
    /// Names and passwords of the peer's users.
    pub(crate) users: Vec<(&'static str, &'static [u8])>,
    pub(crate) children: BTreeMap<ChildSaId, ChildSa>,
    pub(crate) outbound: Vec<ChildSaId>,
    pub(crate) skipped: Vec<(ChildSaId, u64)>,
    pub(crate) keepalives: usize,
    pub(crate) notices: Vec<(ChildSaId, GatewayNotice)>,
    pub(crate) events: Vec<Event>,
    pub(crate) keys: Vec<DebugKeys>,
    pub(crate) done: BTreeMap<RequestId, Result<(), Box<Failure>>>,
    pub(crate) sent: VecDeque<(Path, Vec<u8>)>,
    pub(crate) answers_jobs: bool,
    pub(crate) credentials: Credentials,
    rng: SeededRng,
    requests: u64,
}

impl Peer {
    pub(crate) fn new(config: EndpointConfig, seed: u64) -> Self {
        Self {
            endpoint: recorded(config),
            secret: b"a secret shared by both",
            password: b"correct horse",
            users: vec![("alice", b"correct horse"), ("bob", b"battery staple")],
            children: BTreeMap::new(),
            outbound: Vec::new(),
            skipped: Vec::new(),
            keepalives: 0,
            notices: Vec::new(),
            events: Vec::new(),
            keys: Vec::new(),
            done: BTreeMap::new(),
            sent: VecDeque::new(),
            answers_jobs: true,
            credentials: Credentials::default(),
            rng: SeededRng::new(seed),
            requests: 0,
        }
    }

    /// Gives the endpoint an input; what comes of it waits.
    pub(crate) fn give(&mut self, input: Input, now: Instant) {
        self.endpoint.give(input, now, &mut self.rng);
    }

    /// Begins anew, with a new endpoint and nothing loaded.
    pub(crate) fn restart(&mut self, config: EndpointConfig) {
        self.restarted(config);
    }

    /// The same; the recording that ended with it.
    pub(crate) fn restarted(&mut self, config: EndpointConfig) -> Vec<u8> {
        let file = self.check_replay();
        self.endpoint = recorded(config);
        file
    }

    /// What was recorded comes to the same once more.
    fn check_replay(&mut self) -> Vec<u8> {
        assert_eq!(self.endpoint.ended(), None);
        let file = self.endpoint.take_octets();
        let mut replay = Replay::new(&file, origin()).unwrap();
        for step in &mut replay {
            let step = step.unwrap();
            assert!(step.is_compared);
            assert_eq!(step.difference, None, "{}: {:?}", step.number, step.input);
        }
        assert_eq!(replay.octets_left(), 0);
        file
    }

    pub(crate) fn command(&mut self, command: Command, now: Instant) {
        self.give(Input::Command(command), now);
        self.drain(now);
    }

    pub(crate) fn request(&mut self) -> RequestId {
        self.requests += 1;
        RequestId(self.requests)
    }

    pub(crate) fn initiate(&mut self, now: Instant) -> RequestId {
        self.initiate_named("tunnel", now)
    }

    pub(crate) fn initiate_named(&mut self, connection: &str, now: Instant) -> RequestId {
        let request = self.request();
        let connection = connection.parse().unwrap();
        self.command(Command::Initiate { connection, child: None, request }, now);
        request
    }

    pub(crate) fn datagram(&mut self, path: Path, octets: &[u8], now: Instant) {
        self.endpoint.datagram(path, octets, now, &mut self.rng);
        self.drain(now);
    }

    /// A packet asks for the child.
    pub(crate) fn acquire(&mut self, flow: FlowKey, now: Instant) {
        let (connection, child) = ("tunnel".parse().unwrap(), "net".parse().unwrap());
        let event = PacketEvent::Acquire { connection, child, flow };
        self.give(Input::Packet(event), now);
        self.drain(now);
    }

    pub(crate) fn timeout(&mut self, now: Instant) {
        self.give(Input::Timeout, now);
        self.drain(now);
    }

    pub(crate) fn established(&self) -> Vec<IkeSaInfo> {
        let up = |info: &IkeSaInfo| info.state == IkeSaState::Established;
        self.endpoint.ike_sas().filter(up).collect()
    }

    pub(crate) fn failures(&self) -> Vec<Failure> {
        let failure = |event: &Event| {
            let Event::Failed(failure) = event else { return None };
            Some(Failure::clone(failure))
        };
        self.events.iter().filter_map(failure).collect()
    }

    pub(crate) fn drain(&mut self, now: Instant) {
        while let Some(output) = self.endpoint.poll_output() {
            match output {
                Output::Transmit { path, octets } => self.sent.push_back((path, octets)),
                Output::Keepalive(_) => self.keepalives += 1,
                Output::HangUp(_) => {}
                Output::UpdatePeer { child, encap } => {
                    self.children.get_mut(&child).unwrap().encap = encap;
                }
                Output::SkipSequence { child, by } => self.skipped.push((child, by)),
                Output::Notice { child, notice } => self.notices.push((child, notice)),
                Output::InstallChild { sa, outbound } => {
                    self.outbound.extend(outbound.then_some(sa.id));
                    assert!(self.children.insert(sa.id, *sa).is_none());
                }
                Output::ActivateOutbound(id) => {
                    assert!(self.children.contains_key(&id));
                    self.outbound.push(id);
                }
                Output::RemoveChild { id, .. } => assert!(self.children.remove(&id).is_some()),
                Output::Auth(job) => self.authenticate(&job, now),
                Output::Resolve { job, .. } => {
                    self.give(Input::Resolved(job, vec![LEFT]), now);
                }
                Output::Event(event) => self.events.push(event),
                Output::Done { request, result } => {
                    assert!(self.done.insert(request, result).is_none());
                }
                Output::Keys(keys) => self.keys.push(keys),
                Output::Ppk(job) => {
                    let result = job.mix(&Secret::from_slice(b"after the quantum computer"));
                    self.give(Input::Auth(job.job, result), now);
                }
                Output::Tidings(tidings) => panic!("there is nobody to tell {tidings:?}"),
            }
        }
    }

    fn authenticate(&mut self, job: &AuthJob, now: Instant) {
        if !self.answers_jobs {
            return;
        }
        let of_user = |name: &str| self.users.iter().find(|(user, _)| *user == name);
        #[expect(clippy::wildcard_enum_match_arm, reason = "all others are of the two devices")]
        let secret: &[u8] = match &job.kind {
            AuthJobKind::Password { .. } => self.password,
            AuthJobKind::CheckPassword { user, .. } => of_user(user).map_or(&[], |user| user.1),
            _ => self.secret,
        };
        let secret = Secret::from_slice(secret);
        let keys = Keys { secret: Some(&secret), credentials: &self.credentials, now: CERTIFIED };
        let result = job.answer_with(keys);
        self.give(Input::Auth(job.job, result), now);
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.check_replay();
        }
    }
}

/// An endpoint that is recorded from now on.
fn recorded(config: EndpointConfig) -> Recorded {
    let begin = Begin { program: "test".to_owned(), started_s: 0, config };
    // The clock of a run is ahead of this one, and a new endpoint comes to it later.
    static START: OnceLock<Instant> = OnceLock::new();
    Recorded::new(begin, *START.get_or_init(origin)).unwrap()
}

/// Both, and the clock.
pub(crate) struct Pair {
    pub(crate) left: Peer,
    pub(crate) right: Peer,
    pub(crate) now: Instant,
    /// Messages delivered so far.
    pub(crate) delivered: usize,
}

impl Pair {
    pub(crate) fn new(configs: [EndpointConfig; 2], connections: [Connection; 2]) -> Self {
        let [left_config, right_config] = configs;
        let mut pair = Self {
            left: Peer::new(left_config, 1),
            right: Peer::new(right_config, 2),
            now: origin(),
            delivered: 0,
        };
        let [left, right] = connections;
        pair.left.command(Command::Load(Arc::new(left)), pair.now);
        pair.right.command(Command::Load(Arc::new(right)), pair.now);
        pair
    }

    pub(crate) fn default_pair() -> Self {
        Self::new(Default::default(), connections())
    }

    pub(crate) fn established() -> Self {
        let mut pair = Self::default_pair();
        let request = pair.left.initiate(pair.now);
        pair.run();
        assert_eq!(pair.left.done.get(&request), Some(&Ok(())));
        pair
    }

    /// Delivers everything until nobody has anything to say.
    pub(crate) fn run(&mut self) {
        while self.deliver(|_| true) {}
    }

    /// Delivers one round of messages, those that `passes` lets through.
    pub(crate) fn deliver(&mut self, passes: impl Fn(&[u8]) -> bool) -> bool {
        let from_left: Vec<_> = self.left.sent.drain(..).collect();
        let from_right: Vec<_> = self.right.sent.drain(..).collect();
        let any = !from_left.is_empty() || !from_right.is_empty();
        for (path, octets) in from_left.into_iter().filter(|(_, octets)| passes(octets)) {
            self.delivered += 1;
            self.right.datagram(reversed(path), &octets, self.now);
        }
        for (path, octets) in from_right.into_iter().filter(|(_, octets)| passes(octets)) {
            self.delivered += 1;
            self.left.datagram(reversed(path), &octets, self.now);
        }
        any
    }

    /// Lets time pass, timers and messages with it.
    pub(crate) fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        self.run();
        loop {
            let timers = [self.left.endpoint.poll_timeout(), self.right.endpoint.poll_timeout()];
            let Some(next) = timers.into_iter().flatten().min().filter(|next| *next <= end) else {
                self.now = end;
                return;
            };
            self.now = self.now.max(next);
            self.left.timeout(self.now);
            self.right.timeout(self.now);
            self.run();
        }
    }

    /// One IKE SA each, the same children, the same keys crosswise.
    pub(crate) fn assert_one_tunnel(&self) {
        let (left, right) = (self.left.established(), self.right.established());
        assert_eq!((left.len(), right.len()), (1, 1));
        assert_eq!((left[0].spi_i, left[0].spi_r), (right[0].spi_i, right[0].spi_r));
        assert_eq!((self.left.children.len(), self.right.children.len()), (1, 1));
        let ours = self.left.children.values().next().unwrap();
        let theirs = self.right.children.values().next().unwrap();
        assert_eq!((ours.spi_in, ours.spi_out), (theirs.spi_out, theirs.spi_in));
        assert_eq!(ours.keys_in.encryption, theirs.keys_out.encryption);
        assert_eq!(ours.keys_out.encryption, theirs.keys_in.encryption);
        assert_eq!((&ours.local_ts, &ours.remote_ts), (&theirs.remote_ts, &theirs.local_ts));
        assert_eq!(self.left.outbound.last(), Some(&ours.id));
        assert_eq!(self.right.outbound.last(), Some(&theirs.id));
    }
}

/// A message under the keys of one end that no honest end sends. The suite has an AEAD.
pub(crate) fn sealed(keys: &IkeDebugKeys, header: Header, chain: ChainBuilder) -> Vec<u8> {
    /// Far from the counts that the endpoints have used.
    const COUNT: u64 = 1 << 40;
    let chain = chain.finish().unwrap();
    let key = if header.flags.is_initiator() { &keys.sk_ei } else { &keys.sk_er };
    let (iv_len, icv_len) = (keys.cipher.iv_len(), keys.cipher.icv_len());
    let payload_len = 4 + iv_len + chain.octets.len() + 1 + icv_len;
    let length = u32::try_from(Header::LEN + payload_len).unwrap();
    let mut octets = Vec::new();
    Header { next_payload: PayloadType::SK, length, ..header }.write(&mut Writer(&mut octets));
    octets.extend([chain.first.0, 0]);
    octets.extend(u16::try_from(payload_len).unwrap().to_be_bytes());
    let (mut iv, mut icv) = (vec![0; iv_len], vec![0; icv_len]);
    let mut text = [chain.octets, vec![0]].concat();
    let seal = SealKey::new(keys.cipher, key, &Secret::from_slice(&[])).unwrap();
    seal.seal(COUNT, &octets, &mut iv, &mut text, &mut icv, &[]).unwrap();
    [octets, iv, text, icv].concat()
}

/// Type of the first payload and the chain inside a protected message. The suite has an AEAD.
pub(crate) fn opened(keys: &IkeDebugKeys, octets: &[u8]) -> (PayloadType, Vec<u8>) {
    let is_initiators = octets[19] & 0x08 != 0;
    let key = if is_initiators { &keys.sk_ei } else { &keys.sk_er };
    let (aad, rest) = octets.split_at(Header::LEN + 4);
    let (iv, rest) = rest.split_at(keys.cipher.iv_len());
    let (text, icv) = rest.split_at(rest.len() - keys.cipher.icv_len());
    let mut text = text.to_vec();
    let open = OpenKey::new(keys.cipher, key, &Secret::from_slice(&[])).unwrap();
    open.open(aad, iv, &mut text, icv, &[]).unwrap();
    let padding = usize::from(text.pop().unwrap());
    text.truncate(text.len() - padding);
    (PayloadType(octets[Header::LEN]), text)
}

pub(crate) fn reversed(path: Path) -> Path {
    path.reversed()
}

pub(crate) fn path(local: IpAddr, remote: IpAddr) -> Path {
    Path::udp(SocketAddr::new(local, 500), SocketAddr::new(remote, 500))
}

/// Both sides' configurations, which fit.
pub(crate) fn connections() -> [Connection; 2] {
    [
        connection(LEFT, RIGHT, "left.example", "right.example", "10.1.0.0/24", "10.2.0.0/24"),
        connection(RIGHT, LEFT, "right.example", "left.example", "10.2.0.0/24", "10.1.0.0/24"),
    ]
}

/// Both sides' configurations with these IKE proposals.
pub(crate) fn with_ike(left: &str, right: &str) -> [Connection; 2] {
    let mut connections = connections();
    connections[0].proposals = ProposalSpec::ike_list(left).unwrap();
    connections[1].proposals = ProposalSpec::ike_list(right).unwrap();
    connections
}

fn connection(
    local: IpAddr,
    remote: IpAddr,
    local_id: &str,
    remote_id: &str,
    local_ts: &str,
    remote_ts: &str,
) -> Connection {
    let mut connection = Connection::new("tunnel".parse().unwrap());
    connection.local_addresses = vec![HostSpec::Address(local)];
    connection.remote_addresses = vec![HostSpec::Address(remote)];
    connection.pad.local_id = Some(local_id.parse().unwrap());
    connection.pad.remote_id = remote_id.parse().unwrap();
    connection.dpd_delay = Duration::ZERO;
    let mut child = ChildConfig::new("net".parse().unwrap());
    child.local_ts = vec![selector(local_ts)];
    child.remote_ts = vec![selector(remote_ts)];
    connection.children = vec![child];
    connection
}

pub(crate) fn selector(text: &str) -> TsSpec {
    text.parse().unwrap()
}

#[expect(clippy::disallowed_methods, reason = "any instant is as good as the origin of a run")]
pub(crate) fn origin() -> Instant {
    Instant::now()
}
