//! How long a phase 1 waits for its peer: messages that are sent again (RFC 2408 §5.1), refusals that nobody
//! has authenticated, and the end.

use std::time::{Duration, Instant};

use adit_wire::iana::ExchangeType;

use crate::context::Context;
use crate::failure::FailureReason;
use crate::keymat::Role;

use super::core::Core;
use super::phase1::{Outcome, StepResult};
use super::retransmission::{Due, Sent};

/// What ends a phase 1 that its peer does not finish.
#[derive(Debug)]
pub(crate) struct Patience {
    /// Our last message, while an answer is expected.
    sent: Option<Sent>,
    /// Something that nobody has authenticated says that it comes to nothing.
    doubt: Option<Box<(FailureReason, Instant)>>,
    deadline: Instant,
}

/// How long something better is waited for after a refusal that nobody has authenticated.
const DOUBT_WAIT: Duration = Duration::from_secs(2);

impl Patience {
    /// From now on. Who asks has time for all its tries beside.
    pub(crate) fn of(role: Role, cx: &Context<'_>) -> Self {
        let tries = match role {
            Role::Initiator => cx.config.connecting.total(),
            Role::Responder => Duration::ZERO,
        };
        Self { sent: None, doubt: None, deadline: cx.now + tries + cx.config.half_open_timeout }
    }

    /// A message was sent, and is again until something comes.
    pub(crate) fn expect_answer(&mut self, message: Vec<u8>, cx: &mut Context<'_>) {
        self.sent = Some(Sent::new(message, cx.config.connecting, cx.now, cx.rng));
    }

    /// It came.
    pub(crate) fn answered(&mut self) {
        self.sent = None;
    }

    /// Whether something that nobody has authenticated has been noted.
    pub(crate) fn is_in_doubt(&self) -> bool {
        self.doubt.is_some()
    }

    /// Notes what ends the attempt if nothing better comes. Whether it is the first such thing.
    pub(crate) fn doubt(&mut self, reason: FailureReason, now: Instant) -> bool {
        if self.doubt.is_some() {
            return false;
        }
        self.doubt = Some(Box::new((reason, now + DOUBT_WAIT)));
        true
    }

    /// When [`Self::handle_timeout`] has something to do.
    pub(crate) fn poll_timeout(&self) -> Instant {
        let doubt = self.doubt.as_ref().map(|doubt| doubt.1);
        let sent = self.sent.as_ref().map(Sent::poll_timeout);
        doubt.into_iter().chain(sent).fold(self.deadline, Instant::min)
    }

    /// Sends again, or ends the attempt. `refused` is what silence means once our proof is out: who answers
    /// everything before it and no more does not take it.
    pub(crate) fn handle_timeout(
        &mut self,
        exchange: ExchangeType,
        refused: Option<FailureReason>,
        core: &Core,
        cx: &mut Context<'_>,
    ) -> StepResult {
        if let Some(doubt) = self.doubt.take_if(|doubt| cx.now >= doubt.1) {
            return Err(doubt.0);
        }
        if cx.now >= self.deadline {
            return Err(FailureReason::HandshakeTimeout { waited: core.elapsed(cx.now) });
        }
        let Some(sent) = &mut self.sent else { return Ok(Outcome::Stay) };
        match sent.handle_timeout(cx.now, cx.rng) {
            Due::Nothing => Ok(Outcome::Stay),
            Due::Repeat(octets) => {
                core.transmit(octets, cx);
                Ok(Outcome::Stay)
            }
            Due::GaveUp { transmissions, waited } => {
                Err(refused.unwrap_or(FailureReason::PeerSilent {
                    exchange,
                    remote: core.path.remote,
                    transmissions,
                    waited,
                    unreachable: core.unreachable,
                }))
            }
        }
    }
}
