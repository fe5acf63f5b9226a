//! Tracing a path: packets with few hops left, and who answers them (RFC 792, RFC 4443 §3.3).

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use adit_wire::iana::IpProtocol;
use adit_wire::ip::{Icmp, IcmpError, IpPacket, checksum};
use adit_wire::{PacketBuf, Writer};
use nix::libc;
use socket2::{Domain, Protocol, Socket, Type};

use crate::batch::BatchIo;
use crate::clock::now;
use crate::error::SysError;
use crate::icmp_errors::{ICMP_HEADROOM, put_header};
use crate::netlink::Family;
use crate::ping::{
    V4_ECHO_REPLY, V4_ECHO_REQUEST, V6_ECHO_REPLY, V6_ECHO_REQUEST, echo_marks, header_octets,
};
use crate::raw::{open, unspecified};
use crate::socket_option;
use crate::udp::{SocketOptions, configure_receiving};
use crate::wake::{Interest, wait_for};

/// What a path is traced with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Probe {
    /// Echo requests.
    Icmp,
    /// Datagrams to a port where nobody listens, one higher for each.
    Udp(u16),
    /// First packets of connections to this port.
    Tcp(u16),
}

/// Who answered a packet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Heard {
    /// Its address.
    pub from: IpAddr,
    /// From sending to the answer.
    pub after: Duration,
    /// What it says.
    pub what: Said,
}

/// What an answer says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Said {
    /// The packet had no hops left.
    Expired,
    /// It has arrived.
    Reached,
    /// It cannot go on; type and code of the ICMP error.
    Refused(Icmp),
}

/// Sends packets with few hops left to one destination, and waits for answers.
#[derive(Debug)]
pub struct Tracer {
    icmp: Socket,
    io: BatchIo,
    packets: Vec<PacketBuf>,
    source: IpAddr,
    destination: IpAddr,
    probe: Probe,
    identifier: u16,
    sequence: u16,
    payload_octets: usize,
    /// Whether what is sent may not be cut, whatever the host knows of the path.
    uncut: bool,
}

/// A packet under way, and how an answer to it is known.
struct Sent {
    at: Instant,
    /// Ports, or identifier and sequence number.
    marks: (u16, u16),
    /// Of UDP and TCP.
    socket: Option<Socket>,
}

impl Tracer {
    /// Opens it in the namespace of the calling thread. `source` is an address of this host.
    ///
    /// # Errors
    ///
    /// - [`SysError::NotPermitted`] (E504): without CAP_NET_RAW.
    /// - [`SysError::AddressMissing`]: `source` is no address of this host.
    /// - [`SysError::Io`]: the two are of different families, or what socket(2) answers.
    pub fn open(source: IpAddr, destination: IpAddr, probe: Probe) -> Result<Self, SysError> {
        let family = Family::of(destination);
        let protocol = match family {
            Family::V4 => IpProtocol::ICMP,
            Family::V6 => IpProtocol::ICMPV6,
        };
        let options =
            SocketOptions { report_errors: false, mark: None, ..SocketOptions::default() };
        let icmp = open(family, protocol.0.into(), &options)?;
        configure_receiving(&icmp, family, &options)?;
        icmp.bind(&SocketAddr::new(source, 0).into()).map_err(|error| {
            match error.raw_os_error() {
                Some(libc::EADDRNOTAVAIL) => SysError::AddressMissing { address: source },
                _ => SysError::of("bind ICMP socket", error),
            }
        })?;
        let [i0, i1] =
            crate::entropy::array().map_err(|error| SysError::of("draw an identifier", error))?;
        let packets = (0..LOOK).map(|_| PacketBuf::with_capacity(ICMP_HEADROOM, ANSWER_OCTETS));
        Ok(Self {
            icmp,
            io: BatchIo::new(ICMP_HEADROOM),
            packets: packets.collect(),
            source,
            destination,
            probe,
            identifier: u16::from_be_bytes([i0, i1]),
            sequence: 0,
            payload_octets: PAYLOAD_OCTETS,
            uncut: false,
        })
    }

    /// Sends one packet with so many hops left, and waits for an answer; `None` if none comes in time.
    ///
    /// # Errors
    ///
    /// What the kernel says about sending it.
    pub fn ask(&mut self, hops: u8, patience: Duration) -> io::Result<Option<Heard>> {
        self.sequence = self.sequence.wrapping_add(1);
        let sent = match self.probe {
            Probe::Icmp => self.send_echo(hops)?,
            Probe::Udp(port) => self.send_datagram(hops, port)?,
            Probe::Tcp(port) => self.send_syn(hops, port)?,
        };
        let deadline = sent.at.checked_add(patience).unwrap_or(sent.at);
        loop {
            if let Some(heard) = self.hear(&sent)? {
                return Ok(Some(heard));
            }
            let left = deadline.saturating_duration_since(now());
            if left.is_zero() {
                return Ok(None);
            }
            // What comes to the packet's own socket makes no noise here.
            let nap = if sent.socket.is_some() { left.min(SOCKET_LOOK) } else { left };
            wait_for(&self.icmp, Interest::Readable, Some(nap))?;
        }
    }

    /// Sends one datagram, a packet of so many octets that nobody may cut, as far as it goes, and waits for
    /// an answer as [`Self::ask`] does. Of TCP and ICMP it is as long as ever.
    ///
    /// # Errors
    ///
    /// What the kernel says about sending it: EMSGSIZE if it is too long for the interface.
    pub fn ask_uncut(
        &mut self,
        packet_octets: usize,
        patience: Duration,
    ) -> io::Result<Option<Heard>> {
        // As of echo requests: a header of 8 octets behind that of IP.
        self.payload_octets = packet_octets.saturating_sub(header_octets(self.destination));
        self.uncut = true;
        let heard = self.ask(FAR, patience);
        (self.payload_octets, self.uncut) = (PAYLOAD_OCTETS, false);
        heard
    }

    fn set_hops(&self, socket: &Socket, hops: u8) -> io::Result<()> {
        match self.destination {
            IpAddr::V4(_) => socket.set_ttl_v4(hops.into()),
            IpAddr::V6(_) => socket.set_unicast_hops_v6(hops.into()),
        }
    }

    fn send_echo(&self, hops: u8) -> io::Result<Sent> {
        self.set_hops(&self.icmp, hops)?;
        let v4 = self.destination.is_ipv4();
        let kind = if v4 { V4_ECHO_REQUEST } else { V6_ECHO_REQUEST };
        let mut message = vec![kind, 0, 0, 0];
        message.extend(self.identifier.to_be_bytes());
        message.extend(self.sequence.to_be_bytes());
        message.extend([0; PAYLOAD_OCTETS]);
        // For ICMPv6 the kernel sums up, as the pseudo header needs addresses.
        if v4 {
            let sum = checksum(&message);
            Writer(&mut message).patch_u16(2, sum);
        }
        let at = now();
        self.icmp.send_to(&message, &SocketAddr::new(self.destination, 0).into())?;
        Ok(Sent { at, marks: (self.identifier, self.sequence), socket: None })
    }

    fn send_datagram(&self, hops: u8, first: u16) -> io::Result<Sent> {
        let port = first.wrapping_add(self.sequence.wrapping_sub(1));
        let (socket, own) = self.socket(Type::DGRAM, Protocol::UDP, hops)?;
        let at = now();
        let to = SocketAddr::new(self.destination, port);
        if self.uncut {
            let (level, name) = match self.destination {
                IpAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER),
                IpAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER),
            };
            // The numbers are the same for both families.
            socket_option::set(&socket, level, name, libc::IP_PMTUDISC_PROBE)?;
        }
        socket.send_to(&vec![0; self.payload_octets], &to.into())?;
        Ok(Sent { at, marks: (own, port), socket: Some(socket) })
    }

    fn send_syn(&self, hops: u8, port: u16) -> io::Result<Sent> {
        let (socket, own) = self.socket(Type::STREAM, Protocol::TCP, hops)?;
        let at = now();
        match socket.connect(&SocketAddr::new(self.destination, port).into()) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {}
            // It was refused at once: we are the destination.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
            Err(error) => return Err(error),
        }
        Ok(Sent { at, marks: (own, port), socket: Some(socket) })
    }

    fn socket(&self, kind: Type, protocol: Protocol, hops: u8) -> io::Result<(Socket, u16)> {
        let domain = if self.destination.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
        let socket = Socket::new(domain, kind.nonblocking(), Some(protocol))?;
        self.set_hops(&socket, hops)?;
        socket.bind(&SocketAddr::new(self.source, 0).into())?;
        let own = socket.local_addr()?.as_socket().map_or(0, |own| own.port());
        Ok((socket, own))
    }

    /// Reads what waits until there is an answer to what was sent.
    fn hear(&mut self, sent: &Sent) -> io::Result<Option<Heard>> {
        let reached =
            || Heard { from: self.destination, after: sent.passed(), what: Said::Reached };
        if sent.has_arrived(self.probe, self.destination) {
            return Ok(Some(reached()));
        }
        let family = Family::of(self.destination);
        for _ in 0..LOOKS {
            let got = self.io.receive(self.icmp.as_fd(), &mut self.packets, unspecified(family))?;
            if got == 0 {
                break;
            }
            for number in 0..got {
                let Some(packet) = self.packets.get_mut(number) else { continue };
                if family == Family::V6 && put_header(packet).is_none() {
                    continue;
                }
                let Ok(packet) = IpPacket::read(packet.data()) else { continue };
                if let Some(what) = judge(&packet, self.destination, self.probe, sent.marks) {
                    return Ok(Some(Heard { from: packet.src(), after: sent.passed(), what }));
                }
            }
        }
        Ok(None)
    }
}

impl Sent {
    fn passed(&self) -> Duration {
        now().saturating_duration_since(self.at)
    }

    /// Whether the destination has answered to the packet's own socket: taken the connection or refused it,
    /// or sent a datagram.
    fn has_arrived(&self, probe: Probe, destination: IpAddr) -> bool {
        let Some(socket) = &self.socket else { return false };
        if let Probe::Udp(_) = probe {
            let sender = socket.peek_sender().ok().and_then(|sender| sender.as_socket());
            return sender.is_some_and(|sender| sender.ip() == destination);
        }
        match socket.take_error() {
            Ok(Some(error)) => error.kind() == io::ErrorKind::ConnectionRefused,
            Ok(None) => socket.peer_addr().is_ok(),
            Err(_) => false,
        }
    }
}

/// What an ICMP message says about a packet with these marks, if it is about that.
fn judge(
    packet: &IpPacket<'_>,
    destination: IpAddr,
    probe: Probe,
    marks: (u16, u16),
) -> Option<Said> {
    if let Ok(error) = IcmpError::read(packet) {
        let about = error.about().ok()?;
        let is_ours = about.dst() == destination && marks_of(&about, probe) == Some(marks);
        return is_ours.then(|| said(&error, packet.src() == destination, probe));
    }
    let reply = match packet.protocol() {
        IpProtocol::ICMP => V4_ECHO_REPLY,
        _ => V6_ECHO_REPLY,
    };
    let is_reply = probe == Probe::Icmp
        && packet.src() == destination
        && packet.payload().first() == Some(&reply)
        && echo_marks(packet.payload()) == Some(marks);
    is_reply.then_some(Said::Reached)
}

fn said(error: &IcmpError<'_>, is_destination: bool, probe: Probe) -> Said {
    let (expired, port) = match error.protocol {
        IpProtocol::ICMP => (Icmp::TIME_EXCEEDED, [Icmp::UNREACHABLE, 3]),
        _ => (Icmp::TIME_EXCEEDED_V6, [Icmp::UNREACHABLE_V6, 4]),
    };
    match error.icmp.kind {
        kind if kind == expired => Said::Expired,
        kind if [kind, error.icmp.code] == port && is_destination && probe != Probe::Icmp => {
            Said::Reached
        }
        _ => Said::Refused(error.icmp),
    }
}

/// By what a quoted packet is known.
fn marks_of(about: &IpPacket<'_>, probe: Probe) -> Option<(u16, u16)> {
    let protocol = match (probe, about.is_ipv4()) {
        (Probe::Icmp, true) => IpProtocol::ICMP,
        (Probe::Icmp, false) => IpProtocol::ICMPV6,
        (Probe::Udp(_), _) => IpProtocol::UDP,
        (Probe::Tcp(_), _) => IpProtocol::TCP,
    };
    if about.protocol() != protocol {
        return None;
    }
    if probe == Probe::Icmp { echo_marks(about.payload()) } else { about.ports() }
}

/// Octets behind the headers of a packet.
const PAYLOAD_OCTETS: usize = 32;
/// Hops that are enough for any path.
const FAR: u8 = 64;
/// Octets of an answer: RFC 4443 §2.4 (c) has the longest.
const ANSWER_OCTETS: usize = 1_280;
/// Messages read at once, and how often before the clock is looked at again.
const LOOK: usize = 16;
const LOOKS: usize = 16;
/// From one look at a packet's own socket to the next.
const SOCKET_LOOK: Duration = Duration::from_millis(2);

#[cfg(test)]
mod tests {
    use adit_wire::ip::{IcmpReport, Ipv4Header};

    use super::*;

    fn datagram(ports: (u16, u16)) -> Vec<u8> {
        let header = Ipv4Header {
            traffic_class: 0,
            total_len: 28,
            identification: 0,
            dont_fragment: true,
            ttl: 1,
            protocol: IpProtocol::UDP,
            src: [10, 1, 0, 1].into(),
            dst: [10, 2, 0, 1].into(),
        };
        let mut octets = header.to_octets().to_vec();
        octets.extend(ports.0.to_be_bytes());
        octets.extend(ports.1.to_be_bytes());
        octets.extend([0, 8, 0, 0]);
        octets
    }

    fn answered(report: &IcmpReport, from: [u8; 4], ports: (u16, u16)) -> Option<Said> {
        let about = datagram(ports);
        let mut out = vec![0; 600];
        let len = report.write(&IpPacket::read(&about).unwrap(), from.into(), &mut out).unwrap();
        let packet = IpPacket::read(&out[..len]).unwrap();
        judge(&packet, [10, 2, 0, 1].into(), Probe::Udp(33_434), (4_000, 33_434))
    }

    #[test]
    fn an_answer_is_about_what_was_sent() {
        let ours = (4_000, 33_434);
        let expired = IcmpReport::time_exceeded(true);
        assert_eq!(answered(&expired, [10, 9, 0, 1], ours), Some(Said::Expired));
        assert_eq!(answered(&expired, [10, 9, 0, 1], (4_000, 33_435)), None);
        assert_eq!(answered(&expired, [10, 9, 0, 1], (4_001, 33_434)), None);
        let closed = IcmpReport::unreachable(true, 3);
        assert_eq!(answered(&closed, [10, 2, 0, 1], ours), Some(Said::Reached));
        // Somebody on the way has no word about the destination's ports.
        let refused = Said::Refused(Icmp { kind: Icmp::UNREACHABLE, code: 3 });
        assert_eq!(answered(&closed, [10, 9, 0, 1], ours), Some(refused));
    }
}
