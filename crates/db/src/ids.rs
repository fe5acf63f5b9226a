//! Numbers that name things inside one process.
//!
//! None of them reaches the wire: they are handed out in order, so that the same seed gives the
//! same numbers.

use std::fmt;

/// One IKE SA, from the first message to the last; unique in the process.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct IkeSaId(pub u32);

/// One child SA (a pair of ESP SAs); unique in the process.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ChildSaId(pub u32);

/// One (connection, child) pair of the configuration, as [`crate::spd::PolicyTable`] numbers them.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct PolicyId(pub u32);

/// One table of policies: those of the packets that come by one interface of the protected side
/// (RFC 4301 §4.4.1).
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct TableId(pub u16);

impl TableId {
    /// That of the interface that is there without anybody asking for it.
    pub const DEFAULT: Self = Self(0);
}

macro_rules! display {
    ($($type:ident)*) => {$(
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}

display!(IkeSaId ChildSaId PolicyId TableId);
