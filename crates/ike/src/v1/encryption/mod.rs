//! Phase 1 with nonces that are encrypted to the other end's RSA key: whoever can go on has the private
//! key. RSA encryption (RFC 2409 §5.2), the revised mode (§5.3), and the latter without a key exchange
//! (draft-ietf-ipsec-dhless-enc-mode-00); main mode and aggressive mode.
//!
//! | file | contents |
//! |---|---|
//! | `phase1` | the machine: six messages, or three |
//! | `opening` | whether a first message is meant so |
//! | `messages` | what its messages say |
//! | `payloads` | payloads that are encrypted one by one |
//! | `proof` | HASH_I, HASH_R, and whom they prove |
//! | `suite` | proposals |
//! | `decrypt` | what is done with the private key, where that one is |
//! | `trust` | an initiator whose key comes with its certificate |
//!
//! Anybody may send octets that are no ciphertext of our key, and watch what comes of them
//! (Bleichenbacher). So nothing does until the last message: such octets give a nonce that nobody
//! else can know (`adit_crypto::DecryptingKey`), and what hangs on it takes its way as ever. Both
//! ends have the other's key beforehand, so that neither identity nor certificate is needed to answer; but
//! for a responder that knows the authority of its peers instead (`trust`).

mod decrypt;
mod messages;
mod opening;
mod payloads;
mod phase1;
mod proof;
mod suite;
mod trust;

use std::sync::Arc;

use adit_crypto::{EncryptingKey, RsaPadding};
use adit_db::Connection;
use adit_pki::Certificate;

pub use self::decrypt::Ciphertexts;
pub(crate) use self::decrypt::decrypt;
pub(crate) use self::opening::{Opening, Unfit};
pub(crate) use self::phase1::EncryptedPhase1;
pub(crate) use self::trust::{pinned, trust};
#[cfg(test)]
pub(crate) use self::{payloads::PayloadCipher, suite::Suite};

/// Says that we know the method without a key exchange. Its number is nobody's else, but has been that of
/// another method: without this id of ours it is neither chosen nor gone on with.
pub(crate) const DHLESS: &[u8] = b"Adit DH-less";

/// Says that messages three and four are to be padded by OAEP, for which IKEv1 has no number.
pub(crate) const OAEP: &[u8] = b"Adit RSA-OAEP";

/// Whom we encrypt to.
pub(crate) struct PeerKey {
    pub(crate) key: EncryptingKey,
    /// Where the key is from, so that the peer can be told.
    pub(crate) certificate: Option<Arc<Certificate>>,
}

impl PeerKey {
    /// The one key that the configuration names; `None` if there is none, or it is not RSA.
    pub(crate) fn of(connection: &Connection) -> Option<Self> {
        let spec = connection.pad.remote_auth.signature()?;
        let named = spec.certificates.first();
        let public = match (named, spec.public_keys.first()) {
            (Some(certificate), None) => certificate.public_key(),
            (None, Some(public)) => public.as_ref(),
            _ => return None,
        };
        let key = EncryptingKey::new(public.key())?;
        Some(Self { key, certificate: named.cloned() })
    }
}

impl PeerKey {
    /// That of a certificate which has come from the peer.
    pub(crate) fn certified(certificate: &Arc<Certificate>) -> Option<Self> {
        let key = EncryptingKey::new(certificate.public_key().key())?;
        Some(Self { key, certificate: Some(Arc::clone(certificate)) })
    }
}

/// Whether we can begin a phase 1: not where the peer's key comes with the peer.
pub(crate) fn may_call(connection: &Connection) -> bool {
    connection.nonce_encryption.is_none() || PeerKey::of(connection).is_some()
}

/// Octets of our own key's modulus, if the configuration names it.
fn own_key_octets(connection: &Connection) -> Option<usize> {
    let spec = connection.pad.local_auth.signature()?;
    let certified = spec.certificates.iter().map(|one| one.public_key().key());
    let raw = spec.public_keys.iter().map(|one| one.key());
    certified.chain(raw).filter_map(EncryptingKey::new).map(|key| key.ciphertext_len()).max()
}

/// How nonces are padded, where both ends have said what they can.
fn padding(vendor_ids: &[&[u8]]) -> RsaPadding {
    if vendor_ids.contains(&OAEP) { RsaPadding::Oaep } else { RsaPadding::Pkcs1 }
}
