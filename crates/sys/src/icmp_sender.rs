//! Sending ICMP errors of our own (RFC 792, RFC 4443).

use std::io;
use std::net::{IpAddr, SocketAddr};

use adit_wire::ip::IpPacket;
use nix::libc;
use socket2::{Domain, Protocol, Socket, Type};

use crate::error::SysError;
use crate::route::MARK;
use crate::socket_option;

/// Sends ICMP messages by the host's ordinary routes, which also say from which address if nobody else
/// does: that is one the receiver knows us by. Never blocks, and receives nothing.
#[derive(Debug)]
pub struct IcmpSender {
    /// For messages of our own.
    own: Both,
    /// For whole packets, whose sources are those of others.
    others: Both,
}

/// A socket of each family.
#[derive(Debug)]
struct Both {
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
        let own = Both::open(|domain| match domain {
            Domain::IPV4 => open(domain, Protocol::ICMPV4, SOL_RAW),
            _ => open(domain, Protocol::ICMPV6, libc::IPPROTO_ICMPV6),
        })?;
        let others = Both::open(open_whole)?;
        Ok(Self { own, others })
    }

    /// The same for messages that are for outside: our own routes into tunnels are not for them.
    ///
    /// # Errors
    ///
    /// As [`Self::open`]; [`SysError::NotPermitted`] without CAP_NET_ADMIN, too.
    pub fn open_outside() -> Result<Self, SysError> {
        let sender = Self::open()?;
        for both in [&sender.own, &sender.others] {
            for socket in [Some(&both.v4), both.v6.as_ref()].into_iter().flatten() {
                socket.set_mark(MARK).map_err(|error| SysError::of("mark socket", error))?;
            }
        }
        Ok(sender)
    }

    /// Other handles to the same sockets, for another thread.
    ///
    /// # Errors
    ///
    /// [`SysError::Io`]: too many open files.
    pub fn try_clone(&self) -> Result<Self, SysError> {
        Ok(Self { own: self.own.try_clone()?, others: self.others.try_clone()? })
    }

    /// Sends an ICMP message in a whole IP packet to where that goes. If its source is unspecified, that
    /// and the rest of its IP header are made anew, and of ICMPv6 the checksum; else it is sent as it is.
    ///
    /// # Errors
    ///
    /// What sendto answers; [`io::ErrorKind::InvalidData`] if it is no IP packet.
    pub fn send(&self, packet: &[u8]) -> io::Result<()> {
        let read = IpPacket::read(packet).map_err(|_| io::ErrorKind::InvalidData)?;
        if read.src().is_unspecified() {
            self.own.send(read.payload(), read.dst())
        } else {
            self.others.send(packet, read.dst())
        }
    }
}

impl Both {
    fn open(open: impl Fn(Domain) -> Result<Socket, SysError>) -> Result<Self, SysError> {
        let v4 = open(Domain::IPV4)?;
        let v6 = match open(Domain::IPV6) {
            Ok(socket) => Some(socket),
            Err(SysError::FamilyUnsupported { .. }) => None,
            Err(error) => return Err(error),
        };
        Ok(Self { v4, v6 })
    }

    fn try_clone(&self) -> Result<Self, SysError> {
        let clone = |socket: &Socket| {
            socket.try_clone().map_err(|error| SysError::of("duplicate socket", error))
        };
        Ok(Self { v4: clone(&self.v4)?, v6: self.v6.as_ref().map(clone).transpose()? })
    }

    fn send(&self, octets: &[u8], to: IpAddr) -> io::Result<()> {
        let socket = match to {
            IpAddr::V4(_) => &self.v4,
            IpAddr::V6(_) => self.v6.as_ref().ok_or(io::ErrorKind::Unsupported)?,
        };
        socket.send_to(octets, &SocketAddr::new(to, 0).into()).map(drop)
    }
}

/// A socket for packets with their own IP headers, which receives nothing: no protocol is its own.
fn open_whole(domain: Domain) -> Result<Socket, SysError> {
    let protocol = Protocol::from(libc::IPPROTO_RAW);
    Socket::new(domain, Type::RAW.nonblocking(), Some(protocol))
        .map_err(|error| SysError::of("open raw socket", error))
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
