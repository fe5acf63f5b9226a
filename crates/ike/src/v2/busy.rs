//! A peer that answers TEMPORARY_FAILURE (RFC 7296 §2.25) is asked again a little later, and left if it
//! does so for minutes.

use crate::context::Context;
use crate::failure::FailureReason;
use crate::v2::established::{Established, Task};

/// How often the peer has been busy, one time after the other.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Busy(u8);

/// Answers of TEMPORARY_FAILURE one after the other, a second or two apart: some minutes.
const TEMPORARY_FAILURES_MAX: u8 = 150;

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
        cx: &mut Context<'_>,
    ) {
        let Busy(count) = &mut self.busy;
        *count = count.saturating_add(1);
        if *count >= TEMPORARY_FAILURES_MAX {
            return self.close(FailureReason::PeerMisbehaved("TEMPORARY_FAILURE for minutes"));
        }
        tasks.into_iter().for_each(|task| self.retry(task, cx));
    }

    /// The peer has answered with something else.
    pub(crate) fn is_not_busy(&mut self) {
        self.busy = Busy::default();
    }
}
