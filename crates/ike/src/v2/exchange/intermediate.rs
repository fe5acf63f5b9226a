//! IKE_INTERMEDIATE (RFC 9242) carrying additional key exchanges (RFC 9370 §2.2.2).
//!
//! One exchange per additional method. Both of its messages are protected by the keys before it;
//! what follows is protected by the keys it made. AUTH covers them all through IntAuth.
//!
//! It carries nothing else: other payloads are skipped, and an exchange without a key exchange
//! (RFC 9242 §3.2) is refused.

use adit_crypto::KeyShare;
use adit_wire::iana::{ExchangeType, NotifyType};
use adit_wire::ikev2::{ChainBuilder, Ke, Notify, Payload};

use crate::context::Context;
use crate::failure::FailureReason;
use crate::keymat::Role;
use crate::v2::handshake::Handshake;
use crate::v2::ike_sa::core::Core;
use crate::v2::ike_sa::{Next, State, StepResult};
use crate::v2::protected::Message;
use crate::v2::rules::{Form, Received};

use super::auth::AuthSigning;
use super::init::Wanted;

/// Initiator: a KE payload of an additional method sent, the peer's awaited.
#[derive(Debug)]
pub(crate) struct IntermediateSent {
    handshake: Option<Box<Handshake>>,
    key_share: Option<KeyShare>,
    wanted: Wanted,
}

impl IntermediateSent {
    /// Sends the request for the handshake's next additional key exchange.
    pub(crate) fn start(
        mut handshake: Box<Handshake>,
        wanted: Wanted,
        core: &mut Core,
        cx: &mut Context<'_>,
    ) -> StepResult {
        let Some(method) = handshake.next_exchange() else {
            return AuthSigning::start(handshake, wanted, core, cx);
        };
        let share = cx.key_share(method);
        let mut chain = ChainBuilder::new();
        chain.put(&Payload::Ke(Ke { method: method.id(), data: share.public() }));
        let schedule = cx.config.connecting;
        let sent = core.request(ExchangeType::IKE_INTERMEDIATE, chain, schedule, cx)?;
        handshake.sent(Role::Initiator, &sent);
        Ok(Next::enter(State::IntermediateSent(Box::new(Self {
            handshake: Some(handshake),
            key_share: Some(share),
            wanted,
        }))))
    }

    /// Takes the response. It is authentic as far as a key exchange without authentication can
    /// be, so an error ends the attempt.
    pub(crate) fn handle_response(
        &mut self,
        message: &Message,
        received: &Received<'_>,
        core: &mut Core,
        cx: &mut Context<'_>,
    ) -> StepResult {
        if message.header.exchange != ExchangeType::IKE_INTERMEDIATE {
            return Ok(Next::Stay);
        }
        core.requests.answered();
        if received.form == Form::Refusal {
            let notify = received.error().map_or(NotifyType::INVALID_SYNTAX, |error| error.kind);
            return Err(FailureReason::PeerError {
                exchange: ExchangeType::IKE_INTERMEDIATE,
                notify,
            });
        }
        let (Some(mut handshake), Some(share)) = (self.handshake.take(), self.key_share.take())
        else {
            return Err(FailureReason::Internal("handshake is gone"));
        };
        let ke = received
            .ke
            .filter(|ke| ke.method == share.method().id())
            .ok_or(FailureReason::PeerMisbehaved("no KE of the additional method"))?;
        let shared = share
            .agree(ke.data)
            .map_err(|_| FailureReason::PeerMisbehaved("invalid public value"))?;
        handshake.received(Role::Responder, message);
        handshake.advance(&shared, core, cx)?;
        Self::start(handshake, self.wanted.clone(), core, cx)
    }
}

/// Responder: answers one IKE_INTERMEDIATE request and renews the keys.
///
/// # Errors
///
/// When the request is not the one whose turn it is; it has been answered with INVALID_SYNTAX
/// then, and the attempt is over.
pub(crate) fn answer(
    handshake: &mut Handshake,
    message: &Message,
    received: &Received<'_>,
    core: &mut Core,
    cx: &mut Context<'_>,
) -> Result<(), FailureReason> {
    handshake.received(Role::Initiator, message);
    let method = handshake.next_exchange();
    let agreed = method.and_then(|method| {
        let ke = received.ke.filter(|ke| ke.method == method.id())?;
        cx.answer_key_share(method, ke.data).ok()
    });
    let mut chain = ChainBuilder::new();
    let (Some(method), Some((public, shared))) = (method, agreed) else {
        chain.put(&Payload::Notify(Notify::new(NotifyType::INVALID_SYNTAX, &[])));
        core.respond(ExchangeType::IKE_INTERMEDIATE, chain, cx)?;
        return Err(FailureReason::PeerMisbehaved("unexpected IKE_INTERMEDIATE"));
    };
    chain.put(&Payload::Ke(Ke { method: method.id(), data: &public }));
    let sent = core.respond(ExchangeType::IKE_INTERMEDIATE, chain, cx)?;
    handshake.sent(Role::Responder, &sent);
    handshake.advance(&shared, core, cx)
}
