//! The kernel's answers about routes, in words.

use std::net::IpAddr;

use adit_sys::SysError;
use adit_sys::netlink::{Netlink, RouteKind, RouteLookup};
use adit_sys::route::MARK;

use crate::message::{RouteView, Way};

/// Where the kernel sends a packet, in the words of `ip route get`.
pub(crate) fn describe(probe: IpAddr, found: &RouteLookup, interface: Option<&str>) -> String {
    let via = found.via.map_or_else(String::new, |via| format!(" via {via}"));
    let way = match (found.kind, interface) {
        (RouteKind::Unicast, Some(name)) => format!("dev {name}"),
        (kind, _) => format!("{kind:?}").to_lowercase(),
    };
    format!("ip route get {probe} -> {way}{via} table {}", found.table)
}

/// The ways of a packet: as anybody's, and as ours.
pub(crate) fn ways(netlink: &mut Netlink, destination: IpAddr) -> RouteView {
    let mut way = |mark| match netlink.lookup_route(destination, None, mark) {
        Ok(found) => {
            let interface = interface_name(netlink, &found);
            let text = describe(destination, &found, interface.as_deref());
            let leads = !matches!(
                found.kind,
                RouteKind::Unreachable | RouteKind::Prohibit | RouteKind::Blackhole
            );
            let interface = interface.filter(|_| found.kind == RouteKind::Unicast);
            Way { text, interface, leads }
        }
        Err(error) => no_way(destination, &error),
    };
    RouteView { plain: way(0), clear: way(MARK) }
}

fn interface_name(netlink: &mut Netlink, found: &RouteLookup) -> Option<String> {
    let links = netlink.links().ok()?;
    links.into_iter().find(|link| link.index == found.interface).map(|link| link.name)
}

fn no_way(destination: IpAddr, error: &SysError) -> Way {
    let text = format!("ip route get {destination} -> {error}");
    Way { text, interface: None, leads: false }
}
