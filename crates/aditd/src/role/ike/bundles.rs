//! AH around the ESP of a child SA (RFC 2401 §4.3): two pairs of SAs in the packet engine, of which IKE and
//! everybody else knows as one.
//!
//! The engine has them nested, ESP under AH (`dataplane/nesting`): nothing of ESP leaves without AH, and
//! nothing comes in that skipped it. AH has a policy of its own, so that no other SA has a part in it.

use std::collections::BTreeMap;

use adit_crypto::KeyLengthError;
use adit_dataplane::InboundSa;
use adit_db::{ChildSa, ChildSaId, PolicyId};
use adit_ike::PacketEvent;
use adit_sys::clock;

use super::Running;

/// The AH SAs of child SAs, by the number of these, and the other way round.
#[derive(Debug, Default)]
pub(super) struct Bundles {
    outer: BTreeMap<ChildSaId, ChildSaId>,
    inner: BTreeMap<ChildSaId, ChildSaId>,
}

impl Bundles {
    /// The SAs of a child SA in the engine, itself the first: that one is to be gone before AH is.
    pub(super) fn all_of(&self, child: ChildSaId) -> impl Iterator<Item = ChildSaId> {
        std::iter::once(child).chain(self.outer.get(&child).copied())
    }

    /// The SA whose packets go out into the network.
    pub(super) fn outermost(&self, child: ChildSaId) -> ChildSaId {
        self.outer.get(&child).copied().unwrap_or(child)
    }

    /// A child SA is no more.
    pub(super) fn forget(&mut self, child: ChildSaId) {
        if let Some(outer) = self.outer.remove(&child) {
            self.inner.remove(&outer);
        }
    }

    /// What IKE makes of an event: when the sequence numbers of AH are used up, ESP in it goes nowhere.
    pub(super) fn seen_from_ike(&self, event: PacketEvent) -> PacketEvent {
        let known = |child: ChildSaId| self.inner.get(&child).copied().unwrap_or(child);
        match event {
            PacketEvent::SoftExpire { child } => PacketEvent::SoftExpire { child: known(child) },
            PacketEvent::HardExpire { child } => PacketEvent::HardExpire { child: known(child) },
            PacketEvent::Doubted { child } => PacketEvent::Doubted { child: known(child) },
            other @ (PacketEvent::Acquire { .. }
            | PacketEvent::PeerMoved { .. }
            | PacketEvent::Traffic { .. }
            | PacketEvent::Used { .. }
            | PacketEvent::UnknownSpi { .. }
            | PacketEvent::Notice { .. }) => other,
        }
    }
}

impl Running {
    /// Installs AH that belongs around a child SA, before that one; the policy that this one is under then.
    pub(super) fn install_outer(
        &mut self,
        sa: &mut ChildSa,
        policy: PolicyId,
    ) -> Result<Option<PolicyId>, KeyLengthError> {
        let own = sa.outer.as_ref().map(|outer| outer.policy());
        let (Some(own), Some(outer)) = (own, sa.take_outer()) else { return Ok(None) };
        let now = clock::now();
        let mut inbound = InboundSa::new(&outer, own, now)?;
        inbound = inbound.into_table(self.policies.table_of(policy));
        let mut parts = self.outbound_parts(&outer, own, true, now)?;
        let link = self.link_mtu(outer.encap.remote.ip());
        if let Some(mtu) = link {
            parts = parts.into_iter().map(|part| part.with_link_mtu(mtu)).collect();
        }
        self.bundles.outer.insert(sa.id, outer.id);
        self.bundles.inner.insert(outer.id, sa.id);
        self.install_inbound(inbound, self.inbound_owner(&outer, false));
        // It carries what this child SA alone sends.
        self.install_outbound(parts, true);
        self.note_link(policy, link);
        Ok(Some(own))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happens_to_ah_happens_to_its_child_sa() {
        let (esp, ah, other) = (ChildSaId(7), ChildSaId(8), ChildSaId(9));
        let mut bundles = Bundles::default();
        bundles.outer.insert(esp, ah);
        bundles.inner.insert(ah, esp);
        let seen = |bundles: &Bundles, child| {
            let event = bundles.seen_from_ike(PacketEvent::SoftExpire { child });
            let PacketEvent::SoftExpire { child } = event else { panic!("{event:?}") };
            child
        };
        assert_eq!([esp, ah, other].map(|child| seen(&bundles, child)), [esp, esp, other]);
        assert_eq!(bundles.all_of(esp).collect::<Vec<_>>(), [esp, ah]);
        assert_eq!((bundles.outermost(esp), bundles.outermost(other)), (ah, other));
        bundles.forget(esp);
        assert_eq!(seen(&bundles, ah), ah);
        assert_eq!(bundles.all_of(esp).collect::<Vec<_>>(), [esp]);
    }
}
