//! ESP over IPv4 from a ring that the kernel shares with us (AF_PACKET, TPACKET_V2).
//!
//! A raw socket costs a system call's worth of work for each packet, a frame of the ring a copy.
//! Frames and not blocks (TPACKET_V3): a block is ready when it is full or a millisecond has passed,
//! and a lone packet must not wait that long.
//!
//! The ring sees packets as they come in, before routing and the packet filter. So what those do is
//! done here or left to the raw socket, which stays open: the kernel joins fragments before they get
//! here; the header's checksum and lengths are looked at; packets for others, which pass a gateway,
//! are left alone (`Destinations`); packets to groups stay with the raw socket, as does IPv6, whose
//! joined fragments the ring could not tell from packets that it has seen already. **Rules of the
//! packet filter for ESP to this host do not apply**: whoever opens a ring has decided that the SAs
//! are filter enough.

#![expect(unsafe_code, reason = "the ring is memory that the kernel writes, too")]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

use adit_db::{InboundThreads, KERNEL_SPI};
use adit_wire::PacketBuf;
use adit_wire::iana::IpProtocol;
use nix::libc::{self, c_int, c_uint};
use socket2::{Domain, Protocol, Socket, Type};

use crate::batch::receive_one;
use crate::destinations::{Destinations, Unanswered};
use crate::error::SysError;
use crate::message::Control;
use crate::netlink::Family;
use crate::outer_header::{Verdict, accept};
use crate::raw::RawEspSocket;
use crate::socket_filter::{self, Check, LD_W_IND, LDX_B_MSH, Load, MOD, RET_A, statement};
use crate::socket_option;
use crate::steering::Part;

/// The ring and the raw socket beside it. Never blocks.
#[derive(Debug)]
pub struct EspRing {
    socket: Socket,
    frames: Frames,
    destinations: Destinations,
    headroom: usize,
    /// Whether the last call found nothing.
    was_empty: bool,
}

impl EspRing {
    /// Takes the ESP packets of IPv4 from `raw`, which goes on with those to groups; received ones
    /// start `headroom` octets into their buffer, IP header included.
    ///
    /// SPIs of the kernel's engine ([`adit_db::KERNEL_SPI`]) come out of neither.
    ///
    /// # Errors
    ///
    /// As [`Self::open_all`].
    pub fn open(raw: &RawEspSocket, headroom: usize) -> Result<Self, SysError> {
        let rings = Self::open_all(&[raw], headroom)?;
        let missing = || SysError::UnexpectedAnswer { operation: OPERATION };
        rings.into_iter().next().ok_or_else(missing)
    }

    /// Likewise for several threads, each with its socket: each gets what its SPIs are
    /// ([`crate::steering`]).
    ///
    /// # Errors
    ///
    /// - [`SysError::FamilyUnsupported`]: `raw` are not of IPv4.
    /// - [`SysError::NotPermitted`] (E504) without CAP_NET_RAW.
    /// - [`SysError::Io`]: the kernel has no AF_PACKET rings, or no memory for one. `raw` are then as
    ///   they were.
    pub fn open_all(raw: &[&RawEspSocket], headroom: usize) -> Result<Vec<Self>, SysError> {
        if raw.iter().any(|raw| raw.family() != Family::V4) {
            return Err(SysError::FamilyUnsupported { operation: OPERATION });
        }
        let failed = |error| SysError::of(OPERATION, error);
        let threads = InboundThreads::new(u32::try_from(raw.len()).unwrap_or(u32::MAX));
        let mut group = None;
        let mut rings = Vec::with_capacity(raw.len());
        for _ in raw {
            let ring = Self::make(headroom)?;
            group = Some(join(&ring.socket, group, threads).map_err(failed)?);
            rings.push(ring);
        }
        // Packets that came since bind come out of both: the replay window knows them.
        for (number, raw) in (0..).zip(raw) {
            let mut program = beside_the_ring(Part { number, threads });
            socket_filter::attach(raw.as_fd(), libc::SO_ATTACH_FILTER, &mut program)
                .map_err(failed)?;
        }
        Ok(rings)
    }

    fn make(headroom: usize) -> Result<Self, SysError> {
        let destinations = Destinations::open(Unanswered::Strange)?;
        let failed = |error| SysError::of(OPERATION, error);
        // Protocol 0: nothing arrives before the filter is there and bind has chosen IPv4.
        let socket =
            Socket::new(Domain::PACKET, Type::DGRAM.nonblocking(), Some(Protocol::from(0)))
                .map_err(failed)?;
        let frames = Frames::map(&socket).map_err(failed)?;
        socket_filter::attach(socket.as_fd(), libc::SO_ATTACH_FILTER, &mut for_the_ring())
            .map_err(failed)?;
        bind(&socket).map_err(failed)?;
        Ok(Self { socket, frames, destinations, headroom, was_empty: false })
    }

    /// Octets of the memory that is shared with the kernel.
    #[must_use]
    pub fn memory_octets(&self) -> usize {
        RING_OCTETS
    }

    /// Receives ESP packets, from the SPI on, into the front of `packets`; zero if nothing waits.
    ///
    /// They are as [`RawEspSocket::recv_batch`] makes them. What is not for this host, or broken, is
    /// left out.
    ///
    /// # Errors
    ///
    /// ENETDOWN once when an interface goes down; nothing is lost by calling again.
    pub fn recv_batch(&mut self, packets: &mut [PacketBuf]) -> io::Result<usize> {
        let got = self.take_batch(packets);
        // Who finds nothing twice in a row was woken by an error.
        let was_empty = std::mem::replace(&mut self.was_empty, got == 0);
        if was_empty && got == 0 {
            self.take_error()?;
        }
        Ok(got)
    }

    /// Likewise; whoever finds nothing here and elsewhere, twice in a row, asks for the
    /// [error](Self::take_error).
    pub(crate) fn take_batch(&mut self, packets: &mut [PacketBuf]) -> usize {
        let mut got = 0;
        self.destinations.look_at_the_clock();
        // Frames that are left out count, too: a flood of them must not keep the caller here.
        for _ in 0..FRAMES_PER_CALL {
            let Some(packet) = packets.get_mut(got) else { break };
            packet.reset(self.headroom);
            let Some(frame) = self.frames.next() else { break };
            let filled = match frame.content() {
                Content::Whole(octets) => packet.fill(octets),
                Content::Queued => take_queued(&self.socket, packet),
                Content::Cut => false,
            };
            drop(frame);
            got += usize::from(filled && accept(packet, &mut self.destinations) == Verdict::Ours);
        }
        got
    }

    /// An error makes the socket readable until it is taken.
    ///
    /// # Errors
    ///
    /// ENETDOWN: an interface went down.
    pub(crate) fn take_error(&self) -> io::Result<()> {
        self.socket.take_error()?.map_or(Ok(()), Err)
    }
}

impl AsFd for EspRing {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Reads a packet that was too long for its frame, jumbo frames and joined fragments among them.
fn take_queued(socket: &Socket, packet: &mut PacketBuf) -> bool {
    let mut control = Control::EMPTY;
    let room = packet.spare_mut();
    let capacity = room.len();
    let mut receive = || receive_one(socket.as_fd(), room, &mut control, libc::MSG_TRUNC);
    // The first call may tell of an interface that went down, and leaves the packet where it is.
    let Ok(received) = receive().or_else(|_| receive()) else { return false };
    packet.set_len(received.length);
    received.length <= capacity
}

/// The memory of the ring: frames of one size, used in turn.
#[derive(Debug)]
struct Frames {
    start: NonNull<u8>,
    next: usize,
}

// SAFETY: the memory is owned: nobody but the kernel and this value has a pointer to it.
unsafe impl Send for Frames {}

impl Frames {
    /// Makes the ring of a socket.
    fn map(socket: &Socket) -> io::Result<Self> {
        packet_option(socket, libc::PACKET_VERSION, TPACKET_V2)?;
        // What does not fit into a frame is also queued, up to the socket's buffer.
        packet_option(socket, libc::PACKET_COPY_THRESH, 1)?;
        socket_option::grow_buffers(socket.as_fd(), QUEUE_OCTETS, 0);
        let request = [BLOCK_OCTETS, RING_OCTETS / BLOCK_OCTETS, FRAME_OCTETS, FRAMES];
        let request = request.map(|number| c_uint::try_from(number).unwrap_or(0));
        socket_option::set_value(socket, libc::SOL_PACKET, libc::PACKET_RX_RING, &request)?;
        // SAFETY: a new mapping at a place that the kernel chooses touches no memory in use.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                RING_OCTETS,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                socket.as_raw_fd(),
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { start, next: 0 })
    }

    /// The next frame that the kernel has filled.
    fn next(&mut self) -> Option<Frame<'_>> {
        // SAFETY: `next` is below FRAMES, so the frame lies within the mapping, which lives as long
        // as `self`.
        let start = unsafe { self.start.add(self.next * FRAME_OCTETS) };
        let frame = Frame { start, ring: self };
        if frame.status().load(Ordering::Acquire) & libc::TP_STATUS_USER == 0 {
            std::mem::forget(frame);
            return None;
        }
        frame.ring.next = (frame.ring.next + 1) % FRAMES;
        Some(frame)
    }
}

impl Drop for Frames {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `map` with this length; frames borrow `self`, so none is
        // left.
        let _ = unsafe { libc::munmap(self.start.as_ptr().cast(), RING_OCTETS) };
    }
}

/// A filled frame; dropping it gives it back to the kernel.
struct Frame<'a> {
    start: NonNull<u8>,
    ring: &'a mut Frames,
}

/// What a frame has of its packet.
enum Content<'a> {
    /// All of it, from the IP header on.
    Whole(&'a [u8]),
    /// All of it is in the socket's queue.
    Queued,
    /// Not all of it: the queue was full.
    Cut,
}

impl Frame<'_> {
    fn status(&self) -> &AtomicU32 {
        // SAFETY: a frame begins with tpacket2_hdr, whose first field is the status; the kernel
        // aligns frames to 16 octets and both sides access the status atomically.
        unsafe { self.start.cast().as_ref() }
    }

    fn content(&self) -> Content<'_> {
        // SAFETY: the status says that the frame is ours, so the kernel has written the header and
        // does not touch it now; tpacket2_hdr consists of integers, which are read unaligned-safe.
        let header = unsafe { self.start.cast::<libc::tpacket2_hdr>().read_unaligned() };
        let kept = usize::try_from(header.tp_snaplen).unwrap_or(usize::MAX);
        let offset = usize::from(header.tp_net);
        if self.status().load(Ordering::Relaxed) & libc::TP_STATUS_COPY != 0 {
            return Content::Queued;
        }
        let fits = offset.checked_add(kept).is_some_and(|end| end <= FRAME_OCTETS);
        if header.tp_snaplen != header.tp_len || !fits {
            return Content::Cut;
        }
        // SAFETY: offset and length lie within this frame, which the kernel does not touch until
        // its status changes in `drop`; the slice borrows `self`.
        Content::Whole(unsafe { std::slice::from_raw_parts(self.start.add(offset).as_ptr(), kept) })
    }
}

impl Drop for Frame<'_> {
    fn drop(&mut self) {
        self.status().store(libc::TP_STATUS_KERNEL, Ordering::Release);
    }
}

/// Whole packets of ESP for this host alone, without those of the kernel's engine.
fn for_the_ring() -> Vec<libc::sock_filter> {
    socket_filter::all(&[
        Check::is(Load::Ancillary(libc::SKF_AD_PKTTYPE), u32::MAX, libc::PACKET_HOST.into()),
        Check::is(Load::Octet(0), 0xf0, 0x40),
        Check::is(Load::Octet(9), u32::MAX, IpProtocol::ESP.0.into()),
        Check::lacks(Load::Half(6), MORE_FRAGMENTS | FRAGMENT_OFFSET),
        Check::at_least(Load::Octet(16), FIRST_GROUP).not(),
        Check::lacks(Load::WordAfterIpv4(0), KERNEL_SPI),
    ])
}

/// What a raw socket goes on with: its thread's part of packets to groups.
fn beside_the_ring(part: Part) -> Vec<libc::sock_filter> {
    let remainder = Load::RemainderAfterIpv4(0, part.threads.count());
    socket_filter::all(&[
        Check::at_least(Load::Octet(16), FIRST_GROUP),
        Check::lacks(Load::WordAfterIpv4(0), KERNEL_SPI),
        Check::is(remainder, u32::MAX, part.number),
    ])
}

fn bind(socket: &Socket) -> io::Result<()> {
    // SAFETY: sockaddr_ll consists of integers, for which all zeros is a value: any interface.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::sa_family_t::try_from(libc::AF_PACKET).unwrap_or(0);
    address.sll_protocol = ETH_P_IP.to_be();
    let length = libc::socklen_t::try_from(size_of::<libc::sockaddr_ll>()).unwrap_or(0);
    // SAFETY: the pointer leads to a live sockaddr_ll and the length is its size.
    let result = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Makes a socket the next of a group, or the first of a new one, and returns the group. Its members
/// share out packets by SPI; for all of them the kernel joins fragments before it looks.
fn join(socket: &Socket, group: Option<c_int>, threads: InboundThreads) -> io::Result<c_int> {
    if let Some(group) = group {
        packet_option(socket, libc::PACKET_FANOUT, group)?;
        return Ok(group);
    }
    let flags = libc::PACKET_FANOUT_FLAG_DEFRAG | libc::PACKET_FANOUT_FLAG_UNIQUEID;
    let kind = (flags | FANOUT_CBPF) << 16;
    packet_option(socket, libc::PACKET_FANOUT, kind.cast_signed())?;
    let mut program = [
        statement(LDX_B_MSH, 0),
        statement(LD_W_IND, 0),
        statement(MOD, threads.count()),
        statement(RET_A, 0),
    ];
    socket_filter::attach_as(socket.as_fd(), libc::SOL_PACKET, FANOUT_DATA, &mut program)?;
    socket_option::get(socket, libc::SOL_PACKET, libc::PACKET_FANOUT)
}

fn packet_option(socket: &Socket, name: c_int, value: c_int) -> io::Result<()> {
    socket_option::set(socket, libc::SOL_PACKET, name, value)
}

const OPERATION: &str = "receive ESP by a ring";
/// `linux/if_packet.h`: PACKET_FANOUT_CBPF, PACKET_FANOUT_DATA.
const FANOUT_CBPF: c_uint = 6;
const FANOUT_DATA: c_int = 22;
/// `linux/if_packet.h`, enum tpacket_versions.
const TPACKET_V2: c_int = 1;
/// Frames are for packets of the usual links; longer ones take the way through the queue.
const FRAME_OCTETS: usize = 2048;
/// What a millisecond or two of a fast link brings.
const FRAMES: usize = 4096;
const RING_OCTETS: usize = FRAME_OCTETS * FRAMES;
/// What the kernel allocates in one piece.
const BLOCK_OCTETS: usize = 64 * 1024;
/// Room for packets that do not fit into a frame.
const QUEUE_OCTETS: usize = 2 * 1024 * 1024;
/// Frames looked at in one call.
const FRAMES_PER_CALL: usize = 256;
const ETH_P_IP: u16 = 0x0800;
/// Flag and field of the IPv4 header (RFC 791 §3.1).
const MORE_FRAGMENTS: u32 = 0x2000;
const FRAGMENT_OFFSET: u32 = 0x1fff;
/// First octet of the first address of class D; what follows is no host's address.
const FIRST_GROUP: u32 = 224;
