//! News of the ike role in the order they came. What tells of a child SA that is gone waits for the
//! last word of the packet threads, which alone know what it carried.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use adit_dataplane::SaCounters;
use adit_db::ChildSaId;
use adit_ike::{Event, Failure, RequestId};

use super::gathered::Gathered;
use super::snapshots::Flows;

/// Longest wait for a packet thread; then the event is told without its numbers.
pub(super) const WAIT_MAX: Duration = Duration::from_secs(1);
/// News that may wait; with more of them nothing waits.
const WAITING_MAX: usize = 1_024;
/// Last words kept for events that may still come.
const LAST_WORDS_MAX: usize = 1_024;

/// One thing the ike role tells.
#[derive(Debug)]
pub(super) enum Item {
    /// Something happened.
    Event(Event),
    /// A request is done.
    Done(RequestId, Result<(), Box<Failure>>),
}

impl Item {
    /// The child SA whose numbers belong to it.
    fn needs(&self) -> Option<ChildSaId> {
        match self {
            Self::Event(Event::ChildDown { child, .. }) => Some(child.id),
            Self::Event(Event::ChildRekeyed { old, .. }) => Some(old.id),
            Self::Event(_) | Self::Done(..) => None,
        }
    }
}

/// What the packet threads said of one child SA; an SA that a thread does not have carried nothing
/// there.
#[derive(Debug)]
struct LastWord {
    outbound: Gathered<Option<Box<SaCounters>>>,
    inbound: Gathered<Option<Box<SaCounters>>>,
}

impl LastWord {
    fn awaited(threads: Threads) -> Self {
        let (outbound, inbound) = (Gathered::new(threads.outbound), Gathered::new(threads.inbound));
        Self { outbound, inbound }
    }
}

/// What two threads say, if the SA is there.
fn add(sum: &mut Option<Box<SaCounters>>, part: Option<Box<SaCounters>>) {
    match (&mut *sum, part) {
        (Some(sum), Some(part)) => sum.add(&part),
        (None, part) => *sum = part,
        (Some(_), None) => {}
    }
}

/// How many packet threads there are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Threads {
    /// Those that send.
    pub(super) outbound: usize,
    /// Those that receive.
    pub(super) inbound: usize,
}

/// See the top of the file.
#[derive(Debug)]
pub(super) struct News {
    threads: Threads,
    waiting: VecDeque<(Instant, Item)>,
    last_words: BTreeMap<ChildSaId, LastWord>,
}

impl News {
    /// Nothing yet.
    pub(super) fn new(threads: Threads) -> Self {
        Self { threads, waiting: VecDeque::new(), last_words: BTreeMap::new() }
    }

    /// Takes what the ike role tells.
    pub(super) fn push(&mut self, item: Item, now: Instant) {
        self.waiting.push_back((now + WAIT_MAX, item));
    }

    /// Takes what an outbound thread says of a child SA.
    pub(super) fn flowed_out(&mut self, child: ChildSaId, counters: Option<Box<SaCounters>>) {
        self.last_word(child).outbound.take_in(counters, add);
    }

    /// Takes what an inbound thread says of a child SA.
    pub(super) fn flowed_in(&mut self, child: ChildSaId, counters: Option<Box<SaCounters>>) {
        self.last_word(child).inbound.take_in(counters, add);
    }

    /// Takes what the kernel says of a child SA of its own.
    pub(super) fn flowed_in_kernel(&mut self, child: ChildSaId, counters: [Option<SaCounters>; 2]) {
        let [inbound, outbound] = counters.map(|half| Gathered::whole(half.map(Box::new)));
        *self.last_word(child) = LastWord { outbound, inbound };
    }

    fn last_word(&mut self, child: ChildSaId) -> &mut LastWord {
        if self.last_words.len() >= LAST_WORDS_MAX && !self.last_words.contains_key(&child) {
            self.last_words.pop_first();
        }
        self.last_words.entry(child).or_insert_with(|| LastWord::awaited(self.threads))
    }

    /// The next thing to tell, with the numbers that belong to it.
    pub(super) fn poll(&mut self, now: Instant) -> Option<(Item, Flows)> {
        let (deadline, item) = self.waiting.front()?;
        let mut flows = Flows::new();
        if let Some(child) = item.needs() {
            let ready = self
                .last_words
                .get(&child)
                .is_some_and(|word| word.outbound.is_complete() && word.inbound.is_complete());
            if !ready && now < *deadline && self.waiting.len() <= WAITING_MAX {
                return None;
            }
            let word = self.last_words.remove(&child);
            let word = word.unwrap_or_else(|| LastWord::awaited(self.threads));
            let traffic = flows.entry(child).or_default();
            if let Some(counters) = word.inbound.into_sum().flatten() {
                traffic.add_inbound(&counters);
            }
            if let Some(counters) = word.outbound.into_sum().flatten() {
                traffic.add_outbound(&counters);
            }
        }
        let (_, item) = self.waiting.pop_front()?;
        Some((item, flows))
    }

    /// When [`Self::poll`] gives up waiting.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.waiting.front().map(|(deadline, _)| *deadline)
    }
}
