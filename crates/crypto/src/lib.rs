//! Transforms for ESP and IKE: protection suites, pseudo-random functions, key exchanges.
//!
//! The crate turns the numbers that two peers negotiate (`adit_wire::iana`) into working
//! algorithms, and nothing else: it knows no packet, no message and no clock. Keys are [`Secret`]s,
//! randomness is an argument ([`Rng`]). The algorithms themselves are those of aws-lc-rs; only
//! modular exponentiation (MODP groups) comes from crypto-bigint, and ML-KEM in seeded runs from
//! the ml-kem crate, because aws-lc-rs cannot be told which randomness to use.
//!
//! | file | contents | RFC |
//! |---|---|---|
//! | `cipher` | [`Cipher`], [`SealKey`], [`OpenKey`] | 3602, 4106, 4868, 5282, 7634 |
//! | `prf` | [`Prf`]: prf and prf+ | 7296 §2.13, 4868 |
//! | `kx` | [`KeyExchange`], [`KeyShare`] | 3526, 5903, 6989, 8031, 9370 |
//! | `hash` | [`sha1`] for NAT detection | 7296 §2.23 |
//! | `random` | [`Rng`], [`SystemRng`], [`SeededRng`] | |
//! | `secret` | [`Secret`] | |

#![forbid(unsafe_code)]

mod cipher;
mod hash;
mod kx;
mod prf;
mod random;
mod secret;

pub use cipher::{
    AES_OCTETS_MAX, AesKeySize, Cipher, Integrity, KeyLengthError, OpenError, OpenKey, SealError,
    SealKey,
};
pub use hash::sha1;
pub use kx::{KeyExchange, KeyExchangeError, KeyShare};
pub use prf::{PRF_PLUS_BLOCKS_MAX, Prf, PrfPlusTooLong};
pub use random::{Rng, SeededRng, SystemRng};
pub use secret::Secret;
