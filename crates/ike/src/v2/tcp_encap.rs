//! IKE and ESP in TCP (RFC 9329), the part of one IKE SA: when there is a connection, and what happens
//! when there is none.
//!
//! The program has the connections; here they are a [`crate::Path`] with a
//! [`Transport`]. The first message to a path that we originate opens its connection, so a new one is a
//! new local port. Where the connection of an IKE SA breaks, whoever opened it opens another one, sends
//! what was not answered there, or an empty request, and the peer follows the first message that is
//! authentic and new. Until then the SAs stay as they are, and so does the time in which an answer has
//! to come.
//!
//! Going over to TCP and back is [`crate::endpoint`]'s part: an attempt over UDP that gets no answer is
//! followed by one over TCP, and while that stands another over UDP is made now and then, which
//! replaces it.
//!
//! Not done: TLS (appendix A), moving an IKE SA between UDP and TCP by MOBIKE (§7.1; only as
//! above), following the peer's ESP to another connection before IKE has come there (§6.1), keeping the
//! IPv6 flow label from one connection to the next (§6.1), which is the kernel's.

use std::time::{Duration, Instant};

use adit_crypto::Rng;
use adit_db::{ChildSaId, Connection};
use adit_wire::iana::ExchangeType;

use crate::command::{Path, TcpProblem, Transport};
use crate::config::Retransmission;
use crate::context::Context;
use crate::event::Step;
use crate::failure::FailureReason;
use crate::output::Output;
use crate::v2::established::{Established, Task};
use crate::v2::ike_sa::core::Core;

/// How often a request of a handshake is sent over UDP before TCP is tried, if that is allowed.
//= https://www.rfc-editor.org/rfc/rfc9329#section-5.1
//# It is recommended that the initial message over UDP be retransmitted at least once before falling
//# back to TCP
pub(crate) const UDP_TRANSMISSIONS_MAX: u8 = 4;

/// Local ports of connections that we open, as the kernel itself would choose them.
pub const TCP_LOCAL_PORTS: std::ops::RangeInclusive<u16> = 32_768..=60_999;

/// Transmissions that a request would have had over UDP after which its connection is left: with the
/// default schedule those of a quarter of a minute.
const SILENT_AFTER: u8 = 6;

/// Longest pause between two connections of an IKE SA.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// A local port for a connection that we open.
pub(crate) fn local_port(rng: &mut dyn Rng) -> u16 {
    let count = u32::from(TCP_LOCAL_PORTS.end() - TCP_LOCAL_PORTS.start()) + 1;
    TCP_LOCAL_PORTS.start().saturating_add(u16::try_from(rng.next_u32() % count).unwrap_or(0))
}

/// The retransmission of a request: that of a handshake over UDP ends early where TCP may follow.
pub(crate) fn schedule(
    core: &Core,
    exchange: ExchangeType,
    schedule: Retransmission,
) -> Retransmission {
    let is_handshake = matches!(
        exchange,
        ExchangeType::IKE_SA_INIT | ExchangeType::IKE_INTERMEDIATE | ExchangeType::IKE_AUTH
    );
    let may = core.connection.as_ref().is_some_and(|connection| connection.may_fall_back());
    if !is_handshake || !may || core.path.is_tcp() {
        return schedule;
    }
    let transmissions = schedule.transmissions.min(UDP_TRANSMISSIONS_MAX);
    Retransmission { transmissions, ..schedule }
}

/// Whether an attempt over UDP has ended as it does where UDP is blocked. Where only port 4500 is, and
/// there is no NAT, protocol 50 does without it.
pub(crate) fn is_blocked(reason: &FailureReason) -> bool {
    matches!(
        reason,
        FailureReason::PeerSilent { .. }
            | FailureReason::NatPortBlocked { nat_local: true, .. }
            | FailureReason::NatPortBlocked { nat_remote: true, .. }
    )
}

/// Whether an IKE SA may go on as it goes with this configuration.
pub(crate) fn is_allowed(core: &Core, connection: &Connection) -> bool {
    let Path { remote, transport, .. } = core.path;
    transport != Transport::TcpOriginator || connection.tcp_ports.contains(&remote.port())
}

/// The connection of an IKE SA that we have to open anew.
#[derive(Debug)]
pub(crate) struct Redial {
    /// When, if it has not happened.
    at: Option<Instant>,
    /// Connections in a row on which nothing came.
    fruitless: u32,
}

impl Redial {
    pub(crate) fn at(&self) -> Option<Instant> {
        self.at
    }

    /// The next connection: the first at once, later ones after growing pauses.
    fn pause(&self) -> Duration {
        match self.fruitless {
            0 => Duration::ZERO,
            many => Duration::from_secs(1 << (many - 1).min(8)).min(PAUSE_MAX),
        }
    }
}

impl Core {
    /// The connection is gone. Who has opened it opens another.
    //= https://www.rfc-editor.org/rfc/rfc9329#section-6.1
    //# The TCP Originator is responsible for re-establishing the TCP connection if it is torn down for
    //# any unexpected reason.
    pub(crate) fn lose_connection(&mut self, problem: TcpProblem, cx: &mut Context<'_>) {
        if self.path.transport != Transport::TcpOriginator || self.is_disconnected() {
            return;
        }
        let fruitless = self.redial.as_ref().map_or(0, |redial| redial.fruitless);
        let redial = Redial { at: None, fruitless };
        let at = Some(cx.now + redial.pause());
        self.redial = Some(Box::new(Redial { at, fruitless: fruitless.saturating_add(1) }));
        self.progress(Step::Reconnecting { problem }, cx);
    }

    /// Whether there is no connection, and none is being opened.
    pub(crate) fn is_disconnected(&self) -> bool {
        self.redial.as_ref().is_some_and(|redial| redial.at.is_some())
    }

    /// Goes over to another connection if it is time; whether it was. The program opens it when there
    /// is something to send.
    pub(crate) fn reconnect(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(redial) = &mut self.redial else { return false };
        if redial.at.take_if(|at| cx.now >= *at).is_none() {
            return false;
        }
        self.path.local.set_port(local_port(cx.rng));
        self.send_pending(cx);
        true
    }

    /// Whether another connection is due, and its local address is none of this host's any more: nothing
    /// can be opened from there.
    pub(crate) fn has_nowhere_to_redial_from(&self, cx: &Context<'_>) -> bool {
        let local = self.path.local.ip();
        let is_due =
            self.redial.as_ref().and_then(|redial| redial.at).is_some_and(|at| cx.now >= at);
        // Inside another tunnel the address is that tunnel's.
        let is_hosts = self.connection.as_ref().is_some_and(|known| known.over.is_none());
        let is_gone = !cx.addresses.is_empty() && !cx.addresses.contains(&local);
        is_due && is_hosts && is_gone && !local.is_loopback()
    }

    /// It is time to repeat a request. The connection stands, and has brought no answer for so long that
    /// its other end may have lost the request: it is left for another, once for each request.
    pub(crate) fn leave_silent_connection(&mut self, cx: &mut Context<'_>) {
        let is_silent = self.requests.transmissions() == SILENT_AFTER;
        if is_silent && self.path.transport == Transport::TcpOriginator && !self.is_disconnected() {
            cx.out.push(Output::HangUp(self.path));
            self.lose_connection(TcpProblem::Silent, cx);
        }
    }

    /// An authentic message has come on `path`: its connection stands. If it has moved us there, what
    /// was sent before may be lost.
    pub(crate) fn settle_connection(&mut self, path: Path, moved: bool, cx: &mut Context<'_>) {
        if !path.is_tcp() || path != self.path {
            return;
        }
        if !self.is_disconnected() {
            self.redial = None;
        }
        if moved {
            self.send_pending(cx);
        }
    }

    //= https://www.rfc-editor.org/rfc/rfc9329#section-6.2
    //# If a new TCP connection for the IKE SA is established while the exchange Initiator is waiting
    //# for a response, the Initiator MUST retransmit its request over this connection and continue to
    //# wait for a response.
    fn send_pending(&self, cx: &mut Context<'_>) {
        cx.transmit(self.path, self.requests.pending());
    }
}

impl Established {
    /// A new TCP connection has the place of a broken one: a message tells the peer, who has to see one
    /// before it answers there.
    //= https://www.rfc-editor.org/rfc/rfc9329#section-6.1
    //# it is suggested that the TCP Originator send an UPDATE_SA_ADDRESSES message if MOBIKE is
    //# supported and an empty informational message if it is not.
    pub(crate) fn prove_connection(&mut self, core: &Core) {
        if core.requests.is_idle() {
            self.queue(Task::Liveness);
        }
    }

    /// Another IKE SA has the place of this one, which the peer is to delete when it has seen to that: until
    /// then we go on sending here, as it may not take anything there yet.
    pub(crate) fn leave_later(&mut self, wait: Duration, cx: &mut Context<'_>) {
        self.delay(Task::Leave, cx.now + wait);
        let current = self.children.iter().filter(|child| child.is_current());
        let ids: Vec<ChildSaId> = current.map(|child| child.id).collect();
        ids.into_iter().for_each(|id| self.activate(id, cx));
    }
}
