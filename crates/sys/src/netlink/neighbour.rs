//! Neighbours on a link (rtnetlink RTM_GETNEIGH), asked for one at a time.

use std::io;
use std::net::IpAddr;

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkLayerType, LinkMessage};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};

use super::{Family, Netlink};
use crate::error::SysError;

/// An Ethernet interface that is up.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct EthernetLink {
    /// Our address on the link.
    pub ours: [u8; 6],
    /// Largest IP packet of the link, octets.
    pub mtu: u32,
}

impl Netlink {
    /// What an interface, given by its number, puts into its Ethernet frames; `None` if it is no
    /// Ethernet, knows no neighbours or is down.
    ///
    /// # Errors
    ///
    /// [`SysError::Io`]: there is no such interface, or no answer (EAGAIN).
    pub fn ethernet_link(&mut self, interface: u32) -> Result<Option<EthernetLink>, SysError> {
        let mut request = LinkMessage::default();
        request.header.index = interface;
        let answer = self
            .query(RouteNetlinkMessage::GetLink(request))
            .map_err(|error| SysError::of("look up interface", error))?;
        let RouteNetlinkMessage::NewLink(link) = answer else {
            return Err(SysError::UnexpectedAnswer { operation: "look up interface" });
        };
        let usable = link.header.link_layer_type == LinkLayerType::Ether
            && link.header.flags.contains(LinkFlags::Up | LinkFlags::Running)
            && !link.header.flags.intersects(LinkFlags::Noarp | LinkFlags::Loopback);
        let ours = link.attributes.iter().find_map(|attribute| match attribute {
            LinkAttribute::Address(octets) => octets.as_slice().try_into().ok(),
            _ => None,
        });
        let mtu = link.attributes.iter().find_map(|attribute| match attribute {
            LinkAttribute::Mtu(mtu) => Some(*mtu),
            _ => None,
        });
        let (true, Some(ours), Some(mtu)) = (usable, ours, mtu) else { return Ok(None) };
        Ok(Some(EthernetLink { ours, mtu }))
    }

    /// The Ethernet address of a neighbour on an interface, given by its number; `None` if nobody has
    /// found out where the neighbour is.
    ///
    /// # Errors
    ///
    /// [`SysError::Io`]: no answer (EAGAIN).
    pub fn ethernet_neighbour(
        &mut self,
        interface: u32,
        address: IpAddr,
    ) -> Result<Option<[u8; 6]>, SysError> {
        let mut request = NeighbourMessage::default();
        request.header.family = Family::of(address).netlink();
        request.header.ifindex = interface;
        let destination = match address {
            IpAddr::V4(address) => NeighbourAddress::Inet(address),
            IpAddr::V6(address) => NeighbourAddress::Inet6(address),
        };
        request.attributes.push(NeighbourAttribute::Destination(destination));
        let found = match self.query(RouteNetlinkMessage::GetNeighbour(request)) {
            Ok(RouteNetlinkMessage::NewNeighbour(found)) => found,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(SysError::of("look up neighbour", error));
            }
            // The kernel says ENOENT of those that it has not heard of.
            _ => return Ok(None),
        };
        let known = matches!(
            found.header.state,
            NeighbourState::Reachable
                | NeighbourState::Stale
                | NeighbourState::Delay
                | NeighbourState::Probe
                | NeighbourState::Permanent
        );
        Ok(found.attributes.iter().filter(|_| known).find_map(|attribute| match attribute {
            NeighbourAttribute::LinkLayerAddress(octets) => octets.as_slice().try_into().ok(),
            _ => None,
        }))
    }
}
