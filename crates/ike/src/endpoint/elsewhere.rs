//! The other endpoints of a host that has several: IKE SAs of theirs with the same peers
//! (RFC 7296 §2.4), and connections that one of them brings up.

use std::time::Instant;

use adit_crypto::Rng;
use adit_db::{ConnectionName, IkeSaId, Unique};

use crate::context::RosterEntry;
use crate::failure::FailureReason;
use crate::keep::{Given, Keeper};
use crate::shard::{Arrival, Tiding, Tidings, Wish};

use super::Endpoint;
use super::notices::{Verdict, have_crossed, judge};

impl Endpoint {
    /// Takes what another endpoint of this host tells.
    pub fn handle_tidings(&mut self, tidings: Tidings, now: Instant, rng: &mut dyn Rng) {
        match tidings.0 {
            Tiding::Up(arrival) => {
                self.roster.insert_elsewhere(arrival.pair, arrival.id);
                self.compare(&arrival, now, rng);
            }
            Tiding::Rekeyed { pair, old, new } => {
                self.roster.remove_elsewhere(pair, old);
                self.roster.insert_elsewhere(pair, new);
            }
            Tiding::Down { pair, id } => self.roster.remove_elsewhere(pair, id),
            Tiding::Goes(id) => {
                self.touch(id, now, rng, |sa, cx| sa.close(FailureReason::Replaced, cx));
            }
            Tiding::TicketsVoid(id) => self.supplant(id, now, rng),
            Tiding::Wish { connection, wish } => self.heed(&connection, wish, now),
            Tiding::Waits { connection, child, request } => {
                self.initiate(&connection, child, request, now, rng);
            }
            Tiding::Wants { connection, child, flow } => {
                if let Some(keeper) = self.keepers.get_mut(&connection) {
                    keeper.want(child, flow);
                    self.pursue(&connection, now, rng);
                }
            }
        }
        self.settle(now, rng);
    }

    /// Of two IKE SAs with the same identities on two endpoints, the endpoint of the older one decides,
    /// when it hears of the newer one: both know each other's, and it must not be decided twice.
    fn compare(&mut self, arrival: &Arrival, now: Instant, rng: &mut dyn Rng) {
        let is_older = |id: IkeSaId, entry: &RosterEntry| {
            (entry.established, id) < (arrival.entry.established, arrival.id)
        };
        let ours = self.roster.of(arrival.pair).filter(|(id, entry)| is_older(*id, entry));
        let ours: Vec<_> = ours.map(|(id, entry)| (id, entry.clone())).collect();
        for (old, entry) in ours {
            let reason = FailureReason::Replaced;
            match judge_apart(arrival, &entry) {
                Verdict::BothStay => {}
                Verdict::OldIsForgotten => {
                    self.touch(old, now, rng, |sa, cx| sa.abandon(reason, cx));
                }
                Verdict::OldGoes => self.touch(old, now, rng, |sa, cx| sa.close(reason, cx)),
                Verdict::NewGoes => self.out.tell_others(|| Tiding::Goes(arrival.id)),
            }
        }
    }

    /// What an operator said to another endpoint about a connection.
    fn heed(&mut self, name: &ConnectionName, wish: Wish, now: Instant) {
        match wish {
            Wish::Hold => self.hold(name),
            Wish::HoldChild(child) => {
                if let Some(keeper) = self.keepers.get_mut(name) {
                    keeper.hold_child(child);
                }
            }
            Wish::Lift => {
                if let Some(keeper) = self.keepers.get_mut(name) {
                    keeper.lift();
                }
            }
        }
        self.refresh_keeper(name, now);
    }

    pub(super) fn tell_wish(&mut self, name: &ConnectionName, wish: impl FnOnce() -> Wish) {
        self.out.tell_others(|| Tiding::Wish { connection: name.clone(), wish: wish() });
    }

    /// Whether a connection is brought up here.
    pub(super) fn is_here(&self, name: &ConnectionName) -> bool {
        self.keepers.get(name).is_some_and(Keeper::is_here)
    }

    /// Brings a connection up from here on, or leaves that to another endpoint: what has shown nothing
    /// yet ends, and commands that wait go there.
    pub(super) fn bring_up(
        &mut self,
        name: &ConnectionName,
        here: bool,
        now: Instant,
        rng: &mut dyn Rng,
    ) {
        let Some(keeper) = self.keepers.get_mut(name) else { return };
        keeper.set_here(here);
        if here {
            return self.pursue(name, now, rng);
        }
        self.leave_attempt(name, now, rng);
        self.give_away(name);
        self.refresh_keeper(name, now);
    }

    /// Leaves what is wanted of a connection to the endpoint that brings it up.
    pub(super) fn give_away(&mut self, name: &ConnectionName) {
        let Some(keeper) = self.keepers.get_mut(name) else { return };
        let Given { waiting, wanted } = keeper.give_away();
        for (request, child) in waiting {
            let connection = name.clone();
            self.out.tell_others(|| Tiding::Waits { connection, child, request });
        }
        for (child, flow) in wanted {
            let connection = name.clone();
            self.out.tell_others(|| Tiding::Wants { connection, child, flow });
        }
    }
}

/// Where the old IKE SA is to be kept, the new one was not refused: both came up at the same time.
fn judge_apart(new: &Arrival, old: &RosterEntry) -> Verdict {
    let is_refused = new.unique == Unique::Keep && !have_crossed(&new.entry, old);
    let verdict = judge(&new.entry, old, new.initial_contact, new.unique);
    if is_refused && verdict == Verdict::OldGoes { Verdict::NewGoes } else { verdict }
}
