//! Every failure has a code.
//!
//! An operator looks a failure up by its number. One without is for what somebody asked for; and
//! what must never happen between honest peers has one, too, so it is named here.

use adit_ike::FailureReason;

use super::Broken;

/// Judges a failure that a host has reported.
pub(in crate::world) fn failed(reason: &FailureReason) -> Option<Broken> {
    if let FailureReason::IkeSaGone(reason) = reason {
        return failed(reason);
    }
    let is_wanted = matches!(
        reason,
        FailureReason::ByCommand
            | FailureReason::Replaced
            | FailureReason::Idle
            | FailureReason::Reconfigured
            | FailureReason::ShuttingDown
            | FailureReason::NeedsPacket
            | FailureReason::NoSuch(_)
    );
    let is_ours = matches!(reason, FailureReason::Internal(_));
    let is_right = (is_wanted || reason.code().is_some()) && !is_ours;
    (!is_right).then(|| Broken::new("codes", format_args!("{:?}: {reason}", reason.code())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_faults_are_seen() {
        let internal = FailureReason::Internal("planted");
        assert_eq!(failed(&internal).unwrap().invariant, "codes");
        assert!(failed(&FailureReason::IkeSaGone(Box::new(internal))).is_some());
        assert_eq!(failed(&FailureReason::ClosedByPeer), None);
        assert_eq!(failed(&FailureReason::ByCommand), None);
    }
}
