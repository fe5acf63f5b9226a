//! Datagrams that the kernel delivers in one piece, many of a flow at a time (`UDP_GRO`, Linux 5.0).
//!
//! A super-datagram is one stream of octets and a size to cut it by. Where it will have to be cut is
//! foreseen from the one before: its octets are scattered over buffers of just that size, so that
//! each datagram lies in a buffer of its own, with headroom, and nobody copies it.
//!
//! ```text
//! super-datagram  | datagram | datagram | datagram | last |
//! buffers         | headroom | datagram |…|  | headroom | datagram |…|  …  | overflow |
//! ```
//!
//! What was foreseen wrongly is put together in the message's overflow area, which has room for any,
//! and copied from there.

#![expect(unsafe_code, reason = "the kernel writes through pointers in msghdr")]

use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd};

use adit_wire::{PacketBuf, PacketMeta};
use nix::libc;

use crate::batch::{ADDRESS_LENGTH, PENDING_ERRORS_MAX, is_passing};
use crate::message::{CONTROL_OCTETS, Control, Incoming, RawAddress};

/// Most messages that one system call receives, each a datagram or a super-datagram.
pub const MESSAGES_MAX: usize = 32;

/// Buffers and arrays of one thread for super-datagrams: made once, used for every call.
pub struct GroIo {
    headroom: usize,
    /// The short buffers, and after them the long ones.
    packets: Vec<PacketBuf>,
    short_count: usize,
    /// Octets that every short buffer takes behind the headroom; the owner may exchange buffers.
    room: usize,
    overflow: Box<[u8]>,
    addresses: Box<[RawAddress]>,
    controls: Box<[Control]>,
    vectors: Box<[libc::iovec]>,
    headers: Box<[libc::mmsghdr]>,
    aim: Aim,
    seen: Seen,
    /// Messages of the last call, and how many of them were handed out.
    got: usize,
    handed_out: usize,
    left: Option<Left>,
    long_used: usize,
    calls: u64,
    losses: Losses,
}

/// Messages and datagrams that came and were not handed out.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Losses {
    /// Messages that the kernel had to cut, or of which nothing is known.
    pub cut: u64,
    /// Datagrams for which there was no buffer, or none of their length.
    pub without_buffer: u64,
}

// SAFETY: the raw pointers inside are written and used within one call that borrows everything
// they lead to; between calls nobody follows them.
unsafe impl Send for GroIo {}

/// Datagrams of one message that lie in buffers, one in each.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Run {
    /// Which of [`GroIo::packets`].
    pub packets: Range<usize>,
    /// Whether the buffers handed out since the last call or the last such run are needed again:
    /// the caller has to be done with all of them before it asks for the next run.
    pub settle: bool,
}

/// How the messages of a call are foreseen.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Aim {
    /// Octets of each datagram but the last.
    segment_octets: usize,
    /// Datagrams in each message.
    segments: usize,
    /// Buffers set aside for each message.
    stride: usize,
}

/// What the messages of a call were.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    /// Of the longest super-datagram.
    segment_octets: usize,
    octets: usize,
    /// Most datagrams in a message.
    segments: usize,
}

/// A message in its overflow area, of which not all was handed out.
#[derive(Clone, Copy, Debug)]
struct Left {
    message: usize,
    at: usize,
    end: usize,
    segment_octets: usize,
    meta: PacketMeta,
}

/// What a message is, as its header says.
struct Message {
    octets: usize,
    segment_octets: usize,
    meta: PacketMeta,
}

impl GroIo {
    /// Receives into `short`, `headroom` octets into each buffer, and what does not fit there into
    /// `long`, which should take 65,535 octets each. Give at least [`SEGMENTS_MAX`] short ones, all
    /// of one capacity, and one that is long.
    #[must_use]
    pub fn new(headroom: usize, short: Vec<PacketBuf>, long: Vec<PacketBuf>) -> Self {
        let vector = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
        // SAFETY: mmsghdr consists of integers and pointers, for which all zeros is a value.
        let header: libc::mmsghdr = unsafe { std::mem::zeroed() };
        let (short_count, mut packets) = (short.len(), short);
        packets.extend(long);
        Self {
            headroom,
            short_count,
            room: 0,
            overflow: vec![0; MESSAGES_MAX * OVERFLOW_OCTETS].into_boxed_slice(),
            addresses: vec![RawAddress::EMPTY; MESSAGES_MAX].into_boxed_slice(),
            controls: vec![Control::EMPTY; MESSAGES_MAX].into_boxed_slice(),
            vectors: vec![vector; short_count + MESSAGES_MAX].into_boxed_slice(),
            headers: vec![header; MESSAGES_MAX].into_boxed_slice(),
            packets,
            aim: Aim { segment_octets: 0, segments: 1, stride: STRIDE_MIN },
            seen: Seen::default(),
            got: 0,
            handed_out: 0,
            left: None,
            long_used: 0,
            calls: 0,
            losses: Losses::default(),
        }
    }

    /// The buffers; those of a [`Run`] hold datagrams.
    #[must_use]
    pub fn packets(&self) -> &[PacketBuf] {
        &self.packets
    }

    /// The same, to be changed in place.
    pub fn packets_mut(&mut self) -> &mut [PacketBuf] {
        &mut self.packets
    }

    /// Octets of memory, all in all.
    #[must_use]
    pub fn memory_octets(&self) -> usize {
        let buffers: usize = self.packets.iter().map(PacketBuf::capacity).sum();
        buffers + self.overflow.len() + size_of_val(&*self.controls)
    }

    /// What was lost so far.
    #[must_use]
    pub fn losses(&self) -> Losses {
        self.losses
    }

    /// System calls so far.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.calls
    }

    /// Receives what waits, at most [`MESSAGES_MAX`] messages; whether anything did. What was not
    /// handed out of those before is lost.
    pub(crate) fn receive(&mut self, socket: BorrowedFd<'_>) -> io::Result<bool> {
        self.foresee();
        (self.got, self.handed_out, self.left, self.long_used) = (0, 0, None, 0);
        for _ in 0..PENDING_ERRORS_MAX {
            let wanted = libc::c_uint::try_from(self.aim_at_room()).unwrap_or(0);
            self.calls += 1;
            // SAFETY: `aim_at_room` has just set the first `wanted` headers to lead to distinct
            // live buffers: arrays, overflow areas and packets of `self`, which is borrowed.
            let got = unsafe {
                libc::recvmmsg(
                    socket.as_raw_fd(),
                    self.headers.as_mut_ptr(),
                    wanted,
                    libc::MSG_DONTWAIT,
                    std::ptr::null_mut(),
                )
            };
            if let Ok(got) = usize::try_from(got) {
                self.got = got;
                return Ok(got > 0);
            }
            let error = io::Error::last_os_error();
            match error.raw_os_error() {
                Some(libc::EAGAIN) => return Ok(false),
                // An ICMP error answers an earlier packet; the details are in the queue.
                Some(code) if is_passing(code) => {}
                _ => return Err(error),
            }
        }
        Ok(false)
    }

    /// The datagrams of the next message, or some of them; `None` when all were handed out.
    /// `any` is the local address of the socket, for its port and for kernels that tell no
    /// destination.
    pub(crate) fn next_run(&mut self, any: SocketAddr) -> Option<Run> {
        loop {
            if let Some(left) = self.left.take() {
                return Some(self.copy_out(left));
            }
            if self.handed_out >= self.got {
                return None;
            }
            let number = self.handed_out;
            self.handed_out += 1;
            // One that was cut, or is empty, is passed over.
            let Some(message) = self.message(number, any) else {
                let is_empty = self.headers.get(number).is_none_or(|header| header.msg_len == 0);
                self.losses.cut += u64::from(!is_empty);
                continue;
            };
            self.seen.note(&message);
            if self.was_foreseen(&message) {
                return Some(self.hand_out(number, &message));
            }
            self.left = self.put_together(number, &message);
            self.losses.cut += u64::from(self.left.is_none());
        }
    }

    /// Learns from the messages of the last call.
    fn foresee(&mut self) {
        let seen = std::mem::take(&mut self.seen);
        if self.got == 0 {
            return;
        }
        if seen.octets > 0 {
            self.aim.segment_octets = seen.segment_octets;
        }
        let segments = seen.segments.max(self.aim.segments / 2).clamp(1, SEGMENTS_MAX);
        self.aim.segments = segments.min(self.short_count.max(1));
        self.aim.stride = self.aim.segments.max(STRIDE_MIN);
    }

    /// Octets foreseen for each buffer: a datagram that comes alone may have any length.
    fn aimed_octets(&self) -> usize {
        if self.aim.segments == 1 { self.room } else { self.aim.segment_octets.min(self.room) }
    }

    /// Sets headers up for as many messages as there are buffers for, and returns their number.
    fn aim_at_room(&mut self) -> usize {
        let short = self.packets.get(..self.short_count).unwrap_or_default();
        let capacity = short.iter().map(PacketBuf::capacity).min().unwrap_or(0);
        self.room = capacity.saturating_sub(self.headroom);
        let (aim, octets) = (self.aim, self.aimed_octets());
        let short = self.packets.get_mut(..self.short_count).unwrap_or_default();
        let wanted = (short.len() / aim.stride).min(MESSAGES_MAX);
        let places = short.chunks_exact_mut(aim.stride).take(wanted);
        let arrays = self.vectors.chunks_exact_mut(aim.segments + 1);
        let slots = self.addresses.iter_mut().zip(&mut self.controls);
        let slots = slots.zip(self.overflow.chunks_exact_mut(OVERFLOW_OCTETS));
        let slots = slots.zip(arrays).zip(&mut self.headers);
        for (buffers, ((((address, control), overflow), vectors), header)) in places.zip(slots) {
            for (packet, vector) in buffers.iter_mut().take(aim.segments).zip(&mut *vectors) {
                packet.reset(self.headroom);
                let room = packet.spare_mut();
                let iov_len = octets.min(room.len());
                *vector = libc::iovec { iov_base: room.as_mut_ptr().cast(), iov_len };
            }
            // What is put together must have room there as a whole.
            let iov_len = OVERFLOW_OCTETS.saturating_sub(aim.segments * octets);
            if let Some(last) = vectors.last_mut() {
                *last = libc::iovec { iov_base: overflow.as_mut_ptr().cast(), iov_len };
            }
            let header = &mut header.msg_hdr;
            header.msg_name = address.as_mut_ptr().cast();
            header.msg_namelen = ADDRESS_LENGTH;
            header.msg_iov = vectors.as_mut_ptr();
            header.msg_iovlen = vectors.len() as _;
            header.msg_control = control.as_mut_ptr().cast();
            header.msg_controllen = CONTROL_OCTETS as _;
            header.msg_flags = 0;
        }
        wanted
    }

    fn message(&self, number: usize, any: SocketAddr) -> Option<Message> {
        let header = self.headers.get(number)?;
        let octets = usize::try_from(header.msg_len).ok().filter(|octets| *octets > 0)?;
        let header = &header.msg_hdr;
        if header.msg_flags & (libc::MSG_TRUNC | libc::MSG_CTRUNC) != 0 {
            return None;
        }
        #[expect(clippy::allow_attributes, reason = "the field is narrower with musl")]
        #[allow(clippy::useless_conversion, reason = "the field is narrower with musl")]
        let control_octets = usize::try_from(header.msg_controllen).unwrap_or(0);
        let incoming = Incoming::read(self.controls.get(number)?.messages(control_octets));
        let meta = PacketMeta {
            local: incoming.local_address(any),
            remote: self.addresses.get(number)?.get()?,
            tos: incoming.tos,
            udp: true,
            largest_fragment: incoming.largest_fragment,
            ..PacketMeta::default()
        };
        let segment_octets = incoming.segment_octets.filter(|octets| *octets > 0);
        Some(Message { octets, segment_octets: segment_octets.unwrap_or(octets), meta })
    }

    /// Whether each datagram of a message lies in its buffer.
    fn was_foreseen(&self, message: &Message) -> bool {
        let octets = self.aimed_octets();
        let is_one = message.octets <= message.segment_octets && message.octets <= octets;
        let as_aimed =
            message.segment_octets == octets && message.octets <= octets * self.aim.segments;
        is_one || as_aimed
    }

    fn hand_out(&mut self, number: usize, message: &Message) -> Run {
        let start = number * self.aim.stride;
        let count = message.octets.div_ceil(message.segment_octets);
        let mut left = message.octets;
        for packet in self.packets.iter_mut().skip(start).take(count) {
            let octets = left.min(message.segment_octets);
            packet.set_len(octets);
            packet.meta = message.meta;
            left -= octets;
        }
        Run { packets: start..start + count, settle: false }
    }

    /// Makes one piece of a message in its overflow area.
    fn put_together(&mut self, number: usize, message: &Message) -> Option<Left> {
        let (aim, octets) = (self.aim, self.aimed_octets());
        let area = self.overflow.chunks_exact_mut(OVERFLOW_OCTETS).nth(number)?;
        let scattered = message.octets.min(aim.segments * octets);
        let behind = message.octets - scattered;
        if message.octets > area.len() {
            return None;
        }
        area.copy_within(..behind, scattered);
        let pieces = area.get_mut(..scattered)?.chunks_mut(octets.max(1));
        for (packet, piece) in self.packets.iter_mut().skip(number * aim.stride).zip(pieces) {
            piece.copy_from_slice(packet.spare_mut().get(..piece.len())?);
        }
        let Message { octets, segment_octets, meta } = *message;
        Some(Left { message: number, at: 0, end: octets, segment_octets, meta })
    }

    /// Copies datagrams into buffers: of the message's own, or of the long ones.
    fn copy_out(&mut self, mut left: Left) -> Run {
        let places = if left.segment_octets <= self.room {
            let start = left.message * self.aim.stride;
            start..start + self.aim.stride
        } else {
            self.short_count + self.long_used..self.packets.len()
        };
        let start = places.start;
        let mut end = start;
        let area = self.overflow.get(left.message * OVERFLOW_OCTETS..).unwrap_or_default();
        for packet in self.packets.get_mut(places).unwrap_or_default() {
            if left.at >= left.end {
                break;
            }
            let next = left.end.min(left.at + left.segment_octets);
            packet.reset(self.headroom);
            if packet.fill(area.get(left.at..next).unwrap_or_default()) {
                packet.meta = left.meta;
            } else {
                self.losses.without_buffer += 1;
            }
            (left.at, end) = (next, end + 1);
        }
        // Without long buffers there is no way for a long datagram.
        let settle = left.at < left.end && self.short_count < self.packets.len();
        if settle {
            (self.left, self.long_used) = (Some(left), 0);
        } else {
            let rest = left.end.saturating_sub(left.at).div_ceil(left.segment_octets.max(1));
            self.losses.without_buffer += u64::try_from(rest).unwrap_or(u64::MAX);
            self.long_used = end.saturating_sub(self.short_count).max(self.long_used);
        }
        Run { packets: start..end, settle }
    }
}

impl Seen {
    fn note(&mut self, message: &Message) {
        let segments = message.octets.div_ceil(message.segment_octets);
        self.segments = self.segments.max(segments);
        if segments > 1 && message.octets > self.octets {
            (self.octets, self.segment_octets) = (message.octets, message.segment_octets);
        }
    }
}

impl std::fmt::Debug for GroIo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GroIo").field("aim", &self.aim).finish_non_exhaustive()
    }
}

/// Most datagrams in one message (`UDP_MAX_SEGMENTS`, Linux 6.9; 64 before).
pub const SEGMENTS_MAX: usize = 128;
/// Least buffers set aside for a message: in those lies what was foreseen wrongly.
const STRIDE_MIN: usize = 8;
/// The longest datagram and the longest super-datagram, and some lines so that no two areas begin at
/// the same place of the cache.
const OVERFLOW_OCTETS: usize = 65_536 + 192;

#[cfg(test)]
mod tests {
    use std::net::UdpSocket as Sender;

    use proptest::prelude::*;

    use super::*;
    use crate::socket_option;
    use crate::udp::{SocketOptions, UdpSocket};

    const HEADROOM: usize = 40;
    const ROOM: usize = 1_600;

    /// A super-datagram: octets of each datagram, and of all.
    type Sent = (usize, usize);

    fn io() -> GroIo {
        let short = (0..256).map(|_| PacketBuf::with_capacity(HEADROOM, ROOM)).collect();
        let long = (0..2).map(|_| PacketBuf::with_capacity(HEADROOM, 65_535)).collect();
        GroIo::new(HEADROOM, short, long)
    }

    fn pair() -> (Sender, UdpSocket) {
        let options = SocketOptions { mark: None, ..SocketOptions::default() };
        let receiver = UdpSocket::bind("127.0.0.1:0".parse().unwrap(), &options).unwrap();
        let sender = Sender::bind("127.0.0.1:0").unwrap();
        sender.connect(receiver.local()).unwrap();
        (sender, receiver)
    }

    /// Sends each as one super-datagram, and gives the datagrams that must arrive.
    fn send(sender: &Sender, sent: &[Sent]) -> Vec<Vec<u8>> {
        let mut datagrams = Vec::new();
        for (number, (segment_octets, octets)) in sent.iter().enumerate() {
            let octets: Vec<u8> =
                (0..*octets).map(|at| u8::try_from((at * 31 + number) % 251).unwrap()).collect();
            let size = if octets.len() > *segment_octets { *segment_octets } else { 0 };
            let size = i32::try_from(size).unwrap();
            socket_option::set(sender, libc::SOL_UDP, libc::UDP_SEGMENT, size).unwrap();
            sender.send(&octets).unwrap();
            datagrams.extend(octets.chunks(*segment_octets).map(<[u8]>::to_vec));
        }
        datagrams
    }

    /// Receives all that waits. Buffers are looked at when they have to be, and not before.
    fn receive(receiver: &UdpSocket, io: &mut GroIo) -> Vec<Vec<u8>> {
        let mut datagrams = Vec::new();
        while receiver.recv_super(io).unwrap() {
            let mut held: Vec<usize> = Vec::new();
            let look = |held: &mut Vec<usize>, io: &GroIo, datagrams: &mut Vec<Vec<u8>>| {
                for packet in held.drain(..).map(|at| &io.packets()[at]) {
                    assert_eq!(packet.headroom(), HEADROOM);
                    assert!(packet.meta.udp);
                    assert_eq!(packet.meta.local, receiver.local());
                    datagrams.push(packet.data().to_vec());
                }
            };
            while let Some(run) = receiver.next_run(io) {
                held.extend(run.packets);
                if run.settle {
                    look(&mut held, io, &mut datagrams);
                }
            }
            look(&mut held, io, &mut datagrams);
        }
        datagrams
    }

    /// A buffer that the owner exchanged for a smaller one does not shift what is behind it.
    #[test]
    fn buffers_may_become_smaller() {
        let (sender, receiver) = pair();
        receiver.join_datagrams().unwrap();
        let mut io = io();
        for capacity in [ROOM, 1_000, 10, ROOM] {
            for _ in 0..2 {
                io.packets_mut()[3] = PacketBuf::with_capacity(HEADROOM, capacity);
                let datagrams = send(&sender, &[(1_200, 12_000), (900, 7_300)]);
                assert!(receive(&receiver, &mut io) == datagrams, "{capacity}");
            }
        }
        assert_eq!(io.losses(), Losses::default());
    }

    #[test]
    fn what_finds_no_buffer_is_counted() {
        let (sender, receiver) = pair();
        let short = (0..256).map(|_| PacketBuf::with_capacity(HEADROOM, ROOM)).collect();
        let mut io = GroIo::new(HEADROOM, short, Vec::new());
        send(&sender, &[(ROOM + 1, ROOM + 1)]);
        assert!(receive(&receiver, &mut io).is_empty());
        assert_eq!(io.losses(), Losses { cut: 0, without_buffer: 1 });
        let datagrams = send(&sender, &[(ROOM, ROOM)]);
        assert_eq!(receive(&receiver, &mut io), datagrams);
        assert_eq!(io.losses().without_buffer, 1);
    }

    #[test]
    fn the_second_super_datagram_is_not_copied() {
        let (sender, receiver) = pair();
        receiver.join_datagrams().unwrap();
        let mut io = io();
        for copied in [true, false, false] {
            let expected = send(&sender, &[(1_400, 44 * 1_400 - 100)]);
            assert!(receiver.recv_super(&mut io).unwrap());
            let calls = io.calls();
            let run = receiver.next_run(&mut io).unwrap();
            // What is copied goes through the few buffers that were set aside.
            assert_eq!(run.settle, copied);
            if !copied {
                let arrived: Vec<&[u8]> =
                    io.packets()[run.packets].iter().map(PacketBuf::data).collect();
                assert_eq!(arrived, expected);
                assert_eq!(io.calls(), calls);
            }
            while receiver.next_run(&mut io).is_some() {}
        }
    }

    #[test]
    fn without_joining_datagrams_come_one_by_one() {
        let (sender, receiver) = pair();
        let expected = send(&sender, &[(100, 1_000), (60_000, 60_000), (1, 1), (1_500, 1_500)]);
        assert_eq!(receive(&receiver, &mut io()), expected);
    }

    #[test]
    fn an_empty_datagram_is_passed_over() {
        let (sender, receiver) = pair();
        sender.send(&[]).unwrap();
        let expected = send(&sender, &[(7, 7)]);
        assert_eq!(receive(&receiver, &mut io()), expected);
    }

    #[test]
    fn a_long_datagram_without_a_long_buffer_is_lost_alone() {
        let (sender, receiver) = pair();
        receiver.join_datagrams().unwrap();
        let short = (0..SEGMENTS_MAX).map(|_| PacketBuf::with_capacity(HEADROOM, ROOM)).collect();
        let mut io = GroIo::new(HEADROOM, short, Vec::new());
        send(&sender, &[(9_000, 27_000)]);
        let expected = send(&sender, &[(100, 300)]);
        assert_eq!(receive(&receiver, &mut io), expected);
    }

    fn super_datagram() -> impl Strategy<Value = Sent> {
        let small = (1_usize..300, 1_usize..64);
        let usual = (1_200_usize..1_472, 1_usize..44);
        let long = (ROOM + 1..9_000_usize, 1_usize..7);
        let any = prop_oneof![3 => small, 4 => usual, 1 => long];
        (any, 0..100_usize).prop_map(|((segment_octets, segments), last)| {
            let last = (segment_octets * last / 100).max(1);
            (segment_octets, (segments - 1) * segment_octets + last)
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        /// However wrong the foreseen cuts are, what was sent arrives, whole and in order.
        #[test]
        fn whatever_was_foreseen_all_arrives_in_order(
            bursts in prop::collection::vec(prop::collection::vec(super_datagram(), 1..12), 1..5),
        ) {
            let (sender, receiver) = pair();
            receiver.join_datagrams().unwrap();
            let mut io = io();
            for burst in bursts {
                let expected = send(&sender, &burst);
                prop_assert_eq!(receive(&receiver, &mut io), expected);
            }
        }
    }
}
