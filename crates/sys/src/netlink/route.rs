//! Routes (rtnetlink RTM_*ROUTE).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteMetric, RouteProtocol, RouteScope,
    RouteType,
};

use super::{Family, Netlink};
use crate::error::SysError;

/// What a route does with a packet.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum RouteKind {
    /// Sends it on by interface or gateway.
    Unicast,
    /// Delivers it on this host.
    Local,
    /// Ends the search in this table; the next rule decides.
    Throw,
    /// Refuses it with "network unreachable".
    Unreachable,
    /// Refuses it with "administratively prohibited".
    Prohibit,
    /// Drops it silently.
    Blackhole,
    /// Broadcast, multicast and the like, by number.
    Other(u8),
}

impl RouteKind {
    fn netlink(self) -> RouteType {
        match self {
            Self::Unicast => RouteType::Unicast,
            Self::Local => RouteType::Local,
            Self::Throw => RouteType::Throw,
            Self::Unreachable => RouteType::Unreachable,
            Self::Prohibit => RouteType::Prohibit,
            Self::Blackhole => RouteType::BlackHole,
            Self::Other(number) => number.into(),
        }
    }

    fn read(kind: RouteType) -> Self {
        const NAMED: [RouteKind; 6] = [
            RouteKind::Unicast,
            RouteKind::Local,
            RouteKind::Throw,
            RouteKind::Unreachable,
            RouteKind::Prohibit,
            RouteKind::Blackhole,
        ];
        let named = NAMED.into_iter().find(|named| named.netlink() == kind);
        named.unwrap_or_else(|| Self::Other(kind.into()))
    }
}

/// A route of one table.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Route {
    /// Where it leads.
    pub destination: IpNet,
    /// Its table; 254 is the main one.
    pub table: u32,
    /// What it does.
    pub kind: RouteKind,
    /// Interface to send by.
    pub interface: Option<u32>,
    /// Gateway to send to; may be of the other family in answers, then it is `None`.
    pub via: Option<IpAddr>,
    /// Source address for packets of this host that have none yet.
    pub source: Option<IpAddr>,
    /// Preference, lower is better; IPv6 makes 1024 out of none.
    pub metric: Option<u32>,
    /// Largest packet, octets.
    pub mtu: Option<u32>,
    /// Largest TCP segment to announce, octets.
    pub advmss: Option<u32>,
}

impl Route {
    /// The main table.
    pub const TABLE_MAIN: u32 = 254;

    /// A route of the main table without any option.
    #[must_use]
    pub fn new(destination: IpNet, kind: RouteKind) -> Self {
        Self {
            destination: destination.trunc(),
            table: Self::TABLE_MAIN,
            kind,
            interface: None,
            via: None,
            source: None,
            metric: None,
            mtu: None,
            advmss: None,
        }
    }

    /// A route by an interface.
    #[must_use]
    pub fn by_interface(destination: IpNet, interface: u32) -> Self {
        Self { interface: Some(interface), ..Self::new(destination, RouteKind::Unicast) }
    }

    /// A route by a gateway.
    #[must_use]
    pub fn by_gateway(destination: IpNet, via: IpAddr) -> Self {
        Self { via: Some(via), ..Self::new(destination, RouteKind::Unicast) }
    }

    /// The same route in another table.
    #[must_use]
    pub fn in_table(self, table: u32) -> Self {
        Self { table, ..self }
    }

    fn message(&self) -> RouteMessage {
        let mut message = RouteMessage::default();
        let header = &mut message.header;
        header.address_family = Family::of(self.destination.addr()).netlink();
        header.destination_prefix_length = self.destination.prefix_len();
        header.protocol = RouteProtocol::Static;
        header.kind = self.kind.netlink();
        // The octet in the header is too small for most tables; the attribute counts.
        header.table = 0;
        header.scope = match (self.kind, self.via) {
            (RouteKind::Unicast, None) if self.destination.addr().is_ipv4() => RouteScope::Link,
            _ => RouteScope::Universe,
        };
        let attributes = &mut message.attributes;
        attributes.push(RouteAttribute::Destination(self.destination.network().into()));
        attributes.push(RouteAttribute::Table(self.table));
        attributes.extend(self.interface.map(RouteAttribute::Oif));
        attributes.extend(self.via.map(|via| RouteAttribute::Gateway(via.into())));
        attributes.extend(self.source.map(|source| RouteAttribute::PrefSource(source.into())));
        attributes.extend(self.metric.map(RouteAttribute::Priority));
        let metrics: Vec<RouteMetric> =
            [self.mtu.map(RouteMetric::Mtu), self.advmss.map(RouteMetric::Advmss)]
                .into_iter()
                .flatten()
                .collect();
        if !metrics.is_empty() {
            attributes.push(RouteAttribute::Metrics(metrics));
        }
        message
    }
}

/// How the kernel would send a packet now.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RouteLookup {
    /// Interface the packet would leave by.
    pub interface: u32,
    /// Table in which the answer was found.
    pub table: u32,
    /// Gateway, if not directly connected.
    pub via: Option<IpAddr>,
    /// Source address it would carry.
    pub source: Option<IpAddr>,
    /// What the route does.
    pub kind: RouteKind,
    /// Largest packet, octets, if the route or a learnt path MTU says so.
    pub mtu: Option<u32>,
}

impl Netlink {
    /// Adds a route; one with the same destination, table and metric is left as it is.
    ///
    /// # Errors
    ///
    /// [`SysError::NotPermitted`], [`SysError::FamilyUnsupported`] where IPv6 is switched off,
    /// [`SysError::Io`] (ENETUNREACH for an unknown gateway).
    pub fn add_route(&mut self, route: &Route) -> Result<(), SysError> {
        let request = RouteNetlinkMessage::NewRoute(route.message());
        self.ensure_present(request).map_err(|error| SysError::of_family("add route", error))
    }

    /// Adds a route in place of one with the same destination, table and metric.
    ///
    /// # Errors
    ///
    /// As [`Self::add_route`].
    pub fn replace_route(&mut self, route: &Route) -> Result<(), SysError> {
        let request = RouteNetlinkMessage::NewRoute(route.message());
        self.change(request, NLM_F_CREATE | NLM_F_REPLACE)
            .map_err(|error| SysError::of_family("replace route", error))
    }

    /// Removes a route; one that is gone is no error.
    ///
    /// # Errors
    ///
    /// [`SysError::NotPermitted`], [`SysError::Io`].
    pub fn delete_route(&mut self, route: &Route) -> Result<(), SysError> {
        let request = RouteNetlinkMessage::DelRoute(route.message());
        self.ensure_absent(request).map_err(|error| SysError::of("remove route", error))
    }

    /// The routes of one table, both families.
    ///
    /// # Errors
    ///
    /// [`SysError::Io`].
    pub fn routes(&mut self, table: u32) -> Result<Vec<Route>, SysError> {
        let mut routes = Vec::new();
        for family in Family::BOTH {
            let mut request = RouteMessage::default();
            request.header.address_family = family.netlink();
            request.attributes.push(RouteAttribute::Table(table));
            let found = match self.dump(&RouteNetlinkMessage::GetRoute(request)) {
                Ok(found) => found,
                // The table does not exist (yet), or the family does not.
                Err(error) if matches!(error.raw_os_error(), Some(NO_TABLE | NO_FAMILY)) => {
                    continue;
                }
                Err(error) => return Err(SysError::of("list routes", error)),
            };
            routes.extend(found.iter().filter_map(|message| match message {
                RouteNetlinkMessage::NewRoute(message) => read(message),
                _ => None,
            }));
        }
        routes.retain(|route| route.table == table);
        Ok(routes)
    }

    /// Asks which way a packet to `destination` with firewall mark `mark` would go; 0 is no mark.
    ///
    /// # Errors
    ///
    /// [`SysError::Io`] with ENETUNREACH or EHOSTUNREACH when there is no way.
    pub fn lookup_route(
        &mut self,
        destination: IpAddr,
        source: Option<IpAddr>,
        mark: u32,
    ) -> Result<RouteLookup, SysError> {
        let mut request = RouteMessage::default();
        let bits = if destination.is_ipv4() { 32 } else { 128 };
        request.header.address_family = Family::of(destination).netlink();
        request.header.destination_prefix_length = bits;
        // IPv6 tells the true table anyway and refuses the flag.
        if destination.is_ipv4() {
            request.header.flags = RouteFlags::LookupTable;
        }
        request.attributes.push(RouteAttribute::Destination(destination.into()));
        if let Some(source) = source {
            request.header.source_prefix_length = bits;
            request.attributes.push(RouteAttribute::Source(source.into()));
        }
        if mark != 0 {
            request.attributes.push(RouteAttribute::Mark(mark));
        }
        let answer = self
            .query(RouteNetlinkMessage::GetRoute(request))
            .map_err(|error| SysError::of("look up route", error))?;
        let RouteNetlinkMessage::NewRoute(message) = answer else {
            return Err(SysError::UnexpectedAnswer { operation: "look up route" });
        };
        let route =
            read(&message).ok_or(SysError::UnexpectedAnswer { operation: "look up route" })?;
        Ok(RouteLookup {
            interface: route.interface.unwrap_or(0),
            table: route.table,
            via: route.via,
            source: route.source,
            kind: route.kind,
            mtu: route.mtu,
        })
    }
}

fn read(message: &RouteMessage) -> Option<Route> {
    let header = &message.header;
    let any: IpAddr = match header.address_family {
        netlink_packet_route::AddressFamily::Inet => Ipv4Addr::UNSPECIFIED.into(),
        netlink_packet_route::AddressFamily::Inet6 => Ipv6Addr::UNSPECIFIED.into(),
        _ => return None,
    };
    let mut destination = any;
    let mut route = Route::new(IpNet::from(any), RouteKind::read(header.kind));
    route.table = header.table.into();
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(found) => destination = address(found)?,
            RouteAttribute::Table(table) => route.table = *table,
            RouteAttribute::Oif(index) => route.interface = Some(*index),
            RouteAttribute::Gateway(via) => route.via = address(via),
            RouteAttribute::PrefSource(source) => route.source = address(source),
            RouteAttribute::Priority(metric) => route.metric = Some(*metric),
            RouteAttribute::Metrics(metrics) => read_metrics(metrics, &mut route),
            _ => {}
        }
    }
    route.destination = IpNet::new(destination, header.destination_prefix_length).ok()?;
    Some(route)
}

fn read_metrics(metrics: &[RouteMetric], route: &mut Route) {
    for metric in metrics {
        if let RouteMetric::Mtu(mtu) = metric {
            route.mtu = Some(*mtu);
        } else if let RouteMetric::Advmss(advmss) = metric {
            route.advmss = Some(*advmss);
        }
    }
}

fn address(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(v4) => Some((*v4).into()),
        RouteAddress::Inet6(v6) => Some((*v6).into()),
        _ => None,
    }
}

const NO_TABLE: i32 = nix::libc::ENOENT;
const NO_FAMILY: i32 = nix::libc::EAFNOSUPPORT;
