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
