//! Quick mode (RFC 2409 §5.5): three messages that make a pair of SAs for packets.
//!
//! ```text
//! initiator                                                responder
//! HDR*, HASH(1), SA, Ni [, KE] [, IDci, IDcr]      ->
//!                     <-     HDR*, HASH(2), SA, Nr [, KE] [, IDci, IDcr]
//! HDR*, HASH(3)                                    ->
//! ```
//!
//! The responder takes packets as soon as it has answered and sends when it has the third message, or
//! packets that show that the initiator has its answer; it sends its answer again until then. The
//! initiator takes and sends packets with the third message, but where the child replaces another it
//! goes on with that until something comes in on the new one.
//!
//! Each end hands its child to the packet engine before it says the word that lets the other send: who has to
//! bring routes and policies into place for it can have the message wait for them.
//!
//! A peer that sets the commit bit says by CONNECTED when it is ready for packets (RFC 2408 §3.1): in an
//! Informational exchange, or in one more message of the quick mode, as Windows does. That is waited for, and
//! not for long: what comes in on the child, or a little time, says as much. We never set the bit.

use std::time::{Duration, Instant};

use adit_crypto::{KeyShare, Secret};
use adit_db::{ChildConfig, ChildName, ChildSaId, Connection, Hosts, Mode, OuterAh};
use adit_wire::esp::Spi;
use adit_wire::iana::isakmp::{ExchangeType, NotifyType, PayloadType};
use adit_wire::iana::{ExchangeType as AnyExchangeType, ProtocolId};
use adit_wire::ikev2::TrafficSelector;
use adit_wire::isakmp::{ChainBuilder, Flags, Header, Notify};

use crate::alike::protects_alike;
use crate::context::Context;
use crate::failure::{By, FailureReason};
use crate::keymat::Role;
use crate::lifetime::{Limit, Limits, Origin};

use super::bundle::{self, Inbound};
use super::child::{Agreed, Around, COMMIT_WAIT, Child, SWITCH_WAIT, Sends};
use super::child_suite::{Phase2Choice, Phase2Offer};
use super::core::Core;
use super::gateway_notice;
use super::identification;
use super::informational;
use super::keys::{Iv, Phase2Nonces};
use super::lifetimes::{self, News};
use super::nat;
use super::pairs::Pair;
use super::received::Received;
use super::retransmission::{Answered, Due, Sent};

/// One quick mode.
#[derive(Debug)]
pub(crate) struct QuickMode {
    pub(crate) message_id: u32,
    /// What the next message is encrypted with.
    iv: Iv,
    stage: Stage,
    sent: Option<Sent>,
    answered: Option<Answered>,
    /// When nothing of it is needed any more.
    until: Instant,
    /// The peer has set the commit bit.
    is_committed: bool,
    /// The child that came of it.
    child: Option<ChildSaId>,
}

#[derive(Debug)]
enum Stage {
    /// Initiator: the first message is out.
    Asked(Box<Asked>),
    /// Responder: the second is; packets come in.
    Answered { child: ChildSaId, nonces: Phase2Nonces },
    /// All was said; the last message is kept to be sent again.
    Over,
}

/// What an initiator is to ask for.
pub(crate) struct Wanted<'a> {
    pub(crate) config: &'a ChildConfig,
    pub(crate) pair: Pair,
    /// The child that it is to replace.
    pub(crate) rekeys: Option<&'a Child>,
}

/// What an initiator asks for.
#[derive(Debug)]
struct Asked {
    config: ChildConfig,
    offer: Phase2Offer,
    own: Inbound,
    share: Option<KeyShare>,
    nonce: Vec<u8>,
    pair: Pair,
    rekeys: Option<ChildSaId>,
}

/// What comes of a message or of a timer.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// Nothing new.
    Stay,
    /// A child that we asked for.
    Made(Box<Child>),
    /// The initiator has our answer, or the peer is ready for packets.
    Confirmed(ChildSaId),
    /// The initiator has our answer, and will say when it is ready for packets.
    Committed(ChildSaId),
    /// There is no child. Of a rekeying the one that was to be replaced.
    Failed { child: ChildName, rekeys: Option<ChildSaId>, reason: FailureReason },
    /// The initiator did not confirm a child that we had agreed to.
    Unconfirmed(ChildSaId),
}

/// How long an exchange that is over answers repetitions.
const LINGER: Duration = Duration::from_secs(60);

/// Whether the quick mode of a child that was installed then may still answer repetitions.
pub(crate) fn may_repeat(installed: Instant, cx: &Context<'_>) -> bool {
    cx.now.saturating_duration_since(installed) < cx.config.established.total() + LINGER
}

impl QuickMode {
    // ---- Initiator ----

    /// Asks for a child for these networks: sends the first message.
    ///
    /// # Errors
    ///
    /// If it cannot be offered by IKEv1, or hardly any SPI is free.
    pub(crate) fn ask(
        wanted: &Wanted<'_>,
        message_id: u32,
        core: &Core,
        cx: &mut Context<'_>,
    ) -> Result<Self, FailureReason> {
        let &Wanted { config, pair, rekeys } = wanted;
        let keys = core.keys.as_ref().ok_or(super::core::NO_KEYS)?;
        let own = Inbound::draw(config, core, cx)?;
        let mut lifetimes = lifetimes::offered_for_child(config, &core.connection);
        // What the peer has said of the one before holds for this one.
        let told = rekeys.and_then(|old| old.told_kilobytes);
        lifetimes.kilobytes = lifetimes.kilobytes.into_iter().chain(told).min();
        let offer = Phase2Offer::new(config, lifetimes, own, core)?;
        let share = offer.group().map(|group| cx.key_share(group));
        let nonce = cx.nonce();
        let mut covered = ChainBuilder::new();
        covered.push(PayloadType::SA, |w| w.bytes(&offer.body()));
        covered.push(PayloadType::NONCE, |w| w.bytes(&nonce));
        if let Some(share) = &share {
            covered.push(PayloadType::KE, |w| w.bytes(share.public()));
        }
        put_ids(pair, &mut covered);
        if config.mode == Mode::Transport {
            nat::put_original_addresses(Role::Initiator, core, &mut covered);
        }
        if gateway_notice::may_probe(config, core) {
            gateway_notice::put_path_probe(own.spi, &mut covered);
        }
        let hash = keys.hash_1(message_id, covered.octets());
        let mut iv = keys.exchange_iv(message_id);
        let octets = sealed(core, message_id, &hash, covered, &mut iv)?;
        core.transmit(&octets, cx);
        let asked = Asked {
            config: config.clone(),
            offer,
            own,
            share,
            nonce,
            pair,
            rekeys: rekeys.map(|old| old.id),
        };
        Ok(Self {
            message_id,
            iv,
            stage: Stage::Asked(Box::new(asked)),
            sent: Some(Sent::new(octets, cx.config.established, cx.now, cx.rng)),
            answered: None,
            until: cx.now + cx.config.established.total() + LINGER,
            is_committed: false,
            child: None,
        })
    }

    /// The child that we have asked for, for which networks, and the one that it is to replace.
    pub(crate) fn asks_for(&self) -> Option<(&ChildName, Pair, Option<ChildSaId>)> {
        match &self.stage {
            Stage::Asked(asked) => Some((&asked.config.name, asked.pair, asked.rekeys)),
            Stage::Answered { .. } | Stage::Over => None,
        }
    }

    /// Initiator: the second message; sends the third.
    fn handle_answer(
        &mut self,
        received: &Received<'_>,
        next_iv: Iv,
        octets: &[u8],
        core: &Core,
        cx: &mut Context<'_>,
    ) -> Result<Outcome, FailureReason> {
        let is_committed = self.is_committed;
        let Stage::Asked(asked) = &mut self.stage else { return Ok(Outcome::Stay) };
        let (Some(keys), Some(nonce_r)) = (core.keys.as_ref(), received.nonce) else {
            return Ok(Outcome::Stay);
        };
        let right = keys.hash_2(self.message_id, &asked.nonce, received.covered);
        if !received.hash.is_some_and(|hash| Secret::from_slice(hash) == right) {
            return Ok(Outcome::Stay);
        }
        let misbehaved = FailureReason::PeerMisbehaved("answer is not what was offered");
        let choice = received.sa.as_ref().and_then(|sa| asked.offer.accept(sa));
        let choice = choice.ok_or_else(|| misbehaved.clone())?;
        let shared = match (asked.share.take(), received.key_exchange) {
            (None, None) => None,
            (Some(share), Some(public)) => Some(share.agree(public).map_err(|_| BAD_KEY)?),
            _ => return Err(misbehaved),
        };
        if !received.ids.is_empty() {
            let answered = identification::pair(&received.ids);
            let remote = core.narrowed_by_peer(answered, (asked.pair.local, asked.pair.remote));
            let strange = FailureReason::PeerMisbehaved("selectors were not offered");
            asked.pair.remote = remote.ok_or(strange)?;
        }
        if !asked.is_wanted(core) {
            let protocol = choice.protection.protocol();
            informational::delete_children(protocol, &[asked.own.spi], core, cx);
            return Err(FailureReason::Reconfigured);
        }
        let nonces = Phase2Nonces { initiator: asked.nonce.clone(), responder: nonce_r.to_vec() };
        let hash = keys.hash_3(self.message_id, &nonces);
        let mut iv = next_iv;
        let message = sealed(core, self.message_id, &hash, ChainBuilder::new(), &mut iv)?;
        let sa = (choice.protection.protocol(), choice.spi_out);
        let (limits, news) = heard(&received.notifies, sa, &choice.limits, core);
        let path_probe = agree_on_probes(received, &asked.config, core);
        let agreed = Negotiated {
            role: Role::Initiator,
            own: asked.own,
            is_committed,
            path_probe,
            limits,
            news,
            local: asked.pair.local,
            remote: asked.pair.remote,
            rekeys: asked.rekeys,
            peer_view: nat::peer_view(Role::Initiator, &received.original_addresses, core)
                .filter(|_| choice.mode == Mode::Transport),
            choice,
            shared,
            nonces: &nonces,
        };
        let mut child = agreed.install(&core.connection, &asked.config, core, cx)?;
        child.heed(news);
        core.transmit(&message, cx);
        self.iv = iv;
        self.child = Some(child.id);
        self.sent = None;
        self.answered = Some(Answered::new(octets, message));
        self.stage = Stage::Over;
        self.until = cx.now + LINGER;
        Ok(Outcome::Made(Box::new(child)))
    }

    // ---- Responder ----

    /// Takes a first message that is authentic: the child, which takes packets from now on. The answer
    /// is sent again until it is confirmed.
    pub(crate) fn answer(
        request: &Request<'_, '_>,
        core: &Core,
        cx: &mut Context<'_>,
    ) -> Result<(Self, Child), FailureReason> {
        let Request { received, message_id, config, .. } = request;
        let keys = core.keys.as_ref().ok_or(super::core::NO_KEYS)?;
        let own = Inbound::draw(config, core, cx)?;
        if request.choice.cpi_out.is_some() && own.cpi.is_none() {
            return Err(FailureReason::TooMany("compressed child SAs"));
        }
        let nonces = Phase2Nonces {
            initiator: received.nonce.unwrap_or_default().to_vec(),
            responder: cx.nonce(),
        };
        let mut covered = ChainBuilder::new();
        covered.push(PayloadType::SA, |w| w.bytes(&request.choice.body(&own)));
        covered.push(PayloadType::NONCE, |w| w.bytes(&nonces.responder));
        let shared = match (request.choice.group, received.key_exchange) {
            (Some(group), Some(public)) => {
                let (own, shared) = cx.answer_key_share(group, public).map_err(|_| BAD_KEY)?;
                covered.push(PayloadType::KE, |w| w.bytes(&own));
                Some(shared)
            }
            (None, None) => None,
            _ => return Err(UNFIT_KEY),
        };
        request.put_ids(&mut covered);
        if request.choice.mode == Mode::Transport {
            nat::put_original_addresses(Role::Responder, core, &mut covered);
        }
        let path_probe = request.put_notifies(own.spi, core, &mut covered);
        let hash = keys.hash_2(*message_id, &nonces.initiator, covered.octets());
        let mut iv = request.iv.clone();
        let octets = sealed(core, *message_id, &hash, covered, &mut iv)?;
        let agreed = Negotiated {
            role: Role::Responder,
            own,
            is_committed: false,
            path_probe,
            limits: request.choice.limits.clone(),
            news: News::default(),
            local: request.local,
            remote: request.remote,
            rekeys: request.rekeys,
            peer_view: request.peer_view,
            choice: request.choice.clone(),
            shared,
            nonces: &nonces,
        };
        let child = agreed.install(&core.connection, config, core, cx)?;
        core.transmit(&octets, cx);
        let quick = Self {
            message_id: *message_id,
            iv,
            stage: Stage::Answered { child: child.id, nonces },
            sent: Some(Sent::new(octets.clone(), cx.config.established, cx.now, cx.rng)),
            answered: Some(Answered::new(request.octets, octets)),
            until: cx.now + cx.config.established.total() + LINGER,
            is_committed: request.is_committed,
            child: Some(child.id),
        };
        Ok((quick, child))
    }

    /// Responder: the third message.
    fn handle_confirmation(
        &mut self,
        received: &Received<'_>,
        next_iv: Iv,
        octets: &[u8],
        core: &Core,
        now: Instant,
    ) -> Outcome {
        let Stage::Answered { child, nonces } = &self.stage else { return Outcome::Stay };
        let Some(keys) = core.keys.as_ref() else { return Outcome::Stay };
        let right = keys.hash_3(self.message_id, nonces);
        if !received.hash.is_some_and(|hash| Secret::from_slice(hash) == right) {
            return Outcome::Stay;
        }
        let child = *child;
        self.confirm(now);
        self.iv = next_iv;
        self.answered = Some(Answered::new(octets, Vec::new()));
        if self.is_committed { Outcome::Committed(child) } else { Outcome::Confirmed(child) }
    }

    /// One message more, of who has set the commit bit: CONNECTED.
    fn handle_connected(&mut self, received: &Received<'_>, core: &Core) -> Outcome {
        let (Some(keys), Some(hash)) = (core.keys.as_ref(), received.hash) else {
            return Outcome::Stay;
        };
        let right = keys.hash_1(self.message_id, received.covered);
        let says_so = received.notifies.iter().any(|one| one.kind == NotifyType::CONNECTED);
        match self.child.filter(|_| says_so && Secret::from_slice(hash) == right) {
            Some(child) if std::mem::take(&mut self.is_committed) => Outcome::Confirmed(child),
            Some(_) | None => Outcome::Stay,
        }
    }

    /// The child that came of it.
    pub(crate) fn child(&self) -> Option<ChildSaId> {
        self.child
    }

    /// The initiator has our answer: it is not sent again.
    pub(crate) fn confirm(&mut self, now: Instant) {
        self.sent = None;
        self.stage = Stage::Over;
        self.until = now + LINGER;
    }

    /// Whether it waits for a word that this child has come about.
    pub(crate) fn awaits(&self, id: ChildSaId) -> bool {
        matches!(&self.stage, Stage::Answered { child, .. } if *child == id)
    }

    // ---- Both ----

    /// Takes a message of this exchange.
    pub(crate) fn handle_message(
        &mut self,
        header: &Header,
        octets: &[u8],
        core: &Core,
        cx: &mut Context<'_>,
    ) -> Outcome {
        if let Some(answered) = &mut self.answered
            && answered.is_repeated_by(octets)
        {
            if let Some(answer) = answered.repeat() {
                core.transmit(answer, cx);
            }
            return Outcome::Stay;
        }
        let Some((plain, iv)) = core.opened(octets, &self.iv) else { return Outcome::Stay };
        let Ok(received) = Received::decrypted(header.next_payload, &plain) else {
            return Outcome::Stay;
        };
        let is_committed = header.flags.contains(Flags::COMMIT);
        match &self.stage {
            Stage::Over => {}
            Stage::Asked(_) | Stage::Answered { .. } => self.is_committed |= is_committed,
        }
        match &self.stage {
            Stage::Asked(_) => match self.handle_answer(&received, iv, octets, core, cx) {
                Ok(outcome) => outcome,
                Err(reason) => self.fail(reason),
            },
            Stage::Answered { .. } => self.handle_confirmation(&received, iv, octets, core, cx.now),
            Stage::Over => self.handle_connected(&received, core),
        }
    }

    /// The peer refuses what we ask for.
    pub(crate) fn handle_refusal(&mut self, notify: NotifyType) -> Outcome {
        let Stage::Asked(asked) = &self.stage else { return Outcome::Stay };
        let reason = match notify {
            NotifyType::NO_PROPOSAL_CHOSEN => FailureReason::NoCommonEspSuite {
                by: By::Peer,
                ours: bundle::wanted(&asked.config),
                theirs: Vec::new(),
            },
            NotifyType::INVALID_ID_INFORMATION => FailureReason::SelectorMismatch {
                by: By::Peer,
                our_local: vec![asked.pair.local],
                our_remote: vec![asked.pair.remote],
                their_view_of_local: Vec::new(),
                their_view_of_remote: Vec::new(),
            },
            notify => FailureReason::PeerRefused { exchange: AnyExchangeType::QUICK_MODE, notify },
        };
        self.fail(reason)
    }

    /// Whether it is about this SPI of ours.
    pub(crate) fn is_about(&self, spi: &[u8]) -> bool {
        matches!(&self.stage, Stage::Asked(asked) if asked.own.has(spi))
    }

    fn fail(&mut self, reason: FailureReason) -> Outcome {
        let stage = std::mem::replace(&mut self.stage, Stage::Over);
        self.sent = None;
        match stage {
            Stage::Asked(asked) => {
                Outcome::Failed { child: asked.config.name, rekeys: asked.rekeys, reason }
            }
            Stage::Answered { child, .. } => Outcome::Unconfirmed(child),
            Stage::Over => Outcome::Stay,
        }
    }

    /// Sends the last message again if its time has come.
    pub(crate) fn handle_timeout(&mut self, core: &Core, cx: &mut Context<'_>) -> Outcome {
        // A clock may jump over all the tries that were left.
        let is_late = cx.now >= self.until && !self.only_repeats();
        let due = match &mut self.sent {
            Some(sent) if is_late => sent.give_up(cx.now),
            Some(sent) => sent.handle_timeout(cx.now, cx.rng),
            None => return Outcome::Stay,
        };
        match due {
            Due::Nothing => Outcome::Stay,
            Due::Repeat(octets) => {
                core.transmit(octets, cx);
                Outcome::Stay
            }
            Due::GaveUp { transmissions, waited } => self.fail(FailureReason::PeerSilent {
                exchange: AnyExchangeType::QUICK_MODE,
                remote: core.path.remote,
                transmissions,
                waited,
                unreachable: core.unreachable,
            }),
        }
    }

    /// Whether all was said, and it is kept for repetitions alone.
    pub(crate) fn only_repeats(&self) -> bool {
        matches!(self.stage, Stage::Over)
    }

    /// Whether it has nothing more to say. One that waits ends by that first.
    pub(crate) fn is_over(&self, now: Instant) -> bool {
        now >= self.until && (self.only_repeats() || self.sent.is_none())
    }

    pub(crate) fn poll_timeout(&self) -> Instant {
        self.sent.as_ref().map_or(self.until, |sent| sent.poll_timeout().min(self.until))
    }
}

impl Asked {
    /// Whether the configuration is still the one that this was asked for by.
    fn is_wanted(&self, core: &Core) -> bool {
        let wanted = core.connection.child(&self.config.name);
        wanted.is_some_and(|config| protects_alike(&self.config, config))
    }
}

/// A first message that is authentic, and what it is to be answered with.
pub(crate) struct Request<'a, 'm> {
    pub(crate) message_id: u32,
    pub(crate) octets: &'m [u8],
    pub(crate) is_committed: bool,
    pub(crate) received: &'a Received<'m>,
    /// What the answer is encrypted with.
    pub(crate) iv: &'a Iv,
    pub(crate) config: &'a ChildConfig,
    pub(crate) choice: Phase2Choice,
    pub(crate) local: TrafficSelector,
    pub(crate) remote: TrafficSelector,
    pub(crate) rekeys: Option<ChildSaId>,
    pub(crate) peer_view: Option<Hosts>,
    /// Whether our side is less than the peer asks for.
    pub(crate) narrowed: bool,
}

/// What both sides have agreed on.
struct Negotiated<'a> {
    role: Role,
    own: Inbound,
    /// The responder will say when it is ready for packets.
    is_committed: bool,
    path_probe: bool,
    limits: Limits,
    news: News,
    local: TrafficSelector,
    remote: TrafficSelector,
    rekeys: Option<ChildSaId>,
    peer_view: Option<Hosts>,
    choice: Phase2Choice,
    shared: Option<Secret>,
    nonces: &'a Phase2Nonces,
}

impl Negotiated<'_> {
    /// Hands the child to the packet engine.
    fn install(
        self,
        connection: &Connection,
        config: &ChildConfig,
        core: &Core,
        cx: &mut Context<'_>,
    ) -> Result<Child, FailureReason> {
        let keys = core.keys.as_ref().ok_or(super::core::NO_KEYS)?;
        let protection = self.choice.protection;
        let protocol: ProtocolId = protection.protocol();
        let keymat = |spi: Spi| {
            keys.child_keys(protection, protocol, spi, self.shared.as_ref(), self.nonces)
        };
        let (keys_in, keys_out) = (keymat(self.own.spi), keymat(self.choice.spi_out));
        let outer = self.choice.outer.as_ref().zip(self.own.outer).map(|(outer, spi_in)| {
            let (kind, protocol) = (outer.protection, ProtocolId::AH);
            let (shared, nonces) = (self.shared.as_ref(), self.nonces);
            let keymat = |spi: Spi| keys.child_keys(kind, protocol, spi, shared, nonces);
            Around {
                sa: OuterAh {
                    id: cx.out.next_child_sa(),
                    spi_in,
                    spi_out: outer.spi_out,
                    protection: kind,
                    esn: outer.esn,
                    keys_in: keymat(spi_in),
                    keys_out: keymat(outer.spi_out),
                },
                suite: outer.transforms.clone(),
            }
        });
        let agreed = Agreed {
            ike: core.id,
            connection,
            config,
            role: self.role,
            protection,
            suite: self.choice.transforms.clone(),
            mode: self.choice.mode,
            esn: self.choice.esn,
            ipcomp: self.choice.ipcomp(self.own.cpi),
            path_probe: self.path_probe,
            notices: gateway_notice::is_agreed(core),
            outer,
            limits: self.limits,
            news: self.news,
            rank: lifetimes::rank(core),
            spi_in: self.own.spi,
            spi_out: self.choice.spi_out,
            local: self.local,
            remote: self.remote,
            split: core.access.split_within(self.remote),
            keys_in,
            keys_out,
            encap: core.encapsulation(),
            peer_view: self.peer_view,
            rekeys: self.rekeys,
            sends: match (self.role, self.rekeys) {
                (Role::Responder, _) => Sends::Confirmed,
                (Role::Initiator, Some(_)) => Sends::After(SWITCH_WAIT),
                (Role::Initiator, None) if self.is_committed => Sends::After(COMMIT_WAIT),
                (Role::Initiator, None) => Sends::Now,
            },
        };
        Ok(Child::install(agreed, cx))
    }
}

/// What comes of a key exchange that was not proposed, or is missing.
const UNFIT_KEY: FailureReason =
    FailureReason::PeerMisbehaved("key exchange does not fit the proposal");

impl Request<'_, '_> {
    /// How long we keep the child, if that is less, and that probes of the path are answered, which comes
    /// back.
    fn put_notifies(&self, spi_in: Spi, core: &Core, covered: &mut ChainBuilder) -> bool {
        if let Some(told) = self.choice.told {
            lifetimes::put(told, self.choice.protection.protocol(), spi_in, covered);
        }
        let agrees = agree_on_probes(self.received, self.config, core);
        if agrees {
            gateway_notice::put_path_probe(spi_in, covered);
        }
        agrees
    }

    /// The identities of the answer: those of the request, or what of them we take.
    fn put_ids(&self, covered: &mut ChainBuilder) {
        if self.narrowed {
            put_ids(Pair { local: self.remote, remote: self.local }, covered);
        } else {
            for (_, body) in &self.received.ids {
                covered.push(PayloadType::ID, |w| w.bytes(body));
            }
        }
    }
}

/// What a responder's notifies say about a child: where it ends now, and the rest.
fn heard(
    notifies: &[Notify<'_>],
    sa: (ProtocolId, Spi),
    agreed: &Limits,
    core: &Core,
) -> (Limits, News) {
    let (mut limits, mut all) = (agreed.clone(), News::default());
    for notify in notifies {
        let news = lifetimes::heard_of_child(notify, sa, &limits, core);
        if let Some(kilobytes) = news.kilobytes {
            limits.kilobytes = Some(Limit::new(kilobytes, Origin::Notified));
        }
        if let Some(end) = news.end {
            limits.seconds = Some(Limit::new(end.as_secs(), Origin::Notified));
        }
        all = News {
            end: news.end.or(all.end),
            kilobytes: news.kilobytes.or(all.kilobytes),
            renewal: news.renewal.or(all.renewal),
            renewal_kilobytes: news.renewal_kilobytes.or(all.renewal_kilobytes),
            delete: news.delete || all.delete,
        };
    }
    (limits, all)
}

/// Whether both ends probe the path MTU.
fn agree_on_probes(received: &Received<'_>, config: &ChildConfig, core: &Core) -> bool {
    gateway_notice::has_path_probe(&received.notifies) && gateway_notice::may_probe(config, core)
}

/// IDci and IDcr: of an initiator, what is behind it and what is behind the responder.
fn put_ids(pair: Pair, chain: &mut ChainBuilder) {
    for selector in [pair.local, pair.remote] {
        let body = identification::selector_body(&selector);
        chain.push(PayloadType::ID, |w| w.bytes(&body));
    }
}

/// A message of a quick mode: the hash in front of what it covers.
fn sealed(
    core: &Core,
    message_id: u32,
    hash: &Secret,
    covered: ChainBuilder,
    iv: &mut Iv,
) -> Result<Vec<u8>, FailureReason> {
    let mut chain = ChainBuilder::new();
    chain.push(PayloadType::HASH, |w| w.bytes(hash.as_bytes()));
    chain.append(covered).map_err(|_| super::core::TOO_LONG)?;
    core.sealed(ExchangeType::QUICK_MODE, message_id, chain, iv)
}

/// What comes of a public value that is none.
const BAD_KEY: FailureReason = FailureReason::PeerMisbehaved("public value of the key exchange");
