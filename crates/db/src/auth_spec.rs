//! How one side proves its identity, in one round of authentication (RFC 7296 §2.15).
//!
//! What is here is public: names of methods, certificates, public keys. Secrets and private keys
//! live with the role that holds keys.

use std::sync::Arc;

use adit_crypto::SignatureScheme;
use adit_pki::{Certificate, PublicKey};

/// How a side proves its identity.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum AuthSpec {
    /// Shared Key Message Integrity Code: both sides know the same secret, found by the two
    /// identities.
    #[default]
    Psk,
    /// A digital signature (RFC 7427, RFC 7296 §3.8), by a key that a certificate names or that both
    /// sides know.
    Signature(Arc<SignatureSpec>),
    /// No proof at all (RFC 7619): only where the operator says so.
    Null,
}

impl AuthSpec {
    /// What the identity is proven by, for people.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Psk => "pre-shared key",
            Self::Null => "nothing",
            Self::Signature(spec) if spec.public_keys.is_empty() => "certificate",
            Self::Signature(spec)
                if spec.certificates.is_empty() && spec.authorities.is_empty() =>
            {
                "raw public key"
            }
            Self::Signature(_) => "signature",
        }
    }

    /// What is asked of a signature, if there is to be one.
    pub fn signature(&self) -> Option<&Arc<SignatureSpec>> {
        match self {
            Self::Signature(spec) => Some(spec),
            Self::Psk | Self::Null => None,
        }
    }

    /// Whether nothing is proved.
    pub fn is_null(&self) -> bool {
        *self == Self::Null
    }
}

/// What a signature is made with, or what the peer's must be made with.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct SignatureSpec {
    /// The schemes that may be used; empty is any but those with SHA-1.
    pub schemes: Vec<SignatureScheme>,
    /// Ours: those whose keys we have, and what stands between them and an authority. The peer's: those
    /// that it may use. Empty is any that the host has, or that an authority has signed.
    pub certificates: Vec<Arc<Certificate>>,
    /// Raw public keys (RFC 7670): ours, or those that the peer may use, whoever it says it is.
    pub public_keys: Vec<Arc<PublicKey>>,
    /// The peer's: who may have signed its certificate. Empty is any authority that the host trusts,
    /// unless certificates or keys are named.
    pub authorities: Vec<Arc<Certificate>>,
}

impl SignatureSpec {
    /// Whether the connection names neither certificate nor key nor authority, so that those of the
    /// host count.
    pub fn is_open(&self) -> bool {
        self.certificates.is_empty() && self.public_keys.is_empty() && self.authorities.is_empty()
    }

    /// Whether it asks the peer for a raw key and for what an authority has signed: a key that is named
    /// has no signature of anybody.
    pub fn mixes_keys_and_authorities(&self) -> bool {
        !self.public_keys.is_empty() && !self.authorities.is_empty()
    }

    /// Whether raw keys of several peers may be meant. Nothing in a raw key says whose it is: the owner of
    /// one could claim the identity of another's.
    pub fn has_keys_of_several(&self) -> bool {
        match self.public_keys.len() {
            0 => false,
            1 => !self.certificates.is_empty(),
            _ => true,
        }
    }
}
