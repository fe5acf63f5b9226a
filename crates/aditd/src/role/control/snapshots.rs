//! The IKE endpoint's and the packet engine's numbers, put together as clients see them.

use std::collections::BTreeMap;
use std::time::Instant;

use adit_dataplane::{PathReport, SaCounters};
use adit_db::ChildSaId;
use adit_ike::{AccessInfo, ChildSaInfo, IkeSaInfo};
use adit_mgmt::vici::{AccessSnapshot, AhSnapshot, ChildSnapshot, PathSnapshot, SaSnapshot};

/// What flowed through one child SA.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Traffic {
    /// Octets of inner packets received.
    pub(super) octets_in: u64,
    /// Packets received.
    pub(super) packets_in: u64,
    /// When the last one was received.
    pub(super) last_in: Option<Instant>,
    /// Octets of inner packets sent.
    pub(super) octets_out: u64,
    /// Packets sent.
    pub(super) packets_out: u64,
    /// When the last one was sent.
    pub(super) last_out: Option<Instant>,
    /// What its path takes.
    pub(super) path: Option<PathReport>,
}

impl Traffic {
    /// Notes what came in.
    pub(super) fn add_inbound(&mut self, counters: &SaCounters) {
        self.octets_in = counters.octets;
        self.packets_in = counters.packets;
        self.last_in = counters.last_used;
    }

    /// Notes what went out.
    pub(super) fn add_outbound(&mut self, counters: &SaCounters) {
        self.octets_out = counters.octets;
        self.packets_out = counters.packets;
        self.last_out = counters.last_used;
        self.path = counters.path;
    }
}

/// What flowed, by child SA.
pub(super) type Flows = BTreeMap<ChildSaId, Traffic>;

/// An IKE SA with its children.
pub(super) fn sa(info: &IkeSaInfo, flows: &Flows, now: Instant) -> SaSnapshot {
    SaSnapshot {
        connection: info.connection.as_ref().map_or_else(String::new, ToString::to_string),
        unique_id: info.id.0,
        version: info.version,
        state: info.state.to_string(),
        local: info.local,
        remote: info.remote,
        local_id: info.local_id.clone(),
        remote_id: info.remote_id.clone(),
        initiator: info.initiator,
        spi_i: info.spi_i,
        spi_r: info.spi_r,
        nat_local: info.nat_local,
        nat_remote: info.nat_remote,
        nat_fake: false,
        resumed: info.resumed,
        suite: info.suite.clone(),
        established_s: info.established.map(|at| seconds_since(at, now)),
        rekey_s: info.rekey_at.map(|at| seconds_until(at, now)),
        reauth_s: info.reauth_at.map(|at| seconds_until(at, now)),
        ppk: info.ppk,
        access: info.access.as_deref().map(access).unwrap_or_default(),
        children: info.children.iter().map(|info| child(info, flows, now)).collect(),
    }
}

fn access(info: &AccessInfo) -> AccessSnapshot {
    let given = info.given.as_ref().map(|given| given.addresses.clone());
    AccessSnapshot {
        user: info.user.clone(),
        local_addresses: given.unwrap_or_default(),
        remote_addresses: info.leases.clone(),
    }
}

/// A child SA.
pub(super) fn child(info: &ChildSaInfo, flows: &Flows, now: Instant) -> ChildSnapshot {
    let traffic = flows.get(&info.id).copied().unwrap_or_default();
    ChildSnapshot {
        name: info.name.to_string(),
        unique_id: info.id.0,
        reqid: info.reqid,
        state: info.state.to_string(),
        protocol: info.protocol,
        udp: info.encap.udp && !info.encap.tcp,
        mode: info.mode,
        spi_in: info.spi_in,
        spi_out: info.spi_out,
        ipcomp: info.ipcomp,
        ah: info.outer.as_deref().map(|outer| AhSnapshot {
            spi_in: outer.spi_in,
            spi_out: outer.spi_out,
            suite: outer.suite.clone(),
            esn: outer.esn,
        }),
        suite: info.suite.clone(),
        esn: info.esn,
        octets_in: traffic.octets_in,
        packets_in: traffic.packets_in,
        idle_in_s: traffic.last_in.map(|at| seconds_since(at, now)),
        octets_out: traffic.octets_out,
        packets_out: traffic.packets_out,
        idle_out_s: traffic.last_out.map(|at| seconds_since(at, now)),
        rekey_s: info.rekey_at.map(|at| seconds_until(at, now)),
        life_s: info.over_at.map(|at| seconds_until(at, now)),
        installed_s: seconds_since(info.installed, now),
        path: traffic.path.map(path_words),
        local_ts: info.local_ts.clone(),
        remote_ts: info.remote_ts.clone(),
    }
}

/// An IKE SA that is no more, as charon reports it: no ages, and the state in which it ended.
pub(super) fn gone(info: &IkeSaInfo, now: Instant) -> SaSnapshot {
    SaSnapshot {
        state: "DELETING".to_owned(),
        established_s: None,
        rekey_s: None,
        reauth_s: None,
        children: Vec::new(),
        ..sa(info, &Flows::new(), now)
    }
}

/// A child SA that is no more.
pub(super) fn gone_child(info: &ChildSaInfo, flows: &Flows, now: Instant) -> ChildSnapshot {
    ChildSnapshot { state: "DELETED".to_owned(), ..child(info, flows, now) }
}

fn path_words(path: PathReport) -> PathSnapshot {
    let PathReport { mtu, inner, source, told: _ } = path;
    let inner = (inner != u16::MAX).then_some(inner);
    PathSnapshot { mtu, inner, source: source.name().to_owned() }
}

/// Whole seconds gone by.
pub(super) fn seconds_since(at: Instant, now: Instant) -> u64 {
    now.saturating_duration_since(at).as_secs()
}

/// Whole seconds left.
pub(super) fn seconds_until(at: Instant, now: Instant) -> u64 {
    at.saturating_duration_since(now).as_secs()
}
