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

macro_rules! display {
    ($($type:ident)*) => {$(
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}

display!(IkeSaId ChildSaId PolicyId);
