//! NAT Original Address payload, RFC 3947 §5.2.

use core::net::IpAddr;

use super::IsakmpError;
use crate::{
    Reader, WireError, Writer,
    iana::{doi::IdType, isakmp::NotifyType},
};

/// NAT Original Address payload body: an address as its host knows it, for checksums in transport
/// mode (RFC 3947 §5.2).
///
/// ```text
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |    ID Type    |  RESERVED     |            RESERVED           |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |           IPv4 (4 octets) or IPv6 address (16 octets)         |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ```
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct NatOriginalAddress(pub IpAddr);

impl NatOriginalAddress {
    /// Reads one body; `r` holds exactly the payload without its generic header. The drafts do not
    /// say that the reserved octets are zero, so nobody looks at them.
    ///
    /// # Errors
    ///
    /// PAYLOAD-MALFORMED if the address is cut short; INVALID-ID-INFORMATION for another type.
    pub fn read(r: &mut Reader<'_>) -> Result<Self, IsakmpError> {
        let kind = IdType(r.u8()?);
        let _reserved: [u8; 3] = r.array()?;
        match kind {
            IdType::IPV4_ADDR => Ok(Self(IpAddr::from(r.array::<4>()?))),
            IdType::IPV6_ADDR => Ok(Self(IpAddr::from(r.array::<16>()?))),
            other => {
                let cause = WireError::BadValue("NAT-OA.type", other.0.into());
                Err(IsakmpError::new(NotifyType::INVALID_ID_INFORMATION, cause))
            }
        }
    }

    /// Appends the body; the inverse of [`Self::read`] but for reserved octets.
    pub fn write(&self, w: &mut Writer<'_>) {
        let kind = if self.0.is_ipv4() { IdType::IPV4_ADDR } else { IdType::IPV6_ADDR };
        w.u8(kind.0);
        w.zeros(3);
        match self.0 {
            IpAddr::V4(address) => w.bytes(&address.octets()),
            IpAddr::V6(address) => w.bytes(&address.octets()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        iana::isakmp::PayloadType,
        isakmp::testing::{fixed, notify, prefixes_fail},
    };

    /// CHECKLIST W08: NAT-OA of RFC 3947 and of the drafts, both families.
    #[test]
    fn known_bodies_are_read_and_written() {
        let v4 = [1, 0, 0, 0, 192, 0, 2, 1];
        let v6 = [5, 0, 0, 0, 0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        for kind in [PayloadType::NAT_OA, PayloadType::NAT_OA_DRAFT] {
            fixed(kind, &v4);
            fixed(kind, &v6);
            prefixes_fail(kind, &v4, v4.len());
            prefixes_fail(kind, &v6, v6.len());
        }
        let subnet = [4, 0, 0, 0, 192, 0, 2, 0, 255, 255, 255, 0];
        assert_eq!(notify(PayloadType::NAT_OA, &subnet), NotifyType::INVALID_ID_INFORMATION);
    }
}
