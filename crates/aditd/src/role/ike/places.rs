//! Which shards have IKE SAs of a tunnel, so that it is brought up where one is.

use std::collections::BTreeMap;

use adit_db::{ConnectionName, IkeSaId};

/// The established IKE SAs of each tunnel that has some, each with its shard, in the order in which
/// they came up.
#[derive(Debug, Default)]
pub(super) struct Places(BTreeMap<ConnectionName, Vec<(IkeSaId, u16)>>);

impl Places {
    /// An IKE SA is established.
    pub(super) fn add(&mut self, name: &ConnectionName, id: IkeSaId, shard: u16) {
        self.0.entry(name.clone()).or_default().push((id, shard));
    }

    /// The tunnel is unloaded: all its IKE SAs go.
    pub(super) fn forget(&mut self, name: &ConnectionName) {
        self.0.remove(name);
    }

    /// An IKE SA took the place of another, on the same shard.
    pub(super) fn replace(&mut self, name: &ConnectionName, old: IkeSaId, new: IkeSaId) {
        let places = self.0.get_mut(name).into_iter().flatten();
        places.filter(|(id, _)| *id == old).for_each(|(id, _)| *id = new);
    }

    /// An IKE SA is gone. Where the tunnel is to be brought up from then on: where its newest IKE SA is, if
    /// there is none where it has been brought up.
    pub(super) fn remove(&mut self, name: &ConnectionName, id: IkeSaId, home: u16) -> Option<u16> {
        let places = self.0.get_mut(name)?;
        places.retain(|(other, _)| *other != id);
        let Some((_, newest)) = places.last().copied() else {
            self.0.remove(name);
            return None;
        };
        let has_one = places.iter().any(|(_, shard)| *shard == home);
        (!has_one).then_some(newest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tunnel_moves_to_where_it_still_has_an_ike_sa() {
        let name: ConnectionName = "berlin".parse().unwrap();
        let [a, b, c, d] = [1, 2, 3, 4].map(IkeSaId);
        let mut places = Places::default();
        places.add(&name, a, 1);
        places.add(&name, b, 2);
        places.add(&name, c, 2);
        // The home has another, or it has not and there is one elsewhere, or there is none at all.
        assert_eq!(places.remove(&name, c, 2), None);
        places.replace(&name, b, d);
        assert_eq!(places.remove(&name, b, 2), None);
        assert_eq!(places.remove(&name, d, 2), Some(1));
        assert_eq!(places.remove(&name, a, 1), None);
        assert!(places.0.is_empty());
        assert_eq!(places.remove(&name, a, 1), None);

        places.add(&name, a, 1);
        places.add(&name, b, 2);
        places.forget(&name);
        assert_eq!(places.remove(&name, b, 2), None);
    }
}
