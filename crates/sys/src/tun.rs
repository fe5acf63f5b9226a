//! The TUN interface: IP packets between the kernel and the data plane.

#![expect(unsafe_code, reason = "an ioctl takes a raw pointer")]

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use adit_wire::{PacketBuf, VnetHeader};
use ipnet::IpNet;
use nix::libc;
use tun_rs::{DeviceBuilder, SyncDevice};

use crate::batch::SendReport;
use crate::error::SysError;
use crate::netlink::Netlink;
use crate::netns::write_sysctl;
use crate::wake::{Interest, wait_for};

/// What to make.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TunConfig {
    /// Interface name, at most 15 octets.
    pub name: String,
    /// Largest inner IP packet, octets.
    pub mtu: u16,
    /// Addresses of the interface; none is usual, as routes bring their source address.
    pub addresses: Vec<IpNet>,
    /// Whether to ask for super-packets, so that one read or write moves many packets of a flow.
    pub offloads: bool,
}

/// What a TUN device moves in one piece: each packet then has a [`VnetHeader`] before it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Offloads {
    /// TCP segments of one flow, and checksums that are still to be made.
    pub tcp: bool,
    /// UDP datagrams of one flow and of equal size (Linux 6.2).
    pub udp: bool,
}

impl Offloads {
    /// Whether a [`VnetHeader`] stands before each packet.
    #[must_use]
    pub fn any(self) -> bool {
        self.tcp || self.udp
    }
}

/// How many threads move packets through a TUN interface.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Queues {
    /// Those that read: flows are spread over them by a hash of their addresses and ports, so that the
    /// packets of one come to one thread.
    pub readers: usize,
    /// Those that write.
    pub writers: usize,
}

impl Queues {
    /// One of each, with one queue for both.
    pub const ONE: Self = Self { readers: 1, writers: 1 };
}

/// A TUN interface; it goes away with its last clone. Never blocks.
///
/// It may have several queues: a clone is the first, and [`Self::reader`] and [`Self::writer`] are the
/// same interface by another one.
#[derive(Clone)]
pub struct Tun {
    device: Arc<SyncDevice>,
    readers: Arc<[Arc<SyncDevice>]>,
    writers: Arc<[Arc<SyncDevice>]>,
    name: String,
    index: u32,
    offloads: Offloads,
}

impl Tun {
    /// Makes the interface in the namespace of the calling thread and switches it on.
    ///
    /// # Errors
    ///
    /// - [`SysError::NoTun`] (E503): the kernel has no TUN driver or the device file is missing.
    /// - [`SysError::NotPermitted`] (E504) without CAP_NET_ADMIN.
    /// - [`SysError::InterfaceExists`]: another program holds an interface of that name.
    /// - [`SysError::Io`].
    pub fn create(config: &TunConfig) -> Result<Self, SysError> {
        Self::create_with(config, Queues::ONE)
    }

    /// The same with several queues.
    ///
    /// # Errors
    ///
    /// As [`Self::create`].
    pub fn create_with(config: &TunConfig, queues: Queues) -> Result<Self, SysError> {
        let has_many = queues != Queues::ONE;
        let device = build(config, has_many).map_err(|error| create_error(&config.name, error))?;
        let offloads = Offloads { tcp: device.tcp_gso(), udp: device.udp_gso() };
        device.set_nonblocking(true).map_err(|error| SysError::of("configure TUN", error))?;
        let mut netlink = Netlink::open()?;
        let index = netlink.link_by_name(&config.name)?.index;
        // Router solicitations of an automatic link-local address have no place in a tunnel.
        let setting = format!("net/ipv6/conf/{}/addr_gen_mode", config.name);
        if let Err(error) = write_sysctl(&setting, "1") {
            tracing::debug!(%error, "TUN keeps its link-local address");
        }
        netlink.set_up(index, true)?;
        for network in &config.addresses {
            netlink.add_address(index, *network)?;
        }
        if !config.addresses.is_empty() && !netlink.wait_until_ready(index, READY_PATIENCE)? {
            tracing::debug!("the addresses of the TUN are not ready yet");
        }
        let device = Arc::new(device);
        let mut readers = vec![Arc::clone(&device)];
        let mut writers = Vec::new();
        for _ in 1..queues.readers {
            readers.push(another_queue(&device)?);
        }
        if has_many {
            for _ in 0..queues.writers {
                let queue = another_queue(&device)?;
                stop_reading(&queue).map_err(|error| SysError::of("detach TUN queue", error))?;
                writers.push(queue);
            }
        }
        let (readers, writers) = (readers.into(), writers.into());
        Ok(Self { device, readers, writers, name: config.name.clone(), index, offloads })
    }

    /// The interface by the queue of one of those that read.
    #[must_use]
    pub fn reader(&self, number: usize) -> Self {
        let device = self.readers.get(number).unwrap_or(&self.device);
        Self { device: Arc::clone(device), ..self.clone() }
    }

    /// The interface by the queue of one of those that write: nothing is ever read from it, and where
    /// a flow's packets are written does not decide where those of its other direction are read.
    #[must_use]
    pub fn writer(&self, number: usize) -> Self {
        let device = self.writers.get(number).unwrap_or(&self.device);
        Self { device: Arc::clone(device), ..self.clone() }
    }

    /// Interface name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the kernel granted of [`TunConfig::offloads`].
    #[must_use]
    pub fn offloads(&self) -> Offloads {
        self.offloads
    }

    /// Interface number.
    #[must_use]
    pub fn index(&self) -> u32 {
        self.index
    }

    /// Changes the size of the largest inner packet, octets. Call it in the interface's namespace.
    ///
    /// # Errors
    ///
    /// [`SysError::Io`] (EINVAL) below 68 octets.
    pub fn set_mtu(&self, mtu: u16) -> Result<(), SysError> {
        self.device.set_mtu(mtu).map_err(|error| SysError::of("set MTU of TUN", error))
    }

    /// Reads one packet or super-packet into `room`, with its [`VnetHeader`] before it if the device
    /// has [`Self::offloads`]; `None` if nothing waits. Give room for 65,535 octets and the header.
    ///
    /// # Errors
    ///
    /// What reading answers, for example EIO after the interface was deleted. Some are about the packet
    /// alone, which is lost: see [`is_about_one_packet`].
    pub fn recv_super(&self, room: &mut [u8]) -> io::Result<Option<usize>> {
        match self.device.recv(room) {
            Ok(length) => Ok(Some(length)),
            Err(error) if is_passing(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes one packet or super-packet that lies in several places, the first of which is its
    /// [`VnetHeader`] if the device has [`Self::offloads`].
    ///
    /// # Errors
    ///
    /// `WouldBlock`; EINVAL for a header that contradicts the packet.
    pub fn send_parts(&self, parts: &[IoSlice<'_>]) -> io::Result<()> {
        self.device.send_vectored(parts).map(drop)
    }

    /// Reads packets into the front of `packets`, each `headroom` octets into its buffer; returns
    /// how many, zero if nothing waits. `meta` is reset.
    ///
    /// A packet larger than its buffer is cut by the kernel: give buffers of at least the MTU. For a
    /// device without [`Self::offloads`].
    ///
    /// # Errors
    ///
    /// What reading answers, for example EIO after the interface was deleted.
    pub fn recv_batch(&self, headroom: usize, packets: &mut [PacketBuf]) -> io::Result<usize> {
        let mut got = 0;
        for packet in packets {
            packet.reset(headroom);
            match self.device.recv(packet.spare_mut()) {
                Ok(length) => packet.set_len(length),
                Err(error) if is_passing(&error) => break,
                // Packets already read must not be lost: the error comes again next time.
                Err(error) if got == 0 => return Err(error),
                Err(_) => break,
            }
            got += 1;
        }
        Ok(got)
    }

    /// Writes each packet, which begins with its IP header.
    pub fn send_batch<'a>(&self, packets: impl IntoIterator<Item = &'a PacketBuf>) -> SendReport {
        let mut report = SendReport::default();
        for packet in packets {
            if report.unsent > 0 {
                report.unsent += 1;
                continue;
            }
            let sent = if self.offloads.any() {
                let header = VnetHeader::default().to_octets();
                self.device.send_vectored(&[IoSlice::new(&header), IoSlice::new(packet.data())])
            } else {
                self.device.send(packet.data())
            };
            report.calls += 1;
            match sent {
                Ok(_) => report.sent += 1,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => report.unsent = 1,
                Err(error) => report.note(error.raw_os_error().unwrap_or(libc::EIO)),
            }
        }
        report
    }

    /// Waits until a packet can be written; `false` if `timeout` passed first.
    ///
    /// # Errors
    ///
    /// What poll answers.
    pub fn wait_writable(&self, timeout: Duration) -> io::Result<bool> {
        wait_for(self, Interest::Writable, Some(timeout))
    }
}

impl AsFd for Tun {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.device.as_fd()
    }
}

impl std::fmt::Debug for Tun {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tun").field("name", &self.name).field("index", &self.index).finish()
    }
}

/// Whether an error of [`Tun::recv_super`] is about the packet that was to be read, which is lost, and
/// not about the interface: what the kernel has to say about it fits no header (EINVAL), or it could not
/// be copied (EFAULT).
#[must_use]
pub fn is_about_one_packet(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EFAULT))
}

/// Whether an error of [`Tun::send_parts`] is about packets in one piece, which may be taken one by one:
/// the kernel objects to what stands before them or to the length of the whole.
#[must_use]
pub fn is_about_super_packet(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EOPNOTSUPP | libc::EMSGSIZE))
}

/// How long a new interface may take until packets to its addresses are delivered.
const READY_PATIENCE: Duration = Duration::from_secs(1);

/// A device of the kernel's, with what it grants of the offloads.
fn build(config: &TunConfig, has_many_queues: bool) -> io::Result<SyncDevice> {
    let build = |offloads| {
        let device = DeviceBuilder::new().name(config.name.clone()).mtu(config.mtu);
        device.multi_queue(has_many_queues).enable(false).offload(offloads).build_sync()
    };
    match build(config.offloads) {
        // TUNSETOFFLOAD is refused where TUNSETIFF was not: an old kernel, or not a real one.
        Err(error) if config.offloads && error.raw_os_error() == Some(libc::EINVAL) => build(false),
        built => built,
    }
}

fn another_queue(device: &SyncDevice) -> Result<Arc<SyncDevice>, SysError> {
    let open = || -> io::Result<SyncDevice> {
        let queue = device.try_clone()?;
        queue.set_nonblocking(true)?;
        Ok(queue)
    };
    open().map(Arc::new).map_err(|error| SysError::of("add TUN queue", error))
}

/// Takes a queue out of those that the kernel spreads flows over. The kernel sends the other direction
/// of a flow to the queue by which its packets were written last, if that one is read: all flows of a
/// tunnel would come to one thread.
fn stop_reading(queue: &SyncDevice) -> io::Result<()> {
    let request = libc::ifreq {
        ifr_name: [0; libc::IFNAMSIZ],
        ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_flags: DETACH_QUEUE },
    };
    // SAFETY: TUNSETQUEUE reads one `ifreq`, which lives and is of the right size.
    unsafe { tun_set_queue(queue.as_fd().as_raw_fd(), &raw const request) }?;
    Ok(())
}

nix::ioctl_write_ptr_bad!(
    /// TUNSETQUEUE of `linux/if_tun.h`.
    tun_set_queue,
    nix::request_code_write!(b'T', 217, size_of::<libc::c_int>()),
    libc::ifreq
);

/// IFF_DETACH_QUEUE of `linux/if_tun.h`.
const DETACH_QUEUE: libc::c_short = 0x0400;

fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

fn create_error(name: &str, error: io::Error) -> SysError {
    match error.raw_os_error() {
        // ENOTTY: something else lies at the path of the device.
        Some(libc::ENOENT | libc::ENODEV | libc::ENXIO | libc::ENOTTY) => {
            SysError::NoTun { source: error }
        }
        // EBUSY: a TUN of that name is held; EINVAL: the name belongs to another kind of device.
        Some(libc::EBUSY | libc::EINVAL) => SysError::InterfaceExists { name: name.to_owned() },
        _ => SysError::of("make TUN", error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_about_a_packet_or_about_the_interface() {
        let is = |errno| is_about_one_packet(&io::Error::from_raw_os_error(errno));
        assert!(is(libc::EINVAL) && is(libc::EFAULT));
        assert!(
            ![libc::EBADFD, libc::EIO, libc::ENODEV, libc::ENXIO, libc::EBADF]
                .map(is)
                .contains(&true)
        );
    }

    #[test]
    fn a_missing_driver_and_missing_rights_have_their_codes() {
        let code = |errno| create_error("adit0", io::Error::from_raw_os_error(errno)).code();
        for missing in [libc::ENOENT, libc::ENODEV, libc::ENXIO, libc::ENOTTY] {
            assert_eq!(code(missing), Some("E503"));
        }
        assert_eq!(code(libc::EPERM), Some("E504"));
        assert_eq!(code(libc::EACCES), Some("E504"));
        assert_eq!(code(libc::EBUSY), None);
    }
}
