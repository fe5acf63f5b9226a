//! Which transport the next attempt of a connection takes (RFC 9329 §5.1).

use std::time::Instant;

use adit_db::Encap;

use crate::config::EndpointConfig;
use crate::failure::FailureReason;
use crate::v2::tcp_encap;

use super::Keeper;

/// What a connection has to do with TCP at the moment.
#[derive(Debug, Default)]
pub(super) struct TcpEffort {
    /// The attempt goes over TCP: the one before has found UDP blocked.
    falls_back: bool,
    /// An IKE SA over TCP is up; UDP is tried again then.
    probe_at: Option<Instant>,
    /// The attempt is that.
    probes: bool,
}

impl Keeper {
    /// The peer's port if an attempt that begins goes over TCP: another one after every failure.
    pub(crate) fn tcp_port(&self) -> Option<u16> {
        let falls_back = self.tcp.as_ref().is_some_and(|tcp| tcp.falls_back);
        if self.connection.encap != Encap::Tcp && !falls_back {
            return None;
        }
        let ports = &self.connection.tcp_ports;
        let count = u32::try_from(ports.len()).ok()?;
        let index = usize::try_from(self.failures.checked_rem(count)?).ok()?;
        ports.get(index).copied()
    }

    /// Whether the attempt that has failed is followed by one over TCP at once.
    pub(crate) fn falls_back(&mut self, reason: &FailureReason) -> bool {
        let falls_back = self.connection.may_fall_back()
            && self.tcp_port().is_none()
            && tcp_encap::is_blocked(reason);
        if falls_back {
            self.attempt = None;
            self.tcp.get_or_insert_default().falls_back = true;
        }
        falls_back
    }

    /// An IKE SA is up: whether and when UDP is tried again.
    pub(crate) fn probe_udp_at(&mut self, at: Option<Instant>) {
        let probe_at = at.filter(|_| self.connection.may_fall_back());
        self.tcp =
            probe_at.map(|at| Box::new(TcpEffort { probe_at: Some(at), ..TcpEffort::default() }));
    }

    /// When UDP is to be tried again.
    pub(super) fn next_probe(&self) -> Option<Instant> {
        self.tcp.as_ref().and_then(|tcp| tcp.probe_at).filter(|_| self.attempt.is_none())
    }

    /// Whether it is time for that.
    pub(crate) fn is_probe_due(&self, now: Instant) -> bool {
        self.next_probe().is_some_and(|at| now >= at)
    }

    /// Begins to try UDP again, beside the IKE SA over TCP; if that is gone, there is no reason.
    pub(crate) fn begins_probe(&mut self, is_by_tcp: bool) -> bool {
        let probes = is_by_tcp && !self.held_down;
        self.tcp = probes.then(|| Box::new(TcpEffort { probes: true, ..TcpEffort::default() }));
        probes
    }

    /// The configuration is another: an IKE SA over TCP that is up may still go back to UDP.
    pub(super) fn replaced(&mut self) {
        let may = self.connection.may_fall_back();
        self.tcp.take_if(|tcp| tcp.falls_back || !may);
    }

    /// An attempt begins because there is no IKE SA.
    pub(crate) fn begins_anew(&mut self) {
        self.tcp.take_if(|tcp| !tcp.falls_back);
    }

    /// Whether the attempt only looks whether UDP passes again.
    pub(crate) fn is_probing(&self) -> bool {
        self.attempt.is_some() && self.tcp.as_ref().is_some_and(|tcp| tcp.probes)
    }

    /// The attempt has failed: if it was a probe that is no failure, and another one follows later.
    pub(crate) fn probe_failed(&mut self, config: &EndpointConfig, now: Instant) -> bool {
        let was_probe = self.tcp.as_ref().is_some_and(|tcp| tcp.probes);
        if was_probe {
            self.attempt = None;
            self.probe_udp_at(Some(now + config.udp_probe));
        }
        was_probe
    }
}
