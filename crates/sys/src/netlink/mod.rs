//! A synchronous rtnetlink client: links, addresses, routes and rules of one namespace.
//!
//! RFC 3549 describes the protocol. A [`Netlink`] belongs to the namespace of the thread that
//! opened it, whichever thread uses it later.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "the kernel's messages and attributes are open-ended, and most are not for us"
)]

mod address;
mod link;
mod monitor;
mod neighbour;
mod route;
mod rule;
mod xfrm_link;

use std::io;
use std::time::Duration;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage,
    NetlinkPayload,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use nix::sys::socket::{setsockopt, sockopt};
use nix::sys::time::{TimeVal, TimeValLike};

pub use self::address::Address;
pub use self::link::Link;
pub use self::monitor::{Monitor, NetworkChange};
pub use self::neighbour::EthernetLink;
pub use self::route::{Route, RouteKind, RouteLookup};
pub use self::rule::{Rule, RuleAction};
pub use self::xfrm_link::{IF_ID_FIRST, IF_ID_LAST};
use crate::error::SysError;

/// Version of the Internet Protocol.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both, IPv4 first.
    pub const BOTH: [Self; 2] = [Self::V4, Self::V6];

    /// The family of an address.
    #[must_use]
    pub fn of(address: std::net::IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    fn netlink(self) -> AddressFamily {
        match self {
            Self::V4 => AddressFamily::Inet,
            Self::V6 => AddressFamily::Inet6,
        }
    }
}

/// A connection to the kernel's routing tables.
#[derive(Debug)]
pub struct Netlink {
    socket: Socket,
    sequence: u32,
    buffer: Box<[u8]>,
}

impl Netlink {
    /// Connects to the namespace of the calling thread.
    ///
    /// # Errors
    ///
    /// [`SysError::Io`]: too many open files.
    pub fn open() -> Result<Self, SysError> {
        let open = || -> io::Result<Socket> {
            let mut socket = Socket::new(NETLINK_ROUTE)?;
            socket.bind_auto()?;
            socket.connect(&SocketAddr::new(0, 0))?;
            // The kernel answers at once; should it not, an error is better than a hang.
            setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::seconds(TIMEOUT_S))?;
            // Lets the kernel filter a dump by table; older ones ignore the request.
            let _ = socket.set_netlink_get_strict_chk(true);
            Ok(socket)
        };
        let socket = open().map_err(|error| SysError::of("open netlink socket", error))?;
        Ok(Self { socket, sequence: 0, buffer: vec![0; BUFFER_OCTETS].into_boxed_slice() })
    }

    /// Sets how long an answer may take, rounded up to microseconds; then the error is EAGAIN.
    ///
    /// # Errors
    ///
    /// [`SysError::Io`].
    pub fn set_patience(&mut self, patience: Duration) -> Result<(), SysError> {
        let micros = i64::try_from(patience.as_nanos().div_ceil(1_000)).unwrap_or(i64::MAX);
        let timeout = TimeVal::microseconds(micros.max(1));
        setsockopt(&self.socket, sockopt::ReceiveTimeout, &timeout)
            .map_err(|errno| SysError::of("configure netlink socket", errno))
    }

    /// Sends a change and waits for the kernel's verdict.
    fn change(&mut self, message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        self.send(message, NLM_F_REQUEST | NLM_F_ACK | flags)?;
        loop {
            for payload in self.receive()? {
                match payload {
                    Payload::Error(Some(error)) => return Err(error),
                    Payload::Error(None) => return Ok(()),
                    Payload::Done { .. } | Payload::Message(_) => {}
                }
            }
        }
    }

    /// Like [`Self::change`], content if the thing is there already.
    fn ensure_present(&mut self, message: RouteNetlinkMessage) -> io::Result<()> {
        let result = self.change(message, NLM_F_CREATE | NLM_F_EXCL);
        unless(result, &[nix::libc::EEXIST])
    }

    /// Like [`Self::change`], content if the thing is gone already.
    fn ensure_absent(&mut self, message: RouteNetlinkMessage) -> io::Result<()> {
        const GONE: [i32; 4] =
            [nix::libc::ENOENT, nix::libc::ESRCH, nix::libc::ENODEV, nix::libc::EADDRNOTAVAIL];
        let result = self.change(message, 0);
        unless(result, &GONE)
    }

    /// Asks one question that has one answer.
    fn query(&mut self, message: RouteNetlinkMessage) -> io::Result<RouteNetlinkMessage> {
        self.send(message, NLM_F_REQUEST)?;
        loop {
            for payload in self.receive()? {
                match payload {
                    Payload::Error(Some(error)) => return Err(error),
                    Payload::Message(message) => return Ok(message),
                    Payload::Error(None) | Payload::Done { .. } => {}
                }
            }
        }
    }

    /// Lists a table of the kernel, again if it changed meanwhile.
    fn dump(&mut self, message: &RouteNetlinkMessage) -> io::Result<Vec<RouteNetlinkMessage>> {
        let mut last = Vec::new();
        for _ in 0..DUMPS_MAX {
            self.send(message.clone(), NLM_F_REQUEST | NLM_F_DUMP)?;
            let (found, interrupted) = self.receive_dump()?;
            last = found;
            if !interrupted {
                break;
            }
        }
        Ok(last)
    }

    fn receive_dump(&mut self) -> io::Result<(Vec<RouteNetlinkMessage>, bool)> {
        let mut found = Vec::new();
        let mut any_interrupted = false;
        loop {
            for payload in self.receive()? {
                match payload {
                    Payload::Message(message) => found.push(message),
                    Payload::Done { interrupted } => {
                        return Ok((found, any_interrupted || interrupted));
                    }
                    Payload::Error(Some(error)) => return Err(error),
                    Payload::Error(None) => any_interrupted = true,
                }
            }
        }
    }

    fn send(&mut self, message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = flags;
        header.sequence_number = self.sequence;
        let mut request = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(message));
        request.finalize();
        let mut octets = vec![0; request.buffer_len()];
        request.serialize(&mut octets);
        self.socket.send(&octets, 0).map(drop)
    }

    /// Reads one datagram; answers to earlier requests are skipped.
    fn receive(&mut self) -> io::Result<Vec<Payload>> {
        let length = self.socket.recv(&mut &mut self.buffer[..], 0)?;
        let octets = self.buffer.get(..length).unwrap_or_default();
        parse(octets, Some(self.sequence))
    }
}

/// Success instead of one of `errors`.
fn unless(result: io::Result<()>, errors: &[i32]) -> io::Result<()> {
    match result {
        Err(error) if error.raw_os_error().is_some_and(|code| errors.contains(&code)) => Ok(()),
        result => result,
    }
}

/// One message of the kernel.
enum Payload {
    Message(RouteNetlinkMessage),
    /// The verdict; `None` is success.
    Error(Option<io::Error>),
    Done {
        interrupted: bool,
    },
}

/// Splits a datagram into its messages; with `sequence`, only those that answer that request.
fn parse(octets: &[u8], sequence: Option<u32>) -> io::Result<Vec<Payload>> {
    let malformed = || io::Error::from(io::ErrorKind::InvalidData);
    let mut payloads = Vec::new();
    let mut rest = octets;
    while !rest.is_empty() {
        let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest);
        let length = message_length(rest).ok_or_else(malformed)?;
        // Messages are aligned to four octets; the last one may lack its padding.
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        let Ok(message) = message else {
            // A kernel newer than the packet library: skip what it cannot read.
            tracing::debug!(length, "unreadable netlink message");
            continue;
        };
        let (header, payload) = message.into_parts();
        if sequence.is_some_and(|expected| header.sequence_number != expected) {
            continue;
        }
        let interrupted = header.flags & DUMP_INTERRUPTED != 0;
        match payload {
            NetlinkPayload::InnerMessage(message) => payloads.push(Payload::Message(message)),
            NetlinkPayload::Error(error) => {
                let code = error.code.map(|_| error.to_io());
                payloads.push(Payload::Error(code));
            }
            NetlinkPayload::Done(_) => payloads.push(Payload::Done { interrupted }),
            _ => {}
        }
    }
    Ok(payloads)
}

/// The length field of the message at the front; `None` if it cannot be right.
fn message_length(octets: &[u8]) -> Option<usize> {
    let length = u32::from_ne_bytes(*octets.first_chunk()?);
    let length = usize::try_from(length).ok()?;
    (length >= MESSAGE_HEADER_OCTETS && length <= octets.len()).then_some(length)
}

/// Longest wait for an answer of the kernel.
const TIMEOUT_S: i64 = 10;
/// The kernel never sends a larger datagram than 32 KiB to a reader of this size.
const BUFFER_OCTETS: usize = 65_536;
/// `struct nlmsghdr`.
const MESSAGE_HEADER_OCTETS: usize = 16;
/// NLM_F_DUMP_INTR has the value of no other flag that appears in answers.
const DUMP_INTERRUPTED: u16 = 0x10;
/// Tries to get a consistent listing; then the last one must do.
const DUMPS_MAX: u8 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nonsense_is_an_error_and_no_loop() {
        assert!(parse(&[0; 40], None).is_err());
        assert!(parse(&[255; 3], None).is_err());
        assert!(parse(&[], None).unwrap().is_empty());
    }

    #[test]
    fn missing_interfaces_are_named() {
        let mut netlink = Netlink::open().unwrap();
        let error = netlink.link_by_name("no-such-if").unwrap_err();
        assert!(matches!(&error, SysError::InterfaceMissing { name } if name == "no-such-if"));
    }

    #[test]
    fn loopback_is_listed_everywhere() {
        let mut netlink = Netlink::open().unwrap();
        assert!(netlink.links().unwrap().iter().any(|link| link.name == "lo"));
    }
}
