//! From one state of an IKE SA (RFC 7296 §2.21, §2.25) to the next: who is told, what is sent,
//! what stays.

use std::time::Duration;

use adit_wire::iana::ExchangeType;
use adit_wire::ikev2::{ChainBuilder, Delete, Payload};

use crate::command::Transport;
use crate::context::{Context, Notice};
use crate::event::{Event, IkeSaState};
use crate::failure::FailureReason;
use crate::v2::exchange::init;
use crate::v2::mobike;
use crate::v2::notification_data::{self, About};
use crate::v2::rules::RuleError;

use super::core::Core;
use super::{
    Closed, Deleting, Farewell, IkeSa, LINGER, Next, REKEYED_WAIT, Rekeyed, State, StepResult,
};

impl IkeSa {
    /// Begins what waits, as long as the window is free.
    pub(super) fn pump(&mut self, cx: &mut Context<'_>) {
        if let State::Established(established) = &mut self.state {
            let result = established.pump(&mut self.core, cx);
            self.apply(result, cx);
        }
    }

    pub(super) fn apply(&mut self, result: StepResult, cx: &mut Context<'_>) {
        match result {
            Ok(Next::Stay) => {}
            Ok(Next::Enter(state)) => {
                self.state = *state;
            }
            Ok(Next::Refuse(notify, reason)) => {
                let exchange = Some(ExchangeType::IKE_AUTH);
                let about = About { code: reason.code(), payload: None, exchange };
                self.report_end(reason, cx);
                let mut chain = ChainBuilder::new();
                notification_data::put_error(notify, about, &self.core, &mut chain);
                self.say_farewell(chain, cx);
            }
            Ok(Next::Delete(reason)) => {
                self.report_end(reason, cx);
                self.begin_delete(cx);
            }
            Ok(Next::End(reason)) => {
                self.report_end(reason, cx);
                self.enter_closed(cx);
            }
            Ok(Next::Replaced { new, old }) => self.replace(new, old, cx),
            Err(reason) => self.fail(reason, cx),
        }
    }

    /// A response that breaks the rules ends the attempt, or the IKE SA. A responder of IKE_AUTH takes that
    /// for established by now, so it is told.
    ///
    //= https://www.rfc-editor.org/rfc/rfc7296#section-2.21.2
    //# If the error occurs on the initiator, the notification MAY be returned in a separate INFORMATIONAL
    //# exchange, usually with no other payloads.
    pub(super) fn refuse_response(
        &mut self,
        error: &RuleError,
        cx: &mut Context<'_>,
    ) -> StepResult {
        self.core.requests.answered();
        let reason = FailureReason::PeerMisbehaved("malformed response");
        if !matches!(self.state, State::AuthSent(_)) {
            return Err(reason);
        }
        self.report_end(reason, cx);
        let mut chain = ChainBuilder::new();
        notification_data::put_rule_error(error, false, &self.core, &mut chain);
        self.say_farewell(chain, cx);
        Ok(Next::Stay)
    }

    /// An error: of an established IKE SA the peer is told, if the window allows.
    fn fail(&mut self, reason: FailureReason, cx: &mut Context<'_>) {
        let established = matches!(self.state, State::Established(_));
        // Who was silent for so long asks for nothing again, and has been counted long enough.
        let timed_out = matches!(reason, FailureReason::HandshakeTimeout { .. });
        self.report_end(self.explain(reason), cx);
        if established && self.core.requests.is_idle() {
            self.begin_delete(cx);
        } else if timed_out {
            self.enter_closed_for(Duration::ZERO, cx);
        } else {
            self.enter_closed(cx);
        }
    }

    /// Silence on port 4500 after answers on port 500 has a name of its own.
    fn explain(&self, reason: FailureReason) -> FailureReason {
        let floated = self.core.nat.supported
            && matches!(self.state, State::IntermediateSent(_) | State::AuthSent(_))
            && self.core.path.remote.port() != init::IKE_PORT;
        if let FailureReason::PeerSilent { exchange, remote, transmissions, waited, .. } = reason
            && floated
        {
            let (nat_local, nat_remote) =
                (self.core.nat.we_are_behind_nat, self.core.nat.peer_is_behind_nat);
            return FailureReason::NatPortBlocked {
                exchange,
                remote,
                transmissions,
                waited,
                nat_local,
                nat_remote,
            };
        }
        reason
    }

    /// Tells everybody that the IKE SA is over, once; its children go first.
    fn report_end(&mut self, reason: FailureReason, cx: &mut Context<'_>) {
        let standing = self.standing();
        if let State::Established(established) = &mut self.state {
            let info = Box::new(established.info(&self.core));
            established.remove_all(&reason, &self.core, cx);
            cx.out.event(Event::IkeDown { info, reason: reason.clone() });
        } else if standing != Some(IkeSaState::Connecting) {
            return;
        }
        if !matches!(reason, FailureReason::PeerSilent { .. }) {
            void_tickets(&self.core, cx);
        }
        if standing != Some(IkeSaState::Established) {
            // Who has proven nothing has nothing to say.
            self.core.peer_says = None;
        }
        let was_established = standing == Some(IkeSaState::Established);
        let failure = self.core.failure(reason, cx.now);
        let ike = self.core.id;
        cx.out.notice(Notice::Ended { ike, was_established, failure });
    }

    fn replace(&mut self, mut new: Box<Self>, old: Farewell, cx: &mut Context<'_>) {
        let State::Established(before) = &mut self.state else { return };
        let old_info = Box::new(before.info(&self.core));
        new.core.follow(&self.core);
        void_tickets(&self.core, cx);
        let State::Established(after) = &mut new.state else { return };
        after.inherit(before, &new.core, cx);
        let new_info = Box::new(after.info(&new.core));
        cx.out.event(Event::IkeRekeyed { old: old_info, new: new_info });
        mobike::resume(&mut new.core, cx);
        match old {
            Farewell::WeDelete => {
                self.core.requests.answered();
                self.begin_delete(cx);
            }
            Farewell::PeerDeletes => {
                self.core.requests.abandon();
                self.state = State::Rekeyed(Rekeyed { until: cx.now + REKEYED_WAIT });
                mobike::tell_on_old(&mut self.core, cx);
            }
            Farewell::Gone => self.enter_closed(cx),
        }
        new.pump(cx);
        cx.out.notice(Notice::Rekeyed { old: self.core.id, new });
    }

    /// Another IKE SA with the same peer is over: if this one was to take its place, it does.
    pub(crate) fn take_over(&mut self, cx: &mut Context<'_>) {
        self.with_established(cx, |established, _, cx| established.succeed(cx));
    }

    pub(super) fn begin_delete(&mut self, cx: &mut Context<'_>) {
        let mut chain = ChainBuilder::new();
        chain.put(&Payload::Delete(Delete::IkeSa));
        self.say_farewell(chain, cx);
    }

    /// Sends the last request of this IKE SA, unless another is in flight, or nothing can be sent: nobody
    /// opens a connection to take leave.
    fn say_farewell(&mut self, chain: ChainBuilder, cx: &mut Context<'_>) {
        self.core.requests.abandon();
        if !self.core.requests.may_ask() || self.core.is_disconnected() {
            return self.enter_closed(cx);
        }
        let exchange = ExchangeType::INFORMATIONAL;
        match self.core.request(exchange, chain, cx.config.connecting, cx) {
            Ok(_) => self.state = State::Deleting(Deleting { exchange }),
            Err(_) => self.enter_closed(cx),
        }
    }

    fn enter_closed(&mut self, cx: &Context<'_>) {
        // What went over our TCP connection has arrived, and the connection goes.
        let repeats = self.core.path.transport != Transport::TcpOriginator
            && !self.core.responses.last_response().is_empty();
        self.enter_closed_for(if repeats { LINGER } else { Duration::ZERO }, cx);
    }

    fn enter_closed_for(&mut self, linger: Duration, cx: &Context<'_>) {
        self.core.requests.answered();
        let half_open = self.is_half_open();
        self.state = State::Closed(Closed { until: cx.now + linger, half_open });
    }
}

/// What tickets there are resume nothing any more; they are for who was interrupted.
fn void_tickets(core: &Core, cx: &mut Context<'_>) {
    if let Some(connection) = core.connection_name().filter(|_| core.has_ticket) {
        let (connection, id) = (connection.clone(), (core.spi_i, core.spi_r));
        cx.out.notice(Notice::TicketsVoid { ike: core.id, id, connection });
    }
}
