//! Successors of IKE SAs whose authentication is repeated (RFC 4478, RFC 7296 §2.8.3): begun like any
//! IKE SA, filled with the children of the old one, which then goes.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Instant;

use adit_crypto::Rng;
use adit_db::{ConnectionName, IkeSaId};

use crate::command::Path;
use crate::failure::FailureReason;
use crate::keep::{Attempt, Stage};
use crate::v2::exchange::init::Wanted;
use crate::v2::ike_sa::IkeSa;
use crate::v2::reauth;

use super::Endpoint;

/// Which IKE SAs are to take the place of which: each of one, one for each.
#[derive(Debug, Default)]
pub(super) struct Successions {
    by_new: BTreeMap<IkeSaId, IkeSaId>,
    by_old: BTreeMap<IkeSaId, IkeSaId>,
}

impl Successions {
    fn insert(&mut self, new: IkeSaId, old: IkeSaId) {
        self.by_new.insert(new, old);
        self.by_old.insert(old, new);
    }

    /// Whose place this one is to take.
    pub(super) fn old_of(&self, new: IkeSaId) -> Option<IkeSaId> {
        self.by_new.get(&new).copied()
    }

    fn remove_new(&mut self, new: IkeSaId) -> Option<IkeSaId> {
        let old = self.by_new.remove(&new)?;
        self.by_old.remove(&old);
        Some(old)
    }

    fn remove_old(&mut self, old: IkeSaId) -> Option<IkeSaId> {
        let new = self.by_old.remove(&old)?;
        self.by_new.remove(&new);
        Some(new)
    }

    /// A rekey has put one IKE SA in the place of another.
    pub(super) fn rename(&mut self, before: IkeSaId, after: IkeSaId) {
        if let Some(old) = self.remove_new(before) {
            self.insert(after, old);
        }
        if let Some(new) = self.remove_old(before) {
            self.insert(new, after);
        }
    }
}

impl Endpoint {
    /// Begins a successor of an IKE SA, unless there is one already.
    pub(super) fn reauthenticate(&mut self, old: IkeSaId, now: Instant, rng: &mut dyn Rng) {
        if self.shutting_down || self.successions.by_old.contains_key(&old) {
            return;
        }
        let Some(sa) = self.sas.get(old).filter(|sa| sa.as_established().is_some()) else { return };
        let (core, wanted) = (&sa.core, wanted_of(sa).into_iter().next());
        let (Some(connection), Some(wanted)) = (core.connection.clone(), wanted) else { return };
        if !reauth::can_begin(core) {
            return;
        }
        let ports = connection.ports;
        let local_port = if ports.local == 0 { self.config.ike_port } else { ports.local };
        let (local, remote) = (core.path.local.ip(), core.path.remote.ip());
        // One TCP connection carries both (RFC 9329 §6.1).
        let path = match core.path.is_tcp() {
            true => core.path,
            false => {
                Path::udp(SocketAddr::new(local, local_port), SocketAddr::new(remote, ports.remote))
            }
        };
        let prefers_udp = core.udp_agreed;
        let mut cx = self.context(now, rng);
        match IkeSa::initiate(connection, path, wanted, now, prefers_udp, None, &mut cx) {
            Ok(new) => {
                let new = self.insert(new, now);
                self.successions.insert(new, old);
            }
            Err(_) => self.touch(old, now, rng, IkeSa::retry_reauth),
        }
    }

    /// A successor is up: it gets the other children of the old IKE SA.
    pub(super) fn fill_successor(&mut self, new: IkeSaId, now: Instant, rng: &mut dyn Rng) {
        let Some(old) = self.successions.old_of(new) else { return };
        let wanted = self.sas.get(old).map(wanted_of).unwrap_or_default();
        for (child, flow) in wanted {
            self.touch(new, now, rng, |sa, cx| sa.create_child(child, flow, cx));
        }
        self.finish_succession(new, now, rng);
    }

    /// Something has come of a child: successors that have all they are to have take over.
    pub(super) fn finish_successions(
        &mut self,
        name: &ConnectionName,
        now: Instant,
        rng: &mut dyn Rng,
    ) {
        if self.successions.by_new.is_empty() {
            return;
        }
        for id in self.sas_of(name) {
            self.finish_succession(id, now, rng);
        }
    }

    //= https://www.rfc-editor.org/rfc/rfc4478#section-2
    //# The initiator SHOULD delete the old IKE SA within a reasonable time of the new Auth exchange.
    fn finish_succession(&mut self, new: IkeSaId, now: Instant, rng: &mut dyn Rng) {
        let established = self.sas.get(new).and_then(IkeSa::as_established);
        if !established.is_some_and(|established| established.is_settled()) {
            return;
        }
        if let Some(old) = self.successions.remove_new(new) {
            self.touch(old, now, rng, |sa, cx| sa.close(FailureReason::Replaced, cx));
        }
    }

    /// An IKE SA is over. If it was to take another's place, that one tries again later; if another was
    /// to take its own, that is an attempt like any other now.
    pub(super) fn end_succession(
        &mut self,
        name: &ConnectionName,
        ike: IkeSaId,
        now: Instant,
        rng: &mut dyn Rng,
    ) {
        if let Some(old) = self.successions.remove_new(ike) {
            self.touch(old, now, rng, IkeSa::retry_reauth);
        }
        let Some(new) = self.successions.remove_old(ike) else { return };
        let is_under_way = self.sas.get(new).is_some_and(|new| !new.is_established());
        let Some(keeper) = self.keepers.get_mut(name) else { return };
        if keeper.is_held() {
            self.touch(new, now, rng, |sa, cx| sa.close(FailureReason::ByCommand, cx));
        } else if is_under_way && keeper.attempt().is_none() {
            keeper.begin(Attempt { started: now, stage: Stage::Connecting(new) });
        }
    }

    /// The peer has set up a second IKE SA without having lost the first (CHECKLIST K15): that one is
    /// the peer's to delete, or ours after a while.
    pub(super) fn supersede(&mut self, old: IkeSaId, now: Instant, rng: &mut dyn Rng) {
        self.touch(old, now, rng, IkeSa::supersede);
    }

    /// Whether of two IKE SAs with one peer the newer one is a repetition that the peer has begun.
    pub(super) fn is_repeated_by_peer(&self, new: IkeSaId, old: IkeSaId) -> bool {
        let core = |id| self.sas.get(id).map(|sa| &sa.core);
        let (Some(new), Some(old)) = (core(new), core(old)) else { return false };
        !new.role.is_initiator() && new.path.remote.ip() == old.path.remote.ip()
    }
}

/// The children of an IKE SA, as they would be asked for; the first of the configuration if it has none.
fn wanted_of(sa: &IkeSa) -> Vec<Wanted> {
    let (Some(established), Some(connection)) = (sa.as_established(), &sa.core.connection) else {
        return Vec::new();
    };
    let current = established.children.iter().filter(|child| child.is_current());
    let mut wanted: Vec<Wanted> =
        current.map(|child| (child.name.clone(), child.sample_flow())).collect();
    let plain = connection.children.iter().find(|child| child.pfp.is_none());
    if let (true, Some(child)) = (wanted.is_empty(), plain) {
        wanted.push((child.name.clone(), None));
    }
    wanted
}
