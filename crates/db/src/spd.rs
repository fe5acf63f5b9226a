//! Security Policy Database, RFC 4301 §4.4.1: which packets are protected, passed or dropped.
//!
//! Entries are ordered and the first that matches decides. A lookup does not walk them: every
//! entry is filed under its *shape* (prefix lengths of both sides, and whether protocol and ports
//! are exact), so that one hash probe per shape finds the entries that can match at all. Real
//! databases have few shapes however many entries they have ("tuple space search", Srinivasan,
//! Suri and Varghese 1999).
//!
//! Both directions read the same entries: outbound the source is local, inbound the destination.

use std::collections::BTreeMap;
use std::net::IpAddr;

use adit_wire::ikev2::{PortRange, TrafficSelector};
use adit_wire::ip::{FlowKey, FlowSide};
use hashbrown::HashMap;

use crate::ids::PolicyId;
use crate::names::{ChildName, ConnectionName};
use crate::ts_spec::enclosing;

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

/// The entries make more than [`PAIRS_MAX`] pairs of selectors.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("policies make more than {PAIRS_MAX} pairs of selectors")]
pub struct SpdTooLarge;

/// The database: an immutable snapshot; a change is a new one.
#[derive(Debug, Default)]
pub struct Spd {
    entries: Vec<SpdEntry>,
    pairs: Vec<Pair>,
    /// Sorted by the first pair in each, so that a search can stop early.
    shelves: Vec<Shelf>,
    looks_above_ip: bool,
}

/// One local with one remote selector of one entry. Their order is the order of the database.
#[derive(Clone, Copy, Debug)]
struct Pair {
    local: TrafficSelector,
    remote: TrafficSelector,
    entry: u32,
}

/// All pairs of one shape, by the values that a packet must have to match them.
#[derive(Debug)]
struct Shelf {
    shape: Shape,
    first: u32,
    boxes: HashMap<Label, Vec<u32>>,
}

/// Which bits of a packet's selectors a pair looks at.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Shape {
    ipv6: bool,
    local_prefix: u8,
    remote_prefix: u8,
    protocol: bool,
    local_port: bool,
    remote_port: bool,
}

/// Those bits.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
struct Label {
    local: u128,
    remote: u128,
    protocol: u8,
    local_port: u16,
    remote_port: u16,
}

impl Spd {
    /// Builds the database from entries in order of precedence.
    ///
    /// # Errors
    ///
    /// [`SpdTooLarge`] beyond [`PAIRS_MAX`].
    pub fn new(entries: Vec<SpdEntry>) -> Result<Self, SpdTooLarge> {
        let mut pairs = Vec::new();
        for (number, entry) in (0..).zip(&entries) {
            for local in &entry.local {
                for remote in &entry.remote {
                    if pairs.len() >= PAIRS_MAX {
                        return Err(SpdTooLarge);
                    }
                    pairs.push(Pair { local: *local, remote: *remote, entry: number });
                }
            }
        }
        let shelves = shelve(&pairs);
        let looks_above_ip =
            pairs.iter().any(|pair| pair.local.looks_above_ip() || pair.remote.looks_above_ip());
        Ok(Self { entries, pairs, shelves, looks_above_ip })
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
        self.search(flow.source(), flow.destination())
    }

    /// The entry that decides about a packet that arrives.
    pub fn entry_inbound(&self, flow: &FlowKey) -> Option<&SpdEntry> {
        self.search(flow.destination(), flow.source())
    }

    /// Whether any entry asks for more than addresses, so that fragments are to be joined before
    /// they are looked up (RFC 4301 §7).
    pub fn looks_above_ip(&self) -> bool {
        self.looks_above_ip
    }

    /// All entries in order of precedence.
    pub fn entries(&self) -> &[SpdEntry] {
        &self.entries
    }

    fn search(&self, local: FlowSide, remote: FlowSide) -> Option<&SpdEntry> {
        let mut best = u32::MAX;
        let mut found = None;
        for shelf in &self.shelves {
            if shelf.first >= best {
                break;
            }
            for number in shelf.candidates(local, remote) {
                if *number >= best {
                    break;
                }
                let Some(pair) = self.pairs.get(*number as usize) else {
                    break;
                };
                if pair.local.contains(local) && pair.remote.contains(remote) {
                    best = *number;
                    found = Some(pair.entry);
                    break;
                }
            }
        }
        let entry = self.entries.get(found? as usize)?;
        let leaks = entry.action == Action::Bypass && self.hides_from(best, local, remote);
        (!leaks).then_some(entry)
    }

    /// Whether a packet that does not show its ports may belong to an entry before `best` that
    /// does not pass it: only its first fragment can tell, and we do not keep those (RFC 4301 §7.4).
    fn hides_from(&self, best: u32, local: FlowSide, remote: FlowSide) -> bool {
        let guarded = |pair: &Pair| {
            let entry = self.entries.get(pair.entry as usize);
            entry.is_some_and(|entry| entry.action != Action::Bypass)
                && pair.local.may_contain(local)
                && pair.remote.may_contain(remote)
        };
        let before = self.pairs.get(..best as usize).unwrap_or(&self.pairs);
        local.port.is_none() && before.iter().any(guarded)
    }
}

impl Shelf {
    /// Pairs that may match, in order.
    fn candidates(&self, local: FlowSide, remote: FlowSide) -> &[u32] {
        let label = self.shape.label_of_packet(local, remote);
        label.and_then(|label| self.boxes.get(&label)).map_or(&[], Vec::as_slice)
    }
}

impl Pair {
    /// The protocol both selectors allow; `None` if they exclude each other.
    fn protocol(&self) -> Option<u8> {
        match (self.local.protocol, self.remote.protocol) {
            (0, protocol) | (protocol, 0) => Some(protocol),
            (local, remote) => (local == remote).then_some(local),
        }
    }

    /// Shape and label; `None` if no packet can match.
    fn filing(&self) -> Option<(Shape, Label)> {
        if self.local.is_ipv4() != self.remote.is_ipv4() {
            return None;
        }
        let protocol = self.protocol()?;
        let local = enclosing(self.local.start, self.local.end);
        let remote = enclosing(self.remote.start, self.remote.end);
        let local_port = single(self.local.ports);
        let remote_port = single(self.remote.ports);
        let shape = Shape {
            ipv6: !self.local.is_ipv4(),
            local_prefix: local.prefix_len(),
            remote_prefix: remote.prefix_len(),
            protocol: protocol != 0,
            local_port: local_port.is_some(),
            remote_port: remote_port.is_some(),
        };
        let label = Label {
            local: masked(local.network(), local.prefix_len()),
            remote: masked(remote.network(), remote.prefix_len()),
            protocol,
            local_port: local_port.unwrap_or(0),
            remote_port: remote_port.unwrap_or(0),
        };
        Some((shape, label))
    }
}

impl Shape {
    /// What of a packet counts in this shape; `None` if no pair of this shape can match it.
    fn label_of_packet(&self, local: FlowSide, remote: FlowSide) -> Option<Label> {
        if local.address.is_ipv6() != self.ipv6 || remote.address.is_ipv6() != self.ipv6 {
            return None;
        }
        Some(Label {
            local: masked(local.address, self.local_prefix),
            remote: masked(remote.address, self.remote_prefix),
            protocol: if self.protocol { local.protocol } else { 0 },
            // A packet that shows no port matches no single port.
            local_port: if self.local_port { local.port? } else { 0 },
            remote_port: if self.remote_port { remote.port? } else { 0 },
        })
    }
}

fn shelve(pairs: &[Pair]) -> Vec<Shelf> {
    let mut by_shape: BTreeMap<Shape, Shelf> = BTreeMap::new();
    for (number, pair) in (0..).zip(pairs) {
        let Some((shape, label)) = pair.filing() else {
            continue;
        };
        let shelf = by_shape.entry(shape).or_insert_with(|| Shelf {
            shape,
            first: number,
            boxes: HashMap::new(),
        });
        shelf.boxes.entry(label).or_default().push(number);
    }
    let mut shelves: Vec<Shelf> = by_shape.into_values().collect();
    shelves.sort_by_key(|shelf| shelf.first);
    shelves
}

fn single(ports: PortRange) -> Option<u16> {
    (ports.start == ports.end).then_some(ports.start)
}

/// The first bits of an address, at the upper end of the number.
fn masked(address: IpAddr, prefix_len: u8) -> u128 {
    let bits = match address {
        IpAddr::V4(address) => u128::from(address.to_bits()) << (u128::BITS - u32::BITS),
        IpAddr::V6(address) => address.to_bits(),
    };
    let mask = u128::MAX.checked_shl(u128::BITS.saturating_sub(prefix_len.into())).unwrap_or(0);
    bits & mask
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
