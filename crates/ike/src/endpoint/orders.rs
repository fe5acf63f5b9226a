//! Commands of the program.

use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::{Duration, Instant};

use adit_crypto::Rng;
use adit_db::{ChildName, ChildSaId, Connection, ConnectionName, IkeSaId, Keep};

use crate::alike::{negotiates_alike, protects_alike};
use crate::command::{Command, RequestId};
use crate::failure::{Failure, FailureReason};
use crate::keep::{Goal, Keeper, Stage};
use crate::output::Output;
use crate::shard::Wish;
use crate::v2::ike_sa::IkeSa;
use crate::v2::{tcp_encap, udp_encap};

use super::Endpoint;

/// A command that is done when something is gone.
#[derive(Debug)]
pub(super) struct Departure {
    request: RequestId,
    pub(super) target: Target,
}

/// What is to go.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Target {
    Connection(ConnectionName),
    Ike(IkeSaId),
    Child(ChildSaId),
}

/// Commands that wait for something to go.
const DEPARTURES_MAX: usize = 1_024;

impl Endpoint {
    pub(super) fn order(&mut self, command: Command, now: Instant, rng: &mut dyn Rng) {
        match command {
            Command::Load(connection) => self.load(connection, true, now, rng),
            Command::LoadElsewhere(connection) => self.load(connection, false, now, rng),
            Command::BringUp { connection, here } => self.bring_up(&connection, here, now, rng),
            Command::Unload(name) => self.unload(&name, now, rng),
            Command::Initiate { connection, child, request } => {
                self.initiate(&connection, child, request, now, rng);
            }
            Command::Down { connection, request } => self.down(&connection, request, now, rng),
            Command::TerminateIke { id, request } => self.terminate_ike(id, request, now, rng),
            Command::TerminateChild { id, request } => {
                self.terminate_child(id, request, now, rng);
            }
            Command::RekeyIke(id) | Command::Reauthenticate(id) if self.v1.contains(id) => {
                self.renew_v1(id, now, rng);
            }
            Command::RekeyIke(id) => self.touch(id, now, rng, |sa, cx| sa.rekey(cx)),
            Command::Reauthenticate(id) => self.reauthenticate(id, now, rng),
            Command::UseTicketKeys { keys, now_s } => self.use_ticket_keys(keys, now, now_s),
            Command::RedirectIke { id, to } => {
                self.touch(id, now, rng, |sa, cx| sa.redirect(to, cx));
            }
            Command::RekeyChild(id) => match self.ike_of(id) {
                Some(ike) if self.v1.contains(ike) => {
                    self.touch_v1(ike, now, rng, |sa, cx| sa.rekey_child(id, cx));
                }
                Some(ike) => self.touch(ike, now, rng, |sa, cx| sa.rekey_child(id, cx)),
                None => {}
            },
            Command::Shutdown => self.shut_down(now, rng),
        }
    }

    // ---- Configuration ----

    fn load(&mut self, connection: Arc<Connection>, here: bool, now: Instant, rng: &mut dyn Rng) {
        let name = connection.name.clone();
        let before = self.connections.insert(Arc::clone(&connection));
        for child in &connection.children {
            self.out.reqid(&name, &child.name);
        }
        let keeper = match self.keepers.entry(name.clone()) {
            Entry::Occupied(known) => {
                let keeper = known.into_mut();
                keeper.replace(Arc::clone(&connection));
                keeper
            }
            Entry::Vacant(free) => free.insert(Keeper::new(Arc::clone(&connection))),
        };
        keeper.set_here(here);
        if let Some(before) = before {
            self.reconfigure(&before, &connection, now, rng);
        }
        self.bring_up(&name, here, now, rng);
    }

    /// Touches only what a new configuration changes.
    fn reconfigure(
        &mut self,
        before: &Connection,
        after: &Arc<Connection>,
        now: Instant,
        rng: &mut dyn Rng,
    ) {
        let keeps_ike = negotiates_alike(before, after);
        for id in self.sas_of(&after.name) {
            let of_v1 = self.v1.get(id).is_some_and(|sa| sa.is_established());
            let stays =
                keeps_ike && (of_v1 || self.sas.get(id).is_some_and(|sa| may_stay(sa, after)));
            if !stays {
                self.close_any(id, FailureReason::Reconfigured, now, rng);
                continue;
            }
            if of_v1 {
                self.touch_v1(id, now, rng, |sa, _| sa.reconfigure(Arc::clone(after)));
            } else {
                self.touch(id, now, rng, |sa, _| sa.reconfigure(Arc::clone(after)));
            }
            for child in self.changed_children(id, before, after) {
                self.delete_child_of(id, child, FailureReason::Reconfigured, now, rng);
            }
        }
        // A handshake or lookup for the old configuration begins anew.
        if let Some(keeper) = self.keepers.get_mut(&after.name) {
            keeper.end_attempt();
        }
    }

    fn changed_children(
        &self,
        ike: IkeSaId,
        before: &Connection,
        after: &Connection,
    ) -> Vec<ChildSaId> {
        let changed = |name: &ChildName| match (before.child(name), after.child(name)) {
            (Some(before), Some(after)) => !protects_alike(before, after),
            _ => true,
        };
        if let Some(sa) = self.v1.get(ike) {
            let changed = sa.children.iter().filter(|child| changed(&child.name));
            return changed.map(|child| child.id).collect();
        }
        let Some(established) = self.sas.get(ike).and_then(|sa| sa.as_established()) else {
            return Vec::new();
        };
        established
            .children
            .iter()
            .filter(|child| changed(&child.name))
            .map(|child| child.id)
            .collect()
    }

    fn unload(&mut self, name: &ConnectionName, now: Instant, rng: &mut dyn Rng) {
        self.connections.remove(name);
        if let Some(mut keeper) = self.keepers.remove(name) {
            keeper.abandon(&failure(name, FailureReason::Reconfigured), &mut self.out);
            self.timers.clear(keeper.timer);
        }
        self.close_all(name, &FailureReason::Reconfigured, now, rng);
    }

    fn close_all(
        &mut self,
        name: &ConnectionName,
        reason: &FailureReason,
        now: Instant,
        rng: &mut dyn Rng,
    ) {
        for id in self.sas_of(name) {
            self.close_any(id, reason.clone(), now, rng);
        }
    }

    // ---- Up ----

    pub(super) fn initiate(
        &mut self,
        name: &ConnectionName,
        child: Option<ChildName>,
        request: RequestId,
        now: Instant,
        rng: &mut dyn Rng,
    ) {
        match self.accept_initiate(name, child, request) {
            Ok(()) => self.pursue(name, now, rng),
            Err(reason) => self.finish(request, Err(Box::new(failure(name, reason)))),
        }
    }

    fn accept_initiate(
        &mut self,
        name: &ConnectionName,
        child: Option<ChildName>,
        request: RequestId,
    ) -> Result<(), FailureReason> {
        if self.shutting_down {
            return Err(FailureReason::ShuttingDown);
        }
        let keeper = self.keepers.get(name).ok_or(FailureReason::NoSuch("connection"))?;
        let children = to_set_up(keeper.connection(), child)?;
        let needs_packet = |child: &ChildName| {
            keeper.connection().child(child).is_some_and(|child| !child.pfp.is_none())
        };
        if children.iter().any(needs_packet) {
            return Err(FailureReason::NeedsPacket);
        }
        let goal = children.first().cloned();
        let missing: Vec<ChildName> =
            children.into_iter().filter(|child| !self.child_is_up(name, child)).collect();
        let is_up = match &goal {
            Some(goal) => !missing.contains(goal),
            None => self.established_ike(name).is_some(),
        };
        let keeper = self.keepers.get_mut(name).ok_or(FailureReason::NoSuch("connection"))?;
        keeper.lift();
        self.tell_wish(name, || Wish::Lift);
        let keeper = self.keepers.get_mut(name).ok_or(FailureReason::NoSuch("connection"))?;
        missing.into_iter().for_each(|child| keeper.want(child, None));
        if is_up {
            self.finish(request, Ok(()));
            return Ok(());
        }
        keeper.wait(request, goal.map_or(Goal::Ike, Goal::Child))
    }

    // ---- Down ----

    fn down(&mut self, name: &ConnectionName, request: RequestId, now: Instant, rng: &mut dyn Rng) {
        if !self.keepers.contains_key(name) {
            let reason = FailureReason::NoSuch("connection");
            return self.finish(request, Err(Box::new(failure(name, reason))));
        }
        self.hold(name);
        self.depart(request, Target::Connection(name.clone()));
        self.close_all(name, &FailureReason::ByCommand, now, rng);
        self.refresh_keeper(name, now);
    }

    /// Ends all effort for a connection, and with it what waits for it.
    pub(super) fn hold(&mut self, name: &ConnectionName) {
        let Some(keeper) = self.keepers.get_mut(name) else { return };
        keeper.hold();
        keeper.abandon(&failure(name, FailureReason::ByCommand), &mut self.out);
        let looking_up = matches!(
            keeper.attempt().map(|attempt| &attempt.stage),
            Some(Stage::Name { .. } | Stage::Source { .. })
        );
        if looking_up {
            keeper.end_attempt();
        }
    }

    fn terminate_ike(&mut self, id: IkeSaId, request: RequestId, now: Instant, rng: &mut dyn Rng) {
        let of_v2 = self.sas.get(id).filter(|sa| !sa.is_closed());
        let name = match (of_v2, self.v1.get(id)) {
            (Some(sa), _) => sa.core.connection_name().cloned(),
            (None, Some(sa)) => Some(sa.core.connection_name().clone()),
            (None, None) => return self.finish(request, Err(Box::new(no_such("IKE SA")))),
        };
        if let Some(name) = name {
            self.hold(&name);
            self.tell_wish(&name, || Wish::Hold);
            self.refresh_keeper(&name, now);
        }
        self.depart(request, Target::Ike(id));
        self.close_any(id, FailureReason::ByCommand, now, rng);
    }

    fn terminate_child(
        &mut self,
        id: ChildSaId,
        request: RequestId,
        now: Instant,
        rng: &mut dyn Rng,
    ) {
        let Some(ike) = self.ike_of(id) else {
            return self.finish(request, Err(Box::new(no_such("child SA"))));
        };
        let of_v1 = self
            .v1
            .get(ike)
            .and_then(|sa| Some((sa.core.connection_name().clone(), sa.child(id)?.name.clone())));
        let held = of_v1.or_else(|| {
            let sa = self.sas.get(ike)?;
            let child = sa.as_established()?.child(id)?.name.clone();
            Some((sa.core.connection_name()?.clone(), child))
        });
        if let Some((name, child)) = held
            && let Some(keeper) = self.keepers.get_mut(&name)
        {
            keeper.hold_child(child.clone());
            self.tell_wish(&name, || Wish::HoldChild(child));
        }
        self.depart(request, Target::Child(id));
        self.delete_child_of(ike, id, FailureReason::ByCommand, now, rng);
    }

    fn depart(&mut self, request: RequestId, target: Target) {
        if self.departures.len() >= DEPARTURES_MAX {
            let reason = FailureReason::TooMany("waiting commands");
            return self.finish(request, Err(Box::new(reason_alone(reason))));
        }
        self.departures.push(Departure { request, target });
    }

    /// Ends the commands whose target is gone.
    pub(super) fn finish_departures(&mut self) {
        let mut departures = std::mem::take(&mut self.departures);
        departures.retain(|departure| {
            let there = match &departure.target {
                Target::Connection(name) => !self.sas_of(name).is_empty(),
                Target::Ike(id) => {
                    self.v1.contains(*id) || self.sas.get(*id).is_some_and(|sa| !sa.is_closed())
                }
                Target::Child(id) => self.ike_of(*id).is_some(),
            };
            if !there {
                self.finish(departure.request, Ok(()));
            }
            there
        });
        self.departures = departures;
    }

    fn shut_down(&mut self, now: Instant, rng: &mut dyn Rng) {
        self.shutting_down = true;
        #[expect(clippy::disallowed_methods, reason = "sorted before use")]
        let mut names: Vec<ConnectionName> = self.keepers.keys().cloned().collect();
        names.sort_unstable();
        for name in names {
            self.hold(&name);
            self.refresh_keeper(&name, now);
        }
        let of_v1 = self.v1.iter().map(|sa| sa.core.id);
        let ids: Vec<IkeSaId> = self.sas.iter().map(|sa| sa.core.id).chain(of_v1).collect();
        for id in ids {
            self.close_any(id, FailureReason::ShuttingDown, now, rng);
        }
    }

    fn finish(&mut self, request: RequestId, result: Result<(), Box<Failure>>) {
        self.out.push(Output::Done { request, result });
    }
}

/// What a command to initiate is about.
fn to_set_up(
    connection: &Connection,
    child: Option<ChildName>,
) -> Result<Vec<ChildName>, FailureReason> {
    if let Some(child) = child {
        let known = connection.child(&child).is_some();
        return if known { Ok(vec![child]) } else { Err(FailureReason::NoSuch("child")) };
    }
    let kept = connection.children.iter().filter(|child| child.keep == Keep::Up);
    let mut children: Vec<ChildName> = kept.map(|child| child.name.clone()).collect();
    // An IKE SA that begins without a child has one when somebody wants it (RFC 6023 §2).
    if children.is_empty() && !connection.childless.is_wanted() {
        children.extend(connection.children.first().map(|child| child.name.clone()));
    }
    Ok(children)
}

/// Whether an IKE SA may go on with a new configuration that negotiates alike: it is established, and
/// its ESP is not in UDP for a preference that is gone, nor in TCP to a port that is.
fn may_stay(sa: &IkeSa, after: &Connection) -> bool {
    let prefers = udp_encap::is_preferred(after) || !udp_encap::is_by_preference(&sa.core);
    sa.as_established().is_some() && prefers && tcp_encap::is_allowed(&sa.core, after)
}

fn failure(name: &ConnectionName, reason: FailureReason) -> Failure {
    Failure { connection: Some(name.clone()), ..reason_alone(reason) }
}

fn no_such(what: &'static str) -> Failure {
    reason_alone(FailureReason::NoSuch(what))
}

fn reason_alone(reason: FailureReason) -> Failure {
    Failure {
        connection: None,
        child: None,
        remote: None,
        initiator: true,
        reason,
        elapsed: Duration::ZERO,
        peer_says: None,
    }
}
