//! The IP header of packets that came without it: transport mode (RFC 4303 §3.1.1) and BEET mode.

use adit_db::Mode;
use adit_wire::PacketBuf;
use adit_wire::iana::IpProtocol;
use adit_wire::ip::{FrontHeaders, Ipv4Header};

use crate::beet;
use crate::drop_reason::DropReason;
use crate::inbound::{Arrived, Gate};
use crate::ip_header::IpHeader;
use crate::sa::InboundSa;

impl InboundSa {
    /// RFC 4301 §5.2 on what transport mode carries: it is put behind an IP header again, the one it
    /// came with or, where the network has kept that, one as it must have been.
    pub(crate) fn accept_payload(
        &self,
        packet: &mut PacketBuf,
        next_header: IpProtocol,
        taken_off: usize,
        gate: &mut Gate,
    ) -> Result<Arrived, DropReason> {
        if let Some(change) = &self.change {
            change.mend(next_header, packet.data_mut());
        }
        let restored = match usize::from(packet.meta.header_len) {
            0 => self.write_header(packet, next_header),
            header_len => restore_header(packet, next_header, header_len, taken_off),
        };
        restored.ok_or(DropReason::NoRoom)?;
        self.accept_whole(packet, gate)
    }

    /// RFC 4301 §5.2 on what BEET mode carries: the header is made again, of the addresses that both
    /// ends know and of what the outer one says.
    pub(crate) fn accept_bound(
        &self,
        packet: &mut PacketBuf,
        next_header: IpProtocol,
        gate: &mut Gate,
    ) -> Result<Arrived, DropReason> {
        let (next, options) = match next_header {
            IpProtocol::BEET => beet::read_pseudo_header(packet)?,
            plain => (plain, 0),
        };
        self.write_header(packet, next).ok_or(DropReason::NoRoom)?;
        if options > 0 {
            widen_header(packet, next, options).ok_or(DropReason::BadInner)?;
        }
        self.accept_whole(packet, gate)
    }

    /// Above IP the packet's own addresses must be those of the selectors. A NAT may change them
    /// at any time; what comes through it is told to come from where the peer was at first.
    fn write_header(&self, packet: &mut PacketBuf, next: IpProtocol) -> Option<()> {
        let meta = packet.meta;
        let (src, dst) = match self.hosts() {
            Some(hosts) if meta.udp || self.mode == Mode::Beet => (hosts.remote, hosts.local),
            _ => (meta.remote.ip(), meta.local.ip()),
        };
        // What travels without its header was not to be cut.
        let header = IpHeader { src, dst, next, class: meta.tos, number: 0, dont_fragment: true };
        header.push(packet)
    }
}

/// Makes what follows an IPv4 header its options.
fn widen_header(packet: &mut PacketBuf, next: IpProtocol, options: usize) -> Option<()> {
    let header_len = Ipv4Header::LEN.checked_add(options)?;
    let first = packet.data_mut().first_mut()?;
    if *first >> 4 != 4 {
        return None;
    }
    *first = 0x40 | u8::try_from(header_len / 4).ok()?;
    FrontHeaders::of_ipv4(header_len, next).announce(packet.data_mut(), next).then_some(())
}

/// Moves the IPv4 header, which lies before what was taken off, down to what it carries now.
fn restore_header(
    packet: &mut PacketBuf,
    next: IpProtocol,
    header_len: usize,
    taken_off: usize,
) -> Option<()> {
    let end = header_len.checked_add(taken_off)?;
    packet.push_front(end)?;
    packet.data().get(..end)?;
    packet.data_mut().copy_within(..header_len, taken_off);
    if !packet.pull_front(taken_off) {
        return None;
    }
    FrontHeaders::of_ipv4(header_len, next).announce(packet.data_mut(), next).then_some(())
}
