//! Cutting a super-packet into the packets it stands for, TCP (RFC 9293 §3.1) or UDP (RFC 768), and making
//! the checksums that the kernel has left to the device.

use adit_wire::PacketBuf;
use adit_wire::iana::IpProtocol;
use adit_wire::vnet::{Gso, VnetHeader};

use super::checksum::{add, copy_and_sum, sum};
use crate::drop_reason::DropReason;

/// The packets that came from an interface in one piece, to be written one after the other.
#[derive(Clone, Debug)]
pub struct Segments<'a> {
    /// The headers; of a packet that is not cut what its checksum does not cover.
    head: &'a [u8],
    /// What is left of the octets behind `head`.
    rest: &'a [u8],
    shape: Shape,
    /// Packets written so far.
    written: usize,
}

#[derive(Clone, Copy, Debug)]
enum Shape {
    /// A packet.
    Whole,
    /// A packet whose checksum is still to be made; it stands so far behind the head.
    Unsummed { checksum_at: usize },
    /// Several.
    Cut(Cut),
}

/// How a super-packet is cut.
#[derive(Clone, Copy, Debug)]
struct Cut {
    is_ipv4: bool,
    is_tcp: bool,
    /// Octets of headers before that of the transport protocol.
    ip_len: usize,
    /// Octets of payload in each packet but the last.
    payload_len: usize,
    /// Sum of the pseudo header without the length.
    pseudo: u16,
}

impl<'a> Segments<'a> {
    /// Reads what `header` says about `packet`, which begins with its IP header.
    ///
    /// # Errors
    ///
    /// [`DropReason::BadOffload`]: it contradicts the packet.
    pub fn read(header: &VnetHeader, packet: &'a [u8]) -> Result<Self, DropReason> {
        let start = usize::from(header.checksum_start);
        let offset = usize::from(header.checksum_offset);
        let read = match (header.gso, header.needs_checksum) {
            (Gso::None, false) => Some((packet.len(), Shape::Whole)),
            (Gso::None, true) => {
                let shape = Shape::Unsummed { checksum_at: offset };
                word(packet, start.saturating_add(offset)).map(|_| (start, shape))
            }
            // virtio 1.2 §5.1.6.2.1: what is to be cut needs its checksum.
            (_, false) => None,
            (gso, true) => read_cut(header, gso, packet),
        };
        let split = read.and_then(|(at, shape)| Some((packet.split_at_checked(at)?, shape)));
        let ((head, rest), shape) = split.ok_or(DropReason::BadOffload)?;
        Ok(Self { head, rest, shape, written: 0 })
    }

    /// Whether they are several packets, or would be if there were more octets.
    #[must_use]
    pub fn is_super(&self) -> bool {
        matches!(self.shape, Shape::Cut(_))
    }

    /// Octets of the next packet; `None` when all are written.
    #[must_use]
    pub fn next_len(&self) -> Option<usize> {
        let is_left = self.written == 0 || !self.rest.is_empty();
        let rest_len = match self.shape {
            Shape::Whole | Shape::Unsummed { .. } => self.rest.len(),
            Shape::Cut(cut) => self.rest.len().min(cut.payload_len),
        };
        is_left.then(|| self.head.len().saturating_add(rest_len))
    }

    /// Replaces what is in `packet` by the next packet; `false` and no change of the octets that are
    /// left if the room from its start on is smaller, or if none is left.
    #[must_use]
    pub fn write_next(&mut self, packet: &mut PacketBuf) -> bool {
        self.try_write(packet).is_some()
    }

    fn try_write(&mut self, packet: &mut PacketBuf) -> Option<()> {
        let len = self.next_len()?;
        let room = packet.spare_mut().get_mut(..len)?;
        let (front, back) = room.split_at_mut_checked(self.head.len())?;
        front.copy_from_slice(self.head);
        let (piece, rest) = self.rest.split_at_checked(back.len())?;
        match self.shape {
            Shape::Whole => back.copy_from_slice(piece),
            Shape::Unsummed { checksum_at } => {
                // The sum of the pseudo header is in the field.
                let sum = copy_and_sum(back, piece)?;
                put_word(back, checksum_at, never_zero(!sum))?;
            }
            Shape::Cut(cut) => {
                let payload = copy_and_sum(back, piece)?;
                let place = Place { number: self.written, is_last: rest.is_empty() };
                cut.finish(front, piece.len(), payload, place)?;
            }
        }
        packet.set_len(len);
        self.rest = rest;
        self.written = self.written.saturating_add(1);
        Some(())
    }
}

/// How many octets of headers a super-packet has, and how it is cut.
fn read_cut(header: &VnetHeader, gso: Gso, packet: &[u8]) -> Option<(usize, Shape)> {
    let first = *packet.first()?;
    let ip_len = usize::from(header.checksum_start);
    let is_ipv4 = match first >> 4 {
        4 => ip_len >= 20 && usize::from(first & 0x0f) * 4 == ip_len,
        6 if ip_len >= 40 => false,
        _ => return None,
    };
    let protocol = if is_ipv4 { Some(IpProtocol(*packet.get(9)?)) } else { None };
    let is_tcp = match (gso, first >> 4, protocol) {
        (Gso::TcpV4, 4, Some(IpProtocol::TCP)) | (Gso::TcpV6, 6, None) => true,
        (Gso::UdpL4, 4, Some(IpProtocol::UDP)) | (Gso::UdpL4, 6, None) => false,
        _ => return None,
    };
    let transport_len = if is_tcp {
        usize::from(*packet.get(ip_len.checked_add(TCP_DATA_OFFSET)?)? >> 4) * 4
    } else {
        UDP_LEN
    };
    let (least, checksum_at) = layout(is_tcp);
    let payload_len = usize::from(header.segment_len);
    let head_len = ip_len.checked_add(transport_len)?;
    let longest = head_len.checked_add(payload_len)?;
    let is_sound = transport_len >= least
        && usize::from(header.checksum_offset) == checksum_at
        && payload_len > 0
        && longest <= usize::from(u16::MAX)
        && head_len <= packet.len();
    let covered_len = u16::try_from(packet.len().checked_sub(ip_len)?).ok()?;
    let partial = word(packet, ip_len.checked_add(checksum_at)?)?;
    let pseudo = add(partial, !covered_len);
    is_sound.then_some((head_len, Shape::Cut(Cut { is_ipv4, is_tcp, ip_len, payload_len, pseudo })))
}

/// Octets of the shortest header, and where its checksum is.
const fn layout(is_tcp: bool) -> (usize, usize) {
    if is_tcp { (20, 16) } else { (UDP_LEN, 6) }
}

/// Which of the packets of a super-packet one is.
#[derive(Clone, Copy)]
struct Place {
    /// Packets before it.
    number: usize,
    is_last: bool,
}

impl Cut {
    /// Makes the headers of the super-packet in `head` those of one packet, in front of `payload_len`
    /// octets with the sum `payload`.
    fn finish(self, head: &mut [u8], payload_len: usize, payload: u16, place: Place) -> Option<()> {
        let total_len = u16::try_from(head.len().checked_add(payload_len)?).ok()?;
        let covered_len = total_len.checked_sub(u16::try_from(self.ip_len).ok()?)?;
        let (ip, transport) = head.split_at_mut_checked(self.ip_len)?;
        self.finish_ip(ip, total_len, place)?;
        let (_, checksum_at) = layout(self.is_tcp);
        if self.is_tcp {
            self.finish_tcp(transport, place)?;
        } else {
            put_word(transport, 4, covered_len)?;
        }
        put_word(transport, checksum_at, 0)?;
        let pseudo = add(self.pseudo, covered_len);
        let checksum = !add(add(pseudo, sum(transport)), payload);
        let checksum = if self.is_tcp { checksum } else { never_zero(checksum) };
        put_word(transport, checksum_at, checksum)
    }

    fn finish_ip(self, ip: &mut [u8], total_len: u16, place: Place) -> Option<()> {
        if !self.is_ipv4 {
            return put_word(ip, 4, total_len.checked_sub(40)?);
        }
        put_word(ip, 2, total_len)?;
        // RFC 791 §3.2: fragments are told apart by it.
        let number = u16::try_from(place.number).ok()?;
        put_word(ip, 4, word(ip, 4)?.wrapping_add(number))?;
        put_word(ip, 10, 0)?;
        let checksum = !sum(ip);
        put_word(ip, 10, checksum)
    }

    fn finish_tcp(self, tcp: &mut [u8], place: Place) -> Option<()> {
        let sequence = tcp.get_mut(4..8)?.first_chunk_mut()?;
        let before = u32::try_from(place.number.checked_mul(self.payload_len)?).ok()?;
        *sequence = u32::from_be_bytes(*sequence).wrapping_add(before).to_be_bytes();
        let flags = tcp.get_mut(TCP_FLAGS)?;
        if !place.is_last {
            *flags &= !(TCP_FIN | TCP_PSH);
        }
        // RFC 3168 §6.1.2: one packet says that the window was made smaller.
        if place.number > 0 {
            *flags &= !TCP_CWR;
        }
        Some(())
    }
}

fn word(octets: &[u8], at: usize) -> Option<u16> {
    octets.get(at..)?.first_chunk().map(|word| u16::from_be_bytes(*word))
}

fn put_word(octets: &mut [u8], at: usize, word: u16) -> Option<()> {
    *octets.get_mut(at..)?.first_chunk_mut()? = word.to_be_bytes();
    Some(())
}

/// RFC 768: a checksum of zero says that there is none.
const fn never_zero(checksum: u16) -> u16 {
    if checksum == 0 { 0xffff } else { checksum }
}

const UDP_LEN: usize = 8;
/// The upper four bits of this octet are the length of the header in words of 32 bits.
pub(super) const TCP_DATA_OFFSET: usize = 12;
pub(super) const TCP_FLAGS: usize = 13;
pub(super) const TCP_FIN: u8 = 0x01;
pub(super) const TCP_PSH: u8 = 0x08;
const TCP_CWR: u8 = 0x80;

#[cfg(test)]
mod tests;
