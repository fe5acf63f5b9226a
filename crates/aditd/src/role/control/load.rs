//! Loading connections: from clients and from the configuration directory.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

use adit_crypto::Secret;
use adit_db::{Aggressive, AuthSpec, Caution, Connection, ConnectionName, ProposalSpec};
use adit_ike::Command;
use adit_mgmt::Diagnosis;
use adit_mgmt::api::{Change, FileProblem, ReloadReport, SCHEMA, Source, TunnelEvent};
use adit_mgmt::config::{
    self, ConfigError, Configuration, Files, MoreSecrets, SecretFile, SourceFile,
};
use adit_mgmt::diagnosis::Context;
use adit_mgmt::vici::answer::Outcome;
use adit_mgmt::vici::{Event, Section, conn};
use tracing::{error, info, warn};

use adit_sys::file::{read_texts, read_with_mode};
use adit_sys::icmp_errors::has_interface;
use adit_sys::thread::spawn_scoped_named;

use super::Running;
use super::requests::{BUSY, send};
use super::store::Tunnel;
use crate::engine::EngineChooser;
use crate::message::ToIke;
use crate::role::keys::{ToKeys, TunnelKeys, TunnelSecrets};

impl Running {
    /// `load-conn`.
    pub(super) fn load_conn(&mut self, name: &str, section: &Section) -> Outcome {
        let connection = match conn::connection(name, section, self.store.pools.known()) {
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
        if connection.aggressive != Aggressive::Refuse && connection.pad.local_auth == AuthSpec::Psk
        {
            warn!(
                connection = name,
                "whoever asks may guess at the secret: one message of aggressive mode shows enough"
            );
        }
        let name = connection.name.clone();
        let tunnel = Tunnel {
            source: Source::Vici,
            context: Context::of(name.as_str()),
            secret: None,
            secret_mark: Secret::default(),
            connection: Arc::new(connection),
        };
        if !self.put(tunnel) {
            return Outcome::refused(BUSY);
        }
        self.store.pools.note_user(name, section);
        Outcome::ok()
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
        configuration.warn_of_interfaces(has_interface);
        report.problems = configuration.warnings.iter().map(ConfigError::to_problem).collect();
        let unfit = choose_engines(&mut configuration, self.role.links.has_many_packet_threads());
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
                        && old.secret_mark == self.secret_mark(tunnel) =>
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

    /// The mark of a tunnel's secret; empty if it has none.
    fn secret_mark(&self, tunnel: &config::Tunnel) -> Secret {
        let secret = tunnel.secret.as_ref().map(|secret| &secret.octets);
        let more = &tunnel.more_secrets;
        let second = more.second.as_ref();
        // Whoever the users are is asked anew with each phase 1: the others stay when one comes or goes.
        let all = [secret, second, more.ppk.as_ref(), more.password.as_ref()];
        if all.iter().all(Option::is_none) {
            return Secret::default();
        }
        // Each behind a mark of its own: octets cannot pass from one to the next.
        let marks = all.map(|one| one.map_or_else(Secret::default, |one| self.marker.mark(one)));
        let parts: Vec<&[u8]> = marks.iter().flat_map(|mark| [mark.as_bytes(), b"|"]).collect();
        Secret::concat(&parts)
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
        let mut secrets = TunnelKeys::default();
        let mut tunnels = BTreeMap::new();
        for (name, tunnel) in configuration.tunnels {
            let entry = Tunnel {
                source: Source::File,
                context: tunnel.context(),
                secret_mark: self.secret_mark(&tunnel),
                secret: tunnel.secret.as_ref().map(|secret| (secret.name.clone(), secret.facts)),
                connection: Arc::clone(&tunnel.connection),
            };
            let MoreSecrets { ppk, second, password, users } = tunnel.more_secrets;
            let (psk, users) = (tunnel.secret.map(|psk| psk.octets), users.into_iter().collect());
            let own = TunnelSecrets { psk, second, ppk, password, users };
            if !own.is_empty() {
                secrets.secrets.push((tunnel.connection.name.clone(), own));
            }
            secrets.keys.extend(tunnel.key);
            secrets.kem_keys.extend(tunnel.kem_key);
            tunnels.insert(name, entry);
        }
        // The keys role gets the secrets before the ike role can ask for them.
        self.to_keys(ToKeys::SetTunnels(secrets));
        self.put_all(tunnels, report);
    }

    /// Takes over the tunnels of the configuration directory, all or none: there may be more of them
    /// than the ike role has room for messages.
    fn put_all(&mut self, tunnels: BTreeMap<String, Tunnel>, report: &ReloadReport) {
        let (mut requests, mut told) = (Vec::new(), Vec::new());
        let changed: BTreeSet<&str> = report.changed.iter().map(String::as_str).collect();
        for (name, tunnel) in &tunnels {
            let connection = Arc::clone(&tunnel.connection);
            // What changed is negotiated anew, also if it is only the secret.
            let known = self.store.tunnels.contains_key(&connection.name);
            let how = if known && changed.contains(name.as_str()) {
                requests.push(ToIke::Replace(connection));
                "changed"
            } else {
                let how = self.how(&connection);
                if how == "unchanged" {
                    continue;
                }
                requests.push(ToIke::Command(Command::Load(connection)));
                how
            };
            told.push((tunnel.connection.name.clone(), how));
        }
        if !requests.is_empty() && !send(&self.role.links.ike, ToIke::Configure(requests)) {
            return warn!("the daemon is overloaded; reload again");
        }
        for tunnel in tunnels.into_values() {
            if changed.contains(tunnel.connection.name.as_str()) {
                self.store.remove(&tunnel.connection.name);
            }
            self.store.put(tunnel);
        }
        told.into_iter().for_each(|(name, how)| self.configured(&name, how));
    }

    /// What loading a connection does to the one of its name.
    fn how(&self, connection: &Connection) -> &'static str {
        match self.store.tunnels.get(&connection.name) {
            Some(old) if *old.connection == *connection => "unchanged",
            Some(_) => "changed",
            None => "added",
        }
    }

    /// Adds a tunnel or replaces it; false if the ike role has no room for the command.
    pub(super) fn put(&mut self, tunnel: Tunnel) -> bool {
        let connection: Arc<Connection> = Arc::clone(&tunnel.connection);
        let how = self.how(&connection);
        if how != "unchanged" {
            if !send(&self.role.links.ike, ToIke::Command(Command::Load(Arc::clone(&connection)))) {
                return false;
            }
            self.configured(&connection.name, how);
        }
        self.store.put(tunnel);
        true
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
/// it comes out. Where packet threads are many, a tunnel that others go through is the first one's.
fn choose_engines(configuration: &mut Configuration, are_many: bool) -> Vec<Diagnosis> {
    let connections = configuration.tunnels.values().map(|tunnel| &tunnel.connection);
    let outer: BTreeSet<_> = connections.filter_map(|connection| connection.over.clone()).collect();
    for tunnel in configuration.tunnels.values_mut().filter(|_| are_many) {
        if outer.contains(&tunnel.connection.name) {
            Arc::make_mut(&mut tunnel.connection).on_first_thread = true;
        }
    }
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
    let part = tunnels.len().div_ceil(readers(tunnels.len())).max(1);
    std::thread::scope(|scope| {
        let others: Vec<_> = tunnels
            .chunks(part)
            .skip(1)
            .map(|part| {
                spawn_scoped_named(scope, "reader", move || config::read_tunnels(part, &secret))
            })
            .collect();
        let first = tunnels.get(..part).unwrap_or(&tunnels);
        let mut read = vec![config::read_tunnels(first, &secret)];
        for (part, other) in tunnels.chunks(part).skip(1).zip(others) {
            // What no thread has read, for whatever reason, this one reads.
            let other = other.ok().and_then(|thread| thread.join().ok());
            read.push(other.unwrap_or_else(|| config::read_tunnels(part, &secret)));
        }
        config::load_read(files, read, &secret)
    })
}

fn secret(path: &Path) -> Result<SecretFile, String> {
    let (octets, mode) = read_with_mode(path).map_err(|error| error.to_string())?;
    Ok(SecretFile { octets: Secret::new(octets), mode })
}

/// Threads that divide so many files: as many as there are processors, if it is worth starting them.
fn readers(files: usize) -> usize {
    let processors = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    processors.min(READERS_MAX).min(files / FILES_EACH).max(1)
}

/// Most threads that read files.
const READERS_MAX: usize = 8;

/// Files that a thread has to read at least.
const FILES_EACH: usize = 256;
