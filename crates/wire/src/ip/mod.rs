//! IPv4 (RFC 791) and IPv6 (RFC 8200) packets.

mod flow;

pub use flow::{FlowKey, FlowSide};
