//! What was decided about the latest flows: the SPD cache of RFC 4301 §4.4.1.
//!
//! A flow is all that a policy can look at, so an answer that is remembered for a flow is exact as
//! long as nothing changes; [`FlowCache::clear`] is for when something does. A gateway has some
//! flows for each of its SAs at any moment, however many policies it has: finding one of them again
//! touches two lines of memory that lie side by side and can be asked for beforehand, and the
//! databases stay out of the processor's caches.

use std::hash::BuildHasher as _;
use std::net::IpAddr;

use adit_crypto::Prefetch;
use adit_wire::ip::FlowKey;
use hashbrown::DefaultHashBuilder;

/// Flows with the same place in the cache; the newest of them are remembered.
const WAYS: usize = 4;
/// Places for the flows of each version of IP, at least and at most.
const SETS_MIN: usize = 1 << 13;
const SETS_MAX: usize = 1 << 19;

/// Remembers an answer for each of the latest flows: of [`FlowCache::FLOWS_MIN`] at least, and of
/// several times as many as it was [asked](Self::make_room) to have room for.
#[derive(Debug)]
pub struct FlowCache<V> {
    v4: Box<[Set<FlowV4, V>]>,
    v6: Box<[Set<FlowV6, V>]>,
    hasher: DefaultHashBuilder,
    /// Lines of another generation are forgotten.
    generation: u32,
}

/// Where a flow is in a cache if it is there, and until [`FlowCache::make_room`].
#[derive(Clone, Copy, Debug, Default)]
pub struct FlowPlace(Version);

#[derive(Clone, Copy, Debug, Default)]
enum Version {
    V4(usize),
    V6(usize),
    #[default]
    Neither,
}

/// The flows of one place. Those of IPv4, with an answer of 8 octets, have two lines of memory of a
/// processor, which it fetches as a pair.
#[derive(Clone, Copy, Debug)]
#[repr(align(128))]
struct Set<K, V> {
    lines: [Line<K, V>; WAYS],
    /// Which way is the oldest.
    oldest: u8,
}

#[derive(Clone, Copy, Debug)]
struct Line<K, V> {
    flow: K,
    generation: u32,
    answer: Option<V>,
}

/// Source, destination, ports, protocol: as small as can be.
type FlowV4 = [u32; 4];
type FlowV6 = [u32; 10];

/// A flow as it is kept.
enum Packed {
    V4(FlowV4),
    V6(FlowV6),
}

impl Packed {
    /// `None` if nobody sends such packets.
    #[inline]
    fn of(flow: &FlowKey) -> Option<Self> {
        let ports = u32::from(flow.src_port) << u16::BITS | u32::from(flow.dst_port);
        let above = u32::from(flow.protocol) << 1 | u32::from(flow.opaque);
        match (flow.src, flow.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                Some(Self::V4([src.to_bits(), dst.to_bits(), ports, above]))
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                let [s0, s1, s2, s3] = words(src.to_bits());
                let [d0, d1, d2, d3] = words(dst.to_bits());
                Some(Self::V6([s0, s1, s2, s3, d0, d1, d2, d3, ports, above]))
            }
            _ => None,
        }
    }
}

impl<V: Copy> Default for FlowCache<V> {
    fn default() -> Self {
        Self {
            v4: vec![Set::empty([0; 4]); SETS_MIN].into_boxed_slice(),
            v6: vec![Set::empty([0; 10]); SETS_MIN].into_boxed_slice(),
            hasher: DefaultHashBuilder::default(),
            generation: 0,
        }
    }
}

impl<V: Copy> FlowCache<V> {
    /// Flows of each version of IP that are remembered at least, if they are spread well.
    pub const FLOWS_MIN: usize = SETS_MIN * WAYS;

    /// Makes room for so many flows of IPv4 and of IPv6, of which nearly all are to be found again; it
    /// forgets all answers then, and never has less room again.
    pub fn make_room(&mut self, flows_v4: usize, flows_v6: usize) {
        let grown = |sets: usize, flows: usize| Some(sets_for(flows)).filter(|more| *more > sets);
        if let Some(sets) = grown(self.v4.len(), flows_v4) {
            self.v4 = vec![Set::empty([0; 4]); sets].into_boxed_slice();
        }
        if let Some(sets) = grown(self.v6.len(), flows_v6) {
            self.v6 = vec![Set::empty([0; 10]); sets].into_boxed_slice();
        }
    }

    /// The place of a flow.
    #[inline]
    pub fn place(&self, flow: &FlowKey) -> FlowPlace {
        self.place_of(Packed::of(flow).as_ref())
    }

    #[inline]
    fn place_of(&self, packed: Option<&Packed>) -> FlowPlace {
        let pair = |high: u32, low: u32| u64::from(high) << u32::BITS | u64::from(low);
        FlowPlace(match packed {
            Some(Packed::V4([src, dst, ports, above])) => {
                let hash = self.hasher.hash_one([pair(*src, *dst), pair(*ports, *above)]);
                Version::V4(place(hash, self.v4.len()))
            }
            Some(Packed::V6(flow)) => Version::V6(place(self.hasher.hash_one(flow), self.v6.len())),
            None => Version::Neither,
        })
    }

    /// Has a first look at a place, with the page that it is on. Nobody waits for a sum of what is seen,
    /// so several places come at once.
    #[inline]
    pub fn look(&self, FlowPlace(at): FlowPlace) -> u32 {
        let oldest = match at {
            Version::V4(at) => self.v4.get(at).map(|set| set.oldest),
            Version::V6(at) => self.v6.get(at).map(|set| set.oldest),
            Version::Neither => None,
        };
        oldest.unwrap_or_default().into()
    }

    /// Tells the processor of a place.
    #[inline]
    pub fn tell(&self, FlowPlace(at): FlowPlace, by: Prefetch) {
        match at {
            Version::V4(at) => self.v4.get(at).into_iter().for_each(|set| by.value(set)),
            Version::V6(at) => self.v6.get(at).into_iter().for_each(|set| by.value(set)),
            Version::Neither => {}
        }
    }

    /// The answer for a flow: the remembered one, or `find`'s, which is remembered then.
    #[inline]
    pub fn get_or_insert_with(&mut self, flow: &FlowKey, find: impl FnOnce() -> V) -> V {
        let packed = Packed::of(flow);
        let place = self.place_of(packed.as_ref());
        self.answer(place, packed, find)
    }

    /// The same for a flow whose place is known.
    #[inline]
    pub fn get_or_insert_at(
        &mut self,
        place: FlowPlace,
        flow: &FlowKey,
        find: impl FnOnce() -> V,
    ) -> V {
        self.answer(place, Packed::of(flow), find)
    }

    #[inline]
    fn answer(
        &mut self,
        FlowPlace(at): FlowPlace,
        packed: Option<Packed>,
        find: impl FnOnce() -> V,
    ) -> V {
        let generation = self.generation;
        match (at, packed) {
            (Version::V4(at), Some(Packed::V4(flow))) => {
                let Some(set) = self.v4.get_mut(at) else { return find() };
                set.answer(flow, generation, find)
            }
            (Version::V6(at), Some(Packed::V6(flow))) => {
                let Some(set) = self.v6.get_mut(at) else { return find() };
                set.answer(flow, generation, find)
            }
            _ => find(),
        }
    }

    /// Forgets all answers.
    pub fn clear(&mut self) {
        match self.generation.checked_add(1) {
            Some(next) => self.generation = next,
            None => {
                self.v4.iter_mut().for_each(|set| *set = Set::empty([0; 4]));
                self.v6.iter_mut().for_each(|set| *set = Set::empty([0; 10]));
                self.generation = 0;
            }
        }
    }
}

impl<K: Copy + Eq, V: Copy> Set<K, V> {
    const fn empty(flow: K) -> Self {
        let line = Line { flow, generation: 0, answer: None };
        Self { lines: [line; WAYS], oldest: 0 }
    }

    #[inline]
    fn answer(&mut self, flow: K, generation: u32, find: impl FnOnce() -> V) -> V {
        let mut lines = self.lines.iter();
        let known = lines.find(|line| line.flow == flow && line.generation == generation);
        if let Some(answer) = known.and_then(|line| line.answer) {
            return answer;
        }
        let answer = find();
        // It takes the place of the oldest.
        let way = usize::from(self.oldest) % WAYS;
        self.oldest = self.oldest.wrapping_add(1);
        if let Some(line) = self.lines.get_mut(way) {
            *line = Line { flow, generation, answer: Some(answer) };
        }
        answer
    }
}

/// Twice as many ways as flows, or more: few have no way of their own then.
fn sets_for(flows: usize) -> usize {
    let ways = flows.checked_next_power_of_two().unwrap_or(usize::MAX).saturating_mul(2);
    (ways / WAYS).clamp(SETS_MIN, SETS_MAX)
}

/// The upper bits of a hash choose the place among a power of two.
#[inline]
fn place(hash: u64, sets: usize) -> usize {
    let bits = sets.trailing_zeros();
    usize::try_from(hash >> u64::BITS.saturating_sub(bits)).unwrap_or(0)
}

#[expect(clippy::cast_possible_truncation, reason = "the words are cut out of it")]
#[inline]
const fn words(address: u128) -> [u32; 4] {
    [(address >> 96) as u32, (address >> 64) as u32, (address >> 32) as u32, address as u32]
}

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

    /// What a lookup touches: a pair of lines, or two pairs.
    #[test]
    fn places_are_pairs_of_lines() {
        assert_eq!(size_of::<Set<FlowV4, Option<crate::spd::Action>>>(), 128);
        assert_eq!(size_of::<Set<FlowV6, Option<crate::spd::Action>>>(), 256);
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

    /// How many of some flows do not find their answers again.
    fn lost(cache: &mut FlowCache<u32>, flows: &[FlowKey]) -> usize {
        let mut lost = 0;
        for round in 0..2 {
            for (number, flow) in (0..).zip(flows) {
                let place = cache.place(flow);
                cache.tell(place, Prefetch::NONE);
                assert!(cache.look(place) < 256);
                cache.get_or_insert_at(place, flow, || {
                    lost += round;
                    number
                });
            }
        }
        lost
    }

    /// As many flows as there is room asked for find nearly all of their answers again.
    #[test]
    fn flows_have_room_beside_each_other() {
        let v4 = |number: u32| FlowKey { dst: number.to_be_bytes().into(), ..flow(1) };
        let of_v4: Vec<FlowKey> = (0..65_536).map(v4).collect();
        let v6 = |number: u128| {
            FlowKey::new(number.to_be_bytes().into(), number.to_be_bytes().into(), 6, 1, 2)
        };
        let of_v6: Vec<FlowKey> = (0..65_536).map(v6).collect();
        let mut cache = FlowCache::default();
        assert!(lost(&mut cache, &of_v4[..4_096]) < 4_096 / 50);
        assert!(lost(&mut cache, &of_v4) > of_v4.len() / 2);
        cache.make_room(of_v4.len(), of_v6.len());
        let (lost_v4, lost_v6) = (lost(&mut cache, &of_v4), lost(&mut cache, &of_v6));
        assert!(lost_v4 < of_v4.len() / 5, "{lost_v4}");
        assert!(lost_v6 < of_v6.len() / 5, "{lost_v6}");
    }

    #[test]
    fn room_is_bounded_and_never_less() {
        let mut cache = FlowCache::<bool>::default();
        cache.make_room(100_000, 0);
        assert_eq!((cache.v4.len(), cache.v6.len()), (1 << 16, SETS_MIN));
        cache.make_room(10, 0);
        assert_eq!(cache.v4.len(), 1 << 16);
        assert_eq!(sets_for(usize::MAX), SETS_MAX);
    }

    /// Nobody sends a packet with addresses of both versions.
    #[test]
    fn what_cannot_be_is_not_remembered() {
        let mut cache = FlowCache::default();
        let odd = FlowKey { src: [0; 16].into(), ..flow(1) };
        assert_eq!(cache.get_or_insert_with(&odd, || 'a'), 'a');
        assert_eq!(cache.get_or_insert_with(&odd, || 'b'), 'b');
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
