//! What the paths of SAs take: the first link is looked up here, and whoever must know what is in force
//! hears of it, which are routes and the other direction.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use adit_dataplane::{EchoProbe, InboundCommand, MtuSource, OutboundCommand};
use adit_db::{ChildSa, ChildSaId, PerFamily, PolicyId, TableId};
use adit_sys::clock;
use adit_sys::netlink::{Netlink, RouteLookup};
use adit_sys::route::MARK;
use tracing::{debug, info, warn};

use super::Running;
use crate::message::{RouteChange, ToParent};

/// What interfaces take, by number, octets; and by which one leads the way that was asked for last.
#[derive(Debug, Default)]
pub(super) struct LinkMtus {
    of: BTreeMap<u32, u32>,
    last: Option<Way>,
}

/// A way that was asked for.
#[derive(Clone, Copy, Debug)]
struct Way {
    remote: IpAddr,
    interface: u32,
    asked: Instant,
}

/// Children of one peer come together, and the kernel is asked once for those that come within this
/// time. News of the network makes it forget at once.
const WAY_HOLDS: Duration = Duration::from_millis(100);

impl LinkMtus {
    fn read(netlink: &mut Netlink) -> Self {
        let links = netlink.links().unwrap_or_default();
        Self { of: links.into_iter().map(|link| (link.index, link.mtu)).collect(), last: None }
    }

    /// The interface of the way that was asked for last, if it was this one and not long ago.
    fn known(&self, remote: IpAddr, now: Instant) -> Option<u32> {
        let holds = |way: &Way| now.saturating_duration_since(way.asked) < WAY_HOLDS;
        self.last.filter(|way| way.remote == remote && holds(way)).map(|way| way.interface)
    }
}

impl Running {
    /// Another path MTU is in force for the outbound half of a child SA; each packet thread says so.
    pub(super) fn path_mtu(
        &mut self,
        child: ChildSaId,
        (mtu, inner): (u16, u16),
        source: MtuSource,
    ) {
        debug!(child = child.0, mtu, inner, source = source.name(), "path MTU");
        self.tell_inbound(|| InboundCommand::InnerMtu { child, inner });
        if let Some(policy) = self.policies.set_inner_mtu(child, inner) {
            let routed = self.policies.routed_by(policy);
            self.publish_routes(RouteChange::One(policy, routed));
        }
    }

    /// What the first link on the way to a peer takes, octets; `None` if there is no way now. The MTU
    /// of its route is not asked for: it may be what the kernel has learnt from messages that nobody
    /// has authenticated, and does not say so.
    pub(super) fn link_mtu(&mut self, remote: IpAddr) -> Option<u16> {
        let now = clock::now();
        let known = self.link_mtus.known(remote, now);
        let interface = match known {
            Some(interface) => interface,
            None => self.way_to(remote)?,
        };
        if !self.link_mtus.of.contains_key(&interface) {
            self.link_mtus = LinkMtus::read(&mut self.netlink);
        }
        let mtu = *self.link_mtus.of.get(&interface)?;
        if known.is_none() {
            self.link_mtus.last = Some(Way { remote, interface, asked: now });
        }
        Some(u16::try_from(mtu).unwrap_or(u16::MAX))
    }

    /// The interface of the way to a peer.
    fn way_to(&mut self, remote: IpAddr) -> Option<u32> {
        let RouteLookup { interface, .. } =
            self.netlink.lookup_route(remote, None, MARK).ok().filter(|way| way.interface != 0)?;
        Some(interface)
    }

    /// By which echo requests the path of a child SA is probed, if its peer answers no probes. Why it is
    /// not though it should be is said once, not again with every SA that replaces another.
    pub(super) fn echo_probe(&mut self, sa: &ChildSa) -> Option<EchoProbe> {
        let chosen = EchoProbe::choose(sa, || {
            let addresses = self.netlink.addresses().unwrap_or_default();
            let usable = addresses.iter().filter(|one| one.global && one.usable);
            usable.map(adit_sys::netlink::Address::address).collect()
        });
        match chosen {
            Ok(chosen) => chosen,
            Err(_) if sa.rekeys.is_some() => None,
            Err(reason) if sa.mtu.echo.to == PerFamily::NONE => {
                info!(tunnel = %sa.connection, "the path is not probed by echo requests: {reason}");
                None
            }
            Err(reason) => {
                warn!(tunnel = %sa.connection, "`path_probe` has no effect: {reason}");
                None
            }
        }
    }

    /// Looks at the links again after a change of the network, and tells those SAs whose way may lead
    /// over another one.
    pub(super) fn tell_link_mtus(&mut self) {
        let before = std::mem::replace(&mut self.link_mtus, LinkMtus::read(&mut self.netlink));
        if before.of == self.link_mtus.of {
            return;
        }
        let mut by_peer = BTreeMap::new();
        let mut links = Vec::new();
        for (child, remote) in self.policies.peers_in_userspace() {
            let known = by_peer.get(&remote).copied();
            let found = known.unwrap_or_else(|| self.link_mtu(remote));
            by_peer.insert(remote, found);
            self.tell_link_mtu(child, found);
            links.extend(found.map(|mtu| (child, mtu)));
        }
        self.policies.set_links(&links);
        self.publish_tun_mtus();
    }

    /// The first link on the way to the peer of a new SA takes so many octets.
    pub(super) fn note_link(&mut self, policy: PolicyId, mtu: Option<u16>) {
        if mtu.is_some_and(|mtu| self.policies.note_link(policy, mtu)) {
            self.publish_tun_mtus();
        }
    }

    /// Has interfaces take other packets than before, if they are to; before anything longer comes the
    /// engine has room for it.
    pub(super) fn publish_tun_mtus(&mut self) {
        let Some((mtus, policies)) = self.policies.settle_tun_mtus() else { return };
        // Only one can be the longest, and what is longer than its interface takes comes by none.
        let usual = self.policies.tun_mtu(TableId::DEFAULT);
        let longest = mtus.values().copied().fold(usual, u16::max);
        self.tell_outbound(|| OutboundCommand::TunMtu(longest));
        self.tell_parent(ToParent::TunMtus(mtus));
        for policy in policies {
            let routed = self.policies.routed_by(policy);
            self.publish_routes(RouteChange::One(policy, routed));
        }
    }

    /// Tells an SA what the first link on its way takes.
    pub(super) fn tell_link_mtu(&self, child: ChildSaId, mtu: Option<u16>) {
        if let Some(mtu) = mtu {
            let (child, source) = (self.bundles.outermost(child), MtuSource::Link);
            self.tell_outbound(|| OutboundCommand::PathMtu { child, mtu, source });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// For one peer and a moment; looking at the links again forgets it.
    #[test]
    fn the_way_to_a_peer_is_known_for_a_moment() {
        let (peer, other) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        let asked = clock::now();
        let last = Some(Way { remote: peer, interface: 3, asked });
        let mtus = LinkMtus { of: BTreeMap::new(), last };
        assert_eq!(mtus.known(peer, asked), Some(3));
        assert_eq!(mtus.known(other, asked), None);
        assert_eq!(mtus.known(peer, asked + WAY_HOLDS), None);
        assert_eq!(LinkMtus::default().known(peer, asked), None);
    }
}
