//! Sockets beside the kernel's IPsec: exempt from policies, and a share of UDP 4500 for the kernel.
//!
//! Both engines serve one UDP port. A socket with `UDP_ENCAP` gives *all* ESP it receives to the
//! kernel, so the port is shared by a group of two: a filter looks at the SPI and sends what the
//! kernel has made to the kernel's socket, everything else, IKE included, to the other. So an SPI
//! says which engine it belongs to: those with the top bit ([`KERNEL_SPI`]) are the kernel's.

#![expect(unsafe_code, reason = "setsockopt takes raw pointers")]

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};

use adit_db::KERNEL_SPI;
use nix::libc::{self, c_int, sock_filter, sock_fprog};
use socket2::{Domain, Protocol, Socket, Type};

use super::octets::HEADER_OCTETS;
use super::policy::{Direction, socket_policy};
use crate::error::SysError;
use crate::netlink::Family;
use crate::socket_option;

/// Lets a socket's packets pass the kernel's policies, both ways: IKE must not wait for the SA
/// that it negotiates, and what the other engine sends is protected already.
///
/// # Errors
///
/// [`SysError::NotPermitted`]; [`SysError::Io`] (ENOPROTOOPT) in a kernel without IPsec.
pub fn exempt(socket: BorrowedFd<'_>, family: Family) -> Result<(), SysError> {
    let (level, name) = match family {
        Family::V4 => (libc::IPPROTO_IP, libc::IP_XFRM_POLICY),
        Family::V6 => (libc::IPPROTO_IPV6, libc::IPV6_XFRM_POLICY),
    };
    for direction in [Direction::In, Direction::Out] {
        let policy = socket_policy(family == Family::V4, direction).finish(0);
        let value = policy.get(HEADER_OCTETS..).unwrap_or_default();
        set_octets(socket, level, name, value)
            .map_err(|error| SysError::of("exempt a socket from the kernel's policies", error))?;
    }
    Ok(())
}

/// The kernel's socket on a UDP port that a daemon reads with another one.
///
/// Nothing is ever read from it: the kernel takes what is sent to it. It must live as long as SAs
/// with ESP in UDP do.
#[derive(Debug)]
pub struct EspInUdp {
    _socket: Socket,
}

impl EspInUdp {
    /// Shares the port of `user` with the kernel; `local` is the address it is bound to.
    ///
    /// # Errors
    ///
    /// [`SysError::Io`]: the kernel has no such thing.
    pub fn share(user: BorrowedFd<'_>, local: SocketAddr) -> Result<Self, SysError> {
        let share = || -> io::Result<Socket> {
            // Set now and not before it was bound: a second daemon must still find the port taken.
            socket_option::set(user, libc::SOL_SOCKET, libc::SO_REUSEPORT, 1)?;
            let domain = Domain::for_address(local);
            let socket = Socket::new(domain, Type::DGRAM.nonblocking(), Some(Protocol::UDP))?;
            socket_option::set(&socket, libc::SOL_SOCKET, libc::SO_REUSEPORT, 1)?;
            if local.is_ipv6() {
                socket.set_only_v6(true)?;
            }
            let (level, name) = (libc::IPPROTO_UDP, UDP_ENCAP);
            socket_option::set(&socket, level, name, UDP_ENCAP_ESPINUDP)?;
            socket.bind(&local.into())?;
            // The group exists from now on, so only now can it have a filter. What goes astray in
            // between is sent again.
            attach(user, libc::SO_ATTACH_REUSEPORT_CBPF, &mut choose_socket())?;
            Ok(socket)
        };
        let socket = share().map_err(|error| SysError::of("share UDP 4500", error))?;
        let family = if local.is_ipv4() { Family::V4 } else { Family::V6 };
        exempt(socket.as_fd(), family)?;
        Ok(Self { _socket: socket })
    }
}

/// Keeps ESP packets of the kernel's SAs from a raw socket of the other engine, which gets a copy
/// of every one.
///
/// # Errors
///
/// [`SysError::Io`].
pub fn ignore_kernel_spis(socket: BorrowedFd<'_>, family: Family) -> Result<(), SysError> {
    let mut filter = match family {
        // An IPv4 raw socket shows the IP header.
        Family::V4 => vec![
            statement(BPF_LDX_B_MSH, 0),
            statement(BPF_LD_W_IND, 0),
            jump(BPF_JSET, KERNEL_SPI, 0, 1),
            statement(BPF_RET, 0),
            statement(BPF_RET, u32::MAX),
        ],
        Family::V6 => vec![
            statement(BPF_LD_W_ABS, 0),
            jump(BPF_JSET, KERNEL_SPI, 0, 1),
            statement(BPF_RET, 0),
            statement(BPF_RET, u32::MAX),
        ],
    };
    attach(socket, libc::SO_ATTACH_FILTER, &mut filter)
        .map_err(|error| SysError::of("filter the ESP socket", error))
}

/// The number of the socket in its group: 1, the kernel's, for an SPI of the kernel, else 0. A
/// payload shorter than an SPI ends the program with 0.
fn choose_socket() -> Vec<sock_filter> {
    vec![
        statement(BPF_LD_W_ABS, 0),
        jump(BPF_JSET, KERNEL_SPI, 0, 1),
        statement(BPF_RET, 1),
        statement(BPF_RET, 0),
    ]
}

fn statement(code: u16, k: u32) -> sock_filter {
    sock_filter { code, jt: 0, jf: 0, k }
}

fn jump(code: u16, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code, jt, jf, k }
}

fn attach(socket: BorrowedFd<'_>, name: c_int, program: &mut [sock_filter]) -> io::Result<()> {
    let len = u16::try_from(program.len()).unwrap_or(0);
    let program = sock_fprog { len, filter: program.as_mut_ptr() };
    // SAFETY: `program` is plain data that the kernel copies during the call; the filter that it
    // points to outlives the call.
    let value = unsafe {
        std::slice::from_raw_parts((&raw const program).cast::<u8>(), size_of::<sock_fprog>())
    };
    set_octets(socket, libc::SOL_SOCKET, name, value)
}

fn set_octets(socket: BorrowedFd<'_>, level: c_int, name: c_int, value: &[u8]) -> io::Result<()> {
    let length = libc::socklen_t::try_from(value.len()).unwrap_or(0);
    // SAFETY: the pointer leads to `length` live octets.
    let result =
        unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, value.as_ptr().cast(), length) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// `linux/udp.h`.
const UDP_ENCAP: c_int = 100;
const UDP_ENCAP_ESPINUDP: c_int = 2;
/// BPF_LD | BPF_W | BPF_ABS, and the rest of `linux/bpf_common.h` likewise.
const BPF_LD_W_ABS: u16 = 0x20;
const BPF_LD_W_IND: u16 = 0x40;
const BPF_LDX_B_MSH: u16 = 0xb1;
const BPF_JSET: u16 = 0x45;
const BPF_RET: u16 = 0x06;
