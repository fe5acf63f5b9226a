//! Inner packets that came several in one packet (RFC 9347 §2.5): buffers that are made when they are first
//! needed and used again.

use std::collections::VecDeque;
use std::time::Instant;

use adit_db::ChildSaId;
use adit_wire::PacketBuf;

use crate::aggfrag::unpack::{REORDER_WAIT, Unpacker};
use crate::drop_reason::DropCounters;
use crate::esp::HEADROOM_MAX;
use crate::event::Audit;
use crate::reassembly::packet_buffer;

/// Inner packets that may wait to be delivered at a time. What would be more is dropped: who opens
/// takes what is there after each batch.
pub const UNPACKED_MAX: usize = 4_096;

/// Of those, the ones in buffers for the longest packets. Few packets need such a buffer, and a peer
/// that sends many is not to have memory for all.
pub const LONG_UNPACKED_MAX: usize = 64;

/// What came out of payloads since the last batch.
#[derive(Default)]
pub(crate) struct Unpacked {
    ready: Vec<PacketBuf>,
    /// How many of those are long.
    long_ready: usize,
    free: Vec<PacketBuf>,
    /// For packets that are longer than most, or may become it.
    long: Vec<PacketBuf>,
    /// What was in payloads and not delivered.
    pub(crate) drops: DropCounters,
    /// The last of it that is to be told.
    pub(crate) audit: Option<Audit>,
    /// SAs that have payloads that came before their turn or a part of a super-packet, the first to be looked at first.
    waiting: VecDeque<(Instant, ChildSaId)>,
}

impl Unpacked {
    /// An empty packet with room for so many octets, or for all that a packet may become; none if
    /// too many wait, of either length.
    pub(crate) fn take(&mut self, octets: Option<usize>) -> Option<PacketBuf> {
        if self.ready.len() >= UNPACKED_MAX {
            return None;
        }
        let is_short = octets.is_some_and(|octets| octets <= SHORT_OCTETS);
        if !is_short && self.long_ready >= LONG_UNPACKED_MAX {
            return None;
        }
        let make = || PacketBuf::with_capacity(HEADROOM_MAX, SHORT_OCTETS);
        let mut packet = if is_short {
            self.free.pop().unwrap_or_else(make)
        } else {
            self.long.pop().unwrap_or_else(packet_buffer)
        };
        packet.reset(HEADROOM_MAX);
        Some(packet)
    }

    /// The same packet, in a short buffer if it has a long one without need: those are few.
    pub(crate) fn fitting(&mut self, packet: PacketBuf) -> PacketBuf {
        if !is_long(&packet) || packet.len() > SHORT_OCTETS {
            return packet;
        }
        let Some(mut short) = self.take(Some(packet.len())) else { return packet };
        let is_filled = short.fill(packet.data());
        let (kept, spare) = if is_filled { (short, packet) } else { (packet, short) };
        self.reuse(spare);
        kept
    }

    /// Adds a packet behind the others.
    pub(crate) fn deliver(&mut self, packet: PacketBuf) {
        self.long_ready = self.long_ready.saturating_add(is_long(&packet).into());
        self.ready.push(packet);
    }

    /// Takes a packet back that is not delivered.
    pub(crate) fn reuse(&mut self, packet: PacketBuf) {
        if !is_long(&packet) {
            self.free.push(packet);
        } else if self.long.len() < LONG_KEPT {
            self.long.push(packet);
        }
    }

    /// Begins another batch: what was delivered is free.
    pub(crate) fn clear(&mut self) {
        while let Some(packet) = self.ready.pop() {
            self.reuse(packet);
        }
        self.long_ready = 0;
    }

    /// The packets, in order.
    pub(crate) fn packets(&mut self) -> &mut [PacketBuf] {
        &mut self.ready
    }

    /// Takes the packets from this one on.
    pub(crate) fn split_off(&mut self, at: usize) -> Vec<PacketBuf> {
        let taken = self.ready.split_off(at.min(self.ready.len()));
        let long = taken.iter().filter(|packet| is_long(packet)).count();
        self.long_ready = self.long_ready.saturating_sub(long);
        taken
    }

    /// Notes when an SA is to be looked at; once for each. What it waits for next it may do for
    /// [`REORDER_WAIT`] alone, so that is the longest time until somebody looks.
    pub(crate) fn wait_for(&mut self, child: ChildSaId, unpacker: &mut Unpacker, now: Instant) {
        let Some(at) = unpacker.poll_timeout().filter(|_| !unpacker.is_noted) else { return };
        let at = now.checked_add(REORDER_WAIT).map_or(at, |soon| soon.min(at));
        unpacker.is_noted = true;
        let place = self.waiting.partition_point(|(other, _)| *other <= at);
        self.waiting.insert(place, (at, child));
    }

    /// When the first SA is to be looked at.
    pub(crate) fn first_due(&self) -> Option<Instant> {
        self.waiting.front().map(|(at, _)| *at)
    }

    /// Takes out an SA that is to be looked at.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<ChildSaId> {
        self.waiting.pop_front_if(|(at, _)| *at <= now).map(|(_, child)| child)
    }
}

fn is_long(packet: &PacketBuf) -> bool {
    packet.capacity() > HEADROOM_MAX + SHORT_OCTETS
}

/// Octets of an inner packet that most are not longer than.
const SHORT_OCTETS: usize = 1_536;

/// Buffers for the others that are kept to be used again.
const LONG_KEPT: usize = 16;
