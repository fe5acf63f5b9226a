//! Raw sockets for errors that are told outside about packets of ours, whatever they are (RFC 792, RFC 4443
//! §3), and security failures (RFC 2521), which IPv4 alone has.
//!
//! A socket's error queue does not tell it for sockets whose packets may be cut, and not which packet
//! was meant. Of all other ICMP the kernel keeps these sockets free.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};

use adit_wire::PacketBuf;
use adit_wire::iana::IpProtocol;
use adit_wire::ip::{Icmp, Ipv6Header};
use nix::libc;
use socket2::Socket;

use crate::batch::BatchIo;
use crate::error::SysError;
use crate::message::interface_of;
use crate::netlink::Family;
use crate::raw::{open, unspecified};
use crate::socket_filter::{Check, Load, any, attach};
use crate::udp::{SocketOptions, configure_receiving};

/// Headroom that a [`BatchIo`] for these sockets leaves: that of an IPv6 header.
pub const ICMP_HEADROOM: usize = Ipv6Header::LEN;

/// A raw ICMP socket of one family, which receives what routers say, and security failures. Never blocks.
#[derive(Debug)]
pub struct RouterSocket {
    socket: Socket,
    family: Family,
}

impl RouterSocket {
    /// Receives the messages to all addresses of a family from now on.
    ///
    /// # Errors
    ///
    /// [`SysError::NotPermitted`] (E504) without CAP_NET_RAW, [`SysError::FamilyUnsupported`],
    /// [`SysError::Io`].
    pub fn open(family: Family, options: &SocketOptions) -> Result<Self, SysError> {
        let protocol = match family {
            Family::V4 => IpProtocol::ICMP,
            Family::V6 => IpProtocol::ICMPV6,
        };
        // A flood has room for some hundreds: what it pushes out would be no news either.
        let few = SocketOptions {
            report_errors: false,
            receive_buffer_octets: RECEIVE_OCTETS,
            send_buffer_octets: 0,
            ..*options
        };
        let socket = open(family, protocol.0.into(), &few)?;
        let v4 = |kind| {
            Check::is(Load::WordAfterIpv4(0), 0xff00_0000, u32::from_be_bytes([kind, 0, 0, 0]))
        };
        let v6 = |kind: u8| Check::is(Load::Octet(0), u32::MAX, kind.into());
        let checks = match family {
            // The socket of IPv4 has the IP header, that of IPv6 has not.
            Family::V4 => vec![
                v4(Icmp::UNREACHABLE),
                v4(Icmp::TIME_EXCEEDED),
                v4(Icmp::PARAMETER_PROBLEM),
                v4(Icmp::SECURITY_FAILURE),
            ],
            Family::V6 => vec![
                v6(Icmp::UNREACHABLE_V6),
                v6(Icmp::TOO_BIG_V6),
                v6(Icmp::TIME_EXCEEDED_V6),
                v6(Icmp::PARAMETER_PROBLEM_V6),
            ],
        };
        attach(socket.as_fd(), libc::SO_ATTACH_FILTER, &mut any(&checks))
            .map_err(|error| SysError::of("filter ICMP", error))?;
        configure_receiving(&socket, family, &few)?;
        Ok(Self { socket, family })
    }

    /// One for each family that there is. A host without them hears of its paths by probes alone.
    #[must_use]
    pub fn open_all(options: &SocketOptions) -> Vec<Self> {
        let open = |family| match Self::open(family, options) {
            Ok(socket) => Some(socket),
            Err(SysError::FamilyUnsupported { .. }) => None,
            Err(error) => {
                tracing::warn!(%error, "what routers say about packets of ours is not heard");
                None
            }
        };
        Family::BOTH.into_iter().filter_map(open).collect()
    }

    /// The family.
    #[must_use]
    pub fn family(&self) -> Family {
        self.family
    }

    /// Receives messages, from their IP header on, into the front of `packets`; zero if nothing waits.
    ///
    /// `io` leaves [`ICMP_HEADROOM`]. One larger than its buffer comes out empty.
    ///
    /// # Errors
    ///
    /// What recvmmsg answers; nothing is lost by calling again.
    pub fn recv_batch(&self, io: &mut BatchIo, packets: &mut [PacketBuf]) -> io::Result<usize> {
        self.recv_by(io, packets, &mut Vec::new())
    }

    /// The same; `interfaces` gets, for each of the messages, the number of the interface by which it came,
    /// zero if the kernel does not say.
    ///
    /// # Errors
    ///
    /// As [`Self::recv_batch`].
    pub fn recv_by(
        &self,
        io: &mut BatchIo,
        packets: &mut [PacketBuf],
        interfaces: &mut Vec<u32>,
    ) -> io::Result<usize> {
        interfaces.clear();
        let any = unspecified(self.family);
        let got = io.receive_with(self.socket.as_fd(), packets, any, |_, messages| {
            interfaces.push(interface_of(messages));
        })?;
        if self.family == Family::V6 {
            for packet in packets.iter_mut().take(got) {
                if put_header(packet).is_none() {
                    packet.truncate(0);
                }
            }
        }
        Ok(got)
    }
}

impl AsFd for RouterSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// The name of an interface, as long as there is one of this number.
#[must_use]
pub fn interface_name(number: u32) -> Option<String> {
    let name = nix::net::if_::if_indextoname(number).ok()?;
    name.into_string().ok()
}

/// Whether this host has an interface of this name now.
#[must_use]
pub fn has_interface(name: &str) -> bool {
    nix::net::if_::if_nametoindex(name).is_ok()
}

/// Puts an IPv6 header in front of a message, as far as it matters for the checksum.
pub(crate) fn put_header(packet: &mut PacketBuf) -> Option<()> {
    let (IpAddr::V6(src), IpAddr::V6(dst)) = (packet.meta.remote.ip(), packet.meta.local.ip())
    else {
        return None;
    };
    let header = Ipv6Header {
        traffic_class: packet.meta.tos,
        flow_label: 0,
        payload_len: u16::try_from(packet.len()).ok()?,
        next: IpProtocol::ICMPV6,
        hop_limit: 1,
        src,
        dst,
    };
    packet.push_front(Ipv6Header::LEN)?.copy_from_slice(&header.to_octets());
    Some(())
}

const RECEIVE_OCTETS: usize = 256 * 1024;
