//! `adit check`: reads the configuration as the daemon does and changes nothing.

use std::path::Path;

use adit_crypto::Secret;
use adit_db::{Action, AuthSpec, Keep, SignatureSpec};
use adit_mgmt::api::{self, ICMP_SETTINGS_MAX, IcmpSetting, ReloadReport, icmp_settings};
use adit_mgmt::config::{
    self, ConfigError, Configuration, Files, KeyedSa, SecretFile, SourceFile, Tunnel,
};
use adit_mgmt::diagnosis::Context;
use adit_mgmt::vici::Request;
use adit_mgmt::{Diagnosis, Severity};
use adit_sys::file::{read_texts, read_with_mode};
use adit_sys::icmp_errors::has_interface;
use adit_wire::esp::Spi;
use adit_wire::ikev2::TrafficSelector;

use crate::args::Check;
use crate::daemon::Daemon;
use crate::error::{Error, Exit};
use crate::screen::{Paint, Screen, Style};
use crate::table::{Cell, Table};
use crate::verb::act::render_changes;
use crate::verb::icmp;
use crate::words::count;

/// The configuration of a directory, for who asks what it says.
pub(crate) fn load(directory: &Path) -> Result<Configuration, Error> {
    let files = read_files(&directory.join("tunnels"))?;
    let policies = read_optional(&directory.join("policies"))?;
    let sas = read_optional(&directory.join("sas"))?;
    let kinds = Files { tunnels: &files, policies: &policies, sas: &sas };
    config::load_all(kinds, &read_secret).map_err(|problems| {
        let count = count(problems.len(), "problem");
        let directory = directory.display();
        Error::Usage(format!(
            "the configuration has {count}; see `adit check --config {directory}`"
        ))
    })
}

/// `adit check`.
pub(crate) fn run(args: &Check, vici: &Path, screen: &mut Screen) -> Result<Exit, Error> {
    let files = read_files(&args.config.join("tunnels"))?;
    let policies = read_optional(&args.config.join("policies"))?;
    let sas = read_optional(&args.config.join("sas"))?;
    let kinds = Files { tunnels: &files, policies: &policies, sas: &sas };
    let mut checked = config::load_all(kinds, &read_secret);
    if let Ok(configuration) = &mut checked {
        configuration.warn_of_interfaces(has_interface);
    }
    let (good, problems) = match &checked {
        Ok(configuration) => (Some(configuration), &configuration.warnings),
        Err(problems) => (None, problems),
    };
    let plan = match good {
        Some(_) if args.plan => Some(ask_plan(vici)?),
        _ => None,
    };
    if args.json {
        screen.json(&report(good, problems, plan))?;
    } else {
        let colour = screen.paint.colour;
        for problem in problems {
            screen.text(&format!("{}\n\n", problem.render(colour).trim_end()))?;
        }
        screen.text(&verdict(
            good,
            problems,
            files.len() + policies.len() + sas.len(),
            &args.config,
            screen.paint,
        ))?;
        if let Some(plan) = plan {
            screen.line("\nwhat a reload would do")?;
            screen.text(&render_changes(&plan, screen.paint))?;
        }
    }
    Ok(if good.is_some() { Exit::Good } else { Exit::Problem })
}

/// The files of a directory, in the order of their names.
pub(crate) fn read_files(directory: &Path) -> Result<Vec<SourceFile>, Error> {
    let texts = read_texts(directory, "toml").map_err(|error| {
        Diagnosis::file_missing(&Context::default(), directory, error).fix(format!(
            "put NAME.toml into {}, or name another place with --config DIR",
            directory.display()
        ))
    })?;
    Ok(texts.into_iter().map(|(path, text)| SourceFile { path, text }).collect())
}

/// The same of a directory that need not be there.
fn read_optional(directory: &Path) -> Result<Vec<SourceFile>, Error> {
    if directory.exists() { read_files(directory) } else { Ok(Vec::new()) }
}

pub(crate) fn read_secret(path: &Path) -> Result<SecretFile, String> {
    let read = read_with_mode(path);
    read.map(|(octets, mode)| SecretFile { octets: Secret::new(octets), mode })
        .map_err(|error| error.to_string())
}

fn ask_plan(vici: &Path) -> Result<ReloadReport, Error> {
    let mut daemon = Daemon::connect(vici)?;
    let answer = daemon.call(&Request::AditReload { dry_run: true }, |_| Ok(()))?;
    Ok(api::from_message(&answer)?)
}

fn report(
    good: Option<&Configuration>,
    problems: &[ConfigError],
    plan: Option<ReloadReport>,
) -> ReloadReport {
    let icmp = good.map(icmp_of).unwrap_or_default();
    let plan = plan.unwrap_or_else(|| ReloadReport {
        added: good
            .iter()
            .flat_map(|good| good.tunnels.keys().chain(good.sas.keys()).cloned())
            .collect(),
        policies: good
            .iter()
            .flat_map(|good| good.policies.iter().map(|policy| policy.name.to_string()))
            .collect(),
        ..ReloadReport::default()
    });
    let problems = problems.iter().map(ConfigError::to_problem).collect();
    ReloadReport { schema: api::SCHEMA, applied: false, icmp, problems, ..plan }
}

/// What becomes of ICMP messages, where that is not as by default.
fn icmp_of(configuration: &Configuration) -> Vec<IcmpSetting> {
    let tunnels = configuration.tunnels.values();
    let settings = tunnels.flat_map(|tunnel| icmp_settings(&tunnel.connection, &tunnel.context()));
    settings.take(ICMP_SETTINGS_MAX).collect()
}

fn verdict(
    good: Option<&Configuration>,
    problems: &[ConfigError],
    files: usize,
    directory: &Path,
    paint: Paint,
) -> String {
    let of = |severity| problems.iter().filter(|problem| problem.severity == severity).count();
    let warnings = count(of(Severity::Warning), "warning");
    let Some(configuration) = good else {
        let errors = count(of(Severity::Error), "error");
        let errors = paint.with(Style::Bad, &errors);
        return format!("{errors}, {warnings} in {}\n", count(files, "file"));
    };
    let Configuration { tunnels, policies, sas, .. } = configuration;
    if tunnels.is_empty() && policies.is_empty() && sas.is_empty() {
        let place = directory.join("tunnels");
        return format!("no tunnels: put one into {}/NAME.toml\n", place.display());
    }
    let tunnels = count(configuration.tunnels.len(), "tunnel");
    let tunnels = paint.with(Style::Good, &tunnels);
    let mut out = policies_table(configuration, paint) + &sas_table(configuration, paint);
    if !configuration.tunnels.is_empty() {
        out += &plan(configuration).render(paint);
        out.push('\n');
        out += &icmp::settings(&icmp_of(configuration), paint);
    }
    let by_hand = match configuration.sas.len() {
        0 => String::new(),
        number => format!("{} keyed by hand, ", count(number, "file")),
    };
    format!("{out}{tunnels}, {by_hand}{warnings}\n")
}

/// SAs that are keyed by hand, which are asked before the tunnels; nothing if there are none.
fn sas_table(configuration: &Configuration, paint: Paint) -> String {
    if configuration.sas.is_empty() {
        return String::new();
    }
    let mut table = Table::new(&["SA", "PEER", "SPI IN", "SPI OUT", "SUITE", "LOCAL", "REMOTE"]);
    let spi = |spi: Option<Spi>| spi.map_or_else(|| "-".to_owned(), |spi| format!("{:08x}", spi.0));
    for (name, KeyedSa { sa, .. }) in &configuration.sas {
        table.row(vec![
            Cell::styled(Style::Bold, name),
            Cell::new(sa.remote.ip().to_string()),
            Cell::new(spi(sa.directions.spi_in())),
            Cell::new(spi(sa.directions.spi_out())),
            Cell::new(sa.protection.to_string()),
            Cell::new(side_words(&sa.local_ts)),
            Cell::new(side_words(&sa.remote_ts)),
        ]);
    }
    format!("{}\n", table.render(paint))
}

/// What is asked before the tunnels, in order; nothing if there is nothing.
fn policies_table(configuration: &Configuration, paint: Paint) -> String {
    if configuration.policies.is_empty() {
        return String::new();
    }
    let mut table = Table::new(&["POLICY", "ACTION", "LOCAL", "REMOTE"]);
    for policy in &configuration.policies {
        table.row(vec![
            Cell::styled(Style::Bold, policy.name.as_str()),
            Cell::new(action_words(policy.entry.action)),
            Cell::new(side_words(&policy.entry.local)),
            Cell::new(side_words(&policy.entry.remote)),
        ]);
    }
    format!("{}\n", table.render(paint))
}

fn action_words(action: Action) -> &'static str {
    match action {
        Action::Protect(_) => "protect",
        Action::Bypass => "bypass",
        Action::Discard => "discard",
    }
}

fn side_words(side: &[TrafficSelector]) -> String {
    if side == [TrafficSelector::ANY_V4, TrafficSelector::ANY_V6] {
        return "any".to_owned();
    }
    let texts: Vec<String> = side.iter().map(ToString::to_string).collect();
    texts.join(", ")
}

/// What the daemon would do with the files.
fn plan(configuration: &Configuration) -> Table {
    let mut table =
        Table::new(&["TUNNEL", "KEEP", "PEER", "WE ARE", "PEER IS", "LOCAL", "REMOTE", "SECRET"]);
    for (name, tunnel) in &configuration.tunnels {
        let joined = |texts: Vec<String>| Cell::new(texts.join(", "));
        let connection = &tunnel.connection;
        let hosts = connection.remote_addresses.iter().map(ToString::to_string).collect();
        let local_id = connection.pad.local_id.as_ref();
        let (mut keep, mut local, mut remote) = ("", Vec::new(), Vec::new());
        // Classes have the selectors of the child that they are of.
        for child in connection.children.iter().filter(|child| child.class.is_none()) {
            keep = keep_words(child.keep);
            local.extend(child.local_ts.iter().map(ToString::to_string));
            remote.extend(child.remote_ts.iter().map(ToString::to_string));
        }
        table.row(vec![
            Cell::styled(Style::Bold, name),
            Cell::new(keep),
            joined(hosts),
            Cell::new(local_id.map_or_else(|| "our address".to_owned(), ToString::to_string)),
            Cell::new(connection.pad.remote_id.to_string()),
            joined(local),
            joined(remote),
            Cell::new(secret_words(tunnel)),
        ]);
    }
    table
}

fn keep_words(keep: Keep) -> &'static str {
    match keep {
        Keep::Up => "up",
        Keep::OnDemand => "on-demand",
        Keep::Passive => "passive",
    }
}

fn secret_words(tunnel: &Tunnel) -> String {
    let pad = &tunnel.connection.pad;
    let side = |auth: &AuthSpec| match auth {
        AuthSpec::Psk => tunnel.secret.as_ref().map_or_else(String::new, |secret| {
            format!("{} ({} bytes)", secret.name, secret.facts.octets)
        }),
        AuthSpec::Signature(spec) => signature_words(spec),
        AuthSpec::Null => "no proof".to_owned(),
    };
    let (ours, theirs) = (side(&pad.local_auth), side(&pad.remote_auth));
    if ours == theirs { ours } else { format!("we: {ours}; peer: {theirs}") }
}

fn signature_words(spec: &SignatureSpec) -> String {
    let certificates = spec.certificates.iter().chain(&spec.authorities);
    let mut words: Vec<String> = certificates.map(|one| one.subject_text()).collect();
    words.extend(spec.public_keys.iter().map(|key| format!("{} key", key.kind())));
    words.join(", ")
}
