//! ICMP errors: messages about another packet, which they quote (RFC 792, RFC 4443 §3, RFC 4884,
//! RFC 2521).
//!
//! ```text
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |     Type      |     Code      |          Checksum             |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |          rest: MTU, pointer, length of the quote, unused      |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ~       the packet that it is about, as much of it as fits      ~
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ~                    extensions (RFC 4884)                      ~
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```

mod report;
#[cfg(test)]
mod tests;

use core::net::IpAddr;

use super::{FlowKey, Icmp, IpPacket, checksum};
use crate::iana::{IpProtocol, SecurityFailure};
use crate::{Reader, WireError};

pub use report::{IcmpReport, may_be_answered};

/// An ICMP or ICMPv6 error, read.
///
/// Nobody has vouched for any of it: who is not authenticated may quote what it likes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct IcmpError<'a> {
    /// ICMP or ICMPv6.
    pub protocol: IpProtocol,
    /// Type and code.
    pub icmp: Icmp,
    /// What follows the checksum, which means something else under each type.
    pub rest: [u8; 4],
    /// The beginning of the packet that it is about.
    pub quoted: &'a [u8],
}

impl<'a> IcmpError<'a> {
    /// Reads the error that a packet carries. Its quote may be as short as it likes, also empty; the
    /// extensions of RFC 4884 are left out of it, and a length that says more than there is means all.
    ///
    /// # Errors
    ///
    /// - [`WireError::BadValue`]: it is no ICMP message, no error, or its checksum is wrong.
    /// - [`WireError::Truncated`]: it ends before the quote.
    pub fn read(packet: &IpPacket<'a>) -> Result<Self, WireError> {
        let protocol = packet.protocol();
        let is_of_version = match protocol {
            IpProtocol::ICMP => packet.is_ipv4(),
            IpProtocol::ICMPV6 => !packet.is_ipv4(),
            _ => false,
        };
        // Of a fragment there is no checksum to be had, and errors are too short to be cut.
        if !is_of_version || packet.fragment().is_some() {
            return Err(WireError::BadValue("IP.protocol", protocol.0.into()));
        }
        let message = packet.payload();
        let mut r = Reader(message);
        let [kind, code] = r.array().map_err(|error| error.within("ICMP error"))?;
        let icmp = Icmp { kind, code };
        if !icmp.is_error(protocol) {
            return Err(WireError::BadValue("ICMP.type", kind.into()));
        }
        let sum = r.u16().map_err(|error| error.within("ICMP error"))?;
        let rest = r.array().map_err(|error| error.within("ICMP error"))?;
        if message_sum(packet.src(), packet.dst(), message) != 0 {
            return Err(WireError::BadValue("ICMP.checksum", sum.into()));
        }
        let quoted = without_extensions(protocol, icmp, rest, r.rest());
        Ok(Self { protocol, icmp, rest, quoted })
    }

    /// The size in octets that a packet too big may have at most, if this is what the error says; zero
    /// if it does not say which (RFC 1191 §5). Any code of ICMPv6 will do (RFC 4443 §3.2).
    #[must_use]
    pub fn too_big(&self) -> Option<u32> {
        let [_, _, m0, m1] = self.rest;
        match (self.protocol, self.icmp.kind, self.icmp.code) {
            (IpProtocol::ICMP, Icmp::UNREACHABLE, Icmp::FRAGMENTATION_NEEDED) => {
                Some(u16::from_be_bytes([m0, m1]).into())
            }
            (IpProtocol::ICMPV6, Icmp::TOO_BIG_V6, _) => Some(u32::from_be_bytes(self.rest)),
            _ => None,
        }
    }

    /// Where in the quoted packet a parameter is wrong, or the SPI is that a security failure means.
    #[must_use]
    pub fn pointer(&self) -> Option<u32> {
        let [p0, _, p2, p3] = self.rest;
        match (self.protocol, self.icmp.kind) {
            (IpProtocol::ICMP, Icmp::PARAMETER_PROBLEM) => Some(p0.into()),
            (IpProtocol::ICMP, Icmp::SECURITY_FAILURE) => Some(u16::from_be_bytes([p2, p3]).into()),
            (IpProtocol::ICMPV6, Icmp::PARAMETER_PROBLEM_V6) => Some(u32::from_be_bytes(self.rest)),
            _ => None,
        }
    }

    /// The code of a security failure (RFC 2521), if it is one.
    #[must_use]
    pub fn security_failure(&self) -> Option<SecurityFailure> {
        let is_one = (self.protocol, self.icmp.kind) == (IpProtocol::ICMP, Icmp::SECURITY_FAILURE);
        is_one.then_some(SecurityFailure(self.icmp.code))
    }

    /// The packet that the error is about.
    ///
    /// # Errors
    ///
    /// Those of [`IpPacket::read_quoted`].
    pub fn about(&self) -> Result<IpPacket<'a>, WireError> {
        IpPacket::read_quoted(self.quoted)
    }

    /// The flow of the packet that the error is about; opaque where the quote ends before the ports.
    /// The way of the error is that of its answers: [`FlowKey::reversed`]. `None` if the quote ends
    /// within the headers.
    #[must_use]
    pub fn flow(&self) -> Option<FlowKey> {
        self.about().ok().map(|about| about.flow_key())
    }

    /// The SPI of the ESP or AH packet that the error is about.
    #[must_use]
    pub fn spi(&self) -> Option<QuotedSpi> {
        QuotedSpi::read(&self.about().ok()?)
    }
}

/// Of an ESP or AH packet, what tells whose it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct QuotedSpi {
    /// ESP or AH.
    pub protocol: IpProtocol,
    /// Security parameter index.
    pub spi: u32,
    /// Its 32 bits of the sequence number, if they are quoted.
    pub sequence: Option<u32>,
    /// The ports, if ESP is in UDP.
    pub udp_ports: Option<(u16, u16)>,
}

impl QuotedSpi {
    /// Reads what is there of an ESP or AH packet above its IP headers, or of ESP above UDP
    /// (RFC 3948); between which ports that is, is for the caller to judge. `None` if there is no
    /// SPI, or that of IKE.
    #[must_use]
    pub fn read(packet: &IpPacket<'_>) -> Option<Self> {
        if packet.is_later_fragment() {
            return None;
        }
        let udp_ports = packet.ports().filter(|_| packet.protocol() == IpProtocol::UDP);
        let (protocol, octets_before) = match packet.protocol() {
            IpProtocol::ESP => (IpProtocol::ESP, 0),
            IpProtocol::AH => (IpProtocol::AH, 4),
            IpProtocol::UDP => (IpProtocol::ESP, UDP_LEN),
            _ => return None,
        };
        let mut r = Reader(packet.payload());
        r.bytes(octets_before).ok()?;
        let spi = r.u32().ok().filter(|spi| *spi != 0)?;
        Some(Self { protocol, spi, sequence: r.u32().ok(), udp_ports })
    }
}

/// The quote without the extensions behind it (RFC 4884 §3 to §5): under some types an octet of the
/// rest says how many words it has.
fn without_extensions(
    protocol: IpProtocol,
    icmp: Icmp,
    [first, second, ..]: [u8; 4],
    octets: &[u8],
) -> &[u8] {
    let (words, word_len) = match (protocol, icmp.kind) {
        (IpProtocol::ICMP, Icmp::UNREACHABLE | Icmp::TIME_EXCEEDED | Icmp::PARAMETER_PROBLEM) => {
            (second, 4)
        }
        (IpProtocol::ICMPV6, Icmp::UNREACHABLE_V6 | Icmp::TIME_EXCEEDED_V6) => (first, 8),
        _ => (0, 0),
    };
    match usize::from(words).saturating_mul(word_len) {
        0 => octets,
        len => octets.get(..len).unwrap_or(octets),
    }
}

/// The checksum of an ICMP message, of ICMPv6 with the pseudo-header (RFC 4443 §2.3); zero if the
/// one that is in it is right.
pub(super) fn message_sum(src: IpAddr, dst: IpAddr, message: &[u8]) -> u16 {
    let (IpAddr::V6(src), IpAddr::V6(dst)) = (src, dst) else { return checksum(message) };
    let len = u32::try_from(message.len()).unwrap_or(u32::MAX);
    let mut pseudo = [0; 40];
    let parts: [&[u8]; 4] =
        [&src.octets(), &dst.octets(), &len.to_be_bytes(), &[0, 0, 0, IpProtocol::ICMPV6.0]];
    pseudo.iter_mut().zip(parts.into_iter().flatten()).for_each(|(place, octet)| *place = *octet);
    let (sum, carry) = (!checksum(&pseudo)).overflowing_add(!checksum(message));
    !sum.wrapping_add(carry.into())
}

const UDP_LEN: usize = 8;
