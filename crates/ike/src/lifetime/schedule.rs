//! When an SA is renewed, given where it ends: so that both ends do not begin at once, and the one that
//! does not begin first still begins in time (draft-jenkins-ipsec-rekeying §2).
//!
//! That is for IKEv1, whose ends have agreed on one limit. In IKEv2 each has limits of its own, which
//! are lowered at random within what the operator allows (`adit_db::LimitSpec`, as strongSwan does), and
//! exchanges that cross are resolved (RFC 7296 §2.8.1).

use std::net::IpAddr;

/// Which end begins to renew first.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Rank {
    /// The end with the lower address, at 85 of 100.
    Lower,
    /// The end with the higher address, at 95 of 100.
    Higher,
}

impl Rank {
    /// The rank of this end. Ends with one address have one rank: somebody tests on one host.
    pub fn of(local: IpAddr, remote: IpAddr) -> Self {
        match local > remote {
            true => Self::Higher,
            false => Self::Lower,
        }
    }

    /// Of a hundred.
    const fn percent(self) -> u64 {
        match self {
            Self::Lower => 85,
            Self::Higher => 95,
        }
    }
}

/// Where an SA is renewed that ends at `hard`, in the same unit: before that, and not at once, unless it
/// ends at once.
pub fn soft(hard: u64, rank: Rank) -> u64 {
    let hundredth = hard / 100;
    let rest = hard % 100;
    let part = hundredth.saturating_mul(rank.percent()) + rest * rank.percent() / 100;
    part.max(1).min(hard.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_higher_address_waits_longer() {
        assert_eq!((soft(3_600, Rank::Lower), soft(3_600, Rank::Higher)), (3_060, 3_420));
        assert_eq!((soft(1, Rank::Higher), soft(0, Rank::Higher)), (0, 0));
        let [low, high] = ["192.0.2.9", "192.0.2.10"].map(|text| text.parse().unwrap());
        assert_eq!((Rank::of(low, high), Rank::of(high, low)), (Rank::Lower, Rank::Higher));
        assert_eq!(Rank::of(low, low), Rank::Lower);
    }

    proptest! {
        /// Whatever the limit is, it is renewed before, by one end before the other.
        #[test]
        fn renewed_before_the_end(hard in 2_u64..) {
            let (lower, higher) = (soft(hard, Rank::Lower), soft(hard, Rank::Higher));
            prop_assert!(lower >= 1 && lower <= higher && higher < hard);
            prop_assert!(hard < 20 || lower < higher);
        }
    }
}
