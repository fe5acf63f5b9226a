//! IKEv1 (RFC 2409).
//!
//! It shares values with IKEv2 (proposals, traffic selectors, keys of children) and no flow.

pub(crate) mod keymat;
