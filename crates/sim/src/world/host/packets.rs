//! The packet engine of a host, with a record of what is installed in it.
//!
//! Of a bundle it has two pairs of SAs, ESP under AH, as the daemon does; all others know of one child SA.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use adit_crypto::{Secret, sha1};
use adit_dataplane::{
    Audit, DropReason, Event, HEADROOM_MAX, Inbound, InboundCommand, OpenVerdict, Outbound,
    OutboundCommand, Verdict, split,
};
use adit_db::{
    Action, ChildKeys, ChildSa, ChildSaId, Connection, Encapsulation, GatewayNotice, OuterAh,
    PolicyId, Spd, SpdEntry,
};
use adit_ike::{FailureReason, PacketEvent, Path};
use adit_wire::esp::Spi;
use adit_wire::ikev2::TrafficSelector;
use adit_wire::{PacketBuf, PacketMeta};

use super::{Digest, Letter};
use crate::world::net::EspLetter;
use crate::world::scenario::{CHILDREN_MAX, inner_address};

/// A child SA that is installed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::world) struct Installed {
    pub(in crate::world) id: ChildSaId,
    pub(in crate::world) tunnel: usize,
    pub(in crate::world) child: usize,
    pub(in crate::world) spi_in: Spi,
    pub(in crate::world) spi_out: Spi,
    pub(in crate::world) keys_in: Digest,
    pub(in crate::world) keys_out: Digest,
    /// AH around its ESP.
    pub(in crate::world) outer: Option<Around>,
    pub(in crate::world) local_ts: Vec<TrafficSelector>,
    pub(in crate::world) remote_ts: Vec<TrafficSelector>,
    /// Where its packets go.
    pub(in crate::world) remote: IpAddr,
    /// Whether it replaces another one.
    pub(in crate::world) replaces: bool,
    /// Whether a packet has come in on it, so that the other end surely has it.
    pub(in crate::world) heard: bool,
    /// Whether packets go out on it.
    pub(in crate::world) active: bool,
    /// When the inbound half goes; the outbound half is gone already.
    pub(in crate::world) closes: Option<Instant>,
    /// When its hard lifetime is over.
    pub(in crate::world) over_at: Option<Instant>,
    /// Whether somebody has told this end to end it, which it may have to wait for.
    pub(in crate::world) unwanted: bool,
}

/// AH around the ESP of a child SA.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::world) struct Around {
    pub(in crate::world) id: ChildSaId,
    pub(in crate::world) spi_in: Spi,
    pub(in crate::world) spi_out: Spi,
    pub(in crate::world) keys_in: Digest,
    pub(in crate::world) keys_out: Digest,
}

impl Around {
    fn of(outer: &OuterAh) -> Self {
        let OuterAh { id, spi_in, spi_out, .. } = *outer;
        let (keys_in, keys_out) = (digest(&outer.keys_in), digest(&outer.keys_out));
        Self { id, spi_in, spi_out, keys_in, keys_out }
    }

    /// As the other end has it.
    pub(in crate::world) fn mirrored(&self) -> (Spi, Spi, Digest, Digest) {
        (self.spi_out, self.spi_in, self.keys_out, self.keys_in)
    }

    /// As this end has it.
    pub(in crate::world) fn seen(&self) -> (Spi, Spi, Digest, Digest) {
        (self.spi_in, self.spi_out, self.keys_in, self.keys_out)
    }
}

impl Installed {
    /// The SPIs of what comes in.
    pub(in crate::world) fn spis_in(&self) -> impl Iterator<Item = Spi> + use<> {
        std::iter::once(self.spi_in).chain(self.outer.map(|outer| outer.spi_in))
    }

    /// Its numbers in the engine, its own the first: ESP is to be gone before AH is.
    fn ids(&self) -> impl Iterator<Item = ChildSaId> + use<> {
        std::iter::once(self.id).chain(self.outer.map(|outer| outer.id))
    }

    /// Whether this end may send on it: it does, or has sent on what it replaces, or knows that the
    /// other end has it. A child that two requests that crossed asked for has to wait for that.
    pub(in crate::world) fn may_send(&self) -> bool {
        self.active || self.replaces || self.heard
    }

    /// Whether it is there in both directions, for longer than this moment.
    pub(in crate::world) fn is_live(&self, now: Instant) -> bool {
        self.closes.is_none() && self.over_at.is_none_or(|over| over > now)
    }
}

/// Something that leaves the host.
#[derive(Debug)]
pub(in crate::world) struct Left {
    pub(in crate::world) path: Path,
    pub(in crate::world) letter: Letter,
}

/// What came in by one ESP packet.
#[derive(Debug)]
pub(in crate::world) struct Came {
    /// Why it did not.
    pub(in crate::world) dropped: Option<DropReason>,
    /// The IP packets, none if they wait for others.
    pub(in crate::world) packets: Vec<Vec<u8>>,
}

/// The engine.
pub(in crate::world) struct PacketEngine {
    outbound: Outbound,
    inbound: Inbound,
    sas: BTreeMap<ChildSaId, Installed>,
    closing: BTreeSet<(Instant, ChildSaId)>,
    /// The child SAs that ended otherwise than by being replaced, and why; the last ones.
    ended: VecDeque<(Spi, FailureReason)>,
    /// When the grace of those that are gone was over.
    gone: BTreeMap<Spi, Instant>,
    left: Vec<Left>,
    buffer: [PacketBuf; 1],
    verdicts: Vec<Verdict>,
    open_verdicts: Vec<OpenVerdict>,
}

/// Most ends that are remembered.
const ENDED_MAX: usize = 256;

impl std::fmt::Debug for PacketEngine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PacketEngine").field("sas", &self.sas).finish_non_exhaustive()
    }
}

impl PacketEngine {
    /// An engine with the policies of these connections and without SAs.
    pub(super) fn new(connections: &[(usize, Arc<Connection>)], now: Instant) -> Self {
        let spd = Arc::new(policies(connections));
        let (mut outbound, mut inbound) = (Outbound::new(), Inbound::new());
        outbound.handle_command(OutboundCommand::SetPolicies(Arc::clone(&spd)), now);
        inbound.handle_command(InboundCommand::SetPolicies(spd));
        Self {
            outbound,
            inbound,
            sas: BTreeMap::new(),
            closing: BTreeSet::new(),
            ended: VecDeque::new(),
            gone: BTreeMap::new(),
            left: Vec::new(),
            buffer: [PacketBuf::with_capacity(HEADROOM_MAX, BUFFER_OCTETS)],
            verdicts: Vec::new(),
            open_verdicts: Vec::new(),
        }
    }

    /// Installs a child SA, and says how; `None` if it is of no connection.
    ///
    /// # Panics
    ///
    /// If its number is taken or its keys are not those of its cipher.
    pub(super) fn install(
        &mut self,
        mut sa: ChildSa,
        active: bool,
        connections: &[(usize, Arc<Connection>)],
        now: Instant,
    ) -> Option<Installed> {
        let (tunnel, connection) = connections.iter().find(|(_, one)| one.name == sa.connection)?;
        let child = connection.children.iter().position(|child| child.name == sa.child)?;
        let outer = sa.outer.as_deref().map(Around::of);
        let over = self.install_outer(&mut sa, now);
        self.install_halves(&sa, policy(*tunnel, child), over, active, now);
        let installed = Installed {
            id: sa.id,
            tunnel: *tunnel,
            child,
            spi_in: sa.spi_in,
            spi_out: sa.spi_out,
            keys_in: digest(&sa.keys_in),
            keys_out: digest(&sa.keys_out),
            outer,
            local_ts: sa.local_ts,
            remote_ts: sa.remote_ts,
            remote: sa.encap.remote.ip(),
            replaces: sa.rekeys.is_some(),
            heard: false,
            active,
            closes: None,
            over_at: sa.lifetime.hard.time.map(|limit| now + limit),
            unwanted: false,
        };
        let before = self.sas.insert(sa.id, installed.clone());
        assert!(before.is_none(), "child SA {} is installed twice", sa.id);
        self.poll_packets();
        Some(installed)
    }

    /// Installs AH that belongs around a child SA; the policy that this one is under then.
    fn install_outer(&mut self, sa: &mut ChildSa, now: Instant) -> Option<PolicyId> {
        let own = sa.outer.as_ref().map(|outer| outer.policy())?;
        let outer = sa.take_outer()?;
        // It carries what this child SA alone sends.
        self.install_halves(&outer, own, None, true, now);
        Some(own)
    }

    fn install_halves(
        &mut self,
        sa: &ChildSa,
        policy: PolicyId,
        over: Option<PolicyId>,
        active: bool,
        now: Instant,
    ) {
        let (mut inbound, mut outbound) = split(sa, policy, now).expect("keys of the cipher");
        if let Some(over) = over {
            (inbound, outbound) = (inbound.over(over, sa.encap.local), outbound.over(over));
        }
        self.inbound.handle_command(InboundCommand::Install(Box::new(inbound)));
        let command = OutboundCommand::Install { sa: Box::new(outbound), active };
        self.outbound.handle_command(command, now);
    }

    pub(super) fn activate(&mut self, id: ChildSaId, now: Instant) {
        let sa = self.sas.get_mut(&id).expect("what is activated is installed");
        sa.active = true;
        self.outbound.handle_command(OutboundCommand::Activate { child: id }, now);
        self.poll_packets();
    }

    pub(super) fn remove(&mut self, id: ChildSaId, delay: Duration, now: Instant) {
        let sa = self.sas.get_mut(&id).expect("what is removed is installed");
        sa.closes = Some(now + delay);
        sa.active = false;
        self.closing.insert((now + delay, id));
        for child in sa.ids() {
            self.outbound.handle_command(OutboundCommand::Remove { child }, now);
            assert!(self.outbound.counters_of(child).is_none(), "{child} still sends");
        }
        self.poll_packets();
    }

    pub(super) fn update(&mut self, child: ChildSaId, encap: Encapsulation, now: Instant) {
        let sa = self.sas.get_mut(&child);
        sa.into_iter().for_each(|sa| sa.remote = encap.remote.ip());
        self.outbound.handle_command(OutboundCommand::UpdatePeer { child, encap }, now);
        self.inbound.handle_command(InboundCommand::UpdatePeer { child, encap });
    }

    pub(super) fn skip(&mut self, child: ChildSaId, by: u64, now: Instant) {
        self.outbound.handle_command(OutboundCommand::Skip { child, by }, now);
    }

    /// Notes that a child SA has ended and nothing replaced it.
    pub(super) fn note_end(&mut self, spi_in: Spi, reason: FailureReason) {
        self.ended.truncate(ENDED_MAX - 1);
        self.ended.push_front((spi_in, reason));
    }

    /// Notes that somebody wants the child SAs of a child to end: they do so before their peers and
    /// the listeners hear of it.
    pub(super) fn note_wanted_end(&mut self, tunnel: usize, child: usize) {
        let ours = self.sas.values().filter(|sa| (sa.tunnel, sa.child) == (tunnel, child));
        let spis: Vec<Spi> = ours.map(|sa| sa.spi_in).collect();
        self.note_unwanted(&spis);
        spis.into_iter().for_each(|spi| self.note_end(spi, FailureReason::ByCommand));
    }

    /// Notes that somebody wants the child SAs with these inbound SPIs to end: they do so when the
    /// request before is answered, and nobody may count on them until then.
    pub(super) fn note_unwanted(&mut self, spis: &[Spi]) {
        let those = self.sas.values_mut().filter(|sa| spis.contains(&sa.spi_in));
        those.for_each(|sa| sa.unwanted = true);
    }

    /// Why the child SA with this inbound SPI ended, if nothing replaced it.
    pub(in crate::world) fn end_of(&self, spi_in: Spi) -> Option<&FailureReason> {
        self.ended.iter().find(|(spi, _)| *spi == spi_in).map(|(_, reason)| reason)
    }

    /// When the grace of the child SA with this inbound SPI was over, if it is gone.
    pub(in crate::world) fn gone_at(&self, spi_in: Spi) -> Option<Instant> {
        self.gone.get(&spi_in).copied()
    }

    /// Protects a packet, and says what became of it; the ESP packet waits in [`Self::take_left`].
    pub(super) fn seal(&mut self, octets: &[u8], now: Instant) -> Verdict {
        let [packet] = &mut self.buffer;
        packet.reset(HEADROOM_MAX);
        packet.meta = PacketMeta::default();
        assert!(packet.fill(octets), "the buffer takes any packet of ours");
        self.outbound.seal_batch(&mut self.buffer, &mut self.verdicts, now);
        let verdict = self.verdicts.first().copied().unwrap_or(Verdict::Held);
        let [packet] = &self.buffer;
        match verdict {
            Verdict::Send => self.left.push(leaving(packet)),
            Verdict::Bypass => {
                let path = Path::udp(packet.meta.local, packet.meta.remote);
                self.left.push(Left { path, letter: Letter::Clear(packet.data().to_vec()) });
            }
            Verdict::Held | Verdict::Drop(_) => {}
        }
        let before = self.left.len();
        self.poll_packets();
        // What shares ESP packets with others leaves with them, at once here.
        if verdict == Verdict::Held && self.left.len() > before { Verdict::Send } else { verdict }
    }

    /// Opens an ESP packet.
    pub(super) fn open(&mut self, path: Path, letter: &EspLetter, now: Instant) -> Came {
        let [packet] = &mut self.buffer;
        packet.reset(HEADROOM_MAX);
        let EspLetter { octets, udp, in_ah: whole, .. } = letter;
        let (udp, whole) = (*udp, *whole);
        let Path { local, remote, .. } = path;
        packet.meta = PacketMeta { local, remote, udp, whole, ..Default::default() };
        if !packet.fill(octets) {
            return Came { dropped: Some(DropReason::Truncated), packets: Vec::new() };
        }
        self.inbound.open_batch(&mut self.buffer, &mut self.open_verdicts, now);
        let [packet] = &self.buffer;
        let mut packets = Vec::new();
        let dropped = match self.open_verdicts.first() {
            Some(OpenVerdict::Deliver) => {
                packets.push(packet.data().to_vec());
                None
            }
            Some(OpenVerdict::Drop(reason)) => Some(*reason),
            Some(OpenVerdict::Held) | None => None,
        };
        if dropped.is_none() {
            let spi = letter.esp().first_chunk().map(|spi| Spi(u32::from_be_bytes(*spi)));
            let sa = self.sas.values_mut().find(|sa| Some(sa.spi_in) == spi);
            sa.into_iter().for_each(|sa| sa.heard = true);
        }
        packets.extend(self.inbound.unpacked().iter().map(|packet| packet.data().to_vec()));
        Came { dropped, packets }
    }

    /// Does what is due, and gives the inbound SPIs whose grace is over.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> Vec<Spi> {
        if self.outbound.poll_timeout().is_some_and(|at| at <= now) {
            self.outbound.handle_timeout(now);
        }
        if self.inbound.poll_timeout().is_some_and(|at| at <= now) {
            self.inbound.handle_timeout(now);
        }
        self.poll_packets();
        let mut gone = Vec::new();
        while let Some((at, id)) = self.closing.first().copied()
            && at <= now
        {
            self.closing.remove(&(at, id));
            let Some(sa) = self.sas.remove(&id) else { continue };
            for child in sa.ids() {
                self.inbound.handle_command(InboundCommand::Remove { child });
                assert!(self.inbound.counters_of(child).is_none(), "{child} still comes in");
            }
            self.gone.insert(sa.spi_in, at);
            gone.extend(sa.spis_in());
        }
        gone
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        let closing = self.closing.first().map(|(at, _)| *at);
        let engine = [self.outbound.poll_timeout(), self.inbound.poll_timeout()];
        engine.into_iter().chain([closing]).flatten().min()
    }

    /// The next event, as the endpoint wants it.
    pub(super) fn poll_event(
        &mut self,
        connections: &[(usize, Arc<Connection>)],
        now: Instant,
    ) -> Option<PacketEvent> {
        loop {
            let event = self.outbound.poll_event().or_else(|| self.inbound.poll_event());
            let Some(event) = event else {
                let (child, notice) = self.outbound.poll_notice()?;
                return Some(PacketEvent::Notice { child, notice });
            };
            return Some(match event {
                Event::Acquire { policy, flow } => {
                    let Some((connection, child)) = names(connections, policy) else { continue };
                    PacketEvent::Acquire { connection, child, flow }
                }
                Event::SoftExpire { child } => {
                    PacketEvent::SoftExpire { child: self.inner_of(child) }
                }
                Event::HardExpire { child } => {
                    PacketEvent::HardExpire { child: self.inner_of(child) }
                }
                Event::PeerMoved { child, remote } => PacketEvent::PeerMoved { child, remote },
                Event::Traffic { child } => PacketEvent::Traffic { child },
                Event::Used { child } => PacketEvent::Used { child },
                Event::Doubted { child } => PacketEvent::Doubted { child: self.inner_of(child) },
                Event::PathMessage { child, message } => {
                    let heard = OutboundCommand::PathMessage { child, message };
                    self.outbound.handle_command(heard, now);
                    self.poll_packets();
                    continue;
                }
                Event::BadSpi { us, peer, quoted } => {
                    let heard = OutboundCommand::BadSpi { us, peer, quoted };
                    self.outbound.handle_command(heard, now);
                    continue;
                }
                Event::Audit(Audit { reason: DropReason::UnknownSpi, spi, remote, .. }) => {
                    PacketEvent::UnknownSpi { spi, remote }
                }
                Event::Audit(_)
                | Event::PathMtu { .. }
                | Event::PathLearnt { .. }
                | Event::Hops { .. }
                | Event::Fragments { .. } => continue,
            });
        }
    }

    /// The child SA that has the SA of this number: AH around it has one of its own.
    fn inner_of(&self, child: ChildSaId) -> ChildSaId {
        let found = self.sas.values().find(|sa| sa.outer.is_some_and(|outer| outer.id == child));
        found.map_or(child, |sa| sa.id)
    }

    /// Takes what the peer tells about a child SA; hosts of a world hear nothing of it.
    pub(super) fn hear_notice(&mut self, child: ChildSaId, notice: GatewayNotice, now: Instant) {
        self.outbound.handle_command(OutboundCommand::Notice { child, notice }, now);
        while self.outbound.poll_answer().is_some() {}
    }

    /// What leaves the host.
    pub(super) fn take_left(&mut self) -> Vec<Left> {
        std::mem::take(&mut self.left)
    }

    /// All installed child SAs, those about to go included, oldest first.
    pub(in crate::world) fn all(&self) -> impl Iterator<Item = &Installed> {
        self.sas.values()
    }

    /// Those that are there in both directions.
    pub(in crate::world) fn live(&self, now: Instant) -> impl Iterator<Item = &Installed> {
        self.sas.values().filter(move |sa| sa.is_live(now))
    }

    /// The newest of a child.
    pub(in crate::world) fn newest(&self, tunnel: usize, child: usize) -> Option<ChildSaId> {
        let mut ours = self.sas.values().filter(|sa| (sa.tunnel, sa.child) == (tunnel, child));
        ours.rfind(|sa| sa.closes.is_none()).map(|sa| sa.id)
    }

    /// How many events were lost, and how many packets wait.
    pub(in crate::world) fn load(&mut self) -> (u64, usize) {
        let outbound = self.outbound.report();
        (outbound.events_lost + self.inbound.report().events_lost, outbound.held)
    }

    fn poll_packets(&mut self) {
        while let Some(packet) = self.outbound.poll_packet() {
            self.left.push(leaving(&packet));
        }
    }
}

/// Room for the packets of a world.
const BUFFER_OCTETS: usize = 4_096;

/// The SPIs below are those of the packets that the letter holds.
fn leaving(packet: &PacketBuf) -> Left {
    let PacketMeta { local, remote, udp, whole: in_ah, .. } = packet.meta;
    let end = |address: SocketAddr| if udp { address } else { SocketAddr::new(address.ip(), 0) };
    let esp = EspLetter { octets: packet.data().to_vec(), udp, in_ah, must_arrive: false };
    Left { path: Path::udp(end(local), end(remote)), letter: Letter::Esp(esp) }
}

fn digest(keys: &ChildKeys) -> Digest {
    sha1(&[&keys.encryption, &keys.integrity].map(Secret::as_bytes))
}

fn policy(tunnel: usize, child: usize) -> PolicyId {
    PolicyId(u32::try_from(tunnel * CHILDREN_MAX + child).unwrap_or(u32::MAX))
}

fn names(
    connections: &[(usize, Arc<Connection>)],
    policy: PolicyId,
) -> Option<(adit_db::ConnectionName, adit_db::ChildName)> {
    let number = usize::try_from(policy.0).ok()?;
    let (tunnel, child) = (number / CHILDREN_MAX, number % CHILDREN_MAX);
    let (_, connection) = connections.iter().find(|(one, _)| *one == tunnel)?;
    Some((connection.name.clone(), connection.children.get(child)?.name.clone()))
}

/// What the connections protect, and one network beside each tunnel's that passes in clear.
fn policies(connections: &[(usize, Arc<Connection>)]) -> Spd {
    let mut entries = Vec::new();
    for (tunnel, connection) in connections {
        for (number, child) in connection.children.iter().enumerate() {
            let action = Action::Protect(policy(*tunnel, number));
            let sides = |specs: &[adit_db::TsSpec]| -> Vec<TrafficSelector> {
                specs.iter().filter_map(adit_db::TsSpec::selector).collect()
            };
            let (local, remote) = (sides(&child.local_ts), sides(&child.remote_ts));
            entries.push(SpdEntry { local, remote, action });
        }
        let clear = (0..4).map(|host| {
            let address = inner_address(host, *tunnel, CHILDREN_MAX, 0);
            TrafficSelector::from_prefix(address.into(), 24).expect("a legal prefix")
        });
        let clear: Vec<TrafficSelector> = clear.collect();
        let (local, remote) = (clear.clone(), clear);
        entries.push(SpdEntry { local, remote, action: Action::Bypass });
    }
    Spd::new(entries).expect("few policies")
}
