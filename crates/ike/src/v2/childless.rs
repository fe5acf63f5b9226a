//! IKE SAs that begin without a child (RFC 6023), of which nothing is declined.
//!
//! The responder says in IKE_SA_INIT that it takes IKE_AUTH without `SA, TSi, TSr`; the initiator
//! decides. Children come by CREATE_CHILD_SA then, each with a key exchange of its own. The responder
//! knows its connection only in IKE_AUTH, so it speaks for the first that fits the opening.

use adit_db::{Childless, Connection};
use adit_wire::iana::{NotifyType, ProtocolId};
use adit_wire::ikev2::{MessageBuilder, Notify, Payload};

use crate::failure::{By, FailureReason};
use crate::v2::ike_sa::core::Core;
use crate::v2::rules::Received;

/// Responder: whether a peer may begin without a child, with so much room left in the response: nobody
/// has proven the address it goes to, so it must not be longer than the request for this.
//= https://www.rfc-editor.org/rfc/rfc6023#section-3
//# A supporting responder that has been configured not to support this
//# extension to the protocol MUST behave as the same as if it didn't
//# support this extension.  It MUST NOT advertise the capability with a
//# notification
pub(crate) fn is_offered(connection: &Connection, room: usize) -> bool {
    connection.childless != Childless::Never && room >= SUPPORT_OCTETS
}

/// The notify with its generic header (RFC 6023 §4).
const SUPPORT_OCTETS: usize = 8;

/// Responder: says so.
//= https://www.rfc-editor.org/rfc/rfc6023#section-3
//# A supporting responder MUST include the Notify payload, described in
//# Section 4, within the IKE_SA_INIT response.
pub(crate) fn put_support(message: &mut MessageBuilder) {
    // RFC 6023 §4: the protocol is that of the IKE SA.
    message.put(&Payload::Notify(Notify {
        protocol: ProtocolId::IKE,
        ..Notify::new(NotifyType::CHILDLESS_IKEV2_SUPPORTED, &[])
    }));
}

/// Initiator: whether IKE_AUTH goes without a child, by the response to IKE_SA_INIT.
///
/// # Errors
///
/// [`FailureReason::NotChildless`] if we insist on it and the peer does not take it.
//= https://www.rfc-editor.org/rfc/rfc6023#section-3
//# The initiator MUST NOT send the modified IKE_AUTH request if the
//# notification was not present.
pub(crate) fn agree(core: &Core, received: &Received<'_>) -> Result<bool, FailureReason> {
    let is_supported = received.has_notify(NotifyType::CHILDLESS_IKEV2_SUPPORTED);
    match core.connection.as_ref().map(|connection| connection.childless) {
        Some(Childless::Force) if !is_supported => {
            Err(FailureReason::NotChildless { by: By::Peer })
        }
        wish => Ok(is_supported && wish.is_some_and(Childless::is_wanted)),
    }
}

/// Responder: whether IKE_AUTH may be with a child, or without one.
///
/// # Errors
///
/// The peer omits the child and we have not said that it may, or it asks for one and we insist that
/// there is none.
pub(crate) fn check(
    is_without: bool,
    was_offered: bool,
    connection: &Connection,
) -> Result<(), FailureReason> {
    match connection.childless {
        _ if is_without && !was_offered => Err(FailureReason::PeerMisbehaved("no child")),
        Childless::Force if !is_without => Err(FailureReason::NotChildless { by: By::Us }),
        Childless::Allow | Childless::Prefer | Childless::Force | Childless::Never => Ok(()),
    }
}
