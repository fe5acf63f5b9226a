//! What was decided about the latest flows: the SPD cache of RFC 4301 §4.4.1.
//!
//! A flow is all that a policy can look at, so an answer that is remembered for a flow is exact as
//! long as nothing changes; [`FlowCache::clear`] is for when something does. A gateway has some
//! thousand flows at any moment, however many policies it has: finding one of them again touches
//! one or two lines of memory, and the databases stay out of the processor's caches.

use std::hash::BuildHasher as _;

use adit_wire::ip::FlowKey;
use hashbrown::DefaultHashBuilder;

/// Flows with the same place in the cache; the newest of them are remembered.
const WAYS: usize = 4;
/// Places in the cache.
const SETS: usize = 1 << 13;

/// Remembers an answer for each of the latest flows, [`FlowCache::FLOWS_MAX`] at most.
#[derive(Debug)]
pub struct FlowCache<V> {
    sets: Box<[[Option<Line<V>>; WAYS]]>,
    hasher: DefaultHashBuilder,
    /// Lines of another generation are forgotten.
    generation: u32,
}

#[derive(Clone, Copy, Debug)]
struct Line<V> {
    generation: u32,
    flow: FlowKey,
    answer: V,
}

impl<V: Copy> Default for FlowCache<V> {
    fn default() -> Self {
        let sets = vec![[None; WAYS]; SETS].into_boxed_slice();
        Self { sets, hasher: DefaultHashBuilder::default(), generation: 0 }
    }
}

impl<V: Copy> FlowCache<V> {
    /// Flows remembered at most.
    pub const FLOWS_MAX: usize = SETS * WAYS;

    /// The answer for a flow: the remembered one, or `find`'s, which is remembered then.
    pub fn get_or_insert_with(&mut self, flow: &FlowKey, find: impl FnOnce() -> V) -> V {
        let place = usize::try_from(self.hasher.hash_one(flow) >> HASH_SHIFT).unwrap_or(0);
        let generation = self.generation;
        let Some(set) = self.sets.get_mut(place) else {
            return find();
        };
        let known = set.iter().flatten();
        let known = known.filter(|line| line.generation == generation);
        if let Some(line) = known.into_iter().find(|line| line.flow == *flow) {
            return line.answer;
        }
        let answer = find();
        set.rotate_right(1);
        if let Some(oldest) = set.first_mut() {
            *oldest = Some(Line { generation, flow: *flow, answer });
        }
        answer
    }

    /// Forgets all answers.
    pub fn clear(&mut self) {
        match self.generation.checked_add(1) {
            Some(next) => self.generation = next,
            None => *self = Self::default(),
        }
    }
}

/// The upper bits of a hash choose the place.
const HASH_SHIFT: u32 = u64::BITS - SETS.trailing_zeros();

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn flow(number: u16) -> FlowKey {
        FlowKey::new([10, 1, 0, 5].into(), [10, 2, 0, 7].into(), 6, number, 443)
    }

    #[test]
    fn an_answer_is_found_once_until_something_changes() {
        let mut cache = FlowCache::default();
        assert_eq!(cache.get_or_insert_with(&flow(1), || 'a'), 'a');
        assert_eq!(cache.get_or_insert_with(&flow(1), || 'b'), 'a');
        cache.clear();
        assert_eq!(cache.get_or_insert_with(&flow(1), || 'b'), 'b');
    }

    /// After 2³² changes no line of the first generation comes back.
    #[test]
    fn generations_do_not_come_around() {
        let mut cache = FlowCache::default();
        cache.get_or_insert_with(&flow(1), || 'a');
        cache.generation = u32::MAX;
        cache.clear();
        assert_eq!(cache.get_or_insert_with(&flow(1), || 'b'), 'b');
    }

    /// As many flows as a busy gateway has find nearly all of their answers again.
    #[test]
    fn an_eighth_of_its_flows_have_room_beside_each_other() {
        let mut cache = FlowCache::default();
        let flows = u16::try_from(FlowCache::<u16>::FLOWS_MAX / 8).unwrap();
        for number in 0..flows {
            cache.get_or_insert_with(&flow(number), || number);
        }
        let mut lost = 0;
        for number in 0..flows {
            cache.get_or_insert_with(&flow(number), || {
                lost += 1;
                number
            });
        }
        assert!(lost < usize::from(flows) / 50, "{lost}");
    }

    proptest! {
        /// Whatever it forgets, it never answers for another flow or from before a change.
        #[test]
        fn answers_are_those_of_the_flow(steps in prop::collection::vec((0_u16..40, 0_u8..20), 0..400)) {
            let mut cache = FlowCache::default();
            let mut era = 0_u32;
            for (number, change) in steps {
                if change == 0 {
                    era += 1;
                    cache.clear();
                }
                let expected = (number, era);
                prop_assert_eq!(cache.get_or_insert_with(&flow(number), || expected), expected);
            }
        }
    }
}
