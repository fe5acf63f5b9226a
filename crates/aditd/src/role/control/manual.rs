//! SAs that are keyed by hand: loading them, and showing them beside tunnels.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use adit_crypto::Secret;
use adit_db::{ChildSaId, ManualSa, TsSpec};
use adit_mgmt::Severity;
use adit_mgmt::api::{ChildStatus, ReloadReport, SaStatus, Source, TunnelState, TunnelStatus};
use adit_mgmt::config::KeyedSa;
use adit_mgmt::diagnosis::Context;
use adit_sys::clock;
use adit_wire::ikev2::TrafficSelector;
use tracing::{info, warn};

use super::Running;
use super::answers::Numbers;
use super::events::millis;
use super::requests::send;
use super::snapshots::{Flows, seconds_since};
use super::why::{drop_words, flowed, halves};
use crate::message::{ManualChange, ManualOrder, ToIke};

/// One file of SAs.
pub(super) struct Manual {
    pub(super) sa: Arc<ManualSa>,
    id: ChildSaId,
    /// Its file with the lines of its keys.
    pub(super) context: Context,
    /// See [`super::store::Marker`].
    marks: [Secret; 2],
    installed: Instant,
}

impl Running {
    /// Sorts the names of SAs by what a reload does to them.
    pub(super) fn compare_manual(
        &self,
        sas: &BTreeMap<String, KeyedSa>,
        report: &mut ReloadReport,
    ) {
        for (name, keyed) in sas {
            let list = match self.store.manual.get(name) {
                None => &mut report.added,
                Some(old) if *old.sa == *keyed.sa && old.marks == self.marks(keyed) => {
                    &mut report.unchanged
                }
                Some(_) => &mut report.changed,
            };
            list.push(name.clone());
        }
        let gone = self.store.manual.keys().filter(|name| !sas.contains_key(*name));
        report.removed.extend(gone.cloned());
    }

    fn marks(&self, keyed: &KeyedSa) -> [Secret; 2] {
        [self.marker.mark(&keyed.key_in), self.marker.mark(&keyed.key_out)]
    }

    /// Carries out what [`Self::compare_manual`] has found. What did not change is not touched: it
    /// goes on with its numbers.
    pub(super) fn take_over_manual(
        &mut self,
        sas: BTreeMap<String, KeyedSa>,
        report: &ReloadReport,
    ) {
        let gone = report.removed.iter().chain(&report.changed);
        let gone: Vec<String> =
            gone.filter(|n| self.store.manual.contains_key(*n)).cloned().collect();
        for name in gone {
            self.remove_manual(&name);
        }
        for (name, keyed) in sas {
            if let Some(old) = self.store.manual.get_mut(&name) {
                old.context = keyed.context();
            } else if !self.add_manual(&name, keyed) {
                warn!(sa = name, "the daemon is overloaded; reload again");
            }
        }
    }

    fn add_manual(&mut self, name: &str, keyed: KeyedSa) -> bool {
        let id = ChildSaId::manual(self.next_manual);
        let (sa, context, marks) = (Arc::clone(&keyed.sa), keyed.context(), self.marks(&keyed));
        let (keys_in, keys_out) = keyed.into_keys();
        let order = ManualOrder { sa: Arc::clone(&sa), id, keys_in, keys_out };
        if !send(&self.role.links.ike, ToIke::Manual(ManualChange::Add(Box::new(order)))) {
            return false;
        }
        self.next_manual += 1;
        let entry = Manual { sa, id, context, marks, installed: clock::now() };
        self.store.manual.insert(name.to_owned(), entry);
        info!(sa = name, "SAs keyed by hand loaded");
        true
    }

    fn remove_manual(&mut self, name: &str) {
        let Some(entry) = self.store.manual.get(name) else { return };
        let change = ManualChange::Remove(entry.sa.name.clone());
        if send(&self.role.links.ike, ToIke::Manual(change)) {
            self.store.manual.remove(name);
            self.store.clear_problem(name);
        } else {
            warn!(sa = name, "the daemon is overloaded; reload again");
        }
    }

    /// All of them for `adit status`.
    pub(super) fn manual_tunnels(
        &self,
        only: Option<&str>,
        numbers: &Numbers,
        flows: &Flows,
        now: Instant,
    ) -> Vec<TunnelStatus> {
        let named = |name: &str| only.is_none_or(|wanted| wanted == name);
        let chosen = self.store.manual.iter().filter(|(name, _)| named(name));
        chosen.map(|(name, entry)| self.manual_tunnel(name, entry, numbers, flows, now)).collect()
    }

    fn manual_tunnel(
        &self,
        name: &str,
        entry: &Manual,
        numbers: &Numbers,
        flows: &Flows,
        now: Instant,
    ) -> TunnelStatus {
        let traffic = flows.get(&entry.id).copied().unwrap_or_default();
        let problem = self.store.failure(name).cloned();
        let over = problem.as_ref().is_some_and(|problem| problem.severity == Severity::Error);
        let last_in = traffic.last_in.map(|at| now.saturating_duration_since(at));
        TunnelStatus {
            name: name.to_owned(),
            state: if over { TunnelState::Down } else { TunnelState::Up },
            source: Source::File,
            keep: "manual".to_owned(),
            peer: entry.sa.remote.ip().to_string(),
            since_s: Some(seconds_since(entry.installed, now)),
            octets_in: traffic.octets_in,
            packets_in: traffic.packets_in,
            octets_out: traffic.octets_out,
            packets_out: traffic.packets_out,
            last_packet_ms: last_in.map(millis),
            children: vec![child(name, entry, numbers, !over)],
            problem,
            ..TunnelStatus::default()
        }
    }

    /// All of them for `adit sad`.
    pub(super) fn manual_sas(&self, numbers: &Numbers, now: Instant) -> Vec<SaStatus> {
        let one = |(name, entry): (&String, &Manual)| {
            let over = self.store.failure(name).is_some();
            sa_status(name, entry, numbers, over, now)
        };
        self.store.manual.iter().map(one).collect()
    }
}

fn child(name: &str, entry: &Manual, numbers: &Numbers, up: bool) -> ChildStatus {
    let sa = &entry.sa;
    let [inbound, outbound] = halves(entry.id, numbers);
    ChildStatus {
        name: name.to_owned(),
        class: None,
        up,
        local: words(&sa.local_ts),
        remote: words(&sa.remote_ts),
        suite: Some(sa.protection.to_string()),
        protocol: sa.protection.protocol().to_string(),
        outer: None,
        udp: sa.udp,
        tcp: false,
        mode: sa.mode.word().to_owned(),
        aggfrag: false,
        spi_in: sa.directions.spi_in().map(|spi| format!("{:08x}", spi.0)),
        spi_out: sa.directions.spi_out().map(|spi| format!("{:08x}", spi.0)),
        drops: drop_words([inbound, outbound].into_iter().flatten().map(|half| half.drops)),
    }
}

fn sa_status(name: &str, entry: &Manual, numbers: &Numbers, over: bool, now: Instant) -> SaStatus {
    let sa = &entry.sa;
    let spi = |spi: Option<adit_wire::esp::Spi>| {
        spi.map_or_else(|| "-".to_owned(), |spi| format!("{:08x}", spi.0))
    };
    SaStatus {
        tunnel: name.to_owned(),
        child: name.to_owned(),
        id: entry.id.0,
        state: if over { "ENDED" } else { "MANUAL" }.to_owned(),
        spi_in: spi(sa.directions.spi_in()),
        spi_out: spi(sa.directions.spi_out()),
        outer_local: sa.local.to_string(),
        outer_remote: sa.remote.to_string(),
        protocol: sa.protection.protocol().to_string(),
        udp: sa.udp,
        tcp: false,
        suite: sa.protection.to_string(),
        local: words(&sa.local_ts),
        remote: words(&sa.remote_ts),
        age_s: seconds_since(entry.installed, now),
        ..flowed(halves(entry.id, numbers), now)
    }
}

fn words(side: &[TrafficSelector]) -> Vec<String> {
    side.iter().map(|ts| TsSpec::from(*ts).to_string()).collect()
}
