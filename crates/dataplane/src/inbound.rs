//! Inbound processing of protected packets, RFC 4301 §5.2 and RFC 4303 §3.4; what is special about
//! AH is in [`crate::ah`].
//!
//! The order of the steps is the order of their trust: what costs nothing and proves nothing
//! first (SPI, replay window), then the integrity check, and only behind it whatever changes
//! state or looks at the inner packet.

mod ahead;
mod later;
mod train;

use std::sync::Arc;
use std::time::{Duration, Instant};

use adit_crypto::Prefetch;
use adit_db::{
    Action, Age, ChildSaId, Encapsulation, FlowCache, Mode, PolicyId, ReplayError, Spd, TableId,
};
use adit_wire::esp::EspHeader;
use adit_wire::iana::IpProtocol;
use adit_wire::ip::{Ecn, FlowKey, FlowMark, IpPacket, set_traffic_class};
use adit_wire::{PacketBuf, Reader, WireError};

use crate::aggfrag::Unpacked;
use crate::ah::{self, AhPlace};
use crate::audit::AuditGate;
use crate::counters::{InboundReport, SaCounters};
use crate::drop_reason::{DropCounters, DropReason};
use crate::early::Early;
use crate::esp::{self, Label};
use crate::event::{Audit, Event, Events};
use crate::icmp::is_icmp;
use crate::inbound_sad::InboundSad;
use crate::ipcomp::Inflater;
use crate::look_ahead::AHEAD_MAX;
use crate::nesting::{Ends, NESTING_MAX};
use crate::reassembly::{Origin, Reassembly};
use crate::sa::{InboundSa, OpeningKey};
use crate::security_failure::{Came, Failures};
use crate::slab::Slot;
use crate::tos;

use self::train::{InnerHead, Passed};

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
    /// What came before its SA.
    early: Early,
    /// What senders are told of packets that were refused.
    failures: Failures,
    /// How to look ahead, if that is possible.
    prefetch: Option<Prefetch>,
    /// Of the packets of a burst, their SAs.
    ahead: Vec<Option<(Slot, EspHeader)>>,
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
    /// What the outbound half of a child SA takes is another length now; what TCP connections say that
    /// begin from the peer's side follows.
    InnerMtu {
        /// The SA.
        child: ChildSaId,
        /// Longest inner packet, octets; 65,535 if there is no limit.
        inner: u16,
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
    /// The inner packet is a fragment and waits for the others of its packet, or what came is among
    /// the [`Inbound::unpacked`] packets, or was for the engine itself; this buffer is free.
    Held,
    /// The buffer holds nothing of use.
    Drop(DropReason),
}

/// How much of an inner packet an ESP or AH packet brought.
pub(crate) enum Arrived {
    Whole,
    InPart,
    /// None that goes anywhere: the reply to the probe with this nonce.
    Reply(u64),
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
            early: Early::default(),
            failures: Failures::default(),
            prefetch: None,
            ahead: Vec::with_capacity(AHEAD_MAX),
        }
    }

    /// The same engine with a way to tell the processor of memory before it is read: with many SAs it
    /// looks at the packets of a batch together then.
    #[must_use]
    pub fn with_prefetch(self, prefetch: Prefetch) -> Self {
        Self { prefetch: Some(prefetch), ..self }
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
                let (child, under) = (sa.child, sa.under.as_deref().copied());
                self.early.expect(sa.spi);
                if self.sad.insert(sa) {
                    self.failures.installed(self.sad.by_child(child));
                    under.iter().for_each(|under| self.gate.ends.add(under));
                }
            }
            InboundCommand::Remove { child } => {
                self.failures.removed(child);
                let under = self.sad.remove(child).and_then(|sa| sa.under);
                under.iter().for_each(|under| self.gate.ends.remove(under));
            }
            InboundCommand::UpdatePeer { child, encap } => {
                self.failures.moved(child, encap.remote.ip());
                if let Some(sa) = self.sad.by_child_mut(child) {
                    sa.settle(encap.remote);
                    sa.udp = encap.udp;
                    if let Some(under) = &mut sa.under {
                        self.gate.ends.remove(under);
                        (under.local, under.udp) = (encap.local, encap.udp);
                        self.gate.ends.add(under);
                    }
                }
            }
            InboundCommand::InnerMtu { child, inner } => {
                if let Some(sa) = self.sad.by_child_mut(child) {
                    sa.fit_mss(inner);
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
        self.gate.unpacked.clear();
        self.gate.passed = None;
        if let Some(by) = self.prefetch.filter(|_| packets.len() > 1 && self.sad.is_large()) {
            return self.open_ahead(packets, verdicts, by, now);
        }
        for packet in packets {
            verdicts.push(self.verdict(packet, now));
        }
    }

    #[inline]
    fn verdict(&mut self, packet: &mut PacketBuf, now: Instant) -> OpenVerdict {
        match self.open_coupled(packet, now) {
            Some(verdict) => verdict,
            None => {
                let opened = self.open(packet, now);
                self.verdict_of(opened)
            }
        }
    }

    fn verdict_of(&mut self, opened: Result<Arrived, DropReason>) -> OpenVerdict {
        match opened {
            Ok(Arrived::Whole) => OpenVerdict::Deliver,
            Ok(Arrived::InPart | Arrived::Reply(_)) => OpenVerdict::Held,
            Err(reason) => {
                self.drops.add(reason);
                OpenVerdict::Drop(reason)
            }
        }
    }

    /// Whether packets have got longer buffers than they came in, because there is more in them: that
    /// is, by the engine's own.
    pub fn has_lent(&self) -> bool {
        self.gate.reassembly.has_lent() || self.outer.has_lent()
    }

    /// Takes a longer buffer back and gives the shorter one again, if this is one of those. Ask for
    /// every packet of a batch after which [`Self::has_lent`], when it is delivered.
    pub fn take_back(&mut self, packet: &mut PacketBuf) {
        let lender =
            if self.outer.has_lent() { &mut self.outer } else { &mut self.gate.reassembly };
        lender.take_back(packet);
    }

    /// The inner packets that came out of shared ESP packets (RFC 9347) in the last call of
    /// [`Self::open_batch`] or [`Self::handle_timeout`], or came before their SAs. They are delivered
    /// like those that its verdicts deliver, in this order and behind them, and may be changed for it.
    pub fn unpacked(&mut self) -> &mut [PacketBuf] {
        self.gate.unpacked.packets()
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop().or_else(|| self.gate.bad_spi.take())
    }

    /// The next ICMP message to the sender of a packet that was refused, as IP packet without a source.
    pub fn poll_answer(&mut self) -> Option<PacketBuf> {
        self.failures.pop()
    }

    /// What flowed so far.
    pub fn report(&self) -> InboundReport {
        InboundReport {
            sas: self.sad.all().map(InboundSa::counters).collect(),
            drops: self.drops.plus(&self.gate.unpacked.drops),
            events_lost: self.events.lost(),
        }
    }

    /// What flowed so far through one SA; `None` if it is not there.
    pub fn counters_of(&self, child: ChildSaId) -> Option<SaCounters> {
        self.sad.by_child(child).map(InboundSa::counters)
    }

    /// Opens a packet, and what comes out of it while that is for a nested SA.
    fn open(&mut self, packet: &mut PacketBuf, now: Instant) -> Result<Arrived, DropReason> {
        self.open_from(packet, None, now)
    }

    /// The same for a packet that came out of an SA of this policy.
    fn open_from(
        &mut self,
        packet: &mut PacketBuf,
        mut came_out_of: Option<PolicyId>,
        now: Instant,
    ) -> Result<Arrived, DropReason> {
        for _ in 0..NESTING_MAX {
            if packet.meta.whole && !self.is_whole(packet, now)? {
                return Ok(Arrived::InPart);
            }
            let unpacked = self.gate.unpacked.packets().len();
            let (arrived, policy) = self.open_by_one(packet, came_out_of, now)?;
            self.open_nested(unpacked, policy, now);
            if matches!(arrived, Arrived::InPart) || !self.unwrap(packet, policy) {
                return Ok(arrived);
            }
            came_out_of = Some(policy);
        }
        // The last one's packet is for yet another SA: nobody has configured that.
        Err(DropReason::NestedTooDeep)
    }

    /// Opens a packet by its SA, and gives that one's policy.
    fn open_by_one(
        &mut self,
        packet: &mut PacketBuf,
        came_out_of: Option<PolicyId>,
        now: Instant,
    ) -> Result<(Arrived, PolicyId), DropReason> {
        let (header, ah) = read_header(packet)?;
        let came = Came { header, len: packet.len(), nested: came_out_of.is_some() };
        let slot = self.sad.find(header.spi, &packet.meta);
        let sa = slot.and_then(|slot| Some((slot, self.sad.at_mut(slot)?)));
        let Some((slot, sa)) = sa.filter(|(_, sa)| sa.is_ah() == ah.is_some()) else {
            let audit = audit(DropReason::UnknownSpi, header, packet);
            self.audits.pass(now).then(|| self.events.push(Event::Audit(audit)));
            let untold = self.failures.has_peer(packet).then_some(came);
            let is_kept = came_out_of.is_none() && self.early.keep(header.spi, packet, untold, now);
            if !is_kept {
                self.failures.unknown(packet, came, now);
            }
            return Err(DropReason::UnknownSpi);
        };
        let (policy, table) = (sa.policy, sa.table);
        let opened = if sa.under.as_ref().map(|under| under.policy) == came_out_of {
            sa.open(packet, header, ah, now, &mut self.gate, &mut self.events)
        } else {
            Err(DropReason::NotNested)
        };
        match self.gate.reassembly.take_given_up() {
            0 => {}
            lost => self.drops.add_many(DropReason::FragmentsMissing, lost),
        }
        if let Err(reason) = opened {
            self.refuse(slot, reason, packet, came, now);
        }
        self.tell_unpacked(now);
        let arrived = opened?;
        packet.meta.table = table.0;
        if self.gate.is_uncoupled() {
            self.couple(header.spi, slot);
        }
        Ok((arrived, policy))
    }

    /// Notes that this SA has refused a packet.
    #[cold]
    fn refuse(
        &mut self,
        slot: Slot,
        reason: DropReason,
        packet: &PacketBuf,
        came: Came,
        now: Instant,
    ) {
        let Some(sa) = self.sad.at_mut(slot) else { return };
        sa.dropped(reason);
        self.failures.refused(sa, reason, packet, came, now);
        if is_auditable(reason) && self.audits.pass(now) {
            self.events.push(Event::Audit(audit(reason, came.header, packet)));
        }
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
    /// What came out of shared ESP packets.
    pub(crate) unpacked: Unpacked,
    /// The packet before in its batch, if the next one may be like it.
    passed: Option<Passed>,
    /// What a peer has said last about an SPI of ours that it does not know, as an event.
    bad_spi: Option<Event>,
}

impl Gate {
    /// Whether any SA is nested.
    pub(crate) fn has_ends(&self) -> bool {
        !self.ends.is_empty()
    }

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
        let window = self.window_of(&packet.meta)?;
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
        let taken_off = EspHeader::LEN + key.shape().iv_len();

        // The peer made this packet: from here on state may change.
        let newest = self.window_of(&packet.meta)?.advance(sequence);
        self.note_arrival(packet, newest, now, events);
        let next_header = esp::strip_trailer(packet)?;
        self.accept(packet, next_header, (sequence, taken_off), now, gate, events)
    }

    /// The same from what the trailer says on, of a packet of this number that so many octets were taken
    /// off before.
    fn accept(
        &mut self,
        packet: &mut PacketBuf,
        next_header: IpProtocol,
        (sequence, taken_off): (u64, usize),
        now: Instant,
        gate: &mut Gate,
        events: &mut Events,
    ) -> Result<Arrived, DropReason> {
        if self.is_aggfrag() {
            return self.unpack(packet, next_header, Numbered { sequence, now }, gate, events);
        }
        if next_header == IpProtocol::NO_NEXT {
            return self.hear(packet, now, events);
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
            (Some(ipcomp), Some(inflater)) => {
                ipcomp.decompress(packet, inflater, &mut gate.reassembly)
            }
            _ if self.mode == Mode::Transport => Ok(IpProtocol::IPCOMP),
            _ => Err(DropReason::UnknownCpi),
        }
    }

    /// Counts a packet that was accepted, and keeps a fragment until it can be judged.
    pub(crate) fn let_in(
        &mut self,
        packet: &mut PacketBuf,
        arrived: Arrived,
        now: Instant,
        gate: &mut Gate,
        events: &mut Events,
    ) -> Result<Arrived, DropReason> {
        if let Arrived::Reply(nonce) = arrived {
            return Ok(self.hear_reply(nonce, now, events));
        }
        self.count(packet.len(), now, events);
        self.clamp_mss(packet.data_mut());
        match arrived {
            Arrived::InPart => self.join(packet, now, gate),
            Arrived::Whole | Arrived::Reply(_) => Ok(arrived),
        }
    }

    #[inline]
    fn check_age(&mut self, now: Instant, events: &mut Events) -> Result<(), DropReason> {
        match self.meter.age(now) {
            Age::Fresh => Ok(()),
            age @ (Age::Soft | Age::Hard) => self.let_aged(age, now, events),
        }
    }

    /// Whether one more packet may pass at an age that is to be reported.
    fn let_aged(&mut self, age: Age, now: Instant, events: &mut Events) -> Result<(), DropReason> {
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
    #[inline]
    pub(crate) fn note_arrival(
        &mut self,
        packet: &PacketBuf,
        newest: bool,
        now: Instant,
        events: &mut Events,
    ) {
        let child = self.child;
        let due = self.traffic_due.is_none_or(|due| now >= due);
        if due {
            self.traffic_due = now.checked_add(TRAFFIC_INTERVAL);
            events.push(Event::Traffic { child });
        }
        if packet.meta.largest_fragment > 0 {
            self.note_fragments(packet.meta.largest_fragment, now, events);
        }
        // RFC 7296 §2.23: the newest authentic packet shows where the NAT has its mapping now. An
        // older one may have been delayed or replayed from elsewhere.
        let remote = packet.meta.remote;
        // Where a TCP connection is, IKE says.
        let by_udp = packet.meta.udp && !packet.meta.tcp;
        let moved = newest && self.udp && by_udp && remote != self.remote;
        if moved {
            self.remote = remote;
        }
        if moved || (due && !self.is_settled()) {
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
        let (arrived, head, total_len) = match gate.passed(self.child, packet) {
            Some((head, len)) if next_header == head.announced() => (Arrived::Whole, head, len),
            _ => self.judge_inner(packet, next_header, gate)?,
        };
        self.take_out(packet, head, total_len)?;
        Ok(arrived)
    }

    /// Leaves of what was decrypted the inner packet, with what the path says about congestion.
    #[inline]
    fn take_out(
        &mut self,
        packet: &mut PacketBuf,
        head: InnerHead,
        total_len: usize,
    ) -> Result<(), DropReason> {
        let outer_ecn = Ecn::from_traffic_class(packet.meta.tos);
        let inner_ecn = Ecn::from_traffic_class(head.traffic_class);
        let ecn = inner_ecn.decapsulate(outer_ecn).ok_or(DropReason::EcnNotCapable)?;
        if tos::is_suspicious(inner_ecn, outer_ecn) {
            self.ecn_suspicious();
        }
        // RFC 4303 §2.7: what follows the inner packet is padding for traffic flow confidentiality.
        packet.truncate(total_len);
        if ecn != inner_ecn
            && !set_traffic_class(packet.data_mut(), ecn.in_traffic_class(head.traffic_class))
        {
            return Err(DropReason::BadInner);
        }
        Ok(())
    }

    /// Reads an inner packet, gives its head and length, and keeps its mark if it may pass whole.
    fn judge_inner(
        &self,
        packet: &PacketBuf,
        next_header: IpProtocol,
        gate: &mut Gate,
    ) -> Result<(Arrived, InnerHead, usize), DropReason> {
        let inner = IpPacket::read(packet.data()).map_err(|_| DropReason::BadInner)?;
        let head = InnerHead { is_ipv4: inner.is_ipv4(), traffic_class: inner.traffic_class() };
        if next_header != head.announced() {
            return Err(DropReason::BadInner);
        }
        if let Some(nonce) = self.reply_nonce(&inner) {
            return Ok((Arrived::Reply(nonce), head, inner.total_len()));
        }
        if self.is_joined(&inner, gate) {
            return Ok((Arrived::InPart, head, inner.total_len()));
        }
        self.check_policies(&inner, gate)?;
        let mark = FlowMark::read(packet.data());
        gate.passed = mark.map(|(mark, _)| Passed::new(self.child, mark, head));
        Ok((Arrived::Whole, head, inner.total_len()))
    }
}

impl InboundSa {
    /// Whether an inner packet is a fragment that waits for the others of its packet.
    fn is_joined(&self, inner: &IpPacket<'_>, gate: &Gate) -> bool {
        let is_of_nested = || gate.ends.have(self.policy, inner);
        inner.fragment().is_some() && (self.needs_whole_packets(gate) || is_of_nested())
    }

    /// Whether an inner packet may become longer where it is: with the others of its packet, or opened
    /// by a nested SA.
    pub(crate) fn may_grow(&self, inner: &IpPacket<'_>, gate: &Gate) -> bool {
        gate.ends.have(self.policy, inner) || self.is_joined(inner, gate)
    }

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
        self.check_policies(&whole, gate)?;
        Ok(Arrived::Whole)
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
        if let Some(nonce) = self.reply_nonce(&whole) {
            return Ok(Arrived::Reply(nonce));
        }
        self.check_policies(&whole, gate)?;
        Ok(Arrived::Whole)
    }

    /// Whether a packet may come in through this SA.
    fn check_policies(&self, inner: &IpPacket<'_>, gate: &mut Gate) -> Result<(), DropReason> {
        let flow = &inner.flow_key();
        //= https://www.rfc-editor.org/rfc/rfc4301#section-5.2
        //# If an IPsec system receives an inbound packet on an SA and the packet's header fields
        //# are not consistent with the selectors for the SA, it MUST discard the packet.
        if is_icmp(flow) {
            let fits = self.admits(flow);
            if fits && let Some(said) = self.bad_spi(inner) {
                gate.bad_spi = Some(said);
            }
            self.check_icmp(inner, fits)?;
        } else if !self.admits(flow) {
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
}

fn refusal(error: ReplayError) -> DropReason {
    match error {
        ReplayError::Duplicate => DropReason::Replayed,
        ReplayError::TooOld => DropReason::TooOld,
        ReplayError::Impossible => DropReason::BadSequence,
    }
}

/// RFC 4303 §4 and RFC 4302 §4 list them; RFC 4301 §5.2 adds the selector mismatch, and for a packet
/// that skipped an SA, or quotes one of another, the same holds.
pub(crate) fn is_auditable(reason: DropReason) -> bool {
    matches!(
        reason,
        DropReason::Replayed
            | DropReason::TooOld
            | DropReason::BadSequence
            | DropReason::UnknownSender
            | DropReason::BadIcv
            | DropReason::SelectorMismatch
            | DropReason::IcmpQuote
            | DropReason::NotNested
    )
}

fn audit(reason: DropReason, header: EspHeader, packet: &PacketBuf) -> Audit {
    Audit { reason, spi: header.spi, sequence: header.sequence.into(), remote: packet.meta.remote }
}

/// Least time between two [`Event::Traffic`] of an SA.
const TRAFFIC_INTERVAL: Duration = Duration::from_secs(1);
