//! Notices that the network of the host has changed.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::route::RouteAttribute;
use netlink_packet_route::rule::RuleAttribute;
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

use super::{BUFFER_OCTETS, Payload, parse};
use crate::error::SysError;

/// Something about the host's network changed; coarse, as the only use is to try again.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum NetworkChange {
    /// An interface came, went or changed its state.
    Link {
        /// Its number.
        interface: u32,
    },
    /// An interface got or lost an address.
    Address {
        /// Its number.
        interface: u32,
    },
    /// A routing table changed.
    Route {
        /// The table.
        table: u32,
    },
    /// A policy rule came or went.
    Rule,
    /// There were more changes than the kernel could queue.
    Overrun,
}

/// A subscription to changes of links, addresses, routes and rules in the namespace of its creator.
#[derive(Debug)]
pub struct Monitor {
    socket: Socket,
    buffer: Box<[u8]>,
    ignored_table: Option<u32>,
}

impl Monitor {
    /// Subscribes; changes of routes in `ignored_table` (our own) and of rules that lead to it are
    /// not reported.
    ///
    /// # Errors
    ///
    /// [`SysError::Io`].
    pub fn open(ignored_table: Option<u32>) -> Result<Self, SysError> {
        let open = || -> io::Result<Socket> {
            let mut socket = Socket::new(NETLINK_ROUTE)?;
            socket.bind(&SocketAddr::new(0, GROUPS))?;
            socket.set_non_blocking(true)?;
            Ok(socket)
        };
        let socket = open().map_err(|error| SysError::of("open netlink monitor", error))?;
        let buffer = vec![0; BUFFER_OCTETS].into_boxed_slice();
        Ok(Self { socket, buffer, ignored_table })
    }

    /// Reads what has changed since the last call; empty if nothing has. Never waits.
    ///
    /// # Errors
    ///
    /// What reading the socket answers, other than "nothing there" and "too much".
    pub fn poll_changes(&mut self) -> io::Result<Vec<NetworkChange>> {
        let mut changes = Vec::new();
        for _ in 0..DATAGRAMS_MAX {
            match self.socket.recv(&mut &mut self.buffer[..], 0) {
                Ok(length) => self.read(length, &mut changes),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.raw_os_error() == Some(nix::libc::ENOBUFS) => {
                    note(&mut changes, NetworkChange::Overrun);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(changes)
    }

    fn read(&self, length: usize, changes: &mut Vec<NetworkChange>) {
        let octets = self.buffer.get(..length).unwrap_or_default();
        let Ok(payloads) = parse(octets, None) else {
            return note(changes, NetworkChange::Overrun);
        };
        for payload in payloads {
            if let Payload::Message(message) = payload
                && let Some(change) = self.change(&message)
            {
                note(changes, change);
            }
        }
    }

    fn change(&self, message: &RouteNetlinkMessage) -> Option<NetworkChange> {
        match message {
            RouteNetlinkMessage::NewLink(m) | RouteNetlinkMessage::DelLink(m) => {
                Some(NetworkChange::Link { interface: m.header.index })
            }
            RouteNetlinkMessage::NewAddress(m) | RouteNetlinkMessage::DelAddress(m) => {
                Some(NetworkChange::Address { interface: m.header.index })
            }
            RouteNetlinkMessage::NewRoute(m) | RouteNetlinkMessage::DelRoute(m) => {
                let wide = m.attributes.iter().find_map(|attribute| match attribute {
                    RouteAttribute::Table(table) => Some(*table),
                    _ => None,
                });
                let table = wide.unwrap_or_else(|| m.header.table.into());
                (Some(table) != self.ignored_table).then_some(NetworkChange::Route { table })
            }
            RouteNetlinkMessage::NewRule(m) | RouteNetlinkMessage::DelRule(m) => {
                let wide = m.attributes.iter().find_map(|attribute| match attribute {
                    RuleAttribute::Table(table) => Some(*table),
                    _ => None,
                });
                let table = wide.unwrap_or_else(|| m.header.table.into());
                (Some(table) != self.ignored_table).then_some(NetworkChange::Rule)
            }
            _ => None,
        }
    }
}

impl AsFd for Monitor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn note(changes: &mut Vec<NetworkChange>, change: NetworkChange) {
    if !changes.contains(&change) && changes.len() < CHANGES_MAX {
        changes.push(change);
    }
}

/// RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV4_ROUTE, RTMGRP_IPV4_RULE, RTMGRP_IPV6_IFADDR,
/// RTMGRP_IPV6_ROUTE, and the group RTNLGRP_IPV6_RULE (19) as a bit.
const GROUPS: u32 = 0x1 | 0x10 | 0x40 | 0x80 | 0x100 | 0x400 | (1 << 18);
/// Datagrams read by one call.
const DATAGRAMS_MAX: usize = 256;
/// Different changes reported by one call.
const CHANGES_MAX: usize = 64;
