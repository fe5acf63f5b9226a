//! The ESP packets that payloads are sealed in (RFC 9347 §2.2): buffers that are made when they are
//! first needed and used again.

use std::collections::VecDeque;

use adit_wire::PacketBuf;

use crate::aggfrag::pack::{FRONT_MAX, PAYLOAD_MAX, TAIL_MAX};

/// ESP packets that may wait to be sent at a time. What would need more is dropped: who seals takes
/// what is there after each burst.
pub const SLOTS_MAX: usize = 1_024;

/// Sealed packets, and free ones.
#[derive(Debug, Default)]
pub(crate) struct Slots {
    sealed: VecDeque<PacketBuf>,
    free: Vec<PacketBuf>,
    /// Whether the sealed ones have been shown to who sends them.
    shown: bool,
}

impl Slots {
    /// A free packet; none if too many wait.
    pub(crate) fn take(&mut self) -> Option<PacketBuf> {
        self.reuse_shown();
        if self.sealed.len() >= SLOTS_MAX {
            return None;
        }
        let make = || PacketBuf::with_capacity(FRONT_MAX, PAYLOAD_MAX + TAIL_MAX);
        let mut packet = self.free.pop().unwrap_or_else(make);
        packet.reset(FRONT_MAX);
        Some(packet)
    }

    /// Whether nothing waits to be sent.
    pub(crate) fn is_idle(&self) -> bool {
        self.shown || self.sealed.is_empty()
    }

    /// Adds a sealed packet behind the others.
    pub(crate) fn add(&mut self, packet: PacketBuf) {
        self.sealed.push_back(packet);
    }

    /// The sealed packets, in order; the next call of any other method has their room again.
    pub(crate) fn show(&mut self) -> &[PacketBuf] {
        self.reuse_shown();
        self.shown = true;
        self.sealed.make_contiguous()
    }

    /// The first sealed packet, to keep.
    pub(crate) fn pop(&mut self) -> Option<PacketBuf> {
        self.reuse_shown();
        self.sealed.pop_front()
    }

    fn reuse_shown(&mut self) {
        if std::mem::take(&mut self.shown) {
            self.free.extend(self.sealed.drain(..));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_bounded_and_used_again() {
        let mut slots = Slots::default();
        for _ in 0..SLOTS_MAX {
            let packet = slots.take().unwrap();
            slots.add(packet);
        }
        assert!(slots.take().is_none());
        assert_eq!(slots.show().len(), SLOTS_MAX);
        assert!(slots.pop().is_none());
        assert_eq!(slots.free.len(), SLOTS_MAX);
        assert!(slots.take().is_some());
        assert!(slots.show().is_empty());
    }
}
