//! A model of how two peers create, rekey and delete IKE SAs and their children (RFC 7296 §1.3,
//! §1.4, §2.3, §2.8, §2.25), to be looked at in every order of events.
//!
//! [`machine`] is one peer: what `adit-ike` does, without octets, keys and clocks; [`parts`] is what
//! it remembers. [`world`] puts two of them on a network that loses, repeats and delays, lets users
//! give orders at any time, and says what must hold. The program `model` visits every state; the test
//! `conformance` walks the model and two real endpoints side by side.
//!
//! What the model leaves out: handshakes, several key exchanges in a rekeying, proposals and
//! selectors that are refused, giving up on a silent peer.

mod canonical;
pub mod machine;
pub mod parts;
pub mod world;
