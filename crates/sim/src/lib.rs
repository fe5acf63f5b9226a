//! Two IKE endpoints on a simulated network, in virtual time (development only).
//!
//! A [`Pair`] holds two `adit_ike::Endpoint`s and a [`Network`] between them that loses, repeats,
//! delays and reorders what they send. Everything random comes from one [`Seed`], so a run that
//! fails fails again. Packet engines are played by a record of installed child SAs: each side
//! knows which keys it could open a packet with ([`Peer::child_sas`]).
//!
//! ```
//! use adit_sim::{Pair, Seed};
//!
//! let mut pair = Pair::established(Seed(7));
//! pair.left.rekey_child(pair.child);
//! pair.run_until_idle();
//! assert_eq!(pair.left.child_sas(), pair.right.child_sas().mirrored());
//! ```
//!
//! [`run_seed`] plays a whole life of two gateways with random faults and random operations and
//! checks what must hold whatever happens. [`run_leak_seed`] does the same to a packet engine: a
//! sniffer outside looks for data that policies protect.
//!
//! [`replay()`] plays what a daemon has recorded of its endpoint.
//!
//! [`run_world`] plays several hosts with both, whose clocks drift, whose addresses change and who
//! die and return, among strangers.

#![forbid(unsafe_code)]

mod draw;
mod engine;
mod ladder;
mod leaks;
mod network;
mod pair;
mod peer;
mod replay;
mod seeds;
mod setup;
mod world;

pub use engine::{ChildSas, ChildView};
pub use ladder::{Fate, Ladder, MessageView};
pub use leaks::{Leak, LeakOutcome, LeakSummary, run_leak_seed};
pub use network::{Faults, Nat, Network, Recorded};
pub use pair::{Pair, Side};
pub use peer::{Child, Peer};
pub use replay::{Replayed, replay};
pub use seeds::{Outcome, Profile, Summary, Violation, run_seed};
pub use setup::Setup;
pub use world::{
    Broken, Shrunk, WorldOutcome, WorldPlay, WorldProfile, WorldSummary, run_world, shrink_world,
};

/// Where all randomness of a run comes from: the same seed, the same run.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Seed(pub u64);

impl Seed {
    /// A seed for one part of the run, so that one part's draws do not shift another's.
    fn part(self, part: u64) -> adit_crypto::SeededRng {
        adit_crypto::SeededRng::new(self.0.wrapping_mul(8).wrapping_add(part))
    }

    /// A seed for one of several hosts, none of which is a part of any run.
    fn part_of(self, host: usize) -> adit_crypto::SeededRng {
        let host = u64::try_from(host).unwrap_or(u64::MAX);
        let hosts = u64::MAX.wrapping_sub(self.0.wrapping_mul(16)).wrapping_sub(host);
        adit_crypto::SeededRng::new(hosts)
    }
}
