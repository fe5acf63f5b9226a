//! Notify payload, RFC 7296 §3.10.

use crate::{
    Reader, WireError, Writer,
    iana::{NotifyType, ProtocolId},
};

/// Notify payload body, RFC 7296 §3.10.
///
/// ```text
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |  Protocol ID  |   SPI Size    |      Notify Message Type      |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ~                Security Parameter Index (SPI)                 ~
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ~                       Notification Data                       ~
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ```
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Notify<'a> {
    /// Protocol of the SA in `spi`; ignored and [`ProtocolId::NONE`] without one.
    pub protocol: ProtocolId,
    /// The SA meant: 0, 4 or 8 octets.
    pub spi: &'a [u8],
    /// What is told.
    pub kind: NotifyType,
    /// What belongs to it.
    pub data: &'a [u8],
}

impl<'a> Notify<'a> {
    /// A notify about the IKE SA that carries it, or about none.
    #[must_use]
    pub const fn new(kind: NotifyType, data: &'a [u8]) -> Self {
        Self {
            protocol: ProtocolId::NONE,
            spi: &[],
            kind,
            data,
        }
    }

    /// Reads one body; `r` holds exactly the payload without its generic header.
    ///
    /// # Errors
    ///
    /// [`WireError::Truncated`]; [`WireError::BadValue`] for an SPI size that no protocol has.
    pub fn read(r: &mut Reader<'a>) -> Result<Self, WireError> {
        let protocol = ProtocolId(r.u8()?);
        let spi_size = r.u8()?;
        let kind = NotifyType(r.u16()?);
        if !matches!(spi_size, 0 | 4 | 8) {
            return Err(WireError::BadValue("Notify.spi_size", spi_size.into()));
        }
        let spi = r.bytes(spi_size.into())?;
        Ok(Self {
            protocol,
            spi,
            kind,
            data: r.rest(),
        })
    }

    /// Appends the body; the exact inverse of [`Notify::read`].
    pub fn write(&self, w: &mut Writer<'_>) {
        w.u8(self.protocol.0);
        w.u8(u8::try_from(self.spi.len()).unwrap_or(u8::MAX));
        w.u16(self.kind.0);
        w.bytes(self.spi);
        w.bytes(self.data);
    }
}
