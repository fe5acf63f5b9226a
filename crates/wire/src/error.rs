//! Why octets are not the value they should be.

/// What is wrong with some octets, or with a value that does not fit its format.
///
/// The names inside are the format's own: `"Delete.spi_size"` is the field, `"Delete"` the whole
/// structure. They are for logs; a program branches on the variant.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// The input ends inside the named structure.
    #[error("{0} is cut short")]
    Truncated(&'static str),
    /// The named field holds a value the format forbids.
    #[error("{0} may not be {1}")]
    BadValue(&'static str, u64),
    /// More of the named things than this implementation takes.
    #[error("too many of {0}")]
    TooMany(&'static str),
    /// Octets remain after the end of the named structure.
    #[error("octets left over after {0}")]
    Trailing(&'static str),
    /// The named structure is longer than its length field can say.
    #[error("{0} is too long for its length field")]
    TooLong(&'static str),
}

impl WireError {
    /// The name a [`Reader`](crate::Reader) uses, which does not know what it reads.
    pub(crate) const UNNAMED: &'static str = "input";

    /// Names the structure, if the error does not name one yet.
    #[must_use]
    pub fn within(self, name: &'static str) -> Self {
        match self {
            Self::Truncated(Self::UNNAMED) => Self::Truncated(name),
            Self::Trailing(Self::UNNAMED) => Self::Trailing(name),
            Self::Truncated(_)
            | Self::BadValue(..)
            | Self::TooMany(_)
            | Self::Trailing(_)
            | Self::TooLong(_) => self,
        }
    }
}
