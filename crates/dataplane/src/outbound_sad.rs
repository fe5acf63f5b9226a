//! Outbound SAs (RFC 4301 §4.4.2) and which of them a policy's packets take.

use std::collections::BTreeMap;

use adit_db::sad::Table;
use adit_db::{ChildSaId, PolicyId};
use adit_wire::ip::FlowKey;

use crate::nesting::{NESTING_MAX, outer_flow};
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
    /// How many SAs are under others.
    nested: usize,
}

/// Where an SA lies; good until the SA is removed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Slot(usize);

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
    /// Adds an SA that carries nothing yet; a number that is taken stays with its SA.
    pub(crate) fn insert(&mut self, sa: OutboundSa) {
        if self.by_child.contains_key(&sa.child) {
            return;
        }
        let slot = self.free.pop().unwrap_or(Slot(self.slots.len()));
        self.by_child.insert(sa.child, slot);
        self.above_ip = self.above_ip.saturating_add(sa.looks_above_ip().into());
        self.nested = self.nested.saturating_add(sa.outer_policy().is_some().into());
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
        let was_nested = sa.as_ref().is_some_and(|sa| sa.outer_policy().is_some());
        self.nested = self.nested.saturating_sub(was_nested.into());
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
        order.iter().find(|slot| self.carries(**slot, flow)).copied()
    }

    /// Whether the negotiated selectors of an SA let this packet out.
    pub(crate) fn carries(&self, slot: Slot, flow: &FlowKey) -> bool {
        self.slots.get(slot.0).and_then(Option::as_ref).is_some_and(|sa| sa.carries(flow))
    }

    /// The SAs that protect what this one seals, itself the first.
    pub(crate) fn chain(&self, first: Slot) -> Result<Chain, Gap> {
        let mut chain = Chain { slots: [first; NESTING_MAX], len: 1 };
        let mut last = first;
        while let Some(sa) = self.slots.get(last.0).and_then(Option::as_ref)
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
