//! A peer that answers TEMPORARY_FAILURE (RFC 7296 §2.25) is asked again a little later, and left if it
//! does so for minutes.

use crate::context::Context;
use crate::failure::FailureReason;
use crate::keymat::Role;
use crate::v2::established::{Established, Own, Task};
use crate::v2::ike_sa::core::Core;
use crate::v2::mobike::Errand;

/// How often the peer has been busy, one time after the other.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Busy(u8);

/// Answers of TEMPORARY_FAILURE one after the other, a second or two apart: some minutes.
const TEMPORARY_FAILURES_MAX: u8 = 150;

/// So many of them are a reason to say where we are, and as many again.
const TEMPORARY_FAILURES_OF_THE_LOST: u8 = 4;

impl Established {
    //= https://www.rfc-editor.org/rfc/rfc7296#section-2.25
    //# If a peer continues to receive TEMPORARY_FAILURE on the same IKE SA
    //# after several minutes, it SHOULD conclude that the state information
    //# is out of sync and close the IKE SA.
    //
    /// The peer is busy: tries tasks again a little later, for some minutes.
    pub(crate) fn retry_busy(
        &mut self,
        tasks: impl IntoIterator<Item = Task>,
        core: &Core,
        cx: &mut Context<'_>,
    ) {
        let Busy(count) = &mut self.busy;
        *count = count.saturating_add(1);
        if *count >= TEMPORARY_FAILURES_MAX {
            return self.close(FailureReason::PeerMisbehaved("TEMPORARY_FAILURE for minutes"));
        }
        // It may be busy asking us where we were before a NAT forgot us: with MOBIKE it waits for our word
        // (RFC 4555 §3.8), and as long as it is busy nothing else makes us look.
        let is_lost = count.is_multiple_of(TEMPORARY_FAILURES_OF_THE_LOST)
            && core.mobike == Some(Role::Initiator)
            && core.nat.we_are_behind_nat;
        tasks.into_iter().for_each(|task| self.retry(task, cx));
        if is_lost {
            self.queue_first(Task::Mobike(Errand::Update));
        }
    }

    /// The peer has answered with something else. That it is alive, or has heard of our address, says
    /// nothing about what it is busy with.
    pub(crate) fn is_not_busy(&mut self) {
        if !matches!(self.own, Some(Own::Mobike(_) | Own::Liveness)) {
            self.busy = Busy::default();
        }
    }
}
