//! IKE header, RFC 7296 §3.1.

use core::{fmt, ops::BitOr};

use crate::{
    Reader, WireError, Writer,
    iana::{ExchangeType, PayloadType},
};

/// One side's SPI of an IKE SA.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct IkeSpi(pub [u8; 8]);

impl IkeSpi {
    /// Not chosen yet: the responder's SPI in the first request of an IKE SA.
    pub const ZERO: Self = Self([0; 8]);

    /// Whether the SPI is not chosen yet.
    #[must_use]
    pub fn is_zero(self) -> bool {
        self == Self::ZERO
    }

    /// The SPI in a proposal's SPI field of eight octets; `None` for another length or zero.
    #[must_use]
    pub fn from_field(field: &[u8]) -> Option<Self> {
        let spi = Self(field.try_into().ok()?);
        (!spi.is_zero()).then_some(spi)
    }
}

/// Sixteen hexadecimal digits.
impl fmt::Display for IkeSpi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", u64::from_be_bytes(self.0))
    }
}

/// Version of the protocol: major in the upper four bits, minor in the lower.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Version(pub u8);

impl Version {
    /// IKEv1, RFC 2408 §3.1.
    pub const V1: Self = Self(0x10);

    /// IKEv2, RFC 7296.
    pub const V2: Self = Self(0x20);

    /// Versions with another major number are other protocols.
    #[must_use]
    pub const fn major(self) -> u8 {
        self.0 >> 4
    }

    /// A higher minor version is understood by all of the same major one.
    #[must_use]
    pub const fn minor(self) -> u8 {
        self.0 & 0x0f
    }
}

/// Flags of the IKE header; bits without a meaning never get in.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Flags(u8);

impl Flags {
    /// No flag: a request by the original responder.
    pub const NONE: Self = Self(0);
    /// The sender is the original initiator of the IKE SA.
    pub const INITIATOR: Self = Self(0x08);
    /// The sender could speak a higher major version; ignored and never sent.
    pub const VERSION: Self = Self(0x10);
    /// The message is a response.
    pub const RESPONSE: Self = Self(0x20);

    /// Keeps what has a meaning: the version flag and the reserved bits are ignored on receipt.
    #[must_use]
    pub const fn from_octet(octet: u8) -> Self {
        Self(octet & (Self::INITIATOR.0 | Self::RESPONSE.0))
    }

    /// The flags of a message from one side of an IKE SA.
    #[must_use]
    pub const fn new(initiator: bool, response: bool) -> Self {
        let initiator = if initiator { Self::INITIATOR.0 } else { 0 };
        let response = if response { Self::RESPONSE.0 } else { 0 };
        Self(initiator | response)
    }

    /// The octet that goes into the header.
    #[must_use]
    pub const fn octet(self) -> u8 {
        self.0
    }

    /// Whether the sender is the original initiator of the IKE SA.
    #[must_use]
    pub const fn is_initiator(self) -> bool {
        self.0 & Self::INITIATOR.0 != 0
    }

    /// Whether the message is a response.
    #[must_use]
    pub const fn is_response(self) -> bool {
        self.0 & Self::RESPONSE.0 != 0
    }
}

impl BitOr for Flags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self::from_octet(self.0 | other.0)
    }
}

/// IKE header, RFC 7296 §3.1.
///
/// ```text
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |                       IKE SA Initiator's SPI                  |
/// |                                                               |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |                       IKE SA Responder's SPI                  |
/// |                                                               |
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
    /// SPI of the original initiator, never zero.
    pub spi_i: IkeSpi,
    /// SPI of the original responder, zero in the first request.
    pub spi_r: IkeSpi,
    /// Type of the first payload.
    pub next_payload: PayloadType,
    /// Version; the rest of the header means the same in all of them.
    pub version: Version,
    /// Exchange this message belongs to.
    pub exchange: ExchangeType,
    /// Who sends, and whether it is a response.
    pub flags: Flags,
    /// Number of the exchange, counted by who began it.
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
    /// - [`WireError::Truncated`]: fewer octets than the header has.
    /// - [`WireError::BadValue`]: the length is not that of the datagram; the initiator's SPI is
    ///   zero; or, in version 2, the responder's SPI is zero although the exchange needs an SA.
    pub fn read(r: &mut Reader<'_>) -> Result<Self, WireError> {
        let datagram = r.len();
        let header = Self::read_fields(r).map_err(|error| error.within("IKE header"))?;
        if usize::try_from(header.length) != Ok(datagram) {
            return Err(WireError::BadValue("Header.length", header.length.into()));
        }
        // RFC 7296 §1.5 lets one message come without SPIs, an INVALID_SPI from a stranger. Nobody
        // vouches for it, so it is as good as lost.
        if header.spi_i.is_zero() {
            return Err(WireError::BadValue("Header.spi_i", 0));
        }
        if header.version.major() == 2 && header.spi_r.is_zero() && !header.begins_sa() {
            return Err(WireError::BadValue("Header.spi_r", 0));
        }
        Ok(header)
    }

    fn read_fields(r: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(Self {
            spi_i: IkeSpi(r.array()?),
            spi_r: IkeSpi(r.array()?),
            next_payload: PayloadType(r.u8()?),
            version: Version(r.u8()?),
            exchange: ExchangeType(r.u8()?),
            flags: Flags::from_octet(r.u8()?),
            message_id: r.u32()?,
            length: r.u32()?,
        })
    }

    /// Appends the header; the exact inverse of [`Self::read`].
    pub fn write(&self, w: &mut Writer<'_>) {
        w.bytes(&self.spi_i.0);
        w.bytes(&self.spi_r.0);
        w.u8(self.next_payload.0);
        w.u8(self.version.0);
        w.u8(self.exchange.0);
        w.u8(self.flags.octet());
        w.u32(self.message_id);
        w.u32(self.length);
    }

    /// A header of version 2; the builder fills in the first payload and the length.
    #[must_use]
    pub fn new(
        spi_i: IkeSpi,
        spi_r: IkeSpi,
        exchange: ExchangeType,
        flags: Flags,
        message_id: u32,
    ) -> Self {
        Self {
            spi_i,
            spi_r,
            next_payload: PayloadType::NONE,
            version: Version::V2,
            exchange,
            flags,
            message_id,
            length: 0,
        }
    }

    /// RFC 7296 §2.6: these responses too may carry no responder's SPI, when they only ask for a
    /// cookie or another group.
    fn begins_sa(&self) -> bool {
        matches!(self.exchange, ExchangeType::IKE_SA_INIT | ExchangeType::IKE_SESSION_RESUME)
    }
}

#[cfg(test)]
mod tests {
    use alloc::{string::ToString, vec::Vec};

    use proptest::prelude::*;

    use super::*;

    /// Header of an IKE_SA_INIT request that carries nothing.
    const OCTETS: [u8; Header::LEN] = [
        0xa8, 0x88, 0x75, 0xa8, 0x19, 0x89, 0x92, 0xa6, 0, 0, 0, 0, 0, 0, 0, 0, 33, 0x20, 34, 0x08,
        0, 0, 0, 0, 0, 0, 0, 28,
    ];

    fn read(octets: &[u8]) -> Result<Header, WireError> {
        Header::read(&mut Reader(octets))
    }

    fn changed(at: usize, value: u8) -> [u8; Header::LEN] {
        let mut octets = OCTETS;
        octets[at] = value;
        octets
    }

    #[test]
    fn a_known_header_is_read_and_written() {
        let header = read(&OCTETS).unwrap();

        assert_eq!(header.spi_i.to_string(), "a88875a8198992a6");
        assert!(header.spi_r.is_zero());
        assert_eq!(header.next_payload, PayloadType::SA);
        assert_eq!((header.version.major(), header.version.minor()), (2, 0));
        assert_eq!(header.exchange, ExchangeType::IKE_SA_INIT);
        assert_eq!(header.flags, Flags::new(true, false));
        assert_eq!((header.message_id, header.length), (0, 28));

        let mut written = Vec::new();
        header.write(&mut Writer(&mut written));
        assert_eq!(written, OCTETS);
    }

    /// CHECKLIST D13: the length is that of the datagram, no more and no less.
    #[test]
    fn a_length_unlike_the_datagrams_is_refused() {
        for length in [0, 27, 29, 255] {
            assert_eq!(
                read(&changed(27, length)),
                Err(WireError::BadValue("Header.length", length.into()))
            );
        }
        assert_eq!(
            read(&changed(24, 0xff)),
            Err(WireError::BadValue("Header.length", 0xff00_001c))
        );
        assert_eq!(
            read(&[OCTETS.as_slice(), &[0]].concat()),
            Err(WireError::BadValue("Header.length", 28))
        );
    }

    /// CHECKLIST A13: an initiator's SPI of zero names no SA, nor does a responder's outside the
    /// exchanges that begin one.
    #[test]
    fn zero_spis_are_refused() {
        let mut octets = OCTETS;
        octets[..8].fill(0);
        assert_eq!(read(&octets), Err(WireError::BadValue("Header.spi_i", 0)));

        for exchange in [35, 36, 37, 43, 44, 240] {
            assert_eq!(
                read(&changed(18, exchange)),
                Err(WireError::BadValue("Header.spi_r", 0)),
                "{}",
                ExchangeType(exchange)
            );
        }
    }

    //= https://www.rfc-editor.org/rfc/rfc7296#section-2.6
    //= type=test
    //# When the IKE_SA_INIT exchange does not result in the creation of an IKE
    //# SA due to INVALID_KE_PAYLOAD, NO_PROPOSAL_CHOSEN, or COOKIE, the
    //# responder's SPI will be zero also in the response message.
    #[test]
    fn an_init_response_may_have_no_responder_spi() {
        let header = read(&changed(19, 0x20)).unwrap();
        assert!(header.flags.is_response());
        assert!(header.spi_r.is_zero());
    }

    /// CHECKLIST D01, D02: another version gets as far as the caller, who answers it.
    #[test]
    fn any_version_is_read() {
        assert_eq!(read(&changed(17, 0x2f)).unwrap().version.minor(), 15);
        assert_eq!(read(&changed(17, 0x30)).unwrap().version.major(), 3);
        assert_eq!(read(&changed(17, 0x10)).unwrap().version.major(), 1);
    }

    /// CHECKLIST D03, D04: the version flag and the reserved bits mean nothing and are not sent.
    #[test]
    fn flags_without_a_meaning_are_ignored_and_never_written() {
        let header = read(&changed(19, 0xff)).unwrap();
        assert_eq!(header.flags, Flags::INITIATOR | Flags::RESPONSE);

        let mut written = Vec::new();
        header.write(&mut Writer(&mut written));
        assert_eq!(written[19], 0x28);
        assert_eq!(Flags::VERSION | Flags::RESPONSE, Flags::RESPONSE);
    }

    #[test]
    fn an_spi_field_has_eight_octets_and_is_not_zero() {
        assert_eq!(
            IkeSpi::from_field(&[0, 0, 0, 0, 0, 0, 0, 1]),
            Some(IkeSpi([0, 0, 0, 0, 0, 0, 0, 1]))
        );
        assert_eq!(IkeSpi::from_field(&[0; 8]), None);
        assert_eq!(IkeSpi::from_field(&[1; 4]), None);
    }

    proptest! {
        /// Whatever `write` emits, `read` returns, and no prefix can be read.
        #[test]
        fn header_round_trips(
            spi_i in 1_u64.., spi_r in 1_u64.., next_payload: u8, version: u8, exchange: u8,
            initiator: bool, response: bool, message_id: u32, body_len in 0..64_usize,
        ) {
            let sent = Header {
                next_payload: PayloadType(next_payload),
                version: Version(version),
                length: u32::try_from(Header::LEN + body_len).unwrap(),
                ..Header::new(
                    IkeSpi(spi_i.to_be_bytes()),
                    IkeSpi(spi_r.to_be_bytes()),
                    ExchangeType(exchange),
                    Flags::new(initiator, response),
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
                prop_assert!(read(&octets[..cut]).is_err());
            }
        }
    }
}
