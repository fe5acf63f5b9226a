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
//!
//! # How far it is searched, and why that is enough
//!
//! There are two peers and two pairs of selectors, and as many IKE SAs and child SAs as come of it. What
//! bounds a run is what comes from outside: orders, losses, late copies. All that follows is visited to
//! its end, in every order. With a window of one in each direction (RFC 7296 §2.3) at most two exchanges
//! of an IKE SA are in flight, one of each peer's. Therefore
//!
//! - two orders, of one side or of both, are all pairs of exchanges that cross, and a third one comes at
//!   every moment of each crossing, its deletes included; what is ordered beyond that while both windows
//!   are taken waits in a queue, in which the third waits already;
//! - one loss is each message of each run that is sent again, and whoever gets a request twice answers
//!   twice: it makes no difference to either peer how often that happens to one message;
//! - one late copy is each message of the past at each later moment.
//!
//! That two messages of one run are lost, or more orders come, is seen only by chance: the walks of
//! `conformance` have six orders, two losses and two late copies.
//!
//! | orders | losses | late copies | states | seconds of a core |
//! |---|---|---|---|---|
//! | 2 | 1 | 1 | 97,630 | 1 |
//! | 3 | 1 | 0 | 174,940 | 2 |
//! | 3 | 0 | 1 | 945,404 | 17 |

mod canonical;
pub mod machine;
pub mod parts;
pub mod world;
