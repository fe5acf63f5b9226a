//! The host's routes into the TUN interface, so that protected packets reach the data plane.
//!
//! One policy rule sends every packet that does not carry our mark to our own routing table:
//! `PRIORITY: not from all fwmark MARK lookup TABLE`. The table holds a route into the TUN for
//! each remote selector. Our own ESP and IKE packets carry the mark, pass the rule by and follow
//! the ordinary routes, so the peer may lie inside its own remote selector.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Subnets, Ipv6Subnets};

use crate::error::SysError;
use crate::netlink::{Address, Family, Netlink, Route, RouteKind, RouteLookup, Rule};
use crate::netns::read_sysctl;

/// Firewall mark of our own outer packets.
pub const MARK: u32 = 0xAD17;
/// Number of our routing table (44,311).
pub const TABLE: u32 = 0xAD17;
/// Priority of our rule: after the local table (0), before the main one (32,766).
pub const RULE_PRIORITY: u32 = 219;

/// The traffic of one child SA in terms of prefixes.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct RoutePlan {
    /// Networks on our side.
    pub local: Vec<IpNet>,
    /// Networks on the peer's side: these are routed into the TUN.
    pub remote: Vec<IpNet>,
}

/// Sizes announced with the routes.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct RouteSizes {
    /// Largest inner packet, octets; `None` leaves it to the interface.
    pub mtu: Option<u32>,
    /// Largest TCP segment to announce, octets.
    pub advmss: Option<u32>,
}

/// Where packets into a tunnel go.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum TunnelWay {
    /// Into the TUN.
    Tun,
    /// The way to the peer, where the kernel's policies catch them: only what has a route meets
    /// them, and this one gives it a source inside the local selectors.
    Peer(IpAddr),
    /// Into the interface of this name; as long as it is not there, nowhere.
    Interface(String),
    /// Nowhere: they are refused, and do not leave another way.
    Nowhere,
}

/// A plan and its way.
#[derive(Clone, Debug)]
struct Plan {
    networks: RoutePlan,
    way: TunnelWay,
}

/// Keeps our rule and table as the installed plans want them; removes everything when dropped.
#[derive(Debug)]
pub struct HostRouting {
    netlink: Netlink,
    interface: u32,
    sizes: RouteSizes,
    plans: BTreeMap<String, Plan>,
    installed: BTreeMap<IpNet, Route>,
    rules: BTreeSet<Family>,
}

impl HostRouting {
    /// Starts with nothing installed; `interface` is the number of the TUN.
    ///
    /// Leftovers of a daemon that was killed are removed first ([`cleanup_stale`]), so there must
    /// be at most one of these per namespace: the caller has bound the IKE ports.
    ///
    /// # Errors
    ///
    /// [`SysError::NotPermitted`] (E504) without CAP_NET_ADMIN, [`SysError::Io`].
    pub fn new(interface: u32, sizes: RouteSizes) -> Result<Self, SysError> {
        cleanup_stale()?;
        Ok(Self {
            netlink: Netlink::open()?,
            interface,
            sizes,
            plans: BTreeMap::new(),
            installed: BTreeMap::new(),
            rules: BTreeSet::new(),
        })
    }

    /// Routes a child SA's traffic into the TUN; a plan of the same name is replaced.
    ///
    /// Several plans may name the same network; it is routed until the last one goes.
    ///
    /// # Errors
    ///
    /// [`SysError::NotPermitted`], [`SysError::FamilyUnsupported`], [`SysError::Io`]. The plan is
    /// kept and what is missing is tried again with the next change or [`Self::refresh`].
    pub fn install(&mut self, name: &str, plan: RoutePlan) -> Result<(), SysError> {
        self.install_by(name, plan, TunnelWay::Tun)
    }

    /// Routes a child SA's traffic; otherwise as [`Self::install`].
    ///
    /// # Errors
    ///
    /// As [`Self::install`].
    pub fn install_by(
        &mut self,
        name: &str,
        plan: RoutePlan,
        way: TunnelWay,
    ) -> Result<(), SysError> {
        self.plans.insert(name.to_owned(), Plan { networks: plan, way });
        self.reconcile()
    }

    /// Withdraws a plan; an unknown name is no error.
    ///
    /// # Errors
    ///
    /// As [`Self::install`].
    pub fn uninstall(&mut self, name: &str) -> Result<(), SysError> {
        self.plans.remove(name);
        self.reconcile()
    }

    /// Looks at the host's addresses again and restores what is missing, after a network change.
    ///
    /// # Errors
    ///
    /// As [`Self::install`].
    pub fn refresh(&mut self) -> Result<(), SysError> {
        let present = self.netlink.routes(TABLE)?;
        self.installed.retain(|destination, route| {
            present.iter().any(|p| p.destination == *destination && p.kind == route.kind)
        });
        // What cannot be listed now stays known, so that it is removed in the end.
        for family in self.rules.clone() {
            if !self.netlink.rules(family)?.contains(&rule(family)) {
                self.rules.remove(&family);
            }
        }
        self.reconcile()
    }

    /// Changes the sizes announced with all routes.
    ///
    /// # Errors
    ///
    /// As [`Self::install`].
    pub fn set_sizes(&mut self, sizes: RouteSizes) -> Result<(), SysError> {
        self.sizes = sizes;
        self.reconcile()
    }

    /// Where the kernel sends a packet of this host to `destination` now; for E501 compare
    /// `interface` with the TUN's.
    ///
    /// # Errors
    ///
    /// [`SysError::Io`] with ENETUNREACH when there is no way.
    pub fn lookup(&mut self, destination: IpAddr) -> Result<RouteLookup, SysError> {
        self.netlink.lookup_route(destination, None, 0)
    }

    /// Where the kernel sends our own outer packets to an address now.
    ///
    /// # Errors
    ///
    /// [`SysError::Io`] when there is no route.
    pub fn lookup_outer(&mut self, destination: IpAddr) -> Result<RouteLookup, SysError> {
        self.netlink.lookup_route(destination, None, MARK)
    }

    /// The name of an interface, for people; `None` if there is no such interface (any more).
    pub fn interface_name(&mut self, index: u32) -> Option<String> {
        let links = self.netlink.links().ok()?;
        links.into_iter().find(|link| link.index == index).map(|link| link.name)
    }

    /// The number of an interface; `None` if there is none of that name.
    pub fn interface_index(&mut self, name: &str) -> Option<u32> {
        self.netlink.link_by_name(name).ok().map(|link| link.index)
    }

    /// The routes installed now, by destination.
    pub fn routes(&self) -> impl Iterator<Item = &Route> {
        self.installed.values()
    }

    /// Removes the rule and all routes.
    ///
    /// # Errors
    ///
    /// The first failure; the rest is removed nevertheless.
    pub fn close(mut self) -> Result<(), SysError> {
        self.remove_all()
    }

    fn reconcile(&mut self) -> Result<(), SysError> {
        let addresses = self.netlink.addresses()?;
        let mut ways = Ways::default();
        for plan in self.plans.values() {
            match &plan.way {
                TunnelWay::Tun | TunnelWay::Nowhere => {}
                TunnelWay::Peer(peer) if ways.peers.contains_key(peer) => {}
                TunnelWay::Peer(peer) => {
                    // Without a way to the peer there is none for its networks; a change brings us
                    // back.
                    if let Ok(way) = self.netlink.lookup_route(*peer, None, MARK) {
                        ways.peers.insert(*peer, way);
                    }
                }
                TunnelWay::Interface(_) if !ways.interfaces.is_empty() => {}
                TunnelWay::Interface(_) => {
                    let links = self.netlink.links()?.into_iter();
                    ways.interfaces = links.map(|link| (link.name, link.index)).collect();
                }
            }
        }
        let wanted = wanted_routes(&self.plans, &addresses, &ways, self.interface, self.sizes);
        // Rules go first and come last, so no packet meets half a table.
        let families: BTreeSet<Family> =
            wanted.keys().map(|destination| Family::of(destination.addr())).collect();
        for family in self.rules.difference(&families) {
            self.netlink.delete_rule(&rule(*family))?;
        }
        self.rules.retain(|family| families.contains(family));
        self.remove_unwanted(&wanted)?;
        let mut result = Ok(());
        for (destination, route) in &wanted {
            if self.installed.get(destination) == Some(route) {
                continue;
            }
            match self.netlink.replace_route(route) {
                Ok(()) => drop(self.installed.insert(*destination, route.clone())),
                // One impossible route must not keep the others out.
                Err(error) => result = result.and(Err(error)),
            }
        }
        for family in families {
            if !self.rules.contains(&family) {
                self.netlink.add_rule(&rule(family))?;
                self.rules.insert(family);
            }
        }
        result
    }

    fn remove_unwanted(&mut self, wanted: &BTreeMap<IpNet, Route>) -> Result<(), SysError> {
        // A route that changes between TUN and throw is removed too: IPv6 would keep both.
        let unwanted: Vec<Route> = self
            .installed
            .values()
            .filter(|route| wanted.get(&route.destination).is_none_or(|w| w.kind != route.kind))
            .cloned()
            .collect();
        for route in unwanted {
            self.netlink.delete_route(&route)?;
            self.installed.remove(&route.destination);
        }
        Ok(())
    }

    fn remove_all(&mut self) -> Result<(), SysError> {
        let mut result = Ok(());
        for family in std::mem::take(&mut self.rules) {
            let removed = self.netlink.delete_rule(&rule(family));
            result = result.and(removed);
        }
        for route in std::mem::take(&mut self.installed).into_values() {
            let removed = self.netlink.delete_route(&route);
            result = result.and(removed);
        }
        result
    }
}

impl Drop for HostRouting {
    fn drop(&mut self) {
        if let Err(error) = self.remove_all() {
            tracing::warn!(%error, "routes stay behind; the next start removes them");
        }
    }
}

/// What [`cleanup_stale`] found.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Removed {
    /// Rules with our priority, mark and table.
    pub rules: usize,
    /// Routes in our table.
    pub routes: usize,
}

/// Removes what a killed daemon left in this namespace: exactly our rule and our table.
///
/// # Errors
///
/// [`SysError::NotPermitted`], [`SysError::Io`].
pub fn cleanup_stale() -> Result<Removed, SysError> {
    let mut netlink = Netlink::open()?;
    let mut removed = Removed::default();
    for family in Family::BOTH {
        let rules = match netlink.rules(family) {
            Ok(rules) => rules,
            Err(SysError::FamilyUnsupported { .. }) => continue,
            Err(error) => return Err(error),
        };
        // Identical rules may exist several times; each removal takes one.
        for stale in rules.iter().filter(|found| **found == rule(family)) {
            netlink.delete_rule(stale)?;
            removed.rules += 1;
        }
    }
    for route in netlink.routes(TABLE)? {
        netlink.delete_route(&route)?;
        removed.routes += 1;
    }
    if removed != Removed::default() {
        tracing::info!(removed.rules, removed.routes, "removed leftovers of an earlier run");
    }
    Ok(removed)
}

/// Whether this namespace passes packets on between interfaces (E505 if it must and does not).
///
/// # Errors
///
/// [`SysError::Io`] with `NotFound` for a family the kernel does not have.
pub fn forwarding_enabled(family: Family) -> Result<bool, SysError> {
    let name = match family {
        Family::V4 => "net.ipv4.ip_forward",
        Family::V6 => "net.ipv6.conf.all.forwarding",
    };
    Ok(read_sysctl(name)? != "0")
}

/// Whether an interface drops IPv4 packets from sources it would not send to (strict filter).
///
/// With it, packets of a peer that lies inside its own remote selector are dropped on arrival:
/// their source would be answered through the TUN.
///
/// # Errors
///
/// [`SysError::Io`] with `NotFound` for an unknown interface.
pub fn filters_reverse_path(interface: &str) -> Result<bool, SysError> {
    // The kernel takes the larger of the two; 1 is strict, 2 loose.
    let all = read_sysctl("net.ipv4.conf.all.rp_filter")?;
    let own = read_sysctl(&format!("net/ipv4/conf/{interface}/rp_filter"))?;
    Ok(all.max(own) == "1")
}

/// The smallest list of prefixes that covers exactly the addresses from `start` to `end`.
///
/// Empty if the families differ or the range is empty; at most 62 prefixes for IPv4 and 254 for
/// IPv6.
#[must_use]
pub fn prefixes_of_range(start: IpAddr, end: IpAddr) -> Vec<IpNet> {
    match (start, end) {
        (IpAddr::V4(start), IpAddr::V4(end)) if start <= end => {
            Ipv4Subnets::new(start, end, 0).map(IpNet::V4).collect()
        }
        (IpAddr::V6(start), IpAddr::V6(end)) if start <= end => {
            Ipv6Subnets::new(start, end, 0).map(IpNet::V6).collect()
        }
        _ => Vec::new(),
    }
}

/// The address of this host that packets into the tunnel should carry: one inside `local`.
#[must_use]
pub fn source_hint(addresses: &[Address], local: &[IpNet], family: Family) -> Option<IpAddr> {
    let inside = |address: IpAddr| local.iter().any(|network| network.contains(&address));
    let fit = |found: &&Address| {
        let address = found.address();
        found.usable && found.global && Family::of(address) == family && inside(address)
    };
    addresses.iter().find(fit).map(Address::address)
}

fn rule(family: Family) -> Rule {
    Rule::not_marked(family, RULE_PRIORITY, MARK, TABLE)
}

/// What is known of ways that do not lead into the TUN.
#[derive(Debug, Default)]
struct Ways {
    peers: BTreeMap<IpAddr, RouteLookup>,
    /// Numbers of interfaces.
    interfaces: BTreeMap<String, u32>,
}

/// What the table has to hold: a pure function of the plans, the host's addresses and the ways to
/// the peers.
fn wanted_routes(
    plans: &BTreeMap<String, Plan>,
    addresses: &[Address],
    ways: &Ways,
    interface: u32,
    sizes: RouteSizes,
) -> BTreeMap<IpNet, Route> {
    let mut wanted = BTreeMap::new();
    for Plan { networks, way } in plans.values() {
        for remote in networks.remote.iter().map(IpNet::trunc) {
            let found = match way {
                TunnelWay::Tun => Some(into_tun(remote, interface, sizes)),
                TunnelWay::Peer(peer) => ways.peers.get(peer).map(|way| along(remote, way)),
                // Its sizes are its own.
                TunnelWay::Interface(name) => {
                    let index = ways.interfaces.get(name);
                    Some(match index {
                        Some(index) => into_tun(remote, *index, RouteSizes::default()),
                        None => Route::new(remote, RouteKind::Unreachable).in_table(TABLE),
                    })
                }
                TunnelWay::Nowhere => {
                    Some(Route::new(remote, RouteKind::Unreachable).in_table(TABLE))
                }
            };
            let Some(mut route) = found else { continue };
            if route.kind == RouteKind::Unicast {
                route.source = source_hint(addresses, &networks.local, Family::of(remote.addr()));
            }
            route.metric = Some(METRIC);
            wanted.entry(remote).or_insert(route);
        }
    }
    // Packets between our own networks stay out of the tunnel when a remote selector, such as
    // 0.0.0.0/0, covers them too.
    for local in plans.values().flat_map(|plan| &plan.networks.local).map(IpNet::trunc) {
        let covered = wanted
            .values()
            .any(|route| route.kind != RouteKind::Throw && route.destination.contains(&local));
        if covered && !wanted.contains_key(&local) {
            let mut throw = Route::new(local, RouteKind::Throw).in_table(TABLE);
            throw.metric = Some(METRIC);
            wanted.insert(local, throw);
        }
    }
    wanted
}

fn into_tun(remote: IpNet, interface: u32, sizes: RouteSizes) -> Route {
    let mut route = Route::by_interface(remote, interface).in_table(TABLE);
    route.mtu = sizes.mtu;
    route.advmss = sizes.advmss;
    route
}

/// By the interface that leads to the peer, and its gateway if that is of the same family.
fn along(remote: IpNet, way: &RouteLookup) -> Route {
    let mut route = Route::by_interface(remote, way.interface).in_table(TABLE);
    route.via = way.via.filter(|via| via.is_ipv4() == remote.addr().is_ipv4());
    route
}

/// Some metric has to be given: IPv6 would make up 1024 and then not find the route again.
const METRIC: u32 = 10;

/// Drops UDP datagrams to a port on their way through or out of this namespace, both families,
/// until the value is dropped. For faults in the demo and in tests.
#[derive(Debug)]
pub struct UdpBlackhole {
    netlink: Netlink,
    rules: Vec<Rule>,
}

impl UdpBlackhole {
    /// Starts dropping.
    ///
    /// # Errors
    ///
    /// [`SysError::NotPermitted`], [`SysError::Io`].
    pub fn install(port: u16) -> Result<Self, SysError> {
        let mut hole = Self { netlink: Netlink::open()?, rules: Vec::new() };
        for family in Family::BOTH {
            let rule = Rule::drop_udp_to(family, BLACKHOLE_PRIORITY, port);
            match hole.netlink.add_rule(&rule) {
                Ok(()) => hole.rules.push(rule),
                Err(SysError::FamilyUnsupported { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(hole)
    }
}

impl Drop for UdpBlackhole {
    fn drop(&mut self) {
        for rule in &self.rules {
            if let Err(error) = self.netlink.delete_rule(rule) {
                tracing::warn!(%error, "a rule that drops packets stays behind");
            }
        }
    }
}

/// Before our own rule and every usual one.
const BLACKHOLE_PRIORITY: u32 = 90;

#[cfg(test)]
mod tests {
    use super::*;

    fn nets(list: &[&str]) -> Vec<IpNet> {
        list.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn address(network: &str) -> Address {
        let network = network.parse().unwrap();
        Address { interface: 1, network, global: true, usable: true }
    }

    fn wanted(local: &[&str], remote: &[&str], addresses: &[Address]) -> BTreeMap<IpNet, Route> {
        let networks = RoutePlan { local: nets(local), remote: nets(remote) };
        let plans = BTreeMap::from([("one".to_owned(), Plan { networks, way: TunnelWay::Tun })]);
        wanted_routes(&plans, addresses, &Ways::default(), 9, RouteSizes::default())
    }

    #[test]
    fn what_the_kernel_protects_goes_the_way_to_the_peer() {
        let peer: IpAddr = "203.0.113.7".parse().unwrap();
        let networks = RoutePlan {
            local: nets(&["10.1.0.0/24"]),
            remote: nets(&["10.2.0.0/24", "fd02::/64"]),
        };
        let plans =
            BTreeMap::from([("one".to_owned(), Plan { networks, way: TunnelWay::Peer(peer) })]);
        let of = |ways: &Ways| {
            wanted_routes(&plans, &[address("10.1.0.2/24")], ways, 9, RouteSizes::default())
        };
        assert!(of(&Ways::default()).is_empty());
        let via: IpAddr = "192.0.2.254".parse().unwrap();
        let way = RouteLookup {
            interface: 3,
            table: Route::TABLE_MAIN,
            via: Some(via),
            source: None,
            kind: RouteKind::Unicast,
            mtu: None,
        };
        let routes: Vec<Route> =
            of(&Ways { peers: [(peer, way)].into(), ..Ways::default() }).into_values().collect();
        assert_eq!(routes[0].via, Some(via));
        assert_eq!(routes[0].source, Some("10.1.0.2".parse().unwrap()));
        assert_eq!((routes[1].via, routes[1].interface), (None, Some(3)));
    }

    #[test]
    fn what_has_an_interface_goes_there_once_it_is_there() {
        let networks = RoutePlan { local: nets(&["10.1.0.0/24"]), remote: nets(&["0.0.0.0/0"]) };
        let way = TunnelWay::Interface("vpn1".to_owned());
        let plans = BTreeMap::from([("one".to_owned(), Plan { networks, way })]);
        let of = |ways: &Ways| {
            let sizes = RouteSizes { mtu: Some(1_300), advmss: None };
            wanted_routes(&plans, &[address("10.1.0.2/24")], ways, 9, sizes)
        };
        // Until then nothing leaves the way it would go without us.
        let kinds: Vec<RouteKind> =
            of(&Ways::default()).into_values().map(|route| route.kind).collect();
        assert_eq!(kinds, [RouteKind::Unreachable, RouteKind::Throw]);
        let interfaces = [("vpn1".to_owned(), 12)].into();
        let routes: Vec<Route> =
            of(&Ways { interfaces, ..Ways::default() }).into_values().collect();
        assert_eq!((routes[0].interface, routes[0].mtu, routes[0].via), (Some(12), None, None));
        assert_eq!(routes[0].source, Some("10.1.0.2".parse().unwrap()));
        // What our own hosts say to each other stays out.
        assert_eq!(routes[1].kind, RouteKind::Throw);
    }

    #[test]
    fn the_source_lies_inside_the_local_selectors() {
        let tentative = Address { usable: false, ..address("10.1.0.1/24") };
        let addresses = [address("192.0.2.1/24"), tentative, address("10.1.0.2/24")];
        let routes = wanted(&["10.1.0.0/24"], &["10.2.0.0/24", "2001:db8::/64"], &addresses);
        let sources: Vec<_> = routes.values().map(|route| route.source).collect();
        assert_eq!(sources, [Some("10.1.0.2".parse().unwrap()), None]);
    }

    #[test]
    fn only_covered_local_networks_are_thrown() {
        let kinds = |local: &[&str], remote: &[&str]| {
            let routes = wanted(local, remote, &[]);
            routes.into_values().map(|route| (route.destination.to_string(), route.kind)).collect()
        };
        let expect = |list: &[(&str, RouteKind)]| -> Vec<(String, RouteKind)> {
            list.iter().map(|(text, kind)| ((*text).to_owned(), *kind)).collect()
        };
        let (unicast, throw) = (RouteKind::Unicast, RouteKind::Throw);
        let apart: Vec<_> = kinds(&["10.1.0.0/24"], &["10.2.0.0/24"]);
        assert_eq!(apart, expect(&[("10.2.0.0/24", unicast)]));
        let inside: Vec<_> = kinds(&["10.1.0.0/24"], &["10.0.0.0/8"]);
        assert_eq!(inside, expect(&[("10.0.0.0/8", unicast), ("10.1.0.0/24", throw)]));
        let around: Vec<_> = kinds(&["10.0.0.0/8"], &["10.1.0.0/24"]);
        assert_eq!(around, expect(&[("10.1.0.0/24", unicast)]));
        let same: Vec<_> = kinds(&["10.1.0.0/24"], &["10.1.0.7/24"]);
        assert_eq!(same, expect(&[("10.1.0.0/24", unicast)]));
    }

    #[test]
    fn ranges_become_the_fewest_prefixes() {
        let of = |start: &str, end: &str| {
            prefixes_of_range(start.parse().unwrap(), end.parse().unwrap())
        };
        assert_eq!(of("10.0.0.0", "10.0.0.255"), nets(&["10.0.0.0/24"]));
        assert_eq!(of("0.0.0.0", "255.255.255.255"), nets(&["0.0.0.0/0"]));
        assert_eq!(of("::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"), nets(&["::/0"]));
        let odd = ["10.0.0.1/32", "10.0.0.2/31", "10.0.0.4/31", "10.0.0.6/32"];
        assert_eq!(of("10.0.0.1", "10.0.0.6"), nets(&odd));
        assert_eq!(of("10.0.0.2", "10.0.0.1"), []);
        assert_eq!(of("10.0.0.2", "::1"), []);
        assert_eq!(of("0.0.0.1", "255.255.255.254").len(), 62);
    }
}
