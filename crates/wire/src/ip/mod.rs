//! IPv4 (RFC 791) and IPv6 (RFC 8200) packets.
//!
//! [`IpPacket`] reads either version; [`Ipv4Header`] and [`Ipv6Header`] are written.

mod checksum;
mod echo;
mod ecn;
mod flow;
mod fragment;
mod icmp;
mod icmp_error;
mod mark;
mod mutable;
mod packet;
#[cfg(test)]
mod tests;
mod transport;
mod v4;
mod v6;

pub use checksum::{checksum, checksum_after_change};
pub use echo::{Echo, EchoReply};
pub use ecn::Ecn;
pub use flow::{FlowKey, FlowSide};
pub use fragment::{FragmentParts, head_whole_packet, write_fragment};
pub use icmp::Icmp;
pub use icmp_error::{IcmpError, IcmpReport, QuotedSpi, may_be_answered};
pub use mark::FlowMark;
pub use mutable::covered_headers;
pub use packet::{FragmentInfo, IpPacket, set_ecn, set_traffic_class, set_ttl};
pub use transport::{AddressChange, FrontHeaders};
pub use v4::Ipv4Header;
pub use v6::{EXTENSIONS_MAX, Ipv6Header};
