//! The packet engine's threads: one outbound, one inbound. Each owns its half of every SA; they
//! share sockets and nothing else.

pub(crate) mod inbound;
mod membership;
pub(crate) mod outbound;

use adit_dataplane::{Event, packet_buffer};
use adit_ike::PacketEvent;
use adit_sys::BATCH_MAX;
use adit_sys::wake::CommandSender;
use adit_wire::PacketBuf;
use tracing::{info, warn};

use crate::message::{PacketNews, ToIke};

/// The fixed buffers of one thread, each for the largest packet there is. Of their memory the
/// kernel gives what is written to.
fn buffers() -> Vec<PacketBuf> {
    (0..BATCH_MAX).map(|_| packet_buffer()).collect()
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
        Event::Audit(audit) => {
            // RFC 4303 §4: what an auditor wants to read.
            info!(
                reason = audit.reason.name(),
                spi = %format_args!("{:08x}", audit.spi.0),
                sequence = audit.sequence,
                "packet refused"
            );
            return;
        }
    };
    if ike.try_send(ToIke::Packet(news)).is_err() {
        warn!("the ike role has no room for an event of the packet engine");
    }
}
