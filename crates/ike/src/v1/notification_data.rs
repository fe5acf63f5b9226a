//! Which error notifies of IKEv1 (RFC 2408 §3.14.1) carry what [`crate::notification_data`] has: those
//! under the keys of a phase 1, to a peer whose vendor ID is ours. The draft makes the list's first four
//! octets the sign that it is one, and so needs no other agreement.
//!
//! Notifies in clear stay bare. Nobody has proven anything then, and neither would a peer believe them.
//! Status notifies have data of their own.

use adit_wire::iana::isakmp::{NotifyType, PayloadType};
use adit_wire::iana::{ExchangeType as AnyExchangeType, PayloadType as AnyPayloadType};
use adit_wire::isakmp::Notify;

use crate::event::PeerSoftware;
use crate::failure::FailureReason;
use crate::notification_data::{self, About, PeerSays};

use super::core::Core;

/// The data of a notify that refuses what came in an exchange; none for who does not understand it.
pub(crate) fn of_refusal(
    kind: NotifyType,
    reason: &FailureReason,
    (exchange, message_id): (AnyExchangeType, u32),
    core: &Core,
) -> Vec<u8> {
    if core.peer != PeerSoftware::Adit {
        return Vec::new();
    }
    let payload = match kind {
        NotifyType::INVALID_ID_INFORMATION => PayloadType::ID,
        _ => PayloadType::SA,
    };
    let payload = Some(AnyPayloadType(payload.0));
    let about = About { code: reason.code(), payload, exchange: Some(exchange) };
    notification_data::data_about(about, Some(message_id))
}

/// What an error notify of an authentic message says, if it says anything.
pub(crate) fn read(notify: &Notify<'_>, core: &Core) -> Option<Box<PeerSays>> {
    if !notify.kind.is_error() || core.peer != PeerSoftware::Adit {
        return None;
    }
    let mut says = PeerSays::of(notify.data)?;
    says.payload = says.payload.map(named);
    Some(says)
}

/// A payload by its number in IKEv2, by which it is shown; of what has none there the number stays.
fn named(payload: AnyPayloadType) -> AnyPayloadType {
    match PayloadType(payload.0) {
        PayloadType::SA => AnyPayloadType::SA,
        PayloadType::KE => AnyPayloadType::KE,
        PayloadType::ID => AnyPayloadType::ID_I,
        PayloadType::CERT => AnyPayloadType::CERT,
        PayloadType::CERTREQ => AnyPayloadType::CERTREQ,
        PayloadType::NONCE => AnyPayloadType::NONCE,
        PayloadType::NOTIFICATION => AnyPayloadType::NOTIFY,
        PayloadType::DELETE => AnyPayloadType::DELETE,
        PayloadType::VENDOR_ID => AnyPayloadType::VENDOR_ID,
        _ => payload,
    }
}
