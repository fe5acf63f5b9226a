//! What the IKE endpoint reports, as events for clients: strongSwan's and Adit's own.

use std::time::{Duration, Instant};

use adit_db::TransformWords;
use adit_ike::{Event as IkeEvent, IkeSaInfo, Step};
use adit_mgmt::api::{Change, Progress, Step as ApiStep, TunnelEvent};
use adit_mgmt::vici::Event;

use super::snapshots::{self, Flows};
use crate::diagnose::software;

/// strongSwan's events of one report.
/// `flows` is what the child SA carried that is gone or replaced.
pub(super) fn vici(event: &IkeEvent, flows: &Flows, now: Instant) -> Vec<Event> {
    let sa = |info: &IkeSaInfo| Box::new(snapshots::sa(info, flows, now));
    match event {
        IkeEvent::IkeUp(info) => vec![Event::IkeUpdown { up: true, sa: sa(info) }],
        IkeEvent::IkeDown { info, .. } => {
            vec![Event::IkeUpdown { up: false, sa: Box::new(snapshots::gone(info, now)) }]
        }
        IkeEvent::IkeRekeyed { old, new } => vec![Event::IkeRekey { old: sa(old), new: sa(new) }],
        IkeEvent::ChildUp { ike, child } => vec![Event::ChildUpdown {
            up: true,
            sa: sa(ike),
            child: Box::new(snapshots::child(child, flows, now)),
        }],
        IkeEvent::ChildDown { ike, child, .. } => vec![Event::ChildUpdown {
            up: false,
            sa: sa(ike),
            child: Box::new(snapshots::gone_child(child, flows, now)),
        }],
        IkeEvent::ChildRekeyed { ike, old, new } => vec![Event::ChildRekey {
            sa: sa(ike),
            old: Box::new(snapshots::child(old, flows, now)),
            new: Box::new(snapshots::child(new, flows, now)),
        }],
        IkeEvent::Moved { .. }
        | IkeEvent::PeerMoved { .. }
        | IkeEvent::Progress { .. }
        | IkeEvent::Failed(_)
        | IkeEvent::Retry { .. } => Vec::new(),
    }
}

/// The change of a tunnel that a report means; failures are diagnosed by the caller. `took` is how
/// long it took a tunnel to come up.
pub(super) fn change(event: &IkeEvent, took: Duration) -> Option<TunnelEvent> {
    let of = |info: &IkeSaInfo, change| {
        let tunnel = info.connection.as_ref().map_or_else(String::new, ToString::to_string);
        Some(TunnelEvent::new(tunnel, change))
    };
    match event {
        IkeEvent::ChildUp { ike, .. } => {
            let peer = ike.remote.to_string();
            of(ike, Change::Up { peer, took_ms: millis(took) })
        }
        IkeEvent::ChildDown { ike, reason, .. } => {
            of(ike, Change::Down { reason: reason.to_string() })
        }
        IkeEvent::ChildRekeyed { ike, new, .. } => {
            of(ike, Change::Rekeyed { what: new.name.to_string() })
        }
        IkeEvent::IkeRekeyed { new, .. } => of(new, Change::Rekeyed { what: "ike".to_owned() }),
        IkeEvent::Moved { ike, old } => {
            of(ike, Change::Moved { from: old.to_string(), to: ike.local.to_string() })
        }
        IkeEvent::PeerMoved { ike, old } => {
            of(ike, Change::PeerMoved { from: old.to_string(), peer: ike.remote.to_string() })
        }
        IkeEvent::Retry { connection, after, failures } => Some(TunnelEvent::new(
            connection.to_string(),
            Change::Retry { after_ms: millis(*after), failures: *failures },
        )),
        IkeEvent::IkeUp(_)
        | IkeEvent::IkeDown { .. }
        | IkeEvent::Progress { .. }
        | IkeEvent::Failed(_) => None,
    }
}

/// A step of a handshake in the operator's words; `None` if no tunnel is known yet.
pub(super) fn progress(event: &IkeEvent) -> Option<Progress> {
    let IkeEvent::Progress { connection: Some(connection), step, elapsed, .. } = event else {
        return None;
    };
    Some(Progress::new(connection.to_string(), *elapsed, api_step(step)))
}

fn api_step(step: &Step) -> ApiStep {
    match step {
        Step::Resolving { name } => ApiStep::Resolving { name: name.clone() },
        Step::Reaching { path } => ApiStep::Reaching { remote: path.remote.to_string() },
        Step::Resuming { path } => ApiStep::Resuming { remote: path.remote.to_string() },
        Step::FallingBack { reason } => ApiStep::FallingBack { saw: reason.to_string() },
        Step::Reconnecting { problem } => ApiStep::Reconnecting { problem: problem.to_string() },
        Step::CookieAsked => ApiStep::CookieAsked,
        Step::KeyExchangeAsked { wanted } => {
            ApiStep::KeyExchangeAsked { wanted: wanted.to_string() }
        }
        Step::Redirected { to } => ApiStep::Redirected { to: to.to_string() },
        Step::ErrorReceived { reason } => ApiStep::ErrorReceived { said: reason.to_string() },
        Step::Reached { path, nat_local, nat_remote, peer } => ApiStep::Reached {
            remote: path.remote.to_string(),
            nat_local: *nat_local,
            nat_remote: *nat_remote,
            peer: software(*peer).map(str::to_owned),
        },
        Step::Keys { suite } => ApiStep::Keys { suite: TransformWords(suite).to_string() },
        Step::Authenticated { local, remote, method } => ApiStep::Authenticated {
            local: local.to_string(),
            remote: remote.to_string(),
            method: (*method).to_owned(),
        },
        Step::Child { child, local, remote } => ApiStep::Child {
            child: child.to_string(),
            local: local.iter().map(ToString::to_string).collect(),
            remote: remote.iter().map(ToString::to_string).collect(),
        },
    }
}

/// Milliseconds, as JSON carries them.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
