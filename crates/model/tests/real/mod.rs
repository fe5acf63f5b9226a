//! Two endpoints of `adit-ike`, one clock, and the messages between them.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use adit_crypto::{Secret, SeededRng};
use adit_db::{ChildConfig, Connection, HostSpec, LimitSpec, ProposalSpec, TsSpec};
use adit_ike::{
    ChildSaState, Command, Endpoint, EndpointConfig, IkeSaInfo, IkeSaState, Output, Path, RequestId,
};
use adit_model::parts::{Name, Side};
use adit_model::world::Order;
use adit_wire::Reader;
use adit_wire::iana::{ExchangeType, PayloadType};
use adit_wire::ikev2::Header;

/// Where an IKE SA stands.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum IkeView {
    Established,
    Rekeying,
    Rekeyed,
    Deleting,
}

/// Where a child stands.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum ChildView {
    Installed,
    Rekeying,
    Rekeyed,
    Deleting,
}

/// All that a peer has: IKE SAs with the selectors and states of their children.
pub(crate) type View = Vec<(IkeView, Vec<(u8, ChildView)>)>;

/// A message on its way.
#[derive(Clone, Debug)]
pub(crate) struct Letter {
    to: Side,
    path: Path,
    octets: Vec<u8>,
}

impl Letter {
    fn header(&self) -> Header {
        Header::read(&mut Reader(&self.octets)).unwrap()
    }

    /// Whether it is a CREATE_CHILD_SA, and whether it is a response.
    pub(crate) fn kind(&self) -> (bool, bool) {
        let header = self.header();
        (header.exchange == ExchangeType::CREATE_CHILD_SA, header.flags.is_response())
    }
}

struct Peer {
    endpoint: Endpoint,
    rng: SeededRng,
}

/// Both endpoints.
pub(crate) struct Pair {
    left: Peer,
    right: Peer,
    now: Instant,
    requests: u64,
    /// In the order in which it was sent.
    pub(crate) network: Vec<Letter>,
    /// Whether somebody has begun another handshake since the first.
    pub(crate) opens_another: bool,
}

const SECRET: &[u8] = b"a secret shared by both";

const ADDRESSES: [IpAddr; 2] = [
    IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)),
    IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2)),
];

const NAMES: [&str; 2] = ["net-0", "net-1"];

impl Pair {
    /// Both have an IKE SA with the first child.
    pub(crate) fn established(seed: u64) -> Self {
        let peer = |part| Peer {
            endpoint: Endpoint::new(EndpointConfig::default()),
            rng: SeededRng::new(2 * seed + part),
        };
        let mut pair = Self {
            left: peer(0),
            right: peer(1),
            now: origin(),
            requests: 0,
            network: Vec::new(),
            opens_another: false,
        };
        for (side, place) in [(Side::Left, 0), (Side::Right, 1)] {
            pair.command(side, Command::Load(Arc::new(connection(place))));
        }
        pair.initiate(Side::Left, NAMES[0]);
        while !pair.network.is_empty() {
            pair.deliver(0);
        }
        pair.opens_another = false;
        let up = vec![(IkeView::Established, vec![(0, ChildView::Installed)])];
        assert_eq!(Side::BOTH.map(|side| pair.view(side)), [up.clone(), up]);
        pair
    }

    fn peer(&mut self, side: Side) -> &mut Peer {
        if side == Side::Left { &mut self.left } else { &mut self.right }
    }

    fn request(&mut self) -> RequestId {
        self.requests += 1;
        RequestId(self.requests)
    }

    fn command(&mut self, side: Side, command: Command) {
        let now = self.now;
        let Peer { endpoint, rng } = self.peer(side);
        endpoint.handle_command(command, now, rng);
        self.drain(side);
    }

    fn initiate(&mut self, side: Side, name: &str) {
        let (connection, request) = ("tunnel".parse().unwrap(), self.request());
        let child = Some(name.parse().unwrap());
        self.command(side, Command::Initiate { connection, child, request });
    }

    /// Gives an order; `place` is that of the child among all of the IKE SA.
    pub(crate) fn order(&mut self, side: Side, order: Order, place: Option<usize>) {
        let info = self.usable(side);
        let child = place.map(|place| info.children[place].id);
        let request = self.request();
        match (order, child) {
            (Order::Create(Name(name)), _) => self.initiate(side, NAMES[usize::from(name)]),
            (Order::RekeyIke, _) => self.command(side, Command::RekeyIke(info.id)),
            (Order::DeleteIke, _) => {
                self.command(side, Command::TerminateIke { id: info.id, request });
            }
            (Order::RekeyChild(_), Some(id)) => self.command(side, Command::RekeyChild(id)),
            (Order::DeleteChild(_), Some(id)) => {
                self.command(side, Command::TerminateChild { id, request });
            }
            (Order::RekeyChild(_) | Order::DeleteChild(_), None) => panic!("no such child"),
        }
    }

    fn usable(&mut self, side: Side) -> IkeSaInfo {
        let is_usable =
            |info: &IkeSaInfo| matches!(info.state, IkeSaState::Established | IkeSaState::Rekeying);
        self.peer(side).endpoint.ike_sas().find(is_usable).unwrap()
    }

    /// The message at this place arrives.
    pub(crate) fn deliver(&mut self, place: usize) {
        let Letter { to, path, octets } = self.network.remove(place);
        let now = self.now;
        let Peer { endpoint, rng } = self.peer(to);
        endpoint.handle_datagram(path, &octets, now, rng);
        self.drain(to);
    }

    /// Time goes on until a timer is due; whose.
    pub(crate) fn tick(&mut self) -> Vec<Side> {
        let due = |pair: &mut Self, side| pair.peer(side).endpoint.poll_timeout();
        let times = Side::BOTH.map(|side| due(self, side));
        let Some(next) = times.into_iter().flatten().min() else { return Vec::new() };
        self.now = self.now.max(next);
        let now = self.now;
        let is_due = |(_, at): &(Side, Option<Instant>)| at.is_some_and(|at| at <= now);
        let sides = Side::BOTH.into_iter().zip(times).filter(is_due).map(|(side, _)| side);
        let sides: Vec<Side> = sides.collect();
        for side in &sides {
            let Peer { endpoint, rng } = self.peer(*side);
            endpoint.handle_timeout(now, rng);
            self.drain(*side);
        }
        sides
    }

    fn drain(&mut self, side: Side) {
        let now = self.now;
        while let Some(output) = self.peer(side).endpoint.poll_output() {
            if let Output::Transmit { path, octets } = output {
                let path = path.reversed();
                self.send(Letter { to: side.other(), path, octets });
            } else if let Output::Auth(job) = output {
                let result = job.answer(&Secret::from_slice(SECRET));
                let Peer { endpoint, rng } = self.peer(side);
                endpoint.handle_auth(job.job, result, now, rng);
            } else if let Output::Resolve { job, .. } = output {
                let address = ADDRESSES[usize::from(side == Side::Right)];
                let Peer { endpoint, rng } = self.peer(side);
                endpoint.handle_resolved(job, vec![address], now, rng);
            }
        }
    }

    fn send(&mut self, letter: Letter) {
        let header = letter.header();
        self.opens_another |= header.exchange == ExchangeType::IKE_SA_INIT;
        // What nobody protects says that an IKE SA is not known; the model does without.
        if header.next_payload != PayloadType::NOTIFY {
            self.network.push(letter);
        }
    }

    /// All that one peer has.
    pub(crate) fn view(&self, side: Side) -> View {
        let peer = if side == Side::Left { &self.left } else { &self.right };
        let mut views: View = peer.endpoint.ike_sas().map(|info| view(&info)).collect();
        views.sort();
        views
    }
}

fn view(info: &IkeSaInfo) -> (IkeView, Vec<(u8, ChildView)>) {
    let state = match info.state {
        IkeSaState::Connecting => panic!("a handshake"),
        IkeSaState::Established => IkeView::Established,
        IkeSaState::Rekeying => IkeView::Rekeying,
        IkeSaState::Rekeyed => IkeView::Rekeyed,
        IkeSaState::Deleting => IkeView::Deleting,
    };
    let children = info.children.iter().map(|child| {
        let state = match child.state {
            ChildSaState::Installed => ChildView::Installed,
            ChildSaState::Rekeying => ChildView::Rekeying,
            ChildSaState::Rekeyed => ChildView::Rekeyed,
            ChildSaState::Deleting => ChildView::Deleting,
        };
        (u8::from(child.name.to_string() == NAMES[1]), state)
    });
    (state, children.collect())
}

/// One side's configuration. One key exchange, and the cheapest.
fn connection(place: usize) -> Connection {
    let (ours, theirs) = if place == 0 { (0, 1) } else { (1, 0) };
    let mut connection = Connection::new("tunnel".parse().unwrap());
    connection.local_addresses = vec![HostSpec::Address(ADDRESSES[ours])];
    connection.remote_addresses = vec![HostSpec::Address(ADDRESSES[theirs])];
    let identity = |place: usize| format!("side-{place}.example");
    connection.pad.local_id = Some(identity(ours).parse().unwrap());
    connection.pad.remote_id = identity(theirs).parse().unwrap();
    connection.proposals = ProposalSpec::ike_list("aes128gcm16-prfsha256-x25519").unwrap();
    connection.dpd_delay = Duration::ZERO;
    connection.rekey_time = Duration::ZERO;
    connection.children = NAMES
        .iter()
        .enumerate()
        .map(|(number, name)| {
            let mut child = ChildConfig::new(name.parse().unwrap());
            let selector =
                |side: usize| -> TsSpec { format!("10.{side}.{number}.0/24").parse().unwrap() };
            child.proposals = ProposalSpec::esp_list("aes128gcm16-noesn").unwrap();
            child.lifetime.seconds = LimitSpec { soft: 0, hard: 0, rand: 0 };
            child.local_ts = vec![selector(ours)];
            child.remote_ts = vec![selector(theirs)];
            child
        })
        .collect();
    connection
}

#[expect(clippy::disallowed_methods, reason = "any instant is as good as the origin of a run")]
fn origin() -> Instant {
    Instant::now()
}
