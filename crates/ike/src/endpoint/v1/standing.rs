//! Which of several phase 1s with the same peer has the children. Both ends mostly come to the same, but
//! nothing in IKEv1 lets them agree on it: the last message of one may not arrive, and two may cross. So
//! what the peer says counts on each of them, and one that turns out not to be there gives back what it had.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use adit_crypto::Rng;
use adit_db::{ChildSaId, ConnectionName, IkeSaId};
use adit_wire::esp::Spi;
use adit_wire::iana::ProtocolId;

use crate::command::PacketEvent;
use crate::endpoint::Endpoint;
use crate::failure::{Failure, FailureReason};
use crate::v1::ike_sa::IkeSa;

/// How long the peer has to delete a phase 1 that another one has the place of, before we do.
const PATIENCE: Duration = Duration::from_secs(60);

/// How much longer of the two ends one waits, if each keeps what the other has put aside.
const PATIENCE_OF_OTHER: Duration = Duration::from_secs(90);

/// IKE SAs with one address that hear of a packet from there.
const TOLD_MAX: usize = 8;

impl Endpoint {
    /// How long a phase 1 stays beside the one that takes its place. If both ends wait for each other, as
    /// each keeps the one that the other has put aside, they do not end both at once.
    pub(super) fn patience_with(&self, old: IkeSaId, new: IkeSaId) -> Duration {
        let cookie = |id| self.v1.get(id).map(|sa| sa.core.cookie_i);
        if cookie(old) < cookie(new) { PATIENCE } else { PATIENCE_OF_OTHER }
    }

    /// The IKE SA that goes on with what another one has: the newest that is up, and where that one has no
    /// phase 1 any more also one that it had the place of.
    pub(super) fn heir_of(&self, id: IkeSaId) -> Option<IkeSaId> {
        let beside = self.v1_beside(id);
        let is_up = |id: &&IkeSaId| self.v1.get(**id).is_some_and(IkeSa::is_established);
        let has_place =
            |id: &&IkeSaId| is_up(id) && !self.v1.get(**id).is_some_and(IkeSa::is_superseded);
        let is_dormant = self.v1.get(id).is_some_and(IkeSa::is_dormant);
        let other = || beside.iter().rfind(is_up).filter(|_| is_dormant);
        beside.iter().rfind(has_place).or_else(other).copied()
    }

    /// The peer has deleted a child under a phase 1 that does not have it here.
    pub(in crate::endpoint) fn handle_deleted_elsewhere(
        &mut self,
        ike: IkeSaId,
        sa: (ProtocolId, Spi),
        now: Instant,
        rng: &mut dyn Rng,
    ) {
        let has_it = |id: &IkeSaId| {
            let children = self.v1.get(*id).into_iter().flat_map(|sa| &sa.children);
            children.into_iter().any(|child| child.sas_out().any(|own| own == sa))
        };
        if let Some(other) = self.v1_beside(ike).into_iter().find(has_it) {
            self.touch_v1(other, now, rng, |one, cx| one.handle_deleted(sa, cx));
        }
    }

    /// A child is gone: no IKE SA with its peer says the last message of its quick mode again.
    pub(in crate::endpoint) fn forget_v1_child(
        &mut self,
        ike: IkeSaId,
        child: ChildSaId,
        now: Instant,
        rng: &mut dyn Rng,
    ) {
        for other in self.v1_beside(ike) {
            self.touch_v1(other, now, rng, |one, _| one.forget_child(child));
        }
    }

    /// An IKE SA is still there long after another one has got its place: it goes, unless nothing shows yet
    /// that the peer has the other one.
    pub(in crate::endpoint) fn handle_v1_outlived(
        &mut self,
        ike: IkeSaId,
        now: Instant,
        rng: &mut dyn Rng,
    ) {
        let may_be_alone = |id: &IkeSaId| {
            let sa = self.v1.get(*id).filter(|sa| sa.is_established() && !sa.is_superseded());
            sa.is_some_and(|sa| !sa.is_confirmed())
        };
        if !self.v1_beside(ike).iter().any(may_be_alone) {
            self.touch_v1(ike, now, rng, IkeSa::leave);
            self.hand_over_stragglers(ike, now, rng);
        }
    }

    /// The peer does not answer on an IKE SA. One that it has been heard on since goes on with what this
    /// one has.
    pub(in crate::endpoint) fn handle_v1_silent(
        &mut self,
        ike: IkeSaId,
        reason: FailureReason,
        now: Instant,
        rng: &mut dyn Rng,
    ) {
        let heard = |id: IkeSaId| self.v1.get(id).map(|sa| sa.core.heard);
        let is_alive = |id: &IkeSaId| {
            let is_up = self.v1.get(*id).is_some_and(IkeSa::is_established);
            is_up && heard(*id) > heard(ike)
        };
        match self.v1_beside(ike).into_iter().rfind(is_alive) {
            Some(other) => {
                self.touch_v1(other, now, rng, IkeSa::revive);
                self.bequeath_v1(ike, other, true, now, rng);
            }
            None => self.touch_v1(ike, now, rng, |sa, cx| sa.abandon(reason, cx)),
        }
    }

    /// A phase 1 of ours got no answer at all: children that have none any more are with nobody, where signs of
    /// life are asked for. Nothing else asks on them.
    pub(in crate::endpoint) fn end_dormant_v1(
        &mut self,
        name: &ConnectionName,
        failure: &Failure,
        now: Instant,
        rng: &mut dyn Rng,
    ) {
        let (FailureReason::PeerSilent { waited, .. }, Some(asked)) =
            (&failure.reason, failure.remote)
        else {
            return;
        };
        let is_with_nobody = |sa: &&IkeSa| {
            let core = &sa.core;
            let place = core.leash.home().unwrap_or(core.path).remote.ip();
            let is_heard = now.saturating_duration_since(core.heard) < *waited;
            let is_asked = failure.initiator && place == asked.ip();
            let asks = !core.connection.dpd_delay.is_zero();
            sa.is_dormant() && asks && is_asked && !is_heard
        };
        let over: Vec<IkeSaId> =
            self.v1.of(name).filter(is_with_nobody).map(|sa| sa.core.id).collect();
        for id in over {
            self.touch_v1(id, now, rng, |sa, cx| sa.abandon(failure.reason.clone(), cx));
        }
    }

    /// A packet came under an SPI that nobody has: a peer who has proven itself and sends from there hears
    /// that there is no such SA.
    pub(in crate::endpoint) fn handle_unknown_spi(
        &mut self,
        spi: Spi,
        remote: SocketAddr,
        now: Instant,
        rng: &mut dyn Rng,
    ) {
        // It may have been installed while the news was on its way.
        if self.out.has_spi(spi) {
            return;
        }
        let with_peer: Vec<&IkeSa> =
            self.v1.with_peer(remote.ip()).filter(|sa| sa.is_established()).collect();
        // Several peers may be behind one address.
        let is_there = |sa: &&&IkeSa| sa.core.path.remote == remote;
        let exactly: Vec<IkeSaId> =
            with_peer.iter().filter(is_there).map(|sa| sa.core.id).collect();
        let told = match exactly.is_empty() {
            true => with_peer.iter().map(|sa| sa.core.id).collect(),
            false => exactly,
        };
        for id in told.into_iter().take(TOLD_MAX) {
            let event = PacketEvent::UnknownSpi { spi, remote };
            self.touch_v1(id, now, rng, |sa, cx| sa.handle_packet_event(&event, cx));
        }
        self.settle(now, rng);
    }
}
