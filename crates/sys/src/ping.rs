//! An ICMP echo client (RFC 792, RFC 4443 §4), so that the demo needs no ping program.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use adit_wire::Writer;
use adit_wire::iana::IpProtocol;
use adit_wire::ip::{Icmp, IpPacket, checksum};
use nix::libc;
use socket2::{Domain, Protocol, Socket, Type};

use crate::batch::receive_one;
use crate::clock::now;
use crate::error::SysError;
use crate::message::Control;
use crate::socket_option;
use crate::wake::{Interest, wait_for};

/// What to send.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PingConfig {
    /// Whom to ask.
    pub destination: IpAddr,
    /// Own address; `None` leaves it to the routes.
    pub source: Option<IpAddr>,
    /// Requests.
    pub count: u16,
    /// From one request to the next, counted from sending.
    pub interval: Duration,
    /// How long to wait for the answer to one request.
    pub timeout: Duration,
    /// Payload of a request, octets, at most [`PAYLOAD_MAX`].
    pub payload_octets: usize,
    /// Traffic class of a request: DSCP in the upper six bits, ECN in the lower two.
    pub traffic_class: u8,
}

impl PingConfig {
    /// Three requests a second apart, one second for each answer, 56 octets.
    #[must_use]
    pub fn new(destination: IpAddr) -> Self {
        Self {
            destination,
            source: None,
            count: 3,
            interval: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            payload_octets: 56,
            traffic_class: 0,
        }
    }
}

/// What came of it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct PingReport {
    /// Requests sent, or tried.
    pub sent: u16,
    /// Round-trip time of each answer, in the order of the requests.
    pub round_trips: Vec<Duration>,
    /// Errno of the last request the kernel refused to send.
    pub send_error: Option<i32>,
}

impl PingReport {
    /// Requests answered.
    #[must_use]
    pub fn received(&self) -> usize {
        self.round_trips.len()
    }

    /// Requests without an answer.
    #[must_use]
    pub fn lost(&self) -> usize {
        usize::from(self.sent).saturating_sub(self.received())
    }

    /// Shortest round trip.
    #[must_use]
    pub fn min(&self) -> Option<Duration> {
        self.round_trips.iter().min().copied()
    }

    /// Mean round trip.
    #[must_use]
    pub fn mean(&self) -> Option<Duration> {
        let count = u32::try_from(self.received()).ok().filter(|count| *count > 0)?;
        Some(self.round_trips.iter().sum::<Duration>() / count)
    }

    /// Longest round trip.
    #[must_use]
    pub fn max(&self) -> Option<Duration> {
        self.round_trips.iter().max().copied()
    }
}

/// Sends the requests from the namespace of the calling thread and waits for the answers.
///
/// # Errors
///
/// [`SysError::NotPermitted`] when neither raw nor ping sockets are allowed,
/// [`SysError::AddressMissing`] for a foreign source. A request that cannot be sent counts as
/// lost, see [`PingReport::send_error`].
pub fn ping(config: &PingConfig) -> Result<PingReport, SysError> {
    let mut pinger = Pinger::open(config.destination, config.source)?;
    pinger
        .set_traffic_class(config.traffic_class)
        .map_err(|error| SysError::of("set traffic class", error))?;
    let mut report = PingReport::default();
    for number in 0..config.count {
        let started = now();
        report.sent += 1;
        match pinger.round_trip(config.payload_octets, config.timeout) {
            Ok(Some(time)) => report.round_trips.push(time),
            Ok(None) => {}
            Err(error) => report.send_error = error.raw_os_error(),
        }
        let rest = config.interval.saturating_sub(now().duration_since(started));
        if number + 1 < config.count && !rest.is_zero() {
            std::thread::sleep(rest);
        }
    }
    Ok(report)
}

/// Who says by ICMP that a request does not arrive.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Refusal {
    /// Its address.
    pub from: IpAddr,
    /// Type and code of the error.
    pub icmp: Icmp,
}

impl Refusal {
    /// Whether the request was longer than a link on the way takes.
    #[must_use]
    pub fn is_too_big(self) -> bool {
        let Icmp { kind, code } = self.icmp;
        if self.from.is_ipv4() {
            (kind, code) == (Icmp::UNREACHABLE, Icmp::FRAGMENTATION_NEEDED)
        } else {
            kind == Icmp::TOO_BIG_V6
        }
    }
}

/// What came of looking for an answer.
enum Look {
    Answered,
    Refused,
    Nothing,
}

/// One conversation of echo requests; for those who count and wait themselves.
#[derive(Debug)]
pub struct Pinger {
    socket: Socket,
    destination: SocketAddr,
    /// Whether the kernel chooses and checks the identifier (ping socket).
    kernel_identifier: bool,
    identifier: u16,
    sequence: u16,
    refusal: Option<Refusal>,
    buffer: Box<[u8]>,
}

impl Pinger {
    /// Opens a socket in the namespace of the calling thread.
    ///
    /// # Errors
    ///
    /// As [`ping`].
    pub fn open(destination: IpAddr, source: Option<IpAddr>) -> Result<Self, SysError> {
        let (domain, protocol) = match destination {
            IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4),
            IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6),
        };
        let raw = Socket::new(domain, Type::RAW.nonblocking(), Some(protocol));
        let kernel_identifier = raw.is_err();
        // Without privileges the kernel's ping sockets may be open to us.
        let socket = raw
            .or_else(|_| Socket::new(domain, Type::DGRAM.nonblocking(), Some(protocol)))
            .map_err(|error| SysError::of("open ICMP socket", error))?;
        if let Some(source) = source {
            socket.bind(&SocketAddr::new(source, 0).into()).map_err(|error| {
                if error.raw_os_error() == Some(libc::EADDRNOTAVAIL) {
                    return SysError::AddressMissing { address: source };
                }
                SysError::of("bind ICMP socket", error)
            })?;
        }
        let identifier =
            crate::entropy::array().map_err(|error| SysError::of("draw ICMP identifier", error))?;
        Ok(Self {
            socket,
            destination: SocketAddr::new(destination, 0),
            kernel_identifier,
            identifier: u16::from_be_bytes(identifier),
            sequence: 0,
            refusal: None,
            buffer: vec![0; PACKET_MAX].into_boxed_slice(),
        })
    }

    /// Sends what follows with this traffic class.
    ///
    /// # Errors
    ///
    /// What setsockopt answers.
    pub fn set_traffic_class(&self, class: u8) -> io::Result<()> {
        let (level, name) = match self.destination {
            SocketAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_TOS),
            SocketAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_TCLASS),
        };
        socket_option::set(&self.socket, level, name, class.into())
    }

    /// Says whether what follows may be cut on its way (IPv4: the DF bit; IPv6 is cut by the sender
    /// or not at all). Where it may not, sending what is longer than the path is known to take is
    /// refused with EMSGSIZE; where it may, the kernel cuts for the interface alone.
    ///
    /// # Errors
    ///
    /// What setsockopt answers.
    pub fn set_dont_fragment(&self, on: bool) -> io::Result<()> {
        let (level, name) = match self.destination {
            SocketAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER),
            SocketAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER),
        };
        // The numbers are the same for both families.
        let value = if on { libc::IP_PMTUDISC_DO } else { libc::IP_PMTUDISC_DONT };
        socket_option::set(&self.socket, level, name, value)
    }

    /// Takes who has said last, since the last call, that a request does not arrive; about an earlier
    /// request, too, as routers look for a host for some seconds. Without privileges nobody is heard.
    pub fn take_refusal(&mut self) -> Option<Refusal> {
        self.refusal.take()
    }

    /// Sends one request and waits for its answer at most `timeout`; `None` if none came, or if
    /// somebody says that none will ([`Self::take_refusal`]).
    ///
    /// # Errors
    ///
    /// What sending answers, such as ENETUNREACH.
    pub fn round_trip(
        &mut self,
        payload_octets: usize,
        timeout: Duration,
    ) -> io::Result<Option<Duration>> {
        self.sequence = self.sequence.wrapping_add(1);
        let request = self.request(payload_octets.min(PAYLOAD_MAX));
        let sent = now();
        self.socket.send_to(&request, &self.destination.into())?;
        let deadline = sent + timeout;
        loop {
            match self.look() {
                Look::Answered => return Ok(Some(now().duration_since(sent))),
                Look::Refused => return Ok(None),
                Look::Nothing => {}
            }
            if !self.wait_until(deadline)? {
                return Ok(None);
            }
        }
    }

    fn wait_until(&self, deadline: Instant) -> io::Result<bool> {
        let left = deadline.saturating_duration_since(now());
        if left.is_zero() {
            return Ok(false);
        }
        wait_for(&self.socket, Interest::Readable, Some(left)).map(|_| true)
    }

    /// Reads what waits until the answer to the last request appears.
    fn look(&mut self) -> Look {
        let mut control = Control::EMPTY;
        for _ in 0..PACKETS_PER_LOOK_MAX {
            let Ok(received) = receive_one(self.socket.as_fd(), &mut self.buffer, &mut control, 0)
            else {
                // Nothing waits; or it is an error about our request, of which no more is known.
                return Look::Nothing;
            };
            let Some(from) = received.remote.map(|from| from.ip()) else { continue };
            let message = self.message(self.buffer.get(..received.length).unwrap_or_default());
            if from == self.destination.ip() && self.is_answer(message) {
                return Look::Answered;
            }
            if let Some((sequence, icmp)) = self.refused(message) {
                self.refusal = Some(Refusal { from, icmp });
                if sequence == self.sequence {
                    return Look::Refused;
                }
            }
        }
        Look::Nothing
    }

    /// The ICMP message in what was read: raw sockets of IPv4 deliver the IP header, too.
    fn message<'a>(&self, octets: &'a [u8]) -> &'a [u8] {
        let header = match (self.kernel_identifier, self.destination.is_ipv4(), octets.first()) {
            (false, true, Some(first)) => usize::from(first & 0x0f) * 4,
            _ => 0,
        };
        octets.get(header..).unwrap_or_default()
    }

    fn is_answer(&self, message: &[u8]) -> bool {
        let [kind, 0, _, _, i0, i1, s0, s1, ..] = *message else {
            return false;
        };
        let reply = if self.destination.is_ipv4() { V4_ECHO_REPLY } else { V6_ECHO_REPLY };
        let ours = self.kernel_identifier || u16::from_be_bytes([i0, i1]) == self.identifier;
        kind == reply && ours && u16::from_be_bytes([s0, s1]) == self.sequence
    }

    /// The number of our request, and type and code, if a message is an ICMP error that quotes one.
    fn refused(&self, message: &[u8]) -> Option<(u16, Icmp)> {
        let [kind, code, _, _, _, _, _, _, quote @ ..] = message else { return None };
        let icmp = Icmp { kind: *kind, code: *code };
        // A redirect or a plea to send less refuses nothing.
        let (refuses, protocol, request) = if self.destination.is_ipv4() {
            let errors = [Icmp::UNREACHABLE, Icmp::TIME_EXCEEDED, Icmp::PARAMETER_PROBLEM];
            (errors.contains(kind), IpProtocol::ICMP, V4_ECHO_REQUEST)
        } else {
            // RFC 4443 §2.1: the errors have the lower half of the numbers.
            (*kind < V6_ECHO_REQUEST, IpProtocol::ICMPV6, V6_ECHO_REQUEST)
        };
        let about = IpPacket::read_quoted(quote).ok().filter(|_| refuses)?;
        let is_ours = about.dst() == self.destination.ip() && about.protocol() == protocol;
        let (identifier, sequence) = echo_marks(about.payload()).filter(|_| is_ours)?;
        let is_request = about.payload().first() == Some(&request);
        (is_request && identifier == self.identifier).then_some((sequence, icmp))
    }

    fn request(&self, payload_octets: usize) -> Vec<u8> {
        let v4 = self.destination.is_ipv4();
        let kind = if v4 { V4_ECHO_REQUEST } else { V6_ECHO_REQUEST };
        let mut message = vec![kind, 0, 0, 0];
        message.extend(self.identifier.to_be_bytes());
        message.extend(self.sequence.to_be_bytes());
        message.extend((0..=u8::MAX).cycle().take(payload_octets));
        // For ICMPv6 the kernel sums up, as the pseudo header needs addresses.
        if v4 {
            let sum = checksum(&message);
            Writer(&mut message).patch_u16(2, sum);
        }
        message
    }
}

/// Identifier and sequence number (RFC 792).
pub(crate) fn echo_marks(message: &[u8]) -> Option<(u16, u16)> {
    let [_, 0, _, _, i0, i1, s0, s1, ..] = *message else { return None };
    Some((u16::from_be_bytes([i0, i1]), u16::from_be_bytes([s0, s1])))
}

/// Octets before the payload of a request: the headers of IP, without options, and of ICMP.
#[must_use]
pub fn header_octets(destination: IpAddr) -> usize {
    if destination.is_ipv4() { 20 + 8 } else { 40 + 8 }
}

/// Largest payload of a request.
pub const PAYLOAD_MAX: usize = 65_000;
const PACKET_MAX: usize = 65_536;
/// Foreign packets passed over between two looks at the clock.
const PACKETS_PER_LOOK_MAX: usize = 64;
pub(crate) const V4_ECHO_REPLY: u8 = 0;
pub(crate) const V4_ECHO_REQUEST: u8 = 8;
pub(crate) const V6_ECHO_REQUEST: u8 = 128;
pub(crate) const V6_ECHO_REPLY: u8 = 129;

#[cfg(test)]
mod tests {
    use adit_wire::ip::IcmpReport;

    use super::*;

    fn pinger(to: &str) -> Option<Pinger> {
        // Without the privilege there is nothing to be tried.
        Pinger::open(to.parse().unwrap(), None).ok().filter(|pinger| !pinger.kernel_identifier)
    }

    /// An IP packet to `to` with this message.
    fn packet(to: IpAddr, message: &[u8]) -> Vec<u8> {
        let len = u16::try_from(message.len()).unwrap();
        match to {
            IpAddr::V4(to) => {
                let head = [0x45, 0, 0, 0, 0, 0, 0, 0, 64, 1, 0, 0, 10, 1, 0, 1];
                let mut octets = [&head[..], &to.octets(), message].concat();
                octets[2..4].copy_from_slice(&(len + 20).to_be_bytes());
                let sum = checksum(&octets[..20]).to_be_bytes();
                octets[10..12].copy_from_slice(&sum);
                octets
            }
            IpAddr::V6(to) => {
                let head = [&[0x60, 0, 0, 0][..], &len.to_be_bytes(), &[58, 64], &[0xfd; 16]];
                [&head.concat()[..], &to.octets(), message].concat()
            }
        }
    }

    /// An error about our own request is heard, whatever its quote leaves out; others' are not.
    #[test]
    fn errors_about_our_requests_are_told_from_others() {
        for to in ["10.2.0.77", "fd02::77"] {
            let Some(mut pinger) = pinger(to) else { return };
            let address: IpAddr = to.parse().unwrap();
            (pinger.identifier, pinger.sequence) = (0x4711, 3);
            let error = |request: &[u8], report: IcmpReport| {
                let about = packet(address, request);
                let mut out = vec![0; 1_280];
                let from = if address.is_ipv4() { "10.2.0.1" } else { "fd02::1" };
                let about = IpPacket::read(&about).unwrap();
                let len = report.write(&about, from.parse().unwrap(), &mut out).unwrap();
                let header = if address.is_ipv4() { 20 } else { 40 };
                out[header..len].to_vec()
            };
            let unreachable = || IcmpReport::unreachable(address.is_ipv4(), 1);
            let request = pinger.request(600);
            let icmp = Icmp {
                kind: if address.is_ipv4() { Icmp::UNREACHABLE } else { Icmp::UNREACHABLE_V6 },
                code: 1,
            };
            assert_eq!(pinger.refused(&error(&request, unreachable())), Some((3, icmp)), "{to}");
            assert!(!pinger.is_answer(&error(&request, unreachable())));
            let mut foreign = request.clone();
            foreign[5] ^= 1;
            assert_eq!(pinger.refused(&error(&foreign, unreachable())), None);
            let mut reply = request.clone();
            reply[0] = if address.is_ipv4() { V4_ECHO_REPLY } else { V6_ECHO_REPLY };
            assert_eq!(pinger.refused(&reply), None);
            let whole = error(&request, unreachable());
            for len in 0..whole.len().min(60) {
                let _ = pinger.refused(&whole[..len]);
            }
        }
    }

    #[test]
    fn what_is_too_big_is_known_by_type_and_code() {
        let refusal = |from: &str, kind, code| {
            Refusal { from: from.parse().unwrap(), icmp: Icmp { kind, code } }.is_too_big()
        };
        assert!(refusal("10.2.0.1", 3, 4) && refusal("fd02::1", 2, 0) && refusal("fd02::1", 2, 9));
        assert!(
            !refusal("10.2.0.1", 3, 1) && !refusal("fd02::1", 1, 4) && !refusal("10.2.0.1", 2, 0)
        );
    }
}
