//! Notification payload, RFC 2408 §3.14.

use super::{Cookie, IsakmpError};
use crate::{
    Reader, Writer,
    iana::{
        doi::{Doi, ProtocolId},
        isakmp::NotifyType,
    },
};

/// Notification payload body, RFC 2408 §3.14.
///
/// ```text
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |              Domain of Interpretation  (DOI)                  |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |  Protocol-ID  |   SPI Size    |      Notify Message Type      |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ~                Security Parameter Index (SPI)                 ~
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ~                       Notification Data                       ~
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ```
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Notify<'a> {
    /// [`Doi::IPSEC`], or [`Doi::ISAKMP`] of what is about phase 1.
    pub doi: Doi,
    /// Protocol of the SA in `spi`.
    pub protocol: ProtocolId,
    /// The SA meant: 4 octets for AH and ESP, up to 16 for ISAKMP, where it is both cookies or says
    /// nothing.
    pub spi: &'a [u8],
    /// What is told.
    pub kind: NotifyType,
    /// What belongs to it.
    pub data: &'a [u8],
}

impl<'a> Notify<'a> {
    /// Reads one body; `r` holds exactly the payload without its generic header.
    ///
    /// # Errors
    ///
    /// PAYLOAD-MALFORMED if it is cut short; DOI-NOT-SUPPORTED for another DOI; INVALID-SPI for an
    /// SPI longer than 16 octets (RFC 2408 §3.14).
    pub fn read(r: &mut Reader<'a>) -> Result<Self, IsakmpError> {
        let doi = read_doi(r)?;
        let protocol = ProtocolId(r.u8()?);
        let spi_size = r.u8()?;
        let kind = NotifyType(r.u16()?);
        if spi_size > SPI_SIZE_MAX {
            let size = spi_size.into();
            return Err(IsakmpError::value(NotifyType::INVALID_SPI, "N.spi_size", size));
        }
        let spi = r.bytes(spi_size.into())?;
        Ok(Self { doi, protocol, spi, kind, data: r.rest() })
    }

    /// Appends the body; the exact inverse of [`Self::read`].
    pub fn write(&self, w: &mut Writer<'_>) {
        w.u32(self.doi.0);
        w.u8(self.protocol.0);
        w.u8(u8::try_from(self.spi.len()).unwrap_or(u8::MAX));
        w.u16(self.kind.0);
        w.bytes(self.spi);
        w.bytes(self.data);
    }

    /// Whether the notify is about the ISAKMP SA with these cookies. An SPI of another length than 16
    /// says nothing there (RFC 2408 §3.14), so it means the SA that carries it.
    #[must_use]
    pub fn is_about(&self, cookie_i: Cookie, cookie_r: Cookie) -> bool {
        let spi = self.spi.split_at_checked(8);
        self.protocol == ProtocolId::ISAKMP
            && (self.spi.len() != 16 || spi == Some((&cookie_i.0, &cookie_r.0)))
    }
}

/// The DOI of a notify or delete: that of IPsec, or that of ISAKMP alone.
pub(super) fn read_doi(r: &mut Reader<'_>) -> Result<Doi, IsakmpError> {
    let doi = Doi(r.u32()?);
    if matches!(doi, Doi::ISAKMP | Doi::IPSEC) {
        return Ok(doi);
    }
    Err(IsakmpError::value(NotifyType::DOI_NOT_SUPPORTED, "Payload.doi", doi.0.into()))
}

const SPI_SIZE_MAX: u8 = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        iana::isakmp::PayloadType,
        isakmp::{
            Payload,
            testing::{fixed, notify, prefixes_fail},
        },
    };

    const R_U_THERE: [u8; 28] =
        [0, 0, 0, 1, 1, 16, 0x8d, 0x28, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 0, 0, 0, 9];

    /// CHECKLIST U12: RFC 3706 §5.3 gives the form of R-U-THERE.
    #[test]
    fn a_known_body_is_read_and_written() {
        let Payload::Notify(read) = fixed(PayloadType::NOTIFICATION, &R_U_THERE) else {
            panic!("a notify");
        };

        assert_eq!(read.kind, NotifyType::R_U_THERE);
        assert_eq!(read.data, [0, 0, 0, 9]);
        let (i, r) = (Cookie::from_field(&[1; 8]).unwrap(), Cookie::from_field(&[2; 8]).unwrap());
        assert!(read.is_about(i, r));
        assert!(!read.is_about(r, i));
        assert!(Notify { spi: &[], ..read }.is_about(r, i));
        assert!(!Notify { protocol: ProtocolId::ESP, ..read }.is_about(i, r));
        prefixes_fail(PayloadType::NOTIFICATION, &R_U_THERE, 24);
    }

    #[test]
    fn each_wrong_field_has_its_notify() {
        let mut body = R_U_THERE;
        body[3] = 2;
        assert_eq!(notify(PayloadType::NOTIFICATION, &body), NotifyType::DOI_NOT_SUPPORTED);
        body[3] = 0;
        fixed(PayloadType::NOTIFICATION, &body);
        body[5] = 17;
        assert_eq!(notify(PayloadType::NOTIFICATION, &body), NotifyType::INVALID_SPI);
    }
}
