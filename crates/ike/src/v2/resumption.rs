//! Session resumption (RFC 5723): an IKE SA whose connection was interrupted is made anew without a
//! key exchange and without the long-term secret, by a ticket that the gateway gave.
//!
//! Whoever initiates the IKE SA asks for a ticket in IKE_AUTH, and by INFORMATIONAL after each
//! rekeying, as a new IKE SA voids the ticket of the old one. A ticket is presented when the peer has
//! fallen silent, until something answers; if the gateway refuses it or says nothing a full handshake
//! follows. It is forgotten with the IKE SA, however that ends, but by silence.
//!
//! There is no forward secrecy from the old IKE SA to the new one, and who gets the gateway's key
//! reads what was resumed: so it is off unless both sides are configured for it.
//!
//! What more than keys made the old IKE SA what it was goes along: a post-quantum key (RFC 8784) is in
//! the old SK_d and not stirred in again, and all rounds of authentication (RFC 4739) are done.
//!
//! Declined: tickets for IKE SAs with a side that proves nothing (RFC 7619), as there is no identity to
//! find again; tickets by reference; and a ticket in the CREATE_CHILD_SA exchange: that is answered
//! with TICKET_ACK (§4.1 allows it). The client keeps tickets in memory only.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use adit_crypto::Secret;
use adit_db::{Connection, Identity, IkeSaId};
use adit_wire::iana::{ExchangeType, NotifyType, PayloadType, ProtocolId};
use adit_wire::ikev2::{
    ChainBuilder, Header, MessageBuilder, Notify, Payload, Proposal, Sa, Transform,
};
use adit_wire::{Reader, WireError};

use crate::command::Path;
use crate::config::Retransmission;
use crate::context::{Context, Notice};
use crate::event::Step;
use crate::failure::FailureReason;
use crate::proposal::{Choice, IkeSuite, Purpose, choose_ike};
use crate::ticket::{LIFETIME_MAX, TICKET_OCTETS_MAX, TicketId, TicketState, pad_digest};
use crate::v2::childless;
use crate::v2::established::{Established, Own};
use crate::v2::exchange::auth::{AuthSigning, InitAnswered};
use crate::v2::exchange::init::{self, Wanted};
use crate::v2::handshake::{Handshake, Resumed, id_body};
use crate::v2::ike_sa::core::Core;
use crate::v2::ike_sa::{Next, State, StepResult};
use crate::v2::redirect;
use crate::v2::rules::{Form, Received};
use crate::v2::tcp_encap;

/// What a client keeps of an IKE SA, to resume it (RFC 5723 §4.2).
#[derive(Debug)]
pub(crate) struct ClientTicket {
    octets: Vec<u8>,
    expires: Instant,
    /// The IKE SA that it is for.
    pub(crate) ike: IkeSaId,
    id: TicketId,
    suite: Vec<Transform>,
    sk_d: Secret,
    /// Whether a post-quantum key is in SK_d (RFC 8784).
    ppk: bool,
    /// When the gateway's authentication is good no more, as we see it (RFC 4478).
    authenticated_until: Option<Instant>,
    local_id: Identity,
    remote_id: Identity,
}

impl ClientTicket {
    //= https://www.rfc-editor.org/rfc/rfc5723#section-4.3.1
    //# A client MUST NOT present a ticket when it knows that the ticket's
    //# lifetime has expired.
    pub(crate) fn is_good(&self, now: Instant) -> bool {
        now < self.expires
    }

    /// The suite, if a connection and a local address still fit it.
    fn suite_for(&self, connection: &Connection, local: IpAddr) -> Option<Choice<IkeSuite>> {
        let fits = connection.pad.local_id(local) == self.local_id
            && connection.pad.remote_id.matches(&self.remote_id)
            && (self.ppk || !connection.pad.requires_ppk());
        choice(&self.suite, connection).filter(|_| fits)
    }
}

/// The choice of an earlier negotiation, if a connection would make it.
pub(crate) fn choice(suite: &[Transform], connection: &Connection) -> Option<Choice<IkeSuite>> {
    let transforms = suite.to_vec();
    let proposal = Proposal { number: 1, protocol: ProtocolId::IKE, spi: Vec::new(), transforms };
    let purpose = Purpose::Ike { additional: true };
    choose_ike(purpose, &connection.proposals, &Sa { proposals: vec![proposal] }).ok()
}

/// Client: IKE_SESSION_RESUME request sent, response awaited (RFC 5723 §4.3.2).
#[derive(Debug)]
pub(crate) struct ResumeSent {
    wanted: Wanted,
    /// Gone when it is used up, or given back.
    ticket: Option<Box<ClientTicket>>,
    choice: Choice<IkeSuite>,
    nonce: Vec<u8>,
    cookie: Option<Vec<u8>>,
    request: Vec<u8>,
}

/// Transmissions of the request. After that a full handshake is tried, which has more.
const TRANSMISSIONS: u8 = 3;

impl ResumeSent {
    /// Presents a ticket.
    ///
    /// # Errors
    ///
    /// [`FailureReason::NotResumed`] if the connection does not fit it any more: nothing was sent.
    pub(crate) fn start(
        wanted: Wanted,
        ticket: Box<ClientTicket>,
        core: &mut Core,
        cx: &mut Context<'_>,
    ) -> Result<Self, FailureReason> {
        let connection = core.connection.clone().ok_or(FailureReason::NoSuch("connection"))?;
        let choice =
            ticket.suite_for(&connection, core.path.local.ip()).ok_or(FailureReason::NotResumed)?;
        core.spi_i = cx.ike_spi();
        let (nonce, request) = (cx.nonce(), Vec::new());
        let ticket = Some(ticket);
        let mut sent = Self { wanted, ticket, choice, nonce, cookie: None, request };
        core.progress(Step::Resuming { path: core.path }, cx);
        sent.send(core, cx)?;
        Ok(sent)
    }

    /// `[N(COOKIE),] Ni, N(TICKET_OPAQUE) [,N+]`
    fn send(&mut self, core: &mut Core, cx: &mut Context<'_>) -> Result<(), FailureReason> {
        let header = core.header(ExchangeType::IKE_SESSION_RESUME, false, 0);
        let mut message = MessageBuilder::new(header);
        if let Some(cookie) = &self.cookie {
            message.put(&Payload::Notify(Notify::new(NotifyType::COOKIE, cookie)));
        }
        message.push(PayloadType::NONCE, |w| w.bytes(&self.nonce));
        let ticket = self.ticket.as_ref().ok_or(FailureReason::Internal("no ticket"))?;
        let ticket = Notify::new(NotifyType::TICKET_OPAQUE, &ticket.octets);
        message.put(&Payload::Notify(ticket));
        init::put_announcements(&mut message, core, false, cx);
        redirect::put_support(&mut message, None, core);
        self.request = message.finish().map_err(|_| FailureReason::Internal("long message"))?;
        cx.transmit(core.path, std::slice::from_ref(&self.request));
        let schedule = Retransmission { transmissions: TRANSMISSIONS, ..cx.config.connecting };
        let schedule = tcp_encap::schedule(core, ExchangeType::IKE_SESSION_RESUME, schedule);
        core.requests.sent(vec![self.request.clone()], schedule, cx.now, cx.rng);
        Ok(())
    }

    /// Takes one response. Nobody has authenticated it: what does not fit is ignored, and a refusal
    /// costs no more than a full handshake.
    pub(crate) fn handle_response(
        &mut self,
        path: Path,
        octets: &[u8],
        header: &Header,
        core: &mut Core,
        cx: &mut Context<'_>,
    ) -> StepResult {
        let is_awaited = header.exchange == ExchangeType::IKE_SESSION_RESUME
            && core.requests.expects(header.message_id);
        let payloads = octets.get(Header::LEN..).unwrap_or_default();
        let Ok(received) = Received::read(header, header.next_payload, payloads) else {
            return Ok(Next::Stay);
        };
        if !is_awaited {
            return Ok(Next::Stay);
        }
        if received.form == Form::Refusal {
            return self.handle_refusal(&received, core, cx);
        }
        if header.spi_r.is_zero() {
            return Ok(Next::Stay);
        }
        self.accept(path, octets, header, &received, core, cx)
    }

    fn handle_refusal(
        &mut self,
        received: &Received<'_>,
        core: &mut Core,
        cx: &mut Context<'_>,
    ) -> StepResult {
        if let Some(to) = redirect::from_init(core, received, &self.nonce) {
            return Err(FailureReason::Redirected { to });
        }
        let cookie = received.notify(NotifyType::COOKIE).map(|notify| notify.data);
        match cookie.filter(|cookie| init::is_legal_cookie(cookie)) {
            // Once: who asks again gets a full handshake.
            Some(cookie) if self.cookie.is_none() => {
                self.cookie = Some(cookie.to_vec());
                core.progress(Step::CookieAsked, cx);
                self.send(core, cx)?;
                Ok(Next::Stay)
            }
            // RFC 5723 §4.3.2: "the initiator should re-initiate a regular IKE exchange".
            _ => Err(FailureReason::NotResumed),
        }
    }

    fn accept(
        &mut self,
        path: Path,
        octets: &[u8],
        header: &Header,
        received: &Received<'_>,
        core: &mut Core,
        cx: &mut Context<'_>,
    ) -> StepResult {
        let Some(nonce) = received.nonce else { return Ok(Next::Stay) };
        let childless = childless::agree(core, received)?;
        let ticket = self.ticket.take().ok_or(FailureReason::Internal("no ticket"))?;
        init::take_announcements(path, header, received, core, cx);
        let resumed = Resumed {
            id: ticket.id,
            id_i: id_body(&ticket.local_id),
            id_r: id_body(&ticket.remote_id),
            ppk: ticket.ppk,
            authenticated_until: ticket.authenticated_until,
        };
        let nonces = (std::mem::take(&mut self.nonce), nonce.as_bytes().to_vec());
        let messages = (std::mem::take(&mut self.request), octets.to_vec());
        let old = (self.choice.clone(), &ticket.sk_d);
        let mut handshake = Handshake::resume(old, nonces, messages, resumed, core, cx)?;
        handshake.childless = childless;
        AuthSigning::start(Box::new(handshake), self.wanted.clone(), core, cx)
    }

    /// What is due: retransmission, or the full handshake. If that is not answered either, the gateway
    /// has seen nothing of the ticket, and it is for a later attempt.
    pub(crate) fn handle_timeout(&mut self, core: &mut Core, cx: &mut Context<'_>) -> StepResult {
        if core.retransmit(ExchangeType::IKE_SESSION_RESUME, cx).is_none() {
            return Ok(Next::Stay);
        }
        if let (Some(connection), Some(ticket)) = (core.connection_name(), self.ticket.take()) {
            cx.out.notice(Notice::Ticket { connection: connection.clone(), ticket });
        }
        Err(FailureReason::NotResumed)
    }
}

/// A request that a gateway has decided to accept.
pub(crate) struct Resumable<'a> {
    pub(crate) path: Path,
    pub(crate) header: &'a Header,
    pub(crate) octets: &'a [u8],
    pub(crate) received: &'a Received<'a>,
    pub(crate) ticket: TicketState,
    pub(crate) choice: Choice<IkeSuite>,
    pub(crate) connection: Arc<Connection>,
}

/// Gateway: answers an acceptable request; the state that waits for IKE_AUTH.
pub(crate) fn answer(
    request: Resumable<'_>,
    core: &mut Core,
    cx: &mut Context<'_>,
) -> Result<State, FailureReason> {
    let received = request.received;
    let nonce_i = received.nonce.map(|nonce| nonce.as_bytes().to_vec()).unwrap_or_default();
    let (choice, connection) = (&request.choice, &request.connection);
    init::begin_answer(request.path, request.header, received, (choice, connection), core, cx);
    let nonce_r = cx.nonce();
    let mut message = MessageBuilder::new(core.header(ExchangeType::IKE_SESSION_RESUME, true, 0));
    message.push(PayloadType::NONCE, |w| w.bytes(&nonce_r));
    init::put_announcements(&mut message, core, false, cx);
    let room = request.octets.len().saturating_sub(message.octets_len());
    let childless = childless::is_offered(&request.connection, room);
    if childless {
        childless::put_support(&mut message);
    }
    let response = message.finish().map_err(|_| FailureReason::Internal("long message"))?;
    init::send_answer(request.path, request.octets, &response, core, cx);
    let TicketState { id, sk_d, id_i, id_r, ppk, authenticated_until_s, .. } = request.ticket;
    let office = cx.out.tickets.as_ref().zip(authenticated_until_s);
    let authenticated_until = office.and_then(|(office, at_s)| office.instant(at_s));
    let resumed = Resumed { id, id_i, id_r, ppk, authenticated_until };
    let messages = (request.octets.to_vec(), response);
    let old = (request.choice, &sk_d);
    let mut handshake = Handshake::resume(old, (nonce_i, nonce_r), messages, resumed, core, cx)?;
    handshake.childless = childless;
    let deadline = cx.now + cx.config.half_open_timeout;
    Ok(State::InitAnswered(InitAnswered::new(Box::new(handshake), deadline)))
}

/// Client: asks for a ticket in IKE_AUTH.
pub(crate) fn ask(core: &Core, chain: &mut ChainBuilder) {
    if is_on(core) {
        chain.put(&Payload::Notify(Notify::new(NotifyType::TICKET_REQUEST, &[])));
    }
}

/// Client: asks for a ticket on an IKE SA that is up.
pub(crate) fn start(core: &mut Core, cx: &mut Context<'_>) -> Result<Option<Own>, FailureReason> {
    if !is_on(core) {
        return Ok(None);
    }
    let mut chain = ChainBuilder::new();
    ask(core, &mut chain);
    core.request(ExchangeType::INFORMATIONAL, chain, cx.config.established, cx)?;
    Ok(Some(Own::Ticket))
}

fn is_on(core: &Core) -> bool {
    core.connection.as_ref().is_some_and(|connection| {
        let pad = &connection.pad;
        let has_anonymous = pad.local_auth.is_null() || pad.remote_auth.is_null();
        connection.resumption && !has_anonymous
    })
}

/// Gateway: answers a request for a ticket, if the message is one.
//= https://www.rfc-editor.org/rfc/rfc5723#section-4.1
//# When an IKEv2 responder receives a request for a ticket using the
//# N(TICKET_REQUEST) payload, it MUST perform one of the following
//# operations if it supports the extension defined in this document
pub(crate) fn answer_request(
    is_asked: bool,
    established: &Established,
    core: &mut Core,
    chain: &mut ChainBuilder,
    cx: &mut Context<'_>,
) {
    if !is_asked || !is_on(core) {
        return;
    }
    match issue(established, core, cx) {
        Some((lifetime_s, ticket)) => {
            let data = [&lifetime_s.to_be_bytes()[..], &ticket].concat();
            chain.put(&Payload::Notify(Notify::new(NotifyType::TICKET_LT_OPAQUE, &data)));
            core.has_ticket = true;
        }
        None => chain.put(&Payload::Notify(Notify::new(NotifyType::TICKET_NACK, &[]))),
    }
}

/// Gateway: in CREATE_CHILD_SA a ticket is promised only; the client asks on the new IKE SA.
pub(crate) fn acknowledge(received: &Received<'_>, core: &Core, chain: &mut ChainBuilder) {
    if received.has_notify(NotifyType::TICKET_REQUEST) && is_on(core) {
        chain.put(&Payload::Notify(Notify::new(NotifyType::TICKET_ACK, &[])));
    }
}

/// A ticket with its life in seconds: as long as the IKE SA would live (RFC 5723 §6.2).
fn issue(established: &Established, core: &Core, cx: &mut Context<'_>) -> Option<(u32, Vec<u8>)> {
    let (local, remote) = (core.local_id.as_ref()?, core.remote_id.as_ref()?);
    let connection = core.connection.as_ref()?;
    let office = cx.out.tickets.as_ref()?;
    let reauth = established.reauth.as_ref();
    let authenticated_until = reauth.and_then(|reauth| reauth.proven_until);
    let state = TicketState {
        id: (core.spi_i, core.spi_r),
        connection: connection.name.clone(),
        pad: pad_digest(&connection.pad),
        suite: core.suite.to_vec(),
        // Sealed and erased at once.
        sk_d: established.secrets.sk_d.duplicate(),
        id_i: id_body(remote),
        id_r: id_body(local),
        ppk: established.secrets.ppk,
        authenticated_until_s: authenticated_until.map(|at| office.seconds(at)),
    };
    // Nor is it good for longer than the authentication that it stands for (RFC 4478).
    let ends = [established.over_at, reauth.and_then(|reauth| reauth.ends_at())]
        .into_iter()
        .flatten()
        .min();
    let left = ends.map(|at| at.saturating_duration_since(cx.now));
    let left = left.unwrap_or(LIFETIME_MAX).min(LIFETIME_MAX);
    let ticket = office.issue(&state, left, cx.now, cx.rng)?;
    Some((u32::try_from(left.as_secs()).ok()?, ticket))
}

/// What a message says to who has asked for a ticket.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Granted {
    /// A ticket, and how long it is good.
    Ticket { lifetime: Duration, octets: Vec<u8> },
    /// Later, on request.
    Later,
    /// Nothing.
    None,
}

impl Granted {
    pub(crate) fn read(received: &Received<'_>) -> Self {
        let ticket = received.notify(NotifyType::TICKET_LT_OPAQUE);
        match ticket.map(|notify| read_ticket(notify.data)) {
            Some(Ok((lifetime_s, octets))) if octets.len() <= TICKET_OCTETS_MAX => {
                let lifetime = Duration::from_secs(lifetime_s.into()).min(KEPT_MAX);
                Self::Ticket { lifetime, octets: octets.to_vec() }
            }
            Some(_) => Self::None,
            None if received.has_notify(NotifyType::TICKET_ACK) => Self::Later,
            None => Self::None,
        }
    }
}

/// However long a gateway says that its ticket is good.
const KEPT_MAX: Duration = Duration::from_hours(24);

fn read_ticket(data: &[u8]) -> Result<(u32, &[u8]), WireError> {
    let mut r = Reader(data);
    Ok((r.u32()?, r.rest()))
}

/// Client: keeps a ticket that has come with an authentic message.
pub(crate) fn keep(
    granted: Granted,
    established: &mut Established,
    core: &mut Core,
    cx: &mut Context<'_>,
) {
    let Granted::Ticket { lifetime, octets } = granted else { return };
    let (Some(local), Some(remote)) = (core.local_id.clone(), core.remote_id.clone()) else {
        return;
    };
    if !is_on(core) {
        return;
    }
    core.terms.is_ticket_client = true;
    core.has_ticket = true;
    let ticket = Box::new(ClientTicket {
        octets,
        expires: cx.now + lifetime,
        ike: core.id,
        id: (core.spi_i, core.spi_r),
        suite: core.suite.to_vec(),
        // The IKE SA goes on with it; the ticket is for when that has ended.
        sk_d: established.secrets.sk_d.duplicate(),
        ppk: established.secrets.ppk,
        authenticated_until: established.reauth.as_ref().and_then(|reauth| reauth.proven_until),
        local_id: local,
        remote_id: remote,
    });
    if let Some(connection) = core.connection_name().cloned() {
        cx.out.notice(Notice::Ticket { connection, ticket });
    }
}
