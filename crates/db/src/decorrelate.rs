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
#[derive(Debug)]
pub(crate) struct Decorrelated<T, const K: usize> {
    root: Target,
    nodes: Vec<Node<T>>,
    /// Where the values of each branch begin, node after node; a set of values that is not one
    /// range has several places.
    starts: Vec<T>,
    targets: Vec<Target>,
    directory: Vec<u32>,
}

/// One selector's branches.
#[derive(Clone, Copy, Debug)]
struct Node<T> {
    selector: usize,
    /// Its part of `starts` and `targets`.
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

impl Target {
    const NOBODY: Self = Self(u32::MAX >> 1);
    const NODE: u32 = 1 << 31;

    fn node(self) -> Option<usize> {
        (self.0 & Self::NODE != 0).then_some((self.0 & !Self::NODE) as usize)
    }

    fn owner(self) -> Option<u32> {
        (self.0 < Self::NOBODY.0).then_some(self.0)
    }
}

impl<T, const K: usize> Default for Decorrelated<T, K> {
    /// No region.
    fn default() -> Self {
        Self {
            root: Target::NOBODY,
            nodes: Vec::new(),
            starts: Vec::new(),
            targets: Vec::new(),
            directory: Vec::new(),
        }
    }
}

impl<T: Key, const K: usize> Decorrelated<T, K> {
    /// Keeps policies apart that are in order of precedence; `last` has the greatest value of
    /// each selector, the least is zero. Owners are below 2³¹ - 1. No more work than `work_max` is
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
        while let Some(number) = target.node() {
            let node = self.nodes.get(number)?;
            let value = *packet.get(node.selector)?;
            target = *self.targets.get(self.place(node, value))?;
        }
        target.owner()
    }

    /// The owner of each region, in no order; regions of one node and one owner are one.
    pub(crate) fn regions(&self) -> impl Iterator<Item = u32> {
        let of_node = |node: &Node<T>| {
            let end = node.at.saturating_add(node.len);
            let branches: BTreeSet<_> =
                self.targets.get(node.at..end).into_iter().flatten().copied().collect();
            branches
        };
        let root = [self.root].into_iter();
        self.nodes.iter().flat_map(of_node).chain(root).filter_map(Target::owner)
    }

    /// The last place of a node that begins at or before a value.
    fn place(&self, node: &Node<T>, value: T) -> usize {
        if value < node.base || node.len < 2 {
            return node.at;
        }
        let bucket = value.offset(node.base).upper(node.shift).min(node.buckets.saturating_sub(1));
        let at = node.directory.saturating_add(bucket);
        let (Some(low), Some(high)) =
            (self.directory.get(at), self.directory.get(at.saturating_add(1)))
        else {
            return node.at;
        };
        let (low, high) = (*low as usize, *high as usize);
        let starts = self.starts.get(low..=high).unwrap_or_default();
        low.saturating_add(starts.partition_point(|start| *start <= value)).saturating_sub(1)
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
        let number = self.tree.nodes.len();
        let at = self.tree.starts.len();
        self.tree.starts.extend(places.iter().map(|(start, _)| *start));
        self.tree.targets.extend(places.iter().map(|_| Target::NOBODY));
        let node = self.node(selector, at);
        self.tree.nodes.push(node);
        let mut targets = Vec::with_capacity(lists.len());
        for list in &lists {
            targets.push(self.target(list, settled)?);
        }
        let row = self.tree.targets.get_mut(at..).unwrap_or_default();
        for (target, (_, branch)) in row.iter_mut().zip(&places) {
            *target = targets.get(*branch).copied().unwrap_or(Target::NOBODY);
        }
        Ok(Target(Target::NODE | u32::try_from(number).unwrap_or(0)))
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

    /// The node over the last places in `starts`, and its directory: with one bucket for each
    /// place, most values are found at once where the policies' values are evenly spread.
    fn node(&mut self, selector: usize, at: usize) -> Node<T> {
        let starts = self.tree.starts.get(at..).unwrap_or_default();
        let len = starts.len();
        let directory = self.tree.directory.len();
        let base = starts.get(1).copied().unwrap_or(T::ZERO);
        let range = starts.last().map_or(T::ZERO, |last| last.offset(base));
        let buckets = if len > DIRECTORY_MIN { len.next_power_of_two() } else { 1 };
        let shift = range.bits().saturating_sub(buckets.trailing_zeros());
        let last = at.saturating_add(len.saturating_sub(1));
        let place = |index: usize| u32::try_from(at.saturating_add(index)).unwrap_or(u32::MAX);
        let mut index = usize::from(len > 1);
        for bucket in 0..buckets {
            // The last place that begins at or before everything in the bucket.
            let before = |next: T| {
                let upper = next.offset(base).upper(shift);
                upper < bucket || (upper == bucket && next.offset(base).lower_is_zero(shift))
            };
            while starts.get(index.saturating_add(1)).is_some_and(|next| before(*next)) {
                index = index.saturating_add(1);
            }
            self.tree.directory.push(place(index));
        }
        self.tree.directory.push(u32::try_from(last).unwrap_or(u32::MAX));
        Node { selector, at, len, directory, buckets, base, shift }
    }
}

/// Nodes with fewer places are searched without a directory.
const DIRECTORY_MIN: usize = 8;

/// The bit of a selector in a set of selectors.
fn bit(selector: usize) -> u8 {
    u32::try_from(selector).ok().and_then(|selector| 1_u8.checked_shl(selector)).unwrap_or(0)
}
