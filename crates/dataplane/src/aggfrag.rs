//! Inner packets that share ESP packets, RFC 9347: many small ones in one, a long one in several.
//!
//! ```text
//! outbound  IP packets -> pack   payloads of one length, sealed when they are full or the burst is over
//! inbound   payloads -> unpack   in the order of their numbers -> IP packets
//! ```
//!
//! Nothing waits for company: who sends a burst says when it is over, and what is begun then leaves
//! shorter than the others. So rate and lengths tell what they always tell; the mode is used for
//! what it saves, not for what it could hide (RFC 9347 §2.4 is about the latter).

mod enter;
pub(crate) mod pack;
mod slots;
pub(crate) mod unpack;
mod unpacked;
mod watch;

pub use slots::SLOTS_MAX;
pub(crate) use slots::Slots;
pub use unpack::{GATHER_WAIT, REORDER_WAIT, REORDER_WINDOW};
pub(crate) use unpacked::Unpacked;
pub use unpacked::{LONG_UNPACKED_MAX, UNPACKED_MAX};
