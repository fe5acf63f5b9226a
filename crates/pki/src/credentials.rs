//! What this host proves itself with and trusts, beside what connections name themselves.

use std::collections::BTreeMap;
use std::sync::Arc;

use adit_crypto::KemKey;

use crate::{Certificate, KemKeyId, KeyId, PrivateKey, PublicKey};

/// Keys and certificates of this host. They are for every connection; those that name certificates of
/// their own find the keys here.
#[derive(Debug, Default)]
pub struct Credentials {
    keys: BTreeMap<KeyId, Arc<PrivateKey>>,
    kem_keys: BTreeMap<KemKeyId, Arc<KemKey>>,
    certificates: Vec<Arc<Certificate>>,
    authorities: Vec<Arc<Certificate>>,
}

impl Credentials {
    /// Adds a private key.
    pub fn add_key(&mut self, key: Arc<PrivateKey>) {
        self.keys.insert(key.public().id(), key);
    }

    /// Adds a KEM key that peers make ciphertexts for.
    pub fn add_kem_key(&mut self, key: Arc<KemKey>) {
        self.kem_keys.insert(KemKeyId::of(key.public()), key);
    }

    /// The KEM key whose public half has this name.
    pub fn kem_key(&self, id: KemKeyId) -> Option<&Arc<KemKey>> {
        self.kem_keys.get(&id)
    }

    /// Takes the private key away whose public half has this fingerprint; whether there was one.
    pub fn remove_key(&mut self, fingerprint: KeyId) -> bool {
        let before = self.keys.len();
        self.keys.retain(|_, key| key.public().fingerprint() != fingerprint);
        self.keys.len() < before
    }

    /// Adds a certificate that connections may use which name none.
    pub fn add_certificate(&mut self, certificate: Arc<Certificate>) {
        if !self.certificates.contains(&certificate) {
            self.certificates.push(certificate);
        }
    }

    /// Adds an authority that is trusted by connections which name none.
    pub fn add_authority(&mut self, certificate: Arc<Certificate>) {
        if !self.authorities.contains(&certificate) {
            self.authorities.push(certificate);
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// The private key of a public one.
    pub fn key_of(&self, public: &PublicKey) -> Option<&Arc<PrivateKey>> {
        self.keys.get(&public.id())
    }

    /// The private keys.
    pub fn keys(&self) -> impl Iterator<Item = &Arc<PrivateKey>> {
        self.keys.values()
    }

    /// The certificates that are not authorities.
    pub fn certificates(&self) -> &[Arc<Certificate>] {
        &self.certificates
    }

    /// The authorities.
    pub fn authorities(&self) -> &[Arc<Certificate>] {
        &self.authorities
    }
}
