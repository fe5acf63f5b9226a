//! The checks. Each is told what was seen and names what is wrong with it.

mod host;
mod ways;

use adit_mgmt::Diagnosis;
use adit_mgmt::api::TunnelState;

use crate::doctor::facts::{Facts, Tunnel};
use crate::words::count;

/// A check.
pub(super) struct Check {
    /// Its name, a word or two.
    pub(super) name: &'static str,
    /// What it looked at; `None` if there was nothing.
    pub(super) looked_at: fn(&Facts) -> Option<String>,
    /// What is wrong.
    pub(super) find: fn(&Facts) -> Vec<Diagnosis>,
}

/// All of them, in the order in which they are shown: what the daemon knows comes first, since its
/// words are about the cause.
pub(super) const ALL: &[Check] = &[
    Check { name: "daemon", looked_at: of_daemon, find: known },
    Check { name: "port 4500", looked_at: ways::ports_seen, find: ways::ports },
    Check { name: "routes", looked_at: ways::routes_seen, find: ways::routes },
    Check { name: "one-way", looked_at: ways::echo_seen, find: ways::one_way },
    Check { name: "mtu", looked_at: ways::sizes_seen, find: ways::black_hole },
    Check { name: "fragments", looked_at: ways::pieces_seen, find: ways::pieces },
    Check { name: "drops", looked_at: ways::drops_seen, find: ways::drops },
    Check { name: "links", looked_at: host::links_seen, find: host::links },
    Check { name: "forwarding", looked_at: host::forwarding_seen, find: host::forwarding },
    Check { name: "firewall", looked_at: host::firewall_seen, find: host::firewall },
    Check { name: "clock", looked_at: host::clock_seen, find: host::clock },
    Check { name: "certificates", looked_at: host::certificates_seen, find: host::certificates },
];

/// What the daemon says itself.
fn known(facts: &Facts) -> Vec<Diagnosis> {
    facts.known.clone()
}

fn of_daemon(facts: &Facts) -> Option<String> {
    let up = facts.tunnels.iter().filter(|tunnel| is_up(tunnel)).count();
    Some(format!("{}, {up} of them up", count(facts.tunnels.len(), "tunnel")))
}

/// What is worth knowing and no problem.
pub(super) fn notes(facts: &Facts) -> Vec<String> {
    let skipped = |tunnel: &Tunnel| {
        let why = tunnel.skipped?.replace("NAME", tunnel.name());
        Some(format!("{}: no echo requests were sent: {why}", tunnel.name()))
    };
    let skipped = facts.tunnels.iter().filter_map(skipped);
    let of_ways = skipped.chain(ways::nobody(facts)).chain(ways::probed(facts));
    of_ways.chain(host::answers_only(facts)).collect()
}

/// What could not be tried, each once, and why.
pub(super) fn untried(facts: &Facts) -> Vec<String> {
    let mut all = Vec::new();
    for tunnel in &facts.tunnels {
        for failure in &tunnel.failures {
            let words = format!("{}: {failure}", tunnel.name());
            if !all.contains(&words) {
                all.push(words);
            }
        }
    }
    all
}

fn is_up(tunnel: &Tunnel) -> bool {
    matches!(tunnel.status.state, TunnelState::Up | TunnelState::Sick)
}

/// Every tunnel's problem, if it has one of that kind.
fn of_each(facts: &Facts, find: impl Fn(&Tunnel) -> Option<Diagnosis>) -> Vec<Diagnosis> {
    let named = |tunnel: &Tunnel| {
        let mut found = find(tunnel)?.tunnel(tunnel.name());
        for fix in &mut found.fixes {
            *fix = fix.replace("NAME", tunnel.name());
        }
        Some(found)
    };
    facts.tunnels.iter().filter_map(named).collect()
}

/// What was seen of each tunnel, in one line.
fn seen_of_each(facts: &Facts, seen: impl Fn(&Tunnel) -> Option<String>) -> Option<String> {
    let each = facts.tunnels.iter();
    let words: Vec<String> =
        each.filter_map(|one| Some(format!("{}: {}", one.name(), seen(one)?))).collect();
    (!words.is_empty()).then(|| words.join("; "))
}
