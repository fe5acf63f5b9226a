//! RESPONDER-LIFETIME (RFC 2407 §4.6.3.1, draft-ietf-ipsec-ike-lifetime-00): in which forms it is heard,
//! and what an initiator makes of it.

use super::{Bounds, Classes, Limit, Limits, Offer, Origin, Phase, Policy};

/// The notify as it came, without its data.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ResponderLifetime<'a> {
    /// Its DOI: 1 is IPsec, 0 is ISAKMP alone.
    pub doi: u32,
    /// Its protocol: 1 is ISAKMP, 2 is AH, 3 is ESP, 4 is IPComp.
    pub protocol: u8,
    /// Its SPI: cookies, an SPI, or nothing.
    pub spi: &'a [u8],
    /// Whether it came under the protection of the ISAKMP SA.
    pub protected: bool,
}

/// The SA that it may be about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Family<'a> {
    /// The ISAKMP SA that protects the message, with these cookies, the initiator's first.
    Isakmp {
        /// CKY-I and CKY-R.
        cookies: &'a [u8; 16],
    },
    /// An IPsec SA.
    Ipsec {
        /// Its protocol.
        protocol: u8,
        /// The SPI of the sender's inbound SA.
        spi: &'a [u8],
        /// The cookies of the ISAKMP SA that protects the message.
        cookies: &'a [u8; 16],
    },
}

/// What the attributes of a notify say, where it is about our SA.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Heard {
    /// A limit, in one unit or both.
    Says(Offer),
    /// Nothing that could be meant.
    Malformed,
}

/// What is done about the notified value in one unit.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Heed {
    /// Nothing was said of this unit.
    Unsaid,
    /// It is what we have, or more: our end comes first, or at once with the other.
    Ignored,
    /// It is less, and reasonable: it is ours from now on.
    Adopted,
    /// It is no life. What was negotiated stays, and the SA is renewed at this amount.
    Early(u64),
}

/// What an initiator does.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Reception {
    /// Where the SA ends from now on, for this end.
    pub limits: Limits,
    /// What became of the seconds.
    pub seconds: Heed,
    /// What became of the kilobytes.
    pub kilobytes: Heed,
    /// It is strict, and the value cannot be: the SA is deleted, by DELETE, and the operator told.
    pub delete: bool,
}

impl ResponderLifetime<'_> {
    /// Whether it is about that SA. Deployed peers say DOI 1 of phase 1, too, and leave the SPI out.
    ///
    /// One that nobody has authenticated is about no SA.
    pub fn is_about(&self, sa: Family<'_>) -> bool {
        if !self.protected || self.doi > 1 {
            return false;
        }
        match sa {
            Family::Isakmp { cookies } => {
                self.protocol == PROTO_ISAKMP && (self.spi.is_empty() || self.spi == cookies)
            }
            Family::Ipsec { protocol, spi, cookies } => {
                // The DOI allows the cookies in place of the SPI.
                let is_named = !self.spi.is_empty() && (self.spi == spi || self.spi == cookies);
                self.doi == 1 && self.protocol == protocol && is_named
            }
        }
    }

    /// Reads its attributes: class and value. Those of a notify are classes 1 and 2; about an ISAKMP SA
    /// classes 11 and 12 are taken as well.
    pub fn read(attributes: &[(u16, u64)], phase: Phase) -> Heard {
        let ike = match phase {
            Phase::One => Offer::read(attributes, Classes::Ike),
            Phase::Two => Ok(Offer::NONE),
        };
        let (Ok(ipsec), Ok(ike)) = (Offer::read(attributes, Classes::Ipsec), ike) else {
            return Heard::Malformed;
        };
        match (ipsec, ike) {
            (Offer::NONE, Offer::NONE) => Heard::Malformed,
            (said, Offer::NONE) | (Offer::NONE, said) => Heard::Says(said),
            (one, other) if one == other => Heard::Says(one),
            _ => Heard::Malformed,
        }
    }
}

/// Protocol number of ISAKMP.
const PROTO_ISAKMP: u8 = 1;

/// What an initiator that has `current` makes of what it heard about that SA.
///
/// Less is adopted, more is ignored. What is below the floor cannot be accepted, and the peer means to
/// end the SA then: it is renewed early, and nothing is torn down unless the policy is strict.
pub fn receive(heard: Heard, current: &Limits, policy: &Policy) -> Reception {
    let offer = match heard {
        Heard::Says(offer) => offer,
        // As soon as anything else that is no life.
        Heard::Malformed => Offer::of_seconds(0),
    };
    let mut limits = current.clone();
    let seconds = heed(offer.seconds, &mut limits.seconds, &policy.seconds);
    let kilobytes = heed(offer.kilobytes, &mut limits.kilobytes, &policy.kilobytes);
    let is_early = [seconds, kilobytes].iter().any(|heed| matches!(heed, Heed::Early(_)));
    Reception { limits, seconds, kilobytes, delete: is_early && policy.strict }
}

fn heed(notified: Option<u64>, limit: &mut Option<Limit>, bounds: &Bounds) -> Heed {
    let Some(notified) = notified else { return Heed::Unsaid };
    if notified < bounds.floor {
        return Heed::Early((notified / 2).max(bounds.floor / 2));
    }
    if limit.as_ref().is_some_and(|limit| notified >= limit.amount) {
        return Heed::Ignored;
    }
    *limit = Some(Limit::new(notified, Origin::Notified));
    Heed::Adopted
}
