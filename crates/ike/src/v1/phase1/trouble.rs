//! Refusals that nobody has authenticated, and time.

use std::time::{Duration, Instant};

use adit_wire::iana::isakmp::NotifyType;

use crate::context::Context;
use crate::failure::{By, FailureReason};

use super::super::core::Core;
use super::super::informational;
use super::super::method::Method;
use super::super::retransmission::{Due, Sent};
use super::rules::Exchange;
use super::{Outcome, Phase1, StepResult};

/// How long something better is waited for after a refusal that nobody has authenticated.
const DOUBT_WAIT: Duration = Duration::from_secs(2);

impl Phase1 {
    /// Notes what ends the attempt if nothing better comes. Whether it is the first such thing.
    pub(super) fn doubt(&mut self, reason: FailureReason, cx: &Context<'_>) -> bool {
        if self.doubt.is_some() {
            return false;
        }
        self.doubt = Some(Box::new((reason, cx.now + DOUBT_WAIT)));
        true
    }

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
        if self.doubt.is_some() || !is_asked {
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
        self.doubt(reason, cx);
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
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let doubt = self.doubt.as_ref().map(|doubt| doubt.1);
        let sent = self.sent.as_ref().map(Sent::poll_timeout);
        [doubt, sent, Some(self.deadline)].into_iter().flatten().min()
    }

    pub(crate) fn handle_timeout(&mut self, core: &mut Core, cx: &mut Context<'_>) -> StepResult {
        if let Some(doubt) = self.doubt.take_if(|doubt| cx.now >= doubt.1) {
            return Err(doubt.0);
        }
        if cx.now >= self.deadline {
            return Err(FailureReason::HandshakeTimeout { waited: core.elapsed(cx.now) });
        }
        let refused = self.has_proven_us(core).then(|| self.refused_proof(core));
        let Some(sent) = &mut self.sent else { return Ok(Outcome::Stay) };
        match sent.handle_timeout(cx.now, cx.rng) {
            Due::Nothing => Ok(Outcome::Stay),
            Due::Repeat(octets) => {
                core.transmit(octets, cx);
                Ok(Outcome::Stay)
            }
            // Who answers everything before our proof and no more does not take it.
            Due::GaveUp { transmissions, waited } => {
                Err(refused.unwrap_or_else(|| FailureReason::PeerSilent {
                    exchange: self.exchange.named(),
                    remote: core.path.remote,
                    transmissions,
                    waited,
                    unreachable: core.unreachable,
                }))
            }
        }
    }
}
