//! What routers outside say about packets too big, for the engine to judge.

use std::time::Instant;

use adit_dataplane::{Complaint, Outbound};
use adit_sys::icmp_errors::{ICMP_HEADROOM, TooBigSocket};
use adit_sys::{BATCH_MAX, BatchIo};
use adit_wire::PacketBuf;
use tracing::debug;

/// Room for what comes.
pub(super) struct Outside {
    io: BatchIo,
    packets: Vec<PacketBuf>,
}

impl Outside {
    /// Room for messages, if there are sockets to read them from.
    pub(super) fn new(sockets: &[TooBigSocket]) -> Self {
        let count = if sockets.is_empty() { 0 } else { BATCH_MAX };
        let packet = || PacketBuf::with_capacity(ICMP_HEADROOM, MESSAGE_OCTETS);
        let packets = (0..count).map(|_| packet()).collect();
        Self { io: BatchIo::new(ICMP_HEADROOM), packets }
    }

    /// Reads some of what waits: anybody can send more than that.
    pub(super) fn receive(
        &mut self,
        sockets: &[TooBigSocket],
        engine: &mut Outbound,
        now: Instant,
    ) {
        for socket in sockets {
            let got = match socket.recv_batch(&mut self.io, &mut self.packets) {
                Ok(got) => got,
                Err(error) => {
                    debug!(%error, "receiving ICMP failed");
                    continue;
                }
            };
            for packet in self.packets.iter().take(got) {
                if engine.handle_icmp(packet.data(), now) == Complaint::Believed {
                    debug!(from = %packet.meta.remote.ip(), "a router says that packets are too big");
                }
            }
        }
    }
}

/// Octets of a message: RFC 4443 §2.4 (c) has the longest.
const MESSAGE_OCTETS: usize = 1_280;
