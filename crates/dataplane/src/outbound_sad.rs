//! Outbound SAs (RFC 4301 §4.4.2) and which of them a policy's packets take.

use std::collections::BTreeMap;

use adit_db::sad::Table;
use adit_db::{ChildSaId, PolicyId};
use adit_wire::ip::FlowKey;

use crate::sa::OutboundSa;

/// The outbound SAs of the engine.
#[derive(Default)]
pub(crate) struct OutboundSad {
    slots: Vec<Option<OutboundSa>>,
    /// Empty ones of them.
    free: Vec<Slot>,
    by_child: BTreeMap<ChildSaId, Slot>,
    /// SAs in use, the one activated last first.
    by_policy: Table<PolicyId, Vec<Slot>>,
    /// How many SAs ask for more than addresses.
    above_ip: usize,
}

/// Where an SA lies; good until the SA is removed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Slot(usize);

impl OutboundSad {
    /// Adds an SA that carries nothing yet; a number that is taken stays with its SA.
    pub(crate) fn insert(&mut self, sa: OutboundSa) {
        if self.by_child.contains_key(&sa.child) {
            return;
        }
        let slot = self.free.pop().unwrap_or(Slot(self.slots.len()));
        self.by_child.insert(sa.child, slot);
        self.above_ip = self.above_ip.saturating_add(sa.looks_above_ip().into());
        match self.slots.get_mut(slot.0) {
            Some(place) => *place = Some(sa),
            None => self.slots.push(Some(sa)),
        }
    }

    /// Puts an SA before all others of its policy, which it names.
    pub(crate) fn activate(&mut self, child: ChildSaId) -> Option<PolicyId> {
        let slot = *self.by_child.get(&child)?;
        let policy = self.get(slot)?.policy;
        let order = self.by_policy.get_or_insert_with(policy, Vec::new);
        order.retain(|other| *other != slot);
        order.insert(0, slot);
        Some(policy)
    }

    /// Forgets an SA.
    pub(crate) fn remove(&mut self, child: ChildSaId) {
        let Some(slot) = self.by_child.remove(&child) else {
            return;
        };
        let sa = self.slots.get_mut(slot.0).and_then(Option::take);
        let looked_above = sa.as_ref().is_some_and(OutboundSa::looks_above_ip);
        self.above_ip = self.above_ip.saturating_sub(looked_above.into());
        self.free.push(slot);
        let policy = sa.map(|sa| sa.policy);
        if let Some(order) = policy.and_then(|policy| self.by_policy.get_mut(&policy)) {
            order.retain(|other| *other != slot);
        }
    }

    /// The SA that carries a packet of this policy: the one activated last whose negotiated
    /// selectors contain it. Several have room beside each other while one replaces another, and
    /// where peers share a policy.
    pub(crate) fn find(&self, policy: PolicyId, flow: &FlowKey) -> Option<Slot> {
        let order = self.by_policy.get(&policy)?;
        let carries = |slot: &&Slot| {
            self.slots.get(slot.0).and_then(Option::as_ref).is_some_and(|sa| sa.carries(flow))
        };
        order.iter().find(carries).copied()
    }

    /// How many SAs of a policy are in use.
    pub(crate) fn count(&self, policy: PolicyId) -> usize {
        self.by_policy.get(&policy).map_or(0, Vec::len)
    }

    pub(crate) fn get(&mut self, slot: Slot) -> Option<&mut OutboundSa> {
        self.slots.get_mut(slot.0).and_then(Option::as_mut)
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
        self.slots.iter_mut().flatten()
    }
}
