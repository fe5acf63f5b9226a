//! Everything Adit asks of the operating system: sockets, TUN, routes, namespaces, clocks.
//!
//! All I/O and all `unsafe` of the workspace live in this crate. Packet functions take batches of
//! [`adit_wire::PacketBuf`] and allocate nothing; the other functions are blocking and plain.
//! Written for Linux.

mod batch;
mod error;
mod message;
mod socket_option;

pub mod capture;
pub mod clock;
pub mod entropy;
pub mod file;
pub mod filter;
pub mod netlink;
pub mod netns;
pub mod ping;
pub mod process;
pub mod raw;
pub mod raw_ah;
pub mod resolve;
pub mod route;
pub mod signal;
pub mod thread;
pub mod tun;
pub mod udp;
pub mod unix;
pub mod wake;
pub mod xfrm;

pub use batch::{BATCH_MAX, BatchIo, SendReport};
pub use error::SysError;
