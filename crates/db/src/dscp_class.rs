//! Several SAs for the same traffic, told apart by the DSCP of its packets: RFC 4301 §4.1.

use std::fmt;

use crate::names::ChildName;
use crate::outer_header::Dscp;

/// A child with the selectors of another, which it relieves of some code points.
///
//= https://www.rfc-editor.org/rfc/rfc4301#section-4.1
//# If different classes of traffic (distinguished by Differentiated
//# Services Code Point (DSCP) bits [NiBlBaBL98], [Gro02]) are sent on
//# the same SA, and if the receiver is employing the optional
//# anti-replay feature available in both AH and ESP, this could result
//# in inappropriate discarding of lower priority packets due to the
//# windowing mechanism used by this feature.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DscpClass {
    /// The child of the same connection that carries what is in no class.
    pub of: ChildName,
    /// What goes through this one instead. No code point is in two classes of a child.
    pub code_points: DscpSet,
}

/// Code points.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct DscpSet(u64);

impl DscpSet {
    /// Adds one; `false` if it was there.
    pub fn insert(&mut self, dscp: Dscp) -> bool {
        let bit = 1_u64 << dscp.get();
        let is_new = self.0 & bit == 0;
        self.0 |= bit;
        is_new
    }

    /// Whether it is there.
    pub const fn contains(self, dscp: Dscp) -> bool {
        self.0 >> dscp.get() & 1 == 1
    }

    /// All of them, the lowest first.
    pub fn iter(self) -> impl Iterator<Item = Dscp> {
        (0..64).filter_map(Dscp::new).filter(move |dscp| self.contains(*dscp))
    }
}

/// `af41, ef`.
impl fmt::Display for DscpSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, dscp) in self.iter().enumerate() {
            let comma = if place > 0 { ", " } else { "" };
            write!(f, "{comma}{dscp}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_has_each_code_point_once() {
        let mut set = DscpSet::default();
        for name in ["ef", "af41", "cs0"] {
            assert!(set.insert(Dscp::named(name).unwrap()));
        }
        assert!(!set.insert(Dscp::named("ef").unwrap()));
        assert!(set.insert(Dscp::new(63).unwrap()));
        assert_eq!(set.to_string(), "cs0, af41, ef, 63");
        assert!(!set.contains(Dscp::named("af42").unwrap()));
    }
}
