//! What a phase 1 that is complete does: quick modes, deletes, dead peer detection, its own age.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use adit_crypto::Secret;
use adit_db::{ChildName, ChildSaId};
use adit_wire::esp::Spi;
use adit_wire::iana::ExchangeType as AnyExchangeType;
use adit_wire::iana::doi::ProtocolId;
use adit_wire::iana::isakmp::NotifyType;
use adit_wire::ip::FlowKey;
use adit_wire::isakmp::{Header, Notify};

use crate::command::Path;
use crate::context::{Context, Notice};
use crate::failure::FailureReason;
use crate::output::Output;

use super::answer::{self, Refused};
use super::child::{Child, ChildPhase};
use super::core::Core;
use super::dpd::{Dpd, Liveness};
use super::informational;
use super::keys::Iv;
use super::lifetimes::{self, News};
use super::quick_mode::{Outcome, QuickMode, Request};
use super::received::Received;
use super::retransmission::Answered;

/// A phase 1 that is complete.
#[derive(Debug)]
pub(crate) struct Established {
    pub(crate) since: Instant,
    /// When the next phase 1 is to take its place.
    pub(crate) rekey_at: Option<Instant>,
    pub(crate) over_at: Option<Instant>,
    quick_modes: Vec<QuickMode>,
    wanted: VecDeque<(ChildName, Option<FlowKey>)>,
    /// The last message of main mode and our answer, which may have been lost.
    last: Option<Answered>,
    /// Message ids of exchanges that are over: what uses them again is a replay.
    used_ids: VecDeque<u32>,
    /// There were more than are remembered: another message of this kind may be one of them again.
    has_forgotten: bool,
    /// The greatest number that the peer has asked for a sign of life under.
    asked_number: Option<u32>,
    /// When the NAT in front of us needs a packet to keep its mapping (RFC 3948 §4).
    keepalive_at: Option<Instant>,
    dpd: Dpd,
    /// Another phase 1 has its place: the peer may go on with this one, we do not.
    pub(crate) superseded: bool,
}

/// What an exchange means for the IKE SA.
#[derive(Debug)]
pub(crate) enum Input {
    /// A new child.
    Made(Box<Child>),
    /// A child that the peer has confirmed.
    Confirmed(ChildSaId),
    /// A child that the peer has not confirmed.
    Unconfirmed(ChildSaId),
    /// A child that we asked for and do not get.
    Failed { child: ChildName, rekeys: Option<ChildSaId>, reason: FailureReason },
    /// A child that the peer asked for and does not get.
    Refused(Box<Refused>),
    /// The peer has deleted what we send on under this SPI.
    Deleted(Spi),
    /// The peer lives shorter on what we send on under this SPI.
    Lifetime(Spi, News),
    /// The peer has nothing of what was before this phase 1.
    Forgotten,
    /// The peer has deleted the phase 1.
    Gone,
    /// Its time is over.
    Over,
    /// The peer gives no sign of life.
    Silent(FailureReason),
}

/// Quick modes of one phase 1 at a time, those included that are over and answer repetitions.
const QUICK_MODES_MAX: usize = 64;

/// Children of one phase 1.
const CHILDREN_MAX: usize = 1_024;

/// Message ids that are remembered.
const USED_IDS_MAX: usize = 256;

/// Children that wait to be asked for.
const WANTED_MAX: usize = 64;

/// How long a renewal of phase 1 that came to nothing waits.
const RENEW_WAIT: Duration = Duration::from_secs(60);

impl Established {
    /// Both sides have authenticated.
    pub(crate) fn new(last: Option<Answered>, core: &Core, cx: &mut Context<'_>) -> Self {
        let connection = &core.connection;
        let renewed = connection.rekey_time > Duration::ZERO;
        let rand_ms = u64::try_from(connection.rand_time.as_millis()).unwrap_or(u64::MAX);
        let jitter = Duration::from_millis(cx.rng.next_u64() % rand_ms.saturating_add(1));
        let rekey = connection.rekey_time.saturating_sub(jitter);
        let over = connection.rekey_time + connection.over_time;
        // The shorter of both limits counts, and a tenth of it is time for the next one.
        let limit = match (renewed, core.life) {
            (true, Some(life)) => Some(over.min(life)),
            (true, None) => Some(over),
            (false, life) => life,
        };
        let rekey = |limit: Duration| {
            let latest = limit.saturating_sub(limit / 10);
            if renewed { rekey.min(latest) } else { latest }
        };
        Self {
            since: cx.now,
            rekey_at: limit.and_then(|limit| cx.now.checked_add(rekey(limit))),
            over_at: limit.and_then(|limit| cx.now.checked_add(limit)),
            quick_modes: Vec::new(),
            wanted: VecDeque::new(),
            last,
            used_ids: VecDeque::new(),
            has_forgotten: false,
            asked_number: None,
            keepalive_at: keepalive(core, cx.now),
            dpd: Dpd::new(cx.rng.next_u64()),
            superseded: false,
        }
    }

    // ---- Children ----

    /// Wants a child of this configuration.
    pub(crate) fn want(&mut self, child: ChildName, flow: Option<FlowKey>) {
        let known = self.wanted.iter().any(|(name, _)| *name == child);
        if !known && self.wanted.len() < WANTED_MAX {
            self.wanted.push_back((child, flow));
        }
    }

    /// Whether a child of this configuration is asked for, or about to be.
    pub(crate) fn asks_for(&self, name: &ChildName) -> bool {
        self.wanted.iter().any(|(wanted, _)| wanted == name)
            || self.quick_modes.iter().any(|quick| {
                quick.asks_for().is_some_and(|(asked, rekeys)| asked == name && rekeys.is_none())
            })
    }

    /// Gives away what it has not come to.
    pub(crate) fn give_wanted(&mut self) -> Vec<ChildName> {
        let asked = self.quick_modes.iter().filter_map(|quick| quick.asks_for());
        let asked = asked.filter(|(_, rekeys)| rekeys.is_none()).map(|(name, _)| name.clone());
        let mut names: Vec<ChildName> = asked.collect();
        names.extend(std::mem::take(&mut self.wanted).into_iter().map(|(name, _)| name));
        names
    }

    /// Begins what is wanted, and renews what is due.
    pub(crate) fn pump(
        &mut self,
        children: &mut [Child],
        core: &Core,
        cx: &mut Context<'_>,
    ) -> Vec<Input> {
        let mut inputs = Vec::new();
        while let Some((name, _)) = self.wanted.pop_front() {
            if children.iter().any(|child| child.name == name && child.is_current()) {
                continue;
            }
            self.ask(&name, None, core, cx, &mut inputs);
        }
        if self.superseded {
            return inputs;
        }
        let now = cx.now;
        for child in children.iter_mut().filter(|child| child.is_due(now)) {
            child.phase = ChildPhase::Rekeying;
            let name = child.name.clone();
            self.ask(&name, Some(child), core, cx, &mut inputs);
        }
        inputs
    }

    fn ask(
        &mut self,
        name: &ChildName,
        rekeys: Option<&Child>,
        core: &Core,
        cx: &mut Context<'_>,
        inputs: &mut Vec<Input>,
    ) {
        let message_id = informational::message_id(cx);
        let config = core.connection.child(name).ok_or(FailureReason::NoSuch("child"));
        let asked = match self.has_room(cx.now) {
            true => config.and_then(|it| QuickMode::ask(it, rekeys, message_id, core, cx)),
            false => Err(FailureReason::TooMany("quick modes")),
        };
        match asked {
            Ok(quick) => self.quick_modes.push(quick),
            Err(reason) => inputs.push(Input::Failed {
                child: name.clone(),
                rekeys: rekeys.map(|old| old.id),
                reason,
            }),
        }
    }

    /// Whether there may be one more quick mode. Those that are over and only answer repetitions make
    /// room, the oldest first.
    fn has_room(&mut self, now: Instant) -> bool {
        self.forget_over(now);
        if self.quick_modes.len() >= QUICK_MODES_MAX
            && let Some(place) = self.quick_modes.iter().position(QuickMode::only_repeats)
        {
            let quick = self.quick_modes.remove(place);
            self.use_up(quick.message_id);
        }
        self.quick_modes.len() < QUICK_MODES_MAX
    }

    fn forget_over(&mut self, now: Instant) {
        let over: Vec<QuickMode> =
            self.quick_modes.extract_if(.., |quick| quick.is_over(now)).collect();
        over.into_iter().for_each(|quick| self.use_up(quick.message_id));
    }

    fn use_up(&mut self, message_id: u32) {
        if self.used_ids.len() >= USED_IDS_MAX {
            self.used_ids.pop_front();
            self.has_forgotten = true;
        }
        self.used_ids.push_back(message_id);
    }

    /// Packets on a child show that the peer has our answer.
    pub(crate) fn confirm(&mut self, child: ChildSaId, now: Instant) {
        let awaits = |quick: &&mut QuickMode| quick.awaits(child);
        if let Some(quick) = self.quick_modes.iter_mut().find(awaits) {
            quick.confirm(now);
        }
    }

    // ---- Messages ----

    /// A repetition of the last message of main mode: our answer was lost.
    pub(crate) fn repeat_last(&mut self, octets: &[u8], core: &Core, cx: &mut Context<'_>) {
        if let Some(last) = &mut self.last
            && last.is_repeated_by(octets)
            && let Some(answer) = last.repeat()
        {
            core.transmit(answer, cx);
        }
    }

    /// Takes a message of a quick mode.
    pub(crate) fn handle_quick(
        &mut self,
        path: Path,
        header: &Header,
        octets: &[u8],
        core: &mut Core,
        children: &[Child],
        cx: &mut Context<'_>,
    ) -> Vec<Input> {
        let id = header.message_id;
        if !header.flags.is_encrypted() || id == 0 || self.used_ids.contains(&id) {
            return Vec::new();
        }
        let known = self.quick_modes.iter_mut().find(|quick| quick.message_id == id);
        if let Some(quick) = known {
            let outcome = quick.handle_message(header, octets, core, cx);
            if !matches!(outcome, Outcome::Stay) {
                // Nonces of both ends are in it: it is none of before.
                core.hear(path, cx.now);
            }
            return into_input(outcome).into_iter().collect();
        }
        let Some((plain, iv)) = opened(id, octets, core) else { return Vec::new() };
        let Ok(received) = Received::decrypted(header.next_payload, &plain) else {
            return Vec::new();
        };
        let has_room = children.len() < CHILDREN_MAX && self.has_room(cx.now);
        // What may be a replay does not say where the peer is.
        let is_there = path == core.path || !self.has_forgotten;
        if !is_authentic(id, &received, core) || !has_room || !is_there {
            return Vec::new();
        }
        core.hear(path, cx.now);
        self.begin(id, octets, &received, &iv, core, children, cx)
    }

    /// Answers an authentic first message.
    #[expect(clippy::too_many_arguments, reason = "a message and what it meets")]
    fn begin(
        &mut self,
        message_id: u32,
        octets: &[u8],
        received: &Received<'_>,
        iv: &Iv,
        core: &mut Core,
        children: &[Child],
        cx: &mut Context<'_>,
    ) -> Vec<Input> {
        let mut inputs = Vec::new();
        let chosen = match answer::choose(received, core, children, cx) {
            Ok(chosen) => chosen,
            Err(refused) => {
                self.use_up(message_id);
                refused.tell(core, cx);
                return vec![Input::Refused(refused)];
            }
        };
        // Which of several connections is meant shows only now.
        core.connection = Arc::clone(&chosen.connection);
        let Some(config) = chosen.connection.child(&chosen.child) else { return inputs };
        let request = Request {
            message_id,
            octets,
            received,
            iv,
            config,
            choice: chosen.choice,
            local: chosen.local,
            remote: chosen.remote,
            rekeys: chosen.rekeys,
            peer_view: chosen.peer_view,
        };
        match QuickMode::answer(&request, core, cx) {
            Ok((quick, child)) => {
                self.quick_modes.push(quick);
                inputs.push(Input::Made(Box::new(child)));
            }
            Err(reason) => {
                self.use_up(message_id);
                inputs.push(Input::Refused(Box::new(Refused::because(chosen.child, reason))));
            }
        }
        inputs
    }

    /// Takes an Informational exchange.
    pub(crate) fn handle_informational(
        &mut self,
        path: Path,
        header: &Header,
        octets: &[u8],
        core: &mut Core,
        children: &[Child],
        cx: &mut Context<'_>,
    ) -> Vec<Input> {
        let id = header.message_id;
        if !header.flags.is_encrypted() {
            // Anybody says so: a reason to ask the peer.
            self.ask_soon(core, cx.now);
            return Vec::new();
        }
        if self.used_ids.contains(&id) {
            return Vec::new();
        }
        let Some((plain, _)) = opened(id, octets, core) else { return Vec::new() };
        let Ok(received) = Received::decrypted(header.next_payload, &plain) else {
            return Vec::new();
        };
        if !is_authentic(id, &received, core) {
            return Vec::new();
        }
        let is_new = self.is_new_question(&received) || !self.has_forgotten;
        if path != core.path && !is_new {
            return Vec::new();
        }
        self.use_up(id);
        core.hear(path, cx.now);
        core.unreachable = false;
        // Who asks can answer, too: the vendor ID that says so goes in clear, and anybody may have spoilt it.
        core.peer_has_dpd |= received.notifies.iter().any(|it| it.kind == NotifyType::R_U_THERE);
        let mut inputs = Vec::new();
        for notify in &received.notifies {
            inputs.extend(self.handle_notify(notify, core, cx));
            inputs.extend(self.handle_lifetime(notify, core, children));
        }
        for delete in &received.deletes {
            if delete.deletes_isakmp_sa(core.cookie_i, core.cookie_r) {
                inputs.push(Input::Gone);
            } else if matches!(delete.protocol, ProtocolId::AH | ProtocolId::ESP) {
                let spis = delete.spis.iter().filter_map(Spi::from_field);
                inputs.extend(spis.map(Input::Deleted));
            }
        }
        // What goes goes before what it went with.
        inputs.sort_by_key(|input| matches!(input, Input::Gone));
        inputs
    }

    /// Whether the peer asks for a sign of life under a greater number than ever: no replay does
    /// (RFC 3706 §7).
    fn is_new_question(&mut self, received: &Received<'_>) -> bool {
        let asked = received.notifies.iter().filter(|one| one.kind == NotifyType::R_U_THERE);
        let numbers = asked.filter_map(|one| <[u8; 4]>::try_from(one.data).ok());
        let Some(number) = numbers.map(u32::from_be_bytes).max() else { return false };
        let is_new = self.asked_number.is_none_or(|before| number > before);
        if is_new {
            self.asked_number = Some(number);
        }
        is_new
    }

    fn handle_notify(
        &mut self,
        notify: &Notify<'_>,
        core: &Core,
        cx: &mut Context<'_>,
    ) -> Option<Input> {
        let number = <[u8; 4]>::try_from(notify.data).map(u32::from_be_bytes);
        match (notify.kind, number) {
            (NotifyType::R_U_THERE, Ok(number))
                if notify.is_about(core.cookie_i, core.cookie_r) =>
            {
                informational::send_dpd(NotifyType::R_U_THERE_ACK, number, core, cx);
                None
            }
            (NotifyType::R_U_THERE_ACK, Ok(number)) => {
                self.dpd.handle_ack(number);
                None
            }
            (NotifyType::INITIAL_CONTACT, _) => Some(Input::Forgotten),
            (kind, _) if kind.is_error() => {
                let about = self.quick_modes.iter().position(|quick| quick.is_about(notify.spi));
                let asked = || self.quick_modes.iter().position(|quick| quick.asks_for().is_some());
                let place = about.or_else(asked)?;
                let outcome = self.quick_modes.get_mut(place)?.handle_refusal(kind);
                into_input(outcome)
            }
            _ => None,
        }
    }

    /// An initiator hears how long the responder keeps what both have.
    fn handle_lifetime(
        &mut self,
        notify: &Notify<'_>,
        core: &Core,
        children: &[Child],
    ) -> Option<Input> {
        if notify.kind != NotifyType::RESPONDER_LIFETIME {
            return None;
        }
        if core.role.is_initiator() {
            let current = self.over_at.map(|at| at.saturating_duration_since(self.since));
            self.heed(lifetimes::heard_of_phase1(notify, current, core));
        }
        children.iter().filter(|child| child.by_us).find_map(|child| {
            let sa = (child.protocol, child.spi_out);
            let news = lifetimes::heard_of_child(notify, sa, child.life(), core);
            (news != News::default()).then_some(Input::Lifetime(child.spi_out, news))
        })
    }

    fn heed(&mut self, news: News) {
        if let Some(end) = news.end {
            self.over_at = self.since.checked_add(end);
        }
        if let Some(at) = news.latest_renewal().and_then(|latest| self.since.checked_add(latest))
            && !self.superseded
        {
            self.rekey_at = Some(self.rekey_at.map_or(at, |before| before.min(at)));
        }
    }

    // ---- Time ----

    /// Asks for a sign of life before it is time to.
    pub(crate) fn ask_soon(&mut self, core: &Core, now: Instant) {
        if core.peer_has_dpd {
            self.dpd.ask_soon(now);
        }
    }

    pub(crate) fn handle_timeout(&mut self, core: &mut Core, cx: &mut Context<'_>) -> Vec<Input> {
        let mut inputs: Vec<Input> = Vec::new();
        for quick in &mut self.quick_modes {
            inputs.extend(into_input(quick.handle_timeout(core, cx)));
        }
        self.forget_over(cx.now);
        match self.dpd.handle_timeout(core, cx) {
            Liveness::Fine => {}
            Liveness::Ask(number) => {
                informational::send_dpd(NotifyType::R_U_THERE, number, core, cx);
            }
            Liveness::Silent { transmissions, waited } => {
                inputs.push(Input::Silent(FailureReason::PeerSilent {
                    exchange: AnyExchangeType::INFORMATIONAL,
                    remote: core.path.remote,
                    transmissions,
                    waited,
                    unreachable: core.unreachable,
                }));
            }
        }
        if self.keepalive_at.is_some_and(|at| cx.now >= at) {
            cx.out.push(Output::Keepalive(core.path));
            self.keepalive_at = keepalive(core, cx.now);
        }
        if self.over_at.is_some_and(|at| cx.now >= at) {
            self.over_at = None;
            informational::delete_isakmp(core, cx);
            inputs.push(Input::Over);
        } else if self.rekey_at.is_some_and(|at| cx.now >= at) {
            self.rekey_at = Some(cx.now + RENEW_WAIT);
            cx.out.notice(Notice::Reauthenticate { ike: core.id });
        }
        inputs
    }

    /// Another phase 1 has its place.
    pub(crate) fn supersede(&mut self) {
        self.superseded = true;
        self.rekey_at = None;
        self.keepalive_at = None;
    }

    pub(crate) fn poll_timeout(&self, core: &Core) -> Option<Instant> {
        let quick = self.quick_modes.iter().map(QuickMode::poll_timeout).min();
        let dpd = self.dpd.poll_timeout(core);
        let own = [self.rekey_at, self.over_at, self.keepalive_at];
        [quick, dpd].into_iter().chain(own).flatten().min()
    }
}

/// RFC 3948 §4: only who is behind the NAT keeps its mapping alive.
fn keepalive(core: &Core, now: Instant) -> Option<Instant> {
    let interval = core.connection.keepalive;
    (core.nat.we_are_behind_nat && !interval.is_zero()).then_some(now + interval)
}

/// The first message of an exchange.
fn opened(id: u32, octets: &[u8], core: &Core) -> Option<(Vec<u8>, Iv)> {
    let iv = core.keys.as_ref()?.exchange_iv(id);
    core.opened(octets, &iv)
}

/// Whether HASH(1) is right; compared in constant time.
fn is_authentic(id: u32, received: &Received<'_>, core: &Core) -> bool {
    let (Some(keys), Some(hash)) = (&core.keys, received.hash) else { return false };
    keys.hash_1(id, received.covered) == Secret::from_slice(hash)
}

fn into_input(outcome: Outcome) -> Option<Input> {
    match outcome {
        Outcome::Stay => None,
        Outcome::Made(child) => Some(Input::Made(child)),
        Outcome::Confirmed(id) => Some(Input::Confirmed(id)),
        Outcome::Unconfirmed(id) => Some(Input::Unconfirmed(id)),
        Outcome::Failed { child, rekeys, reason } => Some(Input::Failed { child, rekeys, reason }),
    }
}
