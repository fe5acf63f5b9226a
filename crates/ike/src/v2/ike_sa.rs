//! One IKE SA (RFC 7296): its states, and which input goes where.
//!
//! ```text
//! initiator  InitSent | ResumeSent -> IntermediateSent* -> AuthSigning -> AuthSent -> AuthVerifying --.
//! responder  [InitOpening ->] InitAnswered* -> AuthChecking -------------------------------------------> Established
//!                                                  Established -> Rekeyed | Deleting -> Closed
//! ```
//!
//! Every state is a struct with a method per input it takes; the method says what comes
//! [`Next`]. Errors before establishment end the attempt, later ones the IKE SA.

pub(crate) mod core;
mod transition;
mod ways;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use adit_db::{ChildName, ChildSaId, Connection, Gateway};
use adit_wire::iana::{ExchangeType, NotifyType, PayloadType};
use adit_wire::ikev2::{ChainBuilder, Delete, Header, Notify, Payload};
use adit_wire::ip::FlowKey;

use crate::command::{AuthResult, JobId, PacketEvent, Path, TcpProblem};
use crate::context::{Context, Notice};
use crate::event::{IkeSaInfo, IkeSaState};
use crate::failure::FailureReason;
use crate::keymat::Role;
use crate::v2::established::{Established, Own, Task};
use crate::v2::exchange::auth::{AuthChecking, AuthSent, AuthSigning, AuthVerifying, InitAnswered};
use crate::v2::exchange::init::{self, Acceptable, InitSent, Wanted};
use crate::v2::exchange::init_answer::InitOpening;
use crate::v2::exchange::intermediate::IntermediateSent;
use crate::v2::exchange::{create_child, followup, informational, rekey_ike};
use crate::v2::message_id_sync;
use crate::v2::mobike;
use crate::v2::notification_data;
use crate::v2::protected::Message;
use crate::v2::resumption::{self, ClientTicket, Granted, Resumable, ResumeSent};
use crate::v2::rules::{Form, Received, RuleError};
use crate::v2::udp_encap;

use self::core::Core;

/// One IKE SA, from the first message to a while after the last.
#[derive(Debug)]
pub(crate) struct IkeSa {
    pub(crate) core: Core,
    state: State,
}

/// Where an IKE SA stands. What a handshake needs is large and does not stay: it is boxed, so that an
/// IKE SA that is up takes no room for it.
#[derive(Debug)]
pub(crate) enum State {
    InitSent(Box<InitSent>),
    ResumeSent(Box<ResumeSent>),
    IntermediateSent(Box<IntermediateSent>),
    AuthSigning(Box<AuthSigning>),
    AuthSent(Box<AuthSent>),
    AuthVerifying(Box<AuthVerifying>),
    InitOpening(Box<InitOpening>),
    InitAnswered(InitAnswered),
    AuthChecking(Box<AuthChecking>),
    Established(Box<Established>),
    Rekeyed(Rekeyed),
    Deleting(Deleting),
    Closed(Closed),
}

/// Replaced; the peer is to delete it (RFC 7296 §2.8).
#[derive(Debug)]
pub(crate) struct Rekeyed {
    /// When we delete it ourselves (CHECKLIST K07).
    until: Instant,
}

/// Our last request is in flight: a delete, or the news that authentication failed.
#[derive(Debug)]
pub(crate) struct Deleting {
    exchange: ExchangeType,
}

/// Over. It stays for a while to repeat its last response.
#[derive(Debug)]
pub(crate) struct Closed {
    until: Instant,
    /// The peer never authenticated: it must not be cheaper to fail than to wait.
    half_open: bool,
}

/// What follows from a step.
#[derive(Debug)]
pub(crate) enum Next {
    /// The state stays.
    Stay,
    /// Another state begins.
    Enter(Box<State>),
    /// The peer believes in an IKE SA that we refuse: tell it, and end.
    Refuse(NotifyType, FailureReason),
    /// The IKE SA is to be deleted by a request of ours.
    Delete(FailureReason),
    /// The IKE SA is over; nothing more is to be said.
    End(FailureReason),
    /// A new IKE SA takes over.
    Replaced { new: Box<IkeSa>, old: Farewell },
}

impl Next {
    pub(crate) fn enter(state: State) -> Self {
        Self::Enter(Box::new(state))
    }
}

/// Who deletes an IKE SA that was replaced.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Farewell {
    WeDelete,
    PeerDeletes,
    /// It is deleted already.
    Gone,
}

/// What a step comes to; an error ends the IKE SA.
pub(crate) type StepResult = Result<Next, FailureReason>;

/// How long a replaced IKE SA waits for the peer's delete.
const REKEYED_WAIT: Duration = Duration::from_secs(90);

/// How long an initiator waits for a job of its own program.
pub(crate) const JOB_WAIT: Duration = Duration::from_secs(30);

/// How long an IKE SA that is over repeats its last response.
const LINGER: Duration = Duration::from_secs(30);

impl IkeSa {
    /// Initiator: sends the first message.
    pub(crate) fn initiate(
        connection: Arc<Connection>,
        path: Path,
        wanted: Wanted,
        started: Instant,
        may_prefer_udp: bool,
        redirected_from: Option<IpAddr>,
        cx: &mut Context<'_>,
    ) -> Result<Self, FailureReason> {
        let mut core = begin(connection, path, started, may_prefer_udp, cx);
        let sent = InitSent::start(wanted, redirected_from, &mut core, cx)?;
        Ok(Self { core, state: State::InitSent(Box::new(sent)) })
    }

    /// Client: presents a ticket instead (RFC 5723). It goes back if the connection does not fit it.
    pub(crate) fn resume(
        connection: Arc<Connection>,
        path: Path,
        wanted: Wanted,
        started: Instant,
        may_prefer_udp: bool,
        ticket: Box<ClientTicket>,
        cx: &mut Context<'_>,
    ) -> Result<Self, FailureReason> {
        let mut core = begin(connection, path, started, may_prefer_udp, cx);
        let sent = ResumeSent::start(wanted, ticket, &mut core, cx)?;
        Ok(Self { core, state: State::ResumeSent(Box::new(sent)) })
    }

    /// Gateway: answers the first message of a session that is resumed.
    pub(crate) fn resumed(request: Resumable<'_>, cx: &mut Context<'_>) -> Self {
        let mut core = Core::new(Role::Responder, request.path, cx);
        let over = State::Closed(Closed { until: cx.now + LINGER, half_open: true });
        let state = resumption::answer(request, &mut core, cx).unwrap_or(over);
        Self { core, state }
    }

    /// Responder: answers the first message. If its public value is not valid, what comes is an
    /// IKE SA that is over; it counts as half-open, so that a flood of such requests is asked for
    /// cookies like any other (RFC 7296 §2.6).
    pub(crate) fn respond(request: &Acceptable<'_>, cx: &mut Context<'_>) -> Self {
        let mut core = Core::new(Role::Responder, request.path, cx);
        let state = init::answer(request, &mut core, cx).unwrap_or_else(|_| {
            init::refuse(request, &mut core, cx);
            State::Closed(Closed { until: cx.now + LINGER, half_open: true })
        });
        Self { core, state }
    }

    /// Made by a rekey.
    pub(crate) fn established(core: Core, established: Established) -> Self {
        Self { core, state: State::Established(Box::new(established)) }
    }

    // ---- Questions ----

    /// Whether nothing is left to do or to repeat.
    pub(crate) fn is_over(&self, now: Instant) -> bool {
        matches!(&self.state, State::Closed(closed) if now >= closed.until)
    }

    /// Whether it has ended for everybody but the peer's repeated requests.
    pub(crate) fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed(_))
    }

    /// Whether both sides have authenticated and none has taken leave.
    pub(crate) fn is_established(&self) -> bool {
        matches!(self.state, State::Established(_))
    }

    /// Whether it was established, and is replaced or being deleted.
    pub(crate) fn is_leaving(&self) -> bool {
        matches!(self.standing(), Some(IkeSaState::Rekeyed | IkeSaState::Deleting))
    }

    /// Whether a responder has answered somebody who has not authenticated (RFC 7296 §2.6).
    pub(crate) fn is_half_open(&self) -> bool {
        let answered = matches!(
            self.state,
            State::InitOpening(_) | State::InitAnswered(_) | State::AuthChecking(_)
        );
        answered || matches!(&self.state, State::Closed(closed) if closed.half_open)
    }

    /// Whether children can be asked for.
    pub(crate) fn as_established(&self) -> Option<&Established> {
        self.established_state().filter(|established| !established.is_closing())
    }

    fn established_state(&self) -> Option<&Established> {
        if let State::Established(established) = &self.state { Some(established) } else { None }
    }

    /// Where the IKE SA stands; nowhere once it is over.
    fn standing(&self) -> Option<IkeSaState> {
        match self.state {
            State::InitSent(_)
            | State::ResumeSent(_)
            | State::IntermediateSent(_)
            | State::AuthSigning(_)
            | State::AuthSent(_)
            | State::AuthVerifying(_)
            | State::InitOpening(_)
            | State::InitAnswered(_)
            | State::AuthChecking(_) => Some(IkeSaState::Connecting),
            State::Established(_) => Some(IkeSaState::Established),
            State::Rekeyed(_) => Some(IkeSaState::Rekeyed),
            State::Deleting(_) => Some(IkeSaState::Deleting),
            State::Closed(_) => None,
        }
    }

    /// Whether we initiate and the peer has not shown anything yet.
    pub(crate) fn is_unanswered(&self) -> bool {
        matches!(self.state, State::ResumeSent(_))
            || matches!(&self.state, State::InitSent(sent) if sent.is_unanswered())
    }

    /// A snapshot; none of an IKE SA that is over.
    pub(crate) fn info(&self) -> Option<IkeSaInfo> {
        let established = self.established_state().map(|established| established.info(&self.core));
        established.or_else(|| self.standing().map(|state| IkeSaInfo { state, ..self.core.info() }))
    }

    // ---- Orders ----

    pub(crate) fn create_child(
        &mut self,
        child: ChildName,
        flow: Option<FlowKey>,
        cx: &mut Context<'_>,
    ) {
        self.with_established(cx, |established, _, _| {
            established.queue(Task::CreateChild { child, flow });
        });
    }

    pub(crate) fn rekey(&mut self, cx: &mut Context<'_>) {
        self.with_established(cx, |established, _, _| established.queue(Task::RekeyIke));
    }

    /// Sends the peer to another gateway, if it follows (RFC 5685 §5).
    pub(crate) fn redirect(&mut self, to: Gateway, cx: &mut Context<'_>) {
        self.with_established(cx, |established, _, _| established.queue(Task::Redirect(to)));
    }

    pub(crate) fn rekey_child(&mut self, id: ChildSaId, cx: &mut Context<'_>) {
        self.with_established(cx, |established, _, _| established.rekey_child(id));
    }

    pub(crate) fn delete_child(
        &mut self,
        id: ChildSaId,
        reason: FailureReason,
        cx: &mut Context<'_>,
    ) {
        self.with_established(cx, |established, _, cx| established.delete_child(id, reason, cx));
    }

    /// Ends the IKE SA: with a delete if the peer knows it, at once if not.
    pub(crate) fn close(&mut self, reason: FailureReason, cx: &mut Context<'_>) {
        if let State::Established(established) = &mut self.state {
            established.close(reason);
            return self.pump(cx);
        }
        match self.standing() {
            Some(IkeSaState::Connecting) => self.apply(Ok(Next::End(reason)), cx),
            Some(IkeSaState::Established | IkeSaState::Rekeying | IkeSaState::Rekeyed) => {
                self.apply(Ok(Next::Delete(reason)), cx);
            }
            Some(IkeSaState::Deleting) | None => {}
        }
    }

    /// The peer has set up another IKE SA in the place of this one, and is to delete it.
    pub(crate) fn supersede(&mut self, cx: &mut Context<'_>) {
        self.with_established(cx, |established, _, cx| established.supersede(cx));
    }

    /// An attempt to set up another IKE SA in the place of this one has failed.
    pub(crate) fn retry_reauth(&mut self, cx: &mut Context<'_>) {
        self.with_established(cx, |established, _, cx| established.retry_reauth(cx));
    }

    /// Ends the IKE SA if the peer has not done so by then: see [`Established::leave_later`].
    pub(crate) fn leave_later(&mut self, wait: Duration, cx: &mut Context<'_>) {
        self.with_established(cx, |established, _, cx| established.leave_later(wait, cx));
    }

    /// Forgets the IKE SA: the peer has no part of it any more (RFC 7296 §2.4).
    pub(crate) fn abandon(&mut self, reason: FailureReason, cx: &mut Context<'_>) {
        self.apply(Ok(Next::End(reason)), cx);
    }

    /// The loser of a rekey collision, as soon as it is made.
    pub(crate) fn discard(&mut self, delete: bool, cx: &mut Context<'_>) {
        if delete {
            self.begin_delete(cx);
        } else {
            self.state = State::Rekeyed(Rekeyed { until: cx.now + REKEYED_WAIT });
        }
    }

    /// Takes changes of the configuration that need no negotiation.
    pub(crate) fn reconfigure(&mut self, connection: Arc<Connection>) {
        self.core.connection = Some(connection);
    }

    pub(crate) fn handle_packet_event(&mut self, event: &PacketEvent, cx: &mut Context<'_>) {
        self.with_established(cx, |established, core, cx| match *event {
            PacketEvent::SoftExpire { child } => established.expire_softly(child),
            PacketEvent::HardExpire { child } => established.expire_child(child, cx),
            PacketEvent::Traffic { child } => {
                core.heard = cx.now;
                established.handle_traffic(child, cx);
            }
            PacketEvent::Used { child } => established.handle_use(child, cx.now),
            PacketEvent::PeerMoved { remote, .. } => {
                // RFC 7296 §2.23: only of a peer behind a NAT, and only by the newest packet.
                let moves = core.nat.peer_is_behind_nat && !core.path.is_tcp();
                if moves && core.path.remote != remote {
                    mobike::handle_mapping(remote, established, core, cx);
                }
            }
            PacketEvent::Doubted { .. } => {
                core.unreachable = true;
                established.handle_hint(core, cx);
            }
            PacketEvent::Notice { child, ref notice } => established.tell(child, notice, core),
            PacketEvent::Acquire { .. } | PacketEvent::UnknownSpi { .. } => {}
        });
    }

    /// Somebody unauthenticated says that the peer is gone.
    pub(crate) fn handle_hint(&mut self, unreachable: bool, cx: &mut Context<'_>) {
        self.core.unreachable |= unreachable;
        self.with_established(cx, |established, core, cx| established.handle_hint(core, cx));
    }

    fn with_established(
        &mut self,
        cx: &mut Context<'_>,
        order: impl FnOnce(&mut Established, &mut Core, &mut Context<'_>),
    ) {
        if let State::Established(established) = &mut self.state {
            order(established, &mut self.core, cx);
            self.pump(cx);
        }
    }

    // ---- Messages ----

    /// Takes a datagram whose SPI is ours.
    pub(crate) fn handle_datagram(
        &mut self,
        path: Path,
        header: &Header,
        octets: &[u8],
        cx: &mut Context<'_>,
    ) {
        if let State::InitSent(sent) = &mut self.state {
            let result = match header.flags.is_response() {
                true => sent.handle_response(path, octets, header, &mut self.core, cx),
                false => Ok(Next::Stay),
            };
            return self.apply(result, cx);
        }
        if let State::ResumeSent(sent) = &mut self.state {
            let result = match header.flags.is_response() {
                true => sent.handle_response(path, octets, header, &mut self.core, cx),
                false => Ok(Next::Stay),
            };
            return self.apply(result, cx);
        }
        if header.next_payload == PayloadType::NOTIFY {
            // INVALID_IKE_SPI and the like, from anybody (RFC 7296 §2.4; CHECKLIST M03).
            return self.handle_hint(false, cx);
        }
        if header.spi_i != self.core.spi_i || header.spi_r != self.core.spi_r {
            return;
        }
        let is_from_initiator = self.core.role == Role::Responder;
        if header.flags.is_initiator() != is_from_initiator || !self.takes(header) {
            return;
        }
        if message_id_sync::may_be(header, &self.core)
            && let State::Established(established) = &mut self.state
        {
            match message_id_sync::handle(path, octets, established, &mut self.core, cx) {
                Ok(false) => {}
                Ok(true) => return self.pump(cx),
                Err(reason) => return self.apply(Err(reason), cx),
            }
        }
        let follow = self.follows();
        let Some(arrival) = self.core.receive(path, octets, follow, cx) else { return };
        if header.flags.is_response() {
            self.settle_ways(path, cx);
        }
        if let Some(old) = arrival.moved_from {
            self.handle_move(old, cx);
        }
        self.handle_message(&arrival.message, cx);
    }

    /// Whether a message of this exchange has a place in this state; if not it is dropped before
    /// it counts (CHECKLIST A04).
    fn takes(&self, header: &Header) -> bool {
        if header.flags.is_response() {
            return true;
        }
        // A repeated request is answered from the cache in whatever state.
        if header.message_id < self.core.responses.expected() {
            return true;
        }
        match header.exchange {
            ExchangeType::IKE_INTERMEDIATE | ExchangeType::IKE_AUTH => {
                matches!(self.state, State::InitAnswered(_))
            }
            ExchangeType::CREATE_CHILD_SA
            | ExchangeType::IKE_FOLLOWUP_KE
            | ExchangeType::INFORMATIONAL => {
                matches!(self.state, State::Established(_) | State::Rekeyed(_) | State::Deleting(_))
            }
            _ => false,
        }
    }

    fn handle_message(&mut self, message: &Message, cx: &mut Context<'_>) {
        let is_response = message.header.flags.is_response();
        let received = match message.unsupported_critical {
            Some(kind) => Err(RuleError::UnsupportedCritical(kind)),
            None => Received::read(&message.header, message.first, &message.inner),
        };
        let said = received.as_ref().ok();
        self.core.peer_says = said.and_then(|read| notification_data::read(read, &self.core));
        let result = match received {
            Ok(received) if is_response => self.handle_response(message, &received, cx),
            Ok(received) => self.handle_request(message, &received, cx),
            Err(error) if is_response => self.refuse_response(&error, cx),
            Err(error) => self.refuse_request(message.header.exchange, &error, cx),
        };
        self.apply(result, cx);
        // What an IKE_AUTH response says counts once its sender has proven who it is.
        if !matches!(self.state, State::AuthVerifying(_)) {
            self.core.peer_says = None;
        }
        self.pump(cx);
    }

    fn handle_response(
        &mut self,
        message: &Message,
        received: &Received<'_>,
        cx: &mut Context<'_>,
    ) -> StepResult {
        let core = &mut self.core;
        match &mut self.state {
            State::IntermediateSent(sent) => sent.handle_response(message, received, core, cx),
            State::AuthSent(sent) => sent.handle_response(message, received, core, cx),
            State::Established(established) => {
                core.requests.answered();
                established.handle_response(message, received, core, cx)
            }
            State::Deleting(_) => Ok(Next::End(FailureReason::ByCommand)),
            State::Rekeyed(_) => {
                core.requests.answered();
                Ok(Next::Stay)
            }
            State::InitSent(_)
            | State::ResumeSent(_)
            | State::AuthSigning(_)
            | State::AuthVerifying(_)
            | State::InitOpening(_)
            | State::InitAnswered(_)
            | State::AuthChecking(_)
            | State::Closed(_) => Ok(Next::Stay),
        }
    }

    fn handle_request(
        &mut self,
        message: &Message,
        received: &Received<'_>,
        cx: &mut Context<'_>,
    ) -> StepResult {
        let core = &mut self.core;
        match &mut self.state {
            State::InitAnswered(state) => state.handle_request(message, received, core, cx),
            State::Established(established) => established.handle_request(received, core, cx),
            State::Rekeyed(_) | State::Deleting(_) => {
                answer_farewell(message.header.exchange, received, core, cx)
            }
            State::InitSent(_)
            | State::ResumeSent(_)
            | State::IntermediateSent(_)
            | State::AuthSigning(_)
            | State::AuthSent(_)
            | State::AuthVerifying(_)
            | State::InitOpening(_)
            | State::AuthChecking(_)
            | State::Closed(_) => Ok(Next::Stay),
        }
    }

    /// Answers a request that breaks the rules (RFC 7296 §2.5, §2.21.3).
    fn refuse_request(
        &mut self,
        exchange: ExchangeType,
        error: &RuleError,
        cx: &mut Context<'_>,
    ) -> StepResult {
        let mut chain = ChainBuilder::new();
        let established = matches!(self.state, State::Established(_));
        notification_data::put_rule_error(error, established, &self.core, &mut chain);
        self.core.respond(exchange, chain, cx)?;
        if established && matches!(error, RuleError::UnsupportedCritical(_)) {
            return Ok(Next::Stay);
        }
        Ok(Next::End(FailureReason::PeerMisbehaved("malformed request")))
    }

    /// Takes the result of a job.
    pub(crate) fn handle_auth(&mut self, job: JobId, result: AuthResult, cx: &mut Context<'_>) {
        let core = &mut self.core;
        let (result, end) = result.split();
        end.into_iter().for_each(|end| core.limit_proof(end, cx.now));
        let result = match &mut self.state {
            State::AuthSigning(state) => state.handle_auth(job, result, core, cx),
            State::AuthVerifying(state) => state.handle_auth(job, result, core, cx),
            State::AuthChecking(state) => state.handle_auth(job, result, core, cx),
            State::InitSent(state) => state.handle_auth(job, result, core, cx),
            State::InitOpening(state) => state.handle_auth(job, result, core, cx),
            State::ResumeSent(_)
            | State::IntermediateSent(_)
            | State::AuthSent(_)
            | State::InitAnswered(_)
            | State::Established(_)
            | State::Rekeyed(_)
            | State::Deleting(_)
            | State::Closed(_) => Ok(Next::Stay),
        };
        self.apply(result, cx);
        self.core.peer_says = None;
        self.pump(cx);
    }

    // ---- Time ----

    pub(crate) fn handle_timeout(&mut self, cx: &mut Context<'_>) {
        let result = self.step_timeout(cx);
        self.apply(result, cx);
        self.pump(cx);
    }

    fn step_timeout(&mut self, cx: &mut Context<'_>) -> StepResult {
        let core = &mut self.core;
        core.expire_fragments(cx.now);
        match &mut self.state {
            State::InitSent(sent) => sent.handle_timeout(core, cx),
            State::ResumeSent(sent) => sent.handle_timeout(core, cx),
            State::IntermediateSent(_) => retransmit(core, ExchangeType::IKE_INTERMEDIATE, cx),
            State::AuthSent(_) => retransmit(core, ExchangeType::IKE_AUTH, cx),
            State::InitOpening(state) => expire(state.deadline(), core, cx),
            State::InitAnswered(state) => expire(state.deadline(), core, cx),
            State::AuthChecking(state) => expire(state.deadline(), core, cx),
            State::Established(_) if core.has_nowhere_to_redial_from(cx) => {
                let (remote, problem) = (core.path.remote, TcpProblem::Unreachable);
                Ok(Next::End(FailureReason::TcpFailed { remote, problem }))
            }
            State::Established(established) => {
                if core.reconnect(cx) {
                    established.handle_move(core, cx);
                    established.prove_connection(core);
                }
                established.handle_timeout(core, cx);
                let before = core.requests.transmissions();
                let given_up = core.retransmit(established.own_exchange(), cx);
                if core.requests.transmissions() > before {
                    core.leave_silent_connection(cx);
                }
                mobike::handle_silence(core, cx);
                match given_up {
                    None => Ok(Next::Stay),
                    Some(reason) => Ok(Next::End(reason)),
                }
            }
            State::Rekeyed(rekeyed) if cx.now >= rekeyed.until => {
                core.requests.abandon();
                Ok(Next::Delete(FailureReason::Replaced))
            }
            State::Deleting(deleting) => match core.retransmit(deleting.exchange, cx) {
                None => Ok(Next::Stay),
                Some(reason) => Ok(Next::End(reason)),
            },
            State::AuthSigning(_) | State::AuthVerifying(_) => {
                expire(core.heard + JOB_WAIT, core, cx)
            }
            State::Rekeyed(_) => {
                // Whether the peer hears of an address on this one, too, or not: it is to delete it.
                let _ = core.retransmit(ExchangeType::INFORMATIONAL, cx);
                Ok(Next::Stay)
            }
            State::Closed(_) => Ok(Next::Stay),
        }
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let state = match &self.state {
            State::InitSent(sent) => sent.poll_timeout(&self.core),
            State::InitOpening(state) => Some(state.deadline()),
            State::InitAnswered(state) => Some(state.deadline()),
            State::AuthChecking(state) => Some(state.deadline()),
            State::Established(established) => established.poll_timeout(&self.core),
            State::Rekeyed(rekeyed) => Some(rekeyed.until),
            State::Closed(closed) => return Some(closed.until),
            State::AuthSigning(_) | State::AuthVerifying(_) => Some(self.core.heard + JOB_WAIT),
            State::ResumeSent(_)
            | State::IntermediateSent(_)
            | State::AuthSent(_)
            | State::Deleting(_) => None,
        };
        [state, self.core.poll_timeout()].into_iter().flatten().min()
    }
}

/// Initiator: what an IKE SA begins with, and what it is to ask for.
fn begin(
    connection: Arc<Connection>,
    path: Path,
    started: Instant,
    may_prefer_udp: bool,
    cx: &mut Context<'_>,
) -> Core {
    let mut core = Core::new(Role::Initiator, path, cx);
    core.started = started;
    // MOBIKE goes with port 4500, too.
    if may_prefer_udp && !path.is_tcp() {
        core.udp_agreed = udp_encap::is_preferred(&connection);
        core.mobike = mobike::offer_for(&connection, Role::Initiator);
    }
    core.connection = Some(connection);
    core
}

fn retransmit(core: &mut Core, exchange: ExchangeType, cx: &mut Context<'_>) -> StepResult {
    match core.retransmit(exchange, cx) {
        None => Ok(Next::Stay),
        Some(reason) => Err(reason),
    }
}

/// CHECKLIST C09: a half-open IKE SA does not stay.
pub(crate) fn expire(deadline: Instant, core: &Core, cx: &Context<'_>) -> StepResult {
    if cx.now < deadline {
        return Ok(Next::Stay);
    }
    Err(FailureReason::HandshakeTimeout { waited: core.elapsed(cx.now) })
}

/// Answers on an IKE SA that is being deleted or was replaced (RFC 7296 §2.25).
fn answer_farewell(
    exchange: ExchangeType,
    received: &Received<'_>,
    core: &mut Core,
    cx: &mut Context<'_>,
) -> StepResult {
    let mut chain = ChainBuilder::new();
    if received.deletes.contains(&Delete::IkeSa) {
        // CHECKLIST K13: answered as usual, our own request forgotten.
        core.respond(exchange, chain, cx)?;
        return Ok(Next::End(FailureReason::ClosedByPeer));
    }
    if received.form != Form::Informational || !received.deletes.is_empty() {
        chain.put(&Payload::Notify(Notify::new(NotifyType::TEMPORARY_FAILURE, &[])));
    } else if core.mobike.is_some() {
        mobike::echo_cookie(received, &mut chain);
    }
    core.respond(exchange, chain, cx)?;
    Ok(Next::Stay)
}

impl Established {
    fn handle_request(
        &mut self,
        received: &Received<'_>,
        core: &mut Core,
        cx: &mut Context<'_>,
    ) -> StepResult {
        self.confirm_all();
        self.take_over(cx);
        match received.form {
            Form::CreateChild => create_child::answer(received, self, core, cx),
            Form::RekeyIke => rekey_ike::answer(received, self, core, cx),
            Form::FollowupKe => followup::answer(received, self, core, cx),
            Form::Informational
            | Form::Resume
            | Form::InitRequest
            | Form::InitResponse
            | Form::Intermediate
            | Form::AuthRequest
            | Form::AuthRequestWithoutChild
            | Form::AuthResponse
            | Form::AuthResponseWithoutChild
            | Form::AuthRound
            | Form::Refusal => informational::answer(received, self, core, cx),
        }
    }

    fn handle_response(
        &mut self,
        message: &Message,
        received: &Received<'_>,
        core: &mut Core,
        cx: &mut Context<'_>,
    ) -> StepResult {
        if message.header.exchange != self.own_exchange() {
            return Err(FailureReason::PeerMisbehaved("response of another exchange"));
        }
        // RFC 7296 §2.21.3: fatal on both sides; the peer has ended the IKE SA already.
        if received.has_notify(NotifyType::INVALID_SYNTAX) {
            let (exchange, notify) = (message.header.exchange, NotifyType::INVALID_SYNTAX);
            return Ok(Next::End(FailureReason::PeerError { exchange, notify }));
        }
        if !received.has_notify(NotifyType::TEMPORARY_FAILURE) {
            self.is_not_busy();
        }
        match self.own.take() {
            Some(Own::Child(sent)) => {
                let result = sent.handle_response(received, self, core, cx);
                if let Some(connection) = core.connection_name().cloned() {
                    cx.out.notice(Notice::ChildSettled { connection });
                }
                result
            }
            Some(Own::RekeyIke(sent)) => sent.handle_response(received, self, core, cx),
            Some(Own::Followup(sent)) => sent.handle_response(received, self, core, cx),
            Some(Own::Delete(sent)) => {
                sent.handle_response(received, self, core, cx);
                Ok(Next::Stay)
            }
            Some(Own::Ticket) => {
                resumption::keep(Granted::read(received), self, core, cx);
                Ok(Next::Stay)
            }
            Some(Own::Mobike(sent)) => sent.handle_response(received, self, core, cx),
            Some(Own::Liveness | Own::Redirect(_)) | None => Ok(Next::Stay),
        }
    }
}
