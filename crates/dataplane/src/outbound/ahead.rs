//! Sealing bursts (RFC 4303 §3.3) where there are many SAs.

use std::hint::black_box;
use std::time::Instant;

use adit_crypto::{Extent, Prefetch};
use adit_db::{Dscp, TableId};
use adit_wire::PacketBuf;
use adit_wire::ip::{FlowMark, IpPacket};

use super::{Outbound, Verdict};
use crate::icmp::is_icmp;
use crate::look_ahead::{Plan, Seen, Sight};
use crate::seal::Inner;
use crate::tables::{Route, Tables, Train};

impl Outbound {
    /// Whether it is worth while to look at all packets of a burst before the first of them goes; how
    /// to tell the processor then.
    #[inline]
    pub(super) fn looks_ahead(&self, packets: usize) -> Option<Prefetch> {
        self.prefetch.filter(|_| packets > 1 && self.sad.is_large())
    }

    /// What [`Self::seal_batch`] does, with a look ahead.
    pub(super) fn seal_ahead(
        &mut self,
        mut packets: &mut [PacketBuf],
        verdicts: &mut Vec<Verdict>,
        by: Prefetch,
        now: Instant,
    ) {
        let mut train = Train::default();
        while !packets.is_empty() {
            let seen = self.look_at(packets, by);
            let (burst, rest) = packets.split_at_mut(seen.clamp(1, packets.len()));
            packets = rest;
            self.ask_for_key(0, by);
            for (number, packet) in burst.iter_mut().enumerate() {
                self.ask_for_key(number.saturating_add(1), by);
                let plan = self.ahead.way(number);
                let verdict = self.seal_planned(packet, plan, &mut train, now);
                verdicts.push(self.counted(verdict));
            }
        }
    }

    /// Finds the ways of some packets, looks at their SAs, and says how many they are.
    fn look_at(&mut self, packets: &[PacketBuf], by: Prefetch) -> usize {
        let Self { ahead, tables, sad, .. } = self;
        ahead.clear();
        let mut before = None;
        let seen = ahead.see(packets.iter().map(|packet| sight(tables, packet, &mut before)));
        let look = |sight: &Sight| Some(tables.get(sight.table)?.look(sight.place));
        black_box(ahead.sights().filter_map(look).fold(0, u32::wrapping_add));
        for sight in ahead.sights() {
            if let Some(table) = tables.get(sight.table) {
                table.tell(sight.place, by);
            }
        }
        ahead.plan(|sight| {
            let Sight { table, flow, place, look } = sight;
            let dscp = Dscp::from_traffic_class(look.class);
            match tables.get_mut(*table)?.route_at(*place, flow, dscp, sad) {
                Route::Sa(slot) => Some(slot),
                Route::ByIke(_)
                | Route::NoSa(_)
                | Route::ByClass(_)
                | Route::Bypass
                | Route::Drop(_) => None,
            }
        });
        sad.touch(ahead.slots(), by);
        for sa in ahead.slots().filter_map(|slot| sad.at(slot)) {
            sa.prefetch_key(by, Extent::Page);
        }
        seen
    }

    /// Tells the processor of the key of a packet, unless that is the one of the packet before.
    #[inline]
    fn ask_for_key(&self, number: usize, by: Prefetch) {
        let slot = |number| match self.ahead.way(number) {
            Plan::Sa { slot, .. } => Some(slot),
            Plan::Unknown => None,
        };
        let before = number.checked_sub(1).and_then(slot);
        if let Some(slot) = slot(number).filter(|slot| Some(*slot) != before)
            && let Some(sa) = self.sad.at(slot)
        {
            sa.prefetch_key(by, Extent::Whole);
        }
    }

    /// Seals a packet that has been looked at.
    fn seal_planned(
        &mut self,
        packet: &mut PacketBuf,
        plan: Plan,
        train: &mut Train,
        now: Instant,
    ) -> Verdict {
        if let Plan::Sa { slot, look, total_len } = plan
            && let Some(sa) = self.sad.get(slot)
            && sa.home.is_none_or(|home| home == self.thread)
            && sa.is_plain()
            && sa.outer_policy().is_none()
        {
            packet.truncate(total_len);
            return self.seal_plain(packet, slot, look, now);
        }
        self.seal(packet, train, now)
    }
}

/// What is to be seen of a packet. `before` is the mark of the one before, if that had one.
fn sight(tables: &Tables, packet: &PacketBuf, before: &mut Option<(TableId, FlowMark)>) -> Seen {
    let number = TableId(packet.meta.table);
    if let Some((table, mark)) = before
        && *table == number
        && let Some(total_len) = mark.len_of(packet.data())
    {
        return Seen::Same(total_len);
    }
    *before = None;
    let Ok(inner) = IpPacket::read(packet.data()) else { return Seen::Odd };
    let flow = inner.flow_key();
    let Some(table) = tables.get(number) else { return Seen::Odd };
    if inner.fragment().is_some() || is_icmp(&flow) {
        return Seen::Odd;
    }
    *before = FlowMark::read(packet.data()).map(|(mark, _)| (number, mark));
    let look = Inner::of(&inner).look;
    Seen::First(Sight { table: number, flow, place: table.place(&flow), look }, inner.total_len())
}
