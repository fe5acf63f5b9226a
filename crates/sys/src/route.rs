//! The host's routes into the TUN interface, so that protected packets reach the data plane.
//!
//! One policy rule sends every packet that does not carry our mark to our own routing table:
//! `PRIORITY: not from all fwmark MARK lookup TABLE`. The table holds a route into the TUN for
//! each remote selector. Our own ESP and IKE packets carry the mark, pass the rule by and follow
//! the ordinary routes, so the peer may lie inside its own remote selector.

mod plans;
mod retries;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Subnets, Ipv6Subnets};

use self::plans::{Plans, Ways};
use self::retries::Retries;
use crate::error::SysError;
use crate::netlink::{Address, Family, Netlink, Route, RouteLookup, Rule};
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
    /// Largest inner packet, octets, that goes to them through the TUN; `None` leaves it to the
    /// interface.
    pub mtu: Option<u32>,
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

/// Keeps our rule and table as the installed plans want them; removes everything when dropped.
#[derive(Debug)]
pub struct HostRouting {
    netlink: Netlink,
    plans: Plans,
    installed: BTreeMap<IpNet, Route>,
    /// What the kernel has refused, or has not been asked for.
    retries: Retries,
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
            plans: Plans::new(interface, sizes),
            installed: BTreeMap::new(),
            retries: Retries::default(),
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
        self.change([(name.to_owned(), Some((plan, way)))])
    }

    /// Withdraws a plan; an unknown name is no error.
    ///
    /// # Errors
    ///
    /// As [`Self::install`].
    pub fn uninstall(&mut self, name: &str) -> Result<(), SysError> {
        self.change([(name.to_owned(), None)])
    }

    /// Installs plans, or withdraws those for which there is none. The cost is that of the networks
    /// they name, however many others are installed.
    ///
    /// # Errors
    ///
    /// As [`Self::install`].
    pub fn change(
        &mut self,
        plans: impl IntoIterator<Item = (String, Option<(RoutePlan, TunnelWay)>)>,
    ) -> Result<(), SysError> {
        let mut touched = self.retries.next(RETRIES_MAX);
        for (name, plan) in plans {
            self.plans.put(&name, plan, &mut touched);
        }
        self.reconcile(touched)
    }

    /// Looks at the host's addresses again and restores what is missing, after a network change.
    ///
    /// # Errors
    ///
    /// As [`Self::install`].
    pub fn refresh(&mut self) -> Result<(), SysError> {
        let present = self.netlink.routes(TABLE)?;
        let present: BTreeSet<_> = present.iter().map(|one| (one.destination, one.kind)).collect();
        self.installed.retain(|destination, route| present.contains(&(*destination, route.kind)));
        // What cannot be listed now stays known, so that it is removed in the end.
        for family in self.rules.clone() {
            if !self.netlink.rules(family)?.contains(&rule(family)) {
                self.rules.remove(&family);
            }
        }
        self.reconcile_all()
    }

    /// Changes the sizes announced with all routes.
    ///
    /// # Errors
    ///
    /// As [`Self::install`].
    pub fn set_sizes(&mut self, sizes: RouteSizes) -> Result<(), SysError> {
        self.plans.set_sizes(sizes);
        self.reconcile_all()
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

    fn reconcile_all(&mut self) -> Result<(), SysError> {
        let mut all = self.plans.networks();
        all.extend(self.installed.keys());
        self.reconcile(all)
    }

    /// Brings the routes to these networks to what the plans want.
    fn reconcile(&mut self, touched: BTreeSet<IpNet>) -> Result<(), SysError> {
        if let Err(error) = self.make_way(&touched) {
            self.retries.extend(touched);
            return Err(error);
        }
        let mut result = Ok(());
        for destination in touched {
            self.retries.remove(&destination);
            let Some(route) = self.plans.wanted(&destination) else { continue };
            if self.installed.get(&destination) == Some(route) {
                continue;
            }
            match self.netlink.replace_route(route) {
                Ok(()) => drop(self.installed.insert(destination, route.clone())),
                // One impossible route must not keep the others out.
                Err(error) => {
                    self.retries.extend([destination]);
                    result = result.and(Err(error));
                }
            }
        }
        for family in self.plans.families() {
            if !self.rules.contains(&family) {
                self.netlink.add_rule(&rule(family))?;
                self.rules.insert(family);
            }
        }
        result
    }

    /// Decides about these networks, and takes away what is not wanted. Rules go first and come last, so
    /// no packet meets half a table.
    fn make_way(&mut self, touched: &BTreeSet<IpNet>) -> Result<(), SysError> {
        let ways = self.look_up_ways(touched)?;
        self.plans.settle(touched, &ways);
        let families = self.plans.families();
        for family in self.rules.difference(&families) {
            self.netlink.delete_rule(&rule(*family))?;
        }
        self.rules.retain(|family| families.contains(family));
        self.remove_unwanted(touched)
    }

    fn look_up_ways(&mut self, touched: &BTreeSet<IpNet>) -> Result<Ways, SysError> {
        let mut ways = Ways { addresses: self.netlink.addresses()?, ..Ways::default() };
        for way in touched.iter().flat_map(|network| self.plans.ways(network)) {
            match way {
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
        Ok(ways)
    }

    fn remove_unwanted(&mut self, touched: &BTreeSet<IpNet>) -> Result<(), SysError> {
        // A route that changes between TUN and throw is removed too: IPv6 would keep both.
        let installed = touched.iter().filter_map(|network| self.installed.get(network));
        let unwanted: Vec<Route> = installed
            .filter(|route| {
                self.plans.wanted(&route.destination).is_none_or(|w| w.kind != route.kind)
            })
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

/// Some metric has to be given: IPv6 would make up 1024 and then not find the route again.
const METRIC: u32 = 10;

/// Routes that were not possible and that are tried again with each change.
const RETRIES_MAX: usize = 16;

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
