//! Sockets connected to the busiest peers: a message to one of them needs no look at the routes.
//!
//! What such a peer sends comes to its socket, too, so the inbound thread holds a handle to it: it gets
//! that before the socket is connected, and keeps it for a while after it was turned away.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd as _;
use std::sync::mpsc::TrySendError;
use std::time::{Duration, Instant};

use adit_mgmt::api::EnginePath;
use adit_sys::netlink::Family;
use adit_sys::udp::{ConnectedSocket, DualUdpSocket, SocketOptions};
use adit_sys::wake::CommandSender;
use adit_wire::PacketMeta;
use tracing::{debug, info};

use crate::message::{SocketNumber, ToInbound};
use crate::role::kernel::exempt_all;

/// Most connected sockets of all threads: what comes from other peers the kernel compares with each of
/// them, and so many cost it some hundredths of what a packet does.
const CONNECTED_MAX: usize = 32;
/// Packets between two looks from which on a peer is worth a socket, whose making costs as much as some
/// tens of messages.
const BUSY_PACKETS: usize = 1_000;
/// Peers that are counted.
const PLACES: usize = 1_024;
/// Time between two looks at how busy peers are.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Looks without a packet after which a socket goes.
const IDLE_LOOKS: u32 = 10;
/// Looks until it is tried again to make a socket that was refused.
const REFUSED_LOOKS: u32 = 60;

/// Between whom packets travel.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Peer {
    local: IpAddr,
    remote: SocketAddr,
}

impl Peer {
    pub(super) fn of(meta: &PacketMeta) -> Self {
        Self { local: meta.local.ip(), remote: meta.remote }
    }

    fn place(self) -> usize {
        let hash = mixed(mixed(u64::from(self.remote.port()), self.remote.ip()), self.local);
        usize::try_from(hash >> 40).unwrap_or(0) % PLACES
    }
}

/// A multiplication spreads every bit over those above it.
fn mixed(before: u64, address: IpAddr) -> u64 {
    let bits = match address {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    };
    let octets = bits.to_ne_bytes();
    let (words, _) = octets.as_chunks();
    words.iter().fold(before, |sum, word| {
        let product = (sum ^ u64::from_ne_bytes(*word)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        product ^ product >> 32
    })
}

/// The peers of an outbound thread, and the sockets that some of them have.
pub(super) struct Peers {
    /// Why nobody has any.
    refusal: Option<String>,
    /// Who reads the sockets.
    inbound: CommandSender<ToInbound>,
    /// Of the next socket.
    number: SocketNumber,
    /// By a hash of the peer; of those that share a place the busiest has it.
    places: Box<[Place]>,
    connected: usize,
    connected_max: usize,
    /// The place of one that has become busy.
    due: Option<usize>,
    next_look: Instant,
    /// What the inbound thread has had no room to hear, of sockets that were turned away.
    unsaid: Vec<ToInbound>,
    /// Whether the log has that sockets are refused.
    told: bool,
}

#[derive(Default)]
struct Place {
    peer: Option<Peer>,
    /// Packets since the last look, and between that and the one before.
    packets: usize,
    packets_before: usize,
    idle_looks: u32,
    /// Looks until it is tried again.
    refused_looks: u32,
    /// Since the last look all sockets were others', who are not looked through once more.
    is_outdone: bool,
    own: Option<Box<Own>>,
}

struct Own {
    number: SocketNumber,
    socket: ConnectedSocket,
}

impl Peers {
    /// Of the thread with this number among so many, which makes sockets unless there is a `refusal`.
    pub(super) fn new(
        (thread, threads): (u16, usize),
        inbound: CommandSender<ToInbound>,
        refusal: Option<String>,
        now: Instant,
    ) -> Self {
        Self {
            refusal,
            inbound,
            number: SocketNumber::first_of(thread),
            places: std::iter::repeat_with(Place::default).take(PLACES).collect(),
            connected: 0,
            connected_max: CONNECTED_MAX.checked_div(threads).unwrap_or(0).max(1),
            due: None,
            next_look: now + LOOK_INTERVAL,
            unsaid: Vec::new(),
            told: false,
        }
    }

    /// Whether some peer may have a socket.
    pub(super) fn is_possible(&self) -> bool {
        self.refusal.is_none()
    }

    /// The socket of a peer that so many packets are for, if it has one; else that of all is to be used.
    pub(super) fn socket_for(&mut self, peer: Peer, packets: usize) -> Option<&ConnectedSocket> {
        let at = peer.place();
        let place = self.places.get_mut(at).filter(|_| !peer.local.is_unspecified())?;
        if place.peer != Some(peer) && !place.is_won_by(peer, packets) {
            return None;
        }
        place.packets = place.packets.saturating_add(packets);
        let may_ask = place.refused_looks == 0 && !place.is_outdone;
        if place.own.is_none() && place.packets >= BUSY_PACKETS && may_ask {
            self.due = Some(at);
        }
        place.own.as_ref().map(|own| &own.socket)
    }

    /// When to call [`Self::keep_time`] at the latest.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        (self.connected > 0 || !self.unsaid.is_empty()).then_some(self.next_look)
    }

    /// Gives a socket to whom has become busy, and takes those back that are used no more. Made between
    /// packets; `udp` is the socket of all.
    pub(super) fn keep_time(&mut self, now: Instant, udp: &DualUdpSocket) {
        if let Some(at) = self.due.take() {
            self.connect(at, udp);
        }
        if self.next_look <= now {
            self.next_look = now + LOOK_INTERVAL;
            let unsaid = std::mem::take(&mut self.unsaid);
            unsaid.into_iter().for_each(|command| self.say(command));
            (0..PLACES).for_each(|at| self.look(at));
        }
    }

    /// Takes a socket back that the inbound thread cannot wait for.
    pub(super) fn give_up(&mut self, number: SocketNumber) {
        let is_it = |place: &Place| place.own.as_ref().is_some_and(|own| own.number == number);
        if let Some(at) = self.places.iter().position(is_it) {
            self.turn_away(at);
            self.refuse(at, "it cannot be waited for");
        }
    }

    /// Takes all sockets back, and makes no more.
    pub(super) fn disconnect(&mut self, reason: &str) {
        (0..PLACES).for_each(|at| self.turn_away(at));
        if self.refusal.is_none() {
            info!(reason, "peers have no sockets of their own any more");
            self.refusal = Some(reason.to_owned());
        }
    }

    /// How many peers have a socket.
    pub(super) fn connected(&self) -> usize {
        self.connected
    }

    /// For people.
    pub(super) fn path(&self) -> EnginePath {
        let refused = self.places.iter().filter(|place| place.refused_looks > 0).count();
        let refused = (refused > 0).then(|| format!("refused for {refused} peers of late"));
        let reason = self.refusal.clone().or(refused);
        EnginePath { name: "UDP connected".to_owned(), on: self.is_possible(), reason }
    }

    fn connect(&mut self, at: usize, udp: &DualUdpSocket) {
        if !self.is_possible() || !self.unsaid.is_empty() || !self.make_room(at) {
            return;
        }
        let place = self.places.get(at).filter(|place| place.own.is_none());
        let Some(peer) = place.and_then(|place| place.peer) else { return };
        match self.make_socket(peer, udp) {
            Ok(own) => {
                debug!(remote = %peer.remote, "a peer has a socket of its own");
                if let Some(place) = self.places.get_mut(at) {
                    place.own = Some(Box::new(own));
                    self.connected += 1;
                }
            }
            Err(error) => self.refuse(at, &error),
        }
    }

    /// Makes a socket and hands it to the inbound thread before the peer's packets come to it. Others'
    /// may do so from the first moment on, so that thread gets it even if nothing becomes of it.
    fn make_socket(&mut self, peer: Peer, udp: &DualUdpSocket) -> Result<Own, String> {
        let family = Family::of(peer.remote.ip());
        let half = udp.halves().find(|half| Family::of(half.local().ip()) == family);
        let half = half.ok_or("this host does not have the family")?;
        let socket = half.beside(peer.local, peer.remote, &SocketOptions::default());
        let socket = socket.map_err(|error| error.to_string())?;
        exempt_all([(family, socket.as_fd())].into_iter());
        let number = self.number.take_next();
        let handle = match socket.try_clone() {
            Ok(handle) => Box::new(handle),
            Err(error) => {
                turn_away(&socket);
                self.say(ToInbound::Connected { number, socket: Box::new(socket) });
                self.say(ToInbound::TurnedAway(number));
                return Err(error.to_string());
            }
        };
        self.say(ToInbound::Connected { number, socket: handle });
        let connected = if self.unsaid.is_empty() {
            socket.connect().map_err(|error| error.to_string())
        } else {
            Err("the inbound thread is busy".to_owned())
        };
        if let Err(error) = connected {
            turn_away(&socket);
            self.say(ToInbound::TurnedAway(number));
            return Err(error);
        }
        Ok(Own { number, socket })
    }

    fn refuse(&mut self, at: usize, error: &str) {
        if let Some(place) = self.places.get_mut(at) {
            place.refused_looks = REFUSED_LOOKS;
        }
        if !std::mem::replace(&mut self.told, true) {
            info!(error, "a peer has no socket of its own");
        }
    }

    /// Makes room for a peer if it is much busier than another that has a socket.
    fn make_room(&mut self, at: usize) -> bool {
        if self.connected < self.connected_max {
            return true;
        }
        let busy = self.places.get(at).map_or(0, Place::busy_packets);
        let others = self.places.iter().enumerate().filter(|(_, place)| place.own.is_some());
        let least = others.map(|(at, place)| (place.busy_packets(), at)).min();
        if let Some((packets, other)) = least
            && packets.saturating_mul(2) < busy
        {
            self.turn_away(other);
            return true;
        }
        if let Some(place) = self.places.get_mut(at) {
            place.is_outdone = true;
        }
        false
    }

    fn look(&mut self, at: usize) {
        let Some(place) = self.places.get_mut(at) else { return };
        place.packets_before = std::mem::take(&mut place.packets);
        place.refused_looks = place.refused_looks.saturating_sub(1);
        place.is_outdone = false;
        let idle_looks = place.idle_looks + 1;
        place.idle_looks = if place.packets_before == 0 { idle_looks } else { 0 };
        if place.idle_looks >= IDLE_LOOKS {
            self.turn_away(at);
            // Who comes back is counted anew.
            if let Some(place) = self.places.get_mut(at) {
                *place = Place::default();
            }
        }
    }

    fn turn_away(&mut self, at: usize) {
        let own = self.places.get_mut(at).and_then(|place| place.own.take());
        let Some(own) = own else { return };
        self.connected = self.connected.saturating_sub(1);
        if turn_away(&own.socket) {
            debug!(remote = %own.socket.remote(), "a peer has no socket of its own any more");
        }
        self.say(ToInbound::TurnedAway(own.number));
    }

    /// Never waits: what there is no room for is said with the next look, in order.
    fn say(&mut self, command: ToInbound) {
        if !self.unsaid.is_empty() {
            return self.unsaid.push(command);
        }
        match self.inbound.try_send(command) {
            Ok(()) => {}
            Err(TrySendError::Full(command) | TrySendError::Disconnected(command)) => {
                self.unsaid.push(command);
            }
        }
    }
}

/// Whether nothing comes to the socket any more.
fn turn_away(socket: &ConnectedSocket) -> bool {
    let turned = socket.turn_away();
    if let Err(error) = &turned {
        debug!(%error, remote = %socket.remote(), "what is on its way to a socket may be lost");
    }
    turned.is_ok()
}

impl Place {
    /// Packets between two looks, this one and the next or those before.
    fn busy_packets(&self) -> usize {
        self.packets.max(self.packets_before)
    }

    /// Whether another peer has got the place: whoever has no socket there and has sent less loses it.
    fn is_won_by(&mut self, peer: Peer, packets: usize) -> bool {
        if self.own.is_some() {
            return false;
        }
        let left = self.packets.checked_sub(packets).filter(|left| *left > 0);
        if let Some(left) = left {
            self.packets = left;
            return false;
        }
        *self = Self { peer: Some(peer), ..Self::default() };
        true
    }
}

#[cfg(test)]
mod tests {
    use adit_sys::clock;
    use adit_sys::netns::can_create;
    use adit_sys::wake::{CommandReceiver, Next, channel};

    use super::*;

    fn peers() -> (Peers, CommandReceiver<ToInbound>) {
        let (inbound, from_outbound) = channel(4).unwrap();
        (Peers::new((3, 4), inbound, None, clock::now()), from_outbound)
    }

    fn port() -> DualUdpSocket {
        let options = SocketOptions { mark: None, ..Default::default() };
        DualUdpSocket::bind(0, &options).unwrap()
    }

    fn peer(number: u16) -> Peer {
        let remote = SocketAddr::from(([192, 0, 2, 1], number));
        Peer { local: [192, 0, 2, 2].into(), remote }
    }

    /// Two that share a place.
    fn rivals() -> (Peer, Peer) {
        let first = peer(1);
        let other = (2..).map(peer).find(|other| other.place() == first.place());
        (first, other.unwrap())
    }

    #[test]
    fn who_sends_much_within_a_look_is_due() {
        let (mut peers, _inbound) = peers();
        assert!(peers.socket_for(peer(1), BUSY_PACKETS - 1).is_none());
        assert_eq!(peers.due, None);
        (0..PLACES).for_each(|at| peers.look(at));
        peers.socket_for(peer(1), BUSY_PACKETS - 1);
        assert_eq!(peers.due, None);
        peers.socket_for(peer(1), 1);
        assert_eq!(peers.due, Some(peer(1).place()));
    }

    /// An address that the kernel chooses anew for each message.
    #[test]
    fn who_is_reached_from_anywhere_is_never_due() {
        let (mut peers, _inbound) = peers();
        let anywhere = Peer { local: [0, 0, 0, 0].into(), ..peer(1) };
        peers.socket_for(anywhere, BUSY_PACKETS * 2);
        assert_eq!(peers.due, None);
    }

    #[test]
    fn of_two_in_one_place_the_busier_has_it() {
        let (mut peers, _inbound) = peers();
        let (busy, other) = rivals();
        for _ in 0..BUSY_PACKETS {
            peers.socket_for(other, 1);
            peers.socket_for(busy, 3);
        }
        let place = &peers.places[busy.place()];
        assert!(place.peer == Some(busy) && place.packets > BUSY_PACKETS);
        // Who stops sending leaves it.
        (0..PLACES).for_each(|at| peers.look(at));
        peers.socket_for(other, 1);
        assert_eq!(peers.places[busy.place()].peer, Some(other));
    }

    #[test]
    fn peers_are_spread_over_places() {
        let mut places: Vec<_> = (0..1_000).map(|number| peer(number).place()).collect();
        places.sort_unstable();
        places.dedup();
        assert!(places.len() > 550, "{}", places.len());
    }

    #[test]
    fn what_the_inbound_thread_has_no_room_to_hear_is_said_again() {
        let (mut peers, inbound) = peers();
        let mut said = Vec::new();
        for _ in 0..6 {
            let number = peers.number.take_next();
            said.push(number);
            peers.say(ToInbound::TurnedAway(number));
        }
        assert_eq!(peers.unsaid.len(), 2);
        assert!(peers.poll_timeout().is_some());
        let mut heard = Vec::new();
        let mut hear = || {
            while let Next::Command(ToInbound::TurnedAway(number)) = inbound.next() {
                heard.push(number);
            }
        };
        hear();
        peers.keep_time(clock::now() + LOOK_INTERVAL, &port());
        hear();
        assert_eq!(heard, said);
        assert_eq!(peers.poll_timeout(), None);
    }

    /// Whose sockets all are others' asks once between two looks, then for all that it sent.
    #[test]
    fn who_is_outdone_asks_no_more_until_the_next_look() {
        let (mut peers, _inbound) = peers();
        let port = port();
        peers.connected = peers.connected_max;
        for _ in 0..2 {
            peers.socket_for(peer(1), BUSY_PACKETS);
            assert_eq!(peers.due, Some(peer(1).place()));
            peers.keep_time(clock::now(), &port);
            peers.socket_for(peer(1), BUSY_PACKETS);
            assert_eq!(peers.due, None);
            (0..PLACES).for_each(|at| peers.look(at));
        }
        assert_eq!(peers.places[peer(1).place()].busy_packets(), 2 * BUSY_PACKETS);
        assert_eq!(peers.path().reason, None);
    }

    /// Whatever came to it meanwhile is read, also if nobody has room for it at first.
    #[test]
    fn a_socket_of_which_nothing_becomes_is_read_and_goes() {
        if !can_create() {
            assert!(std::env::var_os("CI").is_none(), "CI must be allowed to mark packets");
            eprintln!("SKIPPED: marking packets needs root");
            return;
        }
        let port = port();
        let options = SocketOptions { mark: None, ..Default::default() };
        port.v4().admit_connected(&options).unwrap();
        let remote = SocketAddr::from(([127, 0, 0, 1], 9));
        // No address of its own: the route to the peer chooses another.
        let peer = Peer { local: [127, 0, 0, 2].into(), remote };
        for room in [0, 1, 4] {
            let (mut peers, inbound) = peers();
            let taken = 4 - room;
            for _ in 0..taken {
                peers.say(ToInbound::TurnedAway(SocketNumber(77)));
            }
            peers.socket_for(peer, BUSY_PACKETS);
            peers.keep_time(clock::now(), &port);
            let place = &peers.places[peer.place()];
            let is_connected = place.own.is_some();
            assert_eq!((is_connected, place.refused_looks > 0), (room > 0, room == 0));
            peers.give_up(SocketNumber::first_of(3));
            assert!(peers.socket_for(peer, BUSY_PACKETS).is_none() && peers.due.is_none());
            assert_eq!(peers.connected(), 0);
            for _ in 0..taken {
                assert!(matches!(inbound.next(), Next::Command(_)));
            }
            peers.keep_time(clock::now() + LOOK_INTERVAL, &port);
            let Next::Command(ToInbound::Connected { number, .. }) = inbound.next() else {
                panic!("it is handed over");
            };
            assert_eq!((number, number.thread()), (SocketNumber::first_of(3), 3));
            let gone = inbound.next();
            assert!(matches!(gone, Next::Command(ToInbound::TurnedAway(gone)) if gone == number));
            assert!(matches!(inbound.next(), Next::Empty));
        }
    }

    #[test]
    fn after_the_end_there_are_none() {
        let (mut peers, _inbound) = peers();
        assert!(peers.path().on);
        peers.disconnect("a test");
        assert_eq!(peers.path(), EnginePath::new("UDP connected", Some("a test".to_owned())));
        assert!(!peers.is_possible());
    }
}
