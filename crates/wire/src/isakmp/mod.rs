//! ISAKMP messages, RFC 2408 §3, as IKEv1 (RFC 2409) uses them: one payload, one file.
//!
//! A message is a [`Header`] and a chain of [`Payloads`]; each [`RawPayload`] becomes a typed
//! [`Payload`]. [`MessageBuilder`] goes the other way. What attributes and identities mean is in
//! [`doi`](crate::doi).
//!
//! Payloads that the RSA encryption modes of RFC 2409 §5.2 and §5.3 encrypt one by one are not what
//! [`Payload::read`] expects: take [`RawPayload::body`] there.

mod attribute;
mod builder;
mod cert;
mod config;
mod delete;
mod error;
mod fragment;
mod header;
mod id;
mod nat;
mod notify;
mod opaque;
mod payload;
mod sa;
#[cfg(test)]
mod testing;
mod vendor;

pub use attribute::{ATTRIBUTES_MAX, Attribute, AttributeList, AttributeValue, Attributes};
pub use builder::{ChainBuilder, MessageBuilder};
pub use cert::{Cert, CertReq};
pub use config::Configuration;
pub use delete::{Delete, SPIS_MAX, Spis};
pub use error::IsakmpError;
pub use fragment::Fragment;
pub use header::{Cookie, Flags, Header};
pub use id::Id;
pub use nat::NatOriginalAddress;
pub use notify::Notify;
pub use opaque::{Hash, Ke, NatDiscovery, Nonce, Signature, VendorId};
pub use payload::{
    GENERIC_HEADER_LEN, PADDING_MAX, PAYLOADS_MAX, Payload, Payloads, RawPayload, without_padding,
};
pub use sa::{PROPOSALS_MAX, Proposal, Sa, TRANSFORMS_MAX, Transform};
pub use vendor::Vendor;
