//! Certificates and private keys that come through the control socket. What is public is noted here, so
//! that it can be listed; the private keys go to the keys role and are forgotten.

use std::collections::BTreeMap;

use adit_mgmt::vici::answer::Outcome;
use adit_mgmt::vici::credentials::{CertFilter, CertSnapshot, Loaded, key_loaded};
use adit_mgmt::vici::{Event, Message};
use adit_pki::{KeyId, PrivateKey};

use super::{ClientId, Running};
use crate::role::keys::ToKeys;

/// What has been loaded.
#[derive(Debug, Default)]
pub(super) struct Credentials {
    certificates: Vec<Loaded>,
    /// The public halves of private keys, by fingerprint.
    keys: BTreeMap<KeyId, KeyId>,
}

impl Credentials {
    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Fingerprints of the private keys.
    pub(super) fn fingerprints(&self) -> Vec<String> {
        self.keys.keys().map(ToString::to_string).collect()
    }
}

impl Running {
    /// `load-cert`.
    pub(super) fn load_cert(&mut self, loaded: Loaded) -> Message {
        let known = &mut self.store.credentials.certificates;
        if !known.contains(&loaded) {
            if known.len() >= CERTIFICATES_MAX {
                return Outcome::refused("too many certificates are loaded").message();
            }
            known.push(loaded.clone());
        }
        self.to_keys(ToKeys::LoadCert(loaded));
        Outcome::ok().message()
    }

    /// `load-key`.
    pub(super) fn load_key(&mut self, key: Box<PrivateKey>) -> Message {
        let public = key.public();
        let fingerprint = public.fingerprint();
        self.store.credentials.keys.insert(fingerprint, public.id());
        self.to_keys(ToKeys::LoadKey(key));
        key_loaded(fingerprint)
    }

    /// `unload-key`.
    pub(super) fn unload_key(&mut self, fingerprint: KeyId) -> Message {
        let known = self.store.credentials.keys.remove(&fingerprint).is_some();
        self.to_keys(ToKeys::UnloadKey(fingerprint));
        let outcome = if known { Outcome::ok() } else { Outcome::refused("no such key") };
        outcome.message()
    }

    /// `list-certs`.
    pub(super) fn list_certs(&mut self, id: ClientId, filter: &CertFilter) {
        let known = &self.store.credentials;
        let wanted = known.certificates.iter().filter(|loaded| filter.wants(loaded));
        let snapshots = wanted.map(|loaded| CertSnapshot {
            loaded: loaded.clone(),
            has_private_key: known.keys.values().any(|key| *key == loaded.public_key().id()),
        });
        let snapshots: Vec<_> = snapshots.collect();
        if let Some(client) = self.clients.get_mut(&id) {
            for snapshot in snapshots {
                client.tell(&Event::ListCert(snapshot));
            }
            client.answer(Message::new());
        }
    }
}

/// Certificates that clients may load.
const CERTIFICATES_MAX: usize = 4_096;
