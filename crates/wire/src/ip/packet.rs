//! A view of one IP packet, of either version (RFC 791, RFC 8200).

use core::net::IpAddr;

use super::{Ecn, FlowKey, checksum, icmp::Icmp, v4, v6};
use crate::{WireError, iana::IpProtocol};

/// Where a fragment belongs in its packet.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct FragmentInfo {
    /// The same in all fragments of one packet.
    pub id: u32,
    /// Octets of the packet before those of this fragment.
    pub offset: u16,
    /// Whether octets of the packet follow those of this fragment.
    pub more: bool,
}

impl FragmentInfo {
    /// Whether anything is missing: an atomic fragment (RFC 6946) is a whole packet.
    pub(super) const fn is_fragment(&self) -> bool {
        self.offset != 0 || self.more
    }
}

/// One IP packet, its headers read and its payload not.
///
/// [`IpPacket::read`] takes any octets. It checks lengths, not checksums.
#[derive(Clone, Copy, Debug)]
pub struct IpPacket<'a> {
    /// Exactly the packet: nothing after its total length.
    pub(super) octets: &'a [u8],
    pub(super) src: IpAddr,
    pub(super) dst: IpAddr,
    pub(super) traffic_class: u8,
    pub(super) ttl: u8,
    pub(super) protocol: IpProtocol,
    pub(super) header_len: usize,
    pub(super) fragment: Option<FragmentInfo>,
    pub(super) dont_fragment: bool,
}

impl<'a> IpPacket<'a> {
    /// Reads the headers of the packet that `octets` begin with; what follows its total length is
    /// left out, as it is padding of a link.
    ///
    /// # Errors
    ///
    /// - [`WireError::Truncated`]: the packet or one of its headers is longer than `octets`.
    /// - [`WireError::BadValue`]: neither version 4 nor 6, or a length below that of the header.
    /// - [`WireError::TooMany`]: more than [`EXTENSIONS_MAX`](super::EXTENSIONS_MAX) extension
    ///   headers, or two fragment headers.
    pub fn read(octets: &'a [u8]) -> Result<Self, WireError> {
        let first = octets.first().ok_or(WireError::Truncated("IP packet"))?;
        match first >> 4 {
            4 => v4::read::<false>(octets).map_err(|error| error.within("IPv4 header")),
            6 => v6::read::<false>(octets).map_err(|error| error.within("IPv6 header")),
            version => Err(WireError::BadValue("IP.version", version.into())),
        }
    }

    /// Reads a packet of which an ICMP error may quote only the beginning: the headers have to be
    /// there, and [`Self::octets`] and [`Self::payload`] are what is quoted of the packet.
    ///
    /// # Errors
    ///
    /// Those of [`IpPacket::read`], but that what follows the headers may be missing.
    pub fn read_quoted(octets: &'a [u8]) -> Result<Self, WireError> {
        let first = octets.first().ok_or(WireError::Truncated("quoted packet"))?;
        match first >> 4 {
            4 => v4::read::<true>(octets).map_err(|error| error.within("quoted IPv4 header")),
            6 => v6::read::<true>(octets).map_err(|error| error.within("quoted IPv6 header")),
            version => Err(WireError::BadValue("IP.version", version.into())),
        }
    }

    /// 4 or 6.
    #[must_use]
    pub const fn version(&self) -> u8 {
        if self.is_ipv4() { 4 } else { 6 }
    }

    /// Whether this is IPv4.
    #[must_use]
    pub const fn is_ipv4(&self) -> bool {
        self.src.is_ipv4()
    }

    /// Source address.
    #[must_use]
    pub const fn src(&self) -> IpAddr {
        self.src
    }

    /// Destination address.
    #[must_use]
    pub const fn dst(&self) -> IpAddr {
        self.dst
    }

    /// Protocol above IP, beyond the extension headers that RFC 4301 §4.4.1.1 skips.
    ///
    /// In a later fragment of an IPv6 packet it is what the fragment header says, which may be
    /// another extension header.
    #[must_use]
    pub const fn protocol(&self) -> IpProtocol {
        self.protocol
    }

    /// Octets of the packet, headers included.
    #[must_use]
    pub const fn total_len(&self) -> usize {
        self.octets.len()
    }

    /// Octets of the IP header with options or extension headers.
    #[must_use]
    pub const fn header_len(&self) -> usize {
        self.header_len
    }

    /// The packet from its first octet to its last.
    #[must_use]
    pub const fn octets(&self) -> &'a [u8] {
        self.octets
    }

    /// What follows the headers.
    #[must_use]
    pub fn payload(&self) -> &'a [u8] {
        self.octets.get(self.header_len..).unwrap_or_default()
    }

    /// DSCP in the upper six bits, ECN in the lower two.
    #[must_use]
    pub const fn traffic_class(&self) -> u8 {
        self.traffic_class
    }

    /// Differentiated services code point, 0 to 63.
    #[must_use]
    pub const fn dscp(&self) -> u8 {
        self.traffic_class >> 2
    }

    /// ECN field.
    #[must_use]
    pub const fn ecn(&self) -> Ecn {
        Ecn::from_traffic_class(self.traffic_class)
    }

    /// Time to live, or hop limit.
    #[must_use]
    pub const fn ttl(&self) -> u8 {
        self.ttl
    }

    /// Whether routers may not fragment the packet; always so in IPv6.
    #[must_use]
    pub const fn dont_fragment(&self) -> bool {
        self.dont_fragment
    }

    /// Where this fragment belongs; `None` for a whole packet.
    #[must_use]
    pub const fn fragment(&self) -> Option<FragmentInfo> {
        self.fragment
    }

    /// Whether this is a fragment but the first, so that the payload begins in mid-air.
    #[must_use]
    pub fn is_later_fragment(&self) -> bool {
        self.fragment.is_some_and(|fragment| fragment.offset != 0)
    }

    /// Source and destination port; `None` in a later fragment, under a protocol without ports or
    /// where the packet ends before them.
    #[must_use]
    pub fn ports(&self) -> Option<(u16, u16)> {
        if !self.protocol.has_ports() || self.is_later_fragment() {
            return None;
        }
        let [s0, s1, d0, d1] = *self.payload().first_chunk()?;
        Some((u16::from_be_bytes([s0, s1]), u16::from_be_bytes([d0, d1])))
    }

    /// Type and code of an ICMP or ICMPv6 message; `None` in a later fragment or of another
    /// protocol or where the packet ends before them.
    #[must_use]
    pub fn icmp(&self) -> Option<Icmp> {
        match self.protocol {
            IpProtocol::ICMP | IpProtocol::ICMPV6 if !self.is_later_fragment() => {
                Icmp::read(self.payload())
            }
            _ => None,
        }
    }

    /// What policies look at. A port that cannot be seen makes the flow opaque (RFC 4301 §4.4.1.1).
    #[must_use]
    pub fn flow_key(&self) -> FlowKey {
        let (src, dst, protocol) = (self.src, self.dst, self.protocol.0);
        let ports = match self.protocol {
            IpProtocol::MOBILITY => self.mobility_type().map(|port| (port, port)),
            _ => self.icmp().map(|icmp| (icmp.as_port(), icmp.as_port())).or_else(|| self.ports()),
        };
        match ports {
            Some((src_port, dst_port)) => FlowKey::new(src, dst, protocol, src_port, dst_port),
            None => FlowKey::without_ports(src, dst, protocol),
        }
    }

    /// Type of a Mobile IPv6 message in the upper octet (RFC 6275 §6.1.1).
    fn mobility_type(&self) -> Option<u16> {
        if self.is_later_fragment() {
            return None;
        }
        let [_next, _len, kind] = *self.payload().first_chunk()?;
        Some(u16::from_be_bytes([kind, 0]))
    }

    /// Whether the header checksum is right; IPv6 has none.
    #[must_use]
    pub fn has_good_checksum(&self) -> bool {
        !self.is_ipv4() || checksum(self.octets.get(..self.header_len).unwrap_or_default()) == 0
    }
}

/// Replaces the traffic class (DSCP and ECN) of the packet, and the checksum with it.
///
/// `false` and no change if the octets are not those of an IP packet.
#[must_use]
pub fn set_traffic_class(packet: &mut [u8], traffic_class: u8) -> bool {
    let done = match packet.first().map(|first| first >> 4) {
        Some(4) => v4::set_traffic_class(packet, traffic_class),
        Some(6) => v6::set_traffic_class(packet, traffic_class),
        _ => None,
    };
    done.is_some()
}

/// Replaces the hops that a packet has left, and of IPv4 the checksum with them.
///
/// `false` and no change if the octets are not those of an IP packet.
#[must_use]
pub fn set_ttl(packet: &mut [u8], ttl: u8) -> bool {
    let done = match packet.first().map(|first| first >> 4) {
        Some(4) => v4::set_ttl(packet, ttl),
        Some(6) => v6::set_hop_limit(packet, ttl),
        _ => None,
    };
    done.is_some()
}

/// Replaces the ECN field of the packet, and the checksum with it.
///
/// `false` and no change if the octets are not those of an IP packet.
#[must_use]
pub fn set_ecn(packet: &mut [u8], ecn: Ecn) -> bool {
    match IpPacket::read(packet).map(|view| view.traffic_class()) {
        Ok(traffic_class) => set_traffic_class(packet, ecn.in_traffic_class(traffic_class)),
        Err(_) => false,
    }
}
