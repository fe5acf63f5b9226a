//! One IKE SA of IKEv1: its phase 1, and the quick modes and children under it (RFC 2409 §5).
//!
//! ```text
//! Phase1 -> Established -> Dormant* -> Closed
//! ```
//!
//! Children do not go with the phase 1 that made them: without one the IKE SA is dormant until they end
//! or the next phase 1 with the same peer takes them over (draft-jenkins-ipsec-rekeying-06 §3).

use std::time::{Duration, Instant};

use adit_db::{ChildName, ChildSaId};
use adit_wire::Reader;
use adit_wire::iana::isakmp::{ExchangeType, PayloadType};
use adit_wire::ip::FlowKey;
use adit_wire::isakmp::Header;

use crate::command::{AuthResult, JobId, PacketEvent, Path};
use crate::context::{Context, Notice};
use crate::event::{Event, IkeSaInfo, IkeSaState, Step};
use crate::failure::{Failure, FailureReason};

use super::attempt::Attempt;
use super::child::{COMMIT_WAIT, Child, ChildPhase, OVERLAP, Shown};
use super::core::Core;
use super::established::deletes::Again;
use super::established::{Established, Input};
use super::informational;
use super::nat;
use super::pairs;
use super::phase1::Outcome;
use super::phase1::rules::Exchange;
use super::retransmission::Answered;

/// One IKE SA, from the first message to the end of its children.
#[derive(Debug)]
pub(crate) struct IkeSa {
    pub(crate) core: Core,
    pub(super) phase: Phase,
    pub(crate) children: Vec<Child>,
    /// Deletes that the phase 1 which is gone did not come to say again.
    pub(super) unsaid: Vec<Again>,
}

/// Where the IKE SA stands.
#[derive(Debug)]
pub(super) enum Phase {
    Phase1(Box<Attempt>),
    Established(Box<Established>),
    /// There is no phase 1 any more, but children: the next one is begun then.
    Dormant(Instant),
    /// Over.
    Closed,
}

impl IkeSa {
    /// Initiator: begins a phase 1.
    pub(crate) fn initiate(
        mut core: Core,
        wanted: Option<(ChildName, Option<FlowKey>)>,
        initial_contact: bool,
        cx: &mut Context<'_>,
    ) -> Result<Self, FailureReason> {
        let phase1 = Attempt::start(wanted, initial_contact, &mut core, cx)?;
        let phase = Phase::Phase1(Box::new(phase1));
        Ok(Self { core, phase, children: Vec::new(), unsaid: Vec::new() })
    }

    /// Responder: has answered the first message of one.
    pub(crate) fn respond(core: Core, phase1: Attempt) -> Self {
        let phase = Phase::Phase1(Box::new(phase1));
        Self { core, phase, children: Vec::new(), unsaid: Vec::new() }
    }

    // ---- Questions ----

    /// Whether nothing is left.
    pub(crate) fn is_closed(&self) -> bool {
        matches!(self.phase, Phase::Closed)
    }

    /// Whether both sides have authenticated, and the keys are there.
    pub(crate) fn is_established(&self) -> bool {
        matches!(&self.phase, Phase::Established(established) if established.is_open())
    }

    /// Whether there are keys to say something with.
    pub(super) fn has_keys(&self) -> bool {
        matches!(self.phase, Phase::Established(_))
    }

    /// Whether a phase 1 is under way, or what has to follow it before there are quick modes.
    pub(crate) fn is_connecting(&self) -> bool {
        matches!(self.phase, Phase::Phase1(_)) || (self.has_keys() && !self.is_established())
    }

    /// Whether a responder has answered somebody who has not authenticated.
    pub(crate) fn is_half_open(&self) -> bool {
        self.is_connecting() && !self.core.role.is_initiator()
    }

    /// Whether we initiate and the peer has not shown anything yet.
    pub(crate) fn is_unanswered(&self) -> bool {
        matches!(&self.phase, Phase::Phase1(phase1) if phase1.is_unanswered())
    }

    /// Whether it has children and no phase 1.
    pub(crate) fn is_dormant(&self) -> bool {
        matches!(self.phase, Phase::Dormant(_))
    }

    /// Whether a child of this configuration is there or asked for, for all of its networks.
    pub(crate) fn has_child(&self, name: &ChildName) -> bool {
        let Some(config) = self.core.connection.child(name) else { return false };
        if pairs::of(config, &self.core).is_empty() {
            return false;
        }
        let missing = pairs::missing(config, &self.children, &self.core);
        match &self.phase {
            Phase::Established(established) => {
                established.wants(name)
                    || missing.into_iter().all(|pair| established.asks_for(name, pair))
            }
            Phase::Phase1(_) | Phase::Dormant(_) | Phase::Closed => {
                missing.is_empty() && self.child_is_up(name)
            }
        }
    }

    /// Whether a child of this configuration carries traffic.
    pub(crate) fn child_is_up(&self, name: &ChildName) -> bool {
        self.children.iter().any(|child| child.name == *name && child.is_current())
    }

    /// A snapshot; none of an IKE SA that is over.
    pub(crate) fn info(&self) -> Option<IkeSaInfo> {
        let state = match &self.phase {
            Phase::Phase1(_) => IkeSaState::Connecting,
            Phase::Established(_) if self.is_connecting() => IkeSaState::Connecting,
            Phase::Established(_) => IkeSaState::Established,
            Phase::Dormant(_) => IkeSaState::Rekeyed,
            Phase::Closed => return None,
        };
        let mut info = IkeSaInfo { state, ..self.core.info() };
        info.children = self.children.iter().map(Child::info).collect();
        if let Phase::Established(established) = &self.phase {
            info.established = Some(established.since);
            info.rekey_at = established.rekey_at;
            info.over_at = established.over_at;
            info.volume = established.volume.info(self.core.protected.get());
        }
        Some(info)
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let phase = match &self.phase {
            Phase::Phase1(phase1) => Some(phase1.poll_timeout()),
            Phase::Established(established) => established.poll_timeout(&self.core),
            Phase::Dormant(next) if self.may_renew() => Some(*next),
            Phase::Dormant(_) | Phase::Closed => None,
        };
        let children = self.children.iter().filter_map(Child::poll_timeout).min();
        [phase, children].into_iter().flatten().min()
    }

    // ---- Messages ----

    /// Takes a datagram with our cookie.
    pub(crate) fn handle_datagram(
        &mut self,
        path: Path,
        header: &Header,
        octets: &[u8],
        cx: &mut Context<'_>,
    ) {
        if !header.cookie_r.is_zero() {
            self.core.fragmentation.note_both_cookies();
        }
        if header.next_payload == PayloadType::FRAGMENT {
            return self.handle_fragment(path, header, octets, cx);
        }
        match (&mut self.phase, header.exchange) {
            (Phase::Phase1(phase1), ExchangeType::QUICK_MODE) => {
                phase1.handle_early(path, header, &self.core, cx);
            }
            (Phase::Phase1(phase1), exchange) if Exchange::from_type(exchange).is_some() => {
                let result = phase1.handle_message(path, header, octets, &mut self.core, cx);
                self.conclude(result, cx);
            }
            (Phase::Phase1(phase1), ExchangeType::INFORMATIONAL) => {
                if let Some(notify) = informational::clear_error(header, octets) {
                    phase1.handle_clear_error(notify, &self.core, cx);
                }
            }
            (Phase::Established(_), _) => self.handle_established(path, header, octets, cx),
            _ => {}
        }
    }

    /// Takes a piece of a message, and the message once it is whole. What comes from elsewhere is no piece
    /// of any.
    fn handle_fragment(
        &mut self,
        path: Path,
        header: &Header,
        octets: &[u8],
        cx: &mut Context<'_>,
    ) {
        let core = &mut self.core;
        let is_theirs =
            path == core.path || nat::may_move_to(path, core) || nat::may_float_to(path, core, cx);
        if !is_theirs || header.cookie_r != core.cookie_r {
            return;
        }
        let Some(whole) = core.fragmentation.join(header, octets, cx.now) else { return };
        if let Ok(inner) = Header::read(&mut Reader(&whole)) {
            self.handle_datagram(path, &inner, &whole, cx);
        }
    }

    fn handle_established(
        &mut self,
        path: Path,
        header: &Header,
        octets: &[u8],
        cx: &mut Context<'_>,
    ) {
        let Phase::Established(established) = &mut self.phase else { return };
        let old = self.core.path;
        let is_theirs = path == old || nat::may_move_to(path, &self.core);
        if !is_theirs || header.cookie_r != self.core.cookie_r {
            return;
        }
        if path == old {
            self.core.leash.lengthen(octets.len());
        }
        let inputs = match header.exchange {
            exchange if Exchange::from_type(exchange).is_some() => {
                established.repeat_last(octets, &self.core, cx);
                return;
            }
            ExchangeType::TRANSACTION => {
                established.handle_transaction(path, header, octets, &mut self.core, cx)
            }
            ExchangeType::QUICK_MODE if !established.is_open() => return,
            ExchangeType::QUICK_MODE => {
                established.handle_quick(path, header, octets, &mut self.core, &self.children, cx)
            }
            ExchangeType::NEW_GROUP_MODE => {
                established.handle_new_group(path, header, octets, &mut self.core, cx)
            }
            ExchangeType::INFORMATIONAL => {
                let (core, children) = (&mut self.core, &self.children);
                established.handle_informational(path, header, octets, core, children, cx)
            }
            _ => return,
        };
        self.settle_path(old, cx);
        self.take_all(inputs, cx);
        self.core.peer_says = None;
        self.pump(cx);
    }

    /// The peer may be elsewhere than it was: its children go after it.
    fn settle_path(&mut self, old: Path, cx: &mut Context<'_>) {
        if self.core.path == old {
            return;
        }
        let encap = self.core.encapsulation();
        self.children.iter_mut().for_each(|child| child.follow(encap, cx));
        if let Phase::Established(established) = &mut self.phase {
            established.note_move(&self.core, cx.now);
        }
        if let Some(ike) = self.info() {
            cx.out.event(Event::PeerMoved { ike: Box::new(ike), old: old.remote });
        }
    }

    /// Takes the result of a job.
    pub(crate) fn handle_auth(&mut self, job: JobId, result: AuthResult, cx: &mut Context<'_>) {
        match &mut self.phase {
            Phase::Phase1(phase1) => {
                let result = phase1.handle_auth(job, result, &mut self.core, cx);
                self.conclude(result, cx);
            }
            Phase::Established(established) => {
                let input = established.handle_auth(job, result, &mut self.core, cx);
                input.into_iter().for_each(|input| self.take(input, cx));
            }
            Phase::Dormant(_) | Phase::Closed => {}
        }
    }

    /// Goes on with what a step of phase 1 came to.
    fn conclude(&mut self, result: Result<Outcome, FailureReason>, cx: &mut Context<'_>) {
        match result {
            Ok(Outcome::Stay) => {}
            Ok(Outcome::Done(answered)) => self.establish(answered, cx),
            Err(reason) => self.end(reason, cx),
        }
    }

    fn establish(&mut self, answered: Option<Answered>, cx: &mut Context<'_>) {
        let Phase::Phase1(phase1) = &mut self.phase else { return };
        let (wanted, initial_contact) = phase1.take_wanted();
        let by_peer = initial_contact && !self.core.role.is_initiator();
        self.core.export_keys(cx);
        let mut established = Established::new(answered, by_peer, &self.core, cx);
        established.says_first = initial_contact && self.core.role.is_initiator();
        if let Some((child, flow)) = wanted {
            established.want(child, flow);
        }
        self.phase = Phase::Established(Box::new(established));
        if let (Some(local), Some(remote)) = (&self.core.local_id, &self.core.remote_id) {
            let (local, remote) = (local.clone(), remote.clone());
            let method = self.core.connection.pad.remote_auth.word();
            self.core.progress(Step::Authenticated { local, remote, method }, cx);
        }
        if let Some(told) = self.core.told_life.take() {
            informational::send_life(told, &self.core, cx);
        }
        if let Phase::Established(established) = &mut self.phase {
            let input = established.begin_transactions(&mut self.core, cx);
            input.into_iter().for_each(|input| self.take(input, cx));
        }
    }

    /// All that comes before quick modes is settled.
    fn open(&mut self, cx: &mut Context<'_>) {
        let Phase::Established(established) = &self.phase else { return };
        let initial_contact = established.initial_contact;
        cx.out.notice(Notice::Established { ike: self.core.id, initial_contact });
    }

    /// Says that it is up; told by the endpoint once it has given it the children of the one before.
    pub(crate) fn announce(&mut self, cx: &mut Context<'_>) {
        if let Some(info) = self.info() {
            cx.out.event(Event::IkeUp(Box::new(info)));
        }
        self.pump(cx);
    }

    // ---- Orders ----

    pub(crate) fn create_child(
        &mut self,
        child: ChildName,
        flow: Option<FlowKey>,
        cx: &mut Context<'_>,
    ) {
        if let Phase::Established(established) = &mut self.phase {
            established.want(child, flow);
            self.pump(cx);
        }
    }

    /// Replaces the keys of a child now.
    pub(crate) fn rekey_child(&mut self, id: ChildSaId, cx: &mut Context<'_>) {
        if let Some(child) = self.child_mut(id) {
            child.expire_softly(cx.now);
        }
        self.pump(cx);
    }

    fn delete_child(&mut self, id: ChildSaId, reason: FailureReason, cx: &mut Context<'_>) {
        self.say_deleted(&[id], cx);
        self.remove_child(id, Some(reason), cx);
        self.close_if_empty(cx);
    }

    /// Ends the IKE SA and its children: the peer is told, and does not answer.
    pub(crate) fn close(&mut self, reason: FailureReason, cx: &mut Context<'_>) {
        if self.has_keys() {
            let ids: Vec<ChildSaId> = self.children.iter().map(|child| child.id).collect();
            self.say_deleted(&ids, cx);
            informational::delete_isakmp(&self.core, cx);
        }
        self.end(reason, cx);
    }

    /// Forgets the IKE SA with its children: the peer has no part of it any more.
    pub(crate) fn abandon(&mut self, reason: FailureReason, cx: &mut Context<'_>) {
        self.end(reason, cx);
    }

    /// Gives its children, and what it has not come to, to the IKE SA that takes its place. Those that the
    /// peer has yet to confirm stay if it `goes_on`: their quick modes do.
    pub(crate) fn give_away(
        &mut self,
        goes_on: bool,
        (wait, now): (Duration, Instant),
    ) -> (Vec<Child>, Vec<ChildName>) {
        let wanted = match &mut self.phase {
            Phase::Established(established) => {
                established.supersede(wait, now);
                established.give_wanted()
            }
            Phase::Phase1(_) | Phase::Dormant(_) | Phase::Closed => Vec::new(),
        };
        let is_given = |child: &mut Child| !goes_on || child.phase != ChildPhase::Offered;
        (self.children.extract_if(.., is_given).collect(), wanted)
    }

    /// Whether another IKE SA has its place, and it has something that belongs there.
    pub(crate) fn has_stragglers(&self) -> bool {
        let is_offered = |child: &Child| child.phase == ChildPhase::Offered;
        (self.is_superseded() && !self.children.iter().all(is_offered)) || self.is_dormant()
    }

    /// Takes over what another IKE SA with the same peer has.
    pub(crate) fn adopt(
        &mut self,
        (children, wanted): (Vec<Child>, Vec<ChildName>),
        cx: &mut Context<'_>,
    ) {
        if let Phase::Established(established) = &mut self.phase {
            wanted.into_iter().for_each(|name| established.want(name, None));
        }
        let encap = self.core.encapsulation();
        for mut child in children {
            if child.phase == ChildPhase::Rekeying {
                child.put_off(cx.now);
            }
            if child.phase == ChildPhase::Offered {
                // Its quick mode is over, and if the peer has it nobody will say so: it goes as one that was
                // replaced does, and the peer hears of that, unless packets on it come first.
                child.shown = Shown::Doubted;
                child.phase = ChildPhase::Replaced { until: cx.now + OVERLAP };
            }
            cx.out.own_child(child.id, self.core.id);
            child.follow(encap, cx);
            self.children.push(child);
        }
        self.part_twins(cx);
    }

    /// Another IKE SA has its place and its children: it goes without a word to listeners.
    pub(crate) fn retire(&mut self, cx: &mut Context<'_>) {
        if self.has_keys() {
            informational::delete_isakmp(&self.core, cx);
        }
        self.phase = Phase::Closed;
    }

    /// Begins what it was given to do.
    pub(crate) fn go_on(&mut self, cx: &mut Context<'_>) {
        self.pump(cx);
    }

    /// Whether another IKE SA has its place.
    pub(crate) fn is_superseded(&self) -> bool {
        matches!(&self.phase, Phase::Established(established) if established.superseded)
    }

    /// Takes changes of the configuration that need no negotiation.
    pub(crate) fn reconfigure(&mut self, connection: std::sync::Arc<adit_db::Connection>) {
        self.core.connection = connection;
    }

    /// Somebody unauthenticated says that the peer is gone.
    pub(crate) fn handle_hint(&mut self, cx: &mut Context<'_>) {
        self.core.unreachable = true;
        if let Phase::Established(established) = &mut self.phase {
            established.ask_soon(&self.core, cx.now);
        }
    }

    pub(crate) fn handle_packet_event(&mut self, event: &PacketEvent, cx: &mut Context<'_>) {
        match *event {
            PacketEvent::SoftExpire { child } => self.rekey_child(child, cx),
            PacketEvent::HardExpire { child } => {
                self.delete_child(child, FailureReason::LifetimeOver, cx);
            }
            PacketEvent::Traffic { child } => {
                self.hear_packets(cx.now);
                self.confirm(child, cx);
            }
            PacketEvent::PeerMoved { remote, .. } => {
                // Only of a peer behind a NAT, and only by the newest packet (RFC 3947 §4).
                let old = self.core.path;
                let path = Path { remote, ..old };
                if nat::may_move_to(path, &self.core) {
                    self.core.go_to(path, cx.now);
                    self.settle_path(old, cx);
                }
            }
            PacketEvent::Doubted { .. } => self.handle_hint(cx),
            PacketEvent::UnknownSpi { spi, .. } => self.tell_stray(spi, cx),
            PacketEvent::Notice { child, ref notice } => {
                let child = self.children.iter().find(|one| one.id == child);
                if let (Phase::Established(established), Some(child)) = (&mut self.phase, child) {
                    established.notices.tell(child, notice, &self.core, cx);
                }
            }
            PacketEvent::Used { .. } | PacketEvent::Acquire { .. } => {}
        }
    }

    // ---- Time ----

    pub(crate) fn handle_timeout(&mut self, cx: &mut Context<'_>) {
        match &mut self.phase {
            Phase::Phase1(phase1) => {
                let result = phase1.handle_timeout(&mut self.core, cx);
                return self.conclude(result, cx);
            }
            Phase::Established(established) => {
                let inputs = established.handle_timeout(&mut self.core, cx);
                self.take_all(inputs, cx);
            }
            Phase::Dormant(_) => self.end_dormancy(cx),
            Phase::Closed => {}
        }
        self.age_children(cx);
        self.pump(cx);
        self.close_if_empty(cx);
    }

    /// Ends children whose time is over, and switches to those whose time has come.
    fn age_children(&mut self, cx: &mut Context<'_>) {
        let now = cx.now;
        let ready = |child: &&Child| child.activates.is_some_and(|at| now >= at);
        let ready: Vec<ChildSaId> = self.children.iter().filter(ready).map(|one| one.id).collect();
        ready.into_iter().for_each(|id| self.activate(id, cx));
        let over: Vec<(ChildSaId, Option<FailureReason>)> = self
            .children
            .iter()
            .filter_map(|child| {
                let replaced = match child.phase {
                    ChildPhase::Replaced { until } => Some(now >= until),
                    ChildPhase::Offered | ChildPhase::Installed | ChildPhase::Rekeying => None,
                };
                match replaced {
                    Some(true) => Some((child.id, None)),
                    Some(false) => child.is_over(now).then_some((child.id, None)),
                    None => child.is_over(now).then_some((child.id, Some(LIFETIME_OVER))),
                }
            })
            .collect();
        for (id, reason) in over {
            self.say_deleted(&[id], cx);
            self.remove_child(id, reason, cx);
        }
    }

    // ---- Children ----

    pub(crate) fn child(&self, id: ChildSaId) -> Option<&Child> {
        self.children.iter().find(|child| child.id == id)
    }

    pub(super) fn child_mut(&mut self, id: ChildSaId) -> Option<&mut Child> {
        self.children.iter_mut().find(|child| child.id == id)
    }

    /// Begins what is wanted or due.
    fn pump(&mut self, cx: &mut Context<'_>) {
        let is_due = self.children.iter().any(|child| child.is_due(cx.now));
        match &mut self.phase {
            Phase::Established(established) if !(established.superseded && is_due) => {
                let failures = established.pump(&mut self.children, &self.core, cx);
                self.take_all(failures, cx);
            }
            // Without phase 1, or on one that another has the place of, there is no quick mode of ours:
            // another one is needed first.
            Phase::Established(_) | Phase::Dormant(_) if is_due => {
                let later = cx.now + RENEW_WAIT;
                let due = self.children.iter_mut().filter(|child| child.is_due(cx.now));
                due.for_each(|child| child.put_off(later));
                cx.out.notice(Notice::Reauthenticate { ike: self.core.id });
            }
            Phase::Phase1(_) | Phase::Established(_) | Phase::Dormant(_) | Phase::Closed => {}
        }
    }

    fn take_all(&mut self, inputs: Vec<Input>, cx: &mut Context<'_>) {
        inputs.into_iter().for_each(|input| self.take(input, cx));
    }

    /// Draws the consequences of what an exchange came to.
    fn take(&mut self, input: Input, cx: &mut Context<'_>) {
        match input {
            Input::Made(child) => self.add(*child, cx),
            Input::Confirmed(id) => self.confirm(id, cx),
            Input::Committed(id) => self.hold(id, cx),
            Input::Unconfirmed(id) => {
                self.say_deleted(&[id], cx);
                self.remove_child(id, self.blame_for(id), cx);
            }
            Input::Failed { child, rekeys, reason } => self.child_failed(child, rekeys, reason, cx),
            Input::Deleted(protocol, spi_out) => self.handle_deleted((protocol, spi_out), cx),
            Input::Lifetime(id, news) => {
                let Some(child) = self.child_mut(id) else { return };
                child.heed(news);
                self.refuse_life(id, cx);
            }
            Input::Forgotten => self.forget_older(cx),
            Input::Unacceptable => self.close(UNACCEPTABLE_LIFE, cx),
            Input::Gone => {
                let Phase::Established(established) = &self.phase else { return };
                let reason = established.blame();
                self.lose_phase_1(reason, cx);
            }
            Input::Over => self.lose_phase_1(FailureReason::LifetimeOver, cx),
            Input::Silent(reason) => self.fall_silent(reason, cx),
            Input::NoAnswer(reason) => self.lose_phase_1(reason, cx),
            Input::Open => self.open(cx),
            Input::Barred(reason) => self.close(reason, cx),
            Input::Refused(refused) => {
                let failure = self.core.failure(refused.reason, cx.now);
                let failure = Failure { child: refused.child, initiator: false, ..*failure };
                cx.out.notice(Notice::ChildFailed(Box::new(failure)));
            }
        }
    }

    fn add(&mut self, mut child: Child, cx: &mut Context<'_>) {
        // The message that made it may be the first from another place.
        child.follow(self.core.encapsulation(), cx);
        self.note_renewal(&mut child);
        let (id, offered) = (child.id, child.phase == ChildPhase::Offered);
        let step = Step::Child {
            child: child.name.clone(),
            local: vec![child.local],
            remote: vec![child.remote],
        };
        self.core.progress(step, cx);
        self.children.push(child);
        if !offered {
            self.enter(id, cx);
            self.refuse_life(id, cx);
        }
    }

    /// Deletes a child whose life the peer wants to be none, where the configuration is strict.
    fn refuse_life(&mut self, id: ChildSaId, cx: &mut Context<'_>) {
        if self.child(id).is_some_and(|child| child.is_unacceptable) {
            self.delete_child(id, UNACCEPTABLE_LIFE, cx);
        }
    }

    /// A child of ours that we answered for has come about.
    fn confirm(&mut self, id: ChildSaId, cx: &mut Context<'_>) {
        if let Phase::Established(established) = &mut self.phase {
            established.confirm(id, cx.now);
        }
        let Some(child) = self.child_mut(id) else { return };
        let before = std::mem::replace(&mut child.shown, Shown::Has);
        if child.phase == ChildPhase::Offered {
            child.phase = ChildPhase::Installed;
            self.enter(id, cx);
            self.activate(id, cx);
        } else if child.activates.is_some() {
            self.activate(id, cx);
        } else if before == Shown::Doubted {
            self.restore(id, cx);
        }
    }

    /// A child of ours that we answered for has come about, and the peer will say when it is ready for
    /// packets: until then nothing is sent on it, but for no longer than a moment.
    fn hold(&mut self, id: ChildSaId, cx: &mut Context<'_>) {
        let Some(child) = self.child_mut(id).filter(|it| it.phase == ChildPhase::Offered) else {
            return;
        };
        child.phase = ChildPhase::Installed;
        child.shown = Shown::Has;
        child.activates = Some(cx.now + COMMIT_WAIT);
        self.enter(id, cx);
    }

    /// Sends on a child from now on.
    pub(super) fn activate(&mut self, id: ChildSaId, cx: &mut Context<'_>) {
        let Some(child) = self.child_mut(id) else { return };
        child.activates = None;
        if !matches!(child.phase, ChildPhase::Replaced { .. }) {
            child.sends = true;
            cx.out.push(crate::output::Output::ActivateOutbound(id));
        }
    }

    fn child_failed(
        &mut self,
        child: ChildName,
        rekeys: Option<ChildSaId>,
        reason: FailureReason,
        cx: &mut Context<'_>,
    ) {
        if let Some(old) = rekeys.and_then(|id| self.child_mut(id)) {
            old.put_off(cx.now + RENEW_WAIT);
        }
        let failure =
            Failure { child: Some(child), initiator: true, ..*self.core.failure(reason, cx.now) };
        cx.out.notice(Notice::ChildFailed(Box::new(failure)));
    }

    /// Takes a child out. `reason` is for the listeners; `None` if another took its place.
    pub(super) fn remove_child(
        &mut self,
        id: ChildSaId,
        reason: Option<FailureReason>,
        cx: &mut Context<'_>,
    ) {
        let ike = reason.as_ref().and_then(|_| self.info()).map(Box::new);
        let Some(place) = self.children.iter().position(|child| child.id == id) else { return };
        let mut child = self.children.remove(place);
        self.forget_quick_mode(id, child.installed, cx);
        child.take_from_engine(cx.config.inbound_grace, cx);
        self.succeed(&child, cx);
        let (Some(reason), Some(ike)) = (reason, ike) else { return };
        if child.phase == ChildPhase::Offered {
            return;
        }
        let info = Box::new(child.info());
        cx.out.event(Event::ChildDown { ike, child: info, reason: reason.clone() });
        let connection = self.core.connection_name().clone();
        cx.out.notice(Notice::ChildGone { connection, child: child.name, reason });
    }

    pub(super) fn remove_silently(&mut self, id: ChildSaId, cx: &mut Context<'_>) {
        self.remove_child(id, None, cx);
    }

    /// Tells the peer that these children are gone, if there are keys to say it with.
    pub(super) fn say_deleted(&mut self, ids: &[ChildSaId], cx: &mut Context<'_>) {
        let Phase::Established(established) = &mut self.phase else { return };
        for protocol in [adit_wire::iana::ProtocolId::ESP, adit_wire::iana::ProtocolId::AH] {
            let of = self.children.iter().filter(|child| ids.contains(&child.id));
            let spis: Vec<_> = of.flat_map(|child| child.spis_in(protocol)).collect();
            for some in spis.chunks(DELETES_MAX) {
                established.delete_children(protocol, some, &self.core, cx);
            }
        }
    }

    // ---- The end ----

    /// Tells everybody that the IKE SA is over, once; its children go first.
    pub(super) fn end(&mut self, reason: FailureReason, cx: &mut Context<'_>) {
        if self.is_closed() {
            return;
        }
        let was_established = !self.is_connecting();
        let info = self.info();
        while let Some(child) = self.children.first() {
            let silent = matches!(child.phase, ChildPhase::Replaced { .. });
            self.remove_child(child.id, (!silent).then(|| reason.clone()), cx);
        }
        if let Some(info) = info.filter(|_| was_established) {
            cx.out.event(Event::IkeDown { info: Box::new(info), reason: reason.clone() });
        }
        let (ike, failure) = (self.core.id, self.core.failure(reason, cx.now));
        self.phase = Phase::Closed;
        cx.out.notice(Notice::Ended { ike, was_established, failure });
    }
}

/// A peer that notifies a lifetime below the floor, where the configuration is strict.
const UNACCEPTABLE_LIFE: FailureReason =
    FailureReason::PeerMisbehaved("its RESPONDER-LIFETIME is shorter than any SA may live");

const LIFETIME_OVER: FailureReason = FailureReason::LifetimeOver;

/// How long a renewal that failed, or that needs a phase 1 first, waits.
pub(super) const RENEW_WAIT: Duration = Duration::from_secs(30);

/// Children deleted in one message, which stays a small datagram.
const DELETES_MAX: usize = 128;
