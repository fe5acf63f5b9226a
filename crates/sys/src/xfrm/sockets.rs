//! Sockets beside the kernel's IPsec: exempt from policies, and a share of UDP 4500 for the kernel.
//!
//! Both engines serve one UDP port. A socket with `UDP_ENCAP` gives *all* ESP it receives to the
//! kernel, so the port is shared by a group: a filter looks at the SPI and sends what the kernel has
//! made to the kernel's socket, everything else, IKE included, to the others
//! ([`steering`](crate::steering)).

#![expect(unsafe_code, reason = "setsockopt takes raw pointers")]

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};

use adit_db::InboundThreads;
use nix::libc::{self, c_int};
use socket2::{Domain, Protocol, Socket, Type};

use super::octets::HEADER_OCTETS;
use super::policy::{Direction, socket_policy};
use crate::error::SysError;
use crate::netlink::Family;
use crate::socket_option;
use crate::steering::choose_by_spi;

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
    /// Shares with the kernel the port of `user`, the first of the sockets of so many threads; `local`
    /// is the address it is bound to.
    ///
    /// # Errors
    ///
    /// [`SysError::Io`]: the kernel has no such thing.
    pub fn share(
        user: BorrowedFd<'_>,
        local: SocketAddr,
        threads: InboundThreads,
    ) -> Result<Self, SysError> {
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
            choose_by_spi(user, threads, true)?;
            Ok(socket)
        };
        let socket = share().map_err(|error| SysError::of("share UDP 4500", error))?;
        let family = if local.is_ipv4() { Family::V4 } else { Family::V6 };
        exempt(socket.as_fd(), family)?;
        Ok(Self { _socket: socket })
    }
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
