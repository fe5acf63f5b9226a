//! What the table has to hold, from the plans of all tunnels. A plan that comes or goes touches the
//! networks it names, and of the others' none but what it covers.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;

use super::{METRIC, RoutePlan, RouteSizes, TABLE, TunnelWay, source_hint};
use crate::netlink::{Address, Family, Route, RouteKind, RouteLookup};

/// A plan and its way.
#[derive(Clone, Debug)]
struct Plan {
    networks: RoutePlan,
    way: TunnelWay,
}

/// What is known of the host, and of ways that do not lead into the TUN.
#[derive(Debug, Default)]
pub(super) struct Ways {
    pub(super) addresses: Vec<Address>,
    pub(super) peers: BTreeMap<IpAddr, RouteLookup>,
    /// Numbers of interfaces.
    pub(super) interfaces: BTreeMap<String, u32>,
}

/// Names of plans by network.
type Index = BTreeMap<IpNet, BTreeSet<String>>;

/// All plans, by name and by network.
#[derive(Debug)]
pub(super) struct Plans {
    interface: u32,
    sizes: RouteSizes,
    by_name: BTreeMap<String, Plan>,
    /// The plans that route a network, by name.
    remote: Index,
    /// The plans that speak for a network.
    local: Index,
    wanted: BTreeMap<IpNet, Route>,
}

impl Plans {
    /// None; `interface` is the number of the TUN.
    pub(super) fn new(interface: u32, sizes: RouteSizes) -> Self {
        Self {
            interface,
            sizes,
            by_name: BTreeMap::new(),
            remote: BTreeMap::new(),
            local: BTreeMap::new(),
            wanted: BTreeMap::new(),
        }
    }

    /// Takes other sizes; every route is to be settled anew.
    pub(super) fn set_sizes(&mut self, sizes: RouteSizes) {
        self.sizes = sizes;
    }

    /// Puts a plan in place of the one of the same name, or takes that away. The networks whose
    /// routes this may change are added to `touched`.
    pub(super) fn put(
        &mut self,
        name: &str,
        plan: Option<(RoutePlan, TunnelWay)>,
        touched: &mut BTreeSet<IpNet>,
    ) {
        if let Some(before) = self.by_name.remove(name) {
            forget(&mut self.remote, name, &before.networks.remote);
            forget(&mut self.local, name, &before.networks.local);
            self.touch(&before.networks, touched);
        }
        let Some((networks, way)) = plan else { return };
        note(&mut self.remote, name, &networks.remote);
        note(&mut self.local, name, &networks.local);
        self.touch(&networks, touched);
        self.by_name.insert(name.to_owned(), Plan { networks, way });
    }

    /// A network of the peer decides also about those of ours that it covers.
    fn touch(&self, plan: &RoutePlan, touched: &mut BTreeSet<IpNet>) {
        touched.extend(plan.local.iter().map(IpNet::trunc));
        for remote in plan.remote.iter().map(IpNet::trunc) {
            touched.insert(remote);
            let within = self.local.range(remote..).map(|(local, _)| local);
            let within = within.take_while(|local| local.addr() <= remote.broadcast());
            touched.extend(within.filter(|local| remote.contains(*local)));
        }
    }

    /// All networks that plans name.
    pub(super) fn networks(&self) -> BTreeSet<IpNet> {
        self.remote.keys().chain(self.local.keys()).chain(self.wanted.keys()).copied().collect()
    }

    /// The ways of the plans that route a network.
    pub(super) fn ways(&self, network: &IpNet) -> impl Iterator<Item = &TunnelWay> {
        self.plans_to(network).map(|plan| &plan.way)
    }

    fn plans_to(&self, network: &IpNet) -> impl Iterator<Item = &Plan> {
        let names = self.remote.get(network).into_iter().flatten();
        names.filter_map(|name| self.by_name.get(name))
    }

    /// Decides anew about these networks.
    pub(super) fn settle(&mut self, touched: &BTreeSet<IpNet>, ways: &Ways) {
        for network in touched {
            let route = self.plans_to(network).find_map(|plan| self.route(*network, plan, ways));
            match route {
                Some(route) => drop(self.wanted.insert(*network, route)),
                None => drop(self.wanted.remove(network)),
            }
        }
        // Packets between our own networks stay out of the tunnel when a remote selector, such as
        // 0.0.0.0/0, covers them too.
        for network in touched {
            if self.local.contains_key(network)
                && !self.wanted.contains_key(network)
                && self.is_covered(*network)
            {
                let mut throw = Route::new(*network, RouteKind::Throw).in_table(TABLE);
                throw.metric = Some(METRIC);
                self.wanted.insert(*network, throw);
            }
        }
    }

    fn is_covered(&self, local: IpNet) -> bool {
        let leads = |network: &IpNet| {
            self.wanted.get(network).is_some_and(|route| route.kind != RouteKind::Throw)
        };
        std::iter::successors(local.supernet(), IpNet::supernet).any(|network| leads(&network))
    }

    /// The route of one plan to a network; the first that has one decides.
    fn route(&self, remote: IpNet, plan: &Plan, ways: &Ways) -> Option<Route> {
        let refused = || Route::new(remote, RouteKind::Unreachable).in_table(TABLE);
        let mut route = match &plan.way {
            TunnelWay::Tun => into_tun(remote, self.interface, self.sizes),
            TunnelWay::Peer(peer) => along(remote, ways.peers.get(peer)?),
            TunnelWay::Interface(name) => match ways.interfaces.get(name) {
                // Its sizes are its own.
                Some(index) => into_tun(remote, *index, RouteSizes::default()),
                None => refused(),
            },
            TunnelWay::Nowhere => refused(),
        };
        let is_tunnel = matches!(plan.way, TunnelWay::Tun | TunnelWay::Interface(_));
        if let Some(mtu) = plan.networks.mtu.filter(|_| is_tunnel) {
            // No kernel has less for IPv6 (RFC 8200 §5), and what is between is cut outside.
            let least = if remote.addr().is_ipv6() { V6_MTU_MIN } else { 0 };
            route.mtu = Some(mtu.max(least));
        }
        if route.kind == RouteKind::Unicast {
            let family = Family::of(remote.addr());
            route.source = source_hint(&ways.addresses, &plan.networks.local, family);
        }
        route.metric = Some(METRIC);
        Some(route)
    }

    /// The route to a network, as it was settled last.
    pub(super) fn wanted(&self, network: &IpNet) -> Option<&Route> {
        self.wanted.get(network)
    }

    /// The families of all routes.
    pub(super) fn families(&self) -> BTreeSet<Family> {
        // Networks are in the order of their families.
        let ends = [self.wanted.first_key_value(), self.wanted.last_key_value()];
        ends.into_iter().flatten().map(|(network, _)| Family::of(network.addr())).collect()
    }
}

fn note(index: &mut Index, name: &str, networks: &[IpNet]) {
    for network in networks {
        index.entry(network.trunc()).or_default().insert(name.to_owned());
    }
}

fn forget(index: &mut Index, name: &str, networks: &[IpNet]) {
    for network in networks.iter().map(IpNet::trunc) {
        if let Some(names) = index.get_mut(&network) {
            names.remove(name);
            if names.is_empty() {
                index.remove(&network);
            }
        }
    }
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

/// Octets of the longest packet that every link of IPv6 takes.
const V6_MTU_MIN: u32 = 1_280;

#[cfg(test)]
mod tests;
