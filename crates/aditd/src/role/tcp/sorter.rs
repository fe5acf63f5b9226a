//! Whom messages of TCP connections are for.

use std::sync::Arc;

use adit_dataplane::HEADROOM_MAX;
use adit_db::InboundThreads;
use adit_ike::Path;
use adit_wire::PacketBuf;
use adit_wire::encap::udp::Encapsulated;
use adit_wire::esp::Spi;

use super::TcpCounters;
use crate::message::{Fleet, ToInbound};
use crate::role::forward::Bundle;
use crate::shards::ShardLinks;

/// Most packets that go to a thread together.
const BUNDLE_PACKETS_MAX: usize = 64;
/// Most bundles on their way to one thread.
const BUNDLES_MAX: usize = 32;

/// Gathers ESP packets for each inbound thread, and passes IKE messages on.
pub(super) struct Sorter {
    shards: ShardLinks,
    threads: InboundThreads,
    inbound: Fleet<ToInbound>,
    ways: Vec<Way>,
    counters: Arc<TcpCounters>,
}

#[derive(Default)]
struct Way {
    places: Arc<()>,
    packets: Vec<PacketBuf>,
}

impl Sorter {
    pub(super) fn new(
        shards: ShardLinks,
        inbound: &Fleet<ToInbound>,
        counters: Arc<TcpCounters>,
    ) -> Self {
        let count = inbound.count();
        Self {
            shards,
            threads: InboundThreads::new(u32::try_from(count).unwrap_or(1)),
            inbound: inbound.clone(),
            ways: (0..count).map(|_| Way::default()).collect(),
            counters,
        }
    }

    /// Takes one message of a connection; false if it has to be tried again, as the ike role is busy.
    //= https://www.rfc-editor.org/rfc/rfc9329#section-6.6
    //# MUST silently drop incoming NAT-keepalive packets and not treat them as errors.
    pub(super) fn take(&mut self, path: Path, message: Encapsulated<'_>) -> bool {
        match message {
            Encapsulated::Ike(octets) => return self.shards.try_push_streamed(path, octets),
            Encapsulated::Esp(octets) => self.take_esp(path, octets),
            Encapsulated::Keepalive | Encapsulated::TooShort => {}
        }
        true
    }

    fn take_esp(&mut self, path: Path, octets: &[u8]) {
        let Some(spi) = octets.first_chunk().map(|spi| Spi(u32::from_be_bytes(*spi))) else {
            return;
        };
        let owner = usize::try_from(self.threads.owner(spi)).unwrap_or(0);
        let Some(way) = self.ways.get_mut(owner) else { return };
        let mut packet = PacketBuf::with_capacity(HEADROOM_MAX, octets.len());
        let Some(room) = packet.push_back(octets.len()) else { return };
        room.copy_from_slice(octets);
        let meta = &mut packet.meta;
        (meta.local, meta.remote, meta.udp, meta.tcp) = (path.local, path.remote, true, true);
        way.packets.push(packet);
        if way.packets.len() >= BUNDLE_PACKETS_MAX {
            self.flush_way(owner);
        }
    }

    /// Hands on what was gathered.
    pub(super) fn flush(&mut self) {
        (0..self.ways.len()).for_each(|number| self.flush_way(number));
        self.shards.ring();
    }

    fn flush_way(&mut self, number: usize) {
        let Some(way) = self.ways.get_mut(number).filter(|way| !way.packets.is_empty()) else {
            return;
        };
        let packets = std::mem::take(&mut way.packets);
        let count = u64::try_from(packets.len()).unwrap_or(u64::MAX);
        let has_room = Arc::strong_count(&way.places) <= BUNDLES_MAX;
        let bundle = Bundle::new(packets, &way.places);
        let thread = self.inbound.get(number);
        let is_taken = has_room
            && thread.is_some_and(|thread| thread.try_send(ToInbound::Stream(bundle)).is_ok());
        if !is_taken {
            self.counters.drop_packets(count);
        }
    }
}
