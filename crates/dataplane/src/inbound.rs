//! Inbound processing of protected packets, RFC 4301 §5.2 and RFC 4303 §3.4; what is special about
//! AH is in [`crate::ah`].
//!
//! The order of the steps is the order of their trust: what costs nothing and proves nothing
//! first (SPI, replay window), then the integrity check, and only behind it whatever changes
//! state or looks at the inner packet.

use std::sync::Arc;
use std::time::{Duration, Instant};

use adit_db::{
    Action, Age, ChildSaId, Encapsulation, FlowCache, Mode, PolicyId, ReplayError, Spd, TableId,
};
use adit_wire::esp::EspHeader;
use adit_wire::iana::IpProtocol;
use adit_wire::ip::{Ecn, FlowKey, FrontHeaders, IpPacket, Ipv4Header, set_traffic_class};
use adit_wire::{PacketBuf, Reader, WireError};

use crate::ah::{self, AhPlace};
use crate::audit::AuditGate;
use crate::beet;
use crate::counters::{InboundReport, SaCounters};
use crate::drop_reason::{DropCounters, DropReason};
use crate::esp::{self, Label};
use crate::event::{Audit, Event, Events};
use crate::inbound_sad::InboundSad;
use crate::ip_header::IpHeader;
use crate::ipcomp::Inflater;
use crate::nesting::{Ends, NESTING_MAX, Nested};
use crate::reassembly::{Origin, Reassembly};
use crate::sa::{InboundSa, OpeningKey};
use crate::tos;

/// The inbound half of the packet engine; owned by one thread.
pub struct Inbound {
    sad: InboundSad,
    drops: DropCounters,
    audits: AuditGate,
    events: Events,
    /// The policies, if any of them discards.
    gate: Gate,
    /// AH packets that came in fragments. Nobody has vouched for those yet, so they have no room in
    /// common with what came through SAs.
    outer: Reassembly,
}

/// A change from the control loop.
#[derive(Debug)]
pub enum InboundCommand {
    /// Accepts the packets of an SA.
    Install(Box<InboundSa>),
    /// Accepts no more packets of an SA.
    Remove {
        /// The SA.
        child: ChildSaId,
    },
    /// The peer's address is another one now.
    UpdatePeer {
        /// The SA.
        child: ChildSaId,
        /// The addresses.
        encap: Encapsulation,
    },
    /// Replaces the policies of the default table. What comes in by SAs of others is judged by their
    /// selectors alone: only tunnels are in those tables, and no entry that discards.
    SetPolicies(Arc<Spd>),
}

/// What became of a packet that came in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OpenVerdict {
    /// The buffer holds the inner IP packet; it goes to the protected side, by the interface that its
    /// `meta` says.
    Deliver,
    /// The inner packet is a fragment and waits for the others of its packet; this buffer is free.
    Held,
    /// The buffer holds nothing of use.
    Drop(DropReason),
}

/// How much of an inner packet an ESP or AH packet brought.
pub(crate) enum Arrived {
    Whole,
    InPart,
}

impl Default for Inbound {
    fn default() -> Self {
        Self::new()
    }
}

impl Inbound {
    /// An engine without SAs.
    pub fn new() -> Self {
        Self {
            sad: InboundSad::default(),
            drops: DropCounters::default(),
            audits: AuditGate::default(),
            events: Events::new(),
            gate: Gate::default(),
            outer: Reassembly::default(),
        }
    }

    /// Carries out a change.
    ///
    /// Installing an SA whose SPI or number is taken, or changing one that is not there, does
    /// nothing: the control loop hands out both, so this is only ever a race with a removal.
    pub fn handle_command(&mut self, command: InboundCommand) {
        match command {
            InboundCommand::Install(sa) => {
                if sa.ipcomp.is_some() {
                    self.gate.inflater.get_or_insert_default();
                }
                let under = sa.under.as_deref().copied();
                if self.sad.insert(*sa) {
                    under.iter().for_each(|under| self.gate.ends.add(under));
                }
            }
            InboundCommand::Remove { child } => {
                let under = self.sad.remove(child).and_then(|sa| sa.under);
                under.iter().for_each(|under| self.gate.ends.remove(under));
            }
            InboundCommand::UpdatePeer { child, encap } => {
                if let Some(sa) = self.sad.by_child_mut(child) {
                    sa.remote = encap.remote;
                    sa.settled = encap.remote;
                    sa.udp = encap.udp;
                    if let Some(under) = &mut sa.under {
                        self.gate.ends.remove(under);
                        (under.local, under.udp) = (encap.local, encap.udp);
                        self.gate.ends.add(under);
                    }
                }
            }
            InboundCommand::SetPolicies(spd) => {
                self.gate.discarding = match self.gate.discarding.take() {
                    _ if !spd.has_discards() => None,
                    Some(known) => Some(known.replaced_by(spd)),
                    None => Some(Discarding { spd, drops: FlowCache::default() }),
                };
            }
        }
    }

    /// Opens a batch of ESP and AH packets in place and says of each what became of it.
    ///
    /// Each packet enters as `SPI | sequence | IV | ciphertext | ICV`, the outer headers gone but
    /// noted in its `meta` (an IPv4 header may lie before it, see `PacketMeta::header_len`), or with AH
    /// as whole IP packet with `PacketMeta::whole`, and leaves
    /// as inner IP packet, in transport mode as the packet of the peer. `verdicts` is emptied first and gets
    /// one verdict per packet, in order. Nothing is allocated if it has the room.
    pub fn open_batch(
        &mut self,
        packets: &mut [PacketBuf],
        verdicts: &mut Vec<OpenVerdict>,
        now: Instant,
    ) {
        verdicts.clear();
        for packet in packets {
            verdicts.push(match self.open(packet, now) {
                Ok(Arrived::Whole) => OpenVerdict::Deliver,
                Ok(Arrived::InPart) => OpenVerdict::Held,
                Err(reason) => {
                    self.drops.add(reason);
                    OpenVerdict::Drop(reason)
                }
            });
        }
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop()
    }

    /// What flowed so far.
    pub fn report(&self) -> InboundReport {
        InboundReport {
            sas: self.sad.all().map(InboundSa::counters).collect(),
            drops: self.drops,
            events_lost: self.events.lost(),
        }
    }

    /// What flowed so far through one SA; `None` if it is not there.
    pub fn counters_of(&self, child: ChildSaId) -> Option<SaCounters> {
        self.sad.by_child(child).map(InboundSa::counters)
    }

    /// Opens a packet, and what comes out of it while that is for a nested SA.
    fn open(&mut self, packet: &mut PacketBuf, now: Instant) -> Result<Arrived, DropReason> {
        let mut came_out_of = None;
        for _ in 0..NESTING_MAX {
            if packet.meta.whole && !self.is_whole(packet, now)? {
                return Ok(Arrived::InPart);
            }
            let (arrived, policy) = self.open_by_one(packet, came_out_of, now)?;
            if matches!(arrived, Arrived::InPart) || !self.unwrap(packet, policy) {
                return Ok(arrived);
            }
            came_out_of = Some(policy);
        }
        // The last one's packet is for yet another SA: nobody has configured that.
        Err(DropReason::NestedTooDeep)
    }

    /// Makes what an SA of this policy gave out a packet as the network brings it, if it is for an SA
    /// that is nested under that policy.
    fn unwrap(&self, packet: &mut PacketBuf, policy: PolicyId) -> bool {
        if self.gate.ends.is_empty() {
            return false;
        }
        let Some(nested) = Nested::find(packet.data()) else { return false };
        let under = self.sad.unicast(nested.spi).and_then(|sa| sa.under.as_deref());
        under.is_some_and(|under| nested.belongs(under, policy)) && nested.unwrap(packet)
    }

    /// Opens a packet by its SA, and gives that one's policy.
    fn open_by_one(
        &mut self,
        packet: &mut PacketBuf,
        came_out_of: Option<PolicyId>,
        now: Instant,
    ) -> Result<(Arrived, PolicyId), DropReason> {
        let (header, ah) = read_header(packet)?;
        let sa = self.sad.find(header.spi, &packet.meta);
        let Some(sa) = sa.filter(|sa| sa.is_ah() == ah.is_some()) else {
            let audit = audit(DropReason::UnknownSpi, header, packet);
            self.audits.pass(now).then(|| self.events.push(Event::Audit(audit)));
            return Err(DropReason::UnknownSpi);
        };
        let (policy, table) = (sa.policy, sa.table);
        let opened = if sa.under.as_ref().map(|under| under.policy) == came_out_of {
            sa.open(packet, header, ah, now, &mut self.gate, &mut self.events)
        } else {
            Err(DropReason::NotNested)
        };
        self.drops.add_many(DropReason::FragmentsMissing, self.gate.reassembly.take_given_up());
        if let Err(reason) = opened {
            sa.dropped(reason);
            if is_auditable(reason) && self.audits.pass(now) {
                self.events.push(Event::Audit(audit(reason, header, packet)));
            }
        }
        let arrived = opened?;
        packet.meta.table = table.0;
        Ok((arrived, policy))
    }

    /// RFC 4302 §3.4.1: the fragments of an AH packet are joined before it is looked at.
    fn is_whole(&mut self, packet: &mut PacketBuf, now: Instant) -> Result<bool, DropReason> {
        let outer = IpPacket::read(packet.data()).map_err(|_| DropReason::Truncated)?;
        if outer.fragment().is_none() {
            return Ok(true);
        }
        let host = Origin::Host(outer.src());
        let joined = self.outer.join(host, packet, now);
        self.drops.add_many(DropReason::FragmentsMissing, self.outer.take_given_up());
        Ok(joined?.is_some())
    }
}

/// SPI and sequence number, which AH has like ESP, and where AH is.
fn read_header(packet: &mut PacketBuf) -> Result<(EspHeader, Option<AhPlace>), DropReason> {
    if packet.meta.whole {
        let place = ah::find(packet)?;
        let header = EspHeader { spi: place.header.spi, sequence: place.header.sequence };
        return Ok((header, Some(place)));
    }
    match EspHeader::read(&mut Reader(packet.data())) {
        Ok(header) => Ok((header, None)),
        Err(WireError::BadValue(..)) => Err(DropReason::UnknownSpi),
        Err(_) => Err(DropReason::Truncated),
    }
}

/// What judges packets beside their SA.
#[derive(Default)]
pub(crate) struct Gate {
    discarding: Option<Discarding>,
    reassembly: Reassembly,
    /// Where packets of nested SAs go.
    ends: Ends,
    /// There if any SA compresses.
    inflater: Option<Box<Inflater>>,
}

impl Gate {
    /// Whether a policy that discards may need more than a fragment shows.
    fn looks_above_ip(&self) -> bool {
        self.discarding.as_ref().is_some_and(|policies| policies.spd.looks_above_ip())
    }
}

/// An authentic packet's number, and when it came.
#[derive(Clone, Copy)]
pub(crate) struct Numbered {
    pub(crate) sequence: u64,
    pub(crate) now: Instant,
}

/// The policies, where any of them discards, and what they did with the latest flows.
struct Discarding {
    spd: Arc<Spd>,
    drops: FlowCache<bool>,
}

impl Discarding {
    fn replaced_by(mut self, spd: Arc<Spd>) -> Self {
        self.drops.clear();
        Self { spd, ..self }
    }

    fn drops(&mut self, flow: &FlowKey) -> bool {
        let Self { spd, drops } = self;
        drops.get_or_insert_with(flow, || spd.lookup_inbound(flow) == Some(Action::Discard))
    }
}

impl InboundSa {
    fn is_ah(&self) -> bool {
        matches!(self.key, OpeningKey::Ah(_))
    }

    /// RFC 4303 §3.4 or RFC 4302 §3.4 from the SA lookup on.
    fn open(
        &mut self,
        packet: &mut PacketBuf,
        header: EspHeader,
        ah: Option<AhPlace>,
        now: Instant,
        gate: &mut Gate,
        events: &mut Events,
    ) -> Result<Arrived, DropReason> {
        self.check_age(now, events)?;
        let sender = packet.meta.remote.ip();
        let window = self.window_of(sender)?;
        let sequence = window.infer(header.sequence).map_err(refusal)?;
        window.check(sequence).map_err(refusal)?;

        let label = Label { spi: header.spi, sequence, esn: window.is_extended() };
        let key = match (&self.key, ah) {
            (OpeningKey::Esp(key), None) => key,
            (OpeningKey::Ah(key), Some(place)) => {
                let next_at = place.verify(packet, key, label)?;
                let arrived = Numbered { sequence, now };
                let arrived = self.accept_ah(packet, place, next_at, arrived, gate, events)?;
                return self.let_in(packet, arrived, now, gate, events);
            }
            (OpeningKey::Esp(_), Some(_)) | (OpeningKey::Ah(_), None) => {
                return Err(DropReason::UnknownSpi);
            }
        };
        esp::open(packet, key, label)?;
        let taken_off = EspHeader::LEN + key.cipher().iv_len();

        // The peer made this packet: from here on state may change.
        let newest = self.window_of(sender)?.advance(sequence);
        self.note_arrival(packet, newest, now, events);
        let next_header = esp::strip_trailer(packet)?;
        if next_header == IpProtocol::NO_NEXT {
            return Err(DropReason::Dummy);
        }
        let next_header = match next_header {
            IpProtocol::IPCOMP => self.decompress(packet, gate)?,
            plain => plain,
        };
        let arrived = match self.mode {
            Mode::Tunnel => self.accept_inner(packet, next_header, gate)?,
            Mode::Transport => self.accept_payload(packet, next_header, taken_off, gate)?,
            Mode::Beet => self.accept_bound(packet, next_header, gate)?,
        };
        self.let_in(packet, arrived, now, gate, events)
    }

    /// Puts what was compressed in the place of an IPComp packet, and says what it is. Transport mode
    /// without compression carries what hosts have compressed themselves.
    fn decompress(
        &mut self,
        packet: &mut PacketBuf,
        gate: &mut Gate,
    ) -> Result<IpProtocol, DropReason> {
        match (&mut self.ipcomp, &mut gate.inflater) {
            (Some(ipcomp), Some(inflater)) => ipcomp.decompress(packet, inflater),
            _ if self.mode == Mode::Transport => Ok(IpProtocol::IPCOMP),
            _ => Err(DropReason::UnknownCpi),
        }
    }

    /// Counts a packet that was accepted, and keeps a fragment until it can be judged.
    fn let_in(
        &mut self,
        packet: &mut PacketBuf,
        arrived: Arrived,
        now: Instant,
        gate: &mut Gate,
        events: &mut Events,
    ) -> Result<Arrived, DropReason> {
        self.count(packet.len(), now, events);
        match arrived {
            Arrived::Whole => Ok(Arrived::Whole),
            Arrived::InPart => self.join(packet, now, gate),
        }
    }

    fn check_age(&mut self, now: Instant, events: &mut Events) -> Result<(), DropReason> {
        let age = self.meter.age(now);
        if age == Age::Fresh {
            return Ok(());
        }
        let child = self.child;
        if self.newly(age, now) {
            events.push(match age {
                Age::Hard => Event::HardExpire { child },
                Age::Soft | Age::Fresh => Event::SoftExpire { child },
            });
        }
        if age == Age::Hard { Err(DropReason::LifetimeOver) } else { Ok(()) }
    }

    /// Notes where and when an authentic packet came from.
    pub(crate) fn note_arrival(
        &mut self,
        packet: &PacketBuf,
        newest: bool,
        now: Instant,
        events: &mut Events,
    ) {
        let child = self.child;
        let told = self.traffic_told.map(|told| now.saturating_duration_since(told));
        let due = told.is_none_or(|since| since >= TRAFFIC_INTERVAL);
        if due {
            self.traffic_told = Some(now);
            events.push(Event::Traffic { child });
        }
        // RFC 7296 §2.23: the newest authentic packet shows where the NAT has its mapping now. An
        // older one may have been delayed or replayed from elsewhere.
        let remote = packet.meta.remote;
        let moved = newest && self.udp && packet.meta.udp && remote != self.remote;
        if moved {
            self.remote = remote;
        }
        if moved || (due && self.remote != self.settled) {
            let remote = self.remote;
            events.push(Event::PeerMoved { child, remote });
        }
    }

    /// RFC 4301 §5.2 on the decrypted packet: is it what it is said to be, and what did the path say
    /// about congestion? A fragment that cannot be judged without the others is judged with them.
    ///
    /// The TTL stays as it is: the kernel that takes the packet from the TUN device forwards it
    /// and decrements the TTL there (RFC 4301 §5.1.2.1 note 3 wants it done once).
    pub(crate) fn accept_inner(
        &mut self,
        packet: &mut PacketBuf,
        next_header: IpProtocol,
        gate: &mut Gate,
    ) -> Result<Arrived, DropReason> {
        let inner = IpPacket::read(packet.data()).map_err(|_| DropReason::BadInner)?;
        let announced = if inner.is_ipv4() { IpProtocol::IPV4 } else { IpProtocol::IPV6 };
        if next_header != announced {
            return Err(DropReason::BadInner);
        }
        let is_of_nested = || gate.ends.have(self.policy, &inner);
        let arrived =
            if inner.fragment().is_some() && (self.needs_whole_packets(gate) || is_of_nested()) {
                Arrived::InPart
            } else {
                self.check_policies(&inner.flow_key(), gate)?;
                Arrived::Whole
            };
        let outer_ecn = Ecn::from_traffic_class(packet.meta.tos);
        let (inner_ecn, traffic_class) = (inner.ecn(), inner.traffic_class());
        let total_len = inner.total_len();
        let ecn = inner_ecn.decapsulate(outer_ecn).ok_or(DropReason::EcnNotCapable)?;
        if tos::is_suspicious(inner_ecn, outer_ecn) {
            self.ecn_suspicious();
        }
        // RFC 4303 §2.7: what follows the inner packet is padding for traffic flow confidentiality.
        packet.truncate(total_len);
        if ecn != inner_ecn
            && !set_traffic_class(packet.data_mut(), ecn.in_traffic_class(traffic_class))
        {
            return Err(DropReason::BadInner);
        }
        Ok(arrived)
    }
}

impl InboundSa {
    /// Whether selectors and policies cannot judge a fragment without the others of its packet.
    fn needs_whole_packets(&self, gate: &Gate) -> bool {
        self.looks_above_ip() || self.table == TableId::DEFAULT && gate.looks_above_ip()
    }

    /// RFC 4301 §7.4: the fragments of a packet come in together, if the packet may.
    fn join(
        &self,
        packet: &mut PacketBuf,
        now: Instant,
        gate: &mut Gate,
    ) -> Result<Arrived, DropReason> {
        if gate.reassembly.join(Origin::Sa(self.child), packet, now)?.is_none() {
            return Ok(Arrived::InPart);
        }
        let whole = IpPacket::read(packet.data()).map_err(|_| DropReason::BadInner)?;
        self.check_policies(&whole.flow_key(), gate)?;
        Ok(Arrived::Whole)
    }

    /// RFC 4301 §5.2 on what transport mode carries: it is put behind an IP header again, the one it
    /// came with or, where the network has kept that, one as it must have been.
    fn accept_payload(
        &self,
        packet: &mut PacketBuf,
        next_header: IpProtocol,
        taken_off: usize,
        gate: &mut Gate,
    ) -> Result<Arrived, DropReason> {
        if let Some(change) = &self.change {
            change.mend(next_header, packet.data_mut());
        }
        let restored = match usize::from(packet.meta.header_len) {
            0 => self.write_header(packet, next_header),
            header_len => restore_header(packet, next_header, header_len, taken_off),
        };
        restored.ok_or(DropReason::NoRoom)?;
        self.accept_whole(packet, gate)
    }

    /// RFC 4301 §5.2 on what BEET mode carries: the header is made again, of the addresses that both
    /// ends know and of what the outer one says.
    fn accept_bound(
        &self,
        packet: &mut PacketBuf,
        next_header: IpProtocol,
        gate: &mut Gate,
    ) -> Result<Arrived, DropReason> {
        let (next, options) = match next_header {
            IpProtocol::BEET => beet::read_pseudo_header(packet)?,
            plain => (plain, 0),
        };
        self.write_header(packet, next).ok_or(DropReason::NoRoom)?;
        if options > 0 {
            widen_header(packet, next, options).ok_or(DropReason::BadInner)?;
        }
        self.accept_whole(packet, gate)
    }

    /// RFC 4301 §5.2 on a packet of transport mode that has its header again.
    pub(crate) fn accept_whole(
        &self,
        packet: &PacketBuf,
        gate: &mut Gate,
    ) -> Result<Arrived, DropReason> {
        let whole = IpPacket::read(packet.data()).map_err(|_| DropReason::BadInner)?;
        // RFC 4301 §7: there are only whole packets in transport mode.
        if whole.fragment().is_some() {
            return Err(DropReason::BadInner);
        }
        self.check_policies(&whole.flow_key(), gate)?;
        Ok(Arrived::Whole)
    }

    /// Whether a packet may come in through this SA.
    fn check_policies(&self, flow: &FlowKey, gate: &mut Gate) -> Result<(), DropReason> {
        //= https://www.rfc-editor.org/rfc/rfc4301#section-5.2
        //# If an IPsec system receives an inbound packet on an SA and the packet's header fields
        //# are not consistent with the selectors for the SA, it MUST discard the packet.
        if !self.admits(flow) {
            return Err(DropReason::SelectorMismatch);
        }
        // The peer knows nothing of an entry that discards part of what the SA may carry.
        if self.table == TableId::DEFAULT
            && gate.discarding.as_mut().is_some_and(|policies| policies.drops(flow))
        {
            return Err(DropReason::PolicyDiscard);
        }
        Ok(())
    }

    /// Above IP the packet's own addresses must be those of the selectors. A NAT may change them
    /// at any time; what comes through it is told to come from where the peer was at first.
    fn write_header(&self, packet: &mut PacketBuf, next: IpProtocol) -> Option<()> {
        let meta = packet.meta;
        let (src, dst) = match self.hosts() {
            Some(hosts) if meta.udp || self.mode == Mode::Beet => (hosts.remote, hosts.local),
            _ => (meta.remote.ip(), meta.local.ip()),
        };
        // What travels without its header was not to be cut.
        let header = IpHeader { src, dst, next, class: meta.tos, number: 0, dont_fragment: true };
        header.push(packet)
    }
}

/// Makes what follows an IPv4 header its options.
fn widen_header(packet: &mut PacketBuf, next: IpProtocol, options: usize) -> Option<()> {
    let header_len = Ipv4Header::LEN.checked_add(options)?;
    let first = packet.data_mut().first_mut()?;
    if *first >> 4 != 4 {
        return None;
    }
    *first = 0x40 | u8::try_from(header_len / 4).ok()?;
    FrontHeaders::of_ipv4(header_len, next).announce(packet.data_mut(), next).then_some(())
}

/// Moves the IPv4 header, which lies before what was taken off, down to what it carries now.
fn restore_header(
    packet: &mut PacketBuf,
    next: IpProtocol,
    header_len: usize,
    taken_off: usize,
) -> Option<()> {
    let end = header_len.checked_add(taken_off)?;
    packet.push_front(end)?;
    packet.data().get(..end)?;
    packet.data_mut().copy_within(..header_len, taken_off);
    if !packet.pull_front(taken_off) {
        return None;
    }
    FrontHeaders::of_ipv4(header_len, next).announce(packet.data_mut(), next).then_some(())
}

fn refusal(error: ReplayError) -> DropReason {
    match error {
        ReplayError::Duplicate => DropReason::Replayed,
        ReplayError::TooOld => DropReason::TooOld,
        ReplayError::Impossible => DropReason::BadSequence,
    }
}

/// RFC 4303 §4 and RFC 4302 §4 list them; RFC 4301 §5.2 adds the selector mismatch, and for a packet
/// that skipped an SA the same holds.
fn is_auditable(reason: DropReason) -> bool {
    matches!(
        reason,
        DropReason::Replayed
            | DropReason::TooOld
            | DropReason::BadSequence
            | DropReason::UnknownSender
            | DropReason::BadIcv
            | DropReason::SelectorMismatch
            | DropReason::NotNested
    )
}

fn audit(reason: DropReason, header: EspHeader, packet: &PacketBuf) -> Audit {
    Audit { reason, spi: header.spi, sequence: header.sequence.into(), remote: packet.meta.remote }
}

/// Least time between two [`Event::Traffic`] of an SA.
const TRAFFIC_INTERVAL: Duration = Duration::from_secs(1);
