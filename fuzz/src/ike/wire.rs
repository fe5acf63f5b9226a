//! Two hosts, the letters between them, and somebody who holds the wire.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use adit_ike::{Command, Path};
use adit_wire::Reader;
use adit_wire::iana::ExchangeType;
use adit_wire::ikev2::Header;
use adit_wire::isakmp;

use super::host::Host;
use super::isakmp::IsakmpSession;
use super::setup::{LEFT, RIGHT, Setup};
use super::tracks::Tracks;
use crate::start;

/// One of the two hosts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Side {
    /// 192.0.2.1.
    Left,
    /// 203.0.113.2.
    Right,
}

/// A datagram on its way.
#[derive(Clone, Debug)]
pub struct Letter {
    /// Who it goes to.
    pub to: Side,
    /// As the receiver sees it.
    pub path: Path,
    /// The message.
    pub octets: Vec<u8>,
}

/// Both hosts and the wire.
pub struct World {
    /// One host.
    pub left: Host,
    /// The other.
    pub right: Host,
    /// Letters, the oldest first.
    pub wire: VecDeque<Letter>,
    /// Everything the hosts have sent.
    genuine: BTreeSet<Vec<u8>>,
    /// What was sealed under which key and IV.
    sealed: BTreeMap<(Vec<u8>, Vec<u8>), Vec<u8>>,
    /// Requests that were sent.
    pub(super) sent: Tracks,
    /// Requests that have arrived.
    pub(super) arrived: Tracks,
    /// ISAKMP SAs that have come up, the newest last.
    pub isakmp: Vec<IsakmpSession>,
}

impl Side {
    /// The other one.
    pub fn other(self) -> Self {
        match self {
            Self::Left => Self::Right,
            Self::Right => Self::Left,
        }
    }

    /// Its address.
    pub(super) fn address(self) -> IpAddr {
        match self {
            Self::Left => LEFT,
            Self::Right => RIGHT,
        }
    }
}

impl World {
    /// Two hosts, nothing sent but what configuration asks for.
    pub fn new(setup: &Setup) -> Self {
        let now = start();
        let mut world = Self {
            left: Host::new(&setup.config, &setup.left, LEFT, 1, now),
            right: Host::new(&setup.config, &setup.right, RIGHT, 2, now),
            wire: VecDeque::new(),
            genuine: BTreeSet::new(),
            sealed: BTreeMap::new(),
            sent: Tracks::default(),
            arrived: Tracks::default(),
            isakmp: Vec::new(),
        };
        world.collect();
        world
    }

    /// A host.
    pub fn host(&mut self, side: Side) -> &mut Host {
        match side {
            Side::Left => &mut self.left,
            Side::Right => &mut self.right,
        }
    }

    /// Puts what the hosts have sent on the wire.
    pub fn collect(&mut self) {
        for side in [Side::Left, Side::Right] {
            for keys in std::mem::take(&mut self.host(side).isakmp_keys) {
                let cookies = (keys.cookie_i, keys.cookie_r);
                if self.isakmp.iter().all(|known| known.cookies() != cookies) {
                    self.isakmp.push(IsakmpSession::new(Rc::new(keys)));
                }
            }
            while let Some((path, octets)) = self.host(side).outbox.pop_front() {
                self.watch(side, &octets);
                if path.remote.ip() == side.other().address() {
                    let path = path.reversed();
                    self.wire.push_back(Letter { to: side.other(), path, octets });
                }
            }
        }
        while self.wire.len() > WIRE_MAX {
            self.wire.pop_front();
        }
    }

    /// Notes what a host has sent. RFC 5282 §3.1: no key seals two messages with one IV.
    fn watch(&mut self, from: Side, octets: &[u8]) {
        self.sent.note(octets);
        if !self.genuine.insert(octets.to_vec()) {
            return;
        }
        self.isakmp.iter_mut().for_each(|session| session.note(octets));
        let Ok(header) = Header::read(&mut Reader(octets)) else { return };
        let session = self.host(from).keys.find(&header);
        if let Some(key_and_iv) = session.and_then(|session| session.key_and_iv(octets)) {
            let before = self.sealed.insert(key_and_iv, octets.to_vec());
            assert_eq!(before, None, "one IV for two messages");
        }
    }

    /// Whether a host has sent exactly this, or what nothing tells from it.
    pub(super) fn is_genuine(&self, octets: &[u8]) -> bool {
        self.genuine.contains(octets) || self.is_as_good(octets)
    }

    /// Whether nothing tells an encrypted message of IKEv1 from what a host has sent: HASH_I and HASH_R
    /// cover nothing but the identity (RFC 2409 §5), the other hashes neither the exchange type, nor
    /// flags, nor padding (RFC 2409 §5.5).
    fn is_as_good(&self, octets: &[u8]) -> bool {
        let Ok(header) = isakmp::Header::read(&mut Reader(octets)) else { return false };
        if !header.flags.is_encrypted() {
            return false;
        }
        if header.message_id == 0 {
            return true;
        }
        let body = octets.get(Header::LEN..).unwrap_or_default();
        self.genuine.iter().any(|known| {
            let known = known.get(Header::LEN..).unwrap_or_default();
            !known.is_empty() && body.starts_with(known)
        })
    }

    /// A letter arrives. Returns the lengths of what its receiver sends at once.
    pub fn deliver(&mut self, letter: &Letter) -> Vec<usize> {
        self.arrived.note(&letter.octets);
        let answers = self.host(letter.to).datagram(letter.path, &letter.octets);
        self.collect();
        answers
    }

    /// Lets letters arrive in order until there are none, at most so many.
    pub fn run(&mut self, letters_max: usize) {
        for _ in 0..letters_max {
            let Some(letter) = self.wire.pop_front() else { return };
            self.deliver(&letter);
        }
    }

    /// Time passes.
    pub fn pass(&mut self, time: Duration) {
        self.left.pass(time);
        self.right.pass(time);
        self.collect();
    }

    /// Time passes and letters arrive, as long as `go_on` says so, for at most so long.
    pub fn live(&mut self, time: Duration, go_on: impl Fn(&Self) -> bool) -> bool {
        let mut left = time;
        self.run(LETTERS_AT_ONCE_MAX);
        while go_on(self) {
            if left.is_zero() {
                return false;
            }
            let next = [self.left.next_timeout(), self.right.next_timeout()];
            let step = next.into_iter().flatten().min().unwrap_or(left);
            let step = step.clamp(Duration::from_millis(1), Duration::from_secs(5)).min(left);
            left -= step;
            self.pass(step);
            self.run(LETTERS_AT_ONCE_MAX);
            assert!(self.wire.is_empty(), "the hosts never stop talking");
        }
        true
    }

    /// The left host begins to set up what it is configured with.
    pub fn begin(&mut self) {
        let request = self.left.request();
        let connection = self.left.connection().name.clone();
        self.left.command(Command::Initiate { connection, child: None, request });
        self.collect();
    }

    /// Letters arrive until the next one would authenticate somebody, at most so many.
    pub fn run_unauthenticated(&mut self, letters_max: usize) {
        for _ in 0..letters_max {
            let is_auth = |letter: &Letter| {
                let header = Header::read(&mut Reader(&letter.octets));
                let isakmp = isakmp::Header::read(&mut Reader(&letter.octets));
                header.is_ok_and(|header| header.exchange == ExchangeType::IKE_AUTH)
                    || isakmp.is_ok_and(|header| header.flags.is_encrypted())
            };
            if self.wire.front().is_none_or(is_auth) {
                return;
            }
            self.run(1);
        }
    }

    /// Both hosts are up.
    pub fn up(&mut self) {
        self.begin();
        let down = |world: &Self| world.left.ups == 0 || world.right.ups == 0;
        assert!(self.live(Duration::from_secs(30), down), "not up");
        self.run(LETTERS_AT_ONCE_MAX);
    }

    /// The attack is over: with both hosts configured as in the beginning, the tunnel comes up
    /// within that time.
    pub fn calm(&mut self, time: Duration) {
        for side in [Side::Left, Side::Right] {
            let host = self.host(side);
            host.release_jobs();
            host.restore();
        }
        self.collect();
        let down = |world: &Self| {
            let names = |host: &Host| -> Vec<_> {
                let infos = host.endpoint().ike_sas();
                infos.flat_map(|info| info.children).map(|child| child.name).collect()
            };
            let (left, right) = (names(&world.left), names(&world.right));
            !world
                .left
                .connection()
                .children
                .iter()
                .all(|child| left.contains(&child.name) && right.contains(&child.name))
        };
        assert!(self.live(time, down), "the tunnel does not come up");
    }

    /// The victim is told to stop, and nobody answers it: soon nothing is left.
    pub fn end(&mut self, victim: Side) {
        let host = self.host(victim);
        host.release_jobs();
        host.command(Command::Shutdown);
        host.pass(Duration::from_secs(120));
        assert!(host.endpoint().is_idle(), "something goes on after the end");
        assert!(host.installed().is_empty(), "child SAs stay in the packet engine");
        assert_eq!(host.endpoint().ike_sas().count(), 0, "IKE SAs stay");
        assert_eq!(host.next_timeout(), None, "a timer stays");
    }

    /// How the hosts see each other in the beginning.
    pub fn first_path(at: Side) -> Path {
        Path::udp(SocketAddr::new(at.address(), 500), SocketAddr::new(at.other().address(), 500))
    }
}

const LETTERS_AT_ONCE_MAX: usize = 200;
/// Letters on the wire.
pub(super) const WIRE_MAX: usize = 64;
