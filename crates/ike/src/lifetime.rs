//! How long SAs live, by a rule that two ends cannot read in two ways: values in, verdicts out.
//!
//! IKEv1 carries lifetimes in proposals and says too little of them (RFC 2407 §4.5, RFC 2409 appendix A):
//! nothing of an offer without one in phase 1, nothing of what an initiator does with a
//! RESPONDER-LIFETIME that it cannot accept. IKEv2 negotiates none (RFC 7296 §2.8): each end has its own,
//! and says at most by when the other is to authenticate anew (RFC 4478).
//!
//! | file | contents |
//! |---|---|
//! | `offer` | what a list of attributes says |
//! | `policy` | what a responder makes of an offer |
//! | `notice` | what an initiator makes of RESPONDER-LIFETIME, and in which forms it hears it |
//! | `schedule` | when an SA is renewed, given when it ends |
//!
//! Nothing here knows the wire, a clock or an SA. `docs/lifetimes.md` states the rule for others.

mod notice;
mod offer;
mod policy;
mod schedule;

use std::fmt;

use adit_pki::Moment;

pub use self::notice::{Family, Heard, Heed, Reception, ResponderLifetime, receive};
pub use self::offer::{Classes, Contradiction, Offer, duration};
pub use self::policy::{Absent, Agreement, Bounds, Phase, Policy, Refusal, respond};
pub use self::schedule::{Rank, soft};

/// What phase 2 has where nothing is said (RFC 2407 §4.5), in seconds.
pub const DEFAULT_SECONDS: u64 = 28_800;

/// What we offer in phase 1 unless something else is configured, in seconds.
pub const PHASE_1_SECONDS: u64 = 86_400;

/// Shorter lives than these seconds are a storm of rekeyings.
pub const FLOOR_SECONDS: u64 = 60;

/// The same in kilobytes.
pub const FLOOR_KILOBYTES: u64 = 1_024;

/// Octets of a kilobyte where an SA ends. RFC 2407 does not say how many there are; the MIB drafts of the
/// working group do.
pub const KILOBYTE_OCTETS: u64 = 1_024;

/// Octets of a kilobyte where an SA is renewed: for those who count in thousands the end comes earlier.
pub const KILOBYTE_OCTETS_LEAST: u64 = 1_000;

/// Where a limit comes from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Origin {
    /// The operator wrote it.
    Configured,
    /// The operator wrote nothing.
    Default,
    /// RFC 2407 §4.5 has it for offers of phase 2 without one.
    Doi,
    /// The peer offered it.
    Offered,
    /// The peer notified us of it: RESPONDER-LIFETIME (RFC 2407 §4.6.3.1).
    Notified,
    /// The peer wants to be proven to again by then: AUTH_LIFETIME (RFC 4478).
    AuthLifetime,
    /// What was left of the session that was resumed (RFC 5723).
    Ticket,
    /// A certificate that a proof of identity rests on is not valid for longer (RFC 4301 §4.4.3.4).
    Certificate {
        /// It is on our path, not on the peer's.
        ours: bool,
        /// Whose it is.
        subject: String,
        /// Its notAfter.
        until: Moment,
    },
    /// The list that says which certificates are revoked is not good for longer.
    Crl {
        /// Who signs the list.
        issuer: String,
        /// Its nextUpdate.
        until: Moment,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Configured => f.write_str("configured"),
            Self::Default => f.write_str("default"),
            Self::Doi => f.write_str("default of RFC 2407"),
            Self::Offered => f.write_str("offered by the peer"),
            Self::Notified => f.write_str("RESPONDER-LIFETIME of the peer"),
            Self::AuthLifetime => f.write_str("AUTH_LIFETIME of the peer"),
            Self::Ticket => f.write_str("what was left of the resumed session"),
            Self::Certificate { ours, subject, until } => {
                let whose = if *ours { "our" } else { "the peer's" };
                write!(f, "{whose} certificate {subject} is valid until {until}")
            }
            Self::Crl { issuer, until } => {
                write!(f, "the revocation list of {issuer} is good until {until}")
            }
        }
    }
}

/// A limit, in seconds or kilobytes, and where it comes from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Limit {
    /// How much.
    pub amount: u64,
    /// Says who.
    pub origin: Origin,
}

impl Limit {
    /// A limit of so much, by that origin.
    pub fn new(amount: u64, origin: Origin) -> Self {
        Self { amount, origin }
    }
}

/// Where an SA ends: `None` is never. The first that is reached counts.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Limits {
    /// Age in seconds.
    pub seconds: Option<Limit>,
    /// Kilobytes that it has protected.
    pub kilobytes: Option<Limit>,
}

impl Limits {
    /// The same, and no more seconds than `limit` has: the life of a certificate, for one.
    #[must_use]
    pub fn bounded(self, limit: Limit) -> Self {
        let seconds = match self.seconds {
            Some(before) if before.amount <= limit.amount => before,
            _ => limit,
        };
        Self { seconds: Some(seconds), ..self }
    }

    /// The octets after which the SA is to be renewed if it is renewed at `kilobytes`, and after which it
    /// ends: both readings of a kilobyte are renewed before either ends.
    pub fn octets(&self, rank: Rank) -> Option<(u64, u64)> {
        let kilobytes = self.kilobytes.as_ref()?.amount;
        let least = kilobytes.saturating_mul(KILOBYTE_OCTETS_LEAST);
        Some((soft(least, rank), kilobytes.saturating_mul(KILOBYTE_OCTETS)))
    }
}
