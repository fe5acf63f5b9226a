//! Addresses of interfaces (rtnetlink RTM_*ADDR).

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use ipnet::IpNet;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressScope,
};

use super::{Family, Link, Netlink, RouteKind};
use crate::clock::now;
use crate::error::SysError;

/// An address of an interface.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Address {
    /// Number of the interface.
    pub interface: u32,
    /// The address with the length of its network's prefix.
    pub network: IpNet,
    /// Whether it is meant for use beyond this host and link.
    pub global: bool,
    /// Whether it can be a source address now: duplicate detection is over, its lifetime is not.
    pub usable: bool,
}

impl Address {
    /// The address itself.
    #[must_use]
    pub fn address(&self) -> IpAddr {
        self.network.addr()
    }
}

impl Netlink {
    /// All addresses of all interfaces.
    ///
    /// # Errors
    ///
    /// [`SysError::Io`].
    pub fn addresses(&mut self) -> Result<Vec<Address>, SysError> {
        let found = self
            .dump(&RouteNetlinkMessage::GetAddress(AddressMessage::default()))
            .map_err(|error| SysError::of("list addresses", error))?;
        Ok(found
            .iter()
            .filter_map(|message| match message {
                RouteNetlinkMessage::NewAddress(message) => read(message),
                _ => None,
            })
            .collect())
    }

    /// Gives an interface an address; one that is there already is no error.
    ///
    /// IPv6 duplicate address detection is skipped: the address is usable soon, see
    /// [`Self::wait_until_ready`].
    ///
    /// # Errors
    ///
    /// [`SysError::NotPermitted`], [`SysError::FamilyUnsupported`] where IPv6 is switched off,
    /// [`SysError::Io`].
    pub fn add_address(&mut self, interface: u32, network: IpNet) -> Result<(), SysError> {
        let mut request = message(interface, network);
        if let IpNet::V4(v4) = network
            && v4.prefix_len() < 31
        {
            request.attributes.push(AddressAttribute::Broadcast(v4.broadcast()));
        }
        if network.addr().is_ipv6() {
            request.header.flags = AddressHeaderFlags::Nodad;
        }
        let request = RouteNetlinkMessage::NewAddress(request);
        self.ensure_present(request).map_err(|error| SysError::of_family("add address", error))
    }

    /// Waits until an interface can carry packets and all its addresses can be used; `false` if
    /// `timeout` passed first.
    ///
    /// IPv6 is ready some milliseconds after a link comes up, and what is sent before costs a
    /// second until neighbour discovery tries again. Packets to a new IPv6 address are refused
    /// until the kernel, in its own time, has made the route that says it is ours. Both ends of a
    /// veth pair must be up.
    ///
    /// # Errors
    ///
    /// [`SysError::Io`].
    pub fn wait_until_ready(
        &mut self,
        interface: u32,
        timeout: Duration,
    ) -> Result<bool, SysError> {
        let deadline = now() + timeout;
        loop {
            let running = |link: &Link| link.index == interface && link.running;
            let is_running = self.links()?.iter().any(running);
            let mut addresses = self.addresses()?;
            addresses.retain(|found| found.interface == interface);
            if is_running && addresses.iter().all(|found| found.usable && self.is_ours(found)) {
                return Ok(true);
            }
            if now() >= deadline {
                return Ok(false);
            }
            std::thread::sleep(READY_POLL);
        }
    }

    /// Whether packets to an address are delivered here. Addresses of a link are believed: one may
    /// be that of several links.
    fn is_ours(&mut self, address: &Address) -> bool {
        let mut found = || self.lookup_route(address.address(), None, 0);
        !address.global || found().is_ok_and(|route| route.kind == RouteKind::Local)
    }

    /// Takes an address from an interface; one that is gone is no error.
    ///
    /// # Errors
    ///
    /// [`SysError::NotPermitted`], [`SysError::Io`].
    pub fn delete_address(&mut self, interface: u32, network: IpNet) -> Result<(), SysError> {
        let request = RouteNetlinkMessage::DelAddress(message(interface, network));
        self.ensure_absent(request).map_err(|error| SysError::of("remove address", error))
    }
}

/// Time between two looks of [`Netlink::wait_until_ready`].
const READY_POLL: Duration = Duration::from_millis(2);

fn message(interface: u32, network: IpNet) -> AddressMessage {
    let address = network.addr();
    let mut message = AddressMessage::default();
    message.header.family = Family::of(address).netlink();
    message.header.prefix_len = network.prefix_len();
    message.header.index = interface;
    message.attributes.push(AddressAttribute::Local(address));
    message.attributes.push(AddressAttribute::Address(address));
    message
}

fn read(message: &AddressMessage) -> Option<Address> {
    // On point-to-point links `Address` is the other end; `Local` is ours where it exists.
    let mut ours = None;
    let mut flags = AddressFlags::from_bits_retain(message.header.flags.bits().into());
    for attribute in &message.attributes {
        if let AddressAttribute::Local(address) = attribute {
            ours = Some(*address);
        } else if let AddressAttribute::Address(address) = attribute {
            ours = ours.or(Some(*address));
        } else if let AddressAttribute::Flags(wide) = attribute {
            flags |= *wide;
        }
    }
    let network = IpNet::new(ours?, message.header.prefix_len).ok()?;
    let unusable = AddressFlags::Tentative | AddressFlags::Dadfailed | AddressFlags::Deprecated;
    Some(Address {
        interface: message.header.index,
        network,
        global: message.header.scope == AddressScope::Universe
            && network.addr() != IpAddr::V4(Ipv4Addr::LOCALHOST),
        usable: !flags.intersects(unusable),
    })
}
