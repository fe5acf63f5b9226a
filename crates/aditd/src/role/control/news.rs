//! News of the ike role in the order they came. What tells of a child SA that is gone waits for the
//! last word of the packet threads, which alone know what it carried.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use adit_dataplane::SaCounters;
use adit_db::ChildSaId;
use adit_ike::{Event, Failure, RequestId};

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

/// What the packet threads said of one child SA; an SA that a thread does not have carried nothing.
#[derive(Debug, Default)]
struct LastWord {
    outbound: Option<Option<Box<SaCounters>>>,
    inbound: Option<Option<Box<SaCounters>>>,
}

/// See the top of the file.
#[derive(Debug, Default)]
pub(super) struct News {
    waiting: VecDeque<(Instant, Item)>,
    last_words: BTreeMap<ChildSaId, LastWord>,
}

impl News {
    /// Takes what the ike role tells.
    pub(super) fn push(&mut self, item: Item, now: Instant) {
        self.waiting.push_back((now + WAIT_MAX, item));
    }

    /// Takes what the outbound thread says of a child SA.
    pub(super) fn flowed_out(&mut self, child: ChildSaId, counters: Option<Box<SaCounters>>) {
        self.last_word(child).outbound = Some(counters);
    }

    /// Takes what the inbound thread says of a child SA.
    pub(super) fn flowed_in(&mut self, child: ChildSaId, counters: Option<Box<SaCounters>>) {
        self.last_word(child).inbound = Some(counters);
    }

    fn last_word(&mut self, child: ChildSaId) -> &mut LastWord {
        if self.last_words.len() >= LAST_WORDS_MAX && !self.last_words.contains_key(&child) {
            self.last_words.pop_first();
        }
        self.last_words.entry(child).or_default()
    }

    /// The next thing to tell, with the numbers that belong to it.
    pub(super) fn poll(&mut self, now: Instant) -> Option<(Item, Flows)> {
        let (deadline, item) = self.waiting.front()?;
        let mut flows = Flows::new();
        if let Some(child) = item.needs() {
            let ready = self
                .last_words
                .get(&child)
                .is_some_and(|word| word.outbound.is_some() && word.inbound.is_some());
            if !ready && now < *deadline && self.waiting.len() <= WAITING_MAX {
                return None;
            }
            let word = self.last_words.remove(&child).unwrap_or_default();
            let traffic = flows.entry(child).or_default();
            if let Some(counters) = word.inbound.flatten() {
                traffic.add_inbound(&counters);
            }
            if let Some(counters) = word.outbound.flatten() {
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
