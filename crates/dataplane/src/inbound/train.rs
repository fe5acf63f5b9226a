//! Opening packets that are like the one before (RFC 4303 §3.4): packets of one flow come in trains. The
//! steps and their order are those of every packet, without what such an SA has not.

use std::time::Instant;

use adit_db::{Age, ChildSaId, Mode};
use adit_wire::PacketBuf;
use adit_wire::esp::{EspHeader, Spi};
use adit_wire::iana::IpProtocol;
use adit_wire::ip::FlowMark;

use super::{Arrived, Came, Gate, Inbound, OpenVerdict};
use crate::drop_reason::DropReason;
use crate::esp::{self, Label};
use crate::sa::{InboundSa, OpeningKey};
use crate::slab::Slot;

/// An inner packet that an SA may carry.
#[derive(Clone, Copy)]
pub(super) struct Passed {
    pub(super) child: ChildSaId,
    pub(super) mark: FlowMark,
    pub(super) head: InnerHead,
    /// Whether there was another like it.
    repeats: bool,
    /// Where the SA lies then, if that is a plain one.
    coach: Option<Coach>,
}

/// What is to be known of an inner packet that may pass.
#[derive(Clone, Copy)]
pub(super) struct InnerHead {
    pub(super) is_ipv4: bool,
    pub(super) traffic_class: u8,
}

/// A plain SA and what finds it, good for one batch.
#[derive(Clone, Copy)]
struct Coach {
    spi: Spi,
    slot: Slot,
}

impl Passed {
    pub(super) fn new(child: ChildSaId, mark: FlowMark, head: InnerHead) -> Self {
        Self { child, mark, head, repeats: false, coach: None }
    }
}

impl InnerHead {
    /// What the trailer says of such a packet.
    #[inline]
    pub(super) fn announced(self) -> IpProtocol {
        if self.is_ipv4 { IpProtocol::IPV4 } else { IpProtocol::IPV6 }
    }
}

impl Gate {
    /// What is known of an inner packet that is like the one before, and its length.
    #[inline]
    pub(super) fn passed(
        &mut self,
        child: ChildSaId,
        packet: &PacketBuf,
    ) -> Option<(InnerHead, usize)> {
        let passed = self.passed.as_mut().filter(|passed| passed.child == child)?;
        let total_len = passed.mark.len_of(packet.data())?;
        passed.repeats = true;
        Some((passed.head, total_len))
    }

    /// Whether packets are opened the long way although a second one was like the first.
    #[inline]
    pub(super) fn is_uncoupled(&self) -> bool {
        self.passed.as_ref().is_some_and(|passed| passed.repeats && passed.coach.is_none())
    }
}

impl InboundSa {
    /// Whether opening only takes ESP off whole packets, which nobody else has protected.
    fn is_plain(&self) -> bool {
        self.mode == Mode::Tunnel
            && self.under.is_none()
            && self.group.is_none()
            && !self.is_aggfrag()
            && matches!(self.key, OpeningKey::Esp(_))
    }
}

impl Inbound {
    /// Notes where the SA of a packet is that was like the one before: the next one may be so, too.
    pub(super) fn couple(&mut self, spi: Spi, slot: Slot) {
        let Self { sad, gate, .. } = self;
        if let Some(passed) = &mut gate.passed
            && gate.ends.is_empty()
            && sad.has_no_groups()
            && sad.get(slot).is_some_and(|sa| sa.child == passed.child && sa.is_plain())
        {
            passed.coach = Some(Coach { spi, slot });
        }
    }

    /// Opens a packet by the SA of the one before, if it is for that and nothing is special about either;
    /// `None`, and nothing has changed, if it is to go the long way.
    #[inline]
    pub(super) fn open_coupled(
        &mut self,
        packet: &mut PacketBuf,
        now: Instant,
    ) -> Option<OpenVerdict> {
        let Self { sad, gate, events, .. } = self;
        let Passed { mark, head, coach, .. } = gate.passed.as_ref()?;
        let (head, Coach { spi, slot }) = (*head, (*coach)?);
        let [s0, s1, s2, s3, n0, n1, n2, n3] = *packet.data().first_chunk()?;
        if packet.meta.whole || u32::from_be_bytes([s0, s1, s2, s3]) != spi.0 {
            return None;
        }
        let low = u32::from_be_bytes([n0, n1, n2, n3]);
        let sa = sad.at_mut(slot)?;
        let OpeningKey::Esp(key) = &sa.key else { return None };
        if sa.meter.age(now) != Age::Fresh {
            return None;
        }
        let sequence = sa.window.infer(low).ok()?;
        sa.window.check(sequence).ok()?;
        let came =
            Came { header: EspHeader { spi, sequence: low }, len: packet.len(), nested: false };

        let label = Label { spi, sequence, esn: sa.window.is_extended() };
        let taken_off = EspHeader::LEN + key.shape().iv_len();
        if let Err(reason) = esp::open(packet, key, label) {
            return Some(self.conclude(slot, Err(reason), packet, came, now));
        }
        // The peer made this packet: from here on state may change.
        let newest = sa.window.advance(sequence);
        sa.note_arrival(packet, newest, now, events);
        let next_header = match esp::strip_trailer(packet) {
            Ok(next_header) => next_header,
            Err(reason) => return Some(self.conclude(slot, Err(reason), packet, came, now)),
        };
        if next_header == head.announced()
            && let Some(total_len) = mark.len_of(packet.data())
        {
            if let Err(reason) = sa.take_out(packet, head, total_len) {
                return Some(self.conclude(slot, Err(reason), packet, came, now));
            }
            sa.count(packet.len(), now, events);
            sa.clamp_mss(packet.data_mut());
            packet.meta.table = sa.table.0;
            return Some(OpenVerdict::Deliver);
        }
        let opened = sa.accept(packet, next_header, (sequence, taken_off), now, gate, events);
        Some(self.conclude(slot, opened, packet, came, now))
    }

    /// What becomes of a packet that turned out to be another than the one before.
    #[cold]
    fn conclude(
        &mut self,
        slot: Slot,
        opened: Result<Arrived, DropReason>,
        packet: &mut PacketBuf,
        came: Came,
        now: Instant,
    ) -> OpenVerdict {
        let lost = self.gate.reassembly.take_given_up();
        self.drops.add_many(DropReason::FragmentsMissing, lost);
        match opened {
            Ok(_) => packet.meta.table = self.sad.get(slot).map_or(0, |sa| sa.table.0),
            Err(reason) => self.refuse(slot, reason, packet, came, now),
        }
        self.verdict_of(opened)
    }
}
