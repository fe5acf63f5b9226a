//! What happens in one IKE SA and matters to the others: establishment and uniqueness
//! (RFC 7296 §2.4), succession by rekey (§2.8), the end.

use std::time::{Duration, Instant};

use adit_crypto::Rng;
use adit_db::{ChildName, ChildSaId, ConnectionName, EndAction, IkeSaId, Unique};

use crate::context::{Notice, RosterEntry};
use crate::event::Event;
use crate::failure::{Failure, FailureReason};
use crate::keep::Stage;
use crate::output::Output;
use crate::shard::{Arrival, Tiding};
use crate::v2::child::Child;
use crate::v2::established::Established;
use crate::v2::exchange::rekey_child;
use crate::v2::ike_sa::IkeSa;
use crate::v2::{null_auth, udp_encap};

use super::Endpoint;
use super::orders::Target;
use super::tcp::RETURN_WAIT;

/// Two IKE SAs of opposite initiators that come up within this time have crossed: both ends keep
/// the same one (CHECKLIST L01 to L04).
const CROSSING: Duration = Duration::from_secs(10);

impl Endpoint {
    /// Draws the consequences of the last input until there are none left.
    pub(super) fn settle(&mut self, now: Instant, rng: &mut dyn Rng) {
        while let Some(notice) = self.out.next_notice() {
            self.handle_notice(notice, now, rng);
        }
        if !self.departures.is_empty() {
            self.finish_departures();
        }
    }

    fn handle_notice(&mut self, notice: Notice, now: Instant, rng: &mut dyn Rng) {
        match notice {
            Notice::Established { ike, initial_contact } if self.v1.contains(ike) => {
                self.handle_v1_established(ike, initial_contact, now, rng);
            }
            Notice::Established { ike, initial_contact } => {
                self.handle_established(ike, initial_contact, now, rng);
            }
            Notice::Rekeyed { old, new } => self.handle_rekeyed(old, *new, now),
            Notice::Redundant { sa, delete } => {
                let id = self.insert(*sa, now);
                self.touch(id, now, rng, |sa, cx| sa.discard(delete, cx));
            }
            Notice::Ended { ike, was_established, failure } => {
                self.handle_ended(ike, was_established, failure, now, rng);
            }
            Notice::ChildUp { connection, child } => {
                if let Some(keeper) = self.keepers.get_mut(&connection) {
                    keeper.child_up(&child, &mut self.out);
                }
                self.pursue(&connection, now, rng);
                self.finish_successions(&connection, now, rng);
            }
            Notice::ChildSettled { connection } => {
                self.pursue(&connection, now, rng);
                self.finish_successions(&connection, now, rng);
            }
            Notice::Reauthenticate { ike } if self.v1.contains(ike) => {
                self.renew_v1(ike, now, rng);
            }
            Notice::Reauthenticate { ike } => self.reauthenticate(ike, now, rng),
            Notice::ChildGone { connection, child, reason } => {
                self.handle_child_gone(&connection, child, &reason, now, rng);
            }
            Notice::DeletedElsewhere { ike, sa } => {
                self.handle_deleted_elsewhere(ike, sa, now, rng);
            }
            Notice::Forgotten { ike, child } => self.forget_v1_child(ike, child, now, rng),
            Notice::Outlived { ike } => self.handle_v1_outlived(ike, now, rng),
            Notice::Silent { ike, reason } => self.handle_v1_silent(ike, reason, now, rng),
            Notice::Resumed { old } => self.handle_resumed(old, now, rng),
            Notice::Ticket { connection, ticket } => self.handle_ticket(&connection, ticket),
            Notice::TicketsVoid { ike, id, connection } => {
                self.void_tickets(ike, id, &connection, now);
            }
            Notice::Redirected { ike, to } => self.handle_redirected(ike, to, now, rng),
            Notice::ChildFailed(failure) => self.handle_child_failed(failure, now, rng),
        }
    }

    // ---- Establishment ----

    fn handle_established(
        &mut self,
        ike: IkeSaId,
        initial_contact: bool,
        now: Instant,
        rng: &mut dyn Rng,
    ) {
        let Some(sa) = self.sas.get(ike) else { return };
        let core = &sa.core;
        let (Some(name), Some(local_id), Some(remote_id)) =
            (core.connection_name().cloned(), core.local_id.clone(), core.remote_id.clone())
        else {
            return;
        };
        let entry = RosterEntry {
            role: core.role,
            spi_i: core.spi_i,
            site: RosterEntry::site(core.path.remote.ip()),
            started: core.started,
            established: now,
        };
        let unique = core.connection.as_ref().map_or_else(Unique::default, |it| it.unique);
        let pair = self.roster.insert(ike, &local_id, &remote_id, entry.clone());
        self.out.tell_others(|| {
            Tiding::Up(Box::new(Arrival { id: ike, pair, entry, initial_contact, unique }))
        });
        self.enforce_uniqueness(ike, initial_contact, now, rng);
        self.settle_transport(&name, ike, now, rng);
        self.end_attempt_for(&name, ike, now, rng);
        if let Some(keeper) = self.keepers.get_mut(&name) {
            keeper.ike_up(&mut self.out);
        }
        self.pursue(&name, now, rng);
        self.fill_successor(ike, now, rng);
    }

    /// Our own attempt has succeeded, or the peer was faster and ours has shown nothing yet
    /// (CHECKLIST L11).
    fn end_attempt_for(
        &mut self,
        name: &ConnectionName,
        ike: IkeSaId,
        now: Instant,
        rng: &mut dyn Rng,
    ) {
        let Some(keeper) = self.keepers.get_mut(name) else { return };
        match keeper.attempt().map(|attempt| &attempt.stage) {
            Some(Stage::Connecting(own)) if *own == ike => {
                keeper.end_attempt();
            }
            _ => self.leave_attempt(name, now, rng),
        }
    }

    /// Ends an attempt of ours that has shown nothing yet.
    pub(super) fn leave_attempt(&mut self, name: &ConnectionName, now: Instant, rng: &mut dyn Rng) {
        let Some(keeper) = self.keepers.get_mut(name) else { return };
        match keeper.attempt().map(|attempt| &attempt.stage) {
            Some(Stage::Connecting(own)) => {
                let own = *own;
                if self.v1.get(own).is_some_and(|sa| sa.is_unanswered()) {
                    keeper.end_attempt();
                    self.touch_v1(own, now, rng, |sa, cx| sa.abandon(FailureReason::Replaced, cx));
                } else if self.sas.get(own).is_some_and(IkeSa::is_unanswered) {
                    keeper.end_attempt();
                    self.touch(own, now, rng, |sa, cx| sa.abandon(FailureReason::Replaced, cx));
                }
            }
            Some(Stage::Name { .. } | Stage::Source { .. }) => {
                keeper.end_attempt();
            }
            None => {}
        }
    }

    /// CHECKLIST F24, M07.
    fn enforce_uniqueness(
        &mut self,
        new: IkeSaId,
        initial_contact: bool,
        now: Instant,
        rng: &mut dyn Rng,
    ) {
        let Some(entry) = self.roster.get(new).cloned() else { return };
        let Some(core) = self.sas.get(new).map(|sa| &sa.core) else { return };
        let unique = core.connection.as_ref().map(|connection| connection.unique);
        let unique = unique.unwrap_or_default();
        let (Some(local), Some(remote)) = (&core.local_id, &core.remote_id) else { return };
        if !null_auth::is_between_known(local, remote) {
            return;
        }
        let others: Vec<(IkeSaId, RosterEntry)> =
            self.roster.beside(new).map(|(id, other)| (id, other.clone())).collect();
        for (old, other) in others {
            if self.successions.old_of(new) == Some(old) {
                continue;
            }
            let reason = FailureReason::Replaced;
            match judge(&entry, &other, initial_contact, unique) {
                Verdict::BothStay => {}
                Verdict::OldIsForgotten => {
                    self.touch(old, now, rng, |sa, cx| sa.abandon(reason, cx));
                }
                Verdict::OldGoes if self.goes_back(old, new) => {
                    self.touch(old, now, rng, |sa, cx| sa.leave_later(RETURN_WAIT, cx));
                }
                Verdict::OldGoes
                    if !have_crossed(&entry, &other) && self.is_repeated_by_peer(new, old) =>
                {
                    self.supersede(old, now, rng);
                }
                Verdict::OldGoes => self.touch(old, now, rng, |sa, cx| sa.close(reason, cx)),
                Verdict::NewGoes => self.touch(new, now, rng, |sa, cx| sa.close(reason, cx)),
            }
        }
    }

    // ---- Succession ----

    fn handle_rekeyed(&mut self, old: IkeSaId, new: IkeSa, now: Instant) {
        let id = self.insert(new, now);
        if let Some(pair) = self.roster.replace(old, id) {
            self.out.tell_others(|| Tiding::Rekeyed { pair, old, new: id });
        }
        self.successions.rename(old, id);
        for departure in &mut self.departures {
            if departure.target == Target::Ike(old) {
                departure.target = Target::Ike(id);
            }
        }
    }

    // ---- The end ----

    fn handle_ended(
        &mut self,
        ike: IkeSaId,
        was_established: bool,
        failure: Box<Failure>,
        now: Instant,
        rng: &mut dyn Rng,
    ) {
        // With yet another one beside it, the traffic may be that one's until the peer has what is new.
        if let Some(successor) = self.roster.newest_beside(ike)
            && self.roster.beside(successor).all(|(other, _)| other == ike)
        {
            self.touch(successor, now, rng, IkeSa::take_over);
        }
        if let Some(pair) = self.roster.remove(ike) {
            self.out.tell_others(|| Tiding::Down { pair, id: ike });
        }
        let Some(name) = failure.connection.clone() else {
            self.report(failure, now);
            return;
        };
        self.end_succession(&name, ike, now, rng);
        self.end_dormant_v1(&name, &failure, now, rng);
        let is_attempt = |keeper: &crate::keep::Keeper| {
            matches!(
                keeper.attempt().map(|attempt| &attempt.stage),
                Some(Stage::Connecting(own)) if *own == ike
            )
        };
        let is_own = self.keepers.get(&name).is_some_and(is_attempt);
        if let FailureReason::Redirected { to } = &failure.reason
            && (was_established || is_own)
        {
            return self.follow_redirect(to, &failure, now, rng);
        }
        if is_own && failure.reason == FailureReason::NotResumed {
            return self.begin_anew(&failure, now, rng);
        }
        let goes_on = self.keepers.get(&name).is_some_and(is_attempt)
            && self.attempt_goes_on(&name, &failure, now);
        match self.keepers.get_mut(&name) {
            _ if goes_on => {}
            Some(keeper) if is_attempt(keeper) => {
                let retry = self.config.retry;
                if udp_encap::may_be_blocked(&failure.reason) {
                    keeper.avoid_udp();
                }
                keeper.attempt_failed(failure, retry, now, rng, &mut self.out);
            }
            Some(keeper) if was_established => {
                let retry = self.config.retry;
                keeper.lost(Some(failure), retry, now, rng, &mut self.out);
            }
            _ => self.report(failure, now),
        }
        if was_established {
            self.hand_traffic_on(&name);
        }
        self.pursue(&name, now, rng);
    }

    /// A peer's attempt failed: a stranger may fail as often as it likes, so not every failure
    /// is reported (CHECKLIST C10).
    fn report(&mut self, failure: Box<Failure>, now: Instant) {
        let wanted = failure.reason.code().is_some();
        if wanted && self.admission.may_answer(now) {
            self.out.event(Event::Failed(failure));
        }
    }

    /// Of two IKE SAs with the same children one went: the other's carry on, and what the peer may not
    /// have yet only where there is nothing else (RFC 7296 §2.8).
    fn hand_traffic_on(&mut self, name: &ConnectionName) {
        let established = self.sas.of(name).filter_map(IkeSa::as_established);
        let carriers = established.flat_map(|established| {
            let here = |child: &&Child| child.is_current() && child.is_in_engine();
            let current = established.children.iter().filter(here);
            current.map(|child| rekey_child::known_before(child, established))
        });
        let mut remaining: Vec<(bool, ChildSaId)> =
            carriers.map(|child| (child.is_confirmed(), child.id)).collect();
        // The last one carries the traffic.
        remaining.sort_by_key(|(is_confirmed, _)| *is_confirmed);
        for (_, id) in remaining {
            self.out.push(Output::ActivateOutbound(id));
        }
    }

    fn handle_child_gone(
        &mut self,
        name: &ConnectionName,
        child: ChildName,
        reason: &FailureReason,
        now: Instant,
        rng: &mut dyn Rng,
    ) {
        let Some(keeper) = self.keepers.get_mut(name) else { return };
        let config = keeper.connection().child(&child);
        if config
            .is_some_and(|config| Established::end_action(config, reason) == EndAction::Restart)
            && !keeper.is_held()
        {
            keeper.want(child, None);
        }
        if !matches!(reason, FailureReason::Reconfigured) {
            let retry = self.config.retry;
            keeper.lost(None, retry, now, rng, &mut self.out);
        }
        self.pursue(name, now, rng);
    }

    fn handle_child_failed(&mut self, failure: Box<Failure>, now: Instant, rng: &mut dyn Rng) {
        let keeper = failure.connection.as_ref().and_then(|name| self.keepers.get_mut(name));
        match (keeper, failure.initiator) {
            (Some(keeper), true) => {
                let retry = self.config.retry;
                let name = keeper.connection().name.clone();
                let (reason, remote) = (failure.reason.clone(), failure.remote);
                keeper.child_failed(failure, retry, now, rng, &mut self.out);
                self.doubt_nat_of_v1(&name, (&reason, remote), now, rng);
                self.pursue(&name, now, rng);
                self.finish_successions(&name, now, rng);
            }
            _ => self.report(failure, now),
        }
    }
}

/// What becomes of two IKE SAs between the same identities.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Verdict {
    BothStay,
    /// The peer has no part of the old one any more.
    OldIsForgotten,
    OldGoes,
    NewGoes,
}

/// Both ends come to the same verdict about IKE SAs that crossed: the one with the lower
/// initiator's SPI goes. Otherwise the new one replaces the old one, if it is to be unique.
///
/// A peer that says INITIAL_CONTACT about an exchange that started after the old IKE SA was
/// complete has lost the old one, however young that is: had the two crossed, the new exchange's
/// first message would have come before the old one's last.
pub(super) fn judge(
    new: &RosterEntry,
    old: &RosterEntry,
    initial_contact: bool,
    unique: Unique,
) -> Verdict {
    if initial_contact && new.started > old.established {
        return Verdict::OldIsForgotten;
    }
    let crossed = have_crossed(new, old);
    match (unique, crossed) {
        (Unique::Never | Unique::Replicated, _) if !initial_contact || crossed => Verdict::BothStay,
        (_, true) if new.spi_i < old.spi_i => Verdict::NewGoes,
        (_, true) => Verdict::OldGoes,
        (_, false) if initial_contact => Verdict::OldIsForgotten,
        (_, false) => Verdict::OldGoes,
    }
}

/// Whether two IKE SAs have begun at both ends at the same time.
pub(super) fn have_crossed(new: &RosterEntry, old: &RosterEntry) -> bool {
    let apart = new.established.saturating_duration_since(old.established);
    new.role != old.role && apart < CROSSING
}

#[cfg(test)]
mod tests {
    use adit_wire::ikev2::IkeSpi;

    use super::*;
    use crate::keymat::Role;

    fn entry(
        role: Role,
        spi: u8,
        started_ms: u64,
        established_ms: u64,
        at: Instant,
    ) -> RosterEntry {
        RosterEntry {
            role,
            spi_i: IkeSpi([spi; 8]),
            site: 0,
            started: at + Duration::from_millis(started_ms),
            established: at + Duration::from_millis(established_ms),
        }
    }

    #[expect(clippy::disallowed_methods, reason = "any instant will do")]
    fn origin() -> Instant {
        Instant::now()
    }

    /// CHECKLIST M07: the peer was killed and is back within a second.
    #[test]
    fn initial_contact_after_the_old_sa_was_complete_means_it_is_gone() {
        let at = origin();
        let old = entry(Role::Initiator, 9, 0, 5, at);
        let new = entry(Role::Responder, 1, 1_000, 1_005, at);
        assert_eq!(judge(&new, &old, true, Unique::Replace), Verdict::OldIsForgotten);
        assert_eq!(judge(&new, &old, false, Unique::Replace), Verdict::NewGoes);
    }

    /// CHECKLIST L01: both initiated at once, and neither knew of the other.
    #[test]
    fn initial_contact_in_crossing_exchanges_lets_the_lower_spi_go() {
        let at = origin();
        let old = entry(Role::Initiator, 9, 0, 5, at);
        let new = entry(Role::Responder, 1, 2, 7, at);
        assert_eq!(judge(&new, &old, true, Unique::Replace), Verdict::NewGoes);
        let (old, new) = (entry(Role::Responder, 1, 2, 5, at), entry(Role::Initiator, 9, 0, 7, at));
        assert_eq!(judge(&new, &old, true, Unique::Replace), Verdict::OldGoes);
    }
}
