//! What must hold after every step of a world, one file each with the reason.
//!
//! | file | what must hold |
//! |---|---|
//! | `keys` | both ends of an SA have the same keys |
//! | `nonces` | no nonce is used twice under a key |
//! | `chains` | in IKEv1 nothing is encrypted twice under an IV |
//! | `protect` | what is to be protected is, and arrives while both ends have an SA for it |
//! | `windows` | message ids stay in their windows |
//! | `bounds` | memory and timers are bounded |
//! | `codes` | every failure has a code |
//! | `strangers` | nobody whose address is not proven gets more octets than it sent |
//! | `converged` | after the last fault all that is wanted comes up, in a stated time |
//! | `one_child` | once idle there is one live child for each pair of selectors |
//! | `steady` | on a good network what is up stays up, and what is told to be replaced is |

pub(super) mod bounds;
pub(super) mod chains;
pub(super) mod codes;
pub(super) mod converged;
pub(super) mod keys;
pub(super) mod nonces;
pub(super) mod one_child;
pub(super) mod protect;
pub(super) mod steady;
pub(super) mod strangers;
pub(super) mod windows;

use std::fmt;

/// An invariant that does not hold.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Broken {
    /// Which one.
    pub invariant: &'static str,
    /// What was seen.
    pub seen: String,
}

impl Broken {
    pub(super) fn new(invariant: &'static str, seen: impl fmt::Display) -> Self {
        Self { invariant, seen: seen.to_string() }
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant, self.seen)
    }
}
