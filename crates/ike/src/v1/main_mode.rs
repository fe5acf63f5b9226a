//! Main mode with a pre-shared key (RFC 2409 §5.4): six messages, of which the last two are encrypted.
//!
//! ```text
//! initiator                                responder
//! HDR, SA                          ->
//!                                  <-      HDR, SA
//! HDR, KE, Ni                      ->
//!                                  <-      HDR, KE, Nr
//! HDR*, IDii, HASH_I [, N]         ->
//!                                  <-      HDR*, IDir, HASH_R
//! ```
//!
//! The initiator sends each of its messages again until the next one comes; the responder answers
//! repetitions, and never sends more than was sent to it. Until the last message nobody has proven
//! anything: what does not fit is dropped, and the state stays.

use std::time::{Duration, Instant};

use adit_crypto::{KeyShare, Secret};
use adit_db::{AuthSpec, ChildName, Identity};
use adit_wire::iana::ExchangeType as AnyExchangeType;
use adit_wire::iana::isakmp::{ExchangeType, NotifyType, PayloadType};
use adit_wire::ikev2::IkeSpi;
use adit_wire::ip::FlowKey;
use adit_wire::isakmp::{ChainBuilder, Header};

use crate::Announced;
use crate::command::{AuthResult, JobId, Path};
use crate::context::Context;
use crate::event::{PeerSoftware, Step};
use crate::failure::{By, FailureReason};
use crate::keymat::Role;
use crate::lifetime::Agreement;
use crate::output::{AuthJob, AuthJobKind, Output};

use super::core::Core;
use super::identification;
use super::keys::{Keys, Material, Phase1Hash};
use super::nat;
use super::received::Received;
use super::retransmission::{Answered, Due, Sent};
use super::suite::{Phase1Choice, Phase1Offer, Phase1Suite};
use super::vendor;

/// A phase 1 under way.
#[derive(Debug)]
pub(crate) struct MainMode {
    stage: Stage,
    /// What the initiator wants with it.
    pub(crate) wanted: Option<(ChildName, Option<FlowKey>)>,
    sent: Option<Sent>,
    answered: Option<Answered>,
    /// Something that nobody has authenticated says that it comes to nothing.
    doubt: Option<Box<(FailureReason, Instant)>>,
    deadline: Instant,
    /// The first exchange of the peer with us since it began (RFC 2407 §4.6.3.3).
    pub(crate) initial_contact: bool,
}

#[derive(Debug)]
enum Stage {
    /// Initiator: the first message is out.
    SaSent { sa_body: Vec<u8>, offer: Phase1Offer },
    /// Initiator: the third is.
    KeSent { sa_body: Vec<u8>, suite: Phase1Suite, share: Option<KeyShare>, nonce: Vec<u8> },
    /// Responder: the second is.
    SaAnswered { sa_body: Vec<u8>, suite: Phase1Suite },
    /// Whoever has the secret makes SKEYID of it.
    Deriving { job: JobId, suite: Phase1Suite, material: Box<Material> },
    /// Responder: the fourth message is out.
    KeAnswered { material: Box<Material> },
    /// Initiator: the fifth is.
    IdSent { material: Box<Material> },
}

/// What a step came to.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// The phase 1 goes on.
    Stay,
    /// Both sides have authenticated. Of a responder the last message that was taken and its answer.
    Done(Option<Answered>),
}

/// What a step comes to; an error ends the attempt.
pub(crate) type StepResult = Result<Outcome, FailureReason>;

/// How long something better is waited for after a refusal that nobody has authenticated.
const DOUBT_WAIT: Duration = Duration::from_secs(2);

/// Shortest and longest nonce (RFC 2409 §5).
const NONCE_OCTETS: std::ops::RangeInclusive<usize> = 8..=256;

impl MainMode {
    // ---- Beginnings ----

    /// Initiator: sends the first message.
    pub(crate) fn start(
        wanted: Option<(ChildName, Option<FlowKey>)>,
        initial_contact: bool,
        core: &mut Core,
        cx: &mut Context<'_>,
    ) -> Result<Self, FailureReason> {
        core.cookie_i = cx.ike_spi();
        let offer = Phase1Offer::new(&core.connection);
        let sa_body = offer.body();
        let mut chain = ChainBuilder::new();
        chain.push(PayloadType::SA, |w| w.bytes(&sa_body));
        let remote_access = vendor::of_remote_access(&core.connection.remote_access);
        for id in vendor::ours().into_iter().chain(remote_access).chain(nat::offered(core)) {
            chain.push(PayloadType::VENDOR_ID, |w| w.bytes(id));
        }
        let octets = core.clear(ExchangeType::IDENTITY_PROTECTION, 0, chain)?;
        core.progress(Step::Reaching { path: core.path }, cx);
        let mut main = Self {
            stage: Stage::SaSent { sa_body, offer },
            wanted,
            sent: None,
            answered: None,
            doubt: None,
            deadline: cx.now + cx.config.connecting.total() + cx.config.half_open_timeout,
            initial_contact,
        };
        main.ask(octets, core, cx);
        Ok(main)
    }

    /// Responder: answers the first message. What is answered is not longer than what came: the
    /// chosen transform, and vendor ids that the peer has sent, too.
    pub(crate) fn answer(
        message: &[u8],
        received: &Received<'_>,
        choice: Phase1Choice,
        core: &mut Core,
        cx: &mut Context<'_>,
    ) -> Result<Self, FailureReason> {
        core.cookie_r = cx.ike_spi();
        note_vendors(received, core);
        let mut chain = ChainBuilder::new();
        chain.push(PayloadType::SA, |w| w.bytes(&choice.body));
        let remote_access = vendor::of_remote_access(&core.connection.remote_access);
        for id in vendor::ours().into_iter().chain(remote_access) {
            if received.vendor_ids.contains(&id) {
                chain.push(PayloadType::VENDOR_ID, |w| w.bytes(id));
            }
        }
        if let Some((id, numbers)) = nat::common(&received.vendor_ids, core) {
            chain.push(PayloadType::VENDOR_ID, |w| w.bytes(id));
            core.nat_numbers = Some(numbers);
        }
        let octets = core.clear(ExchangeType::IDENTITY_PROTECTION, 0, chain)?;
        core.transmit(&octets, cx);
        core.suite = cx.out.shared_suite(choice.suite.transforms());
        let Agreement { limits, notify } = choice.agreement;
        core.life = limits.seconds.map(|limit| Duration::from_secs(limit.amount));
        core.told_life = notify;
        let sa_body = received.sa_body.to_vec();
        Ok(Self {
            stage: Stage::SaAnswered { sa_body, suite: choice.suite },
            wanted: None,
            sent: None,
            answered: Some(Answered::new(message, octets)),
            doubt: None,
            deadline: cx.now + cx.config.half_open_timeout,
            initial_contact: false,
        })
    }

    // ---- Questions ----

    /// Whether we initiate and the peer has not shown anything yet.
    pub(crate) fn is_unanswered(&self) -> bool {
        matches!(self.stage, Stage::SaSent { .. })
    }

    /// When [`Self::handle_timeout`] has something to do.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let doubt = self.doubt.as_ref().map(|doubt| doubt.1);
        let sent = self.sent.as_ref().map(Sent::poll_timeout);
        [doubt, sent, Some(self.deadline)].into_iter().flatten().min()
    }

    // ---- Messages ----

    /// Takes a message of this exchange.
    pub(crate) fn handle_message(
        &mut self,
        path: Path,
        header: &Header,
        octets: &[u8],
        core: &mut Core,
        cx: &mut Context<'_>,
    ) -> StepResult {
        let floats =
            matches!(self.stage, Stage::KeAnswered { .. }) && nat::may_float_to(path, core, cx);
        if header.message_id != 0 || (path != core.path && !floats) {
            return Ok(Outcome::Stay);
        }
        if let Some(answered) = &mut self.answered
            && answered.is_repeated_by(octets)
        {
            if let Some(answer) = answered.repeat() {
                core.transmit(answer, cx);
            }
            return Ok(Outcome::Stay);
        }
        if matches!(self.stage, Stage::KeAnswered { .. } | Stage::IdSent { .. }) {
            return self.handle_encrypted(path, header, octets, core, cx);
        }
        let body = octets.get(Header::LEN..).unwrap_or_default();
        let Ok(received) = Received::clear(header.next_payload, body) else {
            return Ok(Outcome::Stay);
        };
        if header.flags.is_encrypted() {
            return Ok(Outcome::Stay);
        }
        match &self.stage {
            Stage::SaSent { .. } => self.handle_sa(header.cookie_r, octets, &received, core, cx),
            Stage::KeSent { .. } => self.handle_answered_ke(octets, &received, core, cx),
            Stage::SaAnswered { .. } => self.handle_ke(octets, &received, core, cx),
            Stage::Deriving { .. } | Stage::KeAnswered { .. } | Stage::IdSent { .. } => {
                Ok(Outcome::Stay)
            }
        }
    }

    /// Initiator: the second message; sends the third.
    fn handle_sa(
        &mut self,
        cookie_r: IkeSpi,
        octets: &[u8],
        received: &Received<'_>,
        core: &mut Core,
        cx: &mut Context<'_>,
    ) -> StepResult {
        let Stage::SaSent { sa_body, offer } = &self.stage else { return Ok(Outcome::Stay) };
        let Some(suite) = received.sa.as_ref().and_then(|sa| offer.accept(sa)) else {
            return Ok(Outcome::Stay);
        };
        let (share, nonce) = (cx.key_share(suite.group), cx.nonce());
        let mut chain = key_chain(share.public(), &nonce);
        core.cookie_r = cookie_r;
        core.suite = cx.out.shared_suite(suite.transforms());
        note_vendors(received, core);
        core.nat_numbers = nat::common(&received.vendor_ids, core).map(|(_, numbers)| numbers);
        if let Some(hash) = suite.hash() {
            nat::put_hashes(hash, core, &mut chain, cx);
        }
        let message = core.clear(ExchangeType::IDENTITY_PROTECTION, 0, chain)?;
        let sa_body = sa_body.clone();
        self.stage = Stage::KeSent { sa_body, suite, share: Some(share), nonce };
        self.answered = Some(Answered::new(octets, message.clone()));
        self.ask(message, core, cx);
        Ok(Outcome::Stay)
    }

    /// Responder: the third message, which proves that the peer gets what is sent to its address.
    fn handle_ke(
        &mut self,
        octets: &[u8],
        received: &Received<'_>,
        core: &mut Core,
        cx: &mut Context<'_>,
    ) -> StepResult {
        let Stage::SaAnswered { sa_body, suite } = &self.stage else { return Ok(Outcome::Stay) };
        let Some((public, nonce)) = key_and_nonce(received) else { return Ok(Outcome::Stay) };
        let Ok((own_public, shared)) = cx.answer_key_share(suite.group, public) else {
            return Ok(Outcome::Stay);
        };
        // The answer is not longer than the question: neither by the nonce nor by hashes.
        let mut own_nonce = cx.nonce();
        own_nonce.truncate(nonce.len());
        core.nat = suite
            .hash()
            .map(|hash| nat::verdict(hash, core, &received.nat_hashes))
            .unwrap_or_default();
        let material = Material {
            sa_body: sa_body.clone(),
            public_i: public.to_vec(),
            public_r: own_public,
            nonce_i: nonce.to_vec(),
            nonce_r: own_nonce,
            shared,
        };
        let suite = suite.clone();
        // Until there is an answer, repetitions get none.
        self.answered = Some(Answered::new(octets, Vec::new()));
        self.derive(suite, material, octets, core, cx);
        Ok(Outcome::Stay)
    }

    /// Initiator: the fourth message.
    fn handle_answered_ke(
        &mut self,
        octets: &[u8],
        received: &Received<'_>,
        core: &mut Core,
        cx: &mut Context<'_>,
    ) -> StepResult {
        let Stage::KeSent { sa_body, suite, share, nonce } = &mut self.stage else {
            return Ok(Outcome::Stay);
        };
        let Some((public, peer_nonce)) = key_and_nonce(received) else { return Ok(Outcome::Stay) };
        let Some(own) = share.take() else { return Ok(Outcome::Stay) };
        core.nat = suite
            .hash()
            .map(|hash| nat::verdict(hash, core, &received.nat_hashes))
            .unwrap_or_default();
        let own_public = own.public().to_vec();
        let shared = own.agree(public).map_err(|_| BAD_KEY)?;
        let material = Material {
            sa_body: std::mem::take(sa_body),
            public_i: own_public,
            public_r: public.to_vec(),
            nonce_i: std::mem::take(nonce),
            nonce_r: peer_nonce.to_vec(),
            shared,
        };
        let suite = suite.clone();
        let reached = Step::Reached {
            path: core.path,
            nat_local: core.nat.we_are_behind_nat,
            nat_remote: core.nat.peer_is_behind_nat,
            peer: core.peer,
        };
        core.progress(reached, cx);
        nat::float(core, cx);
        self.sent = None;
        self.derive(suite, material, octets, core, cx);
        Ok(Outcome::Stay)
    }

    /// Asks whoever has the secret for SKEYID.
    fn derive(
        &mut self,
        suite: Phase1Suite,
        material: Material,
        octets: &[u8],
        core: &mut Core,
        cx: &mut Context<'_>,
    ) {
        let job = cx.out.next_job();
        cx.out.begin_auth(job, core.id);
        cx.out.push(Output::Auth(AuthJob {
            job,
            kind: AuthJobKind::Derive,
            connection: core.connection_name().clone(),
            round: 0,
            local_id: core.own_id(),
            remote_id: core.expected_id(),
            prf: suite.prf,
            octets: Secret::concat(&[&material.nonce_i, &material.nonce_r]),
            local_auth: AuthSpec::Psk,
            remote_auth: AuthSpec::Psk,
            announced: Announced::default(),
        }));
        self.answered = Some(Answered::new(octets, Vec::new()));
        self.stage = Stage::Deriving { job, suite, material: Box::new(material) };
    }

    /// Takes SKEYID. The responder sends the fourth message, the initiator the fifth.
    pub(crate) fn handle_auth(
        &mut self,
        job: JobId,
        result: AuthResult,
        core: &mut Core,
        cx: &mut Context<'_>,
    ) -> StepResult {
        let awaited = matches!(&self.stage, Stage::Deriving { job: own, .. } if *own == job);
        if !awaited {
            return Ok(Outcome::Stay);
        }
        let AuthResult::Derived(key) = result else {
            let (local, remote) = (core.own_id(), core.expected_id());
            return Err(FailureReason::NoSecret { local, remote });
        };
        let Stage::Deriving { suite, material, .. } = &self.stage else {
            return Ok(Outcome::Stay);
        };
        let keys = Keys::derive(suite, key.0, material, core.cookies());
        core.keys = Some(keys.ok_or(FailureReason::Internal("key length"))?);
        core.local_id = Some(core.own_id());
        let hash = suite.hash();
        let stage = std::mem::replace(&mut self.stage, Stage::taken());
        let Stage::Deriving { material, .. } = stage else { return Ok(Outcome::Stay) };
        match core.role {
            Role::Responder => {
                let mut chain = key_chain(&material.public_r, &material.nonce_r);
                if let Some(hash) = hash.filter(|_| core.nat.supported) {
                    nat::put_hashes(hash, core, &mut chain, cx);
                }
                let message = core.clear(ExchangeType::IDENTITY_PROTECTION, 0, chain)?;
                core.transmit(&message, cx);
                self.answered = self.answered.take().map(|asked| asked.with(message));
                self.stage = Stage::KeAnswered { material };
            }
            Role::Initiator => {
                core.progress(Step::Keys { suite: core.suite.to_vec() }, cx);
                let message = self.identify(&material, core)?;
                self.stage = Stage::IdSent { material };
                self.answered = self.answered.take().map(|asked| asked.with(message.clone()));
                self.ask(message, core, cx);
            }
        }
        Ok(Outcome::Stay)
    }

    /// The fifth or the sixth message: who we are, and the proof.
    fn identify(&self, material: &Material, core: &mut Core) -> Result<Vec<u8>, FailureReason> {
        let id_body = identification::phase1_body(&core.own_id());
        let mut keys = core.keys.take().ok_or(super::core::NO_KEYS)?;
        let hash =
            keys.phase1_hash(Phase1Hash { of: core.role, core, material, id_body: &id_body });
        let mut chain = ChainBuilder::new();
        chain.push(PayloadType::ID, |w| w.bytes(&id_body));
        chain.push(PayloadType::HASH, |w| w.bytes(hash.as_bytes()));
        if self.initial_contact && core.role.is_initiator() {
            let cookies = [core.cookie_i.0, core.cookie_r.0].concat();
            super::informational::put_notify(
                NotifyType::INITIAL_CONTACT,
                &cookies,
                &[],
                &mut chain,
            );
        }
        let mut iv = keys.phase1_iv().clone();
        core.keys = Some(keys);
        let message = core.sealed(ExchangeType::IDENTITY_PROTECTION, 0, chain, &mut iv)?;
        keys = core.keys.take().ok_or(super::core::NO_KEYS)?;
        keys.set_phase1_iv(iv);
        core.keys = Some(keys);
        Ok(message)
    }

    /// The fifth or the sixth message of the peer.
    fn handle_encrypted(
        &mut self,
        path: Path,
        header: &Header,
        octets: &[u8],
        core: &mut Core,
        cx: &mut Context<'_>,
    ) -> StepResult {
        let (Stage::KeAnswered { material } | Stage::IdSent { material }) = &self.stage else {
            return Ok(Outcome::Stay);
        };
        let Some(keys) = core.keys.as_ref().filter(|_| header.flags.is_encrypted()) else {
            return Ok(Outcome::Stay);
        };
        let opened = core.opened(octets, keys.phase1_iv());
        let proven = opened.and_then(|(plain, iv)| {
            let received = Received::decrypted(header.next_payload, &plain).ok()?;
            let (id, initial_contact) = proven_identity(&received, material, core)?;
            Some((id, initial_contact, iv))
        });
        let Some((id, initial_contact, iv)) = proven else {
            self.doubt_secret(core, cx);
            return Ok(Outcome::Stay);
        };
        if !core.connection.pad.accepts(&id) {
            let expected = core.connection.pad.remote_id.clone();
            return Err(FailureReason::WrongIdentity { expected, received: id });
        }
        if let Some(keys) = &mut core.keys {
            keys.set_phase1_iv(iv);
        }
        core.remote_id = Some(id);
        core.hear(path, cx.now);
        self.initial_contact |= initial_contact;
        self.conclude(octets, core, cx)
    }

    /// Both have authenticated; the responder says so.
    fn conclude(&mut self, octets: &[u8], core: &mut Core, cx: &mut Context<'_>) -> StepResult {
        let stage = std::mem::replace(&mut self.stage, Stage::taken());
        let Stage::KeAnswered { material } = stage else { return Ok(Outcome::Done(None)) };
        let answer = self.identify(&material, core)?;
        core.transmit(&answer, cx);
        Ok(Outcome::Done(Some(Answered::new(octets, answer))))
    }

    /// The proof is no proof: the secrets differ, or somebody has sent octets that are nobody's. Until
    /// something better comes it is taken for the first (RFC 2409 §5.4 has no message that says so).
    fn doubt_secret(&mut self, core: &Core, cx: &mut Context<'_>) {
        if self.doubt.is_some() {
            return;
        }
        let (local, remote) = (core.own_id(), core.connection.pad.remote_id.clone());
        let reason = FailureReason::WrongSecret { by: By::Us, local, remote, certain: false };
        self.doubt = Some(Box::new((reason, cx.now + DOUBT_WAIT)));
        if core.role == Role::Responder {
            let kind = NotifyType::AUTHENTICATION_FAILED;
            if let Ok(message) = super::informational::clear_notify(kind, core, cx) {
                core.transmit(&message, cx);
            }
        }
    }

    /// An error that nobody has authenticated: it is believed if nothing better comes.
    pub(crate) fn handle_clear_error(
        &mut self,
        notify: NotifyType,
        core: &Core,
        cx: &mut Context<'_>,
    ) {
        if self.doubt.is_some() || core.role == Role::Responder {
            return;
        }
        let reason = match notify {
            NotifyType::NO_PROPOSAL_CHOSEN => FailureReason::NoCommonIkeSuite {
                by: By::Peer,
                ours: core.connection.proposals.clone(),
                theirs: Vec::new(),
            },
            _ if matches!(self.stage, Stage::IdSent { .. }) => wrong_secret(core),
            notify => FailureReason::PeerRefused { exchange: AnyExchangeType::MAIN_MODE, notify },
        };
        core.progress(Step::ErrorReceived { reason: reason.clone() }, cx);
        self.doubt = Some(Box::new((reason, cx.now + DOUBT_WAIT)));
    }

    // ---- Time ----

    pub(crate) fn handle_timeout(&mut self, core: &mut Core, cx: &mut Context<'_>) -> StepResult {
        if let Some(doubt) = self.doubt.take_if(|doubt| cx.now >= doubt.1) {
            return Err(doubt.0);
        }
        if cx.now >= self.deadline {
            return Err(FailureReason::HandshakeTimeout { waited: core.elapsed(cx.now) });
        }
        let Some(sent) = &mut self.sent else { return Ok(Outcome::Stay) };
        match sent.handle_timeout(cx.now, cx.rng) {
            Due::Nothing => Ok(Outcome::Stay),
            Due::Repeat(octets) => {
                core.transmit(octets, cx);
                Ok(Outcome::Stay)
            }
            // Who answers the fourth message and no more could not read the fifth.
            Due::GaveUp { .. } if matches!(self.stage, Stage::IdSent { .. }) => {
                Err(wrong_secret(core))
            }
            Due::GaveUp { transmissions, waited } => Err(FailureReason::PeerSilent {
                exchange: AnyExchangeType::MAIN_MODE,
                remote: core.path.remote,
                transmissions,
                waited,
                unreachable: core.unreachable,
            }),
        }
    }

    /// Sends a message until something comes.
    fn ask(&mut self, octets: Vec<u8>, core: &Core, cx: &mut Context<'_>) {
        core.transmit(&octets, cx);
        self.sent = Some(Sent::new(octets, cx.config.connecting, cx.now, cx.rng));
    }
}

impl Stage {
    /// What stands there while a stage is taken apart: nothing comes of it.
    fn taken() -> Self {
        let nothing = Material::default();
        Self::IdSent { material: Box::new(nothing) }
    }
}

/// KE and nonce of the third and fourth message.
fn key_chain(public: &[u8], nonce: &[u8]) -> ChainBuilder {
    let mut chain = ChainBuilder::new();
    chain.push(PayloadType::KE, |w| w.bytes(public));
    chain.push(PayloadType::NONCE, |w| w.bytes(nonce));
    chain
}

fn key_and_nonce<'a>(received: &Received<'a>) -> Option<(&'a [u8], &'a [u8])> {
    let nonce = received.nonce.filter(|nonce| NONCE_OCTETS.contains(&nonce.len()))?;
    Some((received.key_exchange?, nonce))
}

/// The identity that the peer proves, and whether it has forgotten all before.
fn proven_identity(
    received: &Received<'_>,
    material: &Material,
    core: &Core,
) -> Option<(Identity, bool)> {
    let ([(id, id_body)], Some(hash)) = (received.ids.as_slice(), received.hash) else {
        return None;
    };
    let of = core.role.other();
    let keys = core.keys.as_ref()?;
    let right = keys.phase1_hash(Phase1Hash { of, core, material, id_body });
    // Compared in constant time.
    if right != Secret::from_slice(hash) {
        return None;
    }
    let initial_contact =
        received.notifies.iter().any(|notify| notify.kind == NotifyType::INITIAL_CONTACT);
    Some((identification::identity(id)?, initial_contact))
}

fn note_vendors(received: &Received<'_>, core: &mut Core) {
    core.peer_has_dpd |= received.vendor_ids.contains(&vendor::DPD);
    if core.peer == PeerSoftware::Unknown {
        core.peer = vendor::software(&received.vendor_ids);
    }
}

fn wrong_secret(core: &Core) -> FailureReason {
    let (local, remote) = (core.own_id(), core.connection.pad.remote_id.clone());
    FailureReason::WrongSecret { by: By::Peer, local, remote, certain: false }
}

/// What comes of a public value that is none.
const BAD_KEY: FailureReason = FailureReason::PeerMisbehaved("public value of the key exchange");
