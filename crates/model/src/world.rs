//! Two peers, a network, users who give orders, and what must hold.

use stateright::{Model, Property};

use crate::machine::Step;
use crate::parts::{
    Body, Child, Fresh, Ike, IkeId, Message, Name, Own, Peer, Phase, Response, Side, Spi, Stage,
    Task,
};

/// How much may happen in one run.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Bounds {
    /// Orders of users, of both sides.
    pub orders: u8,
    /// Messages that are lost.
    pub losses: u8,
    /// Messages of which a copy arrives at any later time.
    pub copies: u8,
}

/// A message on its way.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Flight {
    /// The message.
    pub message: Message,
    /// Whether it is a copy that may take as long as it likes; all others arrive, or are lost, before
    /// any timer is due.
    pub late: bool,
}

/// Both peers and what is between them.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct State {
    /// Left and right.
    pub peers: [Peer; 2],
    /// In the order in which it was sent.
    pub network: Vec<Flight>,
    /// Numbers that nobody has had.
    pub fresh: Fresh,
    /// What may still happen.
    pub left: Bounds,
}

/// What a user wants.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Order {
    /// A child.
    Create(Name),
    /// Other keys for the newest child with these selectors.
    RekeyChild(Name),
    /// The newest child with these selectors deleted.
    DeleteChild(Name),
    /// Other keys for the IKE SA.
    RekeyIke,
    /// The IKE SA deleted.
    DeleteIke,
}

/// A timer of one peer.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Timer {
    /// The request in flight is sent again.
    Repeat(IkeId),
    /// A delayed task, by its place, is tried again.
    Retry(IkeId, usize),
    /// A child that was replaced is deleted, as the peer does not do it.
    ForgetChild(IkeId, Spi),
    /// An IKE SA that was replaced is deleted, or one that is over forgotten.
    ForgetIke(IkeId),
    /// Nobody answers our delete of an IKE SA.
    GiveUp(IkeId),
    /// What is wanted after a loss is asked for again.
    WaitOver,
}

/// An event.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Event {
    /// A user's.
    Order(Side, Order),
    /// The message at this place arrives.
    Deliver(usize),
    /// The message at this place is lost.
    Lose(usize),
    /// Of the message at this place there is another copy.
    Copy(usize),
    /// A timer is due.
    Timer(Side, Timer),
}

/// An event, and how chance falls in what it begins.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Action {
    /// What happens.
    pub event: Event,
    /// How the nonces of an exchange that it begins stand.
    pub lucky: bool,
    /// Whether a child that the peer has not confirmed is old enough to be known all the same.
    pub aged: bool,
}

/// Events until two peers that are left alone must have come to rest.
const REST_WITHIN: usize = 200;

/// Events after which every child is old enough to be known to the peer.
const AGED_AFTER: usize = 40;

impl State {
    /// An IKE SA with one child, and nothing under way.
    pub fn established(bounds: Bounds) -> Self {
        let child = |ours, theirs| Child {
            name: Name(0),
            ours: Spi(ours),
            theirs: Spi(theirs),
            phase: Phase::Installed,
            confirmed: true,
            ended: false,
        };
        let peer = |side, child| Peer {
            side,
            ikes: vec![Ike { children: vec![child], ..Ike::new(IkeId(0)) }],
            wants: [false; 2],
            waits: false,
        };
        Self {
            peers: [peer(Side::Left, child(0, 1)), peer(Side::Right, child(1, 0))],
            network: Vec::new(),
            fresh: Fresh { spi: 2, ike: 1 },
            left: bounds,
        }
    }

    /// One peer.
    pub fn peer(&self, side: Side) -> &Peer {
        let [left, right] = &self.peers;
        if side == Side::Left { left } else { right }
    }

    pub(crate) fn peer_mut(&mut self, side: Side) -> &mut Peer {
        let [left, right] = &mut self.peers;
        if side == Side::Left { left } else { right }
    }

    pub(crate) fn ike(&self, side: Side, id: IkeId) -> Option<&Ike> {
        self.peer(side).ikes.iter().find(|ike| ike.id == id)
    }

    fn usable(&self, side: Side) -> Option<&Ike> {
        self.peer(side).ikes.iter().rev().find(|ike| ike.is_usable())
    }

    // ---- What may happen ----

    /// Orders that change something.
    pub fn orders(&self, side: Side) -> Vec<Order> {
        let Some(ike) = self.usable(side) else { return Vec::new() };
        let mut orders = vec![Order::DeleteIke];
        let is_rekeying = matches!(ike.own, Some(Own::RekeyIke { .. }))
            || ike.tasks.contains(&Task::RekeyIke)
            || ike.delayed.contains(&Task::RekeyIke);
        orders.extend((!is_rekeying).then_some(Order::RekeyIke));
        for (name, wanted) in [Name(0), Name(1)].into_iter().zip(self.peer(side).wants) {
            let is_there = |child: &Child| child.name == name && child.is_current();
            let children = || ike.children.iter().filter(|child| is_there(child));
            orders.extend(children().next().map(|_| Order::DeleteChild(name)));
            let may_rekey = children().next_back().filter(|child| child.phase == Phase::Installed);
            orders.extend(may_rekey.map(|_| Order::RekeyChild(name)));
            let may_create = children().next().is_none() && !wanted;
            orders.extend(may_create.then_some(Order::Create(name)));
        }
        orders
    }

    /// The IKE SA and the child, by its place among all, that an order is about.
    pub fn target(&self, side: Side, order: Order) -> Option<(&Ike, Option<usize>)> {
        let ike = self.usable(side)?;
        let (Order::DeleteChild(name) | Order::RekeyChild(name)) = order else {
            return Some((ike, None));
        };
        let is_there = |child: &Child| child.name == name && child.is_current();
        Some((ike, Some(ike.children.iter().rposition(is_there)?)))
    }

    /// Timers that may be due; none as long as messages are under way. Requests are repeated for
    /// longer than anybody waits for anything else to happen, so that what is due after a minute is
    /// due only when no request is left to be repeated. What the peer has no IKE SA for it would not
    /// hear.
    pub fn timers(&self, side: Side) -> Vec<Timer> {
        if self.network.iter().any(|one| !one.late) {
            return Vec::new();
        }
        let heard = |side: Side| {
            let mut timers = self.quick_timers(side);
            timers.retain(|timer| match timer {
                Timer::Repeat(id) => self.ike(side.other(), *id).is_some(),
                Timer::Retry(..)
                | Timer::ForgetChild(..)
                | Timer::ForgetIke(_)
                | Timer::GiveUp(_)
                | Timer::WaitOver => true,
            });
            timers
        };
        let mut timers = heard(side);
        let repeats = |timer: &Timer| matches!(timer, Timer::Repeat(_));
        if !timers.iter().chain(&heard(side.other())).any(repeats) {
            timers.extend(self.slow_timers(side));
        }
        timers
    }

    /// All timers of one peer, whatever is under way.
    pub fn all_timers(&self, side: Side) -> Vec<Timer> {
        [self.quick_timers(side), self.slow_timers(side)].concat()
    }

    fn quick_timers(&self, side: Side) -> Vec<Timer> {
        let mut timers = Vec::new();
        for ike in &self.peer(side).ikes {
            timers.extend((0..ike.delayed.len()).map(|place| Timer::Retry(ike.id, place)));
            timers.extend(ike.in_flight.is_some().then_some(Timer::Repeat(ike.id)));
        }
        let Peer { wants, waits, .. } = self.peer(side);
        timers.extend((*waits && wants.contains(&true)).then_some(Timer::WaitOver));
        timers
    }

    fn slow_timers(&self, side: Side) -> Vec<Timer> {
        let mut timers = Vec::new();
        for ike in &self.peer(side).ikes {
            match ike.stage {
                Stage::Established => {
                    let replaced = |child: &&Child| matches!(child.phase, Phase::Rekeyed { .. });
                    let replaced = ike.children.iter().filter(replaced);
                    timers.extend(replaced.map(|child| Timer::ForgetChild(ike.id, child.ours)));
                }
                Stage::Rekeyed => timers.push(Timer::ForgetIke(ike.id)),
                // The peer has no such IKE SA, and nobody answers.
                Stage::Deleting => timers.push(Timer::GiveUp(ike.id)),
                Stage::Closed => {}
            }
        }
        timers
    }

    /// What may happen next.
    pub fn events(&self) -> Vec<Event> {
        let mut events = Vec::new();
        for (place, one) in self.network.iter().enumerate() {
            events.push(Event::Deliver(place));
            let may_be_lost = self.left.losses > 0 || one.late;
            events.extend(may_be_lost.then_some(Event::Lose(place)));
            let may_be_copied = self.left.copies > 0 && !one.late;
            events.extend(may_be_copied.then_some(Event::Copy(place)));
        }
        for side in Side::BOTH {
            events.extend(self.timers(side).into_iter().map(|timer| Event::Timer(side, timer)));
            if self.left.orders > 0 {
                events.extend(self.orders(side).into_iter().map(|order| Event::Order(side, order)));
            }
        }
        events
    }

    /// Lets it happen. `None` if it cannot.
    #[must_use]
    pub fn after(&self, action: Action) -> Option<Self> {
        let mut state = self.clone();
        state.happen(action).then_some(state)
    }

    fn happen(&mut self, action: Action) -> bool {
        match action.event {
            Event::Order(side, order) => {
                let Some((ike, place)) = self.target(side, order) else { return false };
                let child = place.and_then(|place| ike.children.get(place));
                let (id, child) = (ike.id, child.map(|child| child.ours));
                self.left.orders = self.left.orders.saturating_sub(1);
                self.step(side, action, |step| match (order, child) {
                    (Order::Create(name), _) => step.create(name),
                    (Order::RekeyIke, _) => step.rekey_ike(id),
                    (Order::DeleteIke, _) => step.delete_ike(id),
                    (Order::RekeyChild(_), Some(child)) => step.rekey_child(id, child),
                    (Order::DeleteChild(_), Some(child)) => step.delete_child(id, child),
                    (Order::RekeyChild(_) | Order::DeleteChild(_), None) => {}
                });
            }
            Event::Deliver(place) if place < self.network.len() => {
                let Flight { message, .. } = self.network.remove(place);
                self.step(message.from.other(), action, |step| step.receive(&message));
            }
            Event::Lose(place) if place < self.network.len() => {
                if !self.network.remove(place).late {
                    self.left.losses = self.left.losses.saturating_sub(1);
                }
            }
            Event::Copy(place) => {
                let Some(one) = self.network.get(place).cloned() else { return false };
                self.left.copies = self.left.copies.saturating_sub(1);
                self.network.push(Flight { late: true, ..one });
            }
            Event::Timer(side, timer) => self.step(side, action, |step| match timer {
                Timer::Repeat(id) => step.repeat(id),
                Timer::Retry(id, place) => step.retry(id, place),
                Timer::ForgetChild(id, child) => step.forget_child(id, child),
                Timer::ForgetIke(id) => step.forget_ike(id),
                Timer::GiveUp(id) => step.give_up(id),
                Timer::WaitOver => step.wait_over(),
            }),
            Event::Deliver(_) | Event::Lose(_) => return false,
        }
        true
    }

    fn step(&mut self, side: Side, action: Action, input: impl FnOnce(&mut Step<'_>)) {
        let Action { lucky, aged, .. } = action;
        let [left, right] = &mut self.peers;
        let peer = if side == Side::Left { left } else { right };
        let mut step = Step { peer, fresh: &mut self.fresh, lucky, aged, sent: Vec::new() };
        input(&mut step);
        let sent = step.sent.into_iter().map(|message| Flight { message, late: false });
        self.network.extend(sent);
    }

    // ---- What must hold ----

    /// Whether nothing is under way and nothing waits.
    pub fn is_quiet(&self) -> bool {
        let is_quiet = |peer: &Peer| {
            peer.ikes.iter().all(Ike::is_quiet) && !(peer.waits && peer.wants.contains(&true))
        };
        self.network.iter().all(|one| one.late) && self.peers.iter().all(is_quiet)
    }

    /// Whether both have the same IKE SA and the same children, one for each pair of selectors.
    pub fn agrees(&self) -> bool {
        let live = |side| {
            let ikes = self.peer(side).ikes.iter();
            ikes.filter(|ike| ike.stage == Stage::Established).collect::<Vec<_>>()
        };
        let (left, right) = (live(Side::Left), live(Side::Right));
        match (left.as_slice(), right.as_slice()) {
            ([], []) => true,
            ([left], [right]) => left.id == right.id && have_same_children(left, right),
            _ => false,
        }
    }

    /// Whether the two come to rest and agree, if from now on nothing is lost and nobody orders
    /// anything, and whether they then can have a child.
    pub fn comes_back(&self) -> bool {
        let mut state = self.clone();
        state.network.retain(|one| !one.late);
        if !state.comes_to_rest() {
            return false;
        }
        if state.usable(Side::Left).is_none() {
            return true;
        }
        let event = Event::Order(Side::Left, Order::Create(Name(0)));
        state.happen(Action { event, lucky: false, aged: true });
        if !state.comes_to_rest() {
            return false;
        }
        Side::BOTH.into_iter().all(|side| {
            let mut children = state.usable(side).into_iter().flat_map(|ike| &ike.children);
            children.any(|child| child.name == Name(0))
        })
    }

    /// Lets messages arrive in order, and timers be due when there are none.
    fn comes_to_rest(&mut self) -> bool {
        for round in 0..REST_WITHIN {
            let event = match self.network.is_empty() {
                false => Event::Deliver(0),
                true => match self.next_timer(round) {
                    Some((side, timer)) => Event::Timer(side, timer),
                    None => return self.is_quiet() && self.agrees(),
                },
            };
            self.happen(Action { event, lucky: false, aged: round > AGED_AFTER });
        }
        false
    }

    /// A timer that may be due: repetitions first, then what is tried again, after a while what is
    /// waited for no longer; each side in turn.
    fn next_timer(&self, round: usize) -> Option<(Side, Timer)> {
        let sides = if round.is_multiple_of(2) { Side::BOTH } else { [Side::Right, Side::Left] };
        let timers = sides
            .into_iter()
            .flat_map(|side| self.timers(side).into_iter().map(move |timer| (side, timer)));
        timers.min_by_key(|(_, timer)| match timer {
            Timer::Repeat(_) => 0,
            Timer::Retry(..) | Timer::WaitOver if round < AGED_AFTER => 1,
            Timer::ForgetChild(..) | Timer::ForgetIke(_) | Timer::GiveUp(_) => 2,
            Timer::Retry(..) | Timer::WaitOver => 3,
        })
    }
}

fn have_same_children(left: &Ike, right: &Ike) -> bool {
    let mut ours: Vec<_> =
        left.children.iter().map(|child| (child.name, child.ours, child.theirs)).collect();
    let mut theirs: Vec<_> =
        right.children.iter().map(|child| (child.name, child.theirs, child.ours)).collect();
    ours.sort_unstable();
    theirs.sort_unstable();
    let mut names: Vec<Name> = ours.iter().map(|(name, _, _)| *name).collect();
    names.dedup();
    ours == theirs && names.len() == ours.len()
}

/// All runs within bounds.
#[derive(Clone, Copy, Debug)]
pub struct Runs(pub Bounds);

impl Model for Runs {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::established(self.0)]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for event in state.events() {
            // Chance falls both ways where something may be begun.
            let begins = !matches!(event, Event::Lose(_) | Event::Copy(_));
            actions.push(Action { event, lucky: false, aged: false });
            actions.extend(begins.then_some(Action { event, lucky: true, aged: false }));
            let may_age = matches!(event, Event::Timer(_, Timer::Retry(..)));
            actions.extend(may_age.then_some(Action { event, lucky: false, aged: true }));
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let mut next = state.after(action)?;
        next.canonicalise();
        (next != *state).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(
                "at rest both have the same, and nothing twice",
                |_, state: &State| !state.is_quiet() || state.agrees(),
            ),
            Property::always("who does not rest has something to do", |_, state: &State| {
                state.is_quiet() || !state.events().is_empty()
            }),
            Property::always("all comes to rest, and back", |_, state: &State| state.comes_back()),
            Property::sometimes("two rekeyings of a child cross", |_, state: &State| {
                some_own(state, |own| {
                    matches!(own, Own::Child { rekeys: Some(_), rival: Some(_), .. })
                })
            }),
            Property::sometimes("two rekeyings of the IKE SA cross", |_, state: &State| {
                some_own(state, |own| matches!(own, Own::RekeyIke { rival: Some(_), .. }))
            }),
            Property::sometimes("two requests for the same child cross", |_, state: &State| {
                some_own(state, |own| {
                    matches!(own, Own::Child { rekeys: None, rival: Some(_), .. })
                })
            }),
            Property::sometimes("a peer is busy", |_, state: &State| {
                some_answer(state, Response::Busy)
            }),
            Property::sometimes("a child is not known", |_, state: &State| {
                some_answer(state, Response::NotFound)
            }),
        ]
    }
}

fn some_own(state: &State, is_it: impl Fn(&Own) -> bool) -> bool {
    state.peers.iter().flat_map(|peer| &peer.ikes).filter_map(|ike| ike.own.as_ref()).any(is_it)
}

fn some_answer(state: &State, answer: Response) -> bool {
    let is_it =
        |message: &Message| matches!(message.body, Body::Response { what, .. } if what == answer);
    state.network.iter().any(|one| is_it(&one.message))
}
