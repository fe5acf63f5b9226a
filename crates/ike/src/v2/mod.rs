//! IKEv2 (RFC 7296): one IKE SA, its exchanges, its messages.

pub(crate) mod child;
pub(crate) mod child_offer;
pub(crate) mod established;
pub(crate) mod exchange;
pub(crate) mod handshake;
pub(crate) mod idleness;
pub(crate) mod ike_sa;
pub(crate) mod message_id;
pub(crate) mod mode;
pub(crate) mod protected;
pub(crate) mod rules;
pub(crate) mod said;
