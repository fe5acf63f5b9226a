//! IKE endpoints under attack: two hosts, what lies on the wire between them, and the keys to it.

mod attack;
mod chain;
mod host;
mod isakmp;
mod isakmp_chain;
mod seal;
mod setup;
mod tracks;
mod wire;

pub use chain::{Writing, choose as choose_chain};
pub use host::{Host, Installed};
pub use isakmp::{IsakmpSession, Link, Proof};
pub use isakmp_chain::{IsakmpWriting, choose_isakmp};
pub use seal::{Keyring, Opened, Session};
pub use setup::{Flavour, LEFT, RIGHT, STRANGER, Setup};
pub use wire::{Letter, Side, World};
