//! The networks of a child in IKEv1. A quick mode has one on each side (RFC 2409 §5.5), so each pair of them
//! has a quick mode of its own, and SAs and lifetimes that go with it.

use adit_db::ChildConfig;
use adit_wire::ikev2::TrafficSelector;

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

/// The pairs of a child, in the order of the configuration: those whose sides are of one family.
pub(crate) fn of(config: &ChildConfig, core: &Core) -> Vec<Pair> {
    let (here, there) = (core.path.local.ip(), core.path.remote.ip());
    let mut pairs = Vec::new();
    for local in &config.local_ts {
        for remote in &config.remote_ts {
            let pair = Pair { local: local.resolve(here), remote: remote.resolve(there) };
            let is_one_family = pair.local.start.is_ipv4() == pair.remote.start.is_ipv4();
            if is_one_family && !pairs.contains(&pair) {
                pairs.push(pair);
            }
        }
    }
    pairs
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
