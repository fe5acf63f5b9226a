use std::collections::BTreeSet;

use allocation_counter::measure;
use proptest::prelude::*;

use super::*;

#[expect(clippy::disallowed_methods, reason = "any instant will do as an origin")]
fn origin() -> Instant {
    Instant::now()
}

fn owner(id: u32) -> TimerOwner {
    TimerOwner::Ike(IkeSaId(id))
}

fn due(timers: &mut Timers, now: Instant) -> Vec<TimerOwner> {
    let mut due = Vec::new();
    timers.due(now, &mut due);
    due.into_iter().map(|(_, owner)| owner).collect()
}

#[test]
fn the_earliest_comes_first_and_moved_timers_leave_nothing_behind() {
    let now = origin();
    let at = |seconds| now + Duration::from_secs(seconds);
    let mut timers = Timers::default();
    let (mut one, mut two) = (Timer::default(), Timer::default());

    timers.set(&mut one, Some(at(5)), now, || owner(1));
    timers.set(&mut two, Some(at(3)), now, || owner(2));
    timers.set(&mut one, Some(at(1)), now, || owner(1));
    assert_eq!(timers.next(), Some(at(1)));
    assert_eq!(due(&mut timers, at(3)), [owner(1), owner(2)]);

    timers.set(&mut one, None, now, || owner(1));
    assert_eq!(due(&mut timers, at(9)), [owner(2)]);
    timers.clear(two);
    assert_eq!(timers.next(), None);
}

/// One owner's timers, of the wheel and of the model.
#[derive(Debug)]
enum Step {
    Set(u32, Duration),
    Clear(u32),
    Wait(Duration),
}

/// From nanoseconds to centuries.
fn duration() -> impl Strategy<Value = Duration> {
    (0_u32..62, any::<u64>())
        .prop_map(|(bits, octets)| Duration::from_nanos(octets & ((1 << bits) - 1)))
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..OWNERS, duration()).prop_map(|(owner, after)| Step::Set(owner, after)),
        1 => (0..OWNERS).prop_map(Step::Clear),
        2 => duration().prop_map(|time| Step::Wait(time / 8)),
    ]
}

/// So few that the next instant is always exact.
const OWNERS: u32 = 40;

proptest! {
    #[test]
    fn the_wheel_tells_what_an_ordered_set_tells(steps in prop::collection::vec(step(), 0..300)) {
        let origin = origin();
        let mut now = origin;
        let mut timers = Timers::default();
        let mut own: Vec<Timer> = (0..OWNERS).map(|_| Timer::default()).collect();
        let mut model: BTreeSet<(Instant, TimerOwner)> = BTreeSet::new();
        for step in steps {
            match step {
                Step::Set(number, after) => {
                    let at = now + after;
                    model.retain(|(_, known)| *known != owner(number));
                    model.insert((at, owner(number)));
                    timers.set(&mut own[number as usize], Some(at), now, || owner(number));
                }
                Step::Clear(number) => {
                    model.retain(|(_, known)| *known != owner(number));
                    timers.set(&mut own[number as usize], None, now, || owner(number));
                }
                Step::Wait(time) => now = now.checked_add(time).unwrap_or(now),
            }
            prop_assert_eq!(timers.next(), model.first().map(|(at, _)| *at));
            let wanted: Vec<TimerOwner> = model
                .iter()
                .take_while(|(at, _)| *at <= now)
                .map(|(_, owner)| owner.clone())
                .collect();
            prop_assert_eq!(due(&mut timers, now), wanted);
            prop_assert_eq!(timers.next(), model.first().map(|(at, _)| *at));
        }
    }
}

/// Whoever waits for [`Timers::next`] only meets every timer in time, with few calls for nothing.
#[test]
fn a_crowd_in_one_slot_is_called_in_time() {
    const CROWD: u32 = 5_000;
    let begin = origin();
    let mut timers = Timers::default();
    let mut own: Vec<Timer> = (0..CROWD).map(|_| Timer::default()).collect();
    let at = |number: u32| begin + Duration::from_secs(3_600) + Duration::from_micros(20) * number;
    for (number, timer) in (0..CROWD).zip(&mut own) {
        timers.set(timer, Some(at(number)), begin, || owner(number));
    }
    let (mut met, mut calls) = (0, 0);
    let mut now = begin;
    while let Some(next) = timers.next() {
        assert!(next > now, "the wheel asks for what is over");
        now = next;
        calls += 1;
        for who in due(&mut timers, now) {
            assert_eq!((now, who), (at(met), owner(met)));
            timers.set(&mut own[met as usize], None, now, || owner(met));
            met += 1;
        }
    }
    assert_eq!(met, CROWD);
    assert!(calls < CROWD + CROWD / 10, "{calls} calls for {CROWD} timers");
}

/// An owner that does nothing about its timer is told again.
#[test]
fn what_is_over_stays_due() {
    let now = origin();
    let mut timers = Timers::default();
    let mut one = Timer::default();
    let late = now + Duration::from_secs(1);
    timers.set(&mut one, Some(late), now, || owner(1));
    for seconds in [1, 2, 90_000] {
        assert_eq!(due(&mut timers, now + Duration::from_secs(seconds)), [owner(1)]);
        assert_eq!(timers.next(), Some(late));
    }
    // Nor does it matter if somebody's clock goes back.
    assert_eq!(due(&mut timers, late), [owner(1)]);
    assert_eq!(due(&mut timers, now), []);
}

#[test]
fn a_warm_wheel_allocates_nothing() {
    let begin = origin();
    let mut timers = Timers::default();
    let mut own: Vec<Timer> = (0..100).map(|_| Timer::default()).collect();
    let mut called = Vec::new();
    let mut round = |timers: &mut Timers, seconds: u64| {
        for (number, timer) in (0..).zip(&mut own) {
            let after = Duration::from_secs(seconds + u64::from(number % 7));
            timers.set(timer, Some(begin + after), begin, || owner(number));
        }
        called.clear();
        timers.due(begin + Duration::from_secs(seconds + 3), &mut called);
        for (_, timer) in called.iter().zip(&mut own) {
            timers.set(timer, None, begin, || owner(0));
        }
    };
    round(&mut timers, 10);
    let taken = measure(|| (1..50).for_each(|number| round(&mut timers, number * 100)));
    assert_eq!(taken.count_total, 0);
}
