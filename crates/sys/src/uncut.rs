//! Packets of IPv6 that nobody may cut, with headers of our own.
//!
//! Whether the kernel cuts a packet is a setting of its socket, and other threads send through the same
//! one: theirs would be refused meanwhile. IPV6_DONTFRAG does not help: with it the kernel holds a packet
//! against what it believes of the path, which anybody can have made it believe. So such packets, which
//! are few, have a socket for themselves: one of raw packets, for no port is bound twice.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;

use adit_wire::PacketBuf;
use adit_wire::iana::IpProtocol;
use adit_wire::ip::{Ipv6Header, checksum};
use nix::libc;
use socket2::Socket;

use crate::batch::{Target, send_parts};
use crate::error::SysError;
use crate::netlink::Family;
use crate::raw::{IPV6_HDRINCL, open};
use crate::socket_option;
use crate::udp::{PathMtu, SocketOptions};

/// Sends what the socket of all would have to be changed for.
#[derive(Debug)]
pub(crate) struct Uncut {
    socket: Socket,
    /// The port that UDP comes from; `None` for ESP above IP.
    port: Option<u16>,
}

impl Uncut {
    /// Opens one for a socket with these options, and this port if it is one of UDP. `None` where raw
    /// sockets are not allowed.
    pub(crate) fn open(options: &SocketOptions, port: Option<u16>) -> Option<Self> {
        let options = SocketOptions {
            path_mtu: PathMtu::Probe,
            receive_buffer_octets: 0,
            send_buffer_octets: 0,
            ..*options
        };
        let open = || -> Result<Socket, SysError> {
            let socket = open(Family::V6, libc::IPPROTO_RAW, &options)?;
            socket_option::set(&socket, libc::IPPROTO_IPV6, IPV6_HDRINCL, 1)
                .map_err(|error| SysError::of("configure socket", error))?;
            Ok(socket)
        };
        match open() {
            Ok(socket) => Some(Self { socket, port }),
            Err(error) => {
                tracing::debug!(%error, "what nobody may cut is sent through the socket of all");
                None
            }
        }
    }

    pub(crate) fn try_clone(&self) -> Result<Self, SysError> {
        let socket =
            self.socket.try_clone().map_err(|error| SysError::of("duplicate socket", error))?;
        Ok(Self { socket, port: self.port })
    }

    /// Sends a packet; the error is that of the kernel. `None` if it is not one for this socket.
    pub(crate) fn send(&self, packet: &PacketBuf, target: Target) -> Option<Result<(), i32>> {
        let (IpAddr::V6(src), IpAddr::V6(dst)) = (target.local?.ip(), target.remote.ip()) else {
            return None;
        };
        if src.is_unspecified() || !target.dont_fragment {
            return None;
        }
        let udp = self.port.map(|port| (port, target.remote.port()));
        let udp = udp.map(|ports| udp_header(src, dst, ports, packet.data()));
        let udp: &[u8] = udp.as_ref().map_or(&[], |udp| udp);
        let header = Ipv6Header {
            traffic_class: target.tos,
            flow_label: 0,
            payload_len: u16::try_from(udp.len() + packet.len()).ok()?,
            next: if self.port.is_some() { IpProtocol::UDP } else { IpProtocol::ESP },
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
        let sent = send_parts(self.socket.as_fd(), target, None, &parts);
        Some(sent.map_err(|error| error.raw_os_error().unwrap_or(libc::EIO)))
    }
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
