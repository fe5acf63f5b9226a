//! A peer whose key we have of its certificate, which comes with its first encrypted payloads (RFC 2409 §5.3):
//! `<Cert-I_b>Ke_i`. Whether we trust it is decided where the authorities are known, and before anything is
//! encrypted to it.
//!
//! What the certificate is read from hangs on the nonce, and so on what our key has decrypted. Octets that are no
//! ciphertext give a nonce that nobody knows, under which nobody can have encrypted a certificate; of a ciphertext
//! whose contents the peer does not know the same is true. So that no certificate was found tells nobody more than
//! whether it knows its own nonce.

use std::sync::Arc;

use adit_db::{AuthSpec, Connection};
use adit_pki::{Certificate, Distrust, Purpose, first_to_end};
use adit_wire::Reader;
use adit_wire::iana::isakmp::CertEncoding;
use adit_wire::isakmp::Cert;

use crate::auth::Keys;
use crate::command::ProofEnd;
use crate::output::AuthJob;

/// Whether the peer's key is to be had of a certificate that it sends.
pub(crate) fn is_wanted(connection: &Connection) -> bool {
    let Some(spec) = connection.pad.remote_auth.signature() else { return false };
    spec.certificates.is_empty() && spec.public_keys.is_empty()
}

/// The body of our CERT payload, if the configuration names a certificate: the peer may need it.
pub(super) fn own_body(connection: &Connection) -> Option<Vec<u8>> {
    let spec = connection.pad.local_auth.signature()?;
    let own = spec.certificates.iter().find(|one| !one.is_authority())?;
    let mut octets = Vec::new();
    let body = Cert { encoding: CertEncoding::X509_SIGNATURE, data: own.der() };
    body.write(&mut adit_wire::Writer(&mut octets));
    Some(octets)
}

/// Reads the body of the peer's.
pub(super) fn read(body: &[u8]) -> Option<Arc<Certificate>> {
    let cert = Cert::read(&mut Reader(body)).ok()?;
    let is_x509 = [CertEncoding::X509_SIGNATURE, CertEncoding::X509_KEY_EXCHANGE];
    is_x509.contains(&cert.encoding).then(|| Certificate::from_der(cert.data).ok())?.map(Arc::new)
}

/// Does the job of a [`AuthJobKind::Trust`](crate::AuthJobKind::Trust): the certificate is of the identity that the
/// peer claims, and a path leads to an authority of the connection.
pub(crate) fn trust(
    job: &AuthJob,
    certificate: &[u8],
    keys: Keys<'_>,
) -> Result<Option<ProofEnd>, Distrust> {
    let leaf = Certificate::from_der(certificate).map_err(|_| UNREADABLE)?;
    let AuthSpec::Signature(spec) = &job.remote_auth else { return Err(UNREADABLE) };
    if !leaf.is_of(job.remote_id.kind(), &job.remote_id.octets()) {
        let (subject, claimed) = (leaf.subject_text(), job.remote_id.to_string());
        return Err(Distrust::OtherIdentity { subject, claimed });
    }
    let anchors = if spec.is_open() { keys.credentials.authorities() } else { &spec.authorities };
    let leaf = Arc::new(leaf);
    let first = first_to_end(Purpose::Ikev1Encryption, &leaf, &[], anchors, keys.now)?;
    Ok(Some(ProofEnd::of(first, false, keys.now)))
}

/// Whether the certificate that the configuration names as the peer's may still be used, and until when: the proof
/// of whoever decrypts rests on it. It hangs on nothing that the peer has sent, so it tells nothing about that.
///
/// # Errors
///
/// [`Distrust`]: it is over, or has not begun, or is for other uses; or authorities are named as well, and none has
/// signed it.
pub(crate) fn pinned(job: &AuthJob, keys: Keys<'_>) -> Result<Option<ProofEnd>, Distrust> {
    let AuthSpec::Signature(spec) = &job.remote_auth else { return Ok(None) };
    let Some(leaf) = spec.certificates.first() else { return Ok(None) };
    let anchors = match spec.authorities.as_slice() {
        // It vouches for itself.
        [] => std::slice::from_ref(leaf),
        authorities => authorities,
    };
    let first = first_to_end(Purpose::Ikev1Encryption, leaf, &[], anchors, keys.now)?;
    Ok(Some(ProofEnd::of(first, false, keys.now)))
}

/// What the peer has sent is no certificate.
pub(super) const UNREADABLE: Distrust =
    Distrust::NoCertificate("the peer has sent no certificate that can be read, and we have none");
