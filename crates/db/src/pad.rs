//! Peer Authorization Database, RFC 4301 §4.4.3: who may be at the other end, and how each side
//! proves its name.

use crate::identity::{Identity, IdentityPattern};

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
}
