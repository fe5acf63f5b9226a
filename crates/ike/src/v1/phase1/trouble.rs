//! Refusals that nobody has authenticated, and time.

use std::time::Instant;

use adit_wire::iana::isakmp::NotifyType;

use crate::context::Context;
use crate::failure::{By, FailureReason};

use super::super::core::Core;
use super::super::informational;
use super::super::method::Method;
use super::rules::Exchange;
use super::{Phase1, StepResult};

impl Phase1 {
    /// Tells the peer in clear: RFC 2409 §5.4 has no message of the exchange that says so. An initiator of
    /// main mode learns it from the silence of the responder.
    pub(super) fn tell(&self, kind: NotifyType, core: &Core, cx: &mut Context<'_>) {
        if core.role.is_initiator() && self.exchange == Exchange::Main {
            return;
        }
        if let Ok(message) = informational::clear_notify(kind, core, cx) {
            core.transmit(&message, cx);
        }
    }

    /// An error that nobody has authenticated: it is believed if nothing better comes.
    pub(crate) fn handle_clear_error(
        &mut self,
        notify: NotifyType,
        core: &Core,
        cx: &mut Context<'_>,
    ) {
        // Only of aggressive mode is it the initiator that finds out first.
        let is_asked = core.role.is_initiator() || self.exchange == Exchange::Aggressive;
        if self.patience.is_in_doubt() || !is_asked {
            return;
        }
        let reason = match notify {
            NotifyType::NO_PROPOSAL_CHOSEN => FailureReason::NoCommonIkeSuite {
                by: By::Peer,
                ours: core.connection.proposals.clone(),
                theirs: Vec::new(),
            },
            _ if self.has_proven_us(core) => self.refused_proof(core),
            notify => FailureReason::PeerRefused { exchange: self.exchange.named(), notify },
        };
        core.progress(crate::event::Step::ErrorReceived { reason: reason.clone() }, cx);
        self.patience.doubt(reason, cx.now);
    }

    /// Whether the last message is our proof, which the peer then has not taken.
    fn has_proven_us(&self, core: &Core) -> bool {
        let rule = self.rule(self.number).filter(|_| Exchange::sender(self.number) == core.role);
        rule.is_some_and(|rule| rule.has(super::rules::Part::Proof))
    }

    fn refused_proof(&self, core: &Core) -> FailureReason {
        let (local, remote) = (core.own_id(), core.connection.pad.remote_id.clone());
        match self.method().is_some_and(Method::has_secret) {
            true => FailureReason::WrongSecret { by: By::Peer, local, remote, certain: false },
            false => FailureReason::CredentialRefused { local, remote },
        }
    }

    // ---- Time ----

    /// When [`Self::handle_timeout`] has something to do.
    pub(crate) fn poll_timeout(&self) -> Instant {
        self.patience.poll_timeout()
    }

    pub(crate) fn handle_timeout(&mut self, core: &Core, cx: &mut Context<'_>) -> StepResult {
        let refused = self.has_proven_us(core).then(|| self.refused_proof(core));
        self.patience.handle_timeout(self.exchange.named(), refused, core, cx)
    }
}
