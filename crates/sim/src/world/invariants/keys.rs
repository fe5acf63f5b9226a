//! Both ends of an SA hold the same keys.
//!
//! Keys are computed at each end from nonces and shares (RFC 7296 §2.14, §2.17). Where the ends mix
//! up an exchange with its repetition, or two that cross, they compute different ones, and an SA
//! that looks established carries nothing.

use std::collections::HashMap;

use adit_wire::esp::Spi;
use adit_wire::ikev2::IkeSpi;

use super::Broken;
use crate::world::host::Digest;

/// The keys that were seen.
#[derive(Debug, Default)]
pub(in crate::world) struct Keys {
    /// Of packets to a host, as either end has them.
    children: HashMap<(usize, Spi), Digest>,
    ike_sas: HashMap<(IkeSpi, IkeSpi), Digest>,
}

impl Keys {
    /// An end has installed keys for packets to this host.
    pub(in crate::world) fn child(&mut self, to: usize, spi: Spi, keys: Digest) -> Option<Broken> {
        let known = *self.children.entry((to, spi)).or_insert(keys);
        let text = || format!("the ends of child SA {spi} have different keys");
        (known != keys).then(|| Broken::new("keys", text()))
    }

    /// A host has no such SPI any more, and may choose it again.
    pub(in crate::world) fn forget(&mut self, to: usize, spi: Spi) {
        self.children.remove(&(to, spi));
    }

    /// An end has established an IKE SA.
    pub(in crate::world) fn ike_sa(
        &mut self,
        spis: (IkeSpi, IkeSpi),
        keys: Digest,
    ) -> Option<Broken> {
        let known = *self.ike_sas.entry(spis).or_insert(keys);
        let text = || format!("the ends of IKE SA {}/{} have different keys", spis.0, spis.1);
        (known != keys).then(|| Broken::new("keys", text()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn different_keys_of_a_child_sa_are_seen() {
        let mut keys = Keys::default();
        assert_eq!(keys.child(1, Spi(7), [1; 20]), None);
        assert_eq!(keys.child(1, Spi(7), [1; 20]), None);
        assert_eq!(keys.child(0, Spi(7), [2; 20]), None);
        assert_eq!(keys.child(1, Spi(7), [2; 20]).unwrap().invariant, "keys");
        keys.forget(1, Spi(7));
        assert_eq!(keys.child(1, Spi(7), [2; 20]), None);
    }

    #[test]
    fn different_keys_of_an_ike_sa_are_seen() {
        let mut keys = Keys::default();
        let spis = (IkeSpi([1; 8]), IkeSpi([2; 8]));
        assert_eq!(keys.ike_sa(spis, [1; 20]), None);
        assert_eq!(keys.ike_sa(spis, [1; 20]), None);
        assert_eq!(keys.ike_sa(spis, [2; 20]).unwrap().invariant, "keys");
    }
}
