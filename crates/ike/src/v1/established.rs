//! What a phase 1 that is complete does: quick modes, deletes, dead peer detection, its own age.

pub(crate) mod deletes;
mod hearing;
mod place;
mod strays;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use adit_crypto::Secret;
use adit_db::{ChildName, ChildSaId};
use adit_wire::esp::Spi;
use adit_wire::iana::isakmp::NotifyType;
use adit_wire::iana::{ExchangeType as AnyExchangeType, ProtocolId};
use adit_wire::ip::FlowKey;
use adit_wire::isakmp::{Flags, Header};

use crate::command::{AuthResult, JobId, Path};
use crate::context::{Context, Notice};
use crate::failure::FailureReason;
use crate::output::Output;

use super::answer::{self, Refused};
use super::child::{Child, ChildPhase};
use super::core::Core;
use super::dpd::{Dpd, Liveness};
use super::encryption;
use super::gateway_notice::Notices;
use super::informational;
use super::keys::Iv;
use super::lifetimes::{self, News};
use super::new_group;
use super::notification_data;
use super::pairs::{self, Pair};
use super::quick_mode::{Outcome, QuickMode, Request, Wanted};
use super::received::Received;
use super::retransmission::Answered;
use super::transaction_phase::{Progress, TransactionPhase};
use super::volume::Volume;
use deletes::Again;
use place::Before;
use strays::Strays;

/// A phase 1 that is complete.
#[derive(Debug)]
pub(crate) struct Established {
    pub(crate) since: Instant,
    /// When the next phase 1 is to take its place.
    pub(crate) rekey_at: Option<Instant>,
    pub(crate) over_at: Option<Instant>,
    pub(crate) volume: Volume,
    /// Its volume has ended it.
    is_spent: bool,
    quick_modes: Vec<QuickMode>,
    wanted: VecDeque<(ChildName, Option<FlowKey>)>,
    /// The last message of main mode and our answer, which may have been lost.
    last: Option<Answered>,
    /// The last New Group mode, and our answer.
    new_group: Option<Answered>,
    /// Message ids of exchanges that are over: what uses them again is a replay.
    used_ids: VecDeque<u32>,
    /// There were more than are remembered: another message of this kind may be one of them again.
    has_forgotten: bool,
    /// What is said again.
    again: Vec<Again>,
    /// The greatest number that the peer has asked for a sign of life under.
    asked_number: Option<u32>,
    /// When the NAT in front of us needs a packet to keep its mapping (RFC 3948 §4).
    keepalive_at: Option<Instant>,
    dpd: Dpd,
    /// What gateways tell each other about children.
    pub(crate) notices: Notices,
    /// What comes before quick modes; none before it has begun.
    transactions: Option<Box<TransactionPhase>>,
    /// The first exchange of the peer with us since it began (RFC 2407 §4.6.3.3).
    pub(crate) initial_contact: bool,
    /// We have said so of ours with the peer.
    pub(crate) says_first: bool,
    /// Another phase 1 has its place: the peer may go on with this one, we do not.
    pub(crate) superseded: bool,
    /// What it was to do before that.
    before: Before,
    /// Ours was the last message of phase 1, and nothing shows yet that the peer has it.
    is_unconfirmed: bool,
    /// SPIs of packets that we have no SA for, of which the peer was told.
    strays: Strays,
}

/// What an exchange means for the IKE SA.
#[derive(Debug)]
pub(crate) enum Input {
    /// A new child.
    Made(Box<Child>),
    /// A child that the peer has confirmed.
    Confirmed(ChildSaId),
    /// A child that the peer has confirmed, for which it is not ready yet.
    Committed(ChildSaId),
    /// A child that the peer has not confirmed.
    Unconfirmed(ChildSaId),
    /// A child that we asked for and do not get.
    Failed { child: ChildName, rekeys: Option<ChildSaId>, reason: FailureReason },
    /// A child that the peer asked for and does not get.
    Refused(Box<Refused>),
    /// The peer has deleted what we send on under this SPI.
    Deleted(ProtocolId, Spi),
    /// The peer lives shorter on a child.
    Lifetime(ChildSaId, News),
    /// The peer lives shorter on the phase 1 than is a life, and the configuration is strict.
    Unacceptable,
    /// The peer has nothing of what was before this phase 1.
    Forgotten,
    /// The peer has deleted the phase 1.
    Gone,
    /// Its time is over.
    Over,
    /// The peer gives no sign of life.
    Silent(FailureReason),
    /// The peer does not answer on this phase 1.
    NoAnswer(FailureReason),
    /// Quick modes may come.
    Open,
    /// There will be none.
    Barred(FailureReason),
}

/// Quick modes of one phase 1 at a time, those included that are over and answer repetitions.
const QUICK_MODES_MAX: usize = 64;

/// Children of one phase 1.
const CHILDREN_MAX: usize = 1_024;

/// Message ids that are remembered.
const USED_IDS_MAX: usize = 256;

/// Children that wait to be asked for.
const WANTED_MAX: usize = 64;

/// New children that are asked for at a time: peers have little room, and a key exchange costs.
const ASKED_MAX: usize = 8;

/// How long a renewal of phase 1 that came to nothing waits.
const RENEW_WAIT: Duration = Duration::from_secs(60);

impl Input {
    fn failed(child: &ChildName, rekeys: Option<ChildSaId>, reason: FailureReason) -> Self {
        Self::Failed { child: child.clone(), rekeys, reason }
    }
}

impl Established {
    /// Both sides have authenticated.
    pub(crate) fn new(
        last: Option<Answered>,
        initial_contact: bool,
        core: &Core,
        cx: &mut Context<'_>,
    ) -> Self {
        // What it takes to make the SA is nothing that it has protected.
        core.protected.set(0);
        let connection = &core.connection;
        let renewed = connection.rekey_time > Duration::ZERO;
        let is_unconfirmed = last.as_ref().is_some_and(|last| last.answer_octets() > 0);
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let (rank, jitter) = (lifetimes::rank(core), cx.rng.next_u64());
        let rekey = (ms(connection.rekey_time), ms(connection.rand_time));
        let rekey = Duration::from_millis(lifetimes::drawn(rekey.0, rekey.1, rank, jitter));
        let over = connection.rekey_time + connection.over_time;
        // The shorter of both limits counts, and before it there is time for the next one.
        let limit = match (renewed, core.life) {
            (true, Some(life)) => Some(over.min(life)),
            (true, None) => Some(over),
            (false, life) => life,
        };
        let rekey = |limit: Duration| {
            let latest = lifetimes::renewal_before(limit, rank);
            if renewed { rekey.min(latest) } else { latest }
        };
        Self {
            since: cx.now,
            rekey_at: limit
                .and_then(|limit| cx.now.checked_add(rekey(limit)))
                .filter(|_| encryption::may_call(connection)),
            over_at: limit.and_then(|limit| cx.now.checked_add(limit)),
            volume: Volume::new(core),
            is_spent: false,
            quick_modes: Vec::new(),
            wanted: VecDeque::new(),
            last,
            new_group: None,
            used_ids: VecDeque::new(),
            has_forgotten: false,
            again: Vec::new(),
            asked_number: None,
            keepalive_at: keepalive(core, cx.now),
            dpd: Dpd::new(cx.rng.next_u64()),
            notices: Notices::default(),
            transactions: None,
            initial_contact,
            says_first: false,
            superseded: false,
            before: Before::default(),
            is_unconfirmed,
            strays: Strays::default(),
        }
    }

    // ---- What comes before quick modes ----

    /// Whether there may be quick modes.
    pub(crate) fn is_open(&self) -> bool {
        self.transactions.as_ref().is_some_and(|phase| phase.is_open())
    }

    /// Begins with users and addresses, if the connection has them.
    pub(crate) fn begin_transactions(
        &mut self,
        core: &mut Core,
        cx: &mut Context<'_>,
    ) -> Option<Input> {
        let (phase, progress) = TransactionPhase::start(core, cx);
        self.transactions = Some(Box::new(phase));
        into_gate(progress)
    }

    /// Why the peer has deleted the phase 1.
    pub(crate) fn blame(&self) -> FailureReason {
        let known = self.transactions.as_ref().and_then(|phase| phase.blame());
        known.unwrap_or(FailureReason::ClosedByPeer)
    }

    /// Takes a message of a Transaction exchange.
    pub(crate) fn handle_transaction(
        &mut self,
        path: Path,
        header: &Header,
        octets: &[u8],
        core: &mut Core,
        cx: &mut Context<'_>,
    ) -> Vec<Input> {
        let id = header.message_id;
        if !header.flags.is_encrypted() || id == 0 || self.used_ids.contains(&id) {
            return Vec::new();
        }
        let Some(phase) = &mut self.transactions else { return Vec::new() };
        let before = phase.last_id();
        let (is_new, progress) = phase.handle_message(header, octets, core, cx);
        let now = phase.last_id();
        if let Some(before) = before.filter(|_| before != now) {
            self.use_up(before);
        }
        // What may be a replay does not say where the peer is.
        if is_new && (path == core.path || !self.has_forgotten) {
            core.hear(path, cx.now);
            core.count(octets);
        }
        into_gate(progress).into_iter().collect()
    }

    /// Takes the result of a job.
    pub(crate) fn handle_auth(
        &mut self,
        job: JobId,
        result: AuthResult,
        core: &mut Core,
        cx: &mut Context<'_>,
    ) -> Option<Input> {
        let phase = self.transactions.as_mut()?;
        into_gate(phase.handle_auth(job, result, core, cx))
    }

    // ---- Children ----

    /// Wants a child of this configuration.
    pub(crate) fn want(&mut self, child: ChildName, flow: Option<FlowKey>) {
        let known = self.wanted.iter().any(|(name, _)| *name == child);
        if !known && self.wanted.len() < WANTED_MAX {
            self.wanted.push_back((child, flow));
        }
    }

    /// Whether a child of this configuration is about to be asked for, and what of it is missing will be.
    pub(crate) fn wants(&self, name: &ChildName) -> bool {
        self.wanted.iter().any(|(wanted, _)| wanted == name)
    }

    /// Whether a child is asked for, for these networks.
    pub(crate) fn asks_for(&self, name: &ChildName, pair: Pair) -> bool {
        self.asked().any(|(asked, networks, _)| (asked, networks) == (name, pair))
    }

    /// The quick modes of ours that have no answer.
    fn asked(&self) -> impl Iterator<Item = (&ChildName, Pair, Option<ChildSaId>)> {
        self.quick_modes.iter().filter_map(QuickMode::asks_for)
    }

    /// Gives away what it has not come to.
    pub(crate) fn give_wanted(&mut self) -> Vec<ChildName> {
        let asked = self.asked().filter(|(_, _, rekeys)| rekeys.is_none());
        let mut names: Vec<ChildName> = asked.map(|(name, _, _)| name.clone()).collect();
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
        self.watch_volume(core, cx.now);
        if !self.is_open() {
            return inputs;
        }
        while let Some((name, flow)) = self.wanted.pop_front() {
            if !self.ask_for_missing(&name, children, core, cx, &mut inputs) {
                // The next one comes with an answer.
                self.wanted.push_front((name, flow));
                break;
            }
        }
        if self.superseded {
            return inputs;
        }
        let now = cx.now;
        for child in children.iter_mut().filter(|child| child.is_due(now)) {
            child.phase = ChildPhase::Rekeying;
            let pair = Pair { local: child.local, remote: child.remote };
            let config = core.connection.child(&child.name).ok_or(FailureReason::NoSuch("child"));
            let wanted = config.map(|config| Wanted { config, pair, rekeys: Some(child) });
            let asked = wanted.and_then(|wanted| self.ask(&wanted, core, cx));
            let failed = |reason| Input::failed(&child.name, Some(child.id), reason);
            inputs.extend(asked.err().map(failed));
        }
        inputs
    }

    /// Asks for all of a child that is neither there nor asked for. Whether nothing is left to be.
    fn ask_for_missing(
        &mut self,
        name: &ChildName,
        children: &[Child],
        core: &Core,
        cx: &mut Context<'_>,
        inputs: &mut Vec<Input>,
    ) -> bool {
        let Some(config) = core.connection.child(name) else {
            inputs.push(Input::failed(name, None, FailureReason::NoSuch("child")));
            return true;
        };
        if pairs::of(config, core).is_empty() {
            inputs.push(Input::failed(name, None, pairs::why_none(config, core)));
        }
        for pair in pairs::missing(config, children, core) {
            if self.asks_for(name, pair) {
                continue;
            }
            if self.asked().count() >= ASKED_MAX {
                return false;
            }
            let wanted = Wanted { config, pair, rekeys: None };
            if let Err(reason) = self.ask(&wanted, core, cx) {
                inputs.push(Input::failed(name, None, reason));
            }
        }
        true
    }

    fn ask(
        &mut self,
        wanted: &Wanted<'_>,
        core: &Core,
        cx: &mut Context<'_>,
    ) -> Result<(), FailureReason> {
        if !self.has_room(cx.now) {
            return Err(FailureReason::TooMany("quick modes"));
        }
        let message_id = informational::message_id(cx);
        self.quick_modes.push(QuickMode::ask(wanted, message_id, core, cx)?);
        self.is_not_alone(core);
        Ok(())
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

    /// A child is gone: nothing of its quick mode is said again, which would make it once more at the peer.
    pub(crate) fn forget_child(&mut self, child: ChildSaId) {
        let over: Vec<QuickMode> =
            self.quick_modes.extract_if(.., |quick| quick.child() == Some(child)).collect();
        over.into_iter().for_each(|quick| self.use_up(quick.message_id));
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
                self.is_unconfirmed = false;
                // Nonces of both ends are in it: it is none of before.
                core.hear(path, cx.now);
                core.leash.take_off(cx.now);
                core.count(octets);
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
        self.is_unconfirmed = false;
        core.count(octets);
        let is_committed = header.flags.contains(Flags::COMMIT);
        self.begin((id, is_committed), octets, &received, &iv, core, children, cx)
    }

    /// Answers an authentic first message.
    #[expect(clippy::too_many_arguments, reason = "a message and what it meets")]
    fn begin(
        &mut self,
        (message_id, is_committed): (u32, bool),
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
                refused.tell(message_id, core, cx);
                return vec![Input::Refused(refused)];
            }
        };
        // Which of several connections is meant shows only now.
        core.connection = Arc::clone(&chosen.connection);
        let Some(config) = chosen.connection.child(&chosen.child) else { return inputs };
        let request = Request {
            message_id,
            octets,
            is_committed,
            received,
            iv,
            config,
            choice: chosen.choice,
            local: chosen.local,
            remote: chosen.remote,
            rekeys: chosen.rekeys,
            peer_view: chosen.peer_view,
            narrowed: chosen.narrowed,
        };
        match QuickMode::answer(&request, core, cx) {
            Ok((quick, child)) => {
                self.quick_modes.push(quick);
                self.is_not_alone(core);
                inputs.push(Input::Made(Box::new(child)));
            }
            Err(reason) => {
                self.use_up(message_id);
                inputs.push(Input::Refused(Box::new(Refused::because(chosen.child, reason))));
            }
        }
        inputs
    }

    /// Takes a request of New Group mode.
    pub(crate) fn handle_new_group(
        &mut self,
        path: Path,
        header: &Header,
        octets: &[u8],
        core: &mut Core,
        cx: &mut Context<'_>,
    ) -> Vec<Input> {
        let id = header.message_id;
        if !header.flags.is_encrypted() || id == 0 || path != core.path {
            return Vec::new();
        }
        if let Some(answered) = self.new_group.as_mut().filter(|one| one.is_repeated_by(octets)) {
            if let Some(answer) = answered.repeat() {
                core.transmit(answer, cx);
            }
            return Vec::new();
        }
        if self.used_ids.contains(&id) {
            return Vec::new();
        }
        let Some((plain, iv)) = opened(id, octets, core) else { return Vec::new() };
        let received = Received::decrypted(header.next_payload, &plain);
        let Some(received) = received.ok().filter(|received| is_authentic(id, received, core))
        else {
            return Vec::new();
        };
        self.use_up(id);
        core.hear(path, cx.now);
        core.count(octets);
        match new_group::answer(id, &received, &iv, core) {
            Ok(answer) => {
                core.transmit(&answer, cx);
                self.new_group = Some(Answered::new(octets, answer));
                Vec::new()
            }
            Err(reason) => {
                let kind = NotifyType::ATTRIBUTES_NOT_SUPPORTED;
                let of = (AnyExchangeType::NEW_GROUP_MODE, id);
                let data = notification_data::of_refusal(kind, &reason, of, core);
                informational::refuse_isakmp(kind, &data, core, cx);
                vec![Input::Refused(Box::new(Refused::of_no_child(reason)))]
            }
        }
    }

    // ---- Time ----

    /// Asks for a sign of life before it is time to.
    pub(crate) fn ask_soon(&mut self, core: &Core, now: Instant) {
        if core.peer_has_dpd {
            self.dpd.ask_soon(now);
        }
    }

    /// The peer is at another address, says something that is authentic.
    pub(crate) fn note_move(&mut self, core: &Core, now: Instant) {
        if core.peer_has_dpd && core.leash.is_on() {
            self.dpd.ask_anew(now);
        }
    }

    pub(crate) fn handle_timeout(&mut self, core: &mut Core, cx: &mut Context<'_>) -> Vec<Input> {
        let mut inputs: Vec<Input> = Vec::new();
        for quick in &mut self.quick_modes {
            inputs.extend(into_input(quick.handle_timeout(core, cx)));
        }
        let no_answer = inputs.iter().find_map(|input| no_answer(input, core, cx.now));
        inputs.extend(no_answer);
        self.forget_over(cx.now);
        if let Some(phase) = &mut self.transactions {
            inputs.extend(into_gate(phase.handle_timeout(core, cx)));
        }
        self.say_again(core, cx);
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
        if self.superseded && self.over_at.is_some_and(|at| cx.now >= at) {
            self.outlive(core, cx);
        } else if self.over_at.is_some_and(|at| cx.now >= at) {
            self.over_at = None;
            informational::delete_isakmp(core, cx);
            inputs.push(Input::Over);
        } else if self.rekey_at.is_some_and(|at| cx.now >= at) {
            self.rekey_at = Some(cx.now + RENEW_WAIT);
            cx.out.notice(Notice::Reauthenticate { ike: core.id });
        }
        inputs
    }

    /// Renewal and end come with their time, whatever brought them about.
    fn watch_volume(&mut self, core: &Core, now: Instant) {
        let octets = core.protected.get();
        let at_once = |at: Option<Instant>| Some(at.map_or(now, |at| at.min(now)));
        if self.volume.is_over(octets) && !self.is_spent {
            self.is_spent = true;
            self.over_at = at_once(self.over_at);
        }
        if self.volume.take_due(octets) && !self.superseded {
            self.rekey_at = at_once(self.rekey_at);
        }
    }

    pub(crate) fn poll_timeout(&self, core: &Core) -> Option<Instant> {
        let quick = self.quick_modes.iter().map(QuickMode::poll_timeout).min();
        let dpd = self.dpd.poll_timeout(core);
        let phase = self.transactions.as_ref().and_then(|phase| phase.poll_timeout());
        let again = self.again.iter().map(Again::poll_timeout).min();
        let own = [self.rekey_at, self.over_at, self.keepalive_at, phase, again];
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

/// Nothing has come since we asked for a child first: the peer may have the phase 1 no more, as the delete of
/// it may have been lost (RFC 2408 §5.15).
fn no_answer(input: &Input, core: &Core, now: Instant) -> Option<Input> {
    let Input::Failed { reason, .. } = input else { return None };
    let FailureReason::PeerSilent { waited, .. } = reason else { return None };
    core.is_silent_for(*waited, now).then(|| Input::NoAnswer(reason.clone()))
}

fn into_gate(progress: Progress) -> Option<Input> {
    match progress {
        Progress::Stay => None,
        Progress::Opened => Some(Input::Open),
        Progress::Failed(reason) => Some(Input::Barred(reason)),
    }
}

fn into_input(outcome: Outcome) -> Option<Input> {
    match outcome {
        Outcome::Stay => None,
        Outcome::Made(child) => Some(Input::Made(child)),
        Outcome::Confirmed(id) => Some(Input::Confirmed(id)),
        Outcome::Committed(id) => Some(Input::Committed(id)),
        Outcome::Unconfirmed(id) => Some(Input::Unconfirmed(id)),
        Outcome::Failed { child, rekeys, reason } => Some(Input::Failed { child, rekeys, reason }),
    }
}
