//! Outbound processing of IP packets, RFC 4301 §5.1 and RFC 4303 §3.3; AH is in [`crate::ah`].

mod ahead;
mod command;
mod dummies;
mod limits;
mod stuck;
mod too_big;

use std::time::Instant;

use adit_crypto::Prefetch;
use adit_db::{ChildSaId, Dscp, Mode, Pfp, PolicyId, TableId};
use adit_wire::PacketBuf;
use adit_wire::ip::{FlowKey, FlowMark, IpPacket, set_ttl};

use crate::aggfrag::Slots;
use crate::audit::AuditGate;
use crate::bucket::TokenBucket;
use crate::counters::{OutboundReport, SaCounters};
use crate::drop_reason::{DropCounters, DropReason};
use crate::esp::INNER_MTU;
use crate::event::{Audit, Event, Events};
use crate::gateway_notice::Notices;
use crate::held::{Held, Passed};
use crate::icmp::{self, is_icmp};
use crate::icmp_outside::BySpi;
use crate::ipcomp::Deflater;
use crate::look_ahead::Ahead;
use crate::nesting::put_outer;
use crate::offload::SuperPacket;
use crate::outbound_sad::{Chain, Gap, OutboundSad, Slot};
use crate::path_mtu::MtuSource;
use crate::path_probe::ProbeQueue;
use crate::reassembly::{Origin, Reassembly};
use crate::seal::{Inner, Look};
use crate::tables::{Coach, Route, Tables, Train, missing, route_of};
use crate::transit::put_hops;

pub use self::command::OutboundCommand;
pub(crate) use self::stuck::Stuck;
pub use self::too_big::ANSWERS_PER_SECOND;
use self::too_big::Answers;

/// The outbound half of the packet engine; owned by one thread. Several of them may be one engine: each
/// gets every command, with its own part of the SAs ([`OutboundSa::for_threads`](crate::OutboundSa::for_threads)).
pub struct Outbound {
    /// The number of its thread.
    pub(crate) thread: u16,
    passed: Passed,
    tables: Tables,
    pub(crate) sad: OutboundSad,
    pub(crate) held: Held,
    reassembly: Reassembly,
    /// There if any SA compresses.
    deflater: Option<Box<Deflater>>,
    /// Where inner packets that share ESP packets are.
    slots: Slots,
    /// The SAs that have begun one of those.
    begun: Vec<Slot>,
    /// Of the packet that was cut last.
    fragment_id: u32,
    /// What senders of packets that are too long are told.
    answers: Answers,
    pub(crate) notices: Notices,
    /// Longest packet that any of its interfaces takes whole, octets.
    tun_mtu: u16,
    /// Changes whenever what nested SAs take may have.
    fitted: u32,
    /// How to look ahead, if that is possible.
    prefetch: Option<Prefetch>,
    ahead: Ahead,
    pub(crate) drops: DropCounters,
    audits: AuditGate,
    pub(crate) events: Events,
    /// The next limit of time of any SA.
    next_limit: Option<Instant>,
    pub(crate) probes: ProbeQueue,
    pub(crate) by_spi: BySpi,
    /// Unauthenticated messages about the paths of all SAs.
    pub(crate) complaints: TokenBucket,
    /// Of security failures that people are told of.
    pub(crate) failures_heard: TokenBucket,
}

/// What became of a packet that leaves.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// The buffer holds an ESP packet without outer headers, or in transport mode and with AH behind
    /// its IP header if its `meta` says that it is `whole`; the `meta` also says how it travels.
    Send,
    /// The buffer holds the packet unchanged; it travels in clear.
    Bypass,
    /// The packet waits for an SA in a buffer of its own, or the fragment for the others of its
    /// packet, or it shares ESP packets with others; this buffer is free. What [`Outbound::flush`]
    /// and [`Outbound::poll_packet`] have may be of it, or it is for another thread and
    /// [`Outbound::poll_passed`] has it.
    Held,
    /// The packet is not sent; the buffer holds it unchanged, or as far as some of several nested SAs
    /// have protected it.
    Drop(DropReason),
}

/// How a super-packet travels whole; good until the next command.
#[derive(Clone, Copy, Debug)]
pub struct SuperWay {
    slot: Slot,
    /// Its traffic class.
    class: u8,
}

impl Default for Outbound {
    fn default() -> Self {
        Self::new()
    }
}

impl Outbound {
    /// An engine without policies, which drops everything.
    pub fn new() -> Self {
        Self::of_thread(0)
    }

    /// The same for one of several threads.
    pub fn of_thread(thread: u16) -> Self {
        Self {
            thread,
            passed: Passed::default(),
            tables: Tables::default(),
            sad: OutboundSad::of_thread(thread),
            held: Held::default(),
            reassembly: Reassembly::default(),
            deflater: None,
            slots: Slots::default(),
            begun: Vec::new(),
            fragment_id: 0,
            answers: Answers::default(),
            notices: Notices::default(),
            tun_mtu: INNER_MTU,
            fitted: 1,
            prefetch: None,
            ahead: Ahead::default(),
            drops: DropCounters::default(),
            audits: AuditGate::default(),
            events: Events::new(),
            next_limit: None,
            probes: ProbeQueue::default(),
            by_spi: BySpi::default(),
            complaints: TokenBucket::NEW,
            failures_heard: TokenBucket::NEW,
        }
    }

    /// The same engine with a way to tell the processor of memory before it is read: with many SAs it
    /// looks at the packets of a batch together then.
    #[must_use]
    pub fn with_prefetch(self, prefetch: Prefetch) -> Self {
        Self { prefetch: Some(prefetch), ..self }
    }

    /// Carries out a change. Packets that waited for it are polled with [`Self::poll_packet`].
    ///
    /// Installing an SA twice, or changing one that is not there, does nothing: the control loop
    /// hands out the numbers, so this is only ever a race with a removal.
    pub fn handle_command(&mut self, command: OutboundCommand, now: Instant) {
        let Some(command) = self.hear(command, now) else { return };
        self.close_begun();
        self.tables.forget_routes();
        self.fitted = self.fitted.wrapping_add(1);
        match command {
            OutboundCommand::Install { mut sa, active } => {
                let child = sa.child;
                sa.tun_mtu = self.tun_mtu;
                // Whoever replaces an SA goes the same way.
                if let Some(path) = self.sad.path_of(sa.policy, sa.encap.remote.ip()) {
                    sa.inherit_path(&path);
                }
                if sa.ipcomp.is_some() {
                    self.deflater.get_or_insert_default();
                }
                self.next_limit = earlier(self.next_limit, sa.next_timeout());
                self.by_spi.put(&sa);
                self.sad.insert(sa);
                self.tables.make_room(self.sad.families());
                match active {
                    true => self.activate(child, now),
                    false => self.sad.expect(child, now),
                }
            }
            OutboundCommand::Activate { child } => self.activate(child, now),
            OutboundCommand::Remove { child } => {
                self.end_probing(child);
                if let Some(sa) = self.sad.by_child(child) {
                    self.by_spi.take_out(sa);
                }
                self.sad.remove(child);
            }
            OutboundCommand::SetPolicies(spd) => self.tables.set(TableId::DEFAULT, Some(spd)),
            OutboundCommand::SetTable { table, spd } => self.tables.set(table, spd),
            OutboundCommand::Skip { child, by } => {
                if let Some(sa) = self.sad.by_child(child) {
                    sa.sequence.skip(by);
                }
            }
            OutboundCommand::UpdatePeer { child, encap } => {
                if let Some(sa) = self.sad.by_child(child) {
                    self.by_spi.take_out(sa);
                    let is_elsewhere = sa.encap.remote.ip() != encap.remote.ip();
                    sa.encap = encap;
                    self.by_spi.put(sa);
                    if is_elsewhere {
                        sa.handle_new_path(&mut self.events);
                    }
                    sa.fit_path();
                    self.note_new_path(child, now);
                }
            }
            OutboundCommand::PathMtu { child, mtu, source } => {
                if let Some(sa) = self.sad.by_child(child) {
                    sa.learn_mtu(mtu, source, now, &mut self.events);
                    self.after_learning(child, now);
                }
            }
            OutboundCommand::TunMtu(mtu) => self.set_tun_mtu(mtu),
            OutboundCommand::PathMessage { .. }
            | OutboundCommand::ReportFragments { .. }
            | OutboundCommand::BadSpi { .. }
            | OutboundCommand::ForgetPath { .. }
            | OutboundCommand::Hops { .. }
            | OutboundCommand::Notice { .. } => {}
        }
    }

    /// What follows from it that another value may be in force for the path of an SA.
    pub(crate) fn after_learning(&mut self, child: ChildSaId, now: Instant) {
        self.note_limit(child);
        self.note_path(child, now);
    }

    /// Something else will be known of a path: what was begun by what was known ends.
    pub(crate) fn before_learning(&mut self) {
        self.close_begun();
        self.fitted = self.fitted.wrapping_add(1);
    }

    /// Looks when something is to be done about an SA.
    pub(crate) fn note_limit(&mut self, child: ChildSaId) {
        if let Some(sa) = self.sad.by_child(child) {
            self.next_limit = earlier(self.next_limit, sa.next_timeout());
        }
    }

    /// Notes which SAs have reached a limit of time, traffic or none, and sends the dummy packets
    /// that are due, for [`Self::poll_packet`].
    pub fn handle_timeout(&mut self, now: Instant) {
        self.keep_probing(now);
        if self.next_limit.is_none_or(|limit| limit > now) {
            return;
        }
        self.next_limit = None;
        self.fitted = self.fitted.wrapping_add(1);
        let mut dummies_due = Vec::new();
        for sa in self.sad.all() {
            // The events matter here, not whether a packet may pass.
            let _ = sa.check_age(now, &mut self.events);
            sa.age_path(now, &mut self.events);
            if sa.dummy_due().is_some_and(|due| due <= now) {
                sa.note_dummy(now);
                dummies_due.push(sa.child);
            }
            self.next_limit = earlier(self.next_limit, sa.next_timeout());
        }
        for child in dummies_due {
            if let Some(dummy) = self.dummy(child, now) {
                self.held.push_ready(dummy);
            }
        }
    }

    /// Seals a batch of IP packets in place and says of each what became of it.
    ///
    /// Each packet enters as inner IP packet with [`HEADROOM_MAX`](crate::HEADROOM_MAX) octets before and
    /// [`TAILROOM_MAX`](crate::TAILROOM_MAX) after it, with the number of its table in its `meta`, and leaves as `SPI | sequence | IV | ciphertext | ICV`, in transport
    /// mode above IP behind its own IP header, with AH as a whole IP packet. `verdicts` is emptied
    /// first and gets one verdict per packet, in order. Nothing is allocated if it has the room,
    /// except for packets that are [`Verdict::Held`].
    pub fn seal_batch(
        &mut self,
        packets: &mut [PacketBuf],
        verdicts: &mut Vec<Verdict>,
        now: Instant,
    ) {
        verdicts.clear();
        if let Some(by) = self.looks_ahead(packets.len()) {
            return self.seal_ahead(packets, verdicts, by, now);
        }
        let mut train = Train::default();
        for packet in packets {
            let verdict = self.seal(packet, &mut train, now);
            verdicts.push(self.counted(verdict));
        }
    }

    #[inline]
    fn counted(&mut self, verdict: Verdict) -> Verdict {
        if let Verdict::Drop(reason) = verdict {
            self.drops.add(reason);
        }
        verdict
    }

    /// Whether a super-packet that came by the interface of this table can travel whole, and through
    /// which SA: each is to be asked about once. If not, it is to be cut, and its packets sealed.
    pub fn super_way(&mut self, packet: &SuperPacket<'_>, table: TableId) -> Option<SuperWay> {
        let inner = IpPacket::read(packet.octets()).ok()?;
        let (flow, look) = (inner.flow_key(), Inner::of(&inner).look);
        let dscp = Dscp::from_traffic_class(look.class);
        let policies = self.tables.get_mut(table)?;
        let route = policies.route(table, &flow, dscp, &self.sad, &mut Train::default());
        let Route::Sa(slot) = route else { return None };
        let sa = self.sad.get(slot)?;
        let is_at_home = sa.home.is_none_or(|home| home == self.thread);
        let is_last = sa.is_plain() && sa.outer_policy().is_none();
        let goes = is_at_home && is_last && sa.takes_super(packet);
        goes.then_some(SuperWay { slot, class: look.class })
    }

    /// Puts a super-packet into ESP packets that it shares with what is before and behind it, by the
    /// way that was found for it; what was sealed since changes nothing in that. [`Self::flush`] has them.
    ///
    /// # Errors
    ///
    /// What it was dropped for, and counted.
    pub fn seal_super(
        &mut self,
        packet: &SuperPacket<'_>,
        way: &SuperWay,
        now: Instant,
    ) -> Result<(), DropReason> {
        let SuperWay { slot, class } = *way;
        let sa = self.sad.get(slot).ok_or(DropReason::NoSa)?;
        let packed = sa.pack_super(packet, class, &mut self.slots, now, &mut self.events);
        self.note_begun(slot);
        if let Err(reason) = packed {
            self.refuse(slot, reason, now);
            self.drops.add(reason);
        }
        packed
    }

    /// Says that a burst is over: the ESP packets that the packets of it share (RFC 9347), in the
    /// order in which they are to be sent, behind those that the verdicts of the batch send. No later
    /// call has them again.
    ///
    /// All of one SA are of one length, but for the last one of a burst, and where the traffic class
    /// of their outer headers changes. Who does not send bursts has them by [`Self::poll_packet`],
    /// one by one; both ways every batch is to be followed by one of the two.
    pub fn flush(&mut self) -> &[PacketBuf] {
        self.close_begun();
        self.slots.show()
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop()
    }

    /// Takes back the longer buffers that the engine has given for packets of these, and gives the
    /// shorter ones again. Call it when a batch is sent.
    pub fn take_back(&mut self, packets: &mut [PacketBuf]) {
        if self.reassembly.has_lent() {
            packets.iter_mut().for_each(|packet| self.reassembly.take_back(packet));
        }
    }

    /// The next packet that waited for an SA and is sealed now, or the next fragment of one that is
    /// too long for the network, or the next of those that [`Self::flush`] would have.
    pub fn poll_packet(&mut self) -> Option<PacketBuf> {
        if let Some(ready) = self.held.pop_ready() {
            return Some(ready);
        }
        self.close_begun();
        self.slots.pop()
    }

    /// The next ICMP error for the sender of a packet: a whole IP packet, to be sent not through this
    /// engine but to the host by its route. If the packet was too long the source is left unspecified for
    /// whoever sends it; if it had no hops left outside the source is the router that has said so.
    /// Its `meta` says by the interface of which table the packet came. Poll it behind every batch and
    /// command; only some wait, and only some a second are made.
    pub fn poll_answer(&mut self) -> Option<PacketBuf> {
        self.answers.pop()
    }

    /// The next packet that another thread is to seal, with its number; it goes through that one's
    /// [`Self::seal_batch`], unchanged.
    pub fn poll_passed(&mut self) -> Option<(u16, PacketBuf)> {
        self.passed.pop()
    }

    /// When [`Self::handle_timeout`] is wanted.
    pub fn poll_timeout(&self) -> Option<Instant> {
        earlier(self.next_limit, self.probe_timeout())
    }

    /// What flowed so far.
    pub fn report(&mut self) -> OutboundReport {
        OutboundReport {
            sas: self.sad.all().map(|sa| sa.counters()).collect(),
            drops: self.drops,
            held: self.held.len(),
            events_lost: self.events.lost(),
        }
    }

    /// What flowed so far through one SA; `None` if it is not there.
    pub fn counters_of(&mut self, child: ChildSaId) -> Option<SaCounters> {
        self.sad.by_child(child).map(|sa| sa.counters())
    }

    /// Counts packets that were sealed, and that the network did not take, or that could not be cut
    /// out of a super-packet.
    pub fn note_unsent(&mut self, reason: DropReason, packets: usize) {
        self.drops.add_many(reason, u64::try_from(packets).unwrap_or(u64::MAX));
    }

    /// The SAs that would protect a packet now one after the other, from the innermost on; none if it
    /// would not leave, or not protected.
    pub fn carriers(&mut self, table: TableId, flow: &FlowKey, dscp: Dscp) -> Vec<ChildSaId> {
        let Some(spd) = self.tables.spd(table) else { return Vec::new() };
        let Route::Sa(slot) = route_of(spd, &self.sad, flow, dscp) else { return Vec::new() };
        let Ok(chain) = self.sad.chain(slot) else { return Vec::new() };
        let child = |slot: &Slot| self.sad.get(*slot).map(|sa| sa.child);
        chain.slots().iter().filter_map(child).collect()
    }

    fn seal(&mut self, packet: &mut PacketBuf, train: &mut Train, now: Instant) -> Verdict {
        if let Some((coach, total_len)) = train.coach(packet) {
            packet.truncate(total_len);
            return self.seal_plain(packet, coach.slot, coach.look, now);
        }
        let number = TableId(packet.meta.table);
        let Ok(inner) = IpPacket::read(packet.data()) else {
            return Verdict::Drop(DropReason::NotIp);
        };
        let Some(table) = self.tables.get_mut(number) else {
            return Verdict::Drop(DropReason::NoPolicy);
        };
        let is_fragment = inner.fragment().is_some();
        if is_fragment && (table.spd.looks_above_ip() || self.sad.looks_above_ip()) {
            return self.join(packet, train, now);
        }
        let flow = inner.flow_key();
        let total_len = inner.total_len();
        let dscp = Dscp::from_traffic_class(inner.traffic_class());
        let mut route = table.route(number, &flow, dscp, &self.sad, train);
        if is_icmp(&flow) {
            route = icmp::route(route, &inner, &table.spd, &self.sad);
            if let Route::ByIke(slot) = route {
                return self.send_by_ike(slot, &inner, now);
            }
        }
        let inner = Inner::of(&inner);
        match route {
            Route::Sa(slot) => {
                let Some(sa) = self.sad.get(slot) else {
                    return Verdict::Drop(DropReason::NoSa);
                };
                if let Some(home) = sa.home.filter(|home| *home != self.thread) {
                    let passed = self.passed.push(home, packet);
                    return if passed { Verdict::Held } else { Verdict::Drop(DropReason::Crowded) };
                }
                //= https://www.rfc-editor.org/rfc/rfc4303#section-3.3.4
                //# Thus, transport mode ESP is applied only to whole IP
                //# datagrams (not to IP fragments).
                if is_fragment && sa.mode != Mode::Tunnel {
                    return self.join(packet, train, now);
                }
                packet.truncate(total_len);
                if sa.is_plain() && sa.outer_policy().is_none() {
                    if let Some((mark, _)) = FlowMark::read(packet.data()) {
                        train.couple(Coach { mark, table: number, slot, look: inner.look });
                    }
                    return self.seal_plain(packet, slot, inner.look, now);
                }
                match self.sad.chain(slot) {
                    Ok(chain) => self.seal_by_all(packet, &inner, &chain, now),
                    // Nothing of an inner SA may leave without the outer ones, so nothing is sealed.
                    Err(Gap::NoSa { policy, flow }) => {
                        let pfp = self.tables.pfp(policy);
                        self.hold((policy, pfp), flow, packet, now)
                    }
                    Err(Gap::TooDeep) => self.refuse(slot, DropReason::NestedTooDeep, now),
                }
            }
            Route::NoSa(policy) => {
                let pfp = table.spd.pfp(policy);
                self.hold((policy, pfp), flow, packet, now)
            }
            // It has been resolved; what is not sent harms nobody.
            Route::ByClass(_) | Route::ByIke(_) => Verdict::Drop(DropReason::NoSa),
            Route::Bypass => self.bypass(packet, now),
            Route::Drop(reason) => Verdict::Drop(reason),
        }
    }

    /// Protects a packet by the only SA that it takes, which is plain.
    #[inline]
    fn seal_plain(
        &mut self,
        packet: &mut PacketBuf,
        slot: Slot,
        look: Look,
        now: Instant,
    ) -> Verdict {
        let limit = match self.sad.get(slot) {
            Some(sa) => {
                sa.clamp_mss(packet.data_mut());
                if sa.watches_long() {
                    sa.note_long(packet);
                }
                usize::from(sa.inner_max)
            }
            None => usize::MAX,
        };
        if packet.len() > limit {
            return self.seal_long(packet, slot, limit, now);
        }
        let sealed = match self.sad.get(slot) {
            Some(sa) if !sa.is_aggfrag() => {
                sa.seal_plain(packet, look, now, &mut self.events).map(|()| Verdict::Send)
            }
            // It overtakes nothing: these are sent before what is shared.
            Some(sa) if self.slots.is_idle() && sa.fills_payload(packet.len()) => {
                sa.seal_payload(packet, look.class, now, &mut self.events).map(|()| Verdict::Send)
            }
            Some(_) => self.pack(slot, packet, look, now),
            None => Err(DropReason::NoSa),
        };
        match sealed {
            Ok(verdict) => verdict,
            Err(reason) => self.refuse(slot, reason, now),
        }
    }

    /// Protects a packet by one SA after the other, if it is not too long.
    fn seal_by_all(
        &mut self,
        packet: &mut PacketBuf,
        inner: &Inner,
        chain: &Chain,
        now: Instant,
    ) -> Verdict {
        let limit = self.limit_for(packet, inner, chain);
        if packet.len() > limit
            && let Some(first) = chain.slots().first()
        {
            return self.seal_long(packet, *first, limit, now);
        }
        self.seal_through(packet, inner, chain, now)
    }

    /// Protects a packet of whatever length by one SA after the other.
    fn seal_through(
        &mut self,
        packet: &mut PacketBuf,
        inner: &Inner,
        chain: &Chain,
        now: Instant,
    ) -> Verdict {
        let Some((first, outer)) = chain.slots().split_first() else {
            return Verdict::Drop(DropReason::NoSa);
        };
        let sealed = match self.seal_by(*first, packet, inner, now) {
            Ok(Sealed::Packed) => return Verdict::Held,
            Ok(Sealed::Alone(alone)) => self.seal_again(packet, alone, outer, now),
            Err(reason) => Err((*first, reason)),
        };
        if let Ok(Sealed::Alone(Alone { number, hops: Some(hops) })) = sealed {
            put_hops(packet, number, hops, self.path_of(chain));
        }
        match sealed {
            Ok(Sealed::Packed) => Verdict::Held,
            Ok(Sealed::Alone(alone)) => self.cut_outside(packet, alone.number, chain),
            Err((slot, reason)) => self.refuse(slot, reason, now),
        }
    }

    /// Protects what an SA has sealed by each of the outer ones; says which one refuses it, if one does.
    fn seal_again(
        &mut self,
        packet: &mut PacketBuf,
        mut alone: Alone,
        outer: &[Slot],
        now: Instant,
    ) -> Result<Sealed, (Slot, DropReason)> {
        for slot in outer {
            put_outer(packet, alone.number).ok_or((*slot, DropReason::NoRoom))?;
            if let Some(hops) = alone.hops {
                let _ = set_ttl(packet.data_mut(), hops);
            }
            let inner = IpPacket::read(packet.data()).map(|inner| Inner::of(&inner));
            let inner = inner.map_err(|_| (*slot, DropReason::NotIp))?;
            match self.seal_by(*slot, packet, &inner, now).map_err(|reason| (*slot, reason))? {
                Sealed::Alone(next) => alone = next,
                Sealed::Packed => return Ok(Sealed::Packed),
            }
        }
        Ok(Sealed::Alone(alone))
    }

    /// Protects a packet by one SA.
    fn seal_by(
        &mut self,
        slot: Slot,
        packet: &mut PacketBuf,
        inner: &Inner,
        now: Instant,
    ) -> Result<Sealed, DropReason> {
        let sa = self.sad.get(slot).ok_or(DropReason::NoSa)?;
        if sa.is_aggfrag() {
            return self.pack(slot, packet, inner.look, now).map(|_| Sealed::Packed);
        }
        let hops = if sa.reveals() { sa.hops_of(packet, now) } else { None };
        sa.seal(packet, inner, now, self.deflater.as_deref_mut(), &mut self.events)?;
        let number = sa.sequence.last();
        if hops.is_some() {
            sa.note_sealed(number);
        }
        Ok(Sealed::Alone(Alone { number, hops }))
    }

    /// Puts a packet into ESP packets that it shares, by the last SA that protects it.
    fn pack(
        &mut self,
        slot: Slot,
        packet: &PacketBuf,
        look: Look,
        now: Instant,
    ) -> Result<Verdict, DropReason> {
        let sa = self.sad.get(slot).ok_or(DropReason::NoSa)?;
        let packed = sa.pack(packet.data(), look.class, &mut self.slots, now, &mut self.events);
        self.note_begun(slot);
        packed.map(|()| Verdict::Held)
    }

    fn note_begun(&mut self, slot: Slot) {
        let has_begun = self.sad.get(slot).is_some_and(|sa| sa.has_begun());
        if has_begun && !self.begun.contains(&slot) {
            self.begun.push(slot);
        }
    }

    /// Seals the payloads that are begun, however full they are.
    fn close_begun(&mut self) {
        for slot in self.begun.drain(..) {
            if let Some(sa) = self.sad.get(slot)
                && let Err(reason) = sa.close(&mut self.slots)
            {
                sa.dropped(reason);
                self.drops.add(reason);
            }
        }
    }

    /// Keeps a fragment until the others of its packet are there, and seals that (RFC 4301 §7).
    fn join(&mut self, packet: &mut PacketBuf, train: &mut Train, now: Instant) -> Verdict {
        let Ok(src) = IpPacket::read(packet.data()).map(|inner| inner.src()) else {
            return Verdict::Drop(DropReason::NotIp);
        };
        let joined = self.reassembly.join(Origin::Host(src), packet, now);
        self.drops.add_many(DropReason::FragmentsMissing, self.reassembly.take_given_up());
        let id = match joined {
            Ok(None) => return Verdict::Held,
            Ok(Some(id)) => id,
            Err(reason) => return Verdict::Drop(reason),
        };
        packet.meta.joined = true;
        let verdict = self.seal(packet, train, now);
        let is_long = packet.len() > usize::from(INNER_MTU);
        let is_cut = verdict == Verdict::Bypass && is_long;
        if is_cut { self.cut(packet, id, INNER_MTU.into()) } else { verdict }
    }

    fn refuse(&mut self, slot: Slot, reason: DropReason, now: Instant) -> Verdict {
        if let Some(sa) = self.sad.get(slot) {
            sa.dropped(reason);
            //= https://www.rfc-editor.org/rfc/rfc4303#section-3.3.3
            //# An attempt to transmit a packet that would result in sequence number overflow is an
            //# auditable event.
            if reason == DropReason::SequenceExhausted && self.audits.pass(now) {
                self.events.push(Event::Audit(Audit {
                    reason,
                    spi: sa.spi,
                    sequence: sa.sequence.last(),
                    remote: sa.encap.remote,
                }));
            }
        }
        Verdict::Drop(reason)
    }

    fn hold(
        &mut self,
        (policy, pfp): (PolicyId, Pfp),
        flow: FlowKey,
        packet: &PacketBuf,
        now: Instant,
    ) -> Verdict {
        if !pfp.is_none() && self.sad.count(policy) >= SAS_PER_POLICY_MAX {
            return Verdict::Drop(DropReason::TooManySas);
        }
        let wanted = (policy, pfp.class(&flow));
        if !self.sad.is_coming(policy, &flow, now) && self.held.may_ask(wanted, now) {
            self.events.push(Event::Acquire { policy, flow });
        }
        if self.held.hold(wanted, packet, now) {
            Verdict::Held
        } else {
            Verdict::Drop(DropReason::NoSa)
        }
    }

    /// Puts an SA first in its policy and seals what waited for it. Packets outside its narrowed
    /// selectors wait on, but for those that it carries in packets of other SAs.
    fn activate(&mut self, child: ChildSaId, now: Instant) {
        let Some(policy) = self.sad.activate(child) else { return };
        let Some(sa) = self.sad.by_child(child) else {
            return;
        };
        sa.active = true;
        sa.note_dummy(now);
        // Else the TUN takes no more than the SA.
        if sa.path().in_force().1 != MtuSource::Link || sa.inner_max < self.tun_mtu {
            sa.tell_path(&mut self.events);
        }
        self.next_limit = earlier(self.next_limit, sa.next_timeout());
        self.begin_probing(child, now);
        let Some(sa) = self.sad.slot_of(child) else { return };
        let (tables, sad) = (&self.tables, &self.sad);
        let carried = |packet: &PacketBuf| {
            IpPacket::read(packet.data()).is_ok_and(|inner| {
                let flow = inner.flow_key();
                let dscp = Dscp::from_traffic_class(inner.traffic_class());
                let spd = || tables.spd(TableId(packet.meta.table));
                sad.carries(sa, &flow)
                    || sad.has_nested()
                        && spd().and_then(|spd| missing(spd, sad, &flow, dscp)) != Some(policy)
            })
        };
        let mut train = Train::default();
        for mut packet in self.held.take(policy, now, carried) {
            match self.seal(&mut packet, &mut train, now) {
                Verdict::Send => self.held.push_ready(packet),
                Verdict::Drop(reason) => self.drops.add(reason),
                // The policies changed while it waited: it is not this SA's any more, and waits
                // for another or is lost. A fragment waits for the others of its packet.
                Verdict::Held => {}
                Verdict::Bypass => self.drops.add(DropReason::NoSa),
            }
        }
    }
}

/// What an SA has made of a packet.
#[derive(Clone, Copy)]
enum Sealed {
    /// An ESP or AH packet.
    Alone(Alone),
    /// It is in packets of the engine, with others.
    Packed,
}

/// What is known of a packet that was sealed.
#[derive(Clone, Copy)]
struct Alone {
    /// Its sequence number.
    number: u64,
    /// How many hops its outer packet has, if that matters.
    hops: Option<u8>,
}

/// Most SAs of a policy that takes selectors from packets: no more are asked for. Who scans a network
/// from inside would have one for each address.
pub const SAS_PER_POLICY_MAX: usize = 256;

fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    one.into_iter().chain(other).min()
}
