//! Delete payload, RFC 7296 §3.11.

use crate::{Reader, WireError, Writer, esp::Spi, iana::ProtocolId};

/// SPIs deleted by one payload at most, ours and a peer's.
pub const SPIS_MAX: u16 = 1024;

/// SPIs of AH or ESP in network order, borrowed from a message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Spis<'a>(&'a [[u8; 4]]);

impl<'a> Spis<'a> {
    /// No SPI.
    pub const EMPTY: Self = Self(&[]);

    /// Takes SPIs in network order.
    ///
    /// # Errors
    ///
    /// [`WireError::TooMany`] beyond [`SPIS_MAX`].
    pub const fn new(spis: &'a [[u8; 4]]) -> Result<Self, WireError> {
        if spis.len() > SPIS_MAX as usize {
            return Err(WireError::TooMany("SPIs"));
        }
        Ok(Self(spis))
    }

    /// How many there are.
    #[must_use]
    pub fn count(self) -> u16 {
        u16::try_from(self.0.len()).unwrap_or(SPIS_MAX)
    }

    /// The SPIs in the order of the message, reserved values and repetitions included.
    pub fn iter(self) -> impl Iterator<Item = Spi> + 'a {
        self.0.iter().copied().map(Spi::from_octets)
    }

    /// The SPIs as the payload carries them.
    #[must_use]
    pub fn as_bytes(self) -> &'a [u8] {
        self.0.as_flattened()
    }

    fn read(r: &mut Reader<'a>, count: u16) -> Result<Self, WireError> {
        if count > SPIS_MAX {
            return Err(WireError::TooMany("SPIs"));
        }
        let octets = r.bytes(usize::from(count).saturating_mul(4))?;
        let (spis, _nothing) = octets.as_chunks::<4>();
        Ok(Self(spis))
    }
}

/// Delete payload body, RFC 7296 §3.11.
///
/// ```text
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |  Protocol ID  |   SPI Size    |          Num of SPIs          |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ~                Security Parameter Index(es)                   ~
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ```
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Delete<'a> {
    /// The IKE SA that carries this message: its SPI is in the header.
    IkeSa,
    /// Inbound AH SAs of the sender.
    Ah(Spis<'a>),
    /// Inbound ESP SAs of the sender.
    Esp(Spis<'a>),
}

impl<'a> Delete<'a> {
    /// Reads one body; `r` holds exactly the payload without its generic header.
    ///
    /// # Errors
    ///
    /// - [`WireError::Truncated`].
    /// - [`WireError::TooMany`]: more than [`SPIS_MAX`].
    /// - [`WireError::BadValue`]: an unknown protocol, an SPI size it does not have, or SPIs with
    ///   the deletion of the IKE SA.
    pub fn read(r: &mut Reader<'a>) -> Result<Self, WireError> {
        let protocol = ProtocolId(r.u8()?);
        let spi_size = r.u8()?;
        let spi_count = r.u16()?;
        match (protocol, spi_size) {
            (ProtocolId::IKE, 0) if spi_count == 0 => Ok(Self::IkeSa),
            (ProtocolId::IKE, 0) => Err(WireError::BadValue("Delete.spi_count", spi_count.into())),
            (ProtocolId::AH, 4) => Spis::read(r, spi_count).map(Self::Ah),
            (ProtocolId::ESP, 4) => Spis::read(r, spi_count).map(Self::Esp),
            _ => Err(WireError::BadValue("Delete.spi_size", spi_size.into())),
        }
    }

    /// Appends the body; the exact inverse of [`Delete::read`].
    pub fn write(&self, w: &mut Writer<'_>) {
        let (protocol, spi_size, spis) = match *self {
            Self::IkeSa => (ProtocolId::IKE, 0, Spis::EMPTY),
            Self::Ah(spis) => (ProtocolId::AH, 4, spis),
            Self::Esp(spis) => (ProtocolId::ESP, 4, spis),
        };
        w.u8(protocol.0);
        w.u8(spi_size);
        w.u16(spis.count());
        w.bytes(spis.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use alloc::{vec, vec::Vec};

    use proptest::prelude::*;

    use super::*;
    use crate::{
        iana::PayloadType,
        ikev2::{
            Payload,
            testing::{fixed, no_prefix_reads, read, round_trip},
        },
    };

    #[test]
    fn known_bodies_are_read_and_written() {
        let ike = [1, 0, 0, 0];
        assert_eq!(fixed(PayloadType::DELETE, &ike), Payload::Delete(Delete::IkeSa));
        no_prefix_reads(PayloadType::DELETE, &ike);

        let esp = [3, 4, 0, 2, 0xc0, 0xff, 0xee, 1, 0xc0, 0xff, 0xee, 2];
        let Payload::Delete(Delete::Esp(spis)) = fixed(PayloadType::DELETE, &esp) else {
            panic!("not a delete of ESP SAs");
        };
        assert_eq!(spis.iter().collect::<Vec<_>>(), [Spi(0xc0ff_ee01), Spi(0xc0ff_ee02)]);
        no_prefix_reads(PayloadType::DELETE, &esp);
    }

    #[test]
    fn protocol_and_sizes_must_belong_together() {
        for body in [
            [0, 0, 0, 0].as_slice(),
            &[1, 8, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8],
            &[1, 0, 0, 1],
            &[2, 0, 0, 0],
            &[3, 8, 0, 0],
            &[4, 4, 0, 0],
        ] {
            let error = read(PayloadType::DELETE, body).unwrap_err();
            assert!(matches!(error, WireError::BadValue(..)), "{body:?}: {error}");
        }
        assert_eq!(
            read(PayloadType::DELETE, &[3, 4, 0, 1, 1, 2, 3, 4, 5]),
            Err(WireError::Trailing("D"))
        );
    }

    #[test]
    fn spis_are_bounded() {
        let most = vec![[1; 4]; SPIS_MAX.into()];
        round_trip(&Payload::Delete(Delete::Esp(Spis::new(&most).unwrap())));

        let mut body = vec![3, 4, 4, 1];
        body.resize(4 + 4 * 1025, 1);
        assert_eq!(read(PayloadType::DELETE, &body), Err(WireError::TooMany("SPIs")));
        assert_eq!(Spis::new(&vec![[1; 4]; 1025]), Err(WireError::TooMany("SPIs")));
    }

    proptest! {
        #[test]
        fn delete_round_trips(spis in prop::collection::vec(any::<[u8; 4]>(), 0..64)) {
            let spis = Spis::new(&spis).unwrap();
            for sent in [Delete::Esp(spis), Delete::Ah(spis)] {
                let body = round_trip(&Payload::Delete(sent));
                no_prefix_reads(PayloadType::DELETE, &body);
            }
        }
    }
}
