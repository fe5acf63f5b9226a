//! Over to TCP where UDP does not pass, and back (RFC 9329 §5.1): which transport an attempt takes,
//! and when TCP connections are of no use any more (§6.1).
//!
//! Back goes an attempt over UDP beside what is there. If it succeeds it replaces the IKE SA over TCP
//! like any newer one; if not, nobody hears of it.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use adit_crypto::Rng;
use adit_db::{Connection, ConnectionName, IkeSaId};

use crate::command::{Path, Transport};
use crate::event::Step;
use crate::failure::{Failure, FailureReason};
use crate::output::Output;
use crate::v2::ike_sa::IkeSa;
use crate::v2::tcp_encap;

use super::Endpoint;

/// How long a peer that has gone back to UDP has to delete what it had over TCP.
pub(super) const RETURN_WAIT: Duration = Duration::from_secs(10);

impl Endpoint {
    /// The path of an attempt.
    pub(super) fn first_path(
        &self,
        name: &ConnectionName,
        connection: &Connection,
        (local, remote): (IpAddr, IpAddr),
        rng: &mut dyn Rng,
    ) -> Path {
        let tcp_port = self.keepers.get(name).and_then(|keeper| keeper.tcp_port());
        if let Some(port) = tcp_port {
            let local = SocketAddr::new(local, tcp_encap::local_port(rng));
            let remote = SocketAddr::new(remote, port);
            return Path { transport: Transport::TcpOriginator, ..Path::udp(local, remote) };
        }
        let ports = connection.ports;
        let local_port = if ports.local == 0 { self.config.ike_port } else { ports.local };
        Path::udp(SocketAddr::new(local, local_port), SocketAddr::new(remote, ports.remote))
    }

    /// Begins an attempt over UDP beside the IKE SA over TCP, if it is time for one.
    pub(super) fn probe_udp(&mut self, name: &ConnectionName, now: Instant, rng: &mut dyn Rng) {
        if !self.keepers.get(name).is_some_and(|keeper| keeper.is_probe_due(now)) {
            return;
        }
        let is_by_tcp = self.by_tcp(name).next().is_some();
        let Some(keeper) = self.keepers.get_mut(name) else { return };
        if keeper.begins_probe(is_by_tcp) {
            self.begin_attempt(name, now, rng);
        }
    }

    /// An IKE SA is up: one over TCP is to go back to UDP some time, one over UDP has the place of those
    /// over TCP.
    pub(super) fn settle_transport(
        &mut self,
        name: &ConnectionName,
        ike: IkeSaId,
        now: Instant,
        rng: &mut dyn Rng,
    ) {
        let Some(transport) = self.sas.get(ike).map(|sa| sa.core.path.transport) else { return };
        let at = now + self.config.udp_probe;
        let Some(keeper) = self.keepers.get_mut(name) else { return };
        match transport {
            Transport::TcpOriginator => keeper.probe_udp_at(Some(at)),
            Transport::TcpResponder => keeper.probe_udp_at(None),
            Transport::Udp => {
                keeper.probe_udp_at(None);
                let others: Vec<IkeSaId> = self.by_tcp(name).collect();
                for other in others {
                    let reason = FailureReason::Replaced;
                    self.touch(other, now, rng, |sa, cx| sa.close(reason, cx));
                }
            }
        }
    }

    /// An attempt has failed: whether that is no failure yet, as it was only a probe or another
    /// attempt over TCP follows.
    pub(super) fn attempt_goes_on(
        &mut self,
        name: &ConnectionName,
        failure: &Failure,
        now: Instant,
    ) -> bool {
        let Some(keeper) = self.keepers.get_mut(name) else { return false };
        if keeper.probe_failed(&self.config, now) {
            return true;
        }
        let falls_back = keeper.falls_back(&failure.reason);
        if falls_back {
            let step = Step::FallingBack { reason: failure.reason.clone() };
            self.out.progress(Some(name), None, step, failure.elapsed);
        }
        falls_back
    }

    /// Whether the peer goes back from TCP to UDP with a new IKE SA. It deletes the old one itself.
    pub(super) fn goes_back(&self, old: IkeSaId, new: IkeSaId) -> bool {
        let transport = |ike| self.sas.get(ike).map(|sa| sa.core.path.transport);
        transport(old) == Some(Transport::TcpResponder) && transport(new) == Some(Transport::Udp)
    }

    /// The IKE SAs of a connection that go over a TCP connection of ours.
    fn by_tcp(&self, name: &ConnectionName) -> impl Iterator<Item = IkeSaId> {
        let by_tcp = |sa: &&IkeSa| {
            sa.core.path.transport == Transport::TcpOriginator && sa.as_established().is_some()
        };
        self.sas.of(name).filter(by_tcp).map(|sa| sa.core.id)
    }

    /// An IKE SA is over: closes the TCP connection that we have opened for it, if it has left it to no
    /// other one.
    //= https://www.rfc-editor.org/rfc/rfc9329#section-6.1
    //# Once the SA has been deleted, the TCP Originator SHOULD close the TCP connection if it does not
    //# intend to use the connection for another IKE session to the TCP Responder.
    pub(super) fn hang_up(&mut self, ike: IkeSaId) {
        let Some(core) = self.sas.get(ike).map(|sa| &sa.core) else { return };
        let (path, Some(name)) = (core.path, core.connection_name()) else { return };
        if path.transport != Transport::TcpOriginator {
            return;
        }
        let mut others = self.sas.of(name).filter(|sa| sa.core.id != ike && !sa.is_closed());
        if others.all(|sa| sa.core.path != path) {
            self.out.push(Output::HangUp(path));
        }
    }
}
