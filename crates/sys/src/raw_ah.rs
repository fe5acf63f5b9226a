//! Raw sockets for AH, IP protocol 51 (RFC 4302 §2).
//!
//! The ICV of AH covers the headers in front of it, so each packet comes out whole. With IPv4 a raw
//! socket delivers it so. With IPv6 it delivers what follows the extension headers, and these as
//! control messages (RFC 3542 §8, §7); the packet is put together again, up to the fields that no
//! ICV covers: flow label and hop limit. Fragments have been reassembled by the kernel.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};

use adit_wire::PacketBuf;
use adit_wire::iana::IpProtocol;
use adit_wire::ip::Ipv6Header;
use nix::libc::{self, c_int};
use socket2::Socket;

use crate::batch::BatchIo;
use crate::error::SysError;
use crate::message::{CONTROL_OCTETS, ControlMessages};
use crate::netlink::Family;
use crate::raw::{open, unspecified};
use crate::socket_option;
use crate::udp::{SocketOptions, configure_receiving};

/// Headroom that a [`BatchIo`] for AH leaves: an IPv6 header and all extension headers that come.
pub const AH_HEADROOM: usize = Ipv6Header::LEN + CONTROL_OCTETS;

/// A raw AH socket of one family, which receives. Never blocks.
#[derive(Debug)]
pub struct RawAhSocket {
    socket: Socket,
    family: Family,
}

impl RawAhSocket {
    /// Receives the AH packets of all addresses of a family from now on.
    ///
    /// # Errors
    ///
    /// [`SysError::NotPermitted`] (E504) without CAP_NET_RAW, [`SysError::FamilyUnsupported`],
    /// [`SysError::Io`].
    pub fn open(family: Family, options: &SocketOptions) -> Result<Self, SysError> {
        let socket = open(family, IpProtocol::AH.0.into(), options)?;
        // What the network says about packets goes to the socket that sent them.
        let receiving = SocketOptions { report_errors: false, ..*options };
        configure_receiving(&socket, family, &receiving)?;
        if family == Family::V6 {
            for option in [libc::IPV6_RECVHOPOPTS, libc::IPV6_RECVRTHDR, libc::IPV6_RECVDSTOPTS] {
                socket_option::set(&socket, libc::IPPROTO_IPV6, option, 1)
                    .map_err(|error| SysError::of("configure socket", error))?;
            }
        }
        Ok(Self { socket, family })
    }

    /// Another handle of the same socket.
    ///
    /// # Errors
    ///
    /// [`SysError::Io`].
    pub fn try_clone(&self) -> Result<Self, SysError> {
        let socket =
            self.socket.try_clone().map_err(|error| SysError::of("duplicate socket", error))?;
        Ok(Self { socket, family: self.family })
    }

    /// The family of the packets that it receives.
    pub fn family(&self) -> Family {
        self.family
    }

    /// Receives packets, from their IP header on, into the front of `packets`, with `meta` filled;
    /// zero if nothing waits.
    ///
    /// `io` leaves [`AH_HEADROOM`]. A packet larger than its buffer, or with more extension headers
    /// than there is room for, comes out empty.
    ///
    /// # Errors
    ///
    /// What recvmmsg answers; nothing is lost by calling again.
    pub fn recv_batch(&self, io: &mut BatchIo, packets: &mut [PacketBuf]) -> io::Result<usize> {
        let family = self.family;
        io.receive_with(self.socket.as_fd(), packets, unspecified(family), |packet, messages| {
            packet.meta.udp = false;
            packet.meta.whole = true;
            packet.meta.remote.set_port(0);
            packet.meta.local.set_port(0);
            if family == Family::V6 && put_headers(packet, messages).is_none() {
                packet.truncate(0);
            }
        })
    }
}

impl AsFd for RawAhSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Puts the IPv6 header and its extension headers back in front of AH; `None` if there is no room,
/// or if they do not lead to AH.
fn put_headers(packet: &mut PacketBuf, messages: ControlMessages<'_>) -> Option<()> {
    let (IpAddr::V6(src), IpAddr::V6(dst)) = (packet.meta.remote.ip(), packet.meta.local.ip())
    else {
        return None;
    };
    let ah_len = packet.len();
    let extensions = || messages.clone().filter_map(extension);
    let extensions_len = extensions().map(|(_, octets)| octets.len()).sum();
    let mut place = packet.push_front(extensions_len)?;
    let mut next = IpProtocol::AH;
    let mut announced = None;
    for (kind, octets) in extensions() {
        match announced {
            None => next = kind,
            Some(announced) if announced == kind.0 => {}
            Some(_) => return None,
        }
        announced = octets.first().copied();
        let (here, rest) = place.split_at_mut_checked(octets.len())?;
        here.copy_from_slice(octets);
        place = rest;
    }
    if announced.is_some_and(|announced| announced != IpProtocol::AH.0) {
        return None;
    }
    let header = Ipv6Header {
        traffic_class: packet.meta.tos,
        flow_label: 0,
        payload_len: u16::try_from(ah_len.checked_add(extensions_len)?).ok()?,
        next,
        hop_limit: HOP_LIMIT,
        src,
        dst,
    };
    packet.push_front(Ipv6Header::LEN)?.copy_from_slice(&header.to_octets());
    Some(())
}

/// The extension header in a control message, if it is one.
fn extension((level, kind, octets): (c_int, c_int, &[u8])) -> Option<(IpProtocol, &[u8])> {
    match (level, kind) {
        (libc::IPPROTO_IPV6, libc::IPV6_HOPOPTS) => Some((IpProtocol::HOP_BY_HOP, octets)),
        (libc::IPPROTO_IPV6, libc::IPV6_RTHDR) => Some((IpProtocol::ROUTING, octets)),
        (libc::IPPROTO_IPV6, libc::IPV6_DSTOPTS) => Some((IpProtocol::DESTINATION, octets)),
        _ => None,
    }
}

/// What a packet has left to live when it arrives (RFC 1700).
const HOP_LIMIT: u8 = 64;
