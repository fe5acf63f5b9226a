//! What flowed, as values: a snapshot for whoever asks, never a look into the live tables.

use std::time::Instant;

use adit_db::ChildSaId;
use adit_wire::esp::Spi;

use crate::drop_reason::DropCounters;

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
