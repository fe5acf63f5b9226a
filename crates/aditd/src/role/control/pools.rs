//! Pools of addresses that VICI loads (`load-pool`, `unload-pool`, `get-pools`), and the connections of VICI
//! that give addresses from them.

use std::collections::BTreeMap;
use std::sync::Arc;

use adit_db::{ConnectionName, Identity};
use adit_ike::IkeSaInfo;
use adit_mgmt::vici::Section;
use adit_mgmt::vici::answer::Outcome;
use adit_mgmt::vici::pool::{
    LeaseSnapshot, LoadPool, Pool, PoolFilter, PoolSnapshot, Pools, pools_message,
};
use tracing::info;

use super::answers::Numbers;
use super::requests::BUSY;
use super::store::Tunnel;
use super::{ClientId, Running};

/// Pools, and who uses them.
#[derive(Default)]
pub(super) struct PoolStore {
    known: Pools,
    /// What connections with pools were read from: when a pool changes they are read again.
    users: BTreeMap<ConnectionName, Section>,
}

impl PoolStore {
    /// All of them.
    pub(super) fn known(&self) -> &Pools {
        &self.known
    }

    /// Notes what a connection was read from, if it has pools.
    pub(super) fn note_user(&mut self, name: ConnectionName, section: &Section) {
        match pools_of(section).is_empty() {
            true => self.users.remove(&name),
            false => self.users.insert(name, section.clone()),
        };
    }

    /// A connection is gone.
    pub(super) fn forget_user(&mut self, name: &ConnectionName) {
        self.users.remove(name);
    }

    /// The connections with a pool of this name, and what they were read from.
    fn users_of(&self, pool: &str) -> Vec<(ConnectionName, Section)> {
        let uses = |section: &Section| pools_of(section).iter().any(|name| name == pool);
        let users = self.users.iter().filter(|(_, section)| uses(section));
        users.map(|(name, section)| (name.clone(), section.clone())).collect()
    }
}

/// The names of a connection's pools, as the reader of connections takes them.
fn pools_of(section: &Section) -> Vec<String> {
    let is_pools = |(key, _): &(&str, _)| key.eq_ignore_ascii_case("pools");
    let Some((key, _)) = section.entries().find(is_pools) else { return Vec::new() };
    let names = section.texts(key).chain(section.text(key));
    let names = names.flat_map(|names| names.split(',')).map(str::trim);
    names.filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

impl Running {
    /// `load-pool`. Connections that use a pool which has changed give addresses from the new one.
    pub(super) fn load_pool(&mut self, loaded: LoadPool) -> Outcome {
        let LoadPool { name, pool } = loaded;
        if self.store.pools.known.get(&name) == Some(&pool) {
            return Outcome::ok();
        }
        info!(pool = %name, network = %pool.network, "pool loaded");
        self.store.pools.known.insert(name.clone(), pool);
        for (connection, section) in self.store.pools.users_of(&name) {
            let outcome = self.load_conn(connection.as_str(), &section);
            if outcome.error.is_some() {
                return outcome;
            }
        }
        Outcome::ok()
    }

    /// `unload-pool`. Nobody gets an address of it any more; who has one keeps it.
    pub(super) fn unload_pool(&mut self, name: &str) -> Outcome {
        let Some(pool) = self.store.pools.known.get(name).cloned() else {
            return Outcome::refused("no such pool");
        };
        for (connection, _) in self.store.pools.users_of(name) {
            if !self.take_pool(&connection, &pool) {
                return Outcome::refused(BUSY);
            }
        }
        self.store.pools.known.remove(name);
        info!(pool = name, "pool unloaded");
        Outcome::ok()
    }

    /// Has a connection give no addresses of a pool any more; false if the ike role has no room.
    fn take_pool(&mut self, name: &ConnectionName, pool: &Pool) -> bool {
        let Some(tunnel) = self.store.tunnels.get(name) else { return true };
        let mut connection = tunnel.connection.as_ref().clone();
        if let Some(server) = &mut connection.remote_access.server {
            server.pool.retain(|network| *network != pool.network);
        }
        let tunnel = Tunnel {
            source: tunnel.source,
            context: tunnel.context.clone(),
            secret: None,
            secret_mark: adit_crypto::Secret::default(),
            connection: Arc::new(connection),
        };
        self.put(tunnel)
    }

    /// `get-pools`: who has which address, and who had one.
    pub(super) fn get_pools(&mut self, id: ClientId, filter: &PoolFilter, numbers: &Numbers) {
        let is_wanted = |name: &str| {
            filter.name.as_deref().is_none_or(|wanted| wanted.is_empty() || wanted == name)
        };
        let known = self.store.pools.known.iter().filter(|(name, _)| is_wanted(name));
        let pools: Vec<PoolSnapshot> = known
            .map(|(name, pool)| {
                let users = self.store.pools.users_of(name);
                let users: Vec<&ConnectionName> = users.iter().map(|(user, _)| user).collect();
                let leases = leases(pool, &users, numbers);
                PoolSnapshot { name: name.clone(), network: pool.network, leases }
            })
            .collect();
        self.answer(id, pools_message(&pools, filter.leases));
    }
}

/// The leases of a pool that some connections use, by address.
fn leases(pool: &Pool, users: &[&ConnectionName], numbers: &Numbers) -> Vec<LeaseSnapshot> {
    let is_user = |name: &ConnectionName| users.contains(&name);
    let online = numbers.sas.iter().filter(|sa| sa.connection.as_ref().is_some_and(is_user));
    let online = online.flat_map(|sa| held(sa).into_iter());
    let known = numbers.connections.iter().filter(|known| is_user(&known.connection.name));
    let past = known.flat_map(|known| &known.past_leases).map(|(address, identity)| {
        LeaseSnapshot { address: *address, identity: identity.clone(), online: false }
    });
    let mut leases: Vec<LeaseSnapshot> = online.chain(past).collect();
    leases.retain(|lease| pool.network.contains(&lease.address));
    leases.sort();
    // Two IKE SAs of one client have the same one while the second takes the place of the first.
    leases.dedup();
    leases
}

fn held(sa: &IkeSaInfo) -> Vec<LeaseSnapshot> {
    let Some(access) = &sa.access else { return Vec::new() };
    let device = || sa.remote_id.as_ref().map(Identity::to_string);
    let identity = access.user.clone().or_else(device).unwrap_or_default();
    let addresses = access.leases.iter();
    addresses
        .map(|address| LeaseSnapshot {
            address: *address,
            identity: identity.clone(),
            online: true,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_use_the_pools_that_they_name() {
        let name = |text: &str| text.parse::<ConnectionName>().unwrap();
        let mut store = PoolStore::default();
        store.note_user(name("a"), &Section::new().with_list("pools", ["rw", "six"]));
        store.note_user(name("b"), &Section::new().with("Pools", "six, rw"));
        store.note_user(name("c"), &Section::new().with("pools", ""));
        let users = |store: &PoolStore, pool| {
            let users = store.users_of(pool).into_iter();
            users.map(|(name, _)| name.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(users(&store, "rw"), ["a", "b"]);
        assert_eq!(users(&store, "w"), [""; 0]);
        store.forget_user(&name("a"));
        store.note_user(name("b"), &Section::new());
        assert!(users(&store, "six").is_empty());
    }
}
