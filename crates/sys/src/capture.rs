//! Captures the frames of an interface (AF_PACKET) and writes pcap files.

#![expect(unsafe_code, reason = "bind takes a sockaddr_ll, which no wrapper crate makes")]

use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::libc;
use socket2::{Domain, Protocol, Socket, Type};

use crate::batch::receive_one;
use crate::error::SysError;
use crate::message::Control;
use crate::netlink::Netlink;
use crate::socket_option;
use crate::thread::spawn_named;
use crate::wake::{Events, Interest, Poller, Token, Waker, wait_for};

/// What a frame begins with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LinkType {
    /// An Ethernet header.
    Ethernet,
    /// An IPv4 or IPv6 header, as on a TUN interface.
    RawIp,
}

impl LinkType {
    /// Its number in pcap files.
    #[must_use]
    pub fn number(self) -> u32 {
        match self {
            Self::Ethernet => 1,
            Self::RawIp => 101,
        }
    }
}

/// A captured frame.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Frame<'a> {
    /// Wall time since 1970 at which the kernel saw it.
    pub time: Duration,
    /// Its octets, cut at the snap length.
    pub octets: &'a [u8],
    /// How long it was.
    pub original_octets: usize,
}

/// A running capture of both directions of one interface. Never blocks.
#[derive(Debug)]
pub struct Capture {
    socket: Socket,
    link_type: LinkType,
    buffer: Box<[u8]>,
}

impl Capture {
    /// Starts capturing in the namespace of the calling thread; the socket may then be used in
    /// any thread. Keeps at most `snap_octets` of each frame.
    ///
    /// # Errors
    ///
    /// [`SysError::InterfaceMissing`], [`SysError::NotPermitted`] (E504) without CAP_NET_RAW,
    /// [`SysError::Io`].
    pub fn open(interface: &str, snap_octets: usize) -> Result<Self, SysError> {
        let index = Netlink::open()?.link_by_name(interface)?.index;
        let link_type = link_type(interface)?;
        // Protocol 0: nothing arrives before bind has chosen the interface.
        let socket = Socket::new(Domain::PACKET, Type::RAW.nonblocking(), Some(Protocol::from(0)))
            .map_err(|error| SysError::of("open capture", error))?;
        socket_option::grow_buffers(socket.as_fd(), BUFFER_OCTETS, 0);
        socket_option::set(&socket, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 1)
            .map_err(|error| SysError::of("configure capture", error))?;
        bind(&socket, index).map_err(|error| SysError::of("bind capture", error))?;
        let buffer = vec![0; snap_octets.clamp(1, SNAP_MAX)].into_boxed_slice();
        Ok(Self { socket, link_type, buffer })
    }

    /// What the frames begin with.
    #[must_use]
    pub fn link_type(&self) -> LinkType {
        self.link_type
    }

    /// The next frame; `None` if none waits.
    ///
    /// # Errors
    ///
    /// ENETDOWN once when the interface goes down or away.
    pub fn next_frame(&mut self) -> io::Result<Option<Frame<'_>>> {
        let mut control = Control::EMPTY;
        let flags = libc::MSG_TRUNC;
        let received = match receive_one(self.socket.as_fd(), &mut self.buffer, &mut control, flags)
        {
            Ok(received) => received,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error),
        };
        let kept = received.length.min(self.buffer.len());
        let stamp = control
            .messages(received.control_length)
            .find(|(level, kind, _)| (*level, *kind) == (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS));
        Ok(Some(Frame {
            time: stamp.and_then(|(_, _, data)| time(data)).unwrap_or_else(crate::clock::unix_time),
            octets: self.buffer.get(..kept).unwrap_or_default(),
            original_octets: received.length,
        }))
    }

    /// Waits for a frame; `false` if `timeout` passed first.
    ///
    /// # Errors
    ///
    /// What poll answers.
    pub fn wait(&self, timeout: Duration) -> io::Result<bool> {
        wait_for(&self.socket, Interest::Readable, Some(timeout))
    }

    /// Frames lost so far because nobody read fast enough; asking sets the count back to zero.
    ///
    /// # Errors
    ///
    /// What the kernel answers.
    pub fn lost(&self) -> io::Result<u32> {
        // struct tpacket_stats { packets, drops }: the second word is wanted.
        let mut stats = [0_u32; 2];
        let mut length: libc::socklen_t = 8;
        // SAFETY: the pointer leads to eight writable octets and the length says so.
        let result = unsafe {
            libc::getsockopt(
                self.socket.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_STATISTICS,
                stats.as_mut_ptr().cast(),
                &raw mut length,
            )
        };
        if result == 0 { Ok(stats[1]) } else { Err(io::Error::last_os_error()) }
    }
}

impl AsFd for Capture {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn bind(socket: &Socket, index: u32) -> io::Result<()> {
    const ALL: u16 = 0x0003; // ETH_P_ALL
    // SAFETY: sockaddr_ll consists of integers, for which all zeros is a value.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::sa_family_t::try_from(libc::AF_PACKET).unwrap_or(0);
    address.sll_protocol = ALL.to_be();
    address.sll_ifindex = i32::try_from(index).unwrap_or(0);
    let length = libc::socklen_t::try_from(size_of::<libc::sockaddr_ll>()).unwrap_or(0);
    // SAFETY: the pointer leads to a live sockaddr_ll and the length is its size.
    let result = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn link_type(interface: &str) -> Result<LinkType, SysError> {
    // /sys shows the namespace it was mounted in; the flags of the link say what we need.
    let link = Netlink::open()?.link_by_name(interface)?;
    Ok(if link.ethernet || link.loopback { LinkType::Ethernet } else { LinkType::RawIp })
}

fn time(data: &[u8]) -> Option<Duration> {
    let seconds = i64::from_ne_bytes(*data.first_chunk()?);
    let nanos = i64::from_ne_bytes(*data.get(8..)?.first_chunk()?);
    Some(Duration::new(u64::try_from(seconds).ok()?, u32::try_from(nanos).ok()?))
}

/// A capture that hands every frame to a function on a thread of its own.
#[derive(Debug)]
pub struct CaptureThread {
    waker: Waker,
    thread: Option<JoinHandle<CaptureSummary>>,
}

/// What a [`CaptureThread`] saw.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct CaptureSummary {
    /// Frames handed over.
    pub frames: u64,
    /// Frames lost because the function was too slow.
    pub lost: u32,
}

impl CaptureThread {
    /// Starts; ends by itself when `on_frame` returns `false` or the interface goes away.
    ///
    /// # Errors
    ///
    /// [`SysError::Io`]: no more threads or files.
    pub fn start(
        capture: Capture,
        on_frame: impl FnMut(&Frame<'_>) -> bool + Send + 'static,
    ) -> Result<Self, SysError> {
        let start = || -> io::Result<Self> {
            let waker = Waker::new()?;
            let poller = Poller::new()?;
            poller.add(&waker, STOP, Interest::Readable)?;
            poller.add(&capture, FRAMES, Interest::Readable)?;
            let run = move || run(capture, &poller, on_frame);
            Ok(Self { waker, thread: Some(spawn_named("capture", run)?) })
        };
        start().map_err(|error| SysError::of("start capture", error))
    }

    /// Hands over what has arrived until now, ends the thread and tells what it saw.
    #[must_use]
    pub fn stop(mut self) -> CaptureSummary {
        self.waker.wake();
        let summary = self.thread.take().map(JoinHandle::join);
        summary.and_then(Result::ok).unwrap_or_default()
    }
}

impl Drop for CaptureThread {
    fn drop(&mut self) {
        self.waker.wake();
    }
}

fn run(
    mut capture: Capture,
    poller: &Poller,
    mut on_frame: impl FnMut(&Frame<'_>) -> bool,
) -> CaptureSummary {
    let mut events = Events::new();
    let mut summary = CaptureSummary::default();
    let mut running = true;
    while running {
        if poller.wait(&mut events, None).is_err() {
            break;
        }
        running = !events.iter().any(|ready| ready.token == STOP);
        loop {
            match capture.next_frame() {
                Ok(Some(frame)) => {
                    summary.frames += 1;
                    if !on_frame(&frame) {
                        running = false;
                        break;
                    }
                }
                Ok(None) => break,
                Err(_) => {
                    running = false;
                    break;
                }
            }
        }
    }
    summary.lost = capture.lost().unwrap_or(0);
    summary
}

const STOP: Token = Token(0);
const FRAMES: Token = Token(1);

/// Writes frames in the classic pcap format with microseconds.
#[derive(Debug)]
pub struct PcapWriter<W: Write> {
    out: W,
    octets_left: u64,
}

impl<W: Write> PcapWriter<W> {
    /// Writes the file header; afterwards at most `octets_max` octets of frames.
    ///
    /// # Errors
    ///
    /// What writing answers.
    pub fn new(mut out: W, link_type: LinkType, octets_max: u64) -> io::Result<Self> {
        out.write_all(&0xa1b2_c3d4_u32.to_le_bytes())?;
        out.write_all(&2_u16.to_le_bytes())?;
        out.write_all(&4_u16.to_le_bytes())?;
        out.write_all(&[0; 8])?;
        out.write_all(&u32::try_from(SNAP_MAX).unwrap_or(u32::MAX).to_le_bytes())?;
        out.write_all(&link_type.number().to_le_bytes())?;
        Ok(Self { out, octets_left: octets_max })
    }

    /// Appends a frame; `false` if the file is full and the frame was left out.
    ///
    /// # Errors
    ///
    /// What writing answers.
    pub fn write(&mut self, frame: &Frame<'_>) -> io::Result<bool> {
        let size = frame.octets.len() as u64 + RECORD_HEADER_OCTETS;
        let Some(left) = self.octets_left.checked_sub(size) else {
            self.octets_left = 0;
            return Ok(false);
        };
        self.octets_left = left;
        let clip = |value: u64| u32::try_from(value).unwrap_or(u32::MAX).to_le_bytes();
        self.out.write_all(&clip(frame.time.as_secs()))?;
        self.out.write_all(&frame.time.subsec_micros().to_le_bytes())?;
        self.out.write_all(&clip(frame.octets.len() as u64))?;
        self.out.write_all(&clip(frame.original_octets as u64))?;
        self.out.write_all(frame.octets)?;
        Ok(true)
    }

    /// Hands everything to the operating system.
    ///
    /// # Errors
    ///
    /// What writing answers.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// Gives the inner writer back, flushed.
    ///
    /// # Errors
    ///
    /// What writing answers.
    pub fn finish(mut self) -> io::Result<W> {
        self.out.flush()?;
        Ok(self.out)
    }
}

/// Largest frame kept; offloading makes frames of nearly this size.
pub const SNAP_MAX: usize = 262_144;
/// Receive buffer asked for.
const BUFFER_OCTETS: usize = 16 * 1024 * 1024;
const RECORD_HEADER_OCTETS: u64 = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pcap_file_has_the_documented_layout_and_stops_at_its_bound() {
        let frame = Frame { time: Duration::new(7, 9_000), octets: b"abc", original_octets: 90 };
        let mut pcap = PcapWriter::new(Vec::new(), LinkType::Ethernet, 20).unwrap();

        assert!(pcap.write(&frame).unwrap());
        assert!(!pcap.write(&frame).unwrap());

        let octets = pcap.finish().unwrap();
        assert_eq!(octets[..4], [0xd4, 0xc3, 0xb2, 0xa1]);
        assert_eq!(octets[20..24], [1, 0, 0, 0]);
        assert_eq!(octets[24..], *b"\x07\0\0\0\x09\0\0\0\x03\0\0\0\x5a\0\0\0abc");
    }
}
