//! What the packet engine tells the control loop.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use adit_db::{ChildSaId, PolicyId};
use adit_wire::PathMessage;
use adit_wire::esp::Spi;
use adit_wire::ip::{FlowKey, QuotedSpi};

use crate::drop_reason::DropReason;
use crate::path_mtu::MtuSource;

/// Something the control loop may want to act on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Event {
    /// A packet must be protected and no SA carries it (RFC 4301 §4.4.1). At most one per SA
    /// wanted and [`ACQUIRE_INTERVAL`](crate::ACQUIRE_INTERVAL).
    Acquire {
        /// The policy that protects it.
        policy: PolicyId,
        /// The packet.
        flow: FlowKey,
    },
    /// The SA should be replaced; told at once by each direction, and again every
    /// [`EXPIRY_INTERVAL`](crate::EXPIRY_INTERVAL) while packets pass.
    SoftExpire {
        /// The SA.
        child: ChildSaId,
    },
    /// The SA carries nothing more; told at once by each direction, and again every
    /// [`EXPIRY_INTERVAL`](crate::EXPIRY_INTERVAL) while packets are refused for it.
    HardExpire {
        /// The SA.
        child: ChildSaId,
    },
    /// An authentic packet, the newest so far, came from another address than the last one. Told
    /// again with [`Event::Traffic`] until the engine hears of the peer's new address.
    PeerMoved {
        /// The SA it came in on.
        child: ChildSaId,
        /// Where it came from.
        remote: SocketAddr,
    },
    /// Authentic packets come in; told at once, then at most once a second.
    Traffic {
        /// The SA they come in on.
        child: ChildSaId,
    },
    /// Packets pass an SA with a limit of idle time, dummies left out; told by each direction, at once
    /// and then at most once in [`USE_INTERVAL`](adit_db::USE_INTERVAL).
    Used {
        /// The SA.
        child: ChildSaId,
    },
    /// Somebody outside says that packets of an SA do not arrive, which may be true: a reason to ask the
    /// peer for a sign of life. Told some times in a minute at most.
    Doubted {
        /// The SA.
        child: ChildSaId,
    },
    /// Another path MTU is in force for an SA: told once by each thread when it changes, and when the
    /// SA begins to carry packets with less than its link takes.
    PathMtu {
        /// The SA.
        child: ChildSaId,
        /// Longest outer packet, octets.
        mtu: u16,
        /// Longest inner packet without options that fits, octets; 65,535 if there is no limit.
        inner: u16,
        /// Who says so.
        source: MtuSource,
    },
    /// What the path of an SA takes was found out by the one thread that looks, which already holds to
    /// it: the others are to be told by [`OutboundCommand::PathMtu`](crate::OutboundCommand::PathMtu).
    PathLearnt {
        /// The SA.
        child: ChildSaId,
        /// Longest outer packet, octets; as it was told, which may be less than is believed.
        mtu: u16,
        /// How it was found out.
        source: MtuSource,
    },
    /// So many routers have shown themselves between the gateways of an SA: the other threads are to be told
    /// by [`OutboundCommand::Hops`](crate::OutboundCommand::Hops).
    Hops {
        /// The SA.
        child: ChildSaId,
        /// How many.
        hops: u8,
    },
    /// Packets of an SA came in fragments, of which this is the largest of late; for the outbound half by
    /// [`OutboundCommand::ReportFragments`](crate::OutboundCommand::ReportFragments), which tells the
    /// peer. Told when it is another by a tenth, or after two minutes.
    Fragments {
        /// The SA.
        child: ChildSaId,
        /// Octets of the outer packet.
        largest: u16,
    },
    /// The peer says something about the path of an SA, for the outbound half by
    /// [`OutboundCommand::PathMessage`](crate::OutboundCommand::PathMessage).
    PathMessage {
        /// The SA.
        child: ChildSaId,
        /// What it says.
        message: PathMessage,
    },
    /// A peer says through an SA that it has none with the SPI of a packet of ours (RFC 2521), for the
    /// outbound half by [`OutboundCommand::BadSpi`](crate::OutboundCommand::BadSpi).
    BadSpi {
        /// Where the packet came from.
        us: IpAddr,
        /// Where it went.
        peer: IpAddr,
        /// What of it is quoted.
        quoted: QuotedSpi,
    },
    /// Something an auditor wants to read (RFC 4303 §4). At most
    /// [`AUDITS_PER_SECOND`](crate::AUDITS_PER_SECOND).
    Audit(Audit),
}

/// An auditable event, RFC 4303 §4. Date and time are added by the reader.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Audit {
    /// What was wrong.
    pub reason: DropReason,
    /// The SPI in the packet, or of the SA.
    pub spi: Spi,
    /// The sequence number in the packet, or of the SA.
    pub sequence: u64,
    /// The address at the other end, as far as the packet tells.
    pub remote: SocketAddr,
}

/// Events that wait; when it is full, new ones are lost and counted.
#[derive(Debug)]
pub(crate) struct Events {
    queue: VecDeque<Event>,
    lost: u64,
    /// SAs that carry packets again, and since when any of them does.
    woken: Vec<ChildSaId>,
    woken_at: Option<Instant>,
}

/// Most events that wait to be polled.
pub(crate) const EVENTS_MAX: usize = 1024;

/// Most SAs that wait to be looked at because they carry packets again; others are noted by their next
/// packets.
const WOKEN_MAX: usize = 64;

impl Events {
    /// An empty queue with all the room it will ever have.
    pub(crate) fn new() -> Self {
        let queue = VecDeque::with_capacity(EVENTS_MAX);
        Self { queue, lost: 0, woken: Vec::with_capacity(WOKEN_MAX), woken_at: None }
    }

    pub(crate) fn push(&mut self, event: Event) {
        if self.queue.len() < EVENTS_MAX {
            self.queue.push_back(event);
        } else {
            self.lost = self.lost.saturating_add(1);
        }
    }

    pub(crate) fn pop(&mut self) -> Option<Event> {
        self.queue.pop_front()
    }

    /// Notes that an SA carries packets again; false if there is no room for it.
    pub(crate) fn wake(&mut self, child: ChildSaId, now: Instant) -> bool {
        let has_room = self.woken.len() < WOKEN_MAX;
        if has_room {
            self.woken.push(child);
            self.woken_at.get_or_insert(now);
        }
        has_room
    }

    /// The next SA that carries packets again.
    pub(crate) fn pop_woken(&mut self) -> Option<ChildSaId> {
        let woken = self.woken.pop();
        if self.woken.is_empty() {
            self.woken_at = None;
        }
        woken
    }

    /// Since when any SA does.
    pub(crate) fn woken_at(&self) -> Option<Instant> {
        self.woken_at
    }

    pub(crate) fn lost(&self) -> u64 {
        self.lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_queue_is_bounded() {
        let mut events = Events::new();
        for number in 0..=EVENTS_MAX {
            let child = ChildSaId(u32::try_from(number).unwrap());
            events.push(Event::SoftExpire { child });
        }
        assert_eq!(events.lost(), 1);
        assert_eq!(events.pop(), Some(Event::SoftExpire { child: ChildSaId(0) }));
    }
}
