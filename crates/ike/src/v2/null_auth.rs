//! NULL authentication (RFC 7619): a side proves nothing but that it is the same that began the key
//! exchange. It is taken only from peers whose entry in the PAD says so.
//!
//! No long-term secret is in it, so proofs are made and checked here. What the peer calls itself is
//! dropped, unless a post-quantum key proves it (RFC 8784 §5.2.3).
//!
//! Declined of the RFC: checks of other IKE SAs when an anonymous peer comes (§2.3, "can be used");
//! each is asked for signs of life by its own clock. No addresses are given out (§2.5): an anonymous
//! peer speaks for its own address, which the reader of the configuration sees to.

use adit_crypto::{Prf, Secret};
use adit_db::Identity;
use adit_wire::iana::AuthMethod;

use crate::auth::psk_auth;
use crate::keymat::Role;
use crate::v2::handshake::Handshake;
use crate::v2::rules::Received;

/// The proof of an end without identity over its signed octets.
//= https://www.rfc-editor.org/rfc/rfc7619#section-2.1
//# The value of SK_pi for the initiator and SK_pr for the responder is used as the shared secret
//# for the content of the AUTH payload.
pub(crate) fn proof(handshake: &Handshake, signer: Role, octets: &Secret) -> Vec<u8> {
    let (prf, key): (Prf, &Secret) = (handshake.suite.prf, handshake.keys.identity_key(signer));
    psk_auth(prf, key, octets.as_bytes())
}

/// Whether the peer's proof is right, found out in the same time for every wrong one of its length.
pub(crate) fn is_right(handshake: &Handshake, signer: Role, octets: &Secret, auth: &[u8]) -> bool {
    Secret::new(proof(handshake, signer, octets)) == Secret::from_slice(auth)
}

/// Whether a message proves nothing.
pub(crate) fn is_used(received: &Received<'_>) -> bool {
    received.auth.is_some_and(|auth| auth.method == AuthMethod::NULL)
}

/// Whether an IKE SA is with somebody, so that it can be told from others with the same. Who proves
/// nothing may be anybody each time: INITIAL_CONTACT means nothing then, and nobody is replaced.
//= https://www.rfc-editor.org/rfc/rfc7619#section-2.3
//# the INITIAL_CONTACT notifications MUST NOT be used to delete any other IKE SAs based on the same
//# peer identity without additional verification that the existing IKE SAs with matching identity
//# are actually stale.
pub(crate) fn is_between_known(local: &Identity, remote: &Identity) -> bool {
    *local != Identity::Null && *remote != Identity::Null
}

/// IKE SAs of one identity of ours with anonymous peers: anybody may set one up.
pub(crate) const ANONYMOUS_PEERS_MAX: usize = 1_024;
