//! Peer Authorization Database, RFC 4301 §4.4.3: who may be at the other end, and how each side
//! proves its name.

use crate::auth_spec::AuthSpec;
use crate::identity::{Identity, IdentityPattern};
use crate::ppk::PpkSpec;
use crate::rounds::{LocalRound, RemoteRound};
use crate::static_kem::StaticKemSpec;
use crate::ts_spec::TsSpec;

/// One PAD entry: our name, the names we accept, and the proof asked of each.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct PadEntry {
    /// Our identity; `None` is the local address the IKE SA uses.
    pub local_id: Option<Identity>,
    /// The identities accepted from the peer.
    pub remote_id: IdentityPattern,
    /// How we prove our identity.
    pub local_auth: AuthSpec,
    /// How the peer has to prove its own; it need not be the same way.
    pub remote_auth: AuthSpec,
    /// What we prove after that (RFC 4739).
    pub more_local: Vec<LocalRound>,
    /// What the peer has to prove after that.
    pub more_remote: Vec<RemoteRound>,
    /// The post-quantum key that enters as well (RFC 8784).
    pub ppk: Option<PpkSpec>,
    /// The static keys that ciphertexts are sent to in place of an ephemeral key exchange
    /// (docs/dhless.md).
    pub static_kem: Option<StaticKemSpec>,
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
    //= https://www.rfc-editor.org/rfc/rfc7619#section-2.2
    //# If NULL authentication is in use and anonymity is a concern, then ID_NULL SHOULD be used in
    //# the Identification payload.
    pub fn local_id(&self, local_address: std::net::IpAddr) -> Identity {
        let by_default = || match self.local_auth.is_null() && self.ppk.is_none() {
            true => Identity::Null,
            false => local_address.into(),
        };
        self.local_id.clone().unwrap_or_else(by_default)
    }

    /// Whether nothing proves who the peer is: neither its first round nor a post-quantum key
    /// (RFC 7619 §2.4, RFC 8784 §5.2.3).
    pub fn is_peer_anonymous(&self) -> bool {
        self.remote_auth.is_null() && self.ppk.is_none()
    }

    /// How we prove our identity, round after round.
    pub fn local_auths(&self) -> impl Iterator<Item = &AuthSpec> {
        std::iter::once(&self.local_auth).chain(self.more_local.iter().map(|round| &round.auth))
    }

    /// How the peer has to prove its own, round after round.
    pub fn remote_auths(&self) -> impl Iterator<Item = &AuthSpec> {
        std::iter::once(&self.remote_auth).chain(self.more_remote.iter().map(|round| &round.auth))
    }

    /// Whether either side authenticates more than once (RFC 4739).
    pub fn has_more_rounds(&self) -> bool {
        !self.more_local.is_empty() || !self.more_remote.is_empty()
    }

    /// Whether an IKE SA without the post-quantum key is refused.
    //= https://www.rfc-editor.org/rfc/rfc8784#section-5.2.3
    //# Using PPKs MUST be mandatory for the peers if they advertise support for PPKs in IKE_SA_INIT
    //# and use NULL Authentication.
    pub fn requires_ppk(&self) -> bool {
        let proves_nothing = self.local_auth.is_null() || self.remote_auth.is_null();
        self.ppk.as_ref().is_some_and(|ppk| ppk.required || proves_nothing)
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

    /// RFC 7619 §2.2: who proves nothing is called nothing, unless configured; with a post-quantum key
    /// it is known (RFC 8784 §5.2.3), and the key is not optional then.
    #[test]
    fn who_proves_nothing_has_no_name() {
        let address = "192.0.2.1".parse().unwrap();
        let mut entry = PadEntry { local_auth: AuthSpec::Null, ..PadEntry::default() };
        assert_eq!(entry.local_id(address), Identity::Null);
        assert!(!entry.is_peer_anonymous() && !entry.requires_ppk());
        let ppk = PpkSpec { id: "berlin".parse().unwrap(), required: false };
        entry.ppk = Some(ppk);
        assert_eq!(entry.local_id(address), Identity::from(address));
        assert!(entry.requires_ppk());
        entry.local_auth = AuthSpec::Psk;
        assert!(!entry.requires_ppk());
        entry.remote_auth = AuthSpec::Null;
        assert!(entry.requires_ppk() && !entry.is_peer_anonymous());
        entry.ppk = None;
        assert!(entry.is_peer_anonymous());
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
