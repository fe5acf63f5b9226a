//! Socket addresses and control messages as the kernel lays them out in memory.
//!
//! Plain octets in aligned arrays: reading and writing them needs no unsafe code. The layout is
//! that of glibc, and of musl on little-endian machines.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use adit_wire::ip::Icmp;
use nix::libc::{self, c_int};

/// A `sockaddr_in` or `sockaddr_in6`.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(8))]
pub(crate) struct RawAddress([u8; ADDRESS_OCTETS]);

impl RawAddress {
    pub(crate) const EMPTY: Self = Self([0; ADDRESS_OCTETS]);

    /// Writes `address` and returns the length the kernel wants to be told.
    pub(crate) fn set(&mut self, address: SocketAddr) -> usize {
        match address {
            SocketAddr::V4(v4) => {
                self.put(0, &family(libc::AF_INET));
                self.put(2, &v4.port().to_be_bytes());
                self.put(4, &v4.ip().octets());
                self.put(8, &[0; 8]);
                V4_OCTETS
            }
            SocketAddr::V6(v6) => {
                self.put(0, &family(libc::AF_INET6));
                self.put(2, &v6.port().to_be_bytes());
                self.put(4, &v6.flowinfo().to_be_bytes());
                self.put(8, &v6.ip().octets());
                self.put(24, &v6.scope_id().to_ne_bytes());
                ADDRESS_OCTETS
            }
        }
    }

    /// What the kernel wrote; `None` for other families.
    pub(crate) fn get(&self) -> Option<SocketAddr> {
        read_address(&self.0)
    }

    pub(crate) fn as_mut_ptr(&mut self) -> *mut u8 {
        self.0.as_mut_ptr()
    }

    fn put(&mut self, at: usize, octets: &[u8]) {
        if let Some(field) = self.0.get_mut(at..at.saturating_add(octets.len())) {
            field.copy_from_slice(octets);
        }
    }
}

fn family(family: c_int) -> [u8; 2] {
    libc::sa_family_t::try_from(family).unwrap_or(0).to_ne_bytes()
}

fn read_address(octets: &[u8]) -> Option<SocketAddr> {
    let [f0, f1, p0, p1, ..] = *octets else {
        return None;
    };
    let port = u16::from_be_bytes([p0, p1]);
    let family = c_int::from(libc::sa_family_t::from_ne_bytes([f0, f1]));
    if family == libc::AF_INET {
        let ip: [u8; 4] = array(octets, 4)?;
        Some(SocketAddrV4::new(ip.into(), port).into())
    } else if family == libc::AF_INET6 {
        let ip: [u8; 16] = array(octets, 8)?;
        let scope = u32::from_ne_bytes(array(octets, 24)?);
        Some(SocketAddrV6::new(ip.into(), port, 0, scope).into())
    } else {
        None
    }
}

fn array<const N: usize>(octets: &[u8], at: usize) -> Option<[u8; N]> {
    octets.get(at..)?.first_chunk().copied()
}

/// A buffer of control messages.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(8))]
pub(crate) struct Control([u8; CONTROL_OCTETS]);

impl Control {
    pub(crate) const EMPTY: Self = Self([0; CONTROL_OCTETS]);

    pub(crate) fn as_mut_ptr(&mut self) -> *mut u8 {
        self.0.as_mut_ptr()
    }

    /// Writes the source address and traffic class of a packet to be sent.
    ///
    /// Returns the exact length: `sendmmsg` answers EINVAL if it is told more than was written.
    /// An unspecified source and a class of zero leave the choice to the kernel.
    pub(crate) fn set_outgoing(&mut self, local: SocketAddr, tos: u8) -> usize {
        let mut used = 0;
        if !local.ip().is_unspecified() {
            used = match local {
                SocketAddr::V4(v4) => {
                    // struct in_pktinfo: interface, source, (destination, ignored).
                    let mut info = [0; 12];
                    put(&mut info, 4, &v4.ip().octets());
                    self.push(used, libc::IPPROTO_IP, libc::IP_PKTINFO, &info)
                }
                SocketAddr::V6(v6) => {
                    // struct in6_pktinfo: source, interface.
                    let mut info = [0; 20];
                    put(&mut info, 0, &v6.ip().octets());
                    put(&mut info, 16, &v6.scope_id().to_ne_bytes());
                    self.push(used, libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &info)
                }
            };
        }
        if tos != 0 {
            let class = c_int::from(tos).to_ne_bytes();
            used = match local {
                SocketAddr::V4(_) => self.push(used, libc::IPPROTO_IP, libc::IP_TOS, &class),
                SocketAddr::V6(_) => self.push(used, libc::IPPROTO_IPV6, libc::IPV6_TCLASS, &class),
            };
        }
        used
    }

    /// Adds the firewall mark of a packet to be sent, in the place of the socket's; returns the length.
    pub(crate) fn add_mark(&mut self, used: usize, mark: u32) -> usize {
        self.push(used, libc::SOL_SOCKET, libc::SO_MARK, &mark.to_ne_bytes())
    }

    /// Adds into how many octets each the kernel cuts a datagram; returns the length.
    pub(crate) fn add_segment_len(&mut self, used: usize, segment_len: u16) -> usize {
        self.push(used, libc::SOL_UDP, libc::UDP_SEGMENT, &segment_len.to_ne_bytes())
    }

    /// The messages in the first `length` octets, as (level, type, data).
    pub(crate) fn messages(&self, length: usize) -> ControlMessages<'_> {
        ControlMessages(self.0.get(..length).unwrap_or(&self.0))
    }

    fn push(&mut self, used: usize, level: c_int, kind: c_int, data: &[u8]) -> usize {
        let length = CONTROL_HEADER_OCTETS + data.len();
        let end = used + length.next_multiple_of(CONTROL_ALIGN);
        let Some(room) = self.0.get_mut(used..end) else {
            return used;
        };
        put(room, 0, &length.to_ne_bytes());
        put(room, size_of::<usize>(), &level.to_ne_bytes());
        put(room, size_of::<usize>() + 4, &kind.to_ne_bytes());
        put(room, CONTROL_HEADER_OCTETS, data);
        end
    }
}

fn put(room: &mut [u8], at: usize, octets: &[u8]) {
    if let Some(field) = room.get_mut(at..at.saturating_add(octets.len())) {
        field.copy_from_slice(octets);
    }
}

/// Iterates over control messages.
#[derive(Clone)]
pub(crate) struct ControlMessages<'a>(&'a [u8]);

impl<'a> Iterator for ControlMessages<'a> {
    type Item = (c_int, c_int, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let length = usize::from_ne_bytes(array(self.0, 0)?);
        let level = c_int::from_ne_bytes(array(self.0, size_of::<usize>())?);
        let kind = c_int::from_ne_bytes(array(self.0, size_of::<usize>() + 4)?);
        let data = self.0.get(CONTROL_HEADER_OCTETS..length)?;
        self.0 = self.0.get(length.next_multiple_of(CONTROL_ALIGN)..).unwrap_or_default();
        Some((level, kind, data))
    }
}

/// What the control messages of a received packet say.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Incoming {
    /// Destination address of the packet, and the interface if the address needs it.
    pub(crate) local: Option<(IpAddr, u32)>,
    /// Traffic class.
    pub(crate) tos: u8,
    /// Octets of each datagram but the last, if the kernel has joined several.
    pub(crate) segment_octets: Option<usize>,
    /// Octets of the largest IP packet that it came in, if the kernel has joined fragments.
    pub(crate) largest_fragment: u16,
}

impl Incoming {
    pub(crate) fn read(messages: ControlMessages<'_>) -> Self {
        let mut incoming = Self::default();
        for (level, kind, data) in messages {
            match (level, kind) {
                (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                    // Third field: the destination in the header.
                    let ip = array(data, 8).map(Ipv4Addr::from_octets);
                    incoming.local = ip.map(|ip| (ip.into(), 0));
                }
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                    let ip = array(data, 0).map(Ipv6Addr::from_octets);
                    let interface = array(data, 16).map_or(0, u32::from_ne_bytes);
                    incoming.local = ip.map(|ip| {
                        let scope = if ip.is_unicast_link_local() { interface } else { 0 };
                        (ip.into(), scope)
                    });
                }
                // One octet for IPv4, an integer for IPv6.
                (libc::IPPROTO_IP, libc::IP_TOS) => {
                    incoming.tos = data.first().copied().unwrap_or(0);
                }
                (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => {
                    let class = array(data, 0).map_or(0, c_int::from_ne_bytes);
                    incoming.tos = u8::try_from(class).unwrap_or(0);
                }
                (libc::IPPROTO_IP, IP_RECVFRAGSIZE) | (libc::IPPROTO_IPV6, IPV6_RECVFRAGSIZE) => {
                    let octets = array(data, 0).map_or(0, c_int::from_ne_bytes);
                    incoming.largest_fragment = u16::try_from(octets).unwrap_or(0);
                }
                (libc::SOL_UDP, libc::UDP_GRO) => {
                    let octets = array(data, 0).map_or(0, c_int::from_ne_bytes);
                    incoming.segment_octets = usize::try_from(octets).ok();
                }
                _ => {}
            }
        }
        incoming
    }

    /// The local address with a port; `any` when the kernel told none.
    pub(crate) fn local_address(&self, any: SocketAddr) -> SocketAddr {
        match self.local {
            Some((IpAddr::V4(ip), _)) => SocketAddr::new(ip.into(), any.port()),
            Some((IpAddr::V6(ip), scope)) => SocketAddrV6::new(ip, any.port(), 0, scope).into(),
            None => any,
        }
    }
}

/// An entry of a socket's error queue: `struct sock_extended_err` and the sender of the error.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ExtendedError {
    pub(crate) errno: i32,
    /// Path MTU when errno is EMSGSIZE.
    pub(crate) info: u32,
    /// The ICMP message, if it was one.
    pub(crate) icmp: Option<Icmp>,
    /// The router or host that sent the ICMP message.
    pub(crate) offender: Option<IpAddr>,
    /// The interface by which it came; zero if the kernel does not say.
    pub(crate) interface: u32,
}

impl ExtendedError {
    pub(crate) fn read(messages: ControlMessages<'_>) -> Option<Self> {
        let interface = interface_of(messages.clone());
        messages
            .filter(|(level, kind, _)| {
                matches!(
                    (*level, *kind),
                    (libc::IPPROTO_IP, libc::IP_RECVERR) | (libc::IPPROTO_IPV6, libc::IPV6_RECVERR)
                )
            })
            .find_map(|(_, _, data)| {
                let errno = u32::from_ne_bytes(array(data, 0)?);
                Some(Self {
                    errno: i32::try_from(errno).ok()?,
                    info: u32::from_ne_bytes(array(data, 8)?),
                    icmp: read_icmp(data),
                    offender: data.get(16..).and_then(read_address).map(|from| from.ip()),
                    interface,
                })
            })
    }
}

/// The interface by which a packet came, by its control messages; zero if they do not say.
pub(crate) fn interface_of(mut messages: ControlMessages<'_>) -> u32 {
    let found = messages.find_map(|(level, kind, data)| match (level, kind) {
        (libc::IPPROTO_IP, libc::IP_PKTINFO) => array(data, 0),
        (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => array(data, 16),
        _ => None,
    });
    found.map_or(0, u32::from_ne_bytes)
}

/// Type and code in a `struct sock_extended_err`, if its origin is ICMP or ICMPv6.
fn read_icmp(data: &[u8]) -> Option<Icmp> {
    let [origin, kind, code] = array(data, 4)?;
    let is_icmp = matches!(origin, libc::SO_EE_ORIGIN_ICMP | libc::SO_EE_ORIGIN_ICMP6);
    is_icmp.then_some(Icmp { kind, code })
}

/// linux/in.h and linux/in6.h; the libc crate lacks them.
pub(crate) const IP_RECVFRAGSIZE: c_int = 25;
pub(crate) const IPV6_RECVFRAGSIZE: c_int = 77;
/// `sockaddr_in6`, the larger of the two.
const ADDRESS_OCTETS: usize = 28;
/// `sockaddr_in`.
const V4_OCTETS: usize = 16;
/// Room for the largest set of messages we enable: an extended error with a v6 offender (64),
/// packet information (40), traffic class (24), timestamp (32), and about as much again as a packet
/// of 1,500 octets may reasonably have of extension headers.
pub(crate) const CONTROL_OCTETS: usize = 1_024;
const CONTROL_HEADER_OCTETS: usize = size_of::<usize>() + 8;
const CONTROL_ALIGN: usize = size_of::<usize>();

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_round_trip() {
        for text in ["192.0.2.1:500", "[2001:db8::1]:4500", "[fe80::1%3]:500"] {
            let address: SocketAddr = text.parse().unwrap();
            let mut raw = RawAddress([0xff; ADDRESS_OCTETS]);
            raw.set(address);
            assert_eq!(raw.get(), Some(address));
        }
    }

    #[test]
    fn control_messages_have_the_exact_length() {
        let mut control = Control::EMPTY;
        let v4 = "192.0.2.1:4500".parse().unwrap();
        let v6 = "[2001:db8::1]:4500".parse().unwrap();
        assert_eq!(control.set_outgoing(v4, 0), 32);
        assert_eq!(control.set_outgoing(v4, 1), 56);
        assert_eq!(control.set_outgoing(v6, 1), 64);
        assert_eq!(control.set_outgoing("0.0.0.0:0".parse().unwrap(), 0), 0);
        assert_eq!(control.add_mark(64, 7), 88);
        assert_eq!(control.add_segment_len(64, 1_400), 88);
    }

    #[test]
    fn broken_control_messages_end_the_walk() {
        let mut control = Control([0xff; CONTROL_OCTETS]);
        assert_eq!(control.messages(CONTROL_OCTETS).count(), 0);
        control.0[..8].copy_from_slice(&0_usize.to_ne_bytes());
        assert_eq!(control.messages(CONTROL_OCTETS).count(), 0);
    }
}
