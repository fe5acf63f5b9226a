//! The model beside two real endpoints, event by event.
//!
//! A walk draws events: orders, messages that arrive in any order, are lost or copied, timers. Each
//! goes through two endpoints of `adit-ike` and through the model, in all ways that chance may fall
//! there. Whatever the endpoints send and have afterwards has to be what the model says for one of
//! them.

#![cfg(test)]

mod real;

use std::collections::BTreeSet;

use adit_crypto::{Rng as _, SeededRng};
use adit_model::parts::{Body, Ike, Message, Own, Peer, Phase, Side, Stage};
use adit_model::world::{Action, Bounds, Event, State};

use real::{ChildView, IkeView, Pair, View};

/// Events of one walk, before the peers are left alone.
const EVENTS: usize = 30;

/// Events until two peers that are left alone must have come to rest.
const REST_WITHIN: usize = 400;

const BOUNDS: Bounds = Bounds { orders: 6, losses: 2, copies: 2 };

/// Walks without `ADIT_MODEL_WALKS` in the environment.
const WALKS: u64 = 200;

#[test]
fn the_code_does_what_the_model_does() {
    let walks = std::env::var("ADIT_MODEL_WALKS").ok().and_then(|walks| walks.parse().ok());
    let mut total = Totals::default();
    for seed in 0..walks.unwrap_or(WALKS) {
        Walk::new(seed).run(&mut total);
    }
    let Totals { events, ambiguous, handshakes } = total;
    println!(
        "{events} events, after {ambiguous} of them more than one state of the model fits; \
         {handshakes} walks ended with a handshake"
    );
    assert!(events > 1_000, "the walks went nowhere");
}

#[derive(Default)]
struct Totals {
    events: usize,
    ambiguous: usize,
    /// Walks that ended as a peer opened another IKE SA, which the model does not do.
    handshakes: usize,
}

/// One walk.
struct Walk {
    seed: u64,
    rng: SeededRng,
    pair: Pair,
    /// The states of the model that fit what the endpoints have shown.
    states: Vec<State>,
    story: Vec<String>,
}

impl Walk {
    fn new(seed: u64) -> Self {
        let states = vec![State::established(BOUNDS)];
        let pair = Pair::established(seed);
        Self { seed, rng: SeededRng::new(seed), pair, states, story: Vec::new() }
    }

    fn run(mut self, total: &mut Totals) {
        for _ in 0..EVENTS {
            let events = self.any_state().events();
            let Some(event) = self.pick(&events) else { break };
            if !self.happen(event, total) {
                return;
            }
        }
        for _ in 0..REST_WITHIN {
            // Of states that look alike one may wait for what the others have done already.
            if let Some(state) = self.states.iter().find(|state| state.is_quiet()) {
                assert!(state.agrees(), "{}", self.tell("they do not agree"));
                return;
            }
            let state = &self.states[0];
            let late = state.network.iter().position(|one| one.late);
            let event = match (state.network.is_empty(), late) {
                (_, Some(place)) => Event::Lose(place),
                (false, None) => Event::Deliver(0),
                (true, None) => match self.states.iter().flat_map(State::events).find(is_timer) {
                    Some(event) => event,
                    None => panic!("{}", self.tell("nothing is due")),
                },
            };
            if !self.happen(event, total) {
                return;
            }
        }
        panic!("{}", self.tell("no rest"));
    }

    fn any_state(&mut self) -> &State {
        let place = self.draw(self.states.len());
        &self.states[place]
    }

    fn draw(&mut self, below: usize) -> usize {
        usize::try_from(self.rng.next_u64() % u64::try_from(below).unwrap()).unwrap()
    }

    /// Messages and timers, and now and then an order.
    fn pick(&mut self, events: &[Event]) -> Option<Event> {
        let is_order = |event: &&Event| matches!(event, Event::Order(..));
        let (orders, others): (Vec<&Event>, Vec<&Event>) = events.iter().partition(is_order);
        let wants_order = others.is_empty() || self.draw(4) == 0;
        let among = if wants_order && !orders.is_empty() { orders } else { others };
        if among.is_empty() {
            return None;
        }
        let place = self.draw(among.len());
        Some(*among[place])
    }

    /// Lets an event happen here and there; `false` if the model ends here.
    fn happen(&mut self, event: Event, total: &mut Totals) -> bool {
        self.story.push(format!("{event:?}"));
        total.events += 1;
        let (successors, before, sides) = self.both_ways(event);
        if self.pair.opens_another {
            total.handshakes += 1;
            return false;
        }
        let fitting = self.fitting(&successors, before).or_else(|why| {
            // What is due at one instant runs out in one call: a delete of two IKE SAs that was sent
            // at once is also repeated at once.
            let again = |states: Vec<State>, side: &Side| due(&states, *side);
            self.fitting(&sides.iter().fold(successors, again), before).map_err(|_| why)
        });
        self.states = fitting.unwrap_or_else(|why| panic!("{why}"));
        total.ambiguous += usize::from(self.states.len() > 1);
        true
    }

    /// Lets an event happen to the endpoints. What it makes of the states, how many of the messages on
    /// their way are older than it, and whose timers have run out.
    fn both_ways(&mut self, event: Event) -> (Vec<State>, usize, Vec<Side>) {
        let before = self.pair.network.len();
        let (states, before) = match event {
            Event::Timer(..) => {
                let sides = self.pair.tick();
                let once = |states: Vec<State>, side: &Side| due(&states, *side);
                return (sides.iter().fold(self.states.clone(), once), before, sides);
            }
            Event::Order(side, order) => {
                let (_, place) = self.states[0].target(side, order).unwrap();
                self.pair.order(side, order, place);
                (after(&self.states, &[event]), before)
            }
            Event::Deliver(place) => {
                self.pair.deliver(place);
                (after(&self.states, &[event]), before - 1)
            }
            Event::Lose(place) => {
                self.pair.network.remove(place);
                (after(&self.states, &[event]), before - 1)
            }
            Event::Copy(place) => {
                let copy = self.pair.network[place].clone();
                self.pair.network.push(copy);
                (after(&self.states, &[event]), before + 1)
            }
        };
        (states, before, Vec::new())
    }

    /// The states that fit what the endpoints have sent and have now; the whole story if none does.
    fn fitting(&self, successors: &[State], before: usize) -> Result<Vec<State>, String> {
        let sent: Vec<_> = self.pair.network[before..].iter().map(real::Letter::kind).collect();
        let views = Side::BOTH.map(|side| self.pair.view(side));
        let shown = |state: &State| {
            let flights = state.network.iter().skip(before);
            let sent: Vec<_> = flights.map(|one| kind(&one.message)).collect();
            (sent, Side::BOTH.map(|side| view(state.peer(side))))
        };
        let seen = (sent, views);
        let mut known = BTreeSet::new();
        let mut fits = |state: &&State| shown(state) == seen && known.insert(format!("{state:?}"));
        let states: Vec<State> = successors.iter().filter(|state| fits(state)).cloned().collect();
        if states.is_empty() {
            let model: Vec<_> =
                successors.iter().map(|state| format!("{:?}", shown(state))).collect();
            let (story, model) = (self.tell("no state fits"), model.join("\nor "));
            return Err(format!("{story}\nthe code has {seen:?}\nthe model {model}"));
        }
        Ok(states)
    }

    fn tell(&self, what: &str) -> String {
        format!("seed {}: {what}\n{}", self.seed, self.story.join("\n"))
    }
}

fn is_timer(event: &Event) -> bool {
    matches!(event, Event::Timer(..))
}

/// In whatever way chance may fall.
fn after(states: &[State], events: &[Event]) -> Vec<State> {
    let mut all = Vec::new();
    for state in states {
        for event in events.iter().copied() {
            for (lucky, aged) in [(false, false), (true, false), (false, true), (true, true)] {
                all.extend(state.after(Action { event, lucky, aged }));
            }
        }
    }
    all
}

/// A timer of one side was due: any of those that the model has, or one that it does not have and
/// that changes nothing.
fn due(states: &[State], side: Side) -> Vec<State> {
    let mut all = states.to_vec();
    for state in states {
        let timers = state.all_timers(side).into_iter().map(|timer| Event::Timer(side, timer));
        all.extend(after(std::slice::from_ref(state), &timers.collect::<Vec<_>>()));
    }
    all
}

/// Whether it is a CREATE_CHILD_SA, and whether it is a response.
fn kind(message: &Message) -> (bool, bool) {
    match &message.body {
        Body::Request(request) => (request.is_create(), false),
        Body::Response { create, .. } => (*create, true),
    }
}

/// A peer of the model as users see it.
fn view(peer: &Peer) -> View {
    let mut views: View =
        peer.ikes.iter().filter(|ike| ike.stage != Stage::Closed).map(view_ike).collect();
    views.sort();
    views
}

fn view_ike(ike: &Ike) -> (IkeView, Vec<(u8, ChildView)>) {
    let is_rekeying = matches!(ike.own, Some(Own::RekeyIke { .. }));
    let state = match ike.stage {
        Stage::Established if ike.closing => IkeView::Deleting,
        Stage::Established if is_rekeying => IkeView::Rekeying,
        Stage::Established => IkeView::Established,
        Stage::Rekeyed => IkeView::Rekeyed,
        Stage::Deleting | Stage::Closed => IkeView::Deleting,
    };
    let children = ike.children.iter().map(|child| {
        let phase = match child.phase {
            Phase::Installed => ChildView::Installed,
            Phase::Rekeying => ChildView::Rekeying,
            Phase::Rekeyed { .. } => ChildView::Rekeyed,
            Phase::Deleting => ChildView::Deleting,
        };
        (child.name.0, phase)
    });
    (state, children.collect())
}
