//! Opening bursts (RFC 4303 §3.4) where there are many SAs.

use std::time::Instant;

use adit_crypto::{Extent, Prefetch};
use adit_wire::esp::EspHeader;
use adit_wire::{PacketBuf, Reader};

use super::{Inbound, OpenVerdict};
use crate::look_ahead::{AHEAD_MAX, FIRSTS_MAX};
use crate::slab::Slot;

impl Inbound {
    /// What [`Self::open_batch`] does, with a look ahead.
    pub(super) fn open_ahead(
        &mut self,
        mut packets: &mut [PacketBuf],
        verdicts: &mut Vec<OpenVerdict>,
        by: Prefetch,
        now: Instant,
    ) {
        while !packets.is_empty() {
            self.look_at(packets, by);
            let seen = self.ahead.len().clamp(1, packets.len());
            let (burst, rest) = packets.split_at_mut(seen);
            packets = rest;
            self.ask_for_key(0, by);
            for (number, packet) in burst.iter_mut().enumerate() {
                self.ask_for_key(number.saturating_add(1), by);
                let place = self.ahead.get(number).copied().flatten();
                self.sad.foresee(place.map(|(slot, header)| (header.spi, slot)));
                verdicts.push(self.verdict(packet, now));
            }
        }
        self.sad.foresee(None);
    }

    /// Finds the SAs of some packets, and looks at them. What is not found so, as with AH, is left for
    /// later.
    fn look_at(&mut self, packets: &[PacketBuf], by: Prefetch) {
        let Self { ahead, sad, .. } = self;
        ahead.clear();
        let (mut before, mut firsts) = (None, 0_usize);
        for packet in packets.iter().take(AHEAD_MAX) {
            let header = EspHeader::read(&mut Reader(packet.data())).ok();
            let header = header.filter(|_| !packet.meta.whole);
            let place = header.and_then(|header| Some((sad.slot(header.spi)?, header)));
            let slot = place.map(|(slot, _)| slot);
            firsts = firsts.saturating_add(usize::from(slot.is_none() || slot != before));
            before = slot;
            ahead.push(place);
            if firsts == FIRSTS_MAX {
                break;
            }
        }
        let mut before = None;
        let first = move |(slot, _): &&(Slot, EspHeader)| before.replace(*slot) != Some(*slot);
        // Of neighbours by one SA the first.
        let firsts = ahead.iter().flatten().filter(first);
        sad.touch(firsts.clone().map(|(slot, _)| *slot), by);
        for (slot, header) in firsts {
            if let Some(sa) = sad.get(*slot) {
                sa.prefetch_key(by, Extent::Page);
                sa.prefetch_rest(header.sequence, by);
            }
        }
    }

    /// Tells the processor of the key of a packet, unless that is the one of the packet before.
    #[inline]
    fn ask_for_key(&self, number: usize, by: Prefetch) {
        let slot = |number| self.ahead.get(number).copied().flatten().map(|(slot, _)| slot);
        let before = number.checked_sub(1).and_then(slot);
        if let Some(slot) = slot(number).filter(|slot| Some(*slot) != before)
            && let Some(sa) = self.sad.get(slot)
        {
            sa.prefetch_key(by, Extent::Whole);
        }
    }
}
