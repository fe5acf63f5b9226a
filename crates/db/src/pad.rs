//! Peer Authorization Database, RFC 4301 §4.4.3: who may be at the other end, and how each side
//! proves its name.

use crate::identity::{Identity, IdentityPattern};
use crate::ts_spec::TsSpec;

/// How a side proves its identity (RFC 7296 §2.15). The secret itself lives with the role that
/// holds keys, found there by the two identities.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum AuthMethodConfig {
    /// Shared Key Message Integrity Code: both sides know the same secret.
    #[default]
    Psk,
}

/// One PAD entry: our name, the names we accept, and the proof asked of each.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct PadEntry {
    /// Our identity; `None` is the local address the IKE SA uses.
    pub local_id: Option<Identity>,
    /// The identities accepted from the peer.
    pub remote_id: IdentityPattern,
    /// How both sides prove their identities.
    pub auth: AuthMethodConfig,
    /// Which of the peer's networks each of those identities may speak for. If there is none, each
    /// may have what the child's selectors allow.
    pub claims: Vec<Claim>,
}

/// The constraint of RFC 4301 §4.4.3.4: what a peer of one identity may speak for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Claim {
    /// The identities.
    pub id: IdentityPattern,
    /// Their networks; `dynamic` is the address that the peer has.
    pub networks: Vec<TsSpec>,
}

impl PadEntry {
    /// Our identity on an IKE SA with this local address.
    pub fn local_id(&self, local_address: std::net::IpAddr) -> Identity {
        self.local_id.clone().unwrap_or_else(|| local_address.into())
    }

    /// Whether the entry lets this peer in.
    pub fn accepts(&self, remote_id: &Identity) -> bool {
        self.remote_id.matches(remote_id)
    }

    /// What this peer may speak for, by the claim that says most about it; nothing if the claims do
    /// not name it. `None` if nothing but the child's selectors limits it.
    pub fn claimed_by(&self, remote_id: &Identity) -> Option<&[TsSpec]> {
        if self.claims.is_empty() {
            return None;
        }
        let matching = self.claims.iter().filter(|claim| claim.id.matches(remote_id));
        let closest = matching.max_by_key(|claim| claim.id.precision());
        Some(closest.map_or(&[], |claim| &claim.networks))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_name_is_the_local_address_unless_configured() {
        let address = "192.0.2.1".parse().unwrap();
        let mut entry = PadEntry::default();
        assert_eq!(entry.local_id(address), Identity::from(address));
        entry.local_id = Some("gw.example".parse().unwrap());
        assert_eq!(entry.local_id(address).to_string(), "gw.example");
    }

    /// RFC 4301 §4.4.3.4: the closest pattern says what an identity may have, and who is in none has
    /// nothing.
    #[test]
    fn the_closest_claim_decides() {
        let claim = |id: &str, network: &str| Claim {
            id: id.parse().unwrap(),
            networks: vec![network.parse().unwrap()],
        };
        let mut entry = PadEntry::default();
        let claimed = |entry: &PadEntry, id: &str| {
            let networks = entry.claimed_by(&id.parse().unwrap())?;
            Some(networks.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
        };
        assert_eq!(claimed(&entry, "oslo.example"), None);
        entry.claims = vec![
            claim("*.example", "10.0.0.0/8"),
            claim("*.oslo.example", "10.1.0.0/16"),
            claim("gw.oslo.example", "10.1.1.0/24"),
            claim("*@example", "dynamic"),
        ];
        for (id, networks) in [
            ("GW.oslo.example", "10.1.1.0/24"),
            ("west.oslo.example", "10.1.0.0/16"),
            ("berlin.example", "10.0.0.0/8"),
            ("alice@example", "dynamic"),
            ("keyid:oslo", ""),
        ] {
            assert_eq!(claimed(&entry, id).as_deref(), Some(networks), "{id}");
        }
    }
}
