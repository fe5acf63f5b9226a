//! What a list of attributes says of a lifetime: RFC 2407 §4.5 and RFC 2409 appendix A.

/// Seconds and kilobytes that a peer names; `None` is unsaid.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Offer {
    /// Seconds.
    pub seconds: Option<u64>,
    /// Kilobytes.
    pub kilobytes: Option<u64>,
}

/// The attribute classes of a life type and of the duration that follows it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Classes {
    /// 1 and 2, of the IPsec DOI: transforms of phase 2, and RESPONDER-LIFETIME.
    Ipsec,
    /// 11 and 12, of IKE: transforms of phase 1.
    Ike,
}

/// A list that cannot be meant: ATTRIBUTES-NOT-SUPPORTED (13), or an attribute that is not there.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Contradiction {
    /// A duration without the type before it that says its unit.
    #[error("a life duration without a life type before it")]
    DurationAlone,
    /// A type, and no duration behind it.
    #[error("a life type without a life duration behind it")]
    TypeAlone,
    /// A type that is neither seconds nor kilobytes.
    #[error("life type {0}, where 1 is seconds and 2 is kilobytes")]
    Type(u64),
    /// Two values in one unit.
    #[error("two life durations in one unit, which are not the same")]
    Twice,
}

impl Classes {
    /// Numbers of the type and of the duration.
    pub const fn numbers(self) -> (u16, u16) {
        match self {
            Self::Ipsec => (1, 2),
            Self::Ike => (11, 12),
        }
    }
}

impl Offer {
    /// Nothing said.
    pub const NONE: Self = Self { seconds: None, kilobytes: None };

    /// So many seconds.
    pub const fn of_seconds(seconds: u64) -> Self {
        Self { seconds: Some(seconds), kilobytes: None }
    }

    /// So many kilobytes.
    pub const fn of_kilobytes(kilobytes: u64) -> Self {
        Self { seconds: None, kilobytes: Some(kilobytes) }
    }

    /// Reads a list of attributes: class and value in the order of the message. Other classes are passed
    /// over, but none may stand between a type and its duration.
    ///
    /// # Errors
    ///
    /// [`Contradiction`]; the same value twice is none.
    pub fn read(attributes: &[(u16, u64)], classes: Classes) -> Result<Self, Contradiction> {
        let (class_of_type, class_of_duration) = classes.numbers();
        let mut offer = Self::NONE;
        let mut unit = None;
        for (class, value) in attributes {
            let pending = unit.take();
            if *class == class_of_type {
                if pending.is_some() {
                    return Err(Contradiction::TypeAlone);
                }
                unit = Some(*value);
            } else if *class == class_of_duration {
                let unit = pending.ok_or(Contradiction::DurationAlone)?;
                offer.put(unit, *value)?;
            } else if pending.is_some() {
                return Err(Contradiction::TypeAlone);
            }
        }
        match unit {
            Some(_) => Err(Contradiction::TypeAlone),
            None => Ok(offer),
        }
    }

    fn put(&mut self, unit: u64, value: u64) -> Result<(), Contradiction> {
        let slot = match unit {
            SECONDS => &mut self.seconds,
            KILOBYTES => &mut self.kilobytes,
            other => return Err(Contradiction::Type(other)),
        };
        if slot.is_some_and(|before| before != value) {
            return Err(Contradiction::Twice);
        }
        *slot = Some(value);
        Ok(())
    }
}

/// Life type of seconds.
const SECONDS: u64 = 1;

/// Life type of kilobytes.
const KILOBYTES: u64 = 2;

/// The number in a variable-length attribute, of whatever length; what is above 64 bits counts as the
/// most there is, which every policy bounds. `None` if there is no octet.
pub fn duration(octets: &[u8]) -> Option<u64> {
    let low = octets.get(octets.len().saturating_sub(8)..)?;
    let high = octets.get(..octets.len().saturating_sub(8))?;
    if low.is_empty() {
        return None;
    }
    if high.iter().any(|octet| *octet != 0) {
        return Some(u64::MAX);
    }
    Some(low.iter().fold(0, |number, octet| number << 8 | u64::from(*octet)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Specification 2 §2.1: a value of 1, 4 or 8 octets, and longer ones, which say no more.
    #[test]
    fn durations_of_any_length_are_numbers() {
        assert_eq!(duration(&[]), None);
        assert_eq!(duration(&[90]), Some(90));
        assert_eq!(duration(&[0, 1, 0x51, 0x80]), Some(86_400));
        assert_eq!(duration(&[0, 0, 0, 0, 0, 1, 0x51, 0x80]), Some(86_400));
        assert_eq!(duration(&[0, 0, 0, 0, 0, 0, 0, 0, 1]), Some(1));
        assert_eq!(duration(&[1, 0, 0, 0, 0, 0, 0, 0, 0]), Some(u64::MAX));
        assert_eq!(duration(&[0xff; 300]), Some(u64::MAX));
    }

    #[test]
    fn a_duration_follows_its_type() {
        let ike = |attributes: &[(u16, u64)]| Offer::read(attributes, Classes::Ike);
        let both = Offer { seconds: Some(3_600), kilobytes: Some(5_000) };
        assert_eq!(ike(&[(1, 7), (11, 1), (12, 3_600), (11, 2), (12, 5_000)]), Ok(both));
        assert_eq!(ike(&[(1, 1), (2, 3_600)]), Ok(Offer::NONE), "cipher and hash");
        assert_eq!(
            Offer::read(&[(1, 1), (2, 3_600)], Classes::Ipsec),
            Ok(Offer::of_seconds(3_600))
        );
        assert_eq!(ike(&[(12, 3_600)]), Err(Contradiction::DurationAlone));
        assert_eq!(ike(&[(11, 1)]), Err(Contradiction::TypeAlone));
        assert_eq!(ike(&[(11, 1), (4, 2), (12, 3_600)]), Err(Contradiction::TypeAlone));
        assert_eq!(ike(&[(11, 1), (11, 1), (12, 3_600)]), Err(Contradiction::TypeAlone));
        assert_eq!(ike(&[(11, 3), (12, 3_600)]), Err(Contradiction::Type(3)));
        let twice = |second| ike(&[(11, 1), (12, 3_600), (11, 1), (12, second)]);
        assert_eq!(twice(3_600), Ok(Offer::of_seconds(3_600)));
        assert_eq!(twice(60), Err(Contradiction::Twice));
    }
}
