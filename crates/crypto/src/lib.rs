//! Transforms for ESP and IKE: protection suites, pseudo-random functions, key exchanges.
//!
//! The crate turns the numbers that two peers negotiate (`adit_wire::iana`) into working
//! algorithms, and nothing else: it knows no packet, no message and no clock. Keys are [`Secret`]s,
//! randomness is an argument ([`Rng`]). The algorithms themselves are those of aws-lc-rs. What it
//! does not have comes from elsewhere: modular exponentiation (MODP groups, RSA encryption) from crypto-bigint;
//! AES-CCM, Camellia, the ciphers of 64-bit blocks and HMAC-MD5 from the RustCrypto crates; ML-KEM
//! in seeded runs from the ml-kem crate, because aws-lc-rs cannot be told which randomness to use.
//!
//! | file | contents | RFC |
//! |---|---|---|
//! | `cipher` | [`Cipher`], [`SealKey`], [`OpenKey`]; [`Authentication`], [`AuthenticationKey`]; [`CbcKey`] of IKEv1 | 2403 to 2405, 2410, 2451, 3566, 3602, 3686, 4106, 4309, 4312, 4494, 4543, 4868, 5282, 5529, 7634 |
//! | `mac` | codes below integrity algorithms and PRFs | 2104, 3566, 4493 |
//! | `prf` | [`Prf`]: prf and prf+ | 7296 §2.13, 4434, 4615, 4868 |
//! | `kx` | [`KeyExchange`], [`KeyShare`], [`KeyShareStock`] | 3526, 5903, 6989, 8031, 9370 |
//! | `hash` | [`sha1`] for NAT detection, [`sha256`], [`enum@Hash`] of IKEv1 | 7296 §2.23, 2409 §4 |
//! | `random` | [`Rng`], [`SystemRng`], [`BufferedRng`], [`SeededRng`] | |
//! | `secret` | [`Secret`] | |
//! | `rsa` | [`EncryptingKey`], [`DecryptingKey`]: encryption to RSA keys | 8017 §7 |
//! | `signature` | [`SigningKey`], [`VerifyingKey`], [`SignatureScheme`] | 8017, 8032, 4754 |
//! | `prefetch` | [`Prefetch`]: keys that lie far away | |

#![forbid(unsafe_code)]

mod cipher;
mod hash;
mod kx;
mod mac;
mod prefetch;
mod prf;
mod random;
mod rsa;
mod secret;
mod signature;

pub use cipher::{
    AES_OCTETS_MAX, Absorber, Authentication, AuthenticationKey, AuthenticationTag, CbcKey,
    CbcKeyError, Cipher, Encryption, IcvSize, ImplicitIv, Integrity, KeyLengthError, KeySize,
    OpenError, OpenKey, Protection, SHORT_BLOCK_OCTETS_MAX, SHORT_BLOCK_OCTETS_SOFT, SealError,
    SealKey, Shape,
};
pub use hash::{Hash, sha1, sha256};
pub use kx::{
    KEY_SHARES_MAX, KemKey, KemPublicKey, KemSet, KeyExchange, KeyExchangeError, KeyShare,
    KeyShareStock,
};
pub use prefetch::{Extent, LibraryKey, Prefetch};
pub use prf::{PRF_PLUS_BLOCKS_MAX, Prf, PrfPlusTooLong};
pub use random::{BufferedRng, Rng, SeededRng, SystemRng};
pub use rsa::{DecryptingKey, EncryptingKey, RsaPadding, new_rsa_key};
pub use secret::Secret;
pub use signature::{
    DSA_BITS_MAX, DSA_BITS_MIN, KeyError, KeyKind, RSA_BITS_MAX, RSA_BITS_MIN, SignatureHash,
    SignatureScheme, SigningKey, VerifyingKey,
};
