//! Which child carries what: a new one takes the place of those that protect the same, and both ends come
//! to keep the same one (draft-jenkins-ipsec-rekeying-06 §2).

use std::time::{Duration, Instant};

use adit_db::{ChildName, ChildSaId};
use adit_wire::esp::Spi;
use adit_wire::iana::ProtocolId;

use crate::context::{Context, Notice};
use crate::event::Event;
use crate::failure::FailureReason;

use super::child::{Child, ChildPhase, OVERLAP, OVERLAP_OF_PEER};
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
        // What we have asked to take its place has not crossed it.
        let knew = by_us && new.renews == Some(first.id);
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
        let Some(child) = self.child_mut(id) else { return };
        child.is_doubted = false;
        if has_other {
            return;
        }
        child.phase = ChildPhase::Installed;
        self.enter(id, cx);
        self.activate(id, cx);
    }

    /// Two phase 1s may each have made a child for the same, before one got what the other had: both ends keep
    /// the same one.
    pub(super) fn part_twins(&mut self, cx: &mut Context<'_>) {
        while let Some((loser, by_us, winner)) = self.twins() {
            self.replace(loser, by_us, cx);
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
        let is_replaced = |child: &Child| matches!(child.phase, ChildPhase::Replaced { .. });
        let (id, silent) = (child.id, is_replaced(child));
        // One that the peer has not confirmed is better than none: if it has it not, that shows.
        let is_spare = |child: &Child| is_replaced(child) || child.phase == ChildPhase::Offered;
        let is_twin = |twin: &&Child| {
            twin.id != id
                && is_spare(twin)
                && twin.is_like(child)
                && twin.installed >= child.installed
        };
        let twin = self.children.iter().rfind(is_twin).map(|twin| twin.id);
        match twin.filter(|_| !silent) {
            Some(twin) => self.fall_back(id, twin, cx),
            None => {
                let reason = (!silent).then_some(FailureReason::ClosedByPeer);
                self.remove_child(id, reason, cx);
            }
        }
        self.close_if_empty(cx);
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

/// Whether a child is so young that a quick mode of the other end may have crossed its own.
fn is_young(child: &Child, now: Instant) -> bool {
    now.saturating_duration_since(child.installed) < CROSSING_WAIT
}

/// A quick mode may be sent again and again for as long.
const CROSSING_WAIT: Duration = Duration::from_secs(30);
