//! Sockets for packets that nobody may cut.
//!
//! Whether a packet may be cut is a setting of its socket, and other threads send through the same one:
//! IKE messages and packets of other tunnels would have the DF bit meanwhile, or be refused. So what
//! nobody may cut has a socket beside the one for all.
//!
//! With IPv4 it is another of the same kind and port, which hears nothing: it is bound to the address
//! that nobody sends to, so that all comes to the other one, and messages are sent in batches and runs
//! by it as by that.
//!
//! With IPv6 IPV6_DONTFRAG does not help: with it the kernel holds a packet against what it believes of
//! the path, which anybody can have made it believe. Such packets, which are few, have headers of our
//! own and a socket of raw packets.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};

use adit_wire::PacketBuf;
use adit_wire::iana::IpProtocol;
use adit_wire::ip::{Ipv6Header, checksum};
use nix::libc;
use socket2::{Domain, Protocol, Socket, Type};

use crate::batch::{Target, send_parts};
use crate::error::SysError;
use crate::netlink::Family;
use crate::raw::{ESP, IPV6_HDRINCL, open};
use crate::socket_option;
use crate::udp::{PathMtu, SocketOptions, configure_sending, share};

/// Sends what the socket of all would have to be changed for.
#[derive(Debug)]
pub(crate) enum Uncut {
    /// Of IPv4, to be sent by like the other one.
    V4(Socket),
    /// Of IPv6, for whole packets, and the port that UDP comes from; `None` for ESP above IP.
    V6(Socket, Option<u16>),
}

impl Uncut {
    /// Opens one for a socket of this family with these options, and this port if it is one of UDP.
    /// `None` where that is not allowed.
    pub(crate) fn open(family: Family, options: &SocketOptions, port: Option<u16>) -> Option<Self> {
        let options =
            SocketOptions { path_mtu: PathMtu::Probe, receive_buffer_octets: 0, ..*options };
        let opened = match (family, port) {
            (Family::V4, Some(port)) => udp_v4(port, &options).map(Self::V4),
            (Family::V4, None) => esp_v4(&options).map(Self::V4),
            (Family::V6, port) => raw_v6(&options).map(|socket| Self::V6(socket, port)),
        };
        match opened {
            Ok(uncut) => Some(uncut),
            Err(error) => {
                tracing::debug!(%error, "what nobody may cut is sent through the socket of all");
                None
            }
        }
    }

    pub(crate) fn try_clone(&self) -> Result<Self, SysError> {
        let clone = |socket: &Socket| {
            socket.try_clone().map_err(|error| SysError::of("duplicate socket", error))
        };
        match self {
            Self::V4(socket) => clone(socket).map(Self::V4),
            Self::V6(socket, port) => Ok(Self::V6(clone(socket)?, *port)),
        }
    }

    /// The socket that has the place of the one for all, if it is of that kind.
    pub(crate) fn twin(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::V4(socket) => Some(socket.as_fd()),
            Self::V6(..) => None,
        }
    }

    /// Sends a packet alone; the error is that of the kernel. `None` if it does not go so.
    pub(crate) fn send(&self, packet: &PacketBuf, target: Target) -> Option<Result<(), i32>> {
        let Self::V6(socket, port) = self else { return None };
        let (IpAddr::V6(src), IpAddr::V6(dst)) = (target.local?.ip(), target.remote.ip()) else {
            return None;
        };
        if src.is_unspecified() || !target.dont_fragment {
            return None;
        }
        let udp = port.map(|port| (port, target.remote.port()));
        let udp = udp.map(|ports| udp_header(src, dst, ports, packet.data()));
        let udp: &[u8] = udp.as_ref().map_or(&[], |udp| udp);
        let header = Ipv6Header {
            traffic_class: target.tos,
            flow_label: 0,
            payload_len: u16::try_from(udp.len() + packet.len()).ok()?,
            next: if port.is_some() { IpProtocol::UDP } else { IpProtocol::ESP },
            hop_limit: HOP_LIMIT,
            src,
            dst,
        };
        let mut remote: SocketAddr = target.remote;
        // Raw sockets of IPv6 take a port for a protocol number.
        remote.set_port(0);
        let target = Target { remote, local: None, dont_fragment: false, ..target };
        let header = header.to_octets();
        let parts = [&header[..], udp, packet.data()].map(std::io::IoSlice::new);
        let sent = send_parts(socket.as_fd(), target, None, &parts);
        Some(sent.map_err(|error| error.raw_os_error().unwrap_or(libc::EIO)))
    }
}

impl AsFd for Uncut {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::V4(socket) | Self::V6(socket, _) => socket.as_fd(),
        }
    }
}

/// A UDP socket of a port that others have; they must [`share`] it.
fn udp_v4(port: u16, options: &SocketOptions) -> Result<Socket, SysError> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM.nonblocking(), Some(Protocol::UDP))
        .map_err(|error| SysError::of("open UDP socket", error))?;
    configure_sending(&socket, Family::V4, options)?;
    share(&socket)?;
    hear_nothing(&socket, port)?;
    Ok(socket)
}

/// A raw socket of ESP.
fn esp_v4(options: &SocketOptions) -> Result<Socket, SysError> {
    let socket = open(Family::V4, ESP, options)?;
    hear_nothing(&socket, 0)?;
    Ok(socket)
}

/// Binds a socket to the address of everybody, which no peer sends ESP or IKE to. As source the kernel
/// takes it for none.
fn hear_nothing(socket: &Socket, port: u16) -> Result<(), SysError> {
    let nobody = SocketAddr::new(Ipv4Addr::BROADCAST.into(), port);
    socket.bind(&nobody.into()).map_err(|error| SysError::of("bind a socket to send by", error))
}

fn raw_v6(options: &SocketOptions) -> Result<Socket, SysError> {
    let options = SocketOptions { send_buffer_octets: 0, ..*options };
    let socket = open(Family::V6, libc::IPPROTO_RAW, &options)?;
    socket_option::set(&socket, libc::IPPROTO_IPV6, IPV6_HDRINCL, 1)
        .map_err(|error| SysError::of("configure socket", error))?;
    Ok(socket)
}

/// RFC 768, with the checksum that IPv6 wants (RFC 8200 §8.1).
fn udp_header(
    src: std::net::Ipv6Addr,
    dst: std::net::Ipv6Addr,
    (from, to): (u16, u16),
    payload: &[u8],
) -> [u8; 8] {
    let len = u16::try_from(payload.len().saturating_add(8)).unwrap_or(0).to_be_bytes();
    let ([s0, s1], [d0, d1]) = (from.to_be_bytes(), to.to_be_bytes());
    let ends = [src.octets(), dst.octets()].concat();
    let header = [s0, s1, d0, d1, len[0], len[1], 0, 0];
    let pseudo = [0, 0, len[0], len[1], 0, 0, 0, IpProtocol::UDP.0];
    let summed = [&ends[..], &pseudo, &header, payload].concat();
    // Zero would say that there is none.
    let [c0, c1] = match checksum(&summed) {
        0 => u16::MAX,
        sum => sum,
    }
    .to_be_bytes();
    [s0, s1, d0, d1, len[0], len[1], c0, c1]
}

/// As the kernel has it.
const HOP_LIMIT: u8 = 64;
