//! Attempts to bring up what should be up: lookups, the first message, children on an IKE SA that
//! is there.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use adit_crypto::Rng;
use adit_db::{
    ChildConfig, ChildName, Connection, ConnectionName, HostSpec, IkeSaId, IkeVersion, Keep, Pfp,
};
use adit_wire::ip::FlowKey;

use crate::command::JobId;
use crate::event::Step;
use crate::failure::{Failure, FailureReason};
use crate::keep::{Attempt, Keeper, Stage};
use crate::output::{Output, Query};
use crate::timers::TimerOwner;
use crate::v2::child::Wish;
use crate::v2::ike_sa::IkeSa;

use super::Endpoint;

impl Endpoint {
    /// Does what is missing for a connection to be as it should be.
    pub(super) fn pursue(&mut self, name: &ConnectionName, now: Instant, rng: &mut dyn Rng) {
        if !self.shutting_down {
            self.pursue_missing(name, now, rng);
            self.probe_udp(name, now, rng);
        }
        self.refresh_keeper(name, now);
    }

    pub(super) fn refresh_keeper(&mut self, name: &ConnectionName, now: Instant) {
        let Some(keeper) = self.keepers.get_mut(name) else { return };
        let at = keeper.poll_timeout();
        let owner = || TimerOwner::Connection(name.clone());
        self.timers.set(&mut keeper.timer, at, now, owner);
    }

    fn pursue_missing(&mut self, name: &ConnectionName, now: Instant, rng: &mut dyn Rng) {
        let Some(keeper) = self.keepers.get(name) else { return };
        let (there, mut missing): (Vec<_>, Vec<_>) = keeper
            .desired()
            .into_iter()
            .partition(|(child, flow)| self.has_child(name, child, flow.as_ref()));
        let wants_ike = keeper.wants_ike();
        let ike = self.established_ike(name);
        let busy = keeper.attempt().is_some() && !(keeper.is_probing() && ike.is_some());
        let blocked = busy || !keeper.may_try(now);
        missing.extend(self.missing_resources(name, ike).into_iter().map(|child| (child, None)));
        if let Some(keeper) = self.keepers.get_mut(name) {
            let served = there.iter().filter_map(|(child, flow)| Some((child, flow.as_ref()?)));
            served.for_each(|(child, flow)| keeper.served(child, flow));
        }
        if missing.is_empty() && (!wants_ike || ike.is_some()) {
            if let Some(keeper) = self.keepers.get_mut(name).filter(|k| k.attempt().is_none()) {
                keeper.satisfied();
            }
            return;
        }
        if blocked {
            return;
        }
        match (ike, missing.is_empty()) {
            (Some(ike), _) => {
                for (child, flow) in missing {
                    self.create_child_on(ike, child, flow, now, rng);
                }
                // The next one to try comes with the outcome.
                if let Some(keeper) = self.keepers.get_mut(name) {
                    keeper.satisfied();
                }
            }
            // Somebody wanted it while its newest IKE SA was here.
            (None, _) if !self.is_here(name) => self.give_away(name),
            (None, _) => {
                if let Some(keeper) = self.keepers.get_mut(name) {
                    keeper.begins_anew();
                }
                self.begin_attempt(name, now, rng);
            }
        }
    }

    /// The children for resources (RFC 9611) that are missing on an IKE SA: all are asked for at once,
    /// by whoever keeps the child up that they are beside, or has asked for it.
    fn missing_resources(&self, name: &ConnectionName, ike: Option<IkeSaId>) -> Vec<ChildName> {
        let established = ike.and_then(|ike| self.sas.get(ike)).and_then(IkeSa::as_established);
        let (Some(established), Some(connection)) = (established, self.connections.get(name))
        else {
            return Vec::new();
        };
        let is_wanted = |child: &&ChildConfig| {
            let fallback = child.class.as_ref().filter(|_| child.resource.is_some());
            child.keep != Keep::Passive
                && fallback.is_some_and(|class| established.wants_resources(&class.of))
                && !self.has_child(name, &child.name, None)
        };
        connection.children.iter().filter(is_wanted).map(|child| child.name.clone()).collect()
    }

    /// Whether a child is there or being negotiated on an IKE SA that is there.
    fn has_child(&self, name: &ConnectionName, child: &ChildName, flow: Option<&FlowKey>) -> bool {
        let config = self.connections.get(name).and_then(|connection| connection.child(child));
        let pfp = config.map_or(Pfp::NONE, |config| config.pfp);
        let wish = Wish { name: child, pfp, flow };
        self.sas
            .of(name)
            .filter_map(IkeSa::as_established)
            .any(|established| established.has_child(&wish))
            || self.v1.of(name).any(|sa| sa.has_child(child))
    }

    /// Whether a child carries traffic.
    pub(super) fn child_is_up(&self, name: &ConnectionName, child: &ChildName) -> bool {
        self.sas
            .of(name)
            .filter_map(IkeSa::as_established)
            .flat_map(|established| &established.children)
            .any(|installed| installed.name == *child && installed.is_current())
            || self.v1.of(name).any(|sa| sa.child_is_up(child))
    }

    /// The newest IKE SA on which a child can be asked for.
    pub(super) fn established_ike(&self, name: &ConnectionName) -> Option<IkeSaId> {
        let usable = |sa: &&IkeSa| sa.as_established().is_some();
        let newest = self.sas.newest_of(name).find(usable).map(|sa| sa.core.id);
        newest.or_else(|| self.established_v1(name))
    }

    // ---- Attempts ----

    pub(super) fn begin_attempt(&mut self, name: &ConnectionName, now: Instant, rng: &mut dyn Rng) {
        let Some(keeper) = self.keepers.get_mut(name) else { return };
        match keeper.host().cloned() {
            None => self.fail_attempt(name, FailureReason::NoAddress, Duration::ZERO, now, rng),
            Some(HostSpec::Address(remote)) => self.look_up_source(name, remote, now, now, rng),
            Some(HostSpec::Name(host)) => {
                let job = self.out.next_job();
                let stage = Stage::Name { job, name: host.clone() };
                keeper.begin(Attempt { started: now, stage });
                self.lookups.insert(job, name.clone());
                let step = Step::Resolving { name: host.clone() };
                self.out.progress(Some(name), None, step, Duration::ZERO);
                self.out.push(Output::Resolve { job, query: Query::Name(host) });
            }
            // `host` gives single hosts only.
            Some(HostSpec::Any | HostSpec::Network(_)) => {}
        }
    }

    /// Finds the local address for an attempt: the configured one, or what routing says.
    fn look_up_source(
        &mut self,
        name: &ConnectionName,
        remote: IpAddr,
        started: Instant,
        now: Instant,
        rng: &mut dyn Rng,
    ) {
        let Some(keeper) = self.keepers.get_mut(name) else { return };
        if let Some(local) = configured_source(keeper.connection(), remote) {
            self.connect(name, local, remote, started, now, rng);
            return;
        }
        let job = self.out.next_job();
        keeper.begin(Attempt { started, stage: Stage::Source { job, remote } });
        self.lookups.insert(job, name.clone());
        self.out.push(Output::Resolve { job, query: Query::SourceFor(remote) });
    }

    /// Takes the answer to a lookup.
    pub(super) fn resolved(
        &mut self,
        job: JobId,
        addresses: &[IpAddr],
        now: Instant,
        rng: &mut dyn Rng,
    ) {
        let Some(name) = self.lookups.remove(&job) else {
            // An IKE SA looks for a way to move.
            if let Some(id) = self.out.end_auth(job) {
                let source = addresses.first().copied();
                self.touch(id, now, rng, |sa, cx| sa.handle_source(job, source, cx));
            }
            return;
        };
        let Some(keeper) = self.keepers.get_mut(&name).filter(|keeper| keeper.awaits(job)) else {
            return;
        };
        let failures = keeper.failures();
        let Some(attempt) = keeper.end_attempt() else { return };
        let elapsed = now.saturating_duration_since(attempt.started);
        match attempt.stage {
            Stage::Name { name: host, .. } => match pick(addresses, failures) {
                Some(remote) => self.look_up_source(&name, remote, attempt.started, now, rng),
                None => {
                    let reason = FailureReason::NameUnknown { name: host };
                    self.fail_attempt(&name, reason, elapsed, now, rng);
                }
            },
            Stage::Source { remote, .. } => match addresses.first() {
                Some(local) => self.connect(&name, *local, remote, attempt.started, now, rng),
                None => {
                    let reason = FailureReason::NoRoute { remote };
                    self.fail_attempt(&name, reason, elapsed, now, rng);
                }
            },
            Stage::Connecting(_) => {}
        }
        self.refresh_keeper(&name, now);
    }

    /// Sends the first message.
    fn connect(
        &mut self,
        name: &ConnectionName,
        local: IpAddr,
        remote: IpAddr,
        started: Instant,
        now: Instant,
        rng: &mut dyn Rng,
    ) {
        let Some(keeper) = self.keepers.get_mut(name) else { return };
        let connection = keeper.connection().clone();
        let Some(wanted) = first_wanted(keeper.desired(), &connection) else {
            let reason = FailureReason::NoSuch("child to set up");
            self.fail_attempt(name, reason, Duration::ZERO, now, rng);
            return;
        };
        let may_prefer_udp = keeper.may_prefer_udp();
        let from = keeper.redirected_from();
        let ticket = keeper.take_ticket(now);
        let path = self.first_path(name, &connection, (local, remote), rng);
        if connection.ike == IkeVersion::V1 {
            match self.connect_v1(connection, path, Some(wanted), started, now, rng) {
                Ok(ike) => self.begin_connecting(name, started, ike),
                Err(reason) => self.fail_attempt(name, reason, Duration::ZERO, now, rng),
            }
            return;
        }
        let mut cx = self.context(now, rng);
        let udp = may_prefer_udp;
        let mut resume = |ticket| {
            let (connection, wanted) = (connection.clone(), wanted.clone());
            IkeSa::resume(connection, path, wanted, started, udp, ticket, &mut cx).ok()
        };
        let sa = match ticket.and_then(&mut resume) {
            Some(sa) => Ok(sa),
            None => IkeSa::initiate(connection, path, wanted, started, udp, from, &mut cx),
        };
        match sa {
            Ok(sa) => {
                let ike = self.insert(sa, now);
                if let Some(keeper) = self.keepers.get_mut(name) {
                    keeper.begin(Attempt { started, stage: Stage::Connecting(ike) });
                }
            }
            Err(reason) => self.fail_attempt(name, reason, Duration::ZERO, now, rng),
        }
    }

    fn fail_attempt(
        &mut self,
        name: &ConnectionName,
        reason: FailureReason,
        elapsed: Duration,
        now: Instant,
        rng: &mut dyn Rng,
    ) {
        let probe_failed = |keeper: &mut Keeper| keeper.probe_failed(&self.config, now);
        if self.keepers.get_mut(name).is_some_and(probe_failed) {
            return;
        }
        let failure = Box::new(Failure {
            connection: Some(name.clone()),
            child: None,
            remote: None,
            initiator: true,
            reason,
            elapsed,
            peer_says: None,
        });
        if let Some(keeper) = self.keepers.get_mut(name) {
            keeper.attempt_failed(failure, self.config.retry, now, rng, &mut self.out);
        }
    }
}

/// The child that IKE_AUTH carries: the first one desired, else the first one there is.
fn first_wanted(
    desired: Vec<(ChildName, Option<FlowKey>)>,
    connection: &Connection,
) -> Option<(ChildName, Option<FlowKey>)> {
    let any = || connection.children.first().map(|child| (child.name.clone(), None));
    desired.into_iter().next().or_else(any)
}

/// The configured local address, if there is one of the peer's family.
fn configured_source(connection: &Connection, remote: IpAddr) -> Option<IpAddr> {
    connection.local_addresses.iter().find_map(|host| match host {
        HostSpec::Address(local) if local.is_ipv4() == remote.is_ipv4() => Some(*local),
        HostSpec::Address(_) | HostSpec::Any | HostSpec::Network(_) | HostSpec::Name(_) => None,
    })
}

/// Another address of a name after every failure, the best one first.
fn pick(addresses: &[IpAddr], failures: u32) -> Option<IpAddr> {
    let count = u32::try_from(addresses.len()).ok()?;
    let index = usize::try_from(failures.checked_rem(count)?).ok()?;
    addresses.get(index).copied()
}
