//! IKE SAs that begin without a child (RFC 6023), in the words of swanctl.conf.

/// Whether an IKE SA may begin without a child.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Childless {
    /// A peer may begin without; we ask for a child at once.
    #[default]
    Allow,
    /// We begin without if the peer takes that.
    Prefer,
    /// Both of us begin without, or there is no IKE SA.
    Force,
    /// Nobody begins without.
    Never,
}

impl Childless {
    /// Every value with its word.
    pub const WORDS: &[(&str, Self)] = &[
        ("allow", Self::Allow),
        ("prefer", Self::Prefer),
        ("force", Self::Force),
        ("never", Self::Never),
    ];

    /// Whether we begin without a child if the peer takes that.
    pub fn is_wanted(self) -> bool {
        matches!(self, Self::Prefer | Self::Force)
    }
}
