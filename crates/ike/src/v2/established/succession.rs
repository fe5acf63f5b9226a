//! Which child SA carries on for another, and which ones go together (RFC 7296 §2.8).

use adit_db::ChildSaId;

use crate::context::Context;
use crate::v2::child::{Child, Phase};
use crate::v2::exchange::rekey_child;

use super::{Established, Task};

impl Established {
    /// Before a child goes: its successor, or another one for the same traffic, carries on.
    pub(super) fn hand_traffic_on(&self, child: &Child, cx: &mut Context<'_>) {
        let lives = |by: ChildSaId| self.child(by).is_some_and(|by| by.phase != Phase::Deleting);
        let successor = match child.phase {
            Phase::Rekeyed { by, .. } if lives(by) => Some(by),
            // Where we have replaced the successor as well, its own carries the traffic already.
            Phase::Rekeyed { .. } | Phase::Installed | Phase::Rekeying | Phase::Deleting => {
                let other = |other: &&Child| {
                    let is_alike = child.pfp.is_none() || other.selectors == child.selectors;
                    other.name == child.name && is_alike && other.is_current()
                };
                let others = || self.children.iter().rev().filter(other);
                // The peer may not have the newest one yet, though this one was not before it.
                let known = others().find(|other| other.is_confirmed());
                let other = known.or_else(|| others().next());
                other.map(|other| rekey_child::known_before(other, self).id)
            }
        };
        if let Some(successor) = successor {
            self.activate(successor, cx);
        }
    }

    /// A child and those it replaces, at once or by way of others, that the peer has not deleted.
    pub(super) fn line_of(&self, id: ChildSaId) -> Vec<ChildSaId> {
        let mut line = vec![id];
        let mut next = 0;
        while let Some(successor) = line.get(next).copied() {
            let is_before = |child: &&Child| matches!(child.phase, Phase::Rekeyed { by, .. } if by == successor);
            let before = self.children.iter().filter(is_before).map(|child| child.id);
            let before: Vec<_> = before.filter(|child| !line.contains(child)).collect();
            line.extend(before);
            next += 1;
        }
        line
    }

    /// What `old` has replaced is replaced by `new` from now on: one goes with the other.
    pub(crate) fn pass_on_place(&mut self, old: ChildSaId, new: ChildSaId) {
        for child in &mut self.children {
            if let Phase::Rekeyed { by, .. } = &mut child.phase
                && *by == old
            {
                *by = new;
            }
        }
    }

    /// Nothing is sent on these any more, and the peer is asked to delete them.
    pub(super) fn let_go(&mut self, line: &[ChildSaId], cx: &mut Context<'_>) {
        for id in line {
            let child = self.child_mut(*id).filter(|child| child.phase != Phase::Deleting);
            let Some(child) = child else { continue };
            child.phase = Phase::Deleting;
            child.take_from_engine(cx.config.inbound_grace, cx);
            self.queue(Task::DeleteChild(*id));
        }
    }

    /// Deletes a child whose successor is there, which the peer has not done.
    ///
    /// The successor carries the traffic if the peer surely has it. As long as it asks for our answer
    /// again and again it does not, and takes what we send on the old one (RFC 7296 §2.8); a clock
    /// that jumps, or a short lifetime, makes the wait for that too short.
    pub(crate) fn delete_replaced(&mut self, id: ChildSaId, cx: &mut Context<'_>) {
        let Some(child) = self.child(id).filter(|child| child.phase != Phase::Deleting) else {
            return;
        };
        let is_early = |by: ChildSaId| self.child(by).is_some_and(|by| !by.is_confirmed());
        if !matches!(child.phase, Phase::Rekeyed { by, .. } if is_early(by)) {
            self.hand_traffic_on(child, cx);
        }
        if let Some(child) = self.child_mut(id) {
            child.phase = Phase::Deleting;
        }
        self.queue(Task::DeleteChild(id));
    }
}
