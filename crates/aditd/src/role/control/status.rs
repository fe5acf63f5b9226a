//! `adit status`: every tunnel in states an operator can act on.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Instant;

use adit_db::{ChildName, ConnectionName, Keep, TransformWords};
use adit_ike::{ChildSaInfo, ChildSaState, ConnectionInfo, IkeSaInfo, IkeSaState, OuterSaInfo};
use adit_mgmt::api::{
    AccessStatus, ChildStatus, DaemonStatus, OuterStatus, SCHEMA, Status, TunnelState, TunnelStatus,
};
use adit_sys::clock;

use super::Running;
use super::answers::{Numbers, age, flows};
use super::snapshots::{Flows, seconds_since, seconds_until};
use crate::diagnose::software;

impl Running {
    /// Everything, or one tunnel.
    pub(super) fn status(&self, only: Option<&str>, numbers: &Numbers) -> Status {
        let now = clock::now();
        let daemon = DaemonStatus {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            uptime_s: seconds_since(self.started, now),
            ike_sas: numbers.sas.len(),
            half_open: numbers
                .sas
                .iter()
                .filter(|info| info.state == IkeSaState::Connecting)
                .count(),
            problems: self.problems.clone(),
        };
        let flows = flows(numbers);
        let drops = drops(numbers);
        let tunnels = numbers
            .connections
            .iter()
            .filter(|known| only.is_none_or(|name| known.connection.name.as_str() == name))
            .map(|known| self.tunnel(known, numbers, &flows, &drops, now));
        let mut tunnels: Vec<TunnelStatus> = tunnels.collect();
        tunnels.extend(self.manual_tunnels(only, numbers, &flows, now));
        tunnels.sort_by(|one, other| one.name.cmp(&other.name));
        Status { schema: SCHEMA, daemon, tunnels }
    }

    fn tunnel(
        &self,
        known: &ConnectionInfo,
        numbers: &Numbers,
        flows: &Flows,
        drops: &Drops,
        now: Instant,
    ) -> TunnelStatus {
        let connection = &known.connection;
        let sas = sas_of(&connection.name, numbers);
        let sa = sas.last().copied();
        let children: Vec<&ChildSaInfo> = sas.iter().flat_map(|sa| &sa.children).collect();
        let traffic = sum(&children, flows);
        let problem = self.store.failure(connection.name.as_str()).cloned();
        let state = state(known, sa, &children, problem.is_some());
        let since = match state {
            TunnelState::Up | TunnelState::Sick => {
                children.iter().map(|child| child.installed).min()
            }
            TunnelState::Down | TunnelState::Connecting | TunnelState::Idle => None,
        };
        let last_in = traffic.last_in.map(|at| now.saturating_duration_since(at));
        let rekeys = sas.iter().flat_map(|sa| [sa.rekey_at, sa.reauth_at]).flatten();
        let next = rekeys.chain(children.iter().filter_map(|child| child.rekey_at)).min();
        TunnelStatus {
            name: connection.name.to_string(),
            state,
            source: self.store.source(&connection.name),
            keep: keep(known).to_owned(),
            peer: peers(connection),
            over: connection.over.as_ref().map(ToString::to_string),
            peer_address: sa.map(|sa| sa.remote.to_string()),
            peer_addresses: also_at(sa),
            mobike: sa.is_some_and(|sa| sa.mobike),
            peer_software: sa.and_then(|sa| software(sa.peer)).map(str::to_owned),
            local_id: sa.and_then(|sa| sa.local_id.as_ref()).map(ToString::to_string),
            remote_id: sa.and_then(|sa| sa.remote_id.as_ref()).map(ToString::to_string),
            access: access(&sas),
            since_s: age(since, now),
            octets_in: traffic.octets_in,
            packets_in: traffic.packets_in,
            octets_out: traffic.octets_out,
            packets_out: traffic.packets_out,
            last_packet_ms: last_in.map(super::events::millis),
            mtu: traffic.path.filter(|path| path.inner != u16::MAX).map(|path| path.inner.into()),
            path_mtu: traffic.path.map(|path| path.mtu.into()),
            path_mtu_source: traffic.path.map(|path| path.source.name().to_owned()),
            path_mtu_age_s: age(traffic.path.and_then(|path| path.told), now),
            interface: self.store.interface(&connection.name),
            ike_suite: sa.filter(|sa| !sa.suite.is_empty()).map(|sa| words(&sa.suite)),
            rekey_in_s: next.map(|at| seconds_until(at, now)),
            retry_in_s: known.retry_at.map(|at| seconds_until(at, now)),
            children: children_status(known, &children, drops),
            problem,
        }
    }
}

type Drops = BTreeMap<adit_db::ChildSaId, BTreeMap<&'static str, u64>>;

/// What was dropped, by child SA and reason, both directions together.
fn drops(numbers: &Numbers) -> Drops {
    let mut all = Drops::new();
    for counters in numbers.inbound.sas.iter().chain(&numbers.outbound.sas) {
        let one = all.entry(counters.child).or_default();
        for (reason, count) in counters.drops.iter().filter(|(_, count)| *count > 0) {
            *one.entry(reason.name()).or_default() += count;
        }
    }
    all
}

/// The IKE SAs of a tunnel, the one that counts last.
fn sas_of<'a>(name: &ConnectionName, numbers: &'a Numbers) -> Vec<&'a IkeSaInfo> {
    let mut sas: Vec<&IkeSaInfo> =
        numbers.sas.iter().filter(|sa| sa.connection.as_ref() == Some(name)).collect();
    sas.sort_by_key(|sa| (sa.established, sa.id));
    sas
}

fn sum(children: &[&ChildSaInfo], flows: &Flows) -> super::snapshots::Traffic {
    let mut sum = super::snapshots::Traffic::default();
    for one in children.iter().filter_map(|child| flows.get(&child.id)) {
        sum.octets_in += one.octets_in;
        sum.packets_in += one.packets_in;
        sum.octets_out += one.octets_out;
        sum.packets_out += one.packets_out;
        sum.last_in = sum.last_in.max(one.last_in);
        sum.last_out = sum.last_out.max(one.last_out);
        // The one with the least room decides what fits.
        sum.path = sum.path.into_iter().chain(one.path).min_by_key(|path| path.inner);
    }
    sum
}

fn state(
    known: &ConnectionInfo,
    sa: Option<&IkeSaInfo>,
    children: &[&ChildSaInfo],
    problem: bool,
) -> TunnelState {
    let carries = children
        .iter()
        .any(|child| matches!(child.state, ChildSaState::Installed | ChildSaState::Rekeying));
    let wanted = known.connection.children.iter().any(|child| child.keep == Keep::Up);
    match sa.map(|sa| sa.state) {
        _ if carries && problem => TunnelState::Sick,
        _ if carries => TunnelState::Up,
        Some(IkeSaState::Connecting) if known.failures == 0 => TunnelState::Connecting,
        _ if wanted && !known.held_down => TunnelState::Down,
        _ if problem => TunnelState::Down,
        _ => TunnelState::Idle,
    }
}

fn keep(known: &ConnectionInfo) -> &'static str {
    let of = |keep| known.connection.children.iter().any(|child| child.keep == keep);
    if of(Keep::Up) {
        "up"
    } else if of(Keep::OnDemand) {
        "on-demand"
    } else {
        "passive"
    }
}

fn peers(connection: &adit_db::Connection) -> String {
    let names: Vec<String> = connection.remote_addresses.iter().map(ToString::to_string).collect();
    if names.is_empty() { "any".to_owned() } else { names.join(", ") }
}

/// Users and addresses inside, over all IKE SAs.
fn access(sas: &[&IkeSaInfo]) -> Option<AccessStatus> {
    let mut status = AccessStatus::default();
    let texts = |addresses: &[IpAddr]| addresses.iter().map(ToString::to_string).collect();
    for access in sas.iter().filter_map(|sa| sa.access.as_deref()) {
        if let Some(given) = &access.given {
            status.addresses = texts(&given.addresses);
            status.dns = texts(&given.dns);
            status.domain.clone_from(&given.domain);
            status.split = given.split.iter().map(ToString::to_string).collect();
            status.banner.clone_from(&given.banner);
        }
        let leases: Vec<String> = texts(&access.leases);
        let client: Vec<String> = access.user.iter().cloned().chain(leases).collect();
        let client = client.join(" ");
        if !client.is_empty() && !status.clients.contains(&client) {
            status.clients.push(client);
        }
    }
    (status != AccessStatus::default()).then_some(status)
}

/// Where else the peer is, as it says.
fn also_at(sa: Option<&IkeSaInfo>) -> Vec<String> {
    let addresses = sa.into_iter().flat_map(|sa| &sa.peer_addresses);
    addresses.map(ToString::to_string).collect()
}

fn words(suite: &[adit_wire::ikev2::Transform]) -> String {
    TransformWords(suite).to_string()
}

/// `ESP`, `AH`, or both.
pub(super) fn protocol_words(child: &ChildSaInfo) -> String {
    let around = child.outer.as_ref().map_or("", |_| "AH+");
    format!("{around}{}", child.protocol)
}

/// AH around the ESP of a child SA.
pub(super) fn outer_status(outer: &OuterSaInfo) -> OuterStatus {
    OuterStatus {
        spi_in: format!("{:08x}", outer.spi_in.0),
        spi_out: format!("{:08x}", outer.spi_out.0),
        suite: words(&outer.suite),
    }
}

/// What was dropped of a child SA's packets, AH around them included.
fn dropped(child: &ChildSaInfo, drops: &Drops) -> Vec<(String, u64)> {
    let all = std::iter::once(child.id).chain(child.outer.as_deref().map(|outer| outer.id));
    let mut words: Vec<(String, u64)> = Vec::new();
    for (name, count) in all.filter_map(|id| drops.get(&id)).flatten() {
        match words.iter_mut().find(|(known, _)| known == name) {
            Some((_, sum)) => *sum = sum.saturating_add(*count),
            None => words.push(((*name).to_owned(), *count)),
        }
    }
    words
}

/// Each child SA, and each configured child that has none.
fn children_status(
    known: &ConnectionInfo,
    children: &[&ChildSaInfo],
    drops: &Drops,
) -> Vec<ChildStatus> {
    let class = |name: &ChildName| {
        let child = known.connection.child(name).filter(|child| child.resource.is_none())?;
        Some(child.class.as_ref()?.code_points.to_string())
    };
    let alive = children.iter().map(|child| ChildStatus {
        name: child.name.to_string(),
        class: class(&child.name),
        up: matches!(child.state, ChildSaState::Installed | ChildSaState::Rekeying),
        local: child.local_ts.iter().map(ToString::to_string).collect(),
        remote: child.remote_ts.iter().map(ToString::to_string).collect(),
        suite: Some(words(&child.suite)),
        protocol: protocol_words(child),
        outer: child.outer.as_deref().map(outer_status),
        udp: child.encap.udp && !child.encap.tcp,
        tcp: child.encap.tcp,
        mode: child.mode.word().to_owned(),
        aggfrag: child.aggfrag.is_some(),
        spi_in: Some(format!("{:08x}", child.spi_in.0)),
        spi_out: Some(format!("{:08x}", child.spi_out.0)),
        drops: dropped(child, drops),
    });
    let missing = known
        .connection
        .children
        .iter()
        // Children for resources come and go as the peer likes.
        .filter(|config| config.resource.is_none())
        .filter(|config| children.iter().all(|child| child.name != config.name));
    let missing = missing.map(|config| ChildStatus {
        name: config.name.to_string(),
        class: class(&config.name),
        local: config.local_ts.iter().map(ToString::to_string).collect(),
        remote: config.remote_ts.iter().map(ToString::to_string).collect(),
        ..ChildStatus::default()
    });
    alive.chain(missing).collect()
}
