//! CREATE_CHILD_SA for a child SA (RFC 7296 §1.3.1, §1.3.3, §2.17): both sides.
//!
//! A new child and a rekeyed one are the same exchange but for a REKEY_SA notify; what is special
//! about rekeying, collisions above all, is in [`super::rekey_child`]; additional key exchanges
//! (RFC 9370) follow in [`super::followup`].

use adit_crypto::{KeyShare, Secret};
use adit_db::{ChildConfig, ChildName, ChildSaId};
use adit_wire::esp::Spi;
use adit_wire::iana::{ExchangeType, NotifyType, PayloadType, ProtocolId};
use adit_wire::ikev2::{ChainBuilder, Ke, Notify, Payload};
use adit_wire::ip::FlowKey;

use crate::alike::protects_alike;
use crate::context::{Context, Notice};
use crate::failure::FailureReason;
use crate::keymat::{ChildKeymat, Nonces, Role, SharedSecrets};
use crate::proposal::Purpose;
use crate::traffic_selector::SelectorPair;
use crate::v2::child::{
    Agreed, Answer, CHILDREN_MAX, Cause, Child, Offered, Selectors, Wish, choose,
};
use crate::v2::child_offer::{
    Accepted, ChildOffer, Reply, answer_aggfrag, answer_ipcomp, answer_path_probe, put_answer,
    put_mode, put_resource,
};
use crate::v2::established::{Established, Own, Task};
use crate::v2::ike_sa::core::Core;
use crate::v2::ike_sa::{Next, StepResult};
use crate::v2::reauth;
use crate::v2::rules::{Form, Received};
use crate::v2::said::Said;

use super::auth::refuse_child;
use super::followup::{self, Following, Series};
use super::informational::refuse_malformed;
use super::init::RESTARTS_MAX;
use super::rekey_child::{self, Rival};

/// Our request for a child in flight.
#[derive(Debug)]
pub(crate) struct CreateChildSent {
    offer: ChildOffer,
    flow: Option<FlowKey>,
    pub(super) rekeys: Option<ChildSaId>,
    pub(super) nonce: Vec<u8>,
    key_share: Option<KeyShare>,
    restarts: u8,
    /// The peer's exchange for the same child that crossed ours.
    pub(super) rival: Option<Rival>,
    /// The child is agreed on, and key exchanges follow.
    pub(super) following: Option<Box<Following>>,
    /// SPIs that the peer deleted meanwhile and we do not know (CHECKLIST J13, J25).
    deleted: Vec<(ProtocolId, Spi)>,
}

/// SPIs remembered in `deleted`.
const DELETED_MAX: usize = 16;

/// What both ends know of a child that we asked for, before it has keys.
#[derive(Debug)]
pub(super) struct Agreement {
    accepted: Accepted,
    pub(super) nonce_r: Vec<u8>,
    first: Option<Secret>,
    pub(super) series: Series,
}

impl CreateChildSent {
    /// Asks for a child, or for new keys of the child `rekeys`. `None`: the configuration does
    /// not know the child any more.
    pub(crate) fn start(
        established: &mut Established,
        name: ChildName,
        flow: Option<FlowKey>,
        rekeys: Option<ChildSaId>,
        core: &mut Core,
        cx: &mut Context<'_>,
    ) -> Result<Option<Own>, FailureReason> {
        let connection = core.connection.clone().ok_or(FailureReason::NoSuch("connection"))?;
        let Some(config) = connection.child(&name) else { return Ok(None) };
        if established.awaits_peers_child(rekeys, &name) {
            established.retry(task(rekeys, &name, flow), cx);
            return Ok(None);
        }
        let spi_in =
            cx.child_spi(&connection, config).ok_or(FailureReason::TooMany("child SAs"))?;
        let purpose = Purpose::Child { additional: true };
        let cpi_in = cx.child_cpi(config);
        let ends = core.ends();
        let old = rekeys.and_then(|id| established.child(id)).map(|child| child.selectors.clone());
        let cause = match (&old, &flow) {
            (Some(old), _) => Cause::Rekey(old),
            (None, Some(flow)) => Cause::Packet(flow),
            (None, None) => Cause::Order,
        };
        let offer = Selectors::offered(config, ends, core.claims(), cause)
            .and_then(|pair| ChildOffer::new(purpose, config, ends, pair, spi_in, cpi_in))
            .map(|offer| offer.of(&connection, core.peer));
        let offer = match offer {
            Ok(offer) => offer,
            Err(reason) => {
                report(reason, name, core, cx);
                return Ok(None);
            }
        };
        let method = offer.offer.first_key_exchange();
        let mut sent = Self {
            offer,
            flow,
            rekeys,
            nonce: Vec::new(),
            key_share: method.map(|method| cx.key_share(method)),
            restarts: 0,
            rival: None,
            following: None,
            deleted: Vec::new(),
        };
        sent.send(established, core, cx)?;
        Ok(Some(Own::Child(Box::new(sent))))
    }

    /// `[N(REKEY_SA),] SA, Ni, [KEi,] TSi, TSr`
    fn send(
        &mut self,
        established: &Established,
        core: &mut Core,
        cx: &mut Context<'_>,
    ) -> Result<(), FailureReason> {
        self.nonce = cx.nonce();
        let mut chain = ChainBuilder::new();
        if let Some(old) = self.rekeys.and_then(|id| established.child(id)) {
            chain.put(&Payload::Notify(Notify {
                protocol: old.protocol,
                spi: &old.spi_in.to_octets(),
                kind: NotifyType::REKEY_SA,
                data: &[],
            }));
        }
        self.offer.put_sa(core.peer, &mut chain);
        chain.push(PayloadType::NONCE, |w| w.bytes(&self.nonce));
        if let Some(share) = &self.key_share {
            chain.put(&Payload::Ke(Ke { method: share.method().id(), data: share.public() }));
        }
        self.offer.put_selectors(&mut chain);
        core.request(ExchangeType::CREATE_CHILD_SA, chain, cx.config.established, cx)?;
        Ok(())
    }

    /// Whether it asks for one more child for a resource: there may be several, so that none that the
    /// peer asks for is in its place.
    pub(crate) fn is_for_resource(&self) -> bool {
        self.rekeys.is_none() && self.offer.config().resource.is_some()
    }

    pub(crate) fn name(&self) -> &ChildName {
        &self.offer.name
    }

    /// Whether it asks for a new child that fulfils a wish. What is being rekeyed fulfils it by the
    /// child that is there, unless that one was told to end.
    pub(crate) fn is_for(&self, wish: &Wish<'_>) -> bool {
        self.rekeys.is_none() && wish.is_for(self.name(), self.flow.as_ref())
    }

    /// What it asks for.
    pub(super) fn wish(&self) -> Wish<'_> {
        Wish { name: self.name(), pfp: self.offer.config().pfp, flow: self.flow.as_ref() }
    }

    /// The peer deletes an SPI that we do not know: perhaps that of the answer on its way.
    pub(crate) fn note_deleted(&mut self, protocol: ProtocolId, spi: Spi) {
        if self.deleted.len() < DELETED_MAX {
            self.deleted.push((protocol, spi));
        }
    }

    /// What this exchange is for.
    pub(crate) fn task(&self) -> Task {
        task(self.rekeys, &self.offer.name, self.flow)
    }

    /// Takes the response.
    pub(crate) fn handle_response(
        mut self: Box<Self>,
        received: &Received<'_>,
        established: &mut Established,
        core: &mut Core,
        cx: &mut Context<'_>,
    ) -> StepResult {
        // Whatever it says, it goes with the IKE SA in the next request.
        if established.is_closing() {
            return Ok(Next::Stay);
        }
        if let Some(following) = self.following.take() {
            return followup::handle_response(self, *following, received, established, core, cx);
        }
        if received.form == Form::Refusal {
            return self.handle_refusal(received, established, core, cx);
        }
        let spi_in = self.offer.spi_in;
        let reply = Reply::from_received(received);
        let protocol = self.offer.protocol_of(&reply);
        let accepted =
            match self.offer.evaluate(reply, ExchangeType::CREATE_CHILD_SA, core.claims()) {
                Ok(accepted) => accepted,
                Err(reason) => {
                    established.queue(Task::DeleteSpi(protocol, spi_in));
                    return self.fail(reason, established, core, cx);
                }
            };
        match self.agree(accepted, received) {
            Ok(agreement) => followup::proceed(self, agreement, received, established, core, cx),
            Err(reason) => {
                established.queue(Task::DeleteSpi(protocol, spi_in));
                self.fail(reason, established, core, cx)
            }
        }
    }

    /// Computes the shared secret of an accepted child.
    fn agree(
        &mut self,
        accepted: Accepted,
        received: &Received<'_>,
    ) -> Result<Agreement, FailureReason> {
        let share = self.key_share.take();
        let nonce_r = received
            .nonce
            .map(|nonce| nonce.as_bytes().to_vec())
            .ok_or(FailureReason::PeerMisbehaved("no nonce"))?;
        let first = match (accepted.choice.suite.ke, share, received.ke) {
            (None, _, _) => None,
            (Some(method), Some(share), Some(ke))
                if share.method() == method && ke.method == method.id() =>
            {
                let invalid = FailureReason::PeerMisbehaved("invalid public value");
                Some(share.agree(ke.data).map_err(|_| invalid)?)
            }
            _ => {
                let misfit = "key exchange does not fit the answer";
                return Err(FailureReason::PeerMisbehaved(misfit));
            }
        };
        let series = Series::new(&accepted.choice.suite.additional);
        Ok(Agreement { accepted, nonce_r, first, series })
    }

    /// All key exchanges are done: the child gets its keys.
    pub(super) fn conclude(
        self: Box<Self>,
        agreement: Agreement,
        established: &mut Established,
        core: &mut Core,
        cx: &mut Context<'_>,
    ) -> StepResult {
        let Agreement { accepted, nonce_r, first, series } = agreement;
        let protocol = accepted.choice.protocol();
        if self.deleted.contains(&(protocol, accepted.spi_out)) {
            return self.fail(FailureReason::ClosedByPeer, established, core, cx);
        }
        let shared = SharedSecrets { first: first.as_ref(), additional: series.secrets() };
        let nonces = Nonces { initiator: &self.nonce, responder: &nonce_r };
        match derive(established, &accepted, shared, nonces) {
            Ok(keymat) => {
                let lowest = rekey_child::lowest(&self.nonce, &nonce_r).to_vec();
                let encap = core.encapsulation();
                let agreed = AgreedChild { accepted, keymat, lowest, encap };
                self.settle(agreed, established, core, cx)
            }
            Err(reason) => {
                established.queue(Task::DeleteSpi(protocol, self.offer.spi_in));
                self.fail(reason, established, core, cx)
            }
        }
    }

    /// Installs the child, or lets it go again if a crossing exchange of the peer won.
    fn settle(
        self: Box<Self>,
        agreed: AgreedChild,
        established: &mut Established,
        core: &mut Core,
        cx: &mut Context<'_>,
    ) -> StepResult {
        let protocol = agreed.accepted.choice.protocol();
        if self.rival.as_ref().is_some_and(|rival| rival.wins_over(&agreed.lowest)) {
            established.queue(Task::DeleteSpi(protocol, self.offer.spi_in));
            rekey_child::lose(&self, established, core, cx);
            return Ok(Next::Stay);
        }
        if rekey_child::is_superfluous(&self, &agreed.accepted.selectors, established) {
            established.queue(Task::DeleteSpi(protocol, self.offer.spi_in));
            rekey_child::report_up(&self, core, cx);
            return Ok(Next::Stay);
        }
        let connection = core.connection.clone().ok_or(FailureReason::NoSuch("connection"))?;
        match connection.child(&self.offer.name) {
            Some(config) if protects_alike(self.offer.config(), config) => {}
            // What was asked for is wanted otherwise by now, or not at all.
            config => {
                established.queue(Task::DeleteSpi(protocol, self.offer.spi_in));
                if config.is_none() {
                    return self.fail(FailureReason::Reconfigured, established, core, cx);
                }
                established.queue(self.task());
                return Ok(Next::Stay);
            }
        }
        established.note_resources(agreed.accepted.per_resource, self.offer.config());
        let child = Child::install(
            Agreed {
                ike: core.id,
                connection: &connection,
                config: self.offer.config(),
                role: Role::Initiator,
                choice: agreed.accepted.choice,
                spi_in: self.offer.spi_in,
                spi_out: agreed.accepted.spi_out,
                selectors: agreed.accepted.selectors,
                mode: agreed.accepted.mode,
                no_tfc: agreed.accepted.no_tfc,
                ipcomp: agreed.accepted.ipcomp,
                aggfrag: agreed.accepted.aggfrag,
                path_probe: agreed.accepted.path_probe,
                notices: core.terms.notices,
                keymat: agreed.keymat,
                encap: agreed.encap,
                rekeys: self.rekeys,
                outbound: true,
                first: false,
            },
            cx,
        );
        rekey_child::win(&self, child, established, core, cx);
        Ok(Next::Stay)
    }

    fn handle_refusal(
        mut self: Box<Self>,
        received: &Received<'_>,
        established: &mut Established,
        core: &mut Core,
        cx: &mut Context<'_>,
    ) -> StepResult {
        if let Some(wanted) = received.wanted_key_exchange() {
            let method = self.offer.offer.key_exchange(wanted);
            let sent = self.key_share.as_ref().map(KeyShare::method);
            if method.is_some() && method != sent && self.restarts < RESTARTS_MAX {
                // CHECKLIST E07, E08: the same request with the wanted key exchange.
                self.restarts += 1;
                self.key_share = method.map(|method| cx.key_share(method));
                self.send(established, core, cx)?;
                established.own = Some(Own::Child(self));
                return Ok(Next::Stay);
            }
        }
        let error = received.error().map_or(NotifyType::INVALID_SYNTAX, |error| error.kind);
        let may_restart = self.rekeys.is_none() && self.restarts < RESTARTS_MAX;
        if error == NotifyType::SINGLE_PAIR_REQUIRED
            && may_restart
            && self.offer.ask_for_single_pair()
        {
            // CHECKLIST H08: the same request for the packet's own addresses.
            self.restarts += 1;
            self.send(established, core, cx)?;
            established.own = Some(Own::Child(self));
            return Ok(Next::Stay);
        }
        if self.rival.is_some() {
            // The peer saw the collision, or has finished its own exchange already.
            rekey_child::lose(&self, established, core, cx);
            return Ok(Next::Stay);
        }
        match (error, self.rekeys) {
            (NotifyType::TEMPORARY_FAILURE, _) => {
                established.retry_busy([self.task()], core, cx);
                Ok(Next::Stay)
            }
            (NotifyType::CHILD_SA_NOT_FOUND, Some(old))
                if rekey_child::is_too_early(old, established, cx.now) =>
            {
                established.retry(self.task(), cx);
                Ok(Next::Stay)
            }
            (NotifyType::CHILD_SA_NOT_FOUND, Some(old)) => {
                rekey_child::recreate(old, established, core, cx);
                Ok(Next::Stay)
            }
            //= https://www.rfc-editor.org/rfc/rfc7296#section-4
            //# If the responder rejects the CREATE_CHILD_SA request with a NO_ADDITIONAL_SAS
            //# notification, the implementation MUST be capable of instead deleting the old SA and
            //# creating a new one.
            (NotifyType::NO_ADDITIONAL_SAS, Some(_)) if reauth::can_begin(core) => {
                cx.out.notice(Notice::Reauthenticate { ike: core.id });
                established.retry_refused(self.task(), cx);
                Ok(Next::Stay)
            }
            _ => {
                let reply = Reply::from_received(received);
                match self.offer.evaluate(reply, ExchangeType::CREATE_CHILD_SA, core.claims()) {
                    Err(reason) => self.fail(reason, established, core, cx),
                    Ok(_) => Err(FailureReason::Internal("a refusal is no answer")),
                }
            }
        }
    }

    /// There is no child: a new one is reported, a rekeyed one stays as it was until its end.
    pub(super) fn fail(
        self: Box<Self>,
        reason: FailureReason,
        established: &mut Established,
        core: &Core,
        cx: &mut Context<'_>,
    ) -> StepResult {
        if self.rival.is_some() {
            rekey_child::lose(&self, established, core, cx);
            return Ok(Next::Stay);
        }
        if self.is_for_resource() {
            // There is a child that carries everything; nobody misses this one.
            established.ask_for_no_resources();
            return Ok(Next::Stay);
        }
        report(reason, self.offer.name.clone(), core, cx);
        if self.rekeys.is_some() {
            established.retry_refused(self.task(), cx);
        }
        Ok(Next::Stay)
    }
}

/// What asks for a child, new or for another.
fn task(rekeys: Option<ChildSaId>, name: &ChildName, flow: Option<FlowKey>) -> Task {
    match rekeys {
        Some(id) => Task::RekeyChild(id),
        None => Task::CreateChild { child: name.clone(), flow },
    }
}

/// Tells that a child we wanted did not come about.
fn report(reason: FailureReason, child: ChildName, core: &Core, cx: &mut Context<'_>) {
    let mut failure = core.failure(reason, cx.now);
    failure.initiator = true;
    failure.child = Some(child);
    cx.out.notice(Notice::ChildFailed(failure));
}

/// An accepted child with its keys.
struct AgreedChild {
    accepted: Accepted,
    keymat: ChildKeymat,
    /// The lower of the exchange's two nonces.
    lowest: Vec<u8>,
    encap: adit_db::Encapsulation,
}

fn derive(
    established: &Established,
    accepted: &Accepted,
    shared: SharedSecrets<'_>,
    nonces: Nonces<'_>,
) -> Result<ChildKeymat, FailureReason> {
    ChildKeymat::derive(
        established.secrets.prf,
        &established.secrets.sk_d,
        accepted.choice.suite.protection,
        shared,
        nonces,
    )
    .map_err(|_| FailureReason::Internal("prf+"))
}

/// Responder: answers a request for a child, new or rekeyed.
pub(crate) fn answer(
    received: &Received<'_>,
    established: &mut Established,
    core: &mut Core,
    cx: &mut Context<'_>,
) -> StepResult {
    let mut chain = ChainBuilder::new();
    let exchange = ExchangeType::CREATE_CHILD_SA;
    // RFC 7296 §2.25.2: not while the IKE SA itself is being replaced or closed.
    if established.is_rekeying() || established.is_closing() {
        return refuse(exchange, NotifyType::TEMPORARY_FAILURE, &[], core, cx);
    }
    // A rekeying adds none for long: who has as many as there may be goes on to rekey them.
    let most = if received.rekeyed().is_some() { 2 * CHILDREN_MAX } else { CHILDREN_MAX };
    if established.children.len() >= most {
        return refuse(exchange, NotifyType::NO_ADDITIONAL_SAS, &[], core, cx);
    }
    let rekeys = match received.rekeyed() {
        None => None,
        Some((protocol, spi)) => match rekey_child::find(protocol, spi, established) {
            Ok(id) => Some(id),
            Err(kind) => {
                rekey_child::put_refusal(kind, received, &mut chain);
                core.respond(ExchangeType::CREATE_CHILD_SA, chain, cx)?;
                return Ok(Next::Stay);
            }
        },
    };
    let connection = core.connection.clone().ok_or(FailureReason::NoSuch("connection"))?;
    let selectors = SelectorPair {
        initiator: received.ts_i.clone().unwrap_or_default().selectors,
        responder: received.ts_r.clone().unwrap_or_default().selectors,
    };
    let offered = Offered {
        purpose: Purpose::Child { additional: true },
        sa: super::init::offered(received),
        selectors: &selectors,
        said: Said::read(received).by(core.peer),
        rekeys: rekeys.and_then(|id| established.child(id)),
        claims: core.claims(),
    };
    let answer = match choose(&connection, core.ends(), &offered) {
        Ok(answer)
            if rekeys.is_none() && established.is_additional(answer.config, offered.said) =>
        {
            let Some(config) = established.missing_resource(&connection, answer.config) else {
                return refuse(exchange, NotifyType::TS_MAX_QUEUE, &[], core, cx);
            };
            Answer { config, ..answer }
        }
        Ok(answer) if rekeys.is_none() => Answer {
            config: established.missing_class(&connection, answer.config, cx.now),
            ..answer
        },
        Ok(answer) => answer,
        Err(refusal) => {
            refuse_child(&refusal, &connection, &offered, &mut chain, core, cx);
            core.respond(ExchangeType::CREATE_CHILD_SA, chain, cx)?;
            return Ok(Next::Stay);
        }
    };
    accept(answer, rekeys, received, established, core, cx)
}

/// A child that we have agreed to, before it has keys.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) rekeys: Option<ChildSaId>,
    accepted: Accepted,
    spi_in: Spi,
    nonce_i: Vec<u8>,
    nonce_r: Vec<u8>,
    first: Option<Secret>,
    pub(super) series: Series,
}

impl Answered {
    /// The lower of the exchange's two nonces.
    pub(super) fn lowest(&self) -> &[u8] {
        rekey_child::lowest(&self.nonce_i, &self.nonce_r)
    }

    /// Whether our request in flight asks for the same child, whose configuration is `name`.
    pub(super) fn crosses(&self, name: &ChildName, established: &Established) -> bool {
        let made = Selectors::from_pair(self.accepted.selectors.clone(), Role::Responder);
        rekey_child::crosses(established, self.rekeys, name, &made)
    }
}

/// `SA, Nr, [KEr,] TSi, TSr[, N(ADDITIONAL_TS_POSSIBLE)][, N(ADDITIONAL_KEY_EXCHANGE)]`
fn accept(
    answer: Answer<'_>,
    rekeys: Option<ChildSaId>,
    received: &Received<'_>,
    established: &mut Established,
    core: &mut Core,
    cx: &mut Context<'_>,
) -> StepResult {
    let exchange = ExchangeType::CREATE_CHILD_SA;
    let connection = core.connection.clone().ok_or(FailureReason::NoSuch("connection"))?;
    let Answer { config, choice, spi_out, selectors, mode, others_possible } = answer;
    let nonce_i = received.nonce.map(|nonce| nonce.as_bytes().to_vec()).unwrap_or_default();
    let nonce_r = cx.nonce();
    let spi_in = cx.child_spi(&connection, config).ok_or(FailureReason::TooMany("child SAs"))?;
    let mut chain = ChainBuilder::new();
    let said = Said::read(received);
    put_mode(mode.mode(), &mut chain);
    let ipcomp = answer_ipcomp(config, said, &mut chain, cx);
    if said.per_resource {
        put_resource(config, &mut chain);
    }
    established.note_resources(said.per_resource, config);
    let aggfrag = answer_aggfrag(&connection, config, said, &mut chain);
    let path_probe = answer_path_probe(config, said, core.peer, &mut chain);
    chain.put(&Payload::Sa(choice.answer(&spi_in.to_octets())));
    chain.push(PayloadType::NONCE, |w| w.bytes(&nonce_r));
    let mut first = None;
    if let Some(method) = choice.suite.ke {
        let Some(ke) = received.ke.filter(|ke| ke.method == method.id()) else {
            let wanted = method.id().0.to_be_bytes();
            return refuse(exchange, NotifyType::INVALID_KE_PAYLOAD, &wanted, core, cx);
        };
        let Ok((public, secret)) = cx.answer_key_share(method, ke.data) else {
            return refuse_malformed(exchange, core, cx);
        };
        chain.put(&Payload::Ke(Ke { method: method.id(), data: &public }));
        first = Some(secret);
    }
    put_answer(&selectors, others_possible, &mut chain);
    let series = Series::new(&choice.suite.additional);
    let Said { no_tfc, per_resource, .. } = said;
    let accepted = Accepted {
        choice,
        spi_out,
        selectors,
        mode,
        no_tfc,
        ipcomp,
        aggfrag,
        per_resource,
        path_probe,
    };
    let answered = Answered { rekeys, accepted, spi_in, nonce_i, nonce_r, first, series };
    // If the peer asks again, it has given up what it asked for before.
    established.forget_pending(rekeys, &config.name);
    let is_late = established.own_is_following() && answered.crosses(&config.name, established);
    if is_late || (!answered.series.is_complete() && established.has_most_pending()) {
        return refuse(exchange, NotifyType::TEMPORARY_FAILURE, &[], core, cx);
    }
    match answered.series.is_complete() {
        true => complete(answered, config, exchange, chain, established, core, cx),
        false => {
            followup::respond(answered, config.clone(), exchange, chain, established, core, cx)
        }
    }
}

/// All key exchanges are done: the child gets its keys, and the peer the last answer.
pub(super) fn complete(
    answered: Answered,
    config: &ChildConfig,
    exchange: ExchangeType,
    chain: ChainBuilder,
    established: &mut Established,
    core: &mut Core,
    cx: &mut Context<'_>,
) -> StepResult {
    let connection = core.connection.clone().ok_or(FailureReason::NoSuch("connection"))?;
    let crosses = answered.crosses(&config.name, established);
    let lowest = answered.lowest().to_vec();
    let Answered { rekeys, accepted, spi_in, nonce_i, nonce_r, first, series } = answered;
    let made = Selectors::from_pair(accepted.selectors.clone(), Role::Responder);
    let is_rekey = rekeys.is_some() || crosses;
    let shared = SharedSecrets { first: first.as_ref(), additional: series.secrets() };
    let nonces = Nonces { initiator: &nonce_i, responder: &nonce_r };
    let keymat = derive(established, &accepted, shared, nonces)?;
    let succeeds = established.succeeds_another(cx.now);
    if succeeds {
        established.take_over_later(cx.now);
    }
    let agreed = Agreed {
        ike: core.id,
        connection: &connection,
        config,
        role: Role::Responder,
        choice: accepted.choice,
        spi_in,
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
        rekeys,
        outbound: !succeeds && rekey_child::sends_at_once(is_rekey, &made, config, established),
        first: false,
    };
    let child = Child::install(agreed, cx);
    core.respond(exchange, chain, cx)?;
    rekey_child::installed(child, rekeys, crosses.then_some(lowest), established, core, cx);
    Ok(Next::Stay)
}

/// Answers a request with a notify alone.
pub(super) fn refuse(
    exchange: ExchangeType,
    kind: NotifyType,
    data: &[u8],
    core: &mut Core,
    cx: &mut Context<'_>,
) -> StepResult {
    let mut chain = ChainBuilder::new();
    chain.put(&Payload::Notify(Notify::new(kind, data)));
    core.respond(exchange, chain, cx)?;
    Ok(Next::Stay)
}
