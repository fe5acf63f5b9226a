//! ML-KEM keys that stay, in place of an ephemeral key exchange (docs/dhless.md).

use std::sync::Arc;

use adit_crypto::{KemPublicKey, KemSet};
use adit_pki::KemKeyId;

/// The two keys of a tunnel whose IKE SA begins with ciphertexts to them: our own by its name, as the
/// private half is with the role that holds keys, and the peer's, which the operator pins.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StaticKemSpec {
    local: KemKeyId,
    remote: Arc<KemPublicKey>,
    remote_id: KemKeyId,
}

impl StaticKemSpec {
    /// Our key's name, and the peer's public key.
    pub fn new(local: KemKeyId, remote: Arc<KemPublicKey>) -> Self {
        let remote_id = KemKeyId::of(&remote);
        Self { local, remote, remote_id }
    }

    /// The name of our key.
    pub fn local(&self) -> KemKeyId {
        self.local
    }

    /// The peer's key.
    pub fn remote(&self) -> &Arc<KemPublicKey> {
        &self.remote
    }

    /// The name of the peer's key.
    pub fn remote_id(&self) -> KemKeyId {
        self.remote_id
    }

    /// The parameter set of both keys.
    pub fn set(&self) -> KemSet {
        self.remote.set()
    }
}
