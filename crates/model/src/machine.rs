//! One peer, as `adit-ike` has it: what orders, messages and timers make of its IKE SAs.
//!
//! A window of one in each direction (RFC 7296 §2.3): what a peer wants is a [`Task`] in a queue, what
//! it has sent is [`Own`]. Numbers that are drawn at random in life are counted here; which of two
//! crossing exchanges has the lowest nonce is [`Rank`].

use crate::parts::{
    Body, Child, Fresh, Ike, IkeId, Message, Name, Own, Peer, Phase, Rank, Request, Response,
    Rival, Spi, Stage, Task,
};

/// One input of a peer, and what comes of it.
pub struct Step<'a> {
    /// The peer.
    pub peer: &'a mut Peer,
    /// Where numbers come from.
    pub fresh: &'a mut Fresh,
    /// The nonces of what is begun.
    pub lucky: bool,
    /// Whether a child that the peer has not confirmed is old enough to be known all the same.
    pub aged: bool,
    /// What it sends, in order.
    pub sent: Vec<Message>,
}

/// What a message or a timer makes of an IKE SA.
enum Next {
    Stay,
    /// It is deleted.
    Delete,
    /// It is over.
    End,
    /// Another takes its place. A redundant one that we made is deleted afterwards.
    Replaced {
        new: IkeId,
        old: Farewell,
        redundant: Option<IkeId>,
    },
}

impl Next {
    fn replaced(new: IkeId, old: Farewell) -> Self {
        Self::Replaced { new, old, redundant: None }
    }
}

/// Who tidies up behind a rekeying.
enum Farewell {
    WeDelete,
    PeerDeletes,
    Gone,
}

impl Step<'_> {
    fn rank(&self) -> Rank {
        Rank { lucky: self.lucky, by: self.peer.side }
    }

    fn ike(&mut self, id: IkeId) -> Option<&mut Ike> {
        self.peer.ikes.iter_mut().find(|ike| ike.id == id)
    }

    /// The newest IKE SA that children can be asked for on.
    fn usable(&self) -> Option<IkeId> {
        self.peer.ikes.iter().rev().find(|ike| ike.is_usable()).map(|ike| ike.id)
    }

    // ---- Orders ----

    /// Somebody wants a child.
    pub fn create(&mut self, name: Name) {
        self.peer.waits = false;
        let mut usable = self.peer.ikes.iter().filter(|ike| ike.is_usable());
        if !usable.any(|ike| ike.has_current(name)) {
            self.want(name, true);
        }
        self.pursue();
    }

    /// Somebody wants other keys for a child.
    pub fn rekey_child(&mut self, id: IkeId, ours: Spi) {
        let Some(ike) = self.ike(id) else { return };
        if let Some(child) = ike.child(ours).filter(|child| child.phase == Phase::Installed) {
            child.phase = Phase::Rekeying;
            ike.queue(Task::RekeyChild(ours));
        }
        self.pump(id);
    }

    /// Somebody wants other keys for the IKE SA.
    pub fn rekey_ike(&mut self, id: IkeId) {
        if let Some(ike) = self.ike(id) {
            ike.queue(Task::RekeyIke);
        }
        self.pump(id);
    }

    /// Somebody wants a child to end.
    pub fn delete_child(&mut self, id: IkeId, ours: Spi) {
        let Some(ike) = self.ike(id) else { return };
        let name = ike.child(ours).map(|child| child.name);
        end_child(ike, ours);
        if let Some(name) = name {
            self.want(name, false);
        }
        self.pump(id);
    }

    /// Somebody wants the IKE SA to end.
    pub fn delete_ike(&mut self, id: IkeId) {
        self.peer.wants = [false; 2];
        self.peer.waits = false;
        if let Some(ike) = self.ike(id) {
            ike.tasks.clear();
            ike.delayed.clear();
            ike.closing = true;
        }
        self.pump(id);
    }

    fn want(&mut self, Name(name): Name, wanted: bool) {
        if let Some(want) = self.peer.wants.get_mut(usize::from(name)) {
            *want = wanted;
        }
    }

    /// A child is there.
    fn up(&mut self, name: Name) {
        self.want(name, false);
        self.peer.waits = false;
        self.pursue();
    }

    /// A child went that was to stay.
    fn lost(&mut self) {
        self.peer.waits = true;
        self.pursue();
    }

    /// Asks for what is wanted and not on its way.
    fn pursue(&mut self) {
        let usable = || self.peer.ikes.iter().filter(|ike| ike.is_usable());
        let names = [Name(0), Name(1)].into_iter().zip(self.peer.wants);
        let missing: Vec<Name> = names
            .filter(|(name, wanted)| *wanted && !usable().any(|ike| ike.has_child(*name)))
            .map(|(name, _)| name)
            .collect();
        if missing.is_empty() {
            self.peer.waits = false;
            return;
        }
        if self.peer.waits {
            return;
        }
        let Some(id) = self.usable() else {
            // It would open another IKE SA, which is not part of the model.
            self.peer.wants = [false; 2];
            return;
        };
        for name in missing {
            if let Some(ike) = self.ike(id) {
                ike.queue(Task::Create(name));
            }
            self.pump(id);
        }
    }

    // ---- The window ----

    /// Begins what waits, as long as the window is free.
    fn pump(&mut self, id: IkeId) {
        loop {
            let Some(ike) = self.ike(id) else { return };
            if ike.stage != Stage::Established || ike.in_flight.is_some() {
                return;
            }
            if std::mem::take(&mut ike.closing) {
                return self.apply(id, Next::Delete);
            }
            if ike.tasks.is_empty() {
                return;
            }
            let task = ike.tasks.remove(0);
            self.start(id, task);
        }
    }

    fn start(&mut self, id: IkeId, task: Task) {
        let rank = self.rank();
        let aged = self.aged;
        match task {
            Task::Create(name) => {
                if self.ike(id).is_some_and(|ike| !ike.has_current(name)) {
                    let spi = self.fresh.spi();
                    self.ask_for_child(id, name, None, spi, rank);
                }
            }
            Task::RekeyChild(ours) => {
                let Some(ike) = self.ike(id) else { return };
                let Some(child) = ike.child(ours).filter(|child| child.is_current()) else {
                    return;
                };
                child.phase = Phase::Rekeying;
                let (name, is_known) = (child.name, child.confirmed || aged);
                if !is_known {
                    ike.delayed.push(task);
                    return;
                }
                let spi = self.fresh.spi();
                self.ask_for_child(id, name, Some(ours), spi, rank);
            }
            Task::RekeyIke => {
                let new = self.fresh.ike();
                let own = Own::RekeyIke { new, rank, rival: None };
                self.request(id, Request::RekeyIke { new, rank }, Some(own));
            }
            Task::DeleteChild(_) | Task::DeleteSpi(_) => self.start_delete(id, task),
        }
    }

    fn ask_for_child(&mut self, id: IkeId, name: Name, rekeys: Option<Spi>, spi: Spi, rank: Rank) {
        let own = Own::Child { name, rekeys, spi, rank, rival: None, deleted: Vec::new() };
        self.request(id, Request::Child { name, rekeys, spi, rank }, Some(own));
    }

    /// One request deletes all that waits to be deleted.
    fn start_delete(&mut self, id: IkeId, task: Task) {
        let Some(ike) = self.ike(id) else { return };
        let is_delete = |task: &Task| matches!(task, Task::DeleteChild(_) | Task::DeleteSpi(_));
        let mut tasks = vec![task];
        tasks.extend(ike.tasks.iter().copied().filter(is_delete));
        ike.tasks.retain(|task| !is_delete(task));
        tasks.retain(|task| !matches!(task, Task::DeleteChild(ours) if !ike.has(*ours)));
        let spi = |task: &Task| match task {
            Task::DeleteChild(spi) | Task::DeleteSpi(spi) => Some(*spi),
            Task::Create(_) | Task::RekeyChild(_) | Task::RekeyIke => None,
        };
        let spis: Vec<Spi> = tasks.iter().filter_map(spi).collect();
        if !spis.is_empty() {
            self.request(id, Request::Delete(spis), Some(Own::Delete(tasks)));
        }
    }

    fn request(&mut self, id: IkeId, request: Request, own: Option<Own>) {
        let from = self.peer.side;
        let Some(ike) = self.ike(id) else { return };
        let message = Message { from, ike: id, id: ike.next, body: Body::Request(request.clone()) };
        ike.next = ike.next.wrapping_add(1);
        ike.in_flight = Some(request);
        ike.own = own;
        self.sent.push(message);
    }

    fn respond(&mut self, id: IkeId, create: bool, what: Response) {
        let from = self.peer.side;
        let Some(ike) = self.ike(id) else { return };
        let body = Body::Response { create, what };
        let message = Message { from, ike: id, id: ike.expected, body: body.clone() };
        ike.expected = ike.expected.wrapping_add(1);
        ike.last = Some(body);
        self.sent.push(message);
    }

    // ---- Messages ----

    /// Takes a message.
    pub fn receive(&mut self, message: &Message) {
        let from = self.peer.side;
        let Some(ike) = self.ike(message.ike) else { return };
        match &message.body {
            Body::Request(request) => {
                if message.id.wrapping_add(1) == ike.expected
                    && let Some(body) = ike.last.clone()
                {
                    let repeated = Message { from, ike: message.ike, id: message.id, body };
                    self.sent.push(repeated);
                } else if message.id == ike.expected && ike.stage != Stage::Closed {
                    let next = self.answer(message.ike, request);
                    self.apply(message.ike, next);
                    self.pump(message.ike);
                }
            }
            Body::Response { what, .. } => {
                if ike.in_flight.is_some() && message.id.wrapping_add(1) == ike.next {
                    let next = self.answered(message.ike, *what);
                    self.apply(message.ike, next);
                    self.pump(message.ike);
                }
            }
        }
    }

    /// A request that is expected.
    fn answer(&mut self, id: IkeId, request: &Request) -> Next {
        let Some(ike) = self.ike(id) else { return Next::Stay };
        if ike.stage != Stage::Established {
            let is_delete = *request == Request::DeleteIke;
            let what = if is_delete { Response::Deleted } else { Response::Busy };
            self.respond(id, request.is_create(), what);
            return if is_delete { Next::End } else { Next::Stay };
        }
        ike.children.iter_mut().for_each(|child| child.confirmed = true);
        match request {
            Request::Child { name, rekeys, spi, rank } => {
                self.answer_child(id, *name, *rekeys, *spi, *rank);
                Next::Stay
            }
            Request::RekeyIke { new, rank } => self.answer_rekey_ike(id, *new, *rank),
            Request::Delete(spis) => {
                self.answer_delete(id, spis);
                Next::Stay
            }
            Request::DeleteIke => {
                let rival = match &mut ike.own {
                    Some(Own::RekeyIke { rival, .. }) => rival.take(),
                    Some(Own::Child { .. } | Own::Delete(_)) | None => None,
                };
                self.respond(id, false, Response::Deleted);
                match rival {
                    Some(rival) => Next::replaced(rival.made, Farewell::Gone),
                    None => Next::End,
                }
            }
        }
    }

    /// Which child the peer wants to rekey, or why not.
    fn find(ike: &Ike, theirs: Spi) -> Result<Spi, Response> {
        let unknown = match ike.own {
            Some(Own::Child { .. }) => Response::Busy,
            Some(Own::RekeyIke { .. } | Own::Delete(_)) | None => Response::NotFound,
        };
        let child = ike.children.iter().find(|child| child.theirs == theirs).ok_or(unknown)?;
        match child.phase {
            Phase::Installed | Phase::Rekeying => Ok(child.ours),
            Phase::Rekeyed { .. } | Phase::Deleting => Err(Response::Busy),
        }
    }

    fn answer_child(&mut self, id: IkeId, name: Name, rekeys: Option<Spi>, spi: Spi, rank: Rank) {
        let Some(ike) = self.ike(id) else { return };
        if ike.is_rekeying() || ike.closing {
            return self.respond(id, true, Response::Busy);
        }
        let old = match rekeys.map(|theirs| Self::find(ike, theirs)) {
            Some(Err(refusal)) => return self.respond(id, true, refusal),
            Some(Ok(old)) => Some(old),
            None => None,
        };
        let crosses = match &ike.own {
            Some(Own::Child { rekeys, .. }) if old.is_some() => *rekeys == old,
            Some(Own::Child { name: asked, rekeys, .. }) => rekeys.is_none() && *asked == name,
            Some(Own::RekeyIke { .. } | Own::Delete(_)) | None => false,
        };
        let ours = self.fresh.spi();
        self.respond(id, true, Response::Child(ours));
        let Some(ike) = self.ike(id) else { return };
        let phase = Phase::Installed;
        let child = Child { name, ours, theirs: spi, phase, confirmed: false, ended: false };
        ike.children.push(child);
        if crosses {
            if let Some(Own::Child { rival, .. }) = &mut ike.own {
                *rival = Some(Rival { rank, made: ours });
            }
            return;
        }
        match old {
            None => self.up(name),
            Some(old) => replaced_by_peer(ike, old, ours),
        }
    }

    fn answer_rekey_ike(&mut self, id: IkeId, new: IkeId, rank: Rank) -> Next {
        let Some(ike) = self.ike(id) else { return Next::Stay };
        if matches!(ike.own, Some(Own::Child { .. } | Own::Delete(_))) || ike.closing {
            self.respond(id, true, Response::Busy);
            return Next::Stay;
        }
        self.respond(id, true, Response::RekeyIke);
        match self.ike(id).map(|ike| &mut ike.own) {
            Some(Some(Own::RekeyIke { rival, .. })) => {
                *rival = Some(Rival { rank, made: new });
                Next::Stay
            }
            _ => Next::replaced(new, Farewell::PeerDeletes),
        }
    }

    fn answer_delete(&mut self, id: IkeId, spis: &[Spi]) {
        let Some(ike) = self.ike(id) else { return };
        let mut losses = 0;
        for spi in spis {
            let Some(place) = ike.children.iter().position(|child| child.theirs == *spi) else {
                if let Some(Own::Child { deleted, .. }) = &mut ike.own {
                    deleted.push(*spi);
                }
                continue;
            };
            let child = remove(ike, place);
            let collides = matches!(&ike.own, Some(Own::Child { rekeys, rival: Some(rival), .. })
                if rival.made == child.ours || *rekeys == Some(child.ours));
            losses += usize::from(match child.phase {
                Phase::Rekeyed { .. } => false,
                Phase::Deleting => child.ended,
                Phase::Installed | Phase::Rekeying => !collides,
            });
        }
        self.respond(id, false, Response::Deleted);
        for _ in 0..losses {
            self.lost();
        }
    }

    /// Our request has its answer.
    fn answered(&mut self, id: IkeId, what: Response) -> Next {
        let Some(ike) = self.ike(id) else { return Next::Stay };
        match ike.stage {
            Stage::Established => {}
            Stage::Deleting => return Next::End,
            Stage::Rekeyed | Stage::Closed => return Next::Stay,
        }
        ike.in_flight = None;
        match ike.own.take() {
            Some(own @ Own::Child { .. }) => {
                if !ike.closing {
                    self.child_answered(id, own, what);
                }
                self.pursue();
                Next::Stay
            }
            Some(Own::RekeyIke { new, rank, rival }) => {
                self.rekey_ike_answered(id, new, rank, rival, what)
            }
            Some(Own::Delete(tasks)) => {
                self.delete_answered(id, tasks, what);
                Next::Stay
            }
            None => Next::Stay,
        }
    }

    fn child_answered(&mut self, id: IkeId, own: Own, what: Response) {
        let Own::Child { name, rekeys, spi, rank, rival, deleted } = own else { return };
        let Some(ike) = self.ike(id) else { return };
        let task = rekeys.map_or(Task::Create(name), Task::RekeyChild);
        let Response::Child(theirs) = what else {
            if rival.is_some() {
                return self.lose(id, name, rekeys, rival);
            }
            let is_unsure = |child: &Child| Some(child.ours) == rekeys && !child.confirmed;
            match (what, rekeys) {
                (Response::NotFound, Some(old)) if !ike.children.iter().any(is_unsure) => {
                    self.recreate(id, old);
                }
                _ => ike.delayed.push(task),
            }
            return;
        };
        if deleted.contains(&theirs) {
            if rival.is_some() {
                return self.lose(id, name, rekeys, rival);
            }
            if rekeys.is_some() {
                ike.delayed.push(task);
            }
            self.want(name, false);
            self.peer.waits = true;
            return self.pursue();
        }
        if rival.is_some_and(|rival| rank < rival.rank) {
            ike.queue(Task::DeleteSpi(spi));
            return self.lose(id, name, rekeys, rival);
        }
        let is_rival = |ours| rival.is_some_and(|rival| rival.made == ours);
        let is_superfluous = rekeys.is_none()
            && ike
                .children
                .iter()
                .any(|child| child.name == name && child.is_current() && !is_rival(child.ours));
        if is_superfluous {
            ike.queue(Task::DeleteSpi(spi));
            return self.up(name);
        }
        let phase = Phase::Installed;
        let child = Child { name, ours: spi, theirs, phase, confirmed: true, ended: false };
        self.win(id, child, rekeys, rival);
    }

    /// Our child stays. The old one is ours to delete, the peer's deletes its own.
    fn win(&mut self, id: IkeId, child: Child, rekeys: Option<Spi>, rival: Option<Rival<Spi>>) {
        let Some(ike) = self.ike(id) else { return };
        let old = rekeys.filter(|old| ike.has(*old));
        ike.children.push(child);
        if let Some(rival) = rival {
            replaced_by_peer(ike, rival.made, child.ours);
        }
        if let Some(old) = old {
            pass_on_place(ike, old, child.ours);
            if let Some(child) = ike.child(old).filter(|child| child.phase != Phase::Deleting) {
                child.phase = Phase::Deleting;
                ike.queue(Task::DeleteChild(old));
            }
            inherit_end(ike, old, child.ours);
        } else {
            self.up(child.name);
        }
    }

    /// The peer's child stays, or ours came to nothing.
    fn lose(&mut self, id: IkeId, name: Name, rekeys: Option<Spi>, rival: Option<Rival<Spi>>) {
        let Some(ike) = self.ike(id) else { return };
        let lives = |child: &Child| {
            rival.is_some_and(|rival| rival.made == child.ours) && child.phase != Phase::Deleting
        };
        let Some(rival) = ike.children.iter().find(|child| lives(child)).map(|child| child.ours)
        else {
            if let Some(child) = rekeys.and_then(|old| ike.child(old)) {
                child.phase = Phase::Installed;
            }
            return;
        };
        match rekeys {
            Some(old) if ike.has(old) => {
                replaced_by_peer(ike, old, rival);
                inherit_end(ike, old, rival);
            }
            Some(_) => {}
            None => {
                ike.children.sort_by_key(|child| child.ours == rival);
                self.up(name);
            }
        }
    }

    /// The peer does not know the child: it goes, and another comes.
    fn recreate(&mut self, id: IkeId, old: Spi) {
        let Some(ike) = self.ike(id) else { return };
        let Some(place) = ike.children.iter().position(|child| child.ours == old) else { return };
        let child = remove(ike, place);
        ike.queue(Task::DeleteSpi(old));
        if !ike.has_child(child.name) {
            ike.queue(Task::Create(child.name));
        }
        self.lost();
    }

    fn rekey_ike_answered(
        &mut self,
        id: IkeId,
        new: IkeId,
        rank: Rank,
        rival: Option<Rival<IkeId>>,
        what: Response,
    ) -> Next {
        if what != Response::RekeyIke {
            let Some(rival) = rival else {
                let delayed = self.ike(id).map(|ike| &mut ike.delayed);
                delayed.into_iter().for_each(|delayed| delayed.push(Task::RekeyIke));
                return Next::Stay;
            };
            return Next::replaced(rival.made, Farewell::PeerDeletes);
        }
        match rival {
            // RFC 7296 §2.8.2: who made the redundant one deletes it.
            Some(rival) if rank < rival.rank => {
                Next::Replaced { new: rival.made, old: Farewell::PeerDeletes, redundant: Some(new) }
            }
            Some(rival) => {
                self.peer.ikes.push(Ike { stage: Stage::Rekeyed, ..Ike::new(rival.made) });
                Next::replaced(new, Farewell::WeDelete)
            }
            None => Next::replaced(new, Farewell::WeDelete),
        }
    }

    fn delete_answered(&mut self, id: IkeId, tasks: Vec<Task>, what: Response) {
        let Some(ike) = self.ike(id) else { return };
        if what == Response::Busy {
            ike.delayed.extend(tasks);
            return;
        }
        let mut losses = 0;
        for task in tasks {
            if let Task::DeleteChild(ours) = task
                && let Some(place) = ike.children.iter().position(|child| child.ours == ours)
            {
                losses += usize::from(remove(ike, place).ended);
            }
        }
        for _ in 0..losses {
            self.lost();
        }
    }

    // ---- From one stage to the next ----

    fn apply(&mut self, id: IkeId, next: Next) {
        match next {
            Next::Stay => {}
            Next::Delete => {
                self.over(id);
                self.request(id, Request::DeleteIke, None);
                self.stage(id, Stage::Deleting);
            }
            Next::End => {
                self.over(id);
                self.close(id);
            }
            Next::Replaced { new, old, redundant } => {
                self.replace(id, new, old);
                if let Some(redundant) = redundant {
                    self.peer.ikes.push(Ike::new(redundant));
                    self.request(redundant, Request::DeleteIke, None);
                    self.stage(redundant, Stage::Deleting);
                }
            }
        }
    }

    /// An IKE SA that was in use is over, and its children with it.
    fn over(&mut self, id: IkeId) {
        let Some(ike) = self.ike(id) else { return };
        let was_used = ike.stage == Stage::Established;
        ike.children.clear();
        ike.tasks.clear();
        ike.delayed.clear();
        ike.own = None;
        if was_used {
            self.stage(id, Stage::Closed);
            self.lost();
        }
    }

    fn close(&mut self, id: IkeId) {
        if let Some(ike) = self.ike(id) {
            ike.in_flight = None;
            ike.stage = Stage::Closed;
        }
    }

    fn stage(&mut self, id: IkeId, stage: Stage) {
        if let Some(ike) = self.ike(id) {
            ike.stage = stage;
        }
    }

    fn replace(&mut self, id: IkeId, new: IkeId, farewell: Farewell) {
        let Some(old) = self.ike(id) else { return };
        let mut after = Ike::new(new);
        after.children = std::mem::take(&mut old.children);
        after.tasks = std::mem::take(&mut old.tasks);
        after.delayed = std::mem::take(&mut old.delayed);
        after.tasks.retain(|task| *task != Task::RekeyIke);
        after.delayed.retain(|task| *task != Task::RekeyIke);
        match old.own.take() {
            Some(Own::Child { name, rekeys, .. }) => {
                after.queue(rekeys.map_or(Task::Create(name), Task::RekeyChild));
            }
            Some(Own::Delete(tasks)) => tasks.into_iter().for_each(|task| after.queue(task)),
            Some(Own::RekeyIke { .. }) | None => {}
        }
        after.closing = std::mem::take(&mut old.closing);
        old.in_flight = None;
        self.peer.ikes.push(after);
        match farewell {
            Farewell::WeDelete => {
                self.request(id, Request::DeleteIke, None);
                self.stage(id, Stage::Deleting);
            }
            Farewell::PeerDeletes => self.stage(id, Stage::Rekeyed),
            Farewell::Gone => self.close(id),
        }
        self.pump(new);
    }

    // ---- Time ----

    /// Sends the request in flight again.
    pub fn repeat(&mut self, id: IkeId) {
        let from = self.peer.side;
        let Some(ike) = self.ike(id) else { return };
        let Some(request) = ike.in_flight.clone() else { return };
        let body = Body::Request(request);
        let message = Message { from, ike: id, id: ike.next.wrapping_sub(1), body };
        self.sent.push(message);
    }

    /// Tries a delayed task again.
    pub fn retry(&mut self, id: IkeId, place: usize) {
        let Some(ike) = self.ike(id).filter(|ike| place < ike.delayed.len()) else { return };
        let task = ike.delayed.remove(place);
        ike.queue(task);
        self.pump(id);
    }

    /// Waits no longer for the peer to delete a child that it replaced.
    pub fn forget_child(&mut self, id: IkeId, ours: Spi) {
        let Some(ike) = self.ike(id) else { return };
        if let Some(child) =
            ike.child(ours).filter(|child| matches!(child.phase, Phase::Rekeyed { .. }))
        {
            child.phase = Phase::Deleting;
            ike.queue(Task::DeleteChild(ours));
        }
        self.pump(id);
    }

    /// Waits no longer for the peer to delete an IKE SA that it replaced, or to repeat a request.
    pub fn forget_ike(&mut self, id: IkeId) {
        match self.ike(id).map(|ike| ike.stage) {
            Some(Stage::Rekeyed) => self.apply(id, Next::Delete),
            Some(Stage::Closed) => self.peer.ikes.retain(|ike| ike.id != id),
            Some(Stage::Established | Stage::Deleting) | None => {}
        }
    }

    /// Nobody answers our delete of an IKE SA.
    pub fn give_up(&mut self, id: IkeId) {
        if self.ike(id).is_some_and(|ike| ike.stage == Stage::Deleting) {
            self.apply(id, Next::End);
        }
    }

    /// What was lost has been waited for.
    pub fn wait_over(&mut self) {
        self.peer.waits = false;
        self.pursue();
    }
}

/// The peer made `new` for `old` and will delete `old`.
fn replaced_by_peer(ike: &mut Ike, old: Spi, new: Spi) {
    if let Some(child) = ike.child(old).filter(|child| child.is_current()) {
        child.phase = Phase::Rekeyed { by: new };
    }
}

/// What was told to end while it was being rekeyed ends with its successor.
fn inherit_end(ike: &mut Ike, old: Spi, new: Spi) {
    if ike.child(old).is_some_and(|child| std::mem::take(&mut child.ended)) {
        end_child(ike, new);
    }
}

/// A child is to end, and those it replaces with it.
fn end_child(ike: &mut Ike, ours: Spi) {
    if let Some(child) = ike.child(ours).filter(|child| child.phase != Phase::Deleting) {
        child.ended = true;
    }
    let line = line_of(ike, ours);
    let_go(ike, &line);
}

/// A child is gone. What it has replaced is replaced by its own successor, or goes with it.
fn remove(ike: &mut Ike, place: usize) -> Child {
    let child = ike.children.remove(place);
    match child.phase {
        Phase::Rekeyed { by } => pass_on_place(ike, child.ours, by),
        Phase::Installed | Phase::Rekeying | Phase::Deleting => {
            let before = line_of(ike, child.ours);
            let_go(ike, &before);
        }
    }
    child
}

/// What `old` has replaced is replaced by `new` from now on.
fn pass_on_place(ike: &mut Ike, old: Spi, new: Spi) {
    for child in &mut ike.children {
        if matches!(child.phase, Phase::Rekeyed { by } if by == old) {
            child.phase = Phase::Rekeyed { by: new };
        }
    }
}

/// A child and those it replaces, at once or by way of others.
fn line_of(ike: &Ike, ours: Spi) -> Vec<Spi> {
    let mut line = vec![ours];
    let mut next = 0;
    while let Some(successor) = line.get(next).copied() {
        let is_before =
            |child: &&Child| matches!(child.phase, Phase::Rekeyed { by } if by == successor);
        let before = ike.children.iter().filter(is_before).map(|child| child.ours);
        let before: Vec<Spi> = before.filter(|one| !line.contains(one)).collect();
        line.extend(before);
        next += 1;
    }
    line
}

/// The peer is asked to delete these.
fn let_go(ike: &mut Ike, line: &[Spi]) {
    for ours in line {
        if let Some(child) = ike.child(*ours).filter(|child| child.phase != Phase::Deleting) {
            child.phase = Phase::Deleting;
            ike.queue(Task::DeleteChild(*ours));
        }
    }
}
