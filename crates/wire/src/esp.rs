//! ESP packet header and trailer, RFC 4303 §2.

use core::fmt;

use crate::{Reader, WireError, Writer};

/// Security Parameters Index of ESP or AH, RFC 4303 §2.1.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Spi(pub u32);

impl Spi {
    /// The lowest SPI an SA may have: 0 is for local use, 1 to 255 are IANA's.
    pub const MIN: Self = Self(256);

    /// Whether no SA may have this SPI.
    #[must_use]
    pub const fn is_reserved(self) -> bool {
        self.0 < Self::MIN.0
    }

    /// The SPI in network order, as a proposal or a delete carries it.
    #[must_use]
    pub const fn to_octets(self) -> [u8; 4] {
        self.0.to_be_bytes()
    }

    /// The SPI whose network order this is.
    #[must_use]
    pub const fn from_octets(octets: [u8; 4]) -> Self {
        Self(u32::from_be_bytes(octets))
    }

    /// The SPI in a proposal's or notify's SPI field of four octets; `None` for another length or
    /// a reserved value.
    #[must_use]
    pub fn from_field(field: &[u8]) -> Option<Self> {
        let spi = Self::from_octets(field.try_into().ok()?);
        (!spi.is_reserved()).then_some(spi)
    }
}

/// Eight hexadecimal digits, as every IPsec tool prints it.
impl fmt::Display for Spi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

/// What stands in clear before the IV, RFC 4303 §2.
///
/// ```text
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |               Security Parameters Index (SPI)                 |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |                      Sequence Number                          |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ```
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct EspHeader {
    /// Which SA the packet belongs to.
    pub spi: Spi,
    /// Low 32 bits of the sequence number.
    pub sequence: u32,
}

impl EspHeader {
    /// Length in octets.
    pub const LEN: usize = 8;

    /// Reads the header; what follows it stays in `r`.
    ///
    /// # Errors
    ///
    /// [`WireError::Truncated`]; [`WireError::BadValue`] for a reserved SPI.
    pub fn read(r: &mut Reader<'_>) -> Result<Self, WireError> {
        let octets: [u8; Self::LEN] = r.array().map_err(|error| error.within("ESP header"))?;
        let [s0, s1, s2, s3, n0, n1, n2, n3] = octets;
        let spi = Spi::from_octets([s0, s1, s2, s3]);
        if spi.is_reserved() {
            return Err(WireError::BadValue("ESP.spi", spi.0.into()));
        }
        Ok(Self { spi, sequence: u32::from_be_bytes([n0, n1, n2, n3]) })
    }

    /// The header's octets.
    #[must_use]
    pub const fn to_octets(self) -> [u8; Self::LEN] {
        let [s0, s1, s2, s3] = self.spi.to_octets();
        let [n0, n1, n2, n3] = self.sequence.to_be_bytes();
        [s0, s1, s2, s3, n0, n1, n2, n3]
    }

    /// Appends the header; the exact inverse of [`Self::read`].
    pub fn write(&self, w: &mut Writer<'_>) {
        w.bytes(&self.to_octets());
    }
}

#[cfg(test)]
mod tests {
    use alloc::{string::ToString, vec::Vec};

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_reserved_spi_is_refused() {
        for spi in [0_u32, 1, 255] {
            let mut octets = Vec::from(spi.to_be_bytes());
            octets.extend([0, 0, 0, 1]);
            assert_eq!(
                EspHeader::read(&mut Reader(&octets)),
                Err(WireError::BadValue("ESP.spi", spi.into()))
            );
        }
    }

    #[test]
    fn an_spi_field_has_four_octets_and_no_reserved_value() {
        assert_eq!(Spi::from_field(&[0xc0, 0xff, 0xee, 1]), Some(Spi(0xc0ff_ee01)));
        assert_eq!(Spi::from_field(&[0, 0, 0, 255]), None);
        assert_eq!(Spi::from_field(&[1, 0, 0]), None);
        assert_eq!(Spi::from_field(&[1, 0, 0, 0, 0]), None);
        assert_eq!(Spi(0x1ff).to_string(), "000001ff");
    }

    proptest! {
        /// Whatever `write` emits, `read` returns, and a shorter input is refused.
        #[test]
        fn esp_header_round_trips(spi in 256_u32.., sequence: u32) {
            let sent = EspHeader { spi: Spi(spi), sequence };
            let mut octets = Vec::new();
            sent.write(&mut Writer(&mut octets));

            prop_assert_eq!(EspHeader::read(&mut Reader(&octets)), Ok(sent));
            for cut in 0..octets.len() {
                prop_assert_eq!(
                    EspHeader::read(&mut Reader(&octets[..cut])),
                    Err(WireError::Truncated("ESP header"))
                );
            }
        }
    }
}
