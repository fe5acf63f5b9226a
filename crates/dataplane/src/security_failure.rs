//! ICMP security failures of our own (RFC 2521): that a packet was refused for its security, and why.
//!
//! | code | when | to |
//! |---|---|---|
//! | 0 bad SPI | no SA has its SPI, nor comes in time, but its sender has others that say `all` | the outer source |
//! | 1 authentication failed | its ICV is wrong | the outer source |
//! | 2 decompression failed | it cannot be inflated | the outer source |
//! | 3 decryption failed | its padding is wrong, though it is authentic | the outer source |
//! | 4 need authentication | it came in clear, and a policy protects it | its source |
//! | 5 need authorization | it came by an SA, and a policy discards it | the inner source |
//!
//! What comes in clear and should not is kept out by the kernel's packet filter, and never seen by the
//! engine: who is told of it asks [`need_authentication`].
//!
//! Nobody is told unless an SA's tunnel says so. Whoever forges a source address of a peer can have that one
//! told things, within a rate, and with no more octets than the forgery has; who is told must not believe
//! it. IPv6 has no such message, and TCP no packets to tell of.
//!
//! Of the outer packet the network has kept the header from us; what is quoted of it is made anew, with
//! addresses, ports, length, SPI and sequence number as they were, and zero for what is not known.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

use adit_db::{ChildSaId, Mode, SecurityFailures, TableId};
use adit_wire::PacketBuf;
use adit_wire::esp::EspHeader;
use adit_wire::iana::{IpProtocol, SecurityFailure};
use adit_wire::ip::{IcmpReport, IpPacket, Ipv4Header};

use crate::bucket::TokenBucket;
use crate::drop_reason::DropReason;
use crate::sa::InboundSa;

/// What there is to tell, and about whose packets.
#[derive(Default)]
pub(crate) struct Failures {
    /// Where the peers are of the SAs that have them told.
    peers: BTreeMap<ChildSaId, IpAddr>,
    /// How many such SAs each peer has.
    at: BTreeMap<IpAddr, u32>,
    queue: VecDeque<PacketBuf>,
    bucket: TokenBucket,
}

/// An ESP or AH packet as it came.
#[derive(Clone, Copy)]
pub(crate) struct Came {
    pub(crate) header: EspHeader,
    /// Octets without the outer headers.
    pub(crate) len: usize,
    /// Whether it came out of another SA.
    pub(crate) nested: bool,
}

impl Failures {
    /// The next message; where it goes is in it, and its source is left to who sends it.
    pub(crate) fn pop(&mut self) -> Option<PacketBuf> {
        self.queue.pop_front()
    }

    /// An SA is there now.
    pub(crate) fn installed(&mut self, sa: Option<&InboundSa>) {
        let loud = sa.filter(|sa| sa.security_failures() == SecurityFailures::All);
        loud.iter().for_each(|sa| self.add(sa.child(), sa.remote.ip()));
    }

    /// An SA is gone.
    pub(crate) fn removed(&mut self, child: ChildSaId) {
        let Some(peer) = self.peers.remove(&child) else { return };
        if let Some(count) = self.at.get_mut(&peer) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.at.remove(&peer);
            }
        }
    }

    /// The peer of an SA is elsewhere now.
    pub(crate) fn moved(&mut self, child: ChildSaId, peer: IpAddr) {
        if self.peers.contains_key(&child) {
            self.removed(child);
            self.add(child, peer);
        }
    }

    fn add(&mut self, child: ChildSaId, peer: IpAddr) {
        self.peers.insert(child, peer);
        let count = self.at.entry(peer).or_default();
        *count = count.saturating_add(1);
    }

    /// Whether the sender of a packet is told if no SA has its SPI.
    pub(crate) fn has_peer(&self, packet: &PacketBuf) -> bool {
        self.at.contains_key(&packet.meta.remote.ip())
    }

    /// No SA has the SPI of a packet.
    #[cold]
    pub(crate) fn unknown(&mut self, packet: &PacketBuf, came: Came, now: Instant) {
        if self.has_peer(packet) {
            self.tell_outside(SecurityFailure::BAD_SPI, packet, came, now);
        }
    }

    /// An SA has refused a packet. What is in the buffer then is what the refusal has left of it.
    #[cold]
    pub(crate) fn refused(
        &mut self,
        sa: &InboundSa,
        reason: DropReason,
        packet: &PacketBuf,
        came: Came,
        now: Instant,
    ) {
        let Some(code) = code_of(reason) else { return };
        match (code, sa.security_failures()) {
            (_, SecurityFailures::Off) => {}
            (SecurityFailure::NEED_AUTHORIZATION, _) if sa.mode == Mode::Tunnel => {
                self.tell_inside(packet, sa.table, now);
            }
            (SecurityFailure::NEED_AUTHORIZATION, _) | (_, SecurityFailures::Inside) => {}
            (_, SecurityFailures::All) => self.tell_outside(code, packet, came, now),
        }
    }

    /// Tells the sender of an inner packet.
    fn tell_inside(&mut self, packet: &PacketBuf, table: TableId, now: Instant) {
        let Ok(inner) = IpPacket::read(packet.data()) else { return };
        let report = IcmpReport::security_failure(SecurityFailure::NEED_AUTHORIZATION, 0);
        self.tell(&report, &inner, inner.total_len(), table, now);
    }

    /// Tells the sender of an outer packet.
    fn tell_outside(
        &mut self,
        code: SecurityFailure,
        packet: &PacketBuf,
        came: Came,
        now: Instant,
    ) {
        // What came by TCP has a connection to complain on, and what was nested no outer packet.
        if packet.meta.tcp || came.nested {
            return;
        }
        if packet.meta.whole {
            let Ok(outer) = IpPacket::read(packet.data()) else { return };
            let spi_at = outer.header_len().saturating_add(AH_SPI_AT);
            let report = IcmpReport::security_failure(code, u16::try_from(spi_at).unwrap_or(0));
            return self.tell(&report, &outer, outer.total_len(), TableId::DEFAULT, now);
        }
        let Some(outer) = Outer::of(packet, came) else { return };
        let Some(octets) = outer.octets.get(..outer.quoted) else { return };
        let Ok(about) = IpPacket::read_quoted(octets) else { return };
        let report = IcmpReport::security_failure(code, outer.spi_at);
        self.tell(&report, &about, outer.total_len, TableId::DEFAULT, now);
    }

    /// Writes a message about a packet of so many octets, if it has no more than that.
    fn tell(
        &mut self,
        report: &IcmpReport,
        about: &IpPacket<'_>,
        total_len: usize,
        table: TableId,
        now: Instant,
    ) {
        let is_ours = about.is_ipv4() && self.queue.len() < FAILURES_MAX;
        if !is_ours {
            return;
        }
        // A flood of forgeries is to allocate nothing beyond the rate.
        let mut octets = [0; FAILURE_OCTETS_MAX];
        let Some(message) = written(report, about, total_len, &mut octets) else { return };
        if self.bucket.pass(FAILURES_PER_SECOND, now) {
            let mut answer = PacketBuf::with_capacity(0, message.len());
            if !answer.fill(message) {
                return;
            }
            answer.meta.table = table.0;
            answer.meta.remote.set_ip(about.src());
            self.queue.push_back(answer);
        }
    }
}

/// What the sender of an IPv4 packet may hear that came in clear though a policy protects it: a whole IP
/// packet without a source, to be sent if there is a brake on that. `clear` is the beginning of its packet,
/// with all headers of IP. `None` if there is no answer to it, or a longer one than it is.
#[must_use]
pub fn need_authentication(clear: &[u8]) -> Option<PacketBuf> {
    let about = IpPacket::read_quoted(clear).ok().filter(IpPacket::is_ipv4)?;
    let report = IcmpReport::security_failure(SecurityFailure::NEED_AUTHENTICATION, 0);
    let mut octets = [0; FAILURE_OCTETS_MAX];
    let message = written(&report, &about, clear.len(), &mut octets)?;
    let mut answer = PacketBuf::with_capacity(0, message.len());
    answer.fill(message).then_some(answer)
}

/// A message about a packet of so many octets, if it has no more than that; its source is left open.
fn written<'a>(
    report: &IcmpReport,
    about: &IpPacket<'_>,
    total_len: usize,
    octets: &'a mut [u8; FAILURE_OCTETS_MAX],
) -> Option<&'a [u8]> {
    let source = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    let len = report.write(about, source, octets).filter(|len| *len <= total_len)?;
    octets.get(..len)
}

fn code_of(reason: DropReason) -> Option<SecurityFailure> {
    #[expect(clippy::wildcard_enum_match_arm, reason = "RFC 2521 has no code for the others")]
    match reason {
        DropReason::BadIcv => Some(SecurityFailure::AUTHENTICATION_FAILED),
        DropReason::UnknownCpi | DropReason::BadCompression | DropReason::InflatesTooFar => {
            Some(SecurityFailure::DECOMPRESSION_FAILED)
        }
        DropReason::BadPadding => Some(SecurityFailure::DECRYPTION_FAILED),
        DropReason::PolicyDiscard => Some(SecurityFailure::NEED_AUTHORIZATION),
        _ => None,
    }
}

/// The beginning of an outer packet, made anew: the IPv4 header, that of UDP if there is one, SPI and
/// sequence number.
struct Outer {
    octets: [u8; Self::LEN],
    quoted: usize,
    spi_at: u16,
    total_len: usize,
}

impl Outer {
    const LEN: usize = Ipv4Header::LEN + UDP_LEN + EspHeader::LEN;

    /// `None` if it is not of IPv4, or our address is not known: it may be that of many.
    fn of(packet: &PacketBuf, came: Came) -> Option<Self> {
        let meta = &packet.meta;
        let (IpAddr::V4(src), IpAddr::V4(dst)) = (meta.remote.ip(), meta.local.ip()) else {
            return None;
        };
        if dst.is_unspecified() {
            return None;
        }
        let (udp_len, protocol) =
            if meta.udp { (UDP_LEN, IpProtocol::UDP) } else { (0, IpProtocol::ESP) };
        let above_ip = udp_len.checked_add(came.len)?;
        let total_len = above_ip.checked_add(Ipv4Header::LEN)?;
        let header = Ipv4Header {
            traffic_class: meta.tos,
            total_len: u16::try_from(total_len).ok()?,
            identification: 0,
            dont_fragment: false,
            ttl: 0,
            protocol,
            src,
            dst,
        };
        let mut octets = [0; Self::LEN];
        let (ip, rest) = octets.split_first_chunk_mut::<{ Ipv4Header::LEN }>()?;
        *ip = header.to_octets();
        let (udp, esp) = rest.split_at_mut_checked(udp_len)?;
        if let Some(udp) = udp.first_chunk_mut::<UDP_LEN>() {
            let ([s0, s1], [d0, d1]) =
                (meta.remote.port().to_be_bytes(), meta.local.port().to_be_bytes());
            let [l0, l1] = u16::try_from(above_ip).ok()?.to_be_bytes();
            *udp = [s0, s1, d0, d1, l0, l1, 0, 0];
        }
        let ([a, b, c, d], [e, f, g, h]) =
            (came.header.spi.to_octets(), came.header.sequence.to_be_bytes());
        *esp.first_chunk_mut::<{ EspHeader::LEN }>()? = [a, b, c, d, e, f, g, h];
        let spi_at = udp_len.checked_add(Ipv4Header::LEN)?;
        let quoted = spi_at.checked_add(EspHeader::LEN)?;
        Some(Self { octets, quoted, spi_at: u16::try_from(spi_at).ok()?, total_len })
    }
}

const UDP_LEN: usize = 8;
/// Where in AH its SPI is.
const AH_SPI_AT: usize = 4;

/// Longest message: the headers of IP and ICMP, and of the packet that it is about an IP header with all
/// options and twelve octets of AH.
const FAILURE_OCTETS_MAX: usize = Ipv4Header::LEN + 8 + 60 + 12;

/// Most messages that wait to be polled.
const FAILURES_MAX: usize = 32;

/// Most messages a second, about packets of all SAs together.
pub const FAILURES_PER_SECOND: u32 = 10;
