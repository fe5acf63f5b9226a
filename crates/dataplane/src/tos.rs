//! The traffic class of the outer header: DSCP by RFC 4301 §5.1.2, ECN by RFC 6040.

use adit_db::{DscpPolicy, EcnPolicy};
use adit_wire::ip::Ecn;

/// How an outbound SA makes outer traffic classes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct TosRule {
    dscp: DscpPolicy,
    ecn: EcnPolicy,
}

impl TosRule {
    pub(crate) const fn new(dscp: DscpPolicy, ecn: EcnPolicy) -> Self {
        Self { dscp, ecn }
    }

    /// The outer traffic class of an inner one (RFC 4301 §5.1.2.1; RFC 6040 §4.1, figure 3).
    pub(crate) const fn outer(self, inner: u8) -> u8 {
        let dscp = match self.dscp {
            DscpPolicy::Copy => inner,
            DscpPolicy::Set(dscp) => dscp.get() << 2,
        };
        let ecn = match self.ecn {
            EcnPolicy::Normal => Ecn::from_traffic_class(inner).outer(),
            EcnPolicy::Compatibility => Ecn::NotEct,
        };
        ecn.in_traffic_class(dscp)
    }
}

/// Whether no working path makes this combination; RFC 6040 §4.2 marks it `!!!` in figure 4 and
/// asks that it be logged. The one that must be dropped is left out.
pub(crate) const fn is_suspicious(inner: Ecn, outer: Ecn) -> bool {
    matches!((inner, outer), (Ecn::NotEct, Ecn::Ect0 | Ecn::Ect1) | (Ecn::Ce, Ecn::Ect1))
}

#[cfg(test)]
mod tests {
    use adit_db::Dscp;

    use super::*;

    const ALL: [Ecn; 4] = [Ecn::NotEct, Ecn::Ect0, Ecn::Ect1, Ecn::Ce];

    /// CHECKLIST PM-40, R09: figure 3 of RFC 6040, both modes, and DSCP copied or set.
    #[test]
    fn ingress_copies_or_clears() {
        let set = DscpPolicy::Set(Dscp::new(10).unwrap());
        for ecn in ALL {
            let inner = 46 << 2 | ecn.bits();
            let outer = |dscp, policy| TosRule::new(dscp, policy).outer(inner);
            assert_eq!(outer(DscpPolicy::Copy, EcnPolicy::Normal), inner);
            assert_eq!(outer(set, EcnPolicy::Normal), 10 << 2 | ecn.bits());
            assert_eq!(outer(DscpPolicy::Copy, EcnPolicy::Compatibility), 46 << 2);
            assert_eq!(outer(set, EcnPolicy::Compatibility), 10 << 2);
        }
    }

    #[test]
    fn three_combinations_are_suspicious() {
        let pairs = ALL.iter().flat_map(|inner| ALL.map(|outer| (*inner, outer)));
        let suspicious: Vec<_> =
            pairs.filter(|(inner, outer)| is_suspicious(*inner, *outer)).collect();
        assert_eq!(
            suspicious,
            [(Ecn::NotEct, Ecn::Ect0), (Ecn::NotEct, Ecn::Ect1), (Ecn::Ce, Ecn::Ect1)]
        );
    }
}
