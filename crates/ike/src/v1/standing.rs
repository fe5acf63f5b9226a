//! How an IKE SA stands to others with the same peer: which of them has the children, and what becomes of them
//! when the peer does not have the phase 1 that they are under.

use std::time::{Duration, Instant};

use adit_db::{ChildSaId, Unique};
use adit_wire::esp::Spi;

use crate::context::{Context, Notice};
use crate::event::Event;
use crate::failure::FailureReason;

use super::child::Child;
use super::established::deletes::Again;
use super::ike_sa::{IkeSa, Phase, RENEW_WAIT};
use super::{informational, quick_mode};

/// How long a child without a phase 1 waits for the peer to begin one: what it has to say about the child it
/// may have said in a message that was lost, and nothing looks whether it is still there.
const DORMANT_WAIT: Duration = Duration::from_secs(2);

impl IkeSa {
    /// When its phase 1 was complete, while it is.
    pub(crate) fn established_at(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Established(established) => Some(established.since),
            Phase::Phase1(_) | Phase::Dormant(_) | Phase::Closed => None,
        }
    }

    /// Whether the peer has said a word under its phase 1, or need not.
    pub(crate) fn is_confirmed(&self) -> bool {
        matches!(&self.phase, Phase::Established(established) if established.is_confirmed())
    }

    /// Whether a phase 1 of ours may follow one that is gone: who has asked a user for a password cannot
    /// begin the next one.
    pub(super) fn may_renew(&self) -> bool {
        self.core.connection.remote_access.server.is_none()
    }

    /// Begins the next phase 1, now and then, as long as there are children without.
    pub(super) fn end_dormancy(&mut self, cx: &mut Context<'_>) {
        let may_renew = self.may_renew();
        if let Phase::Dormant(next) = &mut self.phase
            && cx.now >= *next
            && may_renew
        {
            *next = cx.now + RENEW_WAIT;
            cx.out.notice(Notice::Reauthenticate { ike: self.core.id });
        }
    }

    /// AH cannot pass the NAT that phase 1 has seen. If there is no child, the next attempt looks again: what shows a
    /// NAT nothing protects (RFC 3947 §3.2), so that there may be none.
    pub(crate) fn look_for_nat_again(&mut self, reason: FailureReason, cx: &mut Context<'_>) {
        let sees_nat = self.established_at().is_some() && self.core.wrap().is_some();
        if !sees_nat || !self.children.is_empty() || !self.may_renew() {
            return;
        }
        let Some(info) = self.info() else { return };
        informational::delete_isakmp(&self.core, cx);
        cx.out.event(Event::IkeDown { info: Box::new(info), reason });
        self.phase = Phase::Closed;
    }

    /// It has been there for long beside the one that has its place, which needs it no more: it is deleted.
    pub(crate) fn leave(&mut self, cx: &mut Context<'_>) {
        if self.is_superseded() {
            informational::delete_isakmp(&self.core, cx);
            self.lose_phase_1(FailureReason::Replaced, cx);
        }
    }

    /// Gives what it knows of the peer to the one that takes its place: what that has yet to hear, and whether it
    /// answers who asks for signs of life.
    pub(crate) fn give_knowledge(&mut self) -> (Vec<Again>, bool) {
        self.keep_deletes();
        (std::mem::take(&mut self.unsaid), self.core.peer_has_dpd)
    }

    /// Takes what the one before knew. The vendor id that says whether the peer gives signs of life goes in clear,
    /// and anybody may have spoilt it; if it does not any more, this phase 1 ends and nothing is known to the next.
    pub(crate) fn take_knowledge(&mut self, (deletes, has_dpd): (Vec<Again>, bool), now: Instant) {
        self.core.peer_has_dpd |= has_dpd;
        if let Phase::Established(established) = &mut self.phase {
            established.adopt_deletes(deletes, now);
        }
    }

    /// The last message of the quick mode of a child, which was installed then, is not said again here, nor in the
    /// phase 1 before that the exchange may have been of.
    pub(super) fn forget_quick_mode(
        &mut self,
        child: ChildSaId,
        installed: Instant,
        cx: &mut Context<'_>,
    ) {
        self.forget_child(child);
        if quick_mode::may_repeat(installed, cx) {
            cx.out.notice(Notice::Forgotten { ike: self.core.id, child });
        }
    }

    /// A child is gone that another one has taken over.
    pub(crate) fn forget_child(&mut self, child: ChildSaId) {
        if let Phase::Established(established) = &mut self.phase {
            established.forget_child(child);
        }
    }

    /// The other that had its place is gone.
    pub(crate) fn revive(&mut self, cx: &mut Context<'_>) {
        if let Phase::Established(established) = &mut self.phase {
            established.revive(&self.core, cx.now);
        }
    }

    /// Packets of a child have come in.
    pub(super) fn hear_packets(&mut self, now: Instant) {
        match &self.phase {
            Phase::Established(established) => established.hear_packets(&mut self.core, now),
            Phase::Phase1(_) | Phase::Dormant(_) | Phase::Closed => self.core.heard = now,
        }
    }

    /// Nobody answers. Where there is another one with the peer, that may go on with the children: the last
    /// message of this one's phase 1 may never have arrived.
    pub(super) fn fall_silent(&mut self, reason: FailureReason, cx: &mut Context<'_>) {
        if self.is_superseded() {
            self.lose_phase_1(reason, cx);
        } else {
            cx.out.notice(Notice::Silent { ike: self.core.id, reason });
        }
    }

    /// The peer sends under an SPI that we have nothing for.
    pub(super) fn tell_stray(&mut self, spi: Spi, cx: &mut Context<'_>) {
        if let Phase::Established(established) = &mut self.phase {
            established.tell_stray(spi, &self.core, cx);
        }
    }

    // ---- The end ----

    /// The peer has answered a phase 1 without anything from before: what this one has of another is gone
    /// there (RFC 2407 §4.6.3.3). Where several hosts have our identity, it means another of them.
    pub(super) fn forget_older(&mut self, cx: &mut Context<'_>) {
        if self.core.connection.unique == Unique::Replicated {
            return;
        }
        let Phase::Established(established) = &self.phase else { return };
        let is_older = |child: &&Child| child.installed < established.since;
        let older: Vec<ChildSaId> = self.children.iter().filter(is_older).map(|it| it.id).collect();
        for id in older {
            self.remove_child(id, Some(FailureReason::ClosedByPeer), cx);
        }
    }

    /// Another one has come up since it was begun: it is not the first any more.
    pub(crate) fn is_not_first(&mut self) {
        if let Phase::Phase1(phase1) = &mut self.phase
            && self.core.role.is_initiator()
        {
            phase1.is_not_first();
        }
    }

    /// Whether its phase 1 has told the peer that there is nothing from before.
    pub(crate) fn says_first(&self) -> bool {
        matches!(&self.phase, Phase::Established(established) if established.says_first)
    }

    /// Tells the peer that there is nothing from before. Several hosts with one identity do not say that.
    pub(crate) fn tell_forgotten(&mut self, cx: &mut Context<'_>) {
        if self.core.connection.unique == Unique::Replicated {
            return;
        }
        if let Phase::Established(established) = &mut self.phase {
            established.tell_forgotten(&self.core, cx);
        }
    }

    /// It may not be, though the peer has proven who it is; nobody has heard yet that it is up.
    pub(crate) fn refuse(&mut self, reason: FailureReason, cx: &mut Context<'_>) {
        if !self.has_keys() {
            return;
        }
        informational::delete_isakmp(&self.core, cx);
        let (ike, failure) = (self.core.id, self.core.failure(reason, cx.now));
        self.phase = Phase::Closed;
        cx.out.notice(Notice::Ended { ike, was_established: false, failure });
    }

    /// What the phase 1 has yet to say again is for the next one.
    fn keep_deletes(&mut self) {
        if let Phase::Established(established) = &mut self.phase {
            self.unsaid.append(&mut established.give_deletes());
        }
    }

    /// There is no phase 1 any more. Children stay without.
    pub(super) fn lose_phase_1(&mut self, reason: FailureReason, cx: &mut Context<'_>) {
        if !self.has_keys() {
            return;
        }
        self.keep_deletes();
        if self.children.iter().any(Child::is_current) {
            self.phase = Phase::Dormant(cx.now + DORMANT_WAIT);
            return;
        }
        if self.is_superseded() {
            // The other has all that the peer has confirmed, and gets the rest now.
            self.phase = match self.children.is_empty() {
                true => Phase::Closed,
                false => Phase::Dormant(cx.now + DORMANT_WAIT),
            };
            return;
        }
        self.end(reason, cx);
    }

    /// A dormant IKE SA without children is over.
    pub(super) fn close_if_empty(&mut self, cx: &mut Context<'_>) {
        if self.is_dormant() && !self.children.iter().any(Child::is_current) {
            self.end(FailureReason::ClosedByPeer, cx);
        }
    }
}
