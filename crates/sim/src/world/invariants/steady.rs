//! On a good network what is up stays up, and what is told to be replaced is.
//!
//! Keys that are replaced at both ends at the same moment are the oldest of collisions: whoever loses one
//! keeps the old SA, and whoever takes both for lost has nothing at the end (RFC 7296 §2.8.1, §2.8.2). On a
//! network without faults all of it is settled in a few round trips, or after the pause that follows
//! TEMPORARY_FAILURE (§2.25), and nobody behind the hosts notices anything.

use std::time::Duration;

use super::Broken;

/// Time in which an SA that is told to be replaced is gone: several pauses of a peer that is busy with
/// another collision.
pub(in crate::world) const REPLACED_WITHIN: Duration = Duration::from_secs(20);

/// Judges whether all packets of one moment have arrived; `state` says what there is.
pub(in crate::world) fn passed(is_all: bool, state: impl FnOnce() -> String) -> Option<Broken> {
    let text = || format!("a packet does not arrive\n{}", state());
    (!is_all).then(|| Broken::new("steady", text()))
}

/// Judges an SA that was told to be replaced, [`REPLACED_WITHIN`] ago.
pub(in crate::world) fn replaced(
    is_there: bool,
    what: &str,
    state: impl FnOnce() -> String,
) -> Option<Broken> {
    let text = || format!("{what} was to be replaced and is still there\n{}", state());
    is_there.then(|| Broken::new("steady", text()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_that_is_lost_on_a_good_network_is_seen() {
        assert_eq!(passed(true, String::new), None);
        assert_eq!(passed(false, String::new).unwrap().invariant, "steady");
    }

    #[test]
    fn an_sa_that_stays_is_seen() {
        assert_eq!(replaced(false, "IKE SA 1", String::new), None);
        assert!(replaced(true, "IKE SA 1", String::new).unwrap().seen.starts_with("IKE SA 1"));
    }
}
