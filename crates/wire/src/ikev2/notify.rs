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
    /// The SA meant: 0, 4 or 8 octets, of a protocol that is known.
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
        Self { protocol: ProtocolId::NONE, spi: &[], kind, data }
    }

    /// Reads one body; `r` holds exactly the payload without its generic header.
    ///
    /// # Errors
    ///
    /// [`WireError::Truncated`]; [`WireError::BadValue`] for an SPI size that the protocol does not have.
    /// What protocols unknown here have is not known either (RFC 7296 §3.10.1: to be ignored).
    pub fn read(r: &mut Reader<'a>) -> Result<Self, WireError> {
        let protocol = ProtocolId(r.u8()?);
        let spi_size = r.u8()?;
        let kind = NotifyType(r.u16()?);
        if is_known(protocol) && !matches!(spi_size, 0 | 4 | 8) {
            return Err(WireError::BadValue("Notify.spi_size", spi_size.into()));
        }
        let spi = r.bytes(spi_size.into())?;
        Ok(Self { protocol, spi, kind, data: r.rest() })
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

fn is_known(protocol: ProtocolId) -> bool {
    matches!(protocol, ProtocolId::NONE | ProtocolId::IKE | ProtocolId::AH | ProtocolId::ESP)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        iana::PayloadType,
        ikev2::{
            Payload,
            testing::{fixed, prefixes_fail, read, round_trip},
        },
    };

    #[test]
    fn known_bodies_are_read_and_written() {
        let rekey = [3, 4, 0x40, 0x09, 0xc0, 0xff, 0xee, 0x01];
        assert_eq!(
            fixed(PayloadType::NOTIFY, &rekey),
            Payload::Notify(Notify {
                protocol: ProtocolId::ESP,
                spi: &[0xc0, 0xff, 0xee, 0x01],
                kind: NotifyType::REKEY_SA,
                data: &[],
            })
        );
        prefixes_fail(PayloadType::NOTIFY, &rekey, 8);

        let invalid_ke = [0, 0, 0, 17, 0, 31];
        assert_eq!(
            fixed(PayloadType::NOTIFY, &invalid_ke),
            Payload::Notify(Notify::new(NotifyType::INVALID_KE_PAYLOAD, &[0, 31]))
        );
        prefixes_fail(PayloadType::NOTIFY, &invalid_ke, 4);
    }

    #[test]
    fn an_spi_size_that_the_protocol_does_not_have_is_refused() {
        for size in (0..=255).filter(|size| ![0, 4, 8].contains(size)) {
            let body = |protocol| [&[protocol, size, 0x40, 0x09], [1; 255].as_slice()].concat();
            for protocol in 0..=3 {
                assert_eq!(
                    read(PayloadType::NOTIFY, &body(protocol)),
                    Err(WireError::BadValue("Notify.spi_size", size.into()))
                );
            }
            let unknown = body(6);
            let Payload::Notify(notify) = fixed(PayloadType::NOTIFY, &unknown) else {
                panic!("not a notify");
            };
            assert_eq!((notify.spi.len(), notify.protocol), (size.into(), ProtocolId(6)));
            assert!(read(PayloadType::NOTIFY, &unknown[..usize::from(size) + 3]).is_err());
        }
    }

    proptest! {
        #[test]
        fn notify_round_trips(
            protocol: u8, kind: u16, spi: [u8; 8],
            spi_len in prop::sample::select([0_usize, 4, 8].as_slice()),
            data in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            round_trip(&Payload::Notify(Notify {
                protocol: ProtocolId(protocol),
                spi: &spi[..spi_len],
                kind: NotifyType(kind),
                data: &data,
            }));
        }
    }
}
