//! Many packets per system call: recvmmsg and sendmmsg over [`PacketBuf`]s.

#![expect(unsafe_code, reason = "the kernel reads and writes through pointers in msghdr")]

mod runs;

use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd};

use adit_wire::PacketBuf;
use nix::libc;

use self::runs::Runs;
use crate::message::{
    CONTROL_OCTETS, Control, ControlMessages, ExtendedError, Incoming, RawAddress,
};
use crate::socket_option;
use crate::uncut::Uncut;

/// Most packets one system call moves.
pub const BATCH_MAX: usize = 64;

/// The arrays one thread hands to the kernel: made once, used for every batch.
pub struct BatchIo {
    headroom: usize,
    addresses: Box<[RawAddress]>,
    controls: Box<[Control]>,
    vectors: Box<[libc::iovec]>,
    headers: Box<[libc::mmsghdr]>,
    runs: Runs,
}

// SAFETY: the raw pointers inside are written and used within one call that borrows everything
// they lead to; between calls nobody follows them.
unsafe impl Send for BatchIo {}

impl BatchIo {
    /// Arrays for [`BATCH_MAX`] packets; received ones start `headroom` octets into their buffer.
    #[must_use]
    pub fn new(headroom: usize) -> Self {
        let vector = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
        // SAFETY: mmsghdr consists of integers and pointers, for which all zeros is a value.
        let header: libc::mmsghdr = unsafe { std::mem::zeroed() };
        Self {
            headroom,
            addresses: vec![RawAddress::EMPTY; BATCH_MAX].into_boxed_slice(),
            controls: vec![Control::EMPTY; BATCH_MAX].into_boxed_slice(),
            vectors: vec![vector; BATCH_MAX].into_boxed_slice(),
            headers: vec![header; BATCH_MAX].into_boxed_slice(),
            runs: Runs::new(),
        }
    }

    /// Octets left free before each received packet.
    #[must_use]
    pub fn headroom(&self) -> usize {
        self.headroom
    }

    /// Receives into the front of `packets`, at most [`BATCH_MAX`]; zero if nothing waits.
    ///
    /// `any` is the local address of the socket, for its port and for kernels that tell no
    /// destination. Packets that did not fit into their buffer come out empty.
    pub(crate) fn receive(
        &mut self,
        socket: BorrowedFd<'_>,
        packets: &mut [PacketBuf],
        any: SocketAddr,
    ) -> io::Result<usize> {
        self.receive_with(socket, packets, any, |_, _| {})
    }

    /// The same; `each` gets each packet, filled in, with its control messages, unless some had no
    /// room: then the packet is empty and has none.
    pub(crate) fn receive_with(
        &mut self,
        socket: BorrowedFd<'_>,
        packets: &mut [PacketBuf],
        any: SocketAddr,
        each: impl FnMut(&mut PacketBuf, ControlMessages<'_>),
    ) -> io::Result<usize> {
        let wanted = packets.len().min(BATCH_MAX);
        for _ in 0..PENDING_ERRORS_MAX {
            self.aim_at_room(packets);
            let count = libc::c_uint::try_from(wanted).unwrap_or(0);
            // SAFETY: `aim_at_room` has just set the first `wanted` headers to lead to distinct
            // live buffers: arrays of `self` and rooms of `packets`, all borrowed by this call.
            let got = unsafe {
                libc::recvmmsg(
                    socket.as_raw_fd(),
                    self.headers.as_mut_ptr(),
                    count,
                    libc::MSG_DONTWAIT,
                    std::ptr::null_mut(),
                )
            };
            let Ok(got) = usize::try_from(got) else {
                let error = io::Error::last_os_error();
                match error.raw_os_error() {
                    Some(libc::EAGAIN) => return Ok(0),
                    // An ICMP error answers an earlier packet; the details are in the queue.
                    Some(code) if is_passing(code) => continue,
                    _ => return Err(error),
                }
            };
            self.fill_in(packets, got, any, each);
            return Ok(got);
        }
        Ok(0)
    }

    /// Sends all packets, in order, to `target(packet)`; see [`SendReport`] for what may happen.
    pub(crate) fn send<'a>(
        &mut self,
        socket: BorrowedFd<'_>,
        uncut: Option<&Uncut>,
        packets: impl IntoIterator<Item = &'a PacketBuf>,
        target: impl Fn(&PacketBuf) -> Target,
    ) -> SendReport {
        let mut report = SendReport::default();
        let mut filled = 0;
        let mut dont_fragment = DontFragment::off(socket, uncut);
        for packet in packets {
            let target = target(packet);
            if target.dont_fragment && report.send_uncut(uncut, packet, target) {
                continue;
            }
            if filled == BATCH_MAX || dont_fragment.on != target.dont_fragment {
                self.flush(dont_fragment.socket(), filled, &mut report);
                filled = 0;
            }
            if report.unsent > 0 {
                report.unsent += 1;
                continue;
            }
            if let Err(errno) = dont_fragment.turn(target) {
                report.note(errno);
                continue;
            }
            self.aim_at_packet(filled, packet, target);
            filled += 1;
        }
        self.flush(dont_fragment.socket(), filled, &mut report);
        report.calls += dont_fragment.calls();
        report
    }

    /// Hands the first `count` headers to the kernel. Private: `send` has aimed them at packets
    /// that are still borrowed.
    fn flush(&mut self, socket: BorrowedFd<'_>, count: usize, report: &mut SendReport) {
        let mut done = 0;
        let mut tries = 0;
        while done < count {
            let error = match self.hand_over(socket, done..count, report) {
                Ok(sent) => {
                    report.sent += sent;
                    done += sent;
                    tries = 0;
                    continue;
                }
                Err(error) => error,
            };
            if error == libc::EAGAIN {
                report.unsent += count - done;
                return;
            }
            tries += 1;
            if tries >= tries_max(error) {
                report.note(error);
                done += 1;
                tries = 0;
            }
        }
    }

    /// Hands these headers to the kernel, and says how many it took or why none. Private: the caller
    /// has aimed them at packets that are still borrowed.
    fn hand_over(
        &mut self,
        socket: BorrowedFd<'_>,
        headers: Range<usize>,
        report: &mut SendReport,
    ) -> Result<usize, i32> {
        let Some(headers) = self.headers.get_mut(headers) else { return Err(libc::EINVAL) };
        let length = libc::c_uint::try_from(headers.len()).unwrap_or(0);
        report.calls += 1;
        // SAFETY: whoever fills in headers has set these to lead to arrays of `self` and to packets
        // that are borrowed until all are sent; the kernel only reads through them.
        let sent = unsafe {
            libc::sendmmsg(
                socket.as_raw_fd(),
                headers.as_mut_ptr(),
                length,
                libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
            )
        };
        usize::try_from(sent)
            .map_err(|_| io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO))
    }

    fn aim_at_room(&mut self, packets: &mut [PacketBuf]) {
        let slots = self.headers.iter_mut().zip(&mut self.vectors);
        let slots = slots.zip(&mut self.addresses).zip(&mut self.controls);
        for (packet, (((header, vector), address), control)) in packets.iter_mut().zip(slots) {
            packet.reset(self.headroom);
            let room = packet.spare_mut();
            *vector = libc::iovec { iov_base: room.as_mut_ptr().cast(), iov_len: room.len() };
            let header = &mut header.msg_hdr;
            header.msg_name = address.as_mut_ptr().cast();
            header.msg_namelen = ADDRESS_LENGTH;
            header.msg_iov = vector;
            header.msg_iovlen = 1;
            header.msg_control = control.as_mut_ptr().cast();
            header.msg_controllen = CONTROL_OCTETS as _;
            header.msg_flags = 0;
        }
    }

    fn aim_at_packet(&mut self, slot: usize, packet: &PacketBuf, target: Target) {
        let (Some(header), Some(vector), Some(address), Some(control)) = (
            self.headers.get_mut(slot),
            self.vectors.get_mut(slot),
            self.addresses.get_mut(slot),
            self.controls.get_mut(slot),
        ) else {
            return;
        };
        let octets = packet.data();
        // The kernel does not write through the pointer of a packet to be sent.
        *vector =
            libc::iovec { iov_base: octets.as_ptr().cast_mut().cast(), iov_len: octets.len() };
        let control_length = match target.local {
            Some(local) => control.set_outgoing(local, target.tos),
            None => 0,
        };
        let header = &mut header.msg_hdr;
        (header.msg_name, header.msg_namelen) = target.name(address);
        header.msg_iov = vector;
        header.msg_iovlen = 1;
        header.msg_control = control.as_mut_ptr().cast();
        header.msg_controllen = control_length as _;
        header.msg_flags = 0;
    }

    fn fill_in(
        &self,
        packets: &mut [PacketBuf],
        got: usize,
        any: SocketAddr,
        mut each: impl FnMut(&mut PacketBuf, ControlMessages<'_>),
    ) {
        let slots = self.headers.iter().zip(&self.addresses).zip(&self.controls);
        for (packet, ((header, address), control)) in packets.iter_mut().take(got).zip(slots) {
            let length = usize::try_from(header.msg_len).unwrap_or(0);
            let header = &header.msg_hdr;
            let cut = header.msg_flags & (libc::MSG_TRUNC | libc::MSG_CTRUNC) != 0;
            packet.set_len(if cut { 0 } else { length });
            #[expect(clippy::allow_attributes, reason = "the field is narrower with musl")]
            #[allow(clippy::useless_conversion, reason = "the field is narrower with musl")]
            let control_length = usize::try_from(header.msg_controllen).unwrap_or(0);
            let incoming = Incoming::read(control.messages(control_length));
            packet.meta.local = incoming.local_address(any);
            packet.meta.tos = incoming.tos;
            packet.meta.largest_fragment = incoming.largest_fragment;
            if let Some(remote) = address.get() {
                packet.meta.remote = remote;
            }
            each(packet, control.messages(if cut { 0 } else { control_length }));
        }
    }
}

impl std::fmt::Debug for BatchIo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BatchIo").field("headroom", &self.headroom).finish_non_exhaustive()
    }
}

/// Where a packet goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Target {
    pub(crate) remote: SocketAddr,
    /// Source address; `None` where the packet brings its own header.
    pub(crate) local: Option<SocketAddr>,
    pub(crate) tos: u8,
    /// Whether nobody may cut the packet: the header of IPv4 that the kernel makes says so, and with
    /// IPv6 the kernel itself does not.
    pub(crate) dont_fragment: bool,
    /// Whether the socket is connected to `remote`, so that the message does not say where it goes.
    pub(crate) connected: bool,
}

impl Target {
    /// Writes the address of a message, and returns where it is and its octets.
    fn name(&self, address: &mut RawAddress) -> (*mut libc::c_void, libc::socklen_t) {
        let octets = libc::socklen_t::try_from(address.set(self.remote)).unwrap_or(0);
        if self.connected {
            return (std::ptr::null_mut(), 0);
        }
        (address.as_mut_ptr().cast(), octets)
    }
}

/// By which socket packets leave, whether they may be cut or not: Linux has no control message for the
/// DF bit. Where the one that others send through, too, has a twin for what may not, it is that one.
/// A socket that one thread alone sends through, as those of single peers, is switched between runs of
/// packets, and back at the end.
struct DontFragment<'a> {
    socket: BorrowedFd<'a>,
    twin: Option<BorrowedFd<'a>>,
    on: bool,
    is_ipv4: bool,
    calls: usize,
}

impl<'a> DontFragment<'a> {
    fn off(socket: BorrowedFd<'a>, uncut: Option<&'a Uncut>) -> Self {
        let twin = uncut.and_then(Uncut::twin);
        Self { socket, twin, on: false, is_ipv4: true, calls: 0 }
    }

    /// The socket that packets leave by now.
    fn socket(&self) -> BorrowedFd<'a> {
        self.twin.filter(|_| self.on).unwrap_or(self.socket)
    }

    /// Whether a socket has to be switched back in the end.
    fn is_switched(&self) -> bool {
        self.on && self.twin.is_none()
    }

    /// System calls, with that which switches it off in the end.
    fn calls(&self) -> usize {
        self.calls + usize::from(self.is_switched())
    }

    /// Switches if need be; the error is that of setsockopt.
    fn turn(&mut self, target: Target) -> Result<(), i32> {
        if self.on == target.dont_fragment {
            return Ok(());
        }
        if self.twin.is_some() {
            self.on = target.dont_fragment;
            return Ok(());
        }
        self.is_ipv4 = target.remote.is_ipv4();
        self.switch(target.dont_fragment)
    }

    fn switch(&mut self, on: bool) -> Result<(), i32> {
        self.calls += 1;
        // Both families have the same numbers for it.
        let path_mtu = if on { libc::IP_PMTUDISC_PROBE } else { libc::IP_PMTUDISC_DONT };
        let (level, name) = match self.is_ipv4 {
            true => (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER),
            false => (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER),
        };
        socket_option::set(self.socket, level, name, path_mtu)
            .map_err(|error| error.raw_os_error().unwrap_or(0))?;
        self.on = on;
        Ok(())
    }
}

impl Drop for DontFragment<'_> {
    fn drop(&mut self) {
        if self.is_switched() {
            let _ = self.switch(false);
        }
    }
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[must_use]
pub struct SendReport {
    /// Packets the kernel took.
    pub sent: usize,
    /// Packets at the end of the batch that were not tried because the socket is full: wait until
    /// it is writable and send them again, or drop them.
    pub unsent: usize,
    /// Packets larger than the path allows (EMSGSIZE), dropped.
    pub too_big: usize,
    /// Packets dropped for another reason.
    pub failed: usize,
    /// Reason of the last drop; zero if there was none.
    pub errno: i32,
    /// System calls that it took.
    pub calls: usize,
}

impl SendReport {
    /// Sends a packet that nobody may cut through the socket for those; `false` if it is not for that.
    #[cold]
    fn send_uncut(&mut self, uncut: Option<&Uncut>, packet: &PacketBuf, target: Target) -> bool {
        let Some(sent) = uncut.and_then(|uncut| uncut.send(packet, target)) else { return false };
        self.calls += 1;
        match sent {
            Ok(()) => self.sent += 1,
            Err(errno) => self.note(errno),
        }
        true
    }

    /// Counts one dropped packet.
    pub(crate) fn note(&mut self, errno: i32) {
        self.errno = errno;
        if errno == libc::EMSGSIZE {
            self.too_big += 1;
        } else {
            self.failed += 1;
        }
    }

    /// Adds the counts of another batch.
    pub fn add(&mut self, other: Self) {
        self.sent += other.sent;
        self.unsent += other.unsent;
        self.too_big += other.too_big;
        self.failed += other.failed;
        self.calls += other.calls;
        if other.errno != 0 {
            self.errno = other.errno;
        }
    }
}

/// Sends one packet made of several parts.
pub(crate) fn send_parts(
    socket: BorrowedFd<'_>,
    target: Target,
    mark: Option<u32>,
    parts: &[io::IoSlice<'_>],
) -> io::Result<()> {
    let mut address = RawAddress::EMPTY;
    let mut control = Control::EMPTY;
    let mut control_length =
        target.local.map_or(0, |local| control.set_outgoing(local, target.tos));
    if let Some(mark) = mark {
        control_length = control.add_mark(control_length, mark);
    }
    // SAFETY: msghdr consists of integers and pointers, for which all zeros is a value.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    (header.msg_name, header.msg_namelen) = target.name(&mut address);
    // IoSlice has the layout of iovec, as its documentation guarantees.
    header.msg_iov = parts.as_ptr().cast_mut().cast();
    header.msg_iovlen = parts.len() as _;
    header.msg_control = control.as_mut_ptr().cast();
    header.msg_controllen = control_length as _;
    let mut last = io::Error::from(io::ErrorKind::WouldBlock);
    // A pending ICMP error of an earlier packet is reported first; the next try is about ours.
    for _ in 0..PENDING_ERRORS_MAX {
        // SAFETY: the header leads to locals of this function and to `parts`, which is borrowed;
        // the kernel only reads through it.
        let sent = unsafe {
            libc::sendmsg(
                socket.as_raw_fd(),
                &raw const header,
                libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
            )
        };
        if sent >= 0 {
            return Ok(());
        }
        last = io::Error::last_os_error();
        if !last.raw_os_error().is_some_and(is_passing) {
            break;
        }
    }
    Err(last)
}

/// Receives one packet into `room`; its length, sender and control messages.
pub(crate) fn receive_one(
    socket: BorrowedFd<'_>,
    room: &mut [u8],
    control: &mut Control,
    flags: libc::c_int,
) -> io::Result<Received> {
    let mut address = RawAddress::EMPTY;
    let mut vector = libc::iovec { iov_base: room.as_mut_ptr().cast(), iov_len: room.len() };
    // SAFETY: msghdr consists of integers and pointers, for which all zeros is a value.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_name = address.as_mut_ptr().cast();
    header.msg_namelen = ADDRESS_LENGTH;
    header.msg_iov = &raw mut vector;
    header.msg_iovlen = 1;
    header.msg_control = control.as_mut_ptr().cast();
    header.msg_controllen = CONTROL_OCTETS as _;
    // SAFETY: the header leads to locals of this function and to `room` and `control`, which are
    // borrowed mutably.
    let got =
        unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut header, flags | libc::MSG_DONTWAIT) };
    let Ok(length) = usize::try_from(got) else {
        return Err(io::Error::last_os_error());
    };
    Ok(Received {
        length,
        remote: address.get(),
        #[expect(clippy::allow_attributes, reason = "the field is narrower with musl")]
        #[allow(clippy::useless_conversion, reason = "the field is narrower with musl")]
        control_length: usize::try_from(header.msg_controllen).unwrap_or(0),
    })
}

/// The result of [`receive_one`].
pub(crate) struct Received {
    /// With MSG_TRUNC in the flags: the packet's real length, which may exceed the room.
    pub(crate) length: usize,
    pub(crate) remote: Option<SocketAddr>,
    pub(crate) control_length: usize,
}

/// Takes one entry from the socket's error queue, with the destination of the packet it is about.
pub(crate) fn receive_error(
    socket: BorrowedFd<'_>,
) -> io::Result<Option<(SocketAddr, ExtendedError)>> {
    let mut control = Control::EMPTY;
    for _ in 0..FOREIGN_ERRORS_MAX {
        let received = match receive_one(socket, &mut [], &mut control, libc::MSG_ERRQUEUE) {
            Ok(received) => received,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error),
        };
        let error = ExtendedError::read(control.messages(received.control_length));
        if let (Some(remote), Some(error)) = (received.remote, error) {
            return Ok(Some((remote, error)));
        }
    }
    Ok(None)
}

/// Errors of the path that a socket reports out of turn.
pub(crate) fn is_passing(errno: i32) -> bool {
    matches!(
        errno,
        libc::ECONNREFUSED
            | libc::EHOSTUNREACH
            | libc::ENETUNREACH
            | libc::EHOSTDOWN
            | libc::ENETDOWN
            | libc::ENONET
            | libc::ENOPROTOOPT
            | libc::EPROTO
            | libc::EACCES
            | libc::EMSGSIZE
            | libc::EINTR
    )
}

/// How often a message is tried. An error may belong to an earlier one: it counts when it comes twice;
/// that a port is closed somebody has answered to an earlier one in any case.
fn tries_max(errno: i32) -> usize {
    if errno == libc::ECONNREFUSED { PENDING_ERRORS_MAX } else { 2 }
}

/// Pending errors passed over before a call gives up.
pub(crate) const PENDING_ERRORS_MAX: usize = 4;
/// Entries of the error queue about something else (timestamps) passed over by one call.
const FOREIGN_ERRORS_MAX: usize = 8;
/// `sockaddr_in6`.
pub(crate) const ADDRESS_LENGTH: libc::socklen_t = 28;
