//! UDP sockets for IKE and for ESP in UDP (RFC 7296 §2, RFC 3948), in batches.

mod connected;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use adit_db::InboundThreads;
use adit_wire::PacketBuf;
use adit_wire::ip::Icmp;
use nix::libc;
use socket2::{Domain, Protocol, Socket, Type};

pub use self::connected::ConnectedSocket;
use crate::batch::{BatchIo, SendReport, Target, receive_error, send_parts};
use crate::error::SysError;
use crate::gro::{GroIo, Run};
use crate::message::{ExtendedError, IP_RECVFRAGSIZE, IPV6_RECVFRAGSIZE};
use crate::netlink::Family;
use crate::route::MARK;
use crate::socket_option;
use crate::steering::choose_by_spi;
use crate::uncut::Uncut;
use crate::wake::{Interest, wait_for};

/// How packets of a socket treat the path MTU.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum PathMtu {
    /// The kernel and IPv4 routers may fragment.
    #[default]
    Fragment,
    /// Don't Fragment is set; what exceeds the MTU known to the kernel fails with EMSGSIZE.
    Discover,
    /// Don't Fragment is set; only the MTU of the interface limits.
    Probe,
}

impl PathMtu {
    fn option(self) -> libc::c_int {
        match self {
            Self::Fragment => libc::IP_PMTUDISC_DONT,
            Self::Discover => libc::IP_PMTUDISC_DO,
            Self::Probe => libc::IP_PMTUDISC_PROBE,
        }
    }
}

/// Options of UDP and raw sockets.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SocketOptions {
    /// Firewall mark of every packet sent; [`MARK`] keeps them out of our own routes.
    pub mark: Option<u32>,
    /// Receive buffer asked for, octets.
    pub receive_buffer_octets: usize,
    /// Send buffer asked for, octets.
    pub send_buffer_octets: usize,
    /// Fragmentation.
    pub path_mtu: PathMtu,
    /// Whether ICMP errors are queued for `next_error`. Who asks for them must fetch them: the
    /// queue takes its room from the receive buffer.
    pub report_errors: bool,
}

impl SocketOptions {
    /// Buffers for about 10 ms of packets at 10 Gbit/s with the kernel's overhead.
    pub const BUFFER_OCTETS: usize = 8 * 1024 * 1024;
}

impl Default for SocketOptions {
    fn default() -> Self {
        Self {
            mark: Some(MARK),
            receive_buffer_octets: Self::BUFFER_OCTETS,
            send_buffer_octets: Self::BUFFER_OCTETS,
            path_mtu: PathMtu::default(),
            report_errors: true,
        }
    }
}

/// What the network said about a packet sent earlier.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum SocketError {
    /// It did not arrive: port closed, host or network unreachable, or prohibited.
    Unreachable {
        /// Where the packet was sent.
        remote: SocketAddr,
        /// ECONNREFUSED (port closed), EHOSTUNREACH, ENETUNREACH, EACCES.
        errno: i32,
        /// Who said so, when it was another machine.
        from: Option<IpAddr>,
        /// By which message, of the ICMP of the remote address's family, if it was one.
        icmp: Option<Icmp>,
        /// The interface by which that came; zero if the kernel does not say.
        interface: u32,
    },
    /// It was larger than the path allows.
    TooBig {
        /// Where the packet was sent.
        remote: SocketAddr,
        /// Largest IP packet that passes, octets, outer header included.
        mtu_octets: u32,
    },
}

impl SocketError {
    /// Where the packet was sent.
    #[must_use]
    pub fn remote(&self) -> SocketAddr {
        match *self {
            Self::Unreachable { remote, .. } | Self::TooBig { remote, .. } => remote,
        }
    }

    /// The ICMP message, if it was one.
    #[must_use]
    pub fn icmp(&self) -> Option<Icmp> {
        match *self {
            Self::Unreachable { icmp, .. } => icmp,
            Self::TooBig { .. } => None,
        }
    }

    /// The interface by which it came; zero if nobody knows.
    #[must_use]
    pub fn interface(&self) -> u32 {
        match *self {
            Self::Unreachable { interface, .. } => interface,
            Self::TooBig { .. } => 0,
        }
    }

    pub(crate) fn of(remote: SocketAddr, error: ExtendedError) -> Self {
        if error.errno == libc::EMSGSIZE {
            return Self::TooBig { remote, mtu_octets: error.info };
        }
        let ExtendedError { errno, offender: from, icmp, interface, .. } = error;
        Self::Unreachable { remote, errno, from, icmp, interface }
    }
}

/// A UDP socket of one family that knows the local address of each datagram. Never blocks.
#[derive(Debug)]
pub struct UdpSocket {
    socket: Socket,
    local: SocketAddr,
    /// Whether the kernel cuts long datagrams into packets.
    segments: bool,
    /// What nobody may cut leaves here, if others send through the socket.
    uncut: Option<Uncut>,
}

impl UdpSocket {
    /// Binds `local`; port 0 lets the kernel choose. An IPv6 socket takes no IPv4 datagrams.
    ///
    /// # Errors
    ///
    /// - [`SysError::AddressInUse`] (E502), [`SysError::AddressMissing`].
    /// - [`SysError::NotPermitted`] (E504) for a low port or a mark without privileges.
    /// - [`SysError::FamilyUnsupported`], [`SysError::Io`].
    pub fn bind(local: SocketAddr, options: &SocketOptions) -> Result<Self, SysError> {
        Self::open(local, options, |_| Ok(())).map(|socket| socket.with_uncut(options))
    }

    /// Only now may the port be shared: a second daemon must still find it taken.
    fn with_uncut(self, options: &SocketOptions) -> Self {
        let family = Family::of(self.local.ip());
        let is_apt = match family {
            // The other one has no address, and takes that of the route.
            Family::V4 => self.local.ip().is_unspecified() && share(&self.socket).is_ok(),
            Family::V6 => true,
        };
        let open = || Uncut::open(family, options, Some(self.local.port()));
        let uncut = is_apt.then(open).flatten();
        Self { uncut, ..self }
    }

    /// Binds the address of this socket once more, so that both share what comes in. Only now may the
    /// first be shared, as above.
    fn bind_another(&self, options: &SocketOptions) -> Result<Self, SysError> {
        share(&self.socket)?;
        Self::open(self.local, options, share).map(|socket| socket.with_uncut(options))
    }

    fn open(
        local: SocketAddr,
        options: &SocketOptions,
        configure: impl FnOnce(&Socket) -> Result<(), SysError>,
    ) -> Result<Self, SysError> {
        let domain = Domain::for_address(local);
        let socket = Socket::new(domain, Type::DGRAM.nonblocking(), Some(Protocol::UDP))
            .map_err(|error| SysError::of("open UDP socket", error))?;
        let family = Family::of(local.ip());
        configure_sending(&socket, family, options)?;
        configure_receiving(&socket, family, options)?;
        if local.is_ipv6() {
            socket.set_only_v6(true).map_err(|error| SysError::of("configure socket", error))?;
        }
        configure(&socket)?;
        socket.bind(&local.into()).map_err(|error| bind_error(local, error))?;
        let bound = socket.local_addr().ok().and_then(|bound| bound.as_socket());
        let segments = socket_option::set(&socket, libc::SOL_UDP, libc::UDP_SEGMENT, 0);
        if let Err(error) = &segments {
            tracing::info!(%error, %local, "the kernel cuts no datagrams: they are sent one by one");
        }
        let segments = segments.is_ok();
        Ok(Self { socket, local: bound.unwrap_or(local), segments, uncut: None })
    }

    /// Whether [`Self::send_batch`] hands many packets to the kernel in one piece (Linux 4.18).
    #[must_use]
    pub fn segments(&self) -> bool {
        self.segments
    }

    /// The address bound, with the port the kernel chose.
    #[must_use]
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// The socket beside this one by which packets leave that nobody may cut, for who sets options.
    #[must_use]
    pub fn uncut(&self) -> Option<BorrowedFd<'_>> {
        self.uncut.as_ref().map(AsFd::as_fd)
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
        Ok(Self { socket, local: self.local, segments: self.segments, uncut })
    }

    /// Receives into the front of `packets` and returns how many; zero if nothing waits.
    ///
    /// Each packet starts at the headroom of `io`, with `meta` filled; a datagram larger than its
    /// buffer comes out empty. ICMP errors do not come out here: see [`Self::next_error`].
    ///
    /// # Errors
    ///
    /// What recvmmsg answers beyond that; nothing is lost by calling again.
    pub fn recv_batch(&self, io: &mut BatchIo, packets: &mut [PacketBuf]) -> io::Result<usize> {
        let got = io.receive(self.socket.as_fd(), packets, self.local)?;
        for packet in packets.iter_mut().take(got) {
            packet.meta.udp = true;
        }
        Ok(got)
    }

    /// Lets the kernel join datagrams of one sender that came close together; receive with
    /// [`Self::recv_super`] from then on.
    ///
    /// # Errors
    ///
    /// [`SysError::Io`] before Linux 5.0.
    pub fn join_datagrams(&self) -> Result<(), SysError> {
        socket_option::set(&self.socket, libc::SOL_UDP, libc::UDP_GRO, 1)
            .map_err(|error| SysError::of("receive joined datagrams", error))
    }

    /// Receives what waits, joined or not, into `io`; whether anything did. [`Self::next_run`] then
    /// tells where it is, until there is no more.
    ///
    /// ICMP errors do not come out here: see [`Self::next_error`].
    ///
    /// # Errors
    ///
    /// What recvmmsg answers beyond that; nothing is lost by calling again.
    pub fn recv_super(&self, io: &mut GroIo) -> io::Result<bool> {
        io.receive(self.socket.as_fd())
    }

    /// Datagrams that [`Self::recv_super`] has received, of one sender and in order, with `meta`
    /// filled; `None` if those were all.
    pub fn next_run(&self, io: &mut GroIo) -> Option<Run> {
        io.next_run(self.local)
    }

    /// Sends each packet from `meta.local` (if not unspecified) to `meta.remote` with `meta.tos`.
    ///
    /// Packets with `meta.dont_fragment` forbid being cut, whatever [`PathMtu`] the socket has: they leave
    /// by a socket beside it, and what other threads send meanwhile is as ever.
    ///
    /// Packets of one length to one place that follow each other go in one piece where the kernel can
    /// cut it again; no packet overtakes another.
    ///
    /// Takes `&[PacketBuf]` or any filtered iterator over packets.
    pub fn send_batch<'a>(
        &self,
        io: &mut BatchIo,
        packets: impl IntoIterator<Item = &'a PacketBuf>,
    ) -> SendReport {
        send_batch(self, io, packets, |packet| Target {
            remote: packet.meta.remote,
            local: Some(packet.meta.local),
            tos: packet.meta.tos,
            dont_fragment: packet.meta.dont_fragment,
            connected: false,
        })
    }

    /// Sends one datagram: `prefix` (such as the non-ESP marker, or nothing) and `octets`.
    ///
    /// `local` may be unspecified; its port is that of the socket in any case.
    ///
    /// # Errors
    ///
    /// `WouldBlock` when the socket is full; ENETUNREACH, EHOSTUNREACH when there is no way;
    /// EMSGSIZE; EINVAL when `local` is not ours.
    pub fn send_to(
        &self,
        local: SocketAddr,
        remote: SocketAddr,
        tos: u8,
        prefix: &[u8],
        octets: &[u8],
    ) -> io::Result<()> {
        self.send((local, remote), tos, None, &[prefix, octets])
    }

    /// The same for a datagram that others' routes are for, ours into the TUN among them: it carries no
    /// mark, whatever the socket has.
    ///
    /// # Errors
    ///
    /// As [`Self::send_to`]; EPERM without CAP_NET_ADMIN.
    pub fn send_unmarked(
        &self,
        local: SocketAddr,
        remote: SocketAddr,
        tos: u8,
        prefix: &[u8],
        octets: &[u8],
    ) -> io::Result<()> {
        self.send((local, remote), tos, Some(0), &[prefix, octets])
    }

    fn send(
        &self,
        (local, remote): (SocketAddr, SocketAddr),
        tos: u8,
        mark: Option<u32>,
        parts: &[&[u8]; 2],
    ) -> io::Result<()> {
        let (local, connected) = (Some(local), false);
        let target = Target { remote, local, tos, dont_fragment: false, connected };
        let parts = parts.map(io::IoSlice::new);
        send_parts(self.socket.as_fd(), target, mark, &parts)
    }

    /// The next thing the network said about a packet sent; `None` if there is nothing.
    ///
    /// Ask when a poller reports an error, until it is `None`; until then the socket stays ready.
    ///
    /// # Errors
    ///
    /// What recvmsg answers beyond that.
    pub fn next_error(&self) -> io::Result<Option<SocketError>> {
        let found = receive_error(self.socket.as_fd())?;
        Ok(found.map(|(remote, error)| SocketError::of(remote, error)))
    }

    /// Changes the fragmentation of packets sent from now on.
    ///
    /// # Errors
    ///
    /// [`SysError::Io`].
    pub fn set_path_mtu(&self, path_mtu: PathMtu) -> Result<(), SysError> {
        set_path_mtu(&self.socket, Family::of(self.local.ip()), path_mtu)
    }

    /// Waits until a datagram can be sent; `false` if `timeout` passed first.
    ///
    /// # Errors
    ///
    /// What poll answers.
    pub fn wait_writable(&self, timeout: Duration) -> io::Result<bool> {
        wait_for(&self.socket, Interest::Writable, Some(timeout))
    }
}

impl AsFd for UdpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Lets others that are shared bind what this socket is bound to, or the reverse.
pub(crate) fn share(socket: &Socket) -> Result<(), SysError> {
    socket_option::set(socket, libc::SOL_SOCKET, libc::SO_REUSEPORT, 1)
        .map_err(|error| SysError::of("share a UDP port", error))
}

/// Sends packets, in runs if the kernel cuts them.
fn send_batch<'a>(
    socket: &UdpSocket,
    io: &mut BatchIo,
    packets: impl IntoIterator<Item = &'a PacketBuf>,
    target: impl Fn(&PacketBuf) -> Target,
) -> SendReport {
    if socket.segments {
        io.send_runs(socket.as_fd(), socket.uncut.as_ref(), packets, target)
    } else {
        io.send(socket.as_fd(), socket.uncut.as_ref(), packets, target)
    }
}

/// One port on IPv4 and, where the kernel has it, on IPv6.
#[derive(Debug)]
pub struct DualUdpSocket {
    v4: UdpSocket,
    v6: Option<UdpSocket>,
    /// Whose turn it is to be read first: a flood of one family must not starve the other.
    v6_first: AtomicBool,
}

impl DualUdpSocket {
    /// Binds all addresses of both families; port 0 lets the kernel choose one for both.
    ///
    /// # Errors
    ///
    /// Those of [`UdpSocket::bind`], except that a missing IPv6 is no error.
    pub fn bind(port: u16, options: &SocketOptions) -> Result<Self, SysError> {
        let v4 = UdpSocket::bind(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port), options)?;
        let any = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), v4.local().port());
        let v6 = match UdpSocket::bind(any, options) {
            Ok(v6) => Some(v6),
            // Built without IPv6, or switched off by sysctl.
            Err(SysError::FamilyUnsupported { .. } | SysError::AddressMissing { .. }) => None,
            Err(error) => return Err(error),
        };
        Ok(Self { v4, v6, v6_first: AtomicBool::new(false) })
    }

    /// Binds the same port once for each thread: each has the ESP packets whose SPIs are its own, and
    /// the first has everything else.
    ///
    /// # Errors
    ///
    /// As [`Self::bind`]; [`SysError::Io`] where the kernel does not share ports by a program.
    pub fn bind_for(
        threads: InboundThreads,
        port: u16,
        options: &SocketOptions,
    ) -> Result<Vec<Self>, SysError> {
        let first = Self::bind(port, options)?;
        let mut others = Vec::new();
        for _ in 1..threads.count() {
            let v4 = first.v4.bind_another(options)?;
            let v6 = first.v6.as_ref().map(|v6| v6.bind_another(options)).transpose()?;
            others.push(Self { v4, v6, v6_first: AtomicBool::new(false) });
        }
        // A group exists from its second socket on, and has a program for each family.
        for half in first.halves().filter(|_| !others.is_empty()) {
            choose_by_spi(half.as_fd(), threads, false)
                .map_err(|error| SysError::of("share a UDP port by SPI", error))?;
        }
        Ok([first].into_iter().chain(others).collect())
    }

    /// Prepares both halves for connected sockets, see [`UdpSocket::admit_connected`].
    ///
    /// # Errors
    ///
    /// As [`UdpSocket::admit_connected`].
    pub fn admit_connected(&self, options: &SocketOptions) -> Result<(), SysError> {
        self.halves().try_for_each(|half| half.admit_connected(options))
    }

    /// The IPv4 half.
    #[must_use]
    pub fn v4(&self) -> &UdpSocket {
        &self.v4
    }

    /// The IPv6 half.
    #[must_use]
    pub fn v6(&self) -> Option<&UdpSocket> {
        self.v6.as_ref()
    }

    /// Both halves, IPv4 first.
    pub fn halves(&self) -> impl Iterator<Item = &UdpSocket> {
        [Some(&self.v4), self.v6.as_ref()].into_iter().flatten()
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.v4.local().port()
    }

    /// Another handle to the same sockets, for another thread.
    ///
    /// # Errors
    ///
    /// [`SysError::Io`]: too many open files.
    pub fn try_clone(&self) -> Result<Self, SysError> {
        let v4 = self.v4.try_clone()?;
        let v6 = self.v6.as_ref().map(UdpSocket::try_clone).transpose()?;
        Ok(Self { v4, v6, v6_first: AtomicBool::new(false) })
    }

    /// Receives from both families, see [`UdpSocket::recv_batch`].
    ///
    /// # Errors
    ///
    /// As [`UdpSocket::recv_batch`].
    pub fn recv_batch(&self, io: &mut BatchIo, packets: &mut [PacketBuf]) -> io::Result<usize> {
        let Some(v6) = &self.v6 else {
            return self.v4.recv_batch(io, packets);
        };
        let v6_first = self.v6_first.fetch_xor(true, Ordering::Relaxed);
        let (first, second) = if v6_first { (v6, &self.v4) } else { (&self.v4, v6) };
        let got = first.recv_batch(io, packets)?;
        match packets.get_mut(got..) {
            Some(rest) if !rest.is_empty() => match second.recv_batch(io, rest) {
                Ok(more) => Ok(got + more),
                // What the first delivered must not be lost: the error comes again next time.
                Err(_) if got > 0 => Ok(got),
                Err(error) => Err(error),
            },
            _ => Ok(got),
        }
    }

    /// Sends packets of both families, see [`UdpSocket::send_batch`].
    pub fn send_batch<'a, I>(&self, io: &mut BatchIo, packets: I) -> SendReport
    where
        I: IntoIterator<Item = &'a PacketBuf>,
        I::IntoIter: Clone,
    {
        let packets = packets.into_iter();
        let of_v4 = packets.clone().filter(|packet| packet.meta.remote.is_ipv4());
        let mut report = self.v4.send_batch(io, of_v4);
        let of_v6 = packets.filter(|packet| packet.meta.remote.is_ipv6());
        match &self.v6 {
            Some(v6) => report.add(v6.send_batch(io, of_v6)),
            None => of_v6.for_each(|_| report.note(libc::EAFNOSUPPORT)),
        }
        report
    }

    /// Sends one datagram, see [`UdpSocket::send_to`].
    ///
    /// # Errors
    ///
    /// As [`UdpSocket::send_to`]; EAFNOSUPPORT for IPv6 where there is none.
    pub fn send_to(
        &self,
        local: SocketAddr,
        remote: SocketAddr,
        tos: u8,
        prefix: &[u8],
        octets: &[u8],
    ) -> io::Result<()> {
        let half = if remote.is_ipv4() { Some(&self.v4) } else { self.v6.as_ref() };
        let missing = || io::Error::from_raw_os_error(libc::EAFNOSUPPORT);
        half.ok_or_else(missing)?.send_to(local, remote, tos, prefix, octets)
    }

    /// The next error of either half, see [`UdpSocket::next_error`].
    ///
    /// # Errors
    ///
    /// As [`UdpSocket::next_error`].
    pub fn next_error(&self) -> io::Result<Option<SocketError>> {
        for half in self.halves() {
            if let Some(error) = half.next_error()? {
                return Ok(Some(error));
            }
        }
        Ok(None)
    }
}

/// Sets what all sockets that send have in common.
pub(crate) fn configure_sending(
    socket: &Socket,
    family: Family,
    options: &SocketOptions,
) -> Result<(), SysError> {
    if let Some(mark) = options.mark {
        socket.set_mark(mark).map_err(|error| SysError::of("mark socket", error))?;
    }
    socket_option::grow_buffers(
        socket.as_fd(),
        options.receive_buffer_octets,
        options.send_buffer_octets,
    );
    set_path_mtu(socket, family, options.path_mtu)
}

/// Sets what all sockets that receive have in common.
pub(crate) fn configure_receiving(
    socket: &Socket,
    family: Family,
    options: &SocketOptions,
) -> Result<(), SysError> {
    let (level, local, class, errors) = match family {
        Family::V4 => (libc::IPPROTO_IP, libc::IP_PKTINFO, libc::IP_RECVTOS, libc::IP_RECVERR),
        Family::V6 => {
            (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, libc::IPV6_RECVTCLASS, libc::IPV6_RECVERR)
        }
    };
    for (name, on) in [(local, true), (class, true), (errors, options.report_errors)] {
        socket_option::set(socket, level, name, on.into())
            .map_err(|error| SysError::of("configure socket", error))?;
    }
    // Of packets that came whole the kernel says nothing, so this costs nothing (Linux 4.10).
    let fragments = match family {
        Family::V4 => IP_RECVFRAGSIZE,
        Family::V6 => IPV6_RECVFRAGSIZE,
    };
    if let Err(error) = socket_option::set(socket, level, fragments, 1) {
        tracing::debug!(%error, "the kernel does not tell the size of fragments");
    }
    Ok(())
}

fn set_path_mtu(socket: &Socket, family: Family, path_mtu: PathMtu) -> Result<(), SysError> {
    let (level, name) = match family {
        Family::V4 => (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER),
        Family::V6 => (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER),
    };
    socket_option::set(socket, level, name, path_mtu.option())
        .map_err(|error| SysError::of("set path MTU discovery", error))
}

fn bind_error(local: SocketAddr, error: io::Error) -> SysError {
    match error.raw_os_error() {
        Some(libc::EADDRINUSE) => {
            SysError::AddressInUse { address: local.ip(), port: local.port() }
        }
        Some(libc::EADDRNOTAVAIL) => SysError::AddressMissing { address: local.ip() },
        _ => SysError::of("bind UDP socket", error),
    }
}
