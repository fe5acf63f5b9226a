//! Packets that may have fallen into a black hole (RFC 8899 §4.3): kept while a size is in doubt, so that their
//! senders hear of it as soon as it is found to pass no more.
//!
//! Else who sends too much hears of it when the next packet is refused. To TCP whose path has shrunk under way
//! that is its next repetition, and those are further and further apart (RFC 6298 §5.5): the fourth comes three
//! seconds after the loss. What is kept is the beginning of one packet of each of some flows, and only of
//! packets that are longer than what is answered meanwhile. The thread that probes alone keeps any: senders
//! whose packets leave by other threads hear of it by their next ones.

use std::time::Instant;

use adit_db::ChildSaId;
use adit_wire::PacketBuf;
use adit_wire::ip::{FlowKey, IpPacket, may_be_answered};

use super::Outbound;
use super::too_big::is_refused;
use crate::sa::OutboundSa;

/// What is kept of the packets of an SA while the size in force is in doubt.
#[derive(Clone, Debug)]
pub(crate) struct Stuck {
    /// Inner packets that are no longer than this will pass anyway.
    passes: usize,
    /// One for each flow, in room for [`FLOWS_MAX`].
    kept: Vec<Kept>,
}

/// The beginning of an inner packet, as its sender would know it.
#[derive(Clone, Debug)]
struct Kept {
    flow: FlowKey,
    /// Octets of the whole packet.
    len: usize,
    /// The table of the interface by which it came.
    table: u16,
    head_len: usize,
    head: [u8; HEAD_LEN],
}

impl Stuck {
    fn new(passes: usize) -> Self {
        Self { passes, kept: Vec::with_capacity(FLOWS_MAX) }
    }

    /// Keeps a packet, instead of one of its flow that is no longer; not if other flows have all the room.
    fn keep(&mut self, packet: &PacketBuf, flow: FlowKey) {
        let octets = packet.data();
        let head = octets.get(..HEAD_LEN).unwrap_or(octets);
        let (len, table, head_len) = (octets.len(), packet.meta.table, head.len());
        let mut kept = Kept { flow, len, table, head_len, head: [0; HEAD_LEN] };
        kept.head.iter_mut().zip(head).for_each(|(place, octet)| *place = *octet);
        let has_room = self.kept.len() < FLOWS_MAX;
        match self.kept.iter_mut().find(|before| before.flow == flow) {
            Some(before) if before.len <= len => *before = kept,
            Some(_) => {}
            None if has_room => self.kept.push(kept),
            None => {}
        }
    }
}

impl OutboundSa {
    /// Packets are kept from now on whose outer ones are longer than so many octets.
    pub(crate) fn keep_long(&mut self, passes: u16) {
        let passes = self.inner_max_in(passes.into(), None).into();
        self.stuck().get_or_insert_with(|| Box::new(Stuck::new(passes))).passes = passes;
        self.watch_long(true);
    }

    /// Ends that; what was kept.
    pub(crate) fn release_long(&mut self) -> Option<Box<Stuck>> {
        if !self.watches_long() {
            return None;
        }
        self.watch_long(false);
        self.stuck().take()
    }

    /// Looks at a packet before it is sealed, while some are kept.
    #[cold]
    pub(crate) fn note_long(&mut self, packet: &PacketBuf) {
        let (cuts_before, limit) = (self.cuts_before(), usize::from(self.inner_max));
        let Some(stuck) = self.stuck() else { return };
        // What is longer than the SA takes is refused, and answered, anyway.
        if !(stuck.passes < packet.len() && packet.len() <= limit) {
            return;
        }
        let Ok(inner) = IpPacket::read(packet.data()) else { return };
        if is_refused(&inner, packet.meta.joined, cuts_before) && may_be_answered(&inner) {
            stuck.keep(packet, inner.flow_key());
        }
    }
}

impl Outbound {
    /// The size in force is not in doubt any more: whose packets were longer than what it is now hears of it.
    pub(crate) fn tell_stuck(&mut self, child: ChildSaId, now: Instant) {
        let Some(sa) = self.sad.by_child(child) else { return };
        let Some(stuck) = sa.release_long() else { return };
        let limit = usize::from(sa.inner_max);
        for kept in stuck.kept.iter().filter(|kept| kept.len > limit) {
            let head = kept.head.get(..kept.head_len).unwrap_or_default();
            let Ok(inner) = IpPacket::read_quoted(head) else { continue };
            if self.sad.by_child(child).is_some_and(|sa| sa.may_answer(now)) {
                self.answer(&inner, kept.table, limit, now);
            }
        }
    }
}

/// Octets that are kept of a packet: IP headers, and what of TCP tells a packet of a connection (RFC 5927
/// §4.1).
const HEAD_LEN: usize = 80;
/// Flows of an SA of which a packet is kept: others hear of it by their next packets, which need the room for
/// answers that is left (`ANSWERS_PER_SA`).
const FLOWS_MAX: usize = 8;
