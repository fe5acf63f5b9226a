//! What offers of lifetimes are held against in IKEv1 (`docs/lifetimes.md`); IKEv2 negotiates none.

/// What a tunnel takes of the lifetimes that its peer offers.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct LifetimeRule {
    /// What an offer of phase 1 without seconds is taken for.
    pub absent: AbsentLifetime,
    /// Offers outside of the bounds are refused, and an SA of which the peer notifies what cannot be is
    /// deleted. Else the SA is taken, and lives by the bound.
    pub strict: bool,
    /// Seconds of phase 1.
    pub ike_seconds: LifetimeBounds,
    /// Kilobytes of phase 1.
    pub ike_kilobytes: LifetimeBounds,
    /// Our own limit of phase 1 in kilobytes, which is offered; zero for none.
    pub ike_own_kilobytes: u64,
    /// Seconds of child SAs.
    pub child_seconds: LifetimeBounds,
    /// Kilobytes of child SAs.
    pub child_kilobytes: LifetimeBounds,
}

/// Between what an offered lifetime may lie; zero is no bound.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct LifetimeBounds {
    /// The least; only [`LifetimeRule::strict`] refuses what is shorter.
    pub least: u64,
    /// The most. Without it that is our own limit.
    pub most: u64,
}

/// What an offer of phase 1 without seconds is taken for: RFC 2409 has no default.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum AbsentLifetime {
    /// The shorter of our own limit and 28,800 seconds.
    #[default]
    Shorter,
    /// Our own limit.
    LocalDefault,
    /// 28,800 seconds, as in phase 2.
    Seconds28800,
    /// No end, or the most that is taken.
    Infinite,
    /// Nothing to talk about.
    Reject,
}
