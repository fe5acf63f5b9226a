//! Known answers: NIST, Wycheproof, the RFCs' own examples, packets of another implementation.
//!
//! The files are in `tests/vectors`, each with its origin in its head.

#![cfg(test)]

mod cipher;
mod dsa;
mod encryption;
mod kx;
mod prf;
mod signature;
mod vectors;
mod vendor;
