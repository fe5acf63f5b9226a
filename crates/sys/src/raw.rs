//! Raw sockets: ESP as IP protocol 50 (RFC 4303 §2), and whole IP packets for BYPASS and AH.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use adit_wire::{PacketBuf, PacketMeta};
use nix::libc;
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, Socket, Type};

use crate::batch::{BatchIo, SendReport, Target, receive_error};
use crate::error::SysError;
use crate::netlink::Family;
use crate::socket_option;
use crate::udp::{SocketError, SocketOptions, configure_receiving, configure_sending};
use crate::uncut::Uncut;
use crate::wake::{Interest, wait_for};

/// A raw ESP socket of one family. Never blocks.
///
/// Ports in its addresses are zero.
#[derive(Debug)]
pub struct RawEspSocket {
    socket: Socket,
    family: Family,
    /// What nobody may cut leaves here.
    uncut: Option<Uncut>,
}

impl RawEspSocket {
    /// Receives the ESP packets of all addresses of a family from now on.
    ///
    /// # Errors
    ///
    /// [`SysError::NotPermitted`] (E504) without CAP_NET_RAW, [`SysError::FamilyUnsupported`],
    /// [`SysError::Io`].
    pub fn open(family: Family, options: &SocketOptions) -> Result<Self, SysError> {
        let socket = open(family, ESP, options)?;
        configure_receiving(&socket, family, options)?;
        let uncut = Uncut::open(family, options, None);
        Ok(Self { socket, family, uncut })
    }

    /// The socket beside this one by which packets leave that nobody may cut, for who sets options.
    #[must_use]
    pub fn uncut(&self) -> Option<BorrowedFd<'_>> {
        self.uncut.as_ref().map(AsFd::as_fd)
    }

    /// The family.
    #[must_use]
    pub fn family(&self) -> Family {
        self.family
    }

    /// Takes the packets that come to a multicast group on an interface, given by its number, from
    /// now on; all raw sockets of this host get them.
    ///
    /// # Errors
    ///
    /// [`SysError::Io`]: no such interface, or too many groups.
    pub fn join(&self, group: IpAddr, interface: u32) -> Result<(), SysError> {
        let joined = match group {
            IpAddr::V4(group) => {
                let interface = InterfaceIndexOrAddress::Index(interface);
                self.socket.join_multicast_v4_n(&group, &interface)
            }
            IpAddr::V6(group) => self.socket.join_multicast_v6(&group, interface),
        };
        joined.map_err(|error| SysError::of("join a multicast group", error))
    }

    /// The end of [`Self::join`].
    ///
    /// # Errors
    ///
    /// [`SysError::Io`]: not joined, or the interface is gone.
    pub fn leave(&self, group: IpAddr, interface: u32) -> Result<(), SysError> {
        let left = match group {
            IpAddr::V4(group) => {
                let interface = InterfaceIndexOrAddress::Index(interface);
                self.socket.leave_multicast_v4_n(&group, &interface)
            }
            IpAddr::V6(group) => self.socket.leave_multicast_v6(&group, interface),
        };
        left.map_err(|error| SysError::of("leave a multicast group", error))
    }

    /// Another handle to the same socket, for another thread.
    ///
    /// # Errors
    ///
    /// [`SysError::Io`]: too many open files.
    pub fn try_clone(&self) -> Result<Self, SysError> {
        let socket =
            self.socket.try_clone().map_err(|error| SysError::of("duplicate socket", error))?;
        let uncut = self.uncut.as_ref().map(Uncut::try_clone).transpose()?;
        Ok(Self { socket, family: self.family, uncut })
    }

    /// Receives ESP packets, from the SPI on, into the front of `packets`; zero if nothing waits.
    ///
    /// Each packet lies at least the headroom of `io` into its buffer, with `meta` filled; an IPv4
    /// header stays in the buffer before it, `meta.header_len` octets long. One larger than its buffer, or with a broken IPv4 header, comes out empty.
    ///
    /// # Errors
    ///
    /// What recvmmsg answers; nothing is lost by calling again.
    pub fn recv_batch(&self, io: &mut BatchIo, packets: &mut [PacketBuf]) -> io::Result<usize> {
        let got = io.receive(self.socket.as_fd(), packets, unspecified(self.family))?;
        for packet in packets.iter_mut().take(got) {
            packet.meta.udp = false;
            packet.meta.remote.set_port(0);
            packet.meta.local.set_port(0);
            if self.family == Family::V4 && !strip_header(packet) {
                packet.truncate(0);
            }
        }
        Ok(got)
    }

    /// Sends each packet, from the SPI on, from `meta.local` (if not unspecified) to `meta.remote`
    /// with `meta.tos` and `meta.dont_fragment`; ports are ignored.
    pub fn send_batch<'a>(
        &self,
        io: &mut BatchIo,
        packets: impl IntoIterator<Item = &'a PacketBuf>,
    ) -> SendReport {
        io.send(self.socket.as_fd(), self.uncut.as_ref(), packets, |packet| {
            let mut remote = packet.meta.remote;
            // Raw IPv6 sockets take a port for a protocol number and refuse it.
            remote.set_port(0);
            let PacketMeta { local, tos, dont_fragment, .. } = packet.meta;
            Target { remote, local: Some(local), tos, dont_fragment, connected: false }
        })
    }

    /// What the network said about packets sent; see `UdpSocket::next_error`.
    ///
    /// # Errors
    ///
    /// What recvmsg answers.
    pub fn next_error(&self) -> io::Result<Option<SocketError>> {
        let found = receive_error(self.socket.as_fd())?;
        Ok(found.map(|(remote, error)| SocketError::of(remote, error)))
    }

    /// Waits until a packet can be sent; `false` if `timeout` passed first.
    ///
    /// # Errors
    ///
    /// What poll answers.
    pub fn wait_writable(&self, timeout: Duration) -> io::Result<bool> {
        wait_for(&self.socket, Interest::Writable, Some(timeout))
    }
}

impl AsFd for RawEspSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Sends whole IP packets past our own routes: the way of BYPASS (RFC 4301 §5), of transport mode
/// and of AH.
///
/// Of a packet's header the kernel computes the IPv4 checksum, and sets an identification of zero;
/// everything else stays as it is.
#[derive(Debug)]
pub struct BypassSocket {
    v4: Socket,
    v6: Option<Socket>,
}

impl BypassSocket {
    /// Opens sockets for both families; it never receives.
    ///
    /// # Errors
    ///
    /// [`SysError::NotPermitted`] (E504) without CAP_NET_RAW, [`SysError::Io`]. A missing IPv6 is
    /// no error.
    pub fn open(options: &SocketOptions) -> Result<Self, SysError> {
        let v4 = open(Family::V4, libc::IPPROTO_RAW, options)?;
        let v6 = match open(Family::V6, libc::IPPROTO_RAW, options) {
            Ok(socket) => {
                socket_option::set(&socket, libc::IPPROTO_IPV6, IPV6_HDRINCL, 1)
                    .map_err(|error| SysError::of("configure socket", error))?;
                Some(socket)
            }
            Err(SysError::FamilyUnsupported { .. }) => None,
            Err(error) => return Err(error),
        };
        Ok(Self { v4, v6 })
    }

    /// Another handle to the same sockets, for another thread.
    ///
    /// # Errors
    ///
    /// [`SysError::Io`]: too many open files.
    pub fn try_clone(&self) -> Result<Self, SysError> {
        let clone = |socket: &Socket| {
            socket.try_clone().map_err(|error| SysError::of("duplicate socket", error))
        };
        Ok(Self { v4: clone(&self.v4)?, v6: self.v6.as_ref().map(clone).transpose()? })
    }

    /// Both sockets with their families.
    pub fn halves(&self) -> impl Iterator<Item = (Family, BorrowedFd<'_>)> {
        let v6 = self.v6.as_ref().map(|v6| (Family::V6, v6.as_fd()));
        [Some((Family::V4, self.v4.as_fd())), v6].into_iter().flatten()
    }

    /// Sends each packet, which begins with its IP header, towards the destination in that header.
    ///
    /// What is no IP packet counts as failed with EINVAL.
    pub fn send_batch<'a, I>(&self, io: &mut BatchIo, packets: I) -> SendReport
    where
        I: IntoIterator<Item = &'a PacketBuf>,
        I::IntoIter: Clone,
    {
        let packets = packets.into_iter();
        let of = |family| {
            packets.clone().filter(move |packet| {
                destination(packet.data()).is_some_and(|ip| Family::of(ip) == family)
            })
        };
        let target = |packet: &PacketBuf| {
            let unspecified = IpAddr::from(Ipv4Addr::UNSPECIFIED);
            let remote = destination(packet.data()).unwrap_or(unspecified);
            // A group is reached from the interface that has the source, whatever the routes say.
            let local = remote.is_multicast().then_some(packet.meta.local);
            let remote = SocketAddr::new(remote, 0);
            Target { remote, local, tos: 0, dont_fragment: false, connected: false }
        };
        let mut report = io.send(self.v4.as_fd(), None, of(Family::V4), target);
        match &self.v6 {
            Some(v6) => report.add(io.send(v6.as_fd(), None, of(Family::V6), target)),
            None => of(Family::V6).for_each(|_| report.note(libc::EAFNOSUPPORT)),
        }
        let broken = packets.filter(|packet| destination(packet.data()).is_none());
        broken.for_each(|_| report.note(libc::EINVAL));
        report
    }
}

pub(crate) fn open(
    family: Family,
    protocol: i32,
    options: &SocketOptions,
) -> Result<Socket, SysError> {
    let domain = match family {
        Family::V4 => Domain::IPV4,
        Family::V6 => Domain::IPV6,
    };
    let socket = Socket::new(domain, Type::RAW.nonblocking(), Some(Protocol::from(protocol)))
        .map_err(|error| SysError::of("open raw socket", error))?;
    configure_sending(&socket, family, options)?;
    configure_multicast(&socket, family)
        .map_err(|error| SysError::of("configure socket", error))?;
    Ok(socket)
}

/// Packets to a group travel as far as others do, and do not come back to this host.
fn configure_multicast(socket: &Socket, family: Family) -> io::Result<()> {
    match family {
        Family::V4 => {
            socket.set_multicast_ttl_v4(MULTICAST_TTL)?;
            socket.set_multicast_loop_v4(false)
        }
        Family::V6 => {
            socket.set_multicast_hops_v6(MULTICAST_TTL)?;
            socket.set_multicast_loop_v6(false)
        }
    }
}

pub(crate) fn unspecified(family: Family) -> SocketAddr {
    match family {
        Family::V4 => SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0),
        Family::V6 => SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), 0),
    }
}

/// Takes the IPv4 header off that raw IPv4 sockets deliver; RFC 791 §3.1.
pub(crate) fn strip_header(packet: &mut PacketBuf) -> bool {
    let Some(&first) = packet.data().first() else {
        return false;
    };
    let header_octets = usize::from(first & 0x0f) * 4;
    let stripped = first >> 4 == 4 && header_octets >= 20 && packet.pull_front(header_octets);
    if stripped {
        packet.meta.header_len = (first & 0x0f) * 4;
    }
    stripped
}

/// The destination in an IP header; RFC 791 §3.1, RFC 8200 §3.
fn destination(octets: &[u8]) -> Option<IpAddr> {
    match octets.first()? >> 4 {
        4 => {
            let ip: [u8; 4] = octets.get(16..20)?.try_into().ok()?;
            Some(ip.into())
        }
        6 => {
            let ip: [u8; 16] = octets.get(24..40)?.try_into().ok()?;
            Some(ip.into())
        }
        _ => None,
    }
}

/// Instead of 1.
const MULTICAST_TTL: u32 = 64;
/// IP protocol of ESP.
pub(crate) const ESP: i32 = 50;
/// linux/in6.h; the libc crate lacks it.
pub(crate) const IPV6_HDRINCL: i32 = 36;
