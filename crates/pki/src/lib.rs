//! Certificates (RFC 5280 as profiled by RFC 4945), raw public keys, private keys, and the
//! AlgorithmIdentifiers of RFC 7427.
//!
//! Enough for pinned keys and for peers whose certificates come from one trusted authority, with
//! intermediates in between: signatures, validity, basic constraints, key usage, names. Revocation,
//! name constraints and certificate policies are not done; a certificate that makes one of them
//! critical is refused.
//!
//! | file | contents |
//! |---|---|
//! | `algorithm` | AlgorithmIdentifiers of signatures (RFC 7427 §3, Appendix A) |
//! | `certificate` | [`Certificate`]: X.509 as far as IKE needs it |
//! | `credentials` | [`Credentials`]: keys and certificates of this host |
//! | `identity` | whether a certificate is of an identity (RFC 4945 §3.1) |
//! | `kem_key` | ML-KEM keys that stay: files, and the name of a public half (RFC 9935) |
//! | `name` | distinguished names as text, and when two are the same |
//! | `path` | from a peer's certificate to an authority (RFC 5280 §6) |
//! | `pkcs7` | certificates in one wrapping, as peers of IKEv1 send them |
//! | `pem`, `private_key`, `public_key` | what files hold |
//! | `read` | DER, by the `der` crate |
//!
//! Nothing here reads a clock or a file. What a peer sends is read without recursion and in bounds
//! that have names.

#![forbid(unsafe_code)]

mod algorithm;
mod certificate;
mod credentials;
mod identity;
mod kem_key;
mod moment;
pub mod name;
mod oid;
mod path;
mod pem;
mod pkcs7;
mod private_key;
mod public_key;
mod read;

pub use algorithm::{ALGORITHM_OCTETS_MAX, algorithm_identifier, read_algorithm};
pub use certificate::{CERTIFICATE_OCTETS_MAX, Certificate, read_certificates};
pub use credentials::Credentials;
pub use identity::AltName;
pub use kem_key::{KemKeyId, kem_key_pem, kem_public_pem, read_kem_key, read_kem_public};
pub use moment::Moment;
pub use path::{CHAIN_MAX, Distrust, Purpose, check_path, first_to_end};
pub use pkcs7::wrapped_certificates;
pub use private_key::PrivateKey;
pub use public_key::{KeyId, PublicKey};

/// Why octets are no certificate and no key.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PkiError {
    /// Not the DER that belongs there; the name is that of the part.
    #[error("{0} cannot be read")]
    Malformed(&'static str),
    /// A file without anything of the kind that is wanted.
    #[error("there is no {0} in it")]
    Missing(&'static str),
    /// More than the named bound.
    #[error("too many or too long: {0}")]
    TooMuch(&'static str),
    /// A private key that a password protects.
    #[error(
        "the private key is encrypted; `openssl pkey -in FILE -out NEW` takes the password off"
    )]
    Encrypted,
    /// The key itself.
    #[error("{0}")]
    Key(#[from] adit_crypto::KeyError),
}
