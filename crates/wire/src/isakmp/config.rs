//! Attribute payload, draft-ietf-ipsec-isakmp-mode-cfg-05 §3.2: Mode-Config and XAUTH.

use super::{Attributes, IsakmpError};
use crate::{Reader, WireError, Writer, iana::isakmp::ConfigurationType};

/// Attribute payload body.
///
/// ```text
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |     Type      |   RESERVED    |           Identifier          |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ~                           Attributes                          ~
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Configuration<'a> {
    /// What is to be done with the attributes.
    pub kind: ConfigurationType,
    /// Names the transaction; an answer repeats it.
    pub identifier: u16,
    /// What is asked for, given or acknowledged.
    pub attributes: Attributes<'a>,
}

impl<'a> Configuration<'a> {
    /// Reads one body; `r` holds exactly the payload without its generic header.
    ///
    /// # Errors
    ///
    /// PAYLOAD-MALFORMED if it is cut short, RESERVED is not zero, or the attributes are none.
    pub fn read(r: &mut Reader<'a>) -> Result<Self, IsakmpError> {
        let kind = ConfigurationType(r.u8()?);
        let reserved = r.u8()?;
        if reserved != 0 {
            return Err(WireError::BadValue("ATTR.reserved", reserved.into()).into());
        }
        let identifier = r.u16()?;
        Ok(Self { kind, identifier, attributes: Attributes::read(r)? })
    }

    /// Appends the body; the exact inverse of [`Self::read`].
    pub fn write(&self, w: &mut Writer<'_>) {
        w.u8(self.kind.0);
        w.u8(0);
        w.u16(self.identifier);
        self.attributes.write(w);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        iana::isakmp::{NotifyType, PayloadType},
        isakmp::{
            Payload,
            testing::{fixed, notify},
        },
    };

    /// CHECKLIST W03: a request for an address has the attribute with no value.
    #[test]
    fn a_known_body_is_read_and_written() {
        let body = [1, 0, 0x12, 0x34, 0, 1, 0, 0];
        let Payload::Configuration(read) = fixed(PayloadType::ATTRIBUTES, &body) else {
            panic!("attributes");
        };
        assert_eq!((read.kind, read.identifier), (ConfigurationType::REQUEST, 0x1234));
        assert_eq!(read.attributes.iter().count(), 1);
        for (at, value) in [(1, 1), (7, 1)] {
            let mut wrong = body;
            wrong[at] = value;
            let refused = notify(PayloadType::ATTRIBUTES, &wrong);
            assert_eq!(refused, NotifyType::PAYLOAD_MALFORMED);
        }
    }
}
