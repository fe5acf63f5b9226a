//! Phase 1: both ends agree on keys and prove who they are (RFC 2409 §5). What the messages of each
//! exchange have in them is in [`rules`]; here is what all of them have in common.
//!
//! ```text
//! take a message -> [keys] -> [the peer's proof] -> [our signature] -> send the next one
//! ```
//!
//! What stands in brackets may wait for whoever has the secrets. Of the message that is being taken
//! nothing counts before its proof was right; what does not fit is dropped, and the state stays.
//!
//! The initiator sends each of its messages again until the next one comes; the responder answers
//! repetitions. Before the initiator has shown that it gets what is sent to its address it gets no more
//! octets than it has sent, but for the first answer of aggressive mode, which has its own bound.
//!
//! | file | contents |
//! |---|---|
//! | `rules` | the payloads of each message |
//! | `take` | what a message of the peer says |
//! | `give` | our messages |
//! | `base` | what only base mode has |
//! | `prove` | keys, proofs, and what follows of them |
//! | `trouble` | refusals, and time |

mod base;
mod give;
mod prove;
pub(crate) mod rules;
mod take;
mod trouble;

use std::time::Duration;

use adit_crypto::{KeyShare, Secret};
use adit_db::{ChildName, Identity};
use adit_wire::ip::FlowKey;

use crate::Announced;
use crate::command::{JobId, Path};
use crate::context::Context;
use crate::event::{PeerSoftware, Step};
use crate::failure::FailureReason;
use crate::keymat::Role;
use crate::lifetime::Agreement;
use crate::v2::signature::{CertificateData, Proof};

pub(crate) use self::give::answer_octets;
use self::rules::{Exchange, Rule};
use super::core::Core;
use super::keys::{Iv, Material};
use super::method::Method;
use super::nat;
use super::patience::Patience;
use super::received::Received;
use super::retransmission::Answered;
use super::suite::{Phase1Choice, Phase1Offer, Phase1Suite};
use super::vendor;

/// A phase 1 under way.
#[derive(Debug)]
pub(crate) struct Phase1 {
    exchange: Exchange,
    /// The number of the last message that was sent, or taken for good; counted from 1.
    number: u8,
    waits: Waits,
    /// Of an initiator, until the responder has chosen.
    offer: Option<Phase1Offer>,
    suite: Option<Phase1Suite>,
    share: Option<KeyShare>,
    material: Box<Material>,
    /// Of base mode, whose proofs come before the key exchange.
    skeyid: Option<Secret>,
    /// Of a responder, the SA payload with its choice, and the vendor ids beside it.
    choice: Box<(Vec<u8>, Vec<&'static [u8]>)>,
    /// A message of the peer whose proof is not checked yet.
    taken: Option<Box<Taken>>,
    /// Our signature, once it is made.
    signed: Option<Box<Proof>>,
    /// Whose certificates the peer wants.
    announced: Announced,
    /// What the initiator wants with it.
    pub(crate) wanted: Option<(ChildName, Option<FlowKey>)>,
    answered: Option<Answered>,
    /// Octets that an initiator has sent and was sent before it has shown that it gets them.
    balance: Balance,
    patience: Patience,
    /// The first exchange of the peer with us since it began (RFC 2407 §4.6.3.3).
    pub(crate) initial_contact: bool,
}

/// What has to come before it goes on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Waits {
    /// The next message of the peer.
    Message,
    /// SKEYID, of whoever has the secret.
    Secret(JobId),
    /// Whether the peer's signature is right.
    Verdict(JobId),
    /// Our signature.
    Signature(JobId),
}

/// What came from an address and what went there.
#[derive(Debug, Default)]
struct Balance {
    came: usize,
    went: usize,
}

impl Balance {
    fn came(&mut self, octets: usize) {
        self.came = self.came.saturating_add(octets);
    }

    fn went(&mut self, octets: usize) {
        self.went = self.went.saturating_add(octets);
    }

    fn has_room_for(&self, octets: usize) -> bool {
        self.went.saturating_add(octets) <= self.came
    }
}

/// What is kept of a message until its proof is right.
#[derive(Debug)]
struct Taken {
    number: u8,
    path: Path,
    /// It, so that repetitions are known.
    answered: Answered,
    /// The data of HASH or SIG, if the message has one.
    proof: Option<Vec<u8>>,
    certificates: Vec<CertificateData>,
    initial_contact: bool,
    /// The IV after it, if it was encrypted.
    iv: Option<Iv>,
    /// Whether it tells where both ends are.
    has_hashes: bool,
}

/// What a step came to.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// The phase 1 goes on.
    Stay,
    /// Both sides have authenticated. Of who has sent the last message, that one and what it answers.
    Done(Option<Answered>),
}

/// What a step comes to; an error ends the attempt.
pub(crate) type StepResult = Result<Outcome, FailureReason>;

impl Phase1 {
    // ---- Beginnings ----

    fn new(exchange: Exchange, patience: Patience) -> Self {
        Self {
            exchange,
            number: 0,
            waits: Waits::Message,
            offer: None,
            suite: None,
            share: None,
            material: Box::default(),
            skeyid: None,
            choice: Box::default(),
            taken: None,
            signed: None,
            announced: Announced::default(),
            wanted: None,
            answered: None,
            balance: Balance::default(),
            patience,
            initial_contact: false,
        }
    }

    /// Initiator: sends the first message.
    pub(crate) fn start(
        exchange: Exchange,
        wanted: Option<(ChildName, Option<FlowKey>)>,
        initial_contact: bool,
        core: &mut Core,
        cx: &mut Context<'_>,
    ) -> Result<Self, FailureReason> {
        core.cookie_i = cx.ike_spi();
        let offer = Phase1Offer::new(&core.connection, exchange);
        let first = offer.first().ok_or(NO_SUITE)?;
        let mut phase1 = Self::new(exchange, Patience::of(Role::Initiator, cx));
        phase1.material.sa_body = offer.body();
        phase1.offer = Some(offer);
        phase1.suite = Some(first);
        phase1.wanted = wanted;
        phase1.initial_contact = initial_contact;
        phase1.material.id_i = own_body(core);
        core.progress(Step::Reaching { path: core.path }, cx);
        phase1.send(1, core, cx)?;
        Ok(phase1)
    }

    /// Responder: takes the first message and goes on from there.
    ///
    /// # Errors
    ///
    /// If the message is not worth an answer; nothing of it stays.
    pub(crate) fn answer(
        exchange: Exchange,
        message: &[u8],
        received: &Received<'_>,
        choice: Phase1Choice,
        core: &mut Core,
        cx: &mut Context<'_>,
    ) -> Result<Self, FailureReason> {
        if exchange != Exchange::Base && nat::is_lost(&received.vendor_ids, core, cx) {
            return Err(NO_NAT_TRAVERSAL);
        }
        core.cookie_r = cx.ike_spi();
        let mut phase1 = Self::new(exchange, Patience::of(Role::Responder, cx));
        phase1.material.sa_body = received.sa_body.to_vec();
        phase1.choice = Box::new((choice.body, common_vendors(exchange, received, core)));
        core.suite = cx.out.shared_suite(choice.suite.transforms());
        phase1.suite = Some(choice.suite);
        let Agreement { limits, notify } = choice.agreement;
        core.life = limits.seconds.map(|limit| Duration::from_secs(limit.amount));
        core.life_kilobytes = limits.kilobytes.map(|limit| limit.amount);
        core.told_life = notify;
        phase1.material.id_r = own_body(core);
        phase1.balance.came(message.len());
        let (path, first) = (core.path, first_form(message));
        phase1.take(1, path, &first, received, None, core, cx)?;
        phase1.advance(core, cx)?;
        Ok(phase1)
    }

    // ---- Questions ----

    /// Whether we initiate and the peer has not shown anything yet.
    pub(crate) fn is_unanswered(&self) -> bool {
        self.offer.is_some()
    }

    fn waits_for_message(&self) -> bool {
        self.waits == Waits::Message
    }

    fn method(&self) -> Option<Method> {
        self.suite.as_ref().map(|suite| suite.method)
    }

    fn rule(&self, number: u8) -> Option<&'static Rule> {
        Rule::of(self.exchange, self.method()?, number)
    }

    fn id_of(&self, role: Role) -> &[u8] {
        match role {
            Role::Initiator => &self.material.id_i,
            Role::Responder => &self.material.id_r,
        }
    }

    // ---- Messages ----

    /// Takes a message of phase 1.
    pub(crate) fn handle_message(
        &mut self,
        path: Path,
        header: &adit_wire::isakmp::Header,
        octets: &[u8],
        core: &mut Core,
        cx: &mut Context<'_>,
    ) -> StepResult {
        let is_same_exchange = Exchange::from_type(header.exchange) == Some(self.exchange);
        let floats = self.may_float(core) && nat::may_float_to(path, core, cx);
        if header.message_id != 0 || !is_same_exchange || (path != core.path && !floats) {
            return Ok(Outcome::Stay);
        }
        if self.repeats(octets, core, cx) || !self.waits_for_message() {
            return Ok(Outcome::Stay);
        }
        let number = self.number.saturating_add(1);
        if Exchange::sender(number) == core.role
            || !self.handle_next(number, path, header, octets, core, cx)?
        {
            return Ok(Outcome::Stay);
        }
        self.advance(core, cx)
    }

    /// Somebody who knows our cookie goes on as if phase 1 were complete: of aggressive mode its last
    /// message was lost. The one before it is sent once more.
    pub(crate) fn handle_early(&mut self, path: Path, core: &Core, cx: &mut Context<'_>) {
        let is_last = self.number.saturating_add(1) == self.exchange.last();
        let floats = self.may_float(core) && nat::may_float_to(path, core, cx);
        if self.exchange != Exchange::Aggressive || !is_last || core.role.is_initiator() {
            return;
        }
        if !self.waits_for_message() || (path != core.path && !floats) {
            return;
        }
        if let Some(answer) = self.answered.as_mut().and_then(Answered::repeat) {
            let octets = answer.to_vec();
            cx.out.push(crate::output::Output::Transmit { path, octets });
        }
    }

    /// Whether the next message may come between the NAT ports (RFC 3947 §4).
    fn may_float(&self, core: &Core) -> bool {
        match self.exchange {
            Exchange::Main => self.number == 4 && core.nat.supported,
            Exchange::Aggressive => self.number == 2 && core.nat_numbers.is_some(),
            Exchange::Base => false,
        }
    }

    /// Answers a repetition of the last message that was taken; whether it was one.
    fn repeats(&mut self, octets: &[u8], core: &Core, cx: &mut Context<'_>) -> bool {
        let is_first = self.number <= 2 && !core.role.is_initiator();
        let Some(answered) = &mut self.answered else { return false };
        let is_repeated = match is_first {
            true => answered.is_repeated_by(&first_form(octets)),
            false => answered.is_repeated_by(octets),
        };
        if !is_repeated {
            return false;
        }
        if is_first {
            self.balance.came(octets.len());
        }
        if is_first && !self.balance.has_room_for(answered.answer_octets()) {
            return true;
        }
        if let Some(answer) = answered.repeat() {
            self.balance.went(answer.len());
            core.transmit(answer, cx);
        }
        true
    }
}

/// The first message without the responder's cookie, which some add when they send it again
/// (CHECKLIST T07).
fn first_form(message: &[u8]) -> Vec<u8> {
    let mut octets = message.to_vec();
    if let Some(cookie) = octets.get_mut(8..16) {
        cookie.fill(0);
    }
    octets
}

/// Our ID payload's body.
fn own_body(core: &mut Core) -> Vec<u8> {
    let own = core.own_id();
    let body = super::identification::phase1_body(&own);
    core.local_id = Some(own);
    body
}

/// The identity of an ID payload's body.
fn identity_of(body: &[u8]) -> Option<Identity> {
    let id = adit_wire::isakmp::Id::read(&mut adit_wire::Reader(body)).ok()?;
    super::identification::identity(&id)
}

/// Of our vendor ids, those that the peer has sent, too; and the best NAT traversal that both know. That we
/// answer signs of life we say wherever the answer is no longer for it: the peer's id may have been spoilt, and who
/// has sent one may ask (RFC 3706 §5.1).
fn common_vendors(
    exchange: Exchange,
    received: &Received<'_>,
    core: &mut Core,
) -> Vec<&'static [u8]> {
    let theirs = &received.vendor_ids;
    let is_said = |id: &&'static [u8]| vendor::is_among(id, theirs) || vendor::is_free(id, theirs);
    let access = vendor::of_remote_access(&core.connection.remote_access);
    let mut ids: Vec<&'static [u8]> = vendor::ours(core).chain(access).filter(is_said).collect();
    if exchange != Exchange::Base
        && let Some((id, numbers)) = nat::common(&received.vendor_ids, core)
    {
        core.nat_numbers = Some(numbers);
        ids.push(id);
    }
    ids
}

fn note_vendors(received: &Received<'_>, core: &mut Core) {
    core.peer_has_dpd |= vendor::has_dpd(&received.vendor_ids);
    core.fragmentation.note(core.connection.fragmentation, &received.vendor_ids);
    if core.peer == PeerSoftware::Unknown {
        core.peer = vendor::software(&received.vendor_ids);
    }
}

const NO_NAT_TRAVERSAL: FailureReason =
    FailureReason::PeerMisbehaved("message on the NAT ports has no id of NAT traversal");

/// The configuration is held against that when it is read.
const NO_SUITE: FailureReason = FailureReason::Internal("no suite of the tunnel is one of IKEv1");
