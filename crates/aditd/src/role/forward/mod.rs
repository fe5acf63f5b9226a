//! The packet engine's threads, one or more of each direction. Inbound each owns the SAs whose SPIs
//! are its own; outbound each has its part of every SA, and gives packets of those that leave in order
//! to the one thread that sends on them. While there is little, one does the work of both directions.

mod connections;
mod delivery;
mod handover;
pub(crate) mod inbound;
mod membership;
pub(crate) mod outbound;
mod pair;

pub(crate) use self::handover::Bundle;
pub(crate) use self::outbound::Seat;
pub(crate) use self::pair::pair;

use adit_dataplane::{Audit, DropReason, Event, packet_buffer};
use adit_ike::PacketEvent;
use adit_mgmt::api::{EngineHalf, EnginePath};
use adit_sys::tun::Tun;
use adit_sys::wake::{CommandSender, Spin};
use adit_sys::{BATCH_MAX, SendReport};
use adit_wire::PacketBuf;
use tracing::{debug, info, warn};

use crate::message::{PacketNews, ToIke};

/// The fixed buffers of one thread, each for the largest packet there is. Of their memory the
/// kernel gives what is written to.
fn buffers() -> Vec<PacketBuf> {
    (0..BATCH_MAX).map(|_| packet_buffer()).collect()
}

/// What a packet thread has moved since it started, and how often it asked the kernel to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct IoCounters {
    /// Packets that the kernel took.
    pub(crate) packets: u64,
    /// Of what was read or written, that which was several packets in one piece.
    pub(crate) super_packets: u64,
    /// System calls that read.
    pub(crate) calls_read: u64,
    /// System calls that write.
    pub(crate) calls_write: u64,
    /// System calls that wait.
    pub(crate) calls_wait: u64,
}

impl IoCounters {
    /// Counts what was sent, and what that took.
    fn count_sent(&mut self, report: SendReport) {
        self.packets += u64::try_from(report.sent).unwrap_or(0);
        self.calls_write += u64::try_from(report.calls).unwrap_or(0);
    }

    /// The same for people, with what spinning has done.
    fn shown(self, spin: &Spin, memory_octets: usize) -> EngineHalf {
        let spun = spin.counters();
        let alone = || "there is one processor".to_owned();
        EngineHalf {
            threads: 1,
            paths: vec![EnginePath::new("spin", (!spin.is_possible()).then(alone))],
            packets: self.packets,
            super_packets: self.super_packets,
            calls_read: self.calls_read,
            calls_write: self.calls_write,
            calls_wait: self.calls_wait,
            calls_spin: spun.looks,
            spins: spun.spins,
            spins_paid: spun.paid,
            memory_octets: u64::try_from(memory_octets).unwrap_or(u64::MAX),
            ..EngineHalf::default()
        }
    }

    fn log(self, thread: &str) {
        let Self { packets, super_packets, calls_read, calls_write, calls_wait } = self;
        debug!(
            thread,
            packets, super_packets, calls_read, calls_write, calls_wait, "packets moved"
        );
    }
}

/// What an interface takes and gives in one piece, for people.
fn tun_paths(tun: &Tun) -> [EnginePath; 2] {
    let refused =
        |is_on: bool| (!is_on).then(|| format!("the kernel refuses it for {}", tun.name()));
    let offloads = tun.offloads();
    [
        EnginePath::new("TUN TSO", refused(offloads.tcp)),
        EnginePath::new("TUN USO", refused(offloads.udp)),
    ]
}

/// Hands an event of the packet engine to the ike role. A packet thread never waits for it: what
/// finds no room is lost, and comes again with the next packet.
fn tell_ike(ike: &CommandSender<ToIke>, event: Event) {
    let news = match event {
        Event::Acquire { policy, flow } => PacketNews::Acquire { policy, flow },
        Event::SoftExpire { child } => PacketNews::Event(PacketEvent::SoftExpire { child }),
        Event::HardExpire { child } => PacketNews::Event(PacketEvent::HardExpire { child }),
        Event::PeerMoved { child, remote } => {
            PacketNews::Event(PacketEvent::PeerMoved { child, remote })
        }
        Event::Traffic { child } => PacketNews::Event(PacketEvent::Traffic { child }),
        Event::Used { child } => PacketNews::Event(PacketEvent::Used { child }),
        Event::Doubted { child } => PacketNews::Event(PacketEvent::Doubted { child }),
        Event::PathMtu { child, mtu, inner, source } => {
            PacketNews::PathMtu { child, mtu, inner, source }
        }
        // Between packet threads.
        Event::PathLearnt { .. }
        | Event::Hops { .. }
        | Event::PathMessage { .. }
        | Event::Fragments { .. }
        | Event::BadSpi { .. } => {
            return;
        }
        Event::Audit(audit) => {
            // RFC 4303 §4: what an auditor wants to read.
            info!(
                reason = audit.reason.name(),
                spi = %format_args!("{:08x}", audit.spi.0),
                sequence = audit.sequence,
                "packet refused"
            );
            match audit {
                Audit { reason: DropReason::UnknownSpi, spi, remote, .. } => {
                    PacketNews::Event(PacketEvent::UnknownSpi { spi, remote })
                }
                _ => return,
            }
        }
    };
    if ike.try_send(ToIke::Packet(news)).is_err() {
        warn!("the ike role has no room for an event of the packet engine");
    }
}
