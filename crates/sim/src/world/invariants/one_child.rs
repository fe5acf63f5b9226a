//! Once idle there is one live child SA for each pair of selectors, and one IKE SA for each tunnel.
//!
//! Rekeyings and initiations that cross make two for a moment; one of them is to be closed
//! (RFC 7296 §2.8.1). Where both ends keep both, SAs multiply with every rekeying.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Broken;
use crate::world::host::Installed;

/// Time in which what crossed is settled, on a good network: 90 s in which the peer of one that was
/// replaced may delete it, and 28 s of a delete that a peer who has forgotten it does not answer.
pub(in crate::world) const SETTLED_WITHIN: Duration = Duration::from_secs(150);

/// Whether one host has at most one live child SA for each pair of selectors.
pub(in crate::world) fn are_single<'a>(live: impl Iterator<Item = &'a Installed>) -> bool {
    let mut seen = BTreeMap::new();
    for sa in live {
        *seen.entry((sa.tunnel, &sa.local_ts, &sa.remote_ts)).or_insert(0) += 1;
    }
    seen.values().all(|count| *count == 1)
}

/// Judges how long there were more; `state` says which.
pub(in crate::world) fn took(time: Duration, state: impl FnOnce() -> String) -> Option<Broken> {
    let text = || format!("there are still two of a kind, or none\n{}", state());
    (time > SETTLED_WITHIN).then(|| Broken::new("one_child", text()))
}

#[cfg(test)]
mod tests {
    use super::super::converged::tests::child;
    use super::*;

    #[test]
    fn two_of_a_kind_are_seen() {
        let (one, two) = (child(1, 10, 20), child(2, 11, 21));
        assert!(are_single([&one].into_iter()));
        assert!(!are_single([&one, &two].into_iter()));
        let other = Installed { tunnel: 1, ..two };
        assert!(are_single([&one, &other].into_iter()));
        assert!(took(SETTLED_WITHIN * 2, String::new).is_some());
        assert_eq!(took(SETTLED_WITHIN, String::new), None);
    }
}
