//! The initiator's side of IKE_AUTH (RFC 7296 §1.2).

use adit_db::{Identity, IdentityPattern};
use adit_wire::iana::{AuthMethod, ExchangeType, NotifyType, PayloadType};
use adit_wire::ikev2::{Auth, ChainBuilder, Id, Notify, Payload};

use crate::command::{AuthResult, JobId};
use crate::context::{Context, Notice};
use crate::event::PeerSoftware;
use crate::failure::{By, FailureReason};
use crate::keymat::{ChildKeymat, Role, SharedSecrets};
use crate::output::AuthJobKind;
use crate::proposal::Purpose;
use crate::v2::child::{Agreed, Cause, Child, Selectors};
use crate::v2::child_offer::{Accepted, ChildOffer, Reply};
use crate::v2::established::{Established, Task};
use crate::v2::exchange::init::Wanted;
use crate::v2::handshake::{Handshake, id_body, shared_key_auth};
use crate::v2::ike_sa::core::Core;
use crate::v2::ike_sa::{Next, State, StepResult};
use crate::v2::protected::Message;
use crate::v2::rules::{Form, Received};

use super::{local_id, no_secret, start_job};

/// The keys are agreed; our proof is being made.
#[derive(Debug)]
pub(crate) struct AuthSigning {
    job: JobId,
    handshake: Option<Box<Handshake>>,
    wanted: Wanted,
    id_body: Vec<u8>,
    message_id: u32,
}

/// IKE_AUTH request sent, response awaited.
#[derive(Debug)]
pub(crate) struct AuthSent {
    handshake: Option<Box<Handshake>>,
    child: Option<ChildOffer>,
    message_id: u32,
}

/// IKE_AUTH response received; the peer's proof is being checked.
#[derive(Debug)]
pub(crate) struct AuthVerifying {
    job: JobId,
    handshake: Option<Box<Handshake>>,
    child: Option<(ChildOffer, Reply)>,
}

impl AuthSigning {
    pub(crate) fn start(
        handshake: Box<Handshake>,
        wanted: Wanted,
        core: &mut Core,
        cx: &mut Context<'_>,
    ) -> StepResult {
        let local = local_id(core)?;
        let id_body = id_body(&local);
        core.local_id = Some(local);
        // Whom we asked for; the address stands in while the peer has not said its name.
        let expected = remote_pattern(core).exact().cloned();
        core.remote_id = Some(expected.unwrap_or_else(|| Identity::from(core.path.remote.ip())));
        let message_id =
            core.requests.next_id().ok_or(FailureReason::Internal("message ids are used up"))?;
        let octets = handshake.signed_octets(Role::Initiator, &id_body, message_id);
        let job = start_job(AuthJobKind::Sign, octets, &handshake, core, cx)?;
        let handshake = Some(handshake);
        Ok(Next::enter(State::AuthSigning(Self { job, handshake, wanted, id_body, message_id })))
    }

    /// Takes the proof and sends the IKE_AUTH request.
    pub(crate) fn handle_auth(
        &mut self,
        job: JobId,
        result: AuthResult,
        core: &mut Core,
        cx: &mut Context<'_>,
    ) -> StepResult {
        if job != self.job {
            return Ok(Next::Stay);
        }
        let auth = match result {
            AuthResult::Signed(auth) => auth,
            AuthResult::NoSecret => return Err(no_secret(core)),
            AuthResult::Verified | AuthResult::Refused => {
                return Err(FailureReason::Internal("a signature was asked for"));
            }
        };
        let child = self.child_offer(core, cx)?;
        let chain = self.request(&auth, &child, core, cx)?;
        core.request(ExchangeType::IKE_AUTH, chain, cx.config.connecting, cx)?;
        Ok(Next::enter(State::AuthSent(AuthSent {
            handshake: self.handshake.take(),
            child: Some(child),
            message_id: self.message_id,
        })))
    }

    fn child_offer(&self, core: &Core, cx: &mut Context<'_>) -> Result<ChildOffer, FailureReason> {
        let (name, flow) = &self.wanted;
        let connection = core.connection.clone().ok_or(FailureReason::NoSuch("connection"))?;
        let config = connection.child(name).ok_or(FailureReason::NoSuch("child"))?;
        let spi_in = cx.child_spi(connection.engine).ok_or(FailureReason::TooMany("child SAs"))?;
        let cpi_in = cx.child_cpi(config);
        let ends = core.ends();
        // Who answers is known for sure only if there is but one who may.
        let is_known = connection.pad.remote_id.exact().is_some();
        let claims = core.claims().filter(|_| is_known);
        let cause = flow.as_ref().map_or(Cause::Order, Cause::Packet);
        let selectors = Selectors::offered(config, ends, claims, cause)?;
        ChildOffer::new(Purpose::FirstChild, config, ends, selectors, spi_in, cpi_in)
    }

    /// `IDi, [N(INITIAL_CONTACT),] [IDr,] AUTH, SAi2, TSi, TSr` (RFC 7296 §1.2).
    fn request(
        &self,
        auth: &[u8],
        child: &ChildOffer,
        core: &Core,
        cx: &Context<'_>,
    ) -> Result<ChainBuilder, FailureReason> {
        let local = core.local_id.as_ref().ok_or(FailureReason::Internal("no identity"))?;
        let mut chain = ChainBuilder::new();
        chain.push(PayloadType::ID_I, |w| w.bytes(&self.id_body));
        let remote = core.remote_id.as_ref();
        let known = remote.is_some_and(|remote| cx.roster.between(local, remote).next().is_some());
        if !known {
            let notify = Notify::new(NotifyType::INITIAL_CONTACT, &[]);
            chain.put(&Payload::Notify(notify));
        }
        if let Some(expected) = remote_pattern(core).exact() {
            let data = expected.octets();
            chain.put(&Payload::IdR(Id { kind: expected.kind(), data: &data }));
        }
        chain.put(&Payload::Auth(Auth { method: AuthMethod::SHARED_KEY, data: auth }));
        child.put_sa(core.peer, &mut chain);
        child.put_selectors(&mut chain);
        Ok(chain)
    }
}

impl AuthSent {
    /// Takes the response. Its sender has not authenticated yet; an error notify is protected all
    /// the same, and final (RFC 7296 §2.21.2).
    pub(crate) fn handle_response(
        &mut self,
        message: &Message,
        received: &Received<'_>,
        core: &mut Core,
        cx: &mut Context<'_>,
    ) -> StepResult {
        if message.header.exchange != ExchangeType::IKE_AUTH {
            return Ok(Next::Stay);
        }
        core.requests.answered();
        if received.form == Form::Refusal {
            return Err(refusal(core, received));
        }
        let (Some(handshake), Some(offer)) = (self.handshake.take(), self.child.take()) else {
            return Err(FailureReason::Internal("handshake is gone"));
        };
        let id_r = received.id_r.ok_or(FailureReason::PeerMisbehaved("no IDr"))?;
        let identity = Identity::from_wire(id_r.id.kind, id_r.id.data)
            .map_err(|_| FailureReason::PeerMisbehaved("IDr is no identity"))?;
        let expected = remote_pattern(core);
        if !expected.matches(&identity) {
            let reason = FailureReason::WrongIdentity { expected, received: identity };
            return Ok(Next::Refuse(NotifyType::AUTHENTICATION_FAILED, reason));
        }
        core.remote_id = Some(identity);
        let auth = shared_key_auth(received.auth)?;
        let octets = handshake.signed_octets(Role::Responder, id_r.body, self.message_id);
        let job = start_job(AuthJobKind::Verify { auth }, octets, &handshake, core, cx)?;
        let child = Some((offer, Reply::from_received(received)));
        let handshake = Some(handshake);
        Ok(Next::enter(State::AuthVerifying(AuthVerifying { job, handshake, child })))
    }
}

impl AuthVerifying {
    /// Takes the verdict on the peer's proof: the IKE SA is established or over.
    pub(crate) fn handle_auth(
        &mut self,
        job: JobId,
        result: AuthResult,
        core: &mut Core,
        cx: &mut Context<'_>,
    ) -> StepResult {
        if job != self.job {
            return Ok(Next::Stay);
        }
        let reason = match result {
            AuthResult::Verified => return self.establish(core, cx),
            AuthResult::Refused => wrong_secret(core, By::Us, true),
            AuthResult::NoSecret => no_secret(core),
            AuthResult::Signed(_) => FailureReason::Internal("a verdict was asked for"),
        };
        // RFC 7296 §2.21.2: the responder believes the IKE SA is up; tell it.
        Ok(Next::Refuse(NotifyType::AUTHENTICATION_FAILED, reason))
    }

    fn establish(&mut self, core: &mut Core, cx: &mut Context<'_>) -> StepResult {
        let (Some(handshake), Some((offer, reply))) = (self.handshake.take(), self.child.take())
        else {
            return Err(FailureReason::Internal("handshake is gone"));
        };
        let mut established = Established::begin(&handshake, core, cx)?;
        cx.out.notice(Notice::Established { ike: core.id, initial_contact: false });
        let accepted_by_peer = matches!(reply, Reply::Accepted { .. });
        let protocol = offer.protocol_of(&reply);
        match offer.evaluate(reply, ExchangeType::IKE_AUTH, core.claims()) {
            Ok(accepted) => {
                let child = install(&handshake, &offer, accepted, core, cx)?;
                established.add_child(child, core, cx);
            }
            // CHECKLIST A07: the IKE SA stays when only the child fails.
            Err(reason) => {
                if accepted_by_peer {
                    established.queue(Task::DeleteSpi(protocol, offer.spi_in));
                }
                let mut failure = core.failure(reason, cx.now);
                failure.child = Some(offer.name);
                cx.out.notice(Notice::ChildFailed(failure));
            }
        }
        Ok(Next::enter(State::Established(Box::new(established))))
    }
}

fn install(
    handshake: &Handshake,
    offer: &ChildOffer,
    accepted: Accepted,
    core: &Core,
    cx: &mut Context<'_>,
) -> Result<Child, FailureReason> {
    let connection = core.connection.clone().ok_or(FailureReason::NoSuch("connection"))?;
    let keymat = ChildKeymat::derive(
        handshake.suite.prf,
        &handshake.keys.d,
        accepted.choice.suite.protection,
        SharedSecrets::default(),
        handshake.nonces(),
    )
    .map_err(|_| FailureReason::Internal("prf+"))?;
    let agreed = Agreed {
        ike: core.id,
        connection: &connection,
        config: offer.config(),
        role: Role::Initiator,
        choice: accepted.choice,
        spi_in: offer.spi_in,
        spi_out: accepted.spi_out,
        selectors: accepted.selectors,
        mode: accepted.mode,
        no_tfc: accepted.no_tfc,
        ipcomp: accepted.ipcomp,
        keymat,
        encap: core.encapsulation(),
        rekeys: None,
        outbound: true,
        first: true,
    };
    Ok(Child::install(agreed, cx))
}

fn remote_pattern(core: &Core) -> IdentityPattern {
    core.connection.as_ref().map(|connection| connection.pad.remote_id.clone()).unwrap_or_default()
}

fn wrong_secret(core: &Core, by: By, certain: bool) -> FailureReason {
    match &core.local_id {
        Some(local) => FailureReason::WrongSecret {
            by,
            local: local.clone(),
            remote: remote_pattern(core),
            certain,
        },
        None => FailureReason::Internal("no identity"),
    }
}

/// What a refusal of the whole IKE_AUTH means.
///
/// An Adit responder adds its IDr to AUTHENTICATION_FAILED when it knows us and only our proof is
/// wrong, provided we asked for that IDr and come from the address it expects, so not through a
/// NAT. Otherwise it stays open which of the two it is.
fn refusal(core: &Core, received: &Received<'_>) -> FailureReason {
    let notify = received.error().map_or(NotifyType::INVALID_SYNTAX, |error| error.kind);
    if notify != NotifyType::AUTHENTICATION_FAILED {
        return FailureReason::PeerError { exchange: ExchangeType::IKE_AUTH, notify };
    }
    let would_tell = remote_pattern(core).exact().is_some() && !core.nat.we_are_behind_nat;
    match (&core.local_id, received.id_r, core.peer) {
        (Some(local), None, PeerSoftware::Adit) if would_tell => {
            FailureReason::UnknownToPeer { local: local.clone(), remote: remote_pattern(core) }
        }
        (_, id_r, _) => wrong_secret(core, By::Peer, id_r.is_some()),
    }
}
