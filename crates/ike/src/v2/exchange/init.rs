//! IKE_SA_INIT (RFC 7296 §1.2, §2.6): both sides.
//!
//! Nobody is authenticated here. The initiator remembers what an error response says and goes on
//! waiting for a better one (§2.21.1); the responder keeps no state for what it refuses.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use adit_crypto::{KeyExchange, Secret};
use adit_db::{ChildName, Connection, Encap};
use adit_wire::iana::{ExchangeType, KeyExchangeId, NotifyType, PayloadType};
use adit_wire::ikev2::{Header, IkeSpi, Ke, MessageBuilder, Notify, Payload, Sa, VendorId};
use adit_wire::ip::FlowKey;

use crate::command::{AuthResult, JobId, Path};
use crate::context::Context;
use crate::event::{PeerSoftware, Step};
use crate::failure::{By, FailureReason};
use crate::keymat::Role;
use crate::nat::{our_hashes, verdict};
use crate::proposal::{Choice, IkeSuite, Offer, Purpose, choose_ike};
use crate::v2::childless;
use crate::v2::handshake::{Handshake, Init, software};
use crate::v2::ike_sa::core::Core;
use crate::v2::ike_sa::{JOB_WAIT, Next, State, StepResult, expire};
use crate::v2::rules::{Form, Received};
use crate::v2::signature::Announced;
use crate::v2::static_kem::{Awaiting, Encapsulated, Share};
use crate::v2::{
    gateway_notice, notification_data, ppk, redirect, rounds, signature, static_kem, tcp_encap,
    udp_encap,
};

use super::auth::AuthSigning;
use super::init_answer::{InitOpening, compose, conclude};
use super::intermediate::IntermediateSent;

/// The child that the IKE_AUTH exchange is to set up, and the packet that asked for it.
pub(crate) type Wanted = (ChildName, Option<FlowKey>);

/// Initiator: IKE_SA_INIT request sent, response awaited (RFC 7296 §1.2).
#[derive(Debug)]
pub(crate) struct InitSent {
    wanted: Wanted,
    /// The gateway that has sent us here (RFC 5685).
    redirected_from: Option<IpAddr>,
    offer: Offer,
    key_share: Option<Share>,
    nonce: Vec<u8>,
    cookie: Option<Vec<u8>>,
    restarts: u8,
    /// The octets of the last request: AUTH signs them.
    request: Vec<u8>,
    complaint: Option<Complaint>,
    /// The response has come, and its ciphertext is being opened.
    awaiting: Option<Awaiting>,
}

/// An error that nobody has authenticated.
#[derive(Debug)]
struct Complaint {
    reason: FailureReason,
    /// When it came.
    at: Instant,
    /// When we stop hoping for something better.
    until: Option<Instant>,
}

/// Restarts with a cookie or another key exchange method, together (CHECKLIST E06).
pub(crate) const RESTARTS_MAX: u8 = 5;

/// How long a refusal waits for a better answer before it is believed (RFC 7296 §2.21.1).
const REFUSAL_GRACE: Duration = Duration::from_secs(2);

/// Longest cookie (RFC 7296 §2.6).
const COOKIE_OCTETS_MAX: usize = 64;

impl InitSent {
    /// Sends the first request. `core` has a connection and a path.
    pub(crate) fn start(
        wanted: Wanted,
        redirected_from: Option<IpAddr>,
        core: &mut Core,
        cx: &mut Context<'_>,
    ) -> Result<Self, FailureReason> {
        let connection = core.connection.as_ref().ok_or(FailureReason::NoSuch("connection"))?;
        let offer = Offer::new(Purpose::Ike { additional: true }, &connection.proposals, &[]);
        let share = Share::first(&offer, connection, cx)?;
        core.spi_i = cx.ike_spi();
        let mut sent = Self {
            wanted,
            redirected_from,
            offer,
            key_share: Some(share),
            nonce: cx.nonce(),
            cookie: None,
            restarts: 0,
            request: Vec::new(),
            complaint: None,
            awaiting: None,
        };
        core.progress(Step::Reaching { path: core.path }, cx);
        sent.send(core, cx)?;
        Ok(sent)
    }

    fn send(&mut self, core: &mut Core, cx: &mut Context<'_>) -> Result<(), FailureReason> {
        let share = self.key_share.as_ref().ok_or(FailureReason::Internal("no key share"))?;
        let header = core.header(ExchangeType::IKE_SA_INIT, false, 0);
        let mut message = MessageBuilder::new(header);
        //= https://www.rfc-editor.org/rfc/rfc7296#section-2.6
        //# the initiator MUST repeat the IKE_SA_INIT request, and include the Notify payload
        //# containing the received data as the first payload, and all other payloads unchanged.
        if let Some(cookie) = &self.cookie {
            message.put(&Payload::Notify(Notify::new(NotifyType::COOKIE, cookie)));
        }
        message.put(&Payload::Sa(self.offer.sa()));
        message.put(&Payload::Ke(Ke { method: share.id(), data: share.public() }));
        message.push(PayloadType::NONCE, |w| w.bytes(&self.nonce));
        put_announcements(&mut message, core, self.offer.has_additional(), cx);
        redirect::put_support(&mut message, self.redirected_from, core);
        ppk::put_offer(core, &mut message);
        static_kem::put_names(share, core, &mut message);
        if signature::concerns(core) {
            signature::put_hashes(&mut message);
        }
        self.request = message.finish().map_err(|_| FailureReason::Internal("long message"))?;
        cx.transmit(core.path, std::slice::from_ref(&self.request));
        let schedule = tcp_encap::schedule(core, ExchangeType::IKE_SA_INIT, cx.config.connecting);
        core.requests.sent(vec![self.request.clone()], schedule, cx.now, cx.rng);
        Ok(())
    }

    /// Whether the peer has shown nothing yet: giving the attempt up loses nothing.
    pub(crate) fn is_unanswered(&self) -> bool {
        self.restarts == 0 && self.complaint.is_none() && self.awaiting.is_none()
    }

    /// Takes one IKE_SA_INIT response. Nobody has authenticated it yet, so an error leaves
    /// `self` as it was and the retransmission timer running (RFC 7296 §2.21.1).
    pub(crate) fn handle_response(
        &mut self,
        path: Path,
        octets: &[u8],
        header: &Header,
        core: &mut Core,
        cx: &mut Context<'_>,
    ) -> StepResult {
        if header.exchange != ExchangeType::IKE_SA_INIT || !core.requests.expects(header.message_id)
        {
            return Ok(Next::Stay);
        }
        let payloads = octets.get(Header::LEN..).unwrap_or_default();
        let Ok(received) = Received::read(header, header.next_payload, payloads) else {
            self.remember(FailureReason::PeerMisbehaved("malformed IKE_SA_INIT"), core, cx);
            return Ok(Next::Stay);
        };
        if received.form == Form::Refusal {
            return self.handle_refusal(&received, core, cx);
        }
        let checked = self.check(header, &received);
        match checked.and_then(|choice| agree(choice, core, &received)) {
            Ok(agreed) => self.accept(path, octets, header, &received, agreed, core, cx),
            Err(reason) => {
                self.remember(reason, core, cx);
                Ok(Next::Stay)
            }
        }
    }

    fn handle_refusal(
        &mut self,
        received: &Received<'_>,
        core: &mut Core,
        cx: &mut Context<'_>,
    ) -> StepResult {
        if received.error().is_none() && received.has_notify(NotifyType::REDIRECT) {
            return match redirect::from_init(core, received, &self.nonce) {
                Some(to) => Err(FailureReason::Redirected { to }),
                None => Ok(Next::Stay),
            };
        }
        let cookie = received.notify(NotifyType::COOKIE).map(|notify| notify.data);
        if let Some(cookie) = cookie.filter(|_| received.error().is_none()) {
            return self.restart_with_cookie(cookie, core, cx);
        }
        if let Some(wanted) = received.wanted_key_exchange() {
            return self.restart_with_key_exchange(wanted, core, cx);
        }
        let reason = match received.error().map(|notify| notify.kind) {
            Some(NotifyType::NO_PROPOSAL_CHOSEN) => FailureReason::NoCommonIkeSuite {
                by: By::Peer,
                ours: proposals(core),
                theirs: Vec::new(),
            },
            Some(notify) => {
                FailureReason::PeerError { exchange: ExchangeType::IKE_SA_INIT, notify }
            }
            None => FailureReason::PeerMisbehaved("empty IKE_SA_INIT response"),
        };
        self.remember(reason, core, cx);
        Ok(Next::Stay)
    }

    /// RFC 7296 §2.6: the same request again, the cookie in front.
    fn restart_with_cookie(
        &mut self,
        cookie: &[u8],
        core: &mut Core,
        cx: &mut Context<'_>,
    ) -> StepResult {
        let legal = is_legal_cookie(cookie);
        let repeated = self.cookie.as_deref() == Some(cookie);
        if !legal || repeated || !self.spend_restart(core, cx) {
            return Ok(Next::Stay);
        }
        self.cookie = Some(cookie.to_vec());
        core.progress(Step::CookieAsked, cx);
        self.send(core, cx)?;
        Ok(Next::Stay)
    }

    /// RFC 7296 §1.2: the same offer again with a key share of the wanted method. A cookie
    /// received earlier stays in the new request (§2.6.1).
    fn restart_with_key_exchange(
        &mut self,
        wanted: KeyExchangeId,
        core: &mut Core,
        cx: &mut Context<'_>,
    ) -> StepResult {
        let Some(method) = self.offer.key_exchange(wanted) else {
            // CHECKLIST E05.
            let ours = proposals(core);
            self.remember(FailureReason::KeyExchangeNotOffered { wanted, ours }, core, cx);
            return Ok(Next::Stay);
        };
        let repeated = self.key_share.as_ref().is_some_and(|share| share.id() == method.id());
        if repeated || !self.spend_restart(core, cx) {
            return Ok(Next::Stay);
        }
        self.key_share = Some(Share::Ephemeral(cx.key_share(method)));
        core.progress(Step::KeyExchangeAsked { wanted }, cx);
        self.send(core, cx)?;
        Ok(Next::Stay)
    }

    fn spend_restart(&mut self, core: &Core, cx: &mut Context<'_>) -> bool {
        if self.restarts >= RESTARTS_MAX {
            self.remember(FailureReason::TooManyRestarts { limit: RESTARTS_MAX }, core, cx);
            return false;
        }
        self.restarts += 1;
        true
    }

    /// Keeps an unauthenticated error as the reason to report. Refusals that will not change by
    /// waiting are believed after a grace.
    fn remember(&mut self, reason: FailureReason, core: &Core, cx: &mut Context<'_>) {
        if self.complaint.as_ref().is_some_and(|complaint| complaint.reason == reason) {
            return;
        }
        let is_final = matches!(
            reason,
            FailureReason::NoCommonIkeSuite { .. }
                | FailureReason::KeyExchangeNotOffered { .. }
                | FailureReason::TooManyRestarts { .. }
                | FailureReason::NoPpk { .. }
                | FailureReason::NotChildless { .. }
                | FailureReason::NoStaticKem(_)
        );
        core.progress(Step::ErrorReceived { reason: reason.clone() }, cx);
        //= https://www.rfc-editor.org/rfc/rfc9329#section-6.4
        //# in the case of TCP encapsulation, an Initiator SHOULD NOT wait for additional messages
        //# in case it receives an error notification from the Responder in the IKE_SA_INIT exchange.
        let grace = if core.path.is_tcp() { Duration::ZERO } else { REFUSAL_GRACE };
        let until = (is_final || core.path.is_tcp()).then(|| cx.now + grace);
        self.complaint = Some(Complaint { reason, at: cx.now, until });
    }

    /// Checks everything about an accepting response; changes nothing.
    fn check(
        &self,
        header: &Header,
        received: &Received<'_>,
    ) -> Result<Choice<IkeSuite>, FailureReason> {
        // CHECKLIST A13.
        if header.spi_r.is_zero() {
            return Err(FailureReason::PeerMisbehaved("responder's SPI is zero"));
        }
        let sa = received.sa.as_ref().ok_or(FailureReason::PeerMisbehaved("no SA"))?;
        let choice = self
            .offer
            .accept_ike(sa)
            .map_err(|_| FailureReason::PeerMisbehaved("answer is not what was offered"))?;
        let method = choice.suite.ke_id();
        let sent = self.key_share.as_ref().map(Share::id);
        if received.ke.map(|ke| ke.method) != Some(method) || sent != Some(method) {
            return Err(FailureReason::PeerMisbehaved("key exchange does not fit the answer"));
        }
        let intermediate = received.has_notify(NotifyType::INTERMEDIATE_EXCHANGE_SUPPORTED);
        if !choice.suite.additional.is_empty() && !intermediate {
            return Err(FailureReason::PeerMisbehaved("additional keys without IKE_INTERMEDIATE"));
        }
        static_kem::check_answer(&choice, received)?;
        Ok(choice)
    }

    fn accept(
        &mut self,
        path: Path,
        octets: &[u8],
        header: &Header,
        received: &Received<'_>,
        chosen: (Choice<IkeSuite>, bool),
        core: &mut Core,
        cx: &mut Context<'_>,
    ) -> StepResult {
        let (Some(ke), Some(nonce), Some(share)) =
            (received.ke, received.nonce, self.key_share.take())
        else {
            return Ok(Next::Stay);
        };
        let agreed = match share {
            Share::Ephemeral(share) => {
                let method = share.method();
                share.agree(ke.data).map_err(|_| Some(method))
            }
            Share::Static(sent) if ke.data.len() != sent.as_ref().len() => {
                self.key_share = Some(Share::Static(sent));
                Err(None)
            }
            Share::Static(sent) => {
                return self.await_secret((path, octets, header), received, sent, chosen, core, cx);
            }
        };
        let shared = match agreed {
            Ok(shared) => shared,
            Err(method) => return self.ask_again(method, core, cx),
        };
        take_announcements(path, header, received, core, cx);
        let init = self.init(octets, received, nonce.as_bytes(), chosen, core);
        self.begin(init, &shared, core, cx)
    }

    /// The peer's value is not valid. A share for one exchange is used up: a new one is sent.
    fn ask_again(
        &mut self,
        used_up: Option<KeyExchange>,
        core: &mut Core,
        cx: &mut Context<'_>,
    ) -> StepResult {
        self.remember(FailureReason::PeerMisbehaved("invalid public value"), core, cx);
        if let Some(method) = used_up
            && self.spend_restart(core, cx)
        {
            self.key_share = Some(Share::Ephemeral(cx.key_share(method)));
            self.send(core, cx)?;
        }
        Ok(Next::Stay)
    }

    /// Lets the role that holds keys open a ciphertext to our static key.
    fn await_secret(
        &mut self,
        (path, octets, header): (Path, &[u8], &Header),
        received: &Received<'_>,
        sent: Encapsulated,
        chosen: (Choice<IkeSuite>, bool),
        core: &mut Core,
        cx: &mut Context<'_>,
    ) -> StepResult {
        let (Some(ke), Some(nonce)) = (received.ke, received.nonce) else { return Ok(Next::Stay) };
        take_announcements(path, header, received, core, cx);
        let init = self.init(octets, received, nonce.as_bytes(), chosen, core);
        self.awaiting = Some(Awaiting::ask(sent, ke.data, init, core, cx)?);
        Ok(Next::Stay)
    }

    /// Takes the secret that the other key of ours has opened.
    pub(crate) fn handle_auth(
        &mut self,
        job: JobId,
        result: AuthResult,
        core: &mut Core,
        cx: &mut Context<'_>,
    ) -> StepResult {
        let Some(awaiting) = self.awaiting.take_if(|awaiting| awaiting.is_for(job)) else {
            return Ok(Next::Stay);
        };
        let shared = awaiting.secret(result, core)?;
        self.begin(awaiting.init, &shared, core, cx)
    }

    /// What we know of the handshake now.
    fn init(
        &mut self,
        octets: &[u8],
        received: &Received<'_>,
        nonce_r: &[u8],
        (choice, childless): (Choice<IkeSuite>, bool),
        core: &Core,
    ) -> Init {
        let mut announced = Announced::default();
        announced.take(received);
        Init {
            choice,
            nonce_i: std::mem::take(&mut self.nonce),
            nonce_r: nonce_r.to_vec(),
            request: std::mem::take(&mut self.request),
            response: octets.to_vec(),
            childless,
            has_ppk: ppk::is_accepted(core, received),
            has_rounds: rounds::is_supported(received),
            announced,
        }
    }

    fn begin(
        &mut self,
        init: Init,
        shared: &Secret,
        core: &mut Core,
        cx: &mut Context<'_>,
    ) -> StepResult {
        let handshake = Box::new(Handshake::begin(init, shared, core, cx)?);
        let wanted = self.wanted.clone();
        if handshake.next_exchange().is_some() {
            IntermediateSent::start(handshake, wanted, core, cx)
        } else {
            AuthSigning::start(handshake, wanted, core, cx)
        }
    }

    /// The error that the peer answered with, if it did.
    pub(crate) fn take_complaint(&mut self) -> Option<FailureReason> {
        self.complaint.take().map(|complaint| complaint.reason)
    }

    /// What is due: retransmission, or the end.
    pub(crate) fn handle_timeout(&mut self, core: &mut Core, cx: &mut Context<'_>) -> StepResult {
        if self.awaiting.is_some() {
            return expire(core.heard + JOB_WAIT, core, cx);
        }
        let grace_is_over =
            |complaint: &mut Complaint| complaint.until.is_some_and(|until| cx.now >= until);
        let believed = match self.complaint.take_if(grace_is_over) {
            Some(complaint) => complaint,
            None => match core.retransmit(ExchangeType::IKE_SA_INIT, cx) {
                None => return Ok(Next::Stay),
                Some(silent) => self.complaint.take().ok_or(silent)?,
            },
        };
        core.settled = Some(believed.at);
        Err(believed.reason)
    }

    pub(crate) fn poll_timeout(&self, core: &Core) -> Option<Instant> {
        if self.awaiting.is_some() {
            return Some(core.heard + JOB_WAIT);
        }
        self.complaint.as_ref().and_then(|complaint| complaint.until)
    }
}

/// Initiator: what an accepting response and the connection agree to, and whether IKE_AUTH goes without
/// a child.
fn agree(
    choice: Choice<IkeSuite>,
    core: &Core,
    received: &Received<'_>,
) -> Result<(Choice<IkeSuite>, bool), FailureReason> {
    ppk::check_response(core, received)?;
    Ok((choice, childless::agree(core, received)?))
}

/// Initiator: takes what an accepting response says about its sender.
pub(crate) fn take_announcements(
    path: Path,
    header: &Header,
    received: &Received<'_>,
    core: &mut Core,
    cx: &mut Context<'_>,
) {
    core.requests.answered();
    core.heard = cx.now;
    core.spi_r = header.spi_r;
    core.peer = software(&received.vendor_ids);
    core.fragmentation = agrees_to_fragments(core, received);
    core.nat = verdict(core.spi_i, core.spi_r, path, &received.notifies);
    core.udp_agreed = udp_encap::accepted(core, received);
    notification_data::note(core, received);
    gateway_notice::note(core, received);
    // What has answered is the port before the change.
    core.progress(reached(core), cx);
    float(core, cx);
}

/// Whether a cookie has a length that it may have.
pub(crate) fn is_legal_cookie(cookie: &[u8]) -> bool {
    (1..=COOKIE_OCTETS_MAX).contains(&cookie.len())
}

fn proposals(core: &Core) -> Vec<adit_db::ProposalSpec> {
    core.connection.as_ref().map(|connection| connection.proposals.clone()).unwrap_or_default()
}

fn reached(core: &Core) -> Step {
    Step::Reached {
        path: core.path,
        nat_local: core.nat.we_are_behind_nat,
        nat_remote: core.nat.peer_is_behind_nat,
        peer: core.peer,
    }
}

/// Initiator: moves to the NAT ports if ESP is to travel in UDP (RFC 7296 §2.23), or may have to.
///
//= https://www.rfc-editor.org/rfc/rfc4555#section-3.3
//# implementations that support both this specification and NAT Traversal MUST change to port
//# 4500 if the correspondent also supports both, even if no NAT was detected between them (this
//# way, there is no need to change the ports later if a NAT is detected on some other path).
fn float(core: &mut Core, cx: &Context<'_>) {
    let encap = core.connection.as_ref().map(|connection| connection.encap).unwrap_or_default();
    let may_move = core.mobike.is_some();
    let wanted = core.nat.needs_udp() || core.udp_agreed || encap == Encap::Udp || may_move;
    //= https://www.rfc-editor.org/rfc/rfc9329#section-6.5
    //# no change should be made for encapsulation of subsequent IKE or ESP packets
    if core.path.is_tcp()
        || !core.nat.supported
        || !wanted
        || core.path.local.port() == cx.config.nat_port
    {
        return;
    }
    core.path.local.set_port(cx.config.nat_port);
    // A peer that listens elsewhere was told so; then it is that port for everything.
    if core.path.remote.port() == IKE_PORT {
        core.path.remote.set_port(NAT_PORT);
    }
}

fn agrees_to_fragments(core: &Core, received: &Received<'_>) -> bool {
    core.connection.as_ref().is_none_or(|connection| connection.fragmentation)
        && received.has_notify(NotifyType::IKEV2_FRAGMENTATION_SUPPORTED)
}

/// Notifies and vendor id of both sides' messages.
pub(crate) fn put_announcements(
    message: &mut MessageBuilder,
    core: &Core,
    intermediate: bool,
    cx: &mut Context<'_>,
) {
    let connection = core.connection.as_ref();
    let force_udp =
        !core.path.is_tcp() && connection.is_some_and(|connection| connection.encap == Encap::Udp);
    let (source, destination) = our_hashes(core.spi_i, core.spi_r, core.path, force_udp, cx.rng);
    let mut notify = |kind, data: &[u8]| message.put(&Payload::Notify(Notify::new(kind, data)));
    if connection.is_none_or(|connection| connection.encap != Encap::Esp) {
        notify(NotifyType::NAT_DETECTION_SOURCE_IP, &source);
        notify(NotifyType::NAT_DETECTION_DESTINATION_IP, &destination);
    }
    if connection.is_none_or(|connection| connection.fragmentation) {
        notify(NotifyType::IKEV2_FRAGMENTATION_SUPPORTED, &[]);
    }
    if intermediate {
        notify(NotifyType::INTERMEDIATE_EXCHANGE_SUPPORTED, &[]);
    }
    if core.udp_agreed {
        notify(NotifyType::ADIT_UDP_ENCAP, &[]);
    }
    notification_data::put_support(message, core);
    gateway_notice::put_support(message, core);
    // A response has room for what a peer needs; who we are is nothing to others than Adits.
    if core.role == Role::Initiator || core.peer == PeerSoftware::Adit {
        message.put(&Payload::VendorId(VendorId::ADIT));
    }
}

/// A request a responder has decided to accept.
pub(crate) struct Acceptable<'a> {
    pub(crate) path: Path,
    pub(crate) header: &'a Header,
    pub(crate) octets: &'a [u8],
    pub(crate) received: &'a Received<'a>,
    pub(crate) choice: Choice<IkeSuite>,
    pub(crate) connection: std::sync::Arc<Connection>,
}

/// Responder: answers an acceptable request; the state that waits for the next one
/// (RFC 7296 §1.2).
///
/// # Errors
///
/// When the peer's public value is not valid: nothing was sent.
pub(crate) fn answer(
    request: &Acceptable<'_>,
    core: &mut Core,
    cx: &mut Context<'_>,
) -> Result<State, FailureReason> {
    let ke = request.received.ke.ok_or(FailureReason::PeerMisbehaved("no KE"))?;
    let sent = static_kem::answer(&request.choice, &request.connection, ke.data, cx)?;
    let deadline = cx.now + cx.config.half_open_timeout;
    if let Some(sent) = sent {
        let init = compose(request, sent.as_ref(), core, cx)?;
        let awaiting = Awaiting::ask(sent, ke.data, init, core, cx)?;
        let opening = InitOpening::new(awaiting, request, deadline);
        return Ok(State::InitOpening(Box::new(opening)));
    }
    let (public, shared) = cx
        .answer_key_share(request.choice.suite.ke, ke.data)
        .map_err(|_| FailureReason::PeerMisbehaved("invalid public value"))?;
    let init = compose(request, &public, core, cx)?;
    conclude(request.path, init, &shared, deadline, core, cx)
}

/// Responder: takes what an acceptable request says about its sender.
pub(crate) fn begin_answer(
    path: Path,
    header: &Header,
    received: &Received<'_>,
    (choice, connection): (&Choice<IkeSuite>, &std::sync::Arc<Connection>),
    core: &mut Core,
    cx: &mut Context<'_>,
) {
    core.spi_i = header.spi_i;
    core.spi_r = cx.ike_spi();
    core.connection = Some(std::sync::Arc::clone(connection));
    core.peer = software(&received.vendor_ids);
    core.fragmentation = agrees_to_fragments(core, received);
    // RFC 7296 §2.23: the initiator's hashes have a zero SPIr.
    core.nat = verdict(core.spi_i, IkeSpi::ZERO, path, &received.notifies);
    let chosen = choice.answer(&[]);
    let fits = |connection: &Connection| {
        choose_ike(Purpose::Ike { additional: true }, &connection.proposals, &chosen).is_ok()
    };
    core.udp_agreed = !core.path.is_tcp() && udp_encap::accepts(core, received, &fits, cx);
    redirect::note(core, received);
    notification_data::note(core, received);
    gateway_notice::note(core, received);
}

/// Responder: sends the first response, and keeps it for repeated requests.
pub(crate) fn send_answer(
    path: Path,
    request: &[u8],
    response: &[u8],
    core: &mut Core,
    cx: &mut Context<'_>,
) {
    let datagrams = vec![response.to_vec()];
    cx.transmit(path, &datagrams);
    core.responses.begin(request);
    core.responses.answered(datagrams);
    core.progress(reached(core), cx);
}

/// Responder: refuses a request whose public value is not valid. The work is done by then, so the
/// IKE SA stays for a while like one that failed later, and repetitions cost nothing more.
pub(crate) fn refuse(request: &Acceptable<'_>, core: &mut Core, cx: &mut Context<'_>) {
    core.spi_i = request.header.spi_i;
    core.spi_r = cx.ike_spi();
    let answer = refusal(request.header, NotifyType::INVALID_SYNTAX, &[]);
    let datagrams: Vec<Vec<u8>> = answer.into_iter().collect();
    cx.transmit(request.path, &datagrams);
    core.responses.begin(request.octets);
    core.responses.answered(datagrams);
}

/// An unprotected response that refuses a request and leaves nothing behind: COOKIE,
/// INVALID_KE_PAYLOAD, NO_PROPOSAL_CHOSEN, INVALID_SYNTAX, … (RFC 7296 §2.6, §1.2, §2.21.1).
///
/// `None` if it would be longer than the request: nobody has proven the address it goes to.
pub(crate) fn refusal(request: &Header, kind: NotifyType, data: &[u8]) -> Option<Vec<u8>> {
    let header = Header::new(
        request.spi_i,
        request.spi_r,
        request.exchange,
        adit_wire::ikev2::Flags::new(!request.flags.is_initiator(), true),
        request.message_id,
    );
    let mut message = MessageBuilder::new(header);
    message.put(&Payload::Notify(Notify::new(kind, data)));
    let longest = usize::try_from(request.length).unwrap_or(usize::MAX);
    message.finish().ok().filter(|octets| octets.len() <= longest)
}

/// Whether the request's KE payload is of the method that its SA payload lets us choose.
pub(crate) fn needs_other_key_exchange(
    choice: &Choice<IkeSuite>,
    received: &Received<'_>,
) -> Option<KeyExchangeId> {
    let wanted = choice.suite.ke_id();
    (received.ke.map(|ke| ke.method) != Some(wanted)).then_some(wanted)
}

/// Whether the initiator does IKE_INTERMEDIATE.
pub(crate) fn purpose(received: &Received<'_>) -> Purpose {
    Purpose::Ike { additional: received.has_notify(NotifyType::INTERMEDIATE_EXCHANGE_SUPPORTED) }
}

/// The SA payload, which the rules say is there.
pub(crate) fn offered<'a>(received: &'a Received<'_>) -> &'a Sa {
    static NOTHING: Sa = Sa { proposals: Vec::new() };
    received.sa.as_ref().unwrap_or(&NOTHING)
}

/// UDP ports of IKE (RFC 7296 §2, §2.23).
pub(crate) const IKE_PORT: u16 = 500;
const NAT_PORT: u16 = 4500;

#[cfg(test)]
mod tests {
    use adit_wire::Reader;

    use super::*;

    /// Found by fuzzing: a bare header was answered with eight octets more. A forged source
    /// address must not draw more octets than it cost (CHECKLIST C10).
    #[test]
    fn a_refusal_is_never_longer_than_the_request() {
        let mut octets = [7; Header::LEN];
        let (flags, version) = (0x08, 0x20);
        octets[16..28].copy_from_slice(&[0, version, 37, flags, 0, 0, 0, 1, 0, 0, 0, 28]);
        let header = Header::read(&mut Reader(&octets)).unwrap();
        let answer =
            |length| refusal(&Header { length, ..header }, NotifyType::INVALID_IKE_SPI, &[]);
        assert_eq!(answer(28), None);
        assert_eq!(answer(35), None);
        assert_eq!(answer(36).unwrap().len(), 36);
    }
}
