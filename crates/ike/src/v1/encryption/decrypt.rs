//! What the holder of the private key does for phase 1.

use adit_crypto::{Hash, RsaPadding, Secret};

use crate::auth::{DerivedKey, Keys};
use crate::command::AuthResult;
use crate::output::AuthJob;
use crate::v1::keymat::certificate_hash;
use crate::v2::signature::{self, SignFailure};

/// What an [`AuthJobKind::Decrypt`](crate::AuthJobKind::Decrypt) asks for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Ciphertexts {
    /// How the messages are padded.
    pub padding: RsaPadding,
    /// Which of our keys the peer says that it has used: the negotiated hash of its certificate.
    pub key: Option<(Hash, Vec<u8>)>,
    /// What the peer has encrypted.
    pub octets: Vec<Vec<u8>>,
}

/// Decrypts: always, whether or not these are ciphertexts.
///
/// # Errors
///
/// There is no RSA key of ours for this connection.
pub(crate) fn decrypt(
    job: &AuthJob,
    ciphertexts: &Ciphertexts,
    keys: Keys<'_>,
) -> Result<AuthResult, AuthResult> {
    let no_key = || AuthResult::CannotSign(Box::new(SignFailure::NoKey(job.local_id.clone())));
    let spec = job.local_auth.signature().ok_or_else(no_key)?;
    let candidates = signature::candidates(spec, job, keys.credentials);
    let mut candidates: Vec<_> = candidates
        .into_iter()
        .filter_map(|(key, own)| Some((key.key().decrypting()?, own)))
        .collect();
    if let Some((hash, digest)) = &ciphertexts.key {
        // A key that is not ours gives what octets that are no ciphertexts do.
        candidates.sort_by_key(|(_, own)| {
            let is_named = |own: &std::sync::Arc<adit_pki::Certificate>| {
                certificate_hash(*hash, own.der()) == Secret::from_slice(digest)
            };
            !own.is_some_and(is_named)
        });
    }
    let (key, _) = candidates.first().ok_or_else(no_key)?;
    let messages = ciphertexts.octets.iter();
    let messages = messages.map(|one| DerivedKey(key.decrypt(ciphertexts.padding, one)));
    Ok(AuthResult::Decrypted(messages.collect()))
}
