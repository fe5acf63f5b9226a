//! IP headers that the engine puts in front of packets: outer ones, where the kernel does not
//! (RFC 4301 §5.1.2), and inner ones that did not travel.

use std::net::IpAddr;

use adit_wire::PacketBuf;
use adit_wire::iana::IpProtocol;
use adit_wire::ip::{Ipv4Header, Ipv6Header};

/// What the header says; it has no options, and no flow label.
pub(crate) struct IpHeader {
    pub(crate) src: IpAddr,
    pub(crate) dst: IpAddr,
    pub(crate) next: IpProtocol,
    /// Traffic class: DSCP and ECN.
    pub(crate) class: u8,
    /// IPv4: its identification.
    pub(crate) number: u16,
    /// IPv4: whether routers may not cut the packet.
    pub(crate) dont_fragment: bool,
}

impl IpHeader {
    /// Puts it in front of a packet. `None` if there is no room, or the addresses are of two families.
    pub(crate) fn push(&self, packet: &mut PacketBuf) -> Option<()> {
        let len = packet.len();
        match (self.src, self.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                let header = Ipv4Header {
                    traffic_class: self.class,
                    total_len: u16::try_from(len.checked_add(Ipv4Header::LEN)?).ok()?,
                    identification: self.number,
                    dont_fragment: self.dont_fragment,
                    ttl: TTL,
                    protocol: self.next,
                    src,
                    dst,
                };
                packet.push_front(Ipv4Header::LEN)?.copy_from_slice(&header.to_octets());
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                let header = Ipv6Header {
                    traffic_class: self.class,
                    flow_label: 0,
                    payload_len: u16::try_from(len).ok()?,
                    next: self.next,
                    hop_limit: TTL,
                    src,
                    dst,
                };
                packet.push_front(Ipv6Header::LEN)?.copy_from_slice(&header.to_octets());
            }
            _ => return None,
        }
        Some(())
    }
}

/// What a packet has left to live (RFC 1700).
const TTL: u8 = 64;
