//! Lifetimes in all their forms: RFC 2407 §4.5 and §4.6.3.1, RFC 2409 appendix A,
//! draft-ietf-ipsec-ike-lifetime-00.

use super::{not_supported, put};
use crate::{
    Reader,
    iana::doi::{LifeType, Phase1Class, Phase2Class},
    isakmp::{Attribute, AttributeList, AttributeValue, Attributes, IsakmpError},
};

/// How long an SA lives, as far as somebody has said it. What comes first ends it.
///
/// Durations are as they came: what to do with one that is zero or too large is a matter of policy.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct Lifetimes {
    /// Seconds from its beginning; `u64::MAX` if the number did not fit.
    pub seconds: Option<u64>,
    /// Kilobytes protected, of 1024 octets; `u64::MAX` if the number did not fit.
    pub kilobytes: Option<u64>,
}

impl Lifetimes {
    /// So many seconds.
    #[must_use]
    pub const fn of_seconds(seconds: u64) -> Self {
        Self { seconds: Some(seconds), kilobytes: None }
    }

    /// Reads the data of a RESPONDER-LIFETIME notify.
    ///
    /// For phase 2 these are the classes of the DOI. For phase 1 nothing says which classes are
    /// meant: deployed code sends those of the DOI, too, and some the classes of phase 1, so both are
    /// understood wherever they come. Attributes of other classes are skipped.
    ///
    /// # Errors
    ///
    /// PAYLOAD-MALFORMED if the data are no attributes; ATTRIBUTES-NOT-SUPPORTED for a duration
    /// without type or a type without duration, one type twice, an unknown type, a duration without
    /// octets.
    pub fn read_responder_lifetime(data: &[u8]) -> Result<Self, IsakmpError> {
        let attributes = Attributes::read(&mut Reader(data))?;
        let mut lifetimes = LifetimeReader::default();
        for attribute in attributes.iter() {
            match attribute.class {
                class if is_type(class) => lifetimes.take_type(attribute)?,
                class if is_duration(class) => lifetimes.take_duration(attribute.value)?,
                _ => {}
            }
        }
        lifetimes.finish()
    }

    /// The data of a RESPONDER-LIFETIME notify, with the classes of the DOI in both phases: these all
    /// peers understand.
    #[must_use]
    pub fn responder_lifetime(self) -> Attributes<'static> {
        self.append_phase2(AttributeList::new()).finish()
    }

    pub(super) fn append_phase1(self, list: AttributeList) -> AttributeList {
        self.append(list, Phase1Class::LIFE_TYPE.0, Phase1Class::LIFE_DURATION.0)
    }

    pub(super) fn append_phase2(self, list: AttributeList) -> AttributeList {
        self.append(list, Phase2Class::SA_LIFE_TYPE.0, Phase2Class::SA_LIFE_DURATION.0)
    }

    fn append(self, list: AttributeList, kind: u16, duration: u16) -> AttributeList {
        let both = [(LifeType::SECONDS, self.seconds), (LifeType::KILOBYTES, self.kilobytes)];
        both.into_iter().fold(list, |list, (life_type, value)| match value {
            Some(value) => list.basic(kind, life_type.0).number(duration, value),
            None => list,
        })
    }
}

fn is_type(class: u16) -> bool {
    class == Phase2Class::SA_LIFE_TYPE.0 || class == Phase1Class::LIFE_TYPE.0
}

fn is_duration(class: u16) -> bool {
    class == Phase2Class::SA_LIFE_DURATION.0 || class == Phase1Class::LIFE_DURATION.0
}

/// Collects pairs of a type and the duration that follows it.
#[derive(Debug, Default)]
pub(super) struct LifetimeReader {
    lifetimes: Lifetimes,
    /// The type whose duration has not come.
    pending: Option<LifeType>,
}

impl LifetimeReader {
    pub(super) fn take_type(&mut self, attribute: Attribute<'_>) -> Result<(), IsakmpError> {
        let life_type = LifeType(super::basic(attribute, "Life Type")?);
        if !matches!(life_type, LifeType::SECONDS | LifeType::KILOBYTES) {
            return Err(not_supported("Life Type", life_type.0.into()));
        }
        match self.pending.replace(life_type) {
            None => Ok(()),
            Some(before) => Err(not_supported("Life Type without duration", before.0.into())),
        }
    }

    pub(super) fn take_duration(&mut self, value: AttributeValue<'_>) -> Result<(), IsakmpError> {
        // RFC 2407 §4.5: a duration must follow its type.
        let Some(life_type) = self.pending.take() else {
            return Err(not_supported("Life Duration without type", 0));
        };
        let duration = value.number().ok_or_else(|| not_supported("Life Duration", 0))?;
        let place = match life_type {
            LifeType::SECONDS => &mut self.lifetimes.seconds,
            _ => &mut self.lifetimes.kilobytes,
        };
        put(place, duration, "Life Type")
    }

    pub(super) fn finish(self) -> Result<Lifetimes, IsakmpError> {
        match self.pending {
            None => Ok(self.lifetimes),
            Some(life_type) => Err(not_supported("Life Type without duration", life_type.0.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::iana::isakmp::NotifyType;

    fn read(data: &[u8]) -> Result<Lifetimes, NotifyType> {
        Lifetimes::read_responder_lifetime(data).map_err(|error| error.notify)
    }

    /// CHECKLIST U13: every form of RESPONDER-LIFETIME seen in the wild says the same.
    #[test]
    fn the_classes_of_both_phases_and_all_lengths_are_read() {
        let an_hour = Ok(Lifetimes::of_seconds(3600));
        assert_eq!(read(&[0x80, 1, 0, 1, 0x80, 2, 0x0e, 0x10]), an_hour);
        assert_eq!(read(&[0x80, 11, 0, 1, 0x80, 12, 0x0e, 0x10]), an_hour);
        assert_eq!(read(&[0x80, 1, 0, 1, 0, 2, 0, 4, 0, 0, 0x0e, 0x10]), an_hour);
        assert_eq!(read(&[0x80, 11, 0, 1, 0, 12, 0, 2, 0x0e, 0x10]), an_hour);
        let eight = [0x80, 1, 0, 1, 0, 2, 0, 8, 0, 0, 0, 0, 0, 0, 0x0e, 0x10];
        assert_eq!(read(&eight), an_hour);
        assert_eq!(read(&[0x80, 3, 0, 5, 0x80, 1, 0, 1, 0x80, 2, 0x0e, 0x10]), an_hour);
        assert_eq!(read(&[]), Ok(Lifetimes::default()));
    }

    #[test]
    fn contradictions_are_not_supported() {
        let refused = Err(NotifyType::ATTRIBUTES_NOT_SUPPORTED);
        assert_eq!(read(&[0x80, 2, 0x0e, 0x10]), refused);
        assert_eq!(read(&[0x80, 1, 0, 1]), refused);
        assert_eq!(read(&[0x80, 1, 0, 1, 0x80, 1, 0, 2, 0x80, 2, 0, 9]), refused);
        assert_eq!(read(&[0x80, 1, 0, 3, 0x80, 2, 0, 9]), refused);
        assert_eq!(read(&[0x80, 1, 0, 1, 0, 2, 0, 0]), refused);
        let twice = [0x80, 1, 0, 1, 0x80, 2, 0, 9, 0x80, 1, 0, 1, 0x80, 2, 0, 8];
        assert_eq!(read(&twice), refused);
        assert_eq!(read(&[0, 1, 0, 2, 0, 1, 0x80, 2, 0, 9]), refused);
        assert_eq!(read(&[0x80, 1, 0]), Err(NotifyType::PAYLOAD_MALFORMED));
    }

    #[test]
    fn what_is_written_is_read() {
        for seconds in [None, Some(0), Some(65_535), Some(65_536), Some(u64::MAX)] {
            for kilobytes in [None, Some(1), Some(1 << 40)] {
                let lifetimes = Lifetimes { seconds, kilobytes };
                assert_eq!(read(lifetimes.responder_lifetime().as_bytes()), Ok(lifetimes));
            }
        }
    }
}
