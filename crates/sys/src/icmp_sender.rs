//! Sending ICMP errors of our own (RFC 792, RFC 4443).

use std::io;
use std::net::{IpAddr, SocketAddr};

use adit_wire::ip::IpPacket;
use nix::libc;
use socket2::{Domain, Protocol, Socket, Type};

use crate::error::SysError;
use crate::socket_option;

/// Sends ICMP messages by the host's ordinary routes, which also say from which address: that is one
/// the receiver knows us by. Never blocks, and receives nothing.
#[derive(Debug)]
pub struct IcmpSender {
    v4: Socket,
    /// `None` if the host has no IPv6.
    v6: Option<Socket>,
}

impl IcmpSender {
    /// Opens a socket of each family in the namespace of the calling thread.
    ///
    /// # Errors
    ///
    /// [`SysError::NotPermitted`] (E504) without CAP_NET_RAW, [`SysError::Io`].
    pub fn open() -> Result<Self, SysError> {
        let v4 = open(Domain::IPV4, Protocol::ICMPV4, SOL_RAW)?;
        let v6 = match open(Domain::IPV6, Protocol::ICMPV6, libc::IPPROTO_ICMPV6) {
            Ok(socket) => Some(socket),
            Err(SysError::FamilyUnsupported { .. }) => None,
            Err(error) => return Err(error),
        };
        Ok(Self { v4, v6 })
    }

    /// Other handles to the same sockets, for another thread.
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

    /// Sends the ICMP message of a whole IP packet to where that goes; its source and, of ICMPv6, its
    /// checksum are made anew.
    ///
    /// # Errors
    ///
    /// What sendto answers; [`io::ErrorKind::InvalidData`] if it is no IP packet.
    pub fn send(&self, packet: &[u8]) -> io::Result<()> {
        let packet = IpPacket::read(packet).map_err(|_| io::ErrorKind::InvalidData)?;
        let to = packet.dst();
        let socket = match to {
            IpAddr::V4(_) => &self.v4,
            IpAddr::V6(_) => self.v6.as_ref().ok_or(io::ErrorKind::Unsupported)?,
        };
        socket.send_to(packet.payload(), &SocketAddr::new(to, 0).into()).map(drop)
    }
}

fn open(domain: Domain, protocol: Protocol, level: libc::c_int) -> Result<Socket, SysError> {
    let failed = |error| SysError::of("open ICMP socket", error);
    let socket = Socket::new(domain, Type::RAW.nonblocking(), Some(protocol)).map_err(failed)?;
    // Every type is kept from the socket, or it would fill up with what nobody reads.
    socket_option::set_value(&socket, level, ICMP_FILTER, &[u32::MAX; 8])
        .or_else(|_| socket_option::set_value(&socket, level, ICMP_FILTER, &u32::MAX))
        .map_err(failed)?;
    Ok(socket)
}

/// Level of the options of raw sockets, linux/in.h.
const SOL_RAW: libc::c_int = 255;
/// `ICMP_FILTER` of linux/icmp.h and `ICMPV6_FILTER` of linux/icmpv6.h: a bit for each type that is
/// kept away, 32 of ICMP and 256 of ICMPv6.
const ICMP_FILTER: libc::c_int = 1;
