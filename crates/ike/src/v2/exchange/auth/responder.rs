//! The responder's side of IKE_AUTH (RFC 7296 §1.2, §2.15), and of the IKE_INTERMEDIATE exchanges
//! before it.

use std::sync::Arc;
use std::time::Instant;

use adit_db::{Connection, HostSpec, Identity, Unique};
use adit_wire::iana::{AuthMethod, ExchangeType, NotifyType, PayloadType};
use adit_wire::ikev2::{Auth, ChainBuilder, Notify, Payload, Sa};

use crate::command::{AuthResult, JobId, Path};
use crate::context::{Context, Notice};
use crate::event::PeerSoftware;
use crate::failure::{By, FailureReason};
use crate::keymat::{ChildKeymat, Role, SharedSecrets};
use crate::output::AuthJobKind;
use crate::proposal::Purpose;
use crate::traffic_selector::SelectorPair;
use crate::v2::child::{Agreed, Answer, Child, Offered, Refusal, choose};
use crate::v2::child_offer::{Hints, answer_ipcomp, put_mode, put_selectors};
use crate::v2::established::Established;
use crate::v2::exchange::intermediate;
use crate::v2::handshake::{Handshake, id_body, shared_key_auth};
use crate::v2::ike_sa::core::Core;
use crate::v2::ike_sa::{Next, State, StepResult};
use crate::v2::protected::Message;
use crate::v2::rules::Received;
use crate::v2::said::Said;

use super::{local_id, no_secret, start_job};

/// IKE_SA_INIT answered; IKE_INTERMEDIATE or IKE_AUTH is awaited.
#[derive(Debug)]
pub(crate) struct InitAnswered {
    handshake: Option<Box<Handshake>>,
    deadline: Instant,
}

/// IKE_AUTH request received; the peer's proof is being checked.
#[derive(Debug)]
pub(crate) struct AuthChecking {
    job: JobId,
    handshake: Option<Box<Handshake>>,
    request: Option<AuthRequest>,
    deadline: Instant,
}

/// The peer has proven its identity; our proof is being made.
#[derive(Debug)]
pub(crate) struct AuthAnswering {
    job: JobId,
    handshake: Option<Box<Handshake>>,
    request: Option<AuthRequest>,
    deadline: Instant,
}

/// What is kept of an IKE_AUTH request while jobs run.
#[derive(Debug)]
pub(crate) struct AuthRequest {
    id_r_body: Vec<u8>,
    /// Whether a failure may show our identity: the peer asked for it, is known by its identity
    /// and speaks from the address configured for it.
    show_identity: bool,
    initial_contact: bool,
    message_id: u32,
    sa: Sa,
    selectors: SelectorPair,
    said: Said,
}

impl InitAnswered {
    pub(crate) fn new(handshake: Box<Handshake>, deadline: Instant) -> Self {
        Self { handshake: Some(handshake), deadline }
    }

    pub(crate) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Takes the next request of the handshake.
    pub(crate) fn handle_request(
        &mut self,
        message: &Message,
        received: &Received<'_>,
        core: &mut Core,
        cx: &mut Context<'_>,
    ) -> StepResult {
        let Some(handshake) = self.handshake.as_mut() else {
            return Err(FailureReason::Internal("handshake is gone"));
        };
        let wants_intermediate = handshake.next_exchange().is_some();
        match message.header.exchange {
            ExchangeType::IKE_INTERMEDIATE => {
                intermediate::answer(handshake, message, received, core, cx)?;
                Ok(Next::Stay)
            }
            ExchangeType::IKE_AUTH if !wants_intermediate => {
                self.handle_auth_request(message, received, core, cx)
            }
            // RFC 7296 §2.21.3: authentic but wrong, so fatal on both sides.
            exchange => {
                let mut chain = ChainBuilder::new();
                chain.put(&Payload::Notify(Notify::new(NotifyType::INVALID_SYNTAX, &[])));
                core.respond(exchange, chain, cx)?;
                Err(FailureReason::PeerMisbehaved("unexpected exchange in the handshake"))
            }
        }
    }

    fn handle_auth_request(
        &mut self,
        message: &Message,
        received: &Received<'_>,
        core: &mut Core,
        cx: &mut Context<'_>,
    ) -> StepResult {
        let Some(handshake) = self.handshake.take() else {
            return Err(FailureReason::Internal("handshake is gone"));
        };
        let selected = match select(&handshake, received, core, cx) {
            Ok(selected) => selected,
            Err(reason) => return refuse(None, reason, core, cx),
        };
        core.connection = Some(selected.connection);
        core.fragmentation &=
            core.connection.as_ref().is_none_or(|connection| connection.fragmentation);
        let local = local_id(core)?;
        let request = AuthRequest {
            id_r_body: id_body(&local),
            show_identity: selected.show_identity,
            initial_contact: received.has_notify(NotifyType::INITIAL_CONTACT),
            message_id: message.header.message_id,
            sa: received.sa.clone().unwrap_or_default(),
            selectors: SelectorPair {
                initiator: received.ts_i.clone().unwrap_or_default().selectors,
                responder: received.ts_r.clone().unwrap_or_default().selectors,
            },
            said: Said::read(received),
        };
        core.local_id = Some(local);
        core.remote_id = Some(selected.remote_id);
        let auth = match shared_key_auth(received.auth) {
            Ok(auth) => auth,
            Err(reason) => return refuse(Some(&request), reason, core, cx),
        };
        let id_i = received.id_i.map(|id| id.body).unwrap_or_default();
        let octets = handshake.signed_octets(Role::Initiator, id_i, request.message_id);
        let job = start_job(AuthJobKind::Verify { auth }, octets, &handshake, core, cx)?;
        Ok(Next::enter(State::AuthChecking(AuthChecking {
            job,
            handshake: Some(handshake),
            request: Some(request),
            deadline: self.deadline,
        })))
    }
}

impl AuthChecking {
    pub(crate) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Takes the verdict on the peer's proof.
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
        let (Some(handshake), Some(request)) = (self.handshake.take(), self.request.take()) else {
            return Err(FailureReason::Internal("handshake is gone"));
        };
        match verdict(result, &request, core, cx) {
            Ok(()) => {}
            Err(reason) => return refuse(Some(&request), reason, core, cx),
        }
        let octets =
            handshake.signed_octets(Role::Responder, &request.id_r_body, request.message_id);
        let job = start_job(AuthJobKind::Sign, octets, &handshake, core, cx)?;
        Ok(Next::enter(State::AuthAnswering(AuthAnswering {
            job,
            handshake: Some(handshake),
            request: Some(request),
            deadline: self.deadline,
        })))
    }
}

/// Whether the peer is let in.
fn verdict(
    result: AuthResult,
    request: &AuthRequest,
    core: &Core,
    cx: &Context<'_>,
) -> Result<(), FailureReason> {
    let (Some(local), Some(remote), Some(connection)) =
        (&core.local_id, &core.remote_id, &core.connection)
    else {
        return Err(FailureReason::Internal("identities are not known"));
    };
    match result {
        AuthResult::Verified => {}
        AuthResult::Refused => {
            return Err(FailureReason::WrongSecret {
                by: By::Us,
                local: local.clone(),
                remote: adit_db::IdentityPattern::Exact(remote.clone()),
                certain: true,
            });
        }
        AuthResult::NoSecret => return Err(no_secret(core)),
        AuthResult::Signed(_) => {
            return Err(FailureReason::Internal("a verdict was asked for"));
        }
    }
    // CHECKLIST F24.
    let existing = cx.roster.between(local, remote).take(IKE_SAS_PER_PEER_MAX).count();
    let kept = connection.unique == Unique::Keep && existing > 0 && !request.initial_contact;
    if kept || existing >= IKE_SAS_PER_PEER_MAX {
        return Err(FailureReason::NotUnique);
    }
    Ok(())
}

impl AuthAnswering {
    pub(crate) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Takes our proof, answers, and establishes the IKE SA.
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
        let (Some(handshake), Some(request)) = (self.handshake.take(), self.request.take()) else {
            return Err(FailureReason::Internal("handshake is gone"));
        };
        let AuthResult::Signed(auth) = result else {
            let reason = no_secret(core);
            return refuse(Some(&request), reason, core, cx);
        };
        let mut chain = ChainBuilder::new();
        chain.push(PayloadType::ID_R, |w| w.bytes(&request.id_r_body));
        chain.put(&Payload::Auth(Auth { method: AuthMethod::SHARED_KEY, data: &auth }));

        let mut established = Established::begin(&handshake, core, cx)?;
        cx.out
            .notice(Notice::Established { ike: core.id, initial_contact: request.initial_contact });
        if let Some(child) = answer_child(&request, &handshake, &mut chain, core, cx)? {
            established.add_child(child, core, cx);
        }
        core.respond(ExchangeType::IKE_AUTH, chain, cx)?;
        Ok(Next::enter(State::Established(Box::new(established))))
    }
}

/// Adds the child's part to the response: `SAr2, TSi, TSr`, or the error that leaves the IKE SA
/// without it (RFC 7296 §1.2; CHECKLIST A07).
fn answer_child(
    request: &AuthRequest,
    handshake: &Handshake,
    chain: &mut ChainBuilder,
    core: &Core,
    cx: &mut Context<'_>,
) -> Result<Option<Child>, FailureReason> {
    let connection = core.connection.clone().ok_or(FailureReason::NoSuch("connection"))?;
    let offered = Offered {
        purpose: Purpose::FirstChild,
        sa: &request.sa,
        selectors: &request.selectors,
        said: request.said.by(core.peer),
        rekeys: None,
        claims: core.claims(),
    };
    let Answer { config, choice, spi_out, selectors, mode } =
        match choose(&connection, core.ends(), &offered) {
            Ok(answer) => answer,
            Err(refusal) => {
                refuse_child(&refusal, &connection, &offered, chain, core, cx);
                return Ok(None);
            }
        };
    let spi_in = cx.child_spi(connection.engine).ok_or(FailureReason::TooMany("child SAs"))?;
    let keymat = ChildKeymat::derive(
        handshake.suite.prf,
        &handshake.keys.d,
        choice.suite.protection,
        SharedSecrets::default(),
        handshake.nonces(),
    )
    .map_err(|_| FailureReason::Internal("prf+"))?;
    put_mode(mode.mode(), chain);
    let ipcomp = answer_ipcomp(config, request.said, chain, cx);
    chain.put(&Payload::Sa(choice.answer(&spi_in.to_octets())));
    put_selectors(&selectors, chain);
    let agreed = Agreed {
        ike: core.id,
        connection: &connection,
        config,
        role: Role::Responder,
        choice,
        spi_in,
        spi_out,
        selectors,
        mode,
        no_tfc: request.said.no_tfc,
        ipcomp,
        keymat,
        encap: core.encapsulation(),
        rekeys: None,
        outbound: true,
        first: true,
    };
    Ok(Some(Child::install(agreed, cx)))
}

/// Adds the error notify of a child, for an Adit peer what we would accept, and tells our
/// operator.
pub(crate) fn refuse_child(
    refusal: &Refusal,
    connection: &Connection,
    offered: &Offered<'_>,
    chain: &mut ChainBuilder,
    core: &Core,
    cx: &mut Context<'_>,
) {
    chain.put(&Payload::Notify(Notify::new(refusal.notify(), &[])));
    let config = refusal.child().and_then(|name| connection.child(name));
    if let Some(config) = config.filter(|_| core.peer == PeerSoftware::Adit) {
        Hints::of(config, core.ends(), core.claims()).put(chain);
    }
    let reason = refusal.reason(connection, core.ends(), offered);
    let mut failure = core.failure(reason, cx.now);
    failure.initiator = false;
    failure.child = refusal.child().cloned();
    cx.out.notice(Notice::ChildFailed(failure));
}

/// Answers AUTHENTICATION_FAILED and ends the attempt. The peer learns nothing more, unless it is
/// known and asked for our identity.
fn refuse(
    request: Option<&AuthRequest>,
    reason: FailureReason,
    core: &mut Core,
    cx: &mut Context<'_>,
) -> StepResult {
    let mut chain = ChainBuilder::new();
    let shown = request
        .filter(|request| request.show_identity && core.peer == PeerSoftware::Adit)
        .filter(|_| matches!(reason, FailureReason::WrongSecret { .. }));
    if let Some(request) = shown {
        chain.push(PayloadType::ID_R, |w| w.bytes(&request.id_r_body));
    }
    chain.put(&Payload::Notify(Notify::new(NotifyType::AUTHENTICATION_FAILED, &[])));
    core.respond(ExchangeType::IKE_AUTH, chain, cx)?;
    Err(reason)
}

/// The connection of an IKE_AUTH request.
struct Selected {
    connection: Arc<Connection>,
    remote_id: Identity,
    show_identity: bool,
}

/// Finds the connection by addresses, suite and both identities (RFC 4301 §4.4.3.1; CHECKLIST
/// F22): the one that names the peer most exactly, then the one that names its address most
/// exactly, then the first by name.
fn select(
    handshake: &Handshake,
    received: &Received<'_>,
    core: &Core,
    cx: &Context<'_>,
) -> Result<Selected, FailureReason> {
    let id_i = received.id_i.ok_or(FailureReason::PeerMisbehaved("no IDi"))?;
    let remote_id = Identity::from_wire(id_i.id.kind, id_i.id.data)
        .map_err(|_| FailureReason::PeerMisbehaved("IDi is no identity"))?;
    let asked = received
        .id_r
        .map(|id_r| Identity::from_wire(id_r.id.kind, id_r.id.data))
        .transpose()
        .map_err(|_| FailureReason::PeerMisbehaved("IDr is no identity"))?;
    let local = core.path.local.ip();
    let near: Vec<(u8, &Arc<Connection>)> = cx
        .connections
        .values()
        .filter_map(|connection| Some((address_rank(connection, core.path)?, connection)))
        .filter(|(_, connection)| handshake.fits(&connection.proposals))
        .collect();
    let best = near
        .iter()
        .filter(|(_, connection)| {
            let ours = connection.pad.local_id(local);
            asked.as_ref().is_none_or(|asked| asked.is_same(&ours))
        })
        .filter(|(_, connection)| connection.pad.accepts(&remote_id))
        // Of equals the first: `max_by_key` takes the last.
        .rev()
        .max_by_key(|(rank, connection)| (connection.pad.remote_id.rank(), *rank));
    match best {
        Some((rank, connection)) => Ok(Selected {
            connection: Arc::clone(connection),
            show_identity: asked.is_some() && *rank == RANK_ADDRESS,
            remote_id,
        }),
        None => Err(FailureReason::UnknownPeer {
            remote: remote_id,
            local: asked,
            expected: near
                .iter()
                .map(|(_, connection)| (connection.name.clone(), connection.pad.remote_id.clone()))
                .take(EXPECTED_MAX)
                .collect(),
        }),
    }
}

/// How exactly a connection names the addresses of a path; `None` if it excludes them. A host
/// name fits any address: who it is, the identity says.
pub(crate) fn address_rank(connection: &Connection, path: Path) -> Option<u8> {
    let rank_of = |hosts: &[HostSpec], address| match hosts {
        [] => Some(RANK_ANY),
        hosts => hosts.iter().filter_map(|host| host_rank(host, address)).max(),
    };
    rank_of(&connection.local_addresses, path.local.ip())?;
    rank_of(&connection.remote_addresses, path.remote.ip())
}

fn host_rank(host: &HostSpec, address: std::net::IpAddr) -> Option<u8> {
    let rank = match host {
        HostSpec::Any | HostSpec::Name(_) => RANK_ANY,
        HostSpec::Network(_) => RANK_NETWORK,
        HostSpec::Address(_) => RANK_ADDRESS,
    };
    host.contains(address).unwrap_or(true).then_some(rank)
}

const RANK_ANY: u8 = 0;
const RANK_NETWORK: u8 = 1;
const RANK_ADDRESS: u8 = 2;

/// IKE SAs between the same two identities, where the configuration allows more than one.
const IKE_SAS_PER_PEER_MAX: usize = 32;

/// Connections named in a failure.
const EXPECTED_MAX: usize = 4;
