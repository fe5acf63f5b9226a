//! Rekeying of the IKE SA (RFC 7296 §1.3.2, §2.8, §2.18, §2.25.2) with additional key exchanges
//! by IKE_FOLLOWUP_KE (RFC 9370 §2.2.4, [`super::followup`]): both sides.
//!
//! The new IKE SA takes over children and waiting tasks; its message ids start at 0. The
//! initiator of the rekey deletes the old one. When both rekey at once the exchange with the
//! lowest nonce loses: whoever began it deletes what it made, or does not finish it.

use std::time::Instant;

use adit_crypto::{KeyShare, Secret};
use adit_wire::iana::{ExchangeType, NotifyType, PayloadType};
use adit_wire::ikev2::{ChainBuilder, IkeSpi, Ke, Payload, Transform};

use crate::context::{Context, Notice};
use crate::failure::{By, FailureReason};
use crate::keymat::{Nonces, Role, SharedSecrets, SkKeys, skeyseed_rekey};
use crate::proposal::{Choice, IkeSuite, Offer, Purpose, choose_ike};
use crate::v2::established::{Established, Own, Secrets, Task};
use crate::v2::ike_sa::core::Core;
use crate::v2::ike_sa::{Farewell, IkeSa, Next, StepResult};
use crate::v2::notification_data::{self, About};
use crate::v2::resumption;
use crate::v2::rules::{Form, Received};

use super::create_child::refuse;
use super::followup::{self, FOLLOWUP_WAIT, Series};
use super::informational::refuse_malformed;
use super::init::RESTARTS_MAX;
use super::rekey_child::{is_lower, lowest};

/// Our request to rekey in flight.
#[derive(Debug)]
pub(crate) struct RekeyIkeSent {
    offer: Offer,
    spi: IkeSpi,
    nonce: Vec<u8>,
    key_share: Option<KeyShare>,
    restarts: u8,
    rival: Option<Rival>,
}

/// Our IKE_FOLLOWUP_KE in flight.
#[derive(Debug)]
pub(crate) struct FollowupSent {
    agreement: Agreement,
    key_share: Option<KeyShare>,
    rival: Option<Rival>,
}

/// The peer's rekey, waiting for its next IKE_FOLLOWUP_KE.
#[derive(Debug)]
pub(crate) struct PendingFollowup {
    agreement: Agreement,
    /// What the next request has to repeat.
    link: Vec<u8>,
    deadline: Instant,
}

/// The peer's rekey that crossed ours.
#[derive(Debug)]
struct Rival {
    lowest: Vec<u8>,
    /// What it made; nothing as long as it waits for IKE_FOLLOWUP_KE.
    new: Option<Box<IkeSa>>,
}

/// What both ends know of the new IKE SA.
#[derive(Debug)]
struct Agreement {
    role: Role,
    suite: IkeSuite,
    transforms: Vec<Transform>,
    spi_i: IkeSpi,
    spi_r: IkeSpi,
    nonce_i: Vec<u8>,
    nonce_r: Vec<u8>,
    first: Secret,
    series: Series,
}

impl Agreement {
    fn new(
        role: Role,
        choice: Choice<IkeSuite>,
        spis: (IkeSpi, IkeSpi),
        nonces: (Vec<u8>, Vec<u8>),
        first: Secret,
    ) -> Self {
        Self {
            role,
            transforms: choice.visible_transforms(),
            series: Series::new(&choice.suite.additional),
            suite: choice.suite,
            spi_i: spis.0,
            spi_r: spis.1,
            nonce_i: nonces.0,
            nonce_r: nonces.1,
            first,
        }
    }

    fn lowest(&self) -> &[u8] {
        lowest(&self.nonce_i, &self.nonce_r)
    }

    /// Makes the new IKE SA (RFC 7296 §2.18).
    fn finish(
        self,
        secrets: &Secrets,
        core: &Core,
        cx: &mut Context<'_>,
    ) -> Result<Box<IkeSa>, FailureReason> {
        let nonces = Nonces { initiator: &self.nonce_i, responder: &self.nonce_r };
        let shared = SharedSecrets { first: Some(&self.first), additional: self.series.secrets() };
        let skeyseed = skeyseed_rekey(secrets.prf, &secrets.sk_d, shared, nonces);
        let prf = self.suite.prf;
        let keys =
            SkKeys::derive(prf, self.suite.cipher, &skeyseed, nonces, self.spi_i, self.spi_r)
                .map_err(|_| FailureReason::Internal("prf+"))?;
        let mut core = core.successor(self.role, self.spi_i, self.spi_r, cx);
        core.suite = cx.out.shared_suite(self.transforms);
        core.protect(&self.suite, &keys, cx)?;
        let secrets = Secrets { prf, sk_d: keys.d, ppk: secrets.ppk };
        let established = Established::new(secrets, &core, cx);
        Ok(Box::new(IkeSa::established(core, established)))
    }
}

impl RekeyIkeSent {
    /// Asks for a new IKE SA. `None`: the peer is at it.
    pub(crate) fn start(
        established: &mut Established,
        core: &mut Core,
        cx: &mut Context<'_>,
    ) -> Result<Option<Own>, FailureReason> {
        if established.followup.is_some() || established.has_pending_children() {
            established.retry(Task::RekeyIke, cx);
            return Ok(None);
        }
        let connection = core.connection.clone().ok_or(FailureReason::NoSuch("connection"))?;
        let spi = cx.ike_spi();
        let purpose = Purpose::RekeyIke { additional: true };
        let offer = Offer::new(purpose, &connection.proposals, &spi.0);
        let method = offer.first_key_exchange().ok_or(FailureReason::Internal("empty offer"))?;
        let mut sent = Self {
            offer,
            spi,
            nonce: Vec::new(),
            key_share: Some(cx.key_share(method)),
            restarts: 0,
            rival: None,
        };
        sent.send(core, cx)?;
        Ok(Some(Own::RekeyIke(Box::new(sent))))
    }

    /// `SA, Ni, KEi`
    fn send(&mut self, core: &mut Core, cx: &mut Context<'_>) -> Result<(), FailureReason> {
        self.nonce = cx.nonce();
        let mut chain = ChainBuilder::new();
        chain.put(&Payload::Sa(self.offer.sa()));
        chain.push(PayloadType::NONCE, |w| w.bytes(&self.nonce));
        if let Some(share) = &self.key_share {
            chain.put(&Payload::Ke(Ke { method: share.method().id(), data: share.public() }));
        }
        core.request(ExchangeType::CREATE_CHILD_SA, chain, cx.config.established, cx)?;
        Ok(())
    }

    /// Takes the response.
    pub(crate) fn handle_response(
        mut self: Box<Self>,
        received: &Received<'_>,
        established: &mut Established,
        core: &mut Core,
        cx: &mut Context<'_>,
    ) -> StepResult {
        if received.form == Form::Refusal {
            return self.handle_refusal(received, established, core, cx);
        }
        let agreement = self.agree(received)?;
        let loses =
            self.rival.as_ref().is_some_and(|rival| is_lower(agreement.lowest(), &rival.lowest));
        let rival = self.rival.take();
        match (loses, agreement.series.is_complete()) {
            // RFC 9370 §2.2.4: what is not followed up was never made.
            (true, false) => Ok(lose(rival, established, cx)),
            (_, true) => conclude(agreement, rival, established, core, cx),
            (false, false) => {
                // The peer stops its own for the same reason.
                established.followup = None;
                FollowupSent::start(agreement, rival, received, established, core, cx)
            }
        }
    }

    /// Checks the answer and computes the shared secret.
    fn agree(&mut self, received: &Received<'_>) -> Result<Agreement, FailureReason> {
        let (Some(sa), Some(nonce), Some(ke), Some(share)) =
            (&received.sa, received.nonce, received.ke, self.key_share.take())
        else {
            return Err(FailureReason::PeerMisbehaved("incomplete answer to a rekey"));
        };
        let choice = self
            .offer
            .accept_ike(sa)
            .map_err(|_| FailureReason::PeerMisbehaved("answer is not what was offered"))?;
        let spi_r = IkeSpi::from_field(&choice.peer_spi)
            .ok_or(FailureReason::PeerMisbehaved("responder's SPI is zero"))?;
        let method = choice.suite.ke;
        if share.method() != method || ke.method != method.id() {
            return Err(FailureReason::PeerMisbehaved("key exchange does not fit the answer"));
        }
        let first = share
            .agree(ke.data)
            .map_err(|_| FailureReason::PeerMisbehaved("invalid public value"))?;
        let nonces = (std::mem::take(&mut self.nonce), nonce.as_bytes().to_vec());
        Ok(Agreement::new(Role::Initiator, choice, (self.spi, spi_r), nonces, first))
    }

    fn handle_refusal(
        mut self: Box<Self>,
        received: &Received<'_>,
        established: &mut Established,
        core: &mut Core,
        cx: &mut Context<'_>,
    ) -> StepResult {
        if let Some(wanted) = received.wanted_key_exchange() {
            let method = self.offer.key_exchange(wanted);
            let sent = self.key_share.as_ref().map(KeyShare::method);
            if method.is_some() && method != sent && self.restarts < RESTARTS_MAX {
                self.restarts += 1;
                self.key_share = method.map(|method| cx.key_share(method));
                self.send(core, cx)?;
                established.own = Some(Own::RekeyIke(self));
                return Ok(Next::Stay);
            }
        }
        refused(received, self.rival, ExchangeType::CREATE_CHILD_SA, established, core, cx)
    }
}

/// The peer refuses our rekey: its own prevails, it is busy, or there will be none.
fn refused(
    received: &Received<'_>,
    rival: Option<Rival>,
    exchange: ExchangeType,
    established: &mut Established,
    core: &Core,
    cx: &mut Context<'_>,
) -> StepResult {
    let is_made = rival.as_ref().is_some_and(|rival| rival.new.is_some());
    if is_made || established.followup.is_some() {
        return Ok(lose(rival, established, cx));
    }
    let notify = received.error().map_or(NotifyType::INVALID_SYNTAX, |error| error.kind);
    match notify {
        NotifyType::STATE_NOT_FOUND if established.count_lost_series() => {}
        NotifyType::TEMPORARY_FAILURE => established.retry_busy([Task::RekeyIke], core, cx),
        NotifyType::STATE_NOT_FOUND => established.retry(Task::RekeyIke, cx),
        // CHECKLIST K14: delete and start anew.
        NotifyType::NO_PROPOSAL_CHOSEN => established.close(FailureReason::NoCommonIkeSuite {
            by: By::Peer,
            ours: core
                .connection
                .as_ref()
                .map(|connection| connection.proposals.clone())
                .unwrap_or_default(),
            theirs: Vec::new(),
        }),
        notify => established.close(FailureReason::PeerError { exchange, notify }),
    }
    Ok(Next::Stay)
}

/// Our rekey came to nothing; the peer's takes over if it is complete. If it never will be, ours is
/// begun anew.
fn lose(rival: Option<Rival>, established: &mut Established, cx: &mut Context<'_>) -> Next {
    match rival.and_then(|rival| rival.new) {
        Some(new) => Next::Replaced { new, old: Farewell::PeerDeletes },
        None => {
            established.retry(Task::RekeyIke, cx);
            Next::Stay
        }
    }
}

/// Our rekey is complete: it takes over, or gives way to the peer's.
fn conclude(
    agreement: Agreement,
    rival: Option<Rival>,
    established: &mut Established,
    core: &Core,
    cx: &mut Context<'_>,
) -> StepResult {
    let loses = rival.as_ref().is_some_and(|rival| is_lower(agreement.lowest(), &rival.lowest));
    let ours = agreement.finish(&established.secrets, core, cx)?;
    if loses {
        // CHECKLIST K04: the redundant IKE SA is deleted by its creator.
        cx.out.notice(Notice::Redundant { sa: ours, delete: true });
        return Ok(lose(rival, established, cx));
    }
    established.followup = None;
    if let Some(theirs) = rival.and_then(|rival| rival.new) {
        cx.out.notice(Notice::Redundant { sa: theirs, delete: false });
    }
    Ok(Next::Replaced { new: ours, old: Farewell::WeDelete })
}

impl FollowupSent {
    /// Asks for the next key exchange, or has the IKE SA if there is none.
    fn start(
        agreement: Agreement,
        rival: Option<Rival>,
        received: &Received<'_>,
        established: &mut Established,
        core: &mut Core,
        cx: &mut Context<'_>,
    ) -> StepResult {
        let Some(method) = agreement.series.next() else {
            return conclude(agreement, rival, established, core, cx);
        };
        let share = followup::request(method, followup::link(received)?, core, cx)?;
        let sent = Self { agreement, key_share: Some(share), rival };
        established.own = Some(Own::Followup(Box::new(sent)));
        Ok(Next::Stay)
    }

    /// Takes the response.
    pub(crate) fn handle_response(
        mut self: Box<Self>,
        received: &Received<'_>,
        established: &mut Established,
        core: &mut Core,
        cx: &mut Context<'_>,
    ) -> StepResult {
        if received.form == Form::Refusal {
            let exchange = ExchangeType::IKE_FOLLOWUP_KE;
            return refused(received, self.rival, exchange, established, core, cx);
        }
        let share = self.key_share.take().ok_or(FailureReason::Internal("no key share"))?;
        self.agreement.series.take(share, received)?;
        Self::start(self.agreement, self.rival, received, established, core, cx)
    }
}

impl PendingFollowup {
    pub(crate) fn deadline(&self) -> Instant {
        self.deadline
    }
}

/// Responder: answers a request to rekey the IKE SA.
pub(crate) fn answer(
    received: &Received<'_>,
    established: &mut Established,
    core: &mut Core,
    cx: &mut Context<'_>,
) -> StepResult {
    let exchange = ExchangeType::CREATE_CHILD_SA;
    // RFC 7296 §2.25.2: not while children come and go, nor while closing.
    //= https://www.rfc-editor.org/rfc/rfc9370#section-2.2.4
    //# In this case, a TEMPORARY_FAILURE notification MUST be sent in response to such a
    //# request.
    let busy = matches!(established.own, Some(Own::Child(_) | Own::Delete(_) | Own::Followup(_)));
    if busy || established.is_closing() {
        return refuse(exchange, NotifyType::TEMPORARY_FAILURE, &[], core, cx);
    }
    let connection = core.connection.clone().ok_or(FailureReason::NoSuch("connection"))?;
    let purpose = Purpose::RekeyIke { additional: true };
    let offered = super::init::offered(received);
    let choice = choose_ike(purpose, &connection.proposals, offered).ok();
    let peer = choice.as_ref().and_then(|choice| IkeSpi::from_field(&choice.peer_spi));
    let (Some(choice), Some(spi_i)) = (choice, peer) else {
        let about = About { code: Some(101), payload: Some(PayloadType::SA), exchange: None };
        let mut chain = ChainBuilder::new();
        notification_data::put_error(NotifyType::NO_PROPOSAL_CHOSEN, about, core, &mut chain);
        core.respond(exchange, chain, cx)?;
        return Ok(Next::Stay);
    };
    let method = choice.suite.ke;
    let (Some(ke), Some(nonce)) = (received.ke, received.nonce) else {
        return refuse_malformed(exchange, core, cx);
    };
    if ke.method != method.id() {
        let wanted = method.id().0.to_be_bytes();
        return refuse(exchange, NotifyType::INVALID_KE_PAYLOAD, &wanted, core, cx);
    }
    let Ok((public, first)) = cx.answer_key_share(method, ke.data) else {
        return refuse_malformed(exchange, core, cx);
    };
    let spi_r = cx.ike_spi();
    let nonce_r = cx.nonce();
    let mut chain = ChainBuilder::new();
    chain.put(&Payload::Sa(choice.answer(&spi_r.0)));
    chain.push(PayloadType::NONCE, |w| w.bytes(&nonce_r));
    chain.put(&Payload::Ke(Ke { method: method.id(), data: &public }));
    resumption::acknowledge(received, core, &mut chain);
    let nonces = (nonce.as_bytes().to_vec(), nonce_r);
    let agreement = Agreement::new(Role::Responder, choice, (spi_i, spi_r), nonces, first);
    respond(agreement, exchange, chain, established, core, cx)
}

/// Sends the response and either completes the rekey or waits for the next key exchange.
fn respond(
    agreement: Agreement,
    exchange: ExchangeType,
    mut chain: ChainBuilder,
    established: &mut Established,
    core: &mut Core,
    cx: &mut Context<'_>,
) -> StepResult {
    let lowest = agreement.lowest().to_vec();
    if agreement.series.is_complete() {
        core.respond(exchange, chain, cx)?;
        let new = agreement.finish(&established.secrets, core, cx)?;
        return Ok(complete(new, lowest, established));
    }
    let link = followup::put_fresh_link(&mut chain, cx);
    core.respond(exchange, chain, cx)?;
    let deadline = cx.now + FOLLOWUP_WAIT;
    established.followup = Some(Box::new(PendingFollowup { agreement, link, deadline }));
    if let Some(slot) = rival_slot(established) {
        *slot = Some(Rival { lowest, new: None });
    }
    Ok(Next::Stay)
}

/// The peer's rekey is complete: it takes over, unless ours is under way too.
fn complete(new: Box<IkeSa>, lowest: Vec<u8>, established: &mut Established) -> Next {
    match rival_slot(established) {
        Some(slot) => {
            *slot = Some(Rival { lowest, new: Some(new) });
            Next::Stay
        }
        None => Next::Replaced { new, old: Farewell::PeerDeletes },
    }
}

/// Where our own rekey in flight keeps what crosses it.
fn rival_slot(established: &mut Established) -> Option<&mut Option<Rival>> {
    match &mut established.own {
        Some(Own::RekeyIke(sent)) => Some(&mut sent.rival),
        Some(Own::Followup(sent)) => Some(&mut sent.rival),
        Some(
            Own::Child(_)
            | Own::Delete(_)
            | Own::Mobike(_)
            | Own::Liveness
            | Own::Redirect(_)
            | Own::Ticket,
        )
        | None => None,
    }
}

/// Takes the peer's rekey that this value links to.
pub(super) fn take_pending(
    link: Option<&[u8]>,
    established: &mut Established,
) -> Option<Box<PendingFollowup>> {
    established.followup.take_if(|pending| link == Some(pending.link.as_slice()))
}

/// Responder: answers the next additional key exchange of a rekey.
pub(super) fn answer_followup(
    mut pending: Box<PendingFollowup>,
    received: &Received<'_>,
    established: &mut Established,
    core: &mut Core,
    cx: &mut Context<'_>,
) -> StepResult {
    let exchange = ExchangeType::IKE_FOLLOWUP_KE;
    match pending.agreement.series.answer(received, cx) {
        Some(chain) => respond(pending.agreement, exchange, chain, established, core, cx),
        None => refuse_malformed(exchange, core, cx),
    }
}

impl Established {
    /// The peer deleted this IKE SA. If its rekey crossed ours, that is how it tells that its own
    /// prevailed (CHECKLIST K07); else all is over (K11).
    pub(crate) fn deleted_by_peer(&mut self) -> Next {
        match rival_slot(self).and_then(Option::take).and_then(|rival| rival.new) {
            Some(new) => Next::Replaced { new, old: Farewell::Gone },
            None => Next::End(FailureReason::ClosedByPeer),
        }
    }
}
