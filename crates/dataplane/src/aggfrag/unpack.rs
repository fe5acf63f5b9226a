//! Payloads of one SA to inner packets, RFC 9347 §2.2.3 and §2.5.
//!
//! Payloads are looked at in the order of their sequence numbers, so that inner packets leave in the
//! order in which they were sent. One that comes before its turn is kept, and looked at when those
//! before it have come or are given up.

use std::cmp::Ordering;
use std::time::{Duration, Instant};

use adit_db::Aggfrag;
use adit_wire::aggfrag::{AggfragHeader, DataBlock, DataBlocks, SuperHeader, block_len};
use adit_wire::ip::Ecn;
use adit_wire::{PacketBuf, Reader};

use crate::drop_reason::DropReason;

/// Payloads from the next one on that may be there or under way; when one behind them comes, the
/// first of them is given up. RFC 9347 §2.2.3 suggests 3 where nothing is known; a few more cost
/// little, for [`REORDER_WAIT`] bounds what a loss delays.
pub const REORDER_WINDOW: usize = 8;

/// How long a payload that is there waits for those before it. What a network reorders comes sooner.
pub const REORDER_WAIT: Duration = Duration::from_millis(5);

/// How long the parts of a super-packet are waited for, from the first one on: on a line of a megabit
/// each second all have come by then. Its buffer is long, and nobody else has it meanwhile.
pub const GATHER_WAIT: Duration = Duration::from_millis(600);

/// What comes out of payloads, and what is wanted for it.
#[derive(Debug)]
pub(crate) enum Found<'a> {
    /// An IP packet by its version and length, and no more is known of it.
    Packet {
        /// Its octets.
        octets: &'a [u8],
        /// Traffic class of the outer header that its last octet came with, marked for congestion
        /// if one before was.
        tos: u8,
    },
    /// A super-packet begins: an empty packet is wanted, or none and it is lost.
    Super {
        /// For the packet.
        buffer: &'a mut Option<PacketBuf>,
        /// Octets of the data block; `None` if its beginning is too short to tell.
        len: Option<usize>,
    },
    /// Such a packet, of which nothing comes.
    Spare(PacketBuf),
    /// That packet with the data block in it, and no more is known of it than of others.
    SuperPacket {
        /// The packet.
        block: PacketBuf,
        /// As of other packets.
        tos: u8,
    },
    /// A packet of which a part is missing, or a payload that could not be read to its end.
    Lost(DropReason),
}

/// The inbound half of an AGGFRAG SA. Its memory is bounded by [`EARLY_OCTETS_MAX`] for each payload
/// that waits and by the longest packet for the one that is being put together, and is used again; a
/// buffer that it was given it has for [`GATHER_WAIT`] at most.
#[derive(Debug)]
pub(crate) struct Unpacker {
    agreed: Aggfrag,
    /// Number of the payload that is looked at next; an SA counts from 1.
    next: u64,
    /// Payloads that came before their turn.
    early: [Early; REORDER_WINDOW - 1],
    /// When the first of those no longer waits.
    deadline: Option<Instant>,
    partial: Partial,
    /// Whether it is noted who waits for the deadline.
    pub(crate) is_noted: bool,
    /// What is there of a packet that is [`Partial::Open`].
    octets: Vec<u8>,
    /// The same of a super-packet, which has this buffer while it is put together and no longer.
    super_packet: Option<PacketBuf>,
    /// When that is given up.
    gather_until: Option<Instant>,
    /// Whether a payload that had a part of it met congestion.
    is_marked: bool,
}

/// A payload that waits.
#[derive(Debug, Default)]
struct Early {
    /// Zero for none.
    sequence: u64,
    tos: u8,
    octets: Vec<u8>,
}

/// The packet that the payloads so far have ended in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Partial {
    /// None, or nobody knows.
    Nothing,
    /// Its beginning is there.
    Open,
    /// It was counted as lost, and its end may come yet.
    Broken,
}

impl Unpacker {
    /// For what the peer has agreed to send.
    pub(crate) fn new(agreed: Aggfrag) -> Self {
        Self {
            agreed,
            next: 1,
            early: Default::default(),
            deadline: None,
            partial: Partial::Nothing,
            is_noted: false,
            octets: Vec::new(),
            super_packet: None,
            gather_until: None,
            is_marked: false,
        }
    }

    /// Takes the authentic payload with this number, and whatever waited for it. Its number has not
    /// been here before: the SA has a replay window.
    ///
    /// # Errors
    ///
    /// [`DropReason::Replayed`]: it waits already, which only happens without a replay window.
    pub(crate) fn handle_payload(
        &mut self,
        sequence: u64,
        tos: u8,
        payload: &[u8],
        now: Instant,
        found: &mut impl FnMut(Found<'_>),
    ) -> Result<(), DropReason> {
        if sequence < self.next {
            look_at_late(tos, payload, found);
            return Ok(());
        }
        let was_next = self.next;
        // A payload that is too long to be kept has its turn at once.
        let wait = if payload.len() > EARLY_OCTETS_MAX { 0 } else { LAST_IN_WINDOW };
        let first_in_window = sequence.saturating_sub(wait);
        if first_in_window > self.next {
            self.give_up_before(first_in_window, found);
        }
        let taken = match sequence.cmp(&self.next) {
            // It waited, and has had its turn.
            Ordering::Less => Err(DropReason::Replayed),
            Ordering::Equal => {
                self.look_at(tos, payload, found);
                self.next = self.next.saturating_add(1);
                self.catch_up(found);
                Ok(())
            }
            Ordering::Greater => self.keep(sequence, tos, payload),
        };
        self.set_deadline(was_next, now);
        taken
    }

    /// Looks at what has waited long enough, with what is missing before it given up, as a super-packet
    /// is that has not come to its end.
    pub(crate) fn handle_timeout(&mut self, now: Instant, found: &mut impl FnMut(Found<'_>)) {
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            self.stop_waiting(now, found);
        }
        if self.gather_until.is_some_and(|until| until <= now) {
            self.break_off(DropReason::AggfragIncomplete, found);
            self.gather_until = None;
        }
    }

    fn stop_waiting(&mut self, now: Instant, found: &mut impl FnMut(Found<'_>)) {
        let was_next = self.next;
        if let Some(first) = self.first_early() {
            self.give_up_before(first, found);
        }
        self.set_deadline(was_next, now);
        if self.deadline.is_none() {
            // A stream that stood still may do so for long.
            self.early = Default::default();
        }
    }

    /// When [`Self::handle_timeout`] is wanted.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.deadline.into_iter().chain(self.gather_until).min()
    }

    /// Where in the payload with this number a packet lies that has it for itself and waits for
    /// nothing; the payload counts as looked at then. Such a packet need not be copied.
    pub(crate) fn take_single(&mut self, sequence: u64, payload: &[u8]) -> Option<(usize, usize)> {
        if sequence != self.next || self.deadline.is_some() || self.partial == Partial::Open {
            return None;
        }
        let mut r = Reader(payload);
        let header = AggfragHeader::read(&mut r).ok()?;
        let mut blocks = DataBlocks::new(r.0);
        let (0, Some(Ok(DataBlock::Packet(packet)))) = (header.block_offset, blocks.next()) else {
            return None;
        };
        let (None | Some(Ok(DataBlock::Pad))) = blocks.next() else { return None };
        self.next = self.next.saturating_add(1);
        self.partial = Partial::Nothing;
        Some((payload.len().saturating_sub(r.len()), packet.len()))
    }

    /// Looks at the payload whose turn it is.
    fn look_at(&mut self, tos: u8, payload: &[u8], found: &mut impl FnMut(Found<'_>)) {
        let mut r = Reader(payload);
        let Ok(AggfragHeader { block_offset }) = AggfragHeader::read(&mut r) else {
            self.break_off(DropReason::AggfragIncomplete, found);
            return found(Found::Lost(DropReason::BadAggfrag));
        };
        let offset = usize::from(block_offset);
        //= https://www.rfc-editor.org/rfc/rfc9347#section-2.2.3
        //# When a receiver is reassembling an inner packet, and it receives an "all-pad" payload,
        //# it increments the expected sequence number that the next inner packet fragment is
        //# expected to arrive in.
        if offset == 0 && matches!(DataBlocks::new(r.0).next(), None | Some(Ok(DataBlock::Pad))) {
            return;
        }
        let (continued, begun) = r.0.split_at_checked(offset).unwrap_or((r.0, &[]));
        self.go_on(tos, continued, offset, found);
        for block in DataBlocks::new(begun) {
            match block {
                Ok(DataBlock::Packet(octets)) => found(Found::Packet { octets, tos }),
                Ok(DataBlock::Start(octets)) => self.begin(tos, octets, found),
                Ok(DataBlock::Super(octets)) => {
                    self.begin(tos, octets, found);
                    if std::mem::replace(&mut self.partial, Partial::Nothing) == Partial::Open {
                        self.hand_over(tos, found);
                    }
                }
                Ok(DataBlock::Pad) => {}
                Err(_) => found(Found::Lost(DropReason::BadAggfrag)),
            }
        }
    }

    /// Begins to put a packet together, or a super-packet.
    fn begin(&mut self, tos: u8, octets: &[u8], found: &mut impl FnMut(Found<'_>)) {
        self.octets.clear();
        self.partial = Partial::Broken;
        self.let_go(found);
        self.gather_until = None;
        if SuperHeader::begins(octets) {
            if !self.agreed.super_packets {
                return found(Found::Lost(DropReason::BadAggfrag));
            }
            let Ok(len) = block_len(octets) else {
                return found(Found::Lost(DropReason::BadAggfrag));
            };
            found(Found::Super { buffer: &mut self.super_packet, len });
            if self.super_packet.is_none() {
                return found(Found::Lost(DropReason::NoRoom));
            }
        }
        self.is_marked = is_marked(tos);
        if self.store(octets) {
            self.partial = Partial::Open;
        } else {
            self.let_go(found);
            found(Found::Lost(DropReason::NoRoom));
        }
    }

    /// Gives back the buffer of a super-packet that is lost.
    fn let_go(&mut self, found: &mut impl FnMut(Found<'_>)) {
        if let Some(buffer) = self.super_packet.take() {
            found(Found::Spare(buffer));
        }
    }

    /// What is there of the packet that is begun.
    fn stored(&self) -> &[u8] {
        self.super_packet.as_ref().map_or(&self.octets, PacketBuf::data)
    }

    fn store(&mut self, octets: &[u8]) -> bool {
        let Some(packet) = &mut self.super_packet else {
            self.octets.extend_from_slice(octets);
            return true;
        };
        packet.push_back(octets.len()).is_some_and(|room| {
            room.copy_from_slice(octets);
            true
        })
    }

    /// Gives away what has been put together.
    fn hand_over(&mut self, tos: u8, found: &mut impl FnMut(Found<'_>)) {
        // RFC 3168 §5.3: what is put together of marked and unmarked parts is marked.
        let tos = if self.is_marked { Ecn::Ce.in_traffic_class(tos) } else { tos };
        match self.super_packet.take() {
            Some(block) => found(Found::SuperPacket { block, tos }),
            None => found(Found::Packet { octets: &self.octets, tos }),
        }
    }

    /// Adds to the packet that is begun what a payload has of it: all of the `missing` octets or,
    /// if there are fewer, as many as the payload has.
    fn go_on(
        &mut self,
        tos: u8,
        continued: &[u8],
        missing: usize,
        found: &mut impl FnMut(Found<'_>),
    ) {
        let ends_here = continued.len() == missing;
        if self.partial == Partial::Open {
            //= https://www.rfc-editor.org/rfc/rfc9347#section-2.5
            //# a receiver SHOULD gracefully handle the case where the BlockOffset of consecutive
            //# packets, and/or the inner packet they share, do not agree.
            self.is_marked |= is_marked(tos);
            if !self.extend(continued, missing) {
                self.break_off(DropReason::BadAggfrag, found);
            } else if ends_here {
                self.hand_over(tos, found);
            }
        } else if self.partial == Partial::Nothing && ends_here && missing > 0 {
            // It began in a payload that did not come, and was not counted there.
            found(Found::Lost(DropReason::AggfragIncomplete));
        }
        if ends_here {
            self.partial = Partial::Nothing;
            if self.octets.capacity() > SPARE_OCTETS_MAX {
                self.octets = Vec::new();
            }
        }
    }

    /// Whether the packet's own length says the same as the payload about what was missing of it.
    fn extend(&mut self, continued: &[u8], missing: usize) -> bool {
        let whole_len = self.stored().len().saturating_add(missing);
        if missing == 0 || whole_len > PACKET_OCTETS_MAX || !self.store(continued) {
            return false;
        }
        match block_len(self.stored()) {
            Ok(Some(len)) => len == whole_len,
            // So few octets are there of a packet that goes on, and may be of any length.
            Ok(None) => self.stored().len() < whole_len,
            Err(_) => false,
        }
    }

    /// Counts the packet that is begun, if one is.
    fn break_off(&mut self, reason: DropReason, found: &mut impl FnMut(Found<'_>)) {
        if self.partial == Partial::Open {
            self.partial = Partial::Broken;
            self.let_go(found);
            found(Found::Lost(reason));
        }
    }

    /// Waits no more for payloads before this one; looks at what is there of them and, if it and
    /// those behind it are there, at them.
    fn give_up_before(&mut self, sequence: u64, found: &mut impl FnMut(Found<'_>)) {
        while self.next < sequence {
            let first = self.first_early().filter(|first| *first < sequence).unwrap_or(sequence);
            if first > self.next {
                self.break_off(DropReason::AggfragIncomplete, found);
                self.next = first;
            }
            self.catch_up(found);
        }
        self.catch_up(found);
    }

    /// Looks at the payloads that are next and there.
    fn catch_up(&mut self, found: &mut impl FnMut(Found<'_>)) {
        let next = |unpacker: &Self| {
            unpacker.early.iter().position(|early| early.sequence == unpacker.next)
        };
        while let Some(early) = next(self).and_then(|at| self.early.get_mut(at)) {
            let Early { tos, octets, .. } = std::mem::take(early);
            self.look_at(tos, &octets, found);
            self.next = self.next.saturating_add(1);
            // Its room is used again.
            if let Some(free) = self.early.iter_mut().find(|early| early.octets.capacity() == 0) {
                free.octets = octets;
            }
        }
    }

    fn keep(&mut self, sequence: u64, tos: u8, payload: &[u8]) -> Result<(), DropReason> {
        if self.early.iter().any(|early| early.sequence == sequence) {
            return Err(DropReason::Replayed);
        }
        let mut free = self.early.iter_mut().filter(|early| early.sequence == 0);
        let free = free.next().ok_or(DropReason::AggfragLate)?;
        free.sequence = sequence;
        free.tos = tos;
        free.octets.clear();
        free.octets.extend_from_slice(payload);
        Ok(())
    }

    fn first_early(&self) -> Option<u64> {
        self.early.iter().map(|early| early.sequence).filter(|sequence| *sequence > 0).min()
    }

    /// Each time something has been looked at, what still waits begins to wait anew: it does so for
    /// another one. A super-packet does not, however much of it comes.
    fn set_deadline(&mut self, was_next: u64, now: Instant) {
        if self.first_early().is_none() {
            self.deadline = None;
        } else if self.deadline.is_none() || self.next != was_next {
            self.deadline = now.checked_add(REORDER_WAIT);
        }
        if self.super_packet.is_none() {
            self.gather_until = None;
        } else if self.gather_until.is_none() {
            self.gather_until = now.checked_add(GATHER_WAIT);
        }
    }
}

/// Finds what a payload has whole, when those behind it have been looked at. With their parts what
/// it has in part can no longer meet.
fn look_at_late(tos: u8, payload: &[u8], found: &mut impl FnMut(Found<'_>)) {
    let mut r = Reader(payload);
    let Ok(AggfragHeader { block_offset }) = AggfragHeader::read(&mut r) else {
        return found(Found::Lost(DropReason::BadAggfrag));
    };
    let offset = usize::from(block_offset);
    if offset > 0 {
        found(Found::Lost(DropReason::AggfragLate));
    }
    for block in DataBlocks::new(r.0.get(offset..).unwrap_or_default()) {
        match block {
            Ok(DataBlock::Packet(octets)) => found(Found::Packet { octets, tos }),
            Ok(DataBlock::Start(_) | DataBlock::Super(_)) => {
                found(Found::Lost(DropReason::AggfragLate));
            }
            Ok(DataBlock::Pad) => {}
            Err(_) => found(Found::Lost(DropReason::BadAggfrag)),
        }
    }
}

fn is_marked(tos: u8) -> bool {
    Ecn::from_traffic_class(tos) == Ecn::Ce
}

/// Octets of the longest payload that waits for those before it. A link of 1,500 octets brings no
/// longer ones.
const EARLY_OCTETS_MAX: usize = 2_048;

/// Most octets of room that are kept for the next packet that comes in parts.
const SPARE_OCTETS_MAX: usize = 4_096;

/// From the first to the last payload in the window.
const LAST_IN_WINDOW: u64 = REORDER_WINDOW as u64 - 1;

/// Longest IP packet: IPv6 counts its header apart, but TUN devices do not take more.
const PACKET_OCTETS_MAX: usize = 65_535;

#[cfg(test)]
mod tests;
