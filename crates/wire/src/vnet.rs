//! The header of virtio-net before each packet of a TUN device with offloads (OASIS virtio 1.2
//! §5.1.6, "legacy interface"): how a packet is to be cut, and whose checksum is still to be made.
//!
//! It never leaves the host, and so its numbers are in the host's order.
//!
//! ```text
//! | flags (1) | GSO type (1) | header length (2) | segment length (2) |
//! | checksum start (2) | checksum offset (2) |
//! ```

use crate::error::WireError;
use crate::reader::Reader;

/// What stands before a packet of a TUN device.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct VnetHeader {
    /// Whether the checksum above IP is to be made: its field holds the sum of the pseudo header.
    pub needs_checksum: bool,
    /// Whether the checksum above IP has been looked at and is right.
    pub checksum_valid: bool,
    /// How the packet is to be cut.
    pub gso: Gso,
    /// Whether a TCP header carries ECN, so that only the first segment may have CWR.
    pub ecn: bool,
    /// Octets of IP and transport headers, before what is cut. A hint of the sender.
    pub header_len: u16,
    /// Octets of payload in each segment but the last.
    pub segment_len: u16,
    /// Where the octets begin that the checksum covers.
    pub checksum_start: u16,
    /// Where in those the checksum is.
    pub checksum_offset: u16,
}

/// How a super-packet is to be cut.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Gso {
    /// It is a packet.
    #[default]
    None,
    /// Into TCP segments in IPv4.
    TcpV4,
    /// Into TCP segments in IPv6.
    TcpV6,
    /// Into UDP datagrams, of either family.
    UdpL4,
}

impl VnetHeader {
    /// Octets of the header.
    pub const LEN: usize = 10;

    /// Reads the header.
    ///
    /// # Errors
    ///
    /// [`WireError::Truncated`]; [`WireError::BadValue`] for a kind of cutting that nobody asked for
    /// (UDP into IP fragments).
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        let octets = reader.array().map_err(|error| error.within("virtio-net header"))?;
        let [flags, kind, h0, h1, s0, s1, c0, c1, o0, o1] = octets;
        let gso = match kind & !GSO_ECN {
            GSO_NONE => Gso::None,
            GSO_TCPV4 => Gso::TcpV4,
            GSO_TCPV6 => Gso::TcpV6,
            GSO_UDP_L4 => Gso::UdpL4,
            other => return Err(WireError::BadValue("GSO type", other.into())),
        };
        Ok(Self {
            needs_checksum: flags & NEEDS_CSUM != 0,
            checksum_valid: flags & DATA_VALID != 0,
            gso,
            ecn: kind & GSO_ECN != 0,
            header_len: u16::from_ne_bytes([h0, h1]),
            segment_len: u16::from_ne_bytes([s0, s1]),
            checksum_start: u16::from_ne_bytes([c0, c1]),
            checksum_offset: u16::from_ne_bytes([o0, o1]),
        })
    }

    /// The header's octets.
    #[must_use]
    pub fn to_octets(&self) -> [u8; Self::LEN] {
        let mut flags = if self.needs_checksum { NEEDS_CSUM } else { 0 };
        flags |= if self.checksum_valid { DATA_VALID } else { 0 };
        let kind = match self.gso {
            Gso::None => GSO_NONE,
            Gso::TcpV4 => GSO_TCPV4,
            Gso::TcpV6 => GSO_TCPV6,
            Gso::UdpL4 => GSO_UDP_L4,
        };
        let kind = if self.ecn { kind | GSO_ECN } else { kind };
        let [h0, h1] = self.header_len.to_ne_bytes();
        let [s0, s1] = self.segment_len.to_ne_bytes();
        let [c0, c1] = self.checksum_start.to_ne_bytes();
        let [o0, o1] = self.checksum_offset.to_ne_bytes();
        [flags, kind, h0, h1, s0, s1, c0, c1, o0, o1]
    }
}

const NEEDS_CSUM: u8 = 1;
const DATA_VALID: u8 = 2;
const GSO_NONE: u8 = 0;
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;
const GSO_UDP_L4: u8 = 5;
const GSO_ECN: u8 = 0x80;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        for gso in [Gso::None, Gso::TcpV4, Gso::TcpV6, Gso::UdpL4] {
            let header = VnetHeader {
                needs_checksum: true,
                checksum_valid: false,
                gso,
                ecn: gso == Gso::TcpV4,
                header_len: 52,
                segment_len: 1_338,
                checksum_start: 20,
                checksum_offset: 16,
            };
            let octets = header.to_octets();
            assert_eq!(VnetHeader::read(&mut Reader(&octets)), Ok(header));
        }
        assert_eq!(VnetHeader::default().to_octets(), [0; VnetHeader::LEN]);
    }

    #[test]
    fn what_nobody_asked_for_is_refused() {
        let into_fragments = [1, 3, 0, 0, 0, 0, 0, 0, 0, 0];
        let refused = VnetHeader::read(&mut Reader(&into_fragments));
        assert_eq!(refused, Err(WireError::BadValue("GSO type", 3)));
        assert!(VnetHeader::read(&mut Reader(&into_fragments[..9])).is_err());
    }
}
