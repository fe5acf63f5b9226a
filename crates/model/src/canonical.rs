//! States that differ in nothing but names are one state: SPIs are numbered in the order in which they
//! stand in it, message ids from the lowest that matters, and what nobody can ask for again goes.

use std::collections::BTreeMap;

use crate::parts::{Body, IkeId, Own, Peer, Phase, Request, Response, Side, Spi, Stage, Task};
use crate::world::State;

impl State {
    /// Gives everything the names that it has in all states that are like this one.
    pub(crate) fn canonicalise(&mut self) {
        self.forget_old_copies();
        self.forget_closed();
        self.shift_message_ids();
        self.rename();
    }

    /// Copies that are below the window and will be dropped whenever they arrive.
    fn forget_old_copies(&mut self) {
        let peers = &self.peers;
        let ike = |side, id| {
            let mut all = peers.iter().filter(|peer| peer.side == side).flat_map(|peer| &peer.ikes);
            all.find(|ike| ike.id == id)
        };
        self.network.retain(|one| {
            let message = &one.message;
            let Some(ike) = ike(message.from.other(), message.ike) else { return true };
            let lowest = match message.body {
                Body::Request(_) => ike.expected.saturating_sub(1),
                Body::Response { .. } => ike.next.saturating_sub(1),
            };
            !one.late || message.id >= lowest
        });
    }

    /// IKE SAs that are over and that no message can reach any more.
    fn forget_closed(&mut self) {
        for side in Side::BOTH {
            let asks = |id: IkeId| {
                let peer = self.peer(side.other());
                peer.ikes.iter().any(|ike| ike.id == id && ike.in_flight.is_some())
            };
            let travels = |id: IkeId| self.network.iter().any(|one| one.message.ike == id);
            let closed = self.peer(side).ikes.iter().filter(|ike| ike.stage == Stage::Closed);
            let gone: Vec<IkeId> =
                closed.map(|ike| ike.id).filter(|id| !asks(*id) && !travels(*id)).collect();
            self.peer_mut(side).ikes.retain(|ike| !gone.contains(&ike.id));
        }
    }

    /// Counts from the lowest message id that is known, for each IKE SA and each requester.
    fn shift_message_ids(&mut self) {
        let mut ids: Vec<IkeId> =
            self.peers.iter().flat_map(|peer| &peer.ikes).map(|ike| ike.id).collect();
        ids.extend(self.network.iter().map(|one| one.message.ike));
        ids.sort_unstable();
        ids.dedup();
        for (id, asker) in ids.iter().flat_map(|id| Side::BOTH.map(|side| (*id, side))) {
            self.forget_answer(id, asker.other());
            // Who has not made it yet will count from 0.
            if Side::BOTH.iter().any(|side| self.ike(*side, id).is_none()) {
                continue;
            }
            let base = self.ids_of(id, asker).into_iter().map(|number| *number).min();
            let base = base.unwrap_or(0);
            self.ids_of(id, asker).into_iter().for_each(|number| *number -= base);
        }
    }

    /// An answer is kept as long as its request may come again.
    fn forget_answer(&mut self, id: IkeId, answerer: Side) {
        let asker = answerer.other();
        let last = self.ike(answerer, id).map(|ike| ike.expected.wrapping_sub(1));
        let is_asked = self
            .ike(asker, id)
            .is_some_and(|ike| ike.in_flight.is_some() && Some(ike.next.wrapping_sub(1)) == last);
        let travels = self.network.iter().any(|one| {
            let message = &one.message;
            let is_request = matches!(message.body, Body::Request(_));
            is_request && (message.ike, message.from, Some(message.id)) == (id, asker, last)
        });
        if !is_asked && !travels {
            let ikes = self.peer_mut(answerer).ikes.iter_mut();
            ikes.filter(|ike| ike.id == id).for_each(|ike| ike.last = None);
        }
    }

    /// All message ids of the requests of one side on one IKE SA.
    fn ids_of(&mut self, id: IkeId, asker: Side) -> Vec<&mut u8> {
        let mut numbers = Vec::new();
        for peer in &mut self.peers {
            let is_asker = peer.side == asker;
            let ikes = peer.ikes.iter_mut().filter(|ike| ike.id == id);
            numbers
                .extend(ikes.map(|ike| if is_asker { &mut ike.next } else { &mut ike.expected }));
        }
        for one in &mut self.network {
            let is_request = matches!(one.message.body, Body::Request(_));
            let is_of_asker = is_request == (one.message.from == asker);
            if one.message.ike == id && is_of_asker {
                numbers.push(&mut one.message.id);
            }
        }
        numbers
    }

    /// Numbers SPIs as they come up.
    fn rename(&mut self) {
        let mut spis = BTreeMap::new();
        let mut ikes = BTreeMap::new();
        self.each_name(&mut |name| {
            let (names, number) = match name {
                Named::Spi(Spi(number)) => (&mut spis, number),
                Named::Ike(IkeId(number)) => (&mut ikes, number),
            };
            let next = u8::try_from(names.len()).unwrap_or(u8::MAX);
            *number = *names.entry(*number).or_insert(next);
        });
        let count = |names: &BTreeMap<u8, u8>| u8::try_from(names.len()).unwrap_or(u8::MAX);
        self.fresh.spi = count(&spis);
        self.fresh.ike = count(&ikes);
    }

    fn each_name(&mut self, visit: &mut dyn FnMut(Named<'_>)) {
        self.peers.iter_mut().for_each(|peer| each_name_of_peer(peer, visit));
        for one in &mut self.network {
            visit(Named::Ike(&mut one.message.ike));
            each_name_of_body(&mut one.message.body, visit);
        }
    }
}

enum Named<'a> {
    Spi(&'a mut Spi),
    Ike(&'a mut IkeId),
}

fn each_name_of_peer(peer: &mut Peer, visit: &mut dyn FnMut(Named<'_>)) {
    for ike in &mut peer.ikes {
        visit(Named::Ike(&mut ike.id));
        for child in &mut ike.children {
            visit(Named::Spi(&mut child.ours));
            visit(Named::Spi(&mut child.theirs));
            if let Phase::Rekeyed { by } = &mut child.phase {
                visit(Named::Spi(by));
            }
        }
        if let Some(request) = &mut ike.in_flight {
            each_name_of_request(request, visit);
        }
        match &mut ike.own {
            Some(Own::Child { rekeys, spi, rival, deleted, .. }) => {
                visit(Named::Spi(spi));
                rekeys.iter_mut().chain(deleted).for_each(|spi| visit(Named::Spi(spi)));
                rival.iter_mut().for_each(|rival| visit(Named::Spi(&mut rival.made)));
            }
            Some(Own::RekeyIke { new, rival, .. }) => {
                visit(Named::Ike(new));
                rival.iter_mut().for_each(|rival| visit(Named::Ike(&mut rival.made)));
            }
            Some(Own::Delete(tasks)) => each_name_of_tasks(tasks, visit),
            None => {}
        }
        each_name_of_tasks(&mut ike.tasks, visit);
        each_name_of_tasks(&mut ike.delayed, visit);
        if let Some(body) = &mut ike.last {
            each_name_of_body(body, visit);
        }
    }
}

fn each_name_of_tasks(tasks: &mut [Task], visit: &mut dyn FnMut(Named<'_>)) {
    for task in tasks {
        match task {
            Task::RekeyChild(spi) | Task::DeleteChild(spi) | Task::DeleteSpi(spi) => {
                visit(Named::Spi(spi));
            }
            Task::Create(_) | Task::RekeyIke => {}
        }
    }
}

fn each_name_of_request(request: &mut Request, visit: &mut dyn FnMut(Named<'_>)) {
    match request {
        Request::Child { rekeys, spi, .. } => {
            visit(Named::Spi(spi));
            rekeys.iter_mut().for_each(|spi| visit(Named::Spi(spi)));
        }
        Request::RekeyIke { new, .. } => visit(Named::Ike(new)),
        Request::Delete(spis) => spis.iter_mut().for_each(|spi| visit(Named::Spi(spi))),
        Request::DeleteIke => {}
    }
}

fn each_name_of_body(body: &mut Body, visit: &mut dyn FnMut(Named<'_>)) {
    match body {
        Body::Request(request) => each_name_of_request(request, visit),
        Body::Response { what: Response::Child(spi), .. } => visit(Named::Spi(spi)),
        Body::Response { .. } => {}
    }
}
