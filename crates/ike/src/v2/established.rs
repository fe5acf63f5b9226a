//! An IKE SA on which both sides have authenticated (RFC 7296 §1.3 to §2.8): children, own
//! exchanges one after the other, timers.
//!
//! The window is one (§2.3): what this side wants is a [`Task`] in a queue, what it has sent is
//! [`Own`]. The exchanges themselves are in `exchange/`, one file each.

mod proof;
mod resources;
mod schedule;
mod succession;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use adit_crypto::{Prf, Secret};
use adit_db::{
    ChildConfig, ChildName, ChildSaId, Connection, EndAction, Gateway, GatewayNotice, Pfp,
};
use adit_wire::esp::Spi;
use adit_wire::iana::{ExchangeType, ProtocolId};
use adit_wire::ikev2::ChainBuilder;
use adit_wire::ip::FlowKey;

use crate::context::{Context, Notice};
use crate::event::{Event, IkeSaInfo, IkeSaState, Step};
use crate::failure::FailureReason;
use crate::output::Output;
use crate::v2::busy::Busy;
use crate::v2::child::{CHILDREN_MAX, Child, Phase, Wish};
use crate::v2::exchange::create_child::CreateChildSent;
use crate::v2::exchange::delete::DeleteSent;
use crate::v2::exchange::followup::PendingChildren;
use crate::v2::exchange::rekey_child;
use crate::v2::exchange::rekey_ike::{FollowupSent, PendingFollowup, RekeyIkeSent};
use crate::v2::handshake::Handshake;
use crate::v2::ike_sa::core::Core;
use crate::v2::ike_sa::{Next, StepResult};
use crate::v2::mobike::{self, Errand, ErrandSent};
use crate::v2::reauth::Reauth;
use crate::v2::{gateway_notice, redirect, resumption};

use self::resources::Resources;
use self::schedule::{dpd_delay, keepalive, lifetimes};

/// An established IKE SA.
#[derive(Debug)]
pub(crate) struct Established {
    pub(crate) secrets: Secrets,
    pub(crate) children: Vec<Child>,
    /// Our exchange in flight.
    pub(crate) own: Option<Own>,
    /// The peer's rekey of this IKE SA, waiting for IKE_FOLLOWUP_KE.
    pub(crate) followup: Option<Box<PendingFollowup>>,
    /// Children of the peer that wait for IKE_FOLLOWUP_KE.
    pub(crate) pending_children: Option<Box<PendingChildren>>,
    /// How many series of key exchanges the peer has forgotten since the last that was completed.
    pub(crate) lost_series: u8,
    /// Boxed: most of the time there is nothing to do.
    agenda: Option<Box<Agenda>>,
    resources: Resources,
    pub(crate) busy: Busy,
    /// This IKE SA is to be deleted as soon as the window is free.
    closing: Option<Box<FailureReason>>,
    pub(crate) since: Instant,
    /// When authentication is to be repeated (RFC 4478). Boxed: most of the time it is not.
    pub(crate) reauth: Option<Box<Reauth>>,
    rekey_at: Option<Instant>,
    /// When it ends unless it was replaced.
    pub(crate) over_at: Option<Instant>,
    keepalive_at: Option<Instant>,
}

/// What later keys are derived from (RFC 7296 §2.17, §2.18).
#[derive(Debug)]
pub(crate) struct Secrets {
    pub(crate) prf: Prf,
    pub(crate) sk_d: Secret,
    /// Whether a post-quantum key is in SK_d (RFC 8784), or in the one that it was made of.
    pub(crate) ppk: bool,
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
    /// INFORMATIONAL about addresses (RFC 4555).
    Mobike(Box<ErrandSent>),
    /// INFORMATIONAL without payloads: is the peer there? (RFC 7296 §2.4)
    Liveness,
    /// INFORMATIONAL that sends the peer to another gateway (RFC 5685 §5).
    Redirect(Box<Gateway>),
    /// INFORMATIONAL that asks for a ticket (RFC 5723 §4.1).
    Ticket,
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
    /// Something about addresses (RFC 4555).
    Mobike(Errand),
    /// A sign of life.
    Liveness,
    /// The peer gone to another gateway.
    Redirect(Gateway),
    /// A ticket to resume the session with.
    RequestTicket,
    /// The peer told something about a child.
    Tell(ChildSaId, GatewayNotice),
    /// This IKE SA deleted: another one has its place, and the peer has not deleted it.
    Leave,
}

/// What this side wants and has not asked for yet.
#[derive(Debug, Default)]
struct Agenda {
    tasks: VecDeque<Task>,
    delayed: Vec<Delayed>,
}

impl Agenda {
    fn is_empty(&self) -> bool {
        self.tasks.is_empty() && self.delayed.is_empty()
    }
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
            ppk: handshake.ppk.is_used(),
        };
        if let (Some(local), Some(remote)) = (core.local_id.clone(), core.remote_id.clone()) {
            let connection = core.connection.as_ref();
            let method = connection.map_or("", |known| known.pad.remote_auth.word());
            core.progress(Step::Authenticated { local, remote, method }, cx);
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
            pending_children: None,
            lost_series: 0,
            agenda: None,
            resources: Resources::default(),
            busy: Busy::default(),
            closing: None,
            since: cx.now,
            reauth: None,
            rekey_at,
            over_at,
            keepalive_at: keepalive(core, cx),
        }
    }

    /// Takes over everything from the IKE SA that this one replaces (RFC 7296 §2.8).
    pub(crate) fn inherit(&mut self, old: &mut Self, core: &Core, cx: &mut Context<'_>) {
        self.children = std::mem::take(&mut old.children);
        self.children.iter().for_each(|child| cx.out.own_child(child.id, core.id));
        self.agenda = old.agenda.take();
        if let Some(agenda) = &mut self.agenda {
            agenda.tasks.retain(|task| *task != Task::RekeyIke);
            agenda.delayed.retain(|delayed| delayed.task != Task::RekeyIke);
        }
        // What was under way is asked for again; the peer refused it or never saw it.
        match old.own.take() {
            Some(Own::Child(sent)) => self.queue(sent.task()),
            Some(Own::Delete(sent)) => sent.tasks.into_iter().for_each(|task| self.queue(task)),
            Some(Own::Mobike(sent)) if sent.errand != Errand::Probe => {
                self.queue_first(Task::Mobike(sent.errand));
            }
            Some(Own::Redirect(to)) => self.queue(Task::Redirect(*to)),
            Some(
                Own::RekeyIke(_) | Own::Followup(_) | Own::Mobike(_) | Own::Liveness | Own::Ticket,
            )
            | None => {}
        }
        // RFC 5723 §6.2: the ticket went with the old IKE SA.
        if core.terms.is_ticket_client {
            self.queue(Task::RequestTicket);
        }
        self.resources = old.resources;
        // RFC 4478 §2: "If the IKE SA is rekeyed, then the time limit applies to the new SA."
        self.reauth = old.reauth.take();
        self.closing = old.closing.take();
    }

    // ---- Tasks ----

    /// Queues a task, unless it waits already.
    pub(crate) fn queue(&mut self, task: Task) {
        let agenda = self.agenda.get_or_insert_default();
        let waits = agenda.tasks.contains(&task)
            || agenda.delayed.iter().any(|delayed| delayed.task == task);
        if !waits && agenda.tasks.len() < TASKS_MAX {
            agenda.tasks.push_back(task);
        }
    }

    /// How many tasks of a kind are queued.
    pub(crate) fn count_queued(&self, is_meant: impl Fn(&Task) -> bool) -> usize {
        let tasks = self.agenda.iter().flat_map(|agenda| &agenda.tasks);
        tasks.filter(|task| is_meant(task)).count()
    }

    /// Lets a task be the next one: it does not wait for those that do.
    pub(crate) fn queue_first(&mut self, task: Task) {
        let agenda = self.agenda.get_or_insert_default();
        agenda.tasks.retain(|waiting| *waiting != task);
        agenda.delayed.retain(|delayed| delayed.task != task);
        agenda.tasks.push_front(task);
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

    /// Does a task at a time, unless it waits for one already.
    pub(crate) fn delay(&mut self, task: Task, at: Instant) {
        let agenda = self.agenda.get_or_insert_default();
        let waits = agenda.delayed.iter().any(|delayed| delayed.task == task);
        if !waits && agenda.delayed.len() < TASKS_MAX {
            agenda.delayed.push(Delayed { at, task });
        }
    }

    /// Our exchange in flight that makes a child or new keys for one, if that is what is in flight.
    pub(crate) fn own_child(&self) -> Option<&CreateChildSent> {
        if let Some(Own::Child(sent)) = &self.own { Some(sent) } else { None }
    }

    /// Whether a child is there or on its way.
    pub(crate) fn has_child(&self, wish: &Wish<'_>) -> bool {
        let creates = |task: &Task| matches!(task, Task::CreateChild { child, flow } if wish.is_for(child, flow.as_ref()));
        let in_flight = self.own_child().is_some_and(|sent| sent.is_for(wish));
        in_flight
            || self.has_current(wish)
            || self.agenda.as_ref().is_some_and(|agenda| {
                let Agenda { tasks, delayed } = &**agenda;
                tasks.iter().any(creates) || delayed.iter().any(|one| creates(&one.task))
            })
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
        let in_flight = self.own_child().map(CreateChildSent::name);
        // Who divides traffic by DSCP takes no selectors from packets.
        let is_missing = |one: &&ChildConfig| {
            !self.has_current(&Wish { name: &one.name, pfp: Pfp::NONE, flow: None })
        };
        let classes = || connection.classes_with(config).filter(|one| one.resource.is_none());
        let missing = || classes().filter(is_missing);
        let unasked = missing().find(|one| Some(&one.name) != in_flight);
        let newest = || {
            let ours = self.children.iter().rev();
            let mut ours = ours.filter(|child| child.is_current() && child.may_have_crossed(now));
            ours.find_map(|child| classes().find(|one| one.name == child.name))
        };
        unasked.or_else(|| missing().next()).or_else(newest).unwrap_or(config)
    }

    /// Asks for the end of this IKE SA; children and waiting tasks go with it (CHECKLIST B14,
    /// B15).
    pub(crate) fn close(&mut self, reason: FailureReason) {
        self.agenda = None;
        self.closing.get_or_insert_with(|| Box::new(reason));
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
                return Ok(Next::Delete(*reason));
            }
            // RFC 7296 §2.25.2: the peer would refuse while it rekeys the IKE SA. But what it asks next
            // may not come before it knows where we are.
            if self.followup.is_some() && !self.has_errand_next() {
                break;
            }
            self.ask_shortly(core);
            let Some(task) = self.next_task() else { break };
            self.own = self.start(task, core, cx)?;
        }
        Ok(Next::Stay)
    }

    fn next_task(&mut self) -> Option<Task> {
        let agenda = self.agenda.as_mut()?;
        let task = agenda.tasks.pop_front();
        if agenda.is_empty() {
            self.agenda = None;
        }
        task
    }

    fn has_errand_next(&self) -> bool {
        let next = self.agenda.as_ref().and_then(|agenda| agenda.tasks.front());
        matches!(next, Some(Task::Mobike(_)))
    }

    fn has_tasks(&self) -> bool {
        self.agenda.as_ref().is_some_and(|agenda| !agenda.tasks.is_empty())
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
                if let Some(agenda) = &mut self.agenda {
                    agenda.tasks.retain(|task| {
                        let joins = is_delete(task) && tasks.len() < DELETES_MAX;
                        if joins {
                            tasks.push(task.clone());
                        }
                        !joins
                    });
                }
                DeleteSent::start(self, &tasks, core, cx)
            }
            Task::Redirect(to) => redirect::start(&to, core, cx),
            Task::RequestTicket => resumption::start(core, cx),
            Task::Tell(child, notice) => gateway_notice::start(child, &notice, self, core, cx),
            Task::Leave => {
                self.close(FailureReason::Replaced);
                Ok(None)
            }
            Task::Mobike(errand) => ErrandSent::start(errand, core, cx),
            Task::Liveness if mobike::probes(core) => ErrandSent::start(Errand::Probe, core, cx),
            Task::Liveness => {
                let schedule = cx.config.established;
                core.request(ExchangeType::INFORMATIONAL, ChainBuilder::new(), schedule, cx)?;
                Ok(Some(Own::Liveness))
            }
        }
    }

    /// Whether no child is on its way that we have asked for or are about to.
    pub(crate) fn is_settled(&self) -> bool {
        let creates = |task: &Task| matches!(task, Task::CreateChild { .. });
        let waits = self.agenda.as_ref().is_some_and(|agenda| {
            let delayed = agenda.delayed.iter().map(|delayed| &delayed.task);
            agenda.tasks.iter().chain(delayed).any(creates)
        });
        !waits && self.own_child().is_none()
    }

    /// The exchange type of the request in flight, for reports.
    pub(crate) fn own_exchange(&self) -> ExchangeType {
        match &self.own {
            Some(Own::Child(sent)) if sent.is_following() => ExchangeType::IKE_FOLLOWUP_KE,
            Some(Own::Child(_) | Own::RekeyIke(_)) => ExchangeType::CREATE_CHILD_SA,
            Some(Own::Followup(_)) => ExchangeType::IKE_FOLLOWUP_KE,
            Some(
                Own::Delete(_) | Own::Mobike(_) | Own::Liveness | Own::Redirect(_) | Own::Ticket,
            )
            | None => ExchangeType::INFORMATIONAL,
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
        // Most have one, and a vector that grows by itself begins with room for four.
        self.children.reserve_exact(1);
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
        match child.phase {
            Phase::Rekeyed { by, .. } => self.pass_on_place(id, by),
            Phase::Installed | Phase::Rekeying | Phase::Deleting => {
                let before = self.line_of(id);
                self.let_go(&before, cx);
            }
        }
        self.hand_traffic_on(&child, cx);
        child.take_from_engine(cx.config.inbound_grace, cx);
        let (Some(reason), Some(ike)) = (reason, ike) else { return };
        let config = core.connection.as_ref().and_then(|known| known.child(&child.name));
        let is_unwanted = matches!(reason, FailureReason::ClosedByPeer | FailureReason::Idle);
        if is_unwanted && config.is_some_and(|config| config.resource.is_some()) {
            self.resources.note_loss();
        }
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

    /// Deletes a child, and those it replaces that are still there (CHECKLIST J06).
    pub(crate) fn delete_child(
        &mut self,
        id: ChildSaId,
        reason: FailureReason,
        cx: &mut Context<'_>,
    ) {
        if let Some(child) = self.child_mut(id).filter(|child| child.phase != Phase::Deleting) {
            child.end = Some(Box::new(reason));
        }
        let line = self.line_of(id);
        self.let_go(&line, cx);
    }

    /// A child's hard lifetime is over; the packet engine uses it no more.
    pub(crate) fn expire_child(&mut self, id: ChildSaId, cx: &mut Context<'_>) {
        let Some(child) = self.child(id) else { return };
        let name = child.name.clone();
        if matches!(child.phase, Phase::Rekeyed { .. }) {
            self.delete_replaced(id, cx);
        } else if child.idleness.makes_superfluous() {
            self.delete_child(id, FailureReason::Idle, cx);
        } else {
            self.delete_child(id, FailureReason::LifetimeOver, cx);
            self.activate_heirs(&name, cx);
        }
    }

    /// Sends on the others of a child that is over: a request of the peer that crossed ours made one that
    /// was to carry nothing until ours was answered (RFC 7296 §2.8.1). Where an older one is left that
    /// the peer surely has, that carries on.
    fn activate_heirs(&self, name: &ChildName, cx: &mut Context<'_>) {
        let is_heir =
            |child: &&Child| child.name == *name && child.is_current() && child.is_in_engine();
        let known = |heir| rekey_child::known_before(heir, self).id;
        let heirs = self.children.iter().filter(is_heir);
        heirs.for_each(|heir| self.activate(known(heir), cx));
    }

    /// All children go with the IKE SA (RFC 7296 §1.4.1; CHECKLIST M08).
    pub(crate) fn remove_all(&mut self, reason: &FailureReason, core: &Core, cx: &mut Context<'_>) {
        while let Some(child) = self.children.first() {
            // One that was replaced has a successor to report.
            let silent = matches!(child.phase, Phase::Rekeyed { .. })
                || (child.phase == Phase::Deleting && child.end.is_none());
            let reason = child.end.as_deref().unwrap_or(reason).clone();
            self.remove_child(child.id, (!silent).then_some(reason), core, cx);
        }
    }

    /// Authentic packets come in on a child: its sender has it installed (RFC 7296 §2.8).
    pub(crate) fn handle_traffic(&mut self, id: ChildSaId, cx: &mut Context<'_>) {
        if let Some(child) = self.child_mut(id) {
            child.confirm();
        }
        self.take_over(cx);
        let has_predecessor = self
            .children
            .iter()
            .any(|child| matches!(child.phase, Phase::Rekeyed { by, .. } if by == id));
        // Of two exchanges that crossed the peer's prevails: nobody sends on what lost.
        let prevails = self.own_child().is_some_and(|sent| sent.has_rival(id));
        if has_predecessor || prevails {
            self.activate(id, cx);
        }
    }

    /// A new request came: with a window of one the peer has all our answers (RFC 7296 §2.3).
    pub(crate) fn confirm_all(&mut self) {
        self.children.iter_mut().for_each(Child::confirm);
    }

    /// The peer's address changed.
    pub(crate) fn handle_move(&self, core: &Core, cx: &mut Context<'_>) {
        for child in self.children.iter().filter(|child| child.is_in_engine()) {
            let encap = core.encapsulation();
            cx.out.push(Output::UpdatePeer { child: child.id, encap });
        }
    }

    /// Keeps a NAT's mapping alive from now on, or has none to keep.
    pub(crate) fn settle_keepalive(&mut self, core: &Core, cx: &Context<'_>) {
        self.keepalive_at = keepalive(core, cx);
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
            .filter(|_| self.own.is_none() && !self.has_tasks())
            .map(|delay| core.heard + delay);
        let children = self.children.iter().filter_map(Child::poll_timeout).min();
        let delayed = self.agenda.iter().flat_map(|agenda| &agenda.delayed);
        let delayed = delayed.map(|delayed| delayed.at).min();
        let followup = self.followup.as_deref().map(PendingFollowup::deadline);
        let reauth = self.reauth.as_ref().and_then(|reauth| reauth.poll_timeout());
        let pending = self.pending_timeout();
        let lifetimes = [self.rekey_at, self.over_at, self.keepalive_at];
        [reauth, liveness, children, delayed, followup, pending]
            .into_iter()
            .chain(lifetimes)
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
        self.handle_reauth_timeout(core, cx);
        self.followup.take_if(|followup| cx.now >= followup.deadline());
        self.expire_pending(cx.now);
        let ripe = self
            .agenda
            .iter_mut()
            .flat_map(|agenda| agenda.delayed.extract_if(.., |delayed| cx.now >= delayed.at));
        let ripe: Vec<Delayed> = ripe.collect();
        ripe.into_iter().for_each(|delayed| self.queue(delayed.task));
        self.handle_ages(cx);
        let silence = cx.now.saturating_duration_since(core.heard);
        let idle = self.own.is_none() && !self.has_tasks();
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
        if config.resource.is_some() {
            // It comes with the one that it is beside.
            EndAction::Clear
        } else if matches!(reason, FailureReason::Redirected { .. }) {
            EndAction::Restart
        } else if matches!(reason, FailureReason::PeerSilent { .. }) {
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
            reauth_at: self.reauth.as_ref().and_then(|reauth| reauth.at),
            auth_limits: self.reauth.as_ref().map(|reauth| reauth.limits()).unwrap_or_default(),
            ppk: self.secrets.ppk,
            over_at: self.over_at,
            access: None,
            children: self.children.iter().map(|child| child.info(encap)).collect(),
            ..core.info()
        }
    }
}
