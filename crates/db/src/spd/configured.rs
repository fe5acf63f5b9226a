//! Entries of the SPD (RFC 4301 §4.4.1) that the configuration asks for.

use std::net::IpAddr;

use adit_wire::ikev2::TrafficSelector;

use super::{Action, SpdEntry};
use crate::connection::{ChildConfig, Connection};
use crate::host::single_address;
use crate::ids::PolicyId;
use crate::names::ConnectionName;
use crate::ts_spec::TsSpec;

/// An entry that an operator wrote down: BYPASS or DISCARD.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OperatorPolicy {
    /// Its name; a connection may have the same.
    pub name: ConnectionName,
    /// What it says.
    pub entry: SpdEntry,
}

impl SpdEntry {
    /// The entry of a child as it is configured; `None` if it cannot be told before the IKE SA is
    /// up what the peer's side is.
    pub fn configured(
        connection: &Connection,
        child: &ChildConfig,
        policy: PolicyId,
    ) -> Option<Self> {
        let access = &connection.remote_access;
        // Addresses inside are not those of the way, and nobody knows them before they are given.
        let theirs = single_address(&connection.remote_addresses);
        let remote = selectors(&child.remote_ts, theirs.filter(|_| access.server.is_none()));
        let family_v4 = remote.first()?.is_ipv4();
        let ours = single_address(&connection.local_addresses);
        let local = match ours.filter(|_| access.client.is_none()) {
            Some(address) => selectors(&child.local_ts, Some(address)),
            // Our own address is known only when the IKE SA is up; until then any will do.
            None => child.local_ts.iter().map(|ts| fixed_or_any(ts, family_v4)).collect(),
        };
        (!local.is_empty()).then_some(Self { local, remote, action: Action::Protect(policy) })
    }
}

fn selectors(specs: &[TsSpec], dynamic: Option<IpAddr>) -> Vec<TrafficSelector> {
    let one = |spec: &TsSpec| match dynamic {
        Some(address) => Some(spec.resolve(address)),
        None => spec.selector(),
    };
    specs.iter().filter_map(one).collect()
}

fn fixed_or_any(spec: &TsSpec, ipv4: bool) -> TrafficSelector {
    let any = if ipv4 { TrafficSelector::ANY_V4 } else { TrafficSelector::ANY_V6 };
    spec.selector().unwrap_or(any)
}
