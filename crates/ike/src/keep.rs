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
    ChildConfig, ChildName, Connection, FlowClass, HostSpec, IkeSaId, Keep, KeyingTries, Pfp,
};
use adit_wire::ip::FlowKey;

use crate::command::{JobId, RequestId};
use crate::config::Retry;
use crate::context::Outbox;
use crate::event::Event;
use crate::failure::{Failure, FailureReason};
use crate::output::Output;

/// The effort for one loaded connection.
#[derive(Debug)]
pub(crate) struct Keeper {
    connection: Arc<Connection>,
    /// Children asked for by a command or a packet, until they are up or have failed; where selectors
    /// come from packets, one for each class of them.
    wanted: BTreeMap<(ChildName, FlowClass), Option<FlowKey>>,
    waiting: Vec<Waiting>,
    attempt: Option<Attempt>,
    held_down: bool,
    /// Children that somebody took down one by one.
    held_children: BTreeSet<ChildName>,
    failures: u32,
    /// Nothing is tried before, unless a command asks.
    not_before: Option<Instant>,
    last_failure: Option<Box<Failure>>,
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
            wanted: BTreeMap::new(),
            waiting: Vec::new(),
            attempt: None,
            held_down: false,
            held_children: BTreeSet::new(),
            failures: 0,
            not_before: None,
            last_failure: None,
        }
    }

    pub(crate) fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    /// Takes a new configuration: everything is to be tried at once.
    pub(crate) fn replace(&mut self, connection: Arc<Connection>) {
        self.wanted.retain(|(name, _), _| connection.child(name).is_some());
        self.connection = connection;
        self.lift();
        self.failures = 0;
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

    pub(crate) fn begin(&mut self, attempt: Attempt) {
        self.attempt = Some(attempt);
    }

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
        }
    }

    fn forget(&mut self, child: &ChildName) {
        self.wanted.retain(|(name, _), _| name != child);
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
        self.not_before.filter(|_| needs && self.attempt.is_none())
    }

    /// Everything desired is there or on its way.
    pub(crate) fn satisfied(&mut self) {
        self.not_before = None;
    }

    fn keeps_up(&self, child: &ChildConfig) -> bool {
        child.keep == Keep::Up && !self.held_down && !self.held_children.contains(&child.name)
    }

    fn keeps_any_up(&self) -> bool {
        self.connection.children.iter().any(|child| self.keeps_up(child))
    }

    /// The peer's host to try in this attempt: the next one after every failure.
    pub(crate) fn host(&self) -> Option<&HostSpec> {
        let hosts: Vec<&HostSpec> =
            self.connection.remote_addresses.iter().filter(|host| host.is_single()).collect();
        let count = u32::try_from(hosts.len()).ok()?;
        let index = usize::try_from(self.failures.checked_rem(count)?).ok()?;
        hosts.get(index).copied()
    }

    /// An IKE SA is established.
    pub(crate) fn ike_up(&mut self, out: &mut Outbox) {
        self.finish(&Goal::Ike, Ok(()), out);
    }

    /// A child is up.
    pub(crate) fn child_up(&mut self, child: &ChildName, out: &mut Outbox) {
        self.wanted.remove(&(child.clone(), FlowClass::default()));
        self.finish(&Goal::Child(child.clone()), Ok(()), out);
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
