//! Packet engine in user space: RFC 4301 §5 with ESP (RFC 4303 §3) and AH (RFC 4302 §3), tunnel and
//! transport mode, and with compression before ESP (RFC 3173).
//!
//! ```text
//! outbound  IP packet  -> Outbound  policy, SA, sequence number -> seal -> ESP packet + PacketMeta
//! inbound   ESP packet -> Inbound   SPI, replay window -> open -> selectors, ECN -> IP packet
//! ```
//!
//! The two halves share nothing, so that each has a thread of its own. They take packets in
//! batches and work in place; per packet nothing is allocated and nothing locked. Outer IP and
//! UDP headers of ESP are the caller's: [`PacketMeta`](adit_wire::PacketMeta) says what stands in
//! them. AH covers its outer header, so there the engine makes and reads it.
//!
//! What an SA has sealed, others may protect once more (`nesting`), in the same buffer.
//!
//! Fragments are joined where policy or mode ask for whole packets (RFC 4301 §7). ICMP errors pass
//! with the SA of the packets that they are about (`icmp`, RFC 4301 §6). Each SA has a path MTU
//! (`path_mtu`), from which follows what it takes inside (`overhead`). What no SA can carry goes by IKE
//! (`gateway_notice`).

#![forbid(unsafe_code)]

mod aggfrag;
mod ah;
mod audit;
mod beet;
mod bucket;
mod counters;
mod drop_reason;
mod early;
mod echo_probe;
mod esp;
mod event;
mod gateway_notice;
mod group;
mod held;
mod icmp;
mod icmp_outside;
mod inbound;
mod inbound_header;
mod inbound_sad;
mod ip_header;
mod ipcomp;
mod look_ahead;
mod mss;
mod nesting;
pub mod offload;
mod outbound;
mod outbound_sad;
mod overhead;
mod path_mtu;
mod path_probe;
mod probing;
mod reassembly;
mod sa;
mod seal;
mod security_failure;
mod slab;
mod tables;
mod tos;
mod transit;

pub use aggfrag::{
    GATHER_WAIT, LONG_UNPACKED_MAX, REORDER_WAIT, REORDER_WINDOW, SLOTS_MAX, UNPACKED_MAX,
};
pub use audit::AUDITS_PER_SECOND;
pub use counters::{InboundReport, IpCompCounters, OutboundReport, PathReport, SaCounters};
pub use drop_reason::{DropCounters, DropReason};
pub use echo_probe::{EchoProbe, NoEcho};
pub use esp::{HEADROOM_MAX, INNER_MTU, TAILROOM_MAX};
pub use event::{Audit, Event};
pub use held::{ACQUIRE_INTERVAL, HELD_FOR, HELD_MAX, HELD_PER_POLICY, WAITED_FOR_MAX};
pub use icmp_outside::Complaint;
pub use inbound::{Inbound, InboundCommand, OpenVerdict};
pub use nesting::NESTING_MAX;
pub use outbound::{
    ANSWERS_PER_SECOND, Outbound, OutboundCommand, SAS_PER_POLICY_MAX, SuperWay, Verdict,
};
pub use path_mtu::{FLOOR_V4, FLOOR_V6, LINK_MTU, MTU_AGEING, MtuSource};
pub use reassembly::{FRAGMENTS_WAIT, PACKETS_MAX, PACKETS_PER_ORIGIN, packet_buffer};
pub use sa::{ANSWERS_PER_SA, EXPIRY_INTERVAL, InboundSa, OutboundSa, prudent, split};
pub use security_failure::{FAILURES_PER_SECOND, need_authentication};
