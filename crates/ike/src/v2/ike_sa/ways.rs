//! The way of an IKE SA's messages: who may change it, and what happens when it is gone (RFC 7296
//! §2.23, RFC 4555, RFC 9329).

use std::net::{IpAddr, SocketAddr};

use crate::command::{JobId, Path, TcpProblem, Transport};
use crate::context::Context;
use crate::event::Event;
use crate::failure::FailureReason;
use crate::v2::message_id::Incoming;
use crate::v2::mobike;

use super::{IkeSa, Next, State};

impl IkeSa {
    /// The TCP connection of this IKE SA is gone, or could not be made (RFC 9329 §6.1).
    pub(crate) fn handle_tcp_lost(&mut self, problem: TcpProblem, cx: &mut Context<'_>) {
        let failed = FailureReason::TcpFailed { remote: self.core.path.remote, problem };
        match &mut self.state {
            State::Established(_) => self.core.lose_connection(problem, cx),
            // Nobody opens a connection to take leave.
            State::Deleting(_) => self.apply(Ok(Next::End(FailureReason::ByCommand)), cx),
            State::Rekeyed(_) | State::Closed(_) => {}
            // Some peers refuse and hang up.
            State::InitSent(sent) => {
                let reason = sent.take_complaint().unwrap_or(failed);
                self.apply(Err(reason), cx);
            }
            State::ResumeSent(_)
            | State::IntermediateSent(_)
            | State::AuthSigning(_)
            | State::AuthSent(_)
            | State::AuthVerifying(_)
            | State::InitOpening(_)
            | State::InitAnswered(_)
            | State::AuthChecking(_) => self.apply(Err(failed), cx),
        }
    }

    /// The addresses or routes of this host have changed (RFC 4555); `before` are the addresses it had.
    pub(crate) fn handle_network(&mut self, before: &[IpAddr], cx: &mut Context<'_>) {
        if matches!(self.state, State::Rekeyed(_) | State::Deleting(_)) {
            return mobike::look_for_way(&mut self.core, cx);
        }
        self.with_established(cx, |established, core, cx| {
            mobike::handle_network(before, established, core, cx);
        });
    }

    /// Takes the address that a lookup of ours found, if it found one (RFC 4555).
    pub(crate) fn handle_source(
        &mut self,
        job: JobId,
        source: Option<IpAddr>,
        cx: &mut Context<'_>,
    ) {
        if matches!(self.state, State::Rekeyed(_) | State::Deleting(_)) {
            let tells = matches!(self.state, State::Rekeyed(_));
            return mobike::handle_source_of_old(job, source, tells, &mut self.core, cx);
        }
        self.with_established(cx, |established, core, cx| {
            mobike::handle_source(job, source, established, core, cx);
        });
    }

    /// A repetition of the IKE_SA_INIT request that made this IKE SA (CHECKLIST B07).
    pub(crate) fn handle_repeated_init(&mut self, path: Path, octets: &[u8], cx: &mut Context<'_>) {
        let core = &mut self.core;
        if let Incoming::Repeated(response) = core.responses.classify(0, octets, None)
            && core.leash.allows_anybody(path, octets.len(), response)
        {
            cx.transmit(path, response);
        }
    }

    /// Whether an authentic message may move the peer's address: the handshake may float to
    /// other ports, later only a peer behind a NAT moves (RFC 7296 §2.23), unless the initiator says
    /// where it is (RFC 4555 §3.8).
    pub(super) fn follows(&self) -> bool {
        let by_itself = self.core.nat.peer_is_behind_nat && self.core.mobike.is_none();
        //= https://www.rfc-editor.org/rfc/rfc9329#section-6.1
        //# the TCP Responder MUST allow packets for existing SAs to be received from new source IP
        //# addresses and ports.
        self.core.path.transport == Transport::TcpResponder
            || matches!(self.state, State::InitAnswered(_))
            || by_itself
    }

    /// The peer has answered, perhaps on a way that was only tried (RFC 4555 §3.10).
    pub(super) fn settle_ways(&mut self, path: Path, cx: &mut Context<'_>) {
        let is_found = self.core.is_tried(path);
        if let (State::Established(established), true) = (&mut self.state, is_found) {
            mobike::move_to(path, established, &mut self.core, cx);
        }
        self.core.rest();
    }

    pub(super) fn handle_move(&mut self, old: SocketAddr, cx: &mut Context<'_>) {
        if let State::Established(established) = &self.state {
            established.handle_move(&self.core, cx);
            let ike = Box::new(established.info(&self.core));
            cx.out.event(Event::PeerMoved { ike, old });
        }
    }
}
