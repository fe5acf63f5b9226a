//! The memory of the outbound thread: what one read of an interface brings, and the packets it stands
//! for, each in a buffer that has room for what sealing adds.

use adit_dataplane::offload::{Segments, SuperPacket};
use adit_dataplane::{DropReason, HEADROOM_MAX, INNER_MTU, TAILROOM_MAX, packet_buffer};
use adit_db::TableId;
use adit_wire::{PacketBuf, Reader, VnetHeader};

use super::order::Order;

/// Packets of a burst: some super-packets, which stay in the cache of a core.
pub(super) const BURST_MAX: usize = 192;

/// Room that is left before another super-packet is read: a burst ends between two of them, so that
/// each leaves in one piece.
const SPARE_MIN: usize = 64;

/// Octets of the longest read.
pub(super) const READ_MAX: usize = VnetHeader::LEN + 65_535;

/// Octets for a packet that an interface takes whole, behind the headroom. The last are there so that
/// buffers, which lie one behind the other, are not 2,048 octets apart: they would share a few lines of
/// the cache.
const fn room_for(tun_mtu: u16) -> usize {
    tun_mtu as usize + TAILROOM_MAX + 192
}

/// The packets that are sealed together.
pub(super) struct Burst {
    packets: Vec<PacketBuf>,
    used: usize,
    /// Octets that each takes behind the headroom.
    room: usize,
    /// Whether their order could be better: none came in a super-packet, and they are of several
    /// lengths.
    is_plain: bool,
    is_mixed: bool,
    order: Order,
    /// For a packet that is longer than what the interface was made for: one at a time.
    long: PacketBuf,
}

/// What [`Burst::cut`] stopped at.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Cut {
    /// All of it is in the burst.
    Done,
    /// The burst is full.
    Full,
    /// The next packet is a long one: what is before it goes first.
    Long,
}

impl Burst {
    pub(super) fn new() -> Self {
        let room = room_for(INNER_MTU);
        let packets = (0..BURST_MAX).map(|_| short_buffer(room)).collect();
        let (order, long) = (Order::new(BURST_MAX), packet_buffer());
        Self { packets, used: 0, room, is_plain: true, is_mixed: false, order, long }
    }

    /// Makes room for what interfaces take from now on. Not between packets of a burst.
    pub(super) fn set_tun_mtu(&mut self, tun_mtu: u16) {
        let room = room_for(tun_mtu.max(INNER_MTU));
        if self.room != room && self.is_empty() {
            self.room = room;
            self.packets.fill_with(|| short_buffer(room));
        }
    }

    /// Octets of all buffers.
    pub(super) fn memory_octets(&self) -> usize {
        self.packets.iter().chain([&self.long]).map(PacketBuf::capacity).sum()
    }

    /// Puts packets into the burst while there is room, of the interface of that table.
    pub(super) fn cut(&mut self, segments: &mut Segments<'_>, table: TableId) -> Cut {
        self.is_plain &= !segments.is_super();
        while let Some(len) = segments.next_len() {
            let first = self.packets.first().filter(|_| self.used > 0);
            self.is_mixed |= first.is_some_and(|first| first.len() != len);
            if len > self.room - TAILROOM_MAX {
                return Cut::Long;
            }
            let Some(packet) = self.packets.get_mut(self.used) else { return Cut::Full };
            if !write(segments, packet, table) {
                return Cut::Long;
            }
            self.used += 1;
        }
        Cut::Done
    }

    /// Octets that each packet has behind the headroom.
    pub(super) fn room(&self) -> usize {
        self.room
    }

    /// Whether there are no packets.
    pub(super) fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// Whether another super-packet would not fit.
    pub(super) fn is_full(&self) -> bool {
        self.used + SPARE_MIN > self.packets.len()
    }

    /// The packets, which the burst then has no more; small ones those of one length together.
    pub(super) fn take(&mut self) -> &mut [PacketBuf] {
        let used = std::mem::take(&mut self.used);
        let packets = self.packets.get_mut(..used).unwrap_or_default();
        let is_plain = std::mem::replace(&mut self.is_plain, true);
        if std::mem::take(&mut self.is_mixed) && is_plain && used > 2 {
            self.order.sort(packets);
        }
        packets
    }

    /// The next packet, in a buffer for any.
    pub(super) fn take_long(
        &mut self,
        segments: &mut Segments<'_>,
        table: TableId,
    ) -> Option<&mut [PacketBuf]> {
        write(segments, &mut self.long, table).then(|| std::slice::from_mut(&mut self.long))
    }
}

/// Gives back the long buffers that joined fragments came in.
pub(super) fn tidy(packets: &mut [PacketBuf], room: usize) {
    for packet in packets.iter_mut().filter(|packet| packet.capacity() > HEADROOM_MAX + room) {
        *packet = short_buffer(room);
    }
}

/// What came from an interface, with a header before it or not.
pub(super) fn segments(read: &[u8], has_header: bool) -> Result<Segments<'_>, DropReason> {
    if !has_header {
        return Segments::read(&VnetHeader::default(), read);
    }
    let mut reader = Reader(read);
    let header = VnetHeader::read(&mut reader).map_err(|_| DropReason::BadOffload)?;
    Segments::read(&header, reader.0)
}

/// What came from an interface with a header before it, if it is a super-packet that may travel whole.
pub(super) fn super_packet(read: &[u8]) -> Option<SuperPacket<'_>> {
    let mut reader = Reader(read);
    let header = VnetHeader::read(&mut reader).ok()?;
    SuperPacket::of(&header, reader.0)
}

fn write(segments: &mut Segments<'_>, packet: &mut PacketBuf, table: TableId) -> bool {
    packet.reset(HEADROOM_MAX);
    let is_written = segments.write_next(packet);
    packet.meta.table = table.0;
    is_written
}

fn short_buffer(room: usize) -> PacketBuf {
    PacketBuf::with_capacity(HEADROOM_MAX, room)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: TableId = TableId(7);

    /// A read without a header is one packet.
    fn of_len(len: usize) -> Vec<u8> {
        vec![0x45; len]
    }

    #[test]
    fn packets_have_the_room_that_sealing_wants() {
        let mut burst = Burst::new();
        let read = of_len(INNER_MTU.into());
        assert_eq!(burst.cut(&mut segments(&read, false).unwrap(), TABLE), Cut::Done);
        let packets = burst.take();
        assert_eq!((packets[0].data(), packets[0].meta.table), (&read[..], 7));
        assert_eq!(packets[0].headroom(), HEADROOM_MAX);
        assert!(packets.len() == 1 && packets[0].tailroom() >= TAILROOM_MAX);
        assert!(burst.take().is_empty());
    }

    #[test]
    fn a_burst_is_full_before_it_is_over() {
        let mut burst = Burst::new();
        let read = of_len(60);
        for number in 0..BURST_MAX {
            assert_eq!(burst.is_full(), number > BURST_MAX - SPARE_MIN, "{number}");
            assert_eq!(burst.cut(&mut segments(&read, false).unwrap(), TABLE), Cut::Done);
        }
        let mut more = segments(&read, false).unwrap();
        assert_eq!(burst.cut(&mut more, TABLE), Cut::Full);
        assert_eq!(burst.take().len(), BURST_MAX);
        assert_eq!(burst.cut(&mut more, TABLE), Cut::Done);
    }

    #[test]
    fn a_long_packet_goes_alone() {
        let mut burst = Burst::new();
        let read = of_len(READ_MAX - VnetHeader::LEN);
        let mut long = segments(&read, false).unwrap();
        assert_eq!(burst.cut(&mut long, TABLE), Cut::Long);
        assert!(burst.take().is_empty());
        let packets = burst.take_long(&mut long, TABLE).unwrap();
        assert!(packets[0].data() == read && packets[0].tailroom() >= TAILROOM_MAX);
        assert_eq!(burst.cut(&mut long, TABLE), Cut::Done);
    }

    #[test]
    fn a_read_without_its_header_is_refused() {
        for len in 0..VnetHeader::LEN {
            assert_eq!(segments(&of_len(len), true).err(), Some(DropReason::BadOffload));
        }
    }

    #[test]
    fn long_buffers_do_not_stay() {
        let room = room_for(INNER_MTU);
        let mut packets = [packet_buffer(), short_buffer(room)];
        tidy(&mut packets, room);
        assert!(packets.iter().all(|packet| packet.capacity() == HEADROOM_MAX + room));
    }

    /// CHECKLIST PM-10: buffers follow the interface.
    #[test]
    fn what_a_longer_interface_takes_goes_with_others() {
        let mut burst = Burst::new();
        let read = of_len(8_890);
        assert_eq!(burst.cut(&mut segments(&read, false).unwrap(), TABLE), Cut::Long);
        burst.set_tun_mtu(8_890);
        for _ in 0..2 {
            assert_eq!(burst.cut(&mut segments(&read, false).unwrap(), TABLE), Cut::Done);
        }
        let packets = burst.take();
        assert!(packets.len() == 2 && packets.iter().all(|it| it.tailroom() >= TAILROOM_MAX));
        burst.set_tun_mtu(1_280);
        assert_eq!(burst.room, room_for(INNER_MTU));
    }
}
