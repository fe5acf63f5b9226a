//! Authentication Header, RFC 4302 §2.

use crate::esp::Spi;
use crate::iana::IpProtocol;
use crate::{Reader, WireError, Writer};

/// What stands before the ICV field, RFC 4302 §2.
///
/// ```text
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// | Next Header   |  Payload Len  |          RESERVED             |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |                 Security Parameters Index (SPI)               |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |                    Sequence Number Field                      |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ~                Integrity Check Value-ICV (variable)           ~
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ```
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct AhHeader {
    /// What follows the header.
    pub next: IpProtocol,
    /// Words of four octets in the ICV field, its padding included.
    pub icv_words: u8,
    /// Which SA the packet belongs to.
    pub spi: Spi,
    /// Low 32 bits of the sequence number.
    pub sequence: u32,
}

impl AhHeader {
    /// Length in octets, without the ICV field.
    pub const LEN: usize = 12;

    /// Octets of the ICV field that holds `tag_len` octets.
    ///
    //= https://www.rfc-editor.org/rfc/rfc4302#section-3.3.3.2.1
    //# Inclusion of padding in excess of the minimum amount
    //# required to satisfy IPv4/IPv6 alignment requirements is prohibited.
    #[must_use]
    pub const fn icv_field_len(tag_len: usize, ipv6: bool) -> usize {
        let total_len = Self::LEN.saturating_add(tag_len);
        let aligned =
            if ipv6 { total_len.next_multiple_of(8) } else { total_len.next_multiple_of(4) };
        aligned.saturating_sub(Self::LEN)
    }

    /// Octets of header and ICV field.
    #[must_use]
    pub fn total_len(&self) -> usize {
        Self::LEN.saturating_add(self.icv_len())
    }

    /// Octets of the ICV field.
    #[must_use]
    pub fn icv_len(&self) -> usize {
        usize::from(self.icv_words).saturating_mul(4)
    }

    /// Reads the header; the ICV field and what follows it stay in `r`.
    ///
    /// # Errors
    ///
    /// [`WireError::Truncated`]; [`WireError::BadValue`] for a reserved SPI or a length below that
    /// of the header.
    pub fn read(r: &mut Reader<'_>) -> Result<Self, WireError> {
        let octets: [u8; Self::LEN] = r.array().map_err(|error| error.within("AH"))?;
        let [next, payload_len, _, _, s0, s1, s2, s3, n0, n1, n2, n3] = octets;
        // RFC 4302 §2.2: the length in words, less two. The header alone is one more.
        let icv_words = payload_len
            .checked_sub(1)
            .ok_or_else(|| WireError::BadValue("AH.payload_len", payload_len.into()))?;
        let spi = Spi::from_octets([s0, s1, s2, s3]);
        if spi.is_reserved() {
            return Err(WireError::BadValue("AH.spi", spi.0.into()));
        }
        let sequence = u32::from_be_bytes([n0, n1, n2, n3]);
        Ok(Self { next: IpProtocol(next), icv_words, spi, sequence })
    }

    /// The header's octets.
    #[must_use]
    pub const fn to_octets(self) -> [u8; Self::LEN] {
        let [s0, s1, s2, s3] = self.spi.to_octets();
        let [n0, n1, n2, n3] = self.sequence.to_be_bytes();
        let payload_len = self.icv_words.saturating_add(1);
        [self.next.0, payload_len, 0, 0, s0, s1, s2, s3, n0, n1, n2, n3]
    }

    /// Appends the header; the exact inverse of [`Self::read`].
    pub fn write(&self, w: &mut Writer<'_>) {
        w.bytes(&self.to_octets());
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn impossible_headers_are_refused() {
        let good = AhHeader { next: IpProtocol::TCP, icv_words: 3, spi: Spi(256), sequence: 1 };
        let mut octets = good.to_octets();
        assert_eq!(octets[1], 4, "RFC 4302 §2.2: 96 bits of ICV");
        octets[1] = 0;
        assert_eq!(
            AhHeader::read(&mut Reader(&octets)),
            Err(WireError::BadValue("AH.payload_len", 0))
        );
        let reserved = AhHeader { spi: Spi(255), ..good };
        assert_eq!(
            AhHeader::read(&mut Reader(&reserved.to_octets())),
            Err(WireError::BadValue("AH.spi", 255))
        );
    }

    //= https://www.rfc-editor.org/rfc/rfc4302#section-3.3.3.2.1
    //= type=test
    //# Inclusion of padding in excess of the minimum amount
    //# required to satisfy IPv4/IPv6 alignment requirements is prohibited.
    #[test]
    fn the_icv_field_is_padded_to_its_alignment_and_no_more() {
        let lens = |tag_len| {
            (AhHeader::icv_field_len(tag_len, false), AhHeader::icv_field_len(tag_len, true))
        };
        assert_eq!(lens(12), (12, 12));
        assert_eq!(lens(16), (16, 20));
        assert_eq!(lens(24), (24, 28));
        assert_eq!(lens(32), (32, 36));
        for tag_len in 0..64 {
            let (v4, v6) = lens(tag_len);
            assert!(v4.is_multiple_of(4) && v4 < tag_len + 4);
            assert!((v6 + AhHeader::LEN).is_multiple_of(8) && v6 < tag_len + 8);
        }
    }

    proptest! {
        /// Whatever `write` emits, `read` returns, and a shorter input is refused.
        #[test]
        fn ah_header_round_trips(next: u8, icv_words in 0_u8..255, spi in 256_u32.., sequence: u32) {
            let sent = AhHeader { next: IpProtocol(next), icv_words, spi: Spi(spi), sequence };
            let mut octets = Vec::new();
            sent.write(&mut Writer(&mut octets));

            prop_assert_eq!(AhHeader::read(&mut Reader(&octets)), Ok(sent));
            for cut in 0..octets.len() {
                prop_assert_eq!(
                    AhHeader::read(&mut Reader(&octets[..cut])),
                    Err(WireError::Truncated("AH"))
                );
            }
        }
    }
}
