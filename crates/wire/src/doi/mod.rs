//! The IPsec domain of interpretation, RFC 2407: what attributes and identities in ISAKMP payloads
//! mean, with the attributes of IKE's phase 1 (RFC 2409 appendix A).
//!
//! A transform that makes no sense is an error for itself: the others of its proposal may be good,
//! so whoever chooses passes over it.

mod identity;
mod lifetime;
mod phase1;
mod phase2;

pub use identity::Identity;
pub use lifetime::Lifetimes;
pub use phase1::Phase1Transform;
pub use phase2::Phase2Transform;

use crate::{
    WireError,
    iana::isakmp::NotifyType,
    isakmp::{Attribute, AttributeValue, IsakmpError},
};

/// An attribute, or a combination of them, that this implementation does not take.
fn not_supported(field: &'static str, value: u64) -> IsakmpError {
    IsakmpError::value(NotifyType::ATTRIBUTES_NOT_SUPPORTED, field, value)
}

/// The value of a basic attribute, which "MUST NOT be encoded as variable" (RFC 2407 §4.5).
fn basic(attribute: Attribute<'_>, field: &'static str) -> Result<u16, IsakmpError> {
    match attribute.value {
        AttributeValue::Basic(value) => Ok(value),
        AttributeValue::Variable(_) => Err(not_supported(field, attribute.class.into())),
    }
}

/// Puts the value of an attribute that stands at most once: the second contradicts the first.
fn put<T>(place: &mut Option<T>, value: T, field: &'static str) -> Result<(), IsakmpError> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => {
            let cause = WireError::TooMany(field);
            Err(IsakmpError::new(NotifyType::ATTRIBUTES_NOT_SUPPORTED, cause))
        }
    }
}
