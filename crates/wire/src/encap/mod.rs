//! How ESP and IKE share a transport with each other.

pub mod tcp;
pub mod udp;
