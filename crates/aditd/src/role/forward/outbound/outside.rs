//! What is said outside about our packets, for the engines to judge.

use std::time::Instant;

use adit_dataplane::{Complaint, Outbound};
use adit_sys::icmp_errors::{ICMP_HEADROOM, RouterSocket, interface_name};
use adit_sys::{BATCH_MAX, BatchIo};
use adit_wire::PacketBuf;
use tracing::{debug, info};

/// Room for what comes.
pub(super) struct Outside {
    io: BatchIo,
    packets: Vec<PacketBuf>,
    /// By which interfaces they came.
    interfaces: Vec<u32>,
    /// Security failures that may be true.
    failures: u64,
}

impl Outside {
    /// Room for messages, if there are sockets to read them from.
    pub(super) fn new(sockets: &[RouterSocket]) -> Self {
        let count = if sockets.is_empty() { 0 } else { BATCH_MAX };
        let packet = || PacketBuf::with_capacity(ICMP_HEADROOM, MESSAGE_OCTETS);
        let packets = (0..count).map(|_| packet()).collect();
        let interfaces = Vec::with_capacity(count);
        Self { io: BatchIo::new(ICMP_HEADROOM), packets, interfaces, failures: 0 }
    }

    /// Reads some of what waits: anybody can send more than that. `elsewhere` gets what is about a packet
    /// that another thread has sent; the engine lets few of those through.
    pub(super) fn receive(
        &mut self,
        sockets: &[RouterSocket],
        engine: &mut Outbound,
        now: Instant,
        elsewhere: impl Fn(&[u8]),
    ) {
        for socket in sockets {
            let Self { io, packets, interfaces, .. } = self;
            let got = match socket.recv_by(io, packets, interfaces) {
                Ok(got) => got,
                Err(error) => {
                    debug!(%error, "receiving ICMP failed");
                    continue;
                }
            };
            for (packet, number) in self.packets.iter().zip(&self.interfaces).take(got) {
                let from = packet.meta.remote.ip();
                let name = || interface_name(*number);
                match engine.handle_icmp_by(packet.data(), name, now) {
                    Complaint::Believed => debug!(%from, "a router says that packets are too big"),
                    Complaint::Prompted => {
                        debug!(%from, "somebody says that packets do not arrive")
                    }
                    Complaint::Explored => debug!(%from, "a router is between us and a peer"),
                    Complaint::Revealed => debug!(%from, "a router is shown to who traces a path"),
                    Complaint::Elsewhere => elsewhere(packet.data()),
                    Complaint::Failure { code, is_told } => {
                        self.failures += 1;
                        if is_told {
                            let so_far = self.failures;
                            info!(%code, so_far, "somebody says that our ESP or AH is refused");
                            debug!(%from, %code, "this security failure may be true, or forged");
                        }
                    }
                    Complaint::NotForUs
                    | Complaint::Unknown
                    | Complaint::NoNews
                    | Complaint::TooMany
                    | Complaint::Unheard
                    | Complaint::Hidden => {}
                }
            }
        }
    }
}

/// Octets of a message: RFC 4443 §2.4 (c) has the longest.
const MESSAGE_OCTETS: usize = 1_280;
