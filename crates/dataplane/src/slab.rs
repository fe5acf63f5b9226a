//! Where SAs lie (RFC 4301 §4.4.2).

use std::hint::black_box;

use adit_crypto::Prefetch;

/// Boxed values in places that they keep. So each lies beside what it points to, and the places, of which
/// there may be twice as many as values, are small and lie together.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    places: Vec<Option<Box<T>>>,
    /// Empty ones of them.
    free: Vec<Slot>,
}

/// A place; good until its value is removed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Slot(pub(crate) u32);

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { places: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slab<T> {
    /// Puts a value into a place of its own; gives it back if there are 2³² already.
    pub(crate) fn insert(&mut self, value: Box<T>) -> Result<Slot, Box<T>> {
        let Ok(next) = u32::try_from(self.places.len()) else { return Err(value) };
        let slot = self.free.pop().unwrap_or(Slot(next));
        match self.places.get_mut(slot.0 as usize) {
            Some(place) => *place = Some(value),
            None => self.places.push(Some(value)),
        }
        Ok(slot)
    }

    /// Takes a value out.
    pub(crate) fn remove(&mut self, slot: Slot) -> Option<Box<T>> {
        let value = self.places.get_mut(slot.0 as usize)?.take()?;
        self.free.push(slot);
        Some(value)
    }

    /// A value.
    #[inline]
    pub(crate) fn get(&self, slot: Slot) -> Option<&T> {
        self.places.get(slot.0 as usize)?.as_deref()
    }

    /// A value, to be changed.
    #[inline]
    pub(crate) fn get_mut(&mut self, slot: Slot) -> Option<&mut T> {
        self.places.get_mut(slot.0 as usize)?.as_deref_mut()
    }

    /// Every value, in the order of the places.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.places.iter_mut().flatten().map(AsMut::as_mut)
    }

    /// Looks at values together that are in no cache of the processor, which is told of all of them
    /// then. Nobody waits for the sum of what `look` sees, so they come at once: first the places, then a
    /// part of each value, with the page that it is on, and then the rest.
    pub(crate) fn touch(
        &self,
        slots: impl Iterator<Item = Slot> + Clone,
        look: impl Fn(&T) -> u32,
        by: Prefetch,
    ) {
        let values = || slots.clone().filter_map(|slot| self.get(slot));
        black_box(values().count());
        black_box(values().map(look).fold(0, u32::wrapping_add));
        values().for_each(|value| by.value(value));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_empty_place_is_taken_again() {
        let mut slab = Slab::default();
        let slots: Vec<Slot> = (0..10).map(|value| slab.insert(Box::new(value)).unwrap()).collect();
        assert_eq!(slab.remove(slots[5]), Some(Box::new(5)));
        assert_eq!(slab.remove(slots[5]), None);
        assert_eq!(slab.insert(Box::new(11)), Ok(slots[5]));
        slab.touch(slots.into_iter().chain([Slot(10)]), |value| *value, Prefetch::NONE);
        assert_eq!(slab.places.len(), 10);
    }

    proptest! {
        /// It does what a map by place does.
        #[test]
        fn values_stay_where_they_are(steps in prop::collection::vec((any::<bool>(), 0_u32..200), 0..600)) {
            let mut slab = Slab::default();
            let mut known = std::collections::BTreeMap::new();
            for (insert, number) in steps {
                if insert {
                    let slot = slab.insert(Box::new(number)).unwrap();
                    prop_assert_eq!(known.insert(slot.0, number), None);
                } else {
                    let removed = slab.remove(Slot(number)).map(|value| *value);
                    prop_assert_eq!(removed, known.remove(&number));
                }
                prop_assert_eq!(slab.get(Slot(number)), known.get(&number));
            }
            let all: Vec<u32> = slab.iter_mut().map(|value| *value).collect();
            prop_assert_eq!(all, known.into_values().collect::<Vec<_>>());
        }
    }
}
