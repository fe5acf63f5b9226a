//! IP Payload Compression Protocol: its header (RFC 3173 §3) and its notify (RFC 7296 §3.10.1).

use crate::iana::{IpCompTransformId, IpProtocol};
use crate::{Reader, WireError, Writer};

/// Compression Parameter Index, RFC 3173 §3.3: which compression a packet has been through, in the
/// words of its receiver.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Cpi(pub u16);

impl Cpi {
    /// The lowest CPI that two peers may agree on: those below are IANA's.
    pub const MIN: Self = Self(256);

    /// The highest: those above are for private use.
    pub const MAX: Self = Self(61_439);

    /// Whether two peers may agree on it in a negotiation.
    #[must_use]
    pub const fn is_negotiable(self) -> bool {
        Self::MIN.0 <= self.0 && self.0 <= Self::MAX.0
    }
}

/// IPComp header, RFC 3173 §3.3; compressed octets follow it.
///
/// ```text
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |  Next Header  |     Flags     | Compression Parameter Index   |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ```
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct IpCompHeader {
    /// What was compressed.
    pub next: IpProtocol,
    /// How.
    pub cpi: Cpi,
}

impl IpCompHeader {
    /// Length in octets.
    pub const LEN: usize = 4;

    /// Reads the header; what follows it stays in `r`.
    ///
    /// The flags are reserved, and "MUST be ignored by the receiving node".
    ///
    /// # Errors
    ///
    /// [`WireError::Truncated`].
    pub fn read(r: &mut Reader<'_>) -> Result<Self, WireError> {
        let [next, _flags, c0, c1] = r.array().map_err(|error| error.within("IPComp"))?;
        Ok(Self { next: IpProtocol(next), cpi: Cpi(u16::from_be_bytes([c0, c1])) })
    }

    /// The header's octets.
    #[must_use]
    pub const fn to_octets(self) -> [u8; Self::LEN] {
        let [c0, c1] = self.cpi.0.to_be_bytes();
        [self.next.0, 0, c0, c1]
    }

    /// Appends the header; the exact inverse of [`Self::read`].
    pub fn write(&self, w: &mut Writer<'_>) {
        w.bytes(&self.to_octets());
    }
}

/// Data of an IPCOMP_SUPPORTED notify, RFC 7296 §3.10.1.
///
/// ```text
/// | CPI (2) | transform ID (1) | attributes of the transform: none is defined |
/// ```
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct IpCompSupported {
    /// The CPI of packets to the sender of the notify.
    pub cpi: Cpi,
    /// The algorithm.
    pub transform: IpCompTransformId,
}

impl IpCompSupported {
    /// Reads the data; `r` is empty then, for attributes mean nothing.
    ///
    /// # Errors
    ///
    /// [`WireError::Truncated`].
    pub fn read(r: &mut Reader<'_>) -> Result<Self, WireError> {
        let [c0, c1, transform] = r.array().map_err(|error| error.within("IPCOMP_SUPPORTED"))?;
        r.rest();
        let cpi = Cpi(u16::from_be_bytes([c0, c1]));
        Ok(Self { cpi, transform: IpCompTransformId(transform) })
    }

    /// The data of a notify without attributes.
    #[must_use]
    pub const fn to_octets(self) -> [u8; 3] {
        let [c0, c1] = self.cpi.0.to_be_bytes();
        [c0, c1, self.transform.0]
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    const HEADER: IpCompHeader = IpCompHeader { next: IpProtocol::IPV4, cpi: Cpi(0x1234) };

    #[test]
    fn header_round_trips() {
        let mut octets = Vec::new();
        HEADER.write(&mut Writer(&mut octets));
        assert_eq!(octets, [4, 0, 0x12, 0x34]);

        octets.push(9);
        let mut r = Reader(&octets);
        assert_eq!(IpCompHeader::read(&mut r), Ok(HEADER));
        assert_eq!(r.0, [9]);
    }

    //= https://www.rfc-editor.org/rfc/rfc3173#section-3.3
    //= type=test
    //# Reserved for future use.  MUST be set to zero.
    //# MUST be ignored by the receiving node.
    #[test]
    fn flags_are_ignored() {
        assert_eq!(IpCompHeader::read(&mut Reader(&[4, 0xff, 0x12, 0x34])), Ok(HEADER));
    }

    #[test]
    fn short_octets_are_refused() {
        for len in 0..IpCompHeader::LEN {
            let octets = &HEADER.to_octets()[..len];
            let read = IpCompHeader::read(&mut Reader(octets));
            assert_eq!(read, Err(WireError::Truncated("IPComp")));
        }
        assert!(IpCompSupported::read(&mut Reader(&[1, 2])).is_err());
    }

    #[test]
    fn notify_round_trips() {
        let sent = IpCompSupported { cpi: Cpi(0xabcd), transform: IpCompTransformId::DEFLATE };
        assert_eq!(sent.to_octets(), [0xab, 0xcd, 2]);
        let mut r = Reader(&[0xab, 0xcd, 2, 7, 7]);
        assert_eq!(IpCompSupported::read(&mut r), Ok(sent));
        assert!(r.0.is_empty());
    }

    /// RFC 3173 §3.3: 0 to 63 are well known, to 255 reserved, from 61440 on private.
    #[test]
    fn numbers_of_others_are_not_negotiated() {
        for cpi in [0, 2, 63, 64, 255, 61_440, u16::MAX] {
            assert!(!Cpi(cpi).is_negotiable(), "{cpi}");
        }
        assert!(Cpi(256).is_negotiable() && Cpi(61_439).is_negotiable());
    }
}
