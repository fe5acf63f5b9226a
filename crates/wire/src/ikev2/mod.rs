//! IKEv2 messages, RFC 7296 §3: one payload, one file.
//!
//! A message is a [`Header`] and a chain of [`Payloads`]; each [`RawPayload`] becomes a typed
//! [`Payload`]. [`MessageBuilder`] goes the other way.

mod auth;
mod builder;
mod cert;
mod certreq;
mod cp;
mod delete;
mod eap;
mod header;
mod id;
mod ke;
mod message_type;
mod nonce;
mod notify;
mod payload;
mod redirect;
mod sa;
mod selector;
mod sk;
#[cfg(test)]
mod testing;
mod ts;
mod vendor;

pub use auth::Auth;
pub use builder::{Chain, ChainBuilder, Fragment, MessageBuilder, SealDraft};
pub use cert::Cert;
pub use certreq::CertReq;
pub use cp::Cp;
pub use delete::{Delete, SPIS_MAX, Spis};
pub use eap::Eap;
pub use header::{Flags, Header, IkeSpi, Version};
pub use id::Id;
pub use ke::Ke;
pub use message_type::PortsOf;
pub use nonce::Nonce;
pub use notify::Notify;
pub use payload::{PAYLOADS_MAX, Payload, Payloads, RawPayload};
pub use redirect::{GatewayId, Redirect};
pub use sa::{PROPOSALS_MAX, Proposal, Sa, TRANSFORMS_MAX, Transform};
pub use selector::{PortRange, SelectorSyntax, TrafficSelector};
pub use sk::{
    Encrypted, EncryptedFragment, FragmentNumber, Parts, Protected, SealSpace, strip_padding,
};
pub use ts::{SELECTORS_MAX, Ts};
pub use vendor::VendorId;
