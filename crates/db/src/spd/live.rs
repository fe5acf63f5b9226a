//! Entries that come and go with child SAs, beside those that are configured.
//!
//! A gateway with a million policies decorrelates them once; a child SA that adds an entry of its
//! own must not do that work again. Such entries are few or narrow: a peer's own address, the
//! network behind it. They lie in buckets by the network that holds all their remote selectors,
//! or all their local ones, and a lookup asks one bucket for each size of network in use. A copy
//! shares all buckets but those that change.

use std::hash::BuildHasher as _;
use std::net::IpAddr;
use std::sync::Arc;

use adit_wire::ikev2::TrafficSelector;
use hashbrown::{DefaultHashBuilder, HashMap};
use ipnet::IpNet;

use super::{Rank, Sides, SpdEntry};

/// The entries.
#[derive(Clone, Debug, Default)]
pub(super) struct Live {
    shards: Vec<Arc<Shard>>,
    /// Those that no bucket holds, in order.
    wide: Arc<Vec<Arc<LiveEntry>>>,
    /// Bucketed entries by side and size of the network.
    used: [usize; LEVELS],
    len: usize,
    hasher: DefaultHashBuilder,
}

/// An entry and its place in the order.
#[derive(Debug)]
pub(super) struct LiveEntry {
    pub(super) rank: Rank,
    pub(super) entry: SpdEntry,
}

/// In each bucket the foremost comes first.
type Shard = HashMap<Bucket, Vec<Arc<LiveEntry>>>;

#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
struct Bucket {
    level: usize,
    network: IpAddr,
}

/// Sizes of networks that are told apart, the smallest first.
const LENGTHS_V4: [u8; SIZES] = [32, 24, 16, 8];
const LENGTHS_V6: [u8; SIZES] = [128, 64, 48, 32];
const SIZES: usize = 4;
/// Remote networks first, then local ones.
const LEVELS: usize = 2 * SIZES;
/// Parts of the buckets that are copied one at a time.
const SHARDS: usize = 256;
const SHARD_SHIFT: u32 = u64::BITS - SHARDS.trailing_zeros();

impl Live {
    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Adds an entry.
    pub(super) fn insert(&mut self, entry: LiveEntry) {
        if self.shards.is_empty() {
            self.shards = vec![Arc::default(); SHARDS];
        }
        let entry = Arc::new(entry);
        let add = |list: &mut Vec<Arc<LiveEntry>>| {
            let place = list.partition_point(|other| other.rank < entry.rank);
            list.insert(place, Arc::clone(&entry));
        };
        self.len = self.len.saturating_add(1);
        let Some((level, networks)) = buckets(&entry.entry.local, &entry.entry.remote) else {
            return add(Arc::make_mut(&mut self.wide));
        };
        if let Some(used) = self.used.get_mut(level) {
            *used = used.saturating_add(1);
        }
        for network in networks {
            let bucket = Bucket { level, network };
            if let Some(shard) = self.shard_mut(&bucket) {
                add(shard.entry(bucket).or_default());
            }
        }
    }

    /// Removes an entry that was added.
    pub(super) fn remove(&mut self, rank: Rank, sides: &Sides) {
        let others = |list: &mut Vec<Arc<LiveEntry>>| {
            let before = list.len();
            list.retain(|other| other.rank != rank);
            list.len() < before
        };
        let mut found = false;
        match buckets(&sides.local, &sides.remote) {
            None => found = others(Arc::make_mut(&mut self.wide)),
            Some((level, networks)) => {
                for network in networks {
                    let bucket = Bucket { level, network };
                    let Some(shard) = self.shard_mut(&bucket) else { continue };
                    found |= shard.get_mut(&bucket).is_some_and(others);
                    if shard.get(&bucket).is_some_and(Vec::is_empty) {
                        shard.remove(&bucket);
                    }
                }
                if let Some(used) = self.used.get_mut(level).filter(|_| found) {
                    *used = used.saturating_sub(1);
                }
            }
        }
        self.len = self.len.saturating_sub(usize::from(found));
    }

    /// The foremost entry before `limit` that matches a packet between two addresses, ours first.
    pub(super) fn first(
        &self,
        limit: Option<Rank>,
        [local, remote]: [IpAddr; 2],
        matches: impl Fn(&SpdEntry) -> bool,
    ) -> Option<&LiveEntry> {
        let mut found: Option<&LiveEntry> = None;
        for list in self.lists(local, remote) {
            let limit = found.map(|one| one.rank).or(limit);
            let before = list.iter().take_while(|one| limit.is_none_or(|limit| one.rank < limit));
            let better = before.map(AsRef::as_ref).find(|one: &&LiveEntry| matches(&one.entry));
            found = better.or(found);
        }
        found
    }

    /// Every entry, in order.
    pub(super) fn all(&self) -> Vec<&LiveEntry> {
        let buckets = self.shards.iter().flat_map(|shard| shard.values());
        let mut all: Vec<&LiveEntry> =
            buckets.chain([&*self.wide]).flatten().map(AsRef::as_ref).collect();
        all.sort_unstable_by_key(|one| one.rank);
        all.dedup_by_key(|one| one.rank);
        all
    }

    /// The lists in which an entry for these addresses can be.
    fn lists(&self, local: IpAddr, remote: IpAddr) -> impl Iterator<Item = &[Arc<LiveEntry>]> {
        let used = self.used.iter().enumerate().filter(|(_, used)| **used > 0);
        let bucketed = used.filter_map(move |(level, _)| {
            let address = if level < SIZES { remote } else { local };
            let bucket = Bucket { level, network: network(address, level)? };
            let shard = self.shards.get(self.shard(&bucket))?;
            shard.get(&bucket).map(Vec::as_slice)
        });
        bucketed.chain([self.wide.as_slice()])
    }

    fn shard(&self, bucket: &Bucket) -> usize {
        usize::try_from(self.hasher.hash_one(bucket) >> SHARD_SHIFT).unwrap_or(0)
    }

    fn shard_mut(&mut self, bucket: &Bucket) -> Option<&mut Shard> {
        let place = self.shard(bucket);
        self.shards.get_mut(place).map(Arc::make_mut)
    }
}

/// The buckets of an entry: the smallest size of network that holds each of its remote selectors,
/// or each of its local ones; `None` if there is none.
fn buckets(local: &[TrafficSelector], remote: &[TrafficSelector]) -> Option<(usize, Vec<IpAddr>)> {
    (0..LEVELS).find_map(|level| {
        let side = if level < SIZES { remote } else { local };
        let of_one = |selector: &TrafficSelector| {
            let first = network(selector.start, level)?;
            (network(selector.end, level)? == first).then_some(first)
        };
        let mut networks: Vec<IpAddr> = side.iter().map(of_one).collect::<Option<_>>()?;
        networks.sort_unstable();
        networks.dedup();
        Some((level, networks))
    })
}

/// The network of a level in which an address lies.
fn network(address: IpAddr, level: usize) -> Option<IpAddr> {
    let lengths = if address.is_ipv4() { LENGTHS_V4 } else { LENGTHS_V6 };
    let length = *lengths.get(level.checked_rem(SIZES)?)?;
    IpNet::new(address, length).ok().map(|network| network.network())
}
