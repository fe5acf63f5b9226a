//! Which policies hold now: the SPD (RFC 4301 §4.4.1) made of what is configured, what an operator
//! installed and what was negotiated, and the routes that bring its traffic to the TUN.
//!
//! What an operator wrote down comes first, in its order. Then come the selectors of child SAs that
//! no configured entry covers (`dynamic`), the newest foremost, then the configured selectors in
//! order of name. Only a change of the configuration builds the database anew: a child SA adds and
//! removes entries of its own. A configured policy stays while its tunnel is down, so that its
//! traffic waits or is dropped and never leaves in clear.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use adit_db::{
    Action, ChildConfig, ChildName, ChildSa, ChildSaId, Connection, ConnectionName, Keep,
    OperatorPolicy, PolicyId, PolicyTable, Rank, Sides, Spd, SpdEntry, SpdError, TsSpec,
    single_address,
};
use adit_mgmt::api::{PolicyAction, PolicySource, PolicyStatus};
use adit_sys::route::{RoutePlan, prefixes_of_range};
use adit_wire::ikev2::TrafficSelector;
use adit_wire::ip::FlowKey;
use ipnet::IpNet;

/// Everything that decides about packets, kept in step with the IKE endpoint.
#[derive(Default)]
pub(crate) struct PolicyBook {
    table: PolicyTable,
    connections: BTreeMap<ConnectionName, Arc<Connection>>,
    /// What VICI's `install` and `uninstall` said last, over what `keep` says.
    installed: BTreeMap<PolicyId, bool>,
    negotiated: BTreeMap<ChildSaId, Negotiated>,
    /// The child SAs of each policy.
    users: BTreeMap<PolicyId, BTreeSet<ChildSaId>>,
    operator: Vec<OperatorPolicy>,
    in_force: InForce,
}

/// The database as it was built last, and what was added to it since.
#[derive(Default)]
struct InForce {
    spd: Spd,
    /// Names of the entries that operators wrote down.
    operators: Vec<ConnectionName>,
    /// The place of each configured child in the order.
    ranks: BTreeMap<PolicyId, Rank>,
    /// The entries of child SAs.
    live: BTreeMap<Rank, Sides>,
    /// See [`Spd::parts`]; filled in when somebody asks.
    parts: Option<BTreeMap<Rank, usize>>,
}

/// The order of entries: classes, and the order within each.
const OPERATOR: u64 = 0;
const BEYOND: u64 = 1 << 62;
const CONFIGURED: u64 = 2 << 62;

/// The newest child SA comes first.
fn beyond(id: ChildSaId) -> Rank {
    Rank(BEYOND | u64::from(u32::MAX - id.0))
}

/// A policy whose traffic is routed into the TUN.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Routed {
    /// The tunnel.
    pub(crate) connection: ConnectionName,
    /// Its networks.
    pub(crate) plan: RoutePlan,
    /// The peer, if it is configured by its one address.
    pub(crate) peer: Option<IpAddr>,
}

/// What two peers agreed on; it may be narrower than what is configured.
struct Negotiated {
    policy: PolicyId,
    sides: Sides,
}

impl Negotiated {
    /// Whether the entry is of the same policy and covers it.
    fn is_within(&self, entry: &SpdEntry) -> bool {
        let covered = |ours: &[TrafficSelector], theirs: &[TrafficSelector]| {
            ours.iter().all(|one| theirs.iter().any(|other| one.is_subset_of(other)))
        };
        entry.action == Action::Protect(self.policy)
            && covered(&self.sides.local, &entry.local)
            && covered(&self.sides.remote, &entry.remote)
    }
}

impl PolicyBook {
    /// Adds a connection or replaces the one of the same name; [`Self::rebuild`] puts it in force.
    pub(crate) fn load(&mut self, connection: Arc<Connection>) {
        for child in &connection.children {
            let policy = self.table.intern(&connection.name, &child.name);
            self.installed.remove(&policy);
        }
        self.connections.insert(connection.name.clone(), connection);
    }

    /// Removes a connection; what was negotiated stays until the SAs are removed.
    pub(crate) fn unload(&mut self, name: &ConnectionName) {
        self.connections.remove(name);
        let table = &self.table;
        self.installed
            .retain(|policy, _| table.names(*policy).is_some_and(|(owner, _)| owner != name));
    }

    /// Holds a child's policy while there is no SA (VICI `install`), or stops that, whatever its
    /// `keep` is.
    pub(crate) fn install(&mut self, policy: PolicyId, install: bool) {
        self.installed.insert(policy, install);
    }

    /// Replaces the entries that operators wrote down.
    pub(crate) fn set_operator(&mut self, policies: Vec<OperatorPolicy>) {
        self.operator = policies;
    }

    /// Adds a negotiated child SA and gives the number of its policy. What a peer negotiates within
    /// a policy adds no entry: the number of entries stays the operator's choice.
    pub(crate) fn add_sa(&mut self, sa: &ChildSa) -> PolicyId {
        let policy = self.table.intern(&sa.connection, &sa.child);
        let sides = Sides { local: sa.local_ts.clone(), remote: sa.remote_ts.clone() };
        self.add_negotiated(sa.id, Negotiated { policy, sides });
        policy
    }

    fn add_negotiated(&mut self, id: ChildSaId, negotiated: Negotiated) {
        let policy = negotiated.policy;
        self.negotiated.insert(id, negotiated);
        self.users.entry(policy).or_default().insert(id);
        self.add_live(policy, id);
    }

    /// Removes a negotiated child SA and gives the number of its policy.
    pub(crate) fn remove_sa(&mut self, id: ChildSaId) -> Option<PolicyId> {
        let Negotiated { policy, .. } = self.negotiated.remove(&id)?;
        self.in_force.remove(beyond(id));
        let users = self.users.entry(policy).or_default();
        users.remove(&id);
        if users.is_empty() {
            self.users.remove(&policy);
            if let Some(rank) = self.in_force.ranks.get(&policy) {
                self.in_force.remove(*rank);
            }
        }
        Some(policy)
    }

    /// Puts in force what was loaded, unloaded and installed since the last time.
    ///
    /// # Errors
    ///
    /// [`SpdError`] if the configuration is too large; then everything stays as it was.
    pub(crate) fn rebuild(&mut self) -> Result<(), SpdError> {
        let mut ranks = BTreeMap::new();
        let operator = (OPERATOR..).map(Rank).zip(&self.operator);
        let mut entries: Vec<(Rank, SpdEntry)> =
            operator.map(|(rank, policy)| (rank, policy.entry.clone())).collect();
        let children = self.connections.values().flat_map(|connection| {
            connection.children.iter().map(move |child| (connection, child))
        });
        for (number, (connection, child)) in (CONFIGURED..).zip(children) {
            let Some(policy) = self.table.id(&connection.name, &child.name) else { continue };
            ranks.insert(policy, Rank(number));
            if self.is_held(policy, child) {
                let entry = SpdEntry::configured(connection, child, policy);
                entries.extend(entry.map(|entry| (Rank(number), entry)));
            }
        }
        let spd = Spd::ranked(entries)?;
        let operators = self.operator.iter().map(|policy| policy.name.clone()).collect();
        self.in_force = InForce { spd, operators, ranks, ..InForce::default() };
        let users: Vec<_> = self.negotiated.iter().map(|(id, sa)| (sa.policy, *id)).collect();
        for (policy, id) in users {
            self.add_live(policy, id);
        }
        Ok(())
    }

    /// Adds the entries that a child SA brings with it: that of its child, if only SAs give it one,
    /// and its own if that does not cover it.
    fn add_live(&mut self, policy: PolicyId, id: ChildSaId) {
        let configured = self.entry(policy);
        if let (Some(rank), Some(entry)) = (self.in_force.ranks.get(&policy), &configured) {
            let rank = *rank;
            let held = self.child(policy).is_some_and(|(_, child)| self.is_held(policy, child));
            if !held {
                let SpdEntry { local, remote, .. } = entry.clone();
                self.in_force.insert(rank, policy, Sides { local, remote });
            }
        }
        let Some(negotiated) = self.negotiated.get(&id) else { return };
        if !configured.is_some_and(|entry| negotiated.is_within(&entry)) {
            self.in_force.insert(beyond(id), policy, negotiated.sides.clone());
        }
    }

    /// The database in force.
    pub(crate) fn spd(&self) -> &Spd {
        &self.in_force.spd
    }

    /// The policy of a configured child.
    pub(crate) fn policy(
        &self,
        connection: &ConnectionName,
        child: &ChildName,
    ) -> Option<PolicyId> {
        self.table.id(connection, child)
    }

    /// The child of a policy.
    pub(crate) fn names(&self, policy: PolicyId) -> Option<(ConnectionName, ChildName)> {
        self.table.names(policy).map(|(connection, child)| (connection.clone(), child.clone()))
    }

    /// The first entries in force, for people.
    pub(crate) fn list(&mut self, count: usize) -> Vec<PolicyStatus> {
        self.count_parts();
        let entries = self.in_force.spd.entries().take(count).enumerate();
        entries.map(|(place, (rank, entry))| self.show(place, rank, entry)).collect()
    }

    /// The entry in force that decides about a packet that leaves, for people.
    pub(crate) fn deciding(&mut self, flow: &FlowKey) -> Option<PolicyStatus> {
        self.count_parts();
        let (rank, entry) = self.in_force.spd.entry_outbound(flow)?;
        Some(self.show(self.in_force.spd.before(rank), rank, entry))
    }

    fn count_parts(&mut self) {
        let InForce { spd, parts, .. } = &mut self.in_force;
        parts.get_or_insert_with(|| spd.parts().into_iter().collect());
    }

    fn show(&self, place: usize, rank: Rank, entry: &SpdEntry) -> PolicyStatus {
        let parts = self.in_force.parts.as_ref();
        let mut status = PolicyStatus {
            number: place + 1,
            local: entry.local.iter().map(|ts| TsSpec::from(*ts).to_string()).collect(),
            remote: entry.remote.iter().map(|ts| TsSpec::from(*ts).to_string()).collect(),
            parts: parts.and_then(|parts| parts.get(&rank)).copied(),
            ..PolicyStatus::default()
        };
        match entry.action {
            Action::Bypass => status.action = PolicyAction::Bypass,
            Action::Discard => status.action = PolicyAction::Discard,
            Action::Protect(policy) => {
                let configured = rank >= Rank(CONFIGURED);
                status.action = PolicyAction::Protect;
                status.source = if configured { PolicySource::Tunnel } else { PolicySource::Peer };
                if let Some((connection, child)) = self.names(policy) {
                    status.name = connection.to_string();
                    status.child = Some(child.to_string());
                }
            }
        }
        let operator = usize::try_from(rank.0).ok().and_then(|n| self.in_force.operators.get(n));
        if let Some(name) = operator {
            status.name = name.to_string();
        }
        status
    }

    /// The networks that must be routed to the TUN, by policy, each with the side we speak for.
    pub(crate) fn routed(&self) -> BTreeMap<PolicyId, Routed> {
        let policies = self.in_force.ranks.keys().chain(self.users.keys()).copied();
        let policies: BTreeSet<PolicyId> = policies.collect();
        let routed = |policy| Some((policy, self.routed_by(policy)?));
        policies.into_iter().filter_map(routed).collect()
    }

    /// The networks of one policy that must be routed to the TUN; `None` if it has none.
    pub(crate) fn routed_by(&self, policy: PolicyId) -> Option<Routed> {
        let (connection, _) = self.table.names(policy)?;
        let configured = self.entry(policy);
        let configured = configured.iter().map(|entry| (&entry.local, &entry.remote));
        let users = self.users.get(&policy).into_iter().flatten();
        let negotiated = users.filter_map(|id| self.negotiated.get(id));
        let negotiated = negotiated.map(|sa| (&sa.sides.local, &sa.sides.remote));
        let mut plan: Option<RoutePlan> = None;
        for (local, remote) in negotiated.chain(configured) {
            let plan = plan.get_or_insert_default();
            plan.local.extend(local.iter().flat_map(prefixes));
            plan.remote.extend(remote.iter().flat_map(prefixes));
        }
        let mut plan = plan?;
        for side in [&mut plan.local, &mut plan.remote] {
            side.sort();
            side.dedup();
        }
        let peer = self.connections.get(connection);
        let peer = peer.and_then(|connection| single_address(&connection.remote_addresses));
        Some(Routed { connection: connection.clone(), plan, peer })
    }

    /// A policy's configured child.
    fn child(&self, policy: PolicyId) -> Option<(&Connection, &ChildConfig)> {
        let (connection, child) = self.table.names(policy)?;
        let connection = self.connections.get(connection)?;
        Some((connection, connection.child(child)?))
    }

    /// Whether a child has its entry without an SA.
    fn is_held(&self, policy: PolicyId, child: &ChildConfig) -> bool {
        self.installed.get(&policy).copied().unwrap_or(child.keep != Keep::Passive)
    }

    /// The configured entry of a policy, if it is held or in use.
    fn entry(&self, policy: PolicyId) -> Option<SpdEntry> {
        let (connection, child) = self.child(policy)?;
        if !self.is_held(policy, child) && !self.users.contains_key(&policy) {
            return None;
        }
        SpdEntry::configured(connection, child, policy)
    }
}

impl InForce {
    fn insert(&mut self, rank: Rank, policy: PolicyId, sides: Sides) {
        if !self.live.contains_key(&rank) {
            self.spd.insert(rank, policy, &sides);
            self.live.insert(rank, sides);
        }
    }

    fn remove(&mut self, rank: Rank) {
        if let Some(sides) = self.live.remove(&rank) {
            self.spd.remove(rank, &sides);
        }
    }
}

fn prefixes(selector: &TrafficSelector) -> Vec<IpNet> {
    prefixes_of_range(selector.start, selector.end)
}

#[cfg(test)]
mod any_order;
#[cfg(test)]
mod tests;
