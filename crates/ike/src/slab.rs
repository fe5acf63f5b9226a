//! Values in pages that never move, found by keys that know when their value is gone.

use std::num::NonZeroU32;

/// Where a value is, and which one: a key of a value that was taken out finds nothing, whatever has
/// its place.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Key {
    index: u32,
    generation: NonZeroU32,
}

/// Values by [`Key`]. To put one in, to find one and to take one out cost the same with any number of
/// them, and the places of those taken out are used again first.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    /// Each has room for [`PAGE`] places, so that growing copies nothing.
    pages: Vec<Vec<Place<T>>>,
    /// The first place of those that are free; each names the next.
    free: Option<u32>,
}

#[derive(Debug)]
struct Place<T> {
    generation: NonZeroU32,
    content: Content<T>,
}

#[derive(Debug)]
enum Content<T> {
    Value(T),
    Free { next: Option<u32> },
}

/// Places of a page.
const PAGE: usize = 64;

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { pages: Vec::new(), free: None }
    }
}

impl<T> Slab<T> {
    /// Puts a value in.
    pub(crate) fn insert(&mut self, value: T) -> Key {
        if let Some(index) = self.free
            && let Some(place) = self.place_mut(index)
            && let Content::Free { next } = place.content
        {
            place.content = Content::Value(value);
            let generation = place.generation;
            self.free = next;
            return Key { index, generation };
        }
        self.append(value)
    }

    /// Takes a value out.
    pub(crate) fn remove(&mut self, key: Key) -> Option<T> {
        let next = self.free;
        let place = self.place_mut(key.index).filter(|place| place.generation == key.generation)?;
        let generation = place.generation.checked_add(1).unwrap_or(NonZeroU32::MIN);
        match std::mem::replace(&mut place.content, Content::Free { next }) {
            Content::Value(value) => {
                place.generation = generation;
                self.free = Some(key.index);
                Some(value)
            }
            free @ Content::Free { .. } => {
                place.content = free;
                None
            }
        }
    }

    /// The value of a key.
    pub(crate) fn get(&self, key: Key) -> Option<&T> {
        let (page, at) = split(key.index);
        let place = self.pages.get(page)?.get(at)?;
        match &place.content {
            Content::Value(value) if place.generation == key.generation => Some(value),
            Content::Value(_) | Content::Free { .. } => None,
        }
    }

    /// The value of a key.
    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let place = self.place_mut(key.index)?;
        match &mut place.content {
            Content::Value(value) if place.generation == key.generation => Some(value),
            Content::Value(_) | Content::Free { .. } => None,
        }
    }

    fn append(&mut self, value: T) -> Key {
        if self.pages.last().is_none_or(|page| page.len() == PAGE) {
            self.pages.push(Vec::with_capacity(PAGE));
        }
        let before = self.pages.len().saturating_sub(1).saturating_mul(PAGE);
        let generation = NonZeroU32::MIN;
        let at = self.pages.last_mut().map_or(0, |page| {
            page.push(Place { generation, content: Content::Value(value) });
            page.len().saturating_sub(1)
        });
        let index = u32::try_from(before.saturating_add(at)).expect(FITS);
        Key { index, generation }
    }

    fn place_mut(&mut self, index: u32) -> Option<&mut Place<T>> {
        let (page, at) = split(index);
        self.pages.get_mut(page)?.get_mut(at)
    }
}

/// Page and place in it.
fn split(index: u32) -> (usize, usize) {
    let index = usize::try_from(index).unwrap_or(usize::MAX);
    (index / PAGE, index % PAGE)
}

/// There are never more than 2^32 of anything that has a number of 32 bits.
const FITS: &str = "a slab has fewer places than there are numbers for them";

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_key_does_not_find_what_came_after_its_value() {
        let mut slab = Slab::default();
        let first = slab.insert("first");
        assert_eq!(slab.remove(first), Some("first"));
        let second = slab.insert("second");
        assert_eq!(second.index, first.index);
        assert_eq!((slab.get(first), slab.get(second)), (None, Some(&"second")));
        assert_eq!(slab.get_mut(first), None);
        assert_eq!(slab.remove(first), None);
        assert_eq!(slab.remove(second), Some("second"));
        assert_eq!(slab.remove(second), None);
    }

    #[test]
    fn places_are_used_again_before_there_are_more() {
        let mut slab = Slab::default();
        let keys: Vec<Key> = (0..3 * PAGE).map(|value| slab.insert(value)).collect();
        for key in &keys {
            assert!(slab.remove(*key).is_some());
        }
        for value in 0..3 * PAGE {
            slab.insert(value);
        }
        assert_eq!(slab.pages.len(), 3);
    }

    proptest! {
        #[test]
        fn it_holds_what_a_map_holds(
            steps in prop::collection::vec((any::<bool>(), any::<prop::sample::Index>()), 0..400)
        ) {
            let mut slab = Slab::default();
            let mut model = BTreeMap::new();
            let mut keys: Vec<Key> = Vec::new();
            for (number, (puts_in, which)) in steps.into_iter().enumerate() {
                if puts_in || keys.is_empty() {
                    model.insert(keys.len(), number);
                    keys.push(slab.insert(number));
                } else {
                    let at = which.index(keys.len());
                    prop_assert_eq!(slab.remove(keys[at]), model.remove(&at));
                }
            }
            for (at, key) in keys.iter().enumerate() {
                prop_assert_eq!(slab.get(*key), model.get(&at));
            }
        }
    }
}
