//! Which policies hold now: the SPD (RFC 4301 §4.4.1) made of what is configured, what an operator
//! installed and what was negotiated, and the routes that bring its traffic to the TUN.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use adit_db::spd::SpdTooLarge;
use adit_db::{
    Action, ChildConfig, ChildName, ChildSa, ChildSaId, Connection, ConnectionName, Engine,
    HostSpec, Keep, Mode, PolicyId, PolicyTable, Spd, SpdEntry, TsSpec,
};
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
}

/// A policy whose traffic is routed into the TUN.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Routed {
    /// The tunnel.
    pub(crate) connection: ConnectionName,
    /// Its networks.
    pub(crate) plan: RoutePlan,
    /// The peer whose way they go, where the kernel protects them; else it is the TUN.
    pub(crate) towards: Option<IpAddr>,
    /// The peer, if it is configured by its one address.
    pub(crate) peer: Option<IpAddr>,
}

/// Selectors whose traffic the kernel must protect or drop.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Held {
    /// The policy to tell when a packet wants an SA.
    pub(crate) policy: PolicyId,
    /// Our side.
    pub(crate) local: Vec<TrafficSelector>,
    /// The peer's side.
    pub(crate) remote: Vec<TrafficSelector>,
}

/// What two peers agreed on; it may be narrower than what is configured.
struct Negotiated {
    policy: PolicyId,
    engine: Engine,
    mode: Mode,
    peer: IpAddr,
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
        let negotiated = Negotiated {
            policy,
            engine: Engine::of(sa.spi_in),
            mode: sa.mode,
            peer: sa.encap.remote.ip(),
            local: sa.local_ts.clone(),
            remote: sa.remote_ts.clone(),
        };
        self.negotiated.insert(sa.id, negotiated);
        policy
    }

    /// Notes that the peer of a negotiated child SA has another address.
    pub(crate) fn move_sa(&mut self, id: ChildSaId, peer: IpAddr) {
        if let Some(sa) = self.negotiated.get_mut(&id) {
            sa.peer = peer;
        }
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

    /// The child of a policy.
    pub(crate) fn names(&self, policy: PolicyId) -> Option<(ConnectionName, ChildName)> {
        self.table.names(policy).map(|(connection, child)| (connection.clone(), child.clone()))
    }

    /// The engine of a negotiated child SA.
    pub(crate) fn engine_of(&self, id: ChildSaId) -> Engine {
        self.negotiated.get(&id).map_or(Engine::Userspace, |sa| sa.engine)
    }

    /// The database of the user-space engine: the configured selectors in order of name, and before them those negotiated
    /// ones that no configured entry covers (`dynamic`), the newest foremost. What a peer negotiates
    /// within a policy adds no entry: its size stays the operator's choice. A configured policy stays while its tunnel is down, so that its traffic
    /// waits or is dropped and never leaves in clear.
    pub(crate) fn spd(&self) -> Result<Spd, SpdTooLarge> {
        let configured: Vec<SpdEntry> = self.configured(Engine::Userspace).collect();
        let beyond = |sa: &&Negotiated| {
            sa.engine == Engine::Userspace && !configured.iter().any(|entry| sa.is_within(entry))
        };
        let negotiated = self.negotiated.values().rev().filter(beyond).map(|sa| SpdEntry {
            local: sa.local.clone(),
            remote: sa.remote.clone(),
            action: Action::Protect(sa.policy),
        });
        let negotiated: Vec<SpdEntry> = negotiated.collect();
        Spd::new(negotiated.into_iter().chain(configured).collect())
    }

    /// What the kernel must hold: the configured selectors in order of name. What was negotiated
    /// beyond them it has with the SAs.
    pub(crate) fn held_by_kernel(&self) -> Vec<Held> {
        let held = |entry: SpdEntry| match entry.action {
            Action::Protect(policy) => {
                Some(Held { policy, local: entry.local, remote: entry.remote })
            }
            Action::Bypass | Action::Discard => None,
        };
        self.configured(Engine::Kernel).filter_map(held).collect()
    }

    /// The networks that must be routed to an engine, by policy, each with the side we speak for.
    pub(crate) fn routed(&self) -> BTreeMap<PolicyId, Routed> {
        let of = |(policy, plan), towards| {
            let (connection, _) = self.table.names(policy)?;
            let peer = self.connections.get(connection).map(|c| single(&c.remote_addresses));
            let peer = peer.flatten();
            Some((policy, Routed { connection: connection.clone(), plan, towards, peer }))
        };
        let to_tun = self.routes(Engine::Userspace).into_iter().filter_map(|one| of(one, None));
        let by_kernel = self.routes(Engine::Kernel).into_iter().filter_map(|one| {
            // Until the peer is known its networks have no way, or their ordinary one.
            let towards = self.kernel_way(one.0)?;
            of(one, Some(towards))
        });
        by_kernel.chain(to_tun).collect()
    }

    /// The peer of a tunnel of the kernel: the newest one, or the configured one. None in transport
    /// mode, where packets go to the peer anyway.
    fn kernel_way(&self, policy: PolicyId) -> Option<IpAddr> {
        let newest = self.negotiated.values().rev().find(|sa| sa.policy == policy);
        if let Some(newest) = newest {
            return (newest.mode == Mode::Tunnel).then_some(newest.peer);
        }
        let (connection, child) = self.table.names(policy)?;
        let connection = self.connections.get(connection)?;
        let tunnel = connection.child(child)?.mode == Mode::Tunnel;
        single(&connection.remote_addresses).filter(|_| tunnel)
    }

    /// See [`Self::routed`].
    fn routes(&self, engine: Engine) -> BTreeMap<PolicyId, RoutePlan> {
        let mut plans: BTreeMap<PolicyId, RoutePlan> = BTreeMap::new();
        let negotiated = self.negotiated.values().filter(|sa| sa.engine == engine);
        let negotiated = negotiated.map(|sa| (sa.policy, &sa.local, &sa.remote));
        let configured: Vec<_> = self.configured(engine).collect();
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

    fn configured(&self, engine: Engine) -> impl Iterator<Item = SpdEntry> {
        let of_engine = move |connection: &&Arc<Connection>| {
            (connection.engine == Engine::Kernel) == (engine == Engine::Kernel)
        };
        self.connections.values().filter(of_engine).flat_map(move |connection| {
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
        let remote = selectors(&child.remote_ts, single(&connection.remote_addresses));
        let family_v4 = remote.first()?.is_ipv4();
        let local = match single(&connection.local_addresses) {
            Some(address) => selectors(&child.local_ts, Some(address)),
            // Our own address is known only when the IKE SA is up; until then any will do.
            None => child.local_ts.iter().map(|ts| fixed_or_any(ts, family_v4)).collect(),
        };
        (!local.is_empty()).then_some(SpdEntry { local, remote, action: Action::Protect(policy) })
    }
}

fn prefixes(selector: &TrafficSelector) -> Vec<IpNet> {
    prefixes_of_range(selector.start, selector.end)
}

fn selectors(specs: &[TsSpec], dynamic: Option<IpAddr>) -> Vec<TrafficSelector> {
    let one = |spec: &TsSpec| match dynamic {
        Some(address) => Some(spec.resolve(address)),
        None => spec.selector(),
    };
    specs.iter().filter_map(one).collect()
}

fn fixed_or_any(spec: &TsSpec, ipv4: bool) -> TrafficSelector {
    let any = if ipv4 { TrafficSelector::ANY_V4 } else { TrafficSelector::ANY_V6 };
    spec.selector().unwrap_or(any)
}

/// The address, if the list names exactly one host by address.
fn single(hosts: &[HostSpec]) -> Option<IpAddr> {
    match hosts {
        [HostSpec::Address(address)] => Some(*address),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
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
    fn a_tunnel_of_the_kernel_is_held_there_and_has_no_way_into_the_tun() {
        let mut book = PolicyBook::default();
        let mut of_kernel = Connection::clone(&connection(Keep::Up));
        of_kernel.engine = Engine::Kernel;
        book.load(Arc::new(of_kernel));
        assert!(book.spd().unwrap().entries().is_empty());
        assert_eq!(book.held_by_kernel().len(), 1);
        let routed: Vec<Routed> = book.routed().into_values().collect();
        assert_eq!(routed[0].towards, Some("203.0.113.7".parse().unwrap()));

        book.load(connection(Keep::Up));
        assert!(book.held_by_kernel().is_empty());
        assert_eq!(book.routed().into_values().next().unwrap().towards, None);
    }

    #[test]
    fn a_wanted_tunnel_holds_its_policy_while_it_is_down() {
        let mut book = PolicyBook::default();
        book.load(connection(Keep::Up));
        assert_eq!(book.spd().unwrap().entries().len(), 1);
        let plan = book.routes(Engine::Userspace).into_values().next().unwrap();
        assert_eq!(plan.remote, ["10.2.0.0/24".parse().unwrap()]);

        book.unload(&"berlin".parse().unwrap());
        assert!(book.routes(Engine::Userspace).is_empty());
    }

    #[test]
    fn a_passive_tunnel_has_a_policy_only_when_installed() {
        let mut book = PolicyBook::default();
        book.load(connection(Keep::Passive));
        assert!(book.routes(Engine::Userspace).is_empty());

        let policy = book.policy(&"berlin".parse().unwrap(), &"net".parse().unwrap()).unwrap();
        book.install(policy, true);
        assert_eq!(book.routes(Engine::Userspace).len(), 1);
        book.install(policy, false);
        assert!(book.routes(Engine::Userspace).is_empty());
    }

    #[test]
    fn uninstall_takes_the_policy_of_a_trap_until_it_is_loaded_anew() {
        let mut book = PolicyBook::default();
        book.load(connection(Keep::OnDemand));
        let policy = book.policy(&"berlin".parse().unwrap(), &"net".parse().unwrap()).unwrap();
        book.install(policy, false);
        assert!(book.routes(Engine::Userspace).is_empty());
        book.load(connection(Keep::OnDemand));
        assert_eq!(book.routes(Engine::Userspace).len(), 1);
    }

    #[test]
    fn a_dynamic_side_is_any_address_until_it_is_known() {
        let mut wanted = Arc::unwrap_or_clone(connection(Keep::OnDemand));
        wanted.children[0].local_ts = vec![TsSpec::DYNAMIC];
        wanted.children[0].remote_ts = vec![TsSpec::DYNAMIC];
        let mut book = PolicyBook::default();
        book.load(Arc::new(wanted));

        let spd = book.spd().unwrap();
        assert_eq!(spd.entries()[0].local, [TrafficSelector::ANY_V4]);
        assert_eq!(
            book.routes(Engine::Userspace).into_values().next().unwrap().remote,
            ["203.0.113.7/32".parse().unwrap()]
        );
    }
}
