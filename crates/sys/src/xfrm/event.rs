//! What the kernel tells unasked: acquire, expire, and a peer behind a NAT that moved.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};

use adit_wire::esp::Spi;
use adit_wire::iana::IpProtocol;
use adit_wire::ip::FlowKey;
use netlink_sys::{Socket, SocketAddr as NetlinkAddress, protocols::NETLINK_XFRM};

use super::octets::{ACQUIRE, EXPIRE, MAPPING, View, XFRMA_TMPL};
use super::policy::reqid_of_template;
use super::selector::Selector;
use super::state::{INFO_OCTETS, StateId, StateInfo, body};
use super::{BUFFER_OCTETS, Missing, messages};
use crate::error::SysError;

/// One thing the kernel told.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Event {
    /// A packet met a policy whose SAs do not exist. The packet itself is dropped.
    Acquire {
        /// The number of the policy's template.
        reqid: u32,
        /// The packet.
        flow: FlowKey,
    },
    /// An SA has reached a limit.
    Expire {
        /// Its outer destination.
        destination: IpAddr,
        /// ESP or AH.
        protocol: IpProtocol,
        /// Its SPI.
        spi: Spi,
        /// The hard limit: the kernel has deleted the SA.
        hard: bool,
    },
    /// An authentic packet in UDP came from another address or port than the SA has.
    Moved {
        /// The SPI of the SA it came in on.
        spi: Spi,
        /// Where it came from.
        remote: SocketAddr,
    },
    /// There was more to tell than the kernel could queue.
    Overrun,
}

/// Reads a message without its header; `None` if it is nothing for us.
pub(super) fn read_event(kind: u16, view: View<'_>) -> Option<Event> {
    match kind {
        ACQUIRE => read_acquire(view),
        EXPIRE => {
            let StateInfo { id, .. } = StateInfo::read_info(view)?;
            let hard = view.u8(INFO_OCTETS)? != 0;
            let StateId { destination, protocol, spi, .. } = id;
            Some(Event::Expire { destination, protocol, spi, hard })
        }
        MAPPING => {
            let address = view.address(44, view.u16(20)?)?;
            let remote = SocketAddr::new(address, view.be16(62)?);
            Some(Event::Moved { spi: Spi(view.be32(16)?), remote })
        }
        _ => None,
    }
}

/// `struct xfrm_user_acquire`.
fn read_acquire(view: View<'_>) -> Option<Event> {
    let selector = Selector::read(View(view.0.get(40..)?))?;
    let template = view.attributes(ACQUIRE_OCTETS).find_kind(XFRMA_TMPL)?;
    Some(Event::Acquire { reqid: reqid_of_template(template)?, flow: selector.flow() })
}

const ACQUIRE_OCTETS: usize = 280;

/// A subscription to the kernel's news in the namespace of its creator.
#[derive(Debug)]
pub struct EventSocket {
    socket: Socket,
    buffer: Box<[u8]>,
}

impl EventSocket {
    /// Subscribes.
    ///
    /// # Errors
    ///
    /// [`Missing::Xfrm`], [`Missing::System`].
    pub fn open() -> Result<Self, Missing> {
        let open = || -> io::Result<Socket> {
            let mut socket = Socket::new(NETLINK_XFRM)?;
            socket.bind(&NetlinkAddress::new(0, GROUPS))?;
            socket.set_non_blocking(true)?;
            Ok(socket)
        };
        let socket =
            open().map_err(|error| Missing::of_socket("watch the kernel's IPsec", error))?;
        Ok(Self { socket, buffer: vec![0; BUFFER_OCTETS].into_boxed_slice() })
    }

    /// What the kernel has told since the last call; empty if nothing. Never waits.
    ///
    /// # Errors
    ///
    /// What reading the socket answers, other than "nothing there" and "too much".
    pub fn poll(&mut self) -> Result<Vec<Event>, SysError> {
        let mut events = Vec::new();
        for _ in 0..DATAGRAMS_MAX {
            match self.socket.recv(&mut &mut self.buffer[..], 0) {
                Ok(length) => {
                    let octets = self.buffer.get(..length).unwrap_or_default();
                    events.extend(
                        messages(octets)
                            .filter_map(|(kind, _, message)| read_event(kind, body(message))),
                    );
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.raw_os_error() == Some(nix::libc::ENOBUFS) => {
                    events.push(Event::Overrun);
                }
                Err(error) => return Err(SysError::of("watch the kernel's IPsec", error)),
            }
        }
        Ok(events)
    }
}

impl AsFd for EventSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// XFRMNLGRP_ACQUIRE (1), XFRMNLGRP_EXPIRE (2) and XFRMNLGRP_MAPPING (8) as bits.
const GROUPS: u32 = 1 | 1 << 1 | 1 << 7;
/// Datagrams read in one go, so that a flood does not keep the caller.
const DATAGRAMS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    /// As `struct xfrm_user_expire` of a 6.1 kernel has it, cut anywhere: no panic, no event.
    #[test]
    fn messages_cut_short_are_no_events() {
        for kind in [ACQUIRE, EXPIRE, MAPPING, 0x7f] {
            for length in [0, 1, 40, 63, 96, 223, 224, 279, 280, 283] {
                assert_eq!(read_event(kind, View(&vec![0xff; length])), None, "{kind} {length}");
            }
        }
    }
}
