//! Desired state: what a connection should have, who waits for it, when to try again.
//!
//! A [`Keeper`] decides, the endpoint acts: it tells the keeper what is there and what failed, and
//! asks it what is missing. Attempts that fail are repeated with growing pauses
//! ([`Retry`]) as long as a child should be up; a packet or a command for a child
//! that is not kept up gets one attempt.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use adit_crypto::Rng;
use adit_db::{
    ChildConfig, ChildName, Connection, FlowClass, Gateway, HostSpec, IkeSaId, Keep, KeyingTries,
    Pfp,
};
use adit_wire::ip::FlowKey;

use crate::command::{JobId, RequestId};
use crate::config::Retry;
use crate::context::Outbox;
use crate::event::Event;
use crate::failure::{Failure, FailureReason};
use crate::output::Output;
use crate::timers::Timer;
use crate::v2::redirect::{LOOP_PERIOD, REDIRECTS_MAX};
use crate::v2::resumption::ClientTicket;

mod tcp;

use self::tcp::TcpEffort;

/// The effort for one loaded connection.
#[derive(Debug)]
pub(crate) struct Keeper {
    connection: Arc<Connection>,
    /// Whether this endpoint of the host is to bring it up.
    here: bool,
    /// Children asked for by a command or a packet, until they are up or have failed; where selectors
    /// come from packets, one for each class of them. A map that was in use keeps room for eleven, and
    /// of a hundred thousand connections hardly one wants anything: an empty one is replaced.
    wanted: BTreeMap<(ChildName, FlowClass), Option<FlowKey>>,
    /// Keeps no room either.
    waiting: Vec<Waiting>,
    attempt: Option<Attempt>,
    held_down: bool,
    /// Children that somebody took down one by one.
    held_children: BTreeSet<ChildName>,
    failures: u32,
    /// Nothing is tried before, unless a command asks.
    not_before: Option<Instant>,
    last_failure: Option<Box<Failure>>,
    /// To resume its session with (RFC 5723).
    ticket: Option<Box<ClientTicket>>,
    /// The next attempt is to do without it.
    ticket_put_by: bool,
    /// Boxed: few are ever sent to another gateway.
    detour: Option<Box<Detour>>,
    /// The next attempt is to do without ESP in UDP by preference.
    avoids_udp: bool,
    /// Boxed: most connections have nothing to do with TCP.
    tcp: Option<Box<TcpEffort>>,
    /// That of [`Self::poll_timeout`].
    pub(crate) timer: Timer,
}

/// What somebody wants once of a connection.
#[derive(Debug)]
pub(crate) struct Given {
    /// The commands that wait, with the children they wait for.
    pub(crate) waiting: Vec<(RequestId, Option<ChildName>)>,
    /// The children that a command or a packet asked for, with that packet.
    pub(crate) wanted: Vec<(ChildName, Option<FlowKey>)>,
}

/// Where gateways have sent us (RFC 5685).
#[derive(Debug)]
struct Detour {
    /// Where the next attempt goes, and who says so.
    to: Option<(HostSpec, IpAddr)>,
    /// How often within the period.
    count: u8,
    /// When the period began.
    since: Instant,
}

/// A command that has not come to its end.
#[derive(Debug)]
struct Waiting {
    request: RequestId,
    goal: Goal,
}

/// What a command waits for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Goal {
    /// An established IKE SA.
    Ike,
    /// A child SA of this configuration.
    Child(ChildName),
}

/// An IKE SA under way that we initiate.
#[derive(Debug)]
pub(crate) struct Attempt {
    pub(crate) started: Instant,
    pub(crate) stage: Stage,
}

/// How far an attempt has come.
#[derive(Debug)]
pub(crate) enum Stage {
    /// The peer's name is being looked up.
    Name {
        /// The lookup.
        job: JobId,
        /// The name.
        name: String,
    },
    /// Our address towards the peer is being looked up.
    Source {
        /// The lookup.
        job: JobId,
        /// The peer's address.
        remote: IpAddr,
    },
    /// The handshake runs.
    Connecting(IkeSaId),
}

impl Keeper {
    pub(crate) fn new(connection: Arc<Connection>) -> Self {
        Self {
            connection,
            here: true,
            wanted: BTreeMap::new(),
            waiting: Vec::new(),
            attempt: None,
            held_down: false,
            held_children: BTreeSet::new(),
            failures: 0,
            not_before: None,
            last_failure: None,
            ticket: None,
            ticket_put_by: false,
            detour: None,
            avoids_udp: false,
            tcp: None,
            timer: Timer::default(),
        }
    }

    pub(crate) fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    /// Whether this endpoint of the host is to bring the connection up.
    pub(crate) fn is_here(&self) -> bool {
        self.here
    }

    /// Says so.
    pub(crate) fn set_here(&mut self, here: bool) {
        self.here = here;
    }

    /// Gives up what somebody wants once, as another endpoint sees to it.
    pub(crate) fn give_away(&mut self) -> Given {
        let waiting = std::mem::take(&mut self.waiting).into_iter();
        let waiting = waiting.map(|Waiting { request, goal }| match goal {
            Goal::Ike => (request, None),
            Goal::Child(child) => (request, Some(child)),
        });
        let wanted = std::mem::take(&mut self.wanted).into_iter();
        Given {
            waiting: waiting.collect(),
            wanted: wanted.map(|((child, _), flow)| (child, flow)).collect(),
        }
    }

    /// Keeps a ticket instead of the one before.
    pub(crate) fn keep_ticket(&mut self, ticket: Box<ClientTicket>) {
        self.ticket = self.connection.resumption.then_some(ticket);
    }

    /// The ticket for an attempt with the configured gateway. It is presented once.
    //= https://www.rfc-editor.org/rfc/rfc5723#section-4.3.1
    //# a client MUST NOT reuse a ticket.
    pub(crate) fn take_ticket(&mut self, now: Instant) -> Option<Box<ClientTicket>> {
        if std::mem::take(&mut self.ticket_put_by) || self.redirected_from().is_some() {
            return None;
        }
        self.ticket.take().filter(|ticket| ticket.is_good(now))
    }

    /// Lets the next attempt do without the ticket.
    pub(crate) fn put_ticket_by(&mut self) {
        self.ticket_put_by = true;
    }

    /// Forgets the ticket of an IKE SA.
    pub(crate) fn forget_ticket(&mut self, ike: IkeSaId) {
        self.ticket.take_if(|ticket| ticket.ike == ike);
    }

    /// Lets the next attempt go to another gateway at once, because the peer at `from` says so.
    ///
    /// # Errors
    ///
    /// If that has happened too often lately: the attempts would never end (RFC 5685 §7).
    pub(crate) fn redirect(
        &mut self,
        to: &Gateway,
        from: IpAddr,
        now: Instant,
    ) -> Result<(), FailureReason> {
        let fresh = || Box::new(Detour { to: None, count: 0, since: now });
        let detour = self.detour.get_or_insert_with(fresh);
        if now.saturating_duration_since(detour.since) > LOOP_PERIOD {
            *detour = fresh();
        }
        if detour.count >= REDIRECTS_MAX {
            return Err(FailureReason::TooManyRedirects { limit: REDIRECTS_MAX });
        }
        detour.count += 1;
        detour.to = Some((to.host(), from));
        self.not_before = None;
        Ok(())
    }

    /// Whether there may be one more redirection.
    pub(crate) fn may_redirect(&self, now: Instant) -> bool {
        self.detour.as_ref().is_none_or(|detour| {
            let is_over = now.saturating_duration_since(detour.since) > LOOP_PERIOD;
            is_over || detour.count < REDIRECTS_MAX
        })
    }

    /// Who has sent us to where the attempt goes.
    pub(crate) fn redirected_from(&self) -> Option<IpAddr> {
        Some(self.detour.as_ref()?.to.as_ref()?.1)
    }

    /// The next attempt goes to the configured host again.
    fn end_detour(&mut self) {
        if let Some(detour) = &mut self.detour {
            detour.to = None;
        }
    }

    /// Lets the next attempt do without ESP in UDP, unless there is a NAT.
    pub(crate) fn avoid_udp(&mut self) {
        self.avoids_udp = true;
    }

    /// Whether the attempt that begins may prefer ESP in UDP; the one after it may again.
    pub(crate) fn may_prefer_udp(&mut self) -> bool {
        !std::mem::take(&mut self.avoids_udp)
    }

    /// Takes a new configuration: everything is to be tried at once.
    pub(crate) fn replace(&mut self, connection: Arc<Connection>) {
        self.wanted.retain(|(name, _), _| connection.child(name).is_some());
        self.give_room_back();
        self.connection = connection;
        self.lift();
        self.failures = 0;
        self.detour = None;
        self.ticket = None;
        self.avoids_udp = false;
        self.replaced();
    }

    /// Ends a [`Keeper::hold`] and every waiting time: somebody asks.
    pub(crate) fn lift(&mut self) {
        self.held_down = false;
        self.held_children.clear();
        self.not_before = None;
    }

    /// Stops the effort for one child until somebody asks again.
    pub(crate) fn hold_child(&mut self, child: ChildName) {
        self.forget(&child);
        self.held_children.insert(child);
    }

    /// Stops all effort until somebody asks again.
    pub(crate) fn hold(&mut self) {
        self.held_down = true;
        self.ticket = None;
        self.not_before = None;
        self.wanted.clear();
    }

    pub(crate) fn is_held(&self) -> bool {
        self.held_down
    }

    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }

    pub(crate) fn last_failure(&self) -> Option<&Failure> {
        self.last_failure.as_deref()
    }

    pub(crate) fn attempt(&self) -> Option<&Attempt> {
        self.attempt.as_ref()
    }

    /// Whether the attempt waits for this lookup.
    pub(crate) fn awaits(&self, job: JobId) -> bool {
        match self.attempt.as_ref().map(|attempt| &attempt.stage) {
            Some(Stage::Name { job: waiting, .. } | Stage::Source { job: waiting, .. }) => {
                *waiting == job
            }
            Some(Stage::Connecting(_)) | None => false,
        }
    }

    pub(crate) fn begin(&mut self, attempt: Attempt) {
        self.attempt = Some(attempt);
    }

    /// Takes the attempt, which has come to its end or goes on otherwise.
    pub(crate) fn end_attempt(&mut self) -> Option<Attempt> {
        self.attempt.take()
    }

    /// Wants a child once, for `flow` if a packet asks.
    pub(crate) fn want(&mut self, child: ChildName, flow: Option<FlowKey>) {
        let pfp = self.connection.child(&child).map_or(Pfp::NONE, |config| config.pfp);
        let class = match flow {
            _ if pfp.is_none() => FlowClass::default(),
            Some(flow) => pfp.class(&flow),
            // Only a packet says what it should be.
            None => return,
        };
        let key = (child, class);
        if self.wanted.len() < WANTED_MAX || self.wanted.contains_key(&key) {
            self.wanted.insert(key, flow);
        }
    }

    /// A child that a packet asked for is there or on its way, with the selectors of that packet.
    pub(crate) fn served(&mut self, child: &ChildName, flow: &FlowKey) {
        let pfp = self.connection.child(child).map_or(Pfp::NONE, |config| config.pfp);
        if !pfp.is_none() {
            self.wanted.remove(&(child.clone(), pfp.class(flow)));
            self.give_room_back();
        }
    }

    fn forget(&mut self, child: &ChildName) {
        self.wanted.retain(|(name, _), _| name != child);
        self.give_room_back();
    }

    fn give_room_back(&mut self) {
        if self.wanted.is_empty() {
            self.wanted = BTreeMap::new();
        }
        if self.waiting.is_empty() {
            self.waiting = Vec::new();
        }
    }

    /// A packet asks for a child. Ignored while an earlier failure is fresh: packets come by the
    /// thousand (CHECKLIST L12).
    pub(crate) fn acquire(&mut self, child: ChildName, flow: FlowKey, now: Instant) -> bool {
        let too_early = self.not_before.is_some_and(|instant| now < instant);
        let known = self.connection.child(&child).is_some();
        if known && !too_early {
            self.want(child, Some(flow));
        }
        known && !too_early
    }

    /// Lets a command wait for a goal.
    ///
    /// # Errors
    ///
    /// When too many wait already.
    pub(crate) fn wait(&mut self, request: RequestId, goal: Goal) -> Result<(), FailureReason> {
        if self.waiting.len() >= WAITING_MAX {
            return Err(FailureReason::TooMany("waiting commands"));
        }
        self.waiting.push(Waiting { request, goal });
        Ok(())
    }

    /// Whether somebody waits for an IKE SA without naming a child.
    pub(crate) fn wants_ike(&self) -> bool {
        self.waiting.iter().any(|waiting| waiting.goal == Goal::Ike)
    }

    /// The children that should be there, in the order of the configuration, each with the packet
    /// that asked for it.
    pub(crate) fn desired(&self) -> Vec<(ChildName, Option<FlowKey>)> {
        let mut desired = Vec::new();
        for child in &self.connection.children {
            let before = desired.len();
            let wanted = self.wanted.range((child.name.clone(), FlowClass::default())..);
            let wanted = wanted.take_while(|((name, _), _)| *name == child.name);
            desired.extend(wanted.map(|((name, _), flow)| (name.clone(), *flow)));
            if desired.len() == before && self.keeps_up(child) {
                desired.push((child.name.clone(), None));
            }
        }
        desired
    }

    /// Whether trying is allowed now.
    pub(crate) fn may_try(&self, now: Instant) -> bool {
        self.not_before.is_none_or(|instant| now >= instant)
    }

    /// When something should be tried again.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let needs = !self.wanted.is_empty() || self.keeps_any_up();
        let again = self.not_before.filter(|_| needs && self.attempt.is_none());
        [again, self.next_probe()].into_iter().flatten().min()
    }

    /// Everything desired is there or on its way.
    pub(crate) fn satisfied(&mut self) {
        self.not_before = None;
    }

    fn keeps_up(&self, child: &ChildConfig) -> bool {
        // Those for resources come with the one that they are beside, and only if the peer agrees.
        self.here
            && child.keep == Keep::Up
            && child.resource.is_none()
            && !self.held_down
            && !self.held_children.contains(&child.name)
    }

    fn keeps_any_up(&self) -> bool {
        self.connection.children.iter().any(|child| self.keeps_up(child))
    }

    /// The peer's host to try in this attempt: where we were sent, else the next one after every
    /// failure.
    pub(crate) fn host(&self) -> Option<&HostSpec> {
        if let Some((host, _)) = self.detour.as_ref().and_then(|detour| detour.to.as_ref()) {
            return Some(host);
        }
        let hosts: Vec<&HostSpec> =
            self.connection.remote_addresses.iter().filter(|host| host.is_single()).collect();
        let count = u32::try_from(hosts.len()).ok()?;
        let index = usize::try_from(self.failures.checked_rem(count)?).ok()?;
        hosts.get(index).copied()
    }

    /// An IKE SA is established.
    pub(crate) fn ike_up(&mut self, out: &mut Outbox) {
        self.end_detour();
        self.finish(&Goal::Ike, Ok(()), out);
    }

    /// A child is up.
    pub(crate) fn child_up(&mut self, child: &ChildName, out: &mut Outbox) {
        self.wanted.remove(&(child.clone(), FlowClass::default()));
        self.finish(&Goal::Child(child.clone()), Ok(()), out);
        self.give_room_back();
        self.failures = 0;
        self.not_before = None;
        self.last_failure = None;
    }

    /// A child could not be negotiated; the IKE SA stays.
    pub(crate) fn child_failed(
        &mut self,
        failure: Box<Failure>,
        retry: Retry,
        now: Instant,
        rng: &mut dyn Rng,
        out: &mut Outbox,
    ) {
        if let Some(child) = failure.child.clone() {
            self.forget(&child);
            let config = self.connection.child(&child);
            let for_one_flow = config.is_some_and(|config| !config.pfp.is_none());
            self.finish(&Goal::Child(child), Err(failure.clone()), out);
            if for_one_flow {
                // The other flows do not wait for this one: the packet engine asks for each of them
                // again, once a second.
                self.last_failure = Some(failure.clone());
                out.event(Event::Failed(failure));
                return;
            }
        }
        self.fail(failure, retry, now, rng, out);
    }

    /// An attempt failed, or the IKE SA it made.
    pub(crate) fn attempt_failed(
        &mut self,
        failure: Box<Failure>,
        retry: Retry,
        now: Instant,
        rng: &mut dyn Rng,
        out: &mut Outbox,
    ) {
        self.attempt = None;
        // The next one begins with UDP again.
        self.tcp = None;
        self.wanted.clear();
        for waiting in std::mem::take(&mut self.waiting) {
            let result = Err(failure.clone());
            out.push(Output::Done { request: waiting.request, result });
        }
        self.fail(failure, retry, now, rng, out);
    }

    /// Something that was up went down: try again after the shortest wait. `failure` tells why,
    /// unless its IKE SA has told already.
    pub(crate) fn lost(
        &mut self,
        failure: Option<Box<Failure>>,
        retry: Retry,
        now: Instant,
        rng: &mut dyn Rng,
        out: &mut Outbox,
    ) {
        if self.not_before.is_none() {
            self.not_before = Some(now + jittered(retry.wait_after(1), rng));
        }
        if let Some(failure) = failure.filter(|failure| failure.reason.code().is_some()) {
            self.last_failure = Some(failure.clone());
            out.event(Event::Failed(failure));
        }
    }

    /// Ends all waiting commands with this failure.
    pub(crate) fn abandon(&mut self, failure: &Failure, out: &mut Outbox) {
        self.wanted.clear();
        for waiting in std::mem::take(&mut self.waiting) {
            let result = Err(Box::new(failure.clone()));
            out.push(Output::Done { request: waiting.request, result });
        }
    }

    fn fail(
        &mut self,
        failure: Box<Failure>,
        retry: Retry,
        now: Instant,
        rng: &mut dyn Rng,
        out: &mut Outbox,
    ) {
        self.end_detour();
        self.failures = self.failures.saturating_add(1);
        self.last_failure = Some(failure.clone());
        out.event(Event::Failed(failure));
        let wait = jittered(retry.wait_after(self.failures), rng);
        self.not_before = Some(now + wait);
        let kept_up = self.keeps_any_up();
        if kept_up && self.tries_left() {
            out.event(Event::Retry {
                connection: self.connection.name.clone(),
                after: wait,
                failures: self.failures,
            });
        } else if kept_up {
            self.hold();
        }
    }

    fn tries_left(&self) -> bool {
        match self.connection.reach {
            KeyingTries::Forever => true,
            KeyingTries::Tries(limit) => self.failures < limit.get(),
        }
    }

    fn finish(&mut self, goal: &Goal, result: Result<(), Box<Failure>>, out: &mut Outbox) {
        for waiting in self.waiting.extract_if(.., |waiting| waiting.goal == *goal) {
            out.push(Output::Done { request: waiting.request, result: result.clone() });
        }
    }
}

/// Up to a quarter more, so that many gateways do not come back in step.
fn jittered(wait: Duration, rng: &mut dyn Rng) -> Duration {
    let quarter_ms = u64::try_from((wait / 4).as_millis()).unwrap_or(u64::MAX);
    wait + Duration::from_millis(rng.next_u64() % quarter_ms.saturating_add(1))
}

/// Children that are wanted at a time: packets of many classes may ask.
const WANTED_MAX: usize = 64;

/// Commands that may wait for one connection.
const WAITING_MAX: usize = 64;
