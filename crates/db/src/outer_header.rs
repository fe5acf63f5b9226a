//! What the outer header of tunnel mode takes over from the inner one: RFC 4301 §5.1.2 and §8.1.

use std::fmt;

/// Where the DSCP of the outer header comes from (RFC 4301 §5.1.2.1, note 6). The inner DSCP is
/// never changed by decapsulation.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum DscpPolicy {
    /// Copied from the inner header.
    #[default]
    Copy,
    /// This value for every packet; six bits.
    Set(Dscp),
}

/// How the ingress of the tunnel treats the ECN field (RFC 6040 §4.1).
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum EcnPolicy {
    /// Copied to the outer header, so that congestion inside the tunnel is signalled end to end.
    #[default]
    Normal,
    /// Cleared in the outer header, for a peer whose egress does not understand ECN.
    Compatibility,
}

/// Where the DF bit of an outer IPv4 header comes from (RFC 4301 §8.1).
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum DfPolicy {
    /// Routers may cut the outer packet, whatever the inner one says.
    #[default]
    Clear,
    /// As the inner header has it. No router cuts an IPv6 packet, so that one counts as set.
    Copy,
    /// Nobody may cut the outer packet.
    Set,
}

impl DfPolicy {
    /// The outer bit for an inner one; `None` for an inner IPv6 packet, which has none.
    pub const fn outer(self, inner: Option<bool>) -> bool {
        match (self, inner) {
            (Self::Clear, _) => false,
            (Self::Copy, Some(inner)) => inner,
            (Self::Copy, None) | (Self::Set, _) => true,
        }
    }
}

/// A differentiated services code point: six bits (RFC 2474 §3).
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Dscp(u8);

impl Dscp {
    /// How many there are.
    pub const COUNT: usize = 64;

    /// A code point; `None` above 63.
    pub const fn new(value: u8) -> Option<Self> {
        if value < 64 { Some(Self(value)) } else { None }
    }

    /// The code point of a traffic class, whose lower two bits are ECN (RFC 3168 §5).
    pub const fn from_traffic_class(class: u8) -> Self {
        Self(class >> 2)
    }

    /// The six bits as a number.
    pub const fn get(self) -> u8 {
        self.0
    }

    /// The code point that IANA's registry gives this name.
    pub fn named(name: &str) -> Option<Self> {
        let found = NAMES.iter().find(|(word, _)| *word == name);
        found.map(|(_, value)| Self(*value))
    }

    /// All names.
    pub fn names() -> impl Iterator<Item = &'static str> {
        NAMES.iter().map(|(word, _)| *word)
    }
}

/// The name if it has one, else the number.
impl fmt::Display for Dscp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMES.iter().find(|(_, value)| *value == self.0) {
            Some((name, _)) => f.write_str(name),
            None => self.0.fmt(f),
        }
    }
}

/// RFC 2474 §4.2.2, RFC 2597 §6, RFC 3246 §2.8, RFC 5865 §4, RFC 8622 §4.
const NAMES: &[(&str, u8)] = &[
    ("cs0", 0),
    ("cs1", 8),
    ("cs2", 16),
    ("cs3", 24),
    ("cs4", 32),
    ("cs5", 40),
    ("cs6", 48),
    ("cs7", 56),
    ("af11", 10),
    ("af12", 12),
    ("af13", 14),
    ("af21", 18),
    ("af22", 20),
    ("af23", 22),
    ("af31", 26),
    ("af32", 28),
    ("af33", 30),
    ("af41", 34),
    ("af42", 36),
    ("af43", 38),
    ("ef", 46),
    ("va", 44),
    ("le", 1),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_points_have_their_names() {
        assert_eq!(Dscp::named("ef").map(Dscp::get), Some(46));
        assert_eq!(Dscp::named("af43").map(Dscp::get), Some(38));
        assert_eq!(Dscp::named("af44"), None);
        assert_eq!(Dscp::new(64), None);
        assert_eq!(Dscp::from_traffic_class(0xb9).to_string(), "ef");
        assert_eq!(Dscp::new(2).unwrap().to_string(), "2");
        for name in Dscp::names() {
            assert_eq!(Dscp::named(name).unwrap().to_string(), name);
        }
    }

    /// CHECKLIST S17; RFC 4301 §8.1.
    #[test]
    fn the_df_bit_is_set_cleared_or_copied() {
        let outer = |policy: DfPolicy| [Some(false), Some(true), None].map(|df| policy.outer(df));
        assert_eq!(outer(DfPolicy::Clear), [false, false, false]);
        assert_eq!(outer(DfPolicy::Copy), [false, true, true]);
        assert_eq!(outer(DfPolicy::Set), [true, true, true]);
    }
}
