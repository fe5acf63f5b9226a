//! Entries of SAs that are keyed by hand: behind the operator's policies, before what peers negotiate
//! and tunnels, so that nobody's negotiation takes their traffic.

use std::sync::Arc;

use adit_db::{ChildSaId, ConnectionName, Directions, ManualSa, PolicyId, Rank, SpdEntry};
use adit_sys::route::{RoutePlan, TunnelWay};
use ipnet::IpNet;

use super::{PolicyBook, Routed, prefixes};

/// The rank of the first.
pub(super) const MANUAL: u64 = 1 << 61;

/// An SA that is keyed by hand.
pub(super) struct Manual {
    sa: Arc<ManualSa>,
    id: ChildSaId,
    policy: PolicyId,
}

impl PolicyBook {
    /// Adds an SA and gives the number of its policy; [`Self::rebuild`] puts that in force. `None`
    /// if its name is too long.
    pub(crate) fn add_manual(&mut self, sa: Arc<ManualSa>, id: ChildSaId) -> Option<PolicyId> {
        let policy = self.table.intern(&sa.name, &sa.child_name()?);
        self.manual.insert(sa.name.clone(), Manual { sa, id, policy });
        Some(policy)
    }

    /// Removes an SA and gives its number; [`Self::rebuild`] takes its policy out of force.
    pub(crate) fn remove_manual(&mut self, name: &ConnectionName) -> Option<ChildSaId> {
        self.manual.remove(name).map(|manual| manual.id)
    }

    /// The SA that is keyed by hand and has this number.
    pub(crate) fn manual(&self, id: ChildSaId) -> Option<&ManualSa> {
        self.manual.values().find(|manual| manual.id == id).map(|manual| &*manual.sa)
    }

    /// Their entries, in the order of names.
    pub(super) fn manual_entries(&self) -> impl Iterator<Item = (Rank, SpdEntry)> {
        let entries = self.manual.values().map(|manual| manual.sa.policy(manual.policy));
        (MANUAL..).map(Rank).zip(entries)
    }

    /// Their policies.
    pub(super) fn manual_policies(&self) -> impl Iterator<Item = PolicyId> {
        self.manual.values().map(|manual| manual.policy)
    }

    /// What is routed to the TUN for one of their policies: nothing for who only listens, nor IPv6
    /// groups, for which the kernel has routes in the local table, before any of ours.
    pub(super) fn routed_by_hand(&self, policy: PolicyId) -> Option<Routed> {
        let manual = self.manual.values().find(|manual| manual.policy == policy)?;
        let ManualSa { name, local_ts, remote_ts, remote, .. } = &*manual.sa;
        let peer = match &manual.sa.directions {
            Directions::FromGroup { .. } => return None,
            Directions::ToGroup(_) => None,
            Directions::Both { .. } => Some(remote.ip()),
        };
        let is_v6_group = |net: &IpNet| matches!(net, IpNet::V6(net) if net.addr().is_multicast());
        let plan = RoutePlan {
            local: local_ts.iter().flat_map(prefixes).collect(),
            remote: remote_ts.iter().flat_map(prefixes).filter(|net| !is_v6_group(net)).collect(),
            mtu: None,
        };
        if plan.remote.is_empty() {
            return None;
        }
        Some(Routed { connection: name.clone(), plan, way: TunnelWay::Tun, peer })
    }
}
