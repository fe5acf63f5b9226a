//! Security Policy Database, RFC 4301 §4.4.1: which packets are protected, passed or dropped.
//!
//! Entries are ordered and the first that matches decides. A lookup does not walk them: they are
//! decorrelated once (RFC 4301 Appendix B), one tree for each address family, so that a packet is
//! found in the only region it can lie in, at the same cost for ten entries as for a million.
//!
//! Both directions read the same entries: outbound the source is local, inbound the destination.

mod configured;

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::decorrelate::{Decorrelated, Entangled, Key, Policy, Span, WORK_MAX};
use crate::ids::PolicyId;
use crate::names::{ChildName, ConnectionName};
use adit_wire::ikev2::{PortRange, TrafficSelector};
use adit_wire::ip::{FlowKey, FlowSide};

pub use self::configured::OperatorPolicy;

/// What happens to a packet (RFC 4301 §4.4.1).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Action {
    /// It goes through a child SA of this policy, or not at all.
    Protect(PolicyId),
    /// It passes in clear.
    Bypass,
    /// It is dropped.
    Discard,
}

/// One entry: any of the local with any of the remote selectors.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SpdEntry {
    /// Our side.
    pub local: Vec<TrafficSelector>,
    /// The peer's side.
    pub remote: Vec<TrafficSelector>,
    /// What happens to a packet that matches.
    pub action: Action,
}

/// Most pairs of one local and one remote selector in a database.
pub const PAIRS_MAX: usize = 1 << 20;

/// Why entries make no database.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SpdError {
    /// They make more than [`PAIRS_MAX`] pairs of selectors.
    #[error("the policies make more than {PAIRS_MAX} pairs of selectors")]
    TooManyPairs,
    /// They overlap in so many ways that deciding which one takes a packet needs too much memory.
    #[error("the policies overlap in more ways than can be kept apart")]
    Entangled {
        /// The entry that others cut into the most parts, counted from 0.
        entry: usize,
    },
}

/// The database: an immutable snapshot; a change is a new one.
#[derive(Debug)]
pub struct Spd {
    entries: Vec<SpdEntry>,
    v4: Decorrelated<u32, SELECTORS>,
    v6: Decorrelated<u128, SELECTORS>,
    discards: bool,
}

/// Local address, remote address, protocol, local port, remote port.
const SELECTORS: usize = 5;
/// The greatest value of each but the addresses.
const LAST_PROTOCOL: u32 = 255;
const LAST_PORT: u32 = OPAQUE_PORT;
/// The port of a packet that shows none, behind all others: ANY contains it, ranges do not.
const OPAQUE_PORT: u32 = 65_536;

impl Default for Spd {
    /// No entries.
    fn default() -> Self {
        Self {
            entries: Vec::new(),
            v4: Decorrelated::default(),
            v6: Decorrelated::default(),
            discards: false,
        }
    }
}

impl Spd {
    /// Builds the database from entries in order of precedence.
    ///
    /// # Errors
    ///
    /// [`SpdError`] if there are too many or they overlap too much.
    pub fn new(entries: Vec<SpdEntry>) -> Result<Self, SpdError> {
        Self::within(entries, WORK_MAX)
    }

    /// [`Self::new`] with another limit.
    fn within(entries: Vec<SpdEntry>, work_max: usize) -> Result<Self, SpdError> {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        let mut pairs: usize = 0;
        for (owner, entry) in (0..).zip(&entries) {
            for local in &entry.local {
                for remote in &entry.remote {
                    pairs = pairs.saturating_add(1);
                    if pairs > PAIRS_MAX {
                        return Err(SpdError::TooManyPairs);
                    }
                    v4.extend(policy(local, remote, v4_number, owner));
                    v6.extend(policy(local, remote, v6_number, owner));
                }
            }
        }
        let discards = entries.iter().any(|entry| entry.action == Action::Discard);
        let v4 = Decorrelated::new(&v4, last(u32::MAX), work_max).map_err(entangled)?;
        let v6 = Decorrelated::new(&v6, last(u128::MAX), work_max).map_err(entangled)?;
        Ok(Self { entries, v4, v6, discards })
    }

    /// What happens to a packet that leaves; `None` if no entry says, which is to drop it
    /// (RFC 4301 §4.4.1). So it is with a later fragment that would pass in clear although an
    /// entry before may want its packet protected.
    pub fn lookup_outbound(&self, flow: &FlowKey) -> Option<Action> {
        self.entry_outbound(flow).map(|entry| entry.action)
    }

    /// What must have happened to a packet that arrives; `None` if no entry says.
    pub fn lookup_inbound(&self, flow: &FlowKey) -> Option<Action> {
        self.entry_inbound(flow).map(|entry| entry.action)
    }

    /// Whether a packet may arrive through an SA of this policy (RFC 4301 §5.2 step 4): the first
    /// entry that matches it asks for exactly that.
    pub fn allows_inbound(&self, policy: PolicyId, flow: &FlowKey) -> bool {
        self.lookup_inbound(flow) == Some(Action::Protect(policy))
    }

    /// The entry that decides about a packet that leaves.
    pub fn entry_outbound(&self, flow: &FlowKey) -> Option<&SpdEntry> {
        self.entries.get(self.position_outbound(flow)?)
    }

    /// The entry that decides about a packet that arrives.
    pub fn entry_inbound(&self, flow: &FlowKey) -> Option<&SpdEntry> {
        self.entries.get(self.search(flow.destination(), flow.source())?)
    }

    /// Where in [`Self::entries`] the entry stands that decides about a packet that leaves.
    pub fn position_outbound(&self, flow: &FlowKey) -> Option<usize> {
        self.search(flow.source(), flow.destination())
    }

    /// All entries in order of precedence.
    pub fn entries(&self) -> &[SpdEntry] {
        &self.entries
    }

    /// Whether any entry discards.
    pub fn has_discards(&self) -> bool {
        self.discards
    }

    /// For each entry the number of disjoint parts that are left to it when those before it have
    /// taken theirs; an entry with none never decides anything.
    pub fn parts(&self) -> Vec<usize> {
        let mut parts = vec![0_usize; self.entries.len()];
        for owner in self.v4.regions().chain(self.v6.regions()) {
            if let Some(count) = parts.get_mut(owner as usize) {
                *count = count.saturating_add(1);
            }
        }
        parts
    }

    fn search(&self, local: FlowSide, remote: FlowSide) -> Option<usize> {
        let position = self.region(local, remote)?;
        let entry = self.entries.get(position)?;
        let leaks = entry.action == Action::Bypass && self.hides_from(position, local, remote);
        (!leaks).then_some(position)
    }

    /// Whether a packet that does not show its ports may belong to an entry before `position` that
    /// does not pass it: only its first fragment can tell, and we do not keep those (RFC 4301 §7.4).
    fn hides_from(&self, position: usize, local: FlowSide, remote: FlowSide) -> bool {
        let guarded = |entry: &SpdEntry| {
            entry.action != Action::Bypass
                && entry.local.iter().any(|selector| selector.may_contain(local))
                && entry.remote.iter().any(|selector| selector.may_contain(remote))
        };
        let before = self.entries.get(..position).unwrap_or(&self.entries);
        local.port.is_none() && before.iter().any(guarded)
    }

    /// The entry of the region in which a packet lies.
    fn region(&self, local: FlowSide, remote: FlowSide) -> Option<usize> {
        let protocol = u32::from(local.protocol);
        let port = |side: FlowSide| side.port.map_or(OPAQUE_PORT, u32::from);
        let (local_port, remote_port) = (port(local), port(remote));
        let owner = match (local.address, remote.address) {
            (IpAddr::V4(local), IpAddr::V4(remote)) => {
                let addresses = [local.to_bits(), remote.to_bits()];
                let [local, remote] = addresses;
                self.v4.lookup(&[local, remote, protocol, local_port, remote_port])
            }
            (IpAddr::V6(local), IpAddr::V6(remote)) => self.v6.lookup(&[
                local.to_bits(),
                remote.to_bits(),
                protocol.into(),
                local_port.into(),
                remote_port.into(),
            ]),
            _ => None,
        };
        owner.map(|owner| owner as usize)
    }
}

fn entangled(Entangled { owner }: Entangled) -> SpdError {
    SpdError::Entangled { entry: owner as usize }
}

fn last<T: Key + From<u32>>(address: T) -> [T; SELECTORS] {
    [address, address, LAST_PROTOCOL.into(), LAST_PORT.into(), LAST_PORT.into()]
}

fn v4_number(address: IpAddr) -> Option<u32> {
    match address {
        IpAddr::V4(address) => Some(address.to_bits()),
        IpAddr::V6(_) => None,
    }
}

fn v6_number(address: IpAddr) -> Option<u128> {
    match address {
        IpAddr::V4(_) => None,
        IpAddr::V6(address) => Some(address.to_bits()),
    }
}

/// A pair of selectors in one family's numbers; `None` in the other family, and if no packet can
/// match.
fn policy<T: Key + From<u32>>(
    local: &TrafficSelector,
    remote: &TrafficSelector,
    number: fn(IpAddr) -> Option<T>,
    owner: u32,
) -> Option<Policy<T, SELECTORS>> {
    let addresses =
        |selector: &TrafficSelector| span(number(selector.start)?, number(selector.end)?);
    let (protocol, last_protocol) = match (local.protocol, remote.protocol) {
        (0, 0) => (0, LAST_PROTOCOL),
        (0, one) | (one, 0) => (one.into(), one.into()),
        (one, other) if one == other => (one.into(), one.into()),
        _ => return None,
    };
    let selectors = [
        addresses(local)?,
        addresses(remote)?,
        span(protocol.into(), last_protocol.into())?,
        ports(local.ports)?,
        ports(remote.ports)?,
    ];
    Some(Policy { selectors, owner })
}

fn ports<T: Key + From<u32>>(ports: PortRange) -> Option<Span<T>> {
    let (first, last) = match ports {
        PortRange::ANY => (0, OPAQUE_PORT),
        PortRange::OPAQUE => (OPAQUE_PORT, OPAQUE_PORT),
        PortRange { start, end } => (start.into(), end.into()),
    };
    span(first.into(), last.into())
}

fn span<T: Key>(first: T, last: T) -> Option<Span<T>> {
    (first <= last).then_some(Span { first, last })
}

/// Numbers for (connection, child) pairs, the same for the life of the process however often the
/// configuration changes.
#[derive(Clone, Debug, Default)]
pub struct PolicyTable {
    numbers: BTreeMap<(ConnectionName, ChildName), PolicyId>,
    names: Vec<(ConnectionName, ChildName)>,
}

impl PolicyTable {
    /// The number of a pair, a new one if it has none.
    pub fn intern(&mut self, connection: &ConnectionName, child: &ChildName) -> PolicyId {
        let names = (connection.clone(), child.clone());
        if let Some(number) = self.numbers.get(&names) {
            return *number;
        }
        let number = PolicyId(u32::try_from(self.names.len()).unwrap_or(u32::MAX));
        self.names.push(names.clone());
        self.numbers.insert(names, number);
        number
    }

    /// The number of a pair that has one.
    pub fn id(&self, connection: &ConnectionName, child: &ChildName) -> Option<PolicyId> {
        self.numbers.get(&(connection.clone(), child.clone())).copied()
    }

    /// The pair with a number.
    pub fn names(&self, policy: PolicyId) -> Option<(&ConnectionName, &ChildName)> {
        self.names.get(policy.0 as usize).map(|(connection, child)| (connection, child))
    }
}

#[cfg(test)]
mod tests;
