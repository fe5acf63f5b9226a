//! Refusals, and time.

use std::time::Instant;

use adit_wire::iana::isakmp::NotifyType;

use crate::context::Context;
use crate::event::Step;
use crate::failure::{By, FailureReason};
use crate::keymat::Role;
use crate::v1::core::Core;
use crate::v1::informational;
use crate::v1::phase1::StepResult;

use super::super::proof::wrong_key;
use super::{EncryptedPhase1, Stage};

impl EncryptedPhase1 {
    /// When [`Self::handle_timeout`] has something to do.
    pub(crate) fn poll_timeout(&self) -> Instant {
        self.patience.poll_timeout()
    }

    /// The proof is no proof: somebody has another key than we think, or has sent octets that are nobody's.
    /// Until something better comes it is taken for the first.
    pub(super) fn doubt_key(&mut self, core: &Core, cx: &mut Context<'_>) {
        let (local, remote) = (core.own_id(), core.connection.pad.remote_id.clone());
        let reason = FailureReason::WrongEncryptionKey { by: By::Us, local, remote };
        if self.patience.doubt(reason, cx.now) && core.role == Role::Responder {
            let kind = NotifyType::AUTHENTICATION_FAILED;
            if let Ok(message) = informational::clear_notify(kind, core, cx) {
                core.transmit(&message, cx);
            }
        }
    }

    /// An error that nobody has authenticated: it is believed if nothing better comes.
    pub(crate) fn handle_clear_error(
        &mut self,
        notify: NotifyType,
        core: &Core,
        cx: &mut Context<'_>,
    ) {
        if self.patience.is_in_doubt() || core.role == Role::Responder {
            return;
        }
        let reason = match notify {
            NotifyType::NO_PROPOSAL_CHOSEN => {
                FailureReason::NonceEncryptionDeclined { method: self.kind }
            }
            _ if matches!(self.stage, Stage::Proving { .. }) => wrong_key(core),
            notify => FailureReason::PeerRefused { exchange: self.exchange.named(), notify },
        };
        core.progress(Step::ErrorReceived { reason: reason.clone() }, cx);
        self.patience.doubt(reason, cx.now);
    }

    pub(crate) fn handle_timeout(&mut self, core: &Core, cx: &mut Context<'_>) -> StepResult {
        // Who shows its nonce and no more could not make anything of ours.
        let refused = matches!(self.stage, Stage::Proving { .. }).then(|| wrong_key(core));
        self.patience.handle_timeout(self.exchange.named(), refused, core, cx)
    }

    /// Sends a message until something comes.
    pub(super) fn ask(&mut self, octets: Vec<u8>, core: &Core, cx: &mut Context<'_>) {
        core.transmit(&octets, cx);
        self.patience.expect_answer(octets, cx);
    }
}
