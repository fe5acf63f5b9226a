//! AF_XDP sockets in copy mode on one queue of a device: one that sends and owns the frames, and one
//! for each thread that receives, all with the same frames.

#![expect(unsafe_code, reason = "socket addresses and offsets are structures of the kernel")]

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use nix::libc;
use socket2::{Domain, Socket, Type};

use super::receiver::XdpReceiver;
use super::ring::{Mapping, Ring};
use super::sender::XdpSender;
use crate::socket_option;

/// The frames of a queue, and the socket that has told the kernel of them.
#[derive(Debug)]
pub(super) struct Frames {
    // The socket goes first: the kernel lets go of the memory with it.
    pub(super) socket: Socket,
    pub(super) memory: Mapping,
    /// The kernel tells of it once, and several want to know.
    is_gone: AtomicBool,
}

impl Frames {
    /// Whether the device is no more.
    pub(super) fn is_gone(&self) -> bool {
        if matches!(self.socket.take_error(), Ok(Some(_)) | Err(_)) {
            self.is_gone.store(true, Ordering::Relaxed);
        }
        self.is_gone.load(Ordering::Relaxed)
    }
}

/// The ring of frames that the kernel may fill. Threads that receive from one queue share it; one that
/// finds it in use keeps what it has to give until its next batch, and so waits for nobody.
pub(super) type Fill = Arc<Mutex<Ring<u64>>>;

/// One queue of one device.
#[derive(Debug)]
pub(super) struct Queue {
    interface: u32,
    number: u32,
    frames: Arc<Frames>,
    fill: Fill,
    sender: Option<XdpSender>,
}

impl Queue {
    /// Opens a queue of an interface; both are given by their numbers.
    ///
    /// # Errors
    ///
    /// EINVAL: there is no such queue; EPERM without CAP_NET_RAW; EAFNOSUPPORT in a kernel without
    /// AF_XDP; EBUSY, EOPNOTSUPP: the queue has another one, or the device cannot; ENOBUFS: too much
    /// locked memory.
    pub(super) fn open(interface: u32, number: u32) -> io::Result<Self> {
        let socket = new_socket()?;
        socket_option::grow_buffers(socket.as_fd(), 0, SEND_BUFFER_OCTETS);
        let memory = Mapping::new(FRAMES_OCTETS, None)?;
        register(&socket, &memory)?;
        for (ring, entries) in [
            (libc::XDP_UMEM_FILL_RING, RECEIVING_FRAMES),
            (libc::XDP_UMEM_COMPLETION_RING, SENDING_FRAMES),
            (libc::XDP_TX_RING, SENDING_FRAMES),
        ] {
            socket_option::set_value(&socket, libc::SOL_XDP, ring, &entries)?;
        }
        let offsets = offsets(&socket)?;
        let place = |place: libc::c_ulonglong| {
            libc::off_t::try_from(place).map_err(|_| io::ErrorKind::Unsupported)
        };
        let sending = Ring::map(&socket, &offsets.tx, SENDING_FRAMES, libc::XDP_PGOFF_TX_RING)?;
        let completion = place(libc::XDP_UMEM_PGOFF_COMPLETION_RING)?;
        let completion = Ring::map(&socket, &offsets.cr, SENDING_FRAMES, completion)?;
        let fill = place(libc::XDP_UMEM_PGOFF_FILL_RING)?;
        let mut fill = Ring::map(&socket, &offsets.fr, RECEIVING_FRAMES, fill)?;
        bind(&socket, interface, number, None)?;
        (SENDING_FRAMES..SENDING_FRAMES + RECEIVING_FRAMES)
            .for_each(|frame| fill.put(u64::from(frame) * FRAME_OCTETS as u64));
        fill.publish();
        let frames = Arc::new(Frames { socket, memory, is_gone: AtomicBool::new(false) });
        let sender = Some(XdpSender::new(Arc::clone(&frames), sending, completion));
        let fill = Arc::new(Mutex::new(fill));
        Ok(Self { interface, number, frames, fill, sender })
    }

    /// The half that sends, for the first who asks; `None` also if the device sends nothing by it.
    pub(super) fn sender(&mut self) -> Option<XdpSender> {
        self.sender.take_if(XdpSender::is_served)
    }

    /// One that receives, as one of so many threads.
    ///
    /// # Errors
    ///
    /// As those of [`Self::open`].
    pub(super) fn receiver(&mut self, threads: u32) -> io::Result<XdpReceiver> {
        let socket = new_socket()?;
        // No thread may keep the frames of all others.
        let entries = (RECEIVING_FRAMES / threads.next_power_of_two().max(1)).max(ENTRIES_MIN);
        socket_option::set_value(&socket, libc::SOL_XDP, libc::XDP_RX_RING, &entries)?;
        let received = Ring::map(&socket, &offsets(&socket)?.rx, entries, libc::XDP_PGOFF_RX_RING)?;
        bind(&socket, self.interface, self.number, Some(&self.frames.socket))?;
        let (frames, fill) = (Arc::clone(&self.frames), Arc::clone(&self.fill));
        Ok(XdpReceiver::new(self.interface, socket, received, frames, fill))
    }

    /// Whether nobody has a half of it.
    pub(super) fn is_idle(&self) -> bool {
        Arc::strong_count(&self.frames) == 1 + usize::from(self.sender.is_some())
    }

    /// Whether some thread receives from it.
    pub(super) fn has_receivers(&self) -> bool {
        Arc::strong_count(&self.fill) > 1
    }

    /// Whether the device is no more.
    pub(super) fn is_gone(&self) -> bool {
        self.frames.is_gone()
    }
}

/// A socket that is nowhere yet.
///
/// # Errors
///
/// EPERM without CAP_NET_RAW; EAFNOSUPPORT in a kernel without AF_XDP.
pub(super) fn new_socket() -> io::Result<Socket> {
    Socket::new(Domain::from(libc::AF_XDP), Type::RAW, None)
}

fn register(socket: &Socket, frames: &Mapping) -> io::Result<()> {
    let registration = libc::xdp_umem_reg {
        addr: frames.address(),
        len: frames.octets() as u64,
        chunk_size: u32::try_from(FRAME_OCTETS).unwrap_or(0),
        headroom: 0,
        flags: 0,
        tx_metadata_len: 0,
    };
    socket_option::set_value(socket, libc::SOL_XDP, libc::XDP_UMEM_REG, &registration)
}

fn offsets(socket: &Socket) -> io::Result<libc::xdp_mmap_offsets> {
    // SAFETY: xdp_mmap_offsets consists of integers, for which all zeros is a value.
    let mut offsets: libc::xdp_mmap_offsets = unsafe { std::mem::zeroed() };
    let full = size_of::<libc::xdp_mmap_offsets>();
    let mut length = libc::socklen_t::try_from(full).unwrap_or(0);
    // SAFETY: the pointers lead to a live structure and to its size.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_XDP,
            libc::XDP_MMAP_OFFSETS,
            (&raw mut offsets).cast(),
            &raw mut length,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    // Kernels before 5.4 have a shorter one.
    if usize::try_from(length).unwrap_or(0) != full {
        return Err(io::ErrorKind::Unsupported.into());
    }
    Ok(offsets)
}

/// Binds to a queue, with the frames of a socket that is there already, if one is given.
fn bind(socket: &Socket, interface: u32, queue: u32, of: Option<&Socket>) -> io::Result<()> {
    let (flags, of) = match of {
        None => (libc::XDP_COPY, 0),
        Some(of) => (libc::XDP_SHARED_UMEM, of.as_raw_fd().cast_unsigned()),
    };
    let address = libc::sockaddr_xdp {
        sxdp_family: libc::sa_family_t::try_from(libc::AF_XDP).unwrap_or(0),
        sxdp_flags: flags,
        sxdp_ifindex: interface,
        sxdp_queue_id: queue,
        sxdp_shared_umem_fd: of,
    };
    let length = libc::socklen_t::try_from(size_of::<libc::sockaddr_xdp>()).unwrap_or(0);
    // SAFETY: the pointer leads to a live sockaddr_xdp and the length is its size.
    let result = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Frames of a queue for sending and for receiving, powers of two; rings have as many places, so that
/// none overflows. The first frames are those for sending.
pub(super) const SENDING_FRAMES: u32 = 1_024;
pub(super) const RECEIVING_FRAMES: u32 = 4_096;
/// Octets of a frame; packets that are longer go another way.
pub(crate) const FRAME_OCTETS: usize = 2_048;
pub(super) const FRAMES_OCTETS: usize = (SENDING_FRAMES + RECEIVING_FRAMES) as usize * FRAME_OCTETS;
/// Octets of a received frame: the kernel keeps XDP_PACKET_HEADROOM before it.
pub(super) const RECEIVED_OCTETS_MAX: i32 = 2_048 - 256;
/// Fewest places that a thread has for what it receives.
const ENTRIES_MIN: u32 = 64;
/// All frames may be on their way at once, each with what the kernel has around it.
const SEND_BUFFER_OCTETS: usize = 8 * 1024 * 1024;
