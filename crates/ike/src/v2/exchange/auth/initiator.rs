//! The initiator's side of IKE_AUTH (RFC 7296 §1.2).

use adit_crypto::Secret;
use adit_db::{Connection, Gateway, Identity, IdentityPattern, Unique};
use adit_wire::iana::{ExchangeType, NotifyType, PayloadType};
use adit_wire::ikev2::{ChainBuilder, Id, Notify, Payload};

use crate::command::{AuthResult, JobId};
use crate::context::{Context, Notice};
use crate::event::PeerSoftware;
use crate::failure::{By, FailureReason, PpkGap};
use crate::keymat::{ChildKeymat, Role, SharedSecrets};
use crate::output::AuthJobKind;
use crate::proposal::Purpose;
use crate::v2::child::{Agreed, Cause, Child, Selectors};
use crate::v2::child_offer::{Accepted, ChildOffer, Reply};
use crate::v2::established::{Established, Task};
use crate::v2::exchange::init::Wanted;
use crate::v2::handshake::{Handshake, id_body};
use crate::v2::ike_sa::core::Core;
use crate::v2::ike_sa::{Next, State, StepResult};
use crate::v2::mobike;
use crate::v2::ppk::{self, Ppk, PpkKeys};
use crate::v2::protected::Message;
use crate::v2::reauth::{self, AuthLifetime};
use crate::v2::resumption::{self, Granted};
use crate::v2::rules::{Form, Received};
use crate::v2::signature::{Proof, certificate_request, request_payload};
use crate::v2::{message_id_sync, null_auth, redirect, rounds};

use super::{cannot_sign, configured, no_secret, not_trusted, start_job};

/// The keys are agreed; our proof is being made.
#[derive(Debug)]
pub(crate) struct AuthSigning {
    job: JobId,
    step: Step,
    draft: Option<Draft>,
}

/// What is being made.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Step {
    /// The keys with the post-quantum key in them.
    Mix,
    /// The proof without that key, for a peer that declines it.
    Plain,
    /// The proof.
    Proof,
}

/// An IKE_AUTH request that still lacks our proof.
#[derive(Debug)]
struct Draft {
    handshake: Box<Handshake>,
    errand: Errand,
    id_body: Vec<u8>,
    no_ppk_auth: Option<Vec<u8>>,
}

/// What else the request is for.
#[derive(Debug)]
enum Errand {
    /// The first: it asks for a child.
    First(Wanted),
    /// A later round of authentication; the child has been asked for, if there is to be one.
    Later(Option<Box<ChildOffer>>),
}

/// IKE_AUTH request sent, response awaited.
#[derive(Debug)]
pub(crate) struct AuthSent {
    handshake: Option<Box<Handshake>>,
    /// None if none was asked for (RFC 6023).
    child: Option<ChildOffer>,
}

/// IKE_AUTH response received; the peer's proof is being checked.
#[derive(Debug)]
pub(crate) struct AuthVerifying {
    job: JobId,
    answered: Option<Answered>,
}

/// What an IKE_AUTH response says beside the proof.
#[derive(Debug)]
struct Answered {
    handshake: Box<Handshake>,
    /// None if no child was asked for (RFC 6023).
    offer: Option<ChildOffer>,
    /// About the child; only the last response does.
    reply: Reply,
    /// Where the peer sends us, if it is the peer (RFC 5685 §6).
    redirect: Option<Gateway>,
    /// What it says about a ticket.
    granted: Granted,
    lifetime: Option<AuthLifetime>,
    /// Whether the peer goes on to prove something.
    another: bool,
    /// Whether the peer has said what comes of the child, if any, and so thinks that the IKE SA is up.
    is_last: bool,
}

impl AuthSigning {
    pub(crate) fn start(
        mut handshake: Box<Handshake>,
        wanted: Wanted,
        core: &mut Core,
        cx: &mut Context<'_>,
    ) -> StepResult {
        let connection = configured(core)?;
        let local = connection.pad.local_id(core.path.local.ip());
        let id_body = id_body(&local);
        core.local_id = Some(local);
        // Whom we asked for; the address stands in while the peer has not said its name.
        let expected = remote_pattern(core).exact().cloned();
        core.remote_id = Some(expected.unwrap_or_else(|| Identity::from(core.path.remote.ip())));
        handshake.rounds.first_id =
            core.requests.next_id().ok_or(FailureReason::Internal("message ids are used up"))?;
        let draft = Draft { handshake, errand: Errand::First(wanted), id_body, no_ppk_auth: None };
        match &connection.pad.ppk {
            Some(ppk) if draft.handshake.ppk.agreed => {
                let job = Ppk::ask(ppk.id.clone(), &draft.handshake, core, cx)?;
                Ok(draft.waiting_for(job, Step::Mix))
            }
            _ => draft.prove(Step::Proof, core, cx),
        }
    }

    /// Takes the keys or the proof, and sends the IKE_AUTH request.
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
        let draft = self.draft.take().ok_or(FailureReason::Internal("handshake is gone"))?;
        match (result, self.step) {
            (AuthResult::Mixed(keys), Step::Mix) => draft.mixed(keys, core, cx),
            (AuthResult::Signed(auth), Step::Plain | Step::Proof) => {
                draft.proven(self.step, auth, core, cx)
            }
            (AuthResult::NoSecret, Step::Mix) => {
                Err(ppk::gap(&configured(core)?.pad, PpkGap::Missing))
            }
            (AuthResult::NoSecret, Step::Plain | Step::Proof) => {
                Err(no_secret(&draft.handshake, core))
            }
            (AuthResult::CannotSign(problem), _) => {
                Err(cannot_sign(&draft.handshake, core, problem))
            }
            _ => Err(FailureReason::Internal("something else was asked for")),
        }
    }
}

impl Draft {
    fn waiting_for(self, job: JobId, step: Step) -> Next {
        Next::enter(State::AuthSigning(Box::new(AuthSigning { job, step, draft: Some(self) })))
    }

    /// The keys with the post-quantum key are there.
    //= https://www.rfc-editor.org/rfc/rfc8784#section-3
    //# if using PPKs for communication with this responder is optional for the initiator (based on
    //# the mandatory_or_not flag), then the initiator MUST include a NO_PPK_AUTH notification in the
    //# above message.
    fn mixed(mut self, keys: PpkKeys, core: &mut Core, cx: &mut Context<'_>) -> StepResult {
        self.handshake.ppk.take(keys);
        if configured(core)?.pad.requires_ppk() {
            self.handshake.swap_ppk();
            return self.prove(Step::Proof, core, cx);
        }
        self.prove(Step::Plain, core, cx)
    }

    fn prove(self, step: Step, core: &mut Core, cx: &mut Context<'_>) -> StepResult {
        let connection = configured(core)?;
        let auth = self.handshake.rounds.our_auth(&connection.pad);
        let octets = self.handshake.signed_octets(Role::Initiator, &self.id_body);
        if let Some(auth) = self.handshake.resumption_auth(Role::Initiator, &octets) {
            core.is_resumed = true;
            return self.proven(step, Proof::resumed(&auth), core, cx);
        }
        if auth.is_null() {
            let data = null_auth::proof(&self.handshake, Role::Initiator, &octets);
            return self.proven(step, Proof::null(data), core, cx);
        }
        let job = start_job(AuthJobKind::Sign, octets, &self.handshake, core, cx)?;
        Ok(self.waiting_for(job, step))
    }

    fn proven(
        mut self,
        step: Step,
        proof: Proof,
        core: &mut Core,
        cx: &mut Context<'_>,
    ) -> StepResult {
        if step == Step::Plain {
            self.no_ppk_auth = Some(proof.data);
            self.handshake.swap_ppk();
            return self.prove(Step::Proof, core, cx);
        }
        self.send(&proof, core, cx)
    }

    fn send(mut self, proof: &Proof, core: &mut Core, cx: &mut Context<'_>) -> StepResult {
        let connection = configured(core)?;
        let mut chain = ChainBuilder::new();
        chain.push(PayloadType::ID_I, |w| w.bytes(&self.id_body));
        proof.put_certificates(&mut chain);
        let child = match self.errand {
            Errand::First(ref wanted) => {
                let child = match self.handshake.childless {
                    true => None,
                    false => Some(child_offer(wanted, core, cx)?),
                };
                self.put_first(proof, child.as_ref(), &connection, &mut chain, core, cx)?;
                child
            }
            Errand::Later(child) => {
                proof.put_auth(&mut chain);
                child.map(|child| *child)
            }
        };
        if self.handshake.rounds.ours_follow(&connection.pad) {
            rounds::put_announcement(&mut chain);
        }
        self.handshake.rounds.ours += 1;
        send(self.handshake, child, chain, core, cx)
    }

    /// `[N(INITIAL_CONTACT),] [CERTREQ,] [IDr,] AUTH, [SAi2, TSi, TSr]` (RFC 7296 §1.2, Appendix C;
    /// RFC 6023 §5), and what extensions add.
    fn put_first(
        &self,
        proof: &Proof,
        child: Option<&ChildOffer>,
        connection: &Connection,
        chain: &mut ChainBuilder,
        core: &Core,
        cx: &Context<'_>,
    ) -> Result<(), FailureReason> {
        let local = core.local_id.as_ref().ok_or(FailureReason::Internal("no identity"))?;
        let pad = &connection.pad;
        //= https://www.rfc-editor.org/rfc/rfc7296#section-2.4
        //# This notification MUST NOT be sent by an entity that may be replicated
        let is_replicated = connection.unique == Unique::Replicated;
        let remote = core.remote_id.as_ref().filter(|remote| {
            null_auth::is_between_known(local, remote) && !pad.is_peer_anonymous() && !is_replicated
        });
        if remote.is_some_and(|remote| cx.roster.count(local, remote, 1) == 0) {
            let notify = Notify::new(NotifyType::INITIAL_CONTACT, &[]);
            chain.put(&Payload::Notify(notify));
        }
        let asked = pad.more_remote.iter().map(|round| &round.auth).chain([&pad.remote_auth]);
        let asked = asked.filter(|_| self.handshake.resumed.is_none());
        let authorities = asked.filter_map(|auth| certificate_request(Some(auth)));
        for authorities in authorities {
            chain.put(&request_payload(&authorities));
        }
        if let Some(expected) = pad.remote_id.exact() {
            let data = expected.octets();
            chain.put(&Payload::IdR(Id { kind: expected.kind(), data: &data }));
        }
        proof.put_auth(chain);
        message_id_sync::offer(core, chain);
        resumption::ask(core, chain);
        if let Some(child) = child {
            child.put_sa(core.peer, chain);
            child.put_selectors(chain);
        }
        mobike::put_offer(core, chain, cx);
        if self.handshake.ppk.agreed {
            ppk::put_identity(pad, self.no_ppk_auth.as_deref(), chain);
        }
        if pad.has_more_rounds() && self.handshake.resumed.is_none() {
            rounds::put_support(chain);
        }
        Ok(())
    }
}

fn send(
    handshake: Box<Handshake>,
    child: Option<ChildOffer>,
    chain: ChainBuilder,
    core: &mut Core,
    cx: &mut Context<'_>,
) -> StepResult {
    core.request(ExchangeType::IKE_AUTH, chain, cx.config.connecting, cx)?;
    let handshake = Some(handshake);
    Ok(Next::enter(State::AuthSent(Box::new(AuthSent { handshake, child }))))
}

fn child_offer(
    (name, flow): &Wanted,
    core: &Core,
    cx: &mut Context<'_>,
) -> Result<ChildOffer, FailureReason> {
    let connection = configured(core)?;
    let config = connection.child(name).ok_or(FailureReason::NoSuch("child"))?;
    let spi_in = cx.child_spi(&connection, config).ok_or(FailureReason::TooMany("child SAs"))?;
    let cpi_in = cx.child_cpi(config);
    let ends = core.ends();
    // Who answers is known for sure only if there is but one who may.
    let is_known = connection.pad.remote_id.exact().is_some();
    let claims = core.claims().filter(|_| is_known);
    let cause = flow.as_ref().map_or(Cause::Order, Cause::Packet);
    let selectors = Selectors::offered(config, ends, claims, cause)?;
    ChildOffer::new(Purpose::FirstChild, config, ends, selectors, spi_in, cpi_in)
        .map(|offer| offer.of(&connection, core.peer))
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
        let Some(handshake) = self.handshake.take() else {
            return Err(FailureReason::Internal("handshake is gone"));
        };
        let is_over = handshake.rounds.theirs_done;
        if received.form == Form::Refusal && !(is_over && rounds::is_about_child(received)) {
            return Err(match core.is_resumed {
                true => FailureReason::NotResumed,
                false => refusal(core, received),
            });
        }
        message_id_sync::agree(received, core);
        let is_without = matches!(received.form, Form::AuthRound | Form::AuthResponseWithoutChild);
        let redirect = redirect::from_protected(core, received).filter(|_| is_without);
        let (offer, another) = (self.child.take(), rounds::is_announced(received));
        let is_last = received.form != Form::AuthRound || redirect.is_some() || {
            // Nothing about a child answers who has asked for none.
            let has_proven_all = handshake.rounds.ours_done(&configured(core)?.pad);
            offer.is_none() && !another && has_proven_all
        };
        if is_last {
            mobike::read_answer(received, core);
        }
        let answered = Answered {
            handshake,
            offer,
            reply: Reply::from_received(received),
            redirect,
            granted: Granted::read(received),
            lifetime: AuthLifetime::read(received),
            another,
            is_last,
        };
        if is_over {
            return answered.go_on(core, cx);
        }
        answered.check(received, core, cx)
    }
}

impl Answered {
    /// Checks who the peer is, and has its proof checked.
    fn check(
        mut self,
        received: &Received<'_>,
        core: &mut Core,
        cx: &mut Context<'_>,
    ) -> StepResult {
        let connection = configured(core)?;
        let pad = &connection.pad;
        let id_r = received.id_r.ok_or(FailureReason::PeerMisbehaved("no IDr"))?;
        let identity = Identity::from_wire(id_r.id.kind, id_r.id.data)
            .map_err(|_| FailureReason::PeerMisbehaved("IDr is no identity"))?;
        let Some((expected, asked)) = self.handshake.rounds.next_of_theirs(pad) else {
            return Err(FailureReason::Internal("nothing to prove is left"));
        };
        let asked = self.handshake.proof_asked(asked);
        let auth = match Proof::received(received, asked) {
            Ok(auth) => auth,
            Err(reason) => return self.refuse(reason),
        };
        // RFC 7619 §2.2: what a peer calls itself without proof is not to be used.
        let is_unproven = asked.is_null() && pad.ppk.is_none();
        let identity = if is_unproven { Identity::Null } else { identity };
        if !is_unproven && !expected.matches(&identity) {
            let expected = expected.clone();
            return self.refuse(FailureReason::WrongIdentity { expected, received: identity });
        }
        self.handshake.rounds.take_peer(identity, core);
        if let Err(reason) = self.handshake.rounds.check_announcement(self.another, pad) {
            return self.refuse(reason);
        }
        if self.handshake.rounds.theirs == 0
            && let Err(reason) = self.settle_ppk(received, &connection)
        {
            return self.refuse(reason);
        }
        let octets = self.handshake.signed_octets(Role::Responder, id_r.body);
        if let Some(expected) = self.handshake.resumption_auth(Role::Responder, &octets) {
            let resumed = self.handshake.resumed.as_ref();
            let is_same = resumed.is_some_and(|old| old.id_r == id_r.body);
            return match is_same && expected == Secret::new(auth.data) {
                true => self.verified(core, cx),
                false => self.refuse(FailureReason::NotResumed),
            };
        }
        if asked.is_null() {
            let data = &auth.data;
            return match null_auth::is_right(&self.handshake, Role::Responder, &octets, data) {
                true => self.verified(core, cx),
                false => self.refuse(wrong_null(core, pad.ppk.is_some())),
            };
        }
        let job = start_job(AuthJobKind::Verify { auth }, octets, &self.handshake, core, cx)?;
        let verifying = AuthVerifying { job, answered: Some(self) };
        Ok(Next::enter(State::AuthVerifying(Box::new(verifying))))
    }

    //= https://www.rfc-editor.org/rfc/rfc8784#section-3
    //# If the initiator does not receive the PPK_IDENTITY, it MUST either fail the IKE SA negotiation
    //# sending the AUTHENTICATION_FAILED notification in the INFORMATIONAL exchange (if the PPK was
    //# configured as mandatory) or continue without using the PPK
    fn settle_ppk(
        &mut self,
        received: &Received<'_>,
        connection: &Connection,
    ) -> Result<(), FailureReason> {
        if !self.handshake.ppk.agreed || received.has_notify(NotifyType::PPK_IDENTITY) {
            return Ok(());
        }
        if connection.pad.requires_ppk() {
            return Err(ppk::gap(&connection.pad, PpkGap::Declined));
        }
        self.handshake.swap_ppk();
        Ok(())
    }

    /// The peer has proved what it had to in this round.
    fn verified(mut self, core: &mut Core, cx: &mut Context<'_>) -> StepResult {
        self.handshake.rounds.theirs += 1;
        self.handshake.rounds.theirs_done = !self.another;
        self.go_on(core, cx)
    }

    /// Begins our next round, lets the peer begin its own, or takes what has come of the child.
    fn go_on(mut self, core: &mut Core, cx: &mut Context<'_>) -> StepResult {
        let connection = configured(core)?;
        let next = self.handshake.rounds.next_of_ours(&connection.pad, core);
        if next.is_none() && self.handshake.rounds.theirs_done {
            return match self.is_last {
                true => self.establish(core, cx),
                false => Err(FailureReason::PeerMisbehaved("nothing about the child")),
            };
        }
        if self.is_last {
            return Err(FailureReason::PeerMisbehaved("a child before all have authenticated"));
        }
        match next {
            Some(id) => {
                let errand = Errand::Later(self.offer.map(Box::new));
                let (handshake, id_body) = (self.handshake, id_body(&id));
                let draft = Draft { handshake, errand, id_body, no_ppk_auth: None };
                draft.prove(Step::Proof, core, cx)
            }
            None => send(self.handshake, self.offer, ChainBuilder::new(), core, cx),
        }
    }

    /// RFC 7296 §2.21.2: a responder that believes the IKE SA to be up is told. One that waits for more
    /// will wait in vain.
    fn refuse(&self, reason: FailureReason) -> StepResult {
        match self.is_last {
            true => Ok(Next::Refuse(NotifyType::AUTHENTICATION_FAILED, reason)),
            false => Err(reason),
        }
    }

    fn establish(self, core: &mut Core, cx: &mut Context<'_>) -> StepResult {
        let Self { handshake, offer, reply, redirect, granted, lifetime, .. } = self;
        //= https://www.rfc-editor.org/rfc/rfc5685#section-6
        //# When the client receives the IKE_AUTH response with the REDIRECT
        //# payload, it SHOULD delete the IKEv2 security association with the
        //# gateway by sending an INFORMATIONAL message with a DELETE payload.
        if let Some(to) = redirect {
            return Ok(Next::Delete(FailureReason::Redirected { to }));
        }
        let mut established = Established::begin(&handshake, core, cx)?;
        let resumed = handshake.resumed.as_deref();
        established.reauth = reauth::begin(lifetime, false, resumed, core, cx);
        cx.out.notice(Notice::Established { ike: core.id, initial_contact: false });
        if granted == Granted::Later {
            established.queue(Task::RequestTicket);
        }
        resumption::keep(granted, &mut established, core, cx);
        if let Some(offer) = offer {
            settle_child(&handshake, offer, reply, &mut established, core, cx)?;
        }
        Ok(Next::enter(State::Established(Box::new(established))))
    }
}

impl AuthVerifying {
    /// Takes the verdict on the peer's proof: IKE_AUTH goes on, or is over.
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
        let answered = self.answered.take().ok_or(FailureReason::Internal("handshake is gone"))?;
        let reason = match result {
            AuthResult::Verified => return answered.verified(core, cx),
            AuthResult::Refused => wrong_secret(core, By::Us, true),
            AuthResult::NoSecret => no_secret(&answered.handshake, core),
            AuthResult::Distrusted(problem) => not_trusted(&answered.handshake, core, problem),
            AuthResult::Signed(_)
            | AuthResult::VerifiedAndSigned(_)
            | AuthResult::Mixed(_)
            | AuthResult::Limited(_)
            | AuthResult::Derived(_)
            | AuthResult::Decrypted(_)
            | AuthResult::CannotSign(_) => FailureReason::Internal("a verdict was asked for"),
        };
        answered.refuse(reason)
    }
}

/// What became of the child that was asked for.
fn settle_child(
    handshake: &Handshake,
    offer: ChildOffer,
    reply: Reply,
    established: &mut Established,
    core: &mut Core,
    cx: &mut Context<'_>,
) -> Result<(), FailureReason> {
    let accepted_by_peer = matches!(reply, Reply::Accepted { .. });
    let protocol = offer.protocol_of(&reply);
    match offer.evaluate(reply, ExchangeType::IKE_AUTH, core.claims()) {
        Ok(accepted) => {
            established.note_resources(accepted.per_resource, offer.config());
            let child = install(handshake, &offer, accepted, core, cx)?;
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
    Ok(())
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
        aggfrag: accepted.aggfrag,
        path_probe: accepted.path_probe,
        notices: core.terms.notices,
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

/// A proof without identity that is wrong. Only with a post-quantum key an honest peer's can be.
fn wrong_null(core: &Core, has_ppk: bool) -> FailureReason {
    match has_ppk {
        true => wrong_secret(core, By::Us, true),
        false => FailureReason::PeerMisbehaved("wrong NULL authentication"),
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
    let signs = core
        .connection
        .as_ref()
        .is_some_and(|connection| connection.pad.local_auth.signature().is_some());
    match (&core.local_id, received.id_r, core.peer) {
        (Some(local), None, PeerSoftware::Adit) if would_tell => {
            FailureReason::UnknownToPeer { local: local.clone(), remote: remote_pattern(core) }
        }
        (Some(local), ..) if signs => {
            FailureReason::CredentialRefused { local: local.clone(), remote: remote_pattern(core) }
        }
        (_, id_r, _) => wrong_secret(core, By::Peer, id_r.is_some()),
    }
}
