//! The machine: main mode and aggressive mode with encrypted nonces (RFC 2409 §5.2, §5.3).
//!
//! ```text
//! initiator   main mode     responder        initiator  aggressive mode  responder
//! HDR, SA              ->                    HDR, SA, nonce and more ->
//!                      <-   HDR, SA                      <- HDR, SA, nonce and more, HASH_R
//! HDR, nonce and more  ->                    HDR, HASH_I             ->
//!                      <-   HDR, nonce and more
//! HDR*, HASH_I [, N]   ->
//!                      <-   HDR*, HASH_R
//! ```
//!
//! Who proves what is first known when HASH_I or HASH_R fits: until then no identity, no lifetime and no
//! error means anything, and each step takes place whatever the one before has decrypted.

mod certify;
mod show;
mod trouble;

use std::sync::Arc;
use std::time::Duration;

use adit_crypto::{KeyShare, RsaPadding, Secret};
use adit_db::{ChildName, NonceEncryption};
use adit_pki::Certificate;
use adit_wire::iana::isakmp::{NotifyType, PayloadType};
use adit_wire::ikev2::IkeSpi;
use adit_wire::ip::FlowKey;
use adit_wire::isakmp::{ChainBuilder, Header, without_padding};

use crate::Announced;
use crate::command::{AuthResult, JobId, Path};
use crate::context::Context;
use crate::event::{PeerSoftware, Step};
use crate::failure::FailureReason;
use crate::keymat::{Nonces, Role};
use crate::lifetime::Agreement;
use crate::output::{AuthJob, AuthJobKind, Output};
use crate::v1::core::{Core, NO_KEYS};
use crate::v1::keymat::NO_KEY_EXCHANGE;
use crate::v1::keys::Material;
use crate::v1::patience::Patience;
use crate::v1::phase1::rules::Exchange;
use crate::v1::phase1::{Outcome, StepResult};
use crate::v1::retransmission::Answered;
use crate::v1::{informational, nat, vendor};

use self::certify::Certifying;
use self::show::{answer_room, draw};
use super::messages::{Received, Sealed, Shown};
use super::proof::{check_identity, own_proof, proven_identity, set_keys};
use super::suite::{Choice, Offer, Suite};
use super::{DHLESS, OAEP, padding, trust};

/// A phase 1 under way.
#[derive(Debug)]
pub(crate) struct EncryptedPhase1 {
    exchange: Exchange,
    kind: NonceEncryption,
    padding: RsaPadding,
    stage: Stage,
    /// Responder: the peer's certificate, where its key is not known beforehand.
    certified: Option<Arc<Certificate>>,
    /// What the initiator wants with it.
    pub(crate) wanted: Option<(ChildName, Option<FlowKey>)>,
    answered: Option<Answered>,
    patience: Patience,
    /// The first exchange of the peer with us since it began (RFC 2407 §4.6.3.3).
    pub(crate) initial_contact: bool,
}

#[derive(Debug)]
enum Stage {
    /// Initiator, main mode: the first message is out.
    SaSent { sa_body: Vec<u8>, offer: Offer },
    /// Initiator: its nonce is.
    Shown {
        sa_body: Vec<u8>,
        offer: Option<Offer>,
        suite: Suite,
        share: Option<KeyShare>,
        own: Shown,
    },
    /// Responder, main mode: the second message is.
    SaAnswered { sa_body: Vec<u8>, suite: Suite },
    /// Whoever has the private key decrypts what the peer has shown.
    Decrypting(Box<Decrypting>),
    /// Responder: whoever knows the authorities looks at the certificate that came.
    Certifying(Box<Certifying>),
    /// Our nonce is out, and the other's is here: HASH_I or HASH_R is awaited.
    Proving { suite: Suite, material: Box<Material>, peer: Shown },
    /// Nothing comes of it any more.
    Over,
}

/// What goes on when the peer's nonce is decrypted.
#[derive(Debug)]
struct Decrypting {
    job: JobId,
    suite: Suite,
    /// The initiator's SA payload.
    sa_body: Vec<u8>,
    /// The responder's, where it has not gone out yet.
    answer: Option<Answer>,
    sealed: Sealed,
    /// Initiator: what it has shown itself.
    own: Option<(Option<KeyShare>, Shown)>,
    /// Octets of the message.
    octets: usize,
    /// Initiator, aggressive mode: HASH_R, which came along.
    proof: Option<Vec<u8>>,
}

/// What the responder answers, once the peer's nonce is decrypted.
#[derive(Debug)]
struct Opened {
    suite: Suite,
    sa_body: Vec<u8>,
    answer: Option<Answer>,
    peer: Shown,
    /// Octets of the message.
    octets: usize,
}

/// The payloads of a second message that are in clear.
type Answer = Vec<(PayloadType, Vec<u8>)>;

impl EncryptedPhase1 {
    // ---- Beginnings ----

    /// Initiator: sends the first message.
    ///
    /// # Errors
    ///
    /// [`FailureReason::Internal`] if the configuration names no RSA key to encrypt to.
    pub(crate) fn start(
        kind: NonceEncryption,
        exchange: Exchange,
        wanted: Option<(ChildName, Option<FlowKey>)>,
        initial_contact: bool,
        core: &mut Core,
        cx: &mut Context<'_>,
    ) -> Result<Self, FailureReason> {
        core.cookie_i = cx.ike_spi();
        let offer = Offer::new(&core.connection, kind, exchange);
        let is_aggressive = exchange == Exchange::Aggressive;
        let exchange = if is_aggressive { exchange } else { Exchange::Main };
        let mut phase1 = Self {
            exchange,
            kind,
            padding: RsaPadding::Pkcs1,
            stage: Stage::Over,
            certified: None,
            wanted,
            answered: None,
            patience: Patience::of(Role::Initiator, cx),
            initial_contact,
        };
        let sa_body = offer.body();
        let mut chain = ChainBuilder::new();
        chain.push(PayloadType::SA, |w| w.bytes(&sa_body));
        phase1.stage = if is_aggressive {
            let suite = offer.first().ok_or(NO_SUITE)?;
            let (share, own) = phase1.show(&suite, &mut chain, core, cx)?;
            Stage::Shown { sa_body, offer: Some(offer), suite, share, own }
        } else {
            Stage::SaSent { sa_body, offer }
        };
        for id in vendor::ours(core).chain(nat::offered(core)).chain(phase1.own_ids()) {
            chain.push(PayloadType::VENDOR_ID, |w| w.bytes(id));
        }
        if is_aggressive {
            let padding = answer_room(core)?;
            chain.push(PayloadType::VENDOR_ID, |w| w.bytes(&padding));
        }
        let octets = core.clear(exchange.exchange_type(), 0, chain)?;
        core.progress(Step::Reaching { path: core.path }, cx);
        phase1.ask(octets, core, cx);
        Ok(phase1)
    }

    /// Responder: takes the first message. In main mode it answers with no more octets than came: the
    /// chosen transform, and vendor ids that the peer has sent, too. In aggressive mode it answers when
    /// the nonce is decrypted.
    pub(crate) fn answer(
        exchange: Exchange,
        message: &[u8],
        received: &Received<'_>,
        choice: Choice,
        core: &mut Core,
        cx: &mut Context<'_>,
    ) -> Option<Self> {
        if nat::is_lost(&received.vendor_ids, core, cx) {
            return None;
        }
        core.cookie_r = cx.ike_spi();
        note_vendors(&received.vendor_ids, core);
        core.nat_numbers = nat::common(&received.vendor_ids, core).map(|(_, numbers)| numbers);
        core.suite = cx.out.shared_suite(choice.suite.transforms());
        let Agreement { limits, notify } = choice.agreement;
        core.life = limits.seconds.map(|limit| Duration::from_secs(limit.amount));
        core.life_kilobytes = limits.kilobytes.map(|limit| limit.amount);
        core.told_life = notify;
        let is_main = exchange == Exchange::Main;
        let mut phase1 = Self {
            exchange,
            kind: choice.suite.kind,
            // What a first message has encrypted is padded before anybody has been asked.
            padding: if is_main { padding(&received.vendor_ids) } else { RsaPadding::Pkcs1 },
            stage: Stage::Over,
            certified: None,
            wanted: None,
            answered: None,
            patience: Patience::of(Role::Responder, cx),
            initial_contact: false,
        };
        let sa_body = received.sa_body.to_vec();
        if !is_main {
            let sealed = Sealed::of(received, &choice.suite, false)?;
            let answer = Some(answer_body(&choice.body, &received.vendor_ids, core));
            phase1.decrypt(message, choice.suite, sa_body, answer, sealed, None, None, core, cx);
            return Some(phase1);
        }
        let mut chain = ChainBuilder::new();
        put_answer(&answer_body(&choice.body, &received.vendor_ids, core), &mut chain);
        let octets = core.clear(exchange.exchange_type(), 0, chain).ok()?;
        core.transmit(&octets, cx);
        phase1.answered = Some(Answered::new(message, octets));
        phase1.stage = Stage::SaAnswered { sa_body, suite: choice.suite };
        Some(phase1)
    }

    // ---- Questions ----

    /// Whether we initiate and the peer has not shown anything yet.
    pub(crate) fn is_unanswered(&self) -> bool {
        matches!(self.stage, Stage::SaSent { .. } | Stage::Shown { offer: Some(_), .. })
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
        let is_proving = matches!(self.stage, Stage::Proving { .. });
        let floats = is_proving && nat::may_float_to(path, core, cx);
        let is_ours = header.message_id == 0 && header.exchange == self.exchange.exchange_type();
        if !is_ours || (path != core.path && !floats) {
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
        if is_proving {
            return self.handle_proof(path, header, octets, core, cx);
        }
        let body = octets.get(Header::LEN..).unwrap_or_default();
        let received = Received::read(header.next_payload, body);
        let Some(received) = received.filter(|_| !header.flags.is_encrypted()) else {
            return Ok(Outcome::Stay);
        };
        match &self.stage {
            Stage::SaSent { .. } => self.handle_sa(header.cookie_r, octets, &received, core, cx),
            Stage::Shown { .. } => self.handle_shown(header.cookie_r, octets, &received, core, cx),
            Stage::SaAnswered { .. } => {
                self.handle_nonce(octets, &received, core, cx);
                Ok(Outcome::Stay)
            }
            Stage::Decrypting(_) | Stage::Certifying(_) | Stage::Proving { .. } | Stage::Over => {
                Ok(Outcome::Stay)
            }
        }
    }

    /// Responder, aggressive mode: the initiator goes on, so that its third message was lost. It sends that
    /// again when the second comes again; who has our cookie gets what is sent to its address.
    pub(crate) fn handle_early(
        &mut self,
        path: Path,
        header: &Header,
        core: &Core,
        cx: &mut Context<'_>,
    ) {
        let is_ahead = self.exchange == Exchange::Aggressive
            && matches!(self.stage, Stage::Proving { .. })
            && header.cookie_r == core.cookie_r;
        let is_theirs = path == core.path || nat::may_float_to(path, core, cx);
        if let Some(answered) = self.answered.as_mut().filter(|_| is_ahead && is_theirs)
            && let Some(answer) = answered.repeat()
        {
            cx.out.push(Output::Transmit { path, octets: answer.to_vec() });
        }
    }

    /// Initiator, main mode: the second message; sends the third.
    fn handle_sa(
        &mut self,
        cookie_r: IkeSpi,
        octets: &[u8],
        received: &Received<'_>,
        core: &mut Core,
        cx: &mut Context<'_>,
    ) -> StepResult {
        let Stage::SaSent { sa_body, offer } = &self.stage else { return Ok(Outcome::Stay) };
        let suite = received.sa.as_ref().and_then(|sa| offer.accept(sa));
        let is_agreed = self.is_agreed(received, core, cx) && cookie_r != core.cookie_i;
        let Some(suite) = suite.filter(|_| is_agreed) else {
            return Ok(Outcome::Stay);
        };
        let sa_body = sa_body.clone();
        core.cookie_r = cookie_r;
        self.padding = padding(&received.vendor_ids);
        self.settle(&suite, received, core, cx);
        let mut chain = ChainBuilder::new();
        let (share, own) = self.show(&suite, &mut chain, core, cx)?;
        put_nat_hashes(&suite, core, &mut chain, cx);
        let message = core.clear(self.exchange.exchange_type(), 0, chain)?;
        self.stage = Stage::Shown { sa_body, offer: None, suite, share, own };
        self.answered = Some(Answered::new(octets, message.clone()));
        self.ask(message, core, cx);
        Ok(Outcome::Stay)
    }

    /// Whether the responder goes on with us as one that knows what we want with it.
    ///
    /// Its cookie must be another than ours, which the callers see to: without public values nothing else
    /// tells HASH_R from a HASH_I of ours that comes back.
    fn is_agreed(&self, received: &Received<'_>, core: &Core, cx: &Context<'_>) -> bool {
        let is_known =
            self.kind != NonceEncryption::DhLess || received.vendor_ids.contains(&DHLESS);
        is_known && !nat::is_lost(&received.vendor_ids, core, cx)
    }

    /// Initiator: what the second message settles.
    fn settle(
        &self,
        suite: &Suite,
        received: &Received<'_>,
        core: &mut Core,
        cx: &mut Context<'_>,
    ) {
        core.suite = cx.out.shared_suite(suite.transforms());
        note_vendors(&received.vendor_ids, core);
        core.nat_numbers = nat::common(&received.vendor_ids, core).map(|(_, numbers)| numbers);
    }

    /// Initiator: the fourth message, or in aggressive mode the second.
    fn handle_shown(
        &mut self,
        cookie_r: IkeSpi,
        octets: &[u8],
        received: &Received<'_>,
        core: &mut Core,
        cx: &mut Context<'_>,
    ) -> StepResult {
        let Stage::Shown { offer, suite, .. } = &self.stage else { return Ok(Outcome::Stay) };
        if let Some(offer) = offer {
            let accepted = received.sa.as_ref().and_then(|sa| offer.accept(sa));
            let is_agreed = self.is_agreed(received, core, cx) && cookie_r != core.cookie_i;
            if accepted.as_ref() != Some(suite) || !is_agreed {
                return Ok(Outcome::Stay);
            }
        }
        let proof =
            offer.is_some().then(|| received.proof()).map(|proof| proof.map(<[u8]>::to_vec));
        let (Some(sealed), None | Some(Some(_))) =
            (Sealed::of(received, suite, true), proof.as_ref())
        else {
            return Ok(Outcome::Stay);
        };
        let stage = std::mem::replace(&mut self.stage, Stage::Over);
        let Stage::Shown { sa_body, suite, share, own, .. } = stage else {
            return Ok(Outcome::Stay);
        };
        if proof.is_some() {
            core.cookie_r = cookie_r;
            self.settle(&suite, received, core, cx);
        }
        core.nat = nat_verdict(&suite, core.path, received, core);
        let reached = Step::Reached {
            path: core.path,
            nat_local: core.nat.we_are_behind_nat,
            nat_remote: core.nat.peer_is_behind_nat,
            peer: core.peer,
        };
        core.progress(reached, cx);
        nat::float(core, cx);
        self.patience.answered();
        let own = Some((share, own));
        self.decrypt(octets, suite, sa_body, None, sealed, own, proof.flatten(), core, cx);
        Ok(Outcome::Stay)
    }

    /// Responder, main mode: the third message, which proves that the peer gets what is sent to its
    /// address.
    fn handle_nonce(
        &mut self,
        octets: &[u8],
        received: &Received<'_>,
        core: &mut Core,
        cx: &mut Context<'_>,
    ) {
        let Stage::SaAnswered { sa_body, suite } = &self.stage else { return };
        let Some(sealed) = Sealed::of(received, suite, false) else { return };
        core.nat = nat_verdict(suite, core.path, received, core);
        let (suite, sa_body) = (suite.clone(), sa_body.clone());
        self.decrypt(octets, suite, sa_body, None, sealed, None, None, core, cx);
    }

    /// Asks whoever has the private key. Until there is an answer, repetitions get none.
    #[expect(clippy::too_many_arguments, reason = "all of them wait for the answer")]
    fn decrypt(
        &mut self,
        octets: &[u8],
        suite: Suite,
        sa_body: Vec<u8>,
        answer: Option<Answer>,
        sealed: Sealed,
        own: Option<(Option<KeyShare>, Shown)>,
        proof: Option<Vec<u8>>,
        core: &Core,
        cx: &mut Context<'_>,
    ) {
        let job = cx.out.next_job();
        cx.out.begin_auth(job, core.id);
        cx.out.push(Output::Auth(AuthJob {
            job,
            kind: AuthJobKind::Decrypt(sealed.ciphertexts(&suite, self.padding)),
            connection: core.connection_name().clone(),
            round: 0,
            local_id: core.own_id(),
            remote_id: core.expected_id(),
            prf: suite.prf,
            octets: Secret::default(),
            local_auth: core.connection.pad.local_auth.clone(),
            remote_auth: core.connection.pad.remote_auth.clone(),
            announced: Announced::default(),
        }));
        self.answered = Some(Answered::new(octets, Vec::new()));
        let waiting =
            Decrypting { job, suite, sa_body, answer, sealed, own, octets: octets.len(), proof };
        self.stage = Stage::Decrypting(Box::new(waiting));
    }

    /// Takes what was decrypted. The responder shows its nonce, the initiator its proof.
    pub(crate) fn handle_auth(
        &mut self,
        job: JobId,
        result: AuthResult,
        core: &mut Core,
        cx: &mut Context<'_>,
    ) -> StepResult {
        let awaited = matches!(&self.stage, Stage::Decrypting(waiting) if waiting.job == job);
        if !awaited {
            return self.handle_trust(job, result, core, cx);
        }
        let (result, end) = result.split();
        let messages: Vec<Secret> = match result {
            AuthResult::Decrypted(messages) => messages.into_iter().map(|one| one.0).collect(),
            AuthResult::CannotSign(problem) => {
                return Err(FailureReason::CannotSign { local: core.own_id(), problem });
            }
            // The certificate of the peer that we have, whatever it has sent.
            AuthResult::Distrusted(problem) => {
                return Err(FailureReason::NotTrusted { remote: core.expected_id(), problem });
            }
            AuthResult::Signed(_)
            | AuthResult::Verified
            | AuthResult::VerifiedAndSigned(_)
            | AuthResult::Refused
            | AuthResult::Mixed(_)
            | AuthResult::Derived(_)
            | AuthResult::NoSecret
            | AuthResult::Limited(_) => {
                return Err(FailureReason::Internal("messages were to be decrypted"));
            }
        };
        let stage = std::mem::replace(&mut self.stage, Stage::Over);
        let Stage::Decrypting(waiting) = stage else { return Ok(Outcome::Stay) };
        core.local_id = Some(core.own_id());
        core.limit(end);
        match core.role {
            Role::Responder => self.answer_nonce(*waiting, messages, core, cx),
            Role::Initiator => self.prove(*waiting, messages, core, cx),
        }
    }

    /// Responder: the fourth message, or in aggressive mode the second.
    fn answer_nonce(
        &mut self,
        waiting: Decrypting,
        messages: Vec<Secret>,
        core: &mut Core,
        cx: &mut Context<'_>,
    ) -> StepResult {
        let Decrypting { suite, sa_body, answer, sealed, octets, .. } = waiting;
        let peer = sealed.open(&suite, core.cookie_i, messages);
        let opened = Opened { suite, sa_body, answer, peer, octets };
        match trust::is_wanted(&core.connection) {
            true => self.ask_trust(opened, core, cx),
            false => self.answer_opened(opened, core, cx),
        }
    }

    /// Responder: goes on when it has the peer's key.
    fn answer_opened(
        &mut self,
        opened: Opened,
        core: &mut Core,
        cx: &mut Context<'_>,
    ) -> StepResult {
        let Opened { suite, sa_body, answer, mut peer, octets } = opened;
        let mut own = draw(core, cx);
        let shared = match suite.group {
            None => Secret::from_slice(NO_KEY_EXCHANGE),
            Some(group) => {
                let answered = cx.answer_key_share(group, &peer.public).or_else(|_| {
                    // What was no public value because it was not decrypted is one now.
                    peer.is_sound = false;
                    let stand_in = cx.key_share(group).public().to_vec();
                    cx.answer_key_share(group, &stand_in)
                });
                let Ok((public, shared)) = answered else {
                    return Err(FailureReason::Internal("a public value of ours is none"));
                };
                own.public = public;
                shared
            }
        };
        let nonces = Nonces { initiator: peer.nonce.as_bytes(), responder: own.nonce.as_bytes() };
        let material = Material {
            sa_body,
            public_i: peer.public.clone(),
            public_r: own.public.clone(),
            shared,
            ..Material::default()
        };
        set_keys(&suite, nonces, &material, core)?;
        let mut chain = ChainBuilder::new();
        if let Some(answer) = &answer {
            put_answer(answer, &mut chain);
        }
        self.put_shown(&suite, &own, &mut chain, core, cx)?;
        if answer.is_some() {
            let proof = own_proof(&material, core)?;
            chain.push(PayloadType::HASH, |w| w.bytes(proof.as_bytes()));
        }
        if answer.is_some() || core.nat.supported {
            put_nat_hashes(&suite, core, &mut chain, cx);
        }
        let message = core.clear(self.exchange.exchange_type(), 0, chain)?;
        // Nobody has shown that it gets what is sent to its address.
        if answer.is_some() && message.len() > octets {
            return Err(SHORT);
        }
        core.transmit(&message, cx);
        self.answered = self.answered.take().map(|asked| asked.with(message));
        self.stage = Stage::Proving { suite, material: Box::new(material), peer };
        Ok(Outcome::Stay)
    }

    /// Initiator: the last message of its own.
    fn prove(
        &mut self,
        waiting: Decrypting,
        messages: Vec<Secret>,
        core: &mut Core,
        cx: &mut Context<'_>,
    ) -> StepResult {
        let Decrypting { suite, sa_body, sealed, own, proof, .. } = waiting;
        let Some((share, own)) = own else { return Ok(Outcome::Stay) };
        let mut peer = sealed.open(&suite, core.cookie_r, messages);
        let shared = match share {
            None => Secret::from_slice(NO_KEY_EXCHANGE),
            Some(share) => share.agree(&peer.public).unwrap_or_else(|_| {
                peer.is_sound = false;
                Secret::default()
            }),
        };
        let nonces = Nonces { initiator: own.nonce.as_bytes(), responder: peer.nonce.as_bytes() };
        let material = Material {
            sa_body,
            public_i: own.public.clone(),
            public_r: peer.public.clone(),
            shared,
            ..Material::default()
        };
        set_keys(&suite, nonces, &material, core)?;
        core.progress(Step::Keys { suite: core.suite.to_vec() }, cx);
        let Some(proof) = proof else {
            let message = self.sealed_proof(&material, core)?;
            self.answered = self.answered.take().map(|asked| asked.with(message.clone()));
            self.stage = Stage::Proving { suite, material: Box::new(material), peer };
            self.ask(message, core, cx);
            return Ok(Outcome::Stay);
        };
        let Some(id) = proven_identity(&proof, &material, &peer, core) else {
            self.doubt_key(core, cx);
            return Ok(Outcome::Stay);
        };
        check_identity(&id, core)?;
        core.remote_id = Some(id);
        let own_proof = own_proof(&material, core)?;
        let mut chain = ChainBuilder::new();
        chain.push(PayloadType::HASH, |w| w.bytes(own_proof.as_bytes()));
        put_nat_hashes(&suite, core, &mut chain, cx);
        self.put_initial_contact(&mut chain, core);
        let message = core.clear(self.exchange.exchange_type(), 0, chain)?;
        core.transmit(&message, cx);
        // The responder repeats its message if ours is lost.
        Ok(Outcome::Done(self.answered.take().map(|asked| asked.with(message))))
    }

    /// The fifth or sixth message of main mode.
    fn sealed_proof(&self, material: &Material, core: &mut Core) -> Result<Vec<u8>, FailureReason> {
        let proof = own_proof(material, core)?;
        let mut chain = ChainBuilder::new();
        chain.push(PayloadType::HASH, |w| w.bytes(proof.as_bytes()));
        self.put_initial_contact(&mut chain, core);
        let mut iv = core.keys.as_ref().ok_or(NO_KEYS)?.phase1_iv().clone();
        let message = core.sealed(self.exchange.exchange_type(), 0, chain, &mut iv)?;
        if let Some(keys) = &mut core.keys {
            keys.set_phase1_iv(iv);
        }
        Ok(message)
    }

    fn put_initial_contact(&self, chain: &mut ChainBuilder, core: &Core) {
        if self.initial_contact && core.role.is_initiator() {
            let cookies = [core.cookie_i.0, core.cookie_r.0].concat();
            informational::put_notify(NotifyType::INITIAL_CONTACT, &cookies, &[], chain);
        }
    }

    /// The peer's proof: in main mode the fifth or sixth message, in aggressive mode the third.
    fn handle_proof(
        &mut self,
        path: Path,
        header: &Header,
        octets: &[u8],
        core: &mut Core,
        cx: &mut Context<'_>,
    ) -> StepResult {
        let Stage::Proving { suite, material, peer } = &self.stage else {
            return Ok(Outcome::Stay);
        };
        let Some(keys) = core.keys.as_ref() else { return Ok(Outcome::Stay) };
        let is_main = self.exchange == Exchange::Main;
        let opened = match header.flags.is_encrypted() {
            true => core.opened(octets, keys.phase1_iv()),
            // RFC 2409 §5.3: HASH_I of aggressive mode is in clear.
            false if is_main => return Ok(Outcome::Stay),
            false => {
                octets.get(Header::LEN..).map(|body| (body.to_vec(), keys.phase1_iv().clone()))
            }
        };
        let is_encrypted = header.flags.is_encrypted();
        let proven = opened.and_then(|(plain, iv)| {
            let plain = match is_encrypted {
                true => without_padding(header.next_payload, &plain).ok()?,
                false => &plain,
            };
            let received = Received::read(header.next_payload, plain)?;
            let id = proven_identity(received.proof()?, material, peer, core)?;
            let verdict = (!is_main).then(|| nat_verdict(suite, path, &received, core));
            Some((id, received.initial_contact, iv, verdict))
        });
        let Some((id, initial_contact, iv, verdict)) = proven else {
            self.doubt_key(core, cx);
            return Ok(Outcome::Stay);
        };
        check_identity(&id, core)?;
        if let Some(keys) = &mut core.keys {
            keys.set_phase1_iv(iv);
        }
        if let Some(verdict) = verdict {
            core.nat = verdict;
        }
        core.remote_id = Some(id);
        nat::settle(core, path, cx);
        core.hear(path, cx.now);
        self.initial_contact |= initial_contact;
        let stage = std::mem::replace(&mut self.stage, Stage::Over);
        let Stage::Proving { material, .. } = stage else { return Ok(Outcome::Done(None)) };
        if core.role.is_initiator() {
            return Ok(Outcome::Done(None));
        }
        if !is_main {
            return Ok(Outcome::Done(Some(Answered::new(octets, Vec::new()))));
        }
        let answer = self.sealed_proof(&material, core)?;
        core.transmit(&answer, cx);
        Ok(Outcome::Done(Some(Answered::new(octets, answer))))
    }
}

/// Payloads that go in front of what the responder shows, or stand alone in the second message.
fn answer_body(sa_body: &[u8], vendor_ids: &[&[u8]], core: &Core) -> Answer {
    let known = vendor::ours(core).chain([DHLESS, OAEP]);
    let nat = nat::common(vendor_ids, core).map(|(id, _)| id);
    let is_said = |id: &&[u8]| vendor::is_among(id, vendor_ids) || vendor::is_free(id, vendor_ids);
    let ids = known.filter(is_said).chain(nat);
    let sa = (PayloadType::SA, sa_body.to_vec());
    std::iter::once(sa).chain(ids.map(|id| (PayloadType::VENDOR_ID, id.to_vec()))).collect()
}

fn put_answer(answer: &[(PayloadType, Vec<u8>)], chain: &mut ChainBuilder) {
    for (kind, body) in answer {
        chain.push(*kind, |w| w.bytes(body));
    }
}

fn put_nat_hashes(suite: &Suite, core: &Core, chain: &mut ChainBuilder, cx: &mut Context<'_>) {
    if let Some(hash) = suite.hash() {
        nat::put_hashes(hash, core, chain, cx);
    }
}

fn nat_verdict(
    suite: &Suite,
    path: Path,
    received: &Received<'_>,
    core: &Core,
) -> crate::nat::Verdict {
    let verdict = |hash| nat::verdict(hash, core, path, &received.nat_hashes);
    suite.hash().map(verdict).unwrap_or_default()
}

fn note_vendors(vendor_ids: &[&[u8]], core: &mut Core) {
    core.peer_has_dpd |= vendor::has_dpd(vendor_ids);
    if core.peer == PeerSoftware::Unknown {
        core.peer = vendor::software(vendor_ids);
    }
}

/// What a first message was that its answer would be longer than.
const SHORT: FailureReason =
    FailureReason::PeerMisbehaved("the first message is shorter than its answer would be");

/// What a configuration without a suite of IKEv1 comes to, which is refused when it is read.
pub(super) const NO_SUITE: FailureReason =
    FailureReason::Internal("no suite of the tunnel is one of IKEv1");
