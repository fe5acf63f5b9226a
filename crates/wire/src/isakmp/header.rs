//! ISAKMP header, RFC 2408 §3.1 and §5.2.

use core::ops::BitOr;

use super::IsakmpError;
use crate::{
    Reader, Writer,
    iana::isakmp::{ExchangeType, NotifyType, PayloadType},
    ikev2::{IkeSpi, Version},
};

/// One side's cookie: the eight octets that IKEv2 calls an SPI, so that one table holds both.
pub type Cookie = IkeSpi;

/// Flags of the header.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Flags(u8);

impl Flags {
    /// No flag: the payloads are in clear.
    pub const NONE: Self = Self(0);
    /// E: everything after the header is encrypted.
    pub const ENCRYPTION: Self = Self(0x01);
    /// C: do not use the SA before you hear CONNECTED.
    pub const COMMIT: Self = Self(0x02);
    /// A: authenticated, not encrypted; for Informational exchanges with a notify.
    pub const AUTHENTICATION_ONLY: Self = Self(0x04);

    /// The flags; none if a bit without a meaning is set, which RFC 2408 §5.2 refuses.
    #[must_use]
    pub const fn from_octet(octet: u8) -> Option<Self> {
        if octet & !ALL_FLAGS == 0 { Some(Self(octet)) } else { None }
    }

    /// The octet that goes into the header.
    #[must_use]
    pub const fn octet(self) -> u8 {
        self.0
    }

    /// Whether all flags of `other` are set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether everything after the header is encrypted.
    #[must_use]
    pub const fn is_encrypted(self) -> bool {
        self.contains(Self::ENCRYPTION)
    }
}

impl BitOr for Flags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

const ALL_FLAGS: u8 = Flags::ENCRYPTION.0 | Flags::COMMIT.0 | Flags::AUTHENTICATION_ONLY.0;

/// ISAKMP header, RFC 2408 §3.1.
///
/// ```text
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |                          Initiator                            |
/// |                            Cookie                             |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |                          Responder                            |
/// |                            Cookie                             |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |  Next Payload | MjVer | MnVer | Exchange Type |     Flags     |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |                          Message ID                           |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |                            Length                             |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ```
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Header {
    /// Cookie of who began phase 1, never zero.
    pub cookie_i: Cookie,
    /// Cookie of the other, zero in the first message.
    pub cookie_r: Cookie,
    /// Type of the first payload.
    pub next_payload: PayloadType,
    /// Exchange this message belongs to.
    pub exchange: ExchangeType,
    /// Whether it is encrypted, and more.
    pub flags: Flags,
    /// Zero in phase 1; after that drawn at random for each exchange.
    pub message_id: u32,
    /// Octets of the whole message with this header.
    pub length: u32,
}

impl Header {
    /// Length in octets.
    pub const LEN: usize = 28;

    /// Reads the header of the message that `r` holds, whole and alone; the payloads stay in `r`.
    ///
    /// # Errors
    ///
    /// Those of RFC 2408 §5.1 and §5.2, in this order, each with its notify: the message is cut
    /// short (PAYLOAD-MALFORMED), another major (INVALID-MAJOR-VERSION) or minor version
    /// (INVALID-MINOR-VERSION), the length is not that of the datagram (UNEQUAL-PAYLOAD-LENGTHS),
    /// the initiator's cookie is zero (INVALID-COOKIE), the exchange type has no meaning
    /// (INVALID-EXCHANGE-TYPE), a flag has none (INVALID-FLAGS).
    pub fn read(r: &mut Reader<'_>) -> Result<Self, IsakmpError> {
        let datagram = r.len();
        Self::read_fields(r, datagram).map_err(|error| error.within("ISAKMP header"))
    }

    fn read_fields(r: &mut Reader<'_>, datagram: usize) -> Result<Self, IsakmpError> {
        let cookie_i = IkeSpi(r.array()?);
        let cookie_r = IkeSpi(r.array()?);
        let next_payload = PayloadType(r.u8()?);
        let version = Version(r.u8()?);
        let exchange = ExchangeType(r.u8()?);
        let flags = r.u8()?;
        let message_id = r.u32()?;
        let length = r.u32()?;
        let wrong = IsakmpError::value;
        if version.major() != Version::V1.major() {
            let major = version.major().into();
            return Err(wrong(NotifyType::INVALID_MAJOR_VERSION, "Header.major_version", major));
        }
        if version.minor() != Version::V1.minor() {
            let minor = version.minor().into();
            return Err(wrong(NotifyType::INVALID_MINOR_VERSION, "Header.minor_version", minor));
        }
        if usize::try_from(length) != Ok(datagram) {
            let length = length.into();
            return Err(wrong(NotifyType::UNEQUAL_PAYLOAD_LENGTHS, "Header.length", length));
        }
        if cookie_i.is_zero() {
            return Err(wrong(NotifyType::INVALID_COOKIE, "Header.cookie_i", 0));
        }
        if !exchange_is_known(exchange) {
            let exchange = exchange.0.into();
            return Err(wrong(NotifyType::INVALID_EXCHANGE_TYPE, "Header.exchange", exchange));
        }
        let flags = Flags::from_octet(flags)
            .ok_or_else(|| wrong(NotifyType::INVALID_FLAGS, "Header.flags", flags.into()))?;
        Ok(Self { cookie_i, cookie_r, next_payload, exchange, flags, message_id, length })
    }

    /// Appends the header; the exact inverse of [`Self::read`].
    pub fn write(&self, w: &mut Writer<'_>) {
        w.bytes(&self.cookie_i.0);
        w.bytes(&self.cookie_r.0);
        w.u8(self.next_payload.0);
        w.u8(Version::V1.0);
        w.u8(self.exchange.0);
        w.u8(self.flags.octet());
        w.u32(self.message_id);
        w.u32(self.length);
    }

    /// A header whose first payload and length the builder fills in.
    #[must_use]
    pub fn new(
        cookie_i: Cookie,
        cookie_r: Cookie,
        exchange: ExchangeType,
        flags: Flags,
        message_id: u32,
    ) -> Self {
        let next_payload = PayloadType::NONE;
        Self { cookie_i, cookie_r, next_payload, exchange, flags, message_id, length: 0 }
    }
}

fn exchange_is_known(exchange: ExchangeType) -> bool {
    exchange != ExchangeType::NONE && exchange.name().is_some()
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    fn known() -> Vec<u8> {
        let mut octets = Vec::new();
        octets.extend([0x2f, 0xa8, 0xd0, 0xc9, 0x15, 0x7a, 0x54, 0xc0]);
        octets.extend([0; 8]);
        octets.extend([1, 0x10, 2, 0, 0, 0, 0, 0, 0, 0, 0, 28]);
        octets
    }

    fn notify_of(change: impl FnOnce(&mut Vec<u8>)) -> NotifyType {
        let mut octets = known();
        change(&mut octets);
        Header::read(&mut Reader(&octets)).unwrap_err().notify
    }

    #[test]
    fn a_known_header_is_read_and_written() {
        let octets = known();

        let header = Header::read(&mut Reader(&octets)).unwrap();

        assert_eq!(header.cookie_i.0, [0x2f, 0xa8, 0xd0, 0xc9, 0x15, 0x7a, 0x54, 0xc0]);
        assert!(header.cookie_r.is_zero());
        assert_eq!(header.next_payload, PayloadType::SA);
        assert_eq!(header.exchange, ExchangeType::IDENTITY_PROTECTION);
        assert!(!header.flags.is_encrypted());
        let mut again = Vec::new();
        header.write(&mut Writer(&mut again));
        assert_eq!(again, octets);
    }

    /// CHECKLIST T11: what RFC 2408 §5.2 has a receiver check is refused, each with its notify.
    #[test]
    fn each_wrong_field_has_its_notify() {
        assert_eq!(notify_of(|h| h.truncate(27)), NotifyType::PAYLOAD_MALFORMED);
        assert_eq!(notify_of(|h| h[17] = 0x20), NotifyType::INVALID_MAJOR_VERSION);
        assert_eq!(notify_of(|h| h[17] = 0x00), NotifyType::INVALID_MAJOR_VERSION);
        assert_eq!(notify_of(|h| h[17] = 0x11), NotifyType::INVALID_MINOR_VERSION);
        assert_eq!(notify_of(|h| h[27] = 29), NotifyType::UNEQUAL_PAYLOAD_LENGTHS);
        assert_eq!(notify_of(|h| h.push(0)), NotifyType::UNEQUAL_PAYLOAD_LENGTHS);
        assert_eq!(notify_of(|h| h[..8].fill(0)), NotifyType::INVALID_COOKIE);
        for exchange in [0, 7, 31, 34, 240, 255] {
            assert_eq!(notify_of(|h| h[18] = exchange), NotifyType::INVALID_EXCHANGE_TYPE);
        }
        for bit in 3..8 {
            assert_eq!(notify_of(|h| h[19] = 1 << bit), NotifyType::INVALID_FLAGS);
        }
    }

    /// CHECKLIST T12: commit and authentication-only are flags like the other.
    #[test]
    fn all_flags_of_the_rfc_are_read() {
        let mut octets = known();
        octets[19] = 7;
        let header = Header::read(&mut Reader(&octets)).unwrap();
        assert!(header.flags.is_encrypted());
        assert!(header.flags.contains(Flags::COMMIT | Flags::AUTHENTICATION_ONLY));
    }

    proptest! {
        #[test]
        fn header_round_trips_and_is_never_read_in_part(
            cookies in (1_u64.., any::<u64>()),
            first in any::<u8>(),
            exchange in prop::sample::select(&ExchangeType::ALL[1..]),
            flags in 0_u8..8,
            message_id in any::<u32>(),
            body_len in 0_usize..40,
        ) {
            let sent = Header {
                next_payload: PayloadType(first),
                length: u32::try_from(Header::LEN + body_len).unwrap(),
                ..Header::new(
                    IkeSpi(cookies.0.to_be_bytes()),
                    IkeSpi(cookies.1.to_be_bytes()),
                    exchange,
                    Flags::from_octet(flags).unwrap(),
                    message_id,
                )
            };
            let mut octets = Vec::new();
            sent.write(&mut Writer(&mut octets));
            octets.resize(Header::LEN + body_len, 0);

            let mut r = Reader(&octets);
            prop_assert_eq!(Header::read(&mut r), Ok(sent));
            prop_assert_eq!(r.len(), body_len);
            for cut in 0..octets.len() {
                prop_assert!(Header::read(&mut Reader(&octets[..cut])).is_err());
            }
        }
    }
}
