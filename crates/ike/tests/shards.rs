//! A host with several endpoints: to its peers it is one.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use adit_crypto::{Secret, SeededRng};
use adit_db::{ChildConfig, Connection, HostSpec, Keep, Unique};
use adit_ike::{
    Addressee, Command, Endpoint, EndpointConfig, Failure, IkeSaInfo, IkeSaState, Output, Path,
    RequestId, Shard, Shards, TicketKeys, Tidings,
};
use adit_wire::esp::Spi;
use adit_wire::iana::{ExchangeType, NotifyType};

const HUB: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const SHARDS: u16 = 2;
const BACK: Duration = Duration::from_secs(30);

/// An endpoint and what came of it.
struct End {
    endpoint: Endpoint,
    rng: SeededRng,
    sent: VecDeque<(Path, Vec<u8>)>,
    tidings: VecDeque<Tidings>,
    spis: BTreeSet<Spi>,
    done: BTreeMap<RequestId, Result<(), Box<Failure>>>,
}

impl End {
    fn new(endpoint: Endpoint, seed: u64) -> Self {
        Self {
            endpoint,
            rng: SeededRng::new(seed),
            sent: VecDeque::new(),
            tidings: VecDeque::new(),
            spis: BTreeSet::new(),
            done: BTreeMap::new(),
        }
    }

    fn command(&mut self, command: Command, now: Instant) {
        self.endpoint.handle_command(command, now, &mut self.rng);
        self.drain(now);
    }

    fn drain(&mut self, now: Instant) {
        while let Some(output) = self.endpoint.poll_output() {
            match output {
                Output::Transmit { path, octets } => self.sent.push_back((path, octets)),
                Output::InstallChild { sa, .. } => {
                    self.spis.insert(sa.spi_in);
                }
                Output::Auth(job) => {
                    let result = job.answer(&Secret::from_slice(b"a secret shared by all"));
                    self.endpoint.handle_auth(job.job, result, now, &mut self.rng);
                }
                Output::Done { request, result } => {
                    assert!(self.done.insert(request, result).is_none());
                }
                Output::Tidings(tidings) => self.tidings.push_back(tidings),
                Output::Keepalive(_)
                | Output::HangUp(_)
                | Output::ActivateOutbound(_)
                | Output::RemoveChild { .. }
                | Output::UpdatePeer { .. }
                | Output::SkipSequence { .. }
                | Output::Notice { .. }
                | Output::Resolve { .. }
                | Output::Ppk(_)
                | Output::Event(_)
                | Output::Keys(_) => {}
            }
        }
    }

    fn established(&self) -> Vec<IkeSaInfo> {
        let up = |info: &IkeSaInfo| info.state == IkeSaState::Established;
        self.endpoint.ike_sas().filter(up).collect()
    }
}

/// The shards of a hub, and peers around it; what begins goes to the shard of the address's last octet.
struct World {
    shards: Vec<End>,
    peers: BTreeMap<IpAddr, End>,
    /// Further addresses of peers.
    aliases: BTreeMap<IpAddr, IpAddr>,
    /// Shards that a peer's address lies further than its last octet says.
    shift: u16,
    /// Nothing of the peers comes through.
    is_cut: bool,
    /// The last IKE_SESSION_RESUME request that has come through.
    resume: Vec<u8>,
    now: Instant,
}

impl World {
    fn new(unique: Unique) -> Self {
        #[expect(clippy::disallowed_methods, reason = "any instant is as good as the origin")]
        let now = Instant::now();
        let mut world = Self {
            shards: shards(),
            peers: BTreeMap::new(),
            aliases: BTreeMap::new(),
            shift: 0,
            is_cut: false,
            resume: Vec::new(),
            now,
        };
        let mut connection = connection(HUB, HostSpec::Any, "hub.example", "*.example");
        connection.unique = unique;
        world.load(Arc::new(connection), 0);
        world
    }

    /// Loads a connection everywhere; one shard brings it up.
    fn load(&mut self, connection: Arc<Connection>, home: usize) {
        for (number, shard) in self.shards.iter_mut().enumerate() {
            let connection = Arc::clone(&connection);
            let command = match number == home {
                true => Command::Load(connection),
                false => Command::LoadElsewhere(connection),
            };
            shard.command(command, self.now);
        }
    }

    /// A peer that brings its tunnel up: the request that is done then.
    fn peer_comes(&mut self, last: u8, name: &str) -> RequestId {
        let address = peer(last);
        let mut end = End::new(Endpoint::new(EndpointConfig::default()), last.into());
        let connection = connection(address, HostSpec::Address(HUB), name, "hub.example");
        end.command(Command::Load(Arc::new(connection)), self.now);
        self.peers.insert(address, end);
        self.peer_initiates(last)
    }

    fn peer_initiates(&mut self, last: u8) -> RequestId {
        let request = RequestId(last.into());
        let connection = "tunnel".parse().unwrap();
        let command = Command::Initiate { connection, child: None, request };
        self.peers.get_mut(&peer(last)).unwrap().command(command, self.now);
        request
    }

    /// Delivers everything until nobody has anything to say.
    fn run(&mut self) {
        while self.deliver() {}
    }

    /// The shard that brings a connection up.
    fn home_of(&self, name: &adit_db::ConnectionName) -> usize {
        let is_here = |end: &End| {
            let mut connections = end.endpoint.connections();
            connections.any(|info| info.connection.name == *name && info.is_here)
        };
        self.shards.iter().position(is_here).unwrap_or(0)
    }

    fn deliver(&mut self) -> bool {
        let mut any = false;
        for number in 0..self.shards.len() {
            while let Some(tidings) = self.shards[number].tidings.pop_front() {
                any = true;
                let home = tidings.effort_for().map(|name| self.home_of(name));
                let is_told = |other: &usize| home.map_or(*other != number, |home| home == *other);
                for other in (0..self.shards.len()).filter(is_told) {
                    let End { endpoint, rng, .. } = &mut self.shards[other];
                    endpoint.handle_tidings(tidings.clone(), self.now, rng);
                    self.shards[other].drain(self.now);
                }
            }
            while let Some((path, octets)) = self.shards[number].sent.pop_front() {
                any = true;
                let address = path.remote.ip();
                let address = self.aliases.get(&address).copied().unwrap_or(address);
                if let Some(end) = self.peers.get_mut(&address) {
                    end.endpoint.handle_datagram(reversed(path), &octets, self.now, &mut end.rng);
                    end.drain(self.now);
                }
            }
        }
        let addresses: Vec<IpAddr> = self.peers.keys().copied().collect();
        for address in addresses {
            while let Some((path, octets)) = self.peers.get_mut(&address).unwrap().sent.pop_front()
            {
                any = true;
                if self.is_cut {
                    continue;
                }
                if octets[18] == ExchangeType::IKE_SESSION_RESUME.0 {
                    self.resume.clone_from(&octets);
                }
                self.hub_gets(reversed(path), &octets);
            }
        }
        any
    }

    fn hub_gets(&mut self, path: Path, octets: &[u8]) {
        let number = match Shards::new(SHARDS).addressee(octets) {
            Addressee::Shard(number) => number,
            Addressee::Opening => (home(path.remote.ip()) + self.shift) % SHARDS,
            Addressee::Nobody => return,
        };
        let End { endpoint, rng, .. } = &mut self.shards[usize::from(number)];
        endpoint.handle_datagram(path, octets, self.now, rng);
        self.shards[usize::from(number)].drain(self.now);
    }

    /// Lets time pass, timers and messages with it.
    fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        self.run();
        loop {
            let ends = self.shards.iter().chain(self.peers.values());
            let next = ends.filter_map(|end| end.endpoint.poll_timeout()).min();
            let Some(next) = next.filter(|next| *next <= end) else {
                self.now = end;
                return;
            };
            self.now = self.now.max(next);
            for end in self.shards.iter_mut().chain(self.peers.values_mut()) {
                end.endpoint.handle_timeout(self.now, &mut end.rng);
                end.drain(self.now);
            }
            self.run();
        }
    }

    /// How many IKE SAs are established, by shard.
    fn counts(&self) -> Vec<usize> {
        self.shards.iter().map(|shard| shard.established().len()).collect()
    }
}

fn shards() -> Vec<End> {
    let shards = Shard::all(Shards::new(SHARDS)).into_iter().zip(100..);
    let shard =
        |(shard, seed)| End::new(Endpoint::of_shard(EndpointConfig::default(), shard), seed);
    shards.map(shard).collect()
}

fn peer(last: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(198, 51, 100, last))
}

fn home(address: IpAddr) -> u16 {
    let IpAddr::V4(v4) = address else { panic!("{address} is not IPv4") };
    u16::from(v4.octets()[3]) % SHARDS
}

fn reversed(path: Path) -> Path {
    path.reversed()
}

fn connection(local: IpAddr, remote: HostSpec, local_id: &str, remote_id: &str) -> Connection {
    let mut connection = Connection::new("tunnel".parse().unwrap());
    connection.local_addresses = vec![HostSpec::Address(local)];
    connection.remote_addresses = vec![remote];
    connection.pad.local_id = Some(local_id.parse().unwrap());
    connection.pad.remote_id = remote_id.parse().unwrap();
    connection.dpd_delay = Duration::ZERO;
    let mut child = ChildConfig::new("net".parse().unwrap());
    child.local_ts = vec!["0.0.0.0/0".parse().unwrap()];
    child.remote_ts = vec!["0.0.0.0/0".parse().unwrap()];
    child.keep = Keep::Passive;
    connection.children = vec![child];
    connection
}

/// Many peers come to all shards, no SPI is drawn twice, and ids are one row.
#[test]
fn a_host_of_several_endpoints_takes_many_peers() {
    let mut world = World::new(Unique::Replace);
    for last in 1..=40 {
        world.peer_comes(last, &format!("peer{last}.example"));
    }
    world.run();
    assert_eq!(world.counts(), [20, 20]);
    for (last, end) in (1..=40).map(RequestId).zip(world.peers.values()) {
        assert_eq!(end.done.get(&last), Some(&Ok(())));
    }
    let spis: BTreeSet<Spi> = world.shards.iter().flat_map(|shard| &shard.spis).copied().collect();
    assert_eq!(spis.len(), 40);
    let ids = |end: &End| end.established().into_iter().map(|info| info.id).collect::<Vec<_>>();
    let all: BTreeSet<_> = world.shards.iter().flat_map(ids).collect();
    assert_eq!((all.len(), all.first().unwrap().0, all.last().unwrap().0), (40, 1, 40));
    let reqids = |end: &End| -> BTreeSet<u32> {
        let sas = end.established();
        sas.iter().flat_map(|info| &info.children).map(|child| child.reqid).collect()
    };
    assert_eq!(reqids(&world.shards[0]), reqids(&world.shards[1]));
}

/// RFC 7296 §2.4: a peer that has lost its state and comes back from another address, and so to another
/// endpoint, has one IKE SA.
#[test]
fn initial_contact_is_heard_by_the_other_endpoints() {
    let mut world = World::new(Unique::Never);
    world.peer_comes(2, "peer.example");
    world.run_for(BACK);
    assert_eq!(world.counts(), [1, 0]);
    world.peers.clear();
    let request = world.peer_comes(3, "peer.example");
    world.run();
    assert_eq!(world.peers[&peer(3)].done.get(&request), Some(&Ok(())));
    assert_eq!(world.counts(), [0, 1]);
    world.run_for(BACK);
    assert_eq!(world.counts(), [0, 1]);
}

/// CHECKLIST F24: whether both stay, the new one or the old one does not depend on where they are.
#[test]
fn uniqueness_holds_across_endpoints() {
    for (unique, counts) in
        [(Unique::Replace, [0, 1]), (Unique::Keep, [1, 0]), (Unique::Never, [1, 1])]
    {
        let mut world = World::new(unique);
        world.peer_comes(2, "peer.example");
        world.run_for(BACK);
        // The peer knows both its IKE SAs, so it does not say INITIAL_CONTACT.
        world.aliases.insert(peer(3), peer(2));
        let mut second = connection(peer(3), HostSpec::Address(HUB), "peer.example", "hub.example");
        second.name = "second".parse().unwrap();
        second.unique = Unique::Never;
        let request = RequestId(3);
        let end = world.peers.get_mut(&peer(2)).unwrap();
        let initiate = Command::Initiate { connection: second.name.clone(), child: None, request };
        end.command(Command::Load(Arc::new(second)), world.now);
        end.command(initiate, world.now);
        world.run();
        assert_eq!(world.counts(), counts, "{unique:?}");
    }
}

/// Both come up at the same moment on two endpoints: one remains, and not none.
#[test]
fn of_two_that_come_at_once_one_remains() {
    let mut world = World::new(Unique::Replace);
    world.peer_comes(2, "peer.example");
    world.peer_comes(3, "peer.example");
    // The tidings of both are on their way while both come up.
    for _ in 0..8 {
        let mut held: Vec<VecDeque<Tidings>> = Vec::new();
        for shard in &mut world.shards {
            held.push(std::mem::take(&mut shard.tidings));
        }
        world.deliver();
        for (shard, mut before) in world.shards.iter_mut().zip(held) {
            before.append(&mut shard.tidings);
            shard.tidings = before;
        }
    }
    world.run();
    assert_eq!(world.counts().iter().sum::<usize>(), 1);
}

/// A connection is brought up by one endpoint; a command that waits goes to the other with it.
#[test]
fn a_connection_is_brought_up_by_one_endpoint() {
    let mut world = World::new(Unique::Replace);
    let mut tunnel = connection(HUB, HostSpec::Address(peer(9)), "hub.example", "nine.example");
    tunnel.children[0].keep = Keep::Up;
    tunnel.children[0].name = "kept".parse().unwrap();
    world.load(Arc::new(tunnel), 1);
    let sent = |world: &World| world.shards.iter().map(|end| end.sent.len()).collect::<Vec<_>>();
    assert_eq!(sent(&world), [0, 1]);

    let (connection, request) =
        ("tunnel".parse::<adit_db::ConnectionName>().unwrap(), RequestId(7));
    let initiate = Command::Initiate { connection: connection.clone(), child: None, request };
    world.shards[1].command(initiate, world.now);
    for (shard, here) in [(1, false), (0, true)] {
        let connection = connection.clone();
        world.shards[shard].command(Command::BringUp { connection, here }, world.now);
    }
    assert_eq!(sent(&world), [1, 1]);
    assert!(world.shards[1].endpoint.is_idle());

    let mut nine = End::new(Endpoint::new(EndpointConfig::default()), 9);
    let passive = self::connection(peer(9), HostSpec::Address(HUB), "nine.example", "hub.example");
    nine.command(Command::Load(Arc::new(passive)), world.now);
    world.peers.insert(peer(9), nine);
    world.run();
    assert_eq!(world.counts(), [1, 0]);
    assert_eq!(world.shards[0].done.get(&request), Some(&Ok(())));
}

/// What a command and a packet want goes where the connection is brought up, also if that is again the
/// endpoint that left it to others while it was on the way.
#[test]
fn what_is_wanted_comes_back_with_the_connection() {
    let mut world = World::new(Unique::Replace);
    let mut tunnel = connection(HUB, HostSpec::Address(peer(9)), "hub.example", "nine.example");
    tunnel.children[0].name = "wanted".parse().unwrap();
    let name: adit_db::ConnectionName = "tunnel".parse().unwrap();
    world.load(Arc::new(tunnel), 1);
    let request = RequestId(7);
    let initiate = Command::Initiate { connection: name.clone(), child: None, request };
    world.shards[1].command(initiate, world.now);
    for here in [false, true] {
        let connection = name.clone();
        world.shards[1].command(Command::BringUp { connection, here }, world.now);
    }
    assert!(world.shards[1].endpoint.is_idle());

    let mut nine = End::new(Endpoint::new(EndpointConfig::default()), 9);
    let passive = connection(peer(9), HostSpec::Address(HUB), "nine.example", "hub.example");
    nine.command(Command::Load(Arc::new(passive)), world.now);
    world.peers.insert(peer(9), nine);
    world.run();
    assert_eq!(world.counts(), [0, 1]);
    assert_eq!(world.shards[1].done.get(&request), Some(&Ok(())));

    // Nobody has the connection any more: that is said once.
    let initiate =
        Command::Initiate { connection: name.clone(), child: None, request: RequestId(8) };
    world.shards[0].command(Command::Unload(name), world.now);
    world.shards[0].command(initiate, world.now);
    world.run();
    assert!(matches!(world.shards[0].done.get(&RequestId(8)), Some(Err(_))));
}

/// What an operator says of a connection holds wherever it is brought up next.
#[test]
fn what_is_held_down_stays_down_elsewhere() {
    let mut world = World::new(Unique::Replace);
    world.peer_comes(2, "peer.example");
    world.run();
    let id = world.shards[0].established()[0].id;
    let request = RequestId(70);
    world.shards[0].command(Command::TerminateIke { id, request }, world.now);
    world.run();
    assert_eq!(world.shards[0].done.get(&request), Some(&Ok(())));
    let held = |end: &End| end.endpoint.connections().all(|info| info.held_down);
    assert!(world.shards.iter().all(held));
    assert_eq!(world.counts(), [0, 0]);
}

/// Whatever SPI a stranger writes, no endpoint has it, and few are answered.
#[test]
fn spis_that_nobody_has_chosen_lead_nowhere() {
    let mut world = World::new(Unique::Replace);
    world.peer_comes(2, "peer.example");
    world.run();
    let before = world.counts();
    let path = Path::udp(SocketAddr::new(HUB, 500), SocketAddr::new(peer(77), 500));
    for first in 0..=u16::MAX {
        let mut octets = vec![9; 8];
        octets.extend(first.to_be_bytes());
        octets.extend([1; 6]);
        // An encrypted payload, long enough for an answer that is no longer than the request.
        octets.extend([46, 0x20, 37, 0x08, 0, 0, 0, 0, 0, 0, 0, 128, 0, 0, 0, 100]);
        octets.resize(128, 7);
        world.hub_gets(path, &octets);
    }
    // RFC 7296 §2.21.4: at most so many answers a second, of the whole host.
    let answers: usize = world.shards.iter().map(|shard| shard.sent.len()).sum();
    assert_eq!(answers, 20);
    assert_eq!(world.counts(), before);
}

/// The hub takes tickets, as often as it is called since it has lost all else.
fn takes_tickets(world: &mut World) {
    let mut connection = connection(HUB, HostSpec::Any, "hub.example", "*.example");
    (connection.unique, connection.resumption) = (Unique::Never, true);
    world.load(Arc::new(connection), 0);
    let keys = Arc::new(TicketKeys::generate(1_800_000_000, &mut SeededRng::new(5)));
    for shard in &mut world.shards {
        let keys = Arc::clone(&keys);
        shard.command(Command::UseTicketKeys { keys, now_s: 1_800_000_000 }, world.now);
    }
}

/// RFC 5723 §4.3.4: an interrupted session comes back to another endpoint than the one that had it,
/// which forgets it; and a ticket that one endpoint has taken no other takes.
#[test]
fn a_ticket_is_used_up_on_all_endpoints() {
    let is_resumed = |end: &End| end.established().iter().all(|info| info.resumed);
    for is_lost in [false, true] {
        let mut world = World::new(Unique::Never);
        takes_tickets(&mut world);
        let mut end = End::new(Endpoint::new(EndpointConfig::default()), 2);
        let mut client = connection(peer(2), HostSpec::Address(HUB), "a.example", "hub.example");
        (client.resumption, client.dpd_delay) = (true, Duration::from_secs(10));
        client.children[0].keep = Keep::Up;
        end.command(Command::Load(Arc::new(client)), world.now);
        world.peers.insert(peer(2), end);
        world.run();
        assert_eq!(world.counts(), [1, 0]);

        world.is_cut = true;
        world.run_for(Duration::from_secs(150));
        assert!(world.peers[&peer(2)].established().is_empty());
        (world.is_cut, world.shift) = (false, 1);
        if is_lost {
            world.shards = shards();
            takes_tickets(&mut world);
        }
        world.run_for(Duration::from_secs(100));
        assert_eq!(world.counts(), [0, 1]);
        assert!(is_resumed(&world.shards[1]) && is_resumed(&world.peers[&peer(2)]));
        assert_eq!(world.shards[0].endpoint.ike_sas().count(), 0);

        // The thief comes to the other endpoint.
        world.resume[0] ^= 1;
        let path = Path::udp(SocketAddr::new(HUB, 500), SocketAddr::new(peer(3), 500));
        let resume = world.resume.clone();
        world.hub_gets(path, &resume);
        let (_, answer) = world.shards[0].sent.pop_back().unwrap();
        assert!(answer.ends_with(&NotifyType::TICKET_NACK.0.to_be_bytes()), "{is_lost}");
    }
}
