//! The keys role: the only place where pre-shared keys are. It computes AUTH values on request
//! (RFC 7296 §2.15) and gives nothing else away.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use adit_crypto::Secret;
use adit_db::{ConnectionName, Identity, IdentityPattern};
use adit_ike::{AuthJob, AuthJobKind, AuthResult, psk_auth, psk_verify};
use adit_sys::wake::{CommandReceiver, CommandSender, Next};
use tracing::{debug, info};

use crate::message::ToIke;

/// What the keys role is told.
#[derive(Debug)]
pub(crate) enum ToKeys {
    /// Sign or verify; the answer goes to the ike role.
    Auth(AuthJob),
    /// A secret of VICI's `load-shared`; replaces the one with the same id.
    Load(SharedSecret),
    /// Forget the secret with that id.
    Unload(String),
    /// Forget every secret that did not come from the configuration directory.
    Clear,
    /// The secrets of the configuration directory, one for each tunnel; replaces the former set.
    SetTunnels(Vec<(ConnectionName, Secret)>),
}

/// A secret and whose it is.
#[derive(Debug)]
pub(crate) struct SharedSecret {
    /// Its unique id.
    pub(crate) id: String,
    /// Who shares it; empty is anybody.
    pub(crate) owners: Vec<IdentityPattern>,
    /// The secret.
    pub(crate) secret: Secret,
}

/// Runs until nobody can ask any more; answers go to the ike role.
pub(crate) fn run(requests: &CommandReceiver<ToKeys>, ike: &CommandSender<ToIke>) {
    let mut store = KeyStore::default();
    while let Next::Command(request) = requests.wait(None) {
        match request {
            ToKeys::Auth(job) => {
                let result = store.answer(&job);
                if ike.send(ToIke::Auth(job.job, result)).is_err() {
                    return;
                }
            }
            ToKeys::Load(shared) => store.load(shared),
            ToKeys::Unload(id) => store.unload(&id),
            ToKeys::Clear => store.shared.clear(),
            ToKeys::SetTunnels(secrets) => store.set_tunnels(secrets),
        }
    }
}

/// All secrets of this host.
#[derive(Default)]
struct KeyStore {
    tunnels: BTreeMap<ConnectionName, Secret>,
    shared: Vec<SharedSecret>,
}

impl KeyStore {
    fn answer(&self, job: &AuthJob) -> AuthResult {
        let Some(secret) = self.find(&job.connection, &job.local_id, &job.remote_id) else {
            info!(connection = %job.connection, "no secret for this pair of identities");
            return AuthResult::NoSecret;
        };
        debug!(connection = %job.connection, "authentication data computed");
        let octets = job.octets.as_bytes();
        match &job.kind {
            AuthJobKind::Sign => AuthResult::Signed(psk_auth(job.prf, secret, octets)),
            AuthJobKind::Verify { auth } => {
                if psk_verify(job.prf, secret, octets, auth) {
                    AuthResult::Verified
                } else {
                    AuthResult::Refused
                }
            }
        }
    }

    /// A tunnel's own secret; else the shared one that names the pair best.
    fn find(
        &self,
        connection: &ConnectionName,
        local: &Identity,
        remote: &Identity,
    ) -> Option<&Secret> {
        if let Some(secret) = self.tunnels.get(connection) {
            return Some(secret);
        }
        // Later ones win a tie, as a reload of a secret under a new id would expect.
        let best = self.shared.iter().filter_map(|s| Some((s.fit(local, remote)?, s)));
        best.max_by_key(|(fit, _)| *fit).map(|(_, shared)| &shared.secret)
    }

    fn load(&mut self, shared: SharedSecret) {
        self.unload(&shared.id);
        self.shared.push(shared);
    }

    fn unload(&mut self, id: &str) {
        self.shared.retain(|shared| shared.id != id);
    }

    fn set_tunnels(&mut self, secrets: Vec<(ConnectionName, Secret)>) {
        self.tunnels = secrets.into_iter().collect();
    }
}

/// How well a secret fits a pair of identities; greater is better. With the same match, the
/// secret that belongs to fewer others is the better one.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Fit {
    matched: Match,
    others: Reverse<usize>,
}

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Match {
    Anybody,
    Local,
    Remote,
    Both,
}

impl SharedSecret {
    /// `None` if the secret belongs to somebody else.
    fn fit(&self, local: &Identity, remote: &Identity) -> Option<Fit> {
        let owns = |identity: &Identity| self.owners.iter().any(|owner| owner.matches(identity));
        let matched = match (owns(local), owns(remote)) {
            _ if self.owners.is_empty() => Match::Anybody,
            (true, true) => Match::Both,
            (false, true) => Match::Remote,
            (true, false) => Match::Local,
            (false, false) => return None,
        };
        let stranger = |owner: &&IdentityPattern| !owner.matches(local) && !owner.matches(remote);
        let others = Reverse(self.owners.iter().filter(stranger).count());
        Some(Fit { matched, others })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shared(id: &str, owners: &[&str]) -> SharedSecret {
        SharedSecret {
            id: id.into(),
            owners: owners.iter().map(|owner| owner.parse().unwrap()).collect(),
            secret: Secret::from_slice(id.as_bytes()),
        }
    }

    fn found(store: &KeyStore, connection: &str, local: &str, remote: &str) -> Option<String> {
        let secret = store.find(
            &connection.parse().unwrap(),
            &local.parse().unwrap(),
            &remote.parse().unwrap(),
        )?;
        Some(String::from_utf8(secret.as_bytes().to_vec()).unwrap())
    }

    /// CHECKLIST F01: PSK by address, FQDN, key-id, any.
    #[test]
    fn the_secret_that_names_both_ends_wins() {
        let mut store = KeyStore::default();
        store.load(shared("any", &[]));
        store.load(shared("peer", &["@b.example"]));
        store.load(shared("pair", &["@a.example", "@b.example"]));
        store.load(shared("other", &["192.0.2.9"]));

        assert_eq!(found(&store, "t", "@a.example", "@b.example").unwrap(), "pair");
        assert_eq!(found(&store, "t", "@c.example", "@b.example").unwrap(), "peer");
        assert_eq!(found(&store, "t", "@c.example", "192.0.2.9").unwrap(), "other");
        assert_eq!(found(&store, "t", "@c.example", "keyid:z").unwrap(), "any");
    }

    #[test]
    fn a_tunnels_own_secret_goes_before_shared_ones() {
        let mut store = KeyStore::default();
        store.load(shared("pair", &["@a.example", "@b.example"]));
        store.set_tunnels(vec![("berlin".parse().unwrap(), Secret::from_slice(b"own"))]);

        assert_eq!(found(&store, "berlin", "@a.example", "@b.example").unwrap(), "own");
        assert_eq!(found(&store, "paris", "@a.example", "@b.example").unwrap(), "pair");
    }

    /// CHECKLIST F03: a missing secret is its own answer, not a wrong one.
    #[test]
    fn a_secret_of_others_is_no_secret() {
        let mut store = KeyStore::default();
        store.load(shared("other", &["@c.example"]));
        assert_eq!(found(&store, "t", "@a.example", "@b.example"), None);
        store.unload("other");
        assert!(store.shared.is_empty());
    }
}
