//! The daemon's network: its namespace, and how packets to an address leave there.

use std::net::IpAddr;
use std::path::PathBuf;

use adit_db::Dscp;
use adit_mgmt::api::{self, Why};
use adit_mgmt::vici::Request;
use adit_sys::netlink::Netlink;
use adit_sys::netns::{Namespace, join_user_namespace_of};
use adit_sys::ping::{Pinger, header_octets};
use adit_wire::iana::IpProtocol;
use adit_wire::ip::FlowKey;

use crate::daemon::Daemon;
use crate::error::Error;

/// Moves the calling thread into the daemon's network namespace, if it is another one: what this
/// program sends would go past the tunnels otherwise. Connections stay what they are.
///
/// # Errors
///
/// [`Error::System`] without the privilege to do so.
pub(crate) fn enter(daemon: &Daemon) -> Result<(), Error> {
    let process = daemon.process()?;
    let theirs = PathBuf::from(format!("/proc/{process}/ns/net"));
    let name = |path: &PathBuf| std::fs::read_link(path);
    let own = name(&PathBuf::from("/proc/thread-self/ns/net"));
    let (Ok(theirs_name), Ok(own)) = (name(&theirs), own) else {
        // Another user's daemon does not show where it is: then it is taken to be here.
        return Ok(());
    };
    if theirs_name == own {
        return Ok(());
    }
    join_user_namespace_of(process)?;
    Ok(Namespace::open(&theirs)?.enter()?)
}

/// The longest packet to an address that the host sends whole, octets: what the interface and the
/// route take.
pub(crate) fn longest_packet(netlink: &mut Netlink, to: IpAddr) -> Option<u32> {
    let route = netlink.lookup_route(to, None, 0).ok()?;
    let link = netlink.links().ok()?.into_iter().find(|link| link.index == route.interface)?;
    Some(route.mtu.map_or(link.mtu, |mtu| mtu.min(link.mtu)))
}

/// What the daemon would do with an echo request.
pub(crate) fn why(daemon: &mut Daemon, from: IpAddr, to: IpAddr) -> Result<Why, Error> {
    // RFC 7296 §3.13.1: type and code in the place of ports.
    let (protocol, echo) = match to {
        IpAddr::V4(_) => (IpProtocol::ICMP, 8 << 8),
        IpAddr::V6(_) => (IpProtocol::ICMPV6, 128 << 8),
    };
    let flow = FlowKey::new(from, to, protocol.0, echo, echo);
    let request = Request::AditWhy { flow, dscp: Dscp::default(), interface: None };
    Ok(api::from_message(&daemon.call(&request, |_| Ok(()))?)?)
}

/// Somebody to send requests to, who may be asked from here.
pub(crate) fn pinger(to: IpAddr) -> Result<Pinger, Error> {
    Ok(Pinger::open(to, None)?)
}

/// The payload that makes a request a packet of so many octets.
pub(crate) fn payload_of(packet_octets: u32, to: IpAddr) -> usize {
    usize::try_from(packet_octets).unwrap_or(usize::MAX).saturating_sub(header_octets(to))
}
