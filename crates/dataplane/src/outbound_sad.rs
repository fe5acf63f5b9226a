//! Outbound SAs (RFC 4301 §4.4.2) and which of them a policy's packets take.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use adit_crypto::Prefetch;
use adit_db::sad::Table;
use adit_db::{ChildSaId, PolicyId};
use adit_wire::ip::FlowKey;

use crate::look_ahead::CACHED_SAS;
use crate::nesting::{NESTING_MAX, outer_flow};
use crate::path_mtu::PathMtu;
use crate::sa::OutboundSa;
use crate::slab::Slab;
pub(crate) use crate::slab::Slot;

/// The outbound SAs of the engine.
#[derive(Default)]
pub(crate) struct OutboundSad {
    sas: Slab<OutboundSa>,
    by_child: BTreeMap<ChildSaId, Slot>,
    /// SAs in use, the one activated last first.
    by_policy: Table<PolicyId, Order>,
    /// The last SA of a policy that is there and carries nothing yet, and since when.
    coming: BTreeMap<PolicyId, (ChildSaId, Instant)>,
    /// How many SAs ask for more than addresses.
    above_ip: usize,
    /// How many SAs are under others.
    nested: usize,
    /// How many are for one thread each.
    for_homes: usize,
    /// How many carry IPv6.
    v6: usize,
    /// The number of the thread.
    thread: u16,
}

/// The SAs of a policy, the one activated last first. There is mostly one, and that lies at hand.
#[derive(Debug, Default)]
struct Order {
    first: Option<Slot>,
    others: Vec<Slot>,
}

impl Order {
    fn iter(&self) -> impl Iterator<Item = Slot> {
        self.first.iter().chain(&self.others).copied()
    }

    fn put_first(&mut self, slot: Slot) {
        self.forget(slot);
        if let Some(second) = self.first.replace(slot) {
            self.others.insert(0, second);
        }
    }

    fn forget(&mut self, slot: Slot) {
        self.others.retain(|other| *other != slot);
        if self.first == Some(slot) {
            self.first = (!self.others.is_empty()).then(|| self.others.remove(0));
        }
    }
}

/// The SAs that protect a packet, one after the other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chain {
    slots: [Slot; NESTING_MAX],
    len: usize,
}

impl Chain {
    /// From the innermost on; there is always one.
    pub(crate) fn slots(&self) -> &[Slot] {
        self.slots.get(..self.len).unwrap_or_default()
    }
}

/// Why a packet cannot be protected by all SAs that must.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Gap {
    /// This policy has no SA that carries what the SA before it sends.
    NoSa { policy: PolicyId, flow: FlowKey },
    /// They would be more than [`NESTING_MAX`].
    TooDeep,
}

impl OutboundSad {
    /// The SAs as one of several threads sees them.
    pub(crate) fn of_thread(thread: u16) -> Self {
        Self { thread, ..Self::default() }
    }

    /// Adds an SA that carries nothing yet; a number that is taken stays with its SA.
    pub(crate) fn insert(&mut self, sa: Box<OutboundSa>) {
        if self.by_child.contains_key(&sa.child) {
            return;
        }
        let child = sa.child;
        self.count_in(&sa, usize::saturating_add);
        if let Ok(slot) = self.sas.insert(sa) {
            self.by_child.insert(child, slot);
        }
    }

    /// Counts what is special about an SA that comes or goes.
    fn count_in(&mut self, sa: &OutboundSa, change: fn(usize, usize) -> usize) {
        let counts = [
            (&mut self.above_ip, sa.looks_above_ip()),
            (&mut self.nested, sa.outer_policy().is_some()),
            (&mut self.for_homes, sa.is_for_home),
            (&mut self.v6, sa.carries_v6()),
        ];
        for (count, is_so) in counts {
            *count = change(*count, is_so.into());
        }
    }

    /// An SA that was added waits for the peer's last word.
    pub(crate) fn expect(&mut self, child: ChildSaId, now: Instant) {
        if let Some(sa) = self.by_child(child) {
            let policy = sa.policy;
            self.coming.insert(policy, (child, now));
        }
    }

    /// Whether an SA for this packet was negotiated a moment ago, and it only waits for the peer's last word.
    pub(crate) fn is_coming(&self, policy: PolicyId, flow: &FlowKey, now: Instant) -> bool {
        self.coming.get(&policy).is_some_and(|(child, since)| {
            let carries = self.slot_of(*child).is_some_and(|slot| self.carries(slot, flow));
            carries && now.saturating_duration_since(*since) < COMING_FOR
        })
    }

    /// It waits no more.
    fn expect_no_more(&mut self, child: ChildSaId, policy: PolicyId) {
        if self.coming.get(&policy).is_some_and(|(coming, _)| *coming == child) {
            self.coming.remove(&policy);
        }
    }

    /// Puts an SA before all others of its policy, which it names.
    pub(crate) fn activate(&mut self, child: ChildSaId) -> Option<PolicyId> {
        let slot = *self.by_child.get(&child)?;
        let policy = self.get(slot)?.policy;
        self.expect_no_more(child, policy);
        self.by_policy.get_or_insert_with(policy, Order::default).put_first(slot);
        Some(policy)
    }

    /// The SAs of its policy that carry nothing more behind this one.
    pub(crate) fn idle_behind(&self, child: ChildSaId) -> Vec<ChildSaId> {
        let slot = self.slot_of(child);
        let Some((slot, sa)) = slot.and_then(|slot| Some((slot, self.at(slot)?))) else {
            return Vec::new();
        };
        let order = self.by_policy.get(&sa.policy).into_iter().flat_map(|order| order.iter());
        let others = order.filter(|other| *other != slot).filter_map(|other| self.at(other));
        others.filter(|other| other.is_idle_behind(sa)).map(|other| other.child).collect()
    }

    /// Forgets an SA.
    pub(crate) fn remove(&mut self, child: ChildSaId) {
        let Some(slot) = self.by_child.remove(&child) else {
            return;
        };
        let Some(sa) = self.sas.remove(slot) else { return };
        self.count_in(&sa, usize::saturating_sub);
        self.expect_no_more(child, sa.policy);
        if let Some(order) = self.by_policy.get_mut(&sa.policy) {
            order.forget(slot);
            // Of a bundle each AH SA has a policy of its own, which nobody needs any more.
            if order.first.is_none() {
                self.by_policy.remove(&sa.policy);
            }
        }
    }

    /// The SA that carries a packet of this policy: the one activated last whose negotiated
    /// selectors contain it. Several have room beside each other while one replaces another, and
    /// where peers share a policy. One that is for this thread goes before all others, and one that is
    /// for another thread behind them.
    pub(crate) fn find(&self, policy: PolicyId, flow: &FlowKey) -> Option<Slot> {
        let order = self.by_policy.get(&policy)?;
        let mut carry = order.iter().filter(|slot| self.carries(*slot, flow));
        if self.for_homes == 0 {
            return carry.next();
        }
        let merit = |slot: &Slot| {
            let sa = self.sas.get(*slot);
            match sa.map(|sa| (sa.is_for_home, sa.home == Some(self.thread))) {
                Some((true, true)) => 0,
                Some((false, _)) => 1,
                Some((true, false)) | None => 2,
            }
        };
        // Of equals the first.
        carry.min_by_key(merit)
    }

    /// Whether the negotiated selectors of an SA let this packet out.
    pub(crate) fn carries(&self, slot: Slot, flow: &FlowKey) -> bool {
        self.sas.get(slot).is_some_and(|sa| sa.carries(flow))
    }

    /// The SAs that protect what this one seals, itself the first.
    pub(crate) fn chain(&self, first: Slot) -> Result<Chain, Gap> {
        let mut chain = Chain { slots: [first; NESTING_MAX], len: 1 };
        let mut last = first;
        while let Some(sa) = self.sas.get(last)
            && let Some(policy) = sa.outer_policy()
        {
            let flow = outer_flow(&sa.encap, sa.is_ah());
            last = self.find(policy, &flow).ok_or(Gap::NoSa { policy, flow })?;
            *chain.slots.get_mut(chain.len).ok_or(Gap::TooDeep)? = last;
            chain.len = chain.len.saturating_add(1);
        }
        Ok(chain)
    }

    /// Whether any SA is under others.
    pub(crate) fn has_nested(&self) -> bool {
        self.nested > 0
    }

    /// Where an SA lies.
    pub(crate) fn slot_of(&self, child: ChildSaId) -> Option<Slot> {
        self.by_child.get(&child).copied()
    }

    /// What an SA of a policy that is in use knows of the path to a peer.
    pub(crate) fn path_of(&self, policy: PolicyId, remote: IpAddr) -> Option<PathMtu> {
        let order = self.by_policy.get(&policy)?;
        let mut sas = order.iter().filter_map(|slot| self.sas.get(slot));
        sas.find(|sa| sa.encap.remote.ip() == remote).map(|sa| *sa.path())
    }

    /// How many SAs of a policy are in use.
    pub(crate) fn count(&self, policy: PolicyId) -> usize {
        self.by_policy.get(&policy).map_or(0, |order| order.iter().count())
    }

    /// How many SAs carry IPv4, and how many IPv6.
    pub(crate) fn families(&self) -> [usize; 2] {
        [self.by_child.len().saturating_sub(self.v6), self.v6]
    }

    /// Whether there are so many that a packet's SA is in no cache of the processor.
    #[inline]
    pub(crate) fn is_large(&self) -> bool {
        self.by_child.len() > CACHED_SAS
    }

    /// Looks at some SAs together, so that they are at hand.
    pub(crate) fn touch(&self, slots: impl Iterator<Item = Slot> + Clone, by: Prefetch) {
        self.sas.touch(slots, |sa| sa.spi.0, by);
    }

    /// The SA that lies here.
    #[inline]
    pub(crate) fn at(&self, slot: Slot) -> Option<&OutboundSa> {
        self.sas.get(slot)
    }

    /// The same, to be changed.
    #[inline]
    pub(crate) fn get(&mut self, slot: Slot) -> Option<&mut OutboundSa> {
        self.sas.get_mut(slot)
    }

    pub(crate) fn by_child(&mut self, child: ChildSaId) -> Option<&mut OutboundSa> {
        let slot = *self.by_child.get(&child)?;
        self.get(slot)
    }

    /// Whether any SA asks for more than addresses, so that it cannot judge every fragment.
    pub(crate) fn looks_above_ip(&self) -> bool {
        self.above_ip > 0
    }

    /// Every SA.
    pub(crate) fn all(&mut self) -> impl Iterator<Item = &mut OutboundSa> {
        self.sas.iter_mut()
    }
}

/// How long an SA that waits for the peer's last word is as good as there: that is under way, or was lost.
const COMING_FOR: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sa_activated_last_is_the_first() {
        let mut order = Order::default();
        let slots = |order: &Order| order.iter().map(|slot| slot.0).collect::<Vec<_>>();
        order.forget(Slot(1));
        for slot in [1, 2, 3] {
            order.put_first(Slot(slot));
        }
        assert_eq!(slots(&order), [3, 2, 1]);
        order.put_first(Slot(2));
        assert_eq!(slots(&order), [2, 3, 1]);
        order.forget(Slot(2));
        assert_eq!(slots(&order), [3, 1]);
        order.forget(Slot(1));
        order.forget(Slot(3));
        assert!(slots(&order).is_empty());
    }
}
