//! All that goes into an [`Endpoint`], as a value: for who hands it to another thread, and for who
//! records it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use crate::command::{AuthResult, Command, IcmpHeard, JobId, PacketEvent, Path, TcpProblem};
use crate::endpoint::Endpoint;
use crate::shard::Tidings;
use adit_crypto::Rng;

/// What an IKE endpoint takes.
#[derive(Clone, Debug)]
pub enum Input {
    /// An IKE message, marker taken off.
    Datagram {
        /// Where it travelled.
        path: Path,
        /// The message.
        octets: Vec<u8>,
    },
    /// The network says that what we sent did not arrive, by which ICMP message if it was one.
    Unreachable(Path, Option<IcmpHeard>),
    /// A TCP connection is gone, or could not be made.
    TcpLost(Path, TcpProblem),
    /// The packet engine has seen something.
    Packet(PacketEvent),
    /// Whoever holds the long-term secrets has computed.
    Auth(JobId, AuthResult),
    /// A lookup is done; empty if nothing was found.
    Resolved(JobId, Vec<IpAddr>),
    /// An operator wants something, or a tunnel is for another shard.
    Command(Command),
    /// What another shard tells.
    Tidings(Tidings),
    /// This host has these addresses, and its routes may have changed.
    Network(Arc<[IpAddr]>),
    /// It is as late as that.
    Timeout,
    /// Nobody wants anything: a key share may be made ahead of need.
    PrepareKeyShare,
}

impl Input {
    /// Gives it to an endpoint.
    pub fn give(self, endpoint: &mut Endpoint, now: Instant, rng: &mut dyn Rng) {
        match self {
            Self::Datagram { path, octets } => endpoint.handle_datagram(path, &octets, now, rng),
            Self::Unreachable(path, icmp) => {
                endpoint.handle_unreachable(path, icmp.as_ref(), now, rng)
            }
            Self::TcpLost(path, problem) => endpoint.handle_tcp_lost(path, problem, now, rng),
            Self::Packet(event) => endpoint.handle_packet_event(event, now, rng),
            Self::Auth(job, result) => endpoint.handle_auth(job, result, now, rng),
            Self::Resolved(job, addresses) => endpoint.handle_resolved(job, addresses, now, rng),
            Self::Command(command) => endpoint.handle_command(command, now, rng),
            Self::Tidings(tidings) => endpoint.handle_tidings(tidings, now, rng),
            Self::Network(addresses) => endpoint.handle_network(&addresses, now, rng),
            Self::Timeout => endpoint.handle_timeout(now, rng),
            Self::PrepareKeyShare => endpoint.prepare_key_share(rng),
        }
    }
}
