//! IKE_FOLLOWUP_KE (RFC 9370 §2.2.4): additional key exchanges after CREATE_CHILD_SA.
//!
//! One exchange per additional method, linked by a notify whose data is the responder's. What the
//! series makes is there only when it is complete: an IKE SA ([`super::rekey_ike`]), or a child SA,
//! which is here. Its initiator remains [`CreateChildSent`] meanwhile, so that for everybody else
//! the child is still being asked for; its responder keeps a [`PendingChild`].
//!
//! Of two exchanges for the same child that cross, the one with the lowest nonce is not followed
//! up. Nothing of the RFC is declined; we ask for one child at a time.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use adit_crypto::{KeyExchange, KeyShare, Secret};
use adit_db::{ChildConfig, ChildName, ChildSaId};
use adit_wire::iana::{ExchangeType, NotifyType};
use adit_wire::ikev2::{ChainBuilder, Ke, Notify, Payload};

use crate::alike::protects_alike;
use crate::context::Context;
use crate::failure::FailureReason;
use crate::v2::child::Phase;
use crate::v2::established::{Established, Own};
use crate::v2::ike_sa::core::Core;
use crate::v2::ike_sa::{Next, StepResult};
use crate::v2::rules::{Form, Received};

use super::create_child::{Agreement, Answered, CreateChildSent, complete, refuse};
use super::informational::refuse_malformed;
use super::rekey_child::{self, Rival};
use super::rekey_ike;

//= https://www.rfc-editor.org/rfc/rfc9370#section-2.2.4
//# The responder MUST handle this situation gracefully and delete the associated state if it
//# does not receive the next expected IKE_FOLLOWUP_KE request after some reasonable period of
//# time.
//
/// How long a half-done series of the peer is kept (CHECKLIST Q10).
pub(super) const FOLLOWUP_WAIT: Duration = Duration::from_secs(20);

/// Octets of our value that links an exchange to the one before.
const LINK_OCTETS: usize = 16;

/// Octets of such a value that we keep and return for the peer.
const LINK_OCTETS_MAX: usize = 1_024;

/// Children of the peer whose series are half done at a time.
const PENDING_CHILDREN_MAX: usize = 4;

/// Series that the peer may forget one after the other before the IKE SA ends.
const LOST_SERIES_MAX: u8 = 3;

/// The additional key exchanges of one CREATE_CHILD_SA, in their order.
#[derive(Debug)]
pub(super) struct Series {
    remaining: VecDeque<KeyExchange>,
    secrets: Vec<Secret>,
}

impl Series {
    pub(super) fn new(methods: &[KeyExchange]) -> Self {
        Self { remaining: methods.iter().copied().collect(), secrets: Vec::new() }
    }

    /// The method whose turn it is.
    pub(super) fn next(&self) -> Option<KeyExchange> {
        self.remaining.front().copied()
    }

    pub(super) fn is_complete(&self) -> bool {
        self.remaining.is_empty()
    }

    /// SK(1) … SK(n), as far as they are known.
    pub(super) fn secrets(&self) -> &[Secret] {
        &self.secrets
    }

    /// Responder: answers the exchange whose turn it is with the payload to send.
    ///
    /// `None` if it is not that one, or its public value is not valid.
    //= https://www.rfc-editor.org/rfc/rfc9370#section-2.2.4
    //# field in the KEi(n) and KEr(n) payloads MUST match the n-th negotiated additional key
    //# exchange.
    pub(super) fn answer(
        &mut self,
        received: &Received<'_>,
        cx: &mut Context<'_>,
    ) -> Option<ChainBuilder> {
        let method = self.next()?;
        let ke = received.ke.filter(|ke| ke.method == method.id())?;
        let (public, secret) = cx.answer_key_share(method, ke.data).ok()?;
        self.add(secret);
        let mut chain = ChainBuilder::new();
        chain.put(&Payload::Ke(Ke { method: method.id(), data: &public }));
        Some(chain)
    }

    /// Initiator: takes the answer to `share`.
    pub(super) fn take(
        &mut self,
        share: KeyShare,
        received: &Received<'_>,
    ) -> Result<(), FailureReason> {
        let ke = received
            .ke
            .filter(|ke| ke.method == share.method().id())
            .ok_or(FailureReason::PeerMisbehaved("no KE of the additional method"))?;
        let secret = share
            .agree(ke.data)
            .map_err(|_| FailureReason::PeerMisbehaved("invalid public value"))?;
        self.add(secret);
        Ok(())
    }

    fn add(&mut self, secret: Secret) {
        self.remaining.pop_front();
        self.secrets.push(secret);
    }
}

/// Initiator: sends the request with a key share of the method whose turn it is.
//= https://www.rfc-editor.org/rfc/rfc9370#section-2.2.4
//# The initiator MUST send back this notification intact in the request message of the next
//# IKE_FOLLOWUP_KE exchange.
pub(super) fn request(
    method: KeyExchange,
    link: &[u8],
    core: &mut Core,
    cx: &mut Context<'_>,
) -> Result<KeyShare, FailureReason> {
    let share = cx.key_share(method);
    let mut chain = ChainBuilder::new();
    chain.put(&Payload::Ke(Ke { method: method.id(), data: share.public() }));
    put_link(link, &mut chain);
    core.request(ExchangeType::IKE_FOLLOWUP_KE, chain, cx.config.established, cx)?;
    Ok(share)
}

/// What the peer wants back with the next exchange.
pub(super) fn link<'a>(received: &'a Received<'_>) -> Result<&'a [u8], FailureReason> {
    received
        .notify(NotifyType::ADDITIONAL_KEY_EXCHANGE)
        .map(|notify| notify.data)
        .filter(|link| link.len() <= LINK_OCTETS_MAX)
        .ok_or(FailureReason::PeerMisbehaved("additional key exchange without link"))
}

//= https://www.rfc-editor.org/rfc/rfc9370#section-2.2.4
//# The responder MUST include this notification in a CREATE_CHILD_SA or IKE_FOLLOWUP_KE
//# response message in case the next IKE_FOLLOWUP_KE exchange is expected
//
/// Responder: adds a value of ours that the next request has to repeat.
pub(super) fn put_fresh_link(chain: &mut ChainBuilder, cx: &mut Context<'_>) -> Vec<u8> {
    let link = cx.rng.array::<LINK_OCTETS>().to_vec();
    put_link(&link, chain);
    link
}

fn put_link(link: &[u8], chain: &mut ChainBuilder) {
    chain.put(&Payload::Notify(Notify::new(NotifyType::ADDITIONAL_KEY_EXCHANGE, link)));
}

// ---- Initiator of a child ----

/// Our child after CREATE_CHILD_SA, as long as key exchanges are to follow.
#[derive(Debug)]
pub(super) struct Following {
    agreement: Agreement,
    key_share: KeyShare,
}

/// Asks for the next key exchange of a child, or has it if there is none.
pub(super) fn proceed(
    mut sent: Box<CreateChildSent>,
    agreement: Agreement,
    received: &Received<'_>,
    established: &mut Established,
    core: &mut Core,
    cx: &mut Context<'_>,
) -> StepResult {
    let Some(method) = agreement.series.next() else {
        established.lost_series = 0;
        return sent.conclude(agreement, established, core, cx);
    };
    //= https://www.rfc-editor.org/rfc/rfc9370#section-2.2.4
    //# because there is nothing to delete yet, the initiator of this exchange just stops the
    //# rekeying process, and it MUST NOT initiate the IKE_FOLLOWUP_KE exchange.
    let lowest = rekey_child::lowest(&sent.nonce, &agreement.nonce_r);
    if sent.rival.as_ref().is_some_and(|rival| rival.wins_over(lowest)) {
        rekey_child::lose(&sent, established, core, cx);
        return Ok(Next::Stay);
    }
    let link = match link(received) {
        Ok(link) => link,
        Err(reason) => return sent.fail(reason, established, core, cx),
    };
    // The peer stops its own for the same reason.
    established.forget_pending(sent.rekeys, sent.name());
    let key_share = request(method, link, core, cx)?;
    sent.following = Some(Box::new(Following { agreement, key_share }));
    established.own = Some(Own::Child(sent));
    Ok(Next::Stay)
}

/// Takes the response to IKE_FOLLOWUP_KE for a child.
pub(super) fn handle_response(
    sent: Box<CreateChildSent>,
    following: Following,
    received: &Received<'_>,
    established: &mut Established,
    core: &mut Core,
    cx: &mut Context<'_>,
) -> StepResult {
    if received.form == Form::Refusal {
        return handle_refusal(sent, received, established, core, cx);
    }
    let Following { mut agreement, key_share } = following;
    match agreement.series.take(key_share, received) {
        Ok(()) => proceed(sent, agreement, received, established, core, cx),
        Err(reason) => sent.fail(reason, established, core, cx),
    }
}

/// The series has failed, and nothing was made.
fn handle_refusal(
    sent: Box<CreateChildSent>,
    received: &Received<'_>,
    established: &mut Established,
    core: &Core,
    cx: &mut Context<'_>,
) -> StepResult {
    if sent.rival.is_some() {
        rekey_child::lose(&sent, established, core, cx);
        return Ok(Next::Stay);
    }
    let notify = received.error().map_or(NotifyType::INVALID_SYNTAX, |error| error.kind);
    match notify {
        NotifyType::STATE_NOT_FOUND if established.count_lost_series() => Ok(Next::Stay),
        NotifyType::STATE_NOT_FOUND | NotifyType::TEMPORARY_FAILURE => {
            established.retry(sent.task(), cx);
            Ok(Next::Stay)
        }
        notify => {
            let exchange = ExchangeType::IKE_FOLLOWUP_KE;
            sent.fail(FailureReason::PeerError { exchange, notify }, established, core, cx)
        }
    }
}

impl CreateChildSent {
    /// Whether CREATE_CHILD_SA is over, and key exchanges follow it.
    pub(crate) fn is_following(&self) -> bool {
        self.following.is_some()
    }
}

// ---- Responder of a child ----

/// Children that the peer asked for, each waiting for its next IKE_FOLLOWUP_KE.
#[derive(Debug, Default)]
pub(crate) struct PendingChildren(Vec<PendingChild>);

#[derive(Debug)]
struct PendingChild {
    answered: Answered,
    config: ChildConfig,
    /// What the next request has to repeat.
    link: Vec<u8>,
    deadline: Instant,
}

impl PendingChild {
    /// Whether it will be in place of `rekeys`, or else the only child of this name.
    fn is_for(&self, rekeys: Option<ChildSaId>, name: &ChildName) -> bool {
        let Self { answered, config, .. } = self;
        let is_one_of_many = config.resource.is_some() || !config.pfp.is_none();
        answered.rekeys == rekeys && (rekeys.is_some() || (config.name == *name && !is_one_of_many))
    }
}

/// Answers CREATE_CHILD_SA, or an IKE_FOLLOWUP_KE that is not the last, and waits for the next.
pub(super) fn respond(
    answered: Answered,
    config: ChildConfig,
    exchange: ExchangeType,
    mut chain: ChainBuilder,
    established: &mut Established,
    core: &mut Core,
    cx: &mut Context<'_>,
) -> StepResult {
    let link = put_fresh_link(&mut chain, cx);
    core.respond(exchange, chain, cx)?;
    let deadline = cx.now + FOLLOWUP_WAIT;
    if answered.crosses(&config.name, established)
        && let Some(Own::Child(sent)) = &mut established.own
    {
        sent.rival = Some(Rival::pending(answered.lowest().to_vec()));
    }
    let pending = established.pending_children.get_or_insert_default();
    pending.0.push(PendingChild { answered, config, link, deadline });
    Ok(Next::Stay)
}

/// Responder: answers the next additional key exchange of whatever series it belongs to.
//= https://www.rfc-editor.org/rfc/rfc9370#section-2.2.4
//# If the responder receives an IKE_FOLLOWUP_KE message for which it does not have a key
//# exchange state, it MUST send back a new error type notification called "STATE_NOT_FOUND".
pub(crate) fn answer(
    received: &Received<'_>,
    established: &mut Established,
    core: &mut Core,
    cx: &mut Context<'_>,
) -> StepResult {
    let exchange = ExchangeType::IKE_FOLLOWUP_KE;
    let link = received.notify(NotifyType::ADDITIONAL_KEY_EXCHANGE).map(|notify| notify.data);
    if let Some(pending) = rekey_ike::take_pending(link, established) {
        return rekey_ike::answer_followup(pending, received, established, core, cx);
    }
    let Some(PendingChild { mut answered, config, .. }) = established.take_pending(link) else {
        return refuse(exchange, NotifyType::STATE_NOT_FOUND, &[], core, cx);
    };
    if established.is_closing() {
        return refuse(exchange, NotifyType::TEMPORARY_FAILURE, &[], core, cx);
    }
    if !is_still_wanted(&answered, &config, established, core) {
        return refuse(exchange, NotifyType::STATE_NOT_FOUND, &[], core, cx);
    }
    let Some(chain) = answered.series.answer(received, cx) else {
        return refuse_malformed(exchange, core, cx);
    };
    match answered.series.is_complete() {
        true => complete(answered, &config, exchange, chain, established, core, cx),
        false => respond(answered, config, exchange, chain, established, core, cx),
    }
}

/// Whether the child that is to be replaced is there, and what was agreed on is what the
/// configuration says: either may have gone since.
fn is_still_wanted(
    answered: &Answered,
    config: &ChildConfig,
    established: &Established,
    core: &Core,
) -> bool {
    let is_replaceable = |id| {
        let old = established.child(id);
        old.is_some_and(|old| matches!(old.phase, Phase::Installed | Phase::Rekeying))
    };
    let known = core.connection.as_ref().and_then(|connection| connection.child(&config.name));
    answered.rekeys.is_none_or(is_replaceable)
        && known.is_some_and(|known| protects_alike(config, known))
}

impl Established {
    /// Whether no more children of the peer can wait for key exchanges.
    pub(crate) fn has_most_pending(&self) -> bool {
        let pending = self.pending_children.as_ref().map_or(0, |pending| pending.0.len());
        pending >= PENDING_CHILDREN_MAX
    }

    /// Whether the peer is about to make the child that we would ask for: with the key exchanges
    /// that follow it will be there, or its series comes to nothing.
    pub(crate) fn awaits_peers_child(&self, rekeys: Option<ChildSaId>, name: &ChildName) -> bool {
        let is_it = |pending: &PendingChild| pending.is_for(rekeys, name);
        self.pending_children.iter().any(|pending| pending.0.iter().any(is_it))
    }

    /// Whether we are in the middle of key exchanges for a child: a request of the peer that crosses
    /// it comes too late for nonces to decide (RFC 9370 §2.2.4).
    pub(crate) fn own_is_following(&self) -> bool {
        self.own_child().is_some_and(CreateChildSent::is_following)
    }

    /// Whether the peer is in the middle of key exchanges for a child.
    pub(crate) fn has_pending_children(&self) -> bool {
        self.pending_children.is_some()
    }

    /// The peer does not follow up what it asked for: a child in place of `rekeys`, or one `name`.
    pub(crate) fn forget_pending(&mut self, rekeys: Option<ChildSaId>, name: &ChildName) {
        self.retain_pending(|pending| !pending.is_for(rekeys, name));
    }

    /// Drops what has waited for too long.
    pub(crate) fn expire_pending(&mut self, now: Instant) {
        self.retain_pending(|pending| now < pending.deadline);
    }

    /// When [`Established::expire_pending`] has something to do.
    pub(crate) fn pending_timeout(&self) -> Option<Instant> {
        let pending = self.pending_children.iter().flat_map(|pending| &pending.0);
        pending.map(|pending| pending.deadline).min()
    }

    fn take_pending(&mut self, link: Option<&[u8]>) -> Option<PendingChild> {
        let pending = &mut self.pending_children.as_mut()?.0;
        let place = pending.iter().position(|one| link == Some(one.link.as_slice()))?;
        let found = pending.swap_remove(place);
        self.retain_pending(|_| true);
        Some(found)
    }

    fn retain_pending(&mut self, keep: impl FnMut(&PendingChild) -> bool) {
        if let Some(pending) = &mut self.pending_children {
            pending.0.retain(keep);
        }
        self.pending_children.take_if(|pending| pending.0.is_empty());
    }

    //= https://www.rfc-editor.org/rfc/rfc9370#section-2.2.4
    //# If the initiator continues to receive STATE_NOT_FOUND notifications after several retries,
    //# it MUST treat this situation as a fatal error and delete the IKE SA by sending a DELETE
    //# payload.
    //
    /// The peer has forgotten a series of ours; whether that was once too often.
    pub(super) fn count_lost_series(&mut self) -> bool {
        self.lost_series = self.lost_series.saturating_add(1);
        let is_fatal = self.lost_series > LOST_SERIES_MAX;
        if is_fatal {
            self.close(FailureReason::PeerError {
                exchange: ExchangeType::IKE_FOLLOWUP_KE,
                notify: NotifyType::STATE_NOT_FOUND,
            });
        }
        is_fatal
    }
}
