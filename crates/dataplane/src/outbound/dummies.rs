//! Dummy packets (RFC 4303 §2.6): those that hide when there is traffic, and those that look for routers
//! between the gateways ([`crate::transit`]).

use std::time::Instant;

use adit_db::ChildSaId;
use adit_wire::PacketBuf;

use super::{Alone, Outbound, Sealed};
use crate::transit::put_hops;

impl Outbound {
    /// A dummy packet, which looks outside like all others of its SA.
    pub(super) fn dummy(&mut self, child: ChildSaId, now: Instant) -> Option<PacketBuf> {
        self.dummy_with(child, None, now)
    }

    /// Sends the next dummies that look for routers, if these are to be seen, there may be more, and this is
    /// the thread that does so.
    pub(crate) fn explore(&mut self, child: ChildSaId, now: Instant) {
        let thread = self.thread;
        let Some(sa) = self.sad.by_child(child).filter(|sa| sa.active && sa.reveals()) else {
            return;
        };
        // Where packets share others none of them has hops.
        if sa.home.unwrap_or_default() != thread || sa.is_aggfrag() || !sa.has_hops() {
            return;
        }
        let Some(transit) = sa.transit() else { return };
        for hops in transit.explore() {
            if let Some(dummy) = self.dummy_with(child, Some(hops), now) {
                self.held.push_ready(dummy);
            }
        }
    }

    /// A dummy packet with so many hops outside; none if no packet of its SA has hops.
    fn dummy_with(
        &mut self,
        child: ChildSaId,
        hops: Option<u8>,
        now: Instant,
    ) -> Option<PacketBuf> {
        let chain = self.sad.chain(self.sad.slot_of(child)?).ok()?;
        let sa = self.sad.by_child(child)?;
        let mut dummy = sa.dummy(now, &mut self.events).ok()?;
        let alone = Alone { number: sa.sequence.last(), hops };
        if let (Some(hops), Some(transit)) = (hops, sa.transit()) {
            transit.remember_dummy(hops);
            transit.number(alone.number);
        }
        let outer = chain.slots().get(1..)?;
        match self.seal_again(&mut dummy, alone, outer, now) {
            Ok(Sealed::Alone(alone)) => {
                if hops.is_some() {
                    put_hops(&mut dummy, alone.number, alone.hops?, self.path_of(&chain));
                }
                Some(dummy)
            }
            Ok(Sealed::Packed) => None,
            Err((slot, reason)) => {
                self.refuse(slot, reason, now);
                self.drops.add(reason);
                None
            }
        }
    }
}
