//! Going where gateways send us (RFC 5685).

use std::time::Instant;

use adit_crypto::Rng;
use adit_db::{Gateway, IkeSaId};

use crate::event::Step;
use crate::failure::{Failure, FailureReason};
use crate::keep::Stage;

use super::Endpoint;

impl Endpoint {
    /// The peer of an IKE SA that is up sends us elsewhere: it is deleted, and what follows is
    /// [`Self::follow_redirect`]. If that has happened too often lately the IKE SA stays, as it works.
    pub(super) fn handle_redirected(
        &mut self,
        ike: IkeSaId,
        to: Gateway,
        now: Instant,
        rng: &mut dyn Rng,
    ) {
        let Some(core) = self.sas.get(ike).map(|sa| &sa.core) else { return };
        let keeper = core.connection_name().and_then(|name| self.keepers.get(name));
        if keeper.is_some_and(|keeper| keeper.may_redirect(now)) {
            //= https://www.rfc-editor.org/rfc/rfc5685#section-5
            //# Once the client sends an acknowledgement to the gateway, it SHOULD
            //# delete the existing security associations with the old gateway by
            //# sending an INFORMATIONAL message with a DELETE payload.
            let reason = FailureReason::Redirected { to };
            self.touch(ike, now, rng, |sa, cx| sa.close(reason, cx));
        }
    }

    /// An attempt, or an IKE SA that was up, has ended because its peer sends us elsewhere.
    pub(super) fn follow_redirect(
        &mut self,
        to: &Gateway,
        failure: &Failure,
        now: Instant,
        rng: &mut dyn Rng,
    ) {
        let (Some(name), Some(from)) = (failure.connection.clone(), failure.remote) else { return };
        let Some(keeper) = self.keepers.get_mut(&name) else { return };
        // It may be another IKE SA that was up: what is being made has the gateway that is left, too.
        if let Some(Stage::Connecting(other)) = keeper.end_attempt().map(|attempt| attempt.stage) {
            self.touch(other, now, rng, |sa, cx| sa.abandon(FailureReason::Replaced, cx));
        }
        let Some(keeper) = self.keepers.get_mut(&name) else { return };
        match keeper.redirect(to, from.ip(), now) {
            Ok(()) => {
                // RFC 9329 §7.2: how to reach another gateway has to be found out again.
                keeper.probe_udp_at(None);
                let step = Step::Redirected { to: to.clone() };
                self.out.progress(Some(&name), None, step, failure.elapsed);
            }
            Err(reason) => {
                let failure = Box::new(Failure { reason, ..failure.clone() });
                let retry = self.config.retry;
                keeper.attempt_failed(failure, retry, now, rng, &mut self.out);
            }
        }
        self.pursue(&name, now, rng);
    }
}
