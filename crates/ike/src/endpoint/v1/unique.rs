//! What `unique` says of several phase 1s between the same identities. IKEv1 has but one way to renew a phase 1, which
//! is another one; so one of the same host takes the place of the one before, whatever `unique` says, and the others
//! are treated as IKEv2 treats them (RFC 7296 §2.4).

use adit_db::{IkeSaId, Unique};

use crate::endpoint::Endpoint;
use crate::v1::Core;
use crate::v1::ike_sa::IkeSa;

/// Phase 1s that one peer may have with us beside each other, as many as IKE SAs of IKEv2: from how many places it
/// begins some is its affair.
const PHASE_1S_PER_PEER_MAX: usize = 32;

impl Endpoint {
    /// The other IKE SAs with the same two identities, from wherever, that have had keys; oldest first. With XAUTH the
    /// user counts as well: devices of many may have one identity.
    pub(super) fn v1_of_peer(&self, ike: IkeSaId) -> impl Iterator<Item = &IkeSa> {
        let core = self.v1.get(ike).map(|sa| &sa.core);
        core.into_iter().flat_map(|core| {
            let is_same = move |other: &&IkeSa| {
                let (a, b) = (&other.core, core);
                let is_same_peer = (&a.remote_id, &a.access.user) == (&b.remote_id, &b.access.user);
                a.id != core.id && !other.is_connecting() && is_same_peer
            };
            self.v1.of(core.connection_name()).filter(is_same)
        })
    }

    /// Those of them that the same host has: they have children and news in common.
    pub(super) fn v1_beside(&self, ike: IkeSaId) -> Vec<IkeSaId> {
        let Some(core) = self.v1.get(ike).map(|sa| &sa.core) else { return Vec::new() };
        let of_host = self.v1_of_peer(ike).filter(|other| is_one_host(&other.core, core));
        of_host.map(|sa| sa.core.id).collect()
    }

    /// Those that the peer has forgotten, when it says that this one is its first. An identity that several hosts have
    /// cannot know.
    pub(super) fn v1_forgotten(&self, ike: IkeSaId) -> Vec<IkeSaId> {
        let unique = self.v1.get(ike).map(|sa| sa.core.connection.unique);
        let heeds = unique.is_some_and(|unique| unique != Unique::Replicated);
        let those = self.v1_of_peer(ike).filter(|_| heeds);
        those.map(|sa| sa.core.id).collect()
    }

    /// Whether a phase 1 that a peer has begun is one too many, as soon as it is known whose it is: the one before
    /// stays with `keep`, unless the peer says that it has none, or comes from where it was and may renew it.
    pub(super) fn is_v1_refused(&self, ike: IkeSaId, initial_contact: bool) -> bool {
        let Some(core) = self.v1.get(ike).map(|sa| &sa.core) else { return false };
        if core.role.is_initiator() {
            return false;
        }
        let place = core.path.remote.ip();
        let others = || self.v1_of_peer(ike).filter(|other| !other.is_superseded());
        let mut places = others().map(|other| other.core.path.remote.ip());
        let is_kept = core.connection.unique == Unique::Keep && !initial_contact;
        let is_elsewhere = others().next().is_some() && !places.any(|other| other == place);
        (is_kept && is_elsewhere) || others().count() >= PHASE_1S_PER_PEER_MAX
    }
}

/// Whether two phase 1s with one identity are of one host. Where several may have it, where they are tells them apart;
/// behind one NAT the ports do.
fn is_one_host(a: &Core, b: &Core) -> bool {
    let (one, other) = (a.path.remote, b.path.remote);
    match b.connection.unique {
        Unique::Replace | Unique::Keep => true,
        Unique::Never => one.ip() == other.ip(),
        Unique::Replicated => one == other,
    }
}
