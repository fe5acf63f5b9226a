//! Attempts to bring up what should be up: lookups, the first message, children on an IKE SA that
//! is there.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use adit_crypto::Rng;
use adit_db::{ChildName, Connection, ConnectionName, HostSpec, IkeSaId, Pfp};
use adit_wire::ip::FlowKey;

use crate::command::{JobId, Path};
use crate::event::Step;
use crate::failure::{Failure, FailureReason};
use crate::keep::{Attempt, Stage};
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
        }
        self.refresh_keeper(name);
    }

    pub(super) fn refresh_keeper(&mut self, name: &ConnectionName) {
        let at = self.keepers.get(name).and_then(|keeper| keeper.poll_timeout());
        self.timers.set(TimerOwner::Connection(name.clone()), at);
    }

    fn pursue_missing(&mut self, name: &ConnectionName, now: Instant, rng: &mut dyn Rng) {
        let Some(keeper) = self.keepers.get(name) else { return };
        let (there, missing): (Vec<_>, Vec<_>) = keeper
            .desired()
            .into_iter()
            .partition(|(child, flow)| self.has_child(name, child, flow.as_ref()));
        let wants_ike = keeper.wants_ike();
        let blocked = keeper.attempt().is_some() || !keeper.may_try(now);
        let ike = self.established_ike(name);
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
                    self.touch(ike, now, rng, |sa, cx| sa.create_child(child, flow, cx));
                }
                // The next one to try comes with the outcome.
                if let Some(keeper) = self.keepers.get_mut(name) {
                    keeper.satisfied();
                }
            }
            (None, _) => self.begin_attempt(name, now, rng),
        }
    }

    /// Whether a child is there or being negotiated on an IKE SA that is there.
    fn has_child(&self, name: &ConnectionName, child: &ChildName, flow: Option<&FlowKey>) -> bool {
        let config = self.connections.get(name).and_then(|connection| connection.child(child));
        let pfp = config.map_or(Pfp::NONE, |config| config.pfp);
        let wish = Wish { name: child, pfp, flow };
        self.ike_sas_of(name)
            .filter_map(IkeSa::as_established)
            .any(|established| established.has_child(&wish))
    }

    /// Whether a child carries traffic.
    pub(super) fn child_is_up(&self, name: &ConnectionName, child: &ChildName) -> bool {
        self.ike_sas_of(name)
            .filter_map(IkeSa::as_established)
            .flat_map(|established| &established.children)
            .any(|installed| installed.name == *child && installed.is_current())
    }

    /// The newest IKE SA on which a child can be asked for.
    pub(super) fn established_ike(&self, name: &ConnectionName) -> Option<IkeSaId> {
        let usable = |sa: &&IkeSa| sa.as_established().is_some();
        self.ike_sas_of(name).rfind(usable).map(|sa| sa.core.id)
    }

    // ---- Attempts ----

    fn begin_attempt(&mut self, name: &ConnectionName, now: Instant, rng: &mut dyn Rng) {
        let Some(keeper) = self.keepers.get_mut(name) else { return };
        match keeper.host().cloned() {
            None => self.fail_attempt(name, FailureReason::NoAddress, Duration::ZERO, now, rng),
            Some(HostSpec::Address(remote)) => self.look_up_source(name, remote, now, now, rng),
            Some(HostSpec::Name(host)) => {
                let job = self.out.next_job();
                let stage = Stage::Name { job, name: host.clone() };
                keeper.begin(Attempt { started: now, stage });
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
        let Some(name) = self.connection_of(job) else { return };
        let Some(keeper) = self.keepers.get_mut(&name) else { return };
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
        self.refresh_keeper(&name);
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
        let Some(keeper) = self.keepers.get(name) else { return };
        let connection = keeper.connection().clone();
        let Some(wanted) = first_wanted(keeper.desired(), &connection) else {
            let reason = FailureReason::NoSuch("child to set up");
            self.fail_attempt(name, reason, Duration::ZERO, now, rng);
            return;
        };
        let ports = connection.ports;
        let local_port = if ports.local == 0 { self.config.ike_port } else { ports.local };
        let path = Path {
            local: SocketAddr::new(local, local_port),
            remote: SocketAddr::new(remote, ports.remote),
        };
        let mut cx = self.context(now, rng);
        match IkeSa::initiate(connection, path, wanted, started, &mut cx) {
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
        let failure = Box::new(Failure {
            connection: Some(name.clone()),
            child: None,
            remote: None,
            initiator: true,
            reason,
            elapsed,
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
