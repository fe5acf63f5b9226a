//! Which policies hold now: the SPD (RFC 4301 §4.4.1) made of what is configured, what an operator
//! installed and what was negotiated, and the routes that bring its traffic to the TUN.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::Range;
use std::sync::Arc;

use adit_db::{
    Action, ChildConfig, ChildName, ChildSa, ChildSaId, Connection, ConnectionName, Keep,
    OperatorPolicy, PolicyId, PolicyTable, Spd, SpdEntry, SpdError, single_address,
};
use adit_mgmt::api::{PolicyAction, PolicySource, PolicyStatus};
use adit_sys::route::{RoutePlan, prefixes_of_range};
use adit_wire::ikev2::TrafficSelector;
use ipnet::IpNet;

/// Everything that decides about packets, kept in step with the IKE endpoint.
#[derive(Default)]
pub(crate) struct PolicyBook {
    table: PolicyTable,
    connections: BTreeMap<ConnectionName, Arc<Connection>>,
    /// What VICI's `install` and `uninstall` said last, over what `keep` says.
    installed: BTreeMap<PolicyId, bool>,
    negotiated: BTreeMap<ChildSaId, Negotiated>,
    operator: Vec<OperatorPolicy>,
}

/// The policies as they hold, and where they come from.
#[derive(Default)]
pub(crate) struct Policies {
    /// The database.
    pub(crate) spd: Arc<Spd>,
    /// Names of its first entries, which operators wrote down.
    pub(crate) operators: Vec<ConnectionName>,
    /// Which entries were negotiated.
    pub(crate) negotiated: Range<usize>,
    /// Why what peers negotiated is not in it.
    pub(crate) left_out: Option<SpdError>,
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
    local: Vec<TrafficSelector>,
    remote: Vec<TrafficSelector>,
}

impl Negotiated {
    /// Whether the entry is of the same policy and covers it.
    fn is_within(&self, entry: &SpdEntry) -> bool {
        let covered = |ours: &[TrafficSelector], theirs: &[TrafficSelector]| {
            ours.iter().all(|one| theirs.iter().any(|other| one.is_subset_of(other)))
        };
        entry.action == Action::Protect(self.policy)
            && covered(&self.local, &entry.local)
            && covered(&self.remote, &entry.remote)
    }
}

impl PolicyBook {
    /// Adds a connection or replaces the one of the same name.
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

    /// Adds a negotiated child SA and gives the number of its policy.
    pub(crate) fn add_sa(&mut self, sa: &ChildSa) -> PolicyId {
        let policy = self.table.intern(&sa.connection, &sa.child);
        let negotiated =
            Negotiated { policy, local: sa.local_ts.clone(), remote: sa.remote_ts.clone() };
        self.negotiated.insert(sa.id, negotiated);
        policy
    }

    /// Removes a negotiated child SA.
    pub(crate) fn remove_sa(&mut self, id: ChildSaId) {
        self.negotiated.remove(&id);
    }

    /// The policy of a configured child.
    pub(crate) fn policy(
        &self,
        connection: &ConnectionName,
        child: &ChildName,
    ) -> Option<PolicyId> {
        self.table.id(connection, child)
    }

    /// The entry at a place of the policies in force, for people.
    pub(crate) fn show(&self, policies: &Policies, place: usize, parts: usize) -> PolicyStatus {
        let mut status = PolicyStatus { number: place + 1, parts, ..PolicyStatus::default() };
        let Some(entry) = policies.spd.entries().get(place) else {
            return status;
        };
        status.local = entry.local.iter().map(ToString::to_string).collect();
        status.remote = entry.remote.iter().map(ToString::to_string).collect();
        match entry.action {
            Action::Bypass => status.action = PolicyAction::Bypass,
            Action::Discard => status.action = PolicyAction::Discard,
            Action::Protect(policy) => {
                status.action = PolicyAction::Protect;
                let negotiated = policies.negotiated.contains(&place);
                status.source = if negotiated { PolicySource::Peer } else { PolicySource::Tunnel };
                if let Some((connection, child)) = self.names(policy) {
                    status.name = connection.to_string();
                    status.child = Some(child.to_string());
                }
            }
        }
        if let Some(name) = policies.operators.get(place) {
            status.name = name.to_string();
        }
        status
    }

    /// The child of a policy.
    pub(crate) fn names(&self, policy: PolicyId) -> Option<(ConnectionName, ChildName)> {
        self.table.names(policy).map(|(connection, child)| (connection.clone(), child.clone()))
    }

    /// Replaces the entries that operators wrote down.
    pub(crate) fn set_operator(&mut self, policies: Vec<OperatorPolicy>) {
        self.operator = policies;
    }

    /// The database: what operators wrote down in its order, then the configured selectors in order
    /// of name, and before them those negotiated ones that no configured entry covers (`dynamic`),
    /// the newest foremost. What a peer negotiates within a policy adds no entry: its size stays
    /// the operator's choice. A configured policy stays while its tunnel is down, so that its
    /// traffic waits or is dropped and never leaves in clear.
    ///
    /// # Errors
    ///
    /// [`SpdError`] if the configuration alone is too large. If only what peers negotiated makes
    /// it so, [`Policies::left_out`] says that theirs is left out.
    pub(crate) fn build(&self) -> Result<Policies, SpdError> {
        let configured: Vec<SpdEntry> = self.configured().collect();
        let beyond = |sa: &&Negotiated| !configured.iter().any(|entry| sa.is_within(entry));
        let negotiated = self.negotiated.values().rev().filter(beyond).map(|sa| SpdEntry {
            local: sa.local.clone(),
            remote: sa.remote.clone(),
            action: Action::Protect(sa.policy),
        });
        let negotiated: Vec<SpdEntry> = negotiated.collect();
        match self.policies(negotiated, configured.clone()) {
            Ok(policies) => Ok(policies),
            Err(error) => {
                let policies = self.policies(Vec::new(), configured)?;
                Ok(Policies { left_out: Some(error), ..policies })
            }
        }
    }

    fn policies(
        &self,
        negotiated: Vec<SpdEntry>,
        configured: Vec<SpdEntry>,
    ) -> Result<Policies, SpdError> {
        let operator = self.operator.iter().map(|policy| policy.entry.clone());
        let operators = self.operator.iter().map(|policy| policy.name.clone()).collect();
        let negotiated_from = self.operator.len();
        let negotiated_until = negotiated_from + negotiated.len();
        let entries = operator.chain(negotiated).chain(configured).collect();
        let spd = Arc::new(Spd::new(entries)?);
        Ok(Policies {
            spd,
            operators,
            negotiated: negotiated_from..negotiated_until,
            left_out: None,
        })
    }

    /// The networks that must be routed to the TUN, by policy, each with the side we speak for.
    pub(crate) fn routed(&self) -> BTreeMap<PolicyId, Routed> {
        let routed = |(policy, plan)| {
            let (connection, _) = self.table.names(policy)?;
            let peer = self.connections.get(connection).map(|c| single_address(&c.remote_addresses));
            let peer = peer.flatten();
            Some((policy, Routed { connection: connection.clone(), plan, peer }))
        };
        self.routes().into_iter().filter_map(routed).collect()
    }

    /// See [`Self::routed`].
    fn routes(&self) -> BTreeMap<PolicyId, RoutePlan> {
        let mut plans: BTreeMap<PolicyId, RoutePlan> = BTreeMap::new();
        let negotiated = self.negotiated.values().map(|sa| (sa.policy, &sa.local, &sa.remote));
        let configured: Vec<_> = self.configured().collect();
        let configured = configured.iter().filter_map(|entry| match entry.action {
            Action::Protect(policy) => Some((policy, &entry.local, &entry.remote)),
            Action::Bypass | Action::Discard => None,
        });
        for (policy, local, remote) in negotiated.chain(configured) {
            let plan = plans.entry(policy).or_default();
            plan.local.extend(local.iter().flat_map(prefixes));
            plan.remote.extend(remote.iter().flat_map(prefixes));
        }
        for plan in plans.values_mut() {
            for side in [&mut plan.local, &mut plan.remote] {
                side.sort();
                side.dedup();
            }
        }
        plans
    }

    fn configured(&self) -> impl Iterator<Item = SpdEntry> {
        self.connections.values().flat_map(move |connection| {
            connection.children.iter().filter_map(move |child| self.entry(connection, child))
        })
    }

    fn entry(&self, connection: &Connection, child: &ChildConfig) -> Option<SpdEntry> {
        let policy = self.table.id(&connection.name, &child.name)?;
        let alive = || self.negotiated.values().any(|sa| sa.policy == policy);
        let held = self.installed.get(&policy).copied().unwrap_or(child.keep != Keep::Passive);
        if !held && !alive() {
            return None;
        }
        SpdEntry::configured(connection, child, policy)
    }
}

fn prefixes(selector: &TrafficSelector) -> Vec<IpNet> {
    prefixes_of_range(selector.start, selector.end)
}

#[cfg(test)]
mod tests {
    use adit_db::{HostSpec, TsSpec};

    use super::*;

    fn connection(keep: Keep) -> Arc<Connection> {
        let mut connection = Connection::new("berlin".parse().unwrap());
        connection.remote_addresses = vec![HostSpec::Address("203.0.113.7".parse().unwrap())];
        let mut child = ChildConfig::new("net".parse().unwrap()).kept(keep);
        child.local_ts = vec!["10.1.0.0/24".parse().unwrap()];
        child.remote_ts = vec!["10.2.0.0/24".parse().unwrap()];
        connection.children.push(child);
        Arc::new(connection)
    }

    #[test]
    fn a_wanted_tunnel_holds_its_policy_while_it_is_down() {
        let mut book = PolicyBook::default();
        book.load(connection(Keep::Up));
        assert_eq!(book.build().unwrap().spd.entries().len(), 1);
        let plan = book.routes().into_values().next().unwrap();
        assert_eq!(plan.remote, ["10.2.0.0/24".parse().unwrap()]);

        book.unload(&"berlin".parse().unwrap());
        assert!(book.routes().is_empty());
    }

    #[test]
    fn a_passive_tunnel_has_a_policy_only_when_installed() {
        let mut book = PolicyBook::default();
        book.load(connection(Keep::Passive));
        assert!(book.routes().is_empty());

        let policy = book.policy(&"berlin".parse().unwrap(), &"net".parse().unwrap()).unwrap();
        book.install(policy, true);
        assert_eq!(book.routes().len(), 1);
        book.install(policy, false);
        assert!(book.routes().is_empty());
    }

    #[test]
    fn uninstall_takes_the_policy_of_a_trap_until_it_is_loaded_anew() {
        let mut book = PolicyBook::default();
        book.load(connection(Keep::OnDemand));
        let policy = book.policy(&"berlin".parse().unwrap(), &"net".parse().unwrap()).unwrap();
        book.install(policy, false);
        assert!(book.routes().is_empty());
        book.load(connection(Keep::OnDemand));
        assert_eq!(book.routes().len(), 1);
    }

    #[test]
    fn a_dynamic_side_is_any_address_until_it_is_known() {
        let mut wanted = Arc::unwrap_or_clone(connection(Keep::OnDemand));
        wanted.children[0].local_ts = vec![TsSpec::DYNAMIC];
        wanted.children[0].remote_ts = vec![TsSpec::DYNAMIC];
        let mut book = PolicyBook::default();
        book.load(Arc::new(wanted));

        let spd = book.build().unwrap().spd;
        assert_eq!(spd.entries()[0].local, [TrafficSelector::ANY_V4]);
        assert_eq!(
            book.routes().into_values().next().unwrap().remote,
            ["203.0.113.7/32".parse().unwrap()]
        );
    }

    /// What operators wrote down comes first and brings no traffic to the TUN by itself.
    #[test]
    fn operators_come_before_tunnels() {
        let mut book = PolicyBook::default();
        book.load(connection(Keep::Up));
        let routes = book.routes();
        let entry = SpdEntry {
            local: vec![TrafficSelector::ANY_V4],
            remote: vec![TrafficSelector::ANY_V4],
            action: Action::Bypass,
        };
        let name: ConnectionName = "all".parse().unwrap();
        book.set_operator(vec![OperatorPolicy { name: name.clone(), entry }]);
        let policies = book.build().unwrap();
        assert_eq!(policies.operators, [name]);
        assert_eq!(policies.spd.entries()[0].action, Action::Bypass);
        assert_eq!(policies.spd.parts(), [1, 0]);
        assert_eq!(book.routes(), routes);
    }

    /// A peer that negotiates selectors into a tangle loses its own policy, nobody else's.
    #[test]
    fn a_peers_tangle_is_left_out() {
        let mut book = PolicyBook::default();
        book.load(connection(Keep::Up));
        let policy = book.policy(&"berlin".parse().unwrap(), &"net".parse().unwrap()).unwrap();
        for number in 0..1_100_u32 {
            let address = |n: u32| IpAddr::V4((0xc000_0000 + n).into());
            let many = (0..1_000).map(|n| TrafficSelector::from_address(address(n))).collect();
            let one = TrafficSelector::from_address(address(number));
            let negotiated = Negotiated { policy, local: many, remote: vec![one] };
            book.negotiated.insert(ChildSaId(number), negotiated);
        }
        let policies = book.build().unwrap();
        assert_eq!(policies.left_out, Some(SpdError::TooManyPairs));
        assert_eq!(policies.spd.entries().len(), 1);
    }
}
