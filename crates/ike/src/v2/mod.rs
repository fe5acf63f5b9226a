//! IKEv2 (RFC 7296): one IKE SA, its exchanges, its messages.

pub(crate) mod busy;
pub(crate) mod child;
pub(crate) mod child_offer;
pub(crate) mod childless;
pub(crate) mod established;
pub(crate) mod exchange;
pub(crate) mod handshake;
pub(crate) mod idleness;
pub(crate) mod ike_sa;
pub(crate) mod message_id;
pub(crate) mod message_id_sync;
pub(crate) mod mobike;
pub(crate) mod mode;
pub(crate) mod notification_data;
pub(crate) mod null_auth;
pub(crate) mod ppk;
pub(crate) mod protected;
pub(crate) mod reauth;
pub(crate) mod redirect;
pub(crate) mod resumption;
pub(crate) mod rounds;
pub(crate) mod rules;
pub(crate) mod said;
pub(crate) mod signature;
pub(crate) mod tcp_encap;
pub(crate) mod udp_encap;
