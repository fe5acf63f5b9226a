//! Decorrelation, RFC 4301 Appendix B: ordered policies that overlap, as regions that do not.
//!
//! Of policies in order the first that matches decides, so remembering which one matched is right
//! only for that packet: an earlier one may match its neighbour. After decorrelation every packet
//! lies in exactly one region, and order has no meaning any more.
//!
//! The regions are the leaves of a tree, as in the RFC's algorithm. A node looks at one selector
//! and has a branch for each set of its values that the same policies contain; what no policy
//! contains is a branch too. A branch ends where its first policy contains all that is left. Each
//! selector is looked at once on a way, so a lookup takes at most as many steps as there are
//! selectors, however many policies there are.

mod key;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use hashbrown::HashMap;

pub(crate) use self::key::Key;

/// Values of one selector, both ends included.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Span<T> {
    pub(crate) first: T,
    pub(crate) last: T,
}

/// What matches if every selector has one of its values.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Policy<T, const K: usize> {
    pub(crate) selectors: [Span<T>; K],
    /// What a lookup answers; policies of one owner need not be kept apart.
    pub(crate) owner: u32,
}

/// Most work, in policies and values looked at, that a decorrelation may take; its memory grows
/// with it. A million policies apart from each other take a tenth to a half of it.
pub(crate) const WORK_MAX: usize = 1 << 25;

/// The policies overlap in so many ways that keeping them apart takes more than [`WORK_MAX`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Entangled {
    /// The owner of the policy that is cut into the most parts.
    pub(crate) owner: u32,
}

/// Decorrelated policies over `K` selectors.
///
/// A lookup that finds nothing in the processor's caches waits for memory three times: for the
/// directory of the root, for its place, and for the one cache line of a small node.
#[derive(Debug)]
pub(crate) struct Decorrelated<T, const K: usize> {
    root: Target,
    small: Vec<Small<T>>,
    large: Vec<Large<T>>,
    /// The branches of large nodes, node after node.
    places: Vec<Place<T>>,
    directory: Vec<u32>,
}

/// Where the values of a branch begin, and where it leads; a set of values that is not one range
/// has several places.
#[derive(Clone, Copy, Debug)]
struct Place<T> {
    start: T,
    target: Target,
}

/// One selector's branches, if they have no more than [`SMALL`] places: what is below, in and
/// above one range. The first place begins at zero.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Small<T> {
    starts: [T; SMALL - 1],
    targets: [Target; SMALL],
    selector: u8,
}

/// Most places of a small node.
const SMALL: usize = 3;

/// One selector's branches.
#[derive(Clone, Copy, Debug)]
struct Large<T> {
    selector: usize,
    /// Its part of `places`.
    at: usize,
    len: usize,
    /// Its part of `directory`: where to search for values that share their upper bits, counted
    /// from `base`.
    directory: usize,
    buckets: usize,
    base: T,
    shift: u32,
}

/// Where a branch leads: to an owner, to nobody or to another node.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Target(u32);

enum Step {
    Owner(u32),
    Nobody,
    Small(usize),
    Large(usize),
}

impl Target {
    const NOBODY: Self = Self(Self::NUMBER);
    const NUMBER: u32 = (1 << 30) - 1;
    const SMALL: u32 = 1 << 30;
    const LARGE: u32 = 1 << 31;

    /// The node of that number; [`WORK_MAX`] bounds it.
    fn node(kind: u32, number: usize) -> Self {
        Self(kind | u32::try_from(number).unwrap_or(0))
    }

    fn step(self) -> Step {
        let number = self.0 & Self::NUMBER;
        match self.0 & !Self::NUMBER {
            0 if self == Self::NOBODY => Step::Nobody,
            0 => Step::Owner(number),
            Self::SMALL => Step::Small(number as usize),
            _ => Step::Large(number as usize),
        }
    }

    fn owner(self) -> Option<u32> {
        match self.step() {
            Step::Owner(owner) => Some(owner),
            Step::Nobody | Step::Small(_) | Step::Large(_) => None,
        }
    }
}

impl<T, const K: usize> Default for Decorrelated<T, K> {
    /// No region.
    fn default() -> Self {
        Self {
            root: Target::NOBODY,
            small: Vec::new(),
            large: Vec::new(),
            places: Vec::new(),
            directory: Vec::new(),
        }
    }
}

impl<T: Key> Small<T> {
    /// A node of a few places; what is not needed repeats the last of them.
    fn new(mut places: impl Iterator<Item = Place<T>>, selector: usize) -> Self {
        let mut last = Place { start: T::ZERO, target: Target::NOBODY };
        let mut next = || {
            last = places.next().unwrap_or(last);
            last
        };
        let [below, within, above]: [Place<T>; SMALL] = std::array::from_fn(|_| next());
        Self {
            starts: [within.start, above.start],
            targets: [below.target, within.target, above.target],
            selector: u8::try_from(selector).unwrap_or(u8::MAX),
        }
    }

    fn target(&self, packet: &[T]) -> Option<Target> {
        let value = *packet.get(usize::from(self.selector))?;
        let place = self.starts.iter().filter(|start| **start <= value).count();
        self.targets.get(place).copied()
    }
}

impl<T: Key, const K: usize> Decorrelated<T, K> {
    /// Keeps policies apart that are in order of precedence; `last` has the greatest value of
    /// each selector, the least is zero. Owners are below 2³⁰ - 1. No more work than `work_max` is
    /// done, [`WORK_MAX`] but in tests.
    pub(crate) fn new(
        policies: &[Policy<T, K>],
        last: [T; K],
        work_max: usize,
    ) -> Result<Self, Entangled> {
        Builder::new(policies, last, work_max).build()
    }

    /// The owner of the region in which a packet lies.
    pub(crate) fn lookup(&self, packet: &[T; K]) -> Option<u32> {
        let mut target = self.root;
        loop {
            target = match target.step() {
                Step::Owner(owner) => return Some(owner),
                Step::Nobody => return None,
                Step::Small(number) => self.small.get(number)?.target(packet)?,
                Step::Large(number) => {
                    let node = self.large.get(number)?;
                    self.find(node, *packet.get(node.selector)?)?
                }
            };
        }
    }

    /// The owner of each region, in no order; regions of one node and one owner are one.
    pub(crate) fn regions(&self) -> impl Iterator<Item = u32> {
        let of_small = |node: &Small<T>| {
            let [below, within, above] = node.targets;
            let within = (within != below).then_some(within);
            let above = (above != below && Some(above) != within).then_some(above);
            [Some(below), within, above].into_iter().flatten()
        };
        let of_large = |node: &Large<T>| {
            let end = node.at.saturating_add(node.len);
            let places = self.places.get(node.at..end).unwrap_or_default();
            places.iter().map(|place| place.target).collect::<BTreeSet<_>>()
        };
        let small = self.small.iter().flat_map(of_small);
        let large = self.large.iter().flat_map(of_large);
        [self.root].into_iter().chain(small).chain(large).filter_map(Target::owner)
    }

    /// Where the last place of a node leads that begins at or before a value.
    fn find(&self, node: &Large<T>, value: T) -> Option<Target> {
        let (mut low, mut high) = (node.at, node.at);
        if value >= node.base {
            let bucket = value.offset(node.base).upper(node.shift);
            let bucket = bucket.min(node.buckets.saturating_sub(1));
            let at = node.directory.saturating_add(bucket);
            low = *self.directory.get(at)? as usize;
            high = *self.directory.get(at.saturating_add(1))? as usize;
        }
        let places = self.places.get(low..=high)?;
        let behind = places.partition_point(|place| place.start <= value);
        places.get(behind.saturating_sub(1)).map(|place| place.target)
    }
}

struct Builder<'a, T, const K: usize> {
    policies: &'a [Policy<T, K>],
    last: [T; K],
    /// Which selectors of a policy do not have all values, a bit for each.
    restricts: Vec<u8>,
    tree: Decorrelated<T, K>,
    work: usize,
    work_max: usize,
    scratch: Vec<T>,
}

/// Policies by number, in order, and nothing behind the first that contains all that is left.
type List = Box<[u32]>;

/// The values of one selector by the policies that contain them.
struct Branches<T> {
    /// Where values begin that belong to the list of that number.
    places: Vec<(T, usize)>,
    lists: Vec<List>,
}

/// How good a selector is to look at, less is better: parts into which policies are cut; parts of
/// the first of them; branches.
type Cost = (usize, usize, usize);

impl<'a, T: Key, const K: usize> Builder<'a, T, K> {
    fn new(policies: &'a [Policy<T, K>], last: [T; K], work_max: usize) -> Self {
        let restricts = policies.iter().map(|policy| {
            let selectors = policy.selectors.iter().zip(&last).enumerate();
            selectors
                .filter(|(_, (span, last))| span.first > T::ZERO || span.last < **last)
                .fold(0, |bits, (selector, _)| bits | bit(selector))
        });
        let restricts = restricts.collect();
        let tree = Decorrelated::default();
        Self { policies, last, restricts, tree, work: 0, work_max, scratch: Vec::new() }
    }

    fn build(mut self) -> Result<Decorrelated<T, K>, Entangled> {
        let numbers = 0..u32::try_from(self.policies.len()).unwrap_or(u32::MAX);
        let mut all = Vec::new();
        for number in numbers {
            all.push(number);
            if self.contains_rest(number, 0) {
                break;
            }
        }
        self.tree.root = self.target(&all, 0)?;
        Ok(self.tree)
    }

    /// Whether a policy contains everything, the selectors in `settled` aside.
    fn contains_rest(&self, number: u32, settled: u8) -> bool {
        self.restricts.get(number as usize).is_some_and(|bits| bits & !settled == 0)
    }

    fn span(&self, number: u32, selector: usize) -> Option<Span<T>> {
        self.policies.get(number as usize)?.selectors.get(selector).copied()
    }

    fn owner(&self, number: u32) -> u32 {
        self.policies.get(number as usize).map_or(Target::NOBODY.0, |policy| policy.owner)
    }

    /// The branch of packets that these policies may match.
    fn target(&mut self, list: &[u32], settled: u8) -> Result<Target, Entangled> {
        let Some(first) = list.first() else {
            return Ok(Target::NOBODY);
        };
        if self.contains_rest(*first, settled) {
            return Ok(Target(self.owner(*first)));
        }
        let selector = self.selector(list, settled);
        self.split(list, settled, selector)
    }

    /// The selector that tears the fewest policies apart.
    fn selector(&mut self, list: &[u32], settled: u8) -> usize {
        let restricts = |number: &u32| self.restricts.get(*number as usize).copied().unwrap_or(0);
        let open = list.iter().fold(0, |bits, number| bits | restricts(number)) & !settled;
        let open = |selector: &usize| open & bit(*selector) != 0;
        let mut candidates: Vec<usize> = (0..K).filter(open).collect();
        if candidates.len() > 1 {
            candidates.sort_by_cached_key(|selector| self.cost(list, settled, *selector));
        }
        candidates.first().copied().unwrap_or(0)
    }

    fn cost(&mut self, list: &[u32], settled: u8, selector: usize) -> Cost {
        let mut starts = std::mem::take(&mut self.scratch);
        starts.clear();
        starts.push(T::ZERO);
        for span in list.iter().filter_map(|number| self.span(*number, selector)) {
            starts.push(span.first);
            starts.extend(self.behind(span, selector));
        }
        starts.sort_unstable();
        starts.dedup();
        let rank = |value: T| starts.partition_point(|start| *start <= value);
        let parts = |number: &u32| match self.span(*number, selector) {
            // What contains the rest takes what others leave, it is not torn.
            Some(span) if !self.contains_rest(*number, settled) => {
                rank(span.last).saturating_sub(rank(span.first)).saturating_add(1)
            }
            _ => 0,
        };
        let sum = list.iter().map(parts).fold(0, usize::saturating_add);
        let cost = (sum, list.first().map_or(0, parts), starts.len());
        self.scratch = starts;
        cost
    }

    /// The value behind a range, if there is one.
    fn behind(&self, span: Span<T>, selector: usize) -> Option<T> {
        let last = *self.last.get(selector)?;
        if span.last < last { span.last.successor() } else { None }
    }

    /// Makes a node with a branch for each set of values that the same policies contain.
    fn split(&mut self, list: &[u32], settled: u8, selector: usize) -> Result<Target, Entangled> {
        let settled = settled | bit(selector);
        let Branches { places, lists } = self.sweep(list, settled, selector)?;
        let large = (places.len() > SMALL).then(|| self.reserve(&places, selector));
        let mut targets = Vec::with_capacity(lists.len());
        for list in &lists {
            targets.push(self.target(list, settled)?);
        }
        let targets = places.iter().map(|(start, branch)| Place {
            start: *start,
            target: targets.get(*branch).copied().unwrap_or(Target::NOBODY),
        });
        let Some((number, at)) = large else {
            let number = self.tree.small.len();
            let node = Small::new(targets, selector);
            self.tree.small.push(node);
            return Ok(Target::node(Target::SMALL, number));
        };
        let row = self.tree.places.get_mut(at..).unwrap_or_default();
        for (place, filled) in row.iter_mut().zip(targets) {
            *place = filled;
        }
        Ok(Target::node(Target::LARGE, number))
    }

    /// A large node whose branches lead nowhere yet: its number, and where its places are.
    fn reserve(&mut self, places: &[(T, usize)], selector: usize) -> (usize, usize) {
        let (number, at) = (self.tree.large.len(), self.tree.places.len());
        let nowhere = |(start, _): &(T, usize)| Place { start: *start, target: Target::NOBODY };
        self.tree.places.extend(places.iter().map(nowhere));
        let node = self.node(selector, at);
        self.tree.large.push(node);
        (number, at)
    }

    /// Sorts the values of a selector by the policies that contain them.
    fn sweep(
        &mut self,
        list: &[u32],
        settled: u8,
        selector: usize,
    ) -> Result<Branches<T>, Entangled> {
        let mut changes: Vec<(T, u32, bool)> = Vec::with_capacity(list.len().saturating_mul(2));
        for number in list {
            if let Some(span) = self.span(*number, selector) {
                changes.push((span.first, *number, true));
                changes.extend(self.behind(span, selector).map(|end| (end, *number, false)));
            }
        }
        changes.sort_unstable();
        let mut active = BTreeSet::new();
        let mut known: HashMap<List, usize> = HashMap::new();
        let mut branches: Vec<List> = Vec::new();
        let mut places: Vec<(T, usize)> = Vec::new();
        let mut rest = changes.as_slice();
        let mut start = T::ZERO;
        loop {
            while let Some(((_, number, begins), behind)) =
                rest.split_first().filter(|((at, ..), _)| *at <= start)
            {
                rest = behind;
                let _ = if *begins { active.insert(*number) } else { active.remove(number) };
            }
            let mut branch = Vec::new();
            for number in &active {
                branch.push(*number);
                if self.contains_rest(*number, settled) {
                    break;
                }
            }
            self.spend(branch.len(), list, selector)?;
            let branch = branch.into_boxed_slice();
            let fresh = branches.len();
            let index = *known.entry(branch).or_insert_with_key(|branch| {
                branches.push(branch.clone());
                fresh
            });
            if places.last().is_none_or(|(_, before)| *before != index) {
                places.push((start, index));
            }
            let Some((next, ..)) = rest.first() else {
                return Ok(Branches { places, lists: branches });
            };
            start = *next;
        }
    }

    fn spend(&mut self, policies: usize, list: &[u32], selector: usize) -> Result<(), Entangled> {
        self.work = self.work.saturating_add(policies).saturating_add(1);
        if self.work <= self.work_max {
            return Ok(());
        }
        let starts: BTreeSet<T> =
            list.iter().filter_map(|number| Some(self.span(*number, selector)?.first)).collect();
        let parts = |number: &&u32| {
            let span = self.span(**number, selector);
            span.map_or(0, |span| starts.range(span.first..=span.last).count())
        };
        let torn = list.iter().filter(|number| !self.contains_rest(**number, 0)).max_by_key(parts);
        Err(Entangled { owner: torn.map_or(0, |number| self.owner(*number)) })
    }

    /// The node over the last places, and its directory: with a bucket for each place or two, most
    /// values are found at once where the policies' values are evenly spread.
    fn node(&mut self, selector: usize, at: usize) -> Large<T> {
        let places = self.tree.places.get(at..).unwrap_or_default();
        let len = places.len();
        let directory = self.tree.directory.len();
        let base = places.get(1).map_or(T::ZERO, |place| place.start);
        let range = places.last().map_or(T::ZERO, |last| last.start.offset(base));
        let buckets = if len > DIRECTORY_MIN { len.next_power_of_two() } else { 1 };
        let shift = range.bits().saturating_sub(buckets.trailing_zeros());
        let last = at.saturating_add(len.saturating_sub(1));
        let number = |index: usize| u32::try_from(at.saturating_add(index)).unwrap_or(u32::MAX);
        let mut index = usize::from(len > 1);
        for bucket in 0..buckets {
            // The last place that begins at or before everything in the bucket.
            let before = |next: T| {
                let upper = next.offset(base).upper(shift);
                upper < bucket || (upper == bucket && next.offset(base).lower_is_zero(shift))
            };
            while places.get(index.saturating_add(1)).is_some_and(|next| before(next.start)) {
                index = index.saturating_add(1);
            }
            self.tree.directory.push(number(index));
        }
        self.tree.directory.push(u32::try_from(last).unwrap_or(u32::MAX));
        Large { selector, at, len, directory, buckets, base, shift }
    }
}

/// Nodes with fewer places are searched without a directory.
const DIRECTORY_MIN: usize = 8;

/// The bit of a selector in a set of selectors.
fn bit(selector: usize) -> u8 {
    u32::try_from(selector).ok().and_then(|selector| 1_u8.checked_shl(selector)).unwrap_or(0)
}
