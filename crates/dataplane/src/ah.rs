//! AH packets, RFC 4302 §3: building and opening them in place.
//!
//! ```text
//! | IP header, options or extension headers | AH (12) | ICV | padding | payload |
//! |<- authenticated but for mutable fields ->|<----------- authenticated -------->|
//! ```
//!
//! The payload is a whole inner packet in tunnel mode, and in transport mode what follows the
//! packet's own headers. The headers in front are covered by the ICV, the identification of IPv4
//! included, so a packet begins with its outer IP header here, on the way out and in
//! (`PacketMeta::whole`).
//!
//! Multicast SAs (§2.4) are keyed by hand: IKE does not negotiate them.

use std::time::Instant;

use adit_crypto::{Authentication, AuthenticationKey};
use adit_db::{Age, Mode};
use adit_wire::ah::AhHeader;
use adit_wire::iana::IpProtocol;
use adit_wire::ip::{FrontHeaders, IpPacket, Ipv4Header, Ipv6Header, covered_headers};
use adit_wire::{PacketBuf, PacketMeta, Reader, WireError};

use crate::drop_reason::DropReason;
use crate::esp::Label;
use crate::event::Events;
use crate::inbound::{Arrived, Gate, Numbered};
use crate::ip_header::IpHeader;
use crate::sa::{InboundSa, OutboundSa, SealingKey};
use crate::seal::{IP_OCTETS_MAX, Inner, move_header, spend};

/// Most octets in front of an inner packet: an IPv6 header, AH, and the ICV of HMAC-SHA-512-256 with
/// its padding.
pub(crate) const FRONT_MAX: usize =
    Ipv6Header::LEN + AhHeader::LEN + AhHeader::icv_field_len(Authentication::TAG_LEN_MAX, true);

/// What sealing is going to do to a packet.
struct Plan {
    /// Octets of the headers in front of AH.
    front_len: usize,
    /// Octets of AH with its ICV field.
    ah_len: usize,
    next: IpProtocol,
}

impl OutboundSa {
    /// Authenticates one packet in place (RFC 4302 §3.3) and fills in how it travels. Its age has
    /// been checked.
    ///
    /// # Errors
    ///
    /// - [`DropReason::Fragment`], [`DropReason::BadHeaders`]: transport mode cannot carry it.
    /// - [`DropReason::NoRoom`]: headroom is too small, or it would exceed what IP has.
    /// - [`DropReason::SequenceExhausted`]: the counter would wrap (RFC 4302 §3.3.2).
    ///
    /// On every error the packet is unchanged and no sequence number is spent.
    pub(crate) fn seal_ah(
        &mut self,
        packet: &mut PacketBuf,
        inner: &Inner,
        now: Instant,
        events: &mut Events,
    ) -> Result<(), DropReason> {
        let inner_len = packet.len();
        let SealingKey::Ah(key) = &self.key else { return Err(DropReason::NoSa) };
        let tag_len = key.algorithm().tag_len();
        let plan = self.plan(packet, inner, tag_len)?;
        let Ok(sequence) = spend(&mut self.sequence, &mut self.meter) else {
            self.tell(Age::Hard, now, events);
            return Err(DropReason::SequenceExhausted);
        };
        let label = Label { spi: self.spi, sequence, esn: self.esn };
        let class = self.outer_class(inner.look.class);
        match self.mode {
            Mode::Tunnel => {
                let dont_fragment = self.outer_dont_fragment(inner.look, inner_len, &packet.meta);
                self.put_outer(packet, &plan, class, dont_fragment, sequence)
            }
            // AH has no BEET mode: nobody negotiates it.
            Mode::Transport | Mode::Beet => open_gap(packet, &plan, &inner.front, sequence),
        }
        .ok_or(DropReason::NoRoom)?;
        sign(packet, key, label, &plan)?;
        packet.meta = PacketMeta {
            local: self.encap.local,
            remote: self.encap.remote,
            tos: class,
            whole: true,
            joined: packet.meta.joined,
            ..PacketMeta::default()
        };
        self.count(inner_len, now, events);
        Ok(())
    }

    /// Where everything goes, decided before anything is changed.
    fn plan(&self, packet: &PacketBuf, inner: &Inner, tag_len: usize) -> Result<Plan, DropReason> {
        let (own_front, next) = self.cut(inner, true)?;
        let ipv6 = match self.mode {
            Mode::Tunnel => self.encap.remote.is_ipv6(),
            Mode::Transport | Mode::Beet => !inner.look.is_ipv4,
        };
        if self.mode != Mode::Tunnel && inner.front.has_options() {
            let front = packet.data().get(..own_front).unwrap_or_default();
            covered_headers(front, next, &mut |_: &[u8]| {}).map_err(|_| DropReason::BadHeaders)?;
        }
        let ah_len = AhHeader::LEN + AhHeader::icv_field_len(tag_len, ipv6);
        let (front_len, added) = match (self.mode, ipv6) {
            (Mode::Tunnel, false) => (Ipv4Header::LEN, Ipv4Header::LEN + ah_len),
            (Mode::Tunnel, true) => (Ipv6Header::LEN, Ipv6Header::LEN + ah_len),
            (Mode::Transport | Mode::Beet, _) => (own_front, ah_len),
        };
        let total_len = packet.len().saturating_add(added);
        if packet.headroom() < added || total_len > IP_OCTETS_MAX {
            return Err(DropReason::NoRoom);
        }
        Ok(Plan { front_len, ah_len, next })
    }

    /// Puts an outer header and room for AH in front of the packet.
    fn put_outer(
        &self,
        packet: &mut PacketBuf,
        plan: &Plan,
        traffic_class: u8,
        dont_fragment: bool,
        sequence: u64,
    ) -> Option<()> {
        packet.push_front(plan.ah_len)?;
        let header = IpHeader {
            src: self.encap.local.ip(),
            dst: self.encap.remote.ip(),
            next: IpProtocol::AH,
            class: traffic_class,
            number: identification(sequence),
            dont_fragment,
        };
        header.push(packet)
    }
}

/// Makes room for AH behind the packet's own headers, which announce it.
fn open_gap(
    packet: &mut PacketBuf,
    plan: &Plan,
    front: &FrontHeaders,
    sequence: u64,
) -> Option<()> {
    move_header(packet, plan.front_len, plan.ah_len)?;
    packet.push_front(plan.front_len.checked_add(plan.ah_len)?)?;
    // The kernel gives a number to a packet without one, and then the ICV would be that of another.
    if let [0x40..=0x4f, _, _, _, i0, i1, ..] = packet.data_mut()
        && (*i0, *i1) == (0, 0)
    {
        [*i0, *i1] = identification(sequence).to_be_bytes();
    }
    front.announce(packet.data_mut(), IpProtocol::AH).then_some(())
}

/// Never zero, and unique among 65,535 packets (RFC 6864 §4.3).
pub(crate) fn identification(sequence: u64) -> u16 {
    u16::try_from(sequence % u64::from(u16::MAX)).unwrap_or(0).saturating_add(1)
}

/// Writes AH into its place; everything else of the packet is there.
fn sign(
    packet: &mut PacketBuf,
    key: &AuthenticationKey,
    label: Label,
    plan: &Plan,
) -> Result<(), DropReason> {
    let [.., l0, l1, l2, l3] = label.sequence.to_be_bytes();
    let icv_field_len = plan.ah_len.saturating_sub(AhHeader::LEN);
    let header = AhHeader {
        next: plan.next,
        icv_words: u8::try_from(icv_field_len / 4).map_err(|_| DropReason::NoRoom)?,
        spi: label.spi,
        sequence: u32::from_be_bytes([l0, l1, l2, l3]),
    };
    let (front, rest) =
        packet.data_mut().split_at_mut_checked(plan.front_len).ok_or(DropReason::NoRoom)?;
    let (ah, payload) = rest.split_at_mut_checked(plan.ah_len).ok_or(DropReason::NoRoom)?;
    let (fixed, field) = ah.split_at_mut_checked(AhHeader::LEN).ok_or(DropReason::NoRoom)?;
    fixed.copy_from_slice(&header.to_octets());
    field.fill(0);
    let covered = Covered { front, next: IpProtocol::AH, fixed, padding: field, payload, label };
    let mut walked = Ok(0);
    let tag = key.sign(label.sequence, |absorber| {
        walked = covered.hand_out(key.algorithm(), &mut |octets: &[u8]| absorber.absorb(octets));
    });
    walked.map_err(|_| DropReason::BadHeaders)?;
    field.iter_mut().zip(tag.as_bytes()).for_each(|(octet, value)| *octet = *value);
    Ok(())
}

/// What the ICV covers (RFC 4302 §3.3.3).
struct Covered<'a> {
    front: &'a [u8],
    next: IpProtocol,
    /// AH up to the ICV.
    fixed: &'a [u8],
    /// The ICV field; only what is behind the ICV is read.
    padding: &'a [u8],
    payload: &'a [u8],
    label: Label,
}

impl Covered<'_> {
    /// In order: headers, AH with zeros for the ICV, its padding, the payload, and the half of the
    /// sequence number that is not sent (§3.3.3.2.2).
    fn hand_out(
        &self,
        algorithm: Authentication,
        sink: &mut impl FnMut(&[u8]),
    ) -> Result<usize, WireError> {
        let tag_len = algorithm.tag_len();
        let next_at = covered_headers(self.front, self.next, sink)?;
        sink(self.fixed);
        sink(ZEROS.get(..tag_len).unwrap_or_default());
        sink(self.padding.get(tag_len..).unwrap_or_default());
        sink(self.payload);
        if self.label.esn {
            let [high @ .., _, _, _, _] = self.label.sequence.to_be_bytes();
            sink(&high);
        }
        Ok(next_at)
    }
}

/// Where AH is in a packet that came in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AhPlace {
    /// Octets of the headers in front of it.
    front_len: usize,
    traffic_class: u8,
    pub(crate) header: AhHeader,
}

/// Finds AH in an IP packet that is no fragment, and cuts off what a link has put behind it.
///
/// # Errors
///
/// - [`DropReason::Truncated`]: no IP packet, or none with an AH.
/// - [`DropReason::UnknownSpi`]: a reserved SPI.
pub(crate) fn find(packet: &mut PacketBuf) -> Result<AhPlace, DropReason> {
    let ip = IpPacket::read(packet.data()).map_err(|_| DropReason::Truncated)?;
    if ip.protocol() != IpProtocol::AH {
        return Err(DropReason::Truncated);
    }
    let header = match AhHeader::read(&mut Reader(ip.payload())) {
        Ok(header) => header,
        Err(WireError::BadValue("AH.spi", _)) => return Err(DropReason::UnknownSpi),
        Err(_) => return Err(DropReason::Truncated),
    };
    let place = AhPlace { front_len: ip.header_len(), traffic_class: ip.traffic_class(), header };
    let total_len = ip.total_len();
    packet.truncate(total_len);
    Ok(place)
}

impl AhPlace {
    /// Checks the ICV (RFC 4302 §3.4.4); returns where among the headers the octet is that names AH.
    ///
    /// A field longer than ours has been padded to another alignment, as Linux does with IPv4 unless
    /// told not to; what the padding says does not matter (§3.3.3.2.1).
    ///
    /// # Errors
    ///
    /// [`DropReason::Truncated`], [`DropReason::BadHeaders`], [`DropReason::BadIcv`]; the packet is
    /// unchanged.
    pub(crate) fn verify(
        self,
        packet: &PacketBuf,
        key: &AuthenticationKey,
        label: Label,
    ) -> Result<usize, DropReason> {
        let tag_len = key.algorithm().tag_len();
        let padding_len = self.header.icv_len().checked_sub(tag_len);
        padding_len.filter(|len| *len < PADDING_END).ok_or(DropReason::Truncated)?;
        let octets = packet.data();
        let (front, rest) = octets.split_at_checked(self.front_len).ok_or(DropReason::Truncated)?;
        let (ah, payload) =
            rest.split_at_checked(self.header.total_len()).ok_or(DropReason::Truncated)?;
        let (fixed, field) = ah.split_at_checked(AhHeader::LEN).ok_or(DropReason::Truncated)?;
        let covered =
            Covered { front, next: IpProtocol::AH, fixed, padding: field, payload, label };
        let mut walked = Ok(0);
        let icv = field.get(..tag_len).ok_or(DropReason::Truncated)?;
        let authentic = key.verify(icv, |absorber| {
            walked =
                covered.hand_out(key.algorithm(), &mut |octets: &[u8]| absorber.absorb(octets));
        });
        let next_at = walked.map_err(|_| DropReason::BadHeaders)?;
        if authentic { Ok(next_at) } else { Err(DropReason::BadIcv) }
    }
}

impl InboundSa {
    /// RFC 4302 §3.4 and RFC 4301 §5.2 behind the integrity check.
    pub(crate) fn accept_ah(
        &mut self,
        packet: &mut PacketBuf,
        place: AhPlace,
        next_at: usize,
        arrived: Numbered,
        gate: &mut Gate,
        events: &mut Events,
    ) -> Result<Arrived, DropReason> {
        let newest = self.window_of(&packet.meta)?.advance(arrived.sequence);
        self.note_arrival(packet, newest, arrived.now, events);
        let next = place.header.next;
        if next == IpProtocol::NO_NEXT {
            return Err(DropReason::Dummy);
        }
        match self.mode {
            Mode::Tunnel => {
                packet.meta.tos = place.traffic_class;
                let outer_len = place.front_len.saturating_add(place.header.total_len());
                if !packet.pull_front(outer_len) {
                    return Err(DropReason::Truncated);
                }
                self.accept_inner(packet, next, gate)
            }
            Mode::Transport | Mode::Beet => {
                close_gap(packet, place, next_at).ok_or(DropReason::BadInner)?;
                self.accept_whole(packet, gate)
            }
        }
    }
}

/// Takes AH out: the headers before it move to what follows it, and announce that.
fn close_gap(packet: &mut PacketBuf, place: AhPlace, next_at: usize) -> Option<()> {
    let ah_len = place.header.total_len();
    let data = packet.data_mut();
    data.get(..place.front_len.checked_add(ah_len)?)?;
    data.copy_within(..place.front_len, ah_len);
    if !packet.pull_front(ah_len) {
        return None;
    }
    let next = place.header.next;
    let front = FrontHeaders { len: place.front_len, next_at, next };
    front.announce(packet.data_mut(), next).then_some(())
}

/// As many zeros as an ICV has octets.
const ZEROS: [u8; Authentication::TAG_LEN_MAX] = [0; Authentication::TAG_LEN_MAX];

/// Padding of an ICV field is shorter than this: the coarsest alignment is eight octets.
const PADDING_END: usize = 8;

#[cfg(test)]
mod tests;
