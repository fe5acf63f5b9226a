//! The networks of a child in IKEv1. A quick mode has one on each side (RFC 2409 §5.5), so each pair of them
//! has a quick mode of its own, and SAs and lifetimes that go with it.

use adit_db::{ChildConfig, TsSpec};
use adit_wire::ikev2::TrafficSelector;

use crate::failure::FailureReason;

use super::child::Child;
use super::core::Core;

/// One network on each side.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Pair {
    pub(crate) local: TrafficSelector,
    pub(crate) remote: TrafficSelector,
}

impl Pair {
    /// Whether a child carries this pair, or the part of it that the peer has asked for.
    fn is_carried_by(self, child: &Child) -> bool {
        child.local.is_subset_of(&self.local) && child.remote.is_subset_of(&self.remote)
    }
}

/// The pairs of a child, in the order of the configuration: those whose sides are of one family. What is
/// the host itself is the address that it has inside, in the family of the other side; none if the peer
/// has given us no such address.
pub(crate) fn of(config: &ChildConfig, core: &Core) -> Vec<Pair> {
    let start = |spec: &TsSpec| spec.selector().map(|selector| selector.start);
    let mut pairs = Vec::new();
    for local in &config.local_ts {
        for remote in &config.remote_ts {
            if start(local).is_none() && core.access.lacks(start(remote)) {
                continue;
            }
            let local = local.resolve(core.inside_local(start(remote)));
            let remote = remote.resolve(core.inside_remote(Some(local.start)));
            let pair = Pair { local, remote };
            let is_one_family = pair.local.start.is_ipv4() == pair.remote.start.is_ipv4();
            if is_one_family && !pairs.contains(&pair) {
                pairs.push(pair);
            }
        }
    }
    pairs
}

/// Why there are none.
pub(crate) fn why_none(config: &ChildConfig, core: &Core) -> FailureReason {
    let is_host = |local: &TsSpec| local.selector().is_none();
    let has_remote = |remote: &TsSpec| !core.access.lacks(remote.selector().map(|one| one.start));
    let lacks_address =
        config.local_ts.iter().any(is_host) && !config.remote_ts.iter().any(has_remote);
    if lacks_address { FailureReason::NoInnerAddress } else { NO_PAIR }
}

/// Those that none of these children carries.
pub(crate) fn missing(config: &ChildConfig, children: &[Child], core: &Core) -> Vec<Pair> {
    let current = |child: &&Child| child.name == config.name && child.is_current();
    let current: Vec<&Child> = children.iter().filter(current).collect();
    let mut pairs = of(config, core);
    // A child with one pair is the pair, whatever became of the addresses that it was resolved with.
    let is_alone = pairs.len() == 1;
    pairs.retain(|pair| !current.iter().any(|child| is_alone || pair.is_carried_by(child)));
    pairs
}

/// A child whose sides have no family in common.
const NO_PAIR: FailureReason =
    FailureReason::Internal("no network of one side is of the family of one on the other");
