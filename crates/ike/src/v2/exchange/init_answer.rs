//! The answer to IKE_SA_INIT (RFC 7296 §1.2). With static ML-KEM keys ([`crate::v2::static_kem`]) it
//! waits until the role that holds keys has opened the initiator's ciphertext.

use std::time::Instant;

use adit_crypto::Secret;
use adit_db::Connection;
use adit_wire::iana::{ExchangeType, NotifyType, PayloadType};
use adit_wire::ikev2::{Header, Ke, MessageBuilder, Notify, Payload};

use crate::command::{AuthResult, JobId, Path};
use crate::context::Context;
use crate::failure::FailureReason;
use crate::proposal::{Purpose, choose_ike};
use crate::v2::handshake::{Handshake, Init};
use crate::v2::ike_sa::core::Core;
use crate::v2::ike_sa::{Next, State, StepResult};
use crate::v2::signature::Announced;
use crate::v2::static_kem::Awaiting;
use crate::v2::{childless, ppk, signature};

use super::auth::InitAnswered;
use super::init::{Acceptable, begin_answer, put_announcements, refusal, send_answer};

/// Responder: the request's ciphertext is being opened; the answer waits for it.
#[derive(Debug)]
pub(crate) struct InitOpening {
    /// Until the job comes back.
    awaiting: Option<Awaiting>,
    path: Path,
    header: Header,
    deadline: Instant,
}

impl InitOpening {
    pub(crate) fn new(awaiting: Awaiting, request: &Acceptable<'_>, deadline: Instant) -> Self {
        let (path, header) = (request.path, *request.header);
        Self { awaiting: Some(awaiting), path, header, deadline }
    }

    pub(crate) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Takes the secret that our static key has opened, and answers. Without the key the request is
    /// declined, as if nobody had named it.
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
        let shared = match awaiting.secret(result, core) {
            Ok(shared) => shared,
            Err(reason) => {
                let answer = refusal(&self.header, NotifyType::NO_PROPOSAL_CHOSEN, &[]);
                let datagrams: Vec<Vec<u8>> = answer.into_iter().collect();
                cx.transmit(self.path, &datagrams);
                core.responses.begin(&awaiting.init.request);
                core.responses.answered(datagrams);
                return Err(reason);
            }
        };
        conclude(self.path, awaiting.init, &shared, self.deadline, core, cx).map(Next::enter)
    }
}

/// Responder: sends the answer and has the first keys.
pub(super) fn conclude(
    path: Path,
    init: Init,
    shared: &Secret,
    deadline: Instant,
    core: &mut Core,
    cx: &mut Context<'_>,
) -> Result<State, FailureReason> {
    send_answer(path, &init.request, &init.response, core, cx);
    let handshake = Box::new(Handshake::begin(init, shared, core, cx)?);
    Ok(State::InitAnswered(InitAnswered::new(handshake, deadline)))
}

/// Responder: the answer to an acceptable request, with this Key Exchange Data.
pub(super) fn compose(
    request: &Acceptable<'_>,
    public: &[u8],
    core: &mut Core,
    cx: &mut Context<'_>,
) -> Result<Init, FailureReason> {
    let received = request.received;
    let (Some(ke), Some(nonce)) = (received.ke, received.nonce) else {
        return Err(FailureReason::PeerMisbehaved("no KE or nonce"));
    };
    let (choice, connection) = (&request.choice, &request.connection);
    begin_answer(request.path, request.header, received, (choice, connection), core, cx);
    let chosen = choice.answer(&[]);
    let fits = |connection: &Connection| {
        choose_ike(Purpose::Ike { additional: true }, &connection.proposals, &chosen).is_ok()
    };
    let has_ppk = ppk::accepts(core, received, &fits, cx);
    let has_rounds = cx.connections.any_has_rounds(core.path, &fits);
    let nonce_r = cx.nonce();

    let mut message = MessageBuilder::new(core.header(ExchangeType::IKE_SA_INIT, true, 0));
    message.put(&Payload::Sa(request.choice.answer(&[])));
    message.put(&Payload::Ke(Ke { method: ke.method, data: public }));
    message.push(PayloadType::NONCE, |w| w.bytes(&nonce_r));
    put_announcements(&mut message, core, !request.choice.suite.additional.is_empty(), cx);
    if has_ppk {
        ppk::put_agreement(&mut message);
    }
    if has_rounds {
        message.put(&Payload::Notify(Notify::new(NotifyType::MULTIPLE_AUTH_SUPPORTED, &[])));
    }
    let room = request.octets.len().saturating_sub(message.octets_len());
    let childless = childless::is_offered(&request.connection, room);
    if childless {
        childless::put_support(&mut message);
    }
    put_signatures(&mut message, request, &fits, cx);
    let response = message.finish().map_err(|_| FailureReason::Internal("long message"))?;

    let mut announced = Announced::default();
    announced.take(received);
    Ok(Init {
        choice: request.choice.clone(),
        nonce_i: nonce.as_bytes().to_vec(),
        nonce_r,
        request: request.octets.to_vec(),
        response,
        childless,
        has_ppk,
        has_rounds,
        announced,
    })
}

/// Responder: which signatures and certificates we take, for an initiator that knows RFC 7427. The
/// connection is known in IKE_AUTH only, so all that may be meant count, up to a few. Nobody has proven
/// the address: names that would make the response longer than the request stay out.
fn put_signatures(
    message: &mut MessageBuilder,
    request: &Acceptable<'_>,
    fits: &impl Fn(&Connection) -> bool,
    cx: &Context<'_>,
) {
    let Some(theirs) = request.received.notify(NotifyType::SIGNATURE_HASH_ALGORITHMS) else {
        return;
    };
    let room = |so_far: &MessageBuilder| request.octets.len().saturating_sub(so_far.octets_len());
    signature::answer_hashes(theirs.data, room(message), message);
    let candidates = cx.connections.first(request.path, CANDIDATES_MAX, fits);
    let asked = candidates.iter().flat_map(|connection| connection.pad.remote_auths());
    let Some(mut authorities) = signature::certificate_request(asked) else { return };
    if !signature::has_room(&authorities, room(message)) {
        // Who is asked for certificates of nobody in particular sends what it has; without a request
        // some send none (RFC 7296 §3.7). That is worth five octets in any case.
        authorities.clear();
    }
    message.put(&signature::request_payload(&authorities));
}

/// Connections whose authorities are named to a peer that may mean any of them.
const CANDIDATES_MAX: usize = 8;
