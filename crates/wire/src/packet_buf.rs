//! One packet in a buffer that is allocated once and used again and again.

use alloc::{boxed::Box, vec};
use core::{
    fmt,
    net::{Ipv4Addr, SocketAddr},
};

/// Outer addressing of a packet: filled by receive for inbound, by the data plane for outbound.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PacketMeta {
    /// Our address; its port counts only for UDP.
    pub local: SocketAddr,
    /// The peer's address; its port counts only for UDP.
    pub remote: SocketAddr,
    /// Traffic class of the outer header: DSCP in the upper six bits, ECN in the lower two.
    pub tos: u8,
    /// Outbound: whether nobody may cut the packet on its way, if the network makes its IPv4 header.
    pub dont_fragment: bool,
    /// Whether ESP travels in UDP (RFC 3948) or directly above IP.
    pub udp: bool,
    /// Whether a TCP connection has the place of UDP (RFC 9329); the rest is as inside UDP.
    pub tcp: bool,
    /// Inbound: octets of the IPv4 header that lies in the headroom right before the packet, as it
    /// was received; zero if the network kept it.
    pub header_len: u8,
    /// Number of the interface that the packet comes from, outbound, or goes to once it is opened;
    /// zero is the one that is always there.
    pub table: u16,
    /// Whether the packet begins with its outer IP header: outbound it is then sent as it is,
    /// inbound it carries AH, whose ICV covers that header.
    pub whole: bool,
    /// Inbound: octets of payload in each packet but the last that this one stands for; zero for a
    /// packet that stands for itself.
    pub segment_len: u16,
    /// Inbound: octets of the largest outer packet that this one came in as fragments; zero if it came
    /// whole, or nobody knows.
    pub largest_fragment: u16,
    /// Outbound: whether the engine has joined the packet from fragments, so that it may be cut again.
    pub joined: bool,
}

impl Default for PacketMeta {
    fn default() -> Self {
        let nowhere = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0);
        Self {
            local: nowhere,
            remote: nowhere,
            tos: 0,
            dont_fragment: false,
            udp: false,
            tcp: false,
            header_len: 0,
            table: 0,
            whole: false,
            segment_len: 0,
            largest_fragment: 0,
            joined: false,
        }
    }
}

/// A packet with room before and after it: `headroom | data | tailroom`, sizes in octets.
///
/// Nothing is allocated after construction, so what does not fit does not go in.
pub struct PacketBuf {
    octets: Box<[u8]>,
    start: usize,
    end: usize,
    /// Outer addressing.
    pub meta: PacketMeta,
}

impl PacketBuf {
    /// An empty packet with `headroom` octets before it and `payload_capacity` after.
    #[must_use]
    pub fn with_capacity(headroom: usize, payload_capacity: usize) -> Self {
        let octets = vec![0; headroom.saturating_add(payload_capacity)].into_boxed_slice();
        Self { octets, start: headroom, end: headroom, meta: PacketMeta::default() }
    }

    /// The packet.
    #[must_use]
    #[inline]
    pub fn data(&self) -> &[u8] {
        self.octets.get(self.start..self.end).unwrap_or_default()
    }

    /// The packet, to be changed in place.
    #[inline]
    pub fn data_mut(&mut self) -> &mut [u8] {
        self.octets.get_mut(self.start..self.end).unwrap_or_default()
    }

    /// Length of the packet in octets.
    #[must_use]
    #[inline]
    pub fn len(&self) -> usize {
        self.end.saturating_sub(self.start)
    }

    /// Whether the packet has no octets.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Octets of the whole buffer.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.octets.len()
    }

    /// Free octets before the packet.
    #[must_use]
    #[inline]
    pub fn headroom(&self) -> usize {
        self.start
    }

    /// Free octets after the packet.
    #[must_use]
    #[inline]
    pub fn tailroom(&self) -> usize {
        self.octets.len().saturating_sub(self.end)
    }

    /// Empties the packet, leaves `headroom` octets before it (at most all there are) and forgets
    /// the addressing.
    pub fn reset(&mut self, headroom: usize) {
        self.start = headroom.min(self.octets.len());
        self.end = self.start;
        self.meta = PacketMeta::default();
    }

    /// Extends the packet by `len` octets at its front and returns them, old content and all;
    /// `None` and no change if the headroom is smaller.
    #[inline]
    pub fn push_front(&mut self, len: usize) -> Option<&mut [u8]> {
        let start = self.start.checked_sub(len)?;
        let front = self.octets.get_mut(start..self.start)?;
        self.start = start;
        Some(front)
    }

    /// Extends the packet by `front` octets before and `back` octets after it and returns all of it,
    /// what is new with its old content; `None` and no change if there is less room.
    #[inline]
    pub fn grow(&mut self, front: usize, back: usize) -> Option<&mut [u8]> {
        let start = self.start.checked_sub(front)?;
        let end = self.end.checked_add(back)?;
        let grown = self.octets.get_mut(start..end)?;
        (self.start, self.end) = (start, end);
        Some(grown)
    }

    /// Removes `len` octets from the front; `false` and no change if the packet is shorter.
    #[must_use]
    #[inline]
    pub fn pull_front(&mut self, len: usize) -> bool {
        let fits = len <= self.len();
        if fits {
            self.start = self.start.saturating_add(len);
        }
        fits
    }

    /// Extends the packet by `len` octets at its end and returns them, old content and all;
    /// `None` and no change if the tailroom is smaller.
    #[inline]
    pub fn push_back(&mut self, len: usize) -> Option<&mut [u8]> {
        let end = self.end.checked_add(len)?;
        let back = self.octets.get_mut(self.end..end)?;
        self.end = end;
        Some(back)
    }

    /// Shortens the packet to `len` octets; a shorter packet stays as it is.
    #[inline]
    pub fn truncate(&mut self, len: usize) {
        self.end = self.end.min(self.start.saturating_add(len));
    }

    /// All room from the start of the packet on, for a read; [`Self::set_len`] then says how much
    /// was read.
    pub fn spare_mut(&mut self) -> &mut [u8] {
        self.octets.get_mut(self.start..).unwrap_or_default()
    }

    /// Makes the packet `len` octets long (at most all room from its start on).
    pub fn set_len(&mut self, len: usize) {
        self.end = self.start.saturating_add(len).min(self.octets.len());
    }

    /// Replaces the packet by `octets`, which start where it started; `false` and no change if
    /// the room from there on is smaller.
    #[must_use]
    pub fn fill(&mut self, octets: &[u8]) -> bool {
        let Some(room) = self.spare_mut().get_mut(..octets.len()) else {
            return false;
        };
        room.copy_from_slice(octets);
        self.set_len(octets.len());
        true
    }
}

impl fmt::Debug for PacketBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PacketBuf")
            .field("headroom", &self.headroom())
            .field("len", &self.len())
            .field("tailroom", &self.tailroom())
            .field("meta", &self.meta)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_and_trailers_go_on_and_come_off_in_place() {
        let mut packet = PacketBuf::with_capacity(8, 16);
        packet.spare_mut()[..4].copy_from_slice(b"body");
        packet.set_len(4);

        packet.push_front(4).unwrap().copy_from_slice(b"head");
        packet.push_back(4).unwrap().copy_from_slice(b"tail");
        assert_eq!(packet.data(), b"headbodytail");
        assert_eq!((packet.headroom(), packet.len(), packet.tailroom()), (4, 12, 8));

        assert!(packet.pull_front(4));
        packet.truncate(4);
        assert_eq!(packet.data(), b"body");

        packet.grow(4, 1).unwrap()[8] = b'!';
        assert_eq!(packet.data(), b"headbody!");
    }

    #[test]
    fn what_does_not_fit_changes_nothing() {
        let mut packet = PacketBuf::with_capacity(2, 2);
        assert!(packet.fill(b"ab"));

        assert!(packet.push_front(3).is_none());
        assert!(packet.push_front(usize::MAX).is_none());
        assert!(packet.push_back(1).is_none());
        assert!(packet.push_back(usize::MAX).is_none());
        assert!(packet.grow(3, 0).is_none());
        assert!(packet.grow(0, 1).is_none());
        assert!(packet.grow(usize::MAX, usize::MAX).is_none());
        assert!(!packet.pull_front(3));
        assert!(!packet.fill(b"abc"));
        packet.truncate(9);
        assert_eq!(packet.data(), b"ab");

        packet.set_len(usize::MAX);
        assert_eq!(packet.len(), 2);
        packet.reset(usize::MAX);
        assert_eq!((packet.headroom(), packet.len(), packet.tailroom()), (4, 0, 0));
        packet.reset(1);
        assert_eq!((packet.headroom(), packet.len(), packet.tailroom()), (1, 0, 3));
    }
}
