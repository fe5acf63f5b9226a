//! Packets that one outbound thread gives to another, which alone sends on their SA.

use std::sync::Arc;

use adit_dataplane::{DropReason, Outbound};
use adit_sys::wake::CommandSender;
use adit_wire::PacketBuf;

use crate::message::{Fleet, ToOutbound};

/// Packets on their way to a thread. There is a bound to how many of these there are.
#[derive(Debug)]
pub(crate) struct Bundle {
    /// They.
    pub(crate) packets: Vec<PacketBuf>,
    /// Held until they have been taken in.
    _place: Arc<()>,
}

impl Bundle {
    /// Packets that take one of these places.
    pub(crate) fn new(packets: Vec<PacketBuf>, places: &Arc<()>) -> Self {
        Self { packets, _place: Arc::clone(places) }
    }
}

/// Most bundles on their way from one thread to another.
const BUNDLES_MAX: usize = 16;
/// Most packets in a bundle.
const BUNDLE_PACKETS_MAX: usize = 64;

/// One thread's ways to the others.
pub(crate) struct Handover {
    threads: Vec<Way>,
}

struct Way {
    thread: CommandSender<ToOutbound>,
    places: Arc<()>,
    packets: Vec<PacketBuf>,
}

impl Handover {
    /// To these threads, by their numbers.
    pub(crate) fn new(threads: &Fleet<ToOutbound>) -> Self {
        let way = |thread: &CommandSender<ToOutbound>| Way {
            thread: thread.clone(),
            places: Arc::new(()),
            packets: Vec::new(),
        };
        Self { threads: threads.iter().map(way).collect() }
    }

    /// Sends what the engine has for others. It never waits for them: what they have no room for is
    /// lost, as any full queue would lose it.
    pub(crate) fn pass_on(&mut self, engine: &mut Outbound) {
        let mut any = false;
        while let Some((number, packet)) = engine.poll_passed() {
            any = true;
            let Some(way) = self.threads.get_mut(usize::from(number)) else {
                engine.note_unsent(DropReason::Crowded, 1);
                continue;
            };
            way.packets.push(packet);
            if way.packets.len() >= BUNDLE_PACKETS_MAX {
                way.flush(engine);
            }
        }
        if any {
            self.threads.iter_mut().for_each(|way| way.flush(engine));
        }
    }
}

impl Way {
    fn flush(&mut self, engine: &mut Outbound) {
        let packets = std::mem::take(&mut self.packets);
        let count = packets.len();
        if count == 0 {
            return;
        }
        let has_room = Arc::strong_count(&self.places) <= BUNDLES_MAX;
        let bundle = Bundle::new(packets, &self.places);
        if !has_room || self.thread.try_send(ToOutbound::Packets(bundle)).is_err() {
            engine.note_unsent(DropReason::Crowded, count);
        }
    }
}

#[cfg(test)]
mod tests {
    use adit_sys::wake::{Next, channel};

    use super::*;

    #[test]
    fn what_is_on_its_way_is_bounded() {
        let (sender, receiver) = channel(1_000).unwrap();
        let mut engine = Outbound::new();
        let mut handover = Handover::new(&Fleet::new(vec![sender]));
        let way = &mut handover.threads[0];
        for _ in 0..BUNDLES_MAX + 3 {
            way.packets.push(PacketBuf::with_capacity(0, 10));
            way.flush(&mut engine);
        }
        assert_eq!(engine.report().drops.get(DropReason::Crowded), 3);
        let mut taken = 0;
        while let Next::Command(ToOutbound::Packets(bundle)) = receiver.next() {
            taken += bundle.packets.len();
        }
        assert_eq!(taken, BUNDLES_MAX);
        // There is room again.
        way.packets.push(PacketBuf::with_capacity(0, 10));
        way.flush(&mut engine);
        assert!(matches!(receiver.next(), Next::Command(_)));
        assert_eq!(engine.report().drops.get(DropReason::Crowded), 3);
    }
}
