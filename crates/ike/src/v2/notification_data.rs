//! Which error notifies of IKEv2 (RFC 7296 §3.10) carry what [`crate::notification_data`] has.
//!
//! Either end says in IKE_SA_INIT that it understands such data, with the empty status notify
//! ADIT_NOTIFICATION_DATA, 40969 of the private-use range, beside our vendor ID; the responder only to a
//! peer that has said so. AUTH covers both messages. To nobody else the data of a notify is other than
//! RFC 7296 §3.10.1 has it, and a notify with data of its own there keeps that and gets no other.
//!
//! What a busy or full endpoint answers, and INVALID_SYNTAX, stays bare: the number says all.
//!
//! Who has not proven its identity learns nothing by it: AUTHENTICATION_FAILED of a responder stays bare,
//! whatever the reason. An initiator tells a responder what is wrong with the proof that this one has
//! shown.

use adit_wire::iana::NotifyType;
use adit_wire::ikev2::{ChainBuilder, MessageBuilder, Notify, Payload};

use crate::event::PeerSoftware;
use crate::keymat::Role;
pub(crate) use crate::notification_data::About;
use crate::notification_data::PeerSays;
use crate::notification_data::data;
use crate::v2::ike_sa::core::Core;
use crate::v2::rules::{Received, RuleError};

/// What the first error notify of an authentic message says, if it says anything.
pub(crate) fn read(received: &Received<'_>, core: &Core) -> Option<Box<PeerSays>> {
    let error = received.error().filter(|_| core.terms.notification_data)?;
    PeerSays::of(error.data)
}

/// Adds ADIT_NOTIFICATION_DATA to an IKE_SA_INIT message: a request, or the answer to one that has it.
pub(crate) fn put_support(message: &mut MessageBuilder, core: &Core) {
    if core.role == Role::Initiator || core.terms.notification_data {
        message.put(&Payload::Notify(Notify::new(NotifyType::ADIT_NOTIFICATION_DATA, &[])));
    }
}

/// Takes from an IKE_SA_INIT message whether the peer understands; its program is known by then.
pub(crate) fn note(core: &mut Core, received: &Received<'_>) {
    let is_said = received.has_notify(NotifyType::ADIT_NOTIFICATION_DATA);
    core.terms.notification_data = is_said && core.peer == PeerSoftware::Adit;
}

/// Adds an error notify that has no data of its own, with what there is to say if the peer understands it.
pub(crate) fn put_error(kind: NotifyType, about: About, core: &Core, chain: &mut ChainBuilder) {
    let data = if core.terms.notification_data { data(about) } else { Vec::new() };
    chain.put(&Payload::Notify(Notify::new(kind, &data)));
}

/// Adds the notify that answers a request against the rules. What has data of its own keeps that.
pub(crate) fn put_rule_error(
    error: &RuleError,
    is_proven: bool,
    core: &Core,
    chain: &mut ChainBuilder,
) {
    let (kind, own) = (error.notify(), error.notify_data());
    match error {
        RuleError::Missing(payload) | RuleError::TooMany(payload) if is_proven => {
            put_error(kind, About { payload: Some(*payload), ..About::default() }, core, chain);
        }
        RuleError::Missing(_)
        | RuleError::TooMany(_)
        | RuleError::Malformed(_)
        | RuleError::UnsupportedCritical(_)
        | RuleError::Exchange(_) => chain.put(&Payload::Notify(Notify::new(kind, &own))),
    }
}
