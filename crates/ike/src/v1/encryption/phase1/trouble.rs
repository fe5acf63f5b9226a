//! Refusals, and time.

use std::time::{Duration, Instant};

use adit_wire::iana::isakmp::NotifyType;

use crate::context::Context;
use crate::event::Step;
use crate::failure::{By, FailureReason};
use crate::keymat::Role;
use crate::v1::core::Core;
use crate::v1::informational;
use crate::v1::phase1::{Outcome, StepResult};
use crate::v1::retransmission::{Due, Sent};

use super::super::proof::wrong_key;
use super::{EncryptedPhase1, Stage};

/// How long something better is waited for after a refusal that nobody has authenticated.
const DOUBT_WAIT: Duration = Duration::from_secs(2);

impl EncryptedPhase1 {
    /// When [`Self::handle_timeout`] has something to do.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let doubt = self.doubt.as_ref().map(|doubt| doubt.1);
        let sent = self.sent.as_ref().map(Sent::poll_timeout);
        [doubt, sent, Some(self.deadline)].into_iter().flatten().min()
    }

    /// The proof is no proof: somebody has another key than we think, or has sent octets that are nobody's.
    /// Until something better comes it is taken for the first.
    pub(super) fn doubt_key(&mut self, core: &Core, cx: &mut Context<'_>) {
        if self.doubt.is_some() {
            return;
        }
        let (local, remote) = (core.own_id(), core.connection.pad.remote_id.clone());
        let reason = FailureReason::WrongEncryptionKey { by: By::Us, local, remote };
        self.doubt = Some(Box::new((reason, cx.now + DOUBT_WAIT)));
        if core.role == Role::Responder {
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
        if self.doubt.is_some() || core.role == Role::Responder {
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
        self.doubt = Some(Box::new((reason, cx.now + DOUBT_WAIT)));
    }

    pub(crate) fn handle_timeout(&mut self, core: &mut Core, cx: &mut Context<'_>) -> StepResult {
        if let Some(doubt) = self.doubt.take_if(|doubt| cx.now >= doubt.1) {
            return Err(doubt.0);
        }
        if cx.now >= self.deadline {
            return Err(FailureReason::HandshakeTimeout { waited: core.elapsed(cx.now) });
        }
        let exchange = self.exchange.named();
        let Some(sent) = &mut self.sent else { return Ok(Outcome::Stay) };
        match sent.handle_timeout(cx.now, cx.rng) {
            Due::Nothing => Ok(Outcome::Stay),
            Due::Repeat(octets) => {
                core.transmit(octets, cx);
                Ok(Outcome::Stay)
            }
            // Who shows its nonce and no more could not make anything of ours.
            Due::GaveUp { .. } if matches!(self.stage, Stage::Proving { .. }) => {
                Err(wrong_key(core))
            }
            Due::GaveUp { transmissions, waited } => Err(FailureReason::PeerSilent {
                exchange,
                remote: core.path.remote,
                transmissions,
                waited,
                unreachable: core.unreachable,
            }),
        }
    }

    /// Sends a message until something comes.
    pub(super) fn ask(&mut self, octets: Vec<u8>, core: &Core, cx: &mut Context<'_>) {
        core.transmit(&octets, cx);
        self.sent = Some(Sent::new(octets, cx.config.connecting, cx.now, cx.rng));
    }
}
