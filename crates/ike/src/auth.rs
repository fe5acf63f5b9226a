//! Authentication of an IKE SA (RFC 7296 §2.15).
//!
//! The octets each end signs are computed here; the value over them where the secrets live:
//! [`AuthJob::answer`] and [`psk_auth`] are for the role that holds them. Signatures are in
//! `v2/signature`. IKE_INTERMEDIATE exchanges
//! enter the signed octets by [`IntAuth`] (RFC 9242 §3.3.2).

use adit_crypto::{Prf, Secret};
use adit_db::AuthSpec;
use adit_pki::{Credentials, KemKeyId, Moment};

use crate::command::{AuthResult, ProofEnd};
use crate::keymat::Role;
use crate::output::{AuthJob, AuthJobKind};
use crate::v1::encryption::{decrypt, pinned, trust};
use crate::v2::signature::{self, Proof};

/// What one end signs: `RealMessage | NonceOfTheOther | prf(SK_p, RestOfID) [| IntAuth]`
/// (RFC 7296 §2.15, RFC 9242 §3.3.2).
#[derive(Clone, Copy, Debug)]
pub(crate) struct SignedOctets<'a> {
    /// The signer's IKE_SA_INIT message, octet for octet as it went over the wire, without a
    /// non-ESP marker. Of an initiator that had to repeat it: the last one (RFC 7296 §2.6).
    pub(crate) message: &'a [u8],
    /// The nonce data of the other end.
    pub(crate) peer_nonce: &'a [u8],
    /// SK_pi if the initiator signs, SK_pr if the responder does.
    pub(crate) identity_key: &'a Secret,
    /// The body of the signer's ID payload, reserved octets as received (F18).
    pub(crate) id_body: &'a [u8],
    /// [`IntAuth::finish`]; empty if no IKE_INTERMEDIATE exchange took place.
    pub(crate) int_auth: &'a [u8],
}

impl SignedOctets<'_> {
    /// The octets in one piece. They hold nothing secret but the maced identity.
    pub(crate) fn octets(&self, prf: Prf) -> Secret {
        let maced_id = prf.compute(self.identity_key.as_bytes(), &[self.id_body]);
        Secret::concat(&[self.message, self.peer_nonce, maced_id.as_bytes(), self.int_auth])
    }
}

/// The running hash over IKE_INTERMEDIATE exchanges, `IntAuth_iN` and `IntAuth_rN`
/// (RFC 9242 §3.3.2).
#[derive(Debug, Default)]
pub(crate) struct IntAuth {
    initiator: Option<Secret>,
    responder: Option<Secret>,
}

impl IntAuth {
    /// No IKE_INTERMEDIATE message yet.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Takes one message of an IKE_INTERMEDIATE exchange:
    /// `IntAuth_n = prf(SK_p, [IntAuth_n-1 |] A | P)`.
    ///
    /// `sender` is who sent it, `identity_key` SK_pi or SK_pr of the keys that protected it,
    /// `associated` the octets from the IKE header to the generic header of the SK payload with
    /// both lengths as if encryption added nothing
    /// ([`Sealed::associated`](crate::v2::protected::Sealed::associated)), `inner` the clear
    /// payloads.
    pub(crate) fn add(
        &mut self,
        sender: Role,
        prf: Prf,
        identity_key: &Secret,
        associated: &[u8],
        inner: &[u8],
    ) {
        let slot = match sender {
            Role::Initiator => &mut self.initiator,
            Role::Responder => &mut self.responder,
        };
        let before = slot.as_ref().map_or(&[][..], Secret::as_bytes);
        let next = prf.compute(identity_key.as_bytes(), &[before, associated, inner]);
        *slot = Some(next);
    }

    /// `IntAuth_iN | IntAuth_rN | IKE_AUTH_MID`, or nothing if there was no such exchange.
    ///
    /// `auth_message_id` is the message id of the first IKE_AUTH request.
    pub(crate) fn finish(&self, auth_message_id: u32) -> Vec<u8> {
        match (&self.initiator, &self.responder) {
            (Some(i), Some(r)) => {
                [i.as_bytes(), r.as_bytes(), &auth_message_id.to_be_bytes()].concat()
            }
            _ => Vec::new(),
        }
    }
}

/// A key that comes of a long-term secret and says nothing about it; or a password, which the peer gets
/// as it is.
#[derive(Debug, Eq, PartialEq)]
pub struct DerivedKey(pub(crate) Secret);

/// A result may have to wait in two places: where it was made, and where it is wanted.
impl Clone for DerivedKey {
    fn clone(&self) -> Self {
        Self(self.0.duplicate())
    }
}

/// What a host has to do [`AuthJob`]s with.
#[derive(Clone, Copy, Debug)]
pub struct Keys<'a> {
    /// The secret of the pair of identities, if there is one.
    pub secret: Option<&'a Secret>,
    /// Private keys, and the certificates that are for every connection.
    pub credentials: &'a Credentials,
    /// Our clock, which certificates are held against.
    pub now: Moment,
}

impl AuthJob {
    /// Does the job with a secret, where both sides prove themselves by it.
    pub fn answer(&self, secret: &Secret) -> AuthResult {
        let credentials = Credentials::default();
        self.answer_with(Keys { secret: Some(secret), credentials: &credentials, now: Moment(0) })
    }

    /// Does the job. With a secret it takes the same time for every wrong value of the right length.
    pub fn answer_with(&self, keys: Keys<'_>) -> AuthResult {
        let checked = match &self.kind {
            AuthJobKind::Sign
            | AuthJobKind::Derive
            | AuthJobKind::SignHash { .. }
            | AuthJobKind::Decapsulate { .. }
            | AuthJobKind::Password { .. }
            | AuthJobKind::CheckPassword { .. } => Ok(None),
            AuthJobKind::Verify { auth }
            | AuthJobKind::VerifyAndSign { auth, .. }
            | AuthJobKind::VerifyHash { auth } => self.verify(auth, keys),
            AuthJobKind::Trust { certificate } => trust(self, certificate, keys)
                .map_err(|reason| AuthResult::Distrusted(Box::new(reason))),
            AuthJobKind::Decrypt(_) => {
                pinned(self, keys).map_err(|reason| AuthResult::Distrusted(Box::new(reason)))
            }
        };
        let done = checked.and_then(|theirs| {
            let (result, ours) = match &self.kind {
                AuthJobKind::Sign => self.sign_until(&self.octets, keys, AuthResult::Signed)?,
                AuthJobKind::Derive => (self.derive(keys)?, None),
                AuthJobKind::Decapsulate { key } => (self.decapsulate(*key, keys)?, None),
                AuthJobKind::Decrypt(sent) => (decrypt(self, sent, keys)?, None),
                AuthJobKind::Password { .. } => (password(keys)?, None),
                AuthJobKind::CheckPassword { password, .. } => (check(password, keys), None),
                AuthJobKind::Verify { .. }
                | AuthJobKind::VerifyHash { .. }
                | AuthJobKind::Trust { .. } => (AuthResult::Verified, None),
                AuthJobKind::SignHash { .. } => {
                    self.sign_until(&self.octets, keys, AuthResult::Signed)?
                }
                AuthJobKind::VerifyAndSign { ours, .. } => {
                    self.sign_until(ours, keys, AuthResult::VerifiedAndSigned)?
                }
            };
            Ok(result.until(ProofEnd::sooner(theirs, ours)))
        });
        done.unwrap_or_else(|failed| failed)
    }

    /// Our proof as a result, and what ends it.
    fn sign_until(
        &self,
        octets: &Secret,
        keys: Keys<'_>,
        result: fn(Proof) -> AuthResult,
    ) -> Result<(AuthResult, Option<ProofEnd>), AuthResult> {
        let proof = self.sign(octets, keys)?;
        let end = signature::end_of(&proof, keys.now);
        Ok((result(proof), end))
    }

    /// `SKEYID = prf(pre-shared-key, Ni_b | Nr_b)` (RFC 2409 §5).
    fn derive(&self, keys: Keys<'_>) -> Result<AuthResult, AuthResult> {
        let secret = keys.secret.ok_or(AuthResult::NoSecret)?;
        let key = self.prf.compute(secret.as_bytes(), &[self.octets.as_bytes()]);
        Ok(AuthResult::Derived(DerivedKey(key)))
    }

    /// The secret in a ciphertext; what was not made for the key gives another, and no error.
    fn decapsulate(&self, key: KemKeyId, keys: Keys<'_>) -> Result<AuthResult, AuthResult> {
        let key = keys.credentials.kem_key(key).ok_or(AuthResult::NoSecret)?;
        let shared = key.decapsulate(self.octets.as_bytes()).map_err(|_| AuthResult::NoSecret)?;
        Ok(AuthResult::Derived(DerivedKey(shared)))
    }

    /// Checks the peer's proof: what ends it, if anything does.
    fn verify(&self, auth: &Proof, keys: Keys<'_>) -> Result<Option<ProofEnd>, AuthResult> {
        match &self.remote_auth {
            AuthSpec::Psk => {
                let key = padded(self.prf, keys.secret.ok_or(AuthResult::NoSecret)?);
                let right = self.prf.compute(key.as_bytes(), &[self.octets.as_bytes()]);
                let is_right = right == Secret::from_slice(&auth.data);
                if is_right { Ok(None) } else { Err(AuthResult::Refused) }
            }
            // No secret is asked for it, and none is known.
            AuthSpec::Null => Err(AuthResult::NoSecret),
            AuthSpec::Signature(spec) => signature::verify(spec, auth, self, keys)
                .map_err(|reason| AuthResult::Distrusted(Box::new(reason))),
        }
    }

    fn sign(&self, octets: &Secret, keys: Keys<'_>) -> Result<Proof, AuthResult> {
        match &self.local_auth {
            AuthSpec::Psk => {
                let secret = keys.secret.ok_or(AuthResult::NoSecret)?;
                Ok(Proof::shared_key(psk_auth(self.prf, secret, octets.as_bytes())))
            }
            AuthSpec::Null => Err(AuthResult::NoSecret),
            AuthSpec::Signature(spec) => signature::sign(spec, octets, self, keys)
                .map_err(|reason| AuthResult::CannotSign(Box::new(reason))),
        }
    }
}

/// A user's password, for the peer.
fn password(keys: Keys<'_>) -> Result<AuthResult, AuthResult> {
    let secret = keys.secret.ok_or(AuthResult::NoSecret)?;
    Ok(AuthResult::Derived(DerivedKey(secret.duplicate())))
}

/// Whether a password is right. Digests of one length are compared, so that the time tells neither how
/// much of it is right nor how long the right one is; a user who does not exist has an empty one, which
/// is never right.
fn check(password: &Secret, keys: Keys<'_>) -> AuthResult {
    let right = keys.secret.map(Secret::as_bytes).unwrap_or_default();
    let digest = |octets: &[u8]| Secret::from_slice(&adit_crypto::sha256(&[octets]));
    let is_same = digest(right) == digest(password.as_bytes());
    if is_same && !right.is_empty() { AuthResult::Verified } else { AuthResult::Refused }
}

/// Authentication data of a pre-shared key:
/// `prf(prf(secret, "Key Pad for IKEv2"), signed octets)` (RFC 7296 §2.15).
pub fn psk_auth(prf: Prf, secret: &Secret, signed_octets: &[u8]) -> Vec<u8> {
    prf.compute(padded(prf, secret).as_bytes(), &[signed_octets]).as_bytes().to_vec()
}

fn padded(prf: Prf, secret: &Secret) -> Secret {
    prf.compute(secret.as_bytes(), &[KEY_PAD])
}

/// 17 ASCII characters without a terminator (RFC 7296 §2.15).
const KEY_PAD: &[u8] = b"Key Pad for IKEv2";

#[cfg(test)]
mod tests;
