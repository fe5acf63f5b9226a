//! What interfaces of tunnels and the routes into them say about the longest packet (RFC 4301 §8.2.1): so
//! the host's own TCP and what the kernel forwards keep to what the SAs take, and the kernel answers for
//! what does not.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use adit_dataplane::INNER_MTU;
use adit_db::{ChildSaId, Engine, PolicyId, TableId, TunMtu};

use super::{PolicyBook, engine};

/// The longest packets, octets.
#[derive(Debug, Default)]
pub(super) struct Mtus {
    /// That child SAs take inside.
    inner: BTreeMap<(PolicyId, ChildSaId), u16>,
    /// That fit the links to the peers, by interface; [`INNER_MTU`] where nothing is here.
    by_links: BTreeMap<TableId, u16>,
    /// That interfaces take.
    tuns: BTreeMap<TableId, u16>,
}

impl Mtus {
    /// An SA is gone.
    pub(super) fn forget(&mut self, policy: PolicyId, child: ChildSaId) {
        self.inner.remove(&(policy, child));
    }
}

/// What an interface takes whose packets leave by a link that takes so much. What is usual stays as it
/// is with every cipher, and a link beyond all usual ones counts as one that takes 9,000.
pub(crate) fn tun_mtu_for(link: u16) -> u16 {
    if link <= ETHERNET_MTU {
        return INNER_MTU;
    }
    let overhead = ETHERNET_MTU.saturating_sub(INNER_MTU);
    link.saturating_sub(overhead).clamp(INNER_MTU, *TunMtu::RANGE.end())
}

const ETHERNET_MTU: u16 = 1_500;

impl PolicyBook {
    /// Notes the longest packet, octets, that a negotiated child SA takes, and gives the policy whose
    /// routes say something else from now on, if one does.
    pub(crate) fn set_inner_mtu(&mut self, child: ChildSaId, inner: u16) -> Option<PolicyId> {
        let policy = self.negotiated.get(child)?.policy;
        let before = self.route_mtu(policy);
        self.mtus.inner.insert((policy, child), inner);
        (self.route_mtu(policy) != before).then_some(policy)
    }

    /// Child SAs of the engine in user space whose packets go straight to their peers, and where these
    /// are. What a tunnel has over it, that one carries.
    pub(crate) fn peers_in_userspace(&self) -> Vec<(ChildSaId, IpAddr)> {
        let is_direct = |policy| {
            let names = self.table.names(policy);
            let connection = names.and_then(|(connection, _)| self.connections.get(connection));
            connection.is_none_or(|connection| connection.over.is_none())
        };
        let sas = self.negotiated.iter();
        let sas = sas.filter(|(_, sa)| sa.engine != Engine::Kernel && is_direct(sa.policy));
        sas.map(|(child, sa)| (child, sa.peer)).collect()
    }

    /// The longest packet that every SA of a policy takes, octets; `None` if that is what its interface
    /// does.
    pub(super) fn route_mtu(&self, policy: PolicyId) -> Option<u32> {
        let all = (policy, ChildSaId(0))..=(policy, ChildSaId(u32::MAX));
        let least = self.mtus.inner.range(all).map(|(_, inner)| *inner).min()?;
        // What the interface takes needs no word of ours.
        (least < self.tun_mtu(self.table_of(policy))).then_some(u32::from(least))
    }

    /// What an interface takes, octets.
    pub(crate) fn tun_mtu(&self, table: TableId) -> u16 {
        self.mtus.tuns.get(&table).copied().unwrap_or(INNER_MTU)
    }

    /// A link to a peer of this child SA takes so many octets; whether the interface is to take more.
    pub(crate) fn note_link(&mut self, policy: PolicyId, link: u16) -> bool {
        let fits = tun_mtu_for(link);
        if fits <= INNER_MTU {
            return false;
        }
        let table = self.table_of(policy);
        let known = self.mtus.by_links.entry(table).or_insert(INNER_MTU);
        let is_more = fits > *known;
        *known = fits.max(*known);
        is_more
    }

    /// The links to the peers of all SAs take so much, by child; what was known of others is forgotten.
    pub(crate) fn set_links(&mut self, links: &[(ChildSaId, u16)]) {
        self.mtus.by_links.clear();
        for (child, link) in links {
            if let Some(policy) = self.negotiated.get(*child).map(|sa| sa.policy) {
                self.note_link(policy, *link);
            }
        }
    }

    /// Has interfaces take what configuration and links say, if that is not so yet. Gives what each
    /// takes then, and the policies whose routes say something else from now on.
    pub(crate) fn settle_tun_mtus(&mut self) -> Option<(BTreeMap<TableId, u16>, Vec<PolicyId>)> {
        let mut tuns = BTreeMap::new();
        for (_, connection, child) in self.children() {
            if engine(connection) != Engine::Userspace {
                continue;
            }
            let interface = child.kernel.steering.interface.as_ref();
            let table = interface.map_or(TableId::DEFAULT, |name| self.tables.number_of(name));
            let mtu = match child.kernel.tun_mtu {
                TunMtu::Fixed(mtu) => mtu,
                TunMtu::Auto => self.mtus.by_links.get(&table).copied().unwrap_or(INNER_MTU),
            };
            let longest = tuns.entry(table).or_insert(mtu);
            *longest = mtu.max(*longest);
        }
        tuns.retain(|_, mtu| *mtu != INNER_MTU);
        if tuns == self.mtus.tuns {
            return None;
        }
        let policies: BTreeSet<_> = self.mtus.inner.keys().map(|(policy, _)| *policy).collect();
        let before: Vec<_> = policies.iter().map(|policy| self.route_mtu(*policy)).collect();
        self.mtus.tuns.clone_from(&tuns);
        let others = policies.into_iter().zip(before);
        let others = others.filter(|(policy, before)| self.route_mtu(*policy) != *before);
        let others = others.map(|(policy, _)| policy).collect();
        Some((tuns, others))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CHECKLIST PM-10: usual links change nothing, larger ones give what they have, and none more than
    /// buffers hold.
    #[test]
    fn an_interface_takes_what_fits_its_links() {
        let sizes = [576, 1_280, 1_500, 1_501, 1_600, 4_000, 9_000, 9_600, u16::MAX];
        let fits = sizes.map(tun_mtu_for);
        assert_eq!(fits, [1_390, 1_390, 1_390, 1_391, 1_490, 3_890, 8_890, 8_890, 8_890]);
    }
}
