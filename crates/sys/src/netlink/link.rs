//! Interfaces (rtnetlink RTM_*LINK).

use std::os::fd::{AsFd, AsRawFd};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage,
};

use super::Netlink;
use crate::error::SysError;

/// An interface.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Link {
    /// Its number in its namespace.
    pub index: u32,
    /// Its name in its namespace.
    pub name: String,
    /// Largest IP packet, octets.
    pub mtu: u32,
    /// Whether the operator has switched it on.
    pub up: bool,
    /// Whether it can carry packets now.
    pub running: bool,
    /// Whether it is a loopback interface.
    pub loopback: bool,
    /// Whether its frames have Ethernet headers.
    pub ethernet: bool,
}

impl Netlink {
    /// All interfaces, by number.
    ///
    /// # Errors
    ///
    /// [`SysError::Io`].
    pub fn links(&mut self) -> Result<Vec<Link>, SysError> {
        let found = self
            .dump(&RouteNetlinkMessage::GetLink(LinkMessage::default()))
            .map_err(|error| SysError::of("list interfaces", error))?;
        let mut links: Vec<Link> = found
            .iter()
            .filter_map(|message| match message {
                RouteNetlinkMessage::NewLink(message) => Some(read(message)),
                _ => None,
            })
            .collect();
        links.sort_by_key(|link| link.index);
        Ok(links)
    }

    /// One interface.
    ///
    /// # Errors
    ///
    /// [`SysError::InterfaceMissing`], [`SysError::Io`].
    pub fn link_by_name(&mut self, name: &str) -> Result<Link, SysError> {
        let missing = || SysError::InterfaceMissing { name: name.to_owned() };
        if !is_name(name) {
            return Err(missing());
        }
        let mut request = LinkMessage::default();
        request.attributes.push(LinkAttribute::IfName(name.to_owned()));
        match self.query(RouteNetlinkMessage::GetLink(request)) {
            Ok(RouteNetlinkMessage::NewLink(message)) => Ok(read(&message)),
            Ok(_) => Err(SysError::UnexpectedAnswer { operation: "look up interface" }),
            Err(error) if error.raw_os_error() == Some(nix::libc::ENODEV) => Err(missing()),
            Err(error) => Err(SysError::of("look up interface", error)),
        }
    }

    /// Makes a pair of Ethernet interfaces joined back to back, both in this namespace.
    ///
    /// # Errors
    ///
    /// [`SysError::InterfaceExists`], [`SysError::NotPermitted`], [`SysError::Io`].
    pub fn add_veth(&mut self, name: &str, peer: &str) -> Result<(Link, Link), SysError> {
        self.make_veth(name, peer, None)?;
        Ok((self.link_by_name(name)?, self.link_by_name(peer)?))
    }

    /// Makes a pair of Ethernet interfaces joined back to back, `name` in this namespace and
    /// `peer` in another.
    ///
    /// # Errors
    ///
    /// As [`Self::add_veth`].
    pub fn add_veth_to(
        &mut self,
        name: &str,
        peer: &str,
        namespace: impl AsFd,
    ) -> Result<Link, SysError> {
        let fd = namespace.as_fd().as_raw_fd();
        self.make_veth(name, peer, Some(LinkAttribute::NetNsFd(fd)))?;
        self.link_by_name(name)
    }

    fn make_veth(
        &mut self,
        name: &str,
        peer: &str,
        place: Option<LinkAttribute>,
    ) -> Result<(), SysError> {
        let mut other = LinkMessage::default();
        other.attributes.push(LinkAttribute::IfName(peer.to_owned()));
        other.attributes.extend(place);
        let mut request = LinkMessage::default();
        request.attributes.push(LinkAttribute::IfName(name.to_owned()));
        request.attributes.push(LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(other))),
        ]));
        let request = RouteNetlinkMessage::NewLink(request);
        self.change(request, NLM_F_CREATE | NLM_F_EXCL).map_err(|error| {
            if error.raw_os_error() == Some(nix::libc::EEXIST) {
                return SysError::InterfaceExists { name: name.to_owned() };
            }
            SysError::of("make veth pair", error)
        })
    }

    /// Switches an interface on or off.
    ///
    /// # Errors
    ///
    /// [`SysError::NotPermitted`], [`SysError::Io`].
    pub fn set_up(&mut self, index: u32, up: bool) -> Result<(), SysError> {
        let mut request = LinkMessage::default();
        request.header.index = index;
        request.header.change_mask = LinkFlags::Up;
        request.header.flags = if up { LinkFlags::Up } else { LinkFlags::empty() };
        self.change(RouteNetlinkMessage::SetLink(request), 0)
            .map_err(|error| SysError::of("switch interface", error))
    }

    /// Sets the size of the largest IP packet, octets.
    ///
    /// # Errors
    ///
    /// [`SysError::NotPermitted`], [`SysError::Io`] (EINVAL) for a size the device cannot do.
    pub fn set_mtu(&mut self, index: u32, mtu: u32) -> Result<(), SysError> {
        self.set_link(index, LinkAttribute::Mtu(mtu), "set MTU")
    }

    fn set_link(
        &mut self,
        index: u32,
        attribute: LinkAttribute,
        operation: &'static str,
    ) -> Result<(), SysError> {
        let mut request = LinkMessage::default();
        request.header.index = index;
        request.attributes.push(attribute);
        self.change(RouteNetlinkMessage::SetLink(request), 0)
            .map_err(|error| SysError::of(operation, error))
    }
}

pub(super) fn read(message: &LinkMessage) -> Link {
    let flags = message.header.flags;
    let mut link = Link {
        index: message.header.index,
        name: String::new(),
        mtu: 0,
        up: flags.contains(LinkFlags::Up),
        running: flags.contains(LinkFlags::Running),
        loopback: flags.contains(LinkFlags::Loopback),
        ethernet: message.header.link_layer_type == LinkLayerType::Ether,
    };
    for attribute in &message.attributes {
        if let LinkAttribute::IfName(name) = attribute {
            link.name.clone_from(name);
        } else if let LinkAttribute::Mtu(mtu) = attribute {
            link.mtu = *mtu;
        }
    }
    link
}

/// The kernel's rule for interface names.
pub(crate) fn is_name(name: &str) -> bool {
    let plain = |c: char| !c.is_whitespace() && c != '/' && c != ':' && c != '\0';
    !name.is_empty()
        && name.len() < nix::libc::IFNAMSIZ
        && name.chars().all(plain)
        && name != "."
        && name != ".."
}
