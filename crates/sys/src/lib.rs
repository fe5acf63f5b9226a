//! Everything Adit asks of the operating system: sockets, TUN, routes, namespaces, clocks.
//!
//! All I/O and all `unsafe` of the workspace live in this crate. Packet functions take batches of
//! [`adit_wire::PacketBuf`] and allocate nothing; the other functions are blocking and plain.
//! Written for Linux.

mod batch;
mod destinations;
mod error;
mod message;
mod outer_header;
mod socket_filter;
mod socket_option;

pub mod capture;
pub mod clock;
pub mod clock_sync;
pub mod entropy;
pub mod esp_receiver;
pub mod esp_ring;
pub mod esp_sender;
pub mod fault;
pub mod file;
pub mod filter;
pub mod filter_log;
pub mod gro;
pub mod huge_pages;
pub mod icmp_errors;
pub mod icmp_sender;
pub mod netlink;
pub mod netns;
pub mod ping;
mod prefetch;
pub mod process;
pub mod raw;
pub mod raw_ah;
pub mod reach;
pub mod resolve;
pub mod route;
pub mod signal;
pub mod steering;
pub mod tcp;
pub mod thread;
pub mod trace;
pub mod tun;
pub mod udp;
mod uncut;
pub mod unix;
pub mod wake;
pub mod xdp;
pub mod xfrm;

pub use batch::{BATCH_MAX, BatchIo, SendReport};
pub use error::SysError;
pub use prefetch::PREFETCH;
