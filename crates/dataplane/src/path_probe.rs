//! Probes of the path MTU (RFC 8899) in the engine: when an SA's [`Prober`] wants one sent, how it is sealed, and
//! what comes of those that arrive.
//!
//! ```text
//! this side   outbound  Prober -> probe   ======>  inbound  Event::PathMessage   the peer
//!                                                   |  OutboundCommand::PathMessage
//!             inbound                     <======  outbound answer
//!             |  Event::PathMessage
//!             outbound  OutboundCommand::PathMessage -> Prober
//! ```
//!
//! Messages are dummy packets of the SA (RFC 4303 §2.6), so they need no address that the selectors
//! allow, and nothing is believed that has not passed the integrity check and the replay window. Where the
//! peer does not understand them, probes are echo requests to somebody behind it ([`EchoProbe`]), and the
//! replies go the same way as answers.

use std::collections::BTreeSet;
use std::num::NonZeroU16;
use std::time::{Duration, Instant};

use adit_db::{ChildSaId, Mode};
use adit_wire::esp::EspHeader;
use adit_wire::iana::IpProtocol;
use adit_wire::ip::{Echo, IpPacket};
use adit_wire::{PacketBuf, PacketMeta, PathMessage, Reader};

use crate::bucket::TokenBucket;
use crate::drop_reason::DropReason;
use crate::echo_probe::EchoProbe;
use crate::esp::{self, HEADROOM_MAX, Label, TAILROOM_MAX};
use crate::event::{Event, Events};
use crate::inbound::Arrived;
use crate::outbound::Outbound;
use crate::overhead::header_len;
use crate::path_mtu::MtuSource;
use crate::probing::{Bounds, Probe, Prober, Sent};
use crate::sa::{InboundSa, OutboundSa, SealingKey};
use crate::seal::spend;

/// What is told about the path of an SA, by whom ever; one for each direction, once anything was.
#[derive(Clone, Debug, Default)]
pub(crate) struct PathTalk {
    /// What an outbound SA does about probes.
    pub(crate) probing: Probing,
    /// By which echo requests it asks, or an inbound SA knows the replies, if the peer answers nothing else.
    pub(crate) echo: Option<EchoProbe>,
    /// Unauthenticated messages.
    pub(crate) complaints: TokenBucket,
    /// What an inbound SA has told of those that are.
    hearing: Hearing,
    /// In which fragments its packets come.
    fragments: Fragments,
}

/// That the path of an outbound SA is probed from its next packet on: the [`Prober`] that then is made
/// of this has slept since the SA was installed. Of SAs that carry nothing there may be many.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Begun {
    /// What the path was believed to take.
    current: NonZeroU16,
    /// What the link took.
    link: u16,
}

/// What an outbound SA does about probes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Probing {
    /// There once the SA has been in use, if it is probed.
    prober: Option<Box<Prober>>,
    /// Where it is in the [`ProbeQueue`].
    due: Option<Instant>,
}

/// Which SAs have something to do about probes, and when. They have a queue of their own: what costs a
/// look at every SA is not done once a second for each.
#[derive(Debug, Default)]
pub(crate) struct ProbeQueue(BTreeSet<(Instant, ChildSaId)>);

impl ProbeQueue {
    /// When the first is due.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.0.first().map(|(at, _)| *at)
    }

    fn pop_due(&mut self, now: Instant) -> Option<(Instant, ChildSaId)> {
        self.next_timeout().filter(|at| *at <= now)?;
        self.0.pop_first()
    }

    /// Notes when an SA is due: when its prober is, or while that sleeps at `look_at`.
    fn put(&mut self, child: ChildSaId, probing: &mut Probing, look_at: Option<Instant>) {
        if let Some(old) = probing.due.take() {
            self.0.remove(&(old, child));
        }
        probing.due = probing.prober.as_ref().and_then(|prober| prober.poll_timeout()).or(look_at);
        self.0.extend(probing.due.map(|due| (due, child)));
    }

    fn take_out(&mut self, child: ChildSaId, probing: &Probing) {
        if let Some(due) = probing.due {
            self.0.remove(&(due, child));
        }
    }
}

/// How much of what arrives an inbound SA has told.
#[derive(Clone, Debug, Default)]
struct Hearing {
    since: Option<Instant>,
    told: u16,
}

impl Hearing {
    /// Whether one more message may be told of: a peer cannot keep us busy.
    fn may_tell(&mut self, now: Instant) -> bool {
        let is_over = |since: Instant| now.saturating_duration_since(since) >= SECOND;
        if self.since.is_none_or(is_over) {
            (self.since, self.told) = (Some(now), 0);
        }
        self.told = self.told.saturating_add(1);
        self.told <= HEARD_PER_SECOND
    }
}

/// The largest fragment, by draft-richardson-ipsec-pmtu-discov-02: what was told, and what has come
/// since.
#[derive(Clone, Debug, Default)]
struct Fragments {
    told: Option<(u16, Instant)>,
    /// The largest one since when.
    largest: u16,
    since: Option<Instant>,
}

impl Fragments {
    /// Notes a packet that came in fragments; what is to be told, if anything is. That they have become
    /// larger one of them shows, that they are smaller all of some seconds.
    fn note(&mut self, largest: u16, now: Instant) -> Option<u16> {
        let Some((told, at)) = self.told else { return Some(self.tell(largest, now)) };
        let differs = |one: u16| u32::from(one.abs_diff(told)).saturating_mul(10) > told.into();
        if largest > told && differs(largest) {
            return Some(self.tell(largest, now));
        }
        let passed = |since: Instant, time| now.saturating_duration_since(since) >= time;
        if self.since.is_some_and(|since| !passed(since, FRAGMENTS_LOOK)) {
            self.largest = self.largest.max(largest);
            return None;
        }
        let before = std::mem::replace(&mut self.largest, largest);
        self.since = Some(now);
        (differs(before) || passed(at, REPORT_INTERVAL)).then(|| self.tell(before, now))
    }

    fn tell(&mut self, largest: u16, now: Instant) -> u16 {
        self.told = Some((largest, now));
        (self.largest, self.since) = (largest, Some(now));
        largest
    }
}

impl Outbound {
    /// Sends the probes that are due, for [`Self::poll_packet`].
    pub(crate) fn keep_probing(&mut self, now: Instant) {
        while let Some(child) = self.events.pop_woken() {
            self.with_prober(child, now, |prober, _| prober.wake(now));
        }
        for _ in 0..PROBERS_IN_A_ROW {
            let Some((at, child)) = self.probes.pop_due(now) else { break };
            let Some(probing) = self.sad.by_child(child).and_then(OutboundSa::probing) else {
                continue;
            };
            if probing.due == Some(at) {
                probing.due = None;
                self.with_prober(child, now, |prober, sent| prober.handle_timeout(sent, now));
            }
        }
    }

    /// When that is wanted.
    pub(crate) fn probe_timeout(&self) -> Option<Instant> {
        self.events.woken_at().into_iter().chain(self.probes.next_timeout()).min()
    }

    /// Takes what the peer says about the path.
    pub(crate) fn handle_path_message(
        &mut self,
        child: ChildSaId,
        message: PathMessage,
        now: Instant,
    ) {
        match message {
            PathMessage::Probe { nonce } => {
                self.send_path_message(child, PathMessage::Answer { nonce }, 0, now);
            }
            PathMessage::Answer { nonce } => {
                self.with_prober(child, now, |prober, _| prober.handle_answer(nonce, now));
            }
            PathMessage::Report { largest_fragment } => {
                self.handle_fragment(child, largest_fragment, now);
            }
        }
    }

    /// Tells the peer in which fragments its packets come.
    pub(crate) fn report_fragments(&mut self, child: ChildSaId, largest: u16, now: Instant) {
        let report = PathMessage::Report { largest_fragment: largest };
        self.send_path_message(child, report, 0, now);
    }

    /// Packets of an SA came in fragments, of which this was the largest: what is longer is cut, by
    /// whom ever, so where it can be tried it is. That the path takes more than was thought fragments
    /// do not say.
    fn handle_fragment(&mut self, child: ChildSaId, largest: u16, now: Instant) {
        let Some(sa) = self.sad.by_child(child) else { return };
        if sa.has_probing() && sa.is_cut_below(largest) && !self.probe_now(child, now) {
            self.believe_fragment(child, largest, now);
        }
    }

    /// Tries at once what the path takes; false if nothing is tried there.
    pub(crate) fn probe_now(&mut self, child: ChildSaId, now: Instant) -> bool {
        let sa = self.sad.by_child(child);
        let is_probed = sa.is_some_and(|sa| sa.prober().is_some());
        if is_probed {
            self.with_prober(child, now, |prober, _| prober.handle_fragments(now));
        }
        is_probed
    }

    /// The same as a report where nothing can be tried.
    pub(crate) fn believe_fragment(&mut self, child: ChildSaId, largest: u16, now: Instant) {
        let sa = self.sad.by_child(child);
        if !sa.is_some_and(|sa| sa.is_cut_below(largest) && !sa.ignores_path()) {
            return;
        }
        self.before_learning();
        let Some(sa) = self.sad.by_child(child) else { return };
        sa.learn_mtu(largest, MtuSource::Report, now, &mut self.events);
        self.events.push(Event::PathLearnt { child, mtu: largest, source: MtuSource::Report });
        self.after_learning(child, now);
    }

    /// Begins to probe the path of an SA that is used from now on, and ends that for what it replaces:
    /// the peer may have deleted it.
    pub(crate) fn begin_probing(&mut self, child: ChildSaId, now: Instant) {
        self.explore(child, now);
        for old in self.sad.idle_behind(child) {
            self.end_probing(old);
            // Nor is anything answered on it.
            self.sad.by_child(old).into_iter().for_each(OutboundSa::forget_talk);
        }
        let Some(sa) = self.sad.by_child(child) else { return };
        let (current, source) = sa.path().in_force();
        let bounds = sa.bounds();
        if !sa.is_probed() || source == MtuSource::Operator {
            return;
        }
        if sa.probing().is_some_and(|probing| probing.prober.is_some()) {
            return;
        }
        let Some(current) = NonZeroU16::new(current) else { return };
        sa.begun = Some(Begun { current, link: bounds.link });
        sa.wake_by_traffic(true);
        // It is looked at now and then.
        if sa.is_everybodys() {
            self.with_prober(child, now, |_, _| {});
        }
    }

    /// Another value is in force for the path of an SA, or the path is another one.
    pub(crate) fn note_path(&mut self, child: ChildSaId, now: Instant) {
        let Some(sa) = self.sad.by_child(child) else { return };
        let (mtu, source) = sa.path().in_force();
        if source == MtuSource::Operator {
            self.end_probing(child);
            return;
        }
        // To one that is still to be made it would be no news.
        if sa.begun.is_none_or(|begun| begun.current.get() != mtu) {
            self.with_prober(child, now, |prober, _| prober.handle_report(mtu, now));
        }
    }

    /// The peer of an SA is elsewhere now.
    pub(crate) fn note_new_path(&mut self, child: ChildSaId, now: Instant) {
        self.explore(child, now);
        let Some(sa) = self.sad.by_child(child) else { return };
        let mtu = sa.path().in_force().0;
        self.with_prober(child, now, |prober, _| prober.handle_new_path(mtu, now));
    }

    /// Takes the path of an SA for one of which nothing is known.
    pub(crate) fn forget_path(&mut self, child: ChildSaId, now: Instant) {
        self.before_learning();
        if let Some(sa) = self.sad.by_child(child) {
            sa.handle_new_path(&mut self.events);
            self.note_limit(child);
            self.note_new_path(child, now);
        }
    }

    /// Ends the probes of an SA.
    pub(crate) fn end_probing(&mut self, child: ChildSaId) {
        let Self { sad, probes, .. } = self;
        let Some(sa) = sad.by_child(child) else { return };
        sa.wake_by_traffic(false);
        sa.begun = None;
        // Who comes after it doubts for itself.
        let _ = sa.release_long();
        if let Some(probing) = sa.probing() {
            probes.take_out(child, probing);
            *probing = Probing::default();
        }
    }

    /// Does something with the prober of an SA, and what follows from that.
    fn with_prober(
        &mut self,
        child: ChildSaId,
        now: Instant,
        change: impl FnOnce(&mut Prober, Sent),
    ) {
        let Some(sa) = self.sad.by_child(child) else { return };
        let usage = sa.meter.usage_of_all();
        let sent = Sent { octets: usage.octets, packets: usage.packets };
        let (bounds, is_unproven) = (sa.bounds(), sa.is_unproven());
        let Some(prober) = sa.prober() else { return };
        // A message of the control loop may have changed them since.
        prober.set_bounds(bounds, now);
        change(prober, sent);
        // All threads wait to hear that what they take it for is right.
        let proven = (is_unproven && prober.is_proven()).then(|| prober.current());
        let found = prober.poll_found().or(proven);
        let probes: Vec<Probe> = std::iter::from_fn(|| prober.poll_probe()).collect();
        let (is_asleep, passes) = (prober.is_asleep(), prober.passes_instead());
        sa.wake_by_traffic(is_asleep);
        // Packets of other threads wake nobody.
        let look_at = now.checked_add(SECOND).filter(|_| is_asleep && sa.is_everybodys());
        if let Some(mtu) = found {
            self.before_learning();
            let Some(sa) = self.sad.by_child(child) else { return };
            // What the blocks of the cipher leave unused has not been tried.
            let mtu = if mtu < sa.path().link() { sa.message_octets(mtu) } else { mtu };
            let source = sa.echo().map_or(MtuSource::Probe, |_| MtuSource::Echo);
            sa.learn_mtu(mtu, source, now, &mut self.events);
            self.events.push(Event::PathLearnt { child, mtu, source });
        }
        if let Some(probing) = self.sad.by_child(child).and_then(OutboundSa::probing) {
            self.probes.put(child, probing, look_at);
        }
        self.note_limit(child);
        self.keep_or_tell(child, passes, now);
        for Probe { nonce, size } in probes {
            self.send_path_message(child, PathMessage::Probe { nonce }, size, now);
        }
    }

    /// While a size is in doubt long packets are kept, and then their senders hear what came of it.
    fn keep_or_tell(&mut self, child: ChildSaId, passes: Option<u16>, now: Instant) {
        match (passes, self.sad.by_child(child)) {
            (Some(passes), Some(sa)) => sa.keep_long(passes.max(sa.path().floor())),
            (None, _) => self.tell_stuck(child, now),
            (Some(_), None) => {}
        }
    }

    /// Sends a message that makes an outer packet of so many octets, or a little less; as few as there
    /// may be if that is zero.
    fn send_path_message(
        &mut self,
        child: ChildSaId,
        message: PathMessage,
        size: u16,
        now: Instant,
    ) {
        let Some(sa) = self.sad.by_child(child).filter(|sa| sa.is_probed()) else { return };
        match sa.seal_path_message(message, size, now, &mut self.events) {
            Ok(packet) => self.held.push_ready(packet),
            Err(reason) => {
                sa.dropped(reason);
                self.drops.add(reason);
            }
        }
    }
}

impl OutboundSa {
    /// Whether its path can be probed: nothing else is around its packets than what the network puts
    /// there, and its lengths need not be hidden. Where packets share others (RFC 9347) two Adits have
    /// agreed on probes beside them.
    fn is_probed(&self) -> bool {
        let is_alone = self.outer_policy().is_none();
        let is_plain = !self.encap.tcp && !self.is_ah() && self.tfc.padding == 0;
        self.has_probing() && is_alone && is_plain && !self.ignores_path()
    }

    /// What probes its path, if anything does; made when it is first asked for.
    fn prober(&mut self) -> Option<&mut Prober> {
        if let Some(Begun { current, link }) = self.begun.take() {
            let bounds = Bounds { link, ..self.bounds() };
            let prober = Prober::new(bounds, current.get(), self.meter.installed());
            self.talk().probing.prober = Some(Box::new(prober));
        }
        self.probing().and_then(|probing| probing.prober.as_deref_mut())
    }

    /// Whether every thread sends on it, so that packets of others wake nothing here.
    fn is_everybodys(&self) -> bool {
        self.home.is_none() && self.sequence.is_shared()
    }

    /// Whether fragments of this size say that its packets are longer than the path takes: they are of
    /// eight octets, and who cuts by himself may leave some more.
    fn is_cut_below(&self, largest: u16) -> bool {
        self.path().in_force().0.saturating_sub(largest) > FRAGMENT_GRAIN
    }

    /// Between which sizes that of its path is sought.
    fn bounds(&self) -> Bounds {
        let path = self.path();
        Bounds { floor: path.floor(), link: path.link(), ageing: path.ageing() }
    }

    /// In what a message travels; `None` if its peer would not understand it.
    fn carrier(&self, message: PathMessage) -> Option<Carrier> {
        match (self.echo(), message) {
            (None, message) => Some(Carrier::Dummy(message)),
            (Some(echo), PathMessage::Probe { nonce }) => {
                let request = echo.request(nonce);
                let is_tunnel = self.mode == Mode::Tunnel;
                Some(if is_tunnel { Carrier::Packet(request) } else { Carrier::Payload(request) })
            }
            (Some(_), PathMessage::Answer { .. } | PathMessage::Report { .. }) => None,
        }
    }

    /// A packet with a message, which is nobody's traffic.
    fn seal_path_message(
        &mut self,
        message: PathMessage,
        size: u16,
        now: Instant,
        events: &mut Events,
    ) -> Result<PacketBuf, DropReason> {
        self.check_age(now, events)?;
        let carrier = self.carrier(message).ok_or(DropReason::NoSa)?;
        let len = self.path_message_len(size).max(carrier.len());
        let SealingKey::Esp(key) = &self.key else { return Err(DropReason::NoSa) };
        let Ok(sequence) = spend(&mut self.sequence, &mut self.meter) else {
            return Err(DropReason::SequenceExhausted);
        };
        let mut packet = PacketBuf::with_capacity(HEADROOM_MAX, len.saturating_add(TAILROOM_MAX));
        packet.set_len(len);
        let next = carrier.write(packet.data_mut()).ok_or(DropReason::NoRoom)?;
        let label = Label { spi: self.spi, sequence, esn: self.esn };
        let iv_counter = self.iv_base.wrapping_add(sequence);
        esp::seal(&mut packet, key, label, iv_counter, next)?;
        packet.meta = PacketMeta {
            tos: self.tos.outer(0),
            // RFC 8899 §3: a probe that is cut on its way proves nothing.
            dont_fragment: size > 0,
            ..self.ends()
        };
        Ok(packet)
    }

    /// Octets of the longest payload that fits an outer packet of this size.
    fn path_message_len(&self, size: u16) -> usize {
        let octets = usize::from(self.message_octets(size));
        octets.saturating_sub(self.octets_around()).saturating_sub(TRAILER_LEN)
    }

    /// Octets of the longest outer packet that it can make and that is not longer than this.
    fn message_octets(&self, size: u16) -> u16 {
        let SealingKey::Esp(key) = &self.key else { return size };
        let room = usize::from(size).saturating_sub(self.octets_around());
        let beyond = room.checked_rem(key.shape().block_len()).unwrap_or(0);
        size.saturating_sub(u16::try_from(beyond).unwrap_or(0))
    }

    /// Octets of an outer packet that are not encrypted.
    fn octets_around(&self) -> usize {
        let SealingKey::Esp(key) = &self.key else { return 0 };
        let shape = key.shape();
        let udp = if self.encap.udp { UDP_LEN } else { 0 };
        let outside = header_len(self.encap.remote.is_ipv6()).saturating_add(udp);
        let esp = EspHeader::LEN.saturating_add(shape.iv_len()).saturating_add(shape.icv_len());
        outside.saturating_add(esp)
    }
}

/// What a message is inside an ESP packet.
enum Carrier {
    /// A dummy.
    Dummy(PathMessage),
    /// In tunnel mode an IP packet.
    Packet(Echo),
    /// In transport mode what follows the outer header.
    Payload(Echo),
}

impl Carrier {
    /// Octets, at least.
    fn len(&self) -> usize {
        match self {
            Self::Dummy(_) => PathMessage::LEN,
            Self::Packet(request) => request.packet_len(),
            Self::Payload(_) => Echo::LEN,
        }
    }

    /// Writes it to the front of zeros, and says what it is; `None` if that is too short for it.
    fn write(&self, out: &mut [u8]) -> Option<IpProtocol> {
        match self {
            Self::Dummy(message) => {
                *out.first_chunk_mut()? = message.to_octets();
                Some(IpProtocol::NO_NEXT)
            }
            Self::Packet(request) => {
                request.write_packet(out)?;
                let is_ipv4 = request.dst.is_ipv4();
                Some(if is_ipv4 { IpProtocol::IPV4 } else { IpProtocol::IPV6 })
            }
            Self::Payload(request) => {
                request.write_message(out)?;
                Some(request.protocol())
            }
        }
    }
}

impl InboundSa {
    /// Takes a dummy packet. It goes no further, but if it is a message about the path it is none that
    /// was dropped.
    pub(crate) fn hear(
        &mut self,
        packet: &PacketBuf,
        now: Instant,
        events: &mut Events,
    ) -> Result<Arrived, DropReason> {
        let child = self.child;
        let came_whole = packet.meta.largest_fragment == 0;
        let talk = self.talk().ok_or(DropReason::Dummy)?;
        let message =
            PathMessage::read(&mut Reader(packet.data())).map_err(|_| DropReason::Dummy)?;
        // Somebody has cut a probe on its way, whatever it said: it proves nothing.
        let proves = came_whole || !matches!(message, PathMessage::Probe { .. });
        if proves && talk.hearing.may_tell(now) {
            events.push(Event::PathMessage { child, message });
        }
        Ok(Arrived::InPart)
    }

    /// The nonce of the echo request of the engine's own that a packet answers. The selectors have room
    /// for that, else there would be none.
    #[inline]
    pub(crate) fn reply_nonce(&self, inner: &IpPacket<'_>) -> Option<u64> {
        let is_icmp = matches!(inner.protocol(), IpProtocol::ICMP | IpProtocol::ICMPV6);
        if is_icmp { self.answered_by(inner) } else { None }
    }

    /// Takes the reply to an echo request of ours. It goes no further.
    #[cold]
    pub(crate) fn hear_reply(&mut self, nonce: u64, now: Instant, events: &mut Events) -> Arrived {
        let (child, message) = (self.child, PathMessage::Answer { nonce });
        if self.all_talk().is_some_and(|talk| talk.hearing.may_tell(now)) {
            events.push(Event::PathMessage { child, message });
        }
        Arrived::InPart
    }

    /// Takes an authentic packet that came in fragments.
    #[cold]
    pub(crate) fn note_fragments(&mut self, largest: u16, now: Instant, events: &mut Events) {
        let child = self.child;
        if let Some(largest) = self.talk().and_then(|talk| talk.fragments.note(largest, now)) {
            events.push(Event::Fragments { child, largest });
        }
    }
}

const UDP_LEN: usize = 8;
/// Fragments that are shorter by no more than this than what is sent say nothing.
const FRAGMENT_GRAIN: u16 = 16;
/// Pad length and next header (RFC 4303 §2.5, §2.6).
const TRAILER_LEN: usize = 2;
/// SAs whose probers are looked at in one call: what more are due have their turn in the next.
const PROBERS_IN_A_ROW: usize = 64;
/// Messages of one SA that are told of in a second: a search has some dozens at most.
const HEARD_PER_SECOND: u16 = 64;
const SECOND: Duration = Duration::from_secs(1);
/// From one report of fragments to the next, if nothing changes: twice the maximum segment lifetime
/// (draft-richardson-ipsec-pmtu-discov-02 §3).
const REPORT_INTERVAL: Duration = Duration::from_secs(120);
/// How long fragments are looked at before they count as smaller.
const FRAGMENTS_LOOK: Duration = Duration::from_secs(5);
