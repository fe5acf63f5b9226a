//! The responder's side of IKE_AUTH (RFC 7296 §1.2, §2.15), and of the IKE_INTERMEDIATE exchanges
//! before it.

use std::sync::Arc;
use std::time::Instant;

use adit_crypto::Secret;
use adit_db::{Connection, Identity, PadEntry, Unique};
use adit_wire::iana::{ExchangeType, NotifyType, PayloadType};
use adit_wire::ikev2::{ChainBuilder, Notify, Payload, Sa};

use crate::command::{AuthResult, JobId};
use crate::context::{Context, Notice};
use crate::event::PeerSoftware;
use crate::failure::{By, FailureReason, PpkGap};
use crate::keymat::{ChildKeymat, Role, SharedSecrets};
use crate::output::AuthJobKind;
use crate::proposal::Purpose;
use crate::traffic_selector::SelectorPair;
use crate::v2::child::{Agreed, Answer, Child, Offered, Refusal, choose};
use crate::v2::child_offer::{
    Hints, answer_aggfrag, answer_ipcomp, answer_path_probe, put_answer, put_mode, put_resource,
};
use crate::v2::childless;
use crate::v2::established::Established;
use crate::v2::exchange::intermediate;
use crate::v2::handshake::{Handshake, id_body};
use crate::v2::ike_sa::core::Core;
use crate::v2::ike_sa::{Next, State, StepResult};
use crate::v2::message_id_sync::{self, Synchronizes};
use crate::v2::mobike;
use crate::v2::notification_data::{self, About};
use crate::v2::ppk::{self, Decision, Ppk};
use crate::v2::protected::Message;
use crate::v2::redirect::{self, REDIRECTED_WAIT};
use crate::v2::resumption;
use crate::v2::rules::{Form, Received};
use crate::v2::said::Said;
use crate::v2::signature::Proof;
use crate::v2::{null_auth, reauth, rounds};

use super::selection::{self, identity_of, select};
use super::{cannot_sign, configured, no_secret, not_trusted, start_job};

/// IKE_SA_INIT answered; IKE_INTERMEDIATE or IKE_AUTH is awaited.
#[derive(Debug)]
pub(crate) struct InitAnswered {
    handshake: Option<Box<Handshake>>,
    deadline: Instant,
}

/// IKE_AUTH request received; the peer's proof is being checked, and ours made.
#[derive(Debug)]
pub(crate) struct AuthChecking {
    job: JobId,
    is_mixing: bool,
    round: Option<Round>,
    deadline: Instant,
}

/// What the first IKE_AUTH request asks for, kept until all have authenticated.
#[derive(Debug)]
pub(crate) struct AuthRequest {
    id_r_body: Vec<u8>,
    /// Whether a failure may show our identity: the peer asked for it, is known by its identity
    /// and speaks from the address configured for it.
    show_identity: bool,
    initial_contact: bool,
    /// RFC 6023: nothing is asked for but the IKE SA.
    childless: bool,
    synchronizes: Synchronizes,
    /// TICKET_REQUEST.
    wants_ticket: bool,
    sa: Sa,
    selectors: SelectorPair,
    said: Said,
}

/// One IKE_AUTH request and what it takes to answer it.
#[derive(Debug)]
struct Round {
    handshake: Box<Handshake>,
    request: Box<AuthRequest>,
    /// What the peer proves with it, if it is not through.
    theirs: Option<Theirs>,
    /// Whether the post-quantum key is used, which the first response says.
    confirms_ppk: bool,
}

/// A proof of the peer.
#[derive(Debug)]
struct Theirs {
    id_body: Vec<u8>,
    auth: Option<Proof>,
    is_null: bool,
    /// The proof without the post-quantum key.
    no_ppk_auth: Option<Vec<u8>>,
    /// Whether the peer goes on to prove something.
    another: bool,
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
        let is_authenticating = handshake.rounds.request.is_some();
        match message.header.exchange {
            ExchangeType::IKE_INTERMEDIATE if !is_authenticating => {
                intermediate::answer(handshake, message, received, core, cx)?;
                Ok(Next::Stay)
            }
            ExchangeType::IKE_AUTH if !wants_intermediate => {
                self.handle_auth_request(message, received, core, cx)
            }
            // RFC 7296 §2.21.3: authentic but wrong, so fatal on both sides.
            exchange => {
                let reason = FailureReason::PeerMisbehaved("unexpected exchange in the handshake");
                refuse_with(exchange, NotifyType::INVALID_SYNTAX, reason, core, cx)
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
        let Some(mut handshake) = self.handshake.take() else {
            return Err(FailureReason::Internal("handshake is gone"));
        };
        if let Some(request) = handshake.rounds.request.take() {
            let round = Round { handshake, request, theirs: None, confirms_ppk: false };
            return round.take_later(received, self.deadline, core, cx);
        }
        handshake.announced.take(received);
        let exchange = message.header.exchange;
        if !is_complete(received) {
            let reason = FailureReason::PeerMisbehaved("malformed request");
            return refuse_with(exchange, NotifyType::INVALID_SYNTAX, reason, core, cx);
        }
        let selected = match handshake.resumed.is_some() {
            true => selection::resumed(received, core),
            false => select(&handshake, received, core, cx),
        };
        let selected = match selected {
            Ok(selected) => selected,
            Err(reason) => return refuse(None, reason, core, cx),
        };
        let childless = received.form == Form::AuthRequestWithoutChild;
        if let Err(reason) = childless::check(childless, handshake.childless, &selected.connection)
        {
            return refuse_with(exchange, NotifyType::INVALID_SYNTAX, reason, core, cx);
        }
        core.connection = Some(selected.connection);
        core.fragmentation &=
            core.connection.as_ref().is_none_or(|connection| connection.fragmentation);
        let local = configured(core)?.pad.local_id(core.path.local.ip());
        let request = Box::new(AuthRequest {
            id_r_body: id_body(&local),
            show_identity: selected.show_identity,
            initial_contact: is_first_contact(received, core),
            childless,
            synchronizes: Synchronizes::read(received),
            wants_ticket: received.has_notify(NotifyType::TICKET_REQUEST),
            sa: received.sa.clone().unwrap_or_default(),
            selectors: SelectorPair {
                initiator: received.ts_i.clone().unwrap_or_default().selectors,
                responder: received.ts_r.clone().unwrap_or_default().selectors,
            },
            said: Said::read(received),
        });
        core.local_id = Some(local);
        core.remote_id = Some(selected.remote_id);
        mobike::read_offer(received, core);
        if let Some(reason) = altered(received, core) {
            return refuse_with(exchange, NotifyType::UNEXPECTED_NAT_DETECTED, reason, core, cx);
        }
        handshake.rounds.first_id = message.header.message_id;
        handshake.rounds.agreed &= rounds::is_supported(received);
        let round = Round { handshake, request, theirs: None, confirms_ppk: false };
        round.take_first(received, self.deadline, core, cx)
    }
}

impl Round {
    /// Takes the proof of the first request.
    fn take_first(
        mut self,
        received: &Received<'_>,
        deadline: Instant,
        core: &mut Core,
        cx: &mut Context<'_>,
    ) -> StepResult {
        let connection = configured(core)?;
        let pad = &connection.pad;
        let taken = self.take_proof(received, pad);
        if taken.is_ok() && self.handshake.resumed.is_some() {
            return self.resume(pad, deadline, core, cx);
        }
        match taken.and_then(|()| ppk::decide(self.handshake.ppk.agreed, received, pad)) {
            Err(reason) => refuse(Some(&self.request), reason, core, cx),
            Ok(Decision::Standard) => self.prove(deadline, core, cx),
            Ok(Decision::Without) => self.prove_without_ppk(deadline, core, cx),
            Ok(Decision::Use(id)) => {
                let job = Ppk::ask(id, &self.handshake, core, cx)?;
                Ok(self.waiting_for(job, true, deadline))
            }
        }
    }

    /// The keys of the session that is resumed prove who is who, and nothing is asked of anybody.
    //= https://www.rfc-editor.org/rfc/rfc5723#section-4.3.3
    //# The IDi value sent in the IKE_AUTH exchange MUST be identical to the
    //# value included in the ticket.
    fn resume(
        self,
        pad: &PadEntry,
        deadline: Instant,
        core: &mut Core,
        cx: &mut Context<'_>,
    ) -> StepResult {
        let (handshake, request) = (&self.handshake, &self.request);
        // Another attempt may have used the ticket since, or its IKE SA may have been taken down.
        let is_void = |id| cx.out.tickets.as_ref().is_none_or(|office| office.is_void(id));
        if handshake.resumed.as_ref().is_some_and(|old| is_void(old.id)) {
            return refuse(Some(request), FailureReason::NotResumed, core, cx);
        }
        let (Some(old), Some(theirs)) = (&handshake.resumed, &self.theirs) else {
            return Err(FailureReason::Internal("handshake is gone"));
        };
        let proof = |signer, id_body: &[u8]| {
            let octets = handshake.signed_octets(signer, id_body);
            handshake.resumption_auth(signer, &octets)
        };
        let expected = proof(Role::Initiator, &theirs.id_body);
        let received = theirs.auth.as_ref().map(|auth| Secret::from_slice(&auth.data));
        let is_same = old.id_i == theirs.id_body && old.id_r == request.id_r_body;
        // The configuration may have changed since.
        let has_ppk = handshake.ppk.is_used() || !pad.requires_ppk();
        match proof(Role::Responder, &request.id_r_body) {
            Some(ours) if expected == received && is_same && has_ppk => {
                self.answer(Some(Proof::resumed(&ours)), deadline, core, cx)
            }
            _ => refuse(Some(request), wrong_secret(handshake, core), core, cx),
        }
    }

    /// Takes the proof of a later request, which is missing if the peer is through.
    fn take_later(
        mut self,
        received: &Received<'_>,
        deadline: Instant,
        core: &mut Core,
        cx: &mut Context<'_>,
    ) -> StepResult {
        if self.handshake.rounds.theirs_done {
            return self.prove(deadline, core, cx);
        }
        let connection = configured(core)?;
        let taken = self
            .take_proof(received, &connection.pad)
            .and_then(|()| self.take_identity(received, &connection.pad, core));
        match taken {
            Ok(()) => self.prove(deadline, core, cx),
            Err(reason) => refuse(Some(&self.request), reason, core, cx),
        }
    }

    fn take_proof(&mut self, received: &Received<'_>, pad: &PadEntry) -> Result<(), FailureReason> {
        let rounds = &self.handshake.rounds;
        let Some((_, asked)) = rounds.next_of_theirs(pad) else {
            return Err(FailureReason::Internal("nothing to prove is left"));
        };
        let asked = self.handshake.proof_asked(asked);
        let id_i = received.id_i.ok_or(FailureReason::PeerMisbehaved("no IDi"))?;
        let auth = Some(Proof::received(received, asked)?);
        let another = rounds::is_announced(received);
        rounds.check_announcement(another, pad)?;
        let (id_body, is_null) = (id_i.body.to_vec(), asked.is_null());
        let no_ppk_auth = received.notify(NotifyType::NO_PPK_AUTH);
        let no_ppk_auth = no_ppk_auth.map(|notify| notify.data.to_vec());
        self.theirs = Some(Theirs { id_body, auth, is_null, no_ppk_auth, another });
        Ok(())
    }

    /// Who the peer is in a round after the first: that has chosen the connection.
    fn take_identity(
        &mut self,
        received: &Received<'_>,
        pad: &PadEntry,
        core: &mut Core,
    ) -> Result<(), FailureReason> {
        let rounds = &mut self.handshake.rounds;
        let (Some((expected, asked)), Some(id_i)) = (rounds.next_of_theirs(pad), received.id_i)
        else {
            return Err(FailureReason::Internal("nothing to prove is left"));
        };
        let identity = match asked.is_null() {
            true => Identity::Null,
            false => identity_of(id_i)?,
        };
        if !asked.is_null() && !expected.matches(&identity) {
            let expected = expected.clone();
            return Err(FailureReason::WrongIdentity { expected, received: identity });
        }
        rounds.take_peer(identity, core);
        Ok(())
    }

    fn waiting_for(self, job: JobId, is_mixing: bool, deadline: Instant) -> Next {
        let round = Some(self);
        Next::enter(State::AuthChecking(Box::new(AuthChecking { job, is_mixing, round, deadline })))
    }

    fn prove_without_ppk(
        mut self,
        deadline: Instant,
        core: &mut Core,
        cx: &mut Context<'_>,
    ) -> StepResult {
        if let Some(theirs) = &mut self.theirs
            && let (Some(auth), Some(data)) = (&mut theirs.auth, theirs.no_ppk_auth.take())
        {
            auth.data = data;
        }
        self.prove(deadline, core, cx)
    }

    /// Has the peer's proof checked and ours made, as far as there are any in this round.
    fn prove(mut self, deadline: Instant, core: &mut Core, cx: &mut Context<'_>) -> StepResult {
        let connection = configured(core)?;
        let handshake = &mut self.handshake;
        let local = handshake.rounds.next_of_ours(&connection.pad, core);
        let our_auth = local.as_ref().map(|_| handshake.rounds.our_auth(&connection.pad));
        let ours = local.map(|id| {
            self.request.id_r_body = id_body(&id);
            handshake.signed_octets(Role::Responder, &self.request.id_r_body)
        });
        let theirs = self.theirs.as_mut().and_then(|theirs| {
            let octets = handshake.signed_octets(Role::Initiator, &theirs.id_body);
            Some((octets, theirs.auth.take()?, theirs.is_null))
        });
        let theirs = match theirs {
            Some((octets, auth, true)) => {
                if !null_auth::is_right(handshake, Role::Initiator, &octets, &auth.data) {
                    let reason = wrong_null(handshake, core, connection.pad.ppk.is_some());
                    return refuse(Some(&self.request), reason, core, cx);
                }
                None
            }
            Some((octets, auth, false)) => Some((octets, auth)),
            None => None,
        };
        let ours = ours.filter(|_| our_auth.is_some_and(|auth| !auth.is_null()));
        let (kind, octets) = match (theirs, ours) {
            (Some((octets, auth)), Some(ours)) => {
                (AuthJobKind::VerifyAndSign { auth, ours }, octets)
            }
            (Some((octets, auth)), None) => (AuthJobKind::Verify { auth }, octets),
            (None, Some(ours)) => (AuthJobKind::Sign, ours),
            (None, None) => return self.answer(None, deadline, core, cx),
        };
        let job = start_job(kind, octets, handshake, core, cx)?;
        Ok(self.waiting_for(job, false, deadline))
    }

    /// All that had to be proved in this round is. `signed` is our proof, if it took a job.
    fn answer(
        mut self,
        signed: Option<Proof>,
        deadline: Instant,
        core: &mut Core,
        cx: &mut Context<'_>,
    ) -> StepResult {
        let connection = configured(core)?;
        let pad = &connection.pad;
        if let Some(theirs) = self.theirs.take() {
            self.handshake.rounds.theirs += 1;
            self.handshake.rounds.theirs_done = !theirs.another;
        }
        let has_ours = !self.handshake.rounds.ours_done(pad);
        let is_over = self.handshake.rounds.theirs_done && !self.handshake.rounds.ours_follow(pad);
        if is_over && let Err(reason) = check_unique(&self.request, core, cx) {
            return refuse(Some(&self.request), reason, core, cx);
        }
        let mut chain = ChainBuilder::new();
        if has_ours {
            let proof = self.our_proof(signed);
            chain.push(PayloadType::ID_R, |w| w.bytes(&self.request.id_r_body));
            proof.put_certificates(&mut chain);
            proof.put_auth(&mut chain);
            if self.handshake.rounds.ours_follow(pad) {
                rounds::put_announcement(&mut chain);
            }
            self.handshake.rounds.ours += 1;
        }
        if self.confirms_ppk {
            ppk::put_confirmation(&mut chain);
        }
        if is_over {
            return self.establish(chain, core, cx);
        }
        core.respond(ExchangeType::IKE_AUTH, chain, cx)?;
        let Self { mut handshake, request, .. } = self;
        handshake.rounds.request = Some(request);
        Ok(Next::enter(State::InitAnswered(InitAnswered::new(handshake, deadline))))
    }

    /// Our proof: the one that a job has made, or one of nothing.
    fn our_proof(&self, signed: Option<Proof>) -> Proof {
        signed.unwrap_or_else(|| {
            let handshake = &self.handshake;
            let octets = handshake.signed_octets(Role::Responder, &self.request.id_r_body);
            Proof::null(null_auth::proof(handshake, Role::Responder, &octets))
        })
    }

    fn establish(
        self,
        mut chain: ChainBuilder,
        core: &mut Core,
        cx: &mut Context<'_>,
    ) -> StepResult {
        let Self { handshake, request, .. } = self;
        if let Some(old) = &handshake.resumed {
            core.is_resumed = true;
            cx.out.notice(Notice::Resumed { old: old.id });
        }
        let mut established = Established::begin(&handshake, core, cx)?;
        let repeats = repeats(&request, &handshake, core, cx);
        established.reauth = reauth::begin(None, repeats, handshake.resumed.as_deref(), core, cx);
        cx.out
            .notice(Notice::Established { ike: core.id, initial_contact: request.initial_contact });
        message_id_sync::answer(request.synchronizes, core, &mut chain);
        resumption::answer_request(request.wants_ticket, &established, core, &mut chain, cx);
        let elsewhere = redirect::in_auth(core);
        if let Some(to) = &elsewhere {
            redirect::put(to, &mut chain);
            established.over_at = Some(cx.now + REDIRECTED_WAIT);
        }
        let child = match request.childless || elsewhere.is_some() {
            true => None,
            false => answer_child(&request, &handshake, &mut chain, core, cx)?,
        };
        if let Some(child) = child {
            let config = core.connection.as_ref().and_then(|known| known.child(&child.name));
            if let Some(config) = config {
                established.note_resources(request.said.per_resource, config);
            }
            established.add_child(child, core, cx);
        }
        mobike::put_answer(core, &mut chain, cx);
        reauth::put_lifetime(&established, cx.now, &mut chain);
        core.respond(ExchangeType::IKE_AUTH, chain, cx)?;
        Ok(Next::enter(State::Established(Box::new(established))))
    }
}

impl AuthChecking {
    pub(crate) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Takes the keys with the post-quantum key, or the verdict on the peer's proof and our own;
    /// answers, and establishes the IKE SA if nothing is left to prove.
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
        let Some(round) = self.round.take() else {
            return Err(FailureReason::Internal("handshake is gone"));
        };
        if self.is_mixing {
            return round.mixed(result, self.deadline, core, cx);
        }
        match verdict(result, &round, core) {
            Ok(signed) => round.answer(signed, self.deadline, core, cx),
            Err(reason) => refuse(Some(&round.request), reason, core, cx),
        }
    }
}

impl Round {
    /// Takes the keys with the post-quantum key. A secret that is not here is a name that is not known
    /// (RFC 8784 §3).
    fn mixed(
        mut self,
        result: AuthResult,
        deadline: Instant,
        core: &mut Core,
        cx: &mut Context<'_>,
    ) -> StepResult {
        if let AuthResult::Mixed(keys) = result {
            self.handshake.ppk.take(keys);
            self.handshake.swap_ppk();
            self.confirms_ppk = true;
            return self.prove(deadline, core, cx);
        }
        let connection = configured(core)?;
        let has_other = self.theirs.as_ref().is_some_and(|theirs| theirs.no_ppk_auth.is_some());
        if has_other && !connection.pad.requires_ppk() {
            return self.prove_without_ppk(deadline, core, cx);
        }
        let reason = ppk::gap(&connection.pad, PpkGap::Missing);
        refuse(Some(&self.request), reason, core, cx)
    }
}

/// Our proof, if one was asked for, when the peer's is right.
fn verdict(result: AuthResult, round: &Round, core: &Core) -> Result<Option<Proof>, FailureReason> {
    match result {
        AuthResult::VerifiedAndSigned(auth) | AuthResult::Signed(auth) => Ok(Some(auth)),
        AuthResult::Verified => Ok(None),
        AuthResult::Refused => Err(wrong_secret(&round.handshake, core)),
        AuthResult::NoSecret => Err(no_secret(&round.handshake, core)),
        AuthResult::Distrusted(problem) => Err(not_trusted(&round.handshake, core, problem)),
        AuthResult::CannotSign(problem) => Err(cannot_sign(&round.handshake, core, problem)),
        AuthResult::Mixed(_)
        | AuthResult::Limited(_)
        | AuthResult::Derived(_)
        | AuthResult::Decrypted(_) => Err(FailureReason::Internal("a verdict was asked for")),
    }
}

fn wrong_secret(handshake: &Handshake, core: &Core) -> FailureReason {
    let (Some(local), Some(remote)) = handshake.rounds.identities(core) else {
        return FailureReason::Internal("identities are not known");
    };
    FailureReason::WrongSecret {
        by: By::Us,
        local: local.clone(),
        remote: adit_db::IdentityPattern::Exact(remote.clone()),
        certain: true,
    }
}

/// A proof without identity that is wrong. Only with a post-quantum key an honest peer's can be.
fn wrong_null(handshake: &Handshake, core: &Core, has_ppk: bool) -> FailureReason {
    match has_ppk {
        true => wrong_secret(handshake, core),
        false => FailureReason::PeerMisbehaved("wrong NULL authentication"),
    }
}

/// Whether the peer may have another IKE SA (CHECKLIST F24). Anonymous ones are many.
fn check_unique(request: &AuthRequest, core: &Core, cx: &Context<'_>) -> Result<(), FailureReason> {
    let (Some(local), Some(remote), Some(connection)) =
        (&core.local_id, &core.remote_id, &core.connection)
    else {
        return Err(FailureReason::Internal("identities are not known"));
    };
    if !null_auth::is_between_known(local, remote) {
        let most = null_auth::ANONYMOUS_PEERS_MAX;
        let is_full = cx.roster.count(local, remote, most) >= most;
        return if is_full { Err(FailureReason::TooMany("anonymous peers")) } else { Ok(()) };
    }
    let existing = cx.roster.count(local, remote, IKE_SAS_PER_PEER_MAX);
    let is_kept = connection.unique == Unique::Keep && existing > 0 && !request.initial_contact;
    // Who is where the old one is authenticates again (RFC 7296 §2.8.3).
    let is_refused = is_kept && !cx.roster.has_from(local, remote, core.path.remote.ip());
    if is_refused || existing >= IKE_SAS_PER_PEER_MAX {
        return Err(FailureReason::NotUnique);
    }
    Ok(())
}

/// Whether the peer authenticates anew beside an IKE SA that it has. One that it resumes it has lost.
fn repeats(request: &AuthRequest, handshake: &Handshake, core: &Core, cx: &Context<'_>) -> bool {
    handshake.resumed.is_none() && reauth::is_repetition(request.initial_contact, core, cx)
}

/// Whether the peer says that it has no other IKE SA with us (RFC 7296 §2.4). Where several hosts have its
/// identity, it cannot know.
fn is_first_contact(received: &Received<'_>, core: &Core) -> bool {
    let is_replicated = |connection: &Arc<Connection>| connection.unique == Unique::Replicated;
    received.has_notify(NotifyType::INITIAL_CONTACT)
        && !core.connection.as_ref().is_some_and(is_replicated)
}

/// Whether a first request has all that it must have but a proof.
fn is_complete(received: &Received<'_>) -> bool {
    let has_child = received.sa.is_some() && received.ts_i.is_some() && received.ts_r.is_some();
    received.id_i.is_some() && (has_child || received.form == Form::AuthRequestWithoutChild)
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
    let Answer { config, choice, spi_out, selectors, mode, others_possible } =
        match choose(&connection, core.ends(), &offered) {
            Ok(answer) => answer,
            Err(refusal) => {
                refuse_child(&refusal, &connection, &offered, chain, core, cx);
                return Ok(None);
            }
        };
    let spi_in = cx.child_spi(&connection, config).ok_or(FailureReason::TooMany("child SAs"))?;
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
    if request.said.per_resource {
        put_resource(config, chain);
    }
    let aggfrag = answer_aggfrag(&connection, config, request.said, chain);
    let path_probe = answer_path_probe(config, request.said, core.peer, chain);
    chain.put(&Payload::Sa(choice.answer(&spi_in.to_octets())));
    put_answer(&selectors, others_possible, chain);
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
        aggfrag,
        path_probe,
        notices: core.terms.notices,
        keymat,
        encap: core.encapsulation(),
        rekeys: None,
        outbound: !repeats(request, handshake, core, cx),
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
    let reason = refusal.reason(connection, core.ends(), offered);
    let about = About { code: reason.code(), payload: Some(refusal.payload()), exchange: None };
    notification_data::put_error(refusal.notify(), about, core, chain);
    let config = refusal.child().and_then(|name| connection.child(name));
    if let Some(config) = config.filter(|_| core.peer == PeerSoftware::Adit) {
        Hints::of(config, core.ends(), core.claims()).put(chain);
    }
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
        .filter(|_| {
            matches!(
                reason,
                FailureReason::WrongSecret { .. }
                    | FailureReason::NotTrusted { .. }
                    | FailureReason::NoPpk { .. }
            )
        });
    if let Some(request) = shown {
        chain.push(PayloadType::ID_R, |w| w.bytes(&request.id_r_body));
    }
    chain.put(&Payload::Notify(Notify::new(NotifyType::AUTHENTICATION_FAILED, &[])));
    core.respond(ExchangeType::IKE_AUTH, chain, cx)?;
    Err(reason)
}

/// Answers with an error of its own and ends the attempt. INVALID_SYNTAX is fatal for both (RFC 7296
/// §2.21.3), and what who does not know what the request asks for would say (RFC 6023 §3).
fn refuse_with(
    exchange: ExchangeType,
    notify: NotifyType,
    reason: FailureReason,
    core: &mut Core,
    cx: &mut Context<'_>,
) -> StepResult {
    let mut chain = ChainBuilder::new();
    chain.put(&Payload::Notify(Notify::new(notify, &[])));
    core.respond(exchange, chain, cx)?;
    Err(reason)
}

/// Whether something on the way has changed addresses that the peer wants nobody to (RFC 4555 §3.9).
fn altered(received: &Received<'_>, core: &Core) -> Option<FailureReason> {
    let path = core.request_path().filter(|_| core.mobike.is_some())?;
    let (local, remote) = (path.local.ip(), path.remote);
    mobike::unexpected_nat(received, path).then_some(FailureReason::UnexpectedNat { local, remote })
}

/// IKE SAs between the same two identities, where the configuration allows more than one.
const IKE_SAS_PER_PEER_MAX: usize = 32;
