//! Octets to values and back: IP, ESP, AH, IPComp, AGGFRAG, IKEv2 (RFC 7296), ISAKMP (RFC 2408) with
//! the IPsec DOI (RFC 2407), and UDP encapsulation (RFC 3948).
//!
//! Every format has a `read` and a `write` that are exact inverses. `read` borrows from its input,
//! consumes exactly what the format says and never panics, loops or allocates by a number that a
//! peer chose. Reserved bits are ignored by `read`, except where RFC 2408 wants them refused, and zero
//! from `write`.

#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod aggfrag;
pub mod ah;
pub mod doi;
pub mod encap;
mod error;
pub mod esp;
pub mod iana;
pub mod ikev2;
pub mod ip;
pub mod ipcomp;
pub mod isakmp;
pub mod notification_data;
pub mod packet_buf;
pub mod path_message;
mod reader;
mod static_kem;
pub mod vnet;
mod writer;

pub use error::WireError;
pub use notification_data::NotificationData;
pub use packet_buf::{PacketBuf, PacketMeta};
pub use path_message::PathMessage;
pub use reader::Reader;
pub use static_kem::StaticKemNames;
pub use vnet::VnetHeader;
pub use writer::Writer;
