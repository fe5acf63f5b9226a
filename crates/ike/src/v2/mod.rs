//! IKEv2 (RFC 7296): one IKE SA, its exchanges, its messages.

pub(crate) mod message_id;
pub(crate) mod protected;
pub(crate) mod rules;
