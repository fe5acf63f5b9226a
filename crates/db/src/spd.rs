//! Security Policy Database, RFC 4301 §4.4.1: which packets are protected, passed or dropped.
//!
//! Entries are ordered and the first that matches decides. A lookup does not walk them: they are
//! decorrelated once (RFC 4301 Appendix B), one tree for each address family, so that a packet is
//! found in the only region it can lie in, at the same cost for ten entries as for a million.
//! Entries that come and go with child SAs are kept beside the trees, in `live`: each has its rank
//! in the same order.
//!
//! Both directions read the same entries: outbound the source is local, inbound the destination.

mod classes;
mod configured;
mod live;
mod shadow;
mod table;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use adit_wire::ikev2::{PortRange, TrafficSelector};
use adit_wire::ip::{FlowKey, FlowSide};

use self::classes::Classes;
pub use self::configured::OperatorPolicy;
use self::live::{Live, LiveEntry};
use self::shadow::Shadow;
pub use self::table::PolicyTable;
use crate::decorrelate::{Decorrelated, Entangled, Key, Policy, Span, WORK_MAX};
use crate::dscp_class::DscpSet;
use crate::ids::PolicyId;
use crate::outer_header::Dscp;
use crate::pfp::Pfp;

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

/// The selectors of a child SA.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Sides {
    /// Our side.
    pub local: Vec<TrafficSelector>,
    /// The peer's side.
    pub remote: Vec<TrafficSelector>,
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

/// Place of an entry in the order of precedence: the lowest that matches decides.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Rank(pub u64);

/// The database: an immutable snapshot; a change is a new one, which shares what did not change.
#[derive(Clone, Debug, Default)]
pub struct Spd {
    fixed: Arc<Fixed>,
    live: Live,
    classes: Arc<Classes>,
    populating: Arc<Populating>,
}

/// The policies whose SAs take selectors from packets.
#[derive(Debug, Default)]
struct Populating {
    flags: BTreeMap<PolicyId, Pfp>,
    looks_above_ip: bool,
}

/// Entries that change with the configuration only.
#[derive(Debug, Default)]
struct Fixed {
    entries: Vec<SpdEntry>,
    /// What a lookup needs to know of each entry.
    verdicts: Vec<(Rank, Action)>,
    v4: Decorrelated<u32, SELECTORS>,
    v6: Decorrelated<u128, SELECTORS>,
    shadow: Shadow,
    discards: bool,
    looks_above_ip: bool,
}

/// Local address, remote address, protocol, local port, remote port.
const SELECTORS: usize = 5;
/// The greatest value of each but the addresses.
const LAST_PROTOCOL: u32 = 255;
const LAST_PORT: u32 = OPAQUE_PORT;
/// The port of a packet that shows none, behind all others: ANY contains it, ranges do not.
const OPAQUE_PORT: u32 = 65_536;

impl Spd {
    /// Builds the database from entries in order of precedence; ranks count from 0.
    ///
    /// # Errors
    ///
    /// [`SpdError`] if there are too many or they overlap too much.
    pub fn new(entries: Vec<SpdEntry>) -> Result<Self, SpdError> {
        Self::ranked((0..).map(Rank).zip(entries).collect())
    }

    /// Builds the database from entries in order of precedence, with ranks that leave room for
    /// those that [`Self::insert`] adds.
    ///
    /// # Errors
    ///
    /// [`SpdError`] if there are too many or they overlap too much.
    pub fn ranked(entries: Vec<(Rank, SpdEntry)>) -> Result<Self, SpdError> {
        let fixed = Arc::new(Fixed::within(entries, WORK_MAX)?);
        Ok(Self { fixed, ..Self::default() })
    }

    /// Says which selectors SAs take from packets (RFC 4301 §4.4.1.2); of policies that are not
    /// named none.
    #[must_use]
    pub fn populating(self, flags: BTreeMap<PolicyId, Pfp>) -> Self {
        let looks_above_ip = flags.values().any(|pfp| pfp.looks_above_ip());
        Self { populating: Arc::new(Populating { flags, looks_above_ip }), ..self }
    }

    /// Which selectors the SAs of a policy take from packets.
    pub fn pfp(&self, policy: PolicyId) -> Pfp {
        self.populating.flags.get(&policy).copied().unwrap_or(Pfp::NONE)
    }

    /// Adds an entry of a child SA, at a cost that does not depend on how many there are. Its rank
    /// must be free.
    pub fn insert(&mut self, rank: Rank, policy: PolicyId, sides: &Sides) {
        let Sides { local, remote } = sides.clone();
        let entry = SpdEntry { local, remote, action: Action::Protect(policy) };
        self.live.insert(LiveEntry { rank, entry });
    }

    /// Removes what [`Self::insert`] added.
    pub fn remove(&mut self, rank: Rank, sides: &Sides) {
        self.live.remove(rank, sides);
    }

    /// Gives a policy's packets with these code points to the SAs of another policy, which has no
    /// entry of its own (RFC 4301 §4.1).
    pub fn classify(&mut self, policy: PolicyId, code_points: DscpSet, class: PolicyId) {
        Arc::make_mut(&mut self.classes).insert(policy, code_points, class);
    }

    /// Whether the DSCP of a policy's packets matters.
    pub fn has_classes(&self, policy: PolicyId) -> bool {
        self.classes.has(policy)
    }

    /// The policy whose SAs carry the packets of a policy that have this DSCP.
    pub fn class(&self, policy: PolicyId, dscp: Dscp) -> PolicyId {
        self.classes.find(policy, dscp)
    }

    /// What happens to a packet that leaves; `None` if no entry says, which is to drop it
    /// (RFC 4301 §4.4.1). So it is with a later fragment that would pass in clear although an
    /// entry before may want its packet protected.
    pub fn lookup_outbound(&self, flow: &FlowKey) -> Option<Action> {
        self.search(flow.source(), flow.destination()).map(|found| found.action)
    }

    /// What must have happened to a packet that arrives; `None` if no entry says.
    pub fn lookup_inbound(&self, flow: &FlowKey) -> Option<Action> {
        self.search(flow.destination(), flow.source()).map(|found| found.action)
    }

    /// Whether a packet may arrive through an SA of this policy (RFC 4301 §5.2 step 4): the first
    /// entry that matches it asks for exactly that.
    pub fn allows_inbound(&self, policy: PolicyId, flow: &FlowKey) -> bool {
        self.lookup_inbound(flow) == Some(Action::Protect(policy))
    }

    /// The entry that decides about a packet that leaves, and its rank.
    pub fn entry_outbound(&self, flow: &FlowKey) -> Option<(Rank, &SpdEntry)> {
        let found = self.search(flow.source(), flow.destination())?;
        Some((found.rank, self.entry(found.place)?))
    }

    /// The entry that decides about a packet that arrives, and its rank.
    pub fn entry_inbound(&self, flow: &FlowKey) -> Option<(Rank, &SpdEntry)> {
        let found = self.search(flow.destination(), flow.source())?;
        Some((found.rank, self.entry(found.place)?))
    }

    /// All entries in order of precedence. The entries of child SAs are sorted for it.
    pub fn entries(&self) -> impl Iterator<Item = (Rank, &SpdEntry)> {
        let ranks = self.fixed.verdicts.iter().map(|(rank, _)| *rank);
        let mut fixed = ranks.zip(&self.fixed.entries).peekable();
        let mut live = self.live.all().into_iter().map(|one| (one.rank, &one.entry)).peekable();
        std::iter::from_fn(move || match (fixed.peek(), live.peek()) {
            (Some((first, _)), Some((second, _))) if second < first => live.next(),
            (None, _) => live.next(),
            _ => fixed.next(),
        })
    }

    /// The entries but those of child SAs, in order of precedence.
    pub fn fixed_entries(&self) -> &[SpdEntry] {
        &self.fixed.entries
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.fixed.entries.len().saturating_add(self.live.len())
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many entries come before a rank.
    pub fn before(&self, rank: Rank) -> usize {
        let fixed = self.fixed.verdicts.partition_point(|(other, _)| *other < rank);
        let live = self.live.all();
        fixed.saturating_add(live.partition_point(|one| one.rank < rank))
    }

    /// Whether any entry but those of child SAs asks for more than addresses, so that fragments are
    /// to be joined before they are looked up (RFC 4301 §7).
    pub fn looks_above_ip(&self) -> bool {
        self.fixed.looks_above_ip || self.populating.looks_above_ip
    }

    /// Whether any entry discards.
    pub fn has_discards(&self) -> bool {
        self.fixed.discards
    }

    /// For each entry that [`Self::ranked`] got the number of disjoint parts that are left to it
    /// when those before it have taken theirs; an entry with none never decides anything.
    pub fn parts(&self) -> Vec<(Rank, usize)> {
        let ranks = self.fixed.verdicts.iter().map(|(rank, _)| *rank);
        let mut parts: Vec<(Rank, usize)> = ranks.map(|rank| (rank, 0)).collect();
        for owner in self.fixed.v4.regions().chain(self.fixed.v6.regions()) {
            if let Some((_, count)) = parts.get_mut(owner as usize) {
                *count = count.saturating_add(1);
            }
        }
        parts
    }

    fn search(&self, local: FlowSide, remote: FlowSide) -> Option<Found<'_>> {
        let fixed = self.fixed.search(local, remote);
        let mut found = fixed;
        if !self.live.is_empty() {
            let limit = fixed.map(|found| found.rank);
            let live = self.live.first(limit, [local.address, remote.address], |entry| {
                entry.local.iter().any(|selector| selector.contains(local))
                    && entry.remote.iter().any(|selector| selector.contains(remote))
            });
            found = live.map(Found::from).or(found);
        }
        let found = found?;
        let leaks = found.action == Action::Bypass
            && local.port.is_none()
            && self.hides_from(found.rank, local, remote);
        (!leaks).then_some(found)
    }

    /// Whether a packet that does not show its ports may belong to an entry before `rank` that
    /// does not pass it: only its first fragment can tell, and we do not keep those (RFC 4301 §7.4).
    fn hides_from(&self, rank: Rank, local: FlowSide, remote: FlowSide) -> bool {
        let guards = |entry: &SpdEntry| {
            entry.action != Action::Bypass
                && entry.local.iter().any(|selector| selector.may_contain(local))
                && entry.remote.iter().any(|selector| selector.may_contain(remote))
        };
        let fixed = self.fixed.shadow.lookup(local, remote);
        let fixed = fixed.and_then(|owner| self.fixed.verdicts.get(owner));
        fixed.is_some_and(|(first, _)| *first < rank)
            || self.live.first(Some(rank), [local.address, remote.address], guards).is_some()
    }

    fn entry<'a>(&'a self, place: Place<'a>) -> Option<&'a SpdEntry> {
        match place {
            Place::Fixed(position) => self.fixed.entries.get(position),
            Place::Live(one) => Some(&one.entry),
        }
    }
}

/// What a lookup finds.
#[derive(Clone, Copy)]
struct Found<'a> {
    rank: Rank,
    action: Action,
    place: Place<'a>,
}

#[derive(Clone, Copy)]
enum Place<'a> {
    Fixed(usize),
    Live(&'a LiveEntry),
}

impl<'a> From<&'a LiveEntry> for Found<'a> {
    fn from(one: &'a LiveEntry) -> Self {
        Found { rank: one.rank, action: one.entry.action, place: Place::Live(one) }
    }
}

impl Fixed {
    fn within(ranked: Vec<(Rank, SpdEntry)>, work_max: usize) -> Result<Self, SpdError> {
        let verdicts = ranked.iter().map(|(rank, entry)| (*rank, entry.action)).collect();
        let entries: Vec<SpdEntry> = ranked.into_iter().map(|(_, entry)| entry).collect();
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
        let shadow = Shadow::new(&entries, work_max).map_err(entangled)?;
        let mut selectors =
            entries.iter().flat_map(|entry| entry.local.iter().chain(&entry.remote));
        let looks_above_ip = selectors.any(TrafficSelector::looks_above_ip);
        Ok(Self { entries, verdicts, v4, v6, shadow, discards, looks_above_ip })
    }

    fn search(&self, local: FlowSide, remote: FlowSide) -> Option<Found<'_>> {
        let position = self.region(local, remote)?;
        let (rank, action) = *self.verdicts.get(position)?;
        Some(Found { rank, action, place: Place::Fixed(position) })
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
