//! An IKE SA on which both sides have authenticated (RFC 7296 §1.3 to §2.8): children, own
//! exchanges one after the other, timers.
//!
//! The window is one (§2.3): what this side wants is a [`Task`] in a queue, what it has sent is
//! [`Own`]. The exchanges themselves are in `exchange/`, one file each.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use adit_crypto::{Prf, Secret};
use adit_db::{ChildConfig, ChildName, ChildSaId, Connection, EndAction, Pfp};
use adit_wire::esp::Spi;
use adit_wire::iana::{ExchangeType, ProtocolId};
use adit_wire::ikev2::ChainBuilder;
use adit_wire::ip::FlowKey;

use crate::context::{Context, Notice};
use crate::event::{Event, IkeSaInfo, IkeSaState, Step};
use crate::failure::FailureReason;
use crate::output::Output;
use crate::v2::child::{CHILDREN_MAX, Child, Phase, Wish};
use crate::v2::exchange::create_child::CreateChildSent;
use crate::v2::exchange::delete::DeleteSent;
use crate::v2::exchange::rekey_ike::{FollowupSent, PendingFollowup, RekeyIkeSent};
use crate::v2::handshake::Handshake;
use crate::v2::ike_sa::core::Core;
use crate::v2::ike_sa::{Next, StepResult};

/// An established IKE SA.
#[derive(Debug)]
pub(crate) struct Established {
    pub(crate) secrets: Secrets,
    pub(crate) children: Vec<Child>,
    /// Our exchange in flight.
    pub(crate) own: Option<Own>,
    /// The peer's rekey of this IKE SA, waiting for IKE_FOLLOWUP_KE.
    pub(crate) followup: Option<PendingFollowup>,
    tasks: VecDeque<Task>,
    delayed: Vec<Delayed>,
    /// This IKE SA is to be deleted as soon as the window is free.
    closing: Option<FailureReason>,
    since: Instant,
    rekey_at: Option<Instant>,
    over_at: Option<Instant>,
    keepalive_at: Option<Instant>,
}

/// What later keys are derived from (RFC 7296 §2.17, §2.18).
#[derive(Debug)]
pub(crate) struct Secrets {
    pub(crate) prf: Prf,
    pub(crate) sk_d: Secret,
}

/// Our exchange in flight.
#[derive(Debug)]
pub(crate) enum Own {
    /// CREATE_CHILD_SA for a child, new or rekeyed.
    Child(Box<CreateChildSent>),
    /// CREATE_CHILD_SA that rekeys this IKE SA.
    RekeyIke(Box<RekeyIkeSent>),
    /// IKE_FOLLOWUP_KE of that rekey.
    Followup(Box<FollowupSent>),
    /// INFORMATIONAL that deletes children.
    Delete(DeleteSent),
    /// INFORMATIONAL without payloads: is the peer there? (RFC 7296 §2.4)
    Liveness,
}

/// Something this side wants.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Task {
    /// A child of this configuration.
    CreateChild { child: ChildName, flow: Option<FlowKey> },
    /// New keys for a child.
    RekeyChild(ChildSaId),
    /// New keys for this IKE SA.
    RekeyIke,
    /// A child deleted.
    DeleteChild(ChildSaId),
    /// A child deleted that only the peer has, under this SPI of ours.
    DeleteSpi(ProtocolId, Spi),
    /// A sign of life.
    Liveness,
}

/// A task to be tried again.
#[derive(Debug)]
struct Delayed {
    at: Instant,
    task: Task,
}

/// Tasks in the queue and waiting; more are dropped, timers ask again.
const TASKS_MAX: usize = 2 * CHILDREN_MAX;

/// Children deleted in one exchange: its request stays a small datagram.
const DELETES_MAX: usize = 128;

/// Wait after TEMPORARY_FAILURE (RFC 7296 §2.25), plus up to as much again at random.
const TEMPORARY_FAILURE_WAIT: Duration = Duration::from_secs(1);

/// Wait until a refused rekey is tried again.
const REFUSED_WAIT: Duration = Duration::from_secs(30);

/// Shortest time between liveness checks that unauthenticated hints ask for.
const HINT_INTERVAL: Duration = Duration::from_secs(5);

impl Established {
    /// Both sides have authenticated.
    pub(crate) fn begin(
        handshake: &Handshake,
        core: &mut Core,
        cx: &mut Context<'_>,
    ) -> Result<Self, FailureReason> {
        let secrets = Secrets {
            prf: handshake.suite.prf,
            // The handshake is dropped right after; only this copy stays.
            sk_d: handshake.keys.d.duplicate(),
        };
        if let (Some(local), Some(remote)) = (core.local_id.clone(), core.remote_id.clone()) {
            core.progress(Step::Authenticated { local, remote }, cx);
        }
        let established = Self::new(secrets, core, cx);
        cx.out.event(Event::IkeUp(Box::new(established.info(core))));
        Ok(established)
    }

    /// A fresh IKE SA without children.
    pub(crate) fn new(secrets: Secrets, core: &Core, cx: &mut Context<'_>) -> Self {
        let (rekey_at, over_at) = lifetimes(core, cx);
        Self {
            secrets,
            children: Vec::new(),
            own: None,
            followup: None,
            tasks: VecDeque::new(),
            delayed: Vec::new(),
            closing: None,
            since: cx.now,
            rekey_at,
            over_at,
            keepalive_at: keepalive(core, cx),
        }
    }

    /// Takes over everything from the IKE SA that this one replaces (RFC 7296 §2.8).
    pub(crate) fn inherit(&mut self, old: &mut Self, core: &Core, cx: &mut Context<'_>) {
        self.children = std::mem::take(&mut old.children);
        self.children.iter().for_each(|child| cx.out.own_child(child.id, core.id));
        self.tasks = std::mem::take(&mut old.tasks);
        self.tasks.retain(|task| *task != Task::RekeyIke);
        // What was under way is asked for again; the peer refused it or never saw it.
        match old.own.take() {
            Some(Own::Child(sent)) => self.queue(sent.task()),
            Some(Own::Delete(sent)) => sent.tasks.into_iter().for_each(|task| self.queue(task)),
            Some(Own::RekeyIke(_) | Own::Followup(_) | Own::Liveness) | None => {}
        }
        self.delayed = std::mem::take(&mut old.delayed);
        self.closing = old.closing.take();
    }

    // ---- Tasks ----

    /// Queues a task, unless it waits already.
    pub(crate) fn queue(&mut self, task: Task) {
        let waits =
            self.tasks.contains(&task) || self.delayed.iter().any(|delayed| delayed.task == task);
        if !waits && self.tasks.len() < TASKS_MAX {
            self.tasks.push_back(task);
        }
    }

    /// Tries a task again a little later.
    pub(crate) fn retry(&mut self, task: Task, cx: &mut Context<'_>) {
        let jitter_ms = cx.rng.next_u64() % 1_000;
        let at = cx.now + TEMPORARY_FAILURE_WAIT + Duration::from_millis(jitter_ms);
        self.delay(task, at);
    }

    /// Tries a refused task again much later.
    pub(crate) fn retry_refused(&mut self, task: Task, cx: &Context<'_>) {
        self.delay(task, cx.now + REFUSED_WAIT);
    }

    fn delay(&mut self, task: Task, at: Instant) {
        if self.delayed.len() < TASKS_MAX {
            self.delayed.push(Delayed { at, task });
        }
    }

    /// Whether a child is there or on its way.
    pub(crate) fn has_child(&self, wish: &Wish<'_>) -> bool {
        let creates = |task: &Task| matches!(task, Task::CreateChild { child, flow } if wish.is_for(child, flow.as_ref()));
        let in_flight = matches!(&self.own, Some(Own::Child(sent)) if sent.is_for(wish));
        in_flight
            || self.has_current(wish)
            || self.tasks.iter().any(creates)
            || self.delayed.iter().any(|delayed| creates(&delayed.task))
    }

    /// Whether a child carries traffic.
    pub(crate) fn has_current(&self, wish: &Wish<'_>) -> bool {
        let current = self.children.iter().filter(|child| child.is_current());
        current.into_iter().any(|child| wish.is_met_by(&child.name, &child.selectors))
    }

    /// Of the children that share a child's traffic by DSCP (RFC 4301 §4.1) the one that a peer's
    /// request is for: all have the same selectors, so it is the first that is missing, before that
    /// which we are asking for ourselves. If none is, the request may have crossed ours for the
    /// newest one, and the peer decides by the nonces which of the two SAs stays.
    pub(crate) fn missing_class<'a>(
        &self,
        connection: &'a Connection,
        config: &'a ChildConfig,
        now: Instant,
    ) -> &'a ChildConfig {
        let in_flight = match &self.own {
            Some(Own::Child(sent)) => Some(sent.name()),
            Some(Own::RekeyIke(_) | Own::Followup(_) | Own::Delete(_) | Own::Liveness) | None => {
                None
            }
        };
        // Who divides traffic by DSCP takes no selectors from packets.
        let is_missing = |one: &&ChildConfig| {
            !self.has_current(&Wish { name: &one.name, pfp: Pfp::NONE, flow: None })
        };
        let missing = || connection.classes_with(config).filter(is_missing);
        let unasked = missing().find(|one| Some(&one.name) != in_flight);
        let newest = || {
            let ours = self.children.iter().rev();
            let mut ours = ours.filter(|child| child.is_current() && child.may_have_crossed(now));
            ours.find_map(|child| {
                connection.classes_with(config).find(|one| one.name == child.name)
            })
        };
        unasked.or_else(|| missing().next()).or_else(newest).unwrap_or(config)
    }

    /// Asks for the end of this IKE SA; children and waiting tasks go with it (CHECKLIST B14,
    /// B15).
    pub(crate) fn close(&mut self, reason: FailureReason) {
        self.tasks.clear();
        self.delayed.clear();
        self.closing.get_or_insert(reason);
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing.is_some()
    }

    /// Whether this IKE SA is being rekeyed, by whomever (RFC 7296 §2.25.2).
    pub(crate) fn is_rekeying(&self) -> bool {
        matches!(self.own, Some(Own::RekeyIke(_) | Own::Followup(_))) || self.followup.is_some()
    }

    /// Begins the next exchange if the window is free.
    pub(crate) fn pump(&mut self, core: &mut Core, cx: &mut Context<'_>) -> StepResult {
        while self.own.is_none() && core.requests.is_idle() {
            if let Some(reason) = self.closing.take() {
                return Ok(Next::Delete(reason));
            }
            // RFC 7296 §2.25.2: the peer would refuse while it rekeys the IKE SA.
            if self.followup.is_some() {
                break;
            }
            let Some(task) = self.tasks.pop_front() else { break };
            self.own = self.start(task, core, cx)?;
        }
        Ok(Next::Stay)
    }

    fn start(
        &mut self,
        task: Task,
        core: &mut Core,
        cx: &mut Context<'_>,
    ) -> Result<Option<Own>, FailureReason> {
        match task {
            // The peer may have been faster (CHECKLIST I01).
            Task::CreateChild { child, flow } => {
                let config =
                    core.connection.as_ref().and_then(|connection| connection.child(&child));
                let pfp = config.map_or(Pfp::NONE, |config| config.pfp);
                if self.has_current(&Wish { name: &child, pfp, flow: flow.as_ref() }) {
                    return Ok(None);
                }
                CreateChildSent::start(self, child, flow, None, core, cx)
            }
            Task::RekeyChild(id) => CreateChildSent::start_rekey(self, id, core, cx),
            Task::RekeyIke => RekeyIkeSent::start(self, core, cx),
            Task::DeleteChild(_) | Task::DeleteSpi(..) => {
                let mut tasks = vec![task];
                let is_delete =
                    |task: &Task| matches!(task, Task::DeleteChild(_) | Task::DeleteSpi(..));
                self.tasks.retain(|task| {
                    let joins = is_delete(task) && tasks.len() < DELETES_MAX;
                    if joins {
                        tasks.push(task.clone());
                    }
                    !joins
                });
                DeleteSent::start(self, &tasks, core, cx)
            }
            Task::Liveness => {
                let schedule = cx.config.established;
                core.request(ExchangeType::INFORMATIONAL, ChainBuilder::new(), schedule, cx)?;
                Ok(Some(Own::Liveness))
            }
        }
    }

    /// The exchange type of the request in flight, for reports.
    pub(crate) fn own_exchange(&self) -> ExchangeType {
        match &self.own {
            Some(Own::Child(_) | Own::RekeyIke(_)) => ExchangeType::CREATE_CHILD_SA,
            Some(Own::Followup(_)) => ExchangeType::IKE_FOLLOWUP_KE,
            Some(Own::Delete(_) | Own::Liveness) | None => ExchangeType::INFORMATIONAL,
        }
    }

    // ---- Children ----

    pub(crate) fn child(&self, id: ChildSaId) -> Option<&Child> {
        self.children.iter().find(|child| child.id == id)
    }

    pub(crate) fn child_mut(&mut self, id: ChildSaId) -> Option<&mut Child> {
        self.children.iter_mut().find(|child| child.id == id)
    }

    /// The child that the peer calls by its inbound SPI.
    pub(crate) fn child_by_peer_spi(&self, protocol: ProtocolId, spi: Spi) -> Option<&Child> {
        self.children.iter().find(|child| (child.protocol, child.spi_out) == (protocol, spi))
    }

    /// Adds a child that replaces none.
    pub(crate) fn add_child(&mut self, child: Child, core: &Core, cx: &mut Context<'_>) {
        if let Some(connection) = core.connection_name() {
            cx.out.notice(Notice::ChildUp {
                connection: connection.clone(),
                child: child.name.clone(),
            });
        }
        core.progress(
            Step::Child {
                child: child.name.clone(),
                local: child.selectors.local.clone(),
                remote: child.selectors.remote.clone(),
            },
            cx,
        );
        let info = child.info(core.encapsulation());
        self.children.push(child);
        let ike = Box::new(self.info(core));
        cx.out.event(Event::ChildUp { ike, child: Box::new(info) });
    }

    /// Tells that `new` carries the traffic of `old`.
    pub(crate) fn report_rekey(
        &self,
        old: ChildSaId,
        new: ChildSaId,
        core: &Core,
        cx: &mut Context<'_>,
    ) {
        let (Some(old), Some(new)) = (self.child(old), self.child(new)) else { return };
        let encap = core.encapsulation();
        cx.out.event(Event::ChildRekeyed {
            ike: Box::new(self.info(core)),
            old: Box::new(old.info(encap)),
            new: Box::new(new.info(encap)),
        });
    }

    /// Takes a child out. `reason` is for the listeners; `None` if another took its place.
    pub(crate) fn remove_child(
        &mut self,
        id: ChildSaId,
        reason: Option<FailureReason>,
        core: &Core,
        cx: &mut Context<'_>,
    ) {
        let Some(place) = self.children.iter().position(|child| child.id == id) else { return };
        let ike = reason.as_ref().map(|_| Box::new(self.info(core)));
        let mut child = self.children.remove(place);
        cx.out.disown_child(id);
        self.hand_traffic_on(&child, cx);
        child.take_from_engine(cx.config.inbound_grace, cx);
        let (Some(reason), Some(ike)) = (reason, ike) else { return };
        let info = Box::new(child.info(core.encapsulation()));
        cx.out.event(Event::ChildDown { ike, child: info, reason: reason.clone() });
        if let Some(connection) = core.connection_name() {
            cx.out.notice(Notice::ChildGone {
                connection: connection.clone(),
                child: child.name,
                reason,
            });
        }
    }

    /// Before a child goes: its successor, or another one for the same traffic, carries on.
    fn hand_traffic_on(&self, child: &Child, cx: &mut Context<'_>) {
        let successor = match child.phase {
            Phase::Rekeyed { by, .. } => Some(by),
            Phase::Installed | Phase::Rekeying | Phase::Deleting => {
                let other = |other: &&Child| {
                    let is_alike = child.pfp.is_none() || other.selectors == child.selectors;
                    other.name == child.name && is_alike && other.is_current()
                };
                self.children.iter().rev().find(other).map(|other| other.id)
            }
        };
        if let Some(successor) = successor {
            self.activate(successor, cx);
        }
    }

    /// Sends on a child from now on, if it is still there.
    pub(crate) fn activate(&self, id: ChildSaId, cx: &mut Context<'_>) {
        if self.child(id).is_some_and(Child::is_in_engine) {
            cx.out.push(Output::ActivateOutbound(id));
        }
    }

    /// Replaces a child's keys now.
    pub(crate) fn rekey_child(&mut self, id: ChildSaId) {
        if let Some(child) = self.child_mut(id).filter(|child| child.phase == Phase::Installed) {
            child.phase = Phase::Rekeying;
            self.queue(Task::RekeyChild(id));
        }
    }

    /// A child has reached a soft limit.
    pub(crate) fn expire_softly(&mut self, id: ChildSaId) {
        if self.child(id).is_some_and(Child::may_be_rekeyed) {
            self.rekey_child(id);
        }
    }

    /// Packets pass a child, and so its successor will be used.
    pub(crate) fn handle_use(&mut self, id: ChildSaId, now: Instant) {
        let Some(child) = self.child_mut(id) else { return };
        child.idleness.note_use(now);
        if let Phase::Rekeyed { by, .. } = child.phase
            && let Some(successor) = self.child_mut(by)
        {
            successor.idleness.note_use(now);
        }
    }

    /// Deletes a child, and the one it replaces if that is still there (CHECKLIST J06).
    pub(crate) fn delete_child(
        &mut self,
        id: ChildSaId,
        reason: FailureReason,
        cx: &mut Context<'_>,
    ) {
        let mut tasks = Vec::new();
        for child in &mut self.children {
            let replaced_by_it = matches!(child.phase, Phase::Rekeyed { by, .. } if by == id);
            if (child.id != id && !replaced_by_it) || child.phase == Phase::Deleting {
                continue;
            }
            if child.id == id {
                child.end = Some(reason.clone());
            }
            child.phase = Phase::Deleting;
            child.take_from_engine(cx.config.inbound_grace, cx);
            tasks.push(Task::DeleteChild(child.id));
        }
        tasks.into_iter().for_each(|task| self.queue(task));
    }

    /// A child's hard lifetime is over; the packet engine uses it no more.
    pub(crate) fn expire_child(&mut self, id: ChildSaId, cx: &mut Context<'_>) {
        let Some(child) = self.child(id) else { return };
        if matches!(child.phase, Phase::Rekeyed { .. }) {
            self.delete_replaced(id, cx);
        } else if child.idleness.makes_superfluous() {
            self.delete_child(id, FailureReason::Idle, cx);
        } else {
            self.delete_child(id, FailureReason::LifetimeOver, cx);
        }
    }

    /// Deletes a child whose successor is there.
    pub(crate) fn delete_replaced(&mut self, id: ChildSaId, cx: &mut Context<'_>) {
        let Some(child) = self.child(id).filter(|child| child.phase != Phase::Deleting) else {
            return;
        };
        self.hand_traffic_on(child, cx);
        if let Some(child) = self.child_mut(id) {
            child.phase = Phase::Deleting;
        }
        self.queue(Task::DeleteChild(id));
    }

    /// All children go with the IKE SA (RFC 7296 §1.4.1; CHECKLIST M08).
    pub(crate) fn remove_all(&mut self, reason: &FailureReason, core: &Core, cx: &mut Context<'_>) {
        while let Some(child) = self.children.first() {
            // One that was replaced has a successor to report.
            let silent = matches!(child.phase, Phase::Rekeyed { .. })
                || (child.phase == Phase::Deleting && child.end.is_none());
            let reason = child.end.clone().unwrap_or_else(|| reason.clone());
            self.remove_child(child.id, (!silent).then_some(reason), core, cx);
        }
    }

    /// Authentic packets come in on a child: its sender has it installed (RFC 7296 §2.8).
    pub(crate) fn handle_traffic(&mut self, id: ChildSaId, cx: &mut Context<'_>) {
        if let Some(child) = self.child_mut(id) {
            child.confirm();
        }
        let has_predecessor = self
            .children
            .iter()
            .any(|child| matches!(child.phase, Phase::Rekeyed { by, .. } if by == id));
        if has_predecessor {
            self.activate(id, cx);
        }
    }

    /// A new request came: with a window of one the peer has all our answers (RFC 7296 §2.3).
    pub(crate) fn confirm_all(&mut self) {
        self.children.iter_mut().for_each(Child::confirm);
    }

    /// The peer's address changed.
    pub(crate) fn handle_move(&self, core: &Core, cx: &mut Context<'_>) {
        for child in &self.children {
            let encap = core.encapsulation();
            cx.out.push(Output::UpdatePeer { child: child.id, encap });
        }
    }

    // ---- Time ----

    /// Somebody unauthenticated says that something is wrong: ask the peer (CHECKLIST M03).
    pub(crate) fn handle_hint(&mut self, core: &Core, cx: &Context<'_>) {
        if cx.now.saturating_duration_since(core.heard) >= HINT_INTERVAL && self.own.is_none() {
            self.queue(Task::Liveness);
        }
    }

    pub(crate) fn poll_timeout(&self, core: &Core) -> Option<Instant> {
        let liveness = dpd_delay(core)
            .filter(|_| self.own.is_none() && self.tasks.is_empty())
            .map(|delay| core.heard + delay);
        let children = self.children.iter().filter_map(Child::poll_timeout).min();
        let delayed = self.delayed.iter().map(|delayed| delayed.at).min();
        let followup = self.followup.as_ref().map(PendingFollowup::deadline);
        [self.rekey_at, self.over_at, self.keepalive_at, liveness, children, delayed, followup]
            .into_iter()
            .flatten()
            .min()
    }

    /// Does what is due, retransmission apart.
    pub(crate) fn handle_timeout(&mut self, core: &mut Core, cx: &mut Context<'_>) {
        let due = |at: &mut Instant| cx.now >= *at;
        if self.over_at.take_if(due).is_some() {
            // CHECKLIST K20.
            self.close(FailureReason::LifetimeOver);
        }
        if self.rekey_at.take_if(due).is_some() {
            self.queue(Task::RekeyIke);
        }
        if self.keepalive_at.take_if(due).is_some() {
            cx.out.push(Output::Keepalive(core.path));
            self.keepalive_at = keepalive(core, cx);
        }
        self.followup.take_if(|followup| cx.now >= followup.deadline());
        let ripe: Vec<Delayed> =
            self.delayed.extract_if(.., |delayed| cx.now >= delayed.at).collect();
        ripe.into_iter().for_each(|delayed| self.queue(delayed.task));
        self.handle_ages(cx);
        let silence = cx.now.saturating_duration_since(core.heard);
        let idle = self.own.is_none() && self.tasks.is_empty();
        if idle && dpd_delay(core).is_some_and(|delay| silence >= delay) {
            self.queue(Task::Liveness);
        }
    }

    fn handle_ages(&mut self, cx: &mut Context<'_>) {
        let due = |at: Option<Instant>| at.is_some_and(|at| cx.now >= at);
        let mut soft = Vec::new();
        let mut hard = Vec::new();
        let mut idle = Vec::new();
        let mut forgotten = Vec::new();
        for child in &self.children {
            if due(child.over_at) && child.phase != Phase::Deleting {
                hard.push(child.id);
            } else if due(child.idle_at()) {
                idle.push(child.id);
            } else if due(child.rekey_at) && child.may_be_rekeyed() {
                soft.push(child.id);
            }
            if matches!(child.phase, Phase::Rekeyed { until, .. } if cx.now >= until) {
                forgotten.push(child.id);
            }
        }
        soft.into_iter().for_each(|id| self.rekey_child(id));
        hard.into_iter().for_each(|id| self.expire_child(id, cx));
        idle.into_iter().for_each(|id| self.delete_child(id, FailureReason::Idle, cx));
        forgotten.into_iter().for_each(|id| self.delete_replaced(id, cx));
    }

    /// What the configuration wants done about a child that was lost.
    pub(crate) fn end_action(config: &ChildConfig, reason: &FailureReason) -> EndAction {
        if matches!(reason, FailureReason::PeerSilent { .. }) {
            config.dpd_action
        } else if *reason == FailureReason::ClosedByPeer {
            config.close_action
        } else {
            EndAction::Clear
        }
    }

    /// Snapshot of the whole IKE SA.
    pub(crate) fn info(&self, core: &Core) -> IkeSaInfo {
        let encap = core.encapsulation();
        IkeSaInfo {
            state: match (&self.closing, self.is_rekeying()) {
                (Some(_), _) => IkeSaState::Deleting,
                (None, true) => IkeSaState::Rekeying,
                (None, false) => IkeSaState::Established,
            },
            established: Some(self.since),
            rekey_at: self.rekey_at,
            over_at: self.over_at,
            children: self.children.iter().map(|child| child.info(encap)).collect(),
            ..core.info()
        }
    }
}

/// When to rekey and when to end, by the configuration (RFC 7296 §2.8).
fn lifetimes(core: &Core, cx: &mut Context<'_>) -> (Option<Instant>, Option<Instant>) {
    let Some(connection) = core.connection.as_ref().filter(|c| !c.rekey_time.is_zero()) else {
        return (None, None);
    };
    let rand_ms = u64::try_from(connection.rand_time.as_millis()).unwrap_or(u64::MAX);
    let jitter = Duration::from_millis(cx.rng.next_u64() % rand_ms.saturating_add(1));
    let rekey_at = cx.now + connection.rekey_time.saturating_sub(jitter);
    let over_at = cx.now + connection.rekey_time + connection.over_time;
    (Some(rekey_at), (!connection.over_time.is_zero()).then_some(over_at))
}

fn dpd_delay(core: &Core) -> Option<Duration> {
    core.connection.as_ref().map(|connection| connection.dpd_delay).filter(|delay| !delay.is_zero())
}

/// RFC 3948 §4: only who is behind the NAT keeps its mapping alive (CHECKLIST N06).
fn keepalive(core: &Core, cx: &Context<'_>) -> Option<Instant> {
    core.connection
        .as_ref()
        .map(|connection| connection.keepalive)
        .filter(|interval| core.nat.we_are_behind_nat && !interval.is_zero())
        .map(|interval| cx.now + interval)
}
