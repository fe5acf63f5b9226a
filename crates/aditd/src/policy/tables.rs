//! The databases in force, one for each interface of the protected side (RFC 4301 §4.4.1): that of
//! the TUN, where operators' policies and what is keyed by hand are too, and those of tunnels with an
//! interface of their own, which meet nothing but what comes by it.

use std::collections::{BTreeMap, BTreeSet};

use adit_db::{
    ConnectionName, Engine, InterfaceName, Pfp, PolicyId, Rank, Sides, Spd, SpdEntry, SpdError,
    TableId,
};
use adit_sys::route::TunnelWay;

use super::{PolicyBook, engine};

/// All of them.
#[derive(Default)]
pub(super) struct Tables {
    in_force: BTreeMap<TableId, InForce>,
    /// A name, once it has a number, keeps it: an SA may outlive its interface for a while.
    numbers: BTreeMap<InterfaceName, TableId>,
    /// Those that are not there any more, which nobody was told yet.
    gone: BTreeSet<TableId>,
}

/// A database as it was built last, and what was added to it since.
#[derive(Default)]
pub(super) struct InForce {
    pub(super) spd: Spd,
    /// Names of the entries that operators wrote down.
    pub(super) operators: Vec<ConnectionName>,
    /// The place of each configured child in the order.
    pub(super) ranks: BTreeMap<PolicyId, Rank>,
    /// The entries of child SAs.
    live: BTreeMap<Rank, Sides>,
    /// See [`Spd::parts`]; filled in when somebody asks.
    pub(super) parts: Option<BTreeMap<Rank, usize>>,
    /// Whether it is not what was told last.
    changed: bool,
}

/// What a database is built of.
#[derive(Default)]
pub(super) struct Draft {
    pub(super) entries: Vec<(Rank, SpdEntry)>,
    pub(super) ranks: BTreeMap<PolicyId, Rank>,
    pub(super) pfp: BTreeMap<PolicyId, Pfp>,
    pub(super) operators: Vec<ConnectionName>,
}

/// An interface that tunnels have for themselves.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct TunnelInterface {
    /// Its name.
    pub(crate) name: InterfaceName,
    /// The policies of what comes by it.
    pub(crate) table: TableId,
    /// The tunnels, by name.
    pub(crate) tunnels: Vec<ConnectionName>,
}

impl Tables {
    /// Gives an interface a number, if it has none. The last one is shared by all names beyond the
    /// sixty-five thousandth.
    pub(super) fn number(&mut self, name: &InterfaceName) {
        if !self.numbers.contains_key(name) {
            let next = u16::try_from(self.numbers.len()).unwrap_or(u16::MAX).saturating_add(1);
            self.numbers.insert(name.clone(), TableId(next));
        }
    }

    /// The number of an interface; the default one if it has none.
    pub(super) fn number_of(&self, name: &InterfaceName) -> TableId {
        self.numbers.get(name).copied().unwrap_or_default()
    }

    pub(super) fn get(&self, table: TableId) -> Option<&InForce> {
        self.in_force.get(&table)
    }

    pub(super) fn get_mut(&mut self, table: TableId) -> &mut InForce {
        self.in_force.entry(table).or_default()
    }

    /// All of them, the default one first.
    pub(super) fn all(&self) -> impl Iterator<Item = (TableId, &InForce)> {
        self.in_force.iter().map(|(table, in_force)| (*table, in_force))
    }

    pub(super) fn all_mut(&mut self) -> impl Iterator<Item = &mut InForce> {
        self.in_force.values_mut()
    }

    /// Puts others in their place.
    pub(super) fn replace(&mut self, tables: BTreeMap<TableId, InForce>) {
        self.gone.extend(self.in_force.keys().filter(|table| !tables.contains_key(table)));
        self.in_force = tables;
    }
}

impl Draft {
    pub(super) fn build(self) -> Result<InForce, SpdError> {
        let Self { entries, ranks, pfp, operators } = self;
        let spd = Spd::ranked(entries)?.populating(pfp);
        Ok(InForce { spd, operators, ranks, changed: true, ..InForce::default() })
    }
}

impl InForce {
    pub(super) fn insert(&mut self, rank: Rank, policy: PolicyId, sides: Sides) {
        if !self.live.contains_key(&rank) {
            self.spd.insert(rank, policy, &sides);
            self.live.insert(rank, sides);
            self.changed = true;
        }
    }

    pub(super) fn remove(&mut self, rank: Rank) {
        if let Some(sides) = self.live.remove(&rank) {
            self.spd.remove(rank, &sides);
            self.changed = true;
        }
    }
}

impl PolicyBook {
    /// The database of the default interface.
    pub(crate) fn spd(&self) -> &Spd {
        static NOTHING: std::sync::LazyLock<Spd> = std::sync::LazyLock::new(Spd::default);
        self.tables.get(TableId::DEFAULT).map_or(&NOTHING, |in_force| &in_force.spd)
    }

    /// The databases that changed since the last call; `None` for those that are not there any more.
    pub(crate) fn take_changed(&mut self) -> Vec<(TableId, Option<Spd>)> {
        let Tables { in_force, gone, .. } = &mut self.tables;
        let gone = std::mem::take(gone).into_iter().filter(|table| !in_force.contains_key(table));
        let mut changed: Vec<_> = gone.map(|table| (table, None)).collect();
        for (table, in_force) in in_force {
            if std::mem::take(&mut in_force.changed) {
                changed.push((*table, Some(in_force.spd.clone())));
            }
        }
        changed
    }

    /// The table that a policy is in.
    pub(crate) fn table_of(&self, policy: PolicyId) -> TableId {
        let interface = self.kernel_options(self.owner(policy)).steering.interface;
        interface.map_or(TableId::DEFAULT, |name| self.tables.number_of(&name))
    }

    /// The table of what goes out by an interface.
    pub(crate) fn table_at(&self, interface: Option<&str>) -> TableId {
        let mut named = self.tables.numbers.iter();
        let found = named.find(|(name, _)| interface == Some(name.as_str()));
        found.map_or(TableId::DEFAULT, |(_, table)| *table)
    }

    /// The interface of a table that is not the default one.
    pub(super) fn interface_of(&self, table: TableId) -> Option<&InterfaceName> {
        self.tables.numbers.iter().find(|(_, number)| **number == table).map(|(name, _)| name)
    }

    /// The interfaces of all configured tunnels of the user-space engine, by name.
    pub(crate) fn tunnel_interfaces(&self) -> Vec<TunnelInterface> {
        let mut all: BTreeMap<&InterfaceName, BTreeSet<&ConnectionName>> = BTreeMap::new();
        for (_, connection, child) in self.children() {
            if let Some(name) = &child.kernel.steering.interface
                && engine(connection) == Engine::Userspace
            {
                all.entry(name).or_default().insert(&connection.name);
            }
        }
        let interface = |(name, tunnels): (&InterfaceName, BTreeSet<&ConnectionName>)| {
            let tunnels = tunnels.into_iter().cloned().collect();
            TunnelInterface { name: name.clone(), table: self.tables.number_of(name), tunnels }
        };
        all.into_iter().map(interface).collect()
    }

    /// The way of a tunnel of the user-space engine; none where the operator sees to it.
    pub(super) fn way_to_tun(&self, policy: PolicyId) -> Option<TunnelWay> {
        let options = self.kernel_options(policy);
        if options.no_routes {
            return None;
        }
        let interface = options.steering.interface;
        Some(interface.map_or(TunnelWay::Tun, |name| TunnelWay::Interface(name.to_string())))
    }
}
