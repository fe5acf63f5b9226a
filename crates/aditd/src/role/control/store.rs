//! What is configured: connections by name with where they come from, and the names (never the
//! values) of secrets.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use adit_crypto::{Prf, Secret, SystemRng};
use adit_db::{
    Action, ChildConfig, ChildName, Connection, ConnectionName, Engine, Keep, OperatorPolicy,
};
use adit_mgmt::Diagnosis;
use adit_mgmt::api::{PolicySource, PolicyStatus, Source};
use adit_mgmt::config::{Origin, selector_line};
use adit_mgmt::diagnosis::Context;
use adit_mgmt::vici::PolicySnapshot;

use super::credentials::Credentials;
use super::manual::Manual;
use super::pools::PoolStore;
use super::requests::Found;
use crate::diagnose::SecretNote;

/// One configured tunnel.
pub(super) struct Tunnel {
    pub(super) connection: Arc<Connection>,
    pub(super) source: Source,
    /// Its file with the lines of its keys, for diagnoses.
    pub(super) context: Context,
    pub(super) secret: Option<SecretNote>,
    /// See [`Marker`]; empty for tunnels of clients.
    pub(super) secret_mark: Secret,
}

/// Tells whether a secret changed without keeping the secret: a PRF of it under a key that lives
/// as long as the process.
pub(super) struct Marker(Secret);

impl Marker {
    /// A marker with a fresh key.
    pub(super) fn new() -> Self {
        Self(Secret::random(Prf::HmacSha2_256.key_len(), &mut SystemRng))
    }

    /// The mark of a secret; equal secrets have equal marks.
    pub(super) fn mark(&self, secret: &Secret) -> Secret {
        Prf::HmacSha2_256.compute(self.0.as_bytes(), &[secret.as_bytes()])
    }
}

/// Everything configured, and the last failure of each tunnel.
pub(super) struct Store {
    /// The configuration directory.
    pub(super) directory: PathBuf,
    pub(super) tunnels: BTreeMap<ConnectionName, Tunnel>,
    /// SAs that are keyed by hand.
    pub(super) manual: BTreeMap<String, Manual>,
    /// What no tunnel gets, in order of precedence.
    pub(super) policies: Vec<OperatorPolicy>,
    /// Where they stand.
    pub(super) policy_origins: BTreeMap<String, Origin>,
    /// What `install` and `uninstall` said last, over what `keep` says.
    installed: BTreeMap<(ConnectionName, ChildName), bool>,
    shared: BTreeSet<String>,
    /// Pools that came through the control socket, and who uses them.
    pub(super) pools: PoolStore,
    /// Certificates and the public halves of keys that came through the control socket.
    pub(super) credentials: Credentials,
    failures: BTreeMap<String, Diagnosis>,
    /// Problems of this host with a tunnel: they stay until the configuration changes.
    problems: BTreeMap<String, Diagnosis>,
}

impl Store {
    /// Nothing configured yet.
    pub(super) fn new(directory: PathBuf) -> Self {
        Self {
            directory,
            tunnels: BTreeMap::new(),
            manual: BTreeMap::new(),
            policies: Vec::new(),
            policy_origins: BTreeMap::new(),
            installed: BTreeMap::new(),
            shared: BTreeSet::new(),
            pools: PoolStore::default(),
            credentials: Credentials::default(),
            failures: BTreeMap::new(),
            problems: BTreeMap::new(),
        }
    }

    /// Adds a tunnel or replaces the one of the same name.
    pub(super) fn put(&mut self, tunnel: Tunnel) {
        let name = tunnel.connection.name.clone();
        self.failures.remove(name.as_str());
        self.problems.remove(name.as_str());
        if self.tunnels.get(&name).is_none_or(|old| old.connection != tunnel.connection) {
            self.installed.retain(|(connection, _), _| *connection != name);
        }
        self.tunnels.insert(name, tunnel);
    }

    /// Removes a tunnel; false if there is none of that name.
    pub(super) fn remove(&mut self, name: &ConnectionName) -> bool {
        self.failures.remove(name.as_str());
        self.problems.remove(name.as_str());
        self.installed.retain(|(connection, _), _| connection != name);
        self.pools.forget_user(name);
        self.tunnels.remove(name).is_some()
    }

    /// The connection and child that a client means; the error is for the client.
    pub(super) fn find(
        &self,
        connection: Option<&str>,
        child: Option<&str>,
    ) -> Result<Found, String> {
        let named = connection.map(|name| self.tunnels.get(name));
        let all = named.is_none().then(|| self.tunnels.values());
        for tunnel in named.flatten().into_iter().chain(all.into_iter().flatten()) {
            let Some(wanted) = child else {
                return Ok((tunnel.connection.name.clone(), None));
            };
            let found = tunnel.connection.children.iter().find(|c| c.name.as_str() == wanted);
            if let Some(found) = found {
                return Ok((tunnel.connection.name.clone(), Some(found.name.clone())));
            }
        }
        Err(match (connection, child) {
            (Some(connection), None) => format!("there is no tunnel {connection}"),
            (Some(connection), Some(child)) => {
                format!("CHILD_SA config '{child}' not found in {connection}")
            }
            (None, Some(child)) => format!("CHILD_SA config '{child}' not found"),
            (None, None) => "no tunnel is named".to_owned(),
        })
    }

    /// All connections, or the one of that name.
    pub(super) fn connections(&self, only: Option<&str>) -> Vec<Arc<Connection>> {
        self.tunnels
            .values()
            .filter(|tunnel| only.is_none_or(|name| tunnel.connection.name.as_str() == name))
            .map(|tunnel| Arc::clone(&tunnel.connection))
            .collect()
    }

    /// Connections that came through the control socket.
    pub(super) fn vici_names(&self) -> Vec<String> {
        let from_vici = self.tunnels.iter().filter(|(_, tunnel)| tunnel.source == Source::Vici);
        from_vici.map(|(name, _)| name.to_string()).collect()
    }

    /// Whether a child's policy is held while there is no SA.
    fn is_held(&self, connection: &ConnectionName, child: &ChildConfig) -> bool {
        let said = self.installed.get(&(connection.clone(), child.name.clone()));
        said.copied().unwrap_or(child.keep != Keep::Passive)
    }

    /// Notes `install` or `uninstall` of a child; the error is for the client.
    pub(super) fn install(
        &mut self,
        connection: &ConnectionName,
        child: &ChildName,
        on: bool,
    ) -> Result<(), String> {
        let tunnel = self.tunnels.get(connection);
        let config = tunnel.and_then(|tunnel| tunnel.connection.child(child));
        let Some(config) = config else {
            return Err(format!("CHILD_SA config '{child}' not found"));
        };
        if !on && !self.is_held(connection, config) {
            return Err(format!("policy '{child}' not found"));
        }
        if !on && config.keep == Keep::Up {
            return Err(format!("policy '{child}' stays: the tunnel is to be up; unload it"));
        }
        self.installed.insert((connection.clone(), child.clone()), on);
        Ok(())
    }

    /// Policies that negotiate on demand.
    pub(super) fn traps(&self) -> Vec<PolicySnapshot> {
        let children = self.tunnels.values().flat_map(|tunnel| {
            tunnel.connection.children.iter().map(|child| (&tunnel.connection.name, child))
        });
        children
            .filter(|(connection, child)| self.is_held(connection, child))
            .map(|(connection, child)| PolicySnapshot {
                child: child.name.to_string(),
                connection: connection.to_string(),
                mode: child.mode.to_string(),
                local_ts: child.local_ts.iter().map(ToString::to_string).collect(),
                remote_ts: child.remote_ts.iter().map(ToString::to_string).collect(),
            })
            .collect()
    }

    /// Policies that send traffic past the tunnels or drop it.
    pub(super) fn shunts(&self, action: Action) -> Vec<PolicySnapshot> {
        let mode = if action == Action::Discard { "DROP" } else { "PASS" };
        let chosen = self.policies.iter().filter(|policy| policy.entry.action == action);
        chosen
            .map(|policy| PolicySnapshot {
                child: policy.name.to_string(),
                connection: String::new(),
                mode: mode.to_owned(),
                local_ts: policy.entry.local.iter().map(ToString::to_string).collect(),
                remote_ts: policy.entry.remote.iter().map(ToString::to_string).collect(),
            })
            .collect()
    }

    /// Adds to a policy which file asks for it, and where in it.
    pub(super) fn locate(&self, policy: &mut PolicyStatus) {
        let name = policy.name.as_str();
        let (file, key_lines) = if policy.source == PolicySource::Operator {
            let Some(origin) = self.policy_origins.get(name) else { return };
            (origin.file.display().to_string(), &origin.key_lines)
        } else {
            let tunnel = self.tunnels.get(name).map(|Tunnel { context, .. }| context);
            let manual = self.manual.get(name).map(|manual| &manual.context);
            let Some(context) = tunnel.or(manual) else { return };
            let Some(file) = &context.file else { return };
            (file.clone(), &context.key_lines)
        };
        policy.line = Some(selector_line(key_lines));
        policy.file = Some(file);
    }

    /// The interface that is a tunnel's own, if it has one.
    pub(super) fn interface(&self, name: &ConnectionName) -> Option<String> {
        let children = self.tunnels.get(name)?.connection.children.iter();
        let mut own = children.filter_map(|child| child.kernel.steering.interface.as_ref());
        own.next().map(ToString::to_string)
    }

    /// Whether an interface is that of tunnels of the user-space engine.
    pub(super) fn has_tun(&self, interface: &str) -> bool {
        let ours = self.tunnels.values().map(|tunnel| &tunnel.connection);
        let ours = ours.filter(|connection| connection.engine != Engine::Kernel);
        let names = ours.flat_map(|connection| &connection.children);
        let mut names = names.filter_map(|child| child.kernel.steering.interface.as_ref());
        names.any(|name| name.as_str() == interface)
    }

    /// Where a tunnel comes from.
    pub(super) fn source(&self, name: &ConnectionName) -> Source {
        self.tunnels.get(name).map_or(Source::Vici, |tunnel| tunnel.source)
    }

    /// Whether the connection of an IKE SA pretends a NAT to get UDP encapsulation.
    pub(super) fn forces_udp(&self, info: &adit_ike::IkeSaInfo) -> bool {
        let tunnel = info.connection.as_ref().and_then(|name| self.tunnels.get(name));
        tunnel.is_some_and(|tunnel| tunnel.connection.encap == adit_db::Encap::Udp)
    }

    /// What surrounds a failure of a tunnel.
    pub(super) fn context(&self, name: Option<&str>) -> Context {
        let Some(name) = name else {
            return Context::default();
        };
        let tunnel = self.tunnels.get(name);
        tunnel.map_or_else(|| Context::of(name), |tunnel| tunnel.context.clone())
    }

    /// What may be said about a tunnel's secret.
    pub(super) fn secret_note(&self, name: Option<&str>) -> Option<&SecretNote> {
        self.tunnels.get(name?)?.secret.as_ref()
    }

    /// Notes why a tunnel failed.
    pub(super) fn set_failure(&mut self, name: &str, diagnosis: Diagnosis) {
        if self.tunnels.contains_key(name) {
            self.failures.insert(name.to_owned(), diagnosis);
        }
    }

    /// The tunnel is up: what was wrong is over.
    pub(super) fn clear_failure(&mut self, name: &str) {
        self.failures.remove(name);
    }

    /// Notes what is wrong on this host with a tunnel.
    pub(super) fn set_problem(&mut self, name: &str, diagnosis: Diagnosis) {
        self.problems.insert(name.to_owned(), diagnosis);
    }

    /// What was wrong on this host with a tunnel is mended.
    pub(super) fn clear_problem(&mut self, name: &str) {
        self.problems.remove(name);
    }

    /// What is wrong with a tunnel.
    pub(super) fn failure(&self, name: &str) -> Option<&Diagnosis> {
        self.failures.get(name).or_else(|| self.problems.get(name))
    }

    /// Notes the name of a secret.
    pub(super) fn remember_shared(&mut self, id: &str) {
        self.shared.insert(id.to_owned());
    }

    /// Forgets the name of a secret; false if it is not known.
    pub(super) fn forget_shared(&mut self, id: &str) -> bool {
        self.shared.remove(id)
    }

    /// Forgets the names of all secrets.
    pub(super) fn forget_all_shared(&mut self) {
        self.shared.clear();
    }

    /// Names of the secrets that came through the control socket.
    pub(super) fn shared_names(&self) -> Vec<String> {
        self.shared.iter().cloned().collect()
    }
}
