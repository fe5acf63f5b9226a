//! Rounds of authentication beyond the first (RFC 4739): each side may have several, of the same kind
//! or of different kinds.

use crate::auth_spec::AuthSpec;
use crate::identity::{Identity, IdentityPattern};

/// A further proof of ours.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct LocalRound {
    /// Our identity in this round; `None` is the local address.
    pub id: Option<Identity>,
    /// How we prove it.
    pub auth: AuthSpec,
}

/// A further proof that the peer owes us.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct RemoteRound {
    /// The identities accepted from the peer in this round.
    pub id: IdentityPattern,
    /// How it has to prove it.
    pub auth: AuthSpec,
}

/// Rounds of one side, the first included. RFC 4739 sets no limit.
pub const ROUNDS_MAX: usize = 4;
