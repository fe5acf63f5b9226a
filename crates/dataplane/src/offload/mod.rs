//! Super-packets: many packets of a flow, TCP (RFC 9293) or UDP (RFC 768), that cross the interface of the
//! host in one piece ([`adit_wire::vnet`]).

pub mod checksum;
mod coalesce;
mod segment;
mod super_packet;

pub use coalesce::{Coalescer, MERGED_MAX, Mergeable};
pub use segment::Segments;
#[cfg(test)]
pub(crate) use super_packet::tests;
pub use super_packet::{SUPER_OCTETS_MAX, SUPER_SEGMENTS_MAX, SuperPacket};
