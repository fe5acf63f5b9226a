//! What the routes into tunnels say about the longest packet (RFC 4301 §8.2.1): so the host's own TCP
//! and what the kernel forwards keep to what the SAs take, and the kernel answers for what does not.

use std::net::IpAddr;

use adit_dataplane::INNER_MTU;
use adit_db::{ChildSaId, Engine, PolicyId};

use super::PolicyBook;

impl PolicyBook {
    /// Notes the longest packet, octets, that a negotiated child SA takes, and gives the policy whose
    /// routes say something else from now on, if one does.
    pub(crate) fn set_inner_mtu(&mut self, child: ChildSaId, inner: u16) -> Option<PolicyId> {
        let policy = self.negotiated.get(child)?.policy;
        let before = self.route_mtu(policy);
        // What the TUN takes needs no word of ours.
        if inner < INNER_MTU {
            self.inner_mtus.insert((policy, child), inner);
        } else {
            self.inner_mtus.remove(&(policy, child));
        }
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

    /// The longest packet that every SA of a policy takes, octets; `None` if that is what the TUN does.
    pub(super) fn route_mtu(&self, policy: PolicyId) -> Option<u32> {
        let all = (policy, ChildSaId(0))..=(policy, ChildSaId(u32::MAX));
        self.inner_mtus.range(all).map(|(_, inner)| u32::from(*inner)).min()
    }
}
