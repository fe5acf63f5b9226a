//! All IKE SAs of one host (RFC 7296): dispatch, half-open limits, cookies, timers.

use std::net::IpAddr;
use std::time::Instant;

use adit_crypto::Rng;

use crate::command::{AuthResult, Command, JobId, PacketEvent, Path};
use crate::config::EndpointConfig;
use crate::event::{ConnectionInfo, IkeSaInfo};
use crate::output::Output;

/// All IKE SAs of one host, the connections they come from and the effort to keep them up.
///
/// Inputs are the `handle_*` methods. After each of them take [`Endpoint::poll_output`] until it
/// returns `None`, then arrange to call [`Endpoint::handle_timeout`] at
/// [`Endpoint::poll_timeout`]. Calling it early or late is harmless.
#[derive(Debug)]
pub struct Endpoint {
    config: EndpointConfig,
}

impl Endpoint {
    /// An endpoint without connections. It answers nobody until one is loaded.
    pub fn new(config: EndpointConfig) -> Self {
        Self { config }
    }

    /// Takes one datagram: an IKE message without a non-ESP marker.
    ///
    /// Hostile octets are fine: what cannot be authenticated changes nothing that is
    /// authenticated, and nothing is answered with more octets than came.
    pub fn handle_datagram(&mut self, path: Path, octets: &[u8], now: Instant, rng: &mut dyn Rng) {
        let _ = (&self.config, path, octets, now, rng);
    }

    /// Does what is due: retransmissions, rekeying, liveness checks, retries.
    pub fn handle_timeout(&mut self, now: Instant, rng: &mut dyn Rng) {
        let _ = (now, rng);
    }

    /// Takes an order.
    pub fn handle_command(&mut self, command: Command, now: Instant, rng: &mut dyn Rng) {
        let _ = (command, now, rng);
    }

    /// Takes the result of an [`Output::Auth`]. Unknown jobs are ignored: their IKE SA is gone.
    pub fn handle_auth(
        &mut self,
        job: JobId,
        result: AuthResult,
        now: Instant,
        rng: &mut dyn Rng,
    ) {
        let _ = (job, result, now, rng);
    }

    /// Takes the answer to an [`Output::Resolve`], best address first; none is the answer too.
    pub fn handle_resolved(
        &mut self,
        job: JobId,
        addresses: Vec<IpAddr>,
        now: Instant,
        rng: &mut dyn Rng,
    ) {
        let _ = (job, addresses, now, rng);
    }

    /// Takes an event of the packet engine.
    pub fn handle_packet_event(&mut self, event: PacketEvent, now: Instant, rng: &mut dyn Rng) {
        let _ = (event, now, rng);
    }

    /// The network says that datagrams on this path do not arrive (ICMP, or sending failed).
    ///
    /// Anyone can forge this, so it ends nothing: it is a reason to report if the peer stays
    /// silent, and prompts a liveness check.
    pub fn handle_unreachable(&mut self, path: Path, now: Instant, rng: &mut dyn Rng) {
        let _ = (path, now, rng);
    }

    /// The next thing to do; `None` when there is nothing (left).
    pub fn poll_output(&mut self) -> Option<Output> {
        None
    }

    /// When [`Endpoint::handle_timeout`] wants to be called; `None` if there is no timer.
    pub fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    /// Snapshots of all IKE SAs with their children, oldest first.
    pub fn ike_sas(&self) -> impl Iterator<Item = IkeSaInfo> {
        std::iter::empty()
    }

    /// Snapshots of all loaded connections, by name.
    pub fn connections(&self) -> impl Iterator<Item = ConnectionInfo> {
        std::iter::empty()
    }

    /// Whether nothing is left: no IKE SA, no attempt, no job.
    pub fn is_idle(&self) -> bool {
        true
    }
}
