//! INFORMATIONAL (RFC 7296 §1.4): deletes, notifies, and the empty message that asks for a sign
//! of life.

use adit_wire::iana::{ExchangeType, NotifyType};
use adit_wire::ikev2::{ChainBuilder, Delete, Notify, Payload};

use crate::context::Context;
use crate::failure::{By, FailureReason};
use crate::v2::established::Established;
use crate::v2::ike_sa::core::Core;
use crate::v2::ike_sa::{Next, StepResult};
use crate::v2::mobike;
use crate::v2::reauth::AuthLifetime;
use crate::v2::rules::Received;
use crate::v2::{gateway_notice, message_id_sync, redirect, resumption};

use super::delete;

/// Answers a request of the peer.
pub(crate) fn answer(
    received: &Received<'_>,
    established: &mut Established,
    core: &mut Core,
    cx: &mut Context<'_>,
) -> StepResult {
    let mut chain = ChainBuilder::new();
    if received.deletes.contains(&Delete::IkeSa) {
        core.respond(ExchangeType::INFORMATIONAL, chain, cx)?;
        return Ok(established.deleted_by_peer());
    }
    if let Some(reason) = fatal(received, core) {
        core.respond(ExchangeType::INFORMATIONAL, chain, cx)?;
        return Ok(Next::End(reason));
    }
    if let Some(lifetime) = AuthLifetime::read(received) {
        established.limit_auth(lifetime, core, cx);
    }
    redirect::take(core, received, cx);
    message_id_sync::step(received, established, core, cx);
    gateway_notice::take(received, established, core, cx);
    let deletes_children =
        received.deletes.iter().any(|delete| matches!(delete, Delete::Esp(_) | Delete::Ah(_)));
    if deletes_children {
        delete::answer(received, &mut chain, established, core, cx);
    }
    let asks = received.has_notify(NotifyType::TICKET_REQUEST);
    resumption::answer_request(asks, established, core, &mut chain, cx);
    mobike::answer(received, &mut chain, established, core, cx);
    core.respond(ExchangeType::INFORMATIONAL, chain, cx)?;
    Ok(Next::Stay)
}

/// A notify by which the peer ends the IKE SA without a Delete payload (RFC 7296 §2.21.3), whatever
/// stands before it.
///
//= https://www.rfc-editor.org/rfc/rfc7296#section-2.21.2
//# the UNSUPPORTED_CRITICAL_PAYLOAD, INVALID_SYNTAX, and AUTHENTICATION_FAILED notifications are the only
//# ones to cause the IKE SA to be deleted or not created, without a Delete payload.
fn fatal(received: &Received<'_>, core: &Core) -> Option<FailureReason> {
    received.notifies.iter().find_map(|notify| match notify.kind {
        NotifyType::AUTHENTICATION_FAILED => {
            let local = core.local_id.clone()?;
            let remote = core.remote_id.clone().map(adit_db::IdentityPattern::Exact)?;
            Some(FailureReason::WrongSecret { by: By::Peer, local, remote, certain: false })
        }
        notify @ (NotifyType::INVALID_SYNTAX | NotifyType::UNSUPPORTED_CRITICAL_PAYLOAD) => {
            Some(FailureReason::PeerError { exchange: ExchangeType::INFORMATIONAL, notify })
        }
        _ => None,
    })
}

/// Answers a request of an established IKE SA that no honest peer sends, and ends the IKE SA:
/// INVALID_SYNTAX is fatal for both ends (RFC 7296 §2.21.3).
pub(crate) fn refuse_malformed(
    exchange: ExchangeType,
    core: &mut Core,
    cx: &mut Context<'_>,
) -> StepResult {
    let mut chain = ChainBuilder::new();
    chain.put(&Payload::Notify(Notify::new(NotifyType::INVALID_SYNTAX, &[])));
    core.respond(exchange, chain, cx)?;
    Ok(Next::End(FailureReason::PeerMisbehaved("malformed request")))
}
