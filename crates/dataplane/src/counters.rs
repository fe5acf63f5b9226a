//! What flowed, as values: a snapshot for whoever asks, never a look into the live tables.

use std::collections::BTreeMap;
use std::time::Instant;

use adit_db::ChildSaId;
use adit_wire::esp::Spi;

use crate::drop_reason::DropCounters;
use crate::path_mtu::MtuSource;

/// Counters of one direction of a child SA since its installation.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SaCounters {
    /// The child SA.
    pub child: ChildSaId,
    /// The SPI of this direction.
    pub spi: Spi,
    /// Packets that passed.
    pub packets: u64,
    /// Octets of the inner packets that passed.
    pub octets: u64,
    /// When the last packet passed.
    pub last_used: Option<Instant>,
    /// Outbound the last sequence number given out, inbound the highest accepted.
    pub sequence: u64,
    /// Packets dropped that were known to belong to this SA.
    pub drops: DropCounters,
    /// Of the packets that passed, those that travelled compressed.
    pub ipcomp: IpCompCounters,
    /// Inbound packets whose ECN fields no working path makes (RFC 6040 §4.2); they passed.
    pub ecn_suspicious: u64,
    /// Outbound: what its path takes.
    pub path: Option<PathReport>,
}

/// What the path of an outbound SA takes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PathReport {
    /// Longest outer packet, octets.
    pub mtu: u16,
    /// Longest inner packet without options, octets; 65,535 if there is no limit.
    pub inner: u16,
    /// Who says so.
    pub source: MtuSource,
    /// When that was said, if it is forgotten some time later.
    pub told: Option<Instant>,
}

/// What compression did for one direction of a child SA (RFC 3173).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct IpCompCounters {
    /// Packets that travelled compressed.
    pub packets: u64,
    /// Octets of their payloads.
    pub plain_octets: u64,
    /// Octets that these had become, the IPComp headers counted in.
    pub compressed_octets: u64,
}

impl SaCounters {
    /// Counts in what another thread has seen of the same SA.
    pub fn add(&mut self, other: &Self) {
        let sum = |one: u64, other: u64| one.saturating_add(other);
        self.packets = sum(self.packets, other.packets);
        self.octets = sum(self.octets, other.octets);
        self.last_used = self.last_used.max(other.last_used);
        self.sequence = self.sequence.max(other.sequence);
        self.drops.add_all(&other.drops);
        let (ours, others) = (&mut self.ipcomp, &other.ipcomp);
        ours.packets = sum(ours.packets, others.packets);
        ours.plain_octets = sum(ours.plain_octets, others.plain_octets);
        ours.compressed_octets = sum(ours.compressed_octets, others.compressed_octets);
        self.ecn_suspicious = sum(self.ecn_suspicious, other.ecn_suspicious);
        // All threads hear of the same.
        self.path = self.path.or(other.path);
    }
}

/// The SAs of two threads, each SA once, by number.
fn together(ours: &mut Vec<SaCounters>, others: Vec<SaCounters>) {
    let mut all: BTreeMap<ChildSaId, SaCounters> = BTreeMap::new();
    for counters in std::mem::take(ours).into_iter().chain(others) {
        all.entry(counters.child).and_modify(|sum| sum.add(&counters)).or_insert(counters);
    }
    ours.extend(all.into_values());
}

impl IpCompCounters {
    pub(crate) fn count(&mut self, plain: usize, compressed: usize) {
        let add = |sum: &mut u64, octets: usize| {
            *sum = sum.saturating_add(u64::try_from(octets).unwrap_or(u64::MAX));
        };
        add(&mut self.packets, 1);
        add(&mut self.plain_octets, plain);
        add(&mut self.compressed_octets, compressed);
    }
}

/// Snapshot of the outbound engine.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OutboundReport {
    /// Every SA, by its number.
    pub sas: Vec<SaCounters>,
    /// All packets dropped, whether or not an SA was known.
    pub drops: DropCounters,
    /// Packets that wait for an SA.
    pub held: usize,
    /// Events lost because nobody polled them.
    pub events_lost: u64,
}

impl OutboundReport {
    /// Counts in what another thread has seen.
    pub fn add(&mut self, other: Self) {
        together(&mut self.sas, other.sas);
        self.drops.add_all(&other.drops);
        self.held = self.held.saturating_add(other.held);
        self.events_lost = self.events_lost.saturating_add(other.events_lost);
    }
}

/// Snapshot of the inbound engine.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct InboundReport {
    /// Every SA, by its number.
    pub sas: Vec<SaCounters>,
    /// All packets dropped, whether or not an SA was known.
    pub drops: DropCounters,
    /// Events lost because nobody polled them.
    pub events_lost: u64,
}

impl InboundReport {
    /// Counts in what another thread has seen.
    pub fn add(&mut self, other: Self) {
        together(&mut self.sas, other.sas);
        self.drops.add_all(&other.drops);
        self.events_lost = self.events_lost.saturating_add(other.events_lost);
    }
}
