//! Loading connections: from clients and from the configuration directory.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use adit_crypto::Secret;
use adit_db::{Caution, Connection, ConnectionName, ProposalSpec};
use adit_ike::Command;
use adit_mgmt::Diagnosis;
use adit_mgmt::api::{Change, FileProblem, ReloadReport, SCHEMA, Source, TunnelEvent};
use adit_mgmt::config::{self, ConfigError, Configuration, Files, SecretFile, SourceFile};
use adit_mgmt::diagnosis::Context;
use adit_mgmt::vici::answer::Outcome;
use adit_mgmt::vici::{Event, Section, conn};
use tracing::{error, info, warn};

use adit_sys::file::{read_texts, read_with_mode};

use super::Running;
use super::requests::{BUSY, send};
use super::store::Tunnel;
use crate::engine::EngineChooser;
use crate::message::ToIke;
use crate::role::keys::ToKeys;

impl Running {
    /// `load-conn`.
    pub(super) fn load_conn(&mut self, name: &str, section: &Section) -> Outcome {
        let connection = match conn::connection(name, section) {
            Ok(connection) => connection,
            Err(error) => {
                warn!(connection = name, %error, "a connection was refused");
                return Outcome::refused(&error.to_string());
            }
        };
        if self.store.source(&connection.name) == Source::File
            && self.store.tunnels.contains_key(&connection.name)
        {
            return Outcome::refused("a tunnel of the configuration directory has this name");
        }
        if self.store.manual.contains_key(name) {
            return Outcome::refused("SAs that are keyed by hand have this name");
        }
        for caution in cautions(&connection) {
            warn!(connection = name, "{caution}");
        }
        let tunnel = Tunnel {
            source: Source::Vici,
            context: Context::of(name),
            secret: None,
            secret_mark: Secret::default(),
            connection: Arc::new(connection),
        };
        if self.put(tunnel) { Outcome::ok() } else { Outcome::refused(BUSY) }
    }

    /// `unload-conn`.
    pub(super) fn unload_conn(&mut self, name: &str) -> Outcome {
        let Ok(name) = ConnectionName::new(name) else {
            return Outcome::refused("no such connection");
        };
        match self.store.tunnels.get(&name).map(|tunnel| tunnel.source) {
            None => Outcome::refused("no such connection"),
            Some(Source::File) => {
                Outcome::refused("the tunnel is in the configuration directory; remove its file")
            }
            Some(Source::Vici) if self.take_out(&name) => Outcome::ok(),
            Some(Source::Vici) => Outcome::refused(BUSY),
        }
    }

    /// Reads the configuration directory again. Either all files are right and are taken over,
    /// or nothing changes. With `dry_run` nothing changes in any case.
    pub(super) fn reload(&mut self, dry_run: bool) -> ReloadReport {
        let mut report = ReloadReport { schema: SCHEMA, ..ReloadReport::default() };
        let mut configuration = match read(&self.store.directory) {
            Ok(configuration) => configuration,
            Err(problems) => {
                for problem in &problems {
                    error!(connection = %problem.tunnel, "{}", problem.render(false));
                }
                report.problems = problems.iter().map(ConfigError::to_problem).collect();
                return report;
            }
        };
        report.problems = configuration.warnings.iter().map(ConfigError::to_problem).collect();
        let unfit = choose_engines(&mut configuration);
        if !unfit.is_empty() {
            for problem in &unfit {
                error!("{}", problem.one_line());
            }
            report.problems.extend(unfit.iter().map(file_problem));
            return report;
        }
        self.compare(&configuration, &mut report);
        if !dry_run {
            for warning in &configuration.warnings {
                warn!(connection = %warning.tunnel, "{}", warning.render(false));
            }
            self.take_over(configuration, &report);
            report.applied = true;
        }
        report
    }

    /// Sorts the names of tunnels by what a reload does to them.
    fn compare(&self, configuration: &Configuration, report: &mut ReloadReport) {
        for (name, tunnel) in &configuration.tunnels {
            let known = self.store.tunnels.get(&tunnel.connection.name);
            let list = match known {
                None => &mut report.added,
                Some(old)
                    if *old.connection == *tunnel.connection
                        && old.secret_mark == self.marker.mark(&tunnel.secret) =>
                {
                    &mut report.unchanged
                }
                Some(_) => &mut report.changed,
            };
            list.push(name.clone());
        }
        let from_files = self.store.tunnels.iter().filter(|(_, old)| old.source == Source::File);
        let gone =
            from_files.filter(|(name, _)| !configuration.tunnels.contains_key(name.as_str()));
        report.removed = gone.map(|(name, _)| name.to_string()).collect();
        self.compare_manual(&configuration.sas, report);
        report.policies =
            configuration.policies.iter().map(|policy| policy.name.to_string()).collect();
    }

    fn take_over(&mut self, configuration: Configuration, report: &ReloadReport) {
        self.store.policy_origins = configuration.policy_origins;
        if self.store.policies != configuration.policies {
            // Before the tunnels: what they must not get does not slip through meanwhile.
            let message = ToIke::SetPolicies(configuration.policies.clone());
            if send(&self.role.links.ike, message) {
                info!(policies = report.policies.len(), "policies beside the tunnels loaded");
                self.store.policies = configuration.policies;
            } else {
                warn!("the daemon is overloaded; reload again");
            }
        }
        for name in &report.removed {
            if let Ok(name) = ConnectionName::new(name)
                && self.store.tunnels.get(&name).is_some_and(|old| old.source == Source::File)
            {
                self.take_out(&name);
            }
        }
        self.take_over_manual(configuration.sas, report);
        let mut secrets = Vec::new();
        let mut tunnels = BTreeMap::new();
        for (name, tunnel) in configuration.tunnels {
            let entry = Tunnel {
                source: Source::File,
                context: tunnel.context(),
                secret_mark: self.marker.mark(&tunnel.secret),
                secret: Some((tunnel.secret_name, tunnel.secret_facts)),
                connection: Arc::clone(&tunnel.connection),
            };
            secrets.push((tunnel.connection.name.clone(), tunnel.secret));
            tunnels.insert(name, entry);
        }
        // The keys role gets the secrets before the ike role can ask for them.
        self.to_keys(ToKeys::SetTunnels(secrets));
        for (name, tunnel) in tunnels {
            // What changed is negotiated anew, also if it is only the secret.
            let is_known = self.store.tunnels.contains_key(&tunnel.connection.name);
            let replaces = is_known && report.changed.contains(&name);
            let done = if replaces { self.replace(tunnel) } else { self.put(tunnel) };
            if !done {
                warn!(connection = name, "the daemon is overloaded; reload again");
            }
        }
    }

    /// Adds a tunnel or replaces it; false if the ike role has no room for the command.
    pub(super) fn put(&mut self, tunnel: Tunnel) -> bool {
        let connection: Arc<Connection> = Arc::clone(&tunnel.connection);
        let known = self.store.tunnels.get(&connection.name).map(|old| &old.connection);
        let how = match known {
            Some(old) if **old == *connection => "unchanged",
            Some(_) => "changed",
            None => "added",
        };
        if how != "unchanged" {
            if !send(&self.role.links.ike, ToIke::Command(Command::Load(Arc::clone(&connection)))) {
                return false;
            }
            self.configured(&connection.name, how);
        }
        self.store.put(tunnel);
        true
    }

    /// Puts a tunnel in the place of the one of the same name; false if the ike role has no room for
    /// the command.
    fn replace(&mut self, tunnel: Tunnel) -> bool {
        let connection = Arc::clone(&tunnel.connection);
        let sent = send(&self.role.links.ike, ToIke::Replace(Arc::clone(&connection)));
        if sent {
            self.store.remove(&connection.name);
            self.store.put(tunnel);
            self.configured(&connection.name, "changed");
        }
        sent
    }

    /// Removes a tunnel; false if the ike role has no room for the command.
    pub(super) fn take_out(&mut self, name: &ConnectionName) -> bool {
        let sent = send(&self.role.links.ike, ToIke::Command(Command::Unload(name.clone())));
        if sent {
            self.store.remove(name);
            self.configured(name, "removed");
        }
        sent
    }

    fn configured(&mut self, name: &ConnectionName, how: &str) {
        info!(connection = %name, "configuration {how}");
        let change = Change::Configured { how: how.to_owned() };
        self.tell_all(&Event::AditEvent(Box::new(TunnelEvent::new(name.to_string(), change))));
    }
}

/// Settles who protects each tunnel's packets; what the kernel cannot do for those that insist on
/// it comes out.
fn choose_engines(configuration: &mut Configuration) -> Vec<Diagnosis> {
    let connections = configuration.tunnels.values().map(|tunnel| &tunnel.connection);
    let outer = connections.filter_map(|connection| connection.over.clone()).collect();
    let mut chooser = EngineChooser::with_outer(outer);
    let mut unfit = Vec::new();
    for tunnel in configuration.tunnels.values_mut() {
        match chooser.choose(&tunnel.connection, &configuration.policies) {
            Ok(engine) if engine == tunnel.connection.engine => {}
            Ok(engine) => Arc::make_mut(&mut tunnel.connection).engine = engine,
            Err(reason) => unfit.push(reason.diagnosis(&tunnel.context())),
        }
    }
    unfit
}

fn file_problem(problem: &Diagnosis) -> FileProblem {
    let place = problem.place.as_ref();
    FileProblem {
        code: problem.code,
        severity: problem.severity,
        file: place.map_or_else(String::new, |place| place.file.clone()),
        line: place.and_then(|place| place.line),
        sentence: problem.sentence.clone(),
        rendered: problem.render(false),
    }
}

/// What there is to know about the algorithms of a connection, each once. Whoever names a weak one
/// in swanctl.conf is served as by strongSwan, and told.
fn cautions(connection: &Connection) -> Vec<Caution> {
    let children = connection.children.iter().flat_map(|child| &child.proposals);
    let mut cautions = Vec::new();
    for caution in connection.proposals.iter().chain(children).flat_map(ProposalSpec::cautions) {
        if !cautions.contains(&caution) {
            cautions.push(caution);
        }
    }
    cautions
}

/// Reads and understands `DIR/tunnels/*.toml` with the secrets they name, and
/// `DIR/policies/*.toml` and `DIR/sas/*.toml`.
fn read(directory: &Path) -> Result<Configuration, Vec<ConfigError>> {
    // A daemon that is told everything by swanctl needs no directory.
    let files = |kind: &str| -> Vec<SourceFile> {
        let directory = directory.join(kind);
        let files = read_texts(&directory, "toml").unwrap_or_else(|error| {
            info!(%error, directory = %directory.display(), "no {kind} in the configuration directory");
            Vec::new()
        });
        files.into_iter().map(|(path, text)| SourceFile { path, text }).collect()
    };
    let (tunnels, policies, sas) = (files("tunnels"), files("policies"), files("sas"));
    let files = Files { tunnels: &tunnels, policies: &policies, sas: &sas };
    config::load_all(files, &|path| {
        read_with_mode(path)
            .map(|(octets, mode)| SecretFile { octets, mode })
            .map_err(|error| error.to_string())
    })
}
