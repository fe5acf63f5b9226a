//! Delete payload, RFC 2408 §3.15.

use super::{Cookie, IsakmpError, notify::read_doi};
use crate::{
    Reader, WireError, Writer,
    iana::{
        doi::{Doi, ProtocolId},
        isakmp::NotifyType,
    },
};

/// SPIs taken from one payload.
pub const SPIS_MAX: u16 = 1024;

/// Delete payload body, RFC 2408 §3.15.
///
/// ```text
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |              Domain of Interpretation  (DOI)                  |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |  Protocol-Id  |   SPI Size    |           # of SPIs           |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ~               Security Parameter Index(es) (SPI)              ~
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ```
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Delete<'a> {
    /// [`Doi::IPSEC`], or [`Doi::ISAKMP`] of an ISAKMP SA.
    pub doi: Doi,
    /// Protocol of the SAs.
    pub protocol: ProtocolId,
    /// Which SAs; never empty.
    pub spis: Spis<'a>,
}

/// SPIs of one size: of the sender's inbound SAs, or pairs of cookies.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Spis<'a> {
    size: u8,
    octets: &'a [u8],
}

impl<'a> Spis<'a> {
    /// SPIs of `size` octets each, one after the other.
    ///
    /// # Errors
    ///
    /// INVALID-SPI if `octets` are no multiple of `size`, or none; [`WireError::TooMany`] for more
    /// than [`SPIS_MAX`].
    pub fn new(size: u8, octets: &'a [u8]) -> Result<Self, IsakmpError> {
        let whole = size != 0 && octets.len().is_multiple_of(size.into());
        if octets.is_empty() || !whole {
            return Err(IsakmpError::value(NotifyType::INVALID_SPI, "D.spi_size", size.into()));
        }
        let spis = Self { size, octets };
        if spis.len() > SPIS_MAX.into() {
            return Err(WireError::TooMany("SPIs").into());
        }
        Ok(spis)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.octets.len().checked_div(self.size.into()).unwrap_or_default()
    }

    /// Whether there is none: never so.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.octets.is_empty()
    }

    /// The SPIs, one by one.
    pub fn iter(&self) -> impl Iterator<Item = &'a [u8]> {
        self.octets.chunks_exact(usize::from(self.size).max(1))
    }
}

impl<'a> Delete<'a> {
    /// Reads one body; `r` holds exactly the payload without its generic header.
    ///
    /// # Errors
    ///
    /// PAYLOAD-MALFORMED if the count is not that of the SPIs, or more than [`SPIS_MAX`];
    /// DOI-NOT-SUPPORTED for another DOI; INVALID-PROTOCOL-ID for another protocol; INVALID-SPI for
    /// a size that the protocol does not have, or no SPI.
    pub fn read(r: &mut Reader<'a>) -> Result<Self, IsakmpError> {
        let doi = read_doi(r)?;
        let protocol = ProtocolId(r.u8()?);
        let size = r.u8()?;
        let count = r.u16()?;
        let size_is_legal = match protocol {
            ProtocolId::ISAKMP => size == 16,
            ProtocolId::AH | ProtocolId::ESP => size == 4,
            ProtocolId::IPCOMP => matches!(size, 2 | 4),
            other => {
                let notify = NotifyType::INVALID_PROTOCOL_ID;
                return Err(IsakmpError::value(notify, "D.protocol", other.0.into()));
            }
        };
        if !size_is_legal {
            return Err(IsakmpError::value(NotifyType::INVALID_SPI, "D.spi_size", size.into()));
        }
        if count > SPIS_MAX {
            return Err(WireError::TooMany("SPIs").into());
        }
        let octets = r.bytes(usize::from(count).saturating_mul(size.into()))?;
        Ok(Self { doi, protocol, spis: Spis::new(size, octets)? })
    }

    /// Appends the body; the exact inverse of [`Self::read`].
    pub fn write(&self, w: &mut Writer<'_>) {
        w.u32(self.doi.0);
        w.u8(self.protocol.0);
        w.u8(self.spis.size);
        w.u16(u16::try_from(self.spis.len()).unwrap_or(u16::MAX));
        w.bytes(self.spis.octets);
    }

    /// Whether the ISAKMP SA with these cookies is among those deleted.
    #[must_use]
    pub fn deletes_isakmp_sa(&self, cookie_i: Cookie, cookie_r: Cookie) -> bool {
        let both = (cookie_i.0.as_slice(), cookie_r.0.as_slice());
        self.protocol == ProtocolId::ISAKMP
            && self.spis.iter().any(|spi| spi.split_at_checked(8) == Some(both))
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use proptest::prelude::*;

    use super::*;
    use crate::{
        iana::isakmp::PayloadType,
        isakmp::{
            Payload,
            testing::{fixed, notify, prefixes_fail, round_trip},
        },
    };

    /// CHECKLIST U09: SPIs of IPsec SAs, and cookies of an ISAKMP SA.
    #[test]
    fn known_bodies_are_read_and_written() {
        let esp = [0, 0, 0, 1, 3, 4, 0, 2, 1, 2, 3, 4, 5, 6, 7, 8];
        let Payload::Delete(read) = fixed(PayloadType::DELETE, &esp) else { panic!("a delete") };
        assert_eq!(read.protocol, ProtocolId::ESP);
        assert_eq!(read.spis.iter().collect::<Vec<_>>(), [[1, 2, 3, 4], [5, 6, 7, 8]]);
        prefixes_fail(PayloadType::DELETE, &esp, esp.len());

        let isakmp = [0, 0, 0, 0, 1, 16, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2];
        let Payload::Delete(read) = fixed(PayloadType::DELETE, &isakmp) else { panic!("a delete") };
        let (i, r) = (Cookie::from_field(&[1; 8]).unwrap(), Cookie::from_field(&[2; 8]).unwrap());
        assert!(read.deletes_isakmp_sa(i, r));
        assert!(!read.deletes_isakmp_sa(r, i));
    }

    #[test]
    fn each_wrong_field_has_its_notify() {
        let refused = |body: &[u8]| notify(PayloadType::DELETE, body);
        assert_eq!(refused(&[0, 0, 0, 1, 3, 4, 0, 0]), NotifyType::INVALID_SPI);
        assert_eq!(refused(&[0, 0, 0, 1, 3, 8, 0, 0]), NotifyType::INVALID_SPI);
        assert_eq!(refused(&[0, 0, 0, 1, 1, 0, 0, 1]), NotifyType::INVALID_SPI);
        assert_eq!(refused(&[0, 0, 0, 1, 9, 4, 0, 0]), NotifyType::INVALID_PROTOCOL_ID);
        assert_eq!(refused(&[0, 0, 0, 5, 3, 4, 0, 0]), NotifyType::DOI_NOT_SUPPORTED);
        assert_eq!(refused(&[0, 0, 0, 1, 3, 4, 0xff, 0xff]), NotifyType::PAYLOAD_MALFORMED);
        let left = refused(&[0, 0, 0, 1, 3, 4, 0, 1, 1, 2, 3, 4, 5]);
        assert_eq!(left, NotifyType::PAYLOAD_MALFORMED);
    }

    proptest! {
        #[test]
        fn delete_round_trips(spis in prop::collection::vec(any::<[u8; 4]>(), 1..64)) {
            let octets = spis.concat();
            let spis = Spis::new(4, &octets).unwrap();
            let delete = Delete { doi: Doi::IPSEC, protocol: ProtocolId::AH, spis };
            round_trip(&Payload::Delete(delete));
        }
    }
}
