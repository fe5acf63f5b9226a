//! What a message says about a child beside SA, TSi and TSr: status notifies (RFC 7296 §1.3.1).

use adit_wire::iana::NotifyType;

use crate::v2::rules::Received;

/// What the peer wants or will not have.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Said {
    /// USE_TRANSPORT_MODE.
    pub(crate) transport: bool,
    /// ESP_TFC_PADDING_NOT_SUPPORTED: nothing may follow its inner packets.
    pub(crate) no_tfc: bool,
}

impl Said {
    pub(crate) fn read(received: &Received<'_>) -> Self {
        Self {
            transport: received.has_notify(NotifyType::USE_TRANSPORT_MODE),
            no_tfc: received.has_notify(NotifyType::ESP_TFC_PADDING_NOT_SUPPORTED),
        }
    }
}
