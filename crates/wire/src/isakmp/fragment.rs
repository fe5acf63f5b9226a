//! Fragment payload of the vendors' IKE fragmentation: Cisco's and Microsoft's \[MS-IKEE\] §2.2.3.1.

use super::IsakmpError;
use crate::{Reader, WireError, Writer};

/// Fragment payload body: a piece of a whole message, alone behind a header of its own.
///
/// ```text
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |          Fragment ID          | Fragment Num. |     Flags     |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ~                         Fragment Data                         ~
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ```
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Fragment<'a> {
    /// The message it belongs to.
    pub id: u16,
    /// Its place in it, from 1.
    pub number: u8,
    /// Whether it is the last one.
    pub last: bool,
    /// The piece, never empty; the first begins with the header of the whole message.
    pub data: &'a [u8],
}

impl<'a> Fragment<'a> {
    /// Reads one body; `r` holds exactly the payload without its generic header.
    ///
    /// # Errors
    ///
    /// PAYLOAD-MALFORMED if it is cut short or empty, its number is 0, or a flag is set that has no
    /// meaning.
    pub fn read(r: &mut Reader<'a>) -> Result<Self, IsakmpError> {
        let id = r.u16()?;
        let number = r.u8()?;
        let flags = r.u8()?;
        if number == 0 {
            return Err(WireError::BadValue("FRAGMENT.number", 0).into());
        }
        if flags & !LAST != 0 {
            return Err(WireError::BadValue("FRAGMENT.flags", flags.into()).into());
        }
        if r.is_empty() {
            return Err(WireError::Truncated("FRAGMENT.data").into());
        }
        Ok(Self { id, number, last: flags & LAST != 0, data: r.rest() })
    }

    /// Appends the body; the exact inverse of [`Self::read`].
    pub fn write(&self, w: &mut Writer<'_>) {
        w.u16(self.id);
        w.u8(self.number);
        w.u8(if self.last { LAST } else { 0 });
        w.bytes(self.data);
    }
}

const LAST: u8 = 0x01;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        iana::isakmp::{NotifyType, PayloadType},
        isakmp::{
            Payload,
            testing::{fixed, notify, prefixes_fail},
        },
    };

    /// CHECKLIST T17: no fragment is numbered 0, and none is empty.
    #[test]
    fn a_known_body_is_read_and_written() {
        let body = [0, 7, 2, 1, 0xaa, 0xbb];
        let expected = Fragment { id: 7, number: 2, last: true, data: &[0xaa, 0xbb] };
        assert_eq!(fixed(PayloadType::FRAGMENT, &body), Payload::Fragment(expected));
        prefixes_fail(PayloadType::FRAGMENT, &body, 5);
        for (at, value) in [(2, 0), (3, 2)] {
            let mut wrong = body;
            wrong[at] = value;
            let refused = notify(PayloadType::FRAGMENT, &wrong);
            assert_eq!(refused, NotifyType::PAYLOAD_MALFORMED);
        }
    }
}
