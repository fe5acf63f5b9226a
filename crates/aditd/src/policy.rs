//! Which policies hold now: the SPD (RFC 4301 §4.4.1) made of what is configured, what an operator
//! installed and what was negotiated, and the routes that bring its traffic to its engine.
//!
//! What an operator wrote down comes first, in its order, then what is keyed by hand. Then come the selectors of child SAs that
//! no configured entry covers (`dynamic`), the newest foremost, then the configured selectors in
//! order of name. Only a change of the configuration builds the database anew: a child SA adds and
//! removes entries of its own. A configured policy stays while its tunnel is down, so that its
//! traffic waits or is dropped and never leaves in clear.
//!
//! The databases are those of the user-space engine, one for each interface (`tables`). What the kernel protects is kept apart: it asks
//! its own policies, before anything comes to the TUN.

mod manual;
mod negotiated;
mod path_mtu;
mod shown;
mod tables;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use adit_dataplane::NESTING_MAX;
use adit_db::{
    ChildConfig, ChildName, ChildSa, ChildSaId, Connection, ConnectionName, DscpClass, DscpSet,
    Engine, HostSpec, InterfaceName, Keep, KernelOptions, Mode, OperatorPolicy, PolicyId,
    PolicyTable, Rank, SecurityFailures, Sides, SpdEntry, SpdError, Steering, TableId,
    single_address,
};
use adit_sys::route::{RoutePlan, TunnelWay, prefixes_of_range};
use adit_wire::ikev2::TrafficSelector;
use ipnet::IpNet;

use self::manual::Manual;
use self::negotiated::{Agreement, Agreements, Negotiated, Origin};
use self::path_mtu::Mtus;
pub(crate) use self::shown::Decision;
pub(crate) use self::tables::TunnelInterface;
use self::tables::{Draft, Tables};

/// Everything that decides about packets, kept in step with the IKE endpoint.
#[derive(Default)]
pub(crate) struct PolicyBook {
    table: PolicyTable,
    connections: BTreeMap<ConnectionName, Arc<Connection>>,
    /// What VICI's `install` and `uninstall` said last, over what `keep` says.
    installed: BTreeMap<PolicyId, bool>,
    negotiated: Agreements,
    mtus: Mtus,
    operator: Vec<OperatorPolicy>,
    manual: BTreeMap<ConnectionName, Manual>,
    tables: Tables,
    /// Peers that are reached through tunnels alone, and the outermost of those.
    inside: BTreeMap<IpAddr, ConnectionName>,
}

/// The order of entries: classes, and the order within each.
const OPERATOR: u64 = 0;
const BEYOND: u64 = 1 << 62;
const CONFIGURED: u64 = 2 << 62;

/// The newest child SA comes first.
fn beyond(id: ChildSaId) -> Rank {
    Rank(BEYOND | u64::from(u32::MAX - id.0))
}

/// A policy whose traffic is routed to an engine.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Routed {
    /// The tunnel.
    pub(crate) connection: ConnectionName,
    /// Its networks.
    pub(crate) plan: RoutePlan,
    /// The way they go.
    pub(crate) way: TunnelWay,
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
    /// What besides these makes a packet one of them.
    pub(crate) steering: Steering,
}

impl PolicyBook {
    /// Adds a connection or replaces the one of the same name; [`Self::rebuild`] puts it in force.
    pub(crate) fn load(&mut self, connection: Arc<Connection>) {
        for child in &connection.children {
            let policy = self.table.intern(&connection.name, &child.name);
            self.installed.remove(&policy);
            if let Some(interface) = &child.kernel.steering.interface
                && engine(&connection) == Engine::Userspace
            {
                self.tables.number(interface);
            }
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
        self.installed.insert(self.owner(policy), install);
    }

    /// Replaces the entries that operators wrote down.
    pub(crate) fn set_operator(&mut self, policies: Vec<OperatorPolicy>) {
        self.operator = policies;
    }

    /// Adds a negotiated child SA and gives the number of its policy, see also [`Self::owner`]. What a peer negotiates within
    /// a policy adds no entry: the number of entries stays the operator's choice.
    pub(crate) fn add_sa(&mut self, sa: &ChildSa) -> PolicyId {
        let policy = self.table.intern(&sa.connection, &sa.child);
        let sides = Sides { local: sa.local_ts.clone(), remote: sa.remote_ts.clone() };
        let (engine, peer) = (Engine::of(sa.spi_in), sa.encap.remote.ip());
        let mode = sa.mode;
        self.add_negotiated(sa.id, Negotiated { policy, engine, mode, peer, sides });
        policy
    }

    /// The policy whose SAs protect once more what those of a connection have sealed. If it is not
    /// there any more, it has a number all the same: then nothing leaves.
    pub(crate) fn over(&mut self, connection: &ConnectionName) -> Option<PolicyId> {
        let outer = self.connections.get(connection)?.over.clone()?;
        let child = ChildName::new(outer.as_str()).ok()?;
        Some(self.table.intern(&outer, &child))
    }

    /// The resource that a policy's SAs are for, beside those of [`Self::owner`] (RFC 9611).
    pub(crate) fn resource(&self, policy: PolicyId) -> Option<u16> {
        self.child(policy).and_then(|(_, child)| child.resource)
    }

    /// Whether the first packet thread has all SAs of a connection.
    pub(crate) fn is_on_first_thread(&self, connection: &ConnectionName) -> bool {
        self.connections.get(connection).is_some_and(|connection| connection.on_first_thread)
    }

    /// How many packets the peer's replay window has room for, as far as anybody has said so.
    pub(crate) fn peer_window(&self, policy: PolicyId) -> u32 {
        self.child(policy).map_or(0, |(_, child)| child.peer_replay_window.packets())
    }

    /// Whether IKE messages to a peer take the way of other packets, which is a tunnel.
    pub(crate) fn is_inside(&self, peer: IpAddr) -> bool {
        self.inside.contains_key(&peer)
    }

    /// The peers that [`Self::is_inside`] is true of.
    pub(crate) fn peers_inside_tunnels(&self) -> impl Iterator<Item = IpAddr> {
        self.inside.keys().copied()
    }

    /// A loaded connection.
    pub(crate) fn connection(&self, name: &ConnectionName) -> Option<&Connection> {
        self.connections.get(name).map(|connection| &**connection)
    }

    /// The connection of the outermost tunnel on the way to a peer, if there is one: our address there
    /// is our address.
    pub(crate) fn outermost(&self, peer: IpAddr) -> Option<&Connection> {
        self.connections.get(self.inside.get(&peer)?).map(|connection| &**connection)
    }

    /// The peers of nested connections that are not those of their outermost one.
    fn peers_inside(&self) -> BTreeMap<IpAddr, ConnectionName> {
        let nested = self.connections.values().filter(|connection| connection.over.is_some());
        let mut inside = BTreeMap::new();
        for connection in nested {
            let mut outermost = connection;
            for _ in 1..NESTING_MAX {
                let over = outermost.over.as_ref().and_then(|name| self.connections.get(name));
                outermost = over.unwrap_or(outermost);
            }
            let direct = |host: &&HostSpec| outermost.remote_addresses.contains(host);
            let hosts = connection.remote_addresses.iter().filter(|host| !direct(host));
            let addresses = hosts.filter_map(HostSpec::address);
            inside.extend(addresses.map(|address| (address, outermost.name.clone())));
        }
        inside
    }

    /// Whether who sends in clear what this policy protects is told (RFC 2521).
    pub(crate) fn tells(&self, policy: PolicyId) -> bool {
        let child = self.child(self.owner(policy));
        child.is_some_and(|(_, child)| child.icmp.security_failures == SecurityFailures::All)
    }

    /// The policy that has the entry for a policy's traffic: of a class (RFC 4301 §4.1) that of the
    /// child it is a class of, else itself.
    pub(crate) fn owner(&self, policy: PolicyId) -> PolicyId {
        let owner = self.child(policy).and_then(|(connection, child)| {
            self.table.id(&connection.name, &child.class.as_ref()?.of)
        });
        owner.unwrap_or(policy)
    }

    fn add_negotiated(&mut self, id: ChildSaId, negotiated: Negotiated) {
        let policy = self.owner(negotiated.policy);
        let origin = self
            .table
            .names(policy)
            .and_then(|(connection, child)| Origin::of(self.connections.get(connection)?, child));
        let known = || self.sas(policy).next_back().and_then(Agreement::origin).cloned();
        let origin = origin.or_else(known);
        self.negotiated.insert(id, Negotiated { policy, ..negotiated }, origin);
        self.add_live(policy, id);
    }

    /// The engine of a negotiated child SA.
    pub(crate) fn engine_of(&self, id: ChildSaId) -> Engine {
        self.negotiated.get(id).map_or(Engine::Userspace, |sa| sa.engine)
    }

    /// Notes that the peer of a negotiated child SA has another address, and gives the number of
    /// the policy that has its entry.
    pub(crate) fn move_sa(&mut self, id: ChildSaId, peer: IpAddr) -> Option<PolicyId> {
        let sa = self.negotiated.get_mut(id)?;
        sa.peer = peer;
        Some(sa.policy)
    }

    /// Removes a negotiated child SA and gives the number of the policy that has its entry.
    pub(crate) fn remove_sa(&mut self, id: ChildSaId) -> Option<PolicyId> {
        let Agreement { policy, .. } = self.negotiated.remove(id)?;
        self.mtus.forget(policy, id);
        self.tables.all_mut().for_each(|in_force| in_force.remove(beyond(id)));
        if !self.is_used(policy, Engine::Userspace) {
            for in_force in self.tables.all_mut() {
                if let Some(rank) = in_force.ranks.get(&policy).copied() {
                    in_force.remove(rank);
                }
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
        let mut drafts = BTreeMap::from([(TableId::DEFAULT, self.beside_tunnels())]);
        for (number, (policy, connection, child)) in (CONFIGURED..).zip(self.children()) {
            let draft = drafts.entry(self.table_of(policy)).or_default();
            draft.ranks.insert(policy, Rank(number));
            if self.is_held(policy, child) && engine(connection) == Engine::Userspace {
                let entry = SpdEntry::configured(connection, child, policy);
                draft.entries.extend(entry.map(|entry| (Rank(number), entry)));
            }
            if !child.pfp.is_none() {
                draft.pfp.insert(policy, child.pfp);
            }
        }
        let mut tables = BTreeMap::new();
        for (table, draft) in drafts {
            tables.insert(table, draft.build()?);
        }
        for (policy, class, code_points) in self.classes() {
            if let Some(in_force) = tables.get_mut(&self.table_of(policy)) {
                in_force.spd.classify(policy, code_points, class);
            }
        }
        self.tables.replace(tables);
        self.inside = self.peers_inside();
        let users: Vec<_> = self.negotiated.iter().map(|(id, sa)| (sa.policy, id)).collect();
        for (policy, id) in users {
            self.add_live(policy, id);
        }
        Ok(())
    }

    /// What is in the default table but tunnels.
    fn beside_tunnels(&self) -> Draft {
        let operator = (OPERATOR..).map(Rank).zip(&self.operator);
        let operator = operator.map(|(rank, policy)| (rank, policy.entry.clone()));
        let operators = self.operator.iter().map(|policy| policy.name.clone()).collect();
        let entries = operator.chain(self.manual_entries()).collect();
        Draft { entries, operators, ..Draft::default() }
    }

    /// Adds the entries that a child SA brings with it: that of its child, if only SAs give it one,
    /// and its own if that does not cover it.
    fn add_live(&mut self, policy: PolicyId, id: ChildSaId) {
        if self.engine_of(id) == Engine::Kernel {
            return;
        }
        let configured = self.entry(policy, Engine::Userspace);
        let table = self.table_of(policy);
        let rank = self.tables.get(table).and_then(|found| found.ranks.get(&policy)).copied();
        if let (Some(rank), Some(entry)) = (rank, &configured) {
            let held = self.child(policy).is_some_and(|(_, child)| self.is_held(policy, child));
            if !held {
                let SpdEntry { local, remote, .. } = entry.clone();
                self.tables.get_mut(table).insert(rank, policy, Sides { local, remote });
            }
        }
        let Some(negotiated) = self.negotiated.get(id) else { return };
        if !configured.is_some_and(|entry| negotiated.is_within(&entry)) {
            let sides = negotiated.sides().into_owned();
            self.tables.get_mut(table).insert(beyond(id), policy, sides);
        }
    }

    /// Whether the routes of a child SA in user space are those that what is configured has without it.
    pub(crate) fn is_routed_anyway(&self, id: ChildSaId) -> bool {
        let Some(sa) = self.negotiated.get(id).filter(|sa| sa.engine == Engine::Userspace) else {
            return false;
        };
        self.is_held_anyway(sa.policy)
            && self.route_mtu(sa.policy).is_none()
            && self.entry(sa.policy, sa.engine).is_some_and(|entry| sa.is_within(&entry))
    }

    /// Whether a policy has its entry without an SA as well.
    pub(crate) fn is_held_anyway(&self, policy: PolicyId) -> bool {
        self.child(policy).is_some_and(|(_, child)| self.is_held(policy, child))
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

    /// What the kernel must hold: the configured selectors in order of name. What was negotiated
    /// beyond them it has with the SAs.
    pub(crate) fn held_by_kernel(&self) -> Vec<Held> {
        let policies = self.children().map(|(policy, ..)| policy);
        let held = policies.filter_map(|policy| {
            let SpdEntry { local, remote, .. } = self.entry(policy, Engine::Kernel)?;
            let steering = self.kernel_options(policy).steering;
            Some(Held { policy, local, remote, steering })
        });
        held.collect()
    }

    /// What is configured about interface and routes of a policy, or was when its newest SA came.
    pub(crate) fn kernel_options(&self, policy: PolicyId) -> KernelOptions {
        let configured = self.child(policy).map(|(_, child)| &child.kernel);
        let known = || self.sas(policy).next_back()?.options();
        configured.or_else(known).cloned().unwrap_or_default()
    }

    /// The interfaces that the kernel has for configured children.
    pub(crate) fn interfaces(&self) -> BTreeSet<InterfaceName> {
        let of_kernel = self.children().filter(|(_, it, _)| engine(it) == Engine::Kernel);
        of_kernel.filter_map(|(.., child)| child.kernel.steering.interface.clone()).collect()
    }

    /// The networks that must be routed to an engine, by policy, each with the side we speak for.
    pub(crate) fn routed(&self) -> BTreeMap<PolicyId, Routed> {
        let ranked = self.tables.all().flat_map(|(_, in_force)| in_force.ranks.keys());
        let policies = ranked.copied().chain(self.negotiated.policies());
        let policies: BTreeSet<PolicyId> = policies.chain(self.manual_policies()).collect();
        let routed = |policy| Some((policy, self.routed_by(policy)?));
        policies.into_iter().filter_map(routed).collect()
    }

    /// The networks of one policy that must be routed to an engine; `None` if it has none.
    pub(crate) fn routed_by(&self, policy: PolicyId) -> Option<Routed> {
        if let Some(routed) = self.routed_by_hand(policy) {
            return Some(routed);
        }
        let (connection, _) = self.table.names(policy)?;
        let (mut plan, way) = match self.plan(policy, Engine::Userspace) {
            Some(plan) => (plan, self.way_to_tun(policy)?),
            None => {
                // Until the peer is known its networks have no way, or their ordinary one.
                let way = self.kernel_way(policy)?;
                (self.plan(policy, Engine::Kernel)?, way)
            }
        };
        plan.mtu = self.route_mtu(policy);
        let peer = self.connections.get(connection);
        let peer = peer.and_then(|connection| single_address(&connection.remote_addresses));
        Some(Routed { connection: connection.clone(), plan, way, peer })
    }

    /// The networks of one policy that are for this engine.
    fn plan(&self, policy: PolicyId, engine: Engine) -> Option<RoutePlan> {
        let entry = self.entry(policy, engine);
        // Our side of a tunnel whose peer gives us an address is that address, and before that nothing.
        let is_given = self
            .child(policy)
            .is_some_and(|(connection, _)| connection.remote_access.client.is_some());
        let nothing = Vec::new();
        let configured = entry
            .iter()
            .map(|entry| (if is_given { &nothing } else { &entry.local }, &entry.remote));
        // SAs that take selectors from packets are many, and all within what is routed already.
        let is_populated = self.child(policy).is_some_and(|(_, child)| !child.pfp.is_none());
        let is_known =
            |sa: &Agreement| is_populated && entry.as_ref().is_some_and(|one| sa.is_within(one));
        let negotiated = self.sas(policy).filter(|sa| sa.engine == engine && !is_known(sa));
        let negotiated: Vec<Cow<'_, Sides>> = negotiated.map(Agreement::sides).collect();
        let negotiated = negotiated.iter().map(|sides| (&sides.local, &sides.remote));
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
        Some(plan)
    }

    /// The way of a tunnel of the kernel: its interface, or that to the newest peer or the
    /// configured one. None in transport mode, where packets go to the peer anyway, and where the
    /// operator sees to it.
    fn kernel_way(&self, policy: PolicyId) -> Option<TunnelWay> {
        let options = self.kernel_options(policy);
        if options.no_routes {
            return None;
        }
        if let Some(interface) = options.steering.interface {
            return Some(TunnelWay::Interface(interface.to_string()));
        }
        if let Some(newest) = self.sas(policy).next_back() {
            return (newest.mode == Mode::Tunnel).then_some(TunnelWay::Peer(newest.peer));
        }
        let (connection, child) = self.child(policy)?;
        let peer = single_address(&connection.remote_addresses);
        peer.filter(|_| child.mode == Mode::Tunnel).map(TunnelWay::Peer)
    }

    /// The child SAs of a policy, the oldest first.
    fn sas(&self, policy: PolicyId) -> impl DoubleEndedIterator<Item = &Agreement> {
        self.negotiated.of(policy)
    }

    /// Whether a policy has an SA in this engine.
    fn is_used(&self, policy: PolicyId, engine: Engine) -> bool {
        self.sas(policy).any(|sa| sa.engine == engine)
    }

    /// All configured children that have an entry, in order.
    fn children(&self) -> impl Iterator<Item = (PolicyId, &Connection, &ChildConfig)> {
        self.connections.values().flat_map(|connection| {
            let children = connection.children.iter().filter(|child| child.class.is_none());
            children.filter_map(|child| {
                Some((self.table.id(&connection.name, &child.name)?, &**connection, child))
            })
        })
    }

    /// Where connections may go over TCP: the peers' hosts, and the ports.
    pub(crate) fn tcp_servers(&self) -> impl Iterator<Item = (&HostSpec, u16)> {
        self.connections.values().flat_map(|connection| {
            let ports = move |host| connection.tcp_ports.iter().map(move |port| (host, *port));
            connection.remote_addresses.iter().flat_map(ports)
        })
    }

    /// All configured classes: whose traffic, whose SAs, which part of it.
    fn classes(&self) -> impl Iterator<Item = (PolicyId, PolicyId, DscpSet)> {
        self.connections.values().flat_map(|connection| {
            connection.children.iter().filter_map(|child| {
                let class = child.class.as_ref().filter(|_| child.resource.is_none());
                let DscpClass { of, code_points } = class?;
                let owner = self.table.id(&connection.name, of)?;
                Some((owner, self.table.id(&connection.name, &child.name)?, *code_points))
            })
        })
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

    /// The configured entry of a policy, if it is for this engine and held or in use there.
    fn entry(&self, policy: PolicyId, of: Engine) -> Option<SpdEntry> {
        let (connection, child) = self.child(policy)?;
        if engine(connection) != of || !(self.is_held(policy, child) || self.is_used(policy, of)) {
            return None;
        }
        SpdEntry::configured(connection, child, policy)
    }
}

/// The engine of a connection. Whoever loads it has settled `auto`.
fn engine(connection: &Connection) -> Engine {
    match connection.engine {
        Engine::Kernel => Engine::Kernel,
        Engine::Userspace | Engine::Auto => Engine::Userspace,
    }
}

fn prefixes(selector: &TrafficSelector) -> Vec<IpNet> {
    prefixes_of_range(selector.start, selector.end)
}

#[cfg(test)]
mod any_order;
#[cfg(test)]
mod tests;
