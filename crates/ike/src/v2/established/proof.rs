//! What is asked first where the peer has not shown that it is (RFC 7296 §2.23).
//!
//! An IKE SA follows a peer behind a NAT to wherever its newest message came from, and who holds one back can
//! send it from an address of somebody else. Nothing is answered there, and so all that comes of it is the
//! first request and its repetitions: an empty one, instead of a rekeying of many times the octets. With
//! MOBIKE the check of the address, or the update, is that question already (RFC 4555 §3.7).

use crate::v2::ike_sa::core::Core;

use super::{Established, Task};

impl Established {
    /// Puts a sign of life in front of what waits to be asked, where that may be asked of a stranger.
    pub(super) fn ask_shortly(&mut self, core: &mut Core) {
        if self.has_tasks() && !self.has_errand_next() && core.leash.asks(core.path) {
            self.queue_first(Task::Liveness);
        }
    }
}
