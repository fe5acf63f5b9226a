//! The network between two peers: delay, loss, duplication, reordering, a NAT, an MTU.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use adit_crypto::{Rng, SeededRng};
use adit_ike::{Path, TcpProblem, Transport};
use adit_wire::esp::Spi;

use crate::ladder::{Fate, MessageView};
use crate::pair::Side;

/// How bad the network is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Faults {
    /// Datagrams that never arrive, in percent.
    pub loss_percent: u8,
    /// Datagrams that arrive twice, in percent.
    pub duplicate_percent: u8,
    /// Shortest way.
    pub delay_min: Duration,
    /// Longest way; datagrams overtake each other when it differs from the shortest.
    pub delay_max: Duration,
}

impl Faults {
    /// Ten milliseconds, in order, everything arrives.
    pub const NONE: Self = Self {
        loss_percent: 0,
        duplicate_percent: 0,
        delay_min: Duration::from_millis(10),
        delay_max: Duration::from_millis(10),
    };
}

/// A NAT in front of the left side: it gives each of its addresses a port of a public one.
#[derive(Clone, Debug)]
pub struct Nat {
    public: IpAddr,
    next_port: u16,
    mappings: BTreeMap<SocketAddr, u16>,
}

impl Nat {
    /// A NAT with this public address.
    pub fn new(public: IpAddr) -> Self {
        Self { public, next_port: 20_000, mappings: BTreeMap::new() }
    }

    /// Forgets all mappings, as after a restart: the next datagram gets another port.
    pub fn forget(&mut self) {
        self.mappings.clear();
    }

    /// Gets another public address and forgets all mappings.
    pub(crate) fn move_to(&mut self, public: IpAddr) {
        self.public = public;
        self.forget();
    }

    /// The public address.
    pub(crate) fn public(&self) -> IpAddr {
        self.public
    }

    /// Where a datagram from inside seems to come from.
    pub(crate) fn outward(&mut self, source: SocketAddr) -> SocketAddr {
        let port = *self.mappings.entry(source).or_insert_with(|| {
            self.next_port += 1;
            self.next_port
        });
        SocketAddr::new(self.public, port)
    }

    /// Whom a datagram from outside is for.
    pub(crate) fn inward(&self, destination: SocketAddr) -> Option<SocketAddr> {
        let mut mappings = self.mappings.iter();
        mappings.find(|(_, port)| **port == destination.port()).map(|(source, _)| *source)
    }
}

/// What travels.
#[derive(Clone, Debug)]
pub(crate) enum Letter {
    /// An IKE message.
    Ike(Vec<u8>),
    /// An ESP packet: its SPI, and the digest of the keys it was sealed with.
    /// `number` grows with each that a side sends.
    Esp { spi: Spi, keys: [u8; 20], number: u64 },
    /// A NAT keepalive.
    Keepalive,
    /// The TCP connection is gone, or could not be made.
    TcpLost(TcpProblem),
}

/// A datagram that has arrived.
#[derive(Clone, Debug)]
pub(crate) struct Arrival {
    pub(crate) to: Side,
    /// As the receiver sees it.
    pub(crate) path: Path,
    pub(crate) letter: Letter,
}

/// An IKE message as it was sent, whether it arrived or not.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// Who should get it.
    pub to: Side,
    /// The addresses as the receiver sees them.
    pub path: Path,
    /// The IKE message.
    pub octets: Vec<u8>,
}

type Intercept = Box<dyn FnMut(&MessageView) -> Fate>;

/// The way between the two sides.
pub struct Network {
    /// How bad it is; may change at any time.
    pub faults: Faults,
    /// Whether there is a NAT in front of the left side.
    pub nat: Option<Nat>,
    /// Longest IKE message that gets through.
    pub mtu_octets: Option<usize>,
    /// Whether nothing gets through at all.
    pub cut: bool,
    /// Whether no datagram gets through; TCP does.
    pub udp_blocked: bool,
    /// Whether nobody listens for TCP connections.
    pub tcp_refused: bool,
    /// A port that nothing gets through to.
    pub blocked_port: Option<u16>,
    /// Pairs of addresses, one of each side, between which nothing gets through.
    pub dead: Vec<(IpAddr, IpAddr)>,
    /// The addresses that each side has now; what is sent to or from any other is lost. The right side
    /// has all until it is said to have moved.
    left: Vec<IpAddr>,
    right: Vec<IpAddr>,
    under_way: BTreeMap<(Instant, u64), Arrival>,
    /// TCP connections as whoever has opened them sees them.
    tcp: BTreeMap<Path, Side>,
    sent: u64,
    intercept: Option<Intercept>,
    record: Option<Vec<Recorded>>,
    rng: SeededRng,
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Network")
            .field("faults", &self.faults)
            .field("under_way", &self.under_way.len())
            .finish_non_exhaustive()
    }
}

impl Network {
    pub(crate) fn new(left: IpAddr, faults: Faults, rng: SeededRng) -> Self {
        Self {
            faults,
            nat: None,
            mtu_octets: None,
            cut: false,
            udp_blocked: false,
            tcp_refused: false,
            blocked_port: None,
            dead: Vec::new(),
            left: vec![left],
            right: Vec::new(),
            under_way: BTreeMap::new(),
            tcp: BTreeMap::new(),
            sent: 0,
            intercept: None,
            record: None,
            rng,
        }
    }

    /// A side has these addresses and no others from now on.
    pub(crate) fn set_addresses(&mut self, side: Side, addresses: &[IpAddr]) {
        match side {
            Side::Left => self.left = addresses.to_vec(),
            Side::Right => self.right = addresses.to_vec(),
        }
    }

    /// Asks `decide` about every IKE message from now on; [`Fate::Deliver`] leaves it to
    /// [`Network::faults`].
    pub fn intercept(&mut self, decide: impl FnMut(&MessageView) -> Fate + 'static) {
        self.intercept = Some(Box::new(decide));
    }

    /// Asks nobody any more.
    pub fn stop_intercepting(&mut self) {
        self.intercept = None;
    }

    /// Keeps a copy of every IKE message from now on.
    pub fn record(&mut self) {
        self.record = Some(Vec::new());
    }

    /// The messages since [`Network::record`], oldest first.
    pub fn recorded(&self) -> &[Recorded] {
        self.record.as_deref().unwrap_or_default()
    }

    /// How many datagrams are under way, not counting keepalives and ESP.
    pub(crate) fn messages_under_way(&self) -> usize {
        self.under_way.values().filter(|arrival| matches!(arrival.letter, Letter::Ike(_))).count()
    }

    pub(crate) fn next_arrival(&self) -> Option<Instant> {
        self.under_way.keys().next().map(|(at, _)| *at)
    }

    /// TCP connections that stand.
    pub fn tcp_connections(&self) -> usize {
        self.tcp.len()
    }

    /// Breaks every TCP connection: what is under way is lost, and only who has opened it hears of it.
    pub(crate) fn break_tcp(&mut self, now: Instant) {
        self.under_way.retain(|_, arrival| !arrival.path.is_tcp());
        for (path, side) in std::mem::take(&mut self.tcp) {
            self.put(now, Arrival { to: side, path, letter: Letter::TcpLost(TcpProblem::Closed) });
        }
    }

    /// Closes a connection from the end that has opened it.
    pub(crate) fn hang_up(&mut self, path: Path) {
        self.tcp.remove(&path);
    }

    /// A stream: all arrives, in order, or the connection is gone.
    fn send_tcp(&mut self, from: Side, path: Path, letter: Letter, now: Instant) -> Fate {
        let originates = path.transport == Transport::TcpOriginator;
        if originates && self.tcp_refused && !self.tcp.contains_key(&path) {
            let letter = Letter::TcpLost(TcpProblem::Refused);
            self.put(now, Arrival { to: from, path, letter });
            return Fate::Lose;
        }
        let Some(arrival) = self.route(from, path, letter) else { return Fate::Lose };
        if originates {
            self.tcp.insert(path, from);
        } else if !self.tcp.contains_key(&arrival.path) {
            return Fate::Lose;
        }
        self.put(now, arrival);
        Fate::Deliver
    }

    fn put(&mut self, now: Instant, arrival: Arrival) {
        self.sent += 1;
        self.under_way.insert((now + self.faults.delay_max, self.sent), arrival);
    }

    /// Takes one datagram from `from` and says what becomes of it.
    pub(crate) fn send(&mut self, from: Side, path: Path, letter: Letter, now: Instant) -> Fate {
        if path.is_tcp() {
            return self.send_tcp(from, path, letter, now);
        }
        let fate = self.fate(from, &letter);
        let Some(arrival) = self.route(from, path, letter) else {
            return Fate::Lose;
        };
        if let (Some(record), Letter::Ike(octets)) = (&mut self.record, &arrival.letter) {
            let (to, path, octets) = (arrival.to, arrival.path, octets.clone());
            record.push(Recorded { to, path, octets });
        }
        let copies = match fate {
            Fate::Lose => 0,
            Fate::Deliver | Fate::Delay(_) => 1,
            Fate::Duplicate => 2,
        };
        let extra = match fate {
            Fate::Delay(delay) => delay,
            Fate::Deliver | Fate::Duplicate | Fate::Lose => Duration::ZERO,
        };
        for _ in 0..copies {
            self.sent += 1;
            let at = now + self.delay() + extra;
            self.under_way.insert((at, self.sent), arrival.clone());
        }
        fate
    }

    /// The next datagram that has arrived by `now`.
    pub(crate) fn arrival(&mut self, now: Instant) -> Option<Arrival> {
        let entry = self.under_way.first_entry()?;
        (entry.key().0 <= now).then(|| entry.remove())
    }

    fn fate(&mut self, from: Side, letter: &Letter) -> Fate {
        if self.cut || self.udp_blocked {
            return Fate::Lose;
        }
        if let Letter::Ike(octets) = letter {
            if self.mtu_octets.is_some_and(|mtu| octets.len() > mtu) {
                return Fate::Lose;
            }
            let decided = match (&mut self.intercept, MessageView::read(from, octets)) {
                (Some(decide), Some(view)) => decide(&view),
                _ => Fate::Deliver,
            };
            if decided != Fate::Deliver {
                return decided;
            }
        }
        let percent = u8::try_from(self.rng.next_u32() % 100).unwrap_or(0);
        if percent < self.faults.loss_percent {
            return Fate::Lose;
        }
        let percent = u8::try_from(self.rng.next_u32() % 100).unwrap_or(0);
        if percent < self.faults.duplicate_percent { Fate::Duplicate } else { Fate::Deliver }
    }

    fn route(&mut self, from: Side, path: Path, letter: Letter) -> Option<Arrival> {
        let has = |own: &[IpAddr], address: IpAddr| own.is_empty() || own.contains(&address);
        let own = if from == Side::Left { &self.left } else { &self.right };
        let is_ours = has(own, path.local.ip());
        let is_dead = |(ours, theirs): &(IpAddr, IpAddr)| {
            let pair = (path.local.ip(), path.remote.ip());
            pair == (*ours, *theirs) || pair == (*theirs, *ours)
        };
        if !is_ours || self.dead.iter().any(is_dead) {
            return None;
        }
        let path = path.reversed();
        let nat = self.nat.as_mut().filter(|_| path.local.is_ipv4());
        let path = match (from, nat) {
            (_, None) => path,
            (Side::Left, Some(nat)) => Path { remote: nat.outward(path.remote), ..path },
            (Side::Right, Some(nat)) => Path { local: nat.inward(path.local)?, ..path },
        };
        // To an address that nobody has, or a port that is closed.
        let destination = path.local.ip();
        let arrives = match from {
            Side::Left => !self.left.contains(&destination) && has(&self.right, destination),
            Side::Right => self.left.contains(&destination),
        };
        if !arrives || self.blocked_port == Some(path.local.port()) {
            return None;
        }
        Some(Arrival { to: from.other(), path, letter })
    }

    fn delay(&mut self) -> Duration {
        let spread = self.faults.delay_max.saturating_sub(self.faults.delay_min);
        let spread_us = u64::try_from(spread.as_micros()).unwrap_or(u64::MAX);
        let extra_us = self.rng.next_u64() % spread_us.saturating_add(1);
        self.faults.delay_min + Duration::from_micros(extra_us)
    }
}
