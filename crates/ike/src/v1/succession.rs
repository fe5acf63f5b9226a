//! Which child carries what: a new one takes the place of those that protect the same, and both ends come
//! to keep the same one (draft-jenkins-ipsec-rekeying-06 §2).

use std::time::{Duration, Instant};

use adit_db::{ChildName, ChildSaId};
use adit_wire::esp::Spi;
use adit_wire::iana::ProtocolId;

use crate::context::{Context, Notice};
use crate::event::Event;
use crate::failure::FailureReason;

use super::child::{Child, ChildPhase, OVERLAP, OVERLAP_OF_PEER, Shown};
use super::ike_sa::IkeSa;
use super::pairs;

impl IkeSa {
    /// A child is there for good: it takes the place of those that protect the same.
    pub(super) fn enter(&mut self, id: ChildSaId, cx: &mut Context<'_>) {
        let Some(new) = self.child(id) else { return };
        let (name, by_us) = (new.name.clone(), new.by_us);
        let is_old = |old: &&Child| old.id != id && old.is_current() && old.is_like(new);
        let old: Vec<ChildSaId> = self.children.iter().filter(is_old).map(|old| old.id).collect();
        let Some(first) = old.first().and_then(|old| self.child(*old)) else {
            self.report_up(id, cx);
            self.send_at_last(id, cx);
            return;
        };
        let (before, after) = (Box::new(first.info()), Box::new(new.info()));
        // What was asked for to take its place has not crossed it.
        let knew = (by_us || new.is_renewal) && new.renews == Some(first.id);
        let crossed = first.by_us != by_us && !knew && is_young(first, cx.now);
        if crossed && first.rank() > new.rank() {
            // Both ends have asked for the same: both keep the same one.
            let (kept, waits) = (first.id, first.activates.is_some());
            self.replace(id, by_us, cx);
            if !waits {
                self.activate(kept, cx);
            }
            return;
        }
        for old in old {
            self.replace(old, by_us, cx);
        }
        if let Some(ike) = self.info() {
            let ike = Box::new(ike);
            cx.out.event(Event::ChildRekeyed { ike, old: before, new: after });
        }
        self.notice_up(name, cx);
    }

    /// Notes of a child that is being agreed on whether the peer means to renew another: it does if it had that one
    /// when it asked. A quick mode that has crossed ours and was lost at first may look the same; then both ends come
    /// together as they do when the last message is lost ([`Self::spare_for`]).
    pub(super) fn note_renewal(&self, new: &mut Child) {
        let old = new.renews.and_then(|old| self.child(old));
        new.is_renewal = !new.by_us && old.is_some_and(|old| old.shown == Shown::Has);
    }

    /// What waits to take the place of another that is gone already carries the traffic now.
    fn send_at_last(&mut self, id: ChildSaId, cx: &mut Context<'_>) {
        let waits = |child: &&Child| child.renews.is_some() && child.activates.is_some();
        let Some(new) = self.child(id).filter(waits) else { return };
        let carries = |old: &Child| old.id != id && old.sends && old.is_like(new);
        if !self.children.iter().any(carries) {
            self.activate(id, cx);
        }
    }

    /// A child is gone: its successors do not wait any more.
    pub(super) fn succeed(&mut self, gone: &Child, cx: &mut Context<'_>) {
        let successors = self.children.iter().filter(|child| child.is_like(gone));
        let successors: Vec<ChildSaId> = successors.map(|child| child.id).collect();
        successors.into_iter().for_each(|id| self.send_at_last(id, cx));
    }

    fn report_up(&mut self, id: ChildSaId, cx: &mut Context<'_>) {
        let (Some(ike), Some(child)) = (self.info(), self.child(id)) else { return };
        let (name, child) = (child.name.clone(), Box::new(child.info()));
        cx.out.event(Event::ChildUp { ike: Box::new(ike), child });
        self.notice_up(name, cx);
    }

    /// A child is up when it is for all of its networks.
    fn notice_up(&self, child: ChildName, cx: &mut Context<'_>) {
        let connection = self.core.connection_name().clone();
        let missing = |config| pairs::missing(config, &self.children, &self.core);
        let is_whole = self.core.connection.child(&child).is_none_or(|it| missing(it).is_empty());
        cx.out.notice(match is_whole {
            true => Notice::ChildUp { connection, child },
            false => Notice::ChildSettled { connection },
        });
    }

    /// A child has been replaced: what is under way still comes in. Who replaced it deletes it.
    fn replace(&mut self, id: ChildSaId, by_us: bool, cx: &mut Context<'_>) {
        let wait = if by_us { OVERLAP } else { OVERLAP_OF_PEER };
        if let Some(child) = self.child_mut(id) {
            child.phase = ChildPhase::Replaced { until: cx.now + wait };
        }
    }

    /// The peer has a child that it had not confirmed when another phase 1 took the place of its own: it carries
    /// what nothing newer does.
    pub(super) fn restore(&mut self, id: ChildSaId, cx: &mut Context<'_>) {
        let Some(child) = self.child(id) else { return };
        let has_other =
            self.children.iter().any(|other| other.is_current() && other.is_like(child));
        if has_other {
            return;
        }
        let Some(child) = self.child_mut(id) else { return };
        child.phase = ChildPhase::Installed;
        self.enter(id, cx);
        self.activate(id, cx);
    }

    /// Two phase 1s may each have made a child for the same, before one got what the other had: both ends keep
    /// the same one.
    pub(super) fn part_twins(&mut self, cx: &mut Context<'_>) {
        while let Some((loser, by_us, winner)) = self.twins() {
            let since = self.child(loser).map_or(cx.now, |child| child.installed);
            self.replace(loser, by_us, cx);
            // The peer would go over to it, if it has not yet.
            self.forget_quick_mode(loser, since, cx);
            self.activate(winner, cx);
        }
    }

    /// The first two children that carry the same: the one that is put aside, whether we have asked for it, and
    /// the one that stays.
    fn twins(&self) -> Option<(ChildSaId, bool, ChildSaId)> {
        let current = || self.children.iter().filter(|child| child.is_current());
        current().find_map(|loser| {
            let mut others = current().filter(|one| one.id != loser.id && one.is_like(loser));
            let winner = others.find(|one| one.rank() > loser.rank())?;
            Some((loser.id, loser.by_us, winner.id))
        })
    }

    /// The peer has deleted what we send on: of a bundle no part is of use without the other.
    pub(crate) fn handle_deleted(&mut self, sa: (ProtocolId, Spi), cx: &mut Context<'_>) {
        let is_of = |child: &&Child| child.sas_out().any(|own| own == sa);
        let Some(child) = self.children.iter().find(is_of) else {
            // The peer may say so on another phase 1 than the one that has the child here.
            return cx.out.notice(Notice::DeletedElsewhere { ike: self.core.id, sa });
        };
        let (id, silent) = (child.id, is_replaced(child));
        match self.spare_for(child).filter(|_| !silent) {
            Some(twin) => self.fall_back(id, twin, cx),
            None => {
                let reason = (!silent).then_some(FailureReason::ClosedByPeer);
                self.remove_child(id, reason, cx);
            }
        }
        self.close_if_empty(cx);
    }

    /// Ends a child by command, with those whose place it has: nobody is to go back to them.
    pub(crate) fn end_child(&mut self, id: ChildSaId, reason: FailureReason, cx: &mut Context<'_>) {
        let before = self.replaced_by(id);
        let ended: Vec<ChildSaId> = before.iter().copied().chain([id]).collect();
        self.say_deleted(&ended, cx);
        before.into_iter().for_each(|old| self.remove_silently(old, cx));
        self.remove_child(id, Some(reason), cx);
        self.close_if_empty(cx);
    }

    /// The children whose place one that carries traffic has.
    fn replaced_by(&self, id: ChildSaId) -> Vec<ChildSaId> {
        let Some(ended) = self.child(id).filter(|child| child.is_current()) else {
            return Vec::new();
        };
        let before = self.children.iter().filter(|one| is_replaced(one) && one.is_like(ended));
        before.map(|one| one.id).collect()
    }

    /// What may carry the traffic of a child that the peer has deleted. It is not older than that, as what the
    /// peer has replaced it does not go back to; but if nothing has shown that the peer had the deleted one, our
    /// last message was lost, and it may be on any from before that it has confirmed. One that the peer has not
    /// confirmed is better than none: if it has it not, that shows.
    fn spare_for(&self, gone: &Child) -> Option<ChildSaId> {
        let is_unsure =
            |one: &Child| one.phase == ChildPhase::Offered || one.shown == Shown::Doubted;
        let is_newer = |one: &Child| one.installed >= gone.installed;
        let may_be_on = |one: &&Child| {
            let is_spare = is_replaced(one) || one.phase == ChildPhase::Offered;
            let may_be_before = gone.shown == Shown::Nothing && !is_unsure(one);
            one.id != gone.id && one.is_like(gone) && is_spare && (is_newer(one) || may_be_before)
        };
        let spare = self.children.iter().filter(may_be_on);
        spare.max_by_key(|one| (is_newer(one), !is_unsure(one), one.installed)).map(|one| one.id)
    }

    /// Why a child goes that the peer has not confirmed, for listeners that know of it: its last message was lost
    /// and the peer has deleted the one before.
    pub(super) fn blame_for(&self, id: ChildSaId) -> Option<FailureReason> {
        let is_known = self.child(id).is_some_and(Child::is_current);
        is_known.then_some(FailureReason::ClosedByPeer)
    }

    /// We took two renewals for ones that had crossed, and the peer did not: it has deleted the child that
    /// we kept, and stays on the one that we put aside. Or it has deleted the one before the newest, which it has
    /// not confirmed as far as we have heard.
    fn fall_back(&mut self, kept: ChildSaId, twin: ChildSaId, cx: &mut Context<'_>) {
        if let Some(twin) = self.child_mut(twin) {
            twin.phase = ChildPhase::Installed;
        }
        self.activate(twin, cx);
        let infos =
            self.child(kept).zip(self.child(twin)).map(|(old, new)| (old.info(), new.info()));
        if let Some((ike, (old, new))) = self.info().zip(infos) {
            let (ike, old, new) = (Box::new(ike), Box::new(old), Box::new(new));
            cx.out.event(Event::ChildRekeyed { ike, old, new });
        }
        self.remove_silently(kept, cx);
    }
}

/// Whether another child has the place of this one.
fn is_replaced(child: &Child) -> bool {
    matches!(child.phase, ChildPhase::Replaced { .. })
}

/// Whether a child is so young that a quick mode of the other end may have crossed its own.
fn is_young(child: &Child, now: Instant) -> bool {
    now.saturating_duration_since(child.installed) < CROSSING_WAIT
}

/// A quick mode may be sent again and again for as long.
const CROSSING_WAIT: Duration = Duration::from_secs(30);
