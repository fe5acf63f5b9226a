//! Networks whose routes are to be tried again: some with each change, all in turn.

use std::collections::BTreeSet;
use std::ops::Bound;

use ipnet::IpNet;

/// What is to be tried again. Bounded by the networks that plans have named.
#[derive(Debug, Default)]
pub(super) struct Retries {
    networks: BTreeSet<IpNet>,
    /// The one that was tried again last.
    last: Option<IpNet>,
}

impl Retries {
    /// Adds networks.
    pub(super) fn extend(&mut self, networks: impl IntoIterator<Item = IpNet>) {
        self.networks.extend(networks);
    }

    /// One has its route, or wants none.
    pub(super) fn remove(&mut self, network: &IpNet) {
        self.networks.remove(network);
    }

    /// Up to so many, from the one behind those of the last call on. They stay until they are removed.
    pub(super) fn next(&mut self, count: usize) -> BTreeSet<IpNet> {
        let after = self.last.map_or(Bound::Unbounded, Bound::Excluded);
        let behind = self.networks.range((after, Bound::Unbounded));
        let picked: Vec<IpNet> = behind.chain(&self.networks).take(count).copied().collect();
        self.last = picked.last().copied();
        picked.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(number: u8) -> IpNet {
        format!("10.{number}.0.0/16").parse().unwrap()
    }

    #[test]
    fn all_have_their_turn() {
        let mut retries = Retries::default();
        assert!(retries.next(16).is_empty());
        retries.extend((0..40).map(network));
        let mut seen = BTreeSet::new();
        for _ in 0..3 {
            let picked = retries.next(16);
            assert_eq!(picked.len(), 16);
            seen.extend(picked);
        }
        assert_eq!(seen, (0..40).map(network).collect());
        seen.iter().filter(|one| **one != network(7)).for_each(|one| retries.remove(one));
        for _ in 0..3 {
            assert_eq!(retries.next(16), BTreeSet::from([network(7)]));
        }
        retries.remove(&network(7));
        assert!(retries.next(16).is_empty());
    }
}
