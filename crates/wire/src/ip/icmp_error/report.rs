//! ICMP errors, written (RFC 1812 §4.3.2, RFC 4443 §2.4, RFC 2521).

use core::net::IpAddr;

use super::super::{Icmp, IpPacket, Ipv4Header, Ipv6Header};
use super::message_sum;
use crate::iana::{IpProtocol, SecurityFailure};

/// What an ICMP or ICMPv6 error is to say about a packet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct IcmpReport {
    /// Type and code.
    pub icmp: Icmp,
    /// What follows the checksum.
    pub rest: [u8; 4],
    /// How much of the packet it quotes.
    quote: Quote,
}

/// How much of a packet is quoted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Quote {
    /// As much as fits into the size that every path takes.
    Long,
    /// The headers and 64 bits of what follows them, or of what the pointer shows.
    Short,
}

impl IcmpReport {
    /// Destination unreachable with this code, which differs between IPv4 and IPv6.
    #[must_use]
    pub const fn unreachable(is_ipv4: bool, code: u8) -> Self {
        Self::new(if is_ipv4 { Icmp::UNREACHABLE } else { Icmp::UNREACHABLE_V6 }, code, [0; 4])
    }

    /// Fragmentation needed, or packet too big: `mtu` octets would have fitted (RFC 1191 §4, RFC 4443
    /// §3.2). In ICMP there is room for 65,535.
    #[must_use]
    pub const fn too_big(is_ipv4: bool, mtu: u32) -> Self {
        let mtu = if is_ipv4 && mtu > 0xffff { 0xffff } else { mtu };
        let rest = mtu.to_be_bytes();
        if is_ipv4 {
            Self::new(Icmp::UNREACHABLE, Icmp::FRAGMENTATION_NEEDED, rest)
        } else {
            Self::new(Icmp::TOO_BIG_V6, 0, rest)
        }
    }

    /// Time exceeded in transit.
    #[must_use]
    pub const fn time_exceeded(is_ipv4: bool) -> Self {
        Self::new(if is_ipv4 { Icmp::TIME_EXCEEDED } else { Icmp::TIME_EXCEEDED_V6 }, 0, [0; 4])
    }

    /// A security failure about a packet of IPv4, whose SPI is `pointer` octets behind its first one;
    /// zero if there is none (RFC 2521 §2).
    #[must_use]
    pub const fn security_failure(code: SecurityFailure, pointer: u16) -> Self {
        let [p0, p1] = pointer.to_be_bytes();
        let report = Self::new(Icmp::SECURITY_FAILURE, code.0, [0, 0, p0, p1]);
        Self { quote: Quote::Short, ..report }
    }

    /// An error of any type and code, which quotes as much as fits.
    #[must_use]
    pub const fn new(kind: u8, code: u8, rest: [u8; 4]) -> Self {
        Self { icmp: Icmp { kind, code }, rest, quote: Quote::Long }
    }

    /// Writes an IP packet with this error to the sender of the packet that it is `about`, from
    /// `source`, to the front of `out`, and returns its length in octets: at most [`Self::V4_MAX`] or
    /// [`Self::V6_MAX`].
    ///
    /// `None` if `about` [may not be answered](may_be_answered), `source` is of another IP version, or
    /// `out` is too small.
    #[must_use]
    pub fn write(&self, about: &IpPacket<'_>, source: IpAddr, out: &mut [u8]) -> Option<usize> {
        if !may_be_answered(about) {
            return None;
        }
        let (header_len, max) = match source {
            IpAddr::V4(_) => (Ipv4Header::LEN, Self::V4_MAX),
            IpAddr::V6(_) => (Ipv6Header::LEN, Self::V6_MAX),
        };
        let message_at = header_len;
        let quote_at = message_at.checked_add(HEAD_LEN)?;
        let quoted = about.octets();
        let quote_max = match self.quote {
            Quote::Long => max.checked_sub(quote_at)?,
            Quote::Short => {
                let [_, _, p0, p1] = self.rest;
                let pointed_at = usize::from(u16::from_be_bytes([p0, p1]));
                about.header_len().max(pointed_at).checked_add(SHORT_LEN)?
            }
        };
        let quoted = quoted.get(..quote_max).unwrap_or(quoted);
        let total = quote_at.checked_add(quoted.len())?;
        let out = out.get_mut(..total)?;
        let (header, message) = out.split_at_mut_checked(message_at)?;
        write_header(about, source, message.len(), header)?;
        let (head, quote) = message.split_first_chunk_mut::<HEAD_LEN>()?;
        let [r0, r1, r2, r3] = self.rest;
        *head = [self.icmp.kind, self.icmp.code, 0, 0, r0, r1, r2, r3];
        quote.copy_from_slice(quoted);
        let sum = message_sum(source, about.src(), message).to_be_bytes();
        message.get_mut(2..4)?.copy_from_slice(&sum);
        Some(total)
    }

    /// Longest packet with an ICMP error (RFC 1812 §4.3.2.3).
    pub const V4_MAX: usize = 576;
    /// Longest packet with an ICMPv6 error: the least MTU of IPv6 (RFC 4443 §2.4 (c)).
    pub const V6_MAX: usize = 1_280;
}

/// Writes the IP header of an error with `len` octets of ICMP. It has the DSCP of the packet that it
/// is about (RFC 1812 §4.3.2.5), as it may have to go the same way.
fn write_header(about: &IpPacket<'_>, source: IpAddr, len: usize, out: &mut [u8]) -> Option<()> {
    let traffic_class = about.dscp() << 2;
    match (source, about.src()) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            let header = Ipv4Header {
                traffic_class,
                total_len: u16::try_from(len.checked_add(Ipv4Header::LEN)?).ok()?,
                // RFC 6864 §4.1: it says nothing in a packet that nobody may fragment.
                identification: 0,
                dont_fragment: true,
                ttl: HOP_LIMIT,
                protocol: IpProtocol::ICMP,
                src,
                dst,
            };
            out.copy_from_slice(&header.to_octets());
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            let header = Ipv6Header {
                traffic_class,
                flow_label: 0,
                payload_len: u16::try_from(len).ok()?,
                next: IpProtocol::ICMPV6,
                hop_limit: HOP_LIMIT,
                src,
                dst,
            };
            out.copy_from_slice(&header.to_octets());
        }
        _ => return None,
    }
    Some(())
}

/// Whether an ICMP error may be sent about a packet (RFC 1122 §3.2.2, RFC 4443 §2.4 (e)): not about an
/// ICMP error or redirect, nor what went to many, nor any fragment but the first, nor where the source
/// is not one host. Who would be deaf to a message about its own (ICMP whose type is not to be seen)
/// gets none.
#[must_use]
pub fn may_be_answered(packet: &IpPacket<'_>) -> bool {
    if packet.is_later_fragment() || !is_one_host(packet.src()) || is_many(packet.dst()) {
        return false;
    }
    match packet.protocol() {
        protocol @ (IpProtocol::ICMP | IpProtocol::ICMPV6) => packet.icmp().is_some_and(|icmp| {
            let is_redirect = protocol == IpProtocol::ICMPV6 && icmp.kind == Icmp::REDIRECT_V6;
            !icmp.is_error(protocol) && !is_redirect
        }),
        _ => true,
    }
}

/// Whether an address can be one host's elsewhere.
fn is_one_host(address: IpAddr) -> bool {
    let is_reserved = match address {
        // This network, and what is reserved for the future, the broadcast address among it.
        IpAddr::V4(address) => {
            let [first, ..] = address.octets();
            first == 0 || first >= 240
        }
        IpAddr::V6(_) => false,
    };
    !(is_reserved || address.is_unspecified() || address.is_loopback() || address.is_multicast())
}

fn is_many(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_multicast() || address.is_broadcast(),
        IpAddr::V6(address) => address.is_multicast(),
    }
}

/// Octets before the quote.
const HEAD_LEN: usize = 8;
/// Octets quoted behind the headers at least: where ports and SPIs are.
const SHORT_LEN: usize = 8;
const HOP_LIMIT: u8 = 64;
