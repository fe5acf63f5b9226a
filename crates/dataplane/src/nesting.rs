//! SAs whose packets another SA protects once more (RFC 4301 §4.4.1 and Appendix E, RFC 2401 §4.5).
//!
//! ```text
//! outbound  packet -> seal, inner SA -> outer headers in front -> seal, next SA -> … -> Verdict::Send
//! inbound   packet -> open, outermost SA -> outer headers off -> open, next SA -> … -> Deliver
//! ```
//!
//! An SA that is nested is never used alone: nothing is sealed by it before all SAs over it are there
//! and carry its packets, and nothing is opened by it that did not come out of one of them.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use adit_db::{Encapsulation, PolicyId};
use adit_wire::esp::{EspHeader, Spi};
use adit_wire::iana::IpProtocol;
use adit_wire::ip::{FlowKey, IpPacket, Ipv6Header, checksum};
use adit_wire::{PacketBuf, PacketMeta};

use crate::ah::identification;
use crate::ip_header::IpHeader;

/// Most SAs that protect one packet.
pub const NESTING_MAX: usize = 4;

/// Most octets of outer headers between two SAs: IPv6 and UDP. AH brings its own.
pub(crate) const BETWEEN_MAX: usize = Ipv6Header::LEN + UDP_LEN;

/// An inbound SA's place under others.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Under {
    /// The policy of the SAs that its packets come out of.
    pub(crate) policy: PolicyId,
    /// Where its packets go; the port counts only inside UDP.
    pub(crate) local: SocketAddr,
    /// Whether they come in UDP.
    pub(crate) udp: bool,
}

/// Where the packets of nested SAs end, by the policy they come out of, with the number of SAs.
#[derive(Debug, Default)]
pub(crate) struct Ends(BTreeMap<(PolicyId, IpAddr), usize>);

impl Ends {
    pub(crate) fn add(&mut self, under: &Under) {
        let count = self.0.entry((under.policy, under.local.ip())).or_default();
        *count = count.saturating_add(1);
    }

    pub(crate) fn remove(&mut self, under: &Under) {
        let key = (under.policy, under.local.ip());
        if let Some(count) = self.0.get_mut(&key) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.0.remove(&key);
            }
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether what came out of an SA of this policy may be a packet of a nested one, or part of it.
    pub(crate) fn have(&self, policy: PolicyId, packet: &IpPacket<'_>) -> bool {
        let may_be = [IpProtocol::ESP, IpProtocol::AH, IpProtocol::UDP];
        !self.is_empty()
            && may_be.contains(&packet.protocol())
            && self.0.contains_key(&(policy, packet.dst()))
    }
}

/// How packets look outside that are sealed by an SA.
pub(crate) fn outer_flow(encap: &Encapsulation, is_ah: bool) -> FlowKey {
    let (src, dst) = (encap.local, encap.remote);
    match (is_ah, encap.udp) {
        (true, _) => FlowKey::without_ports(src.ip(), dst.ip(), IpProtocol::AH.0),
        (false, false) => FlowKey::without_ports(src.ip(), dst.ip(), IpProtocol::ESP.0),
        (false, true) => {
            FlowKey::new(src.ip(), dst.ip(), IpProtocol::UDP.0, src.port(), dst.port())
        }
    }
}

/// Puts the headers in front of a sealed packet that its `meta` says, so that it is a whole IP packet,
/// and another SA can protect it. `number` tells it from the sender's other packets.
///
/// `None` if there is no room, or the addresses are of two families.
pub(crate) fn put_outer(packet: &mut PacketBuf, number: u64) -> Option<()> {
    let meta = packet.meta;
    if meta.whole {
        return Some(());
    }
    if meta.udp {
        put_udp(packet, meta)?;
    }
    let header = IpHeader {
        src: meta.local.ip(),
        dst: meta.remote.ip(),
        next: if meta.udp { IpProtocol::UDP } else { IpProtocol::ESP },
        class: meta.tos,
        number: identification(number),
        dont_fragment: meta.dont_fragment,
    };
    header.push(packet)
}

/// RFC 3948 §2.1 with RFC 8200 §8.1: IPv4 goes without a checksum, IPv6 does not.
fn put_udp(packet: &mut PacketBuf, meta: PacketMeta) -> Option<()> {
    let len = u16::try_from(packet.len().checked_add(UDP_LEN)?).ok()?;
    let [s0, s1] = meta.local.port().to_be_bytes();
    let [d0, d1] = meta.remote.port().to_be_bytes();
    let [l0, l1] = len.to_be_bytes();
    packet.push_front(UDP_LEN)?.copy_from_slice(&[s0, s1, d0, d1, l0, l1, 0, 0]);
    if let (IpAddr::V6(src), IpAddr::V6(dst)) = (meta.local.ip(), meta.remote.ip()) {
        // The sum of a packet is one more word of the pseudo header.
        let sum = !checksum(packet.data());
        let mut pseudo = [0; 42];
        let fields = src.octets().into_iter().chain(dst.octets());
        let fields = fields.chain([0, 0, l0, l1, 0, 0, 0, IpProtocol::UDP.0]);
        for (octet, value) in pseudo.iter_mut().zip(fields.chain(sum.to_be_bytes())) {
            *octet = value;
        }
        // Zero would say that there is none.
        let sum = match checksum(&pseudo) {
            0 => u16::MAX,
            sum => sum,
        };
        packet.data_mut().get_mut(6..UDP_LEN)?.copy_from_slice(&sum.to_be_bytes());
    }
    Some(())
}

/// What may be a packet of a nested SA, among what another SA gave out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Nested {
    pub(crate) spi: Spi,
    meta: PacketMeta,
    /// Octets of the headers in front of ESP; none of AH, which covers them.
    front_len: usize,
    total_len: usize,
}

impl Nested {
    /// ESP, ESP in UDP or AH in a whole IP packet.
    pub(crate) fn find(octets: &[u8]) -> Option<Self> {
        let packet = IpPacket::read(octets).ok().filter(|packet| packet.fragment().is_none())?;
        let (header_len, payload) = (packet.header_len(), packet.payload());
        let meta = PacketMeta {
            local: SocketAddr::new(packet.dst(), 0),
            remote: SocketAddr::new(packet.src(), 0),
            tos: packet.traffic_class(),
            ..PacketMeta::default()
        };
        let total_len = packet.total_len();
        match packet.protocol() {
            IpProtocol::ESP => {
                let header_len_v4 =
                    if packet.is_ipv4() { u8::try_from(header_len).ok()? } else { 0 };
                let meta = PacketMeta { header_len: header_len_v4, ..meta };
                Some(Self { spi: spi_at(payload, 0)?, meta, front_len: header_len, total_len })
            }
            IpProtocol::UDP => {
                let (from, to) = packet.ports()?;
                let udp_len = usize::from(u16::from_be_bytes(*payload.get(4..)?.first_chunk()?));
                let front_len = header_len.checked_add(UDP_LEN)?;
                let total_len = header_len.checked_add(udp_len)?;
                if udp_len < UDP_LEN + EspHeader::LEN || total_len > packet.total_len() {
                    return None;
                }
                let local = SocketAddr::new(packet.dst(), to);
                let remote = SocketAddr::new(packet.src(), from);
                let meta = PacketMeta { local, remote, udp: true, ..meta };
                Some(Self { spi: spi_at(payload, UDP_LEN)?, meta, front_len, total_len })
            }
            IpProtocol::AH => {
                let meta = PacketMeta { whole: true, ..meta };
                Some(Self { spi: spi_at(payload, AH_SPI_AT)?, meta, front_len: 0, total_len })
            }
            _ => None,
        }
    }

    /// Whether it is for an SA that has its place there, and came out of one of this policy.
    pub(crate) fn belongs(&self, under: &Under, came_out_of: PolicyId) -> bool {
        let PacketMeta { local, udp, .. } = self.meta;
        under.policy == came_out_of
            && under.local.ip() == local.ip()
            && under.udp == udp
            && (!udp || under.local.port() == local.port())
    }

    /// Makes it a packet as the network brings it.
    pub(crate) fn unwrap(&self, packet: &mut PacketBuf) -> bool {
        packet.truncate(self.total_len);
        packet.meta = self.meta;
        packet.pull_front(self.front_len)
    }
}

fn spi_at(payload: &[u8], at: usize) -> Option<Spi> {
    Some(Spi(u32::from_be_bytes(*payload.get(at..)?.first_chunk()?)))
}

const UDP_LEN: usize = 8;

/// Where AH has its SPI (RFC 4302 §2).
const AH_SPI_AT: usize = 4;
