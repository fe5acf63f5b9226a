//! What comes out of packets beside a batch's own (RFC 4301 §5.2): of nested SAs, after a time, or because
//! the SA has come.

use std::time::Instant;

use adit_db::PolicyId;
use adit_wire::PacketBuf;

use super::{Arrived, Inbound};
use crate::drop_reason::DropReason;
use crate::event::Event;
use crate::nesting::Nested;

impl Inbound {
    /// Unpacks what has waited long enough for ESP packets that were sent before it, and opens what
    /// came before its SA; whose SA has not come in time is given up.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.gate.unpacked.clear();
        self.gate.passed = None;
        while let Some(child) = self.gate.unpacked.pop_due(now) {
            if let Some(sa) = self.sad.by_child_mut(child) {
                let policy = sa.policy;
                sa.unpack_waiting(now, &mut self.gate, &mut self.events);
                self.open_nested(0, policy, now);
            }
        }
        let Self { early, failures, .. } = self;
        early.give_up(now, |packet, came| failures.unknown(packet, came, now));
        while let Some(mut packet) = self.early.pop(|spi| self.sad.slot(spi).is_some(), now) {
            let opened = self.open(&mut packet, now);
            self.deliver_later(opened, packet);
        }
        self.tell_unpacked(now);
    }

    /// When [`Self::handle_timeout`] is wanted.
    pub fn poll_timeout(&self) -> Option<Instant> {
        [self.gate.unpacked.first_due(), self.early.poll_timeout()].into_iter().flatten().min()
    }

    /// Opens those of the unpacked packets, from this one on, that an SA of this policy gave out and
    /// that are for a nested SA.
    pub(super) fn open_nested(&mut self, from: usize, policy: PolicyId, now: Instant) {
        if !self.gate.has_ends() || self.gate.unpacked.packets().len() <= from {
            return;
        }
        for mut packet in self.gate.unpacked.split_off(from) {
            let opened = match self.unwrap(&mut packet, policy) {
                true => self.open_from(&mut packet, Some(policy), now),
                false => Ok(Arrived::Whole),
            };
            self.deliver_later(opened, packet);
        }
    }

    /// Tells of what was in a payload and must be told of.
    pub(super) fn tell_unpacked(&mut self, now: Instant) {
        if let Some(audit) = self.gate.unpacked.audit.take()
            && self.audits.pass(now)
        {
            self.events.push(Event::Audit(audit));
        }
    }

    /// Makes what an SA of this policy gave out a packet as the network brings it, if it is for an SA
    /// that is nested under that policy.
    pub(super) fn unwrap(&self, packet: &mut PacketBuf, policy: PolicyId) -> bool {
        if self.gate.ends.is_empty() {
            return false;
        }
        let Some(nested) = Nested::find(packet.data()) else { return false };
        let under = self.sad.unicast(nested.spi).and_then(|sa| sa.under.as_deref());
        under.is_some_and(|under| nested.belongs(under, policy)) && nested.unwrap(packet)
    }

    /// Puts what came of a packet that is not of the batch with the unpacked ones.
    fn deliver_later(&mut self, opened: Result<Arrived, DropReason>, packet: PacketBuf) {
        match opened {
            Ok(Arrived::Whole) => self.gate.unpacked.deliver(packet),
            Ok(Arrived::InPart | Arrived::Reply(_)) => self.gate.unpacked.reuse(packet),
            Err(reason) => {
                self.drops.add(reason);
                self.gate.unpacked.reuse(packet);
            }
        }
    }
}
